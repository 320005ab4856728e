//! A set of ids, most of which stand near others: ids are handed out in sequence. A run of 64 ids is one word.
//!
//! Invariants ([`IdSet::check`]): no word is empty; `len` counts the ids.

use std::collections::BTreeMap;

/// Ids per word.
const RUN: u64 = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdSet {
    /// Bit `n` of word `w` stands for the id `RUN * w + n`.
    words: BTreeMap<u64, u64>,
    len: usize,
}

impl IdSet {
    /// Returns whether the id was not there.
    pub(crate) fn insert(&mut self, id: u64) -> bool {
        let word = self.words.entry(id / RUN).or_default();
        let before = *word;
        *word |= 1 << (id % RUN);
        let is_new = *word != before;
        self.len += usize::from(is_new);
        is_new
    }

    /// Returns whether the id was there.
    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let Some(word) = self.words.get_mut(&(id / RUN)) else {
            return false;
        };
        let before = *word;
        *word &= !(1 << (id % RUN));
        let was_there = *word != before;
        if *word == 0 {
            self.words.remove(&(id / RUN));
        }
        self.len -= usize::from(was_there);
        was_there
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// In ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.words.iter().flat_map(|(word, bits)| ids(*word, *bits))
    }

    /// Those above this one, in ascending order.
    pub(crate) fn above(&self, id: u64) -> impl Iterator<Item = u64> + '_ {
        let words = self.words.range(id / RUN..);
        words
            .flat_map(|(word, bits)| ids(*word, *bits))
            .skip_while(move |other| *other <= id)
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        assert!(self.words.values().all(|bits| *bits != 0), "an empty word of ids");
        let found: usize = self.words.values().map(|bits| bits.count_ones() as usize).sum();
        assert_eq!(found, self.len, "ids counted and there");
    }
}

fn ids(word: u64, mut bits: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        let lowest = (bits != 0).then(|| u64::from(bits.trailing_zeros()))?;
        bits &= bits - 1;
        Some(word * RUN + lowest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_sorted_set(ops in proptest::collection::vec((0u64..400, prop::bool::ANY), 0..600), far: u64) {
            let (mut set, mut model) = (IdSet::default(), BTreeSet::new());
            prop_assert!(set.insert(far) && model.insert(far));
            for (id, adds) in ops {
                match adds {
                    true => prop_assert_eq!(set.insert(id), model.insert(id)),
                    false => prop_assert_eq!(set.remove(id), model.remove(&id)),
                }
            }
            set.check();
            prop_assert_eq!(set.len(), model.len());
            prop_assert!(set.iter().eq(model.iter().copied()));
            for id in [0, 1, 63, 64, 200, 399, far, u64::MAX] {
                prop_assert!(set.above(id).eq(model.iter().copied().filter(|other| *other > id)));
            }
        }
    }
}
