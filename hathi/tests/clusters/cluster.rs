//! Whole clusters of real processes: started, killed, paused, damaged, and used through it all.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, FileClient, Hadoop, Load, PortRange, Role, wait_for};
use rustix::process::Signal;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// The lease lasts longer than anything here waits.
#[test]
fn nobody_waits_for_the_lease_of_a_namenode_that_was_killed_with_its_controller() -> Result<()> {
    let lease = ["hathi.lease.ms=600000", "hathi.lease.max.ms=600000"];
    let mut cluster = Cluster::start_with(env!("CARGO_BIN_EXE_hathi"), ClusterOptions::default(), &lease)?;
    cluster.hathi_ok("dfs", &["-mkdir", "/before"])?;
    cluster.kill_everything()?;
    cluster.start_again()?;
    cluster.hathi_ok("dfs", &["-test", "-d", "/before"])?;
    cluster.hathi_ok("dfs", &["-mkdir", "/after"])?;
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

/// What `haadmin -getAllServiceState` says, each in the order of the NameNodes.
fn states(cluster: &Cluster) -> Option<Vec<String>> {
    let printed = cluster.hathi_ok("haadmin", &["-getAllServiceState"]).ok()?;
    let states = printed.lines().map(|line| line.split_whitespace().last());
    states.map(|state| state.map(str::to_owned)).collect()
}

/// Waits until one of the five is active and the others are standbys; which.
fn one_active_and_four_standbys(cluster: &Cluster) -> u16 {
    wait_for("one active and four standbys", PATIENCE, || {
        let states = states(cluster)?;
        let standbys = states.iter().filter(|state| *state == "standby").count();
        let active = states.iter().position(|state| state == "active")?;
        (states.len() == 5 && standbys == 4).then_some(u16::try_from(active).ok()?)
    })
}

/// Makes directories with Hadoop's shell until told to stop, and looks for all of them; how many.
fn make_with_hadoops_shell(shell: &mut FileClient, stop: &AtomicBool, made: &AtomicU64) -> Result<()> {
    shell.run("-mkdir /shell")?;
    while !stop.load(Ordering::Relaxed) {
        shell.run(&format!("-mkdir /shell/{}", made.load(Ordering::Relaxed)))?;
        made.fetch_add(1, Ordering::Relaxed);
    }
    let counted = shell.run("-count /shell")?;
    let directories = counted.split_whitespace().next().and_then(|count| count.parse().ok());
    let made = made.load(Ordering::Relaxed) + 1;
    ensure!(directories == Some(made), "{made}: {counted}");
    Ok(())
}

#[test]
fn five_namenodes_take_over_in_turn_and_when_two_die_at_once() -> Result<()> {
    let hadoop = Hadoop::get()?;
    let cluster = start(ClusterOptions {
        namenodes: 5,
        journalnodes: 3,
        datanodes: 1,
    })?;
    let load = Load::start(&cluster.conf())?;
    let mut shell = match &hadoop {
        Some(hadoop) => Some(FileClient::of(hadoop, &cluster.conf(), "ShellClient.java", &[])?),
        None => None,
    };
    let (stop, made) = (AtomicBool::new(false), AtomicU64::new(0));
    let with_shell = shell.is_some();
    let clients_go_on = || {
        load.goes_on();
        let before = made.load(Ordering::Relaxed);
        wait_for("Hadoop's shell to go on", PATIENCE, || {
            (!with_shell || made.load(Ordering::Relaxed) > before + 1).then_some(())
        });
    };
    std::thread::scope(|scope| {
        let (stop, made) = (&stop, &made);
        let shell = shell
            .as_mut()
            .map(|shell| scope.spawn(move || make_with_hadoops_shell(shell, stop, made)));
        let _stopper = Stopper(stop);
        clients_go_on();
        let mut active = one_active_and_four_standbys(&cluster);
        // In order, to each of the others in turn.
        for _ in 0..4 {
            let next = (active + 1) % 5;
            let ids = [format!("nn{active}"), format!("nn{next}")];
            cluster.hathi_ok("haadmin", &["-failover", &ids[0], &ids[1]])?;
            ensure!(one_active_and_four_standbys(&cluster) == next);
            active = next;
            clients_go_on();
        }
        // The active and another one, so that three are left.
        for other in [1, 3] {
            let dead = [active, (active + other) % 5];
            for index in dead {
                cluster.signal(Role::NameNode, index, Signal::KILL)?;
            }
            clients_go_on();
            active = one_active_and_four_standbys(&cluster);
            ensure!(active != dead[0], "the killed one can't be the one that serves");
        }
        stop.store(true, Ordering::Relaxed);
        match shell.map(|shell| shell.join()) {
            Some(Ok(result)) => result,
            Some(Err(_)) => anyhow::bail!("Hadoop's shell panicked"),
            None => Ok(()),
        }
    })?;
    eprintln!("{} directories", load.end()?);
    Ok(())
}

/// Tells a client to stop, also when the test fails.
struct Stopper<'a>(&'a AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
