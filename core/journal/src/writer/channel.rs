//! The writer's state for one JournalNode, and the calls under way there (`qjournal.client.IPCLoggerChannel`).

use std::collections::BTreeMap;

use hathi_formats::ids::{Epoch, TxId};

use super::CallId;
use crate::messages::{Micros, SegmentState};

/// A call under way or waiting. Epoch, serial number and committed transaction are added when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChannelCall {
    GetJournalState,
    NewEpoch {
        epoch: Epoch,
    },
    /// `newEpoch` of the writer in office, for a JournalNode that missed the election.
    Establish,
    /// Ask for the epoch, higher than ours, that the JournalNode has promised.
    AskPromise,
    Prepare {
        segment: TxId,
    },
    Accept {
        state: SegmentState,
        from_url: String,
        chosen_epoch: Option<Epoch>,
    },
    /// Finalize the recovered segment.
    FinalizeRecovered {
        start: TxId,
        end: TxId,
    },
    Start {
        segment: TxId,
    },
    Resume {
        segment: TxId,
    },
    Journal {
        last: TxId,
    },
    Finalize {
        start: TxId,
        end: TxId,
    },
    Heartbeat,
    Purge {
        min_to_keep: TxId,
    },
    Release,
    /// Format a JournalNode as joining, before it is added.
    Join,
    SetMembership {
        version: u64,
    },
}

impl ChannelCall {
    fn is_journal(&self) -> bool {
        matches!(self, ChannelCall::Journal { .. })
    }
}

#[derive(Clone, Debug)]
pub(super) struct CallInFlight {
    pub op: ChannelCall,
    pub sent: Micros,
    /// Value of [`super::QuorumWriter::round`] when the call was made.
    pub round: u64,
    pub committed: Option<TxId>,
}

/// State of a JournalNode in the segment that its channel works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentProgress {
    /// The segment is not open there yet; it has to be opened.
    Fresh,
    /// The JournalNode takes batches in order.
    Current,
    /// The JournalNode missed something or cannot be reached. It is caught up, but not before `retry_at`.
    Behind { retry_at: Micros },
    /// The JournalNode cannot be caught up in this segment, and waits for the next one.
    GivenUp,
    /// The segment is finalized there.
    Finalized,
}

#[derive(Clone, Debug)]
pub(super) struct Channel {
    /// Whether the JournalNode knows our extensions; `None` until it has answered `newEpoch`.
    pub ours: Option<bool>,
    /// Scheme and port of its HTTP server, from `getJournalState`.
    pub endpoint: Option<(String, u16)>,
    /// Whether it has promised a higher epoch.
    pub fenced: bool,
    /// When it said so first.
    pub fenced_at: Micros,
    /// The higher epoch that a JournalNode left behind by an election has promised, by its last answer.
    pub left_behind: Option<Epoch>,
    /// When it may be asked for its promise again.
    pub ask_promise_at: Micros,
    /// It said that it has not promised our epoch to us. From this moment on it is asked for that promise before
    /// anything else.
    pub unpromised: Option<Micros>,
    /// Its statement contradicts all others, so it is ignored in this recovery.
    pub distrusted: bool,
    /// It is no JournalNode of the journal any more, or never became one.
    pub gone: bool,
    pub serial: u64,
    pub in_flight: BTreeMap<CallId, CallInFlight>,
    /// Calls of a recovery, and purges. They are sent before everything else.
    pub waiting: Vec<ChannelCall>,
    /// Start of the segment that the channel works on.
    pub segment: Option<TxId>,
    pub progress: SegmentProgress,
    /// The next transaction to send.
    pub next: TxId,
    /// Last transaction that is durable there, with all before it.
    pub acked: TxId,
    pub backoff: Micros,
    pub last_sent: Micros,
    /// When a lease was asked for last.
    pub last_lease_asked: Micros,
    /// Sending time of the last request that was answered with success.
    pub last_success: Micros,
    /// When it fell out of sync. An answer to a call that was sent later shows that it is back.
    pub lost_at: Micros,
    /// It refused to open the last segment, so it would refuse the next one, too.
    pub refused: bool,
    /// Committed transaction that it was told last.
    pub told_committed: Option<TxId>,
}

/// First pause before an unreachable JournalNode is tried again, in microseconds.
pub(super) const BACKOFF_MIN: Micros = 20_000;
/// Longest such pause.
pub(super) const BACKOFF_MAX: Micros = 500_000;

impl Channel {
    pub fn new() -> Self {
        Channel {
            ours: None,
            endpoint: None,
            fenced: false,
            fenced_at: 0,
            left_behind: None,
            ask_promise_at: 0,
            unpromised: None,
            distrusted: false,
            gone: false,
            serial: 0,
            in_flight: BTreeMap::new(),
            waiting: Vec::new(),
            segment: None,
            progress: SegmentProgress::GivenUp,
            next: TxId(0),
            acked: TxId(0),
            backoff: BACKOFF_MIN,
            last_sent: 0,
            last_lease_asked: 0,
            last_success: 0,
            lost_at: 0,
            refused: false,
            told_committed: None,
        }
    }

    /// The JournalNode said that it has promised a higher epoch.
    pub fn fence(&mut self, now: Micros) {
        if !self.fenced {
            self.fenced = true;
            self.fenced_at = now;
            self.left_behind = None;
        }
    }

    /// The reason that kept the JournalNode out is gone. It is asked to promise our epoch, and takes part once it has.
    pub fn let_in(&mut self, now: Micros) {
        self.fenced = false;
        self.left_behind = None;
        self.refused = false;
        self.unpromised = Some(now);
    }

    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether only batches are under way, and fewer than `depth`.
    pub fn has_room_for_batch(&self, depth: usize) -> bool {
        let depth = if self.ours == Some(true) { depth } else { 1 };
        self.in_flight.len() < depth && self.in_flight.values().all(|call| call.op.is_journal())
    }

    /// The JournalNode missed something. What it acknowledged beyond the committed transaction counts no more, because
    /// its disk may be new.
    pub fn fall_out_of_sync(&mut self, committed: TxId, now: Micros) {
        self.acked = self.acked.min(committed);
        if matches!(self.progress, SegmentProgress::Current | SegmentProgress::Fresh) {
            self.lost_at = now;
        }
        if matches!(
            self.progress,
            SegmentProgress::Current | SegmentProgress::Fresh | SegmentProgress::Behind { .. }
        ) {
            self.progress = SegmentProgress::Behind {
                retry_at: now + self.backoff,
            };
            self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Asserts the invariants that hold between calls. At most `depth` batches are under way.
    pub fn check(&self, depth: usize) {
        assert!(self.in_flight.len() <= depth.max(1), "more is under way than may be");
        assert!(
            !self.gone || (self.in_flight.is_empty() && self.waiting.is_empty()),
            "one that is gone is asked"
        );
        assert!((BACKOFF_MIN..=BACKOFF_MAX).contains(&self.backoff));
        if self.progress == SegmentProgress::Current {
            assert!(
                self.segment.is_some_and(|segment| segment <= self.next),
                "in sync in no segment"
            );
            assert!(self.acked < self.next, "acknowledged what was not sent");
        }
        for call in self.in_flight.values() {
            assert!(call.sent <= self.last_sent, "sent after the last call");
        }
    }

    pub fn work_at(&mut self, segment: TxId) {
        self.segment = Some(segment);
        self.progress = SegmentProgress::Fresh;
        self.next = segment;
        self.backoff = BACKOFF_MIN;
    }
}
