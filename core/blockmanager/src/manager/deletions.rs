//! Deletions on their way to DataNodes (`InvalidateBlocks`, `ExcessRedundancyMap`).
//!
//! An order may wait long for the heartbeat of its node, and its reasons may be gone by then. So it is judged again
//! when it leaves: a good replica is deleted only while enough others are good, and a bad one only while it can be
//! spared.
//!
//! An order that has left may be carried out at any time, until the DataNode is known to have given it up. So a replica
//! whose deletion order has left never counts as good again in this term. When the deletion is not seen, it is ordered
//! again.
//!
//! All of this may be lost in a change of role. The next active counts every replica as present, deletes none before
//! all holders have reported to it, and after such a report DataNodes carry out no order of an earlier claim.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use super::BlockManager;
use crate::block_map::Flag;
use crate::mutant::Mutant;
use crate::types::DatanodeIndex;
use hathi_formats::ids::{Block, BlockId};

impl BlockManager {
    /// Orders a deletion with the node's next heartbeats. Only an active orders anything.
    pub(super) fn order_deletion(&mut self, node: DatanodeIndex, block: Block) {
        if self.datanodes.get(node).is_some_and(|node| node.alive) {
            self.redundancy.order_deletion(node, block);
        }
    }

    /// The deletions that leave with this heartbeat of the node, at most `max`.
    pub(super) fn leaving_orders(&mut self, datanode: DatanodeIndex, max: usize) -> Vec<Block> {
        let mut leaving = Vec::new();
        while leaving.len() < max
            && let Some(block) = self.redundancy.orders_mut().take_deletion(datanode)
        {
            if self.order_may_leave(datanode, block) {
                leaving.push(block);
            }
        }
        leaving
    }

    fn order_may_leave(&mut self, node: DatanodeIndex, ordered: Block) -> bool {
        let id = ordered.id;
        if self.mutation.is(Mutant::OrdersLeaveUnjudged) {
            return true;
        }
        let Some(&record) = self.blocks.get(id) else {
            return true;
        };
        // A replica with another stamp than the block counts nowhere; neither does one with a derived mark.
        if record.generation_stamp() != ordered.generation_stamp || !self.holds(id, node) {
            return true;
        }
        let counts = self.count(id, &record);
        if self.corrupt.is_marked(id, node) {
            if self.corrupt_may_go(id, &record, counts) {
                return true;
            }
            self.corrupt.forget_order(id, node);
            return false;
        }
        let wanted = self.blocks.wanted_storages(id, &record);
        let excess = self.redundancy.excess_mut();
        if !excess.is_excess(id, node) {
            return false;
        }
        if counts.live >= wanted {
            excess.note_leaving(id, node);
            return true;
        }
        if !excess.has_left(id, node) {
            excess.end(&mut self.blocks, id, node);
            self.update_safe(id);
            self.check_redundancy(id, None, None);
        }
        false
    }

    /// A full report names a replica whose deletion was ordered: the order may be lost.
    pub(super) fn seen_despite_order(&mut self, id: BlockId, node: DatanodeIndex) {
        let Some(&record) = self.blocks.get(id) else {
            return;
        };
        if record.flag(Flag::Corrupt) {
            self.corrupt.forget_order(id, node);
        }
        if record.flag(Flag::Excess) && self.redundancy.excess().is_excess(id, node) {
            self.order_deletion(node, record.block(id));
        }
    }

    /// Orders deletions again that no DataNode has confirmed ([3.5] `processTimedOutExcessBlocks`).
    pub(super) fn renew_excess(&mut self) {
        let now_ms = self.now.monotonic_ms;
        let limit_ms = now_ms.saturating_sub(self.config.excess_timeout_ms);
        for (id, node) in self.redundancy.excess_mut().renew(limit_ms, now_ms) {
            if let Some(block) = self.blocks.get(id).map(|record| record.block(id)) {
                self.order_deletion(node, block);
            }
        }
    }
}
