//! BLOCK_CHECKSUM: a block's part of a file's checksum (`BlockChecksumHelper`).

use std::io;
use std::time::Duration;

use hathi_blockpool::ReplicaError;
use hathi_blockpool::chunks::read_exact_at;
use hathi_blockpool::recovery::participant::block_of;
use hathi_formats::datatransfer::{ChecksumType, CrcComposer, META_HEADER_BYTES, md5};
use hathi_formats::proto::hdfs::{
    BlockChecksumOptionsProto, BlockChecksumTypeProto, BlockOpResponseProto, OpBlockChecksumProto,
    OpBlockChecksumResponseProto, Status,
};

use super::{After, Xceiver, XceiverError, XceiverResult};
use crate::pool::{PoolError, ReadReplica};

/// The checksums of the chunks of a range that begins at the block's start.
pub(super) struct ChunkSums {
    pub(super) kind: ChecksumType,
    pub(super) bytes_per_crc: u64,
    /// Checksums of the full chunks.
    pub(super) full: Vec<u8>,
    /// Checksum and length of the short chunk at the end.
    pub(super) partial: Option<([u8; 4], u64)>,
}

fn chunk_sums(read: &ReadReplica, length: u64) -> XceiverResult<ChunkSums> {
    let invalid = |text: String| XceiverError::Pool(PoolError::Replica(ReplicaError::Invalid(text)));
    let disk = |source: io::Error| {
        XceiverError::Pool(PoolError::Disk {
            volume: read.replica.volume,
            source,
        })
    };
    let Some((meta, header)) = &read.meta else {
        return Err(invalid(format!("Meta-data not found for {}", read.replica.describe())));
    };
    if length > read.readable {
        return Err(invalid(format!(
            "length {length} is beyond the replica's {}",
            read.readable
        )));
    }
    let kind = header.checksum.kind();
    let bytes_per_crc = u64::from(header.checksum.bytes_per_checksum());
    let mut full = vec![0; (length / bytes_per_crc) as usize * kind.size()];
    read_exact_at(meta, META_HEADER_BYTES as u64, &mut full).map_err(disk)?;
    let short = length % bytes_per_crc;
    let mut partial = None;
    if short > 0 && kind != ChecksumType::Null {
        let sum = match read.last_checksum.filter(|_| length == read.readable) {
            Some(sum) => sum,
            None => {
                let mut data = vec![0; short as usize];
                read_exact_at(&read.data, length - short, &mut data).map_err(disk)?;
                kind.checksum(&data).to_be_bytes()
            }
        };
        partial = Some((sum, short));
    }
    Ok(ChunkSums {
        kind,
        bytes_per_crc,
        full,
        partial,
    })
}

impl ChunkSums {
    pub(super) fn md5(&self) -> Vec<u8> {
        let partial = self.partial.as_ref().map_or(&[][..], |(sum, _)| sum.as_slice());
        md5(&[&self.full, partial]).to_vec()
    }

    pub(super) fn composite(&self, length: u64, stripe: u64) -> Option<Vec<u8>> {
        let stripe = if stripe == 0 || stripe > length { length } else { stripe };
        let mut composer = CrcComposer::new(self.kind, self.bytes_per_crc, stripe);
        for sum in self.full.chunks_exact(4) {
            let sum = sum.first_chunk::<4>().copied().unwrap_or_default();
            if !composer.update(u32::from_be_bytes(sum), self.bytes_per_crc) {
                return None;
            }
        }
        if let Some((sum, short)) = self.partial
            && !composer.update(u32::from_be_bytes(sum), short)
        {
            return None;
        }
        Some(composer.digest())
    }
}

impl Xceiver {
    pub(super) fn block_checksum(&mut self, request: &OpBlockChecksumProto) -> XceiverResult<After> {
        let base = &request.header;
        let pool = self.node.dataset.pool(&base.block.pool_id)?;
        let block = block_of(&base.block);
        let read = pool.open_for_read(block.id, 0, Duration::ZERO)?;
        let visible = read
            .replica
            .visible_length()
            .filter(|_| read.replica.generation_stamp >= block.generation_stamp)
            .ok_or_else(|| {
                XceiverError::Pool(ReplicaError::Invalid(format!("not readable: {}", read.replica.describe())).into())
            })?;
        // Clients may ask for a prefix of the last block of a range.
        let length = block.num_bytes.min(visible);
        let options = request.block_checksum_options.unwrap_or(BlockChecksumOptionsProto {
            block_checksum_type: Some(BlockChecksumTypeProto::Md5crc as i32),
            stripe_length: None,
        });
        let sums = chunk_sums(&read, length)?;
        let bytes = match options.block_checksum_type() {
            BlockChecksumTypeProto::Md5crc => sums.md5(),
            BlockChecksumTypeProto::CompositeCrc => sums
                .composite(length, options.stripe_length.unwrap_or(0))
                .ok_or_else(|| XceiverError::Protocol("stripes are not made of whole chunks".to_owned()))?,
        };
        let all_chunks = if sums.kind == ChecksumType::Null {
            0
        } else {
            read.readable.div_ceil(sums.bytes_per_crc)
        };
        self.reply(&BlockOpResponseProto {
            status: Status::Success as i32,
            checksum_response: Some(OpBlockChecksumResponseProto {
                bytes_per_crc: sums.bytes_per_crc as u32,
                crc_per_block: all_chunks,
                block_checksum: bytes.into(),
                crc_type: Some(sums.kind.to_proto() as i32),
                block_checksum_options: Some(options),
            }),
            ..BlockOpResponseProto::default()
        })?;
        Ok(After::Close)
    }
}
