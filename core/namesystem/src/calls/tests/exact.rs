//! What the edit log can't hold is refused before it is applied.

use super::*;

#[test]
fn safety_n1_what_the_log_cannot_hold_is_refused_while_nothing_has_changed() {
    let mut ns = active();
    call::<MkdirsResponseProto>(&mut ns, &hdfs(), "mkdirs", &mkdirs("/d")).unwrap();
    let before = (ns.edit_log.applied(), ns.namespace.digest());
    // Longer than a reader of `PermissionStatus` takes; a server that lets in such a caller is not this module's matter.
    let nobody = user(&"n".repeat((1 << 20) + 1), true);

    let refused = call::<MkdirsResponseProto>(&mut ns, &nobody, "mkdirs", &mkdirs("/x")).unwrap_err();
    assert!(refused.is(exceptions::IO), "{refused:?}");
    // Of a plan of several ops none is applied: the missing parents are not made either.
    let refused = call::<CreateResponseProto>(&mut ns, &nobody, "create", &create("/x/y/f")).unwrap_err();
    assert!(refused.is(exceptions::IO), "{refused:?}");
    assert_eq!((ns.edit_log.applied(), ns.namespace.digest()), before);
    assert!(!ns.is_broken());

    call::<MkdirsResponseProto>(&mut ns, &hdfs(), "mkdirs", &mkdirs("/e")).unwrap();
    let mut other = standby();
    replay(&mut ns, &mut other);
    assert_eq!(other.namespace.digest(), ns.namespace.digest());
}
