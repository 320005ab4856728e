//! The edits that were handed to the writer: those that no majority has yet, and recent ones for JournalNodes that are
//! behind.
//!
//! Invariants: batches are consecutive. Edits that are not committed are never dropped. Committed batches are dropped,
//! oldest first, when all batches together exceed the limit.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use hathi_formats::ids::TxId;

use crate::frames;
use crate::messages::Micros;

#[derive(Clone, Debug)]
struct RecentBatch {
    first: TxId,
    count: u32,
    records: Bytes,
    at: Micros,
}

impl RecentBatch {
    fn end(&self) -> u64 {
        self.first.0 + u64::from(self.count)
    }
}

/// Edits that are sent in one journal call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub first: TxId,
    pub count: u32,
    pub records: Bytes,
}

impl Part {
    pub fn last(&self) -> TxId {
        TxId(self.first.0 + u64::from(self.count) - 1)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct RecentEdits {
    limit_bytes: usize,
    bytes: usize,
    unsynced_bytes: usize,
    batches: VecDeque<RecentBatch>,
    committed: u64,
}

impl RecentEdits {
    pub fn new(limit_bytes: usize) -> Self {
        RecentEdits {
            limit_bytes,
            ..RecentEdits::default()
        }
    }

    /// The transaction after the last one that was handed in; `None` when there was none.
    pub fn next(&self) -> Option<TxId> {
        self.batches.back().map(|batch| TxId(batch.end()))
    }

    /// The oldest transaction that is still kept.
    pub fn oldest(&self) -> Option<TxId> {
        self.batches.front().map(|batch| batch.first)
    }

    pub fn unsynced_bytes(&self) -> usize {
        self.unsynced_bytes
    }

    /// When the oldest batch that is not committed was handed in.
    pub fn waiting_since(&self) -> Option<Micros> {
        let index = self.batches.partition_point(|batch| batch.end() <= self.committed + 1);
        self.batches.get(index).map(|batch| batch.at)
    }

    /// Number of bytes behind this transaction, and when the first committed batch among them was handed in.
    pub fn behind(&self, acked: TxId) -> (usize, Option<Micros>) {
        let index = self.batches.partition_point(|batch| batch.end() <= acked.0 + 1);
        let bytes = self.batches.range(index..).map(|batch| batch.records.len()).sum();
        let first = self
            .batches
            .get(index)
            .filter(|batch| batch.end() <= self.committed + 1);
        (bytes, first.map(|batch| batch.at))
    }

    /// Asserts the invariants that hold between calls.
    pub fn check(&self) {
        assert!(self.unsynced_bytes <= self.bytes, "more waits than there is");
        assert!(!self.batches.is_empty() || self.bytes == 0, "bytes of no batch");
        if let (Some(oldest), Some(newest)) = (self.batches.front(), self.batches.back()) {
            assert!(
                self.batches.len() as u64 <= newest.end() - oldest.first.0,
                "a batch of nothing"
            );
            assert!(self.committed < newest.end(), "committed what was not handed in");
        }
    }

    pub fn push(&mut self, first: TxId, count: u32, records: Bytes, now: Micros) {
        debug_assert!(self.next().is_none_or(|next| next == first));
        self.bytes += records.len();
        self.unsynced_bytes += records.len();
        self.batches.push_back(RecentBatch {
            first,
            count,
            records,
            at: now,
        });
    }

    pub fn commit(&mut self, committed: TxId) {
        let from = self.batches.partition_point(|batch| batch.end() <= self.committed + 1);
        for batch in self.batches.range(from..) {
            if batch.end() > committed.0 + 1 {
                break;
            }
            self.unsynced_bytes = self.unsynced_bytes.saturating_sub(batch.records.len());
        }
        self.committed = self.committed.max(committed.0);
        while self.bytes > self.limit_bytes {
            match self.batches.front() {
                Some(oldest) if oldest.end() <= self.committed + 1 => {
                    self.bytes -= oldest.records.len();
                    self.batches.pop_front();
                }
                _ => break,
            }
        }
    }

    /// The edits from `next` to `until` (inclusive), merged to at most `limit` bytes, but at least one batch. `None`
    /// when there are none, or when they were dropped.
    pub fn take(&self, next: TxId, until: TxId, limit: usize) -> Option<Part> {
        let index = self.batches.partition_point(|batch| batch.end() <= next.0);
        let begin = self.batches.get(index)?;
        if begin.first > next || begin.end() > until.0 + 1 {
            return None;
        }
        // A JournalNode that crashed may need only the end of a batch.
        let mut offset = 0;
        for _ in begin.first.0..next.0 {
            offset += frames::frame_len(begin.records.get(offset..)?)?;
        }
        let rest = begin.records.slice(offset..);
        let mut len = rest.len();
        let mut last = index;
        for (i, batch) in self.batches.range(index + 1..).enumerate() {
            len += batch.records.len();
            if len > limit || batch.end() > until.0 + 1 {
                break;
            }
            last = index + 1 + i;
        }
        let end = self.batches.get(last)?.end();
        let count = u32::try_from(end - next.0).ok()?;
        let records = if last == index {
            rest
        } else {
            let mut merged = BytesMut::with_capacity(len);
            merged.extend_from_slice(&rest);
            for batch in self.batches.range(index + 1..=last) {
                merged.extend_from_slice(&batch.records);
            }
            merged.freeze()
        };
        Some(Part {
            first: next,
            count,
            records,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::tests::frame;

    fn edits(batches: &[(u64, u32)]) -> RecentEdits {
        let one = frame(1, 10).len();
        let mut recent = RecentEdits::new(4 * one);
        for &(first, count) in batches {
            let ops = (first..first + u64::from(count)).flat_map(|txid| frame(txid, 10));
            recent.push(TxId(first), count, ops.collect(), first);
        }
        recent
    }

    #[test]
    fn waiting_batches_merge_up_to_the_limit() {
        let one = frame(1, 10).len();
        let recent = edits(&[(1, 2), (3, 1), (4, 3)]);
        let check = |next: u64, until: u64, limit: usize, expected: Option<(u64, u32)>| {
            let part = recent.take(TxId(next), TxId(until), limit);
            assert_eq!(part.as_ref().map(|part| (part.first.0, part.count)), expected);
            if let Some(part) = part {
                assert!(frames::check_batch(&part.records, part.first, part.count).is_ok());
            }
        };
        check(1, 6, 3 * one, Some((1, 3)));
        check(1, 6, 1, Some((1, 2)));
        check(2, 6, 100 * one, Some((2, 5)));
        check(2, 3, 100 * one, Some((2, 2)));
        check(5, 6, 100 * one, Some((5, 2)));
        check(7, 9, one, None);
    }

    #[test]
    fn only_committed_batches_are_dropped() {
        let one = frame(1, 10).len();
        let mut recent = edits(&[(1, 2), (3, 2), (5, 2)]);
        assert_eq!((recent.oldest(), recent.unsynced_bytes()), (Some(TxId(1)), 6 * one));
        recent.commit(TxId(1));
        assert_eq!((recent.oldest(), recent.waiting_since()), (Some(TxId(1)), Some(1)));
        recent.commit(TxId(2));
        assert_eq!((recent.oldest(), recent.unsynced_bytes()), (Some(TxId(3)), 4 * one));
        recent.commit(TxId(6));
        assert_eq!((recent.oldest(), recent.waiting_since()), (Some(TxId(3)), None));
        assert_eq!(recent.next(), Some(TxId(7)));
        assert!(recent.take(TxId(2), TxId(6), one).is_none());
    }
}
