//! Files and their blocks: add, close, blocks, append, truncate, concat, leases.

use hathi_formats::editlog::{AddOp, CloseOp};
use hathi_formats::ids::Block;

use super::{Applied, Why, check_xattrs, inconsistent, ms};
use crate::erasure_coding::policy::ErasureCodingPolicyId;
use crate::files::block::MAX_GENERATION_STAMP;
use crate::files::check_id;
use crate::namespace::Namespace;
use crate::quotas::Usages;
use crate::snapshots::PRESENT;
use crate::store::slab::Slot;
use crate::striping::Stripes;
use crate::tree::inode::{InodeRec, MAX_48, flag};
use crate::types::{Effect, Effects};
use crate::usage::Usage;
use crate::view::View;
use crate::writers::truncation::Truncation;

fn check_block(file: &InodeRec, block: &Block) -> Result<(), Why> {
    check_id(file, block.id).map_err(inconsistent)?;
    if block.num_bytes > MAX_48 || block.generation_stamp.0 > MAX_GENERATION_STAMP {
        return Err(inconsistent(format!("block {} is out of range", block.id)));
    }
    Ok(())
}

impl Namespace {
    /// The replication of an op, within the limits that are configured now (`BlockManager.adjustReplication`). A
    /// NameNode with other limits than the one that logged the op gets another number, as in Hadoop, so such cases are
    /// counted.
    pub(crate) fn adjust_replication(&mut self, replication: i16) -> u16 {
        let (min, max) = (self.config.min_replication, self.config.max_replication.max(1));
        let logged = u16::try_from(replication).unwrap_or(0);
        let kept = logged.clamp(min.min(max), max);
        if kept != logged {
            self.adjusted_replications += 1;
            self.note_adjusted(replication, kept);
        }
        kept
    }

    pub(crate) fn apply_add(&mut self, op: &AddOp, fx: &mut Effects) -> Applied {
        check_xattrs(&op.path, &op.xattrs)?;
        let policy = match ErasureCodingPolicyId(op.erasure_coding_policy_id) {
            ErasureCodingPolicyId::REPLICATION => None,
            policy if self.striping_by(policy).is_some() => Some(policy),
            unknown => {
                let why = format!(
                    "{} has the erasure coding policy {}, which does not exist",
                    op.path, unknown.0
                );
                return Err(inconsistent(why));
            }
        };
        let existing = self.op_lookup(&op.path)?.2;
        if let Some(slot) = existing {
            if !self.rec(slot).is_file() {
                return Err(inconsistent(format!("{} exists already and is not a file", op.path)));
            }
            if !op.overwrite {
                return self.apply_add_append(slot, op, fx);
            }
            self.op_new_id(op.inode_id)?;
            let parent = self.rec(slot).parent();
            self.remove_subtree(slot, fx);
            self.touch_parent(parent, ms(op.mtime), fx);
        }
        let (parent, name) = self.op_place(&op.path)?;
        let slot = self.op_new_inode(op.inode_id, flag::FILE, parent, name, &op.permissions, ms(op.mtime))?;
        let replication = match policy {
            None => self.adjust_replication(op.replication),
            Some(_) => 0,
        };
        let rec = self.tree.rec_mut(slot);
        rec.set_atime(ms(op.atime));
        match policy {
            None => rec.set_replication(replication),
            Some(policy) => rec.set_striped(policy),
        }
        rec.set_block_size(op.block_size.max(0) as u64);
        rec.storage_policy = op.storage_policy_id;
        if !op.acl_entries.is_empty() {
            self.update_acl(slot, &op.acl_entries)?;
        }
        if !op.xattrs.is_empty() {
            self.set_xattrs(slot, crate::ops::merged_xattrs(&[], &op.xattrs));
        }
        self.open_file(slot, &op.client_name, &op.client_machine);
        self.reconcile(slot, &op.blocks, false, fx)?;
        self.touch(slot, fx);
        self.touch_parent(parent, ms(op.mtime), fx);
        Ok(())
    }

    /// The append of layouts before APPEND_NEW_BLOCK: an ADD of a file that exists.
    fn apply_add_append(&mut self, slot: Slot, op: &AddOp, fx: &mut Effects) -> Applied {
        if !self.rec(slot).is_open() {
            let new_block = self.rec(slot).is_striped();
            self.reopen(slot, &op.client_name, &op.client_machine, new_block, fx);
        }
        self.keep_attributes(slot);
        let rec = self.tree.rec_mut(slot);
        rec.set_atime(ms(op.atime));
        rec.set_mtime(ms(op.mtime));
        self.reconcile(slot, &op.blocks, false, fx)?;
        self.touch(slot, fx);
        Ok(())
    }

    pub(crate) fn apply_close(&mut self, op: &CloseOp, fx: &mut Effects) -> Applied {
        let slot = self.op_file(&op.path)?;
        if !self.rec(slot).is_open() {
            return Err(inconsistent(format!("{} is not under construction", op.path)));
        }
        self.keep_attributes(slot);
        let rec = self.tree.rec_mut(slot);
        rec.set_atime(ms(op.atime));
        rec.set_mtime(ms(op.mtime));
        self.reconcile(slot, &op.blocks, true, fx)?;
        debug_assert!(
            !self.is_truncated(slot),
            "a file is closed when its truncate is carried out"
        );
        self.writers.close(&mut self.tree, slot);
        self.touch(slot, fx);
        Ok(())
    }

    pub(crate) fn apply_update_blocks(&mut self, path: &str, blocks: &[Block], fx: &mut Effects) -> Applied {
        let slot = self.op_file(path)?;
        self.reconcile(slot, blocks, false, fx)?;
        self.touch(slot, fx);
        Ok(())
    }

    /// Charges the difference between what a file costs now and `before`.
    pub(crate) fn recharge(&mut self, slot: Slot, before: Usage) {
        let change = self.file_usage(slot) - before;
        let parent = self.rec(slot).parent();
        self.charge(parent, change);
    }

    fn complete_block(&mut self, file: Slot, block: Slot, fx: &mut Effects) {
        self.files.set_open(&mut self.sum, block, false);
        self.end_truncation(file, fx);
        let rec = self.rec(file);
        fx.effects.push(Effect::BlockCompleted {
            block: self.files.get(block).block(),
            file: rec.id(),
        });
    }

    /// Makes the block list of a file the one of the op (`FSEditLogLoader.updateBlocks`).
    fn reconcile(&mut self, file: Slot, new: &[Block], complete_last: bool, fx: &mut Effects) -> Applied {
        for block in new {
            check_block(self.rec(file), block)?;
        }
        self.settle(file);
        let before = self.file_usage(file);
        let old: Vec<Slot> = self.block_slots(file).to_vec();
        let same_count = old.len() == new.len();
        for (n, (slot, block)) in old.iter().zip(new).enumerate() {
            let is_last = n + 1 == new.len();
            let was = *self.files.get(*slot);
            let stamp_may_change = same_count && is_last;
            if was.id() != block.id || (was.generation_stamp() != block.generation_stamp && !stamp_may_change) {
                return Err(inconsistent(format!(
                    "block #{n} is {}_{} here and {}_{} in the op",
                    was.id(),
                    was.generation_stamp(),
                    block.id,
                    block.generation_stamp
                )));
            }
            let changed = was.len() != block.num_bytes || was.generation_stamp() != block.generation_stamp;
            if changed {
                self.files.change(&mut self.sum, *slot, |rec| {
                    rec.set_len(block.num_bytes);
                    rec.set_generation_stamp(block.generation_stamp);
                });
                self.raise_stamp(block.generation_stamp);
            }
            if was.is_open() && (!is_last || complete_last) {
                self.complete_block(file, *slot, fx);
            } else if changed {
                fx.effects.push(Effect::BlockUpdated {
                    block: *block,
                    file: self.rec(file).id(),
                    old_generation_stamp: was.generation_stamp(),
                });
            }
        }
        if new.len() < old.len() {
            if !self.rec(file).is_open() {
                return Err(inconsistent(
                    "a block would be removed from a file that is not under construction",
                ));
            }
            if new.len() + 1 != old.len() {
                return Err(inconsistent("more than one block would be removed"));
            }
            let mut blocks = old.clone();
            let cut = blocks.split_off(new.len());
            self.cut_blocks(file, blocks, &cut, fx);
            self.end_truncation(file, fx);
            // The block that is last now was completed when the removed one was added.
        }
        for (n, block) in new.iter().enumerate().skip(old.len()) {
            let open = !complete_last && n + 1 == new.len();
            self.add_new_block(file, block, open, fx)?;
        }
        debug_assert_eq!(
            self.block_slots(file).len(),
            new.len(),
            "a file has the blocks of the op"
        );
        self.recharge(file, before);
        Ok(())
    }

    /// A file keeps these blocks, and loses those that are `cut`.
    fn cut_blocks(&mut self, file: Slot, blocks: Vec<Slot>, cut: &[Slot], fx: &mut Effects) {
        if cut.is_empty() {
            return;
        }
        self.files.replace(&mut self.tree, &mut self.sum, file, blocks);
        let mut freed = Vec::new();
        self.free_unshown(file, cut, &mut freed);
        let removed = freed.into_iter().map(|block| Effect::BlockRemoved { block });
        fx.effects.extend(removed);
    }

    fn add_new_block(&mut self, file: Slot, block: &Block, open: bool, fx: &mut Effects) -> Applied {
        if self.files.find(block.id).is_some() {
            return Err(inconsistent(format!("block {} belongs to a file already", block.id)));
        }
        self.files.push(&mut self.tree, &mut self.sum, file, *block, open);
        self.raise_stamp(block.generation_stamp);
        let counters = &mut self.counters;
        let last_id = match block.id.is_striped() {
            true => &mut counters.striped_block_id,
            false => &mut counters.block_id,
        };
        *last_id = (*last_id).max(block.id.0);
        let id = self.rec(file).id();
        fx.effects.push(Effect::BlockAdded {
            block: *block,
            file: id,
            layout: self.wanted_layout(file),
        });
        if !open {
            // For logs in which all blocks of a file come at once.
            fx.effects.push(Effect::BlockCompleted {
                block: *block,
                file: id,
            });
        }
        Ok(())
    }

    pub(crate) fn apply_add_block(
        &mut self,
        path: &str,
        penultimate: Option<&Block>,
        last: &Block,
        fx: &mut Effects,
    ) -> Applied {
        let file = self.op_file(path)?;
        check_block(self.rec(file), last)?;
        if !self.rec(file).is_open() {
            return Err(inconsistent(format!("{path} is not under construction")));
        }
        let rec = *self.rec(file);
        let pref = self.full_block(file) as i64;
        let mut change = pref;
        match (penultimate, self.block_slots(file).last().copied()) {
            (Some(block), Some(slot)) => {
                check_block(&rec, block)?;
                let was = *self.files.get(slot);
                if was.id() != block.id || was.generation_stamp() != block.generation_stamp {
                    return Err(inconsistent(format!(
                        "the last block of {path} is {}_{}, not {}_{}",
                        was.id(),
                        was.generation_stamp(),
                        block.id,
                        block.generation_stamp
                    )));
                }
                change -= self.charged_block(file, &was) as i64;
                self.files
                    .change(&mut self.sum, slot, |rec| rec.set_len(block.num_bytes));
                if was.is_open() {
                    self.complete_block(file, slot, fx);
                }
                change += self.charged_block(file, self.files.get(slot)) as i64;
            }
            (None, None) => {}
            (Some(_), None) => return Err(inconsistent(format!("{path} has no block yet"))),
            (None, Some(_)) => return Err(inconsistent(format!("{path} has blocks already"))),
        }
        self.add_new_block(file, last, true, fx)?;
        self.charge(rec.parent(), self.space_in(file, change));
        self.touch(file, fx);
        Ok(())
    }

    /// Opens a closed file for writing (`FSDirAppendOp.prepareFileForAppend`).
    fn reopen(&mut self, slot: Slot, client_name: &str, client_machine: &str, new_block: bool, fx: &mut Effects) {
        self.keep_attributes(slot);
        let before = self.file_usage(slot);
        self.open_file(slot, client_name, client_machine);
        let file = self.rec(slot).id();
        if !new_block
            && let Some(last) = self.block_slots(slot).last().copied()
            && self.files.get(last).len() < self.rec(slot).block_size()
        {
            self.files.set_open(&mut self.sum, last, true);
            fx.effects.push(Effect::BlockReopened {
                block: self.files.get(last).block(),
                file,
            });
        }
        self.recharge(slot, before);
    }

    pub(crate) fn apply_append(
        &mut self,
        path: &str,
        client_name: &str,
        client_machine: &str,
        new_block: bool,
        fx: &mut Effects,
    ) -> Applied {
        let slot = self.op_file(path)?;
        if self.rec(slot).is_open() {
            return Err(inconsistent(format!("{path} is under construction already")));
        }
        if self.rec(slot).is_striped() && !new_block {
            return Err(inconsistent(format!(
                "{path} is striped, and its last block can't grow"
            )));
        }
        self.reopen(slot, client_name, client_machine, new_block, fx);
        self.touch(slot, fx);
        Ok(())
    }

    pub(crate) fn apply_truncate(
        &mut self,
        path: &str,
        client_name: &str,
        client_machine: &str,
        new_length: i64,
        time: i64,
        truncate_block: Option<&Block>,
        fx: &mut Effects,
    ) -> Applied {
        let slot = self.op_file(path)?;
        if self.rec(slot).is_open() {
            return Err(inconsistent(format!("{path} is under construction already")));
        }
        if self.rec(slot).is_striped() {
            return Err(inconsistent(format!("{path} is striped, and can't be cut")));
        }
        self.keep_blocks(slot);
        let before = self.file_usage(slot);
        let new_length = ms(new_length);
        let mut kept = 0;
        let mut count = 0;
        for block in self.block_slots(slot) {
            if kept >= new_length {
                break;
            }
            kept += self.files.get(*block).len();
            count += 1;
        }
        let mut blocks = self.block_slots(slot).to_vec();
        let cut = blocks.split_off(count.min(blocks.len()));
        self.cut_blocks(slot, blocks, &cut, fx);
        self.tree.rec_mut(slot).set_mtime(ms(time));
        if kept != new_length {
            let Some(block) = truncate_block else {
                return Err(inconsistent(format!(
                    "{path} would be cut inside a block that the op does not name"
                )));
            };
            check_block(self.rec(slot), block)?;
            self.truncate_last(slot, block, kept.saturating_sub(new_length), fx)?;
            self.open_file(slot, client_name, client_machine);
        } else if truncate_block.is_some() {
            return Err(inconsistent(format!(
                "{path} is cut at a block's end but the op names a block"
            )));
        }
        self.recharge(slot, before);
        self.touch(slot, fx);
        Ok(())
    }

    /// The last block will be shortened by DataNodes, in place or as a copy with another id.
    fn truncate_last(&mut self, slot: Slot, block: &Block, cut: u64, fx: &mut Effects) -> Applied {
        let file = self.rec(slot).id();
        let mut slots = self.block_slots(slot).to_vec();
        let Some(last) = slots.pop() else {
            return Err(inconsistent("there is no block to cut"));
        };
        let old = self.files.get(last).block();
        let length = old.num_bytes.saturating_sub(cut);
        debug_assert!(length <= old.num_bytes, "a truncate makes no block longer");
        debug_assert!(
            !self.is_truncated(slot),
            "a file that waits for DataNodes is open, and not truncated again"
        );
        if old.id == block.id {
            // The stored length and stamp stay until the recovery has ended.
            self.files.set_open(&mut self.sum, last, true);
            self.raise_stamp(block.generation_stamp);
            self.begin_truncation(slot, Truncation { length, source: None });
            fx.effects.push(Effect::BlockReopened { block: old, file });
            return Ok(());
        }
        // The source leaves the list of the file but remains a block of the file. Otherwise DataNodes would be told to
        // delete it.
        self.files.replace(&mut self.tree, &mut self.sum, slot, slots);
        let copy = Block {
            num_bytes: length,
            ..*block
        };
        self.add_new_block(slot, &copy, true, fx)?;
        let source = Some(last);
        self.begin_truncation(slot, Truncation { length, source });
        Ok(())
    }

    pub(crate) fn apply_concat(&mut self, target: &str, sources: &[String], time: i64, fx: &mut Effects) -> Applied {
        let target_slot = self.op_file(target)?;
        self.keep_attributes(target_slot);
        let before = self.file_usage(target_slot);
        let parent = self.rec(target_slot).parent();
        let mut all: Vec<Slot> = self.block_slots(target_slot).to_vec();
        for source in sources {
            let slot = self.op_file(source)?;
            if slot == target_slot {
                return Err(inconsistent(format!("{source} is the target itself")));
            }
            if self.shown_by(slot, PRESENT).is_some() {
                return Err(inconsistent(format!("a snapshot shows {source}")));
            }
            if !self.same_redundancy(slot, target_slot) {
                return Err(inconsistent(format!(
                    "{source} has another erasure coding policy than {target}"
                )));
            }
            let space = self.file_usage(slot);
            let moved: Vec<Slot> = self.block_slots(slot).to_vec();
            self.files.replace(&mut self.tree, &mut self.sum, slot, Vec::new());
            let source_parent = self.rec(slot).parent();
            self.charge(source_parent, -space);
            self.files.give(&moved, target_slot);
            all.extend(moved);
            self.remove_subtree(slot, fx);
            self.touch_parent(source_parent, ms(time), fx);
        }
        self.files.replace(&mut self.tree, &mut self.sum, target_slot, all);
        self.recharge(target_slot, before);
        self.tree.rec_mut(target_slot).set_mtime(ms(time));
        fx.effects.push(Effect::BlocksMoved {
            target: self.rec(target_slot).id(),
            replication: self.wanted_replication(target_slot),
        });
        self.touch(target_slot, fx);
        self.touch_parent(parent, ms(time), fx);
        Ok(())
    }

    pub(crate) fn apply_reassign_lease(&mut self, path: &str, new_holder: &str, fx: &mut Effects) -> Applied {
        let slot = self.op_file(path)?;
        let Some(open) = self.writers.get(slot).cloned() else {
            return Err(inconsistent(format!("{path} is not under construction")));
        };
        self.writers.close(&mut self.tree, slot);
        self.open_file(slot, new_holder, &open.client_machine);
        self.writers.note_reassigned(&self.tree, slot);
        self.touch(slot, fx);
        Ok(())
    }
}
