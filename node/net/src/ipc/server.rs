//! The RPC server (`org.apache.hadoop.ipc.Server`).
//!
//! There are a few current-thread reactors (one by default), and a task per connection. The task passes each call to
//! the handler directly. There is no task, queue or thread change per call, because each of these costs several times
//! what a call does. All replies that the handler gives at once leave in one write. Later replies are appended to the
//! connection's outbox from any thread, which wakes the connection's task. Replies may leave in any order.
//!
//! Everything has a limit: the frames of a connection, its calls without a reply and its reply bytes (above the limits
//! it is not read), and the calls and bytes of all connections together.

mod connection;
mod listener;
mod meta;
mod outbox;
mod shares;
mod table;
mod times;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hathi_conf::{ConfError, Configuration, TimeUnit};
use hathi_formats::amplification::{FIELDS_MAX, is_bounded};
use prost::Message;

pub use listener::{RpcMeter, RpcServer};
pub use outbox::{LocalReply, Responder};
pub use shares::SharesOptions;
pub use times::{MethodTimes, SlowCall};

use super::{ClientId, Method, Protocol, RemoteException};
use crate::auth::Authorizer;

/// The caller, as the connection named itself (`UserInformationProto`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UserInfo {
    /// The effective user.
    pub user: String,
    /// The real user when the effective user is proxied.
    pub real_user: Option<String>,
    /// Whether a NameNode makes the call for one of its clients, and has proven that it is one
    /// ([`Authorizer::believe`]).
    pub vouched: bool,
}

/// `RPCCallerContextProto`: free text for the audit log.
#[derive(Clone, Debug, Default)]
pub struct CallerContext {
    /// UTF-8 text as it came.
    pub context: Bytes,
    /// Optional signature.
    pub signature: Option<Bytes>,
}

/// One call.
#[derive(Debug)]
pub struct RpcCall {
    /// The method, of one of the protocols that the handler registered.
    pub method: Method,
    /// The request message.
    pub body: Bytes,
    /// With `call_id`, the identity of the call across retries.
    pub client_id: ClientId,
    /// Unique per client.
    pub call_id: i32,
    /// 0 on the first attempt.
    pub retry_count: i32,
    /// The caller.
    pub user: Arc<UserInfo>,
    /// The caller's address.
    pub peer: SocketAddr,
    /// Free text for the audit log.
    pub caller_context: Option<CallerContext>,
    /// The highest state id that the client has seen.
    pub state_id: Option<i64>,
    /// How the call came, in the word of the audit log: `rpc` or `webhdfs`.
    pub transport: &'static str,
}

impl RpcCall {
    /// [`RpcCall::transport`] of calls that came over a connection of Hadoop RPC.
    pub const RPC: &'static str = "rpc";
    /// [`RpcCall::transport`] of calls that an HTTP request led to.
    pub const WEBHDFS: &'static str = "webhdfs";

    /// Decodes the request message.
    pub fn decode<M: Message + Default>(&self) -> Result<M, RemoteException> {
        let refused = |why: &dyn std::fmt::Display| {
            RemoteException::new(
                hathi_formats::exceptions::RPC_SERVER,
                format!("cannot parse the request of {}: {why}", self.method),
            )
        };
        if !is_bounded(&self.body, None) {
            return Err(refused(&format!("more than {FIELDS_MAX} fields")));
        }
        M::decode(self.body.clone()).map_err(|error| refused(&error))
    }
}

/// Serves calls.
pub trait RpcHandler: Send + Sync + 'static {
    /// The protocols that it serves. The server asks once, when it starts. It serves `ProtocolMetaInfoPB` by itself.
    fn protocols(&self) -> Vec<&'static Protocol>;

    /// Serves one call on the connection's own task, so it must not block. It may send the reply before it returns (all
    /// replies to one socket read then leave in one write), or at any later time from any thread.
    fn call(&self, call: RpcCall, reply: Responder);

    /// Called after the last call of one socket read, before the replies are written.
    fn batch_done(&self) {}
}

/// The state id that a server sends with every reply (`AlignmentContext.updateResponseState`).
#[derive(Clone)]
pub struct StateIds(Arc<dyn Fn() -> i64 + Send + Sync>);

impl StateIds {
    /// `last` returns the id of the newest state that a reply may show.
    pub fn new(last: impl Fn() -> i64 + Send + Sync + 'static) -> StateIds {
        StateIds(Arc::new(last))
    }
}

impl std::fmt::Debug for StateIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateIds({})", (self.0)())
    }
}

/// Limits and sizes of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Name of the threads, also used in logs.
    pub name: String,
    /// Reactor threads (at least one).
    pub reactors: usize,
    /// Largest frame, in bytes (`ipc.maximum.data.length`).
    pub max_frame_bytes: usize,
    /// Calls of one connection without a reply, above which the connection is not read.
    pub max_outstanding_per_connection: usize,
    /// Calls of all connections without a reply, above which calls are refused with RetriableException.
    pub max_outstanding_total: usize,
    /// Unsent reply bytes of one connection, above which the connection is not read.
    pub max_outbox_bytes_per_connection: usize,
    /// Unsent reply bytes of all connections, above which no connection with unsent bytes is read.
    pub max_outbox_bytes_total: usize,
    /// Most connections; 0 is no limit (`ipc.server.max.connections`).
    pub max_connections: usize,
    /// Connections above which idle ones are closed (`ipc.client.idlethreshold`).
    pub idle_threshold: usize,
    /// Idle time after which a connection may be closed, in ms (twice `ipc.client.connection.maxidletime`).
    pub max_idle_ms: u64,
    /// Interval of the search for idle and slow connections (`ipc.client.connection.idle-scan-interval.ms`).
    pub idle_scan_interval: Duration,
    /// How long a connection may take to name its user, or to end a frame that it has begun. See
    /// [`ServerOptions::FRAME_BYTES_PER_SECOND`].
    pub frame_patience: Duration,
    /// Bytes of unfinished frames of all connections, above which the connection with the oldest one is closed.
    pub max_unfinished_bytes: u64,
    /// Backlog of the listening sockets (`ipc.server.listen.queue.size`).
    pub listen_backlog: i32,
    /// Sent with each reply on the first listener's connections, also with exceptions.
    pub state_ids: Option<StateIds>,
    /// A call of a client or a DataNode is slow from this time on (`ipc.server.log.slow.rpc.threshold.ms`). Without it
    /// no call is.
    pub slow_call: Option<Duration>,
    /// How the users of the first listener share the server. Without it they are served as they come.
    pub shares: Option<SharesOptions>,
    /// The rules for callers. Without them everybody may make every call, but only under the own name.
    pub authorizer: Option<Arc<Authorizer>>,
}

impl ServerOptions {
    /// Bytes of a frame for which its sender gets one second more to end it. The largest frame gets half an hour at
    /// most.
    pub const FRAME_BYTES_PER_SECOND: u64 = 64 << 10;

    /// The options that Hadoop's keys set. For keys that are not set the default of this type applies.
    pub fn of(conf: &Configuration) -> Result<ServerOptions, ConfError> {
        let default = ServerOptions::default();
        let ms = |key: &str, default: Duration| conf.get_duration(key, default, TimeUnit::Millis);
        let idle = ms("ipc.client.connection.maxidletime", Duration::from_secs(10))?;
        let scan = "ipc.client.connection.idle-scan-interval.ms";
        let backlog = "ipc.server.listen.queue.size";
        Ok(ServerOptions {
            max_frame_bytes: conf.get_usize("ipc.maximum.data.length", default.max_frame_bytes)?,
            max_connections: conf.get_usize("ipc.server.max.connections", default.max_connections)?,
            idle_threshold: conf.get_usize("ipc.client.idlethreshold", default.idle_threshold)?,
            max_idle_ms: u64::try_from(idle.as_millis()).unwrap_or(u64::MAX).saturating_mul(2),
            idle_scan_interval: ms(scan, default.idle_scan_interval)?,
            frame_patience: ms("hathi.ipc.server.frame.timeout.ms", default.frame_patience)?,
            listen_backlog: if conf.is_set(backlog) {
                i32::try_from(conf.get_u32(backlog, 256)?).unwrap_or(i32::MAX)
            } else {
                default.listen_backlog
            },
            ..default
        })
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            name: "ipc".into(),
            reactors: 1,
            max_frame_bytes: 128 << 20,
            max_outstanding_per_connection: 16 << 10,
            max_outstanding_total: 1 << 20,
            max_outbox_bytes_per_connection: 8 << 20,
            max_outbox_bytes_total: 1 << 30,
            max_connections: 0,
            idle_threshold: 4000,
            max_idle_ms: 20_000,
            idle_scan_interval: Duration::from_secs(10),
            frame_patience: Duration::from_secs(60),
            max_unfinished_bytes: 512 << 20,
            listen_backlog: 1024,
            state_ids: None,
            slow_call: None,
            shares: None,
            authorizer: None,
        }
    }
}

/// Counters of a server, for `RpcActivityForPort<port>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerMetrics {
    /// Calls received.
    pub calls: u64,
    /// Calls answered with an exception.
    pub exceptions: u64,
    /// Calls that wait for their replies.
    pub outstanding: u64,
    /// Open connections.
    pub connections: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Calls refused because too many others were waiting.
    pub too_busy: u64,
    /// Reply bytes not yet written to sockets.
    pub outbox_bytes: u64,
}

#[cfg(test)]
mod tests;
