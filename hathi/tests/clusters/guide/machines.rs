//! The machines of the how-to pages, all of them on this one.
//!
//! The files of docs/operations.md are used as they are, with these rules:
//! - `nodeN.example.com:PORT` is 127.0.0.1 with a port of machine N's own, and so is `0.0.0.0:PORT` in machine N's files;
//! - `/etc/hadoop/conf` and `/data/` are directories of the machine's own;
//! - what a machine of its own would know by its address is added: the id of its NameNode, and the port of each controller;
//! - the ensemble of ZooKeeper is the test's;
//! - nobody waits here for what comes late or seldom: [`SOON`].
//!
//! A block of commands names the machines that it is for behind its language, and is run there from top to bottom. `hathi` is
//! run as it stands, `systemctl` is what starts, stops and kills here, with the command line of the unit file.
//! A block in which it does not occur is a script that bash runs.
//! What systemd does by itself is done at once: a daemon that was killed is started again.
//! A unit of Hadoop's daemon is one of ours here: the tests against the real Hadoop show that each takes the other's place.

use super::HATHI;
use super::pages::{Pages, Section};
use anyhow::{Context, Result, bail, ensure};
use hathi_interop::{PortRange, send_signal, wait_for};
use rustix::process::{Pid, Signal};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

pub const PATIENCE: Duration = Duration::from_secs(60);
/// The ports that the page names, in the order in which a machine has them here.
const PORTS: [&str; 8] = ["8020", "9870", "8019", "8485", "8480", "9866", "9867", "9864"];
/// Ports of one machine.
const PORTS_OF_MACHINE: u16 = 10;
/// The NameNodes of the page: `nnN` is on machine N.
const NAMENODES: u16 = 3;
const CONF: &str = "/etc/hadoop/conf";
/// What comes sooner here than in the page's cluster.
const SOON: [(&str, &str); 4] = [
    ("dfs.namenode.safemode.extension", "100"),
    ("dfs.heartbeat.interval", "1"),
    ("dfs.namenode.checkpoint.txns", "200"),
    ("dfs.namenode.checkpoint.check.period", "1"),
];
const DATA: &str = "/data/";
const FILES: [&str; 2] = ["core-site.xml", "hdfs-site.xml"];
/// Where the files of the cluster are.
const CONFIGURATION: Section = ("operations.md", "The configuration");
/// Where those of one NameNode without high availability are.
const ONE_NAMENODE: Section = ("upgrade.md", "From one NameNode to high availability");
const OURS: &str = "hathi@";
const HADOOPS: &str = "hadoop-hdfs-";

pub struct Machines {
    pages: Pages,
    followed: BTreeSet<Section>,
    dir: TempDir,
    ports: PortRange,
    /// `ExecStart` of the unit.
    exec_start: String,
    running: BTreeMap<(u16, String), Child>,
}

impl Machines {
    /// With the files of the cluster on machines 1 to `count`; what stands in `more` is put into them, and `quorum` is where
    /// ZooKeeper is.
    pub fn new(count: u16, more: &[Section], quorum: &str) -> Result<Machines> {
        let pages = Pages::read()?;
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/systemd/hathi@.service");
        let unit = std::fs::read_to_string(&unit).with_context(|| unit.display().to_string())?;
        let exec_start = unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
        let machines = Machines {
            exec_start: exec_start.context("no ExecStart")?.to_owned(),
            pages,
            followed: BTreeSet::new(),
            dir: TempDir::with_prefix("hathi-guide-")?,
            ports: PortRange::claim()?,
            running: BTreeMap::new(),
        };
        for machine in 1..=count {
            machines.configure(machine, more, quorum)?;
        }
        Ok(machines)
    }

    /// Writes a machine's files.
    pub fn configure(&self, machine: u16, more: &[Section], quorum: &str) -> Result<()> {
        let ports = (1..=NAMENODES).map(|namenode| {
            let key = format!("dfs.ha.zkfc.port.cluster1.nn{namenode}");
            (key, self.port(namenode, "8019").to_string())
        });
        let mut own: Vec<(String, String)> = ports.collect();
        if machine <= NAMENODES {
            own.push(("dfs.ha.namenode.id".to_owned(), format!("nn{machine}")));
        }
        self.write_files(machine, CONFIGURATION, more, &own, quorum)
    }

    /// Writes the files of a machine on which is the only NameNode.
    pub fn configure_one_namenode(&self, machine: u16) -> Result<()> {
        self.write_files(machine, ONE_NAMENODE, &[], &[], "")
    }

    fn write_files(
        &self,
        machine: u16,
        section: Section,
        more: &[Section],
        own: &[(String, String)],
        quorum: &str,
    ) -> Result<()> {
        let conf = self.conf(machine);
        std::fs::create_dir_all(&conf)?;
        for disk in ["1", "2"] {
            std::fs::create_dir_all(self.root(machine).join("data").join(disk))?;
        }
        // Of the page, an empty file.
        std::fs::write(conf.join("dfs.exclude"), "")?;
        let own: String = SOON
            .into_iter()
            .chain(own.iter().map(|(key, value)| (key.as_str(), value.as_str())))
            .map(|(key, value)| format!("<property><name>{key}</name><value>{value}</value></property>\n"))
            .collect();
        for name in FILES {
            let info = format!("xml {name}");
            let mut text = self.pages.block(section, &info)?.to_owned();
            let mut added = more
                .iter()
                .map(|section| self.pages.block(*section, &info))
                .collect::<Result<String>>()?;
            if name == "hdfs-site.xml" {
                added += &own;
            }
            text = text.replace("</configuration>", &format!("{added}</configuration>"));
            std::fs::write(conf.join(name), self.here(machine, &text, quorum))?;
        }
        Ok(())
    }

    fn root(&self, machine: u16) -> PathBuf {
        self.dir.path().join(format!("node{machine}"))
    }

    /// What is `/etc/hadoop/conf` there.
    pub fn conf(&self, machine: u16) -> PathBuf {
        self.root(machine).join("conf")
    }

    fn port(&self, machine: u16, port: &str) -> u16 {
        let place = PORTS.iter().position(|known| *known == port);
        let place = place
            .and_then(|place| u16::try_from(place).ok())
            .unwrap_or(PORTS_OF_MACHINE - 1);
        self.ports.base() + machine * PORTS_OF_MACHINE + place
    }

    fn address(&self, machine: u16, port: &str) -> String {
        format!("127.0.0.1:{}", self.port(machine, port))
    }

    /// Something of the page, as it is on a machine here.
    fn here(&self, machine: u16, text: &str, quorum: &str) -> String {
        let ensemble = (1..=3).map(|node| format!("node{node}.example.com:2181"));
        let ensemble = ensemble.collect::<Vec<_>>().join(",");
        let mut text = text
            .replace(&ensemble, quorum)
            .replace(CONF, &self.conf(machine).display().to_string())
            .replace(DATA, &format!("{}/", self.root(machine).join("data").display()));
        for port in PORTS {
            text = text.replace(&format!("0.0.0.0:{port}"), &self.address(machine, port));
            for node in 1..=4 {
                text = text.replace(&format!("node{node}.example.com:{port}"), &self.address(node, port));
            }
        }
        text
    }

    /// Runs the commands under a heading.
    pub fn follow(&mut self, section: Section) -> Result<()> {
        let blocks = self.pages.under(section).into_iter();
        let blocks: Vec<(String, String)> = blocks
            .filter(|block| block.info.starts_with("sh node"))
            .map(|block| (block.info.replace("sh ", ""), block.body.clone()))
            .collect();
        ensure!(!blocks.is_empty(), "no commands under {section:?}");
        self.followed.insert(section);
        for (nodes, body) in blocks {
            for node in nodes.split_whitespace() {
                let machine = node.strip_prefix("node").context("no node")?.parse()?;
                if !body.lines().any(is_known) {
                    self.script(machine, &body)
                        .with_context(|| format!("{section:?}: {node}"))?;
                    continue;
                }
                for line in body.lines() {
                    self.step(machine, line)
                        .with_context(|| format!("{section:?}: {node}: {line}"))?;
                }
            }
        }
        Ok(())
    }

    /// Checks that these sections, and no other ones, were followed.
    pub fn has_followed(&self, sections: &[Section]) -> Result<()> {
        let sections: BTreeSet<Section> = sections.iter().copied().collect();
        ensure!(self.followed == sections, "{:?} instead of {sections:?}", self.followed);
        Ok(())
    }

    /// Runs a whole block as it stands.
    fn script(&self, machine: u16, body: &str) -> Result<()> {
        let bin = self.dir.path().join("bin");
        if !bin.exists() {
            std::fs::create_dir(&bin)?;
            std::os::unix::fs::symlink(HATHI, bin.join("hathi"))?;
        }
        let path = std::env::var("PATH")?;
        let script = format!("sleep() {{ command sleep 0.05; }}\n{}", self.here(machine, body, ""));
        let output = Command::new("timeout")
            .args([
                &PATIENCE.as_secs().to_string(),
                "bash",
                "-euo",
                "pipefail",
                "-c",
                &script,
            ])
            .current_dir(self.root(machine))
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("HADOOP_CONF_DIR", self.conf(machine))
            .stdin(Stdio::null())
            .output()?;
        ensure!(output.status.success(), "{}\n{body}", text(&output));
        Ok(())
    }

    fn step(&mut self, machine: u16, line: &str) -> Result<()> {
        if line.starts_with("until [") {
            return self.script(machine, line);
        }
        let line = self.here(machine, line, "");
        if let Some(repeated) = line
            .strip_prefix("until ")
            .and_then(|line| line.strip_suffix("; do sleep 1; done"))
        {
            let (command, wanted) = repeated.split_once(" | grep -q ").unwrap_or((repeated, ""));
            let words: Vec<&str> = command.split_whitespace().collect();
            wait_for(&line, PATIENCE, || {
                let output = self.run(machine, &words).ok()?;
                let found = String::from_utf8_lossy(&output.stdout).contains(wanted);
                (output.status.success() && found).then_some(())
            });
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["hathi", "conf", ..] => {
                let output = self.run(machine, &words)?;
                let told = String::from_utf8_lossy(&output.stdout).into_owned();
                ensure!(output.status.success() && told.is_empty(), "{told}");
            }
            ["hathi", ..] => {
                let output = self.run(machine, &words)?;
                ensure!(output.status.success(), "{}", text(&output));
            }
            ["systemctl", "enable", "--now", units @ ..] | ["systemctl", "start", units @ ..] => {
                units.iter().try_for_each(|unit| self.start(machine, unit))?;
            }
            ["systemctl", "restart", units @ ..] => {
                for unit in units {
                    self.stop(machine, unit)?;
                    self.start(machine, unit)?;
                }
            }
            ["systemctl", "stop", units @ ..] => units.iter().try_for_each(|unit| self.stop(machine, unit))?,
            ["systemctl", "kill", "--signal=KILL", unit] => {
                let mut child = self.running(machine, unit)?;
                child.kill()?;
                child.wait()?;
                self.start(machine, unit)?;
            }
            _ => bail!("a command that is not known beside systemctl"),
        }
        Ok(())
    }

    /// A command of ours on a machine, to its end.
    fn run(&self, machine: u16, words: &[&str]) -> Result<Output> {
        let [program, args @ ..] = words else {
            bail!("no command")
        };
        ensure!(*program == "hathi", "{program} is not ours");
        let mut command = Command::new(HATHI);
        command
            .args(args)
            .env("HADOOP_CONF_DIR", self.conf(machine))
            .current_dir(self.root(machine))
            .stdin(Stdio::null());
        Ok(command.output()?)
    }

    /// What a command of ours prints on machine 1.
    pub fn hathi(&self, args: &[&str]) -> Result<String> {
        let output = self.run(1, &[&["hathi"], args].concat())?;
        ensure!(output.status.success(), "{args:?}: {}", text(&output));
        Ok(String::from_utf8(output.stdout)?)
    }

    pub fn start(&mut self, machine: u16, unit: &str) -> Result<()> {
        let daemon = daemon(unit)?;
        let line = self.exec_start.replace("%i", daemon);
        let args = line.strip_prefix("/usr/bin/hathi ").context("ExecStart")?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file(machine, daemon))?;
        let mut child = Command::new(HATHI)
            .args(args.split_whitespace())
            .env("HATHI_DIE_WITH_PARENT", "1")
            .env("HADOOP_CONF_DIR", self.conf(machine))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let port = match daemon {
            "journalnode" => "8485",
            "namenode" => "8020",
            "zkfc" => "8019",
            _ => "9867",
        };
        let address = self.address(machine, port);
        wait_for(&format!("{daemon} of node{machine}"), PATIENCE, || {
            let ended = child.try_wait().is_ok_and(|status| status.is_some());
            assert!(
                !ended,
                "{daemon} of node{machine} has ended:\n{}",
                self.log(machine, daemon)
            );
            TcpStream::connect(&address).ok().map(drop)
        });
        ensure!(
            self.running.insert((machine, unit.to_owned()), child).is_none(),
            "{daemon} of node{machine} runs already"
        );
        Ok(())
    }

    fn running(&mut self, machine: u16, unit: &str) -> Result<Child> {
        let running = self.running.remove(&(machine, unit.to_owned()));
        running.with_context(|| format!("{unit} of node{machine} does not run"))
    }

    pub fn stop(&mut self, machine: u16, unit: &str) -> Result<()> {
        let mut child = self.running(machine, unit)?;
        send_signal(Pid::from_raw(i32::try_from(child.id())?).context("pid")?, Signal::TERM)?;
        wait_for(&format!("{unit} of node{machine} to stop"), PATIENCE, || {
            child.try_wait().ok().flatten()
        });
        Ok(())
    }

    /// A machine burns down: its daemons are killed, and its disks are empty.
    pub fn lose(&mut self, machine: u16) -> Result<()> {
        let mut lost: Vec<Child> = Vec::new();
        while let Some(key) = self.running.keys().find(|(of, _)| *of == machine).cloned() {
            lost.extend(self.running.remove(&key));
        }
        for child in &mut lost {
            child.kill()?;
            child.wait()?;
        }
        for disk in ["1", "2"] {
            let disk = self.root(machine).join("data").join(disk);
            std::fs::remove_dir_all(&disk)?;
            std::fs::create_dir(&disk)?;
        }
        Ok(())
    }

    fn log_file(&self, machine: u16, daemon: &str) -> PathBuf {
        self.root(machine).join(format!("{daemon}.log"))
    }

    pub fn log(&self, machine: u16, daemon: &str) -> String {
        let text = std::fs::read(self.log_file(machine, daemon)).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Waits until one NameNode is active and all others are standbys.
    pub fn wait_for_active(&self) {
        wait_for("one active NameNode and two standbys", PATIENCE, || {
            let states = self.hathi(&["haadmin", "-getAllServiceState"]).ok()?;
            let all = |state: &str| states.lines().filter(|line| line.trim_end().ends_with(state)).count();
            let whole = all("active") == 1 && all("standby") + 1 == usize::from(NAMENODES);
            whole.then_some(())
        });
    }

    /// Waits until each JournalNode of the journal is well, as the page says.
    pub fn wait_for_journalnodes(&self, count: usize) {
        wait_for("all JournalNodes to be well", PATIENCE, || {
            let status = self.hathi(&["journal", "status"]).ok()?;
            let well = status.lines().filter(|line| line.trim_end().ends_with(" ok")).count();
            (well == count).then_some(())
        });
    }

    /// Waits until each NameNode has this many DataNodes that have reported, and lacks no replica.
    pub fn wait_for_datanodes(&self, count: usize) {
        for namenode in 1..=NAMENODES {
            let address = self.address(namenode, "9870");
            wait_for(&format!("the DataNodes at nn{namenode}"), PATIENCE, || {
                let bean = get(&address, "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState").ok()?;
                let bean = String::from_utf8_lossy(&bean).replace(' ', "");
                let whole = bean.contains(&format!("\"NumLiveDataNodes\":{count},"))
                    && bean.contains("\"UnderReplicatedBlocks\":0,")
                    && bean.contains("\"FSState\":\"Operational\"");
                whole.then_some(())
            });
        }
    }

    /// Waits until each NameNode has an image of what was written here.
    pub fn wait_for_images(&self) {
        for namenode in 1..=NAMENODES {
            let dir = self.root(namenode).join("data/1/name/current");
            wait_for(&format!("an image of nn{namenode}"), PATIENCE, || {
                let mut names = std::fs::read_dir(&dir).ok()?.flatten().map(|entry| entry.file_name());
                names.find_map(|name| {
                    name.to_str()?
                        .strip_prefix("fsimage_")?
                        .parse::<u64>()
                        .ok()
                        .filter(|txid| *txid > 0)
                })
            });
        }
    }

    /// A DataNode leaves for good, as the page says.
    pub fn let_go(&self, machine: u16) -> Result<()> {
        let address = self.address(machine, "9866");
        for namenode in 1..=NAMENODES {
            std::fs::write(self.conf(namenode).join("dfs.exclude"), format!("{address}\n"))?;
        }
        self.hathi(&["dfsadmin", "-refreshNodes"])?;
        wait_for("the DataNode to be decommissioned", PATIENCE, || {
            let report = self.hathi(&["dfsadmin", "-report"]).ok()?;
            let (_, own) = report.split_once(&format!("Name: {address}"))?;
            let state = own.lines().find(|line| line.starts_with("Decommission Status"))?;
            state.ends_with(": Decommissioned").then_some(())
        });
        Ok(())
    }

    /// Bytes of a file that the page's commands have made.
    pub fn file(&self, machine: u16, name: &str) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.root(machine).join(name))?)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for (machine, unit) in self.running.keys() {
                let daemon = daemon(unit).unwrap_or(unit);
                let log = self.log(*machine, daemon);
                let lines: Vec<&str> = log.lines().rev().take(20).collect();
                eprintln!("== {daemon} of node{machine}");
                lines.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

/// A line that is more than a command for a shell here.
fn is_known(line: &str) -> bool {
    ["systemctl ", "hathi conf "]
        .iter()
        .any(|begin| line.starts_with(begin))
}

/// The daemon of `hathi@DAEMON`, or of Hadoop's unit for it.
fn daemon(unit: &str) -> Result<&str> {
    let daemon = unit.strip_prefix(OURS).or_else(|| unit.strip_prefix(HADOOPS));
    daemon.with_context(|| format!("{unit} is no unit of ours"))
}

fn text(output: &Output) -> String {
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// The body of an answer.
fn get(address: &str, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("no end of the head")?;
    ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer[..end])
    );
    Ok(answer.split_off(end + 4))
}
