//! How the bytes of a striped file lie in the internal blocks of its block groups (`StripedBlockUtil`).
//!
//! A block group has an id whose low four bits are 0. Its internal blocks have the same id with their index in these bits:
//! first the data blocks, then the parity blocks. The bytes of the group go to the data blocks in turn, a cell at a time.

use crate::erasure_coding::{SYSTEM_CELL_SIZE, SYSTEM_POLICIES};
use crate::ids::BlockId;
use crate::proto::hdfs::ErasureCodingPolicyProto;

/// Number of ids that belong to a block group (`HdfsServerConstants.MAX_BLOCKS_IN_GROUP`).
pub const MAX_UNITS: u8 = 16;

/// The bits of an id that are the index in the group (`HdfsServerConstants.BLOCK_GROUP_INDEX_MASK`).
const INDEX_MASK: i64 = 15;

impl BlockId {
    /// Whether this is the id of a block group, or of one of its internal blocks (`BlockIdManager.isStripedBlockID`).
    #[must_use]
    pub const fn is_striped(self) -> bool {
        self.0 < 0
    }

    /// The block group of an internal block, and of a group itself. A replicated block is its own
    /// (`BlockIdManager.convertToStripedID`).
    #[must_use]
    pub const fn group(self) -> BlockId {
        match self.is_striped() {
            true => BlockId(self.0 & !INDEX_MASK),
            false => self,
        }
    }

    /// The index of an internal block in its group; 0 for a replicated block (`BlockIdManager.getBlockIndex`).
    #[must_use]
    pub const fn index_in_group(self) -> u8 {
        match self.is_striped() {
            true => (self.0 & INDEX_MASK) as u8,
            false => 0,
        }
    }

    /// The internal block with this index, below [`MAX_UNITS`], of a block group.
    #[must_use]
    pub const fn internal(self, index: u8) -> BlockId {
        BlockId((self.0 & !INDEX_MASK) | (index as i64 & INDEX_MASK))
    }
}

/// What an erasure coding policy says about the internal blocks of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Striping {
    /// Number of the policy, from 1 to 127.
    pub policy: u8,
    /// Number of data blocks, at least 1.
    pub data_units: u8,
    /// Number of parity blocks.
    pub parity_units: u8,
    /// Bytes that go to one data block before the next one gets some, at least 1.
    pub cell_size: u32,
}

/// How the bytes of a block are kept safe (`BlockType`, with its numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockLayout {
    /// Each of so many replicas has all bytes (`CONTIGUOUS`).
    Replicas(u16),
    /// The block is a group of internal blocks (`STRIPED`).
    Striped(Striping),
}

/// Where a byte of a block group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripedPlace {
    /// The data block.
    pub index: u8,
    /// Offset in this internal block.
    pub offset: u64,
    /// So many bytes of the group from here on are next to each other in the internal block.
    pub contiguous: u64,
}

impl Striping {
    /// What a policy in a message says. Of the policies that every Hadoop has a message may tell only the number. `None` if
    /// there can be no such policy.
    #[must_use]
    pub fn of_policy(policy: &ErasureCodingPolicyProto) -> Option<Striping> {
        let id = u8::try_from(policy.id).ok()?;
        let striping = match (SYSTEM_POLICIES.iter().find(|known| known.id == id), &policy.schema) {
            (Some(known), _) => Striping {
                policy: id,
                data_units: known.data_units,
                parity_units: known.parity_units,
                cell_size: SYSTEM_CELL_SIZE,
            },
            (None, Some(schema)) => Striping {
                policy: id,
                data_units: u8::try_from(schema.data_units).ok()?,
                parity_units: u8::try_from(schema.parity_units).ok()?,
                cell_size: policy.cell_size?,
            },
            (None, None) => return None,
        };
        striping.is_possible().then_some(striping)
    }

    /// Number of internal blocks.
    #[must_use]
    pub const fn units(&self) -> u8 {
        self.data_units.saturating_add(self.parity_units)
    }

    /// Whether a group can be like this: there are units of both kinds, they have ids, and a cell has bytes.
    #[must_use]
    pub const fn is_possible(&self) -> bool {
        let (data, parity) = (self.data_units, self.parity_units);
        data > 0
            && parity > 0
            && data < MAX_UNITS
            && parity < MAX_UNITS
            && self.units() <= MAX_UNITS
            && self.cell_size > 0
            && self.policy > 0
            && self.policy < 128
    }

    fn stripe_bytes(&self) -> u64 {
        u64::from(self.cell_size)
            .saturating_mul(u64::from(self.data_units))
            .max(1)
    }

    /// Length of the internal block with this index, of a group that holds so many bytes of its file
    /// (`StripedBlockUtil.getInternalBlockLength`). A parity block is as long as the first data block.
    #[must_use]
    pub fn internal_length(&self, group_bytes: u64, index: u8) -> u64 {
        let (cell, stripe) = (u64::from(self.cell_size), self.stripe_bytes());
        let full_stripes = group_bytes.checked_div(stripe).unwrap_or(0);
        let rest = group_bytes.saturating_sub(full_stripes.saturating_mul(stripe));
        let place = if index < self.data_units { u64::from(index) } else { 0 };
        let in_last_stripe = rest.saturating_sub(place.saturating_mul(cell)).min(cell);
        full_stripes.saturating_mul(cell).saturating_add(in_last_stripe)
    }

    /// Bytes that a group takes on DataNodes (`StripedBlockUtil.spaceConsumedByStripedBlock`).
    #[must_use]
    pub fn space(&self, group_bytes: u64) -> u64 {
        let parity = self.internal_length(group_bytes, self.data_units);
        group_bytes.saturating_add(parity.saturating_mul(u64::from(self.parity_units)))
    }

    /// Number of data blocks that have bytes: a group with less than a stripe leaves the last ones out
    /// (`BlockInfoStriped.getRealDataBlockNum`).
    #[must_use]
    pub fn data_units_of(&self, group_bytes: u64) -> u8 {
        let cells = group_bytes.div_ceil(u64::from(self.cell_size).max(1));
        u8::try_from(cells).unwrap_or(u8::MAX).min(self.data_units)
    }

    /// Bytes of a group whose writer is gone that can be read for sure, from the lengths of its internal blocks: all stripes
    /// of which enough cells are whole (`StripedBlockUtil.getSafeLength`). `None` if there are too few internal blocks.
    #[must_use]
    pub fn safe_length(&self, lengths: &[u64]) -> Option<u64> {
        let mut sorted = lengths.to_vec();
        sorted.sort_unstable();
        let at = sorted.len().checked_sub(usize::from(self.data_units))?;
        let stripes = sorted.get(at)?.checked_div(u64::from(self.cell_size))?;
        stripes.checked_mul(self.stripe_bytes())
    }

    /// Whether an internal block of such a group has bytes. One that has none is on no DataNode.
    #[must_use]
    pub fn has_bytes(&self, group_bytes: u64, index: u8) -> bool {
        index < self.units() && (index >= self.data_units || index < self.data_units_of(group_bytes))
    }

    /// Where the byte at this offset of a group is.
    #[must_use]
    pub fn place(&self, offset: u64) -> StripedPlace {
        let (cell, stripe) = (u64::from(self.cell_size).max(1), self.stripe_bytes());
        let stripes = offset.checked_div(stripe).unwrap_or(0);
        let in_stripe = offset.saturating_sub(stripes.saturating_mul(stripe));
        let index = in_stripe.checked_div(cell).unwrap_or(0);
        let in_cell = in_stripe.saturating_sub(index.saturating_mul(cell));
        StripedPlace {
            index: u8::try_from(index).unwrap_or(u8::MAX),
            offset: stripes.saturating_mul(cell).saturating_add(in_cell),
            contiguous: cell.saturating_sub(in_cell),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RS: Striping = Striping {
        policy: 2,
        data_units: 3,
        parity_units: 2,
        cell_size: 10,
    };

    /// Deals the bytes out one by one.
    fn dealt(striping: &Striping, bytes: u64) -> Vec<u64> {
        let mut lengths = vec![0; usize::from(striping.units())];
        for byte in 0..bytes {
            let cell = byte / u64::from(striping.cell_size);
            lengths[(cell % u64::from(striping.data_units)) as usize] += 1;
        }
        let first = lengths[0];
        lengths[usize::from(striping.data_units)..].fill(first);
        lengths
    }

    #[test]
    fn internal_blocks_have_the_bytes_that_are_dealt_to_them() {
        for bytes in 0..200 {
            let lengths = dealt(&RS, bytes);
            for (index, length) in lengths.iter().enumerate() {
                let index = index as u8;
                assert_eq!(RS.internal_length(bytes, index), *length, "{index} of {bytes}");
                assert_eq!(RS.has_bytes(bytes, index), *length > 0 || (bytes == 0 && index >= 3));
            }
            assert_eq!(RS.space(bytes), lengths.iter().sum::<u64>(), "{bytes}");
            let with_data = lengths[..3].iter().filter(|length| **length > 0).count();
            assert_eq!(usize::from(RS.data_units_of(bytes)), with_data);
        }
    }

    #[test]
    fn a_byte_is_where_it_was_dealt_to() {
        let mut lengths = [0; 3];
        for byte in 0..200u64 {
            let place = RS.place(byte);
            let at = usize::from(place.index);
            assert_eq!(place.offset, lengths[at], "{byte}");
            assert_eq!(place.contiguous, 10 - byte % 10);
            lengths[at] += 1;
        }
    }

    #[test]
    fn lengths_are_hadoops() {
        // TestStripedBlockUtil, TestINodeFile: six and three units.
        let policy = Striping {
            policy: 1,
            data_units: 6,
            parity_units: 3,
            cell_size: 1 << 20,
        };
        assert_eq!(policy.space(1), 4);
        let group = 6 * (128 << 20);
        assert_eq!(policy.space(group), 9 * (128 << 20));
        assert_eq!(policy.space(u64::MAX), u64::MAX);
        assert!(policy.is_possible());
        assert!(
            !Striping {
                parity_units: 11,
                ..policy
            }
            .is_possible()
        );
    }

    #[test]
    fn a_group_is_safe_up_to_the_last_stripe_of_which_enough_cells_are_whole() {
        let safe = |lengths: &[u64]| RS.safe_length(lengths);
        assert_eq!(safe(&[20, 20, 20, 20, 20]), Some(60));
        assert_eq!(safe(&[29, 9, 20, 25]), Some(60));
        assert_eq!(safe(&[29, 9, 19, 25]), Some(30));
        assert_eq!(safe(&[5, 30, 30]), Some(0));
        assert_eq!(safe(&[30, 30]), None);
        assert_eq!(safe(&[u64::MAX; 3]), None, "no group is as long");
    }

    #[test]
    fn a_policy_that_can_not_be_is_none() {
        let policy = |id, cell_size| ErasureCodingPolicyProto {
            id,
            cell_size: Some(cell_size),
            schema: Some(Default::default()),
            ..ErasureCodingPolicyProto::default()
        };
        assert_eq!(Striping::of_policy(&policy(64, 1024)), None);
        assert_eq!(Striping::of_policy(&policy(300, 1024)), None);
        assert_eq!(
            Striping::of_policy(&policy(4, 7)).map(|known| known.cell_size),
            Some(1 << 20)
        );
    }

    #[test]
    fn ids_of_a_group_share_all_but_their_last_four_bits() {
        let group = BlockId(i64::MIN + 32);
        assert_eq!((group.group(), group.index_in_group()), (group, 0));
        let internal = group.internal(8);
        assert_eq!(internal, BlockId(i64::MIN + 40));
        assert_eq!((internal.group(), internal.index_in_group()), (group, 8));
        let plain = BlockId((1 << 30) + 5);
        assert_eq!((plain.group(), plain.index_in_group()), (plain, 0));
        assert!(internal.is_striped() && !plain.is_striped());
        assert_eq!(BlockId(-1).group(), BlockId(-16));
    }
}
