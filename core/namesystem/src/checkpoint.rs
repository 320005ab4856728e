//! When a standby makes a checkpoint, and to whom it uploads it (Hadoop's `StandbyCheckpointer`, `CheckpointConf`);
//! and which uploads an active takes (`ImageServlet`).
//!
//! Pure decisions: the shell saves, sends and reports back. All times are monotonic ms.

use hathi_formats::ids::TxId;
use std::collections::VecDeque;

/// After a cancelled checkpoint none is begun for so long (`StandbyCheckpointer.PREVENT_AFTER_CANCEL_MS`).
pub const PREVENT_AFTER_CANCEL_MS: u64 = 120_000;

/// An upload that is younger than this part of the period, and brings fewer than the transactions limit, is refused
/// (`ImageServlet.recentImageCheckTimePrecision`).
const RECENT_IMAGE_PRECISION_PERCENT: u64 = 75;

/// `dfs.namenode.checkpoint.*`.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointConfig {
    /// `dfs.namenode.checkpoint.period`, ms.
    pub period_ms: u64,
    /// `dfs.namenode.checkpoint.check.period`, ms.
    pub check_period_ms: u64,
    /// `dfs.namenode.checkpoint.txns`.
    pub txns: u64,
    /// `dfs.namenode.checkpoint.check.quiet-multiplier`.
    pub quiet_multiplier: f64,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        CheckpointConfig {
            period_ms: 3_600_000,
            check_period_ms: 60_000,
            txns: 1_000_000,
            quiet_multiplier: 1.5,
        }
    }
}

/// How an upload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadResult {
    /// 200.
    Success,
    /// 409: it has one at least as new.
    OldTransactionId,
    /// 417: it is not active.
    NotActive,
    /// Anything else.
    Failed,
}

#[derive(Clone, Debug)]
struct Receiver {
    primary: bool,
    last_upload_ms: u64,
}

/// The standby's side.
#[derive(Clone, Debug)]
pub struct Checkpointer {
    config: CheckpointConfig,
    last_checkpoint_ms: u64,
    cancelled_until_ms: u64,
    receivers: Vec<Receiver>,
}

impl Checkpointer {
    /// For this many other NameNodes; the period counts from now.
    #[must_use]
    pub fn new(config: CheckpointConfig, receivers: usize, now_ms: u64) -> Self {
        Checkpointer {
            config,
            last_checkpoint_ms: now_ms,
            cancelled_until_ms: 0,
            receivers: vec![
                Receiver {
                    primary: true,
                    last_upload_ms: now_ms
                };
                receivers
            ],
        }
    }

    /// How long the shell sleeps between two questions.
    #[must_use]
    pub fn check_interval_ms(&self) -> u64 {
        self.config.check_period_ms.min(self.config.period_ms).max(1)
    }

    /// Whether a checkpoint is due, given what was applied and what the newest image covers.
    #[must_use]
    pub fn due(&self, applied: TxId, image: TxId, now_ms: u64) -> bool {
        if now_ms < self.cancelled_until_ms || applied <= image {
            return false;
        }
        applied.0 - image.0 >= self.config.txns
            || now_ms.saturating_sub(self.last_checkpoint_ms) >= self.config.period_ms
    }

    /// The receivers (by index) the new image goes to.
    #[must_use]
    pub fn receivers(&self, now_ms: u64) -> Vec<usize> {
        let quiet_ms = (self.config.period_ms as f64 * self.config.quiet_multiplier) as u64;
        self.receivers
            .iter()
            .enumerate()
            .filter(|(_, receiver)| receiver.primary || now_ms.saturating_sub(receiver.last_upload_ms) >= quiet_ms)
            .map(|(index, _)| index)
            .collect()
    }

    /// An image was saved.
    pub fn on_saved(&mut self, now_ms: u64) {
        self.last_checkpoint_ms = now_ms;
    }

    /// A checkpoint was cancelled by a transition.
    pub fn on_cancelled(&mut self, now_ms: u64) {
        self.cancelled_until_ms = now_ms + PREVENT_AFTER_CANCEL_MS;
    }

    /// An upload ended. The one whose upload was taken is the primary checkpointer of that receiver.
    pub fn on_uploaded(&mut self, index: usize, result: UploadResult, now_ms: u64) {
        let Some(receiver) = self.receivers.get_mut(index) else {
            return;
        };
        match result {
            UploadResult::Success => {
                receiver.primary = true;
                receiver.last_upload_ms = now_ms;
            }
            UploadResult::OldTransactionId | UploadResult::NotActive => receiver.primary = false,
            UploadResult::Failed => {}
        }
    }
}

/// Whether an active takes an image of `txid` when its newest is `newest`, saved `age_ms` ago; `false` is status 409.
#[must_use]
pub fn accepts_upload(config: &CheckpointConfig, txid: TxId, newest: TxId, age_ms: u64) -> bool {
    if txid <= newest {
        return false;
    }
    let recent = age_ms < config.period_ms * RECENT_IMAGE_PRECISION_PERCENT / 100;
    !(recent && txid.0 - newest.0 < config.txns)
}

/// Edits that an image covers stay for so long, so that a standby that was down meanwhile goes on where it stopped.
pub const EDITS_RETAINED_MS: u64 = 3_600_000;
/// But no more than so many transactions: some gigabytes at each JournalNode.
pub const EDITS_RETAINED_TXNS: u64 = 20_000_000;
/// Moments remembered: more than an hour's minutes.
const MOMENTS_MAX: usize = 128;

/// How far the edits reached at which time. Of the NameNode that purges them, so that it keeps some for its peers: which
/// of them is how far behind it does not know, but none needs what an image behind [`EDITS_RETAINED_MS`] covers unless it
/// was down for so long. Then it fetches an image.
#[derive(Clone, Debug, Default)]
pub struct EditsRetention {
    moments: VecDeque<(u64, TxId)>,
}

impl EditsRetention {
    /// The last transaction, now.
    pub fn note(&mut self, last: TxId, now_ms: u64) {
        debug_assert!(
            self.moments.back().is_none_or(|(at_ms, _)| *at_ms <= now_ms),
            "the clock does not go back"
        );
        self.moments.push_back((now_ms, last));
        while self.moments.len() > MOMENTS_MAX {
            self.moments.pop_front();
        }
    }

    /// The first transaction whose edits stay, given what Hadoop's keys keep for the images that exist ([`retention`]).
    #[must_use]
    pub fn keep_from(&self, by_images: TxId, last: TxId, now_ms: u64) -> TxId {
        let old_enough = |(at_ms, _): &&(u64, TxId)| at_ms + EDITS_RETAINED_MS <= now_ms;
        // Without a moment that is old enough, as in the first hour, all of them may be needed.
        let by_time = self
            .moments
            .iter()
            .rev()
            .find(old_enough)
            .map_or(0, |(_, last)| last.0 + 1);
        let by_count = last.0.saturating_sub(EDITS_RETAINED_TXNS);
        let keep_from = by_images.min(TxId(by_time.max(by_count)));
        debug_assert!(keep_from <= by_images, "the edits that lead on from an image stay");
        keep_from
    }
}

/// Images that always stay, whatever `dfs.namenode.num.checkpoints.retained` says: should the newest turn out to be
/// damaged on the disk, the one before serves.
pub const IMAGES_RETAINED_MIN: usize = 2;

/// Which images and edits stay (`NNStorageRetentionManager`): the oldest image to keep and the first transaction whose
/// edits must stay, given the images that are known to be whole (any order).
#[must_use]
pub fn retention(images: &[TxId], images_retained: usize, extra_edits_retained: u64) -> Option<(TxId, TxId)> {
    let mut sorted = images.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let oldest = *sorted
        .get(images_retained.max(IMAGES_RETAINED_MIN) - 1)
        .or(sorted.last())?;
    let kept = sorted.iter().filter(|image| **image >= oldest).count();
    debug_assert!(
        kept >= images.len().min(IMAGES_RETAINED_MIN),
        "should the newest image be damaged, the one before serves"
    );
    Some((oldest, TxId((oldest.0 + 1).saturating_sub(extra_edits_retained))))
}

/// The first transaction whose edits stay, given the final segments here (first and last transaction, in their order), the
/// first one that `required` images need, and the first one that [`retention`] keeps for them. No more than so many segments
/// stay that no image needs (`dfs.namenode.max.extra.edits.segments.retained`).
#[must_use]
pub fn keep_from(segments: &[(TxId, TxId)], required: TxId, by_count: TxId, extra_segments_max: usize) -> TxId {
    let extra = segments
        .iter()
        .filter(|(first, last)| *first < required && *last >= by_count);
    let extra: Vec<_> = extra.collect();
    match extra.len().checked_sub(extra_segments_max) {
        Some(surplus @ 1..) => extra[surplus - 1].1.next().min(required),
        _ => by_count,
    }
}

/// What of the final segments here (first and last transaction, in their order) a checkpointer gets that has everything
/// before `since`: a row without a gap, behind the last gap if there is one (`JournalSet.getEditLogManifest`).
#[must_use]
pub fn manifest(segments: &[(TxId, TxId)], since: TxId) -> Vec<(TxId, TxId)> {
    let mut row: Vec<(TxId, TxId)> = Vec::new();
    for &(first, last) in segments.iter().filter(|(_, last)| *last >= since) {
        let next = row.last().map(|(_, last)| last.next());
        if next.is_some_and(|next| next > last) {
            continue;
        }
        if next.is_some_and(|next| next != first) {
            row.clear();
        }
        row.push((first, last));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> CheckpointConfig {
        CheckpointConfig {
            period_ms: 1000,
            check_period_ms: 60,
            txns: 100,
            quiet_multiplier: 1.5,
        }
    }

    #[test]
    fn a_checkpoint_is_due_by_time_or_by_transactions_but_never_for_nothing_new() {
        let checkpointer = Checkpointer::new(config(), 1, 0);
        assert!(!checkpointer.due(TxId(50), TxId(0), 999));
        assert!(checkpointer.due(TxId(50), TxId(0), 1000));
        assert!(checkpointer.due(TxId(100), TxId(0), 1));
        assert!(!checkpointer.due(TxId(100), TxId(100), 5000));
        let mut cancelled = checkpointer.clone();
        cancelled.on_cancelled(5000);
        assert!(!cancelled.due(TxId(500), TxId(0), 5001));
        assert!(cancelled.due(TxId(500), TxId(0), 5000 + PREVENT_AFTER_CANCEL_MS));
    }

    #[test]
    fn a_receiver_that_refused_is_tried_again_after_the_quiet_period() {
        let mut checkpointer = Checkpointer::new(config(), 2, 0);
        assert_eq!(checkpointer.receivers(0), [0, 1]);
        checkpointer.on_uploaded(0, UploadResult::OldTransactionId, 100);
        checkpointer.on_uploaded(1, UploadResult::Success, 100);
        assert_eq!(checkpointer.receivers(200), [1]);
        assert_eq!(checkpointer.receivers(1500), [0, 1]);
    }

    #[test]
    fn an_active_refuses_what_it_has_or_had_a_moment_ago() {
        assert!(!accepts_upload(&config(), TxId(10), TxId(10), 9999));
        assert!(!accepts_upload(&config(), TxId(11), TxId(10), 10));
        assert!(accepts_upload(&config(), TxId(110), TxId(10), 10));
        assert!(accepts_upload(&config(), TxId(11), TxId(10), 750));
    }

    #[test]
    fn safety_n6_edits_stay_for_an_hour_whatever_the_images_cover() {
        let minute = 60_000;
        let mut retention = EditsRetention::default();
        // 1000 transactions a minute, and two checkpoints in the last one.
        for at in 0..50 {
            retention.note(TxId(1000 * at), at * minute);
        }
        let images = TxId(49_000);
        let now = 49 * minute;
        assert_eq!(
            retention.keep_from(images, TxId(49_500), now),
            TxId(0),
            "nothing is known to be old enough"
        );
        for at in 50..200 {
            retention.note(TxId(1000 * at), at * minute);
        }
        let now = 200 * minute;
        assert_eq!(retention.keep_from(TxId(199_000), TxId(200_000), now), TxId(140_001));
        assert_eq!(
            retention.keep_from(TxId(90_000), TxId(200_000), now),
            TxId(90_000),
            "the keys keep more"
        );
        let many = EDITS_RETAINED_TXNS * 10;
        let floor = TxId(many - EDITS_RETAINED_TXNS);
        assert_eq!(
            retention.keep_from(TxId(many), TxId(many), now),
            floor,
            "but not without bounds"
        );
    }

    #[test]
    fn edits_that_no_image_needs_stay_in_so_many_segments() {
        let segments: Vec<_> = [(1, 10), (11, 20), (21, 30), (31, 40)]
            .map(|(first, last)| (TxId(first), TxId(last)))
            .to_vec();
        assert_eq!(keep_from(&segments, TxId(31), TxId(5), 3), TxId(5));
        assert_eq!(keep_from(&segments, TxId(31), TxId(5), 2), TxId(11));
        assert_eq!(keep_from(&segments, TxId(31), TxId(5), 0), TxId(31));
        // An image in the middle of a segment.
        assert_eq!(keep_from(&segments, TxId(26), TxId(0), 0), TxId(26));
        assert_eq!(keep_from(&[], TxId(26), TxId(3), 0), TxId(3));
    }

    #[test]
    fn a_checkpointer_gets_a_row_of_segments_without_a_gap() {
        let of = |segments: &[(u64, u64)], since| -> Vec<(u64, u64)> {
            let segments: Vec<_> = segments
                .iter()
                .map(|(first, last)| (TxId(*first), TxId(*last)))
                .collect();
            let found = manifest(&segments, TxId(since));
            found.iter().map(|(first, last)| (first.0, last.0)).collect()
        };
        let whole = [(1, 10), (11, 20), (21, 30)];
        assert_eq!(of(&whole, 1), whole);
        assert_eq!(of(&whole, 11), [(11, 20), (21, 30)]);
        assert_eq!(of(&whole, 15), [(11, 20), (21, 30)]);
        assert_eq!(of(&whole, 31), []);
        assert_eq!(of(&[(1, 10), (21, 30)], 1), [(21, 30)]);
        // A directory that was dropped in the middle of a segment and began again with another one.
        assert_eq!(of(&[(1, 10), (4, 10), (11, 20)], 1), [(1, 10), (11, 20)]);
    }

    #[test]
    fn two_images_and_their_edits_stay() {
        assert_eq!(
            retention(&[TxId(10), TxId(30), TxId(20)], 2, 5),
            Some((TxId(20), TxId(16)))
        );
        assert_eq!(
            retention(&[TxId(10), TxId(30), TxId(20)], 1, 5),
            Some((TxId(20), TxId(16)))
        );
        assert_eq!(retention(&[TxId(7)], 2, 100), Some((TxId(7), TxId(0))));
        assert_eq!(retention(&[], 2, 100), None);
    }
}
