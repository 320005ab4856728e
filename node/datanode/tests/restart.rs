//! What is on disk when a DataNode starts, and when disks fail.

mod common;

use std::fs;
use std::io;

use common::*;
use hathi_blockpool::{ReplicaState, VolumeId};
use hathi_datanode::dataset::Dataset;
use hathi_formats::ids::{BlockId, NamespaceInfo};

#[test]
fn safety_d3_replicas_are_found_again_and_unfinished_ones_are_cut_to_their_checksums() {
    let dir = tempfile::tempdir().unwrap();
    let data = bytes(3000);
    let root = dir.path().join("current").join(POOL);
    {
        let conf = conf(&[dir.path()]);
        let dataset = Dataset::open(&conf).unwrap();
        dataset.open_pool(&namespace()).unwrap();
        let rbw = root.join("current/rbw");
        let finalized = root.join("current/finalized/subdir0/subdir0");
        fs::create_dir_all(&finalized).unwrap();
        let mut meta = vec![0, 1, 2, 0, 0, 2, 0];
        hathi_formats::datatransfer::DataChecksum::DEFAULT.compute_into(&data, &mut meta);
        fs::write(finalized.join("blk_1"), &data).unwrap();
        fs::write(finalized.join("blk_1_1001.meta"), &meta).unwrap();
        // There are bytes beyond the last checksum, as when a DataNode ends between writing data and checksum. All
        // bytes that the checksum covers stay, also those of the last chunk.
        fs::write(rbw.join("blk_2"), [data.as_slice(), &[1; 100]].concat()).unwrap();
        fs::write(rbw.join("blk_2_1002.meta"), &meta).unwrap();
        // A crash between the two renames that open a replica for append.
        fs::write(rbw.join("blk_3"), &data).unwrap();
        fs::write(finalized.join("blk_3_1003.meta"), &meta).unwrap();
        // An unfinished copy, a meta file without a block file, and an unrelated file.
        fs::write(root.join("tmp/blk_4"), &data).unwrap();
        fs::write(finalized.join("blk_5"), &data).unwrap();
        fs::write(finalized.join("notes.txt"), "x").unwrap();
        assert!(Dataset::open(&conf).is_err(), "a directory in use is refused");
    }
    let node = datanode(&[dir.path()]);
    let pool = pool(&node);
    assert_eq!(pool.len(), 3);
    let state = |id: i64| {
        let replica = pool.get(BlockId(id)).unwrap();
        (replica.state, replica.num_bytes, replica.generation_stamp.0)
    };
    assert_eq!(state(1), (ReplicaState::Finalized, 3000, 1001));
    assert_eq!(state(2), (ReplicaState::Rwr, 3000, 1002));
    assert_eq!(state(3), (ReplicaState::Rwr, 3000, 1003));
    assert!(!root.join("tmp/blk_4").exists());
    assert_eq!(read(&node, block(1, 1001, 0), 0, 3000).unwrap(), data);
    assert!(read(&node, block(2, 1002, 0), 0, 1).is_err(), "it waits for recovery");
}

#[test]
fn version_files_are_hadoops_and_other_clusters_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let uuid = {
        let dataset = Dataset::open(&conf(&[dir.path()])).unwrap();
        dataset.open_pool(&namespace()).unwrap();
        dataset.datanode_uuid().to_owned()
    };
    let version = fs::read_to_string(dir.path().join("current/VERSION")).unwrap();
    for line in [
        "storageType=DATA_NODE",
        "clusterID=CID-test",
        "cTime=0",
        "layoutVersion=-57",
        &format!("datanodeUuid={uuid}"),
        "storageID=DS-",
    ] {
        assert!(version.contains(line), "{line} in {version}");
    }
    let pool_version = fs::read_to_string(dir.path().join("current").join(POOL).join("current/VERSION")).unwrap();
    for line in ["namespaceID=7", &format!("blockpoolID={POOL}"), "layoutVersion=-57"] {
        assert!(pool_version.contains(line), "{line} in {pool_version}");
    }
    let dataset = Dataset::open(&conf(&[dir.path()])).unwrap();
    assert_eq!(dataset.datanode_uuid(), uuid, "the identity stays");
    let stranger = NamespaceInfo {
        cluster_id: "CID-other".to_owned(),
        ..namespace()
    };
    assert!(dataset.open_pool(&stranger).is_err());
    let reformatted = NamespaceInfo {
        namespace_id: 8,
        ..namespace()
    };
    assert!(dataset.open_pool(&reformatted).is_err());
}

#[test]
fn volumes_take_turns_and_a_broken_one_is_dropped() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut node = datanode(&[dirs[0].path(), dirs[1].path()]);
    let data = bytes(600);
    for id in 0..4 {
        let mut writer = Writer::open(&[&node], &Setup::create(block(id, 1001, 0))).unwrap();
        writer.write(&data, 1024);
        assert!(writer.close(false).is_success());
    }
    let on = |node: &hathi_datanode::DataNode, volume: u16| {
        (0..4)
            .filter(|id| {
                pool(node)
                    .get(BlockId(*id))
                    .is_some_and(|replica| replica.volume == VolumeId(volume))
            })
            .count()
    };
    assert_eq!((on(&node, 0), on(&node, 1)), (2, 2));
    node.on_disk_error(VolumeId(1), &io::Error::from(io::ErrorKind::NotFound));
    assert_eq!(on(&node, 1), 2, "not every error is the disk's");
    let eio = io::Error::from_raw_os_error(5);
    node.on_disk_error(VolumeId(1), &eio);
    assert_eq!((on(&node, 0), on(&node, 1)), (2, 0));
    assert_eq!(node.dataset.failed_volumes().len(), 1);
    assert!(node.is_stopping(), "no failed volume is tolerated by default");

    // If one failed volume is tolerated, it goes on with the other volume.
    drop(node);
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut tolerant = conf(&[dirs[0].path(), dirs[1].path()]);
    tolerant.failed_volumes_tolerated = 1;
    let dataset = Dataset::open(&tolerant).unwrap();
    node = hathi_datanode::DataNode::new(tolerant, dataset, hathi_datanode::Ports::default());
    node.dataset.open_pool(&namespace()).unwrap();
    node.on_disk_error(VolumeId(0), &eio);
    assert!(!node.is_stopping());
    for _ in 0..3 {
        let kind = hathi_formats::proto::hdfs::StorageTypeProto::Disk;
        assert_eq!(node.dataset.choose_volume(kind, 1).unwrap().id, VolumeId(1));
    }
}

#[test]
fn deleted_replicas_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let node = datanode(&[dir.path()]);
    let mut writer = Writer::open(&[&node], &Setup::create(block(1, 1001, 0))).unwrap();
    writer.write(&bytes(600), 1024);
    assert!(
        node.dataset
            .invalidate(&pool(&node), block(1, 1000, 0), || true)
            .is_err(),
        "it is newer"
    );
    node.dataset
        .invalidate(&pool(&node), block(1, 1001, 0), || true)
        .unwrap();
    writer.wait_closed();
    assert!(pool(&node).is_empty());
    assert_eq!(pool(&node).used(VolumeId(0)), 0);
    let root = dir.path().join("current").join(POOL);
    for folder in ["tmp", "current/rbw"] {
        assert_eq!(fs::read_dir(root.join(folder)).unwrap().count(), 0, "{folder}");
    }
}

#[test]
fn safety_05_an_order_that_has_ended_deletes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = datanode(&[dir.path()]);
    put(&node, 1, &bytes(600));
    let replica = pool(&node).get(BlockId(1)).unwrap().block();
    let ended = node.dataset.invalidate(&pool(&node), replica, || false);
    assert!(ended.is_err());
    assert_eq!(read(&node, replica, 0, 600).unwrap(), bytes(600));
    node.dataset.invalidate(&pool(&node), replica, || true).unwrap();
    assert!(pool(&node).is_empty());
}
