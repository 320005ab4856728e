//! Records of features that are not here are refused with what, where and what to do.

use hathi_formats::editlog::{XAttr, XAttrNamespace};
use hathi_formats::exceptions;

use super::*;

fn zone() -> XAttr {
    XAttr {
        namespace: XAttrNamespace::Raw,
        name: "hdfs.crypto.encryption.zone".to_owned(),
        // No message of Hadoop's.
        value: Some(vec![1]),
    }
}

/// As another NameNode saves it.
fn image_with(path: &str, xattr: XAttr) -> Vec<u8> {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, path).unwrap();
    let slot = fix.ns.resolve(path).unwrap().last_slot().unwrap();
    fix.ns.set_xattrs(slot, vec![xattr]);
    fix.image()
}

fn refusal(bytes: &[u8]) -> String {
    let image = Image::open(bytes).unwrap();
    assert!(
        image::verify(NamespaceConfig::default(), &image).is_err(),
        "it would be taken from a peer"
    );
    match image::load(NamespaceConfig::default(), &Image::open(bytes).unwrap()) {
        Err(hathi_formats::fsimage::ImageError::Unsupported(what)) => what,
        other => panic!("{:?}", other.map(|_| "loaded")),
    }
}

#[test]
fn an_image_with_an_unreadable_zone_is_refused_with_the_path() {
    let what = refusal(&image_with("/secret/zone", zone()));
    assert!(
        what.starts_with("/secret/zone: the attribute of the encryption zone can't be read"),
        "{what}"
    );
}

#[test]
fn an_image_of_another_layout_is_refused() {
    let fix = Fixture::new();
    for layout in [-59, -68] {
        let (bytes, _) = fix
            .ns
            .freeze()
            .save(Vec::new(), LayoutVersion(layout), &|| false)
            .unwrap();
        let what = refusal(&bytes);
        assert!(what.contains(&layout.to_string()) && what.contains("-67"), "{what}");
    }
}

#[test]
fn images_since_hadoop_2_6_are_read() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    for layout in -67..=-60 {
        let saved = fix.ns.freeze().save(Vec::new(), LayoutVersion(layout), &|| false);
        let (bytes, _) = saved.unwrap();
        let image = Image::open(&bytes[..]).unwrap();
        let loaded = image::load(NamespaceConfig::default(), &image).unwrap();
        assert_eq!(loaded.digest(), fix.ns.digest(), "{layout}");
    }
}

#[test]
fn an_edit_that_makes_an_unreadable_zone_is_not_applied() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    let mut ns = fix.replayed();
    let op = EditOp::SetXAttr {
        src: "/d".to_owned(),
        xattrs: vec![zone()],
        rpc_ids: RpcIds::NONE,
    };
    let refused = ns.apply(ns.last_applied_txid() + 1, &op).unwrap_err();
    assert!(matches!(refused, ApplyError::Unsupported { .. }), "{refused}");
    assert!(refused.to_string().contains("/d: "), "{refused}");
}

#[test]
fn nobody_makes_an_unreadable_zone_by_a_raw_attribute() {
    let mut fix = Fixture::new();
    fix.mkdirs(ROOT, "/d").unwrap();
    let refused = fix
        .ns
        .plan_set_xattr(&fix.ctx(ROOT), "/.reserved/raw/d", &zone(), true, true)
        .unwrap_err();
    assert!(refused.is(exceptions::IO), "{refused}");
}
