//! Which snapshot shows an inode, and what is kept for it before something changes.

use std::sync::Arc;

use hathi_formats::ids::Block;

use super::{DirDiff, Entry, FileDiff, FormerName, Kept, KeptQuota, PRESENT, SnapshotId, SnapshotsPart};
use crate::digest::terms::{self, Fact, Term};
use crate::namespace::Namespace;
use crate::store::slab::{NONE, Slot};
use crate::tree::inode::flag;
use crate::view::View;

/// Which of the two lists of a diff.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Created,
    Deleted,
}

impl DirDiff {
    pub(super) fn list(&self, list: List) -> &Vec<Entry> {
        match list {
            List::Created => &self.created,
            List::Deleted => &self.deleted,
        }
    }

    pub(super) fn list_mut(&mut self, list: List) -> &mut Vec<Entry> {
        match list {
            List::Created => &mut self.created,
            List::Deleted => &mut self.deleted,
        }
    }
}

/// The snapshots behind one and up to another.
#[derive(Clone, Copy)]
struct Times {
    after: Option<SnapshotId>,
    until: SnapshotId,
}

/// The former places that led here, the last one first.
struct Trail<'t> {
    name: Slot,
    until: SnapshotId,
    before: Option<&'t Trail<'t>>,
}

impl Trail<'_> {
    /// Whether the same was asked before.
    ///
    /// While a deleted snapshot ends, some of the places that only it showed are forgotten, and others are not. Then a
    /// directory that moved below its former child seems to have been there always, and the child leads back to it. No
    /// snapshot shows the forgotten place, so this way leads nowhere.
    fn is_a_circle(&self) -> bool {
        let mut at = self.before;
        while let Some(step) = at {
            if (step.name, step.until) == (self.name, self.until) {
                return true;
            }
            at = step.before;
        }
        false
    }
}

impl Namespace {
    // ---- what is shown ----

    /// The last snapshot up to `until` that shows the inode as it is now, or was last.
    ///
    /// It climbs: a snapshot shows an inode if it shows the directory in which the inode was then, and a directory that
    /// has snapshots is shown by them.
    pub(crate) fn shown_by(&self, slot: Slot, until: SnapshotId) -> Option<SnapshotId> {
        if self.snapshots.is_none() {
            return None;
        }
        let all = Times { after: None, until };
        self.shown(slot, all, None)
    }

    /// The same, of the place alone that the inode has now, or had last.
    pub(crate) fn shown_here(&self, slot: Slot, until: SnapshotId) -> Option<SnapshotId> {
        self.shown_in_place(slot, Times { after: None, until }, None)
    }

    fn shown(&self, slot: Slot, times: Times, trail: Option<&Trail<'_>>) -> Option<SnapshotId> {
        let rec = self.rec(slot);
        let is_root = rec.is_dir() && rec.has(flag::MULTI_OR_SNAPSHOTTABLE);
        let root = is_root.then(|| self.snapshots.roots().get(&rec.id().0)).flatten();
        let own = root.and_then(|root| root.last_until(times.until));
        let own = own.filter(|own| Some(*own) > times.after);
        own.max(self.shown_somewhere(slot, times, trail))
    }

    /// The same, without the snapshots of the inode itself.
    ///
    /// Each place is asked for the snapshots of the time in which the inode was there, and for no others: directories that
    /// moved below one another lead back to the inode if their places of different times are mixed.
    fn shown_somewhere(&self, slot: Slot, times: Times, trail: Option<&Trail<'_>>) -> Option<SnapshotId> {
        let former = self.snapshots.former_names(slot);
        let last_at = |place: usize| former.get(place).map(|name| self.snapshots.former(*name).last);
        let mut until = times.until;
        let mut place = former.partition_point(|name| self.snapshots.former(*name).last < until);
        loop {
            let since = place.checked_sub(1).and_then(last_at);
            debug_assert!(
                since.is_none_or(|since| since < until),
                "an inode has its places one after the other"
            );
            let here = Times {
                after: since.max(times.after),
                until,
            };
            let shown = match former.get(place) {
                Some(name) => self.shown_in_former(*name, here, trail),
                None => self.shown_in_place(slot, here, trail),
            };
            let Some(earlier) = since.filter(|since| shown.is_none() && Some(*since) > times.after) else {
                return shown;
            };
            until = earlier;
            place -= 1;
        }
    }

    /// Of a place that an inode had before.
    fn shown_in_former(&self, name: Slot, times: Times, trail: Option<&Trail<'_>>) -> Option<SnapshotId> {
        let step = Trail {
            name,
            until: times.until,
            before: trail,
        };
        if step.is_a_circle() {
            return None;
        }
        self.shown_at(self.snapshots.former(name).dir, Entry::Former(name), times, Some(&step))
    }

    fn shown_in_place(&self, slot: Slot, times: Times, trail: Option<&Trail<'_>>) -> Option<SnapshotId> {
        let rec = self.rec(slot);
        if rec.parent() == NONE || rec.has(flag::DETACHED) {
            return None;
        }
        let until = match self.tree.last_shown(slot) {
            Some(last) => times.until.min(last),
            None => times.until,
        };
        self.shown_at(rec.parent(), Entry::Inode(slot), Times { until, ..times }, trail)
    }

    fn shown_at(&self, dir: Slot, entry: Entry, times: Times, trail: Option<&Trail<'_>>) -> Option<SnapshotId> {
        let shown = self.shown(dir, times, trail)?;
        debug_assert!(
            shown <= times.until && Some(shown) > times.after,
            "an answer is of the time that was asked for"
        );
        let mut later = self.snapshots.dir_diffs(dir).iter().rev();
        let came_later = later
            .by_ref()
            .take_while(|diff| diff.snapshot >= shown)
            .any(|diff| self.find_entry(&diff.created, entry).is_ok());
        (!came_later).then_some(shown)
    }

    /// The name of an entry in its directory.
    pub(super) fn entry_name(&self, entry: Entry) -> &[u8] {
        match entry {
            Entry::Inode(slot) => self.name_of(slot),
            Entry::Former(name) => &self.snapshots.former(name).name,
        }
    }

    /// The inode of an entry.
    pub(super) fn entry_inode(&self, entry: Entry) -> Slot {
        match entry {
            Entry::Inode(slot) => slot,
            Entry::Former(name) => self.snapshots.former(name).inode,
        }
    }

    /// Where an entry is in a list, or where it would be.
    pub(super) fn find_entry(&self, list: &[Entry], entry: Entry) -> Result<usize, usize> {
        let name = self.entry_name(entry);
        let at = list.partition_point(|other| self.entry_name(*other) < name);
        let found = list.get(at).is_some_and(|other| *other == entry);
        if found { Ok(at) } else { Err(at) }
    }

    // ---- what is kept ----

    /// The attributes of an inode are about to change.
    pub(crate) fn keep_attributes(&mut self, slot: Slot) {
        self.settle(slot);
        if let Some(snapshot) = self.shown_by(slot, PRESENT) {
            self.keep_for(snapshot, slot, false);
        }
    }

    /// The block list of a file is about to lose blocks.
    pub(crate) fn keep_blocks(&mut self, file: Slot) {
        self.settle(file);
        if let Some(snapshot) = self.shown_by(file, PRESENT) {
            self.keep_for(snapshot, file, true);
        }
    }

    /// Keeps what the inode is for the last snapshot that shows it.
    pub(super) fn keep_for(&mut self, snapshot: SnapshotId, slot: Slot, blocks: bool) {
        let rec = *self.rec(slot);
        if rec.is_dir() {
            let at = self.dir_diff(slot, snapshot);
            if self.snapshots.dir_diffs(slot)[at].kept.is_none() {
                let kept = self.kept_now(slot);
                self.change_dir_diff(slot, at, |diff| diff.kept = Some(kept));
            }
        } else if rec.is_file() {
            let at = self.file_diff(slot, snapshot);
            if self.snapshots.file_diffs(slot)[at].kept.is_none() {
                let kept = self.kept_now(slot);
                self.change_file_diff(slot, at, |diff| diff.kept = Some(kept));
            }
            if blocks && self.snapshots.file_diffs(slot)[at].blocks.is_none() {
                let list: Arc<[Slot]> = Arc::from(self.block_slots(slot));
                self.change_file_diff(slot, at, |diff| diff.blocks = Some(list));
            }
        }
    }

    /// The files that are being written and that a new snapshot shows are kept as long as they are now
    /// (`DirectorySnapshottableFeature.addSnapshot`).
    pub(crate) fn keep_open_files(&mut self, snapshot: SnapshotId) {
        let open: Vec<Slot> = self.writers.files().slots().collect();
        for file in open {
            if self.shown_by(file, PRESENT) == Some(snapshot) {
                self.settle(file);
                self.keep_for(snapshot, file, false);
            }
        }
    }

    /// A snapshot of this directory begins. `mtime` (ms) is when it was taken, and what it shows as the directory's time.
    pub(crate) fn begin_diff_of_root(&mut self, dir: Slot, snapshot: SnapshotId, mtime: u64) {
        let mut kept = Kept::clone(&self.kept_now(dir));
        kept.rec.set_mtime(mtime);
        let at = self.dir_diff(dir, snapshot);
        self.change_dir_diff(dir, at, |diff| diff.kept = Some(Arc::new(kept)));
    }

    fn kept_now(&self, slot: Slot) -> Arc<Kept> {
        let rec = self.rec(slot);
        let quota = self.quota(slot).map(|quota| KeptQuota {
            ns: quota.ns,
            ds: quota.ds,
            types: quota.types.clone(),
        });
        let acl = self.attributes.acl(slot).filter(|_| rec.has(flag::ACL)).cloned();
        let xattrs = self.attributes.xattrs_shared(slot).filter(|_| rec.has(flag::XATTR));
        Arc::new(Kept::new(rec, acl, xattrs.cloned(), quota))
    }

    /// The diff of a directory for the last snapshot that shows it: its newest one, or a new one.
    fn dir_diff(&mut self, dir: Slot, snapshot: SnapshotId) -> usize {
        self.settle(dir);
        let diffs = self.snapshots.dir_diffs(dir);
        match diffs.last() {
            Some(last) if last.snapshot >= snapshot => {
                debug_assert_eq!(last.snapshot, snapshot, "a diff is of a snapshot that shows the inode");
                diffs.len() - 1
            }
            _ => {
                let at = diffs.len();
                let diff = DirDiff {
                    snapshot,
                    kept: None,
                    children: self.child_count(dir) as u32,
                    created: Vec::new(),
                    deleted: Vec::new(),
                };
                self.sum.add(self.dir_diff_term(dir, &diff));
                self.snapshots.push_dir_diff(dir, diff);
                at
            }
        }
    }

    fn file_diff(&mut self, file: Slot, snapshot: SnapshotId) -> usize {
        self.settle(file);
        let diffs = self.snapshots.file_diffs(file);
        match diffs.last() {
            Some(last) if last.snapshot >= snapshot => {
                debug_assert_eq!(last.snapshot, snapshot, "a diff is of a snapshot that shows the inode");
                diffs.len() - 1
            }
            _ => {
                let at = diffs.len();
                let diff = FileDiff {
                    snapshot,
                    kept: None,
                    length: self.file_length(file),
                    blocks: None,
                };
                self.sum.add(self.file_diff_term(file, &diff));
                self.snapshots.push_file_diff(file, diff);
                at
            }
        }
    }

    /// Changes what a diff says besides its two lists.
    pub(super) fn change_dir_diff(&mut self, dir: Slot, at: usize, change: impl FnOnce(&mut DirDiff)) {
        let term = self.dir_diff_term(dir, &self.snapshots.dir_diffs(dir)[at]);
        self.sum.subtract(term);
        change(&mut self.snapshots.dir_diffs_mut(dir)[at]);
        let term = self.dir_diff_term(dir, &self.snapshots.dir_diffs(dir)[at]);
        self.sum.add(term);
    }

    pub(super) fn change_file_diff(&mut self, file: Slot, at: usize, change: impl FnOnce(&mut FileDiff)) {
        let term = self.file_diff_term(file, &self.snapshots.file_diffs(file)[at]);
        self.sum.subtract(term);
        change(&mut self.snapshots.file_diffs_mut(file)[at]);
        let term = self.file_diff_term(file, &self.snapshots.file_diffs(file)[at]);
        self.sum.add(term);
    }

    /// Puts an entry into a list of a diff.
    pub(super) fn put_entry(&mut self, dir: Slot, at: usize, list: List, entry: Entry) {
        let diff = &self.snapshots.dir_diffs(dir)[at];
        let term = self.entry_term(dir, diff.snapshot, list, entry);
        let place = self.find_entry(diff.list(list), entry);
        debug_assert!(place.is_err(), "a child comes and goes once");
        if let Err(place) = place {
            self.sum.add(term);
            self.snapshots.dir_diffs_mut(dir)[at]
                .list_mut(list)
                .insert(place, entry);
        }
    }

    /// Takes an entry out of a list of a diff. False if it is not there.
    pub(super) fn take_entry(&mut self, dir: Slot, at: usize, list: List, entry: Entry) -> bool {
        let diff = &self.snapshots.dir_diffs(dir)[at];
        let Ok(place) = self.find_entry(diff.list(list), entry) else {
            return false;
        };
        let term = self.entry_term(dir, diff.snapshot, list, entry);
        self.sum.subtract(term);
        self.snapshots.dir_diffs_mut(dir)[at].list_mut(list).remove(place);
        true
    }

    /// The diff after whose snapshot the entry came.
    fn diff_of_created(&self, dir: Slot, entry: Entry) -> Option<usize> {
        let diffs = self.snapshots.dir_diffs(dir);
        diffs
            .iter()
            .rposition(|diff| self.find_entry(&diff.created, entry).is_ok())
    }

    // ---- children come and go ----

    /// An inode is about to hang in a directory.
    pub(crate) fn note_comes(&mut self, dir: Slot, child: Slot) {
        if let Some(snapshot) = self.shown_by(dir, PRESENT) {
            let at = self.dir_diff(dir, snapshot);
            self.put_entry(dir, at, List::Created, Entry::Inode(child));
        }
    }

    /// Nothing remembers any more that a child came later than some snapshot.
    pub(super) fn forget_comes(&mut self, dir: Slot, entry: Entry) {
        self.settle(dir);
        if let Some(at) = self.diff_of_created(dir, entry) {
            self.take_entry(dir, at, List::Created, entry);
        }
    }

    /// A child is about to leave its directory for ever. True if a snapshot goes on to show it there: it is gone then, and
    /// stays an inode.
    pub(crate) fn stays_shown(&mut self, child: Slot) -> bool {
        let dir = self.rec(child).parent();
        let Some(snapshot) = self.shown_here(child, PRESENT) else {
            self.forget_comes(dir, Entry::Inode(child));
            return false;
        };
        let at = self.dir_diff(dir, snapshot);
        self.put_entry(dir, at, List::Deleted, Entry::Inode(child));
        self.tree.set_gone(child, snapshot);
        true
    }

    /// A child is about to move to another place.
    pub(crate) fn note_moves(&mut self, child: Slot) {
        if self.snapshots.keeps_nothing() {
            return;
        }
        let dir = self.rec(child).parent();
        let Some(snapshot) = self.shown_here(child, PRESENT) else {
            self.forget_comes(dir, Entry::Inode(child));
            return;
        };
        // What changes below it, wherever it hangs, is kept for this snapshot from now on.
        self.keep_attributes(child);
        let at = self.dir_diff(dir, snapshot);
        let came = self.diff_of_created(dir, Entry::Inode(child));
        if let Some(came) = came {
            self.take_entry(dir, came, List::Created, Entry::Inode(child));
        }
        let former = self.snapshots.add_former(FormerName {
            inode: child,
            dir,
            name: self.name_of(child).into(),
            last: snapshot,
        });
        if let Some(came) = came {
            self.put_entry(dir, came, List::Created, Entry::Former(former));
        }
        self.put_entry(dir, at, List::Deleted, Entry::Former(former));
    }

    // ---- blocks ----

    /// Frees those of these blocks that neither the present nor a snapshot shows.
    pub(crate) fn free_unshown(&mut self, file: Slot, blocks: &[Slot], freed: &mut Vec<Block>) {
        let source = self
            .writers
            .files()
            .truncation(self.rec(file).id())
            .and_then(|t| t.source);
        for &block in blocks {
            let of_diff = |diff: &FileDiff| diff.blocks.as_ref().is_some_and(|blocks| blocks.contains(&block));
            let needed = self.block_slots(file).contains(&block)
                || source == Some(block)
                || self.snapshots.file_diffs(file).iter().any(of_diff);
            if !needed {
                freed.push(self.files.free(&mut self.sum, block));
            }
        }
    }

    // ---- digest ----

    pub(super) fn entry_term(&self, dir: Slot, snapshot: SnapshotId, list: List, entry: Entry) -> u64 {
        let fact = match list {
            List::Created => Fact::Created,
            List::Deleted => Fact::Deleted,
        };
        Term::of(fact)
            .word(self.rec(dir).id().0)
            .word(u64::from(snapshot))
            .word(self.rec(self.entry_inode(entry)).id().0)
            .bytes(self.entry_name(entry))
            .end()
    }

    /// What a diff says besides its two lists.
    pub(super) fn dir_diff_term(&self, dir: Slot, diff: &DirDiff) -> u64 {
        let term = Term::of(Fact::DirDiff)
            .word(self.rec(dir).id().0)
            .word(u64::from(diff.snapshot))
            .word(u64::from(diff.children));
        self.kept_term(term, diff.kept.as_deref())
    }

    pub(super) fn file_diff_term(&self, file: Slot, diff: &FileDiff) -> u64 {
        let mut term = Term::of(Fact::FileDiff)
            .word(self.rec(file).id().0)
            .word(u64::from(diff.snapshot))
            .word(diff.length);
        if let Some(blocks) = &diff.blocks {
            term = term.word(blocks.len() as u64 + 1);
            for block in blocks.iter() {
                term = term.signed(self.files.get(*block).id().0);
            }
        }
        self.kept_term(term, diff.kept.as_deref())
    }

    fn kept_term(&self, term: Term, kept: Option<&Kept>) -> u64 {
        let Some(kept) = kept else { return term.end() };
        let (users, groups) = (self.attributes.users(), self.attributes.groups());
        let (user, group) = (users.term(kept.rec.perm().user()), groups.term(kept.rec.perm().group()));
        let id = kept.rec.id();
        term.word(terms::inode(&kept.rec, b"", user, group))
            .word(kept.acl.as_ref().map_or(0, |acl| terms::acl(id, acl)))
            .word(kept.xattrs.as_ref().map_or(0, |xattrs| terms::xattrs(id, xattrs)))
            .word(
                kept.quota
                    .as_ref()
                    .map_or(0, |quota| terms::quota(id, quota.ns, quota.ds, &quota.types)),
            )
            .end()
    }

    /// What a diff says, its two lists included.
    pub(super) fn whole_diff_term(&self, dir: Slot, diff: &DirDiff) -> u64 {
        let mut sum = self.dir_diff_term(dir, diff);
        for list in [List::Created, List::Deleted] {
            for entry in diff.list(list) {
                sum = sum.wrapping_add(self.entry_term(dir, diff.snapshot, list, *entry));
            }
        }
        sum
    }

    /// The terms of all snapshots and diffs.
    pub(crate) fn snapshot_terms(&self) -> u64 {
        let mut sum: u64 = 0;
        for (root, of) in self.snapshots.roots() {
            for snapshot in &of.snapshots {
                sum = sum.wrapping_add(terms::snapshot(*root, snapshot.id, &snapshot.name));
            }
        }
        for slot in self.snapshots.with_diffs() {
            for diff in self.snapshots.dir_diffs(slot) {
                sum = sum.wrapping_add(self.whole_diff_term(slot, diff));
            }
            for diff in self.snapshots.file_diffs(slot) {
                sum = sum.wrapping_add(self.file_diff_term(slot, diff));
            }
        }
        sum
    }
}
