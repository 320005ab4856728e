//! Block reports: full ones in slices, incremental ones, and messages that a standby can't judge yet.
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

use crate::blocks::{Flag, Record, same_48};
use crate::corrupt::CorruptReason;
use crate::datanodes::ReportInProgress;
use crate::idset::BlockIdSet;
use crate::manager::BlockManager;
use crate::queues::Message;
use crate::redundancy::NO_ACK;
use crate::types::{
    BlockManagerError, BlockState, DatanodeIndex, IncrementalNotice, Now, ReplicaState, ReportedReplica, StorageIndex,
};
use bytes::Bytes;
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::StorageBlockReportProto;
use hathi_formats::proto::hdfs::{DatanodeStorageProto, datanode_storage_proto::StorageState};

/// The replicas in a full report, decoded one by one (`BlockListAsLongs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedReplicas {
    encoding: Encoding,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Encoding {
    /// Varints in chunks that are one stream.
    Buffers {
        chunks: Vec<Bytes>,
        chunk: usize,
        at: usize,
        left: u64,
    },
    /// `[finalized, others, 3 × finalized.., -1, -1, -1, 4 × others..]`
    Longs {
        longs: Vec<u64>,
        at: usize,
        finalized: u64,
        others: u64,
    },
}

const TRUNCATED: BlockManagerError = BlockManagerError::Malformed("the list of replicas ends early");
/// Four varints of at most ten bytes.
const MAX_ENTRY_BYTES: usize = 40;

fn varint_in(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at = at.saturating_add(1);
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ ((value & 1) as i64).wrapping_neg()
}

impl ReportedReplicas {
    /// Reads the list from the message, in either encoding.
    pub fn new(report: StorageBlockReportProto) -> Result<ReportedReplicas, BlockManagerError> {
        let encoding = if let Some(left) = report.number_of_blocks {
            Encoding::Buffers {
                chunks: report.blocks_buffers,
                chunk: 0,
                at: 0,
                left,
            }
        } else if report.blocks.is_empty() {
            Encoding::Longs {
                longs: Vec::new(),
                at: 0,
                finalized: 0,
                others: 0,
            }
        } else {
            let (Some(&finalized), Some(&others)) = (report.blocks.first(), report.blocks.get(1)) else {
                return Err(TRUNCATED);
            };
            let wanted = finalized
                .checked_mul(3)
                .and_then(|longs| longs.checked_add(others.checked_mul(4)?))
                .and_then(|longs| longs.checked_add(5));
            // The delimiter is written even when nothing follows it. Lists without it are accepted.
            let length = report.blocks.len() as u64;
            if wanted != Some(length) && !(others == 0 && wanted == length.checked_add(3)) {
                return Err(BlockManagerError::Malformed(
                    "the list's length does not fit its counts",
                ));
            }
            Encoding::Longs {
                longs: report.blocks,
                at: 2,
                finalized,
                others,
            }
        };
        Ok(ReportedReplicas { encoding })
    }

    /// Number of replicas that are left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        match &self.encoding {
            Encoding::Buffers { left, .. } => *left,
            Encoding::Longs { finalized, others, .. } => finalized.saturating_add(*others),
        }
    }

    /// The next replica.
    pub fn next_replica(&mut self) -> Result<Option<ReportedReplica>, BlockManagerError> {
        match &mut self.encoding {
            Encoding::Buffers { left: 0, .. } => Ok(None),
            Encoding::Buffers {
                chunks,
                chunk,
                at,
                left,
            } => {
                *left = left.saturating_sub(1);
                let mut fields = [0u64; 4];
                match chunks.get(*chunk) {
                    Some(bytes) if bytes.len().saturating_sub(*at) >= MAX_ENTRY_BYTES => {
                        for field in &mut fields {
                            *field = varint_in(bytes, at).ok_or(TRUNCATED)?;
                        }
                    }
                    // Near the end of a chunk, where an entry, or even a varint, may continue in the next chunk.
                    _ => {
                        for field in &mut fields {
                            *field = varint_across(chunks, chunk, at).ok_or(TRUNCATED)?;
                        }
                    }
                }
                let state = ReplicaState::from_wire(fields[3] & 0xf)
                    .ok_or(BlockManagerError::Malformed("unknown replica state"))?;
                Ok(Some(ReportedReplica {
                    block: Block {
                        id: BlockId(zigzag(fields[0])),
                        num_bytes: fields[1] & ((1 << 48) - 1),
                        generation_stamp: GenerationStamp(fields[2]),
                    },
                    state,
                }))
            }
            Encoding::Longs {
                longs,
                at,
                finalized,
                others,
            } => {
                let width = if *finalized > 0 {
                    *finalized = finalized.saturating_sub(1);
                    3
                } else if *others > 0 {
                    *others = others.saturating_sub(1);
                    let rest = longs.get(*at..).unwrap_or_default();
                    if rest.starts_with(&[u64::MAX; 3]) {
                        *at = at.saturating_add(3);
                    }
                    4
                } else {
                    return Ok(None);
                };
                let entry = longs.get(*at..).and_then(|rest| rest.get(..width)).ok_or(TRUNCATED)?;
                *at = at.saturating_add(width);
                let (&[id, num_bytes, stamp], state) = entry.split_first_chunk().ok_or(TRUNCATED)?;
                let state = match state.first() {
                    Some(&state) => {
                        ReplicaState::from_wire(state).ok_or(BlockManagerError::Malformed("unknown replica state"))?
                    }
                    None => ReplicaState::Finalized,
                };
                Ok(Some(ReportedReplica {
                    block: Block {
                        id: BlockId(id as i64),
                        num_bytes,
                        generation_stamp: GenerationStamp(stamp),
                    },
                    state,
                }))
            }
        }
    }
}

fn varint_across(chunks: &[Bytes], chunk: &mut usize, at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = loop {
            match chunks.get(*chunk)?.get(*at) {
                Some(&byte) => break byte,
                None => {
                    *chunk = chunk.saturating_add(1);
                    *at = 0;
                }
            }
        };
        *at = at.saturating_add(1);
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A full block report of one storage, processed in slices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockReport {
    datanode: DatanodeIndex,
    storage: StorageIndex,
    sequence: u64,
    replicas: ReportedReplicas,
    phase: Phase,
    /// Whether it may vouch for the content of the storage: it began after a heartbeat in this NameNode's present role.
    vouches: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Reported,
    /// Looking for replicas that the report does not name, from this id on.
    Missing(i64),
    Done,
}

impl BlockReport {
    /// The node that reports.
    #[must_use]
    pub fn datanode(&self) -> DatanodeIndex {
        self.datanode
    }
}

/// How far a report is after a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportProgress {
    /// Call again.
    More,
    /// All of it is processed.
    Done,
}

/// Why a reported replica can't be right.
fn corruption(record: &Record, reported: &ReportedReplica) -> Option<CorruptReason> {
    let stamp = record.generation_stamp();
    let theirs = reported.block.generation_stamp.0;
    match reported.state {
        ReplicaState::Finalized => match record.state() {
            BlockState::Complete | BlockState::Committed if stamp != theirs => Some(CorruptReason::GenerationStamp),
            BlockState::Complete | BlockState::Committed => {
                (!same_48(record.num_bytes(), reported.block.num_bytes)).then_some(CorruptReason::Size)
            }
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
        if self.leases.is_valid(datanode, lease, now.monotonic_ms) {
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
        self.leases.remove(datanode);
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
        let startup = self.safe_mode.is_startup();
        self.report_sequence = self.report_sequence.saturating_add(1);
        let sequence = self.report_sequence;
        let held = self
            .datanodes
            .storage_mut(storage)
            .ok_or(BlockManagerError::Malformed("too many storages"))?;
        if startup && held.report_count > 0 {
            return Ok(None);
        }
        let seen = (held.blocks.len() > 0).then(BlockIdSet::default);
        held.report = Some(Box::new(ReportInProgress {
            sequence,
            seen,
            touched: BlockIdSet::default(),
        }));
        let vouches = held.heartbeated_since_failover;
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
        let current = |manager: &BlockManager| match manager
            .datanodes
            .storage(report.storage)
            .and_then(|one| one.report.as_ref())
        {
            Some(progress) => progress.sequence == report.sequence,
            None => false,
        };
        // A newer report of the same storage, or the death of the node, makes this report useless.
        if !current(self) || self.datanodes.get(report.datanode).is_none_or(|node| !node.alive) {
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
                            self.abandon_report(report);
                            return Err(error);
                        }
                    };
                    let Some(replica) = next else {
                        report.phase = Phase::Missing(i64::MIN);
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

    fn abandon_report(&mut self, report: &mut BlockReport) {
        report.phase = Phase::Done;
        if let Some(storage) = self.datanodes.storage_mut(report.storage) {
            storage.report = None;
        }
    }

    fn end_report(&mut self, report: &BlockReport) {
        let now = self.now;
        if let Some(storage) = self.datanodes.storage_mut(report.storage) {
            storage.report = None;
            storage.report_count = storage.report_count.saturating_add(1);
            storage.last_reports = [storage.last_reports[1], report.sequence];
            // A failover during the report has cleared the flag. Then the report began too early to vouch for anything.
            if report.vouches && storage.heartbeated_since_failover {
                storage.content_stale = false;
            }
        }
        if let Some(node) = self.datanodes.get_mut(report.datanode) {
            node.last_block_report = now;
        }
        if !self.corrupt.is_empty() {
            self.end_marks_of_absent(report.datanode);
        }
        if self.safe_mode.is_startup() {
            self.check_safe_mode();
        }
    }

    fn reported_in_full(&mut self, storage: StorageIndex, datanode: DatanodeIndex, replica: ReportedReplica) {
        let id = replica.block.id;
        if let Some(held) = self.datanodes.storage_mut(storage)
            && let Some(progress) = held.report.as_mut()
        {
            if progress.touched.len() > 0 && progress.touched.contains(id.0) {
                return;
            }
            if let Some(seen) = progress.seen.as_mut() {
                seen.insert(id.0);
            }
        }
        if !self.messages.is_empty() {
            self.messages.remove_older(id.0, |other| other == storage);
        }
        if !self.excess.is_empty() || !self.corrupt.is_empty() {
            self.seen_despite_order(id, datanode);
        }
        self.process_replica(storage, datanode, replica, None);
    }

    /// Handles replicas that the storage was thought to have and that the report does not name.
    fn missing_in_full(&mut self, report: &mut BlockReport, from: i64, max: usize) {
        let mut from = from;
        for _ in 0..max {
            let Some(held) = self.datanodes.storage(report.storage) else {
                break;
            };
            let Some(progress) = held.report.as_ref() else {
                break;
            };
            let Some(seen) = progress.seen.as_ref() else {
                break;
            };
            let Some(id) = held.blocks.next(from) else {
                break;
            };
            if !seen.contains(id) && !progress.touched.contains(id) {
                self.remove_replica(BlockId(id), report.storage);
            }
            match id.checked_add(1) {
                Some(next) => from = next,
                None => break,
            }
            report.phase = Phase::Missing(from);
            continue;
        }
        let more = self.datanodes.storage(report.storage).is_some_and(|held| {
            held.report.as_ref().is_some_and(|progress| progress.seen.is_some()) && held.blocks.next(from).is_some()
        });
        report.phase = if more { Phase::Missing(from) } else { Phase::Done };
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
        if let Some(held) = self.datanodes.storage_mut(index)
            && let Some(progress) = held.report.as_mut()
        {
            progress.touched.insert(block.id.0);
        }
        let state = match notice {
            IncrementalNotice::Deleted => {
                self.replica_deleted(index, datanode, block);
                return;
            }
            IncrementalNotice::Received => {
                if let Some(node) = self.datanodes.get_mut(datanode) {
                    node.unschedule_block();
                }
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
        if self.messages.len() < self.config.max_pending_messages {
            self.messages.push(message);
        } else if let Some(node) = self.datanodes.storage(message.storage).map(|storage| storage.datanode)
            && let Some(node) = self.datanodes.get_mut(node)
        {
            node.unheard = true;
        }
    }

    fn replica_deleted(&mut self, storage: StorageIndex, datanode: DatanodeIndex, block: Block) {
        if !self.active && self.is_from_the_future(block) {
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
        if let Some(construction) = self.construction.get_mut(&block.id.0) {
            construction
                .replicas
                .retain(|replica| replica.storage != storage || replica.generation_stamp != block.generation_stamp.0);
        }
        self.remove_replica_of_node(block.id, datanode);
        self.end_marks(block.id, |mark| mark.node == datanode);
    }

    /// Whether a standby has not read of this block yet: its stamp or its id is higher than every one in the edits so
    /// far.
    pub(crate) fn is_from_the_future(&self, block: Block) -> bool {
        block.generation_stamp.0 > self.known_stamp
            || (block.id.0 > self.highest_id && self.blocks.get(block.id).is_none())
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
        if !self.active && replica.block.generation_stamp.0 > self.known_stamp {
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
            && record.generation_stamp() == replica.block.generation_stamp.0
            && same_48(record.num_bytes(), replica.block.num_bytes)
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
        if let Some(reason) = corruption(&record, &replica) {
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
            self.construction.entry(id.0).or_default().add_if_absent(
                storage,
                (replica.block.generation_stamp.0, replica.block.num_bytes),
                replica.state,
                self.now,
                |other| datanodes.storage(other).is_some_and(|other| other.datanode == datanode),
            );
        }
        let news = !self.blocks.has_replica(&record, storage) || self.is_corrupt_on(id, datanode);
        // A committed block waits for its replicas. A replica that counted as corrupt while the block was written has
        // been in the map all the time.
        if finalized && (news || record.state() == BlockState::Committed) {
            self.add_replica(id, storage, datanode, hint);
        }
    }

    /// Forgets earlier messages of the node about the block, because a newer one was judged. An older stamp among them
    /// would make the replica look corrupt when this NameNode becomes active (HDFS-16987).
    fn forget_older(&mut self, id: BlockId, datanode: DatanodeIndex) {
        if !self.messages.is_empty() {
            let datanodes = &self.datanodes;
            self.messages.remove_older(id.0, |storage| {
                datanodes.storage(storage).is_some_and(|one| one.datanode == datanode)
            });
        }
    }

    fn process_unknown(&mut self, storage: StorageIndex, datanode: DatanodeIndex, replica: ReportedReplica) {
        let future = self.is_from_the_future(replica.block);
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
        if replica.block.generation_stamp.0 > self.known_stamp {
            // An active that has not read of a stamp may have been started with an old image. So nothing is deleted,
            // and start-up safe mode waits for an administrator.
            if self.safe_mode.is_startup() {
                let safe_mode = &mut self.safe_mode;
                safe_mode.in_future_blocks = safe_mode.in_future_blocks.saturating_add(1);
                // A DataNode may send any length.
                safe_mode.in_future_bytes = safe_mode.in_future_bytes.saturating_add(replica.block.num_bytes);
            }
            return;
        }
        // A replica that is not deleted now will be just as unknown in the node's next full report.
        if self.datanodes.deletions() < self.config.max_unknown_deletions {
            let block = Block {
                num_bytes: NO_ACK,
                ..replica.block
            };
            self.order_deletion(datanode, block);
        }
    }

    fn deletion_is_ordered(&self, datanode: DatanodeIndex, block: Block) -> bool {
        self.active
            && self.datanodes.get(datanode).is_some_and(|node| {
                !node.invalidate.is_empty()
                    && node
                        .invalidate
                        .get(&block.id.0)
                        .is_some_and(|ordered| ordered.generation_stamp == block.generation_stamp)
            })
    }

    /// Puts a replica into the map, and does not look at the consequences.
    pub(crate) fn store_replica(&mut self, id: BlockId, storage: StorageIndex) -> bool {
        if !self.blocks.add_replica(id, storage) {
            return false;
        }
        if let Some(held) = self.datanodes.storage_mut(storage) {
            held.blocks.insert(id.0);
        }
        true
    }

    /// Handles a good, finalized replica (`addStoredBlock`).
    fn add_replica(
        &mut self,
        id: BlockId,
        storage: StorageIndex,
        datanode: DatanodeIndex,
        hint: Option<DatanodeIndex>,
    ) {
        // The node has moved the replica to another of its volumes.
        for other in self.replicas(id) {
            if other != storage
                && self.is_on(other, datanode)
                && self.blocks.remove_replica(id, other)
                && let Some(other) = self.datanodes.storage_mut(other)
            {
                other.blocks.remove(id.0);
            }
        }
        if !self.store_replica(id, storage) {
            self.end_marks(id, |mark| {
                mark.node == datanode && mark.reason == CorruptReason::GenerationStamp
            });
        }
        if self.pending.len() > 0 {
            let datanodes = &self.datanodes;
            self.pending.arrived(id.0, |target| {
                datanodes
                    .storage(target)
                    .is_some_and(|target| target.datanode == datanode)
            });
        }
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        if record.state() == BlockState::Committed && self.has_min_replicas(id) {
            let block = record.view(id).block;
            self.commit_block(block);
            return;
        }
        if record.is_complete() {
            self.update_safe(id);
            self.check_redundancy(id, Some(datanode), hint);
        }
    }

    /// Works off what was set aside for a block, now that an edit touched it. What still can't be judged, and everything
    /// after it, goes back in the same order.
    pub(crate) fn process_messages(&mut self, id: BlockId) {
        if self.messages.is_empty() {
            return;
        }
        let mut queue = self.messages.take(id.0);
        while let Some(message) = queue.pop_front() {
            let Some(datanode) = self.datanodes.storage(message.storage).map(|storage| storage.datanode) else {
                continue;
            };
            // Only the last word of each node counts, once everything can be judged.
            let outdated = self.active
                && queue.iter().any(|later| {
                    self.datanodes
                        .storage(later.storage)
                        .is_some_and(|one| one.datanode == datanode)
                });
            if outdated {
                continue;
            }
            if message.deleted {
                self.replica_deleted(message.storage, datanode, message.replica.block);
            } else {
                self.end_marks_of_writing(datanode, &message.replica);
                self.process_replica(message.storage, datanode, message.replica, None);
            }
            if !self.active && self.messages.holds(id.0) {
                for message in queue.drain(..) {
                    self.set_aside(message);
                }
            }
        }
    }
}
