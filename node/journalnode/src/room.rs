//! Room in the directories of journals.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

/// Room in a directory.
#[derive(Clone, Debug)]
pub struct Room {
    /// The directory.
    pub dir: String,
    /// Free bytes for this process's user.
    pub free_bytes: u64,
    /// Bytes of its file system.
    pub size_bytes: u64,
}

impl Room {
    /// As `/jmx` and `/api/journalnode` show it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"path": self.dir, "free": self.free_bytes, "size": self.size_bytes})
    }
}

/// Asks the system for the room in each directory. One that it does not tell of is left out.
#[must_use]
pub fn of(dirs: BTreeSet<PathBuf>) -> Vec<Room> {
    let room = |dir: PathBuf| {
        let stat = rustix::fs::statvfs(&dir).ok()?;
        Some(Room {
            dir: dir.display().to_string(),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            size_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    };
    dirs.into_iter().filter_map(room).collect()
}
