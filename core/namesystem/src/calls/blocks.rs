//! Blocks of files that are being written, and the leases of their writers.

use super::border::{Answer, Once, OrDeferred, Outcome, Response};
use super::{
    ClientMachine, block_of, block_text, check_object_limit, commit, commit_void, commit_void_once, datanode, io,
    local_block, no_safe_mode, plan_context, policies, striped,
};
use crate::Namesystem;
use crate::context::{CallContext, Deferred, Reply, Reported};
use crate::retry_cache::CallKey;
use hathi_blockmanager::{
    BlockLayout, BlockState, DatanodeIndex, Now, OpeningCall, PlacementRequest, StorageIndex, TruncateRecovery,
};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId, TxId};
use hathi_formats::limits;
use hathi_formats::proto::hdfs::{
    AbandonBlockRequestProto, AbandonBlockResponseProto, AddBlockFlagProto, AddBlockRequestProto,
    AddBlockResponseProto, CompleteRequestProto, CompleteResponseProto, DatanodeInfoProto, ExtendedBlockProto,
    FsyncRequestProto, FsyncResponseProto, GetAdditionalDatanodeRequestProto, GetAdditionalDatanodeResponseProto,
    LocatedBlockProto, RecoverLeaseRequestProto, RecoverLeaseResponseProto, RenewLeaseRequestProto,
    RenewLeaseResponseProto, ReportBadBlocksRequestProto, ReportBadBlocksResponseProto, StorageTypeProto,
    UpdateBlockForPipelineRequestProto, UpdateBlockForPipelineResponseProto, UpdatePipelineRequestProto,
    UpdatePipelineResponseProto,
};
use hathi_namespace::{AddBlockCheck, Completed, LeaseRecovery, NAMENODE_LEASE_HOLDER, Plan};

/// The wire's -1 for an unknown offset.
const OFFSET_UNKNOWN: u64 = u64::MAX;

/// A block with its pool.
pub(super) fn extended(pool: &str, block: Block) -> ExtendedBlockProto {
    ExtendedBlockProto {
        pool_id: pool.to_owned(),
        block_id: block.id.0 as u64,
        generation_stamp: block.generation_stamp.0,
        num_bytes: Some(block.num_bytes),
    }
}

fn now(ctx: &CallContext) -> Now {
    Now {
        monotonic_ms: ctx.mono_ms,
        wall_ms: ctx.now_ms,
    }
}

/// `addBlock`
pub fn add_block(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: AddBlockRequestProto,
) -> Outcome<AddBlockResponseProto> {
    let (block, after) = allocate(ns, ctx, &request)?;
    Ok(Answer::new(AddBlockResponseProto { block }, after))
}

fn allocate(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: &AddBlockRequestProto,
) -> Result<(LocatedBlockProto, Option<TxId>), RemoteException> {
    let src = request.src.as_str();
    limits::check_count(
        "The list of favored nodes",
        request.favored_nodes.len(),
        limits::FAVORED_NODES_MAX,
    )?;
    check_excluded(&request.exclude_nodes)?;
    let previous = request.previous.as_ref().map(|block| block_of(ns, block)).transpose()?;
    no_safe_mode(ns, || format!("Cannot add block to {src}"))?;
    check_object_limit(ns)?;
    let machine = ClientMachine::of(ctx);
    let context = plan_context(ctx, &machine);
    let file = InodeId(request.file_id());
    let check = ns
        .namespace()
        .check_add_block(&context, src, file, &request.client_name, previous, &ns.replicas())?;
    let (file, last) = match check {
        AddBlockCheck::Allocate {
            file,
            layout,
            block_size,
            storage_policy,
            client_machine,
        } => {
            let wanted = Targets {
                layout,
                block_size,
                storage_policy,
                client_machine: &client_machine,
            };
            let targets = choose_targets(ns, ctx, request, &wanted)?;
            let plan = ns.namespace().plan_add_block(file, &request.client_name, previous)?;
            if let Some(committed) = plan.reply.committed {
                ns.blockmanager_mut().commit_block(committed);
            }
            let (added, after) = commit(ns, plan)?;
            debug_assert!(!targets.is_empty(), "a block is written somewhere");
            debug_assert!(
                added.block.id.is_striped() || ns.namespace().last_block_id() == added.block.id,
                "the id of a new block was never given out before"
            );
            ns.blockmanager_mut().set_expected_locations(added.block.id, &targets);
            if let Some(call) = opening_call(ctx) {
                ns.blockmanager_mut().set_opened_by(added.block.id, call);
            }
            debug_assert!(
                ns.namespace().is_block_under_construction(added.block.id),
                "a new block is written to"
            );
            return Ok((striped::located_new(ns, added.block, added.offset, &targets), after));
        }
        AddBlockCheck::Retry { file, last, offset } => (file, (last, offset)),
    };
    // The client missed the answer to its first call and has written nothing, so it gets the same block. After a
    // failover this NameNode does not know the chosen DataNodes, so it chooses again.
    let (block, offset) = last;
    let mut located = striped::located_expected(ns, block, offset);
    if located.is_none() {
        let status = ns
            .namespace()
            .status(file)
            .ok_or_else(|| io(format!("File does not exist: {src}")))?;
        let striping = ns.namespace().striping_of_file(file);
        let wanted = Targets {
            layout: striping.map_or(BlockLayout::Replicas(status.replication), BlockLayout::Striped),
            block_size: status.block_size,
            storage_policy: status.storage_policy,
            client_machine: machine.as_str(),
        };
        let targets = choose_targets(ns, ctx, request, &wanted)?;
        ns.blockmanager_mut().set_expected_locations(block.id, &targets);
        located = Some(striped::located_new(ns, block, offset, &targets));
    }
    Ok((located.unwrap_or_default(), ns.shown_txid([file])))
}

/// For this time after becoming active a NameNode that has just been started may not have heard of all DataNodes. A
/// client that finds none is told to try again instead of giving its file up.
const DATANODES_ARRIVE_MS: u64 = 30_000;

struct Targets<'a> {
    layout: BlockLayout,
    block_size: u64,
    storage_policy: u8,
    client_machine: &'a str,
}

fn check_excluded(nodes: &[DatanodeInfoProto]) -> Result<(), RemoteException> {
    limits::check_count("The list of excluded nodes", nodes.len(), limits::EXCLUDED_NODES_MAX)
}

fn choose_targets(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: &AddBlockRequestProto,
    wanted: &Targets<'_>,
) -> Result<Vec<StorageIndex>, RemoteException> {
    let has = |flag: AddBlockFlagProto| request.flags.contains(&(flag as i32));
    let excluded = indexes(ns, &request.exclude_nodes);
    let (count, policy, striping) = match wanted.layout {
        BlockLayout::Replicas(replication) => {
            let policy = policies::by_id(wanted.storage_policy).or_else(|| policies::by_id(0));
            (replication, policy, None)
        }
        BlockLayout::Striped(striping) => {
            let policy = striped::storage_policy(wanted.storage_policy);
            (u16::from(striping.units()), policy, Some(striping))
        }
    };
    let placement = PlacementRequest {
        count: usize::from(count),
        spread: striping.is_some(),
        writer: (!wanted.client_machine.is_empty()).then_some(wanted.client_machine),
        chosen: &[],
        excluded: &excluded,
        favored: &request.favored_nodes,
        block_size: wanted.block_size,
        storage_types: policy.map_or(&[], |policy| policy.creation),
        fallback_types: policy.map_or(&[], |policy| policy.creation_fallback),
        avoid_local_node: has(AddBlockFlagProto::NoLocalWrite),
        avoid_local_rack: false,
        ignore_client_locality: has(AddBlockFlagProto::IgnoreClientLocality),
    };
    let found = ns.blockmanager_mut().choose_targets(&placement, now(ctx));
    let found = match striping {
        None => found.map_err(|error| error.to_string()),
        Some(striping) => striped::check_found(ns, striping, found, excluded.len()),
    };
    found.map_err(|error| {
        let message = format!("File {} {error}", request.src);
        let new_active = ctx.now_ms < ns.last_transition_ms + DATANODES_ARRIVE_MS;
        if ns.config.ha_enabled && new_active && excluded.is_empty() {
            RemoteException::new(exceptions::RETRIABLE, message)
        } else {
            io(message)
        }
    })
}

fn indexes(ns: &Namesystem, nodes: &[DatanodeInfoProto]) -> Vec<DatanodeIndex> {
    nodes
        .iter()
        .filter_map(|node| ns.blockmanager().datanode_by_uuid(&node.id.datanode_uuid).ok())
        .collect()
}

/// `getAdditionalDatanode`
pub fn get_additional_datanode(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: GetAdditionalDatanodeRequestProto,
) -> Outcome<GetAdditionalDatanodeResponseProto> {
    let src = request.src.as_str();
    check_excluded(&request.excludes)?;
    no_safe_mode(ns, || {
        format!("Cannot add datanode; src={src}, blk={}", block_text(&request.blk))
    })?;
    let file = InodeId(request.file_id());
    let status = ns
        .namespace()
        .check_additional_datanode(src, file, &request.client_name)?;
    let (block_size, policy) = (status.block_size, policies::by_id(status.storage_policy));
    let chosen: Vec<StorageIndex> = request
        .existings
        .iter()
        .zip(&request.existing_storage_uuids)
        .filter_map(|(node, storage)| ns.blockmanager().find_storage(&node.id.datanode_uuid, storage))
        .collect();
    let excluded = indexes(ns, &request.excludes);
    let machine = ClientMachine::of(ctx);
    let placement = PlacementRequest {
        count: request.num_additional_nodes as usize,
        writer: (!machine.as_str().is_empty()).then(|| machine.as_str()),
        chosen: &chosen,
        excluded: &excluded,
        block_size,
        storage_types: policy.map_or(&[], |policy| policy.creation),
        fallback_types: policy.map_or(&[], |policy| policy.replication_fallback),
        ..Default::default()
    };
    let targets = ns
        .blockmanager_mut()
        .choose_targets(&placement, now(ctx))
        .map_err(|error| io(format!("File {src} {error}")))?;
    let block = with_existing(ns, &request, &targets);
    Ok(Answer::new(
        GetAdditionalDatanodeResponseProto { block },
        ns.shown_everything(),
    ))
}

/// The pipeline with its new nodes: first those that the client has named, then the chosen ones
/// (`BlockPlacementPolicy.chooseTarget` with `returnChosenNodes`). The client takes this for the whole list.
fn with_existing(
    ns: &Namesystem,
    request: &GetAdditionalDatanodeRequestProto,
    targets: &[StorageIndex],
) -> LocatedBlockProto {
    let pool = &request.blk.pool_id;
    let located = |on: &[StorageIndex]| {
        ns.blockmanager()
            .located_block_on(pool, local_block(&request.blk), OFFSET_UNKNOWN, on)
    };
    let mut block = LocatedBlockProto {
        b: request.blk.clone(),
        ..located(&[])
    };
    for (at, node) in request.existings.iter().enumerate() {
        let storage = request.existing_storage_uuids.get(at).map_or("", String::as_str);
        let kind = ns
            .blockmanager()
            .find_storage(&node.id.datanode_uuid, storage)
            .and_then(|index| ns.blockmanager().storage(index))
            .map_or(StorageTypeProto::Disk, |storage| storage.storage_type);
        block.locs.push(node.clone());
        block.is_cached.push(false);
        block.storage_types.push(kind as i32);
        block.storage_i_ds.push(storage.to_owned());
    }
    let new = located(targets);
    block.locs.extend(new.locs);
    block.is_cached.extend(new.is_cached);
    block.storage_types.extend(new.storage_types);
    block.storage_i_ds.extend(new.storage_i_ds);
    block
}

/// `abandonBlock`
pub fn abandon_block(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: AbandonBlockRequestProto,
) -> Outcome<AbandonBlockResponseProto> {
    let src = request.src.as_str();
    no_safe_mode(ns, || {
        format!("Cannot abandon block {} for file{src}", block_text(&request.b))
    })?;
    let machine = ClientMachine::default();
    let plan = ns.namespace().plan_abandon_block(
        &plan_context(ctx, &machine),
        local_block(&request.b),
        src,
        InodeId(request.file_id()),
        &request.holder,
    )?;
    commit_void(ns, plan)
}

/// Result of `complete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The file is closed.
    Done,
    /// A block has too few reported replicas. It is named if it is the last block, which the client has just finished.
    NotYet(Option<BlockId>),
}

impl Response for Completion {
    fn reply(self, _: &Namesystem) -> Reply {
        let result = self == Completion::Done;
        let reported = match self {
            Completion::NotYet(Some(block)) => Reported::Awaits(block),
            Completion::NotYet(None) | Completion::Done => Reported::Nothing,
        };
        Reply {
            reported,
            ..Reply::message(&CompleteResponseProto { result })
        }
    }
}

/// `complete`
pub fn complete(ns: &mut Namesystem, ctx: &CallContext, request: CompleteRequestProto) -> Outcome<Completion> {
    let src = request.src.as_str();
    no_safe_mode(ns, || format!("Cannot complete file {src}"))?;
    let last = request.last.as_ref().map(|block| block_of(ns, block)).transpose()?;
    let mut plan = plan_complete(ns, ctx, &request, last)?;
    if let Some(committed) = plan.reply.committed {
        ns.blockmanager_mut().commit_block(committed);
        if !plan.reply.done {
            // Replicas that were reported with exactly this length count from now on.
            plan = plan_complete(ns, ctx, &request, last)?;
        }
    }
    if !plan.reply.done {
        // "Not yet" shows nothing that could be taken back.
        return Ok(Answer::new(Completion::NotYet(last.map(|last| last.id)), None));
    }
    let (completed, after) = commit(ns, plan)?;
    debug_assert!(
        completed
            .committed
            .is_none_or(|last| !ns.namespace().is_block_under_construction(last.id)),
        "a file that was completed ends with a block that is not written any more"
    );
    debug_assert!(completed.done, "only a file that can be closed gets this far");
    Ok(Answer::new(Completion::Done, after))
}

fn plan_complete(
    ns: &Namesystem,
    ctx: &CallContext,
    request: &CompleteRequestProto,
    last: Option<Block>,
) -> Result<Plan<Completed>, RemoteException> {
    let machine = ClientMachine::default();
    ns.namespace().plan_complete(
        &plan_context(ctx, &machine),
        &request.src,
        InodeId(request.file_id()),
        &request.client_name,
        last,
        &ns.replicas(),
    )
}

/// The call as the block manager notes it.
pub(super) fn opening_call(ctx: &CallContext) -> Option<OpeningCall> {
    CallKey::new(&ctx.client_id, ctx.call_id).map(|key| OpeningCall {
        client_id: key.client_id,
        call_id: key.call_id,
    })
}

/// `fsync`. Its length is that of the block that the client wrote when it made the call. Hadoop's NameNode takes it for the
/// last block's, whichever that is by then (`FSNamesystem.fsync`). Here a length from before the block counts for nothing:
/// it may be greater than the block, and then no result of a recovery would have it.
pub fn fsync(ns: &mut Namesystem, ctx: &CallContext, request: FsyncRequestProto) -> Outcome<FsyncResponseProto> {
    no_safe_mode(ns, || format!("Cannot fsync file {}", request.src))?;
    let machine = ClientMachine::default();
    let plan = ns.namespace().plan_fsync(
        &plan_context(ctx, &machine),
        &request.src,
        InodeId(request.file_id()),
        &request.client,
        request.last_block_length(),
        |last| opening_call(ctx).is_none_or(|call| !ns.blockmanager().is_older_than_block(last, call)),
    )?;
    commit_void(ns, plan)
}

/// `updateBlockForPipeline`
pub fn update_block_for_pipeline(
    ns: &mut Namesystem,
    _: &CallContext,
    request: UpdateBlockForPipelineRequestProto,
) -> Outcome<UpdateBlockForPipelineResponseProto> {
    check_under_construction(ns, &request.block)?;
    let block = local_block(&request.block);
    let plan = ns
        .namespace()
        .plan_update_block_for_pipeline(block, &request.client_name)?;
    let (stamped, after) = commit(ns, plan)?;
    debug_assert!(
        ns.namespace()
            .block(block.id)
            .is_none_or(|(known, _)| stamped.generation_stamp > known.generation_stamp),
        "replicas with the old stamp are told from those that go on"
    );
    let mut b = request.block.clone();
    b.generation_stamp = stamped.generation_stamp.0;
    let block = LocatedBlockProto {
        b,
        offset: OFFSET_UNKNOWN,
        block_indices: striped::indices(ns, block.id),
        ..Default::default()
    };
    Ok(Answer::new(UpdateBlockForPipelineResponseProto { block }, after))
}

/// The part of `FSNamesystem.checkUCBlock` that needs the state of the block.
fn check_under_construction(ns: &Namesystem, block: &ExtendedBlockProto) -> Result<(), RemoteException> {
    let text = || block_text(block);
    no_safe_mode(ns, || {
        format!(
            "Cannot get a new generation stamp and an access token for block {}",
            text()
        )
    })?;
    let Some(view) = ns.blockmanager().block(BlockId(block.block_id as i64)) else {
        return Err(io(format!("{} does not exist.", text())));
    };
    let state = match view.state {
        BlockState::UnderConstruction => return Ok(()),
        BlockState::Complete => "COMPLETE",
        BlockState::UnderRecovery => "UNDER_RECOVERY",
        BlockState::Committed => "COMMITTED",
    };
    Err(io(format!(
        "Unexpected BlockUCState: {} is {state} but not UNDER_CONSTRUCTION",
        text()
    )))
}

/// `updatePipeline`
pub fn update_pipeline(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: UpdatePipelineRequestProto,
) -> Result<Once<UpdatePipelineResponseProto>, RemoteException> {
    no_safe_mode(ns, || "Pipeline not updated".to_owned())?;
    check_under_construction(ns, &request.old_block)?;
    let machine = ClientMachine::default();
    let (old, new) = (local_block(&request.old_block), local_block(&request.new_block));
    let context = plan_context(ctx, &machine);
    let plan = ns
        .namespace()
        .plan_update_pipeline(&context, &request.client_name, old, new)?;
    let once = commit_void_once(
        ns,
        Plan {
            ops: plan.ops,
            reply: (),
        },
    )?;
    debug_assert_eq!(
        ns.namespace().block(new.id).map(|(block, _)| block.generation_stamp),
        Some(new.generation_stamp),
        "the pipeline goes on with the stamp that was logged"
    );
    let storages = striped::named_storages(ns, &request.new_nodes, &request.storage_i_ds);
    striped::set_expected(ns, new, &storages);
    Ok(once)
}

/// `reportBadBlocks`. The other NameNodes must know before the client goes on, because its next read may come after a
/// failover.
pub fn report_bad_blocks(
    ns: &mut Namesystem,
    _: &CallContext,
    request: ReportBadBlocksRequestProto,
) -> Outcome<OrDeferred<ReportBadBlocksResponseProto>> {
    let mut news = false;
    for located in &request.blocks {
        news |= datanode::mark_corrupt(ns, located, false)?;
    }
    Ok(if news {
        Answer::deferred(Deferred::TellCorrupt(request.blocks))
    } else {
        Answer::now(ReportBadBlocksResponseProto {}, None)
    })
}

/// `renewLease`
pub fn renew_lease(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RenewLeaseRequestProto,
) -> Outcome<RenewLeaseResponseProto> {
    if !request.namespaces.is_empty() {
        return Err(io(format!(
            "namespaces([{}]) should be null or empty",
            request.namespaces.join(", ")
        )));
    }
    no_safe_mode(ns, || format!("Cannot renew lease for {}", request.client_name))?;
    ns.renew_lease(&request.client_name, ctx.mono_ms);
    Ok(Answer::new(RenewLeaseResponseProto {}, None))
}

/// `recoverLease`
pub fn recover_lease(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RecoverLeaseRequestProto,
) -> Outcome<RecoverLeaseResponseProto> {
    limits::check_text(
        super::write::CLIENT_NAME,
        &request.client_name,
        limits::CLIENT_NAME_MAX_BYTES,
    )?;
    no_safe_mode(ns, || format!("Cannot recover the lease of {}", request.src))?;
    let machine = ClientMachine::of(ctx);
    ns.blockmanager_mut().note_time(now(ctx));
    let plan = ns.namespace().plan_recover_lease(
        &plan_context(ctx, &machine),
        &request.src,
        &request.client_name,
        &request.client_name,
        &ns.replicas(),
    )?;
    let (recovery, after) = commit(ns, plan)?;
    let closed = begin_recovery(ns, ctx, &recovery)?;
    Ok(Answer::new(RecoverLeaseResponseProto { result: closed }, after))
}

/// The lease holder under which a NameNode recovers files that became active at this time
/// (`LeaseManager.getInternalLeaseHolder`).
#[must_use]
pub(crate) fn internal_lease_holder(active_since_ms: u64) -> String {
    format!("{NAMENODE_LEASE_HOLDER}-{active_since_ms}")
}

/// Follows the ops that end the lease of a writer that was silent for the soft limit, because another client wants the
/// file. Returns normally when the file is closed; otherwise the caller must come again. The dead writer stays the
/// holder, with a renewed lease, until the recovery of the last block is over (`FSNamesystem.internalReleaseLease`
/// without a new holder).
pub(super) fn finish_lease_recovery(
    ns: &mut Namesystem,
    ctx: &CallContext,
    recovery: &LeaseRecovery,
    operation: &str,
    src: &str,
    holder: &str,
) -> Result<(), RemoteException> {
    if begin_recovery(ns, ctx, recovery)? {
        return Ok(());
    }
    let dead = ns
        .namespace()
        .lease_holder(file_of(recovery))
        .unwrap_or_default()
        .to_owned();
    ns.renew_lease(&dead, ctx.mono_ms);
    let machine = ClientMachine::of(ctx);
    Err(RemoteException::new(
        exceptions::RECOVERY_IN_PROGRESS,
        format!(
            "Failed to {operation} {src} for {holder} on {} because lease recovery is in progress. Try again later.",
            machine.as_str()
        ),
    ))
}

fn file_of(recovery: &LeaseRecovery) -> InodeId {
    match *recovery {
        LeaseRecovery::Closed { file }
        | LeaseRecovery::RecoverBlock { file, .. }
        | LeaseRecovery::InProgress { file }
        | LeaseRecovery::AwaitReports { file }
        | LeaseRecovery::Wait { file, .. } => file,
    }
}

/// Carries out the part of a lease recovery that is in no op. Returns whether the file is closed.
pub(crate) fn begin_recovery(
    ns: &mut Namesystem,
    ctx: &CallContext,
    recovery: &LeaseRecovery,
) -> Result<bool, RemoteException> {
    match recovery {
        LeaseRecovery::Closed { file } => {
            ns.recoveries.remove(*file);
            Ok(true)
        }
        LeaseRecovery::InProgress { file } | LeaseRecovery::AwaitReports { file } => {
            ns.recoveries.insert(*file);
            Ok(false)
        }
        LeaseRecovery::RecoverBlock {
            file,
            block,
            recovery_id,
        } => {
            recover_block(ns, ctx, *file, block.id, *recovery_id);
            Ok(false)
        }
        LeaseRecovery::Wait { message, .. } => {
            Err(RemoteException::new(exceptions::ALREADY_BEING_CREATED, message.clone()))
        }
    }
}

/// Orders a DataNode to agree with the others on the length of a file's last block, or to give it the length that a
/// truncate has decided.
pub(super) fn recover_block(
    ns: &mut Namesystem,
    ctx: &CallContext,
    file: InodeId,
    block: BlockId,
    recovery_id: GenerationStamp,
) {
    let truncate = ns.namespace().truncate_target(file).map(|target| TruncateRecovery {
        length: target.length,
        source: target.source,
    });
    ns.recoveries.insert(file);
    // When no DataNode can be asked now, the monitor tries again.
    let _ = ns
        .blockmanager_mut()
        .begin_recovery(block, recovery_id, truncate, now(ctx));
}
