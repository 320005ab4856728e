//! Safe mode after a start, and the administrator's (`BlockManagerSafeMode`).
//!
//! The totals are kept always, in safe mode or not: they are cheap, and a standby's move with the edits.
//!
//! ```text
//! Initializing ─ activate ─► PendingThreshold ─ thresholds ─► Extension ─ time ─► Off
//!                                   │  ▲                          │
//!                                   │  └──── fell below ──────────┘
//!                                   └─ thresholds, no extension or no blocks ─► Off
//! ```
//!
//! A NameNode that takes over from another active serves without the extension, which Hadoop's does not: its thresholds
//! are met. The purpose of the extension is that nothing is copied before the slowest DataNodes have reported. For
//! this, only the copying waits.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::blocks::Flag;
use crate::manager::BlockManager;
use crate::types::{BlockManagerConfig, Now};
use hathi_formats::ids::BlockId;

/// State of start-up safe mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SafeModeStatus {
    /// The namespace is not loaded yet.
    Initializing,
    /// Waiting for blocks or DataNodes after a start.
    PendingThreshold,
    /// The thresholds are reached, and the extension runs.
    Extension,
    /// Safe mode is over.
    Off,
}

/// Safe mode.
#[derive(Clone, Debug)]
pub struct SafeMode {
    status: SafeModeStatus,
    /// Whether an administrator asked for it.
    manual: bool,
    /// Whether the NameNode's disks are short of room. This may be lost: the shell looks again every few seconds.
    low_resources: bool,
    /// Number of complete blocks.
    pub(crate) total: u64,
    /// Number of complete blocks with the minimum of live replicas.
    pub(crate) safe: u64,
    /// Number of reported blocks with stamps that the namespace has not handed out.
    pub(crate) in_future_blocks: u64,
    pub(crate) in_future_bytes: u64,
    /// When the thresholds were reached, if there was anything to wait for.
    reached_ms: Option<u64>,
    took_over: bool,
    threshold: f64,
    min_datanodes: usize,
    extension_ms: u64,
}

impl SafeMode {
    pub(crate) fn new(config: &BlockManagerConfig) -> SafeMode {
        SafeMode {
            status: SafeModeStatus::Initializing,
            manual: false,
            low_resources: false,
            total: 0,
            safe: 0,
            in_future_blocks: 0,
            in_future_bytes: 0,
            reached_ms: None,
            took_over: false,
            threshold: config.safemode_threshold,
            min_datanodes: config.safemode_min_datanodes,
            extension_ms: config.safemode_extension_ms,
        }
    }

    /// State of start-up safe mode.
    #[must_use]
    pub fn status(&self) -> SafeModeStatus {
        self.status
    }

    /// Whether safe mode of any kind is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.manual || self.low_resources || self.status != SafeModeStatus::Off
    }

    /// Whether clients would meet safe mode if this NameNode took over now.
    #[must_use]
    pub fn would_stay_on(&self) -> bool {
        let extension_alone = self.status == SafeModeStatus::Extension && self.in_future_bytes == 0;
        self.manual || self.low_resources || self.status != SafeModeStatus::Off && !extension_alone
    }

    /// This NameNode takes over from another one.
    pub(crate) fn take_over(&mut self) {
        self.took_over = true;
        if self.status == SafeModeStatus::Extension {
            self.leave_if_nothing_is_ahead();
        }
    }

    /// Until when nothing is copied, whether safe mode is on or not.
    pub(crate) fn extension_end_ms(&self) -> u64 {
        self.reached_ms
            .map_or(0, |reached| reached.saturating_add(self.extension_ms))
    }

    /// Whether start-up safe mode is on.
    #[must_use]
    pub fn is_startup(&self) -> bool {
        self.status != SafeModeStatus::Off
    }

    /// Whether only start-up safe mode is on (`FSNamesystem.isInStartupSafeMode`). It ends by itself.
    #[must_use]
    pub fn is_startup_alone(&self) -> bool {
        self.is_startup() && !self.manual && !self.low_resources
    }

    /// Rounded down as in Hadoop, so a single block is not waited for.
    fn threshold_blocks(&self) -> u64 {
        (self.total as f64 * self.threshold) as u64
    }

    fn thresholds_met(&self, live_datanodes: usize) -> bool {
        self.safe >= self.threshold_blocks() && live_datanodes >= self.min_datanodes
    }

    pub(crate) fn activate(&mut self, live_datanodes: usize, now: Now) {
        self.status = SafeModeStatus::PendingThreshold;
        self.check(live_datanodes, now);
    }

    /// Checks whether the thresholds were reached or lost, and whether the extension is over.
    pub(crate) fn check(&mut self, live_datanodes: usize, now: Now) {
        let met = self.thresholds_met(live_datanodes);
        match self.status {
            SafeModeStatus::Initializing | SafeModeStatus::Off => {}
            SafeModeStatus::PendingThreshold if met => {
                if self.total == 0 || self.extension_ms == 0 {
                    self.leave_if_nothing_is_ahead();
                } else {
                    self.status = SafeModeStatus::Extension;
                    self.reached_ms = Some(now.monotonic_ms);
                    if self.took_over {
                        self.leave_if_nothing_is_ahead();
                    }
                }
            }
            SafeModeStatus::PendingThreshold => {}
            SafeModeStatus::Extension if !met => self.status = SafeModeStatus::PendingThreshold,
            SafeModeStatus::Extension => {
                if now.monotonic_ms >= self.extension_end_ms() {
                    self.leave_if_nothing_is_ahead();
                }
            }
        }
    }

    /// Blocks from the future mean that the namespace may be older than the data. Then an administrator must decide.
    fn leave_if_nothing_is_ahead(&mut self) {
        if self.in_future_bytes == 0 {
            self.status = SafeModeStatus::Off;
        }
    }

    pub(crate) fn enter(&mut self) {
        self.manual = true;
    }

    /// Enters safe mode for want of room. Returns whether that is new.
    pub(crate) fn enter_for_low_resources(&mut self) -> bool {
        !std::mem::replace(&mut self.low_resources, true)
    }

    /// This NameNode is not the active any more, so its own disks do not matter to clients.
    pub(crate) fn forget_low_resources(&mut self) {
        self.low_resources = false;
    }

    pub(crate) fn leave(&mut self, force: bool) -> bool {
        if !force && self.in_future_bytes > 0 && self.status != SafeModeStatus::Off {
            return false;
        }
        if force {
            self.in_future_blocks = 0;
            self.in_future_bytes = 0;
        }
        self.manual = false;
        self.low_resources = false;
        self.status = SafeModeStatus::Off;
        self.reached_ms = None;
        true
    }

    /// Panics when the totals contradict each other. Then safe mode would end too early, or never.
    pub(crate) fn check_totals(&self) {
        assert!(
            self.safe <= self.total,
            "{} of {} blocks are safe",
            self.safe,
            self.total
        );
        assert!(
            self.in_future_bytes == 0 || self.in_future_blocks > 0,
            "bytes of the future without a block"
        );
        assert!(
            self.status != SafeModeStatus::Extension || self.reached_ms.is_some(),
            "the extension runs from a moment"
        );
        assert!(
            !self.is_startup_alone() || self.is_on(),
            "what will end by itself is on"
        );
    }

    /// The hint in the exception (`BlockManagerSafeMode.getSafeModeTip`).
    #[must_use]
    pub fn tip(&self, live_datanodes: usize, now_ms: u64) -> String {
        if self.low_resources {
            return "Resources are low on NN. Please add or free up more resources then turn off safe mode manually. \
                    NOTE:  If you turn off safe mode before adding resources, the NN will immediately return to safe mode. \
                    Use \"hdfs dfsadmin -safemode leave\" to turn safe mode off."
                .to_owned();
        }
        if self.manual {
            return "It was turned on manually. Use \"hdfs dfsadmin -safemode leave\" to turn safe mode off."
                .to_owned();
        }
        let mut text = String::new();
        let threshold = self.threshold_blocks();
        if self.safe < threshold {
            text.push_str(&format!(
                "The reported blocks {} needs additional {} blocks to reach the threshold {:.4} of total blocks {}.\n",
                self.safe,
                threshold.saturating_sub(self.safe),
                self.threshold,
                self.total
            ));
        } else {
            text.push_str(&format!(
                "The reported blocks {} has reached the threshold {:.4} of total blocks {}. ",
                self.safe, self.threshold, self.total
            ));
        }
        if self.min_datanodes == 0 {
            text.push_str("The minimum number of live datanodes is not required. ");
        } else if live_datanodes < self.min_datanodes {
            text.push_str(&format!(
                "The number of live datanodes {live_datanodes} needs an additional {} live datanodes to reach the \
                 minimum number {}.\n",
                self.min_datanodes.saturating_sub(live_datanodes),
                self.min_datanodes
            ));
        } else {
            text.push_str(&format!(
                "The number of live datanodes {live_datanodes} has reached the minimum number {}. ",
                self.min_datanodes
            ));
        }
        if self.in_future_bytes > 0 {
            text.push_str(&format!(
                "DataNodes reported blocks with generation stamps in future: the metadata may be older than the data. \
                 Leaving safe mode now would lose {} byte(s). Restart with the right metadata, or use \"hdfs dfsadmin \
                 -safemode forceExit\" if the metadata is right. ",
                self.in_future_bytes
            ));
        }
        match self.status {
            SafeModeStatus::Extension => {
                let left = self.extension_end_ms().saturating_sub(now_ms) / 1000;
                text.push_str(&format!(
                    "In safe mode extension. Safe mode will be turned off automatically in {left} seconds."
                ));
            }
            _ => text.push_str("Safe mode will be turned off automatically once the thresholds have been reached."),
        }
        text
    }
}

impl BlockManager {
    /// The namespace is loaded, and safe mode begins to count.
    pub fn activate_safe_mode(&mut self, now: Now) {
        self.now = now;
        self.listening_since_ms = Some(now.monotonic_ms);
        self.safe_mode.activate(self.datanodes.live.len(), now);
        self.check_safe_mode();
    }

    pub(crate) fn check_safe_mode(&mut self) {
        self.safe_mode.check(self.datanodes.live.len(), self.now);
        self.after_safe_mode_change();
    }

    fn after_safe_mode_change(&mut self) {
        if self.active && !self.populating && !self.safe_mode.is_on() {
            self.start_queues();
        }
    }

    /// Checks again whether a complete block counts as safe.
    pub(crate) fn update_safe(&mut self, id: BlockId) {
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        let was = record.flag(Flag::Safe);
        let is = record.is_complete() && self.has_min_replicas(id);
        if was == is {
            return;
        }
        if let Some(record) = self.blocks.get_mut(id) {
            record.set_flag(Flag::Safe, is);
        }
        if is {
            self.safe_mode.safe = self.safe_mode.safe.saturating_add(1);
        } else {
            debug_assert!(self.safe_mode.safe > 0, "it was counted");
            self.safe_mode.safe = self.safe_mode.safe.saturating_sub(1);
        }
        debug_assert!(
            self.safe_mode.safe <= self.safe_mode.total,
            "what is safe is complete, and counted as such"
        );
        if self.safe_mode.is_startup() {
            self.check_safe_mode();
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
        self.safe_mode.tip(self.datanodes.live.len(), self.now.monotonic_ms)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now {
            monotonic_ms: ms,
            wall_ms: ms,
        }
    }

    fn safe_mode(extension_ms: u64) -> SafeMode {
        SafeMode::new(&BlockManagerConfig {
            safemode_extension_ms: extension_ms,
            ..BlockManagerConfig::default()
        })
    }

    #[test]
    fn who_takes_over_waits_for_the_thresholds_alone() {
        let mut mode = safe_mode(30_000);
        mode.total = 10;
        mode.activate(0, at(0));
        mode.safe = 10;
        mode.check(1, at(1));
        assert!(mode.is_on() && !mode.would_stay_on());
        mode.in_future_bytes = 5;
        mode.take_over();
        assert!(mode.is_on() && mode.would_stay_on());
        mode.in_future_bytes = 0;
        mode.take_over();
        assert!(!mode.is_on());
        mode.enter();
        mode.take_over();
        assert!(mode.is_on() && mode.would_stay_on());

        let mut early = safe_mode(30_000);
        early.total = 10;
        early.activate(0, at(0));
        early.take_over();
        assert!(early.is_on() && early.would_stay_on());
        early.safe = 10;
        early.check(1, at(1));
        assert!(!early.is_on());
        assert_eq!(early.extension_end_ms(), 30_001);
    }

    #[test]
    fn an_empty_namespace_leaves_at_once() {
        let mut mode = safe_mode(30_000);
        assert!(mode.is_on());
        mode.activate(0, at(0));
        assert!(!mode.is_on());
    }

    #[test]
    fn waits_for_blocks_and_then_for_the_extension() {
        let mut mode = safe_mode(30_000);
        mode.total = 2000;
        mode.activate(0, at(0));
        mode.safe = 1997;
        mode.check(1, at(1));
        assert_eq!(mode.status(), SafeModeStatus::PendingThreshold);
        mode.safe = 1998;
        mode.check(1, at(2));
        assert_eq!(mode.status(), SafeModeStatus::Extension);
        mode.safe = 1000;
        mode.check(1, at(3));
        assert_eq!(mode.status(), SafeModeStatus::PendingThreshold);
        mode.safe = 2000;
        mode.check(1, at(4));
        mode.check(1, at(30_003));
        assert!(mode.is_on());
        mode.check(1, at(30_004));
        assert!(!mode.is_on());
    }

    #[test]
    fn without_extension_leaves_with_the_last_block() {
        let mut mode = safe_mode(0);
        mode.total = 1002;
        mode.activate(0, at(0));
        mode.safe = 999;
        mode.check(1, at(0));
        assert!(mode.is_on());
        mode.safe = 1000;
        mode.check(1, at(0));
        assert!(!mode.is_on());
    }

    #[test]
    fn blocks_from_the_future_need_force() {
        let mut mode = safe_mode(0);
        mode.in_future_bytes = 5;
        mode.activate(0, at(0));
        assert!(mode.is_on());
        assert!(mode.tip(0, 0).contains("lose 5 byte(s)"));
        assert!(!mode.leave(false));
        assert!(mode.leave(true));
        assert!(!mode.is_on());
    }

    #[test]
    fn manual_mode_stays_until_left() {
        let mut mode = safe_mode(0);
        mode.activate(0, at(0));
        mode.enter();
        mode.check(5, at(100_000_000));
        assert!(mode.is_on() && !mode.is_startup());
        assert!(mode.leave(false));
        assert!(!mode.is_on());
    }

    #[test]
    fn an_active_short_of_room_is_in_safe_mode_until_somebody_says_otherwise() {
        let mut mode = safe_mode(0);
        mode.activate(0, at(0));
        assert!(!mode.is_on());
        assert!(mode.enter_for_low_resources());
        assert!(!mode.enter_for_low_resources());
        assert!(mode.is_on() && mode.would_stay_on() && !mode.is_startup());
        assert!(
            mode.tip(0, 0).starts_with("Resources are low on NN."),
            "{}",
            mode.tip(0, 0)
        );
        mode.check(5, at(1_000_000));
        mode.take_over();
        assert!(mode.is_on());
        assert!(mode.leave(false));
        assert!(!mode.is_on());
        // The shell looks again, and finds no more room than before.
        assert!(mode.enter_for_low_resources());
        mode.forget_low_resources();
        assert!(!mode.is_on());
    }
}
