//! Encryption zones with a key provider that answers what a test says.

use super::*;
use crate::keys::{EncryptedKey, KeyAnswer, KeyQuestion, KeyWork};
use crate::passed_on::{FRESH_MS, PassedOn};
use crate::reencryption::{Look, Reencryption};

fn with_provider() -> Namesystem {
    let mut ns = active();
    ns.config.keys.provider_uri = "kms://http@kms.example:9600/kms".to_owned();
    ns
}

fn create_zone(src: &str) -> CreateEncryptionZoneRequestProto {
    CreateEncryptionZoneRequestProto {
        src: src.to_owned(),
        key_name: Some("key".to_owned()),
    }
}

fn encrypted_create(src: &str) -> CreateRequestProto {
    CreateRequestProto {
        crypto_protocol_version: vec![2],
        ..create(src)
    }
}

/// New keys that nobody has had, of this version.
fn keys(version: &str, from: u8, count: u8) -> KeyAnswer {
    KeyAnswer::Generated {
        key_name: "key".to_owned(),
        keys: (from..from + count).map(|number| file_key(version, number)).collect(),
    }
}

fn file_key(version: &str, number: u8) -> EncryptedKey {
    EncryptedKey {
        key_name: "key".to_owned(),
        version_name: version.to_owned(),
        iv: vec![number; 16],
        material: vec![number; 16],
    }
}

fn waiting(reply: Reply) -> Box<KeyWork> {
    match reply.deferred {
        Some(Deferred::AskKeys(work)) => work,
        other => panic!("{other:?}, {:?}", reply.result),
    }
}

/// Serves a call, whose question is answered so.
fn answered<R: Request>(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: &R,
    answer: KeyAnswer,
) -> Result<R::Response, RemoteException> {
    let mut work = waiting(reply(ns, ctx, request));
    let handler = handler(R::METHOD.into()).unwrap();
    let reply = work.finish(ns, handler, &body(request), answer, NOW);
    assert_eq!(reply.deferred, None);
    reply.result.map(|bytes| R::Response::decode(bytes).unwrap())
}

fn exists() -> KeyAnswer {
    KeyAnswer::Metadata {
        key_name: "key".to_owned(),
        cipher: Some("AES/CTR/NoPadding".to_owned()),
    }
}

fn with_zone() -> Namesystem {
    let mut ns = with_provider();
    call(&mut ns, &hdfs(), &mkdirs("/zone")).unwrap();
    answered(&mut ns, &hdfs(), &create_zone("/zone"), exists()).unwrap();
    ns
}

fn key_of(ns: &mut Namesystem, path: &str) -> Option<FileEncryptionInfoProto> {
    call(ns, &hdfs(), &file_info(path))
        .unwrap()
        .fs
        .unwrap()
        .file_encryption_info
}

#[test]
fn a_zone_is_made_once_its_key_is_known_to_exist() {
    let mut ns = with_provider();
    call(&mut ns, &hdfs(), &mkdirs("/zone")).unwrap();
    let refused = call(&mut ns, &user("alice", false), &create_zone("/zone")).unwrap_err();
    assert!(refused.is(exceptions::ACCESS_CONTROL), "{refused}");
    let work = waiting(reply(&mut ns, &hdfs(), &create_zone("/zone")));
    let question = KeyQuestion::Metadata {
        key_name: "key".to_owned(),
    };
    assert_eq!(work.question(), &question);
    assert_eq!(ns.namespace().zone_count(), 0);
    let none = KeyAnswer::Metadata {
        key_name: "key".to_owned(),
        cipher: None,
    };
    let refused = answered(&mut ns, &hdfs(), &create_zone("/zone"), none).unwrap_err();
    assert_eq!(refused.message, "Key key doesn't exist.");
    answered(&mut ns, &numbered(7), &create_zone("/zone"), exists()).unwrap();
    // A repetition, here and at the next active, hears the same as the first call.
    call(&mut ns, &numbered(7), &create_zone("/zone")).unwrap();
    let refused = answered(&mut ns, &hdfs(), &create_zone("/zone"), exists()).unwrap_err();
    assert_eq!(refused.message, "Directory /zone is already an encryption zone.");
    let list = ListEncryptionZonesRequestProto { id: 0 };
    let list: ListEncryptionZonesResponseProto = serve(&mut ns, &hdfs(), M::ListEncryptionZones, &list).unwrap();
    assert!(!list.has_more);
    let found = &list.zones[0];
    assert_eq!((&*found.path, &*found.key_name, found.suite), ("/zone", "key", 2));
    let at = |ns: &mut Namesystem, src: &str| {
        let request = GetEzForPathRequestProto { src: src.to_owned() };
        let answer: GetEzForPathResponseProto = serve(ns, &hdfs(), M::GetEzForPath, &request).unwrap();
        answer.zone.map(|zone| zone.path)
    };
    assert_eq!(at(&mut ns, "/zone/not/there").as_deref(), Some("/zone"));
    assert_eq!(at(&mut ns, "/").as_deref(), None);
    let request = GetEnclosingRootRequestProto {
        filename: Some("/zone/x".to_owned()),
    };
    let root: GetEnclosingRootResponseProto = serve(&mut ns, &hdfs(), M::GetEnclosingRoot, &request).unwrap();
    assert_eq!(root.enclosing_root_path.as_deref(), Some("/zone"));
    let defaults = call(&mut ns, &hdfs(), &GetServerDefaultsRequestProto {})
        .unwrap()
        .server_defaults;
    assert_eq!(
        defaults.key_provider_uri.as_deref(),
        Some("kms://http@kms.example:9600/kms")
    );
}

#[test]
fn a_create_waits_for_a_key_if_none_is_at_hand_and_each_key_is_used_once() {
    let mut ns = with_zone();
    let before = ns.edit_log().applied();
    let work = waiting(reply(&mut ns, &numbered(1), &encrypted_create("/zone/a/f")));
    let question = KeyQuestion::Generate {
        key_name: "key".to_owned(),
        count: 1,
    };
    assert_eq!(work.question(), &question);
    assert_eq!(ns.edit_log().applied(), before, "nothing is made before there is a key");
    let made = answered(
        &mut ns,
        &numbered(1),
        &encrypted_create("/zone/a/f"),
        keys("key@0", 1, 2),
    )
    .unwrap();
    let info = made.fs.unwrap().file_encryption_info.unwrap();
    assert_eq!((&info.key[..], &*info.ez_key_version_name), (&[1; 16][..], "key@0"));
    // The repetition that comes at the same time.
    let again = call(&mut ns, &numbered(1), &encrypted_create("/zone/a/f")).unwrap();
    assert_eq!(again.fs.unwrap().file_encryption_info, Some(info));
    assert_eq!(ns.keys_at_hand("key"), 1);
    call(&mut ns, &hdfs(), &encrypted_create("/zone/a/g")).unwrap();
    assert_eq!(&key_of(&mut ns, "/zone/a/g").unwrap().key[..], [2; 16]);
    assert_eq!(ns.keys_at_hand("key"), 0);
    // Outside of zones nobody waits.
    call(&mut ns, &hdfs(), &encrypted_create("/plain")).unwrap();
    assert_eq!(key_of(&mut ns, "/plain"), None);
}

#[test]
fn what_changed_while_a_call_waited_for_its_key_is_seen() {
    let mut ns = with_zone();
    let mut work = waiting(reply(&mut ns, &hdfs(), &encrypted_create("/zone/f")));
    call(&mut ns, &hdfs(), &delete("/zone", true)).unwrap();
    call(&mut ns, &hdfs(), &mkdirs("/zone")).unwrap();
    let create = handler(M::Create.into()).unwrap();
    let request = body(&encrypted_create("/zone/f"));
    let reply_now = work.finish(&mut ns, create, &request, keys("key@0", 1, 1), NOW);
    assert!(reply_now.result.is_ok());
    assert_eq!(key_of(&mut ns, "/zone/f"), None, "it is no zone any more");
    // Who is no active any more, sends the client away.
    let mut ns = with_zone();
    let mut work = waiting(reply(&mut ns, &hdfs(), &encrypted_create("/zone/f")));
    sync(&mut ns);
    ns.begin_stepping_down().unwrap();
    let refused = work
        .finish(&mut ns, create, &request, keys("key@0", 1, 1), NOW)
        .result
        .unwrap_err();
    assert!(refused.is(exceptions::STANDBY), "{refused}");
}

#[test]
fn keys_are_fetched_before_they_are_needed_and_forgotten_when_they_are_old() {
    let ns = with_provider();
    assert_eq!(ns.wanted_keys(), [], "without zones nothing is asked");
    let mut ns = with_zone();
    ns.config.keys.cache_size = 10;
    let wanted = |count| KeyQuestion::Generate {
        key_name: "key".to_owned(),
        count,
    };
    assert_eq!(ns.wanted_keys(), [wanted(10)]);
    ns.supply_keys(keys("key@0", 1, 3), NOW);
    assert_eq!(ns.wanted_keys(), [], "three of ten are enough");
    call(&mut ns, &hdfs(), &encrypted_create("/zone/f")).unwrap();
    assert_eq!(ns.wanted_keys(), [wanted(8)]);
    ns.supply_keys(keys("key@0", 10, 20), NOW);
    assert_eq!(ns.keys_at_hand("key"), 10, "no more are kept than were asked for");
    let mut late = hdfs();
    late.mono_ms += ns.config.keys.expiry_ms;
    let work = waiting(reply(&mut ns, &late, &encrypted_create("/zone/g")));
    assert_eq!(work.question(), &wanted(1));
}

#[test]
fn a_reencryption_goes_on_at_the_next_active() {
    let mut ns = with_zone();
    ns.supply_keys(keys("key@0", 1, 5), NOW);
    for name in ["a", "b", "c"] {
        call(&mut ns, &hdfs(), &encrypted_create(&format!("/zone/{name}"))).unwrap();
    }
    let start = ReencryptEncryptionZoneRequestProto {
        action: ReencryptActionProto::StartReencrypt.into(),
        zone: "/zone".to_owned(),
    };
    let handler = handler(M::ReencryptEncryptionZone.into()).unwrap();
    let mut work = waiting(raw(&mut ns, &hdfs(), M::ReencryptEncryptionZone, body(&start)));
    assert_eq!(
        ns.keys_at_hand("key"),
        0,
        "those of the old version are not used any more"
    );
    let version = KeyAnswer::CurrentVersion {
        key_name: "key".to_owned(),
        version_name: "key@1".to_owned(),
    };
    work.finish(&mut ns, handler, &body(&start), version, NOW)
        .result
        .unwrap();
    let status = |ns: &mut Namesystem| {
        let request = ListReencryptionStatusRequestProto { id: 0 };
        let list: ListReencryptionStatusResponseProto =
            serve(ns, &hdfs(), M::ListReencryptionStatus, &request).unwrap();
        list.statuses[0].clone()
    };
    assert_eq!(status(&mut ns).state(), ReencryptionStateProto::Submitted);
    let mut driver = Reencryption::default();
    let batch = loop {
        match driver.look(&ns, 2, 1) {
            Look::Begun(zone) => ns.note_reencryption(Some(zone)),
            Look::More => {}
            Look::Batch(batch) => break batch,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(batch.len(), 2);
    assert_eq!(status(&mut ns).state(), ReencryptionStateProto::Processing);
    let new = vec![file_key("key@1", 21), file_key("key@1", 22)];
    assert_eq!(driver.updated(&mut ns, batch, Some(new)).unwrap(), 2);
    // Another one begins with what is logged.
    let mut driver = Reencryption::default();
    assert!(matches!(driver.look(&ns, 2, 100), Look::Begun(_)));
    let Look::Batch(batch) = driver.look(&ns, 2, 100) else {
        panic!()
    };
    assert_eq!(batch.len(), 1);
    assert_eq!(
        driver.updated(&mut ns, batch, None).unwrap(),
        0,
        "its provider does not answer"
    );
    assert_eq!(driver.look(&ns, 2, 100), Look::End);
    driver.finish(&mut ns, NOW).unwrap();
    assert_eq!(driver.look(&ns, 2, 100), Look::Nothing);
    let status = status(&mut ns);
    assert_eq!(status.state(), ReencryptionStateProto::Completed);
    assert_eq!((status.num_reencrypted, status.num_failures), (2, 1));
    assert_eq!(&key_of(&mut ns, "/zone/b").unwrap().key[..], [22; 16]);
    assert_eq!(&key_of(&mut ns, "/zone/c").unwrap().key[..], [3; 16]);
}

#[test]
fn a_call_that_was_passed_on_is_not_applied_when_its_key_came_late() {
    let mut ns = with_zone();
    let ctx = CallContext {
        passed_on: Some(PassedOn {
            waiting_at_ms: NOW.monotonic_ms,
            age_ms: 0,
            connection: 1,
        }),
        ..numbered(1)
    };
    ns.admit(&ctx).unwrap();
    let request = body(&encrypted_create("/zone/f"));
    let create = handler(M::Create.into()).unwrap();
    let mut work = waiting(reply(&mut ns, &ctx, &encrypted_create("/zone/f")));
    let late = Now {
        monotonic_ms: NOW.monotonic_ms + FRESH_MS + 1,
        ..NOW
    };
    let refused = work
        .finish(&mut ns, create, &request, keys("key@0", 1, 1), late)
        .result
        .unwrap_err();
    assert!(refused.is(exceptions::CALL_LATE), "{refused}");
}
