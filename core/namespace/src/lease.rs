//! Leases of open files (`LeaseManager`). The edits say which holder has which file. The time of a holder's last
//! renewal is soft state, and starts anew with each active.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hathi_formats::ids::InodeId;

use crate::namespace::Namespace;
use crate::store::slab::Slot;

#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) files: BTreeSet<u64>,
    pub(crate) renewed_mono_ms: u64,
}

/// All leases by holder.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    holders: HashMap<Arc<str>, Lease, FixedState>,
}

impl Leases {
    pub(crate) fn new() -> Self {
        Leases {
            holders: HashMap::with_hasher(FixedState::default()),
        }
    }

    /// Notes that `holder` writes `file`, and renews its lease. Returns the shared name.
    pub(crate) fn add(&mut self, holder: &str, file: u64, mono_ms: u64) -> Arc<str> {
        if let Some((name, lease)) = self.holders.get_key_value_mut(holder) {
            lease.files.insert(file);
            lease.renewed_mono_ms = lease.renewed_mono_ms.max(mono_ms);
            return name.clone();
        }
        let name: Arc<str> = Arc::from(holder);
        self.holders.insert(
            name.clone(),
            Lease {
                files: BTreeSet::from([file]),
                renewed_mono_ms: mono_ms,
            },
        );
        name
    }

    pub(crate) fn remove(&mut self, holder: &str, file: u64) {
        debug_assert!(self.holders.contains_key(holder), "the writer of a file has a lease");
        if let Some(lease) = self.holders.get_mut(holder) {
            let held = lease.files.remove(&file);
            debug_assert!(held, "the lease of a file's writer names the file");
            if lease.files.is_empty() {
                self.holders.remove(holder);
            }
        }
    }

    pub(crate) fn get(&self, holder: &str) -> Option<&Lease> {
        self.holders.get(holder)
    }

    pub(crate) fn renew(&mut self, holder: &str, mono_ms: u64) {
        if let Some(lease) = self.holders.get_mut(holder) {
            lease.renewed_mono_ms = lease.renewed_mono_ms.max(mono_ms);
        }
    }

    pub(crate) fn renew_all(&mut self, mono_ms: u64) {
        // order: all get the same time.
        for lease in self.holders.values_mut() {
            lease.renewed_mono_ms = mono_ms;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.holders.len()
    }

    /// All leases, in no order. Only checks walk through them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Lease)> {
        // order: a check looks at each by itself.
        self.holders.iter().map(|(holder, lease)| (&**holder, lease))
    }

    /// Files of holders that have not renewed for `limit_ms`, in no order.
    fn silent(&self, mono_ms: u64, limit_ms: u64) -> impl Iterator<Item = u64> + '_ {
        // order: `expired_leases` sorts them.
        self.holders
            .values()
            .filter(move |lease| mono_ms.saturating_sub(lease.renewed_mono_ms) > limit_ms)
            .flat_map(|lease| lease.files.iter().copied())
    }
}

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
        // Key: (whether the id is at most `after`, id). So the turn begins at the front.
        let mut turn: BTreeSet<(bool, u64)> = BTreeSet::new();
        for file in self.leases.silent(mono_ms, self.config.lease_hard_limit_ms) {
            let key = (file <= after.0, file);
            if turn.len() >= max && turn.last().is_some_and(|last| *last < key) {
                continue;
            }
            if self.slot(InodeId(file)).is_some() {
                turn.insert(key);
                if turn.len() > max {
                    turn.pop_last();
                }
            }
        }
        debug_assert!(turn.len() <= max, "nobody waits longer for the lock");
        turn.into_iter().map(|(_, file)| InodeId(file)).collect()
    }

    /// Files whose lease was taken from their writer, because somebody asked for their recovery or the hard limit
    /// passed, and whose recovery has not ended.
    pub fn reassigned_leases(&self) -> impl Iterator<Item = InodeId> + '_ {
        self.reassigned.iter().map(|id| InodeId(*id))
    }

    pub(crate) fn note_reassigned(&mut self, file: Slot) {
        let id = self.rec(file).id().0;
        debug_assert!(self.open_ids.contains(&id), "a closed file has no lease");
        self.reassigned.insert(id);
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
        self.leases
            .get(holder)
            .is_none_or(|lease| mono_ms.saturating_sub(lease.renewed_mono_ms) > self.config.lease_soft_limit_ms)
    }
}
