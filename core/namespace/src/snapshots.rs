//! Snapshots: which directories have which, and what of the past they still show.
//!
//! A snapshot is a number and a name, and costs nothing but these when it is taken. What changes afterwards is kept
//! beside the inode that changes: a directory and a file have a list of *diffs*, at most one for each snapshot, the
//! oldest first. A diff has what was so when its snapshot was taken and was changed before the next diff's was taken: the
//! attributes, the children that came (`created`) and went (`deleted`), the length and the blocks. Whoever reads as of a
//! snapshot goes back from the present through the diffs, down to the first one of this snapshot or a later one.
//!
//! An inode that leaves its directory and that a snapshot shows stays a live inode: it is in the `deleted` list of the
//! directory, and the tree knows it as *gone* ([`Tree::last_shown`]). An inode that moves leaves a [`FormerName`] in the
//! list instead, because it has another name and another parent now.
//!
//! Numbers of snapshots are given out once, and an inode is at one place at a time. So the number alone says where an
//! inode was when a snapshot was taken, and whether that place was below the snapshot's directory
//! ([`crate::Namespace::shown_by`]).
//!
//! Invariants ([`Snapshots::check`]):
//! - a directory is marked as snapshottable exactly if it is known here; names and numbers of its snapshots differ;
//! - diffs are in the order of their snapshots, which exist and show the inode;
//! - an inode that is gone is in the list of one diff, that of the last snapshot that shows it;
//! - a former name is in one `deleted` list, and in the list of its inode;
//! - without snapshots nothing is kept.
//!
//! Mirrors `SnapshotManager`, `DirectoryWithSnapshotFeature`, `FileWithSnapshotFeature` and `INodeReference`, which an
//! image names. Hadoop replaces a moved inode by references to it, which count it; here the inode itself moves.

pub(crate) mod as_of;
mod check;
mod delete;
pub(crate) mod diff;
mod ordered;
pub(crate) mod past;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::attributes::{AclFeature, XAttrs};
use crate::store::side::Side;
use crate::store::slab::{FrozenSlab, NONE, Slab, Slot};
use crate::tree::inode::InodeRec;

pub(crate) use crate::tree::SnapshotId;

/// A number above that of every snapshot: the present (`Snapshot.CURRENT_STATE_ID`).
pub(crate) const PRESENT: SnapshotId = i32::MAX as u32 - 1;

/// Most snapshots of a directory (`DirectorySnapshottableFeature.SNAPSHOT_QUOTA_DEFAULT`).
pub(crate) const SNAPSHOT_LIMIT: usize = 1 << 16;

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) id: SnapshotId,
    pub(crate) name: Arc<str>,
}

/// A snapshottable directory.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotRoot {
    pub(crate) slot: Slot,
    /// In the order of their numbers.
    pub(crate) snapshots: Vec<Snapshot>,
}

/// A child that a diff names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entry {
    /// The inode, under the name that it has.
    Inode(Slot),
    /// A [`FormerName`] of an inode that has moved.
    Former(Slot),
}

/// A place that an inode had before it moved (`INodeReference.WithName`).
#[derive(Clone, Debug)]
pub(crate) struct FormerName {
    /// The inode; [`NONE`] in a free record.
    pub(crate) inode: Slot,
    pub(crate) dir: Slot,
    pub(crate) name: Box<[u8]>,
    /// The last snapshot that shows it there.
    pub(crate) last: SnapshotId,
}

impl Default for FormerName {
    fn default() -> Self {
        FormerName {
            inode: NONE,
            dir: NONE,
            name: Box::default(),
            last: 0,
        }
    }
}

/// The limits of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptQuota {
    pub(crate) ns: i64,
    pub(crate) ds: i64,
    pub(crate) types: BTreeMap<i32, i64>,
}

/// What an inode was (`INodeAttributes`).
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// Mode, owner, times, replication and the like. Where the inode hung, and what below it, it does not say.
    pub(crate) rec: InodeRec,
    pub(crate) acl: Option<AclFeature>,
    pub(crate) xattrs: Option<XAttrs>,
    /// Of a directory with a quota.
    pub(crate) quota: Option<KeptQuota>,
}

impl Kept {
    pub(crate) fn new(
        rec: &InodeRec,
        acl: Option<AclFeature>,
        xattrs: Option<XAttrs>,
        quota: Option<KeptQuota>,
    ) -> Kept {
        Kept {
            rec: rec.kept(acl.is_some(), xattrs.is_some(), quota.is_some()),
            acl,
            xattrs,
            quota,
        }
    }
}

/// What changed in a directory after a snapshot (`DirectoryDiff`).
#[derive(Clone, Debug)]
pub(crate) struct DirDiff {
    pub(crate) snapshot: SnapshotId,
    pub(crate) kept: Option<Arc<Kept>>,
    /// Number of children that the snapshot shows.
    pub(crate) children: u32,
    /// By name.
    pub(crate) created: Vec<Entry>,
    /// By name.
    pub(crate) deleted: Vec<Entry>,
}

/// What changed in a file after a snapshot (`FileDiff`).
#[derive(Clone, Debug)]
pub(crate) struct FileDiff {
    pub(crate) snapshot: SnapshotId,
    pub(crate) kept: Option<Arc<Kept>>,
    /// Length in bytes that the snapshot shows.
    pub(crate) length: u64,
    /// The blocks, if there were others. Without them those of the next diff that has some, or of the present.
    pub(crate) blocks: Option<Arc<[Slot]>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Snapshots {
    /// By inode id.
    roots: BTreeMap<u64, SnapshotRoot>,
    /// Number of snapshots of all directories.
    count: usize,
    dirs: Side<Arc<Vec<DirDiff>>>,
    files: Side<Arc<Vec<FileDiff>>>,
    names: Slab<FormerName, 6>,
    /// Former names of an inode, the oldest first.
    moved: Side<Arc<Vec<Slot>>>,
    /// A deleted snapshot whose diffs are not all ended. One at a time.
    ending: Option<SnapshotId>,
    /// Whether such a diff is being ended.
    is_ending: bool,
    /// Inodes that have a diff of a snapshot.
    by_snapshot: BTreeMap<SnapshotId, BTreeSet<Slot>>,
}

/// The snapshots at one moment.
#[derive(Clone, Debug)]
pub(crate) struct FrozenSnapshots {
    roots: BTreeMap<u64, SnapshotRoot>,
    count: usize,
    dirs: Side<Arc<Vec<DirDiff>>>,
    files: Side<Arc<Vec<FileDiff>>>,
    names: FrozenSlab<FormerName, 6>,
    moved: Side<Arc<Vec<Slot>>>,
}

/// What a view asks of its snapshots.
pub(crate) trait SnapshotsPart {
    /// The snapshottable directories, by inode id, those included that wait to be freed.
    fn roots(&self) -> &BTreeMap<u64, SnapshotRoot>;
    /// Number of snapshots of all directories.
    fn count(&self) -> usize;
    /// The diffs of a directory, the oldest first.
    fn dir_diffs(&self, dir: Slot) -> &[DirDiff];
    /// The diffs of a file, the oldest first.
    fn file_diffs(&self, file: Slot) -> &[FileDiff];
    /// A former name.
    fn former(&self, name: Slot) -> &FormerName;
    /// The former names of an inode, the oldest first.
    fn former_names(&self, inode: Slot) -> &[Slot];

    /// All inodes that have diffs, in no order.
    fn with_diffs(&self) -> impl Iterator<Item = Slot>;
    /// Whether a place that some inode had before still shows it.
    fn has_former_names(&self) -> bool;
    /// Whether there is still a snapshot with this number.
    fn exists(&self, snapshot: SnapshotId) -> bool {
        let mut roots = self.roots().values();
        roots.any(|root| root.snapshots.binary_search_by_key(&snapshot, |known| known.id).is_ok())
    }

    /// Whether there is no snapshot at all.
    fn is_none(&self) -> bool {
        self.count() == 0
    }

    /// Whether a place that the inode had before still shows it.
    fn has_moved(&self, inode: Slot) -> bool {
        self.has_former_names() && !self.former_names(inode).is_empty()
    }
}

macro_rules! part {
    ($of:ty) => {
        impl SnapshotsPart for $of {
            fn roots(&self) -> &BTreeMap<u64, SnapshotRoot> {
                &self.roots
            }
            #[inline]
            fn count(&self) -> usize {
                self.count
            }
            fn dir_diffs(&self, dir: Slot) -> &[DirDiff] {
                self.dirs.get(dir).map_or(&[], |diffs| diffs)
            }
            fn file_diffs(&self, file: Slot) -> &[FileDiff] {
                self.files.get(file).map_or(&[], |diffs| diffs)
            }
            fn former(&self, name: Slot) -> &FormerName {
                self.names.get(name)
            }
            fn former_names(&self, inode: Slot) -> &[Slot] {
                self.moved.get(inode).map_or(&[], |names| names)
            }
            fn with_diffs(&self) -> impl Iterator<Item = Slot> {
                let dirs = self.dirs.iter().map(|(slot, _)| slot);
                dirs.chain(self.files.iter().map(|(slot, _)| slot))
            }
            #[inline]
            fn has_former_names(&self) -> bool {
                self.moved.len() > 0
            }
        }
    };
}

part!(Snapshots);
part!(FrozenSnapshots);

impl SnapshotRoot {
    /// The snapshot of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Snapshot> {
        self.snapshots.iter().find(|snapshot| &*snapshot.name == name)
    }

    /// The newest snapshot.
    pub(crate) fn newest(&self) -> Option<&Snapshot> {
        self.snapshots.last()
    }

    /// The last snapshot up to this number.
    pub(crate) fn last_until(&self, until: SnapshotId) -> Option<SnapshotId> {
        let at = self.snapshots.partition_point(|snapshot| snapshot.id <= until);
        at.checked_sub(1).map(|at| self.snapshots[at].id)
    }
}

impl Snapshots {
    pub(crate) fn new() -> Snapshots {
        Snapshots {
            roots: BTreeMap::new(),
            count: 0,
            dirs: Side::new(),
            files: Side::new(),
            names: Slab::new(),
            moved: Side::new(),
            ending: None,
            is_ending: false,
            by_snapshot: BTreeMap::new(),
        }
    }

    // ---- which directories have which ----

    /// A directory becomes snapshottable, or is it no more.
    pub(crate) fn set_root(&mut self, id: u64, slot: Slot, on: bool) {
        if on {
            self.roots.entry(id).or_insert(SnapshotRoot {
                slot,
                snapshots: Vec::new(),
            });
        } else if let Some(root) = self.roots.remove(&id) {
            debug_assert!(
                root.snapshots.is_empty(),
                "a directory with snapshots stays snapshottable"
            );
            self.count -= root.snapshots.len();
        }
    }

    /// Adds a snapshot, the newest of its directory.
    pub(crate) fn add(&mut self, root: u64, snapshot: Snapshot) {
        if let Some(root) = self.roots.get_mut(&root) {
            debug_assert!(
                root.snapshots.last().is_none_or(|last| last.id < snapshot.id),
                "the number of a snapshot is given out once"
            );
            root.snapshots.push(snapshot);
            self.count += 1;
        }
    }

    /// Takes a snapshot off its directory.
    pub(crate) fn take(&mut self, root: u64, name: &str) -> Option<Snapshot> {
        let root = self.roots.get_mut(&root)?;
        let at = root.snapshots.iter().position(|snapshot| &*snapshot.name == name)?;
        self.count -= 1;
        Some(root.snapshots.remove(at))
    }

    /// Gives a snapshot another name.
    pub(crate) fn rename(&mut self, root: u64, old: &str, new: &str) {
        let snapshots = self.roots.get_mut(&root).map(|root| &mut root.snapshots);
        let found = snapshots.into_iter().flatten().find(|snapshot| &*snapshot.name == old);
        if let Some(snapshot) = found {
            snapshot.name = Arc::from(new);
        }
    }

    // ---- diffs ----

    /// The diffs of a directory, to be changed. An empty list is dropped by [`Snapshots::drop_empty`].
    fn dir_diffs_mut(&mut self, dir: Slot) -> &mut Vec<DirDiff> {
        if self.dirs.get(dir).is_none() {
            self.dirs.insert(dir, Arc::default());
        }
        match self.dirs.get_mut(dir) {
            Some(diffs) => Arc::make_mut(diffs),
            None => unreachable!("it was put in"),
        }
    }

    /// The diffs of a file, to be changed.
    fn file_diffs_mut(&mut self, file: Slot) -> &mut Vec<FileDiff> {
        if self.files.get(file).is_none() {
            self.files.insert(file, Arc::default());
        }
        match self.files.get_mut(file) {
            Some(diffs) => Arc::make_mut(diffs),
            None => unreachable!("it was put in"),
        }
    }

    /// Adds a diff that is newer than all of the directory.
    pub(crate) fn push_dir_diff(&mut self, dir: Slot, diff: DirDiff) {
        self.index(diff.snapshot, dir);
        self.dir_diffs_mut(dir).push(diff);
    }

    /// Adds a diff that is newer than all of the file.
    pub(crate) fn push_file_diff(&mut self, file: Slot, diff: FileDiff) {
        self.index(diff.snapshot, file);
        self.file_diffs_mut(file).push(diff);
    }

    /// Puts a diff where it belongs by its snapshot.
    fn insert_dir_diff(&mut self, dir: Slot, at: usize, diff: DirDiff) {
        self.index(diff.snapshot, dir);
        self.dir_diffs_mut(dir).insert(at, diff);
    }

    fn insert_file_diff(&mut self, file: Slot, at: usize, diff: FileDiff) {
        self.index(diff.snapshot, file);
        self.file_diffs_mut(file).insert(at, diff);
    }

    fn remove_dir_diff(&mut self, dir: Slot, at: usize) {
        let diff = self.dir_diffs_mut(dir).remove(at);
        self.forget_index(diff.snapshot, dir);
        self.drop_empty(dir);
    }

    fn remove_file_diff(&mut self, file: Slot, at: usize) {
        let diff = self.file_diffs_mut(file).remove(at);
        self.forget_index(diff.snapshot, file);
        self.drop_empty(file);
    }

    /// The first of the inodes with a diff of a snapshot, in no order that means anything.
    fn first_with_diff_of(&self, snapshot: SnapshotId) -> Option<Slot> {
        self.by_snapshot.get(&snapshot)?.first().copied()
    }

    fn has_diff_of(&self, snapshot: SnapshotId, slot: Slot) -> bool {
        self.by_snapshot
            .get(&snapshot)
            .is_some_and(|slots| slots.contains(&slot))
    }

    /// Number of inodes with a diff of a snapshot.
    fn diff_count_of(&self, snapshot: SnapshotId) -> usize {
        self.by_snapshot.get(&snapshot).map_or(0, BTreeSet::len)
    }

    /// A deleted snapshot whose diffs are not all ended.
    pub(crate) fn ending(&self) -> Option<SnapshotId> {
        self.ending
    }

    /// Whether nothing of any snapshot is kept.
    pub(crate) fn keeps_nothing(&self) -> bool {
        self.count == 0 && self.ending.is_none()
    }

    fn set_last(&mut self, name: Slot, last: SnapshotId) {
        self.names.get_mut(name).last = last;
    }

    fn index(&mut self, snapshot: SnapshotId, slot: Slot) {
        self.by_snapshot.entry(snapshot).or_default().insert(slot);
    }

    fn forget_index(&mut self, snapshot: SnapshotId, slot: Slot) {
        if let Some(slots) = self.by_snapshot.get_mut(&snapshot) {
            slots.remove(&slot);
            if slots.is_empty() {
                self.by_snapshot.remove(&snapshot);
            }
        }
    }

    fn drop_empty(&mut self, slot: Slot) {
        if self.dirs.get(slot).is_some_and(|diffs| diffs.is_empty()) {
            self.dirs.remove(slot);
        }
        if self.files.get(slot).is_some_and(|diffs| diffs.is_empty()) {
            self.files.remove(slot);
        }
    }

    /// Number of inodes that have diffs.
    pub(crate) fn diff_count(&self) -> usize {
        self.dirs.len() + self.files.len()
    }

    // ---- former names ----

    /// Adds a former name of an inode, its newest.
    pub(crate) fn add_former(&mut self, name: FormerName) -> Slot {
        let inode = name.inode;
        let slot = self.names.insert(name);
        if self.moved.get(inode).is_none() {
            self.moved.insert(inode, Arc::default());
        }
        if let Some(names) = self.moved.get_mut(inode) {
            Arc::make_mut(names).push(slot);
        }
        slot
    }

    /// Frees a former name.
    fn remove_former(&mut self, name: Slot) {
        let inode = self.names.get(name).inode;
        self.names.remove(name);
        if let Some(names) = self.moved.get_mut(inode) {
            let names = Arc::make_mut(names);
            names.retain(|other| *other != name);
            if names.is_empty() {
                self.moved.remove(inode);
            }
        }
    }

    /// Whether any inode has a former name.
    pub(crate) fn has_former_names(&self) -> bool {
        self.moved.len() > 0
    }

    /// Whether a place that the inode had before still shows it.
    pub(crate) fn has_moved(&self, inode: Slot) -> bool {
        self.moved.len() > 0 && self.moved.get(inode).is_some()
    }

    /// Puts the former names of each inode into the order in which it had them.
    ///
    /// # Errors
    /// An inode that would have been at two places when a snapshot was taken.
    pub(crate) fn sort_former_names(&mut self) -> Result<(), Slot> {
        let Snapshots { names, moved, .. } = self;
        let inodes: Vec<Slot> = moved.iter().map(|(inode, _)| inode).collect();
        for inode in inodes {
            let Some(list) = moved.get_mut(inode) else { continue };
            let list = Arc::make_mut(list);
            list.sort_by_key(|name| names.get(*name).last);
            if list
                .windows(2)
                .any(|pair| names.get(pair[0]).last == names.get(pair[1]).last)
            {
                return Err(inode);
            }
        }
        Ok(())
    }

    // ---- whole ----

    pub(crate) fn freeze(&self) -> FrozenSnapshots {
        let Snapshots {
            roots,
            count,
            dirs,
            files,
            names,
            moved,
            // They only find diffs, and end them.
            ending: _,
            is_ending: _,
            by_snapshot: _,
        } = self;
        FrozenSnapshots {
            roots: roots.clone(),
            count: *count,
            dirs: dirs.clone(),
            files: files.clone(),
            names: names.freeze(),
            moved: moved.clone(),
        }
    }
}
