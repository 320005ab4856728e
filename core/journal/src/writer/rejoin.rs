//! When the open segment should end early, so that a JournalNode that can't be caught up in it takes part from the next
//! one on.
//!
//! Hadoop's writer waits for the next roll, minutes later. A second JournalNode that restarts meanwhile ends the
//! NameNode.

use hathi_formats::ids::TxId;

use super::channel::{Channel, SegmentProgress};
use super::{CallError, Phase, QuorumWriter};
use crate::errors::is_lease_held;
use crate::messages::{Answer, Micros};

/// Youngest segment, in microseconds, that is ended for this reason. JournalNodes that come and go must not cause many
/// tiny segments.
const MIN_SEGMENT_AGE: Micros = 2_000_000;

impl QuorumWriter {
    /// Takes the answer of a JournalNode that missed our election. It has promised; or it can't yet, because the lease
    /// of a NameNode that lost the election runs, and is asked again after a pause; or it never will, which its answers
    /// to other calls tell.
    pub(super) fn establish_answer(&mut self, i: usize, result: &Result<Answer, CallError>, now: Micros) {
        let Some(channel) = self.channels.get_mut(i) else {
            return;
        };
        let pause = channel.backoff;
        channel.unpromised = None;
        match (result, channel.progress) {
            (Ok(_), SegmentProgress::Behind { .. }) => channel.progress = SegmentProgress::Behind { retry_at: now },
            (Ok(_), _) => {}
            (Err(CallError::Remote(exception)), _) if is_lease_held(exception) => {
                channel.unpromised = Some(now + pause);
                self.out_of_sync(i, now);
            }
            (Err(_), _) => self.out_of_sync(i, now),
        }
    }

    /// Start of the open segment, if that segment should end now for the sake of a JournalNode. There are three cases:
    /// the edits that it missed are not in memory any more; it is a Java JournalNode, which can't take part in a
    /// segment a second time; or an election left it behind, and it takes part again in a higher epoch
    /// ([`super::reelection`]).
    #[must_use]
    pub fn wants_new_segment(&self, now: Micros) -> Option<TxId> {
        if self.phase != Phase::Ready {
            return None;
        }
        let target = self.targets.back()?;
        let opened = target.deadline.saturating_sub(self.config.timeouts.start_segment);
        if target.end.is_some() || !target.started_reported || now < opened + MIN_SEGMENT_AGE {
            return None;
        }
        let waits = |channel: &Channel| {
            let for_this = channel.segment == Some(target.start) && !channel.refused && !channel.fenced;
            let stuck = match channel.progress {
                SegmentProgress::GivenUp => true,
                SegmentProgress::Behind { .. } => channel.ours != Some(true),
                SegmentProgress::Fresh | SegmentProgress::Current | SegmentProgress::Finalized => false,
            };
            for_this && stuck && channel.last_success > channel.lost_at
        };
        let waiting = self.counting().iter().filter_map(|i| self.channels.get(*i)).any(waits);
        (waiting || self.reelection_epoch(now).is_some()).then_some(target.start)
    }
}
