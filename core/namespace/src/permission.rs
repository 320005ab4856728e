//! Permission checks, exactly as `FSPermissionChecker` does them.

use hathi_formats::editlog::{AclEntry, AclEntryScope, AclEntryType};
use hathi_formats::exceptions as ex;
use hathi_formats::ids::InodeId;

use crate::namespace::Namespace;
use crate::path::{DirOp, InodesInPath, is_valid_name, refuse};
use crate::snapshots::past::Past;
use crate::store::slab::Slot;
use crate::tree::inode::{InodeRec, flag};
use crate::types::{Caller, Refused};
use crate::view::View;

/// `FsAction` as bits.
pub(crate) mod action {
    pub(crate) const EXECUTE: u8 = 1;
    pub(crate) const WRITE: u8 = 2;
    pub(crate) const READ: u8 = 4;
    pub(crate) const READ_EXECUTE: u8 = 5;
    pub(crate) const ALL: u8 = 7;
}

/// The wanted access (`FSPermissionChecker.checkPermission`); 0 means none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Access {
    pub(crate) owner: bool,
    /// Wanted access to the deepest existing ancestor.
    pub(crate) ancestor: u8,
    pub(crate) parent: u8,
    pub(crate) target: u8,
}

pub(crate) const STICKY: u16 = 0o1000;

/// `FsAction`'s name.
pub(crate) fn action_name(action: u8) -> &'static str {
    [
        "NONE",
        "EXECUTE",
        "WRITE",
        "WRITE_EXECUTE",
        "READ",
        "READ_EXECUTE",
        "READ_WRITE",
        "ALL",
    ][action as usize & 7]
}

/// `FsPermission.toString`.
pub(crate) fn mode_string(mode: u16) -> String {
    let mut out = String::with_capacity(9);
    for shift in [6, 3, 0] {
        let bits = mode >> shift & 7;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        let last = bits & 1 != 0;
        out.push(match (shift == 0 && mode & STICKY != 0, last) {
            (true, true) => 't',
            (true, false) => 'T',
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    out
}

impl Namespace {
    /// `AccessControlException` unless superuser (`FSPermissionChecker.checkSuperuserPrivilege`).
    pub fn check_superuser(&self, caller: &Caller<'_>) -> Result<(), Refused> {
        if caller.superuser || !self.config.permissions_enabled {
            return Ok(());
        }
        Err(Refused::not_superuser(caller.user))
    }

    /// The view as of the snapshot that the path names.
    #[inline]
    pub(crate) fn past(&self, iip: &InodesInPath<'_>) -> Option<Past<'_>> {
        iip.snapshot().map(|snapshot| Past::new(self, snapshot))
    }

    /// `FSDirectory.checkTraverse` for the way the path is used, as of the snapshot that it names. A snapshot is read only.
    pub(crate) fn check_traverse_for(
        &self,
        caller: &Caller<'_>,
        iip: &InodesInPath<'_>,
        op: DirOp,
    ) -> Result<(), Refused> {
        let Some(past) = self.past(iip) else {
            return Permissions::check_traverse_for(self, caller, iip, op);
        };
        past.check_traverse_for(caller, iip, op)?;
        match op {
            DirOp::Read | DirOp::ReadLink => Ok(()),
            DirOp::Write | DirOp::WriteLink | DirOp::Create | DirOp::CreateLink => iip.check_is_present(),
        }
    }

    /// Checks access to the inode at the end of a path, as of the snapshot that it names.
    pub(crate) fn check_path_access(
        &self,
        caller: &Caller<'_>,
        iip: &InodesInPath<'_>,
        wanted: u8,
    ) -> Result<(), Refused> {
        match self.past(iip) {
            None => Permissions::check_path_access(self, caller, iip, wanted),
            Some(past) => past.check_path_access(caller, iip, wanted),
        }
    }

    /// `x` on every ancestor, and no symlink on the way.
    pub fn check_traverse(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>) -> Result<(), Refused> {
        self.check_traverse_for(caller, iip, DirOp::Read)
    }

    /// `checkAccess` RPC: `mode` is rwx bits. FileNotFoundException if absent.
    pub fn check_access(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>, mode: u8) -> Result<(), Refused> {
        self.check_traverse_for(caller, iip, DirOp::Read)?;
        if !iip.exists() {
            return Err(refuse(ex::FILE_NOT_FOUND, format!("Path not found: {}", iip.path())));
        }
        self.check_path_access(caller, iip, mode & 7)
    }

    /// Resolves a path for an operation: names, raw paths, traverse permission, symlinks (`FSDirectory.resolvePath`).
    pub(crate) fn resolve_for<'s>(
        &self,
        caller: &Caller<'_>,
        src: &'s str,
        op: DirOp,
    ) -> Result<InodesInPath<'s>, Refused> {
        let create = matches!(op, DirOp::Create | DirOp::CreateLink);
        if create && !is_valid_name(src) {
            return Err(refuse(
                ex::INVALID_PATH,
                format!("Invalid path name Invalid file name: {src}"),
            ));
        }
        let iip = self.resolve(src)?;
        if iip.raw && self.config.permissions_enabled && !matches!(op, DirOp::Read | DirOp::ReadLink) {
            self.check_superuser(caller)?;
        }
        self.check_traverse_for(caller, &iip, op)?;
        Ok(iip)
    }

    /// Resolves by id when the client knows it, else by path (`FSDirectory.resolvePath(pc, src, fileId)`).
    pub(crate) fn resolve_file(
        &self,
        caller: &Caller<'_>,
        src: &str,
        file: InodeId,
    ) -> Result<(Option<Slot>, String), Refused> {
        if file.0 == 0 {
            let iip = self.resolve_for(caller, src, DirOp::Write)?;
            return Ok((iip.last_slot(), iip.path()));
        }
        Ok(match self.slot(file) {
            Some(slot) => (Some(slot), self.path_of_slot(slot)),
            None => (None, src.to_owned()),
        })
    }
}

/// What a client asks for instead of a path with a symlink in it (`UnresolvedPathException.getResolvedPath`): the target,
/// which may be relative to the directory of the link or have a scheme, with the rest of the path behind it. Slashes and dots
/// are as in a `Path` of Hadoop's.
fn resolved<'p>(dir: &'p str, target: &'p str, rest: impl Iterator<Item = &'p str>) -> String {
    let is_scheme =
        |text: &&str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"+.-".contains(&c));
    let scheme = target.split_once(':').map(|(scheme, _)| scheme).filter(is_scheme);
    let after_scheme = scheme.map_or(target, |scheme| &target[scheme.len() + 1..]);
    let authority = after_scheme
        .strip_prefix("//")
        .map_or(0, |authority| 2 + authority.find('/').unwrap_or(authority.len()));
    let (head, path) = target.split_at(target.len() - after_scheme.len() + authority);
    let from = if head.is_empty() && !path.starts_with('/') {
        dir
    } else {
        ""
    };
    let mut names: Vec<&str> = Vec::new();
    for name in from.split('/').chain(path.split('/')).chain(rest) {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("{head}/{}", names.join("/"))
}

/// What a caller may do with the inodes of a view.
pub(crate) trait Permissions: View {
    /// `FSDirectory.checkTraverse` for the way the path is used.
    fn check_traverse_for(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>, op: DirOp) -> Result<(), Refused> {
        let create = matches!(op, DirOp::Create | DirOp::CreateLink);
        let checked = self.config().permissions_enabled && !caller.superuser;
        for n in 0..iip.depth - 1 {
            let Some(slot) = iip.at(n) else { break };
            let rec = self.rec(slot);
            if !rec.is_dir() {
                self.check_not_symlink(iip, n)?;
                let class = if create {
                    ex::PARENT_NOT_DIRECTORY
                } else {
                    ex::ACCESS_CONTROL
                };
                return Err(refuse(class, format!("{} (is not a directory)", iip.prefix(n + 1))));
            }
            if checked {
                self.require(caller, slot, action::EXECUTE, || iip.prefix(n + 1))?;
            }
        }
        if matches!(op, DirOp::Read | DirOp::Write | DirOp::Create) && iip.exists() {
            self.check_not_symlink(iip, iip.depth - 1)?;
        }
        Ok(())
    }

    /// `UnresolvedPathException` if component `n` is a symlink; its message is the path to ask for instead.
    fn check_not_symlink(&self, iip: &InodesInPath<'_>, n: usize) -> Result<(), Refused> {
        let Some(slot) = iip.at(n).filter(|slot| self.rec(*slot).is_symlink()) else {
            return Ok(());
        };
        let target = self
            .attributes()
            .link(slot)
            .map_or_else(String::new, |t| String::from_utf8_lossy(t).into_owned());
        let rest = (n + 1..iip.depth).map(|rest| iip.component(rest));
        Err(refuse(ex::UNRESOLVED_PATH, resolved(&iip.prefix(n), &target, rest)))
    }

    /// `FSDirectory.checkOwner`: also that the path exists, for superusers as well.
    fn check_owner(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>) -> Result<(), Refused> {
        if self.config().permissions_enabled && iip.last_slot().is_none() {
            let path = iip.path();
            return Err(refuse(
                ex::FILE_NOT_FOUND,
                format!("Directory/File does not exist {path}"),
            ));
        }
        self.check_permission(
            caller,
            iip,
            &Access {
                owner: true,
                ..Access::default()
            },
        )
    }

    fn check_path_access(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>, wanted: u8) -> Result<(), Refused> {
        self.check_permission(
            caller,
            iip,
            &Access {
                target: wanted,
                ..Access::default()
            },
        )
    }

    /// `FSPermissionChecker.checkPermission`: traverse, sticky bit, then ancestor, parent, target, owner.
    fn check_permission(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>, access: &Access) -> Result<(), Refused> {
        if caller.superuser || !self.config().permissions_enabled {
            return Ok(());
        }
        let last = iip.depth - 1;
        let mut ancestor = iip.depth.saturating_sub(2).min(iip.slots.len() - 1);
        if iip.depth == 1 {
            ancestor = 0;
        }
        if iip.depth > 1 {
            for n in 0..=ancestor {
                let slot = iip.slots[n];
                if !self.rec(slot).is_dir() {
                    return Err(refuse(
                        ex::ACCESS_CONTROL,
                        format!("{} (is not a directory)", iip.prefix(n + 1)),
                    ));
                }
                self.require(caller, slot, action::EXECUTE, || iip.prefix(n + 1))?;
            }
        }
        if access.parent & action::WRITE != 0
            && iip.depth > 1
            && let (Some(parent), Some(target)) = (iip.parent_slot(), iip.last_slot())
        {
            self.check_sticky(caller, parent, target, || (iip.prefix(last + 1), iip.prefix(last)))?;
        }
        if access.ancestor != 0 && iip.depth > 1 {
            self.require(caller, iip.slots[ancestor], access.ancestor, || {
                iip.prefix(ancestor + 1)
            })?;
        }
        if access.parent != 0
            && iip.depth > 1
            && let Some(parent) = iip.parent_slot()
        {
            self.require(caller, parent, access.parent, || iip.prefix(last))?;
        }
        if let Some(target) = iip.last_slot() {
            if access.target != 0 {
                self.require(caller, target, access.target, || iip.path())?;
            }
            if access.owner && self.attributes().user(self.rec(target).perm()) != caller.user {
                return Err(refuse(
                    ex::ACCESS_CONTROL,
                    format!(
                        "Permission denied. user={} is not the owner of inode={}",
                        caller.user,
                        iip.path()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Checks that one inode grants `wanted`. `path` is called only for the message.
    fn require(
        &self,
        caller: &Caller<'_>,
        slot: Slot,
        wanted: u8,
        path: impl FnOnce() -> String,
    ) -> Result<(), Refused> {
        if self.has_permission(caller, slot, wanted) {
            return Ok(());
        }
        Err(refuse(
            ex::ACCESS_CONTROL,
            format!(
                "Permission denied: user={}, access={}, inode=\"{}\":{}",
                caller.user,
                action_name(wanted),
                path(),
                self.describe(slot)
            ),
        ))
    }

    /// `owner:group:drwxr-xr-x`.
    fn describe(&self, slot: Slot) -> String {
        let rec = self.rec(slot);
        let perm = rec.perm();
        format!(
            "{}:{}:{}{}",
            self.attributes().user(perm),
            self.attributes().group(perm),
            if rec.is_dir() { 'd' } else { '-' },
            mode_string(perm.mode()),
        )
    }

    fn is_member(&self, caller: &Caller<'_>, group: &str) -> bool {
        caller.groups.iter().any(|own| own == group)
    }

    #[inline]
    fn has_permission(&self, caller: &Caller<'_>, slot: Slot, wanted: u8) -> bool {
        let rec = self.rec(slot);
        let acl = self.acl(slot).filter(|_| rec.has(flag::ACL));
        self.grants(caller, rec, acl.map(|acl| &**acl), wanted)
    }

    /// Whether these attributes grant `wanted`.
    fn grants(&self, caller: &Caller<'_>, rec: &InodeRec, acl: Option<&[AclEntry]>, wanted: u8) -> bool {
        if let Some(acl) = acl
            && acl.first().is_some_and(|entry| entry.scope == AclEntryScope::Access)
        {
            return self.has_acl_permission(caller, rec, acl, wanted);
        }
        let perm = rec.perm();
        let mode = perm.mode();
        let granted = if self.attributes().user(perm) == caller.user {
            mode >> 6
        } else if mode >> 3 & 7 == mode & 7 {
            // Group and others have the same rights, so the group need not be looked up.
            mode
        } else if self.is_member(caller, self.attributes().group(perm)) {
            mode >> 3
        } else {
            mode
        };
        granted as u8 & wanted == wanted
    }

    fn has_acl_permission(&self, caller: &Caller<'_>, rec: &InodeRec, acl: &[AclEntry], wanted: u8) -> bool {
        let perm = rec.perm();
        let mode = perm.mode();
        if self.attributes().user(perm) == caller.user {
            return (mode >> 6) as u8 & wanted == wanted;
        }
        let mask = (mode >> 3) as u8 & 7;
        let mut found = false;
        for entry in acl.iter().take_while(|entry| entry.scope == AclEntryScope::Access) {
            let matches = match entry.entry_type {
                AclEntryType::User => entry.name.as_deref() == Some(caller.user),
                AclEntryType::Group => {
                    self.is_member(caller, entry.name.as_deref().unwrap_or(self.attributes().group(perm)))
                }
                AclEntryType::Mask | AclEntryType::Other => false,
            };
            if matches {
                if entry.permission & mask & wanted == wanted {
                    return true;
                }
                found = true;
                if entry.entry_type == AclEntryType::User {
                    break;
                }
            }
        }
        !found && mode as u8 & wanted == wanted
    }

    fn check_sticky(
        &self,
        caller: &Caller<'_>,
        parent: Slot,
        target: Slot,
        paths: impl FnOnce() -> (String, String),
    ) -> Result<(), Refused> {
        let parent_perm = self.rec(parent).perm();
        if parent_perm.mode() & STICKY == 0
            || self.attributes().user(parent_perm) == caller.user
            || self.attributes().user(self.rec(target).perm()) == caller.user
        {
            return Ok(());
        }
        let (path, parent_path) = paths();
        Err(refuse(
            ex::ACCESS_CONTROL,
            format!(
                "Permission denied by sticky bit: user={}, path=\"{path}\":{}, parent=\"{parent_path}\":{}",
                caller.user,
                self.describe(target),
                self.describe(parent)
            ),
        ))
    }
}

impl<V: View> Permissions for V {}

#[cfg(test)]
mod tests {
    use super::resolved;

    #[test]
    fn a_link_leads_where_hadoops_paths_do() {
        for (target, rest, path) in [
            ("/a/b", &["f"][..], "/a/b/f"),
            ("/a/b", &[], "/a/b"),
            ("/", &["f"], "/f"),
            ("b", &["f"], "/dir/b/f"),
            ("../b//./c/", &["f"], "/b/c/f"),
            ("hdfs://host:8020/a", &["f"], "hdfs://host:8020/a/f"),
            ("hdfs://host", &["f"], "hdfs://host/f"),
            ("hdfs:///a", &[], "hdfs:///a"),
            ("file:/a", &["f", "g"], "file:/a/f/g"),
            ("a:b", &[], "a:/b"),
        ] {
            assert_eq!(resolved("/dir", target, rest.iter().copied()), path, "{target}");
        }
    }
}
