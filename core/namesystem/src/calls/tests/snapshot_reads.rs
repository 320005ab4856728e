//! Reads below `.snapshot`, as clients and tools see them.

use super::fsck::report;
use super::*;
use hathi_formats::editlog::{EditOp, RpcIds};

fn take(ns: &mut Namesystem, root: &str, name: &str) {
    let ops = [
        EditOp::AllowSnapshot {
            snapshot_root: root.to_owned(),
        },
        EditOp::CreateSnapshot {
            snapshot_root: root.to_owned(),
            snapshot_name: name.to_owned(),
            mtime: NOW.wall_ms as i64,
            rpc_ids: RpcIds::NONE,
        },
    ];
    ns.commit(&ops).unwrap();
}

/// Writes a block to an open file and closes it.
fn write(ns: &mut Namesystem, path: &str, previous: Option<ExtendedBlockProto>, length: u64) -> ExtendedBlockProto {
    let located = call(ns, &hdfs(), &add_block(path, previous)).unwrap().block;
    received(ns, &located, length);
    let last = of_length(&located.b, length);
    assert!(call(ns, &hdfs(), &complete(path, Some(last.clone()))).unwrap().result);
    last
}

/// A file of which a snapshot `s` shows the first of two blocks, and another that is gone.
fn with_a_snapshot() -> Namesystem {
    let mut ns = active();
    datanodes(&mut ns, 3);
    call(&mut ns, &hdfs(), &mkdirs("/d/dir")).unwrap();
    for path in ["/d/dir/gone", "/d/f"] {
        call(&mut ns, &hdfs(), &create(path)).unwrap();
        write(&mut ns, path, None, 100);
    }
    take(&mut ns, "/d", "s");
    call(&mut ns, &hdfs(), &delete("/d/dir", true)).unwrap();
    let append = EditOp::Append {
        path: "/d/f".to_owned(),
        client_name: CLIENT.to_owned(),
        client_machine: "10.0.0.9".to_owned(),
        new_block: true,
        rpc_ids: RpcIds::NONE,
    };
    ns.commit(&[append]).unwrap();
    let first = locations(&mut ns, "/d/f", 0, 1).blocks.remove(0).b;
    write(&mut ns, "/d/f", Some(of_length(&first, 100)), 50);
    sync(&mut ns);
    ns
}

fn locations(ns: &mut Namesystem, path: &str, offset: u64, length: u64) -> LocatedBlocksProto {
    let request = GetBlockLocationsRequestProto {
        src: path.to_owned(),
        offset,
        length,
    };
    call(ns, &hdfs(), &request).unwrap().locations.unwrap()
}

#[test]
fn the_blocks_of_a_file_are_those_that_a_snapshot_shows() {
    let mut ns = with_a_snapshot();
    let now = locations(&mut ns, "/d/f", 0, 1000);
    assert_eq!((now.file_length, now.blocks.len()), (150, 2));
    let before = ns.edit_log().applied();
    let then = locations(&mut ns, "/d/.snapshot/s/f", 0, 1000);
    assert_eq!((then.file_length, then.blocks.len()), (100, 1));
    assert!(then.is_last_block_complete && !then.under_construction);
    assert_eq!(
        then.last_block.as_ref().map(|last| &last.b),
        then.blocks.last().map(|last| &last.b)
    );
    assert_eq!(then.blocks[0].locs.len(), 3);
    assert_eq!(locations(&mut ns, "/d/.snapshot/s/f", 120, 10).blocks.len(), 0);
    let gone = locations(&mut ns, "/d/.snapshot/s/dir/gone", 0, 1000);
    assert_eq!((gone.file_length, gone.blocks[0].locs.len()), (100, 3));
    assert_eq!(ns.edit_log().applied(), before, "nobody's access is noted");
}

#[test]
fn a_listing_with_locations_is_as_of_the_snapshot() {
    let mut ns = with_a_snapshot();
    let listing = |path: &str| GetListingRequestProto {
        src: path.to_owned(),
        start_after: Bytes::new(),
        need_location: true,
    };
    let listed = call(&mut ns, &hdfs(), &listing("/d/.snapshot/s"))
        .unwrap()
        .dir_list
        .unwrap();
    let [dir, file] = &listed.partial_listing[..] else {
        panic!("{listed:?}")
    };
    assert_eq!((&dir.path[..], dir.children_num), (&b"dir"[..], Some(1)));
    let located = file.locations.as_ref().unwrap();
    assert_eq!((file.length, located.file_length, located.blocks.len()), (100, 100, 1));
    let listed = call(&mut ns, &hdfs(), &listing("/d/.snapshot"))
        .unwrap()
        .dir_list
        .unwrap();
    assert_eq!(listed.partial_listing[0].path, &b"s"[..]);
    let info = call(&mut ns, &hdfs(), &file_info("/d/.snapshot")).unwrap().fs.unwrap();
    assert_eq!((info.file_id, info.permission.perm), (Some(u64::MAX), 0o777));
    let info = call(&mut ns, &hdfs(), &file_info("/d")).unwrap().fs.unwrap();
    assert_eq!(info.flags.unwrap_or(0) & 8, 8, "snapshots may be taken of it");
    let info = call(&mut ns, &hdfs(), &file_info("/d/.snapshot/s"))
        .unwrap()
        .fs
        .unwrap();
    assert_eq!(info.flags.unwrap_or(0) & 8, 0);
}

#[test]
fn a_summary_says_what_only_snapshots_show() {
    let mut ns = with_a_snapshot();
    let request = |path: &str| GetContentSummaryRequestProto { path: path.to_owned() };
    let now = call(&mut ns, &hdfs(), &request("/d")).unwrap().summary;
    assert_eq!((now.length, now.file_count, now.directory_count), (250, 2, 2));
    assert_eq!(
        [
            now.snapshot_length,
            now.snapshot_file_count,
            now.snapshot_directory_count,
            now.snapshot_space_consumed
        ],
        [Some(100), Some(1), Some(1), Some(300)]
    );
    let then = call(&mut ns, &hdfs(), &request("/d/.snapshot/s")).unwrap().summary;
    assert_eq!((then.length, then.file_count, then.directory_count), (200, 2, 2));
    assert_eq!((then.snapshot_length, then.space_consumed), (Some(0), 600));
    let usage = GetQuotaUsageRequestProto {
        path: "/d/.snapshot/s".to_owned(),
    };
    let usage = call(&mut ns, &hdfs(), &usage).unwrap().usage;
    assert_eq!((usage.file_and_directory_count, usage.space_consumed), (4, 600));
    // A file that is gone is a file.
    let file = call(&mut ns, &hdfs(), &request("/d/.snapshot/s/dir/gone"))
        .unwrap()
        .summary;
    assert_eq!(
        (file.length, file.erasure_coding_policy.as_deref()),
        (100, Some("Replicated"))
    );
}

#[test]
fn fsck_looks_at_snapshots_if_it_is_asked_to() {
    let ns = with_a_snapshot();
    let told = |path: &str, options: &[&str]| {
        let (mut fsck, _) = report(&ns, path, &hdfs(), options);
        let text = fsck.take_text();
        let lines = text.lines().filter(|line| line.starts_with('/'));
        let paths: Vec<String> = lines
            .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
            .collect();
        assert!(text.contains("Status: HEALTHY"), "{text}");
        paths
    };
    let snapshot = [
        "/d/.snapshot/s",
        "/d/.snapshot/s/dir",
        "/d/.snapshot/s/dir/gone",
        "/d/.snapshot/s/f",
    ];
    assert_eq!(told("/d", &["files"]), ["/d", "/d/f"]);
    assert_eq!(told("/d/.snapshot/s", &["files"]), snapshot);
    let all = [&["/", "/d/.snapshot"], &snapshot[..], &["/d", "/d/f"]].concat();
    assert_eq!(told("/", &["files", "includeSnapshots"]), all);
}

#[test]
fn what_is_below_a_snapshot_is_not_changed() {
    let mut ns = with_a_snapshot();
    let applied = ns.edit_log().applied();
    for path in ["/d/.snapshot/s/f", "/d/.snapshot/t", "/d/.snapshot"] {
        let chmod = SetPermissionRequestProto {
            src: path.to_owned(),
            permission: mode(0o700),
        };
        let more = GetAdditionalDatanodeRequestProto {
            src: path.to_owned(),
            client_name: CLIENT.to_owned(),
            blk: ExtendedBlockProto {
                pool_id: POOL.to_owned(),
                ..Default::default()
            },
            num_additional_nodes: 1,
            ..Default::default()
        };
        let refusals = [
            call(&mut ns, &hdfs(), &chmod).err(),
            call(&mut ns, &hdfs(), &mkdirs(path)).err(),
            call(&mut ns, &hdfs(), &delete(path, true)).err(),
            call(&mut ns, &hdfs(), &rename(path, "/x")).err(),
            call(&mut ns, &hdfs(), &create(path)).err(),
            call(&mut ns, &hdfs(), &more).err(),
        ];
        for refused in refusals {
            let refused = refused.expect("it is refused");
            assert!(refused.is(exceptions::SNAPSHOT_ACCESS_CONTROL), "{path}: {refused:?}");
        }
    }
    assert_eq!(ns.edit_log().applied(), applied);
}

#[test]
fn a_block_has_as_many_replicas_as_its_snapshots_want() {
    let mut ns = with_a_snapshot();
    let first = locations(&mut ns, "/d/f", 0, 1).blocks.remove(0).b;
    let wanted = |ns: &Namesystem| {
        ns.blockmanager()
            .block(BlockId(first.block_id as i64))
            .map(|view| view.replication)
    };
    let fewer = EditOp::SetReplication {
        path: "/d/f".to_owned(),
        replication: 1,
    };
    ns.commit(&[fewer]).unwrap();
    assert_eq!(wanted(&ns), Some(3));
    let end = EditOp::DeleteSnapshot {
        snapshot_root: "/d".to_owned(),
        snapshot_name: "s".to_owned(),
        mtime: NOW.wall_ms as i64,
        rpc_ids: RpcIds::NONE,
    };
    ns.commit(&[end]).unwrap();
    assert_eq!(wanted(&ns), Some(1));
}
