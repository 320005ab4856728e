//! Files that are being written, and their blocks.

use super::*;

#[test]
fn blocks_of_concatenated_files_get_the_replication_of_their_new_file() {
    let mut ns = active();
    datanodes(&mut ns, 3);
    let mut last = BlockId(0);
    for (path, replication) in [("/target", 3), ("/source", 1)] {
        let request = CreateRequestProto {
            replication,
            ..create(path)
        };
        call(&mut ns, &hdfs(), &request).unwrap();
        let added = call(&mut ns, &hdfs(), &add_block(path, None)).unwrap().block;
        received(&mut ns, &added, 5);
        last = BlockId(added.b.block_id as i64);
        let done = complete(path, Some(of_length(&added.b, 5)));
        assert!(call(&mut ns, &hdfs(), &done).unwrap().result);
    }
    assert_eq!(ns.blockmanager().block(last).unwrap().replication, 1);
    let request = ConcatRequestProto {
        trg: "/target".to_owned(),
        srcs: vec!["/source".to_owned()],
    };
    call(&mut ns, &hdfs(), &request).unwrap();
    assert_eq!(ns.blockmanager().block(last).unwrap().replication, 3);
    ns.check();
}

#[test]
fn blocks_are_written_completed_and_located() {
    let mut ns = active();
    datanodes(&mut ns, 4);
    call(&mut ns, &hdfs(), &create("/f")).unwrap();
    let first = call(&mut ns, &hdfs(), &add_block("/f", None)).unwrap();
    let first = first.block;
    assert_eq!((first.b.pool_id.as_str(), first.offset, first.locs.len()), (POOL, 0, 3));
    assert_eq!(first.b.generation_stamp, 1001);

    let length = 128 << 20;
    let previous = of_length(&first.b, length);
    received(&mut ns, &first, length);
    let second = call(&mut ns, &hdfs(), &add_block("/f", Some(previous.clone()))).unwrap();
    let second = second.block;
    assert_eq!(second.offset, length);
    // The answer got lost; the same question again allocates nothing.
    let applied = ns.edit_log().applied();
    let again = call(&mut ns, &hdfs(), &add_block("/f", Some(previous))).unwrap();
    assert_eq!(again.block.b, second.b);
    assert_eq!(again.block.locs.len(), second.locs.len());
    assert_eq!(ns.edit_log().applied(), applied);

    let last = Some(of_length(&second.b, 1000));
    let not_yet = reply(&mut ns, &hdfs(), &complete("/f", last.clone()));
    assert_eq!(
        not_yet.reported,
        Reported::Awaits(BlockId(second.b.block_id as i64)),
        "no DataNode has reported the last block"
    );
    assert!(!CompleteResponseProto::decode(not_yet.result.unwrap()).unwrap().result);
    received(&mut ns, &second, 1000);
    let done = call(&mut ns, &hdfs(), &complete("/f", last.clone())).unwrap();
    assert!(done.result);
    let done = call(&mut ns, &hdfs(), &complete("/f", last)).unwrap();
    assert!(done.result, "a repetition of a complete that succeeded");

    for (offset, asked, starts) in [
        (0, 1, vec![0]),
        (0, u64::MAX >> 1, vec![0, length]),
        (length, 1, vec![length]),
        (length + 1000, 1, vec![]),
    ] {
        let request = GetBlockLocationsRequestProto {
            src: "/f".to_owned(),
            offset,
            length: asked,
        };
        let found = call(&mut ns, &hdfs(), &request).unwrap();
        let found = found.locations.unwrap();
        assert_eq!(found.file_length, length + 1000);
        assert!(found.is_last_block_complete && !found.under_construction);
        assert_eq!(
            found.blocks.iter().map(|block| block.offset).collect::<Vec<_>>(),
            starts,
            "{offset}+{asked}"
        );
        assert!(found.blocks.iter().all(|block| block.locs.len() == 3));
        assert_eq!(found.last_block.unwrap().b.block_id, second.b.block_id);
    }
}

#[test]
fn a_read_notes_the_access_time_once_per_precision() {
    let mut ns = active();
    make_file(&mut ns, "/f");
    sync(&mut ns);
    let later = CallContext {
        now_ms: NOW.wall_ms + 3_600_001,
        ..hdfs()
    };
    let request = GetBlockLocationsRequestProto {
        src: "/f".to_owned(),
        offset: 0,
        length: 1,
    };
    let before = ns.edit_log().applied();
    assert_eq!(reply(&mut ns, &later, &request).after, None);
    assert_eq!(ns.edit_log().applied(), before.next());
    sync(&mut ns);
    reply(&mut ns, &later, &request).result.unwrap();
    assert_eq!(ns.edit_log().applied(), before.next());
    let found = call(&mut ns, &hdfs(), &file_info("/f")).unwrap();
    assert_eq!(found.fs.unwrap().access_time, later.now_ms);
}

#[test]
fn a_broken_pipeline_goes_on_with_a_new_stamp() {
    let mut ns = active();
    datanodes(&mut ns, 3);
    call(&mut ns, &hdfs(), &create("/f")).unwrap();
    let block = call(&mut ns, &hdfs(), &add_block("/f", None)).unwrap();
    let old = block.block.b.clone();
    let request = UpdateBlockForPipelineRequestProto {
        block: old.clone(),
        client_name: CLIENT.to_owned(),
    };
    let stamped = call(&mut ns, &hdfs(), &request).unwrap();
    let new = of_length(&stamped.block.b, 100);
    assert!(new.generation_stamp > old.generation_stamp);
    let intruder = UpdateBlockForPipelineRequestProto {
        block: old.clone(),
        client_name: "DFSClient_2".to_owned(),
    };
    let refused = reply(&mut ns, &hdfs(), &intruder).result.unwrap_err();
    assert!(refused.is(exceptions::LEASE_EXPIRED), "{refused}");
    let request = UpdatePipelineRequestProto {
        client_name: CLIENT.to_owned(),
        old_block: old,
        new_block: new.clone(),
        new_nodes: vec![block.block.locs[0].id.clone()],
        storage_i_ds: vec![block.block.storage_i_ds[0].clone()],
    };
    let first = reply(&mut ns, &numbered(9), &request);
    assert_eq!(first.result.unwrap(), Bytes::new());
    assert!(reply(&mut ns, &numbered(9), &request).result.is_ok());
    let locations = GetBlockLocationsRequestProto {
        src: "/f".to_owned(),
        offset: 0,
        length: 1,
    };
    let found = call(&mut ns, &hdfs(), &locations).unwrap();
    let last = found.locations.unwrap().last_block.unwrap();
    assert_eq!((last.b.generation_stamp, last.locs.len()), (new.generation_stamp, 1));
    let gone = AbandonBlockRequestProto {
        b: new,
        src: "/f".to_owned(),
        holder: CLIENT.to_owned(),
        file_id: None,
    };
    reply(&mut ns, &hdfs(), &gone).result.unwrap();
    let found = call(&mut ns, &hdfs(), &locations).unwrap();
    assert!(found.locations.unwrap().blocks.is_empty());
}

#[test]
fn leases_pass_from_the_dead_to_the_living() {
    let mut ns = active();
    call(&mut ns, &hdfs(), &create("/f")).unwrap();
    let open = ListOpenFilesRequestProto {
        id: 0,
        types: vec![1],
        path: Some("/".to_owned()),
    };
    let files = call(&mut ns, &hdfs(), &open).unwrap();
    assert_eq!(files.entries.len(), 1);
    assert_eq!(
        (files.entries[0].path.as_str(), files.entries[0].client_name.as_str()),
        ("/f", CLIENT)
    );

    // After the soft limit another writer gets the file closed, and hears that it exists.
    let late = CallContext {
        mono_ms: NOW.monotonic_ms + 60_001,
        ..hdfs()
    };
    let second = CreateRequestProto {
        client_name: "DFSClient_2".to_owned(),
        ..create("/f")
    };
    let refused = reply(&mut ns, &late, &second).result.unwrap_err();
    assert!(refused.is(exceptions::FILE_ALREADY_EXISTS), "{refused}");
    let closed = call(&mut ns, &hdfs(), &IsFileClosedRequestProto { src: "/f".to_owned() }).unwrap();
    assert!(closed.result);

    // recoverLease does not wait for any limit.
    call(&mut ns, &hdfs(), &create("/g")).unwrap();
    let recover = RecoverLeaseRequestProto {
        src: "/g".to_owned(),
        client_name: "DFSClient_3".to_owned(),
    };
    let recovered = call(&mut ns, &hdfs(), &recover).unwrap();
    assert!(recovered.result);
}

#[test]
fn a_new_active_asks_readers_to_wait_for_block_reports() {
    let mut ns = active();
    datanodes(&mut ns, 3);
    call(&mut ns, &hdfs(), &create("/f")).unwrap();
    let located = call(&mut ns, &hdfs(), &add_block("/f", None)).unwrap();
    received(&mut ns, &located.block, 10);
    let last = Some(of_length(&located.block.b, 10));
    let done = call(&mut ns, &hdfs(), &complete("/f", last)).unwrap();
    assert!(done.result);

    let mut next = standby();
    replay(&mut ns, &mut next);
    next.begin_activation().unwrap();
    next.start_active(NOW).unwrap();
    let request = GetBlockLocationsRequestProto {
        src: "/f".to_owned(),
        offset: 0,
        length: 10,
    };
    let refused = reply(&mut next, &hdfs(), &request).result.unwrap_err();
    assert!(refused.is(exceptions::RETRIABLE), "{refused}");
    let start = "org.apache.hadoop.hdfs.server.namenode.SafeModeException: Zero blocklocations for /f. \
                 Name node is in safe mode.\n";
    assert!(refused.message.starts_with(start), "{refused}");
    datanodes(&mut next, 3);
    received(&mut next, &located.block, 10);
    let found = call(&mut next, &hdfs(), &request).unwrap();
    assert_eq!(found.locations.unwrap().blocks[0].locs.len(), 3);
}

#[test]
fn files_are_appended_to_and_truncated() {
    let mut ns = active();
    datanodes(&mut ns, 3);
    call(&mut ns, &hdfs(), &create("/f")).unwrap();
    let located = call(&mut ns, &hdfs(), &add_block("/f", None)).unwrap();
    received(&mut ns, &located.block, 100);
    let last = Some(of_length(&located.block.b, 100));
    call(&mut ns, &hdfs(), &complete("/f", last.clone())).unwrap();

    // A new block is asked for: the old last block is shown as it is, without a pipeline.
    let append = |flag| AppendRequestProto {
        src: "/f".to_owned(),
        client_name: CLIENT.to_owned(),
        flag,
    };
    let opened = call(&mut ns, &hdfs(), &append(Some(4 | 32))).unwrap();
    let shown = opened.block.unwrap();
    assert_eq!((shown.b.block_id, shown.locs.len()), (located.block.b.block_id, 0));
    let done = call(&mut ns, &hdfs(), &complete("/f", last)).unwrap();
    assert!(done.result);
    // Otherwise its pipeline is given, to write on.
    let opened = call(&mut ns, &hdfs(), &append(Some(4))).unwrap();
    let shown = opened.block.unwrap();
    assert_eq!((shown.b.num_bytes(), shown.locs.len()), (100, 3));

    let additional = GetAdditionalDatanodeRequestProto {
        src: "/f".to_owned(),
        blk: shown.b.clone(),
        existings: shown.locs[..2].to_vec(),
        existing_storage_uuids: shown.storage_i_ds[..2].to_vec(),
        excludes: Vec::new(),
        num_additional_nodes: 1,
        client_name: CLIENT.to_owned(),
        file_id: None,
    };
    let more = call(&mut ns, &hdfs(), &additional).unwrap();
    let ids = |nodes: &[DatanodeInfoProto]| nodes.iter().map(|node| node.id.clone()).collect::<Vec<_>>();
    assert_eq!(more.block.locs.len(), 3, "the existing ones and the new one");
    assert_eq!(ids(&more.block.locs[..2]), ids(&shown.locs[..2]));
    assert_eq!(more.block.storage_i_ds[..2], shown.storage_i_ds[..2]);
    assert_eq!((more.block.storage_i_ds.len(), more.block.storage_types.len()), (3, 3));
    assert!(shown.locs[..2].iter().all(|node| node.id != more.block.locs[2].id));

    let last = Some(shown.b);
    received(&mut ns, &located.block, 100);
    call(&mut ns, &hdfs(), &complete("/f", last)).unwrap();
    let truncate = |new_length| TruncateRequestProto {
        src: "/f".to_owned(),
        new_length,
        client_name: CLIENT.to_owned(),
    };
    let cut = call(&mut ns, &hdfs(), &truncate(100)).unwrap();
    assert!(cut.result, "the length it has");
    let cut = call(&mut ns, &hdfs(), &truncate(40)).unwrap();
    assert!(!cut.result, "DataNodes must shorten the last block");
    let recovery = ns.blockmanager().recovery(BlockId(located.block.b.block_id as i64));
    assert_eq!(recovery.unwrap().1.unwrap().length, 40);
    let refused = reply(&mut ns, &hdfs(), &truncate(u64::MAX)).result.unwrap_err();
    assert!(refused.is(exceptions::HADOOP_ILLEGAL_ARGUMENT), "{refused}");
}
