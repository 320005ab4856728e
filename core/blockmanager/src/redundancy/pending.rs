//! Replicas that were ordered and have not arrived yet (`PendingReconstructionBlocks`).
//!
//! They are walked in the order of ids, so that the same reports lead to the same commands.
//!
//! Invariants: a block that is listed waits for a replica, and for none twice.

use crate::types::{DatanodeIndex, StorageIndex};
use hathi_formats::ids::BlockId;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// A replica that is expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingReplica {
    pub(crate) target: StorageIndex,
    /// The node that was ordered to make it. `None`: it comes from a pipeline, and only has to be reported.
    pub(crate) source: Option<DatanodeIndex>,
}

/// Replicas of a block that were ordered and have not arrived yet.
#[derive(Clone, Debug, Default)]
struct PendingBlock {
    since_ms: u64,
    replicas: SmallVec<[PendingReplica; 3]>,
}

/// Replications under way.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    blocks: BTreeMap<BlockId, PendingBlock>,
}

impl Pending {
    pub(crate) fn count(&self, id: BlockId) -> u32 {
        self.blocks.get(&id).map_or(0, |block| block.replicas.len() as u32)
    }

    pub(crate) fn targets(&self, id: BlockId) -> SmallVec<[StorageIndex; 3]> {
        let replicas = self.blocks.get(&id).map_or(&[][..], |block| &block.replicas);
        replicas.iter().map(|replica| replica.target).collect()
    }

    pub(crate) fn add(&mut self, id: BlockId, targets: &[StorageIndex], source: Option<DatanodeIndex>, now_ms: u64) {
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
    pub(crate) fn arrived(&mut self, id: BlockId, same_node: impl Fn(StorageIndex) -> bool) {
        if let Some(block) = self.blocks.get_mut(&id) {
            block.replicas.retain(|replica| !same_node(replica.target));
            if block.replicas.is_empty() {
                self.blocks.remove(&id);
            }
        }
    }

    /// Forgets replicas that will not arrive any more. Returns the blocks that lack them.
    pub(crate) fn forget(&mut self, lost: impl Fn(&PendingReplica) -> bool) -> Vec<BlockId> {
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

    pub(crate) fn remove(&mut self, id: BlockId) {
        self.blocks.remove(&id);
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = BlockId> {
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
    pub(crate) fn take_timed_out(&mut self, now_ms: u64, timeout_ms: u64) -> Vec<BlockId> {
        let old: Vec<BlockId> = self
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: BlockId = BlockId(7);

    #[test]
    fn a_block_waits_until_its_last_replica_arrives_or_is_lost() {
        let mut pending = Pending::default();
        let [one, other] = [StorageIndex(1), StorageIndex(2)];
        pending.add(ID, &[one, other], Some(DatanodeIndex(5)), 10);
        pending.add(ID, &[one], None, 20);
        pending.check();
        assert_eq!(
            (pending.count(ID), pending.targets(ID).as_slice()),
            (2, &[one, other][..])
        );
        pending.arrived(ID, |storage| storage == one);
        assert_eq!(pending.count(ID), 1);
        assert!(pending.forget(|replica| replica.source.is_none()).is_empty());
        assert_eq!(pending.forget(|replica| replica.source == Some(DatanodeIndex(5))), [ID]);
        assert_eq!((pending.len(), pending.ids().next()), (0, None));
    }

    #[test]
    fn the_time_counts_from_the_last_order() {
        let mut pending = Pending::default();
        pending.add(ID, &[StorageIndex(1)], None, 10);
        pending.add(ID, &[StorageIndex(2)], None, 20);
        assert!(pending.take_timed_out(120, 100).is_empty());
        assert_eq!(pending.take_timed_out(121, 100), [ID]);
        assert_eq!(pending.len(), 0);
    }
}
