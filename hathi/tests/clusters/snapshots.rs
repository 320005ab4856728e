//! Snapshots through the death of the active NameNode, and the blocks of what only they showed.

use super::webhdfs::Client;
use anyhow::{Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, Role, wait_for};
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn dfs(cluster: &Cluster, args: &[&str]) -> Result<String> {
    cluster.hathi_ok("dfs", args)
}

fn put(cluster: &Cluster, text: &str, path: &str) -> Result<()> {
    let local = cluster.dir().join("local");
    std::fs::write(&local, text)?;
    dfs(cluster, &["-put", "-f", &local.display().to_string(), path])?;
    Ok(())
}

/// Number of replicas on all DataNodes.
fn replicas(cluster: &Cluster) -> usize {
    fn count(dir: &Path) -> usize {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let each = entries.map(|entry| match entry.path().is_dir() {
            true => count(&entry.path()),
            false => {
                let name = entry.file_name().to_string_lossy().into_owned();
                usize::from(name.starts_with("blk_") && !name.ends_with(".meta"))
            }
        });
        each.sum()
    }
    let dirs = (0..3).map(|index| cluster.data_dir(Role::DataNode, index));
    dirs.map(|dir| count(&dir)).sum()
}

/// What the snapshots show, by each way to read.
fn check_old(cluster: &Cluster) -> Result<()> {
    let web = Client::new(cluster)?;
    for (path, text) in [
        ("/d/.snapshot/one/kept", "kept"),
        ("/d/.snapshot/one/changed", "before"),
        ("/d/.snapshot/one/moved", "moved"),
        ("/d/.snapshot/one/gone/file", "gone"),
        ("/d/.snapshot/two/changed", "after"),
    ] {
        ensure!(dfs(cluster, &["-cat", path])? == text, "{path}");
        ensure!(
            web.read(&format!("{path}?op=OPEN"))? == text.as_bytes(),
            "{path} by WebHDFS"
        );
    }
    let listed = dfs(cluster, &["-ls", "-C", "/d/.snapshot/one"])?;
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        ["changed", "gone", "kept", "moved"].map(|name| format!("/d/.snapshot/one/{name}"))
    );
    let refused = cluster.hathi("dfs", &["-rm", "/d/.snapshot/one/kept"])?;
    ensure!(!refused.status.success(), "a snapshot can be changed");
    let diff = cluster.hathi_ok("snapshotDiff", &["/d", "one", "two"])?;
    assert_eq!(
        diff,
        "Difference between snapshot one and snapshot two under directory /d:\n\
         M\t.\n+\t./changed\n+\t./new\n-\t./changed\n-\t./gone\nR\t./moved -> ./new/here\n\n"
    );
    Ok(())
}

#[test]
fn a_snapshot_shows_the_old_content_after_a_failover_and_frees_its_blocks_when_it_is_deleted() -> Result<()> {
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_hathi"), ClusterOptions::default())?;
    dfs(&cluster, &["-mkdir", "-p", "/d/gone"])?;
    for (path, text) in [
        ("/d/kept", "kept"),
        ("/d/changed", "before"),
        ("/d/moved", "moved"),
        ("/d/gone/file", "gone"),
    ] {
        put(&cluster, text, path)?;
    }
    cluster.hathi_ok("dfsadmin", &["-allowSnapshot", "/d"])?;
    let created = dfs(&cluster, &["-createSnapshot", "/d", "one"])?;
    assert_eq!(created, "Created snapshot /d/.snapshot/one\n");
    put(&cluster, "after", "/d/changed")?;
    dfs(&cluster, &["-rm", "-r", "-skipTrash", "/d/gone"])?;
    dfs(&cluster, &["-mkdir", "/d/new"])?;
    dfs(&cluster, &["-mv", "/d/moved", "/d/new/here"])?;
    dfs(&cluster, &["-createSnapshot", "/d", "two"])?;
    check_old(&cluster)?;
    let refused = cluster.hathi("dfs", &["-rm", "-r", "-skipTrash", "/d"])?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        words.contains("The directory /d cannot be deleted since /d is snapshottable and already has snapshots"),
        "{words}"
    );

    let active = wait_for("one active", PATIENCE, || cluster.active());
    cluster.signal(Role::NameNode, active, Signal::KILL)?;
    wait_for("another active", PATIENCE, || {
        cluster.active().filter(|next| *next != active)
    });
    check_old(&cluster)?;

    // 4 files of the first moment, and the changed one.
    wait_for("three replicas of each block", PATIENCE, || {
        (replicas(&cluster) == 15).then_some(())
    });
    dfs(&cluster, &["-deleteSnapshot", "/d", "one"])?;
    wait_for("the blocks that only the snapshot showed are gone", PATIENCE, || {
        (replicas(&cluster) == 9).then_some(())
    });
    ensure!(dfs(&cluster, &["-cat", "/d/.snapshot/two/new/here"])? == "moved");
    dfs(&cluster, &["-deleteSnapshot", "/d", "two"])?;
    cluster.hathi_ok("dfsadmin", &["-disallowSnapshot", "/d"])?;
    dfs(&cluster, &["-rm", "-r", "-skipTrash", "/d"])?;
    wait_for("no block is left", PATIENCE, || (replicas(&cluster) == 0).then_some(()));
    Ok(())
}

#[test]
fn snapshots_that_are_deleted_in_order_and_their_trash_outlive_a_failover() -> Result<()> {
    let options = ClusterOptions {
        datanodes: 1,
        ..ClusterOptions::default()
    };
    let settings = [
        "dfs.namenode.snapshot.trashroot.enabled=true",
        "dfs.namenode.snapshot.deletion.ordered=true",
        "dfs.namenode.snapshot.deletion.ordered.gc.period.ms=100",
        "fs.trash.interval=60",
    ];
    let cluster = Cluster::start_with(env!("CARGO_BIN_EXE_hathi"), options, &settings)?;
    let refused = |command: &str, args: &[&str], words: &str| {
        let output = cluster.hathi(command, args)?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && told.contains(words), "{args:?}: {told}");
        anyhow::Ok(())
    };
    dfs(&cluster, &["-mkdir", "-p", "/d/in", "/d/kept", "/other"])?;
    cluster.hathi_ok("dfsadmin", &["-allowSnapshot", "/d"])?;
    ensure!(
        dfs(&cluster, &["-stat", "%a", "/d/.Trash"])? == "1777\n",
        "it has no trash"
    );
    refused("dfsadmin", &["-provisionSnapshotTrash", "/d"], "already exists")?;
    for name in ["a", "b", "c"] {
        dfs(&cluster, &["-createSnapshot", "/d", name])?;
    }
    let moved = dfs(&cluster, &["-rm", "-r", "/d/in"])?;
    ensure!(
        moved.contains("to trash at: /d/.Trash/") && moved.contains("/Current/d/in"),
        "{moved}"
    );
    refused(
        "dfs",
        &["-mv", "/d/kept", "/other"],
        "are not under the same snapshot root.",
    )?;
    dfs(&cluster, &["-deleteSnapshot", "/d", "b"])?;
    let listed = cluster.hathi_ok("lsSnapshot", &["/d"])?;
    let marked: Vec<_> = listed.lines().filter(|line| line.contains("DELETED")).collect();
    ensure!(
        matches!(marked[..], [line] if line.ends_with("/d/.snapshot/b#1")) && listed.lines().count() == 3,
        "{listed}"
    );
    dfs(&cluster, &["-ls", "/d/.snapshot/b#1/in"])?;

    let active = wait_for("one active", PATIENCE, || cluster.active());
    cluster.signal(Role::NameNode, active, Signal::KILL)?;
    wait_for("another active", PATIENCE, || {
        cluster.active().filter(|next| *next != active)
    });
    dfs(&cluster, &["-deleteSnapshot", "/d", "a"])?;
    wait_for("the one that was marked is deleted", PATIENCE, || {
        let listed = cluster.hathi_ok("lsSnapshot", &["/d"]).ok()?;
        (listed.lines().count() == 1 && listed.contains("/d/.snapshot/c")).then_some(())
    });
    dfs(&cluster, &["-deleteSnapshot", "/d", "c"])?;
    refused(
        "dfsadmin",
        &["-disallowSnapshot", "/d"],
        "Found non-empty trash root at /d/.Trash",
    )?;
    dfs(&cluster, &["-expunge", "-immediate"])?;
    dfs(&cluster, &["-rm", "-r", "-skipTrash", "/d/.Trash/*"])?;
    cluster.hathi_ok("dfsadmin", &["-disallowSnapshot", "/d"])?;
    refused("dfs", &["-test", "-e", "/d/.Trash"], "")?;
    dfs(&cluster, &["-mv", "/d/kept", "/other"])?;
    Ok(())
}
