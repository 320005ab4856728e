//! Reads below `.snapshot`, and what snapshots change of reads of the present. The numbers are those that Hadoop 3.5 gives.

use std::ops::ControlFlow;

use hathi_formats::exceptions as ex;

use super::*;

/// A snapshot of a directory is taken.
fn take(fix: &mut Fixture, root: &str, name: &str) {
    if !fix.stat(root).unwrap().snapshottable {
        fix.op(&EditOp::AllowSnapshot {
            snapshot_root: root.to_owned(),
        });
    }
    fix.op(&EditOp::CreateSnapshot {
        snapshot_root: root.to_owned(),
        snapshot_name: name.to_owned(),
        mtime: fix.now_ms as i64,
        rpc_ids: RpcIds::NONE,
    });
    fix.now_ms += 1;
}

fn chmod(fix: &mut Fixture, path: &str, mode: u16) {
    let plan = fix.ns.plan_set_permission(&fix.ctx(ROOT), path, mode).unwrap();
    fix.commit(plan);
}

fn replicate(fix: &mut Fixture, path: &str, replication: u16) {
    let plan = fix.ns.plan_set_replication(&fix.ctx(ROOT), path, replication).unwrap();
    fix.commit(plan);
}

/// A closed file of one replica.
fn single(fix: &mut Fixture, path: &str, blocks: &[u64]) -> InodeId {
    let id = fix.file(path, blocks).unwrap();
    replicate(fix, path, 1);
    id
}

fn rename(fix: &mut Fixture, src: &str, dst: &str) {
    let plan = fix.ns.plan_rename(&fix.ctx(ROOT), src, dst).unwrap();
    assert!(fix.commit(plan), "{src} is renamed");
}

fn delete(fix: &mut Fixture, path: &str) {
    assert!(fix.delete(ROOT, path, true).unwrap());
}

/// A tree of which a snapshot `s2` and later others were taken.
fn changed() -> Fixture {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d/sub").unwrap();
    fix.mkdirs(ROOT, "/plain").unwrap();
    single(&mut fix, "/d/f", &[1024, 476]);
    single(&mut fix, "/d/sub/g", &[700]);
    single(&mut fix, "/d/m", &[100]);
    take(&mut fix, "/d", "s2");
    chmod(&mut fix, "/d/f", 0o600);
    replicate(&mut fix, "/d/f", 2);
    rename(&mut fix, "/d/m", "/plain/m2");
    delete(&mut fix, "/d/sub");
    fix.mkdirs(ROOT, "/d/new").unwrap();
    chmod(&mut fix, "/d", 0o700);
    take(&mut fix, "/d", "s1");
    take(&mut fix, "/d", "s3");
    fix
}

fn listed(fix: &Fixture, path: &str) -> Result<Option<usize>, Refused> {
    let iip = fix.ns.resolve(path)?;
    fix.ns.list(&ROOT, &iip, b"", 10, &mut |_| ControlFlow::Continue(()))
}

/// Length, files, directories and space, and of these what only snapshots show.
fn counted(fix: &Fixture, path: &str) -> ([u64; 4], [u64; 4]) {
    let iip = fix.ns.resolve(path).unwrap();
    let mut walk = fix.ns.content_summary(&ROOT, &iip, path).unwrap();
    while !fix.ns.content_summary_step(&ROOT, &mut walk, 1).unwrap() {}
    let sum = walk.summary;
    (
        [sum.length, sum.file_count, sum.directory_count, sum.space_consumed],
        [
            sum.snapshot_length,
            sum.snapshot_file_count,
            sum.snapshot_directory_count,
            sum.snapshot_space_consumed,
        ],
    )
}

#[test]
fn the_snapshots_of_a_directory_are_a_directory_in_it() {
    let fix = changed();
    for path in ["/d/.snapshot", "/d/.snapshot/", "/.reserved/raw/d/.snapshot"] {
        let status = fix.stat(path).unwrap();
        assert_eq!(status.kind, InodeKind::Directory);
        assert_eq!((status.id.0 as i64, status.mode, status.owner), (-1, 0o777, ""));
        assert!(!fix.ns.resolve(path).unwrap().exists(), "no inode is there");
    }
    assert_eq!(fix.names("/d/.snapshot"), ["s1", "s2", "s3"], "by name");
    assert_eq!(fix.names("/d"), ["f", "new"], "it is not listed");
    let mut statuses = Vec::new();
    let iip = fix.ns.resolve("/d/.snapshot").unwrap();
    let left = fix.ns.list(&ROOT, &iip, b"s1", 1, &mut |status| {
        statuses.push((status.id, status.mode, status.snapshottable));
        ControlFlow::Continue(())
    });
    assert_eq!(left.unwrap(), Some(1));
    assert_eq!(statuses, [(fix.stat("/d").unwrap().id, 0o755, false)]);
}

#[test]
fn where_no_snapshot_is_nothing_is() {
    let fix = changed();
    for path in [
        "/d/.snapshot/none",
        "/d/.snapshot/none/f",
        "/plain/.snapshot",
        "/plain/.snapshot/s2",
        "/nope/.snapshot",
        "/d/.snapshot/s2/.snapshot",
        "/d/.snapshot/s2/.snapshot/s2",
        "/d/.snapshot/s1/m",
        "/d/.snapshot/s1/sub",
        "/d/.snapshot/s2/new",
        "/d/.snapshots/s2",
        "/d/.snap/s2",
    ] {
        assert!(fix.stat(path).is_none(), "{path}");
    }
    for (path, class, message) in [
        (
            "/plain/.snapshot",
            ex::SNAPSHOT,
            "Directory is not a snapshottable directory: /plain",
        ),
        (
            "/d/.snapshot/s2/.snapshot",
            ex::SNAPSHOT,
            "Directory is not a snapshottable directory: /d/.snapshot/s2",
        ),
        ("/nope/.snapshot", ex::FILE_NOT_FOUND, "Directory does not exist: /nope"),
        ("/d/f/.snapshot", ex::ACCESS_CONTROL, "/d/f (is not a directory)"),
        (
            "/d/.snapshot/s2/f/x",
            ex::ACCESS_CONTROL,
            "/d/.snapshot/s2/f (is not a directory)",
        ),
    ] {
        let refused = listed(&fix, path).unwrap_err();
        assert!(refused.is(class), "{path}: {refused:?}");
        assert_eq!(refused.message, message);
    }
    assert_eq!(listed(&fix, "/d/.snapshot/none").unwrap(), None);
    let root = fix.ns.resolve("/d/.snapshot").unwrap();
    let src = "/d/.snapshot";
    assert!(fix.ns.content_summary(&ROOT, &root, src).is_err());
    assert!(
        fix.ns
            .open_for_read(&ROOT, &root, src)
            .unwrap_err()
            .is(ex::FILE_NOT_FOUND)
    );
    assert!(
        fix.ns
            .list_xattrs(&ROOT, &root, src)
            .unwrap_err()
            .is(ex::FILE_NOT_FOUND)
    );
    assert!(fix.ns.link_target(&ROOT, &root, src).unwrap_err().is(ex::IO));
    assert_eq!(fix.ns.acl_status(&ROOT, &root, src).unwrap().1, []);
}

#[test]
fn a_snapshot_is_read_as_it_was() {
    let fix = changed();
    assert_eq!(fix.names("/d/.snapshot/s2"), ["f", "m", "sub"]);
    assert_eq!(fix.names("/d/.snapshot/s1"), ["f", "new"]);
    let root = fix.stat("/d/.snapshot/s2").unwrap();
    assert_eq!((root.id, root.mode), (fix.stat("/d").unwrap().id, 0o755));
    assert_eq!((root.children, root.snapshottable), (3, false));
    let file = fix.stat("/d/.snapshot/s2/f").unwrap();
    assert_eq!((file.mode, file.replication, file.length), (0o644, 1, 1500));
    let file = fix.stat("/.reserved/raw/d/.snapshot/s1/f").unwrap();
    assert_eq!((file.mode, file.replication, file.length), (0o600, 2, 1500));
    // What is gone, and what is elsewhere now.
    assert_eq!(fix.stat("/d/.snapshot/s2/sub/g").unwrap().length, 700);
    let moved = fix.stat("/d/.snapshot/s2/m").unwrap().id;
    assert_eq!(moved, fix.stat("/plain/m2").unwrap().id);
    let by_id = format!("/.reserved/.inodes/{}/.snapshot/s2/f", root.id.0);
    assert_eq!(fix.stat(&by_id).unwrap().mode, 0o644);
    let gone = fix.stat("/d/.snapshot/s2/sub").unwrap().id;
    assert!(fix.ns.resolve(&format!("/.reserved/.inodes/{}", gone.0)).is_err());
    fix.ns.check();
}

#[test]
fn acls_and_attributes_are_those_of_then() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d/dir").unwrap();
    single(&mut fix, "/d/dir/f", &[10]);
    let value = |value: &[u8]| XAttr {
        namespace: XAttrNamespace::User,
        name: "of".to_owned(),
        value: Some(value.to_vec()),
    };
    let entry = |name: &str| AclEntry {
        scope: AclEntryScope::Access,
        entry_type: AclEntryType::User,
        name: Some(name.to_owned()),
        permission: 7,
    };
    for (at, name) in ["then", "now"].into_iter().enumerate() {
        let ctx = fix.ctx(ROOT);
        let plans = [
            fix.ns
                .plan_set_xattr(&ctx, "/d/dir/f", &value(name.as_bytes()), at == 0, at == 1),
            fix.ns.plan_modify_acl(&ctx, "/d/dir", &[entry(name)]),
            fix.ns
                .plan_set_storage_policy(&ctx, "/d/dir", Some(["COLD", "ALL_SSD"][at])),
            fix.ns.plan_set_quota(&ctx, "/d/dir", 100 + at as i64, -1, None),
        ];
        for plan in plans {
            fix.commit(plan.unwrap());
        }
        if at == 0 {
            take(&mut fix, "/d", "s");
        }
    }
    let dir = fix.ns.resolve("/d/.snapshot/s/dir").unwrap();
    let file = fix.ns.resolve("/d/.snapshot/s/dir/f").unwrap();
    let (status, acl) = fix.ns.acl_status(&ROOT, &dir, "").unwrap();
    assert!(status.has_acl && acl.contains(&entry("then")) && !acl.contains(&entry("now")));
    assert_eq!(fix.ns.list_xattrs(&ROOT, &file, "").unwrap(), [value(b"then")]);
    assert_eq!(fix.ns.xattrs(&ROOT, &file, "", &[]).unwrap(), [value(b"then")]);
    // The policy is the latest: where replicas belong is no matter of a snapshot.
    assert_eq!(fix.ns.storage_policy(&ROOT, &file, "").unwrap(), 12);
    assert_eq!(fix.stat("/d/.snapshot/s/dir/f").unwrap().storage_policy, 12);
    assert_eq!(fix.stat("/d/dir/f").unwrap().storage_policy, 12);
    let walk = fix.ns.content_summary(&ROOT, &dir, "").unwrap();
    assert_eq!(walk.summary.ns_quota, 100);
    assert_eq!(fix.ns.quota_usage(&ROOT, &dir, "").unwrap(), None, "it is counted");
    // The ACL of then lets in who it let in then.
    let then = Caller { user: "then", ..ALICE };
    assert!(fix.ns.check_access(&then, &dir, 2).is_ok());
    assert!(fix.ns.check_access(&Caller { user: "now2", ..then }, &dir, 2).is_err());
}

#[test]
fn rights_are_those_of_then() {
    let fix = changed();
    let info = |path: &str| fix.ns.file_info(&ALICE, &fix.ns.resolve(path).unwrap());
    for path in [
        "/d/f",
        "/d/.snapshot/s1/f",
        "/d/.snapshot/s3",
        "/d/.snapshot",
        "/d/.snapshot/none",
    ] {
        let refused = info(path).unwrap_err();
        assert!(refused.is(ex::ACCESS_CONTROL), "{path}: {refused:?}");
        assert_eq!(
            refused.message,
            "Permission denied: user=alice, access=EXECUTE, inode=\"/d\":hdfs:supergroup:drwx------"
        );
    }
    assert!(info("/d/.snapshot/s2/f").unwrap().is_some());
    let file = fix.ns.resolve("/d/.snapshot/s2/f").unwrap();
    assert!(fix.ns.open_for_read(&ALICE, &file, "").is_ok());
    let dir = fix.ns.resolve("/d/.snapshot/s2").unwrap();
    assert!(
        fix.ns
            .list(&ALICE, &dir, b"", 9, &mut |_| ControlFlow::Continue(()))
            .is_ok()
    );
    let mut walk = fix.ns.content_summary(&ALICE, &dir, "").unwrap();
    assert!(fix.ns.content_summary_step(&ALICE, &mut walk, 100).unwrap());
}

#[test]
fn a_snapshot_is_read_only() {
    let fix = changed();
    let (ctx, ns) = (fix.ctx(ROOT), &fix.ns);
    let request = |src| CreateRequest {
        src,
        mode: 0o644,
        unmasked: None,
        client_name: "client",
        create: true,
        overwrite: true,
        create_parent: true,
        replication: 3,
        block_size: BS,
        lazy_persist: false,
        storage_policy: "",
        ec_policy: "",
        should_replicate: false,
    };
    let attribute = XAttr {
        namespace: XAttrNamespace::User,
        name: "a".to_owned(),
        value: None,
    };
    for path in [
        "/d/.snapshot",
        "/d/.snapshot/s2",
        "/d/.snapshot/s2/f",
        "/d/.snapshot/s2/none",
        "/d/.snapshot/none",
    ] {
        let none = InodeId(0);
        let refusals = [
            ns.plan_mkdirs(&ctx, path, 0o755, None, true).err(),
            ns.plan_create(&ctx, &request(path), &fix.view).err(),
            ns.plan_delete(&ctx, path, true, None).err(),
            ns.plan_rename(&ctx, path, "/plain/x").err(),
            ns.plan_rename(&ctx, "/plain/m2", path).err(),
            ns.plan_set_permission(&ctx, path, 0o755).err(),
            ns.plan_set_owner(&ctx, path, Some("x"), None).err(),
            ns.plan_set_times(&ctx, path, 1, 1).err(),
            ns.plan_set_replication(&ctx, path, 1).err(),
            ns.plan_set_quota(&ctx, path, 1, 1, None).err(),
            ns.plan_set_storage_policy(&ctx, path, Some("HOT")).err(),
            ns.plan_set_acl(&ctx, path, &[]).err(),
            ns.plan_remove_acl(&ctx, path).err(),
            ns.plan_set_xattr(&ctx, path, &attribute, true, false).err(),
            ns.plan_remove_xattr(&ctx, path, &attribute).err(),
            ns.plan_concat(&ctx, path, &["/plain/m2".to_owned()]).err(),
            ns.plan_concat(&ctx, "/plain/m2", &[path.to_owned()]).err(),
            ns.plan_complete(&ctx, path, none, "client", None, &fix.view).err(),
        ];
        for (at, refused) in refusals.into_iter().enumerate() {
            let refused = refused.unwrap_or_else(|| panic!("{path}: change {at} is allowed"));
            assert!(refused.is(ex::SNAPSHOT_ACCESS_CONTROL), "{path}, {at}: {refused:?}");
            assert_eq!(refused.message, "Modification on a read-only snapshot is disallowed");
        }
    }
    // Neither may an edit change it.
    let mut fix = fix;
    let op = EditOp::SetPermissions {
        src: "/d/.snapshot/s2/f".to_owned(),
        mode: 0o777,
    };
    assert!(fix.ns.apply(fix.ns.last_applied_txid() + 1, &op).is_err());
}

#[test]
fn summaries_count_what_only_snapshots_show() {
    let fix = changed();
    assert_eq!(counted(&fix, "/d"), ([2300, 3, 3, 3800], [800, 2, 1, 800]));
    assert_eq!(counted(&fix, "/"), ([2400, 4, 5, 3900], [800, 2, 1, 800]));
    assert_eq!(counted(&fix, "/d/.snapshot/s2"), ([2300, 3, 2, 2300], [0; 4]));
    assert_eq!(counted(&fix, "/d/.snapshot/s2/f"), ([1500, 1, 0, 1500], [0; 4]));
    assert_eq!(counted(&fix, "/d/f"), ([1500, 1, 0, 3000], [0; 4]));
}

#[test]
fn summaries_count_as_hadoop_does_through_renames_and_truncates() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/e/x").unwrap();
    fix.mkdirs(ROOT, "/plain").unwrap();
    single(&mut fix, "/e/x/k", &[900]);
    single(&mut fix, "/e/t", &[1024, 976]);
    single(&mut fix, "/e/z", &[50]);
    single(&mut fix, "/e/ow", &[60]);
    take(&mut fix, "/e", "a");
    rename(&mut fix, "/e/x/k", "/e/k2");
    assert_eq!(counted(&fix, "/e"), ([3910, 5, 2, 3910], [900, 1, 0, 900]));
    assert_eq!(counted(&fix, "/e/x"), ([900, 1, 1, 900], [900, 1, 0, 900]));
    fix.op(&EditOp::Truncate {
        src: "/e/t".to_owned(),
        client_name: "client".to_owned(),
        client_machine: "host".to_owned(),
        new_length: 1024,
        time: fix.now_ms as i64,
        truncate_block: None,
    });
    assert_eq!(counted(&fix, "/e"), ([2934, 5, 2, 3910], [900, 1, 0, 900]));
    assert_eq!(counted(&fix, "/e/t"), ([1024, 1, 0, 2000], [0; 4]));
    assert_eq!(counted(&fix, "/e/.snapshot/a/t"), ([2000, 1, 0, 2000], [0; 4]));
    replicate(&mut fix, "/e/z", 3);
    assert_eq!(counted(&fix, "/e"), ([2934, 5, 2, 4010], [900, 1, 0, 900]));
    assert_eq!(counted(&fix, "/e/.snapshot/a/z"), ([50, 1, 0, 50], [0; 4]));
    delete(&mut fix, "/e/x");
    assert_eq!(counted(&fix, "/e/.snapshot/a/x"), ([900, 1, 1, 900], [0; 4]));
    assert_eq!(counted(&fix, "/e/.snapshot/a"), ([3010, 4, 2, 3010], [0; 4]));
    fix.mkdirs(ROOT, "/e/y").unwrap();
    take(&mut fix, "/e", "b");
    single(&mut fix, "/e/y/in", &[10]);
    take(&mut fix, "/e", "c");
    delete(&mut fix, "/e/y/in");
    assert_eq!(counted(&fix, "/e/y"), ([10, 1, 1, 10], [10, 1, 0, 10]));
    let before = counted(&fix, "/e").1;
    delete(&mut fix, "/e/y");
    rename(&mut fix, "/e/k2", "/plain/k3");
    let after = counted(&fix, "/e").1;
    assert_eq!(
        [after[0] - before[0], after[1] - before[1], after[2] - before[2]],
        [900, 1, 1]
    );
    fix.ns.check();
}

#[test]
fn the_blocks_of_a_file_have_the_replicas_that_a_snapshot_wants() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    let file = fix.file("/d/f", &[10, 20]).unwrap();
    fix.mkdirs(ROOT, "/q").unwrap();
    take(&mut fix, "/d", "s");
    let plan = fix.ns.plan_set_replication(&fix.ctx(ROOT), "/d/f", 1).unwrap();
    let effects = fix.op(&plan.ops[0]);
    assert_eq!(effects.effects.len(), 0, "as many as before are wanted");
    assert_eq!(fix.ns.replication(file), Some(3));
    let plan = fix.ns.plan_set_replication(&fix.ctx(ROOT), "/d/f", 5).unwrap();
    let effects = fix.op(&plan.ops[0]);
    let changed = |old, new| Effect::ReplicationChanged { file, old, new };
    assert_eq!(effects.effects.as_slice(), [changed(3, 5)]);
    replicate(&mut fix, "/d/f", 2);
    let mut seen = Vec::new();
    fix.ns
        .for_each_block(&mut |_, id, replication, _| seen.push((id, replication)));
    assert_eq!(seen, [(file, BlockLayout::Replicas(3)); 2]);
    let effects = fix.op(&EditOp::DeleteSnapshot {
        snapshot_root: "/d".to_owned(),
        snapshot_name: "s".to_owned(),
        mtime: 0,
        rpc_ids: RpcIds::NONE,
    });
    assert_eq!(effects.effects.as_slice(), [changed(3, 2)]);
    // Of a file that is gone, the blocks are still known.
    take(&mut fix, "/d", "t");
    let block = fix.ns.all_blocks_of(file)[0];
    delete(&mut fix, "/d/f");
    assert_eq!(fix.ns.block(block).map(|(_, file)| file), Some(file));
    assert_eq!(
        (fix.ns.all_blocks_of(file).len(), fix.ns.replication(file)),
        (2, Some(2))
    );
    fix.ns.check();
}

#[test]
fn a_snapshot_that_ends_under_a_walk_ends_the_walk() {
    let mut fix = changed();
    let iip = fix.ns.resolve("/d/.snapshot/s2").unwrap();
    let mut walk = fix.ns.content_summary(&ROOT, &iip, "").unwrap();
    assert!(!fix.ns.content_summary_step(&ROOT, &mut walk, 1).unwrap());
    fix.op(&EditOp::DeleteSnapshot {
        snapshot_root: "/d".to_owned(),
        snapshot_name: "s2".to_owned(),
        mtime: 0,
        rpc_ids: RpcIds::NONE,
    });
    assert!(fix.ns.content_summary_step(&ROOT, &mut walk, 1).unwrap());
}
