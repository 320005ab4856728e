//! How far a NameNode is behind the journal: the answer to "how old is what this standby shows".
//!
//! Invariants: what is kept is ordered by time and by transaction, and is not applied here. The lag in time is never said
//! to be shorter than it is by what was forgotten, because the oldest moment stays.

use hathi_formats::ids::TxId;
use std::collections::VecDeque;

/// Moments of the journal that are kept until they are applied. When there are more, every second one is forgotten.
const MOMENTS: usize = 512;

/// How far a NameNode follows the journal.
#[derive(Debug, Default)]
pub struct JournalLag {
    /// When a transaction was first seen to be committed (monotonic ms), for those that are not applied here.
    moments: VecDeque<(u64, TxId)>,
    committed: TxId,
    applied: TxId,
}

impl JournalLag {
    /// The JournalNodes know `committed` to be committed, and `applied` is applied here.
    pub fn note(&mut self, now_ms: u64, committed: TxId, applied: TxId) {
        if committed > self.committed {
            debug_assert!(
                self.moments.back().is_none_or(|(at_ms, _)| *at_ms <= now_ms),
                "the clock does not go back"
            );
            self.moments.push_back((now_ms, committed));
            self.committed = committed;
        }
        self.applied = applied;
        while self.moments.front().is_some_and(|(_, txid)| *txid <= applied) {
            self.moments.pop_front();
        }
        if self.moments.len() > MOMENTS {
            let mut place = 0_usize;
            // The oldest one says how long the lag lasts.
            self.moments.retain(|_| {
                place = place.saturating_add(1);
                place % 2 == 1
            });
        }
        debug_assert!(
            self.moments.front().is_none_or(|(_, txid)| *txid > applied),
            "what is applied is not behind"
        );
    }

    /// Committed transactions that are not applied here.
    #[must_use]
    pub fn lag_transactions(&self) -> u64 {
        self.committed.0.saturating_sub(self.applied.0)
    }

    /// Time in ms since the oldest of them was seen to be committed; 0 without any.
    #[must_use]
    pub fn lag_ms(&self, now_ms: u64) -> u64 {
        self.moments
            .front()
            .map_or(0, |(since, _)| now_ms.saturating_sub(*since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_lasts_from_when_its_oldest_transaction_was_committed() {
        let mut following = JournalLag::default();
        following.note(1000, TxId(5), TxId(5));
        assert_eq!((following.lag_transactions(), following.lag_ms(2000)), (0, 0));
        following.note(2000, TxId(7), TxId(5));
        following.note(3000, TxId(9), TxId(6));
        assert_eq!((following.lag_transactions(), following.lag_ms(3500)), (3, 1500));
        following.note(4000, TxId(9), TxId(7));
        assert_eq!((following.lag_transactions(), following.lag_ms(4000)), (2, 1000));
        for more in 0..5000 {
            following.note(5000 + more, TxId(10 + more), TxId(7));
        }
        assert!(following.moments.len() <= MOMENTS);
        assert_eq!(following.lag_ms(13_000), 10_000);
    }
}
