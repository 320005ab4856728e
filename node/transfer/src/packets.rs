//! Packets whose data is in memory.

use hathi_formats::datatransfer::{DataChecksum, PacketHeader};

/// A packet with the checksums of its data.
#[must_use]
pub fn encode(header: PacketHeader, checksum: &DataChecksum, data: &[u8]) -> Vec<u8> {
    let checksum_len = checksum.checksum_len(data.len());
    let mut bytes = Vec::with_capacity(header.encoded_len() + checksum_len + data.len());
    header.encode_into(checksum_len, &mut bytes);
    checksum.compute_into(data, &mut bytes);
    bytes.extend_from_slice(data);
    bytes
}

/// The empty packet that ends a block of this length, in bytes.
#[must_use]
pub fn last_header(block_len: u64, seqno: i64) -> PacketHeader {
    PacketHeader {
        offset_in_block: block_len,
        seqno,
        last_packet_in_block: true,
        ..PacketHeader::default()
    }
}
