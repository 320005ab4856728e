//! What every read goes through: the state as it is now, or as it was at one moment.
//!
//! A [`View`] says what an inode is, which children it has, and what the parts know of it, each by its slot. Path
//! resolution, permissions, statuses, listings, summaries and the digest are written once on top of it. A view is a
//! type parameter, so that reads of the live namespace cost what direct access to its parts costs.
//!
//! There are three: the namespace itself; the frozen one that images are made of, which shares its pages; and
//! [`Past`](crate::snapshots::past::Past), the namespace as of a snapshot. The first two differ in their parts
//! ([`TreePart`], [`FilesPart`]). The third overrides the questions about inodes, places, children, blocks and
//! attributes that a snapshot has records of.

use hathi_formats::editlog::XAttr;
use hathi_formats::ids::InodeId;
use smallvec::SmallVec;

use crate::attributes::{AclFeature, Attributes, Quota};
use crate::config::NamespaceConfig;
use crate::erasure_coding::ErasureCoding;
use crate::files::FilesPart;
use crate::files::block::BlockRec;
use crate::snapshots::{SnapshotId, SnapshotsPart};
use crate::store::slab::{NONE, Slot};
use crate::striping::Stripes;
use crate::tree::TreePart;
use crate::tree::inode::InodeRec;
use crate::writers::OpenFiles;

/// See the module.
pub(crate) trait View: Sized {
    /// See [`View::tree`].
    type Tree: TreePart;
    /// See [`View::files`].
    type Files: FilesPart;
    /// See [`View::snapshots`].
    type Snapshots: SnapshotsPart;

    /// Inodes, names and children.
    fn tree(&self) -> &Self::Tree;

    /// Blocks of files.
    fn files(&self) -> &Self::Files;

    /// What of the past is kept.
    fn snapshots(&self) -> &Self::Snapshots;

    /// Owners, ACLs, extended attributes, quotas and targets.
    fn attributes(&self) -> &Attributes;

    /// The erasure coding policies of the cluster.
    fn erasure_coding(&self) -> &ErasureCoding;

    /// Writers and truncates.
    fn open_files(&self) -> &OpenFiles;

    /// Limits and switches.
    fn config(&self) -> &NamespaceConfig;

    /// The inode of an id, if it hangs below the root.
    fn slot(&self, id: InodeId) -> Option<Slot>;

    // ---- what the parts know ----

    /// The root directory.
    #[inline]
    fn root(&self) -> Slot {
        self.tree().root()
    }

    /// The record of an inode. In a view of the past it does not say where the inode hangs nor what hangs below it: ask
    /// [`View::parent`], [`View::children`] and [`View::block_slots`].
    #[inline]
    fn rec(&self, slot: Slot) -> &InodeRec {
        self.tree().rec(slot)
    }

    /// The name of an inode; empty for the root.
    #[inline]
    fn name_of(&self, slot: Slot) -> &[u8] {
        self.tree().name_of(slot)
    }

    /// The directory in which an inode hangs; [`NONE`] for the root.
    #[inline]
    fn parent(&self, slot: Slot) -> Slot {
        self.rec(slot).parent()
    }

    /// A child by its name.
    #[inline]
    fn child(&self, dir: Slot, name: &[u8]) -> Option<Slot> {
        self.tree().child(dir, name)
    }

    /// Number of children; 0 for what is no directory.
    #[inline]
    fn child_count(&self, dir: Slot) -> usize {
        self.tree().children(dir).len()
    }

    /// The children in the byte order of their names.
    #[inline]
    fn children(&self, dir: Slot) -> impl Iterator<Item = Slot> {
        self.tree().children(dir).iter()
    }

    /// The children whose names come after this one, and their number. All names come after the empty one.
    #[inline]
    fn children_after(&self, dir: Slot, name: &[u8]) -> (usize, impl Iterator<Item = Slot>) {
        let tree = self.tree();
        tree.children(dir).iter_after(move |slot| tree.name_of(slot) <= name)
    }

    /// The blocks of a file in order; none of anything else.
    #[inline]
    fn block_slots(&self, file: Slot) -> &[Slot] {
        self.files().slots(self.rec(file))
    }

    /// The record of a block.
    #[inline]
    fn block_rec(&self, block: Slot) -> &BlockRec {
        self.files().get(block)
    }

    /// The ACL feature of an inode.
    #[inline]
    fn acl(&self, slot: Slot) -> Option<&AclFeature> {
        self.attributes().acl(slot)
    }

    /// All extended attributes of an inode.
    #[inline]
    fn xattrs_of(&self, slot: Slot) -> &[XAttr] {
        self.attributes().xattrs(slot)
    }

    /// Limits on names and space of a directory; -1 is none.
    fn quota_limits(&self, slot: Slot) -> (i64, i64) {
        self.quota(slot).map_or((-1, -1), |quota| (quota.ns, quota.ds))
    }

    /// Limits on storage types of a directory: (Java's ordinal, bytes).
    fn type_limits(&self, slot: Slot) -> Vec<(i32, i64)> {
        let quota = self.quota(slot);
        quota.map_or_else(Vec::new, |quota| quota.types.iter().map(|(t, q)| (*t, *q)).collect())
    }

    /// What a file takes: bytes, and how often it takes them. Each replica takes them; of a striped file they are all.
    fn space_of(&self, file: Slot) -> (i64, u16) {
        (self.charged_length(file), self.charged_times(file))
    }

    /// The snapshot that is shown; `None` for the present.
    #[inline]
    fn snapshot(&self) -> Option<SnapshotId> {
        None
    }

    // ---- what follows ----

    /// Replicas that a file's blocks should have: the highest number of the present and of the snapshots that show it; of
    /// a striped file the number of its internal blocks (`INodeFile.getPreferredBlockReplication`).
    fn wanted_replication(&self, file: Slot) -> u16 {
        if let Some(striping) = self.striping(file) {
            return u16::from(striping.units());
        }
        let diffs = self.snapshots().file_diffs(file).iter();
        let kept = diffs.filter_map(|diff| diff.kept.as_ref().map(|kept| kept.rec.replication()));
        kept.fold(self.rec(file).replication(), u16::max)
    }

    /// The quota of a directory. `None` for directories without one.
    fn quota(&self, slot: Slot) -> Option<&Quota> {
        self.attributes().quota(slot, self.rec(slot))
    }

    /// The storage policy of an inode itself (`INode.getLocalStoragePolicyID`); 0 = unspecified.
    fn own_policy(&self, slot: Slot) -> u8 {
        self.rec(slot).storage_policy
    }

    /// The storage policy in force (`INode.getStoragePolicyID`); 0 = unspecified.
    fn effective_policy(&self, slot: Slot) -> u8 {
        let mut at = slot;
        while at != NONE {
            match self.own_policy(at) {
                0 => at = self.parent(at),
                own => return own,
            }
        }
        0
    }

    /// Sum of the lengths of a file's blocks (`INodeFile.computeFileSize`).
    fn file_length(&self, file: Slot) -> u64 {
        let blocks = self.block_slots(file).iter();
        blocks.map(|block| self.block_rec(*block).len()).sum()
    }

    /// The blocks of a file that only snapshots show.
    fn blocks_of_past(&self, file: Slot) -> Vec<Slot> {
        let mut past: Vec<Slot> = Vec::new();
        let present = self.block_slots(file);
        let diffs = self.snapshots().file_diffs(file).iter();
        for block in diffs.filter_map(|diff| diff.blocks.as_deref()).flatten() {
            if !past.contains(block) && !present.contains(block) {
                past.push(*block);
            }
        }
        past
    }

    /// What the file is charged for each replica, or of a striped file in all: unfinished blocks count in full, and those
    /// count that only snapshots show (`storagespaceConsumedContiguous`, `storagespaceConsumedStriped`).
    fn charged_length(&self, file: Slot) -> i64 {
        let charged = |block: &Slot| self.charged_block(file, self.block_rec(*block));
        let present = self.block_slots(file);
        let mut bytes: u64 = present.iter().map(charged).sum();
        bytes += self.blocks_of_past(file).iter().map(charged).sum::<u64>();
        bytes as i64
    }

    /// Whether `slot` is this directory, or somewhere below it. What only a snapshot shows may be below nothing.
    fn is_below(&self, slot: Slot, ancestor: Slot) -> bool {
        debug_assert_ne!(ancestor, NONE, "it is somewhere");
        let mut at = slot;
        while at != NONE && at != ancestor {
            at = self.parent(at);
        }
        at == ancestor
    }

    /// The full path of an inode.
    fn path_of_slot(&self, slot: Slot) -> String {
        if slot == self.root() {
            return "/".to_owned();
        }
        let mut chain: SmallVec<[Slot; 16]> = SmallVec::new();
        let mut at = slot;
        while at != self.root() && at != NONE {
            chain.push(at);
            at = self.parent(at);
        }
        let mut out = String::new();
        for slot in chain.iter().rev() {
            out.push('/');
            out.push_str(&String::from_utf8_lossy(self.name_of(*slot)));
        }
        out
    }
}
