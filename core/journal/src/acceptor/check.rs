//! What must hold of a journal between calls.

use hathi_storage::Disk;

use super::{Acceptor, MAX_WAITING_EPOCHS};
use crate::membership::Membership;
use crate::mutant::Mutation;

impl<D: Disk> Acceptor<D> {
    /// Runs [`Acceptor::check`] in debug builds. It does not when a mutant breaks a rule on purpose: then the
    /// simulator's checkers have to find the consequence.
    pub(super) fn debug_check(&self) {
        if cfg!(debug_assertions) && self.options.mutation == Mutation::default() {
            self.check();
        }
    }

    /// Asserts what must hold between calls. The simulator calls this after each event, and debug builds after each
    /// request.
    pub fn check(&self) {
        assert!(
            self.retry_at.is_none() || self.failed.is_some(),
            "opened again and not failed"
        );
        assert!(
            self.waiting_epochs.len() <= MAX_WAITING_EPOCHS,
            "too many wait for the end of a lease"
        );
        let Some(journal) = &self.journal else {
            return;
        };
        // A promise that is known to be lost says nothing. It is asked of the peers.
        if !journal.doubt.as_ref().is_some_and(|doubt| doubt.promise) {
            assert!(
                journal.writer_epoch() <= journal.promised(),
                "a writer that was promised nothing"
            );
            journal.lease.check(journal.promised());
            let promised = |membership: &Membership| membership.epoch <= journal.promised();
            assert!(journal.membership.as_ref().is_none_or(promised));
        }
        assert!(journal.membership.as_ref().is_none_or(Membership::is_valid));
        if let Some(doubt) = &journal.doubt {
            assert!(
                !doubt.promise || journal.open.is_none(),
                "writes and does not know its promise"
            );
        } else {
            let (durable, highest) = (journal.durable_to, journal.highest);
            assert!(
                durable <= highest,
                "durable up to {durable}, and only {highest} is here"
            );
        }
        if let Some((start, epoch)) = journal.written_by {
            assert!(epoch <= journal.writer_epoch(), "{start} is of a writer to come");
        }
        if let Some((start, scan)) = &journal.settled {
            assert!(scan.last.is_none_or(|last| last >= *start));
            assert!(
                journal.open.as_ref().is_none_or(|open| open.start() != *start),
                "{start} is open and settled"
            );
        }
        if let Some(open) = &journal.open {
            assert!(open.start() <= open.next());
            assert!(journal.synced_next <= open.next());
            assert!(journal.synced_next >= open.start());
            assert!(journal.synced_len <= open.position());
            assert!(journal.highest.0 >= open.next().0.saturating_sub(1));
            assert_eq!(journal.written_by.map(|(start, _)| start), Some(open.start()));
            assert!(!journal.unclosed, "two segments are open");
        }
    }
}
