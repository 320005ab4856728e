//! Block groups: written, lost, corrupt, too many, moved and recovered.

use super::*;

const RS: Striping = Striping {
    policy: 2,
    data_units: 3,
    parity_units: 2,
    cell_size: 10,
};
const GROUP: BlockId = BlockId(i64::MIN + 16);
const FULL: u64 = 300;

fn group(num_bytes: u64) -> Block {
    Block {
        id: GROUP,
        num_bytes,
        generation_stamp: GenerationStamp(1001),
    }
}

/// The internal block of a group with so many bytes.
fn internal(index: u8, group_bytes: u64) -> Block {
    Block {
        id: GROUP.internal(index),
        num_bytes: RS.internal_length(group_bytes, index),
        generation_stamp: GenerationStamp(1001),
    }
}

fn new_group(num_bytes: u64, state: BlockState) -> NewBlock {
    NewBlock {
        block: group(num_bytes),
        inode: InodeId(16386),
        layout: BlockLayout::Striped(RS),
        state,
    }
}

/// An active that is sure of its nodes, of which the first ones have the internal blocks of a complete group.
fn with_group(nodes: usize, indexes: std::ops::Range<u8>) -> World {
    let mut world = World::new(nodes);
    world.manager.add_block(new_group(FULL, BlockState::Complete));
    world.start_active();
    for index in indexes {
        world.received(usize::from(index), internal(index, FULL));
    }
    settle(&mut world);
    world.manager.leave_safe_mode(true, at(world.now));
    world.tick();
    world
}

/// [`World::settle`], with the lengths of internal blocks.
fn settle(world: &mut World) {
    for node in 0..world.nodes.len() {
        world.heartbeat(node);
        let held: Vec<_> = world
            .held(node)
            .into_iter()
            .map(|block| (internal(block.id.index_in_group(), FULL), ReplicaState::Finalized))
            .collect();
        world.full(node, &held);
    }
}

fn storage(world: &World, node: usize) -> StorageIndex {
    let found = world
        .manager
        .find_storage(&format!("uuid-{node}"), &format!("DS-{node}"));
    found.unwrap()
}

fn deletions(world: &mut World, node: usize) -> Vec<BlockId> {
    let commands = world.commands(node);
    let orders = commands.iter().filter_map(|command| command.blk_cmd.as_ref());
    let deleted = orders.filter(|command| command.action() == Action::Invalidate);
    deleted
        .flat_map(|command| command.blocks.iter().map(|block| BlockId(block.block_id as i64)))
        .collect()
}

#[test]
fn a_group_is_written_to_one_node_per_internal_block_and_complete_with_all_data() {
    let mut world = World::new(6);
    world.start_active();
    let request = PlacementRequest {
        count: 5,
        spread: true,
        block_size: 1 << 20,
        ..PlacementRequest::default()
    };
    let targets = world.manager.choose_targets(&request, at(1000)).unwrap();
    let nodes: std::collections::BTreeSet<_> = targets
        .iter()
        .map(|at| world.manager.storage(*at).unwrap().datanode)
        .collect();
    assert_eq!((targets.len(), nodes.len()), (5, 5));
    world.manager.add_block(new_group(0, BlockState::UnderConstruction));
    world.manager.set_expected_locations(GROUP, &targets);
    let located = world.manager.located_block(POOL, group(0), 0, None);
    assert_eq!(located.block_indices.as_deref(), Some(&[0, 1, 2, 3, 4][..]));
    assert_eq!((located.locs.len(), located.block_tokens.len()), (5, 5));
    let node_of = |world: &World, index: usize| {
        let datanode = world.manager.storage(targets[index]).unwrap().datanode;
        world.nodes.iter().position(|node| *node == datanode).unwrap()
    };
    for index in [4u8, 0] {
        let node = node_of(&world, usize::from(index));
        world.received(node, internal(index, FULL));
    }
    assert!(!world.manager.commit_block(group(FULL)), "two of three");
    assert!(!world.manager.has_min_replicas(GROUP));
    let node = node_of(&world, 2);
    world.received(node, internal(2, FULL));
    assert!(world.manager.is_complete(GROUP) && world.manager.has_min_replicas(GROUP));
    // The others are about to come.
    assert_eq!(world.manager.counts().low_redundancy, 0);
    world.manager.check();
    for index in [1u8, 3] {
        let node = node_of(&world, usize::from(index));
        world.received(node, internal(index, FULL));
    }
    assert_eq!(world.manager.count_replicas(GROUP).live, 5);
    assert_eq!(world.manager.counts().pending_reconstruction, 0);
    let counts = world.manager.counts();
    assert_eq!((counts.blocks, counts.complete_blocks, counts.safe_blocks), (1, 1, 1));
    world.manager.check();
}

#[test]
fn a_writer_goes_on_without_the_nodes_that_it_has_lost() {
    let mut world = World::new(5);
    world.start_active();
    world.manager.add_block(new_group(0, BlockState::UnderConstruction));
    let all: Vec<StorageIndex> = (0..5).map(|node| storage(&world, node)).collect();
    world.manager.set_expected_locations(GROUP, &all);
    let newer = Block {
        generation_stamp: GenerationStamp(1002),
        ..group(0)
    };
    world.manager.set_generation_stamp(GenerationStamp(1002));
    world.manager.update_block(newer);
    let on = [Some(all[0]), None, Some(all[2]), Some(all[3]), None];
    world.manager.set_expected_group(GROUP, &on);
    let expected = world.manager.expected_group(GROUP);
    assert_eq!(expected, [(0, all[0]), (2, all[2]), (3, all[3])]);
    // What the others have is of the old stamp.
    world.received(1, internal(1, FULL));
    for index in [0u8, 2, 3] {
        let block = Block {
            generation_stamp: GenerationStamp(1002),
            ..internal(index, FULL)
        };
        world.received(usize::from(index), block);
    }
    let committed = Block {
        num_bytes: FULL,
        ..newer
    };
    assert!(world.manager.commit_block(committed));
    let counts = world.manager.count_replicas(GROUP);
    assert_eq!((counts.live, counts.corrupt), (3, 1));
    world.manager.check();
}

#[test]
fn a_group_with_less_than_a_stripe_has_no_block_without_a_byte() {
    let mut world = World::new(3);
    world.manager.add_block(new_group(5, BlockState::Complete));
    world.start_active();
    world.received(0, internal(0, 5));
    assert_eq!(world.manager.counts().safe_blocks, 1, "one block has all bytes");
    world.received(1, internal(3, 5));
    world.received(2, internal(4, 5));
    world.tick();
    assert_eq!(world.manager.counts().low_redundancy, 0);
    assert_eq!(world.manager.count_replicas(GROUP).live, 3);
}

#[test]
fn safe_mode_counts_a_group_once_and_waits_for_as_many_as_hold_all_bytes() {
    let mut world = World::new(5);
    world.manager.add_block(new_group(FULL, BlockState::Complete));
    world.manager.activate_safe_mode(at(world.now));
    for (node, safe) in [(0, 0), (4, 0), (1, 1), (2, 1)] {
        world.received(node, internal(node as u8, FULL));
        let counts = world.manager.counts();
        assert_eq!((counts.complete_blocks, counts.safe_blocks), (1, safe), "{node}");
        world.manager.check();
    }
    assert!(!world.manager.in_safe_mode());
    // A second one of an index that is there does not make up for another one.
    world.tell(1, internal(1, FULL), IncrementalNotice::Deleted);
    world.tell(2, internal(2, FULL), IncrementalNotice::Deleted);
    world.received(3, internal(0, FULL));
    assert_eq!(world.manager.counts().safe_blocks, 0);
    world.manager.check();
}

#[test]
fn of_an_index_that_is_there_twice_one_is_deleted() {
    let mut world = with_group(6, 0..5);
    world.received(5, internal(2, FULL));
    settle(&mut world);
    world.tick();
    let ordered = (deletions(&mut world, 2), deletions(&mut world, 5));
    let one = vec![GROUP.internal(2)];
    assert!(
        ordered == (one.clone(), Vec::new()) || ordered == (Vec::new(), one),
        "{ordered:?}"
    );
    for node in [0, 1, 3, 4] {
        assert!(deletions(&mut world, node).is_empty());
    }
    world.manager.check();
}

#[test]
fn lost_blocks_are_made_by_a_node_that_can() {
    let mut world = with_group(8, 0..5);
    let is_ordered = |world: &mut World| -> Vec<usize> {
        (0..8)
            .filter(|node| {
                let commands = world.commands(*node);
                commands.iter().any(|one| one.blk_ec_reconstruction_cmd.is_some())
            })
            .collect()
    };
    let (one, other) = (world.nodes[1], world.nodes[3]);
    world.manager.node_died(one);
    world.manager.node_died(other);
    world.tick();
    world.tick();
    assert_eq!(world.manager.counts().highest_priority, 1);
    assert_eq!(world.manager.group_counts().highest_priority, 1);
    assert!(is_ordered(&mut world).is_empty(), "none of the nodes can");
    world.manager.set_codes(world.nodes[6], true);
    let mut info = None;
    for _ in 0..20 {
        world.tick();
        for node in 0..8 {
            world.heartbeat(node);
            let commands = world.commands(node);
            if let Some(order) = commands.into_iter().find_map(|one| one.blk_ec_reconstruction_cmd) {
                assert_eq!(node, 6, "it is the one that can");
                info = order.block_ec_reconstructioninfo.into_iter().next();
            }
        }
        if info.is_some() {
            break;
        }
    }
    let info = info.expect("somebody is to make them");
    assert_eq!(info.block.block_id as i64, GROUP.0);
    assert_eq!(&info.live_block_indices[..], [0, 2, 4]);
    assert_eq!(info.source_dn_infos.datanodes.len(), 3);
    let targets = &info.target_dn_infos.datanodes;
    assert_eq!(targets[0].id.host_name, "dn6");
    let made = targets.len();
    assert_eq!(
        info.exclude_reconstructed_indices.as_ref().map(|left| left.len()),
        Some(2 - made)
    );
    assert_eq!(world.manager.counts().low_redundancy, u64::from(made < 2));
    // It comes.
    world.received(6, internal(1, FULL));
    world.manager.check();
    assert!(world.manager.storages_of(GROUP).contains(&(1, storage(&world, 6))));
}

#[test]
fn a_group_without_enough_blocks_is_missing_and_named_with_its_file() {
    let mut world = with_group(5, 0..3);
    assert_eq!(world.manager.counts().missing, 0);
    let node = world.nodes[0];
    world.manager.node_died(node);
    world.tick();
    let counts = (world.manager.counts().missing, world.manager.group_counts().missing);
    assert_eq!(counts, (1, 1));
    assert_eq!(world.manager.corrupt_blocks(None, 10), [(GROUP, InodeId(16386))]);
    world.manager.check();
}

#[test]
fn an_internal_block_of_another_length_is_corrupt() {
    let mut world = with_group(6, 0..5);
    let longer = Block {
        num_bytes: 300,
        ..internal(0, FULL)
    };
    world.received(5, longer);
    let counts = world.manager.count_replicas(GROUP);
    assert_eq!((counts.live, counts.corrupt), (5, 0), "what is not needed is not kept");
    world.received(0, longer);
    world.tick();
    let counts = world.manager.count_replicas(GROUP);
    assert_eq!((counts.live, counts.corrupt), (4, 1));
    assert_eq!(world.manager.group_counts().corrupt, 1);
    let located = world.manager.located_block(POOL, group(FULL), 0, None);
    assert_eq!(located.block_indices.as_deref(), Some(&[1, 2, 3, 4][..]));
    assert!(!located.corrupt);
    world.manager.check();
}

#[test]
fn a_node_that_leaves_has_its_internal_block_copied() {
    let mut world = with_group(6, 0..5);
    let leaving = world.nodes[3];
    world
        .manager
        .set_admin_state(leaving, AdminState::DecommissionInProgress);
    world.tick();
    world.tick();
    let commands = world.commands(3);
    let order = commands.iter().find_map(|command| command.blk_cmd.as_ref()).unwrap();
    assert_eq!(order.action(), Action::Transfer);
    assert_eq!(order.blocks[0].block_id as i64, GROUP.internal(3).0);
    assert_eq!(order.blocks[0].num_bytes, Some(internal(3, FULL).num_bytes));
    assert_eq!(order.targets[0].datanodes[0].id.host_name, "dn5");
    for _ in 0..2 {
        world.tick();
        assert_eq!(
            world.manager.datanode(leaving).unwrap().admin_state,
            AdminState::DecommissionInProgress
        );
    }
    world.received(5, internal(3, FULL));
    for node in 0..6 {
        world.heartbeat(node);
    }
    world.tick();
    assert_eq!(
        world.manager.datanode(leaving).unwrap().admin_state,
        AdminState::Decommissioned
    );
    let counts = world.manager.count_replicas(GROUP);
    assert_eq!((counts.live, counts.decommissioned), (5, 0), "an index counts once");
}

#[test]
fn a_group_is_recovered_by_a_node_that_can() {
    let mut world = World::new(5);
    world.start_active();
    world.manager.add_block(new_group(0, BlockState::UnderConstruction));
    let all: Vec<StorageIndex> = (0..5).map(|node| storage(&world, node)).collect();
    world.manager.set_expected_locations(GROUP, &all);
    for index in 0..5 {
        let block = Block {
            num_bytes: 0,
            ..internal(index, FULL)
        };
        world.tell(usize::from(index), block, IncrementalNotice::Receiving);
    }
    settle(&mut world);
    assert_eq!(world.manager.holders(GROUP), HolderKnowledge::Known);
    world.manager.set_generation_stamp(GenerationStamp(1003));
    let recovery = GenerationStamp(1002);
    assert!(!world.manager.begin_recovery(GROUP, recovery, None, at(world.now)));
    world.manager.set_codes(world.nodes[4], true);
    let recovery = GenerationStamp(1003);
    assert!(world.manager.begin_recovery(GROUP, recovery, None, at(world.now)));
    world.manager.check();
    for node in 0..4 {
        assert!(world.commands(node).is_empty());
    }
    let commands = world.commands(4);
    let blocks = &commands[0].recovery_cmd.as_ref().unwrap().blocks;
    assert_eq!(
        (blocks[0].new_gen_stamp, blocks[0].block.b.block_id as i64),
        (1003, GROUP.0)
    );
    assert_eq!(blocks[0].block_indices.as_deref(), Some(&[0, 1, 2, 3, 4][..]));
    assert_eq!(blocks[0].ec_policy.as_ref().map(|policy| policy.id), Some(2));
    let agreed = Block {
        num_bytes: 30,
        generation_stamp: recovery,
        ..group(0)
    };
    assert_eq!(world.manager.judge_recovery(GROUP, Some(30), at(world.now)), Ok(()));
    let on = [Some(all[0]), Some(all[1]), Some(all[2]), None, Some(all[4])];
    world.manager.recovered_group(agreed, &on);
    assert!(world.manager.commit_block(agreed));
    assert_eq!(world.manager.count_replicas(GROUP).live, 4);
    world.manager.check();
}

#[test]
fn the_blocks_of_a_deleted_group_are_deleted() {
    let mut world = with_group(5, 0..5);
    world.manager.remove_block(GROUP);
    for node in 0..5 {
        assert_eq!(deletions(&mut world, node), [GROUP.internal(node as u8)]);
    }
    assert_eq!(world.manager.counts().blocks, 0);
    world.manager.check();
    // One that nobody knows any more goes as well.
    world.received(0, internal(0, FULL));
    assert_eq!(deletions(&mut world, 0), [GROUP]);
}

#[test]
fn a_standby_keeps_what_it_hears_of_a_group_before_the_edits_tell_of_it() {
    let mut world = World::new(5);
    for index in 0..5u8 {
        world.received(usize::from(index), internal(index, FULL));
    }
    assert_eq!(world.manager.counts().pending_datanode_messages, 5);
    world.manager.add_block(new_group(0, BlockState::UnderConstruction));
    assert_eq!(world.manager.counts().pending_datanode_messages, 0);
    world.manager.complete_block(group(FULL));
    assert_eq!(world.manager.count_replicas(GROUP).live, 5);
    world.manager.check();
}

#[test]
fn groups_are_spread_over_all_racks() {
    let mut world = World::new(10);
    for node in 0..10 {
        world
            .manager
            .set_rack(&format!("10.0.0.{node}"), &format!("/r{}", node % 5));
    }
    world.start_active();
    let request = PlacementRequest {
        count: 5,
        spread: true,
        writer: Some("dn1"),
        block_size: 1 << 20,
        ..PlacementRequest::default()
    };
    for _ in 0..20 {
        let targets = world.manager.choose_targets(&request, at(1000)).unwrap();
        let node = |at: &StorageIndex| {
            world
                .manager
                .datanode(world.manager.storage(*at).unwrap().datanode)
                .unwrap()
        };
        let racks: std::collections::BTreeSet<_> = targets.iter().map(|at| node(at).location.clone()).collect();
        assert_eq!(racks.len(), 5);
    }
    // With fewer racks than blocks all are found still.
    let request = PlacementRequest { count: 9, ..request };
    assert_eq!(world.manager.choose_targets(&request, at(1000)).unwrap().len(), 9);
}
