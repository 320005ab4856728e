//! What the writer of edits in directories does next: when it syncs, when it looks whether the claim is still its own, and
//! what follows when a step fails (the part of Hadoop's `FSEditLog` and `FileJournalManager`).
//!
//! Invariants:
//! - A transaction is told to be synced only by a sync that began after it was appended.
//! - A full disk costs nothing but time: the step that it refused is done first of all when there is room again.
//! - After any other failure nothing is synced any more.

use crate::directory_claim::DirectoryClaim;
use hathi_formats::ids::TxId;

/// Before a full disk is tried again, µs.
const FULL_RETRY_US: u64 = 250_000;

/// What follows from a step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// The same step, after a pause.
    Again {
        /// Whether there was room until now: the operator is told once.
        is_new: bool,
    },
    /// This NameNode is no writer any more.
    Lost,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct DirectoryWriter {
    claim: DirectoryClaim,
    /// The last transaction appended, if it is not synced.
    unsynced: Option<TxId>,
    full: bool,
}

impl DirectoryWriter {
    /// Nothing is written yet. `lease_ms`: how long a read lease lasts; 0 is no lease.
    #[must_use]
    pub fn new(lease_ms: u32) -> DirectoryWriter {
        DirectoryWriter {
            claim: DirectoryClaim::new(lease_ms),
            unsynced: None,
            full: false,
        }
    }

    /// How long to wait for orders, µs. `None`: for ever, because this NameNode is no writer.
    #[must_use]
    pub fn pause_us(&self, is_writer: bool) -> Option<u64> {
        let renewal_us = self.claim.renewal_us();
        let pause_us = if self.full {
            FULL_RETRY_US.min(renewal_us)
        } else {
            renewal_us
        };
        is_writer.then_some(pause_us)
    }

    /// A step is done.
    pub fn done(&mut self) {
        self.full = false;
    }

    /// A step has failed. `is_full`: because a disk that must have it is full.
    pub fn failed(&mut self, is_full: bool) -> AfterFailure {
        if is_full {
            let is_new = !std::mem::replace(&mut self.full, true);
            AfterFailure::Again { is_new }
        } else {
            self.ended();
            AfterFailure::Lost
        }
    }

    /// Edits up to this transaction are in the files.
    pub fn appended(&mut self, last: TxId) {
        debug_assert!(
            self.unsynced.is_none_or(|before| before < last),
            "edits follow each other"
        );
        self.unsynced = Some(last);
    }

    /// Whether it is time for a sync: something was appended, or the claim must be looked at.
    #[must_use]
    pub fn must_sync(&self, now_us: u64) -> bool {
        self.unsynced.is_some() || self.claim.is_due(now_us)
    }

    /// A sync that began at this time has ended well, and the claim was ours. Returns the end of the read lease, µs, and
    /// the last transaction that is durable by it.
    pub fn synced(&mut self, began_us: u64) -> (u64, Option<TxId>) {
        (self.claim.seen(began_us), self.unsynced.take())
    }

    /// It writes no more.
    pub fn ended(&mut self) {
        self.unsynced = None;
        self.full = false;
    }
}

/// The last transaction of the journal in a NameNode's own directories. An image of the same directories needs no edits,
/// and may be all that is left of the last ones: of a NameNode that was one of several, whose edits the JournalNodes had.
#[must_use]
pub fn last_of_own(last: Option<TxId>, image: TxId) -> Option<TxId> {
    last.map(|last| last.max(image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_once_and_tried_again_until_there_is_room() {
        let mut writer = DirectoryWriter::new(8000);
        assert_eq!(writer.pause_us(true), Some(2_000_000));
        assert_eq!(writer.failed(true), AfterFailure::Again { is_new: true });
        assert_eq!(writer.pause_us(true), Some(FULL_RETRY_US));
        assert_eq!(writer.failed(true), AfterFailure::Again { is_new: false });
        writer.done();
        assert_eq!(writer.pause_us(true), Some(2_000_000));
        assert_eq!(
            writer.failed(true),
            AfterFailure::Again { is_new: true },
            "it is full anew"
        );
        let mut short = DirectoryWriter::new(400);
        short.failed(true);
        assert_eq!(short.pause_us(true), Some(100_000), "the lease is renewed in time");
    }

    #[test]
    fn who_writes_nothing_waits_for_orders() {
        assert_eq!(DirectoryWriter::new(1000).pause_us(false), None);
    }

    #[test]
    fn what_was_appended_is_synced_at_once_and_told_once() {
        let mut writer = DirectoryWriter::new(1000);
        assert_eq!(writer.synced(1_000_000).1, None);
        assert!(!writer.must_sync(1_249_999));
        assert!(writer.must_sync(1_250_000), "to look at the claim");
        writer.appended(TxId(7));
        writer.appended(TxId(9));
        assert!(writer.must_sync(1_000_001));
        let (until_us, last) = writer.synced(1_000_001);
        assert_eq!((last, until_us), (Some(TxId(9)), 1_000_001 + 990_000));
        assert!(!writer.must_sync(1_000_002));
    }

    #[test]
    fn what_a_lost_writer_has_appended_is_never_told_to_be_durable() {
        let mut writer = DirectoryWriter::new(0);
        writer.synced(0);
        writer.appended(TxId(7));
        writer.failed(true);
        assert_eq!(writer.failed(false), AfterFailure::Lost);
        assert!(!writer.must_sync(0));
        assert_eq!(writer.synced(1).1, None);
        assert_eq!(
            writer.pause_us(true),
            Some(1_000_000),
            "the next writer begins with room"
        );
    }

    #[test]
    fn an_image_of_the_own_directories_counts_as_edits_do() {
        assert_eq!(last_of_own(Some(TxId(5)), TxId(9)), Some(TxId(9)));
        assert_eq!(last_of_own(Some(TxId(9)), TxId(5)), Some(TxId(9)));
        assert_eq!(last_of_own(None, TxId(5)), None, "nothing was ever written");
    }
}
