//! Checks the frames of ops without decoding them, so that op codes newer than ours pass (as in Java's JournalNode).
//!
//! `u8 opcode | i32 length | i64 txid | body | u32 crc`: the length counts itself, txid and body; the checksum covers
//! all before it.

use hathi_formats::ids::{LayoutVersion, TxId};

/// Opcode, length, txid and checksum of an op without body.
const MIN_FRAME_BYTES: usize = 17;
/// `dfs.namenode.max.op.size`: larger lengths are damage.
const MAX_FRAME_BYTES: usize = 50 << 20;
/// `FSEditLogOpCodes.OP_INVALID`: nothing follows.
const OP_INVALID: u8 = 0xFF;

/// What stands at the begin of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameCheck {
    /// An intact frame of so many bytes with the transaction expected.
    Whole(usize),
    /// The end of the data: padding.
    End,
    /// The frame is longer than what is here; it takes so many bytes (or more).
    NeedMore(usize),
    /// No frame.
    Bad(String),
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let part = bytes.get(at..at.checked_add(4)?)?;
    part.try_into().ok().map(u32::from_be_bytes)
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(8)?)?;
    part.try_into().ok().map(u64::from_be_bytes)
}

/// The length in bytes of the frame at the begin of `bytes`, unchecked but for sanity.
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let len = usize::try_from(read_u32(bytes, 1)?).ok()?.checked_add(5)?;
    (MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&len).then_some(len)
}

/// Checks the frame at the begin of `bytes`.
pub fn check_frame(bytes: &[u8], expected: TxId) -> FrameCheck {
    match bytes.first() {
        None => return FrameCheck::NeedMore(MIN_FRAME_BYTES),
        Some(&OP_INVALID) => return FrameCheck::End,
        Some(_) => {}
    }
    if bytes.len() < MIN_FRAME_BYTES {
        return FrameCheck::NeedMore(MIN_FRAME_BYTES);
    }
    let Some(len) = frame_len(bytes) else {
        return FrameCheck::Bad("impossible op length".to_owned());
    };
    let Some(frame) = bytes.get(..len) else {
        return FrameCheck::NeedMore(len);
    };
    let txid = read_u64(frame, 5);
    if txid != Some(expected.0) {
        return FrameCheck::Bad(format!("txid {txid:?} where {expected} should be"));
    }
    let (covered, crc) = frame.split_at(len - 4);
    if read_u32(crc, 0) != Some(crc32fast::hash(covered)) {
        return FrameCheck::Bad(format!("wrong checksum of txid {expected}"));
    }
    FrameCheck::Whole(len)
}

/// Checks that `records` are exactly `count` intact frames from `first` on.
pub fn check_batch(records: &[u8], first: TxId, count: u32) -> Result<(), String> {
    let mut rest = records;
    let mut expected = first;
    for _ in 0..count {
        match check_frame(rest, expected) {
            FrameCheck::Whole(len) => rest = rest.get(len..).unwrap_or_default(),
            FrameCheck::End => return Err(format!("ends before txid {expected}")),
            FrameCheck::NeedMore(_) => return Err(format!("txid {expected} is cut off")),
            FrameCheck::Bad(what) => return Err(what),
        }
        expected = expected.next();
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(format!("{} bytes after txid {}", rest.len(), expected.0 - 1))
    }
}

/// What stands before the first frame: layout version and no flags.
pub fn header(layout_version: LayoutVersion) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&layout_version.0.to_be_bytes());
    bytes
}

/// The layout version of a header; `None` when it is no header.
pub fn parse_header(bytes: &[u8; 8]) -> Option<LayoutVersion> {
    let version = read_u32(bytes, 0)? as i32;
    let flags = read_u32(bytes, 4)?;
    // -1 is a header that was never written over the padding; flags are refused by Hadoop too.
    (version < -1 && flags == 0).then_some(LayoutVersion(version))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A frame with a body of so many bytes.
    pub fn frame(txid: u64, body: usize) -> Vec<u8> {
        let mut bytes = vec![9];
        bytes.extend((12 + body as u32).to_be_bytes());
        bytes.extend(txid.to_be_bytes());
        bytes.resize(bytes.len() + body, 0xAB);
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_be_bytes());
        bytes
    }

    #[test]
    fn a_batch_is_exactly_its_frames() {
        let good = [frame(5, 10), frame(6, 0)].concat();
        assert_eq!(check_batch(&good, TxId(5), 2), Ok(()));
        assert!(check_batch(&good, TxId(5), 1).is_err());
        assert!(check_batch(&good, TxId(5), 3).is_err());
        assert!(check_batch(&good, TxId(4), 2).is_err());
        assert!(check_batch(&good[..good.len() - 1], TxId(5), 2).is_err());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(check_batch(&bad, TxId(5), 2).is_err(), "byte {at}");
        }
    }

    #[test]
    fn damage_is_never_whole() {
        assert_eq!(check_frame(&[0xFF; 4], TxId(1)), FrameCheck::End);
        assert_eq!(check_frame(&[], TxId(1)), FrameCheck::NeedMore(17));
        assert!(matches!(check_frame(&[0; 64], TxId(1)), FrameCheck::Bad(_)));
        let good = frame(1, 100);
        assert_eq!(check_frame(&good[..50], TxId(1)), FrameCheck::NeedMore(good.len()));
        assert_eq!(check_frame(&good, TxId(1)), FrameCheck::Whole(good.len()));
        assert_eq!(parse_header(&header(LayoutVersion(-67))), Some(LayoutVersion(-67)));
        assert_eq!(parse_header(&[0xFF; 8]), None);
    }
}
