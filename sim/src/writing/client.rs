//! A client that writes, step by step, as Hadoop's and ours do: which files, and the calls about them.
//!
//! * [`output_stream`]: what it does with an open block. [`data_streamer`]: how it gets a block and a pipeline.

mod data_streamer;
mod output_stream;

use super::namenodes::{NameNodes, WriterCallError};
use super::pipeline::Packet;
use super::talk::{block_of, extended, node_of};
use super::{BLOCK_BYTES, DATANODES, FILES, World};
use hathi_formats::ids::{Block, BlockId};
use hathi_formats::proto::hdfs::{
    AppendRequestProto, AppendResponseProto, BlockProto, CompleteRequestProto, CompleteResponseProto,
    CreateRequestProto, CreateResponseProto, DeleteRequestProto, DeleteResponseProto, FsPermissionProto,
    LocatedBlockProto, RecoverLeaseRequestProto, RecoverLeaseResponseProto, TruncateRequestProto,
    TruncateResponseProto,
};
use std::collections::VecDeque;

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
    /// The longest length in an `fsync` of which a copy may still be on its way. The call does not name its block, so a
    /// NameNode takes the length for the one of the block that is the last one by then, as Hadoop's does
    /// (`FSNamesystem.fsync`).
    pub(super) named_late: u64,
    pub(super) writer: Option<Writer>,
    /// Whether somebody has noticed the death of the writer, and recovers its lease before anything else.
    pub(super) is_to_be_recovered: bool,
}

impl File {
    pub(super) fn new(number: usize) -> File {
        File {
            path: format!("/f{number}-0"),
            number,
            generation: 0,
            blocks: Vec::new(),
            named_late: 0,
            writer: None,
            is_to_be_recovered: false,
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
    /// Its pipeline could not be set up.
    Abandon(Block),
    /// A DataNode is to be found in place of a lost one.
    Replace,
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
type Step = Result<(), WriterCallError>;

fn located_nodes(located: &LocatedBlockProto) -> Vec<usize> {
    located.locs.iter().map(|node| node_of(&node.id)).collect()
}

fn block_in(located: &LocatedBlockProto) -> Block {
    block_of(&BlockProto {
        block_id: located.b.block_id,
        gen_stamp: located.b.generation_stamp,
        num_bytes: located.b.num_bytes,
    })
}

impl<N: NameNodes> World<N> {
    pub(super) fn client_step(&mut self, file: usize) {
        if self.files[file].writer.is_some() && self.unlucky(400) {
            self.say(|| format!("the writer of file {file} dies"));
            return self.client_dies(file);
        }
        let Some(mut writer) = self.files[file].writer.take() else {
            return self.begin(file);
        };
        match self.go_on(file, &mut writer) {
            Ok(true) => self.say(|| format!("the writer of file {file} is done")),
            // No answer: it tries again.
            Ok(false) | Err(WriterCallError::Again) => self.files[file].writer = Some(writer),
            Err(WriterCallError::Refused(refusal)) => {
                self.count("writers that gave up");
                self.say(|| format!("the writer of file {file} gives up, {:?}: {refusal}", writer.does));
            }
        }
    }

    pub(super) fn client_dies(&mut self, file: usize) {
        let writer = self.files[file].writer.take();
        self.namenodes.give_up(file);
        match writer.as_ref().map(|writer| (writer, writer.does)) {
            Some((_, Does::Truncate(_) | Does::Delete)) => self.leave_file(file),
            Some((writer, Does::Fsync { .. })) => self.may_be_named_late(file, writer),
            _ => {}
        }
    }

    /// The machine of a writer loses its power, and a DataNode with it, and is back soon. Somebody notices, and recovers the
    /// lease at once, as HBase does for the log of a region server. Answers another DataNode of the pipeline.
    pub(crate) fn machine_of_writer_dies(&mut self) -> Option<usize> {
        let first = self.rng.usize(..FILES);
        let mut files = (0..FILES).map(|file| (first + file) % FILES);
        let (file, nodes) = files.find_map(|file| {
            let block = self.files[file].writer.as_ref()?.block.as_ref()?;
            (block.nodes.len() > 1).then(|| (file, block.nodes.clone()))
        })?;
        let at = self.rng.usize(..nodes.len());
        self.say(|| format!("the writer of file {file} dies with DataNode {}", nodes[at]));
        self.stop_datanode(nodes[at], true);
        self.start_datanode(nodes[at]);
        self.client_dies(file);
        self.files[file].is_to_be_recovered = true;
        Some(nodes[(at + 1) % nodes.len()])
    }

    /// A client comes.
    fn begin(&mut self, file: usize) {
        if self.namenodes.active().is_none() {
            return;
        }
        let length = self.length_of(file);
        let known = self.inode_of(file).is_some();
        if !known && !self.files[file].blocks.is_empty() {
            // A delete was served, and nobody heard of it.
            self.next_file(file);
        }
        let is_to_be_recovered = std::mem::take(&mut self.files[file].is_to_be_recovered);
        let does = match self.rng.u32(..16) {
            _ if !known => Does::Create,
            _ if is_to_be_recovered => Does::RecoverLease,
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
    fn go_on(&mut self, file: usize, writer: &mut Writer) -> Result<bool, WriterCallError> {
        let before = writer.does;
        match writer.does {
            Does::Create => self.create(file, writer)?,
            Does::Append => self.append(file, writer)?,
            Does::Truncate(length) => return self.truncate(file, writer, length),
            Does::RecoverLease => return self.recover_lease(file, writer),
            Does::Delete => return self.delete_file(file, writer),
            Does::Write => self.write_something(file, writer)?,
            Does::AddBlock => self.add_block(file, writer)?,
            Does::Abandon(block) => self.abandon_block(file, writer, block)?,
            Does::Replace => self.replace_lost(file, writer)?,
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
        let _: CreateResponseProto = self.call(file, (writer.client, writer.call), "create", &request)?;
        writer.does = Does::Write;
        Ok(())
    }

    fn append(&mut self, file: usize, writer: &mut Writer) -> Step {
        let request = AppendRequestProto {
            src: self.files[file].path.clone(),
            client_name: Self::name(writer),
            flag: Some(4),
        };
        let answer: AppendResponseProto = self.call(file, (writer.client, writer.call), "append", &request)?;
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

    fn truncate(&mut self, file: usize, writer: &mut Writer, length: u64) -> Result<bool, WriterCallError> {
        let request = TruncateRequestProto {
            src: self.files[file].path.clone(),
            new_length: length,
            client_name: Self::name(writer),
        };
        // Hadoop's clients repeat a truncate as if that were harmless (`ClientProtocol.truncate`), and are refused when it was
        // served before. Then nobody knows what became of it.
        self.truncates(file, true);
        let answer = self.call_surely(file, (writer.client, writer.call), "truncate", &request);
        let is_sure = !self.namenodes.was_repeated(file);
        if let Err(WriterCallError::Refused(_)) = &answer {
            match is_sure {
                true => self.truncate_refused(file),
                false => self.leave_file(file),
            }
        }
        let answer: TruncateResponseProto = answer?;
        self.count("truncates");
        self.say(|| format!("file {file} is truncated to {length}, at once: {}", answer.result));
        match is_sure {
            true => self.truncated(file, length),
            // A copy of the call may come when the file has grown again.
            false => self.leave_file(file),
        }
        Ok(true)
    }

    fn recover_lease(&mut self, file: usize, writer: &mut Writer) -> Result<bool, WriterCallError> {
        let request = RecoverLeaseRequestProto {
            src: self.files[file].path.clone(),
            client_name: Self::name(writer),
        };
        let answer: RecoverLeaseResponseProto =
            self.call(file, (writer.client, writer.call), "recoverLease", &request)?;
        // Otherwise it asks again.
        Ok(answer.result || self.rng.u32(..8) == 0)
    }

    fn delete_file(&mut self, file: usize, writer: &mut Writer) -> Result<bool, WriterCallError> {
        let request = DeleteRequestProto {
            src: self.files[file].path.clone(),
            recursive: false,
        };
        self.give_up_promises(file);
        let answer: Result<DeleteResponseProto, WriterCallError> =
            self.call(file, (writer.client, writer.call), "delete", &request);
        if answer != Err(WriterCallError::Again) {
            self.next_file(file);
        }
        answer.map(|_| true)
    }

    /// A call that takes bytes away may come as late as it likes, and nobody knows what becomes of the file.
    fn leave_file(&mut self, file: usize) {
        self.give_up_promises(file);
        self.next_file(file);
    }

    /// A copy of the writer's `fsync` may come late.
    pub(super) fn may_be_named_late(&mut self, file: usize, writer: &Writer) {
        let named = writer.block.as_ref().map_or(0, |block| block.acknowledged);
        let file = &mut self.files[file];
        file.named_late = file.named_late.max(named);
    }

    fn next_file(&mut self, file: usize) {
        let (number, generation) = (self.files[file].number, self.files[file].generation + 1);
        self.files[file] = File {
            path: format!("/f{number}-{generation}"),
            generation,
            ..File::new(number)
        };
    }

    fn complete(&mut self, file: usize, writer: &mut Writer) -> Result<bool, WriterCallError> {
        let request = CompleteRequestProto {
            src: self.files[file].path.clone(),
            client_name: Self::name(writer),
            last: writer.previous.map(extended),
            file_id: None,
        };
        let answer: CompleteResponseProto = self.call(file, (writer.client, writer.call), "complete", &request)?;
        if answer.result {
            self.count("files closed by their writers");
            self.closed(file, writer.previous);
        }
        Ok(answer.result)
    }
}
