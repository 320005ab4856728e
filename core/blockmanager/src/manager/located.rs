//! Places where a block can be read or written, for clients (`BlockManager.createLocatedBlock`,
//! `DatanodeManager.sortLocatedBlocks`).

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use super::{BlockManager, Condition};
use crate::datanodes::AdminState;
use crate::rng::Rng;
use crate::types::StorageIndex;
use hathi_formats::ids::Block;
use hathi_formats::proto::hdfs::{ExtendedBlockProto, LocatedBlockProto};
use smallvec::SmallVec;
use std::sync::atomic::Ordering;

impl BlockManager {
    /// The block with its readable locations, nearest first. Of a block under construction they are those of its
    /// pipeline. `client` is the IP address or host name of the reader.
    #[must_use]
    pub fn located_block(&self, pool: &str, block: Block, offset: u64, client: Option<&str>) -> LocatedBlockProto {
        if block.id.is_striped() {
            return self.located_group(pool, block, offset);
        }
        let mut on: SmallVec<[StorageIndex; 4]> = SmallVec::new();
        let mut corrupt = false;
        if let Some(record) = self.blocks.get(block.id) {
            match self.construction.get(block.id) {
                Some(construction) if !record.is_complete() && !construction.replicas.is_empty() => {
                    on.extend(construction.storages());
                    let (alive, silent): (SmallVec<[StorageIndex; 4]>, SmallVec<[StorageIndex; 4]>) =
                        on.iter().copied().partition(|&at| self.datanodes.is_writable(at));
                    on = if alive.is_empty() { silent } else { alive };
                }
                _ => {
                    let mut bad: SmallVec<[StorageIndex; 4]> = SmallVec::new();
                    for storage in self.blocks.replicas(record) {
                        match self.condition(block.id, record, storage) {
                            Condition::Gone | Condition::InMaintenance => {}
                            Condition::Corrupt => bad.push(storage),
                            Condition::Live
                            | Condition::Excess
                            | Condition::Decommissioning
                            | Condition::Decommissioned
                            | Condition::EnteringMaintenance => on.push(storage),
                        }
                    }
                    // All replicas are bad. The reader may still try, and is told.
                    if on.is_empty() && !bad.is_empty() {
                        corrupt = true;
                        on = bad;
                    }
                }
            }
        }
        self.sort_for_reader(&mut on, client);
        let mut located = self.located_block_on(pool, block, offset, &on);
        located.corrupt = corrupt;
        located
    }

    /// The block on exactly these storages in this order (the answer of `addBlock`).
    #[must_use]
    pub fn located_block_on(&self, pool: &str, block: Block, offset: u64, on: &[StorageIndex]) -> LocatedBlockProto {
        let mut located = LocatedBlockProto {
            b: ExtendedBlockProto {
                pool_id: pool.to_owned(),
                block_id: block.id.0 as u64,
                generation_stamp: block.generation_stamp.0,
                num_bytes: Some(block.num_bytes),
            },
            offset,
            ..LocatedBlockProto::default()
        };
        let cached = self.cached_on(block.id);
        located.locs.reserve_exact(on.len());
        for &index in on {
            let (Some(storage), Some(node)) = (self.datanodes.storage(index), self.datanodes.of(index)) else {
                continue;
            };
            located.locs.push(self.datanode_info(node));
            located.is_cached.push(cached.contains(&storage.datanode));
            located.storage_types.push(storage.storage_type as i32);
            located.storage_i_ds.push(storage.uuid.clone());
        }
        located
    }

    /// First the reader's host, then its rack, then the others in changing order. Nodes that leave or are silent come
    /// last.
    fn sort_for_reader(&self, on: &mut SmallVec<[StorageIndex; 4]>, client: Option<&str>) {
        if on.len() < 2 {
            return;
        }
        let turn = self.read_turn.fetch_add(1, Ordering::Relaxed);
        Rng::new(turn).shuffle(on);
        let rack = client.and_then(|host| self.datanodes.rack_of_host(host));
        on.sort_by_key(|&at| {
            let Some(node) = self.datanodes.of(at) else {
                return 9u8;
            };
            let last = match node.admin_state {
                AdminState::Decommissioned | AdminState::InMaintenance | AdminState::EnteringMaintenance => 6,
                AdminState::Normal | AdminState::DecommissionInProgress
                    if self.config.avoid_stale_for_read && node.is_stale(&self.config, self.now) =>
                {
                    3
                }
                AdminState::Normal | AdminState::DecommissionInProgress => 0,
            };
            let near = match client {
                Some(client) if client == node.id.ip_addr || client == node.id.host_name => 0,
                _ if rack == Some(&node.location) => 1,
                _ => 2,
            };
            u8::saturating_add(last, near)
        });
    }
}
