//! When a standby makes a checkpoint (Hadoop's `StandbyCheckpointer`, `CheckpointConf`), and which uploads are taken
//! (`ImageServlet`).
//!
//! Of several standbys the first one, in the order of their ids, makes the image. The others get it from that one and
//! treat it as their own; of Hadoop's standbys each makes an image. A standby that finds an image due asks the standbys
//! before it whether they are well, so the next one makes the image when the first is down.
//!
//! Invariants:
//! - A standby waits at most [`CheckpointConfig::patience_ms`] for each standby before it, whatever these say.
//! - An image from another NameNode starts the period anew, just as an image of this one.
//! - The outcome of an upload changes nothing. A NameNode that lacks the image gets the next one. (HDFS-15562 and
//!   HDFS-17821 tell what happens otherwise.)
//!
//! These are pure decisions. The shell saves, sends and reports back. All times are monotonic milliseconds.

use hathi_formats::ids::TxId;
use std::collections::VecDeque;

/// An image is refused when less than this part of the period has passed since the last one, unless it brings more
/// transactions than the limit (`ImageServlet.recentImageCheckTimePrecision`).
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
    /// `dfs.namenode.checkpoint.check.quiet-multiplier`: number of periods after which the first standby is not waited
    /// for any more.
    pub quiet_multiplier: f64,
}

impl CheckpointConfig {
    /// How long a standby waits for the image of another one: the quiet time (`CheckpointConf.getQuietPeriod`) less the
    /// period. Standbys further behind wait longer, so that several do not begin together.
    #[must_use]
    pub fn patience_ms(&self) -> u64 {
        // Behaves as a cast: NaN becomes 0, and a number that is too large becomes the largest one.
        let quiet_ms = (self.period_ms as f64 * self.quiet_multiplier) as u64;
        quiet_ms.saturating_sub(self.period_ms)
    }
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

/// State of a NameNode that stands before this one in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// It is a standby, and well, so it makes the image.
    Makes,
    /// It is not a standby, or not well.
    CanNot,
    /// It did not answer.
    Silent,
}

/// The decisions of a standby.
#[derive(Clone, Debug)]
pub struct Checkpointer {
    config: CheckpointConfig,
    last_checkpoint_ms: u64,
    /// When an image became due. It may be lost at any moment: the others just get their time once more.
    due_since_ms: Option<u64>,
    /// The newest image that is known here, whoever made it. At the start it is the image that was loaded.
    newest: Option<TxId>,
}

impl Checkpointer {
    /// Starts with a new period.
    #[must_use]
    pub fn new(config: CheckpointConfig, now_ms: u64) -> Self {
        Checkpointer {
            config,
            last_checkpoint_ms: now_ms,
            due_since_ms: None,
            newest: None,
        }
    }

    /// Milliseconds between two questions of the shell.
    #[must_use]
    pub fn check_interval_ms(&self) -> u64 {
        self.config.check_period_ms.min(self.config.period_ms).max(1)
    }

    /// Whether a checkpoint is due. `applied` is the last applied transaction, `image` the last one that the newest
    /// image holds.
    pub fn due(&mut self, applied: TxId, image: TxId, now_ms: u64) -> bool {
        // Own images were reported before, so a newer one came from another NameNode.
        if self.newest.is_some_and(|newest| image > newest) {
            self.last_checkpoint_ms = now_ms;
        }
        self.newest = self.newest.max(Some(image));
        let is_due = applied > image
            && (applied.0 - image.0 >= self.config.txns
                || now_ms.saturating_sub(self.last_checkpoint_ms) >= self.config.period_ms);
        self.due_since_ms = is_due.then(|| self.due_since_ms.unwrap_or(now_ms));
        is_due
    }

    /// Whether this NameNode makes the image that is due. `earlier` are the answers of the NameNodes before it;
    /// `receiving` tells whether an image is being received now.
    pub fn is_mine(&self, earlier: &[Earlier], receiving: bool, now_ms: u64) -> bool {
        let due_since_ms = self.due_since_ms.unwrap_or(now_ms);
        let makers = earlier.iter().filter(|earlier| **earlier == Earlier::Makes).count();
        // There are no more of them than NameNodes.
        let patience_ms = self.config.patience_ms().saturating_mul(makers.max(1) as u64);
        let is_over = now_ms.saturating_sub(due_since_ms) >= patience_ms;
        is_over || (makers == 0 && !receiving)
    }

    /// This NameNode has saved an image of this transaction.
    pub fn on_saved(&mut self, txid: TxId, now_ms: u64) {
        self.newest = self.newest.max(Some(txid));
        self.last_checkpoint_ms = now_ms;
        self.due_since_ms = None;
    }
}

/// Whether a NameNode takes an image of `txid`, when its newest image is of `newest` and was saved `age_ms` ago. On
/// `false` it answers status 409.
#[must_use]
pub fn accepts_upload(config: &CheckpointConfig, txid: TxId, newest: TxId, age_ms: u64) -> bool {
    if txid <= newest {
        return false;
    }
    let recent = age_ms < config.period_ms * RECENT_IMAGE_PRECISION_PERCENT / 100;
    !(recent && txid.0 - newest.0 < config.txns)
}

/// Edits stay this long after an image holds them, so that a standby that was down meanwhile goes on where it stopped.
pub const EDITS_RETAINED_MS: u64 = 3_600_000;
/// Largest number of transactions that stay for this reason: some gigabytes at each JournalNode.
pub const EDITS_RETAINED_TXNS: u64 = 20_000_000;
/// Number of remembered moments, enough for a minute each in an hour.
const MOMENTS_MAX: usize = 128;

/// How far the edits reached at which time. The NameNode that purges edits keeps some for its peers with it. It does
/// not know how far each of them is behind. But a peer needs edits that an image of [`EDITS_RETAINED_MS`] ago holds
/// only if it was down since, and then it fetches an image.
#[derive(Clone, Debug, Default)]
pub struct EditsRetention {
    moments: VecDeque<(u64, TxId)>,
}

impl EditsRetention {
    /// Notes the last transaction of now.
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

    /// First transaction whose edits stay. `by_images` is the one that Hadoop's keys keep for the existing images
    /// ([`retention`]).
    #[must_use]
    pub fn keep_from(&self, by_images: TxId, last: TxId, now_ms: u64) -> TxId {
        let old_enough = |(at_ms, _): &&(u64, TxId)| at_ms + EDITS_RETAINED_MS <= now_ms;
        // Without an old enough moment, as in the first hour, all edits may be needed.
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

/// Number of images that always stay, whatever `dfs.namenode.num.checkpoints.retained` says. If the newest image turns
/// out to be damaged on disk, the one before is used.
pub const IMAGES_RETAINED_MIN: usize = 2;

/// Decides which images and edits stay (`NNStorageRetentionManager`). Returns the oldest image to keep and the first
/// transaction whose edits must stay. `images` are the images known to be whole, in any order.
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

/// First transaction whose edits stay. `segments` are the finalized segments here (first and last transaction) in their
/// order, `required` is the first transaction that the required images need, and `by_count` the first one that
/// [`retention`] keeps for them. At most `extra_segments_max` segments stay that no image needs
/// (`dfs.namenode.max.extra.edits.segments.retained`).
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

/// The segments that a checkpointer gets which has everything before `since`: the last ones of `segments` (first and
/// last transaction, in their order) that follow each other without a gap (`JournalSet.getEditLogManifest`).
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
        let mut checkpointer = Checkpointer::new(config(), 0);
        assert!(!checkpointer.due(TxId(50), TxId(0), 999));
        assert!(checkpointer.due(TxId(50), TxId(0), 1000));
        assert!(checkpointer.due(TxId(100), TxId(0), 1));
        assert!(!checkpointer.due(TxId(100), TxId(100), 5000));
        assert!(!checkpointer.due(TxId(110), TxId(100), 5999), "one came at 5000");
    }

    /// Five NameNodes as their shells drive them. Each looks once in a check period, at a moment of its own. A NameNode
    /// that makes an image sends it to all that live, where it arrives after `SAVE_MS`. Returns who made an image, and
    /// when.
    fn cluster(active: usize, is_down: impl Fn(usize, u64) -> bool, until_ms: u64) -> Vec<(usize, u64)> {
        const COUNT: usize = 5;
        const SAVE_MS: u64 = 40;
        let mut all: Vec<_> = (0..COUNT).map(|_| Checkpointer::new(config(), 0)).collect();
        let mut images = [TxId(1); COUNT];
        let mut made = Vec::new();
        let mut under_way: Option<(usize, u64, TxId)> = None;
        for now in 0..until_ms {
            if let Some((maker, _, txid)) = under_way.take_if(|(_, done, _)| *done == now) {
                all[maker].on_saved(txid, now);
                for index in (0..COUNT).filter(|index| !is_down(*index, now)) {
                    images[index] = txid;
                }
            }
            for index in (0..COUNT).filter(|index| *index != active && !is_down(*index, now)) {
                // Less than `txns` per period.
                let applied = TxId(2 + now / 100);
                // This NameNode has just been started.
                if now > 0 && is_down(index, now - 1) {
                    all[index] = Checkpointer::new(config(), now);
                }
                let busy = under_way.is_some_and(|(maker, ..)| maker == index);
                if busy || now % 60 != 7 * index as u64 || !all[index].due(applied, images[index], now) {
                    continue;
                }
                let earlier: Vec<_> = (0..index)
                    .map(|before| match before {
                        before if is_down(before, now) => Earlier::Silent,
                        before if before == active => Earlier::CanNot,
                        _ => Earlier::Makes,
                    })
                    .collect();
                if all[index].is_mine(&earlier, false, now) {
                    assert!(
                        under_way.is_none(),
                        "two at a time, at {now} ms: {under_way:?} and {index}"
                    );
                    under_way = Some((index, now + SAVE_MS, applied));
                    made.push((index, now));
                }
            }
        }
        made
    }

    #[test]
    fn five_namenodes_of_which_one_is_down_make_one_image_in_a_period() {
        for active in 0..5 {
            for down in (0..5).filter(|down| *down != active) {
                let made = cluster(active, |index, _| index == down, 6000);
                let first = (0..5).find(|index| *index != active && *index != down).unwrap();
                assert!(
                    made.iter().all(|(maker, _)| *maker == first),
                    "{made:?} instead of {first}"
                );
                assert_eq!(made.len(), 5, "active {active}, down {down}: {made:?}");
            }
        }
    }

    #[test]
    fn the_next_namenode_makes_the_image_when_the_one_that_made_them_goes_down_and_comes_back() {
        let made = cluster(4, |index, now| index == 0 && (2500..4000).contains(&now), 9000);
        let makers: Vec<_> = made.iter().map(|(maker, _)| *maker).collect();
        assert!(made.windows(2).all(|pair| pair[1].1 - pair[0].1 >= 1000), "{made:?}");
        assert_eq!(makers, [0, 0, 1, 1, 0, 0, 0], "{made:?}");
    }

    #[test]
    fn a_standby_that_makes_no_image_is_waited_for_until_the_quiet_time_is_over() {
        let mut checkpointer = Checkpointer::new(config(), 0);
        let earlier = [Earlier::CanNot, Earlier::Makes, Earlier::Silent];
        assert!(checkpointer.due(TxId(50), TxId(1), 1000));
        assert!(!checkpointer.is_mine(&earlier, false, 1000));
        assert!(!checkpointer.is_mine(&earlier, false, 1499));
        assert!(checkpointer.is_mine(&[Earlier::CanNot, Earlier::Silent], false, 1499));
        assert!(checkpointer.is_mine(&earlier, false, 1500));
        // A standby with two others before it waits twice as long, so that not all of them make an image.
        let two = [Earlier::Makes, Earlier::Makes];
        assert!(!checkpointer.is_mine(&two, false, 1999));
        assert!(checkpointer.is_mine(&two, false, 2000));
    }

    #[test]
    fn an_image_that_is_being_received_is_waited_for_but_not_for_ever() {
        let mut checkpointer = Checkpointer::new(config(), 0);
        assert!(checkpointer.due(TxId(50), TxId(1), 1000));
        assert!(!checkpointer.is_mine(&[], true, 1499));
        assert!(checkpointer.is_mine(&[], true, 1500));
    }

    /// The same as at the NameNodes that took the image. Otherwise they would refuse the next one as too early
    /// (HDFS-17815).
    #[test]
    fn the_period_counts_from_the_end_of_a_save() {
        let mut checkpointer = Checkpointer::new(config(), 0);
        assert!(checkpointer.due(TxId(50), TxId(1), 1000));
        checkpointer.on_saved(TxId(50), 1700);
        assert!(!checkpointer.due(TxId(60), TxId(50), 2699));
        assert!(checkpointer.due(TxId(60), TxId(50), 2700));
    }

    #[test]
    fn an_image_is_refused_where_it_is_or_one_was_saved_a_moment_ago() {
        assert!(!accepts_upload(&config(), TxId(10), TxId(10), 9999));
        assert!(!accepts_upload(&config(), TxId(11), TxId(10), 10));
        assert!(accepts_upload(&config(), TxId(110), TxId(10), 10));
        assert!(accepts_upload(&config(), TxId(11), TxId(10), 750));
    }

    #[test]
    fn safety_n6_edits_stay_for_an_hour_whatever_the_images_cover() {
        let minute = 60_000;
        let mut retention = EditsRetention::default();
        // 1000 transactions a minute, with two checkpoints in the last minute.
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
        // An image that ends in the middle of a segment.
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
        // A directory that was dropped in the middle of a segment, and is written again from another one on.
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
