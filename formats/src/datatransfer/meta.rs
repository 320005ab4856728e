//! The header of a `blk_<id>_<genstamp>.meta` file (`BlockMetadataHeader`); checksums follow it, one per chunk.

use super::{ChecksumType, DataChecksum, DataTransferError};

/// Bytes of the header.
pub const META_HEADER_BYTES: usize = 7;
/// The only version Hadoop writes.
pub const META_VERSION: u16 = 1;

/// Header of a meta file: version and kind of checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockMetadataHeader {
    /// Version of the file.
    pub version: u16,
    /// Kind and chunk size of the checksums that follow.
    pub checksum: DataChecksum,
}

impl BlockMetadataHeader {
    /// A header for new files.
    #[must_use]
    pub const fn new(checksum: DataChecksum) -> BlockMetadataHeader {
        BlockMetadataHeader {
            version: META_VERSION,
            checksum,
        }
    }

    /// The bytes on disk.
    #[must_use]
    pub fn encode(&self) -> [u8; META_HEADER_BYTES] {
        let [a, b] = self.version.to_be_bytes();
        let [c, d, e, f] = self.checksum.bytes_per_checksum().to_be_bytes();
        [a, b, self.checksum.kind() as u8, c, d, e, f]
    }

    /// Decodes the header. For other versions Hadoop warns and reads on, and so does this.
    pub fn decode(bytes: &[u8; META_HEADER_BYTES]) -> Result<BlockMetadataHeader, DataTransferError> {
        let [a, b, kind, c, d, e, f] = *bytes;
        let bytes_per_checksum = u32::from_be_bytes([c, d, e, f]);
        let checksum = ChecksumType::from_number(kind.into())
            .and_then(|kind| DataChecksum::new(kind, bytes_per_checksum))
            .ok_or(DataTransferError::Checksum {
                kind: kind.into(),
                bytes_per_checksum,
            })?;
        Ok(BlockMetadataHeader {
            version: u16::from_be_bytes([a, b]),
            checksum,
        })
    }

    /// Offset in the meta file of the checksum of the chunk that holds `block_offset`.
    #[must_use]
    pub fn checksum_offset(&self, block_offset: u64) -> u64 {
        let chunks = block_offset.checked_div(self.checksum.bytes_per_checksum().into());
        self.end_of_checksums(chunks.unwrap_or_default())
    }

    /// Length of the meta file of a block of `block_len` bytes, in bytes.
    #[must_use]
    pub fn meta_len(&self, block_len: u64) -> u64 {
        self.end_of_checksums(block_len.div_ceil(self.checksum.bytes_per_checksum().into()))
    }

    /// Saturates at lengths that no file has.
    fn end_of_checksums(&self, chunks: u64) -> u64 {
        let checksums = chunks.saturating_mul(self.checksum.checksum_size() as u64);
        checksums.saturating_add(META_HEADER_BYTES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_hadoops() {
        let checksum = DataChecksum::new(ChecksumType::Crc32c, 512).unwrap();
        let header = BlockMetadataHeader::new(checksum);
        assert_eq!(header.encode(), [0, 1, 2, 0, 0, 2, 0]);
        assert_eq!(BlockMetadataHeader::decode(&header.encode()).unwrap(), header);
        assert_eq!(
            (
                header.meta_len(0),
                header.meta_len(1),
                header.meta_len(512),
                header.meta_len(513)
            ),
            (7, 11, 11, 15)
        );
        assert_eq!(header.checksum_offset(1024), 15);
        for bad in [[0, 1, 3, 0, 0, 2, 0], [0, 1, 2, 0, 0, 0, 0], [0, 1, 2, 0xFF, 0, 0, 0]] {
            assert!(BlockMetadataHeader::decode(&bad).is_err());
        }
    }
}
