//! What DataNodes report: who may report now, how far a full report of a storage is, what the edits have told so far,
//! and what is set aside because they have not told of it yet.
//!
//! Nothing is known here of what a report means. That is decided in `manager::reports`.
//!
//! Invariants ([`Reports::check`], with those of the parts):
//! - the stamp and the block id that the edits have told never fall, and neither does the number of the last report;
//! - a storage has one report under way at most, which is one of those that were numbered;
//! - no more messages are set aside than the configuration allows.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod leases;
mod messages;

pub(crate) use messages::Message;

use crate::block_map::BlockIdSet;
use crate::types::{BlockManagerConfig, DatanodeIndex, ReportSequence, StorageIndex};
use hathi_formats::block_list::ReportedReplicas;
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use leases::ReportLeases;
use messages::Messages;
use std::collections::VecDeque;

/// A full block report of one storage, processed in slices. It is the caller's: [`Reports`] knows only of the last one of
/// each storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockReport {
    pub(crate) datanode: DatanodeIndex,
    pub(crate) storage: StorageIndex,
    pub(crate) sequence: ReportSequence,
    pub(crate) replicas: ReportedReplicas,
    pub(crate) phase: Phase,
    /// Whether it may vouch for the content of the storage: it began after a heartbeat in this NameNode's present role.
    pub(crate) vouches: bool,
}

/// What of a full report is to be processed next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Reported,
    /// Looking for replicas that the report does not name, from this id on.
    Missing(BlockId),
    Done,
}

impl BlockReport {
    /// The node that reports.
    #[must_use]
    pub fn datanode(&self) -> DatanodeIndex {
        self.datanode
    }
}

/// How far a report is after a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportProgress {
    /// Call again.
    More,
    /// All of it is processed.
    Done,
}

/// What must be remembered of a storage while its full report is worked through in slices.
#[derive(Clone, Debug)]
struct UnderWay {
    /// Which report; an older cursor finds that it was overtaken.
    sequence: ReportSequence,
    /// Ids in the report. Not kept for a storage that was empty when it began.
    seen: Option<BlockIdSet>,
    /// Ids that incremental reports spoke of meanwhile: they are newer than the report.
    touched: BlockIdSet,
}

/// Leases, reports under way, and what is queued from the future.
#[derive(Debug)]
pub(crate) struct Reports {
    leases: ReportLeases,
    /// By the storages' indexes. Storages that never reported may be beyond the end.
    under_way: Vec<Option<Box<UnderWay>>>,
    last: ReportSequence,
    /// Highest stamp that the namespace has handed out. A higher one is from the future.
    known_stamp: GenerationStamp,
    /// Highest block id that the namespace has told. A higher one is from the future as well, because a stamp is
    /// journaled before its block.
    highest_id: BlockId,
    /// The same of block groups, whose ids are negative.
    highest_group: BlockId,
    messages: Messages,
    max_messages: usize,
}

impl Reports {
    pub(crate) fn new(config: &BlockManagerConfig, seed: u64) -> Reports {
        Reports {
            leases: ReportLeases::new(config, seed),
            under_way: Vec::new(),
            last: ReportSequence::default(),
            known_stamp: GenerationStamp::default(),
            highest_id: BlockId::LAST_RESERVED,
            highest_group: BlockId(i64::MIN),
            messages: Messages::default(),
            max_messages: config.max_pending_messages,
        }
    }

    // --- leases ---

    /// Grants a lease for a full report. Returns its id, or 0 when all leases are taken.
    pub(crate) fn request_lease(&mut self, datanode: DatanodeIndex, now_ms: u64) -> u64 {
        self.leases.request(datanode, now_ms)
    }

    /// Whether the lease is valid. Id 0 means "without a lease", which is allowed.
    pub(crate) fn is_lease_valid(&self, datanode: DatanodeIndex, id: u64, now_ms: u64) -> bool {
        self.leases.is_valid(datanode, id, now_ms)
    }

    /// The node has reported, or does not report any more.
    pub(crate) fn end_lease(&mut self, datanode: DatanodeIndex) {
        self.leases.remove(datanode);
    }

    /// A report under a lease of this term shows that its node has received an answer of this term.
    pub(crate) fn begin_term(&mut self) {
        self.leases.clear();
    }

    // --- full reports ---

    /// The number of the report begun last.
    pub(crate) fn last(&self) -> ReportSequence {
        self.last
    }

    /// The number of a new report.
    pub(crate) fn number(&mut self) -> ReportSequence {
        self.last = ReportSequence(self.last.0.saturating_add(1));
        self.last
    }

    fn of(&self, storage: StorageIndex) -> Option<&UnderWay> {
        self.under_way.get(storage.0 as usize)?.as_deref()
    }

    fn of_mut(&mut self, storage: StorageIndex) -> Option<&mut UnderWay> {
        self.under_way.get_mut(storage.0 as usize)?.as_deref_mut()
    }

    /// Begins the report of a storage, in place of one that is under way. Of a storage that is `empty` nothing can be
    /// missing.
    pub(crate) fn begin(&mut self, storage: StorageIndex, sequence: ReportSequence, empty: bool) {
        debug_assert!(sequence == self.last, "a report begins when it gets its number");
        let at = storage.0 as usize;
        if self.under_way.len() <= at {
            self.under_way.resize_with(at.saturating_add(1), || None);
        }
        if let Some(place) = self.under_way.get_mut(at) {
            *place = Some(Box::new(UnderWay {
                sequence,
                seen: (!empty).then(BlockIdSet::default),
                touched: BlockIdSet::default(),
            }));
        }
    }

    /// Whether this is the last report of its storage, and not over.
    pub(crate) fn is_under_way(&self, storage: StorageIndex, sequence: ReportSequence) -> bool {
        self.of(storage).is_some_and(|under_way| under_way.sequence == sequence)
    }

    /// The report names a block. Returns false when a notice about it is newer.
    pub(crate) fn see(&mut self, storage: StorageIndex, id: BlockId) -> bool {
        let Some(under_way) = self.of_mut(storage) else {
            return true;
        };
        if under_way.touched.len() > 0 && under_way.touched.contains(id) {
            return false;
        }
        if let Some(seen) = &mut under_way.seen {
            seen.insert(id);
        }
        true
    }

    /// A notice speaks of a block. It is newer than a report of its storage that is under way.
    pub(crate) fn touch(&mut self, storage: StorageIndex, id: BlockId) {
        if let Some(under_way) = self.of_mut(storage) {
            under_way.touched.insert(id);
        }
    }

    /// Whether it is known which blocks the report names.
    pub(crate) fn knows_missing(&self, storage: StorageIndex) -> bool {
        self.of(storage).is_some_and(|under_way| under_way.seen.is_some())
    }

    /// Whether neither the report nor a newer notice names a block.
    pub(crate) fn is_missing(&self, storage: StorageIndex, id: BlockId) -> bool {
        self.of(storage).is_some_and(|under_way| {
            let seen = under_way.seen.as_ref().is_none_or(|seen| seen.contains(id));
            !seen && !under_way.touched.contains(id)
        })
    }

    /// The report of a storage is over.
    pub(crate) fn end(&mut self, storage: StorageIndex) {
        if let Some(place) = self.under_way.get_mut(storage.0 as usize) {
            *place = None;
        }
    }

    // --- the future ---

    /// The edits have told that this stamp was handed out.
    pub(crate) fn learn_stamp(&mut self, stamp: GenerationStamp) {
        self.known_stamp = self.known_stamp.max(stamp);
    }

    /// The edits have told of this block.
    pub(crate) fn learn_block(&mut self, id: BlockId) {
        let highest = match id.is_striped() {
            true => &mut self.highest_group,
            false => &mut self.highest_id,
        };
        *highest = (*highest).max(id.group());
    }

    /// Highest block id that the edits have told.
    pub(crate) fn highest_id(&self) -> BlockId {
        self.highest_id
    }

    /// Whether the edits have not told of this block, or block group, nor of one behind it.
    pub(crate) fn is_id_ahead(&self, id: BlockId) -> bool {
        match id.is_striped() {
            true => id.group() > self.highest_group,
            false => id > self.highest_id,
        }
    }

    /// Whether the stamp is higher than every one in the edits so far.
    pub(crate) fn is_stamp_ahead(&self, stamp: GenerationStamp) -> bool {
        stamp > self.known_stamp
    }

    /// Whether a standby has not read of this block yet: its stamp or its id is higher than every one in the edits so
    /// far.
    pub(crate) fn is_from_the_future(&self, block: Block) -> bool {
        self.is_stamp_ahead(block.generation_stamp) || self.is_id_ahead(block.id)
    }

    // --- what is set aside ---

    /// Number of messages that are set aside.
    pub(crate) fn set_aside_count(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is room for what a node tells again that found none.
    pub(crate) fn has_room_again(&self) -> bool {
        self.messages.len() <= self.max_messages / 2
    }

    /// Sets a message aside that can't be judged yet. Returns whether there was room.
    pub(crate) fn set_aside(&mut self, message: Message) -> bool {
        let room = self.messages.len() < self.max_messages;
        if room {
            self.messages.push(message);
        }
        room
    }

    /// Whether a message about a block is set aside.
    pub(crate) fn holds(&self, id: BlockId) -> bool {
        self.messages.holds(id)
    }

    /// The first block about which something is set aside.
    pub(crate) fn first_set_aside(&self) -> Option<BlockId> {
        self.messages.first()
    }

    /// Takes out what was set aside about a block.
    pub(crate) fn take(&mut self, id: BlockId) -> VecDeque<Message> {
        if self.messages.is_empty() {
            return VecDeque::new();
        }
        self.messages.take(id)
    }

    /// Forgets what storages of a node said.
    pub(crate) fn forget_node(&mut self, on_node: impl Fn(StorageIndex) -> bool) {
        self.messages.remove_node(on_node);
    }

    /// Forgets what storages of a node said of a block before, because something newer was judged.
    pub(crate) fn forget_older(&mut self, id: BlockId, on_node: impl Fn(StorageIndex) -> bool) {
        if !self.messages.is_empty() {
            self.messages.remove_older(id, on_node);
        }
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        self.leases.check();
        self.messages.check();
        assert!(
            self.messages.len() <= self.max_messages,
            "{} messages are set aside",
            self.messages.len()
        );
        for under_way in self.under_way.iter().flatten() {
            assert!(under_way.sequence <= self.last, "a report has a number to come");
            assert!(under_way.sequence > ReportSequence::default(), "a report has no number");
            under_way.touched.check();
            if let Some(seen) = &under_way.seen {
                seen.check();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ReplicaState, ReportedReplica};

    const STORAGE: StorageIndex = StorageIndex(3);

    fn reports(max_pending_messages: usize) -> Reports {
        let config = BlockManagerConfig {
            max_pending_messages,
            ..BlockManagerConfig::default()
        };
        Reports::new(&config, 1)
    }

    fn block(id: i64, stamp: u64) -> Block {
        Block {
            id: BlockId(id),
            num_bytes: 1,
            generation_stamp: GenerationStamp(stamp),
        }
    }

    #[test]
    fn a_notice_is_newer_than_the_report_that_is_under_way() {
        let mut reports = reports(9);
        reports.touch(STORAGE, BlockId(1));
        assert!(reports.see(STORAGE, BlockId(1)), "no report is under way");
        let sequence = reports.number();
        reports.begin(STORAGE, sequence, false);
        reports.touch(STORAGE, BlockId(2));
        assert!(reports.see(STORAGE, BlockId(1)) && !reports.see(STORAGE, BlockId(2)));
        let missing: Vec<i64> = (1..=3).filter(|id| reports.is_missing(STORAGE, BlockId(*id))).collect();
        assert_eq!(missing, [3]);
        reports.check();
        let newer = reports.number();
        reports.begin(STORAGE, newer, true);
        assert!(!reports.is_under_way(STORAGE, sequence) && reports.is_under_way(STORAGE, newer));
        assert!(!reports.knows_missing(STORAGE) && !reports.is_missing(STORAGE, BlockId(3)));
        reports.end(STORAGE);
        assert!(!reports.is_under_way(STORAGE, newer));
        reports.check();
    }

    #[test]
    fn what_the_edits_have_told_never_falls() {
        let mut reports = reports(9);
        let first = BlockId::LAST_RESERVED.0 + 1;
        assert!(reports.is_from_the_future(block(first, 0)));
        reports.learn_block(BlockId(first + 1));
        reports.learn_block(BlockId(first));
        reports.learn_stamp(GenerationStamp(1002));
        reports.learn_stamp(GenerationStamp(1001));
        for (id, stamp, ahead) in [(first + 1, 1002, false), (first + 2, 1002, true), (first, 1003, true)] {
            assert_eq!(reports.is_from_the_future(block(id, stamp)), ahead, "{id} {stamp}");
        }
        assert_eq!(reports.highest_id(), BlockId(first + 1));
    }

    #[test]
    fn messages_find_room_up_to_the_limit() {
        let mut reports = reports(2);
        let message = |id| Message {
            storage: STORAGE,
            replica: ReportedReplica {
                block: block(id, 1001),
                state: ReplicaState::Finalized,
            },
            deleted: false,
        };
        assert!(reports.set_aside(message(1)) && reports.set_aside(message(2)));
        assert!(!reports.set_aside(message(3)) && !reports.has_room_again());
        reports.check();
        assert_eq!(reports.take(BlockId(1)).len(), 1);
        assert!(reports.has_room_again() && reports.first_set_aside() == Some(BlockId(2)));
        reports.forget_older(BlockId(2), |storage| storage == STORAGE);
        assert_eq!((reports.set_aside_count(), reports.holds(BlockId(2))), (0, false));
    }
}
