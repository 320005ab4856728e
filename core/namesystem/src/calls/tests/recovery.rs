//! Who ends the lease of a silent writer loses nothing: truncates, hflushed bytes, committed lengths.

use super::datanode::{dn, heartbeat, notices, put_varint, register, registration};
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
    let answer: RecoverLeaseResponseProto = call(ns, ctx, "recoverLease", &request).unwrap();
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
    let found: GetBlockLocationsResponseProto = call(ns, &hdfs(), "getBlockLocations", &request).unwrap();
    let found = found.locations.unwrap();
    let info: GetFileInfoResponseProto = call(ns, &hdfs(), "getFileInfo", &file_info(src)).unwrap();
    (info.fs.unwrap().length, !found.under_construction)
}

/// An open file with one block, whose replicas are being written on these nodes.
fn open_file(ns: &mut Namesystem, src: &str, replication: u32) -> ExtendedBlockProto {
    let request = CreateRequestProto {
        replication,
        ..create(src)
    };
    call::<CreateResponseProto>(ns, &hdfs(), "create", &request).unwrap();
    let added: AddBlockResponseProto = call(ns, &hdfs(), "addBlock", &add_block(src, None)).unwrap();
    added.block.b
}

/// A closed file of one block of 100 bytes on nodes 0 to 2.
fn closed_file(ns: &mut Namesystem, src: &str) -> ExtendedBlockProto {
    let block = open_file(ns, src, 3);
    for node in 0..3 {
        tell(ns, node, &block, 100, BlockStatus::Received);
    }
    let last = Some(of_length(&block, 100));
    let done: CompleteResponseProto = call(ns, &hdfs(), "complete", &complete(src, last)).unwrap();
    assert!(done.result);
    block
}

fn truncate(ns: &mut Namesystem, src: &str, new_length: u64) -> bool {
    let request = TruncateRequestProto {
        src: src.to_owned(),
        new_length,
        client_name: CLIENT.to_owned(),
    };
    let answer: TruncateResponseProto = call(ns, &hdfs(), "truncate", &request).unwrap();
    answer.result
}

fn become_active(ns: &mut Namesystem, now: Now) {
    ns.role.change(Role::BecomingActive).unwrap();
    ns.start_active(now).unwrap();
    ns.blockmanager.leave_safe_mode(true, now);
}

/// A NameNode that was started from nothing but the log, and is active.
fn restarted(from: &mut Namesystem, before: Namesystem) -> Namesystem {
    let mut next = before;
    replay(from, &mut next);
    next.blockmanager.activate_safe_mode(NOW);
    become_active(&mut next, NOW);
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
    assert_eq!(status(ns, "/f").1, false);
    synchronize(ns, &agreed(&order, 40, &[0, 1, 2])).unwrap();
    assert_eq!(status(ns, "/f"), (40, true));
    ns.blockmanager.check();
    ns.namespace.check().unwrap();
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
fn safety_01_a_truncate_is_finished_after_its_attempt_expired() {
    let (mut ns, _) = truncated();
    assert!(order(&mut ns, 0..3).is_some());
    ns.blockmanager.heartbeat_check(later(90_001), 100);
    expect_cut_to_40(&mut ns, &at(90_001));
}

#[test]
fn safety_01_a_truncate_is_in_an_image_that_is_saved_before_its_end() {
    let (ns, block) = truncated();
    let txid = ns.namespace.last_applied_txid();
    let saved = ns.namespace.freeze();
    let (bytes, _) = saved
        .save(Vec::new(), LayoutVersion::NAMENODE_CURRENT, &|| false)
        .unwrap();
    let image = Image::open(&bytes[..]).unwrap();
    let loaded = hathi_namespace::image::load(hathi_namespace::Config::default(), &image).unwrap();
    assert_eq!(loaded.digest(), ns.namespace.digest());
    let empty = new_namesystem();
    let parts = Parts {
        config: empty.config.clone(),
        blockmanager: BlockManagerConfig::default(),
        retry_cache: RetryCacheOptions::default(),
        info: empty.info.clone(),
    };
    let mut next = assemble(parts, loaded, TxId(txid), SyncedTxId::default());
    next.role.change(Role::Standby).unwrap();
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
    let txid = next.edit_log.applied().next();
    next.replay(txid, &truncate, NOW.monotonic_ms).unwrap();
    become_active(&mut next, NOW);
    for node in 0..3 {
        full_report(&mut next, node, &[(&block, 100, FINALIZED)]);
    }
    assert_eq!(
        next.blockmanager.counts().pending_deletion,
        0,
        "the only replicas with the bytes"
    );
    recover_lease(&mut next, &hdfs(), "/f");
    let order = order(&mut next, 0..3).expect("no recovery was begun");
    assert_eq!(order.block.b.block_id, block.block_id);
    assert_eq!(order.block.locs.len(), 3);
    let cut = order.truncate_block.clone().unwrap();
    assert_eq!((cut.block_id, cut.num_bytes), (copy.id.0 as u64, Some(40)));
    synchronize(&mut next, &agreed(&order, 40, &[0, 1, 2])).unwrap();
    assert_eq!(status(&mut next, "/f"), (40, true));
    assert_eq!(next.blockmanager.counts().pending_deletion, 3, "now the source may go");
    next.namespace.check().unwrap();
    next.blockmanager.check();
}
