//! Walks over subtrees that are too large for one hold of the lock.

use super::*;
use crate::calls::summary::{SUMMARY_SLICE_INODES, SummaryWork};

fn summary_of(path: &str) -> GetContentSummaryRequestProto {
    GetContentSummaryRequestProto { path: path.to_owned() }
}

fn finish(ns: &Namesystem, mut work: SummaryWork) -> Reply {
    loop {
        if let Some(done) = work.step(ns, SUMMARY_SLICE_INODES) {
            return done;
        }
    }
}

/// An active with more directories below `/big` than are counted at once.
fn with_a_big_directory() -> (Namesystem, u64) {
    let mut ns = active();
    let count = SUMMARY_SLICE_INODES as u64 * 2 + 7;
    for number in 0..count {
        call::<MkdirsResponseProto>(&mut ns, &hdfs(), "mkdirs", &mkdirs(&format!("/big/{number}"))).unwrap();
    }
    sync(&mut ns);
    (ns, count)
}

#[test]
fn the_lock_is_given_away_while_a_large_subtree_is_counted() {
    let (mut ns, count) = with_a_big_directory();
    let begun = reply(&mut ns, &hdfs(), "getContentSummary", &summary_of("/big"));
    let Some(Deferred::Summary(mut work)) = begun.deferred else {
        panic!("counted {count} inodes under one hold of the lock");
    };
    assert_eq!(work.step(&ns, SUMMARY_SLICE_INODES).map(|_| ()), None);
    // Meanwhile others change it.
    let delete = DeleteRequestProto {
        src: "/big/0".to_owned(),
        recursive: true,
    };
    call::<DeleteResponseProto>(&mut ns, &hdfs(), "delete", &delete).unwrap();
    let done = finish(&ns, *work);
    let answer = GetContentSummaryResponseProto::decode(done.result.unwrap()).unwrap();
    assert!(
        (count..=count + 1).contains(&answer.summary.directory_count),
        "{answer:?}"
    );
    assert_eq!(done.after, Some(ns.edit_log.applied()), "it may show the deletion");

    let usage = GetQuotaUsageRequestProto {
        path: "/big".to_owned(),
    };
    let begun = reply(&mut ns, &hdfs(), "getQuotaUsage", &usage);
    assert!(matches!(begun.deferred, Some(Deferred::Summary(_))));
    let small: GetContentSummaryResponseProto =
        call(&mut ns, &hdfs(), "getContentSummary", &summary_of("/big/1")).unwrap();
    assert_eq!(small.summary.directory_count, 1);
}

#[test]
fn what_is_counted_is_still_forbidden_to_whom_it_is() {
    let (mut ns, _) = with_a_big_directory();
    let chmod = SetPermissionRequestProto {
        src: "/big/1".to_owned(),
        permission: mode(0o700),
    };
    call::<SetPermissionResponseProto>(&mut ns, &hdfs(), "setPermission", &chmod).unwrap();
    let mut told = reply(&mut ns, &user("alice", false), "getContentSummary", &summary_of("/big"));
    if let Some(Deferred::Summary(work)) = told.deferred {
        told = finish(&ns, *work);
    }
    assert!(told.result.unwrap_err().is(exceptions::ACCESS_CONTROL));
}
