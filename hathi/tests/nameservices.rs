//! Two nameservices on the same JournalNodes and DataNodes, each with two NameNodes, controllers and failovers of its own.

use anyhow::{Context, Result, ensure};
use hathi_interop::{FileClient, Hadoop, PortRange, wait_for};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
const NAMESERVICES: [&str; 2] = ["alpha", "beta"];
const NAMENODES: u16 = 2;
const JOURNALNODES: u16 = 3;
const DATANODES: u16 = 2;
const CLUSTER_ID: &str = "CID-of-both";

/// The processes by their names (`namenode-alpha-0`, `journalnode-2` ...); dropping it kills them.
struct Federation {
    dir: TempDir,
    ports: PortRange,
    running: BTreeMap<String, Child>,
}

/// The properties of a daemon or client.
type Site = Vec<(String, String)>;

impl Federation {
    fn new() -> Result<Federation> {
        let federation = Federation {
            dir: TempDir::with_prefix("hathi-federation-")?,
            ports: PortRange::claim()?,
            running: BTreeMap::new(),
        };
        federation.configure("client", &federation.client_site())?;
        for index in 0..JOURNALNODES {
            let own = [
                ("dfs.journalnode.edits.dir", federation.path(&format!("jn{index}"))),
                ("dfs.journalnode.rpc-address", federation.at(index)),
                ("dfs.journalnode.http-address", federation.at(10 + index)),
            ];
            federation.configure(&format!("journalnode-{index}"), &federation.site_with(&own))?;
        }
        for index in 0..DATANODES {
            let own = [
                ("dfs.datanode.data.dir", federation.path(&format!("dn{index}"))),
                ("dfs.datanode.hostname", "127.0.0.1".to_owned()),
                ("dfs.datanode.address", federation.at(20 + index)),
                ("dfs.datanode.ipc.address", federation.at(25 + index)),
                ("dfs.datanode.http.address", federation.at(30 + index)),
            ];
            federation.configure(&format!("datanode-{index}"), &federation.site_with(&own))?;
        }
        for (ns, id, name) in federation.namenodes() {
            let own = [
                ("dfs.namenode.name.dir", federation.path(&name)),
                ("dfs.nameservice.id", ns.to_owned()),
                ("dfs.ha.namenode.id", id),
            ];
            let site = federation.site_with(&own);
            federation.configure(&format!("namenode-{name}"), &site)?;
            federation.configure(&format!("zkfc-{name}"), &site)?;
        }
        Ok(federation)
    }

    fn at(&self, port: u16) -> String {
        format!("127.0.0.1:{}", self.ports.base() + port)
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn conf(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("conf-{name}"))
    }

    /// Nameservice, id, and what its files are named by.
    fn namenodes(&self) -> impl Iterator<Item = (&'static str, String, String)> + use<> {
        NAMESERVICES
            .into_iter()
            .flat_map(|ns| (0..NAMENODES).map(move |index| (ns, format!("nn{index}"), format!("{ns}-{index}"))))
    }

    fn client_site(&self) -> Site {
        let journal: Vec<String> = (0..JOURNALNODES).map(|index| self.at(index)).collect();
        let mut site: Vec<(String, String)> = vec![("dfs.nameservices".to_owned(), NAMESERVICES.join(","))];
        for (port, ns) in (0..).step_by(10).zip(NAMESERVICES) {
            let of = |key: &str| format!("{key}.{ns}");
            site.extend([
                (of("dfs.ha.namenodes"), "nn0,nn1".to_owned()),
                (
                    of("dfs.client.failover.proxy.provider"),
                    "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider".to_owned(),
                ),
                (
                    of("dfs.namenode.shared.edits.dir"),
                    format!("qjournal://{}/{ns}", journal.join(";")),
                ),
            ]);
            for index in 0..NAMENODES {
                let of = |key: &str| format!("{key}.{ns}.nn{index}");
                site.extend([
                    (of("dfs.namenode.rpc-address"), self.at(40 + port + index)),
                    (of("dfs.namenode.http-address"), self.at(60 + port + index)),
                    (
                        of("dfs.ha.zkfc.port"),
                        (self.ports.base() + 80 + port + index).to_string(),
                    ),
                ]);
            }
        }
        let every = [
            ("dfs.ha.automatic-failover.enabled", "true"),
            ("dfs.ha.fencing.methods", "shell(/bin/true)"),
            ("dfs.ha.tail-edits.in-progress", "true"),
            ("dfs.replication", "2"),
            ("dfs.heartbeat.interval", "1"),
            ("dfs.namenode.safemode.extension", "0"),
            ("dfs.namenode.datanode.registration.ip-hostname-check", "false"),
            ("dfs.client.failover.sleep.base.millis", "50"),
            ("dfs.client.failover.sleep.max.millis", "500"),
            ("dfs.client.failover.max.attempts", "100"),
        ];
        site.extend(every.map(|(key, value)| (key.to_owned(), value.to_owned())));
        site
    }

    fn site_with(&self, own: &[(&str, String)]) -> Site {
        let mut site = self.client_site();
        site.extend(own.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        site
    }

    fn configure(&self, name: &str, site: &Site) -> Result<()> {
        let xml = |properties: &[(String, String)]| {
            let lines: String = properties
                .iter()
                .map(|(key, value)| format!("<property><name>{key}</name><value>{value}</value></property>\n"))
                .collect();
            format!("<configuration>\n{lines}</configuration>\n")
        };
        let core = [
            ("fs.defaultFS", "viewfs://both/"),
            ("fs.viewfs.mounttable.both.link./a", "hdfs://alpha/"),
            ("fs.viewfs.mounttable.both.link./b", "hdfs://beta/"),
        ];
        let core = core.map(|(key, value)| (key.to_owned(), value.to_owned()));
        fs::create_dir(self.conf(name))?;
        fs::write(self.conf(name).join("core-site.xml"), xml(&core))?;
        Ok(fs::write(self.conf(name).join("hdfs-site.xml"), xml(site))?)
    }

    fn command(&self, name: &str, daemon: &str, args: &[&str]) -> Command {
        let mut command = Command::new(HATHI);
        command.args([daemon, "--conf"]).arg(self.conf(name)).args(args);
        command.stdin(Stdio::null());
        command
    }

    /// `DAEMON-...`, by the name of its configuration.
    fn start(&mut self, name: &str) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log(name))?;
        let daemon = name.split('-').next().unwrap_or_default();
        let mut command = self.command(name, daemon, &[]);
        command.stdout(log.try_clone()?).stderr(log);
        self.running.insert(name.to_owned(), command.spawn()?);
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    fn kill(&mut self, name: &str) -> Result<()> {
        let mut child = self.running.remove(name).context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Runs one of our tools as a client, or a daemon with options that end.
    fn run(&self, name: &str, tool: &str, args: &[&str]) -> Result<String> {
        let output = self.command(name, tool, args).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{tool} {args:?}: {told}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Everything, from nothing.
    fn start_all(&mut self) -> Result<()> {
        for index in 0..JOURNALNODES {
            self.start(&format!("journalnode-{index}"))?;
        }
        for index in 0..JOURNALNODES {
            let port = self.ports.base() + index;
            wait_for("a JournalNode", PATIENCE, || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
            });
        }
        for ns in NAMESERVICES {
            let first = format!("namenode-{ns}-0");
            self.run(
                &first,
                "namenode",
                &["-format", "-clusterid", CLUSTER_ID, "-nonInteractive"],
            )?;
            self.start(&first)?;
            wait_for("the first NameNode", PATIENCE, || {
                self.state(ns, 0).filter(|state| state == "standby").map(drop)
            });
            let second = format!("namenode-{ns}-1");
            self.run(&second, "namenode", &["-bootstrapStandby", "-nonInteractive"])?;
            self.start(&second)?;
        }
        for (_, _, name) in self.namenodes() {
            self.start(&format!("zkfc-{name}"))?;
        }
        for index in 0..DATANODES {
            self.start(&format!("datanode-{index}"))?;
        }
        let datanodes = format!("Live datanodes ({DATANODES})");
        for ns in NAMESERVICES {
            self.wait_for_active(ns, None);
            wait_for("its DataNodes", PATIENCE, || {
                let report = self.run("client", "dfsadmin", &["-fs", &format!("hdfs://{ns}"), "-report"]);
                report.ok()?.contains(&datanodes).then_some(())
            });
        }
        Ok(())
    }

    fn state(&self, ns: &str, index: u16) -> Option<String> {
        let args = ["-ns", ns, "-getServiceState", &format!("nn{index}")];
        let state = self.run("client", "haadmin", &args);
        Some(state.ok()?.trim().to_owned())
    }

    /// Waits until a NameNode is active that is not this one.
    fn wait_for_active(&self, ns: &str, but: Option<u16>) -> u16 {
        wait_for("an active NameNode", PATIENCE, || {
            (0..NAMENODES)
                .filter(|index| Some(*index) != but)
                .find(|index| self.state(ns, *index).is_some_and(|state| state == "active"))
        })
    }
}

impl Drop for Federation {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // It has ended already, or there is nothing to be done about it.
            let _ = child.kill();
        }
        for (name, child) in &mut self.running {
            let _ = child.wait();
            if std::thread::panicking() {
                let log = fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("---- {name}\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
            }
        }
    }
}

/// Tells the client to stop, also when the test fails.
struct Stopper<'a>(&'a AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Puts one file after the other into both nameservices, until told to stop; how many.
fn put_files(shell: &mut FileClient, file: &str, stop: &AtomicBool, put: &AtomicU64) -> Result<u64> {
    while !stop.load(Ordering::Relaxed) {
        let number = put.load(Ordering::Relaxed);
        for side in ["a", "b"] {
            shell.run(&format!("-put {file} /{side}/files/{number}"))?;
        }
        put.fetch_add(1, Ordering::Relaxed);
    }
    Ok(put.load(Ordering::Relaxed))
}

#[test]
fn two_nameservices_share_journalnodes_and_datanodes_and_fail_over_by_themselves() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut federation = Federation::new()?;
    federation.start_all()?;
    let file = federation.path("file");
    fs::write(&file, "of both\n")?;
    let mut shell = FileClient::of(&hadoop, &federation.conf("client"), "ShellClient.java", &[])?;
    shell.run("-mkdir /a/files /b/files")?;

    let (stop, put) = (AtomicBool::new(false), AtomicU64::new(0));
    let goes_on = || {
        let before = put.load(Ordering::Relaxed);
        wait_for("the client to go on", PATIENCE, || {
            (put.load(Ordering::Relaxed) > before + 2).then_some(())
        });
    };
    let files = std::thread::scope(|scope| -> Result<u64> {
        let client = scope.spawn(|| put_files(&mut shell, &file, &stop, &put));
        let stopper = Stopper(&stop);
        let mut failovers = || -> Result<()> {
            goes_on();
            let beta = federation.wait_for_active("beta", None);
            let alpha = federation.wait_for_active("alpha", None);
            // In order, then by a death: of one nameservice, while the other one stays where it is.
            let (from, to) = (format!("nn{alpha}"), format!("nn{}", 1 - alpha));
            federation.run("client", "haadmin", &["-ns", "alpha", "-failover", &from, &to])?;
            goes_on();
            federation.kill(&format!("namenode-alpha-{}", 1 - alpha))?;
            ensure!(federation.wait_for_active("alpha", Some(1 - alpha)) == alpha);
            goes_on();
            ensure!(federation.state("beta", beta).is_some_and(|state| state == "active"));
            // The other one, while a NameNode of the first is missing.
            federation.kill(&format!("namenode-beta-{beta}"))?;
            federation.wait_for_active("beta", Some(beta));
            goes_on();
            federation.start(&format!("namenode-beta-{beta}"))?;
            Ok(())
        };
        let result = failovers();
        drop(stopper);
        let files = client.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
        result.and(files)
    })?;

    for side in ["a", "b"] {
        let counted = shell.run(&format!("-count /{side}/files"))?;
        let numbers: Vec<&str> = counted.split_whitespace().collect();
        ensure!(
            numbers.get(1) == Some(&files.to_string().as_str()),
            "{files}: {counted}"
        );
        let read = shell.run(&format!("-cat /{side}/files/0 /{side}/files/{}", files - 1))?;
        ensure!(read == "of both of both", "{read}");
    }
    // Each DataNode has a block pool of each, of one cluster.
    for index in 0..DATANODES {
        let current = fs::read_dir(federation.dir.path().join(format!("dn{index}/current")))?;
        let names = current
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        ensure!(names.filter(|name| name.starts_with("BP-")).count() == NAMESERVICES.len());
    }
    for index in 0..JOURNALNODES {
        for ns in NAMESERVICES {
            let version = federation.dir.path().join(format!("jn{index}/{ns}/current/VERSION"));
            ensure!(fs::read_to_string(version)?.contains(&format!("clusterID={CLUSTER_ID}")));
        }
    }
    Ok(())
}
