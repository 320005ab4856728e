//! Replicas that are known to be bad (`CorruptReplicasMap`, `BlockManager.findAndMarkBlockAsCorrupt`).
//!
//! There are two kinds of marks:
//! - *Derived*: a report shows another stamp, length or state than the block's. Losing such a mark at any moment is safe,
//!   as each report of the replica makes it again. It is forgotten as soon as the deletion is ordered.
//! - *Reported*: somebody read the replica and found it bad. Nothing but this mark tells it from a good one, as its length
//!   and stamp are right. It is known to every NameNode (DataNodes report to all, the active passes on what clients say),
//!   and it ends only with the replica: by a notice of its deletion, or by two full reports of its node without it. One
//!   report is not enough, for it may have been under way when the mark was made. The order to delete it, the death and
//!   the return of its node, a full report that names it and a change of role do not end it.
//!
//! Hadoop forgets the second kind when it orders the deletion, and at each failover, as its standbys refuse
//! `reportBadBlocks`. When every NameNode is restarted at once, marks are lost here too, until DataNodes tell them again.
//!
//! A mark on a good replica costs a copy and never the last good replica: a marked replica is deleted only when enough
//! others are good.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::blocks::{Flag, Record};
use crate::manager::BlockManager;
use crate::mutant::Mutant;
use crate::types::{BlockManagerError, DatanodeIndex, NumberReplicas, ReplicaState, ReportedReplica, StorageIndex};
use hathi_formats::ids::{Block, BlockId};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// With this many corrupt blocks a standby refuses marks on blocks that it has not read of yet, because nothing else
/// bounds their number. DataNodes and the active report them again.
const MAX_WITH_EARLY_MARKS: usize = 100_000;

/// Why a replica is corrupt (`CorruptReplicasMap.Reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CorruptReason {
    /// A DataNode or a client has read the replica and found it bad.
    Reported,
    /// The replica has another generation stamp than the block.
    GenerationStamp,
    /// The replica has another length than the block.
    Size,
    /// The replica has a state that is impossible for the block.
    State,
}

/// A corrupt replica of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CorruptMark {
    pub(crate) node: DatanodeIndex,
    pub(crate) reason: CorruptReason,
    /// The replica as it was named.
    pub(crate) block: Block,
    /// The block was being written or recovered. Readers and copies then meet replicas that change under them, so the
    /// complaint may be about nothing; it ends when the replica is received with the block's stamp and length.
    while_written: bool,
    /// Its deletion is ordered, and no report since has shown it. Not known after a change of role: then it is ordered
    /// again.
    pub(crate) ordered: bool,
    /// The full report begun last before the mark was made.
    since_report: u64,
}

/// Corrupt replicas by block and node.
pub(crate) type CorruptReplicas = BTreeMap<i64, SmallVec<[CorruptMark; 1]>>;

impl BlockManager {
    /// Whether the node's replica of a block counts as corrupt.
    #[must_use]
    pub fn is_corrupt_on(&self, id: BlockId, node: DatanodeIndex) -> bool {
        self.corrupt
            .get(&id.0)
            .is_some_and(|list| list.iter().any(|mark| mark.node == node))
    }

    /// Blocks that have a corrupt replica on some node.
    pub(crate) fn corrupt_count(&self) -> usize {
        self.corrupt
            .iter()
            .filter(|(id, list)| list.iter().any(|mark| self.holds(BlockId(**id), mark.node)))
            .count()
    }

    /// Whether the node is known to have a replica.
    pub(crate) fn holds(&self, id: BlockId, node: DatanodeIndex) -> bool {
        self.replicas(id).into_iter().any(|storage| self.is_on(storage, node))
    }

    /// A client or a DataNode found the replica to be bad (`findAndMarkBlockAsCorrupt`). True when that is news.
    ///
    /// # Errors
    /// [`BlockManagerError::Busy`] on a standby that has too many marks on blocks which it does not know yet.
    pub fn mark_corrupt(&mut self, block: Block, datanode: DatanodeIndex) -> Result<bool, BlockManagerError> {
        let id = block.id;
        if self.has_reported_mark(id, datanode) {
            return Ok(false);
        }
        if let Some(record) = self.blocks.get(id) {
            let (ours, theirs) = (record.generation_stamp(), block.generation_stamp.0);
            // Of an older stamp: it says nothing of the replica as it is now. Of a newer one: a standby may be behind.
            if theirs < ours || (theirs > ours && self.active && record.is_complete()) {
                return Ok(false);
            }
            self.corrupt_news = self.corrupt_news.saturating_add(1);
            self.mark_replica_corrupt(id, block, datanode, None, CorruptReason::Reported);
            return Ok(true);
        }
        if self.active || !self.is_from_the_future(block) {
            return Ok(false);
        }
        if self.corrupt.len() >= MAX_WITH_EARLY_MARKS {
            return Err(BlockManagerError::Busy("too many corrupt replicas of blocks to come"));
        }
        self.set_mark(block, datanode, CorruptReason::Reported, false);
        Ok(true)
    }

    /// Somebody has read the node's replica and found it bad.
    pub(crate) fn has_reported_mark(&self, id: BlockId, node: DatanodeIndex) -> bool {
        self.corrupt.get(&id.0).is_some_and(|list| {
            list.iter()
                .any(|mark| mark.node == node && mark.reason == CorruptReason::Reported)
        })
    }

    fn set_mark(&mut self, block: Block, node: DatanodeIndex, reason: CorruptReason, while_written: bool) {
        let new = CorruptMark {
            node,
            reason,
            block,
            while_written,
            ordered: false,
            since_report: self.report_sequence,
        };
        let list = self.corrupt.entry(block.id.0).or_default();
        match list.iter_mut().find(|mark| mark.node == node) {
            // What a reader found is not undone by what a report shows.
            Some(known) if known.reason == CorruptReason::Reported => {}
            Some(known) => *known = new,
            None => list.push(new),
        }
    }

    /// The block has just been read of: what was said of its replicas before counts.
    pub(crate) fn adopt_early_marks(&mut self, block: Block) {
        let Some(list) = self.corrupt.get_mut(&block.id.0) else {
            return;
        };
        list.retain(|mark| mark.block.generation_stamp >= block.generation_stamp);
        let any = !list.is_empty();
        if !any {
            self.corrupt.remove(&block.id.0);
        }
        if let Some(record) = self.blocks.get_mut(block.id) {
            record.set_flag(Flag::Corrupt, any);
        }
    }

    /// A replica is bad (`markBlockAsCorrupt`). A storage is given when its own report says so.
    pub(crate) fn mark_replica_corrupt(
        &mut self,
        id: BlockId,
        reported: Block,
        node: DatanodeIndex,
        storage: Option<StorageIndex>,
        reason: CorruptReason,
    ) {
        if let Some(storage) = storage {
            self.store_replica(id, storage);
        }
        let Some(record) = self.blocks.get_mut(id) else {
            return;
        };
        record.set_flag(Flag::Corrupt, true);
        let while_written = !record.is_complete();
        self.set_mark(reported, node, reason, while_written);
        self.update_safe(id);
        if !self.populating {
            return;
        }
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        let counts = self.count_replicas(id);
        let left_behind = reason == CorruptReason::GenerationStamp && self.enough_to_complete(counts);
        if self.corrupt_may_go(record, counts) || left_behind {
            self.delete_corrupt_on(id, node);
        }
        self.check_redundancy(id, None, None);
    }

    fn enough_to_complete(&self, counts: NumberReplicas) -> bool {
        counts.live.saturating_add(counts.decommissioning) >= u32::from(self.config.min_replication)
    }

    /// Whether a corrupt replica can be done without: enough others are good, or its node is needed for a good one.
    pub(crate) fn corrupt_may_go(&self, record: &Record, counts: NumberReplicas) -> bool {
        let expected = u32::from(record.replication());
        let enough = counts.live.saturating_add(counts.decommissioning) >= expected;
        enough || (self.enough_to_complete(counts) && counts.live.saturating_add(counts.corrupt) > expected)
    }

    /// Deletes the corrupt replicas of a complete block that can be done without (`invalidateCorruptReplicas`): all of them
    /// when enough others are good, and as soon as any is good those that a pipeline or a recovery left behind with an
    /// older stamp. They were found while the block was still written, and where every node has a replica nothing but
    /// their deletion makes room.
    pub(crate) fn delete_corrupt(&mut self, id: BlockId) {
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        let counts = self.count_replicas(id);
        let stamp = record.generation_stamp();
        let all = self.corrupt_may_go(record, counts);
        let left_behind =
            |mark: &CorruptMark| mark.reason == CorruptReason::GenerationStamp && mark.block.generation_stamp.0 < stamp;
        let older = self.enough_to_complete(counts);
        let marks = self.corrupt.get(&id.0).into_iter().flatten();
        let nodes: SmallVec<[DatanodeIndex; 2]> = marks
            .filter(|mark| all || (older && left_behind(mark)))
            .map(|mark| mark.node)
            .collect();
        for node in nodes {
            self.delete_corrupt_on(id, node);
        }
    }

    /// A reported one stays in the map, marked, until it is seen gone. A derived one comes back with the next report.
    fn delete_corrupt_on(&mut self, id: BlockId, node: DatanodeIndex) {
        if self.count_replicas(id).stale > 0 {
            self.postponed.insert(id.0);
            return;
        }
        let held = self.holds(id, node);
        let Some(block) = self.blocks.get(id).map(|record| record.view(id).block) else {
            return;
        };
        let Some(mark) = self
            .corrupt
            .get_mut(&id.0)
            .and_then(|list| list.iter_mut().find(|mark| mark.node == node))
        else {
            return;
        };
        if mark.reason != CorruptReason::Reported {
            let block = mark.block;
            self.order_deletion(node, block);
            self.remove_replica_of_node(id, node);
        } else if self.mutation.is(Mutant::OrderEndsMark) {
            self.order_deletion(node, block);
            self.remove_replica_of_node(id, node);
            self.end_marks(id, |mark| mark.node == node);
        } else if held && !mark.ordered {
            debug_assert!(self.populating, "who keeps no queues deletes nothing");
            mark.ordered = true;
            self.order_deletion(node, block);
        }
    }

    /// The mark's order is void: it did not leave, or the replica was seen after it.
    pub(crate) fn forget_corrupt_order(&mut self, id: BlockId, node: DatanodeIndex) {
        let marks = self.corrupt.get_mut(&id.0).into_iter().flatten();
        for mark in marks.filter(|mark| mark.node == node) {
            mark.ordered = false;
        }
    }

    /// After a change of role nothing is ordered.
    pub(crate) fn forget_corrupt_orders(&mut self) {
        for mark in self.corrupt.values_mut().flatten() {
            mark.ordered = false;
        }
    }

    /// Ends the marks of a block that are `over`.
    pub(crate) fn end_marks(&mut self, id: BlockId, over: impl Fn(&CorruptMark) -> bool) {
        let Some(list) = self.corrupt.get_mut(&id.0) else {
            return;
        };
        let before = list.len();
        list.retain(|mark| !over(mark));
        let left = list.len();
        if left == 0 {
            self.corrupt.remove(&id.0);
            if let Some(record) = self.blocks.get_mut(id) {
                record.set_flag(Flag::Corrupt, false);
            }
        }
        if left < before {
            self.update_safe(id);
        }
    }

    /// A complete replica was received. A complaint from the time when it was written is over.
    pub(crate) fn end_marks_of_writing(&mut self, node: DatanodeIndex, replica: &ReportedReplica) {
        let received = replica.block;
        let Some(record) = self.blocks.get(received.id) else {
            return;
        };
        let fits = replica.state == ReplicaState::Finalized
            && record.generation_stamp() == received.generation_stamp.0
            && (!record.has_final_length() || record.num_bytes() == received.num_bytes);
        if record.flag(Flag::Corrupt) && fits {
            self.end_marks(received.id, |mark| mark.node == node && mark.while_written);
        }
    }

    /// A full report of a node ended. Ends the marks on replicas that two of them in a row did not show.
    pub(crate) fn end_marks_of_absent(&mut self, node: DatanodeIndex) {
        let reported_twice_since = self
            .datanodes
            .get(node)
            .into_iter()
            .flat_map(|node| node.storages.iter())
            .filter_map(|&storage| self.datanodes.storage(storage))
            .filter(|storage| !storage.failed)
            .map(|storage| storage.last_reports[0])
            .min()
            .unwrap_or(0);
        let over: Vec<i64> = self
            .corrupt
            .iter()
            .filter(|(id, list)| {
                list.iter()
                    .any(|mark| mark.node == node && mark.since_report < reported_twice_since)
                    && !self.holds(BlockId(**id), node)
                    && !list.iter().any(|mark| self.is_from_the_future(mark.block))
            })
            .map(|(&id, _)| id)
            .collect();
        for id in over {
            self.end_marks(BlockId(id), |mark| mark.node == node);
        }
    }

    /// How many replicas were newly found to be bad since the start.
    #[must_use]
    pub fn corrupt_news(&self) -> u64 {
        self.corrupt_news
    }

    /// Replicas that somebody found to be bad, of blocks with an id above `after`, at most about `max`: as they were named,
    /// and where. For other NameNodes.
    #[must_use]
    pub fn reported_corrupt(&self, after: Option<BlockId>, max: usize) -> Vec<(Block, Vec<StorageIndex>)> {
        let from = after.map_or(i64::MIN, |id| id.0.saturating_add(1));
        let blocks = self.corrupt.range(from..).filter_map(|(&id, list)| {
            let block = self.block(BlockId(id))?.block;
            let reported = list.iter().filter(|mark| mark.reason == CorruptReason::Reported);
            let on: Vec<StorageIndex> = reported
                .filter_map(|mark| self.storage_of_mark(block.id, mark))
                .collect();
            (!on.is_empty()).then_some((block, on))
        });
        blocks.take(max).collect()
    }

    fn storage_of_mark(&self, id: BlockId, mark: &CorruptMark) -> Option<StorageIndex> {
        let held = self
            .replicas(id)
            .into_iter()
            .find(|&storage| self.is_on(storage, mark.node));
        held.or_else(|| self.datanodes.get(mark.node)?.storages.first().copied())
    }
}
