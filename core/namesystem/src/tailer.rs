//! How a standby handles edits that it has read (Hadoop's `EditLogTailer`, `FSEditLogLoader`): which of them are
//! durable, and how they are applied to the namesystem in slices.

use crate::Namesystem;
use crate::history::{Digest, EditsSource, HistoryError};
use crate::namesystem::ReplayError;
use bytes::Bytes;
use hathi_formats::editlog::{DecodeError, FrameError, Frames, SEGMENT_HEADER_LEN, SegmentHeader, decode_frame};
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_namespace::ApplyError;

/// Why edits were not applied.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The bytes are no edit log.
    #[error("not an edit log: {0}")]
    Header(String),
    /// The bytes are damaged.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// An op can't be decoded.
    #[error("transaction {txid} does not decode: {source}")]
    Decode {
        /// The transaction of the op.
        txid: TxId,
        /// The error of the decoder.
        source: DecodeError,
    },
    /// An op can't be applied. The namespace can't be trusted any more.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The namespace is not the one that the journal holds.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// No journal holds the next transactions any more.
    #[error(
        "transaction {next} is needed, but the journal's segments begin with {oldest}: what is between was purged, \
         and only a newer image helps"
    )]
    Purged {
        /// The next transaction that is needed.
        next: TxId,
        /// The first transaction of the journal.
        oldest: TxId,
    },
}

impl TailError {
    /// Whether an edit needs a feature that this NameNode does not have, so that no NameNode of this version gets past
    /// it.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self,
            TailError::Replay(ReplayError::Apply {
                reason: ApplyError::Unsupported { .. },
                ..
            })
        )
    }

    /// Whether the namespace must be loaded anew. Otherwise another copy of the edits may be whole.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            TailError::Replay(ReplayError::Apply { .. }) => true,
            TailError::History(error) => error.is_fatal(),
            TailError::Header(_)
            | TailError::Frame(_)
            | TailError::Decode { .. }
            | TailError::Purged { .. }
            | TailError::Replay(ReplayError::Gap { .. }) => false,
        }
    }
}

/// Edits from a JournalNode: a header and ops.
#[derive(Debug)]
pub struct Edits {
    bytes: Bytes,
    pos: usize,
    layout: LayoutVersion,
    limit: TxId,
    source: EditsSource,
    /// Digest of the transactions that were read again.
    seen: Option<Digest>,
}

impl Edits {
    /// Edits of an edit log file, or of an answer to `getJournaledEdits`. Transactions above `limit` are not durable.
    pub fn new(bytes: Bytes, limit: TxId, source: EditsSource) -> Result<Edits, TailError> {
        let header = SegmentHeader::decode(&bytes).map_err(|error| TailError::Header(error.to_string()))?;
        if header.layout_version < LayoutVersion::NAMENODE_CURRENT {
            return Err(TailError::Header(format!(
                "unexpected version {}",
                header.layout_version
            )));
        }
        Ok(Edits {
            bytes,
            pos: SEGMENT_HEADER_LEN,
            layout: header.layout_version,
            limit,
            source,
            seen: None,
        })
    }

    /// The last transaction that may be applied.
    #[must_use]
    pub fn limit(&self) -> TxId {
        self.limit
    }

    /// Applies up to `max` transactions to the namesystem, and compares those that it has already. The caller may
    /// release the lock between two calls. Returns whether there are more.
    pub fn apply(&mut self, ns: &mut Namesystem, max: usize, mono_ms: u64) -> Result<bool, TailError> {
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        let mut frames = Frames::new(rest, self.pos as u64);
        let mut applied = 0;
        while applied < max {
            let Some(frame) = frames.next_frame()? else {
                return Ok(false);
            };
            if frame.txid > self.limit {
                return Ok(false);
            }
            // The bytes that follow are not durable, and may be damaged.
            let is_last = frame.txid == self.limit;
            self.pos = usize::try_from(frames.good_until()).unwrap_or(usize::MAX);
            debug_assert!(self.pos <= self.bytes.len(), "what was read was there");
            if frame.txid <= ns.edit_log().applied() {
                ns.check_overlap(&mut self.seen, &frame, self.source)?;
                if is_last {
                    return Ok(false);
                }
                continue;
            }
            let op = decode_frame(&frame, self.layout).map_err(|source| TailError::Decode {
                txid: frame.txid,
                source,
            })?;
            ns.replay(frame.txid, &op, mono_ms)?;
            ns.note_replayed(&frame, self.source);
            if is_last {
                return Ok(false);
            }
            applied += 1;
        }
        Ok(true)
    }
}

/// Fails when the journal goes on behind `next` but does not hold `next` itself. `segments` (first and last
/// transaction) are those that a majority of the JournalNodes names, or that a shared directory holds.
pub fn check_not_purged(next: TxId, segments: impl IntoIterator<Item = (TxId, TxId)>) -> Result<(), TailError> {
    let mut oldest = None;
    for (first, last) in segments {
        if first <= next && next <= last {
            return Ok(());
        }
        if first > next && oldest.is_none_or(|oldest| first < oldest) {
            oldest = Some(first);
        }
    }
    match oldest {
        Some(oldest) => Err(TailError::Purged { next, oldest }),
        None => Ok(()),
    }
}

/// The last transaction that a majority of the `journalnodes` has on disk. `told` holds for each answer the last
/// transaction on disk and the highest one known to be committed. Edits in memory do not count: Hadoop's JournalNodes
/// give them to readers before they sync them (HDFS-17710), and a loss of power may take them from all JournalNodes at
/// once.
#[must_use]
pub fn durable_on_disk(told: &[(Option<TxId>, Option<TxId>)], journalnodes: usize) -> Option<TxId> {
    let majority = journalnodes / 2 + 1;
    let mut on_disk: Vec<TxId> = told.iter().filter_map(|(last, _)| *last).collect();
    on_disk.sort_unstable_by(|a, b| b.cmp(a));
    let by_majority = on_disk.get(majority - 1).copied();
    // One JournalNode has it from the writer. It can't be above the highest transaction that any has, unless it belongs
    // to another journal.
    let committed = told.iter().filter_map(|(_, committed)| *committed).max();
    let durable =
        by_majority.max(committed.filter(|committed| on_disk.first().is_some_and(|highest| committed <= highest)));
    debug_assert!(
        durable.is_none_or(|durable| on_disk.first().is_some_and(|highest| durable <= *highest)),
        "nothing is durable that is on no disk"
    );
    durable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safety_n6_purged_edits_are_told_from_edits_that_are_not_written_yet() {
        let t = |ranges: &[(u64, u64)]| ranges.iter().map(|&(a, b)| (TxId(a), TxId(b))).collect::<Vec<_>>();
        assert!(check_not_purged(TxId(5), t(&[(1, 4)])).is_ok(), "nothing new");
        assert!(check_not_purged(TxId(5), t(&[])).is_ok());
        assert!(check_not_purged(TxId(5), t(&[(9, 12), (1, 8)])).is_ok());
        assert!(check_not_purged(TxId(9), t(&[(9, 12)])).is_ok());
        match check_not_purged(TxId(5), t(&[(20, 30), (9, 12)])) {
            Err(TailError::Purged { next, oldest }) => assert_eq!((next, oldest), (TxId(5), TxId(9))),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn safety_13_what_java_journalnodes_have_in_memory_is_not_durable() {
        let told = |told: &[(u64, Option<u64>)]| {
            let told: Vec<_> = told
                .iter()
                .map(|(last, committed)| (Some(TxId(*last)), committed.map(TxId)))
                .collect();
            durable_on_disk(&told, 3).map(|txid| txid.0)
        };
        assert_eq!(told(&[(5, None), (9, None), (7, None)]), Some(7));
        assert_eq!(told(&[(5, None), (9, None)]), Some(5));
        assert_eq!(told(&[(9, None)]), None);
        // All three have transaction 10 in memory and would give it to a reader; one has it on disk.
        assert_eq!(told(&[(9, Some(8)), (10, Some(8)), (9, Some(8))]), Some(9));
        // The writer has said that it is committed.
        assert_eq!(told(&[(9, Some(9))]), Some(9));
        assert_eq!(
            told(&[(9, Some(u64::MAX)), (8, None)]),
            Some(8),
            "not known is told as a huge number"
        );
        assert_eq!(durable_on_disk(&[(None, None), (None, None)], 3), None);
    }
}
