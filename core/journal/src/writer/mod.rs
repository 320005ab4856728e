//! The NameNode's quorum writer (`qjournal.client.QuorumJournalManager`, `AsyncLoggerSet`, `IPCLoggerChannel`).
//!
//! ```text
//! recover ─► getJournalState* ─► newEpoch* ─► prepareRecovery* ─► choose ─► acceptRecovery* ─► finalizeLogSegment* ─► Recovered
//!                                     (no segment with a transaction ──────────────────────────────────────────────┘)
//! start_segment ─► startLogSegment* ─► SegmentStarted     journal ─► journal* ─► Synced     finalize_segment ─► SegmentFinalized
//!                                                                                   * = of a majority
//! ```
//! When a JournalNode was left behind by an election, there is a `newEpoch*` before the `startLogSegment*` ([`reelection`]).
//!
//! Calls in, [`WriterAction`]s out, time as an argument. A shell sends the requests and brings the answers.
//!
//! Every JournalNode has a channel that works its own way through the segments: opens, receives batches, finalizes.
//! Batches wait once, for all channels, in a bounded buffer that also keeps recent committed ones. Ours get several
//! batches at a time (one connection keeps their order); a Java JournalNode one at a time, because several of its
//! handlers could take two in either order; what waits meanwhile merges. One that missed something is caught up
//! from the buffer after `resumeSegment`, or, if it can't be, waits for the next segment as in Hadoop.
//!
//! Invariants
//! * a transaction is `Synced` when a majority acknowledged it after a sync, and everything before it;
//! * nothing is written before the last segment of the previous writer is recovered on a majority;
//! * what one JournalNode says alone can't stop a recovery as long as a majority of the others answers ([`recovery`]);
//! * `committed` never goes back and is told to JournalNodes with every request;
//! * a lease is held until the majority-th largest of (sending time + granted, less the drift);
//! * after `Fenced`, `LostQuorum` or `LeaseHeld` nothing more is said;
//! * what was not synced is never dropped, what was is bounded by `recent_limit_bytes`.

use std::collections::VecDeque;
use std::sync::Arc;

use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Epoch, LayoutVersion, NamespaceInfo, TxId};

use crate::errors::{is_fenced, is_lease_held, is_not_promised};
use crate::lease::{DRIFT_PERCENT, LeaseHold, LeaseProof};
use crate::membership::Membership;
use crate::messages::{Answer, LeaseRequest, Micros, PrepareRecoveryAnswer, Request, RequestInfo};
use crate::mutant::{Mutant, Mutation};

mod channel;
mod check;
mod members;
mod recent;
mod recovery;
mod reelection;
mod rejoin;
mod segment;

#[cfg(test)]
mod tests;

use channel::{Channel, InFlight, Op, Sync};
use members::Members;
pub use members::{Change, Learner};
use recent::RecentEdits;
use reelection::Reelections;

/// Most bytes of merged batches in one journal call (`FSEditLog`'s output buffer; the RPC limit is far above).
const MERGE_LIMIT_BYTES: usize = 512 << 10;
/// How soon after a commit an idle JournalNode learns of it, for the standbys that read there.
const COMMIT_DELAY: Micros = 5_000;
/// The same after a recovery, for which somebody waits.
const RECOVERED_DELAY: Micros = 500;
/// How often an idle JournalNode is asked for anything when no lease is.
const HEARTBEAT_PERIOD: Micros = 1_000_000;
/// Requests with a lease are sent this many times per lease.
const LEASE_RENEWALS: Micros = 4;
/// Pause before `newEpoch` is tried again when a JournalNode did not say how long a lease runs.
const LEASE_RETRY: Micros = 50_000;
/// How many segments a slow JournalNode may be behind before it skips to the newest.
const MAX_TARGETS: usize = 4;

/// How a writer works.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// The namespace.
    pub ns_info: NamespaceInfo,
    /// `<namenode id>@<instance id>`, for the lease.
    pub holder: Arc<str>,
    /// What proves to the JournalNodes that a call is the holder's.
    pub proof: LeaseProof,
    /// The highest epoch this holder has asked for before. It asks for none twice: what an earlier attempt of its has
    /// sent, and comes late, must not count for a later one.
    pub asked_before: Epoch,
    /// Length of the read lease in milliseconds; 0 = none asked for.
    pub lease_ms: u32,
    /// Of the edit log written.
    pub layout_version: LayoutVersion,
    /// The configured JournalNodes (`dfs.namenode.shared.edits.dir`), as `host:port`.
    pub members: Vec<String>,
    /// The newest membership this NameNode knows; then that one counts.
    pub membership: Option<Membership>,
    /// The journal id.
    pub journal_id: String,
    /// Time limits.
    pub timeouts: WriterTimeouts,
    /// Edits kept in memory to catch JournalNodes up with, in bytes; those not synced yet come on top.
    pub recent_limit_bytes: usize,
    /// Journal calls under way to one of our JournalNodes.
    pub pipeline_depth: usize,
    /// For the simulator: a planted bug.
    pub mutation: Mutation,
}

/// Time limits, in microseconds.
#[derive(Clone, Debug)]
pub struct WriterTimeouts {
    /// `dfs.qjournal.start-segment.timeout.ms`
    pub start_segment: Micros,
    /// `dfs.qjournal.prepare-recovery.timeout.ms`
    pub prepare_recovery: Micros,
    /// `dfs.qjournal.accept-recovery.timeout.ms`
    pub accept_recovery: Micros,
    /// `dfs.qjournal.finalize-segment.timeout.ms`
    pub finalize_segment: Micros,
    /// `dfs.qjournal.get-journal-state.timeout.ms`
    pub get_journal_state: Micros,
    /// `dfs.qjournal.new-epoch.timeout.ms`
    pub new_epoch: Micros,
    /// `dfs.qjournal.write-txns.timeout.ms`: also how long a batch may wait for a majority, and how long no majority
    /// may have answered anything, before the quorum counts as lost.
    pub write_txns: Micros,
    /// How long a JournalNode must have refused the writer in office for a higher promise before it is elected anew, and
    /// how long the first pause after that is. Some seconds, as long as the longest lease: a rival that is about to win has
    /// won by then, and a majority tells; one that lost has given up.
    pub reelect_after: Micros,
}

impl Default for WriterTimeouts {
    /// Hadoop's defaults.
    fn default() -> Self {
        WriterTimeouts {
            start_segment: 20_000_000,
            prepare_recovery: 120_000_000,
            accept_recovery: 120_000_000,
            finalize_segment: 120_000_000,
            get_journal_state: 120_000_000,
            new_epoch: 120_000_000,
            write_txns: 20_000_000,
            reelect_after: 2_000_000,
        }
    }
}

/// Names a call, for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The JournalNode refused.
    Remote(RemoteException),
    /// Connection refused, broken, timed out: whether it was done is unknown.
    Broken(String),
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriterAction {
    /// Send a request. All calls to one JournalNode leave in this order on one connection; when that breaks, all
    /// that are under way are answered with [`CallError::Broken`] before the next one is sent.
    Send {
        /// Index of the JournalNode among [`QuorumWriter::addresses`], which only grow.
        journalnode: usize,
        /// For the answer.
        call: CallId,
        /// What to send.
        request: Request,
        /// After so long answer it with [`CallError::Broken`] (and break the connection).
        timeout: Micros,
    },
    /// The log is recovered: all that was acknowledged by earlier writers is in final segments.
    Recovered {
        /// Our epoch.
        epoch: Epoch,
        /// First and last transaction of the segment that was recovered; absent when there was none with a
        /// transaction. The end of the log is what readers find.
        last_segment: Option<(TxId, TxId)>,
    },
    /// A majority opened the segment.
    SegmentStarted {
        /// Its first transaction.
        txid: TxId,
    },
    /// All edits up to here are on a majority.
    Synced {
        /// The last one.
        txid: TxId,
    },
    /// A majority finalized the segment.
    SegmentFinalized {
        /// First transaction.
        start: TxId,
        /// Last transaction, inclusive.
        end: TxId,
    },
    /// The JournalNodes were changed: from now on these count.
    MembershipChanged {
        /// Who.
        membership: Membership,
    },
    /// What a JournalNode says can't be true beside what the others say. It is left out of this recovery; somebody should
    /// look at it.
    Distrusted {
        /// Index of the JournalNode among [`QuorumWriter::addresses`].
        journalnode: usize,
        /// What it said, for people.
        why: String,
    },
    /// A majority has promised a higher epoch to the writer in office, which goes on in it: a JournalNode takes part again
    /// that an election had left behind.
    Reelected {
        /// The new epoch.
        epoch: Epoch,
    },
    /// So many JournalNodes promised a higher epoch that no majority is left: step down. Final.
    Fenced {
        /// What a JournalNode said.
        reason: String,
    },
    /// No majority in time: step down. Final.
    LostQuorum {
        /// What the JournalNodes said.
        reason: String,
    },
    /// `newEpoch` was refused because somebody's lease runs; what was granted to us is being given back. Final; try again with a new writer later.
    LeaseHeld {
        /// When that may succeed.
        retry_at: Micros,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    JournalStates,
    NewEpoch,
    Prepare,
    Accept,
    FinalizeRecovered,
    Ready,
    Dead,
}

/// What a JournalNode said in the present phase.
#[derive(Clone, Debug)]
enum Vote {
    State(Epoch),
    Promised(Option<TxId>),
    Prepared(PrepareRecoveryAnswer),
    Done,
    Failed(CallError),
}

/// A segment that channels have to work through.
#[derive(Clone, Debug)]
struct Target {
    start: TxId,
    /// Where to finalize, once known.
    end: Option<TxId>,
    started: Vec<bool>,
    finalized: Vec<bool>,
    /// Refused to open or finalize it, or could not be asked.
    failures: Vec<Option<String>>,
    started_reported: bool,
    finalized_reported: bool,
    deadline: Micros,
}

/// The writer.
#[derive(Clone, Debug)]
pub struct QuorumWriter {
    config: WriterConfig,
    channels: Vec<Channel>,
    /// `host:port` of each channel.
    addresses: Vec<String>,
    members: Members,
    phase: Phase,
    votes: Vec<Option<Vote>>,
    epoch: Epoch,
    /// First and last transaction of the segment under recovery.
    recovered: Option<(TxId, TxId)>,
    /// From whom it is fetched.
    source: Option<usize>,
    /// Who named the segment under recovery as its last one.
    named_by: Vec<usize>,
    /// Grows when the recovery begins again with another epoch: answers of before count for nothing.
    round: u64,
    targets: VecDeque<Target>,
    recent: RecentEdits,
    /// The transaction after the last one handed in.
    next: TxId,
    committed: Option<TxId>,
    /// Calls are served here, so the lease may be asked for.
    renews_lease: bool,
    hold: LeaseHold,
    lease_until: Micros,
    next_call: u64,
    /// Since when we are the writer: quorum loss counts from here at the earliest.
    ready_at: Micros,
    reelections: Reelections,
}

type Actions = Vec<WriterAction>;

/// How far a JournalNode is behind, as the writer sees it (`IPCLoggerChannelMetrics`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// It takes batches as they come.
    pub in_sync: bool,
    /// Committed transactions that it has not acknowledged (`IPCLoggerChannel.getLagTxns`).
    pub txns: u64,
    /// Since when it lacks something that a majority has; 0 when it does not.
    pub time: Micros,
    /// Bytes that it has not acknowledged and the writer still holds.
    pub queued_bytes: usize,
}

impl QuorumWriter {
    /// A writer for the JournalNodes of `config.membership` or `config.members`; does nothing yet.
    #[must_use]
    pub fn new(config: WriterConfig) -> Self {
        let mut writer = QuorumWriter {
            channels: Vec::new(),
            addresses: Vec::new(),
            members: Members::default(),
            phase: Phase::Idle,
            votes: Vec::new(),
            epoch: Epoch(0),
            recovered: None,
            source: None,
            named_by: Vec::new(),
            round: 0,
            targets: VecDeque::new(),
            recent: RecentEdits::new(config.recent_limit_bytes),
            next: TxId(0),
            committed: None,
            renews_lease: true,
            hold: LeaseHold::default(),
            lease_until: 0,
            next_call: 0,
            ready_at: 0,
            reelections: Reelections::default(),
            config,
        };
        writer.begin_members();
        writer
    }

    fn mutated(&self, mutant: Mutant) -> bool {
        self.config.mutation.is(mutant)
    }

    /// Bytes handed in that no majority has yet: the shell stops taking calls above a bound.
    #[must_use]
    pub fn unsynced_bytes(&self) -> usize {
        self.recent.unsynced_bytes()
    }

    /// Until when the lease is held, on the clock of the `now` arguments. Only grows but for a change of the JournalNodes.
    #[must_use]
    pub fn lease_until(&self) -> Micros {
        self.lease_until
    }

    /// Whether a majority of the JournalNodes knows leases; with fewer Hadoop's behaviour remains.
    #[must_use]
    pub fn lease_supported(&self) -> bool {
        let ours = |i: usize| self.channels.get(i).is_some_and(|channel| channel.ours == Some(true));
        self.config.lease_ms > 0 && self.is_quorum(ours)
    }

    /// Until when reads may be answered from memory: as long as the lease is held, and always when a majority of the
    /// JournalNodes knows no leases. They may be replaced by Hadoop's, and back, while we write.
    #[must_use]
    pub fn may_read_until(&self) -> Micros {
        match self.phase {
            Phase::Ready if !self.lease_supported() => Micros::MAX,
            _ => self.lease_until,
        }
    }

    /// The highest transaction known to be on a majority.
    #[must_use]
    pub fn committed(&self) -> Option<TxId> {
        self.committed
    }

    /// Our epoch; 0 before it is known.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the writer has said its last word.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.phase == Phase::Dead
    }

    /// For metrics, in the order of [`QuorumWriter::members`].
    #[must_use]
    pub fn lags(&self, now: Micros) -> Vec<Lag> {
        let committed = self.committed.unwrap_or_default();
        let lag = |channel: &Channel| {
            let (queued_bytes, since) = self.recent.behind(channel.acked);
            Lag {
                in_sync: matches!(channel.sync, Sync::Current | Sync::Finalized),
                txns: committed.0.saturating_sub(channel.acked.0),
                time: since.map_or(0, |since| now.saturating_sub(since)),
                queued_bytes,
            }
        };
        let members = self.counting().iter();
        members.filter_map(|i| self.channels.get(*i)).map(lag).collect()
    }

    /// Deletes segments that end before `min_to_keep` everywhere; nobody waits for it.
    pub fn purge_logs_older_than(&mut self, min_to_keep: TxId, now: Micros, out: &mut Actions) {
        if self.phase != Phase::Ready {
            return;
        }
        for channel in self.channels.iter_mut().filter(|channel| !channel.gone) {
            // One that can't be asked for long needs only the last one.
            channel.waiting.retain(|op| !matches!(op, Op::Purge { .. }));
            channel.waiting.push(Op::Purge { min_to_keep });
        }
        self.pump_all(now, out);
    }

    /// Takes an answer, or learns that there will be none.
    pub fn answer(
        &mut self,
        journalnode: usize,
        call: CallId,
        mut result: Result<Answer, CallError>,
        now: Micros,
        out: &mut Actions,
    ) {
        if self.phase == Phase::Dead {
            return;
        }
        let Some(channel) = self.channels.get_mut(journalnode) else {
            return;
        };
        let Some(call) = channel.in_flight.remove(&call) else {
            return;
        };
        match &result {
            Ok(answer) => {
                // Whom we only ask for his promise does nothing for us.
                if call.op != Op::AskPromise {
                    channel.last_success = channel.last_success.max(call.sent);
                }
                self.take_lease(journalnode, answer, call.sent, now);
            }
            // In office, what was sent in the epoch before a re-election tells nothing of the one after.
            Err(CallError::Remote(exception)) if is_fenced(exception) => {
                if self.phase != Phase::Ready || call.round == self.round {
                    channel.fence(now);
                }
            }
            // Java's know no leases.
            Err(CallError::Remote(exception)) if is_lease_held(exception) => channel.ours = Some(true),
            // Java's promise with any call.
            Err(CallError::Remote(exception)) if is_not_promised(exception) && self.phase == Phase::Ready => {
                channel.ours = Some(true);
                channel.unpromised = Some(now);
                // Nothing was done; as soon as it has promised all goes on as after a lost connection.
                result = Err(CallError::Broken(exception.message.clone()));
            }
            Err(_) => {}
        }
        self.dispatch(journalnode, call, result, now, out);
        self.check_change(now, out);
        self.check_fenced(out);
        self.pump_all(now, out);
        self.debug_check();
    }

    fn dispatch(
        &mut self,
        i: usize,
        call: InFlight,
        result: Result<Answer, CallError>,
        now: Micros,
        out: &mut Actions,
    ) {
        match call.op {
            // A finalize that is asked again in case its first answer was lost.
            Op::FinalizeRecovered { start, .. } if self.phase == Phase::Ready => {
                self.finalize_answer(i, start, result, now, out);
            }
            Op::Establish => self.establish_answer(i, &result, now),
            Op::AskPromise => self.promise_answer(i, &result, now, out),
            Op::NewEpoch { epoch } if self.phase == Phase::Ready => {
                self.reelection_answer(i, epoch, &result, now, out);
            }
            Op::GetJournalState
            | Op::NewEpoch { .. }
            | Op::Prepare { .. }
            | Op::Accept { .. }
            | Op::FinalizeRecovered { .. } => self.recovery_answer(i, &call.op, call.round, result, now, out),
            Op::Start { segment } => self.start_answer(i, segment, result, now, out),
            Op::Resume { segment } => self.resume_answer(i, segment, result, now, out),
            Op::Journal { last } => self.journal_answer(i, last, result, now, out),
            Op::Finalize { start, .. } => self.finalize_answer(i, start, result, now, out),
            Op::Heartbeat => {
                if result.is_ok() {
                    self.told(i, call.committed);
                } else {
                    self.out_of_sync(i, now);
                }
            }
            Op::Join if self.channels.get(i).is_some_and(|channel| channel.unpromised.is_some()) => {
                if let Some(channel) = self.channels.get_mut(i) {
                    channel.waiting.push(Op::Join);
                }
            }
            Op::Join => self.join_answer(i, result),
            // In another epoch it is another membership.
            Op::SetMembership { .. } if call.round != self.round => {}
            Op::SetMembership { version } => self.membership_answer(i, version, result, now),
            Op::Purge { .. } | Op::Release => {}
        }
    }

    /// A JournalNode has heard of a commit.
    fn told(&mut self, i: usize, committed: Option<TxId>) {
        if let Some(channel) = self.channels.get_mut(i) {
            channel.told_committed = channel.told_committed.max(committed);
        }
    }

    fn out_of_sync(&mut self, i: usize, now: Micros) {
        let committed = self.committed.unwrap_or_default();
        if let Some(channel) = self.channels.get_mut(i) {
            channel.fall_out_of_sync(committed, now);
        }
        self.membership_unsure(i, now);
    }

    /// Until when a majority's leases last.
    fn lease_of_quorum(&self) -> Micros {
        let less = if self.mutated(Mutant::LeaseFromOne) {
            self.counting().len() / 2
        } else {
            0
        };
        self.quorum_value(less, |i| self.hold.until(i))
    }

    fn take_lease(&mut self, i: usize, answer: &Answer, sent: Micros, now: Micros) {
        let granted = match answer {
            Answer::NewEpoch { lease_granted_ms, .. } => {
                if let Some(channel) = self.channels.get_mut(i) {
                    channel.ours = Some(lease_granted_ms.is_some());
                }
                *lease_granted_ms
            }
            Answer::Lease { lease_granted_ms } | Answer::Resumed { lease_granted_ms, .. } => {
                // Every request asks for one; ours grants one, if only of no length. Another kind may serve by now.
                if self.config.lease_ms > 0
                    && let Some(channel) = self.channels.get_mut(i)
                {
                    channel.ours = Some(lease_granted_ms.is_some());
                }
                *lease_granted_ms
            }
            _ => None,
        };
        let Some(ms) = granted.filter(|ms| *ms > 0) else {
            return;
        };
        let from = if self.mutated(Mutant::LeaseFromAnswer) {
            now
        } else {
            sent
        };
        let ms = if self.mutated(Mutant::IgnoreDrift) {
            ms * 100 / (100 - DRIFT_PERCENT as u32)
        } else {
            ms
        };
        self.hold.granted(i, from, ms);
        self.lease_until = self.lease_until.max(self.lease_of_quorum());
    }

    /// Steps down when so many have promised a higher epoch that no majority is left.
    fn check_fenced(&mut self, out: &mut Actions) {
        let loyal = |i: usize| self.channels.get(i).is_some_and(|channel| !channel.fenced);
        if self.phase != Phase::Dead && !self.is_quorum(loyal) {
            let fenced = self.channels.iter().filter(|channel| channel.fenced).count();
            let reason = format!("{fenced} JournalNodes promised an epoch higher than {}", self.epoch);
            self.die(WriterAction::Fenced { reason }, out);
        }
    }

    fn die(&mut self, last_word: WriterAction, out: &mut Actions) {
        if self.phase != Phase::Dead {
            self.phase = Phase::Dead;
            out.push(last_word);
        }
    }

    fn lose_quorum(&mut self, reason: String, out: &mut Actions) {
        self.die(WriterAction::LostQuorum { reason }, out);
    }

    /// Sends whatever may be sent.
    fn pump_all(&mut self, now: Micros, out: &mut Actions) {
        for i in 0..self.channels.len() {
            while self.phase != Phase::Dead {
                let Some(request) = self.next_op(i, now) else {
                    break;
                };
                self.send(i, request, now, out);
            }
        }
    }

    fn send(&mut self, i: usize, (op, request): (Op, Request), now: Micros, out: &mut Actions) {
        let timeouts = &self.config.timeouts;
        let timeout = match &op {
            Op::GetJournalState | Op::AskPromise => timeouts.get_journal_state,
            Op::NewEpoch { .. } | Op::Establish => timeouts.new_epoch,
            Op::Prepare { .. } => timeouts.prepare_recovery,
            Op::Accept { .. } => timeouts.accept_recovery,
            Op::FinalizeRecovered { .. } | Op::Finalize { .. } => timeouts.finalize_segment,
            Op::Start { .. } | Op::Resume { .. } => timeouts.start_segment,
            Op::Journal { .. }
            | Op::Heartbeat
            | Op::Purge { .. }
            | Op::Release
            | Op::Join
            | Op::SetMembership { .. } => timeouts.write_txns,
        };
        let call = CallId(self.next_call);
        self.next_call += 1;
        let Some(channel) = self.channels.get_mut(i) else {
            return;
        };
        let committed = request.info().and_then(|info| info.committed);
        if request.info().is_some() {
            channel.serial += 1;
        }
        if request.info().is_some_and(|info| info.lease.is_some()) {
            channel.last_lease_asked = now;
        }
        channel.last_sent = now;
        let under_way = InFlight {
            op,
            sent: now,
            round: self.round,
            committed,
        };
        channel.in_flight.insert(call, under_way);
        out.push(WriterAction::Send {
            journalnode: i,
            call,
            request,
            timeout,
        });
    }

    /// Whether the lease is to be asked for anew from now on. Who does not serve calls lets it run out, so that another
    /// may take over; all else goes on.
    pub fn renew_lease(&mut self, renew: bool) {
        self.renews_lease = renew;
    }

    /// Whether the lease is asked for.
    #[must_use]
    pub fn renews_lease(&self) -> bool {
        self.renews_lease
    }

    fn lease_request(&self) -> Option<LeaseRequest> {
        (self.config.lease_ms > 0).then(|| LeaseRequest {
            // One of no length is asked for all the same: who is not asked looks like one that knows no leases.
            ms: if self.renews_lease { self.config.lease_ms } else { 0 },
            holder: Arc::clone(&self.config.holder),
            proof: self.config.proof,
        })
    }

    fn info(&self, channel: &Channel) -> RequestInfo {
        RequestInfo {
            epoch: self.epoch,
            serial: channel.serial,
            committed: self.committed,
            lease: self.lease_request(),
        }
    }

    /// What a channel should send next, if it may send anything now.
    fn next_op(&mut self, i: usize, now: Micros) -> Option<(Op, Request)> {
        let channel = self.channels.get(i)?;
        if channel.gone {
            return None;
        }
        if self.phase == Phase::Ready && self.is_reelecting() {
            return self.vote_op(i);
        }
        if channel.fenced && self.phase == Phase::Ready {
            return self.ask_promise_op(i, now);
        }
        if let Some(at) = channel.unpromised {
            let due = channel.is_idle() && at <= now;
            return if due {
                self.recovery_request(i, Op::Establish)
            } else {
                None
            };
        }
        if !self.channels.get(i)?.waiting.is_empty() {
            let channel = self.channels.get_mut(i)?;
            if !channel.is_idle() {
                return None;
            }
            let op = channel.waiting.remove(0);
            return self.recovery_request(i, op);
        }
        if self.phase != Phase::Ready || !self.may_write(i) {
            return None;
        }
        if self.membership_due(i).is_some_and(|at| at <= now) {
            // Batches would keep it from ever being idle.
            let idle = self.channels.get(i)?.is_idle();
            return if idle { self.membership_op(i, now) } else { None };
        }
        self.segment_op(i, now).or_else(|| self.heartbeat_op(i, now))
    }

    /// When a channel wants a heartbeat: to renew the lease, to tell a commit, or to stay in touch.
    fn heartbeat_due(&self, channel: &Channel) -> Option<Micros> {
        if !channel.is_idle() || channel.fenced || channel.gone || channel.unpromised.is_some() {
            return None;
        }
        if let Sync::Behind { .. } = channel.sync
            && channel.ours == Some(true)
        {
            // It is tried by resumeSegment.
            return None;
        }
        let mut due = channel.last_sent + HEARTBEAT_PERIOD;
        if self.config.lease_ms > 0 && channel.ours == Some(true) {
            let period = Micros::from(self.config.lease_ms) * 1000 / LEASE_RENEWALS;
            due = due.min(channel.last_lease_asked + period);
        }
        let reachable = matches!(channel.sync, Sync::Current | Sync::Finalized);
        if reachable && channel.told_committed < self.committed {
            due = due.min(channel.last_sent + COMMIT_DELAY);
        }
        if channel.ours == Some(true) && channel.segment.is_none() && channel.told_committed < self.committed {
            // After a recovery: whoever recovered reads the rest from there before it opens a segment.
            due = due.min(channel.last_sent + RECOVERED_DELAY);
        }
        Some(due)
    }

    fn heartbeat_op(&mut self, i: usize, now: Micros) -> Option<(Op, Request)> {
        let channel = self.channels.get(i)?;
        if self.heartbeat_due(channel)? > now {
            return None;
        }
        let info = self.info(channel);
        Some((Op::Heartbeat, Request::Heartbeat { info }))
    }

    /// When a majority last answered something that was sent then.
    fn last_majority_contact(&self) -> Micros {
        self.quorum_value(0, |i| self.channels.get(i).map_or(0, |channel| channel.last_success))
    }

    /// When the quorum counts as lost if nothing is heard until then, and why.
    fn quorum_deadline(&self) -> (Micros, &'static str) {
        let patience = self.config.timeouts.write_txns;
        let contact = self.last_majority_contact().max(self.ready_at) + patience;
        let mut deadline = (contact, "no majority of the JournalNodes answers");
        if let Some(since) = self.recent.waiting_since()
            && since + patience < deadline.0
        {
            deadline = (since + patience, "no majority acknowledged a batch in time");
        }
        for target in &self.targets {
            let waits = !target.started_reported || (target.end.is_some() && !target.finalized_reported);
            if waits && target.deadline < deadline.0 {
                deadline = (target.deadline, "no majority opened or finalized a segment in time");
            }
        }
        deadline
    }

    /// When [`QuorumWriter::tick`] should be called at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Option<Micros> {
        if self.phase != Phase::Ready {
            return None;
        }
        let mut at = self.quorum_deadline().0;
        if self.is_reelecting() {
            return Some(self.reelections.retry_at().map_or(at, |retry| at.min(retry)));
        }
        for (i, channel) in self.channels.iter().enumerate().filter(|(_, channel)| !channel.gone) {
            if let Some(due) = self.heartbeat_due(channel).filter(|_| self.may_write(i)) {
                at = at.min(due);
            }
            if let Some(due) = self.membership_due(i).filter(|_| channel.is_idle()) {
                at = at.min(due);
            }
            if let Some(ask_at) = self.ask_promise_due(channel).filter(|_| channel.is_idle()) {
                at = at.min(ask_at);
            }
            if let Some(asked_at) = channel.unpromised.filter(|_| channel.is_idle() && !channel.fenced) {
                at = at.min(asked_at);
            }
            if let Sync::Behind { retry_at } = channel.sync
                && channel.unpromised.is_none()
                && channel.ours == Some(true)
                && channel.is_idle()
                && !channel.fenced
            {
                at = at.min(retry_at);
            }
        }
        Some(at)
    }

    /// Time passes.
    pub fn tick(&mut self, now: Micros, out: &mut Actions) {
        if self.phase != Phase::Ready {
            return;
        }
        let (deadline, reason) = self.quorum_deadline();
        if now >= deadline {
            self.lose_quorum(reason.to_owned(), out);
            return;
        }
        self.retry_reelection(now, out);
        self.pump_all(now, out);
    }
}

/// Of a refused `newEpoch`: when it may be tried again.
fn lease_retry_at(exception: &RemoteException, now: Micros) -> Option<Micros> {
    if !is_lease_held(exception) {
        return None;
    }
    let after = exception.message.split("another ").nth(1);
    let ms: Option<Micros> = after
        .and_then(|text| text.split(' ').next())
        .and_then(|ms| ms.parse().ok());
    Some(now + ms.map_or(LEASE_RETRY, |ms| ms.saturating_mul(1000)))
}

/// Whether a JournalNode does not know our extensions.
fn is_unknown_protocol(exception: &RemoteException) -> bool {
    exception.is(exceptions::RPC_NO_SUCH_PROTOCOL) || exception.is(exceptions::RPC_NO_SUCH_METHOD)
}
