//! Records in pages, addressed by a 32-bit slot.
//!
//! Pages are shared with a frozen view while an image is saved and copied on the first write after that, so saving needs
//! no lock. Freed slots are used again.

use std::sync::Arc;

/// Index of a record in its slab.
pub(crate) type Slot = u32;
/// No slot.
pub(crate) const NONE: Slot = u32::MAX;

/// Paged records. A page holds one record less than two to the power of `SHIFT`: with the header of its allocation it
/// then fills a size class of common allocators, where a full power of two would waste a sixth or more.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T, const SHIFT: u32> {
    pages: Vec<Arc<[T]>>,
    /// Slots handed out so far, live or free.
    used: u32,
    free: Vec<Slot>,
}

/// The pages of a slab at one moment.
#[derive(Clone, Debug)]
pub(crate) struct FrozenSlab<T, const SHIFT: u32> {
    pages: Vec<Arc<[T]>>,
    used: u32,
}

impl<T: Clone + Default, const SHIFT: u32> Slab<T, SHIFT> {
    const PER_PAGE: usize = (1 << SHIFT) - 1;

    pub(crate) const fn new() -> Self {
        Slab {
            pages: Vec::new(),
            used: 0,
            free: Vec::new(),
        }
    }

    /// Stores a record and returns its slot.
    pub(crate) fn insert(&mut self, value: T) -> Slot {
        if let Some(slot) = self.free.pop() {
            *self.get_mut(slot) = value;
            return slot;
        }
        let slot = self.used;
        assert!(slot < NONE - 1, "the slab is full");
        if slot as usize / Self::PER_PAGE == self.pages.len() {
            self.pages
                .push(std::iter::repeat_n(T::default(), Self::PER_PAGE).collect());
        }
        self.used += 1;
        *self.get_mut(slot) = value;
        slot
    }

    /// Gives a slot back. The record is reset so that whatever it owned is freed.
    pub(crate) fn remove(&mut self, slot: Slot) {
        debug_assert!(slot < self.used, "slot was never handed out");
        *self.get_mut(slot) = T::default();
        self.free.push(slot);
    }

    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> &T {
        debug_assert!(slot < self.used, "slot was never handed out");
        &self.pages[slot as usize / Self::PER_PAGE][slot as usize % Self::PER_PAGE]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut T {
        debug_assert!(slot < self.used, "slot was never handed out");
        let page = &mut self.pages[slot as usize / Self::PER_PAGE];
        &mut Arc::make_mut(page)[slot as usize % Self::PER_PAGE]
    }

    /// Slots in use.
    pub(crate) fn live(&self) -> usize {
        debug_assert!(self.free.len() <= self.used as usize, "a slot was given back twice");
        self.used as usize - self.free.len()
    }

    /// Panics when a slot is free twice, so that two records would get it, or was never handed out.
    pub(crate) fn check(&self) {
        let mut free = self.free.clone();
        free.sort_unstable();
        assert!(
            free.windows(2).all(|pair| pair[0] != pair[1]),
            "a slot was given back twice"
        );
        assert!(
            free.last().is_none_or(|slot| *slot < self.used),
            "a free slot was never handed out"
        );
        assert_eq!(
            self.pages.len(),
            (self.used as usize).div_ceil(Self::PER_PAGE),
            "pages for the slots that were handed out"
        );
    }

    /// One past the highest slot handed out.
    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    pub(crate) fn freeze(&self) -> FrozenSlab<T, SHIFT> {
        FrozenSlab {
            pages: self.pages.clone(),
            used: self.used,
        }
    }
}

impl<T, const SHIFT: u32> FrozenSlab<T, SHIFT> {
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> &T {
        let per_page = (1 << SHIFT) - 1;
        &self.pages[slot as usize / per_page][slot as usize % per_page]
    }

    pub(crate) fn used(&self) -> u32 {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_frozen_pages_stay() {
        let mut slab: Slab<u64, 2> = Slab::new();
        let slots: Vec<Slot> = (0..10).map(|n| slab.insert(n)).collect();
        let frozen = slab.freeze();
        slab.remove(slots[3]);
        assert_eq!(slab.live(), 9);
        assert_eq!(slab.insert(99), slots[3]);
        *slab.get_mut(slots[9]) = 7;
        assert_eq!((*slab.get(slots[3]), *slab.get(slots[9])), (99, 7));
        assert_eq!((*frozen.get(slots[3]), *frozen.get(slots[9])), (3, 9));
        assert_eq!(frozen.used(), 10);
    }
}
