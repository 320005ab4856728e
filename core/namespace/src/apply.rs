//! The one function that changes the namespace for an op (`FSEditLogLoader.applyEditLogOpInternal`).
//!
//! The active calls it right after a plan; a standby and a restart call it with the ops that they read. It decides
//! nothing: every id, time and stamp is in the op. It refuses an op that does not fit the state, because then log and
//! state have diverged.

mod attr;
mod file;
mod snapshot;
mod tree;

use hathi_formats::editlog::{EditOp, XAttr};
use hathi_formats::ids::Block;

use crate::erasure_coding::policy::PolicyState;
use crate::namespace::Namespace;
use crate::path::{InodesInPath, is_reserved};
use crate::store::slab::Slot;
use crate::types::{ApplyError, Effect, Effects};
use crate::unsupported::Feature;
use crate::view::View;

/// Why a part of [`Namespace::apply`] refuses an op. Op and transaction are added later.
pub(crate) enum Why {
    Inconsistent(String),
    Unsupported(String),
}

pub(crate) type Applied = Result<(), Why>;

/// Refuses attributes of features that this NameNode does not have.
pub(crate) fn check_xattrs(path: &str, xattrs: &[XAttr]) -> Applied {
    match xattrs.iter().find_map(Feature::of_xattr) {
        Some(feature) => Err(Why::Unsupported(feature.refused_at(path))),
        None => Ok(()),
    }
}

pub(crate) fn inconsistent(why: impl Into<String>) -> Why {
    Why::Inconsistent(why.into())
}

impl Namespace {
    /// Applies one op. This is the only way in which the state changes. After an error the state must not be used any
    /// more: the namespace [is broken](Namespace::is_broken) and refuses every op.
    pub fn apply(&mut self, txid: u64, op: &EditOp) -> Result<Effects, ApplyError> {
        let name = || op.code().name().unwrap_or("OP_INVALID");
        if self.broken {
            return Err(ApplyError::Broken { op: name(), txid });
        }
        let mut fx = Effects::default();
        let before = cfg!(debug_assertions).then(|| self.counters.clone());
        if txid > self.counters.txid.saturating_add(1) {
            self.set_last_applied_txid(txid - 1);
        }
        match self.apply_op(op, &mut fx) {
            Ok(()) => {
                if let Some(before) = &before {
                    self.counters.check_grown_since(before);
                }
                self.counters.txid = txid;
                fx.effects.extend(self.by_the_way.drain(..));
                self.end_changes();
                self.mark_after(op);
                Ok(fx)
            }
            Err(why) => {
                self.broken = true;
                Err(match why {
                    Why::Inconsistent(why) => ApplyError::Inconsistent { op: name(), txid, why },
                    Why::Unsupported(what) => ApplyError::Unsupported { op: name(), txid, what },
                })
            }
        }
    }

    /// Whether an op failed to apply. It may have changed something before it failed, and nothing is undone, so the
    /// state is that of no log. Nothing may be answered, planned, replayed or saved from it, in this role or a later
    /// one; a namespace must be loaded anew. It never becomes false again.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn apply_op(&mut self, op: &EditOp, fx: &mut Effects) -> Applied {
        match op {
            EditOp::Add(add) => self.apply_add(add, fx),
            EditOp::Close(close) => self.apply_close(close, fx),
            EditOp::AddBlock {
                path,
                penultimate,
                last,
                ..
            } => self.apply_add_block(path, penultimate.as_ref(), last, fx),
            EditOp::UpdateBlocks { path, blocks, .. } => self.apply_update_blocks(path, blocks, fx),
            EditOp::Append {
                path,
                client_name,
                client_machine,
                new_block,
                ..
            } => self.apply_append(path, client_name, client_machine, *new_block, fx),
            EditOp::Truncate {
                src,
                client_name,
                client_machine,
                new_length,
                time,
                truncate_block,
            } => self.apply_truncate(
                src,
                client_name,
                client_machine,
                *new_length,
                *time,
                truncate_block.as_ref(),
                fx,
            ),
            EditOp::ReassignLease { path, new_holder, .. } => self.apply_reassign_lease(path, new_holder, fx),
            EditOp::ConcatDelete {
                target, sources, time, ..
            } => self.apply_concat(target, sources, *time, fx),

            EditOp::Mkdir {
                inode_id,
                path,
                time,
                permissions,
                acl_entries,
                xattrs,
            } => {
                check_xattrs(path, xattrs)?;
                self.apply_mkdir(*inode_id, path, *time, permissions, acl_entries, fx)
            }
            EditOp::Symlink {
                inode_id,
                path,
                target,
                mtime,
                atime,
                permissions,
                ..
            } => self.apply_symlink(*inode_id, path, target, *mtime, *atime, permissions, fx),
            EditOp::Delete { path, time, .. } => self.apply_delete(path, *time, fx),
            EditOp::RenameOld { src, dst, time, .. } => self.apply_rename_old(src, dst, *time, fx),
            EditOp::Rename { src, dst, time, .. } => self.apply_rename(src, dst, *time, fx),

            EditOp::SetReplication { path, replication } => self.apply_set_replication(path, *replication, fx),
            EditOp::SetPermissions { src, mode } => self.apply_set_permissions(src, *mode, fx),
            EditOp::SetOwner { src, user, group } => self.apply_set_owner(src, user.as_deref(), group.as_deref(), fx),
            EditOp::Times { path, mtime, atime } => self.apply_times(path, *mtime, *atime, fx),
            EditOp::SetQuota {
                src,
                ns_quota,
                ds_quota,
            } => self.apply_set_quota(src, *ns_quota, *ds_quota, fx),
            EditOp::SetNsQuota { src, ns_quota } => {
                self.apply_set_quota(src, *ns_quota, crate::types::quota::DONT_SET, fx)
            }
            EditOp::ClearNsQuota { src } => {
                self.apply_set_quota(src, crate::types::quota::RESET, crate::types::quota::DONT_SET, fx)
            }
            EditOp::SetQuotaByStorageType {
                src,
                storage_type,
                ds_quota,
            } => self.apply_set_type_quota(src, *storage_type, *ds_quota, fx),
            EditOp::SetStoragePolicy { path, policy_id } => self.apply_set_storage_policy(path, *policy_id, fx),
            EditOp::SetAcl { src, entries } => self.apply_set_acl(src, entries, fx),
            EditOp::SetXAttr { src, xattrs, .. } => self.apply_set_xattr(src, xattrs, fx),
            EditOp::RemoveXAttr { src, xattrs, .. } => self.apply_remove_xattr(src, xattrs, fx),
            EditOp::AllowSnapshot { snapshot_root } => self.apply_allow_snapshot(snapshot_root, fx),
            EditOp::DisallowSnapshot { snapshot_root } => self.apply_disallow_snapshot(snapshot_root, fx),
            EditOp::CreateSnapshot {
                snapshot_root,
                snapshot_name,
                mtime,
                ..
            } => self.apply_create_snapshot(snapshot_root, snapshot_name, *mtime, fx),
            EditOp::DeleteSnapshot {
                snapshot_root,
                snapshot_name,
                mtime,
                ..
            } => self.apply_delete_snapshot(snapshot_root, snapshot_name, *mtime, fx),
            EditOp::RenameSnapshot {
                snapshot_root,
                snapshot_old_name,
                snapshot_new_name,
                mtime,
                ..
            } => self.apply_rename_snapshot(snapshot_root, snapshot_old_name, snapshot_new_name, *mtime, fx),

            EditOp::SetGenstampV1 { genstamp } => {
                self.counters.genstamp_v1 = self.counters.genstamp_v1.max(genstamp.0);
                Ok(())
            }
            EditOp::SetGenstampV2 { genstamp } => {
                // The stamp counts only once active: a standby must not judge reports by a stamp whose block it has not
                // seen.
                self.counters.impending_genstamp = self.counters.impending_genstamp.max(genstamp.0);
                Ok(())
            }
            EditOp::AllocateBlockId { block_id } => {
                if block_id.0 < 0 {
                    self.counters.striped_block_id = self.counters.striped_block_id.max(block_id.0);
                } else {
                    self.counters.block_id = self.counters.block_id.max(block_id.0);
                }
                Ok(())
            }
            EditOp::StartLogSegment | EditOp::EndLogSegment => Ok(()),
            EditOp::RollingUpgradeStart { time } => {
                self.counters.rolling_upgrade_start = (*time).max(0) as u64;
                fx.effects.push(Effect::RollingUpgrade {
                    started_ms: self.rolling_upgrade_start_ms(),
                });
                Ok(())
            }
            EditOp::RollingUpgradeFinalize { .. } => {
                self.counters.rolling_upgrade_start = 0;
                fx.effects.push(Effect::RollingUpgrade { started_ms: None });
                Ok(())
            }

            EditOp::GetDelegationToken { token, expiry_time } => {
                self.carried.add_token(&mut self.sum, token, *expiry_time);
                Ok(())
            }
            EditOp::RenewDelegationToken { token, expiry_time } => {
                self.carried.change_token(&mut self.sum, token, |secrets| {
                    secrets.renew_token(token, *expiry_time);
                });
                Ok(())
            }
            EditOp::CancelDelegationToken { token } => {
                self.carried
                    .change_token(&mut self.sum, token, |secrets| secrets.cancel_token(token));
                Ok(())
            }
            EditOp::UpdateMasterKey { key } => {
                self.carried.add_master_key(&mut self.sum, key);
                Ok(())
            }
            EditOp::AddCachePool { pool, .. } | EditOp::ModifyCachePool { pool, .. } => {
                self.carried
                    .change_pool(&mut self.sum, &pool.pool_name, |cache| cache.put_pool(pool));
                Ok(())
            }
            EditOp::RemoveCachePool { pool_name, .. } => {
                self.carried
                    .change_pool(&mut self.sum, pool_name, |cache| cache.remove_pool(pool_name));
                Ok(())
            }
            EditOp::AddCacheDirective { directive, .. } | EditOp::ModifyCacheDirective { directive, .. } => {
                self.carried
                    .change_directive(&mut self.sum, directive.id, |cache| cache.put_directive(directive));
                Ok(())
            }
            EditOp::RemoveCacheDirective { id, .. } => {
                self.carried
                    .change_directive(&mut self.sum, *id, |cache| drop(cache.directives.remove(id)));
                Ok(())
            }
            EditOp::AddErasureCodingPolicy {
                codec,
                data_units,
                parity_units,
                cell_size,
                extra_options,
                ..
            } => {
                let units = (*data_units, *parity_units);
                let added = self.carried.change_policies(&mut self.sum, |policies| {
                    policies.add(codec, units, *cell_size, extra_options)
                });
                added.map_err(inconsistent)
            }
            EditOp::EnableErasureCodingPolicy { policy_name, .. } => {
                self.set_policy_state(policy_name, PolicyState::Enabled)
            }
            EditOp::DisableErasureCodingPolicy { policy_name, .. } => {
                self.set_policy_state(policy_name, PolicyState::Disabled)
            }
            EditOp::RemoveErasureCodingPolicy { policy_name, .. } => {
                self.set_policy_state(policy_name, PolicyState::Removed)
            }
        }
    }

    fn set_policy_state(&mut self, name: &str, state: PolicyState) -> Applied {
        let config = &self.config.erasure_coding;
        let changed = self
            .carried
            .change_policies(&mut self.sum, |policies| policies.set_state(name, state, config));
        changed.map_err(inconsistent)
    }

    /// Parent, name and inode of the path in an op, as far as they exist. The op may change the inode: every op finds
    /// what it changes here.
    pub(crate) fn op_lookup<'p>(&mut self, path: &'p str) -> Result<(Option<Slot>, &'p str, Option<Slot>), Why> {
        let (parent, name, found) = self.op_resolve(path)?;
        if let Some(slot) = found {
            self.begin_change(slot);
        }
        Ok((parent, name, found))
    }

    fn op_resolve<'p>(&mut self, path: &'p str) -> Result<(Option<Slot>, &'p str, Option<Slot>), Why> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        if !name.is_empty() && !is_reserved(path) {
            if let Some(parent) = self.tree.remembered_dir(dir) {
                return Ok((Some(parent), name, self.child(parent, name.as_bytes())));
            }
            let iip = self.op_path(path)?;
            let (parent, found) = (
                iip.parent_slot().filter(|parent| self.rec(*parent).is_dir()),
                iip.last_slot(),
            );
            if let Some(parent) = parent {
                self.tree.remember_dir(dir, parent);
            }
            return Ok((parent, name, found));
        }
        let iip = self.op_path(path)?;
        let (parent, found) = (iip.parent_slot(), iip.last_slot());
        // Only the root and paths by inode id come here. Nothing is ever created at them.
        Ok((parent.filter(|_| found.is_some()), name, found))
    }

    /// The path in an op, which changes nothing below `.snapshot`.
    fn op_path<'p>(&self, path: &'p str) -> Result<InodesInPath<'p>, Why> {
        let iip = self.resolve(path).and_then(|iip| iip.check_is_present().map(|()| iip));
        iip.map_err(|refused| inconsistent(refused.message))
    }

    /// The inode of the path in an op.
    pub(crate) fn op_slot(&mut self, path: &str) -> Result<Slot, Why> {
        self.op_lookup(path)?
            .2
            .ok_or_else(|| inconsistent(format!("{path} does not exist")))
    }

    pub(crate) fn op_file(&mut self, path: &str) -> Result<Slot, Why> {
        let slot = self.op_slot(path)?;
        if self.rec(slot).is_file() {
            Ok(slot)
        } else {
            Err(inconsistent(format!("{path} is not a file")))
        }
    }

    pub(crate) fn op_dir(&mut self, path: &str) -> Result<Slot, Why> {
        let slot = self.op_slot(path)?;
        if self.rec(slot).is_dir() {
            Ok(slot)
        } else {
            Err(inconsistent(format!("{path} is not a directory")))
        }
    }

    pub(crate) fn touch(&self, slot: Slot, fx: &mut Effects) {
        fx.touched.push(self.rec(slot).id());
    }

    /// The children of a directory changed, so its modification time changes, too.
    pub(crate) fn touch_parent(&mut self, dir: Slot, time_ms: u64, fx: &mut Effects) {
        self.begin_change(dir);
        self.keep_attributes(dir);
        let rec = self.tree.rec_mut(dir);
        // The modification time never goes back (`INode.updateModificationTime`).
        if time_ms > rec.mtime() {
            rec.set_mtime(time_ms);
        }
        fx.parents.push(rec.id());
    }

    /// Frees everything that was cut off.
    pub(crate) fn reclaim_now(&mut self, fx: &mut Effects) {
        let mut freed = Vec::new();
        self.reclaim_all(&mut freed);
        fx.effects
            .extend(freed.into_iter().map(|block| Effect::BlockRemoved { block }));
    }

    /// Cuts off an inode and everything below it.
    pub(crate) fn remove_subtree(&mut self, slot: Slot, fx: &mut Effects) {
        self.touch(slot, fx);
        let mut freed: Vec<Block> = Vec::new();
        fx.reclaim |= self.leave(slot, &mut freed);
        fx.effects
            .extend(freed.into_iter().map(|block| Effect::BlockRemoved { block }));
    }
}

/// A time from an op. A negative one counts as none.
pub(crate) fn ms(time: i64) -> u64 {
    time.max(0) as u64
}
