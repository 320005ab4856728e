//! Calls about snapshots.

use super::*;
use crate::snapshot_upkeep::{collect_snapshot, has_snapshot_to_collect, make_trash_roots};

fn allow(path: &str) -> AllowSnapshotRequestProto {
    AllowSnapshotRequestProto {
        snapshot_root: path.to_owned(),
    }
}

fn create_snapshot(name: Option<&str>) -> CreateSnapshotRequestProto {
    CreateSnapshotRequestProto {
        snapshot_root: "/d".to_owned(),
        snapshot_name: name.map(str::to_owned),
    }
}

fn rename_snapshot(old: &str, new: &str) -> RenameSnapshotRequestProto {
    RenameSnapshotRequestProto {
        snapshot_root: "/d".to_owned(),
        snapshot_old_name: old.to_owned(),
        snapshot_new_name: new.to_owned(),
    }
}

fn delete_snapshot(name: &str) -> DeleteSnapshotRequestProto {
    DeleteSnapshotRequestProto {
        snapshot_root: "/d".to_owned(),
        snapshot_name: name.to_owned(),
    }
}

fn with_root() -> Namesystem {
    let mut ns = active();
    call(&mut ns, &hdfs(), &mkdirs("/d/in")).unwrap();
    call(&mut ns, &hdfs(), &allow("/d")).unwrap();
    ns
}

fn names(ns: &mut Namesystem) -> Vec<String> {
    let request = GetSnapshotListingRequestProto {
        snapshot_root: "/d".to_owned(),
    };
    let listed = call(ns, &hdfs(), &request).unwrap().snapshot_list.unwrap();
    let all = listed.snapshot_listing.iter();
    all.map(|snapshot| {
        assert_eq!(snapshot.parent_fullpath, "/d");
        assert!(!snapshot.is_deleted);
        format!(
            "{} {}",
            snapshot.snapshot_id,
            String::from_utf8_lossy(&snapshot.dir_status.path)
        )
    })
    .collect()
}

#[test]
fn snapshots_are_taken_listed_renamed_and_deleted() {
    let mut ns = with_root();
    let answer = call(&mut ns, &hdfs(), &create_snapshot(Some("s"))).unwrap();
    assert_eq!(answer.snapshot_path, "/d/.snapshot/s");
    // 1,700,000,000 s after 1970.
    let answer = call(&mut ns, &hdfs(), &create_snapshot(None)).unwrap();
    assert_eq!(answer.snapshot_path, "/d/.snapshot/s20231114-221320.000");
    assert_eq!(names(&mut ns), ["0 s", "1 s20231114-221320.000"]);
    call(&mut ns, &hdfs(), &rename_snapshot("s", "z")).unwrap();
    assert_eq!(names(&mut ns), ["1 s20231114-221320.000", "0 z"], "by name");
    let request = GetSnapshottableDirListingRequestProto {};
    let listed = call(&mut ns, &hdfs(), &request)
        .unwrap()
        .snapshottable_dir_list
        .unwrap();
    let listed = &listed.snapshottable_dir_listing[0];
    assert_eq!((listed.snapshot_number, listed.snapshot_quota), (2, 65_536));
    let of_alice = call(&mut ns, &user("alice", false), &request).unwrap();
    assert_eq!(of_alice.snapshottable_dir_list, None);
    let disallow = DisallowSnapshotRequestProto {
        snapshot_root: "/d".to_owned(),
    };
    assert!(call(&mut ns, &hdfs(), &disallow).unwrap_err().is(exceptions::SNAPSHOT));
    call(&mut ns, &hdfs(), &delete_snapshot("z")).unwrap();
    call(&mut ns, &hdfs(), &delete_snapshot("s20231114-221320.000")).unwrap();
    call(&mut ns, &hdfs(), &disallow).unwrap();
    for method in [M::AllowSnapshot, M::DisallowSnapshot] {
        let refused = raw(&mut ns, &user("alice", false), method, body(&allow("/d"))).result;
        assert!(refused.unwrap_err().is(exceptions::ACCESS_CONTROL));
    }
}

#[test]
fn a_repeated_call_about_snapshots_gets_its_first_answer_here_and_on_a_standby() {
    let mut ns = with_root();
    let calls = [
        (M::CreateSnapshot, body(&create_snapshot(None))),
        (M::RenameSnapshot, body(&rename_snapshot("s20231114-221320.000", "s"))),
        (M::DeleteSnapshot, body(&delete_snapshot("s"))),
    ];
    let first: Vec<Bytes> = (1..)
        .zip(&calls)
        .map(|(id, (method, body))| raw(&mut ns, &numbered(id), *method, body.clone()).result.unwrap())
        .collect();
    let mut standby = standby();
    replay(&mut ns, &mut standby);
    assert_eq!(standby.namespace().digest(), ns.namespace().digest());
    standby.begin_activation().unwrap();
    standby.start_active(NOW).unwrap();
    standby.leave_safe_mode(true, NOW);
    for ns in [&mut ns, &mut standby] {
        let before = ns.edit_log().applied();
        for (id, ((method, body), first)) in (1..).zip(calls.iter().zip(&first)) {
            let again = raw(ns, &numbered(id), *method, body.clone()).result.unwrap();
            assert_eq!(&again, first, "{method:?}");
        }
        assert_eq!(ns.edit_log().applied(), before);
    }
}

#[test]
fn a_report_comes_in_pages_and_as_a_whole() {
    let mut ns = with_root();
    call(&mut ns, &hdfs(), &create_snapshot(Some("s"))).unwrap();
    call(&mut ns, &hdfs(), &mkdirs("/d/new")).unwrap();
    call(&mut ns, &hdfs(), &rename("/d/in", "/d/new/out")).unwrap();
    let text = |entry: &SnapshotDiffReportEntryProto| {
        let target = entry.target_path.clone().unwrap_or_default();
        let words = [&entry.fullpath[..], &target[..]].map(String::from_utf8_lossy);
        format!("{} {} {}", entry.modification_label, words[0], words[1])
    };
    let whole = GetSnapshotDiffReportRequestProto {
        snapshot_root: "/d".to_owned(),
        from_snapshot: "s".to_owned(),
        to_snapshot: String::new(),
    };
    let report = call(&mut ns, &hdfs(), &whole).unwrap().diff_report;
    let lines: Vec<String> = report.diff_report_entries.iter().map(text).collect();
    assert_eq!(lines, ["M  ", "+ new ", "R in new/out"]);
    ns.config.snapshot_diff_limit = 1;
    let mut pages = GetSnapshotDiffReportListingRequestProto {
        snapshot_root: "/d".to_owned(),
        from_snapshot: "s".to_owned(),
        ..Default::default()
    };
    let mut counts = (0, 0, 0);
    loop {
        let page = call(&mut ns, &hdfs(), &pages).unwrap().diff_report;
        assert!(page.is_from_earlier);
        let entries = (
            page.modified_entries.len(),
            page.created_entries.len(),
            page.deleted_entries.len(),
        );
        assert!(entries.0 + entries.1 + entries.2 <= 3, "{entries:?}");
        counts = (counts.0 + entries.0, counts.1 + entries.1, counts.2 + entries.2);
        let cursor = page.cursor.unwrap();
        if cursor.start_path.is_empty() {
            assert_eq!(cursor.index, -1);
            break;
        }
        pages.cursor = Some(cursor);
    }
    assert_eq!(counts, (1, 1, 1));
    pages.cursor = Some(SnapshotDiffReportCursorProto {
        start_path: Bytes::from_static(b"in"),
        index: 3,
    });
    let refused = call(&mut ns, &hdfs(), &pages).unwrap_err();
    assert_eq!(refused.message, "no page ends with in");
    // Both are the present, or the same snapshot.
    for (from, to) in [("", ""), ("s", "s")] {
        let same = GetSnapshotDiffReportRequestProto {
            from_snapshot: from.to_owned(),
            to_snapshot: to.to_owned(),
            ..whole.clone()
        };
        let report = call(&mut ns, &hdfs(), &same).unwrap().diff_report;
        assert!(report.diff_report_entries.is_empty());
    }
}

#[test]
fn reports_are_refused_in_hadoops_words() {
    let mut ns = with_root();
    call(&mut ns, &hdfs(), &mkdirs("/other")).unwrap();
    let mut ask = |path: &str, from: &str| {
        let request = GetSnapshotDiffReportRequestProto {
            snapshot_root: path.to_owned(),
            from_snapshot: from.to_owned(),
            to_snapshot: String::new(),
        };
        call(&mut ns, &hdfs(), &request).unwrap_err().message
    };
    assert_eq!(ask("/d", "no"), "Cannot find the snapshot of directory /d with name no");
    assert_eq!(
        ask("/d/in", "no"),
        "Cannot find the snapshot of directory /d with name no",
        "a directory below"
    );
    assert_eq!(
        ask("/other", "s"),
        "The path /other is neither snapshottable nor under a snapshot root!"
    );
    assert_eq!(ask("/none", "s"), "Directory does not exist: /none");
}

#[test]
fn the_audit_log_names_snapshots() {
    let mut ns = with_root();
    let diff = GetSnapshotDiffReportRequestProto {
        snapshot_root: "/d".to_owned(),
        from_snapshot: "s".to_owned(),
        to_snapshot: String::new(),
    };
    for (method, request, command, src, dst) in [
        (M::AllowSnapshot, body(&allow("/d")), "allowSnapshot", "/d", None),
        (
            M::CreateSnapshot,
            body(&create_snapshot(Some("s"))),
            "createSnapshot",
            "/d",
            Some("/d/.snapshot/s"),
        ),
        (
            M::GetSnapshotDiffReport,
            body(&diff),
            "computeSnapshotDiff",
            "/d/.snapshot/s",
            Some("/d"),
        ),
        (
            M::RenameSnapshot,
            body(&rename_snapshot("s", "t")),
            "renameSnapshot",
            "/d/.snapshot/s",
            Some("/d/.snapshot/t"),
        ),
        (M::GetSnapshotListing, body(&allow("/d")), "ListSnapshot", "/d", None),
        (
            M::DeleteSnapshot,
            body(&delete_snapshot("t")),
            "deleteSnapshot",
            "/d/.snapshot/t",
            None,
        ),
        (M::DisallowSnapshot, body(&allow("/d")), "disallowSnapshot", "/d", None),
    ] {
        let answer = raw(&mut ns, &hdfs(), method, request.clone());
        let line = audit(&ns, &hdfs(), method, &request, &answer).unwrap();
        let found = (&*line.command, line.src.as_deref(), line.dst.as_deref());
        assert_eq!(found, (command, Some(src), dst), "{:?}", answer.result);
    }
}

#[test]
fn a_new_active_makes_the_trash_roots_that_are_missing_once_safe_mode_is_over() {
    let mut ns = with_root();
    call(&mut ns, &hdfs(), &mkdirs("/e")).unwrap();
    call(&mut ns, &hdfs(), &allow("/e")).unwrap();
    call(&mut ns, &hdfs(), &mkdirs("/e/.Trash")).unwrap();
    assert!(make_trash_roots(&mut ns, NOW).is_empty(), "it is off");
    let defaults = GetServerDefaultsRequestProto {};
    let enabled = |ns: &mut Namesystem| {
        let answer = call(ns, &user("alice", false), &defaults).unwrap();
        answer.server_defaults.snapshot_trash_root_enabled()
    };
    assert!(!enabled(&mut ns));
    ns.reconfigure(|to| to.namespace.snapshot_trash_roots = true);
    assert!(enabled(&mut ns), "clients are told");
    ns.enter_safe_mode();
    assert!(
        make_trash_roots(&mut ns, NOW).is_empty(),
        "nothing changes in safe mode"
    );
    ns.leave_safe_mode(true, NOW);
    assert_eq!(make_trash_roots(&mut ns, NOW), ["/d/.Trash"]);
    let status = ns.namespace().resolve("/d/.Trash").unwrap().last().unwrap();
    assert_eq!(ns.namespace().status(status).unwrap().mode, 0o1777);
    call(&mut ns, &hdfs(), &delete("/d/.Trash", true)).unwrap();
    assert!(
        make_trash_roots(&mut ns, NOW).is_empty(),
        "who deletes it does not want it"
    );
}

#[test]
fn what_was_marked_is_told_and_deleted_in_its_turn() {
    let mut ns = with_root();
    ns.reconfigure(|to| to.namespace.snapshot_deletion_ordered = true);
    for name in ["one", "two", "three"] {
        call(&mut ns, &hdfs(), &create_snapshot(Some(name))).unwrap();
    }
    call(&mut ns, &hdfs(), &delete_snapshot("two")).unwrap();
    let request = GetSnapshotListingRequestProto {
        snapshot_root: "/d".to_owned(),
    };
    let deleted = |ns: &mut Namesystem| {
        let listed = call(ns, &hdfs(), &request).unwrap().snapshot_list.unwrap();
        let all = listed.snapshot_listing.into_iter();
        all.map(|of| (String::from_utf8(of.dir_status.path.to_vec()).unwrap(), of.is_deleted))
            .collect::<Vec<_>>()
    };
    let (one, two, three) = ("one".to_owned(), "two#1".to_owned(), "three".to_owned());
    assert_eq!(
        deleted(&mut ns),
        [(one, false), (three.clone(), false), (two.clone(), true)]
    );
    assert!(!has_snapshot_to_collect(&ns) && collect_snapshot(&mut ns, NOW).is_none());
    call(&mut ns, &hdfs(), &delete_snapshot("one")).unwrap();
    assert_eq!(deleted(&mut ns), [(three.clone(), false), (two, true)]);
    assert!(has_snapshot_to_collect(&ns));
    assert_eq!(collect_snapshot(&mut ns, NOW).as_deref(), Some("/d/.snapshot/two#1"));
    assert_eq!(deleted(&mut ns), [(three, false)]);
}
