//! Invariants of the whole namesystem between any two calls. Each part keeps its own, and all parts agree on the blocks
//! and on the role.
//!
//! Simulators and tests check them after every step. A debug build checks at the first, second, fourth, eighth
//! transaction and so on: a check walks everything, and this way a namespace that grows to millions of files is walked
//! twenty times in all. No call, edit or report from outside can break these rules.

use crate::Namesystem;
use crate::role::Role;
use hathi_blockmanager::BlockLayout;
use hathi_formats::ids::TxId;

impl Namesystem {
    /// Checks the invariants of all parts.
    ///
    /// # Panics
    /// When one of them does not hold. The message says which and where.
    pub fn check(&self) {
        if self.is_broken() {
            // A namespace that is the state of no log. Nobody uses it any more.
            return;
        }
        self.namespace().check();
        self.blockmanager().check();
        self.retry_cache().check(self.edit_log().applied());
        self.latest_calls.check_order();
        self.recoveries.check();
        self.edit_log().check();
        self.in_flight.check(self.edit_log().applied());
        self.history().check(self.edit_log().applied(), self.life());
        self.check_blocks();
        self.check_role();
        assert!(
            self.namespace().last_applied_txid() <= self.edit_log().applied().0,
            "the namespace is ahead of its log"
        );
        assert!(
            self.reclaim_pending || !self.namespace().has_detached(),
            "what was deleted is freed some time"
        );
    }

    /// Checks now and then after a transaction, in a debug build.
    pub(crate) fn check_now_and_then(&self, txid: TxId) {
        if cfg!(debug_assertions) && txid.0.is_power_of_two() {
            self.check();
        }
    }

    /// The block manager knows exactly the blocks of the namespace, with the file of each.
    fn check_blocks(&self) {
        let mut blocks = 0;
        self.namespace().for_each_block(&mut |block, file, layout, is_open| {
            blocks += 1;
            let Some(known) = self.blockmanager().block(block.id) else {
                panic!("block {} of {file} is not known to the block manager", block.id)
            };
            assert_eq!(known.inode, file, "block {} is another file's", block.id);
            let known_layout = match known.striping {
                None => BlockLayout::Replicas(known.replication),
                Some(striping) => BlockLayout::Striped(striping),
            };
            assert_eq!(known_layout, layout, "replicas that block {} is to have", block.id);
            assert!(
                is_open || known.has_final_length(),
                "block {} has its length for good by the edits, and is written by the block manager",
                block.id
            );
        });
        assert_eq!(
            blocks,
            self.blockmanager().counts().blocks,
            "blocks of files, and blocks that are looked after"
        );
    }

    /// The parts agree with the role about who may change anything.
    fn check_role(&self) {
        let writes = self.edit_log().is_open_for_write();
        match self.role() {
            Role::Active => {
                assert!(writes, "an active has a log to write to");
                assert!(
                    self.history().has_nothing_to_prove(),
                    "what an active has is what it wrote, or was proven before"
                );
                assert!(self.blockmanager().is_active(), "an active looks after its blocks");
                assert!(
                    self.namespace().is_active(),
                    "the stamps that an active gives out count"
                );
            }
            Role::Standby | Role::BecomingActive => {
                assert!(!writes, "only the active has a log to write to");
                assert!(
                    !self.blockmanager().is_active(),
                    "only the active orders anything of DataNodes"
                );
                assert!(
                    !self.namespace().is_active(),
                    "a stamp counts on a standby when its block was read of"
                );
            }
            Role::SteppingDown => {
                assert!(
                    !self.blockmanager().is_active(),
                    "who steps down orders nothing any more"
                );
            }
            // The namespace is being loaded, or nobody uses it any more.
            Role::Initializing => {}
        }
    }
}
