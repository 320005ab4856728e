//! An image that is received: a file of this machine's disk that is synced while it is written.

use hathi_nameserver::image_files;
use hathi_storage::{Disk, OsDisk};
use std::io::{self, Write};
use std::path::Path;

/// [`image_files::SyncedFile`] on this disk.
#[derive(Debug)]
pub(crate) struct SyncedFile(image_files::SyncedFile<<OsDisk as Disk>::File>);

impl SyncedFile {
    pub(crate) fn create(path: &Path) -> io::Result<SyncedFile> {
        image_files::SyncedFile::create(&OsDisk, path).map(SyncedFile)
    }

    /// Makes all of it durable.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

impl Write for SyncedFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
