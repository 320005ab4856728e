//! What ends with a snapshot, and what ends although snapshots show the rest.

use hathi_formats::ids::Block;

use super::record::List;
use super::{DirDiff, Entry, FileDiff, PRESENT, SnapshotId, SnapshotsPart};
use crate::namespace::Namespace;
use crate::quotas::Usages;
use crate::store::slab::{NONE, Slot};
use crate::tree::inode::flag;
use crate::tree::{Lane, Waiting};
use crate::types::{Effect, Effects, Reclaimed};
use crate::view::View;

impl Namespace {
    // ---- a child leaves ----

    /// Takes an inode out of its directory for ever. What a snapshot shows of it and below it stays; the rest is freed into
    /// `out`, or waits to be freed. True if something waits.
    pub(crate) fn leave(&mut self, slot: Slot, out: &mut Vec<Block>) -> bool {
        self.settle(slot);
        if self.snapshots.keeps_nothing() || !self.stays_shown(slot) {
            return self.detach(slot, out);
        }
        self.tree.unlink(slot);
        self.trim(slot, out);
        self.has_detached()
    }

    /// An inode that a former place still shows has no place now.
    pub(crate) fn orphan(&mut self, slot: Slot, out: &mut Vec<Block>) {
        debug_assert!(self.snapshots.has_moved(slot), "nothing shows it");
        self.lose_place(slot);
        self.trim(slot, out);
    }

    /// An inode hangs nowhere now, and is charged to the root alone.
    fn lose_place(&mut self, slot: Slot) {
        let parent = self.rec(slot).parent();
        if self.attributes.counts_types() {
            self.charge(parent, -self.charged_usage(slot));
        }
        self.changed(slot, |ns| ns.tree.make_orphan(slot));
        // It inherits no storage policy any more.
        if self.attributes.counts_types() {
            self.charge(self.root(), self.charged_usage(slot));
            self.count_types_anew(slot);
        }
    }

    /// Changes something of an inode that the digest counts.
    fn changed(&mut self, slot: Slot, change: impl FnOnce(&mut Namespace)) {
        if self.rec(slot).has(flag::CHANGING) {
            change(self);
        } else {
            self.subtract_freed(slot);
            change(self);
            self.add_unless_cut(slot);
        }
    }

    // ---- the present of what is gone ends ----

    /// Whether the inode is this one or hangs below it, by the children's lists.
    fn hangs_below(&self, slot: Slot, top: Slot) -> bool {
        let mut at = slot;
        while at != top {
            let rec = self.rec(at);
            let hangs = rec.is_live() && rec.parent() != NONE && !rec.has(flag::DETACHED);
            if !hangs || self.tree.last_shown(at).is_some() {
                return false;
            }
            at = rec.parent();
        }
        self.rec(top).is_live()
    }

    /// The present of an inode that is gone, and of all below it, is shown by nobody. What came after the last snapshot that
    /// shows them ends.
    pub(crate) fn trim(&mut self, top: Slot, out: &mut Vec<Block>) {
        for slot in self.changed_below(top) {
            if !self.hangs_below(slot, top) {
                // It ended with what it hung below.
                continue;
            }
            if self.rec(slot).is_dir() {
                self.trim_dir(slot, out);
            } else if self.rec(slot).is_file() {
                self.trim_file(slot, out);
            }
        }
    }

    /// Inodes with diffs and open files below an inode, by id. It walks through what is below, or through all inodes with
    /// diffs and all open files if these are fewer.
    fn changed_below(&self, top: Slot) -> Vec<Slot> {
        let all = self.snapshots.diff_count() + self.open_file_count();
        let mut found: Vec<Slot> = Vec::new();
        let mut stack = vec![top];
        for seen in 0.. {
            let Some(slot) = stack.pop() else { break };
            if seen > all {
                let all = self.snapshots.with_diffs().chain(self.writers.files().slots());
                found = all.filter(|slot| self.hangs_below(*slot, top)).collect();
                break;
            }
            let has_diffs = !self.snapshots.dir_diffs(slot).is_empty() || !self.snapshots.file_diffs(slot).is_empty();
            if has_diffs || self.rec(slot).is_open() {
                found.push(slot);
            }
            stack.extend(self.children(slot));
        }
        found.sort_unstable_by_key(|slot| self.rec(*slot).id());
        found.dedup();
        found
    }

    /// Whether the inode has changed since the last snapshot that shows it.
    fn is_past_shown(&self, slot: Slot, newest_diff: Option<SnapshotId>) -> bool {
        match (newest_diff, self.shown_by(slot, PRESENT)) {
            (Some(newest), Some(shown)) => newest >= shown,
            _ => false,
        }
    }

    fn trim_dir(&mut self, dir: Slot, out: &mut Vec<Block>) {
        self.settle(dir);
        let Some(newest) = self.snapshots.dir_diffs(dir).last() else {
            return;
        };
        if !self.is_past_shown(dir, Some(newest.snapshot)) {
            return;
        }
        for entry in newest.created.clone() {
            if let Entry::Inode(child) = entry
                && self.rec(child).parent() == dir
                && self.tree.last_shown(child).is_none()
            {
                self.settle(child);
                self.forget_comes(dir, entry);
                self.detach(child, out);
            }
        }
    }

    fn trim_file(&mut self, file: Slot, out: &mut Vec<Block>) {
        self.settle(file);
        let mut spare: Vec<Slot> = Vec::new();
        if self.rec(file).is_open() {
            let source = self
                .writers
                .files()
                .truncation(self.rec(file).id())
                .and_then(|t| t.source);
            self.changed(file, |ns| {
                ns.writers.end_truncation(ns.rec(file).id());
                ns.writers.close(&mut ns.tree, file);
            });
            spare.extend(source);
        }
        let mut present = self.block_slots(file).to_vec();
        let before = self.file_usage(file);
        let newest = self.snapshots.file_diffs(file).last().map(|diff| diff.snapshot);
        if self.is_past_shown(file, newest) {
            let mut diffs = self.snapshots.file_diffs(file).iter().rev();
            let of_present = diffs.by_ref().take_while(|diff| diff.blocks.is_none());
            let shown = of_present.map(|diff| diff.length).max().unwrap_or(0);
            let mut start = 0;
            let count = present.iter().take_while(|block| {
                let is_shown = start < shown;
                start += self.files.get(**block).len();
                is_shown
            });
            let count = count.count();
            spare.extend(present.drain(count..));
        } else if let Some(last) = present.last().copied()
            && self.files.get(last).is_open()
            && self.files.get(last).len() == 0
        {
            // Nobody knows of a byte in it (`FileUnderConstructionFeature.cleanZeroSizeBlock`).
            spare.extend(present.pop());
        }
        if present.len() < self.block_slots(file).len() {
            self.files.replace(&mut self.tree, &mut self.sum, file, present);
        }
        self.free_unshown(file, &spare, out);
        self.recharge(file, before);
    }

    // ---- a snapshot is deleted ----

    /// A snapshot that its directory has no more ends: what only it shows is freed into `out`, or waits to be freed.
    pub(crate) fn end_snapshot(&mut self, snapshot: SnapshotId, out: &mut Vec<Block>) {
        debug_assert!(self.snapshots.ending.is_none(), "one ends at a time");
        self.snapshots.ending = Some(snapshot);
        if self.snapshots.diff_count_of(snapshot) > self.config.snapshot_diffs_at_once {
            self.tree.leave_waiting(Lane::Snapshots, Waiting::Snapshot(snapshot));
            return;
        }
        while let Some(slot) = self.snapshots.first_with_diff_of(snapshot) {
            self.end_diff(snapshot, slot, out);
        }
        self.snapshots.ending = None;
    }

    /// Ends diffs of the snapshot that waits first, up to `max` inodes in `out`. True if it waits no more.
    pub(crate) fn end_slice(&mut self, snapshot: SnapshotId, max: usize, out: &mut Reclaimed) -> bool {
        while out.inodes < max {
            let Some(slot) = self.snapshots.first_with_diff_of(snapshot) else {
                self.snapshots.ending = None;
                self.tree.first_is_freed(Lane::Snapshots);
                return true;
            };
            self.end_early(snapshot, slot, &mut out.blocks);
            out.inodes += 1;
        }
        false
    }

    /// Ends a diff that waits.
    fn end_early(&mut self, snapshot: SnapshotId, slot: Slot, out: &mut Vec<Block>) {
        let was_freeing = self.freeing.replace(Lane::Snapshots);
        self.end_diff(snapshot, slot, out);
        self.freeing = was_freeing;
    }

    /// Frees at once what only deleted snapshots showed.
    pub fn finish_snapshots(&mut self) -> Effects {
        let mut fx = Effects::default();
        while self.tree.waiting_in(Lane::Snapshots) > 0 {
            let Reclaimed { blocks, effects, .. } = self.reclaim(usize::MAX);
            fx.effects.extend(effects);
            let removed = blocks.into_iter().map(|block| Effect::BlockRemoved { block });
            fx.effects.extend(removed);
        }
        fx
    }

    /// Before a snapshot is deleted: an earlier one has ended, and so has what was deleted, if the end of this snapshot may
    /// touch it: a former place may show a part of it, or it hung below what is gone.
    pub(crate) fn finish_before_deleting(&mut self, fx: &mut Effects) {
        fx.effects.append(&mut self.finish_snapshots().effects);
        let is_attached = |slot: Slot| {
            let parent = self.rec(slot).parent();
            parent != NONE && self.tree.is_attached(parent)
        };
        let touches_nothing = !self.snapshots.has_former_names() && self.tree.waiting().all(is_attached);
        if !touches_nothing {
            self.reclaim_now(fx);
        }
    }

    /// The diffs of an inode are about to change: those of a deleted snapshot end before that, so that each replica changes
    /// the same ones.
    pub(crate) fn settle(&mut self, slot: Slot) {
        let Some(ending) = self.snapshots.ending.filter(|_| !self.snapshots.is_ending) else {
            return;
        };
        if !self.snapshots.has_diff_of(ending, slot) {
            return;
        }
        let mut freed = Vec::new();
        self.end_early(ending, slot, &mut freed);
        let removed = freed.into_iter().map(|block| Effect::BlockRemoved { block });
        self.by_the_way.extend(removed);
    }

    /// The diff that an inode has of a deleted snapshot ends.
    fn end_diff(&mut self, snapshot: SnapshotId, slot: Slot, out: &mut Vec<Block>) {
        let was_ending = std::mem::replace(&mut self.snapshots.is_ending, true);
        let mut ended: Vec<Slot> = vec![slot];
        if let Some(at) = self
            .snapshots
            .dir_diffs(slot)
            .iter()
            .position(|diff| diff.snapshot == snapshot)
        {
            self.end_dir_diff(slot, at, &mut ended, out);
        } else if let Some(at) = self
            .snapshots
            .file_diffs(slot)
            .iter()
            .position(|diff| diff.snapshot == snapshot)
        {
            self.end_file_diff(slot, at, out);
        }
        // The last snapshot that shows what is gone may be an earlier one now.
        for slot in ended {
            let rec = self.rec(slot);
            if rec.is_live() && !self.tree.is_attached(slot) && self.shown_by(slot, PRESENT).is_some() {
                self.trim(slot, out);
            }
        }
        self.snapshots.is_ending = was_ending;
    }

    fn end_dir_diff(&mut self, dir: Slot, at: usize, ended: &mut Vec<Slot>, out: &mut Vec<Block>) {
        let snapshot = self.snapshots.dir_diffs(dir)[at].snapshot;
        let shown = self.shown_by(dir, snapshot);
        let mut diff = self.take_dir_diff(dir, at);
        let Some(shown) = shown else {
            for entry in diff.deleted {
                self.destroy(entry, ended, out);
            }
            return;
        };
        let is_of = |diff: &DirDiff| diff.snapshot == shown;
        let merged = at
            .checked_sub(1)
            .filter(|before| is_of(&self.snapshots.dir_diffs(dir)[*before]));
        let Some(before) = merged else {
            for &entry in &diff.deleted {
                self.shown_until(entry, shown);
                ended.push(self.entry_inode(entry));
            }
            diff.snapshot = shown;
            self.insert_dir_diff(dir, at, diff);
            return;
        };
        for entry in diff.deleted {
            if self.take_entry(dir, before, List::Created, entry) {
                // It came after the one and went after the other.
                self.destroy(entry, ended, out);
            } else {
                self.put_entry(dir, before, List::Deleted, entry);
                self.shown_until(entry, shown);
                ended.push(self.entry_inode(entry));
            }
        }
        for entry in diff.created {
            self.put_entry(dir, before, List::Created, entry);
        }
        if self.snapshots.dir_diffs(dir)[before].kept.is_none() {
            self.change_dir_diff(dir, before, |before| before.kept = diff.kept);
        }
    }

    fn take_dir_diff(&mut self, dir: Slot, at: usize) -> DirDiff {
        let diff = self.snapshots.dir_diffs(dir)[at].clone();
        self.sum.subtract(self.whole_diff_term(dir, &diff));
        self.snapshots.remove_dir_diff(dir, at);
        diff
    }

    fn insert_dir_diff(&mut self, dir: Slot, at: usize, diff: DirDiff) {
        self.sum.add(self.whole_diff_term(dir, &diff));
        self.snapshots.insert_dir_diff(dir, at, diff);
    }

    fn end_file_diff(&mut self, file: Slot, at: usize, out: &mut Vec<Block>) {
        let snapshot = self.snapshots.file_diffs(file)[at].snapshot;
        let shown = self.shown_by(file, snapshot);
        let (before_usage, wanted) = (self.file_usage(file), self.wanted_replication(file));
        let mut diff = self.snapshots.file_diffs(file)[at].clone();
        self.sum.subtract(self.file_diff_term(file, &diff));
        self.snapshots.remove_file_diff(file, at);
        let spare = match shown {
            None => diff.blocks,
            Some(shown) => {
                let is_of = |diff: &FileDiff| diff.snapshot == shown;
                let merged = at
                    .checked_sub(1)
                    .filter(|before| is_of(&self.snapshots.file_diffs(file)[*before]));
                match merged {
                    None => {
                        diff.snapshot = shown;
                        self.sum.add(self.file_diff_term(file, &diff));
                        self.snapshots.insert_file_diff(file, at, diff);
                        None
                    }
                    Some(before) => {
                        let mut spare = diff.blocks;
                        self.change_file_diff(file, before, |before| {
                            if before.kept.is_none() {
                                before.kept = diff.kept;
                            }
                            if before.blocks.is_none() {
                                before.blocks = spare.take();
                            }
                        });
                        spare
                    }
                }
            }
        };
        if let Some(spare) = spare {
            self.free_unshown(file, &spare, out);
        }
        self.recharge(file, before_usage);
        // Fewer replicas may be wanted of a file than the snapshot wanted that has ended.
        let (old, new) = (wanted, self.wanted_replication(file));
        if old != new {
            let file = self.rec(file).id();
            self.by_the_way.push(Effect::ReplicationChanged { file, old, new });
        }
    }

    /// The last snapshot that shows an entry which went is another one.
    fn shown_until(&mut self, entry: Entry, last: SnapshotId) {
        match entry {
            Entry::Inode(slot) => self.tree.set_gone(slot, last),
            Entry::Former(name) => self.snapshots.set_last(name, last),
        }
    }

    /// No snapshot shows an entry any more, which went earlier.
    fn destroy(&mut self, entry: Entry, ended: &mut Vec<Slot>, out: &mut Vec<Block>) {
        let slot = self.entry_inode(entry);
        match entry {
            Entry::Inode(_) if self.snapshots.has_moved(slot) => self.orphan(slot, out),
            Entry::Inode(_) => {
                if self.tree.is_cut_off(slot) {
                    // Its directory is freed before it is.
                    self.lose_place(slot);
                }
                self.free_gone(slot, out);
            }
            Entry::Former(name) => {
                self.snapshots.remove_former(name);
                if self.tree.is_orphan(slot) && !self.snapshots.has_moved(slot) {
                    self.free_gone(slot, out);
                } else {
                    ended.push(slot);
                }
            }
        }
    }

    /// Frees what is gone with all below it.
    fn free_gone(&mut self, slot: Slot, out: &mut Vec<Block>) {
        self.subtract_freed(slot);
        self.tree.cut_off_gone(slot);
        if self.rec(slot).is_dir() {
            self.leave_to_wait(slot);
            return;
        }
        let mut reclaimed = Reclaimed::default();
        self.free_inode(slot, &mut reclaimed);
        out.append(&mut reclaimed.blocks);
    }

    /// Drops all diffs of an inode that is about to be freed. Nothing shows it, so nothing shows what they keep.
    pub(crate) fn drop_diffs(&mut self, slot: Slot, out: &mut Vec<Block>) {
        while let Some(at) = self.snapshots.dir_diffs(slot).len().checked_sub(1) {
            for entry in self.take_dir_diff(slot, at).deleted {
                self.destroy(entry, &mut Vec::new(), out);
            }
        }
        while let Some(at) = self.snapshots.file_diffs(slot).len().checked_sub(1) {
            self.end_file_diff(slot, at, out);
        }
    }
}
