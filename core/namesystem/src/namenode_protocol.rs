//! `NamenodeProtocol`: what NameNodes and checkpointers ask each other (Hadoop's `NameNodeRpcServer`).

use crate::calls::border::{self, Answer, Anything, Never, OrDeferred, Outcome, Served};
use crate::calls::decode;
use crate::context::{CallContext, Deferred, MethodHandler};
use crate::role::OperationCategory;
use crate::{HaState, Namesystem, Role};
use hathi_formats::exceptions::{self, RemoteException};
pub use hathi_formats::ids::SOFTWARE_VERSION;
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_formats::proto::hdfs::{
    BlocksWithLocationsProto, CheckpointSignatureProto, NamespaceInfoProto, RemoteEditLogManifestProto,
    StorageInfoProto, StorageTypeProto, VersionRequestProto, VersionResponseProto,
};
use hathi_formats::proto::namenode::{
    ErrorReportRequestProto, ErrorReportResponseProto, GetBlockKeysRequestProto, GetBlockKeysResponseProto,
    GetBlocksRequestProto, GetBlocksResponseProto, GetEditLogManifestRequestProto, GetEditLogManifestResponseProto,
    GetMostRecentCheckpointTxIdRequestProto, GetMostRecentCheckpointTxIdResponseProto,
    GetMostRecentNameNodeFileTxIdRequestProto, GetMostRecentNameNodeFileTxIdResponseProto, GetNextSpsPathRequestProto,
    GetNextSpsPathResponseProto, GetTransactionIdRequestProto, GetTransactionIdResponseProto,
    IsRollingUpgradeRequestProto, IsRollingUpgradeResponseProto, IsUpgradeFinalizedRequestProto,
    IsUpgradeFinalizedResponseProto, RollEditLogRequestProto, RollEditLogResponseProto,
};
use hathi_formats::protocols::NamenodeMethod;

/// `DatanodeProtocol` block reports may use buffers (`NamespaceInfo.Capability.STORAGE_BLOCK_REPORT_BUFFERS`).
const CAPABILITIES: u64 = 1;

/// The handler of a method.
pub(crate) fn handler(method: NamenodeMethod) -> MethodHandler {
    use NamenodeMethod as M;
    macro_rules! read {
        ($request:ty => $handler:path) => {
            border::read!(Served::InEveryRole, decode::<$request> => $handler)
        };
    }
    macro_rules! write {
        ($request:ty => $handler:path) => {
            border::write!(Served::InEveryRole, decode::<$request> => $handler)
        };
    }
    match method {
        M::VersionRequest => border::read!(Served::Always, decode::<VersionRequestProto> => version_request),
        M::GetTransactionId => read!(GetTransactionIdRequestProto => get_transaction_id),
        M::GetMostRecentCheckpointTxId => {
            read!(GetMostRecentCheckpointTxIdRequestProto => get_most_recent_checkpoint_tx_id)
        }
        M::GetMostRecentNameNodeFileTxId => {
            read!(GetMostRecentNameNodeFileTxIdRequestProto => get_most_recent_namenode_file_tx_id)
        }
        M::RollEditLog => write!(RollEditLogRequestProto => roll_edit_log),
        M::GetEditLogManifest => read!(GetEditLogManifestRequestProto => get_edit_log_manifest),
        M::IsUpgradeFinalized => read!(IsUpgradeFinalizedRequestProto => is_upgrade_finalized),
        M::IsRollingUpgrade => read!(IsRollingUpgradeRequestProto => is_rolling_upgrade),
        M::ErrorReport => read!(ErrorReportRequestProto => error_report),
        M::GetBlockKeys => read!(GetBlockKeysRequestProto => get_block_keys),
        M::GetBlocks => write!(GetBlocksRequestProto => get_blocks),
        M::GetNextSpsPath => write!(GetNextSpsPathRequestProto => get_next_sps_path),
        M::RegisterSubordinateNamenode | M::StartCheckpoint | M::EndCheckpoint => read!(Anything => no_checkpoint_node),
    }
}

fn get_transaction_id(
    ns: &Namesystem,
    ctx: &CallContext,
    _: GetTransactionIdRequestProto,
) -> Outcome<GetTransactionIdResponseProto> {
    ctx.check_superuser()?;
    let tx_id = ns.edit_log().applied().0;
    Ok(Answer::new(
        GetTransactionIdResponseProto { tx_id },
        ns.shown_everything(),
    ))
}

fn get_most_recent_checkpoint_tx_id(
    ns: &Namesystem,
    ctx: &CallContext,
    _: GetMostRecentCheckpointTxIdRequestProto,
) -> Outcome<GetMostRecentCheckpointTxIdResponseProto> {
    ctx.check_superuser()?;
    let tx_id = ns.most_recent_checkpoint.0;
    Ok(Answer::new(GetMostRecentCheckpointTxIdResponseProto { tx_id }, None))
}

fn get_most_recent_namenode_file_tx_id(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetMostRecentNameNodeFileTxIdRequestProto,
) -> Outcome<GetMostRecentNameNodeFileTxIdResponseProto> {
    ctx.check_superuser()?;
    let tx_id = match request.name_node_file.as_str() {
        "IMAGE_ROLLBACK" => TxId::to_wire(ns.rollback_image()),
        _ => ns.most_recent_checkpoint.0,
    };
    Ok(Answer::new(GetMostRecentNameNodeFileTxIdResponseProto { tx_id }, None))
}

fn get_edit_log_manifest(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetEditLogManifestRequestProto,
) -> Outcome<OrDeferred<GetEditLogManifestResponseProto>> {
    ctx.check_superuser()?;
    ns.check_operation(OperationCategory::Read)?;
    if !ns.config.ha_enabled {
        return Ok(Answer::deferred(Deferred::EditLogManifest(TxId(request.since_tx_id))));
    }
    // The shared journal has the edits. Nobody takes them from local directories.
    let manifest = RemoteEditLogManifestProto {
        logs: Vec::new(),
        committed_txn_id: None,
    };
    Ok(Answer::now(GetEditLogManifestResponseProto { manifest }, None))
}

fn is_upgrade_finalized(
    ns: &Namesystem,
    ctx: &CallContext,
    _: IsUpgradeFinalizedRequestProto,
) -> Outcome<IsUpgradeFinalizedResponseProto> {
    ctx.check_superuser()?;
    let is_upgrade_finalized = ns.is_upgrade_finalized();
    Ok(Answer::new(
        IsUpgradeFinalizedResponseProto { is_upgrade_finalized },
        None,
    ))
}

fn is_rolling_upgrade(
    ns: &Namesystem,
    ctx: &CallContext,
    _: IsRollingUpgradeRequestProto,
) -> Outcome<IsRollingUpgradeResponseProto> {
    ctx.check_superuser()?;
    let is_rolling_upgrade = ns.namespace().rolling_upgrade_start_ms().is_some();
    Ok(Answer::new(IsRollingUpgradeResponseProto { is_rolling_upgrade }, None))
}

fn error_report(_: &Namesystem, ctx: &CallContext, _: ErrorReportRequestProto) -> Outcome<ErrorReportResponseProto> {
    ctx.check_superuser()?;
    Ok(Answer::new(ErrorReportResponseProto {}, None))
}

fn get_block_keys(
    _: &Namesystem,
    ctx: &CallContext,
    _: GetBlockKeysRequestProto,
) -> Outcome<GetBlockKeysResponseProto> {
    ctx.check_superuser()?;
    Ok(Answer::new(GetBlockKeysResponseProto { keys: None }, None))
}

/// `registerSubordinateNamenode`, `startCheckpoint`, `endCheckpoint`
fn no_checkpoint_node(_: &Namesystem, _: &CallContext, _: Anything) -> Outcome<Never> {
    Err(RemoteException::new(
        exceptions::UNSUPPORTED_OPERATION,
        "Secondary, checkpoint and backup nodes are not supported by this NameNode",
    ))
}

/// `getBlocks`: what a balancer may move away from a DataNode.
fn get_blocks(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: GetBlocksRequestProto,
) -> Outcome<GetBlocksResponseProto> {
    ctx.check_superuser()?;
    ns.check_not_in_safe_mode("Cannot execute getBlocks")?;
    let uuid = &request.datanode.datanode_uuid;
    let datanode = ns.blockmanager().datanode_by_uuid(uuid).map_err(|_| {
        RemoteException::new(
            exceptions::HADOOP_ILLEGAL_ARGUMENT,
            format!("Datanode {uuid} not found."),
        )
    })?;
    let kind = request
        .storage_type
        .and_then(|kind| StorageTypeProto::try_from(kind).ok());
    let blocks = ns
        .blockmanager_mut()
        .blocks_of_datanode(datanode, request.size, request.min_block_size(), kind);
    let blocks = BlocksWithLocationsProto { blocks };
    Ok(Answer::new(GetBlocksResponseProto { blocks }, ns.shown_everything()))
}

/// A namespace's identity and state as DataNodes and NameNodes get it (`FSNamesystem.getNamespaceInfo`).
#[must_use]
pub fn namespace_info(info: &NamespaceInfo, state: HaState) -> NamespaceInfoProto {
    NamespaceInfoProto {
        build_version: "hathi".to_owned(),
        unused: 0,
        block_pool_id: info.block_pool_id.clone(),
        storage_info: storage_info(info),
        software_version: SOFTWARE_VERSION.to_owned(),
        capabilities: Some(CAPABILITIES),
        state: Some(crate::calls::heartbeat_state(state)),
    }
}

/// `StorageInfo` as it travels.
#[must_use]
pub fn storage_info(info: &NamespaceInfo) -> StorageInfoProto {
    StorageInfoProto {
        layout_version: info.layout_version.0.cast_unsigned(),
        namespce_id: info.namespace_id,
        cluster_id: info.cluster_id.clone(),
        c_time: info.ctime.cast_unsigned(),
    }
}

fn version_request(ns: &Namesystem, _: &CallContext, _: VersionRequestProto) -> Outcome<VersionResponseProto> {
    let info = namespace_info(&ns.info, ns.ha_state());
    Ok(Answer::new(VersionResponseProto { info }, None))
}

fn roll_edit_log(
    ns: &mut Namesystem,
    ctx: &CallContext,
    _: RollEditLogRequestProto,
) -> Outcome<RollEditLogResponseProto> {
    ctx.check_superuser()?;
    ns.check_operation(OperationCategory::Journal)?;
    ns.check_not_in_safe_mode("Log not rolled")?;
    let segment = ns
        .roll_edit_log(ctx.now_ms)
        .map_err(|error| RemoteException::new(exceptions::STANDBY, error.to_string()))?;
    let signature = CheckpointSignatureProto {
        block_pool_id: ns.info.block_pool_id.clone(),
        most_recent_checkpoint_tx_id: ns.most_recent_checkpoint.0,
        cur_segment_tx_id: segment.0,
        storage_info: storage_info(&ns.info),
    };
    let after = (ns.role() == Role::Active).then_some(segment);
    Ok(Answer::new(RollEditLogResponseProto { signature }, after))
}

/// `getNextSPSPath`: the inode that a satisfier looks at next. It is told once.
fn get_next_sps_path(
    ns: &mut Namesystem,
    ctx: &CallContext,
    _: GetNextSpsPathRequestProto,
) -> Outcome<GetNextSpsPathResponseProto> {
    ctx.check_superuser()?;
    if ns.role() != Role::Active {
        return Err(RemoteException::new(
            exceptions::STANDBY,
            "Not supported by Standby Namenode.",
        ));
    }
    if !ns.config.satisfier.external {
        return Err(RemoteException::new(
            exceptions::IO,
            "SPS service mode is NONE, so external SPS service is not allowed to fetch the path Ids",
        ));
    }
    let sps_path = ns.unsatisfied.0.pop_front().map(|inode| inode.0);
    Ok(Answer::new(
        GetNextSpsPathResponseProto { sps_path },
        ns.shown_everything(),
    ))
}
