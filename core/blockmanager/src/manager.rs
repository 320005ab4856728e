//! The block manager itself: what the namesystem calls.

use crate::blocks::Blocks;
use crate::datanodes::{Datanode, HeartbeatStats, Storage};
use crate::placement::PlacementRequest;
use crate::reports::{BlockReport, ReportProgress};
use crate::safemode::{SafeMode, SafeModeStatus};
use crate::types::{
    BlockManagerConfig, BlockManagerError, BlockView, DatanodeIndex, IncrementalNotice, NewBlock, Now, NumberReplicas,
    StorageIndex,
};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};
use hathi_formats::proto::datanode::{DatanodeCommandProto, StorageBlockReportProto};
use hathi_formats::proto::hdfs::{
    DatanodeIdProto, DatanodeInfoProto, DatanodeReportTypeProto, DatanodeStorageProto, DatanodeStorageReportProto,
    LocatedBlockProto,
};

/// Soft state: blocks, DataNodes, reports, replication.
#[derive(Debug)]
pub struct BlockManager {
    config: BlockManagerConfig,
    pub(crate) blocks: Blocks,
    safe_mode: SafeMode,
}

/// What `getFsStats` and its relatives count.
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
}

#[allow(unused_variables, reason = "skeleton")]
impl BlockManager {
    /// An empty one, in start-up safe mode, passive (standby).
    #[must_use]
    pub fn new(config: BlockManagerConfig) -> BlockManager {
        BlockManager { config, blocks: Blocks::default(), safe_mode: SafeMode::default() }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &BlockManagerConfig {
        &self.config
    }

    // --- what edits did (the same calls while an image loads) ---

    /// The namespace has a new block.
    pub fn add_block(&mut self, new: NewBlock) {}
    /// A block under construction has another length or stamp (`UPDATE_BLOCKS`, `fsync`).
    pub fn update_block(&mut self, block: Block) {}
    /// Its client said its final length; complete at once when enough replicas are known. Returns whether it is.
    pub fn commit_block(&mut self, block: Block) -> bool {
        false
    }
    /// Complete whatever is known of its replicas (`CLOSE`, a penultimate block on replay).
    pub fn complete_block(&mut self, block: Block) {}
    /// A complete block is written to again (append, truncate).
    pub fn reopen_block(&mut self, block: Block) {}
    /// The block belongs to no file any more; its replicas are to be deleted.
    pub fn remove_block(&mut self, id: BlockId) {}
    /// `setReplication`.
    pub fn set_replication(&mut self, id: BlockId, replication: u16) {}
    /// `concat` gave the block to another file.
    pub fn set_inode(&mut self, id: BlockId, inode: InodeId) {}
    /// The highest generation stamp the namespace has handed out; reports with higher ones are from the future.
    pub fn set_generation_stamp(&mut self, stamp: GenerationStamp) {}

    // --- role ---

    /// Active from now on: works off every message from the future, takes all storages for stale.
    pub fn start_active(&mut self, now: Now) {}
    /// Not active any more: queues, pending work and commands are forgotten.
    pub fn stop_active(&mut self) {}
    /// Whether `start_active` was last.
    #[must_use]
    pub fn is_active(&self) -> bool {
        false
    }

    // --- looking things up ---

    /// What is known of a block.
    #[must_use]
    pub fn block(&self, id: BlockId) -> Option<BlockView> {
        None
    }
    /// Replicas by condition.
    #[must_use]
    pub fn count_replicas(&self, id: BlockId) -> NumberReplicas {
        NumberReplicas::default()
    }
    /// At least `dfs.namenode.replication.min` good replicas (`hasMinStorage`).
    #[must_use]
    pub fn has_min_replicas(&self, id: BlockId) -> bool {
        false
    }
    /// As many good replicas as append asks for (`isSufficientlyReplicated`).
    #[must_use]
    pub fn is_sufficiently_replicated(&self, id: BlockId) -> bool {
        false
    }
    /// Complete.
    #[must_use]
    pub fn is_complete(&self, id: BlockId) -> bool {
        false
    }
    /// The block with its readable locations nearest first; for one under construction, those of its pipeline.
    /// `client` is the reader's IP address or host name.
    #[must_use]
    pub fn located_block(&self, pool: &str, block: Block, offset: u64, client: Option<&str>) -> LocatedBlockProto {
        LocatedBlockProto::default()
    }
    /// A located block on exactly these storages, in this order (the answer of `addBlock`).
    #[must_use]
    pub fn located_block_on(&self, pool: &str, block: Block, offset: u64, on: &[StorageIndex]) -> LocatedBlockProto {
        LocatedBlockProto::default()
    }
    /// Corrupt blocks with an id above `after`, at most `max` (`listCorruptFileBlocks`): id and file.
    #[must_use]
    pub fn corrupt_blocks(&self, after: Option<BlockId>, max: usize) -> Vec<(BlockId, InodeId)> {
        Vec::new()
    }
    /// Statistics.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    // --- writing ---

    /// Storages for new replicas (`chooseTarget4NewBlock`, `getAdditionalDatanode`). Fewer than asked when there are no
    /// more; an error when there is none although some were asked for.
    pub fn choose_targets(
        &mut self,
        request: &PlacementRequest<'_>,
        now: Now,
    ) -> Result<Vec<StorageIndex>, BlockManagerError> {
        Ok(Vec::new())
    }
    /// The pipeline a block under construction is written to (`addBlock`, `updatePipeline`).
    pub fn set_expected_locations(&mut self, id: BlockId, on: &[StorageIndex]) {}
    /// The storages a block under construction is expected on.
    #[must_use]
    pub fn expected_locations(&self, id: BlockId) -> Vec<StorageIndex> {
        Vec::new()
    }
    /// Block recovery with this stamp as its id: a primary DataNode gets the command with its next heartbeat.
    /// False when nobody could be asked.
    pub fn begin_recovery(
        &mut self,
        id: BlockId,
        recovery_id: GenerationStamp,
        truncate: Option<Block>,
        now: Now,
    ) -> bool {
        false
    }
    /// The recovery under way: its id, and the truncated block if there is one.
    #[must_use]
    pub fn recovery(&self, id: BlockId) -> Option<(GenerationStamp, Option<Block>)> {
        None
    }
    /// The storage with this uuid on that node.
    #[must_use]
    pub fn find_storage(&self, datanode_uuid: &str, storage_uuid: &str) -> Option<StorageIndex> {
        None
    }

    // --- DataNodes ---

    /// `registerDatanode`. The address has been replaced by the peer's already.
    pub fn register(
        &mut self,
        id: DatanodeIdProto,
        software_version: &str,
        now: Now,
    ) -> Result<DatanodeIndex, BlockManagerError> {
        Err(BlockManagerError::Unregistered(id.datanode_uuid))
    }
    /// The registered, live node with this uuid.
    pub fn datanode_by_uuid(&self, uuid: &str) -> Result<DatanodeIndex, BlockManagerError> {
        Err(BlockManagerError::Unregistered(uuid.to_owned()))
    }
    /// A node.
    #[must_use]
    pub fn datanode(&self, index: DatanodeIndex) -> Option<&Datanode> {
        None
    }
    /// A storage.
    #[must_use]
    pub fn storage(&self, index: StorageIndex) -> Option<&Storage> {
        None
    }
    /// `sendHeartbeat` without its commands.
    pub fn heartbeat(&mut self, datanode: DatanodeIndex, stats: HeartbeatStats, now: Now) {}
    /// What the node is to do, at most what one heartbeat may carry. Empty while passive or in safe mode.
    pub fn take_commands(&mut self, datanode: DatanodeIndex, pool: &str, now: Now) -> Vec<DatanodeCommandProto> {
        Vec::new()
    }
    /// A lease to send a full block report; 0 when none is to be had now.
    pub fn request_report_lease(&mut self, datanode: DatanodeIndex, now: Now) -> u64 {
        0
    }
    /// For `getDatanodeReport`.
    #[must_use]
    pub fn datanode_report(&self, which: DatanodeReportTypeProto) -> Vec<DatanodeInfoProto> {
        Vec::new()
    }
    /// For `getDatanodeStorageReport`.
    #[must_use]
    pub fn datanode_storage_report(&self, which: DatanodeReportTypeProto) -> Vec<DatanodeStorageReportProto> {
        Vec::new()
    }

    // --- reports ---

    /// Checks the lease of a full report.
    pub fn check_report_lease(&mut self, datanode: DatanodeIndex, lease: u64, now: Now) -> Result<(), BlockManagerError> {
        Ok(())
    }
    /// Begins the report of one storage.
    pub fn begin_report(
        &mut self,
        datanode: DatanodeIndex,
        report: StorageBlockReportProto,
    ) -> Result<BlockReport, BlockManagerError> {
        Ok(BlockReport { datanode, buffers: report.blocks_buffers })
    }
    /// Works on at most `max` blocks of it. Release the lock between two slices.
    pub fn report_slice(
        &mut self,
        report: &mut BlockReport,
        max: usize,
        now: Now,
    ) -> Result<ReportProgress, BlockManagerError> {
        Ok(ReportProgress::Done)
    }
    /// One notice of `blockReceivedAndDeleted`.
    pub fn incremental_report(
        &mut self,
        datanode: DatanodeIndex,
        storage: &DatanodeStorageProto,
        block: Block,
        notice: IncrementalNotice,
        delete_hint: Option<&str>,
        now: Now,
    ) {
    }
    /// A client or a DataNode found the replica to be bad.
    pub fn mark_corrupt(&mut self, block: Block, datanode: DatanodeIndex, storage_uuid: &str, reason: &str) {}

    // --- time ---

    /// Liveness: nodes without heartbeats die; their replicas go in slices (`HeartbeatManager.heartbeatCheck`). Returns
    /// whether there is more to do at once.
    pub fn heartbeat_check(&mut self, now: Now, max_blocks: usize) -> bool {
        false
    }
    /// One round of the redundancy monitor (`BlockManager.RedundancyMonitor`), every 3 s while active. Returns whether
    /// there is more to do at once.
    pub fn redundancy_tick(&mut self, now: Now, max_blocks: usize) -> bool {
        false
    }

    // --- safe mode ---

    /// The namespace is loaded: safe mode begins to count.
    pub fn activate_safe_mode(&mut self, now: Now) {}
    /// In safe mode, of whichever kind.
    #[must_use]
    pub fn in_safe_mode(&self) -> bool {
        false
    }
    /// In safe mode because of the start, not because an administrator asked.
    #[must_use]
    pub fn in_startup_safe_mode(&self) -> bool {
        false
    }
    /// Start-up safe mode's progress.
    #[must_use]
    pub fn safe_mode_status(&self) -> SafeModeStatus {
        SafeModeStatus::Off
    }
    /// The text of a `SafeModeException`'s second half (`getSafeModeTip`).
    #[must_use]
    pub fn safe_mode_tip(&self) -> String {
        String::new()
    }
    /// `dfsadmin -safemode enter`.
    pub fn enter_safe_mode(&mut self) {}
    /// `dfsadmin -safemode leave` or `forceExit`. False when blocks from the future forbid it.
    pub fn leave_safe_mode(&mut self, force: bool, now: Now) -> bool {
        true
    }
}
