//! The command line: one program under two names, and what it says when something is wrong.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Kind, Pair, SharedEdits, wait_for};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
const PATIENCE: Duration = Duration::from_secs(60);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(program: &Path, args: &[&str]) -> Result<Output> {
    // No configuration is anywhere.
    let output = Command::new(program)
        .args(args)
        .env("HADOOP_CONF_DIR", "/nonexistent")
        .stdin(Stdio::null())
        .output()?;
    Ok(output)
}

fn hathi(args: &[&str]) -> Result<Output> {
    run(Path::new(HATHI), args)
}

#[test]
fn every_command_has_help_without_a_configuration() -> Result<()> {
    let usage = hathi(&["--help"])?;
    ensure!(usage.status.success(), "{usage:?}");
    let names: Vec<String> = text(&usage.stdout)
        .lines()
        .skip_while(|line| !line.contains("SUBCOMMAND is one of"))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    ensure!(names.len() > 20, "{names:?}");
    for name in names {
        let help = hathi(&[&name, "--help"])?;
        let told = text(&help.stdout).to_lowercase();
        // Hadoop's `fetchdt` begins with what it does.
        let begins = told.contains("usage") || told.starts_with(&format!("{name} "));
        ensure!(help.status.success() && begins, "{name}: {help:?}");
    }
    let of_one = hathi(&["dfs", "-help", "ls"])?;
    ensure!(text(&of_one.stdout).starts_with("-ls [-C]"), "{of_one:?}");
    let of_one = hathi(&["dfsadmin", "-help", "report"])?;
    ensure!(text(&of_one.stdout).starts_with("-report [-live]"), "{of_one:?}");
    Ok(())
}

#[test]
fn a_wrong_command_leads_to_the_right_one() -> Result<()> {
    for (args, hint, status) in [
        (&["quikstart"][..], "Did you mean quickstart?", 2),
        (&["dfs", "-lss", "/"], "Did you mean -ls?", 255),
        (
            &["dfs", "ls", "/"],
            "Did you mean -ls?  This command begins with a dash.",
            255,
        ),
        (&["dfsadmin", "-reprot"], "Did you mean -report?", 255),
        (&["haadmin", "-getServiceStat"], "Did you mean -getServiceState?", 255),
        (&["dfs", "-ls", "-z"], "[-C] [-d]", 255),
    ] {
        let output = hathi(args)?;
        let told = text(&output.stderr);
        ensure!(told.contains(hint), "{args:?}: {told}");
        ensure!(output.status.code() == Some(status), "{args:?}: {}", output.status);
    }
    Ok(())
}

#[test]
fn a_reader_that_goes_ends_a_command_without_a_word() -> Result<()> {
    for args in [
        &["dfs", "-help"][..],
        &["dfsadmin", "-help"],
        &["--help"],
        &["completion", "fish"],
    ] {
        let mut child = Command::new(HATHI)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        drop(child.stdout.take());
        let output = child.wait_with_output()?;
        ensure!(output.stderr.is_empty(), "{args:?}: {}", text(&output.stderr));
        ensure!(
            matches!(output.status.code(), Some(0 | 141)),
            "{args:?}: {}",
            output.status
        );
    }
    Ok(())
}

#[test]
fn under_hadoops_name_it_behaves_as_hadoops_script() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let hdfs = dir.path().join("hdfs");
    symlink(HATHI, &hdfs)?;
    let version = run(&hdfs, &["version"])?;
    ensure!(text(&version.stdout).starts_with("Hadoop 3."), "{version:?}");
    let none = run(&hdfs, &[])?;
    ensure!(none.status.code() == Some(1), "{none:?}");
    ensure!(
        text(&none.stderr).starts_with("Usage: hdfs [OPTIONS] SUBCOMMAND"),
        "{none:?}"
    );
    let unknown = run(&hdfs, &["nonsense"])?;
    ensure!(unknown.status.code() == Some(1), "{unknown:?}");
    ensure!(text(&unknown.stderr).contains("nonsense is not COMMAND"), "{unknown:?}");
    std::fs::write(
        dir.path().join("core-site.xml"),
        "<configuration><property><name>fs.defaultFS</name><value>hdfs://there:9</value></property></configuration>",
    )?;
    let conf = dir.path().display().to_string();
    let key = run(&hdfs, &["--config", &conf, "getconf", "-confKey", "fs.defaultFS"])?;
    ensure!(text(&key.stdout) == "hdfs://there:9\n", "{key:?}");
    let given = run(&hdfs, &["getconf", "--conf", &conf, "-D", "x=y", "-confKey", "x"])?;
    ensure!(text(&given.stdout) == "y\n", "{given:?}");
    let missing = run(&hdfs, &["getconf", "--conf", &conf, "-confKey", "x"])?;
    ensure!(missing.status.code() == Some(255), "{missing:?}");
    Ok(())
}

#[test]
fn a_daemon_is_started_looked_at_and_stopped_by_its_file() -> Result<()> {
    let pair = Pair::new(HATHI, None, SharedEdits::Directory, &[])?;
    pair.namenode(Kind::Ours, &pair.conf(0), &["-format", "-nonInteractive"])?;
    let dir = tempfile::tempdir()?;
    let daemon = |action: &str| -> Result<Output> {
        let output = Command::new(HATHI)
            .args(["--config".as_ref(), pair.conf(0).as_os_str()])
            .args(["--daemon", action, "namenode"])
            .env("HADOOP_PID_DIR", dir.path())
            .env("HADOOP_LOG_DIR", dir.path().join("logs"))
            .env("HADOOP_IDENT_STRING", "test")
            .stdin(Stdio::null())
            .output()?;
        Ok(output)
    };
    ensure!(daemon("status")?.status.code() == Some(3), "it runs");
    let started = daemon("start")?;
    ensure!(started.status.success(), "{started:?}");
    let file = dir.path().join("hadoop-test-namenode.pid");
    let pid = std::fs::read_to_string(&file).context("no pid file")?;
    ensure!(daemon("status")?.status.success(), "process {pid} does not run");
    let again = daemon("start")?;
    ensure!(again.status.code() == Some(1), "{again:?}");
    ensure!(text(&again.stderr).contains("Stop it first"), "{again:?}");
    let stopped = daemon("stop")?;
    ensure!(stopped.status.success() && !file.exists(), "{stopped:?}");
    ensure!(daemon("status")?.status.code() == Some(3), "it runs still");
    let logs = std::fs::read_dir(dir.path().join("logs"))?.count();
    ensure!(logs == 2, "{logs} files of logs");
    Ok(())
}

fn conf(settings: &str) -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    let mut text = "<configuration>".to_owned();
    for line in settings.lines() {
        let (key, value) = line.split_once('=').context("no value")?;
        text.push_str(&format!(
            "<property><name>{key}</name><value>{value}</value></property>"
        ));
    }
    std::fs::write(dir.path().join("core-site.xml"), text + "</configuration>")?;
    Ok(dir)
}

/// An address whose port is taken, and where nobody listens while the socket lives.
fn refusing_address() -> Result<(OwnedFd, SocketAddr)> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((socket, address))
}

#[test]
fn what_can_not_be_reached_is_named_at_once() -> Result<()> {
    let (_held, refusing) = refusing_address()?;
    let pair = format!(
        "fs.defaultFS=hdfs://ns\ndfs.nameservices=ns\ndfs.ha.namenodes.ns=a,b\ndfs.namenode.rpc-address.ns.a={refusing}\n\
         dfs.namenode.rpc-address.ns.b={refusing}"
    );
    let (pair, empty) = (conf(&pair)?, conf("a=b")?);
    let refused = format!("hdfs://{refusing}/");
    for (dir, uri, reason) in [
        (
            &pair,
            "hdfs://other/",
            "other is no nameservice (dfs.nameservices = ns in ",
        ),
        (
            &pair,
            "hdfs://no.such.host.invalid/",
            "unknown host no.such.host.invalid",
        ),
        (&pair, refused.as_str(), "Connection refused"),
        (&empty, "/", "fs.defaultFS"),
    ] {
        let output = Command::new(HATHI)
            .args(["dfs", "--conf"])
            .arg(dir.path())
            .args(["-ls", uri])
            .output()?;
        let told = text(&output.stderr);
        ensure!(told.starts_with("ls: ") && told.contains(reason), "{uri}: {told}");
        ensure!(output.status.code() == Some(1), "{uri}: {}", output.status);
        ensure!(!told.contains("waiting for"), "{uri}: it waited: {told}");
    }
    // With two there is something to wait for, and it is said.
    let mut child = Command::new(HATHI)
        .args(["dfs", "--conf"])
        .arg(pair.path())
        .args(["-ls", "/"])
        .stderr(Stdio::piped())
        .spawn()?;
    let mut told = String::new();
    let mut stderr = std::io::BufReader::new(child.stderr.take().context("piped")?);
    std::io::BufRead::read_line(&mut stderr, &mut told)?;
    child.kill()?;
    child.wait()?;
    let expected = format!("{refusing} refuses connections");
    ensure!(
        told.starts_with("waiting for") && told.matches(&expected).count() == 2,
        "{told}"
    );
    Ok(())
}

#[test]
fn a_pair_is_told_about_in_json() -> Result<()> {
    let mut pair = Pair::new(HATHI, None, SharedEdits::Directory, &[])?;
    pair.namenode(Kind::Ours, &pair.conf(0), &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, Kind::Ours, &pair.conf(0))?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    wait_for("the active", PATIENCE, || {
        pair.run("haadmin", &["-getServiceState", "nn0"])
            .ok()
            .filter(|state| state.trim() == "active")
    });
    let states: serde_json::Value = serde_json::from_str(&pair.run("haadmin", &["-getAllServiceState", "--json"])?)?;
    ensure!(
        states[0]["serviceId"] == "nn0" && states[0]["state"] == "active",
        "{states}"
    );
    ensure!(states[1]["error"].is_string(), "{states}");
    let report: serde_json::Value = serde_json::from_str(&pair.run("dfsadmin", &["-report", "--json"])?)?;
    ensure!(
        report["safeMode"].is_boolean() && report["datanodes"].is_object(),
        "{report}"
    );
    Ok(())
}
