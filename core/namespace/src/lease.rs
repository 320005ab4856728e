//! Leases of open files (`LeaseManager`). Which file is held by whom follows from the edits; when a holder last renewed
//! is soft state and starts anew with each active.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hathi_formats::ids::InodeId;

use crate::namespace::Namespace;

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

    /// Notes that `holder` writes `file`, and renews. Returns the shared name.
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
        if let Some(lease) = self.holders.get_mut(holder) {
            lease.files.remove(&file);
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
        for lease in self.holders.values_mut() {
            lease.renewed_mono_ms = mono_ms;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.holders.len()
    }

    /// Holders that have not renewed for `limit_ms`, the longest silent first.
    fn silent(&self, mono_ms: u64, limit_ms: u64) -> Vec<(u64, &Arc<str>, &Lease)> {
        let mut all: Vec<_> = self
            .holders
            .iter()
            .filter(|(_, lease)| mono_ms.saturating_sub(lease.renewed_mono_ms) > limit_ms)
            .map(|(holder, lease)| (lease.renewed_mono_ms, holder, lease))
            .collect();
        all.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        all
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

    /// Files whose holder has not renewed for the hard limit, the longest silent first, at most `max`.
    #[must_use]
    pub fn expired_leases(&self, mono_ms: u64, max: usize) -> Vec<(String, InodeId)> {
        let mut out = Vec::new();
        for (_, holder, lease) in self.leases.silent(mono_ms, self.config.lease_hard_limit_ms) {
            for file in &lease.files {
                if out.len() >= max {
                    return out;
                }
                if self.slot(InodeId(*file)).is_some() {
                    out.push((holder.to_string(), InodeId(*file)));
                }
            }
        }
        out
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
