//! Files whose blocks are groups of internal blocks (`INodeFile.isStriped`, `BlockInfoStriped`).
//!
//! A striped file names its policy where a replicated one has the number of its replicas. Its blocks have negative ids.
//! Everything else about it is as in any other file, so the parts ask here for what differs: what a block takes.

use hathi_formats::exceptions as ex;
use hathi_formats::ids::{Block, BlockId, InodeId};
pub use hathi_formats::striping::{BlockLayout, Striping};

use crate::erasure_coding::policy::ErasureCodingPolicyId;
use crate::files::block::BlockRec;
use crate::namespace::Namespace;
use crate::path::refuse;
use crate::store::slab::Slot;
use crate::tree::inode::InodeRec;
use crate::types::Refused;
use crate::view::View;

/// What a view says of striped files.
pub(crate) trait Stripes: View {
    /// How a file is striped; `None` for a replicated one.
    #[inline]
    fn striping(&self, file: Slot) -> Option<Striping> {
        self.striping_of(self.rec(file))
    }

    /// How a file with this record is striped.
    #[inline]
    fn striping_of(&self, rec: &InodeRec) -> Option<Striping> {
        let policy = rec.erasure_coding_policy()?;
        let striping = self.striping_by(policy);
        debug_assert!(striping.is_some(), "no file is taken in whose policy is not known");
        striping
    }

    /// What a policy says about internal blocks. `None` if there is no such policy, or none that can be.
    fn striping_by(&self, policy: ErasureCodingPolicyId) -> Option<Striping> {
        let policy = self.erasure_coding().with_id(policy)?;
        let striping = Striping {
            policy: policy.id.0,
            data_units: policy.data_units,
            parity_units: policy.parity_units,
            cell_size: policy.cell_size,
        };
        striping.is_possible().then_some(striping)
    }

    /// What the blocks of a file need on DataNodes.
    fn wanted_layout(&self, file: Slot) -> BlockLayout {
        match self.striping(file) {
            None => BlockLayout::Replicas(self.wanted_replication(file)),
            Some(striping) => BlockLayout::Striped(striping),
        }
    }

    /// Bytes that a block with this record takes: in each replica, or of a block group in all of it. One that is written
    /// counts in full.
    fn charged_block(&self, file: Slot, block: &BlockRec) -> u64 {
        match (block.is_open(), self.striping(file)) {
            (true, _) => self.full_block(file),
            (false, None) => block.len(),
            (false, Some(striping)) => striping.space(block.len()),
        }
    }

    /// Bytes that a block takes while it is written, as [`Stripes::charged_block`] counts.
    fn full_block(&self, file: Slot) -> u64 {
        let block_size = self.rec(file).block_size();
        match self.striping(file) {
            None => block_size,
            Some(striping) => block_size.saturating_mul(u64::from(striping.units())),
        }
    }

    /// How often the file is charged for what [`Stripes::charged_block`] counts.
    fn charged_times(&self, file: Slot) -> u16 {
        match self.rec(file).is_striped() {
            true => 1,
            false => self.wanted_replication(file),
        }
    }
}

impl<V: View> Stripes for V {}

impl Namespace {
    /// How a file is striped; `None` for a replicated one, and for what is no file.
    #[must_use]
    pub fn striping_of_file(&self, file: InodeId) -> Option<Striping> {
        let slot = self.tree.find(file)?;
        self.striping(slot)
    }

    /// The policy of the block groups of a striped file that is being written or moved: the same for all of them.
    pub(crate) fn same_redundancy(&self, one: Slot, other: Slot) -> bool {
        self.rec(one).erasure_coding_policy() == self.rec(other).erasure_coding_policy()
    }

    /// The empty block group that a plan hands out, with the next stamp (`SequentialBlockGroupIdGenerator`).
    pub(crate) fn next_group(&self) -> Result<Block, Refused> {
        let mut last = BlockId(self.counters.striped_block_id).group();
        loop {
            let next = last.0.checked_add(i64::from(hathi_formats::striping::MAX_UNITS));
            let Some(next) = next.map(BlockId).filter(|id| id.is_striped()) else {
                let message = "All negative block group IDs are used, growing into positive IDs, which might conflict \
                               with non-erasure coded blocks.";
                return Err(refuse(ex::ILLEGAL_STATE, message));
            };
            if self.files.find(next).is_none() {
                return Ok(Block {
                    id: next,
                    num_bytes: 0,
                    generation_stamp: self.next_stamp(),
                });
            }
            last = next;
        }
    }
}

/// Whether a file like this can have the block: striped ones have groups, and others have none.
pub(crate) fn check_id(rec: &InodeRec, block: BlockId) -> Result<(), String> {
    match (rec.is_striped(), block.is_striped()) {
        (false, false) => Ok(()),
        (true, true) if block.index_in_group() == 0 => Ok(()),
        (true, true) => Err(format!(
            "block {block} is no block group, but one of its internal blocks"
        )),
        (true, false) => Err(format!("block {block} is no block group, and its file is striped")),
        (false, true) => Err(format!("striped block group {block} of a file that is not striped")),
    }
}
