//! Daemons of every role killed and stopped at random, while clients make, write, rename, delete and read.
//!
//! Whatever was acknowledged must be there at the end, and nothing may stay stuck. `HATHI_CHAOS_SECONDS` (default 25)
//! says how long, `HATHI_CHAOS_SEED` which sequence of faults; the seed of a run is printed.

use anyhow::{Context, Result, ensure};
use hathi_client::{CreateOptions, FileSystem};
use hathi_conf::Configuration;
use hathi_interop::{Cluster, ClusterOptions, Role};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

const NAMENODES: u16 = 3;
const JOURNALNODES: u16 = 3;
const DATANODES: u16 = 4;
const WORKERS: u64 = 4;
/// No call of a client may take longer, retries included.
const STUCK: Duration = Duration::from_secs(90);

/// What must be there: files with the seed of their content, directories without.
type Expected = BTreeMap<String, Option<u64>>;

fn content(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let len = random.usize(1..200_000);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[derive(Default)]
struct Outcome {
    expected: Expected,
    gone: Vec<String>,
    calls: u64,
    errors: Vec<String>,
    slowest: Duration,
}

impl Outcome {
    /// Runs one call; whether it was acknowledged.
    async fn call<T>(
        &mut self,
        what: &str,
        call: impl Future<Output = Result<T, hathi_client::ClientError>>,
    ) -> Option<T> {
        let started = Instant::now();
        let result = tokio::time::timeout(STUCK, call).await;
        self.calls += 1;
        self.slowest = self.slowest.max(started.elapsed());
        match result {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                self.errors.push(format!("{what}: {error}"));
                None
            }
            Err(_) => {
                self.errors.push(format!("{what}: no end after {STUCK:?}"));
                None
            }
        }
    }
}

async fn write_file(fs: &FileSystem, path: &str, seed: u64) -> Result<(), hathi_client::ClientError> {
    let mut file = fs.create(path, &CreateOptions::default()).await?;
    for part in content(seed).chunks(40_000) {
        file.write(part).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    file.close().await
}

async fn read_file(fs: &FileSystem, path: &str) -> Result<Vec<u8>, hathi_client::ClientError> {
    fs.open(path).await?.read_to_end().await
}

/// Makes, renames, deletes and reads in a directory of its own until the time is over.
async fn work(fs: Rc<FileSystem>, worker: u64, seed: u64, until: Instant) -> Outcome {
    let mut random = fastrand::Rng::with_seed(seed ^ worker);
    let mut outcome = Outcome::default();
    let base = format!("/chaos/w{worker}");
    for number in 0_u64.. {
        if Instant::now() >= until {
            break;
        }
        let path = format!("{base}/d{}/n{number}", number / 100);
        let file_seed = seed.wrapping_mul(31) + worker * 1_000_000 + number;
        match random.u8(0..10) {
            0..=4 => {
                if outcome
                    .call(&format!("mkdirs {path}"), fs.mkdirs(&path, 0o755, true))
                    .await
                    == Some(true)
                {
                    outcome.expected.insert(path, None);
                }
            }
            5..=6 => {
                let written = outcome
                    .call(&format!("write {path}"), write_file(&fs, &path, file_seed))
                    .await;
                if written.is_some() {
                    outcome.expected.insert(path, Some(file_seed));
                }
            }
            7 => {
                let Some((old, kind)) = pick(&mut random, &outcome.expected) else {
                    continue;
                };
                let new = format!("{old}-moved");
                if outcome
                    .call(&format!("rename {old}"), fs.rename(&old, &new, false))
                    .await
                    .is_some()
                {
                    outcome.expected.remove(&old);
                    outcome.expected.insert(new, kind);
                    outcome.gone.push(old);
                }
            }
            8 => {
                let Some((old, _)) = pick(&mut random, &outcome.expected) else {
                    continue;
                };
                match outcome.call(&format!("delete {old}"), fs.delete(&old, true)).await {
                    Some(true) => {
                        outcome.expected.remove(&old);
                        outcome.gone.push(old);
                    }
                    Some(false) => outcome.errors.push(format!("delete {old}: it was not there")),
                    None => {
                        outcome.expected.remove(&old);
                    }
                }
            }
            _ => {
                let Some((old, kind)) = pick(&mut random, &outcome.expected) else {
                    continue;
                };
                let Some(status) = outcome.call(&format!("status of {old}"), fs.status(&old)).await else {
                    continue;
                };
                if status.is_none() {
                    outcome.errors.push(format!("{old} is not there"));
                } else if let Some(seed) = kind
                    && let Some(bytes) = outcome.call(&format!("read {old}"), read_file(&fs, &old)).await
                    && bytes != content(seed)
                {
                    outcome
                        .errors
                        .push(format!("{old} reads as {} other bytes", bytes.len()));
                }
            }
        }
    }
    outcome
}

fn pick(random: &mut fastrand::Rng, expected: &Expected) -> Option<(String, Option<u64>)> {
    let index = random.usize(0..expected.len().max(1));
    expected.iter().nth(index).map(|(path, kind)| (path.clone(), *kind))
}

/// One fault after the other. At most one JournalNode and one DataNode are away at a time: more would rightly stop
/// everything.
async fn break_things(cluster: &Cluster, seed: u64, until: Instant) -> Result<u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut stopped: Vec<(Role, Pid, Instant)> = Vec::new();
    let mut faults = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(random.u64(700..2500))).await;
        resume(&mut stopped, false);
        let (role, count) = match random.u8(0..10) {
            0..=4 => (Role::NameNode, NAMENODES),
            5 => (Role::Zkfc, NAMENODES),
            6..=7 => (Role::JournalNode, JOURNALNODES),
            _ => (Role::DataNode, DATANODES),
        };
        if stopped.iter().any(|(away, ..)| *away == role) {
            continue;
        }
        let index = random.u16(0..count);
        let Ok(pid) = cluster.pid(role, index) else { continue };
        let signal = if random.u8(0..3) == 0 {
            Signal::STOP
        } else {
            Signal::KILL
        };
        // It may have ended just now.
        if kill_process(pid, signal).is_err() {
            continue;
        }
        faults += 1;
        let for_ms = random.u64(500..6000);
        println!("{signal:?} {role:?}-{index}");
        if signal == Signal::STOP {
            stopped.push((role, pid, Instant::now() + Duration::from_millis(for_ms)));
        }
    }
    resume(&mut stopped, true);
    Ok(faults)
}

fn resume(stopped: &mut Vec<(Role, Pid, Instant)>, all: bool) {
    stopped.retain(|(_, pid, at)| {
        let over = all || Instant::now() >= *at;
        if over {
            // It may have been killed meanwhile.
            let _ = kill_process(*pid, Signal::CONT);
        }
        !over
    });
}

#[test]
fn whatever_was_acknowledged_survives_random_faults() -> Result<()> {
    let seed = env("HATHI_CHAOS_SEED", fastrand::u64(0..1_000_000));
    let seconds = env("HATHI_CHAOS_SECONDS", 25);
    println!("HATHI_CHAOS_SEED={seed} HATHI_CHAOS_SECONDS={seconds}");
    let cluster = Cluster::start(
        env!("CARGO_BIN_EXE_hathi"),
        ClusterOptions {
            namenodes: NAMENODES,
            journalnodes: JOURNALNODES,
            datanodes: DATANODES,
        },
    )?;
    let conf = Configuration::load(&cluster.conf())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let fs = Rc::new({
        let _context = runtime.enter();
        FileSystem::new(&conf, "", &user)?
    });
    let until = Instant::now() + Duration::from_secs(seconds);
    let (outcomes, faults) = tokio::task::LocalSet::new().block_on(&runtime, async {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| tokio::task::spawn_local(work(fs.clone(), worker, seed, until)))
            .collect();
        let faults = break_things(&cluster, seed, until).await?;
        let mut outcomes = Vec::new();
        for worker in workers {
            outcomes.push(worker.await.context("a worker")?);
        }
        anyhow::Ok((outcomes, faults))
    })?;
    let mut problems = Vec::new();
    let (mut calls, mut slowest, mut checked) = (0, Duration::ZERO, 0);
    runtime.block_on(async {
        for outcome in &outcomes {
            calls += outcome.calls;
            slowest = slowest.max(outcome.slowest);
            problems.extend(outcome.errors.iter().cloned());
            for (path, kind) in &outcome.expected {
                checked += 1;
                match (fs.status(path).await, kind) {
                    (Ok(Some(_)), None) => {}
                    (Ok(Some(_)), Some(seed)) => match read_file(&fs, path).await {
                        Ok(bytes) if bytes == content(*seed) => {}
                        Ok(bytes) => problems.push(format!("{path} has {} other bytes", bytes.len())),
                        Err(error) => problems.push(format!("{path}: {error}")),
                    },
                    (Ok(None), _) => problems.push(format!("{path} is lost")),
                    (Err(error), _) => problems.push(format!("{path}: {error}")),
                }
            }
            for path in &outcome.gone {
                if !outcome.expected.contains_key(path) && !matches!(fs.status(path).await, Ok(None)) {
                    problems.push(format!("{path} is back"));
                }
            }
        }
    });
    println!(
        "faults {faults} calls {calls} slowest {slowest:?} checked {checked} problems {}",
        problems.len()
    );
    if !problems.is_empty() {
        keep_logs(&cluster);
    }
    problems.truncate(40);
    ensure!(problems.is_empty(), "seed {seed}:\n{}", problems.join("\n"));
    Ok(())
}

/// Copies the daemons' logs to `HATHI_CHAOS_LOGS`, if that is set.
fn keep_logs(cluster: &Cluster) {
    let Some(target) = std::env::var_os("HATHI_CHAOS_LOGS") else {
        return;
    };
    let target = std::path::PathBuf::from(target);
    // Only help for whoever looks for the reason.
    let _ = std::fs::create_dir_all(&target);
    for entry in std::fs::read_dir(cluster.dir().join("logs"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let _ = std::fs::copy(entry.path(), target.join(entry.file_name()));
    }
}
