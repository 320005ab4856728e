//! The namespace as of a snapshot: a third [`View`], in which the reads of the present work unchanged.

use hathi_formats::editlog::XAttr;
use hathi_formats::ids::InodeId;

use super::as_of::{AsOf, Merged};
use super::{Entry, Kept, PRESENT, SnapshotId, Snapshots, SnapshotsPart};
use crate::attributes::{AclFeature, Attributes, Quota};
use crate::config::NamespaceConfig;
use crate::erasure_coding::ErasureCoding;
use crate::files::Files;
use crate::namespace::Namespace;
use crate::status::Statuses;
use crate::store::slab::Slot;
use crate::tree::Tree;
use crate::tree::inode::InodeRec;
use crate::types::{FileStatus, InodeKind};
use crate::view::View;
use crate::writers::OpenFiles;
use crate::zone_map::file_key;

/// The namespace as a snapshot shows it. What is gone from the present is there, and `PRESENT` shows it as it was when it
/// went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past<'n> {
    ns: &'n Namespace,
    snapshot: SnapshotId,
}

impl<'n> Past<'n> {
    pub(crate) fn new(ns: &'n Namespace, snapshot: SnapshotId) -> Past<'n> {
        Past { ns, snapshot }
    }

    /// What was kept of an inode. `None` if it is as it is now.
    fn kept(&self, slot: Slot) -> Option<&'n Kept> {
        self.ns.kept_at(slot, self.snapshot)
    }

    /// The attributes of an inode, which live as long as the namespace.
    fn xattrs_then(&self, slot: Slot) -> &'n [XAttr] {
        match self.kept(slot) {
            Some(kept) => kept.xattrs.as_deref().unwrap_or(&[]),
            None => self.ns.attributes.xattrs(slot),
        }
    }

    fn entry_inode(&self, entry: Entry) -> Slot {
        self.ns.inode_of(entry)
    }

    /// The status of an inode, which lives as long as the namespace.
    pub(crate) fn status(&self, slot: Slot) -> FileStatus<'n> {
        let FileStatus {
            id,
            kind,
            length,
            mode,
            mtime_ms,
            atime_ms,
            replication,
            block_size,
            children,
            storage_policy,
            has_acl,
            under_construction,
            snapshottable,
            snapshot,
            erasure_coding,
            zone,
            ..
        } = self.status_of(slot, None);
        let erasure_coding = erasure_coding.and_then(|policy| self.ns.erasure_coding_policy(policy.id));
        let perm = self.rec(slot).perm();
        FileStatus {
            id,
            kind,
            name: &[],
            length,
            mode,
            owner: self.ns.attributes.user(perm),
            group: self.ns.attributes.group(perm),
            mtime_ms,
            atime_ms,
            replication,
            block_size,
            children,
            symlink: self.ns.attributes.link(slot).filter(|_| self.rec(slot).is_symlink()),
            storage_policy,
            has_acl,
            under_construction,
            snapshottable,
            snapshot,
            erasure_coding,
            file_key: match &zone {
                Some(_) if kind == InodeKind::File => file_key(self.xattrs_then(slot)),
                _ => None,
            },
            zone,
        }
    }
}

impl View for Past<'_> {
    type Tree = Tree;
    type Files = Files;
    type Snapshots = Snapshots;

    fn tree(&self) -> &Tree {
        &self.ns.tree
    }

    fn files(&self) -> &Files {
        &self.ns.files
    }

    fn snapshots(&self) -> &Snapshots {
        &self.ns.snapshots
    }

    fn attributes(&self) -> &Attributes {
        &self.ns.attributes
    }

    fn erasure_coding(&self) -> &ErasureCoding {
        self.ns.erasure_coding()
    }

    fn open_files(&self) -> &OpenFiles {
        self.ns.open_files()
    }

    fn config(&self) -> &NamespaceConfig {
        &self.ns.config
    }

    /// The inode of an id, wherever it hangs now.
    fn slot(&self, id: InodeId) -> Option<Slot> {
        self.ns.tree.find(id)
    }

    fn rec(&self, slot: Slot) -> &InodeRec {
        match self.kept(slot) {
            Some(kept) => &kept.rec,
            None => self.ns.rec(slot),
        }
    }

    /// The latest one: where replicas belong is no matter of a snapshot.
    fn own_policy(&self, slot: Slot) -> u8 {
        self.ns.rec(slot).storage_policy
    }

    fn name_of(&self, slot: Slot) -> &[u8] {
        match self.ns.place_at(slot, self.snapshot) {
            Some(place) => &place.name,
            None => self.ns.name_of(slot),
        }
    }

    fn parent(&self, slot: Slot) -> Slot {
        self.ns.parent_at(slot, self.snapshot)
    }

    fn child(&self, dir: Slot, name: &[u8]) -> Option<Slot> {
        let entry = self.ns.entry_at(dir, name, self.snapshot)?;
        Some(self.entry_inode(entry))
    }

    fn child_count(&self, dir: Slot) -> usize {
        match self.ns.dir_diffs_from(dir, self.snapshot).first() {
            Some(diff) => diff.children as usize,
            None => self.ns.child_count(dir),
        }
    }

    fn children(&self, dir: Slot) -> impl Iterator<Item = Slot> {
        self.children_after(dir, b"").1
    }

    fn children_after(&self, dir: Slot, name: &[u8]) -> (usize, impl Iterator<Item = Slot>) {
        let changes = self.ns.changes_after(dir, name, self.snapshot);
        let (mut count, present) = self.ns.children_after(dir, name);
        for (name, shown) in &changes {
            count += usize::from(shown.is_some());
            count -= usize::from(self.ns.child(dir, name).is_some());
        }
        let all = Merged::new(self.ns, present, changes);
        (count, all.map(|entry| self.entry_inode(entry)))
    }

    fn block_slots(&self, file: Slot) -> &[Slot] {
        self.ns.blocks_at(file, self.snapshot)
    }

    fn file_length(&self, file: Slot) -> u64 {
        self.ns.length_at(file, self.snapshot)
    }

    fn acl(&self, slot: Slot) -> Option<&AclFeature> {
        match self.kept(slot) {
            Some(kept) => kept.acl.as_ref(),
            None => self.ns.acl(slot),
        }
    }

    fn xattrs_of(&self, slot: Slot) -> &[XAttr] {
        self.xattrs_then(slot)
    }

    /// Snapshots keep the limits of a directory, and not what was used.
    fn quota(&self, _: Slot) -> Option<&Quota> {
        None
    }

    fn quota_limits(&self, slot: Slot) -> (i64, i64) {
        match self.kept(slot) {
            Some(kept) => kept.quota.as_ref().map_or((-1, -1), |quota| (quota.ns, quota.ds)),
            None => self.ns.quota_limits(slot),
        }
    }

    fn type_limits(&self, slot: Slot) -> Vec<(i32, i64)> {
        match self.kept(slot) {
            Some(kept) => {
                let types = kept.quota.iter().flat_map(|quota| &quota.types);
                types.map(|(ordinal, bytes)| (*ordinal, *bytes)).collect()
            }
            None => self.ns.type_limits(slot),
        }
    }

    /// Of a file that has not changed, and of a striped one, what it takes now; otherwise its length, whatever its blocks are
    /// (`INodeFile.getDiskSpaceQuota`).
    fn space_of(&self, file: Slot) -> (i64, u16) {
        let is_whole = self.snapshot == PRESENT || self.rec(file).is_striped();
        if is_whole || self.ns.snapshots.file_diffs(file).is_empty() {
            return self.ns.space_of(file);
        }
        (self.file_length(file) as i64, self.rec(file).replication())
    }

    fn snapshot(&self) -> Option<SnapshotId> {
        Some(self.snapshot)
    }
}
