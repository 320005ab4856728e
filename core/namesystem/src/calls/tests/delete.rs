//! Deletes of what is large: looked through in slices before anything is decided.

use super::*;
use crate::calls::{DeleteWork, WALK_SLICE_INODES};

fn delete_of(path: &str) -> DeleteRequestProto {
    DeleteRequestProto {
        src: path.to_owned(),
        recursive: true,
    }
}

fn alice() -> CallContext {
    user("alice", false)
}

/// An active with more directories of alice's below `/alice/big` than are looked at under one hold of the lock.
fn with_a_big_directory() -> Namesystem {
    let mut ns = active();
    call(&mut ns, &hdfs(), &mkdirs("/alice")).unwrap();
    let owner = SetOwnerRequestProto {
        src: "/alice".to_owned(),
        username: Some("alice".to_owned()),
        groupname: None,
    };
    call(&mut ns, &hdfs(), &owner).unwrap();
    for number in 0..WALK_SLICE_INODES * 2 + 7 {
        let path = format!("/alice/big/{number}/deep");
        call(&mut ns, &alice(), &mkdirs(&path)).unwrap();
    }
    sync(&mut ns);
    ns
}

#[test]
fn the_lock_is_given_away_while_a_large_subtree_is_looked_through_before_its_deletion() {
    let mut ns = with_a_big_directory();
    let begun = reply(&mut ns, &alice(), &delete_of("/alice/big"));
    assert!(
        begun.deferred.is_some(),
        "all of it was looked through under one hold of the lock"
    );
}

/// Goes on until there is an answer; between the slices `meanwhile` may do what it likes.
fn finish(ns: &mut Namesystem, mut work: DeleteWork, mut meanwhile: impl FnMut(&mut Namesystem)) -> Reply {
    loop {
        if let Some(reply) = work.finish(ns, NOW) {
            return reply;
        }
        while !work.step(ns, WALK_SLICE_INODES) {}
        meanwhile(ns);
    }
}

fn begun(ns: &mut Namesystem, ctx: &CallContext) -> DeleteWork {
    match reply(ns, ctx, &delete_of("/alice/big")).deferred {
        Some(Deferred::Delete(work)) => *work,
        other => panic!("looked through under one hold of the lock: {other:?}"),
    }
}

fn is_deleted(reply: &Reply) -> bool {
    DeleteResponseProto::decode(reply.result.clone().unwrap())
        .unwrap()
        .result
}

#[test]
fn a_large_subtree_is_deleted_when_it_was_looked_through() {
    let mut ns = with_a_big_directory();
    let ctx = CallContext {
        client_id: [7; 16].into_iter().collect(),
        call_id: 5,
        ..alice()
    };
    let before = ns.edit_log().applied();
    let work = begun(&mut ns, &ctx);
    assert_eq!(ns.edit_log().applied(), before, "nothing is decided yet");
    let done = finish(&mut ns, work, |_| {});
    assert!(is_deleted(&done));
    assert_eq!(done.after, Some(ns.edit_log().applied()));
    assert_eq!(ns.edit_log().applied(), TxId(before.0 + 1), "it is one op, as ever");
    sync(&mut ns);
    let again = reply(&mut ns, &ctx, &delete_of("/alice/big"));
    assert!(is_deleted(&again), "a repetition gets the same answer");
    assert_eq!(ns.edit_log().applied(), TxId(before.0 + 1));
}

#[test]
fn a_large_subtree_is_not_deleted_after_its_owner_was_refused() {
    let mut ns = with_a_big_directory();
    let work = begun(&mut ns, &alice());
    let done = finish(&mut ns, work, |ns| {
        let close = SetPermissionRequestProto {
            src: "/alice/big/7".to_owned(),
            permission: mode(0),
        };
        call(ns, &hdfs(), &close).unwrap();
    });
    assert!(done.result.unwrap_err().is(exceptions::ACCESS_CONTROL));
    assert!(ns.namespace().resolve("/alice/big").unwrap().exists());
}

#[test]
fn nobody_keeps_a_delete_going_by_changing_what_it_looks_through() {
    let mut ns = with_a_big_directory();
    call(&mut ns, &alice(), &mkdirs("/alice/other")).unwrap();
    for number in 0..WALK_SLICE_INODES + 7 {
        let path = format!("/alice/other/{number}");
        call(&mut ns, &alice(), &mkdirs(&path)).unwrap();
    }
    let work = begun(&mut ns, &alice());
    let mut places = ["/alice/other", "/alice/big/other"];
    let done = finish(&mut ns, work, |ns| {
        // In and out: when it is in, it has to be looked through.
        for _ in 0..if places[0] == "/alice/other" { 1 } else { 2 } {
            let rename = Rename2RequestProto {
                src: places[0].to_owned(),
                dst: places[1].to_owned(),
                ..Default::default()
            };
            call(ns, &alice(), &rename).unwrap();
            places.swap(0, 1);
        }
    });
    assert!(done.result.unwrap_err().is(exceptions::RETRIABLE));
}

#[test]
fn a_delete_ends_with_the_role_or_the_namespace_for_which_it_began() {
    let mut ns = with_a_big_directory();
    let mut work = begun(&mut ns, &alice());
    assert!(work.finish(&mut ns, NOW).is_none());
    ns.begin_stepping_down().unwrap();
    ns.end_stepping_down(NOW.wall_ms).unwrap();
    assert!(work.step(&ns, 1), "there is no more to look at");
    let refused = work.finish(&mut ns, NOW).unwrap().result.unwrap_err();
    assert!(refused.is(exceptions::STANDBY), "{refused:?}");
}

/// Makes so many directories in `/q`, which has room for no more, and deletes them.
fn deleted_under_a_quota(count: u64) -> Namesystem {
    let mut ns = active();
    for number in 0..count {
        call(&mut ns, &hdfs(), &mkdirs(&format!("/q/big/{number}"))).unwrap();
    }
    let quota = SetQuotaRequestProto {
        path: "/q".to_owned(),
        namespace_quota: count + 2,
        storagespace_quota: u64::MAX,
        storage_type: None,
    };
    call(&mut ns, &hdfs(), &quota).unwrap();
    let refused = call(&mut ns, &hdfs(), &create("/q/file")).unwrap_err();
    assert!(refused.is(exceptions::NS_QUOTA_EXCEEDED), "{refused:?}");
    assert!(call(&mut ns, &hdfs(), &delete_of("/q/big")).unwrap().result);
    assert!(ns.reclaim_pending());
    ns
}

#[test]
fn what_was_deleted_makes_room_under_its_quota_at_once() {
    let mut ns = deleted_under_a_quota(2000);
    call(&mut ns, &hdfs(), &create("/q/file")).unwrap();
    call(&mut ns, &hdfs(), &mkdirs("/q/more")).unwrap();
}

#[test]
fn a_client_tries_again_while_much_is_freed_under_a_quota() {
    let mut ns = deleted_under_a_quota(6000);
    // Nothing fits before everything is freed.
    let quota = SetQuotaRequestProto {
        path: "/q".to_owned(),
        namespace_quota: 2,
        storagespace_quota: u64::MAX,
        storage_type: None,
    };
    call(&mut ns, &hdfs(), &quota).unwrap();
    let refused = call(&mut ns, &hdfs(), &mkdirs("/q/more")).unwrap_err();
    assert!(refused.is(exceptions::RETRIABLE), "{refused:?}");
    assert!(refused.message.contains("is exceeded"), "{refused:?}");
    call(&mut ns, &hdfs(), &mkdirs("/q/more")).unwrap();
    let refused = call(&mut ns, &hdfs(), &mkdirs("/q/one-too-many")).unwrap_err();
    assert!(refused.is(exceptions::NS_QUOTA_EXCEEDED), "{refused:?}");
}
