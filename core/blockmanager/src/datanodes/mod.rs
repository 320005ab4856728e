//! DataNodes and their storages: who is here, lives, and is wanted (`DatanodeManager`, `HeartbeatManager`).
//!
//! Nothing is known here of blocks: which blocks a storage has is in the block map, and what a node is to do with them
//! is with the redundancy lists.
//!
//! Invariants ([`Datanodes::check`]):
//! - indexes are never reused, and a storage stays on its node;
//! - `live` holds exactly the nodes with `alive`, `live_xceivers` their xceivers, `live_racks` their racks;
//! - both names of a live node, and no other ones, are in `by_host`; every uuid is in `by_uuid`.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod descriptors;
mod hosts;

pub use descriptors::{AdminState, Datanode, HeartbeatStats, Storage, StorageReport};
pub(crate) use hosts::Hosts;

use crate::types::{DatanodeIndex, Now, ReportSequence, StorageIndex};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hathi_formats::proto::hdfs::{DatanodeIdProto, DatanodeInfoProto, StorageTypeProto};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Where a node is that no topology places (`NetworkTopology.DEFAULT_RACK`).
pub const DEFAULT_RACK: &str = "/default-rack";

/// Storages have numbers of 24 bits, because the block map keeps three of them in a record.
const STORAGES_MAX: u32 = 1 << 24;

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
    live: Vec<DatanodeIndex>,
    /// Sum of the live nodes' xceivers: placement asks for the mean with every block.
    live_xceivers: u64,
    /// Storages of dead nodes, and broken volumes, whose replicas are being forgotten.
    leaving: VecDeque<StorageIndex>,
    hosts: Hosts,
}

impl Datanodes {
    pub(crate) fn get(&self, index: DatanodeIndex) -> Option<&Datanode> {
        self.nodes.get(index.0 as usize)
    }

    fn get_mut(&mut self, index: DatanodeIndex) -> Option<&mut Datanode> {
        self.nodes.get_mut(index.0 as usize)
    }

    pub(crate) fn storage(&self, index: StorageIndex) -> Option<&Storage> {
        self.storages.get(index.0 as usize)
    }

    fn storage_mut(&mut self, index: StorageIndex) -> Option<&mut Storage> {
        self.storages.get_mut(index.0 as usize)
    }

    /// The node of a storage.
    pub(crate) fn of(&self, index: StorageIndex) -> Option<&Datanode> {
        self.get(self.storage(index)?.datanode)
    }

    /// The index of the node of a storage.
    pub(crate) fn node_of(&self, index: StorageIndex) -> Option<DatanodeIndex> {
        self.storage(index).map(|storage| storage.datanode)
    }

    /// Whether the storage is on this node.
    pub(crate) fn is_on(&self, index: StorageIndex, node: DatanodeIndex) -> bool {
        self.node_of(index) == Some(node)
    }

    /// Whether a replica may be expected on this storage, because its node takes part in writes.
    pub(crate) fn is_writable(&self, index: StorageIndex) -> bool {
        self.storage(index)
            .is_some_and(|storage| !storage.failed && self.get(storage.datanode).is_some_and(|node| node.alive))
    }

    /// The storages of a node.
    pub(crate) fn storages_of(&self, index: DatanodeIndex) -> impl Iterator<Item = &Storage> {
        let storages = self.get(index).map_or(&[][..], |node| &node.storages);
        storages.iter().filter_map(|at| self.storage(*at))
    }

    /// The live nodes, in the order in which they came to life.
    pub(crate) fn live(&self) -> &[DatanodeIndex] {
        &self.live
    }

    /// Sum of the live nodes' xceivers.
    pub(crate) fn live_xceivers(&self) -> u64 {
        self.live_xceivers
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (DatanodeIndex, &Datanode)> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(at, node)| (DatanodeIndex(at as u32), node))
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

    /// The storage, made when it was not known. `None`: there are as many as have numbers.
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
        let index = u32::try_from(self.storages.len()).ok();
        let index = StorageIndex(index.filter(|&index| index < STORAGES_MAX)?);
        self.get_mut(datanode)?.storages.push(index);
        self.storages
            .push(Storage::new(uuid, datanode, storage_type, read_only));
        Some(index)
    }

    // --- life and death ---

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
                self.nodes.push(Datanode::new(id.clone(), now));
                index
            }
        };
        let Some(node) = self.nodes.get_mut(index.0 as usize) else {
            return index;
        };
        node.id = id;
        node.location = location;
        node.software_version = software_version.to_owned();
        node.last_update = now;
        node.registered_ms = now.monotonic_ms;
        node.told_active = false;
        node.counts_anew = false;
        node.unheard = false;
        for &at in &node.storages {
            if let Some(storage) = self.storages.get_mut(at.0 as usize) {
                storage.report_count = 0;
                storage.failed = false;
            }
        }
        let storages = &node.storages;
        self.leaving.retain(|storage| !storages.contains(storage));
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
        debug_assert!(!self.live.contains(&index), "a live node is listed once");
        self.live.push(index);
        join_rack(&mut self.live_racks, &node.location);
        self.by_host.entry(node.id.ip_addr.clone()).or_default().push(index);
        if node.id.host_name != node.id.ip_addr {
            self.by_host.entry(node.id.host_name.clone()).or_default().push(index);
        }
    }

    fn set_dead(&mut self, index: DatanodeIndex) {
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

    /// The node is dead. Its replicas are to be forgotten, but not those of a node in maintenance: it is expected to be
    /// away, so they still count.
    pub(crate) fn bury(&mut self, index: DatanodeIndex) {
        self.set_dead(index);
        if let Some(node) = self.nodes.get(index.0 as usize)
            && node.admin_state != AdminState::InMaintenance
        {
            self.leaving.extend(&node.storages);
        }
    }

    /// The live nodes that were not heard of for longer than this.
    pub(crate) fn silent(&self, expire_ms: u64, now: Now) -> SmallVec<[DatanodeIndex; 4]> {
        let is_silent = |index: &DatanodeIndex| {
            self.get(*index)
                .is_some_and(|node| now.monotonic_ms.saturating_sub(node.last_update.monotonic_ms) > expire_ms)
        };
        self.live.iter().copied().filter(is_silent).collect()
    }

    /// The storage whose replicas are to be forgotten next: its node died, or its volume is broken.
    pub(crate) fn leaving(&self) -> Option<StorageIndex> {
        self.leaving.front().copied()
    }

    /// All replicas of [`Datanodes::leaving`] are forgotten.
    pub(crate) fn has_left(&mut self) {
        self.leaving.pop_front();
    }

    // --- what nodes say ---

    /// Takes in what a heartbeat or a lifeline says. The replicas of storages that are newly known to be broken are to be
    /// forgotten.
    pub(crate) fn heartbeat(&mut self, index: DatanodeIndex, stats: HeartbeatStats, now: Now) {
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
            let Some(storage) = self.storages.get_mut(at.0 as usize) else {
                continue;
            };
            if report.failed && !storage.failed {
                self.leaving.push_back(at);
            }
            storage.failed = report.failed;
            storage.capacity = report.capacity;
            storage.dfs_used = report.dfs_used;
            storage.remaining = report.remaining;
            storage.block_pool_used = report.block_pool_used;
            storage.non_dfs_used = report.non_dfs_used;
        }
        let Some(node) = self.nodes.get_mut(index.0 as usize) else {
            return;
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
        if !more_failures {
            return;
        }
        for &at in node.storages.iter().filter(|at| !reported.contains(at)) {
            if let Some(storage) = self.storages.get_mut(at.0 as usize)
                && !storage.failed
            {
                storage.failed = true;
                self.leaving.push_back(at);
            }
        }
    }

    /// A heartbeat came, whose answer tells the node which role this NameNode has.
    pub(crate) fn heard_of(&mut self, index: DatanodeIndex) {
        let storages = self.nodes.get(index.0 as usize).map_or(&[][..], |node| &node.storages);
        for at in storages {
            if let Some(storage) = self.storages.get_mut(at.0 as usize) {
                storage.heartbeated_since_failover = true;
            }
        }
    }

    /// A full report of a storage ended. `vouches`: it began after a heartbeat in this NameNode's present role.
    pub(crate) fn report_ended(&mut self, at: StorageIndex, sequence: ReportSequence, vouches: bool, now: Now) {
        let Some(storage) = self.storages.get_mut(at.0 as usize) else {
            return;
        };
        storage.report_count = storage.report_count.saturating_add(1);
        let [_, last] = storage.last_reports;
        debug_assert!(last < sequence, "a report that was overtaken ends nowhere");
        storage.last_reports = [last, sequence];
        // A failover during the report has cleared the flag. Then the report began too early to vouch for anything.
        if vouches && storage.heartbeated_since_failover {
            storage.content_stale = false;
        }
        let index = storage.datanode;
        if let Some(node) = self.get_mut(index) {
            node.last_block_report = now;
        }
    }

    /// Notices of the node found no room: it is to report everything again.
    pub(crate) fn note_unheard(&mut self, storage: StorageIndex) {
        if let Some(node) = self.node_of(storage).and_then(|index| self.get_mut(index)) {
            node.unheard = true;
        }
    }

    // --- what nodes are told ---

    /// The answer to the node's heartbeat claims the active role.
    pub(crate) fn note_told_active(&mut self, index: DatanodeIndex) {
        if let Some(node) = self.get_mut(index) {
            node.told_active = true;
        }
    }

    /// The active role begins. No content of a storage is sure, unless all is `trusted`, and who was told of an earlier
    /// term is to register again.
    pub(crate) fn begin_term(&mut self, trusted: bool) {
        for storage in &mut self.storages {
            storage.content_stale = !trusted;
            storage.heartbeated_since_failover = false;
        }
        for node in &mut self.nodes {
            node.counts_anew = node.told_active;
        }
    }

    /// Sets the wish of the administrator. Returns whether it is a new one.
    pub(crate) fn set_admin_state(&mut self, index: DatanodeIndex, state: AdminState) -> bool {
        let Some(node) = self.get_mut(index).filter(|node| node.admin_state != state) else {
            return false;
        };
        node.admin_state = state;
        true
    }

    /// Whether the node can make internal blocks from others, and agree with others on a block group.
    pub(crate) fn set_codes(&mut self, index: DatanodeIndex, codes: bool) {
        if let Some(node) = self.get_mut(index) {
            node.codes = codes;
        }
    }

    /// Sets the bandwidth of the balancer in bytes per second, for every node to be told.
    pub(crate) fn set_bandwidth(&mut self, bytes_per_second: u64) {
        for node in &mut self.nodes {
            node.bandwidth = Some(bytes_per_second);
        }
    }

    /// Takes out the bandwidth that the node is to be told.
    pub(crate) fn take_bandwidth(&mut self, index: DatanodeIndex) -> Option<u64> {
        self.get_mut(index)?.bandwidth.take()
    }

    /// A block is about to be written to the storage: its room is taken.
    pub(crate) fn schedule_block(&mut self, storage: StorageIndex) {
        if let Some(node) = self.node_of(storage).and_then(|index| self.get_mut(index)) {
            node.schedule_block();
        }
    }

    /// The block that was to be written to the storage is not written any more.
    pub(crate) fn unschedule_block(&mut self, storage: StorageIndex) {
        if let Some(node) = self.node_of(storage).and_then(|index| self.get_mut(index)) {
            node.unschedule_block();
        }
    }

    // --- who may be here ---

    /// The include and exclude lists were read.
    pub(crate) fn set_hosts(&mut self, hosts: Hosts) {
        self.hosts = hosts;
    }

    /// Whether the include list allows the node.
    pub(crate) fn is_included(&self, id: &DatanodeIdProto) -> bool {
        self.hosts.is_included(id)
    }

    /// Whether the exclude list names the node.
    pub(crate) fn is_excluded(&self, id: &DatanodeIdProto) -> bool {
        self.hosts.is_excluded(id)
    }

    /// Whether there is an include list, and each host in it has a live DataNode here.
    pub(crate) fn has_met_all_included(&self) -> bool {
        let mut included = self.hosts.included_hosts().peekable();
        included.peek().is_some() && included.all(|host| !self.on_host(host).is_empty())
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
        for storage in &self.leaving {
            assert!(
                self.storage(*storage).is_some(),
                "a storage is emptied that does not exist"
            );
        }
        assert!(
            // order: each host is looked at by itself.
            self.by_host.values().all(|nodes| !nodes.is_empty()),
            "a host is listed while a node lives on it"
        );
    }

    /// `DatanodeInfoProto` of a node with this number of blocks.
    pub(crate) fn info(&self, node: &Datanode, blocks: usize) -> DatanodeInfoProto {
        let mut sums = [0u64; 5];
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now {
            monotonic_ms: ms,
            wall_ms: ms,
        }
    }

    fn register(datanodes: &mut Datanodes, n: u32, host: &str) -> DatanodeIndex {
        let id = DatanodeIdProto {
            ip_addr: format!("10.0.0.{n}"),
            host_name: host.to_owned(),
            datanode_uuid: format!("uuid-{n}"),
            ..DatanodeIdProto::default()
        };
        let index = datanodes.register(id, "3.5.0", at(0));
        datanodes.check();
        index
    }

    fn stats(storages: &[&str], failed_volumes: u32) -> HeartbeatStats {
        let report = |uuid: &&str| StorageReport {
            uuid: (*uuid).to_owned(),
            storage_type: StorageTypeProto::Disk,
            read_only: false,
            failed: false,
            capacity: 10,
            dfs_used: 0,
            remaining: 10,
            block_pool_used: 0,
            non_dfs_used: 0,
        };
        HeartbeatStats {
            reports: storages.iter().map(report).collect(),
            xceivers: 3,
            failed_volumes,
            ..HeartbeatStats::default()
        }
    }

    fn leaving(datanodes: &mut Datanodes) -> Vec<StorageIndex> {
        let mut found = Vec::new();
        while let Some(storage) = datanodes.leaving() {
            found.push(storage);
            datanodes.has_left();
        }
        found
    }

    #[test]
    fn a_node_keeps_its_number_under_whatever_address_it_comes() {
        let mut datanodes = Datanodes::default();
        let one = register(&mut datanodes, 1, "one");
        let other = register(&mut datanodes, 2, "other");
        datanodes.heartbeat(one, stats(&["DS-1"], 0), at(1));
        assert_eq!(register(&mut datanodes, 1, "another"), one);
        assert_eq!(
            (datanodes.on_host("one"), datanodes.on_host("another")),
            (&[][..], &[one][..])
        );
        assert_eq!((datanodes.live(), datanodes.live_xceivers()), (&[other, one][..], 3));
        assert_eq!(
            datanodes.get(one).map(|node| node.storages.len()),
            Some(1),
            "its storages stay"
        );
        datanodes.bury(one);
        datanodes.bury(one);
        datanodes.check();
        assert_eq!((datanodes.live(), datanodes.live_xceivers()), (&[other][..], 0));
        assert!(datanodes.on_host("another").is_empty() && datanodes.by_uuid("uuid-1") == Some(one));
    }

    #[test]
    fn replicas_of_the_dead_and_of_broken_volumes_are_to_be_forgotten() {
        let mut datanodes = Datanodes::default();
        let node = register(&mut datanodes, 1, "one");
        datanodes.heartbeat(node, stats(&["a", "b", "c"], 0), at(1));
        let [a, b, c] = ["a", "b", "c"].map(|uuid| datanodes.find_storage(node, uuid).unwrap());
        // One is said to be broken, one is not spoken of any more and another volume failed.
        let mut report = stats(&["a", "b"], 1);
        report.reports[1].failed = true;
        datanodes.heartbeat(node, report.clone(), at(2));
        datanodes.heartbeat(node, report, at(3));
        assert_eq!(leaving(&mut datanodes), [b, c]);
        assert!(datanodes.is_writable(a) && !datanodes.is_writable(b) && !datanodes.is_writable(c));
        datanodes.bury(node);
        datanodes.check();
        assert!(!datanodes.is_writable(a));
        // It is back before all were forgotten.
        register(&mut datanodes, 1, "one");
        assert!(leaving(&mut datanodes).is_empty());
        assert!(datanodes.set_admin_state(node, AdminState::InMaintenance));
        datanodes.bury(node);
        assert!(leaving(&mut datanodes).is_empty(), "it is expected to be away");
    }

    #[test]
    fn a_report_vouches_only_after_a_heartbeat_of_the_term_and_not_over_its_end() {
        let mut datanodes = Datanodes::default();
        let node = register(&mut datanodes, 1, "one");
        datanodes.heartbeat(node, stats(&["a"], 0), at(1));
        let storage = datanodes.find_storage(node, "a").unwrap();
        let is_sure = |datanodes: &Datanodes| datanodes.storage(storage).is_some_and(|one| !one.content_stale);
        let mut sequence = 0;
        let mut report = |datanodes: &mut Datanodes, vouches| {
            sequence += 1;
            datanodes.report_ended(storage, ReportSequence(sequence), vouches, at(sequence));
            is_sure(datanodes)
        };
        assert!(!report(&mut datanodes, false), "no heartbeat came before it began");
        datanodes.heard_of(node);
        assert!(datanodes.storage(storage).unwrap().may_vouch());
        assert!(report(&mut datanodes, true));
        datanodes.begin_term(false);
        assert!(!is_sure(&datanodes) && !datanodes.storage(storage).unwrap().may_vouch());
        assert!(!report(&mut datanodes, true), "it began in the term before");
        assert_eq!(
            datanodes.storage(storage).unwrap().report_before_last(),
            ReportSequence(2)
        );
        datanodes.begin_term(true);
        assert!(is_sure(&datanodes));
    }

    #[test]
    fn who_was_told_of_an_earlier_term_counts_anew_until_it_registers() {
        let mut datanodes = Datanodes::default();
        let told = register(&mut datanodes, 1, "one");
        let not_told = register(&mut datanodes, 2, "other");
        datanodes.note_told_active(told);
        let anew = |datanodes: &Datanodes, node| datanodes.get(node).is_some_and(Datanode::counts_anew);
        assert!(!anew(&datanodes, told));
        datanodes.begin_term(false);
        assert!(anew(&datanodes, told) && !anew(&datanodes, not_told));
        register(&mut datanodes, 1, "one");
        assert!(!anew(&datanodes, told));
        datanodes.begin_term(false);
        assert!(!anew(&datanodes, told), "nobody told it again");
    }

    #[test]
    fn racks_are_those_of_live_nodes() {
        let mut datanodes = Datanodes::default();
        datanodes.set_rack("10.0.0.2", "/b");
        let one = register(&mut datanodes, 1, "one");
        register(&mut datanodes, 2, "other");
        assert_eq!(datanodes.rack_count(), 2);
        assert!(datanodes.set_rack("one", "/b") && !datanodes.set_rack("one", "/b"));
        datanodes.check();
        assert_eq!(
            (datanodes.rack_count(), datanodes.rack_of_host("10.0.0.1")),
            (1, Some("/b"))
        );
        datanodes.set_rack("one", "/c");
        datanodes.bury(one);
        datanodes.check();
        assert_eq!((datanodes.rack_count(), datanodes.rack_of_host("10.0.0.1")), (1, None));
    }
}
