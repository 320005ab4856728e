//! Counters of one journal (`JournalMetrics`), with Hadoop's names.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hathi_journal::acceptor::{JournalCounters, JournalGauges};
use hathi_journal::messages::LeaseState;
use hathi_net::histogram::Histogram;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

/// Times of the steps of a batch.
#[derive(Debug, Default)]
pub struct StepTimes {
    /// Wait from the read until the journal's thread began with it. Only of batches that had to wait.
    pub queue_wait: Histogram,
    /// Check and write.
    pub write: Histogram,
    /// Sync, once for all batches of one turn.
    pub sync: Histogram,
    /// Passing the answers of one turn to their connections.
    pub answer: Histogram,
}

/// Number of samples of one interval. Of more than that a random choice is kept.
const MAX_SAMPLES: usize = 1000;
const QUANTILES: [(u32, &str); 5] = [(50, "50th"), (75, "75th"), (90, "90th"), (95, "95th"), (99, "99th")];

/// A sync that takes longer is told. Each change waits for the second fastest of three such disks, and a renewal of the
/// read lease for the same.
const SLOW_SYNC: Duration = Duration::from_millis(250);
/// How long a slow sync is told of. In this time one line is logged.
const SLOW_SYNC_TOLD: Duration = Duration::from_secs(60);

/// Syncs that were slow within a minute.
#[derive(Debug)]
struct SlowSyncs {
    since: Instant,
    worst: Duration,
}

/// Quantiles of sync latencies over the last whole interval (`MutableQuantiles`).
#[derive(Debug)]
struct Quantiles {
    interval: Duration,
    begun: Instant,
    count: u64,
    samples: Vec<u64>,
    last_count: u64,
    last: Vec<u64>,
}

impl Quantiles {
    fn new(seconds: u64) -> Quantiles {
        Quantiles {
            interval: Duration::from_secs(seconds),
            begun: Instant::now(),
            count: 0,
            samples: Vec::new(),
            last_count: 0,
            last: Vec::new(),
        }
    }

    fn roll(&mut self, now: Instant) {
        if now.duration_since(self.begun) >= self.interval {
            self.begun = now;
            self.last_count = std::mem::take(&mut self.count);
            self.last = std::mem::take(&mut self.samples);
            self.last.sort_unstable();
        }
    }

    fn add(&mut self, now: Instant, value: u64) {
        self.roll(now);
        self.count += 1;
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(value);
        } else {
            // Replaces one in n samples by the n-th one, spread over the interval without a random source.
            let at = usize::try_from(self.count.wrapping_mul(0x9E37_79B9_7F4A_7C15) % self.count).unwrap_or(0);
            if let Some(sample) = self.samples.get_mut(at) {
                *sample = value;
            }
        }
    }

    fn put(&mut self, now: Instant, into: &mut Map<String, Value>) {
        self.roll(now);
        let name = format!("Syncs{}s", self.interval.as_secs());
        into.insert(format!("{name}NumOps"), self.last_count.into());
        for (percent, label) in QUANTILES {
            let rank = (self.last.len() * percent as usize / 100).min(self.last.len().saturating_sub(1));
            let value = self.last.get(rank).copied().unwrap_or(0);
            into.insert(format!("{name}{label}PercentileLatencyMicros"), value.into());
        }
    }
}

/// Counters of a journal's shell that the acceptor does not have.
#[derive(Debug)]
pub struct JournalMetrics {
    last_journal_timestamp_ms: AtomicU64,
    syncs: Mutex<[Quantiles; 3]>,
    slow: Mutex<Option<SlowSyncs>>,
    pub steps: StepTimes,
}

/// Figures of the acceptor.
#[derive(Debug)]
pub struct Figures {
    pub counters: JournalCounters,
    pub gauges: JournalGauges,
    pub lease: LeaseState,
    pub failure: Option<String>,
    pub doubt: Option<String>,
    pub promise_lost: bool,
    /// Number of segments, and their bytes.
    pub segments: (u64, u64),
}

impl JournalMetrics {
    pub fn new() -> JournalMetrics {
        JournalMetrics {
            last_journal_timestamp_ms: AtomicU64::new(0),
            syncs: Mutex::new([Quantiles::new(60), Quantiles::new(300), Quantiles::new(3600)]),
            slow: Mutex::new(None),
            steps: StepTimes::default(),
        }
    }

    /// A batch was written.
    pub fn wrote(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(0);
        self.last_journal_timestamp_ms.store(now_ms, Ordering::Relaxed);
    }

    /// A sync has taken this long. Whether that is to be logged: it was slow, and the first such one in a minute.
    #[must_use]
    pub fn synced(&self, took: Duration) -> bool {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.steps.sync.add_micros(micros);
        let now = Instant::now();
        for quantiles in self.syncs.lock().iter_mut() {
            quantiles.add(now, micros);
        }
        took >= SLOW_SYNC && self.is_first_slow(now, took)
    }

    fn is_first_slow(&self, now: Instant, took: Duration) -> bool {
        let mut slow = self.slow.lock();
        match slow.as_mut().filter(|slow| now - slow.since < SLOW_SYNC_TOLD) {
            Some(known) => {
                known.worst = known.worst.max(took);
                false
            }
            None => {
                *slow = Some(SlowSyncs {
                    since: now,
                    worst: took,
                });
                true
            }
        }
    }

    /// The slowest sync of the last minute, if it was slow.
    #[must_use]
    pub fn slow_sync(&self) -> Option<Duration> {
        let slow = self.slow.lock();
        let recent = slow.as_ref().filter(|slow| slow.since.elapsed() < SLOW_SYNC_TOLD)?;
        Some(recent.worst)
    }

    /// The attributes of `Journal-<jid>`.
    pub fn attributes(&self, journal_id: &str, figures: &Figures) -> Value {
        let Figures {
            counters,
            gauges,
            lease,
            failure,
            doubt,
            promise_lost,
            segments: (segments, segment_bytes),
        } = figures;
        let mut attributes = json!({
            "tag.JournalId": journal_id,
            "tag.Context": "dfs",
            "BatchesWritten": counters.batches_written,
            "TxnsWritten": counters.txns_written,
            "BytesWritten": counters.bytes_written,
            "TxnsServedViaRpc": counters.txns_served_via_rpc,
            "BytesServedViaRpc": counters.bytes_served_via_rpc,
            "RpcRequestCacheMissAmountNumMisses": counters.rpc_cache_misses,
            "RpcEmptyResponses": counters.rpc_empty_responses,
            "BatchesWrittenWhileLagging": counters.batches_written_while_lagging,
            "NumEditLogsSynced": counters.num_edit_logs_synced,
            "LastWriterEpoch": gauges.last_writer_epoch.0,
            "LastPromisedEpoch": gauges.last_promised_epoch.0,
            "LastWrittenTxId": gauges.last_written.0,
            "CurrentLagTxns": gauges.current_lag_txns,
            "LastJournalTimestamp": self.last_journal_timestamp_ms.load(Ordering::Relaxed),
            "ReadLeaseHolder": lease.holder.as_deref().unwrap_or(""),
            "ReadLeaseRemainingMs": lease.remaining_ms,
            "Failed": failure.is_some(),
            "Failure": failure.as_deref().unwrap_or(""),
            "Joining": doubt.is_some(),
            "JoiningReason": doubt.as_deref().unwrap_or(""),
            "PromiseLost": promise_lost,
            "QueueWaitMicros": self.steps.queue_wait.to_json(),
            "WriteMicros": self.steps.write.to_json(),
            "SyncMicros": self.steps.sync.to_json(),
            "AnswerMicros": self.steps.answer.to_json(),
            "Segments": segments,
            "SegmentBytes": segment_bytes,
            "DamagedSegments": counters.segments_damaged,
            "RepairedFiles": counters.files_repaired,
            "CommittedTxId": gauges.committed.unwrap_or_default().0,
        });
        if let Some(attributes) = attributes.as_object_mut() {
            let now = Instant::now();
            for quantiles in self.syncs.lock().iter_mut() {
                quantiles.put(now, attributes);
            }
        }
        attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_sync_is_logged_once_and_told_of_for_a_minute() {
        let metrics = JournalMetrics::new();
        assert!(!metrics.synced(SLOW_SYNC - Duration::from_micros(1)));
        assert_eq!(metrics.slow_sync(), None);
        assert!(metrics.synced(SLOW_SYNC));
        assert!(!metrics.synced(SLOW_SYNC * 2));
        assert_eq!(metrics.slow_sync(), Some(SLOW_SYNC * 2));
        assert!(metrics.is_first_slow(Instant::now() + SLOW_SYNC_TOLD, SLOW_SYNC));
    }

    #[test]
    fn quantiles_are_of_the_last_interval() {
        let mut quantiles = Quantiles::new(60);
        let begun = quantiles.begun;
        for value in 0..5000 {
            quantiles.add(begun, value % 100);
        }
        let mut map = Map::new();
        quantiles.put(begun, &mut map);
        assert_eq!(map["Syncs60sNumOps"], 0, "the first interval is not over");
        quantiles.put(begun + Duration::from_secs(61), &mut map);
        assert_eq!(map["Syncs60sNumOps"], 5000);
        let median = map["Syncs60s50thPercentileLatencyMicros"].as_u64().unwrap();
        assert!((30..70).contains(&median), "{median}");
        quantiles.put(begun + Duration::from_secs(200), &mut map);
        assert_eq!(map["Syncs60sNumOps"], 0);
    }
}
