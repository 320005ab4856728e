//! The RPC server of the DataNode: ClientDatanodeProtocol and InterDatanodeProtocol.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hathi_blockpool::ReplicaError;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{BlockId, GenerationStamp};
use hathi_formats::proto::hdfs::{
    DatanodeLocalInfoProto, DatanodeVolumeInfoProto, DeleteBlockPoolRequestProto, EvictWritersResponseProto,
    GetBalancerBandwidthResponseProto, GetBlockLocalPathInfoRequestProto, GetBlockLocalPathInfoResponseProto,
    GetDatanodeInfoResponseProto, GetReconfigurationStatusResponseProto, GetReplicaVisibleLengthRequestProto,
    GetReplicaVisibleLengthResponseProto, GetVolumeReportResponseProto, InitReplicaRecoveryRequestProto,
    ListReconfigurablePropertiesResponseProto, RefreshNamenodesResponseProto, ShutdownDatanodeResponseProto,
    TriggerBlockReportRequestProto, TriggerBlockReportResponseProto, UpdateReplicaUnderRecoveryRequestProto,
    UpdateReplicaUnderRecoveryResponseProto,
};
use hathi_net::ipc::protocols::{
    CLIENT_DATANODE_PROTOCOL, ClientDatanodeMethod as M, INTER_DATANODE_PROTOCOL, InterDatanodeMethod,
};
use hathi_net::ipc::{Method, Protocol, Responder, RpcCall, RpcHandler};
use parking_lot::{Condvar, Mutex};
use prost::bytes::Bytes;
use tokio::runtime::Handle;

use crate::config::SOFTWARE_VERSION;
use crate::node::DataNode;
use crate::pool::PoolError;
use crate::recovery;

type Answer<T> = Result<T, RemoteException>;

/// Most calls that wait for a thread. Further ones are refused.
const WAITING_MAX: usize = 1024;
/// Most bytes of their requests. Further ones are refused. A well-meant request has some hundred bytes.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Most threads that serve calls at the same time. Hadoop has 10 (`dfs.datanode.handler.count`). Here some may wait for
/// writers to stop while others go on. A thread takes half a megabyte of stack and heap as long as it gets work now and
/// then, so there is not one for each call of a burst.
const HANDLERS_MAX: usize = 32;

/// How long an idle thread waits for a call before it ends.
const HANDLER_PATIENCE: Duration = Duration::from_secs(10);
/// Stack of these threads.
const HANDLER_STACK_BYTES: usize = 512 << 10;

/// Serves the calls. Calls that wait for disks or writers run on a limited number of threads.
pub struct Server {
    node: Arc<DataNode>,
    handlers: Arc<Handlers>,
}

/// The threads that serve calls. The runtime's blocking threads are not used: the runtime starts a new thread whenever
/// none is free at that moment, although in a burst of short calls many threads are about to become free.
struct Handlers {
    calls: Mutex<Calls>,
    came: Condvar,
    /// Runtime for asynchronous work of these threads.
    runtime: Handle,
}

#[derive(Default)]
struct Calls {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    threads: usize,
    idle_threads: usize,
}

/// A waiting call. It holds the DataNode, and an idle thread does not, so that idle threads do not keep a DataNode that
/// has ended.
struct Waiting {
    node: Arc<DataNode>,
    call: RpcCall,
    reply: Responder,
}

impl Server {
    /// The server of a DataNode.
    #[must_use]
    pub fn new(node: Arc<DataNode>, runtime: Handle) -> Server {
        Server {
            node,
            handlers: Arc::new(Handlers {
                calls: Mutex::default(),
                came: Condvar::new(),
                runtime,
            }),
        }
    }

    fn serve_in_turn(&self, mut call: RpcCall, reply: Responder) {
        let busy = || RemoteException::new(exceptions::RETRIABLE, "Server too busy");
        let handlers = &self.handlers;
        let mut calls = handlers.calls.lock();
        let bytes = calls.waiting_bytes.saturating_add(call.body.len());
        if calls.waiting.len() >= WAITING_MAX || bytes > WAITING_BYTES_MAX {
            drop(calls);
            return reply.error(&busy());
        }
        // The copy frees the other calls of the same frames while this call waits.
        call.body = Bytes::copy_from_slice(&call.body);
        if calls.idle_threads <= calls.waiting.len() && calls.threads < HANDLERS_MAX {
            let thread = std::thread::Builder::new()
                .name("dn-handler".to_owned())
                .stack_size(HANDLER_STACK_BYTES);
            let serving = handlers.clone();
            match thread.spawn(move || serving.run()) {
                Ok(_) => calls.threads += 1,
                Err(error) => tracing::warn!(%error, "cannot start a thread for calls"),
            }
            if calls.threads == 0 {
                drop(calls);
                return reply.error(&busy());
            }
        }
        let node = self.node.clone();
        calls.waiting_bytes = bytes;
        calls.waiting.push_back(Waiting { node, call, reply });
        drop(calls);
        handlers.came.notify_one();
    }
}

impl Handlers {
    fn run(&self) {
        let _context = self.runtime.enter();
        while let Some(Waiting { node, call, reply }) = self.next() {
            let served = std::panic::catch_unwind(AssertUnwindSafe(|| serve(&node, &call, reply)));
            if served.is_err() {
                tracing::error!(method = call.method.name(), "a call panicked");
            }
        }
    }

    /// The next call. `None` when the thread should end.
    fn next(&self) -> Option<Waiting> {
        let mut calls = self.calls.lock();
        loop {
            if let Some(next) = calls.waiting.pop_front() {
                calls.waiting_bytes -= next.call.body.len();
                return Some(next);
            }
            calls.idle_threads += 1;
            let timed_out = self.came.wait_for(&mut calls, HANDLER_PATIENCE).timed_out();
            calls.idle_threads -= 1;
            if timed_out && calls.waiting.is_empty() {
                calls.threads -= 1;
                return None;
            }
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
        // All other methods may wait for a disk.
        match call.method {
            Method::ClientDatanode(M::GetDatanodeInfo) => reply.ok(&datanode_info(&self.node)),
            Method::ClientDatanode(M::GetBalancerBandwidth) => reply.ok(&GetBalancerBandwidthResponseProto {
                bandwidth: self.node.balance_throttle.bandwidth(),
            }),
            _ => self.serve_in_turn(call, reply),
        }
    }
}

fn serve(node: &Arc<DataNode>, call: &RpcCall, reply: Responder) {
    match call.method {
        Method::ClientDatanode(M::GetReplicaVisibleLength) => reply.send(visible_length(node, call)),
        Method::InterDatanode(InterDatanodeMethod::InitReplicaRecovery) => reply.send(
            call.decode::<InitReplicaRecoveryRequestProto>()
                .and_then(|request| recovery::init_replica(node, &request.block)),
        ),
        Method::InterDatanode(InterDatanodeMethod::UpdateReplicaUnderRecovery) => reply.send(
            call.decode::<UpdateReplicaUnderRecoveryRequestProto>()
                .and_then(|request| recovery::update_replica(node, &request))
                .map(|storage| UpdateReplicaUnderRecoveryResponseProto {
                    storage_uuid: Some(storage),
                }),
        ),
        Method::ClientDatanode(M::TriggerBlockReport) => {
            reply.send(superuser(node, call).and_then(|()| trigger_block_report(node, call)))
        }
        Method::ClientDatanode(M::GetVolumeReport) => reply.send(superuser(node, call).map(|()| volume_report(node))),
        Method::ClientDatanode(M::RefreshNamenodes) => {
            reply.send::<RefreshNamenodesResponseProto>(superuser(node, call).and_then(|()| {
                let why = "the NameNodes of this DataNode are read when it starts";
                Err(RemoteException::new(exceptions::UNSUPPORTED_OPERATION, why))
            }))
        }
        Method::ClientDatanode(M::EvictWriters) => reply.send(superuser(node, call).map(|()| {
            node.dataset.stop_writers();
            EvictWritersResponseProto {}
        })),
        Method::ClientDatanode(M::ShutdownDatanode) => {
            let allowed = superuser(node, call);
            let stop = allowed.is_ok();
            reply.send(allowed.map(|()| ShutdownDatanodeResponseProto {}));
            if stop {
                // The reply must leave before the process ends.
                std::thread::sleep(Duration::from_millis(100));
                node.shut_down();
            }
        }
        Method::ClientDatanode(M::GetBlockLocalPathInfo) => reply.send(local_path(node, call)),
        Method::ClientDatanode(M::ListReconfigurableProperties) => {
            reply.send(superuser(node, call).map(|()| ListReconfigurablePropertiesResponseProto { name: vec![] }))
        }
        Method::ClientDatanode(M::GetReconfigurationStatus) => {
            reply.send(superuser(node, call).map(|()| GetReconfigurationStatusResponseProto::default()))
        }
        Method::ClientDatanode(M::DeleteBlockPool) => reply.send::<RefreshNamenodesResponseProto>(
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
    // This runs on a thread that may block.
    if administrators
        .include(user)
        .unwrap_or_else(|| Handle::current().block_on(administrators.ask(user)))
    {
        return Ok(());
    }
    Err(RemoteException::not_superuser(user))
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
        // Java's -1 if no byte is visible.
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
