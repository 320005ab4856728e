//! Invariants of the whole namespace between any two ops, whatever a log or a client says.
//!
//! Simulators and tests check them after every step, and debug builds now and then, because [`Namespace::check`] walks
//! everything. A namespace that [is broken](Namespace::is_broken) is the state of no log, and keeps no invariant.

use std::sync::atomic::Ordering;

use hathi_formats::ids::InodeId;

use crate::namespace::Namespace;
use crate::store::inode::flag;
use crate::store::names::{NameRef, utf16_len};
use crate::store::slab::{NONE, Slot};
use crate::usage::Usage;

/// Numbers that were found in the tree, to be compared with the counters.
#[derive(Default)]
struct Found {
    inodes: usize,
    blocks: usize,
    open_blocks: usize,
    open_files: usize,
    truncations: usize,
    acls: usize,
    xattrs: usize,
    quotas: usize,
    type_quotas: usize,
    links: usize,
    child_lists: usize,
    block_lists: usize,
    snapshottable: usize,
    detached: usize,
    names: Vec<NameRef>,
}

impl Namespace {
    /// Checks the invariants of all parts. Slow.
    ///
    /// # Panics
    /// When one of them does not hold. The message says which and where.
    pub fn check(&self) {
        if self.broken {
            return;
        }
        self.watch.check();
        let mut found = Found::default();
        let mut stack: Vec<Slot> = Vec::new();
        for &root in &self.detached {
            assert!(self.rec(root).has(flag::DETACHED), "what was cut off is marked as such");
            let parent = self.rec(root).parent;
            assert!(
                parent != NONE && self.rec(parent).is_live(),
                "a directory is freed after what was cut off below it, which is charged to it"
            );
            stack.push(root);
        }
        let root = self.rec(self.root);
        assert!(
            root.id() == InodeId::ROOT && root.is_dir() && root.parent == NONE,
            "a tree has one root"
        );
        stack.push(self.root);
        while let Some(slot) = stack.pop() {
            self.check_inode(slot, &mut found);
            self.check_children(slot);
            stack.extend(self.children(slot).iter());
        }
        self.check_counts(&found);
        self.check_leases();
        self.check_last_dir();
        self.check_carried();
        self.check_sum();
        self.names.check(found.names.iter().copied());
        self.inodes.check();
        self.lists.check();
        self.blocks.check();
        self.block_lists.check();
        self.acls.check();
        self.xattrs.check();
        self.quotas.check();
        self.links.check();
        self.open.check();
        self.index.check();
        self.inode_ids.check();
        self.block_ids.check();
        self.users.check();
        self.groups.check();
    }

    /// Record, name, features and quota of one inode.
    fn check_inode(&self, slot: Slot, found: &mut Found) {
        let rec = self.rec(slot);
        let path = || self.path_of_slot(slot);
        assert!(
            rec.is_live() && self.inode_ids.get(rec.id().0) == Some(slot),
            "{}: id {} does not lead to it",
            path(),
            rec.id()
        );
        assert!(
            rec.id().0 <= self.counters.inode_id,
            "{}: id {} would be given out once more",
            path(),
            rec.id()
        );
        let is_top = slot == self.root || rec.has(flag::DETACHED);
        assert!(
            is_top || self.child(rec.parent, self.name_of(slot)) == Some(slot),
            "{}: not in the index",
            path()
        );
        assert!(rec.parent != NONE || slot == self.root, "{}: no parent", path());
        assert_eq!(rec.has(flag::ACL), self.acls.get(slot).is_some(), "{}: ACL", path());
        assert_eq!(
            rec.has(flag::XATTR),
            self.xattrs.get(slot).is_some(),
            "{}: XAttrs",
            path()
        );
        assert_eq!(rec.is_symlink(), self.links.get(slot).is_some(), "{}: target", path());
        found.inodes += 1;
        found.names.push(rec.name);
        found.detached += usize::from(rec.has(flag::DETACHED));
        found.acls += usize::from(rec.has(flag::ACL));
        found.xattrs += usize::from(rec.has(flag::XATTR));
        found.links += usize::from(rec.is_symlink());
        if rec.is_dir() {
            found.child_lists += usize::from(rec.data != NONE);
            found.snapshottable += usize::from(rec.has(flag::MULTI_OR_SNAPSHOTTABLE));
            assert_eq!(
                rec.has(flag::MULTI_OR_SNAPSHOTTABLE),
                self.snapshottable.contains(&rec.id().0),
                "{}: snapshottable",
                path()
            );
            self.check_quota(slot, found);
        }
        if rec.is_file() {
            self.check_file(slot, found);
        }
    }

    /// Order, parents, and the bound on the length of paths.
    fn check_children(&self, slot: Slot) {
        let rec = self.rec(slot);
        let path = || self.path_of_slot(slot);
        self.children(slot).check();
        let mut previous: Option<&[u8]> = None;
        for child in self.children(slot).iter() {
            let child_rec = self.rec(child);
            assert_eq!(
                child_rec.parent,
                slot,
                "{}: child {} has another parent",
                path(),
                child_rec.id()
            );
            let name = self.name_of(child);
            assert!(
                rec.longest_below() >= (1 + utf16_len(name)).saturating_add(child_rec.longest_below()),
                "{}: a path below is longer than it knows",
                path()
            );
            assert!(
                previous.is_none_or(|previous| previous < name),
                "{}: children out of order",
                path()
            );
            previous = Some(name);
        }
    }

    fn check_quota(&self, slot: Slot, found: &mut Found) {
        let rec = self.rec(slot);
        let path = || self.path_of_slot(slot);
        let quota = if slot == self.root {
            Some(&self.root_quota)
        } else {
            assert_eq!(rec.has_quota(), self.quotas.get(slot).is_some(), "{}: quota", path());
            self.quotas.get(slot)
        };
        let Some(quota) = quota else { return };
        found.quotas += usize::from(slot != self.root);
        found.type_quotas += usize::from(!quota.types.is_empty());
        let used = self.charged_usage(slot);
        let kept = Usage {
            ns: quota.used_ns,
            ds: quota.used_ds,
            types: match quota.types.is_empty() {
                true => used.types,
                false => quota.used_types,
            },
        };
        assert_eq!(kept, used, "{}: usage kept and counted", path());
    }

    /// Blocks, writer and truncate of a file.
    fn check_file(&self, slot: Slot, found: &mut Found) {
        let rec = self.rec(slot);
        let path = || self.path_of_slot(slot);
        let slots = self.block_slots(slot);
        let has_list = rec.has(flag::MULTI_OR_SNAPSHOTTABLE);
        assert_eq!(has_list, slots.len() > 1, "{}: a list is for several blocks", path());
        found.block_lists += usize::from(has_list);
        found.blocks += slots.len();
        for (n, block_slot) in slots.iter().enumerate() {
            let block = self.blocks.get(*block_slot);
            let id = block.id();
            assert_eq!(block.file, slot, "{}: block {id} is another file's", path());
            assert_eq!(
                self.block_ids.get(id.0 as u64),
                Some(*block_slot),
                "{}: block {id} is not found by its id",
                path()
            );
            assert!(
                block.generation_stamp() <= self.newest_stamp() || self.counters.genstamp_v1_limit != 0,
                "{}: the stamp of block {id} would be given out once more",
                path()
            );
            let is_last = n + 1 == slots.len();
            assert!(
                !block.is_open() || (rec.is_open() && is_last),
                "{}: block {id} is open but not last of an open file",
                path()
            );
            found.open_blocks += usize::from(block.is_open());
        }
        if let Some(truncation) = self.truncations.get(&rec.id().0) {
            found.truncations += 1;
            let last = slots.last().map(|last| self.blocks.get(*last));
            assert!(
                rec.is_open() && last.is_some_and(|last| last.is_open() && last.len() >= truncation.length),
                "{}: no block is to be cut to {}",
                path(),
                truncation.length
            );
            if let Some(source) = truncation.source {
                found.blocks += 1;
                let source_rec = self.blocks.get(source);
                assert_eq!(source_rec.file, slot, "{}: the source is another file's", path());
                assert!(!source_rec.is_open(), "{}: what is copied from is written", path());
                assert!(
                    !slots.contains(&source),
                    "{}: the source of a copy is in the list as well",
                    path()
                );
            }
        }
        assert_eq!(
            rec.is_open(),
            self.open.get(slot).is_some(),
            "{}: a file is open exactly while it has a writer",
            path()
        );
        found.open_files += usize::from(rec.is_open());
    }

    fn check_counts(&self, found: &Found) {
        assert_eq!(found.inodes, self.inodes.live(), "inodes found and kept");
        assert_eq!(found.inodes, self.inode_ids.len(), "inodes found and known by id");
        let tops = 1 + self.detached.len();
        assert_eq!(found.inodes - tops, self.index.len(), "children found and in the index");
        assert_eq!(
            found.detached,
            self.detached.len(),
            "subtrees that were cut off, and wait"
        );
        assert_eq!(found.blocks, self.blocks.live(), "blocks found and kept");
        assert_eq!(found.blocks, self.block_ids.len(), "blocks found and known by id");
        assert_eq!(found.open_blocks, self.open_blocks, "open blocks found and counted");
        assert_eq!(found.open_files, self.open.len(), "open files found and kept");
        assert_eq!(found.truncations, self.truncations.len(), "truncates found and kept");
        assert_eq!(found.acls, self.acls.len(), "ACLs found and kept");
        assert_eq!(found.xattrs, self.xattrs.len(), "XAttrs found and kept");
        assert_eq!(found.quotas, self.quotas.len(), "quotas found and kept");
        assert_eq!(found.type_quotas, self.type_quotas, "quotas by type found and counted");
        assert_eq!(found.links, self.links.len(), "symlinks found and kept");
        assert_eq!(found.child_lists, self.lists.live(), "lists of children found and kept");
        assert_eq!(
            found.block_lists,
            self.block_lists.live(),
            "lists of blocks found and kept"
        );
        assert_eq!(
            found.snapshottable,
            self.snapshottable.len(),
            "snapshottable directories found and kept"
        );
    }

    /// Open files and leases agree.
    fn check_leases(&self) {
        self.leases.check(self.now_mono_ms.load(Ordering::Relaxed));
        for (holder, file) in self.leases.leased() {
            let slot = self.slot(file);
            let open = slot.and_then(|slot| self.open.get(slot));
            assert_eq!(
                open.map(|open| &*open.client_name),
                Some(holder),
                "inode {file} is leased to who does not write it"
            );
        }
        assert_eq!(
            self.leases.file_count(),
            self.open.len(),
            "files that are leased, and those that are open"
        );
        for &file in &self.reassigned {
            let slot = self.slot(InodeId(file));
            assert!(
                slot.is_some_and(|slot| self.open.get(slot).is_some()),
                "the lease of inode {file} was reassigned, and it is closed"
            );
        }
    }

    /// State that is kept only for logs and images.
    fn check_carried(&self) {
        for (id, directive) in &self.cache.directives {
            assert_eq!(directive.id(), *id, "a cache directive is found by its id");
        }
        for (name, pool) in &self.cache.pools {
            assert_eq!(pool.pool_name(), name, "a cache pool is found by its name");
        }
        for (number, (token, _)) in &self.secrets.tokens {
            assert_eq!(token.sequence_number, *number, "a token is found by its number");
        }
    }

    /// The remembered directory is the one that its path leads to.
    fn check_last_dir(&self) {
        let Some((dir, slot)) = &self.last_dir else { return };
        assert!(self.rec(*slot).is_dir(), "{dir} is remembered as a directory");
        let path = if dir.is_empty() { "/" } else { dir };
        let found = self.resolve(path).ok().and_then(|found| found.last_slot());
        assert_eq!(found, Some(*slot), "{dir} leads elsewhere than remembered");
    }
}
