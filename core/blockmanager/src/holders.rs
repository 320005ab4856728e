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

use crate::corrupt::CorruptReason;
use crate::datanodes::Datanode;
use crate::manager::BlockManager;
use crate::mutant::Mutant;
use crate::types::{BlockState, Now, ReplicaState, StorageIndex};
use hathi_formats::ids::BlockId;
use smallvec::SmallVec;

/// Knowledge about the DataNodes that may hold a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holders {
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
    pub fn holders(&self, id: BlockId) -> Holders {
        let Some(record) = self.blocks.get(id) else {
            return Holders::Awaited;
        };
        let mut expected = self.replicas_of_its_stamp(id);
        let mut whole = !expected.is_empty() && expected.iter().any(|at| self.is_writable(*at));
        if let Some(construction) = self.construction.get(&id.0) {
            for replica in &construction.replicas {
                whole |= replica.is_whole(record.generation_stamp(), &self.datanodes, &self.config, self.now);
                if !expected.contains(&replica.storage) {
                    expected.push(replica.storage);
                }
            }
        }
        let alive = expected.iter().filter(|at| self.is_writable(**at)).count();
        if whole || (alive > 0 && alive >= usize::from(record.replication())) {
            return Holders::Known;
        }
        if expected.is_empty() {
            return match self.awaits_reports(self.config.heartbeat_expire_ms()) {
                true => Holders::Awaited,
                false => Holders::Nobody,
            };
        }
        if alive == 0 || self.awaits_reports(self.config.stale_interval_ms) {
            return Holders::Awaited;
        }
        Holders::Known
    }

    /// The replicas received so far that have the stamp of the block. Replicas that a pipeline or an earlier recovery
    /// left behind are only in the map to be deleted, and hold nothing of the present block.
    pub(crate) fn replicas_of_its_stamp(&self, id: BlockId) -> SmallVec<[StorageIndex; 4]> {
        let marks = self.corrupt.get(&id.0);
        let is_older = |storage: StorageIndex| {
            marks.is_some_and(|marks| {
                let mut older = marks
                    .iter()
                    .filter(|mark| mark.reason == CorruptReason::GenerationStamp);
                older.any(|mark| self.is_on(storage, mark.node))
            })
        };
        let mut replicas: SmallVec<[StorageIndex; 4]> = self.replicas(id).iter().copied().collect();
        replicas.retain(|storage| !is_older(*storage));
        replicas
    }

    /// Whether a DataNode may still report unknown replicas. Each is waited for no longer than `patience_ms`, counted
    /// from its registration, from the takeover, or from this NameNode's start.
    fn awaits_reports(&self, patience_ms: u64) -> bool {
        if self.mutation.is(Mutant::ReportsNotAwaited) {
            return false;
        }
        let now_ms = self.now.monotonic_ms;
        let waits_since = |since_ms: u64| now_ms.saturating_sub(since_ms) < patience_ms;
        if self.listening_since_ms.is_none_or(waits_since) && !self.has_met_all_included() {
            return true;
        }
        self.datanodes.nodes().any(|(_, node)| {
            node.alive && !self.has_spoken(node) && waits_since(node.registered_ms.max(self.active_since_ms))
        })
    }

    /// Whether the node has reported all its storages since it registered, and has sent a heartbeat a whole interval
    /// after the takeover. So everything has arrived that was on its way while another NameNode was active.
    fn has_spoken(&self, node: &Datanode) -> bool {
        let heard_ms = self.active_since_ms.saturating_add(self.config.heartbeat_interval_ms);
        let mut storages = node.storages.iter().filter_map(|at| self.datanodes.storage(*at));
        !node.storages.is_empty()
            && storages.all(|storage| storage.failed || storage.report_count > 0)
            && (node.last_update.monotonic_ms >= heard_ms || node.registered_ms >= self.active_since_ms)
    }

    /// Whether there is an include list, and each host in it has a live DataNode here.
    fn has_met_all_included(&self) -> bool {
        let mut included = self.hosts.included_hosts().peekable();
        included.peek().is_some() && included.all(|host| !self.datanodes.on_host(host).is_empty())
    }

    /// The length on which all replicas of a block under construction agree: all known ones are finalized and have the
    /// block's stamp, and there are at least `dfs.namenode.replication.min` of them.
    #[must_use]
    pub fn finalized_length(&self, id: BlockId) -> Option<u64> {
        let record = self.blocks.get(id)?;
        let replicas = &self.construction.get(&id.0)?.replicas;
        let length = replicas.first()?.num_bytes;
        let alike = replicas.iter().all(|replica| {
            replica.state == ReplicaState::Finalized
                && replica.generation_stamp == record.generation_stamp()
                && replica.num_bytes == length
        });
        (record.state() == BlockState::UnderConstruction && alike && self.has_min_replicas(id)).then_some(length)
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
        let (Some(record), Some(construction)) = (self.blocks.get(id), self.construction.get_mut(&id.0)) else {
            return Ok(());
        };
        let known = record.num_bytes();
        if length.is_none() && construction.recovery.is_some_and(|recovery| recovery.left_out) {
            construction.ask_silent = true;
            construction.recovery = None;
            self.recovery_attempts.remove(&id.0);
            return Err("a DataNode that may hold it was not asked".to_owned());
        }
        if length.unwrap_or(0) < known {
            construction.ask_silent = true;
            let since_ms = *construction.short_since_ms.get_or_insert(now.monotonic_ms);
            if now.monotonic_ms.saturating_sub(since_ms) < patience_ms {
                return Err(format!("{known} bytes are known to have been written"));
            }
        }
        Ok(())
    }

    /// Tells the time where no other call does. It decides how long a report has been waited for.
    pub fn note_time(&mut self, now: Now) {
        self.now = now;
    }
}
