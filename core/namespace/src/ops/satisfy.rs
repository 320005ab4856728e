//! Files and directories whose blocks are to be moved to where their storage policies want them
//! (`FSDirSatisfyStoragePolicyOp`). A mark in the namespace says so, until the satisfier removes it.

use hathi_formats::editlog::{EditOp, XAttr, XAttrNamespace};
use hathi_formats::ids::InodeId;

use super::xattr::same;
use crate::namespace::Namespace;
use crate::path::DirOp;
use crate::permission::action;
use crate::types::{Ctx, Plan, Refused};
use crate::view::View;

/// `HdfsServerConstants.XATTR_SATISFY_STORAGE_POLICY`, without its namespace (`user`).
const SATISFY: &str = "hdfs.sps";

fn mark() -> XAttr {
    XAttr {
        namespace: XAttrNamespace::User,
        name: SATISFY.to_owned(),
        value: None,
    }
}

impl Namespace {
    /// `satisfyStoragePolicy`: marks an inode, and answers which one. Nothing is done for a file without blocks, or for one
    /// that is marked already.
    pub fn plan_satisfy_storage_policy(&self, ctx: &Ctx<'_>, src: &str) -> Result<Plan<Option<InodeId>>, Refused> {
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        self.check_path_access(&ctx.caller, &iip, action::WRITE)?;
        let slot = self.existing_slot(&iip)?;
        let id = self.rec(slot).id();
        let is_empty = self.rec(slot).is_file() && self.blocks_of(id).next().is_none();
        let is_marked = self.attributes.xattrs(slot).iter().any(|xattr| same(xattr, &mark()));
        if is_empty || is_marked {
            return Ok(Plan::nothing(None));
        }
        let op = EditOp::SetXAttr {
            src: iip.path(),
            xattrs: vec![mark()],
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, Some(id)))
    }

    /// The inodes that are marked, by their ids.
    #[must_use]
    pub fn unsatisfied_storage_policies(&self) -> Vec<InodeId> {
        let with = self.attributes.all_xattrs();
        let marked = with.filter(|(_, xattrs)| xattrs.iter().any(|xattr| same(xattr, &mark())));
        let mut ids: Vec<InodeId> = marked.map(|(slot, _)| self.rec(slot).id()).collect();
        ids.sort_unstable();
        ids
    }
}
