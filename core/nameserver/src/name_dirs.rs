//! The name and edits directories of a NameNode: what a start finds in them, where images are published, which images stay,
//! and which directories are used (Hadoop's `NNStorage`, `FSImage` and `NNStorageRetentionManager`).
//!
//! Invariants:
//! - All directories in use are of one namespace and of the layout that is written here.
//! - An image has its name only where its bytes and its MD5 file are durable.
//! - A directory where an image or an edit could not be written is used no more, until it is restored. When that is true of
//!   all at once, none is dropped: there may be room the next time.
//! - Only images that this process knows to be whole make others, and the edits before them, superfluous.
//!
//! The state is behind locks that are held for moments and never during input or output, because the writer of the edits
//! and the one of images use it at the same time.

use crate::image_files::{
    ImageFile, LoadError, NotLoaded, Unpublished, image_name, images_in, load_newest, md5_path, remove_unfinished,
};
use hathi_formats::fsimage::format_md5_file;
use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_namesystem::checkpoint::{IMAGES_RETAINED_MIN, retention};
use hathi_storage::durable_long::read_text_long;
use hathi_storage::{Disk, NodeType, StorageDirectory, StorageError, StorageState, VersionFile, birth};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub mod rollback;

use rollback::rollback_name;

/// The roots of the directories, as configured.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// `dfs.namenode.name.dir`
    pub images: Vec<PathBuf>,
    /// `dfs.namenode.edits.dir`
    pub edits: Vec<PathBuf>,
}

impl Roots {
    /// Each of them once.
    #[must_use]
    pub fn all(&self) -> Vec<PathBuf> {
        let mut all = self.images.clone();
        for dir in &self.edits {
            if !all.contains(dir) {
                all.push(dir.clone());
            }
        }
        all
    }
}

/// Why directories are not used.
#[derive(Debug, thiserror::Error)]
pub enum NameDirsError {
    /// The disk or the lock says so.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// `InconsistentFSStateException`
    #[error("Directory {dir} is in an inconsistent state: {what}")]
    Inconsistent {
        /// The directory.
        dir: PathBuf,
        /// Why.
        what: String,
    },
    /// What is in it is served by other software only.
    #[error("{0}")]
    Refused(String),
    /// There is no namespace.
    #[error(
        "NameNode is not formatted. There is no namespace in {}: hathi namenode -format makes a new one, \
         hathi namenode -bootstrapStandby copies that of another NameNode",
        .0.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NotFormatted(Vec<PathBuf>),
    /// The disk says so.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

/// For what directories are opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// `dfs.namenode.name.dir.restore`
    pub restore: bool,
    /// The layouts that they may have.
    pub layouts: RangeInclusive<LayoutVersion>,
    /// Whether they may have a `previous`, which an upgrade leaves until it is finalized or rolled back.
    pub with_previous: bool,
}

/// Refuses a directory with another layout, whose files this NameNode could misread, or write differently.
///
/// # Errors
/// What to do about it.
pub fn check_layout(dir: &Path, found: LayoutVersion) -> Result<(), NameDirsError> {
    let ours = LayoutVersion::NAMENODE_CURRENT;
    let who = if LayoutVersion::NAMENODE_READ.contains(&found) {
        "start this NameNode with -upgrade, or in HA Hadoop 3.5's, and finalize"
    } else {
        "start Hadoop 3.5's NameNode on it with -upgrade, finalize, and then start this one"
    };
    let dir = dir.display();
    // Newer layouts have lower numbers.
    Err(NameDirsError::Refused(match found.0.cmp(&ours.0) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Less => format!(
            "Unexpected version of storage directory {dir}. Reported: {found}. Expecting = {ours}. \
             It was written by newer software: serve it with that, or name a directory of layout {ours} in \
             dfs.namenode.name.dir"
        ),
        std::cmp::Ordering::Greater => format!(
            "Unexpected version of storage directory {dir}. Reported: {found}. Expecting = {ours}. \
             An upgrade to version {ours} is required: {who}"
        ),
    }))
}

/// Refuses a directory with an upgrade that can still be rolled back. Serving it would make edits that a rollback
/// loses, and would tell DataNodes to delete their `previous`.
fn check_no_upgrade<D: Disk>(dir: &StorageDirectory<D>, state: StorageState) -> Result<(), NameDirsError> {
    let previous = dir.previous();
    let is_there = dir.disk().exists(&previous).map_err(|source| NameDirsError::Io {
        path: previous.clone(),
        source,
    })?;
    if state != StorageState::CompleteUpgrade && !is_there {
        return Ok(());
    }
    Err(NameDirsError::Refused(format!(
        "Directory {} is in the middle of an upgrade: {} holds the state before it. Start the Hadoop NameNode that began \
         the upgrade, and finalize it with hdfs dfsadmin -finalizeUpgrade or take it back with hdfs namenode -rollback; \
         start this one then",
        dir.root().display(),
        previous.display()
    )))
}

/// Describes the difference between two namespaces. `None` when they are the same.
#[must_use]
pub fn difference(ours: &NamespaceInfo, theirs: &NamespaceInfo) -> Option<String> {
    let keys = [
        (
            "namespaceID",
            ours.namespace_id.to_string(),
            theirs.namespace_id.to_string(),
        ),
        ("clusterID", ours.cluster_id.clone(), theirs.cluster_id.clone()),
        ("blockpoolID", ours.block_pool_id.clone(), theirs.block_pool_id.clone()),
        ("cTime", ours.ctime.to_string(), theirs.ctime.to_string()),
        (
            "layoutVersion",
            ours.layout_version.to_string(),
            theirs.layout_version.to_string(),
        ),
    ];
    let mut differ = keys.into_iter().filter(|(_, ours, theirs)| ours != theirs);
    let (key, ours, theirs) = differ.next()?;
    Some(format!("{key} is {theirs} and not {ours}"))
}

/// What failed at a file or directory.
#[derive(Debug)]
pub struct Failure {
    /// Where.
    pub path: PathBuf,
    /// What the disk says.
    pub error: io::Error,
}

/// What comes of [`NameDirs::purge_images`].
#[derive(Debug)]
pub struct Purged {
    /// The first transaction whose edits must stay.
    pub edits_from: TxId,
    /// Files that could not be removed.
    pub failures: Vec<Failure>,
}

/// The name and edits directories of a NameNode, locked.
#[derive(Debug)]
pub struct NameDirs<D: Disk> {
    /// Which namespace they hold.
    pub info: NamespaceInfo,
    disk: D,
    images: Vec<PathBuf>,
    edits: Vec<PathBuf>,
    /// Images that this process has loaded, saved or read to their end. Losing it at a restart is safe: what is not known
    /// to be whole makes no other image superfluous.
    verified: Mutex<BTreeSet<TxId>>,
    /// `current` of directories that are used no more, and why (`NNStorage.removedStorageDirs`). Losing it at a restart is
    /// safe: all are tried again then, and what they lack is copied or left out by the age of their files.
    failed: Mutex<BTreeMap<PathBuf, String>>,
    /// `dfs.namenode.name.dir.restore`, until somebody says otherwise.
    restore: AtomicBool,
    /// The next segment of edits is begun in directories, too, that were used no more.
    restoring_edits: AtomicBool,
    locked: Mutex<Vec<StorageDirectory<D>>>,
}

/// The state is whole even if a thread has panicked while it held the lock.
fn locked<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Disk> NameDirs<D> {
    /// Directories of this namespace (their `current`), of which nothing is locked or read.
    #[must_use]
    pub fn of(disk: D, info: NamespaceInfo, images: Vec<PathBuf>, edits: Vec<PathBuf>) -> Self {
        NameDirs {
            info,
            disk,
            images,
            edits,
            verified: Mutex::default(),
            failed: Mutex::default(),
            restore: AtomicBool::new(false),
            restoring_edits: AtomicBool::new(false),
            locked: Mutex::default(),
        }
    }

    /// Locks, repairs and reads all directories. They must agree, and at least one must be formatted. `restore`:
    /// `dfs.namenode.name.dir.restore`.
    ///
    /// # Errors
    /// See [`NameDirsError`].
    pub fn open(disk: D, roots: &Roots, holder: &str, restore: bool) -> Result<Self, NameDirsError> {
        let opening = Opening {
            restore,
            layouts: LayoutVersion::NAMENODE_CURRENT..=LayoutVersion::NAMENODE_CURRENT,
            with_previous: false,
        };
        Self::open_for(disk, roots, holder, &opening)
    }

    /// As [`NameDirs::open`], of other layouts or with an upgrade that is not finalized. An upgrade that was cut off is
    /// completed where its VERSION was written, and undone where it was not (`Storage.StorageDirectory.doRecover`).
    ///
    /// # Errors
    /// See [`NameDirsError`].
    pub fn open_for(disk: D, roots: &Roots, holder: &str, opening: &Opening) -> Result<Self, NameDirsError> {
        let mut dirs = Vec::new();
        for path in roots.all() {
            let mut dir = StorageDirectory::new(disk.clone(), &path);
            match dir.analyze()? {
                StorageState::NonExistent => {
                    return Err(NameDirsError::Inconsistent {
                        dir: path,
                        what: "storage directory does not exist or is not accessible".to_owned(),
                    });
                }
                state => {
                    dir.lock(holder)?;
                    // Before anything is renamed: what began the upgrade must find it as it left it.
                    if !opening.with_previous {
                        check_no_upgrade(&dir, state)?;
                    }
                    dir.recover(state)?;
                }
            }
            dirs.push(dir);
        }
        birth::settle(&dirs)?;
        let mut info: Option<NamespaceInfo> = None;
        let mut locked = Vec::new();
        let mut unformatted = Vec::new();
        for dir in dirs {
            let path = dir.root();
            let Some(version) = dir.read_version()? else {
                unformatted.push(dir);
                continue;
            };
            let found = version.namespace_info(path)?;
            if !opening.layouts.contains(&found.layout_version) {
                check_layout(path, found.layout_version)?;
            }
            if let Some(differs) = info.as_ref().and_then(|info| difference(info, &found)) {
                return Err(NameDirsError::Inconsistent {
                    dir: path.to_owned(),
                    what: format!("{differs}, as in the other name directories"),
                });
            }
            info = Some(found);
            // What is served now is not replaced by a format that has ended before it began to.
            dir.discard_new()?;
            locked.push(dir);
        }
        let info = info.ok_or_else(|| NameDirsError::NotFormatted(roots.all()))?;
        // A directory added later gets its VERSION now and its image at the next checkpoint.
        for dir in unformatted {
            dir.format(&VersionFile::new(NodeType::NameNode, &info), true)?;
            locked.push(dir);
        }
        let current = |dirs: &[PathBuf]| dirs.iter().map(|dir| dir.join("current")).collect::<Vec<_>>();
        let images = current(&roots.images);
        remove_unfinished(&disk, &images);
        Ok(NameDirs {
            restore: AtomicBool::new(opening.restore),
            locked: Mutex::new(locked),
            ..Self::of(disk, info, images, current(&roots.edits))
        })
    }

    /// The disk that they are on.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// `current` of all directories for images, in use or not.
    #[must_use]
    pub fn all_images_dirs(&self) -> &[PathBuf] {
        &self.images
    }

    /// `current` of the directories for images that are in use.
    #[must_use]
    pub fn images_dirs(&self) -> Vec<PathBuf> {
        let failed = locked(&self.failed);
        let in_use = self.images.iter().filter(|dir| !failed.contains_key(*dir));
        in_use.cloned().collect()
    }

    /// `current` of the directories for edits.
    #[must_use]
    pub fn edits_dirs(&self) -> &[PathBuf] {
        &self.edits
    }

    // ---- upgrades

    /// Whether an upgrade can still be rolled back (`FSImage.isUpgradeFinalized`).
    ///
    /// # Errors
    /// The disk says so.
    pub fn has_previous(&self) -> Result<bool, NameDirsError> {
        for dir in locked(&self.locked).iter() {
            let previous = dir.previous();
            let is_there = self.disk.exists(&previous);
            if is_there.map_err(|source| NameDirsError::Io { path: previous, source })? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// First half of an upgrade (`NNUpgradeUtil.doPreUpgrade`): what was there is `previous.tmp`, and `current` has the edits
    /// alone. The image follows.
    ///
    /// # Errors
    /// The disk says so. A start undoes what was done.
    pub fn pre_upgrade(&self, txid: TxId) -> Result<(), NameDirsError> {
        for dir in locked(&self.locked).iter() {
            dir.pre_upgrade()?;
            let seen = dir.current().join("seen_txid");
            let written = self.disk.write_small(&seen, format!("{txid}\n").as_bytes());
            written.map_err(|source| NameDirsError::Io { path: seen, source })?;
        }
        Ok(())
    }

    /// Second half of an upgrade, after the image (`NNUpgradeUtil.doUpgrade`): the directories are of this namespace now, and
    /// `previous` has what was there.
    ///
    /// # Errors
    /// The disk says so. A start completes or undoes what was done, for each directory.
    pub fn upgrade(&self, info: &NamespaceInfo) -> Result<(), NameDirsError> {
        let version = VersionFile::new(NodeType::NameNode, info);
        for dir in locked(&self.locked).iter() {
            dir.upgrade(&version)?;
        }
        Ok(())
    }

    /// Removes `previous`: there is no way back (`NNUpgradeUtil.doFinalize`).
    ///
    /// # Errors
    /// The disk says so.
    pub fn finalize_upgrade(&self) -> Result<(), NameDirsError> {
        for dir in locked(&self.locked).iter() {
            dir.finalize()?;
        }
        Ok(())
    }

    /// Takes an upgrade back: `previous` is `current` again, in every directory that has one (`FSImage.doRollback`). Answers
    /// how many have.
    ///
    /// # Errors
    /// The disk says so, or `previous` is of another layout, which only the software that wrote it may continue. Nothing has
    /// been changed then.
    pub fn roll_back(disk: &D, roots: &Roots, holder: &str) -> Result<usize, NameDirsError> {
        let mut dirs = Vec::new();
        for path in roots.all() {
            let mut dir = StorageDirectory::new(disk.clone(), &path);
            let state = dir.analyze()?;
            if state == StorageState::NonExistent {
                continue;
            }
            dir.lock(holder)?;
            dir.recover(state)?;
            if dir.can_roll_back(LayoutVersion::NAMENODE_CURRENT)? {
                dirs.push(dir);
            }
        }
        for dir in &dirs {
            dir.roll_back()?;
        }
        Ok(dirs.len())
    }

    // ---- directories that fail

    /// A directory (its `current`) is used no more (`NNStorage.reportErrorsOnDirectory`). Answers how many are in use still.
    pub fn fail(&self, current: &Path, reason: &str) -> usize {
        let mut failed = locked(&self.failed);
        failed.insert(current.to_owned(), reason.to_owned());
        let all: BTreeSet<&PathBuf> = self.images.iter().chain(&self.edits).collect();
        all.len().saturating_sub(failed.len())
    }

    /// Directories that are used no more, by their `current`, and why.
    #[must_use]
    pub fn failed(&self) -> BTreeMap<PathBuf, String> {
        locked(&self.failed).clone()
    }

    /// `restoreFailedStorage` with `true`, `false` or `check` (`NNStorage.restoreFailedStorage`): whether failed directories
    /// are tried again at the next checkpoint.
    pub fn restore_failed_storage(&self, argument: &str) -> bool {
        match argument {
            "check" => {}
            wanted => self.restore.store(wanted == "true", Ordering::Release),
        }
        self.restore.load(Ordering::Acquire)
    }

    /// Uses failed directories again that can be written and are of this namespace, or empty, if that is wanted. Their
    /// edits follow with the next segment (`NNStorage.attemptRestoreRemovedStorage`). Answers what came of each.
    pub fn attempt_restore(&self, holder: &str) -> Vec<(PathBuf, Result<(), NameDirsError>)> {
        if !self.restore.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut tried = Vec::new();
        for current in self.failed().into_keys() {
            let restored = self.restore(&current, holder);
            if restored.is_ok() {
                locked(&self.failed).remove(&current);
                self.restoring_edits.store(true, Ordering::Release);
            }
            tried.push((current, restored));
        }
        tried
    }

    fn restore(&self, current: &Path, holder: &str) -> Result<(), NameDirsError> {
        let root = current.parent().unwrap_or(current);
        let io = |path: &Path, source| NameDirsError::Io {
            path: path.to_owned(),
            source,
        };
        let mut dir = StorageDirectory::new(self.disk.clone(), root);
        match dir.read_version()? {
            Some(version) => {
                let found = version.namespace_info(root)?;
                if let Some(differs) = difference(&self.info, &found) {
                    return Err(NameDirsError::Refused(differs));
                }
            }
            // Another disk in its place.
            None => {
                if !self.disk.exists(root).map_err(|source| io(root, source))? {
                    return Err(NameDirsError::Refused("it is not there".to_owned()));
                }
                dir.lock(holder)?;
                dir.format(&VersionFile::new(NodeType::NameNode, &self.info), true)?;
                locked(&self.locked).push(dir);
            }
        }
        let seen = current.join("seen_txid");
        let text = self.disk.read_small(&seen).map_err(|source| io(&seen, source))?;
        let text = text.unwrap_or_else(|| b"0\n".to_vec());
        self.disk.write_small(&seen, &text).map_err(|source| io(&seen, source))
    }

    /// Whether the segment that is about to begin shall be begun in directories, too, that were used no more.
    pub fn begin_restoring_edits(&self) -> bool {
        self.restoring_edits.swap(false, Ordering::AcqRel)
    }

    // ---- images

    /// All images of all directories in use, newest first.
    #[must_use]
    pub fn images(&self) -> Vec<ImageFile> {
        images_in(&self.disk, &self.images_dirs())
    }

    /// Loads the newest image that is whole ([`load_newest`]), which then makes others superfluous.
    ///
    /// # Errors
    /// See [`NotLoaded`].
    pub fn load_newest<T>(
        &self,
        load: impl FnMut(&ImageFile) -> Result<T, LoadError>,
        passed_over: impl FnMut(&ImageFile, &LoadError),
    ) -> Result<(ImageFile, T), NotLoaded> {
        let (image, loaded) = load_newest(self.images(), load, passed_over)?;
        self.note_verified(image.txid);
        Ok((image, loaded))
    }

    /// An image is known to be whole.
    fn note_verified(&self, txid: TxId) {
        locked(&self.verified).insert(txid);
    }

    /// Makes a file that is whole and synced in every directory the image of that transaction. Directories where that fails
    /// are used no more: these are answered.
    ///
    /// # Errors
    /// When it fails in all directories: then none is dropped.
    pub fn publish_image(&self, image: &Unpublished<D>, md5: &[u8; 16]) -> Result<Vec<Failure>, Failure> {
        let failures = self.publish_as(image, &image_name(image.txid()), md5)?;
        self.note_verified(image.txid());
        Ok(failures)
    }

    /// The same for the image to which a rolling upgrade can be rolled back.
    ///
    /// # Errors
    /// As [`NameDirs::publish_image`].
    pub fn publish_rollback_image(&self, image: &Unpublished<D>, md5: &[u8; 16]) -> Result<Vec<Failure>, Failure> {
        self.publish_as(image, &rollback_name(image.txid()), md5)
    }

    fn publish_as(&self, image: &Unpublished<D>, name: &str, md5: &[u8; 16]) -> Result<Vec<Failure>, Failure> {
        let mut failures = Vec::new();
        for file in image.paths() {
            let Some(dir) = file.parent() else { continue };
            if let Err(error) = self.publish(file, dir, name, md5) {
                let path = dir.to_owned();
                failures.push(Failure { path, error });
            }
        }
        if failures.len() == image.paths().len() {
            return Err(failures.pop().unwrap_or_else(|| Failure {
                path: PathBuf::new(),
                error: io::Error::other("no name directory is in use"),
            }));
        }
        for Failure { path, error } in &failures {
            self.fail(path, &format!("cannot publish {name}: {error}"));
        }
        Ok(failures)
    }

    /// The MD5 file comes first, as an image without one is refused.
    fn publish(&self, file: &Path, dir: &Path, name: &str, md5: &[u8; 16]) -> io::Result<()> {
        debug_assert_eq!(
            file.parent(),
            Some(dir),
            "one sync makes the new name durable, and that the old one is gone"
        );
        let disk = &self.disk;
        // Who could not write it has removed it.
        disk.file_len(file)?;
        let image = dir.join(name);
        disk.write_small(&md5_path(&image), format_md5_file(md5, name).as_bytes())?;
        disk.rename(file, &image)?;
        disk.sync_dir(dir)
    }

    /// Notes the highest transaction seen, as far as it goes.
    pub fn write_seen_txid(&self, txid: TxId) -> Vec<Failure> {
        let mut failures = Vec::new();
        for dir in &self.images_dirs() {
            let path = dir.join("seen_txid");
            let known = read_text_long(&self.disk, &path).ok().flatten();
            // The writer of the edits may be ahead of an image.
            if known.is_some_and(|known| known >= txid.0) {
                continue;
            }
            if let Err(error) = self.disk.write_small(&path, format!("{}\n", txid.0).as_bytes()) {
                failures.push(Failure { path, error });
            }
        }
        failures
    }

    /// The highest transaction that `seen_txid` of any directory names (`FSImageTransactionalStorageInspector`).
    #[must_use]
    pub fn max_seen_txid(&self) -> TxId {
        let files = self.images.iter().chain(&self.edits).map(|dir| dir.join("seen_txid"));
        let seen = files.filter_map(|file| read_text_long(&self.disk, &file).ok().flatten());
        TxId(seen.max().unwrap_or(0))
    }

    /// Deletes images beyond those to be retained (`dfs.namenode.num.checkpoints.retained`), and answers the first
    /// transaction whose edits must stay, `extra_edits` (`dfs.namenode.num.extra.edits.retained`) before those that the
    /// images need. Only images that are known to be whole count as retained, and while there are too few of them nothing is
    /// deleted. `None` when there is no image.
    pub fn purge_images(&self, retained: usize, extra_edits: u64) -> Option<Purged> {
        let images = self.images();
        let mut here: Vec<TxId> = images.iter().map(|image| image.txid).collect();
        here.dedup();
        let retained = retained.max(IMAGES_RETAINED_MIN);
        let (oldest, edits_from) = {
            let mut verified = locked(&self.verified);
            verified.retain(|txid| here.contains(txid));
            let whole: Vec<TxId> = verified.iter().copied().collect();
            // All that are here are kept, and their edits with them.
            let (counted, retained) = if whole.len() < retained {
                (&here, usize::MAX)
            } else {
                (&whole, retained)
            };
            retention(counted, retained, extra_edits)?
        };
        debug_assert!(
            edits_from <= oldest.next(),
            "the edits lead on from every image that stays"
        );
        let mut failures = Vec::new();
        for image in images.iter().filter(|image| image.txid < oldest) {
            for path in [image.path.clone(), md5_path(&image.path)] {
                if let Err(error) = self.disk.remove_file(&path) {
                    failures.push(Failure { path, error });
                }
            }
        }
        debug_assert!(
            images.is_empty() || images.iter().any(|image| image.txid >= oldest),
            "an image stays"
        );
        Some(Purged { edits_from, failures })
    }
}

#[cfg(test)]
mod tests;
