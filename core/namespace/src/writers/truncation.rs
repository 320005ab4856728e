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

use hathi_formats::ids::{Block, BlockId, InodeId};

use super::Writers;
use crate::namespace::Namespace;
use crate::store::slab::Slot;
use crate::types::{Effect, Effects, TruncateTarget};
use crate::view::View;

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
    fn begin_truncation(&mut self, file: InodeId, truncation: Truncation) {
        let before = self.files.truncations.insert(file.0, truncation);
        debug_assert!(before.is_none(), "one truncate of a file waits for DataNodes");
    }

    /// DataNodes have cut the last block of a file, or it is gone.
    #[inline]
    fn end_truncation(&mut self, file: InodeId) -> Option<Truncation> {
        if self.files.truncations.is_empty() {
            return None;
        }
        self.files.truncations.remove(&file.0)
    }
}

impl Namespace {
    /// Files whose truncate waits for DataNodes.
    pub fn truncations(&self) -> impl Iterator<Item = InodeId> + '_ {
        self.writers.files.truncations.keys().map(|id| InodeId(*id))
    }

    /// What a truncate has decided about the last block of a file, until DataNodes have done it.
    #[must_use]
    pub fn truncate_target(&self, file: InodeId) -> Option<TruncateTarget> {
        let truncation = self.writers.files.truncation(file)?;
        Some(TruncateTarget {
            length: truncation.length,
            source: truncation.source.map(|slot| self.files.get(slot).block()),
        })
    }

    /// The block is the source of a copy on truncate: what its file will have instead.
    pub(crate) fn copy_of(&self, source: BlockId) -> Option<Slot> {
        let slot = self.files.find(source)?;
        let file = self.files.get(slot).file();
        let truncation = self.writers.files.truncation(self.rec(file).id())?;
        (truncation.source == Some(slot))
            .then(|| self.block_slots(file).last().copied())
            .flatten()
    }

    /// The last block of this file is to be cut by DataNodes.
    pub(crate) fn is_truncated(&self, file: Slot) -> bool {
        self.writers.files.truncation(self.rec(file).id()).is_some()
    }

    pub(crate) fn begin_truncation(&mut self, file: Slot, truncation: Truncation) {
        debug_assert!(
            self.block_slots(file)
                .last()
                .is_some_and(|last| self.files.get(*last).is_open()),
            "DataNodes cut a block that is open"
        );
        let id = self.rec(file).id();
        self.writers.begin_truncation(id, truncation);
    }

    /// DataNodes have done it, or the block is gone: the source of a copy is not needed any more.
    pub(crate) fn end_truncation(&mut self, file: Slot, fx: &mut Effects) {
        if let Some(block) = self.take_truncation(file) {
            fx.effects.push(Effect::BlockRemoved { block });
        }
    }

    /// Ends it; answers the source of a copy, which is freed.
    pub(crate) fn take_truncation(&mut self, file: Slot) -> Option<Block> {
        let id = self.rec(file).id();
        let source = self.writers.end_truncation(id)?.source?;
        Some(self.files.free(&mut self.sum, source))
    }
}
