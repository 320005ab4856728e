//! A client that writes, step by step, as Hadoop's and ours do (`DFSOutputStream`, `DataStreamer`).

use super::datanode::checksum;
use super::namenode::CallError;
use super::pipeline::{Packet, Setup};
use super::talk::{block_of, extended, identity, node_of, storage_id};
use super::{BLOCK_BYTES, CHUNK, DATANODES, World, WritingMutant};
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_formats::proto::hdfs::{
    AbandonBlockRequestProto, AbandonBlockResponseProto, AddBlockRequestProto, AddBlockResponseProto,
    AppendRequestProto, AppendResponseProto, BlockProto, CompleteRequestProto, CompleteResponseProto,
    CreateRequestProto, CreateResponseProto, DatanodeInfoProto, DeleteRequestProto, DeleteResponseProto,
    FsPermissionProto, FsyncRequestProto, FsyncResponseProto, GetAdditionalDatanodeRequestProto,
    GetAdditionalDatanodeResponseProto, LocatedBlockProto, RecoverLeaseRequestProto, RecoverLeaseResponseProto,
    TruncateRequestProto, TruncateResponseProto, UpdateBlockForPipelineRequestProto,
    UpdateBlockForPipelineResponseProto, UpdatePipelineRequestProto, UpdatePipelineResponseProto,
};
use std::collections::VecDeque;

/// Recoveries of a pipeline without a packet acknowledged between them.
const RECOVERIES_MAX: u32 = 5;
/// A file of so many blocks is deleted, and another one is begun.
const BLOCKS_MAX: usize = 4;

/// A file, and who writes it.
pub(super) struct File {
    pub(super) path: String,
    number: usize,
    /// A name of the path is not used twice.
    generation: u32,
    /// Its blocks as far as clients know, in order.
    pub(super) blocks: Vec<BlockId>,
    pub(super) writer: Option<Writer>,
}

impl File {
    pub(super) fn new(number: usize) -> File {
        File {
            path: format!("/f{number}-0"),
            number,
            generation: 0,
            blocks: Vec::new(),
            writer: None,
        }
    }
}

pub(super) struct Writer {
    client: u64,
    /// Of the call that is under way; a repetition has the same.
    call: u64,
    does: Does,
    block: Option<OpenBlock>,
    /// The block before it, which the NameNode commits with the next call.
    previous: Option<Block>,
    syncs: bool,
    excluded: Vec<usize>,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Create,
    Append,
    Truncate(u64),
    RecoverLease,
    Delete,
    /// Nothing: it may write.
    Write,
    AddBlock,
    /// The first step of a repair: a stamp.
    Stamp,
    Connect(u64),
    UpdatePipeline(u64),
    Flush {
        sync: bool,
    },
    /// The NameNode is told of the first flush.
    Fsync {
        sync: bool,
    },
    EndBlock,
    Complete,
}

struct OpenBlock {
    block: Block,
    nodes: Vec<usize>,
    pipeline: u64,
    unacknowledged: VecDeque<Packet>,
    next_packet: u64,
    acknowledged: u64,
    sent: u64,
    recoveries: u32,
    appends: bool,
    closing: bool,
    flushed: bool,
    failed: Option<usize>,
}

/// What comes of a step.
type Step = Result<(), CallError>;

fn located_nodes(located: &LocatedBlockProto) -> Vec<usize> {
    located.locs.iter().map(|node| node_of(&node.id)).collect()
}

fn info_of(node: usize) -> DatanodeInfoProto {
    DatanodeInfoProto {
        id: identity(node),
        ..DatanodeInfoProto::default()
    }
}

fn block_in(located: &LocatedBlockProto) -> Block {
    block_of(&BlockProto {
        block_id: located.b.block_id,
        gen_stamp: located.b.generation_stamp,
        num_bytes: located.b.num_bytes,
    })
}

impl World {
    pub(super) fn client_step(&mut self, file: usize) {
        let Some(mut writer) = self.files[file].writer.take() else {
            return self.begin(file);
        };
        if self.unlucky(400) {
            return self.say(|| format!("the writer of file {file} dies, {:?}", writer.does));
        }
        match self.go_on(file, &mut writer) {
            Ok(true) => self.say(|| format!("the writer of file {file} is done")),
            // No answer: it tries again.
            Ok(false) | Err(CallError::Again) => self.files[file].writer = Some(writer),
            Err(CallError::Refused(refusal)) => {
                self.count("writers that gave up");
                self.say(|| format!("the writer of file {file} gives up, {:?}: {refusal}", writer.does));
            }
        }
    }

    pub(super) fn client_dies(&mut self, file: usize) {
        self.files[file].writer = None;
    }

    /// A client comes.
    fn begin(&mut self, file: usize) {
        if self.active().is_none() {
            return;
        }
        let length = self.length_of(file);
        let known = self.inode_of(file).is_some();
        if !known && !self.files[file].blocks.is_empty() {
            // A delete was served, and nobody heard of it.
            self.next_file(file);
        }
        let does = match self.rng.u32(..16) {
            _ if !known => Does::Create,
            0..9 if self.files[file].blocks.len() < BLOCKS_MAX => Does::Append,
            0..12 => Does::RecoverLease,
            12..15 if length > 0 => Does::Truncate(self.rng.u64(0..length)),
            15 if self.rng.bool() => Does::Delete,
            _ => return,
        };
        let (client, call) = (self.number(), self.number());
        self.say(|| format!("a client of file {file}: {does:?}"));
        self.files[file].writer = Some(Writer {
            client,
            call,
            does,
            block: None,
            previous: None,
            syncs: false,
            excluded: Vec::new(),
        });
    }

    /// True when the client is done.
    fn go_on(&mut self, file: usize, writer: &mut Writer) -> Result<bool, CallError> {
        let before = writer.does;
        match writer.does {
            Does::Create => self.create(file, writer)?,
            Does::Append => self.append(file, writer)?,
            Does::Truncate(length) => return self.truncate(file, writer, length),
            Does::RecoverLease => return self.recover_lease(file, writer),
            Does::Delete => return self.delete_file(file, writer),
            Does::Write => self.write_something(file, writer)?,
            Does::AddBlock => self.add_block(file, writer)?,
            Does::Stamp => self.new_stamp(file, writer)?,
            Does::Connect(stamp) => self.connect(file, writer, stamp)?,
            Does::UpdatePipeline(stamp) => self.update_pipeline(file, writer, stamp)?,
            Does::Flush { sync } => self.flush(file, writer, sync)?,
            Does::Fsync { sync } => self.fsync(file, writer, sync)?,
            Does::EndBlock => self.end_block(file, writer)?,
            Does::Complete => {
                if self.complete(file, writer)? {
                    return Ok(true);
                }
            }
        }
        if writer.does != before {
            writer.call = self.number();
        }
        Ok(false)
    }

    fn name(writer: &Writer) -> String {
        format!("client-{}", writer.client)
    }

    fn create(&mut self, file: usize, writer: &mut Writer) -> Step {
        let request = CreateRequestProto {
            src: self.files[file].path.clone(),
            masked: FsPermissionProto { perm: 0o644 },
            client_name: Self::name(writer),
            create_flag: 1,
            create_parent: true,
            replication: 1 + self.numbers as u32 % DATANODES as u32,
            block_size: BLOCK_BYTES as u64,
            ..CreateRequestProto::default()
        };
        let _: CreateResponseProto = self.call(writer.client, writer.call, "create", &request)?;
        writer.does = Does::Write;
        Ok(())
    }

    fn append(&mut self, file: usize, writer: &mut Writer) -> Step {
        let request = AppendRequestProto {
            src: self.files[file].path.clone(),
            client_name: Self::name(writer),
            flag: Some(4),
        };
        let answer: AppendResponseProto = self.call(writer.client, writer.call, "append", &request)?;
        self.see_closed(file);
        writer.does = Does::Write;
        let Some(located) = answer.block else { return Ok(()) };
        let block = block_in(&located);
        self.count("appends");
        writer.block = Some(OpenBlock {
            block,
            nodes: located_nodes(&located),
            pipeline: 0,
            unacknowledged: VecDeque::new(),
            next_packet: 0,
            acknowledged: block.num_bytes,
            sent: block.num_bytes,
            recoveries: 0,
            appends: true,
            closing: false,
            flushed: true,
            failed: None,
        });
        writer.does = Does::Stamp;
        Ok(())
    }

    fn truncate(&mut self, file: usize, writer: &mut Writer, length: u64) -> Result<bool, CallError> {
        let request = TruncateRequestProto {
            src: self.files[file].path.clone(),
            new_length: length,
            client_name: Self::name(writer),
        };
        // What became of a truncate whose answer was lost nobody knows: this client does not lose it.
        let answer = self.call_surely(writer.client, writer.call, "truncate", &request);
        let answer: TruncateResponseProto = answer?;
        self.count("truncates");
        self.say(|| format!("file {file} is truncated to {length}, at once: {}", answer.result));
        self.truncated(file, length);
        Ok(true)
    }

    fn recover_lease(&mut self, file: usize, writer: &mut Writer) -> Result<bool, CallError> {
        let request = RecoverLeaseRequestProto {
            src: self.files[file].path.clone(),
            client_name: Self::name(writer),
        };
        let answer: RecoverLeaseResponseProto = self.call(writer.client, writer.call, "recoverLease", &request)?;
        // Otherwise it asks again.
        Ok(answer.result || self.rng.u32(..8) == 0)
    }

    fn delete_file(&mut self, file: usize, writer: &mut Writer) -> Result<bool, CallError> {
        let request = DeleteRequestProto {
            src: self.files[file].path.clone(),
            recursive: false,
        };
        self.give_up_promises(file);
        let _: DeleteResponseProto = self.call(writer.client, writer.call, "delete", &request)?;
        self.next_file(file);
        Ok(true)
    }

    fn next_file(&mut self, file: usize) {
        let (number, generation) = (self.files[file].number, self.files[file].generation + 1);
        self.files[file] = File {
            path: format!("/f{number}-{generation}"),
            generation,
            ..File::new(number)
        };
    }

    fn write_something(&mut self, file: usize, writer: &mut Writer) -> Step {
        if writer.block.is_some() && self.notice_failure(writer) {
            return Ok(());
        }
        let Some(block) = &writer.block else {
            writer.does = match self.rng.u32(..8) {
                0 => Does::Complete,
                _ if self.files[file].blocks.len() >= BLOCKS_MAX => Does::Complete,
                _ => Does::AddBlock,
            };
            return Ok(());
        };
        let full = block.sent == BLOCK_BYTES as u64;
        match self.rng.u32(..20) {
            _ if full => writer.does = Does::EndBlock,
            0..11 => self.send_data(file, writer, false),
            11..14 if block.sent > 0 => writer.does = Does::Flush { sync: false },
            14..17 if block.sent > 0 => {
                writer.syncs = true;
                self.send_data(file, writer, true);
                writer.does = Does::Flush { sync: true };
            }
            17 if block.sent > 0 => writer.does = Does::EndBlock,
            _ => {}
        }
        Ok(())
    }

    /// Some bytes more in a packet of their own. It begins where the chunk begins, or goes on within a chunk.
    fn send_data(&mut self, file: usize, writer: &mut Writer, sync: bool) {
        let Some(block) = &mut writer.block else { return };
        let sent = block.sent as usize;
        let within = sent % CHUNK;
        let aligned = self.rng.bool();
        let room = match aligned {
            true => BLOCK_BYTES - sent,
            false => CHUNK - within,
        };
        let len = match sync {
            true => self.rng.usize(0..=room.min(2 * CHUNK)),
            false => self.rng.usize(1..=room.min(2 * CHUNK)),
        };
        let fresh: Vec<u8> = (0..len).map(|_| self.rng.u8(..)).collect();
        let from = if aligned && len > 0 { sent - within } else { sent };
        let data = self.written(block.block.id, block.sent, &fresh, from);
        let mut sums = Vec::new();
        checksum().compute_into(&data, &mut sums);
        block.sent += len as u64;
        let packet = Packet {
            number: block.next_packet,
            offset: from as u64,
            data,
            sums,
            sync,
            last: false,
        };
        self.send(file, writer, packet);
    }

    fn send(&mut self, file: usize, writer: &mut Writer, packet: Packet) {
        let Some(block) = &mut writer.block else { return };
        self.say(|| {
            let (from, end, last) = (packet.offset, packet.end(), packet.last);
            format!(
                "file {file} sends packet {} of {}..{end}, last: {last}",
                packet.number, from
            )
        });
        block.next_packet += 1;
        block.unacknowledged.push_back(packet.clone());
        if !self.hand_over(block.nodes[0], block.block.id, block.pipeline, packet) {
            block.failed.get_or_insert(0);
        }
    }

    /// An acknowledgement, or the place of the DataNode that is to blame for a failure.
    pub(super) fn tell_client(&mut self, file: usize, pipeline: u64, news: Result<u64, usize>) {
        let writer = self.files[file].writer.as_mut();
        let Some(block) = writer.and_then(|writer| writer.block.as_mut()) else {
            return;
        };
        if block.pipeline != pipeline {
            return;
        }
        match news {
            Err(place) => {
                block.failed.get_or_insert(place);
            }
            Ok(number) => {
                if block
                    .unacknowledged
                    .front()
                    .is_some_and(|packet| packet.number == number)
                    && let Some(packet) = block.unacknowledged.pop_front()
                {
                    block.acknowledged = block.acknowledged.max(packet.end());
                    block.recoveries = 0;
                    let (id, acknowledged) = (block.block.id, block.acknowledged);
                    self.acknowledged(id, acknowledged);
                }
            }
        }
    }

    /// Whether the pipeline is broken, which is then repaired.
    fn notice_failure(&mut self, writer: &mut Writer) -> bool {
        let Some(block) = &mut writer.block else { return false };
        let (id, pipeline) = (block.block.id, block.pipeline);
        let waits = !block.unacknowledged.is_empty();
        let gone = block
            .nodes
            .iter()
            .position(|&node| !self.takes_part(node, id, pipeline));
        let ended = block.closing && block.unacknowledged.is_empty();
        if block.failed.is_none() && waits && !ended && !block.closing {
            // A connection that is gone is noticed sooner or later.
            block.failed = gone.filter(|_| self.rng.u32(..4) == 0);
        } else if block.failed.is_none() && block.closing && waits {
            // Those that are done have no place any more.
            let dead = block.nodes.iter().position(|&node| !self.datanodes[node].up);
            block.failed = dead.filter(|_| self.rng.u32(..4) == 0);
            if block.failed.is_none() && self.rng.u32(..40) == 0 {
                block.failed = Some(0);
            }
        }
        let Some(bad) = block.failed.take() else { return false };
        writer.does = Does::Stamp;
        block.recoveries += 1;
        if block.nodes.len() > 1 {
            // Now and then the wrong one is blamed.
            let bad = if self.rng.u32(..8) == 0 {
                0
            } else {
                bad.min(block.nodes.len() - 1)
            };
            writer.excluded.push(block.nodes.remove(bad));
        } else {
            block.recoveries = RECOVERIES_MAX + 1;
        }
        true
    }

    fn add_block(&mut self, file: usize, writer: &mut Writer) -> Step {
        let request = AddBlockRequestProto {
            src: self.files[file].path.clone(),
            client_name: Self::name(writer),
            previous: writer.previous.map(extended),
            exclude_nodes: writer.excluded.iter().map(|node| info_of(*node)).collect(),
            ..AddBlockRequestProto::default()
        };
        let answer: Result<AddBlockResponseProto, CallError> =
            self.call(writer.client, writer.call, "addBlock", &request);
        let answer = match answer {
            Err(CallError::Refused(refusal)) if refusal.is(hathi_formats::exceptions::NOT_REPLICATED_YET) => {
                return Err(CallError::Again);
            }
            other => other?,
        };
        let block = block_in(&answer.block);
        let nodes = located_nodes(&answer.block);
        self.added(file, block.id);
        let pipeline = self.number();
        let setup = Setup {
            file,
            pipeline,
            stage: Stage::PipelineSetupCreate,
            block,
            stamp: block.generation_stamp,
            min_bytes: 0,
            max_bytes: 0,
        };
        if let Err(bad) = self.set_up(&setup, &nodes) {
            let request = AbandonBlockRequestProto {
                b: answer.block.b.clone(),
                src: self.files[file].path.clone(),
                holder: Self::name(writer),
                file_id: None,
            };
            writer.excluded.extend(nodes.get(bad));
            let call = self.number();
            let abandoned: Result<AbandonBlockResponseProto, CallError> =
                self.call_surely(writer.client, call, "abandonBlock", &request);
            abandoned?;
            self.abandoned(file, block.id);
            if writer.excluded.len() >= DATANODES {
                writer.excluded.clear();
            }
            writer.call = self.number();
            return Ok(());
        }
        writer.block = Some(OpenBlock {
            block,
            nodes,
            pipeline,
            unacknowledged: VecDeque::new(),
            next_packet: 0,
            acknowledged: 0,
            sent: 0,
            recoveries: 0,
            appends: false,
            closing: false,
            flushed: false,
            failed: None,
        });
        writer.does = Does::Write;
        Ok(())
    }

    /// Begins to repair the pipeline, or to set one up for an append.
    fn new_stamp(&mut self, file: usize, writer: &mut Writer) -> Step {
        self.replace_lost(file, writer)?;
        let Some(block) = &mut writer.block else { return Ok(()) };
        if block.recoveries > RECOVERIES_MAX || block.nodes.is_empty() {
            let refusal = RemoteException::new("AllDataNodesBad", format!("{:?}", block.nodes));
            return Err(CallError::Refused(refusal));
        }
        let request = UpdateBlockForPipelineRequestProto {
            block: extended(block.block),
            client_name: Self::name(writer),
        };
        let answer: UpdateBlockForPipelineResponseProto =
            self.call(writer.client, writer.call, "updateBlockForPipeline", &request)?;
        writer.does = Does::Connect(answer.block.b.generation_stamp);
        Ok(())
    }

    /// Finds a DataNode in place of a lost one, now and then.
    fn replace_lost(&mut self, file: usize, writer: &mut Writer) -> Step {
        let Some(block) = &mut writer.block else { return Ok(()) };
        if block.recoveries == 0 || block.closing || block.nodes.is_empty() || self.rng.bool() {
            return Ok(());
        }
        let request = GetAdditionalDatanodeRequestProto {
            src: self.files[file].path.clone(),
            blk: extended(block.block),
            existings: block.nodes.iter().map(|node| info_of(*node)).collect(),
            excludes: writer.excluded.iter().map(|node| info_of(*node)).collect(),
            num_additional_nodes: 1,
            client_name: format!("client-{}", writer.client),
            existing_storage_uuids: block.nodes.iter().map(|node| storage_id(*node)).collect(),
            file_id: None,
        };
        let call = self.numbers;
        let answer: Result<GetAdditionalDatanodeResponseProto, CallError> =
            self.call(writer.client, call, "getAdditionalDatanode", &request);
        // Best effort: it goes on with fewer.
        let Ok(answer) = answer else { return Ok(()) };
        let new = located_nodes(&answer.block);
        let new = new.into_iter().find(|node| !block.nodes.contains(node));
        let (Some(new), Some(&source)) = (new, block.nodes.last()) else {
            return Ok(());
        };
        let copied = Block {
            num_bytes: block.acknowledged,
            ..block.block
        };
        let nothing = block.acknowledged == 0 && block.unacknowledged.is_empty();
        if nothing || self.transfer(source, copied, new) {
            self.count("replaced DataNodes");
            block.nodes.push(new);
        }
        Ok(())
    }

    /// The checks of `transferReplicaForPipelineRecovery`, and the copy.
    fn transfer(&mut self, source: usize, block: Block, target: usize) -> bool {
        let datanode = &self.datanodes[source];
        let serves = datanode.map.get(block.id).is_some_and(|replica| {
            replica.generation_stamp >= block.generation_stamp
                && replica
                    .visible_length()
                    .is_some_and(|visible| visible >= block.num_bytes)
        });
        datanode.up && serves && self.copy(source, block, target, true)
    }

    fn connect(&mut self, file: usize, writer: &mut Writer, stamp: u64) -> Step {
        let pipeline = self.number();
        let Some(block) = &mut writer.block else { return Ok(()) };
        block.pipeline = pipeline;
        block.failed = None;
        let setup = Setup {
            file,
            pipeline,
            stage: match (block.appends, block.closing) {
                (true, _) if block.recoveries == 0 => Stage::PipelineSetupAppend,
                (true, _) => Stage::PipelineSetupAppendRecovery,
                (false, true) => Stage::PipelineCloseRecovery,
                (false, false) => Stage::PipelineSetupStreamingRecovery,
            },
            block: Block {
                num_bytes: block.acknowledged,
                ..block.block
            },
            stamp: GenerationStamp(stamp),
            min_bytes: block.acknowledged,
            max_bytes: block.sent,
        };
        let nodes = block.nodes.clone();
        match self.set_up(&setup, &nodes) {
            Ok(()) => writer.does = Does::UpdatePipeline(stamp),
            Err(bad) => {
                if let Some(block) = &mut writer.block {
                    block.failed = Some(bad);
                }
                self.notice_failure(writer);
            }
        }
        Ok(())
    }

    fn update_pipeline(&mut self, file: usize, writer: &mut Writer, stamp: u64) -> Step {
        let names_sent = self.is(WritingMutant::SentLengthLogged);
        let Some(block) = &mut writer.block else { return Ok(()) };
        let old = Block {
            num_bytes: block.acknowledged,
            ..block.block
        };
        let new = Block {
            generation_stamp: GenerationStamp(stamp),
            num_bytes: if names_sent { block.sent } else { block.acknowledged },
            ..old
        };
        let request = UpdatePipelineRequestProto {
            client_name: format!("client-{}", writer.client),
            old_block: extended(old),
            new_block: extended(new),
            new_nodes: block.nodes.iter().map(|node| identity(*node)).collect(),
            storage_i_ds: block.nodes.iter().map(|node| storage_id(*node)).collect(),
        };
        let _: UpdatePipelineResponseProto = self.call(writer.client, writer.call, "updatePipeline", &request)?;
        self.count("pipelines repaired");
        block.block.generation_stamp = GenerationStamp(stamp);
        self.see_closed(file);
        if block.appends {
            block.appends = false;
            self.synced(block.block.id, block.acknowledged);
        }
        if block.closing {
            // The DataNodes completed the block when they took the new stamp.
            block.unacknowledged.clear();
            writer.does = Does::EndBlock;
            return Ok(());
        }
        writer.does = Does::Write;
        let (first, id, pipeline) = (block.nodes[0], block.block.id, block.pipeline);
        for packet in block.unacknowledged.clone() {
            if !self.hand_over(first, id, pipeline, packet) {
                block.failed.get_or_insert(0);
            }
        }
        self.say(|| format!("file {file} goes on with stamp {stamp}"));
        Ok(())
    }

    fn flush(&mut self, file: usize, writer: &mut Writer, sync: bool) -> Step {
        if self.notice_failure(writer) {
            return Ok(());
        }
        let Some(block) = &mut writer.block else { return Ok(()) };
        if !block.unacknowledged.is_empty() {
            return Ok(());
        }
        if block.flushed {
            self.flush_is_done(file, writer, sync);
        } else {
            block.flushed = true;
            writer.does = Does::Fsync { sync };
        }
        Ok(())
    }

    fn fsync(&mut self, file: usize, writer: &mut Writer, sync: bool) -> Step {
        let request = FsyncRequestProto {
            src: self.files[file].path.clone(),
            client: Self::name(writer),
            last_block_length: writer.block.as_ref().map(|block| block.acknowledged as i64),
            file_id: None,
        };
        let _: FsyncResponseProto = self.call(writer.client, writer.call, "fsync", &request)?;
        self.flush_is_done(file, writer, sync);
        Ok(())
    }

    fn flush_is_done(&mut self, file: usize, writer: &mut Writer, sync: bool) {
        writer.does = Does::Write;
        let Some(block) = &writer.block else { return };
        let (id, length) = (block.block.id, block.acknowledged);
        self.say(|| format!("{length} bytes of {id} are flushed, synced: {sync}"));
        self.count(if sync { "hsyncs" } else { "hflushes" });
        self.flushed(file, id, length);
        if sync {
            self.synced(id, length);
        }
    }

    fn end_block(&mut self, file: usize, writer: &mut Writer) -> Step {
        if self.notice_failure(writer) {
            return Ok(());
        }
        let syncs = writer.syncs;
        let Some(block) = &mut writer.block else { return Ok(()) };
        if !block.unacknowledged.is_empty() {
            return Ok(());
        }
        if !block.closing {
            block.closing = true;
            let packet = Packet {
                number: block.next_packet,
                offset: block.sent,
                data: Vec::new(),
                sums: Vec::new(),
                sync: syncs,
                last: true,
            };
            self.send(file, writer, packet);
            return Ok(());
        }
        let last = Block {
            num_bytes: block.sent,
            ..block.block
        };
        if syncs {
            self.synced(last.id, last.num_bytes);
        }
        writer.previous = Some(last);
        writer.block = None;
        writer.does = match self.rng.u32(..3) {
            0 if self.files[file].blocks.len() < BLOCKS_MAX => Does::AddBlock,
            _ => Does::Complete,
        };
        Ok(())
    }

    fn complete(&mut self, file: usize, writer: &mut Writer) -> Result<bool, CallError> {
        let request = CompleteRequestProto {
            src: self.files[file].path.clone(),
            client_name: Self::name(writer),
            last: writer.previous.map(extended),
            file_id: None,
        };
        let answer: CompleteResponseProto = self.call(writer.client, writer.call, "complete", &request)?;
        if answer.result {
            self.count("files closed by their writers");
            self.closed(file, writer.previous);
        }
        Ok(answer.result)
    }
}
