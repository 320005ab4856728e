//! What is counted for `/jmx` and `/metrics`, besides what the namesystem knows.

use hathi_journal::Lag;
use hathi_nameserver::edit_log_driver::Synced;
use hathi_net::histogram::Histogram;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// See the module.
#[derive(Debug, Default)]
pub struct Observed {
    syncs: AtomicU64,
    sync_us: AtomicU64,
    last_failover_us: AtomicU64,
    loads: AtomicU64,
    load_ms: AtomicU64,
    commits: Histogram,
    /// While this NameNode writes.
    journal_lags: Mutex<Vec<Lag>>,
    /// By index of the JournalNode: times of its answers to batches.
    journal_rpcs: Mutex<BTreeMap<usize, Arc<Histogram>>>,
}

impl Observed {
    /// A quorum has these batches.
    pub fn synced(&self, synced: &Synced) {
        for took in &synced.batches {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            self.sync_us.fetch_add(*took, Ordering::Relaxed);
            self.commits.add_micros(*took);
        }
    }

    /// A JournalNode has answered a batch after this time in µs.
    pub fn journal_answered(&self, journalnode: usize, took_us: u64) {
        let mut rpcs = self.journal_rpcs.lock();
        rpcs.entry(journalnode).or_default().add_micros(took_us);
    }

    /// The JournalNodes lag behind so far. Empty: this NameNode does not write.
    pub fn set_journal_lags(&self, lags: Vec<Lag>) {
        *self.journal_lags.lock() = lags;
    }

    /// A namespace was loaded in this time in ms.
    pub fn loaded(&self, took_ms: u64) {
        self.loads.fetch_add(1, Ordering::AcqRel);
        self.load_ms.store(took_ms, Ordering::Relaxed);
    }

    /// This NameNode became active in this time in µs.
    pub fn became_active(&self, took_us: u64) {
        self.last_failover_us.store(took_us, Ordering::Relaxed);
    }

    /// Number of batches that a quorum has acknowledged.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Sum of their times in µs.
    #[must_use]
    pub fn sync_us(&self) -> u64 {
        self.sync_us.load(Ordering::Relaxed)
    }

    /// Times of batches from being handed to the JournalNodes until a majority has them.
    #[must_use]
    pub fn commits(&self) -> &Histogram {
        &self.commits
    }

    /// Duration of the last change to active in µs; 0 if there was none.
    #[must_use]
    pub fn last_failover_us(&self) -> u64 {
        self.last_failover_us.load(Ordering::Relaxed)
    }

    /// Number of completed loads of a namespace.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::Acquire)
    }

    /// Duration of the last load in ms.
    #[must_use]
    pub fn load_ms(&self) -> u64 {
        self.load_ms.load(Ordering::Relaxed)
    }

    /// Lag of each JournalNode, while this NameNode writes.
    #[must_use]
    pub fn journal_lags(&self) -> Vec<Lag> {
        self.journal_lags.lock().clone()
    }

    /// Times of a JournalNode's answers to batches.
    #[must_use]
    pub fn journal_rpcs(&self, journalnode: usize) -> Arc<Histogram> {
        self.journal_rpcs.lock().get(&journalnode).cloned().unwrap_or_default()
    }
}
