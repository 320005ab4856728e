//! Caching: random directives, deaths and reports against what must come out of it.

use super::*;
use hathi_formats::proto::datanode::block_id_command_proto::Action as CacheAction;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a node's cache: there is room for three blocks.
const ROOM: u64 = 300;

/// DataNodes that obey.
struct Caches {
    world: World,
    /// What each node has cached.
    cached: Vec<BTreeSet<BlockId>>,
    /// How often each block is wanted.
    wanted: BTreeMap<i64, u16>,
}

impl Caches {
    fn new(nodes: usize, blocks: i64) -> Caches {
        let mut world = World::new(nodes);
        for n in 0..blocks {
            world.manager.add_block(new_block(n, 4, BlockState::Complete));
        }
        world.start_active();
        world.manager.leave_safe_mode(true, at(0));
        let mut caches = Caches {
            cached: vec![BTreeSet::new(); nodes],
            wanted: BTreeMap::new(),
            world,
        };
        for node in 0..nodes {
            caches.beat(node);
        }
        caches
    }

    fn used(&self, node: usize) -> u64 {
        self.cached[node].len() as u64 * 100
    }

    fn beat(&mut self, node: usize) {
        let stats = HeartbeatStats {
            cache_capacity: ROOM,
            cache_used: self.used(node),
            ..self.world.stats(node)
        };
        let now = at(self.world.now);
        self.world.manager.heartbeat(self.world.nodes[node], stats, now);
    }

    /// A scan in slices of one block.
    fn scan(&mut self) {
        let manager = &mut self.world.manager;
        manager.begin_cache_scan();
        for (n, replicas) in &self.wanted {
            manager.want_cached(block(*n).id, *replicas);
        }
        manager.trim_cache_orders();
        let mut next = Some(BlockId(i64::MIN));
        while let Some(from) = next {
            next = manager.assign_cached(from, 1, at(self.world.now));
        }
        manager.check();
    }

    /// A node gets its orders, carries them out and tells what it has.
    fn obey(&mut self, node: usize) {
        self.beat(node);
        for command in self.world.commands(node) {
            let Some(command) = command.blk_id_cmd else { continue };
            for id in command.block_ids.iter().map(|id| BlockId(id.cast_signed())) {
                match command.action() {
                    CacheAction::Cache if self.used(node) + 100 <= ROOM => {
                        self.cached[node].insert(id);
                    }
                    CacheAction::Cache => {}
                    CacheAction::Uncache => {
                        self.cached[node].remove(&id);
                    }
                }
            }
        }
        self.tell(node);
    }

    fn tell(&mut self, node: usize) {
        let held: BTreeSet<BlockId> = self.world.held(node).iter().map(|block| block.id).collect();
        self.cached[node].retain(|id| held.contains(id));
        self.beat(node);
        let (index, now) = (self.world.nodes[node], at(self.world.now));
        let cached: Vec<BlockId> = self.cached[node].iter().copied().collect();
        self.world.manager.cache_report(index, cached.into_iter(), now);
        self.world.manager.check();
    }

    fn cached_on(&self, n: i64) -> usize {
        self.cached
            .iter()
            .filter(|cached| cached.contains(&block(n).id))
            .count()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Want(i64, u16),
    Unwant(i64),
    Receive(usize, i64),
    Lose(usize, i64),
    Restart(usize),
    Remove(i64),
    Obey(usize),
    Scan,
    Fail,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 0i64..6;
    let step = prop_oneof![
        (id.clone(), 1u16..5).prop_map(|(id, replicas)| Step::Want(id, replicas)),
        id.clone().prop_map(Step::Unwant),
        (0usize..4, id.clone()).prop_map(|(node, id)| Step::Receive(node, id)),
        (0usize..4, id.clone()).prop_map(|(node, id)| Step::Lose(node, id)),
        (0usize..4).prop_map(Step::Restart),
        id.prop_map(Step::Remove),
        (0usize..4).prop_map(Step::Obey),
        Just(Step::Scan),
        Just(Step::Fail),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    /// In the end each block is cached as often as it is wanted and can be, and nothing else is.
    #[test]
    fn what_is_wanted_is_cached_in_the_end_and_nothing_else(steps in steps()) {
        let mut caches = Caches::new(4, 6);
        let mut exists: BTreeSet<i64> = (0..6).collect();
        for step in steps {
            caches.world.now += 100;
            match step {
                Step::Want(id, replicas) => drop(caches.wanted.insert(id, replicas)),
                Step::Unwant(id) => drop(caches.wanted.remove(&id)),
                Step::Receive(node, id) => caches.world.received(node, block(id)),
                Step::Lose(node, id) => caches.world.tell(node, block(id), IncrementalNotice::Deleted),
                Step::Restart(node) => {
                    caches.cached[node].clear();
                    caches.world.register(node);
                    caches.beat(node);
                }
                Step::Remove(id) => {
                    exists.remove(&id);
                    caches.world.manager.remove_block(block(id).id);
                }
                Step::Obey(node) => caches.obey(node),
                Step::Scan => caches.scan(),
                Step::Fail => {
                    caches.world.manager.stop_active();
                    caches.world.manager.start_active(at(caches.world.now));
                }
            }
            caches.world.manager.check();
        }
        // Every storage is sure again after a failover, and copies and deletions do not matter here.
        for _ in 0..8 {
            caches.world.now += 1000;
            for node in 0..4 {
                caches.tell(node);
            }
            caches.scan();
            for node in 0..4 {
                caches.obey(node);
            }
        }
        let room_left: Vec<bool> = (0..4).map(|node| caches.used(node) + 100 <= ROOM).collect();
        for id in 0..6 {
            let holders: Vec<usize> = (0..4)
                .filter(|node| caches.world.held(*node).iter().any(|held| held.id == block(id).id))
                .collect();
            let wanted = caches.wanted.get(&id).copied().filter(|_| exists.contains(&id));
            let wanted = usize::from(wanted.unwrap_or(0));
            let cached = caches.cached_on(id);
            prop_assert!(cached <= wanted, "block {id}: {cached} of {wanted}");
            let could = holders
                .iter()
                .any(|node| room_left[*node] && !caches.cached[*node].contains(&block(id).id));
            prop_assert!(cached == wanted.min(holders.len()) || !could, "block {id}: {cached} of {wanted}");
        }
    }
}

#[test]
fn a_node_is_told_again_after_the_retry_time_only() {
    let mut caches = Caches::new(1, 1);
    caches.world.received(0, block(0));
    caches.wanted.insert(0, 1);
    caches.scan();
    let told = |caches: &mut Caches| {
        let commands = caches.world.commands(0);
        commands.iter().filter(|command| command.blk_id_cmd.is_some()).count()
    };
    assert_eq!(told(&mut caches), 1);
    assert_eq!(told(&mut caches), 0);
    caches.world.now += 30_000;
    assert_eq!(told(&mut caches), 1);
}

#[test]
fn a_dead_node_caches_nothing_and_its_share_goes_to_another() {
    let mut caches = Caches::new(2, 1);
    for node in 0..2 {
        caches.world.received(node, block(0));
    }
    caches.wanted.insert(0, 1);
    caches.scan();
    (0..2).for_each(|node| caches.obey(node));
    let first = usize::from(caches.cached[0].is_empty());
    let index = caches.world.nodes[first];
    assert_eq!(caches.world.manager.cached_on(block(0).id), [index]);
    caches.world.manager.node_died(index);
    assert!(caches.world.manager.cached_on(block(0).id).is_empty());
    caches.scan();
    caches.obey(1 - first);
    let other = caches.world.nodes[1 - first];
    assert_eq!(caches.world.manager.cached_on(block(0).id), [other]);
}
