//! The calls of readers and watchers: manifests, recent edits, the lease, files of segments.
//!
//! There are two kinds of readers of edits. Ours ask for committed ones only. Java's standbys and observers ask every
//! JournalNode, and apply the edits that a majority has, from any copy. That is sound only if each JournalNode shows
//! nothing that its disk or a recovery may take back. (Hadoop's own fills its cache before the sync: HDFS-17710.) So
//! they get only durable edits. If the writer tells at once what is committed, they get only committed ones. A writer
//! of Java tells it with its next batch, for which an observer can't wait. Then they get the durable edits that the
//! writer of the promised epoch has written here.

use std::path::{Path, PathBuf};

use hathi_formats::ids::TxId;
use hathi_storage::Disk;

use super::{Acceptor, Handled, JournalResult};
use crate::errors::JournalError;
use crate::messages::{Answer, Manifest, ManifestSegment, Micros};
use crate::mutant::Mutant;
use crate::segments::SegmentName;

/// A file of a segment that may be sent to a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadableSegment {
    /// Path of the file.
    pub path: PathBuf,
    /// Bytes of it that are durable. `None` for a finalized file: all of it.
    pub len: Option<u64>,
}

impl<D: Disk> Acceptor<D> {
    /// `Journal.getEditLogManifest`. Of the segments in progress only the last one is shown: a writer left an older one
    /// behind, and it is finalized elsewhere. The last one is shown only when its content is the present writer's. A
    /// reader takes from it the committed transactions, and an earlier writer may have left different ones here.
    pub(super) fn get_edit_log_manifest(&mut self, since: TxId, in_progress_ok: bool) -> JournalResult<Answer> {
        let names = self.list()?;
        let newest = names.last().map(|name| name.start);
        let promised = self.formatted()?.promised();
        let trusted = match names.last() {
            Some(name) if name.end.is_none() => {
                let highest = self.formatted()?.highest;
                self.vouched_for_by(name.start, highest, promised)?
            }
            _ => false,
        };
        let journal = self.formatted()?;
        let readable = self.readable_to(false)?;
        let mut segments = Vec::new();
        for name in &names {
            let in_progress = name.end.is_none();
            if in_progress && (!in_progress_ok || !trusted || Some(name.start) != newest) {
                continue;
            }
            let end = name.end.unwrap_or(readable);
            if name.start < since && end < since {
                continue;
            }
            if in_progress && end < name.start {
                continue;
            }
            segments.push(ManifestSegment {
                start: name.start,
                end: Some(end),
                in_progress,
            });
        }
        Ok(Answer::Manifest(Manifest {
            segments,
            committed: journal.committed(),
            http_port: self.options.http_port,
            from_url: self.options.from_url.clone(),
        }))
    }

    /// `Journal.getJournaledEdits`, and our own variant that waits, and returns committed edits only.
    pub(super) fn get_journaled_edits(
        &mut self,
        since: TxId,
        max_txns: u32,
        until: Micros,
        committed_only: bool,
        now: Micros,
    ) -> Handled {
        match self.retrieve(since, max_txns, committed_only) {
            Ok(Answer::JournaledEdits { count: 0, .. }) if now < until => Handled::Park { until },
            answered => Handled::Now(answered),
        }
    }

    /// The last transaction that a reader may have. Whether the copy here is the right one is a separate question
    /// ([`super::FormattedJournal::trusted_to`]).
    fn readable_to(&self, committed_only: bool) -> JournalResult<TxId> {
        let journal = self.formatted()?;
        let committed = journal.committed().unwrap_or_default();
        let unsynced = if committed_only {
            Mutant::ServeUncommitted
        } else {
            Mutant::ServeUnsynced
        };
        if self.mutated(unsynced) {
            return Ok(journal.highest);
        }
        let decided = match (committed_only, journal.tells_commits) {
            (true, _) => committed,
            (false, true) => committed.max(journal.finalized_to),
            (false, false) => journal.highest,
        };
        Ok(decided.min(journal.synced_to()))
    }

    fn retrieve(&mut self, since: TxId, max_txns: u32, committed_only: bool) -> JournalResult<Answer> {
        let journal = self.formatted()?;
        let Some(cache) = &journal.cache else {
            return Err(self.refused(
                "The journal edits cache is not enabled, which is a requirement to fetch journaled edits via RPC. \
                 Please enable it via dfs.ha.tail-edits.in-progress",
            ));
        };
        let committed = journal.committed();
        let highest = journal.highest;
        // If it is committed and not here, another JournalNode has it.
        let elsewhere = since > highest && committed.is_some_and(|committed| committed >= since);
        if elsewhere || (since > highest.next() && !committed_only) {
            self.counters.rpc_empty_responses += 1;
            return Err(JournalError::NewerTxId { highest, since });
        }
        let wanted = self.readable_to(committed_only)?;
        if since > wanted {
            self.counters.rpc_empty_responses += 1;
            return Ok(Answer::JournaledEdits {
                count: 0,
                edit_log: None,
                committed,
            });
        }
        let last = if self.mutated(Mutant::ServeStale) {
            wanted
        } else {
            wanted.min(journal.trusted_to())
        };
        if since > last {
            self.counters.rpc_cache_misses += 1;
            return Err(JournalError::CacheMiss { oldest: None, since });
        }
        match cache.retrieve(since, last, max_txns) {
            Some((count, log)) => {
                self.counters.txns_served_via_rpc += u64::from(count);
                self.counters.bytes_served_via_rpc += log.len() as u64;
                Ok(Answer::JournaledEdits {
                    count,
                    edit_log: (count > 0).then_some(log),
                    committed,
                })
            }
            None => {
                let oldest = cache.oldest();
                self.counters.rpc_cache_misses += 1;
                Err(JournalError::CacheMiss { oldest, since })
            }
        }
    }

    /// The file of the segment that begins at `start`, for `/getJournal`. `None` when there is none.
    pub fn segment_file(&mut self, start: TxId, in_progress_ok: bool) -> JournalResult<Option<ReadableSegment>> {
        let journal = self.formatted()?;
        let found = journal.segments.find(start).map_err(|source| JournalError::Io {
            what: "looking for a segment".to_owned(),
            source,
        })?;
        let Some(name) = found.filter(|name| in_progress_ok || name.end.is_some()) else {
            return Ok(None);
        };
        let path = journal.segments.path(&name);
        let open = journal.open.as_ref().is_some_and(|open| open.start() == start);
        let len = match name.end {
            Some(_) => None,
            None if open => Some(journal.synced_len),
            // A writer left this segment behind. A process that crashed may have left bytes in the machine's memory
            // only, so they are synced first.
            None => {
                if journal.settled.as_ref().is_none_or(|(known, _)| *known != start) {
                    self.check_not_failed()?;
                }
                match self.settle(start)? {
                    Some(scan) => Some(scan.data_len),
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(ReadableSegment { path, len }))
    }

    /// Takes over a finalized segment that the syncer fetched from a peer into `from` (synced). It is checked, and
    /// taken only when all of it is committed (`Journal.moveTmpSegmentToCurrent`). Returns whether it was taken.
    pub fn adopt_segment(&mut self, from: &Path, start: TxId, end: TxId) -> JournalResult<bool> {
        self.check_not_failed()?;
        let journal = self.formatted()?;
        let is_open = journal.open.as_ref().is_some_and(|open| open.start() == start);
        if is_open || journal.committed().is_none_or(|committed| committed < end) {
            return Ok(false);
        }
        let replaced = self.find(start)?;
        if replaced.as_ref().is_some_and(|name| name.end.is_some()) {
            return Ok(false);
        }
        let journal = self.formatted_mut()?;
        journal.settled = None;
        let settled = journal.segments.settle_file(from, start, journal.page_cache);
        let scan = self.disk_result("checking a segment of a peer", settled)?;
        let whole = scan.last == Some(end) && scan.torn.is_none();
        if !whole && !self.mutated(Mutant::AdoptUnchecked) {
            return Err(self.refused(format!("the segment {start}-{end} of a peer ends at {:?}", scan.last)));
        }
        if replaced.is_some() {
            // An earlier writer may have left a longer segment in progress here.
            self.forget_durable(TxId(start.0.saturating_sub(1)))?;
        }
        let adopted = self.formatted()?.segments.adopt(from, start, end);
        self.disk_result("taking over a segment of a peer", adopted)?;
        self.remove_paxos_record(start)?;
        let journal = self.formatted_mut()?;
        journal.highest = journal.highest.max(end);
        if let Some(cache) = &mut journal.cache
            && journal.open.is_none()
        {
            // The cache may hold another copy of this segment.
            cache.clear();
        }
        self.counters.num_edit_logs_synced += 1;
        self.version += 1;
        Ok(true)
    }

    /// The finalized segments here, for the syncer.
    pub fn finalized_segments(&mut self) -> JournalResult<Vec<SegmentName>> {
        let mut names = self.list()?;
        names.retain(|name| name.end.is_some());
        Ok(names)
    }
}
