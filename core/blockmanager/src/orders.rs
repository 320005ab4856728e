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

use crate::blocks::{Flag, Record};
use crate::manager::BlockManager;
use crate::mutant::Mutant;
use crate::types::DatanodeIndex;
use hathi_formats::ids::{Block, BlockId};
use smallvec::SmallVec;

/// A replica that is one too many, and whose deletion is ordered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExcessReplica {
    pub(crate) node: DatanodeIndex,
    pub(crate) since_ms: u64,
    /// Whether the order has left. Then it can't be taken back.
    pub(crate) left: bool,
}

impl BlockManager {
    /// Orders a deletion with the node's next heartbeats. Only an active orders anything.
    pub(crate) fn order_deletion(&mut self, node: DatanodeIndex, block: Block) {
        if !self.populating {
            return;
        }
        if self.datanodes.get(node).is_some_and(|node| node.alive) {
            self.datanodes.add_deletion(node, block);
        }
    }

    /// The deletions that leave with this heartbeat of the node, at most `max`.
    pub(crate) fn leaving_orders(&mut self, datanode: DatanodeIndex, max: usize) -> Vec<Block> {
        let mut leaving = Vec::new();
        while leaving.len() < max
            && let Some(block) = self.datanodes.pop_deletion(datanode)
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
        if record.generation_stamp() != ordered.generation_stamp.0 || !self.holds(id, node) {
            return true;
        }
        let counts = self.count_replicas(id);
        if self.is_corrupt_on(id, node) {
            if self.corrupt_may_go(&record, counts) {
                return true;
            }
            self.forget_corrupt_order(id, node);
            return false;
        }
        let enough = counts.live >= u32::from(record.replication());
        let Some(excess) = self
            .excess
            .get_mut(&id.0)
            .and_then(|list| list.iter_mut().find(|excess| excess.node == node))
        else {
            return false;
        };
        if enough {
            excess.left = true;
            return true;
        }
        if !excess.left {
            self.forget_excess(id, node);
            self.update_safe(id);
            self.check_redundancy(id, None, None);
        }
        false
    }

    pub(crate) fn is_excess_on(&self, id: BlockId, node: DatanodeIndex) -> bool {
        self.excess
            .get(&id.0)
            .is_some_and(|list| list.iter().any(|excess| excess.node == node))
    }

    pub(crate) fn add_excess(&mut self, id: BlockId, node: DatanodeIndex) {
        debug_assert!(self.populating, "who keeps no queues deletes nothing");
        debug_assert!(self.holds(id, node), "what is not there is not too many");
        debug_assert!(!self.is_excess_on(id, node), "it is ordered once");
        self.excess.entry(id.0).or_default().push(ExcessReplica {
            node,
            since_ms: self.now.monotonic_ms,
            left: false,
        });
        if let Some(record) = self.blocks.get_mut(id) {
            record.set_flag(Flag::Excess, true);
        }
    }

    pub(crate) fn forget_excess(&mut self, id: BlockId, node: DatanodeIndex) {
        let Some(list) = self.excess.get_mut(&id.0) else {
            return;
        };
        list.retain(|excess| excess.node != node);
        if list.is_empty() {
            self.excess.remove(&id.0);
            if let Some(record) = self.blocks.get_mut(id) {
                record.set_flag(Flag::Excess, false);
            }
        }
    }

    /// A full report names a replica whose deletion was ordered: the order may be lost.
    pub(crate) fn seen_despite_order(&mut self, id: BlockId, node: DatanodeIndex) {
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        let block = record.view(id).block;
        let (excess, corrupt) = (record.flag(Flag::Excess), record.flag(Flag::Corrupt));
        if corrupt {
            self.forget_corrupt_order(id, node);
        }
        if excess && self.is_excess_on(id, node) {
            self.order_deletion(node, block);
        }
    }

    /// Orders deletions again that no DataNode has confirmed ([3.5] `processTimedOutExcessBlocks`).
    pub(crate) fn renew_excess(&mut self) {
        let limit = self.now.monotonic_ms.saturating_sub(self.config.excess_timeout_ms);
        let mut old: SmallVec<[(i64, DatanodeIndex); 4]> = SmallVec::new();
        for (&id, list) in &mut self.excess {
            for excess in list.iter_mut().filter(|excess| excess.since_ms < limit) {
                excess.since_ms = self.now.monotonic_ms;
                old.push((id, excess.node));
            }
        }
        for (id, node) in old {
            if let Some(block) = self
                .blocks
                .get(BlockId(id))
                .map(|record: &Record| record.view(BlockId(id)).block)
            {
                self.order_deletion(node, block);
            }
        }
    }
}
