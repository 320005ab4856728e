//! A pair of NameNodes on a shared directory instead of JournalNodes: ours, and Hadoop's in their place.

use anyhow::{Result, ensure};
use hathi_formats::exceptions::RETRIABLE;
use hathi_formats::proto::hdfs::{FsPermissionProto, MkdirsRequestProto, MkdirsResponseProto};
use hathi_interop::{Hadoop, Kind, Pair, Role, SharedEdits, wait_for};
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError, protocols};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

/// Configured, with empty directories.
fn configured(hadoop: Option<Hadoop>, more: &[(&str, &str)]) -> Result<Pair> {
    let more = [&[("dfs.ha.log-roll.period", "1")], more].concat();
    Pair::new(HATHI, hadoop, SharedEdits::Directory, &more)
}

/// Formatted, both started, nn0 active.
fn started(hadoop: Option<Hadoop>, more: &[(&str, &str)]) -> Result<Pair> {
    let mut pair = configured(hadoop, more)?;
    run(&pair, 0, &["-format", "-nonInteractive"])?;
    start(&mut pair, 0)?;
    run(&pair, 1, &["-bootstrapStandby", "-nonInteractive"])?;
    start(&mut pair, 1)?;
    haadmin(&pair, &["-transitionToActive", "nn0"])?;
    Ok(pair)
}

/// Runs a NameNode with options that end.
fn run(pair: &Pair, index: usize, options: &[&str]) -> Result<()> {
    pair.namenode(Kind::Ours, &pair.conf(index), options)
}

fn start(pair: &mut Pair, index: usize) -> Result<()> {
    pair.start_namenode(index, Kind::Ours, &pair.conf(index))
}

fn haadmin(pair: &Pair, args: &[&str]) -> Result<()> {
    pair.run("haadmin", args).map(drop)
}

fn mkdir(pair: &Pair, path: &str) -> Result<()> {
    pair.run("dfs", &["-mkdir", path]).map(drop)
}

/// Asks nn0 once, as a client would that does not try again.
fn call_mkdirs(pair: &Pair, path: &str) -> Result<Result<MkdirsResponseProto, RpcError>> {
    let request = MkdirsRequestProto {
        src: path.to_owned(),
        masked: FsPermissionProto { perm: 0o755 },
        create_parent: true,
        unmasked: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let options = ClientOptions::new("tester");
        let client = RpcClient::connect(pair.address(Role::NameNode, 0), &protocols::CLIENT_PROTOCOL, options).await?;
        client.call("mkdirs", &request).await
    }))
}

fn assert_dirs(pair: &Pair, paths: &[&str]) {
    for path in paths {
        pair.run("dfs", &["-test", "-d", path])
            .unwrap_or_else(|error| panic!("{path} is lost: {error}"));
    }
}

#[test]
fn the_role_moves_both_ways_and_survives_a_killed_active() -> Result<()> {
    let mut pair = started(None, &[])?;
    mkdir(&pair, "/one")?;
    haadmin(&pair, &["-failover", "nn0", "nn1"])?;
    mkdir(&pair, "/two")?;
    haadmin(&pair, &["-failover", "nn1", "nn0"])?;
    mkdir(&pair, "/three")?;
    pair.kill_namenode(0)?;
    haadmin(&pair, &["-failover", "nn0", "nn1"])?;
    assert_dirs(&pair, &["/one", "/two", "/three"]);
    mkdir(&pair, "/four")?;
    // The killed one comes back, and follows.
    start(&mut pair, 0)?;
    pair.kill_namenode(1)?;
    haadmin(&pair, &["-transitionToActive", "--forceactive", "nn0"])?;
    assert_dirs(&pair, &["/one", "/two", "/three", "/four"]);
    Ok(())
}

#[test]
fn a_standby_follows_by_segments_it_asks_for() -> Result<()> {
    let pair = started(None, &[])?;
    mkdir(&pair, "/followed")?;
    // What a standby knows is seen by what it says when it needs nothing of the shared directory to become active.
    wait_for("a finalized segment with the new directory", PATIENCE, || {
        let names = std::fs::read_dir(pair.shared_edits()).ok()?;
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
    let pair = started(None, &[])?;
    mkdir(&pair, "/before")?;
    pair.signal(Role::NameNode, 0, Signal::STOP)?;
    haadmin(&pair, &["-transitionToActive", "--forceactive", "nn1"])?;
    pair.signal(Role::NameNode, 0, Signal::CONT)?;
    mkdir(&pair, "/after")?;
    pair.wait_for_state(0, "standby");
    assert_dirs(&pair, &["/before", "/after"]);
    ensure!(pair.log("nn0").contains("taken over by nn1@"), "it was not told");
    Ok(())
}

#[test]
fn a_full_directory_is_waited_for_and_nothing_is_acknowledged_meanwhile() -> Result<()> {
    let pair = started(
        None,
        &[
            ("dfs.ha.log-roll.period", "-1"),
            ("hathi.namenode.unsynced.limit.mb", "0"),
        ],
    )?;
    mkdir(&pair, "/before")?;
    let active = pair.pid(Role::NameNode, 0)?;
    let unlimited = getrlimit(Resource::Fsize);
    let limit = Rlimit {
        current: Some(4096),
        maximum: unlimited.maximum,
    };
    prlimit(Some(active), Resource::Fsize, limit)?;
    // The next segment does not fit.
    let mut roll = pair.tool("dfsadmin", &["-rollEdits"]).stdout(Stdio::piped()).spawn()?;
    wait_for("the disk to be full", PATIENCE, || {
        pair.log("nn0").contains("until there is room").then_some(())
    });
    ensure!(roll.try_wait()?.is_none(), "acknowledged without a disk");
    let refused = call_mkdirs(&pair, "/refused")?.expect_err("what nobody can write is not to fill the memory");
    ensure!(refused.is_remote(RETRIABLE), "{refused}");
    ensure!(
        pair.state(0)? == "active",
        "it need not step down: it can still be waited for"
    );
    prlimit(Some(active), Resource::Fsize, unlimited)?;
    ensure!(roll.wait()?.success(), "what waited is done when there is room");
    mkdir(&pair, "/after")?;

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
        (pair.log("nn0").matches("until there is room").count() > 1).then_some(())
    });
    haadmin(&pair, &["-failover", "nn0", "nn1"])?;
    assert_dirs(&pair, &["/before", "/after"]);
    pair.wait_for_state(0, "standby");
    roll.wait()?;
    Ok(())
}

#[test]
fn a_directory_of_another_namespace_or_of_none_is_refused() -> Result<()> {
    let pair = configured(None, &[])?;
    let other = configured(None, &[])?;
    run(&pair, 0, &["-format", "-nonInteractive"])?;
    run(&other, 0, &["-format", "-nonInteractive"])?;
    let (code, text) = pair.namenode_refuses(0, &["-format", "-nonInteractive"])?;
    ensure!(code == Some(1), "{code:?}: {text}");

    std::fs::copy(
        other.shared_edits().join("VERSION"),
        pair.shared_edits().join("VERSION"),
    )?;
    let (_, text) = pair.namenode_refuses(0, &[])?;
    ensure!(text.contains("belongs to namespace"), "{text}");

    std::fs::remove_dir_all(pair.shared_edits())?;
    let (_, text) = pair.namenode_refuses(0, &[])?;
    ensure!(text.contains("is it mounted?"), "{text}");

    // As the message says.
    run(&pair, 0, &["-initializeSharedEdits", "-nonInteractive"])?;
    let mut pair = pair;
    start(&mut pair, 0)?;
    Ok(())
}

#[test]
fn the_shared_directory_is_filled_from_the_local_edits() -> Result<()> {
    let mut pair = started(None, &[])?;
    mkdir(&pair, "/one")?;
    pair.run("dfsadmin", &["-rollEdits"])?;
    mkdir(&pair, "/two")?;
    // In order, so that the local copy, which nobody waits for, is whole.
    haadmin(&pair, &["-transitionToStandby", "nn0"])?;
    pair.stop_namenode(1)?;
    let local = pair.name_dir(0).join("current");
    let shared_names = || -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(pair.shared_edits())? {
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
        contents.push(std::fs::read(pair.shared_edits().join(name))?);
    }
    std::fs::remove_dir_all(pair.shared_edits())?;
    // The NameNode runs, and has its directories locked.
    pair.namenode_refuses(0, &["-initializeSharedEdits", "-nonInteractive"])?;
    pair.stop_namenode(0)?;
    run(&pair, 0, &["-initializeSharedEdits", "-nonInteractive"])?;
    for (name, content) in before.iter().zip(contents) {
        ensure!(
            std::fs::read(pair.shared_edits().join(name))? == content,
            "{name} differs"
        );
    }
    start(&mut pair, 0)?;
    std::fs::remove_dir_all(pair.name_dir(1))?;
    run(&pair, 1, &["-bootstrapStandby", "-nonInteractive"])?;
    start(&mut pair, 1)?;
    haadmin(&pair, &["-transitionToActive", "nn1"])?;
    assert_dirs(&pair, &["/one", "/two"]);
    // A segment that is gone is missed by a new standby.
    std::fs::remove_file(pair.shared_edits().join(&before[0]))?;
    pair.stop_namenode(0)?;
    std::fs::remove_dir_all(pair.name_dir(0))?;
    let (code, text) = pair.namenode_refuses(0, &["-bootstrapStandby", "-nonInteractive"])?;
    ensure!(code == Some(6), "{code:?}: {text}");
    run(
        &pair,
        0,
        &["-bootstrapStandby", "-nonInteractive", "-skipSharedEditsCheck"],
    )?;
    Ok(())
}

#[test]
fn a_pair_moves_from_a_directory_to_journalnodes() -> Result<()> {
    let mut pair = started(None, &[])?;
    mkdir(&pair, "/one")?;
    pair.run("dfsadmin", &["-rollEdits"])?;
    mkdir(&pair, "/two")?;
    haadmin(&pair, &["-transitionToStandby", "nn0"])?;
    pair.stop_namenode(0)?;
    pair.stop_namenode(1)?;
    pair.configure(SharedEdits::QUORUM)?;
    for index in 0..3 {
        pair.start_journalnode(index, Kind::Ours)?;
    }
    run(&pair, 0, &["-initializeSharedEdits", "-nonInteractive"])?;
    // One that has an image only.
    std::fs::remove_dir_all(pair.name_dir(1))?;
    start(&mut pair, 0)?;
    run(&pair, 1, &["-bootstrapStandby", "-nonInteractive"])?;
    start(&mut pair, 1)?;
    haadmin(&pair, &["-transitionToActive", "nn1"])?;
    assert_dirs(&pair, &["/one", "/two"]);
    mkdir(&pair, "/three")?;
    haadmin(&pair, &["-failover", "nn1", "nn0"])?;
    assert_dirs(&pair, &["/one", "/two", "/three"]);
    Ok(())
}

#[test]
fn hadoops_namenodes_and_ours_take_turns_at_one_directory() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut pair = started(Some(hadoop), &[])?;
    mkdir(&pair, "/ours")?;
    // Hadoop's on nn1, beside ours, which dies.
    pair.stop_namenode(1)?;
    pair.start_namenode(1, Kind::Hadoops, &pair.conf(1))?;
    mkdir(&pair, "/seen-by-java")?;
    pair.kill_namenode(0)?;
    haadmin(&pair, &["-failover", "nn0", "nn1"])?;
    assert_dirs(&pair, &["/ours", "/seen-by-java"]);
    mkdir(&pair, "/java")?;
    // Ours comes back, follows Hadoop's, and takes over from it.
    start(&mut pair, 0)?;
    mkdir(&pair, "/java-again")?;
    pair.kill_namenode(1)?;
    haadmin(&pair, &["-failover", "nn1", "nn0"])?;
    assert_dirs(&pair, &["/ours", "/seen-by-java", "/java", "/java-again"]);
    mkdir(&pair, "/last")?;
    Ok(())
}
