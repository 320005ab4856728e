//! Invariants of the whole namespace between any two ops, whatever a log or a client says.
//!
//! Simulators and tests check them after every step, and debug builds now and then, because [`Namespace::check`] walks
//! everything. A namespace that [is broken](Namespace::is_broken) is the state of no log, and keeps no invariant.

use hathi_formats::ids::GenerationStamp;

use crate::namespace::Namespace;
use crate::store::slab::Slot;
use crate::usage::Usage;
use crate::view::View;

impl Namespace {
    /// Checks the invariants of all parts and of the whole. Slow.
    ///
    /// # Panics
    /// When one of them does not hold. The message says which and where.
    pub fn check(&self) {
        if self.broken {
            return;
        }
        self.watch.check();
        // The other parts are checked inode by inode, which says something if the tree is whole.
        self.tree.check();
        let newest = match self.counters.genstamp_v1_limit {
            0 => self.newest_stamp(),
            // Blocks of old clusters have stamps from another counter.
            _ => GenerationStamp(u64::MAX),
        };
        let others = |file, id| {
            let mut others = self.blocks_of_past(file);
            let source = self
                .writers
                .files()
                .truncation(id)
                .and_then(|truncation| truncation.source);
            others.extend(source.filter(|source| !others.contains(source)));
            others
        };
        self.files.check(&self.tree, newest, others);
        self.writers.check(&self.tree, &self.files);
        self.attributes.check(&self.tree);
        self.carried.check();
        self.check_snapshots();
        for (slot, rec) in self.tree.iter() {
            assert!(
                rec.id().0 <= self.counters.inode_id,
                "inode {} would be given out once more",
                rec.id()
            );
            self.check_usage(slot);
        }
        self.check_sum();
    }

    fn check_usage(&self, dir: Slot) {
        let Some(quota) = self.quota(dir) else { return };
        let used = self.charged_usage(dir);
        let kept = Usage {
            ns: quota.used_ns,
            ds: quota.used_ds,
            types: match dir == self.root() && !self.attributes.root_counts_types() {
                true => used.types,
                false => quota.used_types,
            },
        };
        assert_eq!(kept, used, "{}: usage kept and counted", self.path_of_slot(dir));
    }
}
