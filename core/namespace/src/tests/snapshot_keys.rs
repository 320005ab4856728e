//! The keys that say what ops about snapshots do.

use super::snapshot_verbs::check;
use super::*;

use hathi_formats::exceptions as ex;

fn with_snapshots_of_d(config: NamespaceConfig) -> Fixture {
    let mut fix = Fixture::with(config);
    fix.mkdirs(ROOT, "/d").unwrap();
    fix.allow("/d").unwrap();
    fix
}

fn ordered() -> NamespaceConfig {
    NamespaceConfig {
        snapshot_deletion_ordered: true,
        ..NamespaceConfig::default()
    }
}

fn marked(fix: &Fixture) -> Vec<String> {
    let dir = fix.ns.resolve("/d").unwrap().last().unwrap();
    let all = fix
        .ns
        .snapshots_of(dir)
        .into_iter()
        .filter(|snapshot| snapshot.is_deleted);
    all.map(|snapshot| snapshot.name.to_owned()).collect()
}

fn collect(fix: &mut Fixture) -> Option<String> {
    let plan = fix.ns.plan_collect_snapshot(fix.now_ms)?;
    Some(fix.commit(plan))
}

#[test]
fn a_snapshot_that_is_not_the_oldest_is_marked_and_goes_when_it_is_the_oldest() {
    let mut fix = with_snapshots_of_d(ordered());
    fix.file("/d/f", &[7]).unwrap();
    fix.snapshot(ROOT, "/d", "a").unwrap();
    fix.snapshot(ROOT, "/d", "b").unwrap();
    fix.delete(ROOT, "/d/f", false).unwrap();
    fix.snapshot(ROOT, "/d", "c").unwrap();

    fix.delete_snapshot(ROOT, "/d", "b").unwrap();
    assert_eq!(fix.snapshot_names("/d"), ["0 a", "1 b#1", "2 c"]);
    assert_eq!(marked(&fix), ["b#1"]);
    assert_eq!(
        fix.stat("/d/.snapshot/b#1/f").unwrap().length,
        7,
        "nothing else is hidden"
    );
    assert_eq!(collect(&mut fix), None, "an older snapshot is there");
    fix.check();
    // Its name is free again.
    fix.snapshot(ROOT, "/d", "b").unwrap();
    fix.snapshot(ROOT, "/d", "b#3").unwrap();
    check(
        fix.delete_snapshot(ROOT, "/d", "b"),
        ex::SNAPSHOT,
        "The snapshot b#3 already exists for directory /d",
    );
    fix.delete_snapshot(ROOT, "/d", "b#3").unwrap();
    assert_eq!(fix.snapshot_names("/d"), ["0 a", "1 b#1", "2 c", "3 b", "4 b#3#4"]);

    // The oldest one goes at once, and those that are marked behind it one after the other.
    fix.delete_snapshot(ROOT, "/d", "a").unwrap();
    assert_eq!(fix.snapshot_names("/d"), ["1 b#1", "2 c", "3 b", "4 b#3#4"]);
    assert!(fix.removed.is_empty(), "it is still shown");
    assert_eq!(collect(&mut fix).as_deref(), Some("/d/.snapshot/b#1"));
    while !fix.reclaim(10) {}
    assert_eq!(fix.removed.len(), 1, "nothing shows it any more");
    assert_eq!(fix.snapshot_names("/d"), ["2 c", "3 b", "4 b#3#4"]);
    assert_eq!(collect(&mut fix), None);
    fix.check();

    // A NameNode without the key has deleted at once what was marked here, and loads the same edits.
    let config = fix.ns.config.clone();
    fix.ns.config = NamespaceConfig::default();
    let other = fix.replayed();
    other.check();
    let dir = other.resolve("/d").unwrap().last().unwrap();
    let names: Vec<_> = other
        .snapshots_of(dir)
        .into_iter()
        .map(|snapshot| snapshot.name.to_owned())
        .collect();
    assert_eq!(names, ["c", "b"]);
    assert!(fix.ns.plan_collect_snapshot(0).is_none(), "it is off");
    fix.snapshot(ROOT, "/d", "x#0").unwrap();
    fix.delete_snapshot(ROOT, "/d", "x#0").unwrap();
    assert_eq!(
        fix.snapshot_names("/d"),
        ["2 c", "3 b", "4 b#3#4"],
        "no snapshot 0 is left"
    );
    fix.ns.config = config;
}

#[test]
fn a_snapshot_shows_an_open_file_as_long_as_it_was() {
    for capture_open_files in [true, false] {
        let mut fix = with_snapshots_of_d(NamespaceConfig {
            capture_open_files,
            ..NamespaceConfig::default()
        });
        let grow = |fix: &mut Fixture, file, last: Option<Block>, len| {
            let block = fix.add_block(file, last).unwrap();
            Some(Block {
                num_bytes: len,
                ..block
            })
        };
        fix.mkdirs(ROOT, "/else").unwrap();
        let elsewhere = fix.create(ROOT, "/else/open", false).unwrap();
        let file = fix.create(ROOT, "/d/open", false).unwrap();
        let first = grow(&mut fix, file, None, BS);
        let second = grow(&mut fix, file, first, BS);
        fix.snapshot(ROOT, "/d", "s").unwrap();
        let third = grow(&mut fix, file, second, 5);
        fix.snapshot(ROOT, "/d", "t").unwrap();
        assert!(fix.complete("/d/open", file, third).unwrap());
        assert_eq!(fix.stat("/d/open").unwrap().length, 2 * BS + 5);
        let shown = ["s", "t"].map(|name| fix.stat(&format!("/d/.snapshot/{name}/open")).unwrap().length / BS);
        assert_eq!(shown, if capture_open_files { [1, 2] } else { [2, 2] });
        assert!(fix.complete("/else/open", elsewhere, None).unwrap());
        fix.check();
    }
}

#[test]
fn a_change_of_the_access_time_alone_is_kept_or_not() {
    for skip_access_times in [true, false] {
        let mut fix = with_snapshots_of_d(NamespaceConfig {
            skip_access_times,
            ..NamespaceConfig::default()
        });
        fix.file("/d/f", &[1]).unwrap();
        let times = |mtime, atime| EditOp::Times {
            path: "/d/f".to_owned(),
            mtime,
            atime,
        };
        fix.op(&times(10, 20));
        fix.snapshot(ROOT, "/d", "s").unwrap();
        fix.op(&times(-1, 30));
        let shown = |fix: &Fixture| {
            let status = fix.stat("/d/.snapshot/s/f").unwrap();
            (status.mtime_ms, status.atime_ms)
        };
        assert_eq!(shown(&fix), (10, if skip_access_times { 30 } else { 20 }));
        fix.op(&times(40, 50));
        assert_eq!(shown(&fix), (10, if skip_access_times { 30 } else { 20 }));
        fix.check();
    }
}

#[test]
fn nothing_moves_out_of_a_directory_with_ordered_snapshots_and_its_own_trash() {
    let both = NamespaceConfig {
        snapshot_trash_roots: true,
        ..ordered()
    };
    for (config, refused) in [(both, true), (ordered(), false)] {
        let mut fix = with_snapshots_of_d(config);
        fix.mkdirs(ROOT, "/d/.Trash").unwrap();
        fix.mkdirs(ROOT, "/other").unwrap();
        fix.mkdirs(ROOT, "/second").unwrap();
        fix.allow("/second").unwrap();
        assert_eq!(fix.ns.snapshottable_without_trash(), ["/second"]);
        for name in ["f", "g", "h"] {
            fix.file(&format!("/d/{name}"), &[1]).unwrap();
        }
        fix.rename("/d/f", "/d/.Trash/f", false).unwrap();
        for (src, dst) in [("/d/g", "/other/g"), ("/d/h", "/second/h")] {
            let moved = fix.rename(src, dst, false);
            if refused {
                let words = format!("Source {src} and dest {dst} are not under the same snapshot root.");
                check(moved, ex::SNAPSHOT, &words);
                let old = fix.ns.plan_rename(&fix.ctx(ROOT), src, dst);
                check(old.map(|_| ()), ex::SNAPSHOT, &words);
            } else {
                moved.unwrap();
            }
        }
        fix.check();
    }
}
