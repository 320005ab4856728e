//! Freeing what was deleted: at once what is small, in slices what is large.

use hathi_formats::ids::Block;

use crate::namespace::Namespace;
use crate::quotas::Usages;
use crate::store::slab::Slot;
use crate::tree::inode::flag;
use crate::types::Reclaimed;
use crate::usage::Usage;
use crate::view::View;

impl Namespace {
    /// Frees up to `max_inodes` inodes of detached subtrees and hands out their blocks. Call until `done` whenever an
    /// op's effects say `reclaim`, on every role. It changes nothing a client can read, except that quotas and counts
    /// fall as it proceeds.
    pub fn reclaim(&mut self, max_inodes: usize) -> Reclaimed {
        let mut out = Reclaimed::default();
        while let Some(root) = self.tree.first_waiting() {
            let mut at = root;
            while out.inodes < max_inodes {
                match self.tree.children(at).last() {
                    Some(child) if self.child_count(child) > 0 => at = child,
                    Some(child) => {
                        self.tree.pop_child(at);
                        self.free_waiting(child, &mut out);
                    }
                    None if at == root => {
                        self.free_waiting(root, &mut out);
                        self.tree.first_is_freed();
                        self.sum.subtree_freed();
                        break;
                    }
                    None => at = self.rec(at).parent(),
                }
            }
            if out.inodes >= max_inodes {
                break;
            }
        }
        debug_assert!(
            out.inodes <= max_inodes,
            "nobody waits longer for the lock than was asked for"
        );
        out.done = !self.has_detached();
        out
    }

    /// Frees an inode of a subtree that was cut off earlier.
    fn free_waiting(&mut self, slot: Slot, out: &mut Reclaimed) {
        let before = self.sum.before_freeing();
        self.free_inode(slot, out);
        self.sum.freed_since(before);
    }

    /// Frees one inode without children, with everything that any part knows of it.
    fn free_inode(&mut self, slot: Slot, out: &mut Reclaimed) {
        let rec = *self.rec(slot);
        debug_assert!(rec.is_live(), "an inode is freed once");
        self.subtract_freed(slot);
        let space = match rec.is_file() {
            true => self.file_usage(slot),
            false => Usage::default(),
        };
        self.charge(rec.parent(), -space.and_inodes(1));
        if rec.is_file() {
            self.files
                .free_all(&mut self.tree, &mut self.sum, slot, &mut out.blocks);
            if rec.is_open() {
                out.blocks.extend(self.take_truncation(slot));
                self.writers.close(&mut self.tree, slot);
            }
        } else if rec.is_dir() && rec.has(flag::MULTI_OR_SNAPSHOTTABLE) {
            self.carried.set_snapshottable(&mut self.tree, slot, false);
        }
        self.attributes.forget(slot, &rec);
        self.tree.remove(slot);
        out.inodes += 1;
    }

    /// Cuts an inode off the tree. Small subtrees are freed at once into `out`; large ones wait for [`Self::reclaim`].
    /// True if something is left to reclaim.
    pub(crate) fn detach(&mut self, slot: Slot, out: &mut Vec<Block>) -> bool {
        /// Inodes an op frees by itself: below a tenth of a millisecond.
        const AT_ONCE: usize = 64;
        self.begin_change(slot);
        self.tree.cut_off(slot);
        if !self.rec(slot).is_dir() {
            let mut reclaimed = Reclaimed::default();
            self.free_inode(slot, &mut reclaimed);
            out.append(&mut reclaimed.blocks);
            return self.has_detached();
        }
        let waiting = self.has_detached();
        self.tree.leave_waiting(slot);
        self.sum.cut_off();
        if waiting {
            return true;
        }
        let mut reclaimed = self.reclaim(AT_ONCE);
        out.append(&mut reclaimed.blocks);
        !reclaimed.done
    }

    /// Frees everything that waits.
    pub(crate) fn reclaim_all(&mut self, out: &mut Vec<Block>) {
        while self.has_detached() {
            out.append(&mut self.reclaim(usize::MAX).blocks);
        }
    }
}
