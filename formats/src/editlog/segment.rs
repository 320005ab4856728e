//! Segment files: their header and their names (`FileJournalManager`, `NNStorage`).

use std::fmt;

use crate::ids::{LayoutVersion, TxId};

/// Length of the header, in bytes: layout version and layout flags.
pub const SEGMENT_HEADER_LEN: usize = 8;

/// Layouts since this one write layout flags (`LayoutVersion.Feature.ADD_LAYOUT_FLAGS`).
const LAYOUT_FLAGS: LayoutVersion = LayoutVersion(-50);
/// Layouts since this one frame ops with their length (`NameNodeLayoutVersion.Feature.EDITLOG_LENGTH`).
const EDITLOG_LENGTH: LayoutVersion = LayoutVersion(-56);

/// Header of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The layout its ops are written in.
    pub layout_version: LayoutVersion,
}

/// Why a header can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Fewer bytes than a header has.
    #[error("the file ends inside the header")]
    Truncated,
    /// Only padding: the file was preallocated but never written.
    #[error("the header was never written")]
    NeverWritten,
    /// Layout flags that nobody has defined yet.
    #[error("{0} bytes of layout flags")]
    UnknownFlags(i32),
    /// A layout without lengths in its frames, or no layout at all.
    #[error("layout version {0} is too old")]
    TooOld(LayoutVersion),
}

impl SegmentHeader {
    /// The header of what this software writes.
    pub const CURRENT: SegmentHeader = SegmentHeader {
        layout_version: LayoutVersion::NAMENODE_CURRENT,
    };

    /// The header's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; SEGMENT_HEADER_LEN] {
        let [a, b, c, d] = self.layout_version.0.to_be_bytes();
        [a, b, c, d, 0, 0, 0, 0]
    }

    /// Reads the header at the start of a file. Layouts newer than ours are accepted: their frames can be scanned.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderError> {
        let (layout_version, rest) = bytes.split_first_chunk::<4>().ok_or(HeaderError::Truncated)?;
        let layout_version = LayoutVersion(i32::from_be_bytes(*layout_version));
        if layout_version.0 == -1 {
            return Err(HeaderError::NeverWritten);
        }
        if layout_version > EDITLOG_LENGTH || layout_version > LAYOUT_FLAGS {
            return Err(HeaderError::TooOld(layout_version));
        }
        let flags = rest.first_chunk::<4>().ok_or(HeaderError::Truncated)?;
        match i32::from_be_bytes(*flags) {
            0 => Ok(SegmentHeader { layout_version }),
            flags => Err(HeaderError::UnknownFlags(flags)),
        }
    }
}

/// Name of a segment file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentFile {
    /// `edits_%019d-%019d`.
    Finalized {
        /// First txid.
        first: TxId,
        /// Last txid, included.
        last: TxId,
    },
    /// `edits_inprogress_%019d`.
    InProgress {
        /// First txid.
        first: TxId,
    },
    /// An in-progress file set aside: `edits_inprogress_%019d.SUFFIX`, for example `.empty`, `.corrupt`, `.stale`,
    /// `.trash`, or `.epoch=N` of a recovery.
    Aside {
        /// First txid.
        first: TxId,
        /// Last txid of a finalized file.
        last: Option<TxId>,
        /// What follows the dot.
        suffix: String,
    },
}

impl SegmentFile {
    /// The first txid.
    #[must_use]
    pub const fn first(&self) -> TxId {
        match self {
            SegmentFile::Finalized { first, .. }
            | SegmentFile::InProgress { first }
            | SegmentFile::Aside { first, .. } => *first,
        }
    }

    /// Reads a file name; `None` if it is no segment's.
    #[must_use]
    pub fn parse(name: &str) -> Option<SegmentFile> {
        let rest = name.strip_prefix("edits_")?;
        let (rest, in_progress) = match rest.strip_prefix("inprogress_") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (numbers, suffix) = match rest.split_once('.') {
            Some((numbers, suffix)) if !suffix.is_empty() => (numbers, Some(suffix.to_owned())),
            Some(_) => return None,
            None => (rest, None),
        };
        let (first, last) = if in_progress {
            (parse_txid(numbers)?, None)
        } else {
            let (first, last) = numbers.split_once('-')?;
            (parse_txid(first)?, Some(parse_txid(last)?))
        };
        Some(match (suffix, last) {
            (Some(suffix), last) => SegmentFile::Aside { first, last, suffix },
            (None, Some(last)) => SegmentFile::Finalized { first, last },
            (None, None) => SegmentFile::InProgress { first },
        })
    }
}

fn parse_txid(digits: &str) -> Option<TxId> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let txid: u64 = digits.parse().ok().filter(|_| all_digits)?;
    i64::try_from(txid).is_ok().then_some(TxId(txid))
}

impl fmt::Display for SegmentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SegmentFile::Finalized { first, last } => {
                write!(f, "edits_{:019}-{:019}", first.0, last.0)
            }
            SegmentFile::InProgress { first } => write!(f, "edits_inprogress_{:019}", first.0),
            SegmentFile::Aside {
                first,
                last: None,
                suffix,
            } => write!(f, "edits_inprogress_{:019}.{suffix}", first.0),
            SegmentFile::Aside {
                first,
                last: Some(last),
                suffix,
            } => write!(f, "edits_{:019}-{:019}.{suffix}", first.0, last.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in [
            "edits_0000000000000000001-0000000000000000042",
            "edits_inprogress_0000000000000000043",
            "edits_inprogress_0000000000000000043.empty",
            "edits_inprogress_0000000000000000043.epoch=7",
            "edits_0000000000000000001-0000000000000000042.trash",
        ] {
            assert_eq!(
                SegmentFile::parse(name).map(|file| file.to_string()).as_deref(),
                Some(name)
            );
        }
        for name in [
            "edits_1",
            "edits_tmp_1-2_3",
            "edits_inprogress_",
            "fsimage_1",
            "edits_1-2.",
            "edits_+1-2",
        ] {
            assert_eq!(SegmentFile::parse(name), None, "{name}");
        }
    }

    #[test]
    fn headers() {
        assert_eq!(SegmentHeader::CURRENT.encode(), [0xFF, 0xFF, 0xFF, 0xBD, 0, 0, 0, 0]);
        assert_eq!(
            SegmentHeader::decode(&SegmentHeader::CURRENT.encode()),
            Ok(SegmentHeader::CURRENT)
        );
        assert_eq!(SegmentHeader::decode(&[0xFF; 8]), Err(HeaderError::NeverWritten));
        assert_eq!(SegmentHeader::decode(&[0xFF; 3]), Err(HeaderError::Truncated));
        assert_eq!(
            SegmentHeader::decode(&[0xFF, 0xFF, 0xFF, 0xBD, 0, 0, 0, 1]),
            Err(HeaderError::UnknownFlags(1))
        );
        assert_eq!(
            SegmentHeader::decode(&[0; 8]),
            Err(HeaderError::TooOld(LayoutVersion(0)))
        );
    }
}
