//! The acceptor's side of the read lease: which writers have to wait, what is on disk before a lease is granted, who
//! watches it.

use std::sync::Arc;

use hathi_formats::ids::Epoch;
use hathi_storage::Disk;

use super::{Acceptor, Handled, JournalResult, LEASE_EPOCH};
use crate::errors::JournalError;
use crate::lease::{LeaseMarker, LeaseProof};
use crate::messages::{Answer, LeaseRequest, LeaseState, Micros};
use crate::mutant::Mutant;

/// Most calls of `newEpoch` that wait for the end of a lease. A nameservice has few NameNodes, and each asks once when
/// it is elected. All waiting calls are tried again with every change of the journal, so their number is a cost.
pub const MAX_WAITING_EPOCHS: usize = 8;

impl<D: Disk> Acceptor<D> {
    /// Refuses a writer that has to wait for the end of another one's lease.
    pub(super) fn check_lease(&self, request: Option<&LeaseRequest>, now: Micros) -> JournalResult<()> {
        let journal = self.formatted()?;
        let remaining = journal.lease.remaining_for(request, now);
        if remaining == 0 || self.mutated(Mutant::IgnoreLease) {
            return Ok(());
        }
        Err(JournalError::LeaseHeld {
            holder: journal.lease.holder().map_or("unknown", |holder| holder).to_owned(),
            promised: journal.promised(),
            remaining_ms: remaining.div_ceil(1000),
            journal: self.journal_id(),
        })
    }

    /// Parks a `newEpoch` of Hadoop's until the lease that keeps it out has ended. A refusal would end Hadoop's
    /// NameNode, because its `QuorumJournalManager` asks only once.
    ///
    /// A holder that has died renews no lease, but messages that it sent before may be read after this call. So the
    /// call waits for as long as the longest lease, which is beyond the end that is known now. It is handled as soon as
    /// the lease has ended. If the holder lives and renews its lease, the call is refused in the end. Callers of ours
    /// are refused at once.
    pub(super) fn wait_for_lease(
        &mut self,
        answer: JournalResult<Answer>,
        parked: Option<Micros>,
        now: Micros,
    ) -> Handled {
        let place = self.waiting_epochs.iter().position(|until| Some(*until) == parked);
        if let Some(place) = place {
            self.waiting_epochs.swap_remove(place);
        }
        let Err(JournalError::LeaseHeld { remaining_ms, .. }) = &answer else {
            return Handled::Now(answer);
        };
        let longest_ms = Micros::from(self.options.max_lease_ms).max(*remaining_ms);
        let until = parked.unwrap_or(now + longest_ms * 1000);
        self.waiting_epochs.retain(|until| *until > now);
        if until <= now || self.waiting_epochs.len() >= MAX_WAITING_EPOCHS {
            return Handled::Now(answer);
        }
        self.waiting_epochs.push(until);
        Handled::Park { until }
    }

    /// Writes to disk that the asker's own lease runs on in the epoch that it is about to be promised. Returns `None`
    /// when the asker holds no lease. This comes before the promise: a crash between the two must not end the lease.
    pub(super) fn keep_lease(
        &mut self,
        epoch: Epoch,
        request: Option<&LeaseRequest>,
        now: Micros,
    ) -> JournalResult<Option<LeaseMarker>> {
        let kept = self.formatted()?.lease.marker_of_holder(epoch, request, now);
        let Some(marker) = kept else {
            return Ok(None);
        };
        let path = self.storage.current().join(LEASE_EPOCH);
        let disk = self.storage.disk().clone();
        let written = disk.write_small(&path, marker.to_text().as_bytes());
        self.disk_result("persisting the lease's epoch", written)?;
        Ok(Some(marker))
    }

    /// Makes the first caller that proves its identity in an epoch and asks for a lease the owner of the epoch. Earlier
    /// callers in this epoch may have been anybody, and may have left no room for the owner's serials, so serials begin
    /// anew.
    pub(super) fn claim_epoch(&mut self, request: Option<&LeaseRequest>) -> JournalResult<()> {
        let journal = self.formatted_mut()?;
        if request.is_some_and(|request| journal.lease.claim(request)) {
            journal.serial = None;
        }
        Ok(())
    }

    /// Grants the lease that a valid request asks for. Returns `None` when it asks for none. A request without a proof
    /// is granted nothing and leaves no trace: a trace would be taken for one of a writer of ours.
    pub(super) fn grant(
        &mut self,
        epoch: Epoch,
        info_lease: Option<&LeaseRequest>,
        now: Micros,
    ) -> JournalResult<Option<u32>> {
        let Some(request) = info_lease else {
            return Ok(None);
        };
        if !request.proof.is_some() {
            return Ok(Some(0));
        }
        self.claim_epoch(info_lease)?;
        let path = self.storage.current().join(LEASE_EPOCH);
        let disk = self.storage.disk().clone();
        let journal = self.formatted_mut()?;
        debug_assert_eq!(journal.promised(), epoch);
        journal.tells_commits = true;
        if let Some(marker) = journal.lease.marker_needed(epoch, request) {
            let written = disk.write_small(&path, marker.to_text().as_bytes());
            self.disk_result("persisting the lease's epoch", written)?;
            self.formatted_mut()?.lease.marked(marker);
        }
        let lease = &mut self.formatted_mut()?.lease;
        let counter = lease.counter();
        let granted = lease.grant(epoch, request, now);
        if lease.counter() != counter {
            self.version += 1;
        }
        Ok(Some(granted))
    }

    /// The state of promise and lease.
    ///
    /// A writer that asks for no leases counts as at work until the segment that it has opened here is finalized,
    /// however long that takes: an idle writer of Hadoop keeps its segment open.
    pub fn lease_state(&self, now: Micros) -> JournalResult<LeaseState> {
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
            written_without_lease: self.is_written_without_lease(now)?,
        })
    }

    fn is_written_without_lease(&self, now: Micros) -> JournalResult<bool> {
        let journal = self.formatted()?;
        let in_office = journal.writer_epoch() == journal.promised() && journal.promised() > Epoch(0);
        if !in_office || journal.lease.was_asked() || self.failed.is_some() {
            return Ok(false);
        }
        if journal.open.is_some() || now < journal.rolls_until {
            return Ok(true);
        }
        // No segment is open after a restart, or when the writer's connection was lost. Then the newest file tells.
        let newest = journal
            .segments
            .list()
            .ok()
            .and_then(|names| names.into_iter().next_back());
        Ok(newest.is_some_and(|name| name.end.is_none()))
    }

    pub(super) fn watch_lease(&mut self, known_counter: Option<u64>, until: Micros, now: Micros) -> Handled {
        match self.lease_state(now) {
            Ok(state) if now < until && known_counter == Some(state.change_counter) => Handled::Park { until },
            state => Handled::Now(state.map(Answer::LeaseState)),
        }
    }

    /// Gives back the lease of exactly this holder. The caller has to prove that it is the holder.
    pub(super) fn release_lease(
        &mut self,
        holder: &str,
        proof: LeaseProof,
        up_to: Option<Epoch>,
    ) -> JournalResult<Answer> {
        let up_to = up_to.filter(|_| !self.mutated(Mutant::ReleaseAnyEpoch));
        let proof = (!self.mutated(Mutant::ReleaseByAnybody)).then_some(proof);
        let released = self.formatted_mut()?.lease.release(holder, proof, up_to);
        if released {
            // The marker stays: it says that this epoch's writer asks for leases. After a restart the lease is waited
            // out once more.
            self.version += 1;
        }
        Ok(Answer::Released(released))
    }
}
