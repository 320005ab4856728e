//! Small value types of the block manager.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use hathi_formats::block_list::MalformedBlockList;
pub use hathi_formats::block_list::{ReplicaState, ReportedReplica};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};
pub use hathi_formats::striping::{BlockLayout, Striping};

/// A time on both clocks. A core never asks for the time itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds of an arbitrary start.
    pub monotonic_ms: u64,
    /// Wall clock, milliseconds since 1970.
    pub wall_ms: u64,
}

/// A call of a client about a block that it gets, or has, to write: the ids that the call has in Hadoop's RPC header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpeningCall {
    /// The client's id.
    pub client_id: [u8; 16],
    /// The client's number of the call, not negative.
    pub call_id: i32,
}

impl OpeningCall {
    /// Whether the client made this call before the other one. Hadoop's clients count their calls up in 31 bits, over all
    /// threads, and repeat a call with its number (`Client.nextCallId`). False when the calls have different clients.
    pub(crate) fn is_before(self, other: OpeningCall) -> bool {
        let ahead = other.call_id.wrapping_sub(self.call_id) & i32::MAX;
        self.client_id == other.client_id && (1..1 << 30).contains(&ahead)
    }
}

/// A storage (a volume of a DataNode) as a small number. It is valid until the storage is removed and its last replica
/// is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageIndex(pub u32);

/// A DataNode as a small number. Never reused while the NameNode runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatanodeIndex(pub u32);

/// The number of a full block report of a storage: reports that begin later have higher ones. The first has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReportSequence(pub(crate) u64);

/// State of a block (`HdfsServerConstants.BlockUCState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// Length and stamp are final, and there are as many replicas as the minimum demands.
    Complete,
    /// A client writes the block.
    UnderConstruction,
    /// The NameNode has ordered a DataNode to find an agreement on the length.
    UnderRecovery,
    /// The client has told the final length, but too few replicas are known.
    Committed,
}

/// One notice of `blockReceivedAndDeleted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncrementalNotice {
    /// A pipeline began to write the replica.
    Receiving,
    /// The replica is complete.
    Received,
    /// The replica is gone.
    Deleted,
}

/// A block the namespace made or loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewBlock {
    /// Id, length and stamp.
    pub block: Block,
    /// The file it belongs to.
    pub inode: InodeId,
    /// Number of replicas that it should have (at most 4095), or how the group is striped. A block group has an id whose
    /// index is 0.
    pub layout: BlockLayout,
    /// Complete for blocks of closed files and all but the last of open ones.
    pub state: BlockState,
}

/// Knowledge about a block, without its replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Id, length and stamp.
    pub block: Block,
    /// The file it belongs to.
    pub inode: InodeId,
    /// Number of replicas that it should have; of a block group the number of its internal blocks.
    pub replication: u16,
    /// How a block group is striped; `None` for a replicated block.
    pub striping: Option<Striping>,
    /// Its state.
    pub state: BlockState,
}

impl BlockInfo {
    /// The id.
    #[must_use]
    pub fn id(&self) -> BlockId {
        self.block.id
    }

    /// The stamp.
    #[must_use]
    pub fn generation_stamp(&self) -> GenerationStamp {
        self.block.generation_stamp
    }

    /// Whether the block is complete or committed, so that its length does not change any more.
    #[must_use]
    pub fn has_final_length(&self) -> bool {
        matches!(self.state, BlockState::Complete | BlockState::Committed)
    }
}

/// Number of replicas of a block in each condition (`NumberReplicas`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NumberReplicas {
    /// On live storages, neither corrupt nor excess, and not on nodes that leave.
    pub live: u32,
    /// Known to be corrupt.
    pub corrupt: u32,
    /// More than wanted, with an ordered deletion.
    pub excess: u32,
    /// On nodes being decommissioned.
    pub decommissioning: u32,
    /// On decommissioned nodes.
    pub decommissioned: u32,
    /// On nodes in (or entering) maintenance.
    pub maintenance: u32,
    /// On storages whose content has not been sure since the last failover. Live ones and others count.
    pub stale: u32,
}

/// The fixed configuration. The fields name Hadoop's keys.
#[derive(Clone, Debug)]
pub struct BlockManagerConfig {
    /// `dfs.replication.max`.
    pub max_replication: u16,
    /// `dfs.namenode.replication.min`: replicas a block needs to be complete.
    pub min_replication: u16,
    /// `dfs.heartbeat.interval` in ms.
    pub heartbeat_interval_ms: u64,
    /// `dfs.namenode.heartbeat.recheck-interval`.
    pub heartbeat_recheck_ms: u64,
    /// `dfs.namenode.stale.datanode.interval`.
    pub stale_interval_ms: u64,
    /// `dfs.namenode.avoid.read.stale.datanode`.
    pub avoid_stale_for_read: bool,
    /// `dfs.namenode.avoid.write.stale.datanode`.
    pub avoid_stale_for_write: bool,
    /// `dfs.namenode.replication.max-streams`.
    pub replication_max_streams: u32,
    /// `dfs.namenode.replication.max-streams-hard-limit`.
    pub replication_max_streams_hard: u32,
    /// `dfs.namenode.replication.work.multiplier.per.iteration`.
    pub replication_work_multiplier: u32,
    /// `dfs.namenode.reconstruction.pending.timeout-sec` in ms.
    pub pending_timeout_ms: u64,
    /// `dfs.block.invalidate.limit` (already the larger of the key and 20 × heartbeat seconds).
    pub invalidate_limit: usize,
    /// `dfs.namenode.startup.delay.block.deletion.sec` in ms.
    pub startup_delay_deletion_ms: u64,
    /// `dfs.namenode.excess.redundancy.timeout-sec` in ms.
    pub excess_timeout_ms: u64,
    /// `dfs.namenode.max.full.block.report.leases`.
    pub max_report_leases: usize,
    /// Largest number of messages about blocks that a standby does not know yet. Above it messages are dropped, and
    /// their DataNodes report everything later. A million of them take about a quarter of a GiB.
    pub max_pending_messages: usize,
    /// With this many deletions waiting for heartbeats, no deletion is ordered of replicas that belong to no file:
    /// anybody who claims to be a DataNode may report any number of them. Five million deletions take about a quarter
    /// of a GiB.
    pub max_unknown_deletions: usize,
    /// `dfs.namenode.full.block.report.lease.length.ms`.
    pub report_lease_ms: u64,
    /// `dfs.namenode.safemode.threshold-pct`.
    pub safemode_threshold: f64,
    /// `dfs.namenode.safemode.min.datanodes`.
    pub safemode_min_datanodes: usize,
    /// `dfs.namenode.safemode.extension` in ms.
    pub safemode_extension_ms: u64,
    /// `dfs.namenode.redundancy.considerLoad`.
    pub consider_load: bool,
    /// `dfs.namenode.redundancy.considerLoad.factor`.
    pub load_factor: f64,
    /// `dfs.namenode.maintenance.replication.min`.
    pub min_maintenance_replication: u16,
    /// `dfs.namenode.caching.enabled`.
    pub caching_enabled: bool,
    /// `dfs.namenode.path.based.cache.retry.interval.ms`: how long a DataNode is not told again what to cache.
    pub cache_retry_ms: u64,
    /// Seed of the generator that places blocks.
    pub seed: u64,
}

impl Default for BlockManagerConfig {
    fn default() -> Self {
        BlockManagerConfig {
            max_replication: 512,
            min_replication: 1,
            heartbeat_interval_ms: 3_000,
            heartbeat_recheck_ms: 300_000,
            stale_interval_ms: 30_000,
            avoid_stale_for_read: false,
            avoid_stale_for_write: false,
            replication_max_streams: 2,
            replication_max_streams_hard: 4,
            replication_work_multiplier: 2,
            pending_timeout_ms: 300_000,
            invalidate_limit: 1_000,
            startup_delay_deletion_ms: 0,
            excess_timeout_ms: 3_600_000,
            max_report_leases: 6,
            max_pending_messages: 1_000_000,
            max_unknown_deletions: 5_000_000,
            report_lease_ms: 300_000,
            safemode_threshold: 0.999,
            safemode_min_datanodes: 0,
            safemode_extension_ms: 30_000,
            consider_load: true,
            load_factor: 2.0,
            min_maintenance_replication: 1,
            caching_enabled: true,
            cache_retry_ms: 30_000,
            seed: 1,
        }
    }
}

impl BlockManagerConfig {
    /// Milliseconds without a heartbeat after which a DataNode is dead (`DatanodeManager.heartbeatExpireInterval`).
    #[must_use]
    pub fn heartbeat_expire_ms(&self) -> u64 {
        let rechecks_ms = self.heartbeat_recheck_ms.saturating_mul(2);
        rechecks_ms.saturating_add(self.heartbeat_interval_ms.saturating_mul(10))
    }
}

/// Errors, sorted by what the caller must do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockManagerError {
    /// The DataNode must register again. The answer is a REGISTER command.
    #[error("datanode {0} is not registered or dead")]
    Unregistered(String),
    /// The lease of the full block report is unknown, expired or another node's.
    #[error("block report lease {lease_id:#x} of datanode {datanode} is not valid")]
    InvalidLease {
        /// Uuid of the DataNode.
        datanode: String,
        /// Id of the lease that it showed.
        lease_id: u64,
    },
    /// There is no room now. The DataNode must send it again later.
    #[error("{0}")]
    Busy(&'static str),
    /// The bytes of a report do not decode.
    #[error("malformed block report: {0}")]
    Malformed(&'static str),
    /// No storage to write to.
    #[error("could only be written to {found} of the {wanted} minReplication nodes. {detail}")]
    NotEnoughTargets {
        /// Targets found.
        found: usize,
        /// Number of targets that the minimum demands.
        wanted: usize,
        /// `There are N datanode(s) running and M node(s) are excluded in this operation.`
        detail: String,
    },
    /// The include and exclude lists do not allow the node.
    #[error("Datanode denied communication with namenode because the host is not in the include-list: {0}")]
    Disallowed(String),
}

impl From<MalformedBlockList> for BlockManagerError {
    fn from(error: MalformedBlockList) -> Self {
        BlockManagerError::Malformed(error.0)
    }
}
