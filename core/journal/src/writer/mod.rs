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
//! Method calls in, [`WriterAction`]s out, time as an argument. The shell sends the requests and passes the answers on.
//!
//! Every JournalNode has a channel that goes through the segments at its own pace: it opens a segment, receives
//! batches, finalizes it. Batches wait once for all channels, in a bounded buffer that also keeps recent committed
//! ones. Our JournalNodes get several batches at a time, because one connection keeps their order. A Java JournalNode
//! gets one at a time, because two of its handlers could take two batches in either order; batches that wait meanwhile
//! are merged. A JournalNode that missed something is caught up from the buffer after `resumeSegment`. If that is
//! impossible it waits for the next segment, as in Hadoop.
//!
//! Invariants
//! * a transaction is `Synced` when a majority has acknowledged it, and everything before it, after a sync;
//! * nothing is written before the last segment of the previous writer is recovered on a majority;
//! * one JournalNode alone can't stop a recovery with what it says, as long as a majority of the others answers
//!   ([`recovery`]);
//! * `committed` never goes back, and every request tells it to the JournalNode;
//! * the writer holds its read lease until the latest time that the leases of a majority reach. Each of these lasts
//!   from its request's sending time for the granted length, less the drift;
//! * nothing more is sent after `Fenced`, `LostQuorum` or `LeaseHeld`;
//! * edits that are not synced are never dropped. The size of synced ones is bounded by `recent_limit_bytes`.

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

use channel::{CallInFlight, Channel, ChannelCall, SegmentProgress};
use members::Members;
pub use members::{Learner, MemberChange};
use recent::RecentEdits;
use reelection::Reelections;

/// Largest merged batch in one journal call (`FSEditLog`'s output buffer; the RPC limit is far above).
const MERGE_LIMIT_BYTES: usize = 512 << 10;
/// Delay in microseconds after which an idle JournalNode is told of a commit, for the standbys that read there.
const COMMIT_DELAY: Micros = 5_000;
/// The same after a recovery, because somebody waits for its end.
const RECOVERED_DELAY: Micros = 500;
/// Period of heartbeats to an idle JournalNode when no lease is asked for.
const HEARTBEAT_PERIOD: Micros = 1_000_000;
/// Number of requests with a lease that are sent in the length of a lease.
const LEASE_RENEWALS: Micros = 4;
/// Pause before `newEpoch` is tried again when the JournalNode did not say how long a lease runs.
const LEASE_RETRY: Micros = 50_000;
/// Number of segments that a slow JournalNode may be behind before it skips to the newest.
const MAX_TARGETS: usize = 4;

/// Configuration of a writer.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// The namespace.
    pub ns_info: NamespaceInfo,
    /// `<namenode id>@<instance id>`, the holder of the lease.
    pub holder: Arc<str>,
    /// Secret that proves to the JournalNodes that a call is the holder's.
    pub proof: LeaseProof,
    /// The highest epoch that this holder has asked for before. It never asks for an epoch twice: a late request of an
    /// earlier attempt must not count for a later attempt.
    pub asked_before: Epoch,
    /// Length of the read lease in milliseconds; 0: no lease is wanted.
    pub lease_ms: u32,
    /// Layout version of the edit log.
    pub layout_version: LayoutVersion,
    /// The configured JournalNodes (`dfs.namenode.shared.edits.dir`), as `host:port`.
    pub members: Vec<String>,
    /// The newest membership that this NameNode knows. If there is one, `members` is ignored.
    pub membership: Option<Membership>,
    /// The journal id.
    pub journal_id: String,
    /// Time limits.
    pub timeouts: WriterTimeouts,
    /// Bytes of committed edits that are kept to catch JournalNodes up. Edits that are not committed come on top.
    pub recent_limit_bytes: usize,
    /// Largest number of journal calls under way to one of our JournalNodes.
    pub pipeline_depth: usize,
    /// For the simulator: a planted bug.
    pub mutation: Mutation,
}

/// Time limits of calls, in microseconds.
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
    /// `dfs.qjournal.write-txns.timeout.ms`. The quorum counts as lost when a batch waits this long for a majority, or
    /// no majority has answered anything for this long.
    pub write_txns: Micros,
    /// How long a JournalNode must have refused the writer in office because of a higher promise before the writer is
    /// re-elected, and the first pause after a re-election. Some seconds, as long as the longest lease: by then a rival
    /// that is about to win has won, which a majority tells, and a rival that lost has given up.
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

/// Number of a call. The answer to the call names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The JournalNode refused.
    #[error("{0}")]
    Remote(RemoteException),
    /// The connection was refused or broken, or the time limit passed. Whether the call was carried out is unknown.
    #[error("{0}")]
    Broken(String),
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriterAction {
    /// Send a request. All calls to one JournalNode leave in this order on one connection. When that connection breaks,
    /// all calls under way are answered with [`CallError::Broken`] before the next one is sent.
    Send {
        /// Index of the JournalNode in [`QuorumWriter::addresses`], which only grows.
        journalnode: usize,
        /// Number that the answer has to name.
        call: CallId,
        /// The request.
        request: Request,
        /// Time limit. After it the call is answered with [`CallError::Broken`] and the connection is closed.
        timeout: Micros,
    },
    /// The log is recovered: all transactions that earlier writers acknowledged are in finalized segments.
    Recovered {
        /// Epoch of this writer.
        epoch: Epoch,
        /// First and last transaction of the recovered segment. Absent when no segment with a transaction had to be
        /// recovered. Readers of the journal find the end of the log.
        last_segment: Option<(TxId, TxId)>,
    },
    /// A majority has opened the segment.
    SegmentStarted {
        /// Its first transaction.
        txid: TxId,
    },
    /// All edits up to this one are on a majority.
    Synced {
        /// The last one of them.
        txid: TxId,
    },
    /// A majority has finalized the segment.
    SegmentFinalized {
        /// First transaction.
        start: TxId,
        /// Last transaction, inclusive.
        end: TxId,
    },
    /// The membership was changed. The new one is valid from now on.
    MembershipChanged {
        /// The new membership.
        membership: Membership,
    },
    /// A JournalNode said something that contradicts what the others say. It is left out of this recovery, and somebody
    /// should look at it.
    Distrusted {
        /// Index of the JournalNode in [`QuorumWriter::addresses`].
        journalnode: usize,
        /// Its statement, in words for people.
        why: String,
    },
    /// The writer in office was re-elected with a higher epoch, and goes on in it. A JournalNode that an election had
    /// left behind takes part again.
    Reelected {
        /// The new epoch.
        epoch: Epoch,
    },
    /// So many JournalNodes have promised a higher epoch that no majority is left: step down. This is final.
    Fenced {
        /// The refusal of one JournalNode.
        reason: String,
    },
    /// No majority answered in time: step down. This is final.
    LostQuorum {
        /// The last answers of the JournalNodes.
        reason: String,
    },
    /// `newEpoch` was refused because the lease of another NameNode runs. The leases that were granted to us are being
    /// given back. This is final; a new writer may try again later.
    LeaseHeld {
        /// When a new attempt may succeed.
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

/// Answer of a JournalNode in the present phase.
#[derive(Clone, Debug)]
enum Vote {
    State(Epoch),
    Promised(Option<TxId>),
    Prepared(PrepareRecoveryAnswer),
    Done,
    Failed(CallError),
}

/// A segment that the channels have to write.
#[derive(Clone, Debug)]
struct Target {
    start: TxId,
    /// Last transaction of the segment, once it is known.
    end: Option<TxId>,
    started: Vec<bool>,
    finalized: Vec<bool>,
    /// By channel: the error of a JournalNode that refused to open or finalize the segment, or could not be asked.
    failures: Vec<Option<String>>,
    started_reported: bool,
    finalized_reported: bool,
    deadline: Micros,
}

/// The quorum writer.
#[derive(Clone, Debug)]
pub struct QuorumWriter {
    config: WriterConfig,
    channels: Vec<Channel>,
    /// `host:port` of the JournalNode of each channel.
    addresses: Vec<String>,
    members: Members,
    phase: Phase,
    votes: Vec<Option<Vote>>,
    epoch: Epoch,
    /// First and last transaction of the segment under recovery.
    recovered: Option<(TxId, TxId)>,
    /// JournalNode from which the segment under recovery is fetched.
    source: Option<usize>,
    /// JournalNodes that named the segment under recovery as their last one.
    named_by: Vec<usize>,
    /// Grows when the recovery begins again with another epoch. Answers of an earlier round count for nothing.
    round: u64,
    targets: VecDeque<Target>,
    recent: RecentEdits,
    /// The transaction after the last one that was handed in.
    next: TxId,
    committed: Option<TxId>,
    /// Whether this NameNode serves calls, so that the lease may be asked for.
    renews_lease: bool,
    hold: LeaseHold,
    lease_until: Micros,
    next_call: u64,
    /// When this NameNode became the writer. The time limits of the quorum begin here at the earliest.
    ready_at: Micros,
    reelections: Reelections,
}

/// One call of a method from outside: when it came, and what follows from it. The methods behind it pass it on.
struct Turn<'a> {
    now: Micros,
    out: &'a mut Vec<WriterAction>,
}

/// How far a JournalNode is behind, seen from the writer (`IPCLoggerChannelMetrics`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Whether it takes batches as they come.
    pub in_sync: bool,
    /// Number of committed transactions that it has not acknowledged (`IPCLoggerChannel.getLagTxns`).
    pub txns: u64,
    /// Microseconds since it first lacked something that a majority has; 0 when it lacks nothing.
    pub time: Micros,
    /// Bytes that it has not acknowledged and that the writer still keeps.
    pub queued_bytes: usize,
}

impl QuorumWriter {
    /// A writer for the JournalNodes of `config.membership` or, without one, `config.members`. It does nothing yet.
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

    /// Bytes of edits that no majority has yet. Above a bound the shell stops taking calls.
    #[must_use]
    pub fn unsynced_bytes(&self) -> usize {
        self.recent.unsynced_bytes()
    }

    /// End of the lease, on the clock of the `now` arguments. It only grows, except when the membership changes.
    #[must_use]
    pub fn lease_until(&self) -> Micros {
        self.lease_until
    }

    /// Whether a majority of the JournalNodes knows leases. Otherwise the NameNode behaves as Hadoop's.
    #[must_use]
    pub fn lease_supported(&self) -> bool {
        let ours = |i: usize| self.channels.get(i).is_some_and(|channel| channel.ours == Some(true));
        self.config.lease_ms > 0 && self.is_quorum(ours)
    }

    /// Until when reads may be answered from memory. That is the end of the lease, or no end when no majority of the
    /// JournalNodes knows leases. JournalNodes may be replaced by Hadoop's, and back, while this writer writes.
    #[must_use]
    pub fn may_read_until(&self) -> Micros {
        match self.phase {
            Phase::Ready if !self.lease_supported() => Micros::MAX,
            _ => self.lease_until,
        }
    }

    /// Highest transaction that is known to be on a majority.
    #[must_use]
    pub fn committed(&self) -> Option<TxId> {
        self.committed
    }

    /// Epoch of this writer; 0 before it is known.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the writer has ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.phase == Phase::Dead
    }

    /// State of each JournalNode for metrics, in the order of [`QuorumWriter::members`].
    #[must_use]
    pub fn lags(&self, now: Micros) -> Vec<Lag> {
        let committed = self.committed.unwrap_or_default();
        let lag = |channel: &Channel| {
            let (queued_bytes, since) = self.recent.behind(channel.acked);
            Lag {
                in_sync: matches!(channel.progress, SegmentProgress::Current | SegmentProgress::Finalized),
                txns: committed.0.saturating_sub(channel.acked.0),
                time: since.map_or(0, |since| now.saturating_sub(since)),
                queued_bytes,
            }
        };
        let members = self.counting().iter();
        members.filter_map(|i| self.channels.get(*i)).map(lag).collect()
    }

    /// Deletes segments that end before `min_to_keep` on all JournalNodes. Nobody waits for it.
    pub fn purge_logs_older_than(&mut self, min_to_keep: TxId, now: Micros, out: &mut Vec<WriterAction>) {
        let turn = &mut Turn { now, out };
        if self.phase != Phase::Ready {
            return;
        }
        for channel in self.channels.iter_mut().filter(|channel| !channel.gone) {
            // Of several purges that wait for a JournalNode only the last one is needed.
            channel.waiting.retain(|op| !matches!(op, ChannelCall::Purge { .. }));
            channel.waiting.push(ChannelCall::Purge { min_to_keep });
        }
        self.pump_all(turn);
    }

    /// Takes the answer to a call, or the reason why there is none.
    pub fn answer(
        &mut self,
        journalnode: usize,
        call: CallId,
        mut result: Result<Answer, CallError>,
        now: Micros,
        out: &mut Vec<WriterAction>,
    ) {
        let turn = &mut Turn { now, out };
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
                // A JournalNode that is only asked for its promise does nothing for this writer.
                if call.op != ChannelCall::AskPromise {
                    channel.last_success = channel.last_success.max(call.sent);
                }
                self.take_lease(journalnode, answer, call.sent, turn.now);
            }
            // Of a writer in office, a refusal of a call sent before a re-election says nothing about the new epoch.
            Err(CallError::Remote(exception)) if is_fenced(exception) => {
                if self.phase != Phase::Ready || call.round == self.round {
                    channel.fence(turn.now);
                }
            }
            // Java's JournalNodes know no leases, so this is one of ours.
            Err(CallError::Remote(exception)) if is_lease_held(exception) => channel.ours = Some(true),
            // Java's JournalNodes promise an epoch with any call, so this is one of ours.
            Err(CallError::Remote(exception)) if is_not_promised(exception) && self.phase == Phase::Ready => {
                channel.ours = Some(true);
                channel.unpromised = Some(turn.now);
                // The JournalNode did nothing. Once it has promised, the channel goes on as after a lost connection.
                result = Err(CallError::Broken(exception.message.clone()));
            }
            Err(_) => {}
        }
        self.dispatch(journalnode, call, result, turn);
        self.check_change(turn);
        self.check_fenced(turn);
        self.pump_all(turn);
        self.debug_check();
    }

    fn dispatch(&mut self, i: usize, call: CallInFlight, result: Result<Answer, CallError>, turn: &mut Turn<'_>) {
        match call.op {
            // The answer to a finalize that was repeated because its first answer may have been lost.
            ChannelCall::FinalizeRecovered { start, .. } if self.phase == Phase::Ready => {
                self.finalize_answer(i, start, result, turn);
            }
            ChannelCall::Establish => self.establish_answer(i, &result, turn.now),
            ChannelCall::AskPromise => self.promise_answer(i, &result, turn),
            ChannelCall::NewEpoch { epoch } if self.phase == Phase::Ready => {
                self.reelection_answer(i, epoch, &result, turn);
            }
            ChannelCall::GetJournalState
            | ChannelCall::NewEpoch { .. }
            | ChannelCall::Prepare { .. }
            | ChannelCall::Accept { .. }
            | ChannelCall::FinalizeRecovered { .. } => self.recovery_answer(i, &call.op, call.round, result, turn),
            ChannelCall::Start { segment } => self.start_answer(i, segment, result, turn),
            ChannelCall::Resume { segment } => self.resume_answer(i, segment, result, turn),
            ChannelCall::Journal { last } => self.journal_answer(i, last, result, turn),
            ChannelCall::Finalize { start, .. } => self.finalize_answer(i, start, result, turn),
            ChannelCall::Heartbeat => {
                if result.is_ok() {
                    self.told(i, call.committed);
                } else {
                    self.out_of_sync(i, turn.now);
                }
            }
            ChannelCall::Join if self.channels.get(i).is_some_and(|channel| channel.unpromised.is_some()) => {
                if let Some(channel) = self.channels.get_mut(i) {
                    channel.waiting.push(ChannelCall::Join);
                }
            }
            ChannelCall::Join => self.join_answer(i, result),
            // After another round the membership is another one.
            ChannelCall::SetMembership { .. } if call.round != self.round => {}
            ChannelCall::SetMembership { version } => self.membership_answer(i, version, result, turn.now),
            ChannelCall::Purge { .. } | ChannelCall::Release => {}
        }
    }

    /// A JournalNode has been told of a committed transaction.
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

    /// End of the lease: the latest time that the leases of a majority reach.
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
                // Every request asks for a lease, and our JournalNodes grant one, even if its length is 0. Without one
                // it may be a Java JournalNode by now.
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

    /// Steps down when so many JournalNodes have promised a higher epoch that no majority is left.
    fn check_fenced(&mut self, turn: &mut Turn<'_>) {
        let loyal = |i: usize| self.channels.get(i).is_some_and(|channel| !channel.fenced);
        if self.phase != Phase::Dead && !self.is_quorum(loyal) {
            let fenced = self.channels.iter().filter(|channel| channel.fenced).count();
            let reason = format!("{fenced} JournalNodes promised an epoch higher than {}", self.epoch);
            self.die(WriterAction::Fenced { reason }, turn);
        }
    }

    fn die(&mut self, last_word: WriterAction, turn: &mut Turn<'_>) {
        if self.phase != Phase::Dead {
            self.phase = Phase::Dead;
            turn.out.push(last_word);
        }
    }

    fn lose_quorum(&mut self, reason: String, turn: &mut Turn<'_>) {
        self.die(WriterAction::LostQuorum { reason }, turn);
    }

    /// Sends everything that may be sent now.
    fn pump_all(&mut self, turn: &mut Turn<'_>) {
        for i in 0..self.channels.len() {
            while self.phase != Phase::Dead {
                let Some(request) = self.next_op(i, turn.now) else {
                    break;
                };
                self.send(i, request, turn);
            }
        }
    }

    fn send(&mut self, i: usize, (op, request): (ChannelCall, Request), turn: &mut Turn<'_>) {
        let timeouts = &self.config.timeouts;
        let timeout = match &op {
            ChannelCall::GetJournalState | ChannelCall::AskPromise => timeouts.get_journal_state,
            ChannelCall::NewEpoch { .. } | ChannelCall::Establish => timeouts.new_epoch,
            ChannelCall::Prepare { .. } => timeouts.prepare_recovery,
            ChannelCall::Accept { .. } => timeouts.accept_recovery,
            ChannelCall::FinalizeRecovered { .. } | ChannelCall::Finalize { .. } => timeouts.finalize_segment,
            ChannelCall::Start { .. } | ChannelCall::Resume { .. } => timeouts.start_segment,
            ChannelCall::Journal { .. }
            | ChannelCall::Heartbeat
            | ChannelCall::Purge { .. }
            | ChannelCall::Release
            | ChannelCall::Join
            | ChannelCall::SetMembership { .. } => timeouts.write_txns,
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
            channel.last_lease_asked = turn.now;
        }
        channel.last_sent = turn.now;
        let under_way = CallInFlight {
            op,
            sent: turn.now,
            round: self.round,
            committed,
        };
        channel.in_flight.insert(call, under_way);
        turn.out.push(WriterAction::Send {
            journalnode: i,
            call,
            request,
            timeout,
        });
    }

    /// Sets whether the lease is renewed from now on. A NameNode that does not serve calls lets its lease run out, so
    /// that another one may take over. It goes on with everything else.
    pub fn renew_lease(&mut self, renew: bool) {
        self.renews_lease = renew;
    }

    /// Whether the lease is renewed.
    #[must_use]
    pub fn renews_lease(&self) -> bool {
        self.renews_lease
    }

    fn lease_request(&self) -> Option<LeaseRequest> {
        (self.config.lease_ms > 0).then(|| LeaseRequest {
            // A lease of length 0 is asked for all the same: a JournalNode that is not asked looks like one that knows
            // no leases.
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

    /// The next call of a channel, if it may send anything now.
    fn next_op(&mut self, i: usize, now: Micros) -> Option<(ChannelCall, Request)> {
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
                self.recovery_request(i, ChannelCall::Establish)
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
            // Otherwise batches would keep the channel from ever being idle.
            let idle = self.channels.get(i)?.is_idle();
            return if idle { self.membership_op(i, now) } else { None };
        }
        self.segment_op(i, now).or_else(|| self.heartbeat_op(i, now))
    }

    /// When a channel wants a heartbeat: to renew the lease, to tell a commit, or to keep in touch.
    fn heartbeat_due(&self, channel: &Channel) -> Option<Micros> {
        if !channel.is_idle() || channel.fenced || channel.gone || channel.unpromised.is_some() {
            return None;
        }
        if let SegmentProgress::Behind { .. } = channel.progress
            && channel.ours == Some(true)
        {
            // The JournalNode is tried again with `resumeSegment`.
            return None;
        }
        let mut due = channel.last_sent + HEARTBEAT_PERIOD;
        if self.config.lease_ms > 0 && channel.ours == Some(true) {
            let period = Micros::from(self.config.lease_ms) * 1000 / LEASE_RENEWALS;
            due = due.min(channel.last_lease_asked + period);
        }
        let reachable = matches!(channel.progress, SegmentProgress::Current | SegmentProgress::Finalized);
        if reachable && channel.told_committed < self.committed {
            due = due.min(channel.last_sent + COMMIT_DELAY);
        }
        if channel.ours == Some(true) && channel.segment.is_none() && channel.told_committed < self.committed {
            // After a recovery the new active reads the rest of the log from the JournalNodes before it opens a
            // segment.
            due = due.min(channel.last_sent + RECOVERED_DELAY);
        }
        Some(due)
    }

    fn heartbeat_op(&mut self, i: usize, now: Micros) -> Option<(ChannelCall, Request)> {
        let channel = self.channels.get(i)?;
        if self.heartbeat_due(channel)? > now {
            return None;
        }
        let info = self.info(channel);
        Some((ChannelCall::Heartbeat, Request::Heartbeat { info }))
    }

    /// Sending time of the newest requests that a majority has answered.
    fn last_majority_contact(&self) -> Micros {
        self.quorum_value(0, |i| self.channels.get(i).map_or(0, |channel| channel.last_success))
    }

    /// When the quorum counts as lost if nothing is answered until then, and the reason.
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

    /// Latest time of the next [`QuorumWriter::tick`].
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
            if let SegmentProgress::Behind { retry_at } = channel.progress
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

    /// Time has passed.
    pub fn tick(&mut self, now: Micros, out: &mut Vec<WriterAction>) {
        let turn = &mut Turn { now, out };
        if self.phase != Phase::Ready {
            return;
        }
        let (deadline, reason) = self.quorum_deadline();
        if turn.now >= deadline {
            self.lose_quorum(reason.to_owned(), turn);
            return;
        }
        self.retry_reelection(turn);
        self.pump_all(turn);
    }
}

/// When a `newEpoch` that was refused because of a lease may be tried again.
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

/// Whether an exception says that the JournalNode does not know our extensions.
fn is_unknown_protocol(exception: &RemoteException) -> bool {
    exception.is(exceptions::RPC_NO_SUCH_PROTOCOL) || exception.is(exceptions::RPC_NO_SUCH_METHOD)
}
