//! A DataNode, a storage of it, and what they say of themselves (`DatanodeDescriptor`, `DatanodeStorageInfo`).
//!
//! Only [`super::Datanodes`] changes one. Everybody else reads.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::types::{BlockManagerConfig, DatanodeIndex, Now, ReportSequence, StorageIndex};
use hathi_formats::proto::hdfs::datanode_info_proto::AdminState as WireAdminState;
use hathi_formats::proto::hdfs::{DatanodeIdProto, StorageReportProto, StorageTypeProto};
use hathi_formats::proto::hdfs::{DatanodeStorageProto, datanode_storage_proto::StorageState};

/// How long a chosen target counts as a scheduled write at least (`DatanodeDescriptor.BLOCKS_SCHEDULED_ROLL_INTERVAL`).
const SCHEDULED_ROLL_MS: u64 = 600_000;

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

impl AdminState {
    pub(super) fn to_wire(self) -> i32 {
        let state = match self {
            AdminState::Normal => WireAdminState::Normal,
            AdminState::DecommissionInProgress => WireAdminState::DecommissionInprogress,
            AdminState::Decommissioned => WireAdminState::Decommissioned,
            AdminState::EnteringMaintenance => WireAdminState::EnteringMaintenance,
            AdminState::InMaintenance => WireAdminState::InMaintenance,
        };
        state as i32
    }
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
    /// Read-only, shared with other nodes.
    pub read_only: bool,
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
    /// Its content is not sure: no full report since it was heard of after the last failover.
    pub content_stale: bool,
    /// A heartbeat came since the last failover.
    pub(super) heartbeated_since_failover: bool,
    /// Full reports since the node registered.
    pub(super) report_count: u32,
    /// The last two full reports, by the number that they had when they began.
    pub(super) last_reports: [ReportSequence; 2],
}

impl Storage {
    pub(super) fn new(uuid: &str, datanode: DatanodeIndex, storage_type: StorageTypeProto, read_only: bool) -> Storage {
        Storage {
            uuid: uuid.to_owned(),
            datanode,
            storage_type,
            read_only,
            capacity: 0,
            dfs_used: 0,
            remaining: 0,
            block_pool_used: 0,
            non_dfs_used: 0,
            failed: false,
            content_stale: true,
            heartbeated_since_failover: false,
            report_count: 0,
            last_reports: [ReportSequence::default(); 2],
        }
    }

    /// Full reports since its node registered.
    pub(crate) fn report_count(&self) -> u32 {
        self.report_count
    }

    /// The last full report but one, by the number that it had when it began.
    pub(crate) fn report_before_last(&self) -> ReportSequence {
        self.last_reports[0]
    }

    /// Whether a full report that begins now may vouch for its content: a heartbeat came since the last failover.
    pub(crate) fn may_vouch(&self) -> bool {
        self.heartbeated_since_failover
    }

    /// `StorageReportProto` of the storage.
    pub(crate) fn to_wire(&self) -> StorageReportProto {
        let state = if self.read_only {
            StorageState::ReadOnlyShared
        } else {
            StorageState::Normal
        };
        StorageReportProto {
            storage_uuid: self.uuid.clone(),
            failed: Some(self.failed),
            capacity: Some(self.capacity),
            dfs_used: Some(self.dfs_used),
            remaining: Some(self.remaining),
            block_pool_used: Some(self.block_pool_used),
            storage: Some(DatanodeStorageProto {
                storage_uuid: self.uuid.clone(),
                state: Some(state as i32),
                storage_type: Some(self.storage_type as i32),
            }),
            non_dfs_used: Some(self.non_dfs_used),
            mount: None,
        }
    }
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
    /// Last heartbeat or registration.
    pub last_update: Now,
    /// When it registered last, monotonic ms.
    pub(super) registered_ms: u64,
    /// Last full block report.
    pub last_block_report: Now,
    /// Threads that read or write blocks.
    pub xceivers: u32,
    /// Replications it is busy with, as it said last.
    pub transfers_in_progress: u32,
    /// Volumes that failed since it started.
    pub failed_volumes: u32,
    /// Bytes.
    pub cache_capacity: u64,
    /// Bytes.
    pub cache_used: u64,
    /// Balancer bandwidth to send with the next heartbeat, bytes per second.
    pub(super) bandwidth: Option<u64>,
    /// Since its registration it was told that this NameNode is active.
    pub(super) told_active: bool,
    /// It was told so in an earlier term than the present one.
    pub(super) counts_anew: bool,
    /// Notices of it found no room.
    pub(super) unheard: bool,
    /// It can make internal blocks of a group from others, and agree with others on a group.
    pub codes: bool,
    pub(super) scheduled: [u32; 2],
    pub(super) scheduled_rolled_ms: u64,
}

impl Datanode {
    pub(super) fn new(id: DatanodeIdProto, now: Now) -> Datanode {
        Datanode {
            id,
            location: String::new(),
            software_version: String::new(),
            alive: false,
            admin_state: AdminState::Normal,
            storages: Vec::new(),
            last_update: now,
            registered_ms: now.monotonic_ms,
            last_block_report: Now::default(),
            xceivers: 0,
            transfers_in_progress: 0,
            failed_volumes: 0,
            cache_capacity: 0,
            cache_used: 0,
            bandwidth: None,
            told_active: false,
            counts_anew: false,
            unheard: false,
            codes: false,
            scheduled: [0; 2],
            scheduled_rolled_ms: now.monotonic_ms,
        }
    }

    /// `ip:xferPort`, as Hadoop prints nodes.
    #[must_use]
    pub fn xfer_address(&self) -> String {
        self.id.xfer_address()
    }

    /// Not heard of for a while, though not dead yet.
    #[must_use]
    pub fn is_stale(&self, config: &BlockManagerConfig, now: Now) -> bool {
        now.monotonic_ms.saturating_sub(self.last_update.monotonic_ms) > config.stale_interval_ms
    }

    /// Whether it is being decommissioned, or is so already.
    pub(crate) fn is_decommissioned(&self) -> bool {
        match self.admin_state {
            AdminState::DecommissionInProgress | AdminState::Decommissioned => true,
            AdminState::Normal | AdminState::EnteringMaintenance | AdminState::InMaintenance => false,
        }
    }

    /// When it registered last, monotonic ms.
    pub(crate) fn registered_ms(&self) -> u64 {
        self.registered_ms
    }

    /// It was told of an earlier term in which this NameNode was active.
    pub(crate) fn counts_anew(&self) -> bool {
        self.counts_anew
    }

    /// Notices of it found no room.
    pub(crate) fn is_unheard(&self) -> bool {
        self.unheard
    }

    /// Blocks that are about to be written to it.
    pub(crate) fn blocks_scheduled(&self) -> u64 {
        u64::from(self.scheduled[0]).saturating_add(u64::from(self.scheduled[1]))
    }

    pub(super) fn schedule_block(&mut self) {
        self.scheduled[0] = self.scheduled[0].saturating_add(1);
    }

    pub(super) fn unschedule_block(&mut self) {
        if self.scheduled[1] > 0 {
            self.scheduled[1] = self.scheduled[1].saturating_sub(1);
        } else {
            self.scheduled[0] = self.scheduled[0].saturating_sub(1);
        }
    }

    pub(super) fn roll_scheduled(&mut self, now: Now) {
        if now.monotonic_ms.saturating_sub(self.scheduled_rolled_ms) > SCHEDULED_ROLL_MS {
            self.scheduled = [0, self.scheduled[0]];
            self.scheduled_rolled_ms = now.monotonic_ms;
        }
    }
}

/// One storage in a heartbeat.
#[derive(Clone, Debug)]
pub struct StorageReport {
    /// `DS-<uuid>`.
    pub uuid: String,
    /// What it is made of.
    pub storage_type: StorageTypeProto,
    /// Read-only, shared with other nodes.
    pub read_only: bool,
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

impl StorageReport {
    /// From the message. Old DataNodes leave the storage's kind out.
    #[must_use]
    pub fn from_wire(report: &StorageReportProto) -> StorageReport {
        let storage = report.storage.as_ref();
        let dfs_used = report.dfs_used.unwrap_or(0);
        let remaining = report.remaining.unwrap_or(0);
        let capacity = report.capacity.unwrap_or(0);
        StorageReport {
            uuid: storage
                .map_or(&report.storage_uuid, |storage| &storage.storage_uuid)
                .clone(),
            storage_type: storage.map_or(StorageTypeProto::Disk, DatanodeStorageProto::storage_type),
            read_only: storage.is_some_and(|storage| storage.state() == StorageState::ReadOnlyShared),
            failed: report.failed.unwrap_or(false),
            capacity,
            dfs_used,
            remaining,
            block_pool_used: report.block_pool_used.unwrap_or(0),
            non_dfs_used: report
                .non_dfs_used
                .unwrap_or_else(|| capacity.saturating_sub(dfs_used).saturating_sub(remaining)),
        }
    }
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
