//! Hadoop's NameNodes on our JournalNodes, ours on Hadoop's, and directories that pass from one to the other.

use anyhow::{Result, ensure};
use hathi_interop::{Hadoop, Kind, Load, Pair, SharedEdits, wait_for};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

/// A JournalNode that came back takes part: it has the segment that begins with a roll.
fn roll_until_it_takes_part(pair: &Pair, index: usize) {
    let together = || {
        let mine = pair.open_segment(index)?;
        let elsewhere = |other| pair.open_segment(other).is_some_and(|other| other == mine);
        (0..3).all(elsewhere).then_some(())
    };
    let mut rolled: Option<Instant> = None;
    wait_for("the returned JournalNode to have the open segment", PATIENCE, || {
        // A JVM under load takes its time for each, and a roll that came too soon has to be followed by another.
        if rolled.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
            pair.run("dfsadmin", &["-rollEdits"]).ok()?;
            rolled = Some(Instant::now());
        }
        together()
    });
}

#[test]
fn hadoops_namenodes_on_our_journalnodes() -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut pair = Pair::new(HATHI, Some(hadoop), SharedEdits::QUORUM, &[])?;
    // One NameNode with edits of its own, from before there was a second one.
    let alone = pair.conf_alone();
    pair.namenode(Kind::Hadoops, &alone, &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, Kind::Hadoops, &alone)?;
    let early = Load::start(&alone)?;
    early.goes_on();
    let early = early.end()?;
    pair.kill_namenode(0)?;

    for index in 0..3 {
        pair.start_journalnode(index, Kind::Ours)?;
    }
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Kind::Hadoops, &first, &["-initializeSharedEdits", "-nonInteractive"])?;
    pair.start_namenode(0, Kind::Hadoops, &first)?;
    // The other one can't be asked whether it is active.
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.run("dfs", &["-test", "-d", &format!("/load/{}", early - 1)])?;
    pair.namenode(Kind::Hadoops, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Kind::Hadoops, &second)?;

    let load = Load::start(&first)?;
    load.goes_on();
    pair.failover(0, 1)?;
    load.goes_on();
    pair.failover(1, 0)?;
    // Killed and back, one after the other.
    for index in 0..3 {
        pair.kill_journalnode(index)?;
        load.goes_on();
        pair.start_journalnode(index, Kind::Ours)?;
        roll_until_it_takes_part(&pair, index);
        load.goes_on();
    }
    // The active dies; what the other one shows is all from the journal.
    pair.kill_namenode(0)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn1"])?;
    load.goes_on();

    // It asks for no leases, and a standby and a controller of ours take no role from it.
    pair.start_namenode(0, Kind::Ours, &first)?;
    pair.start_controller(0, Kind::Ours)?;
    wait_for("our controller to know of Hadoop's writer", PATIENCE, || {
        pair.log("zkfc0").contains("written in epoch").then_some(())
    });
    load.goes_on();
    ensure!(
        pair.state(0)? == "standby" && pair.state(1)? == "active",
        "it was promoted"
    );
    ensure!(!pair.log("zkfc0").contains("for a transition"), "{}", pair.log("zkfc0"));
    // Whether the writer lives, only a person knows; from then on the leases of ours decide.
    pair.kill_namenode(1)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    load.goes_on();
    wait_for("our controller to know of the lease", PATIENCE, || {
        pair.log("zkfc0").contains("held by").then_some(())
    });
    eprintln!("{} directories", load.end()?);
    Ok(())
}

#[test]
fn our_namenodes_while_hadoops_journalnodes_become_ours_and_hadoops_again() -> Result<()> {
    use Kind::{Hadoops, Ours};
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut pair = Pair::new(HATHI, Some(hadoop), SharedEdits::QUORUM, &[])?;
    for index in 0..3 {
        pair.start_journalnode(index, Hadoops)?;
    }
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Ours, &first, &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, Ours, &first)?;
    pair.namenode(Ours, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Ours, &second)?;
    pair.run("haadmin", &["-transitionToActive", "nn0"])?;

    let load = Load::start(&first)?;
    load.goes_on();
    let mut active = 0;
    // Each is killed with edits in an open segment, and the next one starts on what it left: three of Hadoop's, then
    // two, one and none, and back; a killed one comes back as its own kind, too.
    let steps = [
        (0, Hadoops),
        (0, Ours),
        (0, Ours),
        (1, Hadoops),
        (1, Ours),
        (0, Ours),
        (2, Ours),
        (0, Hadoops),
        (1, Hadoops),
    ];
    for (step, (index, kind)) in steps.into_iter().enumerate() {
        let open = pair.open_segment(index);
        ensure!(open.is_some(), "step {step}: no segment is open at JournalNode {index}");
        pair.kill_journalnode(index)?;
        load.goes_on();
        pair.start_journalnode(index, kind)?;
        roll_until_it_takes_part(&pair, index);
        load.goes_on();
        if step % 2 == 1 {
            pair.failover(active, 1 - active)?;
            active = 1 - active;
            load.goes_on();
        }
    }
    // The role is taken from a dead one with one of each kind: the mixed majority recovers the open segment.
    pair.kill_journalnode(1)?;
    pair.kill_namenode(active)?;
    pair.run(
        "haadmin",
        &["-transitionToActive", "--forceactive", &format!("nn{}", 1 - active)],
    )?;
    load.goes_on();
    eprintln!("{} directories", load.end()?);
    Ok(())
}

#[test]
fn hadoops_namenodes_upgrade_finalize_and_roll_back_on_our_journalnodes() -> Result<()> {
    use Kind::{Hadoops, Ours};
    let Some(hadoop) = Hadoop::get()? else { return Ok(()) };
    let mut pair = Pair::new(HATHI, Some(hadoop.clone()), SharedEdits::QUORUM, &[])?;
    for index in 0..3 {
        pair.start_journalnode(index, Ours)?;
    }
    let (first, second) = (pair.conf(0), pair.conf(1));
    let previous = |pair: &Pair, index: usize| pair.journal(index).with_file_name("previous").exists();
    pair.namenode(Hadoops, &first, &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, Hadoops, &first)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.run("dfs", &["-mkdir", "/before"])?;
    pair.stop_namenode(0)?;

    pair.upgrade_namenode(0)?;
    pair.run("dfs", &["-mkdir", "/undone"])?;
    ensure!(
        (0..3).all(|index| previous(&pair, index)),
        "no JournalNode keeps what was before"
    );
    pair.stop_namenode(0)?;
    // They may be restarted in between.
    for index in 0..3 {
        pair.kill_journalnode(index)?;
        pair.start_journalnode(index, Ours)?;
    }
    pair.roll_back_namenode(0)?;
    ensure!(!(0..3).any(|index| previous(&pair, index)), "not rolled back");
    pair.start_namenode(0, Hadoops, &first)?;
    pair.run("haadmin", &["-transitionToActive", "--forceactive", "nn0"])?;
    pair.run("dfs", &["-test", "-d", "/before"])?;
    ensure!(
        pair.run("dfs", &["-test", "-d", "/undone"]).is_err(),
        "it was not rolled back"
    );
    pair.run("dfs", &["-mkdir", "/after"])?;
    pair.stop_namenode(0)?;

    pair.upgrade_namenode(0)?;
    pair.run("dfs", &["-mkdir", "/upgraded"])?;
    pair.namenode(Hadoops, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Hadoops, &second)?;
    hadoop.run_ok(&first, "dfsadmin", &["-finalizeUpgrade"])?;
    ensure!(!(0..3).any(|index| previous(&pair, index)), "not finalized");
    pair.failover(0, 1)?;
    for path in ["/before", "/after", "/upgraded"] {
        pair.run("dfs", &["-test", "-d", path])?;
    }
    Ok(())
}
