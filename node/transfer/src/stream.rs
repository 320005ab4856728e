//! Connections to the data transfer port of a DataNode.

use bytes::{Buf, BytesMut};
use hathi_formats::datatransfer::{PacketBuffer, PipelineAck, decode_delimited};
use hathi_formats::proto::hdfs::{DatanodeIdProto, DatanodeInfoProto, PipelineAckProto};
use prost::Message;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

/// `dfs.client.socket-timeout`
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// `HdfsConstants.READ_TIMEOUT`
pub const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Added to time limits for each DataNode further down a pipeline (`HdfsConstants.READ_TIMEOUT_EXTENSION`).
pub const READ_TIMEOUT_EXTENSION: Duration = Duration::from_secs(5);

/// Connects a task to a DataNode.
///
/// # Errors
/// When the DataNode can't be reached in time.
pub async fn connect(node: &DatanodeInfoProto) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect(node.id.xfer_address());
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How a thread connects to a DataNode. A time limit of zero means none.
#[derive(Clone, Copy, Debug)]
pub struct ConnectOptions {
    /// Whether the DataNode is reached by its name (`dfs.datanode.use.datanode.hostname`).
    pub via_hostname: bool,
    /// Time limit for connecting and for each read.
    pub read_timeout: Duration,
    /// Time limit for each write.
    pub write_timeout: Duration,
}

/// Connects a thread to a DataNode.
///
/// # Errors
/// When the DataNode can't be reached in time.
pub fn connect_blocking(id: &DatanodeIdProto, options: ConnectOptions) -> io::Result<std::net::TcpStream> {
    let host = if options.via_hostname {
        &id.host_name
    } else {
        &id.ip_addr
    };
    let port = u16::try_from(id.xfer_port).map_err(|_| io::Error::other("bad port"))?;
    let stream = hathi_net::tcp::connect((host.as_str(), port), options.read_timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(non_zero(options.read_timeout))?;
    stream.set_write_timeout(non_zero(options.write_timeout))?;
    Ok(stream)
}

/// A time limit of zero means none.
#[must_use]
pub fn non_zero(timeout: Duration) -> Option<Duration> {
    (!timeout.is_zero()).then_some(timeout)
}

/// Reads messages and packets from a stream.
#[derive(Debug)]
pub struct MessageReader<R> {
    stream: R,
    buffer: BytesMut,
    timeout: Duration,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    /// Reads with this time limit for each read.
    #[must_use]
    pub fn new(stream: R, timeout: Duration) -> Self {
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
    ///
    /// # Errors
    /// When the connection ends or is silent for too long, or the bytes are no such message.
    pub async fn message<M: Message + Default>(&mut self) -> io::Result<M> {
        loop {
            if let Some((message, len)) = decode_delimited::<M>(&self.buffer)? {
                self.buffer.advance(len);
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// Reads an acknowledgement.
    ///
    /// # Errors
    /// As [`MessageReader::message`].
    pub async fn ack(&mut self) -> io::Result<PipelineAck> {
        Ok(PipelineAck::from_proto(self.message::<PipelineAckProto>().await?))
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// As [`MessageReader::message`].
    pub async fn packet(&mut self, packet: &mut PacketBuffer) -> io::Result<()> {
        loop {
            if let Some(len) = packet.fill_from(&self.buffer).map_err(io::Error::other)? {
                self.buffer.advance(len);
                return Ok(());
            }
            self.fill().await?;
        }
    }

    /// The underlying stream. Bytes that were read ahead are lost.
    pub fn stream(&mut self) -> &mut R {
        &mut self.stream
    }
}
