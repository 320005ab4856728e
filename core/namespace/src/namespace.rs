//! The state: its parts, and what only the whole knows.
//!
//! Each part has its fields for itself, keeps its invariants and checks them:
//! - [`Tree`]: inodes, names, which hangs where;
//! - [`Files`]: the blocks of files;
//! - [`Writers`]: open files, leases, truncates;
//! - [`Attributes`]: owners, ACLs, extended attributes, quotas, targets of symlinks;
//! - [`Snapshots`]: what of the past is kept;
//! - [`Carried`]: what is kept for other NameNodes, and erasure coding policies.
//!
//! Invariants of the whole ([`Namespace::check`] verifies them, and those of the parts):
//! - ids and stamps never exceed the counters;
//! - the usage of a directory with a quota is the sum over its subtree, detached parts that are not freed included;
//! - the digest is the sum over everything.
//!
//! Mirrors `FSDirectory`, `BlockIdManager` and the part of `FSNamesystem` that follows from the edits.

use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};

use crate::attributes::Attributes;
use crate::carried::Carried;
use crate::config::NamespaceConfig;
use crate::digest::marks::Sum;
use crate::erasure_coding::ErasureCoding;
use crate::files::Files;
use crate::quotas::Usages;
use crate::snapshots::Snapshots;
use crate::store::slab::Slot;
use crate::tree::inode::{Perm, flag};
use crate::tree::{Lane, Tree};
use crate::types::Effect;
use crate::usage::Usage;
use crate::view::View;
use crate::watch::Watch;
use crate::writers::{OpenFiles, Writers};

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
    /// Those of a new namespace.
    fn new() -> Counters {
        Counters {
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
        }
    }

    /// The highest stamp of all.
    pub(crate) fn newest_stamp(&self) -> GenerationStamp {
        GenerationStamp(self.genstamp.max(self.impending_genstamp))
    }

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
    pub config: NamespaceConfig,
    pub(crate) namespace_id: u32,
    pub(crate) counters: Counters,
    pub(crate) tree: Tree,
    pub(crate) files: Files,
    pub(crate) writers: Writers,
    pub(crate) attributes: Attributes,
    pub(crate) snapshots: Snapshots,
    pub(crate) carried: Carried,
    pub(crate) active: bool,
    /// See [`Namespace::watch_access`]. Soft state.
    pub(crate) watch: Watch,
    /// See [`Namespace::is_broken`].
    pub(crate) broken: bool,
    /// See [`Namespace::adjusted_replications`].
    pub(crate) adjusted_replications: u64,
    /// The digest of everything, and its marks.
    pub(crate) sum: Sum,
    /// The lane of which the first that waits is being freed.
    pub(crate) freeing: Option<Lane>,
    /// What the end of a deleted snapshot did by the way, during this op or slice.
    pub(crate) by_the_way: Vec<Effect>,
    /// Inodes that the digest is without during this op.
    pub(crate) changing: Vec<Slot>,
    /// See [`Namespace::digest_origin`].
    pub(crate) origin: u64,
}

impl Namespace {
    /// An empty namespace with a root directory (`hdfs namenode -format`).
    #[must_use]
    pub fn new(config: NamespaceConfig) -> Self {
        let mut ns = Namespace::without_root(config);
        let user = ns.attributes.intern_user(&ns.config.fs_owner);
        let group = ns.attributes.intern_group(&ns.config.supergroup);
        ns.tree.insert_root(Perm::new(user, group, 0o755));
        ns.charge(ns.tree.root(), Usage::inodes(1));
        ns.count_all();
        ns
    }

    /// A namespace without anything, even without a root, for an image to be loaded into.
    pub(crate) fn without_root(config: NamespaceConfig) -> Self {
        Namespace {
            namespace_id: 0,
            counters: Counters::new(),
            tree: Tree::new(config.hash_seed),
            files: Files::new(),
            writers: Writers::new(),
            attributes: Attributes::new(),
            snapshots: Snapshots::new(),
            carried: Carried::default(),
            active: false,
            watch: Watch::default(),
            broken: false,
            adjusted_replications: 0,
            sum: Sum::default(),
            freeing: None,
            by_the_way: Vec::new(),
            changing: Vec::new(),
            origin: 0,
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
        self.tree.live() as u64
    }
    /// Number of blocks of files, and those of deleted subtrees until they are reclaimed.
    #[must_use]
    pub fn block_count(&self) -> u64 {
        self.files.live() as u64
    }
    /// Number of blocks that have their final length by the edits: the total that safe mode counts.
    #[must_use]
    pub fn complete_block_count(&self) -> u64 {
        (self.files.live() - self.files.open_blocks()) as u64
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
    /// The image that was loaded says that a rolling upgrade is under way, and there is nothing to roll back to: it is an
    /// image of before a rollback (`FSImageFormatProtobuf.loadNameSystemSection`).
    pub fn forget_rolling_upgrade(&mut self) {
        self.counters.rolling_upgrade_start = 0;
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
        self.counters.genstamp = self.newest_stamp().0;
        debug_assert!(
            self.counters.genstamp >= self.counters.impending_genstamp,
            "a stamp that an earlier active gave out is given out once"
        );
        self.writers.renew_all(mono_ms);
    }
    /// Whether this NameNode is active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }
    /// Whether something was deleted that [`Namespace::reclaim`] has not freed yet.
    #[must_use]
    pub fn has_detached(&self) -> bool {
        self.tree.has_waiting()
    }
    /// Leaving the active state.
    pub fn stop_active(&mut self) {
        self.active = false;
    }

    pub(crate) fn newest_stamp(&self) -> GenerationStamp {
        self.counters.newest_stamp()
    }
    /// The stamp a plan hands out.
    pub(crate) fn next_stamp(&self) -> GenerationStamp {
        GenerationStamp(self.newest_stamp().0 + 1)
    }

    /// The empty block that a plan hands out, with the next stamp.
    pub(crate) fn next_block(&self) -> Block {
        Block {
            id: BlockId(self.counters.block_id + 1),
            num_bytes: 0,
            generation_stamp: self.next_stamp(),
        }
    }

    pub(crate) fn raise_stamp(&mut self, stamp: GenerationStamp) {
        self.counters.genstamp = self.counters.genstamp.max(stamp.0);
    }

    // ---- changes that concern several parts ----

    /// A new inode that hangs nowhere yet.
    pub(crate) fn new_inode(&mut self, id: InodeId, kind: u8, name: &[u8], perm: Perm, mtime: u64) -> Slot {
        self.counters.inode_id = self.counters.inode_id.max(id.0);
        self.tree.insert(id, kind, name, perm, mtime)
    }

    /// Hangs an inode below a directory that has no such child.
    pub(crate) fn link(&mut self, parent: Slot, child: Slot) {
        self.note_comes(parent, child);
        self.tree.link(parent, child);
        self.note_linked(parent, child);
    }

    /// Adds to the usage of a directory and its ancestors.
    pub(crate) fn charge(&mut self, dir: Slot, change: Usage) {
        self.attributes.charge(&self.tree, dir, &change);
    }

    /// Counts the usage of everything, of which nothing was counted yet.
    pub(crate) fn count_usage(&mut self) {
        for slot in 0..self.tree.used() {
            let rec = *self.rec(slot);
            if rec.is_live() {
                let space = match rec.is_file() {
                    true => self.file_usage(slot),
                    false => Usage::default(),
                };
                // A directory counts itself as well.
                let from = if rec.is_dir() { slot } else { rec.parent() };
                self.charge(from, space.and_inodes(1));
            }
        }
    }

    /// Makes a directory snapshottable, or not. The digest counts it with the directory.
    pub(crate) fn set_snapshottable(&mut self, dir: Slot, on: bool) {
        self.tree.set_flag(dir, flag::MULTI_OR_SNAPSHOTTABLE, on);
        let id = self.rec(dir).id().0;
        self.snapshots.set_root(id, dir, on);
    }

    /// Makes the file's writer known (and holds its lease).
    pub(crate) fn open_file(&mut self, slot: Slot, client_name: &str, client_machine: &str) {
        self.writers.open(&mut self.tree, slot, client_name, client_machine);
    }
}

impl View for Namespace {
    type Tree = Tree;
    type Files = Files;
    type Snapshots = Snapshots;

    #[inline]
    fn tree(&self) -> &Tree {
        &self.tree
    }

    #[inline]
    fn files(&self) -> &Files {
        &self.files
    }

    #[inline]
    fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    #[inline]
    fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    #[inline]
    fn erasure_coding(&self) -> &ErasureCoding {
        self.carried.erasure_coding()
    }

    #[inline]
    fn open_files(&self) -> &OpenFiles {
        self.writers.files()
    }

    #[inline]
    fn config(&self) -> &NamespaceConfig {
        &self.config
    }

    fn slot(&self, id: InodeId) -> Option<Slot> {
        self.tree.attached(id)
    }
}
