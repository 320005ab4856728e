//! The scan of cache directives (first half of `CacheReplicationMonitor`), and what directives need and have.
//!
//! A scan walks the directives by their ids, and the files of each by their names. It tells the block manager which blocks
//! are wanted, and then lets it assign them. It runs in slices, between which calls are served. What changes behind it is
//! found by the next scan, which follows at once when a pool or a directive has changed.
//!
//! All of it is soft: a new active scans at once.

use hathi_formats::ids::BlockId;
use std::collections::BTreeMap;

/// What a directive needs and has (`CacheDirectiveStats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectiveStats {
    /// Bytes of all replicas that it wants cached.
    pub bytes_needed: u64,
    /// Bytes of those that are cached.
    pub bytes_cached: u64,
    /// Its files.
    pub files_needed: u64,
    /// Its files that are cached as a whole.
    pub files_cached: u64,
}

impl DirectiveStats {
    pub(crate) fn add(&mut self, other: &DirectiveStats) {
        self.bytes_needed = self.bytes_needed.saturating_add(other.bytes_needed);
        self.bytes_cached = self.bytes_cached.saturating_add(other.bytes_cached);
        self.files_needed = self.files_needed.saturating_add(other.files_needed);
        self.files_cached = self.files_cached.saturating_add(other.files_cached);
    }
}

/// How far a scan is.
#[derive(Clone, Debug)]
pub(crate) enum Scan {
    /// Directives are looked at.
    Directives {
        /// All up to this id are done.
        after: i64,
        /// The next one was begun: children up to this name are done, with what was found so far.
        begun: Option<(Vec<u8>, DirectiveStats)>,
        /// Bytes that the pools need so far.
        pools: BTreeMap<String, u64>,
        /// What was found.
        stats: BTreeMap<i64, DirectiveStats>,
    },
    /// Blocks are assigned, from this one on.
    Blocks(BlockId),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct CacheScans {
    /// Of the last scan, and of the changes since.
    pub(crate) stats: BTreeMap<i64, DirectiveStats>,
    pub(crate) scan: Option<Scan>,
    pub(crate) is_due: bool,
    /// When the last scan began, monotonic ms.
    pub(crate) began_ms: Option<u64>,
}

impl CacheScans {
    /// What a new active begins with.
    pub(crate) fn of_new_active() -> CacheScans {
        CacheScans {
            is_due: true,
            ..CacheScans::default()
        }
    }
}
