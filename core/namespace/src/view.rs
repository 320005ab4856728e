//! What every read goes through: the state as it is now, or as it was at one moment.
//!
//! A [`View`] says what an inode is, which children it has, and what the parts know of it, each by its slot. Path
//! resolution, permissions, statuses, listings, summaries and the digest are written once on top of it. A view is a
//! type parameter, so that reads of the live namespace cost what direct access to its parts costs.
//!
//! There are two: the namespace itself, and the frozen one that images are made of, which shares its pages. A third one,
//! as of a snapshot, would answer for the inodes and children that the snapshot has records of, and pass on the other
//! questions.

use hathi_formats::ids::InodeId;
use smallvec::SmallVec;

use crate::attributes::{Attributes, Quota};
use crate::config::NamespaceConfig;
use crate::files::block::BlockRec;
use crate::store::slab::{NONE, Slot};
use crate::tree::inode::InodeRec;
use crate::writers::OpenFiles;

/// See the module.
pub(crate) trait View: Sized {
    /// Limits and switches.
    fn config(&self) -> &NamespaceConfig;

    /// The root directory.
    fn root(&self) -> Slot;

    /// The inode of an id, if it hangs below the root.
    fn slot(&self, id: InodeId) -> Option<Slot>;

    /// The record of an inode.
    fn rec(&self, slot: Slot) -> &InodeRec;

    /// The name of an inode; empty for the root.
    fn name_of(&self, slot: Slot) -> &[u8];

    /// A child by its name.
    fn child(&self, dir: Slot, name: &[u8]) -> Option<Slot>;

    /// Number of children; 0 for what is no directory.
    fn child_count(&self, dir: Slot) -> usize;

    /// The children in the byte order of their names.
    fn children(&self, dir: Slot) -> impl Iterator<Item = Slot>;

    /// The children whose names come after this one, and their number. All names come after the empty one.
    fn children_after(&self, dir: Slot, name: &[u8]) -> (usize, impl Iterator<Item = Slot>);

    /// The blocks of a file in order; none of anything else.
    fn block_slots(&self, file: Slot) -> &[Slot];

    /// The record of a block.
    fn block_rec(&self, block: Slot) -> &BlockRec;

    /// Owners, ACLs, extended attributes, quotas and targets.
    fn attributes(&self) -> &Attributes;

    /// Writers and truncates.
    fn open_files(&self) -> &OpenFiles;

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

    /// What the file is charged for each replica: unfinished blocks count in full (`storagespaceConsumedContiguous`).
    fn charged_length(&self, file: Slot) -> i64 {
        let block_size = self.rec(file).block_size();
        let bytes: u64 = self
            .block_slots(file)
            .iter()
            .map(|block| {
                let block = self.block_rec(*block);
                if block.is_open() { block_size } else { block.len() }
            })
            .sum();
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
