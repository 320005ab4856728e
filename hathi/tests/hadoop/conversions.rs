//! High availability from a single NameNode and back, as docs/upgrade.md says, with directories of ours and Hadoop's.

use anyhow::{Result, ensure};
use hathi_interop::{Hadoop, Kind, Pair, SharedEdits, wait_for};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

/// A command for the only NameNode, tried until it is out of safe mode.
fn alone(pair: &Pair, args: &[&str]) {
    wait_for(&format!("{args:?}"), PATIENCE, || {
        let mut command = Command::new(HATHI);
        command.arg("dfs").args(args).env("HADOOP_CONF_DIR", pair.conf_alone());
        command.status().ok()?.success().then_some(())
    });
}

fn assert_dirs(pair: &Pair, paths: &[&str]) -> Result<()> {
    paths
        .iter()
        .try_for_each(|path| pair.run("dfs", &["-test", "-d", path]).map(drop))
}

/// A single NameNode of one kind becomes one of a pair of ours, which becomes a single one of that kind again.
fn there_and_back(kind: Kind, hadoop: Option<Hadoop>) -> Result<()> {
    let mut pair = Pair::new(HATHI, hadoop, SharedEdits::QUORUM, &[])?;
    pair.namenode(kind, &pair.conf_alone(), &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, kind, &pair.conf_alone())?;
    alone(&pair, &["-mkdir", "/single"]);
    alone(&pair, &["-mkdir", "/single/last"]);
    pair.kill_namenode(0)?;

    for index in 0..3 {
        pair.start_journalnode(index, Kind::Ours)?;
    }
    pair.namenode(
        Kind::Ours,
        &pair.conf(0),
        &["-initializeSharedEdits", "-nonInteractive"],
    )?;
    pair.start_namenode(0, Kind::Ours, &pair.conf(0))?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.run("dfs", &["-mkdir", "/pair"])?;
    // While the active writes a segment.
    pair.namenode(Kind::Ours, &pair.conf(1), &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Kind::Ours, &pair.conf(1))?;
    pair.run("haadmin", &["-failover", "nn0", "nn1"])?;
    assert_dirs(&pair, &["/single/last", "/pair"])?;
    pair.run("dfs", &["-mkdir", "/by-the-other"])?;
    pair.run("haadmin", &["-failover", "nn1", "nn0"])?;
    pair.run("dfs", &["-mkdir", "/pair/last"])?;

    pair.run("dfsadmin", &["-safemode", "enter"])?;
    pair.run("dfsadmin", &["-saveNamespace"])?;
    pair.stop_namenode(1)?;
    pair.stop_namenode(0)?;
    for index in 0..3 {
        pair.kill_journalnode(index)?;
    }
    pair.start_namenode(0, kind, &pair.conf_alone())?;
    for path in ["/single/last", "/pair/last", "/by-the-other"] {
        alone(&pair, &["-test", "-d", path]);
    }
    alone(&pair, &["-mkdir", "/single-again"]);
    ensure!(pair.name_dir(0).join("current/VERSION").exists());
    // And what it has written since is there after another start.
    pair.kill_namenode(0)?;
    pair.start_namenode(0, Kind::Ours, &pair.conf_alone())?;
    alone(&pair, &["-test", "-d", "/single-again"]);
    Ok(())
}

#[test]
fn a_single_namenode_becomes_a_pair_and_single_again_without_a_loss() -> Result<()> {
    there_and_back(Kind::Ours, None)
}

#[test]
fn hadoops_single_namenode_becomes_a_pair_of_ours_and_hadoops_single_one_again() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    there_and_back(Kind::Hadoops, Some(hadoop))
}
