//! The real disk. The only file in `core/` that touches `std::fs`.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::disk::{DirEntry, Disk, DiskFile, replace_small};

/// How long a lock that is held is tried again. A program that is being started has copies of all locks of its parent
/// from the fork until it is loaded, even of locks that were released meanwhile.
const FORKED: Duration = Duration::from_millis(100);

/// Small files that a thread of this process is replacing. Only one thread at a time may use the temporary name of a
/// file. If two did, one would rename a file that the other has only begun to write, and the other would find nothing
/// to rename.
static BEING_REPLACED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
/// Signalled when a replacement is done.
static REPLACED: Condvar = Condvar::new();

/// The right of this thread to replace a small file, until this is dropped.
struct Replacing<'a>(&'a Path);

impl Replacing<'_> {
    fn begin(path: &Path) -> Replacing<'_> {
        // A set of paths is whole even if a thread has panicked while it held the lock.
        let mut all = BEING_REPLACED.lock().unwrap_or_else(PoisonError::into_inner);
        while !all.insert(path.to_owned()) {
            all = REPLACED.wait(all).unwrap_or_else(PoisonError::into_inner);
        }
        Replacing(path)
    }
}

impl Drop for Replacing<'_> {
    fn drop(&mut self) {
        BEING_REPLACED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(self.0);
        REPLACED.notify_all();
    }
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

/// A file of the [`OsDisk`].
#[derive(Debug)]
pub struct OsFile(File);

impl OsFile {
    /// The standard library's file, for operations that only a shell may do (sending a file over a socket).
    #[must_use]
    pub fn as_std(&self) -> &File {
        &self.0
    }
}

impl Disk for OsDisk {
    type File = OsFile;
    type Lock = File;

    fn create(&self, path: &Path) -> io::Result<OsFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        options.open(path).map(OsFile)
    }

    fn create_new(&self, path: &Path) -> io::Result<OsFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        options.open(path).map(OsFile)
    }

    fn open(&self, path: &Path) -> io::Result<OsFile> {
        OpenOptions::new().read(true).write(true).open(path).map(OsFile)
    }

    fn open_read(&self, path: &Path) -> io::Result<OsFile> {
        File::open(path).map(OsFile)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, existing: &Path, new: &Path) -> io::Result<()> {
        fs::hard_link(existing, new)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                let is_dir = entry.file_type()?.is_dir();
                entries.push(DirEntry { name, is_dir });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        fs::exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path)?;
        let started = Instant::now();
        while let Err(error) = file.try_lock() {
            match error {
                TryLockError::WouldBlock if started.elapsed() < FORKED => std::thread::sleep(Duration::from_millis(1)),
                TryLockError::WouldBlock => return Ok(None),
                TryLockError::Error(error) => return Err(error),
            }
        }
        file.set_len(0)?;
        file.write_all(holder.as_bytes())?;
        Ok(Some(file))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn file_id(&self, path: &Path) -> io::Result<Option<u128>> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        // Inode numbers are used again, and not every file system knows when a file was born.
        let born = metadata
            .created()
            .ok()
            .and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born = born.map_or(0, |born| born.as_nanos() & u128::from(u64::MAX));
        Ok(Some(u128::from(metadata.ino()) << 64 | born))
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn link_count(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.nlink())
    }

    fn write_small(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let _replacing = Replacing::begin(path);
        replace_small(self, path, data)
    }
}

impl DiskFile for OsFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read_at(buf, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("last-promised-epoch");
        assert_eq!(OsDisk.read_small(&path).unwrap(), None);
        OsDisk.write_small(&path, b"17\n").unwrap();
        OsDisk.write_small(&path, b"5\n").unwrap();
        assert_eq!(OsDisk.read_small(&path).unwrap(), Some(b"5\n".to_vec()));
        assert_eq!(OsDisk.list(dir.path()).unwrap().len(), 1);
    }

    /// `seen_txid` is written by the thread that begins a segment of edits, and by the one that publishes an image.
    #[test]
    fn a_small_file_that_two_threads_replace_is_always_whole_and_neither_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seen_txid");
        let texts = [b"1234567\n".to_vec(), b"8\n".to_vec()];
        std::thread::scope(|scope| {
            for text in &texts {
                scope.spawn(|| {
                    for _ in 0..100 {
                        OsDisk.write_small(&path, text).unwrap();
                        let read = OsDisk.read_small(&path).unwrap().unwrap();
                        assert!(texts.contains(&read), "{read:?}");
                    }
                });
            }
        });
        assert_eq!(OsDisk.list(dir.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in_use.lock");
        let held = OsDisk.lock(&path, "1@here").unwrap();
        assert!(held.is_some());
        assert!(OsDisk.lock(&path, "2@here").unwrap().is_none());
        drop(held);
        assert!(OsDisk.lock(&path, "2@here").unwrap().is_some());
        assert_eq!(OsDisk.read_small(&path).unwrap(), Some(b"2@here".to_vec()));
    }
}
