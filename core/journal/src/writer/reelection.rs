//! Re-election of a writer in office, so that a JournalNode that an election has left behind takes part again.
//!
//! Of two candidates that try at once the winner may have the lower epoch: the other one got promises of a minority for
//! a higher epoch before it gave up. Promises are never taken back, so this minority refuses the winner in its epoch
//! for good. The winner therefore goes on in an epoch above all these promises:
//! ```text
//! refused with a higher promise ─► for some seconds ─► getJournalState ─► wants_new_segment ─► finalizeLogSegment*
//!   ─► newEpoch* of those who never refused us ─► Reelected ─► startLogSegment*, of the one left behind too (`established`)
//! ```
//! Nothing has to be recovered between two segments: all edits that were handed in are in segments that a majority has
//! finalized.
//!
//! Invariants
//! * nothing is sent in the new epoch before a majority has promised it, and we never asked for this epoch before;
//! * JournalNodes that refused us have no vote. So a lying minority can neither hinder nor help;
//! * no other NameNode has written in between. Either the lease that we held at the beginning still runs when a
//!   majority has promised, so no majority can have promised anything to another NameNode. Or no JournalNode of this
//!   majority, which never refused us, has a segment after our last one: another writer would have needed the promise
//!   of one of them first. Otherwise we step down;
//! * a re-election begins only while a majority answers, the lease is held and renewed, and no change of membership is
//!   under way;
//! * whatever promises a JournalNode claims, no epoch is more than [`MAX_EPOCH_JUMP`] above ours, and the pauses
//!   between re-elections double up to [`PAUSE_MAX`].

use hathi_formats::ids::{Epoch, TxId};

use super::channel::{BACKOFF_MAX, BACKOFF_MIN, Channel, ChannelCall, SegmentProgress};
use super::{CallError, HEARTBEAT_PERIOD, Phase, QuorumWriter, Turn, Vote, WriterAction};
use crate::acceptor::MAX_EPOCH_JUMP;
use crate::errors::is_outrun;
use crate::messages::{Answer, Micros, Request};
use crate::mutant::Mutant;

/// A majority must have answered a request that was sent within this time. Each JournalNode is asked once a second at
/// least.
const ANSWERED_WITHIN: Micros = 2 * HEARTBEAT_PERIOD;
/// Longest pause between the beginnings of two re-elections. Each costs a short segment and some milliseconds in which
/// edits wait. A JournalNode that promises higher and higher epochs causes no more than one per pause.
const PAUSE_MAX: Micros = 600_000_000;

/// A re-election under way.
#[derive(Clone, Debug)]
struct Reelection {
    /// Epoch in which it began.
    before: Epoch,
    /// End of the lease at that time. Leases that were granted later do not prove that there was no gap.
    lease_until: Micros,
    /// Our last segment, which is finalized.
    last_segment: TxId,
    /// No majority can be had in this epoch any more. The next epoch is asked for at this moment.
    retry_at: Option<Micros>,
}

/// The re-elections of a writer.
#[derive(Clone, Debug, Default)]
pub(super) struct Reelections {
    under_way: Option<Reelection>,
    /// When the last one began, and how long no other may begin after it.
    last: Option<(Micros, Micros)>,
}

impl Reelections {
    pub(super) fn retry_at(&self) -> Option<Micros> {
        self.under_way.as_ref()?.retry_at
    }

    /// Earliest begin of the next re-election.
    fn not_before(&self) -> Micros {
        self.last.map_or(0, |(began, pause)| began + pause)
    }

    fn begin(&mut self, under_way: Reelection, first_pause: Micros, now: Micros) {
        self.under_way = Some(under_way);
        // After a long quiet time the pauses begin at their shortest again.
        let lately = self.last.filter(|(began, _)| now < began + 2 * PAUSE_MAX);
        let pause = lately.map_or(first_pause, |(_, pause)| (2 * pause).min(PAUSE_MAX));
        self.last = Some((now, pause));
    }
}

impl QuorumWriter {
    /// Whether a majority is being asked for another epoch. Nothing else is sent meanwhile.
    pub(super) fn is_reelecting(&self) -> bool {
        self.reelections.under_way.is_some()
    }

    // ---- who was left behind

    /// When a JournalNode that refuses our epoch should be asked for its promise.
    pub(super) fn ask_promise_due(&self, channel: &Channel) -> Option<Micros> {
        let due = channel
            .ask_promise_at
            .max(channel.fenced_at + self.config.timeouts.reelect_after);
        let asked = channel.fenced && !channel.gone && !self.mutated(Mutant::LeaveBehind);
        asked.then(|| due.max(self.reelections.not_before()))
    }

    pub(super) fn ask_promise_op(&mut self, i: usize, now: Micros) -> Option<(ChannelCall, Request)> {
        let channel = self.channels.get(i)?;
        let due = self.ask_promise_due(channel).is_some_and(|at| at <= now);
        if !due || !channel.is_idle() {
            return None;
        }
        self.channels.get_mut(i)?.ask_promise_at = now + self.config.timeouts.reelect_after;
        self.recovery_request(i, ChannelCall::AskPromise)
    }

    pub(super) fn promise_answer(&mut self, i: usize, result: &Result<Answer, CallError>, turn: &mut Turn<'_>) {
        let epoch = self.epoch;
        let Some(channel) = self.channels.get_mut(i).filter(|channel| channel.fenced) else {
            return;
        };
        channel.left_behind = None;
        let Ok(Answer::JournalState { promised_epoch, .. }) = result else {
            return;
        };
        if *promised_epoch <= epoch {
            // The JournalNode has another directory now, or we were re-elected meanwhile.
            channel.let_in(turn.now);
        } else if promised_epoch.0 - epoch.0 < MAX_EPOCH_JUMP {
            channel.left_behind = Some(*promised_epoch);
        } else {
            let why = format!("it has promised epoch {promised_epoch}, and the writer's is {epoch}");
            self.distrust(i, why, turn);
        }
    }

    /// The epoch in which all JournalNodes could take part, if one was left behind and a re-election may begin now.
    pub(super) fn reelection_epoch(&self, now: Micros) -> Option<Epoch> {
        let counting = self.counting().iter().filter_map(|i| self.channels.get(*i));
        let promised = counting.filter_map(|channel| channel.left_behind).max()?;
        if self.phase != Phase::Ready || self.is_reelecting() || self.is_changing() {
            return None;
        }
        let leased = self.lease_until > now || !self.lease_supported();
        if !leased || !self.renews_lease() || now < self.reelections.not_before() {
            return None;
        }
        let answers = |channel: &Channel| !channel.fenced && channel.last_success + ANSWERED_WITHIN > now;
        if !self.is_quorum(|i| self.channels.get(i).is_some_and(answers)) {
            return None;
        }
        let epoch = promised.max(self.epoch).0.checked_add(1)?;
        (epoch - self.epoch.0 <= MAX_EPOCH_JUMP).then_some(Epoch(epoch))
    }

    // ---- the election

    /// Begins a wanted re-election, at the moment between two segments: the last one is finalized, the next one not
    /// opened.
    pub(super) fn begin_reelection(&mut self, now: Micros) {
        let before = self.targets.iter().rev().nth(1);
        let last_segment = before
            .filter(|target| target.finalized_reported)
            .map(|target| target.start);
        if let (Some(epoch), Some(last_segment)) = (self.reelection_epoch(now), last_segment) {
            let under_way = Reelection {
                before: self.epoch,
                lease_until: self.lease_until,
                last_segment,
                retry_at: None,
            };
            self.reelections
                .begin(under_way, self.config.timeouts.reelect_after, now);
            self.ask_for_epoch(epoch);
        }
    }

    fn ask_for_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.round += 1;
        self.votes.fill(None);
        for channel in self.channels.iter_mut().filter(|channel| !channel.gone) {
            channel.unpromised = None;
            // An older segment can be neither written nor finalized in another epoch. Peers of the JournalNode have it.
            if channel.progress != SegmentProgress::Finalized {
                channel.progress = SegmentProgress::GivenUp;
            }
            let of_before =
                |op: &ChannelCall| matches!(op, ChannelCall::NewEpoch { .. } | ChannelCall::FinalizeRecovered { .. });
            channel.waiting.retain(|op| !of_before(op));
        }
        for i in self.counting().to_vec() {
            if let Some(channel) = self.channels.get_mut(i).filter(|channel| !channel.fenced) {
                channel.waiting.insert(0, ChannelCall::NewEpoch { epoch });
            }
        }
    }

    /// The call that a channel may send during a re-election.
    pub(super) fn vote_op(&mut self, i: usize) -> Option<(ChannelCall, Request)> {
        let channel = self.channels.get_mut(i)?;
        let asks = matches!(channel.waiting.first(), Some(ChannelCall::NewEpoch { .. }));
        if !asks || channel.fenced || !channel.is_idle() {
            return None;
        }
        let op = channel.waiting.remove(0);
        self.recovery_request(i, op)
    }

    pub(super) fn reelection_answer(
        &mut self,
        i: usize,
        epoch: Epoch,
        result: &Result<Answer, CallError>,
        turn: &mut Turn<'_>,
    ) {
        if epoch != self.epoch {
            // An answer to an earlier proposal. The next proposal is sent when the channel is free.
            return;
        }
        let Some(under_way) = &self.reelections.under_way else {
            // A late answer: a majority went on without it.
            if let (Ok(_), Some(channel)) = (result, self.channels.get_mut(i)) {
                channel.unpromised = None;
            }
            return;
        };
        let vote = match result {
            Ok(Answer::NewEpoch {
                last_segment,
                membership,
                ..
            }) => {
                let changed = membership.as_ref().is_some_and(|it| it.epoch > under_way.before);
                let written = *last_segment > Some(under_way.last_segment);
                let proven = under_way.lease_until > turn.now || self.mutated(Mutant::IgnoreRival);
                if (changed || written) && !proven {
                    let address = self.addresses().get(i).map_or("", String::as_str);
                    let reason = format!("another writer was at {address} before it promised epoch {epoch}");
                    return self.die(WriterAction::Fenced { reason }, turn);
                }
                Vote::Promised(*last_segment)
            }
            Ok(_) => Vote::Failed(CallError::Broken("an answer to something else".to_owned())),
            Err(error) => {
                if let (CallError::Remote(exception), Some(channel)) = (error, self.channels.get_mut(i))
                    && is_outrun(exception)
                {
                    channel.fence(turn.now);
                }
                Vote::Failed(error.clone())
            }
        };
        if let Some(slot) = self.votes.get_mut(i) {
            *slot = Some(vote);
        }
        self.count_promises(turn);
    }

    fn has_promised(&self, i: usize) -> bool {
        matches!(self.votes.get(i), Some(Some(Vote::Promised(_))))
    }

    fn count_promises(&mut self, turn: &mut Turn<'_>) {
        let less = usize::from(self.mutated(Mutant::EpochFromMinority));
        if self.is_quorum_less(less, |i| self.has_promised(i)) {
            return self.resume_writing(turn);
        }
        let failed = |i: usize| matches!(self.votes.get(i), Some(Some(Vote::Failed(_))));
        let fenced = |i: usize| self.channels.get(i).is_none_or(|channel| channel.fenced);
        let lost = !self.is_quorum(|i| !failed(i) && !fenced(i));
        if let Some(under_way) = self.reelections.under_way.as_mut().filter(|_| lost) {
            under_way.retry_at.get_or_insert(turn.now + BACKOFF_MAX);
        }
    }

    /// Asks again, in a new epoch: JournalNodes that could not be asked may answer now, and what was sent in vain must
    /// not count. The time limit of the segment that waits to be opened ends this.
    pub(super) fn retry_reelection(&mut self, turn: &mut Turn<'_>) {
        let Some(under_way) = self.reelections.under_way.as_mut() else {
            return;
        };
        if under_way.retry_at.is_none_or(|at| at > turn.now) {
            return;
        }
        under_way.retry_at = None;
        match self.epoch.0.checked_add(1) {
            Some(epoch) => self.ask_for_epoch(Epoch(epoch)),
            None => self.lose_quorum("there is no higher epoch".to_owned(), turn),
        }
    }

    /// A majority has promised. All others are told so, and the segment that waits is opened.
    fn resume_writing(&mut self, turn: &mut Turn<'_>) {
        self.reelections.under_way = None;
        for i in 0..self.channels.len() {
            let promised = self.has_promised(i);
            let Some(channel) = self.channels.get_mut(i).filter(|channel| !channel.gone) else {
                continue;
            };
            channel.waiting.retain(|op| !matches!(op, ChannelCall::NewEpoch { .. }));
            channel.backoff = BACKOFF_MIN;
            if !promised {
                channel.let_in(turn.now);
            }
        }
        self.spread_in_own_epoch();
        turn.out.push(WriterAction::Reelected { epoch: self.epoch });
    }

    /// Asserts the invariants that hold between calls.
    pub(super) fn check_reelection(&self) {
        let Some(under_way) = &self.reelections.under_way else {
            return;
        };
        assert!(under_way.before < self.epoch, "an epoch that was ours before");
        let waits = self.targets.back();
        assert!(
            waits.is_some_and(|target| !target.started_reported && target.start > under_way.last_segment),
            "a segment is open in two epochs"
        );
        let asked = |op: &ChannelCall| matches!(op, ChannelCall::Start { .. } | ChannelCall::Establish);
        let channels = self.channels.iter().flat_map(|channel| channel.in_flight.values());
        for call in channels.filter(|call| call.round == self.round) {
            assert!(
                !asked(&call.op),
                "something is said in an epoch that no majority has promised"
            );
        }
    }
}
