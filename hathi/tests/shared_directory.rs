//! A pair of NameNodes on a shared directory instead of JournalNodes: ours, and Hadoop's in their place.

use anyhow::{Context, Result, ensure};
use hathi_formats::exceptions::RETRIABLE;
use hathi_formats::proto::hdfs::{FsPermissionProto, MkdirsRequestProto, MkdirsResponseProto};
use hathi_interop::{Hadoop, wait_for};
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError, protocols};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

/// Two NameNodes, nn0 and nn1, and their directories.
struct Pair {
    dir: TempDir,
    /// Of nn0.
    rpc: SocketAddr,
    site: Vec<(String, String)>,
    running: [Option<Child>; 2],
}

impl Pair {
    /// Configured, with empty directories.
    fn new(more: &[(&str, &str)]) -> Result<Pair> {
        let dir = TempDir::with_prefix("hathi-pair-")?;
        let listeners: Vec<TcpListener> = (0..4)
            .map(|_| TcpListener::bind(("127.0.0.1", 0)))
            .collect::<std::io::Result<_>>()?;
        let mut ports = listeners.iter().map(|l| l.local_addr().map(|address| address.port()));
        let mut site: Vec<(String, String)> = [
            ("dfs.nameservices", "ns"),
            ("dfs.ha.namenodes.ns", "nn0,nn1"),
            (
                "dfs.client.failover.proxy.provider.ns",
                "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider",
            ),
            ("dfs.ha.fencing.methods", "shell(/bin/true)"),
            ("dfs.ha.tail-edits.period", "1"),
            ("dfs.ha.log-roll.period", "1"),
            ("dfs.namenode.safemode.extension", "0"),
            ("dfs.client.failover.sleep.base.millis", "50"),
        ]
        .iter()
        .chain(more)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
        for id in ["nn0", "nn1"] {
            for kind in ["rpc", "http"] {
                let port = ports.next().context("port")??;
                site.push((
                    format!("dfs.namenode.{kind}-address.ns.{id}"),
                    format!("127.0.0.1:{port}"),
                ));
            }
        }
        let rpc = listeners[0].local_addr()?;
        drop(ports);
        drop(listeners);
        std::fs::create_dir(dir.path().join("shared"))?;
        let pair = Pair {
            dir,
            rpc,
            site,
            running: [None, None],
        };
        pair.configure(&pair.uri("shared"))?;
        Ok(pair)
    }

    fn uri(&self, name: &str) -> String {
        format!("file://{}", self.dir.path().join(name).display())
    }

    /// Writes both configurations, with these shared edits.
    fn configure(&self, shared: &str) -> Result<()> {
        for (index, id) in ["nn0", "nn1"].into_iter().enumerate() {
            let mut own = self.site.clone();
            own.push(("dfs.namenode.shared.edits.dir".to_owned(), shared.to_owned()));
            own.push(("dfs.namenode.name.dir".to_owned(), self.uri(id)));
            own.push(("dfs.ha.namenode.id".to_owned(), id.to_owned()));
            let conf = self.conf(index);
            std::fs::create_dir_all(&conf)?;
            write_xml(&conf.join("hdfs-site.xml"), &own)?;
            write_xml(
                &conf.join("core-site.xml"),
                &[("fs.defaultFS".to_owned(), "hdfs://ns".to_owned())],
            )?;
        }
        Ok(())
    }

    /// Formatted, both started, nn0 active.
    fn start(more: &[(&str, &str)]) -> Result<Pair> {
        let mut pair = Pair::new(more)?;
        pair.namenode_ok(0, &["-format", "-nonInteractive"])?;
        pair.spawn(0)?;
        pair.namenode_ok(1, &["-bootstrapStandby", "-nonInteractive"])?;
        pair.spawn(1)?;
        pair.haadmin(&["-transitionToActive", "nn0"])?;
        Ok(pair)
    }

    fn conf(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("conf-nn{index}"))
    }

    fn shared(&self) -> PathBuf {
        self.dir.path().join("shared/current")
    }

    fn log(&self, index: usize) -> String {
        std::fs::read_to_string(self.dir.path().join(format!("nn{index}.log"))).unwrap_or_default()
    }

    /// Runs `hathi namenode` with options that end.
    fn namenode(&self, index: usize, options: &[&str]) -> Result<Output> {
        let conf = self.conf(index);
        let mut command = Command::new(HATHI);
        command.args(["namenode", "--conf"]).arg(conf).args(options);
        Ok(command.stdin(Stdio::null()).output()?)
    }

    fn namenode_ok(&self, index: usize, options: &[&str]) -> Result<()> {
        let output = self.namenode(index, options)?;
        ensure!(
            output.status.success(),
            "{options:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn spawn(&mut self, index: usize) -> Result<()> {
        // A write beyond the limit on the length of files shall be an error, as on a full disk, and not a signal.
        let mut command = Command::new("bash");
        command
            .args(["-c", "trap '' XFSZ; exec \"$@\"", "hathi", HATHI, "namenode", "--conf"])
            .arg(self.conf(index));
        self.spawn_command(index, command)
    }

    fn spawn_command(&mut self, index: usize, mut command: Command) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("nn{index}.log")))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.running[index] = Some(child);
        self.wait_for_state(index, "standby");
        Ok(())
    }

    fn wait_for_state(&self, index: usize, state: &str) {
        wait_for(&format!("nn{index} as {state}"), PATIENCE, || {
            (self.state(index).ok()? == state).then_some(())
        });
    }

    fn state(&self, index: usize) -> Result<String> {
        let printed = self.haadmin(&["-getServiceState", &format!("nn{index}")])?;
        Ok(printed.trim().to_owned())
    }

    fn pid(&self, index: usize) -> Result<Pid> {
        let child = self.running[index].as_ref().context("not running")?;
        Pid::from_raw(i32::try_from(child.id())?).context("pid")
    }

    fn signal(&self, index: usize, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid(index)?, signal)?)
    }

    fn kill(&mut self, index: usize, signal: Signal) -> Result<()> {
        self.signal(index, signal)?;
        self.running[index].take().context("not running")?.wait()?;
        Ok(())
    }

    fn tool(&self, tool: &str, args: &[&str]) -> Command {
        let mut command = Command::new(HATHI);
        command.arg(tool).args(args).env("HADOOP_CONF_DIR", self.conf(0));
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, tool: &str, args: &[&str]) -> Result<String> {
        let output = self.tool(tool, args).output()?;
        ensure!(
            output.status.success(),
            "{tool} {args:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn haadmin(&self, args: &[&str]) -> Result<String> {
        self.run("haadmin", args)
    }

    fn mkdir(&self, path: &str) -> Result<()> {
        self.run("dfs", &["-mkdir", path]).map(drop)
    }

    /// Asks nn0 once, as a client would that does not try again.
    fn call_mkdirs(&self, path: &str) -> Result<Result<MkdirsResponseProto, RpcError>> {
        let request = MkdirsRequestProto {
            src: path.to_owned(),
            masked: FsPermissionProto { perm: 0o755 },
            create_parent: true,
            unmasked: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(async {
            let options = ClientOptions::new("tester");
            let client = RpcClient::connect(self.rpc, &protocols::CLIENT_PROTOCOL, options).await?;
            client.call("mkdirs", &request).await
        }))
    }

    fn assert_dirs(&self, paths: &[&str]) {
        for path in paths {
            self.run("dfs", &["-test", "-d", path])
                .unwrap_or_else(|error| panic!("{path} is lost: {error}"));
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for (index, child) in self.running.iter_mut().enumerate() {
            if let Some(child) = child {
                // Nothing to be done about it here.
                let _ = child.kill();
                let _ = child.wait();
            }
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.dir.path().join(format!("nn{index}.log")));
                eprintln!("---- nn{index}\n{}", log.unwrap_or_default());
            }
        }
    }
}

fn write_xml(path: &Path, properties: &[(String, String)]) -> Result<()> {
    let mut text = String::from("<configuration>\n");
    for (key, value) in properties {
        text.push_str(&format!(
            "<property><name>{key}</name><value>{value}</value></property>\n"
        ));
    }
    text.push_str("</configuration>\n");
    Ok(std::fs::write(path, text)?)
}

#[test]
fn the_role_moves_both_ways_and_survives_a_killed_active() -> Result<()> {
    let mut pair = Pair::start(&[])?;
    pair.mkdir("/one")?;
    pair.haadmin(&["-failover", "nn0", "nn1"])?;
    pair.mkdir("/two")?;
    pair.haadmin(&["-failover", "nn1", "nn0"])?;
    pair.mkdir("/three")?;
    pair.kill(0, Signal::KILL)?;
    pair.haadmin(&["-failover", "nn0", "nn1"])?;
    pair.assert_dirs(&["/one", "/two", "/three"]);
    pair.mkdir("/four")?;
    // The killed one comes back, and follows.
    pair.spawn(0)?;
    pair.kill(1, Signal::KILL)?;
    pair.haadmin(&["-transitionToActive", "--forceactive", "nn0"])?;
    pair.assert_dirs(&["/one", "/two", "/three", "/four"]);
    Ok(())
}

#[test]
fn a_standby_follows_by_segments_it_asks_for() -> Result<()> {
    let pair = Pair::start(&[])?;
    pair.mkdir("/followed")?;
    // What a standby knows is seen by what it says when it needs nothing of the shared directory to become active.
    wait_for("a finalized segment with the new directory", PATIENCE, || {
        let names = std::fs::read_dir(pair.shared()).ok()?;
        let finalized = names.flatten().filter(|entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| name.starts_with("edits_0"))
        });
        let holds = |path: PathBuf| std::fs::read(path).is_ok_and(|data| data.windows(9).any(|w| w == b"/followed"));
        finalized.map(|entry| entry.path()).any(holds).then_some(())
    });
    Ok(())
}

#[test]
fn an_active_that_slept_through_its_end_answers_nothing_stale() -> Result<()> {
    let pair = Pair::start(&[])?;
    pair.mkdir("/before")?;
    pair.signal(0, Signal::STOP)?;
    pair.haadmin(&["-transitionToActive", "--forceactive", "nn1"])?;
    pair.signal(0, Signal::CONT)?;
    pair.mkdir("/after")?;
    pair.wait_for_state(0, "standby");
    pair.assert_dirs(&["/before", "/after"]);
    ensure!(pair.log(0).contains("taken over by nn1@"), "it was not told");
    Ok(())
}

#[test]
fn a_full_directory_is_waited_for_and_nothing_is_acknowledged_meanwhile() -> Result<()> {
    let pair = Pair::start(&[
        ("dfs.ha.log-roll.period", "-1"),
        ("hathi.namenode.unsynced.limit.mb", "0"),
    ])?;
    pair.mkdir("/before")?;
    let active = pair.pid(0)?;
    let unlimited = getrlimit(Resource::Fsize);
    let limit = Rlimit {
        current: Some(4096),
        maximum: unlimited.maximum,
    };
    prlimit(Some(active), Resource::Fsize, limit)?;
    // The next segment does not fit.
    let mut roll = pair.tool("dfsadmin", &["-rollEdits"]).stdout(Stdio::piped()).spawn()?;
    wait_for("the disk to be full", PATIENCE, || {
        pair.log(0).contains("until there is room").then_some(())
    });
    ensure!(roll.try_wait()?.is_none(), "acknowledged without a disk");
    let refused = pair
        .call_mkdirs("/refused")?
        .expect_err("what nobody can write is not to fill the memory");
    ensure!(refused.is_remote(RETRIABLE), "{refused}");
    ensure!(
        pair.state(0)? == "active",
        "it need not step down: it can still be waited for"
    );
    prlimit(Some(active), Resource::Fsize, unlimited)?;
    ensure!(roll.wait()?.success(), "what waited is done when there is room");
    pair.mkdir("/after")?;

    // And full to the end, it steps down when it is told to; the other one needs room as well.
    prlimit(
        Some(active),
        Resource::Fsize,
        Rlimit {
            current: Some(4096),
            maximum: unlimited.maximum,
        },
    )?;
    let mut roll = pair.tool("dfsadmin", &["-rollEdits"]).stdout(Stdio::piped()).spawn()?;
    wait_for("the disk to be full again", PATIENCE, || {
        (pair.log(0).matches("until there is room").count() > 1).then_some(())
    });
    pair.haadmin(&["-failover", "nn0", "nn1"])?;
    pair.assert_dirs(&["/before", "/after"]);
    pair.wait_for_state(0, "standby");
    roll.wait()?;
    Ok(())
}

#[test]
fn a_directory_of_another_namespace_or_of_none_is_refused() -> Result<()> {
    let pair = Pair::new(&[])?;
    let other = Pair::new(&[])?;
    pair.namenode_ok(0, &["-format", "-nonInteractive"])?;
    other.namenode_ok(0, &["-format", "-nonInteractive"])?;
    let again = pair.namenode(0, &["-format", "-nonInteractive"])?;
    ensure!(again.status.code() == Some(1), "{again:?}");

    std::fs::copy(other.shared().join("VERSION"), pair.shared().join("VERSION"))?;
    let refused = pair.namenode(0, &[])?;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success() && text.contains("belongs to namespace"),
        "{text}"
    );

    std::fs::remove_dir_all(pair.shared())?;
    let refused = pair.namenode(0, &[])?;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && text.contains("is it mounted?"), "{text}");

    // As the message says.
    pair.namenode_ok(0, &["-initializeSharedEdits", "-nonInteractive"])?;
    let mut pair = pair;
    pair.spawn(0)?;
    Ok(())
}

#[test]
fn the_shared_directory_is_filled_from_the_local_edits() -> Result<()> {
    let mut pair = Pair::start(&[])?;
    pair.mkdir("/one")?;
    pair.run("dfsadmin", &["-rollEdits"])?;
    pair.mkdir("/two")?;
    // In order, so that the local copy, which nobody waits for, is whole.
    pair.haadmin(&["-transitionToStandby", "nn0"])?;
    pair.kill(1, Signal::TERM)?;
    let local = pair.dir.path().join("nn0/current");
    let shared_names = || -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(pair.shared())? {
            names.extend(
                entry?
                    .file_name()
                    .into_string()
                    .ok()
                    .filter(|name| name.starts_with("edits_")),
            );
        }
        names.sort();
        Ok(names)
    };
    let before = shared_names()?;
    ensure!(before.len() >= 2, "{before:?}");
    wait_for("the local copies", PATIENCE, || {
        before.iter().all(|name| local.join(name).exists()).then_some(())
    });
    let mut contents = Vec::new();
    for name in &before {
        contents.push(std::fs::read(pair.shared().join(name))?);
    }
    std::fs::remove_dir_all(pair.shared())?;
    let running = pair.namenode(0, &["-initializeSharedEdits", "-nonInteractive"])?;
    ensure!(
        !running.status.success(),
        "the NameNode runs, and has its directories locked"
    );
    pair.signal(0, Signal::TERM)?;
    pair.running[0].take().context("nn0")?.wait()?;
    pair.namenode_ok(0, &["-initializeSharedEdits", "-nonInteractive"])?;
    for (name, content) in before.iter().zip(contents) {
        ensure!(std::fs::read(pair.shared().join(name))? == content, "{name} differs");
    }
    pair.spawn(0)?;
    std::fs::remove_dir_all(pair.dir.path().join("nn1"))?;
    pair.namenode_ok(1, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.spawn(1)?;
    pair.haadmin(&["-transitionToActive", "nn1"])?;
    pair.assert_dirs(&["/one", "/two"]);
    // A segment that is gone is missed by a new standby.
    std::fs::remove_file(pair.shared().join(&before[0]))?;
    pair.kill(0, Signal::TERM)?;
    std::fs::remove_dir_all(pair.dir.path().join("nn0"))?;
    let refused = pair.namenode(0, &["-bootstrapStandby", "-nonInteractive"])?;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(6), "{text}");
    pair.namenode_ok(0, &["-bootstrapStandby", "-nonInteractive", "-skipSharedEditsCheck"])?;
    Ok(())
}

/// A JournalNode of its own directory; killed when dropped.
struct JournalNode(Child);

impl Drop for JournalNode {
    fn drop(&mut self) {
        // Nothing to be done about it here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl JournalNode {
    fn start(dir: &Path) -> Result<(JournalNode, SocketAddr)> {
        let (rpc, http) = {
            let listeners = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
            (listeners.0.local_addr()?, listeners.1.local_addr()?)
        };
        std::fs::create_dir_all(dir)?;
        let own = [
            ("dfs.journalnode.edits.dir", dir.join("edits").display().to_string()),
            ("dfs.journalnode.rpc-address", rpc.to_string()),
            ("dfs.journalnode.http-address", http.to_string()),
        ];
        write_xml(
            &dir.join("hdfs-site.xml"),
            &own.map(|(key, value)| (key.to_owned(), value)),
        )?;
        let mut command = Command::new(HATHI);
        command.args(["journalnode", "--conf"]).arg(dir).stdin(Stdio::null());
        let log = File::create(dir.join("log"))?;
        let child = JournalNode(command.stdout(log.try_clone()?).stderr(log).spawn()?);
        wait_for("a JournalNode", PATIENCE, || TcpStream::connect(rpc).ok());
        Ok((child, rpc))
    }
}

#[test]
fn a_pair_moves_from_a_directory_to_journalnodes() -> Result<()> {
    let mut pair = Pair::start(&[])?;
    pair.mkdir("/one")?;
    pair.run("dfsadmin", &["-rollEdits"])?;
    pair.mkdir("/two")?;
    pair.haadmin(&["-transitionToStandby", "nn0"])?;
    pair.kill(0, Signal::TERM)?;
    pair.kill(1, Signal::TERM)?;
    let mut journalnodes = Vec::new();
    let mut addresses = Vec::new();
    for index in 0..3 {
        let (journalnode, address) = JournalNode::start(&pair.dir.path().join(format!("jn{index}")))?;
        journalnodes.push(journalnode);
        addresses.push(address.to_string());
    }
    pair.configure(&format!("qjournal://{}/ns", addresses.join(";")))?;
    pair.namenode_ok(0, &["-initializeSharedEdits", "-nonInteractive"])?;
    // One that has an image only.
    std::fs::remove_dir_all(pair.dir.path().join("nn1"))?;
    pair.spawn(0)?;
    pair.namenode_ok(1, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.spawn(1)?;
    pair.haadmin(&["-transitionToActive", "nn1"])?;
    pair.assert_dirs(&["/one", "/two"]);
    pair.mkdir("/three")?;
    pair.haadmin(&["-failover", "nn1", "nn0"])?;
    pair.assert_dirs(&["/one", "/two", "/three"]);
    Ok(())
}

#[test]
fn hadoops_namenodes_and_ours_take_turns_at_one_directory() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut pair = Pair::start(&[])?;
    pair.mkdir("/ours")?;
    // Hadoop's on nn1, beside ours, which dies.
    pair.kill(1, Signal::TERM)?;
    let java = hadoop.server(&pair.conf(1), "namenode", 256, &[]);
    pair.spawn_command(1, java)?;
    pair.mkdir("/seen-by-java")?;
    pair.kill(0, Signal::KILL)?;
    pair.haadmin(&["-failover", "nn0", "nn1"])?;
    pair.assert_dirs(&["/ours", "/seen-by-java"]);
    pair.mkdir("/java")?;
    // Ours comes back, follows Hadoop's, and takes over from it.
    pair.spawn(0)?;
    pair.mkdir("/java-again")?;
    pair.kill(1, Signal::KILL)?;
    pair.haadmin(&["-failover", "nn1", "nn0"])?;
    pair.assert_dirs(&["/ours", "/seen-by-java", "/java", "/java-again"]);
    pair.mkdir("/last")?;
    Ok(())
}
