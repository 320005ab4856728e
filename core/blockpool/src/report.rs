//! Full block reports: which replicas they tell of, and how.

use bytes::Bytes;
use hathi_formats::block_list::{BlockListBuilder, ReplicaState};

use crate::replica::Replica;

/// Builds the list of one storage's replicas.
#[derive(Debug, Default)]
pub struct BlockReportBuilder {
    list: BlockListBuilder,
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
        let mut block = replica.block();
        if state == ReplicaState::Rbw {
            block.num_bytes = replica.bytes_on_disk();
        }
        self.list.add(block, state);
    }

    /// Number of replicas added.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.list.len()
    }

    /// Whether none was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Number of replicas and buffers, as `StorageBlockReportProto` carries them.
    #[must_use]
    pub fn finish(self) -> (u64, Vec<Bytes>) {
        self.list.finish()
    }
}

#[cfg(test)]
mod tests {
    use hathi_formats::block_list::ReportedReplicas;
    use hathi_formats::ids::{Block, BlockId, GenerationStamp};
    use hathi_formats::proto::datanode::StorageBlockReportProto;

    use super::*;
    use crate::replica::VolumeId;

    #[test]
    fn temporary_replicas_are_not_reported() {
        let block = Block {
            id: BlockId(7),
            num_bytes: 10,
            generation_stamp: GenerationStamp(1001),
        };
        let mut builder = BlockReportBuilder::new();
        for state in [ReplicaState::Temporary, ReplicaState::Rwr] {
            builder.add(&Replica::at_rest(block, state, VolumeId(0)));
        }
        let (count, blocks_buffers) = builder.finish();
        let mut list = ReportedReplicas::new(StorageBlockReportProto {
            number_of_blocks: Some(count),
            blocks_buffers,
            ..Default::default()
        })
        .unwrap();
        let replica = list.next_replica().unwrap().unwrap();
        assert_eq!((replica.block, replica.state), (block, ReplicaState::Rwr));
        assert_eq!(list.next_replica(), Ok(None));
    }
}
