//! The children of directories: a sharded hash of (parent, name) for look-up, and per directory the children in byte
//! order of their names for listings.
//!
//! Small directories are one sorted array; large ones are sorted chunks, so that neither an insert nor a page of a
//! listing costs more than a chunk.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};

use super::slab::Slot;

/// Tables of the index. Each grows by itself, so a growing table stops the world for its own part only.
const SHARDS: usize = 4096;
/// Children per array or chunk.
const CHUNK: usize = 512;

/// Slots by (parent, name); the keys are in the records.
#[derive(Clone, Debug)]
pub(crate) struct ChildIndex {
    shards: Vec<HashTable<Slot>>,
    state: FixedState,
}

impl ChildIndex {
    pub(crate) fn new(seed: u64) -> Self {
        ChildIndex {
            shards: vec![HashTable::new(); SHARDS],
            state: FixedState::with_seed(seed),
        }
    }

    pub(crate) fn state(&self) -> FixedState {
        self.state.clone()
    }

    #[inline]
    pub(crate) fn hash(&self, parent: Slot, name: &[u8]) -> u64 {
        Self::hash_with(&self.state, parent, name)
    }

    /// The hash apart from the tables, for rehashing while they are borrowed.
    #[inline]
    pub(crate) fn hash_with(state: &FixedState, parent: Slot, name: &[u8]) -> u64 {
        let mut hasher = state.build_hasher();
        hasher.write_u32(parent);
        hasher.write(name);
        hasher.finish()
    }

    #[inline]
    fn shard(hash: u64) -> usize {
        // hashbrown takes the bucket from the low bits and the tag from the top seven.
        (hash >> 40) as usize % SHARDS
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(&Slot) -> bool) -> Option<Slot> {
        self.shards[Self::shard(hash)].find(hash, is_it).copied()
    }

    /// Adds a slot whose key is not there. `rehash` gives the hash of any slot of the index.
    pub(crate) fn insert(&mut self, hash: u64, slot: Slot, rehash: impl Fn(&Slot) -> u64) {
        debug_assert_eq!(
            self.find(hash, |other| *other == slot),
            None,
            "an inode hangs in one directory"
        );
        self.shards[Self::shard(hash)].insert_unique(hash, slot, rehash);
    }

    pub(crate) fn remove(&mut self, hash: u64, slot: Slot) -> bool {
        match self.shards[Self::shard(hash)].find_entry(hash, |other| *other == slot) {
            Ok(entry) => {
                entry.remove();
                true
            }
            Err(_) => false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    /// Panics when a slot is there twice: a child would stay after it was removed.
    pub(crate) fn check(&self) {
        let mut seen = std::collections::BTreeSet::new();
        for slot in self.shards.iter().flat_map(HashTable::iter) {
            assert!(seen.insert(*slot), "slot {slot} is in the index twice");
        }
    }

    /// Makes room for `total` entries in all, before a load.
    pub(crate) fn reserve(&mut self, total: usize, rehash: impl Fn(&Slot) -> u64) {
        let each = total / SHARDS;
        for shard in &mut self.shards {
            if shard.len() < each {
                let more = each + each / 32 - shard.len();
                shard.reserve(more, &rehash);
            }
        }
    }
}

/// The children of one directory in byte order of their names.
#[derive(Clone, Debug, Default)]
pub(crate) enum ChildList {
    /// No list (a free record).
    #[default]
    Empty,
    /// At most [`CHUNK`] children.
    Small(Vec<Slot>),
    /// Non-empty chunks and the number of children.
    Large(Vec<Vec<Slot>>, u32),
}

impl ChildList {
    pub(crate) fn len(&self) -> usize {
        match self {
            ChildList::Empty => 0,
            ChildList::Small(all) => all.len(),
            ChildList::Large(_, len) => *len as usize,
        }
    }

    /// Adds a child whose name is not there. `order(slot)` compares the name of `slot` with the new one.
    pub(crate) fn insert(&mut self, child: Slot, order: impl Fn(Slot) -> Ordering) {
        match self {
            ChildList::Empty => *self = ChildList::Small(vec![child]),
            ChildList::Small(all) => {
                let at = place(all, &order);
                debug_assert!(
                    all.get(at).is_none_or(|slot| order(*slot) != Ordering::Equal),
                    "a name is there once"
                );
                if all.len() < CHUNK {
                    // Grow by a quarter: doubling would cost every directory half its list again.
                    if all.len() == all.capacity() {
                        all.reserve_exact((all.len() / 4).max(4));
                    }
                    all.insert(at, child);
                } else {
                    let mut chunks = vec![std::mem::take(all)];
                    insert_chunked(&mut chunks, child, &order);
                    *self = ChildList::Large(chunks, CHUNK as u32 + 1);
                }
            }
            ChildList::Large(chunks, len) => {
                insert_chunked(chunks, child, &order);
                *len += 1;
            }
        }
    }

    /// A list of children that are in order already (image load).
    pub(crate) fn from_sorted(children: &[Slot]) -> Self {
        if children.len() <= CHUNK {
            return ChildList::Small(children.to_vec());
        }
        ChildList::Large(
            children.chunks(CHUNK).map(<[Slot]>::to_vec).collect(),
            children.len() as u32,
        )
    }

    /// Removes a child; `order(slot)` compares the name of `slot` with its name.
    pub(crate) fn remove(&mut self, child: Slot, order: impl Fn(Slot) -> Ordering) -> bool {
        match self {
            ChildList::Empty => false,
            ChildList::Small(all) => {
                let at = place(all, &order);
                if all.get(at) != Some(&child) {
                    return false;
                }
                all.remove(at);
                if all.is_empty() {
                    *all = Vec::new();
                } else if all.capacity() > 16 && all.len() * 3 < all.capacity() {
                    all.shrink_to(all.len() + all.len() / 4);
                }
                true
            }
            ChildList::Large(chunks, len) => {
                let c = chunk_of(chunks, &order);
                let at = place(&chunks[c], &order);
                if chunks[c].get(at) != Some(&child) {
                    return false;
                }
                chunks[c].remove(at);
                *len -= 1;
                if chunks[c].is_empty() {
                    chunks.remove(c);
                }
                if *len as usize <= CHUNK / 2 {
                    let all: Vec<Slot> = chunks.iter().flatten().copied().collect();
                    *self = ChildList::Small(all);
                }
                true
            }
        }
    }

    /// The children in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.chunks().iter().flatten().copied()
    }

    fn chunks(&self) -> &[Vec<Slot>] {
        match self {
            ChildList::Empty => &[],
            ChildList::Small(all) => std::slice::from_ref(all),
            ChildList::Large(chunks, _) => chunks,
        }
    }

    /// The children behind those that are passed over, and their number. `is_passed` is true of the first ones, and of
    /// no other.
    pub(crate) fn iter_after(&self, is_passed: impl Fn(Slot) -> bool) -> (usize, impl Iterator<Item = Slot> + '_) {
        self.iter_from(move |slot| match is_passed(slot) {
            true => Ordering::Less,
            false => Ordering::Greater,
        })
    }

    /// A child by its name, with which `order` compares that of a slot.
    pub(crate) fn find(&self, order: impl Fn(Slot) -> Ordering) -> Option<Slot> {
        let found = self.iter_from(&order).1.next();
        found.filter(|slot| order(*slot) == Ordering::Equal)
    }

    /// The children from the first for which `order` is not `Less`... with how many there are of them.
    fn iter_from(&self, order: impl Fn(Slot) -> Ordering) -> (usize, impl Iterator<Item = Slot> + '_) {
        let chunks = self.chunks();
        let (c, at) = if chunks.is_empty() {
            (0, 0)
        } else {
            let c = chunk_of(chunks, &order);
            (c, place(&chunks[c], &order))
        };
        let before: usize = chunks.iter().take(c).map(Vec::len).sum::<usize>() + at;
        let rest = chunks.iter().skip(c).flatten().copied().skip(at);
        (self.len() - before, rest)
    }

    /// Panics where the parts of the list contradict each other.
    pub(crate) fn check(&self) {
        match self {
            ChildList::Empty => {}
            ChildList::Small(all) => assert!(all.len() <= CHUNK, "{} children in one array", all.len()),
            ChildList::Large(chunks, len) => {
                assert!(
                    chunks.iter().all(|chunk| !chunk.is_empty()),
                    "an empty chunk of children"
                );
                let there: usize = chunks.iter().map(Vec::len).sum();
                assert_eq!(there, *len as usize, "children counted and there");
            }
        }
    }

    /// The last child.
    pub(crate) fn last(&self) -> Option<Slot> {
        self.chunks().last().and_then(|chunk| chunk.last()).copied()
    }

    /// Takes the last child away (freeing a subtree).
    pub(crate) fn pop(&mut self) -> Option<Slot> {
        match self {
            ChildList::Empty => None,
            ChildList::Small(all) => all.pop(),
            ChildList::Large(chunks, len) => {
                let last = chunks.last_mut()?;
                let child = last.pop();
                if last.is_empty() {
                    chunks.pop();
                }
                debug_assert!(
                    child.is_some() && *len > 0,
                    "no chunk is empty, and children are counted"
                );
                *len -= 1;
                child
            }
        }
    }
}

/// Where a name is or belongs in a sorted run. Names often come in order, so the end is tried first.
fn place(run: &[Slot], order: &impl Fn(Slot) -> Ordering) -> usize {
    match run.last() {
        Some(last) if order(*last) == Ordering::Less => run.len(),
        _ => run.partition_point(|slot| order(*slot) == Ordering::Less),
    }
}

/// The chunk a name is or belongs in.
fn chunk_of(chunks: &[Vec<Slot>], order: &impl Fn(Slot) -> Ordering) -> usize {
    let after = chunks.partition_point(|chunk| chunk.first().is_some_and(|slot| order(*slot) != Ordering::Greater));
    after.saturating_sub(1)
}

fn insert_chunked(chunks: &mut Vec<Vec<Slot>>, child: Slot, order: &impl Fn(Slot) -> Ordering) {
    let c = chunk_of(chunks, order);
    let at = place(&chunks[c], order);
    if chunks[c].len() < CHUNK {
        chunks[c].insert(at, child);
        return;
    }
    // Names in ascending order leave full chunks behind; others split theirs in two.
    if at == CHUNK && c + 1 == chunks.len() {
        chunks.push(vec![child]);
        return;
    }
    let upper = chunks[c].split_off(CHUNK / 2);
    chunks.insert(c + 1, upper);
    if at <= CHUNK / 2 {
        chunks[c].insert(at, child);
    } else {
        chunks[c + 1].insert(at - CHUNK / 2, child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(slot: Slot) -> impl Fn(Slot) -> Ordering {
        move |other| other.cmp(&slot)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_list_is_a_sorted_set(ops in proptest::collection::vec((0u32..3000, prop::bool::weighted(0.7)), 0..6000)) {
            let mut list = ChildList::default();
            let mut model = std::collections::BTreeSet::new();
            for (slot, add) in ops {
                if add {
                    if model.insert(slot) {
                        list.insert(slot, order(slot));
                    }
                } else {
                    assert_eq!(list.remove(slot, order(slot)), model.remove(&slot));
                }
                assert_eq!(list.len(), model.len());
            }
            assert!(list.iter().eq(model.iter().copied()));
            for from in [0, 1, 700, 1500, 2999, 4000] {
                let (count, rest) = list.iter_from(order(from));
                let rest: Vec<Slot> = rest.collect();
                assert_eq!(count, rest.len());
                assert!(rest.iter().copied().eq(model.range(from..).copied()));
            }
            while let Some(last) = list.pop() {
                assert_eq!(model.pop_last(), Some(last));
            }
            assert!(model.is_empty());
        }
    }
}
