//! The lists of the redundancy monitor: blocks that need work by priority (`LowRedundancyBlocks`), work under way
//! (`PendingReconstructionBlocks`), and messages that a standby sets aside (`PendingDataNodeMessages`).
//!
//! All of them are walked in the order of ids, so that the same reports lead to the same commands.

use crate::types::{DatanodeIndex, ReportedReplica, StorageIndex};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One good replica, or good replicas only on nodes that leave.
pub(crate) const HIGHEST: usize = 0;
/// Less than a third of the wanted replicas.
pub(crate) const VERY_LOW: usize = 1;
/// Fewer replicas than wanted.
pub(crate) const LOW: usize = 2;
/// Enough replicas, but on too few racks.
pub(crate) const BADLY_DISTRIBUTED: usize = 3;
/// No good replica at all.
pub(crate) const CORRUPT: usize = 4;
const LEVELS: usize = 5;

/// Blocks that need more replicas.
#[derive(Debug, Default)]
pub(crate) struct LowRedundancy {
    queues: [BTreeSet<i64>; LEVELS],
    /// Where the next round continues, so that blocks that can't be served do not hold up the others.
    bookmarks: [i64; LEVELS],
    /// Blocks without a good replica that should have only one.
    missing_replication_one: BTreeSet<i64>,
}

impl LowRedundancy {
    /// The queue that a block belongs to.
    pub(crate) fn level(live: u32, leaving: u32, expected: u32) -> usize {
        if live >= expected {
            BADLY_DISTRIBUTED
        } else if live == 0 {
            if leaving > 0 { HIGHEST } else { CORRUPT }
        } else if live == 1 {
            HIGHEST
        } else if live * 3 < expected {
            VERY_LOW
        } else {
            LOW
        }
    }

    pub(crate) fn set(&mut self, id: i64, level: Option<usize>, expected: u32) {
        debug_assert!(level.is_none_or(|level| level < LEVELS), "there are {LEVELS} queues");
        for (at, queue) in self.queues.iter_mut().enumerate() {
            if level == Some(at) {
                queue.insert(id);
            } else {
                queue.remove(&id);
            }
        }
        if level == Some(CORRUPT) && expected == 1 {
            self.missing_replication_one.insert(id);
        } else {
            self.missing_replication_one.remove(&id);
        }
    }

    pub(crate) fn len(&self, level: usize) -> usize {
        self.queues.get(level).map_or(0, BTreeSet::len)
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
            self.missing_replication_one.is_subset(&self.queues[CORRUPT]),
            "a missing block is one without a good replica"
        );
    }

    /// Number of blocks with low redundancy in the statistics: all but those without a good replica.
    pub(crate) fn low(&self) -> usize {
        self.queues.iter().take(CORRUPT).map(BTreeSet::len).sum()
    }

    pub(crate) fn missing_replication_one(&self) -> usize {
        self.missing_replication_one.len()
    }

    /// Blocks without a good replica, above `after`.
    pub(crate) fn missing(&self, after: i64) -> impl Iterator<Item = i64> {
        self.queues[CORRUPT].range(after.saturating_add(1)..).copied()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = i64> {
        self.queues.iter().flatten().copied()
    }

    /// The next blocks to work on, the most urgent first.
    pub(crate) fn choose(&mut self, mut count: usize) -> Vec<(i64, usize)> {
        let mut chosen = Vec::new();
        for (level, queue) in self.queues.iter().enumerate() {
            let mark = self.bookmarks[level];
            let mut taken = 0;
            for &id in queue.range(mark..).chain(queue.range(..mark)) {
                if taken == count {
                    self.bookmarks[level] = id;
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

    pub(crate) fn clear(&mut self) {
        *self = LowRedundancy::default();
    }
}

/// A replica that is expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingReplica {
    pub(crate) target: StorageIndex,
    /// The node that was ordered to make it. `None`: it comes from a pipeline, and only has to be reported.
    pub(crate) source: Option<DatanodeIndex>,
}

/// Replicas of a block that were ordered and have not arrived yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingBlock {
    pub(crate) since_ms: u64,
    pub(crate) replicas: SmallVec<[PendingReplica; 3]>,
}

/// Replications under way.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    blocks: BTreeMap<i64, PendingBlock>,
}

impl Pending {
    pub(crate) fn count(&self, id: i64) -> u32 {
        self.blocks.get(&id).map_or(0, |block| block.replicas.len() as u32)
    }

    pub(crate) fn targets(&self, id: i64) -> SmallVec<[StorageIndex; 3]> {
        let replicas = self.blocks.get(&id).map_or(&[][..], |block| &block.replicas);
        replicas.iter().map(|replica| replica.target).collect()
    }

    pub(crate) fn add(&mut self, id: i64, targets: &[StorageIndex], source: Option<DatanodeIndex>, now_ms: u64) {
        debug_assert!(
            !targets.is_empty(),
            "what waits for nothing would be counted, and never arrive"
        );
        let block = self.blocks.entry(id).or_default();
        block.since_ms = now_ms;
        for &target in targets {
            if !block.replicas.iter().any(|replica| replica.target == target) {
                block.replicas.push(PendingReplica { target, source });
            }
        }
    }

    /// A replica arrived on some storage of a node. `same_node` tells whether a target is on that node.
    pub(crate) fn arrived(&mut self, id: i64, same_node: impl Fn(StorageIndex) -> bool) {
        if let Some(block) = self.blocks.get_mut(&id) {
            block.replicas.retain(|replica| !same_node(replica.target));
            if block.replicas.is_empty() {
                self.blocks.remove(&id);
            }
        }
    }

    /// Forgets replicas that will not arrive any more. Returns the blocks that lack them.
    pub(crate) fn forget(&mut self, lost: impl Fn(&PendingReplica) -> bool) -> Vec<i64> {
        let mut changed = Vec::new();
        self.blocks.retain(|&id, block| {
            let before = block.replicas.len();
            block.replicas.retain(|replica| !lost(replica));
            if block.replicas.len() < before {
                changed.push(id);
            }
            !block.replicas.is_empty()
        });
        changed
    }

    pub(crate) fn remove(&mut self, id: i64) {
        self.blocks.remove(&id);
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = i64> {
        self.blocks.keys().copied()
    }

    /// Panics when a block waits for nothing, or twice for the same replica: it would be copied too rarely.
    pub(crate) fn check(&self) {
        for (id, block) in &self.blocks {
            assert!(!block.replicas.is_empty(), "block {id} waits for no replica");
            for (at, replica) in block.replicas.iter().enumerate() {
                let again = block
                    .replicas
                    .iter()
                    .skip(at + 1)
                    .any(|other| other.target == replica.target);
                assert!(!again, "block {id} waits twice for {:?}", replica.target);
            }
        }
    }

    /// Takes out the blocks whose replicas were ordered too long ago.
    pub(crate) fn take_timed_out(&mut self, now_ms: u64, timeout_ms: u64) -> Vec<i64> {
        let old: Vec<i64> = self
            .blocks
            .iter()
            .filter(|(_, block)| now_ms.saturating_sub(block.since_ms) > timeout_ms)
            .map(|(&id, _)| id)
            .collect();
        for id in &old {
            self.blocks.remove(id);
        }
        old
    }

    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
    }
}

/// A message about a block that a standby can't judge yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) storage: StorageIndex,
    /// The replica, with the block as the DataNode names it.
    pub(crate) replica: ReportedReplica,
    /// Whether the replica was deleted. Then its state means nothing.
    pub(crate) deleted: bool,
}

/// Messages from the future, in their order per block.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    blocks: BTreeMap<i64, VecDeque<Message>>,
    count: usize,
}

impl Messages {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn push(&mut self, message: Message) {
        let queue = self.blocks.entry(message.replica.block.id.0).or_default();
        // DataNodes repeat themselves in reports after a registration. The same message twice in a row means the same.
        if queue.back() != Some(&message) {
            queue.push_back(message);
            self.count += 1;
        }
    }

    pub(crate) fn take(&mut self, id: i64) -> VecDeque<Message> {
        let queue = self.blocks.remove(&id).unwrap_or_default();
        debug_assert!(queue.len() <= self.count, "every message is counted");
        self.count -= queue.len();
        queue
    }

    pub(crate) fn holds(&self, id: i64) -> bool {
        self.blocks.contains_key(&id)
    }

    /// Forgets all messages of a node's storages.
    pub(crate) fn remove_node(&mut self, on_node: impl Fn(StorageIndex) -> bool) {
        self.blocks.retain(|_, queue| {
            queue.retain(|message| !on_node(message.storage));
            !queue.is_empty()
        });
        self.count = self.blocks.values().map(VecDeque::len).sum();
    }

    /// Forgets the messages of a node's storages about a block, because a newer one has come.
    pub(crate) fn remove_older(&mut self, id: i64, on_node: impl Fn(StorageIndex) -> bool) {
        if let Some(queue) = self.blocks.get_mut(&id) {
            let before = queue.len();
            queue.retain(|message| !on_node(message.storage));
            self.count -= before - queue.len();
            if queue.is_empty() {
                self.blocks.remove(&id);
            }
        }
    }

    /// Panics when the count, which bounds the messages, is wrong, or messages are filed under another block.
    pub(crate) fn check(&self) {
        let mut count = 0;
        for (id, queue) in &self.blocks {
            assert!(!queue.is_empty(), "block {id} is listed without a message");
            for message in queue {
                assert_eq!(message.replica.block.id.0, *id, "a message stands at another block");
            }
            count += queue.len();
        }
        assert_eq!(count, self.count, "messages counted and there");
    }

    pub(crate) fn first(&self) -> Option<i64> {
        self.blocks.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::ids::{Block, BlockId, GenerationStamp};

    #[test]
    fn levels_are_hadoops() {
        for (live, leaving, expected, level) in [
            (3, 0, 3, BADLY_DISTRIBUTED),
            (0, 0, 3, CORRUPT),
            (0, 1, 3, HIGHEST),
            (1, 0, 3, HIGHEST),
            (2, 0, 3, LOW),
            (2, 0, 7, VERY_LOW),
            (2, 0, 6, LOW),
        ] {
            assert_eq!(
                LowRedundancy::level(live, leaving, expected),
                level,
                "{live} {leaving} {expected}"
            );
        }
    }

    #[test]
    fn choosing_goes_round() {
        let mut queue = LowRedundancy::default();
        for id in 0..5 {
            queue.set(id, Some(LOW), 3);
        }
        queue.set(9, Some(HIGHEST), 3);
        let ids = |chosen: Vec<(i64, usize)>| chosen.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(ids(queue.choose(3)), [9, 0, 1]);
        assert_eq!(ids(queue.choose(3)), [9, 2, 3]);
        assert_eq!(ids(queue.choose(10)), [9, 4, 0, 1, 2, 3]);
        queue.set(9, None, 3);
        assert_eq!(queue.low(), 5);
    }

    #[test]
    fn messages_keep_their_order_and_count() {
        let mut messages = Messages::default();
        let message = |storage, stamp, deleted| Message {
            storage: StorageIndex(storage),
            replica: ReportedReplica {
                block: Block {
                    id: BlockId(5),
                    num_bytes: 1,
                    generation_stamp: GenerationStamp(stamp),
                },
                state: crate::ReplicaState::Finalized,
            },
            deleted,
        };
        messages.push(message(1, 7, false));
        messages.push(message(1, 7, false));
        messages.push(message(2, 7, false));
        messages.push(message(1, 7, true));
        assert_eq!(messages.len(), 3);
        messages.remove_older(5, |storage| storage == StorageIndex(2));
        let taken = messages.take(5);
        assert_eq!(taken.iter().map(|one| one.deleted).collect::<Vec<_>>(), [false, true]);
        assert!(messages.is_empty());
    }
}
