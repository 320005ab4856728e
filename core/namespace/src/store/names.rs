//! The names of inodes: a length byte and the bytes, in pages, in units of four bytes.
//!
//! A freed name's place is used again by a name of the same number of units, so renames and deletes don't leak.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Address of a name, in units of four bytes.
pub(crate) type NameRef = u32;

const UNIT: usize = 4;
/// Units per page: 64 KiB with the header of the allocation. A name never crosses a page.
const PAGE_UNITS: usize = (1 << 14) - 4;
const PAGE_BYTES: usize = PAGE_UNITS * UNIT;
/// The length byte of a name whose length follows in three bytes.
const LONG: u8 = 255;
/// The longest name that can be stored; far above any limit on path components.
pub(crate) const MAX_NAME_LEN: usize = 32 * 1024;

#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pages: Vec<Arc<[u8]>>,
    /// Units used in the last page.
    used: usize,
    /// Free places by their number of units.
    free: BTreeMap<usize, Vec<NameRef>>,
}

/// The names at one moment.
#[derive(Clone, Debug)]
pub(crate) struct FrozenNames {
    pages: Vec<Arc<[u8]>>,
}

/// Length of a name in UTF-16 units, in which Java and the edit log count.
pub(crate) fn utf16_len(name: &[u8]) -> u32 {
    // One byte of each character does not continue another one, and a character of four bytes is a pair of surrogates.
    name.iter()
        .map(|byte| u32::from(byte & 0xC0 != 0x80) + u32::from(*byte >= 0xF0))
        .fold(0, u32::saturating_add)
}

fn units(len: usize) -> usize {
    let header = if len < LONG as usize { 1 } else { 4 };
    (header + len).div_ceil(UNIT)
}

#[inline]
fn read(pages: &[Arc<[u8]>], at: NameRef) -> &[u8] {
    let page = &pages[at as usize / PAGE_UNITS];
    let start = at as usize % PAGE_UNITS * UNIT;
    let len = page[start];
    if len != LONG {
        return &page[start + 1..start + 1 + len as usize];
    }
    let len = usize::from(page[start + 1]) | usize::from(page[start + 2]) << 8 | usize::from(page[start + 3]) << 16;
    &page[start + 4..start + 4 + len]
}

impl Names {
    /// Stores a name of at most [`MAX_NAME_LEN`] bytes.
    pub(crate) fn insert(&mut self, name: &[u8]) -> NameRef {
        assert!(name.len() <= MAX_NAME_LEN, "the caller has checked the length");
        let units = units(name.len());
        let at = match self.free.get_mut(&units).and_then(Vec::pop) {
            Some(at) => at,
            None => self.extend(units),
        };
        let page = Arc::make_mut(&mut self.pages[at as usize / PAGE_UNITS]);
        let start = at as usize % PAGE_UNITS * UNIT;
        if name.len() < LONG as usize {
            page[start] = name.len() as u8;
            page[start + 1..start + 1 + name.len()].copy_from_slice(name);
        } else {
            page[start] = LONG;
            page[start + 1..start + 4].copy_from_slice(&(name.len() as u32).to_le_bytes()[..3]);
            page[start + 4..start + 4 + name.len()].copy_from_slice(name);
        }
        at
    }

    fn extend(&mut self, units: usize) -> NameRef {
        if self.pages.is_empty() || self.used + units > PAGE_UNITS {
            if !self.pages.is_empty() && self.used < PAGE_UNITS {
                let rest = ((self.pages.len() - 1) * PAGE_UNITS + self.used) as NameRef;
                self.free.entry(PAGE_UNITS - self.used).or_default().push(rest);
            }
            assert!(self.pages.len() < u32::MAX as usize / PAGE_UNITS, "the names are full");
            self.pages.push(std::iter::repeat_n(0u8, PAGE_BYTES).collect());
            self.used = 0;
        }
        let at = (self.pages.len() - 1) * PAGE_UNITS + self.used;
        self.used += units;
        at as NameRef
    }

    #[inline]
    pub(crate) fn get(&self, at: NameRef) -> &[u8] {
        read(&self.pages, at)
    }

    pub(crate) fn remove(&mut self, at: NameRef) {
        let units = units(self.get(at).len());
        self.free.entry(units).or_default().push(at);
    }

    /// Panics when two names share a place: `live` are those that are in use.
    pub(crate) fn check(&self, live: impl Iterator<Item = NameRef>) {
        let place = |at: NameRef| (at, at as usize + units(self.get(at).len()));
        let mut places: Vec<(NameRef, usize)> = live.map(place).collect();
        let free = self.free.iter();
        places.extend(free.flat_map(|(units, free)| free.iter().map(move |at| (*at, *at as usize + units))));
        places.sort_unstable();
        for pair in places.windows(2) {
            assert!(pair[0].1 <= pair[1].0 as usize, "places {pair:?} of names share bytes");
        }
        let end = (self.pages.len() * PAGE_UNITS).saturating_sub(PAGE_UNITS - self.used);
        assert!(
            self.pages.is_empty() || places.iter().all(|(_, last)| *last <= end),
            "a name lies where none was put"
        );
    }

    pub(crate) fn freeze(&self) -> FrozenNames {
        FrozenNames {
            pages: self.pages.clone(),
        }
    }
}

impl FrozenNames {
    #[inline]
    pub(crate) fn get(&self, at: NameRef) -> &[u8] {
        read(&self.pages, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_length_come_back() {
        let mut names = Names::default();
        let all: Vec<(Vec<u8>, NameRef)> = (0..600)
            .chain([MAX_NAME_LEN])
            .map(|len| vec![b'a' + (len % 26) as u8; len])
            .map(|name| (name.clone(), names.insert(&name)))
            .collect();
        for (name, at) in &all {
            assert_eq!(names.get(*at), &name[..]);
        }
    }

    #[test]
    fn a_freed_place_is_used_again_and_a_frozen_name_stays() {
        let mut names = Names::default();
        let at = names.insert(b"part-00000");
        let frozen = names.freeze();
        names.remove(at);
        assert_eq!(names.insert(b"part-00001"), at);
        assert_eq!(names.get(at), b"part-00001");
        assert_eq!(frozen.get(at), b"part-00000");
    }
}
