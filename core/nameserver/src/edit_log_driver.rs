//! The driver of the edit log: it alone drives the quorum writer. It takes the open batch while fewer than
//! [`BATCHES_UNDER_WAY`] batches are at the JournalNodes, so batches grow with the load, and it says when a quorum has what
//! replies show (Hadoop's `FSEditLog.logSync` with `QuorumJournalManager`).
//!
//! The shell carries requests and answers, tells the time, and locks the open log while [`QuorumLog::take`] looks at it.
//!
//! Invariants:
//! - One writer at a time. Answers to calls of an earlier writer change nothing.
//! - A writer that has ended is told of by exactly one of [`LogAction::NotRecovered`] and [`LogAction::Lost`], or by nothing
//!   if the shell ended it.
//! - The read lease ends no later than the writer.

mod messages;
mod shipping;

pub use messages::{JournalCall, JournalToRecover, LogAction, LogError, LogNews, Recovered};
pub use shipping::{BATCHES_UNDER_WAY, Broken, OpenLog, Shipping, Synced};

use hathi_formats::ids::{Epoch, LayoutVersion, TxId};
use hathi_journal::lease::LeaseProof;
use hathi_journal::mutant::Mutation;
use hathi_journal::writer::{
    CallError, Learner, MemberChange, QuorumWriter, WriterAction, WriterConfig, WriterTimeouts,
};
use hathi_journal::{Answer, Lag, Micros, Request};
use hathi_namesystem::Life;
use hathi_namesystem::edit_log::LogItem;
use std::sync::Arc;

/// What stays the same for all attempts of a process to be the writer.
#[derive(Clone, Debug)]
pub struct QuorumLogConfig {
    /// Name of this process at the JournalNodes: `<namenode id>@<uuid>`.
    pub holder: Arc<str>,
    /// The secret by which JournalNodes know this process.
    pub proof: LeaseProof,
    /// Length of the read lease in milliseconds; 0 asks for none.
    pub lease_ms: u32,
    /// Name of the journal.
    pub journal_id: String,
    /// Time limits of calls.
    pub timeouts: WriterTimeouts,
    /// Bytes of edits that are kept to catch JournalNodes up.
    pub recent_limit_bytes: usize,
    /// For the simulator: a planted bug.
    pub mutation: Mutation,
}

/// See the module. `W` stands for somebody who waits for a transaction.
#[derive(Debug)]
pub struct QuorumLog<W> {
    config: QuorumLogConfig,
    writer: Option<QuorumWriter>,
    attempt: u64,
    /// Whether the attempt is still a recovery.
    recovering: bool,
    shipping: Shipping<W>,
    /// The segment that was ended early, so that a JournalNode can take part again.
    ended_early: Option<TxId>,
    /// The highest epoch that a writer of this process has asked for.
    asked_before: Epoch,
    /// The JournalNodes of the last writer, whose last messages may be on their way.
    last_addresses: Vec<String>,
}

type Actions<W> = Vec<LogAction<W>>;

impl<W> QuorumLog<W> {
    /// A driver that is not the writer yet.
    #[must_use]
    pub fn new(config: QuorumLogConfig) -> Self {
        QuorumLog {
            config,
            writer: None,
            attempt: 0,
            recovering: false,
            shipping: Shipping::gathering(),
            ended_early: None,
            asked_before: Epoch(0),
            last_addresses: Vec::new(),
        }
    }

    /// Becomes the writer: gets an epoch and recovers the journal.
    pub fn recover(&mut self, journal: JournalToRecover, now: Micros, out: &mut Actions<W>) {
        self.stop(out);
        let config = self.config.clone();
        let mut writer = QuorumWriter::new(WriterConfig {
            layout_version: LayoutVersion::NAMENODE_CURRENT,
            ns_info: journal.info,
            holder: config.holder,
            proof: config.proof,
            asked_before: self.asked_before,
            lease_ms: config.lease_ms,
            members: journal.members,
            membership: journal.membership,
            journal_id: config.journal_id,
            timeouts: config.timeouts,
            recent_limit_bytes: config.recent_limit_bytes,
            pipeline_depth: BATCHES_UNDER_WAY,
            mutation: config.mutation,
        });
        let mut actions = Vec::new();
        writer.recover(now, &mut actions);
        self.writer = Some(writer);
        self.recovering = true;
        self.follow(actions, now, out);
    }

    /// The log was opened in this life. Its edits are sent from now on. Nothing happens if this NameNode has ceased to be the
    /// writer meanwhile: whoever waits for a transaction of this life is dropped then.
    pub fn ship(&mut self, life: Life) {
        if self.writer.is_some() && !self.recovering {
            self.shipping.begin(life);
        }
    }

    /// Stops being the writer, and gives the read lease back.
    pub fn resign(&mut self, out: &mut Actions<W>) {
        let epoch = self.writer.as_ref().map(QuorumWriter::epoch);
        self.stop(out);
        if let Some(epoch) = epoch {
            out.push(LogAction::ReleaseLease(Request::ReleaseLease {
                holder: self.config.holder.clone(),
                proof: self.config.proof,
                up_to: Some(epoch),
            }));
        }
    }

    fn stop(&mut self, out: &mut Actions<W>) {
        if let Some(writer) = self.writer.take() {
            self.asked_before = self.asked_before.max(writer.epoch());
            self.last_addresses = writer.addresses().to_vec();
        }
        self.attempt += 1;
        self.recovering = false;
        self.shipping = Shipping::gathering();
        out.push(LogAction::AbandonCopies);
        self.debug_check();
    }

    fn lose(&mut self, error: LogError, out: &mut Actions<W>) {
        let recovering = self.recovering;
        self.stop(out);
        out.push(if recovering {
            LogAction::NotRecovered(error)
        } else {
            LogAction::Lost(error)
        });
    }

    /// Deletes segments that end before this transaction, on all JournalNodes and in the copies.
    pub fn purge(&mut self, min_to_keep: TxId, now: Micros, out: &mut Actions<W>) {
        self.drive(now, out, |writer, actions| {
            writer.purge_logs_older_than(min_to_keep, now, actions);
        });
        out.push(LogAction::PurgeCopies(min_to_keep));
    }

    /// Gives `who` back when this transaction is synced, at once if it is. It is dropped if this NameNode is not the writer,
    /// or ceases to be.
    pub fn await_synced(&mut self, txid: TxId, who: W, out: &mut Actions<W>) {
        let mut reached = Vec::new();
        self.shipping.await_synced(txid, who, &mut reached);
        out.extend(reached.into_iter().map(LogAction::Reached));
    }

    /// The same for the segment that ends with this transaction, when it is finalized.
    pub fn await_finalized(&mut self, last: TxId, who: W, out: &mut Actions<W>) {
        let mut reached = Vec::new();
        self.shipping.await_finalized(last, who, &mut reached);
        out.extend(reached.into_iter().map(LogAction::Reached));
    }

    /// Whether [`QuorumLog::take`] may take something, so that it is worth while to lock the open log.
    #[must_use]
    pub fn may_take(&self) -> bool {
        self.shipping.may_take()
    }

    /// Takes the open batch, if it is to leave now. [`QuorumLog::hand_over`] comes next, without the lock.
    pub fn take(&mut self, log: &mut impl OpenLog, now: Micros, out: &mut Actions<W>) {
        if let Err(Broken) = self.shipping.take(log, now) {
            self.lose(LogError::Broken, out);
        }
    }

    /// Hands to the writer what was taken. A new segment waits until the last one is finalized.
    pub fn hand_over(&mut self, now: Micros, out: &mut Actions<W>) {
        let mut actions = Vec::new();
        while let Some(writer) = &mut self.writer
            && let Some(item) = self.shipping.next(now)
        {
            match &item {
                LogItem::StartSegment(txid) => writer.start_segment(*txid, now, &mut actions),
                LogItem::Edits {
                    first, count, bytes, ..
                } => writer.journal(*first, *count, bytes.clone(), now, &mut actions),
                LogItem::FinalizeSegment { .. } => writer.finalize_segment(now, &mut actions),
            }
            out.push(LogAction::Copy(item));
        }
        self.follow(actions, now, out);
    }

    /// Time has passed: [`QuorumLog::wake_at`].
    pub fn tick(&mut self, now: Micros, out: &mut Actions<W>) {
        self.drive(now, out, |writer, actions| writer.tick(now, actions));
        self.end_segment_early(now, out);
    }

    /// When [`QuorumLog::tick`] and then [`QuorumLog::take`] have to be called if nothing happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Micros> {
        let writer = self.writer.as_ref().and_then(QuorumWriter::wake_at);
        writer.into_iter().chain(self.shipping.wake_at()).min()
    }

    /// Takes the answer to a call, or the reason why there is none.
    pub fn answer(&mut self, call: JournalCall, result: Result<Answer, CallError>, now: Micros, out: &mut Actions<W>) {
        if call.attempt != self.attempt {
            return;
        }
        self.drive(now, out, |writer, actions| {
            writer.answer(call.journalnode, call.call, result, now, actions);
        });
        self.end_segment_early(now, out);
    }

    /// Ends the segment for a JournalNode that can't be caught up in it. The JournalNode takes part in the next one.
    fn end_segment_early(&mut self, now: Micros, out: &mut Actions<W>) {
        let writer = self.writer.as_ref();
        let wanted = writer.and_then(|writer| writer.wants_new_segment(now));
        if wanted.is_none() || wanted == self.ended_early || !self.shipping.is_on() || self.shipping.is_finalizing() {
            return;
        }
        self.ended_early = wanted;
        out.push(LogAction::RollEditLog);
    }

    fn drive(
        &mut self,
        now: Micros,
        out: &mut Actions<W>,
        act: impl FnOnce(&mut QuorumWriter, &mut Vec<WriterAction>),
    ) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let mut actions = Vec::new();
        act(writer, &mut actions);
        self.follow(actions, now, out);
    }

    /// What follows from what the writer wants. After the end of the writer nothing does.
    fn follow(&mut self, actions: Vec<WriterAction>, now: Micros, out: &mut Actions<W>) {
        let attempt = self.attempt;
        for action in actions {
            if self.attempt != attempt {
                return;
            }
            self.on_writer(action, now, out);
        }
        self.debug_check();
    }

    fn on_writer(&mut self, action: WriterAction, now: Micros, out: &mut Actions<W>) {
        match action {
            WriterAction::Send {
                journalnode,
                call,
                request,
                timeout,
            } => {
                let call = JournalCall {
                    attempt: self.attempt,
                    journalnode,
                    call,
                    batch_sent: matches!(request, Request::Journal { .. }).then_some(now),
                };
                out.push(LogAction::Send { call, request, timeout });
            }
            WriterAction::Recovered { epoch, last_segment } => self.on_recovered(epoch, last_segment, out),
            WriterAction::SegmentStarted { txid } => out.push(LogAction::Tell(LogNews::SegmentStarted(txid))),
            WriterAction::Synced { txid } => self.on_synced(txid, now, out),
            WriterAction::SegmentFinalized { start, end } => {
                out.push(LogAction::Tell(LogNews::SegmentFinalized(start, end)));
                let mut reached = Vec::new();
                self.shipping.on_finalized(end, &mut reached);
                out.extend(reached.into_iter().map(LogAction::Reached));
            }
            WriterAction::MembershipChanged { membership } => {
                out.push(LogAction::Learn(membership.clone()));
                out.push(LogAction::MembershipChanged(membership));
            }
            WriterAction::Distrusted { journalnode, why } => {
                let address = self.addresses().get(journalnode).cloned().unwrap_or_default();
                out.push(LogAction::Distrust { address, why });
            }
            WriterAction::Reelected { epoch } => out.push(LogAction::Tell(LogNews::Reelected(epoch))),
            WriterAction::Fenced { reason } | WriterAction::LostQuorum { reason } => {
                self.lose(LogError::Lost(reason), out);
            }
            WriterAction::LeaseHeld { .. } => self.lose(LogError::LeaseHeld, out),
        }
    }

    fn on_recovered(&mut self, epoch: Epoch, last_segment: Option<(TxId, TxId)>, out: &mut Actions<W>) {
        debug_assert!(self.recovering, "a recovery ends once");
        self.recovering = false;
        let Some(writer) = &self.writer else { return };
        if let Some(found) = writer.membership() {
            out.push(LogAction::Learn(found.clone()));
        }
        if !writer.lease_supported() {
            out.push(LogAction::Tell(LogNews::NoLeases));
        }
        out.push(LogAction::Recovered(Recovered {
            epoch,
            last: last_segment.map(|(_, last)| last),
        }));
    }

    fn on_synced(&mut self, txid: TxId, now: Micros, out: &mut Actions<W>) {
        let mut reached = Vec::new();
        match self.shipping.on_synced(txid, now, &mut reached) {
            Ok(synced) => {
                out.extend(reached.into_iter().map(LogAction::Reached));
                out.push(LogAction::Synced(synced));
            }
            Err(error) => self.lose(LogError::Lost(error.to_string()), out),
        }
    }

    /// Asserts the invariants that hold between calls.
    pub fn check(&self) {
        self.shipping.check();
        assert!(!self.recovering || self.writer.is_some(), "who recovers is a writer");
        assert!(
            !self.shipping.is_on() || (self.writer.is_some() && !self.recovering),
            "only a writer in office sends edits"
        );
        assert!(
            self.writer.as_ref().is_none_or(|writer| !writer.is_dead()),
            "a writer that has ended is no writer"
        );
        assert!(
            self.writer.is_some() || self.may_read_until() == 0,
            "the read lease ends no later than the writer"
        );
    }

    fn debug_check(&self) {
        if cfg!(debug_assertions) {
            self.check();
        }
    }

    /// Until when reads may be answered from memory; see [`QuorumWriter::may_read_until`]. It is to be looked at after
    /// every call of this driver, before the actions are performed.
    #[must_use]
    pub fn may_read_until(&self) -> Micros {
        self.writer.as_ref().map_or(0, QuorumWriter::may_read_until)
    }

    /// Whether the lease is renewed; `None` if this NameNode is not the writer.
    #[must_use]
    pub fn renews_lease(&self) -> Option<bool> {
        self.writer.as_ref().map(QuorumWriter::renews_lease)
    }

    /// Says whether the lease is to be renewed: only while calls are served.
    pub fn renew_lease(&mut self, serving: bool) {
        if let Some(writer) = &mut self.writer {
            writer.renew_lease(serving);
        }
    }

    /// Number of the attempt to be the writer.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// `host:port` of the JournalNodes, by the index in [`JournalCall`]. It only grows within one attempt. A writer that was
    /// refused gives leases back when it has ended, so its JournalNodes are known until the next attempt.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        let writer = self.writer.as_ref();
        writer.map_or(&self.last_addresses, QuorumWriter::addresses)
    }

    /// State of each JournalNode for metrics; empty if this NameNode is not the writer.
    #[must_use]
    pub fn lags(&self, now: Micros) -> Vec<Lag> {
        self.writer.as_ref().map(|writer| writer.lags(now)).unwrap_or_default()
    }

    /// State of a JournalNode that is being added.
    #[must_use]
    pub fn learner(&self) -> Learner {
        self.writer.as_ref().map_or(Learner::None, QuorumWriter::learner)
    }

    /// Gives a JournalNode up that was being added.
    pub fn drop_learner(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.drop_learner();
        }
    }

    /// Begins to catch a new JournalNode up. `None` if this NameNode is not the writer.
    pub fn add_learner(&mut self, address: &str, now: Micros, out: &mut Actions<W>) -> Option<Result<(), String>> {
        self.change_members(now, out, |writer, actions| writer.add_learner(address, now, actions))
    }

    /// Makes the new JournalNode a member, or removes a member. [`LogAction::MembershipChanged`] tells when that is done.
    /// `None` if this NameNode is not the writer.
    pub fn change(&mut self, change: &MemberChange, now: Micros, out: &mut Actions<W>) -> Option<Result<(), String>> {
        self.change_members(now, out, |writer, actions| writer.change(change, now, actions))
    }

    fn change_members(
        &mut self,
        now: Micros,
        out: &mut Actions<W>,
        act: impl FnOnce(&mut QuorumWriter, &mut Vec<WriterAction>) -> Result<(), String>,
    ) -> Option<Result<(), String>> {
        let mut actions = Vec::new();
        let begun = act(self.writer.as_mut()?, &mut actions);
        self.follow(actions, now, out);
        Some(begun)
    }
}

#[cfg(test)]
mod tests;
