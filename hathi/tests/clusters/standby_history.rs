//! Standbys whose edits are gone, or are not the journal's any more: they notice it by themselves, and load anew.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Kind, Pair, Role, SharedEdits, wait_for};
use hathi_net::http;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");
const JOURNALNODES: usize = 3;

/// Formatted, both NameNodes started, nn0 active.
fn started() -> Result<Pair> {
    let mut pair = Pair::new(HATHI, None, SharedEdits::QUORUM, &[])?;
    start_journalnodes(&mut pair)?;
    pair.namenode(Kind::Ours, &pair.conf(0), &["-format", "-nonInteractive"])?;
    start(&mut pair, 0)?;
    pair.namenode(Kind::Ours, &pair.conf(1), &["-bootstrapStandby", "-nonInteractive"])?;
    start(&mut pair, 1)?;
    activate(&pair, 0)?;
    Ok(pair)
}

fn start_journalnodes(pair: &mut Pair) -> Result<()> {
    (0..JOURNALNODES).try_for_each(|index| pair.start_journalnode(index, Kind::Ours))
}

fn kill_journalnodes(pair: &mut Pair) -> Result<()> {
    (0..JOURNALNODES).try_for_each(|index| pair.kill_journalnode(index))
}

fn start(pair: &mut Pair, index: usize) -> Result<()> {
    pair.start_namenode(index, Kind::Ours, &pair.conf(index))
}

fn activate(pair: &Pair, index: usize) -> Result<()> {
    pair.run(
        "haadmin",
        &["-transitionToActive", "--forceactive", &format!("nn{index}")],
    )?;
    pair.wait_for_state(index, "active");
    Ok(())
}

fn mkdir(pair: &Pair, path: &str) -> Result<()> {
    pair.run("dfs", &["-mkdir", path]).map(drop)
}

fn is_dir(pair: &Pair, path: &str) -> bool {
    pair.run("dfs", &["-test", "-d", path]).is_ok()
}

/// What a NameNode tells of itself.
fn bean(pair: &Pair, namenode: usize) -> Result<Value> {
    let url = format!(
        "http://{}/jmx?qry=Hadoop:service=NameNode,name=Hathi",
        pair.http_address(Role::NameNode, namenode)
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (_, jmx) = runtime.block_on(http::get_bytes(&url, PATIENCE, 1 << 20))?;
    let jmx: Value = serde_json::from_slice(&jmx)?;
    Ok(jmx["beans"].get(0).context("no bean")?.clone())
}

fn applied(pair: &Pair, namenode: usize) -> Result<u64> {
    bean(pair, namenode)?["AppliedTxId"].as_u64().context("no number")
}

/// The standby has everything, and knows that it is the journal's.
fn wait_until_proven(pair: &Pair, active: usize, standby: usize) {
    wait_for("the standby to prove all that the active has", PATIENCE, || {
        let last = applied(pair, active).ok()?;
        let proven = bean(pair, standby).ok()?["ProvenTxId"].as_u64()?;
        (proven == last).then_some(())
    });
}

fn save_namespace(pair: &Pair) -> Result<()> {
    for args in [
        &["-safemode", "enter"][..],
        &["-saveNamespace"],
        &["-safemode", "leave"],
    ] {
        pair.run("dfsadmin", args)?;
    }
    Ok(())
}

fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[test]
fn safety_n6_a_standby_whose_edits_were_purged_fetches_an_image_by_itself() -> Result<()> {
    let mut pair = started()?;
    mkdir(&pair, "/before")?;
    // The standby as it was before all that follows; an administrator's commands need both.
    let backup = tempfile::tempdir()?;
    let name_dir = pair.name_dir(1);
    copy_dir(&name_dir, backup.path())?;
    for round in 0..3 {
        mkdir(&pair, &format!("/round-{round}"))?;
        save_namespace(&pair)?;
    }
    mkdir(&pair, "/after")?;
    pair.kill_namenode(1)?;
    std::fs::remove_dir_all(&name_dir)?;
    copy_dir(backup.path(), &name_dir)?;
    // As a purge leaves it: nothing in memory, and of the files only the newest.
    pair.stop_namenode(0)?;
    kill_journalnodes(&mut pair)?;
    for index in 0..JOURNALNODES {
        let mut finalized: Vec<PathBuf> = std::fs::read_dir(pair.journal(index))?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()?;
        finalized.retain(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("edits_0")
        });
        finalized.sort();
        finalized.pop();
        for path in finalized {
            std::fs::remove_file(path)?;
        }
    }
    start_journalnodes(&mut pair)?;
    start(&mut pair, 0)?;
    activate(&pair, 0)?;

    start(&mut pair, 1)?;
    ensure!(pair.log("nn1").contains("was purged"), "it does not say what it lacks");
    ensure!(pair.log("nn1").contains("fetched an image"), "{}", pair.log("nn1"));
    wait_until_proven(&pair, 0, 1);
    pair.run("haadmin", &["-checkHealth", "nn1"])?;
    pair.failover(0, 1)?;
    for path in ["/before", "/round-0", "/round-2", "/after"] {
        ensure!(is_dir(&pair, path), "{path} is lost");
    }
    Ok(())
}

#[test]
fn safety_n4_a_standby_ahead_of_a_journal_that_was_set_back_loads_anew() -> Result<()> {
    let mut pair = started()?;
    mkdir(&pair, "/kept")?;
    wait_until_proven(&pair, 0, 1);
    pair.kill_namenode(0)?;
    kill_journalnodes(&mut pair)?;
    let backup = tempfile::tempdir()?;
    for index in 0..JOURNALNODES {
        copy_dir(&pair.journal(index), &backup.path().join(index.to_string()))?;
    }
    start_journalnodes(&mut pair)?;
    start(&mut pair, 0)?;
    activate(&pair, 0)?;
    for number in 0..20 {
        mkdir(&pair, &format!("/lost-{number}"))?;
    }
    wait_until_proven(&pair, 0, 1);

    // The operator sets the JournalNodes back to the backup, while the standby goes on.
    pair.kill_namenode(0)?;
    kill_journalnodes(&mut pair)?;
    for index in 0..JOURNALNODES {
        let journal = pair.journal(index);
        std::fs::remove_dir_all(&journal)?;
        copy_dir(&backup.path().join(index.to_string()), &journal)?;
        // Who says so knows that nobody has newer ones.
        let _ = std::fs::remove_file(journal.join("hathi-copies"));
    }
    start_journalnodes(&mut pair)?;
    start(&mut pair, 0)?;
    activate(&pair, 0)?;
    mkdir(&pair, "/new")?;
    wait_for("the standby to notice", PATIENCE, || {
        // By its proofs, or by the active's digest, whichever comes first.
        let log = pair.log("nn1");
        ["is not the journal's history", "is not the active's"]
            .iter()
            .any(|said| log.contains(said))
            .then_some(())
    });
    wait_until_proven(&pair, 0, 1);
    pair.failover(0, 1)?;
    ensure!(is_dir(&pair, "/kept") && is_dir(&pair, "/new"));
    ensure!(
        !is_dir(&pair, "/lost-0") && !is_dir(&pair, "/lost-19"),
        "the wrong history goes on"
    );
    Ok(())
}
