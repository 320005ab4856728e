//! `delete`, `concat`, `truncate` (`FSDirDeleteOp`, `FSDirConcatOp`, `FSDirTruncateOp`).

use hathi_formats::editlog::{EditOp, MAX_WRITTEN_BLOCKS};
use hathi_formats::exceptions as ex;
use hathi_formats::ids::Block;
use smallvec::SmallVec;

use crate::namespace::Namespace;
use crate::path::{DirOp, is_exact_reserved, is_reserved_inodes, is_reserved_raw, refuse};
use crate::permission::{Access, Permissions, action};
use crate::quotas::Usages;
use crate::store::slab::Slot;
use crate::sub_access::SubAccessWalk;
use crate::types::{BlockView, Ctx, Deleted, Plan, Refused, Truncated};
use crate::usage::Usage;
use crate::view::View;

use super::create::LAZY_PERSIST;
use super::lease::{LeaseTakeover, RecoverLeaseOp};

impl Namespace {
    /// `delete`. `walk` has gone through everything below `src`, when that was too much to check here. It counts only
    /// right after it [caught up](Namespace::catch_up_access).
    pub fn plan_delete(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        recursive: bool,
        walk: Option<&SubAccessWalk>,
    ) -> Result<Plan<Deleted>, Refused> {
        if is_exact_reserved(src) {
            return Err(refuse(ex::INVALID_PATH, format!("Invalid path name {src}")));
        }
        let iip = self.resolve_for(&ctx.caller, src, DirOp::WriteLink)?;
        self.check_permission(
            &ctx.caller,
            &iip,
            &Access {
                parent: action::WRITE,
                ..Access::default()
            },
        )?;
        let Some(slot) = iip.last_slot() else {
            return Ok(Plan::nothing(Deleted::Answer(false)));
        };
        if !self.check_sub_access(&ctx.caller, slot, walk)? {
            return Ok(Plan::nothing(Deleted::WalkFirst(self.rec(slot).id())));
        }
        if self.child_count(slot) > 0 {
            if !recursive {
                return Err(refuse(
                    ex::PATH_IS_NOT_EMPTY_DIRECTORY,
                    format!("`{} is non empty': Directory is not empty", iip.path()),
                ));
            }
            self.check_protected(&iip)?;
        }
        if slot == self.root() {
            return Ok(Plan::nothing(Deleted::Answer(false)));
        }
        self.check_no_snapshots_below(slot)?;
        let op = EditOp::Delete {
            path: iip.path(),
            time: ctx.now_ms as i64,
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, Deleted::Answer(true)))
    }

    /// `concat`.
    pub fn plan_concat(&self, ctx: &Ctx<'_>, target: &str, sources: &[String]) -> Result<Plan<()>, Refused> {
        if target.is_empty() {
            return Err(refuse(ex::ILLEGAL_ARGUMENT, "Target file name is empty"));
        }
        if sources.is_empty() {
            return Err(refuse(ex::ILLEGAL_ARGUMENT, "No sources given"));
        }
        for path in std::iter::once(target).chain(sources.iter().map(String::as_str)) {
            if is_reserved_raw(path) || is_reserved_inodes(path) {
                return Err(refuse(
                    ex::IO,
                    format!("Concat operation doesn't support .reserved relative path : {path}"),
                ));
            }
        }
        let iip = self.resolve_for(&ctx.caller, target, DirOp::Write)?;
        self.check_path_access(&ctx.caller, &iip, action::WRITE)?;
        self.check_concat_outside_of_zones(&iip)?;
        let slot = self.file_slot(iip.last_slot(), target)?;
        let rec = *self.rec(slot);
        if rec.is_open() {
            return Err(illegal(format!("concat: target file {target} is under construction")));
        }
        let path = iip.path();
        let mut seen: Vec<Slot> = Vec::new();
        // The resolved paths are logged, because a reader takes `//d///f` for another path.
        let mut source_paths = Vec::with_capacity(sources.len());
        let mut blocks = self.block_slots(slot).len();
        let mut more = Usage::default();
        for src in sources {
            let (src_slot, src_path) = self.check_concat_source(ctx, src, slot, &path)?;
            if seen.contains(&src_slot) {
                return Err(illegal(
                    "concat: at least two of the source files are the same".to_owned(),
                ));
            }
            let length = self.charged_length(src_slot);
            more += self.space_in(slot, length) - self.space_in(src_slot, length);
            blocks += self.block_slots(src_slot).len();
            seen.push(src_slot);
            source_paths.push(src_path);
        }
        verify_block_count(&path, blocks)?;
        self.verify_quota(rec.parent(), &more.and_inodes(-(seen.len() as i64)), None)?;
        let op = EditOp::ConcatDelete {
            target: path,
            sources: source_paths,
            time: ctx.now_ms as i64,
            rpc_ids: ctx.rpc_ids,
        };
        Ok(Plan::one(op, ()))
    }

    fn check_concat_source(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        target: Slot,
        target_path: &str,
    ) -> Result<(Slot, String), Refused> {
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        self.check_permission(
            &ctx.caller,
            &iip,
            &Access {
                target: action::READ,
                ..Access::default()
            },
        )?;
        self.check_permission(
            &ctx.caller,
            &iip,
            &Access {
                parent: action::WRITE,
                ..Access::default()
            },
        )?;
        let slot = self.file_slot(iip.last_slot(), src)?;
        let (rec, target_rec) = (self.rec(slot), self.rec(target));
        if rec.parent() != target_rec.parent() {
            return Err(illegal(format!(
                "Source file {src} is not in the same directory with the target {target_path}"
            )));
        }
        self.check_concat_unshown(slot, src)?;
        if slot == target {
            return Err(illegal(format!(
                "concat: the src file {src} is the same with the target file {target_path}"
            )));
        }
        if rec.is_open() || self.block_slots(slot).is_empty() {
            return Err(illegal(format!(
                "concat: source file {src} is invalid or empty or underConstruction"
            )));
        }
        if rec.block_size() > target_rec.block_size() {
            return Err(illegal(format!(
                "concat: source file {src} has preferred block size {} which is greater than the target file's preferred block size {}",
                rec.block_size(),
                target_rec.block_size()
            )));
        }
        if !self.same_redundancy(slot, target) {
            return Err(illegal(format!(
                "Source file {src} and target file {target_path} have different erasure coding policy"
            )));
        }
        Ok((slot, iip.path()))
    }

    /// `truncate`. When the reply is a lease recovery: as with [`Self::plan_append`].
    pub fn plan_truncate(
        &self,
        ctx: &Ctx<'_>,
        src: &str,
        new_length: u64,
        client_name: &str,
        blocks: &dyn BlockView,
    ) -> Result<Plan<Truncated>, Refused> {
        self.note_time(ctx.mono_ms);
        let iip = self.resolve_for(&ctx.caller, src, DirOp::Write)?;
        let path = iip.path();
        self.check_path_access(&ctx.caller, &iip, action::WRITE)?;
        let slot = self.file_slot(iip.last_slot(), &path)?;
        let rec = *self.rec(slot);
        if rec.is_striped() {
            return Err(refuse(
                ex::UNSUPPORTED_OPERATION,
                format!("Cannot truncate file with striped block {path}"),
            ));
        }
        if self.effective_policy(slot) == LAZY_PERSIST {
            return Err(refuse(
                ex::UNSUPPORTED_OPERATION,
                format!("Cannot truncate lazy persist file {path}"),
            ));
        }
        if let Some(truncation) = self.writers.files().truncation(rec.id()) {
            let whole = self
                .block_slots(slot)
                .split_last()
                .map_or(&[][..], |(_, before)| before);
            let before: u64 = whole.iter().map(|block| self.block_rec(*block).len()).sum();
            if before + truncation.length == new_length {
                return Ok(Plan::nothing(Truncated::UnderWay));
            }
        }
        if let LeaseTakeover::Recover(plan) = self.recover_lease(
            RecoverLeaseOp::TruncateFile,
            ctx,
            slot,
            &path,
            client_name,
            false,
            blocks,
        )? {
            return Ok(Plan {
                ops: plan.ops,
                reply: Truncated::LeaseRecovery(plan.reply),
            });
        }
        let old_length = self.file_length(slot);
        if old_length == new_length {
            return Ok(Plan::nothing(Truncated::Done));
        }
        if old_length < new_length {
            return Err(illegal(format!(
                "Cannot truncate to a larger file size. Current size: {old_length}, truncate size: {new_length}."
            )));
        }
        let mut ops = SmallVec::new();
        let (mut truncate_block, mut reply) = (None, Truncated::Done);
        let mut start = 0;
        let slots = self.block_slots(slot);
        for (n, &block_slot) in slots.iter().enumerate() {
            let block = self.block_rec(block_slot).block();
            let end = start + block.num_bytes;
            if start < new_length && new_length < end {
                let recovery_id = self.next_stamp();
                let is_copied = self.is_block_of_past(slot, block_slot);
                let named = if is_copied { self.next_block() } else { block };
                if is_copied {
                    ops.push(EditOp::AllocateBlockId { block_id: named.id });
                }
                ops.push(EditOp::SetGenstampV2 { genstamp: recovery_id });
                // The log names the stored length, and none of a copy. The new one follows from the length in the op.
                truncate_block = Some(Block {
                    generation_stamp: recovery_id,
                    ..named
                });
                let shorter = Block {
                    num_bytes: new_length - start,
                    ..named
                };
                reply = Truncated::RecoverBlock {
                    file: rec.id(),
                    block: shorter,
                    recovery_id,
                };
                // An open block is charged in full. A snapshot goes on to need the block that is copied.
                let kept = if is_copied { 0 } else { block.num_bytes };
                let more = rec.block_size().saturating_sub(kept) as i64;
                let cut = slots
                    .iter()
                    .skip(n + 1)
                    .filter(|cut| !self.is_block_of_past(slot, **cut));
                let freed = cut.map(|cut| self.block_rec(*cut).len()).sum::<u64>() as i64;
                self.verify_quota(rec.parent(), &self.space_in(slot, more - freed), None)?;
            }
            start = end;
        }
        ops.push(EditOp::Truncate {
            src: path,
            client_name: client_name.to_owned(),
            client_machine: ctx.client_machine.to_owned(),
            new_length: new_length as i64,
            time: ctx.now_ms as i64,
            truncate_block,
        });
        Ok(Plan { ops, reply })
    }
}

/// Refuses a file with more blocks than an `OP_CLOSE` can name ([`MAX_WRITTEN_BLOCKS`]), because it could never be
/// closed. Hadoop writes such an op, and nobody can read it.
pub(crate) fn verify_block_count(path: &str, blocks: usize) -> Result<(), Refused> {
    if blocks <= MAX_WRITTEN_BLOCKS {
        return Ok(());
    }
    Err(refuse(
        ex::IO,
        format!("File {path} would have {blocks} blocks; the edit log can name {MAX_WRITTEN_BLOCKS} of one file"),
    ))
}

fn illegal(message: String) -> Refused {
    refuse(ex::HADOOP_ILLEGAL_ARGUMENT, message)
}
