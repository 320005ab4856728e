//! How a client gets a block and a pipeline, and repairs it (`DataStreamer`).

use super::{Does, OpenBlock, Step, Writer, block_in, located_nodes};
use crate::writing::namenodes::{NameNodes, WriterCallError};
use crate::writing::pipeline::Setup;
use crate::writing::talk::{extended, identity, storage_id};
use crate::writing::{DATANODES, World, WritingMutant};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Block, GenerationStamp};
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_formats::proto::hdfs::{
    AbandonBlockRequestProto, AbandonBlockResponseProto, AddBlockRequestProto, AddBlockResponseProto,
    DatanodeInfoProto, GetAdditionalDatanodeRequestProto, GetAdditionalDatanodeResponseProto,
    UpdateBlockForPipelineRequestProto, UpdateBlockForPipelineResponseProto, UpdatePipelineRequestProto,
    UpdatePipelineResponseProto,
};
use std::collections::VecDeque;

/// Recoveries of a pipeline without a packet acknowledged between them.
const RECOVERIES_MAX: u32 = 5;

fn info_of(node: usize) -> DatanodeInfoProto {
    DatanodeInfoProto {
        id: identity(node),
        ..DatanodeInfoProto::default()
    }
}

impl<N: NameNodes> World<N> {
    /// Whether the pipeline is broken, which is then repaired.
    pub(super) fn notice_failure(&mut self, writer: &mut Writer) -> bool {
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
            // Hadoop's does so now and then, by `dfs.client.block.write.replace-datanode-on-failure.policy`.
            if !block.closing && self.rng.bool() {
                writer.does = Does::Replace;
            }
        } else {
            block.recoveries = RECOVERIES_MAX + 1;
        }
        true
    }

    pub(super) fn add_block(&mut self, file: usize, writer: &mut Writer) -> Step {
        let request = AddBlockRequestProto {
            src: self.files[file].path.clone(),
            client_name: Self::name(writer),
            previous: writer.previous.map(extended),
            exclude_nodes: writer.excluded.iter().map(|node| info_of(*node)).collect(),
            ..AddBlockRequestProto::default()
        };
        let answer: Result<AddBlockResponseProto, WriterCallError> =
            self.call(file, (writer.client, writer.call), "addBlock", &request);
        let answer = match answer {
            Err(WriterCallError::Refused(refusal)) if refusal.is(exceptions::NOT_REPLICATED_YET) => {
                return Err(WriterCallError::Again);
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
            writer.excluded.extend(nodes.get(bad));
            writer.does = Does::Abandon(block);
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

    pub(super) fn abandon_block(&mut self, file: usize, writer: &mut Writer, block: Block) -> Step {
        let request = AbandonBlockRequestProto {
            b: extended(block),
            src: self.files[file].path.clone(),
            holder: Self::name(writer),
            file_id: None,
        };
        let _: AbandonBlockResponseProto = self.call(file, (writer.client, writer.call), "abandonBlock", &request)?;
        self.abandoned(file, block.id);
        if writer.excluded.len() >= DATANODES {
            writer.excluded.clear();
        }
        writer.does = Does::AddBlock;
        Ok(())
    }

    /// Begins to repair the pipeline, or to set one up for an append.
    pub(super) fn new_stamp(&mut self, file: usize, writer: &mut Writer) -> Step {
        let Some(block) = &mut writer.block else { return Ok(()) };
        if block.recoveries > RECOVERIES_MAX || block.nodes.is_empty() {
            let refusal = RemoteException::new(exceptions::IO, format!("all DataNodes are bad: {:?}", block.nodes));
            return Err(WriterCallError::Refused(refusal));
        }
        let request = UpdateBlockForPipelineRequestProto {
            block: extended(block.block),
            client_name: Self::name(writer),
        };
        let answer: UpdateBlockForPipelineResponseProto =
            self.call(file, (writer.client, writer.call), "updateBlockForPipeline", &request)?;
        writer.does = Does::Connect(answer.block.b.generation_stamp);
        Ok(())
    }

    /// Finds a DataNode in place of a lost one.
    pub(super) fn replace_lost(&mut self, file: usize, writer: &mut Writer) -> Step {
        let Some(block) = &mut writer.block else { return Ok(()) };
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
        let answer: Result<GetAdditionalDatanodeResponseProto, WriterCallError> =
            self.call(file, (writer.client, writer.call), "getAdditionalDatanode", &request);
        if answer == Err(WriterCallError::Again) {
            return Err(WriterCallError::Again);
        }
        writer.does = Does::Stamp;
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

    pub(super) fn connect(&mut self, file: usize, writer: &mut Writer, stamp: u64) -> Step {
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

    pub(super) fn update_pipeline(&mut self, file: usize, writer: &mut Writer, stamp: u64) -> Step {
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
        let _: UpdatePipelineResponseProto =
            self.call(file, (writer.client, writer.call), "updatePipeline", &request)?;
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
}
