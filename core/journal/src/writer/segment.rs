//! Writing segments. Every channel goes through the segments at its own pace.

use bytes::Bytes;
use hathi_formats::ids::TxId;

use super::channel::{BACKOFF_MIN, ChannelCall, SegmentProgress};
use super::{
    CallError, MAX_TARGETS, MERGE_LIMIT_BYTES, Phase, QuorumWriter, Target, Turn, WriterAction, is_unknown_protocol,
};
use crate::errors::is_lease_held;
use crate::messages::{Answer, Micros, Request};
use crate::mutant::Mutant;

impl QuorumWriter {
    /// Opens a segment; the one before must be finalized. This ends with `SegmentStarted`.
    pub fn start_segment(&mut self, txid: TxId, now: Micros, out: &mut Vec<WriterAction>) {
        let turn = &mut Turn { now, out };
        if self.phase != Phase::Ready {
            return;
        }
        debug_assert!(self.targets.back().is_none_or(|target| target.finalized_reported));
        let n = self.channels.len();
        self.targets.push_back(Target {
            start: txid,
            end: None,
            started: vec![false; n],
            finalized: vec![false; n],
            failures: vec![None; n],
            started_reported: false,
            finalized_reported: false,
            deadline: turn.now + self.config.timeouts.start_segment,
        });
        if self.targets.len() > MAX_TARGETS {
            self.targets.pop_front();
        }
        self.next = txid;
        self.begin_reelection(turn.now);
        self.pump_all(turn);
    }

    /// Sends `count` framed ops, the first of which follows the last one that was handed in. This ends with `Synced`;
    /// one `Synced` may stand for several calls.
    pub fn journal(&mut self, first: TxId, count: u32, records: Bytes, now: Micros, out: &mut Vec<WriterAction>) {
        let turn = &mut Turn { now, out };
        if self.phase != Phase::Ready || count == 0 {
            return;
        }
        debug_assert_eq!(first, self.next);
        self.next = TxId(first.0 + u64::from(count));
        self.recent.push(first, count, records, turn.now);
        self.pump_all(turn);
    }

    /// Finalizes the open segment at the last transaction that was handed in. This ends with `SegmentFinalized`.
    pub fn finalize_segment(&mut self, now: Micros, out: &mut Vec<WriterAction>) {
        let turn = &mut Turn { now, out };
        if self.phase != Phase::Ready {
            return;
        }
        let end = TxId(self.next.0.saturating_sub(1));
        let deadline = turn.now + self.config.timeouts.finalize_segment;
        if let Some(target) = self.targets.back_mut() {
            target.end = Some(end);
            target.deadline = deadline;
        }
        self.pump_all(turn);
    }

    fn target_index(&self, start: TxId) -> Option<usize> {
        self.targets.iter().position(|target| target.start == start)
    }

    /// Lets a channel go on to the next segment, if it is done with its segment or can't go on there.
    fn advance(&mut self, i: usize) {
        let Some(channel) = self.channels.get(i) else {
            return;
        };
        let done = match channel.progress {
            SegmentProgress::Finalized | SegmentProgress::GivenUp => true,
            // The edits that it needs of an older segment may still be in memory. A Java JournalNode can't be caught up
            // anyway.
            SegmentProgress::Behind { .. } => channel.ours != Some(true),
            SegmentProgress::Fresh | SegmentProgress::Current => false,
        };
        let next = match channel.segment {
            None => self.targets.back(),
            Some(segment) => {
                let gone = self.target_index(segment).is_none();
                if channel.progress == SegmentProgress::Finalized {
                    self.targets.iter().find(|target| target.start > segment)
                } else if done || gone {
                    self.targets.back().filter(|target| target.start > segment)
                } else {
                    None
                }
            }
        };
        if let Some(start) = next.map(|target| target.start)
            && let Some(channel) = self.channels.get_mut(i)
            && channel.is_idle()
        {
            channel.work_at(start);
        }
    }

    /// The next call of a channel for its segment.
    pub(super) fn segment_op(&mut self, i: usize, now: Micros) -> Option<(ChannelCall, Request)> {
        self.advance(i);
        let channel = self.channels.get(i)?;
        let segment = channel.segment?;
        match channel.progress {
            SegmentProgress::Fresh if channel.is_idle() => Some((
                ChannelCall::Start { segment },
                Request::StartLogSegment {
                    info: self.info(channel),
                    txid: segment,
                    layout_version: Some(self.config.layout_version),
                },
            )),
            SegmentProgress::Current => self.batch_op(i, segment).or_else(|| self.finalize_op(i, segment)),
            SegmentProgress::Behind { retry_at }
                if channel.ours == Some(true) && channel.is_idle() && retry_at <= now =>
            {
                Some((
                    ChannelCall::Resume { segment },
                    Request::ResumeSegment {
                        info: self.info(channel),
                        segment,
                    },
                ))
            }
            SegmentProgress::Fresh
            | SegmentProgress::Behind { .. }
            | SegmentProgress::GivenUp
            | SegmentProgress::Finalized => None,
        }
    }

    /// The last transaction of a segment that was handed in so far; `None` for a segment that is forgotten.
    fn written_end(&self, segment: TxId) -> Option<TxId> {
        let target = self.targets.get(self.target_index(segment)?)?;
        Some(target.end.unwrap_or(TxId(self.next.0.saturating_sub(1))))
    }

    fn batch_op(&mut self, i: usize, segment: TxId) -> Option<(ChannelCall, Request)> {
        let until = self.written_end(segment)?;
        let channel = self.channels.get(i)?;
        if channel.next > until || !channel.has_room_for_batch(self.config.pipeline_depth) {
            return None;
        }
        let Some(part) = self.recent.take(channel.next, until, MERGE_LIMIT_BYTES) else {
            // It is behind the oldest edits in memory (`LoggerTooFarBehindException`).
            self.channels.get_mut(i)?.progress = SegmentProgress::GivenUp;
            return None;
        };
        let info = self.info(channel);
        let last = part.last();
        self.channels.get_mut(i)?.next = last.next();
        Some((
            ChannelCall::Journal { last },
            Request::Journal {
                info,
                segment,
                first: part.first,
                count: part.count,
                records: part.records,
            },
        ))
    }

    fn finalize_op(&mut self, i: usize, segment: TxId) -> Option<(ChannelCall, Request)> {
        let channel = self.channels.get(i)?;
        let target = self.targets.get(self.target_index(segment)?)?;
        let end = target.end?;
        // A finalized copy decides where the segment ends. So the whole segment must be on a majority before the first
        // copy is finalized.
        let committed = self.committed >= Some(end) || self.mutated(Mutant::FinalizeUncommitted);
        if !channel.is_idle() || channel.acked < end || !committed {
            return None;
        }
        let info = self.info(channel);
        let op = ChannelCall::Finalize { start: segment, end };
        Some((
            op,
            Request::FinalizeLogSegment {
                info,
                start: segment,
                end,
            },
        ))
    }

    pub(super) fn start_answer(
        &mut self,
        i: usize,
        segment: TxId,
        result: Result<Answer, CallError>,
        turn: &mut Turn<'_>,
    ) {
        let Some(channel) = self.channels.get_mut(i) else {
            return;
        };
        match result {
            Ok(_) => {
                channel.progress = SegmentProgress::Current;
                channel.refused = false;
                channel.next = segment;
                // The segment was opened empty. What the JournalNode acknowledged of it before is gone.
                channel.acked = TxId(segment.0.saturating_sub(1));
                channel.backoff = BACKOFF_MIN;
                self.note_started(i, segment, turn);
            }
            Err(error @ CallError::Broken(_)) => {
                // The call may have been carried out.
                self.out_of_sync(i, turn.now);
                self.note_failure(i, segment, &error, turn);
            }
            // The lease of the previous writer still runs there. The JournalNode will take the segment when it ends.
            Err(CallError::Remote(exception)) if is_lease_held(&exception) => self.out_of_sync(i, turn.now),
            Err(error @ CallError::Remote(_)) => {
                channel.progress = SegmentProgress::GivenUp;
                channel.refused = true;
                self.note_failure(i, segment, &error, turn);
            }
        }
    }

    fn note_started(&mut self, i: usize, segment: TxId, turn: &mut Turn<'_>) {
        let target = self.targets.iter_mut().find(|target| target.start == segment);
        if let Some(started) = target.and_then(|target| target.started.get_mut(i)) {
            *started = true;
        }
        self.check_targets(turn);
    }

    /// Reports segments that a majority has opened or finalized.
    pub(super) fn check_targets(&mut self, turn: &mut Turn<'_>) {
        for index in 0..self.targets.len() {
            let Some(target) = self.targets.get(index) else {
                return;
            };
            let has = |flags: &[bool], i: usize| flags.get(i).copied().unwrap_or(false);
            let started = !target.started_reported && self.is_quorum(|i| has(&target.started, i));
            let finalized = !target.finalized_reported && self.is_quorum(|i| has(&target.finalized, i));
            let Some(target) = self.targets.get_mut(index) else {
                return;
            };
            if started {
                target.started_reported = true;
                turn.out.push(WriterAction::SegmentStarted { txid: target.start });
            }
            if let (true, Some(end)) = (finalized, target.end) {
                target.finalized_reported = true;
                let start = target.start;
                turn.out.push(WriterAction::SegmentFinalized { start, end });
            }
        }
    }

    /// Counts JournalNodes that can't open or finalize a segment. When no majority is left, waiting for the time limit
    /// is useless.
    fn note_failure(&mut self, i: usize, segment: TxId, error: &CallError, turn: &mut Turn<'_>) {
        let retried = self.channels.get(i).is_some_and(|channel| channel.ours == Some(true));
        let Some(target) = self.targets.iter_mut().find(|target| target.start == segment) else {
            return;
        };
        let (text, definite) = match error {
            CallError::Remote(exception) => (exception.to_string(), true),
            // One of our JournalNodes is tried again until the time limit.
            CallError::Broken(what) => (what.clone(), !retried),
        };
        if !definite {
            return;
        }
        if let Some(failure) = target.failures.get_mut(i) {
            *failure = Some(text);
        }
        let waiting = !target.started_reported || (target.end.is_some() && !target.finalized_reported);
        let Some(target) = self.targets.iter().find(|target| target.start == segment) else {
            return;
        };
        if waiting && !self.is_quorum(|i| target.failures.get(i).is_some_and(Option::is_none)) {
            let reasons: Vec<&str> = target.failures.iter().flatten().map(String::as_str).collect();
            let reason = format!("segment {segment}: {}", reasons.join("; "));
            self.lose_quorum(reason, turn);
        }
    }

    pub(super) fn journal_answer(
        &mut self,
        i: usize,
        last: TxId,
        result: Result<Answer, CallError>,
        turn: &mut Turn<'_>,
    ) {
        match result {
            Ok(_) => {
                if let Some(channel) = self.channels.get_mut(i) {
                    channel.acked = channel.acked.max(last);
                    channel.backoff = BACKOFF_MIN;
                }
                self.advance_commit(turn);
            }
            Err(_) => self.out_of_sync(i, turn.now),
        }
    }

    /// Advances the committed transaction to the highest one that a majority has acknowledged.
    pub(super) fn advance_commit(&mut self, turn: &mut Turn<'_>) {
        let less = usize::from(self.mutated(Mutant::AckAtMinority));
        let committed = self.quorum_value(less, |i| self.channels.get(i).map_or(TxId(0), |channel| channel.acked));
        if committed.0 > 0 && Some(committed) > self.committed && committed < self.next {
            self.committed = Some(committed);
            self.recent.commit(committed);
            turn.out.push(WriterAction::Synced { txid: committed });
        }
    }

    pub(super) fn resume_answer(
        &mut self,
        i: usize,
        segment: TxId,
        result: Result<Answer, CallError>,
        turn: &mut Turn<'_>,
    ) {
        let oldest = self.recent.oldest();
        let end = self
            .target_index(segment)
            .and_then(|index| self.targets.get(index))
            .and_then(|target| target.end);
        let until = self.written_end(segment);
        let Some(channel) = self.channels.get_mut(i) else {
            return;
        };
        if channel.segment != Some(segment) {
            return;
        }
        let Some(until) = until else {
            channel.progress = SegmentProgress::GivenUp;
            return;
        };
        match result {
            Ok(Answer::Resumed { next, .. }) => {
                let here = next > until || oldest.is_some_and(|oldest| oldest <= next);
                if next.0 > until.0 + 1 || next < segment || !here {
                    channel.progress = SegmentProgress::GivenUp;
                    return;
                }
                channel.progress = SegmentProgress::Current;
                channel.next = next;
                channel.acked = TxId(next.0 - 1);
                channel.backoff = BACKOFF_MIN;
                self.note_started(i, segment, turn);
                self.advance_commit(turn);
            }
            Err(CallError::Remote(exception)) if is_unknown_protocol(&exception) => {
                channel.ours = Some(false);
                channel.progress = SegmentProgress::GivenUp;
            }
            Err(CallError::Remote(exception)) if refuses_to_resume(&exception) => {
                let whole = oldest.is_none_or(|oldest| oldest <= segment);
                if let Some(end) = end {
                    // It may have finalized the segment before the connection broke. Asking again is harmless.
                    channel.progress = SegmentProgress::GivenUp;
                    channel
                        .waiting
                        .push(ChannelCall::FinalizeRecovered { start: segment, end });
                } else if whole {
                    channel.work_at(segment);
                } else {
                    channel.progress = SegmentProgress::GivenUp;
                }
            }
            Ok(_) | Err(_) => self.out_of_sync(i, turn.now),
        }
    }

    pub(super) fn finalize_answer(
        &mut self,
        i: usize,
        start: TxId,
        result: Result<Answer, CallError>,
        turn: &mut Turn<'_>,
    ) {
        match result {
            Ok(_) => {
                if let Some(channel) = self.channels.get_mut(i)
                    && channel.segment == Some(start)
                {
                    channel.progress = SegmentProgress::Finalized;
                    channel.backoff = BACKOFF_MIN;
                }
                let target = self.targets.iter_mut().find(|target| target.start == start);
                if let Some(finalized) = target.and_then(|target| target.finalized.get_mut(i)) {
                    *finalized = true;
                }
                self.check_targets(turn);
            }
            Err(error) => {
                self.out_of_sync(i, turn.now);
                self.note_failure(i, start, &error, turn);
            }
        }
    }
}

/// Whether a JournalNode says that it does not have the segment to be resumed, and not that it can't answer now.
fn refuses_to_resume(exception: &hathi_formats::exceptions::RemoteException) -> bool {
    exception.is(hathi_formats::exceptions::JOURNAL_OUT_OF_SYNC)
        || exception.message.contains("is not the current writer epoch")
}
