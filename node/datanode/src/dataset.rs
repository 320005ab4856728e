//! All volumes and block pools of the DataNode, and the writers of replicas (`FsDatasetImpl`, `FsVolumeList`).

use std::collections::{BTreeMap, HashMap};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hathi_blockpool::{Replica, ReplicaError, ReplicaFiles, ReplicaMap, ReplicaState, Transition, VolumeId, WriterId};
use hathi_formats::ids::{Block, BlockId, NamespaceInfo};
use hathi_formats::proto::hdfs::StorageTypeProto;
use hathi_storage::OsDisk;
use parking_lot::{Mutex, RwLock};

use crate::DataNodeError;
use crate::config::DataNodeConf;
use crate::pool::{Pool, PoolError};
use crate::volume::Volume;

/// A thread that writes a replica, for threads that want to stop it.
#[derive(Debug)]
pub struct WriterControl {
    /// Id of the writer in the replica map.
    pub id: WriterId,
    stopped: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl WriterControl {
    /// Adds a connection that is closed when the writer is stopped, so that it notices.
    pub fn add_socket(&self, socket: TcpStream) {
        if self.is_stopped() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.sockets.lock().push(socket);
    }

    /// Whether it was told to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Tells it to stop.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        for socket in self.sockets.lock().iter() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// A volume that is no longer used because its disk failed.
#[derive(Clone, Debug)]
pub struct FailedVolume {
    /// The directory.
    pub path: String,
    /// Time of the failure, in ms since 1970.
    pub at_ms: u64,
    /// Its capacity in bytes, as last known.
    pub capacity: u64,
}

/// Numbers for heartbeats and metrics of one volume.
#[derive(Clone, Debug)]
pub struct VolumeReport {
    /// The volume.
    pub volume: Arc<Volume>,
    /// Capacity in bytes.
    pub capacity: u64,
    /// Bytes used by all pools.
    pub used: u64,
    /// Bytes used by the pool of the report.
    pub pool_used: u64,
    /// Bytes free for replicas.
    pub remaining: u64,
}

/// The volumes and pools.
#[derive(Debug)]
pub struct Dataset {
    volumes: Vec<Arc<Volume>>,
    pools: RwLock<HashMap<String, Arc<Pool>>>,
    // Held while a pool is being opened, so that the handshakes with two NameNodes do not both open it.
    opening: Mutex<()>,
    failed: Mutex<Vec<FailedVolume>>,
    writers: Mutex<HashMap<WriterId, Arc<WriterControl>>>,
    next_writer: AtomicU64,
    next_volume: AtomicUsize,
    datanode_uuid: String,
    rollback: bool,
    writer_stop_timeout: Duration,
    choose_by_space: Option<(u64, f64)>,
}

fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

impl Dataset {
    /// Opens the volumes. A pool is opened when a NameNode names it.
    pub fn open(conf: &DataNodeConf) -> Result<Dataset, DataNodeError> {
        let mut volumes = Vec::new();
        let mut failed = Vec::new();
        let mut last_error = None;
        for (index, location) in conf.data_dirs.iter().enumerate() {
            let id = VolumeId(u16::try_from(index).map_err(|_| DataNodeError::Config("too many volumes".to_owned()))?);
            match Volume::open(id, location, conf.data_dir_mode, conf.reserved_bytes) {
                Ok(volume) => volumes.push(Arc::new(volume)),
                Err(error) => {
                    tracing::error!(%error, path = %location.path.display(), "volume cannot be used");
                    failed.push(FailedVolume {
                        path: location.path.display().to_string(),
                        at_ms: now_ms(),
                        capacity: 0,
                    });
                    last_error = Some(error);
                }
            }
        }
        let tolerated = tolerated(conf.failed_volumes_tolerated, conf.data_dirs.len());
        if (failed.len() as u64 > tolerated || volumes.is_empty())
            && let Some(error) = last_error
        {
            return Err(error);
        }
        let mut uuid: Option<String> = None;
        for volume in &volumes {
            match (volume.datanode_uuid(), &uuid) {
                (Some(found), Some(known)) if found != *known => {
                    return Err(DataNodeError::Storage(format!(
                        "{}: has a different datanodeUuid ({found}) than another volume ({known})",
                        volume.root.display()
                    )));
                }
                (Some(found), None) => uuid = Some(found),
                _ => {}
            }
        }
        Ok(Dataset {
            volumes,
            pools: RwLock::default(),
            opening: Mutex::new(()),
            failed: Mutex::new(failed),
            writers: Mutex::default(),
            next_writer: AtomicU64::new(1),
            next_volume: AtomicUsize::new(0),
            datanode_uuid: uuid.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            rollback: conf.rollback,
            writer_stop_timeout: conf.writer_stop_timeout,
            choose_by_space: conf
                .choose_by_space
                .then_some((conf.balanced_space_threshold, conf.balanced_space_preference)),
        })
    }

    /// The DataNode's UUID.
    #[must_use]
    pub fn datanode_uuid(&self) -> &str {
        &self.datanode_uuid
    }

    /// The volumes in use.
    #[must_use]
    pub fn volumes(&self) -> Vec<Arc<Volume>> {
        self.volumes
            .iter()
            .filter(|volume| !volume.has_failed())
            .cloned()
            .collect()
    }

    /// A volume by its id.
    #[must_use]
    pub fn volume(&self, id: VolumeId) -> Option<&Arc<Volume>> {
        self.volumes.iter().find(|volume| volume.id == id)
    }

    /// The volumes that have failed.
    #[must_use]
    pub fn failed_volumes(&self) -> Vec<FailedVolume> {
        self.failed.lock().clone()
    }

    /// Stops using a volume after a disk error. Returns the number of failed volumes, or `None` when this one had
    /// failed already.
    pub fn fail_volume(&self, id: VolumeId) -> Option<usize> {
        let volume = self.volume(id)?;
        if !volume.mark_failed() {
            return None;
        }
        let mut lost = 0;
        for pool in self.pools() {
            lost += pool.drop_volume(id);
        }
        tracing::error!(path = %volume.root.display(), replicas = lost, "volume failed and is dropped");
        let mut failed = self.failed.lock();
        failed.push(FailedVolume {
            path: volume.root.display().to_string(),
            at_ms: now_ms(),
            capacity: volume.space().map_or(0, |space| space.capacity),
        });
        Some(failed.len())
    }

    /// A pool by id.
    pub fn pool(&self, id: &str) -> Result<Arc<Pool>, PoolError> {
        self.pools
            .read()
            .get(id)
            .cloned()
            .ok_or_else(|| PoolError::NoPool(id.to_owned()))
    }

    /// All pools.
    #[must_use]
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        self.pools.read().values().cloned().collect()
    }

    /// Opens a pool. On each volume, in a thread of its own, this makes or checks the pool's directories and finds its
    /// replicas. All pools belong to one cluster (`DataNode.setClusterId`).
    pub fn open_pool(&self, info: &NamespaceInfo) -> Result<Arc<Pool>, DataNodeError> {
        let _opening = self.opening.lock();
        if let Ok(pool) = self.pool(&info.block_pool_id) {
            return Ok(pool);
        }
        let cluster = self.pools().first().map(|pool| pool.info.cluster_id.clone());
        if let Some(known) = cluster.filter(|known| *known != info.cluster_id) {
            return Err(DataNodeError::OtherCluster(format!(
                "Cluster IDs not matched: dn cid={known} but ns cid={}; bpid={}",
                info.cluster_id, info.block_pool_id
            )));
        }
        let volumes = self.volumes();
        let mut dirs = BTreeMap::new();
        for volume in &volumes {
            volume.join_cluster(info, &self.datanode_uuid)?;
            dirs.insert(volume.id, volume.open_pool(info, self.rollback)?);
        }
        let pool = Arc::new(Pool::new(info.clone(), dirs.clone()));
        let found = std::thread::scope(|scope| {
            let scans: Vec<_> = volumes
                .iter()
                .filter_map(|volume| Some((volume, dirs.get(&volume.id)?)))
                .map(|(volume, dirs)| (volume, scope.spawn(move || volume.scan(dirs))))
                .collect();
            scans
                .into_iter()
                .map(|(volume, scan)| {
                    let found = scan
                        .join()
                        .unwrap_or_else(|_| Err(std::io::Error::other("the scan panicked")));
                    (volume, found)
                })
                .collect::<Vec<_>>()
        });
        for (volume, found) in found {
            match found {
                Ok(found) => pool.add_found(found),
                Err(error) => {
                    tracing::error!(%error, path = %volume.root.display(), "scan failed");
                    self.fail_volume(volume.id);
                }
            }
        }
        tracing::info!(pool = %pool.id(), replicas = pool.len(), "block pool is open");
        self.pools.write().insert(pool.id().to_owned(), pool.clone());
        Ok(pool)
    }

    /// Registers a new writer. [`Dataset::end_writer`] ends it.
    #[must_use]
    pub fn new_writer(&self) -> Arc<WriterControl> {
        let control = Arc::new(WriterControl {
            id: WriterId(self.next_writer.fetch_add(1, Ordering::Relaxed)),
            stopped: AtomicBool::new(false),
            sockets: Mutex::default(),
        });
        self.writers.lock().insert(control.id, control.clone());
        control
    }

    /// Ends a writer whose thread is about to end.
    pub fn end_writer(&self, id: WriterId) {
        self.writers.lock().remove(&id);
    }

    /// Stops all writers (`evictWriters`).
    pub fn stop_writers(&self) {
        for writer in self.writers.lock().values() {
            writer.stop();
        }
    }

    fn stop_writer(&self, pool: &Pool, block: BlockId, writer: WriterId) -> Result<(), PoolError> {
        let control = self.writers.lock().get(&writer).cloned();
        match control {
            Some(control) => control.stop(),
            // The thread is gone and has not released the replica.
            None => pool.release_writer(block, writer),
        }
        if pool.wait_released(block, writer, self.writer_stop_timeout) {
            Ok(())
        } else {
            Err(PoolError::WriterDoesNotStop(block))
        }
    }

    /// As [`Pool::transition`]. If the plan requires it, the replica's writer is stopped first.
    pub fn transition(
        &self,
        pool: &Pool,
        block: BlockId,
        mut plan: impl FnMut(&ReplicaMap) -> Result<Option<Transition>, ReplicaError>,
    ) -> Result<Option<(Option<Replica>, Option<Replica>)>, PoolError> {
        loop {
            match pool.transition(block, &mut plan) {
                Err(PoolError::Replica(ReplicaError::StopWriterFirst(writer))) => {
                    self.stop_writer(pool, block, writer)?;
                }
                other => return other,
            }
        }
    }

    /// Deletes a replica (`invalidate`), and returns it. `ordered` checks under the pool's lock whether the order still
    /// counts. Full reports are made under the same lock, so a report that is made after the order has ended shows the
    /// replica.
    pub fn invalidate(&self, pool: &Pool, block: Block, ordered: impl Fn() -> bool) -> Result<Replica, PoolError> {
        let plan = |map: &ReplicaMap| {
            if ordered() {
                map.invalidate(block)
            } else {
                Err(ReplicaError::OrderEnded)
            }
        };
        loop {
            match pool.take_out(block.id, plan) {
                Err(PoolError::Replica(ReplicaError::StopWriterFirst(writer))) => {
                    self.stop_writer(pool, block.id, writer)?;
                }
                Err(error) => return Err(error),
                Ok((replica, aside)) => {
                    let volume = replica.volume;
                    if let Some(aside) = aside {
                        aside
                            .delete(&OsDisk)
                            .map_err(|source| PoolError::Disk { volume, source })?;
                    }
                    return Ok(replica);
                }
            }
        }
    }

    /// Moves a finalized replica to a volume of the given type (`moveBlockAcrossStorage`).
    pub fn move_replica(
        &self,
        pool: &Pool,
        block: Block,
        storage_type: StorageTypeProto,
        storage_id: Option<&str>,
    ) -> Result<Replica, PoolError> {
        let invalid = |text: String| PoolError::Replica(ReplicaError::Invalid(text));
        let replica = pool
            .get(block.id)
            .filter(|replica| replica.state == ReplicaState::Finalized)
            .filter(|replica| replica.generation_stamp == block.generation_stamp)
            .ok_or_else(|| invalid(format!("blk_{} has no finalized replica of this stamp", block.id)))?;
        let target = self
            .volumes()
            .into_iter()
            .find(|volume| {
                volume.id != replica.volume
                    && volume.storage_type == storage_type
                    && storage_id.is_none_or(|id| id.is_empty() || id == volume.storage_id)
                    && volume.free_for_replicas().is_ok_and(|free| free > replica.num_bytes)
            })
            .ok_or_else(|| {
                invalid(format!(
                    "no other volume of type {} has room",
                    storage_type.as_str_name()
                ))
            })?;
        let moved = pool.transition(block.id, |map| map.relocate(replica.block(), target.id).map(Some))?;
        moved
            .and_then(|(_, after)| after)
            .ok_or_else(|| invalid("the replica is gone".to_owned()))
    }

    /// Chooses a volume of a type with room for `bytes`: by turns, or with a preference for volumes with more free
    /// space.
    pub fn choose_volume(&self, storage_type: StorageTypeProto, bytes: u64) -> Result<Arc<Volume>, PoolError> {
        let mut fitting = Vec::new();
        let mut most = None;
        for volume in self.volumes() {
            if volume.storage_type != storage_type {
                continue;
            }
            let free = volume.free_for_replicas().map_err(|source| PoolError::Disk {
                volume: volume.id,
                source,
            })?;
            most = most.max(Some(free));
            if free > bytes {
                fitting.push((volume, free));
            }
        }
        let Some(most) = most else {
            return Err(PoolError::NoSpace("No more available volumes".to_owned()));
        };
        if let Some((threshold, preference)) = self.choose_by_space {
            let least = fitting.iter().map(|(_, free)| *free).min().unwrap_or(0);
            if most.saturating_sub(least) > threshold {
                let roomy = fastrand::f64() < preference;
                let (high, low): (Vec<_>, Vec<_>) = fitting
                    .iter()
                    .cloned()
                    .partition(|(_, free)| *free > least.saturating_add(threshold));
                fitting = if roomy || low.is_empty() { high } else { low };
            }
        }
        if fitting.is_empty() {
            return Err(PoolError::NoSpace(format!(
                "Out of space: The volume with the most available space (={most} B) is less than the block size (={bytes} B)."
            )));
        }
        let turn = self.next_volume.fetch_add(1, Ordering::Relaxed) % fitting.len();
        let (volume, _) = fitting.swap_remove(turn);
        Ok(volume)
    }

    /// Figures of each volume, for a pool's heartbeat.
    #[must_use]
    pub fn volume_reports(&self, pool_id: &str) -> Vec<VolumeReport> {
        let pools = self.pools();
        self.volumes()
            .into_iter()
            .map(|volume| {
                let space = volume.space().unwrap_or_default();
                let used: u64 = pools.iter().map(|pool| pool.used(volume.id)).sum();
                let pool_used = pools
                    .iter()
                    .find(|pool| pool.id() == pool_id)
                    .map_or(0, |pool| pool.used(volume.id));
                let remaining = space
                    .available
                    .min(space.capacity.saturating_sub(used))
                    .saturating_sub(volume.reserved_for_replicas());
                VolumeReport {
                    capacity: space.capacity,
                    used,
                    pool_used,
                    remaining,
                    volume,
                }
            })
            .collect()
    }

    /// Removes the files that an upgrade kept for a rollback (`finalizeUpgradeForPool`).
    pub fn finalize_upgrade(&self, pool: &Pool) {
        for volume in self.volumes() {
            let Some(dirs) = pool.dirs(volume.id) else {
                continue;
            };
            let previous = dirs.root().join("previous");
            if previous.is_dir() {
                let tmp = dirs.root().join("finalized.tmp");
                let result = std::fs::rename(&previous, &tmp).and_then(|()| std::fs::remove_dir_all(&tmp));
                match result {
                    Ok(()) => tracing::info!(path = %previous.display(), "upgrade finalized"),
                    Err(error) => tracing::error!(path = %previous.display(), %error, "cannot finalize the upgrade"),
                }
            }
        }
    }

    /// The paths of a replica's two files.
    #[must_use]
    pub fn paths(&self, pool: &Pool, id: BlockId) -> Option<ReplicaFiles> {
        pool.get(id).and_then(|replica| pool.files(&replica))
    }
}

/// How many volumes may fail.
#[must_use]
pub fn tolerated(configured: i64, volumes: usize) -> u64 {
    match u64::try_from(configured) {
        Ok(count) => count,
        // -1 tolerates the failure of all volumes but one.
        Err(_) => (volumes as u64).saturating_sub(1),
    }
}
