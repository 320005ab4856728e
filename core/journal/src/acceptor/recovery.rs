//! Promises and the recovery of the last segment: `newEpoch`, `prepareRecovery`, `acceptRecovery`.
//!
//! This is Paxos in Hadoop's words. An epoch is a ballot, `newEpoch` with `prepareRecovery` is the first phase,
//! `acceptRecovery` the second. The decided value is the end of the segment and its content.
//!
//! Stricter than Hadoop: Hadoop's JournalNode keeps its own copy if the copy merely has the right length. But a copy
//! that an earlier writer left here alone can have the same length as a later writer's copy on a majority. It would
//! then be finalized with the wrong content. Here a copy is kept only if the epoch that vouches for the chosen copy
//! wrote it or had it accepted here. Any other copy is fetched anew.

use std::path::{Path, PathBuf};

use hathi_formats::ids::{Epoch, NamespaceInfo, TxId};
use hathi_formats::proto::qjournal::{PersistedRecoveryPaxosData, SegmentStateProto};
use hathi_storage::Disk;
use prost::Message;

use super::{Acceptor, Download, Handled, JournalResult, MAX_EPOCH_JUMP, PAXOS};
use crate::errors::JournalError;
use crate::messages::{Answer, LeaseRequest, Micros, PrepareRecoveryAnswer, Request, RequestInfo, SegmentState};
use crate::mutant::Mutant;
use crate::segments::SegmentName;

/// The decision of an earlier recovery of a segment, as accepted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PaxosRecord {
    state: SegmentState,
    accepted_in: Epoch,
}

impl<D: Disk> Acceptor<D> {
    /// `JournalNodeRpcServer.getJournalState`.
    pub(super) fn get_journal_state(&mut self) -> JournalResult<Answer> {
        self.check_promise_known()?;
        let journal = self.formatted()?;
        Ok(Answer::JournalState {
            promised_epoch: journal.promised(),
            membership: journal.membership.clone(),
            http_port: self.options.http_port,
            from_url: self.options.from_url.clone(),
        })
    }

    fn check_may_vote(&self) -> JournalResult<()> {
        match &self.formatted()?.doubt {
            Some(doubt) if !self.mutated(Mutant::AmnesiacVotes) => Err(JournalError::Joining {
                why: doubt.why.clone(),
                journal: self.journal_id(),
            }),
            _ => Ok(()),
        }
    }

    fn check_namespace(&self, ns_info: &NamespaceInfo) -> JournalResult<()> {
        let journal = self.formatted()?;
        if ns_info.namespace_id != journal.info.namespace_id {
            return Err(self.refused(format!(
                "Incompatible namespaceID for journal: NameNode has nsId {} but storage has nsId {}",
                ns_info.namespace_id, journal.info.namespace_id
            )));
        }
        if ns_info.cluster_id != journal.info.cluster_id {
            return Err(self.refused(format!(
                "Incompatible clusterID for journal: NameNode has clusterId '{}' but storage has clusterId '{}'",
                ns_info.cluster_id, journal.info.cluster_id
            )));
        }
        Ok(())
    }

    /// `Journal.newEpoch`. With `established` it is the call of a writer in office, which does not ask for a vote.
    ///
    /// A writer in office may ask for the epoch that is promised already. Another candidate may have asked for the same
    /// epoch here and then lost the election: a majority has promised it to one only. So the promise is moved to the
    /// writer once the candidate's lease has ended. It is not moved if the other one has written here: then that one
    /// has won.
    pub(super) fn new_epoch(
        &mut self,
        ns_info: &NamespaceInfo,
        epoch: Epoch,
        lease: Option<&LeaseRequest>,
        established: bool,
        now: Micros,
    ) -> JournalResult<Answer> {
        self.check_not_failed()?;
        self.check_namespace(ns_info)?;
        self.check_promise_known()?;
        if !established {
            self.check_may_vote()?;
        }
        let journal = self.formatted()?;
        let promised = journal.promised();
        let known = established && epoch == promised && journal.lease.admits(lease);
        let again = known || (established && epoch == promised && journal.writer_epoch() < promised);
        let too_low = if self.mutated(Mutant::AcceptEqualEpoch) {
            epoch < promised
        } else {
            epoch <= promised && !again
        };
        if too_low {
            return Err(JournalError::EpochTooLow {
                epoch,
                promised,
                journal: self.journal_id(),
            });
        }
        if epoch.0 - promised.0 > MAX_EPOCH_JUMP && !self.mutated(Mutant::RaiseByAnyCall) {
            return Err(self.refused(format!(
                "Proposed epoch {epoch} is too far above the last promise {promised}"
            )));
        }
        if !known {
            self.check_lease(lease, now)?;
            let kept = self.keep_lease(epoch, lease, now)?;
            self.promise(epoch, kept)?;
            self.close_open_segment()?;
        }
        let mut last_segment = None;
        if !established {
            last_segment = self.scan_highest()?.map(|(name, _)| name.start);
            // The scan may have found damage.
            self.check_may_vote()?;
        }
        let lease_granted_ms = self.grant(epoch, lease, now)?;
        Ok(Answer::NewEpoch {
            last_segment,
            lease_granted_ms,
            membership: self.formatted()?.membership.clone(),
        })
    }

    /// `Journal.prepareRecovery`.
    pub(super) fn prepare_recovery(&mut self, info: &RequestInfo, segment: TxId, now: Micros) -> JournalResult<Answer> {
        self.check_may_vote()?;
        self.check_request(info, now)?;
        self.close_open_segment()?;
        let record = self.read_paxos_record(segment)?;
        if let Some(record) = &record {
            self.complete_half_done_accept(record)?;
        }
        let mut on_disk = self.segment_state(segment)?;
        self.check_may_vote()?;
        let mut accepted_in_epoch = None;
        if let Some(record) = record
            && on_disk.is_none_or(|state| state.in_progress)
        {
            if on_disk.map(|state| state.end) != Some(record.state.end) {
                return Err(self.assertion(format!(
                    "accepted {:?} for segment {segment}, but on disk is {on_disk:?}",
                    record.state
                )));
            }
            on_disk = Some(record.state);
            accepted_in_epoch = Some(record.accepted_in);
        }
        let journal = self.formatted()?;
        Ok(Answer::PrepareRecovery(PrepareRecoveryAnswer {
            segment: on_disk,
            accepted_in_epoch,
            last_writer_epoch: journal.writer_epoch(),
            last_committed: journal.committed(),
        }))
    }

    /// The segment as it is on disk (`Journal.getSegmentInfo`).
    fn segment_state(&mut self, start: TxId) -> JournalResult<Option<SegmentState>> {
        let Some(name) = self.find(start)? else {
            return Ok(None);
        };
        if let Some(end) = name.end
            && let Some(damage) = self.damage_of(&name, end)?
        {
            self.lose_segment(&name, &damage, true)?;
            return Ok(None);
        }
        Ok(self.last_of(&name)?.map(|end| SegmentState {
            start,
            end,
            in_progress: name.end.is_none(),
        }))
    }

    /// Whether the copy here was written by `epoch`, or accepted in it. Only then equal length means equal content.
    pub(super) fn vouched_for_by(&mut self, start: TxId, end: TxId, epoch: Epoch) -> JournalResult<bool> {
        if self.formatted()?.written_by == Some((start, epoch)) {
            return Ok(true);
        }
        let record = self.read_paxos_record(start)?;
        Ok(record.is_some_and(|record| record.accepted_in == epoch && record.state.end == end))
    }

    /// First half of `Journal.acceptRecovery`. If nothing must be fetched, all of it is done at once.
    pub(super) fn accept_recovery(&mut self, request: &Request, now: Micros) -> JournalResult<Handled> {
        let Request::AcceptRecovery {
            info,
            state,
            from_url,
            chosen_epoch,
        } = request
        else {
            return Err(self.illegal_argument("not an acceptRecovery"));
        };
        self.check_may_vote()?;
        self.check_request(info, now)?;
        self.close_open_segment()?;
        let fetch = self.must_fetch(info, state, *chosen_epoch)?;
        self.check_may_vote()?;
        if fetch {
            return Ok(Handled::Download(Download {
                url: from_url.clone(),
                to: self.temporary_path(state.start, info.epoch),
                request: request.clone(),
            }));
        }
        self.write_paxos_record(info.epoch, state)?;
        Ok(Handled::Now(Ok(Answer::Done)))
    }

    fn must_fetch(
        &mut self,
        info: &RequestInfo,
        wanted: &SegmentState,
        chosen_epoch: Option<Epoch>,
    ) -> JournalResult<bool> {
        let (start, end) = (wanted.start, wanted.end);
        if end.0 == 0 || end < start {
            return Err(self.illegal_argument(format!("bad recovery state for segment {start}: {wanted:?}")));
        }
        if let Some(old) = self.read_paxos_record(start)?
            && old.accepted_in > info.epoch
        {
            return Err(self.assertion(format!(
                "Bad paxos transition, out-of-order epochs: {} after {}",
                info.epoch, old.accepted_in
            )));
        }
        let Some(local) = self.segment_state(start)? else {
            return Ok(true);
        };
        if !local.in_progress {
            if local.end != end {
                return Err(self.assertion(format!(
                    "Should never be asked to synchronize a different log on top of an already-finalized segment {start}-{}",
                    local.end
                )));
            }
            return Ok(false);
        }
        if local.end == end {
            let same = match chosen_epoch {
                Some(epoch) => self.vouched_for_by(start, end, epoch)?,
                None => false,
            };
            return Ok(!same && !self.mutated(Mutant::TrustEqualLength));
        }
        let contains = |end: TxId, txid: TxId| (start..=end).contains(&txid);
        if let Some(committed) = self.formatted()?.committed()
            && contains(local.end, committed)
            && !contains(end, committed)
        {
            return Err(self.assertion(format!(
                "Cannot replace segment {start}-{} with new segment {start}-{end}: would discard already-committed txn {committed}",
                local.end
            )));
        }
        Ok(true)
    }

    /// Second half of `Journal.acceptRecovery`, after the segment was fetched into [`Download::to`] or could not be.
    /// Everything that may have changed meanwhile is checked again.
    pub fn downloaded(
        &mut self,
        download: Download,
        fetched: Result<(), String>,
        now: Micros,
    ) -> JournalResult<Answer> {
        self.tick(now);
        let Request::AcceptRecovery {
            info,
            state,
            chosen_epoch,
            ..
        } = &download.request
        else {
            return Err(self.illegal_argument("not an acceptRecovery"));
        };
        if let Err(what) = fetched {
            return Err(self.refused(format!(
                "fetching segment {} from {}: {what}",
                state.start, download.url
            )));
        }
        self.check_not_failed()?;
        let promised = self.formatted()?.promised();
        if info.epoch != promised {
            return Err(JournalError::Fenced {
                epoch: info.epoch,
                promised,
                journal: self.journal_id(),
            });
        }
        self.close_open_segment()?;
        if !self.must_fetch(info, state, *chosen_epoch)? {
            self.write_paxos_record(info.epoch, state)?;
            return Ok(Answer::Done);
        }
        let journal = self.formatted()?;
        let settled = journal
            .segments
            .settle_file(&download.to, state.start, journal.page_cache);
        let scan = self.disk_result("checking a fetched segment", settled)?;
        if scan.last != Some(state.end) || scan.torn.is_some() {
            return Err(self.refused(format!(
                "what was fetched from {} ends at {:?} instead of {}: {:?}",
                download.url, scan.last, state.end, scan.torn
            )));
        }
        self.check_may_vote()?;
        let synced = self.formatted()?.segments.sync_dir();
        self.disk_result("syncing the name of a fetched segment", synced)?;
        self.forget_durable(TxId(state.start.0.saturating_sub(1)))?;
        // This is the commit point. A crash before it changes nothing, and the next prepareRecovery completes what a
        // crash after it leaves.
        self.write_paxos_record(info.epoch, state)?;
        self.move_into_place(&download.to, state.start)?;
        let journal = self.formatted_mut()?;
        journal.settled = Some((state.start, scan));
        journal.written_by = None;
        if let Some(cache) = &mut journal.cache {
            // The cache may hold edits that this recovery decided against.
            cache.clear();
        }
        let highest = self.scan_highest()?.map_or(TxId(0), |(_, last)| last);
        self.formatted_mut()?.highest = highest;
        self.version += 1;
        self.debug_check();
        Ok(Answer::Done)
    }

    fn temporary_path(&self, start: TxId, epoch: Epoch) -> PathBuf {
        let name = SegmentName::in_progress(start).file_name();
        self.storage.current().join(format!("{name}.epoch={epoch}"))
    }

    fn move_into_place(&mut self, temporary: &Path, start: TxId) -> JournalResult<()> {
        let journal = self.formatted_mut()?;
        journal.settled = None;
        let segments = journal.segments.clone();
        let place = segments.path(&SegmentName::in_progress(start));
        let disk = self.storage.disk().clone();
        let moved = disk.rename(temporary, &place).and_then(|()| segments.sync_dir());
        self.disk_result("moving a fetched segment into place", moved)
    }

    /// Completes an accept when a crash came between the record and the rename
    /// (`Journal.completeHalfDoneAcceptRecovery`).
    fn complete_half_done_accept(&mut self, record: &PaxosRecord) -> JournalResult<()> {
        let temporary = self.temporary_path(record.state.start, record.accepted_in);
        let exists = self.storage.disk().exists(&temporary);
        if self.disk_result("looking for a half-done accept", exists)? {
            self.move_into_place(&temporary, record.state.start)?;
        }
        Ok(())
    }

    fn paxos_path(&self, start: TxId) -> PathBuf {
        self.storage.current().join(PAXOS).join(start.to_string())
    }

    fn read_paxos_record(&mut self, start: TxId) -> JournalResult<Option<PaxosRecord>> {
        let path = self.paxos_path(start);
        let read = self.storage.disk().read_small(&path);
        let Some(data) = self.disk_result("reading a recovery record", read)? else {
            return Ok(None);
        };
        // The message's text form follows it. Hadoop writes it for people, and here it also serves as a checksum.
        let mut rest = data.as_slice();
        let decoded = PersistedRecoveryPaxosData::decode_length_delimited(&mut rest);
        let proto = decoded.map_err(|e| self.refused(format!("{} is damaged: {e}", path.display())))?;
        if !text_agrees(&proto, &String::from_utf8_lossy(rest)) {
            return Err(self.refused(format!("{} is damaged: it says two things", path.display())));
        }
        let state = SegmentState {
            start: TxId(proto.segment_state.start_tx_id),
            end: TxId(proto.segment_state.end_tx_id),
            in_progress: proto.segment_state.is_in_progress,
        };
        if state.start != start {
            return Err(self.illegal_state(format!("Bad persisted data for segment {start}: {state:?}")));
        }
        Ok(Some(PaxosRecord {
            state,
            accepted_in: Epoch(proto.accepted_in_epoch),
        }))
    }

    fn write_paxos_record(&mut self, epoch: Epoch, state: &SegmentState) -> JournalResult<()> {
        if self.mutated(Mutant::SkipAcceptRecord) {
            return Ok(());
        }
        let proto = PersistedRecoveryPaxosData {
            segment_state: SegmentStateProto {
                start_tx_id: state.start.0,
                end_tx_id: state.end.0,
                is_in_progress: state.in_progress,
            },
            accepted_in_epoch: epoch.0,
        };
        let mut data = proto.encode_length_delimited_to_vec();
        let text = format!(
            "\nsegmentState {{\n  startTxId: {}\n  endTxId: {}\n  isInProgress: {}\n}}\nacceptedInEpoch: {epoch}\n\n",
            state.start, state.end, state.in_progress
        );
        data.extend_from_slice(text.as_bytes());
        let disk = self.storage.disk().clone();
        let dir = self.storage.current().join(PAXOS);
        let path = self.paxos_path(state.start);
        let written = disk
            .create_dir_all(&dir)
            .and_then(|()| disk.sync_dir(&self.storage.current()))
            .and_then(|()| disk.write_small(&path, &data));
        self.disk_result("persisting a recovery record", written)
    }

    /// `Journal.purgePaxosDecision`. It need not be durable: a record that comes back names a segment that is finalized
    /// by now, or is overruled by the writer epoch.
    pub(super) fn remove_paxos_record(&mut self, start: TxId) -> JournalResult<()> {
        let path = self.paxos_path(start);
        let disk = self.storage.disk().clone();
        let exists = disk.exists(&path);
        if self.disk_result("looking for a recovery record", exists)? {
            let removed = disk
                .remove_file(&path)
                .and_then(|()| disk.sync_dir(&self.storage.current().join(PAXOS)));
            self.disk_result("removing a recovery record", removed)?;
        }
        Ok(())
    }
}

/// Whether a recovery record's text form agrees with the message before it. Fields that the text lacks count as equal.
fn text_agrees(proto: &PersistedRecoveryPaxosData, text: &str) -> bool {
    let says = |field: &str, expected: &str| {
        let said = text
            .split_once(field)
            .and_then(|(_, rest)| rest.split_whitespace().next());
        said.is_none_or(|said| said == expected)
    };
    says("startTxId:", &proto.segment_state.start_tx_id.to_string())
        && says("endTxId:", &proto.segment_state.end_tx_id.to_string())
        && says("isInProgress:", &proto.segment_state.is_in_progress.to_string())
        && says("acceptedInEpoch:", &proto.accepted_in_epoch.to_string())
}
