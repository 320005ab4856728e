//! Writing a striped file: block groups, with a pipeline of one DataNode for each internal block (Hadoop:
//! `DFSStripedOutputStream`, `StripedDataStreamer`).
//!
//! ```text
//! write ─► cells of a stripe ─► full: parity ─► (no group: addBlock) ─► send the cells side by side ─► next stripe
//!                     some failed: the others get a new generation stamp, and the NameNode is told ◄┘
//! group full or close ─► last packets ─► next addBlock or complete
//! ```
//!
//! Invariants:
//! - at least as many internal blocks are good as there are data blocks, or writing fails;
//! - an internal block whose DataNode has failed gets no byte more in its group, and has an older stamp than the others;
//! - the NameNode learns no length beyond what every good internal block has acknowledged.

use super::{FileWriter, PACKET_LEN, UNACKNOWLEDGED_MAX};
use crate::ClientError;
use hathi_coding::Coder;
use hathi_formats::datatransfer::{DataChecksum, PacketHeader};
use hathi_formats::ids::BlockId;
use hathi_formats::proto::common::TokenProto;
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage;
use hathi_formats::proto::hdfs::{self, DatanodeIdProto, ExtendedBlockProto, LocatedBlockProto};
use hathi_formats::striping::Striping;
use hathi_net::ipc::Idempotence;
use hathi_transfer::{Pipeline, PipelineError, PipelineNodes, PipelineSetup, packets};
use std::collections::VecDeque;
use tokio::task::JoinSet;

/// What a striped file needs beside other files.
#[derive(Debug)]
pub(super) struct Striped {
    striping: Striping,
    coder: Coder,
    /// The cells of the data units in the stripe that is being filled.
    cells: Vec<Vec<u8>>,
    /// The cell that gets the next byte.
    filling: usize,
    group: Option<Group>,
}

/// A block group that is being written.
#[derive(Debug)]
struct Group {
    block: ExtendedBlockProto,
    /// Bytes of the file that were sent.
    sent: u64,
    /// By index.
    units: Vec<Unit>,
}

/// An internal block that is being written.
#[derive(Debug)]
struct Unit {
    block: ExtendedBlockProto,
    token: TokenProto,
    nodes: PipelineNodes,
    client_name: String,
    checksum: DataChecksum,
    /// It is set up with the first byte: internal blocks without bytes are on no DataNode.
    pipeline: Option<Pipeline>,
    is_good: bool,
    next_seqno: i64,
    sent: u64,
    /// Sequence number of each packet that is not acknowledged, and where the block ends with it.
    unacknowledged: VecDeque<(i64, u64)>,
    acknowledged: u64,
}

impl Striped {
    /// For a file of this policy. `None` if this client can't write it.
    pub(super) fn of(policy: &hdfs::ErasureCodingPolicyProto, checksum: &DataChecksum) -> Option<Striped> {
        let (coder, striping) = Coder::of_policy(policy)?;
        // Every cell begins a chunk.
        let is_whole = striping.cell_size.is_multiple_of(checksum.bytes_per_checksum());
        is_whole.then(|| Striped {
            striping,
            cells: vec![Vec::new(); coder.data_units()],
            coder,
            filling: 0,
            group: None,
        })
    }

    fn cell_size(&self) -> usize {
        self.striping.cell_size as usize
    }

    /// Takes as many bytes as fit into the cell. Returns the rest.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let size = self.cell_size();
        let Some(cell) = self.cells.get_mut(self.filling) else {
            return bytes;
        };
        let (now, rest) = bytes.split_at((size - cell.len()).min(bytes.len()));
        cell.extend_from_slice(now);
        if cell.len() == size {
            self.filling += 1;
        }
        rest
    }

    fn is_full(&self) -> bool {
        self.filling == self.cells.len()
    }

    /// Takes the stripe: the cells of all units, and the number of bytes of the file in it.
    fn take_stripe(&mut self) -> Result<(Vec<Vec<u8>>, u64), ClientError> {
        self.filling = 0;
        let mut cells = std::mem::replace(&mut self.cells, vec![Vec::new(); self.coder.data_units()]);
        let lengths: Vec<usize> = cells.iter().map(Vec::len).collect();
        // A parity cell is as long as the first data cell; what others lack counts as zeros.
        let longest = lengths.first().copied().unwrap_or(0);
        cells.iter_mut().for_each(|cell| cell.resize(longest, 0));
        let views: Vec<&[u8]> = cells.iter().map(Vec::as_slice).collect();
        let parity = self.coder.encoder().applied(&views);
        let parity = parity.map_err(|error| ClientError::Poisoned(error.to_string()))?;
        for (cell, length) in cells.iter_mut().zip(&lengths) {
            cell.truncate(*length);
        }
        cells.extend(parity);
        Ok((cells, lengths.iter().sum::<usize>() as u64))
    }
}

impl FileWriter {
    /// Adds bytes, which are encrypted already if they are to be.
    pub(super) async fn write_striped(&mut self, mut bytes: &[u8]) -> Result<(), ClientError> {
        while !bytes.is_empty() {
            let Some(striped) = &mut self.striped else { break };
            bytes = striped.fill(bytes);
            if striped.is_full() {
                self.send_stripe().await?;
            }
        }
        Ok(())
    }

    /// Sends the rest and ends the group.
    pub(super) async fn close_striped(&mut self) -> Result<(), ClientError> {
        self.send_stripe().await?;
        self.end_group().await
    }

    async fn send_stripe(&mut self) -> Result<(), ClientError> {
        let Some(striped) = &mut self.striped else {
            return Ok(());
        };
        let (cells, bytes) = striped.take_stripe()?;
        if bytes == 0 {
            return Ok(());
        }
        if striped.group.is_none() {
            let located = self.allocate().await?;
            self.begin_group(located)?;
        }
        let Some(group) = self.striped.as_mut().and_then(|striped| striped.group.as_mut()) else {
            return Ok(());
        };
        group.sent += bytes;
        let before = group.good();
        let mut cells = cells;
        let mut cell_of = |at: usize| cells.get_mut(at).map(std::mem::take).unwrap_or_default();
        group.each(|at| Step::Send(cell_of(at))).await;
        if group.good() < before {
            self.go_on_with_the_good().await?;
        }
        let is_full = self.striped.as_ref().is_some_and(|striped| {
            let cell = u64::from(striped.striping.cell_size);
            let stripe = cell * striped.coder.data_units() as u64;
            let stripes = (self.block_size / cell).max(1);
            striped
                .group
                .as_ref()
                .is_some_and(|group| group.sent >= stripes * stripe)
        });
        match is_full {
            true => self.end_group().await,
            false => Ok(()),
        }
    }

    fn begin_group(&mut self, located: LocatedBlockProto) -> Result<(), ClientError> {
        let Some(striped) = &mut self.striped else {
            return Ok(());
        };
        let indices = located.block_indices.clone().unwrap_or_default();
        let id = BlockId(located.b.block_id.cast_signed());
        if !id.is_striped() || indices.len() != located.locs.len() {
            return Err(ClientError::Striped {
                path: self.path.clone(),
                what: "write to a block that is not striped",
            });
        }
        let unit = |index: u8| {
            let at = indices.iter().position(|of| *of == index);
            let one = |list: &[String]| at.and_then(|at| list.get(at)).cloned().into_iter().collect();
            Unit {
                block: ExtendedBlockProto {
                    block_id: id.internal(index).0.cast_unsigned(),
                    num_bytes: Some(0),
                    ..located.b.clone()
                },
                token: at
                    .and_then(|at| located.block_tokens.get(at))
                    .unwrap_or(&located.block_token)
                    .clone(),
                nodes: PipelineNodes {
                    infos: at.and_then(|at| located.locs.get(at)).cloned().into_iter().collect(),
                    storage_types: at
                        .and_then(|at| located.storage_types.get(at))
                        .copied()
                        .into_iter()
                        .collect(),
                    storage_ids: one(&located.storage_i_ds),
                },
                client_name: self.fs.options().client_name.clone(),
                checksum: self.checksum,
                pipeline: None,
                is_good: at.is_some(),
                next_seqno: 0,
                sent: 0,
                unacknowledged: VecDeque::new(),
                acknowledged: 0,
            }
        };
        striped.group = Some(Group {
            units: (0..striped.striping.units()).map(unit).collect(),
            block: located.b,
            sent: 0,
        });
        self.check_good()
    }

    /// Fails when too few internal blocks are good.
    fn check_good(&self) -> Result<(), ClientError> {
        let Some(striped) = &self.striped else { return Ok(()) };
        let Some(group) = &striped.group else { return Ok(()) };
        if group.good() >= striped.coder.data_units() {
            return Ok(());
        }
        let bad = group.units.iter().filter(|unit| !unit.is_good);
        let infos = bad.flat_map(|unit| &unit.nodes.infos).chain(&self.excluded);
        let names: Vec<String> = infos.map(|node| node.id.xfer_address()).collect();
        Err(ClientError::AllDataNodesBad {
            nodes: names.join(", "),
        })
    }

    /// Gives the internal blocks that are good a new generation stamp, so that the others are known to be old
    /// (`DFSStripedOutputStream.updateStreamersForPipeline`).
    async fn go_on_with_the_good(&mut self) -> Result<(), ClientError> {
        loop {
            let Some(group) = self.striped.as_mut().and_then(|striped| striped.group.as_mut()) else {
                return Ok(());
            };
            group.each(|_| Step::Wait).await;
            for unit in group.units.iter_mut().filter(|unit| !unit.is_good) {
                let bad = std::mem::take(&mut unit.nodes.infos);
                tracing::warn!(
                    path = self.path,
                    block = unit.block.block_id.cast_signed(),
                    "an internal block is left out"
                );
                self.excluded.extend(bad);
                unit.pipeline = None;
            }
            self.check_good()?;
            let Some(group) = self.striped.as_mut().and_then(|striped| striped.group.as_mut()) else {
                return Ok(());
            };
            let request = hdfs::UpdateBlockForPipelineRequestProto {
                block: group.block.clone(),
                client_name: self.fs.options().client_name.clone(),
            };
            let updated: hdfs::UpdateBlockForPipelineResponseProto = self
                .fs
                .call("updateBlockForPipeline", &request, Idempotence::Idempotent)
                .await?;
            let stamp = updated.block.b.generation_stamp;
            let before = group.good();
            group.each(|_| Step::Restart(stamp)).await;
            if group.good() < before {
                continue;
            }
            let old = ExtendedBlockProto {
                num_bytes: Some(group.sent),
                ..group.block.clone()
            };
            let new = ExtendedBlockProto {
                generation_stamp: stamp,
                ..old.clone()
            };
            let request = hdfs::UpdatePipelineRequestProto {
                client_name: self.fs.options().client_name.clone(),
                old_block: old,
                new_block: new,
                new_nodes: group.units.iter().map(Unit::id).collect(),
                storage_i_ds: group.units.iter().map(Unit::storage_id).collect(),
            };
            let _: hdfs::UpdatePipelineResponseProto = self
                .fs
                .call("updatePipeline", &request, Idempotence::AtMostOnce)
                .await?;
            group.block.generation_stamp = stamp;
            return Ok(());
        }
    }

    /// Sends the packets that end the internal blocks, and waits until their DataNodes have finalized them.
    async fn end_group(&mut self) -> Result<(), ClientError> {
        let Some(group) = self.striped.as_mut().and_then(|striped| striped.group.as_mut()) else {
            return Ok(());
        };
        // Bytes that are not acknowledged may still get lost.
        let before = group.good();
        group.each(|_| Step::Wait).await;
        if group.good() < before {
            self.go_on_with_the_good().await?;
        }
        let Some(group) = self.striped.as_mut().and_then(|striped| striped.group.as_mut()) else {
            return Ok(());
        };
        group.each(|_| Step::End).await;
        self.check_good()?;
        if let Some(group) = self.striped.as_mut().and_then(|striped| striped.group.take()) {
            self.previous = Some(ExtendedBlockProto {
                num_bytes: Some(group.sent),
                ..group.block
            });
        }
        Ok(())
    }
}

impl Group {
    fn good(&self) -> usize {
        self.units.iter().filter(|unit| unit.is_good).count()
    }

    /// Lets every good internal block take a step, all side by side. The step depends on the index.
    async fn each(&mut self, mut step: impl FnMut(usize) -> Step) {
        let mut tasks = JoinSet::new();
        let mut units: Vec<Option<Unit>> = Vec::with_capacity(self.units.len());
        for (at, mut unit) in std::mem::take(&mut self.units).into_iter().enumerate() {
            if !unit.is_good {
                units.push(Some(unit));
                continue;
            }
            units.push(None);
            let step = step(at);
            tasks.spawn(async move {
                if let Err(error) = unit.take(step).await {
                    let (block, nodes) = (unit.block.block_id.cast_signed(), unit.nodes.names());
                    tracing::warn!(block, nodes, %error, "an internal block can't be written");
                    unit.is_good = false;
                }
                (at, unit)
            });
        }
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok((at, unit)) => {
                    if let Some(place) = units.get_mut(at) {
                        *place = Some(unit);
                    }
                }
                // The bug is this writer's.
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => return,
                },
            }
        }
        self.units = units.into_iter().flatten().collect();
    }
}

/// What an internal block does next.
#[derive(Debug)]
enum Step {
    /// Send a cell, which may be empty.
    Send(Vec<u8>),
    /// Wait until everything is acknowledged.
    Wait,
    /// Set up the pipeline again, with this generation stamp.
    Restart(u64),
    /// Send the packet that ends the block, and wait until the DataNode has finalized it.
    End,
}

impl Unit {
    async fn take(&mut self, step: Step) -> Result<(), PipelineError> {
        match step {
            Step::Send(cell) => self.send_cell(&cell).await,
            Step::Wait => self.wait(0).await,
            Step::Restart(stamp) => self.restart(stamp).await,
            Step::End => self.end().await,
        }
    }

    /// The DataNode, or that which stands for none (`DatanodeID.EMPTY_DATANODE_ID`).
    fn id(&self) -> DatanodeIdProto {
        let known = self.nodes.infos.first().filter(|_| self.is_good);
        known.map_or_else(
            || DatanodeIdProto {
                ip_addr: "null".to_owned(),
                host_name: "null".to_owned(),
                ..DatanodeIdProto::default()
            },
            |info| info.id.clone(),
        )
    }

    fn storage_id(&self) -> String {
        let known = self.nodes.storage_ids.first().filter(|_| self.is_good);
        known.cloned().unwrap_or_default()
    }

    async fn open(&mut self, stage: BlockConstructionStage, stamp: u64) -> Result<(), PipelineError> {
        self.pipeline = None;
        let setup = PipelineSetup {
            stage,
            block: &self.block,
            token: &self.token,
            generation_stamp: stamp,
            min_bytes_received: self.acknowledged,
            max_bytes_received: self.sent,
        };
        let opened = Pipeline::open(&self.client_name, &self.nodes, &self.checksum, setup).await?;
        self.pipeline = Some(opened);
        Ok(())
    }

    async fn send_cell(&mut self, cell: &[u8]) -> Result<(), PipelineError> {
        if self.pipeline.is_none() && !cell.is_empty() {
            let stamp = self.block.generation_stamp;
            self.open(BlockConstructionStage::PipelineSetupCreate, stamp).await?;
        }
        let chunk = self.checksum.bytes_per_checksum() as usize;
        for data in cell.chunks((PACKET_LEN / chunk).max(1) * chunk) {
            let header = PacketHeader {
                offset_in_block: self.sent,
                data_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
                ..PacketHeader::default()
            };
            self.sent += data.len() as u64;
            self.send(header, data).await?;
        }
        Ok(())
    }

    async fn send(&mut self, mut header: PacketHeader, data: &[u8]) -> Result<(), PipelineError> {
        self.wait(UNACKNOWLEDGED_MAX - 1).await?;
        header.seqno = self.next_seqno;
        self.next_seqno += 1;
        self.unacknowledged.push_back((header.seqno, self.sent));
        match &mut self.pipeline {
            Some(pipeline) => pipeline.send(&packets::encode(header, &self.checksum, data)).await,
            None => Ok(()),
        }
    }

    /// Takes acknowledgements until at most so many packets are without one.
    async fn wait(&mut self, left: usize) -> Result<(), PipelineError> {
        let Some(pipeline) = &mut self.pipeline else {
            return Ok(());
        };
        while self.unacknowledged.len() > left {
            let seqno = pipeline.ack().await?;
            // Acknowledgements of heartbeats, and out-of-band notices, belong to no packet.
            if self.unacknowledged.front().is_some_and(|(first, _)| *first == seqno)
                && let Some((_, end)) = self.unacknowledged.pop_front()
            {
                self.acknowledged = self.acknowledged.max(end);
            }
        }
        Ok(())
    }

    async fn restart(&mut self, stamp: u64) -> Result<(), PipelineError> {
        if self.pipeline.is_some() {
            self.block.num_bytes = Some(self.acknowledged);
            self.open(BlockConstructionStage::PipelineSetupStreamingRecovery, stamp)
                .await?;
        }
        self.block.generation_stamp = stamp;
        Ok(())
    }

    async fn end(&mut self) -> Result<(), PipelineError> {
        if self.pipeline.is_some() {
            self.send(packets::last_header(self.sent, 0), &[]).await?;
            self.wait(0).await?;
            self.pipeline = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stripe_has_a_cell_for_each_unit_and_the_last_one_is_shorter() {
        let policy = hdfs::ErasureCodingPolicyProto {
            id: 64,
            cell_size: Some(1024),
            schema: Some(hdfs::EcSchemaProto {
                codec_name: "xor".to_owned(),
                data_units: 2,
                parity_units: 1,
                options: Vec::new(),
            }),
            ..hdfs::ErasureCodingPolicyProto::default()
        };
        let mut striped = Striped::of(&policy, &DataChecksum::DEFAULT).unwrap();
        let bytes: Vec<u8> = (0..3000u32).map(|at| (at * 7 + at / 100) as u8).collect();
        let rest = striped.fill(&bytes);
        assert_eq!((rest.len(), striped.is_full()), (1976, false));
        let rest = striped.fill(rest);
        assert_eq!((rest.len(), striped.is_full()), (952, true));
        assert_eq!(striped.fill(rest).len(), 952, "there is no room");
        let (cells, length) = striped.take_stripe().unwrap();
        assert_eq!((cells.len(), length), (3, 2048));
        assert_eq!((&cells[0][..], &cells[1][..]), (&bytes[..1024], &bytes[1024..2048]));
        assert!((0..1024).all(|at| cells[2][at] == bytes[at] ^ bytes[1024 + at]));
        assert!(striped.fill(rest).is_empty());
        let (cells, length) = striped.take_stripe().unwrap();
        let lengths: Vec<usize> = cells.iter().map(Vec::len).collect();
        assert_eq!((lengths, length), (vec![952, 0, 952], 952));
        assert_eq!(cells[2], bytes[2048..], "the other one counts as zeros");
        assert_eq!(striped.take_stripe().unwrap().1, 0);
        // A cell would end inside a chunk.
        let checksum = DataChecksum::new(hathi_formats::datatransfer::ChecksumType::Crc32c, 1000).unwrap();
        assert!(Striped::of(&policy, &checksum).is_none());
    }
}
