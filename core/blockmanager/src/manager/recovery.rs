//! The recovery of blocks whose writer is gone (`BlockUnderConstructionFeature.initializeBlockRecovery`).

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use super::BlockManager;
use super::commands::{block_proto, command};
use crate::construction::{Recovery, TruncateRecovery, UnderConstruction};
use crate::datanodes::Datanode;
use crate::mutant::Mutant;
use crate::types::{BlockState, DatanodeIndex, Now, StorageIndex};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::datanode_command_proto::Type as CommandType;
use hathi_formats::proto::datanode::{BlockRecoveryCommandProto, DatanodeCommandProto};
use hathi_formats::proto::hdfs::RecoveringBlockProto;

/// Number of heartbeats that a recovery may take before another one is tried (`PendingRecoveryBlocks`).
const RECOVERY_HEARTBEATS: u64 = 30;

impl BlockManager {
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
        let Some(record) = self.blocks.get(id) else {
            return false;
        };
        if record.is_complete() {
            return false;
        }
        if record.is_striped() {
            return self.begin_group_recovery(id, recovery_id, now);
        }
        let (stamp, num_bytes) = (record.generation_stamp(), record.num_bytes());
        self.blocks.set_state(id, BlockState::UnderRecovery);
        // After a restart or a failover only reports tell where the replicas are.
        let holds = truncate
            .and_then(|truncate| truncate.source)
            .map_or(id, |source| source.id);
        let known = self.replicas_of_its_stamp(holds);
        self.construction.adopt(id, &known, stamp, num_bytes, now);
        let recovery = Recovery {
            id: recovery_id,
            truncate,
            left_out: false,
        };
        self.construction.begin_recovery(id, recovery, &self.datanodes, now)
    }

    /// Id of the recovery under way, and the length or copy that a truncate wants.
    #[must_use]
    pub fn recovery(&self, id: BlockId) -> Option<(GenerationStamp, Option<TruncateRecovery>)> {
        let recovery = self.construction.get(id)?.recovery?;
        Some((recovery.id, recovery.truncate))
    }

    /// DataNodes agreed on the block's length and stamp, and these storages have it so (`commitBlockSynchronization`).
    /// The edit follows.
    pub fn recovered(&mut self, block: Block, on: &[StorageIndex]) {
        for storage in self.blocks.replicas_of(block.id) {
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
        self.construction.set_recovered(block, on, self.now);
        for &storage in on {
            self.blocks.add_replica(block.id, storage);
        }
    }

    /// Judges the result of a block recovery (`commitBlockSynchronization`): a length, or `None` for "no replica holds
    /// anything", which deletes the block. Returns the reason when it is refused:
    ///
    /// - the block would be deleted, although a silent node was not asked. The next attempt asks every node;
    /// - the length is below what was logged or committed, so a client was told that more bytes are there. After
    ///   [`crate::BlockManagerConfig::heartbeat_expire_ms`] of such results no node is left that could have them, and
    ///   the file would stay open for ever. Then the result is accepted, as Hadoop accepts it at once.
    pub fn judge_recovery(&mut self, id: BlockId, length: Option<u64>, now: Now) -> Result<(), String> {
        self.now = now;
        if self.mutation.is(Mutant::ResultsUnjudged) {
            return Ok(());
        }
        let patience_ms = self.config.heartbeat_expire_ms();
        let (Some(record), Some(construction)) = (self.blocks.get(id), self.construction.get(id)) else {
            return Ok(());
        };
        let known = record.num_bytes();
        if length.is_none() && construction.recovery.is_some_and(|recovery| recovery.left_out) {
            self.construction.give_attempt_up(id);
            return Err("a DataNode that may hold it was not asked".to_owned());
        }
        if length.unwrap_or(0) < known && self.construction.note_short_result(id, now) < patience_ms {
            return Err(format!("{known} bytes are known to have been written"));
        }
        Ok(())
    }

    /// The blocks that the node is to recover.
    pub(super) fn recovery_command(
        &mut self,
        datanode: DatanodeIndex,
        pool: &str,
        now: Now,
    ) -> Option<DatanodeCommandProto> {
        let mut blocks = Vec::new();
        for id in self.construction.take_orders(datanode) {
            let Some(record) = self.blocks.get(id) else {
                continue;
            };
            let Some(construction) = self.construction.get(id) else {
                continue;
            };
            let Some(recovery) = construction.recovery else {
                continue;
            };
            if record.is_striped() {
                blocks.extend(self.recovering_group(id, recovery.id, pool, now));
                continue;
            }
            let (on, left_out) = self.asked(construction, record.generation_stamp(), now);
            let block = record.block(id);
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
            let bad_ms = self.construction.note_command(id, left_out, is_bad, now);
            let nobody_comes = bad_ms.is_some_and(|bad_ms| bad_ms >= self.config.heartbeat_expire_ms());
            located.corrupt = nobody_comes && !left_out;
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
        !on.is_empty() && nodes.all(|storage| self.corrupt.is_reported(id, storage.datanode))
    }

    /// The storages that a recovery asks, and whether it leaves out a node that may answer later. When one node is
    /// known to have everything, a silent node would only cause a delay, and is left out
    /// (`DatanodeManager.getLeaseRecoveryCommand` always leaves it out). Otherwise every node is asked that is not
    /// dead.
    pub(super) fn asked(
        &self,
        construction: &UnderConstruction,
        stamp: GenerationStamp,
        now: Now,
    ) -> (Vec<StorageIndex>, bool) {
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
    pub(super) fn expire_recoveries(&mut self, now: Now) {
        let timeout_ms = RECOVERY_HEARTBEATS.saturating_mul(self.config.heartbeat_interval_ms);
        self.construction
            .expire_attempts(now.monotonic_ms.saturating_sub(timeout_ms));
    }
}
