//! `allowSnapshot`, `disallowSnapshot`, `createSnapshot`, `renameSnapshot`, `deleteSnapshot` (`FSDirSnapshotOp`,
//! `SnapshotManager`), and what snapshots forbid the other verbs.

use hathi_formats::editlog::EditOp;
use hathi_formats::exceptions as ex;
use hathi_formats::ids::InodeId;

use crate::namespace::Namespace;
use crate::path::{DOT_SNAPSHOT, DirOp, InodesInPath, refuse};
use crate::permission::{Permissions, action};
use crate::snapshots::as_of::AsOf;
use crate::snapshots::{Kept, PRESENT, SNAPSHOT_LIMIT, SnapshotId, SnapshotRoot, SnapshotsPart};
use crate::status::Statuses;
use crate::store::slab::Slot;
use crate::types::{Caller, Ctx, FileStatus, Plan, Refused, SnapshotStatus};
use crate::view::View;

/// The largest number of a snapshot (`SnapshotManager.getMaxSnapshotID`: 28 bits).
const LAST_SNAPSHOT_ID: SnapshotId = (1 << 28) - 1;

/// The path of a snapshot (`Snapshot.getSnapshotPath`).
#[must_use]
pub fn snapshot_path(dir: &str, name: &str) -> String {
    format!("{}/{DOT_SNAPSHOT}/{name}", dir.trim_end_matches('/'))
}

fn snapshot_refused(message: impl Into<String>) -> Refused {
    refuse(ex::SNAPSHOT, message)
}

impl Namespace {
    /// `allowSnapshot`. The caller was checked to be a superuser.
    ///
    /// # Errors
    /// FileNotFound; PathIsNotDirectory; Snapshot, for a directory below or above a snapshottable one.
    pub fn plan_allow_snapshot(&self, caller: &Caller<'_>, src: &str) -> Result<Plan<()>, Refused> {
        let iip = self.resolve_for(caller, src, DirOp::Write)?;
        let dir = self.snapshot_dir(&iip)?;
        if self.snapshot_root(dir).is_some() {
            return Ok(Plan::nothing(()));
        }
        for root in self.live_snapshot_roots() {
            let what = match (self.is_below(root.slot, dir), self.is_below(dir, root.slot)) {
                (true, _) => "subdirectory",
                (_, true) => "ancestor",
                _ => continue,
            };
            return Err(snapshot_refused(format!(
                "Nested snapshottable directories not allowed: path={src}, the {what} {} is already a snapshottable directory.",
                self.path_of_slot(root.slot)
            )));
        }
        let op = EditOp::AllowSnapshot {
            snapshot_root: iip.path(),
        };
        Ok(Plan::one(op, ()))
    }

    /// `disallowSnapshot`. The caller was checked to be a superuser.
    ///
    /// # Errors
    /// FileNotFound; PathIsNotDirectory; Snapshot, while there are snapshots.
    pub fn plan_disallow_snapshot(&self, caller: &Caller<'_>, src: &str) -> Result<Plan<()>, Refused> {
        let iip = self.resolve_for(caller, src, DirOp::Write)?;
        let Some(root) = self.snapshot_root(self.snapshot_dir(&iip)?) else {
            return Ok(Plan::nothing(()));
        };
        if !root.snapshots.is_empty() {
            return Err(snapshot_refused(format!(
                "The directory {src} has snapshot(s). Please redo the operation after removing all the snapshots."
            )));
        }
        let op = EditOp::DisallowSnapshot {
            snapshot_root: iip.path(),
        };
        Ok(Plan::one(op, ()))
    }

    /// `createSnapshot`. The answer is the path of the snapshot. An empty name stands for `default_name`, because this
    /// crate knows no calendar.
    ///
    /// # Errors
    /// AccessControl, for others than the owner and superusers; InvalidPath, IllegalArgument and PathComponentTooLong for
    /// names; Snapshot.
    pub fn plan_create_snapshot(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        name: &str,
        default_name: &dyn Fn() -> String,
    ) -> Result<Plan<String>, Refused> {
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        self.check_owner(&ctx.caller, &iip)?;
        let name = match name {
            "" => default_name(),
            name if matches!(name, "." | ".." | DOT_SNAPSHOT | ".reserved") || name.contains([':', '/']) => {
                return Err(refuse(
                    ex::INVALID_PATH,
                    format!("Invalid path name Invalid snapshot name: {name}"),
                ));
            }
            name => name.to_owned(),
        };
        self.verify_snapshot_name(src, &name)?;
        let root = self.snapshot_root_at(&iip)?;
        self.verify_snapshot_limits(root)?;
        if root.named(&name).is_some() {
            return Err(snapshot_refused(format!(
                "Failed to add snapshot: there is already a snapshot with the same name \"{name}\"."
            )));
        }
        let path = iip.path();
        let answer = snapshot_path(&path, &name);
        let op = EditOp::CreateSnapshot {
            snapshot_root: path,
            snapshot_name: name,
            mtime: ctx.now_ms as i64,
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, answer))
    }

    /// `renameSnapshot`.
    ///
    /// # Errors
    /// As [`Namespace::plan_create_snapshot`].
    pub fn plan_rename_snapshot(&self, ctx: &Ctx<'_>, src: &str, old: &str, new: &str) -> Result<Plan<()>, Refused> {
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        self.check_owner(&ctx.caller, &iip)?;
        self.verify_snapshot_name(src, new)?;
        let root = self.snapshot_root_at(&iip)?;
        if root.named(old).is_none() {
            return Err(snapshot_refused(format!(
                "The snapshot {old} does not exist for directory {src}"
            )));
        }
        if old != new && root.named(new).is_some() {
            return Err(snapshot_refused(format!(
                "The snapshot {new} already exists for directory {src}"
            )));
        }
        let op = EditOp::RenameSnapshot {
            snapshot_root: iip.path(),
            snapshot_old_name: old.to_owned(),
            snapshot_new_name: new.to_owned(),
            mtime: ctx.now_ms as i64,
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    /// `deleteSnapshot`.
    ///
    /// # Errors
    /// AccessControl, for others than the owner and superusers; Snapshot.
    pub fn plan_delete_snapshot(&self, ctx: &Ctx<'_>, src: &str, name: &str) -> Result<Plan<()>, Refused> {
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        self.check_owner(&ctx.caller, &iip)?;
        let root = self.snapshot_root_at(&iip)?;
        if root.named(name).is_none() {
            return Err(snapshot_refused(format!(
                "Cannot delete snapshot {name} from path {}: the snapshot does not exist.",
                iip.path()
            )));
        }
        self.check_can_be_marked(root, name, &iip.path())?;
        let op = EditOp::DeleteSnapshot {
            snapshot_root: iip.path(),
            snapshot_name: name.to_owned(),
            mtime: ctx.now_ms as i64,
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    // ---- what is told of snapshots ----

    /// The snapshottable directory that a caller asks about, and its path (`FSDirSnapshotOp.getSnapshotListing`).
    ///
    /// # Errors
    /// FileNotFound; PathIsNotDirectory; AccessControl; Snapshot, if it is not snapshottable.
    pub fn snapshot_root_for(&self, caller: &Caller<'_>, src: &str) -> Result<(InodeId, String), Refused> {
        let iip = self.resolve_for(caller, src, DirOp::Read)?;
        self.check_path_access(caller, &iip, action::READ)?;
        let root = self.snapshot_root_at(&iip)?;
        Ok((self.rec(root.slot).id(), iip.path()))
    }

    /// The snapshots of a directory, the oldest first.
    #[must_use]
    pub fn snapshots_of(&self, dir: InodeId) -> Vec<SnapshotStatus<'_>> {
        let Some(root) = self.slot(dir).and_then(|slot| self.snapshot_root(slot)) else {
            return Vec::new();
        };
        let snapshots = root.snapshots.iter();
        snapshots
            .map(|snapshot| {
                let now = self.status_of(root.slot, None);
                // Hadoop, too, shows the number of children of the present.
                let status = match self.kept_at(root.slot, snapshot.id) {
                    Some(Kept { rec, .. }) => FileStatus {
                        mode: rec.perm().mode(),
                        owner: self.attributes.user(rec.perm()),
                        group: self.attributes.group(rec.perm()),
                        mtime_ms: rec.mtime(),
                        ..now
                    },
                    None => now,
                };
                SnapshotStatus {
                    id: snapshot.id,
                    name: &snapshot.name,
                    is_deleted: self.is_marked(root.slot, snapshot.id),
                    status: FileStatus {
                        has_acl: false,
                        snapshottable: false,
                        ..status
                    },
                }
            })
            .collect()
    }

    /// Number of snapshots of all directories, and of directories that may have some (`SnapshotManager`).
    #[must_use]
    pub fn snapshot_counts(&self) -> (usize, usize) {
        (self.snapshots.count(), self.live_snapshot_roots().count())
    }

    // ---- what a call about snapshots needs ----

    /// The directory at a path (`INodeDirectory.valueOf`).
    pub(crate) fn snapshot_dir(&self, iip: &InodesInPath<'_>) -> Result<Slot, Refused> {
        let Some(slot) = iip.last_slot() else {
            return Err(refuse(
                ex::FILE_NOT_FOUND,
                format!("Directory does not exist: {}", iip.path()),
            ));
        };
        if !self.rec(slot).is_dir() {
            return Err(refuse(
                ex::PATH_IS_NOT_DIRECTORY,
                format!("`{}': Is not a directory", iip.path()),
            ));
        }
        Ok(slot)
    }

    /// The snapshottable directory at a path (`SnapshotManager.getSnapshottableRoot`).
    pub(crate) fn snapshot_root_at(&self, iip: &InodesInPath<'_>) -> Result<&SnapshotRoot, Refused> {
        let dir = self.snapshot_dir(iip)?;
        self.snapshot_root(dir)
            .ok_or_else(|| snapshot_refused(format!("Directory is not a snapshottable directory: {}", iip.path())))
    }

    /// The snapshottable directories that hang below the root.
    pub(crate) fn live_snapshot_roots(&self) -> impl Iterator<Item = &SnapshotRoot> {
        let all = self.snapshots.roots().values();
        all.filter(|root| self.tree.is_attached(root.slot))
    }

    /// `FSDirSnapshotOp.verifySnapshotName`.
    fn verify_snapshot_name(&self, src: &str, name: &str) -> Result<(), Refused> {
        if name.contains('/') {
            return Err(refuse(
                ex::HADOOP_ILLEGAL_ARGUMENT,
                "Snapshot name cannot contain \"/\"",
            ));
        }
        if name == DOT_SNAPSHOT {
            return Err(refuse(ex::HADOOP_ILLEGAL_ARGUMENT, "\".snapshot\" is a reserved name."));
        }
        self.verify_component_length(src, name)
    }

    /// Room for one more snapshot.
    fn verify_snapshot_limits(&self, root: &SnapshotRoot) -> Result<(), Refused> {
        if self.counters.snapshot_counter >= LAST_SNAPSHOT_ID {
            return Err(snapshot_refused(format!(
                "Failed to create the snapshot. The FileSystem has run out of snapshot IDs and ID rollover is not supported and the max snapshot limit is: {}",
                self.config.max_snapshots_per_directory
            )));
        }
        let (all, here) = (self.snapshots.count(), root.snapshots.len());
        if here >= SNAPSHOT_LIMIT {
            return Err(snapshot_refused(format!(
                "Failed to add snapshot: there are already {here} snapshot(s) and the snapshot quota is {SNAPSHOT_LIMIT}"
            )));
        }
        for (count, limit, of) in [
            (all, self.config.max_snapshots, "file system"),
            (here, self.config.max_snapshots_per_directory, "per directory"),
        ] {
            if count >= limit {
                return Err(snapshot_refused(format!(
                    "Failed to create snapshot: there are already {count} snapshot(s) and the {of} snapshot limit is {limit}"
                )));
            }
        }
        Ok(())
    }

    // ---- what snapshots forbid the other verbs ----

    /// Refuses to delete or move a directory that is, or contains, one with snapshots (`FSDirSnapshotOp.checkSnapshot`).
    /// Hadoop walks through the directory; there are fewer snapshottable directories than inodes.
    pub(crate) fn check_no_snapshots_below(&self, target: Slot) -> Result<(), Refused> {
        if self.snapshots.is_none() || !self.rec(target).is_dir() {
            return Ok(());
        }
        let found = self
            .live_snapshot_roots()
            .find(|root| !root.snapshots.is_empty() && self.is_below(root.slot, target));
        let Some(root) = found else { return Ok(()) };
        let path = self.path_of_slot(root.slot);
        Err(snapshot_refused(format!(
            "The directory {path} cannot be deleted since {path} is snapshottable and already has snapshots"
        )))
    }

    /// Refuses to move snapshottable directories below another one (`FSDirRenameOp.validateNestSnapshot`).
    pub(crate) fn check_no_nested_roots(&self, src: Slot, dst_parent: Slot) -> Result<(), Refused> {
        if !self.rec(src).is_dir() {
            return Ok(());
        }
        let moves_one = self.live_snapshot_roots().any(|root| self.is_below(root.slot, src));
        let into_one = moves_one
            && self
                .live_snapshot_roots()
                .any(|root| self.is_below(dst_parent, root.slot));
        if !into_one {
            return Ok(());
        }
        Err(snapshot_refused(format!(
            "Unable to rename because {} has snapshottable descendant directories and {} is a descent of a snapshottable directory, and HDFS does not support nested snapshottable directory.",
            self.path_of_slot(src),
            self.path_of_slot(dst_parent)
        )))
    }

    /// Refuses a file that a snapshot shows as the source of a `concat` (`FSDirConcatOp.verifySrcFiles`).
    pub(crate) fn check_concat_unshown(&self, file: Slot, src: &str) -> Result<(), Refused> {
        if self.shown_by(file, PRESENT).is_none() {
            return Ok(());
        }
        let how = match self.shown_here(file, PRESENT) {
            Some(_) => "in snapshot",
            None => "referred by some other reference in some snapshot.",
        };
        Err(snapshot_refused(format!("Concat: the source file {src} is {how}")))
    }

    /// Whether some snapshot shows this block of a file (`INodeFile.isBlockInLatestSnapshot`, and of all others). Such a
    /// block is never shortened; a truncate makes a copy of it.
    pub(crate) fn is_block_of_past(&self, file: Slot, block: Slot) -> bool {
        let diffs = self.snapshots.file_diffs(file).iter().map(|diff| diff.snapshot);
        let mut shown = self.shown_by(file, PRESENT).into_iter().chain(diffs);
        shown.any(|snapshot| self.blocks_at(file, snapshot).contains(&block))
    }
}
