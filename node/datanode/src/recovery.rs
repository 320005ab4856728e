//! Block recovery. The primary brings the replicas of a block to one length (`BlockRecoveryWorker`). The other
//! DataNodes take part.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hathi_blockpool::recovery::participant::{block_of, end_is_bad, init_response, recovered_id};
use hathi_blockpool::{BlockRecovery, NoticeKind, RecoveredBlock, RecoveryAction, RecoveryEvent, Replica};
use hathi_conf::HostPort;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::datanode::{CommitBlockSynchronizationRequestProto, CommitBlockSynchronizationResponseProto};
use hathi_formats::proto::hdfs::{
    DatanodeIdProto, DatanodeInfoProto, InitReplicaRecoveryRequestProto, InitReplicaRecoveryResponseProto,
    RecoveringBlockProto, UpdateReplicaUnderRecoveryRequestProto, UpdateReplicaUnderRecoveryResponseProto,
};
use hathi_net::ipc::protocols::INTER_DATANODE_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError, connect_to};
use hathi_storage::OsDisk;

use crate::node::DataNode;
use crate::offer::Nameservice;
use crate::pool::PoolError;

fn remote(error: &PoolError) -> RemoteException {
    RemoteException::new(error.class(), error.to_string())
}

/// Sets a replica aside (`initReplicaRecovery`). Blocks while a writer stops.
pub fn init_replica(
    node: &DataNode,
    request: &RecoveringBlockProto,
) -> Result<InitReplicaRecoveryResponseProto, RemoteException> {
    let proto = &request.block.b;
    let pool = node.dataset.pool(&proto.pool_id).map_err(|error| remote(&error))?;
    let block = block_of(proto);
    let changed = node
        .dataset
        .transition(&pool, block.id, |map| {
            let data_len = map
                .get(block.id)
                .and_then(|replica| pool.files(replica))
                .and_then(|files| std::fs::metadata(files.data).ok())
                .map(|metadata| metadata.len());
            map.init_replica_recovery(request, data_len)
        })
        .map_err(|error| {
            tracing::info!(block = %block.id, %error, "recovery refused");
            remote(&error)
        })?;
    let replica = changed.and_then(|(_, after)| after);
    // Nothing changes it now but this recovery, or a newer one, which ends this one.
    let is_bad = |replica: &Replica| {
        pool.files(replica)
            .is_some_and(|files| end_is_bad(&OsDisk, &files, replica))
    };
    Ok(InitReplicaRecoveryResponseProto {
        end_is_bad: replica.as_ref().map(is_bad).filter(|bad| *bad),
        ..init_response(replica.as_ref())
    })
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
    let (old, recovered) = (block_of(&request.block), recovered_id(request));
    let changed = node
        .dataset
        .transition(&pool, old.id, |map| {
            map.update_replica_under_recovery(request).map(Some)
        })
        .map_err(|error| {
            // The check was made under the replica's lock: the last chunk has rotted, and gets no new checksum.
            if let (PoolError::Corrupt(text), Some(replica)) = (&error, pool.get(old.id)) {
                tracing::warn!(block = %old.id, %text, "a replica under recovery is bad");
                node.report_bad_block(pool.id(), &replica);
            }
            remote(&error)
        })?;
    let replica = changed
        .and_then(|(_, after)| after.filter(|replica| replica.block_id == recovered))
        .or_else(|| pool.get(recovered))
        .ok_or_else(|| RemoteException::new(exceptions::IO, "the replica is gone"))?;
    let storage = node
        .dataset
        .volume(replica.volume)
        .map(|volume| volume.storage_id.clone())
        .unwrap_or_default();
    // The replica is complete now, so NameNodes are told its new length.
    node.notify(pool.id(), replica.block(), NoticeKind::Received, &storage, "");
    node.on_recovered(&pool, old.id, &replica);
    Ok(storage)
}

/// Recovers a block as its primary: does what the recovery asks for, until it has ended.
pub async fn recover(node: &Arc<DataNode>, service: &Nameservice, order: RecoveringBlockProto) {
    let mut recovery = BlockRecovery::new(order);
    let block = recovery.block().id;
    tracing::info!(%block, recovery_id = %recovery.id(), "recovering a block");
    let mut primary = Primary {
        node,
        others: BTreeMap::new(),
    };
    let end = loop {
        let event = match recovery.action().clone() {
            RecoveryAction::Init { datanode } => primary.init(&recovery, datanode).await,
            RecoveryAction::Update { datanode, request } => primary.update(datanode, request).await,
            RecoveryAction::Commit(result) => commit(service, &result).await,
            RecoveryAction::End(end) => break end,
        };
        log_failure(&recovery, &event);
        recovery.on(event);
    };
    match end {
        Ok(recovered) => {
            node.metrics.blocks_recovered.fetch_add(1, Ordering::Relaxed);
            tracing::info!(%block, length = recovered.block.num_bytes, "block recovered");
            report_bad(node, &recovery.order().block.b.pool_id, &recovered);
        }
        Err(error) => tracing::warn!(%block, %error, "block recovery failed"),
    }
}

fn log_failure(recovery: &BlockRecovery, event: &RecoveryEvent) {
    let (RecoveryAction::Init { datanode } | RecoveryAction::Update { datanode, .. }) = recovery.action() else {
        return;
    };
    let error = match event {
        RecoveryEvent::Refused(exception) => exception.to_string(),
        RecoveryEvent::NoAnswer(why) => why.clone(),
        RecoveryEvent::Initialized(_) | RecoveryEvent::Updated { .. } | RecoveryEvent::Committed => return,
    };
    if let Some(location) = recovery.order().block.locs.get(*datanode) {
        let (host, port) = (&location.id.ip_addr, location.id.xfer_port);
        tracing::warn!(block = %recovery.block().id, datanode = %host, port, %error, "cannot take part in the recovery");
    }
}

/// The primary's connections.
struct Primary<'a> {
    node: &'a Arc<DataNode>,
    /// To the other DataNodes, by their index in the order. The primary itself is not among them.
    others: BTreeMap<usize, RpcClient>,
}

impl Primary<'_> {
    async fn init(&mut self, recovery: &BlockRecovery, datanode: usize) -> RecoveryEvent {
        let location = recovery.order().block.locs.get(datanode);
        let (Some(location), Some(question)) = (location, recovery.question(datanode)) else {
            return RecoveryEvent::NoAnswer("the order does not name it".to_owned());
        };
        if location.id.datanode_uuid == self.node.dataset.datanode_uuid() {
            let node = self.node.clone();
            let init = move || init_replica(&node, &question);
            return here(init, RecoveryEvent::Initialized).await;
        }
        let client = match connect(self.node, &location.id).await {
            Ok(client) => client,
            Err(error) => return RecoveryEvent::NoAnswer(error),
        };
        let request = InitReplicaRecoveryRequestProto { block: question };
        let answer: Result<InitReplicaRecoveryResponseProto, _> = client.call("initReplicaRecovery", &request).await;
        self.others.insert(datanode, client);
        answer.map_or_else(failure, RecoveryEvent::Initialized)
    }

    async fn update(&self, datanode: usize, request: UpdateReplicaUnderRecoveryRequestProto) -> RecoveryEvent {
        let updated = |storage_id| RecoveryEvent::Updated { storage_id };
        let Some(client) = self.others.get(&datanode) else {
            let node = self.node.clone();
            return here(move || update_replica(&node, &request), updated).await;
        };
        let answer: Result<UpdateReplicaUnderRecoveryResponseProto, _> =
            client.call("updateReplicaUnderRecovery", &request).await;
        answer.map_or_else(failure, |answer| updated(answer.storage_uuid.unwrap_or_default()))
    }
}

/// Does something with a replica of this DataNode.
async fn here<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RemoteException> + Send + 'static,
    event: impl FnOnce(T) -> RecoveryEvent,
) -> RecoveryEvent {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => event(done),
        Ok(Err(exception)) => RecoveryEvent::Refused(exception),
        Err(error) => RecoveryEvent::NoAnswer(error.to_string()),
    }
}

fn failure(error: RpcError) -> RecoveryEvent {
    match error {
        RpcError::Remote(exception) => RecoveryEvent::Refused(exception),
        other => RecoveryEvent::NoAnswer(other.to_string()),
    }
}

async fn connect(node: &DataNode, id: &DatanodeIdProto) -> Result<RpcClient, String> {
    let host = if node.conf.connect_via_hostname {
        id.host_name.clone()
    } else {
        id.ip_addr.clone()
    };
    let port = u16::try_from(id.ipc_port).map_err(|_| format!("{} is no port", id.ipc_port))?;
    let address = HostPort { host, port }.to_string();
    let mut options = ClientOptions::new(&node.conf.superuser);
    options.connect_timeout = node.conf.connect_timeout;
    options.call_timeout = node.conf.socket_timeout;
    let connected = connect_to(&address, &INTER_DATANODE_PROTOCOL, &options).await;
    connected.map_err(|error| error.to_string())
}

async fn commit(service: &Nameservice, result: &CommitBlockSynchronizationRequestProto) -> RecoveryEvent {
    let Some(active) = service.active().and_then(|actor| actor.client.lock().clone()) else {
        return RecoveryEvent::NoAnswer("no active NameNode is known".to_owned());
    };
    let answer: Result<CommitBlockSynchronizationResponseProto, _> =
        active.call("commitBlockSynchronization", result).await;
    answer.map_or_else(failure, |_| RecoveryEvent::Committed)
}

fn report_bad(node: &DataNode, pool_id: &str, recovered: &RecoveredBlock) {
    let Ok(pool) = node.dataset.pool(pool_id) else {
        return;
    };
    let block = recovered.block;
    for id in &recovered.bad_on {
        tracing::warn!(block = %block.id, length = block.num_bytes, "a truncate was carried out although no replica matches its checksum");
        let location = DatanodeInfoProto {
            id: id.clone(),
            ..DatanodeInfoProto::default()
        };
        node.report_remote_bad_block(&pool, block, &location);
    }
}
