//! The machines of docs/operations.md, all of them on this one.
//!
//! The page's files are used as they are, with these rules:
//! - `nodeN.example.com:PORT` is 127.0.0.1 with a port of machine N's own, and so is `0.0.0.0:PORT` in machine N's files;
//! - `/etc/hadoop/conf` and `/data/` are directories of the machine's own;
//! - what a machine of its own would know by its address is added: the id of its NameNode, and the port of each controller;
//! - the ensemble of ZooKeeper is the test's;
//! - nobody waits here for what comes late or seldom: [`SOON`].
//!
//! A block of commands names the machines that it is for behind its language, and is run there from top to bottom. `hathi` is
//! run as it stands, `systemctl` is what starts, stops and kills here, with the command line of the unit file.
//! What systemd does by itself is done at once: a daemon that was killed is started again.

use anyhow::{Context, Result, bail, ensure};
use hathi_interop::{PortRange, send_signal, wait_for};
use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
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

/// The page, as its blocks: the heading above, what stands behind the fence, the text.
pub struct Page(Vec<(String, String, String)>);

impl Page {
    pub fn read() -> Result<Page> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let (mut blocks, mut heading, mut open) = (Vec::new(), String::new(), None);
        for line in text.lines() {
            let fence = line.trim_start().strip_prefix("```");
            match (&mut open, fence) {
                (None, Some(info)) => open = Some((info.to_owned(), String::new())),
                (Some(_), Some(_)) => {
                    let (info, body): (String, String) = open.take().unwrap_or_default();
                    blocks.push((heading.clone(), info, body));
                }
                (Some((_, body)), None) => {
                    body.push_str(line.trim());
                    body.push('\n');
                }
                (None, None) => {
                    if let Some(title) = line.strip_prefix('#') {
                        heading = title.trim_start_matches('#').trim().to_owned();
                    }
                }
            }
        }
        Ok(Page(blocks))
    }

    /// The blocks under a heading, in their order.
    fn under(&self, heading: &str) -> Vec<(&str, &str)> {
        let blocks = self.0.iter().filter(|(above, ..)| above == heading);
        blocks.map(|(_, info, body)| (info.as_str(), body.as_str())).collect()
    }

    /// The one block under a heading behind whose fence this stands.
    fn block(&self, heading: &str, info: &str) -> Result<&str> {
        let mut found = self.under(heading).into_iter().filter(|(its, _)| *its == info);
        match (found.next(), found.next()) {
            (Some((_, body)), None) => Ok(body),
            _ => bail!("docs/operations.md: not one block '{info}' under '{heading}'"),
        }
    }
}

pub struct Machines {
    page: Page,
    dir: TempDir,
    ports: PortRange,
    /// `ExecStart` of the unit.
    exec_start: String,
    running: BTreeMap<(u16, String), Child>,
}

impl Machines {
    /// With the page's files on machines 1 to `count`; `more` is put into them under these headings of the page, and
    /// `quorum` is where ZooKeeper is.
    pub fn new(count: u16, more: &[&str], quorum: &str) -> Result<Machines> {
        let page = Page::read()?;
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/systemd/hathi@.service");
        let unit = std::fs::read_to_string(&unit).with_context(|| unit.display().to_string())?;
        let exec_start = unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
        let machines = Machines {
            exec_start: exec_start.context("no ExecStart")?.to_owned(),
            page,
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
    pub fn configure(&self, machine: u16, more: &[&str], quorum: &str) -> Result<()> {
        let conf = self.conf(machine);
        std::fs::create_dir_all(&conf)?;
        for disk in ["1", "2"] {
            std::fs::create_dir_all(self.root(machine).join("data").join(disk))?;
        }
        for name in ["core-site.xml", "hdfs-site.xml"] {
            let info = format!("xml {name}");
            let mut text = self.page.block("The configuration", &info)?.to_owned();
            for heading in more {
                let added = self.page.block(heading, &info)?;
                text = text.replace("</configuration>", &format!("{added}</configuration>"));
            }
            std::fs::write(conf.join(name), self.here(machine, &text, quorum))?;
        }
        // Of the page, an empty file.
        std::fs::write(conf.join("dfs.exclude"), "")?;
        let mut own: Vec<(String, String)> = SOON.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        for namenode in 1..=NAMENODES {
            let key = format!("dfs.ha.zkfc.port.cluster1.nn{namenode}");
            own.push((key, self.port(namenode, "8019").to_string()));
        }
        if machine <= NAMENODES {
            own.push(("dfs.ha.namenode.id".to_owned(), format!("nn{machine}")));
        }
        let own: String = own
            .iter()
            .map(|(key, value)| format!("<property><name>{key}</name><value>{value}</value></property>\n"))
            .collect();
        let site = conf.join("hdfs-site.xml");
        let text = std::fs::read_to_string(&site)?;
        let end = "</configuration>";
        Ok(std::fs::write(&site, text.replace(end, &format!("{own}{end}")))?)
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

    /// Runs the commands under a heading of the page.
    pub fn follow(&mut self, heading: &str) -> Result<()> {
        let blocks = self.page.under(heading);
        let blocks = blocks
            .iter()
            .filter_map(|(info, body)| Some((info.strip_prefix("sh node")?, *body)));
        let blocks: Vec<(String, String)> = blocks
            .map(|(nodes, body)| (format!("node{nodes}"), body.to_owned()))
            .collect();
        ensure!(!blocks.is_empty(), "docs/operations.md: no commands under '{heading}'");
        for (nodes, body) in blocks {
            for node in nodes.split_whitespace() {
                let machine = node.strip_prefix("node").context("no node")?.parse()?;
                for line in body.lines() {
                    self.step(machine, line)
                        .with_context(|| format!("{heading}: {node}: {line}"))?;
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, machine: u16, line: &str) -> Result<()> {
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
            ["curl", "-fsSo", file, url] => {
                let url = url.trim_matches('"').strip_prefix("http://").context("no URL")?;
                let (address, path) = url.split_once('/').context("no path")?;
                std::fs::write(self.root(machine).join(file), get(address, &format!("/{path}"))?)?;
            }
            _ => bail!("docs/operations.md has a command that its test does not know"),
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
            self.running.insert((machine, daemon.to_owned()), child).is_none(),
            "{daemon} of node{machine} runs already"
        );
        Ok(())
    }

    fn running(&mut self, machine: u16, unit: &str) -> Result<Child> {
        let daemon = daemon(unit)?;
        let running = self.running.remove(&(machine, daemon.to_owned()));
        running.with_context(|| format!("{daemon} of node{machine} does not run"))
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
            for (machine, daemon) in self.running.keys() {
                let log = self.log(*machine, daemon);
                let lines: Vec<&str> = log.lines().rev().take(20).collect();
                eprintln!("== {daemon} of node{machine}");
                lines.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

/// `hathi@DAEMON`
fn daemon(unit: &str) -> Result<&str> {
    unit.strip_prefix("hathi@")
        .with_context(|| format!("{unit} is no unit of ours"))
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
