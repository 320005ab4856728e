//! `DatanodeProtocol` and `DatanodeLifelineProtocol`: the reports of DataNodes and the commands for them (the DataNode
//! part of `NameNodeRpcServer`, `DatanodeManager.handleHeartbeat`).
//!
//! DataNodes report to every NameNode, whatever its role. Only the active commands them, and only the active changes
//! the namespace because of a report. Two rules keep a failover from losing data:
//! - an answer to a heartbeat that claims the active role, or carries commands, leaves only when every applied edit is
//!   synced. So nothing is deleted because of an edit that a quorum may never have;
//! - so the transaction id in the claim is one that the next active will exceed, as DataNodes demand.

use super::block_report::BlockReportWork;
use super::{Outcome, commit_void, io, wire, writing};
use crate::context::{CallContext, Deferred, Reply, Verb};
use crate::namenode_protocol::SOFTWARE_VERSION;
use crate::{HaState, Namesystem, OperationCategory, Role, namenode_protocol};
use bytes::Bytes;
use hathi_blockmanager::{
    BlockManagerError, DatanodeIndex, HeartbeatStats, IncrementalNotice, Now, StorageIndex, StorageReport,
    register_command,
};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::received_deleted_block_info_proto::BlockStatus;
use hathi_formats::proto::datanode::{
    BlockReceivedAndDeletedRequestProto, BlockReceivedAndDeletedResponseProto, BlockReportRequestProto,
    BlockReportResponseProto, CacheReportRequestProto, CacheReportResponseProto,
    CommitBlockSynchronizationRequestProto, DatanodeRegistrationProto, ErrorReportRequestProto,
    ErrorReportResponseProto, HeartbeatRequestProto, HeartbeatResponseProto, RegisterDatanodeRequestProto,
    RegisterDatanodeResponseProto, ReportBadBlocksRequestProto, ReportBadBlocksResponseProto,
    error_report_request_proto::ErrorCode,
};
use hathi_formats::proto::datanodelifeline::LifelineResponseProto;
use hathi_formats::proto::hdfs::nnha_status_heartbeat_proto::State;
use hathi_formats::proto::hdfs::{
    BlockKeyProto, DatanodeStorageProto, ExportedBlockKeysProto, LocatedBlockProto, NnhaStatusHeartbeatProto,
};
use hathi_formats::protocols::{DatanodeLifelineMethod, DatanodeMethod, NamenodeMethod};
use hathi_namespace::BlockSynchronization;
use prost::Message;

/// A full report with up to this many replicas is processed at once. The shell processes larger ones in slices.
const REPLICAS_AT_ONCE: u64 = 10_000;
/// Largest number of known DataNodes, living or dead. Each is kept until the NameNode ends, and any that no include
/// list keeps out may register. The largest clusters have a third of this number.
const DATANODES_MAX: usize = 30_000;
/// Longest string in which a DataNode says who it is: an id, a name, a version. It is kept as long as the NameNode
/// runs. Hadoop has no limit; a host's name has 255 bytes at most.
const IDENTITY_MAX_BYTES: usize = 1024;
/// Largest number of storages in a report or heartbeat, which are the disks of one machine. Hadoop has no limit.
const STORAGES_MAX: usize = 10_000;
/// `dfs.namenode.min.supported.datanode.version`
const MIN_DATANODE_VERSION: [u32; 3] = [2, 1, 0];

/// The handler of a method of `DatanodeProtocol`.
pub(super) fn verb(method: DatanodeMethod) -> Verb {
    match method {
        DatanodeMethod::BlockReceivedAndDeleted => Verb::Write(block_received_and_deleted),
        DatanodeMethod::BlockReport => Verb::Write(block_report),
        DatanodeMethod::CacheReport => Verb::Read(cache_report),
        DatanodeMethod::CommitBlockSynchronization => Verb::Write(commit_block_synchronization),
        DatanodeMethod::ErrorReport => Verb::Write(error_report),
        DatanodeMethod::RegisterDatanode => Verb::Write(register_datanode),
        DatanodeMethod::ReportBadBlocks => Verb::Write(report_bad_blocks),
        DatanodeMethod::SendHeartbeat => Verb::Write(send_heartbeat),
        DatanodeMethod::VersionRequest => namenode_protocol::verb(NamenodeMethod::VersionRequest),
    }
}

/// The handler of a method of `DatanodeLifelineProtocol`.
pub(super) fn lifeline_verb(method: DatanodeLifelineMethod) -> Verb {
    match method {
        DatanodeLifelineMethod::SendLifeline => Verb::Write(send_lifeline),
    }
}

/// The HA state for DataNodes. Their protocol numbers the states differently from `HAServiceProtocol`.
#[must_use]
pub fn heartbeat_state(state: HaState) -> i32 {
    let state = match state {
        HaState::Active => State::Active,
        HaState::Standby | HaState::Initializing => State::Standby,
        HaState::Observer => State::Observer,
    };
    state as i32
}

/// `NS-<namespace>-<cluster>-<ctime>` (`Storage.getRegistrationID`).
fn registration_id(namespace_id: u32, cluster_id: &str, ctime: u64) -> String {
    format!("NS-{namespace_id}-{cluster_id}-{ctime}")
}

fn node_text(registration: &DatanodeRegistrationProto) -> String {
    let id = &registration.datanode_id;
    format!(
        "DatanodeRegistration({}, datanodeUuid={})",
        id.xfer_address(),
        id.datanode_uuid
    )
}

/// Refuses a node of another namespace (`NameNodeRpcServer.verifyRequest`).
fn verify(ns: &Namesystem, registration: &DatanodeRegistrationProto) -> Result<(), RemoteException> {
    let storage = &registration.storage_info;
    let theirs = registration_id(storage.namespce_id, &storage.cluster_id, storage.c_time);
    let ours = registration_id(ns.info.namespace_id, &ns.info.cluster_id, ns.info.ctime.cast_unsigned());
    if theirs == ours {
        return Ok(());
    }
    Err(RemoteException::new(
        exceptions::UNREGISTERED_NODE,
        format!(
            "Unregistered server: {} (its id is {theirs}, not {ours})",
            node_text(registration)
        ),
    ))
}

fn check_pool(ns: &Namesystem, pool: &str) -> Result<(), RemoteException> {
    if pool == ns.info.block_pool_id {
        return Ok(());
    }
    Err(io(format!(
        "Unexpected BlockPoolId {pool} - expected {}",
        ns.info.block_pool_id
    )))
}

/// The node, if it is registered, alive, and calls from the address that it registered with
/// (`DatanodeManager.getDatanode`).
fn registered(
    ns: &Namesystem,
    registration: &DatanodeRegistrationProto,
) -> Result<Option<DatanodeIndex>, RemoteException> {
    let Ok(index) = ns
        .blockmanager
        .datanode_by_uuid(&registration.datanode_id.datanode_uuid)
    else {
        return Ok(None);
    };
    let theirs = &registration.datanode_id;
    match ns.blockmanager.datanode(index) {
        Some(node) if (&node.id.ip_addr, node.id.xfer_port) != (&theirs.ip_addr, theirs.xfer_port) => {
            Err(RemoteException::new(
                exceptions::UNREGISTERED_NODE,
                format!(
                    "Data node {} is attempting to report storage ID {}. Node {} is expected to serve this storage.",
                    node_text(registration),
                    theirs.datanode_uuid,
                    node.xfer_address()
                ),
            ))
        }
        _ => Ok(Some(index)),
    }
}

pub(super) fn now(ctx: &CallContext) -> Now {
    Now {
        monotonic_ms: ctx.mono_ms,
        wall_ms: ctx.now_ms,
    }
}

/// `BlockReportRequestProto.reports`, with the blocks as bytes.
const BLOCK_REPORTS: u64 = 3;

/// Runs a handler that every role serves. A broken namesystem does not run it: DataNodes must take no command and no
/// claim from it, and report again once another one is loaded.
fn any_role<M: Message + Default>(
    ns: &mut Namesystem,
    ctx: &CallContext,
    body: &[u8],
    handler: fn(&mut Namesystem, &CallContext, M) -> Outcome,
) -> Reply {
    any_role_with(ns, ctx, body, None, handler)
}

/// [`any_role`] for a request with a field that [`wire::decode_with`] does not decode.
fn any_role_with<M: Message + Default>(
    ns: &mut Namesystem,
    ctx: &CallContext,
    body: &[u8],
    opaque: Option<u64>,
    handler: fn(&mut Namesystem, &CallContext, M) -> Outcome,
) -> Reply {
    ns.check_not_broken()
        .and_then(|()| wire::decode_with(body, opaque))
        .and_then(|request| handler(ns, ctx, request))
        .unwrap_or_else(Reply::refuse)
}

/// The exception that a DataNode gets for a refusal of the block manager.
pub(super) fn refusal(error: &BlockManagerError) -> RemoteException {
    let class = match error {
        BlockManagerError::InvalidLease { .. } => exceptions::INVALID_BLOCK_REPORT_LEASE,
        BlockManagerError::Busy(_) => exceptions::RETRIABLE,
        BlockManagerError::Disallowed(_) => exceptions::DISALLOWED_DATANODE,
        BlockManagerError::Unregistered(_)
        | BlockManagerError::Malformed(_)
        | BlockManagerError::NotEnoughTargets { .. } => exceptions::IO,
    };
    RemoteException::new(class, error.to_string())
}

/// `registerDatanode`
fn register_datanode(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    any_role(ns, ctx, &body, |ns, ctx, request: RegisterDatanodeRequestProto| {
        let mut registration = request.registration;
        check_identity(&registration)?;
        check_software_version(ns, &registration)?;
        check_number(ns, &registration)?;
        if let Some(ip) = ctx.client_ip {
            registration.datanode_id.ip_addr = ip.to_canonical().to_string();
        }
        ns.blockmanager
            .register(
                registration.datanode_id.clone(),
                &registration.software_version,
                now(ctx),
            )
            .map_err(|error| refusal(&error))?;
        registration.keys = no_keys();
        Ok(Reply::message(&RegisterDatanodeResponseProto { registration }))
    })
}

/// Refuses a registration with fields that no DataNode sends, because they would be kept.
fn check_identity(registration: &DatanodeRegistrationProto) -> Result<(), RemoteException> {
    let id = &registration.datanode_id;
    let texts = [&id.datanode_uuid, &id.host_name, &registration.software_version];
    match texts.iter().find(|text| text.len() > IDENTITY_MAX_BYTES) {
        None => Ok(()),
        Some(text) => Err(RemoteException::new(
            exceptions::DISALLOWED_DATANODE,
            format!(
                "Datanode denied communication with namenode: it names itself with {} bytes, and at most \
                 {IDENTITY_MAX_BYTES} can be",
                text.len()
            ),
        )),
    }
}

/// Refuses a new DataNode when the largest number is reached.
fn check_number(ns: &Namesystem, registration: &DatanodeRegistrationProto) -> Result<(), RemoteException> {
    let uuid = &registration.datanode_id.datanode_uuid;
    let is_known = ns.blockmanager.datanode_by_uuid(uuid).is_ok();
    if is_known || ns.blockmanager.datanodes().count() < DATANODES_MAX {
        return Ok(());
    }
    Err(RemoteException::new(
        exceptions::DISALLOWED_DATANODE,
        format!("Datanode denied communication with namenode: {DATANODES_MAX} are known, and more can't be"),
    ))
}

/// Refuses a number of storages that no machine has.
fn check_storages(number: usize) -> Result<(), RemoteException> {
    if number <= STORAGES_MAX {
        return Ok(());
    }
    Err(RemoteException::new(
        exceptions::IO,
        format!("a report of {number} storages: a DataNode has at most {STORAGES_MAX}"),
    ))
}

/// `BlockManager.getBlockKeys` without block tokens.
fn no_keys() -> ExportedBlockKeysProto {
    ExportedBlockKeysProto {
        is_block_token_enabled: false,
        key_update_interval: 0,
        token_life_time: 0,
        current_key: BlockKeyProto {
            key_id: 0,
            expiry_date: 0,
            key_bytes: Some(Bytes::new()),
        },
        all_keys: Vec::new(),
    }
}

/// The leading numbers of a version: 3.5.0 of `3.5.0-SNAPSHOT`.
fn version_numbers(version: &str) -> [u32; 3] {
    let mut numbers = [0; 3];
    for (number, part) in numbers.iter_mut().zip(version.split(['.', '-'])) {
        *number = part.parse().unwrap_or(0);
    }
    numbers
}

/// `NameNodeRpcServer.verifySoftwareVersion`
fn check_software_version(ns: &Namesystem, registration: &DatanodeRegistrationProto) -> Result<(), RemoteException> {
    let version = &registration.software_version;
    if version_numbers(version) < MIN_DATANODE_VERSION {
        return Err(RemoteException::new(
            exceptions::INCORRECT_VERSION,
            format!("The reported DataNode version is too low: {version} < 2.1.0-beta"),
        ));
    }
    let ctime = ns.info.ctime.cast_unsigned();
    if version != SOFTWARE_VERSION && registration.storage_info.c_time != ctime {
        return Err(RemoteException::new(
            exceptions::INCORRECT_VERSION,
            format!(
                "DataNode version {version} of {} is not this NameNode's {SOFTWARE_VERSION}, and its CTime {} is not {ctime}",
                node_text(registration),
                registration.storage_info.c_time
            ),
        ));
    }
    Ok(())
}

fn stats(request: &HeartbeatRequestProto) -> HeartbeatStats {
    HeartbeatStats {
        reports: request.reports.iter().map(StorageReport::from_wire).collect(),
        xceivers: request.xceiver_count(),
        transfers_in_progress: request.xmits_in_progress(),
        failed_volumes: request.failed_volumes(),
        cache_capacity: request.cache_capacity(),
        cache_used: request.cache_used(),
    }
}

/// `sendHeartbeat`
fn send_heartbeat(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    any_role(ns, ctx, &body, |ns, ctx, request: HeartbeatRequestProto| {
        verify(ns, &request.registration)?;
        check_storages(request.reports.len())?;
        ns.blockmanager
            .check_allowed(&request.registration.datanode_id)
            .map_err(|error| refusal(&error))?;
        let active = ns.role == Role::Active;
        let mut response = HeartbeatResponseProto {
            cmds: Vec::new(),
            ha_status: NnhaStatusHeartbeatProto {
                state: heartbeat_state(ns.ha_state()),
                txid: ns.edit_log.applied().0,
            },
            // A DataNode that knows only the first field takes its absence for the end.
            rolling_upgrade_status: ns.rolling_upgrade_status().filter(|status| !status.finalized()),
            rolling_upgrade_status_v2: ns.rolling_upgrade_status(),
            full_block_report_lease_id: Some(0),
            is_slownode: Some(false),
        };
        match registered(ns, &request.registration)? {
            None => response.cmds.push(register_command()),
            Some(index) if ns.blockmanager.wants_registration(index) => response.cmds.push(register_command()),
            Some(index) => {
                ns.blockmanager.heartbeat(index, stats(&request), now(ctx));
                if request.request_full_block_report_lease() {
                    response.full_block_report_lease_id = Some(ns.blockmanager.request_report_lease(index, now(ctx)));
                }
                if active {
                    ns.blockmanager.told_active(index);
                    let pool = &ns.info.block_pool_id;
                    response.cmds = ns.blockmanager.take_commands(index, pool, now(ctx));
                }
            }
        }
        debug_assert!(
            active || response.cmds.iter().all(|command| *command == register_command()),
            "only the active orders anything of a DataNode"
        );
        let after = if active { ns.shown_everything() } else { None };
        Ok(Reply::message(&response).after(after))
    })
}

/// `sendLifeline`
fn send_lifeline(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    any_role(ns, ctx, &body, |ns, ctx, request: HeartbeatRequestProto| {
        verify(ns, &request.registration)?;
        check_storages(request.reports.len())?;
        // A lifeline of an unknown node changes nothing. Only a heartbeat can make it register.
        if let Some(index) = registered(ns, &request.registration)? {
            ns.blockmanager.lifeline(index, stats(&request), now(ctx));
        }
        Ok(Reply::message(&LifelineResponseProto {}))
    })
}

/// `blockReport`
fn block_report(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    any_role_with(
        ns,
        ctx,
        &body,
        Some(BLOCK_REPORTS),
        |ns, ctx, request: BlockReportRequestProto| {
            verify(ns, &request.registration)?;
            check_storages(request.reports.len())?;
            check_pool(ns, &request.block_pool_id)?;
            let Some(datanode) = registered(ns, &request.registration)? else {
                return Ok(Reply::message(&BlockReportResponseProto {
                    cmd: Some(register_command()),
                }));
            };
            let lease = request.context.as_ref().map_or(0, |context| context.lease_id());
            ns.blockmanager
                .check_report_lease(datanode, lease, now(ctx))
                .map_err(|error| refusal(&error))?;
            let mut work = BlockReportWork::new(ns, datanode, request);
            if work.replicas() > REPLICAS_AT_ONCE {
                return Ok(Reply::defer(Deferred::BlockReport(Box::new(work))));
            }
            loop {
                if let Some(reply) = work.step(ns, REPLICAS_AT_ONCE as usize, now(ctx)) {
                    return Ok(reply);
                }
            }
        },
    )
}

/// `cacheReport`: there is no caching, so the report is ignored.
fn cache_report(ns: &Namesystem, _: &CallContext, body: Bytes) -> Reply {
    ns.check_not_broken()
        .and_then(|()| wire::decode(&body))
        .and_then(|request: CacheReportRequestProto| verify(ns, &request.registration))
        .map_or_else(Reply::refuse, |()| {
            Reply::message(&CacheReportResponseProto { cmd: None })
        })
}

/// `blockReceivedAndDeleted`
fn block_received_and_deleted(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    any_role(
        ns,
        ctx,
        &body,
        |ns, ctx, request: BlockReceivedAndDeletedRequestProto| {
            verify(ns, &request.registration)?;
            check_storages(request.blocks.len())?;
            check_pool(ns, &request.block_pool_id)?;
            let Some(datanode) = registered(ns, &request.registration)? else {
                // The node keeps the notices and sends them again. Its next heartbeat makes it register first.
                return Err(io(format!(
                    "Got incremental block report from unregistered or dead node {}",
                    node_text(&request.registration)
                )));
            };
            for notices in request.blocks {
                let storage = notices.storage.unwrap_or_else(|| DatanodeStorageProto {
                    storage_uuid: notices.storage_uuid.clone(),
                    state: None,
                    storage_type: None,
                });
                for notice in &notices.blocks {
                    let kind = match notice.status() {
                        BlockStatus::Receiving => IncrementalNotice::Receiving,
                        BlockStatus::Received => IncrementalNotice::Received,
                        BlockStatus::Deleted => IncrementalNotice::Deleted,
                    };
                    let block = Block {
                        id: BlockId(notice.block.block_id.cast_signed()),
                        num_bytes: notice.block.num_bytes(),
                        generation_stamp: GenerationStamp(notice.block.gen_stamp),
                    };
                    ns.blockmanager.incremental_report(
                        datanode,
                        &storage,
                        block,
                        kind,
                        notice.delete_hint.as_deref(),
                        now(ctx),
                    );
                }
            }
            Ok(Reply::message(&BlockReceivedAndDeletedResponseProto {}))
        },
    )
}

/// `errorReport`
fn error_report(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    any_role(ns, ctx, &body, |ns, _, request: ErrorReportRequestProto| {
        let code = ErrorCode::try_from(request.error_code.cast_signed()).unwrap_or(ErrorCode::Notify);
        if code != ErrorCode::Notify {
            verify(ns, &request.registartion)?;
        }
        if code == ErrorCode::FatalDiskError
            && let Some(index) = registered(ns, &request.registartion)?
        {
            ns.blockmanager.node_died(index);
        }
        Ok(Reply::message(&ErrorReportResponseProto {}))
    })
}

/// `reportBadBlocks`. Hadoop's standbys refuse it, so they believe in every replica again when they become active. Ours
/// take it from DataNodes, and from the active, which passes the reports of clients on.
fn report_bad_blocks(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    any_role(ns, ctx, &body, |ns, _, request: ReportBadBlocksRequestProto| {
        for located in &request.blocks {
            check_pool(ns, &located.b.pool_id)?;
            mark_corrupt(ns, located)?;
        }
        Ok(Reply::message(&ReportBadBlocksResponseProto {}))
    })
}

/// Marks the reported replicas of a block as corrupt. Returns whether this is news.
pub(super) fn mark_corrupt(ns: &mut Namesystem, located: &LocatedBlockProto) -> Result<bool, RemoteException> {
    let block = super::local_block(&located.b);
    let mut news = false;
    for node in &located.locs {
        if let Some(index) = ns.blockmanager.find_datanode(&node.id.datanode_uuid) {
            news |= ns
                .blockmanager
                .mark_corrupt(block, index)
                .map_err(|error| refusal(&error))?;
        }
    }
    Ok(news)
}

/// `commitBlockSynchronization`: the DataNodes have agreed on the last block of a file under lease recovery.
fn commit_block_synchronization(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    writing(
        ns,
        ctx,
        &body,
        OperationCategory::Write,
        |ns, ctx, request: CommitBlockSynchronizationRequestProto| {
            ns.check_not_in_safe_mode("Cannot commitBlockSynchronization while in safe mode")?;
            let block = super::block_of(ns, &request.block)?;
            let on: Vec<StorageIndex> = request
                .new_taragets
                .iter()
                .zip(&request.new_target_storages)
                .filter_map(|(node, storage)| ns.blockmanager.find_storage(&node.datanode_uuid, storage))
                .collect();
            let agreed = BlockSynchronization {
                block,
                new_generation_stamp: GenerationStamp(request.new_gen_stamp),
                new_length: request.new_length,
                close_file: request.close_file,
                delete_block: request.delete_block,
            };
            let plan = ns
                .namespace
                .plan_commit_block_synchronization(ctx.now_ms, &agreed, &ns.replicas())?;
            let recovered = plan.reply.map(|(_, block)| block);
            let is_truncated = plan
                .reply
                .is_some_and(|(file, _)| ns.namespace.truncate_target(file).is_some());
            if !plan.ops.is_empty() && !is_truncated {
                // The length of a truncate is decided, and was compared already.
                let length = (!request.delete_block).then_some(request.new_length);
                ns.blockmanager
                    .judge_recovery(block.id, length, now(ctx))
                    .map_err(|reason| {
                        io(format!(
                            "The result of the recovery of {} is not taken: {reason}",
                            super::block_text(&request.block)
                        ))
                    })?;
            }
            if let Some(block) = recovered
                && request.close_file
            {
                // This message names the locations, so readers need not wait for reports.
                ns.blockmanager.recovered(block, &on);
            }
            let plan = hathi_namespace::Plan {
                ops: plan.ops,
                reply: (),
            };
            let reply = commit_void(ns, plan)?;
            debug_assert!(
                recovered.is_none_or(|block| {
                    let known = ns.namespace.block(block.id).map(|(known, _)| known.generation_stamp);
                    known == Some(block.generation_stamp)
                }),
                "a recovered block has the stamp of its recovery"
            );
            if let Some(block) = recovered
                && !request.close_file
            {
                ns.blockmanager.set_expected_locations(block.id, &on);
            }
            Ok(reply)
        },
    )
}
