//! The replicas in a full block report, decoded one by one (`BlockListAsLongs`).

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::types::{BlockManagerError, ReplicaState, ReportedReplica};
use bytes::Bytes;
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::StorageBlockReportProto;

/// The replicas in a full report, decoded one by one (`BlockListAsLongs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedReplicas {
    encoding: Encoding,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Encoding {
    /// Varints in chunks that are one stream.
    Buffers {
        chunks: Vec<Bytes>,
        chunk: usize,
        at: usize,
        left: u64,
    },
    /// `[finalized, others, 3 × finalized.., -1, -1, -1, 4 × others..]`
    Longs {
        longs: Vec<u64>,
        at: usize,
        finalized: u64,
        others: u64,
    },
}

const TRUNCATED: BlockManagerError = BlockManagerError::Malformed("the list of replicas ends early");
/// Four varints of at most ten bytes.
const MAX_ENTRY_BYTES: usize = 40;

fn varint_in(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at = at.saturating_add(1);
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ ((value & 1) as i64).wrapping_neg()
}

impl ReportedReplicas {
    /// Reads the list from the message, in either encoding.
    pub fn new(report: StorageBlockReportProto) -> Result<ReportedReplicas, BlockManagerError> {
        let encoding = if let Some(left) = report.number_of_blocks {
            Encoding::Buffers {
                chunks: report.blocks_buffers,
                chunk: 0,
                at: 0,
                left,
            }
        } else if report.blocks.is_empty() {
            Encoding::Longs {
                longs: Vec::new(),
                at: 0,
                finalized: 0,
                others: 0,
            }
        } else {
            let (Some(&finalized), Some(&others)) = (report.blocks.first(), report.blocks.get(1)) else {
                return Err(TRUNCATED);
            };
            let wanted = finalized
                .checked_mul(3)
                .and_then(|longs| longs.checked_add(others.checked_mul(4)?))
                .and_then(|longs| longs.checked_add(5));
            // The delimiter is written even when nothing follows it. Lists without it are accepted.
            let length = report.blocks.len() as u64;
            if wanted != Some(length) && !(others == 0 && wanted == length.checked_add(3)) {
                return Err(BlockManagerError::Malformed(
                    "the list's length does not fit its counts",
                ));
            }
            Encoding::Longs {
                longs: report.blocks,
                at: 2,
                finalized,
                others,
            }
        };
        Ok(ReportedReplicas { encoding })
    }

    /// Number of replicas that are left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        match &self.encoding {
            Encoding::Buffers { left, .. } => *left,
            Encoding::Longs { finalized, others, .. } => finalized.saturating_add(*others),
        }
    }

    /// The next replica.
    pub fn next_replica(&mut self) -> Result<Option<ReportedReplica>, BlockManagerError> {
        match &mut self.encoding {
            Encoding::Buffers { left: 0, .. } => Ok(None),
            Encoding::Buffers {
                chunks,
                chunk,
                at,
                left,
            } => {
                *left = left.saturating_sub(1);
                let mut fields = [0u64; 4];
                match chunks.get(*chunk) {
                    Some(bytes) if bytes.len().saturating_sub(*at) >= MAX_ENTRY_BYTES => {
                        for field in &mut fields {
                            *field = varint_in(bytes, at).ok_or(TRUNCATED)?;
                        }
                    }
                    // Near the end of a chunk, where an entry, or even a varint, may continue in the next chunk.
                    _ => {
                        for field in &mut fields {
                            *field = varint_across(chunks, chunk, at).ok_or(TRUNCATED)?;
                        }
                    }
                }
                let state = ReplicaState::from_wire(fields[3] & 0xf)
                    .ok_or(BlockManagerError::Malformed("unknown replica state"))?;
                Ok(Some(ReportedReplica {
                    block: Block {
                        id: BlockId(zigzag(fields[0])),
                        num_bytes: fields[1] & ((1 << 48) - 1),
                        generation_stamp: GenerationStamp(fields[2]),
                    },
                    state,
                }))
            }
            Encoding::Longs {
                longs,
                at,
                finalized,
                others,
            } => {
                let width = if *finalized > 0 {
                    *finalized = finalized.saturating_sub(1);
                    3
                } else if *others > 0 {
                    *others = others.saturating_sub(1);
                    let rest = longs.get(*at..).unwrap_or_default();
                    if rest.starts_with(&[u64::MAX; 3]) {
                        *at = at.saturating_add(3);
                    }
                    4
                } else {
                    return Ok(None);
                };
                let entry = longs.get(*at..).and_then(|rest| rest.get(..width)).ok_or(TRUNCATED)?;
                *at = at.saturating_add(width);
                let (&[id, num_bytes, stamp], state) = entry.split_first_chunk().ok_or(TRUNCATED)?;
                let state = match state.first() {
                    Some(&state) => {
                        ReplicaState::from_wire(state).ok_or(BlockManagerError::Malformed("unknown replica state"))?
                    }
                    None => ReplicaState::Finalized,
                };
                Ok(Some(ReportedReplica {
                    block: Block {
                        id: BlockId(id as i64),
                        num_bytes,
                        generation_stamp: GenerationStamp(stamp),
                    },
                    state,
                }))
            }
        }
    }
}

fn varint_across(chunks: &[Bytes], chunk: &mut usize, at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = loop {
            match chunks.get(*chunk)?.get(*at) {
                Some(&byte) => break byte,
                None => {
                    *chunk = chunk.saturating_add(1);
                    *at = 0;
                }
            }
        };
        *at = at.saturating_add(1);
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
