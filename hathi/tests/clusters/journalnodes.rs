//! What happens to JournalNodes and must not end a NameNode, need a hand, or lose what was acknowledged.

use anyhow::{Context, Result, ensure};
use hathi_interop::{Cluster, ClusterOptions, Kind, Load, Pair, Role, SharedEdits, wait_for};
use hathi_net::http;
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

/// Two NameNodes of ours on three JournalNodes of ours, nn0 active; no segment ends by itself.
fn start_pair(more: &[(&str, &str)]) -> Result<Pair> {
    let more = [&[("dfs.ha.log-roll.period", "-1")], more].concat();
    let names = SharedEdits::JournalNodes(["127.0.0.1", "127.0.0.1", "localhost"]);
    let mut pair = Pair::new(HATHI, None, names, &more)?;
    for index in 0..3 {
        pair.start_journalnode(index, Kind::Ours)?;
    }
    let (first, second) = (pair.conf(0), pair.conf(1));
    pair.namenode(Kind::Ours, &first, &["-format", "-nonInteractive"])?;
    pair.start_namenode(0, Kind::Ours, &first)?;
    pair.namenode(Kind::Ours, &second, &["-bootstrapStandby", "-nonInteractive"])?;
    pair.start_namenode(1, Kind::Ours, &second)?;
    pair.run("haadmin", &["-transitionToActive", "nn0"])?;
    Ok(pair)
}

#[test]
fn a_journalnode_that_missed_too_much_joins_with_a_new_segment_at_once() -> Result<()> {
    // What the writer remembers for one JournalNode; it has three times that for all of them.
    let mut pair = start_pair(&[("dfs.qjournal.queued-edits.limit.mb", "1")])?;
    let load = Load::start(&pair.conf(0))?;
    load.goes_on();
    pair.kill_journalnode(2)?;
    // An edit has the whole path in it, so that each of these is about 116 kB of edits.
    let long = "x".repeat(249);
    let deep = |number: usize| format!("/{number:02}{}", format!("/{long}").repeat(30));
    let deep: Vec<String> = (0..40).map(deep).collect();
    let args: Vec<&str> = ["-mkdir", "-p"]
        .into_iter()
        .chain(deep.iter().map(String::as_str))
        .collect();
    pair.run("dfs", &args)?;
    let missed = pair.open_segment(0);
    ensure!(
        missed.is_some() && missed == pair.open_segment(1),
        "one segment since the beginning"
    );
    pair.start_journalnode(2, Kind::Ours)?;
    wait_for("the JournalNode to have the open segment", PATIENCE, || {
        let open = pair.open_segment(2);
        (open > missed && open == pair.open_segment(0)).then_some(())
    });
    ensure!(
        pair.log("nn0").contains("it joins with a new edit log segment"),
        "rolled by something else"
    );
    // It is needed now, and lacks nothing.
    pair.kill_journalnode(0)?;
    load.goes_on();
    pair.failover(0, 1)?;
    load.goes_on();
    eprintln!("{} directories", load.end()?);
    Ok(())
}

/// The load would notice a change of the active, and a call that fails.
#[test]
fn a_journalnode_that_an_election_left_behind_takes_part_again_by_itself() -> Result<()> {
    let mut pair = start_pair(&[])?;
    let load = Load::start(&pair.conf(0))?;
    load.goes_on();
    pair.kill_journalnode(2)?;
    let refused = pair.open_segment(0);
    // As after an election in which somebody got the promise of a higher epoch here alone. Without our own files it is a
    // directory as Hadoop's JournalNode leaves it.
    let current = pair.journal(2);
    for entry in std::fs::read_dir(&current)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("hathi-") || name == "lease-epoch" {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::write(current.join("last-promised-epoch"), "7\n")?;
    load.goes_on();
    pair.start_journalnode(2, Kind::Ours)?;
    wait_for("the JournalNode to have the open segment", PATIENCE, || {
        let open = pair.open_segment(2);
        (open > refused && open == pair.open_segment(0)).then_some(())
    });
    ensure!(
        pair.log("nn0").contains("elected anew in office"),
        "not in a higher epoch"
    );
    for index in 0..3 {
        let promised = std::fs::read_to_string(pair.journal(index).join("last-promised-epoch"))?;
        ensure!(promised.trim() == "8", "JournalNode {index} has promised {promised}");
    }
    ensure!(pair.state(0)? == "active", "another one is active");
    // It is needed now, and lacks nothing.
    pair.kill_journalnode(0)?;
    load.goes_on();
    pair.failover(0, 1)?;
    load.goes_on();
    eprintln!("{} directories", load.end()?);
    Ok(())
}

/// What a NameNode shows of its channel to a JournalNode.
fn channel(pair: &Pair, namenode: usize, journalnode: usize) -> Result<Value> {
    let port = pair.address(Role::JournalNode, journalnode).port();
    let name = format!("Hadoop:service=NameNode,name=IPCLoggerChannel-127.0.0.1-{port}");
    let url = format!("http://{}/jmx?qry={name}", pair.http_address(Role::NameNode, namenode));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (_, jmx) = runtime.block_on(http::get_bytes(&url, PATIENCE, 1 << 20))?;
    let jmx: Value = serde_json::from_slice(&jmx)?;
    let bean = jmx["beans"].get(0).with_context(|| format!("no {name}"))?.clone();
    ensure!(bean["name"] == *name, "{bean}");
    Ok(bean)
}

#[test]
fn a_namenode_shows_how_far_each_journalnode_is_behind() -> Result<()> {
    let mut pair = start_pair(&[])?;
    let load = Load::start(&pair.conf(0))?;
    load.goes_on();
    let number = |bean: &Value, key: &str| bean[key].as_u64().with_context(|| format!("{key} in {bean}"));
    let writes = |bean: &Value, key: &str| number(&bean["WritesRpcLatencyMicros"], key);
    let in_sync = |pair: &Pair, index| {
        wait_for(&format!("JournalNode {index} to lack nothing"), PATIENCE, || {
            let bean = channel(pair, 0, index).ok()?;
            let little = number(&bean, "CurrentLagTxns").ok()? < 20 && number(&bean, "LagTimeMillis").ok()? < 500;
            (little && bean["tag.IsOutOfSync"] == "false").then_some(bean)
        })
    };
    let before = [in_sync(&pair, 0), in_sync(&pair, 1), in_sync(&pair, 2)];

    // One that hangs: every number grows, and is not in some other unit.
    let stopped = Instant::now();
    pair.signal(Role::JournalNode, 2, Signal::STOP)?;
    load.goes_on();
    let bean = wait_for("the lag of a JournalNode that hangs", PATIENCE, || {
        let bean = channel(&pair, 0, 2).ok()?;
        (number(&bean, "LagTimeMillis").ok()? >= 500 && number(&bean, "CurrentLagTxns").ok()? >= 20).then_some(bean)
    });
    let most = stopped.elapsed().as_millis() + 500;
    ensure!(u128::from(number(&bean, "LagTimeMillis")?) <= most, "{bean}");
    let (txns, bytes) = (number(&bean, "CurrentLagTxns")?, number(&bean, "QueuedEditsSize")?);
    // A directory of the load takes more than 50 bytes in the edit log, and less than 1000.
    ensure!((50 * txns..1000 * txns).contains(&bytes), "{bean}");
    let after = [channel(&pair, 0, 0)?, channel(&pair, 0, 1)?];
    for (index, after) in after.iter().enumerate() {
        ensure!(
            writes(after, "count")? >= writes(&before[index], "count")? + 20,
            "{after}"
        );
        ensure!(writes(after, "sum")? > writes(&before[index], "sum")?, "{after}");
    }
    // What was on its way when it was stopped may have been answered.
    ensure!(
        writes(&bean, "count")? < writes(&after[0], "count")?,
        "{bean} {after:?}"
    );

    // One that is gone is out of sync, the others are not, and it is not any more when it is back.
    pair.kill_journalnode(2)?;
    wait_for("the JournalNode to be out of sync", PATIENCE, || {
        (channel(&pair, 0, 2).ok()?["tag.IsOutOfSync"] == "true").then_some(())
    });
    in_sync(&pair, 0);
    in_sync(&pair, 1);
    pair.start_journalnode(2, Kind::Ours)?;
    in_sync(&pair, 2);
    // They are the writer's.
    ensure!(channel(&pair, 1, 0).is_err(), "a standby has no channel");
    load.end()?;
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
