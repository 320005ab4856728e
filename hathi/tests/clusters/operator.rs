//! What an operator meets at the edges: directories of other software, disks and pipes that take nothing more, two
//! quickstarts in one place, users whom only a directory service knows.

use anyhow::{Context, Result, ensure};
use hathi_formats::exceptions::SAFE_MODE;
use hathi_formats::proto::hdfs::{
    FsPermissionProto, GetFileInfoRequestProto, GetFileInfoResponseProto, MkdirsRequestProto, MkdirsResponseProto,
    MsyncRequestProto, MsyncResponseProto, SafeModeActionProto, SetSafeModeRequestProto, SetSafeModeResponseProto,
};
use hathi_interop::{Cluster, ClusterOptions, Daemons, Kind, Pair, Role, SharedEdits, wait_for};
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError, protocols};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

/// A process that is killed at the end of its test.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command) -> Result<Daemon> {
        Ok(Daemon(command.stdin(Stdio::null()).spawn()?))
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Waits for its end; gives what it told.
    fn refusal(mut self) -> Result<String> {
        let status = wait_for("the process to refuse", PATIENCE, || self.ended());
        ensure!(!status.success() && status.code().is_some(), "{status}");
        let mut told = String::new();
        let mut stderr = self.0.stderr.take().context("no stderr")?;
        stderr.read_to_string(&mut told)?;
        Ok(told)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn hathi(daemon: &str, conf: &Path) -> Command {
    let mut command = Command::new(HATHI);
    command.arg(daemon).arg("--conf").arg(conf);
    command
}

fn formatted(shared: SharedEdits<'_>, more: &[(&str, &str)]) -> Result<Pair> {
    let mut pair = Pair::new(HATHI, None, shared, more)?;
    if shared != SharedEdits::Directory {
        for index in 0..3 {
            pair.start_journalnode(index, Kind::Ours)?;
        }
    }
    pair.namenode(Kind::Ours, &pair.conf(0), &["-format", "-nonInteractive"])?;
    Ok(pair)
}

fn set_in_version(pair: &Pair, key: &str, value: &str) -> Result<(PathBuf, String)> {
    let path = pair.name_dir(0).join("current/VERSION");
    let old = std::fs::read_to_string(&path)?;
    let new: String = old
        .lines()
        .map(|line| match line.split_once('=') {
            Some((found, _)) if found == key => format!("{key}={value}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    ensure!(new != old, "{key} is not in {old}");
    std::fs::write(&path, &new)?;
    Ok((path, new))
}

fn refused(pair: &Pair) -> Result<String> {
    Daemon::start(hathi("namenode", &pair.conf(0)).stderr(Stdio::piped()))?.refusal()
}

#[test]
fn a_namenode_refuses_a_directory_of_another_layout() -> Result<()> {
    for layout in ["-99", "-63"] {
        let pair = formatted(SharedEdits::Directory, &[])?;
        let (path, version) = set_in_version(&pair, "layoutVersion", layout)?;
        let told = refused(&pair)?;
        for part in [&pair.name_dir(0).display().to_string(), layout, "-67"] {
            assert!(told.contains(part), "{part} is missing in: {told}");
        }
        assert_eq!(std::fs::read_to_string(path)?, version);
    }
    Ok(())
}

#[test]
fn a_namenode_refuses_journalnodes_of_another_cluster() -> Result<()> {
    for (key, value) in [("clusterID", "CID-foreign"), ("namespaceID", "4711")] {
        let pair = formatted(SharedEdits::QUORUM, &[])?;
        let (path, version) = set_in_version(&pair, key, value)?;
        let told = refused(&pair)?;
        for part in [&pair.name_dir(0).display().to_string(), value, "JournalNode"] {
            assert!(told.contains(part), "{part} is missing in: {told}");
        }
        assert_eq!(std::fs::read_to_string(path)?, version);
    }
    Ok(())
}

#[test]
fn no_daemon_ends_because_its_log_can_not_be_written() -> Result<()> {
    let mut cluster = Cluster::start(
        HATHI,
        ClusterOptions {
            namenodes: 1,
            journalnodes: 1,
            datanodes: 1,
        },
    )?;
    cluster.kill_everything()?;
    let full = || File::options().write(true).open("/dev/full");
    let mut daemons = Vec::new();
    for role in ["journalnode", "datanode", "namenode", "zkfc"] {
        let conf = cluster.conf().join(format!("{role}-0"));
        let mut command = hathi(role, &conf);
        command.env("HATHI_LOG", "debug").stdout(full()?);
        // A disk that is full, and a pipe that nobody reads any more.
        if role == "journalnode" {
            command.stderr(Stdio::piped());
        } else {
            command.stderr(full()?);
        }
        let mut daemon = Daemon::start(&mut command)?;
        drop(daemon.0.stderr.take());
        daemons.push((role, daemon));
    }
    wait_for("the cluster to serve", PATIENCE, || {
        for (role, daemon) in &mut daemons {
            assert_eq!(daemon.ended(), None, "{role}");
        }
        let report = cluster.hathi_ok("dfsadmin", &["-report"]).ok()?;
        report.contains("Live datanodes (1)").then_some(())
    });
    cluster.hathi_ok("dfs", &["-mkdir", "/written"])?;
    // Ends are in order as well.
    for (role, daemon) in daemons.iter_mut().rev() {
        let pid = Pid::from_raw(i32::try_from(daemon.0.id())?).context("pid")?;
        kill_process(pid, Signal::TERM)?;
        let status = wait_for("its end", PATIENCE, || daemon.ended());
        assert!(status.success() || status.code().is_none(), "{role}: {status}");
    }
    Ok(())
}

#[test]
fn a_long_copy_shows_its_progress_on_a_terminal() -> Result<()> {
    let cluster = Cluster::start(HATHI, ClusterOptions::default())?;
    let dir = tempfile::tempdir()?;
    // Holes take no space here, and a copy of so many bytes takes longer than the time after which the bar appears.
    let source = dir.path().join("holes");
    File::create(&source)?.set_len(2 << 30)?;
    let copy = format!("{HATHI} dfs -put {} /copy", source.display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &copy, "/dev/null"]);
    command.env("HADOOP_CONF_DIR", cluster.conf()).env("TERM", "xterm");
    let mut terminal = Daemon::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let mut shown = terminal.0.stdout.take().context("no stdout")?;
    let (mut told, mut part) = (String::new(), [0; 4096]);
    while !(told.contains("holes") && told.contains("/2.00 GiB")) {
        let length = shown.read(&mut part)?;
        ensure!(length > 0, "the copy ended: {told:?}");
        told += &String::from_utf8_lossy(&part[..length]);
    }
    Ok(())
}

#[test]
fn a_command_whose_reader_has_gone_ends_quietly() -> Result<()> {
    let cluster = Cluster::start(HATHI, ClusterOptions::default())?;
    cluster.hathi_ok("dfs", &["-mkdir", "-p", "/a/b/c"])?;
    let commands: [&[&str]; 10] = [
        &["--help"],
        &["dfs", "-help"],
        &["dfs", "-ls", "-R", "/"],
        &["dfs", "-du", "/"],
        &["dfs", "-count", "/"],
        &["dfsadmin", "-report"],
        &["dfsadmin", "-safemode", "get"],
        &["haadmin", "-getAllServiceState"],
        &["haadmin", "-help"],
        &["journal", "status"],
    ];
    for command in commands {
        let start = |stdout: Stdio| -> Result<Daemon> {
            let mut process = Command::new(HATHI);
            process.args(command).env("HADOOP_CONF_DIR", cluster.conf());
            Daemon::start(process.stdout(stdout).stderr(Stdio::piped()))
        };
        let end = |mut process: Daemon| -> Result<(ExitStatus, String)> {
            let mut told = String::new();
            process
                .0
                .stderr
                .take()
                .context("no stderr")?
                .read_to_string(&mut told)?;
            Ok((wait_for("its end", PATIENCE, || process.ended()), told))
        };
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let (status, told) = end(start(writer.into())?)?;
        assert_eq!(told, "", "{command:?}: {status}");
        assert_eq!(status.code(), Some(141), "{command:?}");
        let full = File::options().write(true).open("/dev/full")?;
        let (status, told) = end(start(full.into())?)?;
        assert!(told.contains("No space left on device"), "{command:?}: {told}");
        assert!(!told.contains("panicked"), "{command:?}: {told}");
        assert_eq!(status.code(), Some(1), "{command:?}");
        // Nothing can be told at all.
        let full = || File::options().write(true).open("/dev/full");
        let mut process = Command::new(HATHI);
        process.args(command).env("HADOOP_CONF_DIR", cluster.conf());
        let mut mute = Daemon::start(process.stdout(full()?).stderr(full()?))?;
        let status = wait_for("its end", PATIENCE, || mute.ended());
        assert_eq!(status.code(), Some(1), "{command:?}");
    }
    Ok(())
}

#[test]
fn a_second_quickstart_leaves_a_running_cluster_alone() -> Result<()> {
    let options = ClusterOptions {
        namenodes: 1,
        journalnodes: 1,
        datanodes: 1,
    };
    let mut cluster = Cluster::start(HATHI, options)?;
    let site = cluster.conf().join("hdfs-site.xml");
    let before = std::fs::read_to_string(&site)?;
    let second = |dir: &Path| -> Result<String> {
        let mut command = Command::new(HATHI);
        command.arg("quickstart").arg("--dir").arg(dir);
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Daemon::start(command)?;
        // What is not refused is ended in order, so that no daemon is left.
        let pid = Pid::from_raw(i32::try_from(process.0.id())?).context("pid")?;
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("the second quickstart to refuse", PATIENCE, || process.ended())
        }));
        if refused.is_err() {
            kill_process(pid, Signal::TERM)?;
            process.0.wait()?;
        }
        process.refusal()
    };
    let told = second(cluster.dir())?;
    for part in ["already running", "pid ", "http://127.0.0.1:"] {
        assert!(told.contains(part), "{part} is missing in: {told}");
    }
    assert_eq!(std::fs::read_to_string(&site)?, before);
    cluster.hathi_ok("dfs", &["-mkdir", "/still"])?;
    // Once it has ended the directory is free again, however it ended.
    cluster.kill_everything()?;
    cluster.start_again()?;
    cluster.hathi_ok("dfs", &["-test", "-d", "/still"])?;

    let other = tempfile::tempdir()?;
    let mine = other.path().join("conf/core-site.xml");
    std::fs::create_dir(other.path().join("conf"))?;
    std::fs::write(&mine, "mine")?;
    let told = second(other.path())?;
    assert!(
        told.contains("is not empty") && told.contains(&other.path().display().to_string()),
        "{told}"
    );
    assert_eq!(std::fs::read_to_string(&mine)?, "mine");
    assert_eq!(std::fs::read_dir(other.path())?.count(), 1);
    Ok(())
}

async fn connect(pair: &Pair) -> Result<RpcClient, RpcError> {
    let options = ClientOptions::new("tester");
    RpcClient::connect(pair.address(Role::NameNode, 0), &protocols::CLIENT_PROTOCOL, options).await
}

async fn mkdirs(client: &RpcClient, path: &str) -> Result<bool, RpcError> {
    let request = MkdirsRequestProto {
        src: path.to_owned(),
        masked: FsPermissionProto { perm: 0o755 },
        create_parent: true,
        unmasked: None,
    };
    let made: MkdirsResponseProto = client.call("mkdirs", &request).await?;
    Ok(made.result)
}

#[tokio::test]
async fn answers_carry_state_ids_when_the_configuration_says_so() -> Result<()> {
    for enabled in ["true", "false"] {
        let more = [
            ("dfs.namenode.state.context.enabled", enabled),
            ("dfs.permissions.enabled", "false"),
        ];
        let mut pair = formatted(SharedEdits::Directory, &more)?;
        let conf = pair.conf(0);
        pair.start_namenode(0, Kind::Ours, &conf)?;
        pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
        let writer = connect(&pair).await?;
        assert!(mkdirs(&writer, "/one").await?);
        let written = writer.state_id();
        let reader = connect(&pair).await?;
        let _: MsyncResponseProto = reader.call("msync", &MsyncRequestProto {}).await?;
        let seen = reader.state_id();
        let refused = connect(&pair).await?;
        let none: Result<GetFileInfoResponseProto, RpcError> = refused
            .call("getFileInfo", &GetFileInfoRequestProto { src: "x".to_owned() })
            .await;
        assert!(none.is_err(), "not an absolute path");
        if enabled == "false" {
            assert_eq!((written, seen, refused.state_id()), (None, None, None));
            continue;
        }
        let written = written.context("no state id")?;
        assert!(written >= 2, "START_LOG_SEGMENT and MKDIR: {written}");
        assert!(seen >= Some(written), "{seen:?}");
        assert!(refused.state_id() >= Some(written));
        assert!(mkdirs(&writer, "/two").await?);
        assert_eq!(writer.state_id(), Some(written + 1));
    }
    Ok(())
}

#[tokio::test]
async fn the_web_shows_what_it_did() -> Result<()> {
    let more = [
        ("hathi.some.secret.password", "xyzzy"),
        ("dfs.namenode.handler.count", "100"),
    ];
    let mut pair = formatted(SharedEdits::Directory, &more)?;
    let conf = pair.conf(0);
    pair.start_namenode(0, Kind::Ours, &conf)?;
    // What it does not obey it says once.
    let log = pair.log("nn0");
    for (key, _) in more {
        let said = log.lines().filter(|line| line.contains(&format!(" {key} ("))).count();
        assert_eq!(said, 1, "{key}: {log}");
    }
    for (path, part) in [
        ("/", "<!doctype html>"),
        ("/api/cluster", "nn0"),
        ("/conf", "dfs.nameservices"),
        ("/jmx", "Hadoop:service=NameNode,name=NameNodeStatus"),
        ("/metrics", "namenode"),
    ] {
        let url = format!("http://{}{path}", pair.http_address(Role::NameNode, 0));
        let (_, body) = hathi_net::http::get_bytes(&url, PATIENCE, 16 << 20).await?;
        let text = String::from_utf8_lossy(&body).to_lowercase();
        assert!(
            text.contains(&part.to_lowercase()),
            "{part} is missing at {path}: {text}"
        );
        assert!(!text.contains("xyzzy"), "a password is shown at {path}");
    }
    Ok(())
}

#[tokio::test]
async fn an_active_whose_disk_is_full_enters_safe_mode() -> Result<()> {
    let more = [
        // No disk has so much.
        ("dfs.namenode.resource.du.reserved", "9000000000000000000"),
        ("dfs.namenode.resource.check.interval", "100"),
        ("dfs.permissions.enabled", "false"),
    ];
    let mut pair = formatted(SharedEdits::Directory, &more)?;
    let conf = pair.conf(0);
    pair.start_namenode(0, Kind::Ours, &conf)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    let client = connect(&pair).await?;
    let mut number = 0;
    let refusal = loop {
        number += 1;
        match mkdirs(&client, &format!("/{number}")).await {
            Err(error) => break error,
            Ok(_) => assert!(number < 10_000, "it goes on taking writes"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    assert!(refusal.is_remote(SAFE_MODE), "{refusal}");
    let told = refusal.to_string();
    assert!(
        told.contains("Resources are low on NN. Please add or free up more resources"),
        "{told}"
    );
    let log = pair.log("nn0");
    for part in [
        &pair.name_dir(0).display().to_string(),
        "dfs.namenode.resource.du.reserved",
        "9000000000000000000",
    ] {
        assert!(log.contains(part), "{part} is missing in: {log}");
    }
    let health = pair.tool("haadmin", &["-checkHealth", "nn0"]).output()?;
    assert!(!health.status.success());
    let told = String::from_utf8_lossy(&health.stderr).into_owned();
    assert!(told.contains(&pair.name_dir(0).display().to_string()), "{told}");
    // Left by hand, it comes back.
    let leave = SetSafeModeRequestProto {
        action: SafeModeActionProto::SafemodeLeave.into(),
        checked: None,
    };
    let own = pair.run("dfs", &["-stat", "%u", "/"])?;
    let options = ClientOptions::new(own.trim());
    let admin = RpcClient::connect(pair.address(Role::NameNode, 0), &protocols::CLIENT_PROTOCOL, options).await?;
    let left: SetSafeModeResponseProto = admin.call("setSafeMode", &leave).await?;
    assert!(!left.result);
    while mkdirs(&client, "/again").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

#[test]
fn users_and_groups_are_those_of_the_directory_service_and_the_first_call_of_a_user_waits_for_its_groups() -> Result<()>
{
    let pair = formatted(SharedEdits::Directory, &[])?;
    // What the system knows of users, as slow as a service behind a network.
    let bin = tempfile::tempdir()?;
    let id = bin.path().join("id");
    std::fs::write(
        &id,
        "#!/bin/sh\nsleep 0.3\ncase \"$1\" in\n-un) PATH=${PATH#*:}; echo ${OWNER:-$(id -un)} ;;\n*z*) printf 'staff\\0research lab\\0' ;;\n*) echo staff research lab ;;\nesac\n",
    )?;
    std::fs::set_permissions(&id, std::fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH")?);
    let start = || Daemon::start(hathi("namenode", &pair.conf(0)).env("PATH", &path));
    let active = |pair: &Pair| {
        pair.wait_for_state(0, "standby");
        pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])
    };
    let namenode = start()?;
    active(&pair)?;
    pair.run("dfs", &["-mkdir", "/lab"])?;
    pair.run("dfs", &["-chmod", "770", "/lab"])?;
    // The shell takes no name with a space, as Hadoop's does not.
    let user = Command::new("id").arg("-un").output()?.stdout;
    let mut web = TcpStream::connect(pair.http_address(Role::NameNode, 0))?;
    write!(
        web,
        "PUT /webhdfs/v1/lab?op=SETOWNER&group=research%20lab&user.name={} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        String::from_utf8(user)?.trim()
    )?;
    let mut answer = String::new();
    web.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(namenode);
    // The first call of the user after a start.
    let _again = start()?;
    active(&pair)?;
    // Whoever owns the process by the local files: for the machine it is a user that these don't have.
    let made = pair
        .tool("dfs", &["-mkdir", "/lab/alice"])
        .env("PATH", &path)
        .env("OWNER", "alice-of-the-directory")
        .output()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let owner = pair.run("dfs", &["-stat", "%u", "/lab/alice"])?;
    assert_eq!(owner.trim(), "alice-of-the-directory");
    Ok(())
}

#[test]
fn no_daemon_starts_with_a_setting_that_asks_for_protection_that_is_not_there() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut text = String::new();
    for (key, value) in [
        ("dfs.nameservices", "ns"),
        ("dfs.ha.namenodes.ns", "nn0"),
        ("dfs.namenode.rpc-address.ns.nn0", "127.0.0.1:0"),
        ("dfs.namenode.handler.count", "100"),
        ("dfs.http.policy", "HTTPS_ONLY"),
        ("hadoop.security.authentication", "kerberos"),
    ] {
        text.push_str(&format!(
            "<property><name>{key}</name><value>{value}</value></property>\n"
        ));
    }
    std::fs::write(
        dir.path().join("hdfs-site.xml"),
        format!("<configuration>{text}</configuration>"),
    )?;
    let refusal = "hadoop.security.authentication = 'kerberos' (";
    for daemon in ["namenode", "datanode", "journalnode", "zkfc"] {
        let told = Daemon::start(hathi(daemon, dir.path()).stderr(Stdio::piped()))?.refusal()?;
        assert!(told.contains(refusal), "{daemon}: {told}");
        assert!(told.contains("hdfs-site.xml"), "{daemon}: {told}");
        assert!(told.contains("set simple"), "{daemon}: {told}");
    }
    let checked = Command::new(HATHI)
        .arg("conf")
        .arg("--check")
        .arg(dir.path())
        .output()?;
    let told = String::from_utf8(checked.stdout)?;
    assert_eq!(checked.status.code(), Some(1), "{told}");
    for part in [
        refusal,
        "dfs.http.policy = 'HTTPS_ONLY' (",
        "dfs.namenode.handler.count (",
    ] {
        assert!(told.contains(part), "{part} is missing in: {told}");
    }
    let senseless = [
        ("dfs.namenode.checkpoint.period", "soon"),
        ("ha.health-monitor.rpc-timeout.ms", "0"),
        ("dfs.blockreport.intervalMsec", "often"),
    ];
    let mut text = String::new();
    for (key, value) in [
        ("dfs.nameservices", "ns"),
        ("dfs.ha.namenodes.ns", "nn0,nn1"),
        ("dfs.namenode.rpc-address.ns.nn0", "127.0.0.1:8020"),
        ("dfs.namenode.rpc-address.ns.nn1", "127.0.0.2:8020"),
    ]
    .into_iter()
    .chain(senseless)
    {
        text.push_str(&format!(
            "<property><name>{key}</name><value>{value}</value></property>\n"
        ));
    }
    let site = format!("<configuration>{text}</configuration>");
    std::fs::write(dir.path().join("hdfs-site.xml"), site)?;
    let checked = Command::new(HATHI).args(["conf", "--check"]).arg(dir.path()).output()?;
    let told = String::from_utf8(checked.stdout)?;
    assert_eq!(checked.status.code(), Some(1), "{told}");
    for (key, value) in senseless {
        let lines = told.lines().filter(|line| line.contains(key) && line.contains(value));
        assert_eq!(lines.count(), 1, "{key} in: {told}");
    }
    std::fs::write(dir.path().join("hdfs-site.xml"), "<configuration/>")?;
    let checked = Command::new(HATHI)
        .arg("conf")
        .arg("--check")
        .arg(dir.path())
        .output()?;
    assert_eq!((checked.status.code(), checked.stdout.as_slice()), (Some(0), &b""[..]));
    let formatted = hathi("zkfc", dir.path()).arg("-formatZK").output()?;
    assert_eq!(formatted.status.code(), Some(1), "nothing was formatted");
    Ok(())
}

#[test]
fn a_command_for_every_namenode_goes_on_when_one_is_down_and_fails_in_the_end() -> Result<()> {
    let options = ClusterOptions {
        namenodes: 2,
        journalnodes: 1,
        datanodes: 1,
    };
    let mut daemons = Daemons::started(Path::new(HATHI), options, &[])?;
    let all = daemons.hathi("dfsadmin", &["-refreshNodes"])?;
    assert_eq!(all.matches("Refresh nodes successful for ").count(), 2, "{all}");
    let active = daemons.active().context("an active")?;
    daemons.kill(Role::NameNode, active.abs_diff(1))?;
    daemons.hathi("dfsadmin", &["-setBalancerBandwidth", "1048576"])?;
    for (command, said) in [
        (&["-refreshNodes"][..], "Refresh nodes"),
        (&["-safemode", "enter"], "Safe mode"),
        (&["-saveNamespace"], "Save namespace"),
    ] {
        let output = Command::new(HATHI)
            .arg("dfsadmin")
            .args(command)
            .env("HADOOP_CONF_DIR", daemons.conf())
            .output()?;
        let (told, failed) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        assert_eq!(output.status.code(), Some(255), "{command:?}: {told}{failed}");
        assert_eq!(failed.matches(&format!("{said} failed for ")).count(), 1, "{failed}");
        assert_eq!(told.lines().count(), 1, "the other one is asked too: {told}");
    }
    Ok(())
}

#[test]
fn a_namenode_does_not_start_with_a_list_of_hosts_that_it_can_not_read() -> Result<()> {
    let pair = formatted(SharedEdits::Directory, &[("dfs.hosts", "/nowhere/include")])?;
    let told = refused(&pair)?;
    for part in ["dfs.hosts", "/nowhere/include"] {
        assert!(told.contains(part), "{part} is missing in: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn each_call_leaves_a_line_in_the_audit_log() -> Result<()> {
    let logs = tempfile::tempdir()?;
    let dir = logs.path().display().to_string();
    let mut pair = formatted(
        SharedEdits::Directory,
        &[("hathi.namenode.audit.log", "true"), ("hadoop.log.dir", &dir)],
    )?;
    let conf = pair.conf(0);
    pair.start_namenode(0, Kind::Ours, &conf)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    let client = connect(&pair).await?;
    assert!(mkdirs(&client, "/denied").await.is_err());
    pair.run("dfs", &["-mkdir", "/audited"])?;
    let user = hathi_net::users::process_user();
    let ip = "(auth:SIMPLE)\tip=/127.0.0.1\tcmd=mkdirs";
    let lines = [
        format!(
            " INFO FSNamesystem.audit: allowed=false\tugi=tester {ip}\tsrc=/denied\tdst=null\tperm=null\tproto=rpc\n"
        ),
        format!(
            " INFO FSNamesystem.audit: allowed=true\tugi={user} {ip}\tsrc=/audited\tdst=null\t\
             perm={user}:supergroup:rwxr-xr-x\tproto=rpc\n"
        ),
    ];
    let file = logs.path().join("hdfs-audit.log");
    wait_for("the lines", PATIENCE, || {
        let log = std::fs::read_to_string(&file).ok()?;
        lines.iter().all(|line| log.contains(line)).then_some(())
    });
    Ok(())
}
