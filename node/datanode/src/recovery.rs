//! Block recovery. The primary brings the replicas of a block to one length (`BlockRecoveryWorker`). The other
//! DataNodes take part.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hathi_blockpool::{Mismatch, NoticeKind, RecoveryAnswer, RecoveryPlan, Replica, ReplicaState, plan_recovery};
use hathi_conf::HostPort;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::{CommitBlockSynchronizationRequestProto, CommitBlockSynchronizationResponseProto};
use hathi_formats::proto::hdfs::{
    BlockProto, DatanodeIdProto, DatanodeInfoProto, ExtendedBlockProto, InitReplicaRecoveryRequestProto,
    InitReplicaRecoveryResponseProto, RecoveringBlockProto, ReplicaStateProto, UpdateReplicaUnderRecoveryRequestProto,
    UpdateReplicaUnderRecoveryResponseProto,
};
use hathi_net::ipc::protocols::INTER_DATANODE_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError, connect_to};

use crate::node::DataNode;
use crate::offer::Nameservice;
use crate::pool::PoolError;

fn remote(error: &PoolError) -> RemoteException {
    RemoteException::new(error.class(), error.to_string())
}

fn block_of(block: &ExtendedBlockProto) -> Block {
    Block {
        id: BlockId(block.block_id as i64),
        num_bytes: block.num_bytes.unwrap_or(0),
        generation_stamp: GenerationStamp(block.generation_stamp),
    }
}

/// Sets a replica aside (`initReplicaRecovery`). `None` when there is no replica. Blocks while a writer stops.
pub fn init_replica(node: &DataNode, request: &RecoveringBlockProto) -> Result<Option<Replica>, RemoteException> {
    let proto = &request.block.b;
    let pool = node.dataset.pool(&proto.pool_id).map_err(|error| remote(&error))?;
    let block = block_of(proto);
    let recovery_id = GenerationStamp(request.new_gen_stamp);
    let changed = node
        .dataset
        .transition(&pool, block.id, |map| {
            let data_len = map
                .get(block.id)
                .and_then(|replica| pool.files(replica))
                .and_then(|files| std::fs::metadata(files.data).ok())
                .map(|metadata| metadata.len());
            map.init_recovery(block, recovery_id, data_len)
        })
        .map_err(|error| {
            tracing::info!(block = %block.id, %error, "recovery refused");
            remote(&error)
        })?;
    Ok(changed.and_then(|(_, after)| after))
}

/// Gives a replica the agreed length and stamp (`updateReplicaUnderRecovery`). Returns the id of its storage.
pub fn update_replica(
    node: &DataNode,
    request: &UpdateReplicaUnderRecoveryRequestProto,
) -> Result<String, RemoteException> {
    let pool = node
        .dataset
        .pool(&request.block.pool_id)
        .map_err(|error| remote(&error))?;
    let old = block_of(&request.block);
    let new_id = request
        .new_block_id
        .map(|id| BlockId(id as i64))
        .filter(|id| id.0 > 0 && *id != old.id);
    let mismatch = match request.mismatch_stays() {
        true => Mismatch::Kept,
        false => Mismatch::Refused,
    };
    let changed = node
        .dataset
        .transition(&pool, old.id, |map| {
            let id = GenerationStamp(request.recovery_id);
            let planned = map.update_under_recovery(old, id, new_id, request.new_length);
            planned.map(|transition| Some(transition.over(mismatch)))
        })
        .map_err(|error| {
            // The check was made under the replica's lock: the last chunk has rotted, and gets no new checksum.
            if let (PoolError::Corrupt(text), Some(replica)) = (&error, pool.get(old.id)) {
                tracing::warn!(block = %old.id, %text, "a replica under recovery is bad");
                node.report_bad_block(pool.id(), &replica);
            }
            remote(&error)
        })?;
    let result = new_id.map_or_else(|| changed.and_then(|(_, after)| after), |id| pool.get(id));
    let replica = result.ok_or_else(|| RemoteException::new(exceptions::IO, "the replica is gone"))?;
    let storage = node
        .dataset
        .volume(replica.volume)
        .map(|volume| volume.storage_id.clone())
        .unwrap_or_default();
    // The replica is complete now, so NameNodes are told its new length.
    node.notify(pool.id(), replica.block(), NoticeKind::Received, &storage, "");
    Ok(storage)
}

/// A DataNode that takes part: this one or another.
enum Participant {
    Local,
    Remote(RpcClient),
    Unreachable,
}

impl Participant {
    async fn connect(node: &DataNode, id: &DatanodeIdProto) -> Participant {
        if id.datanode_uuid == node.dataset.datanode_uuid() {
            return Participant::Local;
        }
        let host = if node.conf.connect_via_hostname {
            id.host_name.clone()
        } else {
            id.ip_addr.clone()
        };
        let Ok(port) = u16::try_from(id.ipc_port) else {
            return Participant::Unreachable;
        };
        let address = HostPort { host, port }.to_string();
        let mut options = ClientOptions::new(&node.conf.superuser);
        options.connect_timeout = node.conf.connect_timeout;
        options.call_timeout = node.conf.socket_timeout;
        match connect_to(&address, &INTER_DATANODE_PROTOCOL, &options).await {
            Ok(client) => Participant::Remote(client),
            Err(error) => {
                tracing::info!(datanode = address, %error, "participant of a recovery cannot be reached");
                Participant::Unreachable
            }
        }
    }

    async fn init(
        &self,
        node: &Arc<DataNode>,
        block: &RecoveringBlockProto,
    ) -> Result<RecoveryAnswer, RemoteException> {
        match self {
            Participant::Unreachable => Ok(RecoveryAnswer::Failed),
            Participant::Local => {
                let (node, block) = (node.clone(), block.clone());
                let replica = tokio::task::spawn_blocking(move || init_replica(&node, &block))
                    .await
                    .map_err(|error| RemoteException::new(exceptions::IO, error.to_string()))??;
                Ok(
                    replica.map_or(RecoveryAnswer::NoReplica, |replica| RecoveryAnswer::Replica {
                        generation_stamp: replica.generation_stamp,
                        num_bytes: replica.bytes_on_disk(),
                        original_state: replica.original_state(),
                    }),
                )
            }
            Participant::Remote(client) => {
                let request = InitReplicaRecoveryRequestProto { block: block.clone() };
                let response: InitReplicaRecoveryResponseProto =
                    client.call("initReplicaRecovery", &request).await.map_err(to_remote)?;
                let state = response.state();
                match response.block.filter(|_| response.replica_found) {
                    None => Ok(RecoveryAnswer::NoReplica),
                    Some(block) => Ok(RecoveryAnswer::Replica {
                        generation_stamp: GenerationStamp(block.gen_stamp),
                        num_bytes: block.num_bytes.unwrap_or(0),
                        original_state: state_from(state),
                    }),
                }
            }
        }
    }

    async fn update(
        &self,
        node: &Arc<DataNode>,
        request: UpdateReplicaUnderRecoveryRequestProto,
    ) -> Result<String, RemoteException> {
        match self {
            Participant::Unreachable => Err(RemoteException::new(exceptions::IO, "unreachable")),
            Participant::Local => {
                let node = node.clone();
                tokio::task::spawn_blocking(move || update_replica(&node, &request))
                    .await
                    .map_err(|error| RemoteException::new(exceptions::IO, error.to_string()))?
            }
            Participant::Remote(client) => {
                let response: UpdateReplicaUnderRecoveryResponseProto = client
                    .call("updateReplicaUnderRecovery", &request)
                    .await
                    .map_err(to_remote)?;
                Ok(response.storage_uuid.unwrap_or_default())
            }
        }
    }
}

fn to_remote(error: RpcError) -> RemoteException {
    match error {
        RpcError::Remote(exception) => exception,
        other => RemoteException::new(exceptions::IO, other.to_string()),
    }
}

/// The protobuf enum.
#[must_use]
pub fn state_proto(state: ReplicaState) -> ReplicaStateProto {
    match state {
        ReplicaState::Finalized => ReplicaStateProto::Finalized,
        ReplicaState::Rbw => ReplicaStateProto::Rbw,
        ReplicaState::Rwr => ReplicaStateProto::Rwr,
        ReplicaState::Rur => ReplicaStateProto::Rur,
        ReplicaState::Temporary => ReplicaStateProto::Temporary,
    }
}

fn state_from(state: ReplicaStateProto) -> ReplicaState {
    match state {
        ReplicaStateProto::Finalized => ReplicaState::Finalized,
        ReplicaStateProto::Rbw => ReplicaState::Rbw,
        ReplicaStateProto::Rwr => ReplicaState::Rwr,
        ReplicaStateProto::Rur => ReplicaState::Rur,
        ReplicaStateProto::Temporary => ReplicaState::Temporary,
    }
}

/// Recovers a block as its primary.
pub async fn recover(node: &Arc<DataNode>, service: &Arc<Nameservice>, block: RecoveringBlockProto) {
    let id = block.block.b.block_id as i64;
    tracing::info!(block = id, recovery_id = block.new_gen_stamp, "recovering a block");
    match try_recover(node, service, &block).await {
        Ok(length) => {
            node.metrics.blocks_recovered.fetch_add(1, Ordering::Relaxed);
            tracing::info!(block = id, length, "block recovered");
        }
        Err(error) => tracing::warn!(block = id, %error, "block recovery failed"),
    }
}

async fn try_recover(
    node: &Arc<DataNode>,
    service: &Arc<Nameservice>,
    recovering: &RecoveringBlockProto,
) -> Result<u64, RemoteException> {
    let block = &recovering.block.b;
    if recovering.ec_policy.is_some() {
        return Err(RemoteException::new(
            exceptions::UNSUPPORTED_OPERATION,
            "striped blocks are not supported",
        ));
    }
    let mut participants = Vec::new();
    let mut answers = Vec::new();
    for location in &recovering.block.locs {
        let participant = Participant::connect(node, &location.id).await;
        let answer = match participant.init(node, recovering).await {
            Ok(answer) => answer,
            Err(exception) => {
                let Some(answer) = RecoveryAnswer::of_refusal(&exception) else {
                    // A newer recovery is under way, and will do the work.
                    return Err(exception);
                };
                tracing::warn!(datanode = %location.id.ip_addr, port = location.id.xfer_port, %exception, "cannot take part in the recovery");
                answer
            }
        };
        participants.push(participant);
        answers.push(answer);
    }
    let truncate = recovering.truncate_block.as_ref();
    let plan = plan_recovery(block_of(block), &answers, truncate.and_then(|block| block.num_bytes));
    let mut commit = CommitBlockSynchronizationRequestProto {
        block: block.clone(),
        new_gen_stamp: recovering.new_gen_stamp,
        new_length: 0,
        close_file: true,
        delete_block: false,
        new_taragets: vec![],
        new_target_storages: vec![],
    };
    let mut over_rot = false;
    match plan {
        RecoveryPlan::GiveUp(reason) => return Err(RemoteException::new(exceptions::IO, reason)),
        RecoveryPlan::Delete => commit.delete_block = true,
        RecoveryPlan::Synchronize {
            participants: chosen,
            new_len,
        } => {
            commit.new_length = new_len;
            let chosen: Vec<_> = chosen
                .into_iter()
                .filter_map(|index| {
                    Some((
                        participants.get(index)?,
                        recovering.block.locs.get(index)?,
                        answers.get(index)?,
                    ))
                })
                .collect();
            synchronize(node, recovering, &chosen, false, &mut commit).await;
            // The NameNode knows of no good replica any more.
            over_rot = commit.new_taragets.is_empty() && recovering.block.corrupt;
            if over_rot {
                synchronize(node, recovering, &chosen, true, &mut commit).await;
            }
            if commit.new_taragets.is_empty() {
                return Err(RemoteException::new(
                    exceptions::IO,
                    format!("Cannot recover blk_{}, all datanodes failed", block.block_id),
                ));
            }
        }
    }
    let active = service
        .active()
        .and_then(|actor| actor.client.lock().clone())
        .ok_or_else(|| RemoteException::new(exceptions::IO, "no active NameNode is known"))?;
    let _: CommitBlockSynchronizationResponseProto = active
        .call("commitBlockSynchronization", &commit)
        .await
        .map_err(to_remote)?;
    if over_rot {
        report_targets(node, recovering, &commit);
    }
    Ok(commit.new_length)
}

/// Gives the replicas the agreed length and stamp. Those that succeeded are added to `commit`.
async fn synchronize(
    node: &Arc<DataNode>,
    recovering: &RecoveringBlockProto,
    chosen: &[(&Participant, &DatanodeInfoProto, &RecoveryAnswer)],
    mismatch_stays: bool,
    commit: &mut CommitBlockSynchronizationRequestProto,
) {
    let block = &recovering.block.b;
    let new_block_id = recovering.truncate_block.as_ref().map(|block| block.block_id);
    for (participant, location, answer) in chosen {
        let RecoveryAnswer::Replica {
            num_bytes,
            generation_stamp,
            ..
        } = answer
        else {
            continue;
        };
        let request = UpdateReplicaUnderRecoveryRequestProto {
            block: ExtendedBlockProto {
                pool_id: block.pool_id.clone(),
                block_id: block.block_id,
                generation_stamp: generation_stamp.0,
                num_bytes: Some(*num_bytes),
            },
            recovery_id: recovering.new_gen_stamp,
            new_length: commit.new_length,
            new_block_id: Some(new_block_id.unwrap_or(block.block_id)),
            mismatch_stays: mismatch_stays.then_some(true),
        };
        match participant.update(node, request).await {
            Ok(storage) => {
                commit.new_taragets.push(location.id.clone());
                commit.new_target_storages.push(storage);
            }
            Err(exception) => {
                tracing::warn!(datanode = %location.id.ip_addr, port = location.id.xfer_port, %exception, "replica could not be updated");
            }
        }
    }
}

/// Reports the replicas that were cut over rot. Now that the block is complete, the NameNode remembers that they are
/// bad.
fn report_targets(node: &DataNode, recovering: &RecoveringBlockProto, commit: &CommitBlockSynchronizationRequestProto) {
    let old = &recovering.block.b;
    let Ok(pool) = node.dataset.pool(&old.pool_id) else {
        return;
    };
    let id = recovering
        .truncate_block
        .as_ref()
        .map_or(old.block_id, |block| block.block_id);
    let block = Block {
        id: BlockId(id as i64),
        num_bytes: commit.new_length,
        generation_stamp: GenerationStamp(commit.new_gen_stamp),
    };
    tracing::warn!(block = %block.id, length = block.num_bytes, "a truncate was carried out although no replica matches its checksum");
    for target in &commit.new_taragets {
        let target = DatanodeInfoProto {
            id: target.clone(),
            ..DatanodeInfoProto::default()
        };
        node.report_remote_bad_block(&pool, block, &target);
    }
}

/// The answer to `initReplicaRecovery`.
#[must_use]
pub fn init_response(replica: Option<&Replica>) -> InitReplicaRecoveryResponseProto {
    match replica {
        None => InitReplicaRecoveryResponseProto {
            replica_found: false,
            state: None,
            block: None,
        },
        Some(replica) => InitReplicaRecoveryResponseProto {
            replica_found: true,
            state: Some(state_proto(replica.original_state()) as i32),
            block: Some(BlockProto {
                block_id: replica.block_id.0 as u64,
                gen_stamp: replica.generation_stamp.0,
                num_bytes: Some(replica.bytes_on_disk()),
            }),
        },
    }
}
