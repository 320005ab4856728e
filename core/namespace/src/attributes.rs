//! What inodes have beside their places: owners and groups, ACLs, extended attributes, quotas, targets of symlinks.
//!
//! Modes, times, replications and storage policies are in the records of the tree; what few inodes have is in tables
//! beside them.
//!
//! Invariants ([`Attributes::check`]):
//! - a record is marked exactly if a table has something of the inode;
//! - directories with a quota by storage type are counted;
//! - the map of encryption zones is what the attributes say;
//! - the usage of a directory with a quota is the sum over its subtree, detached parts that are not freed included
//!   ([`crate::Namespace::check`] verifies it, for it knows the blocks).
//!
//! Mirrors `AclStorage`, `XAttrStorage`, `DirectoryWithQuotaFeature` and `SerialNumberManager`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hathi_formats::editlog::{AclEntry, PermissionStatus, XAttr};
use hathi_formats::ids::InodeId;

use crate::store::side::Side;
use crate::store::slab::{NONE, Slot};
use crate::store::strings::Strings;
use crate::tree::Tree;
use crate::tree::inode::{InodeRec, Perm, flag};
use crate::usage::{STORAGE_TYPES, TypeSpace, Usage};
use crate::zone_map::{Zone, Zones};

/// `AclFeature`: the entries that the mode does not express (named entries and the group's), followed by the default
/// entries.
pub(crate) type AclFeature = Arc<[AclEntry]>;
/// `XAttrFeature`.
pub(crate) type XAttrs = Arc<[XAttr]>;

/// `DirectoryWithQuotaFeature`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Namespace quota, -1 = none.
    pub(crate) ns: i64,
    /// Storage space quota in bytes, -1 = none.
    pub(crate) ds: i64,
    /// Quotas by storage type (Java ordinal), bytes.
    pub(crate) types: BTreeMap<i32, i64>,
    /// Bytes in the subtree by storage type, as its policies place them; kept up to date while there is a quota by type.
    pub(crate) used_types: TypeSpace,
    /// Inodes in the subtree, the directory itself included.
    pub(crate) used_ns: i64,
    /// Bytes times replication in the subtree.
    pub(crate) used_ds: i64,
}

impl Quota {
    /// A quota that limits nothing.
    fn unlimited() -> Quota {
        Quota {
            ns: -1,
            ds: -1,
            types: BTreeMap::new(),
            used_types: [0; STORAGE_TYPES],
            used_ns: 0,
            used_ds: 0,
        }
    }

    fn limits_nothing(&self) -> bool {
        self.ns < 0 && self.ds < 0 && self.types.is_empty()
    }

    /// Adds a change to the usage.
    fn charge(&mut self, change: &Usage) {
        self.used_ns += change.ns;
        debug_assert!(self.used_ns >= 0, "no more inodes go than were counted");
        self.used_ds += change.ds;
        for (used, change) in self.used_types.iter_mut().zip(change.types) {
            *used += change;
        }
    }
}

/// See the module. A clone is a frozen view: the tables share their memory with it.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    users: Strings,
    groups: Strings,
    acls: Side<AclFeature>,
    xattrs: Side<XAttrs>,
    /// Quotas of directories other than the root.
    quotas: Side<Quota>,
    root_quota: Quota,
    links: Side<Arc<[u8]>>,
    /// Which inodes are encryption zones by their attributes.
    zones: Zones,
}

impl Attributes {
    pub(crate) fn new() -> Attributes {
        Attributes {
            users: Strings::new(),
            groups: Strings::new(),
            acls: Side::new(),
            xattrs: Side::new(),
            quotas: Side::new(),
            root_quota: Quota {
                // The root always has a namespace quota. Long.MAX means "none" there.
                ns: i64::MAX,
                ..Quota::unlimited()
            },
            links: Side::new(),
            zones: Zones::default(),
        }
    }

    // ---- owners ----

    #[inline]
    pub(crate) fn user(&self, perm: Perm) -> &str {
        self.users.get(perm.user())
    }

    #[inline]
    pub(crate) fn group(&self, perm: Perm) -> &str {
        self.groups.get(perm.group())
    }

    /// The users by serial.
    pub(crate) fn users(&self) -> &Strings {
        &self.users
    }

    /// The groups by serial.
    pub(crate) fn groups(&self) -> &Strings {
        &self.groups
    }

    pub(crate) fn intern_user(&mut self, name: &str) -> u32 {
        self.users.intern(name)
    }

    pub(crate) fn intern_group(&mut self, name: &str) -> u32 {
        self.groups.intern(name)
    }

    /// Owner, group and mode of a new inode.
    pub(crate) fn perm_of(&mut self, permissions: &PermissionStatus) -> Perm {
        let user = self.users.intern(&permissions.user);
        let group = self.groups.intern(&permissions.group);
        Perm::new(user, group, permissions.mode & 0o1777)
    }

    // ---- ACLs, extended attributes, targets ----

    #[inline]
    pub(crate) fn acl(&self, slot: Slot) -> Option<&AclFeature> {
        self.acls.get(slot)
    }

    /// Sets the ACL feature of an inode. An empty one removes it.
    pub(crate) fn set_acl(&mut self, tree: &mut Tree, slot: Slot, acl: Vec<AclEntry>) {
        tree.set_flag(slot, flag::ACL, !acl.is_empty());
        if acl.is_empty() {
            self.acls.remove(slot);
        } else {
            self.acls.insert(slot, Arc::from(acl));
        }
    }

    /// All extended attributes of an inode.
    pub(crate) fn xattrs(&self, slot: Slot) -> &[XAttr] {
        self.xattrs.get(slot).map_or(&[], |all| all)
    }

    /// All extended attributes of an inode, to be kept.
    pub(crate) fn xattrs_shared(&self, slot: Slot) -> Option<&XAttrs> {
        self.xattrs.get(slot)
    }

    /// Sets all extended attributes of an inode.
    pub(crate) fn set_xattrs(&mut self, tree: &mut Tree, slot: Slot, xattrs: Vec<XAttr>) {
        tree.set_flag(slot, flag::XATTR, !xattrs.is_empty());
        self.zones.note(tree.rec(slot).id(), &xattrs);
        if xattrs.is_empty() {
            self.xattrs.remove(slot);
        } else {
            self.xattrs.insert(slot, Arc::from(xattrs));
        }
    }

    /// The encryption zones.
    #[inline]
    pub(crate) fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The target of a symlink.
    pub(crate) fn link(&self, slot: Slot) -> Option<&[u8]> {
        self.links.get(slot).map(|target| &**target)
    }

    /// Sets the target of a symlink.
    pub(crate) fn set_link(&mut self, slot: Slot, target: &[u8]) {
        self.links.insert(slot, Arc::from(target));
    }

    // ---- quotas ----

    /// The quota of a directory. `None` for directories without one.
    pub(crate) fn quota(&self, slot: Slot, rec: &InodeRec) -> Option<&Quota> {
        if rec.id() == InodeId::ROOT {
            return Some(&self.root_quota);
        }
        match rec.has_quota() {
            true => self.quotas.get(slot),
            false => None,
        }
    }

    /// Whether any directory but the root has a quota.
    #[inline]
    pub(crate) fn has_quotas(&self) -> bool {
        self.quotas.len() > 0
    }

    /// Whether usage by storage type is counted: while any directory but the root has a quota, or the root has one by
    /// storage type. The root's own count is right in the second case only.
    #[inline]
    pub(crate) fn counts_types(&self) -> bool {
        self.has_quotas() || self.root_counts_types()
    }

    /// Whether the root has a quota by storage type.
    #[inline]
    pub(crate) fn root_counts_types(&self) -> bool {
        !self.root_quota.types.is_empty()
    }

    /// Whether a quota may limit anything.
    pub(crate) fn may_limit(&self) -> bool {
        self.has_quotas() || self.root_quota.ds >= 0 || self.root_quota.ns != i64::MAX || self.root_counts_types()
    }

    /// Adds to the usage of a directory and its ancestors.
    pub(crate) fn charge(&mut self, tree: &Tree, dir: Slot, change: &Usage) {
        if *change == Usage::default() {
            return;
        }
        self.root_quota.charge(change);
        if !self.has_quotas() {
            return;
        }
        let mut at = dir;
        while at != NONE && at != tree.root() {
            let rec = tree.rec(at);
            if rec.has_quota()
                && let Some(quota) = self.quotas.get_mut(at)
            {
                quota.charge(change);
            }
            at = rec.parent();
        }
    }

    /// Begins to count the usage of a directory that had no quota. [`Attributes::set_used`] says what it is now.
    pub(crate) fn add_quota(&mut self, tree: &mut Tree, dir: Slot) {
        debug_assert!(
            dir != tree.root() && !tree.rec(dir).has_quota(),
            "usage is counted from the first quota on"
        );
        self.quotas.insert(dir, Quota::unlimited());
        tree.set_flag(dir, flag::OPEN_OR_QUOTA, true);
    }

    /// Changes the limits of a directory that has a quota. One that limits nothing then is dropped.
    pub(crate) fn change_quota(&mut self, tree: &mut Tree, dir: Slot, change: impl FnOnce(&mut Quota)) {
        let is_root = dir == tree.root();
        let quota = match is_root {
            true => Some(&mut self.root_quota),
            false => self.quotas.get_mut(dir),
        };
        let Some(quota) = quota else { return };
        change(quota);
        if quota.limits_nothing() && !is_root {
            self.quotas.remove(dir);
            tree.set_flag(dir, flag::OPEN_OR_QUOTA, false);
        }
    }

    /// Sets the limits of a directory of an image, whose usage is not counted yet.
    pub(crate) fn set_loaded_quota(&mut self, tree: &mut Tree, dir: Slot, quota: Quota) {
        if dir == tree.root() {
            self.root_quota = quota;
        } else {
            self.quotas.insert(dir, quota);
            tree.set_flag(dir, flag::OPEN_OR_QUOTA, true);
        }
    }

    /// Sets the usage of a directory with a quota.
    pub(crate) fn set_used(&mut self, tree: &Tree, dir: Slot, used: &Usage) {
        let quota = match dir == tree.root() {
            true => Some(&mut self.root_quota),
            false => self.quotas.get_mut(dir),
        };
        if let Some(quota) = quota {
            (quota.used_ns, quota.used_ds, quota.used_types) = (used.ns, used.ds, used.types);
        }
    }

    /// The inodes with extended attributes, in no order.
    pub(crate) fn all_xattrs(&self) -> impl Iterator<Item = (Slot, &XAttrs)> {
        self.xattrs.iter()
    }

    /// Directories but the root with a quota, in no order.
    pub(crate) fn dirs_with_quotas(&self) -> impl Iterator<Item = Slot> + '_ {
        self.quotas.iter().map(|(dir, _)| dir)
    }

    // ---- whole ----

    /// Forgets an inode that is about to be freed.
    pub(crate) fn forget(&mut self, slot: Slot, rec: &InodeRec) {
        if rec.has_quota() {
            self.quotas.remove(slot);
        }
        if rec.is_symlink() {
            self.links.remove(slot);
        }
        if rec.has(flag::ACL) {
            self.acls.remove(slot);
        }
        if rec.has(flag::XATTR) {
            self.xattrs.remove(slot);
            self.zones.forget(rec.id());
        }
    }

    /// Forgets a zone as a bug would.
    #[cfg(test)]
    pub(crate) fn lose_a_zone(&mut self) {
        self.zones.lose();
    }

    /// Panics when the map of zones is not what the attributes say.
    fn check_zones(&self, tree: &Tree) {
        let mut found = 0;
        for (slot, rec) in tree.iter().filter(|(_, rec)| rec.has(flag::XATTR)) {
            let id = rec.id();
            let zone = Zone::of_xattrs(self.xattrs(slot));
            assert_eq!(
                zone.as_ref(),
                self.zones.get(id).map(|zone| &**zone),
                "inode {id}: encryption zone"
            );
            found += usize::from(zone.is_some());
        }
        assert_eq!(found, self.zones.len(), "encryption zones found and kept");
    }

    /// Panics when an invariant of the module does not hold, but for the usage.
    pub(crate) fn check(&self, tree: &Tree) {
        let (mut acls, mut xattrs, mut links, mut quotas) = (0, 0, 0, 0);
        for (slot, rec) in tree.iter() {
            let id = rec.id();
            assert_eq!(rec.has(flag::ACL), self.acls.get(slot).is_some(), "inode {id}: ACL");
            assert_eq!(
                rec.has(flag::XATTR),
                self.xattrs.get(slot).is_some(),
                "inode {id}: XAttrs"
            );
            assert_eq!(rec.is_symlink(), self.links.get(slot).is_some(), "inode {id}: target");
            let quota = self.quotas.get(slot);
            assert_eq!(rec.has_quota(), quota.is_some(), "inode {id}: quota");
            acls += usize::from(rec.has(flag::ACL));
            xattrs += usize::from(rec.has(flag::XATTR));
            links += usize::from(rec.is_symlink());
            quotas += usize::from(quota.is_some());
        }
        assert_eq!(acls, self.acls.len(), "ACLs found and kept");
        assert_eq!(xattrs, self.xattrs.len(), "XAttrs found and kept");
        assert_eq!(links, self.links.len(), "symlinks found and kept");
        assert_eq!(quotas, self.quotas.len(), "quotas found and kept");
        self.check_zones(tree);
        self.acls.check();
        self.xattrs.check();
        self.links.check();
        self.quotas.check();
        self.users.check();
        self.groups.check();
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::checked::{Break, check_finds, slot};

    const BREAKS: [(&str, Break); 4] = [
        ("usage kept and counted", |ns| ns.attributes.root_quota.used_ds += 1),
        ("usage kept and counted", |ns| ns.attributes.root_quota.used_ns += 1),
        ("ACL", |ns| {
            let dir = slot(ns, "/dir");
            ns.attributes.acls.insert(dir, Vec::new().into());
        }),
        ("target", |ns| {
            let dir = slot(ns, "/dir");
            ns.attributes.set_link(dir, b"/elsewhere");
        }),
    ];

    #[test]
    fn whatever_a_bug_may_break_in_attributes_is_found() {
        check_finds(&BREAKS);
    }
}
