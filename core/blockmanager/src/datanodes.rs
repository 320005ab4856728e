//! DataNodes and their storages: registration, heartbeats, liveness (`DatanodeManager`, `DatanodeDescriptor`,
//! `HeartbeatManager`).

use crate::types::{DatanodeIndex, StorageIndex};
use hathi_formats::proto::hdfs::{DatanodeIdProto, StorageTypeProto};

/// Whether an administrator wants the node (`DatanodeInfo.AdminStates`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminState {
    /// In service.
    #[default]
    Normal,
    /// Its replicas are being copied elsewhere.
    DecommissionInProgress,
    /// May be switched off.
    Decommissioned,
    /// Going into maintenance.
    EnteringMaintenance,
    /// Away for a while.
    InMaintenance,
}

/// One volume of a DataNode.
#[derive(Clone, Debug)]
pub struct Storage {
    /// `DS-<uuid>`.
    pub uuid: String,
    /// The node it is in.
    pub datanode: DatanodeIndex,
    /// What it is made of.
    pub storage_type: StorageTypeProto,
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
    /// The node says the volume is broken.
    pub failed: bool,
}

/// A DataNode as the NameNode sees it (`DatanodeDescriptor`).
#[derive(Clone, Debug)]
pub struct Datanode {
    /// Addresses, ports and uuid.
    pub id: DatanodeIdProto,
    /// `/rack`.
    pub location: String,
    /// As registered.
    pub software_version: String,
    /// Heartbeats within the limit.
    pub alive: bool,
    /// What the administrator wants.
    pub admin_state: AdminState,
    /// Its storages.
    pub storages: Vec<StorageIndex>,
}

/// One storage in a heartbeat.
#[derive(Clone, Debug)]
pub struct StorageReport {
    /// `DS-<uuid>`.
    pub uuid: String,
    /// What it is made of.
    pub storage_type: StorageTypeProto,
    /// The node says the volume is broken.
    pub failed: bool,
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
}

/// What a heartbeat tells besides that the node lives.
#[derive(Clone, Debug, Default)]
pub struct HeartbeatStats {
    /// Its storages.
    pub reports: Vec<StorageReport>,
    /// Threads that read or write blocks.
    pub xceivers: u32,
    /// Replications under way.
    pub transfers_in_progress: u32,
    /// Volumes that failed since it started.
    pub failed_volumes: u32,
    /// Bytes.
    pub cache_capacity: u64,
    /// Bytes.
    pub cache_used: u64,
}
