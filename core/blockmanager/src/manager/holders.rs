//! Which DataNodes may hold a replica of a block whose writer is gone, and when enough of them have spoken.
//!
//! Unreachable is not absent. Hadoop asks the DataNodes that have reported. After a restart, when a lease is recovered
//! before the first report, it drops the last block of the file; otherwise its DataNodes agree on the shortest replica
//! that is there. Here a block is recovered when waiting can't improve the answer, or after a stated time:
//!
//! - at once, when a replica is known to be whole, or as many replicas are known as the file asks for;
//! - when every DataNode has reported or is stale (`dfs.namenode.stale.datanode.interval`), if the known replicas may
//!   be cut short. Hadoop leaves stale nodes out of recoveries, too;
//! - when every DataNode has reported or is dead, if no replica is known. Dropping a block can't be undone, so a node
//!   counts as gone only after the cluster's own limit for that (`BlockManagerConfig::heartbeat_expire_ms`).
//!
//! A NameNode that has just started does not know which DataNodes there are. It waits for unknown ones for the same
//! times, counted from its start. With an include list it knows when all have come.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use super::BlockManager;
use crate::block_map::Replicas;
use crate::corrupt::CorruptReason;
use crate::datanodes::Datanode;
use crate::mutant::Mutant;
use crate::types::{BlockState, ReplicaState, StorageIndex};
use hathi_formats::ids::BlockId;

/// Knowledge about the DataNodes that may hold a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderKnowledge {
    /// A recovery may begin.
    Known,
    /// A DataNode that may hold it has not reported, or those that hold it are away.
    Awaited,
    /// No DataNode holds it.
    Nobody,
}

impl BlockManager {
    /// Which DataNodes may hold a block; see the module.
    #[must_use]
    pub fn holders(&self, id: BlockId) -> HolderKnowledge {
        let Some(record) = self.blocks.get(id) else {
            return HolderKnowledge::Awaited;
        };
        if record.is_striped() {
            return self.holders_of_group(id, record);
        }
        let mut expected = self.replicas_of_its_stamp(id);
        let mut whole = !expected.is_empty() && expected.iter().any(|at| self.datanodes.is_writable(*at));
        if let Some(construction) = self.construction.get(id) {
            for replica in &construction.replicas {
                whole |= replica.is_whole(record.generation_stamp(), &self.datanodes, &self.config, self.now);
                if !expected.contains(&replica.storage) {
                    expected.push(replica.storage);
                }
            }
        }
        let alive = expected.iter().filter(|at| self.datanodes.is_writable(**at)).count();
        if whole || (alive > 0 && alive >= self.blocks.wanted_storages(id, record) as usize) {
            return HolderKnowledge::Known;
        }
        if expected.is_empty() {
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

    /// The replicas received so far that have the stamp of the block. Replicas that a pipeline or an earlier recovery
    /// left behind are only in the map to be deleted, and hold nothing of the present block.
    pub(super) fn replicas_of_its_stamp(&self, id: BlockId) -> Replicas {
        let marks = self.corrupt.of(id);
        let is_older = |storage: StorageIndex| {
            let mut older = marks
                .iter()
                .filter(|mark| mark.reason == CorruptReason::GenerationStamp);
            older.any(|mark| self.datanodes.is_on(storage, mark.node))
        };
        let mut replicas = self.blocks.replicas_of(id);
        replicas.retain(|storage| !is_older(*storage));
        replicas
    }

    /// Whether a DataNode may still report unknown replicas. Each is waited for no longer than `patience_ms`, counted
    /// from its registration, from the takeover, or from this NameNode's start.
    pub(super) fn awaits_reports(&self, patience_ms: u64) -> bool {
        if self.mutation.is(Mutant::ReportsNotAwaited) {
            return false;
        }
        let now_ms = self.now.monotonic_ms;
        let waits_since = |since_ms: u64| now_ms.saturating_sub(since_ms) < patience_ms;
        if self.listening_since_ms.is_none_or(waits_since) && !self.datanodes.has_met_all_included() {
            return true;
        }
        self.datanodes.nodes().any(|(_, node)| {
            node.alive && !self.has_spoken(node) && waits_since(node.registered_ms().max(self.active_since_ms))
        })
    }

    /// Whether the node has reported all its storages since it registered, and has sent a heartbeat a whole interval
    /// after the takeover. So everything has arrived that was on its way while another NameNode was active.
    fn has_spoken(&self, node: &Datanode) -> bool {
        let heard_ms = self.active_since_ms.saturating_add(self.config.heartbeat_interval_ms);
        let mut storages = node.storages.iter().filter_map(|at| self.datanodes.storage(*at));
        !node.storages.is_empty()
            && storages.all(|storage| storage.failed || storage.report_count() > 0)
            && (node.last_update.monotonic_ms >= heard_ms || node.registered_ms() >= self.active_since_ms)
    }

    /// The length on which all replicas of a block under construction agree: all known ones are finalized and have the
    /// block's stamp, and there are at least `dfs.namenode.replication.min` of them.
    #[must_use]
    pub fn finalized_length(&self, id: BlockId) -> Option<u64> {
        let record = self.blocks.get(id)?;
        let replicas = &self.construction.get(id)?.replicas;
        let length = replicas.first()?.num_bytes;
        let alike = replicas.iter().all(|replica| {
            replica.state == ReplicaState::Finalized
                && replica.generation_stamp == record.generation_stamp()
                && replica.num_bytes == length
        });
        (record.state() == BlockState::UnderConstruction && alike && self.has_min_replicas(id)).then_some(length)
    }
}
