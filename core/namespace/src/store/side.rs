//! What few inodes have, beside the records: ACLs, extended attributes, quotas, leases, link targets.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::slab::Slot;

const SHARDS: usize = 512;
/// Inodes that are created one after the other have neighbouring slots; so many of them share a shard, so that the next one
/// is put where memory was just touched.
const RUN: usize = 512;

fn shard_of(slot: Slot) -> usize {
    slot as usize / RUN % SHARDS
}

/// Values by slot, in shards that are shared with a frozen view and copied on write.
#[derive(Clone, Debug)]
pub(crate) struct Side<T> {
    shards: Vec<Arc<HashMap<Slot, T, FixedState>>>,
    len: usize,
}

impl<T: Clone> Side<T> {
    pub(crate) fn new() -> Self {
        Side {
            shards: Vec::new(),
            len: 0,
        }
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        self.shards.get(shard_of(slot))?.get(&slot)
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let shard = self.shards.get_mut(shard_of(slot))?;
        if !shard.contains_key(&slot) {
            return None;
        }
        Arc::make_mut(shard).get_mut(&slot)
    }

    pub(crate) fn insert(&mut self, slot: Slot, value: T) -> Option<T> {
        if self.shards.is_empty() {
            // All share one empty map until something is put in.
            let empty = Arc::new(HashMap::with_hasher(FixedState::default()));
            self.shards = std::iter::repeat_n(empty, SHARDS).collect();
        }
        let old = Arc::make_mut(&mut self.shards[shard_of(slot)]).insert(slot, value);
        self.len += usize::from(old.is_none());
        old
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let shard = self.shards.get_mut(shard_of(slot))?;
        if !shard.contains_key(&slot) {
            return None;
        }
        debug_assert!(self.len > 0, "what is there is counted");
        self.len -= 1;
        Arc::make_mut(shard).remove(&slot)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// In no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        let shards = self.shards.iter();
        shards.flat_map(|shard| shard.iter().map(|(slot, value)| (*slot, value)))
    }

    /// Panics when a value is where its slot does not lead to, or is not counted.
    pub(crate) fn check(&self) {
        let mut found = 0;
        for (number, shard) in self.shards.iter().enumerate() {
            found += shard.len();
            let strayed = shard.keys().find(|slot| shard_of(**slot) != number);
            assert_eq!(strayed, None, "a slot whose value is not found");
        }
        assert_eq!(found, self.len, "values found and counted");
    }
}
