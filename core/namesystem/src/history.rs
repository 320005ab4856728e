//! Whether what a standby has replayed is what the journal holds for good.
//!
//! A standby replays edits while their segment is still being written. They were said to be durable, but whoever recovers
//! that segment decides what stays in it: a disk may have lost what a reader was given, JournalNodes may have been set
//! back by their operator, Hadoop's count as durable what is in a majority's memory. Then the standby is ahead of the
//! journal, or holds other content of the same length, and each later edit would be applied to the wrong namespace.
//!
//! How it is noticed:
//! - Only one writer's edits can become durable in an epoch, and it sends each transaction once. So as long as the
//!   epoch of the writer stays what it was, nothing has to be compared: [`History::judge`] hears of the epochs about
//!   once a second, and with that everything replayed until then is *proven*. A writer is known to be alone when a
//!   majority of JournalNodes has promised its epoch and had a segment started in it, because then its recovery was
//!   done; that it still is follows from a majority that still promises it, or from a majority of which none promises
//!   more, as any two majorities meet.
//! - With a new writer's epoch, the *stretch* that was replayed since then is read once more and compared by a digest.
//!   That is a second's worth of edits, mostly out of the memory of a JournalNode.
//! - JournalNodes that tell no epochs (Hadoop's) are compared with segment by segment once each is finalized. What was
//!   read out of finalized segments in the first place needs no proof, and a shared directory gives nothing else.
//! - Whatever is read again for another reason is compared for nothing ([`History::check_overlap`]).
//! - Who wants to become active knows the epoch before its own: when that is the known one, nobody wrote in between, and
//!   nothing has to be compared; otherwise the stretch is compared with what the recovery left.
//!
//! The digest is made of the checksums that stand behind the ops anyway. A step of it can be undone, so two histories
//! that differed once never get equal again, and it costs a multiplication per transaction.
//!
//! Invariants: stretches are in order and without overlap; everything below the first one and above what was loaded is
//! proven; a life's `proven` position never passes the first stretch.

use crate::life::Life;
use crate::tailer::TailError;
use hathi_formats::editlog::{Frame, Frames, OpCode, SEGMENT_HEADER_LEN};
use hathi_formats::ids::{Epoch, TxId};
use std::collections::VecDeque;

/// Segments that may wait for their proof. Each is some kilobytes at least; that many without a majority of JournalNodes
/// that answers is no history any more.
const STRETCHES_MAX: usize = 1000;
/// Odd, so that a multiplication by it can be undone.
const DIGEST_FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
const CHECKSUM_LEN: usize = 4;

/// Of transactions, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// With one more.
    #[must_use]
    pub fn and(self, frame: &Frame<'_>) -> Digest {
        let checksum = frame.bytes.last_chunk::<CHECKSUM_LEN>().copied().unwrap_or_default();
        let own = u64::from(u32::from_be_bytes(checksum)) ^ (frame.txid.0 << 32);
        Digest((self.0.rotate_left(5) ^ own).wrapping_mul(DIGEST_FACTOR))
    }
}

/// Transactions of one segment that are not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The first.
    pub first: TxId,
    /// The last.
    pub last: TxId,
    digest: Digest,
    /// Another segment was started behind it.
    closed: bool,
}

/// Where edits come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A finalized segment.
    Finalized,
    /// A segment that is being written, or a JournalNode's memory.
    Open,
}

/// What a JournalNode of ours tells of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalState {
    /// Its promise.
    pub promised: Epoch,
    /// The epoch in which the last segment was started.
    pub writer: Epoch,
    /// Its highest transaction.
    pub highest: TxId,
}

/// The namespace here is not what the journal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The journal was cut back, or never had it.
    #[error("{applied} was applied, but the journal ends with {last}: what is here is not the journal's history")]
    Ahead {
        /// The last transaction here.
        applied: TxId,
        /// The last one there.
        last: TxId,
    },
    /// The same, and not because of anything replayed: to load it again would change nothing.
    #[error(
        "the newest image holds everything up to {image}, but the journal ends with {last}: \
         was the journal set back, or the image copied from elsewhere?"
    )]
    ImageAhead {
        /// What the image covers.
        image: TxId,
        /// The last transaction of the journal.
        last: TxId,
    },
    /// Other content.
    #[error("transactions {first} to {last} that were applied are not those of the journal")]
    Differs {
        /// The first that may differ.
        first: TxId,
        /// The last that may.
        last: TxId,
    },
    /// No proof for too long.
    #[error("transactions from {first} on can't be compared with the journal")]
    Unproven {
        /// The first.
        first: TxId,
    },
}

impl HistoryError {
    /// Whether another load may help.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, HistoryError::ImageAhead { .. })
    }
}

/// How a comparison ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The same.
    Same,
    /// Other content, or a segment that ends earlier.
    Differs,
    /// The journal does not show all of it yet.
    NotYet,
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    /// The image's, before anything was replayed.
    loaded: TxId,
    stretches: VecDeque<Stretch>,
    /// The writer that alone can make anything durable, as far as is known.
    writer: Option<Epoch>,
}

impl History {
    /// Of a namespace that was loaded, or that this NameNode wrote itself, up to `loaded`.
    #[must_use]
    pub fn new(loaded: TxId) -> History {
        History {
            loaded,
            ..History::default()
        }
    }

    /// A transaction was replayed.
    pub fn replayed(&mut self, frame: &Frame<'_>, source: Source, life: &Life) {
        if frame.code == OpCode::START_LOG_SEGMENT
            && let Some(last) = self.stretches.back_mut()
        {
            last.closed = true;
        }
        match self.stretches.back_mut() {
            None if source == Source::Finalized => life.advance_proven(frame.txid),
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

    /// A transaction that was replayed before is read again. `seen` belongs to the reading, and is empty at its start.
    pub fn check_overlap(
        &mut self,
        seen: &mut Option<Digest>,
        frame: &Frame<'_>,
        source: Source,
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
        if source == Source::Finalized && self.stretches.len() == 1 {
            self.prove(&stretch, life);
        }
        Ok(())
    }

    /// What JournalNodes of ours tell; with `majority` of them. Answers the stretches that are to be compared with the
    /// journal, in their order. What is proven is noted in the life. Nothing may be replayed between the moment at
    /// which the JournalNodes were asked and this call.
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
            // They tell no epochs: finalized segments are compared.
            return Ok(self
                .stretches
                .iter()
                .filter(|stretch| stretch.closed)
                .copied()
                .collect());
        }
        let Some(writer) = self.lone_writer(states, majority) else {
            // Somebody is about to become the writer, or there is none yet: what stays is not decided.
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

    /// The only writer that can have made anything durable since it started its first segment, up to now: promises only
    /// grow, so a majority that promised it now has promised nobody above it before.
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

    /// How the comparison of a stretch ended.
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

    /// Whether everything that was replayed is known to be the journal's.
    pub(crate) fn has_nothing_to_prove(&self) -> bool {
        self.stretches.is_empty()
    }

    /// Panics where an invariant of the module header does not hold.
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

    /// This NameNode has become the writer in `epoch`, and the journal ends with `last`: what is to be compared before it
    /// may serve.
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

/// A stretch that is being compared with what the journal holds.
#[derive(Debug)]
pub struct Comparison {
    stretch: Stretch,
    digest: Digest,
    next: TxId,
}

impl Comparison {
    /// Nothing read yet.
    #[must_use]
    pub fn new(stretch: Stretch) -> Comparison {
        Comparison {
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

    /// Whether all of it was read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.next > self.stretch.last
    }

    /// Takes what is needed out of edits as a JournalNode gave them, of which those up to `limit` stay for good.
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

    /// How it ends. `no_more`: the segment was read to its end, and will not grow.
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
