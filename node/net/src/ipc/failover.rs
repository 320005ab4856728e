//! Calls to whichever NameNode is active.

use std::time::Duration;

use prost::Message;

use super::{ClientId, ClientOptions, Protocol, RpcError};

/// What may be done again when nobody knows whether it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotence {
    /// Doing it twice is as doing it once.
    Idempotent,
    /// The server's retry cache makes it happen once.
    AtMostOnce,
    /// Must not be sent again.
    No,
}

/// Backoff and limits (`dfs.client.failover.*`, `dfs.client.retry.*`).
#[derive(Clone, Debug)]
pub struct HaOptions {
    /// Of each connection.
    pub client: ClientOptions,
    /// `dfs.client.failover.max.attempts`.
    pub max_failovers: u32,
    /// `dfs.client.retry.max.attempts`.
    pub max_retries: u32,
    /// `dfs.client.failover.sleep.base.millis`.
    pub sleep_base: Duration,
    /// `dfs.client.failover.sleep.max.millis`.
    pub sleep_max: Duration,
}

impl HaOptions {
    /// Hadoop's defaults.
    #[must_use]
    pub fn new(user: &str) -> HaOptions {
        HaOptions {
            client: ClientOptions::new(user),
            max_failovers: 15,
            max_retries: 10,
            sleep_base: Duration::from_millis(500),
            sleep_max: Duration::from_millis(15_000),
        }
    }
}

/// One logical NameNode behind several addresses.
#[derive(Clone, Debug)]
pub struct HaProxy {}

impl HaProxy {
    /// Over `host:port` addresses, resolved anew at each connection. Makes no connection yet.
    #[must_use]
    pub fn new(
        _addresses: Vec<String>,
        _protocol: &'static Protocol,
        _options: HaOptions,
    ) -> HaProxy {
        unimplemented!()
    }

    /// Calls, failing over and retrying as Hadoop's `FailoverOnNetworkExceptionRetry` does, always with the same
    /// client id and call id.
    pub async fn call<Q: Message, R: Message + Default>(
        &self,
        _method: &str,
        _request: &Q,
        _idempotence: Idempotence,
    ) -> Result<R, RpcError> {
        unimplemented!()
    }

    /// The identity of this proxy's calls.
    #[must_use]
    pub fn client_id(&self) -> ClientId {
        unimplemented!()
    }

    /// The address that the next call goes to.
    #[must_use]
    pub fn current(&self) -> String {
        unimplemented!()
    }
}
