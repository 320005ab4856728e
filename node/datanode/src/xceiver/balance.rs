//! COPY_BLOCK and REPLACE_BLOCK: how the balancer moves replicas (`DataXceiver.copyBlock`, `replaceBlock`).

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hathi_blockpool::NoticeKind;
use hathi_blockpool::recovery::participant::block_of;
use hathi_formats::datatransfer::{Op, PacketBuffer, read_delimited, write_delimited, write_op};
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_formats::proto::hdfs::{BlockOpResponseProto, OpCopyBlockProto, OpReplaceBlockProto, Status};
use hathi_transfer::responses;

use super::receiver::{ReplicaWriter, WriteRequest};
use super::sender::{BlockSender, MissingChecksums};
use super::{After, READ_BUFFER_BYTES, Xceiver, XceiverError, XceiverResult};

/// A move under way. There are at most `dfs.datanode.balance.max.concurrent.moves` at a time.
struct Move<'a>(&'a AtomicUsize);

impl<'a> Move<'a> {
    fn start(moves: &'a AtomicUsize, limit: usize) -> Option<Move<'a>> {
        let moving = Move(moves);
        (moves.fetch_add(1, Ordering::AcqRel) < limit).then_some(moving)
    }
}

impl Drop for Move<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Xceiver {
    pub(super) fn copy_block(&mut self, request: &OpCopyBlockProto) -> XceiverResult<After> {
        let node = self.node.clone();
        let Some(_moving) = Move::start(&node.moves, node.conf.balance_moves) else {
            return self.respond_message(Status::Error, "threads quota is exceeded");
        };
        let pool = node.dataset.pool(&request.header.block.pool_id)?;
        let block = block_of(&request.header.block);
        let sender = BlockSender::open(&pool, block, 0, None, true, MissingChecksums::Refuse)?;
        self.reply(&responses::packets_follow(&sender.checksum(), sender.start()))?;
        sender.send(&self.stream, Some(&node.balance_throttle))?;
        // A last byte says that this DataNode has finished the move.
        self.stream.write_all(&[0, b'd'])?;
        Ok(After::Close)
    }

    pub(super) fn replace_block(&mut self, request: &OpReplaceBlockProto) -> XceiverResult<After> {
        let node = self.node.clone();
        let Some(_moving) = Move::start(&node.moves, node.conf.balance_moves) else {
            return self.respond_message(Status::Error, "threads quota is exceeded");
        };
        let result = self.fetch_replica(request);
        let (status, message) = match &result {
            Ok(()) => (Status::Success, None),
            Err(error) => (
                Status::Error,
                Some(format!(
                    "opReplaceBlock blk_{} received exception {error}",
                    request.header.block.block_id as i64
                )),
            ),
        };
        self.reply(&BlockOpResponseProto {
            status: status as i32,
            message,
            ..BlockOpResponseProto::default()
        })?;
        result.map(|()| After::Close)
    }

    fn fetch_replica(&mut self, request: &OpReplaceBlockProto) -> XceiverResult<()> {
        let node = self.node.clone();
        let source = &request.source.id;
        if source.datanode_uuid == node.dataset.datanode_uuid() {
            return self.move_locally(request);
        }
        let mut proxy = node.connect_xfer(source, node.conf.socket_timeout)?;
        let copy = OpCopyBlockProto {
            header: request.header.clone(),
        };
        write_op(&mut proxy, Op::CopyBlock, &copy)?;
        let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, proxy);
        let answer: BlockOpResponseProto = read_delimited(&mut reader)?;
        let checksum = responses::announced_checksum(&answer)
            .map_err(|error| XceiverError::Protocol(format!("copy block from {} failed: {error}", source.ip_addr)))?;
        let write = WriteRequest {
            block: block_of(&request.header.block),
            stage: Stage::PipelineSetupCreate,
            is_client: false,
            new_gs: 0,
            min_bytes: 0,
            max_bytes: 0,
            storage_type: request.storage_type(),
            checksum,
        };
        let pool = node.dataset.pool(&request.header.block.pool_id)?;
        let mut writer = ReplicaWriter::open(&node, pool, &write)?;
        writer.control().add_socket(reader.get_ref().try_clone()?);
        let received = self.receive_copy(&mut writer, &mut reader);
        if let Err(error) = received {
            writer.abandon_copy();
            return Err(error);
        }
        let block = writer.finalize(false)?;
        writer.notify_received(block, &request.del_hint);
        let mut done = [0; 2];
        let _ = reader.read_exact(&mut done);
        Ok(())
    }

    /// Moves the replica to another volume of this DataNode.
    fn move_locally(&self, request: &OpReplaceBlockProto) -> XceiverResult<()> {
        let node = &self.node;
        let pool = node.dataset.pool(&request.header.block.pool_id)?;
        let block = block_of(&request.header.block);
        let id = request.storage_id.as_deref();
        let moved = node.dataset.move_replica(&pool, block, request.storage_type(), id)?;
        if let Some(volume) = node.dataset.volume(moved.volume) {
            let kind = NoticeKind::Received;
            node.notify(pool.id(), moved.block(), kind, &volume.storage_id, "");
        }
        Ok(())
    }

    fn receive_copy(&mut self, writer: &mut ReplicaWriter, reader: &mut BufReader<TcpStream>) -> XceiverResult<()> {
        let node = self.node.clone();
        let mut packet = PacketBuffer::new(node.conf.max_packet_bytes);
        let mut told = Instant::now();
        loop {
            packet.read_from(reader)?;
            writer.check_header(&packet)?;
            if packet.header().last_packet_in_block {
                return Ok(());
            }
            if packet.header().data_len > 0 {
                writer.verify(&packet)?;
                writer.write(&packet, false)?;
                node.balance_throttle.take(packet.header().data_len.into());
            }
            // The balancer has a time-out, and a throttled move takes long.
            if told.elapsed() > node.conf.socket_timeout / 2 {
                told = Instant::now();
                self.in_progress()?;
            }
        }
    }

    fn in_progress(&mut self) -> io::Result<()> {
        write_delimited(&mut self.stream, &responses::status(Status::InProgress))
    }
}
