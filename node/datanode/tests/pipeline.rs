//! Pipelines of DataNodes over loopback: writing, failing, recovering.

mod common;

use std::io::BufReader;
use std::net::TcpStream;

use common::*;
use hathi_blockpool::ReplicaState;
use hathi_datanode::recovery;
use hathi_formats::datatransfer::{DataChecksum, md5_of_crcs};
use hathi_formats::exceptions;
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_formats::proto::hdfs::{
    BlockChecksumTypeProto, ReplicaStateProto, Status, UpdateReplicaUnderRecoveryRequestProto,
};

#[test]
fn a_block_is_on_all_three_datanodes_and_reads_back() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let nodes: Vec<_> = dirs.iter().map(|dir| datanode(&[dir.path()])).collect();
    let data = bytes(300_001);
    let new = block(1 << 30 | 1, 1001, 0);
    let mut writer = Writer::open(&nodes.iter().collect::<Vec<_>>(), &Setup::create(new)).unwrap();
    writer.write(&data, 64 * 1024 - 512);
    for node in &nodes {
        let replica = pool(node).get(new.id).unwrap();
        assert_eq!(
            (replica.state, replica.visible_length()),
            (ReplicaState::Rbw, Some(300_001))
        );
        assert_eq!(
            read(node, new, 0, 300_001).unwrap(),
            data,
            "readers see what is acknowledged"
        );
    }
    let ack = writer.close(true);
    assert_eq!(ack.replies.len(), 3);
    assert!(ack.is_success());
    let done = block(1 << 30 | 1, 1001, 300_001);
    for node in &nodes {
        let replica = pool(node).get(new.id).unwrap();
        assert_eq!((replica.state, replica.num_bytes), (ReplicaState::Finalized, 300_001));
        for (offset, len) in [(0, 300_001), (511, 2), (300_000, 1), (1000, 0), (65_024, 131_072)] {
            let expected = &data[offset..offset + len];
            assert_eq!(
                read(node, done, offset as u64, len as u64).unwrap(),
                expected,
                "{offset} {len}"
            );
        }
        assert!(read(node, done, 300_000, 2).is_err(), "beyond the end");
        let mut sums = Vec::new();
        DataChecksum::DEFAULT.compute_into(&data, &mut sums);
        assert_eq!(
            block_checksum(node, done, BlockChecksumTypeProto::Md5crc),
            md5_of_crcs(&sums)
        );
        assert_eq!(
            block_checksum(node, done, BlockChecksumTypeProto::CompositeCrc),
            DataChecksum::DEFAULT.kind().checksum(&data).to_be_bytes()
        );
        let prefix = block(1 << 30 | 1, 1001, 1000);
        assert_eq!(
            block_checksum(node, prefix, BlockChecksumTypeProto::CompositeCrc),
            DataChecksum::DEFAULT.kind().checksum(&data[..1000]).to_be_bytes()
        );
    }
}

#[test]
fn a_connection_serves_one_read_after_another() {
    let dir = tempfile::tempdir().unwrap();
    let node = datanode(&[dir.path()]);
    let data = bytes(10_000);
    let new = block(5, 1001, 0);
    let mut writer = Writer::open(&[&node], &Setup::create(new)).unwrap();
    writer.write(&data, 1024);
    assert!(writer.close(false).is_success());
    let mut stream = TcpStream::connect(("127.0.0.1", node.ports.xfer)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for offset in [0, 700, 9999] {
        let got = read_on(&mut stream, &mut reader, new, offset, 10_000 - offset).unwrap();
        assert_eq!(got, data[offset as usize..]);
    }
}

#[test]
fn small_writes_extend_the_last_chunk() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let nodes: Vec<_> = dirs.iter().map(|dir| datanode(&[dir.path()])).collect();
    let data = bytes(3000);
    let new = block(9, 1001, 0);
    let mut writer = Writer::open(&nodes.iter().collect::<Vec<_>>(), &Setup::create(new)).unwrap();
    // As after an hflush: Hadoop's client sends the last short chunk again from its start.
    writer.write(&data[..700], 64 * 1024);
    writer.offset = 512;
    writer.write(&data[512..1500], 64 * 1024);
    // As after an append: the rest of a chunk comes alone, with a checksum of only the rest.
    let rest = &data[1500..1536];
    writer.write(rest, 512);
    writer.write(&data[1536..], 64 * 1024);
    // Bytes that are on disk may be sent again.
    writer.offset = 0;
    writer.write(&data[..1024], 64 * 1024);
    writer.offset = 3000;
    assert!(writer.close(false).is_success());
    for node in &nodes {
        assert_eq!(read(node, new, 0, 3000).unwrap(), data);
    }
}

#[test]
fn a_corrupt_packet_is_found_by_the_last_datanode_and_never_acknowledged() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let nodes: Vec<_> = dirs.iter().map(|dir| datanode(&[dir.path()])).collect();
    let data = bytes(2048);
    let new = block(11, 1001, 0);
    let mut sums = Vec::new();
    DataChecksum::DEFAULT.compute_into(&data, &mut sums);
    sums[5] ^= 1;

    let mut alone = Writer::open(&[&nodes[0]], &Setup::create(new)).unwrap();
    alone.write(&data[..512], 512);
    alone.send_with(&data[512..], &sums[4..], false, false);
    assert_eq!(alone.ack().unwrap().status(0), Some(Status::ErrorChecksum));
    alone.wait_closed();
    assert_eq!(pool(&nodes[0]).get(new.id).unwrap().visible_length(), Some(512));

    let other = block(12, 1001, 0);
    let mut both = Writer::open(&[&nodes[0], &nodes[1]], &Setup::create(other)).unwrap();
    both.send_with(&data, &sums, false, false);
    assert!(both.ack().is_err(), "the one that sent it on ends without a word");
    assert_eq!(pool(&nodes[1]).get(other.id).unwrap().bytes_on_disk(), 0);
}

#[test]
fn a_pipeline_goes_on_without_the_datanode_that_failed_and_with_a_new_one() {
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let nodes: Vec<_> = dirs.iter().map(|dir| datanode(&[dir.path()])).collect();
    let data = bytes(100_000);
    let new = block(21, 1001, 0);
    let mut writer = Writer::open(&[&nodes[0], &nodes[1], &nodes[2]], &Setup::create(new)).unwrap();
    writer.write(&data[..50_000], 16 * 1024);
    nodes[2].dataset.stop_writers();
    let ack = writer.ack().unwrap();
    assert_eq!(
        ack.replies.len(),
        3,
        "the failure is told from where it happened: {ack:?}"
    );
    assert_eq!(ack.status(2), Some(Status::Error));
    drop(writer);

    // A new DataNode gets the bytes so far. Then all DataNodes continue with a new stamp.
    let so_far = block(21, 1001, 50_000);
    assert_eq!(transfer(&nodes[0], so_far, &nodes[3]), Status::Success);
    assert_eq!(pool(&nodes[3]).get(new.id).unwrap().state, ReplicaState::Rbw);
    let setup = Setup {
        block: new,
        stage: Stage::PipelineSetupStreamingRecovery,
        new_gs: 1002,
        min_bytes: 50_000,
        max_bytes: 50_000,
    };
    let pipeline = [&nodes[0], &nodes[1], &nodes[3]];
    let mut writer = Writer::open(&pipeline, &setup).unwrap();
    // The client continues in the middle of a chunk, and sends the rest of that chunk alone.
    writer.write(&data[50_000..50_176], 512);
    writer.write(&data[50_176..], 16 * 1024);
    assert!(writer.close(false).is_success());
    for node in pipeline {
        let replica = pool(node).get(new.id).unwrap();
        assert_eq!(
            (replica.state, replica.generation_stamp.0),
            (ReplicaState::Finalized, 1002)
        );
        assert_eq!(read(node, block(21, 1002, 0), 0, 100_000).unwrap(), data);
    }
    assert!(
        read(&nodes[0], block(21, 1003, 0), 0, 1).is_err(),
        "a replica that is too old is not served"
    );
}

#[test]
fn an_append_continues_and_a_lost_close_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let node = datanode(&[dir.path()]);
    let data = bytes(5000);
    let new = block(31, 1001, 0);
    let mut writer = Writer::open(&[&node], &Setup::create(new)).unwrap();
    writer.write(&data[..1300], 64 * 1024);
    assert!(writer.close(false).is_success());
    let append = |expected| Setup {
        block: block(31, 1001, 1300),
        stage: Stage::PipelineSetupAppend,
        new_gs: 1002,
        min_bytes: expected,
        max_bytes: 0,
    };
    assert!(
        Writer::open(&[&node], &append(1299)).is_err(),
        "a wrong length is refused"
    );
    let mut writer = Writer::open(&[&node], &append(1300)).unwrap();
    writer.write(&data[1300..1536], 512);
    writer.write(&data[1536..], 1024);
    assert!(writer.close(false).is_success());
    let close = Setup {
        block: block(31, 1002, 5000),
        stage: Stage::PipelineCloseRecovery,
        new_gs: 1003,
        min_bytes: 5000,
        max_bytes: 5000,
    };
    Writer::open(&[&node], &close).unwrap();
    assert_eq!(pool(&node).get(new.id).unwrap().generation_stamp.0, 1003);
    assert_eq!(read(&node, block(31, 1003, 0), 0, 5000).unwrap(), data);
    assert!(matches!(
        Writer::open(&[&node], &Setup::create(block(31, 1001, 0))),
        Err(None)
    ));
}

#[test]
fn recovery_stops_the_writer_and_cuts_the_replica() {
    let dir = tempfile::tempdir().unwrap();
    let node = datanode(&[dir.path()]);
    let data = bytes(5000);
    let new = block(41, 1001, 0);
    let mut writer = Writer::open(&[&node], &Setup::create(new)).unwrap();
    writer.write(&data, 1024);
    let recovering = recovering(new, 1005);
    let replica = recovery::init_replica(&node, &recovering).unwrap();
    assert_eq!(replica.state(), ReplicaStateProto::Rbw);
    assert_eq!(replica.block.unwrap().num_bytes(), 5000);
    writer.wait_closed();
    let again = recovery::init_replica(&node, &recovering).unwrap_err();
    assert!(again.is(exceptions::RECOVERY_IN_PROGRESS), "{again}");
    let update = UpdateReplicaUnderRecoveryRequestProto {
        block: extended(block(41, 1001, 5000)),
        recovery_id: 1005,
        new_length: 4000,
        new_block_id: Some(41),
        mismatch_stays: None,
    };
    recovery::update_replica(&node, &update).unwrap();
    assert_eq!(read(&node, block(41, 1005, 0), 0, 4000).unwrap(), data[..4000]);
    assert!(read(&node, block(41, 1005, 0), 0, 4001).is_err());
}

#[test]
fn whoever_cannot_be_reached_is_named() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let nodes: Vec<_> = dirs.iter().map(|dir| datanode(&[dir.path()])).collect();
    // No process listens on this port (tcpmux).
    let gone = 1;
    let ports = hathi_datanode::Ports {
        xfer: gone,
        ..Default::default()
    };
    let unreachable_dir = tempfile::tempdir().unwrap();
    let conf = conf(&[unreachable_dir.path()]);
    let dataset = hathi_datanode::dataset::Dataset::open(&conf).unwrap();
    let unreachable = hathi_datanode::DataNode::new(conf, dataset, ports);
    let refused = Writer::open(
        &[&nodes[0], &nodes[1], &unreachable],
        &Setup::create(block(51, 1001, 0)),
    );
    let Err(Some(answer)) = refused else {
        panic!("the set-up must be answered with an error");
    };
    assert_eq!(answer.status(), Status::Error);
    assert_eq!(answer.first_bad_link.unwrap(), format!("127.0.0.1:{gone}"));
}
