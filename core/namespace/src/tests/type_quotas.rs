//! Quotas by storage type: charged where the policies put the replicas, and held.

use hathi_formats::exceptions;
use hathi_formats::fsimage::{image_from_xml, write_xml};

use super::*;

const SSD: i32 = 2;
const DISK: i32 = 1;

fn set(fix: &mut Fixture, path: &str, kind: i32, bytes: i64) {
    let plan = fix
        .ns
        .plan_set_quota(&fix.ctx(ROOT), path, quota::DONT_SET, bytes, Some(kind));
    fix.commit(plan.unwrap());
}

fn policy(fix: &mut Fixture, path: &str, name: &str) {
    let plan = fix.ns.plan_set_storage_policy(&fix.ctx(ROOT), path, Some(name));
    fix.commit(plan.unwrap());
}

fn used(fix: &Fixture, path: &str) -> [i64; 6] {
    let iip = fix.ns.resolve(path).unwrap();
    fix.ns.quota_usage(&ROOT, &iip, path).unwrap().unwrap().types_consumed
}

#[test]
fn a_block_beyond_the_quota_of_its_storage_type_is_refused() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    policy(&mut fix, "/d", "ONE_SSD");
    set(&mut fix, "/d", SSD, 2 * BS as i64);
    fix.file("/d/a", &[BS, BS]).unwrap();
    let id = fix.create(ROOT, "/d/b", false).unwrap();
    let refused = fix.add_block(id, None).unwrap_err();
    assert!(refused.is(exceptions::QUOTA_BY_STORAGE_TYPE_EXCEEDED), "{refused}");
    assert_eq!(
        refused.message,
        "Quota by storage type : SSD on path : /d is exceeded. quota = 2 MB but space consumed = 3 MB"
    );
    // One replica of three is on SSD.
    assert_eq!(used(&fix, "/d"), [0, 2 * BS as i64, 4 * BS as i64, 0, 0, 0]);
    fix.check();
}

#[test]
fn what_is_there_already_counts_and_the_policy_says_as_what() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d/e").unwrap();
    fix.file("/d/e/f", &[10]).unwrap();
    set(&mut fix, "/d", DISK, i64::MAX / 2);
    assert_eq!(used(&fix, "/d"), [0, 0, 30, 0, 0, 0]);
    policy(&mut fix, "/d/e", "ALL_SSD");
    assert_eq!(used(&fix, "/d"), [0, 30, 0, 0, 0, 0]);
    fix.mkdirs(ROOT, "/cold").unwrap();
    policy(&mut fix, "/cold", "COLD");
    fix.file("/cold/g", &[7]).unwrap();
    let plan = fix.ns.plan_rename(&fix.ctx(ROOT), "/cold/g", "/d/e").unwrap();
    assert!(fix.commit(plan));
    assert_eq!(used(&fix, "/d"), [0, 51, 0, 0, 0, 0]);
    let plan = fix.ns.plan_set_replication(&fix.ctx(ROOT), "/d/e/f", 1).unwrap();
    fix.commit(plan);
    assert_eq!(used(&fix, "/d"), [0, 31, 0, 0, 0, 0]);
    fix.delete(ROOT, "/d/e/f", false).unwrap();
    assert_eq!(used(&fix, "/d"), [0, 21, 0, 0, 0, 0]);
    fix.check();
    assert_eq!(
        used_of(&fix.loaded(), "/d"),
        [0, 21, 0, 0, 0, 0],
        "an image says the same"
    );
    set(&mut fix, "/d", DISK, quota::RESET);
    assert!(!fix.ns.attributes.counts_types());
    fix.check();
}

#[test]
fn any_quota_counts_by_storage_type_what_there_was_and_what_comes() {
    let mut fix = Fixture::new();
    for dir in ["/other", "/d/e", "/cold"] {
        fix.mkdirs(ROOT, dir).unwrap();
    }
    policy(&mut fix, "/cold", "COLD");
    fix.file("/d/e/f", &[10]).unwrap();
    for dir in ["/other", "/d", "/d/e"] {
        let plan = fix.ns.plan_set_quota(&fix.ctx(ROOT), dir, 100, quota::DONT_SET, None);
        fix.commit(plan.unwrap());
        fix.check();
    }
    assert_eq!(used(&fix, "/d"), [0, 0, 30, 0, 0, 0]);
    fix.file("/d/g", &[2]).unwrap();
    assert_eq!(used(&fix, "/d"), [0, 0, 36, 0, 0, 0]);
    policy(&mut fix, "/d", "ALL_SSD");
    assert_eq!(used(&fix, "/d"), [0, 36, 0, 0, 0, 0]);
    assert_eq!(used(&fix, "/d/e"), [0, 30, 0, 0, 0, 0]);
    // What moves under another policy counts under it, in a quota that it takes with it as well.
    let plan = fix.ns.plan_rename(&fix.ctx(ROOT), "/d/e", "/cold").unwrap();
    assert!(fix.commit(plan));
    assert_eq!(used(&fix, "/d"), [0, 6, 0, 0, 0, 0]);
    assert_eq!(used(&fix, "/cold/e"), [0, 0, 0, 30, 0, 0]);
    fix.check();
    assert_eq!(used_of(&fix.loaded(), "/cold/e"), [0, 0, 0, 30, 0, 0]);
}

fn used_of(ns: &Namespace, path: &str) -> [i64; 6] {
    let iip = ns.resolve(path).unwrap();
    ns.quota_usage(&ROOT, &iip, path).unwrap().unwrap().types_consumed
}

#[test]
fn the_root_has_quotas_by_type_as_well_and_more_replicas_need_room() {
    let mut fix = Fixture::new();
    fix.file("/f", &[10]).unwrap();
    set(&mut fix, "/", DISK, 40);
    assert_eq!(used(&fix, "/"), [0, 0, 30, 0, 0, 0]);
    let more = |fix: &Fixture, replication| fix.ns.plan_set_replication(&fix.ctx(ROOT), "/f", replication);
    let refused = more(&fix, 5).unwrap_err();
    assert!(refused.is(exceptions::QUOTA_BY_STORAGE_TYPE_EXCEEDED), "{refused}");
    let plan = more(&fix, 4).unwrap();
    fix.commit(plan);
    fix.check();
}

#[test]
fn a_policy_from_above_counts_in_the_quotas_below() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d/e").unwrap();
    fix.file("/d/e/f", &[10]).unwrap();
    set(&mut fix, "/d/e", DISK, i64::MAX / 2);
    policy(&mut fix, "/d", "COLD");
    assert_eq!(used(&fix, "/d/e"), [0, 0, 0, 30, 0, 0]);
    fix.check();
    // It takes its quota with it, and the policy stays.
    let plan = fix.ns.plan_rename(&fix.ctx(ROOT), "/d/e", "/e").unwrap();
    assert!(fix.commit(plan));
    assert_eq!(used(&fix, "/e"), [0, 0, 30, 0, 0, 0]);
    fix.check();
}

#[test]
fn every_negative_quota_of_an_image_is_none() {
    let mut fix = Fixture::new();
    fix.file("/d/f", &[10]).unwrap();
    let plan = fix
        .ns
        .plan_set_quota(&fix.ctx(ROOT), "/d", 1_234_567, quota::DONT_SET, None);
    fix.commit(plan.unwrap());
    let without_type = fix.ns.digest();
    set(&mut fix, "/d", SSD, 7_654_321);
    let mut xml = Vec::new();
    write_xml(&Image::open(&fix.image()[..]).unwrap(), "", &mut xml).unwrap();
    let xml = String::from_utf8(xml).unwrap();
    let read = |xml: &str| {
        let (bytes, _) = image_from_xml(xml.as_bytes(), Vec::new()).unwrap();
        let ns = image::load(fix.ns.config.clone(), &Image::open(&bytes[..]).unwrap()).unwrap();
        ns.check();
        ns
    };
    assert_eq!(read(&xml).digest(), fix.ns.digest());
    let changed = xml.replace("<dsquota>-1<", "<dsquota>-5<");
    assert_ne!(changed, xml);
    assert_eq!(read(&changed).digest(), fix.ns.digest());
    let changed = xml.replace("<nsquota>1234567<", "<nsquota>9223372036854775807<");
    assert_ne!(changed, xml);
    let ns = read(&changed);
    let usage = ns
        .quota_usage(&ROOT, &ns.resolve("/d").unwrap(), "/d")
        .unwrap()
        .unwrap();
    assert_eq!(usage.ns_quota, quota::RESET, "a number that limits nothing is none");
    let changed = xml.replace("<quota>7654321<", "<quota>-3<");
    assert_ne!(changed, xml);
    let ns = read(&changed);
    assert_eq!(ns.digest(), without_type);
}
