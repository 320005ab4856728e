//! Ops into bytes.

use super::decode::decode_frame;
use super::frame::Frames;
use super::table::EditOp;
use super::wire::{EncodeError, Encoded, MAX_TEXT_BYTES, MAX_WRITTEN_OP_BYTES, Output};
use crate::ids::{LayoutVersion, TxId};

/// Length of the checksum at a frame's end.
const CRC_LEN: usize = 4;

/// The most blocks that a file may have so that all ops about it can be written. `OP_CLOSE` has 24 bytes for each
/// block, a user, a group, and a path and some numbers within 128 KiB.
pub const MAX_WRITTEN_BLOCKS: usize = (MAX_WRITTEN_OP_BYTES - 2 * MAX_TEXT_BYTES - 128 * 1024) / 24;

/// Appends one framed op in the current layout, so that decoding it gives exactly this op.
///
/// An op that the format can't hold exactly is refused, and `out` is as before. (Java's writer cuts long strings off:
/// the op that is read is then about a different path.)
///
/// For every op that a running workload writes, nothing is allocated but what `out` needs to grow (the rare
/// `OP_SET_ACL` builds a message).
pub fn encode(out: &mut Vec<u8>, txid: TxId, op: &EditOp) -> Result<(), EncodeError> {
    encode_for_layout(out, txid, op, LayoutVersion::NAMENODE_CURRENT)
}

/// As [`encode`], in the layout of a log. During a rolling upgrade that is an older layout than ours.
pub fn encode_for_layout(out: &mut Vec<u8>, txid: TxId, op: &EditOp, layout: LayoutVersion) -> Result<(), EncodeError> {
    let start = out.len();
    let encoded = put_frame(out, txid, op, layout).and_then(|()| check_read_back(out, start, op, layout));
    if encoded.is_err() {
        out.truncate(start);
    }
    encoded
}

/// Texts longer than this come from no well-meaning client. They are so rare that their ops are read back before they
/// are logged.
const TEXT_READ_BACK_BYTES: usize = 4096;
/// Length of a block in an op, in bytes. Long lists of blocks are usual.
const BLOCK_BYTES: usize = 24;

/// Reads back an op with long texts, and in debug builds every op: an op that can't be read stops every NameNode for
/// good. The encoder should guarantee this anyway.
fn check_read_back(out: &[u8], start: usize, op: &EditOp, layout: LayoutVersion) -> Encoded {
    let bytes = out.get(start..).unwrap_or_default();
    let blocks = match op {
        EditOp::Add(add) => add.blocks.len(),
        EditOp::Close(close) => close.blocks.len(),
        EditOp::UpdateBlocks { blocks, .. } => blocks.len(),
        _ => 0,
    };
    let has_long_texts = bytes.len().saturating_sub(blocks.saturating_mul(BLOCK_BYTES)) > TEXT_READ_BACK_BYTES;
    // In an older layout some ops have fewer fields.
    if layout != LayoutVersion::NAMENODE_CURRENT || !(has_long_texts || cfg!(debug_assertions)) {
        return Ok(());
    }
    let read = Frames::new(bytes, 0)
        .next_frame()
        .ok()
        .flatten()
        .and_then(|frame| decode_frame(&frame, layout).ok());
    if read.as_ref() == Some(op) {
        return Ok(());
    }
    Err(EncodeError::Inexact("this op so that it is read back as the same"))
}

fn put_frame(out: &mut Vec<u8>, txid: TxId, op: &EditOp, layout: LayoutVersion) -> Encoded {
    let start = out.len();
    let mut output = Output { bytes: out, layout };
    output.u8(op.code().0)?;
    output.i32(0)?;
    output.unsigned("transaction id", txid.0)?;
    op.put(&mut output)?;
    let frame = out.get_mut(start..).unwrap_or_default();
    let len_bytes = frame.len();
    if len_bytes.saturating_add(CRC_LEN) > MAX_WRITTEN_OP_BYTES {
        return Err(EncodeError::OpTooLong { len_bytes });
    }
    // The opcode does not count.
    let len = i32::try_from(len_bytes.saturating_sub(1)).unwrap_or(i32::MAX);
    if let Some(place) = frame.get_mut(1..5) {
        place.copy_from_slice(&len.to_be_bytes());
    }
    let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
    Ok(())
}
