//! Handling of blocks with too few or too many replicas (`BlockManager.RedundancyMonitor`).

use super::{BlockManager, Condition};
use crate::block_map::{Flag, Record};
use crate::placement::{PlacementRequest, PolicyTypes};
use crate::redundancy::{Level, LowRedundancy};
use crate::types::{DatanodeIndex, Now, NumberReplicas, StorageIndex};
use hathi_formats::ids::{BlockId, InodeId};
use smallvec::SmallVec;

/// Number of postponed blocks that one round looks at (`dfs.namenode.blocks.per.postponedblocks.rescan`).
const POSTPONED_PER_ROUND: usize = 10_000;

impl BlockManager {
    // --- one block ---

    /// Number of live replicas that a block should have. Replicas on nodes in maintenance count, down to a minimum
    /// (`getExpectedLiveRedundancyNum`).
    fn expected_live(&self, id: BlockId, record: &Record, counts: NumberReplicas) -> u32 {
        let expected = self.blocks.wanted_storages(id, record);
        expected
            .saturating_sub(counts.maintenance)
            .max(u32::from(self.config.min_maintenance_replication).min(expected))
    }

    /// Whether replicas on these storages are on enough racks: on two, if there are two
    /// (`BlockPlacementStatusDefault`).
    fn enough_racks(&self, id: BlockId, record: &Record) -> bool {
        if self.blocks.wanted_storages(id, record) < 2 || self.datanodes.rack_count() < 2 {
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
    pub(super) fn check_redundancy(&mut self, id: BlockId, added: Option<DatanodeIndex>, hint: Option<DatanodeIndex>) {
        if !self.redundancy.is_kept() {
            return;
        }
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        if record.is_striped() {
            self.check_group_redundancy(id.group(), added, hint);
            return;
        }
        if !record.is_complete() {
            self.redundancy.set_level(&mut self.blocks, id, None, 0);
            return;
        }
        let counts = self.count(id, record);
        let expected = self.expected_live(id, record, counts);
        let pending = self.redundancy.pending().count(id);
        let level = if counts.live + pending < expected {
            let leaving = counts.decommissioning + counts.decommissioned + counts.maintenance;
            Some(LowRedundancy::level(counts.live, leaving, expected))
        } else if counts.live >= expected && pending == 0 && !self.enough_racks(id, record) {
            Some(Level::BadlyDistributed)
        } else {
            None
        };
        let wanted = self.blocks.wanted_storages(id, record);
        // Not only when there are enough good replicas: where every node has a replica, a bad one must make room first.
        let any_bad = record.flag(Flag::Corrupt);
        self.redundancy.set_level(&mut self.blocks, id, level, expected);
        if counts.live > wanted {
            self.delete_excess(id, added, hint);
        }
        if any_bad {
            self.delete_corrupt(id);
        }
    }

    /// Chooses the surplus replicas to delete. It never does so while the content of one of the storages is not sure:
    /// an earlier active may have ordered the deletion of the other replicas.
    pub(super) fn delete_excess(&mut self, id: BlockId, added: Option<DatanodeIndex>, hint: Option<DatanodeIndex>) {
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
                self.redundancy.postpone(id);
                return;
            }
            candidates.push(storage);
        }
        let mut first = true;
        let wanted = self.blocks.wanted_storages(id, &record) as usize;
        while candidates.len() > wanted {
            let Some(at) = self.choose_excess(&candidates, added, if first { hint } else { None }) else {
                return;
            };
            first = false;
            let storage = candidates.remove(at);
            let Some(node) = self.datanodes.node_of(storage) else {
                continue;
            };
            debug_assert!(self.holds(id, node), "what is not there is not too many");
            self.redundancy
                .add_excess(&mut self.blocks, id, node, self.now.monotonic_ms);
            self.order_deletion(node, record.block(id));
        }
        self.redundancy.end_postponing(id);
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
        let of_node = |node: DatanodeIndex| candidates.iter().position(|&at| self.datanodes.is_on(at, node));
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

    // --- time ---

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
        if !self.redundancy.is_kept() || self.safe_mode.is_on() {
            return false;
        }
        let more = self.scan_slice(max_blocks);
        if now.monotonic_ms < self.safe_mode.extension_end_ms() {
            return more;
        }
        let timeout_ms = self.config.pending_timeout_ms;
        for id in self
            .redundancy
            .pending_mut()
            .take_timed_out(now.monotonic_ms, timeout_ms)
        {
            self.check_redundancy(id, None, None);
        }
        self.rescan_postponed(max_blocks.min(POSTPONED_PER_ROUND));
        self.renew_excess();
        let work = self.datanodes.live().len() * self.config.replication_work_multiplier as usize;
        for (id, level) in self.redundancy.choose(work.min(max_blocks)) {
            self.schedule_reconstruction(id, level, policy);
        }
        self.finish_decommissions();
        more
    }

    fn scan_slice(&mut self, max_blocks: usize) -> bool {
        for _ in 0..max_blocks {
            let Some(id) = self.redundancy.scan_next(&self.blocks) else {
                return false;
            };
            if id.index_in_group() == 0 {
                self.check_redundancy(id, None, None);
            }
        }
        self.redundancy.is_scanning()
    }

    fn rescan_postponed(&mut self, max_blocks: usize) {
        // A block is postponed again when a storage is still not sure.
        for id in self.redundancy.take_postponed(max_blocks) {
            self.check_redundancy(id, None, None);
        }
    }

    /// Orders copies of one block (`scheduleReconstruction`, `validateReconstructionWork`).
    fn schedule_reconstruction(&mut self, id: BlockId, level: Level, policy: &dyn Fn(InodeId) -> PolicyTypes) {
        let Some(&record) = self.blocks.get(id) else {
            return;
        };
        if record.is_striped() {
            self.schedule_group(id.group(), level, policy);
            return;
        }
        let counts = self.count(id, &record);
        let expected = self.expected_live(id, &record, counts);
        let pending = self.redundancy.pending().targets(id);
        let badly_distributed = level == Level::BadlyDistributed;
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
        let mut chosen: Vec<StorageIndex> = self.blocks.replicas_of(id).to_vec();
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
        for &target in &targets {
            self.datanodes.schedule_block(target);
        }
        self.redundancy
            .order_copy(source, record.block(id), &targets, self.now.monotonic_ms);
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
    pub(super) fn choose_source(&mut self, id: BlockId, record: &Record, level: Level) -> Option<DatanodeIndex> {
        let mut sources: SmallVec<[(bool, DatanodeIndex); 4]> = SmallVec::new();
        for storage in self.blocks.replicas(record) {
            let leaving = match self.condition(id, record, storage) {
                Condition::Live | Condition::Excess => false,
                Condition::Decommissioning | Condition::EnteringMaintenance => true,
                Condition::Corrupt | Condition::Decommissioned | Condition::InMaintenance | Condition::Gone => continue,
            };
            let Some(node) = self.datanodes.node_of(storage) else {
                continue;
            };
            let orders = self.redundancy.orders();
            if orders.deletion(node, id).is_some() {
                continue;
            }
            let limit = if level == Level::Highest || leaving {
                self.config.replication_max_streams_hard
            } else {
                self.config.replication_max_streams
            };
            if orders.copies_of(node) >= limit as usize {
                continue;
            }
            sources.push((leaving, node));
        }
        if sources.iter().any(|(leaving, _)| *leaving) {
            sources.retain(|(leaving, _)| *leaving);
        }
        let at = self.rng.below(sources.len());
        sources.get(at).map(|(_, node)| *node)
    }
}
