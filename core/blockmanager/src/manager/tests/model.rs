//! Random reports against a naive model, and random bytes against the decoder.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Received(usize, i64),
    Deleted(usize, i64),
    /// The node reports these blocks in chunks and slices of these sizes, with the notices coming in between.
    Full(usize, Vec<i64>, usize, usize, Vec<(bool, i64)>),
    Remove(i64),
    Reregister(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 0i64..24;
    let step = prop_oneof![
        (0usize..4, id.clone()).prop_map(|(node, id)| Step::Received(node, id)),
        (0usize..4, id.clone()).prop_map(|(node, id)| Step::Deleted(node, id)),
        (
            0usize..4,
            proptest::collection::vec(id.clone(), 0..24),
            1usize..50,
            1usize..6,
            proptest::collection::vec((any::<bool>(), id.clone()), 0..6)
        )
            .prop_map(|(node, ids, chunk, slice, notices)| Step::Full(node, ids, chunk, slice, notices)),
        id.prop_map(Step::Remove),
        (0usize..4).prop_map(Step::Reregister),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Blocks from this number on are groups of four, of which each node has its internal block.
const GROUPS: i64 = 18;
const STRIPING: Striping = Striping {
    policy: 70,
    data_units: 2,
    parity_units: 2,
    cell_size: 10,
};

fn group(n: i64) -> Block {
    Block {
        id: BlockId(i64::MIN + 16 * n),
        ..block(n)
    }
}

/// What a node has of a block.
fn of(node: usize, n: i64) -> Block {
    if n < GROUPS {
        return block(n);
    }
    let index = node as u8;
    Block {
        id: group(n).id.internal(index),
        num_bytes: STRIPING.internal_length(100, index),
        ..group(n)
    }
}

fn number(id: BlockId) -> i64 {
    match id.is_striped() {
        true => (id.group().0 - i64::MIN) / 16,
        false => id.0 - BASE,
    }
}

proptest! {
    /// Whatever the order, the chunks and the slices: the map is what the naive model says. A notice that comes between
    /// two slices is newer than the report.
    #[test]
    fn reports_make_the_same_map_as_a_naive_model(steps in steps(), active in any::<bool>()) {
        let mut world = World::new(4);
        let mut exists: BTreeMap<i64, ()> = BTreeMap::new();
        for n in 0..20 {
            world.manager.add_block(match n < GROUPS {
                true => new_block(n, 512, BlockState::Complete),
                false => NewBlock {
                    block: group(n),
                    layout: BlockLayout::Striped(STRIPING),
                    ..new_block(n, 1, BlockState::Complete)
                },
            });
            exists.insert(n, ());
        }
        if active {
            world.start_active();
            world.manager.leave_safe_mode(true, at(0));
        }
        // What each node has of the blocks that exist.
        let mut model: Vec<BTreeMap<i64, ()>> = vec![BTreeMap::new(); 4];
        for step in steps {
            world.now += 1;
            match step {
                Step::Received(node, id) => {
                    world.received(node, of(node, id));
                    model[node].insert(id, ());
                }
                Step::Deleted(node, id) => {
                    world.tell(node, of(node, id), IncrementalNotice::Deleted);
                    model[node].remove(&id);
                }
                Step::Full(node, ids, chunk, slice, notices) => {
                    let replicas: Vec<_> = ids.iter().map(|&id| (of(node, id), ReplicaState::Finalized)).collect();
                    let begun = world.manager.begin_report(world.nodes[node], full_report(node, &replicas, chunk));
                    let Some(mut report) = begun.unwrap() else {
                        continue; // a second one in start-up
                    };
                    model[node] = ids.into_iter().map(|id| (id, ())).collect();
                    let mut notices = notices.into_iter();
                    while world.manager.report_slice(&mut report, slice, at(world.now)).unwrap() == ReportProgress::More {
                        if let Some((received, id)) = notices.next() {
                            let notice = if received { IncrementalNotice::Received } else { IncrementalNotice::Deleted };
                            world.tell(node, of(node, id), notice);
                            if received {
                                model[node].insert(id, ());
                            } else {
                                model[node].remove(&id);
                            }
                        }
                    }
                }
                Step::Remove(id) => {
                    let removed = if id < GROUPS { block(id) } else { group(id) };
                    world.manager.remove_block(removed.id);
                    exists.remove(&id);
                    world.deletions(0);
                }
                Step::Reregister(node) => world.register(node),
            }
            world.manager.check();
        }
        for (node, model) in model.iter().enumerate() {
            let mut held: Vec<i64> = world.held(node).iter().map(|block| number(block.id)).collect();
            held.sort_unstable();
            let expected: Vec<i64> = model.keys().copied().filter(|id| exists.contains_key(id)).collect();
            prop_assert_eq!(held, expected, "node {}", node);
        }
        for n in GROUPS..20 {
            let on = model.iter().filter(|of_node| of_node.contains_key(&n) && exists.contains_key(&n));
            let counts = world.manager.count_replicas(group(n).id);
            prop_assert_eq!(counts.live as usize, on.count(), "group {}", n);
        }
    }
}
