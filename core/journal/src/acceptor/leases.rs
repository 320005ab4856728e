//! The read lease at the acceptor: who has to wait, what is on disk before one is granted, who watches it.

use std::sync::Arc;

use hathi_formats::ids::Epoch;
use hathi_storage::Disk;

use super::{Acceptor, Handled, LEASE_EPOCH, Result};
use crate::errors::JournalError;
use crate::lease::{LeaseMarker, LeaseProof};
use crate::messages::{Answer, LeaseRequest, LeaseState, Micros};
use crate::mutant::Mutant;

/// How many calls of `newEpoch` wait for the end of a lease at most. A nameservice has few NameNodes, each of them asks
/// once when it is elected, and all that wait are tried again with every change of the journal.
pub const MAX_WAITING_EPOCHS: usize = 8;

impl<D: Disk> Acceptor<D> {
    /// Refuses whoever has to wait for the end of somebody else's lease.
    pub(super) fn check_lease(&self, request: Option<&LeaseRequest>, now: Micros) -> Result<()> {
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

    /// What becomes of a `newEpoch` of Hadoop's: it waits for the end of the lease that keeps it out. A refusal would end
    /// Hadoop's NameNode, as its `QuorumJournalManager` asks once.
    ///
    /// A holder that has died renews no lease, but what it sent before may be read after this call: so the call waits beyond
    /// the end that is known now, for as long as the longest lease. It is handled once the lease has ended, however early.
    /// While the holder lives and renews it the call is refused at last, as all others are at once.
    pub(super) fn wait_for_lease(&mut self, answer: Result<Answer>, parked: Option<Micros>, now: Micros) -> Handled {
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

    /// The lease that the asker holds is to run on in the epoch that it is about to be promised: writes so, or answers
    /// `None` when it holds none. Written before the promise: a crash between both must not end the lease.
    pub(super) fn keep_lease(
        &mut self,
        epoch: Epoch,
        request: Option<&LeaseRequest>,
        now: Micros,
    ) -> Result<Option<LeaseMarker>> {
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

    /// The first who proves something in an epoch and asks for a lease owns it. Whoever spoke in it before may have been
    /// anybody, and may have left no room for the owner's serials: they begin anew.
    pub(super) fn claim_epoch(&mut self, request: Option<&LeaseRequest>) -> Result<()> {
        let journal = self.formatted_mut()?;
        if request.is_some_and(|request| journal.lease.claim(request)) {
            journal.serial = None;
        }
        Ok(())
    }

    /// Grants the lease a valid request asks for; `None` when it asks for none. Who proves nothing is granted nothing, and
    /// leaves no trace: that would be taken for a writer's of ours.
    pub(super) fn grant(
        &mut self,
        epoch: Epoch,
        info_lease: Option<&LeaseRequest>,
        now: Micros,
    ) -> Result<Option<u32>> {
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
    /// A writer that asks for no leases counts as at work as long as the segment it has opened here is not final, however
    /// long that is: an idle one of Hadoop keeps it open.
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
            written_without_lease: self.is_written_without_lease(now)?,
        })
    }

    fn is_written_without_lease(&self, now: Micros) -> Result<bool> {
        let journal = self.formatted()?;
        let in_office = journal.writer_epoch() == journal.promised() && journal.promised() > Epoch(0);
        if !in_office || journal.lease.was_asked() || self.failed.is_some() {
            return Ok(false);
        }
        if journal.open.is_some() || now < journal.rolls_until {
            return Ok(true);
        }
        // After a restart, or when its connection was lost.
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

    /// Gives back the lease of exactly this holder, to whoever proves to be it.
    pub(super) fn release_lease(&mut self, holder: &str, proof: LeaseProof, up_to: Option<Epoch>) -> Result<Answer> {
        let up_to = up_to.filter(|_| !self.mutated(Mutant::ReleaseAnyEpoch));
        let proof = (!self.mutated(Mutant::ReleaseByAnybody)).then_some(proof);
        let released = self.formatted_mut()?.lease.release(holder, proof, up_to);
        if released {
            // The marker stays: it says that this epoch's writer asks for leases. After a restart it is waited out once more.
            self.version += 1;
        }
        Ok(Answer::Released(released))
    }
}
