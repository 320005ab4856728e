//! Blocks that need work, by priority (`LowRedundancyBlocks`).
//!
//! They are walked in the order of ids, so that the same reports lead to the same commands.
//!
//! Invariants: a block is in one queue at most; what is missing and should have one replica is in the queue of blocks
//! without a good one.

use hathi_formats::ids::BlockId;
use std::collections::BTreeSet;

/// How urgent the work is, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// One good replica, or good replicas only on nodes that leave.
    Highest = 0,
    /// Less than a third of the wanted replicas.
    VeryLow = 1,
    /// Fewer replicas than wanted.
    Low = 2,
    /// Enough replicas, but on too few racks.
    BadlyDistributed = 3,
    /// No good replica at all.
    Corrupt = 4,
}

impl Level {
    const ALL: [Level; LEVELS] = [
        Level::Highest,
        Level::VeryLow,
        Level::Low,
        Level::BadlyDistributed,
        Level::Corrupt,
    ];
}

const LEVELS: usize = 5;

/// Blocks that need more replicas.
#[derive(Debug, Default)]
pub(crate) struct LowRedundancy {
    queues: [BTreeSet<BlockId>; LEVELS],
    /// Where the next round continues, so that blocks that can't be served do not hold up the others.
    bookmarks: [BlockId; LEVELS],
    /// Blocks without a good replica that should have only one.
    missing_replication_one: BTreeSet<BlockId>,
}

impl LowRedundancy {
    /// The queue that a block belongs to.
    pub(crate) fn level(live: u32, leaving: u32, expected: u32) -> Level {
        if live >= expected {
            Level::BadlyDistributed
        } else if live == 0 {
            if leaving > 0 { Level::Highest } else { Level::Corrupt }
        } else if live == 1 {
            Level::Highest
        } else if live * 3 < expected {
            Level::VeryLow
        } else {
            Level::Low
        }
    }

    /// The queue of a block group with fewer good internal blocks than it should have. It needs `data` of them, and may
    /// lose `parity` (`LowRedundancyBlocks.getPriorityStriped`).
    pub(crate) fn level_of_group(live: u32, leaving: u32, data: u32, parity: u32) -> Level {
        if live < data {
            if live + leaving >= data {
                Level::Highest
            } else {
                Level::Corrupt
            }
        } else if live == data {
            Level::Highest
        } else if (live - data) * 3 < parity + 1 {
            Level::VeryLow
        } else {
            Level::Low
        }
    }

    pub(crate) fn set(&mut self, id: BlockId, level: Option<Level>, expected: u32) {
        for (at, queue) in self.queues.iter_mut().enumerate() {
            if level.is_some_and(|level| level as usize == at) {
                queue.insert(id);
            } else {
                queue.remove(&id);
            }
        }
        if level == Some(Level::Corrupt) && expected == 1 {
            self.missing_replication_one.insert(id);
        } else {
            self.missing_replication_one.remove(&id);
        }
    }

    pub(crate) fn len(&self, level: Level) -> usize {
        self.queues[level as usize].len()
    }

    /// The blocks of a queue.
    pub(crate) fn of(&self, level: Level) -> impl Iterator<Item = BlockId> {
        self.queues[level as usize].iter().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(BTreeSet::is_empty)
    }

    /// Panics when a block is in two queues: work would be done twice, or the block would wrongly count as missing.
    pub(crate) fn check(&self) {
        for (at, queue) in self.queues.iter().enumerate() {
            for later in self.queues.iter().skip(at + 1) {
                assert!(queue.is_disjoint(later), "a block is in two queues");
            }
        }
        assert!(
            self.missing_replication_one
                .is_subset(&self.queues[Level::Corrupt as usize]),
            "a missing block is one without a good replica"
        );
    }

    /// Number of blocks with low redundancy in the statistics: all but those without a good replica.
    pub(crate) fn low_count(&self) -> usize {
        self.queues
            .iter()
            .take(Level::Corrupt as usize)
            .map(BTreeSet::len)
            .sum()
    }

    pub(crate) fn missing_replication_one(&self) -> usize {
        self.missing_replication_one.len()
    }

    /// Blocks without a good replica, above `after`.
    pub(crate) fn missing(&self, after: Option<BlockId>) -> impl Iterator<Item = BlockId> {
        let from = after.map_or(i64::MIN, |id| id.0.saturating_add(1));
        self.queues[Level::Corrupt as usize].range(BlockId(from)..).copied()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = BlockId> {
        self.queues.iter().flatten().copied()
    }

    /// The next blocks to work on, the most urgent first.
    pub(crate) fn choose(&mut self, mut count: usize) -> Vec<(BlockId, Level)> {
        let mut chosen = Vec::new();
        for (level, (queue, bookmark)) in Level::ALL.into_iter().zip(self.queues.iter().zip(&mut self.bookmarks)) {
            let mark = *bookmark;
            let mut taken = 0;
            for &id in queue.range(mark..).chain(queue.range(..mark)) {
                if taken == count {
                    *bookmark = id;
                    break;
                }
                chosen.push((id, level));
                taken += 1;
            }
            debug_assert!(taken <= count, "no more than were asked for");
            count -= taken;
            if count == 0 {
                break;
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_hadoops() {
        for (live, leaving, expected, level) in [
            (3, 0, 3, Level::BadlyDistributed),
            (0, 0, 3, Level::Corrupt),
            (0, 1, 3, Level::Highest),
            (1, 0, 3, Level::Highest),
            (2, 0, 3, Level::Low),
            (2, 0, 7, Level::VeryLow),
            (2, 0, 6, Level::Low),
        ] {
            assert_eq!(
                LowRedundancy::level(live, leaving, expected),
                level,
                "{live} {leaving} {expected}"
            );
        }
    }

    #[test]
    fn levels_of_block_groups_are_hadoops() {
        // RS-6-3.
        for (live, leaving, level) in [
            (5, 0, Level::Corrupt),
            (5, 1, Level::Highest),
            (6, 0, Level::Highest),
            (7, 0, Level::VeryLow),
            (8, 0, Level::Low),
        ] {
            assert_eq!(
                LowRedundancy::level_of_group(live, leaving, 6, 3),
                level,
                "{live} {leaving}"
            );
        }
    }

    #[test]
    fn choosing_goes_round() {
        let mut queue = LowRedundancy::default();
        for id in 0..5 {
            queue.set(BlockId(id), Some(Level::Low), 3);
        }
        queue.set(BlockId(9), Some(Level::Highest), 3);
        let ids = |chosen: Vec<(BlockId, Level)>| chosen.into_iter().map(|(id, _)| id.0).collect::<Vec<_>>();
        assert_eq!(ids(queue.choose(3)), [9, 0, 1]);
        assert_eq!(ids(queue.choose(3)), [9, 2, 3]);
        assert_eq!(ids(queue.choose(10)), [9, 4, 0, 1, 2, 3]);
        queue.set(BlockId(9), None, 3);
        assert_eq!(queue.low_count(), 5);
    }

    #[test]
    fn a_block_changes_its_queue_and_is_missing_in_the_last_one_only() {
        let mut queue = LowRedundancy::default();
        for level in Level::ALL {
            queue.set(BlockId(7), Some(level), 1);
            queue.check();
            assert_eq!(queue.ids().collect::<Vec<_>>(), [BlockId(7)], "{level:?}");
            let missing = usize::from(level == Level::Corrupt);
            assert_eq!(
                (
                    queue.len(Level::Corrupt),
                    queue.missing_replication_one(),
                    queue.low_count()
                ),
                (missing, missing, 1 - missing)
            );
        }
        assert_eq!(queue.missing(None).collect::<Vec<_>>(), [BlockId(7)]);
        assert_eq!(queue.missing(Some(BlockId(7))).count(), 0);
        queue.set(BlockId(7), None, 0);
        assert!(queue.is_empty() && queue.missing_replication_one() == 0);
    }
}
