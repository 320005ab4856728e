//! A NameNode without high availability, ours or Hadoop's on the same directories and port, and DataNodes of ours.

use crate::{Hadoop, Kind, PortRange, wait_for};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// First port of the DataNodes in the range. Each has three.
const DATANODE_PORTS: u16 = 10;
/// Name of the NameNode's process.
const NAMENODE: &str = "namenode";

/// The processes and their directories. At first nothing runs. Dropping it kills every running process.
#[derive(Debug)]
pub struct Single {
    hathi: PathBuf,
    hadoop: Option<Hadoop>,
    dir: TempDir,
    range: PortRange,
    site: Vec<(String, String)>,
    /// Heap of Hadoop's daemons in MiB, for measurements.
    heap_mb: Option<u32>,
    running: BTreeMap<String, Child>,
}

impl Single {
    /// A configuration with this number of name directories, all empty. `more` is added to every configuration.
    ///
    /// # Errors
    /// When a port or a file can't be had.
    pub fn new(
        hathi: impl AsRef<Path>,
        hadoop: Option<Hadoop>,
        name_dirs: usize,
        more: &[(&str, &str)],
    ) -> Result<Single> {
        let mut single = Single {
            hathi: hathi.as_ref().to_owned(),
            hadoop,
            dir: TempDir::with_prefix("hathi-single-")?,
            range: PortRange::claim()?,
            site: Vec::new(),
            heap_mb: None,
            running: BTreeMap::new(),
        };
        let own = [
            ("dfs.namenode.http-address", single.http_address().to_string()),
            ("dfs.namenode.secondary.http-address", single.port(2).to_string()),
            ("dfs.namenode.checkpoint.dir", single.uri("secondary")),
            ("dfs.namenode.safemode.extension", "0".to_owned()),
            ("dfs.replication", "1".to_owned()),
            ("dfs.heartbeat.interval", "1".to_owned()),
        ];
        let site = own.iter().map(|(key, value)| (*key, value.as_str()));
        single.site = site
            .chain(more.iter().copied())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let all: Vec<usize> = (0..name_dirs).collect();
        single.use_name_dirs(&all)?;
        Ok(single)
    }

    /// From now on, Hadoop's daemons run with this heap and with every optimization of the JVM.
    pub fn measure_with_heap(&mut self, heap_mb: u32) {
        self.heap_mb = Some(heap_mb);
    }

    /// From its next start on, the NameNode uses these of its directories.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn use_name_dirs(&self, indices: &[usize]) -> Result<()> {
        let dirs: Vec<String> = indices.iter().map(|index| self.uri(&format!("name{index}"))).collect();
        self.write_conf(&self.conf(), &[("dfs.namenode.name.dir", dirs.join(","))])
    }

    fn write_conf(&self, dir: &Path, own: &[(&str, String)]) -> Result<()> {
        std::fs::create_dir_all(dir)?;
        let xml = |properties: &mut dyn Iterator<Item = (&str, &str)>| {
            let lines: String = properties
                .map(|(key, value)| format!("<property><name>{key}</name><value>{value}</value></property>\n"))
                .collect();
            format!("<configuration>\n{lines}</configuration>\n")
        };
        let fs = format!("hdfs://{}", self.address());
        std::fs::write(
            dir.join("core-site.xml"),
            xml(&mut [("fs.defaultFS", fs.as_str())].into_iter()),
        )?;
        let site = self.site.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut all = site.chain(own.iter().map(|(key, value)| (*key, value.as_str())));
        Ok(std::fs::write(dir.join("hdfs-site.xml"), xml(&mut all))?)
    }

    fn uri(&self, name: &str) -> String {
        format!("file://{}", self.dir.path().join(name).display())
    }

    fn port(&self, which: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.range.base() + which).into()
    }

    /// RPC address of the NameNode.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port(0)
    }

    /// Address of its web server.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.port(1)
    }

    /// The configuration of the NameNode and of clients.
    #[must_use]
    pub fn conf(&self) -> PathBuf {
        self.dir.path().join("conf")
    }

    /// A name directory.
    #[must_use]
    pub fn name_dir(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("name{index}"))
    }

    /// The names of a name directory's files with this prefix, sorted.
    #[must_use]
    pub fn files(&self, index: usize, prefix: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.name_dir(index).join("current"))
            .into_iter()
            .flatten();
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        names
    }

    /// A command for one of the daemons.
    ///
    /// # Errors
    /// When Hadoop is wanted and not there.
    pub fn command(&self, kind: Kind, daemon: &str, conf: &Path, args: &[&str]) -> Result<Command> {
        let mut command = match kind {
            Kind::Ours => {
                let mut command = Command::new(&self.hathi);
                command.args([daemon, "--conf"]).arg(conf).args(args);
                command
            }
            Kind::Hadoops => {
                let hadoop = self.hadoop.as_ref().context("without Hadoop")?;
                match self.heap_mb {
                    Some(heap_mb) => hadoop.server(conf, daemon, heap_mb, args),
                    None => hadoop.command(conf, daemon, args),
                }
            }
        };
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a daemon with options after which it ends. Returns its output.
    ///
    /// # Errors
    /// When it fails; the message carries what it printed.
    pub fn run_to_end(&self, kind: Kind, daemon: &str, args: &[&str]) -> Result<String> {
        let output = self.command(kind, daemon, &self.conf(), args)?.output()?;
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        ensure!(
            output.status.success(),
            "{daemon} {args:?} ended with {}:\n{printed}",
            output.status
        );
        Ok(printed)
    }

    /// Runs one of our tools.
    ///
    /// # Errors
    /// When it fails; the message carries what it printed.
    pub fn tool(&self, tool: &str, args: &[&str]) -> Result<String> {
        self.run_to_end(Kind::Ours, tool, args)
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    /// The log of a daemon.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file(name)).unwrap_or_default()).into_owned()
    }

    fn spawn(&mut self, name: &str, mut command: Command, address: SocketAddr) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log_file(name))?;
        let mut child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        wait_for(&format!("{name} to listen"), PATIENCE, || {
            let ended = child.try_wait().is_ok_and(|status| status.is_some());
            assert!(!ended, "{name} ended:\n{}", self.log(name));
            TcpStream::connect(address).ok()
        });
        self.running.insert(name.to_owned(), child);
        Ok(())
    }

    /// Starts the NameNode, and waits until it is out of safe mode.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_namenode(&mut self, kind: Kind) -> Result<()> {
        self.start_namenode_with(kind, &[])
    }

    /// Starts it with options.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_namenode_with(&mut self, kind: Kind, options: &[&str]) -> Result<()> {
        let command = self.command(kind, NAMENODE, &self.conf(), options)?;
        self.spawn(NAMENODE, command, self.address())?;
        wait_for("the end of safe mode", PATIENCE, || {
            let told = self.tool("dfsadmin", &["-safemode", "get"]).ok()?;
            told.contains("OFF").then_some(())
        });
        Ok(())
    }

    /// Address of a SecondaryNameNode's web server.
    #[must_use]
    pub fn secondary_http_address(&self) -> SocketAddr {
        self.port(2)
    }

    /// Starts a SecondaryNameNode of ours.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_secondary(&mut self) -> Result<()> {
        let command = self.command(Kind::Ours, "secondarynamenode", &self.conf(), &[])?;
        self.spawn("secondarynamenode", command, self.secondary_http_address())
    }

    /// Starts a DataNode of ours.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_datanode(&mut self, index: u16) -> Result<()> {
        let name = format!("datanode{index}");
        let address = |which| self.port(DATANODE_PORTS + 3 * index + which);
        let own = [
            ("dfs.datanode.data.dir", self.uri(&name)),
            ("dfs.datanode.hostname", "127.0.0.1".to_owned()),
            ("dfs.datanode.address", address(0).to_string()),
            ("dfs.datanode.ipc.address", address(1).to_string()),
            ("dfs.datanode.http.address", address(2).to_string()),
        ];
        let conf = self.dir.path().join(format!("conf-{name}"));
        self.write_conf(&conf, &own)?;
        let command = self.command(Kind::Ours, "datanode", &conf, &[])?;
        self.spawn(&name, command, self.port(DATANODE_PORTS + 3 * index))
    }

    /// Kills the NameNode (SIGKILL), and waits for its end.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_namenode(&mut self) -> Result<()> {
        let mut child = self.running.remove(NAMENODE).context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Waits until the NameNode ends by itself. Returns its exit code.
    ///
    /// # Errors
    /// When it was not started.
    pub fn wait_for_end(&mut self) -> Result<Option<i32>> {
        let mut child = self.running.remove(NAMENODE).context("it does not run")?;
        let status = wait_for("the NameNode's end", PATIENCE, || child.try_wait().ok().flatten());
        Ok(status.code())
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        for (name, mut child) in std::mem::take(&mut self.running) {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                let log = self.log(&name);
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("---- {name}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
        }
    }
}
