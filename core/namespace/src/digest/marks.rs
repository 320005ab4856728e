//! The sum of the digest, and what it was after some of the last transactions.
//!
//! Replicas delete a large tree at once and free its inodes later, each at its own pace. The sum still has the terms of
//! what waits to be freed, so the sums of two replicas differ although their states are the same. The digest of a mark
//! is therefore known when everything that was cut off before it is freed: it is the sum at the mark less what was
//! freed since. Subtrees are freed in the order in which they were cut off, so these are exactly the terms that the
//! mark must not have.
//!
//! While diffs of a deleted snapshot wait to be ended, no marks are made: what an op keeps may depend on how many of them
//! have ended.
//!
//! Invariants: marks are in the order of their transactions; a mark is whole or waits, and those that wait are the
//! newer ones; a digest of a mark never changes.

use std::collections::VecDeque;

/// Each multiple of this transaction is a mark.
pub const MARK_EVERY_TXNS: u64 = 1024;
/// Number of marks that are kept: with those at each [`MARK_EVERY_TXNS`], a million transactions, so that a standby that
/// is some ten seconds behind a busy active still finds a common one. 24 KB.
pub const MARKS_KEPT: usize = 1024;
/// Number of marks in an [`Attestation`].
pub const MARKS_TOLD: usize = 64;

/// The digest of the state after a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The transaction.
    pub txid: u64,
    /// The digest.
    pub digest: u64,
}

/// What a NameNode says of its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// [`crate::DIGEST_VERSION`] of who attests.
    pub version: u32,
    /// See [`crate::Namespace::digest_origin`].
    pub origin: u64,
    /// At most [`MARKS_TOLD`], in the order of their transactions.
    pub marks: Vec<Mark>,
}

/// How two states compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// They were the same after this transaction, the newest that was compared, and at all marks before it.
    Equal {
        /// The transaction.
        txid: u64,
    },
    /// There is no common mark, or nothing follows from it.
    Unknown,
    /// They were not the same after this transaction, the first one of those that were compared.
    Differs {
        /// The transaction.
        txid: u64,
    },
}

/// A mark whose digest is known when all of the first `cut` subtrees are freed.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    txid: u64,
    sum: u64,
    cut: u64,
}

/// Marks of one namespace, within its life.
#[derive(Clone, Debug, Default)]
pub struct DigestMarks {
    whole: VecDeque<Mark>,
    waiting: VecDeque<Waiting>,
    /// A transaction to come that is a mark, too.
    wanted: Option<u64>,
}

impl DigestMarks {
    fn last_txid(&self) -> Option<u64> {
        let waiting = self.waiting.back().map(|mark| mark.txid);
        waiting.or_else(|| self.whole.back().map(|mark| mark.txid))
    }

    fn push_whole(&mut self, mark: Mark) {
        debug_assert!(
            self.whole.back().is_none_or(|last| last.txid < mark.txid),
            "marks are in the order of their transactions"
        );
        if self.whole.len() >= MARKS_KEPT {
            self.whole.pop_front();
        }
        self.whole.push_back(mark);
    }

    /// The mark of this transaction, if it is one and is whole.
    #[must_use]
    pub fn get(&self, txid: u64) -> Option<Mark> {
        let at = self.whole.binary_search_by_key(&txid, |mark| mark.txid).ok()?;
        self.whole.get(at).copied()
    }

    /// The newest marks up to `known`, which the other has applied, and the newest up to `durable`, which it will apply.
    #[must_use]
    pub fn told(&self, known: u64, durable: u64) -> Vec<Mark> {
        let known = known.min(durable);
        let of_both = self.whole.partition_point(|mark| mark.txid <= known);
        let all = self.whole.partition_point(|mark| mark.txid <= durable);
        let first = of_both.saturating_sub(MARKS_TOLD - 1);
        let mut told: Vec<Mark> = self.whole.range(first..of_both).copied().collect();
        if all > of_both {
            told.extend(self.whole.get(all - 1));
        }
        debug_assert!(told.len() <= MARKS_TOLD, "an answer is bounded");
        told
    }

    /// Compares what another attests with what is known here.
    #[must_use]
    pub fn compare(&self, others: &[Mark]) -> Comparison {
        let mut equal = None;
        for other in others {
            let Some(own) = self.get(other.txid) else { continue };
            if own.digest != other.digest {
                return Comparison::Differs { txid: other.txid };
            }
            equal = equal.max(Some(other.txid));
        }
        match equal {
            Some(txid) => Comparison::Equal { txid },
            None => Comparison::Unknown,
        }
    }

    fn check(&self, done: u64) {
        let whole = self.whole.iter().map(|mark| mark.txid);
        let all: Vec<u64> = whole.chain(self.waiting.iter().map(|mark| mark.txid)).collect();
        assert!(
            all.windows(2).all(|pair| pair[0] < pair[1]),
            "marks are in the order of their transactions"
        );
        assert!(
            self.waiting.iter().all(|mark| mark.cut > done),
            "a mark is whole when everything that was cut off before it is freed"
        );
    }
}

/// The sum over the terms of the state; see the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    /// Terms of everything that hangs below the root, and of what has been cut off below deleted directories since the
    /// load, freed or not.
    sum: u64,
    /// Terms of what has been cut off and freed.
    freed: u64,
    /// Number of subtrees that were cut off and left to be freed later.
    cut: u64,
    /// Number of these that are freed.
    done: u64,
    /// Marks.
    pub(crate) marks: DigestMarks,
}

impl Sum {
    #[inline]
    pub(crate) fn add(&mut self, term: u64) {
        self.sum = self.sum.wrapping_add(term);
    }

    #[inline]
    pub(crate) fn subtract(&mut self, term: u64) {
        self.sum = self.sum.wrapping_sub(term);
    }

    /// Without what was freed. It still has what waits to be freed.
    pub(crate) fn present(&self) -> u64 {
        self.sum.wrapping_sub(self.freed)
    }

    /// The sum before an inode is freed that was cut off earlier, for [`Sum::freed_since`].
    pub(crate) fn before_freeing(&self) -> u64 {
        self.sum
    }

    /// What was subtracted since then was cut off earlier: marks that wait had it in their sum.
    pub(crate) fn freed_since(&mut self, before: u64) {
        self.freed = self.freed.wrapping_add(before.wrapping_sub(self.sum));
        self.sum = before;
    }

    /// A subtree is left to be freed later.
    pub(crate) fn cut_off(&mut self) {
        self.cut += 1;
    }

    /// A subtree is left to be freed later that was cut off while the oldest one was being freed. Marks that wait for that
    /// one wait for both.
    pub(crate) fn cut_off_within(&mut self) {
        self.cut += 1;
        for waiting in &mut self.marks.waiting {
            waiting.cut += 1;
        }
    }

    /// The oldest of these subtrees is freed.
    pub(crate) fn subtree_freed(&mut self) {
        self.done += 1;
        debug_assert!(self.done <= self.cut, "a subtree is freed once");
        while let Some(waiting) = self.marks.waiting.front().copied()
            && waiting.cut <= self.done
        {
            self.marks.waiting.pop_front();
            self.marks.push_whole(Mark {
                txid: waiting.txid,
                digest: waiting.sum.wrapping_sub(self.freed),
            });
        }
    }

    /// Whether the state after this transaction is a mark because of its number, or because it is wanted.
    #[inline]
    pub(crate) fn is_mark(&self, txid: u64) -> bool {
        txid.is_multiple_of(MARK_EVERY_TXNS) || self.marks.wanted == Some(txid)
    }

    /// The state after this transaction is a mark. `counters` is the term of what no inode has.
    pub(crate) fn mark(&mut self, txid: u64, counters: u64) {
        if self.marks.last_txid().is_some_and(|last| last >= txid) {
            return;
        }
        let sum = self.sum.wrapping_add(counters);
        if self.cut == self.done {
            debug_assert!(self.marks.waiting.is_empty(), "nothing is waited for");
            return self.marks.push_whole(Mark {
                txid,
                digest: sum.wrapping_sub(self.freed),
            });
        }
        if self.marks.waiting.len() >= MARKS_KEPT {
            self.marks.waiting.pop_front();
        }
        let cut = self.cut;
        self.marks.waiting.push_back(Waiting { txid, sum, cut });
    }

    /// The transaction that another has asked for.
    pub(crate) fn wanted(&self) -> Option<u64> {
        self.marks.wanted
    }

    /// This transaction will be a mark.
    pub(crate) fn want(&mut self, txid: u64) {
        self.marks.wanted = Some(txid);
    }

    pub(crate) fn check(&self, waiting: usize) {
        assert_eq!(
            self.cut - self.done,
            waiting as u64,
            "subtrees that wait to be freed, and those that marks wait for"
        );
        self.marks.check(self.done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(marks: &[(u64, u64)]) -> Vec<Mark> {
        let mark = |(txid, digest): &(u64, u64)| Mark {
            txid: *txid,
            digest: *digest,
        };
        marks.iter().map(mark).collect()
    }

    fn known(all: &[(u64, u64)]) -> DigestMarks {
        DigestMarks {
            whole: marks(all).into(),
            ..DigestMarks::default()
        }
    }

    #[test]
    fn marks_of_the_same_transactions_are_compared_and_no_others() {
        let own = known(&[(5, 50), (8, 80), (9, 90)]);
        for (others, result) in [
            (&[][..], Comparison::Unknown),
            (&[(4, 50), (7, 80), (10, 1)], Comparison::Unknown),
            (&[(5, 50)], Comparison::Equal { txid: 5 }),
            (&[(5, 50), (7, 1), (8, 80), (10, 1)], Comparison::Equal { txid: 8 }),
            (&[(5, 50), (8, 81), (9, 91)], Comparison::Differs { txid: 8 }),
            // What differed once is not made good by what was equal later.
            (&[(8, 81), (9, 90)], Comparison::Differs { txid: 8 }),
        ] {
            assert_eq!(own.compare(&marks(others)), result, "{others:?}");
        }
    }

    #[test]
    fn an_answer_has_the_newest_marks_that_the_other_knows_and_the_newest_durable_one() {
        let own = known(&[(5, 50), (8, 80), (9, 90), (20, 200)]);
        let told = |known, durable| -> Vec<u64> { own.told(known, durable).iter().map(|mark| mark.txid).collect() };
        assert_eq!(told(8, 30), [5, 8, 20]);
        assert_eq!(told(8, 19), [5, 8, 9]);
        assert_eq!(told(8, 8), [5, 8]);
        assert_eq!(told(30, 9), [5, 8, 9], "what is not durable is told to nobody");
        assert_eq!(told(0, 4), [0; 0]);
        let long: Vec<(u64, u64)> = (1..=MARKS_KEPT as u64).map(|txid| (txid, 0)).collect();
        let told = known(&long).told(500, 700);
        assert_eq!(told.len(), MARKS_TOLD);
        assert_eq!((told[0].txid, told[62].txid, told[63].txid), (438, 500, 700));
    }

    #[test]
    fn a_mark_waits_for_what_was_cut_off_before_it_and_for_nothing_else() {
        let mut sum = Sum::default();
        sum.add(1000);
        sum.cut_off();
        sum.mark(1, 0);
        sum.add(1);
        sum.cut_off();
        sum.mark(2, 0);
        // An inode of the first subtree, and then one that is no part of any.
        let before = sum.before_freeing();
        sum.subtract(300);
        sum.freed_since(before);
        sum.subtract(1);
        assert_eq!(sum.marks.get(1), None);
        sum.subtree_freed();
        assert_eq!(sum.marks.get(1).map(|mark| mark.digest), Some(700));
        assert_eq!(sum.marks.get(2), None);
        let before = sum.before_freeing();
        sum.subtract(20);
        sum.freed_since(before);
        sum.subtree_freed();
        assert_eq!(sum.marks.get(2).map(|mark| mark.digest), Some(1001 - 320));
        assert_eq!(sum.present(), 680);
        sum.check(0);
    }

    #[test]
    fn the_newest_marks_are_kept() {
        let mut sum = Sum::default();
        for txid in 1..=MARKS_KEPT as u64 + 5 {
            sum.mark(txid, 0);
            sum.mark(txid, 0);
        }
        assert_eq!(sum.marks.whole.len(), MARKS_KEPT);
        assert_eq!((sum.marks.get(5), sum.marks.get(6).is_some()), (None, true));
        sum.check(0);
    }
}
