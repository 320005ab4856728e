//! What reports lead to: full ones in slices, incremental ones, and messages that a standby can't judge yet.
//!
//! The decision table for one reported replica is Hadoop's (`BlockManager.checkReplicaCorrupt`):
//!
//! ```text
//! reported     block complete or committed     under construction / recovery
//! FINALIZED    stamp or length differs: bad    older stamp: bad (not while under recovery)
//! RBW, RWR     complete: stamp differs: bad;   older stamp: bad
//!              same stamp: RBW is late news, RWR is bad
//! ```
//!
//! A full report is out of date as soon as its first slice is processed. Incremental reports about a block that arrive
//! while later slices wait are newer, and win.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use super::BlockManager;
use crate::block_map::{Flag, Record};
use crate::construction::Held;
use crate::corrupt::CorruptReason;
use crate::redundancy::NO_ACK;
use crate::reports::{BlockReport, Message, Phase, ReportProgress};
use crate::types::{
    BlockManagerError, BlockState, DatanodeIndex, IncrementalNotice, Now, ReplicaState, ReportedReplica, StorageIndex,
};
use hathi_formats::block_list::ReportedReplicas;
use hathi_formats::ids::{Block, BlockId};
use hathi_formats::proto::datanode::StorageBlockReportProto;
use hathi_formats::proto::hdfs::{DatanodeStorageProto, datanode_storage_proto::StorageState};

/// Why a reported replica can't be right.
fn corruption(record: &Record, has_length: bool, reported: &ReportedReplica) -> Option<CorruptReason> {
    let stamp = record.generation_stamp();
    let theirs = reported.block.generation_stamp;
    match reported.state {
        ReplicaState::Finalized => match record.state() {
            BlockState::Complete | BlockState::Committed if stamp != theirs => Some(CorruptReason::GenerationStamp),
            BlockState::Complete | BlockState::Committed => (!has_length).then_some(CorruptReason::Size),
            BlockState::UnderConstruction if stamp > theirs => Some(CorruptReason::GenerationStamp),
            BlockState::UnderConstruction | BlockState::UnderRecovery => None,
        },
        ReplicaState::Rbw | ReplicaState::Rwr if !record.is_complete() => {
            (stamp > theirs).then_some(CorruptReason::GenerationStamp)
        }
        ReplicaState::Rbw | ReplicaState::Rwr if stamp != theirs => Some(CorruptReason::GenerationStamp),
        ReplicaState::Rbw => None,
        ReplicaState::Rwr => Some(CorruptReason::State),
        // DataNodes do not report these states. If one does, nobody should read the replica.
        ReplicaState::Rur | ReplicaState::Temporary => Some(CorruptReason::State),
    }
}

impl BlockManager {
    /// Checks the lease of a full report.
    pub fn check_report_lease(
        &mut self,
        datanode: DatanodeIndex,
        lease: u64,
        now: Now,
    ) -> Result<(), BlockManagerError> {
        self.now = now;
        if self.reports.is_lease_valid(datanode, lease, now.monotonic_ms) {
            return Ok(());
        }
        let datanode = self
            .datanodes
            .get(datanode)
            .map(|node| node.id.datanode_uuid.clone())
            .unwrap_or_default();
        Err(BlockManagerError::InvalidLease {
            datanode,
            lease_id: lease,
        })
    }

    /// The last message of a full report has arrived, so the next node may send its report.
    pub fn end_report_lease(&mut self, datanode: DatanodeIndex) {
        self.reports.end_lease(datanode);
    }

    /// Begins the report of one storage. `None`: the report is not wanted, because the NameNode is still starting and
    /// has one of this storage already.
    pub fn begin_report(
        &mut self,
        datanode: DatanodeIndex,
        report: StorageBlockReportProto,
    ) -> Result<Option<BlockReport>, BlockManagerError> {
        let kind = &report.storage;
        let storage = self
            .datanodes
            .storage_or_new(
                datanode,
                &kind.storage_uuid,
                kind.storage_type(),
                kind.state() == StorageState::ReadOnlyShared,
            )
            .ok_or(BlockManagerError::Malformed("too many storages"))?;
        let replicas = ReportedReplicas::new(report)?;
        let sequence = self.reports.number();
        let known = self
            .datanodes
            .storage(storage)
            .ok_or(BlockManagerError::Malformed("too many storages"))?;
        if self.safe_mode.is_startup() && known.report_count() > 0 {
            return Ok(None);
        }
        let vouches = known.may_vouch();
        self.reports
            .begin(storage, sequence, self.blocks.count_on(storage) == 0);
        Ok(Some(BlockReport {
            datanode,
            storage,
            sequence,
            replicas,
            phase: Phase::Reported,
            vouches,
        }))
    }

    /// Processes at most `max` blocks of a report. Release the lock between two slices.
    pub fn report_slice(
        &mut self,
        report: &mut BlockReport,
        max: usize,
        now: Now,
    ) -> Result<ReportProgress, BlockManagerError> {
        self.now = now;
        let current = self.reports.is_under_way(report.storage, report.sequence);
        // A newer report of the same storage, or the death of the node, makes this report useless.
        if !current || self.datanodes.get(report.datanode).is_none_or(|node| !node.alive) {
            report.phase = Phase::Done;
            return Ok(ReportProgress::Done);
        }
        match report.phase {
            Phase::Done => return Ok(ReportProgress::Done),
            Phase::Reported => {
                for _ in 0..max {
                    let next = match report.replicas.next_replica() {
                        Ok(next) => next,
                        Err(error) => {
                            report.phase = Phase::Done;
                            self.reports.end(report.storage);
                            return Err(error.into());
                        }
                    };
                    let Some(replica) = next else {
                        report.phase = Phase::Missing(BlockId(i64::MIN));
                        break;
                    };
                    self.reported_in_full(report.storage, report.datanode, replica);
                }
            }
            Phase::Missing(from) => self.missing_in_full(report, from, max),
        }
        if matches!(report.phase, Phase::Done) {
            self.end_report(report);
            return Ok(ReportProgress::Done);
        }
        Ok(ReportProgress::More)
    }

    fn end_report(&mut self, report: &BlockReport) {
        self.reports.end(report.storage);
        self.datanodes
            .report_ended(report.storage, report.sequence, report.vouches, self.now);
        if !self.corrupt.is_empty() {
            self.end_marks_of_absent(report.datanode);
        }
        if self.safe_mode.is_startup() {
            self.check_safe_mode();
        }
    }

    fn reported_in_full(&mut self, storage: StorageIndex, datanode: DatanodeIndex, replica: ReportedReplica) {
        let id = replica.block.id;
        if !self.reports.see(storage, id) {
            return;
        }
        self.reports.forget_older(id, |other| other == storage);
        if !self.redundancy.excess().is_empty() || !self.corrupt.is_empty() {
            self.seen_despite_order(id, datanode);
        }
        self.process_replica(storage, datanode, replica, None);
    }

    /// Handles replicas that the storage was thought to have and that the report does not name.
    fn missing_in_full(&mut self, report: &mut BlockReport, from: BlockId, max: usize) {
        let storage = report.storage;
        report.phase = Phase::Done;
        if !self.reports.knows_missing(storage) {
            return;
        }
        let mut from = from;
        for _ in 0..max {
            let Some(id) = self.blocks.next_on(storage, from) else {
                return;
            };
            if self.reports.is_missing(storage, id) {
                self.remove_replica(id, storage);
            }
            match id.0.checked_add(1) {
                Some(next) => from = BlockId(next),
                None => return,
            }
        }
        if self.blocks.next_on(storage, from).is_some() {
            report.phase = Phase::Missing(from);
        }
    }

    /// Takes one notice of `blockReceivedAndDeleted`. `delete_hint` is the uuid of a node whose replica this one
    /// replaces.
    pub fn incremental_report(
        &mut self,
        datanode: DatanodeIndex,
        storage: &DatanodeStorageProto,
        block: Block,
        notice: IncrementalNotice,
        delete_hint: Option<&str>,
        now: Now,
    ) {
        self.now = now;
        let Some(index) = self.datanodes.storage_or_new(
            datanode,
            &storage.storage_uuid,
            storage.storage_type(),
            storage.state() == StorageState::ReadOnlyShared,
        ) else {
            return;
        };
        self.reports.touch(index, block.id);
        let state = match notice {
            IncrementalNotice::Deleted => {
                self.replica_deleted(index, datanode, block);
                return;
            }
            IncrementalNotice::Received => {
                self.datanodes.unschedule_block(index);
                ReplicaState::Finalized
            }
            IncrementalNotice::Receiving => ReplicaState::Rbw,
        };
        let hint = delete_hint
            .filter(|hint| !hint.is_empty())
            .and_then(|hint| self.datanodes.by_uuid(hint));
        let replica = ReportedReplica { block, state };
        self.end_marks_of_writing(datanode, &replica);
        self.process_replica(index, datanode, replica, hint);
    }

    /// Sets aside a message that can't be judged yet. A node whose messages find no room registers again once there is
    /// room, and then tells everything.
    fn set_aside(&mut self, message: Message) {
        if !self.reports.set_aside(message) {
            self.datanodes.note_unheard(message.storage);
        }
    }

    fn replica_deleted(&mut self, storage: StorageIndex, datanode: DatanodeIndex, block: Block) {
        if !self.active && self.reports.is_from_the_future(block) {
            let replica = ReportedReplica {
                block,
                state: ReplicaState::Finalized,
            };
            self.set_aside(Message {
                storage,
                replica,
                deleted: true,
            });
            return;
        }
        self.construction.forget_replica(storage, block);
        self.remove_replica_of_node(block.id, datanode);
        self.end_marks(block.id, |mark| mark.node == datanode);
    }

    /// Handles a replica that a DataNode reports (`processReportedBlock` and what follows).
    fn process_replica(
        &mut self,
        storage: StorageIndex,
        datanode: DatanodeIndex,
        replica: ReportedReplica,
        hint: Option<DatanodeIndex>,
    ) {
        let id = replica.block.id;
        let Some(record) = self.blocks.get(id) else {
            self.process_unknown(storage, datanode, replica);
            return;
        };
        if !self.active && self.reports.is_stamp_ahead(replica.block.generation_stamp) {
            self.set_aside(Message {
                storage,
                replica,
                deleted: false,
            });
            return;
        }
        // The most common report: known, complete, unchanged.
        if replica.state == ReplicaState::Finalized
            && record.is_complete()
            && record.generation_stamp() == replica.block.generation_stamp
            && self.has_length(record, replica.block)
            && !record.flag(Flag::Corrupt)
        {
            self.forget_older(id, datanode);
            let Some(record) = self.blocks.get(id) else {
                return;
            };
            if !self.blocks.has_replica(record, storage) && !self.deletion_is_ordered(datanode, replica.block) {
                self.add_replica(id, storage, datanode, hint);
            }
            return;
        }
        let record = *record;
        if self.deletion_is_ordered(datanode, replica.block) {
            return;
        }
        let has_length = self.has_length(&record, replica.block);
        if let Some(reason) = corruption(&record, has_length, &replica) {
            if self.active {
                self.mark_replica_corrupt(id, replica.block, datanode, Some(storage), reason);
            } else {
                // The standby may be the one that is behind.
                self.set_aside(Message {
                    storage,
                    replica,
                    deleted: false,
                });
            }
            return;
        }
        self.forget_older(id, datanode);
        let finalized = replica.state == ReplicaState::Finalized;
        if !record.is_complete() && (!finalized || !record.has_final_length()) {
            let datanodes = &self.datanodes;
            let held = Held {
                state: replica.state,
                generation_stamp: replica.block.generation_stamp,
                num_bytes: replica.block.num_bytes,
            };
            self.construction
                .note(id, storage, held, self.now, |other| datanodes.is_on(other, datanode));
        }
        let news = !self.blocks.has_replica(&record, storage) || self.corrupt.is_marked(id, datanode);
        // A committed block waits for its replicas. A replica that counted as corrupt while the block was written has
        // been in the map all the time.
        if finalized && (news || record.state() == BlockState::Committed) {
            self.add_replica(id, storage, datanode, hint);
        }
    }

    /// Whether a replica is as long as the block, as far as a report can tell: lengths in reports have 48 bits.
    fn has_length(&self, record: &Record, replica: Block) -> bool {
        const MASK48: u64 = (1 << 48) - 1;
        self.blocks.replica_length(replica.id, record) == replica.num_bytes & MASK48
    }

    /// Forgets earlier messages of the node about the block, because a newer one was judged. An older stamp among them
    /// would make the replica look corrupt when this NameNode becomes active (HDFS-16987).
    fn forget_older(&mut self, id: BlockId, datanode: DatanodeIndex) {
        let datanodes = &self.datanodes;
        self.reports
            .forget_older(id, |storage| datanodes.is_on(storage, datanode));
    }

    fn process_unknown(&mut self, storage: StorageIndex, datanode: DatanodeIndex, replica: ReportedReplica) {
        let future = self.reports.is_from_the_future(replica.block);
        if !self.active {
            if future {
                self.set_aside(Message {
                    storage,
                    replica,
                    deleted: false,
                });
            }
            return;
        }
        if self.reports.is_stamp_ahead(replica.block.generation_stamp) {
            // An active that has not read of a stamp may have been started with an old image. So nothing is deleted,
            // and start-up safe mode waits for an administrator.
            if self.safe_mode.is_startup() {
                self.safe_mode.note_future(replica.block.num_bytes);
            }
            return;
        }
        // A replica that is not deleted now will be just as unknown in the node's next full report.
        if self.redundancy.orders().deletions() < self.config.max_unknown_deletions {
            let block = Block {
                num_bytes: NO_ACK,
                ..replica.block
            };
            self.order_deletion(datanode, block);
        }
    }

    fn deletion_is_ordered(&self, datanode: DatanodeIndex, block: Block) -> bool {
        let ordered = self.redundancy.orders().deletion(datanode, block.id);
        ordered.is_some_and(|ordered| ordered.generation_stamp == block.generation_stamp)
    }

    /// Works off what was set aside for a block, now that an edit touched it. What still can't be judged, and everything
    /// after it, goes back in the same order.
    pub(super) fn process_messages(&mut self, id: BlockId) {
        let mut queue = self.reports.take(id);
        while let Some(message) = queue.pop_front() {
            let Some(datanode) = self.datanodes.node_of(message.storage) else {
                continue;
            };
            // Only the last word of each node counts, once everything can be judged.
            let mut later = queue.iter();
            if self.active && later.any(|later| self.datanodes.is_on(later.storage, datanode)) {
                continue;
            }
            if message.deleted {
                self.replica_deleted(message.storage, datanode, message.replica.block);
            } else {
                self.end_marks_of_writing(datanode, &message.replica);
                self.process_replica(message.storage, datanode, message.replica, None);
            }
            if !self.active && self.reports.holds(id) {
                for message in queue.drain(..) {
                    self.set_aside(message);
                }
            }
        }
    }
}
