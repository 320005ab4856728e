//! Replicas under readers, corrupt packets, and steps that fail half way.

mod common;

use std::fs;
use std::io::{BufReader, Read};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use common::*;
use hathi_blockpool::ReplicaState;
use hathi_datanode::offer::Nameservice;
use hathi_datanode::verify::ReplicaCheck;
use hathi_datanode::{DataNode, recovery};
use hathi_formats::datatransfer::{DataChecksum, Op, write_op};
use hathi_formats::exceptions::RemoteException;
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_formats::proto::hdfs::{OpReadBlockProto, UpdateReplicaUnderRecoveryRequestProto};

fn sums(data: &[u8]) -> Vec<u8> {
    let mut sums = Vec::new();
    DataChecksum::DEFAULT.compute_into(data, &mut sums);
    sums
}

/// A nameservice whose NameNode is never called. Messages for it stay where the test sees them.
fn service(node: &Arc<DataNode>) -> Arc<Nameservice> {
    let (service, _commands) = Nameservice::new(&node.conf.nameservices[0]);
    service.set_pool(pool(node));
    node.add_service(service.clone());
    service
}

fn bad_blocks(service: &Nameservice) -> usize {
    service.actors[0].bad.lock().len()
}

/// Block recovery on one DataNode.
fn recover(node: &Arc<DataNode>, id: u64, gs: u64, recovery_id: u64, len: u64, new_len: u64) {
    let updated = try_recover(node, id, gs, recovery_id, (len, new_len), false);
    updated.expect("the replica takes its new length");
}

fn try_recover(
    node: &Arc<DataNode>,
    id: u64,
    gs: u64,
    recovery_id: u64,
    (len, new_len): (u64, u64),
    mismatch_stays: bool,
) -> Result<String, RemoteException> {
    let block = block(id as i64, gs, len);
    let recovering = recovering(block, recovery_id);
    let looked = recovery::init_replica(node, &recovering).expect("the replica can be looked at");
    assert!(looked.replica_found, "the replica is there");
    let update = UpdateReplicaUnderRecoveryRequestProto {
        block: extended(block),
        recovery_id,
        new_length: new_len,
        new_block_id: Some(id),
        mismatch_stays: Some(mismatch_stays),
    };
    recovery::update_replica(node, &update)
}

#[test]
fn safety_d21_a_truncate_over_rot_ends_when_it_is_told_to_and_the_rot_is_never_read() {
    let dir = tempfile::tempdir().unwrap();
    let node = datanode(&[dir.path()]);
    let service = service(&node);
    let data = bytes(1000);
    put(&node, 1, &data);
    let replica = pool(&node).get(block(1, 0, 0).id).unwrap();
    let files = pool(&node).files(&replica).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&files.data).unwrap();
    file.write_all_at(&[!data[600]], 600).unwrap();
    let refused = try_recover(&node, 1, 1001, 1002, (1000, 700), false).unwrap_err();
    assert!(refused.message.contains("does not match its checksum"), "{refused}");
    assert_eq!(bad_blocks(&service), 1);
    try_recover(&node, 1, 1001, 1003, (1000, 700), true).unwrap();
    assert_eq!(read(&node, block(1, 1003, 0), 0, 512).unwrap(), data[..512]);
    assert!(read(&node, block(1, 1003, 0), 512, 188).is_err(), "it looks good");
}

#[test]
fn safety_d7_a_reader_during_an_append_gets_the_checksum_of_what_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let node = datanode(&[dir.path()]);
    let data = bytes(100);
    put(&node, 1, &data);
    let append = Setup {
        block: block(1, 1001, 100),
        stage: Stage::PipelineSetupAppend,
        new_gs: 1002,
        min_bytes: 100,
        max_bytes: 0,
    };
    let writer = Writer::open(&[&node], &append).unwrap();
    // The writer has written the checksum of a longer chunk, and waits for its sync before it publishes the length.
    let files = pool(&node).files(&pool(&node).get(block(1, 0, 0).id).unwrap()).unwrap();
    let meta = fs::OpenOptions::new().write(true).open(&files.meta).unwrap();
    meta.write_all_at(&[1, 2, 3, 4], 7).unwrap();
    assert_eq!(read(&node, block(1, 1002, 0), 0, 100).unwrap(), data);
    drop(writer);
}

#[test]
fn safety_d8_a_good_replica_that_changes_under_a_reader_is_not_reported() {
    let dir = tempfile::tempdir().unwrap();
    let node = datanode(&[dir.path()]);
    let service = service(&node);
    // This is more than the buffers between the two hold.
    let len = 24 << 20;
    let data = bytes(len);
    put(&node, 1, &data);
    let mut stream = TcpStream::connect(("127.0.0.1", node.ports.xfer)).unwrap();
    let request = OpReadBlockProto {
        header: header(block(1, 1001, 0), "client"),
        offset: 0,
        len: len as u64,
        send_checksums: Some(true),
        caching_strategy: None,
    };
    write_op(&mut stream, Op::ReadBlock, &request).unwrap();
    let mut reader = BufReader::new(stream);
    reader.read_exact(&mut [0; 1]).unwrap();
    // The replica is truncated meanwhile, which must not be reported.
    recover(&node, 1, 1001, 1002, len as u64, 40);
    let mut rest = Vec::new();
    let _ = reader.read_to_end(&mut rest);
    assert!(rest.len() < len, "the read ended early");
    assert_eq!(bad_blocks(&service), 0);
    assert_eq!(read(&node, block(1, 1002, 0), 0, 40).unwrap(), data[..40]);
}

#[test]
fn safety_d8_only_a_replica_that_was_found_bad_under_its_lock_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let node = datanode(&[dir.path()]);
    let service = service(&node);
    put(&node, 1, &bytes(2000));
    let here = block(1, 1001, 2000);
    assert_eq!(node.on_suspect(&pool(&node), here), ReplicaCheck::Good);
    assert_eq!(
        node.on_suspect(&pool(&node), block(1, 1000, 2000)),
        ReplicaCheck::Changed
    );
    assert_eq!(node.on_suspect(&pool(&node), block(2, 1000, 2000)), ReplicaCheck::Gone);
    assert_eq!(bad_blocks(&service), 0);
    let files = pool(&node).files(&pool(&node).get(here.id).unwrap()).unwrap();
    let data = fs::OpenOptions::new().write(true).open(&files.data).unwrap();
    data.set_len(1999).unwrap();
    assert!(matches!(node.on_suspect(&pool(&node), here), ReplicaCheck::Bad(_)));
    assert_eq!(bad_blocks(&service), 1);
    fs::remove_file(&files.data).unwrap();
    assert_eq!(node.on_suspect(&pool(&node), here), ReplicaCheck::Gone);
    assert!(pool(&node).is_empty());
    assert_eq!(bad_blocks(&service), 1);
}

#[test]
fn safety_d25_a_bad_replica_is_bad_under_the_stamp_of_a_recovery_too() {
    let dir = tempfile::tempdir().unwrap();
    let node = datanode(&[dir.path()]);
    let service = service(&node);
    put(&node, 1, &bytes(2000));
    let files = pool(&node).files(&pool(&node).get(block(1, 0, 0).id).unwrap()).unwrap();
    let data = fs::OpenOptions::new().write(true).open(&files.data).unwrap();
    let rot = !bytes(2000)[700];
    data.write_all_at(&[rot], 700).unwrap();
    assert!(matches!(
        node.on_suspect(&pool(&node), block(1, 1001, 2000)),
        ReplicaCheck::Bad(_)
    ));
    let reported = |service: &Nameservice| {
        let mut bad = service.actors[0].bad.lock();
        let taken = std::mem::take(&mut *bad);
        taken
            .into_values()
            .map(|located| (located.b.generation_stamp, located.corrupt))
            .collect::<Vec<_>>()
    };
    assert_eq!(reported(&service), [(1001, true)]);
    recover(&node, 1, 1001, 1002, 2000, 2000);
    assert_eq!(reported(&service), [(1002, true)]);
    // A recovery that cuts the bad bytes away.
    recover(&node, 1, 1002, 1003, 2000, 512);
    assert_eq!(reported(&service), []);
    service.tell_bad_again(&service.actors[0]);
    assert_eq!(reported(&service), [], "it is good now");
}

#[test]
fn safety_d24_a_complete_replica_with_a_bad_end_says_so_to_a_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let node = datanode(&[dir.path()]);
    let service = service(&node);
    put(&node, 1, &bytes(2000));
    let init = |recovery_id| recovery::init_replica(&node, &recovering(block(1, 1001, 2000), recovery_id)).unwrap();
    assert_eq!(init(1002).end_is_bad, None);
    let files = pool(&node).files(&pool(&node).get(block(1, 0, 0).id).unwrap()).unwrap();
    let data = fs::OpenOptions::new().write(true).open(&files.data).unwrap();
    data.write_all_at(&[!bytes(2000)[1999]], 1999).unwrap();
    assert_eq!(init(1003).end_is_bad, Some(true));
    // Nobody has a better one. It keeps its length, and is known to be bad under its new stamp.
    recover(&node, 1, 1001, 1004, 2000, 2000);
    assert_eq!(bad_blocks(&service), 1);
}

#[test]
fn safety_d10_a_corrupt_packet_does_not_change_acknowledged_bytes() {
    for aligned in [true, false] {
        let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
        let nodes: Vec<_> = dirs.iter().map(|dir| datanode(&[dir.path()])).collect();
        let data = bytes(1024);
        let new = block(1, 1001, 0);
        let mut writer = Writer::open(&[&nodes[0], &nodes[1]], &Setup::create(new)).unwrap();
        writer.write(&data[..700], 64 * 1024);
        // The chunk is sent again with its other bytes, or the rest is sent alone. A bit is flipped on the way.
        let from = if aligned { 512 } else { 700 };
        let mut packet = data[from..].to_vec();
        packet[20] ^= 1;
        writer.offset = from as u64;
        writer.send_with(&packet, &sums(&data[from..]), false, false);
        writer.wait_closed();
        let setup = Setup {
            block: new,
            stage: Stage::PipelineSetupStreamingRecovery,
            new_gs: 1002,
            min_bytes: 700,
            max_bytes: 1024,
        };
        let mut writer = Writer::open(&[&nodes[0]], &setup).unwrap();
        assert_eq!(read(&nodes[0], block(1, 1002, 0), 0, 700).unwrap(), data[..700]);
        writer.offset = 700;
        writer.write(&data[700..1024], 512);
        assert!(writer.close(false).is_success());
        assert_eq!(read(&nodes[0], block(1, 1002, 0), 0, 1024).unwrap(), data);
    }
}

#[test]
fn safety_d13_a_change_that_fails_half_way_leaves_the_replica_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let node = datanode(&[dir.path()]);
    let data = bytes(1000);
    let new = block(1, 1001, 0);
    let mut writer = Writer::open(&[&node], &Setup::create(new)).unwrap();
    writer.write(&data, 64 * 1024);
    // The second of the two renames will fail, because a directory has that name.
    let finalized = dir
        .path()
        .join("current")
        .join(POOL)
        .join("current/finalized/subdir0/subdir0");
    let in_the_way = finalized.join("blk_1_1002.meta");
    fs::create_dir_all(&in_the_way).unwrap();
    let close = Setup {
        block: block(1, 1001, 1000),
        stage: Stage::PipelineCloseRecovery,
        new_gs: 1002,
        min_bytes: 1000,
        max_bytes: 1000,
    };
    assert!(Writer::open(&[&node], &close).is_err());
    let replica = pool(&node).get(new.id).unwrap();
    assert_eq!((replica.state, replica.num_bytes), (ReplicaState::Rbw, 1000));
    assert_eq!(read(&node, new, 0, 1000).unwrap(), data);
    fs::remove_dir(&in_the_way).unwrap();
    Writer::open(&[&node], &close).unwrap();
    assert_eq!(read(&node, block(1, 1002, 0), 0, 1000).unwrap(), data);
}
