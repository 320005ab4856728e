//! A hash of the whole durable state, equal for equal states however they came about.

use std::hash::{Hash, Hasher};

use foldhash::quality::FixedState;
use std::hash::BuildHasher;

use crate::namespace::Namespace;
use crate::store::inode::flag;
use crate::store::slab::Slot;

impl Namespace {
    /// Hash of the whole state, equal for equal states. Slots, soft state (renewal times), and deleted inodes that are
    /// not freed do not count. Neither does the last transaction, so that states of different logs can be compared.
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
                let reassigned = self.reassigned.contains(&rec.id().0);
                (&*open.client_name, &*open.client_machine, reassigned).hash(h);
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
}

fn prost_bytes(message: &impl prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}
