//! Handling of blocks with too few, too many or bad replicas, and the commands for DataNodes that follow
//! (`BlockManager.RedundancyMonitor`, `HeartbeatManager`, `DatanodeManager.handleHeartbeat`).

use crate::blocks::{Flag, Record};
use crate::construction::ExpectedReplica;
use crate::corrupt::CorruptReason;
use crate::datanodes::{AdminState, HeartbeatStats, Transfer};
use crate::manager::{BlockManager, Condition};
use crate::mutant::Mutant;
use crate::placement::{PlacementRequest, PolicyTypes};
use crate::queues::{self, LowRedundancy};
use crate::types::{BlockManagerError, DatanodeIndex, Now, NumberReplicas, ReplicaState, StorageIndex};
use hathi_formats::ids::{BlockId, InodeId};
use hathi_formats::proto::hdfs::DatanodeIdProto;
use smallvec::SmallVec;

/// `BlockCommand.NO_ACK`: with this length a DataNode does not report the deletion.
pub(crate) const NO_ACK: u64 = i64::MAX as u64;

/// Number of postponed blocks that one round looks at (`dfs.namenode.blocks.per.postponedblocks.rescan`).
const POSTPONED_PER_ROUND: usize = 10_000;

impl BlockManager {
    // --- one block ---

    pub(crate) fn set_needed(&mut self, id: BlockId, level: Option<usize>, expected: u32) {
        let Some(record) = self.blocks.get_mut(id) else {
            return;
        };
        if level.is_none() && !record.flag(Flag::Needed) {
            return;
        }
        record.set_flag(Flag::Needed, level.is_some());
        self.needed.set(id.0, level, expected);
    }

    /// Number of live replicas that a block should have. Replicas on nodes in maintenance count, down to a minimum
    /// (`getExpectedLiveRedundancyNum`).
    fn expected_live(&self, record: &Record, counts: NumberReplicas) -> u32 {
        let expected = u32::from(record.replication());
        expected
            .saturating_sub(counts.maintenance)
            .max(u32::from(self.config.min_maintenance_replication).min(expected))
    }

    /// Whether replicas on these storages are on enough racks: on two, if there are two
    /// (`BlockPlacementStatusDefault`).
    fn enough_racks(&self, id: BlockId, record: &Record) -> bool {
        if record.replication() < 2 || self.datanodes.rack_count() < 2 {
            return true;
        }
        let mut first: Option<&str> = None;
        for storage in self.blocks.replicas(record) {
            if self.condition(id, record, storage) != Condition::Live {
                continue;
            }
            let Some(node) = self.datanodes.of(storage) else {
                continue;
            };
            match first {
                None => first = Some(&node.location),
                Some(rack) if rack != node.location => return true,
                Some(_) => {}
            }
        }
        false
    }

    /// Updates the queues for one block, and orders deletions when it has too many replicas.
    pub(crate) fn check_redundancy(&mut self, id: BlockId, added: Option<DatanodeIndex>, hint: Option<DatanodeIndex>) {
        if !self.populating {
            return;
        }
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        if !record.is_complete() {
            self.set_needed(id, None, 0);
            return;
        }
        let counts = self.count_replicas(id);
        let expected = self.expected_live(record, counts);
        let pending = self.pending.count(id.0);
        let level = if counts.live + pending < expected {
            let leaving = counts.decommissioning + counts.decommissioned + counts.maintenance;
            Some(LowRedundancy::level(counts.live, leaving, expected))
        } else if counts.live >= expected && pending == 0 && !self.enough_racks(id, record) {
            Some(queues::BADLY_DISTRIBUTED)
        } else {
            None
        };
        let replication = u32::from(record.replication());
        // Not only when there are enough good replicas: where every node has a replica, a bad one must make room first.
        let any_bad = record.flag(Flag::Corrupt);
        self.set_needed(id, level, expected);
        if counts.live > replication {
            self.delete_excess(id, added, hint);
        }
        if any_bad {
            self.delete_corrupt(id);
        }
    }

    /// Chooses the surplus replicas to delete. It never does so while the content of one of the storages is not sure:
    /// an earlier active may have ordered the deletion of the other replicas.
    fn delete_excess(&mut self, id: BlockId, added: Option<DatanodeIndex>, hint: Option<DatanodeIndex>) {
        let Some(&record) = self.blocks.get(id) else {
            return;
        };
        let mut candidates: SmallVec<[StorageIndex; 8]> = SmallVec::new();
        for storage in self.blocks.replicas(&record) {
            if self.condition(id, &record, storage) != Condition::Live {
                continue;
            }
            if self
                .datanodes
                .storage(storage)
                .is_none_or(|storage| storage.content_stale)
            {
                self.postponed.insert(id.0);
                return;
            }
            candidates.push(storage);
        }
        let mut first = true;
        while candidates.len() > usize::from(record.replication()) {
            let Some(at) = self.choose_excess(&candidates, added, if first { hint } else { None }) else {
                return;
            };
            first = false;
            let storage = candidates.remove(at);
            let Some(node) = self.datanodes.storage(storage).map(|storage| storage.datanode) else {
                continue;
            };
            self.add_excess(id, node);
            self.order_deletion(node, record.view(id).block);
        }
        self.postponed.remove(&id.0);
    }

    /// Index of the replica to delete: on a rack with several replicas, the one on the node that was silent longest,
    /// otherwise the one on the fullest storage (`BlockPlacementPolicyDefault.chooseReplicaToDelete`).
    fn choose_excess(
        &self,
        candidates: &[StorageIndex],
        added: Option<DatanodeIndex>,
        hint: Option<DatanodeIndex>,
    ) -> Option<usize> {
        let rack = |storage: StorageIndex| self.datanodes.of(storage).map(|node| node.location.as_str());
        let shares_rack = |at: usize| {
            candidates
                .iter()
                .enumerate()
                .any(|(other, &storage)| other != at && rack(storage) == rack(candidates[at]))
        };
        let of_node = |node: DatanodeIndex| {
            candidates
                .iter()
                .position(|&at| self.datanodes.storage(at).is_some_and(|one| one.datanode == node))
        };
        if let Some(at) = hint.and_then(of_node) {
            let added_new_rack = added.and_then(of_node).is_some_and(|at| !shares_rack(at));
            if shares_rack(at) || added_new_rack {
                return Some(at);
            }
        }
        let any_shares = (0..candidates.len()).any(shares_rack);
        let tolerated = self
            .now
            .monotonic_ms
            .saturating_sub(self.config.heartbeat_interval_ms * 4);
        (0..candidates.len())
            .filter(|&at| !any_shares || shares_rack(at))
            .min_by_key(|&at| {
                let storage = self.datanodes.storage(candidates[at]);
                let silent_since = self
                    .datanodes
                    .of(candidates[at])
                    .map_or(0, |node| node.last_update.monotonic_ms)
                    .min(tolerated);
                (
                    silent_since,
                    storage.map_or(0, |storage| storage.remaining),
                    candidates[at],
                )
            })
    }

    pub(crate) fn is_on(&self, storage: StorageIndex, node: DatanodeIndex) -> bool {
        self.datanodes
            .storage(storage)
            .is_some_and(|storage| storage.datanode == node)
    }

    /// The storage does not have the block any more (`removeStoredBlock`).
    pub(crate) fn remove_replica(&mut self, id: BlockId, storage: StorageIndex) {
        let Some(held) = self.datanodes.storage_mut(storage) else {
            return;
        };
        held.blocks.remove(id.0);
        let node = held.datanode;
        if !self.blocks.remove_replica(id, storage) {
            return;
        }
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        let (was_excess, was_corrupt) = (record.flag(Flag::Excess), record.flag(Flag::Corrupt));
        if was_excess {
            self.forget_excess(id, node);
        }
        if was_corrupt {
            // A mark that a reader caused holds for the replica wherever it appears again. All other marks are made
            // again by each report.
            let all = self.mutation.is(Mutant::DeathEndsMark);
            self.end_marks(id, |mark| {
                mark.node == node && (all || mark.reason != CorruptReason::Reported)
            });
        }
        self.update_safe(id);
        self.check_redundancy(id, None, None);
    }

    pub(crate) fn remove_replica_of_node(&mut self, id: BlockId, node: DatanodeIndex) {
        for storage in self.replicas(id) {
            if self.is_on(storage, node) {
                self.remove_replica(id, storage);
            }
        }
    }

    // --- nodes ---

    /// `registerDatanode`. The caller has put the address of the peer into `id`.
    pub fn register(
        &mut self,
        id: DatanodeIdProto,
        software_version: &str,
        now: Now,
    ) -> Result<DatanodeIndex, BlockManagerError> {
        self.now = now;
        self.check_allowed(&id)?;
        // Another node has this address, for example with a new volume and uuid: the old node is gone for good.
        let replaced = self.datanodes.on_host(&id.ip_addr).iter().copied().find(|&at| {
            self.datanodes
                .get(at)
                .is_some_and(|node| node.id.xfer_port == id.xfer_port && node.id.datanode_uuid != id.datanode_uuid)
        });
        if let Some(replaced) = replaced {
            self.node_died(replaced);
        }
        let racks = self.datanodes.rack_count();
        let index = self.datanodes.register(id, software_version, now);
        self.look_at_racks(racks, false);
        self.leases.remove(index);
        let storages: Vec<StorageIndex> = self
            .datanodes
            .get(index)
            .map(|node| node.storages.clone())
            .unwrap_or_default();
        self.purge.retain(|storage| !storages.contains(storage));
        if let Some(node) = self.datanodes.get_mut(index) {
            node.transfers.clear();
            node.recover.clear();
            node.told_active = false;
            node.counts_anew = false;
            node.unheard = false;
        }
        self.forget_copies(index);
        self.apply_exclusion(index);
        if self.safe_mode.is_startup() {
            self.check_safe_mode();
        }
        Ok(index)
    }

    /// `sendHeartbeat` without its commands.
    pub fn heartbeat(&mut self, datanode: DatanodeIndex, stats: HeartbeatStats, now: Now) {
        self.now = now;
        let failed = self.datanodes.heartbeat(datanode, stats, now);
        self.purge.extend(failed);
        self.datanodes.heard_of(datanode);
    }

    /// A lifeline: the node lives, and these are its numbers (`DatanodeManager.handleLifeline`). It does not vouch for
    /// blocks. Its answer tells the node no role, so the node may still obey another NameNode.
    pub fn lifeline(&mut self, datanode: DatanodeIndex, stats: HeartbeatStats, now: Now) {
        self.now = now;
        let failed = self.datanodes.heartbeat(datanode, stats, now);
        self.purge.extend(failed);
        if self.mutation.is(Mutant::LifelineVouches) {
            self.datanodes.heard_of(datanode);
        }
    }

    /// The answer to the node's heartbeat claims the active role.
    pub fn told_active(&mut self, datanode: DatanodeIndex) {
        if let Some(node) = self.datanodes.get_mut(datanode) {
            node.told_active = true;
        }
    }

    /// Whether the node must register again, and report everything, before anything else is accepted from it:
    /// - it was told of an earlier term in which this NameNode was active. It can't know that this is another term, in
    ///   which the orders of the earlier one do not count. A registration ends the claim
    ///   (`hathi_blockpool::OfferService`);
    /// - some of its notices found no room here.
    #[must_use]
    pub fn wants_registration(&self, datanode: DatanodeIndex) -> bool {
        let room = self.active || self.messages.len() <= self.config.max_pending_messages / 2;
        self.datanodes
            .get(datanode)
            .is_some_and(|node| node.counts_anew || (node.unheard && room))
    }

    /// Grants a lease for a full block report. Returns 0 when none is free.
    pub fn request_report_lease(&mut self, datanode: DatanodeIndex, now: Now) -> u64 {
        self.leases.request(datanode, now.monotonic_ms)
    }

    /// Makes a node dead at once (`errorReport` with a fatal disk error, `heartbeatCheck`).
    pub fn node_died(&mut self, datanode: DatanodeIndex) {
        self.datanodes.set_dead(datanode);
        self.leases.remove(datanode);
        self.datanodes.forget_work(datanode);
        let Some(node) = self.datanodes.get_mut(datanode) else {
            return;
        };
        // A node in maintenance is expected to be away, so its replicas still count.
        if node.admin_state != AdminState::InMaintenance {
            self.purge.extend(node.storages.clone());
        }
        let datanodes = &self.datanodes;
        self.messages
            .remove_node(|storage| datanodes.storage(storage).is_some_and(|one| one.datanode == datanode));
        self.forget_copies(datanode);
    }

    /// The node died, or is now another process than the one that copies were ordered from. Copies from it and to it
    /// may never arrive. So their blocks are looked at again at once, and not minutes later when the orders time out,
    /// as in Hadoop. A copy that still arrives is one too many and is deleted.
    fn forget_copies(&mut self, node: DatanodeIndex) {
        let datanodes = &self.datanodes;
        let on_node = |target| {
            datanodes
                .storage(target)
                .is_some_and(|storage| storage.datanode == node)
        };
        let lacking = self
            .pending
            .forget(|replica| replica.source == Some(node) || on_node(replica.target));
        for id in lacking {
            self.check_redundancy(BlockId(id), None, None);
        }
    }

    /// Sets the rack of a host (address or name), for its nodes of now and later.
    pub fn set_rack(&mut self, host: &str, rack: &str) {
        let racks = self.datanodes.rack_count();
        let moved = self.datanodes.set_rack(host, rack);
        self.look_at_racks(racks, moved);
    }

    /// Looks at all blocks again when nodes were moved, or a second rack came: blocks that were well placed on the only
    /// rack are not any more (`checkIfClusterIsNowMultiRack`, `processMisReplicatedBlocks`). The scan may be lost with
    /// the role, because the next active begins one anyway.
    fn look_at_racks(&mut self, racks_before: usize, moved: bool) {
        let now = self.datanodes.rack_count();
        if self.populating && now > 1 && (moved || racks_before < 2) {
            self.scan_from = Some(BlockId(i64::MIN));
        }
    }

    /// Sets the wish of the administrator for a node. The scan of [`BlockManager::redundancy_tick`] looks at its blocks
    /// again.
    pub fn set_admin_state(&mut self, datanode: DatanodeIndex, state: AdminState) {
        let Some(node) = self.datanodes.get_mut(datanode) else {
            return;
        };
        if node.admin_state == state {
            return;
        }
        node.admin_state = state;
        let storages = node.storages.clone();
        for storage in storages {
            let mut next = self
                .datanodes
                .storage(storage)
                .and_then(|storage| storage.blocks.next(i64::MIN));
            while let Some(id) = next {
                self.update_safe(BlockId(id));
                next = id.checked_add(1).and_then(|from| {
                    self.datanodes
                        .storage(storage)
                        .and_then(|storage| storage.blocks.next(from))
                });
            }
        }
        if self.populating && self.scan_from.is_none() {
            self.scan_from = Some(BlockId(i64::MIN));
        }
    }

    /// Sets the bandwidth of the balancer in bytes per second. Every node is told with its next heartbeat.
    pub fn set_balancer_bandwidth(&mut self, bytes_per_second: u64) {
        for node in self.datanodes.nodes_mut() {
            node.bandwidth = Some(bytes_per_second);
        }
    }

    // --- time ---

    /// Nodes without heartbeats die. Their replicas are forgotten in slices of at most `max_blocks`
    /// (`HeartbeatManager.heartbeatCheck`). Returns whether there is more to do at once.
    pub fn heartbeat_check(&mut self, now: Now, max_blocks: usize) -> bool {
        self.now = now;
        // During its start a NameNode that was away can't tell which others were away.
        if !self.safe_mode.is_startup() {
            let expire_ms = self.config.heartbeat_expire_ms();
            let silent: SmallVec<[DatanodeIndex; 4]> = self
                .datanodes
                .live
                .iter()
                .copied()
                .filter(|&index| {
                    self.datanodes
                        .get(index)
                        .is_some_and(|node| now.monotonic_ms.saturating_sub(node.last_update.monotonic_ms) > expire_ms)
                })
                .collect();
            for index in silent {
                self.node_died(index);
            }
        }
        self.check_safe_mode();
        self.expire_recoveries(now);
        self.purge_slice(max_blocks)
    }

    fn purge_slice(&mut self, max_blocks: usize) -> bool {
        let mut left = max_blocks;
        while let Some(&storage) = self.purge.front() {
            let next = self
                .datanodes
                .storage(storage)
                .and_then(|storage| storage.blocks.next(i64::MIN));
            let Some(id) = next else {
                self.purge.pop_front();
                continue;
            };
            if left == 0 {
                return true;
            }
            left -= 1;
            self.remove_replica(BlockId(id), storage);
        }
        false
    }

    /// [`BlockManager::redundancy_tick_by_policy`] for files without a wish for storage types.
    pub fn redundancy_tick(&mut self, now: Now, max_blocks: usize) -> bool {
        self.redundancy_tick_by_policy(now, max_blocks, &|_| PolicyTypes::default())
    }

    /// One round of the redundancy monitor (`BlockManager.RedundancyMonitor`), every 3 s while active. `policy` says
    /// which storage types the replicas of a file want. Returns whether there is more to do at once.
    pub fn redundancy_tick_by_policy(
        &mut self,
        now: Now,
        max_blocks: usize,
        policy: &dyn Fn(InodeId) -> PolicyTypes,
    ) -> bool {
        self.now = now;
        if !self.populating || self.safe_mode.is_on() {
            return false;
        }
        let more = self.scan_slice(max_blocks);
        if now.monotonic_ms < self.safe_mode.extension_end_ms() {
            return more;
        }
        for id in self
            .pending
            .take_timed_out(now.monotonic_ms, self.config.pending_timeout_ms)
        {
            self.check_redundancy(BlockId(id), None, None);
        }
        self.rescan_postponed(max_blocks.min(POSTPONED_PER_ROUND));
        self.renew_excess();
        let work = self.datanodes.live.len() * self.config.replication_work_multiplier as usize;
        for (id, level) in self.needed.choose(work.min(max_blocks)) {
            self.schedule_reconstruction(BlockId(id), level, policy);
        }
        self.finish_decommissions();
        more
    }

    fn scan_slice(&mut self, max_blocks: usize) -> bool {
        let Some(mut from) = self.scan_from else {
            return false;
        };
        for _ in 0..max_blocks {
            let Some(id) = self.blocks.next(from) else {
                self.scan_from = None;
                return false;
            };
            self.check_redundancy(id, None, None);
            let Some(next) = id.0.checked_add(1) else {
                self.scan_from = None;
                return false;
            };
            from = BlockId(next);
        }
        self.scan_from = Some(from);
        true
    }

    fn rescan_postponed(&mut self, max_blocks: usize) {
        let ids: Vec<i64> = self
            .postponed
            .range(self.postponed_from..)
            .chain(self.postponed.range(..self.postponed_from))
            .take(max_blocks)
            .copied()
            .collect();
        for id in &ids {
            self.postponed.remove(id);
            // The block is postponed again when a storage is still not sure.
            self.check_redundancy(BlockId(*id), None, None);
        }
        self.postponed_from = ids.last().map_or(i64::MIN, |id| id.saturating_add(1));
    }

    /// Orders copies of one block (`scheduleReconstruction`, `validateReconstructionWork`).
    fn schedule_reconstruction(&mut self, id: BlockId, level: usize, policy: &dyn Fn(InodeId) -> PolicyTypes) {
        let Some(&record) = self.blocks.get(id) else {
            self.needed.set(id.0, None, 0);
            return;
        };
        let counts = self.count_replicas(id);
        let expected = self.expected_live(&record, counts);
        let pending = self.pending.targets(id.0);
        let badly_distributed = level == queues::BADLY_DISTRIBUTED;
        let have = counts.live + pending.len() as u32;
        // The only other rack may be gone by now.
        if have >= expected && (!badly_distributed || self.enough_racks(id, &record)) {
            self.check_redundancy(id, None, None);
            return;
        }
        let Some(source) = self.choose_source(id, &record, level) else {
            return;
        };
        let wanted = if badly_distributed {
            1
        } else {
            (expected - have) as usize
        };
        let mut chosen: Vec<StorageIndex> = self.replicas(id).to_vec();
        chosen.extend(&pending);
        let policy = policy(record.inode());
        let request = PlacementRequest {
            count: wanted,
            chosen: &chosen,
            block_size: record.num_bytes(),
            storage_types: policy.creation,
            fallback_types: policy.fallback,
            ..PlacementRequest::default()
        };
        let Ok(targets) = self.choose_targets(&request, self.now) else {
            return;
        };
        if targets.is_empty() {
            return;
        }
        if badly_distributed && !self.adds_a_rack(&chosen, &targets) {
            return;
        }
        let block = record.view(id).block;
        if let Some(node) = self.datanodes.get_mut(source) {
            node.transfers.push_back(Transfer {
                block,
                targets: targets.iter().copied().collect(),
            });
        }
        for &target in &targets {
            let node = self.datanodes.storage(target).map(|storage| storage.datanode);
            if let Some(node) = node.and_then(|node| self.datanodes.get_mut(node)) {
                node.schedule_block();
            }
        }
        self.pending.add(id.0, &targets, Some(source), self.now.monotonic_ms);
        self.check_redundancy(id, None, None);
    }

    fn adds_a_rack(&self, chosen: &[StorageIndex], targets: &[StorageIndex]) -> bool {
        let rack = |&storage: &StorageIndex| self.datanodes.of(storage).map(|node| node.location.as_str());
        targets
            .iter()
            .any(|target| chosen.iter().all(|one| rack(one) != rack(target)))
    }

    /// The node to copy from: first one that leaves, because it serves nobody else; otherwise a random one. Busy nodes
    /// are taken only for the most urgent blocks (`chooseSourceDatanodes`).
    fn choose_source(&mut self, id: BlockId, record: &Record, level: usize) -> Option<DatanodeIndex> {
        let mut sources: SmallVec<[(bool, DatanodeIndex); 4]> = SmallVec::new();
        for storage in self.blocks.replicas(record) {
            let leaving = match self.condition(id, record, storage) {
                Condition::Live | Condition::Excess => false,
                Condition::Decommissioning | Condition::EnteringMaintenance => true,
                Condition::Corrupt | Condition::Decommissioned | Condition::InMaintenance | Condition::Gone => continue,
            };
            let Some(index) = self.datanodes.storage(storage).map(|storage| storage.datanode) else {
                continue;
            };
            let Some(node) = self.datanodes.get(index) else {
                continue;
            };
            if node.invalidate.contains_key(&id.0) {
                continue;
            }
            let limit = if level == queues::HIGHEST || leaving {
                self.config.replication_max_streams_hard
            } else {
                self.config.replication_max_streams
            };
            if node.transfers.len() >= limit as usize {
                continue;
            }
            sources.push((leaving, index));
        }
        if sources.iter().any(|(leaving, _)| *leaving) {
            sources.retain(|(leaving, _)| *leaving);
        }
        let at = self.rng.below(sources.len());
        sources.get(at).map(|(_, node)| *node)
    }

    /// Whether an open file is being written to this node, and to fewer nodes that stay than the minimum. Blocks that
    /// are not complete are in no queue (HDFS-17658). A replica does not count as another one if it waits for recovery,
    /// was left behind by the pipeline, or was lost by its node, because it may lack bytes.
    fn open_blocks_need(&self, leaving: DatanodeIndex) -> bool {
        let stays = |storage: StorageIndex| {
            self.is_writable(storage)
                && self
                    .datanodes
                    .of(storage)
                    .is_some_and(|node| node.admin_state == AdminState::Normal)
        };
        // order: whether there is one does not depend on which is found first.
        self.construction.iter().any(|(&id, construction)| {
            let stamp = self.blocks.get(BlockId(id)).map_or(0, Record::generation_stamp);
            let left_behind = |storage: StorageIndex| {
                let node = self.datanodes.storage(storage).map(|storage| storage.datanode);
                node.is_some_and(|node| self.is_corrupt_on(BlockId(id), node))
            };
            let has_all = |replica: &ExpectedReplica| {
                replica.state != ReplicaState::Rwr
                    && replica.generation_stamp >= stamp
                    && !replica.is_gone(&self.datanodes)
                    && !left_behind(replica.storage)
            };
            let replicas = &construction.replicas;
            let stay = replicas
                .iter()
                .filter(|replica| has_all(replica) && stays(replica.storage));
            replicas.iter().any(|replica| self.is_on(replica.storage, leaving))
                && stay.count() < usize::from(self.config.min_replication)
        })
    }

    /// Lets nodes go whose blocks all have enough replicas elsewhere (`DatanodeAdminDefaultMonitor`).
    fn finish_decommissions(&mut self) {
        if self.scan_from.is_some() {
            return;
        }
        let leaving: Vec<DatanodeIndex> = self
            .datanodes
            .nodes()
            .filter(|(_, node)| {
                matches!(
                    node.admin_state,
                    AdminState::DecommissionInProgress | AdminState::EnteringMaintenance
                )
            })
            .map(|(index, _)| index)
            .collect();
        for index in leaving {
            let Some(node) = self.datanodes.get(index) else {
                continue;
            };
            let (storages, state) = (node.storages.clone(), node.admin_state);
            let waits = storages.iter().any(|&storage| {
                let Some(storage) = self.datanodes.storage(storage) else {
                    return false;
                };
                // Blocks without enough replicas are queued or under way. Both lists are usually smaller than the node.
                self.needed
                    .ids()
                    .chain(self.pending.ids())
                    .any(|id| storage.blocks.contains(id))
            });
            // A node that has not told this active everything may have such a block, or more of it than is known.
            let told_all = !storages.is_empty() && !self.has_stale_storages(index);
            let unsure = !told_all && self.datanodes.get(index).is_some_and(|node| node.alive);
            let needed = (unsure || self.open_blocks_need(index)) && !self.mutation.is(Mutant::OpenBlocksMayGo);
            if !waits && !needed {
                let done = if state == AdminState::DecommissionInProgress {
                    AdminState::Decommissioned
                } else {
                    AdminState::InMaintenance
                };
                if let Some(node) = self.datanodes.get_mut(index) {
                    node.admin_state = done;
                }
            }
        }
    }
}
