//! Two or more NameNodes on three JournalNodes or a shared directory, and DataNodes if wanted. Each daemon is ours or
//! Hadoop's, on the same directories and ports.

mod datanodes;

use crate::{Hadoop, PortRange, Role, wait_for};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use std::fs::File;
use std::io::{Seek, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// Number of JournalNodes.
const JOURNALNODES: usize = 3;
/// First port of the controllers in the range, behind those of the other daemons.
const CONTROLLER_PORTS: u16 = 60;

/// Which project's daemon serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `hathi`
    Ours,
    /// Apache Hadoop's
    Hadoops,
}

/// Place of the edits that all NameNodes share (`dfs.namenode.shared.edits.dir`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedEdits<'a> {
    /// `qjournal://`: at the JournalNodes, under these host names.
    JournalNodes([&'a str; JOURNALNODES]),
    /// `file://`: in a directory.
    Directory,
}

impl SharedEdits<'_> {
    /// At the JournalNodes, under their addresses.
    pub const QUORUM: SharedEdits<'static> = SharedEdits::JournalNodes(["127.0.0.1"; JOURNALNODES]);
}

/// The processes and their directories. At first nothing runs. Dropping it kills every running process.
///
/// There is no failover controller: the test moves the active role itself.
#[derive(Debug)]
pub struct Pair {
    hathi: PathBuf,
    hadoop: Option<Hadoop>,
    dir: TempDir,
    range: PortRange,
    journalnode_ports: Vec<u16>,
    namenode_ports: Vec<u16>,
    site: Vec<(String, String)>,
    journalnodes: [Option<Child>; JOURNALNODES],
    namenodes: Vec<Option<Child>>,
    controllers: Vec<Option<Child>>,
    datanodes: datanodes::DataNodes,
}

impl Pair {
    /// A pair with its configuration and empty directories. `more` is added to every daemon's configuration.
    ///
    /// # Errors
    /// When a port or a file can't be had.
    pub fn new(
        hathi: impl AsRef<Path>,
        hadoop: Option<Hadoop>,
        shared: SharedEdits<'_>,
        more: &[(&str, &str)],
    ) -> Result<Pair> {
        Pair::with_namenodes(2, hathi, hadoop, shared, more)
    }

    /// As [`Pair::new`], with this number of NameNodes, at most seven, because the ports of DataNodes follow theirs.
    ///
    /// # Errors
    /// When a port or a file can't be had.
    pub fn with_namenodes(
        count: usize,
        hathi: impl AsRef<Path>,
        hadoop: Option<Hadoop>,
        shared: SharedEdits<'_>,
        more: &[(&str, &str)],
    ) -> Result<Pair> {
        let range = PortRange::claim()?;
        let ports: Vec<u16> = (range.base()..).take(2 * (JOURNALNODES + count)).collect();
        let ids: Vec<String> = (0..count).map(|index| format!("nn{index}")).collect();
        let ids = ids.join(",");
        let (journalnode_ports, namenode_ports) = ports.split_at(2 * JOURNALNODES);
        let mut site: Vec<(String, String)> = [
            ("dfs.nameservices", "ns"),
            ("dfs.ha.namenodes.ns", ids.as_str()),
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
            // Hadoop's NameNode ends when it waits longer for a majority. Ours does not.
            ("dfs.qjournal.write-txns.timeout.ms", "60000"),
        ]
        .iter()
        .chain(more)
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
        for (index, port) in (0..count).zip(range.base() + CONTROLLER_PORTS..) {
            site.push((format!("dfs.ha.zkfc.port.ns.nn{index}"), port.to_string()));
        }
        let pair = Pair {
            hathi: hathi.as_ref().to_owned(),
            hadoop,
            dir: TempDir::with_prefix("hathi-pair-")?,
            range,
            journalnode_ports: journalnode_ports.to_vec(),
            namenode_ports: namenode_ports.to_vec(),
            site,
            journalnodes: [const { None }; JOURNALNODES],
            namenodes: (0..count).map(|_| None).collect(),
            controllers: (0..count).map(|_| None).collect(),
            datanodes: datanodes::DataNodes::default(),
        };
        std::fs::create_dir(pair.shared_dir())?;
        pair.configure(shared)?;
        Ok(pair)
    }

    /// Writes all configurations with these shared edits, for daemons that start from now on.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn configure(&self, shared: SharedEdits<'_>) -> Result<()> {
        let uri = match shared {
            SharedEdits::Directory => format!("file://{}", self.shared_dir().display()),
            SharedEdits::JournalNodes(names) => {
                let address = |(name, ports): (&&str, &[u16])| format!("{name}:{}", ports[0]);
                let addresses: Vec<String> = names
                    .iter()
                    .zip(self.journalnode_ports.chunks(2))
                    .map(address)
                    .collect();
                format!("qjournal://{}/ns", addresses.join(";"))
            }
        };
        let mut site = self.site.clone();
        site.push(("dfs.namenode.shared.edits.dir".to_owned(), uri));
        for index in 0..self.namenodes.len() {
            let own = [
                (
                    "dfs.namenode.name.dir",
                    format!("file://{}", self.name_dir(index).display()),
                ),
                ("dfs.ha.namenode.id", format!("nn{index}")),
            ];
            write_conf(&self.conf(index), "hdfs://ns", &site, &own)?;
        }
        for (index, ports) in self.journalnode_ports.chunks(2).enumerate() {
            let own = [
                ("dfs.journalnode.edits.dir", self.edits_dir(index).display().to_string()),
                ("dfs.journalnode.rpc-address", format!("127.0.0.1:{}", ports[0])),
                ("dfs.journalnode.http-address", format!("127.0.0.1:{}", ports[1])),
            ];
            write_conf(&self.journalnode_conf(index), "hdfs://ns", &site, &own)?;
        }
        // nn0 as the only NameNode, before there is any high availability.
        let address = self.address(Role::NameNode, 0).to_string();
        let own = [
            (
                "dfs.namenode.name.dir",
                format!("file://{}", self.name_dir(0).display()),
            ),
            ("dfs.namenode.rpc-address", address.clone()),
            (
                "dfs.namenode.http-address",
                self.http_address(Role::NameNode, 0).to_string(),
            ),
            ("dfs.namenode.safemode.extension", "0".to_owned()),
        ];
        write_conf(&self.conf_alone(), &format!("hdfs://{address}"), &[], &own)
    }

    /// The configuration of a NameNode. Clients can use it, too.
    #[must_use]
    pub fn conf(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("conf-nn{index}"))
    }

    /// The configuration of nn0 as the only NameNode, with edits only in its own directory.
    #[must_use]
    pub fn conf_alone(&self) -> PathBuf {
        self.dir.path().join("conf-alone")
    }

    fn journalnode_conf(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("conf-jn{index}"))
    }

    /// `dfs.namenode.name.dir` of a NameNode.
    #[must_use]
    pub fn name_dir(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("nn{index}"))
    }

    /// `current` of the directory of [`SharedEdits::Directory`].
    #[must_use]
    pub fn shared_edits(&self) -> PathBuf {
        self.shared_dir().join("current")
    }

    fn shared_dir(&self) -> PathBuf {
        self.dir.path().join("shared")
    }

    fn edits_dir(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("jn{index}"))
    }

    /// `current` of the journal at a JournalNode.
    #[must_use]
    pub fn journal(&self, index: usize) -> PathBuf {
        self.edits_dir(index).join("ns/current")
    }

    /// The name of the newest open segment's file at a JournalNode.
    #[must_use]
    pub fn open_segment(&self, index: usize) -> Option<String> {
        let entries = std::fs::read_dir(self.journal(index)).ok()?.flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        // The open segment of a killed JournalNode stays until it is purged.
        names
            .filter(|name| name.starts_with("edits_inprogress_") && !name.contains('.'))
            .max()
    }

    /// The log of a daemon (`nn0`, `jn2`).
    #[must_use]
    pub fn log(&self, daemon: &str) -> String {
        let text = std::fs::read(self.dir.path().join(format!("{daemon}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn ports(&self, role: Role, index: usize) -> &[u16] {
        let all = match role {
            Role::NameNode => &self.namenode_ports,
            Role::JournalNode => &self.journalnode_ports,
            Role::DataNode | Role::Zkfc => panic!("not of a DataNode or controller"),
        };
        &all[2 * index..2 * index + 2]
    }

    /// RPC address of a daemon.
    #[must_use]
    pub fn address(&self, role: Role, index: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports(role, index)[0]).into()
    }

    /// HTTP address of a daemon.
    #[must_use]
    pub fn http_address(&self, role: Role, index: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports(role, index)[1]).into()
    }

    fn command(&self, kind: Kind, daemon: &str, conf: &Path, args: &[&str]) -> Result<Command> {
        Ok(match kind {
            Kind::Ours => {
                // A write beyond the limit on the length of files fails as on a full disk, without a signal.
                let mut command = Command::new("bash");
                command
                    .args(["-c", "trap '' XFSZ; exec \"$@\"", "hathi"])
                    .arg(&self.hathi);
                command.args([daemon, "--conf"]).arg(conf).args(args);
                command
            }
            Kind::Hadoops => {
                let hadoop = self.hadoop.as_ref().context("without Hadoop")?;
                hadoop.command(conf, daemon, args)
            }
        })
    }

    fn spawn(&self, command: Command, name: &str, address: SocketAddr) -> Result<Child> {
        let mut child = self.launch(command, name)?;
        wait_for(&format!("{name} to listen"), PATIENCE, || {
            let ended = child.try_wait().is_ok_and(|status| status.is_some());
            assert!(!ended, "{name} ended:\n{}", self.log(name));
            TcpStream::connect(address).ok()
        });
        Ok(child)
    }

    fn launch(&self, mut command: Command, name: &str) -> Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command.spawn()?)
    }

    /// Starts a JournalNode on what its directory holds.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_journalnode(&mut self, index: usize, kind: Kind) -> Result<()> {
        let command = self.command(kind, "journalnode", &self.journalnode_conf(index), &[])?;
        let address = self.address(Role::JournalNode, index);
        self.journalnodes[index] = Some(self.spawn(command, &format!("jn{index}"), address)?);
        Ok(())
    }

    /// Kills a JournalNode (SIGKILL).
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_journalnode(&mut self, index: usize) -> Result<()> {
        kill(&mut self.journalnodes[index])
    }

    /// Runs a NameNode with an option after which it ends (`-format`, `-bootstrapStandby` ...).
    ///
    /// # Errors
    /// When it fails; the message carries what it printed.
    pub fn namenode(&self, kind: Kind, conf: &Path, args: &[&str]) -> Result<()> {
        let mut command = self.command(kind, "namenode", conf, args)?;
        command.stdin(Stdio::null());
        succeed(command).map(drop)
    }

    /// A command for one of our NameNodes with an option after which it ends.
    ///
    /// # Errors
    /// Never.
    pub fn namenode_command(&self, index: usize, args: &[&str]) -> Result<Command> {
        let mut command = self.command(Kind::Ours, "namenode", &self.conf(index), args)?;
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Runs one of our NameNodes that should end with an error. Returns its exit code and its output.
    ///
    /// # Errors
    /// When it ends well.
    pub fn namenode_refuses(&self, index: usize, args: &[&str]) -> Result<(Option<i32>, String)> {
        let mut command = self.command(Kind::Ours, "namenode", &self.conf(index), args)?;
        let output = command.stdin(Stdio::null()).output()?;
        ensure!(!output.status.success(), "{args:?} is not refused");
        Ok((
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }

    /// Starts a NameNode, and waits until it is standby (without other NameNodes: until it listens).
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_namenode(&mut self, index: usize, kind: Kind, conf: &Path) -> Result<()> {
        self.start_namenode_with(index, kind, conf, &[])
    }

    /// The same, with options.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_namenode_with(&mut self, index: usize, kind: Kind, conf: &Path, options: &[&str]) -> Result<()> {
        let command = self.command(kind, "namenode", conf, options)?;
        let name = format!("nn{index}");
        self.namenodes[index] = Some(self.spawn(command, &name, self.address(Role::NameNode, index))?);
        if conf != self.conf_alone() {
            self.wait_for_state(index, "standby");
        }
        Ok(())
    }

    /// Starts NameNodes at the same time, and waits until they are standbys. Hadoop's take their time.
    ///
    /// # Errors
    /// When one can't be started.
    pub fn start_namenodes(&mut self, indexes: &[usize], kind: Kind) -> Result<()> {
        for index in indexes {
            let command = self.command(kind, "namenode", &self.conf(*index), &[])?;
            self.namenodes[*index] = Some(self.launch(command, &format!("nn{index}"))?);
        }
        for index in indexes {
            self.wait_for_state(*index, "standby");
        }
        Ok(())
    }

    /// The configuration of the controller beside a NameNode, with `more` in it.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn controller_conf(&self, index: usize, more: &[(&str, &str)]) -> Result<PathBuf> {
        let conf = self.dir.path().join(format!("conf-zkfc{index}"));
        std::fs::create_dir_all(&conf)?;
        let own: String = [("dfs.ha.automatic-failover.enabled", "true")]
            .iter()
            .chain(more)
            .map(|(key, value)| format!("<property><name>{key}</name><value>{value}</value></property>\n"))
            .collect();
        for file in ["core-site.xml", "hdfs-site.xml"] {
            let text = std::fs::read_to_string(self.conf(index).join(file))?;
            let text = text.replace("</configuration>", &format!("{own}</configuration>"));
            std::fs::write(conf.join(file), text)?;
        }
        Ok(conf)
    }

    /// Creates the nameservice's znode (`zkfc -formatZK`).
    ///
    /// # Errors
    /// When it fails; the message carries what it printed.
    pub fn format_zookeeper(&self, kind: Kind) -> Result<()> {
        let conf = self.controller_conf(0, &[])?;
        succeed(self.command(kind, "zkfc", &conf, &["-formatZK", "-nonInteractive"])?).map(drop)
    }

    /// Starts a failover controller beside a NameNode; it logs as `zkfc0` or `zkfc1`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_controller(&mut self, index: usize, kind: Kind) -> Result<()> {
        self.start_controller_with(index, kind, &[])
    }

    /// As [`Pair::start_controller`], with `more` in its configuration.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_controller_with(&mut self, index: usize, kind: Kind, more: &[(&str, &str)]) -> Result<()> {
        let conf = self.controller_conf(index, more)?;
        let log = File::create(self.dir.path().join(format!("zkfc{index}.log")))?;
        let mut command = self.command(kind, "zkfc", &conf, &[])?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.controllers[index] = Some(command.spawn()?);
        Ok(())
    }

    /// Sends a signal to a failover controller.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal_controller(&self, index: usize, signal: Signal) -> Result<()> {
        let child = self.controllers[index].as_ref().context("it does not run")?;
        crate::send_signal(Pid::from_raw(i32::try_from(child.id())?).context("pid")?, signal)
    }

    /// SIGTERM for a failover controller, and waits for the end.
    ///
    /// # Errors
    /// When it does not run, or does not end well.
    pub fn stop_controller(&mut self, index: usize) -> Result<()> {
        self.signal_controller(index, Signal::TERM)?;
        let status = self.controllers[index].take().context("it does not run")?.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }

    /// Kills a failover controller (SIGKILL).
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_controller(&mut self, index: usize) -> Result<()> {
        kill(&mut self.controllers[index])
    }

    /// Starts one of Hadoop's NameNodes with `-upgrade`, which makes it the active at once.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn upgrade_namenode(&mut self, index: usize) -> Result<()> {
        let command = self.command(Kind::Hadoops, "namenode", &self.conf(index), &["-upgrade"])?;
        let name = format!("nn{index}");
        self.namenodes[index] = Some(self.spawn(command, &name, self.address(Role::NameNode, index))?);
        self.wait_for_state(index, "active");
        Ok(())
    }

    /// Runs one of Hadoop's NameNodes with `-rollback`, and says yes when it asks.
    ///
    /// # Errors
    /// When it fails.
    pub fn roll_back_namenode(&self, index: usize) -> Result<()> {
        let mut answer = tempfile::tempfile()?;
        answer.write_all(b"Y\n")?;
        answer.rewind()?;
        let mut command = self.command(Kind::Hadoops, "namenode", &self.conf(index), &["-rollback"])?;
        command.stdin(answer);
        succeed(command).map(drop)
    }

    /// Kills a NameNode (SIGKILL).
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_namenode(&mut self, index: usize) -> Result<()> {
        kill(&mut self.namenodes[index])
    }

    /// Ends a NameNode (SIGTERM), and waits for its end.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop_namenode(&mut self, index: usize) -> Result<()> {
        self.signal(Role::NameNode, index, Signal::TERM)?;
        self.namenodes[index].take().context("it does not run")?.wait()?;
        Ok(())
    }

    /// The process id of a daemon.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self, role: Role, index: usize) -> Result<Pid> {
        let child = match role {
            Role::NameNode => &self.namenodes[index],
            Role::JournalNode => &self.journalnodes[index],
            Role::DataNode | Role::Zkfc => bail!("not of a DataNode or controller"),
        };
        let child = child.as_ref().context("it does not run")?;
        Pid::from_raw(i32::try_from(child.id())?).context("pid")
    }

    /// Sends a signal to a daemon.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, role: Role, index: usize, signal: Signal) -> Result<()> {
        crate::send_signal(self.pid(role, index)?, signal)
    }

    /// Checks that no NameNode has ended.
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
            (self.state(index).ok()? == state).then_some(())
        });
    }

    /// The state that a NameNode reports: `active` or `standby`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn state(&self, index: usize) -> Result<String> {
        let printed = self.run("haadmin", &["-getServiceState", &format!("nn{index}")])?;
        Ok(printed.trim().to_owned())
    }

    /// One of our tools with the configuration of a client.
    #[must_use]
    pub fn tool(&self, tool: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.hathi);
        command.arg(tool).args(args).env("HADOOP_CONF_DIR", self.conf(0));
        command.stdin(Stdio::null());
        command
    }

    /// Runs one of our tools. If a NameNode is to become active, this waits for it first: `haadmin` itself, like
    /// Hadoop's, waits neither for a NameNode that starts nor for the end of its safe mode.
    ///
    /// # Errors
    /// When it fails; the message carries what it printed.
    pub fn run(&self, tool: &str, args: &[&str]) -> Result<String> {
        let started = Instant::now();
        let promotes = matches!(args.first(), Some(&"-transitionToActive" | &"-failover"));
        loop {
            let result = succeed(self.tool(tool, args));
            let Err(error) = &result else { return result };
            let told = error.to_string();
            let is_starting = told.contains("Connection refused") || told.contains("is not ready to become active");
            if !promotes || !is_starting || started.elapsed() > PATIENCE {
                return result;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Moves the active role in order.
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
        let mut names = self.end_datanodes();
        for (kind, children) in [
            ("zkfc", &mut self.controllers[..]),
            ("nn", &mut self.namenodes[..]),
            ("jn", &mut self.journalnodes[..]),
        ] {
            for (index, child) in children.iter_mut().enumerate() {
                names.push(format!("{kind}{index}"));
                // In most cases the error is that it does not run. Other errors can't be handled here.
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

fn write_conf(dir: &Path, fs: &str, site: &[(String, String)], own: &[(&str, String)]) -> Result<()> {
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

fn kill(child: &mut Option<Child>) -> Result<()> {
    let mut child = child.take().context("it does not run")?;
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn succeed(mut command: Command) -> Result<String> {
    let output = command.output()?;
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
