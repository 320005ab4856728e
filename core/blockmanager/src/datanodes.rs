//! DataNodes and their storages (`DatanodeDescriptor`, `DatanodeStorageInfo`, and the look-up half of `DatanodeManager`).
//!
//! Invariants: indexes are never reused; `live` holds exactly the nodes with `alive`; every address of a live node is in
//! `by_host`.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::idset::BlockIdSet;
use crate::types::{BlockManagerConfig, DatanodeIndex, Now, StorageIndex};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hathi_formats::ids::{Block, BlockId};
use hathi_formats::proto::hdfs::datanode_info_proto::AdminState as WireAdminState;
use hathi_formats::proto::hdfs::{DatanodeIdProto, DatanodeInfoProto, StorageReportProto, StorageTypeProto};
use hathi_formats::proto::hdfs::{DatanodeStorageProto, datanode_storage_proto::StorageState};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Where a node is that no topology places (`NetworkTopology.DEFAULT_RACK`).
pub const DEFAULT_RACK: &str = "/default-rack";

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
    fn to_wire(self) -> i32 {
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
    pub(crate) heartbeated_since_failover: bool,
    /// Full reports since the node registered.
    pub(crate) report_count: u32,
    /// The last two full reports, by the number that they had when they began.
    pub(crate) last_reports: [u64; 2],
    /// Complete blocks (and finalized replicas of others) known to be on it.
    pub(crate) blocks: BlockIdSet,
    /// A full report being worked through.
    pub(crate) report: Option<Box<ReportInProgress>>,
}

/// What must be remembered of a storage while its full report is worked through in slices.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReportInProgress {
    /// Which report; an older cursor finds that it was overtaken.
    pub(crate) sequence: u64,
    /// Ids in the report. Not kept for a storage that was empty when it began.
    pub(crate) seen: Option<BlockIdSet>,
    /// Ids that incremental reports spoke of meanwhile: they are newer than the report.
    pub(crate) touched: BlockIdSet,
}

impl Storage {
    /// Number of its known blocks.
    #[must_use]
    pub fn num_blocks(&self) -> usize {
        self.blocks.len()
    }
}

/// A replication ordered of a node (`BlockTargetPair`).
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) block: Block,
    pub(crate) targets: SmallVec<[StorageIndex; 3]>,
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
    pub(crate) registered_ms: u64,
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
    pub(crate) bandwidth: Option<u64>,
    pub(crate) transfers: VecDeque<Transfer>,
    pub(crate) invalidate: BTreeMap<i64, Block>,
    pub(crate) recover: BTreeSet<i64>,
    /// Since its registration it was told that this NameNode is active.
    pub(crate) told_active: bool,
    /// It was told so in an earlier term than the present one.
    pub(crate) counts_anew: bool,
    /// Notices of it found no room.
    pub(crate) unheard: bool,
    scheduled: [u32; 2],
    scheduled_rolled_ms: u64,
}

impl Datanode {
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

    pub(crate) fn blocks_scheduled(&self) -> u64 {
        u64::from(self.scheduled[0]).saturating_add(u64::from(self.scheduled[1]))
    }

    pub(crate) fn schedule_block(&mut self) {
        self.scheduled[0] = self.scheduled[0].saturating_add(1);
    }

    pub(crate) fn unschedule_block(&mut self) {
        if self.scheduled[1] > 0 {
            self.scheduled[1] = self.scheduled[1].saturating_sub(1);
        } else {
            self.scheduled[0] = self.scheduled[0].saturating_sub(1);
        }
    }

    fn roll_scheduled(&mut self, now: Now) {
        if now.monotonic_ms.saturating_sub(self.scheduled_rolled_ms) > SCHEDULED_ROLL_MS {
            self.scheduled = [0, self.scheduled[0]];
            self.scheduled_rolled_ms = now.monotonic_ms;
        }
    }

    fn forget_work(&mut self) {
        self.transfers.clear();
        self.invalidate.clear();
        self.recover.clear();
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

/// Where a node is: as its address says, else its name.
fn location(racks: &BTreeMap<String, String>, id: &DatanodeIdProto) -> String {
    let rack = racks.get(&id.ip_addr).or_else(|| racks.get(&id.host_name));
    rack.map_or(DEFAULT_RACK, String::as_str).to_owned()
}

fn join_rack(live_racks: &mut BTreeMap<String, usize>, rack: &str) {
    let count = live_racks.entry(rack.to_owned()).or_default();
    *count = count.saturating_add(1);
}

fn leave_rack(live_racks: &mut BTreeMap<String, usize>, rack: &str) {
    if let Some(count) = live_racks.get_mut(rack) {
        debug_assert!(*count > 0, "a rack is listed while a node lives on it");
        *count = count.saturating_sub(1);
        if *count == 0 {
            live_racks.remove(rack);
        }
    }
}

/// All nodes and storages.
#[derive(Debug, Default)]
pub(crate) struct Datanodes {
    nodes: Vec<Datanode>,
    storages: Vec<Storage>,
    by_uuid: HashMap<String, DatanodeIndex, FixedState>,
    by_host: HashMap<String, SmallVec<[DatanodeIndex; 1]>, FixedState>,
    /// Racks of hosts (name or address) that a topology script or table placed.
    racks: BTreeMap<String, String>,
    /// Live nodes per rack.
    live_racks: BTreeMap<String, usize>,
    pub(crate) live: Vec<DatanodeIndex>,
    /// Sum of the live nodes' xceivers: placement asks for the mean with every block.
    pub(crate) live_xceivers: u64,
    /// Sum of all nodes' deletions that wait for a heartbeat.
    deletions: usize,
}

impl Datanodes {
    pub(crate) fn get(&self, index: DatanodeIndex) -> Option<&Datanode> {
        self.nodes.get(index.0 as usize)
    }

    pub(crate) fn get_mut(&mut self, index: DatanodeIndex) -> Option<&mut Datanode> {
        self.nodes.get_mut(index.0 as usize)
    }

    pub(crate) fn storage(&self, index: StorageIndex) -> Option<&Storage> {
        self.storages.get(index.0 as usize)
    }

    pub(crate) fn storage_mut(&mut self, index: StorageIndex) -> Option<&mut Storage> {
        self.storages.get_mut(index.0 as usize)
    }

    /// The node of a storage.
    pub(crate) fn of(&self, index: StorageIndex) -> Option<&Datanode> {
        self.get(self.storage(index)?.datanode)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (DatanodeIndex, &Datanode)> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(at, node)| (DatanodeIndex(at as u32), node))
    }

    pub(crate) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Datanode> {
        self.nodes.iter_mut()
    }

    /// Deletions that wait for the heartbeats of their nodes.
    pub(crate) fn deletions(&self) -> usize {
        self.deletions
    }

    pub(crate) fn add_deletion(&mut self, index: DatanodeIndex, block: Block) {
        if let Some(node) = self.nodes.get_mut(index.0 as usize)
            && node.invalidate.insert(block.id.0, block).is_none()
        {
            self.deletions = self.deletions.saturating_add(1);
        }
    }

    pub(crate) fn pop_deletion(&mut self, index: DatanodeIndex) -> Option<Block> {
        let (_, block) = self.nodes.get_mut(index.0 as usize)?.invalidate.pop_first()?;
        self.deletions = self.deletions.saturating_sub(1);
        Some(block)
    }

    pub(crate) fn cancel_deletion(&mut self, index: DatanodeIndex, id: BlockId) {
        if let Some(node) = self.nodes.get_mut(index.0 as usize)
            && node.invalidate.remove(&id.0).is_some()
        {
            self.deletions = self.deletions.saturating_sub(1);
        }
    }

    /// Everything that the node was to do.
    pub(crate) fn forget_work(&mut self, index: DatanodeIndex) {
        if let Some(node) = self.nodes.get_mut(index.0 as usize) {
            self.deletions = self.deletions.saturating_sub(node.invalidate.len());
            node.forget_work();
        }
    }

    pub(crate) fn forget_all_work(&mut self) {
        for node in &mut self.nodes {
            node.forget_work();
        }
        self.deletions = 0;
    }

    pub(crate) fn storages(&self) -> impl Iterator<Item = (StorageIndex, &Storage)> {
        self.storages
            .iter()
            .enumerate()
            .map(|(at, storage)| (StorageIndex(at as u32), storage))
    }

    pub(crate) fn storages_mut(&mut self) -> impl Iterator<Item = &mut Storage> {
        self.storages.iter_mut()
    }

    pub(crate) fn by_uuid(&self, uuid: &str) -> Option<DatanodeIndex> {
        self.by_uuid.get(uuid).copied()
    }

    /// Live nodes on a host, named by address or host name.
    pub(crate) fn on_host(&self, host: &str) -> &[DatanodeIndex] {
        self.by_host.get(host).map_or(&[], SmallVec::as_slice)
    }

    pub(crate) fn rack_count(&self) -> usize {
        self.live_racks.len()
    }

    /// Places a host, and the live nodes on it that are elsewhere. Answers whether there were any.
    pub(crate) fn set_rack(&mut self, host: &str, rack: &str) -> bool {
        self.racks.insert(host.to_owned(), rack.to_owned());
        let mut moved = false;
        for index in self.on_host(host).to_vec() {
            let Some(node) = self.nodes.get_mut(index.0 as usize) else {
                continue;
            };
            let location = location(&self.racks, &node.id);
            if node.location != location {
                let before = std::mem::replace(&mut node.location, location);
                leave_rack(&mut self.live_racks, &before);
                join_rack(&mut self.live_racks, &node.location);
                moved = true;
            }
        }
        moved
    }

    /// The rack of any host, DataNode or not.
    pub(crate) fn rack_of_host(&self, host: &str) -> Option<&str> {
        if let Some(rack) = self.racks.get(host) {
            return Some(rack);
        }
        let index = *self.on_host(host).first()?;
        self.get(index).map(|node| node.location.as_str())
    }

    pub(crate) fn find_storage(&self, datanode: DatanodeIndex, uuid: &str) -> Option<StorageIndex> {
        let node = self.get(datanode)?;
        node.storages
            .iter()
            .copied()
            .find(|&index| self.storage(index).is_some_and(|storage| storage.uuid == uuid))
    }

    /// The storage, made when it was not known.
    pub(crate) fn storage_or_new(
        &mut self,
        datanode: DatanodeIndex,
        uuid: &str,
        storage_type: StorageTypeProto,
        read_only: bool,
    ) -> Option<StorageIndex> {
        if let Some(index) = self.find_storage(datanode, uuid) {
            if let Some(storage) = self.storage_mut(index) {
                storage.storage_type = storage_type;
                storage.read_only = read_only;
            }
            return Some(index);
        }
        let index = StorageIndex(
            u32::try_from(self.storages.len())
                .ok()
                .filter(|&index| index < 1 << 24)?,
        );
        self.get_mut(datanode)?.storages.push(index);
        self.storages.push(Storage {
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
            last_reports: [0; 2],
            blocks: BlockIdSet::default(),
            report: None,
        });
        Some(index)
    }

    /// A node that registers: new, known, or known with another address.
    pub(crate) fn register(&mut self, id: DatanodeIdProto, software_version: &str, now: Now) -> DatanodeIndex {
        let location = location(&self.racks, &id);
        let index = match self.by_uuid(&id.datanode_uuid) {
            Some(index) => {
                self.set_dead(index);
                index
            }
            None => {
                let index = DatanodeIndex(self.nodes.len() as u32);
                self.by_uuid.insert(id.datanode_uuid.clone(), index);
                self.nodes.push(Datanode {
                    id: id.clone(),
                    location: location.clone(),
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
                    transfers: VecDeque::new(),
                    invalidate: BTreeMap::new(),
                    recover: BTreeSet::new(),
                    told_active: false,
                    counts_anew: false,
                    unheard: false,
                    scheduled: [0; 2],
                    scheduled_rolled_ms: now.monotonic_ms,
                });
                index
            }
        };
        if let Some(node) = self.nodes.get_mut(index.0 as usize) {
            node.id = id;
            node.location = location;
            node.software_version = software_version.to_owned();
            node.last_update = now;
            node.registered_ms = now.monotonic_ms;
            for storage in node.storages.clone() {
                if let Some(storage) = self.storage_mut(storage) {
                    storage.report_count = 0;
                    storage.failed = false;
                }
            }
        }
        self.set_alive(index);
        index
    }

    fn set_alive(&mut self, index: DatanodeIndex) {
        let Some(node) = self.nodes.get_mut(index.0 as usize) else {
            return;
        };
        if node.alive {
            return;
        }
        node.alive = true;
        self.live_xceivers = self.live_xceivers.saturating_add(u64::from(node.xceivers));
        self.live.push(index);
        join_rack(&mut self.live_racks, &node.location);
        self.by_host.entry(node.id.ip_addr.clone()).or_default().push(index);
        if node.id.host_name != node.id.ip_addr {
            self.by_host.entry(node.id.host_name.clone()).or_default().push(index);
        }
    }

    pub(crate) fn set_dead(&mut self, index: DatanodeIndex) {
        let Some(node) = self.nodes.get_mut(index.0 as usize) else {
            return;
        };
        if !node.alive {
            return;
        }
        node.alive = false;
        debug_assert!(self.live_xceivers >= u64::from(node.xceivers), "a live node's count");
        self.live_xceivers = self.live_xceivers.saturating_sub(u64::from(node.xceivers));
        self.live.retain(|&one| one != index);
        leave_rack(&mut self.live_racks, &node.location);
        for host in [&node.id.ip_addr, &node.id.host_name] {
            if let Some(list) = self.by_host.get_mut(host) {
                list.retain(|one| *one != index);
                if list.is_empty() {
                    self.by_host.remove(host);
                }
            }
        }
    }

    /// A heartbeat came, whose answer tells the node which role this NameNode has.
    pub(crate) fn heard_of(&mut self, index: DatanodeIndex) {
        let storages = self.get(index).map(|node| node.storages.clone()).unwrap_or_default();
        for storage in storages {
            if let Some(storage) = self.storage_mut(storage) {
                storage.heartbeated_since_failover = true;
            }
        }
    }

    /// Takes in what a heartbeat or a lifeline says. Answers the storages that are newly known to be broken.
    pub(crate) fn heartbeat(&mut self, index: DatanodeIndex, stats: HeartbeatStats, now: Now) -> Vec<StorageIndex> {
        let mut failed = Vec::new();
        let mut reported = BTreeSet::new();
        // A volume that is gone without the node having restarted no longer appears in its reports.
        let more_failures = self
            .get(index)
            .is_some_and(|node| stats.failed_volumes > node.failed_volumes);
        for report in stats.reports {
            let Some(at) = self.storage_or_new(index, &report.uuid, report.storage_type, report.read_only) else {
                continue;
            };
            reported.insert(at);
            let Some(storage) = self.storage_mut(at) else {
                continue;
            };
            if report.failed && !storage.failed {
                failed.push(at);
            }
            storage.failed = report.failed;
            storage.capacity = report.capacity;
            storage.dfs_used = report.dfs_used;
            storage.remaining = report.remaining;
            storage.block_pool_used = report.block_pool_used;
            storage.non_dfs_used = report.non_dfs_used;
        }
        let Some(node) = self.nodes.get_mut(index.0 as usize) else {
            return failed;
        };
        node.last_update = now;
        if node.alive {
            let others = self.live_xceivers.saturating_sub(u64::from(node.xceivers));
            self.live_xceivers = others.saturating_add(u64::from(stats.xceivers));
        }
        node.xceivers = stats.xceivers;
        node.transfers_in_progress = stats.transfers_in_progress;
        node.failed_volumes = stats.failed_volumes;
        node.cache_capacity = stats.cache_capacity;
        node.cache_used = stats.cache_used;
        node.roll_scheduled(now);
        if more_failures {
            for at in node.storages.clone() {
                if let Some(storage) = self.storage_mut(at)
                    && !reported.contains(&at)
                    && !storage.failed
                {
                    storage.failed = true;
                    failed.push(at);
                }
            }
        }
        failed
    }

    /// Panics where nodes, storages and what is known by name contradict each other.
    #[expect(clippy::arithmetic_side_effects, reason = "counts of what is in memory")]
    pub(crate) fn check(&self) {
        let mut owned = 0;
        let mut xceivers = 0;
        let mut racks: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, node) in self.nodes() {
            assert_eq!(
                self.by_uuid(&node.id.datanode_uuid),
                Some(index),
                "a node is found by its uuid"
            );
            let listed = self.live.iter().filter(|one| **one == index).count();
            assert_eq!(listed, usize::from(node.alive), "a live node is listed once: {index:?}");
            for host in [&node.id.ip_addr, &node.id.host_name] {
                assert_eq!(
                    self.on_host(host).contains(&index),
                    node.alive,
                    "a live node is found by its host {host}"
                );
            }
            if node.alive {
                xceivers += u64::from(node.xceivers);
                *racks.entry(&node.location).or_default() += 1;
            }
            for &at in &node.storages {
                owned += 1;
                let Some(storage) = self.storage(at) else {
                    panic!("{index:?} has a storage that does not exist: {at:?}")
                };
                assert_eq!(storage.datanode, index, "a storage is on the node that lists it");
                storage.blocks.check();
            }
        }
        assert_eq!(self.by_uuid.len(), self.nodes.len(), "every uuid is a node's");
        assert_eq!(owned, self.storages.len(), "every storage is on a node");
        assert_eq!(xceivers, self.live_xceivers, "xceivers of live nodes");
        assert!(
            racks
                .iter()
                .map(|(rack, count)| (*rack, *count))
                .eq(self.live_racks.iter().map(|(rack, count)| (rack.as_str(), *count))),
            "live nodes by rack are {racks:?}, and counted {:?}",
            self.live_racks
        );
        assert!(
            // order: each host is looked at by itself.
            self.by_host.values().all(|nodes| !nodes.is_empty()),
            "a host is listed while a node lives on it"
        );
    }

    /// `DatanodeInfoProto` of a node.
    pub(crate) fn info(&self, node: &Datanode) -> DatanodeInfoProto {
        let mut sums = [0u64; 5];
        let mut blocks = 0;
        for storage in node.storages.iter().filter_map(|&index| self.storage(index)) {
            // Java counts failed storages neither.
            if !storage.failed {
                let of_storage = [
                    storage.capacity,
                    storage.dfs_used,
                    storage.remaining,
                    storage.block_pool_used,
                    storage.non_dfs_used,
                ];
                // DataNodes may say anything of themselves.
                for (sum, bytes) in sums.iter_mut().zip(of_storage) {
                    *sum = sum.saturating_add(bytes);
                }
            }
            blocks = usize::saturating_add(blocks, storage.blocks.len());
        }
        DatanodeInfoProto {
            id: node.id.clone(),
            capacity: Some(sums[0]),
            dfs_used: Some(sums[1]),
            remaining: Some(sums[2]),
            block_pool_used: Some(sums[3]),
            last_update: Some(node.last_update.wall_ms),
            xceiver_count: Some(node.xceivers),
            location: Some(node.location.clone()),
            non_dfs_used: Some(sums[4]),
            admin_state: Some(node.admin_state.to_wire()),
            cache_capacity: Some(node.cache_capacity),
            cache_used: Some(node.cache_used),
            last_update_monotonic: Some(node.last_update.monotonic_ms),
            upgrade_domain: None,
            last_block_report_time: Some(node.last_block_report.wall_ms),
            last_block_report_monotonic: Some(node.last_block_report.monotonic_ms),
            num_blocks: Some(u32::try_from(blocks).unwrap_or(u32::MAX)),
            software_version: Some(node.software_version.clone()),
        }
    }

    /// `StorageReportProto` of a storage.
    pub(crate) fn storage_report(storage: &Storage) -> StorageReportProto {
        StorageReportProto {
            storage_uuid: storage.uuid.clone(),
            failed: Some(storage.failed),
            capacity: Some(storage.capacity),
            dfs_used: Some(storage.dfs_used),
            remaining: Some(storage.remaining),
            block_pool_used: Some(storage.block_pool_used),
            storage: Some(DatanodeStorageProto {
                storage_uuid: storage.uuid.clone(),
                state: Some(if storage.read_only {
                    StorageState::ReadOnlyShared as i32
                } else {
                    StorageState::Normal as i32
                }),
                storage_type: Some(storage.storage_type as i32),
            }),
            non_dfs_used: Some(storage.non_dfs_used),
            mount: None,
        }
    }
}
