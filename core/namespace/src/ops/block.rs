//! Writing files: `append`, `addBlock`, `abandonBlock`, `complete`, `fsync`, and the pipeline's stamps
//! (`FSDirAppendOp`, `FSDirWriteFileOp`, `FSNamesystem.bumpBlockGenerationStamp`, `updatePipeline`).

use hathi_formats::editlog::{EditOp, MAX_WRITTEN_BLOCKS, RpcIds};
use hathi_formats::exceptions as ex;
use hathi_formats::ids::{Block, BlockId, InodeId};
use smallvec::smallvec;

use crate::namespace::Namespace;
use crate::path::{DirOp, refuse};
use crate::permission::action;
use crate::quotas::Usages;
use crate::status::Statuses;
use crate::store::slab::Slot;
use crate::striping::{BlockLayout, Stripes};
use crate::tree::inode::MAX_48;
use crate::types::{AddBlockCheck, AddedBlock, AppendOutcome, BlockView, Completed, Ctx, FileStatus, Plan, Refused};
use crate::view::View;

use super::create::LAZY_PERSIST;
use super::lease::{LeaseTakeover, RecoverLeaseOp, block_name};
use super::remove::verify_block_count;

/// `Block.matchingIdAndGenStamp`.
fn matching(a: Option<&Block>, b: Option<&Block>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.id == b.id && a.generation_stamp == b.generation_stamp,
        _ => false,
    }
}

fn name_or_null(block: Option<&Block>) -> String {
    block.map_or_else(|| "null".to_owned(), block_name)
}

/// Whether addBlock goes on, or repeats itself.
enum FileState {
    Fresh,
    Retry(Block),
}

impl Namespace {
    pub(crate) fn file_blocks(&self, slot: Slot) -> Vec<Block> {
        self.block_slots(slot)
            .iter()
            .map(|b| self.files.get(*b).block())
            .collect()
    }

    fn last_two(&self, slot: Slot) -> (Option<Block>, Option<Block>, bool) {
        let slots = self.block_slots(slot);
        let at = |back: usize| slots.len().checked_sub(back).map(|n| self.files.get(slots[n]));
        let last = at(1);
        (
            at(2).map(|rec| rec.block()),
            last.map(|rec| rec.block()),
            last.is_some_and(|rec| rec.is_open()),
        )
    }

    /// `append`. When the reply is a lease recovery: apply the ops; after `Closed` plan again, else answer with
    /// [`RecoverLeaseOp::recovery_in_progress`].
    pub fn plan_append(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        client_name: &str,
        new_block: bool,
        blocks: &dyn BlockView,
    ) -> Result<Plan<AppendOutcome>, Refused> {
        self.note_time(ctx.mono_ms);
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        let path = iip.path();
        if iip.last_slot().is_some_and(|slot| self.rec(slot).is_dir()) {
            return Err(refuse(
                ex::FILE_ALREADY_EXISTS,
                format!("Cannot append to directory {path}; already exists as a directory."),
            ));
        }
        self.check_path_access(&ctx.caller, &iip, action::WRITE)?;
        let Some(slot) = iip.last_slot() else {
            return Err(refuse(
                ex::FILE_NOT_FOUND,
                format!(
                    "Failed to append to non-existent file {path} for client {}",
                    ctx.client_machine
                ),
            ));
        };
        self.file_slot(Some(slot), &path)?;
        if self.rec(slot).is_striped() && !new_block {
            return Err(refuse(
                ex::UNSUPPORTED_OPERATION,
                "Append on EC file without new block is not supported. Use NEW_BLOCK create flag while appending file.",
            ));
        }
        if self.effective_policy(slot) == LAZY_PERSIST {
            return Err(refuse(
                ex::UNSUPPORTED_OPERATION,
                format!("Cannot append to lazy persist file {path}"),
            ));
        }
        if let LeaseTakeover::Recover(plan) =
            self.recover_lease(RecoverLeaseOp::AppendFile, ctx, slot, &path, client_name, false, blocks)?
        {
            return Ok(Plan {
                ops: plan.ops,
                reply: AppendOutcome::LeaseRecovery(plan.reply),
            });
        }
        verify_block_count(&path, self.block_slots(slot).len())?;
        let rec = *self.rec(slot);
        let (_, last, _) = self.last_two(slot);
        let mut reply = AppendOutcome::Opened {
            file: rec.id(),
            last: None,
        };
        if let Some(last) = last {
            if !blocks.is_min_replicated(last.id) {
                return Err(refuse(
                    ex::RETRIABLE,
                    format!(
                        "{}: append: lastBlock={} of src={path} is COMMITTED but not yet COMPLETE.",
                        ex::NOT_REPLICATED_YET,
                        block_name(&last)
                    ),
                ));
            }
            if !blocks.is_sufficiently_replicated(last.id) {
                return Err(refuse(
                    ex::IO,
                    format!(
                        "append: lastBlock={} of src={path} is not sufficiently replicated yet.",
                        block_name(&last)
                    ),
                ));
            }
            let partial = last.num_bytes < rec.block_size();
            let more = match rec.is_striped() {
                true => 0,
                false => rec.block_size().saturating_sub(last.num_bytes),
            };
            let more = self.space_in(slot, more as i64);
            self.verify_quota(rec.parent(), &more, None)?;
            if partial && !new_block {
                reply = AppendOutcome::Opened {
                    file: rec.id(),
                    last: Some(last),
                };
            }
        }
        let op = EditOp::Append {
            path,
            client_name: client_name.to_owned(),
            client_machine: ctx.client_machine.to_owned(),
            new_block,
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, reply))
    }

    /// `analyzeFileState`.
    fn analyze(&self, slot: Slot, src: &str, previous: Option<&Block>) -> Result<FileState, Refused> {
        let (penultimate, last, open) = self.last_two(slot);
        if matching(previous, last.as_ref()) {
            return Ok(FileState::Fresh);
        }
        if let Some(last) = last {
            let full = last.num_bytes >= self.rec(slot).block_size();
            if previous.is_none() && full && !open {
                // Appending to a file that ends on a block boundary.
                return Ok(FileState::Fresh);
            }
            if matching(penultimate.as_ref(), previous) {
                if last.num_bytes != 0 {
                    return Err(refuse(
                        ex::IO,
                        format!(
                            "Request looked like a retry to allocate block {} but it already contains {} bytes",
                            block_name(&last),
                            last.num_bytes
                        ),
                    ));
                }
                return Ok(FileState::Retry(last));
            }
        }
        Err(refuse(
            ex::IO,
            format!(
                "Cannot allocate block in {src}: passed 'previous' block {} does not match actual last block in file {}",
                name_or_null(previous),
                name_or_null(last.as_ref())
            ),
        ))
    }

    /// The last block is DataNodes' to agree on, or a truncate has decided what it becomes: its writer may not end it
    /// (`BlockManager.commitOrCompleteLastBlock`).
    fn refuse_under_recovery(&self, slot: Slot, client: Option<&Block>, blocks: &dyn BlockView) -> Result<(), Refused> {
        let (_, last, open) = self.last_two(slot);
        if let (Some(client), Some(last), true) = (client, last, open)
            && (blocks.is_under_recovery(last.id) || self.is_truncated(slot))
        {
            return Err(refuse(
                ex::IO,
                format!(
                    "Commit or complete block {}, whereas it is under recovery.",
                    block_name(client)
                ),
            ));
        }
        Ok(())
    }

    /// First half of `addBlock`: validates. `file` 0 = unknown (resolve `src`). `previous`: the client's last block.
    pub fn check_add_block(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        file: InodeId,
        client_name: &str,
        previous: Option<Block>,
        blocks: &dyn BlockView,
    ) -> Result<AddBlockCheck, Refused> {
        let (slot, path) = self.resolve_file(&ctx.caller, src, file)?;
        let slot = self.check_lease(slot, &path, file, client_name)?;
        let rec = *self.rec(slot);
        self.refuse_under_recovery(slot, previous.as_ref(), blocks)?;
        if let FileState::Retry(last) = self.analyze(slot, &path, previous.as_ref())? {
            return Ok(AddBlockCheck::Retry {
                file: rec.id(),
                last,
                offset: self.file_length(slot),
            });
        }
        let slots = self.block_slots(slot);
        if let Some(n) = slots.len().checked_sub(2)
            && !blocks.is_min_replicated(self.files.get(slots[n]).id())
        {
            return Err(refuse(ex::NOT_REPLICATED_YET, format!("Not replicated yet: {path}")));
        }
        if slots.len() >= self.config.max_blocks_per_file.min(MAX_WRITTEN_BLOCKS) {
            return Err(refuse(
                ex::IO,
                format!(
                    "File has reached the limit on maximum number of blocks (dfs.namenode.fs-limits.max-blocks-per-file): {} >= {}",
                    slots.len(),
                    self.config.max_blocks_per_file
                ),
            ));
        }
        Ok(AddBlockCheck::Allocate {
            file: rec.id(),
            layout: match self.striping(slot) {
                None => BlockLayout::Replicas(rec.replication()),
                Some(striping) => BlockLayout::Striped(striping),
            },
            block_size: rec.block_size(),
            storage_policy: self.effective_policy(slot),
            client_machine: self
                .writers
                .get(slot)
                .map_or_else(String::new, |open| open.client_machine.to_string()),
        })
    }

    /// The last block with the length the client gives it (`BlockManager.commitBlock`), if it is still open.
    fn committed(&self, slot: Slot, client: Option<&Block>) -> Result<Option<Block>, Refused> {
        let (_, last, open) = self.last_two(slot);
        let (Some(client), Some(last)) = (client, last) else {
            return Ok(None);
        };
        if !open {
            return Ok(None);
        }
        if client.id != last.id || client.generation_stamp != last.generation_stamp {
            return Err(refuse(
                ex::IO,
                format!(
                    "Commit block with mismatching GS. NN has {}, client submits {}",
                    block_name(&last),
                    block_name(client)
                ),
            ));
        }
        if client.num_bytes < last.num_bytes || client.num_bytes > MAX_48 {
            return Err(refuse(
                ex::IO,
                format!(
                    "commitBlock length is less than the stored one {} vs. {}",
                    client.num_bytes, last.num_bytes
                ),
            ));
        }
        Ok(Some(*client))
    }

    /// Second half of `addBlock`: allocates id and stamp (ALLOCATE_BLOCK_ID, SET_GENSTAMP_V2, ADD_BLOCK). Call under
    /// the same lock as, or after another, [`Self::check_add_block`].
    pub fn plan_add_block(
        &self,
        file: InodeId,
        client_name: &str,
        previous: Option<Block>,
    ) -> Result<Plan<AddedBlock>, Refused> {
        let slot = self.slot(file);
        let path = slot.map_or_else(String::new, |slot| self.path_of_slot(slot));
        let slot = self.check_lease(slot, &path, file, client_name)?;
        if let FileState::Retry(last) = self.analyze(slot, &path, previous.as_ref())? {
            let offset = self.file_length(slot);
            return Ok(Plan::nothing(AddedBlock {
                file,
                block: last,
                offset,
                committed: None,
            }));
        }
        let rec = *self.rec(slot);
        let committed = self.committed(slot, previous.as_ref())?;
        self.verify_quota(rec.parent(), &self.space_in(slot, self.full_block(slot) as i64), None)?;
        let (_, last, _) = self.last_two(slot);
        let penultimate = committed.or(last);
        let mut offset = self.file_length(slot);
        if let (Some(committed), Some(last)) = (committed, last) {
            offset = offset - last.num_bytes + committed.num_bytes;
        }
        let block = match rec.is_striped() {
            true => self.next_group()?,
            false => self.next_block(),
        };
        let ops = smallvec![
            EditOp::AllocateBlockId { block_id: block.id },
            EditOp::SetGenstampV2 {
                genstamp: block.generation_stamp
            },
            EditOp::AddBlock {
                path,
                penultimate,
                last: block,
                rpc_ids: RpcIds::NONE
            },
        ];
        Ok(Plan {
            ops,
            reply: AddedBlock {
                file,
                block,
                offset,
                committed,
            },
        })
    }

    /// Checks of `getAdditionalDatanode`: gives the file's status.
    pub fn check_additional_datanode(
        &self,
        src: &str,
        file: InodeId,
        client_name: &str,
    ) -> Result<FileStatus<'_>, Refused> {
        let (slot, path) = match file.0 {
            0 => {
                let iip = self.resolve(src)?;
                iip.check_is_present()?;
                (iip.last_slot(), iip.path())
            }
            _ => {
                let slot = self.slot(file);
                (
                    slot,
                    slot.map_or_else(|| src.to_owned(), |slot| self.path_of_slot(slot)),
                )
            }
        };
        let slot = self.check_lease(slot, &path, file, client_name)?;
        if self.rec(slot).is_striped() {
            // Each internal block has one DataNode, and a client goes on without those that it has lost.
            return Err(refuse(
                ex::UNSUPPORTED_OPERATION,
                format!("Cannot add a datanode to a striped block of {path}"),
            ));
        }
        Ok(self.status_of(slot, None))
    }

    /// `abandonBlock`: a block that is not the last one (any more) is no error.
    pub fn plan_abandon_block(
        &self,
        ctx: &Ctx<'_>,
        block: Block,
        src: &str,
        file: InodeId,
        client_name: &str,
    ) -> Result<Plan<()>, Refused> {
        let (slot, path) = self.resolve_file(&ctx.caller, src, file)?;
        let slot = self.check_lease(slot, &path, file, client_name)?;
        let mut list = self.file_blocks(slot);
        match list.last() {
            Some(last) if last.id == block.id => {
                if self.is_truncated(slot) {
                    return Err(refuse(
                        ex::IO,
                        format!("Cannot abandon {}: it is being truncated", block_name(&block)),
                    ));
                }
                list.pop();
                Ok(Plan::one(self.update_blocks_op(slot, list, RpcIds::NONE), ()))
            }
            _ => Ok(Plan::nothing(())),
        }
    }

    /// `complete`. When `committed` is given, the block manager commits it whether or not `done`.
    pub fn plan_complete(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        file: InodeId,
        client_name: &str,
        last: Option<Block>,
        blocks: &dyn BlockView,
    ) -> Result<Plan<Completed>, Refused> {
        let (found, path) = self.resolve_file(&ctx.caller, src, file)?;
        let slot = match self.check_lease(found, &path, file, client_name) {
            Ok(slot) => slot,
            Err(refused) => {
                // A retried call whose first answer was lost.
                if refused.is(ex::LEASE_EXPIRED)
                    && let Some(slot) = found.filter(|s| self.rec(*s).is_file() && !self.rec(*s).is_open())
                    && matching(last.as_ref(), self.last_two(slot).1.as_ref())
                {
                    let file = self.rec(slot).id();
                    return Ok(Plan::nothing(Completed {
                        file,
                        done: true,
                        committed: None,
                    }));
                }
                return Err(refused);
            }
        };
        let file = self.rec(slot).id();
        let mut list = self.file_blocks(slot);
        let (_, _, open) = self.last_two(slot);
        let not_yet = |committed| {
            Ok(Plan::nothing(Completed {
                file,
                done: false,
                committed,
            }))
        };
        if let Some(n) = list.len().checked_sub(2)
            && !blocks.is_min_replicated(list[n].id)
        {
            return not_yet(None);
        }
        self.refuse_under_recovery(slot, last.as_ref(), blocks)?;
        let committed = self.committed(slot, last.as_ref())?;
        if let Some(end) = list.last_mut() {
            match committed {
                Some(block) => end.num_bytes = block.num_bytes,
                None if open => {
                    // Committed by an earlier call whose answer was false; or the client names no block, and what
                    // DataNodes have reported is what the recovery of its lease would find.
                    let length = blocks.committed_length(end.id).or_else(|| {
                        let asked = last.is_none() && !self.is_truncated(slot);
                        asked.then(|| blocks.finalized_length(end.id)).flatten()
                    });
                    match length.filter(|length| *length >= end.num_bytes) {
                        Some(length) => end.num_bytes = length,
                        None => return not_yet(None),
                    }
                }
                None => {}
            }
        }
        if !list.iter().all(|block| blocks.is_min_replicated(block.id)) {
            return not_yet(committed);
        }
        Ok(Plan::one(
            self.close_op(slot, list, ctx.now_ms),
            Completed {
                file,
                done: true,
                committed,
            },
        ))
    }

    /// `fsync`: `last_block_length` -1 = unknown. The call names no block. `may_be_of` tells whether the length can be the
    /// one of this block.
    pub fn plan_fsync(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        file: InodeId,
        client_name: &str,
        last_block_length: i64,
        may_be_of: impl Fn(BlockId) -> bool,
    ) -> Result<Plan<()>, Refused> {
        let (slot, path) = self.resolve_file(&ctx.caller, src, file)?;
        let slot = self.check_lease(slot, &path, file, client_name)?;
        let mut list = self.file_blocks(slot);
        let (_, _, open) = self.last_two(slot);
        if let Some(last) = list.last_mut()
            && open
            && last_block_length > 0
            && !self.is_truncated(slot)
            && may_be_of(last.id)
        {
            // A call that was overtaken by a later one must not take back what that one has made known.
            last.num_bytes = last.num_bytes.max(last_block_length as u64).min(MAX_48);
        }
        Ok(Plan::one(self.update_blocks_op(slot, list, RpcIds::NONE), ()))
    }

    /// `checkUCBlock`: the open file this block is the open last block of.
    fn check_open_block(&self, block: &Block, client_name: &str) -> Result<Slot, Refused> {
        let Some(stored) = self.files.find(block.id) else {
            return Err(refuse(ex::IO, format!("{} does not exist.", block_name(block))));
        };
        let rec = self.files.get(stored);
        if !rec.is_open() {
            return Err(refuse(
                ex::IO,
                format!(
                    "Unexpected BlockUCState: {} is COMPLETE but not UNDER_CONSTRUCTION",
                    block_name(block)
                ),
            ));
        }
        let file = rec.file();
        if self.is_truncated(file) {
            return Err(refuse(
                ex::IO,
                format!(
                    "Unexpected BlockUCState: {} is UNDER_RECOVERY but not UNDER_CONSTRUCTION",
                    block_name(block)
                ),
            ));
        }
        let Some(open) = self.writers.get(file).filter(|_| self.tree.is_attached(file)) else {
            return Err(refuse(
                ex::IO,
                format!(
                    "The file {} belonged to does not exist or it is not under construction.",
                    block_name(block)
                ),
            ));
        };
        if &*open.client_name != client_name {
            return Err(refuse(
                ex::LEASE_EXPIRED,
                format!(
                    "Lease mismatch: {} is accessed by a non lease holder {client_name}",
                    block_name(block)
                ),
            ));
        }
        Ok(file)
    }

    /// `updateBlockForPipeline`: the block with its new stamp. The caller has made sure that the block is not committed
    /// or under recovery.
    pub fn plan_update_block_for_pipeline(&self, block: Block, client_name: &str) -> Result<Plan<Block>, Refused> {
        self.check_open_block(&block, client_name)?;
        let generation_stamp = self.next_stamp();
        Ok(Plan::one(
            EditOp::SetGenstampV2 {
                genstamp: generation_stamp,
            },
            Block {
                generation_stamp,
                ..block
            },
        ))
    }

    /// `updatePipeline`: the file.
    pub fn plan_update_pipeline(
        &self,
        ctx: &Ctx<'_>,
        client_name: &str,
        old: Block,
        new: Block,
    ) -> Result<Plan<InodeId>, Refused> {
        let slot = self.check_open_block(&old, client_name)?;
        let mut list = self.file_blocks(slot);
        let Some(last) = list.last_mut().filter(|last| last.id == old.id && new.id == old.id) else {
            return Err(refuse(
                ex::IO,
                format!(
                    "{} and {} has different block identifier",
                    block_name(&new),
                    block_name(&old)
                ),
            ));
        };
        if new.generation_stamp <= last.generation_stamp {
            return Err(refuse(
                ex::IO,
                format!(
                    "Update {} but the new block {} does not have a larger generation stamp than the last block {}",
                    block_name(&old),
                    block_name(&new),
                    block_name(last)
                ),
            ));
        }
        if new.num_bytes < last.num_bytes || new.num_bytes > MAX_48 {
            return Err(refuse(
                ex::IO,
                format!(
                    "Update {} (size={}) to a smaller size block {} (size={})",
                    block_name(&old),
                    old.num_bytes,
                    block_name(&new),
                    new.num_bytes
                ),
            ));
        }
        if new.generation_stamp > self.newest_stamp() {
            return Err(refuse(
                ex::IO,
                format!(
                    "Update {} to a generation stamp that was never handed out",
                    block_name(&new)
                ),
            ));
        }
        last.generation_stamp = new.generation_stamp;
        last.num_bytes = new.num_bytes;
        Ok(Plan::one(
            self.update_blocks_op(slot, list, ctx.rpc_ids),
            self.rec(slot).id(),
        ))
    }
}
