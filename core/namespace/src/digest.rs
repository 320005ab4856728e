//! The digest of the durable state, equal for equal states however they came about, kept up to date by every op.
//!
//! It is the wrapping sum over a hash of each fact ([`terms`]): of each inode, of its parent, of each block and its place
//! in the file, of each ACL, quota, writer and so on, of the counters, and of what is only carried. A sum, so that an op
//! pays for what it changes and not for what there is, and so that threads may add up the parts of an image in any
//! order. No inode has any memory for it.
//!
//! How it is kept, so that no op can forget it:
//! - every inode that an op finds by a path ([`Namespace::op_lookup`]), makes or notes as a parent is subtracted before
//!   anything of it changes ([`Namespace::begin_change`]), and added at the end of the op as it is then;
//! - blocks are reached only through functions that change the sum with them;
//! - [`Namespace::check`] compares the sum with a walk over everything.
//!
//! Slots, soft state (renewal times) and deleted inodes that are not freed do not count. Neither does the last
//! transaction, so that states of different logs can be compared.

pub(crate) mod marks;
pub(crate) mod terms;

use hathi_formats::editlog::EditOp;
use prost::Message;

use crate::feature::{Cache, ErasureCoding, Secrets};
use crate::namespace::{Counters, Namespace};
use crate::store::inode::{BlockRec, InodeRec, flag};
use crate::store::slab::Slot;
use marks::{Attestation, Comparison, MARK_EVERY_TXNS, Mark};
use terms::{DIGEST_VERSION, Fact, Term};

impl Namespace {
    /// The digest by a walk over everything: for tests. Replicas compare marks.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.walked_sum([self.root]).wrapping_add(self.counters_term())
    }

    /// Counts everything below the root, of which nothing was counted yet.
    pub(crate) fn count_all(&mut self) {
        self.sum.add(self.walked_sum([self.root]));
    }

    /// The sum over these inodes and everything below them, and what no inode has but the counters.
    fn walked_sum(&self, tops: impl IntoIterator<Item = Slot>) -> u64 {
        let mut sum = carried_terms(&self.secrets, &self.cache, &self.erasure_coding);
        let mut stack: Vec<Slot> = tops.into_iter().collect();
        while let Some(slot) = stack.pop() {
            sum = sum.wrapping_add(self.block_terms(slot));
            // The root of what was deleted does not count from that moment on.
            if !self.rec(slot).has(flag::DETACHED) {
                sum = sum.wrapping_add(self.inode_terms(slot));
            }
            stack.extend(self.children(slot).iter());
        }
        sum
    }

    /// Panics when the sum is not what a walk finds.
    pub(crate) fn check_sum(&self) {
        self.sum.check(self.detached.len());
        let tops = std::iter::once(self.root).chain(self.detached.iter().copied());
        assert_eq!(
            self.sum.present(),
            self.walked_sum(tops),
            "the digest that was kept, and that of a walk"
        );
    }

    // ---- changes ----

    /// Something of this inode's record or features, or its place, is about to change.
    #[inline]
    pub(crate) fn begin_change(&mut self, slot: Slot) {
        if !self.rec(slot).has(flag::CHANGING) {
            self.sum.subtract(self.inode_terms(slot));
            self.begin_new(slot);
        }
    }

    /// An inode is new, and counts from the end of the op on.
    pub(crate) fn begin_new(&mut self, slot: Slot) {
        self.inodes.get_mut(slot).set(flag::CHANGING, true);
        self.changing.push(slot);
    }

    /// The op has ended: what it changed counts as it is now.
    pub(crate) fn end_changes(&mut self) {
        while let Some(slot) = self.changing.pop() {
            let rec = self.inodes.get_mut(slot);
            // Otherwise it was freed. Its slot may be another inode's by now, which is in the list as well.
            if rec.has(flag::CHANGING) {
                rec.set(flag::CHANGING, false);
                if !rec.has(flag::DETACHED) {
                    self.sum.add(self.inode_terms(slot));
                }
            }
        }
    }

    /// An inode is about to be freed.
    pub(crate) fn subtract_freed(&mut self, slot: Slot) {
        let rec = self.rec(slot);
        if !rec.has(flag::CHANGING) && !rec.has(flag::DETACHED) {
            self.sum.subtract(self.inode_terms(slot));
        }
    }

    /// The only way to change a block's length, stamp or state.
    pub(crate) fn change_block(&mut self, slot: Slot, change: impl FnOnce(&mut BlockRec)) {
        let rec = self.blocks.get_mut(slot);
        self.sum.subtract(terms::block(rec));
        change(rec);
        self.sum.add(terms::block(rec));
    }

    /// A block has become the `index`th of a file.
    pub(crate) fn add_place(&mut self, file: Slot, index: usize, block: Slot) {
        let term = terms::place(self.rec(file).id(), index, self.blocks.get(block));
        self.sum.add(term);
    }

    /// The list of a file's blocks is about to be replaced. Only what differs is looked at, because taking the last
    /// blocks off one by one must not cost the square of their number.
    pub(crate) fn replace_places(&mut self, file: Slot, new: &[Slot]) {
        let (id, old) = (self.rec(file).id(), self.block_slots(file));
        let same = old.iter().zip(new).take_while(|(old, new)| old == new).count();
        let of = |list: &[Slot]| {
            let rest = list.iter().enumerate().skip(same);
            rest.map(|(index, block)| terms::place(id, index, self.blocks.get(*block)))
                .fold(0, u64::wrapping_add)
        };
        let (gone, come) = (of(old), of(new));
        self.sum.subtract(gone);
        self.sum.add(come);
    }

    /// Changes carried state. `part` is the sum over everything that may change.
    pub(crate) fn change_carried(
        &mut self,
        part: impl Fn(&Secrets, &Cache, &ErasureCoding) -> u64,
        change: impl FnOnce(&mut Secrets, &mut Cache, &mut ErasureCoding),
    ) {
        let Namespace {
            secrets,
            cache,
            erasure_coding,
            sum,
            ..
        } = self;
        sum.subtract(part(secrets, cache, erasure_coding));
        change(secrets, cache, erasure_coding);
        sum.add(part(secrets, cache, erasure_coding));
    }

    // ---- terms ----

    /// Record, place and features of an inode, without its blocks.
    fn inode_terms(&self, slot: Slot) -> u64 {
        let rec = self.rec(slot);
        let (user, group) = (self.users.term(rec.perm().user()), self.groups.term(rec.perm().group()));
        let mut sum = terms::inode(rec, self.name_of(slot), user, group);
        if slot != self.root {
            sum = sum.wrapping_add(terms::parent(rec.id(), self.rec(rec.parent).id()));
        }
        /// Whatever says that there is an entry in a side table.
        const FEATURES: u8 = flag::ACL | flag::XATTR | flag::OPEN_OR_QUOTA;
        let has_features = rec.has(FEATURES)
            || rec.is_symlink()
            || slot == self.root
            || (rec.is_dir() && rec.has(flag::MULTI_OR_SNAPSHOTTABLE));
        if has_features {
            sum = sum.wrapping_add(self.feature_terms(slot, rec));
        }
        sum
    }

    fn feature_terms(&self, slot: Slot, rec: &InodeRec) -> u64 {
        let id = rec.id();
        let mut sum: u64 = 0;
        let mut add = |term: u64| sum = sum.wrapping_add(term);
        if rec.is_file() {
            if rec.is_open()
                && let Some(open) = self.open.get(slot)
            {
                let is_reassigned = self.reassigned.contains(&id.0);
                add(terms::open(id, &open.client_name, &open.client_machine, is_reassigned));
            }
            if !self.truncations.is_empty()
                && let Some(truncation) = self.truncations.get(&id.0)
            {
                let source = truncation.source.map(|source| self.blocks.get(source).block());
                add(terms::truncation(id, truncation.length, source.as_ref()));
            }
        } else if rec.is_dir() {
            let quota = match slot == self.root {
                true => Some(&self.root_quota),
                false => self.quotas.get(slot),
            };
            if let Some(quota) = quota {
                add(terms::quota(id, quota.ns, quota.ds, &quota.types));
            }
            if rec.has(flag::MULTI_OR_SNAPSHOTTABLE) {
                add(terms::snapshottable(id));
            }
        } else if let Some(target) = self.links.get(slot) {
            add(terms::link(id, target));
        }
        if rec.has(flag::ACL)
            && let Some(acl) = self.acls.get(slot)
        {
            add(terms::acl(id, acl));
        }
        if rec.has(flag::XATTR)
            && let Some(xattrs) = self.xattrs.get(slot)
        {
            add(terms::xattrs(id, xattrs));
        }
        sum
    }

    /// The blocks of a file, and the source of its truncate.
    fn block_terms(&self, slot: Slot) -> u64 {
        let rec = self.rec(slot);
        if !rec.is_file() {
            return 0;
        }
        let truncation = self.truncations.get(&rec.id().0);
        let source = truncation.and_then(|truncation| truncation.source);
        let mut sum = source.map_or(0, |source| terms::block(self.blocks.get(source)));
        for (index, block) in self.block_slots(slot).iter().enumerate() {
            let block = self.blocks.get(*block);
            sum = sum
                .wrapping_add(terms::block(block))
                .wrapping_add(terms::place(rec.id(), index, block));
        }
        sum
    }

    fn counters_term(&self) -> u64 {
        counters(&self.counters)
    }

    // ---- marks ----

    /// What the state was made from besides the log, as a number; 0 when it was made from the log alone.
    ///
    /// An image of Hadoop's does not say everything that a replay knows (whether the last block of an open file is
    /// written, where a truncate ends), and NameNodes that are configured differently adjust replications differently.
    /// States that differ for such a reason are both right, so nothing follows from it when two digests differ whose
    /// origins do. It stands in images, and NameNodes that loaded the same image of Hadoop's have the same one.
    #[must_use]
    pub fn digest_origin(&self) -> u64 {
        self.origin
    }

    /// An image was loaded, whose inodes are counted already.
    pub(crate) fn loaded(&mut self, origin: Option<u64>) {
        let carried = carried_terms(&self.secrets, &self.cache, &self.erasure_coding);
        self.sum.add(carried);
        let digest = self.sum.present().wrapping_add(self.counters_term());
        self.origin = origin.unwrap_or_else(|| foreign(digest));
        self.sum.mark(self.counters.txid, self.counters_term());
    }

    /// The op of this transaction was changed to fit the configuration: see [`Namespace::adjusted_replications`].
    pub(crate) fn note_adjusted(&mut self, logged: i16, kept: u16) {
        let term = Term::of(Fact::Adjusted).word(self.origin).word(self.counters.txid);
        self.origin = term.signed(i64::from(logged)).word(u64::from(kept)).end();
    }

    /// After an op: a mark, if the state after it is one. Replicas make marks after the same transactions: each
    /// [`MARK_EVERY_TXNS`], and the end of each segment, where a standby may stop that reads no open ones.
    pub(crate) fn mark_after(&mut self, op: &EditOp) {
        let txid = self.counters.txid;
        if self.sum.is_mark(txid) || matches!(op, EditOp::EndLogSegment) {
            self.sum.mark(txid, self.counters_term());
        }
    }

    /// Nothing has changed up to this transaction: the marks until then are of the present state. Where an active has
    /// logged the end of a segment, that is the transaction after its last op.
    pub(crate) fn mark_up_to(&mut self, txid: u64) {
        let first = self.counters.txid.saturating_add(1);
        let by_number = txid - txid % MARK_EVERY_TXNS;
        let mut marks = [Some(first), Some(by_number), self.sum.wanted()];
        marks.sort_unstable();
        let counters = self.counters_term();
        for mark in marks.into_iter().flatten().filter(|mark| (first..=txid).contains(mark)) {
            self.sum.mark(mark, counters);
        }
    }

    /// The digest after this transaction, if that is known.
    #[must_use]
    pub fn digest_mark(&self, txid: u64) -> Option<Mark> {
        self.sum.marks.get(txid)
    }

    /// What this NameNode says of its state to one that has applied everything up to `known`. Only marks that are
    /// `durable` are told. If everything is durable, the present state becomes a mark, so that idle NameNodes have one
    /// in common.
    pub fn attest(&mut self, known: u64, durable: u64) -> Attestation {
        if self.counters.txid == durable && !self.broken {
            self.sum.mark(durable, self.counters_term());
        }
        Attestation {
            version: DIGEST_VERSION,
            origin: self.origin,
            marks: self.sum.marks.told(known, durable),
        }
    }

    /// Compares the state with what an active attests of its own. If the newest mark comes later here, it will be a mark
    /// here, too.
    pub fn compare(&mut self, attestation: &Attestation) -> Comparison {
        if attestation.version != DIGEST_VERSION || self.broken {
            return Comparison::Unknown;
        }
        if let Some(newest) = attestation.marks.last() {
            if newest.txid == self.counters.txid {
                self.sum.mark(newest.txid, self.counters_term());
            }
            self.sum.want(newest.txid);
        }
        match self.sum.marks.compare(&attestation.marks) {
            Comparison::Differs { .. } if attestation.origin != self.origin => Comparison::Unknown,
            compared => compared,
        }
    }

    /// Makes this replica another one unseen, as an op that is applied wrongly would: the root's modification time
    /// changes. For tests of whole clusters.
    pub fn spoil(&mut self) {
        let root = self.root;
        self.begin_change(root);
        let rec = self.inodes.get_mut(root);
        rec.set_mtime(rec.mtime() ^ 1);
        self.end_changes();
    }
}

/// The numbers of which each is given out once, and the others that no inode has.
pub(crate) fn counters(c: &Counters) -> u64 {
    Term::of(Fact::Counters)
        .word(c.inode_id)
        .signed(c.block_id)
        .signed(c.striped_block_id)
        // Stamps that were handed out count only on an active, but are the same everywhere.
        .word(c.genstamp.max(c.impending_genstamp))
        .word(c.genstamp_v1)
        .word(c.genstamp_v1_limit)
        .word(c.rolling_upgrade_start)
        .word(u64::from(c.snapshot_counter))
        .end()
}

/// Everything that the namespace only carries.
pub(crate) fn carried_terms(secrets: &Secrets, cache: &Cache, erasure_coding: &ErasureCoding) -> u64 {
    let tokens = secrets.tokens.keys().map(|number| token(secrets, *number));
    let keys = secrets.keys.keys().map(|id| master_key(secrets, *id));
    let directives = cache.directives.keys().map(|id| directive(cache, *id));
    let pools = cache.pools.keys().map(|name| pool(cache, name));
    let all = tokens.chain(keys).chain(directives).chain(pools);
    let numbers = secret_numbers(secrets).wrapping_add(next_directive(cache));
    all.fold(numbers.wrapping_add(policies(erasure_coding)), u64::wrapping_add)
}

fn secret_numbers(secrets: &Secrets) -> u64 {
    Term::of(Fact::Secrets)
        .signed(i64::from(secrets.current_key_id))
        .signed(i64::from(secrets.sequence_number))
        .end()
}

/// A master key, and the numbers of the newest.
pub(crate) fn key_and_numbers(secrets: &Secrets, id: i32) -> u64 {
    master_key(secrets, id).wrapping_add(secret_numbers(secrets))
}

/// A token, and the numbers of the newest.
pub(crate) fn token_and_numbers(secrets: &Secrets, number: i32) -> u64 {
    token(secrets, number).wrapping_add(secret_numbers(secrets))
}

fn master_key(secrets: &Secrets, id: i32) -> u64 {
    secrets.keys.get(&id).map_or(0, |key| {
        Term::of(Fact::MasterKey)
            .signed(i64::from(id))
            .signed(key.expiry_date)
            .word(u64::from(key.key.is_some()))
            .bytes(key.key.as_deref().unwrap_or_default())
            .end()
    })
}

fn token(secrets: &Secrets, number: i32) -> u64 {
    secrets.tokens.get(&number).map_or(0, |(token, expiry)| {
        Term::of(Fact::Token)
            .signed(i64::from(number))
            .signed(*expiry)
            .bytes(token.owner.as_bytes())
            .bytes(token.renewer.as_bytes())
            .bytes(token.real_user.as_bytes())
            .signed(token.issue_date)
            .signed(token.max_date)
            .signed(i64::from(token.master_key_id))
            .end()
    })
}

fn next_directive(cache: &Cache) -> u64 {
    Term::of(Fact::NextDirective).signed(cache.next_directive_id).end()
}

fn directive(cache: &Cache, id: i64) -> u64 {
    cache.directives.get(&id).map_or(0, |directive| {
        let bytes = directive.encode_to_vec();
        Term::of(Fact::Directive).signed(id).bytes(&bytes).end()
    })
}

/// A cache directive, and the number of the next one.
pub(crate) fn directive_and_next(cache: &Cache, id: i64) -> u64 {
    directive(cache, id).wrapping_add(next_directive(cache))
}

pub(crate) fn pool(cache: &Cache, name: &str) -> u64 {
    cache.pools.get(name).map_or(0, |pool| {
        let bytes = pool.encode_to_vec();
        Term::of(Fact::Pool).bytes(name.as_bytes()).bytes(&bytes).end()
    })
}

/// A cache pool with its directives.
pub(crate) fn pool_with_directives(cache: &Cache, name: &str) -> u64 {
    let all = cache.directives.iter();
    let own = all.filter(|(_, directive)| directive.pool.as_deref() == Some(name));
    own.map(|(id, _)| directive(cache, *id))
        .fold(pool(cache, name), u64::wrapping_add)
}

/// All policies: there are some ten.
pub(crate) fn policies(erasure_coding: &ErasureCoding) -> u64 {
    let all = erasure_coding.policies.iter();
    all.map(|(name, policy)| {
        let bytes = policy.encode_to_vec();
        Term::of(Fact::Policy).bytes(name.as_bytes()).bytes(&bytes).end()
    })
    .fold(0, u64::wrapping_add)
}

/// [`Namespace::digest_origin`] of a namespace that was loaded from an image that Hathi did not write.
pub(crate) fn foreign(digest: u64) -> u64 {
    Term::of(Fact::Foreign).word(digest).end()
}
