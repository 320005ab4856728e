//! Hadoop RPC, version 9 (`org.apache.hadoop.ipc`).
//!
//! [`codec`] turns bytes into frames and back without any I/O, [`server`] answers calls, [`client`] makes them, and
//! [`failover`] makes them to whichever of several NameNodes is active.

pub mod client;
pub mod codec;
pub mod failover;
pub mod server;

use std::fmt;

pub use client::{CallIds, ClientOptions, PendingCall, RpcClient, RpcError};
pub use failover::{HaOptions, HaProxy, Idempotence, connect_to};
pub use hathi_formats::exceptions::RemoteException;
pub use hathi_formats::protocols::{self, Method, Protocol};
pub use server::{
    CallerContext, Responder, RpcCall, RpcHandler, RpcServer, ServerMetrics, ServerOptions, StateIds, UserInfo,
};

/// The 16 bytes that name a client for the life of its process (`ClientId`), or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClientId(Option<[u8; 16]>);

impl ClientId {
    /// No id. Calls without one take no part in the retry cache.
    pub const EMPTY: ClientId = ClientId(None);

    /// A new random id.
    #[must_use]
    pub fn random() -> ClientId {
        ClientId(Some(*uuid::Uuid::new_v4().as_bytes()))
    }

    /// From the wire: 16 bytes or none. `None` for any other length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<ClientId> {
        if bytes.is_empty() {
            return Some(ClientId(None));
        }
        <[u8; 16]>::try_from(bytes).ok().map(|id| ClientId(Some(id)))
    }

    /// The bytes, empty when there is no id.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |id| id.as_slice())
    }

    /// The bytes if there are any.
    #[must_use]
    pub fn bytes(&self) -> Option<[u8; 16]> {
        self.0
    }
}

impl From<[u8; 16]> for ClientId {
    fn from(id: [u8; 16]) -> Self {
        ClientId(Some(id))
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => uuid::Uuid::from_bytes(id).fmt(f),
            None => f.write_str("-"),
        }
    }
}
