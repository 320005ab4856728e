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
//! - `proven ≤ synced` of a life, and both only grow. Nothing of a later life moves them, so what is once known of a
//!   transaction of a life stays true of it.
//!
//! Nothing in Hadoop corresponds to it: there the process exits where a life would end here.

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
    synced: AtomicU64,
    proven: AtomicU64,
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
            synced: AtomicU64::new(synced.0),
            proven: AtomicU64::new(synced.0),
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

    /// The highest transaction of this life that a quorum has on disk: as it told the writer, when this NameNode is
    /// the writer, or as was believed when it was replayed. Read without any lock.
    #[must_use]
    pub fn synced(&self) -> TxId {
        TxId(self.0.synced.load(Ordering::Acquire))
    }

    /// A quorum told this NameNode, the writer, that it has everything up to there.
    pub fn advance_synced(&self, to: TxId) {
        self.0.synced.fetch_max(to.0, Ordering::AcqRel);
        self.advance_proven(to);
    }

    /// Everything up to there was replayed out of the journal, which gives durable transactions only. That is believed
    /// by who shows it; it is not proven yet.
    pub fn advance_replayed(&self, to: TxId) {
        self.0.synced.fetch_max(to.0, Ordering::AcqRel);
    }

    /// The highest transaction up to which this life's history is known to be what the journal holds for good. Images
    /// hold no more, and nothing else is taken along into the next life.
    #[must_use]
    pub fn proven(&self) -> TxId {
        TxId(self.0.proven.load(Ordering::Acquire))
    }

    /// More is proven; never less.
    pub fn advance_proven(&self, to: TxId) {
        self.0.proven.fetch_max(to.0, Ordering::AcqRel);
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
