//! The recovery of block groups whose writer is gone (`RecoveringStripedBlock`): DataNodes agree on a length for which enough
//! internal blocks have all bytes.
//!
//! The attempt stands at the first block of the group. A DataNode is asked that can do this (`HeartbeatRequestProto.codesNothing`).

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use super::striped::policy_proto;
use super::{BlockManager, HolderKnowledge};
use crate::block_map::Record;
use crate::construction::Recovery;
use crate::types::{BlockState, Now, StorageIndex};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::hdfs::RecoveringBlockProto;

impl BlockManager {
    /// Which DataNodes may hold internal blocks of a group; see [`super::holders`]. As many must be there as hold all bytes.
    pub(super) fn holders_of_group(&self, group: BlockId, record: &Record) -> HolderKnowledge {
        let (mut known, mut alive, mut whole) = (0u32, 0u32, 0u32);
        for id in self.blocks.members(group) {
            let mut expected = self.replicas_of_its_stamp(id);
            let is_writable = |storage: &StorageIndex| self.datanodes.is_writable(*storage);
            let mut is_whole = expected.iter().any(is_writable);
            let replicas = self.construction.get(id).into_iter().flat_map(|of| &of.replicas);
            for replica in replicas {
                is_whole |= replica.is_whole(record.generation_stamp(), &self.datanodes, &self.config, self.now);
                expected.push(replica.storage);
            }
            known = known.saturating_add(u32::from(!expected.is_empty()));
            alive = alive.saturating_add(u32::from(expected.iter().any(is_writable)));
            whole = whole.saturating_add(u32::from(is_whole));
        }
        let units = u32::from(record.units());
        let needed = self.blocks.min_storages(record, self.config.min_replication);
        if alive >= units || (whole >= needed && alive >= known) {
            return HolderKnowledge::Known;
        }
        if known == 0 {
            return match self.awaits_reports(self.config.heartbeat_expire_ms()) {
                true => HolderKnowledge::Awaited,
                false => HolderKnowledge::Nobody,
            };
        }
        if alive == 0 || self.awaits_reports(self.config.stale_interval_ms) {
            return HolderKnowledge::Awaited;
        }
        HolderKnowledge::Known
    }

    /// Begins the recovery of a group. False when no DataNode can be asked that can do it.
    pub(super) fn begin_group_recovery(&mut self, group: BlockId, recovery_id: GenerationStamp, now: Now) -> bool {
        let Some(record) = self.blocks.get(group) else {
            return false;
        };
        let stamp = record.generation_stamp();
        self.blocks.set_state(group, BlockState::UnderRecovery);
        let members: Vec<BlockId> = self.blocks.members(group).collect();
        for &id in &members {
            let Some(length) = self.blocks.get(id).map(|record| self.blocks.replica_length(id, record)) else {
                continue;
            };
            let known = self.replicas_of_its_stamp(id);
            self.construction.adopt(id, &known, stamp, length, now);
        }
        let recovery = Recovery {
            id: recovery_id,
            truncate: None,
            left_out: false,
        };
        self.construction
            .begin_group_recovery(group, &members, recovery, &self.datanodes, now)
    }

    /// What a DataNode is told of the group that it is to recover.
    pub(super) fn recovering_group(
        &mut self,
        group: BlockId,
        recovery_id: GenerationStamp,
        pool: &str,
        now: Now,
    ) -> Option<RecoveringBlockProto> {
        let record = self.blocks.get(group)?;
        let striping = self.blocks.striping(record)?;
        let mut on: Vec<(u8, StorageIndex)> = Vec::new();
        let mut any_left_out = false;
        for id in self.blocks.members(group) {
            let Some(construction) = self.construction.get(id) else {
                continue;
            };
            let (asked, left_out) = self.asked(construction, record.generation_stamp(), now);
            any_left_out |= left_out;
            on.extend(asked.first().map(|storage| (id.index_in_group(), *storage)));
        }
        let mut located = self.located_group_on(pool, record.block(group), 0, &on);
        // Hadoop names no storages here, and the indices beside the block.
        located.storage_i_ds.clear();
        located.storage_types.clear();
        let block_indices = located.block_indices.take();
        located.block_tokens.clear();
        self.construction.note_command(group, any_left_out, false, now);
        Some(RecoveringBlockProto {
            new_gen_stamp: recovery_id.0,
            block: located,
            truncate_block: None,
            ec_policy: Some(policy_proto(striping)),
            block_indices,
        })
    }

    /// DataNodes agreed on length and stamp of a group, and the n-th storage has the n-th internal block so
    /// (`commitBlockSynchronization`). The edit follows.
    pub fn recovered_group(&mut self, group: Block, on: &[Option<StorageIndex>]) {
        if self.blocks.get(group.id).is_none_or(Record::is_complete) {
            return;
        }
        for (at, id) in self.blocks.members(group.id).enumerate() {
            let Some(record) = self.blocks.get(id) else {
                continue;
            };
            let has = on.get(at).copied().flatten();
            let wanted = Block {
                num_bytes: group.num_bytes,
                ..record.block(id)
            };
            for storage in self.blocks.replicas_of(id) {
                if Some(storage) != has {
                    self.remove_replica(id, storage);
                }
            }
            let striping = self.blocks.get(id).and_then(|record| self.blocks.striping(record));
            let length = striping.map_or(0, |striping| {
                striping.internal_length(wanted.num_bytes, id.index_in_group())
            });
            let replica = Block {
                id,
                num_bytes: length,
                generation_stamp: group.generation_stamp,
            };
            self.construction.set_recovered(replica, has.as_slice(), self.now);
            if let Some(storage) = has {
                self.blocks.add_replica(id, storage);
            }
        }
    }
}
