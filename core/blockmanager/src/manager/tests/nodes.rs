//! Which DataNodes are let in, chosen and emptied.

use super::*;

#[test]
fn decommissioning_copies_first() {
    let mut world = World::new(2);
    world.start_active();
    world.manager.add_block(new_block(1, 1, BlockState::Complete));
    world.received(0, block(1));
    world.settle();
    world
        .manager
        .set_admin_state(world.nodes[0], AdminState::DecommissionInProgress);
    world.tick();
    assert_eq!(
        world.manager.datanode(world.nodes[0]).unwrap().admin_state,
        AdminState::DecommissionInProgress
    );
    assert_eq!(world.commands(0)[0].blk_cmd.as_ref().unwrap().action, 1);
    world.received(1, block(1));
    world.tick();
    world.tick();
    assert_eq!(
        world.manager.datanode(world.nodes[0]).unwrap().admin_state,
        AdminState::Decommissioned
    );
    assert!(world.deletions(0).is_empty());
    let located = world.manager.located_block(POOL, block(1), 0, Some("dn0"));
    assert_eq!(located.locs[0].id.host_name, "dn1", "a leaving node is asked last");
}

#[test]
fn before_maintenance_only_the_minimum_of_replicas_is_copied() {
    for (minimum, copies) in [(0, 0), (1, 1), (2, 2)] {
        let mut world = World::with(
            4,
            BlockManagerConfig {
                safemode_extension_ms: 0,
                min_maintenance_replication: minimum,
                ..BlockManagerConfig::default()
            },
        );
        world.start_active();
        world.manager.add_block(new_block(1, 2, BlockState::Complete));
        world.received(0, block(1));
        world.received(1, block(1));
        world.settle();
        let state = |world: &World, node: usize| world.manager.datanode(world.nodes[node]).unwrap().admin_state;
        for node in 0..2 {
            world
                .manager
                .set_admin_state(world.nodes[node], AdminState::EnteringMaintenance);
        }
        world.tick();
        let orders = world.transfers(0).len() + world.transfers(1).len();
        assert_eq!(orders > 0, copies > 0, "minimum {minimum}");
        for copy in 0..copies {
            assert_eq!(state(&world, 0), AdminState::EnteringMaintenance, "minimum {minimum}");
            world.received(2 + copy, block(1));
            world.tick();
        }
        world.tick();
        for node in 0..2 {
            assert_eq!(state(&world, node), AdminState::InMaintenance, "minimum {minimum}");
        }
    }
}

#[test]
fn a_balancer_finds_every_block_of_a_node() {
    let mut world = World::new(2);
    for n in 0..10 {
        world.manager.add_block(new_block(n, 1, BlockState::Complete));
        world.received(usize::from(n >= 7), block(n));
    }
    for _ in 0..20 {
        let found = world.manager.blocks_of_datanode(world.nodes[0], 1 << 30, 100, None);
        let mut ids: Vec<_> = found.iter().map(|one| one.block.block_id as i64 - BASE).collect();
        ids.sort();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(found[0].storage_uuids, ["DS-0"]);
    }
    let some = world.manager.blocks_of_datanode(world.nodes[0], 250, 0, None);
    assert_eq!(some.len(), 3);
    assert!(
        world
            .manager
            .blocks_of_datanode(world.nodes[0], 250, 101, None)
            .is_empty()
    );
    let ssd = Some(StorageTypeProto::Ssd);
    assert!(world.manager.blocks_of_datanode(world.nodes[0], 250, 0, ssd).is_empty());
}

#[test]
fn hosts_are_let_in_sent_away_and_taken_back() {
    let mut world = World::new(2);
    world.start_active();
    world.manager.add_block(new_block(1, 1, BlockState::Complete));
    world.received(0, block(1));
    let host = |name: &str| [name.to_owned()];
    world.manager.set_hosts([], host("dn0:9866"));
    let state = |world: &World| world.manager.datanode(world.nodes[0]).unwrap().admin_state;
    assert_eq!(state(&world), AdminState::DecommissionInProgress);
    world.register(0);
    assert_eq!(state(&world), AdminState::DecommissionInProgress);
    world.manager.set_hosts([], []);
    assert_eq!(state(&world), AdminState::Normal);
    world.manager.set_hosts(host("10.0.0.1"), []);
    assert!(world.manager.datanode_by_uuid("uuid-0").is_err());
    assert!(world.manager.datanode_by_uuid("uuid-1").is_ok());
    let id = world.manager.datanode(world.nodes[0]).unwrap().id.clone();
    assert!(matches!(
        world.manager.register(id, "3.5.0", at(world.now)),
        Err(BlockManagerError::Disallowed(_))
    ));
}

#[test]
fn racks_are_spread_over() {
    let mut world = World::new(0);
    for node in 0..6 {
        world
            .manager
            .set_rack(&format!("10.0.0.{node}"), if node < 3 { "/a" } else { "/b" });
        world.register(node);
    }
    world.start_active();
    for _ in 0..50 {
        let request = PlacementRequest {
            count: 3,
            writer: Some("dn0"),
            block_size: 1,
            ..PlacementRequest::default()
        };
        let targets = world.manager.choose_targets(&request, at(0)).unwrap();
        let racks: Vec<_> = targets
            .iter()
            .map(|&at| {
                world
                    .manager
                    .datanode(world.manager.storage(at).unwrap().datanode)
                    .unwrap()
                    .location
                    .clone()
            })
            .collect();
        assert_eq!(racks, ["/a", "/b", "/b"]);
        let request = PlacementRequest {
            excluded: &world.nodes[3..],
            ..request
        };
        assert_eq!(
            world.manager.choose_targets(&request, at(0)).unwrap().len(),
            2,
            "two at most on one of two racks"
        );
    }
    // Three replicas on one rack are enough and yet not good.
    world.manager.add_block(new_block(1, 3, BlockState::Complete));
    for node in 0..3 {
        world.received(node, block(1));
    }
    assert_eq!(world.manager.counts().badly_distributed, 1);
    world.settle();
    world.tick();
    let source = (0..3).find(|&node| !world.commands(node).is_empty());
    assert!(source.is_some());
    world.received(4, block(1));
    world.tick();
    assert_eq!(world.manager.counts().badly_distributed, 0);
    let deleted: Vec<_> = (0..6).filter(|&node| !world.deletions(node).is_empty()).collect();
    assert!(deleted.len() == 1 && deleted[0] < 3, "{deleted:?}");
}

#[test]
fn whatever_number_of_datanodes_is_asked_for_those_that_are_there_are_given() {
    let mut world = World::new(4);
    world.start_active();
    for count in [5, usize::MAX] {
        let request = PlacementRequest {
            count,
            block_size: 1,
            storage_types: &[StorageTypeProto::Disk],
            ..PlacementRequest::default()
        };
        assert_eq!(world.manager.choose_targets(&request, at(0)).unwrap().len(), 4);
        let targets = world.manager.choose_targets(&request, at(0)).unwrap();
        let request = PlacementRequest {
            chosen: &targets[..1],
            ..request
        };
        assert_eq!(world.manager.choose_targets(&request, at(0)).unwrap().len(), 3);
    }
}

#[test]
fn placement_keeps_to_what_it_is_asked() {
    let mut world = World::new(4);
    world.start_active();
    let nodes = world.nodes.clone();
    let request = PlacementRequest {
        count: 4,
        excluded: &nodes[..1],
        block_size: 1,
        ..PlacementRequest::default()
    };
    assert_eq!(world.manager.choose_targets(&request, at(0)).unwrap().len(), 3);
    let request = PlacementRequest {
        count: 1,
        excluded: &nodes,
        block_size: 1,
        ..PlacementRequest::default()
    };
    let error = world.manager.choose_targets(&request, at(0)).unwrap_err().to_string();
    assert!(
        error.contains("There are 4 datanode(s) running and 4 node(s) are excluded"),
        "{error}"
    );
    let favored = ["10.0.0.3:9866".to_owned(), "dn2:9866".to_owned()];
    let request = PlacementRequest {
        count: 2,
        favored: &favored,
        block_size: 1,
        ..PlacementRequest::default()
    };
    let uuids = |world: &World, on: Vec<StorageIndex>| -> Vec<String> {
        on.iter()
            .map(|&at| world.manager.storage(at).unwrap().uuid.clone())
            .collect()
    };
    let mut chosen = world.manager.choose_targets(&request, at(0)).unwrap();
    chosen.sort();
    assert_eq!(uuids(&world, chosen), ["DS-2", "DS-3"]);
    let too_big = PlacementRequest {
        count: 1,
        block_size: 1 << 41,
        ..PlacementRequest::default()
    };
    assert!(world.manager.choose_targets(&too_big, at(0)).is_err());
    let ssd = [StorageTypeProto::Ssd];
    let request = PlacementRequest {
        count: 1,
        block_size: 1,
        storage_types: &ssd,
        ..PlacementRequest::default()
    };
    assert!(world.manager.choose_targets(&request, at(0)).is_err());
    let disk = [StorageTypeProto::Disk];
    let request = PlacementRequest {
        fallback_types: &disk,
        ..request
    };
    assert_eq!(world.manager.choose_targets(&request, at(0)).unwrap().len(), 1);
    let away = PlacementRequest {
        count: 1,
        writer: Some("dn0"),
        avoid_local_node: true,
        block_size: 1,
        ..PlacementRequest::default()
    };
    for _ in 0..20 {
        let chosen = world.manager.choose_targets(&away, at(0)).unwrap();
        assert_ne!(uuids(&world, chosen), ["DS-0"]);
    }
}

/// The numbers of the blocks that a node is told to copy.
fn copies(world: &mut World, node: usize) -> Vec<i64> {
    let commands = world.commands(node);
    let orders = commands.iter().filter_map(|command| command.blk_cmd.as_ref());
    orders
        .filter(|order| order.action == 1)
        .flat_map(|order| order.blocks.iter().map(|block| block.block_id as i64 - BASE))
        .collect()
}

/// Three nodes, and a block that has a replica on the first two of them and is to have three.
fn one_copy_missing() -> World {
    let mut world = World::new(3);
    world.start_active();
    world.manager.add_block(new_block(1, 3, BlockState::Complete));
    world.received(0, block(1));
    world.received(1, block(1));
    world.settle();
    world.tick();
    assert_eq!(world.manager.counts().pending_reconstruction, 1);
    world
}

#[test]
fn a_copy_is_ordered_anew_when_the_node_that_was_to_make_it_registers_again() {
    let mut world = one_copy_missing();
    for left in [false, true] {
        let source = (0..2)
            .find(|&node| world.manager.redundancy.orders().copies_of(world.nodes[node]) > 0)
            .unwrap();
        if left {
            assert_eq!(copies(&mut world, source), [1]);
        }
        world.register(source);
        world.tick();
        assert_eq!(world.manager.counts().pending_reconstruction, 1);
    }
    let ordered: Vec<i64> = (0..2).flat_map(|node| copies(&mut world, node)).collect();
    assert_eq!(ordered, [1]);
    world.received(2, block(1));
    world.tick();
    assert_eq!(world.manager.counts().pending_reconstruction, 0);
    assert_eq!(world.manager.counts().low_redundancy, 0);
}

#[test]
fn a_copy_is_ordered_anew_when_the_node_that_was_to_make_it_dies() {
    let mut world = one_copy_missing();
    let source = (0..2).find(|&node| !copies(&mut world, node).is_empty()).unwrap();
    world.manager.node_died(world.nodes[source]);
    world.tick();
    assert_eq!(copies(&mut world, 1 - source), [1]);
}

#[test]
fn a_copy_is_ordered_anew_when_the_node_it_was_to_go_to_dies_or_registers_again() {
    let mut world = one_copy_missing();
    let ordered: Vec<i64> = (0..2).flat_map(|node| copies(&mut world, node)).collect();
    assert_eq!(ordered, [1]);
    world.register(2);
    world.tick();
    let ordered: Vec<i64> = (0..2).flat_map(|node| copies(&mut world, node)).collect();
    assert_eq!(ordered, [1]);
    world.manager.node_died(world.nodes[2]);
    assert_eq!(world.manager.counts().pending_reconstruction, 0);
    world.register(3);
    world.tick();
    let ordered: Vec<i64> = (0..2).flat_map(|node| copies(&mut world, node)).collect();
    assert_eq!(ordered, [1]);
}

#[test]
fn each_datanode_of_the_writers_host_gets_first_replicas() {
    let mut world = World::new(1);
    world.start_active();
    // Another one on the same host, at another port.
    let id = DatanodeIdProto {
        ip_addr: "10.0.0.0".to_owned(),
        host_name: "dn0".to_owned(),
        datanode_uuid: "uuid-1".to_owned(),
        xfer_port: 9867,
        ..DatanodeIdProto::default()
    };
    let other = world.manager.register(id, "3.5.0", at(world.now)).unwrap();
    world.nodes.push(other);
    world.heartbeat(1);
    let request = PlacementRequest {
        count: 1,
        writer: Some("dn0"),
        block_size: 1,
        ..PlacementRequest::default()
    };
    let now = at(world.now);
    let chosen: std::collections::BTreeSet<_> = (0..20)
        .flat_map(|_| world.manager.choose_targets(&request, now).unwrap())
        .collect();
    assert_eq!(chosen.len(), 2);
}

#[test]
fn a_busy_node_gets_a_replica_only_when_there_is_no_other_one() {
    let mut world = World::new(3);
    world.start_active();
    let busy = HeartbeatStats {
        xceivers: 8,
        ..world.stats(0)
    };
    world.manager.heartbeat(world.nodes[0], busy, at(world.now));
    let request = PlacementRequest {
        count: 3,
        writer: Some("dn0"),
        block_size: 1,
        ..PlacementRequest::default()
    };
    let chosen = |world: &mut World, request: &PlacementRequest<'_>| {
        let now = at(world.now);
        world.manager.choose_targets(request, now).unwrap().len()
    };
    assert_eq!(chosen(&mut world, &request), 3);
    let local = world.manager.find_storage("uuid-0", "DS-0").unwrap();
    let few = PlacementRequest { count: 2, ..request };
    for _ in 0..20 {
        let targets = world.manager.choose_targets(&few, at(world.now)).unwrap();
        assert!(targets.len() == 2 && !targets.contains(&local), "{targets:?}");
    }
    // One that may not be used at all stays out.
    let out = [world.nodes[0]];
    let without = PlacementRequest {
        count: 3,
        excluded: &out,
        ..few
    };
    assert_eq!(chosen(&mut world, &without), 2);
}

/// Registers nodes, and the block on the first two of them, all on one rack.
fn two_replicas_on_one_rack() -> World {
    let mut world = World::new(4);
    world.start_active();
    world.manager.add_block(new_block(1, 2, BlockState::Complete));
    world.received(0, block(1));
    world.received(1, block(1));
    world.settle();
    world.tick();
    assert_eq!(world.manager.counts().badly_distributed, 0, "there is one rack");
    world
}

#[test]
fn a_second_rack_makes_the_blocks_of_the_first_one_misreplicated() {
    let mut moved = two_replicas_on_one_rack();
    moved.manager.set_rack("10.0.0.3", "/b");
    assert_eq!(moved.manager.datanode(moved.nodes[3]).unwrap().location, "/b");
    let mut came = two_replicas_on_one_rack();
    came.manager.set_rack("10.0.0.4", "/b");
    came.register(4);
    for (mut world, target) in [(moved, 3), (came, 4)] {
        world.tick();
        assert_eq!(world.manager.counts().pending_reconstruction, 1);
        world.settle();
        world.received(target, block(1));
        world.tick();
        assert_eq!(world.manager.counts().badly_distributed, 0);
        assert_eq!(world.manager.count_replicas(block(1).id).live, 2);
        assert!(world.held(target).contains(&block(1)));
    }
}

#[test]
fn a_block_waits_for_no_second_rack_that_has_gone() {
    let mut world = two_replicas_on_one_rack();
    world.manager.set_rack("10.0.0.3", "/b");
    world.manager.set_rack("10.0.0.3", DEFAULT_RACK);
    world.tick();
    world.tick();
    assert_eq!(world.manager.counts().badly_distributed, 0);
}

#[test]
fn a_copy_goes_to_the_kind_of_storage_that_the_policy_asks_for() {
    const ONE_SSD: PolicyTypes = PolicyTypes {
        creation: &[StorageTypeProto::Ssd, StorageTypeProto::Disk],
        fallback: &[StorageTypeProto::Ssd, StorageTypeProto::Disk],
    };
    for round in 0..10 {
        let mut world = World::new(8);
        world.start_active();
        world.manager.add_block(new_block(1, 3, BlockState::Complete));
        // Two of three are there; in even rounds the one on SSD is missing.
        let there = if round % 2 == 0 { [2, 3] } else { [0, 3] };
        for node in there {
            world.received(node, block(1));
        }
        for node in 0..2 {
            let mut stats = world.stats(node);
            stats.reports[0].storage_type = StorageTypeProto::Ssd;
            world.manager.heartbeat(world.nodes[node], stats, at(world.now));
        }
        world.now += 3000;
        let now = at(world.now);
        while world.manager.redundancy_tick_by_policy(now, 100, &|_| ONE_SSD) {}
        let commands: Vec<_> = there.iter().flat_map(|&node| world.commands(node)).collect();
        let target = &commands[0].blk_cmd.as_ref().unwrap().targets[0].datanodes[0];
        let on_ssd = ["uuid-0", "uuid-1"].contains(&target.id.datanode_uuid.as_str());
        assert_eq!(on_ssd, round % 2 == 0, "round {round}: {}", target.id.datanode_uuid);
    }
}
