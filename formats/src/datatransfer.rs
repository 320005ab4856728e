//! The data transfer protocol between clients and DataNodes, and among DataNodes: request headers, packets,
//! acknowledgements and checksums, as values and bytes.
//!
//! Every decoder reads from slices and from `std::io`. Asynchronous code uses slices, and reads until a decoder says
//! how much it needs. DataNode threads use `std::io`. Lengths from outside are checked before anything is allocated.
//!
//! Mirrors Hadoop's `protocol.datatransfer.{Op,Sender,Receiver,PacketHeader,PacketReceiver,PipelineAck}`,
//! `util.{DataChecksum,CrcComposer}` and `server.datanode.BlockMetadataHeader`.

mod ack;
mod checksum;
mod delimited;
mod meta;
mod op;
mod packet;

pub use ack::{Ecn, PipelineAck, Slow, UNKNOWN_SEQNO};
pub use checksum::{ChecksumMismatch, ChecksumType, CrcComposer, CrcShift, DataChecksum, md5, md5_of_crcs};
pub use delimited::{
    MAX_MESSAGE_BYTES, decode_delimited, encode_delimited, encode_delimited_into, read_delimited, write_delimited,
};
pub use meta::{BlockMetadataHeader, META_HEADER_BYTES, META_VERSION};
pub use op::{DATA_TRANSFER_VERSION, Op, OpRequest, encode_op, read_op, read_request, write_op};
pub use packet::{
    DEFAULT_MAX_PACKET_BYTES, HEARTBEAT_SEQNO, MAX_PACKET_HEADER_BYTES, PacketBuffer, PacketHeader, PacketLengths,
};

/// Why bytes of the data transfer protocol can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DataTransferError {
    /// The peer speaks another version of the protocol.
    #[error("Version Mismatch (Expected: {DATA_TRANSFER_VERSION}, Received: {0})")]
    Version(u16),
    /// An op code that Hadoop does not define.
    #[error("unknown op code {0} in data stream")]
    UnknownOp(u8),
    /// A length prefix that is negative, not minimal or larger than the limit.
    #[error("invalid {what} length {length}")]
    Length {
        /// What the length belongs to.
        what: &'static str,
        /// The length found.
        length: u64,
    },
    /// A protobuf message that does not decode.
    #[error("malformed message: {0}")]
    Message(#[from] prost::DecodeError),
    /// A checksum type or chunk size that Hadoop does not define.
    #[error("invalid checksum: type {kind}, bytes per checksum {bytes_per_checksum}")]
    Checksum {
        /// The type's number.
        kind: i32,
        /// The chunk size found.
        bytes_per_checksum: u32,
    },
}

impl From<DataTransferError> for std::io::Error {
    fn from(error: DataTransferError) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}
