//! A DataNode: its replicas on a simulated disk, the changes of them, and how it ends and starts.

use super::namenodes::NameNodes;
use super::pipeline::Receiver;
use super::talk::{Conversation, Deletions};
use super::{CHUNK, POOL, World, WritingMutant};
use hathi_blockpool::chunks::{read_exact_at, read_header};
use hathi_blockpool::{
    BlockRecovery, ChunkWriter, Folder, NoticeKind, OfferService, PacketData, PoolDirs, Replica, ReplicaError,
    ReplicaMap, ReplicaState, Scan, StepError, Steps, Transition, VolumeId, WriterId,
};
use hathi_formats::datatransfer::{BlockMetadataHeader, ChecksumType, DataChecksum};
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_storage::sim_disk::SimFile;
use hathi_storage::{Disk, DiskFile, SimDisk};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

pub(super) const VOLUME: VolumeId = VolumeId(0);
/// A disk writes a sector whole or not at all.
const SECTOR_BYTES: u64 = 512;

pub(super) fn checksum() -> DataChecksum {
    DataChecksum::new(ChecksumType::Crc32c, CHUNK as u32).expect("a chunk of 16 bytes")
}

pub(super) struct DataNode {
    pub(super) up: bool,
    pub(super) disk: SimDisk,
    dirs: BTreeMap<VolumeId, PoolDirs>,
    /// What is known of the replicas; while it is down, what its next start will find.
    pub(super) map: ReplicaMap,
    pub(super) receivers: BTreeMap<BlockId, Receiver>,
    next_writer: u64,
    /// By NameNode.
    pub(super) talks: Vec<Conversation>,
    pub(super) offer: OfferService,
    pub(super) deletions: VecDeque<Deletions>,
    pub(super) transfers: Vec<(Block, usize)>,
    pub(super) recoveries: Vec<BlockRecovery>,
    /// Replicas here that were found bad, as they were found, until they are gone.
    pub(super) bad: BTreeMap<BlockId, Block>,
    /// Stamps that it has answered, and that must be found on its disk.
    pub(super) answered: BTreeMap<BlockId, GenerationStamp>,
    mutant: Option<WritingMutant>,
}

/// The steps of a change could not be made.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Refused(RemoteException),
    /// The bytes do not match their checksums.
    Corrupt(String),
    /// The machine stopped in the middle.
    Stopped,
}

impl DataNode {
    pub(super) fn new(namenodes: usize, mutant: Option<WritingMutant>) -> DataNode {
        let disk = SimDisk::new();
        disk.set_sector(SECTOR_BYTES);
        disk.lose_directories_whole();
        let pool = PoolDirs::new(Path::new("/v"), POOL);
        for folder in [Folder::Finalized, Folder::Rbw, Folder::Tmp] {
            disk.create_dir_all(&pool.folder(folder)).expect("a new disk");
            for dir in pool.folder(folder).ancestors() {
                disk.sync_dir(dir).expect("a new disk");
            }
        }
        DataNode {
            up: true,
            disk,
            dirs: BTreeMap::from([(VOLUME, pool)]),
            map: ReplicaMap::new(),
            receivers: BTreeMap::new(),
            next_writer: 0,
            talks: (0..namenodes).map(|_| Conversation::default()).collect(),
            offer: OfferService::new(),
            deletions: VecDeque::new(),
            transfers: Vec::new(),
            recoveries: Vec::new(),
            bad: BTreeMap::new(),
            answered: BTreeMap::new(),
            mutant,
        }
    }

    pub(super) fn is(&self, mutant: WritingMutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(super) fn new_writer(&mut self) -> WriterId {
        self.next_writer += 1;
        WriterId(self.next_writer)
    }

    pub(super) fn files(&self, replica: &Replica) -> hathi_blockpool::ReplicaFiles {
        self.dirs[&replica.volume].files(replica.location())
    }

    /// A change of a replica as a DataNode carries it out: its writer is stopped where the plan asks for it, files are
    /// changed, the change counts, and what it promises is made durable. Answers the replica afterwards.
    fn change(
        &mut self,
        id: BlockId,
        plan: impl Fn(&ReplicaMap) -> Result<Option<Transition>, ReplicaError>,
    ) -> Result<Option<Replica>, Failure> {
        let mut transition = loop {
            match plan(&self.map) {
                Ok(Some(transition)) => break transition,
                Ok(None) => return Ok(self.map.get(id).cloned()),
                Err(ReplicaError::StopWriterFirst(writer)) => self.end_writer(id, writer),
                Err(error) => {
                    return Err(Failure::Refused(RemoteException::new(error.class(), error.to_string())));
                }
            }
        };
        let failure = |error: StepError| match error {
            StepError::Corrupt(text) => Failure::Corrupt(text),
            StepError::Disk { .. } => Failure::Stopped,
        };
        let steps = Steps::new(&self.disk, &self.dirs, false);
        let last = steps.prepare(&transition).map_err(failure)?;
        let rest = steps.perform(&mut transition).map_err(failure)?;
        transition.know_last_checksum(last);
        self.map.commit(transition);
        self.map.check();
        self.disk
            .lie_about_syncs(self.mutant == Some(WritingMutant::NamesNotSynced));
        let settled = steps.settle(&rest).map_err(failure);
        self.disk.lie_about_syncs(false);
        settled?;
        Ok(self.map.get(id).cloned())
    }

    pub(super) fn end_writer(&mut self, id: BlockId, writer: WriterId) {
        self.map.release_writer(id, writer);
        if self
            .receivers
            .get(&id)
            .is_some_and(|receiver| receiver.writer == writer)
        {
            self.receivers.remove(&id);
        }
    }

    /// The files of a replica, open for its writer.
    pub(super) fn open_writer(&self, replica: &Replica) -> Result<ChunkWriter<SimFile>, Failure> {
        let files = self.files(replica);
        let open = || {
            let (data, meta) = (self.disk.open(&files.data)?, self.disk.open(&files.meta)?);
            if meta.is_empty()? {
                meta.write_at(0, &BlockMetadataHeader::new(checksum()).encode())?;
            }
            std::io::Result::Ok((data, meta))
        };
        let (data, meta) = open().map_err(|_| Failure::Stopped)?;
        let last = replica.progress.as_ref().and_then(|progress| progress.last_checksum);
        Ok(ChunkWriter::new(data, meta, checksum(), replica.bytes_on_disk(), last))
    }

    /// The bytes that are to be read of a replica, whatever their checksums say.
    pub(super) fn bytes(&self, replica: &Replica) -> Vec<u8> {
        let mut bytes = vec![0; replica.bytes_on_disk() as usize];
        let Ok(file) = self.disk.open_read(&self.files(replica).data) else {
            return Vec::new();
        };
        let len = file.len().unwrap_or(0).min(bytes.len() as u64);
        bytes.truncate(len as usize);
        match read_exact_at(&file, 0, &mut bytes) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// How many bytes from the start are these, and match their checksums where nobody writes any more.
    pub(super) fn right_bytes(&self, replica: &Replica, content: &[u8]) -> u64 {
        let bytes = self.bytes(replica);
        let same = bytes
            .iter()
            .zip(content)
            .take_while(|(one, other)| one == other)
            .count();
        if replica.progress.is_some() || bytes.is_empty() {
            return same as u64;
        }
        let sums = self.sums(replica, bytes.len()).unwrap_or_default();
        let matches = |(chunk, sum): &(&[u8], &[u8])| checksum().verify(chunk, sum).is_ok();
        let chunks = bytes.chunks(CHUNK).zip(sums.chunks(checksum().checksum_size()));
        same.min(chunks.take_while(matches).count() * CHUNK) as u64
    }

    fn sums(&self, replica: &Replica, len: usize) -> Option<Vec<u8>> {
        let meta = self.disk.open_read(&self.files(replica).meta).ok()?;
        let header = read_header(&meta).ok()?;
        let there = meta.len().ok()?.saturating_sub(header.checksum_offset(0));
        let mut sums = vec![0; header.checksum.checksum_len(len).min(there as usize)];
        read_exact_at(&meta, header.checksum_offset(0), &mut sums).ok()?;
        Some(sums)
    }

    /// The bytes of a complete replica if they match their checksums.
    pub(super) fn verified_bytes(&self, replica: &Replica) -> Option<Vec<u8>> {
        let bytes = self.bytes(replica);
        let whole = bytes.len() as u64 == replica.num_bytes && self.right_bytes(replica, &bytes) == replica.num_bytes;
        whole.then_some(bytes)
    }

    /// What a start finds.
    fn scan(&mut self) {
        let found = Scan::new(&self.disk, &self.dirs[&VOLUME], VOLUME).all();
        self.map = ReplicaMap::new();
        for replica in found.expect("the disk can be read").replicas {
            if let Some(hathi_blockpool::FileAction::Delete(at)) = self.map.add_found(replica) {
                let steps = Steps::new(&self.disk, &self.dirs, false);
                steps.delete(at).expect("the disk can be written");
            }
        }
    }

    fn forget_everything(&mut self) {
        let (disk, dirs) = (self.disk.clone(), std::mem::take(&mut self.dirs));
        let answered = std::mem::take(&mut self.answered);
        *self = DataNode {
            up: false,
            disk,
            dirs,
            next_writer: self.next_writer,
            answered,
            ..DataNode::new(self.talks.len(), self.mutant)
        };
    }
}

impl<N: NameNodes> World<N> {
    /// [`DataNode::change`], after which the machine may have lost its power.
    pub(super) fn change(
        &mut self,
        node: usize,
        id: BlockId,
        plan: impl Fn(&ReplicaMap) -> Result<Option<Transition>, ReplicaError>,
    ) -> Result<Option<Replica>, Failure> {
        let mut result = self.datanodes[node].change(id, plan);
        if self.datanodes[node].disk.has_stopped() {
            // Nobody hears of what was done before the power went.
            result = Err(Failure::Stopped);
        }
        self.finish_power_cut(node);
        if let Err(failure) = &result {
            self.say(|| format!("{node} does not change block {id}: {failure:?}"));
        }
        result
    }

    /// A stamp leaves in an answer.
    pub(super) fn answer_stamp(&mut self, node: usize, replica: &Replica) {
        let answered = &mut self.datanodes[node].answered;
        answered.insert(replica.block_id, replica.generation_stamp);
        if replica.state != ReplicaState::Rbw {
            self.is_whole_again(node, replica.block_id);
        }
    }

    /// The process ends, or the machine loses power.
    pub(super) fn stop_datanode(&mut self, node: usize, power: bool) {
        if !self.datanodes[node].up || self.datanodes.iter().filter(|one| !one.up).count() > 1 {
            return;
        }
        self.end(node, power);
    }

    fn end(&mut self, node: usize, power: bool) {
        self.say(|| format!("DataNode {node} ends, with its machine's power: {power}"));
        self.count(if power { "losses of power" } else { "kills" });
        let before = self.replicas_of(node);
        self.datanodes[node].forget_everything();
        if power {
            let disk = self.datanodes[node].disk.clone();
            disk.lose_power(&mut |below| self.rng.u64(0..below));
        } else {
            self.datanodes[node].disk.crash_process();
        }
        self.datanodes[node].scan();
        self.after_end(node, power, &before);
    }

    /// The machine will lose its power after a few more changes of its disk.
    pub(super) fn stop_in_the_middle(&mut self, node: usize) {
        if self.datanodes.iter().all(|one| one.up) {
            let changes = self.rng.u64(1..12);
            self.datanodes[node].disk.stop_after(Some(changes));
        }
    }

    /// The machine has stopped in the middle of a change.
    pub(super) fn finish_power_cut(&mut self, node: usize) {
        if self.datanodes[node].disk.has_stopped() {
            self.count("losses of power in the middle of a change");
            self.end(node, true);
        }
        if self.quiet {
            self.datanodes[node].disk.stop_after(None);
        }
    }

    pub(super) fn start_datanode(&mut self, node: usize) {
        if !self.datanodes[node].up {
            self.say(|| format!("DataNode {node} starts"));
            self.datanodes[node].up = true;
        }
    }

    /// Reads what is complete, as the block scanner does, and reports what is bad.
    pub(super) fn scan_blocks(&mut self, node: usize) {
        let datanode = &mut self.datanodes[node];
        if !datanode.up {
            return;
        }
        let complete = datanode
            .map
            .iter()
            .filter(|replica| replica.state == ReplicaState::Finalized);
        let bad: Vec<Block> = complete
            .filter(|replica| datanode.verified_bytes(replica).is_none())
            .map(Replica::block)
            .collect();
        for block in bad {
            datanode.report_bad(block);
        }
    }

    /// One DataNode copies a replica to another: for a NameNode, which wants one more, or for a pipeline.
    pub(super) fn copy(&mut self, node: usize, block: Block, target: usize, for_pipeline: bool) -> bool {
        if !self.datanodes[target].up || self.unlucky(20) {
            return false;
        }
        let Some(replica) = self.datanodes[node].map.get(block.id).cloned() else {
            return false;
        };
        let rbw = replica.state == ReplicaState::Rbw;
        let visible = replica.visible_length().unwrap_or(0) as usize;
        let bytes = match rbw {
            true => Some(self.datanodes[node].bytes(&replica)),
            false => self.datanodes[node].verified_bytes(&replica),
        };
        let Some(mut bytes) = bytes.filter(|bytes| bytes.len() >= visible) else {
            // Read again under its lock, as there is nobody else here.
            self.say(|| format!("{node} can't read its {}", replica.describe()));
            self.datanodes[node].report_bad(replica.block());
            return false;
        };
        bytes.truncate(visible);
        let copied = Block {
            num_bytes: visible as u64,
            ..replica.block()
        };
        let writer = self.datanodes[target].new_writer();
        // An older replica gives way.
        self.datanodes[target].answered.remove(&block.id);
        let created = self.change(target, block.id, |map| {
            map.create_temporary(copied, for_pipeline, VOLUME, writer, 0).map(Some)
        });
        let Ok(Some(temporary)) = created else {
            return false;
        };
        let filled = self.datanodes[target].fill(&temporary, &bytes);
        self.finish_power_cut(target);
        if filled.is_err() || !self.datanodes[target].up {
            return false;
        }
        self.datanodes[target]
            .map
            .progress(block.id, writer, |received, progress| {
                *received = visible as u64;
                progress.bytes_on_disk = visible as u64;
            });
        let done = match for_pipeline && rbw {
            true => self.change(target, block.id, |map| map.convert_temporary_to_rbw(copied).map(Some)),
            false => self.change(target, block.id, |map| map.finalize(copied, true)),
        };
        let Ok(Some(copy)) = done else { return false };
        self.datanodes[target].map.release_writer(block.id, writer);
        self.say(|| format!("{node} has copied to {target}: {}", copy.describe()));
        self.count("copies");
        self.answer_stamp(target, &copy);
        if !for_pipeline {
            self.datanodes[target].notify(target, copy.block(), NoticeKind::Received);
        }
        true
    }
}

impl DataNode {
    /// Writes a whole copy, and syncs it.
    fn fill(&self, temporary: &Replica, bytes: &[u8]) -> Result<(), Failure> {
        let mut chunks = self.open_writer(temporary)?;
        let mut sums = Vec::new();
        checksum().compute_into(bytes, &mut sums);
        let packet = PacketData {
            offset: 0,
            data: bytes,
            sums: &sums,
            checksum: checksum(),
        };
        chunks.write(packet).map_err(|_| Failure::Stopped)?;
        chunks.sync().map_err(|_| Failure::Stopped)
    }
}
