//! The packed record of a block. Its size is the memory of the NameNode, so it is asserted here.

use hathi_formats::ids::{Block, BlockId, GenerationStamp};

use crate::store::slab::{NONE, Slot};
use crate::tree::inode::MAX_48;

/// One block of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockRec {
    id_lo: u32,
    id_hi: u32,
    len_lo: u32,
    gs_lo: u32,
    /// Slot of the file; [`NONE`] in a free record.
    pub(super) file: Slot,
    len_hi: u16,
    gs_hi: u8,
    flags: u8,
}

const _: () = assert!(size_of::<BlockRec>() == 24);

/// Stamps that fit a block record.
pub(crate) const MAX_GENERATION_STAMP: u64 = (1 << 40) - 1;
const BLOCK_OPEN: u8 = 1;

impl Default for BlockRec {
    fn default() -> Self {
        BlockRec {
            id_lo: 0,
            id_hi: 0,
            len_lo: 0,
            gs_lo: 0,
            file: NONE,
            len_hi: 0,
            gs_hi: 0,
            flags: 0,
        }
    }
}

impl BlockRec {
    pub(crate) fn new(block: Block, file: Slot, open: bool) -> Self {
        let id = block.id.0 as u64;
        let mut rec = BlockRec {
            id_lo: id as u32,
            id_hi: (id >> 32) as u32,
            file,
            flags: if open { BLOCK_OPEN } else { 0 },
            ..BlockRec::default()
        };
        rec.set_len(block.num_bytes);
        rec.set_generation_stamp(block.generation_stamp);
        rec
    }
    #[inline]
    pub(crate) fn id(&self) -> BlockId {
        BlockId((u64::from(self.id_lo) | u64::from(self.id_hi) << 32) as i64)
    }
    /// Slot of the file.
    #[inline]
    pub(crate) fn file(&self) -> Slot {
        self.file
    }
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        u64::from(self.len_lo) | u64::from(self.len_hi) << 32
    }
    pub(crate) fn set_len(&mut self, bytes: u64) {
        let bytes = bytes.min(MAX_48);
        self.len_lo = bytes as u32;
        self.len_hi = (bytes >> 32) as u16;
    }
    pub(crate) fn generation_stamp(&self) -> GenerationStamp {
        GenerationStamp(u64::from(self.gs_lo) | u64::from(self.gs_hi) << 32)
    }
    pub(crate) fn set_generation_stamp(&mut self, stamp: GenerationStamp) {
        let stamp = stamp.0.min(MAX_GENERATION_STAMP);
        self.gs_lo = stamp as u32;
        self.gs_hi = (stamp >> 32) as u8;
    }
    /// Whether by the edits the block is still being written.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.flags & BLOCK_OPEN != 0
    }
    pub(super) fn set_open(&mut self, open: bool) {
        self.flags = if open { BLOCK_OPEN } else { 0 };
    }
    pub(crate) fn block(&self) -> Block {
        Block {
            id: self.id(),
            num_bytes: self.len(),
            generation_stamp: self.generation_stamp(),
        }
    }
}
