//! What has left the open edit log, in the order in which the journals get it, and who waits for it.

use hathi_formats::ids::TxId;
use hathi_journal::Micros;
use hathi_journal::group_commit::GroupCommit;
use hathi_namesystem::edit_log::{EditLog, LogItem};
use hathi_namesystem::positions::BeyondSent;
use hathi_namesystem::{Life, Namesystem};
use std::collections::VecDeque;

/// Number of batches at the journals at the same time: one is being synced, and the next is on its way.
pub const BATCHES_UNDER_WAY: usize = 2;

/// The log of one life from which batches are taken.
pub trait OpenLog {
    /// The edit log, or `None` if an edit failed to apply: then the log and the namespace have diverged.
    fn open_log(&self) -> Option<&EditLog>;

    /// [`EditLog::take`]
    fn take_logged(&mut self) -> VecDeque<LogItem>;
}

impl OpenLog for Namesystem {
    fn open_log(&self) -> Option<&EditLog> {
        (!self.is_broken()).then_some(self.edit_log())
    }

    fn take_logged(&mut self) -> VecDeque<LogItem> {
        Namesystem::take_logged(self)
    }
}

impl OpenLog for EditLog {
    fn open_log(&self) -> Option<&EditLog> {
        Some(self)
    }

    fn take_logged(&mut self) -> VecDeque<LogItem> {
        self.take()
    }
}

/// An edit failed to apply, so the namespace is the state of no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Transactions that have become durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Number of transactions.
    pub transactions: u64,
    /// For each batch that ended with it, the time since it was handed to the journals, in microseconds.
    pub batches: Vec<Micros>,
}

/// The edits of one life on their way to the journals. `W` stands for somebody who waits, and is given back when that has
/// come. Whoever waits when the life ends is dropped.
///
/// Invariants:
/// - Items leave in the order of the log, each of them once.
/// - Nothing is handed over behind the end of a segment before a quorum has finalized that segment, because a recovery must
///   find nothing behind an unfinished segment.
/// - At most [`BATCHES_UNDER_WAY`] takings are at the journals, so that batches grow with the load.
#[derive(Debug)]
pub struct Shipping<W> {
    /// The life whose edits are sent, and which is told what is synced.
    life: Option<Life>,
    /// Last transaction of each batch at the journals, and when it was handed over.
    under_way: VecDeque<(TxId, Micros)>,
    /// Whether a batch waits for callers that are about to come. Whoever drives this looks again at
    /// [`Shipping::wake_at`] then.
    group_commit: Option<GroupCommit>,
    /// Transactions and times of batches that were synced since the last look at the open log.
    synced: Vec<(u64, Micros)>,
    /// What was taken from the log and is not handed over yet.
    held: VecDeque<LogItem>,
    finalizing: bool,
    waiting_synced: Waiting<W>,
    waiting_final: Waiting<W>,
}

impl<W> Default for Shipping<W> {
    fn default() -> Self {
        Shipping {
            life: None,
            under_way: VecDeque::new(),
            group_commit: None,
            synced: Vec::new(),
            held: VecDeque::new(),
            finalizing: false,
            waiting_synced: Waiting::default(),
            waiting_final: Waiting::default(),
        }
    }
}

impl<W> Shipping<W> {
    /// Batches wait for callers that are about to come ([`GroupCommit`]). The default takes what there is.
    #[must_use]
    pub fn gathering() -> Self {
        Shipping {
            group_commit: Some(GroupCommit::default()),
            ..Shipping::default()
        }
    }

    /// The log was opened in this life. Its edits are sent from now on.
    pub fn begin(&mut self, life: Life) {
        self.life = Some(life);
    }

    /// Whether edits are sent, so that somebody may wait for them.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.life.is_some()
    }

    /// Whether the journals have been told to finalize a segment, and have not answered.
    #[must_use]
    pub fn is_finalizing(&self) -> bool {
        self.finalizing
    }

    /// Whether [`Shipping::take`] may take something.
    #[must_use]
    pub fn may_take(&self) -> bool {
        self.may_hand_over() && self.held.is_empty()
    }

    fn may_hand_over(&self) -> bool {
        self.life.is_some() && !self.finalizing && self.under_way.len() < BATCHES_UNDER_WAY
    }

    /// Takes the open batch, if it is to leave now.
    ///
    /// # Errors
    /// An edit failed to apply. Nothing more of this life may be sent.
    pub fn take(&mut self, log: &mut impl OpenLog, now: Micros) -> Result<(), Broken> {
        if !self.may_take() {
            return Ok(());
        }
        let open = log.open_log().ok_or(Broken)?;
        let leaves = match &mut self.group_commit {
            Some(group_commit) => {
                let transactions = open.pending_txns();
                for (synced, took) in self.synced.drain(..) {
                    group_commit.synced(synced, transactions, took);
                }
                group_commit.leaves(transactions, open.pending_bytes(), !self.under_way.is_empty(), now)
            }
            None => open.has_pending(),
        };
        if leaves {
            self.held = log.take_logged();
        }
        Ok(())
    }

    /// The next item for the journals, if one may be handed over now.
    pub fn next(&mut self, now: Micros) -> Option<LogItem> {
        if self.life.is_none() || self.finalizing {
            return None;
        }
        let item = self.held.pop_front()?;
        match &item {
            LogItem::StartSegment(_) => {}
            LogItem::Edits { first, count, .. } => {
                let last = TxId(first.0 + u64::from(*count) - 1);
                debug_assert!(
                    self.under_way.back().is_none_or(|(before, _)| *before < last),
                    "batches leave in the order of the log"
                );
                self.under_way.push_back((last, now));
            }
            LogItem::FinalizeSegment { .. } => self.finalizing = true,
        }
        Some(item)
    }

    /// When [`Shipping::take`] has to be called again if nothing else happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Micros> {
        self.group_commit.as_ref().and_then(GroupCommit::wake_at)
    }

    /// A quorum has everything up to this transaction. Whoever waited for it is added to `reached`.
    ///
    /// # Errors
    /// That was never sent, so the quorum speaks of another writer's transactions.
    pub fn on_synced(&mut self, txid: TxId, now: Micros, reached: &mut Vec<W>) -> Result<Synced, BeyondSent> {
        let Some(life) = &self.life else {
            return Ok(Synced::default());
        };
        let before = life.synced();
        life.acknowledge(txid)?;
        let mut synced = Synced {
            transactions: txid.0.saturating_sub(before.0),
            ..Synced::default()
        };
        while let Some(&(last, since)) = self.under_way.front()
            && last <= txid
        {
            self.under_way.pop_front();
            synced.batches.push(now.saturating_sub(since));
        }
        let took = synced.batches.last().copied().unwrap_or(0);
        if self.group_commit.is_some() {
            self.synced.push((synced.transactions, took));
        }
        self.waiting_synced.reached(txid, reached);
        Ok(synced)
    }

    /// A quorum has finalized the segment that ends with this transaction.
    pub fn on_finalized(&mut self, end: TxId, reached: &mut Vec<W>) {
        self.finalizing = false;
        self.waiting_final.reached(end, reached);
    }

    #[cfg(test)]
    pub(super) fn drops_whoever_waits(&self) -> bool {
        self.waiting_synced.for_later.is_empty() && self.waiting_final.for_later.is_empty()
    }

    /// Asserts the invariants that hold between calls.
    pub(super) fn check(&self) {
        let Some(life) = &self.life else {
            assert!(self.under_way.is_empty(), "a batch of no life is under way");
            assert!(self.held.is_empty(), "an item of no life is held");
            assert!(!self.finalizing, "a segment of no life is being finalized");
            let nobody = self.waiting_synced.for_later.is_empty() && self.waiting_final.for_later.is_empty();
            assert!(nobody, "somebody waits for what never comes");
            return;
        };
        assert!(
            self.under_way.iter().is_sorted(),
            "batches are handed over in the order of the log"
        );
        assert!(
            self.under_way.front().is_none_or(|(last, _)| *last > life.synced()),
            "a batch that is synced is not under way"
        );
        assert!(
            self.under_way.back().is_none_or(|(last, _)| *last <= life.sent()),
            "a batch is under way that was not taken from the log"
        );
        assert!(
            self.waiting_synced.for_later.iter().all(|(at, _)| *at > life.synced()),
            "somebody waits for what has come"
        );
    }

    /// Gives `who` back when this transaction is synced, at once if it is.
    pub fn await_synced(&mut self, txid: TxId, who: W, reached: &mut Vec<W>) {
        match &self.life {
            Some(life) if life.synced() >= txid => reached.push(who),
            Some(_) => self.waiting_synced.for_later.push((txid, who)),
            None => {}
        }
    }

    /// Gives `who` back when the segment that ends with this transaction is finalized, at once if it is.
    pub fn await_finalized(&mut self, last: TxId, who: W, reached: &mut Vec<W>) {
        if self.is_on() {
            self.waiting_final.wait(last, who, reached);
        }
    }
}

/// Those who wait until the log of one writer has reached a transaction.
#[derive(Debug)]
struct Waiting<W> {
    reached: Option<TxId>,
    for_later: Vec<(TxId, W)>,
}

impl<W> Default for Waiting<W> {
    fn default() -> Self {
        Waiting {
            reached: None,
            for_later: Vec::new(),
        }
    }
}

impl<W> Waiting<W> {
    fn wait(&mut self, txid: TxId, who: W, reached: &mut Vec<W>) {
        if self.reached >= Some(txid) {
            reached.push(who);
        } else {
            self.for_later.push((txid, who));
        }
    }

    fn reached(&mut self, txid: TxId, reached: &mut Vec<W>) {
        self.reached = self.reached.max(Some(txid));
        reached.extend(self.for_later.extract_if(.., |(at, _)| *at <= txid).map(|(_, who)| who));
    }
}
