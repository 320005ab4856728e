//! The checksum of a whole file: an MD5 of the blocks' MD5s of their chunks' checksums (`FileChecksumHelper`).

use crate::ClientError;
use crate::filesystem::FileSystem;
use hathi_formats::datatransfer::{Op, encode_op, md5};
use hathi_formats::proto::hdfs::{
    BaseHeaderProto, BlockOpResponseProto, ChecksumTypeProto, DatanodeInfoProto, DatanodeInfosProto,
    ErasureCodingPolicyProto, LocatedBlockProto, OpBlockChecksumProto, OpBlockChecksumResponseProto,
    OpBlockGroupChecksumProto, Status,
};
use hathi_transfer::stream::{self, MessageReader, READ_TIMEOUT};
use std::io;
use tokio::io::AsyncWriteExt;

/// Length of an MD5.
const MD5_LEN: usize = 16;
/// Length of Hadoop's buffer of the blocks' MD5s at first (`DataOutputBuffer`). It grows by doubling.
const BUFFER_LEN_MIN: usize = 32;
/// That buffer for a file without blocks.
const WITHOUT_BLOCKS: [u8; BUFFER_LEN_MIN] = [0; BUFFER_LEN_MIN];

/// A file's checksum (`MD5MD5CRC32FileChecksum`). It depends on the size of blocks, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChecksum {
    /// Bytes of a chunk.
    bytes_per_crc: u32,
    /// Chunks of a block, or 0 if there are not several blocks.
    crc_per_block: u64,
    /// `CRC32`, `CRC32C` or `NULL`.
    kind: &'static str,
    md5: [u8; MD5_LEN],
}

impl FileChecksum {
    /// `MD5-of-0MD5-of-512CRC32C`
    #[must_use]
    pub fn algorithm(&self) -> String {
        format!(
            "MD5-of-{}MD5-of-{}{}",
            self.crc_per_block, self.bytes_per_crc, self.kind
        )
    }

    /// The bytes that Hadoop shows: both numbers, big-endian, and the MD5.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let numbers = [&self.bytes_per_crc.to_be_bytes()[..], &self.crc_per_block.to_be_bytes()];
        [numbers.concat(), self.md5.to_vec()].concat()
    }
}

impl FileSystem {
    /// The checksum of a file. A DataNode of each block computes its part.
    ///
    /// # Errors
    /// As [`FileSystem::call`], and when no DataNode of a block answers.
    pub async fn checksum(&self, path: &str) -> Result<FileChecksum, ClientError> {
        let located = self.block_locations(path, 0, u64::MAX >> 1).await?;
        let mut sums: Vec<u8> = Vec::new();
        let mut first: Option<OpBlockChecksumResponseProto> = None;
        for block in &located.blocks {
            let answer = of_block(path, block, located.ec_policy.as_ref()).await?;
            sums.extend_from_slice(&answer.block_checksum);
            first.get_or_insert(answer);
        }
        let Some(first) = first else {
            return Ok(FileChecksum {
                bytes_per_crc: 0,
                crc_per_block: 0,
                kind: "CRC32",
                md5: md5(&[&WITHOUT_BLOCKS]),
            });
        };
        // Hadoop takes the MD5 of its whole buffer, and the end of that is zeros.
        sums.resize(sums.len().next_power_of_two().max(BUFFER_LEN_MIN), 0);
        Ok(FileChecksum {
            bytes_per_crc: first.bytes_per_crc,
            crc_per_block: if located.blocks.len() > 1 {
                first.crc_per_block
            } else {
                0
            },
            kind: match first.crc_type() {
                ChecksumTypeProto::ChecksumCrc32 => "CRC32",
                ChecksumTypeProto::ChecksumCrc32c => "CRC32C",
                ChecksumTypeProto::ChecksumNull => "NULL",
            },
            md5: md5(&[&sums]),
        })
    }
}

/// The answer of the first DataNode that gives one.
async fn of_block(
    path: &str,
    block: &LocatedBlockProto,
    policy: Option<&ErasureCodingPolicyProto>,
) -> Result<OpBlockChecksumResponseProto, ClientError> {
    let mut last = "no DataNode has a replica".to_owned();
    for node in &block.locs {
        match ask(block, node, policy).await {
            Ok(answer) if answer.block_checksum.len() == MD5_LEN => return Ok(answer),
            Ok(_) => last = format!("{} sent no MD5", node.id.xfer_address()),
            Err(error) => last = error.to_string(),
        }
        tracing::debug!(path, last, "no checksum of a block");
    }
    Err(ClientError::MissingBlock {
        block: block.b.block_id.cast_signed(),
        path: path.to_owned(),
        last,
    })
}

/// Asks a DataNode for the checksum of a block. That of a block group any of its DataNodes puts together.
async fn ask(
    block: &LocatedBlockProto,
    node: &DatanodeInfoProto,
    policy: Option<&ErasureCodingPolicyProto>,
) -> Result<OpBlockChecksumResponseProto, ClientError> {
    let failed = |source| ClientError::of_datanode("can't get a checksum from", node, source);
    let mut stream = stream::connect(node).await.map_err(failed)?;
    let header = BaseHeaderProto {
        block: block.b.clone(),
        token: Some(block.block_token.clone()),
        trace_info: None,
    };
    let request = match policy {
        None => {
            let request = OpBlockChecksumProto {
                header,
                block_checksum_options: None,
            };
            encode_op(Op::BlockChecksum, &request)
        }
        Some(policy) => {
            let request = OpBlockGroupChecksumProto {
                header,
                datanodes: DatanodeInfosProto {
                    datanodes: block.locs.clone(),
                },
                block_tokens: block.block_tokens.clone(),
                ec_policy: policy.clone(),
                block_indices: block
                    .block_indices
                    .iter()
                    .flatten()
                    .map(|index| u32::from(*index))
                    .collect(),
                requested_num_bytes: block.b.num_bytes(),
                block_checksum_options: None,
            };
            encode_op(Op::BlockGroupChecksum, &request)
        }
    };
    stream.write_all(&request).await.map_err(failed)?;
    let response: BlockOpResponseProto = MessageReader::new(stream, READ_TIMEOUT)
        .message()
        .await
        .map_err(failed)?;
    match response.checksum_response {
        Some(ref answer) if response.status() == Status::Success => Ok(answer.clone()),
        _ => {
            let problem = format!("{:?}: {}", response.status(), response.message());
            Err(failed(io::Error::other(problem)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_shown_as_in_hadoop() {
        let empty = FileChecksum {
            bytes_per_crc: 0,
            crc_per_block: 0,
            kind: "CRC32",
            md5: md5(&[&WITHOUT_BLOCKS]),
        };
        assert_eq!(empty.algorithm(), "MD5-of-0MD5-of-0CRC32");
        let hex: String = empty.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        // What Hadoop prints for every empty file.
        assert_eq!(hex, "00000000000000000000000070bc8f4b72a86921468bf8e8441dce51");
    }
}
