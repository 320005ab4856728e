//! When a SecondaryNameNode makes a checkpoint, and of which edits (`SecondaryNameNode.doWork`, `doCheckpoint`).
//!
//! Invariant: each edit behind the image is applied exactly once, in order, or there is no checkpoint.

use hathi_formats::ids::TxId;
use hathi_namesystem::checkpoint::CheckpointConfig;

/// When it makes one.
#[derive(Clone, Debug)]
pub struct Schedule {
    config: CheckpointConfig,
    /// The last checkpoint, ms since 1970.
    last_ms: Option<u64>,
    /// Merges that have failed in a row.
    merge_errors: u64,
}

impl Schedule {
    /// None was made yet, so that one is due at once.
    #[must_use]
    pub fn new(config: CheckpointConfig) -> Schedule {
        Schedule {
            config,
            last_ms: None,
            merge_errors: 0,
        }
    }

    /// Pause between two looks at what is due, ms.
    #[must_use]
    pub fn pause_ms(&self) -> u64 {
        self.config.check_period_ms.min(self.config.period_ms).max(1)
    }

    /// Whether a period is over, so that it does not matter how many transactions there are.
    #[must_use]
    pub fn is_time(&self, now_ms: u64) -> bool {
        self.last_ms
            .is_none_or(|last| now_ms >= last.saturating_add(self.config.period_ms))
    }

    /// Whether there are so many transactions without an image that one is due before the period is over.
    #[must_use]
    pub fn are_enough(&self, uncheckpointed: u64) -> bool {
        uncheckpointed >= self.config.txns
    }

    /// Whether one that an administrator asks for is made: the NameNode must have more than `dfs.namenode.checkpoint.txns`
    /// transactions, unless it is forced.
    #[must_use]
    pub fn is_made_when_asked(&self, uncheckpointed: u64, force: bool) -> bool {
        force || uncheckpointed > self.config.txns
    }

    /// A merge has ended so.
    pub fn merged(&mut self, well: bool) {
        self.merge_errors = if well { 0 } else { self.merge_errors.saturating_add(1) };
    }

    /// A checkpoint is made and uploaded.
    pub fn done(&mut self, now_ms: u64) {
        debug_assert_eq!(self.merge_errors, 0, "its merge went well");
        self.last_ms = Some(now_ms);
    }

    /// The number of failed merges when they are too many to go on: each try ends a segment of the NameNode's.
    /// `max_retries`: `dfs.namenode.checkpoint.max-retries`.
    #[must_use]
    pub fn gives_up(&self, max_retries: u64) -> Option<u64> {
        (self.merge_errors > max_retries).then_some(self.merge_errors)
    }
}

/// Why the edits that a NameNode offers are of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// There are none.
    #[error("Found no edit logs to download on NN since txid {0}")]
    Empty(TxId),
    /// The first ones lack edits behind the image, or have none.
    #[error("Bad edit log manifest (expected txid = {expected}: it begins with {first}-{last})")]
    Begin {
        /// First transaction behind the image.
        expected: TxId,
        /// First transaction of the first segment.
        first: TxId,
        /// Last transaction of it.
        last: TxId,
    },
    /// One does not go on where the one before it ends.
    #[error("Bad edit log manifest (expected txid = {expected}: {first}-{last} follows)")]
    Gap {
        /// Where it should begin.
        expected: TxId,
        /// First transaction of the segment.
        first: TxId,
        /// Last transaction of it.
        last: TxId,
    },
}

/// What a NameNode offers, as first and last transactions of segments, must go on where its image ends
/// (`SecondaryNameNode.downloadCheckpointFiles`). An image of ours may end in the middle of a segment, for a checkpoint
/// goes on while edits are written; so the first segment may begin before the image's end, and what the image covers of it
/// is passed over.
///
/// # Errors
/// Edits are missing or are there twice.
pub fn check_manifest(segments: &[(TxId, TxId)], image: TxId) -> Result<(), ManifestError> {
    let mut expected = image.next();
    let Some((first, last)) = segments.first().copied() else {
        return Err(ManifestError::Empty(expected));
    };
    if first > expected || expected > last {
        return Err(ManifestError::Begin { expected, first, last });
    }
    expected = first;
    for (first, last) in segments.iter().copied() {
        if first != expected || last < first {
            return Err(ManifestError::Gap { expected, first, last });
        }
        expected = last.next();
    }
    debug_assert!(expected > image.next(), "there is an edit behind the image");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        let config = CheckpointConfig {
            period_ms: 1000,
            check_period_ms: 60,
            txns: 100,
            quiet_multiplier: 1.5,
        };
        Schedule::new(config)
    }

    #[test]
    fn one_is_due_at_the_start_after_each_period_and_before_its_end_with_enough_transactions() {
        let mut schedule = schedule();
        assert_eq!(schedule.pause_ms(), 60);
        assert!(schedule.is_time(0));
        schedule.done(500);
        assert!(!schedule.is_time(1499));
        assert!(schedule.is_time(1500));
        assert!(!schedule.are_enough(99) && schedule.are_enough(100));
    }

    #[test]
    fn one_that_is_asked_for_wants_more_than_the_limit_or_force() {
        let schedule = schedule();
        assert!(!schedule.is_made_when_asked(100, false));
        assert!(schedule.is_made_when_asked(101, false));
        assert!(schedule.is_made_when_asked(0, true));
    }

    #[test]
    fn it_gives_up_after_more_failed_merges_in_a_row_than_it_may_retry() {
        let mut schedule = schedule();
        for _ in 0..3 {
            schedule.merged(false);
            assert_eq!(schedule.gives_up(3), None);
        }
        schedule.merged(true);
        for _ in 0..3 {
            schedule.merged(false);
        }
        assert_eq!(schedule.gives_up(3), None, "a good one lies between them");
        schedule.merged(false);
        assert_eq!(schedule.gives_up(3), Some(4));
    }

    #[test]
    fn edits_follow_an_image_that_ends_anywhere_in_their_first_segment() {
        let check = |segments: &[(u64, u64)], image| {
            let segments: Vec<_> = segments
                .iter()
                .map(|(first, last)| (TxId(*first), TxId(*last)))
                .collect();
            check_manifest(&segments, TxId(image)).is_ok()
        };
        for image in 10..20 {
            assert!(check(&[(11, 20), (21, 30)], image), "{image}");
        }
        for (segments, image, what) in [
            (&[][..], 10, "there are none"),
            (&[(12, 20)], 10, "11 is missing"),
            (
                &[(11, 20), (21, 30)],
                20,
                "the first one is of no use, and nobody asked for it",
            ),
            (&[(11, 20), (22, 30)], 10, "21 is missing"),
            (&[(11, 20), (20, 30)], 10, "20 is there twice"),
            (&[(11, 20), (21, 20)], 10, "the end comes before the beginning"),
        ] {
            assert!(!check(segments, image), "{what}");
        }
    }
}
