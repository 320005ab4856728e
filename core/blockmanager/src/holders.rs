//! Which DataNodes may hold a replica of a block whose writer is gone, and when enough of them have spoken.
//!
//! Unreachable is not absent. Hadoop asks whoever has reported: after a restart it drops the last block of a file when
//! the lease is recovered before the first report, and its DataNodes agree on the shortest replica that is there. Here a
//! block is recovered when the answer can't get better, or a stated time has passed:
//!
//! - a replica that is whole is known, or as many as the file asks for: at once;
//! - only replicas that may be cut short: when every DataNode has reported, or is stale
//!   (`dfs.namenode.stale.datanode.interval`; Hadoop leaves stale nodes out of recoveries, too);
//! - no replica: when every DataNode has reported, or is dead. To drop a block can't be undone, so nobody counts as gone
//!   before the cluster's own limit for that (`BlockManagerConfig::heartbeat_expire_ms`).
//!
//! A NameNode that has just started does not know which DataNodes there are. It gives those it has not met the same times,
//! from its start; with an include list it knows when all are there.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::corrupt::CorruptReason;
use crate::datanodes::Datanode;
use crate::manager::BlockManager;
use crate::mutant::Mutant;
use crate::types::{BlockState, Now, ReplicaState, StorageIndex};
use hathi_formats::ids::BlockId;
use smallvec::SmallVec;

/// What is known of the DataNodes that may hold a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holders {
    /// A recovery may begin.
    Known,
    /// Somebody who may hold it has not reported, or those that do are away.
    Awaited,
    /// No DataNode holds it.
    Nobody,
}

impl BlockManager {
    /// Who may hold a block. See the module.
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

    /// The replicas received so far, without those that a pipeline or an earlier recovery left behind: these are kept in
    /// the map to be deleted by and by, and hold nothing of the block as it is.
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

    /// Whether some DataNode may still tell of replicas that are not known. None is waited for longer than
    /// `patience_ms`: from its registration, from the takeover, from this NameNode's start.
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

    /// Every storage of the node was reported in full since it registered, and a heartbeat has come a whole interval
    /// after the takeover: what was on its way to this NameNode, while another one was active, has come before it.
    fn has_spoken(&self, node: &Datanode) -> bool {
        let heard_ms = self.active_since_ms.saturating_add(self.config.heartbeat_interval_ms);
        let mut storages = node.storages.iter().filter_map(|at| self.datanodes.storage(*at));
        !node.storages.is_empty()
            && storages.all(|storage| storage.failed || storage.report_count > 0)
            && (node.last_update.monotonic_ms >= heard_ms || node.registered_ms >= self.active_since_ms)
    }

    /// There is an include list, and each host in it has a live DataNode here.
    fn has_met_all_included(&self) -> bool {
        let mut included = self.hosts.included_hosts().peekable();
        included.peek().is_some() && included.all(|host| !self.datanodes.on_host(host).is_empty())
    }

    /// The length on which all replicas of a block under construction agree: each known one is finalized and has the
    /// block's stamp, and they are at least `dfs.namenode.replication.min`.
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

    /// Judges what DataNodes have agreed on (`commitBlockSynchronization`): `length`, or `None` for "no replica holds
    /// anything", which deletes the block. The reason when it is refused:
    ///
    /// - it would be deleted, and somebody silent was not asked: the next attempt asks everybody;
    /// - it is less than what was logged or committed: a client was told that these bytes are there. After
    ///   [`crate::BlockManagerConfig::heartbeat_expire_ms`] of such results nobody is left who could have them, and the
    ///   file would stay open for ever: then it is taken, as Hadoop takes it at once.
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

    /// Tells the time, where nothing else does: how long a report has been waited for is decided by it.
    pub fn note_time(&mut self, now: Now) {
        self.now = now;
    }
}
