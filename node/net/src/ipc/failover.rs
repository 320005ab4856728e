//! Calls to the active one of several NameNodes (`RetryPolicies.FailoverOnNetworkExceptionRetry`,
//! `ConfiguredFailoverProxyProvider`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hathi_formats::exceptions::{RETRIABLE, Remedy};
use parking_lot::Mutex;
use prost::Message;

use super::{CallIds, ClientId, ClientOptions, Protocol, RpcClient, RpcError};

/// Whether a call may be repeated when it is unknown whether it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotence {
    /// A repetition changes nothing.
    Idempotent,
    /// The server's retry cache makes sure that it is carried out once.
    AtMostOnce,
    /// It must not be sent again.
    No,
}

/// Backoff and limits (`dfs.client.failover.*`, `dfs.client.retry.*`).
#[derive(Clone, Debug)]
pub struct HaOptions {
    /// Options of each connection.
    pub client: ClientOptions,
    /// Most failovers of one call (`dfs.client.failover.max.attempts`).
    pub max_failovers: u32,
    /// Most retries of one call (`dfs.client.retry.max.attempts`).
    pub max_retries: u32,
    /// Base of the backoff (`dfs.client.failover.sleep.base.millis`).
    pub sleep_base: Duration,
    /// Longest backoff (`dfs.client.failover.sleep.max.millis`).
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

/// A call that takes long, for whoever tells its user.
#[derive(Debug)]
pub struct Waiting<'a> {
    /// The method.
    pub method: &'a str,
    /// How long the call has been waiting.
    pub waited: Duration,
    /// The targets, and why the last attempt at each failed. A target without a reason was not asked yet, or did not answer yet.
    pub targets: Vec<(&'a str, Option<String>)>,
    /// Failed attempts, and their limit.
    pub attempts: (u32, u32),
}

/// Is told of calls that take long.
pub type WaitingHook = fn(&Waiting<'_>);

static WAITING: OnceLock<WaitingHook> = OnceLock::new();

/// Time after which a call is one that takes long, and between two reports of it.
const WAITING_REPORTS: [Duration; 2] = [Duration::from_millis(1500), Duration::from_secs(10)];

/// From now on this process tells `hook` of calls that take long. Only the first hook counts.
pub fn tell_waiting(hook: WaitingHook) {
    let _ = WAITING.set(hook);
}

#[derive(Debug)]
struct Target {
    address: String,
    /// Held while connecting, so that calls made meanwhile share one connection.
    client: tokio::sync::Mutex<Option<RpcClient>>,
}

#[derive(Debug)]
struct Inner {
    targets: Vec<Target>,
    protocol: &'static Protocol,
    options: HaOptions,
    /// Index of the target of the next call. A failed call moves it on only from the target where it failed, so many
    /// calls that fail together move it once.
    current: AtomicUsize,
    next_call_id: AtomicI32,
}

/// One logical NameNode behind several addresses. Clones share connections.
#[derive(Clone, Debug)]
pub struct HaProxy(Arc<Inner>);

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RetryAction {
    Fail,
    RetryInPlace,
    FailOver,
}

impl HaProxy {
    /// A proxy over `host:port` addresses, which are resolved at each connection. This makes no connection yet.
    #[must_use]
    pub fn new(addresses: Vec<String>, protocol: &'static Protocol, options: HaOptions) -> HaProxy {
        let targets = addresses
            .into_iter()
            .map(|address| Target {
                address,
                client: tokio::sync::Mutex::new(None),
            })
            .collect();
        HaProxy(Arc::new(Inner {
            targets,
            protocol,
            options,
            current: AtomicUsize::new(0),
            next_call_id: AtomicI32::new(0),
        }))
    }

    /// Makes a call. It fails over and retries as Hadoop's clients do, always with the same client id and call id.
    pub async fn call<Q: Message, R: Message + Default>(
        &self,
        method: &str,
        request: &Q,
        idempotence: Idempotence,
    ) -> Result<R, RpcError> {
        let inner = &*self.0;
        let attempts = Attempts::default();
        let call = inner.call(method, request, idempotence, &attempts);
        let Some(hook) = WAITING.get() else {
            return call.await;
        };
        let mut call = std::pin::pin!(call);
        let begin = tokio::time::Instant::now();
        let [first, next] = WAITING_REPORTS;
        let mut report_at = begin + first;
        loop {
            match tokio::time::timeout_at(report_at, &mut call).await {
                Ok(result) => return result,
                Err(_) => hook(&inner.waiting(method, begin.elapsed(), &attempts)),
            }
            report_at += next;
        }
    }

    /// The identity of this proxy's calls.
    #[must_use]
    pub fn client_id(&self) -> ClientId {
        self.0.options.client.client_id
    }

    /// The address that the next call goes to.
    #[must_use]
    pub fn current(&self) -> String {
        let at = self.0.current.load(Ordering::Relaxed);
        self.0
            .targets
            .get(at)
            .map_or_else(String::new, |target| target.address.clone())
    }

    /// The connection to the current target, made if there is none. This is for callers that pipeline calls and handle
    /// failures themselves.
    pub async fn connection(&self) -> Result<RpcClient, RpcError> {
        self.0.client(self.0.current.load(Ordering::Relaxed)).await
    }
}

/// The failed attempts of one call.
#[derive(Debug, Default)]
struct Attempts {
    failovers: AtomicU32,
    retries: AtomicU32,
    /// The last error, by the target.
    errors: Mutex<BTreeMap<usize, String>>,
}

impl Inner {
    async fn call<Q: Message, R: Message + Default>(
        &self,
        method: &str,
        request: &Q,
        idempotence: Idempotence,
        attempts: &Attempts,
    ) -> Result<R, RpcError> {
        let call_id = self.next_call_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let (mut failovers, mut retries) = (0_u32, 0_u32);
        loop {
            let at = self.current.load(Ordering::Relaxed);
            let ids = CallIds {
                client_id: self.options.client.client_id,
                call_id,
                retry_count: i32::try_from(failovers + retries).unwrap_or(i32::MAX),
            };
            let error = match self.attempt(at, method, request, ids).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let action = match decide(&error, idempotence) {
                // There is nothing to fail over to, so this ends at once (`TRY_ONCE_THEN_FAIL`).
                RetryAction::FailOver if self.targets.len() == 1 && matches!(error, RpcError::Connect { .. }) => {
                    RetryAction::Fail
                }
                action => action,
            };
            let sleep = match action {
                RetryAction::FailOver if failovers < self.options.max_failovers => {
                    self.move_on(at);
                    failovers += 1;
                    self.backoff(failovers - 1)
                }
                RetryAction::RetryInPlace if retries < self.options.max_retries => {
                    retries += 1;
                    self.backoff(retries - 1)
                }
                RetryAction::FailOver | RetryAction::RetryInPlace | RetryAction::Fail => return Err(error),
            };
            tracing::debug!(method, call_id, failovers, retries, ?sleep, %error, "call will be made again");
            attempts.failovers.store(failovers, Ordering::Relaxed);
            attempts.retries.store(retries, Ordering::Relaxed);
            attempts.errors.lock().insert(at, error.to_string());
            if !sleep.is_zero() {
                tokio::time::sleep(sleep).await;
            }
        }
    }

    fn waiting<'a>(&'a self, method: &'a str, waited: Duration, attempts: &Attempts) -> Waiting<'a> {
        let errors = attempts.errors.lock();
        let target = |(index, target): (usize, &'a Target)| (&*target.address, errors.get(&index).cloned());
        let retries = attempts.retries.load(Ordering::Relaxed);
        let counted = match retries {
            0 => (attempts.failovers.load(Ordering::Relaxed), self.options.max_failovers),
            retries => (retries, self.options.max_retries),
        };
        Waiting {
            method,
            waited,
            targets: self.targets.iter().enumerate().map(target).collect(),
            attempts: counted,
        }
    }

    async fn attempt<Q: Message, R: Message + Default>(
        &self,
        at: usize,
        method: &str,
        request: &Q,
        ids: CallIds,
    ) -> Result<R, RpcError> {
        let client = self.client(at).await?;
        client.call_with(method, request, Some(ids), None).await
    }

    async fn client(&self, at: usize) -> Result<RpcClient, RpcError> {
        let Some(target) = self.targets.get(at) else {
            return Err(RpcError::Connect {
                address: String::new(),
                reason: "no NameNode is configured".into(),
            });
        };
        let mut slot = target.client.lock().await;
        if let Some(client) = slot.as_ref().filter(|client| !client.is_lost()) {
            return Ok(client.clone());
        }
        let client = connect_to(&target.address, self.protocol, &self.options.client).await?;
        *slot = Some(client.clone());
        Ok(client)
    }

    fn move_on(&self, from: usize) {
        let next = (from + 1) % self.targets.len().max(1);
        let _ = self
            .current
            .compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Backoff before the next failover (`getFailoverOrRetrySleepTime`). It is zero the first time, because the other
    /// NameNode is probably active already. Then it is `base * 2^n`, capped, times a random factor from 0.5 to 1.5.
    fn backoff(&self, times_before: u32) -> Duration {
        if times_before == 0 {
            return Duration::ZERO;
        }
        let factor = 1_u32.checked_shl(times_before).unwrap_or(u32::MAX);
        let capped = self
            .options
            .sleep_base
            .saturating_mul(factor)
            .min(self.options.sleep_max);
        capped.mul_f64(0.5 + fastrand::f64())
    }
}

/// Resolves `host:port` and connects to the first address that answers. Each address gets the whole time limit.
pub async fn connect_to(
    address: &str,
    protocol: &'static Protocol,
    options: &ClientOptions,
) -> Result<RpcClient, RpcError> {
    let found = tokio::net::lookup_host(address)
        .await
        .map_err(|error| RpcError::Connect {
            address: address.to_owned(),
            reason: error.to_string(),
        })?;
    connect_to_any(address, found, protocol, options).await
}

async fn connect_to_any(
    name: &str,
    addresses: impl IntoIterator<Item = SocketAddr>,
    protocol: &'static Protocol,
    options: &ClientOptions,
) -> Result<RpcClient, RpcError> {
    let mut last = RpcError::Connect {
        address: name.to_owned(),
        reason: "the name has no address".to_owned(),
    };
    for addr in addresses {
        match RpcClient::connect(addr, protocol, options.clone()).await {
            Ok(client) => return Ok(client),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// `FailoverOnNetworkExceptionRetry.shouldRetry`, with the same order of the checks.
fn decide(error: &RpcError, idempotence: Idempotence) -> RetryAction {
    let may_repeat = idempotence != Idempotence::No;
    match error {
        RpcError::Remote(exception) if exception.remedy() == Remedy::AskAnother => RetryAction::FailOver,
        RpcError::Remote(exception) if exception.is(RETRIABLE) => RetryAction::RetryInPlace,
        RpcError::Remote(_) | RpcError::Decode(_) => RetryAction::Fail,
        RpcError::Connect { .. } => RetryAction::FailOver,
        RpcError::Broken { .. } | RpcError::Timeout { .. } if may_repeat => RetryAction::FailOver,
        RpcError::Broken { .. } | RpcError::Timeout { .. } => RetryAction::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::protocols::HA_SERVICE_PROTOCOL;
    use crate::ipc::{Responder, RpcCall, RpcHandler, RpcServer, ServerOptions};
    use hathi_formats::proto::common::{MonitorHealthRequestProto, MonitorHealthResponseProto};
    use std::net::Ipv4Addr;

    /// A service that always answers that it is healthy.
    struct Well;

    impl RpcHandler for Well {
        fn protocols(&self) -> Vec<&'static Protocol> {
            vec![&HA_SERVICE_PROTOCOL]
        }

        fn call(&self, _: RpcCall, reply: Responder) {
            reply.ok(&MonitorHealthResponseProto {});
        }
    }

    #[tokio::test]
    async fn a_connection_that_answers_nothing_any_more_does_not_hide_where_its_name_leads_now() {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let moved = RpcServer::bind(here, Arc::new(Well), ServerOptions::default()).unwrap();
        let name = tokio::net::TcpListener::bind(here).await.unwrap();
        let address = name.local_addr().unwrap().to_string();
        let leads = tokio::spawn(async move {
            // The first connection leads to a machine that is gone, the later ones to its replacement.
            let (_gone, _) = name.accept().await.unwrap();
            loop {
                let (mut from, _) = name.accept().await.unwrap();
                let mut to = tokio::net::TcpStream::connect(moved.local_addr()).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
            }
        });
        let mut options = HaOptions::new("mahout");
        options.client.call_timeout = Duration::from_millis(100);
        options.sleep_base = Duration::from_millis(1);
        let proxy = HaProxy::new(vec![address], &HA_SERVICE_PROTOCOL, options);
        let request = MonitorHealthRequestProto {};
        let answer: Result<MonitorHealthResponseProto, RpcError> =
            proxy.call("monitorHealth", &request, Idempotence::Idempotent).await;
        answer.unwrap();
        leads.abort();
    }

    #[tokio::test]
    async fn a_call_that_takes_long_is_told_of_with_its_reasons() {
        static TOLD: tokio::sync::Notify = tokio::sync::Notify::const_new();
        tell_waiting(|waiting| {
            let reasons: Vec<bool> = waiting.targets.iter().map(|(_, reason)| reason.is_some()).collect();
            if (waiting.method, &reasons[..], waiting.attempts.0) == ("monitorHealth", &[true, false], 1) {
                TOLD.notify_one();
            }
        });
        let (_held, refusing) = crate::refusing_address();
        // It takes connections, and answers nothing.
        let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addresses = vec![refusing.to_string(), silent.local_addr().unwrap().to_string()];
        let proxy = HaProxy::new(addresses, &HA_SERVICE_PROTOCOL, HaOptions::new("mahout"));
        let request = MonitorHealthRequestProto {};
        let call = proxy.call::<_, MonitorHealthResponseProto>("monitorHealth", &request, Idempotence::Idempotent);
        tokio::select! {
            answer = call => panic!("{answer:?}"),
            () = TOLD.notified() => {}
        }
    }

    #[tokio::test]
    async fn a_single_address_that_refuses_ends_the_call_at_once() {
        let (_held, refusing) = crate::refusing_address();
        let mut options = HaOptions::new("mahout");
        options.sleep_base = Duration::from_secs(3600);
        let proxy = HaProxy::new(vec![refusing.to_string()], &HA_SERVICE_PROTOCOL, options);
        let request = MonitorHealthRequestProto {};
        let answer: Result<MonitorHealthResponseProto, RpcError> =
            proxy.call("monitorHealth", &request, Idempotence::Idempotent).await;
        assert!(matches!(answer, Err(RpcError::Connect { .. })));
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_hide_the_next() {
        // The port is held, so that no other process listens there.
        let (_held, refusing) = crate::refusing_address();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let listening = listener.local_addr().unwrap();
        let options = ClientOptions::new("mahout");
        let connect = |addresses: Vec<SocketAddr>| connect_to_any("name", addresses, &HA_SERVICE_PROTOCOL, &options);

        assert_eq!(connect(vec![refusing, listening]).await.unwrap().peer(), listening);
        let refused = connect(vec![refusing]).await.unwrap_err().to_string();
        assert!(refused.contains(&refusing.to_string()), "{refused}");
        let nowhere = connect(vec![]).await.unwrap_err();
        assert!(matches!(nowhere, RpcError::Connect { address, .. } if address == "name"));
    }
}
