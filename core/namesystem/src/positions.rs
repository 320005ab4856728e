//! Positions of the edit log in one life of the namesystem ([`crate::life`]).
//!
//! ```text
//! applied  ≥  sealed          ≥  sent                     ≥  synced            ≥  proven
//! to the      in a batch that    handed to who writes to     on disk of a         of the journal
//! namespace   gets no more       the journals                quorum               for good
//! ```
//!
//! Invariants:
//! - The positions are in this order, and each of them only grows while a life lasts.
//! - Only the edit log moves `applied`, `sealed` and `sent`, under the namesystem's lock.
//! - `synced` and `proven` are read and moved without a lock. Only an answer of a quorum, or edits that were read from
//!   the journal, move `synced`. An answer beyond `sent` moves nothing: it does not answer this writer, which is then
//!   no writer any more.

use crate::life::Life;
use hathi_formats::ids::TxId;
use std::sync::atomic::{AtomicU64, Ordering};

/// A quorum says that it has transactions that this NameNode has not sent. So this NameNode is not the writer of the
/// journal any more, and must stop like one that lost its quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quorum says that it has transactions up to {synced}, and only those up to {sent} were sent")]
pub struct BeyondSent {
    /// Last transaction that the quorum says it has.
    pub synced: TxId,
    /// Last transaction that was sent.
    pub sent: TxId,
}

/// The positions of a life that are read without the namesystem's lock.
#[derive(Debug)]
pub(crate) struct SharedPositions {
    sent: AtomicU64,
    synced: AtomicU64,
    proven: AtomicU64,
}

impl SharedPositions {
    /// All positions at one transaction.
    pub(crate) fn at(txid: TxId) -> SharedPositions {
        SharedPositions {
            sent: AtomicU64::new(txid.0),
            synced: AtomicU64::new(txid.0),
            proven: AtomicU64::new(txid.0),
        }
    }

    pub(crate) fn sent(&self) -> TxId {
        TxId(self.sent.load(Ordering::Acquire))
    }

    pub(crate) fn synced(&self) -> TxId {
        TxId(self.synced.load(Ordering::Acquire))
    }

    pub(crate) fn proven(&self) -> TxId {
        TxId(self.proven.load(Ordering::Acquire))
    }

    /// A quorum told the writer that it has everything up to `to`. Answers may arrive in any order.
    pub(crate) fn acknowledge(&self, to: TxId) -> Result<(), BeyondSent> {
        // A transaction is sent before it is synced, so `sent` is read after it was raised.
        let sent = self.sent();
        if to > sent {
            return Err(BeyondSent { synced: to, sent });
        }
        self.synced.fetch_max(to.0, Ordering::AcqRel);
        self.proven.fetch_max(to.0, Ordering::AcqRel);
        Ok(())
    }

    pub(crate) fn advance_proven(&self, to: TxId) {
        debug_assert!(to <= self.synced(), "{to} is proven and not replayed");
        self.proven.fetch_max(to.0, Ordering::AcqRel);
    }

    fn advance_sent(&self, to: TxId) {
        debug_assert!(to >= self.sent(), "what was sent stays sent");
        self.sent.fetch_max(to.0, Ordering::AcqRel);
    }

    /// Reads the later positions first, and so sees them in order.
    pub(crate) fn check(&self) {
        let (proven, synced, sent) = (self.proven(), self.synced(), self.sent());
        assert!(proven <= synced, "proven {proven} beyond synced {synced}");
        assert!(synced <= sent, "synced {synced} beyond sent {sent}");
    }
}

/// All positions of a life: those of the edit log, and those that are shared.
#[derive(Debug)]
pub struct Positions {
    applied: TxId,
    sealed: TxId,
    life: Life,
}

impl Positions {
    /// The positions of a namespace that holds everything up to `applied`, all of it durable and proven.
    #[must_use]
    pub fn new(life: Life, applied: TxId) -> Positions {
        life.positions().advance_sent(applied.max(life.positions().sent()));
        let positions = Positions {
            applied,
            sealed: applied,
            life,
        };
        positions.life.positions().synced.fetch_max(applied.0, Ordering::AcqRel);
        positions.life.positions().advance_proven(applied);
        positions
    }

    /// The last transaction applied to the namespace.
    #[must_use]
    pub fn applied(&self) -> TxId {
        self.applied
    }

    /// The last transaction in a sealed batch.
    #[must_use]
    pub fn sealed(&self) -> TxId {
        self.sealed
    }

    /// The life that the positions belong to.
    #[must_use]
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// One more transaction was applied. Returns it.
    pub(crate) fn apply(&mut self) -> TxId {
        let next = self.applied.next();
        debug_assert!(next > self.applied, "no id is left for another transaction");
        self.applied = next;
        next
    }

    /// The open batch is sealed.
    pub(crate) fn seal(&mut self) {
        self.sealed = self.applied;
    }

    /// Everything sealed is handed to the writer of the journals.
    pub(crate) fn send(&mut self) {
        self.life.positions().advance_sent(self.sealed);
    }

    /// A transaction was read from the journal, which gives only durable ones, and applied. That it is durable is the
    /// JournalNode's word; it is not proven yet.
    pub(crate) fn replay(&mut self, txid: TxId) {
        assert!(txid > self.applied, "replayed {txid} at {}", self.applied);
        self.applied = txid;
        self.sealed = txid;
        let shared = self.life.positions();
        // Sent is raised first, because a synced transaction was sent.
        shared.advance_sent(txid);
        shared.synced.fetch_max(txid.0, Ordering::AcqRel);
    }

    /// Ends the life and begins the next, in which everything applied counts as durable and proven.
    pub(crate) fn begin_life(&mut self) {
        assert!(
            self.life.synced() >= self.applied,
            "a life begins with transactions that no quorum has"
        );
        self.life = self.life.next(self.applied);
        self.sealed = self.applied;
        debug_assert_eq!(
            self.life.proven(),
            self.applied,
            "a life begins with what is in the journal for good"
        );
    }

    /// Asserts the invariants that hold at any moment.
    pub fn check(&self) {
        self.life.positions().check();
        let sent = self.life.sent();
        assert!(
            self.sealed <= self.applied,
            "sealed {} beyond applied {}",
            self.sealed,
            self.applied
        );
        assert!(sent <= self.sealed, "sent {sent} beyond sealed {}", self.sealed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quorums_answer_beyond_what_was_sent_is_refused_and_moves_nothing() {
        let mut positions = Positions::new(Life::first(), TxId(7));
        let life = positions.life().clone();
        for _ in 0..3 {
            positions.apply();
        }
        let beyond = |sent| {
            Err(BeyondSent {
                synced: TxId(9),
                sent: TxId(sent),
            })
        };
        assert_eq!(life.acknowledge(TxId(9)), beyond(7), "applied is not sent");
        positions.seal();
        assert_eq!(life.acknowledge(TxId(9)), beyond(7), "nor is sealed");
        positions.send();
        assert_eq!(life.acknowledge(TxId(9)), Ok(()));
        assert_eq!(life.acknowledge(TxId(8)), Ok(()), "heard late");
        assert_eq!(life.acknowledge(TxId(u64::MAX)).map_err(|e| e.sent), Err(TxId(10)));
        assert_eq!((life.synced(), life.proven()), (TxId(9), TxId(9)));
        positions.check();
    }

    #[test]
    fn what_a_later_life_sends_is_not_sent_in_an_earlier_one() {
        let mut positions = Positions::new(Life::first(), TxId(7));
        let before = positions.life().clone();
        positions.begin_life();
        positions.apply();
        positions.seal();
        positions.send();
        assert!(before.acknowledge(TxId(8)).is_err());
        assert_eq!(positions.life().acknowledge(TxId(8)), Ok(()));
        assert_eq!(before.synced(), TxId(7));
    }

    proptest! {
        /// The order holds and no position goes back, whatever the edit log and the quorum do.
        #[test]
        fn the_order_holds(steps in proptest::collection::vec(0u8..8, 1..200)) {
            let mut positions = Positions::new(Life::first(), TxId(3));
            for step in steps {
                let life = positions.life().clone();
                let before = (positions.applied(), positions.sealed(), life.sent(), life.synced(), life.proven());
                match step {
                    0 | 1 => drop(positions.apply()),
                    2 => positions.seal(),
                    3 => positions.send(),
                    4 => drop(life.acknowledge(TxId(life.synced().0 + 2))),
                    5 => drop(life.acknowledge(life.sent())),
                    6 if life.synced() == positions.applied() => positions.replay(positions.applied().next()),
                    7 if life.synced() == positions.applied() => positions.begin_life(),
                    _ => {}
                }
                positions.check();
                let now = positions.life();
                let after = (positions.applied(), positions.sealed(), now.sent(), now.synced(), now.proven());
                prop_assert!(
                    after.0 >= before.0 && after.1 >= before.1 && after.2 >= before.2 && after.3 >= before.3 && after.4 >= before.4,
                    "{step}: {before:?} {after:?}"
                );
            }
        }
    }
}
