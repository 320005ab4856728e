//! Snapshots.

use std::sync::Arc;

use super::{Applied, inconsistent, ms};
use crate::digest::terms;
use crate::namespace::Namespace;
use crate::path::Paths;
use crate::snapshots::{PRESENT, SNAPSHOT_LIMIT, Snapshot, SnapshotRoot};
use crate::store::slab::Slot;
use crate::types::{Effect, Effects};
use crate::view::View;

impl Namespace {
    pub(crate) fn apply_allow_snapshot(&mut self, path: &str, fx: &mut Effects) -> Applied {
        let slot = self.op_dir(path)?;
        self.set_snapshottable(slot, true);
        self.touch(slot, fx);
        Ok(())
    }

    pub(crate) fn apply_disallow_snapshot(&mut self, path: &str, fx: &mut Effects) -> Applied {
        let slot = self.op_dir(path)?;
        let has_some = self.snapshot_root(slot).is_some_and(|root| !root.snapshots.is_empty());
        if has_some {
            return Err(inconsistent(format!("{path} has snapshots")));
        }
        self.set_snapshottable(slot, false);
        self.touch(slot, fx);
        Ok(())
    }

    /// What is known of a snapshottable directory.
    pub(crate) fn snapshot_root(&self, slot: Slot) -> Option<&SnapshotRoot> {
        self.root_of_snapshots(slot)
    }

    /// The directory of an op about snapshots, which has or has not one of this name.
    fn op_root(&mut self, path: &str, name: &str, has: bool) -> Result<Slot, super::Why> {
        let slot = self.op_dir(path)?;
        let Some(root) = self.snapshot_root(slot) else {
            return Err(inconsistent(format!("{path} is not snapshottable")));
        };
        if root.named(name).is_some() != has {
            let what = if has { "no" } else { "already a" };
            return Err(inconsistent(format!("{path} has {what} snapshot {name}")));
        }
        Ok(slot)
    }

    pub(crate) fn apply_create_snapshot(&mut self, path: &str, name: &str, mtime: i64, fx: &mut Effects) -> Applied {
        let slot = self.op_root(path, name, false)?;
        let id = self.counters.snapshot_counter;
        let count = self.snapshot_root(slot).map_or(0, |root| root.snapshots.len());
        if id >= PRESENT || count >= SNAPSHOT_LIMIT {
            return Err(inconsistent(format!("{path} has {count} snapshots")));
        }
        // An earlier snapshot of another directory may show this one with the time that it has now.
        self.keep_attributes(slot);
        self.counters.snapshot_counter += 1;
        let root = self.rec(slot).id().0;
        let snapshot = Snapshot {
            id,
            name: Arc::from(name),
        };
        self.sum.add(terms::snapshot(root, id, name));
        debug_assert!(self.rec(slot).is_dir(), "only directories have snapshots");
        self.snapshots.add(root, snapshot);
        debug_assert_eq!(self.shown_by(slot, PRESENT), Some(id), "its directory is shown by it");
        self.begin_diff_of_root(slot, id, ms(mtime));
        if self.config.capture_open_files {
            self.keep_open_files(id);
        }
        self.touch_root(slot, mtime, fx);
        Ok(())
    }

    /// A change of a directory's snapshots changes its modification time, which they do not show
    /// (`DirectorySnapshottableFeature`).
    fn touch_root(&mut self, slot: Slot, mtime: i64, fx: &mut Effects) {
        let rec = self.tree.rec_mut(slot);
        if ms(mtime) > rec.mtime() {
            rec.set_mtime(ms(mtime));
        }
        self.touch(slot, fx);
    }

    pub(crate) fn apply_delete_snapshot(&mut self, path: &str, name: &str, mtime: i64, fx: &mut Effects) -> Applied {
        let of = self.op_dir(path)?;
        let is_gone = self.snapshot_root(of).is_some_and(|of| of.named(name).is_none());
        if is_gone && self.was_deleted_at_once(name) {
            return Ok(());
        }
        let slot = self.op_root(path, name, true)?;
        let of = self.snapshot_root(slot);
        let marked = of.and_then(|of| of.named(name).filter(|snapshot| self.is_only_marked(of, snapshot)));
        if let Some(id) = marked.map(|snapshot| snapshot.id) {
            let Some(new) = self.mark_snapshot(slot, name, id) else {
                return Err(inconsistent(format!(
                    "nothing is kept of {path} for its snapshot {name}"
                )));
            };
            return self.apply_rename_snapshot(path, name, &new, mtime, fx);
        }
        let root = self.rec(slot).id().0;
        self.finish_before_deleting(fx);
        let Some(snapshot) = self.snapshots.take(root, name) else {
            return Err(inconsistent(format!("{path} has no snapshot {name}")));
        };
        self.sum.subtract(terms::snapshot(root, snapshot.id, name));
        let mut freed = Vec::new();
        self.end_snapshot(snapshot.id, &mut freed);
        fx.reclaim |= self.has_detached();
        let removed = freed.into_iter().map(|block| Effect::BlockRemoved { block });
        fx.effects.extend(removed);
        self.touch_root(slot, mtime, fx);
        Ok(())
    }

    pub(crate) fn apply_rename_snapshot(
        &mut self,
        path: &str,
        old: &str,
        new: &str,
        mtime: i64,
        fx: &mut Effects,
    ) -> Applied {
        let slot = self.op_root(path, old, true)?;
        if new != old {
            self.op_root(path, new, false)?;
        }
        let root = self.rec(slot).id().0;
        let Some(id) = self
            .snapshot_root(slot)
            .and_then(|root| root.named(old))
            .map(|snapshot| snapshot.id)
        else {
            return Err(inconsistent(format!("{path} has no snapshot {old}")));
        };
        self.sum.subtract(terms::snapshot(root, id, old));
        self.snapshots.rename(root, old, new);
        self.sum.add(terms::snapshot(root, id, new));
        self.touch_root(slot, mtime, fx);
        Ok(())
    }
}
