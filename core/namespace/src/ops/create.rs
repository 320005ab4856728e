//! `mkdirs`, `create`, `createSymlink` (`FSDirMkdirOp`, `FSDirWriteFileOp.startFile`, `FSDirSymlinkOp`).

use hathi_formats::editlog::{AclEntry, AddOp, EditOp, PermissionStatus};
use hathi_formats::erasure_coding;
use hathi_formats::exceptions as ex;
use hathi_formats::ids::InodeId;
use smallvec::SmallVec;

use crate::acl;
use crate::erasure_coding::policy::{ErasureCodingPolicyId, Policy};
use crate::namespace::Namespace;
use crate::path::{
    DirOp, InodesInPath, is_exact_reserved, is_reserved, is_reserved_inodes, is_reserved_raw, is_valid_name, refuse,
};
use crate::permission::{Access, Permissions, action};
use crate::quotas::Usages;
use crate::store::slab::Slot;
use crate::tree::inode::MAX_48;
use crate::types::{BlockView, CreateOutcome, CreateRequest, Ctx, Plan, Refused};
use crate::usage::Usage;
use crate::view::View;
use crate::zones::{Crypto, key_xattr};

use super::attr::policy_by_name;
use super::lease::{LeaseTakeover, RecoverLeaseOp};

/// Id of the storage policy that is copied to files at creation (`LAZY_PERSIST`).
pub(crate) const LAZY_PERSIST: u8 = 15;

/// The directory below which new inodes are planned. It may only be planned itself.
struct Place {
    /// Path of the directory.
    path: String,
    /// Its slot, if it exists already.
    slot: Option<Slot>,
    group: String,
    /// Its ACL feature.
    feature: Vec<AclEntry>,
}

impl Namespace {
    /// `mkdirs`. The reply is the RPC's boolean.
    pub fn plan_mkdirs(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        mode: u16,
        unmasked: Option<u16>,
        create_parent: bool,
    ) -> Result<Plan<bool>, Refused> {
        check_length("mkdirs", src)?;
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Create)?;
        check_length("mkdirs", iip.as_str())?;
        if let Some(slot) = iip.last_slot() {
            if self.rec(slot).is_file() {
                return Err(refuse(
                    ex::FILE_ALREADY_EXISTS,
                    format!("Path is not a directory: {src}"),
                ));
            }
            return Ok(Plan::nothing(true));
        }
        self.check_permission(
            &ctx.caller,
            &iip,
            &Access {
                ancestor: action::WRITE,
                ..Access::default()
            },
        )?;
        if !create_parent {
            self.verify_parent_dir(&iip)?;
        }
        let mut ops = SmallVec::new();
        let parent_mode = (mode & 0o777) | 0o300;
        let mut place = self.plan_parents(ctx, &iip, parent_mode, unmasked, &mut ops)?;
        let id = self.next_inode_id(ops.len());
        self.plan_directory(ctx, &mut place, iip.name(), id, mode & 0o1777, unmasked, &mut ops)?;
        self.verify_quota(iip.slots[iip.slots.len() - 1], &Usage::inodes(ops.len() as i64), None)?;
        Ok(Plan { ops, reply: true })
    }

    fn next_inode_id(&self, planned: usize) -> InodeId {
        InodeId(self.counters.inode_id + 1 + planned as u64)
    }

    /// Plans the missing ancestors of a path.
    fn plan_parents(
        &self,
        ctx: &Ctx<'_>,
        iip: &InodesInPath<'_>,
        mode: u16,
        unmasked: Option<u16>,
        ops: &mut SmallVec<[EditOp; 3]>,
    ) -> Result<Place, Refused> {
        let existing = iip.slots.len().min(iip.depth - 1);
        let slot = iip.slots[existing - 1];
        let mut place = Place {
            path: iip.prefix(existing),
            slot: Some(slot),
            group: self.attributes.group(self.rec(slot).perm()).to_owned(),
            feature: self
                .attributes
                .acl(slot)
                .map_or_else(Vec::new, |feature| feature.to_vec()),
        };
        for n in existing..iip.depth - 1 {
            let id = self.next_inode_id(ops.len());
            let unmasked = unmasked.map(|bits| bits & 0o1777);
            self.plan_directory(ctx, &mut place, iip.component(n), id, mode, unmasked, ops)?;
        }
        Ok(place)
    }

    /// Plans one directory below `place` and makes it the new place.
    fn plan_directory(
        &self,
        ctx: &Ctx<'_>,
        place: &mut Place,
        name: &str,
        id: InodeId,
        mode: u16,
        unmasked: Option<u16>,
        ops: &mut SmallVec<[EditOp; 3]>,
    ) -> Result<(), Refused> {
        self.verify_new_child(place.slot, &place.path, name)?;
        let (mode, feature) = self.inherited(&place.feature, mode, unmasked, true);
        let path = join(&place.path, name);
        ops.push(EditOp::Mkdir {
            inode_id: id,
            path: path.clone(),
            time: ctx.now_ms as i64,
            permissions: PermissionStatus {
                user: ctx.caller.user.to_owned(),
                group: place.group.clone(),
                mode,
            },
            acl_entries: if feature.is_empty() {
                Vec::new()
            } else {
                acl::logical(mode, &feature)
            },
            xattrs: Vec::new(),
        });
        place.path = path;
        place.slot = None;
        place.feature = feature;
        Ok(())
    }

    /// Mode and ACL feature that a new child inherits (`FSDirectory.copyINodeDefaultAcl`).
    fn inherited(
        &self,
        parent_feature: &[AclEntry],
        mode: u16,
        unmasked: Option<u16>,
        is_dir: bool,
    ) -> (u16, Vec<AclEntry>) {
        let asked = unmasked.filter(|_| self.config.posix_acl_inheritance).unwrap_or(mode);
        acl::inherit(parent_feature, asked, is_dir).unwrap_or((mode, Vec::new()))
    }

    /// `create` of a client that knows no encryption: see [`Namespace::plan_create_with`].
    pub fn plan_create(
        &self,
        ctx: &Ctx<'_>,
        req: &CreateRequest<'_>,
        blocks: &dyn BlockView,
    ) -> Result<Plan<CreateOutcome>, Refused> {
        self.plan_create_with(ctx, req, blocks, &Crypto::NONE)
    }

    /// `create`. `crypto` matters in encryption zones only.
    pub fn plan_create_with(
        &self,
        ctx: &Ctx<'_>,
        req: &CreateRequest<'_>,
        blocks: &dyn BlockView,
        crypto: &Crypto<'_>,
    ) -> Result<Plan<CreateOutcome>, Refused> {
        self.note_time(ctx.mono_ms);
        let src = req.src;
        check_length("create", src)?;
        Self::check_create_name(src)?;
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Create)?;
        check_length("create", iip.as_str())?;
        self.check_permission(
            &ctx.caller,
            &iip,
            &Access {
                ancestor: action::WRITE,
                ..Access::default()
            },
        )?;
        let path = iip.path();
        let existing = iip.last_slot();
        if let Some(slot) = existing {
            if self.rec(slot).is_dir() {
                return Err(refuse(
                    ex::FILE_ALREADY_EXISTS,
                    format!("{path} already exists as a directory"),
                ));
            }
            self.file_slot(Some(slot), src)?;
            if req.overwrite {
                self.check_path_access(&ctx.caller, &iip, action::WRITE)?;
            }
        } else {
            if !req.create_parent {
                self.verify_parent_dir(&iip)?;
            }
            if !req.create {
                return Err(refuse(
                    ex::FILE_NOT_FOUND,
                    format!("Can't overwrite non-existent {src}"),
                ));
            }
        }
        // Missing ancestors get the attributes of the deepest existing one, with u+wx added.
        let deepest = iip.slots[iip.slots.len().min(iip.depth - 1) - 1];
        let striped = self.check_create_parameters(ctx, req, deepest)?;
        let zone = self.zone_for_new_file(&iip, crypto)?;
        let mut freed = Usage::default();
        if let Some(slot) = existing {
            if !req.overwrite {
                return self.refuse_existing(ctx, slot, &path, req, blocks);
            }
            freed = -self.file_usage(slot).and_inodes(1);
        }
        let mut ops = SmallVec::new();
        let parent_mode = (self.rec(deepest).perm().mode() & 0o777) | 0o300;
        let place = self.plan_parents(ctx, &iip, parent_mode, None, &mut ops)?;
        if existing.is_none() {
            self.verify_new_child(place.slot, &place.path, iip.name())?;
        }
        self.verify_quota(deepest, &freed.and_inodes(ops.len() as i64 + 1), None)?;
        let (mode, feature) = self.inherited(&place.feature, req.mode & 0o777, req.unmasked, false);
        let policy = match (asked_policy(req)?, place.slot.unwrap_or(deepest)) {
            (0, parent) if self.effective_policy(parent) == LAZY_PERSIST => LAZY_PERSIST,
            (asked, _) => asked,
        };
        let mut xattrs = Vec::new();
        if let Some(zone) = zone {
            match crypto.keys.and_then(|keys| keys.key(zone.key_name())) {
                Some(key) => xattrs.push(key_xattr(&key)),
                None => return Ok(Plan::nothing(CreateOutcome::NeedsKey(zone.key_name().to_owned()))),
            }
        }
        let id = self.next_inode_id(ops.len());
        let now = ctx.now_ms as i64;
        ops.push(EditOp::Add(AddOp {
            inode_id: id,
            path,
            // `INodeFile.getFileReplication` of a striped file.
            replication: striped.map_or(req.replication as i16, |_| 1),
            mtime: now,
            atime: now,
            // The logged size is the one that is kept.
            block_size: req.block_size.min(MAX_48) as i64,
            blocks: Vec::new(),
            permissions: PermissionStatus {
                user: ctx.caller.user.to_owned(),
                group: place.group,
                mode,
            },
            acl_entries: if feature.is_empty() {
                Vec::new()
            } else {
                acl::logical(mode, &feature)
            },
            xattrs,
            client_name: req.client_name.to_owned(),
            client_machine: ctx.client_machine.to_owned(),
            overwrite: req.overwrite,
            storage_policy_id: policy,
            erasure_coding_policy_id: striped.map_or(ErasureCodingPolicyId::REPLICATION, |policy| policy.id).0,
            rpc_ids: ctx.rpc_ids,
        }));
        Ok(Plan {
            ops,
            reply: CreateOutcome::Created(id),
        })
    }

    /// Refuses a path that no file can have. Hadoop checks this before everything else, safe mode included.
    pub fn check_create_name(src: &str) -> Result<(), Refused> {
        let reserved = is_reserved(src) && !is_reserved_raw(src) && !is_reserved_inodes(src);
        if !is_valid_name(src) || reserved {
            return Err(refuse(ex::INVALID_PATH, format!("Invalid path name {src}")));
        }
        Ok(())
    }

    /// Checks the parameters of a new file, once its place below `dir` is known to be free
    /// (`FSNamesystem.startFileInt`). Returns the policy by which it is to be striped.
    fn check_create_parameters(
        &self,
        ctx: &Ctx<'_>,
        req: &CreateRequest<'_>,
        dir: Slot,
    ) -> Result<Option<&Policy>, Refused> {
        if req.block_size < self.config.min_block_size_bytes {
            return Err(refuse(
                ex::IO,
                format!(
                    "Specified block size {} is less than configured minimum value dfs.namenode.fs-limits.min-block-size={}",
                    req.block_size, self.config.min_block_size_bytes
                ),
            ));
        }
        let policy = self.erasure_coding_policy_for_new_file(dir, req.should_replicate, req.ec_policy)?;
        match policy {
            None => self.verify_replication(req.src, req.replication, Some(ctx.client_machine))?,
            Some(policy) if req.block_size < u64::from(policy.cell_size) => {
                return Err(refuse(
                    ex::IO,
                    format!(
                        "Specified block size ({}) is less than the cell size ({}) of the erasure coding policy ({}).",
                        req.block_size,
                        policy.cell_size,
                        erasure_coding::describe(&policy.to_wire())
                    ),
                ));
            }
            Some(_) => {}
        }
        Ok(policy)
    }

    /// Refusal of a create without overwrite when the file exists: somebody writes it, or it is just there.
    fn refuse_existing(
        &self,
        ctx: &Ctx<'_>,
        slot: Slot,
        path: &str,
        req: &CreateRequest<'_>,
        blocks: &dyn BlockView,
    ) -> Result<Plan<CreateOutcome>, Refused> {
        match self.recover_lease(
            RecoverLeaseOp::CreateFile,
            ctx,
            slot,
            path,
            req.client_name,
            false,
            blocks,
        )? {
            LeaseTakeover::Free => Err(refuse(
                ex::FILE_ALREADY_EXISTS,
                format!("{path} for client {} already exists", ctx.client_machine),
            )),
            LeaseTakeover::Recover(plan) => Ok(Plan {
                ops: plan.ops,
                reply: CreateOutcome::LeaseRecovery(plan.reply),
            }),
        }
    }

    /// `BlockManager.verifyReplication`.
    pub(crate) fn verify_replication(&self, src: &str, replication: u16, client: Option<&str>) -> Result<(), Refused> {
        // The log has 16 signed bits for it, whatever is configured.
        let max = self.config.max_replication.min(i16::MAX as u16);
        let err = if replication > max {
            format!(" exceeds maximum of {max}")
        } else if replication < self.config.min_replication {
            format!(" is less than the required minimum of {}", self.config.min_replication)
        } else {
            return Ok(());
        };
        let client = client.map_or_else(String::new, |client| format!(", clientName={client}"));
        Err(refuse(
            ex::IO,
            format!("Requested replication factor of {replication}{err} for {src}{client}"),
        ))
    }

    /// `createSymlink`: refused unless enabled.
    pub fn plan_create_symlink(
        &self,
        ctx: &Ctx<'_>,
        target: &str,
        link: &str,
        mode: u16,
        create_parent: bool,
    ) -> Result<Plan<()>, Refused> {
        if !self.config.symlinks_enabled {
            return Err(refuse(ex::UNSUPPORTED_OPERATION, "Symlinks not supported"));
        }
        if !is_valid_name(link) {
            return Err(refuse(ex::INVALID_PATH, format!("Invalid link name: {link}")));
        }
        if target.is_empty() || is_exact_reserved(target) {
            return Err(refuse(ex::INVALID_PATH, format!("Invalid target name: {target}")));
        }
        let iip = self.resolve_for(&ctx.caller, link, DirOp::CreateLink)?;
        check_length("createSymlink", iip.as_str())?;
        if !create_parent {
            self.verify_parent_dir(&iip)?;
        }
        if iip.exists() || !is_valid_name(link) {
            return Err(refuse(
                ex::FILE_ALREADY_EXISTS,
                format!("failed to create link {link} either because the filename is invalid or the file exists"),
            ));
        }
        self.check_permission(
            &ctx.caller,
            &iip,
            &Access {
                ancestor: action::WRITE,
                ..Access::default()
            },
        )?;
        let mut ops = SmallVec::new();
        let deepest = iip.slots[iip.slots.len() - 1];
        let parent_mode = (self.rec(deepest).perm().mode() & 0o777) | 0o300;
        let place = self.plan_parents(ctx, &iip, parent_mode, None, &mut ops)?;
        self.verify_new_child(place.slot, &place.path, iip.name())?;
        self.verify_quota(deepest, &Usage::inodes(ops.len() as i64 + 1), None)?;
        let now = ctx.now_ms as i64;
        ops.push(EditOp::Symlink {
            inode_id: self.next_inode_id(ops.len()),
            path: iip.path(),
            target: target.to_owned(),
            mtime: now,
            atime: now,
            permissions: PermissionStatus {
                user: ctx.caller.user.to_owned(),
                group: place.group,
                mode: mode & 0o1777,
            },
            rpc_ids: ctx.rpc_ids,
        });
        Ok(Plan { ops, reply: () })
    }
}

/// The storage policy that the file itself gets; 0 for none.
fn asked_policy(req: &CreateRequest<'_>) -> Result<u8, Refused> {
    if req.lazy_persist {
        return Ok(LAZY_PERSIST);
    }
    if req.storage_policy.is_empty() {
        return Ok(0);
    }
    policy_by_name(req.storage_policy)
}

pub(crate) fn join(parent: &str, name: &str) -> String {
    if parent == "/" {
        format!("/{name}")
    } else {
        format!("{parent}/{name}")
    }
}

/// `NameNodeRpcServer.checkPathLength` for calls that create paths. Hadoop checks only the client's string. Here the
/// resolved path is checked as well, which may be longer below `/.reserved/.inodes`.
pub(crate) fn check_length(verb: &str, src: &str) -> Result<(), Refused> {
    if src.len() < 1000 || Namespace::is_path_length_ok(src) {
        return Ok(());
    }
    Err(refuse(
        ex::IO,
        format!(
            "{verb}: Pathname too long.  Limit {} characters, {} levels.",
            crate::path::MAX_PATH_LENGTH,
            crate::path::MAX_PATH_DEPTH
        ),
    ))
}
