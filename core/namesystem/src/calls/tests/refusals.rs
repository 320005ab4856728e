//! What callers are refused, and in which words.

use super::*;
use crate::calls::client::category;
use hathi_formats::editlog::EditOp;
use hathi_formats::protocols::NAMENODE_PROTOCOL;

#[test]
fn a_standby_refuses_whatever_is_not_unchecked() {
    let mut ns = new_namesystem();
    for &method in M::ALL {
        let reply = raw(&mut ns, &hdfs(), method, Bytes::new());
        let named = match category(method) {
            OperationCategory::Unchecked => {
                let standby = matches!(&reply.result, Err(error) if error.is(exceptions::STANDBY));
                assert!(!standby, "{}", method.name());
                continue;
            }
            OperationCategory::Read => "READ",
            OperationCategory::Write => "WRITE",
            OperationCategory::Journal => "JOURNAL",
            OperationCategory::Checkpoint => "CHECKPOINT",
        };
        let refused = reply.result.expect_err(method.name());
        let text = format!(
            "Operation category {named} is not supported in state standby. Visit https://s.apache.org/sbnn-error"
        );
        assert_eq!(
            refused,
            RemoteException::new(exceptions::STANDBY, text),
            "{}",
            method.name()
        );
        assert_eq!(
            reply.after,
            None,
            "a refusal by the HA state leaves at once: {}",
            method.name()
        );
    }
}

#[test]
fn a_malformed_request_is_an_error_of_every_method() {
    let mut ns = active();
    // Field 1, length-delimited, longer than the message.
    let body = Bytes::from_static(&[0x0a, 0x7f, 1]);
    for &method in M::ALL {
        let refused = raw(&mut ns, &hdfs(), method, body.clone()).result;
        assert!(
            matches!(&refused, Err(error) if error.is(exceptions::RPC_SERVER)),
            "{}: {refused:?}",
            method.name()
        );
    }
}

#[test]
fn a_new_active_without_datanodes_makes_clients_try_again() {
    let mut ns = active();
    call(&mut ns, &hdfs(), &create("/open")).unwrap();
    let refused = reply(&mut ns, &hdfs(), &add_block("/open", None)).result.unwrap_err();
    assert!(refused.is(exceptions::RETRIABLE), "{refused}");
}

#[test]
fn safe_mode_refuses_changes_and_says_of_which_kind_it_is() {
    // In start-up safe mode an active tells its clients to come again.
    let mut ns = new_namesystem();
    ns.begin_activation().unwrap();
    ns.start_active(NOW).unwrap();
    assert!(ns.blockmanager().in_startup_safe_mode());
    let refused = reply(&mut ns, &hdfs(), &mkdirs("/a")).result.unwrap_err();
    assert!(refused.is(exceptions::RETRIABLE), "{refused}");
    let start = "org.apache.hadoop.hdfs.server.namenode.SafeModeException: \
                 Cannot create directory /a. Name node is in safe mode.\n";
    assert!(refused.message.starts_with(start), "{refused}");
    // In safe mode by hand they are told why.
    let mut ns = active();
    let enter = SetSafeModeRequestProto {
        action: SafeModeActionProto::SafemodeEnter as i32,
        checked: Some(true),
    };
    let on = call(&mut ns, &hdfs(), &enter).unwrap();
    assert!(on.result);
    for (method, request, text) in [
        (M::Mkdirs, body(&mkdirs("/a")), "Cannot create directory /a"),
        (M::Create, body(&create("/a")), "Cannot create file/a"),
        (M::Delete, body(&delete("/a", true)), "Cannot delete /a"),
        (M::Rename, body(&rename("/a", "/b")), "Cannot rename /a"),
        (M::Complete, body(&complete("/a", None)), "Cannot complete file /a"),
        (M::AddBlock, body(&add_block("/a", None)), "Cannot add block to /a"),
        (M::RollEdits, Bytes::new(), "Log not rolled"),
    ] {
        let refused = raw(&mut ns, &hdfs(), method, request).result.expect_err(text);
        assert!(refused.is(exceptions::SAFE_MODE), "{refused}");
        assert!(
            refused.message.starts_with(&format!(
                "{text}. Name node is in safe mode.\nIt was turned on manually."
            )),
            "{refused}"
        );
        assert!(refused.message.ends_with(" NamenodeHostName:nn1.example"), "{refused}");
    }
    assert!(matches!(
        raw(&mut ns, &hdfs(), M::SaveNamespace, Bytes::new()).deferred,
        Some(Deferred::SaveNamespace {
            time_window_s: 0,
            tx_gap: 0
        })
    ));
    let refused = reply(&mut ns, &user("alice", false), &enter).result.unwrap_err();
    assert!(refused.is(exceptions::ACCESS_CONTROL));
    let leave = SetSafeModeRequestProto {
        action: SafeModeActionProto::SafemodeLeave as i32,
        checked: None,
    };
    let on = call(&mut ns, &hdfs(), &leave).unwrap();
    assert!(!on.result);
}

#[test]
fn cache_directives_are_not_looked_for_by_what_is_no_path() {
    let mut ns = active();
    let mut list = |path: Option<&str>, replication| {
        let request = ListCacheDirectivesRequestProto {
            prev_id: 0,
            filter: CacheDirectiveInfoProto {
                path: path.map(str::to_owned),
                replication,
                ..Default::default()
            },
        };
        call(&mut ns, &hdfs(), &request)
    };
    for path in ["", "cached", "/a:b", "//"] {
        let refusal = RemoteException::new(exceptions::INVALID_REQUEST, format!("Invalid path '{path}'."));
        assert_eq!(list(Some(path), None), Err(refusal), "{path}");
    }
    let refused = list(None, Some(3)).unwrap_err();
    assert!(refused.is(exceptions::INVALID_REQUEST), "{refused}");
    for path in [None, Some("/"), Some("/cached")] {
        assert_eq!(list(path, None).unwrap().elements, []);
    }
}

#[test]
fn a_change_that_can_not_be_made_is_refused_and_logs_nothing() {
    let mut ns = active();
    call(&mut ns, &hdfs(), &mkdirs("/d")).unwrap();
    let before = ns.edit_log().applied();
    let mut refuse = |method: ClientMethod, body| {
        let answer = raw(&mut ns, &hdfs(), method, body);
        assert!(
            answer.result.is_err() && answer.deferred.is_none(),
            "{method:?}: {answer:?}"
        );
        assert_eq!(ns.edit_log().applied(), before, "{method:?}");
    };
    for method in [
        M::CreateEncryptionZone,
        M::ReencryptEncryptionZone,
        M::SatisfyStoragePolicy,
        M::RenewDelegationToken,
        M::CancelDelegationToken,
    ] {
        // Field 1 of most of them is a path.
        refuse(method, body(&file_info("/d")));
    }
}

#[test]
fn a_directory_that_is_not_snapshottable_any_more_is_not_listed_any_more() {
    let mut ns = active();
    call(&mut ns, &hdfs(), &mkdirs("/d")).unwrap();
    ns.commit(&[EditOp::AllowSnapshot {
        snapshot_root: "/d".to_owned(),
    }])
    .unwrap();
    let listed = |ns: &mut Namesystem| {
        let request = GetSnapshottableDirListingRequestProto {};
        let answer = call(ns, &hdfs(), &request).unwrap();
        answer
            .snapshottable_dir_list
            .map_or(0, |list| list.snapshottable_dir_listing.len())
    };
    assert_eq!(listed(&mut ns), 1);
    let request = DisallowSnapshotRequestProto {
        snapshot_root: "/d".to_owned(),
    };
    let refused = call(&mut ns, &user("alice", false), &request);
    assert!(refused.unwrap_err().is(exceptions::ACCESS_CONTROL));
    assert_eq!(listed(&mut ns), 1);
    call(&mut ns, &hdfs(), &request).unwrap();
    assert_eq!(listed(&mut ns), 0);
}

#[test]
fn what_standbys_and_balancers_ask_is_for_superusers() {
    let mut ns = active();
    let before = ns.edit_log().applied();
    for method in [
        "getTransactionId",
        "getMostRecentCheckpointTxId",
        "getMostRecentNameNodeFileTxId",
        "rollEditLog",
        "getEditLogManifest",
        "isUpgradeFinalized",
        "isRollingUpgrade",
        "errorReport",
        "getBlockKeys",
        "getBlocks",
        "getNextSPSPath",
    ] {
        let alice = user("alice", false);
        let handler = lookup(NAMENODE_PROTOCOL.name, method).unwrap();
        let refused = handler.run(&mut ns, &alice, &Bytes::new());
        let refused = refused.result.expect_err(method);
        assert!(refused.is(exceptions::ACCESS_CONTROL), "{method}: {refused}");
    }
    assert_eq!(ns.edit_log().applied(), before);
}
