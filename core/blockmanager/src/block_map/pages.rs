//! The records by block id.
//!
//! Blocks get their ids in sequence from 2³⁰ + 1, so pages indexed by id stand where Hadoop has a hash table. Ids outside
//! of that range (striped groups are negative, blocks of very old clusters random) live in a map beside it.
//!
//! Invariants: a block is in exactly one of the two; no page is without a block.

use super::record::Record;
use hathi_formats::ids::BlockId;
use std::collections::BTreeMap;

const PAGE_BITS: u32 = 12;
const PAGE: usize = 1 << PAGE_BITS;
const CHUNK_BITS: u32 = 12;
const CHUNK: usize = 1 << CHUNK_BITS;
/// Size of the range of ids that the pages can hold. Ids outside of it go into the map.
const PAGED_SPAN: u64 = 1 << 36;

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
                let record = self.chunks.get(chunk)?.as_ref()?.get(page)?.as_ref()?.records.get(at)?;
                record.is_present().then_some(record)
            }
            None => self.others.get(&id),
        }
    }

    pub(super) fn get_mut(&mut self, id: BlockId) -> Option<&mut Record> {
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
                record.is_present().then_some(record)
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
                held.records[at] = Record::default();
                held.used -= 1;
                if held.used == 0 {
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
                for (at, record) in page.records.iter().enumerate().skip(at_from) {
                    if record.is_present() {
                        return Some(id_of(chunk, index, at));
                    }
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
            let used = page.records.iter().filter(|record| record.is_present()).count();
            assert_eq!(used, page.used as usize, "records counted in a page and there");
            assert!(used > 0, "an empty page keeps its memory");
            paged += used;
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
        self.pages * PAGE * size_of::<Record>()
            + self.chunks.iter().flatten().count() * CHUNK * size_of::<Option<Page>>()
            + self.others.len() * 48
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::BlockState;
    use hathi_formats::ids::{Block, InodeId};

    fn record(inode: u64) -> Record {
        Record::new(Block::default(), InodeId(inode), 3, BlockState::Complete)
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
}
