//! BLOCK_GROUP_CHECKSUM: a block group's part of a file's checksum (`BlockGroupNonStripedChecksumComputer`).
//!
//! The DataNodes of the data blocks compute theirs, and this one puts them together. That of a block which can't be had is
//! computed from what the others of the group give.

use std::io::{self, BufReader};

use hathi_coding::Coder;
use hathi_formats::datatransfer::{ChecksumType, CrcComposer, DataChecksum, Op, md5, read_delimited, write_op};
use hathi_formats::ids::BlockId;
use hathi_formats::proto::common::TokenProto;
use hathi_formats::proto::hdfs::{
    BaseHeaderProto, BlockChecksumOptionsProto, BlockChecksumTypeProto, BlockEcReconstructionInfoProto,
    BlockOpResponseProto, DatanodeInfoProto, DatanodeInfosProto, ExtendedBlockProto, OpBlockChecksumProto,
    OpBlockChecksumResponseProto, OpBlockGroupChecksumProto, Status, StorageTypesProto, StorageUuidsProto,
};
use hathi_formats::striping::{MAX_UNITS, Striping};
use hathi_transfer::responses;

use super::checksum::ChunkSums;
use super::{After, Xceiver, XceiverError, XceiverResult};
use crate::reconstruction;

/// Length of Hadoop's buffer of the blocks' checksums at first (`DataOutputBuffer`). It grows by doubling.
const BUFFER_LEN_MIN: usize = 32;
/// Bytes of an MD5.
const MD5_LEN: usize = 16;

/// A request, checked.
struct Asked<'a> {
    request: &'a OpBlockGroupChecksumProto,
    striping: Striping,
    /// The index of the internal block of each DataNode.
    indices: Vec<u8>,
    kind: BlockChecksumTypeProto,
}

/// The checksum of an internal block.
struct OfInternal {
    sum: Vec<u8>,
    bytes_per_crc: u32,
    crc_per_block: u64,
    kind: ChecksumType,
}

impl<'a> Asked<'a> {
    fn check(request: &'a OpBlockGroupChecksumProto) -> XceiverResult<Asked<'a>> {
        let bad = |text: &str| XceiverError::Protocol(format!("checksum of a block group: {text}"));
        let (_, striping) = Coder::of_policy(&request.ec_policy).ok_or_else(|| bad("no policy that can be coded"))?;
        let indices: Option<Vec<u8>> = request
            .block_indices
            .iter()
            .map(|index| u8::try_from(*index).ok())
            .collect();
        let indices = indices.filter(|indices| {
            indices.len() == request.datanodes.datanodes.len()
                && indices.len() <= usize::from(MAX_UNITS)
                && indices.iter().all(|index| *index < striping.units())
        });
        let id = BlockId(request.header.block.block_id.cast_signed());
        if !id.is_striped() || id.group() != id || request.requested_num_bytes > request.header.block.num_bytes() {
            return Err(bad("no group with so many bytes"));
        }
        Ok(Asked {
            request,
            striping,
            indices: indices.ok_or_else(|| bad("the DataNodes do not belong to the group"))?,
            kind: request
                .block_checksum_options
                .map_or(BlockChecksumTypeProto::Md5crc, |options| options.block_checksum_type()),
        })
    }

    fn internal(&self, index: u8) -> ExtendedBlockProto {
        let group = &self.request.header.block;
        ExtendedBlockProto {
            pool_id: group.pool_id.clone(),
            block_id: BlockId(group.block_id.cast_signed()).internal(index).0.cast_unsigned(),
            generation_stamp: group.generation_stamp,
            num_bytes: Some(self.striping.internal_length(self.request.requested_num_bytes, index)),
        }
    }

    /// What an internal block's DataNode is asked for. Of cells when they are to be put together in another order.
    fn options(&self) -> BlockChecksumOptionsProto {
        BlockChecksumOptionsProto {
            block_checksum_type: Some(self.kind.into()),
            stripe_length: match self.kind {
                BlockChecksumTypeProto::Md5crc => None,
                BlockChecksumTypeProto::CompositeCrc => Some(u64::from(self.striping.cell_size)),
            },
        }
    }

    /// The order that would have this internal block made.
    fn order(&self, index: u8) -> BlockEcReconstructionInfoProto {
        let datanodes = &self.request.datanodes.datanodes;
        let others = || self.indices.iter().zip(datanodes).filter(|(of, _)| **of != index);
        let is_other = |of: u8| of != index && !self.indices.contains(&of);
        BlockEcReconstructionInfoProto {
            block: self.request.header.block.clone(),
            source_dn_infos: DatanodeInfosProto {
                datanodes: others().map(|(_, datanode)| datanode.clone()).collect(),
            },
            live_block_indices: others().map(|(of, _)| *of).collect::<Vec<u8>>().into(),
            target_dn_infos: DatanodeInfosProto {
                datanodes: vec![DatanodeInfoProto::default()],
            },
            target_storage_uuids: StorageUuidsProto {
                storage_uuids: vec![String::new()],
            },
            target_storage_types: StorageTypesProto { storage_types: vec![1] },
            ec_policy: self.request.ec_policy.clone(),
            exclude_reconstructed_indices: Some(
                (0..self.striping.units())
                    .filter(|of| is_other(*of))
                    .collect::<Vec<u8>>()
                    .into(),
            ),
        }
    }
}

/// The sums of the chunks of bytes that come in pieces of whole chunks.
fn chunk_sums_of(checksum: DataChecksum, length: u64, made: &[u8]) -> ChunkSums {
    let chunk = u64::from(checksum.bytes_per_checksum());
    let short = length % chunk;
    let (full, last) = made.split_at(if short > 0 {
        made.len().saturating_sub(4)
    } else {
        made.len()
    });
    ChunkSums {
        kind: checksum.kind(),
        bytes_per_crc: chunk,
        full: full.to_vec(),
        partial: last.first_chunk::<4>().map(|sum| (*sum, short)),
    }
}

impl Xceiver {
    pub(super) fn block_group_checksum(&mut self, request: &OpBlockGroupChecksumProto) -> XceiverResult<After> {
        let asked = Asked::check(request)?;
        let mut of_blocks: Vec<OfInternal> = Vec::new();
        for index in 0..asked.striping.data_units_of(request.requested_num_bytes) {
            let of_block = match self.ask(&asked, index) {
                Ok(of_block) => of_block,
                Err(error) => {
                    tracing::info!(group = request.header.block.block_id.cast_signed(), index, %error, "computing the checksum of a block that can't be had");
                    self.recompute(&asked, index)?
                }
            };
            of_blocks.push(of_block);
        }
        let Some(first) = of_blocks.first() else {
            return Err(XceiverError::Protocol(
                "checksum of a block group without bytes".to_owned(),
            ));
        };
        let is_alike = |of: &OfInternal| of.bytes_per_crc == first.bytes_per_crc && of.kind == first.kind;
        if !of_blocks.iter().all(is_alike) {
            return Err(XceiverError::Protocol(
                "the internal blocks have different checksums".to_owned(),
            ));
        }
        let sum = match asked.kind {
            BlockChecksumTypeProto::Md5crc => {
                let mut all: Vec<u8> = of_blocks.iter().flat_map(|of| of.sum.iter().copied()).collect();
                // Hadoop takes the MD5 of its whole buffer, and the end of that is zeros.
                all.resize(all.len().next_power_of_two().max(BUFFER_LEN_MIN), 0);
                md5(&[&all]).to_vec()
            }
            BlockChecksumTypeProto::CompositeCrc => composed(&asked, &of_blocks)
                .ok_or_else(|| XceiverError::Protocol("the checksums of cells do not fit".to_owned()))?,
        };
        self.reply(&BlockOpResponseProto {
            status: Status::Success as i32,
            checksum_response: Some(OpBlockChecksumResponseProto {
                bytes_per_crc: first.bytes_per_crc,
                crc_per_block: first.crc_per_block,
                block_checksum: sum.into(),
                crc_type: Some(first.kind.to_proto() as i32),
                block_checksum_options: Some(BlockChecksumOptionsProto {
                    block_checksum_type: Some(asked.kind.into()),
                    stripe_length: request.block_checksum_options.and_then(|options| options.stripe_length),
                }),
            }),
            ..BlockOpResponseProto::default()
        })?;
        Ok(After::Close)
    }

    /// Asks the DataNode of an internal block.
    fn ask(&self, asked: &Asked<'_>, index: u8) -> io::Result<OfInternal> {
        let at = asked.indices.iter().position(|of| *of == index);
        let datanode = at.and_then(|at| asked.request.datanodes.datanodes.get(at));
        let datanode = datanode.ok_or_else(|| io::Error::other("no DataNode has it"))?;
        let token = at.and_then(|at| asked.request.block_tokens.get(at)).cloned();
        let block = asked.internal(index);
        let mut stream = self
            .node
            .connect_xfer(&datanode.id, self.node.conf.reconstruction.read_timeout)?;
        let length = block.num_bytes();
        let question = OpBlockChecksumProto {
            header: BaseHeaderProto {
                block,
                token: Some(token.unwrap_or_else(TokenProto::default)),
                trace_info: None,
            },
            block_checksum_options: Some(asked.options()),
        };
        write_op(&mut stream, Op::BlockChecksum, &question)?;
        let response: BlockOpResponseProto = read_delimited(&mut BufReader::new(stream))?;
        responses::check(&response)?;
        let answer = response.checksum_response.unwrap_or_default();
        let kind = ChecksumType::from_number(answer.crc_type() as i32);
        let cells = length.div_ceil(u64::from(asked.striping.cell_size));
        let expected = match asked.kind {
            BlockChecksumTypeProto::Md5crc => MD5_LEN as u64,
            BlockChecksumTypeProto::CompositeCrc => cells.saturating_mul(4),
        };
        match kind {
            Some(kind) if answer.block_checksum.len() as u64 == expected => Ok(OfInternal {
                sum: answer.block_checksum.to_vec(),
                bytes_per_crc: answer.bytes_per_crc,
                crc_per_block: answer.crc_per_block,
                kind,
            }),
            _ => Err(io::Error::other("no checksum of this kind")),
        }
    }

    /// Computes the checksum of an internal block that can't be had.
    fn recompute(&self, asked: &Asked<'_>, index: u8) -> XceiverResult<OfInternal> {
        let length = asked.striping.internal_length(asked.request.requested_num_bytes, index);
        let order = asked.order(index);
        let mut sums = Vec::new();
        let mut left = length;
        let checksum = reconstruction::make(&self.node, &order, index, |checksum, bytes| {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            checksum.compute_into(bytes.get(..now).unwrap_or_default(), &mut sums);
            left -= now as u64;
            left > 0
        })
        .map_err(|error| XceiverError::Protocol(error.to_string()))?;
        if left > 0 {
            return Err(XceiverError::Protocol(
                "an internal block was made in part only".to_owned(),
            ));
        }
        let chunk_sums = chunk_sums_of(checksum, length, &sums);
        let sum = match asked.kind {
            BlockChecksumTypeProto::Md5crc => Some(chunk_sums.md5()),
            BlockChecksumTypeProto::CompositeCrc => chunk_sums.composite(length, asked.striping.cell_size.into()),
        };
        let all = asked
            .striping
            .internal_length(asked.request.header.block.num_bytes(), index);
        Ok(OfInternal {
            sum: sum.ok_or_else(|| XceiverError::Protocol("cells are not made of whole chunks".to_owned()))?,
            bytes_per_crc: checksum.bytes_per_checksum(),
            crc_per_block: match checksum.kind() {
                ChecksumType::Null => 0,
                ChecksumType::Crc32 | ChecksumType::Crc32c => all.div_ceil(checksum.bytes_per_checksum().into()),
            },
            kind: checksum.kind(),
        })
    }
}

/// The checksums of cells, put together in the order of the file.
fn composed(asked: &Asked<'_>, of_blocks: &[OfInternal]) -> Option<Vec<u8>> {
    let cell = u64::from(asked.striping.cell_size);
    let bytes = asked.request.requested_num_bytes;
    let mut composer = CrcComposer::new(of_blocks.first()?.kind, cell, bytes);
    let mut cells: Vec<_> = of_blocks.iter().map(|of| of.sum.chunks_exact(4)).collect();
    let units = usize::from(asked.striping.data_units);
    let mut left = bytes;
    let mut at = 0;
    while left > 0 {
        let sum = cells.get_mut(at % units)?.next()?.first_chunk::<4>().copied()?;
        let now = left.min(cell);
        if !composer.update(u32::from_be_bytes(sum), now) {
            return None;
        }
        left -= now;
        at += 1;
    }
    Some(composer.digest())
}
