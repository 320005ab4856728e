//! Full block reports (`BlockListAsLongs`).

use bytes::Bytes;
use hathi_formats::ids::{Block, BlockId, GenerationStamp};

use crate::replica::{Replica, ReplicaState};

/// Largest chunk of a report, in bytes (`BlockListAsLongs.CHUNK_SIZE`).
const CHUNK_BYTES: usize = 64 << 10;

/// Builds the list of one storage's replicas in the form of varint buffers.
#[derive(Debug, Default)]
pub struct BlockReportBuilder {
    chunks: Vec<Bytes>,
    current: Vec<u8>,
    count: u64,
}

impl BlockReportBuilder {
    /// An empty report.
    #[must_use]
    pub fn new() -> BlockReportBuilder {
        BlockReportBuilder::default()
    }

    /// Adds a replica. TEMPORARY replicas are not reported. One under recovery counts with its state before.
    pub fn add(&mut self, replica: &Replica) {
        let state = replica.original_state();
        if state == ReplicaState::Temporary {
            return;
        }
        let length = match state {
            ReplicaState::Rbw => replica.bytes_on_disk(),
            _ => replica.num_bytes,
        };
        let id = replica.block_id.0;
        varint(&mut self.current, ((id << 1) ^ (id >> 63)) as u64);
        varint(&mut self.current, length);
        varint(&mut self.current, replica.generation_stamp.0);
        varint(&mut self.current, state as u64);
        self.count = self.count.saturating_add(1);
        if self.current.len() >= CHUNK_BYTES - 40 {
            self.chunks.push(std::mem::take(&mut self.current).into());
        }
    }

    /// Number of replicas added.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether none was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of replicas and buffers, as `StorageBlockReportProto` carries them.
    #[must_use]
    pub fn finish(mut self) -> (u64, Vec<Bytes>) {
        if !self.current.is_empty() {
            self.chunks.push(self.current.into());
        }
        debug_assert!(
            self.chunks.iter().all(|chunk| chunk.len() < 2 * CHUNK_BYTES),
            "a chunk is bounded"
        );
        (self.count, self.chunks)
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Decodes buffers into longs as Hadoop's old format has them, for NameNodes without the buffers' capability:
/// `[finalized, under construction, 3 per finalized, -1, -1, -1, 4 per other]`.
#[must_use]
pub fn to_longs(count: u64, buffers: &[Bytes]) -> Vec<u64> {
    let mut finalized = Vec::new();
    let mut others = Vec::new();
    for (block, state) in decode(count, buffers) {
        let words = [block.id.0 as u64, block.num_bytes, block.generation_stamp.0];
        if state == ReplicaState::Finalized {
            finalized.extend(words);
        } else {
            others.extend(words);
            others.push(state as u64);
        }
    }
    let mut longs = vec![(finalized.len() / 3) as u64, (others.len() / 4) as u64];
    longs.append(&mut finalized);
    longs.extend([u64::MAX; 3]);
    longs.append(&mut others);
    longs
}

/// Decodes buffers; stops at the first thing that is not a replica.
#[must_use]
pub fn decode(count: u64, buffers: &[Bytes]) -> Vec<(Block, ReplicaState)> {
    let mut bytes = buffers.iter().flatten().copied();
    let mut next = || {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = bytes.next()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    };
    let mut replicas = Vec::new();
    for _ in 0..count {
        let (Some(id), Some(length), Some(gs), Some(state)) = (next(), next(), next(), next()) else {
            break;
        };
        let Some(state) = ReplicaState::from_number(state & 0xF) else {
            break;
        };
        replicas.push((
            Block {
                id: BlockId((id >> 1) as i64 ^ ((id & 1) as i64).wrapping_neg()),
                num_bytes: length,
                generation_stamp: GenerationStamp(gs),
            },
            state,
        ));
    }
    replicas
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::VolumeId;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reports_round_trip(
            blocks in proptest::collection::vec((any::<i64>(), 0_u64..1 << 47, 0_u64..1 << 50, 0_u64..3), 0..5000),
        ) {
            let mut builder = BlockReportBuilder::new();
            let mut expected = Vec::new();
            for (id, num_bytes, gs, state) in blocks {
                let block = Block { id: BlockId(id), num_bytes, generation_stamp: GenerationStamp(gs) };
                let state = ReplicaState::from_number(state).unwrap();
                builder.add(&Replica::at_rest(block, state, VolumeId(0)));
                expected.push((block, state));
            }
            let (count, buffers) = builder.finish();
            prop_assert!(buffers.iter().all(|buffer| buffer.len() <= CHUNK_BYTES));
            prop_assert_eq!(decode(count, &buffers), expected);
        }
    }

    #[test]
    fn the_old_format_separates_finalized_from_others() {
        let mut builder = BlockReportBuilder::new();
        for (id, state) in [(1, ReplicaState::Rwr), (2, ReplicaState::Finalized)] {
            let block = Block {
                id: BlockId(id),
                num_bytes: 10,
                generation_stamp: GenerationStamp(7),
            };
            builder.add(&Replica::at_rest(block, state, VolumeId(0)));
        }
        let (count, buffers) = builder.finish();
        let none = u64::MAX;
        assert_eq!(
            to_longs(count, &buffers),
            [1, 1, 2, 10, 7, none, none, none, 1, 10, 7, 2]
        );
    }
}
