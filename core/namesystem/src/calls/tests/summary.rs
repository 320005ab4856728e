//! Reads that look at more than is looked at under one hold of the lock.

use super::*;
use crate::calls::{WALK_SLICE_INODES, WalkWork};
use hathi_formats::editlog::{AddOp, CloseOp, EditOp, PermissionStatus, RpcIds};
use hathi_formats::ids::InodeId;

fn summary_of(path: &str) -> GetContentSummaryRequestProto {
    GetContentSummaryRequestProto { path: path.to_owned() }
}

fn finish(ns: &Namesystem, mut work: WalkWork) -> Reply {
    loop {
        if let Some(done) = work.step(ns, WALK_SLICE_INODES) {
            return done;
        }
    }
}

/// An active with more directories below `/big` than are counted at once.
fn with_a_big_directory() -> (Namesystem, u64) {
    let mut ns = active();
    let count = WALK_SLICE_INODES as u64 * 2 + 7;
    for number in 0..count {
        call(&mut ns, &hdfs(), &mkdirs(&format!("/big/{number}"))).unwrap();
    }
    sync(&mut ns);
    (ns, count)
}

#[test]
fn the_lock_is_given_away_while_a_large_subtree_is_counted() {
    let (mut ns, count) = with_a_big_directory();
    let begun = reply(&mut ns, &hdfs(), &summary_of("/big"));
    let Some(Deferred::Walk(mut work)) = begun.deferred else {
        panic!("counted {count} inodes under one hold of the lock");
    };
    assert_eq!(work.step(&ns, WALK_SLICE_INODES).map(|_| ()), None);
    // Meanwhile others change it.
    let delete = DeleteRequestProto {
        src: "/big/0".to_owned(),
        recursive: true,
    };
    call(&mut ns, &hdfs(), &delete).unwrap();
    let done = finish(&ns, *work);
    let answer = GetContentSummaryResponseProto::decode(done.result.unwrap()).unwrap();
    assert!(
        (count..=count + 1).contains(&answer.summary.directory_count),
        "{answer:?}"
    );
    assert_eq!(done.after, Some(ns.edit_log().applied()), "it may show the deletion");

    let usage = GetQuotaUsageRequestProto {
        path: "/big".to_owned(),
    };
    let begun = reply(&mut ns, &hdfs(), &usage);
    assert!(matches!(begun.deferred, Some(Deferred::Walk(_))));
    let small = call(&mut ns, &hdfs(), &summary_of("/big/1")).unwrap();
    assert_eq!(small.summary.directory_count, 1);
}

#[test]
fn what_is_counted_is_still_forbidden_to_whom_it_is() {
    let (mut ns, _) = with_a_big_directory();
    let chmod = SetPermissionRequestProto {
        src: "/big/1".to_owned(),
        permission: mode(0o700),
    };
    call(&mut ns, &hdfs(), &chmod).unwrap();
    let mut told = reply(&mut ns, &user("alice", false), &summary_of("/big"));
    if let Some(Deferred::Walk(work)) = told.deferred {
        told = finish(&ns, *work);
    }
    assert!(told.result.unwrap_err().is(exceptions::ACCESS_CONTROL));
}

#[test]
fn the_lock_is_given_away_while_open_files_are_looked_for() {
    let mut ns = active();
    let others = WALK_SLICE_INODES + 7;
    for number in 0..others {
        call(&mut ns, &hdfs(), &create(&format!("/others/{number}"))).unwrap();
    }
    call(&mut ns, &hdfs(), &create("/wanted/f")).unwrap();
    let open = ListOpenFilesRequestProto {
        id: 0,
        types: Vec::new(),
        path: Some("/wanted".to_owned()),
    };
    let begun = reply(&mut ns, &hdfs(), &open);
    let Some(Deferred::Walk(work)) = begun.deferred else {
        panic!("looked at {others} files under one hold of the lock");
    };
    let done = finish(&ns, *work);
    let found = ListOpenFilesResponseProto::decode(done.result.unwrap()).unwrap();
    let paths: Vec<&str> = found.entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!((paths, found.has_more), (vec!["/wanted/f"], false));
    assert_eq!(done.after, Some(ns.edit_log().applied()), "it shows what is in flight");
}

/// Closed files with a block each, of which no DataNode has a replica.
fn with_corrupt_files(paths: impl Iterator<Item = String>) -> Namesystem {
    let mut ns = new_namesystem();
    let mut txid = TxId(0);
    let mut replay = |op: EditOp| {
        txid = txid.next();
        ns.replay(txid, &op, NOW.monotonic_ms).unwrap();
    };
    let permissions = PermissionStatus {
        user: "hdfs".to_owned(),
        group: "supergroup".to_owned(),
        mode: 0o755,
    };
    for (number, dir) in (1..).zip(["/others", "/wanted"]) {
        replay(EditOp::Mkdir {
            inode_id: InodeId(InodeId::ROOT.0 + number),
            path: dir.to_owned(),
            time: 0,
            permissions: permissions.clone(),
            acl_entries: Vec::new(),
            xattrs: Vec::new(),
        });
    }
    for (number, path) in (10..).zip(paths) {
        let add = AddOp {
            inode_id: InodeId(InodeId::ROOT.0 + number),
            path: path.clone(),
            replication: 1,
            block_size: 1 << 20,
            permissions: permissions.clone(),
            client_name: CLIENT.to_owned(),
            ..AddOp::default()
        };
        replay(EditOp::Add(add));
        let last = Block {
            id: BlockId(BlockId::LAST_RESERVED.0 + number as i64),
            num_bytes: 1,
            generation_stamp: GenerationStamp(1001),
        };
        replay(EditOp::AddBlock {
            path: path.clone(),
            penultimate: None,
            last,
            rpc_ids: RpcIds::NONE,
        });
        replay(EditOp::Close(CloseOp {
            path,
            blocks: vec![last],
            permissions: permissions.clone(),
            ..CloseOp::default()
        }));
    }
    ns.begin_activation().unwrap();
    ns.start_active(NOW).unwrap();
    ns.leave_safe_mode(true, NOW);
    while ns.blockmanager_mut().redundancy_tick(NOW, 1000) {}
    ns
}

/// Hadoop's client takes an empty page for the end (`CorruptFileBlockIterator`).
#[test]
fn corrupt_files_below_a_path_are_found_behind_many_others() {
    let others = WALK_SLICE_INODES + 7;
    let paths = (0..others).map(|number| format!("/others/{number}"));
    let wanted = (0..150).map(|number| format!("/wanted/{number}"));
    let mut ns = with_corrupt_files(paths.chain(wanted));
    let mut found = Vec::new();
    let mut cookie = None;
    loop {
        let request = ListCorruptFileBlocksRequestProto {
            path: "/wanted".to_owned(),
            cookie: cookie.take(),
        };
        let mut told = reply(&mut ns, &hdfs(), &request);
        let is_first = found.is_empty();
        assert_eq!(
            matches!(told.deferred, Some(Deferred::Walk(_))),
            is_first,
            "more than {WALK_SLICE_INODES} blocks are not looked at under one hold of the lock"
        );
        if let Some(Deferred::Walk(work)) = told.deferred {
            told = finish(&ns, *work);
        }
        let page = ListCorruptFileBlocksResponseProto::decode(told.result.unwrap())
            .unwrap()
            .corrupt;
        if page.files.is_empty() {
            break;
        }
        found.extend(page.files);
        cookie = Some(page.cookie);
    }
    assert_eq!(found.len(), 150);
    assert!(found.iter().all(|path| path.starts_with("/wanted/")), "{found:?}");
}
