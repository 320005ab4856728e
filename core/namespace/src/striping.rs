//! Files whose blocks are groups of internal blocks (`INodeFile.isStriped`, `BlockInfoStriped`).
//!
//! A striped file names its policy where a replicated one has the number of its replicas. Its blocks have negative ids.
//! Everything else about it is as in any other file, so the parts ask here for what differs: what a block takes.

pub use hathi_formats::striping::{BlockLayout, Striping};

use crate::erasure_coding::policy::ErasureCodingPolicyId;
use crate::files::block::BlockRec;
use crate::store::slab::Slot;
use crate::tree::inode::InodeRec;
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
        debug_assert!(self.rec(file).is_file(), "only files have blocks");
        let block_size = self.rec(file).block_size();
        match self.striping(file) {
            None => block_size,
            Some(striping) => block_size.saturating_mul(u64::from(striping.units())),
        }
    }

    /// How often the file is charged for what [`Stripes::charged_block`] counts.
    fn charged_times(&self, file: Slot) -> u16 {
        debug_assert!(self.rec(file).is_file(), "only files take space");
        match self.rec(file).is_striped() {
            true => 1,
            false => self.wanted_replication(file),
        }
    }
}

impl<V: View> Stripes for V {}
