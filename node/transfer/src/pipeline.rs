//! A write pipeline: one connection to the first DataNode, which passes the packets on.

use crate::stream::{self, MessageReader, READ_TIMEOUT, READ_TIMEOUT_EXTENSION};
use crate::{PipelineNodes, acks, requests, responses};
use hathi_formats::datatransfer::{DataChecksum, Op, PipelineAck, encode_op};
use hathi_formats::proto::common::TokenProto;
use hathi_formats::proto::hdfs::{
    BlockOpResponseProto, DatanodeInfoProto, ExtendedBlockProto, OpTransferBlockProto, OpWriteBlockProto,
    op_write_block_proto::BlockConstructionStage,
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

/// Purpose of a pipeline.
#[derive(Clone, Debug)]
pub struct PipelineSetup<'a> {
    /// Why it is set up.
    pub stage: BlockConstructionStage,
    /// The block, with its stamp so far.
    pub block: &'a ExtendedBlockProto,
    /// The NameNode's permission.
    pub token: &'a TokenProto,
    /// The generation stamp of this setup. It is the block's own, unless this is a recovery or an append.
    pub generation_stamp: u64,
    /// Bytes that every DataNode has acknowledged.
    pub min_bytes_received: u64,
    /// Bytes that were sent.
    pub max_bytes_received: u64,
}

/// Why a pipeline failed, and which DataNode is to blame if that is known.
#[derive(Debug, thiserror::Error)]
#[error("DataNode {bad:?} of the pipeline: {source}")]
pub struct PipelineError {
    /// Index of the DataNode.
    pub bad: Option<usize>,
    /// What has happened.
    pub source: io::Error,
}

impl PipelineError {
    fn first(source: io::Error) -> Self {
        PipelineError { bad: Some(0), source }
    }
}

/// An open pipeline. Acknowledgements arrive on a channel, read by a task of their own.
#[derive(Debug)]
pub struct Pipeline {
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
    ///
    /// # Errors
    /// When a DataNode can't be reached, or refuses.
    pub async fn open(
        client_name: &str,
        nodes: &PipelineNodes,
        checksum: &DataChecksum,
        setup: PipelineSetup<'_>,
    ) -> Result<Pipeline, PipelineError> {
        let Some(first) = nodes.infos.first() else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "no DataNodes");
            return Err(PipelineError { bad: None, source });
        };
        let mut stream = stream::connect(first).await.map_err(PipelineError::first)?;
        let header = requests::header(setup.block, Some(setup.token), client_name);
        let request = OpWriteBlockProto {
            pipeline_size: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
            min_bytes_rcvd: setup.min_bytes_received,
            max_bytes_rcvd: setup.max_bytes_received,
            latest_generation_stamp: setup.generation_stamp,
            target_pinnings: vec![false; nodes.len().saturating_sub(1)],
            ..requests::write_block(header, nodes, setup.stage, checksum)
        };
        stream
            .write_all(&encode_op(Op::WriteBlock, &request))
            .await
            .map_err(PipelineError::first)?;
        let (read, writer) = stream.into_split();
        let mut incoming = MessageReader::new(read, timeout(nodes.len()));
        let response: BlockOpResponseProto = incoming.message().await.map_err(PipelineError::first)?;
        responses::check(&response).map_err(|source| {
            // The DataNode names the one that it could not reach. Without a name it is itself the bad one.
            let named = response.first_bad_link();
            let bad = nodes.infos.iter().position(|node| node.id.xfer_address() == named);
            PipelineError {
                bad: bad.or(Some(0)),
                source,
            }
        })?;
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

    /// Sends a packet.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send(&mut self, packet: &[u8]) -> Result<(), PipelineError> {
        self.writer.write_all(packet).await.map_err(PipelineError::first)
    }

    /// Waits for the next acknowledgement. Returns its sequence number.
    ///
    /// # Errors
    /// When the connection is broken, or a DataNode does not have the packet.
    pub async fn ack(&mut self) -> Result<i64, PipelineError> {
        let ack = self.acks.recv().await;
        Self::check(ack.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into())))
    }

    /// An acknowledgement that is already there.
    pub fn ack_now(&mut self) -> Option<Result<i64, PipelineError>> {
        self.acks.try_recv().ok().map(Self::check)
    }

    fn check(ack: io::Result<PipelineAck>) -> Result<i64, PipelineError> {
        let ack = ack.map_err(PipelineError::first)?;
        match acks::first_failure(&ack) {
            None => Ok(ack.seqno),
            Some((index, status)) => Err(PipelineError {
                bad: Some(index),
                source: io::Error::other(format!("packet {} was answered {status:?}", ack.seqno)),
            }),
        }
    }
}

fn timeout(nodes: usize) -> Duration {
    READ_TIMEOUT + READ_TIMEOUT_EXTENSION * u32::try_from(nodes).unwrap_or(0)
}

/// Copies a replica that is being written from one DataNode to others, which replace lost ones.
///
/// # Errors
/// When a DataNode can't be reached, or refuses.
pub async fn transfer(
    client_name: &str,
    source: &DatanodeInfoProto,
    targets: &PipelineNodes,
    block: &ExtendedBlockProto,
    token: &TokenProto,
) -> io::Result<()> {
    let mut stream = stream::connect(source).await?;
    let request = OpTransferBlockProto {
        header: requests::header(block, Some(token), client_name),
        targets: targets.infos.clone(),
        target_storage_types: targets.storage_types.clone(),
        target_storage_ids: targets.storage_ids.clone(),
    };
    stream.write_all(&encode_op(Op::TransferBlock, &request)).await?;
    let response: BlockOpResponseProto = MessageReader::new(stream, timeout(2)).message().await?;
    responses::check(&response)
}
