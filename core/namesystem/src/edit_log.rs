//! The active's edit log: which transactions were applied, sealed into a batch, sent and synced.
//!
//! Invariants:
//! - `applied ≥ sealed ≥ sent ≥ synced`: [`Positions`] owns them.
//! - Between `END_LOG_SEGMENT` of one segment and `START_LOG_SEGMENT` of the next there is no other op.
//! - [`EditLog::take`] returns items in log order, and each transaction once.
//! - An op is encoded before it is applied ([`EditLog::stage`]), and belongs to the log only after it was applied
//!   ([`EditLog::log_staged`] for each op). So an op that can't be read back is refused while nothing has changed, and
//!   an op that failed to apply is not in the log.
//! - All positions belong to one [`Life`]. The next life has a synced position of its own.
//!
//! Nothing here is durable; the journals are. Mirrors Hadoop's `FSEditLog` and `EditsDoubleBuffer`.

use crate::life::Life;
use crate::positions::Positions;
use bytes::Bytes;
use hathi_formats::editlog::{self, EditOp, EncodeError};
use hathi_formats::ids::TxId;
use std::collections::VecDeque;

/// A batch is sealed when the open buffer passes this size. So one `journal` call stays far below
/// `ipc.maximum.data.length`. (Hadoop's `EditsDoubleBuffer` flushes at 512 KiB.)
pub const BATCH_BYTES_MAX: usize = 512 * 1024;

/// Work for the journals, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem {
    /// Open a segment whose first transaction will be this one.
    StartSegment(TxId),
    /// Append transactions `first ..= first + count - 1` of the segment.
    Edits {
        /// First transaction of the segment that the edits belong to.
        segment: TxId,
        /// First transaction of the batch.
        first: TxId,
        /// Number of transactions.
        count: u32,
        /// Encoded ops, each with its checksum.
        bytes: Bytes,
    },
    /// Close the segment `first ..= last`.
    FinalizeSegment {
        /// First transaction of the segment.
        first: TxId,
        /// Its last transaction, the `END_LOG_SEGMENT`.
        last: TxId,
    },
}

/// Why the edit log refuses something.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EditLogError {
    /// Nothing may be logged: this NameNode is not active, or it is stepping down.
    #[error("the edit log is not open for write")]
    NotOpen,
    /// The format can't hold the op, so that no NameNode could read it back.
    #[error("the edit can't be logged: {0}")]
    NotEncodable(#[from] EncodeError),
}

/// See the module.
#[derive(Debug)]
pub struct EditLog {
    segment: Option<TxId>,
    positions: Positions,
    /// The bytes of the open batch, followed by those of the staged ops.
    open: Vec<u8>,
    open_count: u32,
    /// Where the open batch ends in `open`.
    logged_len: usize,
    /// Where each staged op ends in `open`.
    staged_ends: VecDeque<usize>,
    out: VecDeque<LogItem>,
    last_roll_ms: u64,
    ops_total: u64,
    /// Last transaction and length of each sealed batch that may not be synced yet.
    unsynced: VecDeque<(TxId, usize)>,
    unsynced_bytes: usize,
}

impl EditLog {
    /// A closed log for a namespace that holds everything up to `applied`, all of it durable.
    #[must_use]
    pub fn new(life: Life, applied: TxId) -> Self {
        EditLog {
            segment: None,
            positions: Positions::new(life, applied),
            open: Vec::new(),
            open_count: 0,
            logged_len: 0,
            staged_ends: VecDeque::new(),
            out: VecDeque::new(),
            last_roll_ms: 0,
            ops_total: 0,
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
        }
    }

    /// The last transaction applied to the namespace: logged by this NameNode, or replayed.
    #[must_use]
    pub fn applied(&self) -> TxId {
        self.positions.applied()
    }

    /// The last transaction a quorum has on disk, as far as this NameNode knows.
    #[must_use]
    pub fn synced(&self) -> TxId {
        self.life().synced()
    }

    /// The life that these positions belong to. Its synced position may be read without the namesystem's lock.
    #[must_use]
    pub fn life(&self) -> &Life {
        self.positions.life()
    }

    /// Ends this life and begins the next, in which everything applied counts as durable. The log must be closed, and
    /// nothing may be unsynced: transactions that no quorum has can't be taken into another life.
    pub fn begin_life(&mut self) {
        assert!(self.segment.is_none(), "a life begins while the log is open for write");
        self.positions.begin_life();
    }

    /// The last transaction handed out by [`EditLog::take`].
    #[must_use]
    pub fn sent(&self) -> TxId {
        self.life().sent()
    }

    /// Whether ops may be logged.
    #[must_use]
    pub fn is_open_for_write(&self) -> bool {
        self.segment.is_some()
    }

    /// First transaction of the open segment, if one is open.
    #[must_use]
    pub fn segment(&self) -> Option<TxId> {
        self.segment
    }

    /// Transactions in the open segment.
    #[must_use]
    pub fn segment_txns(&self) -> u64 {
        self.segment
            .map_or(0, |first| (self.applied().0 + 1).saturating_sub(first.0))
    }

    /// When the open segment was started, in wall clock ms.
    #[must_use]
    pub fn last_roll_ms(&self) -> u64 {
        self.last_roll_ms
    }

    /// Ops logged by this process since it started.
    #[must_use]
    pub fn ops_total(&self) -> u64 {
        self.ops_total
    }

    /// Notes that a transaction was applied that was read from a journal or is in an image. The log must be closed.
    pub fn set_applied(&mut self, txid: TxId) {
        assert!(self.segment.is_none(), "replay while the log is open for write");
        self.positions.replay(txid);
        self.forget_synced();
    }

    /// Opens a segment that begins behind the last applied transaction, and logs its `START_LOG_SEGMENT`. The caller
    /// has recovered the journals before.
    pub fn open_for_write(&mut self, now_ms: u64) -> TxId {
        assert!(self.segment.is_none(), "the log is open for write already");
        assert!(self.open.is_empty() && self.out.is_empty());
        self.start_segment(now_ms)
    }

    /// Encodes ops that are about to be applied, as the transactions that follow the last one. An op becomes part of
    /// the log with [`EditLog::log_staged`]. If one of the ops can't be encoded, none is staged.
    pub fn stage(&mut self, ops: &[EditOp]) -> Result<(), EditLogError> {
        if self.segment.is_none() {
            return Err(EditLogError::NotOpen);
        }
        assert!(self.staged_ends.is_empty(), "ops are staged already");
        let start = self.open.len();
        debug_assert_eq!(start, self.logged_len, "ops that did not apply are in the open batch");
        let mut txid = self.applied();
        for op in ops {
            txid = txid.next();
            if let Err(error) = editlog::encode(&mut self.open, txid, op) {
                self.open.truncate(start);
                self.staged_ends.clear();
                return Err(error.into());
            }
            self.staged_ends.push_back(self.open.len());
        }
        Ok(())
    }

    /// Logs the next staged op, which was applied. Returns its transaction.
    pub fn log_staged(&mut self) -> TxId {
        let Some(end) = self.staged_ends.pop_front() else {
            panic!("an op was applied that is not staged");
        };
        debug_assert!(
            end > self.logged_len,
            "ops are logged in the order in which they were staged"
        );
        self.logged_len = end;
        let txid = self.positions.apply();
        self.open_count += 1;
        self.ops_total += 1;
        if self.staged_ends.is_empty() && self.open.len() >= BATCH_BYTES_MAX {
            self.seal();
        }
        txid
    }

    /// Drops the next staged op, which failed to apply, and all behind it.
    pub fn drop_staged(&mut self) {
        self.open.truncate(self.logged_len);
        self.staged_ends.clear();
    }

    /// Ends the open segment and begins the next one. Returns the first transaction of the new segment.
    pub fn roll(&mut self, now_ms: u64) -> Result<TxId, EditLogError> {
        self.end_segment()?;
        Ok(self.start_segment(now_ms))
    }

    /// Whether nothing follows this transaction but the op that begins the open segment.
    #[must_use]
    pub fn changes_nothing_behind(&self, txid: TxId) -> bool {
        self.applied() <= txid || (self.applied() == txid.next() && self.segment == Some(txid.next()))
    }

    /// Ends the open segment and closes the log for write (`FSEditLog.endCurrentLogSegment`).
    pub fn close(&mut self) -> Result<TxId, EditLogError> {
        self.end_segment()
    }

    /// Closes the log without a word to the journals, because they belong to another NameNode now. Transactions that
    /// were not synced are lost to this NameNode, and the caller must load its namespace anew.
    pub fn abort(&mut self) {
        self.segment = None;
        self.open.clear();
        self.logged_len = 0;
        self.staged_ends.clear();
        self.open_count = 0;
        self.out.clear();
        self.unsynced.clear();
        self.unsynced_bytes = 0;
    }

    /// Whether transactions were applied here that no quorum is known to have.
    #[must_use]
    pub fn has_unsynced(&self) -> bool {
        self.synced() < self.applied()
    }

    /// Bytes of logged ops that no quorum is known to have, which this NameNode must keep in memory.
    pub fn unsynced_bytes(&mut self) -> usize {
        self.forget_synced();
        self.unsynced_bytes + self.open.len()
    }

    fn forget_synced(&mut self) {
        let synced = self.synced();
        while let Some((last, bytes)) = self.unsynced.front()
            && *last <= synced
        {
            debug_assert!(self.unsynced_bytes >= *bytes, "the bytes of a batch are counted");
            self.unsynced_bytes -= bytes;
            self.unsynced.pop_front();
        }
    }

    /// Whether [`EditLog::take`] would return something.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.out.is_empty() || self.open_count > 0
    }

    /// Bytes of ops that [`EditLog::take`] would return. More than any batch when a segment begins or ends.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        if self.out.is_empty() {
            self.open.len()
        } else {
            usize::MAX
        }
    }

    /// Number of transactions that [`EditLog::take`] would return.
    #[must_use]
    pub fn pending_txns(&self) -> u64 {
        self.applied().0.saturating_sub(self.sent().0)
    }

    /// Takes everything that was logged since the last call, in log order. Consecutive edits become one item, so a
    /// batch grows with the time between two calls.
    pub fn take(&mut self) -> VecDeque<LogItem> {
        self.seal();
        self.positions.send();
        if cfg!(debug_assertions) {
            self.check();
        }
        std::mem::take(&mut self.out)
    }

    /// A quorum has everything up to `txid` ([`Life::acknowledge`]). For callers that drive the log by hand and know
    /// what was sent.
    pub fn on_synced(&self, txid: TxId) {
        let known = self.life().acknowledge(txid);
        assert_eq!(known, Ok(()), "nobody sent that");
    }

    /// Asserts the invariants that hold between calls.
    pub fn check(&self) {
        self.positions.check();
        assert!(self.logged_len <= self.open.len(), "more is logged than encoded");
        assert!(self.staged_ends.iter().is_sorted(), "staged ops stand in their order");
        assert_eq!(self.staged_ends.is_empty(), self.logged_len == self.open.len());
        let open = u64::from(self.open_count);
        assert!(
            self.segment.is_some() || open == 0,
            "ops are logged while no segment is open"
        );
        assert!(
            self.segment.is_none() || self.positions.sealed().0 + open == self.applied().0,
            "a transaction is neither in a sealed batch nor in the open one"
        );
        let bytes: usize = self.unsynced.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(self.unsynced_bytes, bytes);
        assert!(
            self.unsynced.iter().map(|(last, _)| last).is_sorted(),
            "batches are sealed in the order of their transactions"
        );
        assert!(
            self.unsynced
                .back()
                .is_none_or(|(last, _)| *last <= self.positions.sealed()),
            "a batch waits for a quorum that is not sealed"
        );
    }

    /// Logs an op that changes nothing, so nothing has to be applied.
    fn push(&mut self, op: EditOp) -> Result<TxId, EditLogError> {
        self.stage(&[op])?;
        Ok(self.log_staged())
    }

    fn start_segment(&mut self, now_ms: u64) -> TxId {
        let first = self.applied().next();
        self.seal();
        self.out.push_back(LogItem::StartSegment(first));
        self.segment = Some(first);
        self.last_roll_ms = now_ms;
        let txid = self.push(EditOp::StartLogSegment);
        assert_eq!(txid, Ok(first), "an op without a body can always be encoded");
        first
    }

    fn end_segment(&mut self) -> Result<TxId, EditLogError> {
        let first = self.segment.ok_or(EditLogError::NotOpen)?;
        let last = self.push(EditOp::EndLogSegment)?;
        self.seal();
        self.out.push_back(LogItem::FinalizeSegment { first, last });
        debug_assert_eq!(self.open_count, 0, "nothing is logged behind the end of a segment");
        self.segment = None;
        Ok(last)
    }

    fn seal(&mut self) {
        let Some(segment) = self.segment else { return };
        assert!(self.staged_ends.is_empty(), "a batch is sealed while ops are applied");
        if self.open_count == 0 {
            return;
        }
        let last = self.applied();
        let first = TxId(last.0 + 1 - u64::from(self.open_count));
        debug_assert!(first >= segment, "a batch belongs to one segment");
        debug_assert_eq!(
            self.open.len(),
            self.logged_len,
            "a batch has the ops that were applied"
        );
        let bytes = Bytes::from(std::mem::take(&mut self.open));
        self.forget_synced();
        self.unsynced_bytes += bytes.len();
        self.unsynced.push_back((last, bytes.len()));
        self.out.push_back(LogItem::Edits {
            segment,
            first,
            count: self.open_count,
            bytes,
        });
        self.logged_len = 0;
        self.open_count = 0;
        self.positions.seal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::editlog::Frames;

    fn op() -> EditOp {
        EditOp::SetReplication {
            path: "/f".to_owned(),
            replication: 2,
        }
    }

    fn append(log: &mut EditLog) -> Result<TxId, EditLogError> {
        log.stage(&[op()])?;
        Ok(log.log_staged())
    }

    fn txids(item: &LogItem) -> Vec<u64> {
        let LogItem::Edits {
            bytes, first, count, ..
        } = item
        else {
            panic!("{item:?}")
        };
        let mut frames = Frames::new(bytes, 0).starting_at(*first);
        let mut found = Vec::new();
        while let Some(frame) = frames.next_frame().unwrap() {
            found.push(frame.txid.0);
        }
        assert_eq!(found.len(), *count as usize);
        found
    }

    #[test]
    fn a_segment_begins_and_ends_with_its_own_ops_and_nothing_is_lost_at_a_roll() {
        let mut log = EditLog::new(Life::first(), TxId(0));
        log.set_applied(TxId(9));
        assert_eq!(append(&mut log), Err(EditLogError::NotOpen));
        assert_eq!(log.open_for_write(1), TxId(10));
        assert_eq!(append(&mut log), Ok(TxId(11)));
        assert_eq!(log.roll(2), Ok(TxId(13)));
        assert_eq!(append(&mut log), Ok(TxId(14)));
        let items: Vec<_> = log.take().into();
        assert_eq!(items.len(), 5);
        assert_eq!(items[0], LogItem::StartSegment(TxId(10)));
        assert_eq!(txids(&items[1]), [10, 11, 12]);
        assert_eq!(
            items[2],
            LogItem::FinalizeSegment {
                first: TxId(10),
                last: TxId(12)
            }
        );
        assert_eq!(items[3], LogItem::StartSegment(TxId(13)));
        assert_eq!(txids(&items[4]), [13, 14]);
        assert!(!log.has_pending());
        log.life().acknowledge(TxId(12)).unwrap();
        assert!(log.has_unsynced());
        assert_eq!(log.close(), Ok(TxId(15)));
        let items: Vec<_> = log.take().into();
        assert_eq!(txids(&items[0]), [15]);
        assert_eq!(
            items[1],
            LogItem::FinalizeSegment {
                first: TxId(13),
                last: TxId(15)
            }
        );
        log.life().acknowledge(TxId(15)).unwrap();
        assert!(!log.has_unsynced());
        assert!(!log.is_open_for_write());
    }

    #[test]
    fn what_is_appended_between_two_takes_is_one_batch() {
        let mut log = EditLog::new(Life::first(), TxId(0));
        log.open_for_write(0);
        assert_eq!(log.pending_bytes(), usize::MAX);
        log.take();
        assert_eq!(log.pending_bytes(), 0);
        for _ in 0..100 {
            append(&mut log).unwrap();
        }
        assert!((1000..10_000).contains(&log.pending_bytes()));
        let items: Vec<_> = log.take().into();
        assert_eq!(items.len(), 1);
        assert_eq!(txids(&items[0]), (2..=101).collect::<Vec<_>>());
        assert_eq!(log.sent(), TxId(101));
        assert!(log.take().is_empty());
    }

    #[test]
    fn bytes_count_until_they_are_synced() {
        let mut log = EditLog::new(Life::first(), TxId(0));
        log.open_for_write(0);
        let begin = log.unsynced_bytes();
        assert!(begin > 0);
        log.take();
        assert_eq!(log.unsynced_bytes(), begin, "sent is not synced");
        append(&mut log).unwrap();
        let more = log.unsynced_bytes() - begin;
        log.life().acknowledge(TxId(1)).unwrap();
        assert_eq!(log.unsynced_bytes(), more);
        log.take();
        log.life().acknowledge(TxId(2)).unwrap();
        assert_eq!(log.unsynced_bytes(), 0);
        append(&mut log).unwrap();
        log.abort();
        assert_eq!(log.unsynced_bytes(), 0);
    }

    #[test]
    fn an_aborted_log_hands_nothing_out_and_still_knows_what_was_not_synced() {
        let mut log = EditLog::new(Life::first(), TxId(0));
        log.open_for_write(0);
        append(&mut log).unwrap();
        log.abort();
        assert!(!log.has_pending());
        assert!(log.has_unsynced());
        assert_eq!(append(&mut log), Err(EditLogError::NotOpen));
    }

    #[test]
    fn safety_n3_what_is_staged_and_not_applied_is_not_in_the_log() {
        let mut log = EditLog::new(Life::first(), TxId(0));
        log.open_for_write(0);
        log.stage(&[op(), op(), op()]).unwrap();
        assert_eq!(log.log_staged(), TxId(2));
        log.drop_staged();
        assert_eq!(append(&mut log), Ok(TxId(3)));
        let items: Vec<_> = log.take().into();
        assert_eq!(txids(&items[1]), [1, 2, 3]);
    }

    #[test]
    fn safety_n1_of_ops_that_belong_together_none_is_staged_if_one_cannot_be_read_back() {
        let mut log = EditLog::new(Life::first(), TxId(0));
        log.open_for_write(0);
        let too_long = EditOp::ClearNsQuota {
            src: "/".repeat(editlog::MAX_STRING_UNITS + 1),
        };
        let refused = log.stage(&[op(), too_long]);
        assert_eq!(refused, Err(EditLogError::NotEncodable(EncodeError::StringTooLong)));
        assert_eq!(append(&mut log), Ok(TxId(2)));
        let items: Vec<_> = log.take().into();
        assert_eq!(txids(&items[1]), [1, 2]);
    }
}
