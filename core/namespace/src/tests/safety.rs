//! What was once lost between the active and those who read its log or its image.

use hathi_formats::editlog::{AddOp, CloseOp, MAX_STRING_UNITS, PermissionStatus};
use hathi_formats::exceptions as ex;

use super::*;
use crate::store::slab::Slot;
use crate::tree::inode::{MAX_48, flag};
use crate::view::View as _;

fn rename(fix: &mut Fixture, src: &str, dst: &str) -> Result<(), Refused> {
    let plan = fix
        .ns
        .plan_rename2(&fix.ctx(ROOT), src, dst, RenameOptions::default())?;
    fix.commit(plan);
    Ok(())
}

/// Makes directories below `top` until the path has this many characters.
fn deep(fix: &mut Fixture, top: &str, length: usize, name: char) -> String {
    let mut path = top.to_owned();
    while path.chars().count() + 2 < length {
        let rest = (length - path.chars().count() - 1).min(240 / name.len_utf8());
        path.push('/');
        path.extend(std::iter::repeat_n(name, rest));
    }
    fix.mkdirs(ROOT, &path).unwrap();
    path
}

fn class_of<T: std::fmt::Debug>(outcome: Result<T, Refused>) -> ex::ExceptionClass {
    outcome.unwrap_err().class().expect("Hadoop's class")
}

#[test]
fn safety_n1_a_path_by_inode_id_is_as_long_as_what_it_resolves_to() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    let mut id = fix.stat("/d").unwrap().id;
    let name = "n".repeat(250);
    let mut made = 0;
    let refused = loop {
        let below = format!("/.reserved/.inodes/{id}/{name}");
        match fix.mkdirs(ROOT, &below) {
            Ok(_) => made += 1,
            Err(refused) => break refused,
        }
        assert!(made < 90, "no limit holds for resolved paths");
        id = fix.ns.resolve(&below).unwrap().last().unwrap();
    };
    assert!(refused.is(ex::IO), "{refused}");
    assert!(refused.message.contains("Pathname too long"), "{}", refused.message);
    assert_eq!(made, (MAX_PATH_LENGTH - "/d".len()) / 251);
    let below = format!("/.reserved/.inodes/{id}/{name}");
    assert_eq!(class_of(fix.create(ROOT, &below, false)), ex::IO);
    fix.mkdirs(ROOT, "/e").unwrap();
    assert_eq!(class_of(rename(&mut fix, "/e", &below)), ex::IO);
    fix.check();
}

#[test]
fn safety_n1_a_move_that_makes_a_path_below_too_long_to_be_logged_is_refused() {
    for name in ['x', 'é', '€', '😀'] {
        // As deep as a client's path may be; of characters of two UTF-16 units, as many as the log holds of one path.
        let length = 7_600 / name.len_utf16();
        let mut fix = Fixture::new();
        let open = deep(&mut fix, "/a", length, name);
        let file = fix.create(ROOT, &format!("{open}/f"), false).unwrap();
        fix.add_block(file, None).unwrap();
        let second = deep(&mut fix, "/b", length, name);
        let third = deep(&mut fix, "/c", length, name);
        rename(&mut fix, "/a", &format!("{second}/a")).unwrap();
        // It would be three times as long as the first, and a half of that is no place to stop.
        let refused = rename(&mut fix, "/b", &format!("{third}/b")).unwrap_err();
        assert!(refused.is(ex::IO), "{refused}");
        assert!(refused.message.contains("Pathname too long"), "{}", refused.message);
        let old = fix.ns.plan_rename(&fix.ctx(ROOT), "/b", &format!("{third}/b"));
        assert_eq!(class_of(old), ex::IO);

        // A NameNode that loaded an image knows it as well.
        let loaded = fix.loaded();
        let refused = loaded.plan_rename2(&fix.ctx(ROOT), "/b", &format!("{third}/b"), RenameOptions::default());
        assert_eq!(class_of(refused), ex::IO);

        // To a path that is no longer than the old one everything may move, and what comes without a client's choice
        // can be logged.
        rename(&mut fix, "/b", "/z").unwrap();
        let longest = fix.ns.path_of(file).unwrap().encode_utf16().count();
        assert!(longest > 14_000 && longest <= MAX_STRING_UNITS, "{longest}");
        fix.view.holders = Some(Holders::Nobody);
        let plan = fix
            .ns
            .plan_release_lease(fix.now_ms, file, Some("nn"), &fix.view)
            .unwrap();
        assert!(matches!(fix.commit(plan), LeaseRecovery::Closed { .. }));
        fix.check();
    }
}

#[test]
fn safety_n1_a_directory_forgets_nothing_of_what_is_below_it_when_it_is_moved() {
    let mut fix = Fixture::new();
    let deepest = deep(&mut fix, "/a/b", 7_900, 'x');
    let other = deep(&mut fix, "/other", 7_900, 'y');
    rename(&mut fix, "/a", &format!("{other}/a")).unwrap();
    rename(&mut fix, "/other", "/o").unwrap();
    fix.check();
    assert!(
        fix.ns
            .resolve(&format!("/o{}{deepest}", &other["/other".len()..]))
            .unwrap()
            .exists()
    );
}

#[test]
fn safety_n2_a_name_that_only_begins_like_the_reserved_one_is_a_name_like_others() {
    let mut fix = Fixture::new();
    fix.file("/.reservedX/f", &[1]).unwrap();
    fix.check();
    let again = fix.create(ROOT, "/.reservedX/f", true).unwrap();
    assert!(fix.complete("/.reservedX/f", again, None).unwrap());
    rename(&mut fix, "/.reservedX/f", "/.reservedX/g").unwrap();
    fix.mkdirs(ROOT, "/.reserved.d/.reserved").unwrap();
    rename(&mut fix, "/.reservedX", "/.reserved2").unwrap();
    assert!(fix.delete(ROOT, "/.reserved2/g", false).unwrap());
    fix.check();
    // As Hadoop's edits have it.
    let op = EditOp::Mkdir {
        inode_id: InodeId(fix.ns.last_inode_id().0 + 1),
        path: "/.reservedX".to_owned(),
        time: 1,
        permissions: PermissionStatus::default(),
        acl_entries: Vec::new(),
        xattrs: Vec::new(),
    };
    fix.op(&op);
    fix.check();
    for reserved in ["/.reserved", "/.reserved/x", "/.reserved/.inodesX/y"] {
        assert!(fix.create(ROOT, reserved, true).is_err(), "{reserved}");
    }
}

#[test]
fn safety_n5_an_image_names_no_snapshottable_directory_that_waits_to_be_freed() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/big/a-snap").unwrap();
    fix.mkdirs(ROOT, "/kept").unwrap();
    for dir in ["/big/a-snap", "/kept", "/"] {
        fix.op(&EditOp::AllowSnapshot {
            snapshot_root: dir.to_owned(),
        });
    }
    for n in 0..1000 {
        fix.mkdirs(ROOT, &format!("/big/d{n}")).unwrap();
    }
    fix.delete(ROOT, "/big", true).unwrap();
    fix.check();
    assert!(!fix.reclaim(1), "there was something to wait for");
    fix.check();
    let kept: Vec<InodeId> = fix.loaded().snapshottable_dirs().collect();
    assert_eq!(kept, [InodeId::ROOT, fix.stat("/kept").unwrap().id]);
}

#[test]
fn safety_n8_no_directory_is_named_dot_dot() {
    let mut fix = Fixture::new();
    fix.file("/d/e/f", &[1]).unwrap();
    let by_id = format!("/.reserved/.inodes/{}/..", fix.stat("/d/e").unwrap().id);
    assert_eq!(fix.ns.resolve(&by_id).unwrap().path(), "/d");
    for below in ["/x", "/../x", "/"] {
        let path = format!("{by_id}{below}");
        assert_eq!(class_of(fix.mkdirs(ROOT, &path)), ex::INVALID_PATH, "{path}");
        assert_eq!(class_of(fix.create(ROOT, &path, false)), ex::INVALID_PATH, "{path}");
        assert_eq!(class_of(rename(&mut fix, "/d/e/f", &path)), ex::INVALID_PATH, "{path}");
        // Hadoop takes it for the parent; a delete of it would be a surprise.
        assert!(fix.delete(ROOT, &path, true).is_err(), "{path}");
    }
    assert_eq!(fix.names("/d/e"), ["f"]);
    fix.check();
}

#[test]
fn safety_n9_an_empty_owner_or_group_changes_nothing_anywhere() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    for (user, group) in [
        (Some(""), None),
        (None, Some("")),
        (Some(""), Some("")),
        (Some("alice"), Some("")),
    ] {
        let plan = fix.ns.plan_set_owner(&fix.ctx(ROOT), "/d", user, group).unwrap();
        fix.commit(plan);
        fix.check();
    }
    let status = fix.stat("/d").unwrap();
    assert_eq!((status.owner, status.group), ("alice", "supergroup"));
}

#[test]
fn safety_n13_concat_logs_the_paths_as_they_are() {
    let mut fix = Fixture::new();
    fix.file("/d/t", &[BS]).unwrap();
    fix.file("/d/s", &[BS]).unwrap();
    let plan = fix
        .ns
        .plan_concat(&fix.ctx(ROOT), "//d///t", &["/d//s".to_owned()])
        .unwrap();
    match &plan.ops[0] {
        EditOp::ConcatDelete { target, sources, .. } => {
            assert_eq!((target.as_str(), &sources[..]), ("/d/t", &["/d/s".to_owned()][..]));
        }
        other => panic!("{other:?}"),
    }
    fix.commit(plan);
    fix.check();
}

/// A closed file of many blocks, as a log would bring it.
fn file_of_many(fix: &mut Fixture, path: &str, blocks: usize) {
    let first = fix.ns.last_block_id().0 + 1;
    let blocks: Vec<Block> = (0..blocks as i64)
        .map(|n| Block {
            id: BlockId(first + n),
            num_bytes: 1,
            generation_stamp: GenerationStamp(1001),
        })
        .collect();
    let txid = fix.ns.last_applied_txid() + 1;
    let add = EditOp::Add(AddOp {
        inode_id: InodeId(fix.ns.last_inode_id().0 + 1),
        path: path.to_owned(),
        replication: 1,
        block_size: BS as i64,
        client_name: "c".to_owned(),
        ..AddOp::default()
    });
    fix.ns.apply(txid, &add).unwrap();
    let close = EditOp::Close(CloseOp {
        path: path.to_owned(),
        blocks,
        ..CloseOp::default()
    });
    fix.ns.apply(txid + 1, &close).unwrap();
}

#[test]
fn safety_n14_no_file_gets_more_blocks_than_its_close_can_name() {
    let mut fix = Fixture::new();
    let most = hathi_formats::editlog::MAX_WRITTEN_BLOCKS;
    file_of_many(&mut fix, "/big", most - 1);
    file_of_many(&mut fix, "/one", 1);
    file_of_many(&mut fix, "/two", 2);
    let concat = |fix: &Fixture, src: &str| fix.ns.plan_concat(&fix.ctx(ROOT), "/big", &[src.to_owned()]);
    assert_eq!(class_of(concat(&fix, "/two")), ex::IO);
    let plan = concat(&fix, "/one").unwrap();
    for op in &plan.ops {
        fix.ns.apply(fix.ns.last_applied_txid() + 1, op).unwrap();
    }
    // As many as the log can name: it can be opened and closed again.
    let plan = fix
        .ns
        .plan_append(&fix.ctx(ROOT), "/big", "client", true, &fix.view)
        .unwrap();
    for op in &plan.ops {
        fix.ns.apply(fix.ns.last_applied_txid() + 1, op).unwrap();
    }
    let AppendOutcome::Opened { file, .. } = plan.reply else {
        panic!("recovery")
    };
    let config = NamespaceConfig {
        max_blocks_per_file: usize::MAX,
        ..NamespaceConfig::default()
    };
    fix.ns.config = config;
    let last = fix.ns.blocks_of(file).last().map(|last| last.block);
    let refused = fix
        .ns
        .check_add_block(&fix.ctx(ROOT), "", file, "client", last, &fix.view);
    assert_eq!(class_of(refused.map(|_| ())), ex::IO);
    let close = fix
        .ns
        .plan_complete(&fix.ctx(ROOT), "/big", file, "client", last, &fix.view)
        .unwrap();
    encode(&mut Vec::new(), TxId(1), &close.ops[0]).unwrap();
    fix.ns.apply(fix.ns.last_applied_txid() + 1, &close.ops[0]).unwrap();
    // A file of still more, by a log of Hadoop, is not opened: it could not be closed.
    file_of_many(&mut fix, "/more", most + 1);
    let refused = fix.ns.plan_append(&fix.ctx(ROOT), "/more", "client", true, &fix.view);
    assert_eq!(class_of(refused), ex::IO);
}

#[test]
fn safety_n15_what_is_logged_of_times_and_block_sizes_is_what_is_kept() {
    let mut fix = Fixture::new();
    fix.file("/f", &[1]).unwrap();
    let plan = fix
        .ns
        .plan_set_times(&fix.ctx(ROOT), "/f", i64::MAX, i64::MAX - 1)
        .unwrap();
    let kept = EditOp::Times {
        path: "/f".to_owned(),
        mtime: MAX_48 as i64,
        atime: MAX_48 as i64,
    };
    assert_eq!(plan.ops[..], [kept]);
    fix.commit(plan);
    assert_eq!(fix.stat("/f").unwrap().mtime_ms, MAX_48);
    let request = CreateRequest {
        src: "/g",
        mode: 0o644,
        unmasked: None,
        client_name: "client",
        create: true,
        overwrite: false,
        create_parent: true,
        replication: 3,
        block_size: u64::MAX,
        lazy_persist: false,
        storage_policy: "",
        ec_policy: "",
        should_replicate: false,
    };
    let plan = fix.ns.plan_create(&fix.ctx(ROOT), &request, &fix.view).unwrap();
    match &plan.ops[0] {
        EditOp::Add(add) => assert_eq!(add.block_size, MAX_48 as i64),
        other => panic!("{other:?}"),
    }
    fix.commit(plan);
    assert_eq!(fix.stat("/g").unwrap().block_size, MAX_48);
    fix.check();
}

#[test]
fn safety_n15_an_append_at_a_blocks_end_goes_on_after_a_restart_from_an_image() {
    for (blocks, new_block) in [(&[BS][..], false), (&[BS, 5][..], true)] {
        let mut fix = Fixture::new();
        let file = fix.file("/f", blocks).unwrap();
        let plan = fix
            .ns
            .plan_append(&fix.ctx(ROOT), "/f", "client", new_block, &fix.view)
            .unwrap();
        fix.commit(plan);
        fix.check();
        // A client that appends at a block's end has no previous block; one that asked for a new block names the last.
        let previous = new_block.then(|| fix.ns.blocks_of(file).last().unwrap().block);
        fix.ns = fix.loaded();
        fix.ns.start_active(1);
        let ctx = fix.ctx(ROOT);
        let check = fix.ns.check_add_block(&ctx, "", file, "client", previous, &fix.view);
        assert!(matches!(check, Ok(AddBlockCheck::Allocate { .. })), "{check:?}");
        let plan = fix.ns.plan_add_block(file, "client", previous).unwrap();
        fix.commit(plan);
        fix.ns.check();
    }
}

fn insert_raw(fix: &mut Fixture, parent: &str, name: &[u8]) -> Slot {
    let parent = fix.ns.resolve(parent).unwrap().last_slot().unwrap();
    let perm = fix.ns.rec(parent).perm();
    let id = InodeId(fix.ns.last_inode_id().0 + 1);
    let slot = fix.ns.new_inode(id, flag::DIRECTORY, name, perm, 1);
    fix.ns.link(parent, slot);
    fix.ns.charge(parent, usage::Usage::inodes(1));
    slot
}

#[test]
fn safety_n15_an_inode_whose_name_is_no_text_can_be_named_by_an_op() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    // Two that would be shown alike.
    let slots = [
        insert_raw(&mut fix, "/d", b"caf\xe9"),
        insert_raw(&mut fix, "/d", b"caf\xe8"),
    ];
    let ids = slots.map(|slot| fix.ns.rec(slot).id());
    let mut fix = Fixture {
        ns: fix.loaded(),
        ..Fixture::new()
    };
    assert_eq!(fix.names("/d").len(), 2);
    for id in ids {
        let path = fix.ns.path_of(id).unwrap();
        assert_eq!(fix.ns.resolve(&path).unwrap().last(), Some(id), "{path}");
        assert!(fix.delete(ROOT, &path, false).unwrap());
    }
    assert!(fix.names("/d").is_empty());
    fix.ns.check();
}

/// As in Hadoop (`BlockManager.adjustReplication` in `FSEditLogLoader`): a limit is lowered so that it holds at once, for
/// old files, too. So NameNodes must be configured alike; the one that brings a number within its limits counts it, and
/// says so when it has loaded.
#[test]
fn safety_n16_peers_with_other_limits_of_replication_differ_and_know_it() {
    let mut fix = Fixture::new();
    fix.file("/f", &[1]).unwrap();
    let plan = fix.ns.plan_set_replication(&fix.ctx(ROOT), "/f", 10).unwrap();
    fix.commit(plan);
    assert_eq!(fix.replayed().adjusted_replications(), 0);
    fix.ns.config.max_replication = 2;
    let other = fix.replayed();
    assert_ne!(other.digest(), fix.ns.digest());
    assert_eq!(other.adjusted_replications(), 2, "the create and the change");
}
