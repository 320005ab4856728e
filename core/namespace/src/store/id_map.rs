//! From ids to slots. Ids are handed out in sequence, so a page covers a range of them and costs 4 bytes for each.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::slab::{NONE, Slot};

const SHIFT: u32 = 9;
const PER_PAGE: usize = 1 << SHIFT;

#[derive(Clone, Debug)]
struct Page {
    live: u32,
    /// Exactly two KiB, a size class of common allocators.
    slots: Box<[Slot; PER_PAGE]>,
}

/// Sparse pages of slots; a page without ids is given back.
#[derive(Clone, Debug)]
pub(crate) struct IdMap {
    pages: HashMap<u64, Page, FixedState>,
    live: usize,
}

impl IdMap {
    pub(crate) fn new() -> Self {
        IdMap {
            pages: HashMap::with_hasher(FixedState::default()),
            live: 0,
        }
    }

    #[inline]
    pub(crate) fn get(&self, id: u64) -> Option<Slot> {
        let slot = self.pages.get(&(id >> SHIFT))?.slots[id as usize & (PER_PAGE - 1)];
        (slot != NONE).then_some(slot)
    }

    /// Maps an id; the slot it was mapped to before, if any.
    pub(crate) fn insert(&mut self, id: u64, slot: Slot) -> Option<Slot> {
        let page = self.pages.entry(id >> SHIFT).or_insert_with(|| Page {
            live: 0,
            slots: Box::new([NONE; PER_PAGE]),
        });
        let old = std::mem::replace(&mut page.slots[id as usize & (PER_PAGE - 1)], slot);
        if old == NONE {
            page.live += 1;
            self.live += 1;
            return None;
        }
        Some(old)
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Slot> {
        let page = self.pages.get_mut(&(id >> SHIFT))?;
        let old = std::mem::replace(&mut page.slots[id as usize & (PER_PAGE - 1)], NONE);
        if old == NONE {
            return None;
        }
        page.live -= 1;
        self.live -= 1;
        if page.live == 0 {
            self.pages.remove(&(id >> SHIFT));
        }
        Some(old)
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Panics where a page is kept for nothing, or ids are not counted.
    pub(crate) fn check(&self) {
        let mut live = 0;
        // order: each page is looked at by itself.
        for page in self.pages.values() {
            let there = page.slots.iter().filter(|slot| **slot != NONE).count();
            assert_eq!(there, page.live as usize, "ids counted in a page and there");
            assert!(there > 0, "a page without ids keeps its memory");
            live += there;
        }
        assert_eq!(live, self.live, "ids counted and there");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_any_id_and_gives_pages_back() {
        let mut map = IdMap::new();
        for id in [0, 511, 512, u64::MAX, 1 << 60] {
            assert_eq!(map.insert(id, 5), None);
            assert_eq!(map.insert(id, 7), Some(5));
            assert_eq!(map.get(id), Some(7));
        }
        assert_eq!(map.len(), 5);
        assert_eq!(map.get(1), None);
        for id in [0, 511, 512, u64::MAX, 1 << 60] {
            assert_eq!(map.remove(id), Some(7));
            assert_eq!(map.remove(id), None);
        }
        assert!(map.pages.is_empty());
    }
}
