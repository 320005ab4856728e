//! Ordered deletion of snapshots (`dfs.namenode.snapshot.deletion.ordered`).
//!
//! A snapshot that is not the oldest of its directory is not deleted but marked: its root gets an attribute and the
//! snapshot another name, so that its own name is free. It goes when it is the oldest (`SnapshotDeletionGc`). As in
//! Hadoop the op is that of a deletion, and the key says what it does. So all NameNodes of a nameservice need the same
//! value, and none may change while the edits since the last image delete snapshots.

use std::sync::Arc;

use hathi_formats::editlog::{EditOp, RpcIds, XAttr, XAttrNamespace};
use hathi_formats::exceptions as ex;

use super::as_of::AsOf;
use super::{Kept, PRESENT, Snapshot, SnapshotId, SnapshotRoot, SnapshotsPart};
use crate::namespace::Namespace;
use crate::ops::xattr::{merged, same};
use crate::path::{InodesInPath, refuse};
use crate::store::slab::Slot;
use crate::types::{Plan, Refused};
use crate::view::View;

/// `HdfsServerConstants.XATTR_SNAPSHOT_DELETED`, without its namespace.
const DELETED: &str = "hdfs.snapshot.deleted";
/// Between the name of a snapshot that is marked and its number.
const SEPARATOR: char = '#';

fn mark() -> XAttr {
    XAttr {
        namespace: XAttrNamespace::System,
        name: DELETED.to_owned(),
        value: None,
    }
}

/// The name of a snapshot that is marked (`Snapshot.generateDeletedSnapshotName`).
fn marked_name(name: &str, id: SnapshotId) -> String {
    format!("{name}{SEPARATOR}{id}")
}

/// The number in such a name.
fn number_in(name: &str) -> Option<SnapshotId> {
    let (_, number) = name.rsplit_once(SEPARATOR)?;
    number.parse().ok()
}

impl Namespace {
    /// Whether a snapshot is marked as deleted (`Snapshot.Root.isMarkedAsDeleted`).
    pub(crate) fn is_marked(&self, root: Slot, snapshot: SnapshotId) -> bool {
        let kept = self.kept_at(root, snapshot).and_then(|kept| kept.xattrs.as_deref());
        kept.is_some_and(|xattrs| xattrs.iter().any(|xattr| same(xattr, &mark())))
    }

    /// Whether the deletion of a snapshot only marks it.
    pub(crate) fn is_only_marked(&self, root: &SnapshotRoot, snapshot: &Snapshot) -> bool {
        let oldest = root.snapshots.first();
        self.config.snapshot_deletion_ordered && oldest.is_some_and(|oldest| oldest.id != snapshot.id)
    }

    /// Whether a snapshot that is not there any more was marked under this name by a NameNode that deletes in order, while
    /// this one has deleted it at once.
    pub(crate) fn was_deleted_at_once(&self, name: &str) -> bool {
        let number = number_in(name).filter(|number| *number < self.counters.snapshot_counter);
        !self.config.snapshot_deletion_ordered && number.is_some_and(|number| !self.snapshots.exists(number))
    }

    /// Refuses to mark a snapshot when another has the name that it would get.
    pub(crate) fn check_can_be_marked(&self, root: &SnapshotRoot, name: &str, path: &str) -> Result<(), Refused> {
        let marked = root.named(name).filter(|snapshot| self.is_only_marked(root, snapshot));
        match marked.map(|snapshot| marked_name(name, snapshot.id)) {
            Some(new) if root.named(&new).is_some() => Err(refuse(
                ex::SNAPSHOT,
                format!("The snapshot {new} already exists for directory {path}"),
            )),
            _ => Ok(()),
        }
    }

    /// Marks a snapshot, and gives the name that it has from now on. `None`: nothing is kept for it.
    pub(crate) fn mark_snapshot(&mut self, root: Slot, name: &str, snapshot: SnapshotId) -> Option<String> {
        self.settle(root);
        let diffs = self.snapshots.dir_diffs(root);
        let at = diffs.iter().position(|diff| diff.snapshot == snapshot)?;
        let kept = diffs[at].kept.clone()?;
        let xattrs = merged(kept.xattrs.as_deref().unwrap_or_default(), &[mark()]);
        let kept = Kept::new(&kept.rec, kept.acl.clone(), Some(xattrs.into()), kept.quota.clone());
        self.change_dir_diff(root, at, |diff| diff.kept = Some(Arc::new(kept)));
        debug_assert!(self.is_marked(root, snapshot), "it was marked");
        debug_assert_ne!(snapshot, PRESENT, "the present is no snapshot");
        Some(marked_name(name, snapshot))
    }

    /// The deletion of a snapshot that was marked and is the oldest of its directory now
    /// (`SnapshotManager.chooseDeletedSnapshot`), with its path. `None`: there is none.
    #[must_use]
    pub fn plan_collect_snapshot(&self, now_ms: u64) -> Option<Plan<String>> {
        if !self.config.snapshot_deletion_ordered || self.snapshots.is_none() {
            return None;
        }
        let (root, oldest) = self.live_snapshot_roots().find_map(|root| {
            let oldest = root.snapshots.first()?;
            self.is_marked(root.slot, oldest.id).then_some((root, oldest))
        })?;
        let snapshot_root = self.path_of_slot(root.slot);
        let path = crate::snapshot_path(&snapshot_root, &oldest.name);
        let op = EditOp::DeleteSnapshot {
            snapshot_root,
            snapshot_name: oldest.name.to_string(),
            mtime: now_ms as i64,
            rpc_ids: RpcIds::NONE,
        };
        Some(Plan::one(op, path))
    }

    // ---- trash roots ----

    /// The snapshottable directories that have nothing where their trash belongs, by path.
    #[must_use]
    pub fn snapshottable_without_trash(&self) -> Vec<String> {
        let without = self
            .live_snapshot_roots()
            .filter(|root| self.child(root.slot, b".Trash").is_none());
        without.map(|root| self.path_of_slot(root.slot)).collect()
    }

    /// Refuses to move something out of or into a snapshottable directory, if snapshots are deleted in order and have their
    /// own trash (`FSDirRenameOp.checkUnderSameSnapshottableRoot`): what is deleted stays with its snapshots.
    pub(crate) fn check_same_snapshot_root(
        &self,
        src: &InodesInPath<'_>,
        dst: &InodesInPath<'_>,
    ) -> Result<(), Refused> {
        if !(self.config.snapshot_deletion_ordered && self.config.snapshot_trash_roots) {
            return Ok(());
        }
        let above = |iip: &InodesInPath<'_>| {
            let last = iip.last_slot().filter(|slot| self.rec(*slot).is_dir());
            let dir = last.or_else(|| iip.parent_slot())?;
            let mut roots = self.live_snapshot_roots();
            roots.find(|root| self.is_below(dir, root.slot)).map(|root| root.slot)
        };
        if above(src) == above(dst) {
            return Ok(());
        }
        Err(refuse(
            ex::SNAPSHOT,
            format!(
                "Source {} and dest {} are not under the same snapshot root.",
                src.path(),
                dst.path()
            ),
        ))
    }
}
