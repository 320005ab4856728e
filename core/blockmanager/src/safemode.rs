//! Safe mode after a start, and the administrator's (`BlockManagerSafeMode`).
//!
//! It decides by counts that it is told: of blocks, which the block map keeps always, in safe mode or not, and of live
//! DataNodes.
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
//!
//! Invariants ([`SafeMode::check`]): the extension runs from a moment; bytes of the future are a block's; what will end
//! by itself is on.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::types::{BlockManagerConfig, Now};

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

/// What safe mode waits for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reported {
    /// Number of complete blocks.
    pub(crate) complete: u64,
    /// Number of complete blocks with the minimum of live replicas.
    pub(crate) safe: u64,
    /// Number of live DataNodes.
    pub(crate) live_datanodes: usize,
}

/// Safe mode.
#[derive(Clone, Debug)]
pub(crate) struct SafeMode {
    status: SafeModeStatus,
    /// Whether an administrator asked for it.
    manual: bool,
    /// Whether the NameNode's disks are short of room. This may be lost: the shell looks again every few seconds.
    low_resources: bool,
    /// Number of reported blocks with stamps that the namespace has not handed out.
    in_future_blocks: u64,
    /// Their bytes.
    in_future_bytes: u64,
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
    pub(crate) fn status(&self) -> SafeModeStatus {
        self.status
    }

    /// Whether safe mode of any kind is on.
    pub(crate) fn is_on(&self) -> bool {
        self.manual || self.low_resources || self.status != SafeModeStatus::Off
    }

    /// Whether clients would meet safe mode if this NameNode took over now.
    pub(crate) fn would_stay_on(&self) -> bool {
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
    pub(crate) fn is_startup(&self) -> bool {
        self.status != SafeModeStatus::Off
    }

    /// Whether only start-up safe mode is on (`FSNamesystem.isInStartupSafeMode`). It ends by itself.
    pub(crate) fn is_startup_alone(&self) -> bool {
        self.is_startup() && !self.manual && !self.low_resources
    }

    /// Rounded down as in Hadoop, so a single block is not waited for.
    fn threshold_blocks(&self, reported: Reported) -> u64 {
        (reported.complete as f64 * self.threshold) as u64
    }

    fn thresholds_met(&self, reported: Reported) -> bool {
        reported.safe >= self.threshold_blocks(reported) && reported.live_datanodes >= self.min_datanodes
    }

    /// The namespace is loaded.
    pub(crate) fn activate(&mut self, reported: Reported, now: Now) {
        self.status = SafeModeStatus::PendingThreshold;
        self.update(reported, now);
    }

    /// Checks whether the thresholds were reached or lost, and whether the extension is over.
    pub(crate) fn update(&mut self, reported: Reported, now: Now) {
        debug_assert!(reported.safe <= reported.complete, "what is safe is complete");
        let met = self.thresholds_met(reported);
        match self.status {
            SafeModeStatus::Initializing | SafeModeStatus::Off => {}
            SafeModeStatus::PendingThreshold if met => {
                if reported.complete == 0 || self.extension_ms == 0 {
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

    /// A DataNode has reported a replica of a stamp that the namespace has not handed out. Its length may be anything.
    pub(crate) fn note_future(&mut self, num_bytes: u64) {
        debug_assert!(self.is_startup(), "later nothing waits for an administrator");
        self.in_future_blocks = self.in_future_blocks.saturating_add(1);
        self.in_future_bytes = self.in_future_bytes.saturating_add(num_bytes);
    }

    pub(crate) fn in_future_blocks(&self) -> u64 {
        self.in_future_blocks
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

    /// Leaves safe mode of any kind. Returns false when blocks from the future forbid it.
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

    /// Panics when an invariant of the module does not hold. Then safe mode would end too early, or never.
    pub(crate) fn check(&self) {
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
    pub(crate) fn tip(&self, reported: Reported, now_ms: u64) -> String {
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
        let threshold = self.threshold_blocks(reported);
        let Reported {
            complete,
            safe,
            live_datanodes,
        } = reported;
        if safe < threshold {
            text.push_str(&format!(
                "The reported blocks {safe} needs additional {} blocks to reach the threshold {:.4} of total blocks \
                 {complete}.\n",
                threshold.saturating_sub(safe),
                self.threshold,
            ));
        } else {
            text.push_str(&format!(
                "The reported blocks {safe} has reached the threshold {:.4} of total blocks {complete}. ",
                self.threshold
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

    fn reported(safe: u64, complete: u64, live_datanodes: usize) -> Reported {
        Reported {
            complete,
            safe,
            live_datanodes,
        }
    }

    #[test]
    fn who_takes_over_waits_for_the_thresholds_alone() {
        let mut mode = safe_mode(30_000);
        mode.activate(reported(0, 10, 0), at(0));
        mode.update(reported(10, 10, 1), at(1));
        assert!(mode.is_on() && !mode.would_stay_on());
        mode.note_future(5);
        mode.take_over();
        assert!(mode.is_on() && mode.would_stay_on());
        mode.check();
        mode.in_future_bytes = 0;
        mode.take_over();
        assert!(!mode.is_on());
        mode.enter();
        mode.take_over();
        assert!(mode.is_on() && mode.would_stay_on());

        let mut early = safe_mode(30_000);
        early.activate(reported(0, 10, 0), at(0));
        early.take_over();
        assert!(early.is_on() && early.would_stay_on());
        early.update(reported(10, 10, 1), at(1));
        assert!(!early.is_on());
        assert_eq!(early.extension_end_ms(), 30_001);
    }

    #[test]
    fn an_empty_namespace_leaves_at_once() {
        let mut mode = safe_mode(30_000);
        assert!(mode.is_on());
        mode.activate(Reported::default(), at(0));
        assert!(!mode.is_on());
    }

    #[test]
    fn waits_for_blocks_and_then_for_the_extension() {
        let mut mode = safe_mode(30_000);
        mode.activate(reported(0, 2000, 0), at(0));
        mode.update(reported(1997, 2000, 1), at(1));
        assert_eq!(mode.status(), SafeModeStatus::PendingThreshold);
        mode.update(reported(1998, 2000, 1), at(2));
        assert_eq!(mode.status(), SafeModeStatus::Extension);
        mode.update(reported(1000, 2000, 1), at(3));
        assert_eq!(mode.status(), SafeModeStatus::PendingThreshold);
        mode.update(reported(2000, 2000, 1), at(4));
        mode.update(reported(2000, 2000, 1), at(30_003));
        assert!(mode.is_on());
        mode.update(reported(2000, 2000, 1), at(30_004));
        assert!(!mode.is_on());
    }

    #[test]
    fn without_extension_leaves_with_the_last_block() {
        let mut mode = safe_mode(0);
        mode.activate(reported(0, 1002, 0), at(0));
        mode.update(reported(999, 1002, 1), at(0));
        assert!(mode.is_on());
        mode.update(reported(1000, 1002, 1), at(0));
        assert!(!mode.is_on());
    }

    #[test]
    fn blocks_from_the_future_need_force() {
        let mut mode = safe_mode(0);
        mode.note_future(5);
        mode.activate(reported(0, 0, 0), at(0));
        assert!(mode.is_on());
        assert!(mode.tip(Reported::default(), 0).contains("lose 5 byte(s)"));
        assert!(!mode.leave(false));
        assert!(mode.leave(true));
        assert!(!mode.is_on());
    }

    #[test]
    fn manual_mode_stays_until_left() {
        let mut mode = safe_mode(0);
        mode.activate(Reported::default(), at(0));
        mode.enter();
        mode.update(reported(0, 0, 5), at(100_000_000));
        assert!(mode.is_on() && !mode.is_startup());
        assert!(mode.leave(false));
        assert!(!mode.is_on());
    }

    #[test]
    fn an_active_short_of_room_is_in_safe_mode_until_somebody_says_otherwise() {
        let mut mode = safe_mode(0);
        mode.activate(Reported::default(), at(0));
        assert!(!mode.is_on());
        assert!(mode.enter_for_low_resources());
        assert!(!mode.enter_for_low_resources());
        assert!(mode.is_on() && mode.would_stay_on() && !mode.is_startup());
        assert!(
            mode.tip(Reported::default(), 0).starts_with("Resources are low on NN."),
            "{}",
            mode.tip(Reported::default(), 0)
        );
        mode.update(reported(0, 0, 5), at(1_000_000));
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
