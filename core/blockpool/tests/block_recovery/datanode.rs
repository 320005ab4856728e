//! A DataNode without disk and network: its replicas, and what it does to them.

use hathi_blockpool::{
    BlockReportBuilder, Replica, ReplicaError, ReplicaMap, ReplicaState, Transition, VolumeId, WriterId,
};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::StorageBlockReportProto;
use hathi_formats::proto::hdfs::DatanodeStorageProto;

pub(crate) const VOLUME: VolumeId = VolumeId(0);

pub(crate) struct DataNode {
    pub(crate) up: bool,
    pub(crate) map: ReplicaMap,
    /// The end of its complete replica does not match its checksums.
    pub(crate) end_is_bad: bool,
    next_writer: u64,
}

impl DataNode {
    pub(crate) fn new() -> DataNode {
        DataNode {
            up: true,
            map: ReplicaMap::new(),
            end_is_bad: false,
            next_writer: 1,
        }
    }

    pub(crate) fn new_writer(&mut self) -> WriterId {
        self.next_writer += 1;
        WriterId(self.next_writer)
    }

    /// Carries out what the map plans. A writer that is in the way is stopped first.
    pub(crate) fn change(
        &mut self,
        id: BlockId,
        plan: impl Fn(&ReplicaMap) -> Result<Option<Transition>, ReplicaError>,
    ) -> Result<Option<Replica>, ReplicaError> {
        loop {
            match plan(&self.map) {
                Ok(Some(transition)) => self.map.commit(transition),
                Ok(None) => {}
                Err(ReplicaError::StopWriterFirst(writer)) => {
                    self.map.release_writer(id, writer);
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.map.check();
            return Ok(self.map.get(id).cloned());
        }
    }

    /// The writer has written so many bytes, of which the pipeline has acknowledged some.
    pub(crate) fn write(&mut self, id: BlockId, on_disk: u64, acknowledged: u64) {
        let writer = self.map.get(id).and_then(Replica::writer).expect("somebody writes it");
        self.map.progress(id, writer, |received, progress| {
            *received = on_disk;
            progress.bytes_on_disk = on_disk;
            progress.bytes_acked = acknowledged.min(on_disk);
        });
    }

    /// The process ends. The map is then what the next start finds: whatever was being written waits for recovery.
    pub(crate) fn end(&mut self) {
        self.up = false;
        let mut found = ReplicaMap::new();
        for replica in self.map.iter() {
            let block = Block {
                num_bytes: replica.bytes_on_disk(),
                ..replica.block()
            };
            let state = match replica.original_state() {
                ReplicaState::Finalized => ReplicaState::Finalized,
                ReplicaState::Rbw | ReplicaState::Rwr | ReplicaState::Rur => ReplicaState::Rwr,
                ReplicaState::Temporary => continue,
            };
            found.add_found(Replica::at_rest(block, state, VOLUME));
        }
        self.map = found;
    }

    pub(crate) fn report(&self, storage: DatanodeStorageProto) -> StorageBlockReportProto {
        let mut builder = BlockReportBuilder::new();
        for replica in self.map.iter() {
            builder.add(replica);
        }
        let (count, blocks_buffers) = builder.finish();
        StorageBlockReportProto {
            storage,
            blocks: Vec::new(),
            number_of_blocks: Some(count),
            blocks_buffers,
        }
    }
}

/// `RBW, 100 bytes, stamp 1001`. Bytes that are not acknowledged are named.
pub(crate) fn described(replica: &Replica) -> String {
    let GenerationStamp(stamp) = replica.generation_stamp;
    let mut text = format!("{}, {} bytes", replica.state.name(), replica.bytes_on_disk());
    if let Some(progress) = &replica.progress
        && progress.bytes_acked != progress.bytes_on_disk
    {
        text += &format!(" of which {} acknowledged", progress.bytes_acked);
    }
    match replica.recovery {
        Some((GenerationStamp(id), original)) => {
            text + &format!(", stamp {stamp}, {} before recovery {id}", original.name())
        }
        None => text + &format!(", stamp {stamp}"),
    }
}
