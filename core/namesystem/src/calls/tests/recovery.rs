//! Who ends the lease of a silent writer loses nothing: truncates, hflushed bytes, committed lengths.

use super::datanode::{dn, from, heartbeat, notices, put_varint, raw_dn, register, registration};
use super::*;
use crate::monitor::check_leases;
use hathi_formats::editlog::EditOp;
use hathi_formats::fsimage::Image;
use hathi_formats::proto::datanode::received_deleted_block_info_proto::BlockStatus;
use hathi_formats::proto::datanode::*;

const FINALIZED: u64 = 0;
const RBW: u64 = 1;
const RWR: u64 = 2;

fn at(ms: u64) -> CallContext {
    CallContext {
        now_ms: NOW.wall_ms + ms,
        mono_ms: NOW.monotonic_ms + ms,
        ..hdfs()
    }
}

fn later(ms: u64) -> Now {
    Now {
        monotonic_ms: NOW.monotonic_ms + ms,
        wall_ms: NOW.wall_ms + ms,
    }
}

/// A full report of a node with one volume: blocks with their length and state.
fn full_report(ns: &mut Namesystem, node: u32, replicas: &[(&ExtendedBlockProto, u64, u64)]) {
    let mut bytes = Vec::new();
    for (block, length, state) in replicas {
        for value in [block.block_id << 1, *length, block.generation_stamp, *state] {
            put_varint(&mut bytes, value);
        }
    }
    let request = BlockReportRequestProto {
        registration: registration(node),
        block_pool_id: POOL.to_owned(),
        reports: vec![StorageBlockReportProto {
            storage: DatanodeStorageProto {
                storage_uuid: format!("DS-{node}"),
                ..Default::default()
            },
            blocks: Vec::new(),
            number_of_blocks: Some(replicas.len() as u64),
            blocks_buffers: vec![bytes.into()],
        }],
        context: None,
    };
    dn::<BlockReportResponseProto>(ns, node, "blockReport", &request).unwrap();
}

/// A node that registers and says what it has.
fn arrive(ns: &mut Namesystem, node: u32, replicas: &[(&ExtendedBlockProto, u64, u64)]) {
    register(ns, node);
    full_report(ns, node, replicas);
}

fn tell(ns: &mut Namesystem, node: u32, block: &ExtendedBlockProto, length: u64, status: BlockStatus) {
    let told = BlockProto {
        block_id: block.block_id,
        gen_stamp: block.generation_stamp,
        num_bytes: Some(length),
    };
    let told = notices(node, told, status);
    dn::<BlockReceivedAndDeletedResponseProto>(ns, node, "blockReceivedAndDeleted", &told).unwrap();
}

fn recover_lease(ns: &mut Namesystem, ctx: &CallContext, src: &str) -> bool {
    let request = RecoverLeaseRequestProto {
        src: src.to_owned(),
        client_name: "DFSClient_2".to_owned(),
    };
    let answer = call(ns, ctx, &request).unwrap();
    answer.result
}

/// The recovery that one of these nodes is told of with its next heartbeat.
fn order(ns: &mut Namesystem, nodes: std::ops::Range<u32>) -> Option<RecoveringBlockProto> {
    let mut orders: Vec<RecoveringBlockProto> = nodes
        .flat_map(|node| {
            let answer: HeartbeatResponseProto = dn(ns, node, "sendHeartbeat", &heartbeat(node)).unwrap();
            answer.cmds
        })
        .filter_map(|command| command.recovery_cmd)
        .flat_map(|command| command.blocks)
        .collect();
    assert!(orders.len() < 2, "one primary");
    orders.pop()
}

fn agreed(order: &RecoveringBlockProto, new_length: u64, nodes: &[u32]) -> CommitBlockSynchronizationRequestProto {
    CommitBlockSynchronizationRequestProto {
        block: order.block.b.clone(),
        new_gen_stamp: order.new_gen_stamp,
        new_length,
        close_file: true,
        delete_block: false,
        new_taragets: nodes.iter().map(|node| registration(*node).datanode_id).collect(),
        new_target_storages: nodes.iter().map(|node| format!("DS-{node}")).collect(),
    }
}

fn synchronize(ns: &mut Namesystem, result: &CommitBlockSynchronizationRequestProto) -> Result<(), RemoteException> {
    dn::<CommitBlockSynchronizationResponseProto>(ns, 0, "commitBlockSynchronization", result).map(|_| ())
}

fn status(ns: &mut Namesystem, src: &str) -> (u64, bool) {
    let request = GetBlockLocationsRequestProto {
        src: src.to_owned(),
        offset: 0,
        length: 1 << 40,
    };
    let found = call(ns, &hdfs(), &request).unwrap();
    let found = found.locations.unwrap();
    let info = call(ns, &hdfs(), &file_info(src)).unwrap();
    (info.fs.unwrap().length, !found.under_construction)
}

/// An open file with one block, whose replicas are being written on these nodes.
fn open_file(ns: &mut Namesystem, src: &str, replication: u32) -> ExtendedBlockProto {
    let request = CreateRequestProto {
        replication,
        ..create(src)
    };
    call(ns, &hdfs(), &request).unwrap();
    let added = call(ns, &hdfs(), &add_block(src, None)).unwrap();
    added.block.b
}

/// A closed file of one block of 100 bytes on nodes 0 to 2.
fn closed_file(ns: &mut Namesystem, src: &str) -> ExtendedBlockProto {
    let block = open_file(ns, src, 3);
    for node in 0..3 {
        tell(ns, node, &block, 100, BlockStatus::Received);
    }
    let last = Some(of_length(&block, 100));
    let done = call(ns, &hdfs(), &complete(src, last)).unwrap();
    assert!(done.result);
    block
}

fn truncate(ns: &mut Namesystem, src: &str, new_length: u64) -> bool {
    let request = TruncateRequestProto {
        src: src.to_owned(),
        new_length,
        client_name: CLIENT.to_owned(),
    };
    let answer = call(ns, &hdfs(), &request).unwrap();
    answer.result
}

fn become_active(ns: &mut Namesystem, now: Now) {
    ns.begin_activation().unwrap();
    ns.start_active(now).unwrap();
    ns.leave_safe_mode(true, now);
}

/// A NameNode that was started from nothing but the log, and is active.
fn restarted(from: &mut Namesystem, before: Namesystem) -> Namesystem {
    let mut next = before;
    replay(from, &mut next);
    next.activate_safe_mode(NOW);
    become_active(&mut next, NOW);
    next
}

/// A standby that has read an image of this namespace, and no edits.
fn from_image(ns: &Namesystem) -> Namesystem {
    let txid = ns.namespace().last_applied_txid();
    let saved = ns.namespace().freeze();
    let (bytes, _) = saved
        .save(Vec::new(), LayoutVersion::NAMENODE_CURRENT, &|| false)
        .unwrap();
    let image = Image::open(&bytes[..]).unwrap();
    let loaded = hathi_namespace::image::load(hathi_namespace::NamespaceConfig::default(), &image).unwrap();
    assert_eq!(loaded.digest(), ns.namespace().digest());
    let empty = new_namesystem();
    let parts = NamesystemParts {
        config: empty.config.clone(),
        blockmanager: BlockManagerConfig::default(),
        retry_cache: RetryCacheOptions::default(),
        info: empty.info.clone(),
    };
    let mut next = assemble(parts, loaded, TxId(txid), Life::first());
    next.become_standby().unwrap();
    next
}

fn ops(ns: &mut Namesystem) -> Vec<EditOp> {
    let mut all = Vec::new();
    for item in sync(ns) {
        let LogItem::Edits { bytes, .. } = item else {
            continue;
        };
        for frame in Frames::new(&bytes, 0) {
            all.push(decode_frame(&frame.unwrap(), LayoutVersion::NAMENODE_CURRENT).unwrap());
        }
    }
    all
}

fn stamps(ops: &[EditOp]) -> usize {
    ops.iter()
        .filter(|op| matches!(op, EditOp::SetGenstampV2 { .. }))
        .count()
}

/// A truncate to 40 of 100 bytes that no DataNode has heard of.
fn truncated() -> (Namesystem, ExtendedBlockProto) {
    let mut ns = active();
    for node in 0..3 {
        register(&mut ns, node);
    }
    let block = closed_file(&mut ns, "/f");
    assert!(!truncate(&mut ns, "/f", 40));
    (ns, block)
}

/// DataNodes are told to cut to 40, and to nothing else, whoever asks.
fn expect_cut_to_40(ns: &mut Namesystem, ctx: &CallContext) {
    recover_lease(ns, ctx, "/f");
    let order = order(ns, 0..3).expect("no recovery was begun");
    let cut = order.truncate_block.as_ref().expect("the truncate is forgotten");
    assert_eq!(cut.num_bytes, Some(40));
    assert_eq!(cut.gen_stamp, order.new_gen_stamp, "as Java's DataNodes take it");
    let refused = synchronize(ns, &agreed(&order, 100, &[0, 1, 2])).unwrap_err();
    assert!(refused.is(exceptions::IO), "{refused}");
    let refused = CommitBlockSynchronizationRequestProto {
        delete_block: true,
        ..agreed(&order, 0, &[])
    };
    assert!(synchronize(ns, &refused).is_err());
    assert!(!status(ns, "/f").1);
    synchronize(ns, &agreed(&order, 40, &[0, 1, 2])).unwrap();
    assert_eq!(status(ns, "/f"), (40, true));
    ns.blockmanager().check();
    ns.namespace().check();
}

#[test]
fn safety_01_a_truncate_is_finished_after_a_failover() {
    let (mut ns, block) = truncated();
    let mut next = standby();
    replay(&mut ns, &mut next);
    for node in 0..3 {
        arrive(&mut next, node, &[(&block, 100, FINALIZED)]);
    }
    become_active(&mut next, NOW);
    expect_cut_to_40(&mut next, &hdfs());
}

#[test]
fn whoever_appends_after_a_truncate_is_left_alone() {
    let (mut ns, _) = truncated();
    expect_cut_to_40(&mut ns, &hdfs());
    let append = AppendRequestProto {
        src: "/f".to_owned(),
        client_name: "DFSClient_3".to_owned(),
        flag: None,
    };
    call(&mut ns, &hdfs(), &append).unwrap();
    let logged = ns.edit_log().applied();
    check_leases(&mut ns, later(2_000));
    assert_eq!(ns.edit_log().applied(), logged, "the writer's block got a new stamp");
    assert!(order(&mut ns, 0..3).is_none());
}

#[test]
fn safety_01_a_truncate_is_finished_after_its_attempt_expired() {
    let (mut ns, _) = truncated();
    assert!(order(&mut ns, 0..3).is_some());
    ns.heartbeat_check(later(90_001), 100);
    expect_cut_to_40(&mut ns, &at(90_001));
}

#[test]
fn safety_01_a_truncate_is_in_an_image_that_is_saved_before_its_end() {
    let (ns, block) = truncated();
    let mut next = from_image(&ns);
    become_active(&mut next, NOW);
    for node in 0..3 {
        arrive(&mut next, node, &[(&block, 100, FINALIZED)]);
    }
    expect_cut_to_40(&mut next, &hdfs());
}

#[test]
fn safety_n12_the_source_of_a_copy_on_truncate_is_kept_until_the_copy_is_there() {
    let mut ns = active();
    for node in 0..3 {
        register(&mut ns, node);
    }
    let block = closed_file(&mut ns, "/f");
    let mut next = standby();
    replay(&mut ns, &mut next);
    for node in 0..3 {
        arrive(&mut next, node, &[(&block, 100, FINALIZED)]);
    }
    // As a Java NameNode logs it while an upgrade is not finalized.
    let copy = Block {
        id: BlockId(block.block_id as i64 + 1),
        num_bytes: 0,
        generation_stamp: GenerationStamp(block.generation_stamp + 1),
    };
    let truncate = EditOp::Truncate {
        src: "/f".to_owned(),
        client_name: CLIENT.to_owned(),
        client_machine: "host".to_owned(),
        new_length: 40,
        time: 1,
        truncate_block: Some(copy),
    };
    let txid = next.edit_log().applied().next();
    next.replay(txid, &truncate, NOW.monotonic_ms).unwrap();
    become_active(&mut next, NOW);
    for node in 0..3 {
        full_report(&mut next, node, &[(&block, 100, FINALIZED)]);
    }
    assert_eq!(
        next.blockmanager().counts().pending_deletion,
        0,
        "the only replicas with the bytes"
    );
    recover_lease(&mut next, &hdfs(), "/f");
    let order = order(&mut next, 0..3).expect("no recovery was begun");
    assert_eq!(order.block.b.block_id, block.block_id);
    assert_eq!(order.block.locs.len(), 3);
    let cut = order.truncate_block.unwrap();
    assert_eq!((cut.block_id, cut.num_bytes), (copy.id.0 as u64, Some(40)));
    synchronize(&mut next, &agreed(&order, 40, &[0, 1, 2])).unwrap();
    assert_eq!(status(&mut next, "/f"), (40, true));
    assert_eq!(
        next.blockmanager().counts().pending_deletion,
        3,
        "now the source may go"
    );
    next.namespace().check();
    next.blockmanager().check();
}

/// Through the log and through an image alike.
#[test]
fn safety_03_a_recovery_that_somebody_asked_for_goes_on_after_a_failover() {
    let mut ns = active();
    for node in 0..3 {
        register(&mut ns, node);
    }
    let block = open_file(&mut ns, "/f", 3);
    assert!(!recover_lease(&mut ns, &hdfs(), "/f"));
    let mut by_log = standby();
    replay(&mut ns, &mut by_log);
    let mut by_image = from_image(&ns);
    for next in [&mut by_log, &mut by_image] {
        become_active(next, NOW);
        for node in 0..3 {
            arrive(next, node, &[(&block, 100, RBW)]);
        }
        // Nobody asks this NameNode.
        let order = order(next, 0..3).expect("the recovery is forgotten");
        synchronize(next, &agreed(&order, 100, &[0, 1, 2])).unwrap();
        assert_eq!(status(next, "/f"), (100, true));
        next.namespace().check();
    }
}

#[test]
fn an_open_file_of_a_living_writer_is_not_recovered_after_a_failover() {
    let mut ns = active();
    for node in 0..3 {
        register(&mut ns, node);
    }
    let block = open_file(&mut ns, "/f", 3);
    let mut next = standby();
    replay(&mut ns, &mut next);
    become_active(&mut next, NOW);
    for node in 0..3 {
        arrive(&mut next, node, &[(&block, 100, RBW)]);
    }
    check_leases(&mut next, later(2_000));
    assert!(order(&mut next, 0..3).is_none());
}

fn is_closed(ns: &mut Namesystem, src: &str) -> bool {
    let request = IsFileClosedRequestProto { src: src.to_owned() };
    let answer = call(ns, &hdfs(), &request).unwrap();
    answer.result
}

fn blocks(ns: &Namesystem, src: &str) -> Vec<Block> {
    let iip = ns.namespace().resolve(src).unwrap();
    let file = ns
        .namespace()
        .open_for_read(&super::super::caller(&hdfs()), &iip, src)
        .unwrap();
    ns.namespace().blocks_of(file.id).map(|block| block.block).collect()
}

/// An open file of a log whose NameNode is gone with everything that it knew of DataNodes.
fn restarted_with_open_file(replication: u32) -> (Namesystem, ExtendedBlockProto) {
    let mut ns = active();
    for node in 0..3 {
        register(&mut ns, node);
    }
    let block = open_file(&mut ns, "/f", replication);
    let next = restarted(&mut ns, standby());
    (next, block)
}

#[test]
fn safety_03_no_last_block_is_dropped_before_its_datanodes_have_reported() {
    let (mut ns, block) = restarted_with_open_file(3);
    assert!(!recover_lease(&mut ns, &hdfs(), "/f"), "nobody has reported");
    arrive(&mut ns, 3, &[]);
    assert!(
        !recover_lease(&mut ns, &hdfs(), "/f"),
        "a DataNode of other files came first"
    );
    check_leases(&mut ns, later(2_000));
    assert_eq!(blocks(&ns, "/f").len(), 1, "the bytes were hflushed");
    assert!(!is_closed(&mut ns, "/f"));
    assert_eq!(stamps(&ops(&mut ns)), 0, "nothing was begun");
    for node in 0..3 {
        arrive(&mut ns, node, &[(&block, 100, RWR)]);
    }
    // Nobody asks again, and no time passes: the reports are enough.
    let order = order(&mut ns, 0..3).expect("the recovery did not begin with the reports");
    assert_eq!(order.block.locs.len(), 3);
    assert_eq!(stamps(&ops(&mut ns)), 1);
    synchronize(&mut ns, &agreed(&order, 100, &[0, 1, 2])).unwrap();
    assert_eq!(status(&mut ns, "/f"), (100, true));
}

/// One that has lost the journal serves reports while it waits for the end of its life, and its log is still open.
#[test]
fn who_steps_down_begins_no_recovery_when_reports_come() {
    let (mut ns, block) = restarted_with_open_file(3);
    assert!(!recover_lease(&mut ns, &hdfs(), "/f"), "nobody has reported");
    ns.begin_stepping_down().unwrap();
    assert!(ns.edit_log().is_open_for_write());
    for node in 0..3 {
        arrive(&mut ns, node, &[(&block, 100, RWR)]);
    }
    assert_eq!(stamps(&ops(&mut ns)), 0);
    ns.check();
}

#[test]
fn safety_03_replicas_that_may_be_cut_short_wait_for_each_other() {
    let (mut ns, block) = restarted_with_open_file(3);
    assert!(!recover_lease(&mut ns, &hdfs(), "/f"));
    arrive(&mut ns, 0, &[(&block, 60, RWR)]);
    check_leases(&mut ns, later(2_000));
    assert_eq!(order(&mut ns, 0..1), None, "others may have more");
    // A replica that is still being written has every acknowledged byte.
    arrive(&mut ns, 1, &[(&block, 100, RBW)]);
    assert!(order(&mut ns, 0..2).is_some());

    let (mut ns, block) = restarted_with_open_file(3);
    assert!(!recover_lease(&mut ns, &hdfs(), "/f"));
    arrive(&mut ns, 0, &[(&block, 60, RWR)]);
    check_leases(&mut ns, later(30_001));
    assert!(order(&mut ns, 0..1).is_some(), "the others are stale by now");
}

#[test]
fn safety_03_a_block_that_nobody_has_is_dropped_when_all_datanodes_would_be_dead() {
    let (mut ns, _) = restarted_with_open_file(3);
    assert!(!recover_lease(&mut ns, &hdfs(), "/f"));
    arrive(&mut ns, 0, &[]);
    check_leases(&mut ns, later(629_000));
    assert!(!is_closed(&mut ns, "/f"));
    check_leases(&mut ns, later(631_000));
    assert!(is_closed(&mut ns, "/f"));
    assert_eq!(blocks(&ns, "/f"), []);
}

#[test]
fn safety_03_an_included_host_is_waited_for_and_nobody_else() {
    let (mut ns, _) = restarted_with_open_file(3);
    ns.set_hosts(["dn0".to_owned(), "dn1:9866".to_owned()], []);
    arrive(&mut ns, 0, &[]);
    assert!(!recover_lease(&mut ns, &hdfs(), "/f"));
    arrive(&mut ns, 1, &[]);
    assert!(
        is_closed(&mut ns, "/f"),
        "every DataNode has said that it does not have it"
    );
}

/// One DataNode; `complete` has said the length and was answered false; then the report came, and the client is gone.
fn committed_file() -> Namesystem {
    let mut ns = active();
    register(&mut ns, 0);
    let block = open_file(&mut ns, "/f", 1);
    let last = Some(of_length(&block, 100));
    let done = call(&mut ns, &hdfs(), &complete("/f", last)).unwrap();
    assert!(!done.result);
    tell(&mut ns, 0, &block, 100, BlockStatus::Received);
    sync(&mut ns);
    ns
}

#[test]
fn safety_04_a_file_whose_complete_came_too_early_is_closed_by_the_monitor() {
    let mut ns = committed_file();
    for round in 0..3 {
        check_leases(&mut ns, later(1_200_001 + 2_000 * round));
    }
    let ops = ops(&mut ns);
    assert!(stamps(&ops) <= 1, "{ops:?}");
    assert_eq!(status(&mut ns, "/f"), (100, true));
}

#[test]
fn safety_04_a_file_whose_complete_came_too_early_is_closed_by_recover_lease() {
    let mut ns = committed_file();
    assert!(recover_lease(&mut ns, &hdfs(), "/f"));
    assert_eq!(stamps(&ops(&mut ns)), 0);
    assert_eq!(status(&mut ns, "/f"), (100, true));
}

#[test]
fn a_complete_without_a_block_takes_the_length_that_all_replicas_have() {
    let mut ns = active();
    for node in 0..2 {
        register(&mut ns, node);
    }
    let block = open_file(&mut ns, "/f", 2);
    let ask = |ns: &mut Namesystem| {
        let done = call(ns, &hdfs(), &complete("/f", None)).unwrap();
        done.result
    };
    assert!(!ask(&mut ns));
    tell(&mut ns, 0, &block, 100, BlockStatus::Received);
    assert!(!ask(&mut ns), "the other one may still be written");
    tell(&mut ns, 1, &block, 0, BlockStatus::Receiving);
    assert!(!ask(&mut ns));
    tell(&mut ns, 1, &block, 100, BlockStatus::Received);
    assert!(ask(&mut ns));
    assert_eq!(status(&mut ns, "/f"), (100, true));
    ns.blockmanager().check();
}

#[test]
fn a_writer_does_not_end_a_block_that_is_under_recovery() {
    let mut ns = active();
    for node in 0..2 {
        register(&mut ns, node);
    }
    let block = open_file(&mut ns, "/f", 2);
    // The holder itself asks for the recovery, and goes on as if it had not.
    let request = RecoverLeaseRequestProto {
        src: "/f".to_owned(),
        client_name: CLIENT.to_owned(),
    };
    let answer = call(&mut ns, &hdfs(), &request).unwrap();
    assert!(!answer.result);
    let last = Some(of_length(&block, 100));
    let refused = call(&mut ns, &hdfs(), &complete("/f", last.clone())).unwrap_err();
    assert!(refused.message.contains("whereas it is under recovery"), "{refused}");
    let refused = call(&mut ns, &hdfs(), &add_block("/f", last)).unwrap_err();
    assert!(refused.message.contains("whereas it is under recovery"), "{refused}");
}

#[test]
fn safety_n11_files_that_cannot_be_released_do_not_hold_up_the_rest() {
    let mut ns = active();
    register(&mut ns, 0);
    for n in 0..200 {
        open_file(&mut ns, &format!("/w{n:03}"), 1);
    }
    // This one's holder has been silent for a little less long, and needs nothing but to be closed.
    let request = CreateRequestProto {
        client_name: "Z_client".to_owned(),
        ..create("/z")
    };
    call(&mut ns, &at(1_000), &request).unwrap();
    sync(&mut ns);
    for round in 0..10 {
        check_leases(&mut ns, later(1_210_000 + 2_000 * round));
    }
    assert!(is_closed(&mut ns, "/z"));
    let ops = ops(&mut ns);
    let reassigned = ops
        .iter()
        .filter(|op| matches!(op, EditOp::ReassignLease { .. }))
        .count();
    assert_eq!((reassigned, stamps(&ops)), (200, 200), "once a file, not once a round");
}

fn fsync(ns: &mut Namesystem, src: &str, length: i64) {
    let request = FsyncRequestProto {
        src: src.to_owned(),
        client: CLIENT.to_owned(),
        last_block_length: Some(length),
        file_id: None,
    };
    call(ns, &hdfs(), &request).unwrap();
}

#[test]
fn safety_d2_a_recovery_does_not_take_back_what_was_logged() {
    let mut ns = active();
    for node in 0..2 {
        register(&mut ns, node);
    }
    let block = open_file(&mut ns, "/f", 2);
    fsync(&mut ns, "/f", 100);
    fsync(&mut ns, "/f", 70);
    assert_eq!(blocks(&ns, "/f")[0].num_bytes, 100, "a call that was overtaken");
    assert!(!recover_lease(&mut ns, &hdfs(), "/f"));
    let order = order(&mut ns, 0..2).unwrap();
    let short = agreed(&order, 60, &[0]);
    let refused = synchronize(&mut ns, &short).unwrap_err();
    assert!(refused.message.contains("100 bytes are known"), "{refused}");
    let deleted = CommitBlockSynchronizationRequestProto {
        delete_block: true,
        ..agreed(&order, 0, &[])
    };
    assert!(synchronize(&mut ns, &deleted).is_err());
    assert_eq!(blocks(&ns, "/f")[0].id.0, block.block_id as i64);
    // When nobody is left who could have them, the file is not kept open for ever.
    let late = CallContext {
        mono_ms: NOW.monotonic_ms + 630_001,
        ..from(0)
    };
    let taken = raw_dn(&mut ns, &late, "commitBlockSynchronization", &short);
    taken.result.unwrap();
    assert_eq!(status(&mut ns, "/f"), (60, true));
}

/// A call of the client with this number.
fn numbered(call_id: i32) -> CallContext {
    CallContext {
        client_id: [7; 16].as_slice().into(),
        call_id,
        ..hdfs()
    }
}

#[test]
fn safety_d2_a_length_from_before_a_block_is_not_taken_for_the_blocks() {
    let mut ns = active();
    for node in 0..2 {
        register(&mut ns, node);
    }
    let first = open_file(&mut ns, "/f", 2);
    let fsync = |ns: &mut Namesystem, number: i32, length: i64| {
        let request = FsyncRequestProto {
            src: "/f".to_owned(),
            client: CLIENT.to_owned(),
            last_block_length: Some(length),
            file_id: None,
        };
        call(ns, &numbered(number), &request).unwrap();
        blocks(ns, "/f").last().map(|last| last.num_bytes)
    };
    assert_eq!(fsync(&mut ns, 5, 100), Some(100));
    for node in 0..2 {
        tell(&mut ns, node, &first, 100, BlockStatus::Received);
    }
    let next = add_block("/f", Some(of_length(&first, 100)));
    call(&mut ns, &numbered(6), &next).unwrap();
    assert_eq!(fsync(&mut ns, 5, 100), Some(0), "a copy that comes late");
    assert_eq!(fsync(&mut ns, 7, 60), Some(60));
    // Numbers begin anew when they are used up.
    let mut ns = active();
    register(&mut ns, 0);
    call(&mut ns, &hdfs(), &create("/f")).unwrap();
    call(&mut ns, &numbered(i32::MAX), &add_block("/f", None)).unwrap();
    assert_eq!(fsync(&mut ns, 0, 60), Some(60));
    assert_eq!(fsync(&mut ns, i32::MAX - 1, 70), Some(60));
}

#[test]
fn safety_d2_a_silent_datanode_is_asked_before_a_block_is_deleted() {
    let mut ns = active();
    for node in 0..3 {
        register(&mut ns, node);
    }
    let block = open_file(&mut ns, "/f", 3);
    for node in 0..3 {
        full_report(&mut ns, node, &[(&block, 0, RBW)]);
    }
    let beat = |ns: &mut Namesystem, node: u32, ms: u64| {
        let ctx = CallContext {
            mono_ms: NOW.monotonic_ms + ms,
            ..from(node)
        };
        let body = raw_dn(ns, &ctx, "sendHeartbeat", &heartbeat(node)).result.unwrap();
        let answer = HeartbeatResponseProto::decode(body).unwrap();
        let mut commands = answer.cmds.into_iter().filter_map(|command| command.recovery_cmd);
        commands.next().map(|command| command.blocks[0].clone())
    };
    // Node 2 is silent.
    for node in 0..2 {
        beat(&mut ns, node, 60_000);
    }
    assert!(!recover_lease(&mut ns, &at(60_000), "/f"));
    let order = beat(&mut ns, 0, 60_000).or_else(|| beat(&mut ns, 1, 60_000)).unwrap();
    assert_eq!(order.block.locs.len(), 2, "it would only delay the others");
    let deleted = CommitBlockSynchronizationRequestProto {
        delete_block: true,
        ..agreed(&order, 0, &[])
    };
    assert!(synchronize(&mut ns, &deleted).is_err(), "the silent one may have it");
    check_leases(&mut ns, later(62_000));
    let order = beat(&mut ns, 0, 62_000).or_else(|| beat(&mut ns, 1, 62_000)).unwrap();
    assert_eq!(order.block.locs.len(), 3);
    assert_eq!(blocks(&ns, "/f").len(), 1);
}

#[test]
fn open_files_that_hold_up_a_decommission_are_listed() {
    let mut ns = active();
    for node in 0..3 {
        register(&mut ns, node);
    }
    open_file(&mut ns, "/on-all", 3);
    call(&mut ns, &hdfs(), &create("/on-none")).unwrap();
    let listed = |ns: &mut Namesystem, kind: OpenFilesTypeProto| -> Vec<String> {
        let request = ListOpenFilesRequestProto {
            id: 0,
            types: vec![kind as i32],
            path: Some("/".to_owned()),
        };
        let entries = call(ns, &hdfs(), &request).unwrap().entries;
        entries.into_iter().map(|entry| entry.path).collect()
    };
    assert_eq!(listed(&mut ns, OpenFilesTypeProto::BlockingDecommission), [""; 0]);
    let excluded = registration(0).datanode_id.ip_addr;
    ns.blockmanager_mut().set_hosts([], [excluded]);
    assert_eq!(listed(&mut ns, OpenFilesTypeProto::BlockingDecommission), ["/on-all"]);
    assert_eq!(
        listed(&mut ns, OpenFilesTypeProto::AllOpenFiles),
        ["/on-all", "/on-none"]
    );
}
