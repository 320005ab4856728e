//! Hadoop RPC, version 9 (`org.apache.hadoop.ipc`).
//!
//! [`codec`] turns bytes into frames and back without any I/O, [`server`] answers calls, [`client`] makes them, and
//! [`failover`] makes them to whichever of several NameNodes is active.

pub mod client;
pub mod failover;
pub mod server;

pub use client::{CallIds, ClientOptions, PendingCall, RpcClient, RpcError};
pub use failover::{HaOptions, HaProxy, Idempotence, Waiting, connect_to, tell_waiting};
pub use hathi_formats::exceptions::RemoteException;
pub use hathi_formats::ids::ClientId;
pub use hathi_formats::protocols::{self, Method, Protocol};
pub use hathi_formats::rpc as codec;
pub use server::{
    CallerContext, LocalReply, MethodTimes, Responder, RpcCall, RpcHandler, RpcMeter, RpcServer, ServerMetrics,
    ServerOptions, SharesOptions, SlowCall, StateIds, UserInfo,
};

/// A new random id of a client.
#[must_use]
pub fn random_client_id() -> ClientId {
    ClientId::from(*uuid::Uuid::new_v4().as_bytes())
}
