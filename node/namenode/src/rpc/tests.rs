//! Long calls over the wire.

use super::*;
use crate::background::{RECLAIM_INODES, Unfinished};
use crate::state::NameNode;
use crate::testing::{self, Alone};
use hathi_formats::editlog::{EditOp, RpcIds};
use hathi_formats::exceptions::{ACCESS_CONTROL, IO};
use hathi_formats::proto::common::{RefreshCallQueueRequestProto, RefreshCallQueueResponseProto};
use hathi_formats::proto::hdfs::{
    DeleteRequestProto, DeleteResponseProto, FsPermissionProto, GetReconfigurationStatusConfigChangeProto,
    GetReconfigurationStatusRequestProto, GetReconfigurationStatusResponseProto, MkdirsRequestProto,
    SetPermissionRequestProto, StartReconfigurationRequestProto, StartReconfigurationResponseProto,
};
use hathi_namesystem::CallContext;
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError, RpcServer, ServerOptions};
use prost::Message;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
const BIG: &str = "/open/big";

fn context(nn: &NameNode, user: &str, superuser: bool) -> CallContext {
    let now = nn.clock.now();
    CallContext {
        user: user.into(),
        groups: Arc::from([]),
        superuser,
        client_ip: None,
        client_id: Default::default(),
        call_id: -2,
        retry_count: -1,
        passed_on: None,
        now_ms: now.wall_ms,
        mono_ms: now.monotonic_ms,
    }
}

fn write(nn: &NameNode, ns: &mut Namesystem, user: &str, method: &str, request: &impl Message) {
    let Some(MethodHandler::Write(write)) = calls::lookup(protocols::CLIENT_PROTOCOL.name, method) else {
        panic!("{method} changes nothing");
    };
    let context = context(nn, user, user == "hdfs");
    write(ns, &context, request.encode_to_vec().into()).result.unwrap();
}

/// A quorum has everything.
fn sync(ns: &mut Namesystem) {
    ns.take_logged();
    let applied = ns.edit_log().applied();
    ns.life().acknowledge(applied).unwrap();
}

fn set_permission(path: &str, perm: u32) -> SetPermissionRequestProto {
    SetPermissionRequestProto {
        src: path.to_owned(),
        permission: FsPermissionProto { perm },
    }
}

/// Directories of alice's, too many to be looked at under one hold of the lock; the one that is looked at last is closed.
fn with_a_big_directory(logs: &TempDir) -> Alone {
    let alone = testing::active_with(&[
        ("hathi.namenode.audit.log", "true".to_owned()),
        ("hadoop.log.dir", logs.path().display().to_string()),
    ]);
    let nn = &alone.shared.nn;
    nn.replies.set_lease(u64::MAX);
    let mut ns = nn.ns.write();
    ns.leave_safe_mode(true, nn.clock.now());
    let make = |src: String| MkdirsRequestProto {
        src,
        masked: FsPermissionProto { perm: 0o777 },
        create_parent: true,
        unmasked: None,
    };
    write(nn, &mut ns, "hdfs", "mkdirs", &make("/open".to_owned()));
    for number in 0..2 * calls::WALK_SLICE_INODES {
        write(nn, &mut ns, "alice", "mkdirs", &make(format!("{BIG}/{number}/deep")));
    }
    write(
        nn,
        &mut ns,
        "hdfs",
        "setPermission",
        &set_permission(&format!("{BIG}/0"), 0),
    );
    sync(&mut ns);
    drop(ns);
    alone
}

async fn audit_line(logs: &Path, part: &str) {
    let written = async {
        while !std::fs::read_to_string(logs.join("hdfs-audit.log"))
            .unwrap_or_default()
            .contains(part)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect(part);
}

#[tokio::test]
async fn a_large_directory_is_looked_through_before_it_is_deleted_and_audited_after() {
    let logs = tempfile::tempdir().unwrap();
    let alone = with_a_big_directory(&logs);
    let nn = &alone.shared.nn;
    let (held, held_queue) = mpsc::unbounded_channel();
    let handler = alone.shared.handler(held);
    tokio::spawn(serve_held(handler.clone(), held_queue));
    let server = RpcServer::bind("127.0.0.1:0".parse().unwrap(), handler, ServerOptions::default()).unwrap();
    let options = ClientOptions::new("alice");
    let client = RpcClient::connect(server.local_addr(), &protocols::CLIENT_PROTOCOL, options)
        .await
        .unwrap();
    let delete = DeleteRequestProto {
        src: BIG.to_owned(),
        recursive: true,
    };
    let refused: Result<DeleteResponseProto, RpcError> = client.call("delete", &delete).await;
    match refused.unwrap_err() {
        RpcError::Remote(refused) => assert!(refused.is(ACCESS_CONTROL), "{refused:?}"),
        other => panic!("{other}"),
    }
    audit_line(
        logs.path(),
        "allowed=false\tugi=alice (auth:SIMPLE)\tip=/127.0.0.1\tcmd=delete\tsrc=/open/big\t",
    )
    .await;

    {
        let mut ns = nn.ns.write();
        let opened = set_permission(&format!("{BIG}/0"), 0o777);
        write(nn, &mut ns, "hdfs", "setPermission", &opened);
        sync(&mut ns);
    }
    // Nobody makes the edits durable here: the answer is not waited for.
    let answer = tokio::spawn(async move {
        let answer: Result<DeleteResponseProto, RpcError> = client.call("delete", &delete).await;
        answer
    });
    let gone = async {
        while nn.ns.read().namespace().resolve(BIG).unwrap().exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it is deleted");
    audit_line(
        logs.path(),
        "allowed=true\tugi=alice (auth:SIMPLE)\tip=/127.0.0.1\tcmd=delete\tsrc=/open/big\t",
    )
    .await;
    assert!(!answer.is_finished(), "it is told before a quorum has it");
}

/// Adds a property to the files of a NameNode; `None` breaks them.
fn configure(nn: &NameNode, property: Option<(&str, &str)>) {
    let text = match property {
        Some((name, value)) => format!("<property><name>{name}</name><value>{value}</value></property>"),
        None => "<property>".to_owned(),
    };
    let file = nn.settings.conf.dir().unwrap().join("core-site.xml");
    std::fs::write(file, format!("<configuration>{text}</configuration>")).unwrap();
}

#[tokio::test]
async fn files_that_are_read_again_change_what_a_superuser_may_see_and_damaged_ones_change_nothing() {
    let logs = tempfile::tempdir().unwrap();
    let alone = testing::active_with(&[
        ("hathi.namenode.audit.log", "true".to_owned()),
        ("hadoop.log.dir", logs.path().display().to_string()),
    ]);
    let nn = &alone.shared.nn;
    let (held, held_queue) = mpsc::unbounded_channel();
    let handler = alone.shared.handler(held);
    tokio::spawn(serve_held(handler.clone(), held_queue));
    let server = RpcServer::bind("127.0.0.1:0".parse().unwrap(), handler, ServerOptions::default()).unwrap();
    let superuser = nn.settings.user.clone();
    let connect = |user: &str, protocol| RpcClient::connect(server.local_addr(), protocol, ClientOptions::new(user));
    let protocol = &protocols::RECONFIGURATION_PROTOCOL;
    let start = async |client: &RpcClient| -> Result<StartReconfigurationResponseProto, RpcError> {
        client
            .call("startReconfiguration", &StartReconfigurationRequestProto {})
            .await
    };
    let status = async |client: &RpcClient| -> GetReconfigurationStatusResponseProto {
        let request = GetReconfigurationStatusRequestProto {};
        client.call("getReconfigurationStatus", &request).await.unwrap()
    };
    let limit = || nn.ns.read().namespace().config.max_directory_items;
    let key = "dfs.namenode.fs-limits.max-directory-items";

    let nobody = connect("nobody", protocol).await.unwrap();
    configure(nn, Some((key, "17")));
    match start(&nobody).await.unwrap_err() {
        RpcError::Remote(refused) => assert!(refused.is(ACCESS_CONTROL), "{refused:?}"),
        other => panic!("{other}"),
    }
    audit_line(
        logs.path(),
        "allowed=false\tugi=nobody (auth:SIMPLE)\tip=/127.0.0.1\tcmd=startNamenodeReconfiguration\t",
    )
    .await;
    assert_ne!(limit(), 17);

    let client = connect(&superuser, protocol).await.unwrap();
    assert_eq!(status(&client).await, GetReconfigurationStatusResponseProto::default());
    configure(nn, None);
    match start(&client).await.unwrap_err() {
        RpcError::Remote(refused) => assert!(
            refused.is(IO) && refused.message.contains("core-site.xml"),
            "{refused:?}"
        ),
        other => panic!("{other}"),
    }
    assert_eq!(status(&client).await, GetReconfigurationStatusResponseProto::default());
    configure(nn, Some((key, "17")));
    start(&client).await.unwrap();
    audit_line(
        logs.path(),
        "cmd=startNamenodeReconfiguration\tsrc=null\tdst=null\tperm=null\t",
    )
    .await;
    assert_eq!(limit(), 17);
    assert_eq!(nn.reconfiguration.conf().get_or(key, ""), "17");
    let told = status(&client).await;
    assert!(
        told.start_time > 0 && told.end_time >= Some(told.start_time),
        "{told:?}"
    );
    assert_eq!(
        told.changes,
        [GetReconfigurationStatusConfigChangeProto {
            name: key.to_owned(),
            old_value: "1048576".to_owned(),
            new_value: Some("17".to_owned()),
            error_message: None,
        }]
    );

    let call_queue = connect(&superuser, &protocols::REFRESH_CALL_QUEUE_PROTOCOL)
        .await
        .unwrap();
    let _: RefreshCallQueueResponseProto = call_queue
        .call("refreshCallQueue", &RefreshCallQueueRequestProto {})
        .await
        .unwrap();
}

#[test]
fn what_was_deleted_is_freed_in_slices_between_which_nobody_holds_the_lock() {
    let alone = testing::active();
    let nn = &alone.shared.nn;
    let slices = 3;
    {
        let mut ns = nn.ns.write();
        ns.leave_safe_mode(true, nn.clock.now());
        for number in 0..(slices - 1) * RECLAIM_INODES + RECLAIM_INODES / 2 {
            let make = MkdirsRequestProto {
                src: format!("/big/{number}"),
                masked: FsPermissionProto { perm: 0o777 },
                create_parent: true,
                unmasked: None,
            };
            write(nn, &mut ns, "hdfs", "mkdirs", &make);
        }
        let delete = EditOp::Delete {
            path: "/big".to_owned(),
            time: 1,
            rpc_ids: RpcIds::NONE,
        };
        ns.commit(&[delete]).unwrap();
    }
    let mut unfinished = Unfinished::default();
    for slice in 1..=slices {
        assert!(nn.ns.read().reclaim_pending(), "slice {slice} of {slices}");
        unfinished.reclaim = true;
        unfinished.work(&nn.monitor_parts());
        assert!(nn.ns.try_write().is_some(), "the lock is free after a slice");
    }
    assert!(!nn.ns.read().reclaim_pending());
}
