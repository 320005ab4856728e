//! Two nameservices on the same JournalNodes and DataNodes, each with two NameNodes, controllers and failovers of its own.
//! Clients see both as one tree: by Hadoop's ViewFs, and by Hadoop's Router, which stands in front.

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
/// The file systems of the two kinds of clients.
const VIEWS: &str = "viewfs://both/";
const ROUTED: &str = "hdfs://routed";
const ROUTER_PORT: u16 = 95;
const ROUTER_ADMIN_PORT: u16 = 96;

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
        federation.configure("client", VIEWS, &federation.client_site())?;
        federation.configure("router", VIEWS, &federation.router_site())?;
        federation.configure("client-of-router", ROUTED, &federation.site_of_routers_client())?;
        for index in 0..JOURNALNODES {
            let own = [
                ("dfs.journalnode.edits.dir", federation.path(&format!("jn{index}"))),
                ("dfs.journalnode.rpc-address", federation.at(index)),
                ("dfs.journalnode.http-address", federation.at(10 + index)),
            ];
            federation.configure(&format!("journalnode-{index}"), VIEWS, &federation.site_with(&own))?;
        }
        for index in 0..DATANODES {
            let own = [
                ("dfs.datanode.data.dir", federation.path(&format!("dn{index}"))),
                ("dfs.datanode.hostname", "127.0.0.1".to_owned()),
                ("dfs.datanode.address", federation.at(20 + index)),
                ("dfs.datanode.ipc.address", federation.at(25 + index)),
                ("dfs.datanode.http.address", federation.at(30 + index)),
            ];
            federation.configure(&format!("datanode-{index}"), VIEWS, &federation.site_with(&own))?;
        }
        for (ns, id, name) in federation.namenodes() {
            let own = [
                ("dfs.namenode.name.dir", federation.path(&name)),
                ("dfs.nameservice.id", ns.to_owned()),
                ("dfs.ha.namenode.id", id),
            ];
            let site = federation.site_with(&own);
            federation.configure(&format!("namenode-{name}"), VIEWS, &site)?;
            federation.configure(&format!("zkfc-{name}"), VIEWS, &site)?;
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
        // The Router says for whom it calls.
        let user = hathi_net::users::process_user();
        site.push(("dfs.namenode.ip-proxy-users".to_owned(), user));
        site
    }

    fn router_site(&self) -> Site {
        let of_router = |key: &str| format!("dfs.federation.router.{key}");
        let namenodes: Vec<String> = self.namenodes().map(|(ns, id, _)| format!("{ns}.{id}")).collect();
        let driver = "org.apache.hadoop.hdfs.server.federation.store.driver.impl.StateStoreFileImpl";
        let mut site = self.client_site();
        site.extend([
            (of_router("rpc-address"), self.at(ROUTER_PORT)),
            (of_router("admin-address"), self.at(ROUTER_ADMIN_PORT)),
            (of_router("http.enable"), "false".to_owned()),
            (of_router("store.driver.class"), driver.to_owned()),
            (of_router("store.driver.file.directory"), self.path("router-store")),
            (of_router("monitor.localnamenode.enable"), "false".to_owned()),
            (of_router("monitor.namenode"), namenodes.join(",")),
            (of_router("heartbeat.interval"), "500".to_owned()),
            (of_router("cache.ttl"), "500".to_owned()),
            (of_router("safemode.enable"), "false".to_owned()),
            (of_router("default.nameservice.enable"), "false".to_owned()),
        ]);
        site
    }

    /// For a client, routers are NameNodes of a nameservice.
    fn site_of_routers_client(&self) -> Site {
        let site = [
            ("dfs.nameservices", "routed".to_owned()),
            ("dfs.ha.namenodes.routed", "r0".to_owned()),
            ("dfs.namenode.rpc-address.routed.r0", self.at(ROUTER_PORT)),
            (
                "dfs.client.failover.proxy.provider.routed",
                "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider".to_owned(),
            ),
            ("dfs.client.failover.sleep.base.millis", "50".to_owned()),
            ("dfs.client.failover.sleep.max.millis", "500".to_owned()),
            ("dfs.client.failover.max.attempts", "100".to_owned()),
            ("dfs.replication", "2".to_owned()),
            ("dfs.federation.router.admin-address", self.at(ROUTER_ADMIN_PORT)),
        ];
        site.map(|(key, value)| (key.to_owned(), value)).to_vec()
    }

    fn site_with(&self, own: &[(&str, String)]) -> Site {
        let mut site = self.client_site();
        site.extend(own.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        site
    }

    fn configure(&self, name: &str, default_fs: &str, site: &Site) -> Result<()> {
        let xml = |properties: &[(String, String)]| {
            let lines: String = properties
                .iter()
                .map(|(key, value)| format!("<property><name>{key}</name><value>{value}</value></property>\n"))
                .collect();
            format!("<configuration>\n{lines}</configuration>\n")
        };
        let core = [
            ("fs.defaultFS", default_fs),
            ("fs.viewfs.mounttable.both.link./a", "hdfs://alpha/"),
            ("fs.viewfs.mounttable.both.link./b", "hdfs://beta/"),
        ];
        let mut core = core.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        // The Router calls in the name of its clients, also of those who are the same user.
        let user = hathi_net::users::process_user();
        for whom in ["hosts", "groups"] {
            core.push((format!("hadoop.proxyuser.{user}.{whom}"), "*".to_owned()));
        }
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

    /// Hadoop's Router (of 3.4), which finds the NameNodes when they are there.
    fn start_router(&mut self, hadoop: &Hadoop) -> Result<()> {
        let log = File::create(self.log("router"))?;
        let mut command = hadoop.command(&self.conf("router"), "dfsrouter", &[]);
        command.stdout(log.try_clone()?).stderr(log);
        self.running.insert("router".to_owned(), command.spawn()?);
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

/// Puts one file after the other into this directory of both nameservices, until told to stop; how many.
fn put_files(shell: &mut FileClient, file: &str, dir: &str, stop: &AtomicBool, put: &AtomicU64) -> Result<u64> {
    while !stop.load(Ordering::Relaxed) {
        let number = put.load(Ordering::Relaxed);
        for side in ["a", "b"] {
            let done = shell.run(&format!("-put {file} /{side}/{dir}/{number}"));
            // Who waits for more may panic before anybody asks for the result.
            done.inspect_err(|error| eprintln!("{dir}: {error:#}"))?;
        }
        put.fetch_add(1, Ordering::Relaxed);
    }
    Ok(put.load(Ordering::Relaxed))
}

/// The two trees of both nameservices: one of ViewFs, one of the Router.
fn clients(hadoop: &Hadoop, federation: &Federation) -> Result<(FileClient, FileClient)> {
    let mut views = FileClient::of(hadoop, &federation.conf("client"), "ShellClient.java", &[])?;
    let mut routed = FileClient::of(hadoop, &federation.conf("client-of-router"), "ShellClient.java", &[])?;
    views.run("-mkdir /a/files /b/files")?;
    wait_for("the Router's store", PATIENCE, || routed.run("dfsrouteradmin -ls").ok());
    for (mount, ns) in [("/a", "alpha"), ("/b", "beta")] {
        routed.run(&format!("dfsrouteradmin -add {mount} {ns} /"))?;
    }
    routed.run("dfsrouteradmin -refresh")?;
    let mut refused = String::new();
    wait_for("the Router's NameNodes", PATIENCE, || {
        let made = routed.run("-mkdir -p /a/routed /b/routed");
        made.inspect_err(|error| {
            let error = format!("{error:#}");
            if error != refused {
                eprintln!("the Router: {error}");
            }
            refused = error;
        })
        .ok()
    });
    Ok((views, routed))
}

#[test]
fn two_nameservices_share_journalnodes_and_datanodes_and_fail_over_by_themselves() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut federation = Federation::new()?;
    federation.start_router(&hadoop)?;
    federation.start_all()?;
    let file = federation.path("file");
    fs::write(&file, "of both\n")?;
    let (mut views, mut routed) = clients(&hadoop, &federation)?;

    let stop = AtomicBool::new(false);
    let put = [AtomicU64::new(0), AtomicU64::new(0)];
    let goes_on = || {
        for put in &put {
            let before = put.load(Ordering::Relaxed);
            wait_for("the client to go on", PATIENCE, || {
                (put.load(Ordering::Relaxed) > before + 2).then_some(())
            });
        }
    };
    let files = std::thread::scope(|scope| -> Result<[u64; 2]> {
        let of_views = scope.spawn(|| put_files(&mut views, &file, "files", &stop, &put[0]));
        let of_router = scope.spawn(|| put_files(&mut routed, &file, "routed", &stop, &put[1]));
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
            federation.start(&format!("namenode-alpha-{}", 1 - alpha))?;
            Ok(())
        };
        let result = failovers();
        drop(stopper);
        let ended = [of_views.join(), of_router.join()];
        let [views, routed] = ended.map(|files| files.map_err(|_| anyhow::anyhow!("a client panicked")));
        result.and(Ok([views??, routed??]))
    })?;

    // Each finds what the other one has put.
    for side in ["a", "b"] {
        for (client, dir, files) in [(&mut routed, "files", files[0]), (&mut views, "routed", files[1])] {
            let counted = client.run(&format!("-count /{side}/{dir}"))?;
            let numbers: Vec<&str> = counted.split_whitespace().collect();
            ensure!(
                numbers.get(1) == Some(&files.to_string().as_str()),
                "{files}: {counted}"
            );
            let read = client.run(&format!("-cat /{side}/{dir}/0 /{side}/{dir}/{}", files - 1))?;
            ensure!(read == "of both of both", "{read}");
        }
    }
    let listed = views.run("-ls viewfs://both/ viewfs://both/a/files")?;
    ensure!(listed.contains("viewfs://both/a/files/0"), "{listed}");
    what_the_router_knows(&federation, &mut routed, &mut views)?;
    what_is_on_disk(&federation)
}

/// Mount points, moves, and users, of which the Router tells its NameNodes.
fn what_the_router_knows(federation: &Federation, routed: &mut FileClient, views: &mut FileClient) -> Result<()> {
    let listed = routed.run("-ls /")?;
    ensure!(listed.contains("Found 2 items"), "{listed}");
    for client in [&mut *routed, &mut *views] {
        let moved = client.run("-mv /a/routed/0 /b/routed/moved");
        ensure!(moved.is_err(), "moved from one nameservice to the other: {moved:?}");
    }
    routed.run("-chmod 777 /b/routed")?;
    let mut ours = federation.command("client-of-router", "dfs", &["-mkdir", "/b/routed/alice"]);
    let ours = ours.env("HADOOP_USER_NAME", "alice").output()?;
    ensure!(ours.status.success(), "{}", String::from_utf8_lossy(&ours.stderr));
    let owner = views.run("-stat %u /b/routed/alice")?;
    ensure!(owner == "alice", "{owner}");
    // The Router asks every NameNode about its safe mode, and fails while one of them is missing.
    let report = wait_for("a report by the Router", PATIENCE, || {
        federation.run("client-of-router", "dfsadmin", &["-report"]).ok()
    });
    ensure!(report.contains(&format!("Live datanodes ({DATANODES})")), "{report}");
    let told = fs::read_to_string(federation.log("router"))?;
    ensure!(!told.contains("Cannot get stat from"), "{told}");
    Ok(())
}

/// Each DataNode has a block pool of each, of one cluster.
fn what_is_on_disk(federation: &Federation) -> Result<()> {
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
