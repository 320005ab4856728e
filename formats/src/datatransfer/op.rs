//! Requests: `u16` version, `u8` op code, delimited message (`Op`, `Sender`, `Receiver`).

use std::io::{self, ErrorKind, Read, Write};

use prost::Message;

use super::{DataTransferError, encode_delimited_into, read_delimited};
use crate::proto::hdfs::{
    OpBlockChecksumProto, OpBlockGroupChecksumProto, OpCopyBlockProto, OpCustomProto, OpReadBlockProto,
    OpReplaceBlockProto, OpRequestShortCircuitAccessProto, OpTransferBlockProto, OpWriteBlockProto,
    ReleaseShortCircuitAccessRequestProto, ShortCircuitShmRequestProto,
};

/// `DataTransferProtocol.DATA_TRANSFER_VERSION`.
pub const DATA_TRANSFER_VERSION: u16 = 28;

/// A request to a DataNode (`protocol.datatransfer.Op`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are Hadoop's")]
pub enum Op {
    WriteBlock = 80,
    ReadBlock = 81,
    ReadMetadata = 82,
    ReplaceBlock = 83,
    CopyBlock = 84,
    BlockChecksum = 85,
    TransferBlock = 86,
    RequestShortCircuitFds = 87,
    ReleaseShortCircuitFds = 88,
    RequestShortCircuitShm = 89,
    BlockGroupChecksum = 90,
    Custom = 127,
}

impl Op {
    /// The byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From the byte on the wire.
    pub fn from_code(code: u8) -> Result<Op, DataTransferError> {
        Ok(match code {
            80 => Op::WriteBlock,
            81 => Op::ReadBlock,
            82 => Op::ReadMetadata,
            83 => Op::ReplaceBlock,
            84 => Op::CopyBlock,
            85 => Op::BlockChecksum,
            86 => Op::TransferBlock,
            87 => Op::RequestShortCircuitFds,
            88 => Op::ReleaseShortCircuitFds,
            89 => Op::RequestShortCircuitShm,
            90 => Op::BlockGroupChecksum,
            127 => Op::Custom,
            other => return Err(DataTransferError::UnknownOp(other)),
        })
    }

    /// Decodes the three bytes that open a request.
    pub fn from_prefix(prefix: [u8; 3]) -> Result<Op, DataTransferError> {
        let [high, low, code] = prefix;
        let version = u16::from_be_bytes([high, low]);
        if version != DATA_TRANSFER_VERSION {
            return Err(DataTransferError::Version(version));
        }
        Op::from_code(code)
    }
}

/// A decoded request.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    clippy::large_enum_variant,
    reason = "the names are Hadoop's; there is one at a time on each connection"
)]
pub enum OpRequest {
    WriteBlock(Box<OpWriteBlockProto>),
    ReadBlock(OpReadBlockProto),
    ReplaceBlock(OpReplaceBlockProto),
    CopyBlock(OpCopyBlockProto),
    BlockChecksum(OpBlockChecksumProto),
    TransferBlock(OpTransferBlockProto),
    RequestShortCircuitFds(OpRequestShortCircuitAccessProto),
    ReleaseShortCircuitFds(ReleaseShortCircuitAccessRequestProto),
    RequestShortCircuitShm(ShortCircuitShmRequestProto),
    BlockGroupChecksum(Box<OpBlockGroupChecksumProto>),
    Custom(OpCustomProto),
}

/// The bytes of a request.
#[must_use]
pub fn encode_op<M: Message>(op: Op, message: &M) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.encoded_len().saturating_add(8));
    out.extend_from_slice(&DATA_TRANSFER_VERSION.to_be_bytes());
    out.push(op.code());
    encode_delimited_into(message, &mut out);
    out
}

/// Writes a request in one call.
pub fn write_op<M: Message>(writer: &mut impl Write, op: Op, message: &M) -> io::Result<()> {
    writer.write_all(&encode_op(op, message))
}

/// Reads what opens a request; `None` when the peer closed the connection between requests.
pub fn read_op(reader: &mut impl Read) -> io::Result<Option<Op>> {
    let mut prefix = [0_u8; 3];
    let (first, rest) = prefix.split_at_mut(1);
    loop {
        match reader.read(first) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    reader.read_exact(rest)?;
    Ok(Some(Op::from_prefix(prefix)?))
}

/// Reads a whole request; `None` when the peer closed the connection between requests.
pub fn read_request(reader: &mut impl Read) -> io::Result<Option<OpRequest>> {
    let Some(op) = read_op(reader)? else {
        return Ok(None);
    };
    Ok(Some(match op {
        Op::WriteBlock => OpRequest::WriteBlock(Box::new(read_delimited(reader)?)),
        Op::ReadBlock => OpRequest::ReadBlock(read_delimited(reader)?),
        Op::ReadMetadata => return Err(DataTransferError::UnknownOp(op.code()).into()),
        Op::ReplaceBlock => OpRequest::ReplaceBlock(read_delimited(reader)?),
        Op::CopyBlock => OpRequest::CopyBlock(read_delimited(reader)?),
        Op::BlockChecksum => OpRequest::BlockChecksum(read_delimited(reader)?),
        Op::TransferBlock => OpRequest::TransferBlock(read_delimited(reader)?),
        Op::RequestShortCircuitFds => OpRequest::RequestShortCircuitFds(read_delimited(reader)?),
        Op::ReleaseShortCircuitFds => OpRequest::ReleaseShortCircuitFds(read_delimited(reader)?),
        Op::RequestShortCircuitShm => OpRequest::RequestShortCircuitShm(read_delimited(reader)?),
        Op::BlockGroupChecksum => OpRequest::BlockGroupChecksum(Box::new(read_delimited(reader)?)),
        Op::Custom => OpRequest::Custom(read_delimited(reader)?),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_round_trips() {
        let message = OpCustomProto {
            custom_id: "id".to_owned(),
        };
        let bytes = encode_op(Op::Custom, &message);
        assert_eq!(bytes.as_slice(), [0, 28, 127, 4, 10, 2, b'i', b'd']);
        let mut reader = bytes.as_slice();
        assert_eq!(read_request(&mut reader).unwrap(), Some(OpRequest::Custom(message)));
        assert_eq!(read_request(&mut reader).unwrap(), None);
    }

    #[test]
    fn every_code_maps_back_and_strangers_are_refused() {
        let known = (0..=u8::MAX)
            .filter_map(|code| Op::from_code(code).ok())
            .map(Op::code)
            .collect::<Vec<_>>();
        assert_eq!(known, [80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 127]);
        assert!(matches!(
            Op::from_prefix([0, 27, 80]),
            Err(DataTransferError::Version(27))
        ));
        assert!(
            read_op(&mut [0_u8, 28].as_slice()).is_err(),
            "half a header is an error"
        );
    }
}
