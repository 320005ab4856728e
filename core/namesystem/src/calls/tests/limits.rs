//! What comes from outside has a limit: at it a call is served, beyond it refused before anything is changed.

use super::*;
use hathi_formats::limits;

fn refused<R: Request<Response: std::fmt::Debug>>(ns: &mut Namesystem, request: &R) {
    let before = ns.edit_log().applied();
    let refused = call(ns, &hdfs(), request).unwrap_err();
    assert!(refused.is(exceptions::HADOOP_ILLEGAL_ARGUMENT), "{refused}");
    assert_eq!(ns.edit_log().applied(), before, "{refused}");
}

#[test]
fn a_clients_name_has_a_limit_in_every_call_that_keeps_it() {
    let mut ns = active();
    make_file(&mut ns, "/f");
    // The last character takes four bytes, and two units in the log.
    let longest = format!("{}\u{1F600}", "x".repeat(limits::CLIENT_NAME_MAX_BYTES - 4));
    let too_long = format!("x{longest}");
    let create_by = |name: &str| CreateRequestProto {
        client_name: name.to_owned(),
        ..create("/g")
    };
    refused(&mut ns, &create_by(&too_long));
    call(&mut ns, &hdfs(), &create_by(&longest)).unwrap();
    let append = AppendRequestProto {
        src: "/f".to_owned(),
        client_name: too_long.clone(),
        flag: Some(4),
    };
    refused(&mut ns, &append);
    let truncate = TruncateRequestProto {
        src: "/f".to_owned(),
        new_length: 0,
        client_name: too_long.clone(),
    };
    refused(&mut ns, &truncate);
    let recover = RecoverLeaseRequestProto {
        src: "/g".to_owned(),
        client_name: too_long,
    };
    refused(&mut ns, &recover);
}

#[test]
fn owners_acls_and_lists_have_limits() {
    let mut ns = active();
    make_file(&mut ns, "/f");
    let too_long = "x".repeat(limits::USER_MAX_BYTES + 1);
    for (user, group) in [(Some(too_long.clone()), None), (None, Some(too_long.clone()))] {
        let owner = SetOwnerRequestProto {
            src: "/f".to_owned(),
            username: user,
            groupname: group,
        };
        refused(&mut ns, &owner);
    }
    let entry = |name: &str| AclEntryProto {
        r#type: 0,
        scope: 0,
        permissions: 7,
        name: Some(name.to_owned()),
    };
    for acl_spec in [vec![entry("u"); limits::ACL_ENTRIES_MAX + 1], vec![entry(&too_long)]] {
        let acl = ModifyAclEntriesRequestProto {
            src: "/f".to_owned(),
            acl_spec,
        };
        refused(&mut ns, &acl);
    }
    let concat = ConcatRequestProto {
        trg: "/f".to_owned(),
        srcs: vec!["/g".to_owned(); limits::CONCAT_SOURCES_MAX + 1],
    };
    refused(&mut ns, &concat);
    let favored = AddBlockRequestProto {
        favored_nodes: vec!["dn".to_owned(); limits::FAVORED_NODES_MAX + 1],
        ..add_block("/f", None)
    };
    refused(&mut ns, &favored);
}
