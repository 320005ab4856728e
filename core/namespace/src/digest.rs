//! A hash of the whole durable state, equal for equal states however they came about; and a check of the invariants.

use std::hash::{Hash, Hasher};

use foldhash::quality::FixedState;
use std::hash::BuildHasher;

use crate::namespace::Namespace;
use crate::store::inode::flag;
use crate::store::names::utf16_len;
use crate::store::slab::{NONE, Slot};
use crate::usage::Usage;

impl Namespace {
    /// Whole-state hash: equal for equal states. Slots, soft state (renew times) and what is deleted but not yet freed do
    /// not count; neither does the last txid, so that states of different logs can be compared.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut h = FixedState::with_seed(0).build_hasher();
        let c = &self.counters;
        (c.inode_id, c.block_id, c.striped_block_id, self.newest_stamp().0).hash(&mut h);
        (
            c.genstamp_v1,
            c.genstamp_v1_limit,
            c.rolling_upgrade_start,
            c.snapshot_counter,
        )
            .hash(&mut h);
        let mut stack = vec![self.root];
        while let Some(slot) = stack.pop() {
            self.digest_inode(slot, &mut h);
            stack.extend(self.children(slot).iter());
        }
        self.digest_carried(&mut h);
        h.finish()
    }

    fn digest_inode(&self, slot: Slot, h: &mut impl Hasher) {
        let rec = self.rec(slot);
        let perm = rec.perm();
        (rec.id().0, rec.flags & flag::KIND, self.name_of(slot)).hash(h);
        let parent = if slot == self.root {
            0
        } else {
            self.rec(rec.parent).id().0
        };
        (
            parent,
            perm.mode(),
            self.users.get(perm.user()),
            self.groups.get(perm.group()),
        )
            .hash(h);
        (rec.mtime(), rec.storage_policy).hash(h);
        if !rec.is_dir() {
            rec.atime().hash(h);
        }
        if rec.is_file() {
            (rec.replication, rec.block_size(), rec.is_open()).hash(h);
            for block in self.block_slots(slot) {
                let block = self.blocks.get(*block);
                (block.id().0, block.len(), block.generation_stamp().0, block.is_open()).hash(h);
            }
            if let Some(open) = self.open.get(slot) {
                (&*open.client_name, &*open.client_machine).hash(h);
            }
            if let Some(target) = self.truncate_target(rec.id()) {
                let source = target
                    .source
                    .map(|block| (block.id.0, block.num_bytes, block.generation_stamp.0));
                (target.length, source).hash(h);
            }
        } else if rec.is_dir() {
            self.quota_limits(slot).hash(h);
            for (kind, quota) in self.type_quotas(rec.id()) {
                (kind, quota).hash(h);
            }
            (rec.has(flag::MULTI_OR_SNAPSHOTTABLE), self.children(slot).len()).hash(h);
        } else if let Some(target) = self.links.get(slot) {
            target.hash(h);
        }
        if let Some(acl) = self.acls.get(slot) {
            acl.hash(h);
        }
        if let Some(xattrs) = self.xattrs.get(slot) {
            xattrs.hash(h);
        }
    }

    fn digest_carried(&self, h: &mut impl Hasher) {
        (self.secrets.current_key_id, self.secrets.sequence_number).hash(h);
        for (id, key) in &self.secrets.keys {
            (id, key.expiry_date, &key.key).hash(h);
        }
        for (sequence, (token, expiry)) in &self.secrets.tokens {
            (sequence, expiry, &token.owner, &token.renewer, &token.real_user).hash(h);
            (token.issue_date, token.max_date, token.master_key_id).hash(h);
        }
        self.cache.next_directive_id.hash(h);
        for pool in self.cache.pools.values() {
            prost_bytes(pool).hash(h);
        }
        for directive in self.cache.directives.values() {
            prost_bytes(directive).hash(h);
        }
        for policy in self.erasure_coding.policies.values() {
            prost_bytes(policy).hash(h);
        }
    }

    /// Walks everything and reports what does not hold; for tests and the simulator. Slow.
    pub fn check(&self) -> Result<(), String> {
        let mut inodes = 0usize;
        let mut blocks = 0usize;
        let mut open = 0usize;
        let mut truncations = 0usize;
        let mut stack: Vec<Slot> = self.detached.iter().copied().collect();
        stack.push(self.root);
        while let Some(slot) = stack.pop() {
            inodes += 1;
            let rec = self.rec(slot);
            let path = || self.path_of_slot(slot);
            if !rec.is_live() || self.inode_ids.get(rec.id().0) != Some(slot) {
                return Err(format!("{}: id {} does not lead to it", path(), rec.id()));
            }
            if rec.id().0 > self.counters.inode_id {
                return Err(format!("{}: id {} is above the counter", path(), rec.id()));
            }
            let is_top = slot == self.root || rec.has(flag::DETACHED);
            if !is_top && self.child(rec.parent, self.name_of(slot)) != Some(slot) {
                return Err(format!("{}: not in the index", path()));
            }
            let mut previous: Option<&[u8]> = None;
            for child in self.children(slot).iter() {
                if self.rec(child).parent != slot {
                    return Err(format!("{}: child {} has another parent", path(), self.rec(child).id()));
                }
                let name = self.name_of(child);
                if rec.longest_below() < 1 + utf16_len(name) + self.rec(child).longest_below() {
                    return Err(format!("{}: a path below is longer than it knows", path()));
                }
                if previous.is_some_and(|previous| previous >= name) {
                    return Err(format!("{}: children out of order", path()));
                }
                previous = Some(name);
                stack.push(child);
            }
            open += usize::from(rec.is_open());
            self.check_file(slot).map_err(|why| format!("{}: {why}", path()))?;
            blocks += self.block_slots(slot).len();
            if let Some(truncation) = self.truncations.get(&rec.id().0) {
                truncations += 1;
                blocks += usize::from(truncation.source.is_some());
            }
            if rec.has_quota() || slot == self.root {
                let used = self.charged_usage(slot);
                let quota = if slot == self.root {
                    Some(&self.root_quota)
                } else {
                    self.quotas.get(slot)
                };
                let kept = quota.map(|quota| Usage {
                    ns: quota.used_ns,
                    ds: quota.used_ds,
                    types: match quota.types.is_empty() {
                        true => used.types,
                        false => quota.used_types,
                    },
                });
                if kept != Some(used) {
                    return Err(format!("{}: quota usage {kept:?}, counted {used:?}", path()));
                }
            }
        }
        if inodes != self.inodes.live() || inodes != self.inode_ids.len() {
            return Err(format!("{inodes} inodes found, {} kept", self.inodes.live()));
        }
        if blocks != self.blocks.live() || blocks != self.block_ids.len() {
            return Err(format!("{blocks} blocks found, {} kept", self.blocks.live()));
        }
        if truncations != self.truncations.len() {
            return Err(format!(
                "{truncations} truncated files found, {} kept",
                self.truncations.len()
            ));
        }
        if open != self.open.len() || open != self.open_ids.len() {
            return Err(format!("{open} open files found, {} kept", self.open.len()));
        }
        Ok(())
    }

    fn check_file(&self, slot: Slot) -> Result<(), String> {
        let rec = self.rec(slot);
        let slots = self.block_slots(slot);
        for (n, block_slot) in slots.iter().enumerate() {
            let block = self.blocks.get(*block_slot);
            if block.file != slot || self.block_ids.get(block.id().0 as u64) != Some(*block_slot) {
                return Err(format!("block {} is not its own", block.id()));
            }
            if block.generation_stamp() > self.newest_stamp() && self.counters.genstamp_v1_limit == 0 {
                return Err(format!("block {} has a stamp above the counter", block.id()));
            }
            if block.is_open() && (!rec.is_open() || n + 1 != slots.len()) {
                return Err(format!("block {} is open but not last of an open file", block.id()));
            }
        }
        if let Some(truncation) = self.truncations.get(&rec.id().0) {
            let last = slots.last().map(|last| self.blocks.get(*last));
            if !rec.is_open() || last.is_none_or(|last| !last.is_open() || last.len() < truncation.length) {
                return Err(format!("no block is to be cut to {}", truncation.length));
            }
            if truncation
                .source
                .is_some_and(|source| self.blocks.get(source).file != slot)
            {
                return Err("the source of its truncation is not its own".to_owned());
            }
        }
        if rec.is_open() {
            let Some(open) = self.open.get(slot) else {
                return Err("open without a writer".to_owned());
            };
            if !self
                .leases
                .get(&open.client_name)
                .is_some_and(|lease| lease.files.contains(&rec.id().0))
            {
                return Err("open without a lease".to_owned());
            }
        }
        if rec.parent == NONE && slot != self.root {
            return Err("no parent".to_owned());
        }
        Ok(())
    }
}

fn prost_bytes(message: &impl prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}
