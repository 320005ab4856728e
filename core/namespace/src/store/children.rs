//! The children of directories, in byte order of their names for listings, and by name for look-ups.
//!
//! A directory of up to [`CHUNK`] children is one sorted array. Beside each child stand 16 bits of the hash of its name,
//! in which a look-up finds it: they are next to each other, and take two bytes where a table takes ten. A larger
//! directory is sorted chunks, so that neither an insert nor a page of a listing costs more than a chunk, and its
//! children are in a sharded hash of (parent, name).
//!
//! Invariants ([`Children::check`]): a small list has a tag for each child, that of its name; the children of large
//! lists are in the index, and no others.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};

use super::slab::{FrozenSlab, NONE, Slab, Slot};

/// Tables of the index. Each grows by itself, so a growing table stops the world for its own part only.
const SHARDS: usize = 4096;
/// A large directory of so few children becomes a small one. Far enough below [`CHUNK`] that it does not go to and fro.
const LARGE_MIN: usize = CHUNK / 2;
/// Tags that are compared at a time.
const TAGS: usize = 32;
/// Children per array or chunk.
const CHUNK: usize = 512;

/// Slots of the children of large directories by (parent, name); the keys are in the records.
#[derive(Clone, Debug)]
struct ChildIndex {
    shards: Vec<HashTable<Slot>>,
    state: FixedState,
}

impl ChildIndex {
    fn new(seed: u64) -> Self {
        ChildIndex {
            shards: vec![HashTable::new(); SHARDS],
            state: FixedState::with_seed(seed),
        }
    }

    #[inline]
    fn hash(&self, (parent, name): Key<'_>) -> u64 {
        hash_with(&self.state, (parent, name))
    }

    #[inline]
    fn shard(hash: u64) -> usize {
        // hashbrown takes the bucket from the low bits and the tag from the top seven.
        (hash >> 40) as usize % SHARDS
    }

    #[inline]
    fn find(&self, hash: u64, is_it: impl FnMut(&Slot) -> bool) -> Option<Slot> {
        self.shards[Self::shard(hash)].find(hash, is_it).copied()
    }

    /// Adds a slot that is not there.
    fn insert<'a>(&mut self, slot: Slot, key_of: impl Fn(Slot) -> Key<'a>) {
        let hash = self.hash(key_of(slot));
        debug_assert_eq!(
            self.find(hash, |other| *other == slot),
            None,
            "an inode hangs in one directory"
        );
        let ChildIndex { shards, state } = self;
        shards[Self::shard(hash)].insert_unique(hash, slot, |other| hash_with(state, key_of(*other)));
    }

    fn remove<'a>(&mut self, slot: Slot, key_of: impl Fn(Slot) -> Key<'a>) {
        let hash = self.hash(key_of(slot));
        let found = self.shards[Self::shard(hash)].find_entry(hash, |other| *other == slot);
        debug_assert!(found.is_ok(), "a child of a large directory is in the index");
        if let Ok(entry) = found {
            entry.remove();
        }
    }

    fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    /// Panics when a slot is there twice: a child would stay after it was removed.
    fn check(&self) {
        let mut seen = std::collections::BTreeSet::new();
        for slot in self.shards.iter().flat_map(HashTable::iter) {
            assert!(seen.insert(*slot), "slot {slot} is in the index twice");
        }
    }
}

/// Parent and name of an inode.
pub(crate) type Key<'a> = (Slot, &'a [u8]);

/// The hash apart from the tables, for rehashing while they are borrowed.
#[inline]
fn hash_with(state: &FixedState, (parent, name): Key<'_>) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write_u32(parent);
    hasher.write(name);
    hasher.finish()
}

/// What a small directory keeps of a hash.
#[inline]
fn tag_of(hash: u64) -> u16 {
    (hash >> 48) as u16
}

/// The children of one directory in byte order of their names.
#[derive(Clone, Debug, Default)]
pub(crate) enum ChildList {
    /// No list (a free record).
    #[default]
    Empty,
    /// At most [`CHUNK`] children.
    Small(Small),
    /// Non-empty chunks and the number of children.
    Large(Vec<Vec<Slot>>, u32),
}

/// A sorted array of children, and of each the tag of its name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Small {
    slots: Vec<Slot>,
    tags: Vec<u16>,
}

impl Small {
    fn insert(&mut self, at: usize, child: Slot, tag: u16) {
        // Grow by a quarter: doubling would cost every directory half its list again.
        if self.slots.len() == self.slots.capacity() {
            let more = (self.slots.len() / 4).max(4);
            self.slots.reserve_exact(more);
            self.tags.reserve_exact(more);
        }
        self.slots.insert(at, child);
        self.tags.insert(at, tag);
    }

    fn remove(&mut self, at: usize) {
        self.slots.remove(at);
        self.tags.remove(at);
        let len = self.slots.len();
        if self.slots.capacity() > 16 && len * 3 < self.slots.capacity() {
            self.slots.shrink_to(len + len / 4);
            self.tags.shrink_to(len + len / 4);
        }
    }

    #[inline]
    fn find(&self, tag: u16, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        // A comparison of so many tags without a branch between is a few vector instructions.
        for (tags, slots) in self.tags.chunks(TAGS).zip(self.slots.chunks(TAGS)) {
            if !tags.iter().fold(false, |any, other| any | (*other == tag)) {
                continue;
            }
            let pairs = tags.iter().zip(slots);
            let mut found = pairs.filter(|(other, _)| **other == tag).map(|(_, slot)| *slot);
            if let Some(slot) = found.find(|slot| is_it(*slot)) {
                return Some(slot);
            }
        }
        None
    }
}

/// The children of all directories.
#[derive(Debug)]
pub(crate) struct Children {
    lists: Slab<ChildList, 6>,
    index: ChildIndex,
}

impl Children {
    pub(crate) fn new(hash_seed: u64) -> Children {
        Children {
            lists: Slab::new(),
            index: ChildIndex::new(hash_seed),
        }
    }

    #[inline]
    pub(crate) fn list(&self, list: Slot) -> &ChildList {
        self.lists.get(list)
    }

    /// The child of this key in the list of its parent.
    #[inline]
    pub(crate) fn find<'a>(&self, list: Slot, key: Key<'_>, key_of: impl Fn(Slot) -> Key<'a>) -> Option<Slot> {
        let hash = self.index.hash(key);
        match self.lists.get(list) {
            ChildList::Empty => None,
            ChildList::Small(small) => small.find(tag_of(hash), |slot| key_of(slot).1 == key.1),
            ChildList::Large(..) => self.index.find(hash, |slot| key_of(*slot) == key),
        }
    }

    /// Adds a child whose name is not there to the list of its parent, or to a new one if that is [`NONE`]. Returns the
    /// list. The keys are those that hold with the child in its place.
    pub(crate) fn insert<'a>(&mut self, list: Slot, child: Slot, key_of: impl Fn(Slot) -> Key<'a>) -> Slot {
        let list = if list == NONE {
            self.lists.insert(ChildList::Small(Small::default()))
        } else {
            list
        };
        let key = key_of(child);
        let order = |slot| key_of(slot).1.cmp(key.1);
        let Children { lists, index } = self;
        let there = lists.get_mut(list);
        match there {
            ChildList::Small(small) if small.slots.len() < CHUNK => {
                let at = place(&small.slots, &order);
                debug_assert!(
                    small.slots.get(at).is_none_or(|slot| order(*slot) != Ordering::Equal),
                    "a name is there once"
                );
                small.insert(at, child, tag_of(index.hash(key)));
                return list;
            }
            ChildList::Small(small) => {
                for slot in &small.slots {
                    index.insert(*slot, &key_of);
                }
                let mut chunks = vec![std::mem::take(&mut small.slots)];
                insert_chunked(&mut chunks, child, &order);
                *there = ChildList::Large(chunks, CHUNK as u32 + 1);
            }
            ChildList::Large(chunks, len) => {
                insert_chunked(chunks, child, &order);
                *len += 1;
            }
            ChildList::Empty => debug_assert!(false, "the list of a directory is not free"),
        }
        index.insert(child, key_of);
        list
    }

    /// Removes a child from the list of its parent. Returns the list, [`NONE`] if it was the last child: an empty
    /// directory has no list.
    pub(crate) fn remove<'a>(&mut self, list: Slot, child: Slot, key_of: impl Fn(Slot) -> Key<'a>) -> Slot {
        let key = key_of(child);
        let order = |slot| key_of(slot).1.cmp(key.1);
        let there = self.lists.get_mut(list);
        let listed = match there {
            ChildList::Empty => false,
            ChildList::Small(small) => {
                let at = place(&small.slots, &order);
                let listed = small.slots.get(at) == Some(&child);
                if listed {
                    small.remove(at);
                }
                listed
            }
            ChildList::Large(chunks, len) => {
                self.index.remove(child, &key_of);
                let listed = remove_chunked(chunks, child, &order);
                *len -= u32::from(listed);
                listed
            }
        };
        debug_assert!(listed, "what hangs in a directory is in its list");
        self.settle(list, key_of)
    }

    /// Takes the last child out of a list. Returns the list, as [`Children::remove`] does.
    pub(crate) fn pop<'a>(&mut self, list: Slot, key_of: impl Fn(Slot) -> Key<'a>) -> Slot {
        match self.lists.get_mut(list) {
            ChildList::Empty => {}
            ChildList::Small(small) => {
                small.slots.pop();
                small.tags.pop();
            }
            ChildList::Large(chunks, len) => {
                let Some(last) = chunks.last_mut() else { return list };
                if let Some(child) = last.pop() {
                    *len -= 1;
                    self.index.remove(child, &key_of);
                }
                if last.is_empty() {
                    chunks.pop();
                }
            }
        }
        self.settle(list, key_of)
    }

    /// Makes a large list that has become small a small one, and gives back an empty one.
    fn settle<'a>(&mut self, list: Slot, key_of: impl Fn(Slot) -> Key<'a>) -> Slot {
        let Children { lists, index } = self;
        let there = lists.get_mut(list);
        if let ChildList::Large(chunks, len) = there
            && *len as usize <= LARGE_MIN
        {
            let slots: Vec<Slot> = chunks.iter().flatten().copied().collect();
            for slot in &slots {
                index.remove(*slot, &key_of);
            }
            let tag = |slot: &Slot| tag_of(index.hash(key_of(*slot)));
            let tags = slots.iter().map(tag).collect();
            *there = ChildList::Small(Small { slots, tags });
        }
        if there.len() > 0 {
            return list;
        }
        lists.remove(list);
        NONE
    }

    /// Makes the list of a directory, whose children come in the order of their names (image load).
    pub(crate) fn insert_sorted<'a>(&mut self, children: &[Slot], key_of: impl Fn(Slot) -> Key<'a>) -> Slot {
        debug_assert!(!children.is_empty(), "an empty directory has no list");
        if children.len() <= CHUNK {
            let tag = |slot: &Slot| tag_of(self.index.hash(key_of(*slot)));
            let small = Small {
                slots: children.to_vec(),
                tags: children.iter().map(tag).collect(),
            };
            return self.lists.insert(ChildList::Small(small));
        }
        for slot in children {
            self.index.insert(*slot, &key_of);
        }
        let chunks = children.chunks(CHUNK).map(<[Slot]>::to_vec).collect();
        self.lists.insert(ChildList::Large(chunks, children.len() as u32))
    }

    pub(crate) fn freeze(&self) -> FrozenSlab<ChildList, 6> {
        // What only finds children is not frozen: it is not in shared pages.
        let Children { lists, index: _ } = self;
        lists.freeze()
    }

    /// Panics when an invariant of the module does not hold. `lists` are those that directories name.
    pub(crate) fn check<'a>(&self, lists: &[Slot], key_of: impl Fn(Slot) -> Key<'a>) {
        let mut indexed = 0;
        for list in lists {
            let list = self.lists.get(*list);
            list.check();
            match list {
                ChildList::Empty => panic!("a directory names a free list"),
                ChildList::Small(small) => {
                    let tag = |slot: &Slot| tag_of(self.index.hash(key_of(*slot)));
                    assert!(
                        small.slots.iter().map(tag).eq(small.tags.iter().copied()),
                        "each child has the tag of its name"
                    );
                }
                ChildList::Large(..) => indexed += list.len(),
            }
        }
        assert_eq!(lists.len(), self.lists.live(), "lists of children found and kept");
        assert_eq!(
            indexed,
            self.index.len(),
            "children of large directories found and in the index"
        );
        self.lists.check();
        self.index.check();
    }
}

impl ChildList {
    pub(crate) fn len(&self) -> usize {
        match self {
            ChildList::Empty => 0,
            ChildList::Small(small) => small.slots.len(),
            ChildList::Large(_, len) => *len as usize,
        }
    }

    /// The children in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.chunks().iter().flatten().copied()
    }

    fn chunks(&self) -> &[Vec<Slot>] {
        match self {
            ChildList::Empty => &[],
            ChildList::Small(small) => std::slice::from_ref(&small.slots),
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
            ChildList::Small(Small { slots, tags }) => {
                assert!(slots.len() <= CHUNK, "{} children in one array", slots.len());
                assert_eq!(slots.len(), tags.len(), "a tag for each child");
            }
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

/// Removes a child. False: it is not there.
fn remove_chunked(chunks: &mut Vec<Vec<Slot>>, child: Slot, order: &impl Fn(Slot) -> Ordering) -> bool {
    let c = chunk_of(chunks, order);
    let at = place(&chunks[c], order);
    if chunks[c].get(at) != Some(&child) {
        return false;
    }
    chunks[c].remove(at);
    if chunks[c].is_empty() {
        chunks.remove(c);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Two directories have children of the same names. A name is the number of the slot in its directory.
        #[test]
        fn a_list_is_a_sorted_set(
            ops in proptest::collection::vec((0u32..1500, 0u32..2, prop::bool::weighted(0.7)), 0..5000),
            loaded in 0u32..1200,
        ) {
            let names: Vec<[u8; 4]> = (0..3000u32).map(|slot| (slot / 2).to_be_bytes()).collect();
            let key_of = |slot: Slot| (slot % 2, &names[slot as usize][..]);
            let mut children = Children::new(7);
            let mut model: [BTreeSet<Slot>; 2] = Default::default();
            let mut lists = [NONE; 2];
            if loaded > 0 {
                model[0] = (0..loaded).map(|number| number * 2).collect();
                let sorted: Vec<Slot> = model[0].iter().copied().collect();
                lists[0] = children.insert_sorted(&sorted, key_of);
            }
            for (number, dir, add) in ops {
                let (slot, at) = (number * 2 + dir, dir as usize);
                let is_there = model[at].contains(&slot);
                if lists[at] != NONE {
                    let found = children.find(lists[at], key_of(slot), key_of);
                    prop_assert_eq!(found, is_there.then_some(slot));
                }
                if add && !is_there {
                    model[at].insert(slot);
                    lists[at] = children.insert(lists[at], slot, key_of);
                } else if !add && is_there {
                    model[at].remove(&slot);
                    lists[at] = children.remove(lists[at], slot, key_of);
                }
            }
            let there: Vec<Slot> = lists.into_iter().filter(|list| *list != NONE).collect();
            children.check(&there, key_of);
            for at in 0..2 {
                prop_assert_eq!(lists[at] == NONE, model[at].is_empty());
                if lists[at] == NONE {
                    continue;
                }
                let list = children.list(lists[at]);
                prop_assert!(list.iter().eq(model[at].iter().copied()));
                for from in [0, 1, 700, 1500, 2999, 4000] {
                    let (count, rest) = list.iter_after(|slot| slot < from);
                    let rest: Vec<Slot> = rest.collect();
                    prop_assert_eq!(count, rest.len());
                    prop_assert!(rest.iter().copied().eq(model[at].range(from..).copied()));
                }
                while let Some(last) = model[at].pop_last() {
                    prop_assert_eq!(children.list(lists[at]).last(), Some(last));
                    lists[at] = children.pop(lists[at], key_of);
                }
                prop_assert_eq!(lists[at], NONE);
            }
            children.check(&[], key_of);
        }
    }

    #[test]
    fn a_wrong_tag_is_found() {
        let names = [*b"a", *b"b"];
        let key_of = |slot: Slot| (9, &names[slot as usize][..]);
        let mut children = Children::new(7);
        let list = children.insert_sorted(&[0, 1], key_of);
        children.check(&[list], key_of);
        if let ChildList::Small(small) = children.lists.get_mut(list) {
            small.tags[1] ^= 1;
        }
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| children.check(&[list], key_of)));
        assert!(found.is_err());
    }
}
