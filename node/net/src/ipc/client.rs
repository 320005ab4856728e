//! The RPC client (`org.apache.hadoop.ipc.Client`).
//!
//! One [`RpcClient`] is one connection. A call is encoded into the connection's outgoing buffer at once, so calls leave
//! in the order in which they were made. All calls made before the connection's task runs leave in one write. The
//! caller has to reconnect ([`super::HaProxy`] does it).

mod connection;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use self::connection::{Link, LinkTask};
use super::codec::{self, RequestIds};
use super::{ClientId, Protocol, RemoteException, UserInfo};
use hathi_formats::exceptions::ExceptionClass;

/// Why a call has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RpcError {
    /// The server answered with an exception.
    #[error("{0}")]
    Remote(RemoteException),
    /// No connection: the call was not sent.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// The server.
        address: String,
        /// Why.
        reason: String,
    },
    /// The connection broke: the call may have been served.
    #[error("connection to {address} broke: {reason}")]
    Broken {
        /// The server.
        address: String,
        /// Why.
        reason: String,
    },
    /// No answer in time: the call may have been served.
    #[error("no answer from {address} within {timeout:?}")]
    Timeout {
        /// The server.
        address: String,
        /// The time limit.
        timeout: Duration,
    },
    /// The answer does not parse.
    #[error("cannot parse the answer: {0}")]
    Decode(String),
}

impl RpcError {
    /// The exception of the server, if there is one.
    #[must_use]
    pub fn remote(&self) -> Option<&RemoteException> {
        match self {
            RpcError::Remote(exception) => Some(exception),
            _ => None,
        }
    }

    /// Whether the server answered with this exception class.
    #[must_use]
    pub fn is_remote(&self, class: ExceptionClass) -> bool {
        self.remote().is_some_and(|exception| exception.is(class))
    }
}

/// The identity of one call. By default each call gets the next one of its connection.
#[derive(Clone, Copy, Debug)]
pub struct CallIds {
    /// The client.
    pub client_id: ClientId,
    /// Not negative.
    pub call_id: i32,
    /// 0 on the first attempt.
    pub retry_count: i32,
}

/// How to connect and how long to wait.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The caller.
    pub user: UserInfo,
    /// Identity for the retry cache; random by default.
    pub client_id: ClientId,
    /// Time limit for connecting (`ipc.client.connect.timeout`).
    pub connect_timeout: Duration,
    /// Time limit for a call. Zero waits without end (`ipc.client.rpc-timeout.ms`).
    pub call_timeout: Duration,
    /// Interval of pings. Zero sends none (`ipc.ping.interval`).
    pub ping_interval: Duration,
    /// Largest response, in bytes (`ipc.maximum.response.length`).
    pub max_response_bytes: usize,
    /// `CallerContext` of every call.
    pub caller_context: Option<String>,
}

impl ClientOptions {
    /// Hadoop's defaults.
    #[must_use]
    pub fn new(user: &str) -> ClientOptions {
        ClientOptions {
            user: UserInfo {
                user: user.to_owned(),
                ..UserInfo::default()
            },
            client_id: super::random_client_id(),
            connect_timeout: Duration::from_secs(20),
            call_timeout: Duration::from_secs(120),
            ping_interval: Duration::from_secs(60),
            max_response_bytes: 128 << 20,
            caller_context: None,
        }
    }
}

/// One connection, which clones share. Calls are pipelined, and answered in any order. The connection is closed when
/// the last clone is gone and the last call is answered.
#[derive(Clone)]
pub struct RpcClient {
    link: Arc<Link>,
    protocol: &'static Protocol,
    call_timeout: Duration,
    /// Counts the clones. The connection's task holds the link, but not this.
    _handle: Arc<Handle>,
}

/// Closes the connection when the last client is dropped.
struct Handle(Arc<Link>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl fmt::Debug for RpcClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcClient")
            .field("peer", &self.link.peer)
            .field("protocol", &self.protocol.name)
            .finish_non_exhaustive()
    }
}

impl RpcClient {
    /// Connects. The connection's task lives on the tokio runtime of the caller.
    pub async fn connect(
        addr: SocketAddr,
        protocol: &'static Protocol,
        options: ClientOptions,
    ) -> Result<RpcClient, RpcError> {
        let failed = |reason: String| RpcError::Connect {
            address: addr.to_string(),
            reason,
        };
        let connecting = TcpStream::connect(addr);
        let stream = if options.connect_timeout.is_zero() {
            connecting.await
        } else {
            tokio::time::timeout(options.connect_timeout, connecting)
                .await
                .map_err(|_| failed(format!("no connection within {:?}", options.connect_timeout)))?
        }
        .map_err(|error| failed(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let link = Arc::new(Link::new(addr, protocol, &options));
        tokio::spawn(LinkTask::new(stream, link.clone(), &options));
        Ok(RpcClient {
            _handle: Arc::new(Handle(link.clone())),
            link,
            protocol,
            call_timeout: options.call_timeout,
        })
    }

    /// The same connection for calls of another protocol.
    #[must_use]
    pub fn with_protocol(&self, protocol: &'static Protocol) -> RpcClient {
        RpcClient {
            protocol,
            ..self.clone()
        }
    }

    /// Sends a call at once, in the order of the calls to this method. The future gives the answer.
    pub fn call<Q: Message, R: Message + Default>(&self, method: &str, request: &Q) -> PendingCall<R> {
        self.call_with(method, request, None, None)
    }

    /// As [`RpcClient::call`], with an identity (for retries) and a time limit of its own.
    pub fn call_with<Q: Message, R: Message + Default>(
        &self,
        method: &str,
        request: &Q,
        ids: Option<CallIds>,
        timeout: Option<Duration>,
    ) -> PendingCall<R> {
        self.send(ids, timeout, |out, ids| {
            codec::put_call(out, ids, method, self.protocol.name, self.protocol.version, request);
        })
    }

    /// A call whose message is encoded already. [`PendingCall::encoded`] takes the answer.
    pub fn call_encoded(
        &self,
        method: &str,
        request: &[u8],
        ids: Option<CallIds>,
        timeout: Option<Duration>,
    ) -> PendingCall<()> {
        self.send(ids, timeout, |out, ids| {
            codec::put_call_encoded(out, ids, method, self.protocol.name, self.protocol.version, request);
        })
    }

    fn send<R>(
        &self,
        ids: Option<CallIds>,
        timeout: Option<Duration>,
        put: impl FnOnce(&mut BytesMut, &RequestIds<'_>),
    ) -> PendingCall<R> {
        let timeout = timeout.unwrap_or(self.call_timeout);
        let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
        let (answer, answered) = oneshot::channel();
        self.link.send(answer, deadline, timeout, ids, put);
        PendingCall {
            answered,
            link: self.link.clone(),
            _response: PhantomData,
        }
    }

    /// Whether the next call should use a new connection, because this one is broken, closed or silent. It is silent
    /// when a call ran out of time and nothing has come since that call was made. A machine that disappears without a
    /// word leaves a connection that looks open for many minutes, while its name may already lead to a different
    /// machine.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.link.is_lost()
    }

    /// Waits until the connection is broken or closed.
    pub async fn closed(&self) {
        self.link.closed().await;
    }

    /// Closes the connection. Calls under way fail with [`RpcError::Broken`].
    pub fn close(&self) {
        self.link.close();
    }

    /// The server's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.link.peer
    }

    /// The highest state id that the server has sent.
    #[must_use]
    pub fn state_id(&self) -> Option<i64> {
        self.link.state_id()
    }
}

/// The answer to come. Dropping it ignores the answer, but the call was sent.
#[derive(Debug)]
pub struct PendingCall<R> {
    answered: oneshot::Receiver<Result<Bytes, RpcError>>,
    link: Arc<Link>,
    _response: PhantomData<fn() -> R>,
}

impl<R> PendingCall<R> {
    /// The bytes of the answer instead of the decoded message.
    pub async fn encoded(mut self) -> Result<Bytes, RpcError> {
        std::future::poll_fn(|cx| self.poll_encoded(cx)).await
    }

    fn poll_encoded(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, RpcError>> {
        Pin::new(&mut self.answered)
            .poll(cx)
            .map(|answer| answer.unwrap_or_else(|_| Err(self.link.broken("the connection's task is gone"))))
    }
}

impl<R: Message + Default> Future for PendingCall<R> {
    type Output = Result<R, RpcError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_encoded(cx)
            .map(|answer| R::decode(answer?).map_err(|error| RpcError::Decode(error.to_string())))
    }
}
