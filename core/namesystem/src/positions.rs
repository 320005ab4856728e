//! How far the edit log is in one life of the namesystem ([`crate::life`]).
//!
//! ```text
//! applied  ≥  sealed          ≥  sent                     ≥  synced            ≥  proven
//! to the      in a batch that    handed to who writes to     on disk of a         of the journal
//! namespace   gets no more       the journals                quorum               for good
//! ```
//!
//! Invariants:
//! - The positions are in this order, and each only grows while a life lasts.
//! - `applied`, `sealed` and `sent` are moved by the edit log alone, under the namesystem's lock.
//! - `synced` and `proven` are read and moved without a lock. Nothing but an answer of a quorum, and what was read out of
//!   the journal, moves `synced`; an answer beyond `sent` moves nothing: it is no answer to this writer, which by then is
//!   none.

use crate::life::Life;
use hathi_formats::ids::TxId;
use std::sync::atomic::{AtomicU64, Ordering};

/// A quorum is said to have what nobody has sent: whoever hears that is not the writer of the journal any more, whatever
/// it believes, and has to stop as one that lost its quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quorum says that it has transactions up to {synced}, and only those up to {sent} were sent")]
pub struct BeyondSent {
    /// What it is said to have.
    pub synced: TxId,
    /// What was sent.
    pub sent: TxId,
}

/// The positions that are read without the namesystem's lock. They belong to a life.
#[derive(Debug)]
pub(crate) struct SharedPositions {
    sent: AtomicU64,
    synced: AtomicU64,
    proven: AtomicU64,
}

impl SharedPositions {
    /// All at one transaction.
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

    /// A quorum told the writer that it has everything up to there. What it told later counts when it is heard earlier.
    pub(crate) fn acknowledge(&self, to: TxId) -> Result<(), BeyondSent> {
        // Sent before it was synced, so what is read here is enough.
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

    /// Who reads the later positions first, sees them in order.
    pub(crate) fn check(&self) {
        let (proven, synced, sent) = (self.proven(), self.synced(), self.sent());
        assert!(proven <= synced, "proven {proven} beyond synced {synced}");
        assert!(synced <= sent, "synced {synced} beyond sent {sent}");
    }
}

/// All positions of a life: those of the edit log, and those that its life shares.
#[derive(Debug)]
pub struct Positions {
    applied: TxId,
    sealed: TxId,
    life: Life,
}

impl Positions {
    /// Of a namespace that holds everything up to `applied`, which is durable and proven.
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

    /// The last transaction in a batch that gets no more.
    #[must_use]
    pub fn sealed(&self) -> TxId {
        self.sealed
    }

    /// The life they belong to.
    #[must_use]
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// One more transaction was applied; answers it.
    pub(crate) fn apply(&mut self) -> TxId {
        let next = self.applied.next();
        debug_assert!(next > self.applied, "no id is left for another transaction");
        self.applied = next;
        next
    }

    /// The open batch gets no more.
    pub(crate) fn seal(&mut self) {
        self.sealed = self.applied;
    }

    /// All that is sealed is handed to who writes.
    pub(crate) fn send(&mut self) {
        self.life.positions().advance_sent(self.sealed);
    }

    /// A transaction was read out of the journal, which gives durable ones only, and applied. That it is durable is
    /// believed by who shows it; it is not proven yet.
    pub(crate) fn replay(&mut self, txid: TxId) {
        assert!(txid > self.applied, "replayed {txid} at {}", self.applied);
        self.applied = txid;
        self.sealed = txid;
        let shared = self.life.positions();
        // In this order: what is synced was sent.
        shared.advance_sent(txid);
        shared.synced.fetch_max(txid.0, Ordering::AcqRel);
    }

    /// Ends the life and begins the next, in which what is applied counts as durable and proven.
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

    /// What must hold at any moment.
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
        /// Whatever the edit log and the quorum do, and whenever: the order holds, and no position goes back.
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
