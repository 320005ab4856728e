//! What happens to JournalNodes and must not end a NameNode, need a hand, or lose what was acknowledged.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, Kind, Load, Pair, Role, SharedEdits, wait_for};
use rustix::process::{Pid, Signal};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const HATHI: &str = env!("CARGO_BIN_EXE_hathi");

fn start() -> Result<Cluster> {
    let options = ClusterOptions {
        namenodes: 2,
        journalnodes: 3,
        datanodes: 1,
    };
    Cluster::start(HATHI, options)
}

fn namenodes(cluster: &Cluster) -> Result<Vec<Pid>> {
    (0..2).map(|index| cluster.pid(Role::NameNode, index)).collect()
}

fn restart(cluster: &Cluster, index: u16) -> Result<()> {
    let old = cluster.pid(Role::JournalNode, index)?;
    cluster.signal(Role::JournalNode, index, Signal::KILL)?;
    wait_for("the JournalNode to be started again", PATIENCE, || {
        (cluster.pid(Role::JournalNode, index).ok()? != old).then_some(())
    });
    Ok(())
}

#[test]
fn journalnodes_restart_in_quick_succession_and_all_at_once() -> Result<()> {
    let cluster = start()?;
    let before = namenodes(&cluster)?;
    let load = Load::start(&cluster.conf())?;
    load.goes_on();
    // Nobody waits until the one before takes part again, as a careless restart of all services does not.
    for round in 0..6 {
        restart(&cluster, round % 3)?;
    }
    load.goes_on();
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        for index in order {
            cluster.signal(Role::JournalNode, index, Signal::KILL)?;
        }
        load.goes_on();
    }
    ensure!(namenodes(&cluster)? == before, "a NameNode ended");
    eprintln!("{} directories", load.end()?);
    Ok(())
}

#[test]
fn a_journalnode_that_lost_a_part_of_its_directory_takes_part_again() -> Result<()> {
    let cluster = start()?;
    let before = namenodes(&cluster)?;
    let load = Load::start(&cluster.conf())?;
    load.goes_on();
    cluster.hathi_ok("dfsadmin", &["-rollEdits"])?;
    let current = |index| cluster.data_dir(Role::JournalNode, index).join("hathi/current");
    let file = |dir: &Path, prefix: &str| -> Option<PathBuf> {
        let entries = std::fs::read_dir(dir).ok()?.flatten();
        let found = entries.map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(prefix) && !name.contains('.'))
        });
        // What a killed one had open lies there until it is purged.
        found.max()
    };
    for (round, lost) in ["last-promised-epoch", "VERSION", "edits_0", "edits_inprogress_", "", ""]
        .into_iter()
        .enumerate()
    {
        let index = u16::try_from(round % 3)?;
        let dir = current(index);
        // Stopped first: a killed one would be started again before its file is gone.
        cluster.signal(Role::JournalNode, index, Signal::STOP)?;
        if lost.is_empty() {
            std::fs::remove_dir_all(cluster.data_dir(Role::JournalNode, index))?;
            std::fs::create_dir(cluster.data_dir(Role::JournalNode, index))?;
        } else {
            let path = file(&dir, lost).with_context(|| format!("no {lost} in {}", dir.display()))?;
            std::fs::remove_file(path)?;
        }
        cluster.signal(Role::JournalNode, index, Signal::KILL)?;
        load.goes_on();
        // It is needed as soon as another one is away.
        let other = (index + 1) % 3;
        wait_for(
            &format!("JournalNode {index} without {lost:?} to be whole"),
            PATIENCE,
            || {
                cluster.hathi_ok("dfsadmin", &["-rollEdits"]).ok()?;
                let name = |index| Some(file(&current(index), "edits_inprogress_")?.file_name()?.to_owned());
                let joined = dir.join("VERSION").exists() && !dir.join("hathi-joining").exists();
                (joined && name(index)? == name(other)?).then_some(())
            },
        );
        cluster.signal(Role::JournalNode, other, Signal::STOP)?;
        load.goes_on();
        cluster.signal(Role::JournalNode, other, Signal::CONT)?;
        load.goes_on();
    }
    ensure!(namenodes(&cluster)? == before, "a NameNode ended");
    eprintln!("{} directories", load.end()?);
    Ok(())
}

#[test]
fn a_namenode_starts_beside_a_journalnode_that_hangs_and_waits_for_a_majority() -> Result<()> {
    let cluster = start()?;
    let load = Load::start(&cluster.conf())?;
    load.goes_on();
    cluster.signal(Role::JournalNode, 0, Signal::STOP)?;
    for index in 0..2 {
        cluster.signal(Role::NameNode, index, Signal::KILL)?;
    }
    load.goes_on();
    // Nor does it give up without a majority.
    cluster.signal(Role::JournalNode, 1, Signal::STOP)?;
    for index in 0..2 {
        let old = cluster.pid(Role::NameNode, index)?;
        cluster.signal(Role::NameNode, index, Signal::KILL)?;
        wait_for("the NameNode to be started again", PATIENCE, || {
            (cluster.pid(Role::NameNode, index).ok()? != old).then_some(())
        });
    }
    let started = namenodes(&cluster)?;
    cluster.signal(Role::JournalNode, 0, Signal::CONT)?;
    load.goes_on();
    ensure!(namenodes(&cluster)? == started, "a NameNode ended");
    cluster.signal(Role::JournalNode, 1, Signal::CONT)?;
    eprintln!("{} directories", load.end()?);
    Ok(())
}

#[test]
fn a_journalnode_whose_name_nobody_knows_stops_nothing() -> Result<()> {
    let names = ["localhost", "127.0.0.1", "journalnode.invalid"];
    let mut pair = Pair::new(HATHI, None, SharedEdits::JournalNodes(names), &[])?;
    for index in 0..3 {
        pair.start_journalnode(index, Kind::Ours)?;
    }
    let (first, second) = (pair.conf(0), pair.conf(1));
    // A format needs them all, so the name is only lost after it.
    let site = first.join("hdfs-site.xml");
    let with_name = std::fs::read_to_string(&site)?;
    std::fs::write(&site, with_name.replace(names[2], "127.0.0.1"))?;
    pair.namenode(Kind::Ours, &first, &["-format", "-nonInteractive"])?;
    std::fs::write(&site, with_name)?;
    pair.start_namenode(0, Kind::Ours, &first)?;
    pair.namenode(Kind::Ours, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Kind::Ours, &second)?;
    pair.run("haadmin", &["-transitionToActive", "nn0"])?;
    let load = Load::start(&first)?;
    load.goes_on();
    pair.failover(0, 1)?;
    load.goes_on();
    pair.namenodes_live()?;
    eprintln!("{} directories", load.end()?);
    Ok(())
}
