//! Truncates inside a block that DataNodes have not carried out yet (`BlockUnderConstructionFeature.truncateBlock`).
//!
//! A truncate is acknowledged before any DataNode has cut a replica. What it decided is therefore durable state: every
//! NameNode derives it from OP_TRUNCATE, it is part of the digest, and an image made before the DataNodes are done carries
//! it. Each recovery of that block, the first one and any after a failure, failover or restart, aims at this length.
//!
//! Hadoop keeps it in memory, so that an image made in between forgets it: the next recovery agrees on the old length, and
//! of a copy on truncate the source block is lost.
//!
//! Invariants: the file is open, and so is its last block; `source` belongs to the file and is not in its list.

use hathi_formats::ids::InodeId;

use super::Writers;
use crate::store::slab::Slot;

/// What the last block of a file is to become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truncation {
    /// Length of the last block afterwards, bytes.
    pub(crate) length: u64,
    /// Copy on truncate: the block before it, which DataNodes copy from.
    pub(crate) source: Option<Slot>,
}

impl Writers {
    /// The last block of a file is to be cut.
    pub(crate) fn begin_truncation(&mut self, file: InodeId, truncation: Truncation) {
        let before = self.files.truncations.insert(file.0, truncation);
        debug_assert!(before.is_none(), "one truncate of a file waits for DataNodes");
    }

    /// DataNodes have cut the last block of a file, or it is gone.
    #[inline]
    pub(crate) fn end_truncation(&mut self, file: InodeId) -> Option<Truncation> {
        if self.files.truncations.is_empty() {
            return None;
        }
        self.files.truncations.remove(&file.0)
    }
}
