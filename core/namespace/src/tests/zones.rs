//! Encryption zones: what makes one, what is refused in it, and what a client is told of its files.

use hathi_formats::editlog::{XAttr, XAttrNamespace};
use hathi_formats::exceptions as ex;

use super::*;

/// A key provider that has one key, of this version.
struct Keys(&'static str);

impl FileKeys for Keys {
    fn key(&self, key_name: &str) -> Option<EncryptedKey> {
        (key_name == "key").then(|| key(self.0, 1))
    }
}

fn key(version: &str, material: u8) -> EncryptedKey {
    EncryptedKey {
        key_name: "key".to_owned(),
        version_name: version.to_owned(),
        iv: vec![material; 16],
        material: vec![material; 16],
    }
}

const AES: i32 = 2;

fn zone(fix: &mut Fixture, path: &str) {
    fix.mkdirs(ROOT, path).unwrap();
    let plan = fix.ns.plan_create_zone(&fix.ctx(ROOT), path, AES, "key").unwrap();
    fix.commit(plan);
}

fn request(src: &str) -> CreateRequest<'_> {
    CreateRequest {
        src,
        mode: 0o644,
        unmasked: None,
        client_name: "client",
        create: true,
        overwrite: false,
        create_parent: true,
        replication: 3,
        block_size: BS,
        lazy_persist: false,
        storage_policy: "",
        ec_policy: "",
        should_replicate: false,
    }
}

/// A new file, with a key of this version if it is in a zone.
fn encrypted(fix: &mut Fixture, path: &str, version: &'static str) -> InodeId {
    let keys = Keys(version);
    let crypto = Crypto {
        versions: &[2],
        keys: Some(&keys),
    };
    let plan = fix
        .ns
        .plan_create_with(&fix.ctx(ROOT), &request(path), &fix.view, &crypto)
        .unwrap();
    match fix.commit(plan) {
        CreateOutcome::Created(file) => {
            assert!(fix.complete(path, file, None).unwrap());
            file
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_an_empty_directory_that_is_no_zone_becomes_one() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/full/child").unwrap();
    fix.file("/file", &[]).unwrap();
    let refused = |fix: &Fixture, path: &str| {
        let refused = fix.ns.plan_create_zone(&fix.ctx(ROOT), path, AES, "key").unwrap_err();
        refused.message
    };
    assert_eq!(refused(&fix, "/none"), "cannot find /none");
    assert_eq!(
        refused(&fix, "/file"),
        "Attempt to create an encryption zone for a file."
    );
    let full = "Attempt to create an encryption zone for a non-empty directory.";
    assert_eq!(refused(&fix, "/full"), full);
    zone(&mut fix, "/zone");
    assert_eq!(refused(&fix, "/zone"), "Directory /zone is already an encryption zone.");
    // As in Hadoop since 2.8, a zone may be in another one.
    zone(&mut fix, "/zone/inner");
    assert_eq!(fix.ns.zone_count(), 2);
    fix.check();
}

#[test]
fn a_file_of_a_zone_gets_a_key_and_no_client_gets_one_without() {
    let mut fix = Fixture::new();
    zone(&mut fix, "/zone");
    let create = |fix: &Fixture, path: &str, crypto: &Crypto<'_>| {
        fix.ns
            .plan_create_with(&fix.ctx(ROOT), &request(path), &fix.view, crypto)
    };
    let keys = Keys("key@0");
    let refused = create(&fix, "/zone/f", &Crypto::NONE).unwrap_err();
    assert!(
        refused.is(ex::IO) && refused.message.contains("no key provider"),
        "{refused}"
    );
    let old_client = Crypto {
        versions: &[1],
        keys: Some(&keys),
    };
    let refused = create(&fix, "/zone/f", &old_client).unwrap_err();
    assert!(refused.is(ex::UNKNOWN_CRYPTO_PROTOCOL_VERSION), "{refused}");
    assert_eq!(
        refused.message,
        "No crypto protocol versions provided by the client are supported. Client provided: \
         [CryptoProtocolVersion{description='Unknown', version=1, unknownValue=null}] NameNode supports: \
         [CryptoProtocolVersion{description='Unknown', version=1, unknownValue=null}, \
         CryptoProtocolVersion{description='Encryption zones', version=2, unknownValue=null}]"
    );
    struct Empty;
    impl FileKeys for Empty {
        fn key(&self, _: &str) -> Option<EncryptedKey> {
            None
        }
    }
    let waiting = Crypto {
        versions: &[2],
        keys: Some(&Empty),
    };
    let plan = create(&fix, "/zone/sub/f", &waiting).unwrap();
    assert!(plan.ops.is_empty(), "no directory is made before there is a key");
    assert!(matches!(plan.reply, CreateOutcome::NeedsKey(name) if name == "key"));

    encrypted(&mut fix, "/zone/sub/f", "key@0");
    encrypted(&mut fix, "/plain", "key@0");
    let info = fix.stat("/zone/sub/f").unwrap().encryption_info().unwrap();
    assert_eq!((info.suite, info.crypto_protocol_version), (AES, 2));
    assert_eq!((&info.key[..], &info.iv[..]), (&[1; 16][..], &[1; 16][..]));
    assert_eq!((&*info.key_name, &*info.ez_key_version_name), ("key", "key@0"));
    assert!(
        fix.stat("/zone/sub").unwrap().zone.is_some(),
        "directories are in it as well"
    );
    let plain = fix.stat("/plain").unwrap();
    assert!(plain.zone.is_none() && plain.encryption_info().is_none());
    // A listing tells the same, and what is below /.reserved/raw is shown as it is on the disks.
    let mut shown = Vec::new();
    for dir in ["/zone/sub", "/.reserved/raw/zone/sub"] {
        let iip = fix.ns.resolve(dir).unwrap();
        fix.ns
            .list(&ROOT, &iip, b"", 9, &mut |status| {
                shown.push((status.zone.is_some(), status.encryption_info().is_some()));
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
    }
    assert_eq!(shown, [(true, true), (true, false)]);
    let raw = fix.stat("/.reserved/raw/zone/sub/f").unwrap();
    assert!(
        raw.encryption_info().is_none(),
        "what is copied raw is copied encrypted"
    );
    // A superuser who copies encrypted bytes writes them as they are.
    let plan = create(&fix, "/.reserved/raw/zone/copy", &Crypto::NONE).unwrap();
    fix.commit(plan);
    assert!(fix.stat("/zone/copy").unwrap().file_key.is_none());
    fix.check();
    for other in [fix.replayed(), fix.loaded()] {
        assert_eq!(other.zone_keys(), ["key"]);
    }
}

#[test]
fn nothing_is_moved_across_the_border_of_a_zone() {
    let mut fix = Fixture::new();
    for path in ["/one", "/two"] {
        zone(&mut fix, path);
        fix.mkdirs(ROOT, &format!("{path}/dir")).unwrap();
    }
    encrypted(&mut fix, "/one/f", "key@0");
    encrypted(&mut fix, "/f", "key@0");
    for (src, dst, words) in [
        ("/one/f", "/g", "/one/f can't be moved from an encryption zone."),
        ("/f", "/one/dir/g", "/f can't be moved into an encryption zone."),
        (
            "/one/f",
            "/two/g",
            "/one/f can't be moved from encryption zone /one to encryption zone /two.",
        ),
    ] {
        let ctx = fix.ctx(ROOT);
        let old = fix.ns.plan_rename(&ctx, src, dst).unwrap_err();
        let new = fix
            .ns
            .plan_rename2(&ctx, src, dst, RenameOptions::default())
            .unwrap_err();
        assert_eq!((&*old.message, &*new.message), (words, words));
    }
    for (src, dst) in [("/one/f", "/one/dir/f"), ("/one", "/three")] {
        let plan = fix.ns.plan_rename(&fix.ctx(ROOT), src, dst).unwrap();
        assert!(fix.commit(plan), "{src}");
    }
    assert!(fix.stat("/three/dir/f").unwrap().encryption_info().is_some());
    // Files of a zone have a key each.
    encrypted(&mut fix, "/three/a", "key@0");
    encrypted(&mut fix, "/three/b", "key@0");
    let refused = fix
        .ns
        .plan_concat(&fix.ctx(ROOT), "/three/a", &["/three/b".to_owned()])
        .unwrap_err();
    assert!(refused.is(ex::HADOOP_ILLEGAL_ARGUMENT), "{refused}");
    assert_eq!(
        refused.message,
        "concat can not be called for files in an encryption zone."
    );
    fix.check();
}

#[test]
fn a_snapshot_shows_the_zones_of_its_time() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/dir/zone").unwrap();
    let plan = fix.ns.plan_allow_snapshot(&ROOT, "/dir").unwrap();
    fix.commit(plan);
    let snapshot = |fix: &mut Fixture, name: &str| {
        fix.op(&EditOp::CreateSnapshot {
            snapshot_root: "/dir".to_owned(),
            snapshot_name: name.to_owned(),
            mtime: 5,
            rpc_ids: RpcIds::NONE,
        });
    };
    snapshot(&mut fix, "before");
    zone(&mut fix, "/dir/zone");
    encrypted(&mut fix, "/dir/zone/f", "key@0");
    snapshot(&mut fix, "after");
    let zone_of = |fix: &Fixture, path: &str| {
        let iip = fix.ns.resolve(path).unwrap();
        fix.ns.zone_of(&iip).map(|at| at.path)
    };
    fix.delete(ROOT, "/dir/zone", true).unwrap();
    fix.mkdirs(ROOT, "/dir/zone").unwrap();
    assert_eq!(zone_of(&fix, "/dir/.snapshot/before/zone"), None);
    assert_eq!(
        zone_of(&fix, "/dir/.snapshot/after/zone/f").as_deref(),
        Some("/dir/zone")
    );
    assert_eq!(zone_of(&fix, "/dir/zone"), None, "the new directory is none");
    let then = fix.stat("/dir/.snapshot/after/zone/f").unwrap();
    assert!(then.encryption_info().is_some(), "it can be read with its key");
    assert!(fix.ns.zones_after(0, 9).zones.is_empty(), "no zone can be reached now");
    fix.check();
    for name in ["before", "after"] {
        fix.op(&EditOp::DeleteSnapshot {
            snapshot_root: "/dir".to_owned(),
            snapshot_name: name.to_owned(),
            mtime: 6,
            rpc_ids: RpcIds::NONE,
        });
    }
    while !fix.reclaim(1000) {}
    assert!(!fix.ns.has_zones(), "nothing is kept of what is gone");
    fix.check();
}

#[test]
fn attributes_of_zones_are_copied_raw_and_never_taken_away() {
    let mut fix = Fixture::new();
    zone(&mut fix, "/zone");
    fix.mkdirs(ROOT, "/copy/below").unwrap();
    let iip = fix.ns.resolve("/.reserved/raw/zone").unwrap();
    let attributes = fix.ns.xattrs(&ROOT, &iip, "/.reserved/raw/zone", &[]).unwrap();
    let [attribute] = &attributes[..] else {
        panic!("{attributes:?}")
    };
    assert_eq!(attribute.namespace, XAttrNamespace::Raw);
    let plain = fix.ns.resolve("/zone").unwrap();
    assert_eq!(
        fix.ns.xattrs(&ROOT, &plain, "/zone", &[]).unwrap(),
        [],
        "nobody else sees it"
    );
    let set = |fix: &Fixture, path: &str, caller| {
        fix.ns
            .plan_set_xattr(&fix.ctx(caller), path, attribute, true, true)
            .map(|plan| plan.ops)
    };
    assert!(set(&fix, "/copy", ROOT).unwrap_err().is(ex::ACCESS_CONTROL));
    assert!(
        set(&fix, "/.reserved/raw/copy", ALICE)
            .unwrap_err()
            .is(ex::ACCESS_CONTROL)
    );
    for op in set(&fix, "/.reserved/raw/copy", ROOT).unwrap() {
        fix.op(&op);
    }
    assert!(fix.stat("/copy/below").unwrap().zone.is_some());
    let gone = XAttr {
        value: None,
        ..attribute.clone()
    };
    let refused = fix
        .ns
        .plan_remove_xattr(&fix.ctx(ROOT), "/.reserved/raw/copy", &gone)
        .unwrap_err();
    assert_eq!(refused.message, "The encryption zone xattr should never be deleted.");
    fix.check();
}

#[test]
fn zones_are_listed_by_pages() {
    let mut fix = Fixture::new();
    for number in 0..5 {
        zone(&mut fix, &format!("/zone{number}"));
    }
    let (mut after, mut paths, mut pages) = (0, Vec::new(), 0);
    loop {
        let page = fix.ns.zones_after(after, 2);
        paths.extend(page.zones.iter().map(|at| at.path.clone()));
        pages += 1;
        if !page.has_more {
            break;
        }
        after = page.zones.last().unwrap().id.0;
    }
    assert_eq!(pages, 3);
    assert_eq!(paths, ["/zone0", "/zone1", "/zone2", "/zone3", "/zone4"]);
}

/// Walks through what is left of a re-encryption, and gives back the files that were found.
fn found(fix: &Fixture, walk: &mut ReencryptionWalk, max_files: usize) -> (Vec<KeyOfFile>, bool) {
    let mut found = Vec::new();
    loop {
        // One inode at a time, as if others had the lock between any two.
        let end = fix.ns.reencryption_step(walk, &mut found, max_files, 1);
        if end || found.len() == max_files {
            return (found, end);
        }
    }
}

#[test]
fn a_reencryption_finds_each_old_key_once_and_goes_on_where_it_was() {
    let mut fix = Fixture::new();
    zone(&mut fix, "/zone");
    let files = ["/zone/a/1", "/zone/a/2", "/zone/b", "/zone/c/d/3", "/zone/e"];
    for path in files {
        encrypted(&mut fix, path, "key@0");
    }
    zone(&mut fix, "/zone/b-inner");
    encrypted(&mut fix, "/zone/b-inner/other", "key@0");
    encrypted(&mut fix, "/zone/new", "key@1");
    assert_eq!(fix.ns.next_reencryption(&[]), None);
    let plan = fix
        .ns
        .plan_start_reencryption(&fix.ctx(ROOT), "/zone", "key@1")
        .unwrap();
    fix.commit(plan);
    let again = fix.ns.plan_start_reencryption(&fix.ctx(ROOT), "/zone", "key@1");
    assert_eq!(
        again.unwrap_err().message,
        "Zone /zone is already submitted for re-encryption."
    );
    let moved = fix.ns.plan_rename(&fix.ctx(ROOT), "/zone/b", "/zone/z").unwrap_err();
    assert_eq!(
        moved.message,
        "/zone/b can't be moved because encryption zone /zone is currently under re-encryption"
    );
    let mut seen = Vec::new();
    loop {
        // Each batch is done by another active, which knows only what is logged.
        fix.ns = fix.loaded();
        fix.ns.start_active(1);
        let mut walk = fix.ns.next_reencryption(&[]).unwrap();
        let (batch, end) = found(&fix, &mut walk, 2);
        if batch.is_empty() {
            assert!(end);
            let plan = fix.ns.plan_reencryption_done(&walk, 99);
            fix.commit(plan);
            break;
        }
        seen.extend(batch.iter().map(|old| fix.ns.path_of(old.file).unwrap()));
        let pairs: Vec<_> = batch.into_iter().map(|old| (old, key("key@1", 9))).collect();
        let plan = fix.ns.plan_reencrypted(&walk, &pairs, 0);
        assert_eq!(fix.commit(plan), pairs.len());
    }
    assert_eq!(seen, files);
    for path in files {
        let info = fix.stat(path).unwrap().encryption_info().unwrap();
        assert_eq!(
            (&*info.ez_key_version_name, &info.key[..]),
            ("key@1", &[9; 16][..]),
            "{path}"
        );
    }
    let page = fix.ns.reencrypted_zones_after(0, 9);
    let info = page.zones[0].zone.reencryption().unwrap();
    assert_eq!(
        (info.num_reencrypted, info.num_failures, info.completion_time),
        (5, 0, Some(99))
    );
    assert_eq!(fix.ns.next_reencryption(&[]), None);
    fix.check();
}

#[test]
fn a_file_that_changed_meanwhile_keeps_what_it_has_and_a_cancelled_zone_stays() {
    let mut fix = Fixture::new();
    zone(&mut fix, "/zone");
    for path in ["/zone/changed", "/zone/gone", "/zone/same"] {
        encrypted(&mut fix, path, "key@0");
    }
    let plan = fix
        .ns
        .plan_start_reencryption(&fix.ctx(ROOT), "/zone", "key@1")
        .unwrap();
    fix.commit(plan);
    let mut walk = fix.ns.next_reencryption(&[]).unwrap();
    let (batch, _) = found(&fix, &mut walk, 9);
    assert_eq!(batch.len(), 3);
    fix.delete(ROOT, "/zone/gone", false).unwrap();
    fix.delete(ROOT, "/zone/changed", false).unwrap();
    let changed = encrypted(&mut fix, "/zone/changed", "key@0");
    assert_ne!(changed, batch[0].file, "it is another file");
    let pairs: Vec<_> = batch.into_iter().map(|old| (old, key("key@1", 9))).collect();
    let plan = fix.ns.plan_reencrypted(&walk, &pairs, 2);
    assert_eq!(fix.commit(plan), 1);
    assert_eq!(
        &fix.stat("/zone/changed").unwrap().encryption_info().unwrap().key[..],
        [1; 16]
    );
    let plan = fix.ns.plan_cancel_reencryption(&fix.ctx(ROOT), "/zone").unwrap();
    fix.commit(plan);
    assert!(!fix.ns.is_reencryption_wanted(&walk));
    assert!(fix.ns.plan_reencrypted(&walk, &pairs, 0).ops.is_empty());
    let again = fix.ns.plan_cancel_reencryption(&fix.ctx(ROOT), "/zone").unwrap_err();
    assert_eq!(again.message, "Zone /zone is not under re-encryption");
    let page = fix.ns.reencrypted_zones_after(0, 9);
    let info = page.zones[0].zone.reencryption().unwrap();
    assert_eq!((info.num_reencrypted, info.num_failures, info.canceled), (1, 2, true));
    let refused = fix
        .ns
        .plan_start_reencryption(&fix.ctx(ROOT), "/zone/same", "key@1")
        .unwrap_err();
    assert_eq!(
        refused.message,
        "Path /zone/same is not the root of an encryption zone."
    );
    fix.check();
}

#[test]
fn a_zone_that_is_lost_is_found_missing() {
    let mut fix = Fixture::new();
    zone(&mut fix, "/zone");
    fix.ns.attributes.lose_a_zone();
    let check = std::panic::AssertUnwindSafe(|| fix.ns.check());
    let panic = std::panic::catch_unwind(check).unwrap_err();
    let words = panic.downcast_ref::<String>().unwrap();
    assert!(words.contains("encryption zone"), "{words}");
}
