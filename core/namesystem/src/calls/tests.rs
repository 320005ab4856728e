//! The handlers on a namesystem in memory: what callers get to hear, and that a standby ends up with the same state.

use super::{CLIENT_METHODS, audit, client_method};
use crate::context::{CallContext, Deferred, Reply, Verb};
use crate::edit_log::{LogItem, SyncedTxId};
use crate::loader::{Parts, assemble};
use crate::namesystem::Config;
use crate::retry_cache::{CallKey, RetryCacheOptions};
use crate::{Namesystem, OperationCategory, Role};
use bytes::Bytes;
use hathi_blockmanager::{
    BlockManagerConfig, DatanodeIndex, HeartbeatStats, IncrementalNotice, Now, StorageReport,
};
use hathi_formats::editlog::{Frames, decode_frame};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, LayoutVersion, NamespaceInfo, TxId};
use hathi_formats::proto::hdfs::*;
use hathi_namespace::Namespace;
use prost::Message;

const POOL: &str = "BP-1-127.0.0.1-1";
const CLIENT: &str = "DFSClient_1";
const NOW: Now = Now {
    monotonic_ms: 50_000,
    wall_ms: 1_700_000_000_000,
};

fn new_namesystem() -> Namesystem {
    let config = Config {
        superuser: "hdfs".to_owned(),
        rpc_address: "nn1.example:8020".to_owned(),
        ..Config::default()
    };
    let info = NamespaceInfo {
        block_pool_id: POOL.to_owned(),
        ..Default::default()
    };
    let parts = Parts {
        config,
        blockmanager: BlockManagerConfig::default(),
        retry_cache: RetryCacheOptions::default(),
        info,
    };
    let namespace = Namespace::new(hathi_namespace::Config::default());
    let mut ns = assemble(parts, namespace, TxId(0), SyncedTxId::default());
    ns.role.change(Role::Standby).unwrap();
    ns
}

/// An active out of safe mode.
fn active() -> Namesystem {
    let mut ns = new_namesystem();
    ns.role.change(Role::BecomingActive).unwrap();
    ns.start_active(NOW).unwrap();
    ns.blockmanager.leave_safe_mode(true, NOW);
    sync(&mut ns);
    ns
}

/// A quorum has everything.
fn sync(ns: &mut Namesystem) -> Vec<LogItem> {
    let items = ns.edit_log.take();
    let applied = ns.edit_log.applied();
    ns.edit_log.on_synced(applied);
    items.into()
}

fn user(name: &str, superuser: bool) -> CallContext {
    CallContext {
        user: name.into(),
        groups: vec![format!("{name}s")].into(),
        superuser,
        client_ip: Some("10.0.0.9".parse().unwrap()),
        client_id: Default::default(),
        call_id: -2,
        retry_count: -1,
        now_ms: NOW.wall_ms,
        mono_ms: NOW.monotonic_ms,
    }
}

fn hdfs() -> CallContext {
    user("hdfs", true)
}

fn numbered(call_id: i32) -> CallContext {
    CallContext {
        client_id: [7; 16].into_iter().collect(),
        call_id,
        retry_count: 0,
        ..hdfs()
    }
}

fn raw(ns: &mut Namesystem, ctx: &CallContext, method: &str, body: Bytes) -> Reply {
    match client_method(method).unwrap().verb {
        Verb::Read(read) => read(ns, ctx, body),
        Verb::Write(write) => write(ns, ctx, body),
        Verb::ReadThenWrite(read, write) => match read(ns, ctx, &body) {
            Some(reply) => reply,
            None => write(ns, ctx, body),
        },
    }
}

fn reply(ns: &mut Namesystem, ctx: &CallContext, method: &str, request: &impl Message) -> Reply {
    raw(ns, ctx, method, Bytes::from(request.encode_to_vec()))
}

fn call<M: Message + Default>(
    ns: &mut Namesystem,
    ctx: &CallContext,
    method: &str,
    request: &impl Message,
) -> Result<M, RemoteException> {
    reply(ns, ctx, method, request)
        .result
        .map(|body| M::decode(body).unwrap())
}

fn mode(perm: u32) -> FsPermissionProto {
    FsPermissionProto { perm }
}

fn mkdirs(src: &str) -> MkdirsRequestProto {
    MkdirsRequestProto {
        src: src.to_owned(),
        masked: mode(0o755),
        create_parent: true,
        unmasked: None,
    }
}

fn create(src: &str) -> CreateRequestProto {
    CreateRequestProto {
        src: src.to_owned(),
        masked: mode(0o644),
        client_name: CLIENT.to_owned(),
        create_flag: 1,
        create_parent: true,
        replication: 3,
        block_size: 128 << 20,
        ..Default::default()
    }
}

fn file_info(src: &str) -> GetFileInfoRequestProto {
    GetFileInfoRequestProto {
        src: src.to_owned(),
    }
}

fn delete(src: &str, recursive: bool) -> DeleteRequestProto {
    DeleteRequestProto {
        src: src.to_owned(),
        recursive,
    }
}

fn rename(src: &str, dst: &str) -> RenameRequestProto {
    RenameRequestProto {
        src: src.to_owned(),
        dst: dst.to_owned(),
    }
}

fn complete(src: &str, last: Option<ExtendedBlockProto>) -> CompleteRequestProto {
    CompleteRequestProto {
        src: src.to_owned(),
        client_name: CLIENT.to_owned(),
        last,
        file_id: None,
    }
}

fn add_block(src: &str, previous: Option<ExtendedBlockProto>) -> AddBlockRequestProto {
    AddBlockRequestProto {
        src: src.to_owned(),
        client_name: CLIENT.to_owned(),
        previous,
        ..Default::default()
    }
}

fn make_file(ns: &mut Namesystem, path: &str) {
    call::<CreateResponseProto>(ns, &hdfs(), "create", &create(path)).unwrap();
    let done: CompleteResponseProto = call(ns, &hdfs(), "complete", &complete(path, None)).unwrap();
    assert!(done.result);
}

fn datanodes(ns: &mut Namesystem, count: u32) -> Vec<DatanodeIndex> {
    (0..count)
        .map(|number| {
            let id = DatanodeIdProto {
                ip_addr: format!("10.0.1.{number}"),
                host_name: format!("dn{number}"),
                datanode_uuid: format!("uuid-{number}"),
                xfer_port: 9866,
                info_port: 9864,
                ipc_port: 9867,
                info_secure_port: None,
            };
            let index = ns.blockmanager.register(id, "3.5.0", NOW).unwrap();
            let report = StorageReport {
                uuid: format!("DS-{number}"),
                storage_type: StorageTypeProto::Disk,
                failed: false,
                read_only: false,
                capacity: 1 << 40,
                dfs_used: 0,
                remaining: 1 << 40,
                block_pool_used: 0,
                non_dfs_used: 0,
            };
            let stats = HeartbeatStats {
                reports: vec![report],
                ..Default::default()
            };
            ns.blockmanager.heartbeat(index, stats, NOW);
            index
        })
        .collect()
}

/// Every DataNode of the located block says that it has all of it.
fn received(ns: &mut Namesystem, located: &LocatedBlockProto, num_bytes: u64) {
    let block = Block {
        id: BlockId(located.b.block_id as i64),
        num_bytes,
        generation_stamp: GenerationStamp(located.b.generation_stamp),
    };
    for (node, storage) in located.locs.iter().zip(&located.storage_i_ds) {
        let index = ns
            .blockmanager
            .datanode_by_uuid(&node.id.datanode_uuid)
            .unwrap();
        let storage = DatanodeStorageProto {
            storage_uuid: storage.clone(),
            ..Default::default()
        };
        ns.blockmanager.incremental_report(
            index,
            &storage,
            block,
            IncrementalNotice::Received,
            None,
            NOW,
        );
    }
}

fn of_length(block: &ExtendedBlockProto, num_bytes: u64) -> ExtendedBlockProto {
    ExtendedBlockProto {
        num_bytes: Some(num_bytes),
        ..block.clone()
    }
}

#[test]
fn a_standby_refuses_whatever_is_not_unchecked() {
    let mut ns = new_namesystem();
    for method in &CLIENT_METHODS {
        let reply = raw(&mut ns, &hdfs(), method.name, Bytes::new());
        let category = match method.category {
            OperationCategory::Unchecked => {
                let standby = matches!(&reply.result, Err(error) if error.is(exceptions::STANDBY));
                assert!(!standby, "{}", method.name);
                continue;
            }
            OperationCategory::Read => "READ",
            OperationCategory::Write => "WRITE",
            OperationCategory::Journal => "JOURNAL",
            OperationCategory::Checkpoint => "CHECKPOINT",
        };
        let refused = reply.result.expect_err(method.name);
        let text = format!(
            "Operation category {category} is not supported in state standby. Visit https://s.apache.org/sbnn-error"
        );
        assert_eq!(
            refused,
            RemoteException::new(exceptions::STANDBY, text),
            "{}",
            method.name
        );
        assert_eq!(
            reply.after, None,
            "a refusal by the HA state leaves at once: {}",
            method.name
        );
    }
}

#[test]
fn a_malformed_request_is_an_error_of_every_method() {
    let mut ns = active();
    // Field 1, length-delimited, longer than the message.
    let body = Bytes::from_static(&[0x0a, 0x7f, 1]);
    for method in &CLIENT_METHODS {
        if method.name == "getEditsFromTxid" {
            continue;
        }
        let refused = raw(&mut ns, &hdfs(), method.name, body.clone()).result;
        assert!(
            matches!(&refused, Err(error) if error.is(exceptions::RPC_SERVER)),
            "{}: {refused:?}",
            method.name
        );
    }
}

#[test]
fn files_and_directories_come_and_go() {
    let mut ns = active();
    let made: MkdirsResponseProto = call(&mut ns, &hdfs(), "mkdirs", &mkdirs("/a/b")).unwrap();
    assert!(made.result);
    let created: CreateResponseProto = call(&mut ns, &hdfs(), "create", &create("/a/b/f")).unwrap();
    let status = created.fs.unwrap();
    assert_eq!(status.file_type(), hdfs_file_status_proto::FileType::IsFile);
    assert_eq!(
        (status.owner.as_str(), status.permission.perm),
        ("hdfs", 0o644)
    );
    assert_eq!(
        (status.block_replication(), status.blocksize()),
        (3, 128 << 20)
    );
    assert_eq!(status.modification_time, NOW.wall_ms);

    let found: GetFileInfoResponseProto =
        call(&mut ns, &hdfs(), "getFileInfo", &file_info("/a/b/f")).unwrap();
    assert_eq!(found.fs.unwrap().file_id, status.file_id);
    let absent: GetFileInfoResponseProto =
        call(&mut ns, &hdfs(), "getFileInfo", &file_info("/a/b/g")).unwrap();
    assert!(absent.fs.is_none());
    let through: GetFileInfoResponseProto =
        call(&mut ns, &hdfs(), "getFileInfo", &file_info("/a/b/f/x")).unwrap();
    assert!(through.fs.is_none());

    let list = GetListingRequestProto {
        src: "/a/b".to_owned(),
        start_after: Bytes::new(),
        need_location: false,
    };
    let listed: GetListingResponseProto = call(&mut ns, &hdfs(), "getListing", &list).unwrap();
    let listed = listed.dir_list.unwrap();
    assert_eq!(listed.remaining_entries, 0);
    assert_eq!(listed.partial_listing.len(), 1);
    assert_eq!(&listed.partial_listing[0].path[..], b"f");

    let done: CompleteResponseProto =
        call(&mut ns, &hdfs(), "complete", &complete("/a/b/f", None)).unwrap();
    assert!(done.result);
    let renamed: RenameResponseProto =
        call(&mut ns, &hdfs(), "rename", &rename("/a/b/f", "/a/g")).unwrap();
    assert!(renamed.result);
    let deleted: DeleteResponseProto =
        call(&mut ns, &hdfs(), "delete", &delete("/a", true)).unwrap();
    assert!(deleted.result);
    let deleted: DeleteResponseProto =
        call(&mut ns, &hdfs(), "delete", &delete("/a", true)).unwrap();
    assert!(!deleted.result);
}

#[test]
fn listings_come_in_pages() {
    let mut ns = active();
    ns.config.ls_limit = 3;
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        make_file(&mut ns, &format!("/d/{name}"));
    }
    let mut start_after = Bytes::new();
    let mut names = Vec::new();
    let mut remaining = Vec::new();
    loop {
        let list = GetListingRequestProto {
            src: "/d".to_owned(),
            start_after,
            need_location: true,
        };
        let page: GetListingResponseProto = call(&mut ns, &hdfs(), "getListing", &list).unwrap();
        let page = page.dir_list.unwrap();
        assert!(
            page.partial_listing
                .iter()
                .all(|status| status.locations.is_some())
        );
        names.extend(
            page.partial_listing
                .iter()
                .map(|status| status.path.clone()),
        );
        remaining.push(page.remaining_entries);
        if page.remaining_entries == 0 {
            break;
        }
        start_after = names.last().unwrap().clone();
    }
    assert_eq!(names, ["a", "b", "c", "d", "e", "f", "g"]);
    assert_eq!(remaining, [4, 1, 0]);

    let mut request = GetBatchedListingRequestProto {
        paths: vec!["/d".to_owned(), "/none".to_owned(), "/d/a".to_owned()],
        start_after: Bytes::new(),
        need_location: false,
    };
    let mut seen = Vec::new();
    let mut failed = Vec::new();
    loop {
        let page: GetBatchedListingResponseProto =
            call(&mut ns, &hdfs(), "getBatchedListing", &request).unwrap();
        for listing in page.listings {
            seen.extend(
                listing
                    .partial_listing
                    .iter()
                    .map(|status| (listing.parent_idx, status.path.clone())),
            );
            failed.extend(
                listing
                    .exception
                    .map(|error| (listing.parent_idx, error.class_name)),
            );
        }
        if !page.has_more {
            break;
        }
        request.start_after = page.start_after;
    }
    assert_eq!(seen.len(), 8);
    assert_eq!(seen.last().unwrap().0, 2);
    assert_eq!(failed, [(1, exceptions::FILE_NOT_FOUND.to_owned())]);
}

#[test]
fn refusals_have_hadoops_class_and_words() {
    let mut ns = active();
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
    let cases: Vec<(&str, &CallContext, Bytes, &str, &str)> = vec![
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
            "/d is non empty",
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
            (refused.class.as_ref(), refused.message.as_str()),
            (class, message),
            "{method}"
        );
    }
}

fn body(request: &impl Message) -> Bytes {
    Bytes::from(request.encode_to_vec())
}

#[test]
fn safe_mode_refuses_changes_and_says_of_which_kind_it_is() {
    // In start-up safe mode an active tells its clients to come again.
    let mut ns = new_namesystem();
    ns.role.change(Role::BecomingActive).unwrap();
    ns.start_active(NOW).unwrap();
    ns.blockmanager.activate_safe_mode(NOW);
    if ns.blockmanager.in_startup_safe_mode() {
        let refused = reply(&mut ns, &hdfs(), "mkdirs", &mkdirs("/a"))
            .result
            .unwrap_err();
        assert!(refused.is(exceptions::RETRIABLE), "{refused}");
        let start = "org.apache.hadoop.hdfs.server.namenode.SafeModeException: \
                     Cannot create directory /a. Name node is in safe mode.\n";
        assert!(refused.message.starts_with(start), "{refused}");
    }
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
        (
            "complete",
            body(&complete("/a", None)),
            "Cannot complete file /a",
        ),
        (
            "addBlock",
            body(&add_block("/a", None)),
            "Cannot add block to /a",
        ),
        ("rollEdits", Bytes::new(), "Log not rolled"),
    ] {
        let refused = raw(&mut ns, &hdfs(), method, request)
            .result
            .expect_err(method);
        assert!(refused.is(exceptions::SAFE_MODE), "{method}: {refused}");
        assert!(
            refused.message.starts_with(&format!(
                "{text}. Name node is in safe mode.\nIt was turned on manually."
            )),
            "{refused}"
        );
        assert!(
            refused.message.ends_with(" NamenodeHostName:nn1.example"),
            "{refused}"
        );
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
fn a_repeated_call_gets_its_first_answer() {
    let mut ns = active();
    let first = reply(&mut ns, &numbered(1), "create", &create("/f"));
    let applied = ns.edit_log.applied();
    assert_eq!(first.after, Some(applied));
    // The repetition comes while the first answer still waits: it waits for the same transaction.
    let again = reply(&mut ns, &numbered(1), "create", &create("/f"));
    assert_eq!((&again.result, again.after), (&first.result, first.after));
    assert_eq!(ns.edit_log.applied(), applied);
    sync(&mut ns);
    let again = reply(&mut ns, &numbered(1), "create", &create("/f"));
    assert_eq!((&again.result, again.after), (&first.result, None));
    // Another call with the same arguments is another call.
    assert!(
        reply(&mut ns, &numbered(2), "create", &create("/f"))
            .result
            .is_err()
    );
    // Failures and "nothing done" run again.
    let missing = reply(&mut ns, &numbered(3), "rename", &rename("/x", "/y"));
    assert_eq!(missing.result.unwrap(), [8, 0][..]);
    make_file(&mut ns, "/x");
    let renamed = reply(&mut ns, &numbered(3), "rename", &rename("/x", "/y"));
    assert_eq!(renamed.result.unwrap(), [8, 1][..]);
    let renamed = reply(&mut ns, &numbered(3), "rename", &rename("/x", "/y"));
    assert_eq!(
        renamed.result.unwrap(),
        [8, 1][..],
        "from the cache, as /x is gone"
    );
    assert_eq!(ns.retry_cache.hits(), 3);
    // Calls without ids are never repetitions.
    assert!(
        reply(&mut ns, &hdfs(), "create", &create("/g"))
            .result
            .is_ok()
    );
    assert!(
        reply(&mut ns, &hdfs(), "create", &create("/g"))
            .result
            .is_err()
    );
}

#[test]
fn replies_wait_for_exactly_what_they_show() {
    let mut ns = active();
    make_file(&mut ns, "/a/old");
    make_file(&mut ns, "/b/other");
    sync(&mut ns);
    assert_eq!(
        reply(&mut ns, &hdfs(), "getFileInfo", &file_info("/a/old")).after,
        None
    );
    let created = reply(&mut ns, &hdfs(), "create", &create("/a/new")).after;
    assert!(created.is_some());
    // What shows the new file waits; what only passes by its directory does not.
    assert_eq!(
        reply(&mut ns, &hdfs(), "getFileInfo", &file_info("/a/new")).after,
        created
    );
    assert_eq!(
        reply(&mut ns, &hdfs(), "getFileInfo", &file_info("/a")).after,
        created
    );
    assert_eq!(
        reply(&mut ns, &hdfs(), "getFileInfo", &file_info("/a/old")).after,
        None
    );
    assert_eq!(
        reply(&mut ns, &hdfs(), "getFileInfo", &file_info("/b/other")).after,
        None
    );
    let list = |src: &str| GetListingRequestProto {
        src: src.to_owned(),
        start_after: Bytes::new(),
        need_location: false,
    };
    assert_eq!(
        reply(&mut ns, &hdfs(), "getListing", &list("/a")).after,
        created
    );
    assert_eq!(
        reply(&mut ns, &hdfs(), "getListing", &list("/b")).after,
        None
    );
    // A refusal because of the new file shows it too.
    let refused = reply(&mut ns, &hdfs(), "create", &create("/a/new"));
    assert!(refused.result.is_err());
    assert_eq!(refused.after, created);
    // An absence shows the deletion.
    let deleted = reply(&mut ns, &hdfs(), "delete", &delete("/b/other", false)).after;
    assert_eq!(
        reply(&mut ns, &hdfs(), "getFileInfo", &file_info("/b/other")).after,
        deleted
    );
    sync(&mut ns);
    assert_eq!(
        reply(&mut ns, &hdfs(), "getFileInfo", &file_info("/b/other")).after,
        None
    );
}

#[test]
fn blocks_are_written_completed_and_located() {
    let mut ns = active();
    datanodes(&mut ns, 4);
    call::<CreateResponseProto>(&mut ns, &hdfs(), "create", &create("/f")).unwrap();
    let first: AddBlockResponseProto =
        call(&mut ns, &hdfs(), "addBlock", &add_block("/f", None)).unwrap();
    let first = first.block;
    assert_eq!(
        (first.b.pool_id.as_str(), first.offset, first.locs.len()),
        (POOL, 0, 3)
    );
    assert_eq!(first.b.generation_stamp, 1001);

    let length = 128 << 20;
    let previous = of_length(&first.b, length);
    received(&mut ns, &first, length);
    let second: AddBlockResponseProto = call(
        &mut ns,
        &hdfs(),
        "addBlock",
        &add_block("/f", Some(previous.clone())),
    )
    .unwrap();
    let second = second.block;
    assert_eq!(second.offset, length);
    // The answer got lost; the same question again allocates nothing.
    let applied = ns.edit_log.applied();
    let again: AddBlockResponseProto = call(
        &mut ns,
        &hdfs(),
        "addBlock",
        &add_block("/f", Some(previous)),
    )
    .unwrap();
    assert_eq!(again.block.b, second.b);
    assert_eq!(again.block.locs.len(), second.locs.len());
    assert_eq!(ns.edit_log.applied(), applied);

    let last = Some(of_length(&second.b, 1000));
    let done: CompleteResponseProto =
        call(&mut ns, &hdfs(), "complete", &complete("/f", last.clone())).unwrap();
    assert!(!done.result, "no DataNode has reported the last block");
    received(&mut ns, &second, 1000);
    let done: CompleteResponseProto =
        call(&mut ns, &hdfs(), "complete", &complete("/f", last.clone())).unwrap();
    assert!(done.result);
    let done: CompleteResponseProto =
        call(&mut ns, &hdfs(), "complete", &complete("/f", last)).unwrap();
    assert!(done.result, "a repetition of a complete that succeeded");

    for (offset, asked, starts) in [
        (0, 1, vec![0]),
        (0, u64::MAX >> 1, vec![0, length]),
        (length, 1, vec![length]),
        (length + 1000, 1, vec![]),
    ] {
        let request = GetBlockLocationsRequestProto {
            src: "/f".to_owned(),
            offset,
            length: asked,
        };
        let found: GetBlockLocationsResponseProto =
            call(&mut ns, &hdfs(), "getBlockLocations", &request).unwrap();
        let found = found.locations.unwrap();
        assert_eq!(found.file_length, length + 1000);
        assert!(found.is_last_block_complete && !found.under_construction);
        assert_eq!(
            found
                .blocks
                .iter()
                .map(|block| block.offset)
                .collect::<Vec<_>>(),
            starts,
            "{offset}+{asked}"
        );
        assert!(found.blocks.iter().all(|block| block.locs.len() == 3));
        assert_eq!(found.last_block.unwrap().b.block_id, second.b.block_id);
    }
}

#[test]
fn a_read_notes_the_access_time_once_per_precision() {
    let mut ns = active();
    make_file(&mut ns, "/f");
    sync(&mut ns);
    let later = CallContext {
        now_ms: NOW.wall_ms + 3_600_001,
        ..hdfs()
    };
    let request = GetBlockLocationsRequestProto {
        src: "/f".to_owned(),
        offset: 0,
        length: 1,
    };
    let before = ns.edit_log.applied();
    assert_eq!(
        reply(&mut ns, &later, "getBlockLocations", &request).after,
        None
    );
    assert_eq!(ns.edit_log.applied(), before.next());
    sync(&mut ns);
    reply(&mut ns, &later, "getBlockLocations", &request)
        .result
        .unwrap();
    assert_eq!(ns.edit_log.applied(), before.next());
    let found: GetFileInfoResponseProto =
        call(&mut ns, &hdfs(), "getFileInfo", &file_info("/f")).unwrap();
    assert_eq!(found.fs.unwrap().access_time, later.now_ms);
}

#[test]
fn a_broken_pipeline_goes_on_with_a_new_stamp() {
    let mut ns = active();
    datanodes(&mut ns, 3);
    call::<CreateResponseProto>(&mut ns, &hdfs(), "create", &create("/f")).unwrap();
    let block: AddBlockResponseProto =
        call(&mut ns, &hdfs(), "addBlock", &add_block("/f", None)).unwrap();
    let old = block.block.b.clone();
    let request = UpdateBlockForPipelineRequestProto {
        block: old.clone(),
        client_name: CLIENT.to_owned(),
    };
    let stamped: UpdateBlockForPipelineResponseProto =
        call(&mut ns, &hdfs(), "updateBlockForPipeline", &request).unwrap();
    let new = of_length(&stamped.block.b, 100);
    assert!(new.generation_stamp > old.generation_stamp);
    let intruder = UpdateBlockForPipelineRequestProto {
        block: old.clone(),
        client_name: "DFSClient_2".to_owned(),
    };
    let refused = reply(&mut ns, &hdfs(), "updateBlockForPipeline", &intruder)
        .result
        .unwrap_err();
    assert!(refused.is(exceptions::LEASE_EXPIRED), "{refused}");
    let request = UpdatePipelineRequestProto {
        client_name: CLIENT.to_owned(),
        old_block: old,
        new_block: new.clone(),
        new_nodes: vec![block.block.locs[0].id.clone()],
        storage_i_ds: vec![block.block.storage_i_ds[0].clone()],
    };
    let first = reply(&mut ns, &numbered(9), "updatePipeline", &request);
    assert_eq!(first.result.unwrap(), Bytes::new());
    assert!(
        reply(&mut ns, &numbered(9), "updatePipeline", &request)
            .result
            .is_ok()
    );
    let locations = GetBlockLocationsRequestProto {
        src: "/f".to_owned(),
        offset: 0,
        length: 1,
    };
    let found: GetBlockLocationsResponseProto =
        call(&mut ns, &hdfs(), "getBlockLocations", &locations).unwrap();
    let last = found.locations.unwrap().last_block.unwrap();
    assert_eq!(
        (last.b.generation_stamp, last.locs.len()),
        (new.generation_stamp, 1)
    );
    let gone = AbandonBlockRequestProto {
        b: new,
        src: "/f".to_owned(),
        holder: CLIENT.to_owned(),
        file_id: None,
    };
    reply(&mut ns, &hdfs(), "abandonBlock", &gone)
        .result
        .unwrap();
    let found: GetBlockLocationsResponseProto =
        call(&mut ns, &hdfs(), "getBlockLocations", &locations).unwrap();
    assert!(found.locations.unwrap().blocks.is_empty());
}

#[test]
fn a_standby_that_replays_has_the_same_namespace_and_the_same_answers() {
    let mut ns = active();
    datanodes(&mut ns, 3);
    let mut calls: Vec<(i32, &str, Bytes)> = Vec::new();
    let mut do_call = |ns: &mut Namesystem, method: &'static str, body: Bytes| {
        let id = calls.len() as i32 + 100;
        let reply = raw(ns, &numbered(id), method, body.clone());
        assert!(reply.result.is_ok(), "{method}: {:?}", reply.result);
        calls.push((id, method, body));
        reply.result.unwrap()
    };
    do_call(&mut ns, "mkdirs", body(&mkdirs("/a/b/c")));
    do_call(&mut ns, "create", body(&create("/a/f")));
    let added = do_call(&mut ns, "addBlock", body(&add_block("/a/f", None)));
    let located = AddBlockResponseProto::decode(added).unwrap().block;
    received(&mut ns, &located, 77);
    do_call(
        &mut ns,
        "complete",
        body(&complete("/a/f", Some(of_length(&located.b, 77)))),
    );
    let append = AppendRequestProto {
        src: "/a/f".to_owned(),
        client_name: CLIENT.to_owned(),
        flag: None,
    };
    let appended = do_call(&mut ns, "append", body(&append));
    let appended = AppendResponseProto::decode(appended).unwrap();
    let last = appended.block.unwrap();
    assert_eq!((last.b.num_bytes(), last.offset), (77, 0));
    assert_eq!(appended.stat.unwrap().length, 77);
    do_call(&mut ns, "create", body(&create("/a/g")));
    do_call(&mut ns, "rename", body(&rename("/a/g", "/a/h")));
    let rename2 = Rename2RequestProto {
        src: "/a/h".to_owned(),
        dst: "/a/i".to_owned(),
        overwrite_dest: false,
        move_to_trash: None,
    };
    do_call(&mut ns, "rename2", body(&rename2));
    let set = SetXAttrRequestProto {
        src: "/a/b".to_owned(),
        x_attr: Some(XAttrProto {
            namespace: 0,
            name: "k".to_owned(),
            value: Some(Bytes::from_static(b"v")),
        }),
        flag: Some(1),
    };
    do_call(&mut ns, "setXAttr", body(&set));
    do_call(&mut ns, "delete", body(&delete("/a/b/c", false)));
    do_call(
        &mut ns,
        "setReplication",
        body(&SetReplicationRequestProto {
            src: "/a/f".to_owned(),
            replication: 2,
        }),
    );
    do_call(
        &mut ns,
        "setPermission",
        body(&SetPermissionRequestProto {
            src: "/a/b".to_owned(),
            permission: mode(0o1700),
        }),
    );

    let mut standby = new_namesystem();
    // The active's first segment began in `active()`; its start is transaction 1.
    standby.edit_log.set_applied(TxId(1));
    for item in sync(&mut ns) {
        let LogItem::Edits { bytes, .. } = item else {
            continue;
        };
        for frame in Frames::new(&bytes, 0) {
            let frame = frame.unwrap();
            let op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).unwrap();
            standby.replay(frame.txid, &op, NOW.monotonic_ms).unwrap();
        }
    }
    assert_eq!(standby.edit_log.applied(), ns.edit_log.applied());
    assert_eq!(standby.namespace.digest(), ns.namespace.digest());

    let mut answers = 0;
    for (id, method, _) in &calls {
        let key = CallKey::new(&[7; 16], *id).unwrap();
        let (here, there) = (ns.retry_cache.get(&key), standby.retry_cache.get(&key));
        // Where the blocks are is soft state; the standby answers with what it knows.
        if *method == "append" {
            assert_eq!(here.is_some(), there.is_some(), "{method}");
        } else {
            assert_eq!(here, there, "{method}");
        }
        answers += usize::from(here.is_some());
    }
    assert_eq!(answers, 7);

    // And after a failover the repetition of a create gets the old answer.
    standby.role.change(Role::BecomingActive).unwrap();
    standby.start_active(NOW).unwrap();
    standby.blockmanager.leave_safe_mode(true, NOW);
    let (id, method, body) = calls
        .iter()
        .find(|(_, method, _)| *method == "create")
        .unwrap();
    let key = CallKey::new(&[7; 16], *id).unwrap();
    let expected = Bytes::copy_from_slice(ns.retry_cache.get(&key).unwrap().payload);
    assert_eq!(
        raw(&mut standby, &numbered(*id), method, body.clone())
            .result
            .unwrap(),
        expected
    );
}

#[test]
fn leases_pass_from_the_dead_to_the_living() {
    let mut ns = active();
    call::<CreateResponseProto>(&mut ns, &hdfs(), "create", &create("/f")).unwrap();
    let open = ListOpenFilesRequestProto {
        id: 0,
        types: vec![1],
        path: Some("/".to_owned()),
    };
    let files: ListOpenFilesResponseProto = call(&mut ns, &hdfs(), "listOpenFiles", &open).unwrap();
    assert_eq!(files.entries.len(), 1);
    assert_eq!(
        (
            files.entries[0].path.as_str(),
            files.entries[0].client_name.as_str()
        ),
        ("/f", CLIENT)
    );

    // After the soft limit another writer gets the file closed, and hears that it exists.
    let late = CallContext {
        mono_ms: NOW.monotonic_ms + 60_001,
        ..hdfs()
    };
    let second = CreateRequestProto {
        client_name: "DFSClient_2".to_owned(),
        ..create("/f")
    };
    let refused = reply(&mut ns, &late, "create", &second).result.unwrap_err();
    assert!(refused.is(exceptions::FILE_ALREADY_EXISTS), "{refused}");
    let closed: IsFileClosedResponseProto = call(
        &mut ns,
        &hdfs(),
        "isFileClosed",
        &IsFileClosedRequestProto {
            src: "/f".to_owned(),
        },
    )
    .unwrap();
    assert!(closed.result);

    // recoverLease does not wait for any limit.
    call::<CreateResponseProto>(&mut ns, &hdfs(), "create", &create("/g")).unwrap();
    let recover = RecoverLeaseRequestProto {
        src: "/g".to_owned(),
        client_name: "DFSClient_3".to_owned(),
    };
    let recovered: RecoverLeaseResponseProto =
        call(&mut ns, &hdfs(), "recoverLease", &recover).unwrap();
    assert!(recovered.result);
}

#[test]
fn the_audit_log_says_who_did_what() {
    let mut ns = active();
    let ctx = hdfs();
    let request = body(&mkdirs("/a"));
    let made = raw(&mut ns, &ctx, "mkdirs", request.clone());
    let line = audit(&ns, &ctx, "mkdirs", &request, &made).unwrap();
    assert!(line.allowed);
    assert_eq!(
        (line.command, line.src.as_deref(), line.dst.as_deref()),
        ("mkdirs", Some("/a"), None)
    );
    assert_eq!(
        line.permission.as_deref(),
        Some("hdfs:supergroup:rwxr-xr-x")
    );
    let alice = user("alice", false);
    let request = body(&rename("/a", "/b"));
    let denied = raw(&mut ns, &alice, "rename", request.clone());
    let line = audit(&ns, &alice, "rename", &request, &denied).unwrap();
    assert!(!line.allowed);
    assert_eq!(
        (line.src.as_deref(), line.dst.as_deref(), line.permission),
        (Some("/a"), Some("/b"), None)
    );
    let request = body(&create("/x/y"));
    let failed = Reply::refuse(RemoteException::new(exceptions::IO, "no"));
    assert_eq!(audit(&ns, &ctx, "create", &request, &failed), None);
    assert_eq!(audit(&ns, &ctx, "renewLease", &Bytes::new(), &made), None);
}

#[test]
fn unused_features_answer_as_if_nobody_used_them() {
    let mut ns = active();
    call::<MkdirsResponseProto>(&mut ns, &hdfs(), "mkdirs", &mkdirs("/d")).unwrap();
    for (method, request) in [
        ("getDelegationToken", Bytes::from_static(&[0x0a, 1, b'r'])),
        ("getDataEncryptionKey", Bytes::new()),
        ("getSnapshottableDirListing", Bytes::new()),
        ("getErasureCodingPolicy", body(&file_info("/d"))),
        ("getEZForPath", body(&file_info("/d"))),
        ("rollingUpgrade", Bytes::from_static(&[8, 1])),
        ("msync", Bytes::new()),
    ] {
        assert_eq!(
            raw(&mut ns, &hdfs(), method, request).result,
            Ok(Bytes::new()),
            "{method}"
        );
    }
    let policies: GetStoragePoliciesResponseProto = call(
        &mut ns,
        &hdfs(),
        "getStoragePolicies",
        &GetStoragePoliciesRequestProto {},
    )
    .unwrap();
    assert_eq!(
        policies
            .policies
            .iter()
            .map(|policy| (policy.policy_id, policy.name.as_str()))
            .collect::<Vec<_>>(),
        [
            (1, "PROVIDED"),
            (2, "COLD"),
            (5, "WARM"),
            (7, "HOT"),
            (10, "ONE_SSD"),
            (12, "ALL_SSD"),
            (14, "ALL_NVDIMM"),
            (15, "LAZY_PERSIST")
        ]
    );
    let defaults: GetServerDefaultsResponseProto = call(
        &mut ns,
        &hdfs(),
        "getServerDefaults",
        &GetServerDefaultsRequestProto {},
    )
    .unwrap();
    assert_eq!(defaults.server_defaults.block_size, 128 << 20);
    assert_eq!(defaults.server_defaults.policy_id, Some(7));
    let state: HaServiceStateResponseProto = call(
        &mut new_namesystem(),
        &hdfs(),
        "getHAServiceState",
        &HaServiceStateRequestProto {},
    )
    .unwrap();
    assert_eq!(state.state, 2);
}

#[test]
fn rolling_the_log_answers_the_new_segment() {
    let mut ns = active();
    let before = ns.edit_log.applied();
    let rolled = reply(&mut ns, &hdfs(), "rollEdits", &RollEditsRequestProto {});
    let first = RollEditsResponseProto::decode(rolled.result.unwrap())
        .unwrap()
        .new_segment_tx_id;
    assert_eq!(first, before.0 + 2);
    assert_eq!(rolled.after, Some(TxId(first)));
    // The namespace goes on at the next transaction.
    assert!(
        reply(&mut ns, &hdfs(), "mkdirs", &mkdirs("/a"))
            .result
            .is_ok()
    );
}
