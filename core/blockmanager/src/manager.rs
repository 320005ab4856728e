//! The block manager: the blocks that the edits make, and what is known of their replicas (`BlockManager`).
//!
//! Invariants ([`BlockManager::check`] watches them, with more of each part):
//! - a storage's `blocks` holds an id if and only if the block's record names the storage;
//! - `Flag::Corrupt`, `Flag::Excess` and `Flag::Needed` say whether the block is in `corrupt`, `excess` and `needed`;
//! - `safe_mode.total` counts the complete blocks, `safe_mode.safe` those of them with `Flag::Safe`;
//! - only blocks that are not complete are written or recovered, only complete ones are copied or cut back;
//! - a passive manager (standby) orders nothing: its queues are empty.

use crate::blocks::{Blocks, Flag, Record};
use crate::construction::{ExpectedReplica, UnderConstruction};
use crate::corrupt::CorruptReplicas;
use crate::datanodes::{AdminState, Datanode, Datanodes, Storage};
use crate::hosts::Hosts;
use crate::leases::ReportLeases;
use crate::mutant::{Mutant, Mutation};
use crate::orders::ExcessReplica;
use crate::queues::{self, LowRedundancy, Messages, Pending};
use crate::rng::Rng;
use crate::safemode::SafeMode;
use crate::types::{
    BlockInfo, BlockManagerConfig, BlockManagerError, BlockState, DatanodeIndex, NewBlock, Now, NumberReplicas,
    ReplicaState, StorageIndex,
};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};
use hathi_formats::proto::hdfs::{DatanodeInfoProto, DatanodeReportTypeProto, DatanodeStorageReportProto};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::AtomicU64;

/// Soft state: blocks, DataNodes, reports, replication.
#[derive(Debug)]
pub struct BlockManager {
    pub(crate) config: BlockManagerConfig,
    pub(crate) mutation: Mutation,
    pub(crate) blocks: Blocks,
    pub(crate) datanodes: Datanodes,
    pub(crate) hosts: Hosts,
    pub(crate) construction: HashMap<i64, UnderConstruction, FixedState>,
    /// Highest stamp that the namespace has handed out. A higher one is from the future.
    pub(crate) known_stamp: u64,
    /// Highest block id that the namespace has told. A higher one is from the future as well, because a stamp is
    /// journaled before its block.
    pub(crate) highest_id: i64,
    pub(crate) active: bool,
    /// Whether the redundancy queues are kept: since an active was out of safe mode for the first time.
    pub(crate) populating: bool,
    /// When the active role began. It is lost with the role.
    pub(crate) active_since_ms: u64,
    /// Since when DataNodes can reach this NameNode, monotonic ms: since the namespace was loaded.
    pub(crate) listening_since_ms: Option<u64>,
    pub(crate) messages: Messages,
    pub(crate) needed: LowRedundancy,
    pub(crate) pending: Pending,
    pub(crate) corrupt: CorruptReplicas,
    pub(crate) corrupt_news: u64,
    /// Excess replicas by block id.
    pub(crate) excess: BTreeMap<i64, SmallVec<[ExcessReplica; 1]>>,
    /// Blocks with too many replicas, of which none may be deleted while the content of a storage is not sure.
    pub(crate) postponed: BTreeSet<i64>,
    pub(crate) postponed_from: i64,
    /// Storages of dead nodes, and broken volumes, whose replicas are being forgotten.
    pub(crate) purge: VecDeque<StorageIndex>,
    /// How far the scan is that fills the queues.
    pub(crate) scan_from: Option<BlockId>,
    /// When the last attempt to recover each block began. Lost together with the attempt.
    pub(crate) recovery_attempts: BTreeMap<i64, u64>,
    pub(crate) leases: ReportLeases,
    pub(crate) report_sequence: u64,
    pub(crate) safe_mode: SafeMode,
    pub(crate) rng: Rng,
    /// Spreads readers over equally near replicas. Atomic, because reads run in parallel.
    pub(crate) read_turn: AtomicU64,
    /// The latest time that a caller has told.
    pub(crate) now: Now,
}

/// The numbers of `getFsStats` and similar calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blocks the namespace knows.
    pub blocks: u64,
    /// Bytes.
    pub capacity: u64,
    /// Bytes.
    pub dfs_used: u64,
    /// Bytes.
    pub remaining: u64,
    /// Bytes.
    pub block_pool_used: u64,
    /// Bytes.
    pub non_dfs_used: u64,
    /// Blocks with fewer replicas than wanted.
    pub low_redundancy: u64,
    /// Blocks with a corrupt replica.
    pub corrupt: u64,
    /// Blocks without a good replica.
    pub missing: u64,
    /// Of them, those that should have one replica only.
    pub missing_replication_one: u64,
    /// Reported blocks with stamps from the future.
    pub in_future: u64,
    /// Deletions not ordered yet.
    pub pending_deletion: u64,
    /// Of the low redundancy, the most urgent.
    pub highest_priority: u64,
    /// Enough replicas, too few racks.
    pub badly_distributed: u64,
    /// Replications under way.
    pub pending_reconstruction: u64,
    /// Live DataNodes.
    pub live_datanodes: u64,
    /// Dead DataNodes.
    pub dead_datanodes: u64,
    /// DataNodes whose last heartbeat is old, though not dead yet.
    pub stale_datanodes: u64,
    /// Threads that read or write blocks, over all live nodes.
    pub total_load: u64,
    /// Messages a standby keeps for blocks it does not know yet.
    pub pending_datanode_messages: u64,
    /// Blocks whose surplus replicas wait for sure reports.
    pub postponed: u64,
    /// Complete blocks.
    pub complete_blocks: u64,
    /// Complete blocks with the minimum of replicas.
    pub safe_blocks: u64,
}

/// Condition of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Live,
    Corrupt,
    Excess,
    Decommissioning,
    Decommissioned,
    EnteringMaintenance,
    InMaintenance,
    /// The replica is on a dead node or a broken volume.
    Gone,
}

impl BlockManager {
    /// An empty block manager, in start-up safe mode and passive (standby).
    #[must_use]
    pub fn new(config: BlockManagerConfig) -> BlockManager {
        let mut rng = Rng::new(config.seed);
        BlockManager {
            mutation: Mutation::default(),
            blocks: Blocks::default(),
            datanodes: Datanodes::default(),
            hosts: Hosts::default(),
            construction: HashMap::default(),
            known_stamp: 0,
            highest_id: BlockId::LAST_RESERVED.0,
            active: false,
            populating: false,
            active_since_ms: 0,
            listening_since_ms: None,
            messages: Messages::default(),
            needed: LowRedundancy::default(),
            pending: Pending::default(),
            corrupt: CorruptReplicas::new(),
            corrupt_news: 0,
            excess: BTreeMap::new(),
            postponed: BTreeSet::new(),
            postponed_from: i64::MIN,
            purge: VecDeque::new(),
            scan_from: None,
            recovery_attempts: BTreeMap::new(),
            leases: ReportLeases::new(&config, rng.next_u64()),
            report_sequence: 0,
            safe_mode: SafeMode::new(&config),
            read_turn: AtomicU64::new(rng.next_u64()),
            rng,
            config,
            now: Now::default(),
        }
    }

    /// Breaks a rule, for the simulator.
    #[cfg(any(test, feature = "mutants"))]
    pub fn plant(&mut self, mutant: Option<Mutant>) {
        self.mutation = Mutation::planted(mutant);
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &BlockManagerConfig {
        &self.config
    }

    // --- what edits did (the same calls while an image loads) ---

    /// The namespace has a new block.
    pub fn add_block(&mut self, new: NewBlock) {
        let id = new.block.id;
        let record = Record::new(new.block, new.inode, new.replication, new.state);
        if !self.blocks.insert(id, record) {
            // An op was replayed over an image that has its block already. The op is newer.
            if let Some(record) = self.blocks.get_mut(id) {
                record.set_inode(new.inode);
                record.set_replication(new.replication);
            }
            self.update_block(new.block);
            return;
        }
        self.highest_id = self.highest_id.max(id.0);
        if !self.corrupt.is_empty() {
            self.adopt_early_marks(new.block);
        }
        if new.state == BlockState::Complete {
            self.safe_mode.total += 1;
        }
        self.process_messages(id);
    }

    /// Length or stamp of a block under construction changed (`UPDATE_BLOCKS`, `fsync`).
    pub fn update_block(&mut self, block: Block) {
        let Some(record) = self.blocks.get_mut(block.id) else {
            return;
        };
        let new_stamp = record.generation_stamp() != block.generation_stamp.0;
        record.set_block(block);
        if new_stamp {
            self.drop_stale_replicas(block);
        }
        self.process_messages(block.id);
    }

    /// The client told the final length. The block is complete at once when enough replicas are known, or when a
    /// recovery ended. Returns whether it is complete (`commitOrCompleteLastBlock`).
    pub fn commit_block(&mut self, block: Block) -> bool {
        let Some(record) = self.blocks.get_mut(block.id) else {
            return false;
        };
        if record.is_complete() {
            record.set_block(block);
            return true;
        }
        let recovered = record.state() == BlockState::UnderRecovery;
        record.set_block(block);
        record.set_state(BlockState::Committed);
        self.drop_stale_replicas(block);
        if recovered || self.has_min_replicas(block.id) {
            self.set_complete(block.id);
        }
        self.process_messages(block.id);
        self.is_complete(block.id)
    }

    /// Makes a block complete, whatever is known of its replicas (`CLOSE`, a penultimate block on replay).
    pub fn complete_block(&mut self, block: Block) {
        let Some(record) = self.blocks.get_mut(block.id) else {
            return;
        };
        record.set_block(block);
        self.drop_stale_replicas(block);
        self.set_complete(block.id);
        self.process_messages(block.id);
    }

    /// A complete block is written again (append, truncate). Its replicas become the expected ones.
    pub fn reopen_block(&mut self, block: Block) {
        let Some(record) = self.blocks.get_mut(block.id) else {
            return;
        };
        let was_complete = record.is_complete();
        let old_stamp = record.generation_stamp();
        record.set_block(block);
        record.set_state(BlockState::UnderConstruction);
        let safe = record.flag(Flag::Safe);
        record.set_flag(Flag::Safe, false);
        debug_assert!(was_complete || !safe, "only complete blocks count as safe");
        if was_complete {
            debug_assert!(self.safe_mode.total > 0, "a complete block is counted");
            self.safe_mode.total -= 1;
            self.safe_mode.safe -= u64::from(safe);
        }
        let replicas = self.replicas(block.id);
        let construction = self.construction.entry(block.id.0).or_default();
        for &storage in &replicas {
            let kept = (old_stamp, block.num_bytes);
            construction.add_if_absent(storage, kept, ReplicaState::Finalized, self.now, |_| false);
        }
        self.pending.remove(block.id.0);
        self.set_needed(block.id, None, 0);
        for storage in replicas {
            if let Some(node) = self.datanodes.storage(storage).map(|storage| storage.datanode) {
                self.datanodes.cancel_deletion(node, block.id);
            }
        }
        self.process_messages(block.id);
    }

    /// The block belongs to no file any more, so its replicas must be deleted.
    pub fn remove_block(&mut self, id: BlockId) {
        let Some((record, replicas)) = self.blocks.remove(id) else {
            return;
        };
        if record.is_complete() {
            self.safe_mode.total -= 1;
            self.safe_mode.safe -= u64::from(record.flag(Flag::Safe));
        }
        let block = record.view(id).block;
        for storage in replicas {
            let Some(storage) = self.datanodes.storage_mut(storage) else {
                continue;
            };
            storage.blocks.remove(id.0);
            let node = storage.datanode;
            self.order_deletion(node, block);
        }
        self.unschedule(id);
        self.construction.remove(&id.0);
        self.recovery_attempts.remove(&id.0);
        self.pending.remove(id.0);
        if record.flag(Flag::Needed) {
            self.needed.set(id.0, None, 0);
        }
        if record.flag(Flag::Corrupt) {
            self.corrupt.remove(&id.0);
        }
        if record.flag(Flag::Excess) {
            self.excess.remove(&id.0);
        }
        self.postponed.remove(&id.0);
        self.messages.take(id.0);
        self.check_safe_mode();
    }

    /// `setReplication`.
    pub fn set_replication(&mut self, id: BlockId, replication: u16) {
        let Some(record) = self.blocks.get_mut(id) else {
            return;
        };
        record.set_replication(replication);
        self.check_redundancy(id, None, None);
    }

    /// `concat` has moved the block to another file.
    pub fn set_inode(&mut self, id: BlockId, inode: InodeId) {
        if let Some(record) = self.blocks.get_mut(id) {
            record.set_inode(inode);
        }
    }

    /// Sets the highest generation stamp that the namespace has handed out. Reports with a higher one are from the
    /// future.
    pub fn set_generation_stamp(&mut self, stamp: GenerationStamp) {
        self.known_stamp = self.known_stamp.max(stamp.0);
    }

    fn set_complete(&mut self, id: BlockId) {
        let Some(record) = self.blocks.get_mut(id) else {
            return;
        };
        if record.is_complete() {
            return;
        }
        record.set_state(BlockState::Complete);
        self.safe_mode.total += 1;
        self.recovery_attempts.remove(&id.0);
        let expected = self.construction.remove(&id.0);
        debug_assert!(
            self.blocks.get(id).is_none_or(|record| !record.flag(Flag::Needed)),
            "only complete blocks are queued"
        );
        self.update_safe(id);
        if !self.populating {
            return;
        }
        // The rest of the pipeline is about to report, so no copies are needed in its place.
        if let Some(construction) = expected {
            let known = self.replicas(id);
            let coming: SmallVec<[StorageIndex; 3]> = construction
                .replicas
                .iter()
                .map(|replica| replica.storage)
                .filter(|storage| !known.contains(storage) && self.is_writable(*storage))
                .collect();
            if !coming.is_empty() {
                self.pending.add(id.0, &coming, None, self.now.monotonic_ms);
            }
        }
        self.check_redundancy(id, None, None);
    }

    /// Forgets replicas whose reported stamp differs from that of their block, which is not complete
    /// (`setGenerationStampAndVerifyReplicas`).
    fn drop_stale_replicas(&mut self, block: Block) {
        let Some(construction) = self.construction.get_mut(&block.id.0) else {
            return;
        };
        let stale: SmallVec<[StorageIndex; 3]> = construction
            .replicas
            .iter()
            .filter(|replica| replica.generation_stamp != block.generation_stamp.0)
            .map(|replica| replica.storage)
            .collect();
        construction
            .replicas
            .retain(|replica| replica.generation_stamp == block.generation_stamp.0);
        for storage in stale {
            self.remove_replica(block.id, storage);
        }
    }

    // --- role ---

    /// Makes this manager active: processes every message from the future, and takes all storages for stale.
    pub fn start_active(&mut self, now: Now) {
        self.now = now;
        self.active = true;
        self.active_since_ms = now.monotonic_ms;
        self.listening_since_ms.get_or_insert(now.monotonic_ms);
        self.forget_work();
        for storage in self.datanodes.storages_mut() {
            storage.content_stale = !self.mutation.is(Mutant::TrustStaleStorages);
            storage.heartbeated_since_failover = false;
        }
        // A report under a lease of this term shows that its node has received an answer of this term.
        self.leases.clear();
        for node in self.datanodes.nodes_mut() {
            node.counts_anew = node.told_active;
        }
        while let Some(id) = self.messages.first() {
            self.process_messages(BlockId(id));
        }
        debug_assert!(self.messages.is_empty(), "an active judges everything");
        if !self.safe_mode.is_on() {
            self.start_queues();
        }
    }

    /// Makes this manager passive: forgets queues, pending work and commands.
    pub fn stop_active(&mut self) {
        self.active = false;
        self.safe_mode.forget_low_resources();
        self.forget_work();
    }

    fn forget_work(&mut self) {
        self.populating = false;
        self.scan_from = None;
        let marked: Vec<i64> = self.needed.ids().chain(self.excess.keys().copied()).collect();
        for id in marked {
            if let Some(record) = self.blocks.get_mut(BlockId(id)) {
                record.set_flag(Flag::Needed, false);
                record.set_flag(Flag::Excess, false);
            }
        }
        self.needed.clear();
        self.pending.clear();
        for id in std::mem::take(&mut self.excess).into_keys() {
            self.update_safe(BlockId(id));
        }
        self.postponed.clear();
        self.recovery_attempts.clear();
        self.forget_corrupt_orders();
        // order: each block forgets the same.
        for construction in self.construction.values_mut() {
            construction.recovery = None;
            construction.ask_silent = false;
            construction.short_since_ms = None;
            construction.bad_since_ms = None;
        }
        self.datanodes.forget_all_work();
    }

    /// Begins the scan that fills the queues (`initializeReplQueues`). [`BlockManager::redundancy_tick`] continues it.
    pub(crate) fn start_queues(&mut self) {
        debug_assert!(self.active, "only an active orders anything");
        debug_assert!(
            !self.safe_mode.is_on(),
            "before enough reports came every block lacks replicas"
        );
        self.populating = true;
        self.scan_from = Some(BlockId(i64::MIN));
    }

    /// Whether this manager is active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }

    // --- looking things up ---

    /// What is known of a block.
    #[must_use]
    pub fn block(&self, id: BlockId) -> Option<BlockInfo> {
        self.blocks.get(id).map(|record| record.view(id))
    }

    /// The file that a block belongs to.
    #[must_use]
    pub fn inode_of(&self, id: BlockId) -> Option<InodeId> {
        self.blocks.get(id).map(Record::inode)
    }

    /// The storages with a finalized replica, good or bad.
    #[must_use]
    pub fn replicas_of(&self, id: BlockId) -> Vec<StorageIndex> {
        self.replicas(id).to_vec()
    }

    pub(crate) fn replicas(&self, id: BlockId) -> crate::blocks::Replicas {
        self.blocks
            .get(id)
            .map(|record| self.blocks.replicas(record))
            .unwrap_or_default()
    }

    pub(crate) fn condition(&self, id: BlockId, record: &Record, storage: StorageIndex) -> Condition {
        let Some(storage) = self.datanodes.storage(storage) else {
            return Condition::Gone;
        };
        let Some(node) = self.datanodes.get(storage.datanode) else {
            return Condition::Gone;
        };
        if storage.failed {
            return Condition::Gone;
        }
        if record.flag(Flag::Corrupt) && self.is_corrupt_on(id, storage.datanode) {
            return Condition::Corrupt;
        }
        match node.admin_state {
            AdminState::InMaintenance => return Condition::InMaintenance,
            _ if !node.alive => return Condition::Gone,
            AdminState::DecommissionInProgress => return Condition::Decommissioning,
            AdminState::Decommissioned => return Condition::Decommissioned,
            AdminState::EnteringMaintenance => return Condition::EnteringMaintenance,
            AdminState::Normal => {}
        }
        if record.flag(Flag::Excess) && self.is_excess_on(id, storage.datanode) {
            return Condition::Excess;
        }
        Condition::Live
    }

    /// Number of replicas in each condition.
    #[must_use]
    pub fn count_replicas(&self, id: BlockId) -> NumberReplicas {
        let mut counts = NumberReplicas::default();
        let Some(record) = self.blocks.get(id) else {
            return counts;
        };
        for storage in self.blocks.replicas(record) {
            match self.condition(id, record, storage) {
                Condition::Gone => continue,
                Condition::Live => counts.live += 1,
                Condition::Corrupt => counts.corrupt += 1,
                Condition::Excess => counts.excess += 1,
                Condition::Decommissioning => counts.decommissioning += 1,
                Condition::Decommissioned => counts.decommissioned += 1,
                Condition::EnteringMaintenance | Condition::InMaintenance => counts.maintenance += 1,
            }
            if self
                .datanodes
                .storage(storage)
                .is_some_and(|storage| storage.content_stale)
            {
                counts.stale += 1;
            }
        }
        counts
    }

    /// Whether the block has at least `dfs.namenode.replication.min` good replicas (`hasMinStorage`).
    #[must_use]
    pub fn has_min_replicas(&self, id: BlockId) -> bool {
        let counts = self.count_replicas(id);
        counts.live + counts.decommissioning + counts.maintenance >= u32::from(self.config.min_replication)
    }

    /// Whether the block has as many good replicas as append needs (`isSufficientlyReplicated`): the minimum, or one
    /// per live node if there are fewer.
    #[must_use]
    pub fn is_sufficiently_replicated(&self, id: BlockId) -> bool {
        let wanted = (self.config.min_replication as usize).min(self.datanodes.live.len());
        self.count_replicas(id).live as usize >= wanted
    }

    /// Whether the block is complete.
    #[must_use]
    pub fn is_complete(&self, id: BlockId) -> bool {
        self.blocks.get(id).is_some_and(Record::is_complete)
    }

    /// At most `max` corrupt blocks with an id above `after`, and their files (`listCorruptFileBlocks`).
    #[must_use]
    pub fn corrupt_blocks(&self, after: Option<BlockId>, max: usize) -> Vec<(BlockId, InodeId)> {
        self.needed
            .missing(after.map_or(i64::MIN, |id| id.0))
            .filter_map(|id| {
                let id = BlockId(id);
                Some((id, self.inode_of(id)?))
            })
            .take(max)
            .collect()
    }

    /// The statistics.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            blocks: self.blocks.len() as u64,
            low_redundancy: self.needed.low() as u64,
            corrupt: self.corrupt_count() as u64,
            missing: self.needed.len(queues::CORRUPT) as u64,
            missing_replication_one: self.needed.missing_replication_one() as u64,
            in_future: self.safe_mode.in_future_blocks,
            highest_priority: self.needed.len(queues::HIGHEST) as u64,
            badly_distributed: self.needed.len(queues::BADLY_DISTRIBUTED) as u64,
            pending_reconstruction: self.pending.len() as u64,
            live_datanodes: self.datanodes.live.len() as u64,
            pending_datanode_messages: self.messages.len() as u64,
            postponed: self.postponed.len() as u64,
            complete_blocks: self.safe_mode.total,
            safe_blocks: self.safe_mode.safe,
            pending_deletion: self.datanodes.deletions() as u64,
            ..Counts::default()
        };
        for (_, node) in self.datanodes.nodes() {
            if !node.alive {
                counts.dead_datanodes += 1;
                continue;
            }
            counts.total_load += u64::from(node.xceivers);
            counts.stale_datanodes += u64::from(node.is_stale(&self.config, self.now));
            for storage in node.storages.iter().filter_map(|&at| self.datanodes.storage(at)) {
                if storage.failed {
                    continue;
                }
                // The numbers come from DataNodes, which may send anything.
                let add = |sum: &mut u64, bytes: u64| *sum = sum.saturating_add(bytes);
                add(&mut counts.block_pool_used, storage.block_pool_used);
                // Of nodes that leave only the used bytes count, not the capacity (`DatanodeStats.add`).
                add(&mut counts.dfs_used, storage.dfs_used);
                if node.admin_state == AdminState::Normal {
                    add(&mut counts.capacity, storage.capacity);
                    add(&mut counts.remaining, storage.remaining);
                    add(&mut counts.non_dfs_used, storage.non_dfs_used);
                } else {
                    add(&mut counts.capacity, storage.dfs_used);
                }
            }
        }
        counts
    }

    /// A node.
    #[must_use]
    pub fn datanode(&self, index: DatanodeIndex) -> Option<&Datanode> {
        self.datanodes.get(index)
    }

    /// Every DataNode that has registered since this block manager was made, dead ones included.
    pub fn datanodes(&self) -> impl Iterator<Item = (DatanodeIndex, &Datanode)> {
        self.datanodes.nodes()
    }

    /// A storage.
    #[must_use]
    pub fn storage(&self, index: StorageIndex) -> Option<&Storage> {
        self.datanodes.storage(index)
    }

    /// The storage with this uuid on that node.
    #[must_use]
    pub fn find_storage(&self, datanode_uuid: &str, storage_uuid: &str) -> Option<StorageIndex> {
        self.datanodes
            .find_storage(self.datanodes.by_uuid(datanode_uuid)?, storage_uuid)
    }

    /// The registered, live node with this uuid.
    pub fn datanode_by_uuid(&self, uuid: &str) -> Result<DatanodeIndex, BlockManagerError> {
        self.datanodes
            .by_uuid(uuid)
            .filter(|&index| self.datanodes.get(index).is_some_and(|node| node.alive))
            .ok_or_else(|| BlockManagerError::Unregistered(uuid.to_owned()))
    }

    /// A node by its uuid, dead or alive.
    #[must_use]
    pub fn find_datanode(&self, uuid: &str) -> Option<DatanodeIndex> {
        self.datanodes.by_uuid(uuid)
    }

    /// Whether a storage of the node may hold other blocks than the known ones.
    #[must_use]
    pub fn has_stale_storages(&self, datanode: DatanodeIndex) -> bool {
        self.datanodes.get(datanode).is_some_and(|node| {
            node.storages
                .iter()
                .any(|&at| self.datanodes.storage(at).is_some_and(|storage| storage.content_stale))
        })
    }

    fn reported_nodes(&self, which: DatanodeReportTypeProto) -> impl Iterator<Item = &Datanode> {
        self.datanodes
            .nodes()
            .map(|(_, node)| node)
            .filter(move |node| match which {
                DatanodeReportTypeProto::All => true,
                DatanodeReportTypeProto::Live => node.alive,
                DatanodeReportTypeProto::Dead => !node.alive,
                DatanodeReportTypeProto::Decommissioning => {
                    node.alive && node.admin_state == AdminState::DecommissionInProgress
                }
                DatanodeReportTypeProto::EnteringMaintenance => {
                    node.alive && node.admin_state == AdminState::EnteringMaintenance
                }
                DatanodeReportTypeProto::InMaintenance => node.admin_state == AdminState::InMaintenance,
            })
    }

    /// For `getDatanodeReport`.
    #[must_use]
    pub fn datanode_report(&self, which: DatanodeReportTypeProto) -> Vec<DatanodeInfoProto> {
        self.reported_nodes(which)
            .map(|node| self.datanodes.info(node))
            .collect()
    }

    /// For `getDatanodeStorageReport`.
    #[must_use]
    pub fn datanode_storage_report(&self, which: DatanodeReportTypeProto) -> Vec<DatanodeStorageReportProto> {
        self.reported_nodes(which)
            .map(|node| DatanodeStorageReportProto {
                datanode_info: self.datanodes.info(node),
                storage_reports: node
                    .storages
                    .iter()
                    .filter_map(|&at| self.datanodes.storage(at))
                    .map(Datanodes::storage_report)
                    .collect(),
            })
            .collect()
    }

    /// Approximate size of blocks and replicas on the heap in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.blocks.heap_bytes()
            + self
                .datanodes
                .storages()
                .map(|(_, storage)| storage.blocks.heap_bytes())
                .sum::<usize>()
    }

    // --- writing ---

    /// Sets the pipeline that writes a block under construction (`addBlock`, `updatePipeline`).
    pub fn set_expected_locations(&mut self, id: BlockId, on: &[StorageIndex]) {
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        if record.is_complete() {
            return;
        }
        let generation_stamp = record.generation_stamp();
        let replicas = on
            .iter()
            .map(|&storage| ExpectedReplica {
                storage,
                state: ReplicaState::Rbw,
                generation_stamp,
                num_bytes: 0,
                since_ms: self.now.monotonic_ms,
                was_primary: false,
            })
            .collect();
        self.unschedule(id);
        self.construction.entry(id.0).or_default().replicas = replicas;
        for &storage in on {
            if let Some(node) = self.datanodes.storage(storage).map(|storage| storage.datanode)
                && let Some(node) = self.datanodes.get_mut(node)
            {
                node.schedule_block();
            }
        }
    }

    /// Stops waiting for the replicas of a block under construction that were not received. Their room is free for
    /// other blocks (`DatanodeStorageInfo.decrementBlocksScheduled`).
    fn unschedule(&mut self, id: BlockId) {
        let Some(construction) = self.construction.get(&id.0) else {
            return;
        };
        let written = construction.replicas.iter();
        for replica in written.filter(|replica| replica.state != ReplicaState::Finalized) {
            if let Some(node) = self.datanodes.storage(replica.storage).map(|storage| storage.datanode)
                && let Some(node) = self.datanodes.get_mut(node)
            {
                node.unschedule_block();
            }
        }
    }

    /// The storages on which replicas of a block under construction are expected.
    #[must_use]
    pub fn expected_locations(&self, id: BlockId) -> Vec<StorageIndex> {
        match self.construction.get(&id.0) {
            Some(construction) => construction.replicas.iter().map(|replica| replica.storage).collect(),
            None => Vec::new(),
        }
    }
}
