//! Which blocks are to be cached, and which DataNodes cache them (`CachedBlock`, `DatanodeDescriptor.CachedBlocksList`).
//!
//! Invariants ([`Caching::check`]):
//! - the lists of a block and those of the nodes say the same;
//! - a node is to cache only what it does not say to have cached, and to drop only what it does;
//! - the bytes that a node is to cache and to drop are the sums over its lists.
//!
//! All of it is soft. What is cached comes from the reports of the nodes, what is wanted from the last scan of the
//! directives, and both come again after a loss.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::types::DatanodeIndex;
use hathi_formats::ids::BlockId;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// DataNodes in a list of a block.
pub(crate) type Nodes = SmallVec<[DatanodeIndex; 3]>;

/// A block that is cached somewhere, or is to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct CachedBlock {
    /// Cached replicas that the directives ask for, as of `scan`.
    wanted: u16,
    /// The last scan that came upon the block.
    scan: u64,
    cached: Nodes,
    to_cache: Nodes,
    to_drop: Nodes,
}

impl CachedBlock {
    pub(crate) fn cached(&self) -> &[DatanodeIndex] {
        &self.cached
    }

    pub(crate) fn to_cache(&self) -> &[DatanodeIndex] {
        &self.to_cache
    }

    pub(crate) fn to_drop(&self) -> &[DatanodeIndex] {
        &self.to_drop
    }
}

/// The lists of a node.
#[derive(Clone, Debug, Default)]
struct NodeLists {
    cached: BTreeSet<BlockId>,
    /// With the length of each block as it was when it was put here, in bytes.
    to_cache: BTreeMap<BlockId, u64>,
    to_drop: BTreeMap<BlockId, u64>,
    to_cache_bytes: u64,
    to_drop_bytes: u64,
    /// When it was told of these lists, monotonic ms.
    told_ms: Option<u64>,
}

impl NodeLists {
    fn is_empty(&self) -> bool {
        self.cached.is_empty() && self.to_cache.is_empty() && self.to_drop.is_empty()
    }
}

/// What a node is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CachingOrders {
    pub(crate) cache: Vec<BlockId>,
    pub(crate) drop: Vec<BlockId>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Caching {
    blocks: BTreeMap<BlockId, CachedBlock>,
    nodes: BTreeMap<DatanodeIndex, NodeLists>,
    /// The number of the scan that is under way, or of the last one.
    scan: u64,
}

fn take_out(list: &mut Nodes, node: DatanodeIndex) {
    list.retain(|one| *one != node);
}

impl Caching {
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(crate) fn block(&self, id: BlockId) -> Option<&CachedBlock> {
        self.blocks.get(&id)
    }

    /// The first block from this one on.
    pub(crate) fn next_from(&self, id: BlockId) -> Option<BlockId> {
        self.blocks.range(id..).next().map(|(id, _)| *id)
    }

    /// The nodes that have, or are to have, something cached.
    pub(crate) fn nodes(&self) -> Vec<DatanodeIndex> {
        self.nodes.keys().copied().collect()
    }

    /// Bytes that a node is going to cache, and bytes that it is going to drop.
    pub(crate) fn pending_bytes(&self, node: DatanodeIndex) -> (u64, u64) {
        let lists = self.nodes.get(&node);
        lists.map_or((0, 0), |lists| (lists.to_cache_bytes, lists.to_drop_bytes))
    }

    /// What a node is to cache, with lengths in bytes.
    pub(crate) fn to_cache_of(&self, node: DatanodeIndex) -> Vec<(BlockId, u64)> {
        let lists = self.nodes.get(&node);
        let all = lists.into_iter().flat_map(|lists| &lists.to_cache);
        all.map(|(id, bytes)| (*id, *bytes)).collect()
    }

    // --- scans ---

    /// A scan of all directives begins. What it does not come upon is wanted no more.
    pub(crate) fn begin_scan(&mut self) {
        self.scan = self.scan.saturating_add(1);
    }

    /// The scan came upon a block.
    pub(crate) fn want(&mut self, id: BlockId, replicas: u16) {
        let scan = self.scan;
        let block = self.blocks.entry(id).or_default();
        if block.scan != scan || block.wanted < replicas {
            block.scan = scan;
            block.wanted = replicas;
        }
    }

    /// Cached replicas that the last scan asks for.
    pub(crate) fn wanted(&self, id: BlockId) -> usize {
        let block = self.blocks.get(&id).filter(|block| block.scan == self.scan);
        block.map_or(0, |block| usize::from(block.wanted))
    }

    // --- lists ---

    pub(crate) fn order_caching(&mut self, id: BlockId, node: DatanodeIndex, bytes: u64) {
        let Some(block) = self.blocks.get_mut(&id) else {
            return;
        };
        debug_assert!(!block.cached.contains(&node), "it has the block cached");
        let lists = self.nodes.entry(node).or_default();
        if lists.to_cache.insert(id, bytes).is_none() {
            block.to_cache.push(node);
            lists.to_cache_bytes = lists.to_cache_bytes.saturating_add(bytes);
        }
    }

    pub(crate) fn order_dropping(&mut self, id: BlockId, node: DatanodeIndex, bytes: u64) {
        let Some(block) = self.blocks.get_mut(&id) else {
            return;
        };
        debug_assert!(block.cached.contains(&node), "it has not cached the block");
        let lists = self.nodes.entry(node).or_default();
        if lists.to_drop.insert(id, bytes).is_none() {
            block.to_drop.push(node);
            lists.to_drop_bytes = lists.to_drop_bytes.saturating_add(bytes);
        }
    }

    pub(crate) fn withdraw_caching(&mut self, id: BlockId, node: DatanodeIndex) {
        if let Some(block) = self.blocks.get_mut(&id) {
            take_out(&mut block.to_cache, node);
        }
        if let Some(lists) = self.nodes.get_mut(&node)
            && let Some(bytes) = lists.to_cache.remove(&id)
        {
            lists.to_cache_bytes = lists.to_cache_bytes.saturating_sub(bytes);
        }
    }

    pub(crate) fn withdraw_dropping(&mut self, id: BlockId, node: DatanodeIndex) {
        if let Some(block) = self.blocks.get_mut(&id) {
            take_out(&mut block.to_drop, node);
        }
        if let Some(lists) = self.nodes.get_mut(&node)
            && let Some(bytes) = lists.to_drop.remove(&id)
        {
            lists.to_drop_bytes = lists.to_drop_bytes.saturating_sub(bytes);
        }
    }

    /// A node has a block cached.
    fn note_cached(&mut self, id: BlockId, node: DatanodeIndex) {
        self.withdraw_caching(id, node);
        if self.nodes.entry(node).or_default().cached.insert(id) {
            self.blocks.entry(id).or_default().cached.push(node);
        }
    }

    /// A node has a block cached no more.
    fn note_dropped(&mut self, id: BlockId, node: DatanodeIndex) {
        self.withdraw_dropping(id, node);
        if let Some(lists) = self.nodes.get_mut(&node) {
            lists.cached.remove(&id);
        }
        if let Some(block) = self.blocks.get_mut(&id) {
            take_out(&mut block.cached, node);
        }
    }

    /// The report of a node: these blocks are all that it has cached.
    pub(crate) fn report(&mut self, node: DatanodeIndex, cached: &BTreeSet<BlockId>) {
        let before = self
            .nodes
            .get(&node)
            .map(|lists| lists.cached.clone())
            .unwrap_or_default();
        for id in before.difference(cached) {
            self.note_dropped(*id, node);
            self.forget_if_unwanted(*id);
        }
        for id in cached {
            self.note_cached(*id, node);
        }
        self.nodes.retain(|_, lists| !lists.is_empty());
    }

    /// Forgets a block with nothing in its lists, if the last scan did not come upon it either.
    fn forget_if_unwanted(&mut self, id: BlockId) {
        if self.wanted(id) == 0 {
            self.forget_if_idle(id);
        }
    }

    /// Forgets a block with nothing in its lists.
    pub(crate) fn forget_if_idle(&mut self, id: BlockId) {
        let idle =
            |block: &CachedBlock| block.cached.is_empty() && block.to_cache.is_empty() && block.to_drop.is_empty();
        if self.blocks.get(&id).is_some_and(idle) {
            self.blocks.remove(&id);
        }
    }

    /// The block is gone.
    pub(crate) fn forget_block(&mut self, id: BlockId) {
        let Some(block) = self.blocks.get(&id) else {
            return;
        };
        let (cached, to_cache) = (block.cached.clone(), block.to_cache.clone());
        for node in to_cache {
            self.withdraw_caching(id, node);
        }
        for node in cached {
            self.note_dropped(id, node);
        }
        self.blocks.remove(&id);
    }

    /// The node is dead, or another process than before.
    pub(crate) fn forget_node(&mut self, node: DatanodeIndex) {
        let Some(lists) = self.nodes.get(&node) else {
            return;
        };
        let (cached, to_cache) = (lists.cached.clone(), lists.to_cache.clone());
        for id in to_cache.keys() {
            self.withdraw_caching(*id, node);
        }
        for id in cached {
            self.note_dropped(id, node);
            self.forget_if_unwanted(id);
        }
        self.nodes.remove(&node);
    }

    /// Forgets what was to be done: it belongs to a role that has ended.
    pub(crate) fn forget_orders(&mut self) {
        for block in self.blocks.values_mut() {
            block.to_cache.clear();
            block.to_drop.clear();
            block.wanted = 0;
        }
        for lists in self.nodes.values_mut() {
            *lists = NodeLists {
                cached: std::mem::take(&mut lists.cached),
                ..NodeLists::default()
            };
        }
        self.blocks.retain(|_, block| !block.cached.is_empty());
        self.nodes.retain(|_, lists| !lists.is_empty());
    }

    // --- orders ---

    /// What a node is to be told now. The same is told again only after `retry_ms`, or after a scan.
    pub(crate) fn take_orders(&mut self, node: DatanodeIndex, now_ms: u64, retry_ms: u64, max: usize) -> CachingOrders {
        let Some(lists) = self.nodes.get_mut(&node) else {
            return CachingOrders::default();
        };
        if lists.told_ms.is_some_and(|told| now_ms.saturating_sub(told) < retry_ms) {
            return CachingOrders::default();
        }
        let orders = CachingOrders {
            cache: lists.to_cache.keys().copied().take(max).collect(),
            drop: lists.to_drop.keys().copied().take(max).collect(),
        };
        if orders != CachingOrders::default() {
            lists.told_ms = Some(now_ms);
        }
        orders
    }

    /// A scan has changed the lists: every node is told at once (`resetLastCachingDirectiveSentTime`).
    pub(crate) fn tell_again(&mut self) {
        for lists in self.nodes.values_mut() {
            lists.told_ms = None;
        }
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        for (id, block) in &self.blocks {
            for node in &block.cached {
                let lists = self.nodes.get(node);
                assert!(lists.is_some_and(|lists| lists.cached.contains(id)), "{id} is cached");
                assert!(!block.to_cache.contains(node), "{id} is cached already");
            }
            for node in &block.to_cache {
                let lists = self.nodes.get(node);
                assert!(
                    lists.is_some_and(|lists| lists.to_cache.contains_key(id)),
                    "{id} is to be cached"
                );
            }
            for node in &block.to_drop {
                let lists = self.nodes.get(node);
                assert!(
                    lists.is_some_and(|lists| lists.to_drop.contains_key(id)),
                    "{id} is to be dropped"
                );
                assert!(block.cached.contains(node), "{id} is not cached: it can't be dropped");
            }
        }
        let of = |pick: fn(&CachedBlock) -> &Nodes| self.blocks.values().map(|block| pick(block).len()).sum::<usize>();
        let all = |pick: fn(&NodeLists) -> usize| self.nodes.values().map(pick).sum::<usize>();
        assert_eq!(
            of(|block| &block.cached),
            all(|lists| lists.cached.len()),
            "what is cached"
        );
        assert_eq!(
            of(|block| &block.to_cache),
            all(|lists| lists.to_cache.len()),
            "what is to be cached"
        );
        assert_eq!(
            of(|block| &block.to_drop),
            all(|lists| lists.to_drop.len()),
            "what is to be dropped"
        );
        for lists in self.nodes.values() {
            assert_eq!(
                lists.to_cache.values().sum::<u64>(),
                lists.to_cache_bytes,
                "bytes to cache"
            );
            assert_eq!(
                lists.to_drop.values().sum::<u64>(),
                lists.to_drop_bytes,
                "bytes to drop"
            );
        }
    }
}
