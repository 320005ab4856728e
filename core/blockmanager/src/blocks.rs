//! The block map: 32 bytes per block, three replicas in it (`BlocksMap`, `BlockInfo`).
//!
//! Blocks get their ids in sequence from 2³⁰ + 1, so pages indexed by id stand where Hadoop has a hash table. Ids outside
//! of that range (striped groups are negative, blocks of very old clusters random) live in a map beside it.
//!
//! Invariants: a block is in exactly one of the two; its replica list has no doubles; a list is spilled if and only if it
//! has more than [`INLINE`] entries.

use crate::types::{BlockInfo, BlockState, StorageIndex};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Number of replicas that fit into the record.
const INLINE: usize = 3;
const PAGE_BITS: u32 = 12;
const PAGE: usize = 1 << PAGE_BITS;
const CHUNK_BITS: u32 = 12;
const CHUNK: usize = 1 << CHUNK_BITS;
/// Size of the range of ids that the pages can hold. Ids outside of it go into the map.
const PAGED_SPAN: u64 = 1 << 36;
const MASK48: u64 = (1 << 48) - 1;
const MASK24: u64 = (1 << 24) - 1;

const STATE_SHIFT: u32 = 60;
const SPILLED: u64 = 1 << 62;
const PRESENT: u64 = 1 << 63;
const COUNT_SHIFT: u32 = 48;
const FLAG_SHIFT: u32 = 56;

/// The storages of a block.
pub(crate) type Replicas = SmallVec<[StorageIndex; 4]>;

/// Facts that the manager keeps in one bit per block, so that a common report needs no other table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    /// The block is complete and has the minimum of live replicas, so it counts for safe mode.
    Safe = 0,
    /// The block has corrupt replicas.
    Corrupt = 1,
    /// The block has excess replicas.
    Excess = 2,
    /// The block is in a queue of the redundancy monitor.
    Needed = 3,
}

/// One block. Lengths and stamps have 48 bits, as lengths in block reports do. A storage has 24 bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Record {
    /// inode 48 | replication 12 | state 2 | spilled | present
    head: u64,
    /// stamp 48 | replica count 8 | flags 8
    stamp: u64,
    /// length 48 | top 8 bits of the third replica | spare 8
    length: u64,
    /// first replica 24 | second 24 | low 16 bits of the third; or the index of the spilled list
    replicas: u64,
}

const _: () = assert!(size_of::<Record>() == 32);

impl Record {
    pub(crate) fn new(block: Block, inode: InodeId, replication: u16, state: BlockState) -> Record {
        let mut record = Record {
            head: PRESENT | (inode.0 & MASK48),
            ..Record::default()
        };
        record.set_block(block);
        record.set_replication(replication);
        record.set_state(state);
        record
    }

    fn present(&self) -> bool {
        self.head & PRESENT != 0
    }

    pub(crate) fn inode(&self) -> InodeId {
        InodeId(self.head & MASK48)
    }

    pub(crate) fn set_inode(&mut self, inode: InodeId) {
        self.head = (self.head & !MASK48) | (inode.0 & MASK48);
    }

    pub(crate) fn replication(&self) -> u16 {
        (self.head >> 48 & 0xfff) as u16
    }

    pub(crate) fn set_replication(&mut self, replication: u16) {
        let bits = u64::from(replication.min(0xfff));
        self.head = (self.head & !(0xfff << 48)) | (bits << 48);
    }

    pub(crate) fn state(&self) -> BlockState {
        match self.head >> STATE_SHIFT & 3 {
            0 => BlockState::Complete,
            1 => BlockState::UnderConstruction,
            2 => BlockState::UnderRecovery,
            _ => BlockState::Committed,
        }
    }

    pub(crate) fn set_state(&mut self, state: BlockState) {
        let bits = match state {
            BlockState::Complete => 0u64,
            BlockState::UnderConstruction => 1,
            BlockState::UnderRecovery => 2,
            BlockState::Committed => 3,
        };
        self.head = (self.head & !(3 << STATE_SHIFT)) | (bits << STATE_SHIFT);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.head >> STATE_SHIFT & 3 == 0
    }

    pub(crate) fn has_final_length(&self) -> bool {
        matches!(self.state(), BlockState::Complete | BlockState::Committed)
    }

    pub(crate) fn generation_stamp(&self) -> u64 {
        self.stamp & MASK48
    }

    pub(crate) fn num_bytes(&self) -> u64 {
        self.length & MASK48
    }

    pub(crate) fn set_block(&mut self, block: Block) {
        self.stamp = (self.stamp & !MASK48) | (block.generation_stamp.0 & MASK48);
        self.length = (self.length & !MASK48) | (block.num_bytes & MASK48);
    }

    pub(crate) fn flag(&self, flag: Flag) -> bool {
        self.stamp >> (FLAG_SHIFT + flag as u32) & 1 == 1
    }

    pub(crate) fn set_flag(&mut self, flag: Flag, value: bool) {
        let bit = 1u64 << (FLAG_SHIFT + flag as u32);
        if value {
            self.stamp |= bit;
        } else {
            self.stamp &= !bit;
        }
    }

    fn count(&self) -> usize {
        (self.stamp >> COUNT_SHIFT & 0xff) as usize
    }

    fn set_count(&mut self, count: usize) {
        debug_assert!(count <= INLINE, "more than find room go to a list");
        self.stamp = (self.stamp & !(0xff << COUNT_SHIFT)) | ((count as u64 & 0xff) << COUNT_SHIFT);
    }

    fn inline(&self, at: usize) -> u32 {
        (match at {
            0 => self.replicas & MASK24,
            1 => self.replicas >> 24 & MASK24,
            _ => self.replicas >> 48 | (self.length >> 48 & 0xff) << 16,
        }) as u32
    }

    fn set_inline(&mut self, at: usize, storage: u32) {
        debug_assert!(at < INLINE && u64::from(storage) <= MASK24, "a storage has 24 bits");
        let bits = u64::from(storage) & MASK24;
        match at {
            0 => self.replicas = (self.replicas & !MASK24) | bits,
            1 => self.replicas = (self.replicas & !(MASK24 << 24)) | bits << 24,
            _ => {
                self.replicas = (self.replicas & !(0xffff << 48)) | bits << 48;
                self.length = (self.length & !(0xff << 48)) | (bits >> 16) << 48;
            }
        }
    }

    pub(crate) fn view(&self, id: BlockId) -> BlockInfo {
        BlockInfo {
            block: Block {
                id,
                num_bytes: self.num_bytes(),
                generation_stamp: GenerationStamp(self.generation_stamp()),
            },
            inode: self.inode(),
            replication: self.replication(),
            state: self.state(),
        }
    }
}

struct Page {
    records: Box<[Record; PAGE]>,
    used: u32,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Page({} used)", self.used)
    }
}

fn new_page() -> Option<Page> {
    // Made from a Vec, because an array literal of this size would go over the stack.
    let records: Box<[Record; PAGE]> = vec![Record::default(); PAGE].into_boxed_slice().try_into().ok()?;
    Some(Page { records, used: 0 })
}

/// All blocks.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    chunks: Vec<Option<Box<[Option<Page>]>>>,
    others: BTreeMap<i64, Record>,
    spilled: Vec<Vec<StorageIndex>>,
    spilled_free: Vec<usize>,
    len: usize,
    pages: usize,
}

fn slot(id: BlockId) -> Option<(usize, usize, usize)> {
    let offset = u64::try_from(id.0.checked_sub(BlockId::LAST_RESERVED.0)?).ok()?;
    if offset >= PAGED_SPAN {
        return None;
    }
    let page = (offset >> PAGE_BITS) as usize;
    Some((page >> CHUNK_BITS, page & (CHUNK - 1), (offset as usize) & (PAGE - 1)))
}

fn id_of(chunk: usize, page: usize, at: usize) -> BlockId {
    let offset = (((chunk << CHUNK_BITS) + page) << PAGE_BITS) + at;
    BlockId(BlockId::LAST_RESERVED.0 + offset as i64)
}

impl Blocks {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: BlockId) -> Option<&Record> {
        match slot(id) {
            Some((chunk, page, at)) => {
                let record = self.chunks.get(chunk)?.as_ref()?.get(page)?.as_ref()?.records.get(at)?;
                record.present().then_some(record)
            }
            None => self.others.get(&id.0),
        }
    }

    pub(crate) fn get_mut(&mut self, id: BlockId) -> Option<&mut Record> {
        match slot(id) {
            Some((chunk, page, at)) => {
                let record = self
                    .chunks
                    .get_mut(chunk)?
                    .as_mut()?
                    .get_mut(page)?
                    .as_mut()?
                    .records
                    .get_mut(at)?;
                record.present().then_some(record)
            }
            None => self.others.get_mut(&id.0),
        }
    }

    /// Adds a block. Returns false, and changes nothing, when the id is taken.
    pub(crate) fn insert(&mut self, id: BlockId, record: Record) -> bool {
        if self.get(id).is_some() {
            return false;
        }
        match slot(id) {
            Some((chunk, page, at)) => {
                if self.chunks.len() <= chunk {
                    self.chunks.resize_with(chunk + 1, || None);
                }
                let pages = self.chunks[chunk]
                    .get_or_insert_with(|| std::iter::repeat_with(|| None).take(CHUNK).collect::<Vec<_>>().into());
                if pages[page].is_none() {
                    pages[page] = new_page();
                    self.pages += 1;
                }
                let Some(page) = pages[page].as_mut() else {
                    return false;
                };
                page.records[at] = record;
                page.used += 1;
            }
            None => {
                self.others.insert(id.0, record);
            }
        }
        self.len += 1;
        true
    }

    /// Removes a block with its replicas.
    pub(crate) fn remove(&mut self, id: BlockId) -> Option<(Record, Replicas)> {
        let record = *self.get(id)?;
        let replicas = self.replicas(&record);
        if record.head & SPILLED != 0 {
            self.free_spilled(record.replicas as usize);
        }
        match slot(id) {
            Some((chunk, page, at)) => {
                let place = self.chunks.get_mut(chunk)?.as_mut()?.get_mut(page)?;
                let held = place.as_mut()?;
                held.records[at] = Record::default();
                held.used -= 1;
                if held.used == 0 {
                    *place = None;
                    self.pages -= 1;
                }
            }
            None => {
                self.others.remove(&id.0);
            }
        }
        debug_assert!(self.len > 0, "a block was there");
        self.len -= 1;
        Some((record, replicas))
    }

    fn free_spilled(&mut self, index: usize) {
        debug_assert!(!self.spilled_free.contains(&index), "a list would get two owners");
        if let Some(list) = self.spilled.get_mut(index) {
            *list = Vec::new();
            self.spilled_free.push(index);
        }
    }

    /// The storages that the block is on.
    pub(crate) fn replicas(&self, record: &Record) -> Replicas {
        if record.head & SPILLED != 0 {
            return self
                .spilled
                .get(record.replicas as usize)
                .map_or_else(Replicas::new, |list| list.as_slice().into());
        }
        (0..record.count().min(INLINE))
            .map(|at| StorageIndex(record.inline(at)))
            .collect()
    }

    pub(crate) fn has_replica(&self, record: &Record, storage: StorageIndex) -> bool {
        if record.head & SPILLED != 0 {
            return self
                .spilled
                .get(record.replicas as usize)
                .is_some_and(|list| list.contains(&storage));
        }
        (0..record.count().min(INLINE)).any(|at| record.inline(at) == storage.0)
    }

    /// Adds a replica. Returns whether it was new.
    pub(crate) fn add_replica(&mut self, id: BlockId, storage: StorageIndex) -> bool {
        let Some(&(mut record)) = self.get(id) else {
            return false;
        };
        if self.has_replica(&record, storage) {
            return false;
        }
        if record.head & SPILLED != 0 {
            if let Some(list) = self.spilled.get_mut(record.replicas as usize) {
                list.push(storage);
            }
            return true;
        }
        let count = record.count();
        if count < INLINE {
            record.set_inline(count, storage.0);
            record.set_count(count + 1);
        } else {
            let mut list: Vec<StorageIndex> = (0..count).map(|at| StorageIndex(record.inline(at))).collect();
            list.push(storage);
            let index = self.spilled_free.pop().unwrap_or_else(|| {
                self.spilled.push(Vec::new());
                self.spilled.len() - 1
            });
            self.spilled[index] = list;
            record.head |= SPILLED;
            record.length &= MASK48;
            record.replicas = index as u64;
            record.set_count(0);
        }
        if let Some(place) = self.get_mut(id) {
            *place = record;
        }
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
        let mut list = self.replicas(&record);
        list.retain(|one| *one != storage);
        if record.head & SPILLED != 0 {
            let index = record.replicas as usize;
            if list.len() > INLINE {
                if let Some(place) = self.spilled.get_mut(index) {
                    *place = list.to_vec();
                }
                return true;
            }
            self.free_spilled(index);
            record.head &= !SPILLED;
        }
        record.replicas = 0;
        record.length &= MASK48;
        for (at, one) in list.iter().enumerate() {
            record.set_inline(at, one.0);
        }
        record.set_count(list.len());
        if let Some(place) = self.get_mut(id) {
            *place = record;
        }
        true
    }

    /// The first block with an id at or above this one. Striped groups (negative ids) come first.
    pub(crate) fn next(&self, from: BlockId) -> Option<BlockId> {
        let other = self.others.range(from.0..).next().map(|(&id, _)| BlockId(id));
        let paged = self.next_paged(from);
        match (other, paged) {
            (Some(other), Some(paged)) => Some(other.min(paged)),
            (other, paged) => other.or(paged),
        }
    }

    fn next_paged(&self, from: BlockId) -> Option<BlockId> {
        let (first_chunk, first_page, first_at) = match slot(from) {
            Some(place) => place,
            None if from < BlockId::LAST_RESERVED => (0, 0, 0),
            None => return None,
        };
        for (chunk, pages) in self.chunks.iter().enumerate().skip(first_chunk) {
            let Some(pages) = pages else { continue };
            let page_from = if chunk == first_chunk { first_page } else { 0 };
            for (index, page) in pages.iter().enumerate().skip(page_from) {
                let Some(page) = page else { continue };
                let at_from = if chunk == first_chunk && index == first_page {
                    first_at
                } else {
                    0
                };
                for (at, record) in page.records.iter().enumerate().skip(at_from) {
                    if record.present() {
                        return Some(id_of(chunk, index, at));
                    }
                }
            }
        }
        None
    }

    /// All block ids, in their order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = BlockId> {
        let next = |from: BlockId| self.next(from);
        std::iter::successors(next(BlockId(i64::MIN)), move |id| {
            id.0.checked_add(1).and_then(|from| next(BlockId(from)))
        })
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        let (mut len, mut spilled) = (0, 0);
        for id in self.ids() {
            len += 1;
            let Some(record) = self.get(id) else {
                panic!("block {id} is listed but absent")
            };
            let replicas = self.replicas(record);
            if record.head & SPILLED != 0 {
                spilled += 1;
                assert!(
                    replicas.len() > INLINE,
                    "{id}: a list that would find room in its record"
                );
                assert_eq!(record.count(), 0, "{id}: replicas in two places");
            } else {
                assert!(record.count() <= INLINE, "{id}: a record has room for {INLINE}");
            }
            for (at, storage) in replicas.iter().enumerate() {
                let again = replicas.iter().skip(at + 1).any(|other| other == storage);
                assert!(!again, "{id} counts {storage:?} twice");
            }
        }
        assert_eq!(len, self.len, "blocks counted and there");
        let pages = self.chunks.iter().flatten().flat_map(|pages| pages.iter().flatten());
        let (mut pages_there, mut paged) = (0, 0);
        for page in pages {
            pages_there += 1;
            let used = page.records.iter().filter(|record| record.present()).count();
            assert_eq!(used, page.used as usize, "records counted in a page and there");
            assert!(used > 0, "an empty page keeps its memory");
            paged += used;
        }
        assert_eq!(pages_there, self.pages, "pages counted and there");
        assert_eq!(paged + self.others.len(), len, "a block is in the pages or beside them");
        for &id in self.others.keys() {
            assert!(slot(BlockId(id)).is_none(), "{id} has a place in the pages");
        }
        assert_eq!(
            spilled + self.spilled_free.len(),
            self.spilled.len(),
            "a spilled list belongs to one block, or is free"
        );
        for &free in &self.spilled_free {
            assert!(self.spilled[free].is_empty(), "a free list holds replicas");
        }
    }

    /// Approximate size on the heap in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        let spilled: usize = self
            .spilled
            .iter()
            .map(|list| 24 + list.capacity() * size_of::<StorageIndex>())
            .sum();
        self.pages * PAGE * size_of::<Record>()
            + self.chunks.iter().flatten().count() * CHUNK * size_of::<Option<Page>>()
            + self.others.len() * 48
            + spilled
    }
}

/// Whether two lengths are equal as far as a report can tell.
pub(crate) fn same_48(one: u64, other: u64) -> bool {
    one & MASK48 == other & MASK48
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn record(inode: u64) -> Record {
        let block = Block {
            id: BlockId(0),
            num_bytes: MASK48,
            generation_stamp: GenerationStamp(1001),
        };
        Record::new(block, InodeId(inode), 3, BlockState::Complete)
    }

    proptest! {
        #[test]
        fn replicas_are_a_set(
            ops in proptest::collection::vec((any::<bool>(), 0usize..4, prop_oneof![0u32..8, 0xff_fff0u32..0xff_ffff]), 0..120)
        ) {
            let ids = [BlockId((1 << 30) + 1), BlockId((1 << 30) + 5000), BlockId(-16), BlockId(i64::MAX)];
            let mut blocks = Blocks::default();
            let mut model = vec![BTreeSet::new(); ids.len()];
            for (at, id) in ids.iter().enumerate() {
                prop_assert!(blocks.insert(*id, record(at as u64)));
            }
            for (add, at, storage) in ops {
                let storage = StorageIndex(storage);
                if add {
                    prop_assert_eq!(blocks.add_replica(ids[at], storage), model[at].insert(storage));
                } else {
                    prop_assert_eq!(blocks.remove_replica(ids[at], storage), model[at].remove(&storage));
                }
                for (at, id) in ids.iter().enumerate() {
                    let record = blocks.get(*id).unwrap();
                    prop_assert_eq!(record.inode(), InodeId(at as u64));
                    prop_assert_eq!(record.num_bytes(), MASK48);
                    let found: BTreeSet<_> = blocks.replicas(record).into_iter().collect();
                    prop_assert_eq!(&found, &model[at]);
                }
            }
            for id in ids {
                prop_assert!(blocks.remove(id).is_some());
                prop_assert!(blocks.get(id).is_none());
            }
            prop_assert_eq!(blocks.len(), 0);
            prop_assert_eq!(blocks.pages, 0);
        }
    }

    #[test]
    fn lists_in_order_of_ids() {
        let mut blocks = Blocks::default();
        let ids = [
            -32,
            7,
            1 << 30,
            (1 << 30) + 4095,
            (1 << 30) + 4096,
            (1 << 30) + (1 << 25),
            1 << 50,
        ];
        for id in ids.iter().rev() {
            assert!(blocks.insert(BlockId(*id), record(1)));
            assert!(!blocks.insert(BlockId(*id), record(2)));
        }
        let mut found = Vec::new();
        let mut next = blocks.next(BlockId(i64::MIN));
        while let Some(id) = next {
            found.push(id.0);
            next = blocks.next(BlockId(id.0 + 1));
        }
        assert_eq!(found, ids);
    }

    #[test]
    fn fields_do_not_touch_each_other() {
        let mut one = record(MASK48);
        one.set_state(BlockState::UnderRecovery);
        one.set_replication(512);
        one.set_flag(Flag::Corrupt, true);
        one.set_block(Block {
            id: BlockId(0),
            num_bytes: 17,
            generation_stamp: GenerationStamp(99),
        });
        one.set_inode(InodeId(5));
        assert_eq!(
            (one.inode(), one.replication(), one.state()),
            (InodeId(5), 512, BlockState::UnderRecovery)
        );
        assert_eq!(
            (one.num_bytes(), one.generation_stamp(), one.flag(Flag::Corrupt)),
            (17, 99, true)
        );
        assert!(!one.flag(Flag::Safe) && !one.flag(Flag::Needed));
    }
}
