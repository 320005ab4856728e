//! The state, and the few primitive changes that everything else consists of.
//!
//! Invariants ([`Namespace::check`] verifies them):
//! - every live inode but the root and the roots of detached subtrees is in its parent's child list and in the index;
//! - `inode_ids` maps exactly the live inodes, `block_ids` exactly the live blocks; ids and stamps never exceed the counters;
//! - a file is open exactly if it has an entry in `open`, and its holder's lease names it;
//! - the usage of a directory with a quota is the sum over its subtree, detached parts that are not freed included.
//!
//! Mirrors `FSDirectory`, `INodeMap`, `BlockIdManager` and the part of `FSNamesystem` that follows from the edits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};

use crate::config::Config;
use crate::digest::marks::Sum;
use crate::digest::terms;
use crate::feature::{AclFeature, Cache, ErasureCoding, Open, Quota, Secrets, XAttrs};
use crate::lease::Leases;
use crate::store::children::{ChildIndex, ChildList};
use crate::store::id_map::IdMap;
use crate::store::inode::{BlockRec, InodeRec, Perm, flag};
use crate::store::names::{Names, utf16_len};
use crate::store::side::Side;
use crate::store::slab::{NONE, Slab, Slot};
use crate::store::strings::Strings;
use crate::sub_access::Watch;
use crate::truncation::Truncation;
use crate::types::Reclaimed;
use crate::usage::Usage;

/// Counters of the namespace. None ever goes back.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) txid: u64,
    pub(crate) inode_id: u64,
    pub(crate) block_id: i64,
    /// Id of the last striped block group. These ids are negative and grow from `i64::MIN` on.
    pub(crate) striped_block_id: i64,
    /// Highest stamp of blocks, and of handed-out stamps once they count.
    pub(crate) genstamp: u64,
    /// Highest stamp handed out by SET_GENSTAMP_V2. It counts once this NameNode is active
    /// (`BlockIdManager.impendingGenerationStamp`).
    pub(crate) impending_genstamp: u64,
    pub(crate) genstamp_v1: u64,
    pub(crate) genstamp_v1_limit: u64,
    /// ms; 0 = no rolling upgrade.
    pub(crate) rolling_upgrade_start: u64,
    pub(crate) snapshot_counter: u32,
}

impl Counters {
    /// Panics when a counter has gone back, because then it would hand out the same number again.
    pub(crate) fn check_grown_since(&self, before: &Counters) {
        assert!(self.inode_id >= before.inode_id, "an inode id is given out once");
        assert!(self.block_id >= before.block_id, "a block id is given out once");
        assert!(
            self.striped_block_id >= before.striped_block_id,
            "the id of a block group is given out once"
        );
        assert!(
            self.genstamp >= before.genstamp && self.impending_genstamp >= before.impending_genstamp,
            "a generation stamp is given out once"
        );
    }
}

/// The durable state of a NameNode.
#[derive(Debug)]
pub struct Namespace {
    /// Limits and switches.
    pub config: Config,
    pub(crate) namespace_id: u32,
    pub(crate) counters: Counters,
    pub(crate) inodes: Slab<InodeRec, 12>,
    pub(crate) inode_ids: IdMap,
    pub(crate) names: Names,
    pub(crate) index: ChildIndex,
    pub(crate) lists: Slab<ChildList, 6>,
    pub(crate) blocks: Slab<BlockRec, 12>,
    pub(crate) block_ids: IdMap,
    pub(crate) block_lists: Slab<Vec<Slot>, 6>,
    pub(crate) open_blocks: usize,
    pub(crate) users: Strings,
    pub(crate) groups: Strings,
    pub(crate) acls: Side<AclFeature>,
    pub(crate) xattrs: Side<XAttrs>,
    /// Quotas of directories other than the root.
    pub(crate) quotas: Side<Quota>,
    pub(crate) root_quota: Quota,
    /// Directories with a quota by storage type.
    pub(crate) type_quotas: usize,
    pub(crate) links: Side<Arc<[u8]>>,
    pub(crate) open: Side<Open>,
    /// Ids of the open files whose lease OP_REASSIGN_LEASE took from the writer: DataNodes must agree on the last
    /// block, and then the file is closed.
    pub(crate) reassigned: BTreeSet<u64>,
    pub(crate) snapshottable: BTreeSet<u64>,
    /// Truncates in progress, by inode id.
    pub(crate) truncations: BTreeMap<u64, Truncation>,
    pub(crate) leases: Leases,
    pub(crate) secrets: Secrets,
    pub(crate) cache: Cache,
    pub(crate) erasure_coding: ErasureCoding,
    /// Roots of deleted subtrees, oldest first. They are freed in this order, so that a parent outlives what was cut
    /// off below it.
    pub(crate) detached: VecDeque<Slot>,
    pub(crate) root: Slot,
    /// The directory of the last op, by its path, because consecutive ops are often about one file. It is forgotten
    /// whenever a path may lead elsewhere.
    pub(crate) last_dir: Option<(String, Slot)>,
    pub(crate) active: bool,
    /// See [`Namespace::watch_access`]. Soft state.
    pub(crate) watch: Watch,
    /// See [`Namespace::is_broken`].
    pub(crate) broken: bool,
    /// See [`Namespace::adjusted_replications`].
    pub(crate) adjusted_replications: u64,
    /// The digest of everything, and its marks.
    pub(crate) sum: Sum,
    /// Inodes that the digest is without during this op.
    pub(crate) changing: Vec<Slot>,
    /// See [`Namespace::digest_origin`].
    pub(crate) origin: u64,
    /// The latest monotonic time that was told, ms: the renewal time of a lease that an op makes. Soft state.
    pub(crate) now_mono_ms: AtomicU64,
}

impl Namespace {
    /// An empty namespace with a root directory (`hdfs namenode -format`).
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut ns = Namespace::without_root(config);
        let user = ns.users.intern(&ns.config.fs_owner.clone());
        let group = ns.groups.intern(&ns.config.supergroup.clone());
        let name = ns.names.insert(b"");
        let rec = InodeRec::new(InodeId::ROOT, flag::DIRECTORY, name, Perm::new(user, group, 0o755), 0);
        ns.root = ns.inodes.insert(rec);
        ns.inode_ids.insert(InodeId::ROOT.0, ns.root);
        ns.root_quota.used_ns = 1;
        ns.erasure_coding = ErasureCoding::built_in();
        ns.count_all();
        ns
    }

    /// A namespace without anything, even without a root, for an image to be loaded into.
    pub(crate) fn without_root(config: Config) -> Self {
        Namespace {
            namespace_id: 0,
            counters: Counters {
                txid: 0,
                inode_id: InodeId::ROOT.0,
                block_id: BlockId::LAST_RESERVED.0,
                striped_block_id: i64::MIN,
                genstamp: GenerationStamp::LAST_RESERVED.0,
                impending_genstamp: GenerationStamp::LAST_RESERVED.0,
                genstamp_v1: 1000,
                genstamp_v1_limit: 0,
                rolling_upgrade_start: 0,
                snapshot_counter: 0,
            },
            inodes: Slab::new(),
            inode_ids: IdMap::new(),
            names: Names::default(),
            index: ChildIndex::new(config.hash_seed),
            lists: Slab::new(),
            blocks: Slab::new(),
            block_ids: IdMap::new(),
            block_lists: Slab::new(),
            open_blocks: 0,
            users: Strings::new(),
            groups: Strings::new(),
            acls: Side::new(),
            xattrs: Side::new(),
            quotas: Side::new(),
            root_quota: Quota {
                ns: i64::MAX,
                ds: -1,
                types: BTreeMap::new(),
                used_types: Default::default(),
                used_ns: 0,
                used_ds: 0,
            },
            type_quotas: 0,
            links: Side::new(),
            open: Side::new(),
            reassigned: BTreeSet::new(),
            snapshottable: BTreeSet::new(),
            truncations: BTreeMap::new(),
            leases: Leases::new(),
            secrets: Secrets::default(),
            cache: Cache::default(),
            erasure_coding: ErasureCoding::default(),
            detached: VecDeque::new(),
            root: NONE,
            last_dir: None,
            active: false,
            watch: Watch::default(),
            broken: false,
            adjusted_replications: 0,
            sum: Sum::default(),
            changing: Vec::new(),
            origin: 0,
            now_mono_ms: AtomicU64::new(0),
            config,
        }
    }

    // ---- what others ask ----

    /// Last transaction applied.
    #[must_use]
    pub fn last_applied_txid(&self) -> u64 {
        self.counters.txid
    }
    /// Everything up to this transaction has been applied, and what no op says changes nothing: the ends and beginnings
    /// of segments on an active, and where an image or log ends.
    pub fn set_last_applied_txid(&mut self, txid: u64) {
        self.mark_up_to(txid);
        self.counters.txid = txid;
    }
    /// `namespaceID` as the image carries it.
    #[must_use]
    pub fn namespace_id(&self) -> u32 {
        self.namespace_id
    }
    /// Sets the `namespaceID` images will carry (at format).
    pub fn set_namespace_id(&mut self, id: u32) {
        self.namespace_id = id;
    }
    /// Number of inodes, the root included, and those of deleted subtrees until they are reclaimed.
    #[must_use]
    pub fn inode_count(&self) -> u64 {
        self.inodes.live() as u64
    }
    /// Number of blocks of files, and those of deleted subtrees until they are reclaimed.
    #[must_use]
    pub fn block_count(&self) -> u64 {
        self.blocks.live() as u64
    }
    /// Number of blocks that have their final length by the edits: the total that safe mode counts.
    #[must_use]
    pub fn complete_block_count(&self) -> u64 {
        (self.blocks.live() - self.open_blocks) as u64
    }
    /// Files under construction.
    #[must_use]
    pub fn open_file_count(&self) -> usize {
        self.leases.file_count()
    }
    /// The stamp above which a DataNode's report is from the future. On a standby, stamps that were handed out without
    /// a block (SET_GENSTAMP_V2) do not count.
    #[must_use]
    pub fn generation_stamp(&self) -> GenerationStamp {
        if self.active {
            self.newest_stamp()
        } else {
            GenerationStamp(self.counters.genstamp)
        }
    }
    /// The last block id handed out.
    #[must_use]
    pub fn last_block_id(&self) -> BlockId {
        BlockId(self.counters.block_id)
    }
    /// The last inode id handed out.
    #[must_use]
    pub fn last_inode_id(&self) -> InodeId {
        InodeId(self.counters.inode_id)
    }
    /// Number of ops whose replication was outside of the configured `dfs.namenode.replication.min` and
    /// `dfs.replication.max`, and was changed to fit. If it is not 0, NameNodes are configured differently, and their
    /// images will differ. Soft state: it counts from the load on and decides nothing.
    #[must_use]
    pub fn adjusted_replications(&self) -> u64 {
        self.adjusted_replications
    }
    /// When the rolling upgrade under way started, ms.
    #[must_use]
    pub fn rolling_upgrade_start_ms(&self) -> Option<u64> {
        (self.counters.rolling_upgrade_start != 0).then_some(self.counters.rolling_upgrade_start)
    }
    /// This NameNode becomes active: handed-out stamps count from now on (`applyImpendingGenerationStamp`), and all
    /// leases are renewed at `mono_ms`.
    pub fn start_active(&mut self, mono_ms: u64) {
        self.active = true;
        self.note_time(mono_ms);
        self.counters.genstamp = self.newest_stamp().0;
        debug_assert!(
            self.counters.genstamp >= self.counters.impending_genstamp,
            "a stamp that an earlier active gave out is given out once"
        );
        self.leases.renew_all(mono_ms);
    }
    /// Whether this NameNode is active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }
    /// Whether something was deleted that [`Namespace::reclaim`] has not freed yet.
    #[must_use]
    pub fn has_detached(&self) -> bool {
        !self.detached.is_empty()
    }
    /// Leaving the active state.
    pub fn stop_active(&mut self) {
        self.active = false;
    }

    /// Tells the time (monotonic, ms) that leases made by the next ops count from. Plans do it by themselves.
    pub fn note_time(&self, mono_ms: u64) {
        self.now_mono_ms.fetch_max(mono_ms, Ordering::Relaxed);
    }

    pub(crate) fn newest_stamp(&self) -> GenerationStamp {
        GenerationStamp(self.counters.genstamp.max(self.counters.impending_genstamp))
    }
    /// The stamp a plan hands out.
    pub(crate) fn next_stamp(&self) -> GenerationStamp {
        GenerationStamp(self.newest_stamp().0 + 1)
    }

    // ---- tree ----

    #[inline]
    pub(crate) fn rec(&self, slot: Slot) -> &InodeRec {
        self.inodes.get(slot)
    }
    #[inline]
    pub(crate) fn name_of(&self, slot: Slot) -> &[u8] {
        self.names.get(self.inodes.get(slot).name)
    }

    #[inline]
    pub(crate) fn child(&self, parent: Slot, name: &[u8]) -> Option<Slot> {
        let hash = self.index.hash(parent, name);
        self.index.find(hash, |slot| {
            let rec = self.inodes.get(*slot);
            rec.parent == parent && self.names.get(rec.name) == name
        })
    }

    pub(crate) fn children(&self, dir: Slot) -> &ChildList {
        static EMPTY: ChildList = ChildList::Empty;
        let rec = self.rec(dir);
        if rec.is_dir() && rec.data != NONE {
            self.lists.get(rec.data)
        } else {
            &EMPTY
        }
    }

    /// The slot of a live, attached inode.
    pub(crate) fn slot(&self, id: InodeId) -> Option<Slot> {
        let slot = self.inode_ids.get(id.0)?;
        self.is_attached(slot).then_some(slot)
    }

    /// Whether the inode hangs below the root, or was deleted and waits to be freed.
    pub(crate) fn is_attached(&self, slot: Slot) -> bool {
        if self.detached.is_empty() {
            return true;
        }
        let mut at = slot;
        while at != self.root {
            let rec = self.rec(at);
            if rec.has(flag::DETACHED) || rec.parent == NONE {
                return false;
            }
            at = rec.parent;
        }
        true
    }

    /// Hangs an inode (with its name set) below a directory that has no such child.
    pub(crate) fn link(&mut self, parent: Slot, child: Slot) {
        debug_assert!(self.rec(parent).is_dir(), "only directories have children");
        debug_assert!(parent != child, "nothing is below itself");
        debug_assert!(
            self.child(parent, self.name_of(child)).is_none(),
            "the caller has seen that the name is free"
        );
        self.inodes.get_mut(child).parent = parent;
        let Namespace {
            inodes,
            names,
            index,
            lists,
            ..
        } = self;
        let name = names.get(inodes.get(child).name);
        let hash = index.hash(parent, name);
        let state = index.state();
        index.insert(hash, child, |slot| {
            let rec = inodes.get(*slot);
            ChildIndex::hash_with(&state, rec.parent, names.get(rec.name))
        });
        let mut list = inodes.get(parent).data;
        if list == NONE {
            list = lists.insert(ChildList::Empty);
            inodes.get_mut(parent).data = list;
        }
        let name = names.get(inodes.get(child).name);
        lists
            .get_mut(list)
            .insert(child, |slot| names.get(inodes.get(slot).name).cmp(name));
        self.raise_longest_below(child);
        self.note_linked(parent, child);
    }

    /// Makes the directories above an inode know how long the paths through it are. It ends at the first one that knows
    /// already: nearly always the parent.
    pub(crate) fn raise_longest_below(&mut self, child: Slot) {
        let mut at = child;
        let mut longest = self.rec(at).longest_below();
        while at != self.root && self.rec(at).parent != NONE {
            longest = longest.saturating_add(1 + utf16_len(self.name_of(at)));
            at = self.rec(at).parent;
            if self.rec(at).longest_below() >= longest {
                return;
            }
            self.inodes.get_mut(at).set_longest_below(longest);
        }
    }

    /// Takes an inode out of its directory. Its record keeps pointing to the parent.
    pub(crate) fn unlink(&mut self, child: Slot) {
        let Namespace {
            inodes,
            names,
            index,
            lists,
            ..
        } = self;
        let rec = *inodes.get(child);
        let name = names.get(rec.name);
        let indexed = index.remove(index.hash(rec.parent, name), child);
        debug_assert!(indexed, "what hangs in a directory is in the index");
        let list = inodes.get(rec.parent).data;
        if list != NONE {
            let listed = lists
                .get_mut(list)
                .remove(child, |slot| names.get(inodes.get(slot).name).cmp(name));
            debug_assert!(listed, "what hangs in a directory is in its list");
            if lists.get(list).len() == 0 {
                lists.remove(list);
                inodes.get_mut(rec.parent).data = NONE;
            }
        }
    }

    // ---- blocks of files ----

    /// The slots of a file's blocks in order.
    pub(crate) fn block_slots(&self, file: Slot) -> &[Slot] {
        let rec = self.rec(file);
        if !rec.is_file() || rec.data == NONE {
            &[]
        } else if rec.has(flag::MULTI_OR_SNAPSHOTTABLE) {
            self.block_lists.get(rec.data)
        } else {
            // The record's own field is the list of one.
            std::slice::from_ref(&rec.data)
        }
    }

    /// Replaces a file's block list; the blocks themselves are the caller's matter.
    pub(crate) fn set_block_slots(&mut self, file: Slot, slots: Vec<Slot>) {
        debug_assert!(self.rec(file).is_file(), "only files have blocks");
        self.replace_places(file, &slots);
        let rec = self.inodes.get_mut(file);
        if rec.has(flag::MULTI_OR_SNAPSHOTTABLE) {
            self.block_lists.remove(rec.data);
        }
        debug_assert!(
            slots.iter().all(|slot| self.blocks.get(*slot).file == file),
            "a file has blocks of its own"
        );
        let rec = self.inodes.get_mut(file);
        match slots[..] {
            [] => {
                rec.set(flag::MULTI_OR_SNAPSHOTTABLE, false);
                rec.data = NONE;
            }
            [one] => {
                rec.set(flag::MULTI_OR_SNAPSHOTTABLE, false);
                rec.data = one;
            }
            _ => {
                rec.set(flag::MULTI_OR_SNAPSHOTTABLE, true);
                rec.data = self.block_lists.insert(slots);
            }
        }
    }

    /// Makes a block the last one of a file.
    pub(crate) fn push_block(&mut self, file: Slot, block: Block, open: bool) {
        let block_rec = BlockRec::new(block, file, open);
        self.sum.add(terms::block(&block_rec));
        let slot = self.blocks.insert(block_rec);
        let before = self.block_ids.insert(block.id.0 as u64, slot);
        debug_assert!(
            before.is_none(),
            "the caller has seen that the block is no other file's"
        );
        self.open_blocks += usize::from(open);
        let rec = *self.rec(file);
        if rec.data != NONE && rec.has(flag::MULTI_OR_SNAPSHOTTABLE) {
            let list = self.block_lists.get_mut(rec.data);
            list.push(slot);
            let index = list.len() - 1;
            self.add_place(file, index, slot);
        } else if rec.data != NONE {
            self.set_block_slots(file, vec![rec.data, slot]);
        } else {
            self.inodes.get_mut(file).data = slot;
            self.add_place(file, 0, slot);
        }
    }

    /// Takes the last block off a file and frees it.
    pub(crate) fn pop_block(&mut self, file: Slot) -> Option<Block> {
        let mut slots = self.block_slots(file).to_vec();
        let last = slots.pop()?;
        self.set_block_slots(file, slots);
        Some(self.free_block(last))
    }

    pub(crate) fn free_block(&mut self, slot: Slot) -> Block {
        let rec = *self.blocks.get(slot);
        debug_assert!(rec.file != NONE, "a block is freed once");
        self.sum.subtract(terms::block(&rec));
        debug_assert!(
            self.open_blocks >= usize::from(rec.is_open()),
            "an open block is counted"
        );
        self.open_blocks -= usize::from(rec.is_open());
        let known = self.block_ids.remove(rec.id().0 as u64);
        debug_assert_eq!(known, Some(slot), "a block is known by its id");
        self.blocks.remove(slot);
        rec.block()
    }

    pub(crate) fn set_block_open(&mut self, slot: Slot, open: bool) {
        if self.blocks.get(slot).is_open() != open {
            self.change_block(slot, |rec| rec.set_open(open));
            if open {
                self.open_blocks += 1;
            } else {
                debug_assert!(self.open_blocks > 0, "an open block is counted");
                self.open_blocks -= 1;
            }
        }
    }

    pub(crate) fn raise_stamp(&mut self, stamp: GenerationStamp) {
        self.counters.genstamp = self.counters.genstamp.max(stamp.0);
    }

    /// Sum of the lengths of a file's blocks (`INodeFile.computeFileSize`).
    pub(crate) fn file_length(&self, file: Slot) -> u64 {
        self.block_slots(file)
            .iter()
            .map(|slot| self.blocks.get(*slot).len())
            .sum()
    }

    /// What the file is charged for each replica: unfinished blocks count in full (`storagespaceConsumedContiguous`).
    pub(crate) fn charged_length(&self, file: Slot) -> i64 {
        let rec = self.rec(file);
        let bytes: u64 = self
            .block_slots(file)
            .iter()
            .map(|slot| {
                let block = self.blocks.get(*slot);
                if block.is_open() { rec.block_size() } else { block.len() }
            })
            .sum();
        bytes as i64
    }

    // ---- freeing ----

    /// Frees up to `max_inodes` inodes of detached subtrees and hands out their blocks. Call until `done` whenever an
    /// op's effects say `reclaim`, on every role. It changes nothing a client can read, except that quotas and counts
    /// fall as it proceeds.
    pub fn reclaim(&mut self, max_inodes: usize) -> Reclaimed {
        let mut out = Reclaimed::default();
        while let Some(root) = self.detached.front().copied() {
            let mut at = root;
            while out.inodes < max_inodes {
                match self.children(at).last() {
                    Some(child) if self.children(child).len() > 0 => at = child,
                    Some(child) => {
                        let rec = *self.rec(child);
                        let hash = self.index.hash(rec.parent, self.names.get(rec.name));
                        self.index.remove(hash, child);
                        self.lists.get_mut(self.inodes.get(at).data).pop();
                        self.free_waiting(child, &mut out);
                    }
                    None if at == root => {
                        self.free_waiting(root, &mut out);
                        self.detached.pop_front();
                        self.sum.subtree_freed();
                        break;
                    }
                    None => at = self.rec(at).parent,
                }
            }
            if out.inodes >= max_inodes {
                break;
            }
        }
        debug_assert!(
            out.inodes <= max_inodes,
            "nobody waits longer for the lock than was asked for"
        );
        out.done = self.detached.is_empty();
        out
    }

    /// Frees an inode of a subtree that was cut off earlier.
    fn free_waiting(&mut self, slot: Slot, out: &mut Reclaimed) {
        let before = self.sum.before_freeing();
        self.free_inode(slot, out);
        self.sum.freed_since(before);
    }

    /// Frees one inode without children, with its blocks and side entries.
    pub(crate) fn free_inode(&mut self, slot: Slot, out: &mut Reclaimed) {
        debug_assert!(slot != self.root, "the root stays");
        debug_assert_eq!(self.children(slot).len(), 0, "its children would hang nowhere");
        let rec = *self.rec(slot);
        debug_assert!(rec.is_live(), "an inode is freed once");
        self.subtract_freed(slot);
        let space = match rec.is_file() {
            true => self.file_usage(slot),
            false => Usage::default(),
        };
        self.charge(rec.parent, -space.and_inodes(1));
        if rec.is_file() {
            let blocks: Vec<Slot> = self.block_slots(slot).to_vec();
            self.set_block_slots(slot, Vec::new());
            for block in blocks {
                let block = self.free_block(block);
                out.blocks.push(block);
            }
            if rec.is_open() {
                out.blocks.extend(self.take_truncation(slot));
                self.forget_open(slot);
            }
        } else if rec.is_dir() {
            if rec.data != NONE {
                self.lists.remove(rec.data);
            }
            if rec.has_quota()
                && let Some(quota) = self.quotas.remove(slot)
            {
                self.type_quotas -= usize::from(!quota.types.is_empty());
            }
            if rec.has(flag::MULTI_OR_SNAPSHOTTABLE) {
                self.snapshottable.remove(&rec.id().0);
            }
        } else {
            self.links.remove(slot);
        }
        if rec.has(flag::ACL) {
            self.acls.remove(slot);
        }
        if rec.has(flag::XATTR) {
            self.xattrs.remove(slot);
        }
        self.names.remove(rec.name);
        let known = self.inode_ids.remove(rec.id().0);
        debug_assert_eq!(known, Some(slot), "an inode is known by its id");
        self.inodes.remove(slot);
        out.inodes += 1;
    }

    /// Cuts an inode off the tree. Small subtrees are freed at once into `out`; large ones wait for [`Self::reclaim`].
    /// True if something is left to reclaim.
    pub(crate) fn detach(&mut self, slot: Slot, out: &mut Vec<Block>) -> bool {
        /// Inodes an op frees by itself: below a tenth of a millisecond.
        const AT_ONCE: usize = 64;
        debug_assert!(slot != self.root, "the root stays");
        debug_assert!(!self.rec(slot).has(flag::DETACHED), "it is cut off once");
        self.begin_change(slot);
        self.unlink(slot);
        self.inodes.get_mut(slot).set(flag::DETACHED, true);
        if self.rec(slot).is_dir() {
            self.last_dir = None;
        }
        if !self.rec(slot).is_dir() {
            let mut reclaimed = Reclaimed::default();
            self.free_inode(slot, &mut reclaimed);
            out.append(&mut reclaimed.blocks);
            return !self.detached.is_empty();
        }
        // Oldest first: an older subtree may name this directory as the one it is still charged to.
        let waiting = !self.detached.is_empty();
        self.detached.push_back(slot);
        self.sum.cut_off();
        if waiting {
            return true;
        }
        let mut reclaimed = self.reclaim(AT_ONCE);
        out.append(&mut reclaimed.blocks);
        !reclaimed.done
    }

    /// Frees everything that waits.
    pub(crate) fn reclaim_all(&mut self, out: &mut Vec<Block>) {
        while !self.detached.is_empty() {
            out.append(&mut self.reclaim(usize::MAX).blocks);
        }
    }

    /// Adds to the usage of a directory and its ancestors.
    pub(crate) fn charge(&mut self, dir: Slot, change: Usage) {
        if change == Usage::default() {
            return;
        }
        self.root_quota.charge(&change);
        if self.quotas.len() == 0 {
            return;
        }
        let mut at = dir;
        while at != NONE && at != self.root {
            let rec = self.inodes.get(at);
            if rec.has_quota()
                && let Some(quota) = self.quotas.get_mut(at)
            {
                quota.charge(&change);
            }
            at = rec.parent;
        }
    }

    /// Makes the file's writer known (and holds its lease).
    pub(crate) fn open_file(&mut self, slot: Slot, client_name: &str, client_machine: &str) {
        debug_assert!(self.rec(slot).is_file(), "only files are written");
        debug_assert!(self.open.get(slot).is_none(), "a file has one writer");
        let id = self.rec(slot).id();
        let mono_ms = self.now_mono_ms.load(Ordering::Relaxed);
        let holder = self.leases.add(client_name, id, mono_ms);
        self.open.insert(
            slot,
            Open {
                client_name: holder,
                client_machine: Arc::from(client_machine),
            },
        );
        debug_assert_eq!(self.leases.file_count(), self.open.len(), "each open file is leased");
        self.inodes.get_mut(slot).set(flag::OPEN_OR_QUOTA, true);
    }

    /// Ends a file's construction in the books (lease included).
    pub(crate) fn forget_open(&mut self, slot: Slot) {
        let id = self.rec(slot).id();
        if let Some(open) = self.open.remove(slot) {
            self.leases.remove(&open.client_name, id);
        }
        self.reassigned.remove(&id.0);
        debug_assert_eq!(self.leases.file_count(), self.open.len(), "only open files are leased");
        self.inodes.get_mut(slot).set(flag::OPEN_OR_QUOTA, false);
    }

    /// A new inode that hangs nowhere yet.
    pub(crate) fn new_inode(&mut self, id: InodeId, kind: u8, name: &[u8], perm: Perm, mtime: u64) -> Slot {
        let name = self.names.insert(name);
        let slot = self.inodes.insert(InodeRec::new(id, kind, name, perm, mtime));
        let before = self.inode_ids.insert(id.0, slot);
        debug_assert!(before.is_none(), "the caller has seen that the id is free");
        self.counters.inode_id = self.counters.inode_id.max(id.0);
        slot
    }
}
