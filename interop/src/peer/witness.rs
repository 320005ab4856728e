//! A good client. All the time it writes, renames, lists, reads and deletes files of its own, measures each call, and
//! keeps a ledger of acknowledged changes.

use anyhow::{Context, Result, bail, ensure};
use hathi_client::{CreateOptions, FileSystem};
use hathi_conf::Configuration;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// User of the good client.
pub(super) const USER: &str = "good";
/// Directory of its files.
pub(super) const HOME: &str = "/good";
/// Time after which a call counts as not served.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two rounds.
const PAUSE: Duration = Duration::from_millis(5);
/// Most files in the ledger. Older ones are deleted, and must stay deleted.
const FILES_MAX: usize = 1000;
/// Bytes of the largest file.
const FILE_MAX_BYTES: usize = 20_000;

/// Acknowledged state.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Seed and length of each file's content.
    files: BTreeMap<String, (u64, usize)>,
    deleted: Vec<String>,
    directories: Vec<String>,
}

/// Latencies of calls in microseconds, by kind of work.
#[derive(Debug, Default)]
pub(super) struct Latencies(BTreeMap<&'static str, Vec<u32>>);

/// Quantiles of one kind of work, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantiles {
    pub(super) count: usize,
    pub(super) p50: u32,
    pub(super) p99: u32,
    pub(super) max: u32,
}

impl Latencies {
    fn note(&mut self, what: &'static str, since: Instant) {
        let micros = u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
        self.0.entry(what).or_default().push(micros);
    }

    /// Quantiles by kind of work.
    pub(super) fn quantiles(&self) -> impl Iterator<Item = (&'static str, Quantiles)> {
        self.0.keys().filter_map(|what| Some((*what, self.of(&[what])?)))
    }

    /// Quantiles of several kinds together.
    pub(super) fn of(&self, kinds: &[&str]) -> Option<Quantiles> {
        let noted = self.0.iter().filter(|(what, _)| kinds.contains(what));
        let mut sorted: Vec<u32> = noted.flat_map(|(_, micros)| micros).copied().collect();
        sorted.sort_unstable();
        let at = |share: usize| sorted.get(sorted.len() * share / 100).copied();
        Some(Quantiles {
            count: sorted.len(),
            p50: at(50)?,
            p99: at(99)?,
            max: *sorted.last()?,
        })
    }
}

/// A running client.
#[derive(Debug)]
pub(super) struct Witness {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Result<(Ledger, Latencies)>>,
}

impl Witness {
    /// Starts it with the configuration in this directory.
    pub(super) fn start(conf: &Path) -> Result<Witness> {
        let conf = Configuration::load(conf)?;
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), rounds.clone());
        let thread = std::thread::Builder::new().name("witness".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let work = async {
                let fs = FileSystem::new(&conf, "", USER)?;
                let (mut ledger, mut latencies) = (Ledger::default(), Latencies::default());
                while !stopped.load(Ordering::Relaxed) {
                    let number = count.load(Ordering::Relaxed);
                    let round = round(&fs, number, &mut ledger, &mut latencies);
                    let done = tokio::time::timeout(PATIENCE, round).await;
                    done.with_context(|| format!("no end of the good client's round {number}"))??;
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PAUSE).await;
                }
                Ok((ledger, latencies))
            };
            tokio::task::LocalSet::new().block_on(&runtime, work)
        })?;
        Ok(Witness { stop, rounds, thread })
    }

    /// Number of acknowledged rounds.
    pub(super) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Whether a call has failed, which ends it.
    pub(super) fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops it.
    pub(super) fn end(self) -> Result<(Ledger, Latencies)> {
        self.stop.store(true, Ordering::Relaxed);
        let done = self
            .thread
            .join()
            .map_err(|_| anyhow::anyhow!("the good client panicked"))?;
        done.context("the good client was not served")
    }
}

/// Bytes that depend on the seed.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

async fn round(fs: &FileSystem, number: u64, ledger: &mut Ledger, latencies: &mut Latencies) -> Result<()> {
    let directory = format!("{HOME}/d{}", number / 100);
    if number.is_multiple_of(100) {
        let since = Instant::now();
        fs.mkdirs(&directory, 0o755, true).await?;
        latencies.note("mkdirs", since);
        ledger.directories.push(directory.clone());
    }
    let (written, path) = (format!("{directory}/w{number}"), format!("{directory}/f{number}"));
    let len = usize::try_from(number * 7919).unwrap_or(0) % FILE_MAX_BYTES;
    let since = Instant::now();
    let mut file = fs.create(&written, &CreateOptions::default()).await?;
    latencies.note("create", since);
    file.write(&content(number, len)).await?;
    file.close().await?;
    latencies.note("file written", since);
    let since = Instant::now();
    fs.rename(&written, &path, false).await?;
    latencies.note("rename", since);
    ledger.files.insert(path.clone(), (number, len));
    // Most calls of most clients are reads.
    for _ in 0..10 {
        let since = Instant::now();
        let status = fs.status(&path).await?;
        latencies.note("getFileInfo", since);
        ensure!(
            status.is_some_and(|status| status.length == len as u64),
            "{path} was closed with {len} bytes, and is not so"
        );
    }
    let since = Instant::now();
    let bytes = fs.open(&path).await?.read_to_end().await?;
    latencies.note("file read", since);
    ensure!(
        bytes == content(number, len),
        "{path} has other bytes than were written"
    );
    if ledger.files.len() > FILES_MAX
        && let Some((oldest, _)) = ledger.files.iter().min_by_key(|(_, (seed, _))| *seed)
    {
        let oldest = oldest.clone();
        let since = Instant::now();
        fs.delete(&oldest, false).await?;
        latencies.note("delete", since);
        ledger.files.remove(&oldest);
        ledger.deleted.push(oldest);
    }
    Ok(())
}

impl Ledger {
    /// Checks everything in the ledger.
    pub(super) async fn check(&self, conf: &Path) -> Result<()> {
        let fs = FileSystem::new(&Configuration::load(conf)?, "", USER)?;
        for directory in &self.directories {
            let listed = fs.list(directory).await.with_context(|| directory.clone())?;
            for status in listed {
                let path = format!("{directory}/{}", String::from_utf8_lossy(&status.path));
                ensure!(self.files.contains_key(&path), "{path} is there and should not be");
            }
        }
        for (path, (seed, len)) in &self.files {
            let read = async { fs.open(path).await?.read_to_end().await };
            let bytes = tokio::time::timeout(PATIENCE, read).await;
            let bytes = bytes.with_context(|| format!("no end of {path}"))?;
            match bytes {
                Ok(bytes) => ensure!(
                    bytes == content(*seed, *len),
                    "{path} has other bytes than were written"
                ),
                Err(error) => bail!("{path} was acknowledged and can't be read: {error:#}"),
            }
        }
        Ok(())
    }

    /// Size of the ledger.
    pub(super) fn describe(&self) -> String {
        format!(
            "{} files, {} directories, {} deletions",
            self.files.len(),
            self.directories.len(),
            self.deleted.len()
        )
    }
}
