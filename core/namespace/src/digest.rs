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
//! - blocks and what is carried change only through functions that change the sum with them;
//! - [`Namespace::check`] compares the sum with a walk over everything.
//!
//! Slots, soft state (renewal times) and deleted inodes that are not freed do not count. Neither does the last
//! transaction, so that states of different logs can be compared.

pub(crate) mod marks;
pub(crate) mod terms;

use hathi_formats::editlog::EditOp;

use crate::namespace::{Counters, Namespace};
use crate::store::slab::{NONE, Slot};
use crate::tree::Lane;
use crate::tree::inode::{InodeRec, flag};
use crate::view::View;
use marks::{Attestation, Comparison, MARK_EVERY_TXNS, Mark};
use terms::{DIGEST_VERSION, Fact, Term};

impl Namespace {
    /// The digest by a walk over everything: for tests. Replicas compare marks.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.walked_sum([self.root()]).wrapping_add(self.counters_term())
    }

    /// Counts everything below the root, of which nothing was counted yet.
    pub(crate) fn count_all(&mut self) {
        self.sum.add(self.walked_sum([self.root()]));
    }

    /// The sum over these inodes and everything below them, and what no inode has but the counters.
    fn walked_sum(&self, tops: impl IntoIterator<Item = Slot>) -> u64 {
        let all = tops.into_iter().chain(self.tree.gone());
        self.terms_below(all)
            .wrapping_add(self.carried.terms())
            .wrapping_add(self.snapshot_terms())
    }

    /// Panics when the sum is not what a walk finds.
    pub(crate) fn check_sum(&self) {
        self.sum.check(self.tree.waiting_in(Lane::Deleted));
        let tops = std::iter::once(self.root()).chain(self.tree.waiting());
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
        self.tree.set_flag(slot, flag::CHANGING, true);
        self.changing.push(slot);
    }

    /// The op has ended: what it changed counts as it is now.
    pub(crate) fn end_changes(&mut self) {
        while let Some(slot) = self.changing.pop() {
            // Otherwise it was freed. Its slot may be another inode's by now, which is in the list as well.
            if self.rec(slot).has(flag::CHANGING) {
                self.tree.set_flag(slot, flag::CHANGING, false);
                if !self.rec(slot).has(flag::DETACHED) {
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

    /// An inode that was subtracted counts again as it is now, unless it was cut off.
    pub(crate) fn add_unless_cut(&mut self, slot: Slot) {
        if !self.rec(slot).has(flag::DETACHED) {
            self.sum.add(self.inode_terms(slot));
        }
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
        self.sum.add(self.carried.terms());
        let digest = self.sum.present().wrapping_add(self.counters_term());
        self.origin = origin.unwrap_or_else(|| foreign(digest));
        self.sum.mark(self.counters.txid, self.counters_term());
    }

    /// The op of this transaction was changed to fit the configuration: see [`Namespace::adjusted_replications`].
    pub(crate) fn note_adjusted(&mut self, logged: i16, kept: u16) {
        let term = Term::of(Fact::Adjusted).word(self.origin).word(self.counters.txid);
        self.origin = term.signed(i64::from(logged)).word(u64::from(kept)).end();
    }

    /// The present state is a mark, unless diffs of a deleted snapshot wait to be ended.
    fn mark(&mut self, txid: u64) {
        if self.tree.waiting_in(Lane::Snapshots) == 0 {
            self.sum.mark(txid, self.counters_term());
        }
    }

    /// After an op: a mark, if the state after it is one. Replicas make marks after the same transactions: each
    /// [`MARK_EVERY_TXNS`], and the end of each segment, where a standby may stop that reads no open ones.
    pub(crate) fn mark_after(&mut self, op: &EditOp) {
        let txid = self.counters.txid;
        if self.sum.is_mark(txid) || matches!(op, EditOp::EndLogSegment) {
            self.mark(txid);
        }
    }

    /// Nothing has changed up to this transaction: the marks until then are of the present state. Where an active has
    /// logged the end of a segment, that is the transaction after its last op.
    pub(crate) fn mark_up_to(&mut self, txid: u64) {
        let first = self.counters.txid.saturating_add(1);
        let by_number = txid - txid % MARK_EVERY_TXNS;
        let mut marks = [Some(first), Some(by_number), self.sum.wanted()];
        marks.sort_unstable();
        for mark in marks.into_iter().flatten().filter(|mark| (first..=txid).contains(mark)) {
            self.mark(mark);
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
            self.mark(durable);
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
                self.mark(newest.txid);
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
        let root = self.root();
        self.begin_change(root);
        let rec = self.tree.rec_mut(root);
        rec.set_mtime(rec.mtime() ^ 1);
        self.end_changes();
    }
}

/// What the digest counts of the inodes of a view.
pub(crate) trait Terms: View {
    /// These inodes and everything below them.
    fn terms_below(&self, tops: impl IntoIterator<Item = Slot>) -> u64 {
        let mut sum: u64 = 0;
        let mut stack: Vec<Slot> = tops.into_iter().collect();
        while let Some(slot) = stack.pop() {
            sum = sum.wrapping_add(self.block_terms(slot));
            // The root of what was deleted does not count from that moment on.
            if !self.rec(slot).has(flag::DETACHED) {
                sum = sum.wrapping_add(self.inode_terms(slot));
            }
            stack.extend(self.children(slot));
        }
        sum
    }

    /// Record, place and features of an inode, without its blocks.
    fn inode_terms(&self, slot: Slot) -> u64 {
        let rec = self.rec(slot);
        let (users, groups) = (self.attributes().users(), self.attributes().groups());
        let (user, group) = (users.term(rec.perm().user()), groups.term(rec.perm().group()));
        let mut sum = terms::inode(rec, self.name_of(slot), user, group);
        if slot != self.root() && rec.parent() != NONE {
            sum = sum.wrapping_add(terms::parent(rec.id(), self.rec(rec.parent()).id()));
        }
        /// Whatever says that there is an entry in a side table.
        const FEATURES: u8 = flag::ACL | flag::XATTR | flag::OPEN_OR_QUOTA;
        let has_features = rec.has(FEATURES)
            || rec.is_symlink()
            || slot == self.root()
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
                && let Some(open) = self.open_files().get(slot)
            {
                let is_reassigned = self.open_files().is_reassigned(id);
                add(terms::open(id, &open.client_name, &open.client_machine, is_reassigned));
            }
            if let Some(truncation) = self.open_files().truncation(id) {
                let source = truncation.source.map(|source| self.block_rec(source).block());
                add(terms::truncation(id, truncation.length, source.as_ref()));
            }
        } else if rec.is_dir() {
            if let Some(quota) = self.quota(slot) {
                add(terms::quota(id, quota.ns, quota.ds, &quota.types));
            }
            if rec.has(flag::MULTI_OR_SNAPSHOTTABLE) {
                add(terms::snapshottable(id));
            }
        } else if let Some(target) = self.attributes().link(slot) {
            add(terms::link(id, target));
        }
        if rec.has(flag::ACL)
            && let Some(acl) = self.attributes().acl(slot)
        {
            add(terms::acl(id, acl));
        }
        if rec.has(flag::XATTR) {
            add(terms::xattrs(id, self.attributes().xattrs(slot)));
        }
        sum
    }

    /// The blocks of a file, and the source of its truncate.
    fn block_terms(&self, slot: Slot) -> u64 {
        let rec = self.rec(slot);
        if !rec.is_file() {
            return 0;
        }
        let truncation = self.open_files().truncation(rec.id());
        let source = truncation.and_then(|truncation| truncation.source);
        let past = self.blocks_of_past(slot);
        let source = source.filter(|source| !past.contains(source));
        let mut sum = source.map_or(0, |source| terms::block(self.block_rec(source)));
        for block in past {
            sum = sum.wrapping_add(terms::block(self.block_rec(block)));
        }
        for (index, block) in self.block_slots(slot).iter().enumerate() {
            let block = self.block_rec(*block);
            sum = sum
                .wrapping_add(terms::block(block))
                .wrapping_add(terms::place(rec.id(), index, block));
        }
        sum
    }
}

impl<V: View> Terms for V {}

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

/// [`Namespace::digest_origin`] of a namespace that was loaded from an image that Hathi did not write.
pub(crate) fn foreign(digest: u64) -> u64 {
    Term::of(Fact::Foreign).word(digest).end()
}
