//! The blocks, and which storages have which of them (`BlocksMap`).
//!
//! A block names its storages, and a storage lists its blocks: two views of the same pairs. Every function here changes
//! both or none, and nothing else can change either.
//!
//! Invariants ([`BlockMap::check`]):
//! - a storage lists a block if and only if the block's record names the storage;
//! - a block names no storage twice; its replicas are in a list if and only if they are more than find room in the
//!   record; a list belongs to one block or is free;
//! - `complete` and `safe` count the records that say so; what is safe is complete;
//! - a block group has a record for each of its internal blocks, by the id of this one. All of them say the same of the
//!   group, and only the first is counted.
//!
//! Nothing is known here of DataNodes, of time, or of what a replica is worth.

mod idset;
mod pages;
mod record;

pub(crate) use idset::BlockIdSet;
pub(crate) use record::{Flag, Layout, Record};

use crate::types::{BlockInfo, BlockLayout, BlockState, NewBlock, StorageIndex, Striping};
use hathi_formats::ids::{Block, BlockId, InodeId};
use pages::Records;
use record::INLINE;
use smallvec::SmallVec;

/// The ids of the internal blocks of a group, of which one is given with its record; of a replicated block its own id.
fn members(id: BlockId, record: &Record) -> impl Iterator<Item = BlockId> + use<> {
    let is_striped = record.is_striped();
    (0..record.units()).map(move |index| match is_striped {
        true => id.internal(index),
        false => id,
    })
}

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
    /// Records of internal blocks behind the first of each group.
    internal: usize,
    /// Cell sizes of erasure coding policies in use, by their numbers.
    cell_sizes: Vec<u32>,
}

impl BlockMap {
    /// Number of blocks of files: a group is one.
    pub(crate) fn len(&self) -> usize {
        self.records.len() - self.internal
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

    /// Adds a block, or all blocks of a group, without replicas. Returns false, and changes nothing, when the id is taken.
    pub(crate) fn insert(&mut self, new: NewBlock) -> bool {
        let record = Record::new(new.block, new.inode, new.layout, new.state);
        if let BlockLayout::Striped(striping) = new.layout {
            let at = usize::from(striping.policy);
            if self.cell_sizes.len() <= at {
                self.cell_sizes.resize(at + 1, 0);
            }
            self.cell_sizes[at] = striping.cell_size;
        }
        for (index, id) in members(new.block.id, &record).enumerate() {
            if !self.records.insert(id, record) {
                debug_assert_eq!(index, 0, "the blocks of a group come and go together");
                return false;
            }
            self.internal += usize::from(index > 0);
        }
        self.complete += u64::from(record.is_complete());
        true
    }

    /// The ids of the internal blocks of a group, of which one is given; of a replicated block its own id.
    pub(crate) fn members(&self, id: BlockId) -> impl Iterator<Item = BlockId> + use<> {
        let known = self.get(id).map(|record| members(id, record));
        known.into_iter().flatten()
    }

    /// How the group of a record is striped.
    pub(crate) fn striping(&self, record: &Record) -> Option<Striping> {
        match record.layout() {
            Layout::Replicated => None,
            Layout::Striped {
                policy,
                data_units,
                parity_units,
            } => Some(Striping {
                policy,
                data_units,
                parity_units,
                cell_size: self.cell_sizes.get(usize::from(policy)).copied().unwrap_or(0),
            }),
        }
    }

    /// The length that a replica of the block has: of an internal block it follows from that of its group.
    pub(crate) fn replica_length(&self, id: BlockId, record: &Record) -> u64 {
        match self.striping(record) {
            None => record.num_bytes(),
            Some(striping) => striping.internal_length(record.num_bytes(), id.index_in_group()),
        }
    }

    /// Number of storages that the block should be on. An internal block is on one, unless its group is finished and has no
    /// byte for it.
    pub(crate) fn wanted_storages(&self, id: BlockId, record: &Record) -> u32 {
        match self.striping(record) {
            None => u32::from(record.replication()),
            Some(striping) => {
                let has_bytes = || striping.has_bytes(record.num_bytes(), id.index_in_group());
                u32::from(!record.has_final_length() || has_bytes())
            }
        }
    }

    /// Number of good storages that a block needs to be complete, where a file's blocks need `min_replication` replicas;
    /// of a group number of good internal blocks (`BlockManager.getMinStorageNum`).
    pub(crate) fn min_storages(&self, record: &Record, min_replication: u16) -> u32 {
        match self.striping(record) {
            None => u32::from(min_replication),
            Some(striping) if record.has_final_length() => u32::from(striping.data_units_of(record.num_bytes())),
            Some(striping) => u32::from(striping.data_units),
        }
    }

    /// What is known of a block or a block group.
    pub(crate) fn info(&self, id: BlockId) -> Option<BlockInfo> {
        let record = self.get(id)?;
        let striping = self.striping(record);
        Some(BlockInfo {
            block: record.block(id),
            inode: record.inode(),
            replication: match striping {
                None => record.replication(),
                Some(striping) => u16::from(striping.units()),
            },
            striping,
            state: record.state(),
        })
    }

    /// Removes a block from the map and from its storages. The caller removes all blocks of a group.
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
        if id.index_in_group() > 0 {
            debug_assert!(self.internal > 0, "an internal block is counted");
            self.internal -= 1;
        } else if record.is_complete() {
            debug_assert!(self.complete > 0, "a complete block is counted");
            self.complete -= 1;
        }
        self.safe -= u64::from(record.is_safe());
        debug_assert!(self.safe <= self.complete, "what is safe is complete");
        Some((record, replicas))
    }

    /// Changes all records of a group, or the one of a replicated block.
    fn change(&mut self, id: BlockId, change: impl Fn(&mut Record)) {
        for id in self.members(id) {
            if let Some(record) = self.records.get_mut(id) {
                change(record);
            }
        }
    }

    /// Sets length and stamp.
    pub(crate) fn set_block(&mut self, block: Block) {
        self.change(block.id, |record| record.set_block(block));
    }

    pub(crate) fn set_inode(&mut self, id: BlockId, inode: InodeId) {
        self.change(id, |record| record.set_inode(inode));
    }

    /// A block group has none.
    pub(crate) fn set_replication(&mut self, id: BlockId, replication: u16) {
        if let Some(record) = self.records.get_mut(id).filter(|record| !record.is_striped()) {
            record.set_replication(replication);
        }
    }

    /// Sets the state. A block that is not complete any more is not safe either.
    pub(crate) fn set_state(&mut self, id: BlockId, state: BlockState) {
        for id in self.members(id) {
            self.set_record_state(id, state);
        }
    }

    fn set_record_state(&mut self, id: BlockId, state: BlockState) {
        let is_counted = id.index_in_group() == 0;
        let Some(record) = self.records.get_mut(id) else {
            return;
        };
        let (was_complete, was_safe) = (record.is_complete(), record.is_safe());
        debug_assert!(was_complete || !was_safe, "only complete blocks count as safe");
        record.set_state(state);
        match (was_complete, record.is_complete()) {
            (false, true) => self.complete += u64::from(is_counted),
            (true, false) => {
                record.set_safe(false);
                debug_assert!(self.complete > 0, "a complete block is counted");
                self.complete -= u64::from(is_counted);
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
            let Some(record) = self.get(id) else {
                panic!("block {id} is listed but absent")
            };
            record.check(id);
            self.check_group(id, record);
            let is_counted = id.index_in_group() == 0;
            blocks += usize::from(is_counted);
            complete += u64::from(is_counted && record.is_complete());
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

    /// All blocks of a group are there, and say the same of it.
    fn check_group(&self, id: BlockId, record: &Record) {
        if !record.is_striped() {
            return;
        }
        let first = self.get(id.group());
        let facts = |record: &Record| (record.layout(), record.inode(), record.state(), record.block(id));
        assert_eq!(
            first.map(facts),
            Some(facts(record)),
            "{id} says something else of its group than the first block of it"
        );
        assert!(
            self.striping(record).is_some_and(|striping| striping.is_possible()),
            "{id} is striped as no group can be"
        );
        assert!(
            members(id, record).all(|member| self.get(member).is_some()),
            "the group of {id} lacks a block"
        );
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
    const XOR: Striping = Striping {
        policy: 4,
        data_units: 2,
        parity_units: 1,
        cell_size: 10,
    };

    fn new_block(id: BlockId, inode: u64, state: BlockState) -> NewBlock {
        NewBlock {
            block: Block {
                id,
                num_bytes: LEN,
                generation_stamp: GenerationStamp(1001),
            },
            inode: InodeId(inode),
            layout: match id.is_striped() {
                true => BlockLayout::Striped(XOR),
                false => BlockLayout::Replicas(3),
            },
            state,
        }
    }

    proptest! {
        #[test]
        fn replicas_are_a_set_seen_from_both_sides(
            ops in proptest::collection::vec((any::<bool>(), 0usize..4, prop_oneof![0u32..8, 120u32..124]), 0..120)
        ) {
            let group = BlockId(-16);
            let ids = [BlockId((1 << 30) + 1), BlockId((1 << 30) + 5000), group, group.internal(2)];
            let mut map = BlockMap::default();
            let mut model = vec![BTreeSet::new(); ids.len()];
            for (at, id) in ids.iter().enumerate() {
                prop_assert_eq!(map.insert(new_block(*id, at.min(2) as u64, BlockState::Complete)), at < 3);
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
                    prop_assert_eq!((record.inode(), record.num_bytes()), (InodeId(at.min(2) as u64), LEN));
                    let found: BTreeSet<_> = map.replicas_of(*id).into_iter().collect();
                    prop_assert_eq!(&found, &model[at]);
                    prop_assert_eq!(map.is_on(*id, storage), model[at].contains(&storage));
                }
                prop_assert_eq!(map.count_on(storage), model.iter().filter(|on| on.contains(&storage)).count());
                map.check();
            }
            for id in &ids[..3] {
                let id = *id;
                for member in map.members(id) {
                    prop_assert!(map.remove(member).is_some() && map.get(member).is_none());
                }
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
        assert_eq!(map.len(), 1);
        for member in map.members(other) {
            map.remove(member);
        }
        assert_eq!((counts(&map), map.len()), ((0, 0), 0));
    }
}
