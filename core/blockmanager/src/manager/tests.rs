//! Whole stories: reports in, map and commands out.

use crate::*;
use bytes::Bytes;
use hathi_formats::block_list::BlockListBuilder;
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};
use hathi_formats::proto::datanode::block_command_proto::Action;
use hathi_formats::proto::datanode::datanode_command_proto::Type as CommandType;
use hathi_formats::proto::datanode::{DatanodeCommandProto, StorageBlockReportProto};
use hathi_formats::proto::hdfs::{DatanodeIdProto, DatanodeStorageProto, StorageTypeProto};

mod broken;
mod caching;
mod model;
mod nodes;
mod safety;
mod striped;

const BASE: i64 = 1 << 30;
const POOL: &str = "BP-1";

fn at(ms: u64) -> Now {
    Now {
        monotonic_ms: ms,
        wall_ms: 1_000_000 + ms,
    }
}

fn block(n: i64) -> Block {
    Block {
        id: BlockId(BASE + n),
        num_bytes: 100,
        generation_stamp: GenerationStamp(1001),
    }
}

fn new_block(n: i64, replication: u16, state: BlockState) -> NewBlock {
    NewBlock {
        block: block(n),
        inode: InodeId(16386 + n as u64),
        layout: BlockLayout::Replicas(replication),
        state,
    }
}

fn storage_proto(node: usize) -> DatanodeStorageProto {
    DatanodeStorageProto {
        storage_uuid: format!("DS-{node}"),
        state: None,
        storage_type: None,
    }
}

fn full_report(node: usize, replicas: &[(Block, ReplicaState)], chunk: usize) -> StorageBlockReportProto {
    let mut list = BlockListBuilder::default();
    for (block, state) in replicas {
        list.add(*block, *state);
    }
    let (count, buffers) = list.finish();
    let bytes = buffers.concat();
    StorageBlockReportProto {
        storage: storage_proto(node),
        blocks: Vec::new(),
        number_of_blocks: Some(count),
        blocks_buffers: bytes.chunks(chunk.max(1)).map(Bytes::copy_from_slice).collect(),
    }
}

struct World {
    manager: BlockManager,
    nodes: Vec<DatanodeIndex>,
    now: u64,
}

impl World {
    fn new(nodes: usize) -> World {
        World::with(
            nodes,
            BlockManagerConfig {
                safemode_extension_ms: 0,
                ..BlockManagerConfig::default()
            },
        )
    }

    fn with(nodes: usize, config: BlockManagerConfig) -> World {
        let mut manager = BlockManager::new(config);
        manager.set_generation_stamp(GenerationStamp(1001));
        let mut world = World {
            manager,
            nodes: Vec::new(),
            now: 1000,
        };
        for node in 0..nodes {
            world.register(node);
        }
        world
    }

    fn register(&mut self, node: usize) {
        let id = DatanodeIdProto {
            ip_addr: format!("10.0.0.{node}"),
            host_name: format!("dn{node}"),
            datanode_uuid: format!("uuid-{node}"),
            xfer_port: 9866,
            ..DatanodeIdProto::default()
        };
        let index = self.manager.register(id, "3.5.0", at(self.now)).unwrap();
        if node == self.nodes.len() {
            self.nodes.push(index);
        }
        assert_eq!(self.nodes[node], index);
        self.heartbeat(node);
    }

    fn stats(&self, node: usize) -> HeartbeatStats {
        HeartbeatStats {
            reports: vec![StorageReport {
                uuid: format!("DS-{node}"),
                storage_type: StorageTypeProto::Disk,
                read_only: false,
                failed: false,
                capacity: 1 << 40,
                dfs_used: 0,
                remaining: (1 << 40) - node as u64,
                block_pool_used: 0,
                non_dfs_used: 0,
            }],
            xceivers: 1,
            ..HeartbeatStats::default()
        }
    }

    fn heartbeat(&mut self, node: usize) {
        let stats = self.stats(node);
        self.manager.heartbeat(self.nodes[node], stats, at(self.now));
    }

    fn full(&mut self, node: usize, replicas: &[(Block, ReplicaState)]) {
        let report = full_report(node, replicas, 1 << 16);
        let Some(mut report) = self.manager.begin_report(self.nodes[node], report).unwrap() else {
            return;
        };
        while self.manager.report_slice(&mut report, 1000, at(self.now)).unwrap() == ReportProgress::More {}
    }

    fn tell(&mut self, node: usize, block: Block, notice: IncrementalNotice) {
        self.manager.incremental_report(
            self.nodes[node],
            &storage_proto(node),
            block,
            notice,
            None,
            at(self.now),
        );
    }

    fn begin_recovery(&mut self, id: u64) -> bool {
        let now = at(self.now);
        self.manager.begin_recovery(block(1).id, GenerationStamp(id), None, now)
    }

    fn received(&mut self, node: usize, block: Block) {
        self.tell(node, block, IncrementalNotice::Received);
    }

    fn start_active(&mut self) {
        self.manager.activate_safe_mode(at(self.now));
        self.manager.start_active(at(self.now));
    }

    /// Every node heartbeats and reports what it is known to have: storages are sure again.
    fn settle(&mut self) {
        for node in 0..self.nodes.len() {
            self.heartbeat(node);
            let held: Vec<_> = self
                .held(node)
                .into_iter()
                .map(|block| (block, ReplicaState::Finalized))
                .collect();
            self.full(node, &held);
        }
    }

    fn held(&self, node: usize) -> Vec<Block> {
        let Some(storage) = self
            .manager
            .find_storage(&format!("uuid-{node}"), &format!("DS-{node}"))
        else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut next = self.manager.blocks.next(BlockId(i64::MIN));
        while let Some(id) = next {
            if self.manager.replicas_of(id).contains(&storage) {
                found.push(self.manager.block(id).unwrap().block);
            }
            next = self.manager.blocks.next(BlockId(id.0 + 1));
        }
        found
    }

    fn commands(&mut self, node: usize) -> Vec<DatanodeCommandProto> {
        self.manager.take_commands(self.nodes[node], POOL, at(self.now))
    }

    fn deletions(&mut self, node: usize) -> Vec<i64> {
        self.ordered(node, Action::Invalidate)
    }

    fn transfers(&mut self, node: usize) -> Vec<i64> {
        self.ordered(node, Action::Transfer)
    }

    fn ordered(&mut self, node: usize, action: Action) -> Vec<i64> {
        self.commands(node)
            .iter()
            .filter_map(|command| command.blk_cmd.as_ref())
            .filter(|command| command.action() == action)
            .flat_map(|command| {
                command
                    .blocks
                    .iter()
                    .map(|block| (block.block_id as i64).wrapping_sub(BASE))
            })
            .collect()
    }

    fn tick(&mut self) {
        self.now += 3000;
        while self.manager.heartbeat_check(at(self.now), 100) {}
        while self.manager.redundancy_tick(at(self.now), 100) {}
        self.manager.check();
    }
}

#[test]
fn a_write_from_allocation_to_close() {
    let mut world = World::new(3);
    world.start_active();
    assert!(!world.manager.in_safe_mode());
    let request = PlacementRequest {
        count: 3,
        writer: Some("dn1"),
        block_size: 1 << 20,
        ..PlacementRequest::default()
    };
    let targets = world.manager.choose_targets(&request, at(1000)).unwrap();
    assert_eq!(targets.len(), 3);
    assert_eq!(world.manager.storage(targets[0]).unwrap().uuid, "DS-1");
    world.manager.add_block(new_block(1, 3, BlockState::UnderConstruction));
    world.manager.set_expected_locations(block(1).id, &targets);
    let located = world.manager.located_block(POOL, block(1), 0, Some("10.0.0.1"));
    assert_eq!((located.locs.len(), located.locs[0].id.host_name.as_str()), (3, "dn1"));
    for node in 0..3 {
        world.tell(
            node,
            Block {
                num_bytes: 0,
                ..block(1)
            },
            IncrementalNotice::Receiving,
        );
    }
    assert!(!world.manager.has_min_replicas(block(1).id));
    world.received(0, block(1));
    assert!(world.manager.has_min_replicas(block(1).id));
    assert!(world.manager.commit_block(block(1)));
    // The other two are about to come: nothing is replicated in their place.
    assert_eq!(world.manager.counts().low_redundancy, 0);
    assert_eq!(world.manager.counts().pending_reconstruction, 1);
    world.received(1, block(1));
    world.received(2, block(1));
    assert_eq!(world.manager.counts().pending_reconstruction, 0);
    assert_eq!(world.manager.count_replicas(block(1).id).live, 3);
    world.manager.check();
}

#[test]
fn what_is_not_written_after_all_takes_no_room() {
    let mut world = World::new(3);
    world.start_active();
    let scheduled = |world: &World| {
        let nodes = world.nodes.iter();
        nodes
            .map(|&node| world.manager.datanode(node).unwrap().blocks_scheduled())
            .collect::<Vec<_>>()
    };
    let targets = [0, 1, 2].map(|n| {
        let (node, storage) = (format!("uuid-{n}"), format!("DS-{n}"));
        world.manager.find_storage(&node, &storage).unwrap()
    });
    let id = block(1).id;
    world.manager.add_block(new_block(1, 3, BlockState::UnderConstruction));
    world.manager.set_expected_locations(id, &targets);
    assert_eq!(scheduled(&world), [1, 1, 1]);
    // One of the pipeline is gone.
    world.manager.set_expected_locations(id, &targets[..2]);
    assert_eq!(scheduled(&world), [1, 1, 0]);
    world.received(0, block(1));
    assert_eq!(scheduled(&world), [0, 1, 0]);
    // The writer gives the block up.
    world.manager.remove_block(id);
    assert_eq!(scheduled(&world), [0, 0, 0]);
}

#[test]
fn a_committed_block_is_complete_with_its_first_replica() {
    let mut world = World::new(1);
    world.start_active();
    world.manager.add_block(new_block(1, 1, BlockState::UnderConstruction));
    assert!(!world.manager.commit_block(block(1)));
    assert_eq!(world.manager.block(block(1).id).unwrap().state, BlockState::Committed);
    world.received(0, block(1));
    assert!(world.manager.is_complete(block(1).id));
    world.manager.check();
}

#[test]
fn a_standby_that_takes_over_in_the_extension_serves_and_copies_nothing_yet() {
    let mut world = World::with(1, BlockManagerConfig::default());
    for n in 1..=3 {
        world.manager.add_block(new_block(n, 2, BlockState::Complete));
    }
    world.manager.activate_safe_mode(at(world.now));
    world.full(0, &[1, 2, 3].map(|n| (block(n), ReplicaState::Finalized)));
    assert_eq!(world.manager.safe_mode_status(), SafeModeStatus::Extension);
    assert!(!world.manager.would_be_in_safe_mode());
    world.manager.start_active(at(world.now));
    assert!(world.manager.in_safe_mode());
    world.manager.take_over();
    assert!(!world.manager.in_safe_mode());
    world.register(1);
    for _ in 0..9 {
        world.tick();
        world.heartbeat(0);
        world.heartbeat(1);
        assert_eq!(world.manager.counts().pending_reconstruction, 0);
    }
    world.tick();
    assert_eq!(world.manager.counts().pending_reconstruction, 3);
}

#[test]
fn safe_mode_ends_with_the_last_report() {
    let mut world = World::new(0);
    for n in 1..=3 {
        world.manager.add_block(new_block(n, 2, BlockState::Complete));
    }
    world.start_active();
    assert!(world.manager.in_startup_safe_mode());
    assert!(
        world
            .manager
            .safe_mode_tip()
            .contains("The reported blocks 0 needs additional 2 blocks")
    );
    world.register(0);
    world.full(0, &[(block(1), ReplicaState::Finalized)]);
    assert!(world.manager.in_safe_mode());
    assert!(world.commands(0).is_empty());
    world.register(1);
    world.full(
        1,
        &[(block(2), ReplicaState::Finalized), (block(3), ReplicaState::Finalized)],
    );
    assert!(!world.manager.in_safe_mode());
    world.tick();
    assert_eq!(world.manager.counts().missing, 0);
    assert_eq!(world.manager.counts().pending_reconstruction, 3);
}

#[test]
fn the_second_full_report_is_dropped_in_startup() {
    let mut world = World::new(1);
    for n in 1..=3 {
        world.manager.add_block(new_block(n, 1, BlockState::Complete));
    }
    world.start_active();
    world.full(0, &[(block(1), ReplicaState::Finalized)]);
    let again = full_report(0, &[], 10);
    assert!(world.manager.begin_report(world.nodes[0], again).unwrap().is_none());
}

#[test]
fn a_dead_node_is_replaced() {
    let mut world = World::new(3);
    world.manager.add_block(new_block(1, 2, BlockState::Complete));
    world.received(0, block(1));
    world.received(1, block(1));
    world.start_active();
    world.tick();
    assert!(world.commands(1).is_empty());
    world.now += 700_000;
    world.heartbeat(1);
    world.heartbeat(2);
    world.tick();
    assert!(world.manager.datanode_by_uuid("uuid-0").is_err());
    assert_eq!(world.manager.count_replicas(block(1).id).live, 1);
    let commands = world.commands(1);
    let order = commands[0].blk_cmd.as_ref().unwrap();
    assert_eq!(order.targets[0].datanodes[0].id.datanode_uuid, "uuid-2");
    assert_eq!(order.target_storage_uuids[0].storage_uuids, ["DS-2"]);
    world.received(2, block(1));
    world.tick();
    assert_eq!(world.manager.counts().low_redundancy, 0);
    assert_eq!(world.manager.counts().dead_datanodes, 1);
    // It comes back with its replica: one is too many, and goes, once all are sure of what they have.
    world.register(0);
    world.full(0, &[(block(1), ReplicaState::Finalized)]);
    world.settle();
    world.tick();
    let deleted: Vec<_> = (0..3).flat_map(|node| world.deletions(node)).collect();
    assert_eq!(deleted, [1]);
    world.manager.check();
}

#[test]
fn nothing_is_deleted_before_every_holder_reported_after_a_failover() {
    let mut world = World::new(3);
    world.manager.add_block(new_block(1, 1, BlockState::Complete));
    for node in 0..3 {
        world.heartbeat(node);
        world.full(node, &[(block(1), ReplicaState::Finalized)]);
    }
    world.start_active();
    world.tick();
    assert_eq!(world.manager.counts().postponed, 1);
    for node in 0..2 {
        world.heartbeat(node);
        world.full(node, &[(block(1), ReplicaState::Finalized)]);
        world.tick();
        assert!(
            (0..3).all(|node| world.deletions(node).is_empty()),
            "deleted although node 2 is not sure"
        );
    }
    // A report without a heartbeat of this role does not count either.
    world.full(2, &[(block(1), ReplicaState::Finalized)]);
    world.tick();
    assert!((0..3).all(|node| world.deletions(node).is_empty()));
    world.heartbeat(2);
    world.full(2, &[(block(1), ReplicaState::Finalized)]);
    world.tick();
    // Node 2 is the fullest, then node 1.
    assert_eq!(
        (world.deletions(0), world.deletions(1), world.deletions(2)),
        (vec![], vec![1], vec![1])
    );
    world.tell(1, block(1), IncrementalNotice::Deleted);
    world.tell(2, block(1), IncrementalNotice::Deleted);
    world.tick();
    assert_eq!(
        world.manager.count_replicas(block(1).id),
        NumberReplicas {
            live: 1,
            ..NumberReplicas::default()
        }
    );
}

#[test]
fn a_report_that_spans_a_failover_does_not_vouch() {
    let mut world = World::new(1);
    world.manager.add_block(new_block(1, 1, BlockState::Complete));
    let report = full_report(0, &[(block(1), ReplicaState::Finalized)], 100);
    let mut report = world.manager.begin_report(world.nodes[0], report).unwrap().unwrap();
    world.start_active();
    while world.manager.report_slice(&mut report, 1, at(2000)).unwrap() == ReportProgress::More {}
    assert!(world.manager.has_stale_storages(world.nodes[0]));
    assert_eq!(world.manager.count_replicas(block(1).id).live, 1);
}

#[test]
fn a_removed_block_is_deleted_where_it_was() {
    let mut world = World::new(2);
    world.start_active();
    world.manager.add_block(new_block(1, 2, BlockState::Complete));
    world.received(0, block(1));
    world.received(1, block(1));
    world.manager.remove_block(block(1).id);
    assert_eq!(world.manager.counts().pending_deletion, 2);
    assert_eq!((world.deletions(0), world.deletions(1)), (vec![1], vec![1]));
    // A late report of it is answered with a deletion again; one of the future is not.
    world.received(0, block(1));
    let future = Block {
        generation_stamp: GenerationStamp(5000),
        ..block(2)
    };
    world.received(0, future);
    assert_eq!(world.deletions(0), [1]);
    world.manager.check();
}

#[test]
fn nothing_is_deleted_before_the_delay_after_the_start_is_over() {
    let config = BlockManagerConfig {
        safemode_extension_ms: 0,
        startup_delay_deletion_ms: 60_000,
        ..BlockManagerConfig::default()
    };
    let mut world = World::with(1, config);
    world.start_active();
    world.manager.add_block(new_block(1, 1, BlockState::Complete));
    world.received(0, block(1));
    world.manager.remove_block(block(1).id);
    let started = world.now;
    world.now = started + 59_999;
    assert!(world.deletions(0).is_empty());
    assert_eq!(world.manager.counts().pending_deletion, 1, "it is not forgotten");
    world.now = started + 60_000;
    assert_eq!(world.deletions(0), [1]);
}

#[test]
fn replicas_of_the_future_keep_safe_mode_on_whatever_their_lengths_come_to() {
    let mut world = World::new(1);
    // Of two blocks one is waited for.
    for n in [1, 4] {
        world.manager.add_block(new_block(n, 1, BlockState::Complete));
    }
    world.start_active();
    for n in [2, 3] {
        let future = Block {
            generation_stamp: GenerationStamp(5000),
            num_bytes: 1 << 63,
            ..block(n)
        };
        world.received(0, future);
    }
    world.received(0, block(1));
    world.tick();
    assert!(world.manager.in_safe_mode(), "an administrator is waited for");
}

#[test]
fn replicas_that_do_not_fit_are_corrupt() {
    let fresh = |replica: Block, state: ReplicaState| {
        let mut world = World::new(3);
        world.start_active();
        world.manager.add_block(new_block(1, 3, BlockState::Complete));
        world.settle();
        world.received(0, block(1));
        world.full(1, &[(replica, state)]);
        world.manager.check();
        (world.manager.count_replicas(block(1).id), world.deletions(1))
    };
    let live = |live, corrupt| NumberReplicas {
        live,
        corrupt,
        ..NumberReplicas::default()
    };
    assert_eq!(fresh(block(1), ReplicaState::Finalized), (live(2, 0), vec![]));
    // Another length: kept as corrupt while there are too few.
    assert_eq!(
        fresh(
            Block {
                num_bytes: 7,
                ..block(1)
            },
            ReplicaState::Finalized
        ),
        (live(1, 1), vec![])
    );
    // Another stamp: torn while it was written, deleted at once because the block has its minimum.
    let old = Block {
        generation_stamp: GenerationStamp(999),
        ..block(1)
    };
    assert_eq!(fresh(old, ReplicaState::Finalized), (live(1, 0), vec![1]));
    assert_eq!(fresh(old, ReplicaState::Rbw), (live(1, 0), vec![1]));
    assert_eq!(fresh(block(1), ReplicaState::Rbw), (live(1, 0), vec![]));
    assert_eq!(fresh(block(1), ReplicaState::Rwr), (live(1, 1), vec![]));
}

#[test]
fn a_bad_replica_is_replaced_and_then_deleted() {
    let mut world = World::new(3);
    world.start_active();
    world.manager.add_block(new_block(1, 2, BlockState::Complete));
    world.received(0, block(1));
    world.received(1, block(1));
    world.settle();
    world.manager.mark_corrupt(block(1), world.nodes[0]).unwrap();
    assert_eq!(world.manager.counts().corrupt, 1);
    let located = world.manager.located_block(POOL, block(1), 0, None);
    assert_eq!((located.locs.len(), located.corrupt), (1, false));
    world.tick();
    assert_eq!(
        world.commands(1)[0].blk_cmd.as_ref().unwrap().targets[0].datanodes[0]
            .id
            .host_name,
        "dn2"
    );
    world.received(2, block(1));
    assert_eq!(world.deletions(0), [1]);
    world.tell(0, block(1), IncrementalNotice::Deleted);
    assert_eq!(world.manager.counts().corrupt, 0);
    world.manager.check();
}

#[test]
fn all_replicas_bad_are_shown_as_corrupt() {
    let mut world = World::new(1);
    world.start_active();
    world.manager.add_block(new_block(1, 1, BlockState::Complete));
    world.received(0, block(1));
    world.manager.mark_corrupt(block(1), world.nodes[0]).unwrap();
    let located = world.manager.located_block(POOL, block(1), 0, None);
    assert_eq!((located.locs.len(), located.corrupt), (1, true));
    assert_eq!(world.manager.corrupt_blocks(None, 10), [(block(1).id, InodeId(16387))]);
    assert_eq!(world.manager.counts().missing_replication_one, 1);
    assert!(world.manager.corrupt_blocks(Some(block(1).id), 10).is_empty());
}

#[test]
fn a_standby_keeps_messages_from_the_future() {
    let mut world = World::new(2);
    world.manager.activate_safe_mode(at(0));
    // A block whose stamp the edits have told already, but not the block itself.
    world.manager.set_generation_stamp(GenerationStamp(1002));
    let coming = Block {
        generation_stamp: GenerationStamp(1002),
        ..block(5)
    };
    world.tell(0, Block { num_bytes: 0, ..coming }, IncrementalNotice::Receiving);
    world.received(0, coming);
    let later = Block {
        generation_stamp: GenerationStamp(1003),
        ..coming
    };
    world.received(1, later);
    assert_eq!(world.manager.counts().pending_datanode_messages, 3);
    world.manager.add_block(NewBlock {
        block: Block { num_bytes: 0, ..coming },
        inode: InodeId(20000),
        layout: BlockLayout::Replicas(1),
        state: BlockState::UnderConstruction,
    });
    // The third still waits for its stamp.
    assert_eq!(world.manager.counts().pending_datanode_messages, 1);
    assert_eq!(world.manager.count_replicas(coming.id).live, 1);
    world.manager.set_generation_stamp(GenerationStamp(1003));
    world.manager.update_block(later);
    assert_eq!(world.manager.counts().pending_datanode_messages, 0);
    world.manager.complete_block(later);
    assert_eq!(
        world.manager.replicas_of(later.id).len(),
        1,
        "the replica of the old stamp is gone"
    );
    world.manager.check();
}

#[test]
fn what_a_standby_set_aside_is_judged_at_activation() {
    let mut world = World::new(2);
    world.manager.add_block(new_block(1, 1, BlockState::Complete));
    world.received(0, block(1));
    let wrong = Block {
        num_bytes: 5,
        ..block(1)
    };
    world.received(1, wrong);
    assert_eq!(world.manager.count_replicas(block(1).id).corrupt, 0);
    assert_eq!(world.manager.counts().pending_datanode_messages, 1);
    world.start_active();
    assert_eq!(world.manager.count_replicas(block(1).id).corrupt, 1);
    assert_eq!(world.manager.counts().pending_datanode_messages, 0);
    world.manager.check();
}

#[test]
fn a_deletion_from_the_future_is_kept_too() {
    let mut world = World::new(1);
    let coming = block(9);
    world.received(0, coming);
    world.tell(0, coming, IncrementalNotice::Deleted);
    world.manager.add_block(new_block(9, 1, BlockState::UnderConstruction));
    assert_eq!(world.manager.count_replicas(coming.id).live, 0);
    assert_eq!(world.manager.counts().pending_datanode_messages, 0);
}

#[test]
fn a_recovery_goes_to_the_node_heard_of_last_and_then_to_the_next() {
    let mut world = World::new(3);
    world.start_active();
    world.manager.add_block(new_block(1, 3, BlockState::UnderConstruction));
    for node in 0..3 {
        world.tell(node, block(1), IncrementalNotice::Receiving);
    }
    world.now += 10;
    world.heartbeat(1);
    assert!(
        world
            .manager
            .begin_recovery(block(1).id, GenerationStamp(1002), None, at(world.now))
    );
    assert!(world.commands(0).is_empty());
    let commands = world.commands(1);
    assert_eq!(commands[0].cmd_type, CommandType::BlockRecoveryCommand as i32);
    let recovering = &commands[0].recovery_cmd.as_ref().unwrap().blocks[0];
    assert_eq!((recovering.new_gen_stamp, recovering.block.locs.len()), (1002, 3));
    assert!(world.commands(1).is_empty());
    world.now += 90_001;
    for node in 0..3 {
        world.heartbeat(node);
    }
    assert!(world.manager.recovery(block(1).id).is_some());
    world.manager.heartbeat_check(at(world.now), 1);
    assert_eq!(world.manager.recovery(block(1).id), None);
    world
        .manager
        .begin_recovery(block(1).id, GenerationStamp(1003), None, at(world.now));
    assert!(world.commands(1).is_empty());
    assert_eq!(world.manager.recovery(block(1).id), Some((GenerationStamp(1003), None)));
    let agreed = Block {
        num_bytes: 64,
        generation_stamp: GenerationStamp(1003),
        ..block(1)
    };
    let on = [world.manager.find_storage("uuid-2", "DS-2").unwrap()];
    world.manager.set_generation_stamp(GenerationStamp(1003));
    world.manager.recovered(agreed, &on);
    assert!(world.manager.commit_block(agreed));
    assert_eq!(world.manager.replicas_of(agreed.id), on);
    world.manager.check();
}

#[test]
fn a_truncated_report_is_refused_and_removes_nothing() {
    let mut world = World::new(1);
    world.manager.add_block(new_block(1, 1, BlockState::Complete));
    world.manager.add_block(new_block(2, 1, BlockState::Complete));
    world.received(0, block(1));
    let mut report = full_report(0, &[(block(2), ReplicaState::Finalized)], 100);
    report.number_of_blocks = Some(2);
    let mut report = world.manager.begin_report(world.nodes[0], report).unwrap().unwrap();
    assert!(world.manager.report_slice(&mut report, 10, at(0)).is_err());
    assert_eq!(world.held(0), [block(1), block(2)]);
    assert_eq!(
        world.manager.report_slice(&mut report, 10, at(0)),
        Ok(ReportProgress::Done)
    );
}

#[test]
fn a_node_with_a_new_uuid_takes_the_place_of_the_old() {
    let mut world = World::new(1);
    let id = DatanodeIdProto {
        ip_addr: "10.0.0.0".to_owned(),
        host_name: "dn0".to_owned(),
        datanode_uuid: "other".to_owned(),
        xfer_port: 9866,
        ..DatanodeIdProto::default()
    };
    world.manager.register(id, "3.5.0", at(0)).unwrap();
    assert!(world.manager.datanode_by_uuid("uuid-0").is_err());
    assert!(world.manager.datanode_by_uuid("other").is_ok());
}

#[test]
fn memory_of_a_block_with_three_replicas() {
    let mut world = World::new(9);
    let count = 100_000i64;
    for n in 1..=count {
        world.manager.add_block(new_block(n, 3, BlockState::Complete));
    }
    for node in 0..9usize {
        let held: Vec<_> = (1..=count)
            .filter(|n| (0..3).any(|copy| (*n as usize * 7 + copy * 3) % 9 == node))
            .map(|n| (block(n), ReplicaState::Finalized))
            .collect();
        world.full(node, &held);
    }
    assert_eq!(world.manager.counts().safe_blocks, count as u64);
    let bytes = world.manager.heap_bytes() as f64 / count as f64;
    assert!(bytes < 45.0, "{bytes} bytes per block");
}
