//! What the writer knows of one JournalNode, and what it has under way there (`qjournal.client.IPCLoggerChannel`).

use std::collections::BTreeMap;

use hathi_formats::ids::{Epoch, TxId};

use super::CallId;
use crate::messages::{Micros, SegmentState};

/// A call under way or waiting, without epoch, serial and commit, which are attached when it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    GetJournalState,
    NewEpoch {
        epoch: Epoch,
    },
    /// The same in office, of a JournalNode that missed the election.
    Establish,
    /// Which epoch it has promised that is higher than ours.
    AskPromise,
    Prepare {
        segment: TxId,
    },
    Accept {
        state: SegmentState,
        from_url: String,
        chosen_epoch: Option<Epoch>,
    },
    /// The end of a recovery.
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
    /// Before it is added.
    Join,
    SetMembership {
        version: u64,
    },
}

impl Op {
    fn is_journal(&self) -> bool {
        matches!(self, Op::Journal { .. })
    }
}

#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub op: Op,
    pub sent: Micros,
    /// [`super::QuorumWriter::round`] at that time.
    pub round: u64,
    pub committed: Option<TxId>,
}

/// How a JournalNode stands to the segment the channel works at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// Has not opened it yet; to be asked.
    Fresh,
    /// Takes batches in order.
    Current,
    /// Missed something or cannot be reached; to be caught up not before this moment.
    Behind { retry_at: Micros },
    /// Cannot be caught up; waits for the next segment.
    GivenUp,
    /// Has finalized it.
    Finalized,
}

#[derive(Clone, Debug)]
pub(super) struct Channel {
    /// Knows our extensions; `None` until it answered `newEpoch`.
    pub ours: Option<bool>,
    /// From `getJournalState`: scheme and port of the HTTP server.
    pub endpoint: Option<(String, u16)>,
    /// Promised a higher epoch.
    pub fenced: bool,
    /// Since when.
    pub fenced_at: Micros,
    /// Of one that was left behind by an election: its promise, as it said when it was asked last.
    pub left_behind: Option<Epoch>,
    /// When it may be asked for its promise again.
    pub ask_promise_at: Micros,
    /// Said that it has not promised our epoch to us: to be asked for that before anything else, from this moment on.
    pub unpromised: Option<Micros>,
    /// Said something that can't be true beside what all others say: its word counts for nothing in this recovery.
    pub distrusted: bool,
    /// Is no JournalNode of the journal any more, or never was.
    pub gone: bool,
    pub serial: u64,
    pub in_flight: BTreeMap<CallId, InFlight>,
    /// Calls of a recovery and purges, before anything else.
    pub waiting: Vec<Op>,
    /// The segment it works at.
    pub segment: Option<TxId>,
    pub sync: Sync,
    /// The next transaction to send.
    pub next: TxId,
    /// All up to here is durable there.
    pub acked: TxId,
    pub backoff: Micros,
    pub last_sent: Micros,
    /// When the last lease was asked for.
    pub last_lease_asked: Micros,
    /// When the request was sent that was last answered with success.
    pub last_success: Micros,
    /// When it fell out of sync: calls sent later and answered tell that it is back.
    pub lost_at: Micros,
    /// Refused to open the last segment: it would refuse the next one, too.
    pub refused: bool,
    /// The commit it was told last.
    pub told_committed: Option<TxId>,
}

/// First pause before an unreachable JournalNode is tried again.
pub(super) const BACKOFF_MIN: Micros = 20_000;
/// Longest pause.
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
            sync: Sync::GivenUp,
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

    /// It said that it has promised a higher epoch.
    pub fn fence(&mut self, now: Micros) {
        if !self.fenced {
            self.fenced = true;
            self.fenced_at = now;
            self.left_behind = None;
        }
    }

    /// What kept it out is over: it is asked for its promise of our epoch, and takes part again when it has given it.
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

    /// It missed something: what it acknowledged beyond the commit is no longer counted on, its disk may be new.
    pub fn fall_out_of_sync(&mut self, committed: TxId, now: Micros) {
        self.acked = self.acked.min(committed);
        if matches!(self.sync, Sync::Current | Sync::Fresh) {
            self.lost_at = now;
        }
        if matches!(self.sync, Sync::Current | Sync::Fresh | Sync::Behind { .. }) {
            self.sync = Sync::Behind {
                retry_at: now + self.backoff,
            };
            self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// What must hold between calls, with so many batches under way at most.
    pub fn check(&self, depth: usize) {
        assert!(self.in_flight.len() <= depth.max(1), "more is under way than may be");
        assert!(
            !self.gone || (self.in_flight.is_empty() && self.waiting.is_empty()),
            "one that is gone is asked"
        );
        assert!((BACKOFF_MIN..=BACKOFF_MAX).contains(&self.backoff));
        if self.sync == Sync::Current {
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
        self.sync = Sync::Fresh;
        self.next = segment;
        self.backoff = BACKOFF_MIN;
    }
}
