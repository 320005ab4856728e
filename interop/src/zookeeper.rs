//! The real Apache ZooKeeper, which comes with Hadoop's jars.

use crate::{Hadoop, PortRange, wait_for};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::Duration;
use tempfile::TempDir;

/// A JVM under load takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server alone, or an ensemble; dropping it kills what runs.
#[derive(Debug)]
pub struct ZooKeeper {
    hadoop: Hadoop,
    dir: TempDir,
    ports: PortRange,
    servers: Vec<Option<Child>>,
}

impl ZooKeeper {
    /// Starts so many servers, with a tick of 100 ms: sessions may be as short as 200 ms.
    ///
    /// # Errors
    /// When a port, a file or Java can't be had.
    pub fn start(hadoop: Hadoop, count: u16) -> Result<ZooKeeper> {
        let mut zookeeper = ZooKeeper {
            hadoop,
            dir: TempDir::with_prefix("hathi-zookeeper-")?,
            ports: PortRange::claim()?,
            servers: (0..count).map(|_| None).collect(),
        };
        for index in 0..count {
            zookeeper.configure(index)?;
        }
        zookeeper.start_all()?;
        Ok(zookeeper)
    }

    fn count(&self) -> u16 {
        u16::try_from(self.servers.len()).unwrap_or(0)
    }

    fn port(&self, index: u16) -> u16 {
        self.ports.base() + 3 * index
    }

    /// `ha.zookeeper.quorum`
    #[must_use]
    pub fn quorum(&self) -> String {
        let servers: Vec<String> = (0..self.count())
            .map(|index| format!("127.0.0.1:{}", self.port(index)))
            .collect();
        servers.join(",")
    }

    fn configure(&self, index: u16) -> Result<()> {
        let data = self.dir.path().join(format!("data-{index}"));
        std::fs::create_dir(&data)?;
        std::fs::write(data.join("myid"), (index + 1).to_string())?;
        let mut text = format!(
            "tickTime=100\ninitLimit=100\nsyncLimit=50\nmaxSessionTimeout=60000\nadmin.enableServer=false\n\
             clientPortAddress=127.0.0.1\nclientPort={}\ndataDir={}\n",
            self.port(index),
            data.display()
        );
        if self.count() > 1 {
            for peer in 0..self.count() {
                let port = self.port(peer);
                text += &format!("server.{}=127.0.0.1:{}:{}\n", peer + 1, port + 1, port + 2);
            }
        }
        Ok(std::fs::write(self.dir.path().join(format!("zoo-{index}.cfg")), text)?)
    }

    /// Starts the servers that do not run, and waits until they serve.
    ///
    /// # Errors
    /// When Java can't be started.
    pub fn start_all(&mut self) -> Result<()> {
        for index in 0..self.count() {
            let slot = usize::from(index);
            if self.servers[slot].is_some() {
                continue;
            }
            let log = File::create(self.dir.path().join(format!("zookeeper-{index}.log")))?;
            let config = self.dir.path().join(format!("zoo-{index}.cfg"));
            let class = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
            let mut command = self
                .hadoop
                .command(self.dir.path(), class, &[&config.display().to_string()]);
            command
                // For the answer to `srvr`, before a quorum is there as well.
                .env("JAVA_TOOL_OPTIONS", "-Dzookeeper.4lw.commands.whitelist=srvr")
                .stdout(log.try_clone()?)
                .stderr(log);
            self.servers[slot] = Some(command.spawn()?);
        }
        for index in 0..self.count() {
            let port = self.port(index);
            wait_for("ZooKeeper to serve", PATIENCE, || serves(port).then_some(()));
        }
        Ok(())
    }

    /// Sends a signal to every server.
    ///
    /// # Errors
    /// When one does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        for server in &self.servers {
            let child = server.as_ref().context("ZooKeeper does not run")?;
            crate::send_signal(Pid::from_raw(i32::try_from(child.id())?).context("pid")?, signal)?;
        }
        Ok(())
    }

    /// SIGKILL for every server.
    ///
    /// # Errors
    /// When one can't be waited for.
    pub fn kill(&mut self) -> Result<()> {
        for server in &mut self.servers {
            if let Some(mut child) = server.take() {
                child.kill()?;
                child.wait()?;
            }
        }
        Ok(())
    }
}

/// Whether it is alone or in a quorum.
fn serves(port: u16) -> bool {
    let mut answer = String::new();
    let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"srvr")?;
        stream.read_to_string(&mut answer)
    });
    asked.is_ok() && answer.contains("Mode: ")
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        // Nothing to be done about it here.
        let _ = self.kill();
    }
}
