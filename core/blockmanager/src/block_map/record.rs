//! One block in 32 bytes, with three replicas in it (`BlockInfo`).
//!
//! Invariants: fields do not touch each other; a record has at most [`INLINE`] replicas in it, or the place of its list;
//! what is in no pages is all zeros.

use crate::types::{BlockLayout, BlockState, StorageIndex};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};

/// Number of replicas that fit into the record.
pub(super) const INLINE: usize = 3;
const MASK48: u64 = (1 << 48) - 1;
const MASK24: u64 = (1 << 24) - 1;

const REPLICATION_SHIFT: u32 = 48;
const REPLICATION_MAX: u64 = 0xfff;
const STATE_SHIFT: u32 = 60;
const SPILLED: u64 = 1 << 62;
const PRESENT: u64 = 1 << 63;
const COUNT_SHIFT: u32 = 48;
const FLAG_SHIFT: u32 = 56;
const SAFE: u64 = 1 << 63;
const THIRD: u64 = 0xff << 48;
const LAYOUT_SHIFT: u32 = 56;

/// How a block lies on its storages (`BlockType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Each storage has all bytes of the block (`CONTIGUOUS`). Of as many as the file asks for any one is enough.
    Replicated,
    /// The record is that of an internal block of a group (`STRIPED`). All records of a group say the same of it: length,
    /// stamp, state and file. Each has the storages of its own internal block.
    Striped {
        policy: u8,
        data_units: u8,
        parity_units: u8,
    },
}

/// The number of [`Layout::Replicated`] in a record. It is not 0, so that a record that lost it is noticed.
const REPLICATED: u64 = 1;
/// The bit of [`Layout::Striped`], beside the number of its policy. The units are where others have their replication.
const STRIPED: u64 = 0x80;

/// Facts of the parts beside the map, in one bit per block, so that a common report needs no other table. Each is set
/// where the part itself changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    /// The block has corrupt replicas.
    Corrupt = 0,
    /// The block has excess replicas.
    Excess = 1,
    /// The block is in a queue of the redundancy monitor.
    Needed = 2,
}

/// One block. Lengths and stamps have 48 bits, as lengths in block reports do. A storage has 24 bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Record {
    /// inode 48 | replication 12 | state 2 | spilled | present
    head: u64,
    /// stamp 48 | replica count 8 | flags 7 | safe
    stamp: u64,
    /// length 48 | top 8 bits of the third replica | layout 8
    length: u64,
    /// first replica 24 | second 24 | low 16 bits of the third; or the place of the spilled list
    replicas: u64,
}

const _: () = assert!(size_of::<Record>() == 32);

impl Record {
    pub(super) fn new(block: Block, inode: InodeId, layout: BlockLayout, state: BlockState) -> Record {
        let (bits, replication) = match layout {
            BlockLayout::Replicas(replication) => (REPLICATED, replication),
            BlockLayout::Striped(striping) => {
                debug_assert!(striping.is_possible(), "what has no room in a record is in no file");
                let units = u16::from(striping.data_units & 15) << 4 | u16::from(striping.parity_units & 15);
                (STRIPED | u64::from(striping.policy), units)
            }
        };
        let mut record = Record {
            head: PRESENT,
            length: bits << LAYOUT_SHIFT,
            ..Record::default()
        };
        record.set_inode(inode);
        record.set_block(block);
        record.set_replication(replication);
        record.set_state(state);
        record
    }

    pub(super) fn is_present(&self) -> bool {
        self.head & PRESENT != 0
    }

    pub(crate) fn inode(&self) -> InodeId {
        InodeId(self.head & MASK48)
    }

    pub(super) fn set_inode(&mut self, inode: InodeId) {
        self.head = (self.head & !MASK48) | (inode.0 & MASK48);
    }

    /// Of a replicated block.
    pub(crate) fn replication(&self) -> u16 {
        debug_assert!(!self.is_striped(), "an internal block is on one storage");
        (self.head >> REPLICATION_SHIFT & REPLICATION_MAX) as u16
    }

    pub(super) fn set_replication(&mut self, replication: u16) {
        let bits = u64::from(replication).min(REPLICATION_MAX);
        self.head = (self.head & !(REPLICATION_MAX << REPLICATION_SHIFT)) | (bits << REPLICATION_SHIFT);
    }

    #[inline]
    pub(crate) fn is_striped(&self) -> bool {
        self.length >> LAYOUT_SHIFT & STRIPED != 0
    }

    pub(crate) fn layout(&self) -> Layout {
        if !self.is_striped() {
            debug_assert_eq!(self.length >> LAYOUT_SHIFT, REPLICATED, "a layout that nobody wrote");
            return Layout::Replicated;
        }
        let units = (self.head >> REPLICATION_SHIFT & REPLICATION_MAX) as u8;
        Layout::Striped {
            policy: (self.length >> LAYOUT_SHIFT & !STRIPED) as u8,
            data_units: units >> 4,
            parity_units: units & 15,
        }
    }

    /// Number of internal blocks of the group; 1 for a replicated block, which has a record of its own alone.
    pub(crate) fn units(&self) -> u8 {
        match self.layout() {
            Layout::Replicated => 1,
            Layout::Striped {
                data_units,
                parity_units,
                ..
            } => data_units + parity_units,
        }
    }

    pub(crate) fn state(&self) -> BlockState {
        match self.head >> STATE_SHIFT & 3 {
            0 => BlockState::Complete,
            1 => BlockState::UnderConstruction,
            2 => BlockState::UnderRecovery,
            _ => BlockState::Committed,
        }
    }

    pub(super) fn set_state(&mut self, state: BlockState) {
        let bits = match state {
            BlockState::Complete => 0u64,
            BlockState::UnderConstruction => 1,
            BlockState::UnderRecovery => 2,
            BlockState::Committed => 3,
        };
        self.head = (self.head & !(3 << STATE_SHIFT)) | (bits << STATE_SHIFT);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.head >> STATE_SHIFT & 3 == 0
    }

    pub(crate) fn has_final_length(&self) -> bool {
        matches!(self.state(), BlockState::Complete | BlockState::Committed)
    }

    pub(crate) fn generation_stamp(&self) -> GenerationStamp {
        GenerationStamp(self.stamp & MASK48)
    }

    pub(crate) fn num_bytes(&self) -> u64 {
        self.length & MASK48
    }

    pub(super) fn set_block(&mut self, block: Block) {
        self.stamp = (self.stamp & !MASK48) | (block.generation_stamp.0 & MASK48);
        self.length = (self.length & !MASK48) | (block.num_bytes & MASK48);
    }

    pub(crate) fn flag(&self, flag: Flag) -> bool {
        self.stamp >> (FLAG_SHIFT + flag as u32) & 1 == 1
    }

    pub(super) fn set_flag(&mut self, flag: Flag, value: bool) {
        let bit = 1u64 << (FLAG_SHIFT + flag as u32);
        if value {
            self.stamp |= bit;
        } else {
            self.stamp &= !bit;
        }
    }

    /// Whether the block is complete and has the minimum of live replicas, so that it counts for safe mode.
    pub(crate) fn is_safe(&self) -> bool {
        self.stamp & SAFE != 0
    }

    pub(super) fn set_safe(&mut self, safe: bool) {
        self.stamp = (self.stamp & !SAFE) | if safe { SAFE } else { 0 };
    }

    /// Number of replicas in the record; 0 when they are in a list.
    pub(super) fn count(&self) -> usize {
        (self.stamp >> COUNT_SHIFT & 0xff) as usize
    }

    fn set_count(&mut self, count: usize) {
        debug_assert!(count <= INLINE, "more than find room go to a list");
        self.stamp = (self.stamp & !(0xff << COUNT_SHIFT)) | ((count as u64 & 0xff) << COUNT_SHIFT);
    }

    /// The replicas in the record.
    pub(super) fn inline(&self) -> impl Iterator<Item = StorageIndex> {
        (0..self.count().min(INLINE)).map(|at| {
            StorageIndex(match at {
                0 => self.replicas & MASK24,
                1 => self.replicas >> 24 & MASK24,
                _ => self.replicas >> 48 | (self.length >> 48 & 0xff) << 16,
            } as u32)
        })
    }

    /// Adds a replica behind those in the record. Returns whether there was room.
    pub(super) fn push_inline(&mut self, storage: StorageIndex) -> bool {
        debug_assert!(u64::from(storage.0) <= MASK24, "a storage has 24 bits");
        debug_assert!(self.list().is_none(), "the replicas are in a list");
        let count = self.count();
        let bits = u64::from(storage.0) & MASK24;
        match count {
            0 => self.replicas = (self.replicas & !MASK24) | bits,
            1 => self.replicas = (self.replicas & !(MASK24 << 24)) | bits << 24,
            2 => {
                self.replicas = (self.replicas & !(0xffff << 48)) | bits << 48;
                self.length = (self.length & !THIRD) | (bits >> 16) << 48;
            }
            _ => return false,
        }
        self.set_count(count + 1);
        true
    }

    /// The record has no replica in it, and none in a list.
    pub(super) fn clear_replicas(&mut self) {
        self.head &= !SPILLED;
        self.replicas = 0;
        self.length &= !THIRD;
        self.set_count(0);
    }

    /// The place of the list with the replicas, if they are in one.
    pub(super) fn list(&self) -> Option<usize> {
        (self.head & SPILLED != 0).then_some(self.replicas as usize)
    }

    pub(super) fn set_list(&mut self, place: usize) {
        self.clear_replicas();
        self.head |= SPILLED;
        self.replicas = place as u64;
    }

    /// Id, length and stamp.
    pub(crate) fn block(&self, id: BlockId) -> Block {
        Block {
            id,
            num_bytes: self.num_bytes(),
            generation_stamp: self.generation_stamp(),
        }
    }

    /// Panics when an invariant of the module does not hold.
    pub(super) fn check(&self, id: BlockId) {
        assert!(self.is_present(), "block {id} is listed but absent");
        let layout = self.length >> LAYOUT_SHIFT;
        let is_known = layout == REPLICATED || layout > STRIPED;
        assert!(is_known, "block {id} has a layout that nobody wrote");
        assert_eq!(
            id.is_striped(),
            self.is_striped(),
            "block {id} has the layout of another kind"
        );
        assert!(
            !self.is_safe() || id.index_in_group() == 0,
            "{id}: a group is counted once"
        );
        assert!(self.count() <= INLINE, "{id}: a record has room for {INLINE}");
        assert!(
            self.list().is_none() || self.count() == 0,
            "{id}: replicas in two places"
        );
        assert!(
            self.is_complete() || !self.is_safe(),
            "block {id} counts for safe mode while it is written"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Striping;
    use proptest::prelude::*;

    fn record() -> Record {
        let block = Block {
            id: BlockId(0),
            num_bytes: MASK48,
            generation_stamp: GenerationStamp(1001),
        };
        Record::new(block, InodeId(MASK48), BlockLayout::Replicas(3), BlockState::Complete)
    }

    #[test]
    fn fields_do_not_touch_each_other() {
        let mut one = record();
        one.set_state(BlockState::UnderRecovery);
        one.set_replication(512);
        one.set_flag(Flag::Corrupt, true);
        one.set_block(Block {
            id: BlockId(0),
            num_bytes: 17,
            generation_stamp: GenerationStamp(99),
        });
        one.set_inode(InodeId(5));
        assert_eq!(
            (one.inode(), one.replication(), one.state()),
            (InodeId(5), 512, BlockState::UnderRecovery)
        );
        assert_eq!(
            (one.num_bytes(), one.generation_stamp(), one.flag(Flag::Corrupt)),
            (17, GenerationStamp(99), true)
        );
        assert!(!one.is_safe() && !one.flag(Flag::Excess) && !one.flag(Flag::Needed));
        one.set_safe(true);
        assert!(one.is_safe() && !one.flag(Flag::Needed));
    }

    proptest! {
        #[test]
        fn storages_of_24_bits_find_room_and_keep_layout_and_length(
            storages in proptest::collection::vec(0u32..1 << 24, 0..5)
        ) {
            let mut one = record();
            for (at, &storage) in storages.iter().enumerate() {
                prop_assert_eq!(one.push_inline(StorageIndex(storage)), at < INLINE);
            }
            let found: Vec<u32> = one.inline().map(|storage| storage.0).collect();
            prop_assert_eq!(&found[..], &storages[..storages.len().min(INLINE)]);
            one.check(BlockId(0));
            prop_assert_eq!((one.num_bytes(), one.layout()), (MASK48, Layout::Replicated));
            let mut group = Record::new(
                one.block(BlockId(-16)),
                InodeId(MASK48),
                BlockLayout::Striped(Striping { policy: 127, data_units: 10, parity_units: 6, cell_size: 1 }),
                BlockState::Complete,
            );
            group.push_inline(StorageIndex((1 << 24) - 1));
            let layout = Layout::Striped { policy: 127, data_units: 10, parity_units: 6 };
            prop_assert_eq!((group.num_bytes(), group.layout(), group.units()), (MASK48, layout, 16));
            group.check(BlockId(-16));
            one.set_list(7);
            prop_assert_eq!((one.list(), one.count(), one.inline().count()), (Some(7), 0, 0));
            one.check(BlockId(0));
            one.clear_replicas();
            prop_assert_eq!((one.list(), one.num_bytes(), one.layout()), (None, MASK48, Layout::Replicated));
        }
    }
}
