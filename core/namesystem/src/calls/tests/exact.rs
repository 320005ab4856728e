//! What the edit log can't hold is refused before it is applied.

use super::*;

#[test]
fn safety_n1_what_the_log_cannot_hold_is_refused_while_nothing_has_changed() {
    let mut ns = active();
    call::<MkdirsResponseProto>(&mut ns, &hdfs(), "mkdirs", &mkdirs("/d")).unwrap();
    let before = (ns.edit_log.applied(), ns.namespace.digest());
    let too_long = "n".repeat(hathi_formats::editlog::MAX_STRING_UNITS + 1);

    let owner = SetOwnerRequestProto {
        src: "/d".to_owned(),
        username: Some(too_long.clone()),
        groupname: None,
    };
    let refused = call::<SetOwnerResponseProto>(&mut ns, &hdfs(), "setOwner", &owner).unwrap_err();
    assert!(refused.is(exceptions::IO), "{refused:?}");
    // Of a plan of several ops none is applied: the missing parents are not made either.
    let file = CreateRequestProto {
        client_name: too_long.clone(),
        ..create("/x/y/f")
    };
    let refused = call::<CreateResponseProto>(&mut ns, &hdfs(), "create", &file).unwrap_err();
    assert!(refused.is(exceptions::IO), "{refused:?}");
    let acl = ModifyAclEntriesRequestProto {
        src: "/d".to_owned(),
        acl_spec: vec![AclEntryProto {
            r#type: 0,
            scope: 0,
            permissions: 7,
            name: Some(too_long),
        }],
    };
    let refused = call::<ModifyAclEntriesResponseProto>(&mut ns, &hdfs(), "modifyAclEntries", &acl).unwrap_err();
    assert!(refused.is(exceptions::IO), "{refused:?}");
    assert_eq!((ns.edit_log.applied(), ns.namespace.digest()), before);
    assert!(!ns.is_broken());

    call::<MkdirsResponseProto>(&mut ns, &hdfs(), "mkdirs", &mkdirs("/e")).unwrap();
    let mut other = standby();
    replay(&mut ns, &mut other);
    assert_eq!(other.namespace.digest(), ns.namespace.digest());
}
