//! Hadoop's own client and tools against a cluster, also while its NameNodes die.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, Hadoop, Role, wait_for};
use rustix::process::Signal;
use std::fs::{FileTimes, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

fn start() -> Result<Cluster> {
    Cluster::start(HATHI, ClusterOptions::default())
}

#[test]
fn the_client_goes_on_through_failovers_and_loses_nothing() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let cluster = start()?;
    let mut client = hadoop
        .command(&cluster.conf(), "FailoverClient.java", &["/load", "4000000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(client.stdout.take().context("stdout")?).lines();
    let mut next = || {
        lines
            .next()
            .context("the client ended early")?
            .map_err(anyhow::Error::from)
    };
    while next()? != "ready" {}
    for _ in 0..5 {
        let active = wait_for("one active", PATIENCE, || cluster.active());
        cluster.signal(Role::NameNode, active, Signal::KILL)?;
        let state = ["-getServiceState", &format!("nn{active}")];
        wait_for("the killed one as standby", PATIENCE, || {
            let state = cluster.hathi_ok("haadmin", &state).ok()?;
            (state.trim() == "standby").then_some(())
        });
    }
    client.stdin.take().context("stdin")?.write_all(b"stop\n")?;
    let summary = loop {
        let line = next()?;
        println!("{line}");
        if line.starts_with("acknowledged ") {
            break line;
        }
    };
    ensure!(
        summary.contains(" errors 0 ") && summary.contains(" lost 0 "),
        "{summary}"
    );
    ensure!(summary.ends_with(" ok"), "{summary}");
    client.wait()?;
    Ok(())
}

/// What a tool said and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) out: Vec<String>,
    pub(crate) err: Vec<String>,
    exit: i32,
}

/// Hadoop's tools, in one JVM for all calls.
pub(crate) struct Java(Child, BufReader<ChildStdout>);

impl Java {
    pub(crate) fn start(hadoop: &Hadoop, conf: &Path) -> Result<Java> {
        let mut child = hadoop
            .command(conf, "ShellCalls.java", &[])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let answers = BufReader::new(child.stdout.take().context("piped")?);
        Ok(Java(child, answers))
    }

    pub(crate) fn call(&mut self, typed: &str, words: &[&str]) -> Result<Said> {
        let stdin = self.0.stdin.as_mut().context("piped")?;
        writeln!(stdin, "{}\t{}", typed.replace('\n', "\\n"), words.join("\t"))?;
        let mut said = Said {
            out: Vec::new(),
            err: Vec::new(),
            exit: -1,
        };
        loop {
            let mut answer = String::new();
            ensure!(self.1.read_line(&mut answer)? > 0, "Hadoop's tools are gone: {words:?}");
            let answer = answer.trim_end_matches('\n');
            match answer.split_at_checked(4).context("an answer")? {
                ("out ", line) => said.out.push(line.to_owned()),
                ("err ", line) => said.err.push(line.to_owned()),
                _ => {
                    said.exit = answer.trim_start_matches("exit ").parse()?;
                    return Ok(said);
                }
            }
        }
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        // It has ended already, or there is nothing to be done about it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ours(conf: &Path, typed: &str, words: &[&str]) -> Result<Said> {
    let (tool, args) = words.split_first().context("no tool")?;
    let mut child = Command::new(HATHI)
        .args([tool, "--conf"])
        .arg(conf)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("piped")?;
    // A call that asks for nothing may have ended.
    let _ = stdin.write_all(typed.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
    Ok(Said {
        out: lines(&output.stdout),
        err: lines(&output.stderr),
        exit: output.status.code().context("killed")?,
    })
}

/// The line `packed`, compressed by gzip.
const PACKED: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\x2b\x48\x4c\xce\x4e\x4d\xe1\x02\x00\x43\xe0\x41\x2f\x07\x00\x00\x00";

/// Two policies that can be added, and one that can't.
const POLICIES: &str = "<configuration><layoutversion>1</layoutversion><schemas>\
    <schema id='a'><codec>xor</codec><k>3</k><m>1</m><options> </options></schema>\
    <schema id='b'><codec>rs</codec><k>12</k><m>4</m></schema>\
    <schema id='c'><codec>RS</codec><k>6</k><m>3</m></schema></schemas><policies>\
    <policy><schema>a</schema><cellsize>131072</cellsize></policy>\
    <policy><schema>b</schema><cellsize>1024</cellsize></policy>\
    <policy><schema>c</schema><cellsize>1048576</cellsize></policy></policies></configuration>";

/// What both tools are told, in this order: `R` is a directory of the file system and `L` one of this machine, each tool's
/// own; what is typed stands before `|`, and `\s` is a blank within a word.
const CALLS: &str = include_str!("shell_calls.txt");

/// Each command of ours prints and ends as Hadoop's; what neither tells the other one how to do, both refuse.
fn both_shells_say_the_same(hadoop: &Hadoop, cluster: &Cluster) -> Result<()> {
    let conf = cluster.conf();
    let mut java = Java::start(hadoop, &conf)?;
    let roots = ["/java", "/ours"];
    let locals = ["local-java", "local-ours"].map(|name| cluster.dir().join(name));
    let written = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for (root, local) in roots.iter().zip(&locals) {
        std::fs::create_dir(local)?;
        std::fs::write(local.join("large"), vec![b'x'; 3_000_000])?;
        std::fs::write(local.join("moving"), "moved")?;
        // "packed\n", by gzip.
        std::fs::write(local.join("packed.gz"), PACKED)?;
        std::fs::write(local.join("policies.xml"), POLICIES)?;
        std::fs::write(local.join("wrong.xml"), "<configuration/>")?;
        let small = local.join("small");
        std::fs::write(&small, vec![b'y'; 1000])?;
        std::fs::File::open(&small)?.set_times(FileTimes::new().set_modified(written).set_accessed(written))?;
        std::fs::set_permissions(&small, Permissions::from_mode(0o604))?;
        cluster.hathi_ok("dfs", &["-mkdir", root])?;
    }
    let mut wrong = Vec::new();
    for line in CALLS.lines().filter(|line| !line.starts_with('#')) {
        let (typed, words) = line.split_once('|').unwrap_or(("", line));
        let typed = typed.replace("\\n", "\n");
        let said = [0, 1].map(|side| {
            let (root, local) = (roots[side], locals[side].display().to_string());
            let words: Vec<String> = words
                .split(' ')
                .map(|word| word.replace("\\s", " "))
                .map(|word| match word.split_at_checked(1) {
                    Some(("R", rest)) => format!("{root}{rest}"),
                    Some(("L", rest)) => format!("{local}{rest}"),
                    _ => word,
                })
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let mut said = if side == 0 || words[0] == "fsck" {
                java.call(&typed, &words)?
            } else {
                ours(&conf, &typed, &words)?
            };
            for text in said.out.iter_mut().chain(&mut said.err) {
                *text = text.replace(root, "R").replace(&local, "L");
            }
            if words[0] == "fsck" {
                // Blocks have their own ids, and the address says which path is asked about.
                said.out.retain(|line| line.contains("Total blocks"));
                said.err.retain(|line| !line.starts_with("Connecting to namenode via"));
            }
            if said.exit == 255 {
                // After what is wrong Hadoop prints the usage of every command.
                said.out = Vec::new();
                said.err.truncate(usize::from(words[0] == "dfs"));
            }
            anyhow::Ok(said)
        });
        let [theirs, ours] = said;
        let (theirs, ours) = (theirs?, ours?);
        // Some mistakes its parser does not expect.
        let unexpected = theirs.err.iter().any(|line| line.ends_with("Fatal internal error"));
        if theirs != ours && !(unexpected && ours.exit == theirs.exit) {
            wrong.push(format!("{line}\n  Hadoop: {theirs:?}\n  ours:   {ours:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    for local in &locals {
        ensure!(
            std::fs::read(local.join("back"))? == std::fs::read(local.join("large"))?,
            "the file came back changed"
        );
        ensure!(!local.join("moving").exists(), "what was moved is still here");
        let kept = std::fs::metadata(local.join("kept"))?;
        ensure!(
            kept.modified()? == written && kept.permissions().mode() & 0o777 == 0o604,
            "{kept:?}"
        );
    }
    let sums = |local: &PathBuf| std::fs::read(local.join(".summed.crc"));
    ensure!(sums(&locals[0])? == sums(&locals[1])?, "other checksums");
    // What is not done is said, and nothing happens.
    let refused: [&[&str]; 4] = [
        &["-cp", "-pa", "/ours", "/copy"],
        &["-cp", "-px", "/ours", "/copy"],
        &["-count", "-s", "/ours"],
        &["-count", "-q", "-t", "DISK", "/ours"],
    ];
    for words in refused {
        let words: Vec<&str> = [&["dfs"], words].concat();
        ensure!(ours(&conf, "", &words)?.exit == 255, "{words:?} is not refused");
    }
    ensure!(ours(&conf, "", &["dfs", "-test", "-e", "/copy"])?.exit == 1, "a copy");
    // Who was told that a truncate is over may write to the file. Hadoop's shell waits for the length alone.
    let large = locals[1].join("large").display().to_string();
    cluster.hathi_ok("dfs", &["-put", &large, "/cut"])?;
    cluster.hathi_ok("dfs", &["-truncate", "-w", "100", "/cut"])?;
    cluster.hathi_ok("dfs", &["-appendToFile", &large, "/cut"])?;
    ensure!(
        cluster.hathi_ok("dfs", &["-stat", "%b", "/cut"])? == "3000100\n",
        "another length"
    );
    Ok(())
}

/// Both tools make the active write its lists, and say that the standbys can't.
fn the_active_saves_its_lists(hadoop: &Hadoop, cluster: &Cluster) -> Result<()> {
    let conf = cluster.conf();
    let theirs = hadoop.run_ok(&conf, "dfsadmin", &["-metasave", "theirs"])?;
    let ours = cluster.hathi_ok("dfsadmin", &["-metasave", "ours"])?;
    let active = wait_for("one active", PATIENCE, || cluster.active());
    for (name, told) in [("theirs", theirs), ("ours", ours)] {
        let said = format!("Created metasave file {name} in the log directory of namenode ");
        ensure!(told.matches(&said).count() == 1, "{told}");
        ensure!(told.matches("Skip Standby NameNode").count() == 2, "{told}");
        let file = cluster.dir().join(format!("logs/nn{active}")).join(name);
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let first = text.lines().next().unwrap_or_default();
        ensure!(first.ends_with(" total filesystem objects"), "{text}");
        ensure!(text.contains("\nLive Datanodes: 3\nDead Datanodes: 0\n"), "{text}");
        ensure!(text.contains("Metasave: Blocks waiting for reconstruction: "), "{text}");
    }
    let outside = cluster.hathi("dfsadmin", &["-metasave", "../outside"])?;
    ensure!(!outside.status.success(), "a file elsewhere");
    Ok(())
}

#[test]
fn the_shell_and_the_administration_tools_work() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let settings = [
        "hadoop.shell.safely.delete.limit.num.files=2",
        "fs.permissions.umask-mode=027",
    ];
    let cluster = Cluster::start_with(HATHI, ClusterOptions::default(), &settings)?;
    let conf = cluster.conf();
    both_shells_say_the_same(&hadoop, &cluster)?;
    the_active_saves_its_lists(&hadoop, &cluster)?;

    let states = hadoop.run_ok(&conf, "haadmin", &["-getAllServiceState"])?;
    ensure!(
        states.matches("standby").count() == 2 && states.contains("active"),
        "{states}"
    );
    let report = hadoop.run_ok(&conf, "dfsadmin", &["-report"])?;
    ensure!(report.contains("Live datanodes (3)"), "{report}");
    let mut java = Java::start(&hadoop, &conf)?;
    cluster.hathi_ok("dfs", &["-touchz", "/file"])?;
    let shown = [
        "/",
        "-files",
        "-blocks",
        "-locations",
        "-racks",
        "-openforwrite",
        "-includeSnapshots",
    ];
    let health = java.call("", &[&["fsck"], &shown[..]].concat())?;
    ensure!(
        health.exit == 0
            && health
                .out
                .last()
                .is_some_and(|last| last == "The filesystem under path '/' is HEALTHY"),
        "{health:?}"
    );
    let corrupt = java.call("", &["fsck", "/", "-list-corruptfileblocks"])?;
    ensure!(
        corrupt.out.iter().any(|line| line.contains(" has 0 CORRUPT ")),
        "{corrupt:?}"
    );
    // An option without its effect is none.
    for option in [
        "-move",
        "-delete",
        "-replicate",
        "-replicaDetails",
        "-upgradedomains",
        "-storagepolicies",
        "-maintenance",
    ] {
        let refused = java.call("", &["fsck", "/", option])?;
        let told = format!("{} is not supported by this NameNode", option.to_lowercase());
        ensure!(
            refused.exit != 0 && refused.out.iter().any(|line| line == &told),
            "{option}: {refused:?}"
        );
    }
    cluster.hathi_ok("dfs", &["-test", "-e", "/file"])?;
    Ok(())
}

#[test]
fn programs_find_what_they_rely_on() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let cluster = start()?;
    let printed = hadoop.run_ok(&cluster.conf(), "ClientChecks.java", &["/checks"])?;
    ensure!(
        printed.lines().filter(|line| line.starts_with("ok ")).count() == 26,
        "{printed}"
    );
    Ok(())
}
