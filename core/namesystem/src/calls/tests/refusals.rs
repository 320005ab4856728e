//! What callers are refused, and in which words.

use super::*;
use crate::calls::client::category;
use hathi_formats::editlog::EditOp;
use hathi_formats::exceptions::ExceptionClass;
use hathi_formats::protocols::NAMENODE_PROTOCOL;

#[test]
fn a_standby_refuses_whatever_is_not_unchecked() {
    let mut ns = new_namesystem();
    for &method in ClientMethod::ALL {
        let reply = raw(&mut ns, &hdfs(), method.name(), Bytes::new());
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
    for &method in ClientMethod::ALL {
        let refused = raw(&mut ns, &hdfs(), method.name(), body.clone()).result;
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
    call::<CreateResponseProto>(&mut ns, &hdfs(), "create", &create("/open")).unwrap();
    let refused = reply(&mut ns, &hdfs(), "addBlock", &add_block("/open", None))
        .result
        .unwrap_err();
    assert!(refused.is(exceptions::RETRIABLE), "{refused}");
}

#[test]
fn refusals_have_hadoops_class_and_words() {
    let mut ns = active();
    // Active for long.
    ns.last_transition_ms = 0;
    make_file(&mut ns, "/f");
    call::<CreateResponseProto>(&mut ns, &hdfs(), "create", &create("/open")).unwrap();
    call::<MkdirsResponseProto>(&mut ns, &hdfs(), "mkdirs", &mkdirs("/d/e")).unwrap();
    let alice = user("alice", false);
    let other_client = CreateRequestProto {
        client_name: "DFSClient_2".to_owned(),
        ..create("/open")
    };
    let long = format!("/{}", "x".repeat(8000));
    let root = hdfs();
    let cases: Vec<(&str, &CallContext, Bytes, ExceptionClass, &str)> = vec![
        (
            "create",
            &root,
            body(&create("/f")),
            exceptions::FILE_ALREADY_EXISTS,
            "/f for client 10.0.0.9 already exists",
        ),
        (
            "create",
            &root,
            body(&create("/d")),
            exceptions::FILE_ALREADY_EXISTS,
            "/d already exists as a directory",
        ),
        (
            "create",
            &root,
            body(&create("/open")),
            exceptions::ALREADY_BEING_CREATED,
            "Failed to CREATE_FILE /open for DFSClient_1 on 10.0.0.9 because DFSClient_1 is already the current lease holder.",
        ),
        (
            "create",
            &root,
            body(&other_client),
            exceptions::ALREADY_BEING_CREATED,
            "Failed to CREATE_FILE /open for DFSClient_2 on 10.0.0.9 because this file lease is currently owned by DFSClient_1 on 10.0.0.9",
        ),
        (
            "create",
            &root,
            body(&CreateRequestProto {
                block_size: 1,
                ..create("/small")
            }),
            exceptions::IO,
            "Specified block size 1 is less than configured minimum value dfs.namenode.fs-limits.min-block-size=1048576",
        ),
        (
            "create",
            &root,
            body(&create(&long)),
            exceptions::IO,
            "create: Pathname too long.  Limit 8000 characters, 1000 levels.",
        ),
        (
            "create",
            &root,
            body(&CreateRequestProto {
                storage_policy: Some("LUKEWARM".to_owned()),
                ..create("/policy")
            }),
            exceptions::HADOOP_ILLEGAL_ARGUMENT,
            "Cannot find a block policy with the name LUKEWARM",
        ),
        (
            "delete",
            &root,
            body(&delete("/d", false)),
            exceptions::PATH_IS_NOT_EMPTY_DIRECTORY,
            "`/d is non empty': Directory is not empty",
        ),
        (
            "renewLease",
            &root,
            body(&RenewLeaseRequestProto {
                client_name: CLIENT.to_owned(),
                namespaces: vec!["a".to_owned()],
            }),
            exceptions::IO,
            "namespaces([a]) should be null or empty",
        ),
        (
            "getDatanodeReport",
            &alice,
            body(&GetDatanodeReportRequestProto { r#type: 1 }),
            exceptions::ACCESS_CONTROL,
            "Access denied for user alice. Superuser privilege is required for operation datanodeReport",
        ),
        (
            "saveNamespace",
            &root,
            Bytes::new(),
            exceptions::IO,
            "Safe mode should be turned ON in order to create namespace image.",
        ),
        (
            "addBlock",
            &root,
            body(&add_block("/open", None)),
            exceptions::IO,
            "File /open could only be written to 0 of the 1 minReplication nodes. \
             There are 0 datanode(s) running and 0 node(s) are excluded in this operation.",
        ),
        (
            "complete",
            &root,
            body(&complete(
                "/open",
                Some(ExtendedBlockProto {
                    pool_id: "BP-other".to_owned(),
                    ..Default::default()
                }),
            )),
            exceptions::IO,
            "Unexpected BlockPoolId BP-other - expected BP-1-127.0.0.1-1",
        ),
        (
            "createSnapshot",
            &root,
            body(&CreateSnapshotRequestProto {
                snapshot_root: "/d".to_owned(),
                snapshot_name: None,
            }),
            exceptions::SNAPSHOT,
            "Directory is not a snapshottable directory: /d",
        ),
        (
            "getBlockLocations",
            &root,
            body(&GetBlockLocationsRequestProto {
                src: "/f".to_owned(),
                offset: u64::MAX,
                length: 1,
            }),
            exceptions::ILLEGAL_ARGUMENT,
            "Negative offset is not supported. File: /f",
        ),
        (
            "getBlockLocations",
            &root,
            body(&GetBlockLocationsRequestProto {
                src: "/none".to_owned(),
                offset: 0,
                length: 1,
            }),
            exceptions::FILE_NOT_FOUND,
            "File does not exist: /none",
        ),
        (
            "checkAccess",
            &root,
            body(&CheckAccessRequestProto {
                path: "/none".to_owned(),
                mode: 1,
            }),
            exceptions::FILE_NOT_FOUND,
            "Path not found",
        ),
        (
            "createEncryptionZone",
            &root,
            body(&CreateEncryptionZoneRequestProto {
                src: "/d".to_owned(),
                key_name: None,
            }),
            exceptions::IO,
            "Can't create an encryption zone for /d since no key provider is available.",
        ),
    ];
    for (method, ctx, body, class, message) in cases {
        let refused = raw(&mut ns, ctx, method, body).result.expect_err(method);
        assert_eq!(
            (refused.class(), refused.message.as_str()),
            (Some(class), message),
            "{method}"
        );
    }
}

#[test]
fn safe_mode_refuses_changes_and_says_of_which_kind_it_is() {
    // In start-up safe mode an active tells its clients to come again.
    let mut ns = new_namesystem();
    ns.role.change(Role::BecomingActive).unwrap();
    ns.start_active(NOW).unwrap();
    assert!(ns.blockmanager.in_startup_safe_mode());
    let refused = reply(&mut ns, &hdfs(), "mkdirs", &mkdirs("/a")).result.unwrap_err();
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
    let on: SetSafeModeResponseProto = call(&mut ns, &hdfs(), "setSafeMode", &enter).unwrap();
    assert!(on.result);
    for (method, request, text) in [
        ("mkdirs", body(&mkdirs("/a")), "Cannot create directory /a"),
        ("create", body(&create("/a")), "Cannot create file/a"),
        ("delete", body(&delete("/a", true)), "Cannot delete /a"),
        ("rename", body(&rename("/a", "/b")), "Cannot rename /a"),
        ("complete", body(&complete("/a", None)), "Cannot complete file /a"),
        ("addBlock", body(&add_block("/a", None)), "Cannot add block to /a"),
        ("rollEdits", Bytes::new(), "Log not rolled"),
    ] {
        let refused = raw(&mut ns, &hdfs(), method, request).result.expect_err(method);
        assert!(refused.is(exceptions::SAFE_MODE), "{method}: {refused}");
        assert!(
            refused.message.starts_with(&format!(
                "{text}. Name node is in safe mode.\nIt was turned on manually."
            )),
            "{refused}"
        );
        assert!(refused.message.ends_with(" NamenodeHostName:nn1.example"), "{refused}");
    }
    assert!(matches!(
        raw(&mut ns, &hdfs(), "saveNamespace", Bytes::new()).deferred,
        Some(Deferred::SaveNamespace {
            time_window_s: 0,
            tx_gap: 0
        })
    ));
    let refused = reply(&mut ns, &user("alice", false), "setSafeMode", &enter)
        .result
        .unwrap_err();
    assert!(refused.is(exceptions::ACCESS_CONTROL));
    let leave = SetSafeModeRequestProto {
        action: SafeModeActionProto::SafemodeLeave as i32,
        checked: None,
    };
    let on: SetSafeModeResponseProto = call(&mut ns, &hdfs(), "setSafeMode", &leave).unwrap();
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
        call::<ListCacheDirectivesResponseProto>(&mut ns, &hdfs(), "listCacheDirectives", &request)
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
    call::<MkdirsResponseProto>(&mut ns, &hdfs(), "mkdirs", &mkdirs("/d")).unwrap();
    let before = ns.edit_log.applied();
    let start = RollingUpgradeRequestProto {
        action: RollingUpgradeActionProto::Start as i32,
    };
    let mut refuse = |method: &str, body| {
        let answer = raw(&mut ns, &hdfs(), method, body);
        assert!(
            answer.result.is_err() && answer.deferred.is_none(),
            "{method}: {answer:?}"
        );
        assert_eq!(ns.edit_log.applied(), before, "{method}");
    };
    refuse("rollingUpgrade", body(&start));
    for method in [
        "allowSnapshot",
        "createSnapshot",
        "renameSnapshot",
        "deleteSnapshot",
        "setErasureCodingPolicy",
        "unsetErasureCodingPolicy",
        "addErasureCodingPolicies",
        "removeErasureCodingPolicy",
        "enableErasureCodingPolicy",
        "disableErasureCodingPolicy",
        "addCachePool",
        "modifyCachePool",
        "removeCachePool",
        "addCacheDirective",
        "modifyCacheDirective",
        "removeCacheDirective",
        "createEncryptionZone",
        "reencryptEncryptionZone",
        "satisfyStoragePolicy",
        "renewDelegationToken",
        "cancelDelegationToken",
    ] {
        // Field 1 of most of them is a path.
        refuse(method, body(&file_info("/d")));
    }
}

#[test]
fn a_directory_that_is_not_snapshottable_any_more_is_not_listed_any_more() {
    let mut ns = active();
    call::<MkdirsResponseProto>(&mut ns, &hdfs(), "mkdirs", &mkdirs("/d")).unwrap();
    ns.commit(&[EditOp::AllowSnapshot {
        snapshot_root: "/d".to_owned(),
    }])
    .unwrap();
    let listed = |ns: &mut Namesystem| {
        let request = GetSnapshottableDirListingRequestProto {};
        let answer: GetSnapshottableDirListingResponseProto =
            call(ns, &hdfs(), "getSnapshottableDirListing", &request).unwrap();
        answer
            .snapshottable_dir_list
            .map_or(0, |list| list.snapshottable_dir_listing.len())
    };
    assert_eq!(listed(&mut ns), 1);
    let request = DisallowSnapshotRequestProto {
        snapshot_root: "/d".to_owned(),
    };
    let refused = call::<DisallowSnapshotResponseProto>(&mut ns, &user("alice", false), "disallowSnapshot", &request);
    assert!(refused.unwrap_err().is(exceptions::ACCESS_CONTROL));
    assert_eq!(listed(&mut ns), 1);
    call::<DisallowSnapshotResponseProto>(&mut ns, &hdfs(), "disallowSnapshot", &request).unwrap();
    assert_eq!(listed(&mut ns), 0);
}

#[test]
fn what_standbys_and_balancers_ask_is_for_superusers() {
    let mut ns = active();
    let before = ns.edit_log.applied();
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
        let verb = lookup(NAMENODE_PROTOCOL.name, method).unwrap();
        let refused = verb.run(&mut ns, &alice, &Bytes::new());
        let refused = refused.result.expect_err(method);
        assert!(refused.is(exceptions::ACCESS_CONTROL), "{method}: {refused}");
    }
    assert_eq!(ns.edit_log.applied(), before);
}
