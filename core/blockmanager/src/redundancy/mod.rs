//! Work on blocks with too few or too many replicas (`BlockManager.RedundancyMonitor` and its lists): what lacks
//! replicas, what is on its way, what is too many, and what DataNodes are to copy and delete.
//!
//! The lists are kept by an active that was out of safe mode once: before enough reports came, every block lacks
//! replicas. They are lost with the role: the next active makes its own by looking at all blocks.
//!
//! Invariants ([`Redundancy::check`], with those of the lists):
//! - when the lists are not kept, all of them are empty, and no scan fills them;
//! - `Flag::Needed` and `Flag::Excess` of a block say whether it is in a queue, and whether it has excess replicas:
//!   the functions here that change the one get the map to change the other.

mod excess;
mod low_redundancy;
mod orders;
mod pending;

pub(crate) use excess::Excess;
pub(crate) use low_redundancy::{Level, LowRedundancy};
pub(crate) use orders::{Coding, NO_ACK, Orders, Transfer};
pub(crate) use pending::Pending;

use crate::block_map::{BlockMap, Flag, Record};
use crate::types::{DatanodeIndex, StorageIndex};
use hathi_formats::ids::{Block, BlockId};
use std::collections::BTreeSet;

const FIRST: BlockId = BlockId(i64::MIN);

/// The lists of the redundancy monitor.
#[derive(Debug)]
pub(crate) struct Redundancy {
    /// Whether the lists are kept: since an active was out of safe mode for the first time.
    kept: bool,
    /// How far the scan is that fills the queues.
    scan_from: Option<BlockId>,
    low: LowRedundancy,
    pending: Pending,
    excess: Excess,
    /// Blocks with too many replicas, of which none may be deleted while the content of a storage is not sure.
    postponed: BTreeSet<BlockId>,
    postponed_from: BlockId,
    orders: Orders,
}

impl Default for Redundancy {
    fn default() -> Redundancy {
        Redundancy {
            kept: false,
            scan_from: None,
            low: LowRedundancy::default(),
            pending: Pending::default(),
            excess: Excess::default(),
            postponed: BTreeSet::new(),
            postponed_from: FIRST,
            orders: Orders::default(),
        }
    }
}

impl Redundancy {
    /// Whether the lists are kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    pub(crate) fn low(&self) -> &LowRedundancy {
        &self.low
    }

    pub(crate) fn pending(&self) -> &Pending {
        &self.pending
    }

    pub(crate) fn excess(&self) -> &Excess {
        &self.excess
    }

    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }

    // --- all blocks ---

    /// Begins to keep the lists, with a scan that fills them.
    pub(crate) fn begin(&mut self) {
        debug_assert!(self.kept || self.is_empty(), "work from before the lists were kept");
        self.kept = true;
        self.scan_from = Some(FIRST);
    }

    /// Forgets everything, because the role changes. Returns the blocks that had excess replicas: these count again.
    pub(crate) fn forget(&mut self, map: &mut BlockMap) -> Vec<BlockId> {
        for id in self.low.ids() {
            map.set_flag(id, Flag::Needed, false);
        }
        let excess = self.excess.clear(map);
        *self = Redundancy::default();
        excess
    }

    /// Looks at all blocks again, if the lists are kept.
    pub(crate) fn scan_again(&mut self) {
        if self.kept {
            self.scan_from = Some(FIRST);
        }
    }

    /// Whether a scan is under way.
    pub(crate) fn is_scanning(&self) -> bool {
        self.scan_from.is_some()
    }

    /// The next block of the scan. After the last one the scan is over.
    pub(crate) fn scan_next(&mut self, map: &BlockMap) -> Option<BlockId> {
        let id = map.next(self.scan_from?);
        self.scan_from = id.and_then(|id| id.0.checked_add(1)).map(BlockId);
        id
    }

    /// The block is not in the map any more.
    pub(crate) fn remove(&mut self, id: BlockId, record: &Record) {
        self.pending.remove(id);
        if record.flag(Flag::Needed) {
            self.low.set(id, None, 0);
        }
        if record.flag(Flag::Excess) {
            self.excess.remove(id);
        }
        self.postponed.remove(&id);
    }

    // --- too few replicas ---

    /// Puts a block into a queue, or takes it out.
    pub(crate) fn set_level(&mut self, map: &mut BlockMap, id: BlockId, level: Option<Level>, expected: u32) {
        let Some(record) = map.get(id) else {
            return;
        };
        if level.is_none() && !record.flag(Flag::Needed) {
            return;
        }
        debug_assert!(self.kept, "the queues are not kept");
        debug_assert!(
            level.is_none() || record.is_complete(),
            "only complete blocks are queued"
        );
        map.set_flag(id, Flag::Needed, level.is_some());
        self.low.set(id, level, expected);
    }

    /// The next blocks to work on, the most urgent first.
    pub(crate) fn choose(&mut self, count: usize) -> Vec<(BlockId, Level)> {
        self.low.choose(count)
    }

    /// Replicas are about to arrive, from a node that was told to copy, or from a pipeline.
    pub(crate) fn expect(&mut self, id: BlockId, on: &[StorageIndex], source: Option<DatanodeIndex>, now_ms: u64) {
        debug_assert!(self.kept, "who keeps no queues waits for nothing");
        self.pending.add(id, on, source, now_ms);
    }

    pub(crate) fn pending_mut(&mut self) -> &mut Pending {
        &mut self.pending
    }

    /// The node is to copy a block to these storages.
    pub(crate) fn order_copy(&mut self, node: DatanodeIndex, block: Block, targets: &[StorageIndex], now_ms: u64) {
        debug_assert!(self.kept, "who keeps no queues copies nothing");
        self.orders.copy(
            node,
            Transfer {
                block,
                targets: targets.iter().copied().collect(),
            },
        );
        self.expect(block.id, targets, Some(node), now_ms);
    }

    /// The node is to make internal blocks of a group.
    pub(crate) fn order_coding(&mut self, node: DatanodeIndex, coding: Coding, now_ms: u64) {
        debug_assert!(self.kept, "who keeps no queues makes nothing");
        for &(index, target) in &coding.targets {
            self.expect(coding.group.internal(index), &[target], Some(node), now_ms);
        }
        self.orders.code(node, coding);
    }

    // --- too many replicas ---

    /// The node's replica is one too many, and is to be deleted.
    pub(crate) fn add_excess(&mut self, map: &mut BlockMap, id: BlockId, node: DatanodeIndex, now_ms: u64) {
        debug_assert!(self.kept, "who keeps no queues deletes nothing");
        self.excess.add(map, id, node, now_ms);
    }

    pub(crate) fn excess_mut(&mut self) -> &mut Excess {
        &mut self.excess
    }

    /// Orders a deletion, if the lists are kept.
    pub(crate) fn order_deletion(&mut self, node: DatanodeIndex, block: Block) {
        if self.kept {
            self.orders.delete(node, block);
        }
    }

    pub(crate) fn orders_mut(&mut self) -> &mut Orders {
        &mut self.orders
    }

    /// Nothing of this block may be deleted now.
    pub(crate) fn postpone(&mut self, id: BlockId) {
        debug_assert!(self.kept, "who keeps no queues deletes nothing");
        self.postponed.insert(id);
    }

    pub(crate) fn end_postponing(&mut self, id: BlockId) {
        self.postponed.remove(&id);
    }

    pub(crate) fn postponed(&self) -> &BTreeSet<BlockId> {
        &self.postponed
    }

    /// Takes out the next postponed blocks, at most `max`. They go round.
    pub(crate) fn take_postponed(&mut self, max: usize) -> Vec<BlockId> {
        let behind = self.postponed.range(self.postponed_from..);
        let before = self.postponed.range(..self.postponed_from);
        let ids: Vec<BlockId> = behind.chain(before).take(max).copied().collect();
        for id in &ids {
            self.postponed.remove(id);
        }
        self.postponed_from = ids.last().map_or(FIRST, |id| BlockId(id.0.saturating_add(1)));
        ids
    }

    fn is_empty(&self) -> bool {
        self.low.is_empty()
            && self.pending.len() == 0
            && self.excess.is_empty()
            && self.postponed.is_empty()
            && self.orders.is_empty()
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self, map: &BlockMap) {
        self.low.check();
        self.pending.check();
        self.excess.check(map);
        self.orders.check();
        assert!(
            self.kept || self.scan_from.is_none(),
            "a scan fills queues that nobody keeps"
        );
        assert!(
            self.kept || self.is_empty(),
            "there is work before reports can be believed"
        );
        let mut queued = 0;
        for id in self.low.ids() {
            queued += 1;
            let record = map.get(id);
            assert!(
                record.is_some_and(|record| record.flag(Flag::Needed) && record.is_complete()),
                "block {id} is queued without its flag, or while it is written"
            );
        }
        let flagged = map
            .ids()
            .filter(|id| map.get(*id).is_some_and(|one| one.flag(Flag::Needed)));
        assert_eq!(
            flagged.count(),
            queued,
            "blocks with the flag of the queues, and in them"
        );
        for id in self.pending.ids() {
            assert!(
                map.get(id).is_some_and(Record::is_complete),
                "block {id} is copied while it is written"
            );
        }
        for &id in &self.postponed {
            assert!(
                map.get(id).is_some(),
                "the surplus of block {id} waits, and no file has it"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{BlockLayout, BlockState, NewBlock};
    use hathi_formats::ids::{GenerationStamp, InodeId};

    const NODE: DatanodeIndex = DatanodeIndex(1);

    fn block(n: i64) -> Block {
        Block {
            id: BlockId((1 << 30) + n),
            num_bytes: 1,
            generation_stamp: GenerationStamp(1001),
        }
    }

    fn map(blocks: i64) -> BlockMap {
        let mut map = BlockMap::default();
        for n in 1..=blocks {
            map.insert(NewBlock {
                block: block(n),
                inode: InodeId(20_000),
                layout: BlockLayout::Replicas(1),
                state: BlockState::Complete,
            });
        }
        map
    }

    #[test]
    fn a_change_of_role_takes_all_work_and_all_flags() {
        let (mut map, mut work) = (map(3), Redundancy::default());
        work.order_deletion(NODE, block(1));
        work.scan_again();
        work.check(&map);
        assert!(
            !work.is_scanning() && work.orders().is_empty(),
            "who keeps no lists orders nothing"
        );
        work.begin();
        work.set_level(&mut map, block(1).id, Some(Level::Low), 1);
        work.add_excess(&mut map, block(2).id, NODE, 5);
        work.order_deletion(NODE, block(2));
        work.order_copy(NODE, block(1), &[StorageIndex(0)], 5);
        work.postpone(block(3).id);
        work.check(&map);
        assert_eq!(work.forget(&mut map), [block(2).id]);
        work.check(&map);
        let flags = map.ids().filter_map(|id| map.get(id));
        assert!(
            flags
                .into_iter()
                .all(|one| !one.flag(Flag::Needed) && !one.flag(Flag::Excess))
        );
    }

    #[test]
    fn a_removed_block_is_in_no_list() {
        let (mut map, mut work) = (map(1), Redundancy::default());
        work.begin();
        work.set_level(&mut map, block(1).id, Some(Level::Highest), 1);
        work.add_excess(&mut map, block(1).id, NODE, 5);
        work.expect(block(1).id, &[StorageIndex(0)], None, 5);
        work.postpone(block(1).id);
        let (record, _) = map.remove(block(1).id).unwrap();
        work.remove(block(1).id, &record);
        work.check(&map);
        assert!(work.is_empty());
    }

    #[test]
    fn a_scan_meets_each_block_once_and_then_ends() {
        let (map, mut work) = (map(3), Redundancy::default());
        work.begin();
        let mut met = Vec::new();
        while let Some(id) = work.scan_next(&map) {
            met.push(id);
        }
        assert_eq!(met, [1, 2, 3].map(|n| block(n).id));
        assert!(!work.is_scanning());
        work.scan_again();
        assert_eq!(work.scan_next(&map), Some(block(1).id));
    }

    #[test]
    fn postponed_blocks_go_round() {
        let mut work = Redundancy::default();
        work.begin();
        let numbers = |ids: Vec<BlockId>| ids.into_iter().map(|id| id.0 - (1 << 30)).collect::<Vec<_>>();
        let mut taken = Vec::new();
        for _ in 0..3 {
            for n in 1..=5 {
                work.postpone(block(n).id);
            }
            taken.push(numbers(work.take_postponed(2)));
        }
        assert_eq!(taken, [[1, 2], [3, 4], [5, 1]]);
    }
}
