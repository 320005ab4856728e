//! Candidates that get the promise of one JournalNode and then lose the election, because they never ask a majority.
//!
//! This is rare by chance alone: the winner must have missed the JournalNode in its election, or lost contact with it
//! for the length of a lease.

use hathi_journal::messages::LeaseRequest;

use super::*;

impl World {
    /// It is the same JournalNode in all of a run, because a majority that promises is no duel but another election.
    pub(super) fn duel(&mut self) {
        let jn = self.plan.seed as usize % self.knobs.journalnodes;
        let candidate = self.nns.iter().find(|nn| nn.alive && nn.writer.is_none());
        let active = self.nns.iter().find(|nn| nn.alive && nn.epoch > 0);
        let (Some(candidate), Some(active)) = (candidate.map(|nn| nn.index), active) else {
            return;
        };
        let java = self.jns[jn].java;
        let local = self.jns[jn].clock.at(self.now);
        let Some(acceptor) = &mut self.jns[jn].acceptor else {
            return;
        };
        let promised = acceptor.promised_epoch().unwrap_or_default().0;
        let epoch = Epoch(promised.max(active.epoch) + 1);
        let nn = &self.nns[candidate];
        let (holder, proof) = (nn.holder(), nn.proof());
        let lease = LeaseRequest {
            ms: self.knobs.lease_ms,
            holder: holder.as_str().into(),
            proof,
        };
        let asked = acceptor.handle(
            &Request::NewEpoch {
                ns_info: namespace_info(),
                epoch,
                lease: Some(lease).filter(|_| !java),
                established: false,
            },
            local,
        );
        // The candidate has lost, and gives its lease back.
        let release = Request::ReleaseLease {
            holder: holder.as_str().into(),
            proof,
            up_to: Some(epoch),
        };
        let _ = acceptor.handle(&release, local);
        let nn = &mut self.nns[candidate];
        nn.asked_before = nn.asked_before.max(epoch);
        if matches!(asked, Handled::Now(Ok(_))) {
            self.mark("duel");
        }
    }
}
