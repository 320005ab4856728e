//! What the edit log can't hold is refused before it is applied.

use super::*;
use crate::calls::ClientMachine;
use std::net::IpAddr;

#[test]
fn safety_n1_what_the_log_cannot_hold_is_refused_while_nothing_has_changed() {
    let mut ns = active();
    call(&mut ns, &hdfs(), &mkdirs("/d")).unwrap();
    let before = (ns.edit_log().applied(), ns.namespace().digest());
    // Longer than a reader of `PermissionStatus` takes; a server that lets in such a caller is not this module's matter.
    let nobody = user(&"n".repeat((1 << 20) + 1), true);

    let refused = call(&mut ns, &nobody, &mkdirs("/x")).unwrap_err();
    assert!(refused.is(exceptions::IO), "{refused:?}");
    // Of a plan of several ops none is applied: the missing parents are not made either.
    let refused = call(&mut ns, &nobody, &create("/x/y/f")).unwrap_err();
    assert!(refused.is(exceptions::IO), "{refused:?}");
    assert_eq!((ns.edit_log().applied(), ns.namespace().digest()), before);
    assert!(!ns.is_broken());

    call(&mut ns, &hdfs(), &mkdirs("/e")).unwrap();
    let mut other = standby();
    replay(&mut ns, &mut other);
    assert_eq!(other.namespace().digest(), ns.namespace().digest());
}

#[test]
fn the_address_of_a_caller_is_its_text() {
    let mut ctx = hdfs();
    let all = (0..=255u8).map(|octet| IpAddr::from([octet, 255 - octet, 10, octet / 2]));
    let longest: IpAddr = "1111:2222:3333:4444:5555:6666:7777:8888".parse().unwrap();
    let mapped: IpAddr = "::ffff:10.0.0.9".parse().unwrap();
    for ip in all.chain([longest]) {
        ctx.client_ip = Some(ip);
        assert_eq!(ClientMachine::of(&ctx).as_str(), ip.to_string());
    }
    ctx.client_ip = Some(mapped);
    assert_eq!(ClientMachine::of(&ctx).as_str(), "10.0.0.9");
    ctx.client_ip = None;
    assert_eq!(ClientMachine::of(&ctx).as_str(), "");
}
