//! Repeated calls, here and after a failover.

use super::*;

#[test]
fn a_repeated_call_gets_its_first_answer() {
    let mut ns = active();
    let first = reply(&mut ns, &numbered(1), &create("/f"));
    let applied = ns.edit_log().applied();
    assert_eq!(first.after, Some(applied));
    // The repetition comes while the first answer still waits: it waits for the same transaction.
    let again = reply(&mut ns, &numbered(1), &create("/f"));
    assert_eq!((&again.result, again.after), (&first.result, first.after));
    assert_eq!(ns.edit_log().applied(), applied);
    sync(&mut ns);
    let again = reply(&mut ns, &numbered(1), &create("/f"));
    assert_eq!((&again.result, again.after), (&first.result, None));
    // Another call with the same arguments is another call.
    assert!(reply(&mut ns, &numbered(2), &create("/f")).result.is_err());
    // Failures and "nothing done" run again.
    let missing = reply(&mut ns, &numbered(3), &rename("/x", "/y"));
    assert_eq!(missing.result.unwrap(), [8, 0][..]);
    make_file(&mut ns, "/x");
    let renamed = reply(&mut ns, &numbered(3), &rename("/x", "/y"));
    assert_eq!(renamed.result.unwrap(), [8, 1][..]);
    let renamed = reply(&mut ns, &numbered(3), &rename("/x", "/y"));
    assert_eq!(renamed.result.unwrap(), [8, 1][..], "from the cache, as /x is gone");
    assert_eq!(ns.retry_cache().hits(), 3);
    // Calls without ids are never repetitions.
    assert!(reply(&mut ns, &hdfs(), &create("/g")).result.is_ok());
    assert!(reply(&mut ns, &hdfs(), &create("/g")).result.is_err());
}

#[test]
fn a_standby_that_replays_has_the_same_namespace_and_the_same_answers() {
    let mut ns = active();
    datanodes(&mut ns, 3);
    let mut calls: Vec<(i32, ClientMethod, Bytes)> = Vec::new();
    let mut do_call = |ns: &mut Namesystem, method: ClientMethod, body: Bytes| {
        let id = calls.len() as i32 + 100;
        let reply = raw(ns, &numbered(id), method, body.clone());
        assert!(reply.result.is_ok(), "{method:?}: {:?}", reply.result);
        calls.push((id, method, body));
        reply.result.unwrap()
    };
    do_call(&mut ns, M::Mkdirs, body(&mkdirs("/a/b/c")));
    do_call(&mut ns, M::Create, body(&create("/a/f")));
    let added = do_call(&mut ns, M::AddBlock, body(&add_block("/a/f", None)));
    let located = AddBlockResponseProto::decode(added).unwrap().block;
    received(&mut ns, &located, 77);
    do_call(
        &mut ns,
        M::Complete,
        body(&complete("/a/f", Some(of_length(&located.b, 77)))),
    );
    let append = AppendRequestProto {
        src: "/a/f".to_owned(),
        client_name: CLIENT.to_owned(),
        flag: None,
    };
    let appended = do_call(&mut ns, M::Append, body(&append));
    let appended = AppendResponseProto::decode(appended).unwrap();
    let last = appended.block.unwrap();
    assert_eq!((last.b.num_bytes(), last.offset), (77, 0));
    assert_eq!(appended.stat.unwrap().length, 77);
    do_call(&mut ns, M::Create, body(&create("/a/g")));
    do_call(&mut ns, M::Rename, body(&rename("/a/g", "/a/h")));
    let rename2 = Rename2RequestProto {
        src: "/a/h".to_owned(),
        dst: "/a/i".to_owned(),
        overwrite_dest: false,
        move_to_trash: None,
    };
    do_call(&mut ns, M::Rename2, body(&rename2));
    let set = SetXAttrRequestProto {
        src: "/a/b".to_owned(),
        x_attr: Some(XAttrProto {
            namespace: 0,
            name: "k".to_owned(),
            value: Some(Bytes::from_static(b"v")),
        }),
        flag: Some(1),
    };
    do_call(&mut ns, M::SetXAttr, body(&set));
    do_call(&mut ns, M::Delete, body(&delete("/a/b/c", false)));
    do_call(
        &mut ns,
        M::SetReplication,
        body(&SetReplicationRequestProto {
            src: "/a/f".to_owned(),
            replication: 2,
        }),
    );
    do_call(
        &mut ns,
        M::SetPermission,
        body(&SetPermissionRequestProto {
            src: "/a/b".to_owned(),
            permission: mode(0o1700),
        }),
    );

    let mut standby = standby();
    replay(&mut ns, &mut standby);
    assert_eq!(standby.edit_log().applied(), ns.edit_log().applied());
    assert_eq!(standby.namespace().digest(), ns.namespace().digest());

    let mut answers = 0;
    for (id, method, _) in &calls {
        let key = CallKey::new(&[7; 16], *id).unwrap();
        let (here, there) = (ns.retry_cache().get(&key), standby.retry_cache().get(&key));
        // Where the blocks are is soft state; the standby answers with what it knows.
        if *method == M::Append {
            assert_eq!(here.is_some(), there.is_some(), "{method:?}");
        } else {
            assert_eq!(here, there, "{method:?}");
        }
        answers += usize::from(here.is_some());
    }
    assert_eq!(answers, 7);

    // And after a failover the repetition of a create gets the old answer.
    standby.begin_activation().unwrap();
    standby.start_active(NOW).unwrap();
    standby.leave_safe_mode(true, NOW);
    let (id, method, body) = calls.iter().find(|(_, method, _)| *method == M::Create).unwrap();
    let key = CallKey::new(&[7; 16], *id).unwrap();
    let expected = Bytes::copy_from_slice(ns.retry_cache().get(&key).unwrap().payload);
    assert_eq!(
        raw(&mut standby, &numbered(*id), *method, body.clone()).result.unwrap(),
        expected
    );
}

/// An image holds no answers, and replay brings back only those of the edits behind it.
#[test]
fn safety_n7_a_repetition_after_a_load_in_place_gets_its_first_answer_unless_its_edit_is_lost() {
    let mut ns = active();
    make_file(&mut ns, "/f");
    let deleted = reply(&mut ns, &numbered(1), &delete("/f", true)).result;
    let mut loaded = standby();
    replay(&mut ns, &mut loaded);
    loaded.replace_retry_cache(crate::retry_cache::RetryCache::default());
    // This one reaches no quorum.
    let lost = reply(&mut ns, &numbered(2), &create("/lost")).result;
    assert!(lost.is_ok());

    drop(ns.begin_loading());
    loaded.inherit(&mut ns);
    loaded.begin_activation().unwrap();
    loaded.start_active(NOW).unwrap();
    loaded.leave_safe_mode(true, NOW);
    let again = reply(&mut loaded, &numbered(1), &delete("/f", true)).result;
    assert_eq!(again, deleted, "the first answer");
    let applied = loaded.edit_log().applied();
    assert!(reply(&mut loaded, &numbered(2), &create("/lost")).result.is_ok());
    assert!(
        loaded.edit_log().applied() > applied,
        "it runs: its first edit is nowhere"
    );
}
