//! When a reply may leave: the in-flight table (which inodes were touched by edits that no quorum has yet) and the
//! queue of replies that wait for one.
//!
//! Invariants: a reply leaves only when `synced ≥ after`; replies of one queue leave in the order of their txids;
//! an inode is in the table exactly while its last touching transaction is not known to be synced.
//!
//! Mirrors nothing in Hadoop, which answers reads before the edits they show are durable.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hathi_formats::ids::{InodeId, TxId};
use std::collections::{BTreeMap, VecDeque};

/// Something a reply can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shown {
    /// An inode: its attributes, content or place.
    Inode(InodeId),
    /// The children of a directory and its modification time, which change more often than the directory itself.
    Children(InodeId),
}

/// What transactions in flight have touched.
#[derive(Debug, Default)]
pub struct InFlight {
    last: HashMap<Shown, TxId, FixedState>,
    order: VecDeque<(TxId, Shown)>,
}

impl InFlight {
    /// Notes that `txid` touched it.
    pub fn mark(&mut self, shown: Shown, txid: TxId) {
        if self.last.insert(shown, txid) != Some(txid) {
            self.order.push_back((txid, shown));
        }
    }

    /// Forgets what is synced.
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

    /// The transaction that must be synced before a reply that shows these may leave.
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

    /// Forgets everything, for a namespace that is loaded anew.
    pub fn clear(&mut self) {
        self.last.clear();
        self.order.clear();
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
    parked: BTreeMap<TxId, Vec<R>>,
    len: usize,
}

impl<R> Default for ReplyGate<R> {
    fn default() -> Self {
        ReplyGate {
            parked: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<R> ReplyGate<R> {
    /// Keeps the reply until `after` is synced.
    pub fn park(&mut self, after: TxId, reply: R) {
        self.parked.entry(after).or_default().push(reply);
        self.len += 1;
    }

    /// Takes the replies that may leave now, in the order of their transactions.
    pub fn release(&mut self, synced: TxId) -> Vec<R> {
        let waiting = self.parked.split_off(&synced.next());
        let released: Vec<R> = std::mem::replace(&mut self.parked, waiting)
            .into_values()
            .flatten()
            .collect();
        self.len -= released.len();
        released
    }

    /// Takes all of them: they will never be acknowledged here.
    pub fn drain(&mut self) -> Vec<R> {
        self.len = 0;
        std::mem::take(&mut self.parked).into_values().flatten().collect()
    }

    /// Number of parked replies.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is parked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
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

    #[test]
    fn replies_leave_in_the_order_of_their_transactions() {
        let mut gate = ReplyGate::default();
        for txid in [3, 1, 2, 2, 9] {
            gate.park(TxId(txid), txid);
        }
        assert_eq!(gate.release(TxId(2)), [1, 2, 2]);
        assert_eq!(gate.len(), 2);
        assert_eq!(gate.drain(), [3, 9]);
        assert!(gate.is_empty());
    }
}
