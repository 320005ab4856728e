//! Replicas that are kept in memory (`FsDatasetCache`).
//!
//! A replica is cached when it is finalized, there is room for it, and its bytes match their checksums. It is let go when
//! the NameNode says so, and when it has changed: [`BlockCache::sweep`] looks before every heartbeat.
//!
//! Invariant: `used` is the sum of what is loaded and cached, in whole pages, and never above the capacity.

mod locked;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use hathi_blockpool::{Replica, ReplicaState, VolumeId};
use hathi_formats::ids::{Block, BlockId};
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};

pub(crate) use self::locked::LockedFile;
use crate::DataNodeError;

/// Blocks that may wait to be loaded. The NameNode orders the others again.
const WAITING_MAX: usize = 1_000_000;

/// What is told of a cached replica, and must stay so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    block: Block,
    pub(crate) volume: VolumeId,
}

impl Loaded {
    pub(crate) fn of(replica: &Replica) -> Option<Loaded> {
        (replica.state == ReplicaState::Finalized).then(|| Loaded {
            block: replica.block(),
            volume: replica.volume,
        })
    }
}

#[derive(Debug)]
enum Entry {
    /// It waits, or is being read.
    Loading { cancelled: bool, bytes: u64 },
    Cached {
        loaded: Loaded,
        bytes: u64,
        /// Dropped to let the pages go.
        _pages: LockedFile,
    },
}

impl Entry {
    fn bytes(&self) -> u64 {
        match self {
            Entry::Loading { bytes, .. } | Entry::Cached { bytes, .. } => *bytes,
        }
    }
}

/// A replica by its pool and id.
pub(crate) type Key = (String, BlockId);

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    used: u64,
    /// Replicas that wait to be loaded, and the threads that load, of each volume.
    waiting: BTreeMap<VolumeId, (VecDeque<Key>, usize)>,
    waiting_count: usize,
}

impl State {
    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.used = self.used.saturating_sub(entry.bytes());
        Some(entry)
    }
}

/// See the module.
#[derive(Debug)]
pub struct BlockCache {
    capacity: u64,
    threads_per_volume: usize,
    page_bytes: u64,
    state: Mutex<State>,
    /// Grows with each change of what is cached.
    version: AtomicU64,
    /// Replicas that were cached, since the start.
    pub cached: AtomicU64,
    /// Replicas that were let go, since the start.
    pub dropped: AtomicU64,
    /// Orders that could not be carried out, since the start.
    pub failed: AtomicU64,
}

impl BlockCache {
    /// An empty cache for so many bytes.
    #[must_use]
    pub fn new(capacity: u64, threads_per_volume: usize) -> BlockCache {
        BlockCache {
            capacity,
            threads_per_volume: threads_per_volume.max(1),
            page_bytes: rustix::param::page_size().max(1) as u64,
            state: Mutex::default(),
            version: AtomicU64::new(0),
            cached: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Bytes that may be cached: `dfs.datanode.max.locked.memory`.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes that are cached or being loaded.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state.lock().used
    }

    /// Number of replicas that are cached.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.state.lock();
        let cached = state.entries.values();
        cached.filter(|entry| matches!(entry, Entry::Cached { .. })).count()
    }

    /// Whether nothing is cached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Grows with each change of what is cached.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The replicas of a pool that are cached (`getCacheReport`).
    #[must_use]
    pub fn report(&self, pool: &str) -> Vec<u64> {
        let state = self.state.lock();
        let of_pool = state.entries.iter().filter(|((of, _), _)| of == pool);
        let cached = of_pool.filter(|(_, entry)| matches!(entry, Entry::Cached { .. }));
        cached.map(|((_, id), _)| id.0.cast_unsigned()).collect()
    }

    /// Lets replicas go, and those that are not loaded yet will not be.
    pub fn uncache(&self, pool: &str, ids: impl Iterator<Item = BlockId>) {
        for id in ids {
            let key = (pool.to_owned(), id);
            let mut state = self.state.lock();
            match state.entries.get_mut(&key) {
                Some(Entry::Loading { cancelled, .. }) => *cancelled = true,
                Some(Entry::Cached { .. }) => {
                    let entry = state.remove(&key);
                    drop(state);
                    self.let_go(entry);
                }
                None => {}
            }
        }
    }

    fn let_go(&self, entry: Option<Entry>) {
        if let Some(Entry::Cached { .. }) = entry {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.version.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn fail(&self, id: BlockId, why: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(block = %id, why, "cannot cache a block");
    }

    /// Takes room for a replica, and puts it in the queue of its volume. Returns whether a thread is to be started.
    pub(crate) fn admit(&self, key: Key, replica: &Loaded) -> bool {
        let pages = replica.block.num_bytes.div_ceil(self.page_bytes);
        let bytes = pages.saturating_mul(self.page_bytes);
        let mut state = self.state.lock();
        if let Some(known) = state.entries.get_mut(&key) {
            if let Entry::Loading { cancelled, .. } = known {
                *cancelled = false;
            }
            return false;
        }
        if state.used.saturating_add(bytes) > self.capacity || state.waiting_count >= WAITING_MAX {
            self.fail(key.1, "there is no room");
            return false;
        }
        state.used += bytes;
        state.waiting_count += 1;
        let cancelled = false;
        state.entries.insert(key.clone(), Entry::Loading { cancelled, bytes });
        let (queue, threads) = state.waiting.entry(replica.volume).or_default();
        queue.push_back(key);
        let more = *threads < self.threads_per_volume;
        *threads += usize::from(more);
        more
    }

    /// The next replica of a volume for a thread. When there is none, the thread ends.
    pub(crate) fn next(&self, volume: VolumeId) -> Option<Key> {
        let mut state = self.state.lock();
        let (queue, threads) = state.waiting.entry(volume).or_default();
        let next = queue.pop_front();
        match next {
            Some(_) => state.waiting_count = state.waiting_count.saturating_sub(1),
            None => *threads = threads.saturating_sub(1),
        }
        next
    }

    /// A thread that loads replicas of a volume was not started.
    pub(crate) fn thread_ended(&self, volume: VolumeId) {
        let mut state = self.state.lock();
        let (_, threads) = state.waiting.entry(volume).or_default();
        *threads = threads.saturating_sub(1);
    }

    pub(crate) fn is_cancelled(&self, key: &Key) -> bool {
        let state = self.state.lock();
        matches!(
            state.entries.get(key),
            Some(Entry::Loading { cancelled: true, .. }) | None
        )
    }

    /// A replica is loaded, or could not be.
    pub(crate) fn finish(&self, key: &Key, loaded: Option<(Loaded, LockedFile)>) {
        let mut state = self.state.lock();
        let Some(Entry::Loading { cancelled, bytes }) = state.entries.get(key) else {
            return;
        };
        let (cancelled, bytes) = (*cancelled, *bytes);
        match loaded {
            Some((loaded, pages)) if !cancelled => {
                let entry = Entry::Cached {
                    loaded,
                    bytes,
                    _pages: pages,
                };
                state.entries.insert(key.clone(), entry);
                drop(state);
                self.cached.fetch_add(1, Ordering::Relaxed);
                self.version.fetch_add(1, Ordering::AcqRel);
            }
            _ => drop(state.remove(key)),
        }
    }

    /// Lets replicas go that are deleted, moved or changed.
    pub fn sweep(&self, now: impl Fn(&str, BlockId) -> Option<Replica>) {
        let known: Vec<(Key, Loaded)> = {
            let state = self.state.lock();
            let cached = state.entries.iter().filter_map(|(key, entry)| match entry {
                Entry::Cached { loaded, .. } => Some((key.clone(), *loaded)),
                Entry::Loading { .. } => None,
            });
            cached.collect()
        };
        for (key, loaded) in known {
            if now(&key.0, key.1).as_ref().and_then(Loaded::of) != Some(loaded) {
                let entry = self.state.lock().remove(&key);
                self.let_go(entry);
            }
        }
    }
}

/// Refuses more than the system lets this process lock (`DataNode.startDataNode`).
///
/// # Errors
/// When `RLIMIT_MEMLOCK` is lower than `dfs.datanode.max.locked.memory`.
pub fn check_limit(capacity: u64) -> Result<(), DataNodeError> {
    check_against(capacity, getrlimit(Resource::Memlock).current)
}

fn check_against(capacity: u64, limit: Option<u64>) -> Result<(), DataNodeError> {
    match limit {
        Some(limit) if capacity > limit => Err(DataNodeError::Config(format!(
            "Cannot start datanode because the configured max locked memory size (dfs.datanode.max.locked.memory) of \
             {capacity} bytes is more than the datanode's available RLIMIT_MEMLOCK ulimit of {limit} bytes."
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::ids::GenerationStamp;

    fn replica(id: i64, num_bytes: u64) -> Loaded {
        Loaded {
            block: Block {
                id: BlockId(id),
                num_bytes,
                generation_stamp: GenerationStamp(1),
            },
            volume: VolumeId(0),
        }
    }

    fn key(id: i64) -> Key {
        ("BP-1".to_owned(), BlockId(id))
    }

    fn pages() -> LockedFile {
        LockedFile::open("/dev/null".as_ref(), 0).unwrap()
    }

    #[test]
    fn whole_pages_count_and_there_are_no_more_than_the_capacity() {
        let cache = BlockCache::new(3 * rustix::param::page_size() as u64, 1);
        let page = cache.page_bytes;
        assert!(cache.admit(key(1), &replica(1, page + 1)), "a thread is started");
        assert!(!cache.admit(key(2), &replica(2, page)), "it takes this one, too");
        assert!(!cache.admit(key(3), &replica(3, 1)));
        assert_eq!((cache.used(), cache.failed.load(Ordering::Relaxed)), (3 * page, 1));
        assert_eq!(cache.next(VolumeId(0)), Some(key(1)));
        cache.finish(&key(1), Some((replica(1, page + 1), pages())));
        assert_eq!(cache.report("BP-1"), [1]);
        assert_eq!(cache.report("BP-2"), [0; 0]);
        cache.uncache("BP-1", [BlockId(1), BlockId(2)].into_iter());
        assert!(cache.is_cancelled(&key(2)));
        cache.finish(&key(2), Some((replica(2, page), pages())));
        assert_eq!((cache.used(), cache.len()), (0, 0));
    }

    #[test]
    fn what_is_not_as_it_was_is_let_go() {
        let cache = BlockCache::new(1 << 30, 1);
        for id in 1..=2 {
            cache.admit(key(id), &replica(id, 10));
            cache.finish(&key(id), Some((replica(id, 10), pages())));
        }
        let before = cache.version();
        cache.sweep(|_, _| None);
        assert!(cache.is_empty() && cache.version() > before);
    }

    #[test]
    fn no_more_is_configured_than_the_system_allows() {
        assert!(check_against(0, Some(0)).is_ok() && check_against(9, None).is_ok());
        let error = check_against(9, Some(8)).unwrap_err().to_string();
        assert_eq!(
            error,
            "Cannot start datanode because the configured max locked memory size (dfs.datanode.max.locked.memory) of 9 \
             bytes is more than the datanode's available RLIMIT_MEMLOCK ulimit of 8 bytes."
        );
    }
}
