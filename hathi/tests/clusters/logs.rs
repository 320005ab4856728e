//! What daemons log: the story of a failover, files that are rotated, JSON, levels that change while they run.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, Kind, Role, Single, wait_for};
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

fn log(cluster: &Cluster, daemon: &str, index: u16) -> String {
    let path = cluster.dir().join("logs").join(format!("{daemon}-{index}.log"));
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A part of a line behind this name.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(" {name}="))?;
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split([' ', '\n']).next(),
    }
}

fn line_with(log: &str, parts: &[&str]) -> Option<String> {
    let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
    log.lines().rfind(has_all).map(str::to_owned)
}

#[test]
fn the_winner_tells_the_story_of_a_failover_and_the_others_who_is_active() -> Result<()> {
    let options = ClusterOptions {
        namenodes: 3,
        datanodes: 1,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(HATHI, options)?;
    let first = wait_for("one active", PATIENCE, || cluster.active());
    cluster.hathi_ok("dfs", &["-mkdir", "/before"])?;
    let former = format!("nn{first}@");
    for index in (0..3).filter(|index| *index != first) {
        wait_for("a standby to name the active", PATIENCE, || {
            let told = line_with(&log(&cluster, "namenode", index), &["another NameNode is active now"])?;
            told.contains(&format!("active={former}")).then_some(())
        });
    }
    cluster.signal(Role::NameNode, first, Signal::KILL)?;
    let winner = wait_for("another active", PATIENCE, || {
        cluster.active().filter(|active| *active != first)
    });
    let story = wait_for("its story", PATIENCE, || {
        line_with(&log(&cluster, "namenode", winner), &[": failover from=", &former])
    });
    let part = |name: &str| field(&story, name).with_context(|| format!("no {name} in: {story}"));
    ensure!(part("from")?.starts_with(&former), "{story}");
    ensure!(part("to")?.starts_with(&format!("nn{winner}@")), "{story}");
    ensure!(
        part("cause")?.contains(&format!("the process of nn{first} has ended")),
        "{story}"
    );
    ensure!(part("asked_by")?.contains("failover controller"), "{story}");
    ensure!(part("epoch")?.parse::<u64>()? > 1, "{story}");
    ensure!(part("edits")?.parse::<u64>().is_ok(), "{story}");
    ensure!(part("took_ms")?.parse::<f64>()? > 0.0, "{story}");
    for step in ["recovery of the journal", "proof before active", "first edit"] {
        ensure!(part("steps")?.contains(step), "no {step} in: {story}");
    }
    let third = 3 - first - winner;
    for index in [third, first] {
        wait_for("the others to name the new one", PATIENCE, || {
            let told = log(&cluster, "namenode", index);
            line_with(
                &told,
                &["another NameNode is active now", &format!("active=nn{winner}@")],
            )
        });
    }
    // Its controller tells how the lease came free, and of the transition that it asked for.
    let told = log(&cluster, "zkfc", winner);
    for parts in [
        ["the quorum's lease", &format!("before=\"held by {former}")],
        ["transition done", "to=\"active\""],
    ] {
        ensure!(line_with(&told, &parts).is_some(), "no {parts:?} in:\n{told}");
    }
    Ok(())
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

#[test]
fn a_daemon_logs_json_into_files_that_are_rotated_and_its_levels_change_while_it_runs() -> Result<()> {
    let logs = tempfile::tempdir()?;
    let dir = logs.path().display().to_string();
    let settings = [
        ("hathi.log.dir", dir.as_str()),
        ("hathi.log.format", "json"),
        ("hathi.log.file.max.size", "2000"),
        ("hathi.log.file.max.backup.index", "3"),
    ];
    let mut single = Single::new(HATHI, None, 1, &settings)?;
    single.run_to_end(Kind::Ours, "namenode", &["-format", "-nonInteractive"])?;
    single.start_namenode(Kind::Ours)?;
    let http = single.http_address().to_string();
    let module = "org.apache.hadoop.http";
    let daemonlog = |args: &[&str]| -> Result<String> {
        let output = std::process::Command::new(HATHI).arg("daemonlog").args(args).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    ensure!(
        daemonlog(&["-getlevel", &http, module])?.contains("Effective Level: INFO"),
        "no level"
    );
    let set = daemonlog(&["-setlevel", &http, module, "DEBUG"])?;
    for line in [
        &format!("Connecting to http://{http}/logLevel?log={module}&level=DEBUG"),
        "Submitted Level: DEBUG",
        "Setting Level to DEBUG ...",
        "Effective Level: DEBUG",
    ] {
        ensure!(set.lines().any(|shown| shown == line), "no '{line}' in:\n{set}");
    }
    // Each change is a line, and no two are the same.
    let mut number = 0;
    wait_for("so many files as are kept", PATIENCE, || {
        number += 1;
        daemonlog(&["-setlevel", &http, &format!("logger{number}"), "INFO"]).ok()?;
        (files(logs.path()).len() == 4).then_some(())
    });
    let mut all = String::new();
    for name in files(logs.path()) {
        ensure!(name.starts_with("hadoop-") && name.contains("-namenode-"), "{name}");
        let text = std::fs::read_to_string(logs.path().join(&name))?;
        ensure!(text.len() <= 2000, "{name} has {} bytes", text.len());
        all.push_str(&text);
    }
    for line in all.lines() {
        let line: serde_json::Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        ensure!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    Ok(())
}
