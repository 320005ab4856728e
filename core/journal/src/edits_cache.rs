//! The most recent edits of a journal, in memory, for standbys that tail (`qjournal.server.JournaledEditsCache`).
//!
//! Invariants: the batches are consecutive and of one layout version; their bytes stay within the capacity, the
//! oldest go first; after a gap the cache holds only what follows it.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use hathi_formats::ids::{LayoutVersion, TxId};

use crate::frames;

#[derive(Clone, Debug)]
struct CachedBatch {
    first: TxId,
    count: u32,
    records: Bytes,
}

impl CachedBatch {
    fn end(&self) -> u64 {
        self.first.0 + u64::from(self.count)
    }
}

/// Recent edits, bounded by bytes.
#[derive(Clone, Debug)]
pub struct EditsCache {
    capacity_bytes: usize,
    bytes: usize,
    layout_version: LayoutVersion,
    batches: VecDeque<CachedBatch>,
}

impl EditsCache {
    /// An empty cache.
    #[must_use]
    pub fn new(capacity_bytes: usize) -> Self {
        EditsCache {
            capacity_bytes,
            bytes: 0,
            layout_version: LayoutVersion::default(),
            batches: VecDeque::new(),
        }
    }

    /// Keeps a copy of a batch. Its own bytes may be part of a much larger network buffer, which would stay in memory.
    pub fn store(&mut self, layout_version: LayoutVersion, first: TxId, count: u32, records: &[u8]) {
        let follows = self.batches.back().is_none_or(|last| last.end() == first.0);
        if !follows || layout_version != self.layout_version || records.len() > self.capacity_bytes {
            self.clear();
        }
        self.layout_version = layout_version;
        if count == 0 || records.len() > self.capacity_bytes {
            return;
        }
        self.bytes += records.len();
        self.batches.push_back(CachedBatch {
            first,
            count,
            records: Bytes::copy_from_slice(records),
        });
        while self.bytes > self.capacity_bytes {
            match self.batches.pop_front() {
                Some(oldest) => self.bytes -= oldest.records.len(),
                None => break,
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.batches.clear();
        self.bytes = 0;
    }

    /// The oldest transaction in memory.
    #[must_use]
    pub fn oldest(&self) -> Option<TxId> {
        self.batches.front().map(|batch| batch.first)
    }

    /// The edits from `since` to at most `last`, at most `max_txns`, behind an edit log header.
    /// `None` when `since` is not in memory.
    #[must_use]
    pub fn retrieve(&self, since: TxId, last: TxId, max_txns: u32) -> Option<(u32, Bytes)> {
        let index = self.batches.partition_point(|batch| batch.end() <= since.0);
        let begin = self.batches.get(index)?;
        if begin.first > since {
            return None;
        }
        let mut parts = Vec::new();
        let mut next = since.0;
        let end = last
            .0
            .saturating_add(1)
            .min(since.0.saturating_add(u64::from(max_txns)));
        for batch in self.batches.range(index..) {
            if next >= end {
                break;
            }
            let skip = offset_of(&batch.records, next - batch.first.0)?;
            let until = end.min(batch.end());
            let stop = if until == batch.end() {
                batch.records.len()
            } else {
                offset_of(&batch.records, until - batch.first.0)?
            };
            parts.push(batch.records.slice(skip..stop));
            next = until;
        }
        let count = u32::try_from(next - since.0).ok()?;
        if count == 0 {
            return Some((0, Bytes::new()));
        }
        let len = 8 + parts.iter().map(Bytes::len).sum::<usize>();
        let mut log = BytesMut::with_capacity(len);
        log.put_slice(&frames::header(self.layout_version));
        for part in parts {
            log.put_slice(&part);
        }
        Some((count, log.freeze()))
    }
}

/// Offset of the frame after the first `count` frames.
fn offset_of(records: &[u8], count: u64) -> Option<usize> {
    let mut offset = 0;
    for _ in 0..count {
        offset += frames::frame_len(records.get(offset..)?)?;
    }
    (offset <= records.len()).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::tests::frame;

    fn batch(first: u64, count: u64) -> Vec<u8> {
        (first..first + count).flat_map(|txid| frame(txid, 20)).collect()
    }

    fn store(cache: &mut EditsCache, first: u64, count: u32) {
        cache.store(LayoutVersion(-67), TxId(first), count, &batch(first, u64::from(count)));
    }

    #[test]
    fn edits_are_cut_to_what_was_asked() {
        let mut cache = EditsCache::new(10_000);
        store(&mut cache, 1, 3);
        store(&mut cache, 4, 3);
        let check = |since: u64, last: u64, max: u32, expected: std::ops::Range<u64>| {
            let (count, log) = cache.retrieve(TxId(since), TxId(last), max).unwrap();
            assert_eq!(u64::from(count), expected.end - expected.start);
            let header = frames::header(LayoutVersion(-67)).to_vec();
            assert_eq!(log, [header, batch(expected.start, u64::from(count))].concat());
        };
        check(1, 6, 100, 1..7);
        check(2, 6, 3, 2..5);
        check(4, 5, 100, 4..6);
        check(6, 100, 1, 6..7);
        assert_eq!(cache.retrieve(TxId(7), TxId(9), 5), None);
        assert_eq!(cache.retrieve(TxId(3), TxId(2), 5), Some((0, Bytes::new())));
    }

    #[test]
    fn the_oldest_go_first_and_gaps_empty_it() {
        let one = frame(1, 20).len();
        let mut cache = EditsCache::new(4 * one);
        store(&mut cache, 1, 2);
        store(&mut cache, 3, 2);
        assert_eq!(cache.oldest(), Some(TxId(1)));
        store(&mut cache, 5, 1);
        assert_eq!(cache.oldest(), Some(TxId(3)));
        assert!(cache.retrieve(TxId(2), TxId(9), 9).is_none());
        store(&mut cache, 9, 1);
        assert_eq!(cache.oldest(), Some(TxId(9)));
        store(&mut cache, 10, 5);
        assert_eq!(cache.oldest(), None);
    }
}
