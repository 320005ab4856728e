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
