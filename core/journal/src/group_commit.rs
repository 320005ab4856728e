//! When the next batch of edits leaves.
//!
//! A batch costs the writer and each JournalNode about as much as twenty edits in it do, so short ones are to be avoided
//! where that costs nobody anything: while another batch is under way, and while callers who were just answered are
//! about to call again. A single caller never waits.

use crate::Micros;

/// A batch of so many bytes leaves even while another is under way: it takes the network and the disk long enough.
const WORTH_SENDING_BYTES: usize = 32 << 10;
/// The longest that an edit waits for others while nothing is under way.
const GATHER_US: Micros = 1000;

/// Decides by how many transactions are, and lately were, waiting for the quorum at one time.
#[derive(Clone, Debug, Default)]
pub struct GroupCommit {
    /// How many transactions were on their way to durability at one time: the most lately.
    concurrency: u64,
    /// Since when the open batch could have left.
    gathering_since: Option<Micros>,
}

impl GroupCommit {
    /// Whether the open batch leaves now. `under_way` tells whether the JournalNodes have one to answer.
    pub fn leaves(&mut self, transactions: u64, bytes: usize, under_way: bool, now: Micros) -> bool {
        let leaves = transactions > 0
            && (bytes >= WORTH_SENDING_BYTES
                || !under_way
                    && (transactions * 2 >= self.concurrency
                        || now >= *self.gathering_since.get_or_insert(now) + GATHER_US));
        if leaves {
            self.gathering_since = None;
        }
        leaves
    }

    /// The quorum has a batch of so many transactions, while `waiting` more were in the open batch.
    pub fn synced(&mut self, transactions: u64, waiting: u64) {
        // Slowly forgotten: a pause of some callers is not the end of the load.
        self.concurrency -= self.concurrency.div_ceil(16);
        self.concurrency = self.concurrency.max(transactions + waiting);
    }

    /// When [`GroupCommit::leaves`] is to be asked again, if nothing happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Micros> {
        self.gathering_since.map(|since| since + GATHER_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_caller_never_waits() {
        let mut group = GroupCommit::default();
        for now in 0..100 {
            assert!(group.leaves(1, 80, false, now));
            assert_eq!(group.wake_at(), None);
            group.synced(1, 0);
        }
    }

    #[test]
    fn a_small_batch_waits_for_the_one_under_way_and_a_large_one_does_not() {
        let mut group = GroupCommit::default();
        assert!(!group.leaves(5, 400, true, 0));
        assert_eq!(group.wake_at(), None, "the answer wakes");
        assert!(group.leaves(400, WORTH_SENDING_BYTES, true, 0));
        assert!(!group.leaves(0, 0, false, 0));
    }

    #[test]
    fn half_of_the_callers_are_waited_for_but_not_for_long() {
        let mut group = GroupCommit::default();
        group.synced(34, 30);
        assert!(!group.leaves(31, 2000, false, 10));
        assert!(group.leaves(32, 2100, false, 20));
        // The other half went away: those who are left wait once for each batch, and less and less of them.
        group.synced(32, 0);
        assert!(!group.leaves(3, 200, false, 30));
        assert_eq!(group.wake_at(), Some(30 + GATHER_US));
        assert!(!group.leaves(3, 200, false, 29 + GATHER_US));
        assert!(group.leaves(3, 200, false, 30 + GATHER_US));
        for _ in 0..40 {
            group.synced(3, 0);
        }
        assert!(group.leaves(3, 200, false, 40 + GATHER_US));
    }
}
