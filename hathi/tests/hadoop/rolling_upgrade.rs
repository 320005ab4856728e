//! Rolling upgrades: prepared, finalized and rolled back, by our NameNodes, by Hadoop's, and by both in turn.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Hadoop, Kind, Pair, SharedEdits, Single, wait_for};
use std::path::Path;
use std::time::Duration;

const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
const PATIENCE: Duration = Duration::from_secs(60);
const PREPARED: &str = "Proceed with rolling upgrade:";
const NONE: &str = "There is no rolling upgrade in progress or rolling upgrade has already been finalized.";

/// The rollback images in a name directory.
fn rollback_images(name_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(name_dir.join("current"))
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut images: Vec<String> = names
        .filter(|name| name.starts_with("fsimage_rollback_") && !name.ends_with(".md5"))
        .collect();
    images.sort();
    images
}

/// Two NameNodes on three JournalNodes of ours; the first one is active.
fn pair(hadoop: Option<Hadoop>, kinds: [Kind; 2], shared: SharedEdits<'_>) -> Result<Pair> {
    let mut pair = Pair::new(HATHI, hadoop, shared, &[])?;
    if shared != SharedEdits::Directory {
        for index in 0..3 {
            pair.start_journalnode(index, Kind::Ours)?;
        }
    }
    pair.namenode(kinds[0], &pair.conf(0), &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, kinds[0], &pair.conf(0))?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.wait_for_state(0, "active");
    pair.namenode(kinds[1], &pair.conf(1), &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, kinds[1], &pair.conf(1))?;
    Ok(pair)
}

fn prepare(pair: &Pair) -> Result<()> {
    let told = pair.run("dfsadmin", &["-rollingUpgrade", "prepare"])?;
    ensure!(told.contains("Preparing for upgrade."), "{told}");
    wait_for("the rollback image", PATIENCE, || {
        let told = pair.run("dfsadmin", &["-rollingUpgrade", "query"]).ok()?;
        told.contains(PREPARED).then_some(())
    });
    Ok(())
}

fn mkdir(pair: &Pair, path: &str) -> Result<()> {
    pair.run("dfs", &["-mkdir", path]).map(drop)
}

fn has(pair: &Pair, path: &str) -> bool {
    pair.run("dfs", &["-test", "-d", path]).is_ok()
}

/// Rolls the first NameNode back, copies it to the second one, and looks what is there.
fn roll_back(pair: &mut Pair, kinds: [Kind; 2]) -> Result<()> {
    pair.start_namenode_with(0, kinds[0], &pair.conf(0), &["-rollingUpgrade", "rollback"])
        .with_context(|| pair.log("nn0"))?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.wait_for_state(0, "active");
    ensure!(
        has(pair, "/before"),
        "what was there before is gone:\n{}",
        pair.log("nn0")
    );
    for later in ["/after", "/later"] {
        ensure!(!has(pair, later), "{later} is there still:\n{}", pair.log("nn0"));
    }
    let told = pair.run("dfsadmin", &["-rollingUpgrade", "query"])?;
    ensure!(told.contains(NONE), "{told}");
    ensure!(rollback_images(&pair.name_dir(0)).is_empty());
    // The other one has what was rolled back in its directory.
    pair.namenode(
        kinds[1],
        &pair.conf(1),
        &["-bootstrapStandby", "-force", "-nonInteractive"],
    )?;
    pair.start_namenode(1, kinds[1], &pair.conf(1))?;
    mkdir(pair, "/again")?;
    pair.failover(0, 1)?;
    ensure!(has(pair, "/before") && has(pair, "/again") && !has(pair, "/after"));
    // Nor does it come back with the next start, from the image that was the rollback image.
    pair.kill_namenode(1)?;
    pair.kill_namenode(0)?;
    pair.start_namenode(0, kinds[0], &pair.conf(0))?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.wait_for_state(0, "active");
    let told = pair.run("dfsadmin", &["-rollingUpgrade", "query"])?;
    ensure!(told.contains(NONE), "{told}");
    ensure!(has(pair, "/again") && !has(pair, "/later"));
    Ok(())
}

#[test]
fn what_was_changed_since_a_rolling_upgrade_began_is_rolled_back() -> Result<()> {
    let ours = [Kind::Ours, Kind::Ours];
    for shared in [SharedEdits::QUORUM, SharedEdits::Directory] {
        let mut pair = pair(None, ours, shared)?;
        mkdir(&pair, "/before")?;
        prepare(&pair)?;
        mkdir(&pair, "/after")?;
        pair.failover(0, 1)?;
        mkdir(&pair, "/later")?;
        wait_for("the rollback image of the other one", PATIENCE, || {
            let told = pair.run("dfsadmin", &["-rollingUpgrade", "query"]).ok()?;
            told.contains(PREPARED).then_some(())
        });
        ensure!(rollback_images(&pair.name_dir(0)) == rollback_images(&pair.name_dir(1)));
        pair.kill_namenode(0)?;
        if shared != SharedEdits::Directory {
            let (_, refused) = pair.namenode_refuses(0, &["-rollingUpgrade", "rollback"])?;
            ensure!(refused.contains("lease"), "the other one is active: {refused}");
        }
        pair.kill_namenode(1)?;
        roll_back(&mut pair, ours)?;
    }
    Ok(())
}

#[test]
fn a_rolling_upgrade_ends_with_a_failover_in_between_and_a_checkpoint_goes_on() -> Result<()> {
    let mut pair = pair(None, [Kind::Ours, Kind::Ours], SharedEdits::QUORUM)?;
    mkdir(&pair, "/before")?;
    prepare(&pair)?;
    mkdir(&pair, "/after")?;
    for (from, to) in [(0, 1), (1, 0)] {
        pair.failover(from, to)?;
        // As in an upgrade each one is stopped, and started with its new version.
        pair.kill_namenode(from)?;
        pair.start_namenode_with(from, Kind::Ours, &pair.conf(from), &["-rollingUpgrade", "started"])?;
        let told = pair.run("dfsadmin", &["-rollingUpgrade", "query"])?;
        ensure!(told.contains(PREPARED), "{told}");
    }
    let told = pair.run("dfsadmin", &["-rollingUpgrade", "finalize"])?;
    ensure!(told.contains("Rolling upgrade is finalized."), "{told}");
    for index in 0..2 {
        wait_for("the rollback image to become a usual one", PATIENCE, || {
            rollback_images(&pair.name_dir(index)).is_empty().then_some(())
        });
    }
    let told = pair.run("dfsadmin", &["-rollingUpgrade", "query"])?;
    ensure!(told.contains(NONE), "{told}");
    pair.kill_namenode(0)?;
    let (_, refused) = pair.namenode_refuses(0, &["-rollingUpgrade", "rollback"])?;
    ensure!(refused.contains("there is no rollback image"), "{refused}");
    pair.start_namenode(0, Kind::Ours, &pair.conf(0))?;
    pair.failover(1, 0)?;
    ensure!(has(&pair, "/before") && has(&pair, "/after"));
    Ok(())
}

#[test]
fn hadoop_rolls_back_what_ours_prepared_and_ours_what_hadoop_prepared() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    for (before, after) in [(Kind::Ours, Kind::Hadoops), (Kind::Hadoops, Kind::Ours)] {
        let mut pair = pair(Some(hadoop.clone()), [before, before], SharedEdits::QUORUM)?;
        mkdir(&pair, "/before")?;
        prepare(&pair)?;
        mkdir(&pair, "/after")?;
        pair.failover(0, 1)?;
        mkdir(&pair, "/later")?;
        for index in 0..2 {
            wait_for("the rollback images", PATIENCE, || {
                (!rollback_images(&pair.name_dir(index)).is_empty()).then_some(())
            });
        }
        pair.kill_namenode(1)?;
        pair.kill_namenode(0)?;
        roll_back(&mut pair, [after, after])
            .with_context(|| format!("{before:?} prepared it, and {after:?} rolled it back"))?;
    }
    Ok(())
}

#[test]
fn the_only_namenode_prepares_in_safe_mode_and_rolls_back() -> Result<()> {
    let hadoop = Hadoop::get()?;
    let kinds = [Kind::Ours, Kind::Hadoops];
    for kind in kinds.into_iter().filter(|kind| *kind == Kind::Ours || hadoop.is_some()) {
        // Prepared by ours, rolled back by either.
        let mut single = Single::new(HATHI, hadoop.clone(), 2, &[])?;
        single.run_to_end(Kind::Ours, "namenode", &["-format", "-nonInteractive"])?;
        single.start_namenode(Kind::Ours)?;
        single.tool("dfs", &["-mkdir", "/before"])?;
        let refused = single.tool("dfsadmin", &["-rollingUpgrade", "prepare"]);
        let refused = format!("{:#}", refused.err().context("it is not in safe mode")?);
        ensure!(refused.contains("Safe mode should be turned ON"), "{refused}");
        single.tool("dfsadmin", &["-safemode", "enter"])?;
        let told = single.tool("dfsadmin", &["-rollingUpgrade", "prepare"])?;
        ensure!(told.contains(PREPARED), "{told}");
        single.tool("dfs", &["-mkdir", "/after"])?;
        // A restart goes on with it.
        single.kill_namenode()?;
        single.start_namenode_with(Kind::Ours, &["-rollingUpgrade", "started"])?;
        let told = single.tool("dfsadmin", &["-rollingUpgrade", "query"])?;
        ensure!(told.contains(PREPARED), "{told}");
        single.tool("dfs", &["-mkdir", "/later"])?;
        single.kill_namenode()?;
        single.start_namenode_with(kind, &["-rollingUpgrade", "rollback"])?;
        single.tool("dfs", &["-test", "-d", "/before"])?;
        for later in ["/after", "/later"] {
            ensure!(single.tool("dfs", &["-test", "-d", later]).is_err(), "{later}");
        }
        single.tool("dfs", &["-mkdir", "/again"])?;
        single.kill_namenode()?;
        single.start_namenode(Kind::Ours)?;
        single.tool("dfs", &["-test", "-d", "/again"])?;
        let told = single.tool("dfsadmin", &["-rollingUpgrade", "query"])?;
        ensure!(told.contains(NONE), "{told}");
    }
    Ok(())
}
