//! Striped files: what writers and readers are told of their block groups, here and on a standby that takes over.

use super::datanode::{dn, heartbeat, notices, register};
use super::fsck::report;
use super::*;
use hathi_formats::proto::datanode::received_deleted_block_info_proto::BlockStatus;
use hathi_formats::proto::datanode::{
    BlockReceivedAndDeletedResponseProto, HeartbeatRequestProto, HeartbeatResponseProto,
};

const CELL: u64 = 1 << 20;

/// An active with so many DataNodes, of which `/d` is striped by XOR-2-1-1024k.
fn with_policy(nodes: u32) -> Namesystem {
    let mut ns = active();
    for node in 0..nodes {
        register(&mut ns, node);
    }
    let name = "XOR-2-1-1024k".to_owned();
    let enable = EnableErasureCodingPolicyRequestProto {
        ec_policy_name: name.clone(),
    };
    call(&mut ns, &hdfs(), &enable).unwrap();
    call(&mut ns, &hdfs(), &mkdirs("/d")).unwrap();
    let set = SetErasureCodingPolicyRequestProto {
        src: "/d".to_owned(),
        ec_policy_name: Some(name),
    };
    call(&mut ns, &hdfs(), &set).unwrap();
    ns
}

fn node_of(located: &LocatedBlockProto, at: usize) -> u32 {
    let uuid = &located.locs[at].id.datanode_uuid;
    uuid.strip_prefix("uuid-").unwrap().parse().unwrap()
}

/// The DataNode at this place of a group has its internal block, of so many bytes.
fn tell(ns: &mut Namesystem, group: &LocatedBlockProto, at: usize, stamp: u64, length: u64) -> Vec<BlockId> {
    let index = group.block_indices.as_ref().unwrap()[at];
    let told = BlockProto {
        block_id: group.b.block_id + u64::from(index),
        gen_stamp: stamp,
        num_bytes: Some(length),
    };
    let node = node_of(group, at);
    let told = notices(node, told, BlockStatus::Received);
    let reply = datanode::raw_dn(ns, &datanode::from(node), "blockReceivedAndDeleted", &told);
    BlockReceivedAndDeletedResponseProto::decode(reply.result.unwrap()).unwrap();
    match reply.reported {
        Reported::Blocks(blocks) => blocks,
        other => panic!("{other:?}"),
    }
}

fn locations(ns: &mut Namesystem, src: &str) -> LocatedBlocksProto {
    let request = GetBlockLocationsRequestProto {
        src: src.to_owned(),
        offset: 0,
        length: u64::MAX >> 1,
    };
    call(ns, &hdfs(), &request).unwrap().locations.unwrap()
}

/// A closed file of 3 MiB in one group.
fn written(ns: &mut Namesystem) -> LocatedBlockProto {
    call(ns, &hdfs(), &create("/d/f")).unwrap();
    let group = call(ns, &hdfs(), &add_block("/d/f", None)).unwrap().block;
    let stamp = group.b.generation_stamp;
    for (at, length) in [2 * CELL, CELL, 2 * CELL].into_iter().enumerate() {
        tell(ns, &group, at, stamp, length);
    }
    let last = of_length(&group.b, 3 * CELL);
    assert!(call(ns, &hdfs(), &complete("/d/f", Some(last))).unwrap().result);
    group
}

#[test]
fn a_striped_file_is_written_and_read_with_the_places_of_its_internal_blocks() {
    let mut ns = with_policy(4);
    let mut standby = standby();
    let made = call(&mut ns, &hdfs(), &create("/d/f")).unwrap().fs.unwrap();
    assert_eq!(made.ec_policy.map(|policy| policy.id), Some(4));
    assert_eq!(made.block_replication, Some(1));
    let group = call(&mut ns, &hdfs(), &add_block("/d/f", None)).unwrap().block;
    assert_eq!(group.b.block_id as i64, i64::MIN + 16);
    assert_eq!(group.block_indices.as_deref(), Some(&[0, 1, 2][..]));
    assert_eq!((group.locs.len(), group.block_tokens.len()), (3, 3));
    // Asked again, because the answer was lost.
    let again = call(&mut ns, &hdfs(), &add_block("/d/f", None)).unwrap().block;
    assert_eq!(again, group);
    // Too few have all data at first.
    let stamp = group.b.generation_stamp;
    let waiting = tell(&mut ns, &group, 2, stamp, 2 * CELL);
    assert_eq!(waiting, [BlockId(i64::MIN + 16)], "a writer waits for the group");
    let last = of_length(&group.b, 3 * CELL);
    let not_yet = call(&mut ns, &hdfs(), &complete("/d/f", Some(last.clone()))).unwrap();
    assert!(!not_yet.result);
    tell(&mut ns, &group, 0, stamp, 2 * CELL);
    assert!(call(&mut ns, &hdfs(), &complete("/d/f", Some(last))).unwrap().result);
    tell(&mut ns, &group, 1, stamp, CELL);

    let located = locations(&mut ns, "/d/f");
    assert_eq!((located.file_length, located.blocks.len()), (3 * CELL, 1));
    assert_eq!(located.ec_policy.as_ref().map(|policy| policy.id), Some(4));
    assert_eq!(located.blocks[0].block_indices.as_deref(), Some(&[0, 1, 2][..]));
    let summary = GetContentSummaryRequestProto {
        path: "/d/f".to_owned(),
    };
    let summary = call(&mut ns, &hdfs(), &summary).unwrap().summary;
    assert_eq!((summary.length, summary.space_consumed), (3 * CELL, 5 * CELL));
    assert_eq!(summary.erasure_coding_policy(), "XOR-2-1-1024k");
    ns.check();

    replay(&mut ns, &mut standby);
    standby.check();
    assert_eq!(standby.namespace().digest(), ns.namespace().digest());
}

#[test]
fn a_group_needs_as_many_datanodes_as_hold_its_data() {
    let mut ns = with_policy(1);
    call(&mut ns, &hdfs(), &create("/d/f")).unwrap();
    let refused = call(&mut ns, &hdfs(), &add_block("/d/f", None)).unwrap_err();
    assert!(
        refused.to_string().contains(
            "File /d/f could only be written to 1 of the 2 required nodes for XOR-2-1-1024k. There are 1 datanode(s) \
             running and 0 node(s) are excluded in this operation."
        ),
        "{refused}"
    );
    register(&mut ns, 1);
    let group = call(&mut ns, &hdfs(), &add_block("/d/f", None)).unwrap().block;
    assert_eq!(
        group.block_indices.as_deref(),
        Some(&[0, 1][..]),
        "without parity at first"
    );
}

#[test]
fn a_writer_names_the_datanodes_that_it_goes_on_with_by_their_places() {
    let mut ns = with_policy(3);
    call(&mut ns, &hdfs(), &create("/d/f")).unwrap();
    let group = call(&mut ns, &hdfs(), &add_block("/d/f", None)).unwrap().block;
    let request = UpdateBlockForPipelineRequestProto {
        block: group.b.clone(),
        client_name: CLIENT.to_owned(),
    };
    let stamped = call(&mut ns, &hdfs(), &request).unwrap().block;
    assert_eq!(stamped.block_indices.as_deref(), Some(&[0, 1, 2][..]));
    let stamped = stamped.b;
    assert!(stamped.generation_stamp > group.b.generation_stamp);
    let mut nodes: Vec<DatanodeIdProto> = group.locs.iter().map(|node| node.id.clone()).collect();
    let mut storages = group.storage_i_ds.clone();
    // The client has lost the second one (`DatanodeID.EMPTY_DATANODE_ID`).
    nodes[1] = DatanodeIdProto::default();
    storages[1] = String::new();
    let request = UpdatePipelineRequestProto {
        client_name: CLIENT.to_owned(),
        old_block: group.b.clone(),
        new_block: stamped.clone(),
        new_nodes: nodes,
        storage_i_ds: storages,
    };
    call(&mut ns, &hdfs(), &request).unwrap();
    let located = locations(&mut ns, "/d/f");
    let last = located.last_block.unwrap();
    assert_eq!(last.block_indices.as_deref(), Some(&[0, 2][..]));
    assert_eq!(node_of(&last, 1), node_of(&group, 2));
    let request = GetAdditionalDatanodeRequestProto {
        src: "/d/f".to_owned(),
        blk: stamped,
        client_name: CLIENT.to_owned(),
        num_additional_nodes: 1,
        ..Default::default()
    };
    let refused = call(&mut ns, &hdfs(), &request).unwrap_err();
    assert!(refused.is(exceptions::UNSUPPORTED_OPERATION), "{refused}");
    ns.check();
}

#[test]
fn fsck_and_the_statistics_tell_of_groups_beside_blocks() {
    let mut ns = with_policy(4);
    let group = written(&mut ns);
    let (mut fsck, _) = report(&ns, "/d", &hdfs(), &["files", "blocks", "locations"]);
    let text = fsck.take_text();
    let id = i64::MIN + 16;
    for words in [
        "/d/f 3145728 bytes, erasure-coded: policy=XOR-2-1-1024k, 1 block(s):  OK\n".to_owned(),
        format!(
            "0. {POOL}:blk_{id}_{} len=3145728 Live_repl=3  [blk_{id}:Data",
            group.b.generation_stamp
        ),
        "Replicated Blocks:\n Total size:\t0 B\n".to_owned(),
        "Erasure Coded Block Groups:\n Total size:\t3145728 B\n Total files:\t1\n Total block groups (validated):\t1 \
         (avg. block group size 3145728 B)\n Minimally erasure-coded block groups:\t1 (100.0 %)\n"
            .to_owned(),
        " Average block group size:\t3.0\n".to_owned(),
    ] {
        assert!(text.contains(&words), "no {words:?} in\n{text}");
    }
    let stats = |ns: &Namesystem| ns.blockmanager().group_counts();
    assert_eq!(stats(&ns).low_redundancy, 0);
    for at in [0, 1] {
        let node = ns
            .blockmanager()
            .find_datanode(&group.locs[at].id.datanode_uuid)
            .unwrap();
        ns.blockmanager_mut().node_died(node);
    }
    ns.heartbeat_check(NOW, 100);
    let (mut fsck, _) = report(&ns, "/d", &hdfs(), &["files"]);
    let text = fsck.take_text();
    assert!(text.contains(" MISSING 1 blocks of total size 3145728 B\n"), "{text}");
    assert!(text.contains(" UNRECOVERABLE BLOCK GROUPS:\t1 (100.0 %)\n"), "{text}");
    assert_eq!(fsck.last_line(), Some("\n\nThe filesystem under path '/d' is CORRUPT"));
}

#[test]
fn what_is_coded_goes_only_to_datanodes_that_do_not_say_that_they_can_not() {
    let mut ns = with_policy(3);
    let codes = |ns: &Namesystem, node: u32| {
        let index = ns.blockmanager().find_datanode(&format!("uuid-{node}")).unwrap();
        ns.blockmanager().datanode(index).unwrap().codes
    };
    assert!(codes(&ns, 0), "Hadoop's");
    let ours = HeartbeatRequestProto {
        codes_nothing: Some(true),
        ..heartbeat(0)
    };
    dn::<HeartbeatResponseProto>(&mut ns, 0, "sendHeartbeat", &ours).unwrap();
    assert!(!codes(&ns, 0) && codes(&ns, 1));
}
