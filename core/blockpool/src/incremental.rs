//! Notices of replicas that came and went which a NameNode has not been sent yet (`IncrementalBlockReportManager`).

use std::collections::BTreeMap;

use hathi_formats::ids::{Block, BlockId};

/// What happened to a replica (`ReceivedDeletedBlockInfo.BlockStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// A writer began to write it.
    Receiving,
    /// It is complete.
    Received,
    /// It is gone.
    Deleted,
}

/// One notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedDeleted {
    /// The block as the replica has it.
    pub block: Block,
    /// What happened.
    pub kind: NoticeKind,
    /// The DataNode whose replica the balancer wants deleted instead; empty otherwise.
    pub delete_hint: String,
}

/// Most notices that are kept for one NameNode. When there are more, all are dropped, and the NameNode gets a full
/// report instead. A notice takes about 150 bytes, and a full report of a million replicas about as much as this many
/// notices.
const MAX_PENDING: usize = 100_000;

/// Notices of one storage, in the order in which they happened.
pub type StorageNotices = (String, Vec<ReceivedDeleted>);

/// The notices that one NameNode has not got yet. For each block only the last one counts.
#[derive(Debug, Default)]
pub struct IncrementalReports {
    pending: BTreeMap<BlockId, (u64, String, ReceivedDeleted)>,
    next_order: u64,
    ready: bool,
    urgent: bool,
    overflowed: bool,
}

impl IncrementalReports {
    /// None pending.
    #[must_use]
    pub fn new() -> IncrementalReports {
        IncrementalReports::default()
    }

    /// Whether notices were dropped since the last call, so that a full report is due. The report names every replica,
    /// also those being written. The balancer's hints are lost, and the NameNode itself chooses which excess replica
    /// goes.
    pub fn take_overflow(&mut self) -> bool {
        std::mem::take(&mut self.overflowed)
    }

    fn make_room(&mut self) {
        if self.pending.len() >= MAX_PENDING {
            self.clear();
            self.overflowed = true;
        }
        debug_assert!(
            self.pending.len() < MAX_PENDING,
            "notices for a NameNode that is away have a limit"
        );
    }

    /// Adds a notice. Returns true when the NameNode should be told at once, which is the case for a complete replica.
    /// Other notices go with the next message, at the latest with the next heartbeat.
    pub fn notify(&mut self, storage: &str, notice: ReceivedDeleted) -> bool {
        match notice.kind {
            NoticeKind::Receiving => self.ready = true,
            NoticeKind::Received => {
                self.ready = true;
                self.urgent = true;
            }
            NoticeKind::Deleted => {}
        }
        self.make_room();
        let order = self.next_order();
        self.pending
            .insert(notice.block.id, (order, storage.to_owned(), notice));
        self.urgent
    }

    /// Whether there is something to send between heartbeats.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Whether there is anything to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many notices wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Makes whatever is pending urgent (`triggerBlockReport(incremental)`).
    pub fn trigger(&mut self) {
        self.ready = true;
        self.urgent = true;
    }

    /// Takes at most `limit` notices to send, the oldest first, by storage.
    pub fn take(&mut self, limit: usize) -> Vec<StorageNotices> {
        let mut all: Vec<(u64, String, ReceivedDeleted)> = std::mem::take(&mut self.pending).into_values().collect();
        all.sort_by_key(|(order, _, _)| *order);
        for (order, storage, notice) in all.drain(limit.min(all.len())..) {
            self.pending.insert(notice.block.id, (order, storage, notice));
        }
        debug_assert!(all.len() <= limit, "a message has its limit");
        debug_assert!(
            all.is_sorted_by_key(|(order, _, _)| *order),
            "what happened first is told first"
        );
        if self.pending.is_empty() {
            self.ready = false;
            self.urgent = false;
        }
        let mut by_storage: Vec<StorageNotices> = Vec::new();
        for (_, storage, notice) in all {
            match by_storage.iter_mut().find(|(known, _)| *known == storage) {
                Some((_, notices)) => notices.push(notice),
                None => by_storage.push((storage, vec![notice])),
            }
        }
        by_storage
    }

    fn next_order(&mut self) -> u64 {
        let order = self.next_order;
        self.next_order = order.saturating_add(1);
        order
    }

    /// Puts notices back that could not be sent, except where something newer happened to the block.
    pub fn put_back(&mut self, reports: Vec<StorageNotices>) {
        for (storage, notices) in reports {
            for notice in notices {
                let order = self.next_order();
                self.make_room();
                if notice.kind == NoticeKind::Received {
                    self.urgent = true;
                }
                self.pending
                    .entry(notice.block.id)
                    .or_insert_with(|| (order, storage.clone(), notice));
                self.ready = true;
            }
        }
    }

    /// Forgets all: a full report follows.
    pub fn clear(&mut self) {
        self.pending.clear();
        self.ready = false;
        self.urgent = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::ids::GenerationStamp;

    fn notice(id: i64, kind: NoticeKind) -> ReceivedDeleted {
        ReceivedDeleted {
            block: Block {
                id: BlockId(id),
                num_bytes: 1,
                generation_stamp: GenerationStamp(1001),
            },
            kind,
            delete_hint: String::new(),
        }
    }

    #[test]
    fn only_complete_replicas_are_urgent_and_the_last_notice_counts() {
        let mut reports = IncrementalReports::new();
        assert!(!reports.notify("s1", notice(1, NoticeKind::Receiving)));
        assert!(!reports.notify("s1", notice(2, NoticeKind::Deleted)));
        assert!(reports.notify("s2", notice(1, NoticeKind::Received)));
        let taken = reports.take(10);
        assert_eq!(
            taken,
            vec![
                ("s1".to_owned(), vec![notice(2, NoticeKind::Deleted)]),
                ("s2".to_owned(), vec![notice(1, NoticeKind::Received)]),
            ]
        );
        assert!(reports.is_empty() && !reports.is_urgent());
    }

    #[test]
    fn what_could_not_be_sent_comes_back_behind_what_is_newer() {
        let mut reports = IncrementalReports::new();
        reports.notify("s", notice(1, NoticeKind::Received));
        reports.notify("s", notice(2, NoticeKind::Received));
        let taken = reports.take(10);
        reports.notify("s", notice(1, NoticeKind::Deleted));
        reports.put_back(taken);
        assert!(reports.is_urgent());
        assert_eq!(
            reports.take(10),
            vec![(
                "s".to_owned(),
                vec![notice(1, NoticeKind::Deleted), notice(2, NoticeKind::Received)]
            )]
        );
    }

    #[test]
    fn a_limit_leaves_the_rest_urgent() {
        let mut reports = IncrementalReports::new();
        for id in 0..5 {
            reports.notify("s", notice(id, NoticeKind::Received));
        }
        assert_eq!(
            reports.take(3).iter().map(|(_, notices)| notices.len()).sum::<usize>(),
            3
        );
        assert!(reports.is_urgent());
        assert_eq!(reports.len(), 2);
    }
    #[test]
    fn safety_bounds_notices_for_a_namenode_that_is_away_end_in_a_full_report() {
        let mut reports = IncrementalReports::new();
        for id in 0..MAX_PENDING as i64 {
            reports.notify("s", notice(id, NoticeKind::Received));
        }
        assert!(!reports.take_overflow());
        reports.notify("s", notice(-1, NoticeKind::Received));
        assert_eq!(reports.len(), 1);
        assert!(reports.take_overflow() && !reports.take_overflow());
    }
}
