//! A connection to a DataNode's data transfer port.

use crate::ClientError;
use bytes::{Buf, BytesMut};
use hathi_formats::datatransfer::{PacketBuffer, PipelineAck, decode_delimited};
use hathi_formats::proto::hdfs::{DatanodeInfoProto, PipelineAckProto};
use prost::Message;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

/// `dfs.client.socket-timeout`
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// `HdfsConstants.READ_TIMEOUT`
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// `HdfsConstants.READ_TIMEOUT_EXTENSION`, for each DataNode further down a pipeline.
pub(crate) const READ_TIMEOUT_EXTENSION: Duration = Duration::from_secs(5);

/// `ip:port` of a DataNode's data transfer.
pub(crate) fn address(node: &DatanodeInfoProto) -> String {
    node.id.xfer_address()
}

pub(crate) fn error(what: &'static str, node: &DatanodeInfoProto, source: io::Error) -> ClientError {
    ClientError::DataNode {
        what,
        peer: address(node),
        source,
    }
}

/// Connects to a DataNode.
pub(crate) async fn connect(node: &DatanodeInfoProto) -> Result<TcpStream, ClientError> {
    let result = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address(node))).await;
    let stream = match result {
        Ok(result) => result.map_err(|source| error("can't connect to", node, source))?,
        Err(_) => return Err(error("can't connect to", node, io::ErrorKind::TimedOut.into())),
    };
    stream
        .set_nodelay(true)
        .map_err(|source| error("can't connect to", node, source))?;
    Ok(stream)
}

/// Reads messages and packets from a stream.
#[derive(Debug)]
pub(crate) struct MessageReader<R> {
    stream: R,
    buffer: BytesMut,
    timeout: Duration,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    pub(crate) fn new(stream: R, timeout: Duration) -> Self {
        MessageReader {
            stream,
            buffer: BytesMut::with_capacity(128 << 10),
            timeout,
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.reserve(64 << 10);
        match tokio::time::timeout(self.timeout, self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(0)) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection was closed",
            )),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Reads a delimited message.
    pub(crate) async fn message<M: Message + Default>(&mut self) -> io::Result<M> {
        loop {
            if let Some((message, len)) = decode_delimited::<M>(&self.buffer)? {
                self.buffer.advance(len);
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// Reads an acknowledgement.
    pub(crate) async fn ack(&mut self) -> io::Result<PipelineAck> {
        Ok(PipelineAck::from_proto(self.message::<PipelineAckProto>().await?))
    }

    /// Reads a packet.
    pub(crate) async fn packet(&mut self, packet: &mut PacketBuffer) -> io::Result<()> {
        loop {
            if let Some(len) = packet.fill_from(&self.buffer).map_err(io::Error::other)? {
                self.buffer.advance(len);
                return Ok(());
            }
            self.fill().await?;
        }
    }

    /// The underlying stream. Bytes that were read ahead are lost.
    pub(crate) fn stream(&mut self) -> &mut R {
        &mut self.stream
    }
}
