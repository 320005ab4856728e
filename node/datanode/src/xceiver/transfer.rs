//! Copies of replicas to other DataNodes: for a pipeline under recovery (TRANSFER_BLOCK) and for replication
//! (`DataNode.DataTransfer`).

use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hathi_blockpool::recovery::participant::block_of;
use hathi_blockpool::{ReplicaError, ReplicaState};
use hathi_formats::datatransfer::{Op, read_delimited, write_op};
use hathi_formats::ids::Block;
use hathi_formats::proto::common::TokenProto;
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_formats::proto::hdfs::{
    CachingStrategyProto, DnTransferAckProto, OpTransferBlockProto, OpWriteBlockProto, Status,
};
use hathi_transfer::stream::READ_TIMEOUT_EXTENSION;
use hathi_transfer::{PipelineNodes, requests, responses};

use super::sender::{BlockSender, MissingChecksums};
use super::{After, Xceiver, XceiverError, XceiverResult};
use crate::node::DataNode;
use crate::pool::Pool;

/// Sends a whole replica to `targets`. With a client's name the first target confirms that it has all of it.
pub fn transfer(
    node: &Arc<DataNode>,
    pool: &Pool,
    block: Block,
    stage: Stage,
    client_name: &str,
    targets: &PipelineNodes,
    token: Option<TokenProto>,
) -> XceiverResult<()> {
    let Some(first) = targets.infos.first() else {
        return Err(XceiverError::Protocol("a transfer without targets".to_owned()));
    };
    let sender = BlockSender::open(pool, block, 0, Some(block.num_bytes), true, MissingChecksums::Refuse)?;
    let count = u32::try_from(targets.len()).unwrap_or(u32::MAX);
    let timeout = node.conf.socket_timeout * count + READ_TIMEOUT_EXTENSION * (count - 1);
    let mut stream = node.connect_xfer(&first.id, timeout)?;
    let header = requests::header(&pool.extended(block), token.as_ref(), client_name);
    let request = OpWriteBlockProto {
        source: Some(node.own_info()),
        caching_strategy: Some(CachingStrategyProto {
            drop_behind: Some(true),
            readahead: None,
        }),
        ..requests::write_block(header, targets, stage, &sender.checksum())
    };
    write_op(&mut stream, Op::WriteBlock, &request)?;
    sender.send(&stream, None)?;
    if !client_name.is_empty() {
        let ack: DnTransferAckProto = read_delimited(&mut BufReader::new(&stream))?;
        if ack.status() != Status::Success {
            return Err(XceiverError::Protocol(format!(
                "Bad connect ack, targets={} status={:?}",
                first.id.ip_addr,
                ack.status()
            )));
        }
    }
    node.metrics.blocks_replicated.fetch_add(1, Ordering::Relaxed);
    tracing::info!(block = %block.id, bytes = block.num_bytes, target = %first.id.ip_addr, port = first.id.xfer_port, "transmitted");
    Ok(())
}

/// Counts a transfer under way, for heartbeats.
pub struct XmitGuard<'a>(&'a DataNode);

impl<'a> XmitGuard<'a> {
    /// Begins a transfer.
    #[must_use]
    pub fn new(node: &'a DataNode) -> XmitGuard<'a> {
        node.xmits.fetch_add(1, Ordering::AcqRel);
        XmitGuard(node)
    }
}

impl Drop for XmitGuard<'_> {
    fn drop(&mut self) {
        self.0.xmits.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Xceiver {
    /// Copies this DataNode's replica to another DataNode, for a client in the middle of a pipeline recovery
    /// (`transferReplicaForPipelineRecovery`).
    pub(super) fn transfer_block(&mut self, request: &OpTransferBlockProto) -> XceiverResult<After> {
        let base = &request.header.base_header;
        let pool = self.node.dataset.pool(&base.block.pool_id)?;
        let asked = block_of(&base.block);
        let invalid = |text: String| XceiverError::Pool(ReplicaError::Invalid(text).into());
        let replica = pool
            .get(asked.id)
            .filter(|replica| replica.generation_stamp >= asked.generation_stamp)
            .ok_or_else(|| invalid(format!("{} has no replica that new", asked.id)))?;
        let stage = match replica.state {
            ReplicaState::Rbw => Stage::TransferRbw,
            ReplicaState::Finalized => Stage::TransferFinalized,
            _ => {
                return Err(invalid(format!(
                    "{} is neither a RBW nor a Finalized",
                    replica.describe()
                )));
            }
        };
        let visible = replica.visible_length().unwrap_or(0);
        if visible < asked.num_bytes {
            return Err(invalid(format!(
                "{visible} = visible < b.getNumBytes() = {}",
                asked.num_bytes
            )));
        }
        let block = Block {
            num_bytes: visible,
            ..replica.block()
        };
        let targets = PipelineNodes {
            infos: request.targets.clone(),
            storage_types: request.target_storage_types.clone(),
            storage_ids: request.target_storage_ids.clone(),
        };
        let node = self.node.clone();
        let _counted = XmitGuard::new(&node);
        if !targets.is_empty() {
            transfer(
                &node,
                &pool,
                block,
                stage,
                &request.header.client_name,
                &targets,
                base.token.clone(),
            )?;
        }
        self.reply(&responses::status(Status::Success))?;
        Ok(After::Close)
    }
}
