//! Who writes which file, and who is gone. When a lease ends is decided in `ops::lease`.

use hathi_formats::ids::InodeId;

use crate::namespace::Namespace;
use crate::store::slab::Slot;

impl Namespace {
    /// `renewLease`: soft state, so no op and `&mut` only for the time.
    pub fn renew_lease(&mut self, client_name: &str, mono_ms: u64) {
        self.note_time(mono_ms);
        self.leases.renew(client_name, mono_ms);
    }

    /// Number of lease holders.
    #[must_use]
    pub fn lease_count(&self) -> usize {
        self.leases.len()
    }

    /// At most `max` files whose holder has not renewed for the hard limit: first those with ids above `after`, then
    /// from the lowest id on. A caller that continues with the last returned file meets all of them in turn, whatever
    /// becomes of each.
    #[must_use]
    pub fn expired_leases(&self, mono_ms: u64, after: InodeId, max: usize) -> Vec<InodeId> {
        let limit_ms = self.config.lease_hard_limit_ms;
        self.leases.expired(mono_ms, limit_ms, after, max)
    }

    /// Files whose lease was taken from their writer, because somebody asked for their recovery or the hard limit
    /// passed, and whose recovery has not ended.
    pub fn reassigned_leases(&self) -> impl Iterator<Item = InodeId> + '_ {
        self.reassigned.iter().map(|id| InodeId(*id))
    }

    pub(crate) fn note_reassigned(&mut self, file: Slot) {
        debug_assert!(self.open.get(file).is_some(), "a closed file has no lease");
        let id = self.rec(file).id();
        self.reassigned.insert(id.0);
    }

    /// Holder of the lease of an open file.
    #[must_use]
    pub fn lease_holder(&self, file: InodeId) -> Option<&str> {
        let slot = self.slot(file)?;
        self.open.get(slot).map(|open| &*open.client_name)
    }

    /// Machine of the writer of an open file, as its create or append named it.
    #[must_use]
    pub fn client_machine(&self, file: InodeId) -> Option<&str> {
        let slot = self.slot(file)?;
        self.open.get(slot).map(|open| &*open.client_machine)
    }

    /// `Lease.expiredSoftLimit`.
    pub(crate) fn soft_limit_expired(&self, holder: &str, mono_ms: u64) -> bool {
        let limit_ms = self.config.lease_soft_limit_ms;
        self.leases.is_silent(holder, mono_ms, limit_ms)
    }
}
