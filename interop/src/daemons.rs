//! The daemons of a quickstart cluster. Each is started, killed and configured by itself, and can be given faults.

use anyhow::{Context, Result, ensure};
use hathi_conf::Configuration;
use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::faults::{self, Faults};
use crate::{Cluster, ClusterOptions, Role, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);
/// Environment variable that makes daemons end when their test is killed.
const DIE_WITH_PARENT: &str = "HATHI_DIE_WITH_PARENT";

/// Options for the start of one daemon.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Command that runs `hathi` (`unshare ...`).
    pub wrapper: Vec<String>,
    /// File for its output, instead of its log.
    pub log: Option<PathBuf>,
}

impl Start {
    /// Each of these directories, which exist, is on a file system of its own of this size in bytes, which only this
    /// daemon sees. What is in the directory is copied there.
    #[must_use]
    pub fn on_small_disks(dirs: &[PathBuf], size: u64) -> Start {
        let mut script = String::new();
        for dir in dirs {
            let dir = dir.display();
            script += &format!(
                "rm -rf '{dir}.saved' && cp -a '{dir}' '{dir}.saved' && mount -t tmpfs -o size={size} none '{dir}' \
                 && cp -a '{dir}.saved/.' '{dir}' && "
            );
        }
        let script = format!("{script} exec \"$@\"");
        let words = ["unshare", "--mount", "sh", "-c", &script, "sh"];
        Start {
            wrapper: words.map(str::to_owned).to_vec(),
            ..Start::default()
        }
    }
}

/// A formatted cluster. At first nothing runs. Dropping it kills every running daemon.
#[derive(Debug)]
pub struct Daemons {
    hathi: PathBuf,
    options: ClusterOptions,
    cluster: Cluster,
    running: BTreeMap<(Role, u16), Child>,
    faults: BTreeMap<(Role, u16), Faults>,
}

impl Daemons {
    /// The last lines of the daemons' logs.
    pub fn logs(&self) -> String {
        self.cluster.logs()
    }

    /// Formats a cluster, with `more` in every daemon's and client's configuration.
    ///
    /// # Errors
    /// When its first start does not succeed.
    pub fn new(hathi: &Path, options: ClusterOptions, more: &[(&str, &str)]) -> Result<Daemons> {
        let mut cluster = Cluster::start(hathi, options)?;
        cluster.kill_everything()?;
        let mut daemons = Daemons {
            hathi: hathi.to_owned(),
            options,
            cluster,
            running: BTreeMap::new(),
            faults: BTreeMap::new(),
        };
        std::fs::create_dir_all(daemons.faults_dir())?;
        configure(&daemons.conf(), more)?;
        for (role, index) in daemons.all() {
            configure(&daemons.daemon_conf(role, index), more)?;
            let faults = Faults::create(&daemons.faults_dir(), &name(role, index))?;
            daemons.faults.insert((role, index), faults);
        }
        Ok(daemons)
    }

    /// As [`Daemons::new`], and starts all of them. There is an active NameNode, and every DataNode has reported.
    ///
    /// # Errors
    /// When they can't be started.
    pub fn started(hathi: &Path, options: ClusterOptions, more: &[(&str, &str)]) -> Result<Daemons> {
        let mut daemons = Daemons::new(hathi, options, more)?;
        daemons.start_all()?;
        daemons.wait_until_ready();
        Ok(daemons)
    }

    fn faults_dir(&self) -> PathBuf {
        self.cluster.dir().join("faults")
    }

    /// Every daemon, in the order of a start.
    #[must_use]
    pub fn all(&self) -> Vec<(Role, u16)> {
        let ClusterOptions {
            namenodes,
            journalnodes,
            datanodes,
        } = self.options;
        [
            (Role::JournalNode, journalnodes),
            (Role::NameNode, namenodes),
            (Role::Zkfc, namenodes),
            (Role::DataNode, datanodes),
        ]
        .into_iter()
        .flat_map(|(role, count)| (0..count).map(move |index| (role, index)))
        .collect()
    }

    /// The daemons of one role.
    pub fn of(&self, role: Role) -> impl Iterator<Item = u16> + use<> {
        let count = self.all().iter().filter(|(other, _)| *other == role).count();
        0..u16::try_from(count).unwrap_or(u16::MAX)
    }

    /// The directory of the whole cluster.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.cluster.dir()
    }

    /// A client's configuration.
    #[must_use]
    pub fn conf(&self) -> PathBuf {
        self.cluster.conf()
    }

    /// A daemon's configuration.
    #[must_use]
    pub fn daemon_conf(&self, role: Role, index: u16) -> PathBuf {
        self.conf().join(name(role, index))
    }

    /// Adds to a daemon's configuration, for its next start.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn configure(&self, role: Role, index: u16, more: &[(&str, &str)]) -> Result<()> {
        configure(&self.daemon_conf(role, index), more)
    }

    /// Adds to the clients' configuration.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn configure_clients(&self, more: &[(&str, &str)]) -> Result<()> {
        configure(&self.conf(), more)
    }

    /// A daemon's data directory.
    #[must_use]
    pub fn data_dir(&self, role: Role, index: u16) -> PathBuf {
        self.cluster.data_dir(role, index)
    }

    /// Faults of a daemon.
    ///
    /// # Panics
    /// When there is no such daemon.
    #[must_use]
    pub fn faults(&self, role: Role, index: u16) -> &Faults {
        self.faults.get(&(role, index)).expect("a daemon of this cluster")
    }

    /// Starts a daemon. When this returns, it listens or has ended.
    ///
    /// # Errors
    /// When it can't be started, or runs already.
    pub fn start(&mut self, role: Role, index: u16) -> Result<()> {
        self.start_with(role, index, &Start::default())
    }

    /// As [`Daemons::start`], with options.
    ///
    /// # Errors
    /// When it can't be started, or runs already.
    pub fn start_with(&mut self, role: Role, index: u16, how: &Start) -> Result<()> {
        ensure!(!self.is_running(role, index), "{} runs", name(role, index));
        let log = match &how.log {
            Some(path) => File::options().write(true).open(path)?,
            None => File::options()
                .create(true)
                .append(true)
                .open(self.log_file(role, index))?,
        };
        let mut words = how.wrapper.iter().map(PathBuf::from).chain([self.hathi.clone()]);
        let mut command = Command::new(words.next().context("no command")?);
        command
            .args(words)
            .args([role.name(), "--conf"])
            .arg(self.daemon_conf(role, index))
            .env("LD_PRELOAD", faults::LIBRARY)
            .env(faults::VARIABLE, self.faults_dir())
            .env(DIE_WITH_PARENT, "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.running.insert((role, index), command.spawn()?);
        Ok(())
    }

    /// Starts all daemons that do not run.
    ///
    /// # Errors
    /// When one can't be started.
    pub fn start_all(&mut self) -> Result<()> {
        for (role, index) in self.all() {
            if !self.is_running(role, index) {
                self.start(role, index)?;
            }
        }
        Ok(())
    }

    /// Starts all daemons of one role that do not run.
    ///
    /// # Errors
    /// When one can't be started.
    pub fn start_role(&mut self, role: Role) -> Result<()> {
        for index in self.of(role) {
            if !self.is_running(role, index) {
                self.start(role, index)?;
            }
        }
        Ok(())
    }

    /// Whether a daemon has been started and has not ended.
    pub fn is_running(&mut self, role: Role, index: u16) -> bool {
        let child = self.running.get_mut(&(role, index));
        child.is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// When it was not started.
    pub fn kill(&mut self, role: Role, index: u16) -> Result<()> {
        let mut child = self.running.remove(&(role, index)).context("it was not started")?;
        // It may have ended by itself.
        let _ = child.kill();
        child.wait()?;
        Ok(())
    }

    /// Sends SIGKILL to all running daemons of one role.
    ///
    /// # Errors
    /// When one can't be waited for.
    pub fn kill_role(&mut self, role: Role) -> Result<()> {
        for index in self.of(role) {
            if self.running.contains_key(&(role, index)) {
                self.kill(role, index)?;
            }
        }
        Ok(())
    }

    /// SIGKILL for everything, at once.
    ///
    /// # Errors
    /// When one can't be waited for.
    pub fn kill_all(&mut self) -> Result<()> {
        for child in self.running.values_mut() {
            // It may have ended by itself.
            let _ = child.kill();
        }
        for child in self.running.values_mut() {
            child.wait()?;
        }
        self.running.clear();
        Ok(())
    }

    /// The process id of a daemon, or of the command that runs it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self, role: Role, index: u16) -> Result<Pid> {
        let child = self.running.get(&(role, index)).context("it was not started")?;
        Pid::from_raw(i32::try_from(child.id())?).context("pid")
    }

    /// Where the files of a daemon that has disks of its own are seen from outside.
    ///
    /// # Errors
    /// When it does not run.
    pub fn seen_by(&self, role: Role, index: u16, path: &Path) -> Result<PathBuf> {
        let pid = self.pid(role, index)?.as_raw_nonzero();
        Ok(PathBuf::from(format!("/proc/{pid}/root{}", path.display())))
    }

    /// Sends a signal to a daemon.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, role: Role, index: u16, signal: Signal) -> Result<()> {
        crate::send_signal(self.pid(role, index)?, signal)
    }

    /// Sends a signal to all of one role.
    ///
    /// # Errors
    /// When one does not run.
    pub fn signal_role(&self, role: Role, signal: Signal) -> Result<()> {
        self.of(role).try_for_each(|index| self.signal(role, index, signal))
    }

    /// The active NameNode, if there is exactly one.
    #[must_use]
    pub fn active(&self) -> Option<u16> {
        self.cluster.active()
    }

    /// Waits for an active NameNode that is not among `but`.
    ///
    /// # Panics
    /// When there is none within a minute.
    #[must_use]
    pub fn wait_for_active(&self, but: &[u16]) -> u16 {
        wait_for("an active NameNode", PATIENCE, || {
            self.of(Role::NameNode)
                .filter(|index| !but.contains(index))
                .find(|index| self.state(*index).is_some_and(|state| state == "active"))
        })
    }

    /// The HA state that a NameNode reports. `None` when it does not answer.
    #[must_use]
    pub fn state(&self, index: u16) -> Option<String> {
        let state = self.hathi("haadmin", &["-getServiceState", &format!("nn{index}")]);
        Some(state.ok()?.trim().to_owned())
    }

    /// Waits until one NameNode is active and out of safe mode, the others are standbys, and no DataNode is missing.
    ///
    /// # Panics
    /// When that is not so within a minute.
    pub fn wait_until_ready(&self) {
        let datanodes = format!("Live datanodes ({})", self.options.datanodes);
        wait_for("the whole cluster", PATIENCE, || {
            let states: Option<Vec<String>> = self.of(Role::NameNode).map(|index| self.state(index)).collect();
            let standbys = states?.iter().filter(|state| *state == "standby").count();
            let report = self.hathi("dfsadmin", &["-report"]).ok()?;
            let whole = standbys + 1 == usize::from(self.options.namenodes)
                && report.contains(&datanodes)
                && self.hathi("dfsadmin", &["-safemode", "get"]).ok()?.contains("OFF");
            whole.then_some(())
        });
    }

    /// Runs `hathi` with a client's configuration, and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message carries its stderr.
    pub fn hathi(&self, command: &str, args: &[&str]) -> Result<String> {
        let output = self.client(command, args).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "hathi {command} {args:?}: {}:\n{told}",
            output.status
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `hathi` with a client's configuration.
    #[must_use]
    pub fn client(&self, command: &str, args: &[&str]) -> Command {
        let mut hathi = Command::new(&self.hathi);
        hathi
            .arg(command)
            .args(args)
            .env("HADOOP_CONF_DIR", self.conf())
            .env("LD_PRELOAD", faults::LIBRARY)
            .env(faults::VARIABLE, self.faults_dir())
            .stdin(Stdio::null());
        hathi
    }

    /// Sets the addresses of these hosts for daemons and clients. Earlier settings are dropped.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn set_hosts(&self, hosts: &BTreeMap<String, IpAddr>) -> Result<()> {
        let lines: String = hosts
            .iter()
            .map(|(name, address)| format!("{address} {name}\n"))
            .collect();
        // The file is replaced in one step, because names are resolved all the time.
        let new = self.dir().join("hosts");
        std::fs::write(&new, lines)?;
        Ok(std::fs::rename(new, self.faults_dir().join("hosts"))?)
    }

    /// `ip:port` of a NameNode's RPC server.
    ///
    /// # Errors
    /// When the configuration does not name it.
    pub fn namenode_address(&self, index: u16) -> Result<String> {
        let key = format!("dfs.namenode.rpc-address.hathi.nn{index}");
        Configuration::load(&self.conf())?.get(&key).context(key)
    }

    /// Address of a NameNode's web server.
    ///
    /// # Errors
    /// When the configuration does not name it.
    pub fn namenode_http(&self, index: u16) -> Result<String> {
        self.cluster.namenode_http(index)
    }

    fn log_file(&self, role: Role, index: u16) -> PathBuf {
        self.dir().join("logs").join(format!("{}.log", name(role, index)))
    }

    /// Everything that a daemon has logged since the cluster was formatted.
    #[must_use]
    pub fn log(&self, role: Role, index: u16) -> String {
        let text = std::fs::read(self.log_file(role, index)).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        // An error can't be handled here. The cluster prints its logs when a test has failed.
        let _ = self.kill_all();
    }
}

/// When the NameNode behind this address last changed its role, in ms, from its `NameNodeStatus`. The promises of the
/// JournalNodes would not tell: a writer in office may raise them itself.
pub(crate) fn last_transition(http: &str) -> Result<String> {
    let mut stream = TcpStream::connect(http)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET /jmx?qry=Hadoop:service=NameNode,name=NameNodeStatus HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (_, rest) = text
        .split_once("LastHATransitionTime")
        .context("no LastHATransitionTime")?;
    let digits = rest.chars().skip_while(|letter| !letter.is_ascii_digit());
    Ok(digits.take_while(char::is_ascii_digit).collect())
}

/// The name in directories and logs.
fn name(role: Role, index: u16) -> String {
    format!("{}-{index}", role.name())
}

/// Appends settings to the hdfs-site.xml of a directory. Later settings override earlier ones.
fn configure(dir: &Path, more: &[(&str, &str)]) -> Result<()> {
    let path = dir.join("hdfs-site.xml");
    let site = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let own: String = more
        .iter()
        .map(|(key, value)| format!("<property><name>{key}</name><value>{value}</value></property>\n"))
        .collect();
    let end = "</configuration>";
    Ok(std::fs::write(&path, site.replace(end, &format!("{own}{end}")))?)
}
