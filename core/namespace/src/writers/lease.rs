//! Leases of open files (`LeaseManager`). The edits say which holder has which file. The time of a holder's last
//! renewal is soft state, and starts anew with each active.
//!
//! Invariants ([`Leases::check`]): a file has one holder; a holder has a file, or it has no lease; `files` are the files
//! of all holders; nobody has renewed at a time that has not come.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hathi_formats::ids::InodeId;

use super::Open;
use crate::store::id_set::IdSet;

#[derive(Clone, Debug)]
struct Lease {
    /// The holder, with the machine from which it opened a file last.
    open: Arc<Open>,
    files: BTreeSet<InodeId>,
    renewed_mono_ms: u64,
}

/// All leases by holder.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    holders: HashMap<Arc<str>, Lease, FixedState>,
    /// The files of all holders, in the order of listings.
    files: IdSet,
}

impl Leases {
    pub(crate) fn new() -> Self {
        Leases {
            holders: HashMap::with_hasher(FixedState::default()),
            files: IdSet::default(),
        }
    }

    /// Notes that `holder` writes `file` from `machine`, which nobody wrote, and renews its lease. Returns what all files
    /// share that it writes from there.
    pub(crate) fn add(&mut self, holder: &str, machine: &str, file: InodeId, mono_ms: u64) -> Arc<Open> {
        let new = self.files.insert(file.0);
        debug_assert!(new, "a file has one writer");
        let opened_by = |client_name: Arc<str>| {
            Arc::new(Open {
                client_name,
                client_machine: Box::from(machine),
            })
        };
        if let Some((name, lease)) = self.holders.get_key_value_mut(holder) {
            lease.files.insert(file);
            lease.renewed_mono_ms = lease.renewed_mono_ms.max(mono_ms);
            if *lease.open.client_machine != *machine {
                lease.open = opened_by(name.clone());
            }
            return lease.open.clone();
        }
        let name: Arc<str> = Arc::from(holder);
        let open = opened_by(name.clone());
        self.holders.insert(
            name,
            Lease {
                open: open.clone(),
                files: BTreeSet::from([file]),
                renewed_mono_ms: mono_ms,
            },
        );
        open
    }

    /// `holder` writes `file` no more. A lease of no file is over.
    pub(crate) fn remove(&mut self, holder: &str, file: InodeId) {
        debug_assert!(self.holders.contains_key(holder), "the writer of a file has a lease");
        let Some(lease) = self.holders.get_mut(holder) else {
            return;
        };
        let held = lease.files.remove(&file);
        debug_assert!(held, "the lease of a file's writer names the file");
        if held {
            self.files.remove(file.0);
        }
        if lease.files.is_empty() {
            self.holders.remove(holder);
        }
    }

    /// The holder says that it is there.
    pub(crate) fn renew(&mut self, holder: &str, mono_ms: u64) {
        if let Some(lease) = self.holders.get_mut(holder) {
            lease.renewed_mono_ms = lease.renewed_mono_ms.max(mono_ms);
        }
    }

    /// All holders count as if they had just said that they are there.
    pub(crate) fn renew_all(&mut self, mono_ms: u64) {
        // order: all get the same time.
        for lease in self.holders.values_mut() {
            lease.renewed_mono_ms = mono_ms;
        }
    }

    /// Number of holders.
    pub(crate) fn len(&self) -> usize {
        self.holders.len()
    }

    /// Number of files that somebody writes.
    pub(crate) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// The files with ids above this one that somebody writes, in the order of ids.
    pub(crate) fn files_after(&self, after: InodeId) -> impl Iterator<Item = InodeId> + '_ {
        self.files.above(after.0).map(InodeId)
    }

    /// Number of files that a holder writes. `None`: it has no lease.
    pub(crate) fn files_of(&self, holder: &str) -> Option<usize> {
        self.holders.get(holder).map(|lease| lease.files.len())
    }

    /// Whether the holder has not renewed for longer than `limit_ms`, or has no lease.
    pub(crate) fn is_silent(&self, holder: &str, mono_ms: u64, limit_ms: u64) -> bool {
        self.holders
            .get(holder)
            .is_none_or(|lease| mono_ms.saturating_sub(lease.renewed_mono_ms) > limit_ms)
    }

    /// Files of holders that have not renewed for longer than `limit_ms`: at most `max`, first those with ids above
    /// `after`, then from the lowest id on.
    pub(crate) fn expired(&self, mono_ms: u64, limit_ms: u64, after: InodeId, max: usize) -> Vec<InodeId> {
        // Key: (whether the id is at most `after`, id). So the turn begins at the front.
        let mut turn: BTreeSet<(bool, InodeId)> = BTreeSet::new();
        // order: `turn` sorts them.
        for lease in self.holders.values() {
            if mono_ms.saturating_sub(lease.renewed_mono_ms) <= limit_ms {
                continue;
            }
            for &file in &lease.files {
                let key = (file <= after, file);
                if turn.len() >= max && turn.last().is_none_or(|last| *last < key) {
                    continue;
                }
                turn.insert(key);
                if turn.len() > max {
                    turn.pop_last();
                }
            }
        }
        debug_assert!(turn.len() <= max, "nobody waits longer for the lock");
        turn.into_iter().map(|(_, file)| file).collect()
    }

    /// All files with their holders, in no order. Only checks walk through them.
    pub(crate) fn leased(&self) -> impl Iterator<Item = (&str, InodeId)> {
        // order: a check looks at each by itself.
        let holders = self.holders.iter();
        holders.flat_map(|(holder, lease)| lease.files.iter().map(|file| (&**holder, *file)))
    }

    /// Panics when an invariant of the module does not hold at this time.
    pub(crate) fn check(&self, now_mono_ms: u64) {
        let mut leased = BTreeSet::new();
        // order: each holder is looked at by itself.
        for (holder, lease) in &self.holders {
            assert!(!lease.files.is_empty(), "{holder} has a lease of no file");
            assert!(
                lease.renewed_mono_ms <= now_mono_ms,
                "{holder} has renewed at a time that has not come"
            );
            for &file in &lease.files {
                assert!(leased.insert(file), "inode {file} is leased twice");
            }
        }
        let leased = leased.into_iter().map(|file| file.0);
        assert!(
            leased.eq(self.files.iter()),
            "files of the holders, and those that are listed"
        );
        self.files.check();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [InodeId; 3] = [InodeId(20_001), InodeId(20_002), InodeId(20_003)];

    fn after(leases: &Leases, file: InodeId) -> Vec<InodeId> {
        leases.files_after(file).collect()
    }

    #[test]
    fn a_holder_has_a_lease_while_it_writes_a_file() {
        let mut leases = Leases::new();
        let first = leases.add("one", "m1", FILES[0], 5);
        let again = leases.add("one", "m1", FILES[2], 6);
        assert!(Arc::ptr_eq(&first, &again), "one record for all files");
        leases.remove("one", FILES[2]);
        let elsewhere = leases.add("one", "m2", FILES[2], 6);
        assert_eq!((&*elsewhere.client_name, &*elsewhere.client_machine), ("one", "m2"));
        assert_eq!(&*first.client_machine, "m1");
        leases.add("other", "m1", FILES[1], 7);
        leases.check(7);
        assert_eq!(
            (leases.len(), leases.file_count(), leases.files_of("one")),
            (2, 3, Some(2))
        );
        assert_eq!(after(&leases, FILES[0]), FILES[1..]);
        leases.remove("one", FILES[0]);
        leases.remove("one", FILES[2]);
        leases.check(7);
        assert_eq!((leases.len(), leases.files_of("one")), (1, None));
        assert_eq!(after(&leases, InodeId(0)), [FILES[1]]);
        assert!(
            leases.is_silent("one", 7, u64::MAX),
            "who has no lease does not renew it"
        );
    }

    #[test]
    fn a_holder_is_silent_from_its_last_renewal_on() {
        let mut leases = Leases::new();
        leases.add("one", "m", FILES[0], 100);
        leases.renew("one", 50);
        leases.renew("nobody", 50);
        assert!(!leases.is_silent("one", 110, 10) && leases.is_silent("one", 111, 10));
        leases.add("one", "m", FILES[1], 200);
        assert!(!leases.is_silent("one", 210, 10));
        leases.renew_all(300);
        assert!(!leases.is_silent("one", 310, 10));
        leases.check(300);
    }

    #[test]
    fn files_of_silent_holders_are_met_in_turn() {
        let mut leases = Leases::new();
        leases.add("silent", "m", FILES[2], 0);
        leases.add("silent too", "m", FILES[0], 0);
        leases.add("there", "m", FILES[1], 100);
        let expired = |after, max| leases.expired(100, 10, after, max);
        assert_eq!(expired(InodeId(0), 9), [FILES[0], FILES[2]]);
        assert_eq!(expired(InodeId(0), 1), [FILES[0]]);
        assert_eq!(expired(FILES[0], 1), [FILES[2]]);
        assert_eq!(expired(FILES[0], 9), [FILES[2], FILES[0]]);
        assert_eq!(expired(FILES[2], 1), [FILES[0]]);
        assert!(expired(FILES[0], 0).is_empty());
    }
}
