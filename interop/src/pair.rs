//! Two NameNodes on three JournalNodes, each of them ours or Hadoop's, on the same directories and ports.

use crate::{Hadoop, wait_for};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// How many JournalNodes.
const JOURNALNODES: usize = 3;

/// Whose daemon serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `hathi`
    Ours,
    /// Apache Hadoop's
    Hadoops,
}

/// The processes and their directories; nothing runs at first, and dropping it kills what runs.
///
/// There is no failover controller: the test moves the active role itself.
#[derive(Debug)]
pub struct Pair {
    hathi: PathBuf,
    hadoop: Option<Hadoop>,
    dir: TempDir,
    journalnode_ports: Vec<u16>,
    namenode_ports: Vec<u16>,
    site: Vec<(String, String)>,
    journalnodes: [Option<Child>; JOURNALNODES],
    namenodes: [Option<Child>; 2],
}

impl Pair {
    /// Configured, with empty directories. `names` are the JournalNodes' host names, as the NameNodes know them.
    ///
    /// # Errors
    /// When a port or a file can't be had.
    pub fn new(hathi: impl AsRef<Path>, hadoop: Option<Hadoop>, names: [&str; JOURNALNODES]) -> Result<Pair> {
        let listeners: Vec<TcpListener> = (0..2 * JOURNALNODES + 4)
            .map(|_| TcpListener::bind(("127.0.0.1", 0)))
            .collect::<std::io::Result<_>>()?;
        let ports: Vec<u16> = listeners
            .iter()
            .map(|listener| Ok(listener.local_addr()?.port()))
            .collect::<std::io::Result<_>>()?;
        let (journalnode_ports, namenode_ports) = ports.split_at(2 * JOURNALNODES);
        let mut site: Vec<(String, String)> = [
            ("dfs.nameservices", "ns"),
            ("dfs.ha.namenodes.ns", "nn0,nn1"),
            (
                "dfs.client.failover.proxy.provider.ns",
                "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider",
            ),
            ("dfs.ha.fencing.methods", "shell(/bin/true)"),
            ("dfs.ha.tail-edits.period", "1"),
            ("dfs.namenode.safemode.extension", "0"),
            ("dfs.client.failover.sleep.base.millis", "50"),
            ("dfs.client.failover.sleep.max.millis", "500"),
            ("dfs.client.failover.max.attempts", "100"),
            // Hadoop's NameNode ends when it waits longer for a majority; ours does not.
            ("dfs.qjournal.write-txns.timeout.ms", "60000"),
        ]
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
        for (index, ports) in namenode_ports.chunks(2).enumerate() {
            for (kind, port) in ["rpc", "http"].into_iter().zip(ports) {
                site.push((
                    format!("dfs.namenode.{kind}-address.ns.nn{index}"),
                    format!("127.0.0.1:{port}"),
                ));
            }
        }
        let addresses: Vec<String> = names
            .iter()
            .zip(journalnode_ports.chunks(2))
            .map(|(name, ports)| format!("{name}:{}", ports[0]))
            .collect();
        site.push((
            "dfs.namenode.shared.edits.dir".to_owned(),
            format!("qjournal://{}/ns", addresses.join(";")),
        ));
        let pair = Pair {
            hathi: hathi.as_ref().to_owned(),
            hadoop,
            dir: TempDir::with_prefix("hathi-pair-")?,
            journalnode_ports: journalnode_ports.to_vec(),
            namenode_ports: namenode_ports.to_vec(),
            site,
            journalnodes: [const { None }; JOURNALNODES],
            namenodes: [const { None }; 2],
        };
        for index in 0..2 {
            let own = [
                (
                    "dfs.namenode.name.dir",
                    format!("file://{}", pair.name_dir(index).display()),
                ),
                ("dfs.ha.namenode.id", format!("nn{index}")),
            ];
            pair.write_conf(&pair.conf(index), "hdfs://ns", &pair.site, &own)?;
        }
        for index in 0..JOURNALNODES {
            let own = [
                ("dfs.journalnode.edits.dir", pair.edits_dir(index).display().to_string()),
                (
                    "dfs.journalnode.rpc-address",
                    format!("127.0.0.1:{}", pair.journalnode_ports[2 * index]),
                ),
                (
                    "dfs.journalnode.http-address",
                    format!("127.0.0.1:{}", pair.journalnode_ports[2 * index + 1]),
                ),
            ];
            pair.write_conf(
                &pair.dir.path().join(format!("conf-jn{index}")),
                "hdfs://ns",
                &pair.site,
                &own,
            )?;
        }
        // nn0 by itself, before there is any high availability.
        let address = format!("127.0.0.1:{}", pair.namenode_ports[0]);
        let own = [
            (
                "dfs.namenode.name.dir",
                format!("file://{}", pair.name_dir(0).display()),
            ),
            ("dfs.namenode.rpc-address", address.clone()),
            (
                "dfs.namenode.http-address",
                format!("127.0.0.1:{}", pair.namenode_ports[1]),
            ),
            ("dfs.namenode.safemode.extension", "0".to_owned()),
        ];
        pair.write_conf(&pair.conf_alone(), &format!("hdfs://{address}"), &[], &own)?;
        Ok(pair)
    }

    fn write_conf(&self, dir: &Path, fs: &str, site: &[(String, String)], own: &[(&str, String)]) -> Result<()> {
        std::fs::create_dir_all(dir)?;
        let xml = |properties: &[(&str, &str)]| {
            let lines: String = properties
                .iter()
                .map(|(key, value)| format!("<property><name>{key}</name><value>{value}</value></property>\n"))
                .collect();
            format!("<configuration>\n{lines}</configuration>\n")
        };
        std::fs::write(dir.join("core-site.xml"), xml(&[("fs.defaultFS", fs)]))?;
        let shared = site.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let all: Vec<(&str, &str)> = shared
            .chain(own.iter().map(|(key, value)| (*key, value.as_str())))
            .collect();
        Ok(std::fs::write(dir.join("hdfs-site.xml"), xml(&all))?)
    }

    /// The configuration of a NameNode; clients can use it, too.
    #[must_use]
    pub fn conf(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("conf-nn{index}"))
    }

    /// The configuration of nn0 as the only NameNode, with its edits in its own directory alone.
    #[must_use]
    pub fn conf_alone(&self) -> PathBuf {
        self.dir.path().join("conf-alone")
    }

    fn name_dir(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("nn{index}"))
    }

    fn edits_dir(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("jn{index}"))
    }

    /// `current` of the journal at a JournalNode.
    #[must_use]
    pub fn journal(&self, index: usize) -> PathBuf {
        self.edits_dir(index).join("ns/current")
    }

    /// What a daemon (`nn0`, `jn2`) has logged.
    #[must_use]
    pub fn log(&self, daemon: &str) -> String {
        let text = std::fs::read(self.dir.path().join(format!("{daemon}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn command(&self, kind: Kind, daemon: &str, conf: &Path, args: &[&str]) -> Result<Command> {
        Ok(match kind {
            Kind::Ours => {
                let mut command = Command::new(&self.hathi);
                command.args([daemon, "--conf"]).arg(conf).args(args);
                command
            }
            Kind::Hadoops => {
                let hadoop = self.hadoop.as_ref().context("without Hadoop")?;
                hadoop.command(conf, daemon, args)
            }
        })
    }

    fn spawn(&self, mut command: Command, name: &str, port: u16) -> Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("{name}.log")))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        wait_for(&format!("{name} to listen"), PATIENCE, || {
            let ended = child.try_wait().is_ok_and(|status| status.is_some());
            assert!(!ended, "{name} ended:\n{}", self.log(name));
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Ok(child)
    }

    /// Starts a JournalNode on what its directory holds.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_journalnode(&mut self, index: usize, kind: Kind) -> Result<()> {
        let conf = self.dir.path().join(format!("conf-jn{index}"));
        let command = self.command(kind, "journalnode", &conf, &[])?;
        let port = self.journalnode_ports[2 * index];
        self.journalnodes[index] = Some(self.spawn(command, &format!("jn{index}"), port)?);
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_journalnode(&mut self, index: usize) -> Result<()> {
        kill(&mut self.journalnodes[index])
    }

    /// Runs a NameNode with options that end (`-format`, `-bootstrapStandby` ...).
    ///
    /// # Errors
    /// When it fails; the message carries what it printed.
    pub fn namenode(&self, kind: Kind, conf: &Path, args: &[&str]) -> Result<()> {
        succeed(self.command(kind, "namenode", conf, args)?).map(drop)
    }

    /// Starts a NameNode, and waits until it is standby (without other NameNodes: until it listens).
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_namenode(&mut self, index: usize, kind: Kind, conf: &Path) -> Result<()> {
        let command = self.command(kind, "namenode", conf, &[])?;
        let name = format!("nn{index}");
        self.namenodes[index] = Some(self.spawn(command, &name, self.namenode_ports[2 * index])?);
        if conf != self.conf_alone() {
            self.wait_for_state(index, "standby");
        }
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_namenode(&mut self, index: usize) -> Result<()> {
        kill(&mut self.namenodes[index])
    }

    /// Neither NameNode has ended.
    ///
    /// # Errors
    /// When one has.
    pub fn namenodes_live(&mut self) -> Result<()> {
        for (index, child) in self.namenodes.iter_mut().enumerate() {
            if let Some(child) = child {
                ensure!(child.try_wait()?.is_none(), "nn{index} ended");
            }
        }
        Ok(())
    }

    /// Waits for `active` or `standby`.
    pub fn wait_for_state(&self, index: usize, state: &str) {
        wait_for(&format!("nn{index} as {state}"), PATIENCE, || {
            let printed = self.run("haadmin", &["-getServiceState", &format!("nn{index}")]).ok()?;
            (printed.trim() == state).then_some(())
        });
    }

    /// Runs one of our tools with the configuration of a client.
    ///
    /// # Errors
    /// When it fails; the message carries what it printed.
    pub fn run(&self, tool: &str, args: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.hathi);
        command.arg(tool).args(args).env("HADOOP_CONF_DIR", self.conf(0));
        succeed(command)
    }

    /// The role moves in order.
    ///
    /// # Errors
    /// When it does not.
    pub fn failover(&self, from: usize, to: usize) -> Result<()> {
        self.run("haadmin", &["-failover", &format!("nn{from}"), &format!("nn{to}")])?;
        self.wait_for_state(to, "active");
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let mut names = Vec::new();
        for (kind, children) in [("nn", &mut self.namenodes[..]), ("jn", &mut self.journalnodes[..])] {
            for (index, child) in children.iter_mut().enumerate() {
                names.push(format!("{kind}{index}"));
                // Most of the errors are that it does not run, and nothing can be done about the others here.
                let _ = kill(child);
            }
        }
        if std::thread::panicking() {
            for name in names {
                let log = self.log(&name);
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("---- {name}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
        }
    }
}

fn kill(child: &mut Option<Child>) -> Result<()> {
    let mut child = child.take().context("it does not run")?;
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn succeed(mut command: Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(
        output.status.success(),
        "{:?} ended with {}:\n{}{}",
        command.get_args().filter(|arg| arg.len() < 200).collect::<Vec<_>>(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
