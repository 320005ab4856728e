//! The blocks of files.
//!
//! Invariants ([`Files::check`]):
//! - each live block is known by its id, and belongs to one file;
//! - it is in the list of that file, or it is the source of the file's truncate (see `writers::truncation`), or a snapshot
//!   shows it;
//! - the blocks of a striped file are block groups, and those of other files are not;
//! - only the last block of an open file is open, and open blocks are counted.
//!
//! Only this module changes a block, and it changes the digest with it.
//!
//! Mirrors `INodeFile` and the part of `BlockManager` that follows from the edits.

pub(crate) mod block;

use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};

use crate::digest::marks::Sum;
use crate::digest::terms;
use crate::store::id_map::IdMap;
use crate::store::slab::{FrozenSlab, NONE, Slab, Slot};
use crate::tree::Tree;
use crate::tree::inode::{InodeRec, flag};
use block::BlockRec;

/// See the module.
#[derive(Debug)]
pub(crate) struct Files {
    blocks: Slab<BlockRec, 12>,
    ids: IdMap,
    /// The blocks of files that have several.
    lists: Slab<Vec<Slot>, 6>,
    open_blocks: usize,
}

/// The blocks at one moment.
#[derive(Debug)]
pub(crate) struct FrozenFiles {
    blocks: FrozenSlab<BlockRec, 12>,
    lists: FrozenSlab<Vec<Slot>, 6>,
}

/// What a [view](crate::view) asks of its blocks.
pub(crate) trait FilesPart {
    /// The record of a block.
    fn get(&self, block: Slot) -> &BlockRec;

    /// The blocks of a file in order; none of anything else.
    fn slots<'a>(&'a self, file: &'a InodeRec) -> &'a [Slot];
}

/// The blocks of a file in order. `list` gives the list of a file that has several.
#[inline]
fn slots_of<'a>(file: &'a InodeRec, list: impl FnOnce(Slot) -> &'a [Slot]) -> &'a [Slot] {
    if !file.is_file() || file.data() == NONE {
        &[]
    } else if file.has(flag::MULTI_OR_SNAPSHOTTABLE) {
        list(file.data())
    } else {
        file.only_block()
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

impl Files {
    pub(crate) fn new() -> Files {
        Files {
            blocks: Slab::new(),
            ids: IdMap::new(),
            lists: Slab::new(),
            open_blocks: 0,
        }
    }

    /// Number of blocks.
    pub(crate) fn live(&self) -> usize {
        self.blocks.live()
    }

    /// Number of blocks that are still being written.
    pub(crate) fn open_blocks(&self) -> usize {
        self.open_blocks
    }

    #[inline]
    pub(crate) fn get(&self, block: Slot) -> &BlockRec {
        self.blocks.get(block)
    }

    pub(crate) fn find(&self, id: BlockId) -> Option<Slot> {
        self.ids.get(id.0 as u64)
    }

    /// The blocks of a file in order.
    #[inline]
    pub(crate) fn slots<'a>(&'a self, file: &'a InodeRec) -> &'a [Slot] {
        slots_of(file, |list| self.lists.get(list))
    }

    /// All blocks, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &BlockRec> {
        let all = (0..self.blocks.used()).map(|slot| self.blocks.get(slot));
        all.filter(|rec| rec.file != NONE)
    }

    // ---- changes ----

    /// The only way to change a block's length, stamp or state.
    pub(crate) fn change(&mut self, sum: &mut Sum, block: Slot, change: impl FnOnce(&mut BlockRec)) {
        let rec = self.blocks.get_mut(block);
        sum.subtract(terms::block(rec));
        change(rec);
        sum.add(terms::block(rec));
    }

    pub(crate) fn set_open(&mut self, sum: &mut Sum, block: Slot, open: bool) {
        if self.blocks.get(block).is_open() == open {
            return;
        }
        self.change(sum, block, |rec| rec.set_open(open));
        if open {
            self.open_blocks += 1;
        } else {
            debug_assert!(self.open_blocks > 0, "an open block is counted");
            self.open_blocks -= 1;
        }
    }

    /// A block that is in no list yet.
    fn insert(&mut self, block: Block, file: Slot, open: bool) -> (Slot, bool) {
        let slot = self.blocks.insert(BlockRec::new(block, file, open));
        let is_new = self.ids.insert(block.id.0 as u64, slot).is_none();
        self.open_blocks += usize::from(open);
        (slot, is_new)
    }

    /// Makes a new block the last one of a file.
    pub(crate) fn push(&mut self, tree: &mut Tree, sum: &mut Sum, file: Slot, block: Block, open: bool) {
        let (slot, is_new) = self.insert(block, file, open);
        debug_assert!(is_new, "the caller has seen that the block is no other file's");
        sum.add(terms::block(self.blocks.get(slot)));
        let rec = *tree.rec(file);
        if rec.data() != NONE && rec.has(flag::MULTI_OR_SNAPSHOTTABLE) {
            let list = self.lists.get_mut(rec.data());
            list.push(slot);
            sum.add(terms::place(rec.id(), list.len() - 1, self.blocks.get(slot)));
        } else if rec.data() != NONE {
            self.replace(tree, sum, file, vec![rec.data(), slot]);
        } else {
            tree.set_blocks(file, false, slot);
            sum.add(terms::place(rec.id(), 0, self.blocks.get(slot)));
        }
    }

    /// Replaces a file's block list. What becomes of the blocks that are in it no more is the caller's matter.
    pub(crate) fn replace(&mut self, tree: &mut Tree, sum: &mut Sum, file: Slot, slots: Vec<Slot>) {
        let rec = *tree.rec(file);
        debug_assert!(
            slots.iter().all(|slot| self.blocks.get(*slot).file == file),
            "a file has blocks of its own"
        );
        self.replace_places(sum, &rec, &slots);
        if rec.has(flag::MULTI_OR_SNAPSHOTTABLE) {
            self.lists.remove(rec.data());
        }
        match slots[..] {
            [] => tree.set_blocks(file, false, NONE),
            [one] => tree.set_blocks(file, false, one),
            _ => tree.set_blocks(file, true, self.lists.insert(slots)),
        }
    }

    /// The list of a file's blocks is about to be replaced. Only what differs is looked at, because taking the last
    /// blocks off one by one must not cost the square of their number.
    fn replace_places(&self, sum: &mut Sum, file: &InodeRec, new: &[Slot]) {
        let old = self.slots(file);
        let same = old.iter().zip(new).take_while(|(old, new)| old == new).count();
        let of = |list: &[Slot]| {
            let rest = list.iter().enumerate().skip(same);
            rest.map(|(index, block)| terms::place(file.id(), index, self.blocks.get(*block)))
                .fold(0, u64::wrapping_add)
        };
        sum.subtract(of(old));
        sum.add(of(new));
    }

    /// Gives blocks that are in no list to another file (`concat`).
    pub(crate) fn give(&mut self, blocks: &[Slot], file: Slot) {
        for block in blocks {
            self.blocks.get_mut(*block).file = file;
        }
    }

    /// Frees a block that is in no list.
    pub(crate) fn free(&mut self, sum: &mut Sum, block: Slot) -> Block {
        let rec = *self.blocks.get(block);
        debug_assert!(rec.file != NONE, "a block is freed once");
        sum.subtract(terms::block(&rec));
        debug_assert!(
            self.open_blocks >= usize::from(rec.is_open()),
            "an open block is counted"
        );
        self.open_blocks -= usize::from(rec.is_open());
        let known = self.ids.remove(rec.id().0 as u64);
        debug_assert_eq!(known, Some(block), "a block is known by its id");
        self.blocks.remove(block);
        rec.block()
    }

    /// Frees all blocks of a file.
    pub(crate) fn free_all(&mut self, tree: &mut Tree, sum: &mut Sum, file: Slot, freed: &mut Vec<Block>) {
        let blocks: Vec<Slot> = self.slots(tree.rec(file)).to_vec();
        self.replace(tree, sum, file, Vec::new());
        freed.extend(blocks.into_iter().map(|block| self.free(sum, block)));
    }

    // ---- images ----

    /// Adds the blocks of a file of an image. The digest has them already.
    ///
    /// # Errors
    /// A block is another file's.
    pub(crate) fn add_loaded(&mut self, tree: &mut Tree, file: Slot, blocks: &[BlockRec]) -> Result<(), String> {
        let mut slots = Vec::new();
        for rec in blocks {
            let slot = self.add_loaded_block(rec.block(), file, rec.is_open())?;
            if blocks.len() > 1 {
                slots.push(slot);
            } else {
                tree.set_blocks(file, false, slot);
            }
        }
        if !slots.is_empty() {
            tree.set_blocks(file, true, self.lists.insert(slots));
        }
        Ok(())
    }

    /// Adds a block of an image that is in no list.
    ///
    /// # Errors
    /// The block is another file's.
    pub(crate) fn add_loaded_block(&mut self, block: Block, file: Slot, open: bool) -> Result<Slot, String> {
        match self.insert(block, file, open) {
            (slot, true) => Ok(slot),
            (_, false) => Err(format!("block {} appears twice", block.id)),
        }
    }

    // ---- whole ----

    pub(crate) fn freeze(&self) -> FrozenFiles {
        let Files {
            blocks,
            // It only finds blocks, and is not in shared pages.
            ids: _,
            lists,
            open_blocks: _,
        } = self;
        FrozenFiles {
            blocks: blocks.freeze(),
            lists: lists.freeze(),
        }
    }

    /// Panics when an invariant of the module does not hold. No stamp may be above `newest`. `others` gives the
    /// blocks of a file that are not in its list: the source of its truncate, and what only snapshots show.
    pub(crate) fn check(&self, tree: &Tree, newest: GenerationStamp, others: impl Fn(Slot, InodeId) -> Vec<Slot>) {
        let (mut found, mut open_blocks, mut lists) = (0, 0, 0);
        for (file, rec) in tree.iter().filter(|(_, rec)| rec.is_file()) {
            let id = rec.id();
            let slots = self.slots(rec);
            let has_list = rec.has(flag::MULTI_OR_SNAPSHOTTABLE);
            assert_eq!(has_list, slots.len() > 1, "inode {id}: a list is for several blocks");
            lists += usize::from(has_list);
            let others = others(file, id);
            assert!(
                !others.iter().any(|other| slots.contains(other)),
                "inode {id}: a block that is not of the present is in the list as well"
            );
            for &slot in slots.iter().chain(&others) {
                let block = self.blocks.get(slot);
                assert_eq!(block.file, file, "inode {id}: block {} is another file's", block.id());
                assert_eq!(check_id(rec, block.id()), Ok(()), "inode {id}: a block of another kind");
                assert_eq!(
                    self.find(block.id()),
                    Some(slot),
                    "inode {id}: block {} is not found by its id",
                    block.id()
                );
                assert!(
                    block.generation_stamp() <= newest,
                    "inode {id}: the stamp of block {} would be given out once more",
                    block.id()
                );
                assert!(
                    !block.is_open() || ((rec.is_open() || !tree.is_attached(file)) && slots.last() == Some(&slot)),
                    "inode {id}: block {} is open but not last of an open file",
                    block.id()
                );
                found += 1;
                open_blocks += usize::from(block.is_open());
            }
        }
        assert_eq!(found, self.blocks.live(), "blocks found and kept");
        assert_eq!(found, self.ids.len(), "blocks found and known by id");
        assert_eq!(open_blocks, self.open_blocks, "open blocks found and counted");
        assert_eq!(lists, self.lists.live(), "lists of blocks found and kept");
        self.blocks.check();
        self.lists.check();
        self.ids.check();
    }
}

impl FilesPart for Files {
    #[inline]
    fn get(&self, block: Slot) -> &BlockRec {
        Files::get(self, block)
    }

    #[inline]
    fn slots<'a>(&'a self, file: &'a InodeRec) -> &'a [Slot] {
        Files::slots(self, file)
    }
}

impl FilesPart for FrozenFiles {
    #[inline]
    fn get(&self, block: Slot) -> &BlockRec {
        self.blocks.get(block)
    }

    #[inline]
    fn slots<'a>(&'a self, file: &'a InodeRec) -> &'a [Slot] {
        slots_of(file, |list| self.lists.get(list))
    }
}

#[cfg(test)]
mod tests {
    use hathi_formats::ids::GenerationStamp;

    use crate::tests::checked::{Break, DIGEST, check_finds, first_block, slot};

    const BREAKS: [(&str, Break); 6] = [
        ("is not found by its id", |ns| {
            let id = ns.files.get(first_block(ns, "/dir/closed")).id();
            ns.files.ids.remove(id.0 as u64);
        }),
        ("is another file's", |ns| {
            let (block, open) = (first_block(ns, "/dir/closed"), slot(ns, "/dir/open"));
            ns.files.give(&[block], open);
        }),
        ("is open but not last of an open file", |ns| {
            let block = first_block(ns, "/dir/closed");
            ns.files.set_open(&mut ns.sum, block, true);
        }),
        ("open blocks found and counted", |ns| ns.files.open_blocks += 1),
        ("blocks found and kept", |ns| {
            let block = first_block(ns, "/dir/closed");
            let spare = ns.files.blocks.insert(*ns.files.get(block));
            ns.files.blocks.remove(spare);
            ns.files.blocks.remove(spare);
        }),
        (DIGEST, |ns| {
            let block = first_block(ns, "/dir/closed");
            let rec = ns.files.blocks.get_mut(block);
            rec.set_generation_stamp(GenerationStamp(1));
        }),
    ];

    #[test]
    fn whatever_a_bug_may_break_in_blocks_is_found() {
        check_finds(&BREAKS);
    }
}
