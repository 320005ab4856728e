//! State that all parts of the DataNode share.

mod caching;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use hathi_blockpool::{NoticeKind, ReceivedDeleted, Replica, VolumeId};
use hathi_formats::ids::Block;
use hathi_formats::proto::common::TokenProto;
use hathi_formats::proto::hdfs::{
    DatanodeIdProto, DatanodeInfoProto, DatanodeStorageProto, LocatedBlockProto, StorageTypeProto,
};
use hathi_net::ipc::RpcMeter;
use parking_lot::RwLock;

use crate::cache::BlockCache;
use crate::config::DataNodeConf;
use crate::dataset::{Dataset, tolerated};
use crate::offer::Nameservice;
use crate::pool::Pool;
use crate::reconstructions::Reconstructions;
use crate::throttle::Throttle;
use crate::volume::is_disk_error;

/// Counters since the start of the process; Hadoop's `DataNodeMetrics`.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct DataNodeMetrics {
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    pub bytes_read: AtomicU64,
    pub bytes_written: AtomicU64,
    pub blocks_written: AtomicU64,
    pub blocks_removed: AtomicU64,
    pub blocks_replicated: AtomicU64,
    pub blocks_recovered: AtomicU64,
    pub heartbeats: AtomicU64,
    pub block_reports: AtomicU64,
    pub incremental_reports: AtomicU64,
    pub volume_failures: AtomicU64,
}

/// Ports of the listeners.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Ports {
    pub xfer: u16,
    pub http: u16,
    pub ipc: u16,
}

/// The DataNode.
#[derive(Debug)]
pub struct DataNode {
    /// The configuration.
    pub conf: DataNodeConf,
    /// Volumes and pools.
    pub dataset: Dataset,
    /// Replicas that are kept in memory.
    pub cache: BlockCache,
    /// Threads that serve connections.
    pub xceivers: AtomicUsize,
    /// Copies being sent.
    pub xmits: AtomicUsize,
    /// Internal blocks of striped files that are to be made.
    pub reconstructions: Reconstructions,
    /// Moves of the balancer under way.
    pub moves: AtomicUsize,
    /// Their bandwidth limit.
    pub balance_throttle: Throttle,
    /// Counters.
    pub metrics: DataNodeMetrics,
    /// Reads the counters of the RPC server, once it listens.
    pub rpc: OnceLock<RpcMeter>,
    /// Ports.
    pub ports: Ports,
    /// When the process started.
    pub started: Instant,
    services: RwLock<Vec<Arc<Nameservice>>>,
    refusals: AtomicUsize,
    stopping: AtomicBool,
    stop: tokio::sync::Notify,
}

impl DataNode {
    /// A DataNode that reports to no NameNode yet.
    #[must_use]
    pub fn new(conf: DataNodeConf, dataset: Dataset, ports: Ports) -> Arc<DataNode> {
        Arc::new(DataNode {
            cache: BlockCache::new(conf.cache_bytes, conf.cache_threads_per_volume),
            balance_throttle: Throttle::new(conf.balance_bandwidth),
            reconstructions: Reconstructions::new(&conf.reconstruction),
            conf,
            dataset,
            xceivers: AtomicUsize::new(0),
            xmits: AtomicUsize::new(0),
            moves: AtomicUsize::new(0),
            metrics: DataNodeMetrics::default(),
            rpc: OnceLock::new(),
            ports,
            started: Instant::now(),
            services: RwLock::default(),
            refusals: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            stop: tokio::sync::Notify::new(),
        })
    }

    /// The nameservices that it reports to.
    #[must_use]
    pub fn services(&self) -> Vec<Arc<Nameservice>> {
        self.services.read().clone()
    }

    /// Adds a nameservice.
    pub fn add_service(&self, service: Arc<Nameservice>) {
        self.services.write().push(service);
    }

    /// The nameservice that a pool belongs to.
    #[must_use]
    pub fn service_of(&self, pool_id: &str) -> Option<Arc<Nameservice>> {
        self.services
            .read()
            .iter()
            .find(|service| service.pool_id().is_some_and(|id| id == pool_id))
            .cloned()
    }

    /// Whether the process is about to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Asks the process to end.
    pub fn shut_down(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.notify_waiters();
        self.stop.notify_one();
    }

    /// Counts a NameNode that refused this DataNode for good. When all have, the process ends.
    pub fn on_refused(&self) {
        let all: usize = self.services.read().iter().map(|service| service.actors.len()).sum();
        if self.refusals.fetch_add(1, Ordering::AcqRel) + 1 >= all {
            tracing::error!("every NameNode refuses this DataNode, stopping");
            self.shut_down();
        }
    }

    /// Waits until the process is asked to end.
    pub async fn stopped(&self) {
        if !self.is_stopping() {
            self.stop.notified().await;
        }
    }

    /// The identity of this DataNode for NameNodes, clients and other DataNodes.
    #[must_use]
    pub fn datanode_id(&self) -> DatanodeIdProto {
        DatanodeIdProto {
            ip_addr: self.conf.xfer_address.ip().to_string(),
            host_name: self.conf.host_name.clone(),
            datanode_uuid: self.dataset.datanode_uuid().to_owned(),
            xfer_port: self.ports.xfer.into(),
            info_port: self.ports.http.into(),
            ipc_port: self.ports.ipc.into(),
            info_secure_port: Some(0),
        }
    }

    /// The identity with its state, for requests to other DataNodes.
    #[must_use]
    pub fn own_info(&self) -> DatanodeInfoProto {
        DatanodeInfoProto {
            id: self.datanode_id(),
            location: Some("/default-rack".to_owned()),
            ..DatanodeInfoProto::default()
        }
    }

    /// A storage in the form of reports.
    #[must_use]
    pub fn storage_proto(&self, storage_id: &str) -> DatanodeStorageProto {
        let kind = self
            .dataset
            .volumes()
            .iter()
            .find(|volume| volume.storage_id == storage_id)
            .map_or(StorageTypeProto::Disk, |volume| volume.storage_type);
        DatanodeStorageProto {
            storage_uuid: storage_id.to_owned(),
            state: None,
            storage_type: Some(kind as i32),
        }
    }

    /// Tells every NameNode of the pool's nameservice what happened to a replica.
    pub fn notify(&self, pool_id: &str, block: Block, kind: NoticeKind, storage_id: &str, delete_hint: &str) {
        if let Some(service) = self.service_of(pool_id) {
            let notice = ReceivedDeleted {
                block,
                kind,
                delete_hint: delete_hint.to_owned(),
            };
            service.notify(storage_id, &notice);
        }
    }

    /// Reports a bad replica of this DataNode to the NameNodes, which have another one made.
    pub fn report_bad_block(&self, pool_id: &str, replica: &Replica) {
        let (Some(service), Ok(pool), Some(volume)) = (
            self.service_of(pool_id),
            self.dataset.pool(pool_id),
            self.dataset.volume(replica.volume),
        ) else {
            return;
        };
        tracing::warn!(block = %replica.block_id, "reporting a bad replica");
        service.report_bad(LocatedBlockProto {
            // Always false in Hadoop. Here: its own DataNode has found the replica to be bad, while nothing could change it.
            corrupt: true,
            ..self.located(&pool, replica.block(), self.own_info(), Some(&volume.storage_id))
        });
    }

    /// Reports a replica of another DataNode whose data did not match its checksums.
    pub fn report_remote_bad_block(&self, pool: &Pool, block: Block, source: &DatanodeInfoProto) {
        if let Some(service) = self.service_of(pool.id()) {
            service.report_bad_elsewhere(self.located(pool, block, source.clone(), None));
        }
    }

    fn located(
        &self,
        pool: &Pool,
        block: Block,
        location: DatanodeInfoProto,
        storage_id: Option<&str>,
    ) -> LocatedBlockProto {
        LocatedBlockProto {
            b: pool.extended(block),
            offset: 0,
            locs: vec![location],
            corrupt: false,
            block_token: TokenProto::default(),
            is_cached: vec![false],
            storage_types: storage_id
                .map(|id| self.storage_proto(id).storage_type.unwrap_or_default())
                .into_iter()
                .collect(),
            storage_i_ds: storage_id.map(str::to_owned).into_iter().collect(),
            block_indices: None,
            block_tokens: vec![],
        }
    }

    /// Handles a disk error of a volume. If the disk is broken the volume is dropped. If too many volumes are, the
    /// process ends.
    pub fn on_disk_error(&self, volume: VolumeId, error: &std::io::Error) {
        if !is_disk_error(error) {
            return;
        }
        let Some(failed) = self.dataset.fail_volume(volume) else {
            return;
        };
        self.metrics.volume_failures.fetch_add(1, Ordering::Relaxed);
        let enough = failed as u64 <= tolerated(self.conf.failed_volumes_tolerated, self.conf.data_dirs.len())
            && !self.dataset.volumes().is_empty();
        let text = format!("DataNode failed volume: {error}");
        for service in self.services() {
            service.on_volume_failure(enough, &text);
        }
        if !enough {
            tracing::error!("too many volumes failed, stopping");
            self.shut_down();
        }
    }
}
