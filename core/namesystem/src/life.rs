//! Lives of a namesystem. A life begins when a namespace is loaded, when this NameNode becomes active, and when it
//! stops being active. It ends when the next life begins, or when the state turns out to be useless.
//!
//! Knowledge about a transaction holds within one life only, because in the next life the same id can name another
//! writer's transaction. So everything that outlives a hold of the lock (a waiting reply, an image that is being saved,
//! the edit log's task) keeps the [`Life`] or the [`Generation`] in which it was made, and asks only that one.
//!
//! Invariants:
//! - Within a process no two lives have the same generation.
//! - A life that has ended stays ended.
//! - The positions of a life only grow, in their order ([`crate::positions`]). Nothing of a later life moves them, so
//!   whatever was once known about a transaction of a life stays true.
//!
//! Hadoop has nothing like it: its process exits where a life would end here.

use crate::positions::{BeyondSent, SharedPositions};
use hathi_formats::ids::TxId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Identity of a life. Two generations are equal or not; they have no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64);

impl Generation {
    /// The generation as a number, to be published without a lock.
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
    /// Number of lives of this process so far.
    lives: Arc<AtomicU64>,
    positions: SharedPositions,
    ended: AtomicBool,
}

/// A life and what is known in it. Clones share this knowledge.
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

    /// The first life of a process.
    #[must_use]
    pub fn first() -> Life {
        Life::begin(Arc::default(), TxId(0))
    }

    /// Ends this life and begins the next, in which everything up to `synced` is durable and proven.
    #[must_use]
    pub fn next(&self, synced: TxId) -> Life {
        self.end();
        Life::begin(self.0.lives.clone(), synced)
    }

    /// Identity of this life.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.0.generation
    }

    /// The positions that are shared without a lock.
    pub(crate) fn positions(&self) -> &SharedPositions {
        &self.0.positions
    }

    /// The last transaction that was handed to the writer of the journals.
    #[must_use]
    pub fn sent(&self) -> TxId {
        self.0.positions.sent()
    }

    /// The highest transaction of this life that a quorum has on disk. If this NameNode is the writer, the quorum has
    /// told it so; of replayed transactions it is assumed. Reading it takes no lock.
    #[must_use]
    pub fn synced(&self) -> TxId {
        self.0.positions.synced()
    }

    /// A quorum told this NameNode, as the writer, that it has everything up to `to`.
    ///
    /// # Errors
    /// The quorum can't have that, so this NameNode is not the writer that it takes itself for.
    pub fn acknowledge(&self, to: TxId) -> Result<(), BeyondSent> {
        self.0.positions.acknowledge(to)
    }

    /// The highest transaction up to which this life's history is known to be what the journal holds for good. Images
    /// hold nothing above it, and nothing above it is taken into the next life.
    #[must_use]
    pub fn proven(&self) -> TxId {
        self.0.positions.proven()
    }

    /// Raises the proven position of replayed transactions. It never goes back.
    pub(crate) fn advance_proven(&self, to: TxId) {
        self.0.positions.advance_proven(to);
    }

    /// For tests: everything up to `to` was sent, and a quorum has it.
    #[cfg(test)]
    pub(crate) fn advance_synced(&self, to: TxId) {
        drop(crate::positions::Positions::new(self.clone(), to));
    }

    /// Ends the life: nothing of it may be shown, sent or saved any more.
    pub fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
    }

    /// Whether the life has ended.
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
