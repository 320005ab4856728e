//! What marks of corrupt replicas lead to (`BlockManager.findAndMarkBlockAsCorrupt`, `invalidateCorruptReplicas`).

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use super::BlockManager;
use crate::block_map::{Flag, Record};
use crate::corrupt::{CorruptMark, CorruptReason, CorruptReplicas};
use crate::datanodes::Storage;
use crate::mutant::Mutant;
use crate::types::{BlockManagerError, DatanodeIndex, NumberReplicas, ReplicaState, ReportedReplica, StorageIndex};
use hathi_formats::ids::{Block, BlockId};
use smallvec::SmallVec;

impl BlockManager {
    /// A client or a DataNode found the replica to be bad (`findAndMarkBlockAsCorrupt`). True when that is news.
    ///
    /// # Errors
    /// [`BlockManagerError::Busy`] on a standby that has too many marks on blocks which it does not know yet.
    pub fn mark_corrupt(&mut self, block: Block, datanode: DatanodeIndex) -> Result<bool, BlockManagerError> {
        let id = block.id;
        if self.corrupt.is_reported(id, datanode) {
            return Ok(false);
        }
        if let Some(record) = self.blocks.get(id) {
            let (ours, theirs) = (record.generation_stamp(), block.generation_stamp);
            // Of an older stamp: it says nothing of the replica as it is now. Of a newer one: a standby may be behind.
            if theirs < ours || (theirs > ours && self.active && record.is_complete()) {
                return Ok(false);
            }
            self.corrupt.note_news();
            self.mark_replica_corrupt(id, block, datanode, None, CorruptReason::Reported);
            return Ok(true);
        }
        if self.active || !self.reports.is_from_the_future(block) {
            return Ok(false);
        }
        let since = self.reports.last();
        self.corrupt.mark_early(&mut self.blocks, block, datanode, since)?;
        Ok(true)
    }

    /// A DataNode has read its own replica while nothing could change it, and found it bad. This is no complaint of a reader
    /// that met a writer, so no notice of the same replica ends the mark. True when the mark is news.
    ///
    /// # Errors
    /// As for [`BlockManager::mark_corrupt`].
    pub fn mark_corrupt_by_its_node(
        &mut self,
        block: Block,
        datanode: DatanodeIndex,
    ) -> Result<bool, BlockManagerError> {
        let news = self.mark_corrupt(block, datanode)?;
        let known = self.blocks.get(block.id).map(Record::generation_stamp);
        if known.is_none_or(|known| known <= block.generation_stamp) {
            self.corrupt.confirm(block, datanode);
        }
        Ok(news)
    }

    /// A replica is bad (`markBlockAsCorrupt`). A storage is given when its own report says so.
    pub(super) fn mark_replica_corrupt(
        &mut self,
        id: BlockId,
        reported: Block,
        node: DatanodeIndex,
        storage: Option<StorageIndex>,
        reason: CorruptReason,
    ) {
        if let Some(storage) = storage {
            self.blocks.add_replica(id, storage);
        }
        debug_assert!(self.blocks.get(id).is_some(), "block {id} is in no file");
        debug_assert_eq!(id, reported.id, "the replica is one of the block");
        let since = self.reports.last();
        self.corrupt.mark(&mut self.blocks, reported, node, reason, since);
        self.update_safe(id);
        if !self.redundancy.is_kept() {
            return;
        }
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        let counts = self.count(id, record);
        let left_behind = reason == CorruptReason::GenerationStamp && self.enough_to_complete(id, record, counts);
        if self.corrupt_may_go(id, record, counts) || left_behind {
            self.delete_corrupt_on(id, node);
        }
        self.check_redundancy(id, None, None);
    }

    /// `counts` are those of the block or the internal block.
    fn enough_to_complete(&self, id: BlockId, record: &Record, counts: NumberReplicas) -> bool {
        let counts = match record.is_striped() {
            true => self.count_group(id),
            false => counts,
        };
        let good = counts.live.saturating_add(counts.decommissioning);
        good >= self.blocks.min_storages(record, self.config.min_replication)
    }

    /// Whether a corrupt replica can be done without: enough others are good, or its node is needed for a good one.
    pub(super) fn corrupt_may_go(&self, id: BlockId, record: &Record, counts: NumberReplicas) -> bool {
        if record.is_striped() {
            return self.corrupt_internal_may_go(id, record, counts);
        }
        let expected = self.blocks.wanted_storages(id, record);
        let enough = counts.live.saturating_add(counts.decommissioning) >= expected;
        enough || (self.enough_to_complete(id, record, counts) && counts.live.saturating_add(counts.corrupt) > expected)
    }

    /// Deletes the corrupt replicas of a complete block that can be done without (`invalidateCorruptReplicas`): all of them
    /// when enough others are good, and as soon as any is good those that a pipeline or a recovery left behind with an
    /// older stamp. They were found while the block was still written, and where every node has a replica nothing but
    /// their deletion makes room.
    pub(super) fn delete_corrupt(&mut self, id: BlockId) {
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        let counts = self.count(id, record);
        let stamp = record.generation_stamp();
        let all = self.corrupt_may_go(id, record, counts);
        let left_behind =
            |mark: &CorruptMark| mark.reason == CorruptReason::GenerationStamp && mark.block.generation_stamp < stamp;
        let older = self.enough_to_complete(id, record, counts);
        let marks = self.corrupt.of(id).iter();
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
            self.redundancy.postpone(id);
            return;
        }
        let held = self.holds(id, node);
        let Some(block) = self.blocks.get(id).map(|record| record.block(id)) else {
            return;
        };
        let Some(&mark) = self.corrupt.of(id).iter().find(|mark| mark.node == node) else {
            return;
        };
        if mark.reason != CorruptReason::Reported {
            self.order_deletion(node, mark.block);
            self.remove_replica_of_node(id, node);
        } else if self.mutation.is(Mutant::OrderEndsMark) {
            self.order_deletion(node, block);
            self.remove_replica_of_node(id, node);
            self.end_marks(id, |mark| mark.node == node);
        } else if held && !mark.ordered {
            debug_assert!(self.redundancy.is_kept(), "who keeps no queues deletes nothing");
            self.corrupt.note_order(id, node);
            self.order_deletion(node, block);
        }
    }

    /// Ends the marks of a block that are `over`.
    pub(super) fn end_marks(&mut self, id: BlockId, over: impl Fn(&CorruptMark) -> bool) {
        if self.corrupt.end(&mut self.blocks, id, over) {
            self.update_safe(id);
        }
    }

    /// A complete replica was received. A complaint from the time when it was written is over.
    pub(super) fn end_marks_of_writing(&mut self, node: DatanodeIndex, replica: &ReportedReplica) {
        let received = replica.block;
        let Some(record) = self.blocks.get(received.id) else {
            return;
        };
        let fits = replica.state == ReplicaState::Finalized
            && record.generation_stamp() == received.generation_stamp
            && (!record.has_final_length() || record.num_bytes() == received.num_bytes);
        if record.flag(Flag::Corrupt) && fits {
            self.end_marks(received.id, |mark| {
                mark.node == node && CorruptReplicas::is_over_with(mark, received)
            });
        }
    }

    /// A full report of a node ended. Ends the marks on replicas that two of them in a row did not show.
    pub(super) fn end_marks_of_absent(&mut self, node: DatanodeIndex) {
        let reported_twice_since = self
            .datanodes
            .storages_of(node)
            .filter(|storage| !storage.failed)
            .map(Storage::report_before_last)
            .min()
            .unwrap_or_default();
        let over: Vec<BlockId> = self
            .corrupt
            .from(BlockId(i64::MIN))
            .filter(|(id, marks)| {
                marks
                    .iter()
                    .any(|mark| mark.node == node && mark.since_report < reported_twice_since)
                    && !self.holds(*id, node)
                    && !marks.iter().any(|mark| self.reports.is_from_the_future(mark.block))
            })
            .map(|(id, _)| id)
            .collect();
        for id in over {
            self.end_marks(id, |mark| mark.node == node);
        }
    }

    /// How many replicas were newly found to be bad since the start.
    #[must_use]
    pub fn corrupt_news(&self) -> u64 {
        self.corrupt.news()
    }

    /// Replicas that somebody found to be bad, of blocks with an id above `after`, at most about `max`: as they were named,
    /// and where. For other NameNodes.
    #[must_use]
    pub fn reported_corrupt(&self, after: Option<BlockId>, max: usize) -> Vec<(Block, Vec<StorageIndex>)> {
        let from = after.map_or(i64::MIN, |id| id.0.saturating_add(1));
        let blocks = self.corrupt.from(BlockId(from)).filter_map(|(id, marks)| {
            let block = self.block(id)?.block;
            let reported = marks.iter().filter(|mark| mark.reason == CorruptReason::Reported);
            let on: Vec<StorageIndex> = reported
                .filter_map(|mark| self.storage_of_mark(block.id, mark))
                .collect();
            (!on.is_empty()).then_some((block, on))
        });
        blocks.take(max).collect()
    }

    fn storage_of_mark(&self, id: BlockId, mark: &CorruptMark) -> Option<StorageIndex> {
        let mut replicas = self.blocks.replicas_of(id).into_iter();
        let held = replicas.find(|&storage| self.datanodes.is_on(storage, mark.node));
        held.or_else(|| self.datanodes.get(mark.node)?.storages.first().copied())
    }
}
