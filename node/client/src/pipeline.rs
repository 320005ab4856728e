//! A write pipeline: one connection to the first DataNode, which passes the packets on.

use crate::filesystem::FileSystemOptions;
use crate::stream::{self, MessageReader, READ_TIMEOUT, READ_TIMEOUT_EXTENSION};
use hathi_formats::datatransfer::{DataChecksum, Op, PipelineAck, encode_op};
use hathi_formats::proto::common::TokenProto;
use hathi_formats::proto::hdfs::{
    BaseHeaderProto, BlockOpResponseProto, ClientOperationHeaderProto, DatanodeInfoProto, ExtendedBlockProto,
    OpTransferBlockProto, OpWriteBlockProto, Status, op_write_block_proto::BlockConstructionStage,
};
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Most acknowledgements that wait to be handled. Further ones stay in the socket. A DataNode has no reason to send
/// more acknowledgements than there are packets on their way.
const ACKS_MAX: usize = 256;

/// The DataNodes of a block, in pipeline order, with the storage that each uses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nodes {
    pub(crate) infos: Vec<DatanodeInfoProto>,
    pub(crate) storage_types: Vec<i32>,
    pub(crate) storage_ids: Vec<String>,
}

impl Nodes {
    pub(crate) fn len(&self) -> usize {
        self.infos.len()
    }

    pub(crate) fn remove(&mut self, index: usize) -> DatanodeInfoProto {
        if index < self.storage_types.len() {
            self.storage_types.remove(index);
        }
        if index < self.storage_ids.len() {
            self.storage_ids.remove(index);
        }
        self.infos.remove(index)
    }

    /// Each DataNode by itself.
    pub(crate) fn each(&self) -> impl Iterator<Item = Nodes> {
        (0..self.len()).map(|index| self.only(index))
    }

    fn only(&self, index: usize) -> Nodes {
        Nodes {
            infos: self.infos.get(index).cloned().into_iter().collect(),
            storage_types: self.storage_types.get(index).copied().into_iter().collect(),
            storage_ids: self.storage_ids.get(index).cloned().into_iter().collect(),
        }
    }

    /// The DataNode in an answer of `getAdditionalDatanode` that is not one of these.
    ///
    /// Hadoop's NameNodes return these and the new one in any order. Other NameNodes return only the new one.
    pub(crate) fn added_by(&self, answered: &Nodes) -> Option<Nodes> {
        let known = |node: &DatanodeInfoProto| {
            let uuid = &node.id.datanode_uuid;
            self.infos.iter().any(|other| other.id.datanode_uuid == *uuid)
        };
        let index = answered.infos.iter().position(|node| !known(node))?;
        Some(answered.only(index))
    }

    pub(crate) fn append(&mut self, added: Nodes) {
        self.infos.extend(added.infos);
        self.storage_types.extend(added.storage_types);
        self.storage_ids.extend(added.storage_ids);
    }

    pub(crate) fn names(&self) -> String {
        let names: Vec<String> = self.infos.iter().map(stream::address).collect();
        format!("[{}]", names.join(", "))
    }
}

/// Purpose of a pipeline.
#[derive(Clone, Debug)]
pub(crate) struct PipelineSetup<'a> {
    pub(crate) stage: BlockConstructionStage,
    pub(crate) block: &'a ExtendedBlockProto,
    pub(crate) token: &'a TokenProto,
    /// The generation stamp of this setup. It is the block's own, unless this is a recovery or an append.
    pub(crate) generation_stamp: u64,
    pub(crate) min_bytes_received: u64,
    pub(crate) max_bytes_received: u64,
}

/// Why a pipeline failed, and which DataNode is to blame if that is known.
#[derive(Debug, thiserror::Error)]
#[error("DataNode {bad:?} of the pipeline: {source}")]
pub(crate) struct PipelineError {
    pub(crate) bad: Option<usize>,
    pub(crate) source: io::Error,
}

impl PipelineError {
    fn first(source: io::Error) -> Self {
        PipelineError { bad: Some(0), source }
    }
}

/// An open pipeline. Acknowledgements arrive on a channel, read by a task of their own.
#[derive(Debug)]
pub(crate) struct Pipeline {
    writer: OwnedWriteHalf,
    acks: mpsc::Receiver<io::Result<PipelineAck>>,
    reader: JoinHandle<()>,
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Pipeline {
    /// Connects all DataNodes of a block.
    pub(crate) async fn open(
        options: &FileSystemOptions,
        nodes: &Nodes,
        checksum: &DataChecksum,
        setup: PipelineSetup<'_>,
    ) -> Result<Pipeline, PipelineError> {
        let Some((first, targets)) = nodes.infos.split_first() else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "no DataNodes");
            return Err(PipelineError { bad: None, source });
        };
        let mut stream = stream::connect(first)
            .await
            .map_err(|error| PipelineError::first(io::Error::other(error)))?;
        let request = OpWriteBlockProto {
            header: ClientOperationHeaderProto {
                base_header: BaseHeaderProto {
                    block: setup.block.clone(),
                    token: Some(setup.token.clone()),
                    trace_info: None,
                },
                client_name: options.client_name.clone(),
            },
            targets: targets.to_vec(),
            source: None,
            stage: setup.stage.into(),
            pipeline_size: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
            min_bytes_rcvd: setup.min_bytes_received,
            max_bytes_rcvd: setup.max_bytes_received,
            latest_generation_stamp: setup.generation_stamp,
            requested_checksum: checksum.to_proto(),
            caching_strategy: None,
            storage_type: nodes.storage_types.first().copied(),
            target_storage_types: nodes.storage_types.iter().skip(1).copied().collect(),
            allow_lazy_persist: Some(false),
            pinning: Some(false),
            target_pinnings: vec![false; targets.len()],
            storage_id: nodes.storage_ids.first().cloned(),
            target_storage_ids: nodes.storage_ids.iter().skip(1).cloned().collect(),
        };
        stream
            .write_all(&encode_op(Op::WriteBlock, &request))
            .await
            .map_err(PipelineError::first)?;
        let (read, writer) = stream.into_split();
        let mut incoming = MessageReader::new(read, timeout(nodes.len()));
        let response: BlockOpResponseProto = incoming.message().await.map_err(PipelineError::first)?;
        if response.status() != Status::Success {
            // The DataNode names the one that it could not reach. Without a name it is itself the bad one.
            let named = response.first_bad_link();
            let bad = nodes.infos.iter().position(|node| stream::address(node) == named);
            let problem = format!("{:?}: {}", response.status(), response.message());
            return Err(PipelineError {
                bad: bad.or(Some(0)),
                source: io::Error::other(problem),
            });
        }
        let (sender, acks) = mpsc::channel(ACKS_MAX);
        let reader = tokio::spawn(async move {
            loop {
                let ack = incoming.ack().await;
                let last = ack.is_err();
                if sender.send(ack).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Pipeline { writer, acks, reader })
    }

    /// Sends a packet, unless an acknowledgement meanwhile says that the pipeline has failed.
    pub(crate) async fn send(&mut self, packet: &[u8]) -> Result<(), PipelineError> {
        self.writer.write_all(packet).await.map_err(PipelineError::first)
    }

    /// The next acknowledgement's sequence number.
    pub(crate) async fn ack(&mut self) -> Result<i64, PipelineError> {
        let ack = self.acks.recv().await;
        Self::check(ack.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into())))
    }

    /// An acknowledgement that is already there.
    pub(crate) fn ack_now(&mut self) -> Option<Result<i64, PipelineError>> {
        self.acks.try_recv().ok().map(Self::check)
    }

    fn check(ack: io::Result<PipelineAck>) -> Result<i64, PipelineError> {
        let ack = ack.map_err(PipelineError::first)?;
        for (index, reply) in ack.replies.iter().enumerate() {
            let status = PipelineAck::status_of(*reply);
            if status != Status::Success {
                return Err(PipelineError {
                    bad: Some(index),
                    source: io::Error::other(format!("packet {} was answered {status:?}", ack.seqno)),
                });
            }
        }
        Ok(ack.seqno)
    }
}

fn timeout(nodes: usize) -> Duration {
    READ_TIMEOUT + READ_TIMEOUT_EXTENSION * u32::try_from(nodes).unwrap_or(0)
}

/// Copies a replica that is being written from one DataNode to others, which replace lost ones.
pub(crate) async fn transfer(
    options: &FileSystemOptions,
    source: &DatanodeInfoProto,
    targets: &Nodes,
    block: &ExtendedBlockProto,
    token: &TokenProto,
) -> io::Result<()> {
    let mut stream = stream::connect(source).await.map_err(io::Error::other)?;
    let request = OpTransferBlockProto {
        header: ClientOperationHeaderProto {
            base_header: BaseHeaderProto {
                block: block.clone(),
                token: Some(token.clone()),
                trace_info: None,
            },
            client_name: options.client_name.clone(),
        },
        targets: targets.infos.clone(),
        target_storage_types: targets.storage_types.clone(),
        target_storage_ids: targets.storage_ids.clone(),
    };
    stream.write_all(&encode_op(Op::TransferBlock, &request)).await?;
    let response: BlockOpResponseProto = MessageReader::new(stream, timeout(2)).message().await?;
    if response.status() == Status::Success {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "{:?}: {}",
            response.status(),
            response.message()
        )))
    }
}
