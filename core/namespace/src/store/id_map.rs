//! From ids to slots.
//!
//! Ids are handed out in sequence and never again, so pages cover ranges of them. An old cluster has given out many more
//! ids than it still has inodes, so what a page costs follows from the ids in it that live:
//! - ids that came in their order and got slots in sequence cost two bits each ([`Run`]);
//! - few ids are a sorted list of eight bytes each;
//! - anything else is a table of four bytes for each id of the page.
//!
//! Invariants ([`IdMap::check`]): no page is without ids; a list is sorted, and at most as long as [`FEW_MAX`]; ids are
//! counted.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::slab::{NONE, Slot};

const SHIFT: u32 = 9;
const PER_PAGE: usize = 1 << SHIFT;
const WORDS: usize = PER_PAGE / 64;
/// A list of this length takes three quarters of a table's memory.
const FEW_MAX: usize = 192;
/// A table with fewer ids becomes a list again. Far enough below [`FEW_MAX`] that a page does not go to and fro.
const TABLE_MIN: u32 = 96;
/// A run with as few ids, whose page gets no new ones, becomes a list.
const RUN_MIN: u32 = 8;

/// Ids of a page in their order, with slots in sequence.
#[derive(Clone, Debug)]
struct Run {
    /// For each id: whether it is in the sequence, and whether it is still mapped.
    words: [(u64, u64); WORDS],
    /// Number of ids of the sequence before each word, as far as the sequence goes.
    before: [u16; WORDS],
    /// Slot of the first id.
    first: Slot,
    /// Number of ids in the sequence.
    len: u16,
    live: u16,
}

const _: () = assert!(size_of::<Run>() == 152);

impl Run {
    /// A sequence of one id.
    fn of(at: usize, slot: Slot) -> Box<Run> {
        let mut run = Box::new(Run {
            words: [(0, 0); WORDS],
            before: [0; WORDS],
            first: slot,
            len: 0,
            live: 0,
        });
        let appended = run.append(at, slot);
        debug_assert!(appended, "the first id begins the sequence");
        run
    }

    #[inline]
    fn get(&self, at: usize) -> Option<Slot> {
        let (known, live) = self.words[at / 64];
        let bit = 1u64 << (at % 64);
        (live & bit != 0).then(|| self.first + u32::from(self.before[at / 64]) + (known & (bit - 1)).count_ones())
    }

    /// Continues the sequence. False: this id or this slot is not the next one.
    fn append(&mut self, at: usize, slot: Slot) -> bool {
        let word = at / 64;
        let later = self.words[word].0 >> (at % 64) != 0 || self.words[word + 1..].iter().any(|(known, _)| *known != 0);
        if later || u64::from(slot) != u64::from(self.first) + u64::from(self.len) {
            return false;
        }
        if self.words[word].0 == 0 {
            self.before[word] = self.len;
        }
        self.words[word].0 |= 1 << (at % 64);
        self.words[word].1 |= 1 << (at % 64);
        self.len += 1;
        self.live += 1;
        true
    }

    fn remove(&mut self, at: usize) {
        self.words[at / 64].1 &= !(1 << (at % 64));
        self.live -= 1;
    }

    /// Whether the last id of the page has been given out, so that nothing can be appended.
    fn is_over(&self) -> bool {
        self.words[WORDS - 1].0 >> 63 != 0
    }
}

/// The ids of one range.
#[derive(Clone, Debug)]
enum Page {
    Run(Box<Run>),
    /// Place in the page and slot, in the order of places.
    Few(Vec<(u16, Slot)>),
    /// Number of ids, and the slots by place: exactly two KiB, a size class of common allocators.
    Table(u32, Box<[Slot; PER_PAGE]>),
}

impl Page {
    #[inline]
    fn get(&self, at: usize) -> Option<Slot> {
        match self {
            Page::Run(run) => run.get(at),
            Page::Few(few) => {
                let found = few.binary_search_by_key(&at, |(at, _)| usize::from(*at)).ok()?;
                Some(few[found].1)
            }
            Page::Table(_, slots) => (slots[at] != NONE).then_some(slots[at]),
        }
    }

    fn live(&self) -> usize {
        match self {
            Page::Run(run) => usize::from(run.live),
            Page::Few(few) => few.len(),
            Page::Table(live, _) => *live as usize,
        }
    }

    /// The places that are mapped, with their slots, in their order.
    fn entries(&self) -> Vec<(u16, Slot)> {
        let entry = |at| self.get(at).map(|slot| (at as u16, slot));
        (0..PER_PAGE).filter_map(entry).collect()
    }

    fn table(entries: &[(u16, Slot)]) -> Page {
        let mut slots = Box::new([NONE; PER_PAGE]);
        for (at, slot) in entries {
            slots[usize::from(*at)] = *slot;
        }
        Page::Table(entries.len() as u32, slots)
    }

    /// Maps a place; the slot that it was mapped to before, if any.
    fn insert(&mut self, at: usize, slot: Slot) -> Option<Slot> {
        match self {
            Page::Run(run) => {
                if run.append(at, slot) {
                    return None;
                }
                let entries = self.entries();
                *self = if entries.len() < FEW_MAX {
                    Page::Few(entries)
                } else {
                    Page::table(&entries)
                };
                self.insert(at, slot)
            }
            Page::Few(few) => {
                let place = match few.binary_search_by_key(&at, |(at, _)| usize::from(*at)) {
                    Ok(found) => return Some(std::mem::replace(&mut few[found].1, slot)),
                    Err(place) => place,
                };
                if few.len() >= FEW_MAX {
                    *self = Page::table(few);
                    return self.insert(at, slot);
                }
                if few.len() == few.capacity() {
                    few.reserve_exact(few.len() / 4 + 2);
                }
                few.insert(place, (at as u16, slot));
                None
            }
            Page::Table(live, slots) => {
                let old = std::mem::replace(&mut slots[at], slot);
                if old == NONE {
                    *live += 1;
                    return None;
                }
                Some(old)
            }
        }
    }

    fn remove(&mut self, at: usize) -> Option<Slot> {
        let old = self.get(at)?;
        match self {
            Page::Run(run) => {
                run.remove(at);
                if u32::from(run.live) <= RUN_MIN && run.is_over() {
                    *self = Page::Few(self.entries());
                }
            }
            Page::Few(few) => {
                few.retain(|(other, _)| usize::from(*other) != at);
                if few.capacity() > 8 && few.len() * 2 < few.capacity() {
                    few.shrink_to_fit();
                }
            }
            Page::Table(live, slots) => {
                slots[at] = NONE;
                *live -= 1;
                if *live < TABLE_MIN {
                    *self = Page::Few(self.entries());
                }
            }
        }
        Some(old)
    }

    fn check(&self) {
        match self {
            Page::Run(run) => {
                let live: u32 = run.words.iter().map(|(_, live)| live.count_ones()).sum();
                assert_eq!(live, u32::from(run.live), "ids counted in a run and there");
                let known: u32 = run.words.iter().map(|(known, _)| known.count_ones()).sum();
                assert_eq!(known, u32::from(run.len), "ids in a sequence and its length");
                assert!(
                    run.words.iter().all(|(known, live)| live & !known == 0),
                    "an id that lives and is not in the sequence"
                );
            }
            Page::Few(few) => {
                assert!(few.len() <= FEW_MAX, "{} ids in a list", few.len());
                assert!(few.windows(2).all(|pair| pair[0].0 < pair[1].0), "a list in order");
            }
            Page::Table(live, slots) => {
                let there = slots.iter().filter(|slot| **slot != NONE).count();
                assert_eq!(there, *live as usize, "ids counted in a table and there");
            }
        }
        assert!(self.live() > 0, "a page without ids keeps its memory");
    }
}

/// Slots by id; a page without ids is given back.
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

    fn place(id: u64) -> (u64, usize) {
        (id >> SHIFT, id as usize & (PER_PAGE - 1))
    }

    #[inline]
    pub(crate) fn get(&self, id: u64) -> Option<Slot> {
        let (page, at) = Self::place(id);
        self.pages.get(&page)?.get(at)
    }

    /// Maps an id; the slot it was mapped to before, if any.
    pub(crate) fn insert(&mut self, id: u64, slot: Slot) -> Option<Slot> {
        debug_assert_ne!(slot, NONE, "an id without a slot is not mapped");
        let (page, at) = Self::place(id);
        let old = match self.pages.get_mut(&page) {
            Some(page) => page.insert(at, slot),
            None => {
                self.pages.insert(page, Page::Run(Run::of(at, slot)));
                None
            }
        };
        self.live += usize::from(old.is_none());
        old
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Slot> {
        let (number, at) = Self::place(id);
        let page = self.pages.get_mut(&number)?;
        let old = page.remove(at)?;
        if page.live() == 0 {
            self.pages.remove(&number);
        }
        debug_assert!(self.live > 0, "an id that was there was counted");
        self.live -= 1;
        Some(old)
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Panics where an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        // order: each page is looked at by itself.
        let pages = self.pages.values();
        let live: usize = pages.inspect(|page| page.check()).map(|page| page.live()).sum();
        assert_eq!(live, self.live, "ids counted and there");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn kinds(map: &IdMap) -> [usize; 3] {
        let mut kinds = [0; 3];
        for page in map.pages.values() {
            kinds[match page {
                Page::Run(_) => 0,
                Page::Few(_) => 1,
                Page::Table(..) => 2,
            }] += 1;
        }
        kinds
    }

    #[test]
    fn maps_any_id_and_gives_pages_back() {
        let mut map = IdMap::new();
        for id in [0, 511, 512, u64::MAX, 1 << 60] {
            assert_eq!(map.insert(id, 5), None);
            assert_eq!(map.insert(id, 7), Some(5));
            assert_eq!(map.get(id), Some(7));
        }
        map.check();
        assert_eq!(map.len(), 5);
        assert_eq!(map.get(1), None);
        for id in [0, 511, 512, u64::MAX, 1 << 60] {
            assert_eq!(map.remove(id), Some(7));
            assert_eq!(map.remove(id), None);
        }
        assert!(map.pages.is_empty());
    }

    #[test]
    fn ids_in_sequence_are_runs_and_what_is_left_of_them_are_lists() {
        let mut map = IdMap::new();
        for (slot, id) in (16385..=40_000u64).enumerate() {
            assert_eq!(map.insert(id, slot as Slot), None);
        }
        map.check();
        assert_eq!(kinds(&map), [47, 0, 0]);
        for id in (16385..=40_000).filter(|id| id % 100 != 0) {
            assert_eq!(map.remove(id), Some((id - 16385) as Slot));
        }
        map.check();
        assert_eq!(kinds(&map), [1, 46, 0], "the page that still gets ids stays a run");
        assert_eq!(map.get(20_000), Some(20_000 - 16385));
        assert_eq!(map.get(20_001), None);
    }

    #[test]
    fn slots_in_no_order_make_tables_and_few_of_them_a_list() {
        let mut map = IdMap::new();
        for id in 0..512u64 {
            map.insert(id, ((id * 37) % 512) as Slot);
        }
        assert_eq!(kinds(&map), [0, 0, 1]);
        for id in 0..500 {
            map.remove(id);
        }
        map.check();
        assert_eq!(kinds(&map), [0, 1, 0]);
        assert_eq!(map.get(505), Some((505 * 37) % 512));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Ids in sequence with gaps, slots in sequence or used again, and removals: as a plain map says.
        #[test]
        fn agrees_with_a_plain_map(
            ops in proptest::collection::vec((0u8..10, 0u64..1400, 0u32..3), 1..3000),
            churn in 1u8..9,
        ) {
            let (mut map, mut model) = (IdMap::new(), BTreeMap::new());
            let (mut next_id, mut next_slot, mut free) = (0u64, 0u32, Vec::new());
            for (kind, pick, gap) in ops {
                if kind >= churn {
                    let id = pick % next_id.max(1);
                    let removed = model.remove(&id);
                    prop_assert_eq!(map.remove(id), removed);
                    free.extend(removed.filter(|_| pick % 3 == 0));
                } else {
                    next_id += 1 + u64::from(gap / 2);
                    let slot = free.pop().unwrap_or_else(|| {
                        next_slot += 1;
                        next_slot
                    });
                    prop_assert_eq!(map.insert(next_id, slot), model.insert(next_id, slot));
                }
            }
            map.check();
            for id in 0..=next_id + 1 {
                prop_assert_eq!(map.get(id), model.get(&id).copied());
            }
            prop_assert_eq!(map.len(), model.len());
        }
    }
}
