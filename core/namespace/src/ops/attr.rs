//! Attributes: mode, owner, times, replication, quota, storage policy, ACLs (`FSDirAttrOp`, `FSDirAclOp`).

use hathi_formats::editlog::{AclEntry, AclEntryScope, EditOp};
use hathi_formats::exceptions as ex;

use crate::acl;
use crate::namespace::Namespace;
use crate::path::{DirOp, InodesInPath, is_exact_reserved, refuse};
use crate::permission::{Permissions, action};
use crate::quotas::Usages;
use crate::status::Statuses;
use crate::store::slab::Slot;
use crate::tree::inode::MAX_48;
use crate::types::{Caller, Ctx, FileStatus, Plan, Refused, quota};
use crate::usage::{Usage, type_space};
use crate::view::View;

use super::create::LAZY_PERSIST;

/// Storage policies by name and id (`BlockStoragePolicySuite.createDefaultSuite`).
pub const STORAGE_POLICIES: [(&str, u8); 8] = [
    ("LAZY_PERSIST", 15),
    ("ALL_NVDIMM", 14),
    ("ALL_SSD", 12),
    ("ONE_SSD", 10),
    ("HOT", 7),
    ("WARM", 5),
    ("COLD", 2),
    ("PROVIDED", 1),
];

pub(crate) fn policy_by_name(name: &str) -> Result<u8, Refused> {
    STORAGE_POLICIES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, id)| *id)
        .ok_or_else(|| {
            refuse(
                ex::HADOOP_ILLEGAL_ARGUMENT,
                format!("Cannot find a block policy with the name {name}"),
            )
        })
}

/// Java's `StorageType` ordinals (which the log and quotas use) in order of the numbers of `StorageTypeProto`, from 1.
const ORDINALS: [i32; 6] = [2, 1, 3, 0, 4, 5];

/// From the number of `StorageTypeProto` to Java's ordinal.
#[must_use]
pub fn storage_type_ordinal(number: i32) -> Option<i32> {
    usize::try_from(number)
        .ok()?
        .checked_sub(1)
        .and_then(|at| ORDINALS.get(at))
        .copied()
}

/// From Java's ordinal to the number of `StorageTypeProto`.
#[must_use]
pub fn storage_type_number(ordinal: i32) -> Option<i32> {
    ORDINALS.iter().position(|o| *o == ordinal).map(|at| at as i32 + 1)
}

impl Namespace {
    fn not_reserved(src: &str) -> Result<(), Refused> {
        if is_exact_reserved(src) {
            return Err(refuse(ex::INVALID_PATH, format!("Invalid path name {src}")));
        }
        Ok(())
    }

    /// `setPermission`.
    pub fn plan_set_permission(&self, ctx: &Ctx<'_>, src: &str, mode: u16) -> Result<Plan<()>, Refused> {
        Self::not_reserved(src)?;
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        self.check_owner(&ctx.caller, &iip)?;
        let slot = self.existing_slot(&iip)?;
        let mode = mode & 0o1777;
        if self.rec(slot).perm().mode() == mode {
            return Ok(Plan::nothing(()));
        }
        Ok(Plan::one(EditOp::SetPermissions { src: iip.path(), mode }, ()))
    }

    /// `setOwner`; None = unchanged, and an empty name, too: the log has no other way to say so, and Hadoop's active differs
    /// from what its own log says.
    pub fn plan_set_owner(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        user: Option<&str>,
        group: Option<&str>,
    ) -> Result<Plan<()>, Refused> {
        let user = user.filter(|name| !name.is_empty());
        let group = group.filter(|name| !name.is_empty());
        Self::not_reserved(src)?;
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        self.check_owner(&ctx.caller, &iip)?;
        let caller = &ctx.caller;
        if !caller.superuser && self.config.permissions_enabled {
            if user.is_some_and(|user| user != caller.user) {
                return Err(refuse(
                    ex::ACCESS_CONTROL,
                    format!(
                        "User {} is not a super user (non-super user cannot change owner).",
                        caller.user
                    ),
                ));
            }
            if let Some(group) = group.filter(|group| !caller.groups.iter().any(|own| own == group)) {
                return Err(refuse(
                    ex::ACCESS_CONTROL,
                    format!("User {} does not belong to {group}", caller.user),
                ));
            }
        }
        let perm = self.rec(self.existing_slot(&iip)?).perm();
        let same = user.is_none_or(|user| user == self.attributes.user(perm))
            && group.is_none_or(|group| group == self.attributes.group(perm));
        if same {
            return Ok(Plan::nothing(()));
        }
        let op = EditOp::SetOwner {
            src: iip.path(),
            user: user.map(str::to_owned),
            group: group.map(str::to_owned),
        };
        Ok(Plan::one(op, ()))
    }

    /// `setTimes`; -1 = unchanged.
    pub fn plan_set_times(&self, ctx: &Ctx<'_>, src: &str, mtime_ms: i64, atime_ms: i64) -> Result<Plan<()>, Refused> {
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        self.check_path_access(&ctx.caller, &iip, action::WRITE)?;
        if !iip.exists() {
            return Err(refuse(
                ex::FILE_NOT_FOUND,
                format!("File/Directory {} does not exist.", iip.path()),
            ));
        }
        if mtime_ms < 0 && atime_ms < 0 {
            return Ok(Plan::nothing(()));
        }
        Ok(Plan::one(
            EditOp::Times {
                path: iip.path(),
                // What is logged is what is kept.
                mtime: mtime_ms.clamp(-1, MAX_48 as i64),
                atime: atime_ms.clamp(-1, MAX_48 as i64),
            },
            (),
        ))
    }

    /// `setReplication`: false when not a file, or a striped one.
    pub fn plan_set_replication(&self, ctx: &Ctx<'_>, src: &str, replication: u16) -> Result<Plan<bool>, Refused> {
        self.verify_replication(src, replication, None)?;
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        self.check_path_access(&ctx.caller, &iip, action::WRITE)?;
        let has_replicas = |slot: &Slot| self.rec(*slot).is_file() && !self.rec(*slot).is_striped();
        let Some(slot) = iip.last_slot().filter(has_replicas) else {
            return Ok(Plan::nothing(false));
        };
        let old = i64::from(self.rec(slot).replication());
        if i64::from(replication) > old && old > 0 {
            let length = self.charged_length(slot);
            let now = self.space_in(slot, length);
            let mut then = Usage {
                ds: length.saturating_mul(i64::from(replication)),
                ..Usage::default()
            };
            if self.attributes.counts_types() {
                then.types = type_space(self.effective_policy(slot), replication, length);
            }
            self.verify_quota(self.rec(slot).parent(), &(then - now), None)?;
        }
        Ok(Plan::one(
            EditOp::SetReplication {
                path: iip.path(),
                replication: replication as i16,
            },
            true,
        ))
    }

    /// `setQuota`; see [`quota`]; `storage_type` is the number of `StorageTypeProto` of a type quota.
    pub fn plan_set_quota(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        ns_quota: i64,
        ds_quota: i64,
        storage_type: Option<i32>,
    ) -> Result<Plan<()>, Refused> {
        if !self.config.owner_set_quota {
            self.check_superuser(&ctx.caller)?;
        }
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        if self.config.owner_set_quota && self.config.permissions_enabled && !ctx.caller.superuser {
            let owner = iip
                .parent_slot()
                .map(|parent| self.attributes.user(self.rec(parent).perm()));
            if owner != Some(ctx.caller.user) {
                return Err(refuse(
                    ex::ACCESS_CONTROL,
                    format!(
                        "Access denied for user {}. Superuser or owner of parent folder privilege is required",
                        ctx.caller.user
                    ),
                ));
            }
        }
        let illegal = |n: i64| n < 0 && n != quota::RESET;
        if illegal(ns_quota) || illegal(ds_quota) {
            return Err(refuse(
                ex::ILLEGAL_ARGUMENT,
                format!("Illegal value for nsQuota or ssQuota : {ns_quota} and {ds_quota}"),
            ));
        }
        let path = iip.path();
        let Some(slot) = iip.last_slot() else {
            return Err(refuse(ex::FILE_NOT_FOUND, format!("Directory does not exist: {path}")));
        };
        if !self.rec(slot).is_dir() {
            return Err(refuse(
                ex::PATH_IS_NOT_DIRECTORY,
                format!("`{path}': Is not a directory"),
            ));
        }
        if let Some(number) = storage_type {
            let Some(storage_type) = storage_type_ordinal(number) else {
                return Err(refuse(ex::ILLEGAL_ARGUMENT, format!("Unknown storage type {number}")));
            };
            let types = self.type_limits(slot);
            let old = types.iter().find(|(t, _)| *t == storage_type).map_or(-1, |(_, q)| *q);
            if old == ds_quota {
                return Ok(Plan::nothing(()));
            }
            return Ok(Plan::one(
                EditOp::SetQuotaByStorageType {
                    src: path,
                    storage_type,
                    ds_quota,
                },
                (),
            ));
        }
        let (old_ns, old_ds) = self.quota_limits(slot);
        // The root's namespace quota cannot be taken away.
        let ns = match ns_quota {
            quota::DONT_SET => old_ns,
            quota::RESET if slot == self.root() => quota::DONT_SET,
            ns => ns,
        };
        let ds = if ds_quota == quota::DONT_SET { old_ds } else { ds_quota };
        if (ns, ds) == (old_ns, old_ds) {
            return Ok(Plan::nothing(()));
        }
        Ok(Plan::one(
            EditOp::SetQuota {
                src: path,
                ns_quota: ns,
                ds_quota: ds,
            },
            (),
        ))
    }

    /// `setStoragePolicy` / `unsetStoragePolicy` (None).
    pub fn plan_set_storage_policy(&self, ctx: &Ctx<'_>, src: &str, policy: Option<&str>) -> Result<Plan<()>, Refused> {
        if !self.config.storage_policy_enabled {
            return Err(refuse(
                ex::IO,
                "Failed to set storage policy since dfs.storage.policy.enabled is set to false.",
            ));
        }
        let policy_id = match policy {
            None => 0,
            Some(name) => policy_by_name(name)?,
        };
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        self.check_path_access(&ctx.caller, &iip, action::WRITE)?;
        let Some(slot) = iip.last_slot() else {
            return Err(refuse(
                ex::FILE_NOT_FOUND,
                format!("File/Directory does not exist: {}", iip.path()),
            ));
        };
        let rec = self.rec(slot);
        if rec.is_file() {
            if policy_id == LAZY_PERSIST {
                return Err(refuse(
                    ex::HADOOP_ILLEGAL_ARGUMENT,
                    "Policy LAZY_PERSIST cannot be set after file creation.",
                ));
            }
            if rec.storage_policy == LAZY_PERSIST {
                return Err(refuse(
                    ex::HADOOP_ILLEGAL_ARGUMENT,
                    "Existing policy LAZY_PERSIST cannot be changed after file creation.",
                ));
            }
        } else if rec.is_symlink() {
            return Err(refuse(
                ex::FILE_NOT_FOUND,
                format!("{} is not a file or directory", iip.path()),
            ));
        }
        Ok(Plan::one(
            EditOp::SetStoragePolicy {
                path: iip.path(),
                policy_id,
            },
            (),
        ))
    }

    // ---- ACLs ----

    fn acl_target<'s>(
        &self,
        caller: &Caller<'_>,
        src: &'s str,
    ) -> Result<(InodesInPath<'s>, Slot, Vec<AclEntry>), Refused> {
        self.check_acls_enabled()?;
        let iip = self.resolve_for(caller, src, DirOp::Write)?;
        self.check_owner(caller, &iip)?;
        let slot = self.existing_slot(&iip)?;
        let feature = self.attributes.acl(slot).map_or(&[][..], |feature| feature);
        let existing = acl::logical(self.rec(slot).perm().mode(), feature);
        Ok((iip, slot, existing))
    }

    fn check_acls_enabled(&self) -> Result<(), Refused> {
        if self.config.acls_enabled {
            return Ok(());
        }
        Err(refuse(
            ex::ACL,
            "The ACL operation has been rejected.  Support for ACLs has been disabled by setting dfs.namenode.acls.enabled to false.",
        ))
    }

    fn plan_acl(
        &self,
        iip: &InodesInPath<'_>,
        slot: Slot,
        entries: Result<Vec<AclEntry>, Refused>,
    ) -> Result<Plan<()>, Refused> {
        let path = iip.path();
        let at = |refused: Refused| refuse(ex::ACL, format!("{} Path: {path}", refused.message));
        let entries = entries.map_err(at)?;
        if !self.rec(slot).is_dir() && entries.iter().any(|e| e.scope == AclEntryScope::Default) {
            return Err(at(refuse(
                ex::ACL,
                format!("Invalid ACL: only directories may have a default ACL. Path: {path}"),
            )));
        }
        Ok(Plan::one(
            EditOp::SetAcl {
                src: path.clone(),
                entries,
            },
            (),
        ))
    }

    /// `modifyAclEntries`.
    pub fn plan_modify_acl(&self, ctx: &Ctx<'_>, src: &str, spec: &[AclEntry]) -> Result<Plan<()>, Refused> {
        let (iip, slot, existing) = self.acl_target(&ctx.caller, src)?;
        self.plan_acl(&iip, slot, acl::merge(&existing, spec))
    }

    /// `removeAclEntries`.
    pub fn plan_remove_acl_entries(&self, ctx: &Ctx<'_>, src: &str, spec: &[AclEntry]) -> Result<Plan<()>, Refused> {
        let (iip, slot, existing) = self.acl_target(&ctx.caller, src)?;
        self.plan_acl(&iip, slot, acl::filter(&existing, spec))
    }

    /// `removeDefaultAcl`.
    pub fn plan_remove_default_acl(&self, ctx: &Ctx<'_>, src: &str) -> Result<Plan<()>, Refused> {
        let (iip, slot, existing) = self.acl_target(&ctx.caller, src)?;
        self.plan_acl(&iip, slot, acl::without_default(&existing))
    }

    /// `removeAcl`.
    pub fn plan_remove_acl(&self, ctx: &Ctx<'_>, src: &str) -> Result<Plan<()>, Refused> {
        let (iip, slot, _) = self.acl_target(&ctx.caller, src)?;
        self.plan_acl(&iip, slot, Ok(Vec::new()))
    }

    /// `setAcl`.
    pub fn plan_set_acl(&self, ctx: &Ctx<'_>, src: &str, spec: &[AclEntry]) -> Result<Plan<()>, Refused> {
        let (iip, slot, existing) = self.acl_target(&ctx.caller, src)?;
        if spec.is_empty() {
            return self.plan_acl(&iip, slot, Ok(Vec::new()));
        }
        self.plan_acl(&iip, slot, acl::replace(&existing, spec))
    }

    /// `getAclStatus`: the status and the entries as `AclStatusProto` carries them (those that do not fit the mode).
    pub fn acl_status(
        &self,
        caller: &Caller<'_>,
        iip: &InodesInPath<'_>,
        _src: &str,
    ) -> Result<(FileStatus<'_>, Vec<AclEntry>), Refused> {
        self.check_acls_enabled()?;
        self.check_traverse_for(caller, iip, DirOp::Read)?;
        if iip.dir_of_snapshots().is_some() {
            return Ok((FileStatus::DOT_SNAPSHOT, Vec::new()));
        }
        let slot = self.existing_slot(iip)?;
        let (status, feature) = match self.past(iip) {
            None => (self.status_of(slot, None), self.acl(slot).cloned()),
            Some(past) => (past.status(slot), past.acl(slot).cloned()),
        };
        Ok((status, feature.map_or_else(Vec::new, |feature| feature.to_vec())))
    }
}
