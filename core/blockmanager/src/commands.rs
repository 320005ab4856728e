//! Commands in the answer to a heartbeat, and the recovery of blocks (`DatanodeManager.handleHeartbeat`,
//! `BlockUnderConstructionFeature.initializeBlockRecovery`).

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::construction::{Recovery, TruncateRecovery, UnderConstruction};
use crate::datanodes::Datanode;
use crate::manager::BlockManager;
use crate::types::{BlockState, DatanodeIndex, Now, ReplicaState, StorageIndex};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::datanode_command_proto::Type as CommandType;
use hathi_formats::proto::datanode::{
    BalancerBandwidthCommandProto, BlockCommandProto, BlockRecoveryCommandProto, DatanodeCommandProto,
    FinalizeCommandProto, RegisterCommandProto, block_command_proto::Action,
};
use hathi_formats::proto::hdfs::{
    BlockProto, DatanodeInfosProto, RecoveringBlockProto, StorageTypesProto, StorageUuidsProto,
};

/// Number of heartbeats that a recovery may take before another one is tried (`PendingRecoveryBlocks`).
const RECOVERY_HEARTBEATS: u64 = 30;

fn command(kind: CommandType) -> DatanodeCommandProto {
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

fn block_proto(block: Block) -> BlockProto {
    BlockProto {
        block_id: block.id.0 as u64,
        gen_stamp: block.generation_stamp.0,
        num_bytes: Some(block.num_bytes),
    }
}

impl BlockManager {
    /// Whether a replica may be expected on this storage, because its node takes part in writes.
    pub(crate) fn is_writable(&self, storage: StorageIndex) -> bool {
        self.datanodes.storage(storage).is_some_and(|one| !one.failed)
            && self.datanodes.of(storage).is_some_and(|node| node.alive)
    }

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
        let node = self.datanodes.get_mut(datanode);
        if let Some(bandwidth) = node.and_then(|node| node.bandwidth.take()) {
            commands.push(DatanodeCommandProto {
                balancer_cmd: Some(BalancerBandwidthCommandProto { bandwidth }),
                ..command(CommandType::BalancerBandwidthCommand)
            });
        }
        commands
    }

    fn transfer_command(&mut self, datanode: DatanodeIndex, pool: &str) -> Option<DatanodeCommandProto> {
        let node = self.datanodes.get_mut(datanode)?;
        let free = self
            .config
            .replication_max_streams_hard
            .saturating_sub(node.transfers_in_progress) as usize;
        let count = free.min(node.transfers.len());
        let transfers: Vec<_> = node.transfers.drain(..count).collect();
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
                infos.datanodes.push(self.datanodes.info(node));
                uuids.storage_uuids.push(storage.uuid.clone());
                types.storage_types.push(storage.storage_type as i32);
            }
            order.blocks.push(block_proto(record.view(transfer.block.id).block));
            order.targets.push(infos);
            order.target_storage_uuids.push(uuids);
            order.target_storage_types.push(types);
        }
        (!order.blocks.is_empty()).then(|| DatanodeCommandProto {
            blk_cmd: Some(order),
            ..command(CommandType::BlockCommand)
        })
    }

    fn recovery_command(&mut self, datanode: DatanodeIndex, pool: &str, now: Now) -> Option<DatanodeCommandProto> {
        let node = self.datanodes.get_mut(datanode)?;
        let ids = std::mem::take(&mut node.recover);
        let mut blocks = Vec::new();
        for id in ids {
            let id = BlockId(id);
            let Some(record) = self.blocks.get(id) else {
                continue;
            };
            let Some(construction) = self.construction.get(&id.0) else {
                continue;
            };
            let Some(recovery) = construction.recovery else {
                continue;
            };
            let (on, left_out) = self.asked(construction, record.generation_stamp(), now);
            let block = record.view(id).block;
            // Java's DataNodes take the id of the recovery from the truncated block.
            let truncated = recovery.truncate.map(|truncate| Block {
                num_bytes: truncate.length,
                generation_stamp: recovery.id,
                ..block
            });
            let source = recovery.truncate.and_then(|truncate| truncate.source);
            let is_bad = recovery.truncate.is_some() && self.all_are_bad(source.unwrap_or(block).id, &on);
            let mut located = self.located_block_on(pool, source.unwrap_or(block), 0, &on);
            // Hadoop names no storages here.
            located.storage_i_ds.clear();
            located.storage_types.clear();
            if let Some(construction) = self.construction.get_mut(&id.0) {
                construction.ask_silent |= is_bad;
                let since_ms = construction.bad_since_ms.unwrap_or(now.monotonic_ms);
                construction.bad_since_ms = is_bad.then_some(since_ms);
                let waited_ms = now.monotonic_ms.saturating_sub(since_ms);
                located.corrupt = is_bad && !left_out && waited_ms >= self.config.heartbeat_expire_ms();
                if let Some(recovery) = &mut construction.recovery {
                    recovery.left_out = left_out;
                }
            }
            blocks.push(RecoveringBlockProto {
                new_gen_stamp: recovery.id.0,
                block: located,
                truncate_block: truncated.map(block_proto),
                ec_policy: None,
                block_indices: None,
            });
        }
        (!blocks.is_empty()).then(|| DatanodeCommandProto {
            recovery_cmd: Some(BlockRecoveryCommandProto { blocks }),
            ..command(CommandType::BlockRecoveryCommand)
        })
    }

    /// Whether each of these storages has a replica that is known to be bad.
    ///
    /// A truncate does not cut a chunk that does not match its checksum, so it never ends when no replica is good.
    /// After the time in which a silent DataNode counts as dead, no DataNode is left that could have a good one. Then
    /// the order names the block as corrupt: the DataNodes cut it as it is, so that the truncate ends, and the chunk
    /// stays unreadable.
    fn all_are_bad(&self, id: BlockId, on: &[StorageIndex]) -> bool {
        let mut nodes = on.iter().filter_map(|at| self.datanodes.storage(*at));
        !on.is_empty() && nodes.all(|storage| self.has_reported_mark(id, storage.datanode))
    }

    /// The storages that a recovery asks, and whether it leaves out a node that may answer later. When one node is
    /// known to have everything, a silent node would only cause a delay, and is left out
    /// (`DatanodeManager.getLeaseRecoveryCommand` always leaves it out). Otherwise every node is asked that is not
    /// dead.
    fn asked(&self, construction: &UnderConstruction, stamp: u64, now: Now) -> (Vec<StorageIndex>, bool) {
        let all = || construction.replicas.iter();
        let listed = |keep: &dyn Fn(&Datanode) -> bool| -> Vec<StorageIndex> {
            all()
                .map(|replica| replica.storage)
                .filter(|at| self.datanodes.of(*at).is_some_and(keep))
                .collect()
        };
        let alive = listed(&|node| node.alive);
        let fresh = listed(&|node| node.alive && !node.is_stale(&self.config, now));
        let whole = all().any(|replica| replica.is_whole(stamp, &self.datanodes, &self.config, now));
        if fresh.len() > 1 && whole && !construction.ask_silent {
            let left_out = fresh.len() < alive.len();
            return (fresh, left_out);
        }
        match alive.is_empty() {
            true => (listed(&|_| true), false),
            false => (alive, false),
        }
    }

    /// Forgets recoveries whose time is over. The next look at the lease begins another one with a new id, because
    /// DataNodes refuse a second attempt with the same id (`PendingRecoveryBlocks`).
    pub(crate) fn expire_recoveries(&mut self, now: Now) {
        let timeout_ms = RECOVERY_HEARTBEATS.saturating_mul(self.config.heartbeat_interval_ms);
        let old: Vec<i64> = self
            .recovery_attempts
            .iter()
            .filter(|(_, since)| now.monotonic_ms.saturating_sub(**since) > timeout_ms)
            .map(|(&id, _)| id)
            .collect();
        for id in old {
            self.recovery_attempts.remove(&id);
            if let Some(construction) = self.construction.get_mut(&id) {
                construction.recovery = None;
            }
        }
    }

    /// Begins a block recovery with this stamp as its id. A primary DataNode gets the command with its next heartbeat.
    /// Returns false when no DataNode could be asked.
    pub fn begin_recovery(
        &mut self,
        id: BlockId,
        recovery_id: GenerationStamp,
        truncate: Option<TruncateRecovery>,
        now: Now,
    ) -> bool {
        self.now = now;
        let Some(record) = self.blocks.get_mut(id) else {
            return false;
        };
        if record.is_complete() {
            return false;
        }
        record.set_state(BlockState::UnderRecovery);
        let (stamp, num_bytes) = (record.generation_stamp(), record.num_bytes());
        // After a restart or a failover only reports tell where the replicas are.
        let holds = truncate
            .and_then(|truncate| truncate.source)
            .map_or(id, |source| source.id);
        let known = self.replicas_of_its_stamp(holds);
        let construction = self.construction.entry(id.0).or_default();
        for storage in known {
            let absent = construction.replicas.iter().all(|replica| replica.storage != storage);
            if absent {
                construction.add_if_absent(storage, (stamp, num_bytes), ReplicaState::Finalized, now, |_| false);
            }
        }
        let datanodes = &self.datanodes;
        let alive = |storage: StorageIndex| datanodes.of(storage).is_some_and(|node| node.alive);
        if construction
            .replicas
            .iter()
            .filter(|replica| alive(replica.storage))
            .all(|replica| replica.was_primary)
        {
            for replica in &mut construction.replicas {
                replica.was_primary = false;
            }
        }
        let primary = construction
            .replicas
            .iter_mut()
            .filter(|replica| alive(replica.storage) && !replica.was_primary)
            .max_by_key(|replica| datanodes.of(replica.storage).map(|node| node.last_update.monotonic_ms));
        // No DataNode can be asked. This is no attempt, so the next one need not wait for its end.
        let Some(primary) = primary else { return false };
        primary.was_primary = true;
        let storage = primary.storage;
        let Some(node) = self.datanodes.storage(storage).map(|storage| storage.datanode) else {
            return false;
        };
        let Some(node) = self.datanodes.get_mut(node) else {
            return false;
        };
        node.recover.insert(id.0);
        construction.recovery = Some(Recovery {
            id: recovery_id,
            truncate,
            left_out: false,
        });
        self.recovery_attempts.insert(id.0, now.monotonic_ms);
        true
    }

    /// Id of the recovery under way, and the length or copy that a truncate wants.
    #[must_use]
    pub fn recovery(&self, id: BlockId) -> Option<(GenerationStamp, Option<TruncateRecovery>)> {
        let recovery = self.construction.get(&id.0)?.recovery?;
        Some((recovery.id, recovery.truncate))
    }

    /// DataNodes agreed on the block's length and stamp, and these storages have it so (`commitBlockSynchronization`).
    /// The edit follows.
    pub fn recovered(&mut self, block: Block, on: &[StorageIndex]) {
        for storage in self.replicas(block.id) {
            if !on.contains(&storage) {
                self.remove_replica(block.id, storage);
            }
        }
        let Some(record) = self.blocks.get(block.id) else {
            return;
        };
        if record.is_complete() {
            return;
        }
        let construction = self.construction.entry(block.id.0).or_default();
        construction.replicas.clear();
        for &storage in on {
            construction.add_if_absent(
                storage,
                (block.generation_stamp.0, block.num_bytes),
                ReplicaState::Finalized,
                self.now,
                |_| false,
            );
        }
        for &storage in on {
            self.store_replica(block.id, storage);
        }
    }
}
