//! Lives of a namesystem. A life begins when a namespace is loaded, when this NameNode becomes active, and when it
//! ceases to be active; it ends when the next one begins, or when its state turns out to be useless.
//!
//! What is known of a transaction is known within one life: the same id can name another writer's transaction in the
//! next life. So whatever outlives a lock (a reply that waits, an image that is being saved, the edit log's task)
//! holds the [`Life`] or the [`Generation`] under which it was made, and asks only that one.
//!
//! Invariants:
//! - Within a process no two lives have the same generation.
//! - A life that has ended stays ended.
//! - Its positions only grow, in their order ([`crate::positions`]). Nothing of a later life moves them, so what is once
//!   known of a transaction of a life stays true of it.
//!
//! Nothing in Hadoop corresponds to it: there the process exits where a life would end here.

use crate::positions::{BeyondSent, SharedPositions};
use hathi_formats::ids::TxId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Which life. Two of them are the same or they are not; neither is more than the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64);

impl Generation {
    /// To publish it without a lock.
    #[must_use]
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) fn from_bits(bits: u64) -> Generation {
        Generation(bits)
    }
}

#[derive(Debug)]
struct Facts {
    generation: Generation,
    /// Lives of this process so far.
    lives: Arc<AtomicU64>,
    positions: SharedPositions,
    ended: AtomicBool,
}

/// A life, and what is known in it. Copies share what they know.
#[derive(Clone, Debug)]
pub struct Life(Arc<Facts>);

impl Life {
    fn begin(lives: Arc<AtomicU64>, synced: TxId) -> Life {
        Life(Arc::new(Facts {
            generation: Generation(lives.fetch_add(1, Ordering::Relaxed)),
            lives,
            positions: SharedPositions::at(synced),
            ended: AtomicBool::new(false),
        }))
    }

    /// The first one of a process.
    #[must_use]
    pub fn first() -> Life {
        Life::begin(Arc::default(), TxId(0))
    }

    /// Ends this one and begins the next, in which everything up to `synced` is durable and proven.
    #[must_use]
    pub fn next(&self, synced: TxId) -> Life {
        self.end();
        Life::begin(self.0.lives.clone(), synced)
    }

    /// Its name.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.0.generation
    }

    /// What it shares of its positions.
    pub(crate) fn positions(&self) -> &SharedPositions {
        &self.0.positions
    }

    /// The last transaction handed to who writes to the journals.
    #[must_use]
    pub fn sent(&self) -> TxId {
        self.0.positions.sent()
    }

    /// The highest transaction of this life that a quorum has on disk: as it told the writer, when this NameNode is
    /// the writer, or as was believed when it was replayed. Read without any lock.
    #[must_use]
    pub fn synced(&self) -> TxId {
        self.0.positions.synced()
    }

    /// A quorum told this NameNode, the writer, that it has everything up to there.
    ///
    /// # Errors
    /// It can't have that: this NameNode is not the writer it takes itself for.
    pub fn acknowledge(&self, to: TxId) -> Result<(), BeyondSent> {
        self.0.positions.acknowledge(to)
    }

    /// The highest transaction up to which this life's history is known to be what the journal holds for good. Images
    /// hold no more, and nothing else is taken along into the next life.
    #[must_use]
    pub fn proven(&self) -> TxId {
        self.0.positions.proven()
    }

    /// More is proven, of what was replayed; never less.
    pub(crate) fn advance_proven(&self, to: TxId) {
        self.0.positions.advance_proven(to);
    }

    /// For tests: all of it was sent, and a quorum has it.
    #[cfg(test)]
    pub(crate) fn advance_synced(&self, to: TxId) {
        drop(crate::positions::Positions::new(self.clone(), to));
    }

    /// Nothing of it may be shown, sent or saved any more.
    pub fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
    }

    /// Whether it is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_life_learns_is_not_learnt_by_an_earlier_one() {
        let first = Life::first();
        let kept = first.clone();
        first.advance_synced(TxId(3));
        let second = first.next(TxId(2));
        second.advance_synced(TxId(9));
        assert!(kept.has_ended());
        assert!(!second.has_ended());
        assert_eq!((kept.synced(), second.synced()), (TxId(3), TxId(9)));
        assert_ne!(kept.generation(), second.generation());
        assert_ne!(kept.next(TxId(0)).generation(), second.generation());
        second.advance_synced(TxId(5));
        assert_eq!(second.synced(), TxId(9), "never backward");
    }
}
