//! The blocks, and which storages have which of them (`BlocksMap`).
//!
//! A block names its storages, and a storage lists its blocks: two views of the same pairs. Every function here changes
//! both or none, and nothing else can change either.
//!
//! Invariants ([`BlockMap::check`]):
//! - a storage lists a block if and only if the block's record names the storage;
//! - a block names no storage twice; its replicas are in a list if and only if they are more than find room in the
//!   record; a list belongs to one block or is free;
//! - `complete` and `safe` count the records that say so; what is safe is complete.
//!
//! Nothing is known here of DataNodes, of time, or of what a replica is worth.

mod idset;
mod pages;
mod record;

pub(crate) use idset::BlockIdSet;
pub(crate) use record::{Flag, Record};

use crate::types::{BlockState, NewBlock, StorageIndex};
use hathi_formats::ids::{Block, BlockId, InodeId};
use pages::Records;
use record::INLINE;
use smallvec::SmallVec;

/// The storages of a block.
pub(crate) type Replicas = SmallVec<[StorageIndex; 4]>;

/// All blocks and their storages.
#[derive(Debug, Default)]
pub(crate) struct BlockMap {
    records: Records,
    /// Replicas of blocks that have more than find room in a record, by the place that the record names.
    lists: Vec<Vec<StorageIndex>>,
    free_lists: Vec<usize>,
    /// The blocks of each storage, by its index. Storages that never had one may be beyond the end.
    held: Vec<BlockIdSet>,
    complete: u64,
    safe: u64,
}

impl BlockMap {
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Number of complete blocks.
    pub(crate) fn complete(&self) -> u64 {
        self.complete
    }

    /// Number of complete blocks with the minimum of live replicas.
    pub(crate) fn safe(&self) -> u64 {
        self.safe
    }

    pub(crate) fn get(&self, id: BlockId) -> Option<&Record> {
        self.records.get(id)
    }

    /// The first block with an id at or above this one. Striped groups (negative ids) come first.
    pub(crate) fn next(&self, from: BlockId) -> Option<BlockId> {
        self.records.next(from)
    }

    /// All block ids, in their order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = BlockId> {
        std::iter::successors(self.next(BlockId(i64::MIN)), |id| {
            id.0.checked_add(1).and_then(|from| self.next(BlockId(from)))
        })
    }

    // --- blocks ---

    /// Adds a block without replicas. Returns false, and changes nothing, when the id is taken.
    pub(crate) fn insert(&mut self, new: NewBlock) -> bool {
        let record = Record::new(new.block, new.inode, new.replication, new.state);
        let inserted = self.records.insert(new.block.id, record);
        if inserted && record.is_complete() {
            self.complete += 1;
        }
        inserted
    }

    /// Removes a block from the map and from its storages.
    pub(crate) fn remove(&mut self, id: BlockId) -> Option<(Record, Replicas)> {
        let record = self.records.remove(id)?;
        let replicas = self.replicas(&record);
        if let Some(place) = record.list() {
            self.free_list(place);
        }
        for &storage in &replicas {
            let listed = self.set_of(storage).is_some_and(|held| held.remove(id));
            debug_assert!(listed, "{storage:?} does not list {id}, which names it");
        }
        if record.is_complete() {
            debug_assert!(self.complete > 0, "a complete block is counted");
            self.complete -= 1;
        }
        self.safe -= u64::from(record.is_safe());
        debug_assert!(self.safe <= self.complete, "what is safe is complete");
        Some((record, replicas))
    }

    /// Sets length and stamp.
    pub(crate) fn set_block(&mut self, block: Block) {
        if let Some(record) = self.records.get_mut(block.id) {
            record.set_block(block);
        }
    }

    pub(crate) fn set_inode(&mut self, id: BlockId, inode: InodeId) {
        if let Some(record) = self.records.get_mut(id) {
            record.set_inode(inode);
        }
    }

    pub(crate) fn set_replication(&mut self, id: BlockId, replication: u16) {
        if let Some(record) = self.records.get_mut(id) {
            record.set_replication(replication);
        }
    }

    /// Sets the state. A block that is not complete any more is not safe either.
    pub(crate) fn set_state(&mut self, id: BlockId, state: BlockState) {
        let Some(record) = self.records.get_mut(id) else {
            return;
        };
        let (was_complete, was_safe) = (record.is_complete(), record.is_safe());
        debug_assert!(was_complete || !was_safe, "only complete blocks count as safe");
        record.set_state(state);
        match (was_complete, record.is_complete()) {
            (false, true) => self.complete += 1,
            (true, false) => {
                record.set_safe(false);
                debug_assert!(self.complete > 0, "a complete block is counted");
                self.complete -= 1;
                self.safe -= u64::from(was_safe);
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Sets whether a complete block has the minimum of live replicas. Returns whether that is new.
    pub(crate) fn set_safe(&mut self, id: BlockId, safe: bool) -> bool {
        let Some(record) = self.records.get_mut(id) else {
            return false;
        };
        let was = record.is_safe();
        if was == safe {
            return false;
        }
        debug_assert!(record.is_complete(), "only complete blocks count as safe");
        record.set_safe(safe);
        if safe {
            self.safe += 1;
        } else {
            debug_assert!(self.safe > 0, "it was counted");
            self.safe -= 1;
        }
        debug_assert!(
            self.safe <= self.complete,
            "what is safe is complete, and counted as such"
        );
        true
    }

    /// Notes what another part knows of a block.
    pub(crate) fn set_flag(&mut self, id: BlockId, flag: Flag, value: bool) {
        if let Some(record) = self.records.get_mut(id) {
            record.set_flag(flag, value);
        }
    }

    // --- replicas ---

    /// The storages that the block is on.
    pub(crate) fn replicas(&self, record: &Record) -> Replicas {
        match record.list() {
            Some(place) => self
                .lists
                .get(place)
                .map_or_else(Replicas::new, |list| list.as_slice().into()),
            None => record.inline().collect(),
        }
    }

    /// The storages of a block by its id.
    pub(crate) fn replicas_of(&self, id: BlockId) -> Replicas {
        self.get(id).map(|record| self.replicas(record)).unwrap_or_default()
    }

    pub(crate) fn has_replica(&self, record: &Record, storage: StorageIndex) -> bool {
        match record.list() {
            Some(place) => self.lists.get(place).is_some_and(|list| list.contains(&storage)),
            None => record.inline().any(|one| one == storage),
        }
    }

    /// Adds a replica. Returns whether it was new. A block that is not in the map gets none.
    pub(crate) fn add_replica(&mut self, id: BlockId, storage: StorageIndex) -> bool {
        let Some(&(mut record)) = self.get(id) else {
            return false;
        };
        if self.has_replica(&record, storage) {
            return false;
        }
        if let Some(place) = record.list() {
            if let Some(list) = self.lists.get_mut(place) {
                list.push(storage);
            }
        } else {
            if !record.push_inline(storage) {
                let list = record.inline().chain([storage]).collect();
                record.set_list(self.new_list(list));
            }
            if let Some(place) = self.records.get_mut(id) {
                *place = record;
            }
        }
        let at = storage.0 as usize;
        if self.held.len() <= at {
            self.held.resize_with(at + 1, BlockIdSet::default);
        }
        let new = self.held[at].insert(id);
        debug_assert!(new, "{storage:?} lists {id}, which does not name it");
        true
    }

    /// Removes a replica. Returns whether it was there.
    pub(crate) fn remove_replica(&mut self, id: BlockId, storage: StorageIndex) -> bool {
        let Some(&(mut record)) = self.get(id) else {
            return false;
        };
        if !self.has_replica(&record, storage) {
            return false;
        }
        let listed = self.set_of(storage).is_some_and(|held| held.remove(id));
        debug_assert!(listed, "{storage:?} does not list {id}, which names it");
        let mut replicas = self.replicas(&record);
        replicas.retain(|one| *one != storage);
        if let Some(place) = record.list() {
            if replicas.len() > INLINE {
                if let Some(list) = self.lists.get_mut(place) {
                    *list = replicas.to_vec();
                }
                return true;
            }
            self.free_list(place);
        }
        record.clear_replicas();
        for one in replicas {
            let found_room = record.push_inline(one);
            debug_assert!(found_room, "the rest of a record's replicas finds room in it");
        }
        if let Some(place) = self.records.get_mut(id) {
            *place = record;
        }
        true
    }

    fn new_list(&mut self, list: Vec<StorageIndex>) -> usize {
        debug_assert!(list.len() > INLINE, "a list that would find room in its record");
        let place = self.free_lists.pop().unwrap_or_else(|| {
            self.lists.push(Vec::new());
            self.lists.len() - 1
        });
        debug_assert!(self.lists[place].is_empty(), "a free list holds replicas");
        self.lists[place] = list;
        place
    }

    fn free_list(&mut self, place: usize) {
        debug_assert!(!self.free_lists.contains(&place), "a list would get two owners");
        if let Some(list) = self.lists.get_mut(place) {
            *list = Vec::new();
            self.free_lists.push(place);
        }
    }

    // --- storages ---

    fn set_of(&mut self, storage: StorageIndex) -> Option<&mut BlockIdSet> {
        self.held.get_mut(storage.0 as usize)
    }

    /// Number of blocks on a storage.
    pub(crate) fn count_on(&self, storage: StorageIndex) -> usize {
        self.held.get(storage.0 as usize).map_or(0, BlockIdSet::len)
    }

    /// The first block on a storage with an id at or above this one.
    pub(crate) fn next_on(&self, storage: StorageIndex, from: BlockId) -> Option<BlockId> {
        self.held.get(storage.0 as usize)?.next(from)
    }

    /// Whether a block is on a storage.
    pub(crate) fn is_on(&self, id: BlockId, storage: StorageIndex) -> bool {
        self.held.get(storage.0 as usize).is_some_and(|held| held.contains(id))
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        self.records.check();
        let (mut blocks, mut complete, mut safe) = (0, 0, 0);
        let (mut named, mut lists) = (0, 0);
        for id in self.ids() {
            blocks += 1;
            let Some(record) = self.get(id) else {
                panic!("block {id} is listed but absent")
            };
            record.check(id);
            complete += u64::from(record.is_complete());
            safe += u64::from(record.is_safe());
            let replicas = self.replicas(record);
            if record.list().is_some() {
                lists += 1;
                assert!(
                    replicas.len() > INLINE,
                    "{id}: a list that would find room in its record"
                );
            }
            for (at, &storage) in replicas.iter().enumerate() {
                named += 1;
                let again = replicas.iter().skip(at + 1).any(|other| *other == storage);
                assert!(!again, "{id} counts {storage:?} twice");
                assert!(
                    self.is_on(id, storage),
                    "block {id} names storage {storage:?}, which does not list it"
                );
            }
        }
        assert_eq!(blocks, self.len(), "blocks counted and there");
        assert_eq!(
            (complete, safe),
            (self.complete, self.safe),
            "complete and safe blocks counted and there"
        );
        for held in &self.held {
            held.check();
        }
        let listed: usize = self.held.iter().map(BlockIdSet::len).sum();
        assert_eq!(named, listed, "replicas named by blocks and listed by storages");
        assert_eq!(
            lists + self.free_lists.len(),
            self.lists.len(),
            "a list belongs to one block, or is free"
        );
        for &free in &self.free_lists {
            assert!(self.lists[free].is_empty(), "a free list holds replicas");
        }
    }

    /// Approximate size on the heap in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        let lists: usize = self
            .lists
            .iter()
            .map(|list| size_of::<Vec<StorageIndex>>() + list.capacity() * size_of::<StorageIndex>())
            .sum();
        self.records.heap_bytes() + lists + self.held.iter().map(BlockIdSet::heap_bytes).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::ids::GenerationStamp;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const LEN: u64 = (1 << 48) - 1;

    fn new_block(id: BlockId, inode: u64, state: BlockState) -> NewBlock {
        NewBlock {
            block: Block {
                id,
                num_bytes: LEN,
                generation_stamp: GenerationStamp(1001),
            },
            inode: InodeId(inode),
            replication: 3,
            state,
        }
    }

    proptest! {
        #[test]
        fn replicas_are_a_set_seen_from_both_sides(
            ops in proptest::collection::vec((any::<bool>(), 0usize..4, prop_oneof![0u32..8, 120u32..124]), 0..120)
        ) {
            let ids = [BlockId((1 << 30) + 1), BlockId((1 << 30) + 5000), BlockId(-16), BlockId(i64::MAX)];
            let mut map = BlockMap::default();
            let mut model = vec![BTreeSet::new(); ids.len()];
            for (at, id) in ids.iter().enumerate() {
                prop_assert!(map.insert(new_block(*id, at as u64, BlockState::Complete)));
            }
            for (add, at, storage) in ops {
                let storage = StorageIndex(storage);
                if add {
                    prop_assert_eq!(map.add_replica(ids[at], storage), model[at].insert(storage));
                } else {
                    prop_assert_eq!(map.remove_replica(ids[at], storage), model[at].remove(&storage));
                }
                for (at, id) in ids.iter().enumerate() {
                    let record = map.get(*id).unwrap();
                    prop_assert_eq!((record.inode(), record.num_bytes()), (InodeId(at as u64), LEN));
                    let found: BTreeSet<_> = map.replicas_of(*id).into_iter().collect();
                    prop_assert_eq!(&found, &model[at]);
                    prop_assert_eq!(map.is_on(*id, storage), model[at].contains(&storage));
                }
                prop_assert_eq!(map.count_on(storage), model.iter().filter(|on| on.contains(&storage)).count());
                map.check();
            }
            for id in ids {
                prop_assert!(map.remove(id).is_some() && map.get(id).is_none());
                map.check();
            }
            prop_assert_eq!((map.len(), map.next_on(StorageIndex(0), BlockId(i64::MIN))), (0, None));
        }
    }

    #[test]
    fn a_block_that_is_not_there_is_on_no_storage() {
        let mut map = BlockMap::default();
        assert!(!map.add_replica(BlockId(7), StorageIndex(0)));
        assert_eq!(
            (map.count_on(StorageIndex(0)), map.is_on(BlockId(7), StorageIndex(0))),
            (0, false)
        );
        map.check();
    }

    #[test]
    fn complete_and_safe_blocks_are_counted() {
        let mut map = BlockMap::default();
        let counts = |map: &BlockMap| {
            map.check();
            (map.complete(), map.safe())
        };
        let [one, other] = [BlockId(1 << 31), BlockId(-16)];
        map.insert(new_block(one, 1, BlockState::Complete));
        map.insert(new_block(other, 1, BlockState::UnderConstruction));
        assert!(!map.insert(new_block(one, 2, BlockState::Complete)));
        assert_eq!(counts(&map), (1, 0));
        map.set_state(other, BlockState::Committed);
        map.set_state(other, BlockState::Complete);
        map.set_state(other, BlockState::Complete);
        assert!(map.set_safe(one, true) && !map.set_safe(one, true) && map.set_safe(other, true));
        assert_eq!(counts(&map), (2, 2));
        map.set_state(one, BlockState::UnderConstruction);
        assert_eq!(counts(&map), (1, 1));
        assert!(map.set_safe(other, false));
        map.remove(one);
        assert_eq!(counts(&map), (1, 0));
        map.set_safe(other, true);
        map.remove(other);
        assert_eq!(counts(&map), (0, 0));
    }
}
