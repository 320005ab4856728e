//! Invariants of the whole block manager between any two calls.
//!
//! Simulators and tests check them after every step. A NameNode does not, because a check walks everything; there the
//! cheap rules are `debug_assert`s beside the changes. Nothing that a DataNode or a client says can break a rule.

use super::BlockManager;
use crate::block_map::Flag;
use hathi_formats::ids::BlockId;

impl BlockManager {
    /// Checks the invariants of all parts, and those that join them.
    ///
    /// # Panics
    /// When one of them does not hold. The message says which and where.
    pub fn check(&self) {
        self.blocks.check();
        self.datanodes.check();
        self.construction.check();
        self.corrupt.check(&self.blocks);
        self.redundancy.check(&self.blocks);
        self.reports.check();
        self.caching.check();
        self.safe_mode.check();
        self.check_blocks();
        self.check_construction();
        self.check_marks();
        self.check_work();
        self.check_role();
    }

    /// What the records say of other parts.
    fn check_blocks(&self) {
        for id in self.blocks.ids() {
            let Some(record) = self.blocks.get(id) else {
                panic!("block {id} is listed but absent")
            };
            assert!(
                !self.reports.is_id_ahead(id),
                "block {id} is beyond the highest one: a standby would wait for it"
            );
            assert!(
                record.is_striped() || record.replication() > 0,
                "block {id} is to have no replica"
            );
            for storage in self.blocks.replicas(record) {
                assert!(
                    self.datanodes.storage(storage).is_some(),
                    "block {id} is on a storage that does not exist"
                );
            }
            assert!(
                !record.flag(Flag::Corrupt) || !self.corrupt.of(id).is_empty(),
                "corrupt flag of {id}"
            );
            assert!(
                !record.flag(Flag::Excess) || self.redundancy.excess().nodes(id).next().is_some(),
                "excess flag of {id}"
            );
            // Between the death of a node and the end of its purge the flags may lag behind.
            if self.datanodes.leaving().is_none() && id.index_in_group() == 0 {
                let safe = record.is_complete() && self.has_min(id, record);
                assert_eq!(record.is_safe(), safe, "safe flag of {id}");
            }
        }
    }

    /// Blocks under construction.
    fn check_construction(&self) {
        for (id, construction) in self.construction.all() {
            let Some(record) = self.blocks.get(id) else {
                panic!("block {id} is written, and no file has it")
            };
            assert!(
                !record.is_complete(),
                "block {id} is complete: nothing is expected of it any more"
            );
            for storage in construction.storages() {
                assert!(
                    self.datanodes.storage(storage).is_some(),
                    "block {id} is expected on a storage that does not exist"
                );
            }
            if let Some(recovery) = construction.recovery {
                assert!(
                    recovery.id >= record.generation_stamp(),
                    "block {id} is recovered with a stamp that is behind its own"
                );
            }
        }
    }

    /// Corrupt and excess replicas.
    fn check_marks(&self) {
        for (id, marks) in self.corrupt.from(BlockId(i64::MIN)) {
            for mark in marks {
                assert!(
                    self.datanodes.get(mark.node).is_some(),
                    "a mark of block {id} on no node"
                );
                assert!(
                    mark.since_report <= self.reports.last(),
                    "a mark of block {id} was made after a report to come"
                );
                assert!(
                    !mark.ordered || self.redundancy.is_kept(),
                    "block {id}: who keeps no queues has ordered a deletion"
                );
            }
        }
        for id in self.redundancy.excess().ids() {
            for node in self.redundancy.excess().nodes(id) {
                assert!(
                    self.holds(id, node),
                    "block {id}: an excess replica that is not there would count against the others"
                );
            }
        }
    }

    /// Orders go to nodes and storages that are there.
    fn check_work(&self) {
        let pending = self.redundancy.pending();
        for id in pending.ids() {
            for target in pending.targets(id) {
                assert!(
                    self.datanodes.storage(target).is_some(),
                    "block {id} is copied to nowhere"
                );
            }
        }
        let orders = self.redundancy.orders();
        for (index, node) in self.datanodes.nodes() {
            let waiting = orders.deletions_of(index) + orders.copies_of(index);
            assert!(node.alive || waiting == 0, "a dead node is to do {waiting} things");
        }
    }

    /// Only the active has the newest edits: a standby orders nothing, and an active waits for nothing.
    fn check_role(&self) {
        if self.active {
            assert_eq!(
                self.reports.set_aside_count(),
                0,
                "an active has judged everything: nothing is beyond its own edits"
            );
        } else {
            assert!(!self.redundancy.is_kept(), "a standby keeps queues");
            assert!(self.construction.has_no_attempts(), "a standby recovers blocks");
        }
    }
}
