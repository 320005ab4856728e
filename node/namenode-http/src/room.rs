//! Room in the directories of this NameNode.

use std::path::PathBuf;

/// Room in a directory of this NameNode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The directory.
    pub dir: PathBuf,
    /// Free bytes for this process's user; `None` when the system does not tell.
    pub free_bytes: Option<u64>,
    /// Bytes of its file system.
    pub total_bytes: Option<u64>,
}

impl Room {
    /// Asks the system, which may take long when a disk hangs.
    #[must_use]
    pub fn of(dir: PathBuf) -> Room {
        let stat = rustix::fs::statvfs(&dir).ok();
        let bytes = |blocks: u64, of: u64| blocks.saturating_mul(of);
        Room {
            dir,
            free_bytes: stat.as_ref().map(|stat| bytes(stat.f_bavail, stat.f_frsize)),
            total_bytes: stat.as_ref().map(|stat| bytes(stat.f_blocks, stat.f_frsize)),
        }
    }
}
