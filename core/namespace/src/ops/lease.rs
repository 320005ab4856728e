//! Ending the lease of a writer that is gone: `recoverLease`, the lease monitor, `commitBlockSynchronization`
//! (`FSNamesystem.recoverLeaseInternal`, `internalReleaseLease`).

use hathi_formats::editlog::{CloseOp, EditOp, PermissionStatus, RpcIds};
use hathi_formats::exceptions as ex;
use hathi_formats::ids::{Block, InodeId};
use smallvec::SmallVec;

use crate::namespace::Namespace;
use crate::path::{DirOp, refuse};
use crate::permission::action;
use crate::store::slab::Slot;
use crate::tree::inode::MAX_48;
use crate::types::{BlockSynchronization, BlockView, Ctx, Holders, LeaseRecovery, Plan, Refused};
use crate::view::View;

/// Prefix of the names under which NameNodes hold leases of files that they recover
/// (`HdfsServerConstants.NAMENODE_LEASE_HOLDER`).
pub const NAMENODE_LEASE_HOLDER: &str = "HDFS_NameNode";

/// Whether a NameNode has the lease already, this one or an earlier active. Giving it to itself under another name
/// would only fill the log.
fn is_internal_holder(holder: &str) -> bool {
    holder.starts_with(NAMENODE_LEASE_HOLDER)
}

/// The call that wants the lease (`RecoverLeaseOp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoverLeaseOp {
    /// `create` without overwrite on an open file.
    CreateFile,
    /// `append`.
    AppendFile,
    /// `truncate`.
    TruncateFile,
    /// `recoverLease`.
    RecoverLease,
}

impl RecoverLeaseOp {
    /// `RecoverLeaseOp.getExceptionMessage`.
    #[must_use]
    pub fn message(self, src: &str, holder: &str, machine: &str, reason: &str) -> String {
        let name = match self {
            RecoverLeaseOp::CreateFile => "CREATE_FILE",
            RecoverLeaseOp::AppendFile => "APPEND_FILE",
            RecoverLeaseOp::TruncateFile => "TRUNCATE_FILE",
            RecoverLeaseOp::RecoverLease => "RECOVER_LEASE",
        };
        format!("Failed to {name} {src} for {holder} on {machine} because {reason}")
    }

    /// Refusal that tells a client that a lease recovery was started or is under way.
    #[must_use]
    pub fn recovery_in_progress(self, src: &str, holder: &str, machine: &str) -> Refused {
        refuse(
            ex::RECOVERY_IN_PROGRESS,
            self.message(src, holder, machine, "lease recovery is in progress. Try again later."),
        )
    }
}

/// Whether a new writer can take a file.
pub(crate) enum LeaseTakeover {
    /// No client writes the file.
    Free,
    /// The lease of a silent writer is being ended.
    Recover(Box<Plan<LeaseRecovery>>),
}

impl Namespace {
    /// `leaseExceptionString`.
    pub(crate) fn lease_text(&self, src: &str, file: InodeId, holder: &str) -> String {
        let lease = match self.writers.leases().files_of(holder) {
            Some(files) => format!("[Lease.  Holder: {holder}, pending creates: {files}]"),
            None => format!("Holder {holder} does not have any open files."),
        };
        format!("{src} (inode {}) {lease}", file.0.cast_signed())
    }

    /// `FSNamesystem.checkLease`: the open file, held by `holder`.
    pub(crate) fn check_lease(
        &self,
        slot: Option<Slot>,
        src: &str,
        file: InodeId,
        holder: &str,
    ) -> Result<Slot, Refused> {
        let text = || self.lease_text(src, file, holder);
        let Some(slot) = slot else {
            return Err(refuse(ex::FILE_NOT_FOUND, format!("File does not exist: {}", text())));
        };
        if !self.rec(slot).is_file() {
            return Err(refuse(
                ex::LEASE_EXPIRED,
                format!("INode is not a regular file: {}", text()),
            ));
        }
        let Some(open) = self.writers.get(slot).filter(|_| self.rec(slot).is_open()) else {
            return Err(refuse(
                ex::LEASE_EXPIRED,
                format!("File is not open for writing: {}", text()),
            ));
        };
        if &*open.client_name != holder {
            return Err(refuse(
                ex::LEASE_EXPIRED,
                format!(
                    "Client (={holder}) is not the lease owner (={}: {}",
                    open.client_name,
                    text()
                ),
            ));
        }
        Ok(slot)
    }

    /// `recoverLeaseInternal`.
    pub(crate) fn recover_lease(
        &self,
        verb: RecoverLeaseOp,
        ctx: &Ctx<'_>,
        slot: Slot,
        src: &str,
        holder: &str,
        force: bool,
        blocks: &dyn BlockView,
    ) -> Result<LeaseTakeover, Refused> {
        let Some(open) = self.writers.get(slot).filter(|_| self.rec(slot).is_open()) else {
            return Ok(LeaseTakeover::Free);
        };
        let refused =
            |class, reason: String| Err(refuse(class, verb.message(src, holder, ctx.client_machine, &reason)));
        if !force && &*open.client_name == holder {
            return refused(
                ex::ALREADY_BEING_CREATED,
                format!("{holder} is already the current lease holder."),
            );
        }
        if force {
            return self
                .release_lease(ctx.now_ms, slot, src, Some(holder), blocks)
                .map(|plan| LeaseTakeover::Recover(Box::new(plan)));
        }
        if self.soft_limit_expired(&open.client_name, ctx.mono_ms) {
            return self
                .release_lease(ctx.now_ms, slot, src, None, blocks)
                .map(|plan| LeaseTakeover::Recover(Box::new(plan)));
        }
        let by = format!("{} on {}", open.client_name, open.client_machine);
        let recovering = self
            .block_slots(slot)
            .last()
            .is_some_and(|last| blocks.recovery_id(self.files.get(*last).id()).is_some());
        if recovering {
            refused(
                ex::RECOVERY_IN_PROGRESS,
                format!("another recovery is in progress by {by}"),
            )
        } else {
            refused(
                ex::ALREADY_BEING_CREATED,
                format!("this file lease is currently owned by {by}"),
            )
        }
    }

    /// The `recoverLease` RPC: the caller becomes the holder while blocks are recovered. `Closed` is answered with
    /// true, everything else with false.
    pub fn plan_recover_lease(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        client_name: &str,
        _nn_holder: &str,
        blocks: &dyn BlockView,
    ) -> Result<Plan<LeaseRecovery>, Refused> {
        self.note_time(ctx.mono_ms);
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        let path = iip.path();
        let slot = self.file_slot(iip.last_slot(), &path)?;
        let file = self.rec(slot).id();
        if !self.rec(slot).is_open() {
            return Ok(Plan::nothing(LeaseRecovery::Closed { file }));
        }
        self.check_path_access(&ctx.caller, &iip, action::WRITE)?;
        match self.recover_lease(
            RecoverLeaseOp::RecoverLease,
            ctx,
            slot,
            &path,
            client_name,
            true,
            blocks,
        )? {
            LeaseTakeover::Free => Ok(Plan::nothing(LeaseRecovery::Closed { file })),
            LeaseTakeover::Recover(plan) => Ok(*plan),
        }
    }

    /// `internalReleaseLease` of a file, whatever its writer does. `new_holder` takes the lease over while the last
    /// block is recovered; with `None` the holder keeps it.
    pub fn plan_release_lease(
        &self,
        now_ms: u64,
        file: InodeId,
        new_holder: Option<&str>,
        blocks: &dyn BlockView,
    ) -> Result<Plan<LeaseRecovery>, Refused> {
        match self.slot(file).filter(|slot| self.rec(*slot).is_open()) {
            Some(slot) => self.release_lease(now_ms, slot, &self.path_of_slot(slot), new_holder, blocks),
            None => Ok(Plan::nothing(LeaseRecovery::Closed { file })),
        }
    }

    /// `internalReleaseLease`. `new_holder` None: the holder stays (create and append after the soft limit).
    fn release_lease(
        &self,
        now_ms: u64,
        slot: Slot,
        src: &str,
        new_holder: Option<&str>,
        blocks: &dyn BlockView,
    ) -> Result<Plan<LeaseRecovery>, Refused> {
        let file = self.rec(slot).id();
        let mut all: Vec<Block> = self
            .block_slots(slot)
            .iter()
            .map(|b| self.files.get(*b).block())
            .collect();
        let open_last = self
            .block_slots(slot)
            .last()
            .is_some_and(|b| self.files.get(*b).is_open());
        let count = all.len();
        let closed = |list: Vec<Block>| Plan::one(self.close_op(slot, list, now_ms), LeaseRecovery::Closed { file });
        // `complete` had the length, and answered false because replicas were missing. The length of a truncated block
        // is decided by DataNodes alone.
        let truncated = self.is_truncated(slot);
        let committed = |block: &Block| blocks.committed_length(block.id).filter(|_| !truncated);
        if open_last
            && let Some(last) = all.last_mut()
            && let Some(length) = committed(last)
        {
            last.num_bytes = length;
        }

        let is_complete = |n: usize| blocks.is_complete(all[n].id) && !(truncated && n + 1 == count);
        let complete = (0..count).take_while(|n| is_complete(*n)).count();
        if complete == count {
            return Ok(closed(all));
        }
        let is_committed = |n: usize| n + 1 < count || !open_last || committed(&all[n]).is_some();
        if complete + 2 < count || (complete + 2 == count && !is_committed(complete)) {
            return Err(refuse(
                ex::IO,
                format!(
                    "DIR* NameSystem.internalReleaseLease: attempt to release a create lock on {src} but file is already closed."
                ),
            ));
        }
        let last = all[count - 1];
        if is_committed(count - 1) {
            let penultimate_ok = count < 2 || blocks.is_min_replicated(all[count - 2].id);
            if !penultimate_ok {
                let message = format!(
                    "DIR* NameSystem.internalReleaseLease: Failed to release lease for file {src}. Committed blocks are waiting to be minimally replicated."
                );
                return Ok(Plan::nothing(LeaseRecovery::Wait { file, message }));
            }
            if blocks.is_min_replicated(last.id) {
                return Ok(closed(all));
            }
        }
        let source = self.truncate_target(file).and_then(|target| target.source);
        let holders = blocks.holders(source.unwrap_or(last).id);
        let mut ops = SmallVec::new();
        let reply = match (blocks.recovery_id(last.id), holders) {
            (Some(_), _) => LeaseRecovery::InProgress { file },
            // Nobody wrote to the block. A block with a length was seen by some reader, so it is waited for, however
            // long that takes.
            (None, Holders::Nobody) if last.num_bytes == 0 => {
                all.pop();
                return Ok(closed(all));
            }
            (None, Holders::Known) if open_last => {
                let recovery_id = self.next_stamp();
                ops.push(EditOp::SetGenstampV2 { genstamp: recovery_id });
                LeaseRecovery::RecoverBlock {
                    file,
                    block: last,
                    recovery_id,
                }
            }
            (None, Holders::Known | Holders::Awaited | Holders::Nobody) => LeaseRecovery::AwaitReports { file },
        };
        if let Some(new_holder) = new_holder
            && let Some(open) = self.writers.get(slot)
            && *open.client_name != *new_holder
            && !(is_internal_holder(new_holder) && is_internal_holder(&open.client_name))
        {
            ops.push(EditOp::ReassignLease {
                lease_holder: open.client_name.to_string(),
                path: src.to_owned(),
                new_holder: new_holder.to_owned(),
            });
        }
        Ok(Plan { ops, reply })
    }

    /// The CLOSE op of a file with these blocks.
    pub(crate) fn close_op(&self, slot: Slot, blocks: Vec<Block>, now_ms: u64) -> EditOp {
        let rec = self.rec(slot);
        let perm = rec.perm();
        EditOp::Close(CloseOp {
            inode_id: InodeId(0),
            path: self.path_of_slot(slot),
            replication: rec.replication() as i16,
            mtime: now_ms as i64,
            atime: rec.atime() as i64,
            block_size: rec.block_size() as i64,
            blocks,
            permissions: PermissionStatus {
                user: self.attributes.user(perm).to_owned(),
                group: self.attributes.group(perm).to_owned(),
                mode: perm.mode(),
            },
        })
    }

    /// The UPDATE_BLOCKS op of a file with these blocks.
    pub(crate) fn update_blocks_op(&self, slot: Slot, blocks: Vec<Block>, rpc_ids: RpcIds) -> EditOp {
        EditOp::UpdateBlocks {
            path: self.path_of_slot(slot),
            blocks,
            rpc_ids,
        }
    }

    /// `commitBlockSynchronization`: the file and its new last block. `None` when the block is dropped, or nothing is
    /// to be done because the file is closed or gone.
    pub fn plan_commit_block_synchronization(
        &self,
        now_ms: u64,
        sync: &BlockSynchronization,
        blocks: &dyn BlockView,
    ) -> Result<Plan<Option<(InodeId, Block)>>, Refused> {
        // Of a truncate that copies, DataNodes name the source.
        let found = self.copy_of(sync.block.id).or_else(|| self.files.find(sync.block.id));
        let Some(stored) = found else {
            if sync.delete_block {
                return Ok(Plan::nothing(None));
            }
            return Err(refuse(
                ex::IO,
                format!("Block (={}) not found", block_name(&sync.block)),
            ));
        };
        let slot = self.files.get(stored).file();
        if !self.tree.is_attached(slot) {
            return Err(refuse(
                ex::FILE_NOT_FOUND,
                format!(
                    "File not found: {}, likely due to delayed block removal",
                    self.path_of_slot(slot)
                ),
            ));
        }
        let mut list: Vec<Block> = self
            .block_slots(slot)
            .iter()
            .map(|b| self.files.get(*b).block())
            .collect();
        let is_last = self.block_slots(slot).last() == Some(&stored);
        if !self.rec(slot).is_open() || !is_last || !self.files.get(stored).is_open() {
            return Ok(Plan::nothing(None));
        }
        let recovery_id = blocks.recovery_id(self.files.get(stored).id());
        if recovery_id != Some(sync.new_generation_stamp) {
            return Err(refuse(
                ex::IO,
                format!(
                    "The recovery id {} does not match current recovery id {} for block {}",
                    sync.new_generation_stamp,
                    recovery_id.map_or(0, |id| id.0),
                    block_name(&sync.block)
                ),
            ));
        }
        if sync.new_length > MAX_48 {
            return Err(refuse(
                ex::IO,
                format!("{} cannot have {} bytes", block_name(&sync.block), sync.new_length),
            ));
        }
        let file = self.rec(slot).id();
        let target = self.truncate_target(file);
        if let Some(target) = target
            && (sync.delete_block || sync.new_length != target.length)
        {
            return Err(refuse(
                ex::IO,
                format!(
                    "{} is to be truncated to {}, not to {}",
                    block_name(&sync.block),
                    target.length,
                    if sync.delete_block { 0 } else { sync.new_length }
                ),
            ));
        }
        let mut reply = None;
        if sync.delete_block {
            list.pop();
        } else if let Some(last) = list.last_mut() {
            last.generation_stamp = sync.new_generation_stamp;
            last.num_bytes = sync.new_length;
            reply = Some((file, *last));
        }
        // The client that truncated the file does not write to it any more.
        let op = if sync.close_file || target.is_some() {
            self.close_op(slot, list, now_ms)
        } else {
            self.update_blocks_op(slot, list, RpcIds::NONE)
        };
        Ok(Plan::one(op, reply))
    }
}

/// `Block.toString`.
pub(crate) fn block_name(block: &Block) -> String {
    format!("blk_{}_{}", block.id, block.generation_stamp)
}
