//! Calls of administrators and monitors, and calls about the NameNode rather than the tree.

use super::border::{Answer, OrDeferred, Outcome};
use super::io;
use super::walks::{CorruptFilesWalk, ListOpenFiles, Walk, WalkWork, Walked};
use crate::context::{CallContext, Deferred};
use crate::{Namesystem, OperationCategory};
use hathi_blockmanager::Now;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::InodeId;
use hathi_formats::proto::hdfs::{
    DatanodeReportTypeProto, FinalizeUpgradeRequestProto, FinalizeUpgradeResponseProto, FsServerDefaultsProto,
    GetCurrentEditLogTxidRequestProto, GetCurrentEditLogTxidResponseProto, GetDatanodeReportRequestProto,
    GetDatanodeReportResponseProto, GetDatanodeStorageReportRequestProto, GetDatanodeStorageReportResponseProto,
    GetFsEcBlockGroupStatsRequestProto, GetFsEcBlockGroupStatsResponseProto, GetFsReplicatedBlockStatsRequestProto,
    GetFsReplicatedBlockStatsResponseProto, GetFsStatsResponseProto, GetFsStatusRequestProto,
    GetServerDefaultsRequestProto, GetServerDefaultsResponseProto, GetSlowDatanodeReportRequestProto,
    GetSlowDatanodeReportResponseProto, HaServiceStateRequestProto, HaServiceStateResponseProto,
    ListCorruptFileBlocksRequestProto, ListOpenFilesRequestProto, MetaSaveRequestProto, MetaSaveResponseProto,
    MsyncRequestProto, MsyncResponseProto, OpenFilesTypeProto, RefreshNodesRequestProto, RefreshNodesResponseProto,
    RestoreFailedStorageRequestProto, RestoreFailedStorageResponseProto, RollEditsRequestProto, RollEditsResponseProto,
    SafeModeActionProto, SaveNamespaceRequestProto, SaveNamespaceResponseProto, SetBalancerBandwidthRequestProto,
    SetBalancerBandwidthResponseProto, SetSafeModeRequestProto, SetSafeModeResponseProto, UpgradeStatusRequestProto,
    UpgradeStatusResponseProto,
};
use hathi_namespace::OpenFilesWalk;

/// `HdfsServerConstants.MAX_BANDWIDTH_PER_DATANODE`, bytes per second.
const BANDWIDTH_MAX: i64 = 1 << 40;
/// Id of HOT, the policy of inodes that name none.
const DEFAULT_POLICY: u32 = 7;

/// `getServerDefaults`
pub fn get_server_defaults(
    ns: &Namesystem,
    _: &CallContext,
    _: GetServerDefaultsRequestProto,
) -> Outcome<GetServerDefaultsResponseProto> {
    let config = &ns.config;
    let server_defaults = FsServerDefaultsProto {
        block_size: config.block_size,
        bytes_per_checksum: config.bytes_per_checksum,
        write_packet_size: config.write_packet_size,
        replication: u32::from(config.replication),
        file_buffer_size: config.file_buffer_size,
        encrypt_data_transfer: Some(false),
        trash_interval: Some(config.trash_interval_min),
        checksum_type: Some(config.checksum_type),
        key_provider_uri: Some(config.keys.provider_uri.clone()),
        policy_id: Some(DEFAULT_POLICY),
        snapshot_trash_root_enabled: Some(ns.namespace().config.snapshot_trash_roots),
    };
    Ok(Answer::new(GetServerDefaultsResponseProto { server_defaults }, None))
}

/// `getFsStats`
pub fn get_fs_stats(ns: &Namesystem, _: &CallContext, _: GetFsStatusRequestProto) -> Outcome<GetFsStatsResponseProto> {
    let counts = ns.blockmanager().counts();
    Ok(Answer::new(
        GetFsStatsResponseProto {
            capacity: counts.capacity,
            used: counts.dfs_used,
            remaining: counts.remaining,
            under_replicated: counts.low_redundancy,
            corrupt_blocks: counts.corrupt,
            missing_blocks: counts.missing,
            missing_repl_one_blocks: Some(counts.missing_replication_one),
            blocks_in_future: Some(counts.in_future),
            pending_deletion_blocks: Some(counts.pending_deletion),
        },
        None,
    ))
}

/// `getFsReplicatedBlockStats`
pub fn get_fs_replicated_block_stats(
    ns: &Namesystem,
    _: &CallContext,
    _: GetFsReplicatedBlockStatsRequestProto,
) -> Outcome<GetFsReplicatedBlockStatsResponseProto> {
    let (counts, groups) = (ns.blockmanager().counts(), ns.blockmanager().group_counts());
    Ok(Answer::new(
        GetFsReplicatedBlockStatsResponseProto {
            low_redundancy: counts.low_redundancy.saturating_sub(groups.low_redundancy),
            corrupt_blocks: counts.corrupt.saturating_sub(groups.corrupt),
            missing_blocks: counts.missing.saturating_sub(groups.missing),
            missing_repl_one_blocks: counts.missing_replication_one,
            blocks_in_future: counts.in_future,
            pending_deletion_blocks: counts.pending_deletion.saturating_sub(groups.pending_deletion),
            highest_prio_low_redundancy_blocks: Some(counts.highest_priority.saturating_sub(groups.highest_priority)),
            badly_distributed_blocks: Some(counts.badly_distributed),
        },
        None,
    ))
}

/// `getFsECBlockGroupStats`
pub fn get_fs_ec_block_group_stats(
    ns: &Namesystem,
    _: &CallContext,
    _: GetFsEcBlockGroupStatsRequestProto,
) -> Outcome<GetFsEcBlockGroupStatsResponseProto> {
    let groups = ns.blockmanager().group_counts();
    Ok(Answer::new(
        GetFsEcBlockGroupStatsResponseProto {
            low_redundancy: groups.low_redundancy,
            corrupt_blocks: groups.corrupt,
            missing_blocks: groups.missing,
            pending_deletion_blocks: groups.pending_deletion,
            highest_prio_low_redundancy_blocks: Some(groups.highest_priority),
            badly_distributed_blocks: Some(0),
            ..Default::default()
        },
        None,
    ))
}

fn report_type(number: i32) -> DatanodeReportTypeProto {
    DatanodeReportTypeProto::try_from(number).unwrap_or(DatanodeReportTypeProto::All)
}

/// `getDatanodeReport`
pub fn get_datanode_report(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetDatanodeReportRequestProto,
) -> Outcome<GetDatanodeReportResponseProto> {
    ctx.check_superuser_for(ns, "datanodeReport")?;
    let di = ns.blockmanager().datanode_report(report_type(request.r#type));
    Ok(Answer::new(GetDatanodeReportResponseProto { di }, None))
}

/// `getDatanodeStorageReport`
pub fn get_datanode_storage_report(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetDatanodeStorageReportRequestProto,
) -> Outcome<GetDatanodeStorageReportResponseProto> {
    ctx.check_superuser_for(ns, "getDatanodeStorageReport")?;
    let datanode_storage_reports = ns.blockmanager().datanode_storage_report(report_type(request.r#type));
    Ok(Answer::new(
        GetDatanodeStorageReportResponseProto {
            datanode_storage_reports,
        },
        None,
    ))
}

/// `getSlowDatanodeReport`: peers' latencies are not collected, so none is known to be slow.
pub fn get_slow_datanode_report(
    ns: &Namesystem,
    ctx: &CallContext,
    _: GetSlowDatanodeReportRequestProto,
) -> Outcome<GetSlowDatanodeReportResponseProto> {
    ctx.check_superuser_for(ns, "slowDataNodesReport")?;
    Ok(Answer::new(GetSlowDatanodeReportResponseProto::default(), None))
}

/// `setSafeMode`
pub fn set_safe_mode(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: SetSafeModeRequestProto,
) -> Outcome<SetSafeModeResponseProto> {
    let action = request.action();
    // A client asks the active ("checked"). An administrator may ask a standby, too.
    if request.checked() {
        let get = action == SafeModeActionProto::SafemodeGet;
        ns.check_operation(if get {
            OperationCategory::Read
        } else {
            OperationCategory::Write
        })?;
    }
    let now = Now {
        monotonic_ms: ctx.mono_ms,
        wall_ms: ctx.now_ms,
    };
    match action {
        SafeModeActionProto::SafemodeGet => {}
        SafeModeActionProto::SafemodeEnter => {
            ctx.check_superuser_for(ns, "safemode_enter")?;
            ns.enter_safe_mode();
        }
        SafeModeActionProto::SafemodeLeave => {
            ctx.check_superuser_for(ns, "safemode_leave")?;
            // The NameNode stays in safe mode when reports name blocks with stamps of the future. The answer
            // tells.
            ns.leave_safe_mode(false, now);
        }
        SafeModeActionProto::SafemodeForceExit => {
            ctx.check_superuser_for(ns, "safemode_force_exit")?;
            ns.leave_safe_mode(true, now);
        }
    }
    Ok(Answer::new(
        SetSafeModeResponseProto {
            result: ns.blockmanager().in_safe_mode(),
        },
        None,
    ))
}

/// `saveNamespace`
pub fn save_namespace(
    ns: &Namesystem,
    ctx: &CallContext,
    request: SaveNamespaceRequestProto,
) -> Outcome<OrDeferred<SaveNamespaceResponseProto>> {
    ctx.check_superuser_for(ns, "saveNamespace")?;
    if !ns.blockmanager().in_safe_mode() {
        return Err(io("Safe mode should be turned ON in order to create namespace image."));
    }
    Ok(Answer::deferred(Deferred::SaveNamespace {
        time_window_s: request.time_window(),
        tx_gap: request.tx_gap(),
    }))
}

/// `rollEdits`
pub fn roll_edits(ns: &mut Namesystem, ctx: &CallContext, _: RollEditsRequestProto) -> Outcome<RollEditsResponseProto> {
    ctx.check_superuser_for(ns, "rollEditLog")?;
    ns.check_operation(OperationCategory::Journal)?;
    ns.check_not_in_safe_mode("Log not rolled")?;
    let first = ns
        .roll_edit_log(ctx.now_ms)
        .map_err(|error| RemoteException::new(exceptions::STANDBY, error.to_string()))?;
    Ok(Answer::new(
        RollEditsResponseProto {
            new_segment_tx_id: first.0,
        },
        Some(first),
    ))
}

/// `refreshNodes`
pub fn refresh_nodes(
    ns: &Namesystem,
    ctx: &CallContext,
    _: RefreshNodesRequestProto,
) -> Outcome<OrDeferred<RefreshNodesResponseProto>> {
    ctx.check_superuser_for(ns, "refreshNodes")?;
    Ok(Answer::deferred(Deferred::RefreshNodes))
}

/// `restoreFailedStorage`
pub fn restore_failed_storage(
    ns: &Namesystem,
    ctx: &CallContext,
    request: RestoreFailedStorageRequestProto,
) -> Outcome<OrDeferred<RestoreFailedStorageResponseProto>> {
    ctx.check_superuser_for(ns, "restoreFailedStorage")?;
    Ok(Answer::deferred(Deferred::RestoreFailedStorage(request.arg)))
}

/// `finalizeUpgrade`
pub fn finalize_upgrade(
    ns: &Namesystem,
    ctx: &CallContext,
    _: FinalizeUpgradeRequestProto,
) -> Outcome<OrDeferred<FinalizeUpgradeResponseProto>> {
    ctx.check_superuser_for(ns, "finalizeUpgrade")?;
    Ok(Answer::deferred(Deferred::FinalizeUpgrade))
}

/// `upgradeStatus`: whether no upgrade is under way.
pub fn upgrade_status(
    ns: &Namesystem,
    _: &CallContext,
    _: UpgradeStatusRequestProto,
) -> Outcome<UpgradeStatusResponseProto> {
    Ok(Answer::new(
        UpgradeStatusResponseProto {
            upgrade_finalized: ns.is_upgrade_finalized(),
        },
        None,
    ))
}

/// `metaSave`
pub fn meta_save(
    ns: &Namesystem,
    ctx: &CallContext,
    request: MetaSaveRequestProto,
) -> Outcome<OrDeferred<MetaSaveResponseProto>> {
    ctx.check_superuser_for(ns, "metaSave")?;
    Ok(Answer::deferred(Deferred::MetaSave(request.filename)))
}

/// `listCorruptFileBlocks`. The cookie is the id of the last block looked at.
pub fn list_corrupt_file_blocks(
    ns: &Namesystem,
    ctx: &CallContext,
    request: ListCorruptFileBlocksRequestProto,
) -> Outcome<OrDeferred<Walked>> {
    ctx.check_superuser_for(ns, "listCorruptFileBlocks")?;
    let after: i64 = request.cookie().parse().unwrap_or(0);
    let page = CorruptFilesWalk::new(&request.path, after);
    WalkWork::start(ns, Walk::CorruptFiles(page))
}

/// `listOpenFiles`
pub fn list_open_files(
    ns: &Namesystem,
    ctx: &CallContext,
    request: ListOpenFilesRequestProto,
) -> Outcome<OrDeferred<Walked>> {
    ctx.check_superuser_for(ns, "listOpenFiles")?;
    ns.check_operation(OperationCategory::Read)?;
    let path = request.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    if !path.starts_with('/') {
        return Err(RemoteException::new(
            exceptions::ASSERTION,
            format!("Absolute path required, but got '{path}'"),
        ));
    }
    let mut types = request.types;
    if types.is_empty() {
        types.push(OpenFilesTypeProto::AllOpenFiles as i32);
    }
    let previous = InodeId(u64::try_from(request.id).unwrap_or(0));
    let open = ListOpenFiles {
        path: path.to_owned(),
        types,
        walk: OpenFilesWalk::after(previous),
    };
    WalkWork::start(ns, Walk::OpenFiles(open))
}

/// `getCurrentEditLogTxid`
pub fn get_current_edit_log_txid(
    ns: &Namesystem,
    ctx: &CallContext,
    _: GetCurrentEditLogTxidRequestProto,
) -> Outcome<GetCurrentEditLogTxidResponseProto> {
    ctx.check_superuser_for(ns, "getCurrentEditLogTxid")?;
    let txid = if ns.edit_log().is_open_for_write() {
        ns.edit_log().applied().0 as i64
    } else {
        -1
    };
    Ok(Answer::new(
        GetCurrentEditLogTxidResponseProto { txid },
        ns.shown_everything(),
    ))
}

/// `msync`: only the active answers, and its state id says the rest.
pub fn msync(_: &Namesystem, _: &CallContext, _: MsyncRequestProto) -> Outcome<MsyncResponseProto> {
    Ok(Answer::new(MsyncResponseProto {}, None))
}

/// `getHAServiceState`
pub fn get_ha_service_state(
    ns: &Namesystem,
    _: &CallContext,
    _: HaServiceStateRequestProto,
) -> Outcome<HaServiceStateResponseProto> {
    Ok(Answer::new(
        HaServiceStateResponseProto {
            state: ns.ha_state().to_wire(),
        },
        None,
    ))
}

/// `setBalancerBandwidth`: every DataNode is told with its next heartbeat. The next active does not know of it, as in
/// Hadoop.
pub fn set_balancer_bandwidth(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: SetBalancerBandwidthRequestProto,
) -> Outcome<SetBalancerBandwidthResponseProto> {
    if request.bandwidth > BANDWIDTH_MAX {
        return Err(RemoteException::new(
            exceptions::ILLEGAL_ARGUMENT,
            format!("Bandwidth should not exceed maximum limit {BANDWIDTH_MAX} bytes per second"),
        ));
    }
    ctx.check_superuser_for(ns, "setBalancerBandwidth")?;
    let Ok(bandwidth) = u64::try_from(request.bandwidth) else {
        return Err(RemoteException::new(
            exceptions::ILLEGAL_ARGUMENT,
            "Bandwidth should not be negative",
        ));
    };
    ns.blockmanager_mut().set_balancer_bandwidth(bandwidth);
    Ok(Answer::new(SetBalancerBandwidthResponseProto {}, None))
}
