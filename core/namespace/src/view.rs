//! What every read goes through: the state as it is now, or as it was at one moment.
//!
//! A [`View`] says what an inode is, which children it has, and what the parts know of it, each by its slot. Path
//! resolution, permissions, statuses, listings, summaries and the digest are written once on top of it. A view is a
//! type parameter, so that reads of the live namespace cost what direct access to its parts costs.
//!
//! There are two: the namespace itself, and the frozen one that images are made of, which shares its pages. They differ
//! in their parts ([`TreePart`], [`FilesPart`]), and a view is a few lines on top of its parts. A third one, as of a
//! snapshot, would override the questions about inodes, children and blocks that the snapshot has records of.

use hathi_formats::ids::InodeId;
use smallvec::SmallVec;

use crate::attributes::{Attributes, Quota};
use crate::config::NamespaceConfig;
use crate::files::FilesPart;
use crate::files::block::BlockRec;
use crate::snapshots::SnapshotsPart;
use crate::store::slab::{NONE, Slot};
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

    /// The record of an inode.
    #[inline]
    fn rec(&self, slot: Slot) -> &InodeRec {
        self.tree().rec(slot)
    }

    /// The name of an inode; empty for the root.
    #[inline]
    fn name_of(&self, slot: Slot) -> &[u8] {
        self.tree().name_of(slot)
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

    // ---- what follows ----

    /// The quota of a directory. `None` for directories without one.
    fn quota(&self, slot: Slot) -> Option<&Quota> {
        self.attributes().quota(slot, self.rec(slot))
    }

    /// The storage policy in force (`INode.getStoragePolicyID`); 0 = unspecified.
    fn effective_policy(&self, slot: Slot) -> u8 {
        let mut at = slot;
        while at != NONE {
            let rec = self.rec(at);
            if rec.storage_policy != 0 {
                return rec.storage_policy;
            }
            at = rec.parent();
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

    /// What the file is charged for each replica: unfinished blocks count in full, and those count that only snapshots show
    /// (`storagespaceConsumedContiguous`).
    fn charged_length(&self, file: Slot) -> i64 {
        let block_size = self.rec(file).block_size();
        let charged = |block: &Slot| {
            let block = self.block_rec(*block);
            if block.is_open() { block_size } else { block.len() }
        };
        let present = self.block_slots(file);
        let mut bytes: u64 = present.iter().map(charged).sum();
        bytes += self.blocks_of_past(file).iter().map(charged).sum::<u64>();
        bytes as i64
    }

    /// Whether `slot` is this directory, or somewhere below it.
    fn is_below(&self, slot: Slot, ancestor: Slot) -> bool {
        let mut at = slot;
        while at != self.root() {
            if at == ancestor {
                return true;
            }
            at = self.rec(at).parent();
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
            at = self.rec(at).parent();
        }
        let mut out = String::new();
        for slot in chain.iter().rev() {
            out.push('/');
            out.push_str(&String::from_utf8_lossy(self.name_of(*slot)));
        }
        out
    }
}
