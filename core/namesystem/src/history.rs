//! Checks that the edits which a standby has replayed are those that the journal holds for good.
//!
//! A standby replays edits while their segment is still being written. It was told that they are durable, but the
//! NameNode that recovers this segment decides which edits stay. A disk may have lost edits that a reader was given. An
//! operator may have set JournalNodes back. Hadoop's JournalNodes call edits durable that a majority has only in
//! memory. Then the standby is ahead of the journal, or holds other edits under the same ids, and each later edit would
//! be applied to a wrong namespace.
//!
//! How this is noticed:
//! - In an epoch only the edits of its one writer can become durable, and that writer sends each transaction once. So
//!   nothing has to be compared as long as the epoch of the writer stays the same. [`History::judge`] is told the
//!   epochs about once a second, and everything replayed until then is *proven* by that. A writer is known to be alone
//!   when a majority of the JournalNodes has promised its epoch and has a segment of it: then its recovery was done. It
//!   is still alone when a majority still promises its epoch, or when no JournalNode of a majority promises more,
//!   because any two majorities share a JournalNode.
//! - When the writer's epoch changes, the *stretch* that was replayed since the last proof is read once more and
//!   compared by a digest. That is about a second of edits, mostly from the memory of a JournalNode.
//! - Hadoop's JournalNodes tell no epochs. With them, each segment is compared once it is finalized. Edits that were
//!   read from finalized segments need no proof, and a shared directory gives nothing else.
//! - Edits that are read again for another reason are compared on the way ([`History::check_overlap`]).
//! - A NameNode that wants to become active knows the epoch before its own. If that is the known one, no other NameNode
//!   has written in between, and nothing has to be compared. Otherwise the stretch is compared with what the recovery
//!   left.
//!
//! The digest is computed from the checksums that follow the ops anyway. Each step of it is invertible, so two
//! histories that differed once never get the same digest again. A step costs one multiplication per transaction.
//!
//! Invariants: stretches are in order and do not overlap. Everything above the loaded image and below the first stretch
//! is proven. A life's `proven` position never passes the first stretch.

use crate::life::Life;
use crate::tailer::TailError;
use hathi_formats::editlog::{Frame, Frames, OpCode, SEGMENT_HEADER_LEN};
use hathi_formats::ids::{Epoch, TxId};
use std::collections::VecDeque;

/// Largest number of segments that wait for their proof. Each has some kilobytes at least. With this many of them, no
/// majority of the JournalNodes has answered for too long to trust the history.
const STRETCHES_MAX: usize = 1000;
/// An odd number, so that a multiplication by it is invertible.
const DIGEST_FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
const CHECKSUM_LEN: usize = 4;

/// Digest of transactions in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// The digest with one more transaction.
    #[must_use]
    pub fn and(self, frame: &Frame<'_>) -> Digest {
        let checksum = frame.bytes.last_chunk::<CHECKSUM_LEN>().copied().unwrap_or_default();
        let own = u64::from(u32::from_be_bytes(checksum)) ^ (frame.txid.0 << 32);
        Digest((self.0.rotate_left(5) ^ own).wrapping_mul(DIGEST_FACTOR))
    }
}

/// Replayed transactions of one segment that are not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// First transaction.
    pub first: TxId,
    /// Last transaction.
    pub last: TxId,
    digest: Digest,
    /// Whether another segment was started behind it.
    closed: bool,
}

/// Where replayed edits were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditsSource {
    /// A finalized segment.
    Finalized,
    /// A segment that is being written, or a JournalNode's memory.
    Open,
}

/// What one of our JournalNodes says about its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalState {
    /// Its promised epoch.
    pub promised: Epoch,
    /// The epoch in which its last segment was started.
    pub writer: Epoch,
    /// Its highest transaction.
    pub highest: TxId,
}

/// The namespace here is not the one that the journal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The journal ends before the replayed transactions: it was cut back, or never had them.
    #[error("{applied} was applied, but the journal ends with {last}: what is here is not the journal's history")]
    Ahead {
        /// Last applied transaction.
        applied: TxId,
        /// Last transaction of the journal.
        last: TxId,
    },
    /// The journal ends before the image, so another load would change nothing.
    #[error(
        "the newest image holds everything up to {image}, but the journal ends with {last}: \
         was the journal set back, or the image copied from elsewhere?"
    )]
    ImageAhead {
        /// Last transaction that the image holds.
        image: TxId,
        /// Last transaction of the journal.
        last: TxId,
    },
    /// The journal has other transactions under the same ids.
    #[error("transactions {first} to {last} that were applied are not those of the journal")]
    Differs {
        /// First transaction that may differ.
        first: TxId,
        /// Last transaction that may differ.
        last: TxId,
    },
    /// Transactions were not proven for too long.
    #[error("transactions from {first} on can't be compared with the journal")]
    Unproven {
        /// First of them.
        first: TxId,
    },
}

impl HistoryError {
    /// Whether another load can't help either.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, HistoryError::ImageAhead { .. })
    }
}

/// Result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The journal holds the same transactions.
    Same,
    /// The journal holds other transactions, or its segment ends earlier.
    Differs,
    /// The journal does not show all of it yet.
    NotYet,
}

/// The history of the replayed edits; see the module.
#[derive(Debug, Default)]
pub struct History {
    /// Last transaction of the image, or of the part that needs no proof.
    loaded: TxId,
    stretches: VecDeque<Stretch>,
    /// The writer that, as far as is known, alone can make edits durable.
    writer: Option<Epoch>,
}

impl History {
    /// The history of a namespace that was loaded, or written by this NameNode itself, up to `loaded`.
    #[must_use]
    pub fn new(loaded: TxId) -> History {
        History {
            loaded,
            ..History::default()
        }
    }

    /// Notes a replayed transaction.
    pub fn replayed(&mut self, frame: &Frame<'_>, source: EditsSource, life: &Life) {
        if frame.code == OpCode::START_LOG_SEGMENT
            && let Some(last) = self.stretches.back_mut()
        {
            last.closed = true;
        }
        match self.stretches.back_mut() {
            None if source == EditsSource::Finalized => life.advance_proven(frame.txid),
            Some(open) if !open.closed => {
                debug_assert_eq!(open.last.next(), frame.txid);
                open.last = frame.txid;
                open.digest = open.digest.and(frame);
            }
            _ => self.stretches.push_back(Stretch {
                first: frame.txid,
                last: frame.txid,
                digest: Digest::default().and(frame),
                closed: false,
            }),
        }
    }

    /// A transaction that was replayed before is read again. `seen` belongs to this reading, and is empty at its start.
    pub fn check_overlap(
        &mut self,
        seen: &mut Option<Digest>,
        frame: &Frame<'_>,
        source: EditsSource,
        life: &Life,
    ) -> Result<(), HistoryError> {
        let Some(stretch) = self.stretches.back().copied() else {
            return Ok(());
        };
        if frame.txid == stretch.first {
            *seen = Some(Digest::default());
        }
        let Some(digest) = seen.as_mut() else { return Ok(()) };
        *digest = digest.and(frame);
        if frame.txid != stretch.last {
            return Ok(());
        }
        if *digest != stretch.digest {
            return Err(HistoryError::Differs {
                first: stretch.first,
                last: stretch.last,
            });
        }
        if source == EditsSource::Finalized && self.stretches.len() == 1 {
            self.prove(&stretch, life);
        }
        Ok(())
    }

    /// Judges the answers of our JournalNodes; `majority` of them are needed. Returns the stretches that must be
    /// compared with the journal, in their order. What is proven is noted in `life`. Nothing may be replayed between
    /// the moment at which the JournalNodes were asked and this call.
    pub fn judge(
        &mut self,
        states: &[JournalState],
        majority: usize,
        applied: TxId,
        life: &Life,
    ) -> Result<Vec<Stretch>, HistoryError> {
        if self.stretches.len() > STRETCHES_MAX {
            let first = self.stretches.front().map_or(applied, |stretch| stretch.first);
            return Err(HistoryError::Unproven { first });
        }
        if states.len() < majority {
            // The JournalNodes tell no epochs, so finalized segments are compared.
            return Ok(self
                .stretches
                .iter()
                .filter(|stretch| stretch.closed)
                .copied()
                .collect());
        }
        let Some(writer) = self.lone_writer(states, majority) else {
            // A NameNode is about to become the writer, or there is none yet. Which edits stay is not decided.
            return Ok(Vec::new());
        };
        let highest = states.iter().map(|state| state.highest).max().unwrap_or_default();
        if highest < applied {
            return Err(self.ahead(applied, highest));
        }
        if self.writer != Some(writer) {
            if !self.stretches.is_empty() {
                return Ok(self.stretches.iter().copied().collect());
            }
            self.writer = Some(writer);
        }
        self.stretches.clear();
        life.advance_proven(applied);
        Ok(Vec::new())
    }

    /// The only writer that can have made anything durable from its first segment until now. Promises only grow: a
    /// majority that promises its epoch now has never promised a higher one.
    fn lone_writer(&self, states: &[JournalState], majority: usize) -> Option<Epoch> {
        let promised = |epoch| states.iter().filter(|state| state.promised == epoch).count();
        let started = |epoch| {
            states
                .iter()
                .filter(|state| state.promised == epoch && state.writer == epoch)
                .count()
        };
        if let Some(known) = self.writer {
            let nobody_above = states.iter().all(|state| state.promised <= known);
            if nobody_above || promised(known) >= majority {
                return Some(known);
            }
        }
        let mut epochs = states.iter().map(|state| state.writer);
        epochs.find(|epoch| epoch.0 > 0 && started(*epoch) >= majority)
    }

    fn ahead(&self, applied: TxId, last: TxId) -> HistoryError {
        if applied == self.loaded {
            return HistoryError::ImageAhead { image: applied, last };
        }
        HistoryError::Ahead { applied, last }
    }

    /// Takes the result of comparing a stretch.
    pub fn on_compared(&mut self, stretch: &Stretch, compared: Compared, life: &Life) -> Result<(), HistoryError> {
        match compared {
            Compared::Same => self.prove(stretch, life),
            Compared::NotYet => {}
            Compared::Differs => {
                return Err(HistoryError::Differs {
                    first: stretch.first,
                    last: stretch.last,
                });
            }
        }
        Ok(())
    }

    fn prove(&mut self, proven: &Stretch, life: &Life) {
        self.stretches.retain(|stretch| stretch != proven);
        match self.stretches.front() {
            Some(first) => life.advance_proven(TxId(first.first.0.saturating_sub(1))),
            None => life.advance_proven(proven.last),
        }
        debug_assert!(
            self.stretches.front().is_none_or(|first| first.first > life.proven()),
            "what waits for its proof is not proven"
        );
    }

    /// Whether every replayed transaction is known to be the journal's.
    pub(crate) fn has_nothing_to_prove(&self) -> bool {
        self.stretches.is_empty()
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self, applied: TxId, life: &Life) {
        let mut before = life.proven();
        for (at, stretch) in self.stretches.iter().enumerate() {
            let (first, last) = (stretch.first, stretch.last);
            assert!(
                first > before,
                "{first} to {last} is to be compared behind {before}, which is proven or in the stretch before"
            );
            assert!(last >= first, "a stretch from {first} to {last}");
            assert!(
                stretch.closed || at + 1 == self.stretches.len(),
                "the stretch from {first} to {last} would grow into the next one"
            );
            before = last;
        }
        assert!(before <= applied, "{before} is to be compared and was not applied");
    }

    /// The stretches that must be compared before this NameNode may serve. It has become the writer in `epoch`, and the
    /// journal ends with `last`.
    pub fn before_active(&self, epoch: Epoch, last: Option<TxId>, applied: TxId) -> Result<Vec<Stretch>, HistoryError> {
        let last = last.unwrap_or(self.loaded);
        if last < applied {
            return Err(self.ahead(applied, last));
        }
        if self.writer.is_some_and(|writer| writer.0 + 1 == epoch.0) {
            return Ok(Vec::new());
        }
        Ok(self.stretches.iter().copied().collect())
    }
}

/// The comparison of a stretch with what the journal holds.
#[derive(Debug)]
pub struct StretchComparison {
    stretch: Stretch,
    digest: Digest,
    next: TxId,
}

impl StretchComparison {
    /// A comparison that has read nothing yet.
    #[must_use]
    pub fn new(stretch: Stretch) -> StretchComparison {
        StretchComparison {
            stretch,
            digest: Digest::default(),
            next: stretch.first,
        }
    }

    /// The next transaction that is needed.
    #[must_use]
    pub fn next(&self) -> TxId {
        self.next
    }

    /// Whether all transactions of the stretch were read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.next > self.stretch.last
    }

    /// Reads the needed transactions from edits that a JournalNode gave. Those up to `limit` stay for good.
    pub fn read(&mut self, edits: &[u8], limit: TxId) -> Result<(), TailError> {
        let body = edits.get(SEGMENT_HEADER_LEN..).unwrap_or_default();
        let mut frames = Frames::new(body, SEGMENT_HEADER_LEN as u64);
        while !self.is_whole()
            && let Some(frame) = frames.next_frame()?
        {
            if frame.txid > limit {
                break;
            }
            if frame.txid == self.next {
                debug_assert!(
                    self.next <= self.stretch.last,
                    "what is behind a stretch is not compared"
                );
                self.digest = self.digest.and(&frame);
                self.next = self.next.next();
            }
        }
        Ok(())
    }

    /// Result of the comparison. `no_more`: the segment was read to its end and will not grow.
    #[must_use]
    pub fn outcome(&self, no_more: bool) -> Compared {
        match (self.is_whole(), no_more) {
            (true, _) if self.digest == self.stretch.digest => Compared::Same,
            (true, _) | (false, true) => Compared::Differs,
            (false, false) => Compared::NotYet,
        }
    }
}

#[cfg(test)]
mod tests;
