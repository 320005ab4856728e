//! Which DataNodes are to cache which replicas (`CacheReplicationMonitor`, and the part of `CacheManager` about reports).
//!
//! The caller scans the directives: it [begins](BlockManager::begin_cache_scan) a scan, says of each block how often it
//! is [wanted](BlockManager::want_cached), and then [assigns](BlockManager::assign_cached) in slices.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use super::{BlockManager, Condition};
use crate::caching::Nodes;
use crate::datanodes::{AdminState, Datanode};
use crate::types::{DatanodeIndex, Now};
use hathi_formats::ids::BlockId;
use hathi_formats::proto::datanode::block_id_command_proto::Action;
use hathi_formats::proto::datanode::datanode_command_proto::Type as CommandType;
use hathi_formats::proto::datanode::{BlockIdCommandProto, DatanodeCommandProto};
use std::collections::BTreeSet;

/// Blocks that one heartbeat may order to be cached, and as many to be dropped. The others follow when these are reported.
const ORDERS_MAX: usize = 100_000;
/// The sum of the weights by which nodes are drawn.
const WEIGHTS: u64 = 1_000_000;

impl BlockManager {
    /// Everything that a node has cached (`processCacheReport`). Only replicas that it is known to have count, so nobody
    /// can fill the memory with others.
    pub fn cache_report(&mut self, datanode: DatanodeIndex, blocks: impl Iterator<Item = BlockId>, now: Now) {
        self.now = now;
        if !self.config.caching_enabled {
            return;
        }
        let known: BTreeSet<BlockId> = blocks.filter(|id| self.holds(*id, datanode)).collect();
        self.caching.report(datanode, &known);
    }

    /// A scan of all directives begins.
    pub fn begin_cache_scan(&mut self) {
        self.caching.begin_scan();
    }

    /// A directive wants so many cached replicas of a block. Says how many there are. Blocks that are not complete, and
    /// groups of striped blocks, are not cached.
    pub fn want_cached(&mut self, id: BlockId, replicas: u16) -> usize {
        if !self.is_cacheable(id) {
            return 0;
        }
        let cached = self.caching.block(id).map_or(0, |block| block.cached().len());
        self.caching.want(id, replicas);
        cached
    }

    fn is_cacheable(&self, id: BlockId) -> bool {
        id.0 >= 0 && self.is_complete(id)
    }

    /// Whether nothing is cached, and nothing is to be.
    #[must_use]
    pub fn caches_nothing(&self) -> bool {
        self.caching.is_empty()
    }

    /// The nodes that say they have a block cached.
    #[must_use]
    pub fn cached_on(&self, id: BlockId) -> &[DatanodeIndex] {
        self.caching.block(id).map_or(&[], |block| block.cached())
    }

    /// Bytes that nodes can keep cached, and bytes that they do.
    #[must_use]
    pub fn cache_bytes(&self) -> (u64, u64) {
        let live = self.datanodes.nodes().filter(|(_, node)| node.alive);
        live.fold((0, 0), |(capacity, used): (u64, u64), (_, node)| {
            let capacity = match node.admin_state {
                AdminState::Normal => capacity.saturating_add(node.cache_capacity),
                _ => capacity,
            };
            (capacity, used.saturating_add(node.cache_used))
        })
    }

    /// Second half of a scan: gives every wanted block its nodes, and takes surplus ones away. Looks at up to `max` blocks
    /// from `from` on. Returns where to go on. After the last block every node is told with its next heartbeat.
    pub fn assign_cached(&mut self, from: BlockId, max: usize, now: Now) -> Option<BlockId> {
        self.now = now;
        debug_assert!(self.active, "only an active orders anything");
        let mut next = self.caching.next_from(from);
        for _ in 0..max {
            let Some(id) = next else { break };
            self.assign(id);
            let after = id.0.checked_add(1).map(BlockId);
            next = after.and_then(|after| self.caching.next_from(after));
        }
        if next.is_none() {
            self.caching.tell_again();
        }
        next
    }

    /// Takes back what nodes have no room for any more (`CacheReplicationMonitor.rescanCachedBlockMap`).
    pub fn trim_cache_orders(&mut self) {
        for index in self.caching.nodes() {
            let mut room = self.datanodes.get(index).map_or(0, free_cache);
            for (id, bytes) in self.caching.to_cache_of(index) {
                match room.checked_sub(bytes) {
                    Some(left) => room = left,
                    None => self.caching.withdraw_caching(id, index),
                }
            }
        }
    }

    fn assign(&mut self, id: BlockId) {
        let Some(block) = self.caching.block(id) else { return };
        let (cached, to_cache, to_drop) = (
            Nodes::from_slice(block.cached()),
            Nodes::from_slice(block.to_cache()),
            Nodes::from_slice(block.to_drop()),
        );
        let wanted = match self.is_cacheable(id) {
            true => self.caching.wanted(id),
            false => 0,
        };
        let bytes = self.blocks.get(id).map_or(0, |record| record.num_bytes());
        // Nodes that have left, or lost the replica, will never cache it.
        let possible = self.cache_candidates(id);
        for node in &to_cache {
            if cached.len() >= wanted || !possible.contains(node) {
                self.caching.withdraw_caching(id, *node);
            }
        }
        if cached.len() < wanted {
            for node in &to_drop {
                self.caching.withdraw_dropping(id, *node);
            }
        }
        let (ordered, dropping) = self
            .caching
            .block(id)
            .map_or((0, 0), |block| (block.to_cache().len(), block.to_drop().len()));
        let surplus = cached.len().saturating_sub(wanted.saturating_add(dropping));
        let lacking = wanted.saturating_sub(cached.len().saturating_add(ordered));
        if surplus > 0 {
            let mut rest: Nodes = cached.iter().copied().filter(|node| !to_drop.contains(node)).collect();
            self.rng.shuffle(&mut rest);
            for node in rest.iter().take(surplus) {
                self.caching.order_dropping(id, *node, bytes);
            }
        } else if lacking > 0 {
            for node in self.choose_for_caching(id, bytes, &possible, lacking) {
                self.caching.order_caching(id, node, bytes);
            }
        }
        if wanted == 0 {
            self.caching.forget_if_idle(id);
        }
    }

    /// The nodes in service with a good replica of a block.
    fn cache_candidates(&self, id: BlockId) -> Nodes {
        let Some(record) = self.blocks.get(id) else {
            return Nodes::new();
        };
        let good = |storage: &_| self.condition(id, record, *storage) == Condition::Live;
        let replicas = self.blocks.replicas(record);
        let mut nodes: Nodes = replicas
            .into_iter()
            .filter(good)
            .filter_map(|at| self.datanodes.node_of(at))
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Nodes with room for a block (`addNewPendingCached`): those that are heard of first, and of them by chance, more
    /// likely those with more room.
    fn choose_for_caching(&mut self, id: BlockId, bytes: u64, possible: &[DatanodeIndex], count: usize) -> Nodes {
        let Some(block) = self.caching.block(id) else {
            return Nodes::new();
        };
        let mut heard: SmallList = SmallList::new();
        let mut silent: SmallList = SmallList::new();
        for &index in possible {
            let Some(node) = self.datanodes.get(index) else {
                continue;
            };
            if block.cached().contains(&index) || block.to_cache().contains(&index) {
                continue;
            }
            let (pending, dropping) = self.caching.pending_bytes(index);
            let room = free_cache(node).saturating_add(dropping).saturating_sub(pending);
            if room < bytes {
                continue;
            }
            let weight = u128::from(room)
                .saturating_mul(u128::from(WEIGHTS))
                .checked_div(u128::from(node.cache_capacity))
                .unwrap_or(0);
            let weight = u64::try_from(weight).unwrap_or(WEIGHTS).clamp(1, WEIGHTS);
            match node.is_stale(&self.config, self.now) {
                true => silent.push((index, weight)),
                false => heard.push((index, weight)),
            }
        }
        let mut chosen = Nodes::new();
        while chosen.len() < count {
            let from = if heard.is_empty() { &mut silent } else { &mut heard };
            let Some(at) = draw(&mut self.rng, from) else { break };
            chosen.push(from.swap_remove(at).0);
        }
        chosen
    }

    /// The orders about the cache for an answer to a heartbeat (DNA_CACHE and DNA_UNCACHE).
    pub(super) fn caching_commands(
        &mut self,
        datanode: DatanodeIndex,
        pool: &str,
        now: Now,
    ) -> Vec<DatanodeCommandProto> {
        let retry_ms = self.config.cache_retry_ms;
        let orders = self
            .caching
            .take_orders(datanode, now.monotonic_ms, retry_ms, ORDERS_MAX);
        let command = |action: Action, blocks: Vec<BlockId>| {
            (!blocks.is_empty()).then(|| DatanodeCommandProto {
                blk_id_cmd: Some(BlockIdCommandProto {
                    action: action as i32,
                    block_pool_id: pool.to_owned(),
                    block_ids: blocks.into_iter().map(|id| id.0.cast_unsigned()).collect(),
                }),
                ..super::commands::command(CommandType::BlockIdCommand)
            })
        };
        let (cache, drop) = (
            command(Action::Cache, orders.cache),
            command(Action::Uncache, orders.drop),
        );
        cache.into_iter().chain(drop).collect()
    }
}

type SmallList = Vec<(DatanodeIndex, u64)>;

/// Bytes of a node's cache that are free, as it said last.
fn free_cache(node: &Datanode) -> u64 {
    node.cache_capacity.saturating_sub(node.cache_used)
}

/// The place of one of them, by their weights.
fn draw(rng: &mut crate::rng::Rng, nodes: &[(DatanodeIndex, u64)]) -> Option<usize> {
    let all: u64 = nodes.iter().map(|(_, weight)| *weight).fold(0, u64::saturating_add);
    let mut ticket = rng.below(usize::try_from(all).unwrap_or(usize::MAX)) as u64;
    for (at, (_, weight)) in nodes.iter().enumerate() {
        match ticket.checked_sub(*weight) {
            Some(left) => ticket = left,
            None => return Some(at),
        }
    }
    None
}
