//! Replicas that move, are kept although deleted, and are checked again.

mod common;

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use common::*;
use hathi_blockpool::{ReplicaState, VolumeId};
use hathi_datanode::dataset::Dataset;
use hathi_datanode::verify::ReplicaCheck;
use hathi_formats::ids::BlockId;
use hathi_formats::proto::hdfs::{Status, StorageTypeProto};

#[test]
fn the_balancer_moves_a_replica_to_another_datanode() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let nodes: Vec<_> = dirs.iter().map(|dir| datanode(&[dir.path()])).collect();
    let data = bytes(700_001);
    put(&nodes[0], 1, &data);
    let moved = block(1, 1001, 700_001);
    let answer = replace(&nodes[1], moved, &nodes[0], StorageTypeProto::Disk);
    assert_eq!(answer.status(), Status::Success, "{answer:?}");
    assert_eq!(read(&nodes[1], moved, 0, 700_001).unwrap(), data);
    let again = replace(&nodes[1], moved, &nodes[0], StorageTypeProto::Disk);
    assert_eq!(again.status(), Status::Error, "it is there already");
    let absent = replace(&nodes[1], block(2, 1001, 5), &nodes[0], StorageTypeProto::Disk);
    assert_eq!(absent.status(), Status::Error);
    assert_eq!(pool(&nodes[1]).len(), 1);
}

#[test]
fn a_replica_moves_to_a_volume_of_another_type() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut conf = conf(&[dirs[0].path(), dirs[1].path()]);
    conf.data_dirs[1].storage_type = StorageTypeProto::Archive;
    let node = datanode_with(conf);
    let data = bytes(5000);
    put(&node, 1, &data);
    assert_eq!(pool(&node).get(BlockId(1)).unwrap().volume, VolumeId(0));
    let here = block(1, 1001, 5000);
    assert_eq!(
        replace(&node, here, &node, StorageTypeProto::Ssd).status(),
        Status::Error
    );
    assert_eq!(
        replace(&node, here, &node, StorageTypeProto::Archive).status(),
        Status::Success
    );
    assert_eq!(pool(&node).get(BlockId(1)).unwrap().volume, VolumeId(1));
    assert_eq!(pool(&node).used(VolumeId(0)), 0);
    assert_eq!(read(&node, here, 0, 5000).unwrap(), data);
    let old = dirs[0]
        .path()
        .join("current")
        .join(POOL)
        .join("current/finalized/subdir0/subdir0");
    assert_eq!(fs::read_dir(old).unwrap().count(), 0);
}

#[test]
fn what_is_deleted_during_a_rolling_upgrade_comes_back_with_a_rollback() {
    let dir = tempfile::tempdir().unwrap();
    let data = bytes(3000);
    let root = dir.path().join("current").join(POOL);
    let deleted = block(1, 1001, 3000);
    {
        let dataset = Dataset::open(&conf(&[dir.path()])).unwrap();
        let pool = dataset.open_pool(&namespace()).unwrap();
        let at = root.join("current/finalized/subdir0/subdir0");
        fs::create_dir_all(&at).unwrap();
        let mut meta = vec![0, 1, 2, 0, 0, 2, 0];
        hathi_formats::datatransfer::DataChecksum::DEFAULT.compute_into(&data, &mut meta);
        fs::write(at.join("blk_1"), &data).unwrap();
        fs::write(at.join("blk_1_1001.meta"), &meta).unwrap();
        pool.set_keep_deleted(true);
        assert!(root.join("RollingUpgradeInProgress").exists());
    }
    {
        // The upgrade is still under way after a restart.
        let dataset = Dataset::open(&conf(&[dir.path()])).unwrap();
        let pool = dataset.open_pool(&namespace()).unwrap();
        dataset.invalidate(&pool, deleted, || true).unwrap();
        assert!(pool.is_empty());
        assert!(root.join("trash/finalized/subdir0/subdir0/blk_1").exists());
    }
    let mut rollback = conf(&[dir.path()]);
    rollback.rollback = true;
    let node = datanode_with(rollback);
    assert_eq!(read(&node, deleted, 0, 3000).unwrap(), data);
    assert!(!root.join("trash").exists());
    pool(&node).set_keep_deleted(false);
    assert!(!root.join("RollingUpgradeInProgress").exists());
    node.dataset.invalidate(&pool(&node), deleted, || true).unwrap();
    assert!(
        !root.join("trash").exists(),
        "after the upgrade what is deleted is gone"
    );
}

#[test]
fn a_check_tells_spoilt_and_missing_replicas_from_good_ones() {
    let dir = tempfile::tempdir().unwrap();
    let node = datanode(&[dir.path()]);
    put(&node, 1, &bytes(3_000_000));
    let pool = pool(&node);
    let verify = |block| node.dataset.verify_replica(&pool, block);
    let replica = pool.next_finalized(BlockId(0)).unwrap();
    assert!(pool.next_finalized(BlockId(1)).is_none());
    assert_eq!(verify(replica.block()), ReplicaCheck::Good);
    let files = pool.files(&replica).unwrap();
    let mut data = fs::OpenOptions::new().write(true).open(&files.data).unwrap();
    data.seek(SeekFrom::Start(2_500_000)).unwrap();
    data.write_all(b"spoilt").unwrap();
    assert!(matches!(verify(replica.block()), ReplicaCheck::Bad(_)));
    let mut older = replica.clone();
    older.num_bytes -= 1;
    let mut older_stamp = replica.block();
    older_stamp.generation_stamp.0 -= 1;
    assert_eq!(verify(older_stamp), ReplicaCheck::Changed, "not what is there now");
    assert_eq!(verify(block(2, 1001, 0)), ReplicaCheck::Gone);
    fs::remove_file(&files.data).unwrap();
    assert_eq!(verify(replica.block()), ReplicaCheck::Gone);
    assert!(!pool.forget(&older));
    assert!(pool.forget(&replica));
    assert_eq!((pool.len(), pool.used(VolumeId(0))), (0, 0));
    assert_eq!(replica.state, ReplicaState::Finalized);
}
