//! Attributes.

use hathi_formats::editlog::{AclEntry, AclEntryScope, XAttr};

use super::check_xattrs;
use super::{Applied, inconsistent, ms};
use crate::acl;
use crate::namespace::Namespace;
use crate::quotas::Usages;
use crate::store::slab::{NONE, Slot};
use crate::tree::inode::Perm;
use crate::types::{Effect, Effects, quota};
use crate::usage::Usage;
use crate::view::View;

impl Namespace {
    pub(crate) fn apply_set_permissions(&mut self, path: &str, mode: u16, fx: &mut Effects) -> Applied {
        let slot = self.op_slot(path)?;
        self.keep_attributes(slot);
        let rec = self.tree.rec_mut(slot);
        rec.set_perm(rec.perm().with_mode(mode & 0o1777));
        self.note_access(slot);
        self.touch(slot, fx);
        Ok(())
    }

    pub(crate) fn apply_set_owner(
        &mut self,
        path: &str,
        user: Option<&str>,
        group: Option<&str>,
        fx: &mut Effects,
    ) -> Applied {
        let slot = self.op_slot(path)?;
        self.keep_attributes(slot);
        let perm = self.rec(slot).perm();
        let user = user.map_or(perm.user(), |user| self.attributes.intern_user(user));
        let group = group.map_or(perm.group(), |group| self.attributes.intern_group(group));
        self.tree.rec_mut(slot).set_perm(Perm::new(user, group, perm.mode()));
        self.note_access(slot);
        self.touch(slot, fx);
        Ok(())
    }

    pub(crate) fn apply_times(&mut self, path: &str, mtime: i64, atime: i64, fx: &mut Effects) -> Applied {
        let slot = self.op_slot(path)?;
        // `INode.setAccessTime`
        if mtime >= 0 || !self.config.skip_access_times {
            self.keep_attributes(slot);
        }
        let rec = self.tree.rec_mut(slot);
        if mtime >= 0 {
            rec.set_mtime(ms(mtime));
        }
        if atime >= 0 {
            rec.set_atime(ms(atime));
        }
        self.touch(slot, fx);
        Ok(())
    }

    pub(crate) fn apply_set_replication(&mut self, path: &str, replication: i16, fx: &mut Effects) -> Applied {
        let slot = self.op_slot(path)?;
        self.keep_attributes(slot);
        // A striped file has no replicas (`FSDirAttrOp.unprotectedSetReplication`).
        if !self.rec(slot).is_file() || self.rec(slot).is_striped() {
            return Ok(());
        }
        let new = self.adjust_replication(replication);
        let (before, old) = (self.file_usage(slot), self.wanted_replication(slot));
        let rec = self.tree.rec_mut(slot);
        rec.set_replication(new);
        let (file, parent) = (rec.id(), rec.parent());
        self.charge(parent, self.file_usage(slot) - before);
        let new = self.wanted_replication(slot);
        if old != new {
            fx.effects.push(Effect::ReplicationChanged { file, old, new });
        }
        self.touch(slot, fx);
        Ok(())
    }

    /// Begins to count the usage of a directory, if it has no quota yet.
    fn count_for_quota(&mut self, dir: Slot) {
        if self.quota(dir).is_none() {
            self.attributes.add_quota(&mut self.tree, dir);
            // Inodes below that were cut off are still charged to the ancestors. They must not be charged to the new
            // entry later. With the first quota usage by storage type begins to be counted.
            let used = self.charged_usage(dir);
            self.attributes.set_used(&self.tree, dir, &used);
        }
    }

    /// Usage of a subtree together with the inodes below it that are cut off but not freed, because freeing will
    /// subtract them. The root is charged for what has no place, too.
    pub(crate) fn charged_usage(&self, top: Slot) -> Usage {
        let mut usage = self.subtree_usage(top);
        for cut in self.tree.waiting() {
            let mut at = self.rec(cut).parent();
            while at != NONE && at != self.root() && at != top {
                at = self.rec(at).parent();
            }
            if at == top || (at == NONE && top == self.root()) {
                usage += self.subtree_usage(cut);
            }
        }
        if top == self.root() {
            for gone in self.tree.gone().filter(|gone| self.tree.is_orphan(*gone)) {
                usage += self.subtree_usage(gone);
            }
        }
        usage
    }

    pub(crate) fn apply_set_quota(&mut self, path: &str, ns: i64, ds: i64, fx: &mut Effects) -> Applied {
        let slot = self.op_dir(path)?;
        self.keep_attributes(slot);
        let is_root = slot == self.root();
        self.count_for_quota(slot);
        self.attributes.change_quota(&mut self.tree, slot, |entry| {
            // The root always has a namespace quota. Long.MAX means "none" there.
            if is_root && ns == quota::RESET {
                entry.ns = quota::DONT_SET;
            } else if ns != quota::DONT_SET || is_root {
                entry.ns = ns;
            }
            if ds != quota::DONT_SET {
                entry.ds = ds;
            }
        });
        self.touch(slot, fx);
        Ok(())
    }

    pub(crate) fn apply_set_type_quota(&mut self, path: &str, storage_type: i32, ds: i64, fx: &mut Effects) -> Applied {
        let slot = self.op_dir(path)?;
        self.keep_attributes(slot);
        self.count_for_quota(slot);
        let root_counted = self.attributes.root_counts_types();
        self.attributes.change_quota(&mut self.tree, slot, |entry| {
            if ds == quota::RESET {
                entry.types.remove(&storage_type);
            } else if ds != quota::DONT_SET {
                entry.types.insert(storage_type, ds);
            }
        });
        if !root_counted && self.attributes.root_counts_types() {
            let used = self.charged_usage(slot);
            self.attributes.set_used(&self.tree, slot, &used);
        }
        self.touch(slot, fx);
        Ok(())
    }

    pub(crate) fn apply_set_storage_policy(&mut self, path: &str, policy: u8, fx: &mut Effects) -> Applied {
        let slot = self.op_slot(path)?;
        self.keep_attributes(slot);
        if self.attributes.root_counts_types() || self.quota_between(slot, self.root()) {
            // Inodes that were cut off are charged under the old policy, so they are freed first.
            self.reclaim_now(fx);
            let before = self.charged_usage(slot);
            self.tree.rec_mut(slot).storage_policy = policy;
            let change = self.charged_usage(slot) - before;
            let rec = self.rec(slot);
            self.charge(if rec.is_dir() { slot } else { rec.parent() }, change);
        } else {
            self.tree.rec_mut(slot).storage_policy = policy;
        }
        self.count_types_anew(slot);
        self.touch(slot, fx);
        Ok(())
    }

    /// Another policy is in force from `top` down. Quotas there count files that inherit it.
    pub(crate) fn count_types_anew(&mut self, top: Slot) {
        if !self.rec(top).is_dir() {
            return;
        }
        let with_quotas = self.attributes.dirs_with_quotas();
        let below: Vec<Slot> = with_quotas.filter(|dir| self.is_below(*dir, top)).collect();
        for dir in below {
            let used = self.charged_usage(dir);
            self.attributes.set_used(&self.tree, dir, &used);
        }
    }

    // ---- ACLs ----

    /// Sets the ACL feature of an inode, or removes it.
    pub(crate) fn set_acl_feature(&mut self, slot: Slot, feature: Vec<AclEntry>) {
        self.attributes.set_acl(&mut self.tree, slot, feature);
        self.note_access(slot);
    }

    /// `AclStorage.updateINodeAcl` with a whole ACL.
    pub(crate) fn update_acl(&mut self, slot: Slot, entries: &[AclEntry]) -> Applied {
        let perm = self.rec(slot).perm();
        let Some((mode, feature)) = acl::split(entries, perm.mode()) else {
            return Err(inconsistent("the ACL lacks its base entries"));
        };
        self.tree.rec_mut(slot).set_perm(perm.with_mode(mode));
        self.set_acl_feature(slot, feature);
        Ok(())
    }

    pub(crate) fn apply_set_acl(&mut self, path: &str, entries: &[AclEntry], fx: &mut Effects) -> Applied {
        let slot = self.op_slot(path)?;
        self.keep_attributes(slot);
        if entries.is_empty() {
            // The mask in the mode is replaced by the rights of the group's entry (`unprotectedRemoveAcl`).
            let group = self.attributes.acl(slot).and_then(|feature| {
                feature
                    .iter()
                    .find(|e| {
                        e.scope == AclEntryScope::Access
                            && e.entry_type == hathi_formats::editlog::AclEntryType::Group
                            && e.name.is_none()
                    })
                    .map(|e| u16::from(e.permission & 7))
            });
            if let Some(group) = group {
                let perm = self.rec(slot).perm();
                self.tree
                    .rec_mut(slot)
                    .set_perm(perm.with_mode(perm.mode() & !0o070 | group << 3));
            }
            self.set_acl_feature(slot, Vec::new());
        } else {
            self.update_acl(slot, entries)?;
        }
        self.touch(slot, fx);
        Ok(())
    }

    // ---- extended attributes ----

    pub(crate) fn set_xattrs(&mut self, slot: Slot, xattrs: Vec<XAttr>) {
        self.attributes.set_xattrs(&mut self.tree, slot, xattrs);
    }

    pub(crate) fn apply_set_xattr(&mut self, path: &str, xattrs: &[XAttr], fx: &mut Effects) -> Applied {
        check_xattrs(path, xattrs)?;
        let slot = self.op_slot(path)?;
        self.keep_attributes(slot);
        let all = crate::ops::merged_xattrs(self.attributes.xattrs(slot), xattrs);
        self.set_xattrs(slot, all);
        self.touch(slot, fx);
        Ok(())
    }

    pub(crate) fn apply_remove_xattr(&mut self, path: &str, xattrs: &[XAttr], fx: &mut Effects) -> Applied {
        let slot = self.op_slot(path)?;
        self.keep_attributes(slot);
        let all = self.attributes.xattrs(slot);
        let rest: Vec<XAttr> = all
            .iter()
            .filter(|old| !xattrs.iter().any(|gone| crate::ops::same_xattr(old, gone)))
            .cloned()
            .collect();
        self.set_xattrs(slot, rest);
        self.touch(slot, fx);
        Ok(())
    }
}
