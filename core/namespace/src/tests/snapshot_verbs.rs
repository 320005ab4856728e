//! Calls about snapshots, and what snapshots forbid, in Hadoop's words.

use super::*;
use crate::snapshots::SnapshotsPart;
use crate::view::View as _;

use hathi_formats::exceptions::{self as ex, ExceptionClass};

pub(super) fn check(outcome: Result<(), Refused>, class: ExceptionClass, words: &str) {
    let refused = outcome.expect_err(words);
    assert_eq!((refused.class(), refused.message.as_str()), (Some(class), words));
}

impl Fixture {
    pub(super) fn allow(&mut self, path: &str) -> Result<(), Refused> {
        let plan = self.ns.plan_allow_snapshot(&ROOT, path)?;
        self.commit(plan);
        Ok(())
    }

    fn disallow(&mut self, path: &str) -> Result<(), Refused> {
        let plan = self.ns.plan_disallow_snapshot(&ROOT, path)?;
        self.commit(plan);
        Ok(())
    }

    pub(super) fn snapshot(&mut self, caller: Caller<'_>, path: &str, name: &str) -> Result<String, Refused> {
        let default_name = || "s20240229-123456.007".to_owned();
        let plan = self
            .ns
            .plan_create_snapshot(&self.ctx(caller), path, name, &default_name)?;
        Ok(self.commit(plan))
    }

    fn rename_snapshot(&mut self, caller: Caller<'_>, old: &str, new: &str) -> Result<(), Refused> {
        let plan = self.ns.plan_rename_snapshot(&self.ctx(caller), "/d", old, new)?;
        self.commit(plan);
        Ok(())
    }

    pub(super) fn delete_snapshot(&mut self, caller: Caller<'_>, path: &str, name: &str) -> Result<(), Refused> {
        let plan = self.ns.plan_delete_snapshot(&self.ctx(caller), path, name)?;
        self.commit(plan);
        Ok(())
    }

    pub(super) fn rename(&mut self, src: &str, dst: &str, overwrite: bool) -> Result<(), Refused> {
        let options = RenameOptions {
            overwrite,
            to_trash: false,
        };
        let plan = self.ns.plan_rename2(&self.ctx(ROOT), src, dst, options)?;
        self.commit(plan);
        Ok(())
    }

    pub(super) fn snapshot_names(&self, path: &str) -> Vec<String> {
        let dir = self.ns.resolve(path).unwrap().last().unwrap();
        let all = self.ns.snapshots_of(dir).into_iter();
        all.map(|snapshot| format!("{} {}", snapshot.id, snapshot.name))
            .collect()
    }
}

fn with_dirs() -> Fixture {
    let mut fix = Fixture::new();
    for dir in ["/d/below", "/other"] {
        fix.mkdirs(ROOT, dir).unwrap();
    }
    fix
}

#[test]
fn directories_are_allowed_and_disallowed() {
    let mut fix = with_dirs();
    fix.file("/f", &[1]).unwrap();
    check(fix.allow("/no"), ex::FILE_NOT_FOUND, "Directory does not exist: /no");
    check(fix.allow("/f"), ex::PATH_IS_NOT_DIRECTORY, "`/f': Is not a directory");
    fix.allow("/d").unwrap();
    assert!(fix.stat("/d").unwrap().snapshottable);
    let plan = fix.ns.plan_allow_snapshot(&ROOT, "/d").unwrap();
    assert!(plan.ops.is_empty(), "allowed already");
    check(
        fix.allow("/d/below"),
        ex::SNAPSHOT,
        "Nested snapshottable directories not allowed: path=/d/below, the ancestor /d is already a snapshottable directory.",
    );
    check(
        fix.allow("/"),
        ex::SNAPSHOT,
        "Nested snapshottable directories not allowed: path=/, the subdirectory /d is already a snapshottable directory.",
    );
    fix.snapshot(ROOT, "/d", "s").unwrap();
    check(
        fix.disallow("/d"),
        ex::SNAPSHOT,
        "The directory /d has snapshot(s). Please redo the operation after removing all the snapshots.",
    );
    fix.delete_snapshot(ROOT, "/d", "s").unwrap();
    fix.disallow("/d").unwrap();
    assert!(!fix.stat("/d").unwrap().snapshottable);
    assert!(fix.ns.plan_disallow_snapshot(&ROOT, "/d").unwrap().ops.is_empty());
    fix.allow("/").unwrap();
    assert_eq!(fix.snapshot(ROOT, "/", "s").unwrap(), "/.snapshot/s");
    fix.ns.check();
}

#[test]
fn snapshots_have_names() {
    let mut fix = with_dirs();
    let not_allowed = "Directory is not a snapshottable directory: /d";
    check(fix.snapshot(ROOT, "/d", "s").map(drop), ex::SNAPSHOT, not_allowed);
    check(fix.delete_snapshot(ROOT, "/d", "s"), ex::SNAPSHOT, not_allowed);
    fix.allow("/d").unwrap();
    assert_eq!(fix.snapshot(ROOT, "/d", "s").unwrap(), "/d/.snapshot/s");
    assert_eq!(
        fix.snapshot(ROOT, "/d", "").unwrap(),
        "/d/.snapshot/s20240229-123456.007"
    );
    check(
        fix.snapshot(ROOT, "/d", "s").map(drop),
        ex::SNAPSHOT,
        "Failed to add snapshot: there is already a snapshot with the same name \"s\".",
    );
    for name in [".", "..", ".snapshot", ".reserved", "a:b", "a/b"] {
        let words = format!("Invalid path name Invalid snapshot name: {name}");
        check(fix.snapshot(ROOT, "/d", name).map(drop), ex::INVALID_PATH, &words);
    }
    let long = "x".repeat(256);
    let too_long = fix.snapshot(ROOT, "/d", &long).unwrap_err();
    assert!(too_long.is(ex::PATH_COMPONENT_TOO_LONG), "{too_long}");
    fix.rename_snapshot(ROOT, "s", "t").unwrap();
    fix.rename_snapshot(ROOT, "t", "t").unwrap();
    assert_eq!(fix.snapshot_names("/d"), ["0 t", "1 s20240229-123456.007"]);
    check(
        fix.rename_snapshot(ROOT, "s", "u"),
        ex::SNAPSHOT,
        "The snapshot s does not exist for directory /d",
    );
    check(
        fix.rename_snapshot(ROOT, "t", "s20240229-123456.007"),
        ex::SNAPSHOT,
        "The snapshot s20240229-123456.007 already exists for directory /d",
    );
    check(
        fix.rename_snapshot(ROOT, "t", "a/b"),
        ex::HADOOP_ILLEGAL_ARGUMENT,
        "Snapshot name cannot contain \"/\"",
    );
    check(
        fix.rename_snapshot(ROOT, "t", ".snapshot"),
        ex::HADOOP_ILLEGAL_ARGUMENT,
        "\".snapshot\" is a reserved name.",
    );
    check(
        fix.delete_snapshot(ROOT, "/d", "s"),
        ex::SNAPSHOT,
        "Cannot delete snapshot s from path /d: the snapshot does not exist.",
    );
    fix.delete_snapshot(ROOT, "/d", "t").unwrap();
    assert_eq!(fix.snapshot_names("/d"), ["1 s20240229-123456.007"]);
    assert_eq!(fix.ns.snapshot_counts(), (1, 1));
    fix.ns.check();
}

#[test]
fn snapshots_are_the_owners() {
    let mut fix = with_dirs();
    fix.allow("/d").unwrap();
    fix.snapshot(ROOT, "/d", "s").unwrap();
    let words = "Permission denied. user=alice is not the owner of inode=/d";
    check(fix.snapshot(ALICE, "/d", "t").map(drop), ex::ACCESS_CONTROL, words);
    check(fix.rename_snapshot(ALICE, "s", "t"), ex::ACCESS_CONTROL, words);
    check(fix.delete_snapshot(ALICE, "/d", "s"), ex::ACCESS_CONTROL, words);
    fix.op(&EditOp::SetOwner {
        src: "/d".to_owned(),
        user: Some("alice".to_owned()),
        group: None,
    });
    fix.snapshot(ALICE, "/d", "t").unwrap();
    fix.rename_snapshot(ALICE, "s", "u").unwrap();
    fix.delete_snapshot(ALICE, "/d", "u").unwrap();
    let root = fix.ns.snapshot_root_for(&ALICE, "/d").unwrap();
    let shown = fix.ns.snapshots_of(root.0);
    assert_eq!(shown[0].status.owner, "alice");
    fix.op(&EditOp::SetPermissions {
        src: "/d".to_owned(),
        mode: 0o300,
    });
    let stranger = Caller { user: "bob", ..ALICE };
    assert!(
        fix.ns
            .snapshot_root_for(&stranger, "/d")
            .unwrap_err()
            .is(ex::ACCESS_CONTROL)
    );
}

#[test]
fn there_are_no_more_snapshots_than_are_allowed() {
    let mut fix = Fixture::with(NamespaceConfig {
        max_snapshots: 3,
        max_snapshots_per_directory: 2,
        ..NamespaceConfig::default()
    });
    for dir in ["/a", "/b"] {
        fix.mkdirs(ROOT, dir).unwrap();
        fix.allow(dir).unwrap();
    }
    fix.snapshot(ROOT, "/a", "one").unwrap();
    fix.snapshot(ROOT, "/a", "two").unwrap();
    check(
        fix.snapshot(ROOT, "/a", "three").map(drop),
        ex::SNAPSHOT,
        "Failed to create snapshot: there are already 2 snapshot(s) and the per directory snapshot limit is 2",
    );
    fix.snapshot(ROOT, "/b", "one").unwrap();
    check(
        fix.snapshot(ROOT, "/b", "two").map(drop),
        ex::SNAPSHOT,
        "Failed to create snapshot: there are already 3 snapshot(s) and the file system snapshot limit is 3",
    );
    fix.delete_snapshot(ROOT, "/a", "one").unwrap();
    fix.snapshot(ROOT, "/b", "two").unwrap();
}

#[test]
fn a_directory_with_snapshots_stays_where_it_is() {
    let mut fix = with_dirs();
    fix.mkdirs(ROOT, "/above/root").unwrap();
    fix.mkdirs(ROOT, "/empty").unwrap();
    fix.allow("/above/root").unwrap();
    fix.allow("/empty").unwrap();
    fix.snapshot(ROOT, "/empty", "s").unwrap();
    // Without snapshots it moves, but not below another one.
    fix.rename("/above", "/higher", false).unwrap();
    fix.allow("/d").unwrap();
    check(
        fix.rename("/higher", "/d/below/x", false),
        ex::SNAPSHOT,
        "Unable to rename because /higher has snapshottable descendant directories and /d/below is a descent of a snapshottable directory, and HDFS does not support nested snapshottable directory.",
    );
    fix.snapshot(ROOT, "/higher/root", "s").unwrap();
    let words =
        "The directory /higher/root cannot be deleted since /higher/root is snapshottable and already has snapshots";
    for path in ["/higher/root", "/higher"] {
        check(fix.delete(ROOT, path, true).map(drop), ex::SNAPSHOT, words);
        check(fix.rename(path, "/moved", false), ex::SNAPSHOT, words);
        let old = fix.ns.plan_rename(&fix.ctx(ROOT), path, "/moved").map(drop);
        check(old, ex::SNAPSHOT, words);
    }
    check(
        fix.rename("/other", "/empty", true),
        ex::SNAPSHOT,
        "The directory /empty cannot be deleted since /empty is snapshottable and already has snapshots",
    );
    // What is not a root moves in and out.
    fix.rename("/other", "/higher/root/in", false).unwrap();
    fix.rename("/higher/root/in", "/out", false).unwrap();
    fix.delete_snapshot(ROOT, "/higher/root", "s").unwrap();
    fix.rename("/higher", "/moved", false).unwrap();
    assert!(fix.delete(ROOT, "/moved", true).unwrap());
    fix.ns.check();
}

#[test]
fn a_file_of_a_snapshot_is_no_source_of_a_concat() {
    let mut fix = with_dirs();
    for file in ["/d/a", "/d/b", "/d/late", "/other/moved"] {
        fix.file(file, &[BS]).unwrap();
    }
    for dir in ["/d", "/other"] {
        fix.allow(dir).unwrap();
        fix.snapshot(ROOT, dir, "s").unwrap();
    }
    fix.file("/d/new", &[BS]).unwrap();
    fix.delete_snapshot(ROOT, "/d", "s").unwrap();
    fix.rename("/other/moved", "/d/moved", false).unwrap();
    let concat = |fix: &mut Fixture, sources: &[&str]| {
        let sources: Vec<String> = sources.iter().map(|source| (*source).to_owned()).collect();
        let plan = fix.ns.plan_concat(&fix.ctx(ROOT), "/d/a", &sources)?;
        fix.commit(plan);
        Ok(())
    };
    check(
        concat(&mut fix, &["/d/moved"]),
        ex::SNAPSHOT,
        "Concat: the source file /d/moved is referred by some other reference in some snapshot.",
    );
    concat(&mut fix, &["/d/b"]).unwrap();
    fix.snapshot(ROOT, "/d", "t").unwrap();
    check(
        concat(&mut fix, &["/d/late"]),
        ex::SNAPSHOT,
        "Concat: the source file /d/late is in snapshot",
    );
    fix.file("/d/newer", &[BS]).unwrap();
    concat(&mut fix, &["/d/newer"]).unwrap();
    fix.ns.check();
}

/// Truncates, and answers the id that the op names.
fn truncate(fix: &mut Fixture, path: &str, length: u64) -> BlockId {
    let plan = fix
        .ns
        .plan_truncate(&fix.ctx(ROOT), path, length, "client", &fix.view)
        .unwrap();
    let named = plan.ops.iter().find_map(|op| match op {
        EditOp::Truncate { truncate_block, .. } => *truncate_block,
        _ => None,
    });
    let Truncated::RecoverBlock {
        file,
        block,
        recovery_id,
    } = fix.commit(plan)
    else {
        panic!("no block is cut")
    };
    assert_eq!(
        named.map(|named| (named.id, named.generation_stamp)),
        Some((block.id, recovery_id))
    );
    let target = fix.ns.truncate_target(file).unwrap();
    assert_eq!(target.length, block.num_bytes);
    // DataNodes have done it.
    fix.view.recovery = Some((block.id, recovery_id));
    let sync = BlockSynchronization {
        block: target.source.unwrap_or(fix.ns.block(block.id).unwrap().0),
        new_generation_stamp: recovery_id,
        new_length: target.length,
        close_file: true,
        delete_block: false,
    };
    let plan = fix.ns.plan_commit_block_synchronization(fix.now_ms, &sync, &fix.view);
    fix.commit(plan.unwrap()).unwrap();
    block.id
}

#[test]
fn a_block_of_a_snapshot_is_copied_before_it_is_cut() {
    let mut fix = with_dirs();
    let file = fix.file("/d/f", &[BS, 100]).unwrap();
    let blocks = |fix: &Fixture| -> Vec<BlockId> {
        let slot = fix.ns.slot(file).unwrap();
        fix.ns.file_blocks(slot).iter().map(|block| block.id).collect()
    };
    let old = blocks(&fix);
    assert_eq!(truncate(&mut fix, "/d/f", BS + 90), old[1], "no snapshot shows it");
    fix.allow("/d").unwrap();
    fix.snapshot(ROOT, "/d", "s").unwrap();
    let copy = truncate(&mut fix, "/d/f", BS + 80);
    assert_ne!(copy, old[1]);
    assert_eq!(blocks(&fix), [old[0], copy]);
    assert!(fix.ns.block(old[1]).is_some(), "the snapshot shows it");
    // The copy is the present's alone, and is cut where it is.
    assert_eq!(truncate(&mut fix, "/d/f", BS + 70), copy);
    fix.snapshot(ROOT, "/d", "t").unwrap();
    let another = truncate(&mut fix, "/d/f", BS + 60);
    assert!(another != copy && fix.ns.block(copy).is_some());
    assert!(fix.removed.is_empty(), "{:?}", fix.removed);
    fix.ns.check();
    let replayed = fix.replayed();
    assert_eq!(replayed.digest(), fix.ns.digest());
    fix.delete_snapshot(ROOT, "/d", "s").unwrap();
    fix.delete_snapshot(ROOT, "/d", "t").unwrap();
    let removed: Vec<BlockId> = fix.removed.iter().map(|block| block.id).collect();
    assert_eq!(removed, [old[1], copy]);
    assert!(fix.ns.snapshots.is_none());
    fix.ns.check();
}

#[test]
fn what_only_snapshots_show_counts_for_the_quota_that_it_moves_under() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/a/d/gone").unwrap();
    fix.mkdirs(ROOT, "/q").unwrap();
    let snapshot_root = "/a".to_owned();
    fix.op(&EditOp::AllowSnapshot {
        snapshot_root: snapshot_root.clone(),
    });
    fix.op(&EditOp::CreateSnapshot {
        snapshot_root,
        snapshot_name: "s".to_owned(),
        mtime: 1,
        rpc_ids: RpcIds::NONE,
    });
    assert!(fix.delete(ROOT, "/a/d/gone", false).unwrap());
    let quota = |fix: &mut Fixture, names| {
        let plan = fix.ns.plan_set_quota(&fix.ctx(ROOT), "/q", names, -1, None).unwrap();
        fix.commit(plan);
    };
    // The quota's directory, the one that moves, and the one that the snapshot shows below it.
    quota(&mut fix, 2);
    let refused = fix.ns.plan_rename(&fix.ctx(ROOT), "/a/d", "/q/d").unwrap_err();
    assert!(refused.is(ex::NS_QUOTA_EXCEEDED), "{refused:?}");
    quota(&mut fix, 3);
    let plan = fix.ns.plan_rename(&fix.ctx(ROOT), "/a/d", "/q/d").unwrap();
    assert!(fix.commit(plan));
    fix.check();
    assert!(fix.mkdirs(ROOT, "/q/more").is_err());
}

/// A snapshot goes on to show a directory that hangs nowhere any more: it was moved away, and deleted with where it was.
#[test]
fn policies_change_while_only_a_snapshot_shows_a_directory_with_quotas_by_type() {
    let mut fix = Fixture::new();
    for path in ["/s/q", "/t", "/other"] {
        fix.mkdirs(ROOT, path).unwrap();
    }
    fix.file("/s/q/f", &[10]).unwrap();
    let ssd = Some(2);
    let plan = fix
        .ns
        .plan_set_quota(&fix.ctx(ROOT), "/s/q", quota::DONT_SET, 1 << 40, ssd);
    fix.commit(plan.unwrap());
    fix.allow("/s").unwrap();
    fix.snapshot(ROOT, "/s", "s0").unwrap();
    // Where it goes another policy counts, and where it is then none does.
    let plan = fix.ns.plan_set_storage_policy(&fix.ctx(ROOT), "/t", Some("COLD"));
    fix.commit(plan.unwrap());
    fix.rename("/s/q", "/t/q", false).unwrap();
    fix.check();
    fix.delete(ROOT, "/t", true).unwrap();
    for is_freed in [false, true] {
        while is_freed && !fix.reclaim(100) {}
        for path in ["/other", "/s", "/"] {
            for policy in [Some("ALL_SSD"), None] {
                let plan = fix.ns.plan_set_storage_policy(&fix.ctx(ROOT), path, policy);
                fix.commit(plan.unwrap());
                fix.check();
            }
        }
    }
    assert!(fix.stat("/s/.snapshot/s0/q/f").is_some());
}
