//! What a standby does with edits it has read (Hadoop's `EditLogTailer`, `FSEditLogLoader`): which of them are durable,
//! and how they go into the namesystem, a slice at a time.

use crate::Namesystem;
use crate::namesystem::ReplayError;
use bytes::Bytes;
use hathi_formats::editlog::{DecodeError, FrameError, Frames, SEGMENT_HEADER_LEN, SegmentHeader, decode_frame};
use hathi_formats::ids::{LayoutVersion, TxId};

/// Why edits did not go in.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// Not an edit log.
    #[error("not an edit log: {0}")]
    Header(String),
    /// The bytes are damaged.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// An op does not decode.
    #[error("transaction {txid} does not decode: {source}")]
    Decode {
        /// The transaction.
        txid: TxId,
        /// Why.
        source: DecodeError,
    },
    /// An op does not fit: the namespace can no longer be trusted.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl TailError {
    /// Whether the namespace must be loaded anew; otherwise another copy may do.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, TailError::Replay(ReplayError::Apply { .. }))
    }
}

/// Edits as a JournalNode gave them: a header and ops.
#[derive(Debug)]
pub struct Edits {
    bytes: Bytes,
    pos: usize,
    layout: LayoutVersion,
    limit: TxId,
}

impl Edits {
    /// Of an edit log file or an answer to `getJournaledEdits`; transactions above `limit` are not durable.
    pub fn new(bytes: Bytes, limit: TxId) -> Result<Edits, TailError> {
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
        })
    }

    /// Applies up to `max` transactions to the namesystem, skipping those it has; the lock may be given away between two
    /// calls. Answers whether there is more.
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
            self.pos = usize::try_from(frames.good_until()).unwrap_or(usize::MAX);
            if frame.txid <= ns.edit_log.applied() {
                continue;
            }
            let op = decode_frame(&frame, self.layout).map_err(|source| TailError::Decode {
                txid: frame.txid,
                source,
            })?;
            ns.replay(frame.txid, &op, mono_ms)?;
            applied += 1;
        }
        Ok(true)
    }
}

/// Which transactions a majority has, of JournalNodes that do not say what is committed (Java's): the answers count, each
/// with the highest transaction it gave.
#[must_use]
pub fn durable_by_majority(highest: &[TxId], journalnodes: usize) -> Option<TxId> {
    let majority = journalnodes / 2 + 1;
    let mut sorted = highest.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.get(majority - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_majority_gave_is_durable() {
        let t = |ids: &[u64]| ids.iter().map(|&id| TxId(id)).collect::<Vec<_>>();
        assert_eq!(durable_by_majority(&t(&[5, 9, 7]), 3), Some(TxId(7)));
        assert_eq!(durable_by_majority(&t(&[5, 9]), 3), Some(TxId(5)));
        assert_eq!(durable_by_majority(&t(&[9]), 3), None);
    }
}
