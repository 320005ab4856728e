//! A replica comes, or goes.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use super::BlockManager;
use crate::block_map::Flag;
use crate::corrupt::CorruptReason;
use crate::mutant::Mutant;
use crate::types::{BlockState, DatanodeIndex, StorageIndex};
use hathi_formats::ids::BlockId;

impl BlockManager {
    /// Handles a good, finalized replica (`addStoredBlock`).
    pub(super) fn add_replica(
        &mut self,
        id: BlockId,
        storage: StorageIndex,
        datanode: DatanodeIndex,
        hint: Option<DatanodeIndex>,
    ) {
        // The node has moved the replica to another of its volumes.
        for other in self.blocks.replicas_of(id) {
            if other != storage && self.datanodes.is_on(other, datanode) {
                self.blocks.remove_replica(id, other);
            }
        }
        if !self.blocks.add_replica(id, storage) {
            self.end_marks(id, |mark| {
                mark.node == datanode && mark.reason == CorruptReason::GenerationStamp
            });
        }
        if self.redundancy.pending().len() > 0 {
            let datanodes = &self.datanodes;
            let pending = self.redundancy.pending_mut();
            pending.arrived(id, |target| datanodes.is_on(target, datanode));
        }
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        if record.state() == BlockState::Committed && self.has_min_replicas(id) {
            let block = record.block(id.group());
            self.commit_block(block);
            return;
        }
        if record.is_complete() {
            self.update_safe(id);
            self.check_redundancy(id, Some(datanode), hint);
        }
    }

    /// The storage does not have the block any more (`removeStoredBlock`).
    pub(super) fn remove_replica(&mut self, id: BlockId, storage: StorageIndex) {
        let Some(node) = self.datanodes.node_of(storage) else {
            return;
        };
        if !self.blocks.remove_replica(id, storage) {
            return;
        }
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        let (was_excess, was_corrupt) = (record.flag(Flag::Excess), record.flag(Flag::Corrupt));
        if was_excess {
            self.redundancy.excess_mut().end(&mut self.blocks, id, node);
        }
        if was_corrupt {
            // A mark that a reader caused holds for the replica wherever it appears again. All other marks are made
            // again by each report.
            let all = self.mutation.is(Mutant::DeathEndsMark);
            self.end_marks(id, |mark| {
                mark.node == node && (all || mark.reason != CorruptReason::Reported)
            });
        }
        self.update_safe(id);
        self.check_redundancy(id, None, None);
    }

    pub(super) fn remove_replica_of_node(&mut self, id: BlockId, node: DatanodeIndex) {
        for storage in self.blocks.replicas_of(id) {
            if self.datanodes.is_on(storage, node) {
                self.remove_replica(id, storage);
            }
        }
    }

    /// Checks again whether a complete block, or the group of an internal block, counts as safe.
    pub(super) fn update_safe(&mut self, id: BlockId) {
        let id = id.group();
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        let safe = record.is_complete() && self.has_min(id, record);
        if record.is_safe() == safe {
            return;
        }
        self.blocks.set_safe(id, safe);
        if self.safe_mode.is_startup() {
            self.check_safe_mode();
        }
    }
}
