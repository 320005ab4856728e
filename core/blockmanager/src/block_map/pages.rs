//! The records by block id.
//!
//! Blocks get their ids in sequence from 2³⁰ + 1, so pages indexed by id stand where Hadoop has a hash table. Ids outside
//! of that range (striped groups are negative, blocks of very old clusters random) live in a map beside it. An old
//! cluster has given out many more ids than it still has blocks, so a page with few of them is a list.
//!
//! Invariants ([`Records::check`]): a block is in exactly one of pages and map; no page is without a block; a list is
//! sorted and at most as long as [`FEW_MAX`].

use super::record::Record;
use hathi_formats::ids::BlockId;
use std::collections::BTreeMap;

const PAGE_BITS: u32 = 9;
const PAGE: usize = 1 << PAGE_BITS;
const CHUNK_BITS: u32 = 12;
const CHUNK: usize = 1 << CHUNK_BITS;
/// Size of the range of ids that the pages can hold. Ids outside of it go into the map.
const PAGED_SPAN: u64 = 1 << 36;
/// A list of this length takes half of a full page's memory.
const FEW_MAX: usize = 256;
/// A full page with fewer blocks becomes a list again. Far enough below [`FEW_MAX`] that a page does not go to and fro.
const FULL_MIN: u32 = 128;

/// Some blocks of a page.
#[derive(Default)]
struct Few {
    /// Places in the page, in their order.
    places: Vec<u16>,
    /// Their records.
    records: Vec<Record>,
}

impl Few {
    fn insert(&mut self, before: usize, at: usize, record: Record) {
        if self.places.len() == self.places.capacity() {
            // A quarter more, not twice as much: a page often stays as it is.
            let more = self.places.len() / 4 + 1;
            self.places.reserve_exact(more);
            self.records.reserve_exact(more);
        }
        self.places.insert(before, at as u16);
        self.records.insert(before, record);
    }
}

enum Page {
    Few(Box<Few>),
    /// Number of blocks, and the records by place: exactly 16 KiB, a size class of common allocators.
    Full(u32, Box<[Record; PAGE]>),
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Page({} used)", self.used())
    }
}

impl Page {
    fn new() -> Page {
        Page::Few(Box::default())
    }

    fn used(&self) -> usize {
        match self {
            Page::Few(few) => few.places.len(),
            Page::Full(used, _) => *used as usize,
        }
    }

    #[inline]
    fn get(&self, at: usize) -> Option<&Record> {
        match self {
            Page::Few(few) => few.records.get(few.places.binary_search(&(at as u16)).ok()?),
            Page::Full(_, records) => records.get(at).filter(|record| record.is_present()),
        }
    }

    #[inline]
    fn get_mut(&mut self, at: usize) -> Option<&mut Record> {
        match self {
            Page::Few(few) => few.records.get_mut(few.places.binary_search(&(at as u16)).ok()?),
            Page::Full(_, records) => records.get_mut(at).filter(|record| record.is_present()),
        }
    }

    /// Adds a record whose place is free.
    fn insert(&mut self, at: usize, record: Record) {
        match self {
            Page::Few(few) => {
                let Err(before) = few.places.binary_search(&(at as u16)) else {
                    debug_assert!(false, "the place is free");
                    return;
                };
                if few.places.len() < FEW_MAX {
                    return few.insert(before, at, record);
                }
                let mut records = Box::new([Record::default(); PAGE]);
                for (at, record) in few.places.iter().zip(&few.records) {
                    records[usize::from(*at)] = *record;
                }
                records[at] = record;
                *self = Page::Full(FEW_MAX as u32 + 1, records);
            }
            Page::Full(used, records) => {
                debug_assert!(!records[at].is_present(), "the place is free");
                records[at] = record;
                *used += 1;
            }
        }
    }

    /// Removes a record that is there.
    fn remove(&mut self, at: usize) {
        match self {
            Page::Few(few) => {
                if let Ok(found) = few.places.binary_search(&(at as u16)) {
                    few.places.remove(found);
                    few.records.remove(found);
                    if few.places.len() * 2 < few.places.capacity() {
                        few.places.shrink_to_fit();
                        few.records.shrink_to_fit();
                    }
                }
            }
            Page::Full(used, records) => {
                debug_assert!(records[at].is_present(), "a record was there");
                records[at] = Record::default();
                *used -= 1;
                if *used < FULL_MIN {
                    let there = records.iter().enumerate().filter(|(_, record)| record.is_present());
                    let (places, records) = there.map(|(at, record)| (at as u16, *record)).unzip();
                    *self = Page::Few(Box::new(Few { places, records }));
                }
            }
        }
    }

    /// The first place at or above this one.
    fn next(&self, from: usize) -> Option<usize> {
        match self {
            Page::Few(few) => {
                let first = few.places.partition_point(|at| usize::from(*at) < from);
                few.places.get(first).map(|at| usize::from(*at))
            }
            Page::Full(_, records) => (from..PAGE).find(|at| records[*at].is_present()),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Page::Few(few) => size_of::<Few>() + few.places.capacity() * (size_of::<Record>() + size_of::<u16>()),
            Page::Full(..) => PAGE * size_of::<Record>(),
        }
    }

    fn check(&self) {
        match self {
            Page::Few(few) => {
                assert_eq!(few.places.len(), few.records.len(), "a record for each place");
                assert!(few.places.len() <= FEW_MAX, "{} blocks in a list", few.places.len());
                assert!(few.places.windows(2).all(|pair| pair[0] < pair[1]), "a list in order");
                assert!(few.records.iter().all(Record::is_present), "a place without a block");
            }
            Page::Full(used, records) => {
                let there = records.iter().filter(|record| record.is_present()).count();
                assert_eq!(there, *used as usize, "records counted in a page and there");
            }
        }
        assert!(self.used() > 0, "an empty page keeps its memory");
    }
}

/// All records.
#[derive(Debug, Default)]
pub(super) struct Records {
    chunks: Vec<Option<Box<[Option<Page>]>>>,
    others: BTreeMap<BlockId, Record>,
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

impl Records {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, id: BlockId) -> Option<&Record> {
        match slot(id) {
            Some((chunk, page, at)) => {
                let page = self.chunks.get(chunk)?.as_ref()?.get(page)?.as_ref()?;
                page.get(at)
            }
            None => self.others.get(&id),
        }
    }

    pub(super) fn get_mut(&mut self, id: BlockId) -> Option<&mut Record> {
        match slot(id) {
            Some((chunk, page, at)) => {
                let page = self.chunks.get_mut(chunk)?.as_mut()?.get_mut(page)?.as_mut()?;
                page.get_mut(at)
            }
            None => self.others.get_mut(&id),
        }
    }

    /// Adds a record. Returns false, and changes nothing, when the id is taken.
    pub(super) fn insert(&mut self, id: BlockId, record: Record) -> bool {
        debug_assert!(record.is_present(), "an absent record would be counted");
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
                let page = pages[page].get_or_insert_with(|| {
                    self.pages += 1;
                    Page::new()
                });
                page.insert(at, record);
            }
            None => {
                self.others.insert(id, record);
            }
        }
        self.len += 1;
        true
    }

    pub(super) fn remove(&mut self, id: BlockId) -> Option<Record> {
        let record = *self.get(id)?;
        match slot(id) {
            Some((chunk, page, at)) => {
                let place = self.chunks.get_mut(chunk)?.as_mut()?.get_mut(page)?;
                let held = place.as_mut()?;
                held.remove(at);
                if held.used() == 0 {
                    *place = None;
                    self.pages -= 1;
                }
            }
            None => {
                self.others.remove(&id);
            }
        }
        debug_assert!(self.len > 0, "a block was there");
        self.len -= 1;
        Some(record)
    }

    /// The first block with an id at or above this one. Striped groups (negative ids) come first.
    pub(super) fn next(&self, from: BlockId) -> Option<BlockId> {
        let other = self.others.range(from..).next().map(|(&id, _)| id);
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
                if let Some(at) = page.next(at_from) {
                    return Some(id_of(chunk, index, at));
                }
            }
        }
        None
    }

    /// Panics when an invariant of the module does not hold.
    pub(super) fn check(&self) {
        let pages = self.chunks.iter().flatten().flat_map(|pages| pages.iter().flatten());
        let (mut pages_there, mut paged) = (0, 0);
        for page in pages {
            pages_there += 1;
            page.check();
            paged += page.used();
        }
        assert_eq!(pages_there, self.pages, "pages counted and there");
        assert_eq!(
            paged + self.others.len(),
            self.len,
            "a block is in the pages or beside them"
        );
        for &id in self.others.keys() {
            assert!(slot(id).is_none(), "{id} has a place in the pages");
        }
    }

    /// Approximate size on the heap in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let pages = self.chunks.iter().flatten().flat_map(|pages| pages.iter().flatten());
        pages.map(Page::heap_bytes).sum::<usize>()
            + self.chunks.iter().flatten().count() * CHUNK * size_of::<Option<Page>>()
            + self.others.len() * 48
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{BlockLayout, BlockState};
    use hathi_formats::ids::{Block, InodeId};
    use proptest::prelude::*;

    fn record(inode: u64) -> Record {
        Record::new(
            Block::default(),
            InodeId(inode),
            BlockLayout::Replicas(3),
            BlockState::Complete,
        )
    }

    #[test]
    fn lists_in_order_of_ids() {
        let mut records = Records::default();
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
            assert!(records.insert(BlockId(*id), record(1)));
            assert!(!records.insert(BlockId(*id), record(2)));
        }
        let mut found = Vec::new();
        let mut next = records.next(BlockId(i64::MIN));
        while let Some(id) = next {
            found.push(id.0);
            next = records.next(BlockId(id.0 + 1));
        }
        assert_eq!(found, ids);
        records.check();
        for id in ids {
            assert_eq!(
                records.remove(BlockId(id)).map(|record| record.inode()),
                Some(InodeId(1))
            );
            assert!(records.get(BlockId(id)).is_none() && records.remove(BlockId(id)).is_none());
            records.check();
        }
        assert_eq!((records.len(), records.pages), (0, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Pages fill, are thinned out and fill again: as a plain map says.
        #[test]
        fn agrees_with_a_plain_map(
            ops in proptest::collection::vec((0u8..10, 0i64..1400), 1..3000),
            adds in 1u8..10,
        ) {
            let (mut records, mut model) = (Records::default(), BTreeMap::new());
            for (number, (kind, offset)) in ops.into_iter().enumerate() {
                let id = BlockId(BlockId::LAST_RESERVED.0 + 1000 + offset);
                if kind < adds {
                    let new = !model.contains_key(&id);
                    prop_assert_eq!(records.insert(id, record(number as u64)), new);
                    model.entry(id).or_insert(number as u64);
                } else {
                    prop_assert_eq!(records.remove(id).map(|record| record.inode().0), model.remove(&id));
                }
            }
            records.check();
            let ids = std::iter::successors(records.next(BlockId(i64::MIN)), |id| records.next(BlockId(id.0 + 1)));
            prop_assert!(ids.eq(model.keys().copied()));
            for (id, inode) in &model {
                prop_assert_eq!(records.get(*id).map(|record| record.inode().0), Some(*inode));
            }
        }
    }

    #[test]
    fn a_page_with_few_blocks_left_takes_little() {
        let mut records = Records::default();
        let first = BlockId::LAST_RESERVED.0 + 1;
        for id in first..first + 100_000 {
            records.insert(BlockId(id), record(1));
        }
        let full = records.heap_bytes();
        for id in (first..first + 100_000).filter(|id| id % 100 != 0) {
            records.remove(BlockId(id));
        }
        records.check();
        assert_eq!(records.len(), 1000);
        let directory = CHUNK * size_of::<Option<Page>>();
        assert!(full - directory > 100_000 * 32 - PAGE * 32);
        assert!((records.heap_bytes() - directory) / records.len() < 80);
    }
}
