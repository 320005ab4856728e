//! Responses of data transfer, and the agreement on checksums.

use hathi_formats::datatransfer::DataChecksum;
use hathi_formats::proto::hdfs::{BlockOpResponseProto, ChecksumProto, ReadOpChecksumInfoProto, Status};
use std::io;

/// Largest chunk that is accepted, in bytes. A chunk is held in memory. It is the largest size of a packet.
const MAX_BYTES_PER_CHECKSUM: u32 = 16 << 20;

/// A write was accepted, by all DataNodes from here on.
#[must_use]
pub fn success() -> BlockOpResponseProto {
    BlockOpResponseProto {
        first_bad_link: Some(String::new()),
        ..status(Status::Success)
    }
}

/// A bare status.
#[must_use]
pub fn status(status: Status) -> BlockOpResponseProto {
    BlockOpResponseProto {
        status: status.into(),
        ..BlockOpResponseProto::default()
    }
}

/// A status, and what there is to say about it.
#[must_use]
pub fn message(of: Status, message: String) -> BlockOpResponseProto {
    BlockOpResponseProto {
        message: Some(message),
        ..status(of)
    }
}

/// Packets with these checksums follow, from this offset in the block on.
#[must_use]
pub fn packets_follow(checksum: &DataChecksum, chunk_offset: u64) -> BlockOpResponseProto {
    BlockOpResponseProto {
        read_op_checksum_info: Some(ReadOpChecksumInfoProto {
            checksum: checksum.to_proto(),
            chunk_offset,
        }),
        ..status(Status::Success)
    }
}

/// # Errors
/// With status and message of a response that is no success.
pub fn check(response: &BlockOpResponseProto) -> io::Result<()> {
    match response.status() {
        Status::Success => Ok(()),
        status => Err(io::Error::other(format!("{status:?}: {}", response.message()))),
    }
}

/// The checksums of the packets that follow a response.
///
/// # Errors
/// As [`check`], and when the checksums can't be used.
pub fn announced_checksum(response: &BlockOpResponseProto) -> io::Result<DataChecksum> {
    check(response)?;
    match &response.read_op_checksum_info {
        Some(info) => usable(&info.checksum),
        None => Err(io::Error::other("the response names no checksum")),
    }
}

/// The checksums that a peer asks for.
///
/// # Errors
/// When their kind is not known, or their chunks are empty or too large.
pub fn usable(proto: &ChecksumProto) -> io::Result<DataChecksum> {
    DataChecksum::from_proto(proto)
        .ok()
        .filter(|checksum| checksum.bytes_per_checksum() <= MAX_BYTES_PER_CHECKSUM)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("unusable checksum: {proto:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_that_no_packet_holds_is_refused_by_both_sides() {
        let sized = |bytes_per_checksum| ChecksumProto {
            bytes_per_checksum,
            ..DataChecksum::DEFAULT.to_proto()
        };
        assert_eq!(usable(&sized(512)).unwrap().bytes_per_checksum(), 512);
        let mut response = packets_follow(&DataChecksum::DEFAULT, 0);
        assert!(announced_checksum(&response).is_ok());
        for unusable in [0, MAX_BYTES_PER_CHECKSUM + 1, u32::MAX] {
            assert!(usable(&sized(unusable)).is_err(), "{unusable}");
            if let Some(info) = &mut response.read_op_checksum_info {
                info.checksum = sized(unusable);
            }
            assert!(announced_checksum(&response).is_err(), "{unusable}");
        }
        let refused = announced_checksum(&message(Status::ErrorAccessToken, "no".to_owned())).unwrap_err();
        assert_eq!(refused.to_string(), "ErrorAccessToken: no");
        assert!(announced_checksum(&success()).is_err(), "it names none");
    }
}
