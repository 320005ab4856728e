//! Passes acknowledgements from further down the pipeline on, with this DataNode's own status
//! (`BlockReceiver.PacketResponder`).
//!
//! The last DataNode of a pipeline needs no responder: it acknowledges right after writing. The others pass packets on
//! before they write them. So an acknowledgement from downstream may arrive before this DataNode has written the
//! packet.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use hathi_blockpool::WriterId;
use hathi_formats::datatransfer::{PipelineAck, UNKNOWN_SEQNO, encode_delimited};
use hathi_formats::ids::BlockId;
use hathi_formats::proto::hdfs::Status;
use hathi_transfer::acks;
use parking_lot::{Condvar, Mutex};

use crate::pool::Pool;

/// A packet that this DataNode has written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) seqno: i64,
    /// Offset in the block of the end of the packet's data.
    pub(super) end: u64,
    pub(super) last: bool,
}

#[derive(Debug, Default)]
struct Queue {
    written: VecDeque<Written>,
    // The receiver has failed, so nothing more is acknowledged.
    closed: bool,
    // The responder has ended.
    ended: bool,
}

/// State that receiver and responder share.
#[derive(Debug, Default)]
pub(super) struct AckQueue {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl AckQueue {
    /// Adds a packet that the receiver has written.
    pub(super) fn push(&self, written: Written) {
        self.queue.lock().written.push_back(written);
        self.changed.notify_all();
    }

    /// Waits until all written packets are acknowledged downstream. Returns false when the responder has ended.
    pub(super) fn wait_drained(&self) -> bool {
        let mut queue = self.queue.lock();
        while !queue.written.is_empty() && !queue.ended {
            self.changed.wait(&mut queue);
        }
        queue.written.is_empty()
    }

    /// Ends the responder after the receiver has failed.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.changed.notify_all();
    }

    fn wait_head(&self) -> Option<Written> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(head) = queue.written.front() {
                return Some(*head);
            }
            self.changed.wait(&mut queue);
        }
    }

    fn pop(&self) {
        self.queue.lock().written.pop_front();
        self.changed.notify_all();
    }

    fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }
}

/// The responder of one block.
pub(super) struct PacketResponder {
    pub(super) queue: Arc<AckQueue>,
    pub(super) pool: Arc<Pool>,
    pub(super) block: BlockId,
    pub(super) writer: WriterId,
    pub(super) downstream: BufReader<TcpStream>,
    pub(super) upstream: TcpStream,
}

impl PacketResponder {
    /// Runs until the last packet is acknowledged or an error occurs.
    pub(super) fn run(mut self) {
        if let Err(error) = self.relay() {
            tracing::debug!(block = %self.block, %error, "responder ended");
            // Closing makes the receiver and the upstream peer notice.
            if !self.queue.is_closed() {
                let _ = self.upstream.shutdown(Shutdown::Both);
            }
        }
        self.queue.queue.lock().ended = true;
        self.queue.changed.notify_all();
    }

    fn relay(&mut self) -> io::Result<()> {
        loop {
            let ack = match PipelineAck::read(&mut self.downstream) {
                Ok(ack) => ack,
                Err(error) => return self.report_broken_mirror(&error),
            };
            if ack.seqno == UNKNOWN_SEQNO {
                // This answers no packet: it announces a restart, or says that a DataNode further down is gone.
                self.send(&acks::passed_on(&ack))?;
                continue;
            }
            if ack.status(0) == Some(Status::ErrorChecksum) {
                // The next DataNode got corrupt data from this one, so this DataNode is at fault. It ends without an
                // acknowledgement, so that the DataNode before it reports it as bad.
                return Err(io::Error::other("the next DataNode got corrupt data from this one"));
            }
            let Some(written) = self.queue.wait_head() else {
                return Ok(());
            };
            if ack.seqno != written.seqno {
                return Err(io::Error::other(format!(
                    "seqno: expected={}, received={}",
                    written.seqno, ack.seqno
                )));
            }
            let reply = acks::passed_on(&ack);
            if reply.is_success() {
                let _ = self.pool.progress(self.block, self.writer, |_, progress| {
                    progress.bytes_acked = progress.bytes_acked.max(written.end.min(progress.bytes_on_disk));
                });
            }
            self.send(&reply)?;
            self.queue.pop();
            if written.last {
                return Ok(());
            }
        }
    }

    /// Reports to the client that the next DataNode is gone. The client then ends the pipeline.
    fn report_broken_mirror(&mut self, error: &io::Error) -> io::Result<()> {
        if self.queue.is_closed() {
            return Ok(());
        }
        tracing::info!(block = %self.block, %error, "connection to the next DataNode broke");
        self.send(&acks::next_is_gone())
    }

    fn send(&mut self, ack: &PipelineAck) -> io::Result<()> {
        self.upstream.write_all(&encode_delimited(&ack.to_proto()))
    }
}
