//! One verb after the other: what it decides, what it refuses and with which words.

use hathi_formats::editlog::{AclEntryScope, AclEntryType};
use hathi_formats::exceptions as ex;

use super::*;

fn refused<T: std::fmt::Debug>(result: Result<T, Refused>, class: ex::ExceptionClass, message: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.class(), error.message.as_str()), (Some(class), message));
}

fn iip<'s>(fix: &Fixture, path: &'s str) -> InodesInPath<'s> {
    fix.ns.resolve(path).unwrap()
}

#[test]
fn a_log_of_hadoop_leads_to_the_state_of_hadoops_image() {
    let log = include_bytes!("../../golden/hadoop-3.5.0/edits_0000000000000000001-0000000000000001417");
    let bytes = include_bytes!("../../golden/hadoop-3.5.0/fsimage_0000000000000001417");
    let config = NamespaceConfig {
        fs_owner: "root".to_owned(),
        ..NamespaceConfig::default()
    };
    let mut ns = Namespace::new(config.clone());
    let mut frames = Frames::new(&log[8..], 8);
    while let Some(frame) = frames.next_frame().unwrap() {
        let op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).unwrap();
        ns.apply(frame.txid.0, &op).unwrap();
    }
    ns.check();
    let image = Image::open(&bytes[..]).unwrap();
    let loaded = image::load(config, &image).unwrap();
    loaded.check();
    assert_eq!(ns.last_applied_txid(), loaded.last_applied_txid());
    assert_eq!(ns.digest(), loaded.digest());
    assert_eq!(loaded.open_file_count(), 3);
}

#[test]
fn permissions_are_refused_in_hadoops_words() {
    let mut fix = Fixture::new();
    fix.file("/x/f", &[1]).unwrap();
    refused(
        fix.create(ALICE, "/x/g", false),
        ex::ACCESS_CONTROL,
        "Permission denied: user=alice, access=WRITE, inode=\"/x\":hdfs:supergroup:drwxr-xr-x",
    );
    refused(
        fix.mkdirs(ALICE, "/a/b"),
        ex::ACCESS_CONTROL,
        "Permission denied: user=alice, access=WRITE, inode=\"/\":hdfs:supergroup:drwxr-xr-x",
    );
    let plan = fix.ns.plan_set_permission(&fix.ctx(ROOT), "/x", 0o700).unwrap();
    fix.commit(plan);
    refused(
        fix.ns.file_info(&ALICE, &iip(&fix, "/x/f")).map(|_| ()),
        ex::ACCESS_CONTROL,
        "Permission denied: user=alice, access=EXECUTE, inode=\"/x\":hdfs:supergroup:drwx------",
    );
    refused(
        fix.ns.plan_set_permission(&fix.ctx(ALICE), "/", 0o777).map(|_| ()),
        ex::ACCESS_CONTROL,
        "Permission denied. user=alice is not the owner of inode=/",
    );
    refused(
        fix.ns.file_info(&ROOT, &iip(&fix, "/x/f/below")).map(|_| ()),
        ex::ACCESS_CONTROL,
        "/x/f (is not a directory)",
    );
    refused(
        fix.create(ROOT, "/x/f/below", false),
        ex::PARENT_NOT_DIRECTORY,
        "/x/f (is not a directory)",
    );
    refused(
        fix.ns.check_superuser(&ALICE),
        ex::ACCESS_CONTROL,
        "Access denied for user alice. Superuser privilege is required",
    );
    let staff = ["staff".to_owned()];
    let bob = Caller {
        user: "bob",
        groups: &staff,
        superuser: false,
    };
    let plan = fix
        .ns
        .plan_set_owner(&fix.ctx(ROOT), "/x", Some("carol"), Some("staff"))
        .unwrap();
    fix.commit(plan);
    assert!(fix.ns.file_info(&bob, &iip(&fix, "/x/f")).is_err());
    let plan = fix.ns.plan_set_permission(&fix.ctx(ROOT), "/x", 0o750).unwrap();
    fix.commit(plan);
    assert!(fix.ns.file_info(&bob, &iip(&fix, "/x/f")).is_ok());
    fix.check();
}

#[test]
fn the_sticky_bit_guards_what_others_own() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/tmp").unwrap();
    let plan = fix.ns.plan_set_permission(&fix.ctx(ROOT), "/tmp", 0o1777).unwrap();
    fix.commit(plan);
    fix.file("/tmp/hers", &[]).unwrap();
    refused(
        fix.delete(ALICE, "/tmp/hers", false),
        ex::ACCESS_CONTROL,
        "Permission denied by sticky bit: user=alice, path=\"/tmp/hers\":hdfs:supergroup:-rw-r--r--, parent=\"/tmp\":hdfs:supergroup:drwxrwxrwt",
    );
    let id = fix.create(ALICE, "/tmp/own", false).unwrap();
    assert_eq!(fix.ns.status(id).unwrap().group, "supergroup");
    assert!(fix.delete(ALICE, "/tmp/own", false).unwrap());
    fix.check();
}

#[test]
fn what_cannot_be_created_says_why() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    refused(
        fix.create(ROOT, "/d", false),
        ex::FILE_ALREADY_EXISTS,
        "/d already exists as a directory",
    );
    fix.file("/d/f", &[1]).unwrap();
    refused(
        fix.create(ROOT, "/d/f", false),
        ex::FILE_ALREADY_EXISTS,
        "/d/f for client host already exists",
    );
    refused(
        fix.mkdirs(ROOT, "/d/f"),
        ex::FILE_ALREADY_EXISTS,
        "Path is not a directory: /d/f",
    );
    refused(
        fix.mkdirs(ROOT, &format!("/d/{}", "n".repeat(256))),
        ex::PATH_COMPONENT_TOO_LONG,
        &format!(
            "The maximum path component name limit of {} in directory /d is exceeded: limit=255 length=256",
            "n".repeat(256)
        ),
    );
    refused(
        fix.mkdirs(ROOT, "/d/.snapshot"),
        ex::HADOOP_ILLEGAL_ARGUMENT,
        "\".snapshot\" is a reserved name.",
    );
    assert_eq!(fix.mkdirs(ROOT, "/a:b").unwrap_err().class(), Some(ex::INVALID_PATH));
    assert_eq!(fix.mkdirs(ROOT, &"/a".repeat(1001)).unwrap_err().class(), Some(ex::IO));
    let request = CreateRequest {
        src: "/d/g",
        mode: 0o644,
        unmasked: None,
        client_name: "client",
        create: true,
        overwrite: false,
        create_parent: false,
        replication: 3,
        block_size: 1000,
        lazy_persist: false,
        storage_policy: "",
        ec_policy: "",
        should_replicate: false,
    };
    refused(
        fix.ns.plan_create(&fix.ctx(ROOT), &request, &fix.view).map(|_| ()),
        ex::IO,
        "Specified block size 1000 is less than configured minimum value dfs.namenode.fs-limits.min-block-size=1048576",
    );
    let request = CreateRequest {
        src: "/no/parent",
        block_size: BS,
        ..request
    };
    refused(
        fix.ns.plan_create(&fix.ctx(ROOT), &request, &fix.view).map(|_| ()),
        ex::FILE_NOT_FOUND,
        "Parent directory doesn't exist: /no",
    );
    refused(
        fix.delete(ROOT, "/d", false),
        ex::PATH_IS_NOT_EMPTY_DIRECTORY,
        "`/d is non empty': Directory is not empty",
    );
    assert!(!fix.delete(ROOT, "/", true).unwrap());
    let config = NamespaceConfig {
        max_directory_items: 1,
        ..NamespaceConfig::default()
    };
    let mut fix = Fixture::with(config);
    fix.mkdirs(ROOT, "/one").unwrap();
    refused(
        fix.mkdirs(ROOT, "/two"),
        ex::MAX_DIRECTORY_ITEMS_EXCEEDED,
        "The directory item limit of / is exceeded: limit=1 items=1",
    );
}

#[test]
fn a_retried_add_block_gets_the_same_block() {
    let mut fix = Fixture::new();
    let file = fix.create(ROOT, "/f", false).unwrap();
    let first = fix.add_block(file, None).unwrap();
    assert_eq!((first.id.0, first.generation_stamp.0), ((1 << 30) + 1, 1001));
    let ctx = fix.ctx(ROOT);
    let again = fix
        .ns
        .check_add_block(&ctx, "/f", file, "client", None, &fix.view)
        .unwrap();
    assert!(matches!(again, AddBlockCheck::Retry { last, offset: 0, .. } if last == first));
    let full = Block { num_bytes: BS, ..first };
    let second = fix.add_block(file, Some(full)).unwrap();
    let again = fix.ns.plan_add_block(file, "client", Some(full)).unwrap();
    assert!(again.ops.is_empty());
    assert_eq!((again.reply.block, again.reply.offset), (second, BS));
    let wrong = Block {
        id: BlockId(77),
        ..first
    };
    assert_eq!(fix.add_block(file, Some(wrong)).unwrap_err().class(), Some(ex::IO));
    fix.view.incomplete.insert(first.id.0);
    refused(
        fix.add_block(file, Some(second)),
        ex::NOT_REPLICATED_YET,
        "Not replicated yet: /f",
    );
    fix.check();
}

#[test]
fn complete_waits_for_replicas_and_may_be_repeated() {
    let mut fix = Fixture::new();
    let file = fix.create(ROOT, "/f", false).unwrap();
    let block = Block {
        num_bytes: 10,
        ..fix.add_block(file, None).unwrap()
    };
    fix.view.incomplete.insert(block.id.0);
    assert!(!fix.complete("/f", file, Some(block)).unwrap());
    fix.view.incomplete.clear();
    assert!(fix.complete("/f", file, Some(block)).unwrap());
    assert!(fix.complete("/f", file, Some(block)).unwrap());
    assert_eq!(fix.stat("/f").unwrap().length, 10);
    let other = Block {
        id: BlockId(5),
        ..block
    };
    assert_eq!(
        fix.complete("/f", file, Some(other)).unwrap_err().class(),
        Some(ex::LEASE_EXPIRED)
    );
    refused(
        fix.ns
            .plan_fsync(&fix.ctx(ROOT), "/f", file, "other", -1, |_| true)
            .map(|_| ()),
        ex::LEASE_EXPIRED,
        &format!("File is not open for writing: /f (inode {file}) Holder other does not have any open files."),
    );
    fix.check();
}

#[test]
fn blocks_are_abandoned_synced_and_restamped() {
    let mut fix = Fixture::new();
    let file = fix.create(ROOT, "/f", false).unwrap();
    let first = Block {
        num_bytes: BS,
        ..fix.add_block(file, None).unwrap()
    };
    let second = fix.add_block(file, Some(first)).unwrap();
    let plan = fix
        .ns
        .plan_abandon_block(&fix.ctx(ROOT), second, "/f", file, "client")
        .unwrap();
    fix.commit(plan);
    assert_eq!(fix.removed.iter().map(|b| b.id).collect::<Vec<_>>(), [second.id]);
    let plan = fix
        .ns
        .plan_abandon_block(&fix.ctx(ROOT), second, "/f", file, "client")
        .unwrap();
    assert!(plan.ops.is_empty());
    let third = fix.add_block(file, Some(first)).unwrap();
    let plan = fix
        .ns
        .plan_fsync(&fix.ctx(ROOT), "/f", file, "client", 123, |_| true)
        .unwrap();
    fix.commit(plan);
    assert_eq!(fix.stat("/f").unwrap().length, BS + 123);
    let plan = fix.ns.plan_update_block_for_pipeline(third, "client").unwrap();
    let stamped = fix.commit(plan);
    assert!(stamped.generation_stamp > third.generation_stamp);
    let shorter = Block {
        num_bytes: 100,
        ..stamped
    };
    assert_eq!(
        fix.ns
            .plan_update_pipeline(&fix.ctx(ROOT), "client", third, shorter)
            .unwrap_err()
            .class(),
        Some(ex::IO)
    );
    let longer = Block {
        num_bytes: 200,
        ..stamped
    };
    refused(
        fix.ns
            .plan_update_pipeline(&fix.ctx(ROOT), "thief", third, longer)
            .map(|_| ()),
        ex::LEASE_EXPIRED,
        &format!(
            "Lease mismatch: blk_{}_{} is accessed by a non lease holder thief",
            third.id, third.generation_stamp
        ),
    );
    let plan = fix
        .ns
        .plan_update_pipeline(&fix.ctx(ROOT), "client", third, longer)
        .unwrap();
    assert_eq!(fix.commit(plan), file);
    assert_eq!(fix.ns.block(third.id), Some((longer, file)));
    fix.check();
}

#[test]
fn a_standby_counts_stamps_only_with_their_blocks() {
    let mut ns = Namespace::new(NamespaceConfig::default());
    ns.apply(
        1,
        &EditOp::SetGenstampV2 {
            genstamp: GenerationStamp(1001),
        },
    )
    .unwrap();
    assert_eq!(ns.generation_stamp().0, 1000);
    ns.start_active(0);
    assert_eq!(ns.generation_stamp().0, 1001);
    let mut fix = Fixture::new();
    fix.file("/f", &[1]).unwrap();
    assert_eq!(fix.replayed().generation_stamp().0, 1001);
}

#[test]
fn leases_run_out_and_are_taken_over() {
    let mut fix = Fixture::new();
    let file = fix.create(ROOT, "/f", false).unwrap();
    let block = fix.add_block(file, None).unwrap();
    fix.view.incomplete.insert(block.id.0);
    let request = |name| CreateRequest {
        src: "/f",
        mode: 0o644,
        unmasked: None,
        client_name: name,
        create: true,
        overwrite: false,
        create_parent: true,
        replication: 3,
        block_size: BS,
        lazy_persist: false,
        storage_policy: "",
        ec_policy: "",
        should_replicate: false,
    };
    refused(
        fix.ns
            .plan_create(&fix.ctx(ROOT), &request("client"), &fix.view)
            .map(|_| ()),
        ex::ALREADY_BEING_CREATED,
        "Failed to CREATE_FILE /f for client on host because client is already the current lease holder.",
    );
    refused(
        fix.ns
            .plan_create(&fix.ctx(ROOT), &request("other"), &fix.view)
            .map(|_| ()),
        ex::ALREADY_BEING_CREATED,
        "Failed to CREATE_FILE /f for other on host because this file lease is currently owned by client on host",
    );
    fix.now_ms += 60_001;
    let plan = fix
        .ns
        .plan_create(&fix.ctx(ROOT), &request("other"), &fix.view)
        .unwrap();
    let CreateOutcome::LeaseRecovery(LeaseRecovery::RecoverBlock {
        block: found,
        recovery_id,
        ..
    }) = fix.commit(plan)
    else {
        panic!("no recovery")
    };
    assert_eq!((found.id, recovery_id.0), (block.id, block.generation_stamp.0 + 1));
    assert!(fix.ns.expired_leases(fix.now_ms, file, 10).is_empty());
    fix.now_ms += 1_200_000;
    assert_eq!(fix.ns.expired_leases(fix.now_ms, file, 10), [file]);
    fix.view.recovery = Some((block.id, recovery_id));
    let plan = fix
        .ns
        .plan_release_lease(fix.now_ms, file, Some("HDFS_NameNode"), &fix.view)
        .unwrap();
    assert_eq!(fix.commit(plan), LeaseRecovery::InProgress { file });
    assert_eq!(fix.ns.lease_holder(file), Some("HDFS_NameNode"));

    let mut sync = BlockSynchronization {
        block,
        new_generation_stamp: GenerationStamp(1),
        new_length: 42,
        close_file: true,
        delete_block: false,
    };
    let wrong = fix.ns.plan_commit_block_synchronization(fix.now_ms, &sync, &fix.view);
    assert!(
        wrong
            .unwrap_err()
            .message
            .contains("does not match current recovery id")
    );
    sync.new_generation_stamp = recovery_id;
    let plan = fix
        .ns
        .plan_commit_block_synchronization(fix.now_ms, &sync, &fix.view)
        .unwrap();
    assert_eq!(
        fix.commit(plan).map(|(file, block)| (file, block.num_bytes)),
        Some((file, 42))
    );
    assert_eq!(fix.stat("/f").unwrap().length, 42);
    assert!(!fix.stat("/f").unwrap().under_construction);
    assert_eq!(fix.ns.lease_count(), 0);
    // Said again by another DataNode: nothing to do.
    assert!(
        fix.ns
            .plan_commit_block_synchronization(fix.now_ms, &sync, &fix.view)
            .unwrap()
            .ops
            .is_empty()
    );
    fix.check();
}

#[test]
fn recover_lease_closes_what_nobody_wrote_to() {
    let mut fix = Fixture::new();
    let file = fix.create(ROOT, "/empty", false).unwrap();
    let plan = fix
        .ns
        .plan_recover_lease(&fix.ctx(ROOT), "/empty", "other", "nn", &fix.view)
        .unwrap();
    assert_eq!(fix.commit(plan), LeaseRecovery::Closed { file });
    let file = fix.create(ROOT, "/one", false).unwrap();
    fix.add_block(file, None).unwrap();
    fix.view.holders = Some(Holders::Nobody);
    fix.view.incomplete.insert((1 << 30) + 1);
    let plan = fix
        .ns
        .plan_recover_lease(&fix.ctx(ROOT), "/one", "other", "nn", &fix.view)
        .unwrap();
    assert_eq!(fix.commit(plan), LeaseRecovery::Closed { file });
    assert_eq!(fix.ns.blocks_of(file).count(), 0);
    fix.check();
}

#[test]
fn truncate_inside_a_block_waits_for_its_recovery() {
    let mut fix = Fixture::new();
    let file = fix.file("/f", &[BS, BS, 100]).unwrap();
    let plan = fix
        .ns
        .plan_truncate(&fix.ctx(ROOT), "/f", BS + 7, "client", &fix.view)
        .unwrap();
    let Truncated::RecoverBlock { block, recovery_id, .. } = fix.commit(plan) else {
        panic!("done at once")
    };
    assert_eq!(block.num_bytes, 7);
    assert_eq!(fix.removed.len(), 1);
    let again = |length| fix.ns.plan_truncate(&fix.ctx(ROOT), "/f", length, "client", &fix.view);
    let same = again(BS + 7).unwrap();
    assert!(same.ops.is_empty());
    assert_eq!(same.reply, Truncated::UnderWay);
    assert!(again(BS + 8).unwrap_err().is(ex::ALREADY_BEING_CREATED));
    assert!(fix.stat("/f").unwrap().under_construction);
    // What it is to become is known to who replays the log, and to who loads an image made now.
    fix.check();
    let target = Some(TruncateTarget {
        length: 7,
        source: None,
    });
    assert_eq!(fix.ns.truncate_target(file), target);
    assert_eq!(fix.replayed().truncate_target(file), target);
    assert_eq!(fix.loaded().truncate_target(file), target);
    // The lease is passed on meanwhile.
    let path = "/f".to_owned();
    fix.op(&EditOp::ReassignLease {
        lease_holder: "client".to_owned(),
        path,
        new_holder: "other".to_owned(),
    });
    assert_eq!(fix.ns.truncate_target(file), target);
    // Its holder does not write.
    let ctx = fix.ctx(ROOT);
    assert!(fix.ns.plan_update_block_for_pipeline(block, "other").is_err());
    assert!(fix.ns.plan_abandon_block(&ctx, block, "/f", file, "other").is_err());
    assert!(
        fix.ns
            .plan_complete(&ctx, "/f", file, "other", Some(block), &fix.view)
            .is_err()
    );
    fix.view.finalized_length = Some(100);
    let plan = fix.ns.plan_complete(&ctx, "/f", file, "other", None, &fix.view);
    assert!(!plan.unwrap().reply.done);
    fix.view.recovery = Some((block.id, recovery_id));
    let sync = BlockSynchronization {
        block,
        new_generation_stamp: recovery_id,
        new_length: 7,
        close_file: true,
        delete_block: false,
    };
    let plan = fix
        .ns
        .plan_commit_block_synchronization(fix.now_ms, &sync, &fix.view)
        .unwrap();
    fix.commit(plan);
    assert_eq!(fix.stat("/f").unwrap().length, BS + 7);
    assert_eq!(fix.ns.blocks_of(file).count(), 2);
    fix.check();
}

#[test]
fn safety_n12_the_source_of_a_copy_on_truncate_belongs_to_its_file() {
    for end in ["recovered", "deleted"] {
        let mut fix = Fixture::new();
        let file = fix.file("/f", &[BS, 100]).unwrap();
        let source = fix.ns.blocks_of(file).last().unwrap().block;
        let copy = Block {
            id: BlockId(source.id.0 + 1),
            num_bytes: 0,
            generation_stamp: GenerationStamp(source.generation_stamp.0 + 1),
        };
        fix.op(&EditOp::Truncate {
            src: "/f".to_owned(),
            client_name: "client".to_owned(),
            client_machine: "host".to_owned(),
            new_length: (BS + 40) as i64,
            time: 1,
            truncate_block: Some(copy),
        });
        assert_eq!(fix.removed, []);
        fix.check();
        let target = TruncateTarget {
            length: 40,
            source: Some(source),
        };
        assert_eq!(fix.loaded().truncate_target(file), Some(target));
        assert_eq!(fix.ns.block(source.id), Some((source, file)));
        let recovery_id = GenerationStamp(copy.generation_stamp.0 + 1);
        fix.view.recovery = Some((copy.id, recovery_id));
        if end == "recovered" {
            let sync = BlockSynchronization {
                block: source,
                new_generation_stamp: recovery_id,
                new_length: 40,
                close_file: true,
                delete_block: false,
            };
            let plan = fix.ns.plan_commit_block_synchronization(fix.now_ms, &sync, &fix.view);
            let (_, last) = fix.commit(plan.unwrap()).unwrap();
            assert_eq!((last.id, last.num_bytes), (copy.id, 40));
            assert_eq!(fix.stat("/f").unwrap().length, BS + 40);
            assert_eq!(fix.removed, [source]);
        } else {
            assert!(fix.delete(ROOT, "/f", false).unwrap());
            let removed: BTreeSet<i64> = fix.removed.iter().map(|block| block.id.0).collect();
            assert_eq!(removed.len(), 3);
            assert!(removed.contains(&source.id.0) && removed.contains(&copy.id.0));
        }
        assert_eq!(fix.ns.truncate_target(file), None);
        fix.check();
    }
}

#[test]
fn quotas_hold_and_follow_renames() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/q").unwrap();
    fix.mkdirs(ROOT, "/free").unwrap();
    let plan = fix.ns.plan_set_quota(&fix.ctx(ROOT), "/q", 3, -1, None).unwrap();
    fix.commit(plan);
    fix.file("/q/a", &[]).unwrap();
    fix.file("/free/x", &[]).unwrap();
    fix.file("/free/y", &[]).unwrap();
    let to =
        |fix: &Fixture, src: &str, dst: &str| fix.ns.plan_rename2(&fix.ctx(ROOT), src, dst, RenameOptions::default());
    let plan = to(&fix, "/free/x", "/q/x").unwrap();
    fix.commit(plan);
    let message = "The NameSpace quota (directories and files) of directory /q is exceeded: quota=3 file count=4";
    refused(to(&fix, "/free/y", "/q/y").map(|_| ()), ex::NS_QUOTA_EXCEEDED, message);
    refused(fix.mkdirs(ROOT, "/q/d"), ex::NS_QUOTA_EXCEEDED, message);
    let usage = fix.ns.quota_usage(&ROOT, &iip(&fix, "/q"), "/q").unwrap().unwrap();
    assert_eq!(
        (usage.file_and_directory_count, usage.ns_quota, usage.ds_quota),
        (3, 3, -1)
    );
    let plan = to(&fix, "/q/x", "/free/x").unwrap();
    fix.commit(plan);
    fix.check();
    // Space: an open block counts in full.
    let plan = fix
        .ns
        .plan_set_quota(&fix.ctx(ROOT), "/free", -1, 3 * BS as i64, None)
        .unwrap();
    fix.commit(plan);
    let file = fix.create(ROOT, "/free/z", false).unwrap();
    let block = fix.add_block(file, None).unwrap();
    let error = fix.add_block(file, Some(Block { num_bytes: BS, ..block })).unwrap_err();
    assert_eq!(
        (error.class(), error.message.as_str()),
        (
            Some(ex::DS_QUOTA_EXCEEDED),
            "The DiskSpace quota of /free is exceeded: quota = 3145728 B = 3 MB but diskspace consumed = 6291456 B = 6 MB"
        )
    );
    assert!(
        fix.complete("/free/z", file, Some(Block { num_bytes: 10, ..block }))
            .unwrap()
    );
    let usage = fix
        .ns
        .quota_usage(&ROOT, &iip(&fix, "/free"), "/free")
        .unwrap()
        .unwrap();
    assert_eq!(usage.space_consumed, 30);
    fix.check();
}

#[test]
fn acls_are_inherited_checked_and_removed() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    let named = |scope, name: &str, permission| AclEntry {
        scope,
        entry_type: AclEntryType::User,
        name: Some(name.to_owned()),
        permission,
    };
    let spec = [
        named(AclEntryScope::Access, "alice", 7),
        named(AclEntryScope::Default, "alice", 6),
    ];
    let plan = fix.ns.plan_modify_acl(&fix.ctx(ROOT), "/d", &spec).unwrap();
    fix.commit(plan);
    fix.file("/d/f", &[]).unwrap();
    let (status, entries) = fix.ns.acl_status(&ROOT, &iip(&fix, "/d/f"), "").unwrap();
    assert!(status.has_acl);
    assert_eq!(status.mode, 0o644);
    assert_eq!(entries.len(), 2);
    assert!(fix.ns.check_access(&ALICE, &iip(&fix, "/d/f"), 4).is_ok());
    // The mask comes from the mode asked for: read only.
    assert!(fix.ns.check_access(&ALICE, &iip(&fix, "/d/f"), 2).is_err());
    fix.mkdirs(ALICE, "/d/sub").unwrap();
    let (_, entries) = fix.ns.acl_status(&ROOT, &iip(&fix, "/d/sub"), "").unwrap();
    assert_eq!(entries.iter().filter(|e| e.scope == AclEntryScope::Default).count(), 5);
    fix.check();
    let plan = fix.ns.plan_remove_acl(&fix.ctx(ROOT), "/d").unwrap();
    fix.commit(plan);
    assert_eq!(fix.stat("/d").unwrap().mode, 0o755);
    assert!(fix.mkdirs(ALICE, "/d/other").is_err());
    let default_on_file = [named(AclEntryScope::Default, "alice", 6)];
    assert_eq!(
        fix.ns
            .plan_modify_acl(&fix.ctx(ROOT), "/d/f", &default_on_file)
            .unwrap_err()
            .class(),
        Some(ex::ACL)
    );
    fix.check();
}

#[test]
fn extended_attributes_by_namespace() {
    let mut fix = Fixture::new();
    fix.file("/f", &[]).unwrap();
    let xattr = |namespace, name: &str| XAttr {
        namespace,
        name: name.to_owned(),
        value: Some(b"v".to_vec()),
    };
    let (user, trusted) = (xattr(XAttrNamespace::User, "a"), xattr(XAttrNamespace::Trusted, "b"));
    for (attr, create, replace) in [(&user, true, false), (&trusted, true, true)] {
        let plan = fix
            .ns
            .plan_set_xattr(&fix.ctx(ROOT), "/f", attr, create, replace)
            .unwrap();
        fix.commit(plan);
    }
    refused(
        fix.ns
            .plan_set_xattr(&fix.ctx(ROOT), "/f", &user, true, false)
            .map(|_| ()),
        ex::IO,
        "XAttr: a already exists. The REPLACE flag must be specified.",
    );
    refused(
        fix.ns
            .plan_set_xattr(&fix.ctx(ALICE), "/f", &trusted, true, true)
            .map(|_| ()),
        ex::ACCESS_CONTROL,
        "User doesn't have permission for xattr: trusted.b",
    );
    assert_eq!(fix.ns.xattrs(&ROOT, &iip(&fix, "/f"), "", &[]).unwrap().len(), 2);
    assert_eq!(
        fix.ns.xattrs(&ALICE, &iip(&fix, "/f"), "", &[]).unwrap(),
        std::slice::from_ref(&user)
    );
    assert!(
        fix.ns
            .xattrs(&ROOT, &iip(&fix, "/f"), "", &[xattr(XAttrNamespace::User, "zz")])
            .is_err()
    );
    fix.check();
    let plan = fix.ns.plan_remove_xattr(&fix.ctx(ROOT), "/f", &user).unwrap();
    fix.commit(plan);
    assert!(fix.ns.plan_remove_xattr(&fix.ctx(ROOT), "/f", &user).is_err());
    fix.check();
}

#[test]
fn policies_are_inherited_and_paths_by_inode_resolve() {
    let mut fix = Fixture::new();
    let id = fix.file("/d/e/f", &[1]).unwrap();
    let plan = fix
        .ns
        .plan_set_storage_policy(&fix.ctx(ROOT), "/d", Some("cold"))
        .unwrap();
    fix.commit(plan);
    assert_eq!(fix.stat("/d/e/f").unwrap().storage_policy, 2);
    let by_id = format!("/.reserved/.inodes/{id}");
    let found = fix.ns.resolve(&by_id).unwrap();
    assert_eq!((found.last(), found.path().as_str()), (Some(id), "/d/e/f"));
    let e = fix.stat("/d/e").unwrap().id;
    let below = format!("/.reserved/.inodes/{e}/f");
    assert_eq!(fix.ns.resolve(&below).unwrap().last(), Some(id));
    assert_eq!(fix.ns.resolve("/.reserved/raw/d/e/f").unwrap().last(), Some(id));
    refused(
        fix.ns.resolve("/.reserved/.inodes/99999").map(|_| ()),
        ex::FILE_NOT_FOUND,
        "File for given inode path does not exist: /.reserved/.inodes/99999",
    );
    fix.delete(ROOT, "/d", true).unwrap();
    assert!(fix.ns.resolve(&by_id).is_err());
    fix.check();
}

#[test]
fn symlinks_in_a_path_are_for_the_client_to_follow() {
    let mut fix = Fixture::with(NamespaceConfig {
        symlinks_enabled: true,
        ..NamespaceConfig::default()
    });
    fix.file("/real/f", &[1]).unwrap();
    let plan = fix
        .ns
        .plan_create_symlink(&fix.ctx(ROOT), "/real", "/link", 0o777, false)
        .unwrap();
    fix.commit(plan);
    refused(
        fix.ns.file_info(&ROOT, &iip(&fix, "/link/f")).map(|_| ()),
        ex::UNRESOLVED_PATH,
        "/real/f",
    );
    let status = fix.ns.file_link_info(&ROOT, &iip(&fix, "/link")).unwrap().unwrap();
    assert_eq!(status.symlink, Some(&b"/real"[..]));
    fix.check();
    let plain = Fixture::new();
    assert_eq!(
        plain
            .ns
            .plan_create_symlink(&plain.ctx(ROOT), "/a", "/b", 0o777, true)
            .unwrap_err()
            .class(),
        Some(ex::UNSUPPORTED_OPERATION)
    );
}

#[test]
fn a_listing_goes_on_after_a_name_and_counts_the_rest() {
    let mut fix = Fixture::new();
    for name in ["b", "a", "c", "ab"] {
        fix.mkdirs(ROOT, &format!("/{name}")).unwrap();
    }
    let mut seen = Vec::new();
    let left = fix
        .ns
        .list(&ROOT, &iip(&fix, "/"), b"a", 2, &mut |status| {
            seen.push(status.name.to_vec());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((seen, left), (vec![b"ab".to_vec(), b"b".to_vec()], Some(1)));
    assert_eq!(
        fix.ns
            .list(&ROOT, &iip(&fix, "/none"), b"", 2, &mut |_| unreachable!())
            .unwrap(),
        None
    );
}

#[test]
fn an_op_that_does_not_fit_is_refused_by_name() {
    let mut ns = Namespace::new(NamespaceConfig::default());
    let op = EditOp::Delete {
        path: "/nothing".to_owned(),
        time: 1,
        rpc_ids: RpcIds::NONE,
    };
    assert_eq!(
        ns.apply(7, &op).unwrap_err().to_string(),
        "op OP_DELETE at txid 7 does not fit the namespace: /nothing does not exist"
    );
    assert!(ns.is_broken());
    assert_eq!(
        ns.apply(7, &op).unwrap_err().to_string(),
        "op OP_DELETE at txid 7 comes after one that failed to apply"
    );
    let mut ns = Namespace::new(NamespaceConfig::default());
    let op = EditOp::CreateSnapshot {
        snapshot_root: "/d".to_owned(),
        snapshot_name: "s".to_owned(),
        mtime: 1,
        rpc_ids: RpcIds::NONE,
    };
    assert_eq!(
        ns.apply(8, &op).unwrap_err().to_string(),
        "op OP_CREATE_SNAPSHOT at txid 8 does not fit the namespace: /d does not exist"
    );
}

#[test]
fn effects_name_what_a_read_would_show() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    let dir = fix.stat("/d").unwrap().id;
    let plan = fix.ns.plan_mkdirs(&fix.ctx(ROOT), "/d/e", 0o755, None, true).unwrap();
    let effects = fix.op(&plan.ops[0]);
    assert_eq!(&effects.parents[..], [dir]);
    assert_eq!(&effects.touched[..], [fix.stat("/d/e").unwrap().id]);
}

#[test]
fn a_damaged_image_is_refused_not_believed() {
    let mut fix = Fixture::new();
    fix.file("/a/b", &[1, 2]).unwrap();
    let good = fix.image();
    for at in (0..good.len()).step_by(3) {
        let mut bad = good.clone();
        bad[at] ^= 0x41;
        // Whatever it says, it must not panic; what it accepts must hold together.
        if let Ok(image) = Image::open(&bad[..])
            && let Ok(verified) = image::verify(NamespaceConfig::default(), &image)
        {
            let loaded = image::load(NamespaceConfig::default(), &image).expect("it was verified");
            assert_eq!(loaded.inode_count(), verified.inodes, "byte {at}");
        }
        if let Ok(image) = Image::open(&bad[..])
            && let Ok(ns) = image::load(NamespaceConfig::default(), &image)
        {
            assert_eq!(ns.digest(), ns.digest());
            assert!(ns.resolve("/a/b").is_ok());
        }
    }
}

#[test]
fn what_is_reserved_is_shown_and_stays() {
    let mut fix = Fixture::new();
    let shown = |fix: &Fixture, path: &str| {
        let status = fix.stat(path).unwrap();
        (status.kind, status.mode, status.group.to_owned())
    };
    assert_eq!(fix.names("/"), [""; 0]);
    assert_eq!(shown(&fix, "/.reserved"), (InodeKind::Directory, 0o1770, String::new()));
    assert_eq!(fix.names("/.reserved"), [".inodes", "raw"]);
    assert!(fix.stat("/.reserved/raw").is_some());
    assert!(fix.stat("/.reserved/raw/.reserved").is_none());
    assert_eq!(shown(&fix, "/.snapshot").0, InodeKind::Directory);
    assert_eq!(
        fix.names("/.snapshot"),
        [""; 0],
        "the root is snapshottable, with room for none"
    );
    fix.mkdirs(ROOT, "/d").unwrap();
    assert!(fix.stat("/d/.snapshot").is_none());
    refused(
        fix.ns
            .plan_create_snapshot(&fix.ctx(ROOT), "/.reserved", "s", &String::new),
        ex::FILE_NOT_FOUND,
        "Directory/File does not exist /.reserved",
    );
}

#[test]
fn a_directory_has_the_access_time_that_was_set_until_an_image_is_loaded() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    assert_eq!(fix.stat("/d").unwrap().atime_ms, 0);
    let plan = fix.ns.plan_set_times(&fix.ctx(ROOT), "/d", 7, 9).unwrap();
    fix.commit(plan);
    let times = |ns: &Namespace| {
        let status = ns.status(ns.resolve("/d").unwrap().last().unwrap()).unwrap();
        (status.mtime_ms, status.atime_ms)
    };
    assert_eq!(times(&fix.ns), (7, 9));
    assert_eq!(times(&fix.replayed()), (7, 9));
    assert_eq!(times(&fix.loaded()), (7, 0));
    fix.check();
}

#[test]
fn nothing_below_a_protected_directory_is_deleted_if_the_setting_says_so() {
    let mut fix = Fixture::new();
    fix.ns.config.protected_directories = vec!["/a".to_owned()];
    fix.mkdirs(ROOT, "/a/b/c").unwrap();
    fix.mkdirs(ROOT, "/ab/c").unwrap();
    refused(
        fix.delete(ROOT, "/a", true),
        ex::ACCESS_CONTROL,
        "Cannot delete/rename non-empty protected directory /a",
    );
    refused(
        fix.delete(ROOT, "/", true),
        ex::ACCESS_CONTROL,
        "Cannot delete/rename non-empty protected subdirectory /a",
    );
    fix.ns.config.protected_subdirectories = true;
    refused(
        fix.delete(ROOT, "/a/b", true),
        ex::ACCESS_CONTROL,
        "Cannot delete/rename subdirectory under protected subdirectory /a",
    );
    fix.delete(ROOT, "/ab", true).unwrap();
    fix.delete(ROOT, "/a/b/c", true).unwrap();
    fix.ns.config.protected_subdirectories = false;
    fix.mkdirs(ROOT, "/a/b/c").unwrap();
    fix.delete(ROOT, "/a/b", true).unwrap();
}
