//! A file whose pages stay in memory (`MappableBlock`, `NativeIO.POSIX.mlock`).
//!
//! The file is mapped and locked, and nothing else: nobody reads through the mapping. Readers read the file as ever, and
//! find its pages in the page cache, because the lock keeps them there. So it does not matter when somebody changes or
//! cuts off the file meanwhile.

#![allow(
    unsafe_code,
    reason = "only system calls on a mapping can keep the pages of a file in memory"
)]

use std::fs::File;
use std::io;
use std::path::Path;
use std::ptr::null_mut;

use rustix::mm::{MapFlags, ProtFlags, mlock, mmap, munmap};

/// The pages are let go when it is dropped.
#[derive(Debug)]
pub(crate) struct LockedFile {
    /// Where it is mapped; 0 for an empty file, which has no pages.
    address: usize,
    len_bytes: usize,
}

impl LockedFile {
    /// Reads the first bytes of a file into memory, and keeps them there.
    ///
    /// # Errors
    /// When it can't be opened or mapped, or when the limit of locked memory is reached (`RLIMIT_MEMLOCK`).
    pub(crate) fn open(path: &Path, len_bytes: u64) -> io::Result<LockedFile> {
        let file = File::open(path)?;
        let len_bytes = usize::try_from(len_bytes).map_err(io::Error::other)?;
        if len_bytes == 0 {
            return Ok(LockedFile { address: 0, len_bytes });
        }
        // SAFETY: the kernel chooses a place that nothing else uses, and no reference into the mapping is ever made.
        let address = unsafe { mmap(null_mut(), len_bytes, ProtFlags::READ, MapFlags::SHARED, &file, 0) }?;
        let locked = LockedFile {
            address: address as usize,
            len_bytes,
        };
        // SAFETY: these are the pages that were mapped just now. They stay mapped until `locked` is dropped.
        unsafe { mlock(address, len_bytes) }?;
        Ok(locked)
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        if self.len_bytes == 0 {
            return;
        }
        // SAFETY: the pages were mapped by `open`, are unmapped once, and no reference into them exists.
        if let Err(error) = unsafe { munmap(self.address as *mut _, self.len_bytes) } {
            tracing::error!(%error, "cannot let a cached block go");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of this process that are locked, as the kernel says.
    fn locked_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn a_file_is_locked_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("block");
        std::fs::write(&path, vec![7; 64 << 10]).unwrap();
        let locked = LockedFile::open(&path, 64 << 10).unwrap();
        assert!(locked_kib() >= 64);
        drop(locked);
        drop(LockedFile::open(&path, 0).unwrap());
        assert!(LockedFile::open(&dir.path().join("none"), 1).is_err());
    }
}
