//! When the open segment should end early, so that a JournalNode that cannot be caught up in it joins with the next one.
//!
//! Hadoop's writer waits for the next roll, minutes later, and a second JournalNode that restarts meanwhile ends the
//! NameNode.

use hathi_formats::ids::TxId;

use super::channel::{Channel, Sync};
use super::{CallError, Phase, QuorumWriter};
use crate::errors::is_lease_held;
use crate::messages::{Answer, Micros};

/// A segment is at least so old before it ends for this: JournalNodes that come and go must not make tiny ones.
const MIN_SEGMENT_AGE: Micros = 2_000_000;

impl QuorumWriter {
    /// A JournalNode that had missed our election has promised. Or it can't yet, as the lease of somebody who lost the
    /// election runs: it is asked again after a pause. Or it never will, which its answers to other calls tell.
    pub(super) fn establish_answer(&mut self, i: usize, result: &Result<Answer, CallError>, now: Micros) {
        let Some(channel) = self.channels.get_mut(i) else {
            return;
        };
        let pause = channel.backoff;
        channel.unpromised = None;
        match (result, channel.sync) {
            (Ok(_), Sync::Behind { .. }) => channel.sync = Sync::Behind { retry_at: now },
            (Ok(_), _) => {}
            (Err(CallError::Remote(exception)), _) if is_lease_held(exception) => {
                channel.unpromised = Some(now + pause);
                self.out_of_sync(i, now);
            }
            (Err(_), _) => self.out_of_sync(i, now),
        }
    }

    /// The first transaction of the open segment, if it should end now: a JournalNode answers again, but what it missed
    /// is not in memory any more, or it is a Java one, which takes no part of a segment a second time; or one was left
    /// behind by an election, and takes part again in a higher epoch ([`super::reelection`]).
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
            let stuck = match channel.sync {
                Sync::GivenUp => true,
                Sync::Behind { .. } => channel.ours != Some(true),
                Sync::Fresh | Sync::Current | Sync::Finalized => false,
            };
            for_this && stuck && channel.last_success > channel.lost_at
        };
        let waiting = self.counting().iter().filter_map(|i| self.channels.get(*i)).any(waits);
        (waiting || self.reelection_epoch(now).is_some()).then_some(target.start)
    }
}
