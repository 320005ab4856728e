//! A large file that is synced while it is written: an image.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Bytes that are written before they are synced. A journal on the same disk syncs each of its batches, and the file system
/// makes that wait for what other files have written before: 4 MiB take a disk some 10 ms, an image of many files seconds.
const SYNC_EVERY: u64 = 4 << 20;

/// Syncs what it has written as it goes.
#[derive(Debug)]
pub(crate) struct SyncedFile {
    file: File,
    unsynced: u64,
}

impl SyncedFile {
    pub(crate) fn create(path: &Path) -> io::Result<SyncedFile> {
        Ok(SyncedFile {
            file: File::create(path)?,
            unsynced: 0,
        })
    }

    /// Makes all of it durable.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Write for SyncedFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write(data)?;
        self.unsynced += written as u64;
        if self.unsynced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
