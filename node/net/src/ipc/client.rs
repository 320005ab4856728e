//! The RPC client.

use std::future::Future;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::{ClientId, Protocol, RemoteException, UserInfo};

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
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The answer does not parse.
    #[error("cannot parse the answer: {0}")]
    Decode(String),
}

impl RpcError {
    /// The remote exception, if that is what it is.
    #[must_use]
    pub fn remote(&self) -> Option<&RemoteException> {
        match self {
            RpcError::Remote(exception) => Some(exception),
            _ => None,
        }
    }

    /// Whether the server answered with this exception class.
    #[must_use]
    pub fn is_remote(&self, class: &str) -> bool {
        self.remote().is_some_and(|exception| exception.is(class))
    }
}

/// The identity of one call; by default each call gets the next one of its connection.
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
    /// `ipc.client.connect.timeout`.
    pub connect_timeout: Duration,
    /// `ipc.client.rpc-timeout.ms`; zero waits without end.
    pub call_timeout: Duration,
    /// `ipc.ping.interval`; zero sends none.
    pub ping_interval: Duration,
    /// `ipc.maximum.response.length`.
    pub max_response_bytes: usize,
}

impl ClientOptions {
    /// Hadoop's defaults.
    #[must_use]
    pub fn new(user: &str) -> ClientOptions {
        ClientOptions {
            user: UserInfo {
                user: user.to_owned(),
                real_user: None,
            },
            client_id: ClientId::random(),
            connect_timeout: Duration::from_secs(20),
            call_timeout: Duration::from_secs(120),
            ping_interval: Duration::from_secs(60),
            max_response_bytes: 128 << 20,
        }
    }
}

/// One connection, shared by its clones; calls are pipelined and answered in any order.
#[derive(Clone, Debug)]
pub struct RpcClient {}

impl RpcClient {
    /// Connects, within a tokio runtime, on which the connection's task then lives.
    pub async fn connect(
        _addr: SocketAddr,
        _protocol: &'static Protocol,
        _options: ClientOptions,
    ) -> Result<RpcClient, RpcError> {
        unimplemented!()
    }

    /// The same connection for calls of another protocol.
    #[must_use]
    pub fn with_protocol(&self, _protocol: &'static Protocol) -> RpcClient {
        unimplemented!()
    }

    /// Sends a call at once (calls leave in the order of these calls); the future gives the answer.
    pub fn call<Q: Message, R: Message + Default>(
        &self,
        _method: &str,
        _request: &Q,
    ) -> PendingCall<R> {
        unimplemented!()
    }

    /// [`RpcClient::call`] with an identity (for retries) and a time limit of its own.
    pub fn call_with<Q: Message, R: Message + Default>(
        &self,
        _method: &str,
        _request: &Q,
        _ids: Option<CallIds>,
        _timeout: Option<Duration>,
    ) -> PendingCall<R> {
        unimplemented!()
    }

    /// Whether the connection is broken or closed; then make another one.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        unimplemented!()
    }

    /// Closes the connection; calls under way fail with [`RpcError::Broken`].
    pub fn close(&self) {
        unimplemented!()
    }

    /// The server's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        unimplemented!()
    }
}

/// The answer to come. Dropping it forgets the call.
#[derive(Debug)]
pub struct PendingCall<R> {
    _response: PhantomData<fn() -> R>,
}

impl<R> PendingCall<R> {
    /// Instead of the message, its bytes.
    pub async fn encoded(self) -> Result<Bytes, RpcError> {
        unimplemented!()
    }
}

impl<R: Message + Default> Future for PendingCall<R> {
    type Output = Result<R, RpcError>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        unimplemented!()
    }
}
