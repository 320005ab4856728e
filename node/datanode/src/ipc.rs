//! The RPC server of the DataNode: ClientDatanodeProtocol and InterDatanodeProtocol.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hathi_blockpool::ReplicaError;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{BlockId, GenerationStamp};
use hathi_formats::proto::hdfs::{
    DatanodeLocalInfoProto, DatanodeVolumeInfoProto, DeleteBlockPoolRequestProto, EvictWritersResponseProto,
    GetBalancerBandwidthResponseProto, GetBlockLocalPathInfoRequestProto, GetBlockLocalPathInfoResponseProto,
    GetDatanodeInfoResponseProto, GetReplicaVisibleLengthRequestProto, GetReplicaVisibleLengthResponseProto,
    GetVolumeReportResponseProto, InitReplicaRecoveryRequestProto, ListReconfigurablePropertiesResponseProto,
    RefreshNamenodesResponseProto, ShutdownDatanodeResponseProto, TriggerBlockReportRequestProto,
    TriggerBlockReportResponseProto, UpdateReplicaUnderRecoveryRequestProto, UpdateReplicaUnderRecoveryResponseProto,
};
use hathi_net::ipc::protocols::{CLIENT_DATANODE_PROTOCOL, INTER_DATANODE_PROTOCOL};
use hathi_net::ipc::{Protocol, Responder, RpcCall, RpcHandler};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::config::SOFTWARE_VERSION;
use crate::node::DataNode;
use crate::pool::PoolError;
use crate::recovery;

type Answer<T> = Result<T, RemoteException>;

/// Calls that wait for a thread or are served on one; more are refused.
const CALLS_MAX: usize = 1024;

/// Serves the calls; those that wait for disks or writers run on the runtime's blocking threads.
pub struct Server {
    node: Arc<DataNode>,
    runtime: Handle,
    calls: Arc<Semaphore>,
}

impl Server {
    /// A server.
    #[must_use]
    pub fn new(node: Arc<DataNode>, runtime: Handle) -> Server {
        Server {
            node,
            runtime,
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }
}

fn remote(error: &PoolError) -> RemoteException {
    RemoteException::new(error.class(), error.to_string())
}

impl RpcHandler for Server {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![&CLIENT_DATANODE_PROTOCOL, &INTER_DATANODE_PROTOCOL]
    }

    fn call(&self, call: RpcCall, reply: Responder) {
        let node = self.node.clone();
        // Everything but these may wait for a disk.
        match call.method {
            "getDatanodeInfo" => reply.ok(&datanode_info(&node)),
            "getBalancerBandwidth" => reply.ok(&GetBalancerBandwidthResponseProto {
                bandwidth: node.balance_throttle.bandwidth(),
            }),
            _ => {
                let Ok(place) = self.calls.clone().try_acquire_owned() else {
                    return reply.error(&RemoteException::new(exceptions::RETRIABLE, "Server too busy"));
                };
                self.runtime.spawn_blocking(move || {
                    serve(&node, &call, reply);
                    drop(place);
                });
            }
        }
    }
}

fn serve(node: &Arc<DataNode>, call: &RpcCall, reply: Responder) {
    match call.method {
        "getReplicaVisibleLength" => reply.send(visible_length(node, call)),
        "initReplicaRecovery" => reply.send(
            call.decode::<InitReplicaRecoveryRequestProto>()
                .and_then(|request| recovery::init_replica(node, &request.block))
                .map(|replica| recovery::init_response(replica.as_ref())),
        ),
        "updateReplicaUnderRecovery" => reply.send(
            call.decode::<UpdateReplicaUnderRecoveryRequestProto>()
                .and_then(|request| recovery::update_replica(node, &request))
                .map(|storage| UpdateReplicaUnderRecoveryResponseProto {
                    storage_uuid: Some(storage),
                }),
        ),
        "triggerBlockReport" => reply.send(superuser(node, call).and_then(|()| trigger_block_report(node, call))),
        "getVolumeReport" => reply.send(superuser(node, call).map(|()| volume_report(node))),
        "refreshNamenodes" => reply.send(superuser(node, call).map(|()| RefreshNamenodesResponseProto {})),
        "evictWriters" => reply.send(superuser(node, call).map(|()| {
            node.dataset.stop_writers();
            EvictWritersResponseProto {}
        })),
        "shutdownDatanode" => {
            let allowed = superuser(node, call);
            let stop = allowed.is_ok();
            reply.send(allowed.map(|()| ShutdownDatanodeResponseProto {}));
            if stop {
                // The reply must leave before the process does.
                std::thread::sleep(std::time::Duration::from_millis(100));
                node.shut_down();
            }
        }
        "getBlockLocalPathInfo" => reply.send(local_path(node, call)),
        "listReconfigurableProperties" => {
            reply.send(superuser(node, call).map(|()| ListReconfigurablePropertiesResponseProto { name: vec![] }))
        }
        "deleteBlockPool" => reply.send::<RefreshNamenodesResponseProto>(
            superuser(node, call)
                .and_then(|()| call.decode::<DeleteBlockPoolRequestProto>())
                .and_then(|request| delete_block_pool(node, &request)),
        ),
        other => reply.send::<RefreshNamenodesResponseProto>(Err(RemoteException::new(
            exceptions::UNSUPPORTED_OPERATION,
            format!("{other} is not supported by this DataNode"),
        ))),
    }
}

fn superuser(node: &DataNode, call: &RpcCall) -> Answer<()> {
    let user = &call.user.user;
    let administrators = &node.conf.administrators;
    // This runs on a thread that may wait.
    if administrators
        .include(user)
        .unwrap_or_else(|| Handle::current().block_on(administrators.ask(user)))
    {
        return Ok(());
    }
    Err(RemoteException::new(
        exceptions::ACCESS_CONTROL,
        format!(
            "Access denied for user {}. Superuser privilege is required",
            call.user.user
        ),
    ))
}

fn datanode_info(node: &DataNode) -> GetDatanodeInfoResponseProto {
    GetDatanodeInfoResponseProto {
        local_info: DatanodeLocalInfoProto {
            software_version: SOFTWARE_VERSION.to_owned(),
            config_version: format!("core-{SOFTWARE_VERSION},hdfs-1"),
            uptime: node.started.elapsed().as_secs(),
        },
    }
}

fn visible_length(node: &DataNode, call: &RpcCall) -> Answer<GetReplicaVisibleLengthResponseProto> {
    let request: GetReplicaVisibleLengthRequestProto = call.decode()?;
    let block = &request.block;
    let pool = node.dataset.pool(&block.pool_id).map_err(|error| remote(&error))?;
    let id = BlockId(block.block_id as i64);
    let missing = || {
        let text = format!(
            "Replica not found for {}:blk_{id}_{}",
            block.pool_id, block.generation_stamp
        );
        remote(&PoolError::Replica(ReplicaError::NotFound(text)))
    };
    let replica = pool.get(id).ok_or_else(missing)?;
    if replica.generation_stamp < GenerationStamp(block.generation_stamp) {
        return Err(RemoteException::new(
            exceptions::IO,
            format!(
                "replica.getGenerationStamp() < block.getGenerationStamp(), block=blk_{id}_{}, replica={}",
                block.generation_stamp,
                replica.describe()
            ),
        ));
    }
    Ok(GetReplicaVisibleLengthResponseProto {
        // Java's -1 where nothing is visible.
        length: replica.visible_length().unwrap_or(u64::MAX),
    })
}

fn trigger_block_report(node: &DataNode, call: &RpcCall) -> Answer<TriggerBlockReportResponseProto> {
    let request: TriggerBlockReportRequestProto = call.decode()?;
    for service in node.services() {
        for actor in &service.actors {
            if request
                .nn_address
                .as_ref()
                .is_some_and(|wanted| *wanted != actor.address.to_string())
            {
                continue;
            }
            if request.incremental {
                actor.reports.lock().trigger();
            } else {
                actor.force_report.store(true, Ordering::Release);
            }
            actor.wake.notify_one();
        }
    }
    Ok(TriggerBlockReportResponseProto {})
}

fn volume_report(node: &DataNode) -> GetVolumeReportResponseProto {
    let mut blocks = std::collections::HashMap::new();
    let ids: Vec<_> = node.dataset.volumes().iter().map(|volume| volume.id).collect();
    for pool in node.dataset.pools() {
        for (volume, report) in pool.report(&ids) {
            *blocks.entry(volume).or_insert(0) += report.len();
        }
    }
    GetVolumeReportResponseProto {
        volume_info: node
            .dataset
            .volume_reports("")
            .into_iter()
            .map(|report| DatanodeVolumeInfoProto {
                path: report.volume.root.display().to_string(),
                storage_type: report.volume.storage_type as i32,
                used_space: report.used,
                free_space: report.remaining,
                reserved_space: node.conf.reserved_bytes,
                reserved_space_for_replicas: report.volume.reserved_for_replicas(),
                num_blocks: blocks.get(&report.volume.id).copied().unwrap_or(0),
            })
            .collect(),
    }
}

fn local_path(node: &DataNode, call: &RpcCall) -> Answer<GetBlockLocalPathInfoResponseProto> {
    let request: GetBlockLocalPathInfoRequestProto = call.decode()?;
    superuser(node, call)?;
    let pool = node
        .dataset
        .pool(&request.block.pool_id)
        .map_err(|error| remote(&error))?;
    let files = node
        .dataset
        .paths(&pool, BlockId(request.block.block_id as i64))
        .ok_or_else(|| RemoteException::new(exceptions::REPLICA_NOT_FOUND, "Replica not found"))?;
    Ok(GetBlockLocalPathInfoResponseProto {
        block: request.block,
        local_path: files.data.display().to_string(),
        local_meta_path: files.meta.display().to_string(),
    })
}

fn delete_block_pool(node: &DataNode, request: &DeleteBlockPoolRequestProto) -> Answer<RefreshNamenodesResponseProto> {
    let served = node.service_of(&request.block_pool).is_some();
    Err(RemoteException::new(
        exceptions::IO,
        if served {
            "The block pool is still running. First do a refreshNamenodes to shutdown the block pool service".to_owned()
        } else {
            format!("block pool {} is not known", request.block_pool)
        },
    ))
}
