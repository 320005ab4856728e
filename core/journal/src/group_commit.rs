//! When the next batch of edits leaves.
//!
//! A batch costs the writer and each JournalNode about as much as a hundred edits. So short batches are avoided where
//! waiting costs little: while another batch is under way, and while callers that were just answered are about to call
//! again. A single caller never waits. (PostgreSQL's `commit_delay` and `commit_siblings` are the same idea with fixed
//! numbers.)

use crate::Micros;

/// A batch of this size leaves even while another is under way, because network and disk take long for it anyway.
const WORTH_SENDING_BYTES: usize = 32 << 10;
/// While no batch is under way, an edit waits for others at most this many round trips to a quorum.
const MAX_GATHER_ROUND_TRIPS: u64 = 2;
/// Longest wait for others, however slow the JournalNodes are.
const MAX_GATHER_US: Micros = 3000;

/// Decides by the number of transactions that recently waited for the quorum at the same time.
#[derive(Clone, Debug, Default)]
pub struct GroupCommit {
    /// Recent maximum of the number of transactions that were on their way to durability at the same time.
    concurrency: u64,
    /// Time from sending a batch to the answers of a quorum, as a moving average.
    round_trip_us: Micros,
    /// When the open batch could have left first.
    gathering_since: Option<Micros>,
}

impl GroupCommit {
    /// Whether the open batch leaves now. `under_way`: the JournalNodes have yet to answer another batch.
    pub fn leaves(&mut self, transactions: u64, bytes: usize, under_way: bool, now: Micros) -> bool {
        let leaves = transactions > 0
            && (bytes >= WORTH_SENDING_BYTES
                || !under_way
                    && (transactions * 8 >= self.concurrency * 7
                        || now >= *self.gathering_since.get_or_insert(now) + self.patience()));
        if leaves {
            self.gathering_since = None;
        }
        leaves
    }

    fn patience(&self) -> Micros {
        self.round_trip_us
            .saturating_mul(MAX_GATHER_ROUND_TRIPS)
            .min(MAX_GATHER_US)
    }

    /// A quorum has a batch of `transactions`, after a time of `took`, while `waiting` more were in the open batch.
    pub fn synced(&mut self, transactions: u64, waiting: u64, took: Micros) {
        self.round_trip_us = (self.round_trip_us * 7 + took) / 8;
        // The maximum decays slowly: a pause of some callers is not the end of the load.
        self.concurrency -= self.concurrency.div_ceil(16);
        self.concurrency = self.concurrency.max(transactions + waiting);
    }

    /// When [`GroupCommit::leaves`] must be asked again if nothing else happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Micros> {
        self.gathering_since.map(|since| since + self.patience())
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
            group.synced(1, 0, 200);
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
    fn callers_just_answered_are_waited_for_but_not_for_long() {
        let mut group = GroupCommit::default();
        group.synced(34, 30, 800);
        assert!(!group.leaves(55, 4000, false, 10));
        assert!(group.leaves(56, 4100, false, 20));
        // Nearly all callers went away. Those that are left wait for each batch, but less and less.
        group.synced(56, 0, 800);
        assert!(!group.leaves(3, 200, false, 30));
        let until = group.wake_at().unwrap();
        // The last two round trips make up a quarter of the average.
        assert!((200..500).contains(&(until - 30)), "{until}");
        assert!(!group.leaves(3, 200, false, until - 1));
        assert!(group.leaves(3, 200, false, until));
        for _ in 0..60 {
            group.synced(3, 0, 1_000_000);
        }
        assert!(group.leaves(3, 200, false, until));
        assert!(!group.leaves(1, 70, false, until));
        assert_eq!(group.wake_at(), Some(until + MAX_GATHER_US));
    }
}
