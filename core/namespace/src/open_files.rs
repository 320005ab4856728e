//! Open files and their truncates, for those who ask about them, and for `apply`.

use hathi_formats::ids::{Block, BlockId, InodeId};

use crate::namespace::Namespace;
use crate::store::slab::Slot;
use crate::types::{Effect, Effects, TruncateTarget};
use crate::view::View;
use crate::writers::truncation::Truncation;

impl Namespace {
    /// `renewLease`: soft state, so no op and `&mut` only for the time.
    pub fn renew_lease(&mut self, client_name: &str, mono_ms: u64) {
        self.writers.renew(client_name, mono_ms);
    }

    /// Tells the time (monotonic, ms) that leases made by the next ops count from. Plans do it by themselves.
    pub fn note_time(&self, mono_ms: u64) {
        self.writers.note_time(mono_ms);
    }

    /// Files under construction.
    #[must_use]
    pub fn open_file_count(&self) -> usize {
        self.writers.leases().file_count()
    }

    /// Number of lease holders.
    #[must_use]
    pub fn lease_count(&self) -> usize {
        self.writers.leases().len()
    }

    /// At most `max` files whose holder has not renewed for the hard limit: first those with ids above `after`, then
    /// from the lowest id on. A caller that continues with the last returned file meets all of them in turn, whatever
    /// becomes of each.
    #[must_use]
    pub fn expired_leases(&self, mono_ms: u64, after: InodeId, max: usize) -> Vec<InodeId> {
        let limit_ms = self.config.lease_hard_limit_ms;
        self.writers.leases().expired(mono_ms, limit_ms, after, max)
    }

    /// Files whose lease was taken from their writer, because somebody asked for their recovery or the hard limit
    /// passed, and whose recovery has not ended.
    pub fn reassigned_leases(&self) -> impl Iterator<Item = InodeId> + '_ {
        self.writers.files().reassigned()
    }

    /// Holder of the lease of an open file.
    #[must_use]
    pub fn lease_holder(&self, file: InodeId) -> Option<&str> {
        let slot = self.slot(file)?;
        self.writers.get(slot).map(|open| &*open.client_name)
    }

    /// Machine of the writer of an open file, as its create or append named it.
    #[must_use]
    pub fn client_machine(&self, file: InodeId) -> Option<&str> {
        let slot = self.slot(file)?;
        self.writers.get(slot).map(|open| &*open.client_machine)
    }

    /// `Lease.expiredSoftLimit`.
    pub(crate) fn soft_limit_expired(&self, holder: &str, mono_ms: u64) -> bool {
        let limit_ms = self.config.lease_soft_limit_ms;
        self.writers.leases().is_silent(holder, mono_ms, limit_ms)
    }

    // ---- truncates ----

    /// Files whose truncate waits for DataNodes.
    pub fn truncations(&self) -> impl Iterator<Item = InodeId> + '_ {
        self.writers.files().truncated()
    }

    /// What a truncate has decided about the last block of a file, until DataNodes have done it.
    #[must_use]
    pub fn truncate_target(&self, file: InodeId) -> Option<TruncateTarget> {
        let truncation = self.writers.files().truncation(file)?;
        Some(TruncateTarget {
            length: truncation.length,
            source: truncation.source.map(|slot| self.files.get(slot).block()),
        })
    }

    /// The block is the source of a copy on truncate: what its file will have instead.
    pub(crate) fn copy_of(&self, source: BlockId) -> Option<Slot> {
        let slot = self.files.find(source)?;
        let file = self.files.get(slot).file();
        let truncation = self.writers.files().truncation(self.rec(file).id())?;
        (truncation.source == Some(slot))
            .then(|| self.block_slots(file).last().copied())
            .flatten()
    }

    /// The last block of this file is to be cut by DataNodes.
    pub(crate) fn is_truncated(&self, file: Slot) -> bool {
        self.writers.files().truncation(self.rec(file).id()).is_some()
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
        let mut freed = Vec::new();
        self.free_unshown(file, &[source], &mut freed);
        freed.pop()
    }
}
