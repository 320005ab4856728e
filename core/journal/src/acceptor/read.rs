//! What readers and watchers ask: manifests, recent edits, the lease, files of segments.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hathi_formats::ids::{Epoch, TxId};
use hathi_storage::Disk;

use super::{Acceptor, Handled, LEASE_EPOCH, Result};
use crate::errors::JournalError;
use crate::messages::{Answer, LeaseState, Manifest, ManifestSegment, Micros};
use crate::mutant::Mutant;
use crate::segments::SegmentName;

impl<D: Disk> Acceptor<D> {
    /// `Journal.getEditLogManifest`. Of segments in progress only the last one counts: an older one was left behind by
    /// a writer and is finalized elsewhere. And that one only when its content is the present writer's: a reader takes
    /// of it what is committed, which may be other content than an earlier writer left here.
    pub(super) fn get_edit_log_manifest(&mut self, since: TxId, in_progress_ok: bool) -> Result<Answer> {
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
        let mut segments = Vec::new();
        for name in &names {
            let in_progress = name.end.is_none();
            if in_progress && (!in_progress_ok || !trusted || Some(name.start) != newest) {
                continue;
            }
            let end = name.end.unwrap_or(journal.highest);
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

    /// `Journal.getJournaledEdits`, and ours that waits and knows what is committed.
    pub(super) fn get_journaled_edits(
        &mut self,
        since: TxId,
        max_txns: u32,
        wait_ms: u32,
        committed_only: bool,
        now: Micros,
    ) -> Handled {
        match self.retrieve(since, max_txns, committed_only) {
            Ok(Answer::JournaledEdits { count: 0, .. }) if wait_ms > 0 => Handled::Park {
                until: now + Micros::from(wait_ms) * 1000,
            },
            answered => Handled::Now(answered),
        }
    }

    fn retrieve(&mut self, since: TxId, max_txns: u32, committed_only: bool) -> Result<Answer> {
        let journal = self.formatted()?;
        let Some(cache) = &journal.cache else {
            return Err(self.refused(
                "The journal edits cache is not enabled, which is a requirement to fetch journaled edits via RPC. \
                 Please enable it via dfs.ha.tail-edits.in-progress",
            ));
        };
        let committed = journal.committed();
        let highest = journal.highest;
        // Somebody else has it, when it is committed and not here.
        let elsewhere = since > highest && committed.is_some_and(|committed| committed >= since);
        if elsewhere || (since > highest.next() && !committed_only) {
            self.counters.rpc_empty_responses += 1;
            return Err(JournalError::NewerTxId { highest, since });
        }
        let wanted = if committed_only && !self.mutated(Mutant::ServeUncommitted) {
            highest.min(committed.unwrap_or_default())
        } else {
            highest
        };
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

    /// The state of promise and lease.
    pub fn lease_state(&self, now: Micros) -> Result<LeaseState> {
        let journal = self.formatted()?;
        Ok(LeaseState {
            promised_epoch: journal.promised(),
            writer_epoch: journal.writer_epoch(),
            holder: journal.lease.holder().map(Arc::clone),
            remaining_ms: journal.lease.remaining_for(None, now).div_ceil(1000),
            change_counter: journal.lease.counter(),
            highest: journal.highest,
            committed: journal.committed(),
            membership: journal.membership.clone(),
        })
    }

    pub(super) fn watch_lease(&mut self, known_counter: Option<u64>, wait_ms: u32, now: Micros) -> Handled {
        match self.lease_state(now) {
            Ok(state) if wait_ms > 0 && known_counter == Some(state.change_counter) => Handled::Park {
                until: now + Micros::from(wait_ms) * 1000,
            },
            state => Handled::Now(state.map(Answer::LeaseState)),
        }
    }

    /// Gives back the lease of exactly this holder.
    pub(super) fn release_lease(&mut self, holder: &str, up_to: Option<Epoch>) -> Result<Answer> {
        let up_to = up_to.filter(|_| !self.mutated(Mutant::ReleaseAnyEpoch));
        let released = self.formatted_mut()?.lease.release(holder, up_to);
        if released {
            self.version += 1;
            // When this is lost in a crash the lease is only waited out once more.
            let _ = self
                .storage
                .disk()
                .remove_file(&self.storage.current().join(LEASE_EPOCH));
        }
        Ok(Answer::Released(released))
    }

    /// The file of the segment that begins at `start`, for `/getJournal`; `None` when there is none.
    pub fn segment_path(&self, start: TxId, in_progress_ok: bool) -> Result<Option<PathBuf>> {
        let journal = self.formatted()?;
        let found = journal.segments.find(start).map_err(|source| JournalError::Io {
            what: "looking for a segment".to_owned(),
            source,
        })?;
        let found = found.filter(|name| in_progress_ok || name.end.is_some());
        Ok(found.map(|name| journal.segments.path(&name)))
    }

    /// Takes over a finalized segment that the syncer fetched from a peer into `from` (synced): checked, and only when
    /// all of it is committed (`Journal.moveTmpSegmentToCurrent`). Whether it was taken.
    pub fn adopt_segment(&mut self, from: &Path, start: TxId, end: TxId) -> Result<bool> {
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
        let settled = journal.segments.settle_file(from, start, journal.memory);
        let scan = self.disk_result("checking a segment of a peer", settled)?;
        let whole = scan.last == Some(end) && scan.torn.is_none();
        if !whole && !self.mutated(Mutant::AdoptUnchecked) {
            return Err(self.refused(format!("the segment {start}-{end} of a peer ends at {:?}", scan.last)));
        }
        if replaced.is_some() {
            // What an earlier writer left here in progress may be longer.
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
            // It may hold another copy of this segment.
            cache.clear();
        }
        self.counters.num_edit_logs_synced += 1;
        self.version += 1;
        Ok(true)
    }

    /// The finalized segments here, for the syncer.
    pub fn finalized_segments(&mut self) -> Result<Vec<SegmentName>> {
        let mut names = self.list()?;
        names.retain(|name| name.end.is_some());
        Ok(names)
    }
}
