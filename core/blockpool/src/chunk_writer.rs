//! Writing the data of packets into the two files of a replica (the part of `BlockReceiver` below sockets and threads).
//!
//! Rules:
//! * bytes that are on disk are never written again: an unverified packet can't change what was acknowledged;
//! * bytes that join a chunk which has bytes on disk are checked against the packet's own checksum first, because the
//!   chunk's new checksum covers old and new bytes alike;
//! * the checksum of a chunk in which a sync was promised is overwritten only after the chunk's data is synced. After a
//!   crash at any step the promised bytes are a prefix that fits the checksum ([`crate::chunks`]).
//!
//! A packet that extends a short chunk for the first time after an hsync therefore costs one more `fdatasync`, and two
//! more when its checksums lie in two sectors of the meta file. Streams without hsync cost none.

use std::io;

use hathi_formats::datatransfer::{BlockMetadataHeader, ChecksumType, DataChecksum};
use hathi_storage::DiskFile;

use crate::chunks::{read_exact_at, stored_checksum};

/// A disk writes a sector whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// Why data was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// The packet's data does not match its checksum.
    #[error("{0}")]
    Packet(String),
    /// The bytes on disk do not match their checksum.
    #[error("Partial CRC does not match value computed the last time file was closed")]
    Corrupt,
    /// The packet does not fit the rules of data transfer.
    #[error("{0}")]
    Protocol(String),
}

/// The data of one packet.
#[derive(Clone, Copy, Debug)]
pub struct PacketData<'a> {
    /// Offset of the data in the block, in bytes.
    pub offset: u64,
    /// The bytes.
    pub data: &'a [u8],
    /// Their checksums; empty when the client sends none.
    pub sums: &'a [u8],
    /// Kind and chunk size of these checksums.
    pub checksum: DataChecksum,
}

/// The open files of a replica that is being written.
#[derive(Debug)]
pub struct ChunkWriter<F> {
    data: F,
    meta: F,
    checksum: DataChecksum,
    on_disk: u64,
    last_checksum: Option<[u8; 4]>,
    /// Bytes whose sync was answered, by this writer or perhaps by an earlier one.
    promised: u64,
    unsynced_data: bool,
    chunk: Vec<u8>,
    sums: Vec<u8>,
}

impl<F: DiskFile> ChunkWriter<F> {
    /// Continues behind `on_disk` bytes. `checksum` is that of the meta file, `last_checksum` that of a last, short
    /// chunk. Whether the bytes on disk were synced is not known here, so all of them count as promised.
    pub fn new(data: F, meta: F, checksum: DataChecksum, on_disk: u64, last_checksum: Option<[u8; 4]>) -> Self {
        ChunkWriter {
            data,
            meta,
            checksum,
            on_disk,
            last_checksum,
            promised: on_disk,
            unsynced_data: true,
            chunk: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// Kind and chunk size of the checksums in the meta file.
    #[must_use]
    pub fn checksum(&self) -> DataChecksum {
        self.checksum
    }

    /// Bytes in the block file that have their checksum in the meta file.
    #[must_use]
    pub fn on_disk(&self) -> u64 {
        self.on_disk
    }

    /// The checksum of the last chunk if it is short.
    #[must_use]
    pub fn last_checksum(&self) -> Option<[u8; 4]> {
        self.last_checksum
    }

    /// Whether anybody may rely on bytes of this replica to survive a loss of power.
    #[must_use]
    pub fn has_promised(&self) -> bool {
        self.promised > 0
    }

    /// Writes the new part of a packet, data before checksums. The packet begins at or before the end of the bytes on
    /// disk.
    pub fn write(&mut self, packet: PacketData<'_>) -> Result<(), WriteError> {
        let len = packet.data.len() as u64;
        let Some(end) = packet.offset.checked_add(len) else {
            return Err(WriteError::Protocol(format!(
                "a packet of {len} bytes at {}",
                packet.offset
            )));
        };
        if end <= self.on_disk {
            return Ok(());
        }
        let chunk = u64::from(self.checksum.bytes_per_checksum());
        let in_chunk = |offset: u64| offset.checked_rem(chunk).unwrap_or(0);
        let boundary = self.on_disk.saturating_sub(in_chunk(self.on_disk));
        if packet.offset.is_multiple_of(chunk) {
            self.write_chunks(packet, boundary)?;
        } else if in_chunk(packet.offset).saturating_add(len) <= chunk {
            self.complete_chunk(packet, boundary)?;
        } else {
            return Err(WriteError::Protocol(format!(
                "Unexpected packet data length: a partial chunk must be sent in an individual packet (data length = {len})"
            )));
        }
        debug_assert!(end > self.on_disk, "bytes on disk are never written again");
        debug_assert!(
            self.last_checksum.is_some() || end.is_multiple_of(chunk) || self.checksum.kind() == ChecksumType::Null,
            "readers need the checksum of a short chunk"
        );
        self.on_disk = end;
        Ok(())
    }

    /// Writes a packet that begins at a chunk's start. Its checksums cover whole chunks, also where a chunk is partly
    /// on disk.
    fn write_chunks(&mut self, packet: PacketData<'_>, boundary: u64) -> Result<(), WriteError> {
        debug_assert!(
            packet.offset <= self.on_disk,
            "the receiver has seen that no bytes are missing between"
        );
        let from = boundary.max(packet.offset);
        let skip = from.saturating_sub(packet.offset) as usize;
        let fresh = packet.data.get(skip..).unwrap_or_default();
        let known = self.on_disk.saturating_sub(from) as usize;
        let same_kind = packet.checksum == self.checksum;
        let received = if packet.sums.is_empty() || !same_kind {
            None
        } else {
            packet.sums.get(self.checksum.checksum_len(skip)..)
        };
        if known > 0 {
            let chunk = self.checksum.bytes_per_checksum() as usize;
            let checked = match received {
                Some(sums) => self
                    .checksum
                    .verify(fresh.get(..chunk.min(fresh.len())).unwrap_or_default(), sums),
                None if packet.sums.is_empty() => Ok(()),
                None => packet.checksum.verify(packet.data, packet.sums),
            };
            checked.map_err(|mismatch| WriteError::Packet(mismatch.to_string()))?;
        }
        self.write_data(fresh.get(known..).unwrap_or_default())?;
        if self.checksum.kind() == ChecksumType::Null {
            return Ok(());
        }
        let mut computed = std::mem::take(&mut self.sums);
        computed.clear();
        let sums = match received {
            Some(sums) => sums,
            None => {
                self.checksum.compute_into(fresh, &mut computed);
                &computed
            }
        };
        let partial = !fresh.len().is_multiple_of(self.checksum.bytes_per_checksum() as usize);
        let last = if partial { sums.last_chunk::<4>().copied() } else { None };
        let result = self.write_sums(from, sums, known > 0 && self.promised > boundary);
        self.sums = computed;
        result?;
        self.last_checksum = last;
        Ok(())
    }

    /// Writes a packet within one chunk. The packet's checksum covers only its own bytes, so the chunk's checksum is
    /// computed here. Before that, the bytes on disk and the new bytes are checked against their checksums.
    fn complete_chunk(&mut self, packet: PacketData<'_>, boundary: u64) -> Result<(), WriteError> {
        if !packet.sums.is_empty() {
            packet
                .checksum
                .verify(packet.data, packet.sums)
                .map_err(|mismatch| WriteError::Packet(mismatch.to_string()))?;
        }
        let fresh = packet
            .data
            .get(self.on_disk.saturating_sub(packet.offset) as usize..)
            .unwrap_or_default();
        let kind = self.checksum.kind();
        if kind == ChecksumType::Null {
            return self.write_data(fresh);
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        debug_assert!(
            packet.offset >= boundary,
            "a packet within a chunk begins in the last one"
        );
        debug_assert!(packet.offset <= self.on_disk, "no bytes are missing between");
        chunk.resize(self.on_disk.saturating_sub(boundary) as usize, 0);
        read_exact_at(&self.data, boundary, &mut chunk)?;
        if !chunk.is_empty() {
            let stored = match self.last_checksum {
                Some(sum) => sum,
                None => stored_checksum(&self.meta, &BlockMetadataHeader::new(self.checksum), boundary)?,
            };
            if kind.checksum(&chunk).to_be_bytes() != stored {
                return Err(WriteError::Corrupt);
            }
        }
        chunk.extend_from_slice(fresh);
        self.write_data(fresh)?;
        let sum = kind.checksum(&chunk).to_be_bytes();
        let full = chunk.len() == self.checksum.bytes_per_checksum() as usize;
        self.chunk = chunk;
        self.write_sums(boundary, &sum, self.promised > boundary)?;
        self.last_checksum = Some(sum).filter(|_| !full);
        Ok(())
    }

    fn write_data(&mut self, fresh: &[u8]) -> Result<(), WriteError> {
        self.data.write_at(self.on_disk, fresh)?;
        self.unsynced_data = true;
        Ok(())
    }

    /// Writes the checksums of the chunks from `from` on. `promised`: the first of them covers promised bytes.
    fn write_sums(&mut self, from: u64, sums: &[u8], promised: bool) -> Result<(), WriteError> {
        let at = BlockMetadataHeader::new(self.checksum).checksum_offset(from);
        if promised {
            self.sync_data()?;
            let last = at.saturating_add(sums.len() as u64).saturating_sub(1);
            let one_sector = at / SECTOR_BYTES == last / SECTOR_BYTES;
            if let Some((first, rest)) = sums.split_at_checked(4)
                && !rest.is_empty()
                && !one_sector
            {
                // If the others reached the disk alone, the chunk in the middle would have the checksum of its first
                // bytes only, and a start looks at the end.
                self.meta.write_at(at, first)?;
                self.meta.sync_data()?;
                self.meta.write_at(at.saturating_add(first.len() as u64), rest)?;
                return Ok(());
            }
        }
        self.meta.write_at(at, sums)?;
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        if self.unsynced_data {
            self.data.sync_data()?;
            self.unsynced_data = false;
        }
        Ok(())
    }

    /// Syncs everything written so far (`hsync`), data first. The caller syncs the names.
    pub fn sync(&mut self) -> io::Result<()> {
        self.sync_data()?;
        self.meta.sync_data()?;
        self.promised = self.on_disk;
        Ok(())
    }
}
