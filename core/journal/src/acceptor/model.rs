//! An acceptor as a value, for models that explore every course of events.

use hathi_storage::Disk;

use super::{Acceptor, JournalCounters};

/// Only for disks whose files and locks are values: two acceptors must not share a real one.
impl<D: Disk> Clone for Acceptor<D>
where
    D::Lock: Clone,
    D::File: Clone,
{
    fn clone(&self) -> Self {
        Acceptor {
            options: self.options.clone(),
            storage: self.storage.clone(),
            journal: self.journal.clone(),
            failed: self.failed.clone(),
            retry_at: self.retry_at,
            suspect: self.suspect,
            version: self.version,
            waiting_epochs: self.waiting_epochs.clone(),
            counters: self.counters,
        }
    }
}

impl<D: Disk> Acceptor<D> {
    /// Forgets what tells only the history, so that equal states compare equal.
    pub fn forget_history(&mut self) {
        self.version = 0;
        self.counters = JournalCounters::default();
        if let Some(journal) = &mut self.journal {
            journal.lease.forget_history();
        }
    }
}
