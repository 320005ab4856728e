//! Decides when a reply may leave. There are two parts: the table of inodes that transactions in flight have touched,
//! and the queue of replies that wait for a transaction.
//!
//! Invariants: a reply leaves only when `synced ≥ after` in the life in which it was made. The gate is open for one
//! life at most, and returns replies of other lives instead of parking them. Replies of one queue leave in the order of
//! their transactions. An inode is in the table as long as the last transaction that touched it is not known to be
//! synced.
//!
//! Hadoop has nothing like it: it answers reads before the edits that they show are durable.

use crate::life::{Generation, Life};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hathi_formats::ids::{InodeId, TxId};
use std::collections::{BTreeMap, VecDeque};

/// Something a reply can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shown {
    /// An inode: its attributes, its content or its place.
    Inode(InodeId),
    /// The children of a directory and its modification time, which change more often than the directory itself.
    Children(InodeId),
}

/// The inodes that transactions in flight have touched.
#[derive(Debug, Default)]
pub struct InFlight {
    last: HashMap<Shown, TxId, FixedState>,
    order: VecDeque<(TxId, Shown)>,
}

impl InFlight {
    /// Notes that `txid` touched `shown`.
    pub fn mark(&mut self, shown: Shown, txid: TxId) {
        debug_assert!(
            self.order.back().is_none_or(|(last, _)| *last <= txid),
            "transactions are applied in their order"
        );
        if self.last.insert(shown, txid) != Some(txid) {
            self.order.push_back((txid, shown));
        }
    }

    /// Forgets entries of synced transactions.
    pub fn prune(&mut self, synced: TxId) {
        while let Some(&(txid, shown)) = self.order.front() {
            if txid > synced {
                break;
            }
            self.order.pop_front();
            if self.last.get(&shown).is_some_and(|&last| last <= synced) {
                self.last.remove(&shown);
            }
        }
    }

    /// The transaction that must be synced before a reply that shows `what` may leave.
    #[must_use]
    pub fn shown_txid(&self, synced: TxId, what: impl IntoIterator<Item = Shown>) -> Option<TxId> {
        if self.last.is_empty() {
            return None;
        }
        what.into_iter()
            .filter_map(|shown| self.last.get(&shown).copied())
            .filter(|&txid| txid > synced)
            .max()
    }

    /// Forgets everything, because the namespace is loaded anew.
    pub fn clear(&mut self) {
        self.last.clear();
        self.order.clear();
    }

    /// Panics when what a transaction in flight has touched could be shown before it is synced.
    pub(crate) fn check(&self, applied: TxId) {
        assert!(
            self.order.iter().map(|(txid, _)| txid).is_sorted(),
            "what was touched first is forgotten first"
        );
        let mut newest: HashMap<Shown, TxId, FixedState> = HashMap::default();
        newest.extend(self.order.iter().map(|&(txid, shown)| (shown, txid)));
        assert_eq!(newest, self.last, "the last transaction that touched each");
        assert!(
            self.order.back().is_none_or(|(last, _)| *last <= applied),
            "a transaction is in flight that was not applied"
        );
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// Replies that wait for a transaction.
#[derive(Debug)]
pub struct ReplyGate<R> {
    /// The life whose replies may wait here. `None` while this NameNode is not active.
    life: Option<Life>,
    /// The waiting replies, by their transaction and then by their order of arrival.
    parked: BTreeMap<(TxId, u64), R>,
    /// Number of replies that have arrived so far.
    came: u64,
}

impl<R> Default for ReplyGate<R> {
    fn default() -> Self {
        ReplyGate {
            life: None,
            parked: BTreeMap::new(),
            came: 0,
        }
    }
}

impl<R> ReplyGate<R> {
    /// This NameNode has become active: replies of this life may wait from now on.
    pub fn open(&mut self, life: Life) {
        assert!(self.parked.is_empty(), "replies of another life are parked");
        self.life = Some(life);
    }

    /// Keeps the reply until `after` is synced. Without `after`, the reply shows nothing in flight and may leave with
    /// the next release. A reply of another life is returned: its transaction may have been lost since, and its id may
    /// now name another one.
    pub fn park(&mut self, made_in: Generation, after: Option<TxId>, reply: R) -> Result<(), R> {
        let Some(life) = self.life.as_ref().filter(|life| life.generation() == made_in) else {
            return Err(reply);
        };
        let after = after.unwrap_or_else(|| life.synced());
        self.parked.insert((after, self.came), reply);
        self.came += 1;
        Ok(())
    }

    /// Takes the replies that may leave now, in the order of their transactions.
    pub fn release(&mut self) -> Vec<R> {
        let Some(life) = self.life.as_ref().filter(|_| !self.parked.is_empty()) else {
            return Vec::new();
        };
        let waiting = self.parked.split_off(&(life.synced().next(), 0));
        std::mem::replace(&mut self.parked, waiting).into_values().collect()
    }

    /// Closes the gate and takes all replies. This NameNode will never acknowledge them.
    pub fn close(&mut self) -> Vec<R> {
        self.life = None;
        std::mem::take(&mut self.parked).into_values().collect()
    }

    /// Number of waiting replies.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parked.len()
    }

    /// Whether no reply waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_is_in_flight_until_its_last_edit_is_synced() {
        let mut table = InFlight::default();
        let (a, b) = (Shown::Inode(InodeId(1)), Shown::Children(InodeId(1)));
        table.mark(a, TxId(5));
        table.mark(b, TxId(6));
        table.mark(a, TxId(7));
        assert_eq!(table.shown_txid(TxId(4), [a]), Some(TxId(7)));
        assert_eq!(table.shown_txid(TxId(4), [b]), Some(TxId(6)));
        assert_eq!(table.shown_txid(TxId(4), [Shown::Inode(InodeId(3))]), None);
        table.prune(TxId(6));
        assert_eq!(table.shown_txid(TxId(6), [a, b]), Some(TxId(7)));
        assert_eq!(table.shown_txid(TxId(6), [b]), None);
        table.prune(TxId(7));
        assert!(table.is_empty());
    }

    fn gate(synced: u64) -> (ReplyGate<u64>, Life) {
        let mut gate = ReplyGate::default();
        let life = Life::first();
        life.advance_synced(TxId(synced));
        gate.open(life.clone());
        (gate, life)
    }

    #[test]
    fn replies_leave_in_the_order_of_their_transactions() {
        let (mut gate, life) = gate(2);
        let park = |gate: &mut ReplyGate<u64>, after| gate.park(life.generation(), Some(TxId(after)), after);
        for txid in [3, 1, 2, 2, 9] {
            park(&mut gate, txid).unwrap();
        }
        assert_eq!(gate.release(), [1, 2, 2]);
        assert_eq!(gate.len(), 2);
        assert_eq!(gate.close(), [3, 9]);
        assert!(gate.is_empty());
    }

    #[test]
    fn a_reply_that_waits_for_nothing_but_the_lease_leaves_when_it_is_looked_for() {
        let (mut gate, life) = gate(7);
        gate.park(life.generation(), None, 1).unwrap();
        assert_eq!(gate.release(), [1]);
    }

    /// A reply is made; the role ends and takes the parked replies; another NameNode's transactions are replayed past
    /// the reply's transaction; only then the reply is to be parked.
    /// txid, and only then the reply comes to be parked.
    #[test]
    fn safety_06_a_reply_for_a_lost_edit_can_not_be_parked_behind_the_end_of_its_life() {
        let (mut gate, life) = gate(4);
        assert_eq!(gate.close(), Vec::<u64>::new());
        let next = life.next(TxId(9));
        assert_eq!(
            gate.park(life.generation(), Some(TxId(5)), 5),
            Err(5),
            "nobody is active"
        );
        gate.open(next.clone());
        assert_eq!(gate.park(life.generation(), Some(TxId(5)), 5), Err(5), "active again");
        assert_eq!(gate.park(life.generation(), None, 5), Err(5), "a read of then");
        assert!(gate.release().is_empty());
        gate.park(next.generation(), Some(TxId(9)), 9).unwrap();
        assert_eq!(gate.release(), [9]);
    }
}
