//! Replicas that are too many, and whose deletion is ordered (`ExcessRedundancyMap`).
//!
//! Invariants: a block is listed while it has such a replica, and with each node once; `Flag::Excess` of a block says
//! whether it is listed: the functions that change the one get the map to change the other.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::block_map::{BlockMap, Flag};
use crate::types::DatanodeIndex;
use hathi_formats::ids::BlockId;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// A replica that is one too many.
#[derive(Clone, Copy, Debug)]
struct ExcessReplica {
    node: DatanodeIndex,
    since_ms: u64,
    /// Whether the order has left. Then it can't be taken back.
    left: bool,
}

/// Excess replicas by block and node.
#[derive(Debug, Default)]
pub(crate) struct Excess {
    blocks: BTreeMap<BlockId, SmallVec<[ExcessReplica; 1]>>,
}

impl Excess {
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    fn of(&self, id: BlockId) -> &[ExcessReplica] {
        self.blocks.get(&id).map_or(&[], SmallVec::as_slice)
    }

    /// The nodes whose replica of a block is one too many.
    pub(crate) fn nodes(&self, id: BlockId) -> impl Iterator<Item = DatanodeIndex> {
        self.of(id).iter().map(|excess| excess.node)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = BlockId> {
        self.blocks.keys().copied()
    }

    /// Whether the node's replica is one too many.
    pub(crate) fn is_excess(&self, id: BlockId, node: DatanodeIndex) -> bool {
        self.nodes(id).any(|one| one == node)
    }

    /// Whether the node's replica is one too many, and the order to delete it has left.
    pub(crate) fn has_left(&self, id: BlockId, node: DatanodeIndex) -> bool {
        self.of(id).iter().any(|excess| excess.node == node && excess.left)
    }

    /// The node's replica is one too many. Its deletion is ordered.
    pub(super) fn add(&mut self, map: &mut BlockMap, id: BlockId, node: DatanodeIndex, now_ms: u64) {
        debug_assert!(map.get(id).is_some(), "block {id} is in no file");
        debug_assert!(!self.is_excess(id, node), "it is ordered once");
        self.blocks.entry(id).or_default().push(ExcessReplica {
            node,
            since_ms: now_ms,
            left: false,
        });
        map.set_flag(id, Flag::Excess, true);
    }

    /// The node's replica is gone, or not one too many any more.
    pub(crate) fn end(&mut self, map: &mut BlockMap, id: BlockId, node: DatanodeIndex) {
        let Some(list) = self.blocks.get_mut(&id) else {
            return;
        };
        list.retain(|excess| excess.node != node);
        if list.is_empty() {
            self.blocks.remove(&id);
            map.set_flag(id, Flag::Excess, false);
        }
    }

    /// The order to delete the node's replica leaves.
    pub(crate) fn note_leaving(&mut self, id: BlockId, node: DatanodeIndex) {
        let list = self.blocks.get_mut(&id).into_iter().flatten();
        for excess in list.filter(|excess| excess.node == node) {
            excess.left = true;
        }
    }

    /// The replicas that have been too many since a time before `limit_ms`. Their time begins again.
    pub(crate) fn renew(&mut self, limit_ms: u64, now_ms: u64) -> SmallVec<[(BlockId, DatanodeIndex); 4]> {
        let mut old = SmallVec::new();
        for (&id, list) in &mut self.blocks {
            for excess in list.iter_mut().filter(|excess| excess.since_ms < limit_ms) {
                excess.since_ms = now_ms;
                old.push((id, excess.node));
            }
        }
        old
    }

    /// The block is not in the map any more.
    pub(super) fn remove(&mut self, id: BlockId) {
        self.blocks.remove(&id);
    }

    /// Forgets everything. Returns the blocks that had such replicas.
    pub(super) fn clear(&mut self, map: &mut BlockMap) -> Vec<BlockId> {
        let ids: Vec<BlockId> = std::mem::take(&mut self.blocks).into_keys().collect();
        for &id in &ids {
            map.set_flag(id, Flag::Excess, false);
        }
        ids
    }

    /// Panics when an invariant of the module does not hold.
    pub(super) fn check(&self, map: &BlockMap) {
        for (&id, list) in &self.blocks {
            assert!(!list.is_empty(), "block {id} is listed without an excess replica");
            assert!(
                map.get(id).is_some_and(|record| record.flag(Flag::Excess)),
                "excess flag of {id}"
            );
            for (at, excess) in list.iter().enumerate() {
                let again = list
                    .iter()
                    .skip(at.saturating_add(1))
                    .any(|other| other.node == excess.node);
                assert!(!again, "block {id} is in excess twice on one node");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{BlockLayout, BlockState, NewBlock};
    use hathi_formats::ids::{Block, InodeId};

    const ID: BlockId = BlockId(1 << 31);
    const NODE: DatanodeIndex = DatanodeIndex(1);
    const OTHER: DatanodeIndex = DatanodeIndex(2);

    fn map() -> BlockMap {
        let mut map = BlockMap::default();
        map.insert(NewBlock {
            block: Block {
                id: ID,
                ..Block::default()
            },
            inode: InodeId(20_000),
            layout: BlockLayout::Replicas(1),
            state: BlockState::Complete,
        });
        map
    }

    #[test]
    fn the_flag_says_whether_a_replica_is_too_many() {
        let (mut map, mut excess) = (map(), Excess::default());
        let flag = |map: &BlockMap| map.get(ID).unwrap().flag(Flag::Excess);
        excess.add(&mut map, ID, NODE, 5);
        excess.add(&mut map, ID, OTHER, 5);
        excess.check(&map);
        excess.end(&mut map, ID, NODE);
        assert!(flag(&map) && !excess.is_excess(ID, NODE) && excess.is_excess(ID, OTHER));
        excess.end(&mut map, ID, OTHER);
        assert!(!flag(&map) && excess.is_empty());
        excess.add(&mut map, ID, NODE, 5);
        assert_eq!(excess.clear(&mut map), [ID]);
        assert!(!flag(&map) && excess.is_empty());
    }

    #[test]
    fn an_order_that_is_old_is_given_again_once_in_its_time() {
        let (mut map, mut excess) = (map(), Excess::default());
        excess.add(&mut map, ID, NODE, 5);
        assert!(!excess.has_left(ID, NODE));
        excess.note_leaving(ID, NODE);
        assert!(excess.has_left(ID, NODE) && !excess.has_left(ID, OTHER));
        assert!(excess.renew(5, 100).is_empty());
        assert_eq!(excess.renew(6, 100).as_slice(), [(ID, NODE)]);
        assert!(excess.renew(100, 101).is_empty());
        assert!(excess.has_left(ID, NODE), "it can't be taken back");
    }
}
