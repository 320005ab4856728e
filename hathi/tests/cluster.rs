//! Whole clusters of real processes: started, killed, paused, damaged, and used through it all.

use anyhow::{Context, Result};
use hathi_interop::{Cluster, ClusterOptions, PortRange, Role, wait_for};
use rustix::process::Signal;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn start(options: ClusterOptions) -> Result<Cluster> {
    Cluster::start(env!("CARGO_BIN_EXE_hathi"), options)
}

/// A file of bytes that follow from the seed.
fn write_local(path: &Path, seed: u64, len: usize) -> Result<Vec<u8>> {
    let mut state = seed | 1;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(len)
    .collect();
    std::fs::write(path, &bytes)?;
    Ok(bytes)
}

fn get(cluster: &Cluster, remote: &str) -> Result<Vec<u8>> {
    let output = cluster.hathi("dfs", &["-cat", remote])?;
    anyhow::ensure!(
        output.status.success(),
        "-cat {remote}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

#[test]
fn everything_is_there_after_all_processes_were_killed() -> Result<()> {
    let mut cluster = start(ClusterOptions::default())?;
    let local = cluster.dir().join("local");
    let bytes = write_local(&local, 7, 5_000_000)?;
    cluster.hathi_ok("dfs", &["-mkdir", "-p", "/a/b"])?;
    cluster.hathi_ok("dfs", &["-put", &local.display().to_string(), "/a/b/file"])?;
    assert_eq!(get(&cluster, "/a/b/file")?, bytes);
    cluster.hathi_ok("dfs", &["-mv", "/a/b/file", "/a/moved"])?;

    cluster.kill_everything()?;
    cluster.start_again()?;
    assert_eq!(get(&cluster, "/a/moved")?, bytes);
    assert!(get(&cluster, "/a/b/file").is_err(), "the rename came first");

    cluster.stop()?;
    cluster.start_again()?;
    assert_eq!(get(&cluster, "/a/moved")?, bytes);
    Ok(())
}

#[test]
fn the_demonstration_shows_every_step_of_a_failover_and_loses_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let range = PortRange::claim()?;
    let output = Command::new(env!("CARGO_BIN_EXE_hathi"))
        .args(["quickstart", "--demo", "--namenodes", "2", "--datanodes", "1", "--dir"])
        .arg(dir.path())
        .args(["--base-port", &range.base().to_string()])
        .stdin(Stdio::null())
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    let mut rest = &*told;
    for step in [
        " ms lost  ",
        " ms noticed  ",
        " ms elected  ",
        " ms recovered  ",
        " ms serving  ",
        " ms used  ",
        " lost 0 failed 0 ",
    ] {
        let at = rest
            .find(step)
            .with_context(|| format!("{step:?} is missing, or not in its place: {told}"))?;
        rest = &rest[at..];
    }
    anyhow::ensure!(output.status.success(), "{told}");
    Ok(())
}

#[test]
fn a_killed_active_is_replaced_and_comes_back_as_standby() -> Result<()> {
    let cluster = start(ClusterOptions::default())?;
    cluster.hathi_ok("dfs", &["-mkdir", "/before"])?;
    for round in 0..3 {
        let active = wait_for("one active", PATIENCE, || cluster.active());
        cluster.signal(Role::NameNode, active, Signal::KILL)?;
        let path = format!("/round-{round}");
        cluster.hathi_ok("dfs", &["-mkdir", &path])?;
        cluster.hathi_ok("dfs", &["-test", "-d", "/before"])?;
        let next = wait_for("another active", PATIENCE, || cluster.active());
        assert_ne!(next, active, "the killed one can't be the one that serves");
        let state = ["-getServiceState", &format!("nn{active}")];
        wait_for("the killed one as standby", PATIENCE, || {
            let state = cluster.hathi_ok("haadmin", &state).ok()?;
            (state.trim() == "standby").then_some(())
        });
    }
    Ok(())
}

#[test]
fn a_stopped_active_is_replaced_and_answers_nothing_stale() -> Result<()> {
    let cluster = start(ClusterOptions::default())?;
    let active = wait_for("one active", PATIENCE, || cluster.active());
    cluster.hathi_ok("dfs", &["-mkdir", "/before"])?;
    // The controller is stopped as well, so that nobody kills the NameNode.
    cluster.signal(Role::Zkfc, active, Signal::STOP)?;
    cluster.signal(Role::NameNode, active, Signal::STOP)?;
    cluster.hathi_ok("dfs", &["-mkdir", "/after"])?;
    cluster.signal(Role::NameNode, active, Signal::CONT)?;
    for _ in 0..20 {
        cluster.hathi_ok("dfs", &["-test", "-d", "/after"])?;
    }
    cluster.signal(Role::Zkfc, active, Signal::CONT)?;
    let state = ["-getServiceState", &format!("nn{active}")];
    wait_for("the woken one as standby", PATIENCE, || {
        let state = cluster.hathi_ok("haadmin", &state).ok()?;
        (state.trim() == "standby").then_some(())
    });
    Ok(())
}

#[test]
fn an_administrator_moves_the_active_role() -> Result<()> {
    let cluster = start(ClusterOptions::default())?;
    let active = wait_for("one active", PATIENCE, || cluster.active());
    let target = (active + 1) % 3;
    cluster
        .hathi_ok(
            "haadmin",
            &["-failover", &format!("nn{active}"), &format!("nn{target}")],
        )
        .with_context(|| cluster.logs())?;
    assert_eq!(cluster.active(), Some(target));
    cluster.hathi_ok("dfs", &["-mkdir", "/moved"])?;
    Ok(())
}

#[test]
fn a_journalnode_that_lost_its_directory_takes_part_again() -> Result<()> {
    let cluster = start(ClusterOptions::default())?;
    cluster.hathi_ok("dfs", &["-mkdir", "/one"])?;
    let dir = cluster.data_dir(Role::JournalNode, 0);
    // Stopped first: a killed one would be started again before its directory is gone.
    cluster.signal(Role::JournalNode, 0, Signal::STOP)?;
    std::fs::remove_dir_all(&dir)?;
    std::fs::create_dir(&dir)?;
    cluster.signal(Role::JournalNode, 0, Signal::KILL)?;
    cluster.hathi_ok("dfs", &["-mkdir", "/two"])?;
    wait_for("the emptied JournalNode to be whole again", PATIENCE, || {
        let current = dir.join("hathi/current");
        let whole = current.join("VERSION").exists() && !current.join("hathi-joining").exists();
        whole.then_some(())
    });
    // Without the third one every write now needs the one that had lost everything.
    cluster.signal(Role::JournalNode, 2, Signal::STOP)?;
    cluster.hathi_ok("dfs", &["-mkdir", "/three"])?;
    let active = wait_for("one active", PATIENCE, || cluster.active());
    cluster.signal(Role::NameNode, active, Signal::KILL)?;
    for path in ["/one", "/two", "/three"] {
        cluster.hathi_ok("dfs", &["-test", "-d", path])?;
    }
    cluster.signal(Role::JournalNode, 2, Signal::CONT)?;
    Ok(())
}

#[test]
fn a_lost_datanode_is_made_up_for() -> Result<()> {
    let cluster = start(ClusterOptions {
        namenodes: 2,
        journalnodes: 3,
        datanodes: 4,
    })?;
    let local = cluster.dir().join("local");
    let bytes = write_local(&local, 11, 3_000_000)?;
    cluster.hathi_ok("dfs", &["-put", &local.display().to_string(), "/file"])?;
    // Stopped rather than killed, so that it stays away long enough to be declared dead.
    cluster.signal(Role::DataNode, 0, Signal::STOP)?;
    assert_eq!(get(&cluster, "/file")?, bytes, "a reader notices nothing");
    let finalized = |index: u16| {
        let dir = cluster.data_dir(Role::DataNode, index);
        files(&dir)
            .iter()
            .filter(|name| name.starts_with("blk_") && !name.ends_with(".meta"))
            .count()
    };
    wait_for("three replicas on the other DataNodes", PATIENCE, || {
        ((1..4).map(finalized).sum::<usize>() >= 3).then_some(())
    });
    cluster.signal(Role::DataNode, 0, Signal::CONT)?;
    Ok(())
}

fn files(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            names.extend(files(&entry.path()));
        } else {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names
}
