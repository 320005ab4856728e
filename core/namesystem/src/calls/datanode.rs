//! `DatanodeProtocol` and `DatanodeLifelineProtocol`: the reports of DataNodes and the commands for them (the DataNode
//! part of `NameNodeRpcServer`, `DatanodeManager.handleHeartbeat`).
//!
//! DataNodes report to every NameNode, whatever its role. Only the active commands them, and only the active changes
//! the namespace because of a report. Two rules keep a failover from losing data:
//! - an answer to a heartbeat that claims the active role, or carries commands, leaves only when every applied edit is
//!   synced. So nothing is deleted because of an edit that a quorum may never have;
//! - so the transaction id in the claim is one that the next active will exceed, as DataNodes demand.

use super::block_report::BlockReportWork;
use super::border::{self, Answer, OrDeferred, Outcome, Response, Served};
use super::{commit_void, io, striped, wire};
use crate::context::{CallContext, Deferred, MethodHandler, Reply, Reported};
use crate::namenode_protocol::SOFTWARE_VERSION;
use crate::{HaState, Namesystem, OperationCategory, Role, namenode_protocol};
use bytes::Bytes;
use hathi_blockmanager::{
    BlockManagerError, DatanodeIndex, HeartbeatStats, IncrementalNotice, Now, StorageReport, register_command,
};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::received_deleted_block_info_proto::BlockStatus;
use hathi_formats::proto::datanode::{
    BlockReceivedAndDeletedRequestProto, BlockReceivedAndDeletedResponseProto, BlockReportRequestProto,
    BlockReportResponseProto, CacheReportRequestProto, CacheReportResponseProto,
    CommitBlockSynchronizationRequestProto, CommitBlockSynchronizationResponseProto, DatanodeRegistrationProto,
    ErrorReportRequestProto, ErrorReportResponseProto, HeartbeatRequestProto, HeartbeatResponseProto,
    RegisterDatanodeRequestProto, RegisterDatanodeResponseProto, ReportBadBlocksRequestProto,
    ReportBadBlocksResponseProto, error_report_request_proto::ErrorCode,
};
use hathi_formats::proto::datanodelifeline::LifelineResponseProto;
use hathi_formats::proto::hdfs::nnha_status_heartbeat_proto::State;
use hathi_formats::proto::hdfs::{
    BlockKeyProto, DatanodeStorageProto, ExportedBlockKeysProto, LocatedBlockProto, NnhaStatusHeartbeatProto,
};
use hathi_formats::protocols::{DatanodeLifelineMethod, DatanodeMethod, NamenodeMethod};
use hathi_namespace::BlockSynchronization;

/// The handler of a call that every role serves.
macro_rules! report {
    ($request:ty => $handler:path) => {
        report!(with wire::decode::<$request> => $handler)
    };
    (with $decode:expr => $handler:path) => {
        border::write!(Served::InEveryRole, $decode => $handler)
    };
}

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
pub(super) fn handler(method: DatanodeMethod) -> MethodHandler {
    use DatanodeMethod as M;
    match method {
        M::BlockReceivedAndDeleted => report!(BlockReceivedAndDeletedRequestProto => block_received_and_deleted),
        M::BlockReport => report!(with decode_block_report => block_report),
        M::CacheReport => report!(CacheReportRequestProto => cache_report),
        M::CommitBlockSynchronization => {
            border::write!(
                Served::In(OperationCategory::Write),
                wire::decode::<CommitBlockSynchronizationRequestProto> => commit_block_synchronization
            )
        }
        M::ErrorReport => report!(ErrorReportRequestProto => error_report),
        M::RegisterDatanode => report!(RegisterDatanodeRequestProto => register_datanode),
        M::ReportBadBlocks => report!(ReportBadBlocksRequestProto => report_bad_blocks),
        M::SendHeartbeat => report!(HeartbeatRequestProto => send_heartbeat),
        M::VersionRequest => namenode_protocol::handler(NamenodeMethod::VersionRequest),
    }
}

/// The handler of a method of `DatanodeLifelineProtocol`.
pub(super) fn lifeline_handler(method: DatanodeLifelineMethod) -> MethodHandler {
    match method {
        DatanodeLifelineMethod::SendLifeline => report!(HeartbeatRequestProto => send_lifeline),
    }
}

fn decode_block_report(body: &[u8]) -> Result<BlockReportRequestProto, RemoteException> {
    wire::decode_with(body, Some(BLOCK_REPORTS))
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
        .blockmanager()
        .datanode_by_uuid(&registration.datanode_id.datanode_uuid)
    else {
        return Ok(None);
    };
    let theirs = &registration.datanode_id;
    match ns.blockmanager().datanode(index) {
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
fn register_datanode(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RegisterDatanodeRequestProto,
) -> Outcome<RegisterDatanodeResponseProto> {
    let mut registration = request.registration;
    check_identity(&registration)?;
    check_software_version(ns, &registration)?;
    check_number(ns, &registration)?;
    if let Some(ip) = ctx.client_ip {
        registration.datanode_id.ip_addr = ip.to_canonical().to_string();
    }
    ns.blockmanager_mut()
        .register(
            registration.datanode_id.clone(),
            &registration.software_version,
            now(ctx),
        )
        .map_err(|error| refusal(&error))?;
    registration.keys = no_keys();
    Ok(Answer::new(RegisterDatanodeResponseProto { registration }, None))
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
    let is_known = ns.blockmanager().datanode_by_uuid(uuid).is_ok();
    if is_known || ns.blockmanager().datanodes().count() < DATANODES_MAX {
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
fn send_heartbeat(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: HeartbeatRequestProto,
) -> Outcome<HeartbeatResponseProto> {
    verify(ns, &request.registration)?;
    check_storages(request.reports.len())?;
    ns.blockmanager()
        .check_allowed(&request.registration.datanode_id)
        .map_err(|error| refusal(&error))?;
    let active = ns.role() == Role::Active;
    let mut response = HeartbeatResponseProto {
        cmds: Vec::new(),
        ha_status: NnhaStatusHeartbeatProto {
            state: heartbeat_state(ns.ha_state()),
            txid: ns.edit_log().applied().0,
        },
        // A DataNode that knows only the first field takes its absence for the end.
        rolling_upgrade_status: ns.rolling_upgrade_status().filter(|status| !status.finalized()),
        rolling_upgrade_status_v2: ns.rolling_upgrade_status(),
        full_block_report_lease_id: Some(0),
        is_slownode: Some(false),
    };
    match registered(ns, &request.registration)? {
        None => response.cmds.push(register_command()),
        Some(index) if ns.blockmanager().wants_registration(index) => response.cmds.push(register_command()),
        Some(index) => {
            ns.blockmanager_mut().heartbeat(index, stats(&request), now(ctx));
            ns.blockmanager_mut().set_codes(index, !request.codes_nothing());
            if request.request_full_block_report_lease() {
                response.full_block_report_lease_id = Some(ns.blockmanager_mut().request_report_lease(index, now(ctx)));
            }
            if active {
                ns.blockmanager_mut().told_active(index);
                response.cmds = ns.take_datanode_commands(index, now(ctx));
            }
        }
    }
    debug_assert!(
        active || response.cmds.iter().all(|command| *command == register_command()),
        "only the active orders anything of a DataNode"
    );
    let after = if active { ns.shown_everything() } else { None };
    Ok(Answer::new(response, after))
}

/// `sendLifeline`
fn send_lifeline(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: HeartbeatRequestProto,
) -> Outcome<LifelineResponseProto> {
    verify(ns, &request.registration)?;
    check_storages(request.reports.len())?;
    // A lifeline of an unknown node changes nothing. Only a heartbeat can make it register.
    if let Some(index) = registered(ns, &request.registration)? {
        ns.blockmanager_mut().lifeline(index, stats(&request), now(ctx));
    }
    Ok(Answer::new(LifelineResponseProto {}, None))
}

/// `blockReport`
fn block_report(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: BlockReportRequestProto,
) -> Outcome<OrDeferred<BlockReportResponseProto>> {
    verify(ns, &request.registration)?;
    check_storages(request.reports.len())?;
    check_pool(ns, &request.block_pool_id)?;
    let Some(datanode) = registered(ns, &request.registration)? else {
        let cmd = Some(register_command());
        return Ok(Answer::now(BlockReportResponseProto { cmd }, None));
    };
    let lease = request.context.as_ref().map_or(0, |context| context.lease_id());
    ns.blockmanager_mut()
        .check_report_lease(datanode, lease, now(ctx))
        .map_err(|error| refusal(&error))?;
    let mut work = BlockReportWork::new(ns, datanode, request);
    if work.replicas() > REPLICAS_AT_ONCE {
        return Ok(Answer::deferred(Deferred::BlockReport(Box::new(work))));
    }
    loop {
        if let Some(Answer { response, after }) = work.go_on(ns, REPLICAS_AT_ONCE as usize, now(ctx))? {
            return Ok(Answer::now(response, after));
        }
    }
}

/// `cacheReport`
fn cache_report(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: CacheReportRequestProto,
) -> Outcome<CacheReportResponseProto> {
    verify(ns, &request.registration)?;
    check_pool(ns, &request.block_pool_id)?;
    let Some(datanode) = registered(ns, &request.registration)? else {
        return Err(io(format!(
            "processCacheReport from dead or unregistered datanode: {}",
            node_text(&request.registration)
        )));
    };
    let blocks = request.blocks.iter().map(|id| BlockId(id.cast_signed()));
    ns.blockmanager_mut().cache_report(datanode, blocks, now(ctx));
    Ok(Answer::new(CacheReportResponseProto { cmd: None }, None))
}

/// Result of `blockReceivedAndDeleted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The blocks of which a replica is finished.
    pub blocks: Vec<BlockId>,
}

impl Response for Received {
    fn reply(self, _: &Namesystem) -> Reply {
        Reply {
            reported: Reported::Blocks(self.blocks),
            ..Reply::message(&BlockReceivedAndDeletedResponseProto {})
        }
    }
}

/// `blockReceivedAndDeleted`
fn block_received_and_deleted(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: BlockReceivedAndDeletedRequestProto,
) -> Outcome<Received> {
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
    let mut blocks = Vec::new();
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
            if kind == IncrementalNotice::Received {
                // Of an internal block a writer waits for the group.
                blocks.push(block.id.group());
            }
            ns.blockmanager_mut().incremental_report(
                datanode,
                &storage,
                block,
                kind,
                notice.delete_hint.as_deref(),
                now(ctx),
            );
        }
    }
    Ok(Answer::new(Received { blocks }, None))
}

/// `errorReport`
fn error_report(
    ns: &mut Namesystem,
    _: &CallContext,
    request: ErrorReportRequestProto,
) -> Outcome<ErrorReportResponseProto> {
    let code = ErrorCode::try_from(request.error_code.cast_signed()).unwrap_or(ErrorCode::Notify);
    if code != ErrorCode::Notify {
        verify(ns, &request.registartion)?;
    }
    if code == ErrorCode::FatalDiskError
        && let Some(index) = registered(ns, &request.registartion)?
    {
        ns.blockmanager_mut().node_died(index);
    }
    Ok(Answer::new(ErrorReportResponseProto {}, None))
}

/// `reportBadBlocks`. Hadoop's standbys refuse it, so they believe in every replica again when they become active. Ours
/// take it from DataNodes, and from the active, which passes the reports of clients on.
fn report_bad_blocks(
    ns: &mut Namesystem,
    _: &CallContext,
    request: ReportBadBlocksRequestProto,
) -> Outcome<ReportBadBlocksResponseProto> {
    for located in &request.blocks {
        check_pool(ns, &located.b.pool_id)?;
        // Ours say so of replicas that they have read again under the replica's lock.
        mark_corrupt(ns, located, located.corrupt)?;
    }
    Ok(Answer::new(ReportBadBlocksResponseProto {}, None))
}

/// Marks the reported replicas of a block as corrupt: `by_its_node` if their own DataNode has found them to be bad. Returns
/// whether this is news.
pub(super) fn mark_corrupt(
    ns: &mut Namesystem,
    located: &LocatedBlockProto,
    by_its_node: bool,
) -> Result<bool, RemoteException> {
    let block = super::local_block(&located.b);
    let mut news = false;
    for node in &located.locs {
        if let Some(index) = ns.blockmanager().find_datanode(&node.id.datanode_uuid) {
            let manager = ns.blockmanager_mut();
            let marked = match by_its_node {
                true => manager.mark_corrupt_by_its_node(block, index),
                false => manager.mark_corrupt(block, index),
            };
            news |= marked.map_err(|error| refusal(&error))?;
        }
    }
    Ok(news)
}

/// `commitBlockSynchronization`: the DataNodes have agreed on the last block of a file under lease recovery.
fn commit_block_synchronization(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: CommitBlockSynchronizationRequestProto,
) -> Outcome<CommitBlockSynchronizationResponseProto> {
    ns.check_not_in_safe_mode("Cannot commitBlockSynchronization while in safe mode")?;
    let block = super::block_of(ns, &request.block)?;
    let on = striped::named_storages(ns, &request.new_taragets, &request.new_target_storages);
    let agreed = BlockSynchronization {
        block,
        new_generation_stamp: GenerationStamp(request.new_gen_stamp),
        new_length: request.new_length,
        close_file: request.close_file,
        delete_block: request.delete_block,
    };
    let plan = ns
        .namespace()
        .plan_commit_block_synchronization(ctx.now_ms, &agreed, &ns.replicas())?;
    let recovered = plan.reply.map(|(_, block)| block);
    let closed = plan.reply.filter(|_| request.close_file).map(|(file, _)| file);
    let is_truncated = plan
        .reply
        .is_some_and(|(file, _)| ns.namespace().truncate_target(file).is_some());
    if !plan.ops.is_empty() && !is_truncated {
        // The length of a truncate is decided, and was compared already.
        let length = (!request.delete_block).then_some(request.new_length);
        ns.blockmanager_mut()
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
        striped::set_recovered(ns, block, &on);
    }
    let plan = hathi_namespace::Plan {
        ops: plan.ops,
        reply: (),
    };
    let answer = commit_void(ns, plan)?;
    if let Some(file) = closed {
        ns.recoveries.remove(file);
    }
    debug_assert!(
        recovered.is_none_or(|block| {
            let known = ns.namespace().block(block.id).map(|(known, _)| known.generation_stamp);
            known == Some(block.generation_stamp)
        }),
        "a recovered block has the stamp of its recovery"
    );
    if let Some(block) = recovered
        && !request.close_file
    {
        striped::set_expected(ns, block, &on);
    }
    Ok(answer)
}
