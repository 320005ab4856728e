//! What a transition does to files, step by step.
//!
//! A transition is carried out in three parts, all under the replica's own lock:
//! 1. [`Steps::prepare`]: the slow part (copies, the cut of a truncation), without the pool's lock;
//! 2. [`Steps::perform`]: renames, under the pool's lock, together with the change of the map;
//! 3. [`Steps::settle`]: makes durable what the transition promises, and removes what it leaves behind. Only then is it
//!    answered.
//!
//! What is durable, and when ("data, meta, directory" in this order):
//!
//! | transition | durable before it is answered |
//! |---|---|
//! | create | nothing; the first hsync of the writer syncs the names |
//! | hsync | data, meta, and at its first time the names |
//! | finalize after plain writes | nothing: HDFS promises these bytes to no disk (`dfs.datanode.synconclose`) |
//! | finalize after an hsync, an append or a pipeline recovery, or of a copy that a DataNode made | all: the writer syncs data and meta first |
//! | pipeline recovery (`recoverRbw`) | the names with the new stamp |
//! | open for append, `recoverAppend`, `recoverClose`, `convertTemporaryToRbw`, `updateReplicaUnderRecovery`, a local move | all |
//!
//! So a stamp that a NameNode may log is on disk, and so is every byte whose sync was answered.
//!
//! A loss of power at any step leaves files that a start understands ([`crate::scan`]). A rename is atomic. An
//! unfinished file has a name of its own. A meta file whose block file was renamed already is found in the other
//! folder. An older one beside the block file, whose removal was not durable, does not hide it. A truncation writes a new meta file, whose name has the new stamp, before it cuts the block file. A start
//! that finds both meta files finishes the cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use hathi_storage::{Disk, DiskFile};

use crate::chunks::{Mismatch, last_checksum, meta_of_prefix, read_exact_at};
use crate::files::{PoolDirs, ReplicaFiles, meta_file_name, missing_is_fine, unfinished};
use crate::replica::{FileAction, Folder, Location, VolumeId};
use crate::replicas::{Durable, Transition};

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The disk failed.
    #[error("volume {}: {source}", volume.0)]
    Disk {
        /// The volume.
        volume: VolumeId,
        /// The cause.
        source: io::Error,
    },
    /// The replica's bytes do not match their checksum, so that no new one is made of them.
    #[error("{0}")]
    Corrupt(String),
}

/// The part of a transition that is left after the commit.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Rest {
    volume: VolumeId,
    dirs: BTreeSet<PathBuf>,
    files: Vec<ReplicaFiles>,
    left_behind: Vec<PathBuf>,
    then: Vec<FileAction>,
}

/// The files of one pool on all volumes.
#[derive(Debug)]
pub struct Steps<'a, D> {
    disk: &'a D,
    dirs: &'a BTreeMap<VolumeId, PoolDirs>,
    /// Deleted replicas are kept (a rolling upgrade is under way).
    keep_deleted: bool,
}

/// Path of a meta file with the stamp of `to` while the block file is still at `from`.
fn prepared_meta(from: &ReplicaFiles, to: Location) -> PathBuf {
    from.dir.join(meta_file_name(to.block_id, to.generation_stamp))
}

impl<'a, D: Disk> Steps<'a, D> {
    /// Steps on a pool's directories.
    #[must_use]
    pub fn new(disk: &'a D, dirs: &'a BTreeMap<VolumeId, PoolDirs>, keep_deleted: bool) -> Self {
        Steps {
            disk,
            dirs,
            keep_deleted,
        }
    }

    fn dirs(&self, volume: VolumeId) -> Result<&PoolDirs, StepError> {
        self.dirs.get(&volume).ok_or_else(|| StepError::Disk {
            volume,
            source: io::Error::other("the volume is gone"),
        })
    }

    /// The files at a location.
    pub fn files(&self, at: Location) -> Result<ReplicaFiles, StepError> {
        Ok(self.dirs(at.volume)?.files(at))
    }

    /// Whether a transition has slow parts.
    #[must_use]
    pub fn is_slow(transition: &Transition) -> bool {
        transition.actions.iter().any(|action| match action {
            FileAction::Truncate { .. } | FileAction::Copy { .. } => true,
            FileAction::Move { from, to } => reopens(*from, *to),
            FileAction::Create(_) | FileAction::Delete(_) => false,
        })
    }

    /// Does the slow parts, without the pool's lock. Returns the checksum of the last, short chunk of a replica that will
    /// be written to.
    pub fn prepare(&self, transition: &Transition) -> Result<Option<[u8; 4]>, StepError> {
        let mut last = None;
        for action in &transition.actions {
            let (volume, result) = match *action {
                FileAction::Truncate { from, to, length } => (from.volume, {
                    let files = self.files(from)?;
                    self.cut(&files, from, to, length, transition.mismatch)
                        .map(|sum| last = sum)
                }),
                FileAction::Copy { from, to, length } => (to.volume, {
                    let files = self.files(from)?;
                    let copy = self.files(in_tmp(to))?;
                    let copied = self.copy(&files, &copy, length, transition.mismatch);
                    if copied.is_err() {
                        // If it can't be removed here, the next start removes it.
                        let _ = copy.delete(self.disk);
                    }
                    copied
                }),
                FileAction::Move { from, to } if reopens(from, to) => (from.volume, {
                    let files = self.files(from)?;
                    let length = transition.replica.as_ref().map_or(0, |replica| replica.num_bytes);
                    self.own_alone(&files.data)
                        .and_then(|()| self.own_alone(&files.meta))
                        .and_then(|()| last_checksum(self.disk, &files, length))
                        .map(|sum| last = sum)
                }),
                FileAction::Move { .. } | FileAction::Create(_) | FileAction::Delete(_) => continue,
            };
            result.map_err(|source| {
                if source.kind() == io::ErrorKind::InvalidData {
                    StepError::Corrupt(source.to_string())
                } else {
                    StepError::Disk { volume, source }
                }
            })?;
        }
        Ok(last)
    }

    /// Renames, creates and deletes, under the pool's lock.
    pub fn perform(&self, transition: &mut Transition) -> Result<Rest, StepError> {
        let mut rest = Rest {
            then: std::mem::take(&mut transition.then),
            ..Rest::default()
        };
        for action in &transition.actions {
            match *action {
                FileAction::Create(at) => self.at(at.volume, self.create(&self.files(at)?))?,
                FileAction::Delete(at) => self.delete(at)?,
                FileAction::Move { from, to } => {
                    let (source, target) = (self.files(from)?, self.files(to)?);
                    self.at(from.volume, self.rename_both(&source, &target))?;
                    self.owe(&mut rest, transition.durable, &source, &target, to);
                }
                FileAction::Truncate { from, to, .. } => {
                    let (source, target) = (self.files(from)?, self.files(to)?);
                    let prepared = ReplicaFiles {
                        meta: prepared_meta(&source, to),
                        ..source.clone()
                    };
                    self.at(from.volume, self.rename_both(&prepared, &target))?;
                    if source.meta != prepared.meta {
                        rest.left_behind.push(source.meta.clone());
                    }
                    self.owe(&mut rest, transition.durable, &source, &target, to);
                }
                FileAction::Copy { to, .. } => {
                    let (copy, target) = (self.files(in_tmp(to))?, self.files(to)?);
                    self.at(to.volume, self.put_copy(&copy, &target))?;
                    self.owe(&mut rest, transition.durable, &copy, &target, to);
                }
            }
        }
        Ok(rest)
    }

    /// Makes the promised state durable, then removes files that are no longer needed.
    pub fn settle(&self, rest: &Rest) -> Result<(), StepError> {
        self.at(rest.volume, self.sync(rest))?;
        for path in &rest.left_behind {
            self.at(rest.volume, missing_is_fine(self.disk.remove_file(path)))?;
        }
        for action in &rest.then {
            if let FileAction::Delete(at) = *action {
                self.delete(at)?;
            }
        }
        Ok(())
    }

    fn at<T>(&self, volume: VolumeId, result: io::Result<T>) -> Result<T, StepError> {
        result.map_err(|source| StepError::Disk { volume, source })
    }

    fn owe(&self, rest: &mut Rest, durable: Durable, from: &ReplicaFiles, to: &ReplicaFiles, at: Location) {
        rest.volume = at.volume;
        if durable >= Durable::Names {
            rest.dirs.extend([from.dir.clone(), to.dir.clone()]);
        }
        if durable == Durable::All {
            rest.files.push(to.clone());
        }
    }

    fn sync(&self, rest: &Rest) -> io::Result<()> {
        for files in &rest.files {
            self.disk.open(&files.data)?.sync_data()?;
            self.disk.open(&files.meta)?.sync_data()?;
        }
        for dir in &rest.dirs {
            self.disk.sync_dir(dir)?;
        }
        Ok(())
    }

    /// Deletes a replica's files, or keeps them for a rollback to the version before.
    pub fn delete(&self, at: Location) -> Result<(), StepError> {
        let dirs = self.dirs(at.volume)?;
        let files = dirs.files(at);
        let result = if self.keep_deleted {
            let trash = dirs.in_trash(at);
            self.disk
                .create_dir_all(&trash.dir)
                .and_then(|()| files.set_aside(self.disk, &trash))
        } else {
            files.delete(self.disk)
        };
        self.at(at.volume, result)
    }

    /// Creates both files, empty. Old files of these names are emptied.
    fn create(&self, files: &ReplicaFiles) -> io::Result<()> {
        for path in [&files.data, &files.meta] {
            match self.disk.create(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.make_dir(&files.dir)?;
                    self.disk.create(path)?;
                }
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// Makes a directory, durably: otherwise files that are synced into it later would be lost with its name.
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut made: Vec<&Path> = Vec::new();
        for dir in dir.ancestors() {
            if self.disk.exists(dir)? {
                break;
            }
            made.push(dir);
        }
        self.disk.create_dir_all(dir)?;
        for dir in made.iter().rev() {
            if let Some(parent) = dir.parent() {
                self.disk.sync_dir(parent)?;
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path, dir: &Path) -> io::Result<()> {
        if from == to {
            return Ok(());
        }
        match self.disk.rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.disk.exists(dir)? => {
                self.make_dir(dir)?;
                self.disk.rename(from, to)
            }
            other => other,
        }
    }

    /// Renames both files, the block file first: a start looks for the meta file of a block file in the other folder.
    /// When the second rename fails the first one is undone.
    fn rename_both(&self, from: &ReplicaFiles, to: &ReplicaFiles) -> io::Result<()> {
        self.rename(&from.data, &to.data, &to.dir)?;
        self.rename(&from.meta, &to.meta, &to.dir).inspect_err(|_| {
            // If this fails too, the caller finds the replica's files anew.
            let _ = self.rename(&to.data, &from.data, &from.dir);
        })
    }

    /// Renames both files of a copy, the meta file first: a meta file alone is no replica, and a start empties `tmp`.
    fn put_copy(&self, copy: &ReplicaFiles, to: &ReplicaFiles) -> io::Result<()> {
        self.rename(&copy.meta, &to.meta, &to.dir)?;
        self.rename(&copy.data, &to.data, &to.dir)
    }

    /// Copies a file before it is written to, if an upgrade keeps the same file under a second name in `previous`.
    fn own_alone(&self, path: &Path) -> io::Result<()> {
        if self.disk.link_count(path)? < 2 {
            return Ok(());
        }
        let copy = unfinished(path);
        self.copy_file(path, &copy, self.disk.file_len(path)?)?;
        self.disk.rename(&copy, path)
    }

    /// Cuts the block file to `length`, with a meta file of the new stamp beside it.
    fn cut(
        &self,
        files: &ReplicaFiles,
        from: Location,
        to: Location,
        length: u64,
        mismatch: Mismatch,
    ) -> io::Result<Option<[u8; 4]>> {
        let (meta, last) = meta_of_prefix(self.disk, files, length, mismatch)?;
        let new_meta = prepared_meta(files, to);
        let making = unfinished(&new_meta);
        let file = self.disk.create(&making)?;
        file.write_at(0, &meta)?;
        file.sync_data()?;
        let alone = self.disk.link_count(&files.data)? < 2;
        let copy = unfinished(&files.data);
        if !alone {
            self.copy_file(&files.data, &copy, length)?;
        }
        self.disk.rename(&making, &new_meta)?;
        let durable = self.disk.sync_dir(&files.dir);
        if durable.is_err() && from.generation_stamp != to.generation_stamp {
            // Nothing is cut yet, so a start must not find the new meta file.
            let _ = self.disk.remove_file(&new_meta);
        }
        durable?;
        if alone {
            let data = self.disk.open(&files.data)?;
            if data.len()? > length {
                data.set_len(length)?;
            }
            data.sync_data()?;
        } else {
            self.disk.rename(&copy, &files.data)?;
        }
        Ok(last)
    }

    /// Copies the first `length` bytes and their checksums, durably.
    fn copy(&self, from: &ReplicaFiles, to: &ReplicaFiles, length: u64, mismatch: Mismatch) -> io::Result<()> {
        let (meta, _) = meta_of_prefix(self.disk, from, length, mismatch)?;
        // A loss of power may bring the old replica back beside the new one. Then both must be good.
        self.disk.open(&from.data)?.sync_data()?;
        self.disk.open(&from.meta)?.sync_data()?;
        self.disk.create_dir_all(&to.dir)?;
        self.copy_file(&from.data, &to.data, length)?;
        let file = self.disk.create(&to.meta)?;
        file.write_at(0, &meta)?;
        file.sync_data()
    }

    fn copy_file(&self, from: &Path, to: &Path, length: u64) -> io::Result<()> {
        let source = self.disk.open_read(from)?;
        let target = self.disk.create(to)?;
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(COPY_BYTES).min(COPY_BYTES)];
        let mut done: u64 = 0;
        while done < length {
            let left = length.saturating_sub(done);
            let len = usize::try_from(left).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let part = buffer.get_mut(..len).unwrap_or_default();
            read_exact_at(&source, done, part)?;
            target.write_at(done, part)?;
            done = done.saturating_add(len as u64);
        }
        target.sync_data()
    }
}

/// The place in `tmp` where a copy is made before it is renamed.
fn in_tmp(to: Location) -> Location {
    Location {
        folder: Folder::Tmp,
        ..to
    }
}

/// Whether a complete replica is opened for writing.
fn reopens(from: Location, to: Location) -> bool {
    from.folder == Folder::Finalized && to.folder != Folder::Finalized
}

#[cfg(test)]
mod tests;
