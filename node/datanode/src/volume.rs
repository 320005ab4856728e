//! One directory of `dfs.datanode.data.dir`: its identity, its free space, and the scan of its replicas
//! (`FsVolumeImpl`, `DataStorage`, `BlockPoolSlice`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hathi_blockpool::{Folder, PoolDirs, Replica, Scan, VolumeId};
use hathi_conf::StorageLocation;
use hathi_formats::ids::{LayoutVersion, NamespaceInfo};
use hathi_formats::proto::hdfs::StorageTypeProto;
use hathi_storage::{Disk, OsDisk, StorageDirectory, StorageError, VersionFile};
use parking_lot::Mutex;

use crate::DataNodeError;

/// Space on a file system, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Space {
    /// Total bytes without the reserved ones (`dfs.datanode.du.reserved`).
    pub capacity: u64,
    /// Bytes that this process may use, without the reserved ones.
    pub available: u64,
}

/// A volume.
#[derive(Debug)]
pub struct Volume {
    /// Its index in the list of volumes.
    pub id: VolumeId,
    /// The directory.
    pub root: PathBuf,
    /// Its storage type.
    pub storage_type: StorageTypeProto,
    /// `DS-<uuid>`.
    pub storage_id: String,
    reserved_config: u64,
    reserved_for_replicas: AtomicU64,
    failed: AtomicBool,
    identity: Mutex<VolumeIdentity>,
    // Held for the lock on `in_use.lock`.
    directory: Mutex<StorageDirectory<OsDisk>>,
}

#[derive(Clone, Debug, Default)]
struct VolumeIdentity {
    cluster_id: Option<String>,
    datanode_uuid: Option<String>,
}

fn storage_error(path: &Path, what: impl std::fmt::Display) -> DataNodeError {
    DataNodeError::Storage(format!("{}: {what}", path.display()))
}

fn check_layout(path: &Path, version: &VersionFile) -> Result<(), DataNodeError> {
    let found = version.get("layoutVersion").unwrap_or_default();
    if found.parse() == Ok(LayoutVersion::DATANODE_CURRENT.0) {
        return Ok(());
    }
    Err(storage_error(
        path,
        format!("layout version {found} is not {}", LayoutVersion::DATANODE_CURRENT),
    ))
}

impl Volume {
    /// Locks the directory, after creating it if it is missing, and reads its VERSION if there is one.
    pub fn open(
        id: VolumeId,
        location: &StorageLocation,
        mode: u32,
        reserved_bytes: u64,
    ) -> Result<Volume, DataNodeError> {
        let root = location.path.clone();
        let at = |tried| {
            let path = root.clone();
            move |source: io::Error| DataNodeError::Directory { tried, path, source }
        };
        OsDisk.create_dir_all(&root).map_err(at("make"))?;
        OsDisk
            .set_mode(&root, mode)
            .map_err(at("set dfs.datanode.data.dir.perm of"))?;
        let mut directory = StorageDirectory::new(OsDisk, &root);
        let holder = format!(
            "{}@{}",
            std::process::id(),
            rustix::system::uname().nodename().to_string_lossy()
        );
        directory.lock(&holder).map_err(|error| match error {
            StorageError::CannotLock { path, source } => DataNodeError::Directory {
                tried: "lock",
                path,
                source,
            },
            other => DataNodeError::Storage(other.to_string()),
        })?;
        let version = directory.read_version().map_err(|error| storage_error(&root, error))?;
        let mut identity = VolumeIdentity::default();
        let mut storage_id = None;
        if let Some(version) = &version {
            check_layout(&root, version)?;
            identity.cluster_id = version.get("clusterID").map(str::to_owned);
            identity.datanode_uuid = version.get("datanodeUuid").map(str::to_owned);
            storage_id = version.get("storageID").map(str::to_owned);
        }
        Ok(Volume {
            id,
            root,
            storage_type: location.storage_type,
            storage_id: storage_id.unwrap_or_else(|| format!("DS-{}", uuid::Uuid::new_v4())),
            reserved_config: reserved_bytes,
            reserved_for_replicas: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            identity: Mutex::new(identity),
            directory: Mutex::new(directory),
        })
    }

    /// The DataNode's UUID in this volume's VERSION.
    #[must_use]
    pub fn datanode_uuid(&self) -> Option<String> {
        self.identity.lock().datanode_uuid.clone()
    }

    /// The cluster in this volume's VERSION, if it was ever formatted.
    #[must_use]
    pub fn cluster_id(&self) -> Option<String> {
        self.identity.lock().cluster_id.clone()
    }

    /// Makes the volume part of a cluster, or checks that it is.
    pub fn join_cluster(&self, info: &NamespaceInfo, datanode_uuid: &str) -> Result<(), DataNodeError> {
        let mut identity = self.identity.lock();
        if let Some(known) = &identity.cluster_id {
            if *known != info.cluster_id {
                return Err(DataNodeError::OtherCluster(format!(
                    "Incompatible clusterIDs in {}: namenode clusterID = {}; datanode clusterID = {known}",
                    self.root.display(),
                    info.cluster_id
                )));
            }
            if identity.datanode_uuid.as_deref() == Some(datanode_uuid) {
                return Ok(());
            }
        }
        let mut version = VersionFile::default();
        version.set("storageID", &self.storage_id);
        version.set("clusterID", &info.cluster_id);
        version.set("cTime", "0");
        version.set("datanodeUuid", datanode_uuid);
        version.set("storageType", "DATA_NODE");
        version.set("layoutVersion", &LayoutVersion::DATANODE_CURRENT.to_string());
        let directory = self.directory.lock();
        OsDisk
            .create_dir_all(&directory.current())
            .map_err(|error| storage_error(&self.root, error))?;
        directory
            .write_version(&version)
            .map_err(|error| storage_error(&self.root, error))?;
        identity.cluster_id = Some(info.cluster_id.clone());
        identity.datanode_uuid = Some(datanode_uuid.to_owned());
        Ok(())
    }

    /// Makes a block pool's directories, or checks that they belong to the pool, and removes unfinished copies.
    /// `restore_trash` restores the replicas that were deleted during a rolling upgrade.
    pub fn open_pool(&self, info: &NamespaceInfo, restore_trash: bool) -> Result<PoolDirs, DataNodeError> {
        let dirs = PoolDirs::new(&self.root, &info.block_pool_id);
        let at = |error: io::Error| storage_error(dirs.root(), error);
        for dir in [dirs.folder(Folder::Finalized), dirs.folder(Folder::Rbw)] {
            OsDisk.create_dir_all(&dir).map_err(at)?;
        }
        let directory = StorageDirectory::new(OsDisk, dirs.root());
        match directory
            .read_version()
            .map_err(|error| storage_error(dirs.root(), error))?
        {
            Some(version) => {
                check_layout(dirs.root(), &version)?;
                let namespace_id = version.get("namespaceID").and_then(|id| id.parse::<i64>().ok());
                if namespace_id.map(|id| id as u32) != Some(info.namespace_id)
                    || version.get("blockpoolID") != Some(&info.block_pool_id)
                {
                    return Err(storage_error(
                        dirs.root(),
                        format!(
                            "Incompatible namespaceIDs: namenode namespaceID = {}; datanode namespaceID = {}",
                            info.namespace_id,
                            version.get("namespaceID").unwrap_or_default()
                        ),
                    ));
                }
            }
            None => {
                let mut version = VersionFile::default();
                version.set("namespaceID", &info.namespace_id.to_string());
                version.set("cTime", &info.ctime.to_string());
                version.set("blockpoolID", &info.block_pool_id);
                version.set("layoutVersion", &LayoutVersion::DATANODE_CURRENT.to_string());
                directory
                    .write_version(&version)
                    .map_err(|error| storage_error(dirs.root(), error))?;
            }
        }
        if restore_trash {
            let restored = dirs.restore_trash(&OsDisk).map_err(at)?;
            tracing::info!(path = %dirs.root().display(), files = restored, "rolled back: deleted replicas are restored");
        }
        let tmp = dirs.folder(Folder::Tmp);
        match fs::remove_dir_all(&tmp) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(at)?,
        }
        fs::create_dir_all(&tmp).map_err(at)?;
        Ok(dirs)
    }

    /// Space on the file system now.
    pub fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(&self.root)?;
        let capacity = (stat.f_blocks * stat.f_frsize).saturating_sub(self.reserved_config);
        let available = (stat.f_bavail * stat.f_frsize).saturating_sub(self.reserved_config);
        Ok(Space { capacity, available })
    }

    /// Bytes reserved for replicas that are being written.
    #[must_use]
    pub fn reserved_for_replicas(&self) -> u64 {
        self.reserved_for_replicas.load(Ordering::Relaxed)
    }

    /// Reserves bytes.
    pub fn reserve(&self, bytes: u64) {
        self.reserved_for_replicas.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Releases reserved bytes.
    pub fn release(&self, bytes: u64) {
        let _ = self
            .reserved_for_replicas
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |reserved| {
                Some(reserved.saturating_sub(bytes))
            });
    }

    /// Bytes that a new replica may take.
    pub fn free_for_replicas(&self) -> io::Result<u64> {
        Ok(self.space()?.available.saturating_sub(self.reserved_for_replicas()))
    }

    /// Checks that the disk still works: writes and syncs a small file.
    pub fn probe(&self) -> io::Result<()> {
        let path = self.root.join("current").join(".probe");
        let file = fs::File::create(&path)?;
        file.sync_all()?;
        fs::remove_file(path)
    }

    /// Whether the volume has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Marks the volume as failed. Returns false when it was already.
    #[must_use]
    pub fn mark_failed(&self) -> bool {
        !self.failed.swap(true, Ordering::AcqRel)
    }

    /// Finds the replicas of a pool on this volume.
    pub fn scan(&self, dirs: &PoolDirs) -> io::Result<Vec<Replica>> {
        let found = Scan::new(&OsDisk, dirs, self.id).all()?;
        for (path, what) in &found.oddities {
            tracing::warn!(path = %path.display(), "{what}");
        }
        Ok(found.replicas)
    }
}

/// Whether an error is one of a broken disk, not of the request.
#[must_use]
pub fn is_disk_error(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    const ENXIO: i32 = 6;
    const EROFS: i32 = 30;
    const EUCLEAN: i32 = 117;
    matches!(error.raw_os_error(), Some(EIO | ENXIO | EROFS | EUCLEAN))
}

/// Bytes that a replica's files take on disk.
#[must_use]
pub fn disk_bytes(replica: &Replica) -> u64 {
    let data = replica.bytes_on_disk();
    // The usual checksums take 4 bytes for each 512, and the header 7.
    data + data.div_ceil(512) * 4 + 7
}
