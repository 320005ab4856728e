//! A set of block ids: which blocks a storage holds. Blocks get their ids in sequence, so a storage's ids are dense in a
//! small cluster (a bit each) and spread evenly in a large one (two bytes each, 65,536 ids to a chunk). In a cluster
//! that is large and old they are so far from each other that a chunk for each would cost more than the ids do: those
//! stand in one tree (some fourteen bytes each).
//!
//! Invariants ([`BlockIdSet::check`]): no chunk is empty; a sparse chunk is sorted, has no doubles and at most
//! [`SPARSE_MAX`] entries; no scattered id belongs to a chunk that is there, and at most [`SCATTERED_MAX`] belong to one
//! that is not.

use hathi_formats::ids::BlockId;
use std::collections::{BTreeMap, BTreeSet};

/// Above this number of entries a bitmap is smaller.
const SPARSE_MAX: usize = 4096;
const WORDS: usize = 1024;
/// With more ids of one range in the tree, a chunk is smaller.
const SCATTERED_MAX: usize = 8;
/// A chunk with fewer ids goes back into the tree.
const CHUNK_MIN: usize = 3;

#[derive(Clone, Debug)]
enum Chunk {
    Sparse(Vec<u16>),
    Dense(Box<[u64; WORDS]>, u32),
}

/// The set, in the order of ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockIdSet {
    chunks: BTreeMap<i64, Chunk>,
    scattered: BTreeSet<BlockId>,
    len: usize,
}

// One for each storage.
const _: () = assert!(size_of::<BlockIdSet>() == 56);

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

    fn len(&self) -> usize {
        match self {
            Chunk::Sparse(values) => values.len(),
            Chunk::Dense(_, count) => *count as usize,
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
        match self.chunks.get(&high) {
            Some(chunk) => chunk.contains(low),
            None => self.scattered.contains(&id),
        }
    }

    /// Adds an id. Returns whether it was new.
    pub(crate) fn insert(&mut self, id: BlockId) -> bool {
        let (high, low) = split(id);
        let new = match self.chunks.get_mut(&high) {
            Some(chunk) => chunk.insert(low),
            None => self.insert_scattered(id),
        };
        self.len += usize::from(new);
        new
    }

    fn insert_scattered(&mut self, id: BlockId) -> bool {
        let new = self.scattered.insert(id);
        let (high, _) = split(id);
        let neighbours = || self.scattered.range(join(high, 0)..=join(high, u16::MAX)).copied();
        if neighbours().count() > SCATTERED_MAX {
            let gathered: Vec<BlockId> = neighbours().collect();
            for id in &gathered {
                self.scattered.remove(id);
            }
            let values = gathered.into_iter().map(|id| split(id).1).collect();
            self.chunks.insert(high, Chunk::Sparse(values));
        }
        new
    }

    /// Removes an id. Returns whether it was there.
    pub(crate) fn remove(&mut self, id: BlockId) -> bool {
        let (high, low) = split(id);
        let had = match self.chunks.get_mut(&high) {
            Some(chunk) => {
                let had = chunk.remove(low);
                if chunk.len() < CHUNK_MIN {
                    let rest = std::iter::successors(chunk.next(0), |low| chunk.next(low.checked_add(1)?));
                    self.scattered.extend(rest.map(|low| join(high, low)));
                    self.chunks.remove(&high);
                }
                had
            }
            None => self.scattered.remove(&id),
        };
        self.len -= usize::from(had);
        had
    }

    /// The smallest id at or above this one.
    pub(crate) fn next(&self, from: BlockId) -> Option<BlockId> {
        let (high, low) = split(from);
        let in_chunk = self.chunks.range(high..).find_map(|(&chunk_high, chunk)| {
            let start = if chunk_high == high { low } else { 0 };
            chunk.next(start).map(|found| join(chunk_high, found))
        });
        let scattered = self.scattered.range(from..).next().copied();
        match (in_chunk, scattered) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        let mut len = 0;
        for (high, chunk) in &self.chunks {
            assert!(chunk.len() > 0, "chunk {high} is empty");
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
        let mut alone: BTreeMap<i64, usize> = BTreeMap::new();
        for id in &self.scattered {
            let (high, _) = split(*id);
            assert!(!self.chunks.contains_key(&high), "{id} has a chunk");
            *alone.entry(high).or_default() += 1;
        }
        assert!(
            alone.values().all(|ids| *ids <= SCATTERED_MAX),
            "as many scattered ids would be a chunk"
        );
        assert_eq!(len + self.scattered.len(), self.len, "ids counted and there");
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
        chunks + self.chunks.len() * 48 + self.scattered.len() * 14
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn is_a_set(ops in proptest::collection::vec((any::<bool>(), 0i64..3_000_000), 0..400), dense in 0i64..9000) {
            let mut set = BlockIdSet::default();
            let mut model = BTreeSet::new();
            for id in 0..dense {
                set.insert(BlockId(id));
                model.insert(id);
            }
            for (add, id) in ops {
                let id = if id % 3 == 0 { id } else { id % 140_000 };
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
    fn ids_far_from_each_other_cost_little() {
        let mut set = BlockIdSet::default();
        for id in 0..10_000 {
            set.insert(BlockId(id * 30_000));
        }
        set.check();
        assert!(set.chunks.is_empty() && set.heap_bytes() < 10_000 * 16);
        for id in 0..10_000 {
            assert!(set.remove(BlockId(id * 30_000)));
        }
        assert_eq!((set.len(), set.next(BlockId(i64::MIN))), (0, None));
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
