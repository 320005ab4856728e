//! `zkfc -formatZK` beside Hadoop's, and a quickstart at a ZooKeeper.

use super::{HATHI, PATIENCE};
use anyhow::{Context, Result, ensure};
use hathi_interop::{Hadoop, Pair, PortRange, SharedEdits, ZooKeeper, wait_for};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// What is typed, the arguments, and what Hadoop's controller ends with.
const CALLS: [(&str, &[&str], i32); 7] = [
    ("", &[], 3),
    ("", &["-formatZK", "-nonInteractive"], 0),
    ("", &["-formatZK", "-nonInteractive"], 2),
    ("what\nn\n", &["-formatZK"], 2),
    ("yes\n", &["-formatZK"], 0),
    ("", &["-formatZK", "-force"], 0),
    ("", &["-formatZK", "-hard"], 1),
];

/// Runs a command to its end: its exit code, and what it told, without what was logged.
fn said(command: &mut Command, typed: &str) -> Result<(Option<i32>, Vec<String>)> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // One that asks nothing may have ended.
    let _ = child.stdin.take().context("piped")?.write_all(typed.as_bytes());
    let output = child.wait_with_output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let is_logged = |line: &&str| {
        let begins_with = |part: &str| line.starts_with(part);
        // A time, a trace of Java's, what its log says of itself, and how the two programs name an error in the end.
        begins_with("20")
            || begins_with("\tat ")
            || begins_with("log4j:")
            || begins_with("org.apache.hadoop.")
            || begins_with("hathi zkfc: ")
    };
    // A question has no end of line, so that what is logged next stands behind it.
    let question = "(Y or N) ";
    let lines = told
        .lines()
        .filter(|line| !is_logged(line))
        .map(|line| match line.split_once(question) {
            Some((asked, rest)) if is_logged(&rest) => format!("{asked}{question}"),
            _ => line.to_owned(),
        });
    Ok((output.status.code(), lines.collect()))
}

#[test]
fn a_format_asks_tells_and_ends_as_hadoops_and_a_quickstart_makes_its_own() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let zookeeper = ZooKeeper::start(hadoop.clone(), 1)?;
    let quorum = zookeeper.quorum();
    let settings = [("ha.zookeeper.quorum", quorum.as_str())];
    let pair = Pair::new(HATHI, None, SharedEdits::Directory, &settings)?;
    let conf = pair.controller_conf(0, &[("ha.zookeeper.parent-znode", "/hadoops")])?;
    let mut hadoops = Vec::new();
    for (typed, args, code) in CALLS {
        let (ended, told) = said(&mut hadoop.command(&conf, "zkfc", args), typed)?;
        ensure!(ended == Some(code), "Hadoop's {args:?}: {ended:?}: {told:?}");
        hadoops.push(told.join("\n").replace("/hadoops/", "/ours/"));
    }
    let conf = pair.controller_conf(0, &[("ha.zookeeper.parent-znode", "/ours")])?;
    for ((typed, args, code), hadoops) in CALLS.into_iter().zip(hadoops) {
        let mut command = Command::new(HATHI);
        command.args(["zkfc", "--conf"]).arg(&conf).args(args);
        let (ended, told) = said(&mut command, typed)?;
        ensure!(ended == Some(code), "{args:?}: {ended:?}: {told:?}");
        assert_eq!(told.join("\n"), hadoops, "{args:?}");
    }
    quickstart(&quorum)
}

/// One command, beside a ZooKeeper that is there.
fn quickstart(quorum: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let range = PortRange::claim()?;
    let mut quickstart = Command::new(HATHI)
        .args(["quickstart", "--zookeeper", quorum, "--namenodes", "2"])
        .args(["--journalnodes", "1", "--datanodes", "1", "--dir"])
        .arg(dir.path())
        .args(["--base-port", &range.base().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let told = BufReader::new(quickstart.stdout.take().context("stdout")?);
    let ready = told.lines().map_while(Result::ok).any(|line| line.starts_with("ready"));
    let moved = match ready {
        true => moves_the_role(dir.path()),
        false => Err(anyhow::anyhow!("it does not serve")),
    };
    quickstart.kill()?;
    quickstart.wait()?;
    moved
}

fn moves_the_role(dir: &Path) -> Result<()> {
    let tool = |args: &[&str]| -> Result<String> {
        let mut command = Command::new(HATHI);
        let output = command.args(args).env("HADOOP_CONF_DIR", dir.join("conf")).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    tool(&["dfs", "-mkdir", "/made"])?;
    for index in 0..2 {
        let log = dir.join(format!("logs/zkfc-{index}.log"));
        wait_for("a controller at ZooKeeper", PATIENCE, || {
            let log = std::fs::read_to_string(&log).ok()?;
            log.contains("connected to ZooKeeper").then_some(())
        });
    }
    let is_active = |id: &str| tool(&["haadmin", "-getServiceState", id]).is_ok_and(|state| state.trim() == "active");
    let pairs = [("nn0", "nn1"), ("nn1", "nn0")];
    let (from, to) = wait_for("one active", PATIENCE, || {
        pairs.into_iter().find(|(id, _)| is_active(id))
    });
    tool(&["haadmin", "-failover", from, to])?;
    ensure!(is_active(to), "{to} is not active");
    tool(&["dfs", "-test", "-d", "/made"]).map(drop)
}
