//! Reads as of a snapshot, over the parts of any view.

use std::iter::Peekable;

use super::{Entry, Kept, SnapshotId, SnapshotsPart};
use crate::store::slab::Slot;
use crate::view::View;

/// A name in a directory, and what a snapshot shows there.
pub(crate) type Change<'v> = (&'v [u8], Option<Entry>);

/// The children that there are now and the changes since a snapshot, both by name, merged to what the snapshot shows.
pub(crate) struct Merged<'v, V, I: Iterator<Item = Slot>> {
    view: &'v V,
    present: Peekable<I>,
    changes: Peekable<std::vec::IntoIter<Change<'v>>>,
}

impl<'v, V: View, I: Iterator<Item = Slot>> Merged<'v, V, I> {
    pub(crate) fn new(view: &'v V, present: I, changes: Vec<Change<'v>>) -> Self {
        let (present, changes) = (present.peekable(), changes.into_iter().peekable());
        Merged { view, present, changes }
    }
}

impl<V: View, I: Iterator<Item = Slot>> Iterator for Merged<'_, V, I> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let Some((changed, _)) = self.changes.peek() else {
                return self.present.next().map(Entry::Inode);
            };
            let present = self.present.peek().map(|slot| self.view.name_of(*slot));
            if present.is_some_and(|name| name < *changed) {
                return self.present.next().map(Entry::Inode);
            }
            if present == Some(*changed) {
                self.present.next();
            }
            if let Some((_, Some(entry))) = self.changes.next() {
                return Some(entry);
            }
        }
    }
}

/// What a view shows of a snapshot. `PRESENT` asks for the present.
pub(crate) trait AsOf: View {
    /// The first diff of this snapshot or a later one begins here.
    fn dir_diffs_from(&self, dir: Slot, snapshot: SnapshotId) -> &[super::DirDiff] {
        let diffs = self.snapshots().dir_diffs(dir);
        &diffs[diffs.partition_point(|diff| diff.snapshot < snapshot)..]
    }

    /// The same of a file.
    fn file_diffs_from(&self, file: Slot, snapshot: SnapshotId) -> &[super::FileDiff] {
        let diffs = self.snapshots().file_diffs(file);
        &diffs[diffs.partition_point(|diff| diff.snapshot < snapshot)..]
    }

    /// The inode of an entry.
    fn inode_of(&self, entry: Entry) -> Slot {
        match entry {
            Entry::Inode(slot) => slot,
            Entry::Former(name) => self.snapshots().former(name).inode,
        }
    }

    /// The name of an entry.
    fn name_of_entry(&self, entry: Entry) -> &[u8] {
        match entry {
            Entry::Inode(slot) => self.name_of(slot),
            Entry::Former(name) => &self.snapshots().former(name).name,
        }
    }

    /// The entry of this name in a list.
    fn entry_named(&self, list: &[Entry], name: &[u8]) -> Option<Entry> {
        let at = list.partition_point(|entry| self.name_of_entry(*entry) < name);
        list.get(at).copied().filter(|entry| self.name_of_entry(*entry) == name)
    }

    /// Whether an entry is in a list.
    fn find_in(&self, list: &[Entry], entry: Entry) -> bool {
        let name = self.name_of_entry(entry);
        let at = list.partition_point(|other| self.name_of_entry(*other) < name);
        list.get(at) == Some(&entry)
    }

    /// The attributes of an inode as the snapshot shows them, if they are others than now.
    fn kept_at(&self, slot: Slot, snapshot: SnapshotId) -> Option<&Kept> {
        let of_dir = self
            .dir_diffs_from(slot, snapshot)
            .iter()
            .find_map(|diff| diff.kept.as_deref());
        of_dir.or_else(|| {
            self.file_diffs_from(slot, snapshot)
                .iter()
                .find_map(|diff| diff.kept.as_deref())
        })
    }

    /// A child of a directory as the snapshot shows it.
    fn entry_at(&self, dir: Slot, name: &[u8], snapshot: SnapshotId) -> Option<Entry> {
        for diff in self.dir_diffs_from(dir, snapshot) {
            if let Some(entry) = self.entry_named(&diff.deleted, name) {
                return Some(entry);
            }
            if self.entry_named(&diff.created, name).is_some() {
                return None;
            }
        }
        self.child(dir, name).map(Entry::Inode)
    }

    /// What of the children behind a name is not as it is now, by name: what the snapshot shows instead, or nothing.
    ///
    /// It costs what changed since then, not what there is.
    fn changes_after(&self, dir: Slot, name: &[u8], snapshot: SnapshotId) -> Vec<Change<'_>> {
        let mut changes: Vec<Change<'_>> = Vec::new();
        let behind = |list: &'_ [Entry]| list.partition_point(|entry| self.name_of_entry(*entry) <= name);
        for diff in self.dir_diffs_from(dir, snapshot) {
            let deleted = diff.deleted[behind(&diff.deleted)..].iter();
            changes.extend(deleted.map(|entry| (self.name_of_entry(*entry), Some(*entry))));
            let created = diff.created[behind(&diff.created)..].iter();
            changes.extend(created.map(|entry| (self.name_of_entry(*entry), None)));
        }
        // The first diff that names a child decides. The sort is stable.
        changes.sort_by_key(|(name, _)| *name);
        changes.dedup_by_key(|(name, _)| *name);
        changes
    }

    /// All children of a directory as the snapshot shows them, by name.
    #[cfg(test)]
    fn entries_at(&self, dir: Slot, snapshot: SnapshotId) -> Vec<Entry> {
        let changes = self.changes_after(dir, b"", snapshot);
        Merged::new(self, self.children(dir), changes).collect()
    }

    /// The blocks of a file as the snapshot shows them: those of the first diff that has some, or of the present. The last
    /// one may be longer than what is shown.
    fn blocks_at(&self, file: Slot, snapshot: SnapshotId) -> &[Slot] {
        let diffs = self.file_diffs_from(file, snapshot);
        let kept = diffs.iter().find_map(|diff| diff.blocks.as_deref());
        let all = kept.unwrap_or_else(|| self.block_slots(file));
        let Some(length) = diffs.first().map(|diff| diff.length) else {
            return all;
        };
        let mut start = 0;
        let shown = all.iter().take_while(|block| {
            let is_shown = start < length;
            start += self.block_rec(**block).len();
            is_shown
        });
        &all[..shown.count()]
    }

    /// The length of a file as the snapshot shows it.
    fn length_at(&self, file: Slot, snapshot: SnapshotId) -> u64 {
        match self.file_diffs_from(file, snapshot).first() {
            Some(diff) => diff.length,
            None => self.file_length(file),
        }
    }

    /// Parent and name of an inode when the snapshot was taken, if they were others than now.
    fn place_at(&self, slot: Slot, snapshot: SnapshotId) -> Option<&super::FormerName> {
        let names = self.snapshots().former_names(slot).iter();
        let mut places = names.map(|name| self.snapshots().former(*name));
        places.find(|place| snapshot <= place.last)
    }

    /// The directory of an inode when the snapshot was taken.
    fn parent_at(&self, slot: Slot, snapshot: SnapshotId) -> Slot {
        match self.place_at(slot, snapshot) {
            Some(place) => place.dir,
            None => self.rec(slot).parent(),
        }
    }
}

impl<V: View> AsOf for V {}
