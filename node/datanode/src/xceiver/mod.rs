//! The data transfer server: one blocking thread per connection (`DataXceiverServer`, `DataXceiver`).

mod balance;
mod checksum;
mod group_checksum;
pub mod receiver;
mod responder;
pub mod sender;
pub mod transfer;
mod write;

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hathi_formats::datatransfer::{OpRequest, read_request, write_delimited};
use hathi_formats::proto::hdfs::{
    BlockOpResponseProto, ReleaseShortCircuitAccessResponseProto, ShortCircuitShmResponseProto, Status,
};
use hathi_transfer::responses;
use hathi_transfer::stream::non_zero;

use crate::node::DataNode;
use crate::pool::PoolError;

/// Stack of the threads that serve connections, in bytes. Their buffers are on the heap.
const STACK_BYTES: usize = 256 << 10;
/// Size of the buffer for requests and packets from a socket, in bytes.
const READ_BUFFER_BYTES: usize = 32 << 10;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum XceiverError {
    /// The connection failed.
    #[error("{0}")]
    Network(#[from] io::Error),
    /// The operation on the replica failed.
    #[error("{0}")]
    Pool(#[from] PoolError),
    /// The request contradicts itself or the protocol.
    #[error("{0}")]
    Protocol(String),
    /// The received data does not match its checksums.
    #[error("{0}")]
    Checksum(String),
    /// This writer was stopped.
    #[error("the writer was stopped")]
    Stopped,
}

type XceiverResult<T> = Result<T, XceiverError>;

/// Whether the connection may carry another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    KeepAlive,
    Close,
}

/// One connection.
struct Xceiver {
    node: Arc<DataNode>,
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    peer: SocketAddr,
    // Answer of the next DataNode of a pipeline, to be passed upstream.
    mirror_answer: Option<BlockOpResponseProto>,
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Accepts connections on a thread of its own until the listener is shut down.
pub fn serve(node: Arc<DataNode>, listener: TcpListener) -> io::Result<()> {
    std::thread::Builder::new()
        .name("xceiver-accept".to_owned())
        .spawn(move || accept_all(&node, &listener))?;
    Ok(())
}

fn accept_all(node: &Arc<DataNode>, listener: &TcpListener) {
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                if node.is_stopping() {
                    return;
                }
                // There are no free descriptors: this gives other connections time to close.
                tracing::warn!(%error, "cannot accept a connection");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if node.is_stopping() {
            return;
        }
        let limit = node.conf.max_transfer_threads;
        if node.xceivers.fetch_add(1, Ordering::AcqRel) >= limit {
            node.xceivers.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(%peer, limit, "Xceiver count exceeds the limit of concurrent xceivers");
            continue;
        }
        let served = node.clone();
        let spawned = std::thread::Builder::new()
            .name("xceiver".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                if let Err(error) = Xceiver::open(served.clone(), stream, peer).and_then(Xceiver::run) {
                    tracing::debug!(%peer, %error, "connection ended");
                }
                served.xceivers.fetch_sub(1, Ordering::AcqRel);
            });
        if let Err(error) = spawned {
            node.xceivers.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(%error, "cannot start a thread for a connection");
        }
    }
}

impl Xceiver {
    fn open(node: Arc<DataNode>, stream: TcpStream, peer: SocketAddr) -> io::Result<Xceiver> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(non_zero(node.conf.socket_write_timeout))?;
        let reader = BufReader::with_capacity(READ_BUFFER_BYTES, stream.try_clone()?);
        Ok(Xceiver {
            node,
            stream,
            reader,
            peer,
            mirror_answer: None,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut first = true;
        loop {
            let patience = if first {
                self.node.conf.socket_timeout
            } else {
                self.node.conf.keepalive
            };
            self.stream.set_read_timeout(non_zero(patience))?;
            let request = match read_request(&mut WholeRequest::new(&mut self.reader)) {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(error) if is_timeout(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            self.stream.set_read_timeout(non_zero(self.node.conf.socket_timeout))?;
            match self.serve(request) {
                Ok(After::KeepAlive) if !self.node.conf.keepalive.is_zero() => {}
                Ok(_) => return Ok(()),
                Err(error) => {
                    match &error {
                        XceiverError::Network(_) | XceiverError::Stopped => {
                            tracing::debug!(peer = %self.peer, %error, "request ended");
                        }
                        _ => tracing::warn!(peer = %self.peer, %error, "request failed"),
                    }
                    if let XceiverError::Pool(PoolError::Disk { volume, source }) = &error {
                        self.node.on_disk_error(*volume, source);
                    }
                    return Ok(());
                }
            }
            first = false;
        }
    }

    fn serve(&mut self, request: OpRequest) -> XceiverResult<After> {
        let metrics = &self.node.metrics;
        match request {
            OpRequest::ReadBlock(request) => {
                metrics.reads.fetch_add(1, Ordering::Relaxed);
                self.read_block(&request)
            }
            OpRequest::WriteBlock(request) => {
                metrics.writes.fetch_add(1, Ordering::Relaxed);
                self.write_block(*request)?;
                Ok(After::Close)
            }
            OpRequest::TransferBlock(request) => self.transfer_block(&request),
            OpRequest::BlockChecksum(request) => self.block_checksum(&request),
            OpRequest::CopyBlock(request) => self.copy_block(&request),
            OpRequest::ReplaceBlock(request) => self.replace_block(&request),
            OpRequest::RequestShortCircuitFds(_) => {
                // Descriptors are passed only over domain sockets, and this is a TCP connection.
                self.respond_message(
                    Status::Error,
                    "You cannot pass file descriptors over anything but a UNIX domain socket.",
                )
            }
            OpRequest::ReleaseShortCircuitFds(_) => {
                self.reply(&ReleaseShortCircuitAccessResponseProto {
                    status: Status::ErrorUnsupported as i32,
                    error: Some("unsupported operation".to_owned()),
                })?;
                Ok(After::KeepAlive)
            }
            OpRequest::RequestShortCircuitShm(_) => {
                self.reply(&ShortCircuitShmResponseProto {
                    status: Status::ErrorInvalid as i32,
                    error: Some(
                        "Bad request: must request a shared memory segment over a UNIX domain socket.".to_owned(),
                    ),
                    id: None,
                })?;
                Ok(After::KeepAlive)
            }
            OpRequest::BlockGroupChecksum(request) => self.block_group_checksum(&request),
            OpRequest::Custom(request) => self.respond_message(
                Status::ErrorUnsupported,
                &format!("custom operation {} is not known", request.custom_id),
            ),
        }
    }

    fn reply<M: prost::Message>(&mut self, message: &M) -> io::Result<()> {
        write_delimited(&mut self.stream, message)
    }

    fn respond_message(&mut self, status: Status, message: &str) -> XceiverResult<After> {
        self.reply(&responses::message(status, message.to_owned()))?;
        self.stream.flush()?;
        Ok(After::KeepAlive)
    }
}

/// Longest time from the first byte of a request to its last. Hadoop allows the read time-out for each byte, so a
/// client can hold a thread for hours.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads a request. The socket's own time-out applies to the first byte.
struct WholeRequest<'a> {
    reader: &'a mut BufReader<TcpStream>,
    patience: Duration,
    until: Option<Instant>,
}

impl<'a> WholeRequest<'a> {
    fn new(reader: &'a mut BufReader<TcpStream>) -> WholeRequest<'a> {
        WholeRequest {
            reader,
            patience: REQUEST_TIMEOUT,
            until: None,
        }
    }
}

impl Read for WholeRequest<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reader.buffer().is_empty()
            && let Some(until) = self.until
        {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.reader.get_ref().set_read_timeout(Some(left))?;
        }
        let read = self.reader.read(buffer)?;
        self.until.get_or_insert_with(|| Instant::now() + self.patience);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_comes_byte_by_byte_does_not_hold_a_thread_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        // A version, the code of a read, and a length whose bytes come one by one.
        sender.write_all(&[0, 28, 81, 0xFF, 0x7F]).unwrap();
        let dripping = std::thread::spawn(move || {
            while sender.write_all(&[0]).is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let mut reader = BufReader::new(stream);
        let mut request = WholeRequest::new(&mut reader);
        request.patience = Duration::from_millis(50);
        let failed = read_request(&mut request).unwrap_err();
        assert!(is_timeout(&failed), "{failed}");
        drop(reader);
        dripping.join().unwrap();
    }
}
