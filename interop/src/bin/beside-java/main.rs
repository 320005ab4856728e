//! Java's HA NameNode and Hathi's on one machine, one after the other: the same configuration files, the same loads.
//!
//! Each side is two NameNodes, three JournalNodes and a DataNode on loopback. The loads are Hadoop's own
//! NNThroughputBenchmark, whose JVM takes about a core itself and so bounds the rate, and `hathi bench namenode`, which
//! leaves most of the machine to the servers. CPU times are those of the active NameNode and of all JournalNodes together,
//! from `/proc/PID/stat`.

mod journal;

use anyhow::{Context, Result, bail};
use clap::Parser;
use hathi_interop::{Hadoop, PortRange};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Ticks of `/proc/PID/stat` in a second (`USER_HZ`, the same on every Linux).
const TICKS_PER_SECOND: f64 = 100.0;
const NAMESERVICE: &str = "beside";
const NAMENODES: u16 = 2;
const JOURNALNODES: u16 = 3;
/// How long a daemon may take to answer. A JVM on a busy machine is slow.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// The operations of NNThroughputBenchmark, each with its option for the number of calls.
const OPERATIONS: [(&str, &str); 6] = [
    ("create", "-files"),
    ("mkdirs", "-dirs"),
    ("open", "-files"),
    ("fileStatus", "-files"),
    ("rename", "-files"),
    ("delete", "-files"),
];
/// The operations of `hathi bench namenode`.
const OWN_OPERATIONS: [&str; 6] = ["create", "mkdirs", "open", "getFileInfo", "rename", "delete"];

const LOG4J: &str = "log4j.rootLogger=WARN,console\n\
    log4j.logger.org.apache.hadoop.hdfs.server.namenode.NNThroughputBenchmark=INFO\n\
    log4j.appender.console=org.apache.log4j.ConsoleAppender\n\
    log4j.appender.console.target=System.err\n\
    log4j.appender.console.layout=org.apache.log4j.PatternLayout\n\
    log4j.appender.console.layout.ConversionPattern=%m%n\n";

/// Measures Java's HA NameNode and Hathi's side by side.
#[derive(Parser, Debug)]
#[command(name = "beside-java")]
struct Args {
    /// The hathi binary, built for release.
    #[arg(long)]
    hathi: PathBuf,
    /// Calls of each kind in NNThroughputBenchmark.
    #[arg(long, default_value_t = 50_000)]
    ops: u64,
    /// Threads of NNThroughputBenchmark.
    #[arg(long, default_value_t = 64)]
    threads: u32,
    /// Calls of each kind in `hathi bench namenode`; 0: leave it out.
    #[arg(long, default_value_t = 100_000)]
    own_ops: u64,
    /// Heap of Java's NameNodes, MB.
    #[arg(long, default_value_t = 2048)]
    heap_mb: u32,
    /// Measure the JournalNodes alone, for so many seconds with each number of clients.
    #[arg(long, value_name = "SECONDS")]
    journal: Option<u32>,
    /// Java's NameNodes on both sides, as in a cluster in which only the JournalNodes have been replaced.
    #[arg(long)]
    replace_journalnodes_only: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let hadoop = Hadoop::get()?.context("there is no rival to measure")?;
    let hathi = args
        .hathi
        .canonicalize()
        .with_context(|| args.hathi.display().to_string())?;
    if let Some(seconds) = args.journal {
        print!("{}", journal::compare(&hadoop, &hathi, seconds)?);
        return Ok(());
    }
    let java = measure(&Side::Java(&hadoop, args.heap_mb), &hadoop, &hathi, &args)?;
    let ours = if args.replace_journalnodes_only {
        Side::JournalNodes(&hadoop, args.heap_mb, &hathi)
    } else {
        Side::Hathi(&hathi)
    };
    let ours = measure(&ours, &hadoop, &hathi, &args)?;
    print!("{}", table(&java, &ours));
    Ok(())
}

/// Which daemons are Java's and which are ours.
enum Side<'a> {
    Java(&'a Hadoop, u32),
    Hathi(&'a Path),
    /// Our JournalNodes, with Java's other daemons.
    JournalNodes(&'a Hadoop, u32, &'a Path),
}

impl Side<'_> {
    fn command(&self, conf: &Path, daemon: &str, args: &[&str]) -> Command {
        match self {
            Side::Java(hadoop, heap_mb) => {
                let heap = if daemon == "namenode" { *heap_mb } else { 512 };
                hadoop.server(conf, daemon, heap, args)
            }
            Side::Hathi(binary) => {
                let mut command = Command::new(binary);
                command.arg(daemon).arg("--conf").arg(conf).args(args);
                command
            }
            Side::JournalNodes(_, _, binary) if daemon == "journalnode" => {
                Side::Hathi(binary).command(conf, daemon, args)
            }
            Side::JournalNodes(hadoop, heap_mb, _) => Side::Java(hadoop, *heap_mb).command(conf, daemon, args),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Side::Java(..) => "Java",
            Side::Hathi(_) => "Hathi",
            Side::JournalNodes(..) => "Java's NameNodes on Hathi's JournalNodes",
        }
    }
}

/// Figures of one operation.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    per_second: f64,
    namenode_us: f64,
    journalnodes_us: f64,
}

/// Figures by load and operation.
type Results = BTreeMap<(&'static str, usize), (&'static str, Figures)>;

fn measure(side: &Side<'_>, hadoop: &Hadoop, hathi: &Path, args: &Args) -> Result<Results> {
    let stack = Stack::start(side, hathi)?;
    eprintln!("{}: serving; {}", side.name(), stack.memory()?);
    let mut results = Results::new();
    // The JVM is slow until it has compiled the code.
    stack.throughput(hadoop, "create", "-files", args, true)?;
    for (at, (operation, count)) in OPERATIONS.into_iter().enumerate() {
        if !matches!(operation, "create" | "mkdirs") {
            stack.throughput(hadoop, "create", "-files", args, true)?;
        }
        stack.clear_unless_wanted(operation)?;
        let figures = stack.throughput(hadoop, operation, count, args, false)?;
        eprintln!("{}: NNThroughputBenchmark {operation}: {figures:?}", side.name());
        results.insert(("NNThroughputBenchmark", at), (operation, figures));
        stack.clear()?;
    }
    if args.own_ops > 0 {
        for (at, operation) in OWN_OPERATIONS.into_iter().enumerate() {
            let figures = stack.own_load(operation, args.own_ops)?;
            eprintln!("{}: hathi bench namenode {operation}: {figures:?}", side.name());
            results.insert(("hathi bench namenode", at), (operation, figures));
        }
    }
    eprintln!("{}: after the loads; {}", side.name(), stack.memory()?);
    Ok(results)
}

/// A running cluster. Its processes end with it.
struct Stack<'a> {
    hathi: &'a Path,
    dir: TempDir,
    ports: PortRange,
    children: Vec<(String, Child)>,
    /// Time until the JournalNodes listened.
    started: Duration,
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl<'a> Stack<'a> {
    /// Starts three JournalNodes, one after the other, and nothing else.
    fn journalnodes(side: &Side<'_>, hathi: &'a Path) -> Result<Stack<'a>> {
        let mut stack = Stack {
            hathi,
            dir: TempDir::with_prefix("hathi-beside-java-")?,
            ports: PortRange::claim()?,
            children: Vec::new(),
            started: Duration::ZERO,
        };
        for index in 0..JOURNALNODES {
            let begun = Instant::now();
            stack.spawn(side, "journalnode", index)?;
            wait_for_port(stack.ports.base() + 20 + index)?;
            stack.started = begun.elapsed();
        }
        Ok(stack)
    }

    fn journalnode(&self, index: u16) -> String {
        format!("127.0.0.1:{}", self.ports.base() + 20 + index)
    }

    fn start(side: &Side<'_>, hathi: &'a Path) -> Result<Stack<'a>> {
        let mut stack = Stack::journalnodes(side, hathi)?;
        stack.once(side, 0, &["-format", "-force", "-nonInteractive"])?;
        stack.spawn(side, "namenode", 0)?;
        wait_for_port(stack.ports.base())?;
        stack.once(side, 1, &["-bootstrapStandby", "-force", "-nonInteractive"])?;
        stack.spawn(side, "namenode", 1)?;
        stack.spawn(side, "datanode", 0)?;
        stack.retry("haadmin", &["-transitionToActive", "nn0"])?;
        stack.retry("dfs", &["-mkdir", "/ready"])?;
        Ok(stack)
    }

    fn conf(&self, daemon: &str, index: u16) -> Result<PathBuf> {
        let name = format!("{daemon}-{index}");
        let (root, port) = (self.dir.path(), self.ports.base());
        let conf = root.join("conf").join(&name);
        if conf.exists() {
            return Ok(conf);
        }
        let data = root.join("data").join(&name);
        std::fs::create_dir_all(&conf)?;
        std::fs::create_dir_all(&data)?;
        let journals: Vec<String> = (0..JOURNALNODES).map(|n| self.journalnode(n)).collect();
        let mut hdfs = vec![
            ("dfs.nameservices".to_owned(), NAMESERVICE.to_owned()),
            (format!("dfs.ha.namenodes.{NAMESERVICE}"), "nn0,nn1".to_owned()),
            (
                format!("dfs.client.failover.proxy.provider.{NAMESERVICE}"),
                "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider".to_owned(),
            ),
            (
                "dfs.namenode.shared.edits.dir".to_owned(),
                format!("qjournal://{}/{NAMESERVICE}", journals.join(";")),
            ),
            ("dfs.ha.fencing.methods".to_owned(), "shell(/bin/true)".to_owned()),
            ("dfs.replication".to_owned(), "1".to_owned()),
            ("dfs.namenode.fs-limits.min-block-size".to_owned(), "0".to_owned()),
            (
                "dfs.namenode.datanode.registration.ip-hostname-check".to_owned(),
                "false".to_owned(),
            ),
        ];
        for n in 0..NAMENODES {
            let id = format!("{NAMESERVICE}.nn{n}");
            hdfs.push((
                format!("dfs.namenode.rpc-address.{id}"),
                format!("127.0.0.1:{}", port + n),
            ));
            hdfs.push((
                format!("dfs.namenode.http-address.{id}"),
                format!("127.0.0.1:{}", port + 10 + n),
            ));
        }
        let own: &[(&str, String)] = match daemon {
            "namenode" => &[
                ("dfs.ha.namenode.id", format!("nn{index}")),
                ("dfs.namenode.name.dir", format!("file://{}", data.display())),
            ],
            "journalnode" => &[
                ("dfs.journalnode.edits.dir", data.display().to_string()),
                ("dfs.journalnode.rpc-address", journals[usize::from(index)].clone()),
                (
                    "dfs.journalnode.http-address",
                    format!("127.0.0.1:{}", port + 30 + index),
                ),
            ],
            "datanode" => &[
                ("dfs.datanode.data.dir", format!("file://{}", data.display())),
                ("dfs.datanode.hostname", "localhost".to_owned()),
                ("dfs.datanode.address", format!("127.0.0.1:{}", port + 40)),
                ("dfs.datanode.http.address", format!("127.0.0.1:{}", port + 41)),
                ("dfs.datanode.ipc.address", format!("127.0.0.1:{}", port + 42)),
            ],
            _ => &[],
        };
        hdfs.extend(own.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let core = [
            ("fs.defaultFS".to_owned(), format!("hdfs://{NAMESERVICE}")),
            (
                "hadoop.tmp.dir".to_owned(),
                root.join("tmp").join(&name).display().to_string(),
            ),
        ];
        std::fs::write(conf.join("hdfs-site.xml"), xml(&hdfs))?;
        std::fs::write(conf.join("core-site.xml"), xml(&core))?;
        if daemon == "client" {
            // The benchmark prints its results through the log.
            std::fs::write(conf.join("log4j.properties"), LOG4J)?;
        }
        Ok(conf)
    }

    fn log(&self, name: &str) -> Result<File> {
        let path = self.dir.path().join(format!("{name}.log"));
        Ok(File::options().create(true).append(true).open(path)?)
    }

    fn log_tail(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn spawn(&mut self, side: &Side<'_>, daemon: &str, index: u16) -> Result<()> {
        let name = format!("{daemon}-{index}");
        let conf = self.conf(daemon, index)?;
        let child = side
            .command(&conf, daemon, &[])
            .stdin(Stdio::null())
            .stdout(self.log(&name)?)
            .stderr(self.log(&name)?)
            .spawn()?;
        self.children.push((name, child));
        Ok(())
    }

    fn once(&self, side: &Side<'_>, index: u16, args: &[&str]) -> Result<()> {
        let conf = self.conf("namenode", index)?;
        let name = format!("setup-{index}");
        let status = side
            .command(&conf, "namenode", args)
            .stdin(Stdio::null())
            .stdout(self.log(&name)?)
            .stderr(self.log(&name)?)
            .status()?;
        if !status.success() {
            bail!(
                "namenode {} ended with {status}:\n{}",
                args.join(" "),
                self.log_tail(&name)
            );
        }
        Ok(())
    }

    /// Runs a tool of ours until it succeeds, because the cluster may still be starting.
    fn retry(&self, tool: &str, args: &[&str]) -> Result<()> {
        let started = Instant::now();
        loop {
            let output = self.tool(tool, args)?.output()?;
            if output.status.success() {
                return Ok(());
            }
            if started.elapsed() > START_TIMEOUT {
                bail!(
                    "{tool} {}: {}\nnamenode-0:\n{}",
                    args.join(" "),
                    String::from_utf8_lossy(&output.stderr),
                    self.log_tail("namenode-0")
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn tool(&self, tool: &str, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(self.hathi);
        command
            .arg(tool)
            .args(args)
            .env("HADOOP_CONF_DIR", self.conf("client", 0)?)
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Removes the files of NNThroughputBenchmark.
    fn clear(&self) -> Result<()> {
        let output = self
            .tool("dfs", &["-rm", "-r", "-f", "-skipTrash", "/nnThroughputBenchmark"])?
            .output()?;
        if !output.status.success() {
            bail!("can't clear: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn clear_unless_wanted(&self, operation: &str) -> Result<()> {
        if matches!(operation, "create" | "mkdirs") {
            self.clear()
        } else {
            Ok(())
        }
    }

    /// Runs NNThroughputBenchmark once. It keeps its files, because their removal would be counted with the operation.
    fn throughput(&self, hadoop: &Hadoop, operation: &str, count: &str, args: &Args, prepare: bool) -> Result<Figures> {
        let conf = self.conf("client", 0)?;
        let fs = format!("hdfs://127.0.0.1:{}", self.ports.base());
        let (ops, threads) = (args.ops.to_string(), args.threads.to_string());
        let mut words = vec!["-fs", &fs, "-op", operation, "-threads", &threads, count, &ops];
        words.extend(["-nonSuperUser", "-keepResults"]);
        if !matches!(operation, "create" | "mkdirs") {
            words.push("-useExisting");
        }
        let before = self.cpu()?;
        let mut command = hadoop.server(&conf, "bench", 1024, &words);
        let output = command.output().context("can't run NNThroughputBenchmark")?;
        let after = self.cpu()?;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!(
                "NNThroughputBenchmark {operation} ended with {}:\n{text}",
                output.status
            );
        }
        let per_second = text
            .lines()
            .find_map(|line| line.split_once("Ops per sec:"))
            .and_then(|(_, number)| number.trim().parse().ok());
        // A preparation may print no rate.
        let per_second = match per_second {
            Some(number) => number,
            None if prepare => 0.0,
            None => bail!("NNThroughputBenchmark {operation} gave no rate:\n{text}"),
        };
        Ok(Figures {
            per_second,
            namenode_us: (after.0 - before.0) * 1e6 / args.ops as f64,
            journalnodes_us: (after.1 - before.1) * 1e6 / args.ops as f64,
        })
    }

    /// Runs `hathi bench namenode` once. It counts the CPU time of the operation alone.
    fn own_load(&self, operation: &str, ops: u64) -> Result<Figures> {
        let (fs, ops) = (format!("hdfs://127.0.0.1:{}", self.ports.base()), ops.to_string());
        let mut words = vec!["namenode", "--fs", &fs, "--op", operation, "--ops", &ops];
        words.extend(["--connections", "16", "--outstanding", "16"]);
        let pids: Vec<String> = self
            .pids("namenode-0")
            .chain(self.pids("journalnode"))
            .map(|n| n.to_string())
            .collect();
        for pid in &pids {
            words.extend(["--pid", pid]);
        }
        let output = self.tool("bench", &words)?.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!(
                "hathi bench namenode: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let mut figures = Figures::default();
        let before = |text: &str, unit: &str| -> Option<f64> {
            text.split_once(unit)?.0.rsplit(' ').next()?.trim().parse().ok()
        };
        for line in text.lines() {
            if let Some((_, rest)) = line.split_once("ops/s ") {
                figures.per_second = before(rest, " p50").unwrap_or(0.0);
            } else if line.starts_with("pid ") {
                let used = before(line, " us/op").context("no CPU time")?;
                if line.starts_with(&format!("pid {} ", pids[0])) {
                    figures.namenode_us = used;
                } else {
                    figures.journalnodes_us += used;
                }
            }
        }
        Ok(figures)
    }

    fn pids<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = u32> + 's {
        self.children
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(_, child)| child.id())
    }

    /// CPU seconds of the active NameNode and of all JournalNodes.
    fn cpu(&self) -> Result<(f64, f64)> {
        let sum = |prefix| self.pids(prefix).map(cpu_seconds).sum::<Result<f64>>();
        Ok((sum("namenode-0")?, sum("journalnode")?))
    }

    fn memory(&self) -> Result<String> {
        let mut text = "resident MiB:".to_owned();
        for (name, child) in &self.children {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
            let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kilobytes: f64 = kilobytes
                .and_then(|it| it.trim().trim_end_matches(" kB").parse().ok())
                .unwrap_or(0.0);
            write!(text, " {name} {:.1}", kilobytes / 1024.0)?;
        }
        Ok(text)
    }
}

fn xml(properties: &[(String, String)]) -> String {
    let mut text = "<configuration>\n".to_owned();
    for (name, value) in properties {
        text.push_str(&format!(
            "  <property><name>{name}</name><value>{value}</value></property>\n"
        ));
    }
    text + "</configuration>\n"
}

fn wait_for_port(port: u16) -> Result<()> {
    let started = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if started.elapsed() > START_TIMEOUT {
            bail!("nobody listens on port {port}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    // The name in parentheses may hold any character.
    let (_, rest) = stat.rsplit_once(')').with_context(|| format!("process {pid}"))?;
    let ticks: Vec<f64> = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|it| it.parse().ok())
        .collect();
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

fn table(java: &Results, ours: &Results) -> String {
    let mut text = String::new();
    let mut last = "";
    for (key, (operation, theirs)) in java {
        let Some((_, ours)) = ours.get(key) else { continue };
        if key.0 != last {
            last = key.0;
            text.push_str(&format!(
                "\n{last}\n\n\
                 | operation | Java, ops/s | Hathi, ops/s | Java NameNode, µs CPU/op | Hathi NameNode | ratio | \
                 Java JournalNodes, µs CPU/op | Hathi JournalNodes | ratio |\n\
                 |---|---|---|---|---|---|---|---|---|\n"
            ));
        }
        text.push_str(&format!(
            "| {operation} | {:.0} | {:.0} | {:.1} | {:.1} | {} | {:.1} | {:.1} | {} |\n",
            theirs.per_second,
            ours.per_second,
            theirs.namenode_us,
            ours.namenode_us,
            ratio(theirs.namenode_us, ours.namenode_us),
            theirs.journalnodes_us,
            ours.journalnodes_us,
            ratio(theirs.journalnodes_us, ours.journalnodes_us),
        ));
    }
    text
}

/// The ticks of the kernel's clock are too coarse for less than a microsecond per operation.
fn ratio(theirs: f64, ours: f64) -> String {
    if ours < 0.2 || theirs < 1.0 {
        "–".to_owned()
    } else {
        format!("1/{:.1}", theirs / ours)
    }
}
