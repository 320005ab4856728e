//! Reading a range of a replica (Hadoop: `BlockReaderRemote`).

use crate::stream::{self, MessageReader, READ_TIMEOUT};
use crate::{requests, responses};
use hathi_formats::datatransfer::{DataChecksum, Op, PacketBuffer, encode_op};
use hathi_formats::proto::hdfs::{
    BlockOpResponseProto, ClientReadStatusProto, DatanodeInfoProto, LocatedBlockProto, OpReadBlockProto, Status,
};
use prost::Message;
use std::io;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A stream of packets of one replica.
#[derive(Debug)]
pub struct BlockReader {
    located: LocatedBlockProto,
    node: DatanodeInfoProto,
    incoming: MessageReader<TcpStream>,
    packet: PacketBuffer,
    checksum: DataChecksum,
    /// Whether checksums are verified.
    verified: bool,
    /// Offset in the block of the next wanted byte.
    position: u64,
    /// Offset in the block after the last wanted byte.
    end: u64,
    /// The wanted part of the packet's data.
    wanted: std::ops::Range<usize>,
}

impl BlockReader {
    /// Asks a DataNode for `len` bytes of a block, from an offset in the block on.
    ///
    /// # Errors
    /// When the DataNode can't be reached, or refuses.
    pub async fn open(
        client_name: &str,
        block: &LocatedBlockProto,
        node: &DatanodeInfoProto,
        offset: u64,
        len: u64,
    ) -> io::Result<BlockReader> {
        let mut stream = stream::connect(node).await?;
        let request = OpReadBlockProto {
            header: requests::header(&block.b, Some(&block.block_token), client_name),
            offset,
            len,
            send_checksums: Some(true),
            caching_strategy: None,
        };
        stream.write_all(&encode_op(Op::ReadBlock, &request)).await?;
        let mut incoming = MessageReader::new(stream, READ_TIMEOUT);
        let response: BlockOpResponseProto = incoming.message().await?;
        let checksum = responses::announced_checksum(&response)?;
        Ok(BlockReader {
            located: block.clone(),
            node: node.clone(),
            incoming,
            packet: PacketBuffer::default(),
            checksum,
            verified: true,
            position: offset,
            end: offset + len,
            wanted: 0..0,
        })
    }

    /// The block.
    #[must_use]
    pub fn located(&self) -> &LocatedBlockProto {
        &self.located
    }

    /// The DataNode.
    #[must_use]
    pub fn node(&self) -> &DatanodeInfoProto {
        &self.node
    }

    /// Takes bytes from here on as the DataNode has them, even if they do not match their checksums.
    pub fn ignore_checksums(&mut self) {
        self.verified = false;
    }

    /// Reads the next packet with wanted bytes. Returns their number, or 0 at the end.
    ///
    /// # Errors
    /// When the connection breaks, or bytes are missing. The source is a
    /// [`ChecksumMismatch`](hathi_formats::datatransfer::ChecksumMismatch) when they do not match their checksums.
    pub async fn next(&mut self) -> io::Result<usize> {
        while self.position < self.end {
            self.incoming.packet(&mut self.packet).await?;
            let header = *self.packet.header();
            if header.last_packet_in_block {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the replica is shorter than the block",
                ));
            }
            if self.verified && self.checksum.checksum_size() > 0 {
                self.checksum
                    .verify(self.packet.data(), self.packet.checksums())
                    .map_err(|mismatch| io::Error::new(io::ErrorKind::InvalidData, mismatch))?;
            }
            // The first packet begins at the start of a chunk, and the last one may end at the end of a chunk.
            let start = header.offset_in_block;
            let stop = start + u64::from(header.data_len);
            if start > self.position {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet is missing"));
            }
            let from = self.position.min(stop) - start;
            let to = self.end.min(stop).max(start + from) - start;
            self.wanted =
                usize::try_from(from).map_err(io::Error::other)?..usize::try_from(to).map_err(io::Error::other)?;
            self.position = start + to;
            if !self.wanted.is_empty() {
                return Ok(self.wanted.len());
            }
        }
        self.wanted = 0..0;
        self.finish().await;
        Ok(0)
    }

    /// The wanted bytes of the last packet.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.packet.data().get(self.wanted.clone()).unwrap_or_default()
    }

    /// Tells the DataNode that all checksums were right, after the packet that ends the stream.
    async fn finish(&mut self) {
        if self.incoming.packet(&mut self.packet).await.is_err() {
            return;
        }
        let status = ClientReadStatusProto {
            status: Status::ChecksumOk.into(),
        };
        // The bytes are here already, so an error of the connection does not matter.
        let _ = self
            .incoming
            .stream()
            .write_all(&status.encode_length_delimited_to_vec())
            .await;
    }
}
