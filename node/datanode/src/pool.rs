//! One block pool: its replicas, and their files (`FsDatasetImpl` for one pool).
//!
//! There are two kinds of lock, always taken in this order. A replica's own lock is held over a whole change of that
//! replica, with its slow parts (copies, syncs), so that no two changes of one replica overlap. The pool's lock is held
//! only for plans and renames. [`hathi_blockpool::steps`] says what is durable before a change is answered.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hathi_blockpool::chunks::{read_header, stored_checksum};
use hathi_blockpool::replica::WriteProgress;
use hathi_blockpool::{
    BlockReportBuilder, FileAction, PoolDirs, Replica, ReplicaError, ReplicaFiles, ReplicaMap, ReplicaState, Scan,
    StepError, Steps, Transition, VolumeId, WriterId,
};
use hathi_formats::datatransfer::{BlockMetadataHeader, ChecksumType, DataChecksum};
use hathi_formats::ids::{Block, BlockId, NamespaceInfo};
use hathi_storage::os::OsFile;
use hathi_storage::{Disk, OsDisk};
use parking_lot::{Condvar, Mutex};

use crate::volume::disk_bytes;

/// Why an operation on a replica failed.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The request contradicts the replica's state.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The files could not be read or changed.
    #[error("volume {}: {source}", volume.0)]
    Disk {
        /// The volume.
        volume: VolumeId,
        /// The cause.
        source: io::Error,
    },
    /// The replica's bytes do not match their checksums.
    #[error("{0}")]
    Corrupt(String),
    /// No volume has room.
    #[error("{0}")]
    NoSpace(String),
    /// The DataNode does not serve this pool.
    #[error("cannot find BPOfferService for bpid={0}")]
    NoPool(String),
    /// A writer did not stop in time.
    #[error("Unable to stop existing writer for block {0} in time")]
    WriterDoesNotStop(BlockId),
}

impl PoolError {
    /// The exception class for callers.
    #[must_use]
    pub fn class(&self) -> hathi_formats::exceptions::ExceptionClass {
        match self {
            PoolError::Replica(error) => error.class(),
            _ => hathi_formats::exceptions::IO,
        }
    }
}

impl From<StepError> for PoolError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Disk { volume, source } => PoolError::Disk { volume, source },
            StepError::Corrupt(text) => PoolError::Corrupt(text),
        }
    }
}

/// Blocks whose replicas are being changed.
#[derive(Debug, Default)]
struct ReplicaLocks {
    held: Mutex<HashSet<BlockId>>,
    released: Condvar,
}

/// A replica's own lock.
#[derive(Debug)]
#[must_use]
pub struct ReplicaLock<'a> {
    locks: &'a ReplicaLocks,
    id: BlockId,
}

impl ReplicaLocks {
    fn lock(&self, id: BlockId) -> ReplicaLock<'_> {
        let mut held = self.held.lock();
        while !held.insert(id) {
            self.released.wait(&mut held);
        }
        ReplicaLock { locks: self, id }
    }
}

impl Drop for ReplicaLock<'_> {
    fn drop(&mut self) {
        self.locks.held.lock().remove(&self.id);
        self.locks.released.notify_all();
    }
}

#[derive(Debug, Default)]
struct State {
    map: ReplicaMap,
    used: HashMap<VolumeId, i64>,
}

impl State {
    fn account(&mut self, replica: Option<&Replica>, sign: i64) {
        if let Some(replica) = replica {
            *self.used.entry(replica.volume).or_default() += sign * disk_bytes(replica) as i64;
        }
    }
}

/// Name of the file that marks a rolling upgrade (`BlockPoolSliceStorage.ROLLING_UPGRADE_MARKER_FILE`).
const ROLLING_UPGRADE_MARKER: &str = "RollingUpgradeInProgress";

fn remove_if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A block pool.
#[derive(Debug)]
pub struct Pool {
    /// Namespace and cluster of the blocks.
    pub info: NamespaceInfo,
    dirs: BTreeMap<VolumeId, PoolDirs>,
    locks: ReplicaLocks,
    state: Mutex<State>,
    keep_deleted: AtomicBool,
    // Notified when a writer releases its replica or a replica grows.
    changed: Condvar,
}

/// A replica that is open for a reader, in its state at that time.
#[derive(Debug)]
pub struct ReadReplica {
    /// The replica at that time.
    pub replica: Replica,
    /// The block file.
    pub data: OsFile,
    /// The meta file and its header, if there is one.
    pub meta: Option<(OsFile, BlockMetadataHeader)>,
    /// Bytes that may be read: those that have a checksum.
    pub readable: u64,
    /// The checksum of the last, short chunk of `readable` bytes. A writer may meanwhile overwrite the one in the file.
    pub last_checksum: Option<[u8; 4]>,
}

impl Pool {
    /// A pool with its directories on each volume, without replicas yet.
    #[must_use]
    pub fn new(info: NamespaceInfo, dirs: BTreeMap<VolumeId, PoolDirs>) -> Pool {
        // A rolling upgrade from before a restart goes on until the NameNode says otherwise.
        let upgrading = dirs
            .values()
            .any(|dirs: &PoolDirs| dirs.root().join(ROLLING_UPGRADE_MARKER).exists());
        Pool {
            info,
            dirs,
            locks: ReplicaLocks::default(),
            state: Mutex::default(),
            keep_deleted: AtomicBool::new(upgrading),
            changed: Condvar::new(),
        }
    }

    /// The pool's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.info.block_pool_id
    }

    /// The files of a replica.
    #[must_use]
    pub fn files(&self, replica: &Replica) -> Option<ReplicaFiles> {
        let at = replica.location();
        self.dirs.get(&at.volume).map(|dirs| dirs.files(at))
    }

    fn steps(&self) -> Steps<'_, OsDisk> {
        Steps::new(&OsDisk, &self.dirs, self.keep_deleted.load(Ordering::Acquire))
    }

    /// Locks a replica against changes. Its writer may still append to it.
    pub fn lock_replica(&self, id: BlockId) -> ReplicaLock<'_> {
        self.locks.lock(id)
    }

    /// The directories on a volume.
    #[must_use]
    pub fn dirs(&self, volume: VolumeId) -> Option<&PoolDirs> {
        self.dirs.get(&volume)
    }

    /// Adds the replicas that a scan found. Of duplicates only the best is kept.
    pub fn add_found(&self, found: Vec<Replica>) {
        let mut state = self.state.lock();
        for replica in found {
            let id = replica.block_id;
            let before = state.map.get(id).cloned();
            let action = state.map.add_found(replica);
            let after = state.map.get(id).cloned();
            state.account(before.as_ref(), -1);
            state.account(after.as_ref(), 1);
            // A duplicate that a crash left was never deleted, so a rollback of the upgrade need not bring it back.
            if let Some(FileAction::Delete(at)) = action
                && let Err(error) = Steps::new(&OsDisk, &self.dirs, false).delete(at)
            {
                tracing::warn!(block = %id, %error, "duplicate replica could not be deleted");
            }
        }
    }

    /// Plans a transition, changes the files, commits it, and makes durable what it promises. When the plan is `None`,
    /// nothing is done. Returns the replica before and after.
    pub fn transition(
        &self,
        id: BlockId,
        plan: impl FnOnce(&ReplicaMap) -> Result<Option<Transition>, ReplicaError>,
    ) -> Result<Option<(Option<Replica>, Option<Replica>)>, PoolError> {
        let _replica = self.lock_replica(id);
        let steps = self.steps();
        let mut state = self.state.lock();
        let Some(mut transition) = plan(&state.map)? else {
            return Ok(None);
        };
        let before = state.map.get(id).cloned();
        if Steps::<OsDisk>::is_slow(&transition) {
            drop(state);
            let prepared = steps.prepare(&transition);
            state = self.state.lock();
            match prepared {
                // While a replica's lock is held and it has no writer, only the loss of its volume changes it.
                Ok(last) if state.map.get(id) == before.as_ref() => transition.know_last_checksum(last),
                Ok(_) => return Err(ReplicaError::NotFound(format!("blk_{id} is gone")).into()),
                Err(error) => {
                    self.find_again(&mut state, id);
                    return Err(error.into());
                }
            }
        }
        let rest = match steps.perform(&mut transition) {
            Ok(rest) => rest,
            Err(error) => {
                self.find_again(&mut state, id);
                return Err(error.into());
            }
        };
        let replaced = transition
            .extra
            .as_ref()
            .and_then(|extra| state.map.get(extra.block_id).cloned());
        state.account(before.as_ref(), -1);
        state.account(replaced.as_ref(), -1);
        state.account(transition.replica.as_ref(), 1);
        state.account(transition.extra.as_ref(), 1);
        state.map.commit(transition);
        let after = state.map.get(id).cloned();
        drop(state);
        self.changed.notify_all();
        steps.settle(&rest)?;
        Ok(Some((before, after)))
    }

    /// After steps that failed half way: sets the replica to what a start would find in its files.
    fn find_again(&self, state: &mut State, id: BlockId) {
        let Some(known) = state.map.get(id).cloned() else {
            return;
        };
        let whole = self.files(&known).is_some_and(|files| {
            OsDisk.exists(&files.meta).is_ok_and(|exists| exists)
                && OsDisk
                    .file_len(&files.data)
                    .is_ok_and(|len| len >= known.bytes_on_disk())
        });
        if whole {
            return;
        }
        let found = self.dirs.get(&known.volume).and_then(|dirs| {
            let found = Scan::new(&OsDisk, dirs, known.volume).one(id);
            found.ok().and_then(|mut found| found.replicas.pop())
        });
        tracing::warn!(block = %id, found = found.is_some(), "a change of a replica failed half way");
        state.account(Some(&known), -1);
        state.account(found.as_ref(), 1);
        match found {
            Some(found) => state.map.restore(found),
            None => drop(state.map.forget(id)),
        }
    }

    /// Takes a replica out of the map and renames its files, so that they can be deleted without the lock. During a
    /// rolling upgrade the files are kept, and `None` is returned for them.
    pub fn take_out(
        &self,
        id: BlockId,
        plan: impl FnOnce(&ReplicaMap) -> Result<Transition, ReplicaError>,
    ) -> Result<(Replica, Option<ReplicaFiles>), PoolError> {
        let _replica = self.lock_replica(id);
        let mut state = self.state.lock();
        let transition = plan(&state.map)?;
        let replica = state
            .map
            .get(id)
            .cloned()
            .ok_or_else(|| ReplicaError::NotFound(format!("blk_{id} is gone")))?;
        let volume = replica.volume;
        let (Some(files), Some(dirs)) = (self.files(&replica), self.dirs.get(&volume)) else {
            return Err(PoolError::NoPool(self.id().to_owned()));
        };
        let mut aside = None;
        if self.keep_deleted.load(Ordering::Acquire) {
            self.steps().delete(replica.location())?;
        } else {
            let to = dirs.being_deleted(replica.location());
            files
                .set_aside(&OsDisk, &to)
                .map_err(|source| PoolError::Disk { volume, source })?;
            aside = Some(to);
        }
        state.account(Some(&replica), -1);
        state.map.commit(transition);
        drop(state);
        self.changed.notify_all();
        Ok((replica, aside))
    }

    /// A replica by id.
    #[must_use]
    pub fn get(&self, id: BlockId) -> Option<Replica> {
        self.state.lock().map.get(id).cloned()
    }

    /// Changes the lengths of a replica that this writer still owns. Returns false when it owns it no longer.
    #[must_use]
    pub fn progress(&self, id: BlockId, writer: WriterId, change: impl FnOnce(&mut u64, &mut WriteProgress)) -> bool {
        let mut state = self.state.lock();
        let before = state.map.get(id).map_or(0, disk_bytes);
        let owned = state.map.progress(id, writer, change);
        if let Some(replica) = state.map.get(id) {
            let (volume, grown) = (replica.volume, disk_bytes(replica) as i64 - before as i64);
            *state.used.entry(volume).or_default() += grown;
        }
        drop(state);
        self.changed.notify_all();
        owned
    }

    /// Releases a replica whose writer has ended.
    pub fn release_writer(&self, id: BlockId, writer: WriterId) {
        self.state.lock().map.release_writer(id, writer);
        self.changed.notify_all();
    }

    /// Waits until this writer no longer owns the replica. Returns false when that takes longer than `timeout`.
    #[must_use]
    pub fn wait_released(&self, id: BlockId, writer: WriterId, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock();
        while state.map.get(id).and_then(Replica::writer) == Some(writer) {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return false;
            }
        }
        true
    }

    /// Opens a replica for reading. A replica that is being written may be a little behind the length that the reader
    /// knows. So this waits up to `patience` until it has `min_bytes`.
    pub fn open_for_read(&self, id: BlockId, min_bytes: u64, patience: Duration) -> Result<ReadReplica, PoolError> {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock();
        let replica = loop {
            let Some(replica) = state.map.get(id) else {
                return Err(ReplicaError::NotFound(format!("Replica not found for blk_{id}")).into());
            };
            if replica.state != ReplicaState::Rbw
                || replica.bytes_on_disk() >= min_bytes
                || self.changed.wait_until(&mut state, deadline).timed_out()
            {
                break state.map.get(id).cloned();
            }
        };
        let Some(replica) = replica else {
            return Err(ReplicaError::NotFound(format!("Replica not found for blk_{id}")).into());
        };
        // The lock is still held, so that neither a rename nor an append comes between.
        let volume = replica.volume;
        let disk = |source| PoolError::Disk { volume, source };
        let Some(files) = self.files(&replica) else {
            return Err(PoolError::NoPool(self.id().to_owned()));
        };
        let data = OsDisk.open_read(&files.data).map_err(disk)?;
        let meta = match OsDisk.open_read(&files.meta) {
            Ok(meta) => match read_header(&meta) {
                Ok(header) => Some((meta, header)),
                // Only a replica that is being created may lack the header.
                Err(error) if replica.bytes_on_disk() == 0 && error.kind() == io::ErrorKind::UnexpectedEof => None,
                Err(error) => return Err(disk(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(disk(error)),
        };
        let readable = replica.bytes_on_disk();
        // A writer overwrites the checksum in the file before it publishes the new length. So the checksum that belongs
        // to the published length is kept in memory with it.
        let mut last_checksum = replica.progress.as_ref().and_then(|progress| progress.last_checksum);
        if replica.progress.is_none()
            && let Some((meta, header)) = &meta
            && header.checksum.kind() != ChecksumType::Null
        {
            let partial = readable % u64::from(header.checksum.bytes_per_checksum());
            if partial != 0 {
                last_checksum = stored_checksum(meta, header, readable - partial).ok();
            }
        }
        Ok(ReadReplica {
            replica,
            data,
            meta,
            readable,
            last_checksum,
        })
    }

    /// Bytes that this pool uses on a volume.
    #[must_use]
    pub fn used(&self, volume: VolumeId) -> u64 {
        self.state
            .lock()
            .used
            .get(&volume)
            .map_or(0, |used| (*used).max(0) as u64)
    }

    /// How many replicas there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().map.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A full report: the replicas of each of these volumes.
    #[must_use]
    pub fn report(&self, volumes: &[VolumeId]) -> HashMap<VolumeId, BlockReportBuilder> {
        let mut reports: HashMap<VolumeId, BlockReportBuilder> = volumes
            .iter()
            .map(|volume| (*volume, BlockReportBuilder::new()))
            .collect();
        let state = self.state.lock();
        for replica in state.map.iter() {
            if let Some(report) = reports.get_mut(&replica.volume) {
                report.add(replica);
            }
        }
        reports
    }

    /// The first finalized replica after `id`.
    #[must_use]
    pub fn next_finalized(&self, id: BlockId) -> Option<Replica> {
        self.state.lock().map.next_finalized(id).cloned()
    }

    /// Forgets a replica whose files are gone, if the map still has exactly this one.
    #[must_use]
    pub fn forget(&self, replica: &Replica) -> bool {
        let mut state = self.state.lock();
        if state.map.get(replica.block_id) != Some(replica) {
            return false;
        }
        state.account(Some(replica), -1);
        state.map.forget(replica.block_id).is_some()
    }

    /// Sets whether deleted replicas are kept for a rollback, because a rolling upgrade is under way.
    pub fn set_keep_deleted(&self, keep: bool) {
        if self.keep_deleted.swap(keep, Ordering::AcqRel) == keep {
            return;
        }
        tracing::info!(pool = %self.id(), keep, "rolling upgrade: deleted replicas are kept");
        for dirs in self.dirs.values() {
            let marker = dirs.root().join(ROLLING_UPGRADE_MARKER);
            let result = if keep {
                std::fs::File::create(&marker).map(drop)
            } else {
                remove_if_there(std::fs::remove_file(&marker))
                    .and_then(|()| remove_if_there(std::fs::remove_dir_all(dirs.trash())))
            };
            if let Err(error) = result {
                tracing::warn!(path = %dirs.root().display(), %error, "rolling upgrade marker or trash");
            }
        }
    }

    /// Forgets the replicas of a volume that failed.
    pub fn drop_volume(&self, volume: VolumeId) -> usize {
        let mut state = self.state.lock();
        let gone = state.map.remove_volume(volume);
        state.used.remove(&volume);
        drop(state);
        self.changed.notify_all();
        gone.len()
    }

    /// Kind of the checksums in a replica's meta file, by default Hadoop's.
    #[must_use]
    pub fn checksum_of(&self, replica: &Replica) -> Option<DataChecksum> {
        let files = self.files(replica)?;
        let meta = OsDisk.open_read(&files.meta).ok()?;
        read_header(&meta).ok().map(|header| header.checksum)
    }

    /// A block in the form of messages about this pool.
    #[must_use]
    pub fn extended(&self, block: Block) -> hathi_formats::proto::hdfs::ExtendedBlockProto {
        hathi_formats::proto::hdfs::ExtendedBlockProto {
            pool_id: self.id().to_owned(),
            block_id: block.id.0 as u64,
            generation_stamp: block.generation_stamp.0,
            num_bytes: Some(block.num_bytes),
        }
    }
}
