//! The list of a storage's replicas in a full block report (`BlockListAsLongs`), in its two encodings.

use bytes::Bytes;

use crate::ids::{Block, BlockId, GenerationStamp};
use crate::proto::datanode::StorageBlockReportProto;
use crate::wire::{put_varint, take_varint, unzigzag, zigzag};

/// State of a replica (`HdfsServerConstants.ReplicaState`). The numbers are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ReplicaState {
    /// Complete on disk.
    Finalized = 0,
    /// Being written.
    Rbw = 1,
    /// Was being written when the DataNode stopped; waits for recovery.
    Rwr = 2,
    /// Under recovery.
    Rur = 3,
    /// A copy being made by replication or balancing; not visible.
    Temporary = 4,
}

impl ReplicaState {
    /// From the number on the wire.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<ReplicaState> {
        match number {
            0 => Some(ReplicaState::Finalized),
            1 => Some(ReplicaState::Rbw),
            2 => Some(ReplicaState::Rwr),
            3 => Some(ReplicaState::Rur),
            4 => Some(ReplicaState::Temporary),
            _ => None,
        }
    }

    /// Hadoop's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ReplicaState::Finalized => "FINALIZED",
            ReplicaState::Rbw => "RBW",
            ReplicaState::Rwr => "RWR",
            ReplicaState::Rur => "RUR",
            ReplicaState::Temporary => "TEMPORARY",
        }
    }
}

/// A DataNode's report of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportedReplica {
    /// Id, length on disk and stamp, as the DataNode has them.
    pub block: Block,
    /// State of the replica.
    pub state: ReplicaState,
}

/// Why a list can't be read. The text says what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed block report: {0}")]
pub struct MalformedBlockList(pub &'static str);

const TRUNCATED: MalformedBlockList = MalformedBlockList("the list of replicas ends early");
const UNKNOWN_STATE: MalformedBlockList = MalformedBlockList("unknown replica state");

/// Largest buffer of a list, in bytes (`BlockListAsLongs.CHUNK_SIZE`).
const CHUNK_BYTES: usize = 64 << 10;
/// Most bytes of a replica: four varints of ten bytes.
const ENTRY_BYTES_MAX: usize = 40;

/// Writes a list in the form of varint buffers.
#[derive(Debug, Default)]
pub struct BlockListBuilder {
    chunks: Vec<Bytes>,
    current: Vec<u8>,
    count: u64,
}

impl BlockListBuilder {
    /// Adds a replica.
    pub fn add(&mut self, block: Block, state: ReplicaState) {
        for number in [
            unzigzag(block.id.0),
            block.num_bytes,
            block.generation_stamp.0,
            state as u64,
        ] {
            put_varint(&mut self.current, number);
        }
        self.count = self.count.saturating_add(1);
        if self.current.len() >= CHUNK_BYTES - ENTRY_BYTES_MAX {
            self.chunks.push(std::mem::take(&mut self.current).into());
        }
    }

    /// Number of replicas added.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.count
    }

    /// Whether none was added.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of replicas and buffers, as `StorageBlockReportProto` carries them.
    #[must_use]
    pub fn finish(mut self) -> (u64, Vec<Bytes>) {
        if !self.current.is_empty() {
            self.chunks.push(self.current.into());
        }
        (self.count, self.chunks)
    }
}

/// Turns buffers into longs as Hadoop's old format has them, for NameNodes without the buffers' capability:
/// `[finalized, others, 3 per finalized, -1, -1, -1, 4 per other]`. It stops at the first thing that is not a replica.
#[must_use]
pub fn to_longs(count: u64, buffers: &[Bytes]) -> Vec<u64> {
    let mut replicas = Buffers {
        chunks: buffers.to_vec(),
        chunk: 0,
        at: 0,
        left: count,
    };
    let (mut finalized, mut others) = (Vec::new(), Vec::new());
    while let Ok(Some(ReportedReplica { block, state })) = replicas.next() {
        let words = [block.id.0.cast_unsigned(), block.num_bytes, block.generation_stamp.0];
        if state == ReplicaState::Finalized {
            finalized.extend(words);
        } else {
            others.extend(words);
            others.push(state as u64);
        }
    }
    let mut longs = vec![(finalized.len() / 3) as u64, (others.len() / 4) as u64];
    longs.append(&mut finalized);
    longs.extend(DELIMITER);
    longs.append(&mut others);
    longs
}

/// Stands between the finalized and the other replicas of the old format.
const DELIMITER: [u64; 3] = [u64::MAX; 3];

/// Reads a list, one replica after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedReplicas {
    encoding: Encoding,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Encoding {
    Buffers(Buffers),
    Longs(Longs),
}

impl ReportedReplicas {
    /// Reads the list from the message, in either encoding.
    ///
    /// # Errors
    /// When its length does not fit its counts.
    pub fn new(report: StorageBlockReportProto) -> Result<ReportedReplicas, MalformedBlockList> {
        let encoding = match report.number_of_blocks {
            Some(left) => Encoding::Buffers(Buffers {
                chunks: report.blocks_buffers,
                chunk: 0,
                at: 0,
                left,
            }),
            None => Encoding::Longs(Longs::new(report.blocks)?),
        };
        Ok(ReportedReplicas { encoding })
    }

    /// Number of replicas that are left.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        match &self.encoding {
            Encoding::Buffers(buffers) => buffers.left,
            Encoding::Longs(longs) => longs.finalized.saturating_add(longs.others),
        }
    }

    /// The next replica.
    ///
    /// # Errors
    /// When the list ends early, or has something that is no replica.
    pub fn next_replica(&mut self) -> Result<Option<ReportedReplica>, MalformedBlockList> {
        match &mut self.encoding {
            Encoding::Buffers(buffers) => buffers.next(),
            Encoding::Longs(longs) => longs.next(),
        }
    }
}

/// Varints in chunks that are one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Buffers {
    chunks: Vec<Bytes>,
    chunk: usize,
    at: usize,
    left: u64,
}

impl Buffers {
    fn next(&mut self) -> Result<Option<ReportedReplica>, MalformedBlockList> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let [id, num_bytes, stamp, state] = self.entry().ok_or(TRUNCATED)?;
        Ok(Some(ReportedReplica {
            block: Block {
                id: BlockId(zigzag(id)),
                // Java keeps the state and the length in one number.
                num_bytes: num_bytes & ((1 << 48) - 1),
                generation_stamp: GenerationStamp(stamp),
            },
            state: ReplicaState::from_number(state & 0xF).ok_or(UNKNOWN_STATE)?,
        }))
    }

    fn entry(&mut self) -> Option<[u64; 4]> {
        let here = self.chunks.get(self.chunk)?.get(self.at..).unwrap_or_default();
        if here.len() >= ENTRY_BYTES_MAX {
            let mut rest = here;
            let entry = take_entry(&mut rest)?;
            self.at = self.at.saturating_add(here.len().saturating_sub(rest.len()));
            return Some(entry);
        }
        // An entry, or even a varint, may continue in the next chunk.
        let behind = self.chunks.get(self.chunk.saturating_add(1)..).unwrap_or_default();
        let bytes = here.iter().chain(behind.iter().flatten());
        let (mut window, mut len) = ([0; ENTRY_BYTES_MAX], 0_usize);
        for (place, byte) in window.iter_mut().zip(bytes) {
            *place = *byte;
            len = len.saturating_add(1);
        }
        let mut rest = window.get(..len)?;
        let entry = take_entry(&mut rest)?;
        self.skip(len.saturating_sub(rest.len()));
        Some(entry)
    }

    fn skip(&mut self, len: usize) {
        self.at = self.at.saturating_add(len);
        while let Some(behind) = self
            .chunks
            .get(self.chunk)
            .and_then(|chunk| self.at.checked_sub(chunk.len()))
        {
            self.chunk = self.chunk.saturating_add(1);
            self.at = behind;
        }
    }
}

fn take_entry(rest: &mut &[u8]) -> Option<[u64; 4]> {
    let mut entry = [0; 4];
    for number in &mut entry {
        *number = take_varint(rest).ok()?;
    }
    Some(entry)
}

/// The old format, behind its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Longs {
    longs: Vec<u64>,
    at: usize,
    finalized: u64,
    others: u64,
}

impl Longs {
    fn new(longs: Vec<u64>) -> Result<Longs, MalformedBlockList> {
        let (finalized, others) = match longs.as_slice() {
            [] => (0, 0),
            [_] => return Err(TRUNCATED),
            [finalized, others, ..] => (*finalized, *others),
        };
        let wanted = finalized
            .checked_mul(3)
            .and_then(|wanted| wanted.checked_add(others.checked_mul(4)?))
            .and_then(|wanted| wanted.checked_add(5));
        // The delimiter is written even when nothing follows it. Lists without it are accepted.
        let length = longs.len() as u64;
        if length > 0 && wanted != Some(length) && !(others == 0 && wanted == length.checked_add(3)) {
            return Err(MalformedBlockList("the list's length does not fit its counts"));
        }
        Ok(Longs {
            longs,
            at: 2,
            finalized,
            others,
        })
    }

    fn next(&mut self) -> Result<Option<ReportedReplica>, MalformedBlockList> {
        let width = if self.finalized > 0 {
            self.finalized = self.finalized.saturating_sub(1);
            3
        } else if self.others > 0 {
            self.others = self.others.saturating_sub(1);
            if self.longs.get(self.at..).unwrap_or_default().starts_with(&DELIMITER) {
                self.at = self.at.saturating_add(DELIMITER.len());
            }
            4
        } else {
            return Ok(None);
        };
        let rest = self.longs.get(self.at..).unwrap_or_default();
        let entry = rest.get(..width).ok_or(TRUNCATED)?;
        self.at = self.at.saturating_add(width);
        let (&[id, num_bytes, stamp], state) = entry.split_first_chunk().ok_or(TRUNCATED)?;
        let state = state.first().copied().unwrap_or(ReplicaState::Finalized as u64);
        Ok(Some(ReportedReplica {
            block: Block {
                id: BlockId(id.cast_signed()),
                num_bytes,
                generation_stamp: GenerationStamp(stamp),
            },
            state: ReplicaState::from_number(state).ok_or(UNKNOWN_STATE)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replica((id, num_bytes, stamp, state): (i64, u64, u64, u64)) -> ReportedReplica {
        ReportedReplica {
            block: Block {
                id: BlockId(id),
                num_bytes,
                generation_stamp: GenerationStamp(stamp),
            },
            state: ReplicaState::from_number(state).unwrap(),
        }
    }

    fn report(number_of_blocks: Option<u64>, blocks: Vec<u64>, blocks_buffers: Vec<Bytes>) -> StorageBlockReportProto {
        StorageBlockReportProto {
            blocks,
            number_of_blocks,
            blocks_buffers,
            ..Default::default()
        }
    }

    fn read(report: StorageBlockReportProto) -> Result<Vec<ReportedReplica>, MalformedBlockList> {
        let mut list = ReportedReplicas::new(report)?;
        let mut replicas = Vec::new();
        while let Some(replica) = list.next_replica()? {
            replicas.push(replica);
        }
        assert_eq!(list.remaining(), 0);
        Ok(replicas)
    }

    proptest! {
        #[test]
        fn lists_round_trip_in_chunks_of_any_size(
            replicas in proptest::collection::vec((any::<i64>(), 0_u64..1 << 48, any::<u64>(), 0_u64..5), 0..3000),
            chunk in 1_usize..5000,
        ) {
            let replicas: Vec<_> = replicas.into_iter().map(replica).collect();
            let mut builder = BlockListBuilder::default();
            replicas.iter().for_each(|replica| builder.add(replica.block, replica.state));
            let (count, buffers) = builder.finish();
            prop_assert!(buffers.iter().all(|buffer| buffer.len() <= CHUNK_BYTES));
            let cut = buffers.concat().chunks(chunk).map(Bytes::copy_from_slice).collect();
            let list = read(report(Some(count), Vec::new(), cut));
            prop_assert_eq!(list.as_ref(), Ok(&replicas));
            let longs = to_longs(count, &buffers);
            let mut sorted = replicas;
            sorted.sort_by_key(|replica| replica.state != ReplicaState::Finalized);
            prop_assert_eq!(read(report(None, longs, Vec::new())), Ok(sorted));
            prop_assert!(read(report(Some(count + 1), Vec::new(), buffers)).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, count: u64, chunk in 1_usize..40) {
            let longs = bytes.iter().copied().map(u64::from).collect();
            let buffers = bytes.chunks(chunk).map(Bytes::copy_from_slice).collect();
            for list in [report(Some(count), Vec::new(), buffers), report(None, longs, Vec::new())] {
                let Ok(mut replicas) = ReportedReplicas::new(list) else { continue };
                let read = std::iter::from_fn(|| replicas.next_replica().ok().flatten()).count();
                prop_assert!(read <= bytes.len());
            }
        }
    }

    #[test]
    fn the_old_format_separates_finalized_from_others() {
        let mut builder = BlockListBuilder::default();
        for replica in [replica((1, 10, 7, 2)), replica((2, 10, 7, 0))] {
            builder.add(replica.block, replica.state);
        }
        let (count, buffers) = builder.finish();
        let none = u64::MAX;
        let longs = to_longs(count, &buffers);
        assert_eq!(longs, [1, 1, 2, 10, 7, none, none, none, 1, 10, 7, 2]);
        assert_eq!(
            read(report(None, vec![1, 0, 2, 10, 7], Vec::new())),
            Ok(vec![replica((2, 10, 7, 0))])
        );
        for damaged in [longs[..11].to_vec(), vec![u64::MAX, u64::MAX], vec![1]] {
            assert!(read(report(None, damaged, Vec::new())).is_err());
        }
        assert_eq!(read(report(None, Vec::new(), Vec::new())), Ok(Vec::new()));
    }
}
