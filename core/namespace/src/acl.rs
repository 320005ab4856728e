//! ACLs as values: merging, masks, inheritance (`AclTransformation`, `AclStorage`). Pure functions over entries.

use std::cmp::Ordering;

use hathi_formats::editlog::{AclEntry, AclEntryScope, AclEntryType};
use hathi_formats::exceptions as ex;

use crate::path::refuse;
use crate::types::Refused;
use AclEntryScope::{Access, Default};
use AclEntryType::{Group, Mask, Other, User};

/// `AclTransformation.MAX_ENTRIES`, per scope.
const MAX_ENTRIES: usize = 32;

fn bad(message: impl Into<String>) -> Refused {
    refuse(ex::ACL, message)
}

/// Order by scope, type and name (`ACL_ENTRY_COMPARATOR`); the permission is not part of the key.
fn order(a: &AclEntry, b: &AclEntry) -> Ordering {
    (a.scope, a.entry_type, &a.name).cmp(&(b.scope, b.entry_type, &b.name))
}

fn entry(scope: AclEntryScope, entry_type: AclEntryType, permission: u16) -> AclEntry {
    AclEntry {
        scope,
        entry_type,
        name: None,
        permission: permission as u8 & 7,
    }
}

/// `AclUtil.getMinimalAcl`.
pub(crate) fn minimal(mode: u16) -> Vec<AclEntry> {
    vec![
        entry(Access, User, mode >> 6),
        entry(Access, Group, mode >> 3),
        entry(Access, Other, mode),
    ]
}

/// The whole ACL of an inode, from its mode and its feature (`AclStorage.readINodeLogicalAcl`).
pub(crate) fn logical(mode: u16, feature: &[AclEntry]) -> Vec<AclEntry> {
    let split = feature.partition_point(|e| e.scope == Access);
    let (access, default) = feature.split_at(split);
    let mut out = Vec::with_capacity(feature.len() + 3);
    if access.is_empty() {
        out = minimal(mode);
    } else {
        out.push(entry(Access, User, mode >> 6));
        out.extend_from_slice(access);
        out.push(entry(Access, Mask, mode >> 3));
        out.push(entry(Access, Other, mode));
    }
    out.extend_from_slice(default);
    out
}

/// Splits a whole, ordered ACL into mode and feature (`AclStorage.updateINodeAcl`). There is no feature if the mode
/// expresses everything.
pub(crate) fn split(acl: &[AclEntry], mode: u16) -> Option<(u16, Vec<AclEntry>)> {
    let at = acl.partition_point(|e| e.scope == Access);
    let (access, default) = acl.split_at(at);
    if access.len() < 3 {
        return None;
    }
    let bits = |e: &AclEntry| u16::from(e.permission & 7);
    let (user, group, other) = (&access[0], &access[access.len() - 2], &access[access.len() - 1]);
    let mode = (mode & 0o1000) | bits(user) << 6 | bits(group) << 3 | bits(other);
    let mut feature = Vec::new();
    if access.len() > 3 {
        feature.extend_from_slice(&access[1..access.len() - 2]);
    }
    feature.extend_from_slice(default);
    Some((mode, feature))
}

/// Mode and feature that a child inherits from the default entries of its parent (`AclStorage.copyINodeDefaultAcl`).
/// `None` if the parent has no default entries.
pub(crate) fn inherit(parent_feature: &[AclEntry], mode: u16, is_dir: bool) -> Option<(u16, Vec<AclEntry>)> {
    let default = &parent_feature[parent_feature.partition_point(|e| e.scope == Access)..];
    if default.is_empty() {
        return None;
    }
    let minimal = default.len() == 3;
    let access: Vec<AclEntry> = default
        .iter()
        .map(|e| {
            let keep = match e.entry_type {
                User if e.name.is_none() => mode >> 6,
                Group if minimal => mode >> 3,
                Mask => mode >> 3,
                Other => mode,
                _ => 7,
            };
            AclEntry {
                scope: Access,
                permission: e.permission & keep as u8 & 7,
                ..e.clone()
            }
        })
        .collect();
    let mut acl = access;
    if is_dir {
        acl.extend_from_slice(default);
    }
    split(&acl, mode)
}

/// The masks while an ACL is put together.
#[derive(Default)]
struct Masks {
    /// The mask that existed or was requested, by scope.
    provided: [Option<AclEntry>; 2],
    mask_dirty: [bool; 2],
    scope_dirty: [bool; 2],
}

impl Masks {
    fn keep(&mut self, e: &AclEntry, out: &mut Vec<AclEntry>) {
        if e.entry_type == Mask {
            self.provided[e.scope as usize] = Some(e.clone());
        } else {
            out.push(e.clone());
        }
    }

    fn change(&mut self, e: &AclEntry, out: &mut Vec<AclEntry>) {
        self.scope_dirty[e.scope as usize] = true;
        if e.entry_type == Mask {
            self.mask_dirty[e.scope as usize] = true;
        }
        self.keep(e, out);
    }
}

fn check_max(entries: &[AclEntry]) -> Result<(), Refused> {
    for (scope, word) in [(Access, "access"), (Default, "default")] {
        let count = entries.iter().filter(|e| e.scope == scope).count();
        if count > MAX_ENTRIES {
            return Err(bad(format!(
                "Invalid ACL: ACL has {count} {word} entries, which exceeds maximum of {MAX_ENTRIES}."
            )));
        }
    }
    Ok(())
}

fn sorted_spec(spec: &[AclEntry]) -> Result<Vec<AclEntry>, Refused> {
    let mut spec = spec.to_vec();
    spec.sort_by(order);
    check_max(&spec)?;
    Ok(spec)
}

fn find<'a>(spec: &'a [AclEntry], key: &AclEntry) -> Option<&'a AclEntry> {
    spec.binary_search_by(|e| order(e, key)).ok().map(|at| &spec[at])
}

/// `modifyAclEntries`.
pub(crate) fn merge(existing: &[AclEntry], spec: &[AclEntry]) -> Result<Vec<AclEntry>, Refused> {
    let spec = sorted_spec(spec)?;
    let mut masks = Masks::default();
    let mut out = Vec::new();
    let mut found: Vec<AclEntry> = Vec::new();
    for old in existing {
        match find(&spec, old) {
            Some(new) => {
                found.push(new.clone());
                masks.change(new, &mut out);
            }
            None => masks.keep(old, &mut out),
        }
    }
    found.sort_by(order);
    for new in &spec {
        if find(&found, new).is_none() {
            masks.change(new, &mut out);
        }
    }
    finish(out, masks)
}

/// `removeAclEntries`.
pub(crate) fn filter(existing: &[AclEntry], spec: &[AclEntry]) -> Result<Vec<AclEntry>, Refused> {
    let spec = sorted_spec(spec)?;
    let mut masks = Masks::default();
    let mut out = Vec::new();
    for old in existing {
        if find(&spec, old).is_some() {
            masks.scope_dirty[old.scope as usize] = true;
            if old.entry_type == Mask {
                masks.mask_dirty[old.scope as usize] = true;
            }
        } else {
            masks.keep(old, &mut out);
        }
    }
    finish(out, masks)
}

/// `removeDefaultAcl`.
pub(crate) fn without_default(existing: &[AclEntry]) -> Result<Vec<AclEntry>, Refused> {
    let out: Vec<AclEntry> = existing.iter().filter(|e| e.scope == Access).cloned().collect();
    validate(out)
}

/// `setAcl`.
pub(crate) fn replace(existing: &[AclEntry], spec: &[AclEntry]) -> Result<Vec<AclEntry>, Refused> {
    let spec = sorted_spec(spec)?;
    let mut masks = Masks::default();
    let mut out = Vec::new();
    for new in &spec {
        masks.change(new, &mut out);
    }
    for old in existing {
        if !masks.scope_dirty[old.scope as usize] {
            masks.keep(old, &mut out);
        }
    }
    finish(out, masks)
}

fn finish(mut out: Vec<AclEntry>, masks: Masks) -> Result<Vec<AclEntry>, Refused> {
    // Base entries that a default ACL lacks are taken from the access ACL.
    if out.iter().any(|e| e.scope == Default) {
        for kind in [User, Group, Other] {
            let has = |out: &[AclEntry], scope| {
                out.iter()
                    .find(|e| e.scope == scope && e.entry_type == kind && e.name.is_none())
                    .cloned()
            };
            if has(&out, Default).is_none()
                && let Some(base) = has(&out, Access)
            {
                out.push(AclEntry { scope: Default, ..base });
            }
        }
    }
    for scope in [Access, Default] {
        let s = scope as usize;
        if !out.iter().any(|e| e.scope == scope) {
            continue;
        }
        let needed = out.iter().any(|e| e.scope == scope && e.name.is_some());
        let union = out
            .iter()
            .filter(|e| e.scope == scope && (e.entry_type == Group || e.name.is_some()))
            .fold(0, |all, e| all | e.permission);
        match &masks.provided[s] {
            None if needed && masks.mask_dirty[s] => {
                return Err(bad("Invalid ACL: mask is required and cannot be deleted."));
            }
            Some(mask) if !masks.scope_dirty[s] || masks.mask_dirty[s] => out.push(mask.clone()),
            provided if needed || provided.is_some() => out.push(entry(scope, Mask, u16::from(union))),
            _ => {}
        }
    }
    validate(out)
}

fn validate(mut out: Vec<AclEntry>) -> Result<Vec<AclEntry>, Refused> {
    out.sort_by(order);
    if out.windows(2).any(|pair| order(&pair[0], &pair[1]) == Ordering::Equal) {
        return Err(bad("Invalid ACL: multiple entries with same scope, type and name."));
    }
    if let Some(e) = out
        .iter()
        .find(|e| e.name.is_some() && matches!(e.entry_type, Mask | Other))
    {
        return Err(bad(format!(
            "Invalid ACL: this entry type must not have a name: {}.",
            text(e)
        )));
    }
    check_max(&out)?;
    let base = |scope| {
        [User, Group, Other].iter().all(|kind| {
            out.iter()
                .any(|e| e.scope == scope && e.entry_type == *kind && e.name.is_none())
        })
    };
    if !base(Access) {
        return Err(bad("Invalid ACL: the user, group and other entries are required."));
    }
    if out.iter().any(|e| e.scope == Default) && !base(Default) {
        return Err(bad(
            "Invalid default ACL: the user, group and other entries are required.",
        ));
    }
    Ok(out)
}

/// `AclEntry.toString`.
fn text(e: &AclEntry) -> String {
    format!(
        "{}{}:{}:{}",
        if e.scope == Default { "default:" } else { "" },
        e.entry_type.name().to_ascii_lowercase(),
        e.name.as_deref().unwrap_or(""),
        hathi_formats::editlog::fs_action_symbol(e.permission)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(scope: AclEntryScope, kind: AclEntryType, name: &str, permission: u8) -> AclEntry {
        AclEntry {
            scope,
            entry_type: kind,
            name: Some(name.to_owned()),
            permission,
        }
    }

    fn show(acl: &[AclEntry]) -> String {
        acl.iter().map(text).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn a_named_user_brings_a_mask_that_is_the_union() {
        let acl = merge(&minimal(0o640), &[named(Access, User, "bob", 7)]).unwrap();
        assert_eq!(show(&acl), "user::rw-,user:bob:rwx,group::r--,mask::rwx,other::---");
        let (mode, feature) = split(&acl, 0o1640).unwrap();
        assert_eq!((mode, show(&feature).as_str()), (0o1670, "user:bob:rwx,group::r--"));
        assert_eq!(logical(mode, &feature), acl);
    }

    #[test]
    fn the_mask_cannot_go_while_it_is_needed() {
        let acl = merge(&minimal(0o640), &[named(Access, User, "bob", 7)]).unwrap();
        let err = filter(&acl, &[entry(Access, Mask, 0)]).unwrap_err();
        assert_eq!(err.message, "Invalid ACL: mask is required and cannot be deleted.");
        let acl = filter(&acl, &[named(Access, User, "bob", 0)]).unwrap();
        assert_eq!(show(&acl), "user::rw-,group::r--,mask::r--,other::---");
    }

    #[test]
    fn default_entries_take_missing_base_entries_from_access_and_are_inherited() {
        let acl = merge(&minimal(0o750), &[named(Default, User, "bob", 6)]).unwrap();
        assert_eq!(
            show(&acl),
            "user::rwx,group::r-x,other::---,default:user::rwx,default:user:bob:rw-,default:group::r-x,default:mask::rwx,default:other::---"
        );
        let (_, feature) = split(&acl, 0).unwrap();
        let (mode, child) = inherit(&feature, 0o644, false).unwrap();
        assert_eq!((mode, show(&child).as_str()), (0o640, "user:bob:rw-,group::r-x"));
        let (_, dir) = inherit(&feature, 0o755, true).unwrap();
        assert_eq!(dir.iter().filter(|e| e.scope == Default).count(), 5);
        assert_eq!(show(&without_default(&acl).unwrap()), "user::rwx,group::r-x,other::---");
    }
}
