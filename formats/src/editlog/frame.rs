//! Frames: where one op ends and the next begins, checked without decoding bodies.
//!
//! A JournalNode scans logs of layouts newer than it knows, so opcodes are not interpreted here.

use std::ops::Range;

use super::table::OpCode;
use crate::ids::TxId;

/// The smallest frame: opcode, length, txid and checksum.
pub const MIN_OP_SIZE_BYTES: usize = 17;
/// Largest frame, in bytes (`dfs.namenode.max.op.size`).
pub const MAX_OP_SIZE_BYTES: usize = 50 * 1024 * 1024;

/// Offset of the length, which follows the opcode.
const LENGTH_OFFSET: usize = 1;
const TXID_OFFSET: usize = 5;
const BODY_OFFSET: usize = 13;
const CRC_LEN: usize = 4;

/// One op in its frame. Length and checksum were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Offset of the opcode, counted from the base that [`Frames`] was given.
    pub offset: u64,
    /// The opcode, known or not.
    pub code: OpCode,
    /// The transaction id.
    pub txid: TxId,
    /// What follows the txid.
    pub body: &'a [u8],
    /// The whole frame, opcode to checksum.
    pub bytes: &'a [u8],
}

/// Why no more frames can be read. Every error has the offset up to which all frames are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The data ends inside a frame.
    #[error("at byte {offset}: the data ends inside an op")]
    Truncated {
        /// Start of the incomplete frame.
        offset: u64,
    },
    /// A length that no op has.
    #[error("at byte {offset}: op {code} has length {length}", code = code.0)]
    BadLength {
        /// Start of the frame.
        offset: u64,
        /// Its opcode.
        code: OpCode,
        /// The length field.
        length: i32,
    },
    /// The checksum is wrong.
    #[error("at byte {offset}: checksum is {stored:08x} but the op's bytes give {computed:08x}")]
    BadChecksum {
        /// Start of the frame.
        offset: u64,
        /// The checksum in the frame.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A txid that Java's `long` does not hold. No txid could follow it.
    #[error("at byte {offset}: {found} is no txid")]
    BadTxId {
        /// Start of the frame.
        offset: u64,
        /// The number in the frame.
        found: u64,
    },
    /// The txid does not follow its predecessor.
    #[error("at byte {offset}: txid {found} where {expected} is expected")]
    OutOfOrder {
        /// Start of the frame.
        offset: u64,
        /// The next txid.
        expected: TxId,
        /// The txid in the frame.
        found: u64,
    },
    /// Something other than 0x00 and 0xFF behind the end marker.
    #[error("at byte {offset}: data behind the end of the log")]
    DataAfterEnd {
        /// Offset of that byte.
        offset: u64,
    },
}

impl FrameError {
    /// Offset up to which all frames are good. For data behind the end marker, the offset of that data.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        match self {
            FrameError::Truncated { offset }
            | FrameError::BadLength { offset, .. }
            | FrameError::BadChecksum { offset, .. }
            | FrameError::BadTxId { offset, .. }
            | FrameError::OutOfOrder { offset, .. }
            | FrameError::DataAfterEnd { offset } => *offset,
        }
    }
}

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// Data ends where an op ends.
    Eof,
    /// Padding of 0xFF (and 0x00) begins.
    Padding,
}

/// Iterates over the frames of a byte slice that starts at a frame.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    data: &'a [u8],
    pos: usize,
    base: u64,
    expected: Option<TxId>,
    end: Option<ScanEnd>,
}

impl<'a> Frames<'a> {
    /// Frames of `data`; offsets count from `base`, for example the header's length. Txids must be consecutive,
    /// starting anywhere.
    #[must_use]
    pub const fn new(data: &'a [u8], base: u64) -> Self {
        Frames {
            data,
            pos: 0,
            base,
            expected: None,
            end: None,
        }
    }

    /// The same, with a required first txid.
    #[must_use]
    pub const fn starting_at(mut self, txid: TxId) -> Self {
        self.expected = Some(txid);
        self
    }

    /// Offset up to which all frames read so far are good.
    #[must_use]
    pub const fn good_until(&self) -> u64 {
        self.base.saturating_add(self.pos as u64)
    }

    /// How the scan ended, once [`Frames::next_frame`] gave `None`.
    #[must_use]
    pub const fn end(&self) -> Option<ScanEnd> {
        self.end
    }

    /// The next frame; `None` at the end of the data or at padding. After an error the position stays, so asking
    /// again gives the same error.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'a>>, FrameError> {
        let rest = self.data.get(self.pos..).unwrap_or_default();
        let offset = self.good_until();
        match rest.first() {
            None => {
                self.end = Some(ScanEnd::Eof);
                return Ok(None);
            }
            Some(0xFF) => {
                if let Some(at) = rest.iter().position(|byte| !matches!(byte, 0 | 0xFF)) {
                    let offset = offset.saturating_add(at as u64);
                    return Err(FrameError::DataAfterEnd { offset });
                }
                self.end = Some(ScanEnd::Padding);
                return Ok(None);
            }
            Some(_) => {}
        }
        let (frame, len) = parse(rest, offset)?;
        if let Some(expected) = self.expected
            && frame.txid != expected
        {
            return Err(FrameError::OutOfOrder {
                offset,
                expected,
                found: frame.txid.0,
            });
        }
        self.expected = Some(frame.txid.next());
        self.pos = self.pos.saturating_add(len);
        Ok(Some(frame))
    }

    /// After an error, moves to the next whole frame whose txid could follow (`FSEditLogOp.Reader.readOp` with
    /// `skipBrokenEdits`). Any such txid is taken then. False when there is none.
    pub fn resync(&mut self) -> bool {
        let Some(distance) = self.next_whole() else {
            return false;
        };
        self.pos = self.pos.saturating_add(distance);
        self.expected = None;
        true
    }

    /// Whether the bytes at the current position can be the rest of a write that a crash cut off: behind them there is
    /// no whole frame with a txid that could follow. If there is one, ops in the middle were damaged.
    #[must_use]
    pub fn is_torn_tail(&self) -> bool {
        self.next_whole().is_none()
    }

    /// Distance in bytes from the current position to the first whole frame whose txid could follow.
    #[must_use]
    pub fn next_whole(&self) -> Option<usize> {
        let rest = self.data.get(self.pos..).unwrap_or_default();
        let lowest = self.expected.map_or(1, |txid| txid.0);
        let last = rest.len().saturating_sub(MIN_OP_SIZE_BYTES - 1);
        (0..last).find(|at| {
            let Some(candidate) = rest.get(*at..) else {
                return false;
            };
            let Some((length, txid)) = lengths(candidate) else {
                return false;
            };
            // A batch holds fewer ops than bytes, which bounds how far ahead a txid can be.
            let plausible = txid.checked_sub(lowest).is_some_and(|ahead| ahead <= rest.len() as u64);
            let fits = usize::try_from(length).is_ok_and(|len| len >= BODY_OFFSET - 1 && len < candidate.len());
            plausible && fits && parse(candidate, 0).is_ok()
        })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    /// As [`Frames::next_frame`]; an error is given once and ends the iteration.
    fn next(&mut self) -> Option<Self::Item> {
        if self.data.is_empty() {
            return None;
        }
        let item = self.next_frame();
        if item.is_err() {
            self.data = &[];
        }
        item.transpose()
    }
}

/// The length field and the txid of a possible frame.
fn lengths(bytes: &[u8]) -> Option<(i32, u64)> {
    let length = bytes.get(LENGTH_OFFSET..TXID_OFFSET)?.try_into().ok()?;
    let txid = bytes.get(TXID_OFFSET..BODY_OFFSET)?.try_into().ok()?;
    Some((i32::from_be_bytes(length), u64::from_be_bytes(txid)))
}

/// The frame at the start of `bytes`, and its size.
fn parse(bytes: &[u8], offset: u64) -> Result<(Frame<'_>, usize), FrameError> {
    let truncated = FrameError::Truncated { offset };
    let code = OpCode(bytes.first().copied().ok_or(truncated)?);
    let length_field = bytes.get(LENGTH_OFFSET..TXID_OFFSET).ok_or(truncated)?;
    let length = i32::from_be_bytes(length_field.try_into().map_err(|_| truncated)?);
    let size = usize::try_from(length)
        .unwrap_or(0)
        .saturating_add(LENGTH_OFFSET + CRC_LEN);
    if !(MIN_OP_SIZE_BYTES..=MAX_OP_SIZE_BYTES).contains(&size) {
        return Err(FrameError::BadLength { offset, code, length });
    }
    let bytes = bytes.get(..size).ok_or(truncated)?;
    let (covered, crc) = bytes.split_last_chunk::<CRC_LEN>().ok_or(truncated)?;
    let stored = u32::from_be_bytes(*crc);
    let computed = crc32fast::hash(covered);
    if stored != computed {
        return Err(FrameError::BadChecksum {
            offset,
            stored,
            computed,
        });
    }
    let (_, found) = lengths(bytes).ok_or(truncated)?;
    let txid = TxId::from_wire(found).ok_or(FrameError::BadTxId { offset, found })?;
    let frame = Frame {
        offset,
        code,
        txid,
        body: covered.get(BODY_OFFSET..).unwrap_or_default(),
        bytes,
    };
    Ok((frame, size))
}

impl Frame<'_> {
    /// Where the frame stands, counted as [`Frame::offset`].
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_txid_that_is_no_java_long_is_refused_and_nothing_follows_the_highest() {
        let frame = |txid: u64| {
            let mut bytes = vec![1, 0, 0, 0, 12];
            bytes.extend(txid.to_be_bytes());
            bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
            bytes
        };
        let bytes = [frame(u64::MAX), frame(0)].concat();
        let found = u64::MAX;
        let refused = Err(FrameError::BadTxId { offset: 8, found });
        assert_eq!(Frames::new(&bytes, 8).next_frame(), refused);
        let highest = i64::MAX as u64;
        let bytes = [frame(highest), frame(highest + 1)].concat();
        let mut frames = Frames::new(&bytes, 0);
        assert_eq!(
            frames.next_frame().unwrap().map(|frame| frame.txid),
            Some(TxId(highest))
        );
        assert!(frames.next_frame().is_err());
    }
}
