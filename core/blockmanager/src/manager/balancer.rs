//! Blocks that a DataNode could give away, for a balancer (`BlockManager.getBlocksWithLocations`).

use super::{BlockManager, Condition};
use crate::block_map::Flag;
use crate::types::{DatanodeIndex, StorageIndex};
use hathi_formats::ids::BlockId;
use hathi_formats::proto::hdfs::{BlockProto, BlockWithLocationsProto, StorageTypeProto};

/// Number of blocks that one call looks at, whatever it asks for, so that it holds the lock for a short time only.
const BLOCKS_MAX: usize = 20_000;

impl BlockManager {
    /// Complete blocks of the node with at least `min_bytes` each, until they have `bytes` together. The search begins
    /// at a random place, so that several calls find different blocks.
    pub fn blocks_of_datanode(
        &mut self,
        datanode: DatanodeIndex,
        bytes: u64,
        min_bytes: u64,
        only: Option<StorageTypeProto>,
    ) -> Vec<BlockWithLocationsProto> {
        let mut storages: Vec<StorageIndex> = self
            .datanodes
            .get(datanode)
            .map(|node| node.storages.clone())
            .unwrap_or_default();
        self.rng.shuffle(&mut storages);
        let span = self
            .reports
            .highest_id()
            .0
            .saturating_sub(BlockId::LAST_RESERVED.0)
            .max(1);
        let start = BlockId::LAST_RESERVED.0 + self.rng.below(span as usize) as i64;
        let (mut found, mut sum, mut looked_at) = (Vec::new(), 0u64, 0);
        for storage in storages {
            let Some(held) = self.datanodes.storage(storage) else {
                continue;
            };
            if only.is_some_and(|kind| kind != held.storage_type) {
                continue;
            }
            // First from the place to the end, then from the beginning to the place.
            for (from, to) in [(start, i64::MAX), (i64::MIN, start)].map(|(from, to)| (BlockId(from), BlockId(to))) {
                let mut next = self.blocks.next_on(storage, from);
                while let Some(id) = next.filter(|&id| id < to) {
                    looked_at += 1;
                    if sum >= bytes || looked_at > BLOCKS_MAX {
                        return found;
                    }
                    if let Some(block) = self.block_with_locations(id, min_bytes) {
                        sum += block.block.num_bytes();
                        found.push(block);
                    }
                    next = self.blocks.next_on(storage, BlockId(id.0 + 1));
                }
            }
        }
        found
    }

    fn block_with_locations(&self, id: BlockId, min_bytes: u64) -> Option<BlockWithLocationsProto> {
        let record = self.blocks.get(id)?;
        if !record.is_complete() || record.num_bytes() < min_bytes || record.flag(Flag::Corrupt) {
            return None;
        }
        let mut with = BlockWithLocationsProto {
            block: BlockProto {
                // Of an internal block its group is told (`BlockWithLocationsProto.indices`).
                block_id: id.group().0.cast_unsigned(),
                gen_stamp: record.generation_stamp().0,
                num_bytes: Some(record.num_bytes()),
            },
            ..BlockWithLocationsProto::default()
        };
        let mut indices = Vec::new();
        let members = self.blocks.members(id);
        let on = members.flat_map(|id| self.blocks.replicas_of(id).into_iter().map(move |at| (id, at)));
        for (id, at) in on {
            let Some(record) = self.blocks.get(id) else {
                continue;
            };
            if self.condition(id, record, at) != Condition::Live {
                continue;
            }
            let (Some(storage), Some(node)) = (self.datanodes.storage(at), self.datanodes.of(at)) else {
                continue;
            };
            with.datanode_uuids.push(node.id.datanode_uuid.clone());
            with.storage_uuids.push(storage.uuid.clone());
            with.storage_types.push(storage.storage_type as i32);
            indices.push(id.index_in_group());
        }
        if let Some(striping) = self.blocks.striping(record) {
            with.indices = Some(indices.into());
            with.data_block_num = Some(u32::from(striping.data_units));
            with.cell_size = Some(striping.cell_size);
        }
        (!with.datanode_uuids.is_empty()).then_some(with)
    }
}
