//! The handlers on a namesystem in memory: what callers get to hear, and that a standby ends up with the same state.

mod broken;
mod caching;
mod checked;
mod datanode;
mod delete;
mod erasure_coding;
mod exact;
mod fsck;
mod images;
mod limits;
mod model;
mod order;
mod recovery;
mod refusals;
mod retries;
mod satisfier;
mod snapshot_reads;
mod snapshots;
mod striped;
mod summary;
mod tokens;
mod tree;
mod upgrade;
mod words;
mod writers;
mod zones;

use super::{audit, handler, lookup, serve};
use crate::context::{CallContext, Deferred, Reply, Reported};
use crate::edit_log::LogItem;
use crate::loader::{NamesystemParts, assemble};
use crate::namesystem::NamesystemConfig;
use crate::retry_cache::{CallKey, RetryCacheOptions};
use crate::{Life, Namesystem, OperationCategory, Role};
use bytes::Bytes;
use hathi_blockmanager::{BlockManagerConfig, DatanodeIndex, HeartbeatStats, IncrementalNotice, Now, StorageReport};
use hathi_formats::editlog::{Frames, decode_frame};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, LayoutVersion, NamespaceInfo, TxId};
use hathi_formats::proto::hdfs::*;
use hathi_formats::protocols::ClientMethod;
use hathi_formats::protocols::ClientMethod as M;
use hathi_namespace::Namespace;
use prost::Message;

const POOL: &str = "BP-1-127.0.0.1-1";
const CLIENT: &str = "DFSClient_1";
const NOW: Now = Now {
    monotonic_ms: 50_000,
    wall_ms: 1_700_000_000_000,
};

fn new_namesystem() -> Namesystem {
    namesystem_at(TxId(0))
}

/// A standby that has nothing but these transactions, which change nothing.
fn namesystem_at(applied: TxId) -> Namesystem {
    let config = NamesystemConfig {
        superuser: "hdfs".to_owned(),
        rpc_address: "nn1.example:8020".to_owned(),
        ..NamesystemConfig::default()
    };
    let info = NamespaceInfo {
        block_pool_id: POOL.to_owned(),
        ..Default::default()
    };
    let parts = NamesystemParts {
        config,
        blockmanager: BlockManagerConfig::default(),
        retry_cache: RetryCacheOptions::default(),
        info,
    };
    let namespace = Namespace::new(hathi_namespace::NamespaceConfig {
        symlinks_enabled: true,
        ..hathi_namespace::NamespaceConfig::default()
    });
    let mut ns = assemble(parts, namespace, applied, Life::first());
    ns.become_standby().unwrap();
    ns
}

/// An active out of safe mode.
fn active() -> Namesystem {
    let mut ns = new_namesystem();
    ns.begin_activation().unwrap();
    ns.start_active(NOW).unwrap();
    ns.leave_safe_mode(true, NOW);
    sync(&mut ns);
    ns
}

/// A quorum has everything.
fn sync(ns: &mut Namesystem) -> Vec<LogItem> {
    let items = ns.take_logged();
    let applied = ns.edit_log().applied();
    ns.life().acknowledge(applied).unwrap();
    ns.edit_log().check();
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
        passed_on: None,
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

/// A request message, with its method and its response.
trait Request: Message {
    type Response: Message + Default;
    const METHOD: ClientMethod;
}

macro_rules! requests {
    ($($method:ident: $request:ident => $response:ident;)+) => {
        $(impl Request for $request {
            type Response = $response;
            const METHOD: ClientMethod = M::$method;
        })+
    };
}

requests! {
    AbandonBlock: AbandonBlockRequestProto => AbandonBlockResponseProto;
    AddBlock: AddBlockRequestProto => AddBlockResponseProto;
    AddCacheDirective: AddCacheDirectiveRequestProto => AddCacheDirectiveResponseProto;
    AddCachePool: AddCachePoolRequestProto => AddCachePoolResponseProto;
    AddErasureCodingPolicies: AddErasureCodingPoliciesRequestProto => AddErasureCodingPoliciesResponseProto;
    AllowSnapshot: AllowSnapshotRequestProto => AllowSnapshotResponseProto;
    Append: AppendRequestProto => AppendResponseProto;
    Complete: CompleteRequestProto => CompleteResponseProto;
    Concat: ConcatRequestProto => ConcatResponseProto;
    Create: CreateRequestProto => CreateResponseProto;
    CreateEncryptionZone: CreateEncryptionZoneRequestProto => CreateEncryptionZoneResponseProto;
    CreateSnapshot: CreateSnapshotRequestProto => CreateSnapshotResponseProto;
    Delete: DeleteRequestProto => DeleteResponseProto;
    DeleteSnapshot: DeleteSnapshotRequestProto => DeleteSnapshotResponseProto;
    DisableErasureCodingPolicy: DisableErasureCodingPolicyRequestProto => DisableErasureCodingPolicyResponseProto;
    DisallowSnapshot: DisallowSnapshotRequestProto => DisallowSnapshotResponseProto;
    EnableErasureCodingPolicy: EnableErasureCodingPolicyRequestProto => EnableErasureCodingPolicyResponseProto;
    Fsync: FsyncRequestProto => FsyncResponseProto;
    GetAdditionalDatanode: GetAdditionalDatanodeRequestProto => GetAdditionalDatanodeResponseProto;
    GetBatchedListing: GetBatchedListingRequestProto => GetBatchedListingResponseProto;
    GetBlockLocations: GetBlockLocationsRequestProto => GetBlockLocationsResponseProto;
    GetContentSummary: GetContentSummaryRequestProto => GetContentSummaryResponseProto;
    GetDatanodeReport: GetDatanodeReportRequestProto => GetDatanodeReportResponseProto;
    GetEcTopologyResultForPolicies: GetEcTopologyResultForPoliciesRequestProto => GetEcTopologyResultForPoliciesResponseProto;
    GetErasureCodingPolicies: GetErasureCodingPoliciesRequestProto => GetErasureCodingPoliciesResponseProto;
    GetErasureCodingPolicy: GetErasureCodingPolicyRequestProto => GetErasureCodingPolicyResponseProto;
    CreateSymlink: CreateSymlinkRequestProto => CreateSymlinkResponseProto;
    GetFileInfo: GetFileInfoRequestProto => GetFileInfoResponseProto;
    GetFileLinkInfo: GetFileLinkInfoRequestProto => GetFileLinkInfoResponseProto;
    GetLinkTarget: GetLinkTargetRequestProto => GetLinkTargetResponseProto;
    GetHaServiceState: HaServiceStateRequestProto => HaServiceStateResponseProto;
    GetListing: GetListingRequestProto => GetListingResponseProto;
    GetQuotaUsage: GetQuotaUsageRequestProto => GetQuotaUsageResponseProto;
    GetServerDefaults: GetServerDefaultsRequestProto => GetServerDefaultsResponseProto;
    GetSnapshotDiffReport: GetSnapshotDiffReportRequestProto => GetSnapshotDiffReportResponseProto;
    GetSnapshotDiffReportListing:
        GetSnapshotDiffReportListingRequestProto => GetSnapshotDiffReportListingResponseProto;
    GetSnapshotListing: GetSnapshotListingRequestProto => GetSnapshotListingResponseProto;
    GetSnapshottableDirListing: GetSnapshottableDirListingRequestProto => GetSnapshottableDirListingResponseProto;
    GetStoragePolicies: GetStoragePoliciesRequestProto => GetStoragePoliciesResponseProto;
    IsFileClosed: IsFileClosedRequestProto => IsFileClosedResponseProto;
    ListCacheDirectives: ListCacheDirectivesRequestProto => ListCacheDirectivesResponseProto;
    ListCachePools: ListCachePoolsRequestProto => ListCachePoolsResponseProto;
    ListCorruptFileBlocks: ListCorruptFileBlocksRequestProto => ListCorruptFileBlocksResponseProto;
    ListOpenFiles: ListOpenFilesRequestProto => ListOpenFilesResponseProto;
    ListXAttrs: ListXAttrsRequestProto => ListXAttrsResponseProto;
    Mkdirs: MkdirsRequestProto => MkdirsResponseProto;
    ModifyAclEntries: ModifyAclEntriesRequestProto => ModifyAclEntriesResponseProto;
    ModifyCacheDirective: ModifyCacheDirectiveRequestProto => ModifyCacheDirectiveResponseProto;
    ModifyCachePool: ModifyCachePoolRequestProto => ModifyCachePoolResponseProto;
    RecoverLease: RecoverLeaseRequestProto => RecoverLeaseResponseProto;
    RemoveCacheDirective: RemoveCacheDirectiveRequestProto => RemoveCacheDirectiveResponseProto;
    RemoveCachePool: RemoveCachePoolRequestProto => RemoveCachePoolResponseProto;
    Rename: RenameRequestProto => RenameResponseProto;
    Rename2: Rename2RequestProto => Rename2ResponseProto;
    RenameSnapshot: RenameSnapshotRequestProto => RenameSnapshotResponseProto;
    ReportBadBlocks: ReportBadBlocksRequestProto => ReportBadBlocksResponseProto;
    RollEdits: RollEditsRequestProto => RollEditsResponseProto;
    RollingUpgrade: RollingUpgradeRequestProto => RollingUpgradeResponseProto;
    SetBalancerBandwidth: SetBalancerBandwidthRequestProto => SetBalancerBandwidthResponseProto;
    SetErasureCodingPolicy: SetErasureCodingPolicyRequestProto => SetErasureCodingPolicyResponseProto;
    SetOwner: SetOwnerRequestProto => SetOwnerResponseProto;
    SetPermission: SetPermissionRequestProto => SetPermissionResponseProto;
    SetQuota: SetQuotaRequestProto => SetQuotaResponseProto;
    SetSafeMode: SetSafeModeRequestProto => SetSafeModeResponseProto;
    SetXAttr: SetXAttrRequestProto => SetXAttrResponseProto;
    Truncate: TruncateRequestProto => TruncateResponseProto;
    UnsetErasureCodingPolicy: UnsetErasureCodingPolicyRequestProto => UnsetErasureCodingPolicyResponseProto;
    UpdateBlockForPipeline: UpdateBlockForPipelineRequestProto => UpdateBlockForPipelineResponseProto;
    UpdatePipeline: UpdatePipelineRequestProto => UpdatePipelineResponseProto;
    UpgradeStatus: UpgradeStatusRequestProto => UpgradeStatusResponseProto;
}

fn raw(ns: &mut Namesystem, ctx: &CallContext, method: ClientMethod, body: Bytes) -> Reply {
    handler(method.into()).unwrap().run(ns, ctx, &body)
}

fn reply<R: Request>(ns: &mut Namesystem, ctx: &CallContext, request: &R) -> Reply {
    raw(ns, ctx, R::METHOD, body(request))
}

fn call<R: Request>(ns: &mut Namesystem, ctx: &CallContext, request: &R) -> Result<R::Response, RemoteException> {
    serve(ns, ctx, R::METHOD, request)
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
    GetFileInfoRequestProto { src: src.to_owned() }
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
    call(ns, &hdfs(), &create(path)).unwrap();
    let done = call(ns, &hdfs(), &complete(path, None)).unwrap();
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
            let index = ns.blockmanager_mut().register(id, "3.5.0", NOW).unwrap();
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
            ns.blockmanager_mut().heartbeat(index, stats, NOW);
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
        let index = ns.blockmanager().datanode_by_uuid(&node.id.datanode_uuid).unwrap();
        let storage = DatanodeStorageProto {
            storage_uuid: storage.clone(),
            ..Default::default()
        };
        ns.blockmanager_mut()
            .incremental_report(index, &storage, block, IncrementalNotice::Received, None, NOW);
    }
}

fn of_length(block: &ExtendedBlockProto, num_bytes: u64) -> ExtendedBlockProto {
    ExtendedBlockProto {
        num_bytes: Some(num_bytes),
        ..block.clone()
    }
}

fn body(request: &impl Message) -> Bytes {
    Bytes::from(request.encode_to_vec())
}

/// Replays on `to` what `from` has logged since the last [`sync`].
fn replay(from: &mut Namesystem, to: &mut Namesystem) {
    for item in sync(from) {
        let LogItem::Edits { bytes, .. } = item else {
            continue;
        };
        for frame in Frames::new(&bytes, 0) {
            let frame = frame.unwrap();
            let op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).unwrap();
            to.replay(frame.txid, &op, NOW.monotonic_ms).unwrap();
        }
    }
}

/// A standby that has what an [`active`] has at its start: its first segment began with transaction 1.
fn standby() -> Namesystem {
    namesystem_at(TxId(1))
}

#[test]
fn an_older_image_than_the_known_one_changes_nothing() {
    let mut ns = active();
    ns.note_image(TxId(7), 1000);
    ns.note_image(TxId(5), 2000);
    let newest = |ns: &Namesystem| (ns.most_recent_checkpoint(), ns.most_recent_checkpoint_ms());
    assert_eq!(newest(&ns), (TxId(7), 1000));
    ns.note_image(TxId(7), 3000);
    assert_eq!(newest(&ns), (TxId(7), 3000), "the same one was saved again");
}
