//! Sending a range of a replica as packets (`BlockSender`), and the READ_BLOCK request.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hathi_blockpool::chunks::read_exact_at;
use hathi_blockpool::recovery::participant::block_of;
use hathi_blockpool::{Replica, ReplicaError, VolumeId};
use hathi_formats::datatransfer::{ChecksumType, DataChecksum, PacketHeader, read_delimited};
use hathi_formats::ids::Block;
use hathi_formats::proto::hdfs::{ClientReadStatusProto, OpReadBlockProto, Status};
use hathi_transfer::{packets, responses};
use rustix::net::SendFlags;

use super::{After, Xceiver, XceiverError, XceiverResult, is_timeout};
use crate::pool::{Pool, PoolError, ReadReplica};
use crate::throttle::Throttle;

/// Reads start at chunk boundaries. This is the chunk size of a replica without checksums (`BlockSender.CHUNK_SIZE`).
const CHUNK_BYTES: u32 = 512;
/// Data bytes of a packet (`BlockSender.TRANSFERTO_BUFFER_SIZE`).
const PACKET_DATA_BYTES: usize = 64 << 10;
/// Data bytes of a packet of a long read. This takes fewer system calls, and clients accept packets of up to 16 MiB.
const LONG_PACKET_DATA_BYTES: usize = 256 << 10;
/// Length in bytes from which a read is long.
const LONG_READ_BYTES: u64 = 1 << 20;
/// How long a read waits for bytes that the reader knows of and this DataNode does not have yet.
const READ_PATIENCE: Duration = Duration::from_secs(3);

/// Rule for a replica without a meta file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingChecksums {
    /// Send it without checksums.
    Tolerate,
    /// Refuse: a copy must not lose its checksums.
    Refuse,
}

/// A range of a replica, ready to be sent.
#[derive(Debug)]
pub struct BlockSender {
    read: ReadReplica,
    checksum: DataChecksum,
    /// Offset in the block, rounded down to a chunk's start.
    start: u64,
    /// Offset in the block, rounded up to a chunk's end or the end of the replica.
    end: u64,
}

impl BlockSender {
    /// Opens `length` bytes from `offset` on. `None` means all visible bytes.
    pub fn open(
        pool: &Pool,
        block: Block,
        offset: u64,
        length: Option<u64>,
        send_checksums: bool,
        missing: MissingChecksums,
    ) -> XceiverResult<BlockSender> {
        let wanted = offset.saturating_add(length.unwrap_or(0));
        let mut read = pool.open_for_read(block.id, wanted, READ_PATIENCE)?;
        let replica = &read.replica;
        let invalid = |text: String| XceiverError::Pool(PoolError::Replica(ReplicaError::Invalid(text)));
        if replica.generation_stamp < block.generation_stamp {
            return Err(invalid(format!(
                "Replica gen stamp < block genstamp, block=blk_{}_{}, replica={}",
                block.id,
                block.generation_stamp,
                replica.describe()
            )));
        }
        let Some(visible) = replica.visible_length() else {
            return Err(invalid(format!("Replica is not readable, {}", replica.describe())));
        };
        let checksum = match &read.meta {
            Some((_, header)) if send_checksums => header.checksum,
            None if send_checksums && missing == MissingChecksums::Refuse => {
                return Err(invalid(format!("Meta-data not found for {}", replica.describe())));
            }
            _ => {
                read.last_checksum = None;
                DataChecksum::new(ChecksumType::Null, CHUNK_BYTES).unwrap_or(DataChecksum::DEFAULT)
            }
        };
        let chunk = u64::from(checksum.bytes_per_checksum());
        let length = length.unwrap_or(visible);
        let last = offset.checked_add(length).filter(|last| *last <= read.readable);
        let Some(last) = last else {
            return Err(invalid(format!(
                " Offset {offset} and length {length} don't match block {} ( blockLen {} )",
                replica.describe(),
                read.readable
            )));
        };
        Ok(BlockSender {
            start: offset - offset % chunk,
            end: last.next_multiple_of(chunk).min(read.readable),
            checksum,
            read,
        })
    }

    /// Kind and chunk size of the checksums that are sent.
    #[must_use]
    pub fn checksum(&self) -> DataChecksum {
        self.checksum
    }

    /// Offset in the block of the first byte that is sent.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The replica in its state when it was opened.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.read.replica
    }

    fn disk(&self, source: io::Error) -> XceiverError {
        XceiverError::Pool(PoolError::Disk {
            volume: self.read.replica.volume,
            source,
        })
    }

    /// Sends all packets and the empty one that ends the block. Returns the number of data bytes sent.
    pub fn send(&self, out: &TcpStream, throttle: Option<&Throttle>) -> XceiverResult<u64> {
        let chunk = self.checksum.bytes_per_checksum() as usize;
        let target = if self.end - self.start >= LONG_READ_BYTES {
            LONG_PACKET_DATA_BYTES
        } else {
            PACKET_DATA_BYTES
        };
        let packet_data = ((target / chunk).max(1) * chunk) as u64;
        let mut position = self.start;
        let mut seqno = 0;
        let mut head = Vec::new();
        while position < self.end {
            let data_len = packet_data.min(self.end - position);
            self.encode_head(position, data_len, seqno, &mut head)?;
            send_more(out, &head)?;
            self.send_data(out, position, data_len)?;
            if let Some(throttle) = throttle {
                throttle.take(data_len);
            }
            position += data_len;
            seqno += 1;
        }
        head.clear();
        packets::last_header(position, seqno).encode_into(0, &mut head);
        let mut socket = out;
        socket.write_all(&head)?;
        Ok(self.end - self.start)
    }

    fn encode_head(&self, position: u64, data_len: u64, seqno: i64, head: &mut Vec<u8>) -> XceiverResult<()> {
        head.clear();
        let sums_len = self.checksum.checksum_len(data_len as usize);
        let header = PacketHeader {
            offset_in_block: position,
            seqno,
            data_len: data_len as u32,
            ..PacketHeader::default()
        };
        header.encode_into(sums_len, head);
        let Some((meta, meta_header)) = self.read.meta.as_ref().filter(|_| sums_len > 0) else {
            return Ok(());
        };
        let sums_at = head.len();
        head.resize(sums_at + sums_len, 0);
        let sums = head.get_mut(sums_at..).unwrap_or_default();
        read_exact_at(meta, meta_header.checksum_offset(position), sums).map_err(|error| self.disk(error))?;
        // By now the checksum of the last, short chunk in the file may cover more data.
        if position + data_len == self.read.readable
            && let (Some(last), Some(sum)) = (sums.last_chunk_mut::<4>(), self.read.last_checksum)
        {
            *last = sum;
        }
        Ok(())
    }

    fn send_data(&self, out: &TcpStream, position: u64, data_len: u64) -> XceiverResult<()> {
        let mut offset = position;
        let end = position + data_len;
        while offset < end {
            let count = (end - offset) as usize;
            match rustix::fs::sendfile(out, self.read.data.as_std(), Some(&mut offset), count) {
                Ok(0) => {
                    return Err(self.disk(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the block file is shorter than its replica",
                    )));
                }
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::IO) => return Err(self.disk(rustix::io::Errno::IO.into())),
                Err(error) => return Err(XceiverError::Network(error.into())),
            }
        }
        Ok(())
    }

    /// The volume it reads from.
    #[must_use]
    pub fn volume(&self) -> VolumeId {
        self.read.replica.volume
    }
}

/// Writes bytes that more bytes follow at once, so that they share a segment.
fn send_more(out: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::net::send(out, bytes, SendFlags::MORE | SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Xceiver {
    pub(super) fn read_block(&mut self, request: &OpReadBlockProto) -> XceiverResult<After> {
        let proto = &request.header.base_header.block;
        let block = block_of(proto);
        let opened = self
            .node
            .dataset
            .pool(&proto.pool_id)
            .map_err(Into::into)
            .and_then(|pool| {
                BlockSender::open(
                    &pool,
                    block,
                    request.offset,
                    Some(request.len),
                    request.send_checksums.unwrap_or(true),
                    MissingChecksums::Tolerate,
                )
            });
        let sender = match opened {
            Ok(sender) => sender,
            Err(error) => {
                let message = format!(
                    "opReadBlock {}:blk_{}_{} received exception {error}",
                    proto.pool_id, block.id, block.generation_stamp
                );
                self.respond_message(Status::Error, &message)?;
                return Err(error);
            }
        };
        self.reply(&responses::packets_follow(&sender.checksum(), sender.start()))?;
        let sent = match sender.send(&self.stream, None) {
            Ok(sent) => sent,
            Err(error) => {
                if let XceiverError::Pool(PoolError::Disk { .. }) = &error
                    && let Ok(pool) = self.node.dataset.pool(&proto.pool_id)
                {
                    self.node.on_suspect(&pool, sender.replica().block());
                }
                return Err(error);
            }
        };
        self.node.metrics.bytes_read.fetch_add(sent, Ordering::Relaxed);
        // A client that got all its bytes says whether the checksums were right.
        match read_delimited::<ClientReadStatusProto>(&mut self.reader) {
            Ok(_) => Ok(After::KeepAlive),
            Err(error) if is_timeout(&error) || error.kind() == io::ErrorKind::UnexpectedEof => Ok(After::Close),
            Err(error) => Err(error.into()),
        }
    }
}
