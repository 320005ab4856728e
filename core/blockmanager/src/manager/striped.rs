//! Block groups: what their internal blocks come to together (`BlockInfoStriped`, `ErasureCodingWork`).
//!
//! An internal block is a block with one replica. Reports, marks, surplus and deletions treat it as such, by its own id. Here
//! is what needs the whole group: whether it is safe, what it lacks, and who makes the rest anew.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use super::commands::{block_proto, command};
use super::{BlockManager, Condition};
use crate::block_map::{Flag, Record};
use crate::placement::{PlacementRequest, PolicyTypes};
use crate::redundancy::{Coding, Level, LowRedundancy};
use crate::types::{DatanodeIndex, NumberReplicas, StorageIndex};
use hathi_formats::ids::{Block, BlockId, InodeId};
use hathi_formats::proto::datanode::datanode_command_proto::Type as CommandType;
use hathi_formats::proto::datanode::{BlockEcReconstructionCommandProto, DatanodeCommandProto};
use hathi_formats::proto::hdfs::{
    BlockEcReconstructionInfoProto, DatanodeInfosProto, EcSchemaProto, ErasureCodingPolicyProto, ExtendedBlockProto,
    LocatedBlockProto, StorageTypesProto, StorageUuidsProto,
};
use hathi_formats::striping::Striping;
use smallvec::SmallVec;

/// Numbers of block groups (`ECBlockGroupsStats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounts {
    /// Groups with fewer good internal blocks than they should have, but enough for all bytes.
    pub low_redundancy: u64,
    /// Groups with a corrupt internal block.
    pub corrupt: u64,
    /// Groups with fewer good internal blocks than hold all bytes.
    pub missing: u64,
    /// Of those with low redundancy the most urgent.
    pub highest_priority: u64,
    /// Internal blocks whose deletion is not ordered yet.
    pub pending_deletion: u64,
}

impl BlockManager {
    // --- what there is ---

    /// Where a block is, or each internal block of a group with its index: finalized replicas, good or bad.
    #[must_use]
    pub fn storages_of(&self, id: BlockId) -> Vec<(u8, StorageIndex)> {
        let on = self.blocks.members(id).flat_map(|id| {
            let storages = self.blocks.replicas_of(id).into_iter();
            storages.map(move |storage| (id.index_in_group(), storage))
        });
        on.collect()
    }

    /// Where the internal blocks of a group under construction are expected, by their index.
    #[must_use]
    pub fn expected_group(&self, group: BlockId) -> Vec<(u8, StorageIndex)> {
        let expected = self.blocks.members(group).flat_map(|id| {
            let construction = self.construction.get(id);
            let storages = construction
                .into_iter()
                .flat_map(|construction| construction.storages());
            storages.map(move |storage| (id.index_in_group(), storage))
        });
        expected.collect()
    }

    /// Sets the DataNodes that write a group under construction: the n-th storage is that of the n-th internal block. Of
    /// those without one the writer has lost the DataNode.
    pub fn set_expected_group(&mut self, group: BlockId, on: &[Option<StorageIndex>]) {
        let Some(record) = self.blocks.get(group) else {
            return;
        };
        if record.is_complete() {
            return;
        }
        let generation_stamp = record.generation_stamp();
        for (at, id) in self.blocks.members(group).enumerate() {
            self.unschedule(id);
            let storage = on.get(at).copied().flatten();
            self.construction
                .set_pipeline(id, storage.as_slice(), generation_stamp, self.now);
            if let Some(storage) = storage {
                self.datanodes.schedule_block(storage);
            }
        }
    }

    /// The replica of a block in the map as its DataNode knows it: with the length of the internal block.
    pub(super) fn replica_of(&self, id: BlockId, record: &Record) -> Block {
        Block {
            num_bytes: self.blocks.replica_length(id, record),
            ..record.block(id)
        }
    }

    /// Number of internal blocks of a group in each condition. One that is in several places counts once, in the best of
    /// them, and the other good ones as excess.
    pub(super) fn count_group(&self, id: BlockId) -> NumberReplicas {
        let mut sum = NumberReplicas::default();
        for id in self.blocks.members(id) {
            let Some(record) = self.blocks.get(id) else {
                continue;
            };
            let counts = self.count(id, record);
            let places = [
                (counts.live, &mut sum.live),
                (counts.decommissioning, &mut sum.decommissioning),
                (counts.maintenance, &mut sum.maintenance),
                (counts.decommissioned, &mut sum.decommissioned),
            ];
            if let Some((_, best)) = places.into_iter().find(|(count, _)| *count > 0) {
                *best = best.saturating_add(1);
            }
            sum.excess = sum
                .excess
                .saturating_add(counts.excess)
                .saturating_add(counts.live.saturating_sub(1));
            sum.corrupt = sum.corrupt.saturating_add(counts.corrupt);
            sum.stale = sum.stale.saturating_add(counts.stale);
        }
        sum
    }

    /// Number of internal blocks that the group should have.
    fn wanted_of_group(&self, group: BlockId, record: &Record) -> u32 {
        let members = self.blocks.members(group);
        members.map(|id| self.blocks.wanted_storages(id, record)).sum()
    }

    /// Whether a corrupt internal block can be done without: there is a good one of the same index, or all that the group
    /// should have are good; or its node is needed for a good one.
    pub(super) fn corrupt_internal_may_go(&self, id: BlockId, record: &Record, counts: NumberReplicas) -> bool {
        let group = self.count_group(id);
        let expected = self.wanted_of_group(id, record);
        let good = group.live.saturating_add(group.decommissioning);
        let enough = good >= self.blocks.min_storages(record, self.config.min_replication);
        counts.live > 0 || good >= expected || (enough && group.live.saturating_add(group.corrupt) > expected)
    }

    /// The numbers of block groups.
    #[must_use]
    pub fn group_counts(&self) -> GroupCounts {
        let low = self.redundancy.low();
        let groups = |level: Level| low.of(level).filter(|id| id.is_striped()).count() as u64;
        let corrupt = self.corrupt.from(BlockId(i64::MIN));
        let corrupt = corrupt.take_while(|(id, _)| id.is_striped());
        let held = corrupt.filter(|(id, marks)| marks.iter().any(|mark| self.holds(*id, mark.node)));
        let corrupt: std::collections::BTreeSet<BlockId> = held.map(|(id, _)| id.group()).collect();
        let lower = [Level::VeryLow, Level::Low, Level::BadlyDistributed].map(groups);
        let highest_priority = groups(Level::Highest);
        GroupCounts {
            low_redundancy: lower.iter().sum::<u64>().saturating_add(highest_priority),
            corrupt: corrupt.len() as u64,
            missing: groups(Level::Corrupt),
            highest_priority,
            pending_deletion: self.redundancy.orders().striped_deletions() as u64,
        }
    }

    // --- where it is read and written ---

    /// A block group with one location of each internal block that can be read (`LocatedStripedBlock`). Of a group under
    /// construction they are those that are written.
    pub(super) fn located_group(&self, pool: &str, group: Block, offset: u64) -> LocatedBlockProto {
        let mut on: Vec<(u8, StorageIndex)> = Vec::new();
        let mut bad: Vec<(u8, StorageIndex)> = Vec::new();
        let is_written = |record: &Record| !record.is_complete() && !self.expected_group(group.id).is_empty();
        if self.blocks.get(group.id).is_some_and(is_written) {
            on = self.expected_group(group.id);
            on.retain(|(_, storage)| self.datanodes.is_writable(*storage));
        } else {
            for id in self.blocks.members(group.id) {
                let (good, corrupt) = self.readable(id);
                let index = id.index_in_group();
                on.extend(good.map(|storage| (index, storage)));
                bad.extend(corrupt.map(|storage| (index, storage)));
            }
        }
        let enough = self.blocks.get(group.id).map_or(0, |record| {
            self.blocks.min_storages(record, self.config.min_replication) as usize
        });
        // Readers may still try the bad ones, and are told.
        let corrupt = on.len() < enough && !bad.is_empty();
        if corrupt {
            bad.retain(|(index, _)| on.iter().all(|(other, _)| other != index));
            on.extend(bad);
            on.sort_unstable();
        }
        let mut located = self.located_group_on(pool, group, offset, &on);
        located.corrupt = corrupt;
        located
    }

    /// The best place of a replica, and a place of a bad one.
    fn readable(&self, id: BlockId) -> (Option<StorageIndex>, Option<StorageIndex>) {
        let Some(record) = self.blocks.get(id) else {
            return (None, None);
        };
        let (mut best, mut bad) = (None, None);
        for storage in self.blocks.replicas(record) {
            let rank = match self.condition(id, record, storage) {
                Condition::Gone | Condition::InMaintenance => continue,
                Condition::Corrupt => {
                    bad = Some(storage);
                    continue;
                }
                Condition::Live => 0u8,
                Condition::Excess | Condition::Decommissioning => 1,
                Condition::Decommissioned | Condition::EnteringMaintenance => 2,
            };
            if best.is_none_or(|(known, _)| rank < known) {
                best = Some((rank, storage));
            }
        }
        (best.map(|(_, storage)| storage), bad)
    }

    /// A block group with these internal blocks (the answer of `addBlock`).
    #[must_use]
    pub fn located_group_on(
        &self,
        pool: &str,
        group: Block,
        offset: u64,
        on: &[(u8, StorageIndex)],
    ) -> LocatedBlockProto {
        let is_known = |(_, storage): &&(u8, StorageIndex)| self.datanodes.of(*storage).is_some();
        let on: Vec<(u8, StorageIndex)> = on.iter().filter(is_known).copied().collect();
        let storages: Vec<StorageIndex> = on.iter().map(|(_, storage)| *storage).collect();
        let mut located = self.located_block_on(pool, group, offset, &storages);
        located.block_tokens = on.iter().map(|_| located.block_token.clone()).collect();
        located.block_indices = Some(on.iter().map(|(index, _)| *index).collect::<Vec<u8>>().into());
        located
    }

    // --- what it lacks ---

    /// Updates the queues for one group, and orders the deletion of what is too much.
    pub(super) fn check_group_redundancy(
        &mut self,
        group: BlockId,
        added: Option<DatanodeIndex>,
        hint: Option<DatanodeIndex>,
    ) {
        let Some(&record) = self.blocks.get(group) else {
            return;
        };
        if !record.is_complete() {
            self.redundancy.set_level(&mut self.blocks, group, None, 0);
            return;
        }
        let counts = self.count_group(group);
        let wanted = self.wanted_of_group(group, &record);
        let data = self.blocks.min_storages(&record, self.config.min_replication);
        let level = (!self.lacking(group).is_empty()).then(|| {
            let leaving = counts.decommissioning.saturating_add(counts.decommissioned);
            let leaving = leaving.saturating_add(counts.maintenance);
            LowRedundancy::level_of_group(counts.live, leaving, data, wanted.saturating_sub(data))
        });
        self.redundancy.set_level(&mut self.blocks, group, level, wanted);
        for id in self.blocks.members(group) {
            let Some(record) = self.blocks.get(id) else {
                continue;
            };
            let (counts, any_bad) = (self.count(id, record), record.flag(Flag::Corrupt));
            if counts.live > self.blocks.wanted_storages(id, record) {
                self.delete_excess(id, added, hint);
            }
            if any_bad {
                self.delete_corrupt(id);
            }
        }
    }

    /// The internal blocks of a complete group that should be somewhere, are not, and are not on their way. One in maintenance
    /// is somewhere, as long as the group can be read without those.
    fn lacking(&self, group: BlockId) -> SmallVec<[BlockId; 4]> {
        let Some(record) = self.blocks.get(group) else {
            return SmallVec::new();
        };
        let live = self.count_group(group).live;
        let readable = live >= self.blocks.min_storages(record, self.config.min_replication);
        let members = self.blocks.members(group);
        let lacks = members.filter(|&id| {
            let Some(record) = self.blocks.get(id) else {
                return false;
            };
            let counts = self.count(id, record);
            self.blocks.wanted_storages(id, record) > 0
                && counts.live == 0
                && !(counts.maintenance > 0 && readable)
                && self.redundancy.pending().count(id) == 0
        });
        lacks.collect()
    }

    /// Orders copies of internal blocks whose nodes leave, and new ones in place of those that are lost
    /// (`BlockManager.scheduleReconstruction`).
    pub(super) fn schedule_group(&mut self, group: BlockId, level: Level, policy: &dyn Fn(InodeId) -> PolicyTypes) {
        let Some(&record) = self.blocks.get(group) else {
            return;
        };
        let policy = policy(record.inode());
        let mut lost: SmallVec<[BlockId; 4]> = SmallVec::new();
        for id in self.lacking(group) {
            match self.blocks.get(id).copied() {
                Some(record) if self.can_be_copied(id, &record) => self.schedule_copy(id, &record, level, policy),
                _ => lost.push(id),
            }
        }
        if !lost.is_empty() {
            self.schedule_coding(group, &record, &lost, policy);
        }
        self.check_redundancy(group, None, None);
    }

    fn can_be_copied(&self, id: BlockId, record: &Record) -> bool {
        let counts = self.count(id, record);
        counts.decommissioning > 0 || counts.maintenance > 0
    }

    /// An internal block is copied as any replica is.
    fn schedule_copy(&mut self, id: BlockId, record: &Record, level: Level, policy: PolicyTypes) {
        let Some(source) = self.choose_source(id, record, level) else {
            return;
        };
        let targets = self.group_targets(id, record, 1, policy);
        for &target in &targets {
            self.datanodes.schedule_block(target);
        }
        if !targets.is_empty() {
            let block = self.replica_of(id, record);
            self.redundancy
                .order_copy(source, block, &targets, self.now.monotonic_ms);
        }
    }

    /// Storages for internal blocks, on nodes that have none of the group and get none.
    fn group_targets(&mut self, id: BlockId, record: &Record, count: usize, policy: PolicyTypes) -> Vec<StorageIndex> {
        let mut chosen: Vec<StorageIndex> = Vec::new();
        for id in self.blocks.members(id) {
            chosen.extend(self.blocks.replicas_of(id));
            chosen.extend(self.redundancy.pending().targets(id));
        }
        let request = PlacementRequest {
            count,
            chosen: &chosen,
            block_size: self.blocks.replica_length(id.group(), record),
            storage_types: policy.creation,
            fallback_types: policy.fallback,
            spread: true,
            ..PlacementRequest::default()
        };
        self.choose_targets(&request, self.now).unwrap_or_default()
    }

    /// Lets a DataNode make internal blocks from the others. One that gets a block makes all of them, and it must be one that
    /// can.
    fn schedule_coding(&mut self, group: BlockId, record: &Record, lost: &[BlockId], policy: PolicyTypes) {
        let sources: SmallVec<[(u8, StorageIndex); 9]> = self
            .blocks
            .members(group)
            .filter_map(|id| Some((id.index_in_group(), self.readable(id).0?)))
            .filter(|(_, storage)| self.datanodes.is_writable(*storage))
            .collect();
        let needed = self.blocks.min_storages(record, self.config.min_replication) as usize;
        if sources.len() < needed {
            return;
        }
        let mut targets = self.group_targets(group, record, lost.len(), policy);
        let codes = |storage: &StorageIndex| self.datanodes.of(*storage).is_some_and(|node| node.codes);
        let Some(coder) = targets.iter().position(codes) else {
            return;
        };
        targets.swap(0, coder);
        let Some(node) = targets.first().and_then(|storage| self.datanodes.node_of(*storage)) else {
            return;
        };
        if self.redundancy.orders().copies_of(node) >= self.config.replication_max_streams_hard as usize {
            return;
        }
        let has_source = |index: u8| sources.iter().any(|(of, _)| *of == index);
        let made: SmallVec<[(u8, StorageIndex); 3]> = lost.iter().map(|id| id.index_in_group()).zip(targets).collect();
        let is_made = |index: u8| made.iter().any(|(of, _)| *of == index);
        let indices = self.blocks.members(group).map(BlockId::index_in_group);
        let left_out = indices
            .filter(|index| !has_source(*index) && !is_made(*index))
            .collect();
        for (_, target) in &made {
            self.datanodes.schedule_block(*target);
        }
        let coding = Coding {
            group,
            sources,
            targets: made,
            left_out,
        };
        self.redundancy.order_coding(node, coding, self.now.monotonic_ms);
    }

    /// Whether this DataNode can make internal blocks from others, and agree with others on a group (`DNA_ERASURE_CODING_
    /// RECONSTRUCTION`, `DNA_RECOVERBLOCK` of a striped block). Hadoop's can.
    pub fn set_codes(&mut self, datanode: DatanodeIndex, codes: bool) {
        self.datanodes.set_codes(datanode, codes);
    }

    /// What the node is to make.
    pub(super) fn coding_command(&mut self, datanode: DatanodeIndex, pool: &str) -> Option<DatanodeCommandProto> {
        let node = self.datanodes.get(datanode)?;
        let free = self
            .config
            .replication_max_streams_hard
            .saturating_sub(node.transfers_in_progress) as usize;
        let mut order = BlockEcReconstructionCommandProto::default();
        for coding in self.redundancy.orders_mut().take_codings(datanode, free) {
            order
                .block_ec_reconstructioninfo
                .extend(self.coding_info(&coding, pool));
        }
        (!order.block_ec_reconstructioninfo.is_empty()).then(|| DatanodeCommandProto {
            blk_ec_reconstruction_cmd: Some(order),
            ..command(CommandType::BlockEcReconstructionCommand)
        })
    }

    fn coding_info(&self, coding: &Coding, pool: &str) -> Option<BlockEcReconstructionInfoProto> {
        let record = self.blocks.get(coding.group)?;
        let block = block_proto(record.block(coding.group));
        let mut info = BlockEcReconstructionInfoProto {
            block: ExtendedBlockProto {
                pool_id: pool.to_owned(),
                block_id: block.block_id,
                generation_stamp: block.gen_stamp,
                num_bytes: block.num_bytes,
            },
            source_dn_infos: DatanodeInfosProto::default(),
            target_dn_infos: DatanodeInfosProto::default(),
            target_storage_uuids: StorageUuidsProto::default(),
            target_storage_types: StorageTypesProto::default(),
            live_block_indices: coding
                .sources
                .iter()
                .map(|(index, _)| *index)
                .collect::<Vec<u8>>()
                .into(),
            ec_policy: policy_proto(self.blocks.striping(record)?),
            exclude_reconstructed_indices: Some(coding.left_out.to_vec().into()),
        };
        for (_, source) in &coding.sources {
            let node = self.datanodes.of(*source)?;
            info.source_dn_infos.datanodes.push(self.datanode_info(node));
        }
        for (_, target) in &coding.targets {
            let (storage, node) = (self.datanodes.storage(*target)?, self.datanodes.of(*target)?);
            info.target_dn_infos.datanodes.push(self.datanode_info(node));
            info.target_storage_uuids.storage_uuids.push(storage.uuid.clone());
            info.target_storage_types
                .storage_types
                .push(storage.storage_type as i32);
        }
        Some(info)
    }
}

/// A policy as far as it is known here. Name and codec are the namespace's to add.
pub(super) fn policy_proto(striping: Striping) -> ErasureCodingPolicyProto {
    ErasureCodingPolicyProto {
        id: u32::from(striping.policy),
        cell_size: Some(striping.cell_size),
        schema: Some(EcSchemaProto {
            data_units: u32::from(striping.data_units),
            parity_units: u32::from(striping.parity_units),
            ..EcSchemaProto::default()
        }),
        ..ErasureCodingPolicyProto::default()
    }
}
