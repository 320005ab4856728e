//! Who writes which file: open files with their leases, and truncates that DataNodes have not carried out yet.
//!
//! Invariants ([`Writers::check`]):
//! - a file is open exactly while it has a writer, and the writer's lease names it;
//! - only an open file is reassigned or truncated;
//! - the last block of a truncated file is open, and not shorter than it will be;
//! - the source of a copy on truncate is a block of the file, and not open.
//!
//! When a lease ends is decided in `ops::lease`.
//!
//! Mirrors `LeaseManager` and `FileUnderConstructionFeature`.

pub(crate) mod lease;
pub(crate) mod truncation;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hathi_formats::ids::InodeId;

use crate::files::Files;
use crate::store::side::Side;
use crate::store::slab::Slot;
use crate::tree::Tree;
use crate::tree::inode::flag;
use lease::Leases;
use truncation::Truncation;

/// `FileUnderConstructionFeature`. All files that a client writes from one machine share it.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) client_name: Arc<str>,
    pub(crate) client_machine: Box<str>,
}

/// What an image says of open files.
#[derive(Clone, Debug)]
pub(crate) struct OpenFiles {
    open: Side<Arc<Open>>,
    /// Ids of the open files whose lease OP_REASSIGN_LEASE took from the writer: DataNodes must agree on the last
    /// block, and then the file is closed.
    reassigned: BTreeSet<u64>,
    /// Truncates in progress, by inode id.
    truncations: BTreeMap<u64, Truncation>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Writers {
    files: OpenFiles,
    leases: Leases,
    /// The latest monotonic time that was told, ms: the renewal time of a lease that an op makes. Soft state.
    now_mono_ms: AtomicU64,
}

impl OpenFiles {
    /// The writer of a file.
    #[inline]
    pub(crate) fn get(&self, file: Slot) -> Option<&Arc<Open>> {
        self.open.get(file)
    }

    /// The reassigned files, by id.
    pub(crate) fn reassigned(&self) -> impl Iterator<Item = InodeId> + '_ {
        self.reassigned.iter().map(|id| InodeId(*id))
    }

    /// The truncated files, by id.
    pub(crate) fn truncated(&self) -> impl Iterator<Item = InodeId> + '_ {
        self.truncations.keys().map(|id| InodeId(*id))
    }

    /// The open files, in no order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.open.iter().map(|(slot, _)| slot)
    }

    pub(crate) fn is_reassigned(&self, file: InodeId) -> bool {
        self.reassigned.contains(&file.0)
    }

    #[inline]
    pub(crate) fn truncation(&self, file: InodeId) -> Option<&Truncation> {
        if self.truncations.is_empty() {
            return None;
        }
        self.truncations.get(&file.0)
    }
}

impl Writers {
    pub(crate) fn new() -> Writers {
        Writers {
            files: OpenFiles {
                open: Side::new(),
                reassigned: BTreeSet::new(),
                truncations: BTreeMap::new(),
            },
            leases: Leases::new(),
            now_mono_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn files(&self) -> &OpenFiles {
        &self.files
    }

    /// The writer of a file.
    #[inline]
    pub(crate) fn get(&self, file: Slot) -> Option<&Arc<Open>> {
        self.files.get(file)
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Tells the time (monotonic, ms) that leases made from now on count from. It never goes back.
    pub(crate) fn note_time(&self, mono_ms: u64) {
        self.now_mono_ms.fetch_max(mono_ms, Ordering::Relaxed);
    }

    pub(crate) fn renew(&mut self, holder: &str, mono_ms: u64) {
        self.note_time(mono_ms);
        self.leases.renew(holder, mono_ms);
    }

    pub(crate) fn renew_all(&mut self, mono_ms: u64) {
        self.note_time(mono_ms);
        self.leases.renew_all(mono_ms);
    }

    /// Gives a closed file a writer, who holds its lease.
    pub(crate) fn open(&mut self, tree: &mut Tree, file: Slot, client_name: &str, client_machine: &str) {
        debug_assert!(tree.rec(file).is_file(), "only files are written");
        debug_assert!(self.get(file).is_none(), "a file has one writer");
        let id = tree.rec(file).id();
        let mono_ms = self.now_mono_ms.load(Ordering::Relaxed);
        let open = self.leases.add(client_name, client_machine, id, mono_ms);
        self.files.open.insert(file, open);
        debug_assert_eq!(
            self.leases.file_count(),
            self.files.open.len(),
            "each open file is leased"
        );
        tree.set_flag(file, flag::OPEN_OR_QUOTA, true);
    }

    /// Takes the writer from a file, with the lease.
    pub(crate) fn close(&mut self, tree: &mut Tree, file: Slot) {
        let id = tree.rec(file).id();
        if let Some(open) = self.files.open.remove(file) {
            self.leases.remove(&open.client_name, id);
        }
        self.files.reassigned.remove(&id.0);
        debug_assert_eq!(
            self.leases.file_count(),
            self.files.open.len(),
            "only open files are leased"
        );
        tree.set_flag(file, flag::OPEN_OR_QUOTA, false);
    }

    /// The lease of an open file was taken from its writer.
    pub(crate) fn note_reassigned(&mut self, tree: &Tree, file: Slot) {
        debug_assert!(self.get(file).is_some(), "a closed file has no lease");
        self.files.reassigned.insert(tree.rec(file).id().0);
    }

    /// What an image says of open files. Renewals of leases are soft state, and in no image.
    pub(crate) fn freeze(&self) -> OpenFiles {
        let Writers {
            files,
            leases: _,
            now_mono_ms: _,
        } = self;
        files.clone()
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self, tree: &Tree, files: &Files) {
        self.leases.check(self.now_mono_ms.load(Ordering::Relaxed));
        let (mut open, mut truncated) = (0, 0);
        for (file, rec) in tree.iter().filter(|(_, rec)| rec.is_file()) {
            let id = rec.id();
            assert_eq!(
                rec.is_open(),
                self.get(file).is_some(),
                "inode {id}: a file is open exactly while it has a writer"
            );
            open += usize::from(rec.is_open());
            let Some(truncation) = self.files.truncation(id) else {
                continue;
            };
            truncated += 1;
            let last = files.slots(rec).last().map(|last| files.get(*last));
            assert!(
                rec.is_open() && last.is_some_and(|last| last.is_open() && last.len() >= truncation.length),
                "inode {id}: no block is to be cut to {}",
                truncation.length
            );
            if let Some(source) = truncation.source {
                let source = files.get(source);
                assert_eq!(source.file(), file, "inode {id}: the source is another file's");
                assert!(!source.is_open(), "inode {id}: what is copied from is written");
            }
        }
        assert_eq!(open, self.files.open.len(), "open files found and kept");
        assert_eq!(truncated, self.files.truncations.len(), "truncates found and kept");
        self.files.open.check();
        self.check_leases(tree);
    }

    fn check_leases(&self, tree: &Tree) {
        let writer = |file: InodeId| tree.find(file).and_then(|slot| self.get(slot));
        for (holder, file) in self.leases.leased() {
            let name = writer(file).map(|open| &*open.client_name);
            assert_eq!(name, Some(holder), "inode {file} is leased to who does not write it");
        }
        assert_eq!(
            self.leases.file_count(),
            self.files.open.len(),
            "files that are leased, and those that are open"
        );
        for &file in &self.files.reassigned {
            assert!(
                writer(InodeId(file)).is_some(),
                "the lease of inode {file} was reassigned, and it is closed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use hathi_formats::ids::InodeId;

    use crate::tests::checked::{Break, check_finds, slot};

    const BREAKS: [(&str, Break); 4] = [
        ("is leased to who does not write it", |ns| {
            ns.writers.leases.add("client", "machine", InodeId(4711), 0);
        }),
        ("files that are leased, and those that are open", |ns| {
            let id = ns.tree.rec(slot(ns, "/dir/open")).id();
            ns.writers.leases.remove("client", id);
        }),
        ("at a time that has not come", |ns| {
            ns.writers.leases.renew_all(u64::MAX)
        }),
        ("was reassigned, and it is closed", |ns| {
            let id = ns.tree.rec(slot(ns, "/dir/closed")).id();
            ns.writers.files.reassigned.insert(id.0);
        }),
    ];

    #[test]
    fn whatever_a_bug_may_break_in_writers_is_found() {
        check_finds(&BREAKS);
    }
}
