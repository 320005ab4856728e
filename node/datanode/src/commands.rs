//! Carries out the commands of the active NameNode, in their order (`BPOfferService.processCommandFromActive`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hathi_blockpool::{ClaimId, NoticeKind, ReplicaError, ReplicaState};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::block_command_proto::Action;
use hathi_formats::proto::datanode::block_id_command_proto::Action as CacheAction;
use hathi_formats::proto::datanode::datanode_command_proto::Type as CommandType;
use hathi_formats::proto::datanode::error_report_request_proto::ErrorCode;
use hathi_formats::proto::datanode::{BlockCommandProto, BlockIdCommandProto, DatanodeCommandProto};
use hathi_formats::proto::hdfs::BlockProto;
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_transfer::PipelineNodes;
use tokio::sync::mpsc::Receiver;

use crate::node::DataNode;
use crate::offer::{ClaimedCommand, Nameservice};
use crate::pool::PoolError;
use crate::xceiver::XceiverError;
use crate::xceiver::transfer::{XmitGuard, transfer};
use crate::{reconstruction, recovery};

fn block_of(block: &BlockProto) -> Block {
    Block {
        id: BlockId(block.block_id as i64),
        num_bytes: block.num_bytes.unwrap_or(0),
        generation_stamp: GenerationStamp(block.gen_stamp),
    }
}

/// Carries out commands until the DataNode ends.
pub async fn run(node: Arc<DataNode>, service: Arc<Nameservice>, mut commands: Receiver<ClaimedCommand>) {
    while let Some((claim, command)) = commands.recv().await {
        // This is checked now rather than when the command came, because the active may have changed meanwhile.
        if !service.offer().holds(claim) {
            tracing::info!(
                command = command.cmd_type().as_str_name(),
                "command of a claim that is over is dropped"
            );
            continue;
        }
        carry_out(&node, &service, claim, command).await;
    }
}

async fn carry_out(node: &Arc<DataNode>, service: &Arc<Nameservice>, claim: ClaimId, command: DatanodeCommandProto) {
    match command.cmd_type() {
        CommandType::BlockCommand => {
            if let Some(command) = command.blk_cmd {
                block_command(node, service, claim, command).await;
            }
        }
        CommandType::BlockIdCommand => {
            if let Some(command) = command.blk_id_cmd {
                let node = node.clone();
                let _ = tokio::task::spawn_blocking(move || cache_command(&node, &command)).await;
            }
        }
        CommandType::BlockRecoveryCommand => {
            for block in command.recovery_cmd.map(|command| command.blocks).unwrap_or_default() {
                let (node, service) = (node.clone(), service.clone());
                tokio::spawn(async move { recovery::recover(&node, &service, block).await });
            }
        }
        CommandType::BlockEcReconstructionCommand => {
            let command = command.blk_ec_reconstruction_cmd.unwrap_or_default();
            for order in command.block_ec_reconstructioninfo {
                reconstruction::submit(node, order);
            }
        }
        CommandType::FinalizeCommand => {
            if let Some(pool) = service.pool() {
                let node = node.clone();
                let _ = tokio::task::spawn_blocking(move || node.dataset.finalize_upgrade(&pool)).await;
            }
        }
        CommandType::BalancerBandwidthCommand => {
            if let Some(command) = command.balancer_cmd
                && command.bandwidth > 0
            {
                node.balance_throttle.set_bandwidth(command.bandwidth);
            }
        }
        other => tracing::debug!(command = other.as_str_name(), "nothing to do for this command"),
    }
}

async fn block_command(node: &Arc<DataNode>, service: &Arc<Nameservice>, claim: ClaimId, command: BlockCommandProto) {
    match command.action() {
        Action::Transfer => transfer_blocks(node, service, &command),
        Action::Invalidate => {
            let (node, service) = (node.clone(), service.clone());
            let _ = tokio::task::spawn_blocking(move || invalidate(&node, &service, claim, &command)).await;
        }
        Action::Shutdown => {
            tracing::warn!("command to shut down is not part of the protocol any more")
        }
    }
}

fn invalidate(node: &DataNode, service: &Nameservice, claim: ClaimId, command: &BlockCommandProto) {
    let Ok(pool) = node.dataset.pool(&command.block_pool_id) else {
        return;
    };
    for block in &command.blocks {
        let block = block_of(block);
        match node.dataset.invalidate(&pool, block, || service.offer().holds(claim)) {
            Err(PoolError::Replica(ReplicaError::OrderEnded)) => {
                tracing::info!(block = %block.id, "the rest of a command is dropped: its claim is over");
                return;
            }
            Ok(replica) => {
                node.metrics.blocks_removed.fetch_add(1, Ordering::Relaxed);
                if let Some(volume) = node.dataset.volume(replica.volume) {
                    let deleted = Block {
                        generation_stamp: replica.generation_stamp,
                        ..block
                    };
                    node.notify(pool.id(), deleted, NoticeKind::Deleted, &volume.storage_id, "");
                }
            }
            Err(error) => {
                tracing::warn!(block = %block.id, %error, "cannot invalidate");
                if let PoolError::Disk { volume, source } = &error {
                    node.on_disk_error(*volume, source);
                }
            }
        }
    }
}

fn cache_command(node: &Arc<DataNode>, command: &BlockIdCommandProto) {
    let ids = command.block_ids.iter().map(|id| BlockId(id.cast_signed()));
    match command.action() {
        CacheAction::Cache => node.cache_blocks(&command.block_pool_id, ids),
        CacheAction::Uncache => node.cache.uncache(&command.block_pool_id, ids),
    }
    // The NameNode hears of what was dropped with the next report.
}

fn transfer_blocks(node: &Arc<DataNode>, service: &Arc<Nameservice>, command: &BlockCommandProto) {
    for (index, block) in command.blocks.iter().enumerate() {
        let targets = PipelineNodes {
            infos: command
                .targets
                .get(index)
                .map(|targets| targets.datanodes.clone())
                .unwrap_or_default(),
            storage_types: command
                .target_storage_types
                .get(index)
                .map(|types| types.storage_types.clone())
                .unwrap_or_default(),
            storage_ids: command
                .target_storage_uuids
                .get(index)
                .map(|ids| ids.storage_uuids.clone())
                .unwrap_or_default(),
        };
        if targets.is_empty() {
            continue;
        }
        let (node, service) = (node.clone(), service.clone());
        let (pool_id, block) = (command.block_pool_id.clone(), block_of(block));
        let spawned = std::thread::Builder::new()
            .name("transfer".to_owned())
            .spawn(move || transfer_block(&node, &service, &pool_id, block, &targets));
        if let Err(error) = spawned {
            tracing::warn!(%error, "cannot start a transfer");
        }
    }
}

fn transfer_block(node: &Arc<DataNode>, service: &Nameservice, pool_id: &str, block: Block, targets: &PipelineNodes) {
    let _counted = XmitGuard::new(node);
    let Ok(pool) = node.dataset.pool(pool_id) else {
        return;
    };
    let replica = pool
        .get(block.id)
        .filter(|replica| replica.state == ReplicaState::Finalized)
        // The order names an older stamp: it is older than an append or a recovery.
        .filter(|replica| replica.generation_stamp == block.generation_stamp);
    let Some(replica) = replica else {
        let text = format!(
            "Can't send invalid block {pool_id}:blk_{}_{}",
            block.id, block.generation_stamp
        );
        service.report_error(ErrorCode::InvalidBlock as u32, &text);
        return;
    };
    if replica.num_bytes < block.num_bytes {
        tracing::warn!(block = %block.id, here = replica.num_bytes, expected = block.num_bytes, "replica is too short");
        node.report_bad_block(pool_id, &replica);
        return;
    }
    let stage = Stage::PipelineSetupCreate;
    if let Err(error) = transfer(node, &pool, block, stage, "", targets, None) {
        tracing::warn!(block = %block.id, %error, "transfer failed");
        if let XceiverError::Pool(PoolError::Disk { volume, source }) = &error {
            node.on_suspect(&pool, block);
            node.on_disk_error(*volume, source);
        }
    }
}
