//! Each part, told something that contradicts another part, is found by `check()`.

use super::*;
use crate::construction::Held;
use crate::corrupt::CorruptReason;
use crate::redundancy::Level;
use crate::types::ReportSequence;
use std::panic::{AssertUnwindSafe, catch_unwind};

const NOWHERE: StorageIndex = StorageIndex(99);
const NOBODY: DatanodeIndex = DatanodeIndex(99);

/// An active with two nodes: block 1 is complete and on both, block 2 is written to the first.
fn whole() -> World {
    let mut world = World::new(2);
    world.start_active();
    world.manager.add_block(new_block(1, 2, BlockState::Complete));
    world.received(0, block(1));
    world.received(1, block(1));
    world.manager.add_block(new_block(2, 1, BlockState::UnderConstruction));
    let on = [world.manager.find_storage("uuid-0", "DS-0").unwrap()];
    world.manager.set_expected_locations(block(2).id, &on);
    world.settle();
    world.manager.check();
    world
}

fn held(stamp: u64) -> Held {
    Held {
        state: ReplicaState::Rbw,
        generation_stamp: GenerationStamp(stamp),
        num_bytes: 1,
    }
}

fn mark(manager: &mut BlockManager, node: DatanodeIndex, since: ReportSequence) {
    manager
        .corrupt
        .mark(&mut manager.blocks, block(1), node, CorruptReason::Reported, since);
}

type Break = (&'static str, fn(&mut BlockManager));

const BREAKS: [Break; 15] = [
    ("beyond the highest one", |manager| {
        manager.blocks.insert(new_block(9, 1, BlockState::UnderConstruction));
    }),
    ("is to have no replica", |manager| {
        manager.blocks.set_replication(block(1).id, 0)
    }),
    ("on a storage that does not exist", |manager| {
        manager.blocks.add_replica(block(1).id, NOWHERE);
    }),
    ("safe flag", |manager| {
        manager.blocks.set_safe(block(1).id, false);
    }),
    ("is written, and no file has it", |manager| {
        manager.blocks.remove(block(2).id);
    }),
    ("nothing is expected of it any more", |manager| {
        manager.construction.begin(block(1).id);
    }),
    ("is expected on a storage that does not exist", |manager| {
        manager
            .construction
            .note(block(2).id, NOWHERE, held(1001), at(0), |_| false);
    }),
    ("a mark of block 1073741825 on no node", |manager| {
        let last = manager.reports.last();
        mark(manager, NOBODY, last);
    }),
    ("was made after a report to come", |manager| {
        mark(manager, DatanodeIndex(0), ReportSequence(99));
    }),
    ("an excess replica that is not there", |manager| {
        manager
            .redundancy
            .add_excess(&mut manager.blocks, block(1).id, NOBODY, 0);
    }),
    ("is copied to nowhere", |manager| {
        manager.redundancy.expect(block(1).id, &[NOWHERE], None, 0);
    }),
    ("is copied while it is written", |manager| {
        manager.redundancy.expect(block(2).id, &[StorageIndex(0)], None, 0);
    }),
    ("queued without its flag, or while it is written", |manager| {
        manager
            .redundancy
            .set_level(&mut manager.blocks, block(1).id, Some(Level::Low), 2);
        manager.blocks.set_state(block(1).id, BlockState::Committed);
    }),
    ("a dead node is to do 1 things", |manager| {
        manager.node_died(DatanodeIndex(0));
        manager.redundancy.order_deletion(DatanodeIndex(0), block(1));
    }),
    ("a standby keeps queues", |manager| manager.active = false),
];

#[test]
fn whatever_a_bug_may_break_between_the_parts_is_found() {
    for (number, (found, broken)) in BREAKS.into_iter().enumerate() {
        let mut world = whole();
        broken(&mut world.manager);
        let panic = catch_unwind(AssertUnwindSafe(|| world.manager.check())).expect_err(found);
        let said = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|&said| said.to_owned()));
        assert!(
            said.as_ref().is_some_and(|said| said.contains(found)),
            "{number}: {found} was to be found: {said:?}"
        );
    }
}
