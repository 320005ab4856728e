//! Surplus replicas that are deleted slowly, while one active after another orders the deletion.

use super::client::{Client, content};
use super::corrupt::blocks;
use super::{PATIENCE, Setup};
use crate::faults::Slow;
use crate::{ClusterOptions, Daemons, Role, wait_for};
use anyhow::{Context, Result, ensure};
use hathi_conf::Configuration;
use hathi_formats::proto::hdfs::{
    DatanodeInfoProto, DatanodeReportTypeProto, GetDatanodeReportRequestProto, GetDatanodeReportResponseProto,
};
use hathi_net::http;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Delay of each removal.
const SLOW: Duration = Duration::from_millis(5);
/// How long an active serves until it is killed, in ms. Sometimes the deletions are still being ordered then, sometimes
/// many are under way.
const REIGN_MS: std::ops::Range<u64> = 700..2500;
/// How long a DataNode must have been silent. For the deletion of surplus replicas a NameNode prefers DataNodes that
/// were silent for four heartbeats, of a second each in these clusters. Its block manager's clock advances with the
/// heartbeats of the others, so it may be a second late.
const SILENT: Duration = Duration::from_secs(6);
const CLIENTS: usize = 8;
const LENGTH: usize = 100;
const REPLICATION: u32 = 3;
const FEW: usize = 700;
const MANY: usize = 2000;

/// One failover while the disks still hold the replicas that the old active ordered to delete. The old active keeps the
/// replicas of one DataNode, and the new active wants exactly those deleted.
pub(super) fn once(setup: &Setup<'_>) -> Result<()> {
    // A DataNode that stands still for a while is not dead, and the active is replaced only when it is killed.
    let patient = [
        ("dfs.namenode.heartbeat.recheck-interval", "300000"),
        ("hathi.lease.ms", "5000"),
        ("hathi.lease.max.ms", "10000"),
    ];
    let mut daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &patient)?;
    let conf = daemons.conf();
    let client = Client::new(&conf)?;
    write_all(&conf, FEW)?;
    let written = replicas(&daemons);
    for index in daemons.of(Role::DataNode) {
        daemons.faults(Role::DataNode, index).hold(Slow::Remove)?;
    }
    let (kept, last, other) = (0, 1, 2);

    let old = daemons.wait_for_active(&[]);
    silence(&daemons, &client, old, &[last, other])?;
    lower(&conf, FEW)?;
    ensure!(pending_deletions(&daemons, &client, old)? > 0, "nothing is deleted");
    for index in [last, other] {
        daemons.signal(Role::DataNode, index, Signal::CONT)?;
    }
    orders_have_left(&daemons, &client, old);
    for index in [last, other] {
        let faults = daemons.faults(Role::DataNode, index);
        wait_for("the first deletion to be under way", PATIENCE, || {
            (faults.begun(Slow::Remove).ok()? > faults.ended(Slow::Remove).ok()?).then_some(())
        });
    }

    // The new active decides only when all three DataNodes have reported.
    daemons.signal(Role::DataNode, last, Signal::STOP)?;
    let since = now_ms()?;
    daemons.kill(Role::NameNode, old)?;
    let new = daemons.wait_for_active(&[old]);
    wait_for("the full reports of two DataNodes", PATIENCE, || {
        let reported =
            |index| datanode(&daemons, &client, new, index).is_ok_and(|node| node.last_block_report_time() > since);
        (reported(kept) && reported(other)).then_some(())
    });
    silence(&daemons, &client, new, &[kept])?;
    daemons.signal(Role::DataNode, last, Signal::CONT)?;
    wait_for("the new active to order deletions", PATIENCE, || {
        (pending_deletions(&daemons, &client, new).ok()? > 0).then_some(())
    });
    daemons.signal(Role::DataNode, kept, Signal::CONT)?;
    orders_have_left(&daemons, &client, new);

    for index in daemons.of(Role::DataNode) {
        daemons.faults(Role::DataNode, index).release(Slow::Remove)?;
    }
    let left = wait_for("no block to have more than one replica", PATIENCE, || {
        let left = replicas(&daemons);
        left.values().all(|count| *count <= 1).then_some(left)
    });
    let lost = written.keys().filter(|block| !left.contains_key(*block)).count();
    ensure!(lost == 0, "{lost} of {} blocks are on no disk any more", written.len());
    all_are_whole(&conf, FEW)
}

/// Many failovers in a row, with 700 files.
pub(super) fn again_and_again(setup: &Setup<'_>) -> Result<()> {
    struck(setup, FEW)
}

/// Many failovers in a row, with 2,000 files.
pub(super) fn many(setup: &Setup<'_>) -> Result<()> {
    struck(setup, MANY)
}

/// Stops DataNodes until a NameNode has heard nothing of them for long enough.
fn silence(daemons: &Daemons, client: &Client, namenode: u16, indices: &[u16]) -> Result<()> {
    for index in indices {
        daemons.signal(Role::DataNode, *index, Signal::STOP)?;
    }
    wait_for("DataNodes to be silent", PATIENCE, || {
        let silent = |index| -> Result<bool> {
            let heard = datanode(daemons, client, namenode, index)?.last_update();
            Ok(now_ms()?.saturating_sub(heard) > u64::try_from(SILENT.as_millis())?)
        };
        indices
            .iter()
            .all(|index| silent(*index).is_ok_and(|silent| silent))
            .then_some(())
    });
    Ok(())
}

/// Number of replicas of each block on the disks, by the names of the block files.
fn replicas(daemons: &Daemons) -> BTreeMap<OsString, u32> {
    let mut replicas = BTreeMap::new();
    for index in daemons.of(Role::DataNode) {
        let files = blocks(&daemons.data_dir(Role::DataNode, index));
        for name in files.iter().filter_map(|path| path.file_name()) {
            *replicas.entry(name.to_owned()).or_default() += 1;
        }
    }
    replicas
}

fn now_ms() -> Result<u64> {
    Ok(u64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis(),
    )?)
}

/// A NameNode's view of a DataNode. Each NameNode counts by itself when it last heard of it.
fn datanode(daemons: &Daemons, client: &Client, namenode: u16, index: u16) -> Result<DatanodeInfoProto> {
    let key = "dfs.datanode.address";
    let conf = Configuration::load(&daemons.daemon_conf(Role::DataNode, index))?;
    let address = conf.get(key).context(key)?;
    let request = GetDatanodeReportRequestProto {
        r#type: DatanodeReportTypeProto::All as i32,
    };
    let connection = client.namenode(daemons, namenode)?;
    let report: GetDatanodeReportResponseProto = client.wait(connection.call("getDatanodeReport", &request))?;
    let is_it = |node: &DatanodeInfoProto| address.ends_with(&format!(":{}", node.id.xfer_port));
    report.di.into_iter().find(is_it).context("an unknown DataNode")
}

/// Deletions that wait at a NameNode for the heartbeats of their DataNodes.
fn pending_deletions(daemons: &Daemons, client: &Client, namenode: u16) -> Result<u64> {
    let address = daemons.namenode_http(namenode)?;
    let url = format!("http://{address}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystem");
    let (_, body) = client.wait(http::get_bytes(&url, PATIENCE, 1 << 20))?;
    let text = String::from_utf8_lossy(&body);
    let (_, rest) = text
        .split_once("\"PendingDeletionBlocks\"")
        .context("no PendingDeletionBlocks")?;
    let digits: String = rest
        .chars()
        .skip_while(|character| !character.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    Ok(digits.parse()?)
}

fn orders_have_left(daemons: &Daemons, client: &Client, namenode: u16) {
    wait_for("all deletions to be ordered", PATIENCE, || {
        (pending_deletions(daemons, client, namenode).ok()? == 0).then_some(())
    });
}

fn path(number: usize) -> String {
    format!("/files/{number}")
}

fn struck(setup: &Setup<'_>, files: usize) -> Result<()> {
    let mut daemons = Daemons::started(setup.hathi, ClusterOptions::default(), &[])?;
    let conf = daemons.conf();
    write_all(&conf, files)?;
    for index in daemons.of(Role::DataNode) {
        daemons.faults(Role::DataNode, index).slow(Slow::Remove, SLOW)?;
    }
    let (lowered, over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let lower = scope.spawn(|| -> Result<()> {
            let result = lower(&conf, files);
            lowered.store(true, Ordering::Relaxed);
            result
        });
        let watch = scope.spawn(|| watch(&conf, files, &over));
        let mut struck = strike(&mut daemons, || lowered.load(Ordering::Relaxed));
        // Deletions are still under way meanwhile.
        for _ in 0..5 {
            struck = struck.and_then(|()| strike(&mut daemons, || true));
        }
        over.store(true, Ordering::Relaxed);
        let lowered = lower.join().map_err(|_| anyhow::anyhow!("lowering panicked"))?;
        let watched = watch.join().map_err(|_| anyhow::anyhow!("watching panicked"))?;
        struck.and(lowered).and(watched)
    })?;
    daemons.wait_until_ready();
    all_are_whole(&conf, files)
}

fn all_are_whole(conf: &Path, files: usize) -> Result<()> {
    let client = Client::new(conf)?;
    let lost: Vec<usize> = (0..files)
        .filter(|number| {
            !client
                .read(&path(*number))
                .is_ok_and(|bytes| bytes == content(*number as u64, LENGTH))
        })
        .collect();
    ensure!(lost.is_empty(), "{} of {files} files are lost: {lost:?}", lost.len());
    Ok(())
}
/// Kills the active once in each reign and starts it again, until `enough`.
fn strike(daemons: &mut Daemons, enough: impl Fn() -> bool) -> Result<()> {
    loop {
        std::thread::sleep(Duration::from_millis(fastrand::u64(REIGN_MS)));
        let active = daemons.wait_for_active(&[]);
        daemons.kill(Role::NameNode, active)?;
        daemons.start(Role::NameNode, active)?;
        if enough() {
            return Ok(());
        }
    }
}

/// Checks that no block is ever without a replica.
fn watch(conf: &Path, files: usize, over: &AtomicBool) -> Result<()> {
    let client = Client::new(conf)?;
    let mut random = fastrand::Rng::with_seed(5);
    while !over.load(Ordering::Relaxed) {
        let path = path(random.usize(..files));
        let located = client.locations(&path)?;
        let block = located.blocks.first().context("no block")?;
        ensure!(!block.locs.is_empty(), "{path} was shown without a replica");
    }
    Ok(())
}

/// Lowers the replication of many files at once, so that at a failover most of the deletions are ordered and not done.
fn lower(conf: &Path, files: usize) -> Result<()> {
    for_each(conf, files, |client, number| client.set_replication(&path(number), 1))
}

fn write_all(conf: &Path, files: usize) -> Result<()> {
    for_each(conf, files, |client, number| {
        client.write(&path(number), &content(number as u64, LENGTH), REPLICATION)
    })?;
    let client = Client::new(conf)?;
    // Two replicas are enough, because a pipeline may have lost a DataNode.
    for number in 0..files {
        let path = path(number);
        wait_for(&format!("the replicas of {path}"), PATIENCE, || {
            let located = client.locations(&path).ok()?;
            located.blocks.iter().all(|block| block.locs.len() >= 2).then_some(())
        });
    }
    Ok(())
}

/// Runs `work` for every file, from several clients.
fn for_each(conf: &Path, files: usize, work: impl Fn(&Client, usize) -> Result<()> + Sync) -> Result<()> {
    let work = &work;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CLIENTS)
            .map(|first| {
                scope.spawn(move || -> Result<()> {
                    let client = Client::new(conf)?;
                    (first..files)
                        .step_by(CLIENTS)
                        .try_for_each(|number| work(&client, number))
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
    })
}
