//! Extended attributes (`FSDirXAttrOp`, `XAttrPermissionFilter`).

use hathi_formats::editlog::{EditOp, XAttr, XAttrNamespace};
use hathi_formats::exceptions as ex;

use crate::namespace::Namespace;
use crate::path::{DirOp, InodesInPath, is_reserved_raw, refuse};
use crate::permission::{Permissions, action};
use crate::store::slab::Slot;
use crate::tree::inode::flag;
use crate::types::{Caller, Ctx, Plan, Refused};
use crate::unsupported::Feature;
use crate::view::View;
use crate::zone_map::is_zone_xattr;

const NOT_FOUND_TEXT: &str = "At least one of the attributes provided was not found.";
/// `HdfsServerConstants.SECURITY_XATTR_UNREADABLE_BY_SUPERUSER`, without its namespace.
const UNREADABLE: &str = "hdfs.unreadable.by.superuser";

/// `XAttrHelper.getPrefixedName`.
fn prefixed(xattr: &XAttr) -> String {
    format!("{}.{}", xattr.namespace.name().to_ascii_lowercase(), xattr.name)
}

/// `XAttr.equalsIgnoreValue`.
pub(crate) fn same(a: &XAttr, b: &XAttr) -> bool {
    a.namespace == b.namespace && a.name == b.name
}

fn is_unreadable_mark(xattr: &XAttr) -> bool {
    xattr.namespace == XAttrNamespace::Security && xattr.name == UNREADABLE
}

fn is_user_visible(xattr: &XAttr) -> bool {
    matches!(xattr.namespace, XAttrNamespace::User | XAttrNamespace::Trusted)
}

/// `existing` with the attributes of `set` in place of equal ones. New ones come first, as in Hadoop.
pub(crate) fn merged(existing: &[XAttr], set: &[XAttr]) -> Vec<XAttr> {
    let mut out: Vec<XAttr> = set
        .iter()
        .map(|xattr| XAttr {
            value: Some(xattr.value.clone().unwrap_or_default()),
            ..xattr.clone()
        })
        .collect();
    out.extend(
        existing
            .iter()
            .filter(|old| !set.iter().any(|new| same(old, new)))
            .cloned(),
    );
    out
}

impl Namespace {
    fn check_xattrs_enabled(&self) -> Result<(), Refused> {
        if self.config.xattrs_enabled {
            return Ok(());
        }
        Err(refuse(
            ex::IO,
            "The XAttr operation has been rejected.  Support for XAttrs has been disabled by setting dfs.namenode.xattrs.enabled to false.",
        ))
    }

    /// `XAttrPermissionFilter.checkPermissionForApi`.
    fn check_xattr_permission(&self, caller: &Caller<'_>, xattr: &XAttr, raw: bool) -> Result<(), Refused> {
        let superuser = caller.superuser || !self.config.permissions_enabled;
        let allowed = match xattr.namespace {
            XAttrNamespace::User => true,
            XAttrNamespace::Trusted => superuser,
            XAttrNamespace::Raw => raw,
            XAttrNamespace::Security if is_unreadable_mark(xattr) => {
                if xattr.value.as_ref().is_some_and(|value| !value.is_empty()) {
                    return Err(refuse(
                        ex::ACCESS_CONTROL,
                        format!(
                            "Attempt to set a value for '{}'. Values are not allowed for this xattr.",
                            prefixed(xattr)
                        ),
                    ));
                }
                true
            }
            XAttrNamespace::Security | XAttrNamespace::System => false,
        };
        if allowed {
            return Ok(());
        }
        Err(refuse(
            ex::ACCESS_CONTROL,
            format!("User doesn't have permission for xattr: {}", prefixed(xattr)),
        ))
    }

    /// `checkXAttrChangeAccess`.
    fn check_xattr_change(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>, xattr: &XAttr) -> Result<(), Refused> {
        if xattr.namespace != XAttrNamespace::User {
            return Ok(());
        }
        let sticky_dir = iip
            .last_slot()
            .is_some_and(|slot| self.rec(slot).is_dir() && self.rec(slot).perm().mode() & 0o1000 != 0);
        if sticky_dir {
            self.check_owner(caller, iip)
        } else {
            self.check_path_access(caller, iip, action::WRITE)
        }
    }

    /// `setXAttr`; `create`/`replace` are the flags.
    pub fn plan_set_xattr(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        xattr: &XAttr,
        create: bool,
        replace: bool,
    ) -> Result<Plan<()>, Refused> {
        self.check_xattrs_enabled()?;
        let size = xattr.name.len() + xattr.value.as_ref().map_or(0, Vec::len);
        if size > self.config.max_xattr_size_bytes {
            return Err(refuse(
                ex::HADOOP_ILLEGAL_ARGUMENT,
                format!(
                    "The XAttr is too big. The maximum combined size of the name and value is {}, but the total size is {size}",
                    self.config.max_xattr_size_bytes
                ),
            ));
        }
        self.check_xattr_permission(&ctx.caller, xattr, is_reserved_raw(src))?;
        if let Some(feature) = Feature::of_xattr(xattr) {
            // Files below would be written without what it asks for.
            return Err(refuse(ex::IO, feature.refused_at(src)));
        }
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        self.check_xattr_change(&ctx.caller, &iip, xattr)?;
        let slot = self.existing_slot(&iip)?;
        let existing = self.attributes.xattrs(slot);
        let exists = existing.iter().any(|old| same(old, xattr));
        // `XAttrSetFlag.validate`.
        if !create && !replace {
            return Err(refuse(ex::HADOOP_ILLEGAL_ARGUMENT, "A flag must be specified."));
        }
        if exists && !replace {
            return Err(refuse(
                ex::IO,
                format!(
                    "XAttr: {} already exists. The REPLACE flag must be specified.",
                    xattr.name
                ),
            ));
        }
        if !exists && !create {
            return Err(refuse(
                ex::IO,
                format!(
                    "XAttr: {} does not exist. The CREATE flag must be specified.",
                    xattr.name
                ),
            ));
        }
        if is_unreadable_mark(xattr) && !self.rec(slot).is_file() {
            return Err(refuse(ex::IO, format!("Can only set '{}' on a file.", prefixed(xattr))));
        }
        let visible = merged(existing, std::slice::from_ref(xattr))
            .iter()
            .filter(|x| is_user_visible(x))
            .count();
        if visible > self.config.max_xattrs_per_inode {
            return Err(refuse(
                ex::IO,
                format!(
                    "Cannot add additional XAttr to inode, would exceed limit of {}",
                    self.config.max_xattrs_per_inode
                ),
            ));
        }
        let op = EditOp::SetXAttr {
            src: iip.path(),
            xattrs: vec![xattr.clone()],
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    /// `removeXAttr`.
    pub fn plan_remove_xattr(&self, ctx: &Ctx<'_>, src: &str, xattr: &XAttr) -> Result<Plan<()>, Refused> {
        self.check_xattrs_enabled()?;
        self.check_xattr_permission(&ctx.caller, xattr, is_reserved_raw(src))?;
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        self.check_xattr_change(&ctx.caller, &iip, xattr)?;
        let slot = self.existing_slot(&iip)?;
        if is_zone_xattr(xattr) && !self.attributes.xattrs(slot).is_empty() {
            return Err(refuse(
                ex::ILLEGAL_ARGUMENT,
                "The encryption zone xattr should never be deleted.",
            ));
        }
        if is_unreadable_mark(xattr) {
            return Err(refuse(
                ex::ACCESS_CONTROL,
                format!("The xattr '{}' can not be deleted.", prefixed(xattr)),
            ));
        }
        if !self.attributes.xattrs(slot).iter().any(|old| same(old, xattr)) {
            return Err(refuse(ex::IO, "No matching attributes found for remove operation"));
        }
        let removed = XAttr {
            value: None,
            ..xattr.clone()
        };
        let op = EditOp::RemoveXAttr {
            src: iip.path(),
            xattrs: vec![removed],
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    /// The attributes of an inode that the caller may see (`XAttrPermissionFilter.filterXAttrsForApi`).
    fn visible_xattrs(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>) -> Result<Vec<XAttr>, Refused> {
        let slot = self.existing_slot(iip)?;
        let superuser = caller.superuser || !self.config.permissions_enabled;
        let past = self.past(iip);
        let all = match &past {
            None => self.xattrs_of(slot),
            Some(past) => past.xattrs_of(slot),
        };
        Ok(all
            .iter()
            .filter(|xattr| match xattr.namespace {
                XAttrNamespace::User => true,
                XAttrNamespace::Trusted => superuser,
                XAttrNamespace::Raw => iip.raw,
                XAttrNamespace::Security | XAttrNamespace::System => is_unreadable_mark(xattr),
            })
            .cloned()
            .collect())
    }

    /// `getXAttrs`. All attributes that the caller may see if `names` is empty.
    pub fn xattrs(
        &self,
        caller: &Caller<'_>,
        iip: &InodesInPath<'_>,
        _src: &str,
        names: &[XAttr],
    ) -> Result<Vec<XAttr>, Refused> {
        self.check_xattrs_enabled()?;
        for name in names {
            self.check_xattr_permission(
                caller,
                &XAttr {
                    value: None,
                    ..name.clone()
                },
                iip.raw,
            )?;
        }
        self.check_traverse_for(caller, iip, DirOp::Read)?;
        self.check_path_access(caller, iip, action::READ)?;
        let visible = self.visible_xattrs(caller, iip)?;
        if names.is_empty() {
            return Ok(visible);
        }
        names
            .iter()
            .map(|name| {
                visible
                    .iter()
                    .find(|xattr| same(xattr, name))
                    .cloned()
                    .ok_or_else(|| refuse(ex::XATTR_NOT_FOUND, NOT_FOUND_TEXT))
            })
            .collect()
    }

    /// `listXAttrs`: as in Hadoop with the values, and for callers that may read the file or directory.
    pub fn list_xattrs(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>, _src: &str) -> Result<Vec<XAttr>, Refused> {
        self.check_xattrs_enabled()?;
        self.check_traverse_for(caller, iip, DirOp::Read)?;
        self.check_path_access(caller, iip, action::READ)?;
        self.visible_xattrs(caller, iip)
    }
}

/// Files that the superuser may not read.
pub(crate) trait Unreadable: View {
    /// Refuses the superuser access to a file that only others may read (`FSDirectory.checkUnreadableBySuperuser`).
    fn check_unreadable_by_superuser(&self, caller: &Caller<'_>, slot: Slot) -> Result<(), Refused> {
        let concerns = caller.superuser && self.config().permissions_enabled && self.rec(slot).has(flag::XATTR);
        if concerns && self.xattrs_of(slot).iter().any(is_unreadable_mark) {
            return Err(refuse(
                ex::ACCESS_CONTROL,
                format!(
                    "Access is denied for {} since the superuser is not allowed to perform this operation.",
                    caller.user
                ),
            ));
        }
        Ok(())
    }
}

impl<V: View> Unreadable for V {}
