//! Directories: mkdir, symlink, delete, rename.

use hathi_formats::editlog::{AclEntry, PermissionStatus};
use hathi_formats::ids::InodeId;

use super::{Applied, Why, inconsistent, ms};
use crate::namespace::Namespace;
use crate::quotas::Usages;
use crate::store::names::MAX_NAME_LEN;
use crate::store::slab::Slot;
use crate::tree::inode::{MAX_48, flag};
use crate::types::Effects;
use crate::usage::Usage;
use crate::view::View;

impl Namespace {
    /// Parent and name for a new inode at `path`, where nothing may exist.
    pub(crate) fn op_place<'p>(&mut self, path: &'p str) -> Result<(Slot, &'p str), Why> {
        let (parent, name, found) = self.op_lookup(path)?;
        if found.is_some() {
            return Err(inconsistent(format!("{path} exists already")));
        }
        let parent = parent.ok_or_else(|| inconsistent(format!("the parent of {path} is not a directory")))?;
        if name.len() > MAX_NAME_LEN {
            return Err(inconsistent("the name is too long to be kept"));
        }
        Ok((parent, name))
    }

    /// Refuses an id that no new inode can have.
    pub(crate) fn op_new_id(&self, id: InodeId) -> Applied {
        if id.0 == 0 || id.0 > MAX_48 {
            return Err(inconsistent(format!("inode id {id} is out of range")));
        }
        if self.tree.find(id).is_some() {
            return Err(inconsistent(format!("inode id {id} is in use")));
        }
        Ok(())
    }

    /// Makes an inode, charges it and adds it to its directory.
    pub(crate) fn op_new_inode(
        &mut self,
        id: InodeId,
        kind: u8,
        parent: Slot,
        name: &str,
        permissions: &PermissionStatus,
        mtime: u64,
    ) -> Result<Slot, Why> {
        self.op_new_id(id)?;
        let perm = self.attributes.perm_of(permissions);
        let slot = self.new_inode(id, kind, name.as_bytes(), perm, mtime);
        self.begin_new(slot);
        self.link(parent, slot);
        self.charge(parent, Usage::inodes(1));
        Ok(slot)
    }

    pub(crate) fn apply_mkdir(
        &mut self,
        id: InodeId,
        path: &str,
        time: i64,
        permissions: &PermissionStatus,
        acl_entries: &[AclEntry],
        fx: &mut Effects,
    ) -> Applied {
        let (parent, name) = self.op_place(path)?;
        let slot = self.op_new_inode(id, flag::DIRECTORY, parent, name, permissions, ms(time))?;
        if !acl_entries.is_empty() {
            self.update_acl(slot, acl_entries)?;
        }
        self.touch(slot, fx);
        self.touch_parent(parent, ms(time), fx);
        Ok(())
    }

    pub(crate) fn apply_symlink(
        &mut self,
        id: InodeId,
        path: &str,
        target: &str,
        mtime: i64,
        atime: i64,
        permissions: &PermissionStatus,
        fx: &mut Effects,
    ) -> Applied {
        let (parent, name) = self.op_place(path)?;
        let slot = self.op_new_inode(id, flag::SYMLINK, parent, name, permissions, ms(mtime))?;
        self.tree.rec_mut(slot).set_atime(ms(atime));
        self.attributes.set_link(slot, target.as_bytes());
        self.touch(slot, fx);
        self.touch_parent(parent, ms(mtime), fx);
        Ok(())
    }

    pub(crate) fn apply_delete(&mut self, path: &str, time: i64, fx: &mut Effects) -> Applied {
        let slot = self.op_slot(path)?;
        if slot == self.root() {
            return Err(inconsistent("the root cannot be deleted"));
        }
        let parent = self.rec(slot).parent();
        self.remove_subtree(slot, fx);
        self.touch_parent(parent, ms(time), fx);
        Ok(())
    }

    /// OP_RENAME_OLD: if the destination is an existing directory, the source moves into it.
    pub(crate) fn apply_rename_old(&mut self, src: &str, dst: &str, time: i64, fx: &mut Effects) -> Applied {
        let src_slot = self.op_slot(src)?;
        let into = self
            .op_lookup(dst)?
            .2
            .filter(|slot| self.rec(*slot).is_dir() && *slot != src_slot);
        match into {
            Some(dir) => {
                let name = String::from_utf8_lossy(self.name_of(src_slot)).into_owned();
                if self.child(dir, name.as_bytes()).is_some() {
                    return Err(inconsistent(format!("{dst}/{name} exists already")));
                }
                self.move_inode(src_slot, dir, &name, ms(time), fx)
            }
            None => {
                let (parent, name) = self.op_place(dst)?;
                self.move_inode(src_slot, parent, name, ms(time), fx)
            }
        }
    }

    /// OP_RENAME: replaces what exists at the destination.
    pub(crate) fn apply_rename(&mut self, src: &str, dst: &str, time: i64, fx: &mut Effects) -> Applied {
        let src_slot = self.op_slot(src)?;
        let replaced = self.op_lookup(dst)?.2;
        if let Some(old) = replaced {
            if old == src_slot || old == self.root() || self.is_below(src_slot, old) {
                return Err(inconsistent(format!("{dst} cannot be replaced by {src}")));
            }
            self.remove_subtree(old, fx);
        }
        let (parent, name) = self.op_place(dst)?;
        self.move_inode(src_slot, parent, name, ms(time), fx)
    }

    fn move_inode(&mut self, slot: Slot, parent: Slot, name: &str, time_ms: u64, fx: &mut Effects) -> Applied {
        if slot == self.root() || self.is_below(parent, slot) {
            return Err(inconsistent("the destination is below the source"));
        }
        let old_parent = self.rec(slot).parent();
        for inode in [slot, old_parent, parent] {
            self.settle(inode);
        }
        let common = self.common_ancestor(old_parent, parent);
        // Under another storage policy the same replicas use other storage types.
        let other_policy =
            self.attributes.counts_types() && self.effective_policy(old_parent) != self.effective_policy(parent);
        let recharge = self.quota_between(old_parent, common)
            || self.quota_between(parent, common)
            || other_policy && (self.attributes.root_counts_types() || self.quota_between(common, self.root()));
        if recharge {
            // Inodes that were cut off below the subtree are still charged to the old ancestors, so they are freed
            // first.
            self.reclaim_now(fx);
            self.charge(old_parent, -self.charged_usage(slot));
        }
        self.note_moves(slot);
        self.tree.unlink(slot);
        self.tree.rename(slot, name.as_bytes());
        self.link(parent, slot);
        debug_assert_eq!(
            self.child(parent, name.as_bytes()),
            Some(slot),
            "it is where it was moved to"
        );
        if recharge {
            self.charge(parent, self.charged_usage(slot));
        }
        if other_policy {
            self.count_types_anew(slot);
        }
        self.touch(slot, fx);
        self.touch_parent(old_parent, time_ms, fx);
        self.touch_parent(parent, time_ms, fx);
        Ok(())
    }
}
