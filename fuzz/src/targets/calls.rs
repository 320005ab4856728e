//! Calls of a NameNode: any message for any method that its namesystem serves.

use bytes::Bytes;
use hathi_blockmanager::{BlockManagerConfig, Now};
use hathi_formats::editlog::{Frames, decode_frame};
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_formats::proto::datanode::{
    BlockReceivedAndDeletedRequestProto, BlockReportContextProto, BlockReportRequestProto, DatanodeRegistrationProto,
    HeartbeatRequestProto, ReceivedDeletedBlockInfoProto, RegisterDatanodeRequestProto, StorageBlockReportProto,
    StorageReceivedDeletedBlocksProto,
};
use hathi_formats::proto::hdfs::{
    AclEntryProto, AddBlockRequestProto, CompleteRequestProto, ConcatRequestProto, CreateRequestProto, DatanodeIdProto,
    DatanodeStorageProto, DeleteRequestProto, ExportedBlockKeysProto, FsPermissionProto, FsyncRequestProto,
    GetBlockLocationsRequestProto, GetContentSummaryRequestProto, GetListingRequestProto, GetXAttrsRequestProto,
    MkdirsRequestProto, ModifyAclEntriesRequestProto, Rename2RequestProto, ReportBadBlocksRequestProto,
    SetQuotaRequestProto, SetXAttrRequestProto, StorageReportProto, TruncateRequestProto, XAttrProto,
};
use hathi_namespace::{Namespace, NamespaceConfig};
use hathi_namesystem::calls::{self, audit};
use hathi_namesystem::context::{CallContext, Deferred, MethodHandler, Reply};
use hathi_namesystem::edit_log::LogItem;
use hathi_namesystem::loader::{NamesystemParts, assemble};
use hathi_namesystem::retry_cache::RetryCacheOptions;
use hathi_namesystem::{Life, Namesystem, NamesystemConfig};
use hathi_net::ipc::{Method, Protocol, protocols};
use prost::Message;

use super::{Parts, storage};
use crate::{Memory, Target};

/// A namesystem has its tables and the first chunk of its retry cache from the beginning. A call decodes a message.
pub const NAMESYSTEM: Memory = Memory {
    fixed: 24 << 20,
    per_byte: 1500,
};
const NOW: Now = Now {
    monotonic_ms: 50_000,
    wall_ms: 1_700_000_000_000,
};
/// Size of one slice of work that is done in slices.
const SLICE: usize = 100;
const PROTOCOLS: [&Protocol; 4] = [
    &protocols::CLIENT_PROTOCOL,
    &protocols::DATANODE_PROTOCOL,
    &protocols::DATANODE_LIFELINE_PROTOCOL,
    &protocols::NAMENODE_PROTOCOL,
];

pub fn targets() -> Vec<Target> {
    vec![Target {
        name: "namenode_calls",
        samples,
        run,
        memory: NAMESYSTEM,
    }]
}

fn new_namesystem(applied: TxId) -> Namesystem {
    let parts = NamesystemParts {
        config: NamesystemConfig {
            superuser: "hdfs".to_owned(),
            rpc_address: "nn1.example:8020".to_owned(),
            min_block_size: 1,
            ..NamesystemConfig::default()
        },
        blockmanager: BlockManagerConfig::default(),
        retry_cache: RetryCacheOptions::default(),
        info: storage::info(),
    };
    let namespace = Namespace::new(NamespaceConfig {
        min_block_size_bytes: 1,
        ..NamespaceConfig::default()
    });
    assemble(parts, namespace, applied, Life::first())
}

/// A standby that has nothing but these transactions, which change nothing.
pub fn standby(applied: TxId) -> Namesystem {
    let mut ns = new_namesystem(applied);
    ns.become_standby().expect("the first role");
    ns
}

/// An active out of safe mode.
fn active() -> Namesystem {
    let mut ns = standby(TxId(0));
    ns.begin_activation().expect("a standby may");
    ns.start_active(NOW).expect("a standby may");
    ns.leave_safe_mode(true, NOW);
    sync(&mut ns);
    ns
}

/// Acts as a quorum that has synced everything.
fn sync(ns: &mut Namesystem) -> Vec<LogItem> {
    let items = ns.take_logged();
    let applied = ns.edit_log().applied();
    ns.edit_log().on_synced(applied);
    items.into()
}

/// Every method, by number.
fn methods() -> &'static [(Method, MethodHandler)] {
    static METHODS: std::sync::OnceLock<Vec<(Method, MethodHandler)>> = std::sync::OnceLock::new();
    METHODS.get_or_init(|| {
        let of = |protocol: &'static Protocol| {
            let methods = (0..protocol.methods.len()).filter_map(|index| Method::at(protocol.id, index));
            methods.filter_map(|method| Some((method, calls::handler(method)?)))
        };
        PROTOCOLS.iter().flat_map(|protocol| of(protocol)).collect()
    })
}

/// Encodes one call: method, caller, body.
fn call(method: &str, message: &impl Message) -> Vec<u8> {
    let number = methods().iter().position(|(known, _)| known.name() == method);
    let number = number
        .and_then(|number| u8::try_from(number).ok())
        .expect("it is served");
    [&[number, 0], &message.encode_to_vec()[..]].concat()
}

fn registration() -> DatanodeRegistrationProto {
    let info = storage::info();
    DatanodeRegistrationProto {
        datanode_id: DatanodeIdProto {
            ip_addr: "10.0.0.1".to_owned(),
            host_name: "dn1".to_owned(),
            datanode_uuid: "uuid-1".to_owned(),
            xfer_port: 9866,
            info_port: 9864,
            ipc_port: 9867,
            info_secure_port: None,
        },
        storage_info: hathi_formats::proto::hdfs::StorageInfoProto {
            layout_version: LayoutVersion::DATANODE_CURRENT.0.cast_unsigned(),
            namespce_id: info.namespace_id,
            cluster_id: info.cluster_id,
            c_time: 0,
        },
        keys: ExportedBlockKeysProto::default(),
        software_version: "3.5.0".to_owned(),
    }
}

fn create(path: &str) -> CreateRequestProto {
    CreateRequestProto {
        src: path.to_owned(),
        masked: FsPermissionProto { perm: 0o644 },
        client_name: "DFSClient_1".to_owned(),
        create_flag: 1,
        create_parent: true,
        replication: 1,
        block_size: 1 << 20,
        ..CreateRequestProto::default()
    }
}

fn acl() -> AclEntryProto {
    AclEntryProto {
        r#type: 0,
        scope: 1,
        permissions: 7,
        name: Some("alice".to_owned()),
    }
}

fn samples() -> Vec<Vec<u8>> {
    let of_clients = [
        call("create", &create("/d/f")),
        call(
            "addBlock",
            &AddBlockRequestProto {
                src: "/d/f".to_owned(),
                client_name: "DFSClient_1".to_owned(),
                favored_nodes: vec!["dn1:9866".to_owned()],
                ..AddBlockRequestProto::default()
            },
        ),
        call(
            "fsync",
            &FsyncRequestProto {
                src: "/d/f".to_owned(),
                client: "DFSClient_1".to_owned(),
                last_block_length: Some(7),
                file_id: None,
            },
        ),
        call(
            "complete",
            &CompleteRequestProto {
                src: "/d/f".to_owned(),
                client_name: "DFSClient_1".to_owned(),
                ..CompleteRequestProto::default()
            },
        ),
        call(
            "rename2",
            &Rename2RequestProto {
                src: "/d/f".to_owned(),
                dst: "/d/g".to_owned(),
                overwrite_dest: true,
                ..Rename2RequestProto::default()
            },
        ),
        call(
            "concat",
            &ConcatRequestProto {
                trg: "/d/g".to_owned(),
                srcs: vec!["/a".to_owned(), "/b".to_owned()],
            },
        ),
        call(
            "truncate",
            &TruncateRequestProto {
                src: "/a".to_owned(),
                new_length: 1,
                client_name: "c".to_owned(),
            },
        ),
        call(
            "delete",
            &DeleteRequestProto {
                src: "/d".to_owned(),
                recursive: true,
            },
        ),
    ];
    let of_attributes = [
        call(
            "mkdirs",
            &MkdirsRequestProto {
                src: "/q/r".to_owned(),
                masked: FsPermissionProto { perm: 0o755 },
                create_parent: true,
                unmasked: None,
            },
        ),
        call(
            "setQuota",
            &SetQuotaRequestProto {
                path: "/q".to_owned(),
                namespace_quota: 5,
                storagespace_quota: 1 << 30,
                storage_type: None,
            },
        ),
        call(
            "setXAttr",
            &SetXAttrRequestProto {
                src: "/q".to_owned(),
                x_attr: Some(XAttrProto {
                    namespace: 0,
                    name: "a".to_owned(),
                    value: Some(Bytes::from_static(b"b")),
                }),
                flag: Some(3),
            },
        ),
        call(
            "modifyAclEntries",
            &ModifyAclEntriesRequestProto {
                src: "/q".to_owned(),
                acl_spec: vec![acl()],
            },
        ),
        call(
            "getXAttrs",
            &GetXAttrsRequestProto {
                src: "/q".to_owned(),
                x_attrs: Vec::new(),
            },
        ),
        call(
            "getContentSummary",
            &GetContentSummaryRequestProto { path: "/".to_owned() },
        ),
        call(
            "getListing",
            &GetListingRequestProto {
                src: "/".to_owned(),
                start_after: Bytes::new(),
                need_location: true,
            },
        ),
        call(
            "getBlockLocations",
            &GetBlockLocationsRequestProto {
                src: "/a".to_owned(),
                offset: 0,
                length: u64::MAX,
            },
        ),
    ];
    let of_datanodes = [
        call(
            "sendHeartbeat",
            &HeartbeatRequestProto {
                registration: registration(),
                reports: vec![StorageReportProto {
                    storage_uuid: "DS-1".to_owned(),
                    capacity: Some(1 << 40),
                    remaining: Some(1 << 40),
                    storage: Some(stored_on()),
                    ..StorageReportProto::default()
                }],
                ..HeartbeatRequestProto::default()
            },
        ),
        call(
            "blockReport",
            &BlockReportRequestProto {
                registration: registration(),
                block_pool_id: storage::info().block_pool_id,
                reports: vec![StorageBlockReportProto {
                    storage: stored_on(),
                    blocks: Vec::new(),
                    number_of_blocks: Some(1),
                    blocks_buffers: vec![Bytes::from_static(&[2, 1, 0xE9, 7, 0])],
                }],
                context: Some(BlockReportContextProto {
                    total_rpcs: i32::MAX,
                    cur_rpc: i32::MAX,
                    ..BlockReportContextProto::default()
                }),
            },
        ),
        call(
            "blockReceivedAndDeleted",
            &BlockReceivedAndDeletedRequestProto {
                registration: registration(),
                block_pool_id: storage::info().block_pool_id,
                blocks: vec![StorageReceivedDeletedBlocksProto {
                    storage_uuid: "DS-1".to_owned(),
                    blocks: vec![ReceivedDeletedBlockInfoProto::default()],
                    storage: Some(stored_on()),
                }],
            },
        ),
        call("reportBadBlocks", &ReportBadBlocksRequestProto { blocks: Vec::new() }),
    ];
    let join = |calls: &[Vec<u8>]| Parts::join(&calls.iter().map(Vec::as_slice).collect::<Vec<_>>());
    vec![join(&of_clients), join(&of_attributes), join(&of_datanodes)]
}

fn stored_on() -> DatanodeStorageProto {
    DatanodeStorageProto {
        storage_uuid: "DS-1".to_owned(),
        state: None,
        storage_type: None,
    }
}

/// The caller. There is one bit each for a superuser, for a call with an id, and for a repetition.
fn context(who: u8, number: i32) -> CallContext {
    let name = if who & 1 == 0 { "hdfs" } else { "alice" };
    CallContext {
        user: name.into(),
        groups: vec!["staff".to_owned()].into(),
        superuser: who & 1 == 0,
        client_ip: Some([10, 0, 0, 1].into()),
        client_id: if who & 2 == 0 {
            [7; 16].into_iter().collect()
        } else {
            Default::default()
        },
        call_id: if who & 4 == 0 { number } else { 1 },
        retry_count: 0,
        passed_on: None,
        now_ms: NOW.wall_ms,
        mono_ms: NOW.monotonic_ms,
    }
}

/// Runs a call as the shell does.
fn make(ns: &mut Namesystem, ctx: &CallContext, method: Method, handler: MethodHandler, body: &Bytes) {
    let reply = handler.run(ns, ctx, body);
    if let Method::Client(method) = method {
        let _ = audit(ns, ctx, method, body, &reply);
    }
    finish(ns, reply);
}

fn finish(ns: &mut Namesystem, reply: Reply) {
    match reply.deferred {
        Some(Deferred::BlockReport(mut work)) => while work.step(ns, SLICE, NOW).is_none() {},
        Some(Deferred::Delete(mut work)) => {
            while work.finish(ns, NOW).is_none() {
                while !work.step(ns, SLICE) {}
            }
        }
        Some(Deferred::Walk(mut work)) => while work.step(ns, SLICE).is_none() {},
        _ => {}
    }
}

/// Whoever makes the calls, the active does not break, its state passes its checks, and a standby that reads its edits
/// has the same state.
fn run(input: &[u8]) {
    let mut ns = active();
    let before = [
        call(
            "registerDatanode",
            &RegisterDatanodeRequestProto {
                registration: registration(),
            },
        ),
        call("create", &create("/a")),
    ];
    let mut calls: Vec<&[u8]> = before.iter().map(Vec::as_slice).collect();
    let mut parts = Parts(input);
    while !parts.is_empty() {
        calls.push(parts.next());
    }
    for (number, call) in (1..).zip(calls) {
        let Some(([method, who], body)) = call.split_first_chunk::<2>() else {
            continue;
        };
        let methods = methods();
        let (method, handler) = methods[usize::from(*method) % methods.len()];
        make(
            &mut ns,
            &context(*who, number),
            method,
            handler,
            &Bytes::copy_from_slice(body),
        );
    }
    assert!(!ns.is_broken(), "an op that was planned does not apply");
    ns.check();
    let mut other = standby(TxId(1));
    for item in sync(&mut ns) {
        let LogItem::Edits { bytes, .. } = item else {
            continue;
        };
        let mut frames = Frames::new(&bytes, 0);
        while let Some(frame) = frames.next_frame().expect("what was logged can be read") {
            let op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).expect("what was logged can be read");
            other
                .replay(frame.txid, &op, NOW.monotonic_ms)
                .expect("what was logged can be replayed");
        }
    }
    while ns.reclaim(1000) {}
    while other.reclaim(1000) {}
    assert_eq!(
        ns.namespace().digest(),
        other.namespace().digest(),
        "the standby has another state"
    );
}
