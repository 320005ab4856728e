//! A set of block ids: which blocks a storage holds. Blocks get their ids in sequence, so a storage's ids are dense in a
//! small cluster (a bit each) and spread evenly in a large one (two bytes each, 65 536 ids to a chunk).
//!
//! Invariants: no chunk is empty; a sparse chunk is sorted, has no doubles and at most [`SPARSE_MAX`] entries.

use hathi_formats::ids::BlockId;
use std::collections::BTreeMap;

/// Above this number of entries a bitmap is smaller.
const SPARSE_MAX: usize = 4096;
const WORDS: usize = 1024;

#[derive(Clone, Debug)]
enum Chunk {
    Sparse(Vec<u16>),
    Dense(Box<[u64; WORDS]>, u32),
}

/// The set, in the order of ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockIdSet {
    chunks: BTreeMap<i64, Chunk>,
    len: usize,
}

// One for each storage.
const _: () = assert!(size_of::<BlockIdSet>() == 32);

fn split(id: BlockId) -> (i64, u16) {
    (id.0 >> 16, (id.0 & 0xffff) as u16)
}

fn join(high: i64, low: u16) -> BlockId {
    BlockId((high << 16) | i64::from(low))
}

impl Chunk {
    fn contains(&self, low: u16) -> bool {
        match self {
            Chunk::Sparse(values) => values.binary_search(&low).is_ok(),
            Chunk::Dense(words, _) => words[usize::from(low) >> 6] >> (low & 63) & 1 == 1,
        }
    }

    fn insert(&mut self, low: u16) -> bool {
        match self {
            Chunk::Sparse(values) => {
                // Reports mostly come in the order of ids.
                let at = match values.last() {
                    Some(&last) if last < low => values.len(),
                    _ => match values.binary_search(&low) {
                        Ok(_) => return false,
                        Err(at) => at,
                    },
                };
                if values.len() == SPARSE_MAX {
                    let mut words = Box::new([0u64; WORDS]);
                    for &value in values.iter() {
                        words[usize::from(value) >> 6] |= 1 << (value & 63);
                    }
                    words[usize::from(low) >> 6] |= 1 << (low & 63);
                    *self = Chunk::Dense(words, SPARSE_MAX as u32 + 1);
                } else {
                    if values.len() == values.capacity() {
                        // A quarter more, not twice as much: unused room is paid once per storage and 65,536 ids.
                        values.reserve_exact(values.len() / 4 + 4);
                    }
                    values.insert(at, low);
                }
                true
            }
            Chunk::Dense(words, count) => {
                let word = &mut words[usize::from(low) >> 6];
                let bit = 1 << (low & 63);
                let new = *word & bit == 0;
                *word |= bit;
                *count += u32::from(new);
                new
            }
        }
    }

    fn remove(&mut self, low: u16) -> bool {
        match self {
            Chunk::Sparse(values) => match values.binary_search(&low) {
                Ok(at) => {
                    values.remove(at);
                    true
                }
                Err(_) => false,
            },
            Chunk::Dense(words, count) => {
                let word = &mut words[usize::from(low) >> 6];
                let bit = 1 << (low & 63);
                let had = *word & bit != 0;
                *word &= !bit;
                *count -= u32::from(had);
                // Half of the limit, so that a set near the limit does not change its form with every call.
                if had && (*count as usize) < SPARSE_MAX / 2 {
                    let mut values = Vec::with_capacity(*count as usize);
                    let mut next = Chunk::next_dense(words, 0);
                    while let Some(value) = next {
                        values.push(value);
                        next = value.checked_add(1).and_then(|from| Chunk::next_dense(words, from));
                    }
                    *self = Chunk::Sparse(values);
                }
                had
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Chunk::Sparse(values) => values.is_empty(),
            Chunk::Dense(_, count) => *count == 0,
        }
    }

    fn next_dense(words: &[u64; WORDS], from: u16) -> Option<u16> {
        let mut index = usize::from(from) >> 6;
        let mut word = words[index] & (u64::MAX << (from & 63));
        loop {
            if word != 0 {
                return Some(((index << 6) + word.trailing_zeros() as usize) as u16);
            }
            index += 1;
            word = *words.get(index)?;
        }
    }

    fn next(&self, from: u16) -> Option<u16> {
        match self {
            Chunk::Sparse(values) => values.get(values.partition_point(|&value| value < from)).copied(),
            Chunk::Dense(words, _) => Chunk::next_dense(words, from),
        }
    }
}

impl BlockIdSet {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn contains(&self, id: BlockId) -> bool {
        let (high, low) = split(id);
        self.chunks.get(&high).is_some_and(|chunk| chunk.contains(low))
    }

    /// Adds an id. Returns whether it was new.
    pub(crate) fn insert(&mut self, id: BlockId) -> bool {
        let (high, low) = split(id);
        let new = self
            .chunks
            .entry(high)
            .or_insert_with(|| Chunk::Sparse(Vec::new()))
            .insert(low);
        self.len += usize::from(new);
        new
    }

    /// Removes an id. Returns whether it was there.
    pub(crate) fn remove(&mut self, id: BlockId) -> bool {
        let (high, low) = split(id);
        let Some(chunk) = self.chunks.get_mut(&high) else {
            return false;
        };
        let had = chunk.remove(low);
        if chunk.is_empty() {
            self.chunks.remove(&high);
        }
        self.len -= usize::from(had);
        had
    }

    /// The smallest id at or above this one.
    pub(crate) fn next(&self, from: BlockId) -> Option<BlockId> {
        let (high, low) = split(from);
        for (&chunk_high, chunk) in self.chunks.range(high..) {
            let start = if chunk_high == high { low } else { 0 };
            if let Some(found) = chunk.next(start) {
                return Some(join(chunk_high, found));
            }
        }
        None
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        let mut len = 0;
        for (high, chunk) in &self.chunks {
            assert!(!chunk.is_empty(), "chunk {high} is empty");
            len += match chunk {
                Chunk::Sparse(values) => {
                    assert!(values.is_sorted_by(|one, next| one < next), "chunk {high} is sorted");
                    assert!(values.len() <= SPARSE_MAX, "chunk {high} would be smaller as a bitmap");
                    values.len()
                }
                Chunk::Dense(words, count) => {
                    let ones: u32 = words.iter().map(|word| word.count_ones()).sum();
                    assert_eq!(ones, *count, "bits counted in chunk {high} and set");
                    ones as usize
                }
            };
        }
        assert_eq!(len, self.len, "ids counted and there");
    }

    /// Approximate size on the heap in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        let chunks: usize = self
            .chunks
            .values()
            .map(|chunk| match chunk {
                Chunk::Sparse(values) => values.capacity() * 2,
                Chunk::Dense(..) => WORDS * 8,
            })
            .sum();
        chunks + self.chunks.len() * 48
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn is_a_set(ops in proptest::collection::vec((any::<bool>(), 0i64..200_000), 0..400), dense in 0i64..9000) {
            let mut set = BlockIdSet::default();
            let mut model = BTreeSet::new();
            for id in 0..dense {
                set.insert(BlockId(id));
                model.insert(id);
            }
            for (add, id) in ops {
                if add {
                    prop_assert_eq!(set.insert(BlockId(id)), model.insert(id));
                } else {
                    prop_assert_eq!(set.remove(BlockId(id)), model.remove(&id));
                }
                prop_assert_eq!(set.contains(BlockId(id)), model.contains(&id));
            }
            set.check();
            prop_assert_eq!(set.len(), model.len());
            let mut listed = Vec::new();
            let mut next = set.next(BlockId(i64::MIN));
            while let Some(id) = next {
                listed.push(id.0);
                next = set.next(BlockId(id.0 + 1));
            }
            prop_assert_eq!(listed, model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn shrinks_from_a_bitmap_to_a_list() {
        let mut set = BlockIdSet::default();
        for id in 0..10_000 {
            set.insert(BlockId(-70_000 + id));
        }
        for id in 0..9_000 {
            assert!(set.remove(BlockId(-70_000 + id)));
        }
        assert_eq!(set.len(), 1_000);
        assert_eq!(set.next(BlockId(i64::MIN)), Some(BlockId(-61_000)));
        assert!(set.heap_bytes() < 16_000);
    }
}
