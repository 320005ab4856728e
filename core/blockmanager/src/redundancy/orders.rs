//! What DataNodes are to copy and to delete with their next heartbeats (`DatanodeDescriptor.replicateBlocks`,
//! `InvalidateBlocks`).
//!
//! Invariants: a node has one deletion per block at most; `deletions` is the number of all of them; a copy goes
//! somewhere.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::types::{DatanodeIndex, StorageIndex};
use hathi_formats::ids::{Block, BlockId};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};

/// `BlockCommand.NO_ACK`: with this length a DataNode does not report the deletion.
pub(crate) const NO_ACK: u64 = i64::MAX as u64;

/// A copy ordered of a node (`BlockTargetPair`).
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) block: Block,
    pub(crate) targets: SmallVec<[StorageIndex; 3]>,
}

/// Internal blocks that a node is to make from others (`BlockECReconstructionInfo`).
#[derive(Clone, Debug)]
pub(crate) struct Coding {
    /// The block group.
    pub(crate) group: BlockId,
    /// Where internal blocks are, by their index.
    pub(crate) sources: SmallVec<[(u8, StorageIndex); 9]>,
    /// The internal blocks that are missing, in the order of their indexes, and where they go. The first goes to the node
    /// itself.
    pub(crate) targets: SmallVec<[(u8, StorageIndex); 3]>,
    /// Those that are missing as well and are not made now.
    pub(crate) left_out: SmallVec<[u8; 3]>,
}

#[derive(Debug, Default)]
struct OfNode {
    transfers: VecDeque<Transfer>,
    codings: VecDeque<Coding>,
    deletions: BTreeMap<BlockId, Block>,
}

/// Orders that wait for the heartbeats of their nodes.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// By the nodes' indexes. Nodes that never had an order may be beyond the end.
    nodes: Vec<OfNode>,
    /// Sum of all nodes' deletions.
    deletions: usize,
}

impl Orders {
    fn of(&self, node: DatanodeIndex) -> Option<&OfNode> {
        self.nodes.get(node.0 as usize)
    }

    fn of_mut(&mut self, node: DatanodeIndex) -> Option<&mut OfNode> {
        let at = node.0 as usize;
        if self.nodes.len() <= at {
            self.nodes.resize_with(at.saturating_add(1), OfNode::default);
        }
        self.nodes.get_mut(at)
    }

    // --- deletions ---

    /// Number of deletions that wait for the heartbeats of their nodes.
    pub(crate) fn deletions(&self) -> usize {
        self.deletions
    }

    /// Number of internal blocks among them.
    pub(crate) fn striped_deletions(&self) -> usize {
        let nodes = self.nodes.iter();
        nodes.map(|orders| orders.deletions.range(..BlockId(0)).count()).sum()
    }

    /// Number of deletions that wait for the heartbeat of a node.
    pub(crate) fn deletions_of(&self, node: DatanodeIndex) -> usize {
        self.of(node).map_or(0, |orders| orders.deletions.len())
    }

    /// The node is to delete its replica of a block, named like this. A later order replaces an earlier one.
    pub(crate) fn delete(&mut self, node: DatanodeIndex, block: Block) {
        let orders = self.of_mut(node);
        let new = orders.is_some_and(|orders| orders.deletions.insert(block.id, block).is_none());
        self.deletions = self.deletions.saturating_add(usize::from(new));
    }

    /// Takes out the next deletion of a node.
    pub(crate) fn take_deletion(&mut self, node: DatanodeIndex) -> Option<Block> {
        let (_, block) = self.nodes.get_mut(node.0 as usize)?.deletions.pop_first()?;
        debug_assert!(self.deletions > 0, "every deletion is counted");
        self.deletions = self.deletions.saturating_sub(1);
        Some(block)
    }

    /// The deletion that is ordered of a block on a node.
    pub(crate) fn deletion(&self, node: DatanodeIndex, id: BlockId) -> Option<Block> {
        // Most nodes have nothing to delete, and every replica in a report is looked for here.
        let deletions = &self.of(node)?.deletions;
        if deletions.is_empty() {
            return None;
        }
        deletions.get(&id).copied()
    }

    pub(crate) fn cancel_deletion(&mut self, node: DatanodeIndex, id: BlockId) {
        let orders = self.nodes.get_mut(node.0 as usize);
        if orders.is_some_and(|orders| orders.deletions.remove(&id).is_some()) {
            debug_assert!(self.deletions > 0, "every deletion is counted");
            self.deletions = self.deletions.saturating_sub(1);
        }
    }

    // --- copies ---

    /// Number of copies, and of groups to make blocks of, that wait for the heartbeat of a node.
    pub(crate) fn copies_of(&self, node: DatanodeIndex) -> usize {
        self.of(node)
            .map_or(0, |orders| orders.transfers.len().saturating_add(orders.codings.len()))
    }

    /// The node is to make internal blocks.
    pub(crate) fn code(&mut self, node: DatanodeIndex, coding: Coding) {
        debug_assert!(!coding.targets.is_empty(), "nothing is made for nobody");
        if let Some(orders) = self.of_mut(node) {
            orders.codings.push_back(coding);
        }
    }

    /// Takes out what a node is to make next, at most `max` groups.
    pub(crate) fn take_codings(&mut self, node: DatanodeIndex, max: usize) -> Vec<Coding> {
        let Some(orders) = self.nodes.get_mut(node.0 as usize) else {
            return Vec::new();
        };
        let count = max.min(orders.codings.len());
        orders.codings.drain(..count).collect()
    }

    /// The node is to copy a block.
    pub(crate) fn copy(&mut self, node: DatanodeIndex, transfer: Transfer) {
        debug_assert!(!transfer.targets.is_empty(), "a copy goes to nobody");
        if let Some(orders) = self.of_mut(node) {
            orders.transfers.push_back(transfer);
        }
    }

    /// Takes out the next copies of a node, at most `max`.
    pub(crate) fn take_copies(&mut self, node: DatanodeIndex, max: usize) -> Vec<Transfer> {
        let Some(orders) = self.nodes.get_mut(node.0 as usize) else {
            return Vec::new();
        };
        let count = max.min(orders.transfers.len());
        orders.transfers.drain(..count).collect()
    }

    /// The node is another process now, and did not get the orders to copy.
    pub(crate) fn forget_copies(&mut self, node: DatanodeIndex) {
        if let Some(orders) = self.nodes.get_mut(node.0 as usize) {
            orders.transfers.clear();
            orders.codings.clear();
        }
    }

    /// The node is dead.
    pub(crate) fn forget_node(&mut self, node: DatanodeIndex) {
        if let Some(orders) = self.nodes.get_mut(node.0 as usize) {
            let OfNode { deletions, .. } = std::mem::take(orders);
            debug_assert!(deletions.len() <= self.deletions, "every deletion is counted");
            self.deletions = self.deletions.saturating_sub(deletions.len());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.deletions == 0
            && self
                .nodes
                .iter()
                .all(|orders| orders.transfers.is_empty() && orders.codings.is_empty())
    }

    /// Panics when an invariant of the module does not hold.
    pub(super) fn check(&self) {
        let deletions: usize = self.nodes.iter().map(|orders| orders.deletions.len()).sum();
        assert_eq!(deletions, self.deletions, "deletions are miscounted");
        for orders in &self.nodes {
            for (id, block) in &orders.deletions {
                assert_eq!(block.id, *id, "a deletion stands at another block");
            }
            for transfer in &orders.transfers {
                assert!(!transfer.targets.is_empty(), "a copy goes to nobody");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::ids::GenerationStamp;

    const NODE: DatanodeIndex = DatanodeIndex(3);
    const OTHER: DatanodeIndex = DatanodeIndex(0);

    fn block(id: i64, stamp: u64) -> Block {
        Block {
            id: BlockId(id),
            num_bytes: 1,
            generation_stamp: GenerationStamp(stamp),
        }
    }

    #[test]
    fn deletions_are_counted_however_they_go() {
        let mut orders = Orders::default();
        assert_eq!(
            (orders.take_deletion(NODE), orders.deletion(NODE, BlockId(1))),
            (None, None)
        );
        for id in [3, 1, 2] {
            orders.delete(NODE, block(id, 1001));
        }
        orders.delete(NODE, block(1, 1002));
        orders.delete(OTHER, block(1, 1001));
        orders.check();
        assert_eq!((orders.deletions(), orders.deletions_of(NODE)), (4, 3));
        assert_eq!(
            orders.deletion(NODE, BlockId(1)),
            Some(block(1, 1002)),
            "the later one counts"
        );
        assert_eq!(orders.take_deletion(NODE), Some(block(1, 1002)));
        orders.cancel_deletion(NODE, BlockId(9));
        orders.cancel_deletion(NODE, BlockId(3));
        orders.check();
        assert_eq!(
            (orders.deletions(), orders.take_deletion(OTHER)),
            (2, Some(block(1, 1001)))
        );
        orders.forget_node(NODE);
        orders.check();
        assert!(orders.is_empty() && orders.deletions() == 0);
    }

    #[test]
    fn copies_leave_in_their_order_some_at_a_time() {
        let mut orders = Orders::default();
        let transfer = |id| Transfer {
            block: block(id, 1001),
            targets: [StorageIndex(1)].into_iter().collect(),
        };
        for id in [2, 1, 3] {
            orders.copy(NODE, transfer(id));
        }
        let taken = |transfers: Vec<Transfer>| transfers.iter().map(|one| one.block.id.0).collect::<Vec<_>>();
        assert_eq!(taken(orders.take_copies(NODE, 2)), [2, 1]);
        orders.check();
        assert!(!orders.is_empty() && orders.copies_of(NODE) == 1);
        orders.forget_copies(NODE);
        assert!(orders.take_copies(NODE, 9).is_empty() && orders.take_copies(OTHER, 9).is_empty());
        assert!(orders.is_empty());
    }
}
