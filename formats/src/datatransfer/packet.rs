//! Packets: `u32` packet length, `u16` header length, header, checksums, data (`PacketHeader`, `PacketReceiver`).

use std::io::{self, Read};

use prost::Message;

use super::DataTransferError;
use crate::proto::hdfs::PacketHeaderProto;

/// Sequence number of packets that only keep a pipeline alive (`DFSPacket.HEART_BEAT_SEQNO`).
pub const HEARTBEAT_SEQNO: i64 = -1;
/// `dfs.data.transfer.max.packet.size`.
pub const DEFAULT_MAX_PACKET_BYTES: usize = 16 << 20;
/// Largest length of a packet's two lengths and header, in bytes (`PacketHeader.PKT_MAX_HEADER_LEN`).
pub const MAX_PACKET_HEADER_BYTES: usize = PacketLengths::BYTES + 27;

/// The two lengths in front of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketLengths {
    /// Bytes of checksums and data together.
    pub payload: usize,
    /// Bytes of the header message.
    pub header: usize,
}

impl PacketLengths {
    /// Bytes that the two lengths take.
    pub const BYTES: usize = 6;

    /// Decodes and checks the lengths. The packet length on the wire counts its own four bytes too, but neither the
    /// header nor the header's length.
    pub fn decode(prefix: [u8; 6], max_packet_bytes: usize) -> Result<PacketLengths, DataTransferError> {
        let [a, b, c, d, e, f] = prefix;
        let packet_len = u32::from_be_bytes([a, b, c, d]);
        let header = usize::from(u16::from_be_bytes([e, f]));
        let length = packet_len as usize;
        // The length counts itself.
        match length.checked_sub(4) {
            Some(payload)
                if packet_len <= i32::MAX as u32
                    && header <= 0x7FFF
                    && length.saturating_add(header) <= max_packet_bytes =>
            {
                Ok(PacketLengths { payload, header })
            }
            _ => Err(DataTransferError::Length {
                what: "packet",
                length: packet_len.into(),
            }),
        }
    }

    /// Bytes that follow the lengths.
    #[must_use]
    pub const fn rest(&self) -> usize {
        self.payload.saturating_add(self.header)
    }

    /// Bytes of the whole packet.
    const fn total(&self) -> usize {
        self.rest().saturating_add(PacketLengths::BYTES)
    }
}

/// Header of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketHeader {
    /// Offset of the data in the block, in bytes.
    pub offset_in_block: u64,
    /// Counts packets from 0; [`HEARTBEAT_SEQNO`] for one that only keeps the connection alive.
    pub seqno: i64,
    /// The empty packet that ends a block.
    pub last_packet_in_block: bool,
    /// Bytes of data.
    pub data_len: u32,
    /// `hsync`: the DataNode syncs to disk before it acknowledges.
    pub sync_block: bool,
}

impl PacketHeader {
    /// The empty packet that keeps a pipeline alive.
    #[must_use]
    pub const fn heartbeat() -> PacketHeader {
        PacketHeader {
            offset_in_block: 0,
            seqno: HEARTBEAT_SEQNO,
            last_packet_in_block: false,
            data_len: 0,
            sync_block: false,
        }
    }

    /// Bytes of the header message: fixed by its fields' types, so that a sender may reserve its room.
    #[must_use]
    pub const fn message_len(&self) -> usize {
        if self.sync_block { 27 } else { 25 }
    }

    /// Bytes of lengths and header together.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        PacketLengths::BYTES.saturating_add(self.message_len())
    }

    /// Appends lengths and header for a packet with `checksum_len` bytes of checksums.
    pub fn encode_into(&self, checksum_len: usize, out: &mut Vec<u8>) {
        let packet_len = checksum_len.saturating_add(self.data_len as usize).saturating_add(4);
        out.reserve(self.encoded_len());
        out.extend_from_slice(&(packet_len as u32).to_be_bytes());
        out.extend_from_slice(&(self.message_len() as u16).to_be_bytes());
        // The encoding is written by hand because its length must not depend on the values (protobuf writes required
        // fields also when they are 0, and so does this).
        out.push(1 << 3 | 1);
        out.extend_from_slice(&self.offset_in_block.to_le_bytes());
        out.push(2 << 3 | 1);
        out.extend_from_slice(&self.seqno.to_le_bytes());
        out.extend_from_slice(&[3 << 3, u8::from(self.last_packet_in_block), 4 << 3 | 5]);
        out.extend_from_slice(&self.data_len.to_le_bytes());
        if self.sync_block {
            out.extend_from_slice(&[5 << 3, 1]);
        }
    }

    /// Decodes the header message.
    pub fn decode(message: &[u8]) -> Result<PacketHeader, DataTransferError> {
        let proto = PacketHeaderProto::decode(message)?;
        let out_of_range = |what, value: i64| DataTransferError::Length {
            what,
            length: value as u64,
        };
        Ok(PacketHeader {
            offset_in_block: u64::try_from(proto.offset_in_block)
                .map_err(|_| out_of_range("offset in block", proto.offset_in_block))?,
            seqno: proto.seqno,
            last_packet_in_block: proto.last_packet_in_block,
            data_len: u32::try_from(proto.data_len).map_err(|_| out_of_range("data", proto.data_len.into()))?,
            sync_block: proto.sync_block.unwrap_or(false),
        })
    }

    /// Whether this packet may follow packet `last_seqno` in a stream of data (`PacketHeader.sanityCheck`).
    #[must_use]
    pub fn follows(&self, last_seqno: i64) -> bool {
        self.last_packet_in_block == (self.data_len == 0) && last_seqno.checked_add(1) == Some(self.seqno)
    }
}

/// Capacity of a buffer that reads ahead: two packets of the usual size.
const READ_AHEAD_BYTES: usize = 160 << 10;
/// Capacity of a buffer before anything has come. Thousands of connections may wait for a first packet.
const FIRST_ROOM_BYTES: usize = READ_AHEAD_BYTES / 16;
/// Capacity that a buffer keeps while it waits for the next packet. Clients send packets of 64 KiB by default, or
/// larger ones if configured. The memory of one of the largest packets (16 MiB) is freed before the wait, which may be
/// long.
const KEPT_ROOM_BYTES: usize = 1 << 20;

/// A buffer that holds one packet, and is used again for the next.
#[derive(Debug)]
pub struct PacketBuffer {
    bytes: Vec<u8>,
    // The packet is `bytes[start..end]`. Bytes that were read ahead follow, up to `filled`.
    start: usize,
    end: usize,
    filled: usize,
    header: PacketHeader,
    checksums_at: usize,
    data_at: usize,
    max_packet_bytes: usize,
}

impl Default for PacketBuffer {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_PACKET_BYTES)
    }
}

impl PacketBuffer {
    /// A buffer for packets of at most `max_packet_bytes`.
    #[must_use]
    pub fn new(max_packet_bytes: usize) -> PacketBuffer {
        PacketBuffer {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            filled: 0,
            header: PacketHeader::default(),
            checksums_at: 0,
            data_at: 0,
            max_packet_bytes,
        }
    }

    /// Reads the next packet into the buffer, and no byte more.
    pub fn read_from(&mut self, reader: &mut impl Read) -> io::Result<&PacketHeader> {
        let mut prefix = [0_u8; PacketLengths::BYTES];
        self.give_back_room();
        reader.read_exact(&mut prefix)?;
        let lengths = PacketLengths::decode(prefix, self.max_packet_bytes)?;
        let total = lengths.total();
        self.make_room(total.min(self.room_after(0)));
        if let Some(head) = self.bytes.first_chunk_mut() {
            *head = prefix;
        }
        let mut filled = PacketLengths::BYTES;
        while filled < total {
            let room = total.min(self.room_after(filled));
            self.make_room(room);
            reader.read_exact(self.bytes.get_mut(filled..room).unwrap_or_default())?;
            filled = room;
        }
        (self.start, self.end, self.filled) = (0, total, total);
        self.slice(lengths)?;
        Ok(&self.header)
    }

    /// Reads the next packet, and with it all other bytes that the reader has at hand: fewer and larger reads. Only for
    /// streams that carry nothing but packets from here on, and always with the same reader.
    pub fn read_ahead_from(&mut self, reader: &mut impl Read) -> io::Result<&PacketHeader> {
        self.start = self.end;
        if self.start == self.filled {
            (self.start, self.filled) = (0, 0);
            self.give_back_room();
        }
        self.fill(reader, PacketLengths::BYTES)?;
        let prefix = self
            .bytes
            .get(self.start..)
            .and_then(|bytes| bytes.first_chunk::<{ PacketLengths::BYTES }>())
            .copied()
            .unwrap_or_default();
        let lengths = PacketLengths::decode(prefix, self.max_packet_bytes)?;
        let total = lengths.total();
        self.fill(reader, total)?;
        self.end = self.start.saturating_add(total);
        self.slice(lengths)?;
        Ok(&self.header)
    }

    /// Reads until `needed` bytes are there from `start` on.
    fn fill(&mut self, reader: &mut impl Read, needed: usize) -> io::Result<()> {
        if self.start.saturating_add(needed) > self.bytes.len() {
            self.bytes.copy_within(self.start..self.filled, 0);
            self.filled = self.filled.saturating_sub(self.start);
            self.start = 0;
        }
        let all = needed.max(READ_AHEAD_BYTES);
        while self.filled.saturating_sub(self.start) < needed {
            if self.filled == self.bytes.len() {
                self.make_room(all.min(self.room_after(self.filled)));
            }
            match reader.read(self.bytes.get_mut(self.filled..).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.filled = self.filled.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Capacity for a packet of which `filled` bytes are there. Its announced length is not believed before the bytes
    /// come. The usual capacity is reached in two steps.
    fn room_after(&self, filled: usize) -> usize {
        let more = filled
            .saturating_mul(4)
            .min(READ_AHEAD_BYTES)
            .max(filled.saturating_mul(2));
        self.bytes.len().max(FIRST_ROOM_BYTES).max(more)
    }

    /// Frees large buffers when no byte in them is needed any more.
    fn give_back_room(&mut self) {
        if self.bytes.len() > KEPT_ROOM_BYTES {
            self.bytes = Vec::new();
        }
    }

    /// Growing zeroes the new part once. A buffer that is large enough is overwritten as it is.
    fn make_room(&mut self, total: usize) {
        if self.bytes.len() < total {
            self.bytes.resize(total, 0);
        }
    }

    /// Takes a packet from the front of `bytes`: the bytes it took, or `None` when more are needed.
    pub fn fill_from(&mut self, bytes: &[u8]) -> Result<Option<usize>, DataTransferError> {
        let Some(prefix) = bytes.first_chunk::<{ PacketLengths::BYTES }>() else {
            return Ok(None);
        };
        let lengths = PacketLengths::decode(*prefix, self.max_packet_bytes)?;
        let total = lengths.total();
        let Some(packet) = bytes.get(..total) else {
            return Ok(None);
        };
        self.make_room(total);
        self.bytes.get_mut(..total).unwrap_or_default().copy_from_slice(packet);
        (self.start, self.end, self.filled) = (0, total, total);
        self.slice(lengths)?;
        Ok(Some(total))
    }

    fn slice(&mut self, lengths: PacketLengths) -> Result<(), DataTransferError> {
        let header_at = self.start.saturating_add(PacketLengths::BYTES);
        let checksums_at = header_at.saturating_add(lengths.header);
        let header = PacketHeader::decode(self.bytes.get(header_at..checksums_at).unwrap_or_default())?;
        let Some(checksum_len) = lengths.payload.checked_sub(header.data_len as usize) else {
            return Err(DataTransferError::Length {
                what: "data",
                length: header.data_len.into(),
            });
        };
        self.header = header;
        self.checksums_at = checksums_at;
        self.data_at = checksums_at.saturating_add(checksum_len);
        Ok(())
    }

    /// The current packet's header.
    #[must_use]
    pub fn header(&self) -> &PacketHeader {
        &self.header
    }

    /// The current packet's checksums; may be empty when none were sent.
    #[must_use]
    pub fn checksums(&self) -> &[u8] {
        self.bytes.get(self.checksums_at..self.data_at).unwrap_or_default()
    }

    /// The current packet's data.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.bytes.get(self.data_at..self.end).unwrap_or_default()
    }

    /// The whole packet as it was received, to pass it on.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_header_is_what_protobuf_writes() {
        for sync_block in [false, true] {
            let header = PacketHeader {
                offset_in_block: 65024,
                seqno: -1,
                last_packet_in_block: true,
                data_len: 9,
                sync_block,
            };
            let proto = PacketHeaderProto {
                offset_in_block: 65024,
                seqno: -1,
                last_packet_in_block: true,
                data_len: 9,
                sync_block: sync_block.then_some(true),
            };
            let mut bytes = Vec::new();
            header.encode_into(4, &mut bytes);
            assert_eq!(bytes[..6], [0, 0, 0, 17, 0, header.message_len() as u8]);
            assert_eq!(&bytes[6..], proto.encode_to_vec().as_slice());
            assert_eq!(bytes.len(), header.encoded_len());
            assert_eq!(PacketHeader::decode(&bytes[6..]).unwrap(), header);
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for (packet, header) in [(3_u32, 25_u16), (u32::MAX, 25), (17 << 20, 25), (20, 0xFFFF)] {
            let mut prefix = [0; 6];
            prefix[..4].copy_from_slice(&packet.to_be_bytes());
            prefix[4..].copy_from_slice(&header.to_be_bytes());
            assert!(
                PacketLengths::decode(prefix, DEFAULT_MAX_PACKET_BYTES).is_err(),
                "{packet} {header}"
            );
        }
        let mut bytes = Vec::new();
        PacketHeader {
            data_len: 100,
            ..PacketHeader::default()
        }
        .encode_into(0, &mut bytes);
        // The packet's length is smaller than its header length.
        bytes[..4].copy_from_slice(&50_u32.to_be_bytes());
        bytes.extend_from_slice(&[0; 46]);
        assert!(PacketBuffer::default().fill_from(&bytes).is_err());
    }

    /// Hands bytes out as a socket does: some at a time.
    struct InPieces<'a>(&'a [u8], usize);

    impl Read for InPieces<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let limit = self.1.min(buf.len());
            self.0.read(&mut buf[..limit])
        }
    }

    #[test]
    fn reading_ahead_wraps_around_the_end_of_the_buffer() {
        let mut stream = Vec::new();
        let sizes = [60_000_u32, 70_000, 50_000, 300_000, 10, 60_000];
        for (seqno, data_len) in sizes.into_iter().enumerate() {
            let header = PacketHeader {
                seqno: seqno as i64,
                data_len,
                ..PacketHeader::default()
            };
            header.encode_into(0, &mut stream);
            stream.resize(stream.len() + data_len as usize, seqno as u8);
        }
        let mut buffer = PacketBuffer::default();
        let mut reader = stream.as_slice();
        for (seqno, data_len) in sizes.into_iter().enumerate() {
            let header = *buffer.read_ahead_from(&mut reader).unwrap();
            assert_eq!((header.seqno, header.data_len), (seqno as i64, data_len));
            assert!(buffer.data().iter().all(|byte| *byte == seqno as u8));
            assert_eq!(buffer.data().len(), data_len as usize);
        }
    }

    /// A packet with `data_len` bytes of data.
    fn packet(data_len: u32) -> Vec<u8> {
        let header = PacketHeader {
            data_len,
            ..PacketHeader::default()
        };
        let mut bytes = Vec::new();
        header.encode_into(0, &mut bytes);
        bytes.resize(bytes.len() + data_len as usize, 7);
        bytes
    }

    #[test]
    fn a_buffer_that_waits_is_no_larger_than_what_has_come() {
        let mut buffer = PacketBuffer::default();
        assert!(buffer.read_ahead_from(&mut [].as_slice()).is_err());
        assert!(buffer.bytes.capacity() <= 16 << 10, "{}", buffer.bytes.capacity());

        // An announced length alone takes no memory.
        let mut buffer = PacketBuffer::default();
        assert!(buffer.read_ahead_from(&mut &packet(10 << 20)[..5000]).is_err());
        assert!(buffer.bytes.capacity() <= 16 << 10, "{}", buffer.bytes.capacity());

        for ahead in [true, false] {
            let read = |buffer: &mut PacketBuffer, mut bytes: &[u8]| match ahead {
                true => buffer.read_ahead_from(&mut bytes).map(drop),
                false => buffer.read_from(&mut bytes).map(drop),
            };
            for sizes in [vec![64 << 10], vec![64 << 10, 10 << 20]] {
                let mut buffer = PacketBuffer::default();
                for data_len in sizes {
                    let packet = packet(data_len);
                    read(&mut buffer, &packet).unwrap();
                    assert_eq!(buffer.as_bytes(), packet);
                }
                // No further packet comes.
                read(&mut buffer, &[]).unwrap_err();
                let room = buffer.bytes.capacity();
                assert!(room <= KEPT_ROOM_BYTES, "{room}");
            }
        }
    }

    proptest! {
        #[test]
        fn packets_round_trip_from_streams_and_slices(
            offset in 0_u64..1 << 40, seqno in -1_i64..1 << 40, sync in any::<bool>(),
            checksums in proptest::collection::vec(any::<u8>(), 0..64), piece in 1_usize..700, data in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let header = PacketHeader {
                offset_in_block: offset, seqno, last_packet_in_block: data.is_empty(), data_len: data.len() as u32, sync_block: sync,
            };
            let mut bytes = Vec::new();
            header.encode_into(checksums.len(), &mut bytes);
            bytes.extend_from_slice(&checksums);
            bytes.extend_from_slice(&data);
            let mut buffer = PacketBuffer::default();
            prop_assert_eq!(buffer.fill_from(&bytes[..bytes.len() - 1]).unwrap(), None);
            prop_assert_eq!(buffer.fill_from(&bytes).unwrap(), Some(bytes.len()));
            prop_assert_eq!(buffer.header(), &header);
            prop_assert_eq!(buffer.checksums(), checksums.as_slice());
            prop_assert_eq!(buffer.data(), data.as_slice());
            let twice = [bytes.clone(), bytes.clone()].concat();
            let mut reader = twice.as_slice();
            for _ in 0..2 {
                prop_assert_eq!(buffer.read_from(&mut reader).unwrap(), &header);
                prop_assert_eq!(buffer.as_bytes(), bytes.as_slice());
            }
            let mut buffer = PacketBuffer::default();
            let mut pieces = InPieces(twice.as_slice(), piece);
            for _ in 0..2 {
                prop_assert_eq!(buffer.read_ahead_from(&mut pieces).unwrap(), &header);
                prop_assert_eq!(buffer.as_bytes(), bytes.as_slice());
                prop_assert_eq!(buffer.data(), data.as_slice());
            }
            prop_assert!(buffer.read_ahead_from(&mut pieces).is_err());
        }

        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = PacketBuffer::new(1 << 16).fill_from(&bytes);
        }
    }
}
