//! Orders to cache replicas.

use std::sync::Arc;

use hathi_blockpool::VolumeId;
use hathi_formats::ids::BlockId;

use super::DataNode;
use crate::cache::{Key, Loaded, LockedFile};
use crate::verify::{ReplicaCheck, read_again};

impl DataNode {
    /// Carries out an order to cache replicas. They are read by threads of their own.
    pub fn cache_blocks(self: &Arc<DataNode>, pool_id: &str, ids: impl Iterator<Item = BlockId>) {
        let Ok(pool) = self.dataset.pool(pool_id) else {
            return;
        };
        for id in ids {
            let Some(replica) = pool.get(id).as_ref().and_then(Loaded::of) else {
                self.cache.fail(id, "there is no finalized replica");
                continue;
            };
            if self.cache.admit((pool_id.to_owned(), id), &replica) {
                let node = self.clone();
                let spawned = std::thread::Builder::new()
                    .name("cache".to_owned())
                    .spawn(move || node.load_into_cache(replica.volume));
                if let Err(error) = spawned {
                    // What waits is loaded when a thread of the volume can be started again.
                    tracing::warn!(%error, "cannot start a thread that caches blocks");
                    self.cache.thread_ended(replica.volume);
                }
            }
        }
    }

    fn load_into_cache(&self, volume: VolumeId) {
        while let Some(key) = self.cache.next(volume) {
            let loaded = match self.cache.is_cancelled(&key) || self.is_stopping() {
                true => None,
                false => self.load_replica(&key),
            };
            self.cache.finish(&key, loaded);
        }
    }

    /// Locks the pages of a replica, and compares what is in memory with the checksums.
    fn load_replica(&self, key: &Key) -> Option<(Loaded, LockedFile)> {
        let (pool_id, id) = key;
        let pool = self.dataset.pool(pool_id).ok()?;
        let replica = pool.get(*id)?;
        let loaded = Loaded::of(&replica)?;
        let files = pool.files(&replica)?;
        let pages = match LockedFile::open(&files.data, replica.num_bytes) {
            Ok(pages) => pages,
            Err(error) => {
                self.cache.fail(*id, &error.to_string());
                return None;
            }
        };
        match read_again(&pool, &replica, None) {
            ReplicaCheck::Good => Some((loaded, pages)),
            ReplicaCheck::Bad(why) => {
                self.cache.fail(*id, &why);
                // It may have changed while it was read.
                self.on_suspect(&pool, replica.block());
                None
            }
            ReplicaCheck::Gone | ReplicaCheck::Changed => None,
        }
    }

    /// Lets replicas go that are deleted, moved or changed.
    pub fn sweep_cache(&self) {
        if self.cache.capacity() > 0 {
            self.cache
                .sweep(|pool, id| self.dataset.pool(pool).ok().and_then(|pool| pool.get(id)));
        }
    }
}
