//! The real Apache ZooKeeper, which comes with Hadoop's jars.

use crate::{Hadoop, PortRange, wait_for};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Child;
use std::time::Duration;
use tempfile::TempDir;

/// Time limit. A JVM under load takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A single server or an ensemble. Dropping it kills every running server.
#[derive(Debug)]
pub struct ZooKeeper {
    hadoop: Hadoop,
    dir: TempDir,
    ports: PortRange,
    host: IpAddr,
    servers: Vec<Option<Child>>,
}

impl ZooKeeper {
    /// Starts `count` servers with a tick of 100 ms, so that sessions may be as short as 200 ms.
    ///
    /// # Errors
    /// When a port, a file or Java can't be had.
    pub fn start(hadoop: Hadoop, count: u16) -> Result<ZooKeeper> {
        Self::start_on(hadoop, count, Ipv4Addr::LOCALHOST.into())
    }

    /// As [`ZooKeeper::start`], with all servers at this address of the machine.
    ///
    /// # Errors
    /// When a port, a file or Java can't be had.
    pub fn start_on(hadoop: Hadoop, count: u16, host: IpAddr) -> Result<ZooKeeper> {
        let mut zookeeper = ZooKeeper {
            hadoop,
            dir: TempDir::with_prefix("hathi-zookeeper-")?,
            ports: PortRange::claim()?,
            host,
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
        let servers: Vec<String> = (0..self.count()).map(|index| self.address(index).to_string()).collect();
        servers.join(",")
    }

    /// Client address of a server.
    #[must_use]
    pub fn address(&self, index: u16) -> SocketAddr {
        (self.host, self.port(index)).into()
    }

    fn configure(&self, index: u16) -> Result<()> {
        let data = self.dir.path().join(format!("data-{index}"));
        std::fs::create_dir(&data)?;
        std::fs::write(data.join("myid"), (index + 1).to_string())?;
        let mut text = format!(
            "tickTime=100\ninitLimit=100\nsyncLimit=50\nmaxSessionTimeout=60000\nadmin.enableServer=false\n\
             clientPortAddress={}\nclientPort={}\ndataDir={}\n",
            self.host,
            self.port(index),
            data.display()
        );
        if self.count() > 1 {
            for peer in 0..self.count() {
                let port = self.port(peer);
                let (quorum, election) = (SocketAddr::new(self.host, port + 1), port + 2);
                text += &format!("server.{}={quorum}:{election}\n", peer + 1);
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
                // This enables the answer to `srvr`, also before there is a quorum.
                .env("JAVA_TOOL_OPTIONS", "-Dzookeeper.4lw.commands.whitelist=srvr")
                .stdout(log.try_clone()?)
                .stderr(log);
            self.servers[slot] = Some(command.spawn()?);
        }
        for index in 0..self.count() {
            let address = self.address(index);
            wait_for("ZooKeeper to serve", PATIENCE, || mode(address).map(drop));
        }
        Ok(())
    }

    /// The leader of an ensemble.
    ///
    /// # Panics
    /// When there is none within a minute.
    #[must_use]
    pub fn leader(&self) -> u16 {
        wait_for("a leader of ZooKeeper", PATIENCE, || {
            (0..self.count()).find(|index| mode(self.address(*index)).is_some_and(|mode| mode == "leader"))
        })
    }

    /// Kills one server (SIGKILL).
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_one(&mut self, index: u16) -> Result<()> {
        let slot = self.servers.get_mut(usize::from(index));
        let mut child = slot.and_then(Option::take).context("it does not run")?;
        child.kill()?;
        child.wait()?;
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

    /// Kills every server (SIGKILL).
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

/// `standalone`, `leader` or `follower`; `None` while it does not serve.
fn mode(address: SocketAddr) -> Option<String> {
    let mut answer = String::new();
    let asked = TcpStream::connect(address).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"srvr")?;
        stream.read_to_string(&mut answer)
    });
    asked.ok()?;
    let line = answer.lines().find_map(|line| line.strip_prefix("Mode: "))?;
    Some(line.trim().to_owned())
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        // An error can't be handled here.
        let _ = self.kill();
    }
}
