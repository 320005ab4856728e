//! The one trait through which cores reach a disk.
//!
//! What a caller may rely on, of the real disk as of the simulated one:
//! * data written is durable after `sync_data` of its file returned success, not before;
//! * a name (created, renamed, removed) is durable after `sync_dir` of its directory returned success, not before;
//! * `rename` is atomic: after a crash the new name means what it meant before or the file that was renamed, and the file
//!   has its old name or the new one, also when these are in two directories;
//! * after a failed sync nothing is known about what was written since the last good one: callers must not retry.
//!
//! Calls are synchronous: who must not block calls from a thread of his own.

use std::fmt::Debug;
use std::io;
use std::path::Path;

/// A name inside a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The last component of the path.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Most bytes a small file may have ([`Disk::read_small`]): versions, epochs, markers, recovery records.
pub const SMALL_FILE_LIMIT_BYTES: usize = 1 << 20;

/// A file system, or the part of one that a daemon was given.
pub trait Disk: Clone + Debug + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// Held as long as a storage directory is in use; dropping it lets go.
    type Lock: Debug + Send + Sync + 'static;

    /// Makes an empty file for reading and writing; what was there before is gone.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Makes an empty file for reading and writing, if there is none of this name (`AlreadyExists`).
    fn create_new(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens an existing file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Self::File>;
    /// Renames a file or directory, replacing a file of the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name.
    fn hard_link(&self, existing: &Path, new: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and its missing parents; no error when it is there.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Whether a file or directory of this name is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Makes names created, renamed and removed in this directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock file of a storage directory and writes `holder` into it; `None` when another process holds it.
    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<Self::Lock>>;
    /// Sets the permission bits of a file or directory; a disk without permissions ignores it.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// What tells a file from every other that was ever made on this disk, its copies too, and stays when it is
    /// renamed or written to. `None` when it is not there, or the disk has no such thing.
    fn file_id(&self, path: &Path) -> io::Result<Option<u128>>;

    /// The length of a file in bytes.
    fn file_len(&self, path: &Path) -> io::Result<u64>;
    /// How many names a file has. Who writes to a file of several names changes it under all of them.
    fn link_count(&self, path: &Path) -> io::Result<u64>;

    /// Reads a whole small file; `None` when it is not there.
    fn read_small(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open_read(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let len = file.len()?;
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len <= SMALL_FILE_LIMIT_BYTES)
            .ok_or_else(|| too_large(path, len))?;
        let mut data = vec![0; len];
        let mut filled: usize = 0;
        while let Some(rest) = data.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(filled as u64, rest)? {
                0 => break,
                n => filled = filled.saturating_add(n),
            }
        }
        debug_assert!(filled <= len, "a file gives no more than there is room for");
        data.truncate(filled);
        Ok(Some(data))
    }

    /// Writes a whole small file so that after a crash there is the old or the new one, and after success the new one:
    /// temporary file, sync, rename, sync of the directory (Hadoop's `AtomicFileOutputStream`).
    ///
    /// Refuses what [`Disk::read_small`] would not read back.
    fn write_small(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        replace_small(self, path, data)
    }
}

/// See [`Disk::write_small`]. Whoever calls it is alone with this path.
pub(crate) fn replace_small<D: Disk>(disk: &D, path: &Path, data: &[u8]) -> io::Result<()> {
    if data.len() > SMALL_FILE_LIMIT_BYTES {
        return Err(too_large(path, data.len() as u64));
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    debug_assert_eq!(temporary.parent(), path.parent(), "one sync covers both names");
    let file = disk.create(temporary)?;
    file.write_at(0, data)?;
    file.sync_data()?;
    drop(file);
    disk.rename(temporary, path)?;
    match path.parent() {
        Some(dir) => disk.sync_dir(dir),
        None => Ok(()),
    }
}

fn too_large(path: &Path, len: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{}: {len} bytes are too many for a small file", path.display()),
    )
}

/// An open file of a [`Disk`].
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Reads at a position; 0 only at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `data` at a position.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes what was written, and the length, durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts or extends (with zeros) to a length.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Starts writing a range back without waiting, so that the next sync has less to do. A hint.
    fn start_writeback(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}
