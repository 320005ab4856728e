//! `/metrics` and `/health` of the JournalNode.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hathi_net::http::health::Health;
use hathi_net::metrics::log::LOG;
use hathi_net::metrics::{Exposition, process, rpc};
use serde_json::{Value, json};

use crate::journal::Journal;
use crate::journals::Journals;
use crate::metrics::Figures;
use crate::room::{self, Room};

hathi_net::families! {
    /// Families of a JournalNode, beside those of its process and its RPC server.
    FAMILIES {
        READY: Gauge "hathi_journalnode_ready" [] "1 if /health/ready answers 200: no journal has failed, and each one votes.";
        FREE: Gauge "hathi_journalnode_directory_free_bytes" ["directory"] "Free room in a directory of journals.";
        SIZE: Gauge "hathi_journalnode_directory_size_bytes" ["directory"] "Size of its file system.";
        BATCHES: Counter "hathi_journalnode_batches_written_total" ["journal"] "Batches of edits written.";
        TRANSACTIONS: Counter "hathi_journalnode_transactions_written_total" ["journal"] "Transactions written.";
        BYTES: Counter "hathi_journalnode_written_bytes_total" ["journal"] "Bytes of edits written.";
        LAGGING: Counter "hathi_journalnode_batches_written_lagging_total" ["journal"] "Batches that were written while this JournalNode lagged behind the quorum.";
        SERVED: Counter "hathi_journalnode_transactions_served_total" ["journal"] "Transactions served to standbys over RPC.";
        SERVED_BYTES: Counter "hathi_journalnode_served_bytes_total" ["journal"] "Bytes of edits served to standbys over RPC.";
        CACHE_MISSES: Counter "hathi_journalnode_cache_misses_total" ["journal"] "Requests of standbys for edits that the cache did not hold.";
        SYNCED_SEGMENTS: Counter "hathi_journalnode_segments_fetched_total" ["journal"] "Missed segments that were fetched from other JournalNodes.";
        DAMAGED: Counter "hathi_journalnode_segments_damaged_total" ["journal"] "Segments that were found damaged and put aside.";
        REPAIRED: Counter "hathi_journalnode_files_repaired_total" ["journal"] "Small files that were repaired at a start.";
        LAST: Gauge "hathi_journalnode_last_written_transaction" ["journal"] "Last transaction written.";
        COMMITTED: Gauge "hathi_journalnode_committed_transaction" ["journal"] "Last transaction that is known to be committed.";
        LAG: Gauge "hathi_journalnode_lag_transactions" ["journal"] "Committed transactions that this JournalNode lacks, as the writer said last.";
        PROMISED: Gauge "hathi_journalnode_promised_epoch" ["journal"] "Promised epoch.";
        WRITER: Gauge "hathi_journalnode_writer_epoch" ["journal"] "Epoch of the last writer.";
        FAILED: Gauge "hathi_journalnode_failed" ["journal"] "1 if the journal's directory has failed, and nothing is written there until a restart.";
        JOINING: Gauge "hathi_journalnode_joining" ["journal"] "1 while the journal does not vote, because it may lack edits that it has acknowledged.";
        PROMISE_LOST: Gauge "hathi_journalnode_promise_lost" ["journal"] "1 while the journal does not know what it has promised, and asks its peers.";
        LEASE_HELD: Gauge "hathi_journalnode_lease_held" ["journal", "holder"] "1 for the holder of the read lease: NameNode and process.";
        SEGMENTS: Gauge "hathi_journalnode_segments" ["journal"] "Segments on disk.";
        SEGMENT_BYTES: Gauge "hathi_journalnode_segments_size_bytes" ["journal"] "Their size.";
        QUEUE: Histogram "hathi_journalnode_queue_seconds" ["journal"] "Wait of a batch from its read until the journal's thread began with it. Only of batches that had to wait.";
        WRITE: Histogram "hathi_journalnode_write_seconds" ["journal"] "Check and write of a batch.";
        SYNC: Histogram "hathi_journalnode_sync_seconds" ["journal"] "Syncs to disk, one for all batches of a turn.";
        ANSWER: Histogram "hathi_journalnode_answer_seconds" ["journal"] "Passing the answers of a turn to their connections.";
    }
}

/// The metrics now.
#[must_use]
pub fn exposition(journals: &Journals) -> Exposition {
    let mut all = Exposition::default();
    process::put("journalnode", &mut all);
    if let Some(meter) = journals.rpc_meter() {
        rpc::put(meter, &mut all);
    }
    all.put(&READY, &[], health(journals).reasons.is_empty());
    for room in room::of(journals.dirs()) {
        let name = [&*room.dir];
        all.put(&FREE, &name, room.free_bytes);
        all.put(&SIZE, &name, room.size_bytes);
    }
    for journal in journals.all() {
        if let Ok(figures) = journal.figures() {
            put(&journal, &figures, &mut all);
        }
    }
    all
}

/// `/api/journalnode`: what a NameNode shows of this JournalNode on the page of the cluster, beside what it knows
/// itself. Times are ms since 1970, sizes are bytes.
#[must_use]
pub fn to_json(journals: &Journals) -> Value {
    let slow = journals
        .all()
        .iter()
        .filter_map(|journal| journal.metrics().slow_sync())
        .max();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "time": u64::try_from(now.as_millis()).unwrap_or(0),
        "version": env!("CARGO_PKG_VERSION"),
        "reasons": health(journals).reasons,
        "directories": room::of(journals.dirs()).iter().map(Room::to_json).collect::<Vec<_>>(),
        "slow_sync_ms": slow.map(|took| took.as_secs_f64() * 1000.0),
        "log_lines_lost": LOG.lines_lost(),
    })
}

fn put(journal: &Arc<Journal>, figures: &Figures, all: &mut Exposition) {
    let name = [journal.id()];
    let Figures { counters, gauges, .. } = figures;
    for (family, value) in [
        (&BATCHES, counters.batches_written),
        (&TRANSACTIONS, counters.txns_written),
        (&BYTES, counters.bytes_written),
        (&LAGGING, counters.batches_written_while_lagging),
        (&SERVED, counters.txns_served_via_rpc),
        (&SERVED_BYTES, counters.bytes_served_via_rpc),
        (&CACHE_MISSES, counters.rpc_cache_misses),
        (&SYNCED_SEGMENTS, counters.num_edit_logs_synced),
        (&DAMAGED, counters.segments_damaged),
        (&REPAIRED, counters.files_repaired),
        (&LAST, gauges.last_written.0),
        (&LAG, gauges.current_lag_txns),
        (&PROMISED, gauges.last_promised_epoch.0),
        (&WRITER, gauges.last_writer_epoch.0),
        (&SEGMENTS, figures.segments.0),
        (&SEGMENT_BYTES, figures.segments.1),
    ] {
        all.put(family, &name, value);
    }
    all.put_known(&COMMITTED, &name, gauges.committed.map(|txid| txid.0));
    all.put(&FAILED, &name, figures.failure.is_some());
    all.put(&JOINING, &name, figures.doubt.is_some());
    all.put(&PROMISE_LOST, &name, figures.promise_lost);
    if let Some(holder) = figures
        .lease
        .holder
        .as_deref()
        .filter(|_| figures.lease.remaining_ms > 0)
    {
        all.put(&LEASE_HELD, &[journal.id(), holder], true);
    }
    let steps = &journal.metrics().steps;
    for (family, histogram) in [
        (&QUEUE, &steps.queue_wait),
        (&WRITE, &steps.write),
        (&SYNC, &steps.sync),
        (&ANSWER, &steps.answer),
    ] {
        all.put_histogram(family, &name, histogram.counts());
    }
}

/// Ready is a JournalNode whose journals all write and vote.
#[must_use]
pub fn health(journals: &Journals) -> Health {
    let mut reasons = Vec::new();
    for journal in journals.all() {
        let id = journal.id();
        match journal.figures() {
            Err(error) => reasons.push(format!("{id}: {error}")),
            Ok(figures) => {
                let failed = figures.failure.map(|why| format!("{id} has failed: {why}"));
                let joins = figures.doubt.map(|why| format!("{id} does not vote yet: {why}"));
                let lost = figures
                    .promise_lost
                    .then(|| format!("{id} does not know what it has promised"));
                reasons.extend([failed, joins, lost].into_iter().flatten());
            }
        }
    }
    Health {
        state: "serving".to_owned(),
        reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_follow_the_conventions() {
        let faults: Vec<String> = FAMILIES.iter().flat_map(|family| family.faults()).collect();
        assert_eq!(faults, Vec::<String>::new());
    }
}
