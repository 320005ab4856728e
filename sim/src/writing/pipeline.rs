//! Packets down a pipeline, acknowledgements up (`BlockReceiver` and its responder).

use super::datanode::{Failure, VOLUME, checksum};
use super::namenodes::NameNodes;
use super::{DATANODES, World, WritingMutant};
use hathi_blockpool::{ChunkWriter, NoticeKind, PacketData, Replica, WriteError, WriterId};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_storage::Disk;
use hathi_storage::sim_disk::SimFile;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) data: Vec<u8>,
    pub(super) sums: Vec<u8>,
    pub(super) sync: bool,
    pub(super) last: bool,
}

impl Packet {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}

/// A DataNode's place in a pipeline, while its thread lives.
pub(super) struct Receiver {
    pub(super) writer: WriterId,
    /// Which connection; each pipeline has another.
    pub(super) pipeline: u64,
    file: usize,
    chunks: ChunkWriter<SimFile>,
    names_synced: bool,
    inbox: VecDeque<Packet>,
    /// Written here, and not acknowledged from below.
    written: VecDeque<(u64, u64, bool)>,
    /// Acknowledged from below.
    acks: VecDeque<u64>,
    upstream: Option<usize>,
    mirror: Option<usize>,
    /// Its place in the pipeline.
    place: usize,
}

/// What a pipeline is set up for.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) file: usize,
    pub(super) pipeline: u64,
    pub(super) stage: Stage,
    /// As the client names it.
    pub(super) block: Block,
    pub(super) stamp: GenerationStamp,
    pub(super) min_bytes: u64,
    pub(super) max_bytes: u64,
}

impl<N: NameNodes> World<N> {
    /// Sets a pipeline up, from the first DataNode on. The place of the one that failed.
    pub(super) fn set_up(&mut self, setup: &Setup, nodes: &[usize]) -> Result<(), usize> {
        for (place, &node) in nodes.iter().enumerate() {
            if !self.datanodes[node].up || self.unlucky(40) {
                return Err(place);
            }
            self.join(setup, nodes, place).map_err(|_| place)?;
        }
        match self.unlucky(40) {
            // The answer is lost: the client blames the first one.
            true => Err(0),
            false => Ok(()),
        }
    }

    fn join(&mut self, setup: &Setup, nodes: &[usize], place: usize) -> Result<(), Failure> {
        let node = nodes[place];
        let writer = self.datanodes[node].new_writer();
        let (block, stamp, min, max) = (setup.block, setup.stamp, setup.min_bytes, setup.max_bytes);
        let disk = self.datanodes[node].disk.clone();
        let data_len = |replica: Option<Replica>, files: Option<hathi_blockpool::ReplicaFiles>| {
            let len = files.and_then(|files| disk.file_len(&files.data).ok());
            replica.and(len).unwrap_or(0)
        };
        let files = self.datanodes[node].map.get(block.id).cloned();
        let files = files.map(|replica| self.datanodes[node].files(&replica));
        let changed = self.change(node, block.id, |map| {
            match setup.stage {
                Stage::PipelineSetupCreate => map.create_rbw(block, false, VOLUME, writer, 0),
                Stage::PipelineSetupAppend => map.append(block, stamp, min, writer),
                Stage::PipelineSetupAppendRecovery => map.recover_append(block, stamp, min, writer),
                Stage::PipelineCloseRecovery => map.recover_close(block, stamp, min),
                _ => {
                    let len = data_len(map.get(block.id).cloned(), files.clone());
                    map.recover_rbw(block, stamp, min, max, len, writer)
                }
            }
            .map(Some)
        })?;
        let replica = changed.ok_or(Failure::Stopped)?;
        self.say(|| format!("{node} joins a pipeline with {}", replica.describe()));
        if setup.stage != Stage::PipelineSetupCreate {
            self.answer_stamp(node, &replica);
        }
        if setup.stage != Stage::PipelineSetupStreamingRecovery {
            self.is_whole_again(node, block.id);
        }
        if setup.stage == Stage::PipelineCloseRecovery {
            self.datanodes[node].notify(node, replica.block(), NoticeKind::Received);
            return Ok(());
        }
        let chunks = self.datanodes[node].open_writer(&replica)?;
        let receiver = Receiver {
            writer,
            pipeline: setup.pipeline,
            file: setup.file,
            chunks,
            names_synced: false,
            inbox: VecDeque::new(),
            written: VecDeque::new(),
            acks: VecDeque::new(),
            upstream: place.checked_sub(1).map(|before| nodes[before]),
            mirror: nodes.get(place + 1).copied(),
            place,
        };
        self.datanodes[node].receivers.insert(block.id, receiver);
        if setup.stage != Stage::PipelineSetupStreamingRecovery {
            self.datanodes[node].notify(node, replica.block(), NoticeKind::Receiving);
        }
        self.finish_power_cut(node);
        Ok(())
    }

    /// Whether a DataNode still has its place in a pipeline.
    pub(super) fn takes_part(&self, node: usize, id: BlockId, pipeline: u64) -> bool {
        let datanode = &self.datanodes[node];
        let receiver = datanode.receivers.get(&id);
        datanode.up && receiver.is_some_and(|receiver| receiver.pipeline == pipeline)
    }

    /// A packet is in the hands of a DataNode. False when there is nobody.
    pub(super) fn hand_over(&mut self, node: usize, id: BlockId, pipeline: u64, mut packet: Packet) -> bool {
        if !self.takes_part(node, id, pipeline) {
            return false;
        }
        if self.unlucky(150)
            && let Some(byte) = packet.data.first_mut()
        {
            *byte ^= 1;
            self.count("bits that flipped");
        }
        if let Some(receiver) = self.datanodes[node].receivers.get_mut(&id) {
            receiver.inbox.push_back(packet);
        }
        true
    }

    /// Some DataNode goes on with a packet, or with an acknowledgement.
    pub(super) fn move_packets(&mut self) {
        let node = self.rng.usize(..DATANODES);
        if !self.datanodes[node].up {
            return;
        }
        let ids: Vec<BlockId> = self.datanodes[node].receivers.keys().copied().collect();
        let Some(&id) = self.rng.choice(&ids) else { return };
        self.receive(node, id);
        self.relay(node, id);
    }

    fn receive(&mut self, node: usize, id: BlockId) {
        let Some(receiver) = self.datanodes[node].receivers.get_mut(&id) else {
            return;
        };
        let (pipeline, mirror, place, file) = (receiver.pipeline, receiver.mirror, receiver.place, receiver.file);
        let waits = receiver.inbox.front().is_some_and(|packet| packet.last) && !receiver.written.is_empty();
        if waits {
            // All data must be everywhere before the replica is complete.
            return;
        }
        let Some(packet) = receiver.inbox.pop_front() else {
            return;
        };
        if let Some(mirror) = mirror
            && !self.hand_over(mirror, id, pipeline, packet.clone())
        {
            self.tell_client(file, pipeline, Err(place + 1));
        }
        let written = self.write(node, id, &packet);
        self.finish_power_cut(node);
        match written {
            Ok(()) => self.acknowledge(node, id, &packet),
            Err(Failure::Stopped) => {}
            Err(failure) => {
                self.say(|| format!("{node} ends its part of a pipeline: {failure:?}"));
                if let Some(receiver) = self.datanodes[node].receivers.get(&id) {
                    let writer = receiver.writer;
                    self.datanodes[node].end_writer(id, writer);
                }
                // What the last one got was corrupt: the one before it is at fault.
                let blamed = match failure {
                    Failure::Refused(_) => place.saturating_sub(1),
                    _ => place,
                };
                self.tell_client(file, pipeline, Err(blamed));
            }
        }
    }

    fn write(&mut self, node: usize, id: BlockId, packet: &Packet) -> Result<(), Failure> {
        let datanode = &mut self.datanodes[node];
        let lies = datanode.is(WritingMutant::ChecksumBeforeData);
        let (unsynced_close, answers_unsynced) = (
            datanode.is(WritingMutant::CloseUnsynced),
            datanode.is(WritingMutant::SyncAnsweredUnsynced),
        );
        let disk = datanode.disk.clone();
        let Some(replica) = datanode.map.get(id).cloned() else {
            return Err(Failure::Stopped);
        };
        let dir = datanode.files(&replica).dir;
        let Some(receiver) = datanode.receivers.get_mut(&id) else {
            return Err(Failure::Stopped);
        };
        if !packet.data.is_empty() {
            if packet.offset > receiver.chunks.on_disk() {
                return Err(Failure::Corrupt("out of sequence".to_owned()));
            }
            if receiver.mirror.is_none() && checksum().verify(&packet.data, &packet.sums).is_err() {
                return Err(Failure::Refused(hathi_formats::exceptions::RemoteException::new(
                    hathi_formats::exceptions::IO,
                    "Unexpected checksum mismatch",
                )));
            }
            let data = PacketData {
                offset: packet.offset,
                data: &packet.data,
                sums: &packet.sums,
                checksum: checksum(),
            };
            disk.lie_about_syncs(lies);
            let written = receiver.chunks.write(data);
            disk.lie_about_syncs(false);
            written.map_err(|error| match error {
                WriteError::Disk(_) => Failure::Stopped,
                other => Failure::Corrupt(other.to_string()),
            })?;
        }
        let promised = packet.last && receiver.chunks.has_promised() && !unsynced_close;
        if (packet.sync && !answers_unsynced) || promised {
            let mut synced = receiver.chunks.sync();
            if synced.is_ok() && !receiver.names_synced {
                synced = disk.sync_dir(&dir);
                receiver.names_synced = synced.is_ok();
            }
            synced.map_err(|_| Failure::Stopped)?;
        }
        let (on_disk, last, writer) = (
            receiver.chunks.on_disk(),
            receiver.chunks.last_checksum(),
            receiver.writer,
        );
        let is_end = receiver.mirror.is_none();
        datanode.map.progress(id, writer, |received, progress| {
            *received = on_disk.max(*received);
            progress.bytes_on_disk = on_disk;
            progress.last_checksum = last;
            if is_end {
                progress.bytes_acked = progress.bytes_acked.max(packet.end());
            }
        });
        if packet.last {
            let block = Block {
                num_bytes: on_disk,
                ..replica.block()
            };
            let durable = packet.sync || promised;
            let complete = self.change(node, id, |map| map.finalize(block, durable))?;
            if let Some(complete) = complete {
                self.datanodes[node].notify(node, complete.block(), NoticeKind::Received);
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, node: usize, id: BlockId, packet: &Packet) {
        let Some(receiver) = self.datanodes[node].receivers.get_mut(&id) else {
            return;
        };
        if receiver.mirror.is_some() {
            receiver.written.push_back((packet.number, packet.end(), packet.last));
            return;
        }
        self.pass_up(node, id, packet.number);
        if packet.last {
            self.datanodes[node].receivers.remove(&id);
        }
    }

    fn relay(&mut self, node: usize, id: BlockId) {
        let datanode = &mut self.datanodes[node];
        let Some(receiver) = datanode.receivers.get_mut(&id) else {
            return;
        };
        let Some(&(number, end, last)) = receiver.written.front() else {
            return;
        };
        if receiver.acks.front() != Some(&number) {
            return;
        }
        receiver.written.pop_front();
        receiver.acks.pop_front();
        let writer = receiver.writer;
        datanode.map.progress(id, writer, |_, progress| {
            progress.bytes_acked = progress.bytes_acked.max(end.min(progress.bytes_on_disk));
        });
        self.pass_up(node, id, number);
        if last {
            self.datanodes[node].receivers.remove(&id);
        }
    }

    fn pass_up(&mut self, node: usize, id: BlockId, number: u64) {
        let Some(receiver) = self.datanodes[node].receivers.get(&id) else {
            return;
        };
        let (upstream, pipeline, file) = (receiver.upstream, receiver.pipeline, receiver.file);
        match upstream {
            None => self.tell_client(file, pipeline, Ok(number)),
            Some(upstream) if self.takes_part(upstream, id, pipeline) => {
                if let Some(receiver) = self.datanodes[upstream].receivers.get_mut(&id) {
                    receiver.acks.push_back(number);
                }
            }
            Some(_) => {}
        }
    }
}
