//! `rename` in its two forms (`FSDirRenameOp`).

use hathi_formats::editlog::{EditOp, MAX_STRING_UNITS, RenameOption};
use hathi_formats::exceptions as ex;

use crate::namespace::Namespace;
use crate::path::{DirOp, InodesInPath, is_exact_reserved, refuse};
use crate::permission::{Access, Permissions, action};
use crate::quotas::Usages;
use crate::snapshots::PRESENT;
use crate::store::names::utf16_len;
use crate::store::slab::Slot;
use crate::types::{Ctx, Plan, Refused, RenameOptions};
use crate::view::View;

use super::create::{check_length, join};

impl Namespace {
    /// `rename` (the deprecated form). The reply is the RPC's boolean. If the destination is an existing directory, the
    /// source moves into it. Most obstacles give `false` and no exception.
    pub fn plan_rename(&self, ctx: &Ctx<'_>, src: &str, dst: &str) -> Result<Plan<bool>, Refused> {
        check_length("rename", dst)?;
        let src_iip = self.resolve_for(&ctx.caller, src, DirOp::WriteLink)?;
        let first_dst = self.resolve_for(&ctx.caller, dst, DirOp::CreateLink)?;
        // In an existing directory the source keeps its name.
        let below;
        let dst_iip = match first_dst.last_slot() {
            Some(slot) if self.rec(slot).is_dir() => {
                below = join(&first_dst.path(), src_iip.name());
                self.resolve(&below)?
            }
            _ => first_dst,
        };
        if let Some(slot) = src_iip.last_slot()
            && self.child_count(slot) > 0
        {
            self.check_protected(&src_iip)?;
        }
        let target = Access {
            parent: action::WRITE,
            ..Access::default()
        };
        self.check_permission(&ctx.caller, &src_iip, &target)?;
        self.check_permission(
            &ctx.caller,
            &dst_iip,
            &Access {
                ancestor: action::WRITE,
                ..Access::default()
            },
        )?;

        let (src_path, dst_path) = (src_iip.path(), dst_iip.path());
        let no = Ok(Plan::nothing(false));
        let Some(src_slot) = src_iip.last_slot() else { return no };
        if src_slot == self.root() {
            return no;
        }
        self.check_no_snapshots_below(src_slot)?;
        if src_path == dst_path {
            return Ok(Plan::nothing(true));
        }
        if self.validate_destination(src_slot, &src_path, &dst_path).is_err() || dst_iip.exists() {
            return no;
        }
        let Some(parent) = dst_iip.parent_slot().filter(|parent| self.rec(*parent).is_dir()) else {
            return no;
        };
        self.check_no_nested_roots(src_slot, parent)?;
        self.check_same_snapshot_root(&src_iip, &dst_iip)?;
        self.check_move_between_zones(&src_iip, &dst_iip)?;
        self.verify_rename(src_slot, parent, &dst_iip, None)?;
        let op = EditOp::RenameOld {
            src: src_path,
            dst: dst_path,
            time: ctx.now_ms as i64,
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, true))
    }

    /// `rename2`.
    pub fn plan_rename2(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        dst: &str,
        options: RenameOptions,
    ) -> Result<Plan<()>, Refused> {
        check_length("rename", dst)?;
        let src_iip = self.resolve_for(&ctx.caller, src, DirOp::WriteLink)?;
        let dst_iip = self.resolve_for(&ctx.caller, dst, DirOp::CreateLink)?;
        if let Some(slot) = src_iip.last_slot()
            && self.child_count(slot) > 0
        {
            self.check_protected(&src_iip)?;
        }
        self.check_permission(
            &ctx.caller,
            &src_iip,
            &Access {
                parent: action::WRITE,
                ..Access::default()
            },
        )?;
        if let Some(slot) = src_iip.last_slot().filter(|_| options.to_trash) {
            self.check_all_sub_access(&ctx.caller, slot)?;
        }
        self.check_permission(
            &ctx.caller,
            &dst_iip,
            &Access {
                ancestor: action::WRITE,
                ..Access::default()
            },
        )?;

        let (src_path, dst_path) = (src_iip.path(), dst_iip.path());
        let Some(src_slot) = src_iip.last_slot() else {
            return Err(refuse(
                ex::FILE_NOT_FOUND,
                format!("rename source {src_path} is not found."),
            ));
        };
        if src_slot == self.root() {
            return Err(refuse(ex::IO, "rename source cannot be the root"));
        }
        self.check_no_snapshots_below(src_slot)?;
        if src_path == dst_path {
            return Err(refuse(
                ex::FILE_ALREADY_EXISTS,
                format!("The source {src_path} and destination {dst_path} are the same"),
            ));
        }
        self.validate_destination(src_slot, &src_path, &dst_path)?;
        if dst_iip.depth == 1 {
            return Err(refuse(ex::IO, "rename destination cannot be the root"));
        }
        self.check_move_between_zones(&src_iip, &dst_iip)?;
        let replaced = dst_iip.last_slot();
        if let Some(dst_slot) = replaced {
            self.validate_overwrite(src_slot, dst_slot, &src_path, &dst_path, options.overwrite)?;
            self.check_no_snapshots_below(dst_slot)?;
        }
        let Some(parent) = dst_iip.parent_slot() else {
            return Err(refuse(
                ex::FILE_NOT_FOUND,
                format!("rename destination parent {dst_path} not found."),
            ));
        };
        if !self.rec(parent).is_dir() {
            return Err(refuse(
                ex::PARENT_NOT_DIRECTORY,
                format!("rename destination parent {dst_path} is a file."),
            ));
        }
        self.check_no_nested_roots(src_slot, parent)?;
        self.check_same_snapshot_root(&src_iip, &dst_iip)?;
        self.verify_rename(src_slot, parent, &dst_iip, replaced)?;
        let mut list = Vec::new();
        if options.overwrite {
            list.push(RenameOption::Overwrite);
        }
        if options.to_trash {
            list.push(RenameOption::ToTrash);
        }
        if list.is_empty() {
            list.push(RenameOption::None);
        }
        let op = EditOp::Rename {
            src: src_path,
            dst: dst_path,
            time: ctx.now_ms as i64,
            options: list,
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    fn validate_destination(&self, src_slot: Slot, src: &str, dst: &str) -> Result<(), Refused> {
        if self.rec(src_slot).is_symlink() && self.attributes.link(src_slot) == Some(dst.as_bytes()) {
            return Err(refuse(
                ex::FILE_ALREADY_EXISTS,
                format!("Cannot rename symlink {src} to its target {dst}"),
            ));
        }
        if dst.strip_prefix(src).is_some_and(|rest| rest.starts_with('/')) {
            return Err(refuse(
                ex::IO,
                format!("Rename destination {dst} is a directory or file under source {src}"),
            ));
        }
        if is_exact_reserved(src) || is_exact_reserved(dst) {
            return Err(refuse(
                ex::INVALID_PATH,
                "Invalid path name Cannot rename to or from /.reserved",
            ));
        }
        Ok(())
    }

    fn validate_overwrite(
        &self,
        src_slot: Slot,
        dst_slot: Slot,
        src: &str,
        dst: &str,
        overwrite: bool,
    ) -> Result<(), Refused> {
        if self.rec(dst_slot).is_dir() != self.rec(src_slot).is_dir() {
            return Err(refuse(
                ex::IO,
                format!("Source {src} and destination {dst} must both be directories"),
            ));
        }
        if !overwrite {
            return Err(refuse(
                ex::FILE_ALREADY_EXISTS,
                format!("rename destination {dst} already exists"),
            ));
        }
        if self.child_count(dst_slot) > 0 {
            return Err(refuse(
                ex::IO,
                format!("rename destination directory is not empty: {dst}"),
            ));
        }
        Ok(())
    }

    /// Checks that all paths still fit after a rename. The edit log holds paths of up to [`MAX_STRING_UNITS`], and a
    /// moved directory takes all paths below it along. Some ops are not chosen by a client (for example when the lease
    /// monitor closes a file), so every path in the namespace must be one that can be logged. Hadoop checks the
    /// client's destination alone, and cuts longer paths off in its log.
    ///
    /// Checking every path below would take as long as the directory is large. So directories keep an upper bound of
    /// the longest path, which costs one comparison per new inode.
    fn verify_path_lengths(&self, src: Slot, dst: &InodesInPath<'_>) -> Result<(), Refused> {
        check_length("rename", dst.as_str())?;
        let units = |path: &str| utf16_len(path.as_bytes()) as usize;
        let new = units(dst.as_str());
        let below = self.rec(src).longest_below() as usize;
        if new + below <= MAX_STRING_UNITS || new <= units(&self.path_of_slot(src)) {
            return Ok(());
        }
        Err(refuse(
            ex::IO,
            format!(
                "rename: Pathname too long.  A path below the destination would have up to {} characters, and the edit log holds {MAX_STRING_UNITS}.",
                new + below
            ),
        ))
    }

    /// Checks names, lengths, room and quota at the destination.
    fn verify_rename(
        &self,
        src: Slot,
        dst_parent: Slot,
        dst: &InodesInPath<'_>,
        replaced: Option<Slot>,
    ) -> Result<(), Refused> {
        let parent_path = dst.prefix(dst.depth - 1);
        self.verify_component_length(&parent_path, dst.name())?;
        self.verify_path_lengths(src, dst)?;
        let src_parent = self.rec(src).parent();
        if src_parent != dst_parent {
            self.verify_room(dst_parent, &parent_path)?;
        }
        if dst.name() == ".snapshot" || (dst_parent == self.root() && dst.name() == ".reserved") {
            return Err(refuse(
                ex::HADOOP_ILLEGAL_ARGUMENT,
                format!("\"{}\" is a reserved name.", dst.name()),
            ));
        }
        let common = self.common_ancestor(src_parent, dst_parent);
        if self.quota_between(dst_parent, common) {
            // Under another storage policy the replicas use other storage types.
            let mut change = self.subtree_usage_under(src, dst_parent);
            // What a snapshot goes on to show counts as before.
            if let Some(replaced) = replaced
                && self.shown_here(replaced, PRESENT).is_none()
            {
                change += -self.subtree_usage(replaced);
            }
            self.verify_quota(dst_parent, &change, Some(common))?;
        }
        Ok(())
    }

    /// `DFSUtil.checkProtectedDescendants`.
    pub(crate) fn check_protected(&self, iip: &InodesInPath<'_>) -> Result<(), Refused> {
        if self.config.protected_directories.is_empty() {
            return Ok(());
        }
        let path = iip.path();
        let below = if path == "/" { path.clone() } else { format!("{path}/") };
        for protected in &self.config.protected_directories {
            if *protected != path && !protected.starts_with(&below) {
                continue;
            }
            let non_empty = self
                .resolve(protected)
                .ok()
                .and_then(|iip| iip.last_slot())
                .is_some_and(|slot| self.child_count(slot) > 0);
            if non_empty {
                return Err(refuse(
                    ex::ACCESS_CONTROL,
                    match *protected == path {
                        true => format!("Cannot delete/rename non-empty protected directory {protected}"),
                        false => format!("Cannot delete/rename non-empty protected subdirectory {protected}"),
                    },
                ));
            }
        }
        let is_above = |dir: &&String| path.strip_prefix(&***dir).is_some_and(|rest| rest.starts_with('/'));
        match self.config.protected_directories.iter().filter(is_above).max() {
            Some(above) if self.config.protected_subdirectories => Err(refuse(
                ex::ACCESS_CONTROL,
                format!("Cannot delete/rename subdirectory under protected subdirectory {above}"),
            )),
            _ => Ok(()),
        }
    }
}
