//! Reading a range of a replica on a thread (`BlockReaderRemote`, as DataNodes use it).

use crate::{requests, responses};
use hathi_formats::datatransfer::{DataChecksum, Op, PacketBuffer, read_delimited, write_op};
use hathi_formats::proto::hdfs::{BlockOpResponseProto, ExtendedBlockProto, OpReadBlockProto};
use std::io::{self, BufReader};
use std::net::TcpStream;
use std::ops::Range;

/// Bytes that are read ahead of a response.
const READ_BUFFER_BYTES: usize = 8 << 10;

/// The bytes of a replica, from a DataNode, each checked against its checksum.
#[derive(Debug)]
pub struct ReplicaStream {
    reader: BufReader<TcpStream>,
    packet: PacketBuffer,
    checksum: DataChecksum,
    /// Offset in the block of the next byte.
    position: u64,
    /// The part of the packet's data that is still to be taken.
    left: Range<usize>,
}

impl ReplicaStream {
    /// Asks for `length` bytes of a block, from `offset` on. The connection's time limits apply to each read.
    ///
    /// # Errors
    /// When the DataNode refuses, or the connection fails.
    pub fn open(
        mut stream: TcpStream,
        block: &ExtendedBlockProto,
        offset: u64,
        length: u64,
        max_packet_bytes: usize,
    ) -> io::Result<ReplicaStream> {
        let request = OpReadBlockProto {
            header: requests::header(block, None, ""),
            offset,
            len: length,
            send_checksums: Some(true),
            caching_strategy: None,
        };
        write_op(&mut stream, Op::ReadBlock, &request)?;
        let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
        let response: BlockOpResponseProto = read_delimited(&mut reader)?;
        Ok(ReplicaStream {
            checksum: responses::announced_checksum(&response)?,
            reader,
            packet: PacketBuffer::new(max_packet_bytes),
            position: offset,
            left: 0..0,
        })
    }

    /// The checksums of the replica.
    #[must_use]
    pub fn checksum(&self) -> DataChecksum {
        self.checksum
    }

    /// Offset in the block of the next byte.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Fills the buffer with the next bytes.
    ///
    /// # Errors
    /// When the connection fails, or the replica ends before. The source is a
    /// [`ChecksumMismatch`](hathi_formats::datatransfer::ChecksumMismatch) when bytes do not match their checksums.
    pub fn read_exact(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            if self.left.is_empty() {
                self.next_packet()?;
                continue;
            }
            let count = buffer.len().min(self.left.len());
            let end = self.left.start + count;
            let (now, rest) = std::mem::take(&mut buffer).split_at_mut(count);
            now.copy_from_slice(self.packet.data().get(self.left.start..end).unwrap_or_default());
            self.left.start = end;
            self.position += count as u64;
            buffer = rest;
        }
        Ok(())
    }

    fn next_packet(&mut self) -> io::Result<()> {
        let header = *self.packet.read_ahead_from(&mut self.reader)?;
        if header.last_packet_in_block {
            let text = "the replica is shorter than the block";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        let (data, sums) = (self.packet.data(), self.packet.checksums());
        self.checksum
            .verify(data, sums)
            .map_err(|mismatch| io::Error::new(io::ErrorKind::InvalidData, mismatch))?;
        // The first packet begins at the start of a chunk.
        let before = self.position.checked_sub(header.offset_in_block);
        let before = before.and_then(|before| usize::try_from(before).ok());
        let Some(before) = before.filter(|before| *before < data.len() || data.is_empty()) else {
            let text = "a packet is missing";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        self.left = before.min(data.len())..data.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets;
    use hathi_formats::datatransfer::{ChecksumMismatch, PacketHeader, write_delimited};
    use std::io::Write;
    use std::net::TcpListener;

    /// A DataNode that answers with these packets: offset, data, and whether a bit flips on the way.
    fn answered(packets: Vec<(u64, Vec<u8>, bool)>, offset: u64) -> io::Result<ReplicaStream> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        let (mut datanode, _) = listener.accept()?;
        write_delimited(&mut datanode, &responses::packets_follow(&DataChecksum::DEFAULT, 0))?;
        for (seqno, (offset_in_block, data, flips)) in packets.into_iter().enumerate() {
            let header = PacketHeader {
                offset_in_block,
                seqno: seqno as i64,
                last_packet_in_block: data.is_empty(),
                data_len: data.len() as u32,
                sync_block: false,
            };
            let mut bytes = packets::encode(header, &DataChecksum::DEFAULT, &data);
            if flips && let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            datanode.write_all(&bytes)?;
        }
        ReplicaStream::open(stream, &ExtendedBlockProto::default(), offset, 4096, 1 << 20)
    }

    fn data(from: u64, to: u64) -> Vec<u8> {
        (from..to).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn bytes_come_from_the_offset_on_whatever_packets_they_are_in() {
        let packets = vec![
            (512, data(512, 1024), false),
            (1024, data(1024, 3000), false),
            (3000, Vec::new(), false),
        ];
        let mut stream = answered(packets, 700).unwrap();
        assert_eq!((stream.checksum(), stream.position()), (DataChecksum::DEFAULT, 700));
        let mut at = 700;
        for length in [1u64, 400, 1000, 899] {
            let mut bytes = vec![0; length as usize];
            stream.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, data(at, at + length));
            at += length;
            assert_eq!(stream.position(), at);
        }
        let ended = stream.read_exact(&mut [0]).unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
        assert!(stream.read_exact(&mut []).is_ok());
    }

    #[test]
    fn what_does_not_match_or_is_missing_is_an_error() {
        let mut flipped = answered(vec![(0, data(0, 1000), true)], 0).unwrap();
        let error = flipped.read_exact(&mut [0; 10]).unwrap_err();
        assert!(
            error.get_ref().is_some_and(|source| source.is::<ChecksumMismatch>()),
            "{error}"
        );
        for offset in [0, 1512] {
            let mut elsewhere = answered(vec![(512, data(512, 1512), false)], offset).unwrap();
            let error = elsewhere.read_exact(&mut [0; 10]).unwrap_err();
            assert_eq!(error.to_string(), "a packet is missing");
        }
    }
}
