//! What is counted and noted for those that show this NameNode, besides what the namesystem knows.

use crate::startup::Startup;
use hathi_journal::Lag;
use hathi_nameserver::edit_log_driver::Synced;
use hathi_nameserver::handovers::Handovers;
use hathi_net::histogram::{Histogram, HistogramCounts};
use hathi_net::ipc::RpcMeter;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// See the module.
#[derive(Debug, Default)]
pub struct Observed {
    /// Reads the counters of the RPC server, once it listens.
    pub rpc: OnceLock<RpcMeter>,
    /// How far its start is.
    pub startup: Startup,
    /// Changes of the active NameNode, as the JournalNodes' leases show them.
    pub handovers: Mutex<Handovers>,
    last_failover_us: AtomicU64,
    became_active: AtomicU64,
    loads: AtomicU64,
    load_ms: AtomicU64,
    commits: Histogram,
    lease_margins: Histogram,
    /// While this NameNode writes.
    journal_lags: Mutex<Vec<Lag>>,
    /// By index of the JournalNode: times of its answers to batches.
    journal_rpcs: Mutex<BTreeMap<usize, Arc<Histogram>>>,
    shortage: Mutex<Option<String>>,
}

impl Observed {
    /// A quorum has these batches.
    pub fn synced(&self, synced: &Synced) {
        for took in &synced.batches {
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
        self.became_active.fetch_add(1, Ordering::Relaxed);
    }

    /// The read lease was renewed when it had still this time in µs.
    pub fn lease_renewed(&self, left_us: u64) {
        self.lease_margins.add_micros(left_us);
    }

    /// The directories have too little room for this NameNode to go on, or enough.
    pub fn set_shortage(&self, shortage: Option<String>) {
        *self.shortage.lock() = shortage;
    }

    /// Which directories have too little room, as of the last check.
    #[must_use]
    pub fn shortage(&self) -> Option<String> {
        self.shortage.lock().clone()
    }

    /// Times of batches from being handed to the JournalNodes until a majority has them.
    #[must_use]
    pub fn commits(&self) -> HistogramCounts {
        self.commits.counts()
    }

    /// The same, as `/jmx` shows it.
    #[must_use]
    pub fn commits_json(&self) -> serde_json::Value {
        self.commits.to_json()
    }

    /// What was left of the read lease whenever it was renewed.
    #[must_use]
    pub fn lease_margins(&self) -> HistogramCounts {
        self.lease_margins.counts()
    }

    /// Duration of the last change to active in µs; 0 if there was none.
    #[must_use]
    pub fn last_failover_us(&self) -> u64 {
        self.last_failover_us.load(Ordering::Relaxed)
    }

    /// How often this NameNode became active.
    #[must_use]
    pub fn times_active(&self) -> u64 {
        self.became_active.load(Ordering::Relaxed)
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
