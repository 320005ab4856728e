//! Checks the frames of ops without decoding the ops. So op codes that are newer than ours pass, as in Java's
//! JournalNode.
//!
//! `u8 opcode | i32 length | i64 txid | body | u32 crc`: the length counts itself, txid and body. The checksum covers
//! everything before it.

use hathi_formats::editlog::{FrameError, Frames, MAX_OP_SIZE_BYTES, MIN_OP_SIZE_BYTES, ScanEnd, SegmentHeader};
use hathi_formats::ids::{LayoutVersion, TxId};

/// What the beginning of some bytes is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameCheck {
    /// An intact frame of this many bytes, with the expected transaction.
    Whole(usize),
    /// Padding: the data ends here.
    End,
    /// The frame is longer than these bytes. It takes at least this many.
    NeedMore(usize),
    /// Neither a frame nor padding.
    Bad(String),
}

/// Length in bytes of the frame at the beginning of `bytes`. Only its plausibility is checked.
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let length: [u8; 4] = bytes.get(1..5)?.try_into().ok()?;
    let len = usize::try_from(u32::from_be_bytes(length)).ok()?.checked_add(5)?;
    (MIN_OP_SIZE_BYTES..=MAX_OP_SIZE_BYTES).contains(&len).then_some(len)
}

/// Checks the frame at the beginning of `bytes`.
pub fn check_frame(bytes: &[u8], expected: TxId) -> FrameCheck {
    let mut frames = Frames::new(bytes, 0).starting_at(expected);
    match frames.next_frame() {
        Ok(Some(frame)) => FrameCheck::Whole(frame.bytes.len()),
        Ok(None) if frames.end() == Some(ScanEnd::Padding) => FrameCheck::End,
        Ok(None) => FrameCheck::NeedMore(MIN_OP_SIZE_BYTES),
        Err(FrameError::Truncated { .. }) => FrameCheck::NeedMore(frame_len(bytes).unwrap_or(MIN_OP_SIZE_BYTES)),
        Err(error) => FrameCheck::Bad(error.to_string()),
    }
}

/// Checks that `records` are exactly `count` intact frames from `first` on.
pub fn check_batch(records: &[u8], first: TxId, count: u32) -> Result<(), String> {
    let mut frames = Frames::new(records, 0).starting_at(first);
    for missing in (1..=count).rev() {
        match frames.next_frame() {
            Ok(Some(_)) => {}
            Ok(None) => return Err(format!("{missing} transactions are missing")),
            Err(error) => return Err(error.to_string()),
        }
    }
    let good = usize::try_from(frames.good_until()).unwrap_or(usize::MAX);
    if good == records.len() {
        Ok(())
    } else {
        Err(format!("more than {count} transactions"))
    }
}

/// The header of a segment before the first frame: layout version and no flags.
pub fn header(layout_version: LayoutVersion) -> [u8; 8] {
    SegmentHeader { layout_version }.encode()
}

/// The layout version in a header; `None` when the bytes are no header.
pub fn parse_header(bytes: &[u8; 8]) -> Option<LayoutVersion> {
    SegmentHeader::decode(bytes).ok().map(|header| header.layout_version)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A frame with a body of `body` bytes.
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
