//! Commands in the answer to a heartbeat (`DatanodeManager.handleHeartbeat`).

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use super::BlockManager;
use crate::types::{DatanodeIndex, Now};
use hathi_formats::ids::Block;
use hathi_formats::proto::datanode::datanode_command_proto::Type as CommandType;
use hathi_formats::proto::datanode::{
    BalancerBandwidthCommandProto, BlockCommandProto, DatanodeCommandProto, FinalizeCommandProto, RegisterCommandProto,
    block_command_proto::Action,
};
use hathi_formats::proto::hdfs::{BlockProto, DatanodeInfosProto, StorageTypesProto, StorageUuidsProto};

pub(super) fn command(kind: CommandType) -> DatanodeCommandProto {
    DatanodeCommandProto {
        cmd_type: kind as i32,
        ..DatanodeCommandProto::default()
    }
}

/// A REGISTER command.
#[must_use]
pub fn register_command() -> DatanodeCommandProto {
    DatanodeCommandProto {
        register_cmd: Some(RegisterCommandProto {}),
        ..command(CommandType::RegisterCommand)
    }
}

/// A FINALIZE command.
#[must_use]
pub fn finalize_command(pool: &str) -> DatanodeCommandProto {
    DatanodeCommandProto {
        finalize_cmd: Some(FinalizeCommandProto {
            block_pool_id: pool.to_owned(),
        }),
        ..command(CommandType::FinalizeCommand)
    }
}

pub(super) fn block_proto(block: Block) -> BlockProto {
    BlockProto {
        block_id: block.id.0 as u64,
        gen_stamp: block.generation_stamp.0,
        num_bytes: Some(block.num_bytes),
    }
}

impl BlockManager {
    /// The commands for the node, at most as many as one heartbeat may carry: either recoveries, or transfers and
    /// deletions. Empty while passive or in safe mode.
    pub fn take_commands(&mut self, datanode: DatanodeIndex, pool: &str, now: Now) -> Vec<DatanodeCommandProto> {
        self.now = now;
        let mut commands = Vec::new();
        if !self.active || self.safe_mode.is_on() {
            return commands;
        }
        if let Some(command) = self.recovery_command(datanode, pool, now) {
            commands.push(command);
            return commands;
        }
        commands.extend(self.transfer_command(datanode, pool));
        commands.extend(self.coding_command(datanode, pool));
        let too_early = now.monotonic_ms.saturating_sub(self.active_since_ms) < self.config.startup_delay_deletion_ms;
        let limit = if too_early { 0 } else { self.config.invalidate_limit };
        let blocks: Vec<BlockProto> = self
            .leaving_orders(datanode, limit)
            .into_iter()
            .map(block_proto)
            .collect();
        if !blocks.is_empty() {
            commands.push(DatanodeCommandProto {
                blk_cmd: Some(BlockCommandProto {
                    action: Action::Invalidate as i32,
                    block_pool_id: pool.to_owned(),
                    blocks,
                    ..BlockCommandProto::default()
                }),
                ..command(CommandType::BlockCommand)
            });
        }
        commands.extend(self.caching_commands(datanode, pool, now));
        if let Some(bandwidth) = self.datanodes.take_bandwidth(datanode) {
            commands.push(DatanodeCommandProto {
                balancer_cmd: Some(BalancerBandwidthCommandProto { bandwidth }),
                ..command(CommandType::BalancerBandwidthCommand)
            });
        }
        commands
    }

    fn transfer_command(&mut self, datanode: DatanodeIndex, pool: &str) -> Option<DatanodeCommandProto> {
        let node = self.datanodes.get(datanode)?;
        let free = self
            .config
            .replication_max_streams_hard
            .saturating_sub(node.transfers_in_progress) as usize;
        let transfers = self.redundancy.orders_mut().take_copies(datanode, free);
        let mut order = BlockCommandProto {
            action: Action::Transfer as i32,
            block_pool_id: pool.to_owned(),
            ..BlockCommandProto::default()
        };
        for transfer in transfers {
            let Some(record) = self.blocks.get(transfer.block.id) else {
                continue;
            };
            let mut infos = DatanodeInfosProto::default();
            let mut uuids = StorageUuidsProto::default();
            let mut types = StorageTypesProto::default();
            for &target in &transfer.targets {
                let (Some(storage), Some(node)) = (self.datanodes.storage(target), self.datanodes.of(target)) else {
                    continue;
                };
                infos.datanodes.push(self.datanode_info(node));
                uuids.storage_uuids.push(storage.uuid.clone());
                types.storage_types.push(storage.storage_type as i32);
            }
            order
                .blocks
                .push(block_proto(self.replica_of(transfer.block.id, record)));
            order.targets.push(infos);
            order.target_storage_uuids.push(uuids);
            order.target_storage_types.push(types);
        }
        (!order.blocks.is_empty()).then(|| DatanodeCommandProto {
            blk_cmd: Some(order),
            ..command(CommandType::BlockCommand)
        })
    }
}
