//! The role of this NameNode, and safe mode: when it begins to order anything, and what it forgets.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use super::BlockManager;
use crate::mutant::Mutant;
use crate::safemode::{Reported, SafeModeStatus};
use crate::types::Now;

impl BlockManager {
    // --- role ---

    /// Makes this manager active: processes every message from the future, and takes all storages for stale.
    pub fn start_active(&mut self, now: Now) {
        self.now = now;
        self.active = true;
        self.active_since_ms = now.monotonic_ms;
        self.listening_since_ms.get_or_insert(now.monotonic_ms);
        self.forget_work();
        self.datanodes.begin_term(self.mutation.is(Mutant::TrustStaleStorages));
        self.reports.begin_term();
        while let Some(id) = self.reports.first_set_aside() {
            self.process_messages(id);
        }
        debug_assert_eq!(self.reports.set_aside_count(), 0, "an active judges everything");
        if !self.safe_mode.is_on() {
            self.start_queues();
        }
    }

    /// Makes this manager passive: forgets queues, pending work and commands.
    pub fn stop_active(&mut self) {
        self.active = false;
        self.safe_mode.forget_low_resources();
        self.forget_work();
    }

    fn forget_work(&mut self) {
        // What was to be deleted counts again.
        for id in self.redundancy.forget(&mut self.blocks) {
            self.update_safe(id);
        }
        self.corrupt.forget_orders();
        self.caching.forget_orders();
        self.construction.forget_attempts();
    }

    /// Begins the scan that fills the queues (`initializeReplQueues`). [`BlockManager::redundancy_tick`] continues it.
    fn start_queues(&mut self) {
        debug_assert!(self.active, "only an active orders anything");
        debug_assert!(
            !self.safe_mode.is_on(),
            "before enough reports came every block lacks replicas"
        );
        self.redundancy.begin();
    }

    // --- safe mode ---

    /// The namespace is loaded, and safe mode begins to count.
    pub fn activate_safe_mode(&mut self, now: Now) {
        self.now = now;
        self.listening_since_ms = Some(now.monotonic_ms);
        self.safe_mode.activate(self.reported(), now);
        self.check_safe_mode();
    }

    /// What safe mode waits for.
    fn reported(&self) -> Reported {
        Reported {
            complete: self.blocks.complete(),
            safe: self.blocks.safe(),
            live_datanodes: self.datanodes.live().len(),
        }
    }

    /// Looks whether what safe mode waits for has come.
    pub(super) fn check_safe_mode(&mut self) {
        self.safe_mode.update(self.reported(), self.now);
        self.after_safe_mode_change();
    }

    fn after_safe_mode_change(&mut self) {
        if self.active && !self.redundancy.is_kept() && !self.safe_mode.is_on() {
            self.start_queues();
        }
    }

    /// Whether safe mode of any kind is on.
    #[must_use]
    pub fn in_safe_mode(&self) -> bool {
        self.safe_mode.is_on()
    }

    /// This NameNode becomes active instead of another one that served until now. Safe mode ends with the thresholds.
    pub fn take_over(&mut self) {
        self.safe_mode.take_over();
        self.after_safe_mode_change();
    }

    /// Whether clients would meet safe mode if this NameNode took over now.
    #[must_use]
    pub fn would_be_in_safe_mode(&self) -> bool {
        self.safe_mode.would_stay_on()
    }

    /// Whether safe mode is on because of the start, and not for an administrator or a full disk.
    #[must_use]
    pub fn in_startup_safe_mode(&self) -> bool {
        self.safe_mode.is_startup_alone()
    }

    /// State of start-up safe mode.
    #[must_use]
    pub fn safe_mode_status(&self) -> SafeModeStatus {
        self.safe_mode.status()
    }

    /// The text of a `SafeModeException`'s second half (`getSafeModeTip`).
    #[must_use]
    pub fn safe_mode_tip(&self) -> String {
        self.safe_mode.tip(self.reported(), self.now.monotonic_ms)
    }

    /// `dfsadmin -safemode enter`.
    pub fn enter_safe_mode(&mut self) {
        self.safe_mode.enter();
    }

    /// The disks of the active are short of room (`FSNamesystem.enterSafeMode(true)`). Returns false when this is known
    /// already.
    pub fn enter_low_resources_safe_mode(&mut self) -> bool {
        self.safe_mode.enter_for_low_resources()
    }

    /// `dfsadmin -safemode leave` or `forceExit`. False when blocks from the future forbid it.
    pub fn leave_safe_mode(&mut self, force: bool, now: Now) -> bool {
        self.now = now;
        let left = self.safe_mode.leave(force);
        self.after_safe_mode_change();
        left
    }
}
