//! Freeing what was deleted: at once what is small, in slices what is large.

use hathi_formats::ids::Block;

use crate::namespace::Namespace;
use crate::quotas::Usages;
use crate::store::slab::Slot;
use crate::tree::inode::flag;
use crate::tree::{Lane, Waiting};
use crate::types::{Effect, Reclaimed};
use crate::usage::Usage;
use crate::view::View;

impl Namespace {
    /// Frees up to `max_inodes` inodes of detached subtrees and hands out their blocks. Call until `done` whenever an
    /// op's effects say `reclaim`, on every role. It changes nothing a client can read, except that quotas and counts
    /// fall as it proceeds.
    pub fn reclaim(&mut self, max_inodes: usize) -> Reclaimed {
        let mut out = Reclaimed::default();
        let was_freeing = self.freeing;
        while let Some((lane, first)) = self.tree.first_waiting() {
            self.freeing = Some(lane);
            let root = match first {
                Waiting::Subtree(root) => root,
                Waiting::Snapshot(snapshot) => {
                    if !self.end_slice(snapshot, max_inodes, &mut out) {
                        break;
                    }
                    continue;
                }
            };
            let mut at = root;
            while out.inodes < max_inodes {
                match self.tree.children(at).last() {
                    Some(child) if self.snapshots.has_moved(child) => {
                        // A former place shows it with all that is below it.
                        self.tree.pop_child(at);
                        let before = self.sum.before_freeing();
                        self.orphan(child, &mut out.blocks);
                        self.freed_since(lane, before);
                        out.inodes += 1;
                    }
                    Some(child) if self.child_count(child) > 0 => at = child,
                    Some(child) => {
                        self.tree.pop_child(at);
                        self.free_waiting(lane, child, &mut out);
                    }
                    None if at == root => {
                        self.free_waiting(lane, root, &mut out);
                        self.tree.first_is_freed(lane);
                        if lane == Lane::Deleted {
                            self.sum.subtree_freed();
                        }
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
        self.freeing = was_freeing;
        for effect in self.by_the_way.drain(..) {
            match effect {
                Effect::BlockRemoved { block } => out.blocks.push(block),
                other => out.effects.push(other),
            }
        }
        out.done = !self.has_detached();
        out
    }

    /// Frees an inode of a subtree that was cut off earlier.
    fn free_waiting(&mut self, lane: Lane, slot: Slot, out: &mut Reclaimed) {
        let before = self.sum.before_freeing();
        self.free_inode(slot, out);
        self.freed_since(lane, before);
    }

    /// Marks know of what was deleted, and none is made while a snapshot ends.
    fn freed_since(&mut self, lane: Lane, before: u64) {
        if lane == Lane::Deleted {
            self.sum.freed_since(before);
        }
    }

    /// Frees one inode without children, with everything that any part knows of it.
    pub(crate) fn free_inode(&mut self, slot: Slot, out: &mut Reclaimed) {
        let rec = *self.rec(slot);
        debug_assert!(rec.is_live(), "an inode is freed once");
        debug_assert!(!self.snapshots.has_moved(slot), "a former place shows it");
        self.drop_diffs(slot, &mut out.blocks);
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
            self.set_snapshottable(slot, false);
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
        debug_assert!(self.rec(slot).is_live(), "an inode is cut off once");
        debug_assert_ne!(slot, self.root(), "the root stays");
        self.settle(slot);
        self.begin_change(slot);
        if self.snapshots.has_moved(slot) {
            self.tree.unlink(slot);
            self.orphan(slot, out);
            return self.has_detached();
        }
        self.tree.cut_off(slot);
        if !self.rec(slot).is_dir() {
            let mut reclaimed = Reclaimed::default();
            self.free_inode(slot, &mut reclaimed);
            out.append(&mut reclaimed.blocks);
            return self.has_detached();
        }
        let waiting = self.has_detached();
        self.leave_to_wait(slot);
        if waiting {
            return true;
        }
        let mut reclaimed = self.reclaim(AT_ONCE);
        out.append(&mut reclaimed.blocks);
        self.by_the_way.append(&mut reclaimed.effects);
        !reclaimed.done
    }

    /// Leaves a subtree that was cut off to be freed later.
    pub(crate) fn leave_to_wait(&mut self, slot: Slot) {
        match self.freeing {
            Some(lane) => self.tree.leave_waiting_within(lane, slot),
            None => self.tree.leave_waiting(Lane::Deleted, Waiting::Subtree(slot)),
        }
        match self.freeing {
            Some(Lane::Snapshots) => {}
            Some(Lane::Deleted) => self.sum.cut_off_within(),
            None => self.sum.cut_off(),
        }
    }

    /// Frees everything that waits.
    pub(crate) fn reclaim_all(&mut self, out: &mut Vec<Block>) {
        while self.has_detached() {
            let mut slice = self.reclaim(usize::MAX);
            out.append(&mut slice.blocks);
            self.by_the_way.append(&mut slice.effects);
        }
    }
}
