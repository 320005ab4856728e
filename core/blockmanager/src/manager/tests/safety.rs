//! What must not be lost or believed: corrupt replicas, old orders, old notices. Names carry the fault's number in
//! docs/blocks.md.

use super::*;
use hathi_formats::proto::hdfs::RecoveringBlockProto;

fn live_corrupt(world: &World, n: i64) -> (u32, u32) {
    let counts = world.manager.count_replicas(block(n).id);
    (counts.live, counts.corrupt)
}

fn served_by(world: &World, n: i64) -> Vec<String> {
    let located = world.manager.located_block(POOL, block(n), 0, None);
    let mut hosts: Vec<_> = located.locs.iter().map(|node| node.id.host_name.clone()).collect();
    hosts.sort();
    hosts
}

/// Block 1 on nodes 0..holders, all of them sure.
fn written(nodes: usize, holders: usize, replication: u16) -> World {
    let mut world = World::new(nodes);
    world.start_active();
    world.manager.add_block(new_block(1, replication, BlockState::Complete));
    for node in 0..holders {
        world.received(node, block(1));
    }
    world.settle();
    world
}

const GOOD: ReplicaState = ReplicaState::Finalized;

#[test]
fn safety_10_a_full_report_between_mark_and_deletion_keeps_the_replica_corrupt() {
    // Two wanted, the first is found bad; a third one comes in its place.
    let mut world = written(3, 2, 2);
    world.manager.mark_corrupt(block(1), world.nodes[0]).unwrap();
    world.received(2, block(1));
    assert_eq!(world.deletions(0), [1]);
    world.full(0, &[(block(1), GOOD)]);
    assert_eq!(live_corrupt(&world, 1), (2, 1));
    assert_eq!(served_by(&world, 1), ["dn1", "dn2"]);
    world.tick();
    assert!(world.deletions(1).is_empty() && world.deletions(2).is_empty());
    // The report shows that the order was lost: it is given again. The mark ends with the replica.
    assert_eq!(world.deletions(0), [1]);
    world.tell(0, block(1), IncrementalNotice::Deleted);
    assert_eq!(live_corrupt(&world, 1), (2, 0));
    assert_eq!(world.manager.counts().corrupt, 0);
    world.manager.check();
}

#[test]
fn safety_10_a_corrupt_replica_stays_corrupt_while_its_node_is_dead_or_restarts() {
    let mut world = written(3, 2, 2);
    world.manager.mark_corrupt(block(1), world.nodes[0]).unwrap();
    world.now += 700_000;
    world.heartbeat(1);
    world.heartbeat(2);
    world.tick();
    assert!(world.manager.datanode_by_uuid("uuid-0").is_err());
    assert_eq!(live_corrupt(&world, 1), (1, 0));
    world.register(0);
    world.full(0, &[(block(1), GOOD)]);
    assert_eq!(live_corrupt(&world, 1), (1, 1));
    assert_eq!(served_by(&world, 1), ["dn1"]);
    world.manager.check();
}

#[test]
fn safety_10_a_standby_keeps_marks_and_reports_do_not_end_them() {
    let mut world = World::new(3);
    world.manager.activate_safe_mode(at(0));
    world.manager.add_block(new_block(1, 2, BlockState::Complete));
    world.received(0, block(1));
    world.received(1, block(1));
    world.manager.mark_corrupt(block(1), world.nodes[0]).unwrap();
    world.full(0, &[(block(1), GOOD)]);
    world.start_active();
    world.manager.leave_safe_mode(true, at(world.now));
    world.settle();
    assert_eq!(live_corrupt(&world, 1), (1, 1));
    assert_eq!(served_by(&world, 1), ["dn1"]);
    // Lowered to one: the good one stays, the bad one goes.
    world.manager.set_replication(block(1).id, 1);
    world.tick();
    assert_eq!((world.deletions(0), world.deletions(1)), (vec![1], vec![]));
    world.manager.check();
}

#[test]
fn safety_10_bad_replicas_make_room_when_every_node_has_one() {
    let mut world = World::new(3);
    world.manager.add_block(new_block(1, 2, BlockState::Complete));
    for node in 0..3 {
        world.received(node, block(1));
    }
    world.start_active();
    // Storages are not sure yet, so that nothing is deleted now.
    for node in 0..2 {
        world.manager.mark_corrupt(block(1), world.nodes[node]).unwrap();
    }
    world.settle();
    world.tick();
    assert_eq!((world.deletions(0), world.deletions(1)), (vec![1], vec![1]));
    world.tell(0, block(1), IncrementalNotice::Deleted);
    world.tick();
    assert_eq!(world.commands(2)[0].blk_cmd.as_ref().unwrap().action, 1);
    world.manager.check();
}

#[test]
fn safety_10_an_order_that_has_lost_its_reason_does_not_leave() {
    let mut world = written(2, 2, 1);
    world.tick();
    // Node 1 is to give up its replica, but has not heard of it when the other one turns out to be bad.
    assert_eq!(world.manager.counts().pending_deletion, 1);
    world.manager.mark_corrupt(block(1), world.nodes[0]).unwrap();
    assert!(world.deletions(1).is_empty(), "the last good replica was given up");
    assert_eq!(served_by(&world, 1), ["dn1"]);
    world.tick();
    assert_eq!(world.deletions(0), [1]);
    world.manager.check();
}

/// The order of one more attempt to truncate block 1.
fn truncate_order(world: &mut World, id: u64) -> RecoveringBlockProto {
    let truncate = TruncateRecovery {
        length: 40,
        source: None,
    };
    let (id, now) = (GenerationStamp(id), at(world.now));
    assert!(world.manager.begin_recovery(block(1).id, id, Some(truncate), now));
    let commands = (0..world.nodes.len())
        .flat_map(|node| world.commands(node))
        .collect::<Vec<_>>();
    let mut orders = commands.into_iter().filter_map(|command| command.recovery_cmd);
    orders.next().expect("somebody leads it").blocks.remove(0)
}

#[test]
fn safety_d21_a_truncate_over_rot_ends_when_nobody_can_have_a_good_replica_any_more() {
    for bad in 0..=2 {
        let mut world = written(2, 2, 2);
        world.manager.reopen_block(block(1));
        for node in 0..bad {
            world.manager.mark_corrupt(block(1), world.nodes[node]).unwrap();
        }
        assert!(!truncate_order(&mut world, 1002).block.corrupt);
        world.now += BlockManagerConfig::default().heartbeat_expire_ms() - 1;
        world.settle();
        assert!(
            !truncate_order(&mut world, 1003).block.corrupt,
            "somebody may still come"
        );
        world.now += 1;
        let order = truncate_order(&mut world, 1004);
        assert_eq!(order.block.corrupt, bad == 2, "{bad} of two are bad");
        assert_eq!(order.block.locs.len(), 2);
        world.manager.check();
    }
}

#[test]
fn safety_05_a_deletion_is_not_ordered_again_when_too_few_are_left() {
    let mut world = written(2, 2, 1);
    world.tick();
    assert_eq!(world.deletions(1), [1]);
    // The order was lost, and the replica that was to stay is gone.
    world.tell(0, block(1), IncrementalNotice::Deleted);
    world.now += 3_700_000;
    world.heartbeat(0);
    world.heartbeat(1);
    world.tick();
    assert!(world.deletions(1).is_empty(), "the last replica was given up");
    world.full(1, &[(block(1), GOOD)]);
    assert!(world.deletions(1).is_empty());
    world.manager.check();
}

#[test]
fn safety_12_a_lifeline_does_not_vouch_for_blocks() {
    let mut world = World::new(2);
    world.manager.add_block(new_block(1, 1, BlockState::Complete));
    for node in 0..2 {
        world.heartbeat(node);
        world.full(node, &[(block(1), GOOD)]);
    }
    world.start_active();
    for node in 0..2 {
        let stats = world.stats(node);
        world.manager.lifeline(world.nodes[node], stats, at(world.now));
        world.full(node, &[(block(1), GOOD)]);
    }
    world.tick();
    assert_eq!(world.manager.counts().postponed, 1);
    assert!((0..2).all(|node| world.deletions(node).is_empty()));
    // A heartbeat, and then a report, do.
    world.settle();
    world.tick();
    assert_eq!((0..2).map(|node| world.deletions(node).len()).sum::<usize>(), 1);
}

#[test]
fn safety_05_a_report_with_a_lease_from_before_the_failover_does_not_vouch() {
    let mut world = World::new(1);
    world.manager.add_block(new_block(1, 1, BlockState::Complete));
    let lease = world.manager.request_report_lease(world.nodes[0], at(world.now));
    assert!(
        world
            .manager
            .check_report_lease(world.nodes[0], lease, at(world.now))
            .is_ok()
    );
    world.start_active();
    // The answer to this heartbeat may never have come, so that the node may still obey another NameNode.
    world.heartbeat(0);
    assert!(
        world
            .manager
            .check_report_lease(world.nodes[0], lease, at(world.now))
            .is_err()
    );
}

#[test]
fn safety_d5_a_node_with_the_only_pipeline_of_an_open_file_is_not_decommissioned() {
    let mut world = World::new(2);
    world.start_active();
    world.settle();
    world.manager.add_block(new_block(1, 1, BlockState::UnderConstruction));
    let on = [world.manager.find_storage("uuid-0", "DS-0").unwrap()];
    world.manager.set_expected_locations(block(1).id, &on);
    world.tell(0, block(1), IncrementalNotice::Receiving);
    world
        .manager
        .set_admin_state(world.nodes[0], AdminState::DecommissionInProgress);
    let state = |world: &World| world.manager.datanode(world.nodes[0]).unwrap().admin_state;
    world.tick();
    world.tick();
    assert_eq!(state(&world), AdminState::DecommissionInProgress);
    // The writer goes on with another node.
    let on = ["0", "1"].map(|n| {
        world
            .manager
            .find_storage(&format!("uuid-{n}"), &format!("DS-{n}"))
            .unwrap()
    });
    world.manager.set_expected_locations(block(1).id, &on);
    world.tick();
    assert_eq!(state(&world), AdminState::Decommissioned);
}

#[test]
fn safety_d22_a_node_that_came_back_without_its_replica_does_not_let_the_other_one_go() {
    let mut world = World::new(2);
    world.start_active();
    world.settle();
    world.manager.add_block(new_block(1, 2, BlockState::UnderConstruction));
    let on = [0, 1].map(|n| {
        let found = world.manager.find_storage(&format!("uuid-{n}"), &format!("DS-{n}"));
        found.unwrap()
    });
    world.manager.set_expected_locations(block(1).id, &on);
    for node in 0..2 {
        world.tell(node, block(1), IncrementalNotice::Receiving);
    }
    // The machine of node 0 loses its power, and with it the replica, which was never synced.
    world.now += 10;
    world.register(0);
    world.full(0, &[]);
    let leaving = AdminState::DecommissionInProgress;
    world.manager.set_admin_state(world.nodes[1], leaving);
    world.tick();
    world.tick();
    let state = |world: &World| world.manager.datanode(world.nodes[1]).unwrap().admin_state;
    assert_eq!(state(&world), leaving, "nobody else has the block");
    // The pipeline is repaired.
    world.manager.set_expected_locations(block(1).id, &on);
    world.tick();
    assert_eq!(state(&world), AdminState::Decommissioned);
}

#[test]
fn safety_d16_a_replica_that_the_pipeline_left_behind_is_no_holder() {
    let mut world = World::new(2);
    world.start_active();
    let mut open = new_block(1, 2, BlockState::UnderConstruction);
    open.block.generation_stamp = GenerationStamp(1002);
    world.manager.set_generation_stamp(GenerationStamp(1002));
    world.manager.add_block(open);
    // Node 0 dropped out before the pipeline got its stamp. Node 1, which has all, has not reported yet.
    world.full(0, &[(block(1), ReplicaState::Rwr)]);
    assert_eq!(world.manager.holders(block(1).id), HolderKnowledge::Awaited);
    assert!(!world.begin_recovery(1003), "there is nobody to ask");
    world.full(1, &[(open.block, ReplicaState::Rbw)]);
    assert_eq!(world.manager.holders(block(1).id), HolderKnowledge::Known);
    assert!(world.begin_recovery(1004));
    // Nor does it replace the only pipeline of a node that is to leave.
    world
        .manager
        .set_admin_state(world.nodes[1], AdminState::DecommissionInProgress);
    world.tick();
    let state = world.manager.datanode(world.nodes[1]).unwrap().admin_state;
    assert_eq!(state, AdminState::DecommissionInProgress);
}

#[test]
fn safety_d17_a_committed_block_is_complete_when_a_replica_is_received_that_had_an_old_stamp() {
    let mut world = World::new(1);
    world.start_active();
    let mut open = new_block(1, 1, BlockState::UnderConstruction);
    open.block.generation_stamp = GenerationStamp(1002);
    world.manager.set_generation_stamp(GenerationStamp(1002));
    world.manager.add_block(open);
    // The notice of an earlier stamp came late: the pipeline has been repaired since.
    world.tell(0, block(1), IncrementalNotice::Receiving);
    assert!(!world.manager.commit_block(open.block), "nobody has it yet");
    world.received(0, open.block);
    assert!(world.manager.is_complete(block(1).id));
    world.manager.check();
}

#[test]
fn safety_d18_what_a_pipeline_left_behind_makes_room_where_every_node_has_a_replica() {
    let mut world = World::new(2);
    world.start_active();
    let mut open = new_block(1, 2, BlockState::UnderConstruction);
    open.block.generation_stamp = GenerationStamp(1002);
    world.manager.set_generation_stamp(GenerationStamp(1002));
    world.manager.add_block(open);
    for node in 0..2 {
        world.heartbeat(node);
    }
    world.full(0, &[(block(1), ReplicaState::Rwr)]);
    world.full(1, &[(open.block, ReplicaState::Rbw)]);
    assert!(world.deletions(0).is_empty(), "nobody has it complete yet");
    world.received(1, open.block);
    world.manager.commit_block(open.block);
    world.tick();
    assert_eq!(world.deletions(0), [1]);
    world.tell(0, block(1), IncrementalNotice::Deleted);
    world.tick();
    assert_eq!(world.transfers(1), [1], "there is room now");
    world.manager.check();
}

#[test]
fn safety_d5_a_node_that_has_not_reported_to_a_new_active_is_not_decommissioned() {
    let mut world = World::new(2);
    world.start_active();
    world.manager.add_block(new_block(1, 1, BlockState::UnderConstruction));
    world.settle();
    world.manager.stop_active();
    world.start_active();
    world
        .manager
        .set_admin_state(world.nodes[0], AdminState::DecommissionInProgress);
    let state = |world: &World| world.manager.datanode(world.nodes[0]).unwrap().admin_state;
    world.tick();
    world.tick();
    assert_eq!(
        state(&world),
        AdminState::DecommissionInProgress,
        "it may have the open block"
    );
    world.heartbeat(0);
    world.full(0, &[]);
    world.tick();
    assert_eq!(state(&world), AdminState::Decommissioned);
}

#[test]
fn safety_d8_a_report_of_an_old_stamp_marks_nothing() {
    let mut world = written(1, 1, 1);
    let appended = Block {
        generation_stamp: GenerationStamp(1002),
        ..block(1)
    };
    world.manager.set_generation_stamp(GenerationStamp(1002));
    world.manager.reopen_block(block(1));
    world.manager.update_block(appended);
    let on = [world.manager.find_storage("uuid-0", "DS-0").unwrap()];
    world.manager.set_expected_locations(block(1).id, &on);
    world.manager.mark_corrupt(block(1), world.nodes[0]).unwrap();
    world.received(0, appended);
    world.manager.commit_block(appended);
    assert_eq!(live_corrupt(&world, 1), (1, 0));
    world.manager.check();
}

#[test]
fn safety_d8_a_mark_made_while_a_block_is_written_ends_when_the_replica_is_received() {
    let mut world = written(1, 1, 1);
    let appended = Block {
        generation_stamp: GenerationStamp(1002),
        num_bytes: 200,
        ..block(1)
    };
    world.manager.set_generation_stamp(GenerationStamp(1002));
    // The DataNode has the new stamp already, the pipeline is not updated yet.
    world.manager.reopen_block(block(1));
    world.manager.mark_corrupt(block(1), world.nodes[0]).unwrap();
    world.manager.update_block(appended);
    let on = [world.manager.find_storage("uuid-0", "DS-0").unwrap()];
    world.manager.set_expected_locations(block(1).id, &on);
    world.received(0, appended);
    assert!(world.manager.commit_block(appended));
    assert_eq!(live_corrupt(&world, 1), (1, 0));
    world.manager.check();
}

#[test]
fn safety_d25_a_bad_replica_is_marked_under_the_stamp_of_a_recovery_whatever_arrives_first() {
    let recovered = Block {
        generation_stamp: GenerationStamp(1002),
        ..block(1)
    };
    for notice_first in [true, false] {
        let mut world = written(1, 1, 1);
        world.manager.set_generation_stamp(GenerationStamp(1002));
        world.manager.reopen_block(block(1));
        // A reader complains first, and the DataNode reads its replica again.
        world.manager.mark_corrupt(block(1), world.nodes[0]).unwrap();
        let marked = world.manager.mark_corrupt_by_its_node(block(1), world.nodes[0]);
        assert_eq!(marked, Ok(false), "it is no news");
        // Notices may come late, and twice.
        world.received(0, block(1));
        assert_eq!(live_corrupt(&world, 1), (0, 1));
        assert!(
            world
                .manager
                .begin_recovery(block(1).id, GenerationStamp(1002), None, at(1))
        );
        let again = |world: &mut World| world.manager.mark_corrupt_by_its_node(recovered, world.nodes[0]);
        if !notice_first {
            assert_eq!(again(&mut world), Ok(false));
        }
        let on = [world.manager.find_storage("uuid-0", "DS-0").unwrap()];
        world.manager.recovered(recovered, &on);
        assert!(world.manager.commit_block(recovered));
        world.received(0, recovered);
        if notice_first {
            assert_eq!(again(&mut world), Ok(true));
        }
        world.received(0, recovered);
        assert_eq!(live_corrupt(&world, 1), (0, 1), "notice first: {notice_first}");
        world.manager.check();
    }
}

#[test]
fn safety_d25_a_copy_that_replaces_a_bad_replica_of_an_older_stamp_is_good() {
    let mut world = written(1, 1, 1);
    let newer = Block {
        generation_stamp: GenerationStamp(1002),
        ..block(1)
    };
    world.manager.set_generation_stamp(GenerationStamp(1002));
    world.manager.reopen_block(block(1));
    world
        .manager
        .mark_corrupt_by_its_node(block(1), world.nodes[0])
        .unwrap();
    world.manager.update_block(newer);
    world.received(0, newer);
    assert_eq!(live_corrupt(&world, 1), (1, 0));
    world.manager.check();
}

#[test]
fn safety_d25_a_datanode_does_not_confirm_a_mark_with_what_it_found_under_an_older_stamp() {
    let mut world = written(1, 1, 1);
    let appended = Block {
        generation_stamp: GenerationStamp(1002),
        ..block(1)
    };
    world.manager.set_generation_stamp(GenerationStamp(1002));
    world.manager.reopen_block(appended);
    world.manager.mark_corrupt(appended, world.nodes[0]).unwrap();
    // It speaks of the replica as it was.
    world
        .manager
        .mark_corrupt_by_its_node(block(1), world.nodes[0])
        .unwrap();
    world.received(0, appended);
    assert_eq!(live_corrupt(&world, 1), (1, 0));
    world.manager.check();
}

#[test]
fn safety_d9_notices_of_older_stamps_say_nothing_once_a_newer_one_is_known() {
    let mut world = World::new(3);
    world.manager.activate_safe_mode(at(0));
    world.manager.set_generation_stamp(GenerationStamp(1003));
    let stamped = |stamp| Block {
        generation_stamp: GenerationStamp(stamp),
        ..block(1)
    };
    world.manager.add_block(NewBlock {
        block: stamped(1003),
        ..new_block(1, 3, BlockState::Complete)
    });
    for node in 0..3 {
        world.received(node, stamped(1001));
        world.received(node, stamped(1003));
    }
    world.start_active();
    assert_eq!(live_corrupt(&world, 1), (3, 0));
    world.manager.check();
}

#[test]
fn safety_bounds_replicas_that_no_file_has_are_deleted_some_at_a_time() {
    let config = BlockManagerConfig {
        safemode_extension_ms: 0,
        max_unknown_deletions: 4,
        invalidate_limit: 3,
        ..BlockManagerConfig::default()
    };
    let mut world = World::with(2, config);
    world.start_active();
    let unknown: Vec<_> = (0..10).map(|n| (block(n), GOOD)).collect();
    world.full(0, &unknown);
    world.full(1, &unknown);
    for n in 10..20 {
        world.received(0, block(n));
    }
    assert_eq!(world.manager.counts().pending_deletion, 4);
    world.manager.check();
    // What has left makes room for as many of the next report.
    assert_eq!(world.deletions(0).len(), 3);
    world.full(1, &unknown);
    assert_eq!(world.manager.counts().pending_deletion, 4);
    assert_eq!((world.deletions(1).len(), world.deletions(0).len()), (3, 1));
    world.manager.check();
}

#[test]
fn replicas_from_the_future_of_any_length_are_added_up_without_an_overflow() {
    let config = BlockManagerConfig {
        safemode_min_datanodes: 9,
        ..BlockManagerConfig::default()
    };
    let mut world = World::with(1, config);
    world.start_active();
    let from_the_future = |n| Block {
        num_bytes: u64::MAX,
        generation_stamp: GenerationStamp(1 << 40),
        ..block(n)
    };
    world.full(0, &[(from_the_future(1), GOOD), (from_the_future(2), GOOD)]);
    assert_eq!(world.manager.counts().in_future, 2);
    world.manager.check();
}

#[test]
fn safety_bounds_a_node_whose_notices_found_no_room_reports_again() {
    let config = BlockManagerConfig {
        safemode_extension_ms: 0,
        max_pending_messages: 4,
        ..BlockManagerConfig::default()
    };
    let mut world = World::with(2, config);
    for n in 0..10 {
        world.received(0, block(n));
    }
    assert_eq!(world.manager.counts().pending_datanode_messages, 4);
    assert!(
        !world.manager.wants_registration(world.nodes[0]),
        "there is no room yet"
    );
    for n in 0..4 {
        world.manager.add_block(new_block(n, 1, BlockState::Complete));
    }
    assert!(world.manager.wants_registration(world.nodes[0]));
    assert!(!world.manager.wants_registration(world.nodes[1]));
    world.register(0);
    assert!(!world.manager.wants_registration(world.nodes[0]));
    for n in 4..10 {
        world.manager.add_block(new_block(n, 1, BlockState::Complete));
    }
    let held: Vec<_> = (0..10).map(|n| (block(n), GOOD)).collect();
    world.full(0, &held);
    assert!((0..10).all(|n| live_corrupt(&world, n) == (1, 0)));
    world.manager.check();
}
