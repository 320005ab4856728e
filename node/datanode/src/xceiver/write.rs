//! WRITE_BLOCK: sets a pipeline up and receives a block (`DataXceiver.writeBlock`, `BlockReceiver.receiveBlock`).

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use hathi_blockpool::Replica;
use hathi_blockpool::recovery::participant::block_of;
use hathi_formats::datatransfer::{Op, PacketBuffer, encode_delimited, read_delimited, write_op};
use hathi_formats::ids::{Block, GenerationStamp};
use hathi_formats::proto::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hathi_formats::proto::hdfs::{BlockOpResponseProto, OpWriteBlockProto, Status};
use hathi_transfer::stream::{ConnectOptions, READ_TIMEOUT_EXTENSION, connect_blocking, non_zero};
use hathi_transfer::{acks, requests, responses};

use super::receiver::{ReplicaWriter, WriteRequest};
use super::responder::{AckQueue, PacketResponder, Written};
use super::{READ_BUFFER_BYTES, STACK_BYTES, Xceiver, XceiverError, XceiverResult};
use crate::node::DataNode;
use crate::pool::Pool;

/// The connection to the next DataNode.
struct Mirror {
    out: TcpStream,
    input: BufReader<TcpStream>,
}

/// The parts of a write that stay the same for all its packets.
struct Reception<'a> {
    writer: ReplicaWriter,
    mirror: Option<TcpStream>,
    queue: Option<Arc<AckQueue>>,
    // Stream for acknowledgements. Only writes by clients have them.
    acks: Option<&'a TcpStream>,
    verify: bool,
}

impl Xceiver {
    pub(super) fn write_block(&mut self, proto: OpWriteBlockProto) -> XceiverResult<()> {
        let header = &proto.header.base_header.block;
        let stage = Stage::try_from(proto.stage)
            .map_err(|_| XceiverError::Protocol(format!("unknown stage {}", proto.stage)))?;
        let request = WriteRequest {
            block: block_of(header),
            stage,
            is_client: !proto.header.client_name.is_empty(),
            new_gs: proto.latest_generation_stamp,
            min_bytes: proto.min_bytes_rcvd,
            max_bytes: proto.max_bytes_rcvd,
            storage_type: proto.storage_type(),
            checksum: responses::usable(&proto.requested_checksum)
                .map_err(|error| XceiverError::Protocol(error.to_string()))?,
        };
        if request.is_transfer() && !proto.targets.is_empty() {
            return Err(XceiverError::Protocol(format!(
                "{stage:?} does not support multiple targets"
            )));
        }
        let pool = self.node.dataset.pool(&header.pool_id)?;
        tracing::debug!(
            block = %request.block.id, stamp = %request.block.generation_stamp, ?stage, peer = %self.peer,
            targets = proto.targets.len(), "receiving"
        );
        if request.is_client && stage == Stage::PipelineCloseRecovery {
            return self.close_recovery(&pool, &request, &proto);
        }
        let writer = ReplicaWriter::open(&self.node, pool, &request)?;
        writer.control().add_socket(self.stream.try_clone()?);
        let mirror = self.connect_mirror(&proto, request.is_client)?;
        if let Some(mirror) = &mirror {
            writer.control().add_socket(mirror.out.try_clone()?);
        }
        let result = self.receive(writer, mirror, &request, &proto);
        if result.is_ok() && request.is_transfer() {
            self.reply(&responses::success())?;
        }
        result
    }

    /// Gives the replica its new stamp. The block is complete on every DataNode, only the last acknowledgement was
    /// lost.
    fn close_recovery(
        &mut self,
        pool: &Arc<Pool>,
        request: &WriteRequest,
        proto: &OpWriteBlockProto,
    ) -> XceiverResult<()> {
        let new_gs = GenerationStamp(request.new_gs);
        let changed = self.node.dataset.transition(pool, request.block.id, |map| {
            map.recover_close(request.block, new_gs, request.min_bytes).map(Some)
        })?;
        self.connect_mirror(proto, true)?;
        let answer = self.mirror_answer.take().unwrap_or_else(responses::success);
        self.reply(&answer)?;
        if let Some((_, Some(replica))) = changed {
            self.notify_complete(pool, &replica);
        }
        Ok(())
    }

    fn notify_complete(&self, pool: &Pool, replica: &Replica) {
        if let Some(volume) = self.node.dataset.volume(replica.volume) {
            let kind = hathi_blockpool::NoticeKind::Received;
            self.node
                .notify(pool.id(), replica.block(), kind, &volume.storage_id, "");
        }
    }

    /// Connects to the next DataNode, if there is one, and asks it to join. If that fails, a client is told at once
    /// which DataNode failed, and a replication goes on without the DataNodes further down. The next DataNode's answer
    /// is kept for the reply upstream.
    fn connect_mirror(&mut self, proto: &OpWriteBlockProto, is_client: bool) -> XceiverResult<Option<Mirror>> {
        self.mirror_answer = None;
        let Some(target) = proto.targets.first() else {
            return Ok(None);
        };
        let next = requests::passed_on(proto);
        let further = u32::try_from(proto.targets.len()).unwrap_or(u32::MAX);
        let connected = (|| {
            let conf = &self.node.conf;
            let timeout = conf.socket_timeout + READ_TIMEOUT_EXTENSION * further;
            let mut out = self.node.connect_xfer(&target.id, timeout)?;
            out.set_write_timeout(non_zero(conf.socket_write_timeout + READ_TIMEOUT_EXTENSION * further))?;
            let mut input = BufReader::with_capacity(READ_BUFFER_BYTES, out.try_clone()?);
            write_op(&mut out, Op::WriteBlock, &next)?;
            let answer = if is_client {
                Some(read_delimited::<BlockOpResponseProto>(&mut input)?)
            } else {
                None
            };
            io::Result::Ok((Mirror { out, input }, answer))
        })();
        match connected {
            Ok((mirror, answer)) => {
                self.mirror_answer = answer.map(|answer| BlockOpResponseProto {
                    status: answer.status,
                    first_bad_link: Some(answer.first_bad_link.unwrap_or_default()),
                    ..BlockOpResponseProto::default()
                });
                Ok(Some(mirror))
            }
            Err(error) if is_client => {
                tracing::info!(block = proto.header.base_header.block.block_id, %error, "cannot reach the next DataNode");
                self.reply(&BlockOpResponseProto {
                    status: Status::Error as i32,
                    first_bad_link: Some(target.id.xfer_address()),
                    ..BlockOpResponseProto::default()
                })?;
                Err(error.into())
            }
            Err(error) => {
                tracing::info!(%error, "replication goes on without the next DataNode");
                Ok(None)
            }
        }
    }

    fn receive(
        &mut self,
        writer: ReplicaWriter,
        mirror: Option<Mirror>,
        request: &WriteRequest,
        proto: &OpWriteBlockProto,
    ) -> XceiverResult<()> {
        let acks = request.is_client && !request.is_transfer();
        if acks {
            let answer = self.mirror_answer.take().unwrap_or_else(responses::success);
            self.reply(&answer)?;
        }
        let mut mirror_out = None;
        let mut responder = None;
        if let Some(mirror) = mirror {
            if acks {
                responder = Some(self.start_responder(&writer, &mirror.out, mirror.input)?);
            }
            mirror_out = Some(mirror.out);
        }
        let verify = mirror_out.is_none() || !request.is_client || writer.translates();
        let mut reception = Reception {
            writer,
            mirror: mirror_out,
            queue: responder.as_ref().map(|(queue, _)| queue.clone()),
            acks: (acks && responder.is_none()).then_some(&self.stream),
            verify,
        };
        let mut result = reception.receive_all(&mut self.reader, self.node.conf.max_packet_bytes, acks);
        if let Some((queue, thread)) = responder {
            if result.is_err() {
                queue.close();
                if let Some(mirror) = &reception.mirror {
                    let _ = mirror.shutdown(Shutdown::Both);
                }
                let _ = self.stream.shutdown(Shutdown::Both);
            }
            let _ = thread.join();
        }
        let writer = &mut reception.writer;
        if result.is_ok() && !acks {
            result = finish_copy(writer, request, proto);
        }
        if let Err(error) = &result {
            if !acks {
                writer.abandon_copy();
            }
            if let (XceiverError::Checksum(_), false, Some(source)) = (error, request.is_client, &proto.source) {
                self.node.report_remote_bad_block(&writer.pool, writer.block, source);
            }
        }
        result
    }

    fn start_responder(
        &self,
        writer: &ReplicaWriter,
        mirror: &TcpStream,
        downstream: BufReader<TcpStream>,
    ) -> XceiverResult<(Arc<AckQueue>, std::thread::JoinHandle<()>)> {
        let queue = Arc::new(AckQueue::default());
        // An idle pipeline carries two heartbeats in this time.
        mirror.set_read_timeout(non_zero(self.node.conf.socket_timeout + READ_TIMEOUT_EXTENSION))?;
        let responder = PacketResponder {
            queue: queue.clone(),
            pool: writer.pool.clone(),
            block: writer.block.id,
            writer: writer.control().id,
            downstream,
            upstream: self.stream.try_clone()?,
        };
        let thread = std::thread::Builder::new()
            .name("responder".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || responder.run())?;
        Ok((queue, thread))
    }
}

impl Reception<'_> {
    fn receive_all(
        &mut self,
        reader: &mut BufReader<TcpStream>,
        max_packet_bytes: usize,
        client: bool,
    ) -> XceiverResult<()> {
        let mut packet = PacketBuffer::new(max_packet_bytes);
        loop {
            packet.read_ahead_from(reader)?;
            if self.writer.control().is_stopped() {
                return Err(XceiverError::Stopped);
            }
            if self.receive_packet(&packet, client)? {
                return Ok(());
            }
        }
    }

    /// Handles a packet. Returns true for the last one.
    fn receive_packet(&mut self, packet: &PacketBuffer, client: bool) -> XceiverResult<bool> {
        let header = *packet.header();
        let has_data = header.data_len > 0 && !header.last_packet_in_block;
        self.writer.check_header(packet)?;
        if let Some(mirror) = &mut self.mirror
            && let Err(error) = mirror.write_all(packet.as_bytes())
        {
            // The responder notices it too and tells the client, which then ends this pipeline.
            tracing::info!(block = %self.writer.block.id, %error, "cannot write to the next DataNode");
            let _ = mirror.shutdown(Shutdown::Both);
            self.mirror = None;
        }
        let end = header.offset_in_block + u64::from(header.data_len);
        let written = Written {
            seqno: header.seqno,
            end,
            last: header.last_packet_in_block,
        };
        if has_data {
            if self.verify
                && let Err(error) = self.writer.verify(packet)
            {
                self.acknowledge(&written, Status::ErrorChecksum)?;
                return Err(error);
            }
            self.writer.write(packet, self.queue.is_none() && client)?;
        } else if header.sync_block {
            self.writer.sync()?;
        }
        if header.last_packet_in_block && client {
            // Every DataNode must have all data before the replica is finalized.
            if let Some(queue) = &self.queue
                && !queue.wait_drained()
            {
                return Err(XceiverError::Protocol(
                    "the pipeline broke before the block was complete".to_owned(),
                ));
            }
            let block = self.writer.finalize(header.sync_block)?;
            self.writer.notify_received(block, "");
        }
        self.acknowledge(&written, Status::Success)?;
        Ok(header.last_packet_in_block)
    }

    fn acknowledge(&mut self, written: &Written, status: Status) -> XceiverResult<()> {
        if let Some(mut out) = self.acks {
            let ack = acks::last(written.seqno, status);
            out.write_all(&encode_delimited(&ack.to_proto()))?;
        } else if let Some(queue) = &self.queue
            && status == Status::Success
        {
            queue.push(*written);
        }
        Ok(())
    }
}

/// Turns a complete copy into the replica that it was made for.
fn finish_copy(writer: &mut ReplicaWriter, request: &WriteRequest, proto: &OpWriteBlockProto) -> XceiverResult<()> {
    if request.stage == Stage::TransferRbw {
        return writer.convert_to_rbw(proto.header.base_header.block.num_bytes.unwrap_or(0));
    }
    let block: Block = writer.finalize(false)?;
    if !request.is_client {
        writer.notify_received(block, "");
    }
    Ok(())
}

impl DataNode {
    /// Connects to another DataNode's data transfer port.
    pub fn connect_xfer(
        &self,
        id: &hathi_formats::proto::hdfs::DatanodeIdProto,
        timeout: std::time::Duration,
    ) -> io::Result<TcpStream> {
        let options = ConnectOptions {
            via_hostname: self.conf.connect_via_hostname,
            read_timeout: timeout,
            write_timeout: self.conf.socket_write_timeout,
        };
        connect_blocking(id, options)
    }
}
