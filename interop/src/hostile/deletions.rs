//! Surplus replicas that are deleted slowly, while one active after the other orders it.

use super::client::{Client, content};
use super::{PATIENCE, Setup};
use crate::faults::Slow;
use crate::{ClusterOptions, Daemons, Role, wait_for};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How much longer a removal takes.
const SLOW: Duration = Duration::from_millis(5);
/// How long an active serves until it is killed, ms: sometimes while all is being ordered, sometimes when much of it is
/// under way.
const REIGN_MS: std::ops::Range<u64> = 700..2500;
const CLIENTS: usize = 8;
const LENGTH: usize = 100;
const REPLICATION: u32 = 3;

/// 700 files.
pub(super) fn small(setup: &Setup<'_>) -> Result<()> {
    lowered(setup, 700)
}

/// 2,000 files.
pub(super) fn large(setup: &Setup<'_>) -> Result<()> {
    lowered(setup, 2000)
}

fn path(number: usize) -> String {
    format!("/files/{number}")
}

fn lowered(setup: &Setup<'_>, files: usize) -> Result<()> {
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
        // While deletions are still under way.
        for _ in 0..5 {
            struck = struck.and_then(|()| strike(&mut daemons, || true));
        }
        over.store(true, Ordering::Relaxed);
        let lowered = lower.join().map_err(|_| anyhow::anyhow!("lowering panicked"))?;
        let watched = watch.join().map_err(|_| anyhow::anyhow!("watching panicked"))?;
        struck.and(lowered).and(watched)
    })?;
    daemons.wait_until_ready();
    let client = Client::new(&conf)?;
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

/// Kills the active and starts it again, once a reign, until it is enough.
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

/// No block is ever without a replica.
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

/// Many at once, so that a failover finds most of the deletions ordered and not done.
fn lower(conf: &Path, files: usize) -> Result<()> {
    for_each(conf, files, |client, number| client.set_replication(&path(number), 1))
}

fn write_all(conf: &Path, files: usize) -> Result<()> {
    for_each(conf, files, |client, number| {
        client.write(&path(number), &content(number as u64, LENGTH), REPLICATION)
    })?;
    let client = Client::new(conf)?;
    // Two, so that there is one to be deleted: a pipeline may have lost a DataNode.
    for number in 0..files {
        let path = path(number);
        wait_for(&format!("the replicas of {path}"), PATIENCE, || {
            let located = client.locations(&path).ok()?;
            located.blocks.iter().all(|block| block.locs.len() >= 2).then_some(())
        });
    }
    Ok(())
}

/// Does something with every file, from several clients.
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
