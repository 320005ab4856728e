//! A `hathi quickstart` cluster under test.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

use crate::PortRange;

/// How long a cluster may take until it is ready. This is far more than it needs, for machines under load.
const READY_TIMEOUT: Duration = Duration::from_secs(90);

/// The daemons, by the names of their pid files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `namenode-N`
    NameNode,
    /// `journalnode-N`
    JournalNode,
    /// `datanode-N`
    DataNode,
    /// `zkfc-N`
    Zkfc,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::NameNode => "namenode",
            Role::JournalNode => "journalnode",
            Role::DataNode => "datanode",
            Role::Zkfc => "zkfc",
        }
    }
}

/// Numbers of daemons.
#[derive(Clone, Copy, Debug)]
pub struct ClusterOptions {
    /// NameNodes, each with a controller.
    pub namenodes: u16,
    /// JournalNodes.
    pub journalnodes: u16,
    /// DataNodes.
    pub datanodes: u16,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        ClusterOptions {
            namenodes: 3,
            journalnodes: 3,
            datanodes: 3,
        }
    }
}

/// A running cluster; dropping it ends every process of it.
#[derive(Debug)]
pub struct Cluster {
    hathi: PathBuf,
    options: ClusterOptions,
    ports: PortRange,
    dir: TempDir,
    /// `KEY=VALUE`, for every daemon and client.
    settings: Vec<String>,
    /// `--host`
    host: Option<IpAddr>,
    quickstart: Option<Child>,
}

impl Cluster {
    /// Starts a cluster with the given `hathi` binary in a new temporary directory, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready; the message carries what it printed.
    pub fn start(hathi: impl AsRef<Path>, options: ClusterOptions) -> Result<Cluster> {
        Self::start_with(hathi, options, &[])
    }

    /// As [`Cluster::start`], with these settings (`KEY=VALUE`) for every daemon and client.
    ///
    /// # Errors
    /// When it does not get ready; the message carries what it printed.
    pub fn start_with(hathi: impl AsRef<Path>, options: ClusterOptions, settings: &[&str]) -> Result<Cluster> {
        Self::start_at(hathi, options, settings, None)
    }

    /// As [`Cluster::start`], with all daemons at this address of the machine.
    ///
    /// # Errors
    /// When it does not get ready; the message carries what it printed.
    pub fn start_on(hathi: impl AsRef<Path>, options: ClusterOptions, host: IpAddr) -> Result<Cluster> {
        Self::start_at(hathi, options, &[], Some(host))
    }

    fn start_at(
        hathi: impl AsRef<Path>,
        options: ClusterOptions,
        settings: &[&str],
        host: Option<IpAddr>,
    ) -> Result<Cluster> {
        let mut cluster = Cluster {
            hathi: hathi.as_ref().to_owned(),
            options,
            ports: PortRange::claim()?,
            dir: TempDir::with_prefix("hathi-cluster-")?,
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            host,
            quickstart: None,
        };
        cluster.start_again()?;
        Ok(cluster)
    }

    /// Starts the whole cluster on its directory once more, after [`Cluster::kill_everything`] or [`Cluster::stop`].
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_again(&mut self) -> Result<()> {
        let mut child = Command::new(&self.hathi)
            .arg("quickstart")
            .arg("--dir")
            .arg(self.dir.path())
            .args(["--base-port", &self.ports.base().to_string()])
            .args(["--namenodes", &self.options.namenodes.to_string()])
            .args(["--journalnodes", &self.options.journalnodes.to_string()])
            .args(["--datanodes", &self.options.datanodes.to_string()])
            .args(self.settings.iter().flat_map(|setting| ["--set", setting]))
            .args(
                self.host
                    .iter()
                    .flat_map(|host| ["--host".to_owned(), host.to_string()]),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("can't start {}", self.hathi.display()))?;
        let stdout = child.stdout.take().context("no stdout")?;
        self.quickstart = Some(child);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody reads these lines once the cluster is ready, but the pipe must be drained.
                let _ = sender.send(line);
            }
        });
        let mut printed = String::new();
        loop {
            match receiver.recv_timeout(READY_TIMEOUT) {
                Ok(line) if line.starts_with("ready ") => return Ok(()),
                Ok(line) => printed.push_str(&format!("{line}\n")),
                Err(error) => bail!("not ready ({error}); it printed:\n{printed}{}", self.logs()),
            }
        }
    }

    /// `DIR/conf`.
    #[must_use]
    pub fn conf(&self) -> PathBuf {
        self.dir.path().join("conf")
    }

    /// A client's configuration with these settings (`KEY=VALUE`) on top, in a directory of its own.
    ///
    /// # Errors
    /// When one is no setting, or the files can't be written.
    pub fn client_conf(&self, settings: &[String]) -> Result<PathBuf> {
        let conf = self.dir().join("conf-client");
        std::fs::create_dir(&conf)?;
        std::fs::copy(self.conf().join("core-site.xml"), conf.join("core-site.xml"))?;
        let mut own = String::new();
        for setting in settings {
            let (key, value) = setting
                .split_once('=')
                .with_context(|| format!("{setting}: not KEY=VALUE"))?;
            own += &format!("<property><name>{key}</name><value>{value}</value></property>");
        }
        let site = std::fs::read_to_string(self.conf().join("hdfs-site.xml"))?;
        let end = "</configuration>";
        std::fs::write(conf.join("hdfs-site.xml"), site.replace(end, &format!("{own}{end}")))?;
        Ok(conf)
    }

    /// `DIR`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Data directory of a daemon.
    #[must_use]
    pub fn data_dir(&self, role: Role, index: u16) -> PathBuf {
        self.dir.path().join("data").join(format!("{}-{index}", role.name()))
    }

    /// The configuration directory of a daemon, read at its start.
    #[must_use]
    pub fn daemon_conf(&self, role: Role, index: u16) -> PathBuf {
        self.conf().join(format!("{}-{index}", role.name()))
    }

    /// Address of a NameNode's web server.
    ///
    /// # Errors
    /// When the clients' configuration does not say.
    pub fn namenode_http(&self, index: u16) -> Result<String> {
        let path = self.conf().join("hdfs-site.xml");
        let site = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let address = site
            .split("dfs.namenode.http-address.")
            .skip(1)
            .filter(|rest| {
                rest.split('<')
                    .next()
                    .is_some_and(|id| id.ends_with(&format!(".nn{index}")))
            })
            .find_map(|rest| rest.split_once("<value>")?.1.split('<').next());
        Ok(address
            .with_context(|| format!("{}: no web address", path.display()))?
            .to_owned())
    }

    /// The process id of a daemon.
    ///
    /// # Errors
    /// When there is no pid file with a number in it.
    pub fn pid(&self, role: Role, index: u16) -> Result<Pid> {
        let path = self.dir.path().join("run").join(format!("{}-{index}.pid", role.name()));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let pid: i32 = text.trim().parse().with_context(|| path.display().to_string())?;
        Pid::from_raw(pid).with_context(|| path.display().to_string())
    }

    /// Sends a signal to a daemon.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, role: Role, index: u16, signal: Signal) -> Result<()> {
        crate::send_signal(self.pid(role, index)?, signal)
    }

    /// Runs `hathi` with the cluster's configuration.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn hathi(&self, command: &str, args: &[&str]) -> Result<Output> {
        Ok(Command::new(&self.hathi)
            .arg(command)
            .args(args)
            .env("HADOOP_CONF_DIR", self.conf())
            .stdin(Stdio::null())
            .output()?)
    }

    /// Runs `hathi` and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message carries its stderr.
    pub fn hathi_ok(&self, command: &str, args: &[&str]) -> Result<String> {
        let output = self.hathi(command, args)?;
        if !output.status.success() {
            bail!(
                "hathi {command} {} ended with {}:\n{}{}",
                args.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The index of the NameNode that calls itself active, if there is exactly one.
    #[must_use]
    pub fn active(&self) -> Option<u16> {
        let mut active = (0..self.options.namenodes).filter(|index| {
            self.hathi_ok("haadmin", &["-getServiceState", &format!("nn{index}")])
                .is_ok_and(|state| state.trim() == "active")
        });
        let first = active.next()?;
        active.next().is_none().then_some(first)
    }

    /// SIGKILL for every daemon and for the quickstart itself.
    ///
    /// # Errors
    /// When the quickstart can't be waited for.
    pub fn kill_everything(&mut self) -> Result<()> {
        if let Some(mut quickstart) = self.quickstart.take() {
            // This comes first, so that it restarts nothing.
            quickstart.kill()?;
            quickstart.wait()?;
        }
        for role in [Role::NameNode, Role::JournalNode, Role::DataNode, Role::Zkfc] {
            for index in 0..10 {
                // Most of these do not exist, and some have just ended with their parent.
                let _ = self.signal(role, index, Signal::KILL);
            }
        }
        for role in [Role::NameNode, Role::JournalNode, Role::DataNode, Role::Zkfc] {
            for index in 0..10 {
                if let Ok(pid) = self.pid(role, index) {
                    // A killed process releases its files, and so its locks, before it becomes a zombie.
                    crate::wait_for("the end of a killed process", READY_TIMEOUT, || {
                        matches!(
                            crate::state_in(format!("/proc/{}/stat", pid.as_raw_nonzero())),
                            None | Some('Z' | 'X')
                        )
                        .then_some(())
                    });
                }
            }
        }
        Ok(())
    }

    /// Ends the cluster in order, as Ctrl-C does.
    ///
    /// # Errors
    /// When the quickstart can't be waited for.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut quickstart) = self.quickstart.take() {
            let pid = i32::try_from(quickstart.id())?;
            kill_process(Pid::from_raw(pid).context("pid")?, Signal::TERM)?;
            quickstart.wait()?;
        }
        Ok(())
    }

    /// The end of every daemon's log, for a failure's message.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut text = String::new();
        let Ok(entries) = std::fs::read_dir(self.dir.path().join("logs")) else {
            return text;
        };
        for entry in entries.flatten() {
            let log = std::fs::read(entry.path()).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            text.push_str(&format!("---- {}\n{tail}\n", entry.file_name().display()));
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        // An error can't be handled here.
        let _ = self.kill_everything();
    }
}
