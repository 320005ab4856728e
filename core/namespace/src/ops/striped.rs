//! Block groups of striped files.

use hathi_formats::exceptions as ex;
use hathi_formats::ids::{Block, BlockId, InodeId};
use hathi_formats::striping::Striping;

use crate::namespace::Namespace;
use crate::path::refuse;
use crate::store::slab::Slot;
use crate::striping::Stripes;
use crate::types::Refused;
use crate::view::View;

impl Namespace {
    /// How a file is striped; `None` for a replicated one, and for what is no file.
    #[must_use]
    pub fn striping_of_file(&self, file: InodeId) -> Option<Striping> {
        let slot = self.tree.find(file)?;
        self.striping(slot)
    }

    /// The policy of the block groups of a striped file that is being written or moved: the same for all of them.
    pub(crate) fn same_redundancy(&self, one: Slot, other: Slot) -> bool {
        debug_assert!(
            self.rec(one).is_file() && self.rec(other).is_file(),
            "only files have blocks"
        );
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
            debug_assert_eq!(next.index_in_group(), 0, "groups go in steps of their size");
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
