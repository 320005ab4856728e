//! Invariants of the whole block manager between any two calls.
//!
//! Simulators and tests check them after every step. A NameNode does not, because a check walks everything; there the
//! cheap rules are `debug_assert`s beside the changes. Nothing that a DataNode or a client says can break a rule.

use crate::blocks::{Flag, Record};
use crate::corrupt::CorruptReason;
use crate::manager::BlockManager;
use hathi_formats::ids::BlockId;

impl BlockManager {
    /// Checks the invariants of all parts.
    ///
    /// # Panics
    /// When one of them does not hold. The message says which and where.
    pub fn check(&self) {
        self.blocks.check();
        self.datanodes.check();
        self.needed.check();
        self.pending.check();
        self.messages.check();
        self.leases.check();
        self.safe_mode.check_totals();
        self.check_blocks();
        self.check_construction();
        self.check_marks();
        self.check_work();
        if !self.active {
            self.check_passive();
        }
    }

    fn record(&self, id: i64) -> &Record {
        let record = self.blocks.get(BlockId(id));
        record.unwrap_or_else(|| panic!("block {id} is spoken of, and no file has it"))
    }

    /// Block map, storages, flags and the totals of safe mode agree.
    fn check_blocks(&self) {
        let (mut total, mut safe) = (0, 0);
        let mut named = 0;
        let mut needed = 0;
        for id in self.blocks.ids() {
            let record = self.record(id.0);
            assert!(
                id.0 <= self.highest_id,
                "block {id} is beyond the highest one: a standby would wait for it"
            );
            assert!(record.replication() > 0, "block {id} is to have no replica");
            total += u64::from(record.is_complete());
            safe += u64::from(record.flag(Flag::Safe));
            needed += usize::from(record.flag(Flag::Needed));
            for storage in self.blocks.replicas(record) {
                named += 1;
                assert!(
                    self.datanodes
                        .storage(storage)
                        .is_some_and(|storage| storage.blocks.contains(id.0)),
                    "block {id} names storage {storage:?}, which does not have it"
                );
            }
            assert_eq!(
                record.flag(Flag::Corrupt),
                self.corrupt.contains_key(&id.0),
                "corrupt flag of {id}"
            );
            assert_eq!(
                record.flag(Flag::Excess),
                self.excess.contains_key(&id.0),
                "excess flag of {id}"
            );
            // Between the death of a node and the end of its purge the flags may lag behind.
            if self.purge.is_empty() {
                let safe = record.is_complete() && self.has_min_replicas(id);
                assert_eq!(record.flag(Flag::Safe), safe, "safe flag of {id}");
            }
        }
        let held: usize = self.datanodes.storages().map(|(_, storage)| storage.blocks.len()).sum();
        assert_eq!(named, held, "replicas named by blocks and held by storages");
        assert_eq!(
            (total, safe),
            (self.safe_mode.total, self.safe_mode.safe),
            "safe mode's totals"
        );
        let mut queued = 0;
        for id in self.needed.ids() {
            queued += 1;
            assert!(
                self.record(id).flag(Flag::Needed),
                "block {id} is queued without its flag"
            );
        }
        assert_eq!(needed, queued, "blocks with the flag of the queues, and in them");
    }

    /// Blocks under construction.
    fn check_construction(&self) {
        // order: each block is looked at by itself.
        for (&id, construction) in &self.construction {
            let record = self.record(id);
            assert!(
                !record.is_complete(),
                "block {id} is complete: nothing is expected of it any more"
            );
            for replica in &construction.replicas {
                assert!(
                    self.datanodes.storage(replica.storage).is_some(),
                    "block {id} is expected on a storage that does not exist"
                );
            }
            let attempted = self.recovery_attempts.contains_key(&id);
            assert_eq!(
                construction.recovery.is_some(),
                attempted,
                "block {id}: an attempt to recover it has a beginning, or it never expires"
            );
            if let Some(recovery) = construction.recovery {
                assert!(
                    recovery.id.0 >= record.generation_stamp(),
                    "block {id} is recovered with a stamp that is behind its own"
                );
            }
        }
        for id in self.recovery_attempts.keys() {
            assert!(
                self.construction.contains_key(id),
                "block {id} is recovered, and not written"
            );
        }
    }

    /// Corrupt and excess replicas.
    fn check_marks(&self) {
        for (&id, marks) in &self.corrupt {
            assert!(!marks.is_empty(), "block {id} is listed as corrupt without a replica");
            let unknown = self.blocks.get(BlockId(id)).is_none();
            let early = marks.iter().all(|mark| mark.reason == CorruptReason::Reported);
            assert!(
                !unknown || early,
                "block {id} is in no file, and so a report can't show that its replica differs from it"
            );
            for (at, mark) in marks.iter().enumerate() {
                assert!(
                    self.datanodes.get(mark.node).is_some(),
                    "a mark of block {id} on no node"
                );
                assert_eq!(mark.block.id.0, id, "a mark stands at another block");
                assert!(
                    marks.iter().skip(at + 1).all(|other| other.node != mark.node),
                    "block {id} is marked twice on one node"
                );
                assert!(
                    !mark.ordered || self.populating,
                    "block {id}: who keeps no queues has ordered a deletion"
                );
            }
        }
        for (&id, excess) in &self.excess {
            assert!(!excess.is_empty(), "block {id} is listed without an excess replica");
            for (at, replica) in excess.iter().enumerate() {
                assert!(
                    self.holds(BlockId(id), replica.node),
                    "block {id}: an excess replica that is not there would count against the others"
                );
                assert!(
                    excess.iter().skip(at + 1).all(|other| other.node != replica.node),
                    "block {id} is in excess twice on one node"
                );
            }
        }
    }

    /// Queues and orders of an active.
    fn check_work(&self) {
        assert!(self.active || !self.populating, "a standby keeps queues");
        assert!(
            self.populating || self.scan_from.is_none(),
            "a scan fills queues that nobody keeps"
        );
        assert!(
            self.populating || (self.needed.is_empty() && self.excess.is_empty() && self.postponed.is_empty()),
            "blocks are queued before reports can be believed"
        );
        if self.active {
            assert!(
                self.messages.is_empty(),
                "an active has judged everything: nothing is beyond its own edits"
            );
        }
        for id in self.pending.ids() {
            assert!(
                self.record(id).is_complete(),
                "block {id} is copied while it is written"
            );
            for target in self.pending.targets(id) {
                assert!(
                    self.datanodes.storage(target).is_some(),
                    "block {id} is copied to nowhere"
                );
            }
        }
        for &id in &self.postponed {
            assert!(
                self.blocks.get(BlockId(id)).is_some(),
                "the surplus of block {id} waits, and no file has it"
            );
        }
        let deletions: usize = self.datanodes.nodes().map(|(_, node)| node.invalidate.len()).sum();
        assert_eq!(deletions, self.datanodes.deletions(), "deletions are miscounted");
        for (_, node) in self.datanodes.nodes() {
            let orders = node.transfers.len() + node.invalidate.len() + node.recover.len();
            assert!(
                orders == 0 || self.active,
                "a standby orders {orders} things of a DataNode"
            );
            for (&id, block) in &node.invalidate {
                assert_eq!(block.id.0, id, "a deletion stands at another block");
            }
            for transfer in &node.transfers {
                assert!(!transfer.targets.is_empty(), "a copy goes to nobody");
            }
        }
        for &storage in &self.purge {
            assert!(
                self.datanodes.storage(storage).is_some(),
                "a storage is emptied that does not exist"
            );
        }
    }

    /// A standby orders nothing, because only the active has the newest edits.
    fn check_passive(&self) {
        assert!(
            self.needed.is_empty() && self.excess.is_empty(),
            "a passive manager has work"
        );
        assert_eq!(
            self.pending.len(),
            0,
            "a standby waits for copies that it can't have ordered"
        );
        assert!(self.recovery_attempts.is_empty(), "a standby recovers blocks");
    }
}
