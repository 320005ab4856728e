//! Replicas that are known to be bad (`CorruptReplicasMap`, `BlockManager.findAndMarkBlockAsCorrupt`).
//!
//! There are two kinds of marks:
//! - *Derived*: a report shows another stamp, length or state than the block's. Losing such a mark at any moment is safe,
//!   as each report of the replica makes it again. It is forgotten as soon as the deletion is ordered.
//! - *Reported*: somebody read the replica and found it bad. Nothing but this mark tells it from a good one, as its length
//!   and stamp are right. It is known to every NameNode (DataNodes report to all, the active passes on what clients say),
//!   and it ends only with the replica: by a notice of its deletion, or by two full reports of its node without it. One
//!   report is not enough, for it may have been under way when the mark was made. The order to delete it, the death and
//!   the return of its node, a full report that names it and a change of role do not end it.
//!
//! Hadoop forgets the second kind when it orders the deletion, and at each failover, as its standbys refuse
//! `reportBadBlocks`. When every NameNode is restarted at once, marks are lost here too, until DataNodes tell them again.
//!
//! A mark on a good replica costs a copy and never the last good replica: a marked replica is deleted only when enough
//! others are good.
//!
//! Invariants ([`CorruptReplicas::check`]):
//! - a block is listed while it has a mark, and has one mark per node at most;
//! - `Flag::Corrupt` of a block in the map says whether it is listed: the functions here that change the one get the map
//!   to change the other;
//! - a block that no edit has told of has reported marks only.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::block_map::{BlockMap, Flag};
use crate::types::{BlockManagerError, DatanodeIndex, ReportSequence};
use hathi_formats::ids::{Block, BlockId};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// With this many corrupt blocks a standby refuses marks on blocks that it has not read of yet, because nothing else
/// bounds their number. DataNodes and the active report them again.
const MAX_WITH_EARLY_MARKS: usize = 100_000;

/// Why a replica is corrupt (`CorruptReplicasMap.Reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CorruptReason {
    /// A DataNode or a client has read the replica and found it bad.
    Reported,
    /// The replica has another generation stamp than the block.
    GenerationStamp,
    /// The replica has another length than the block.
    Size,
    /// The replica has a state that is impossible for the block.
    State,
}

/// A corrupt replica of a block. Only this module changes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CorruptMark {
    pub(crate) node: DatanodeIndex,
    pub(crate) reason: CorruptReason,
    /// The replica as it was named.
    pub(crate) block: Block,
    /// The block was being written or recovered. Readers and copies then meet replicas that change under them, so the
    /// complaint may be about nothing; it ends when the replica is received with the block's stamp and length.
    pub(crate) while_written: bool,
    /// The replica's own DataNode has read it while nothing could change it. Then the complaint is about something, and
    /// ends only when a replica of a newer stamp is received: a copy that has replaced it, or what a block recovery has
    /// made of it. Its DataNode says so again of the second.
    pub(crate) by_its_node: bool,
    /// Its deletion is ordered, and no report since has shown it. Not known after a change of role: then it is ordered
    /// again.
    pub(crate) ordered: bool,
    /// The full report begun last before the mark was made.
    pub(crate) since_report: ReportSequence,
}

/// Corrupt replicas by block and node.
#[derive(Debug, Default)]
pub(crate) struct CorruptReplicas {
    blocks: BTreeMap<BlockId, SmallVec<[CorruptMark; 1]>>,
    /// How many replicas were newly found to be bad since the start.
    news: u64,
}

impl CorruptReplicas {
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// How many replicas were newly found to be bad since the start.
    pub(crate) fn news(&self) -> u64 {
        self.news
    }

    /// The marks of a block.
    pub(crate) fn of(&self, id: BlockId) -> &[CorruptMark] {
        self.blocks.get(&id).map_or(&[], SmallVec::as_slice)
    }

    /// All blocks with an id at or above this one and their marks, in the order of ids.
    pub(crate) fn from(&self, id: BlockId) -> impl Iterator<Item = (BlockId, &[CorruptMark])> {
        self.blocks.range(id..).map(|(&id, marks)| (id, marks.as_slice()))
    }

    /// Whether the node's replica of a block counts as corrupt.
    pub(crate) fn is_marked(&self, id: BlockId, node: DatanodeIndex) -> bool {
        self.of(id).iter().any(|mark| mark.node == node)
    }

    /// Whether somebody has read the node's replica and found it bad.
    pub(crate) fn is_reported(&self, id: BlockId, node: DatanodeIndex) -> bool {
        self.of(id)
            .iter()
            .any(|mark| mark.node == node && mark.reason == CorruptReason::Reported)
    }

    /// Somebody has found a replica of a block in the map to be bad, which was not known.
    pub(crate) fn note_news(&mut self) {
        self.news = self.news.saturating_add(1);
    }

    /// Marks a replica.
    pub(crate) fn mark(
        &mut self,
        map: &mut BlockMap,
        block: Block,
        node: DatanodeIndex,
        reason: CorruptReason,
        since_report: ReportSequence,
    ) {
        let while_written = map.get(block.id).is_some_and(|record| !record.is_complete());
        let new = CorruptMark {
            node,
            reason,
            block,
            while_written,
            by_its_node: false,
            ordered: false,
            since_report,
        };
        let marks = self.blocks.entry(block.id).or_default();
        match marks.iter_mut().find(|mark| mark.node == node) {
            // What a reader found is not undone by what a report shows.
            Some(known) if known.reason == CorruptReason::Reported => {}
            Some(known) => *known = new,
            None => marks.push(new),
        }
        map.set_flag(block.id, Flag::Corrupt, true);
    }

    /// The node has read its marked replica itself, as it is named here.
    pub(crate) fn confirm(&mut self, block: Block, node: DatanodeIndex) {
        let marks = self.blocks.get_mut(&block.id).into_iter().flatten();
        for mark in marks.filter(|mark| mark.node == node && mark.reason == CorruptReason::Reported) {
            mark.by_its_node = true;
            mark.block = block;
        }
    }

    /// A complete replica was received from a node, with the stamp and length of its block: whether the mark is over.
    pub(crate) fn is_over_with(mark: &CorruptMark, received: Block) -> bool {
        let is_newer = received.generation_stamp > mark.block.generation_stamp;
        mark.while_written && (is_newer || !mark.by_its_node)
    }

    /// Marks a replica of a block that the edits have not told of yet.
    ///
    /// # Errors
    /// [`BlockManagerError::Busy`] when there are too many marks.
    pub(crate) fn mark_early(
        &mut self,
        map: &mut BlockMap,
        block: Block,
        node: DatanodeIndex,
        since_report: ReportSequence,
    ) -> Result<(), BlockManagerError> {
        debug_assert!(map.get(block.id).is_none(), "the edits have told of {}", block.id);
        if self.blocks.len() >= MAX_WITH_EARLY_MARKS {
            return Err(BlockManagerError::Busy("too many corrupt replicas of blocks to come"));
        }
        self.mark(map, block, node, CorruptReason::Reported, since_report);
        Ok(())
    }

    /// The block has just been read of: what was said of its replicas before counts, but for older stamps.
    pub(crate) fn adopt(&mut self, map: &mut BlockMap, block: Block) {
        let Some(marks) = self.blocks.get_mut(&block.id) else {
            return;
        };
        marks.retain(|mark| mark.block.generation_stamp >= block.generation_stamp);
        let any = !marks.is_empty();
        if !any {
            self.blocks.remove(&block.id);
        }
        map.set_flag(block.id, Flag::Corrupt, any);
    }

    /// Ends the marks of a block that are `over`. Returns whether there was one.
    pub(crate) fn end(&mut self, map: &mut BlockMap, id: BlockId, over: impl Fn(&CorruptMark) -> bool) -> bool {
        let Some(marks) = self.blocks.get_mut(&id) else {
            return false;
        };
        let before = marks.len();
        marks.retain(|mark| !over(mark));
        let left = marks.len();
        if left == 0 {
            self.blocks.remove(&id);
            map.set_flag(id, Flag::Corrupt, false);
        }
        left < before
    }

    /// The block is not in the map any more.
    pub(crate) fn remove(&mut self, id: BlockId) {
        self.blocks.remove(&id);
    }

    /// The deletion of a reported replica is ordered.
    pub(crate) fn note_order(&mut self, id: BlockId, node: DatanodeIndex) {
        let marks = self.blocks.get_mut(&id).into_iter().flatten();
        for mark in marks.filter(|mark| mark.node == node) {
            debug_assert!(
                mark.reason == CorruptReason::Reported,
                "a derived mark ends with the order"
            );
            mark.ordered = true;
        }
    }

    /// The mark's order is void: it did not leave, or the replica was seen after it.
    pub(crate) fn forget_order(&mut self, id: BlockId, node: DatanodeIndex) {
        let marks = self.blocks.get_mut(&id).into_iter().flatten();
        for mark in marks.filter(|mark| mark.node == node) {
            mark.ordered = false;
        }
    }

    /// After a change of role nothing is ordered.
    pub(crate) fn forget_orders(&mut self) {
        for mark in self.blocks.values_mut().flatten() {
            mark.ordered = false;
        }
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self, map: &BlockMap) {
        for (&id, marks) in &self.blocks {
            assert!(!marks.is_empty(), "block {id} is listed as corrupt without a replica");
            match map.get(id) {
                Some(record) => assert!(record.flag(Flag::Corrupt), "corrupt flag of {id}"),
                None => assert!(
                    marks.iter().all(|mark| mark.reason == CorruptReason::Reported),
                    "block {id} is in no file, and so a report can't show that its replica differs from it"
                ),
            }
            for (at, mark) in marks.iter().enumerate() {
                assert_eq!(mark.block.id, id, "a mark stands at another block");
                assert!(
                    marks
                        .iter()
                        .skip(at.saturating_add(1))
                        .all(|other| other.node != mark.node),
                    "block {id} is marked twice on one node"
                );
                assert!(
                    !mark.ordered || mark.reason == CorruptReason::Reported,
                    "block {id}: a derived mark ends with the order"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{BlockLayout, BlockState, NewBlock};
    use hathi_formats::ids::{GenerationStamp, InodeId};

    const NODE: DatanodeIndex = DatanodeIndex(1);
    const OTHER: DatanodeIndex = DatanodeIndex(2);

    fn block(stamp: u64) -> Block {
        Block {
            id: BlockId(1 << 31),
            num_bytes: 1,
            generation_stamp: GenerationStamp(stamp),
        }
    }

    fn map_with(stamp: u64, state: BlockState) -> BlockMap {
        let mut map = BlockMap::default();
        map.insert(NewBlock {
            block: block(stamp),
            inode: InodeId(20_000),
            layout: BlockLayout::Replicas(1),
            state,
        });
        map
    }

    fn flag(map: &BlockMap) -> bool {
        map.get(block(0).id).unwrap().flag(Flag::Corrupt)
    }

    #[test]
    fn a_report_does_not_undo_what_a_reader_found() {
        let mut map = map_with(1001, BlockState::Complete);
        let mut corrupt = CorruptReplicas::default();
        let since = ReportSequence::default();
        corrupt.mark(&mut map, block(1001), NODE, CorruptReason::Reported, since);
        corrupt.mark(&mut map, block(1001), NODE, CorruptReason::Size, since);
        corrupt.mark(&mut map, block(1000), OTHER, CorruptReason::Size, since);
        corrupt.mark(&mut map, block(1000), OTHER, CorruptReason::GenerationStamp, since);
        let reasons: Vec<_> = corrupt.of(block(0).id).iter().map(|mark| mark.reason).collect();
        assert_eq!(reasons, [CorruptReason::Reported, CorruptReason::GenerationStamp]);
        corrupt.check(&map);
        assert!(flag(&map));
        assert!(corrupt.end(&mut map, block(0).id, |mark| mark.node == NODE));
        assert!(flag(&map), "the other replica is corrupt still");
        assert!(!corrupt.end(&mut map, block(0).id, |mark| mark.node == NODE));
        assert!(corrupt.end(&mut map, block(0).id, |_| true));
        assert!(!flag(&map) && corrupt.is_empty());
        corrupt.check(&map);
    }

    #[test]
    fn an_early_mark_counts_when_the_block_comes_with_no_newer_stamp() {
        for (stamp, counts) in [(1001, true), (1002, false)] {
            let mut corrupt = CorruptReplicas::default();
            let since = ReportSequence::default();
            let marked = corrupt.mark_early(&mut BlockMap::default(), block(1001), NODE, since);
            assert_eq!(marked, Ok(()));
            let mut map = map_with(stamp, BlockState::Complete);
            corrupt.adopt(&mut map, block(stamp));
            assert_eq!((flag(&map), corrupt.is_marked(block(0).id, NODE)), (counts, counts));
            corrupt.check(&map);
        }
    }

    #[test]
    fn orders_are_forgotten_and_marks_are_not() {
        let mut map = map_with(1001, BlockState::UnderConstruction);
        let mut corrupt = CorruptReplicas::default();
        corrupt.mark(
            &mut map,
            block(1001),
            NODE,
            CorruptReason::Reported,
            ReportSequence::default(),
        );
        let mark = |corrupt: &CorruptReplicas| corrupt.of(block(0).id)[0];
        assert!(mark(&corrupt).while_written && !mark(&corrupt).ordered);
        corrupt.note_order(block(0).id, NODE);
        assert!(mark(&corrupt).ordered);
        corrupt.forget_order(block(0).id, OTHER);
        assert!(mark(&corrupt).ordered);
        corrupt.forget_orders();
        assert!(!mark(&corrupt).ordered && corrupt.is_reported(block(0).id, NODE));
    }
}
