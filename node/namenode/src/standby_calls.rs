//! Clients' calls at a NameNode that is not the active.
//!
//! A StandbyException sends a client on to the next NameNode. The first one within a call costs it nothing, but each
//! further one makes it sleep, half a second and more (`RetryPolicies.FailoverOnNetworkExceptionRetry`): much longer than
//! a failover takes. So whoever has been sent away before is not sent away again: while nobody is active its call waits
//! here, and once somebody is, the call is passed on to it under the client's own identity. To the active it is a call
//! that was sent again over another connection, so that it is served once however often it arrives. The client's next
//! call, a first attempt again, is sent away and finds the active by itself.

use crate::rpc::Handler;
use crate::state::NameNode;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_namesystem::Role;
use hathi_net::ipc::{CallIds, ClientOptions, Responder, RpcCall, RpcError, UserInfo, connect_to, protocols};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};

/// Calls that wait or are being passed on; above that clients get StandbyException.
const CALLS_MAX: usize = 4096;
/// For how long a call is kept: longer than a failover takes, shorter than a client's patience.
const KEEP_MS: u64 = 3000;
/// Connections on which calls are passed on at a time.
const CONNECTIONS_MAX: usize = 128;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What a standby knows of the lease of the active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseView {
    /// The JournalNodes know no leases, or too few answer: calls are not kept.
    Unknown,
    /// Another NameNode, this one, holds it.
    HeldByOther(Arc<str>),
    /// Nobody holds it: somebody is about to.
    Free,
}

/// What becomes of a call.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Wait,
    /// To the active, by its name as a holder of the lease.
    PassOn(Arc<str>),
    SendAway,
}

/// `stays`: its client would sleep if it were sent away, or it has waited here already. `refused_by`: the last one to
/// whom it was passed on in vain; there will be another one soon, or the client is no better off elsewhere.
fn fate(role: Role, view: &LeaseView, stays: bool, refused_by: Option<&str>, waited_ms: u64) -> Fate {
    if waited_ms >= KEEP_MS {
        return Fate::SendAway;
    }
    match (role, view) {
        (Role::BecomingActive | Role::SteppingDown, _) | (Role::Standby, LeaseView::Free) => Fate::Wait,
        (Role::Standby, LeaseView::HeldByOther(holder)) if stays => {
            if refused_by == Some(holder) {
                Fate::Wait
            } else {
                Fate::PassOn(holder.clone())
            }
        }
        (Role::Standby | Role::Initializing | Role::Active, _) => Fate::SendAway,
    }
}

/// A call that is not served at once.
pub struct StandbyCall {
    /// The call.
    pub call: RpcCall,
    /// The way back.
    pub responder: Responder,
    since_ms: u64,
    stays: bool,
    refused_by: Option<Arc<str>>,
}

impl StandbyCall {
    /// One that has just come.
    #[must_use]
    pub fn new(call: RpcCall, responder: Responder, now_ms: u64) -> Self {
        StandbyCall {
            stays: is_of_client(&call) && call.retry_count > 0,
            call,
            responder,
            since_ms: now_ms,
            refused_by: None,
        }
    }

    /// Tells the client to go to another NameNode.
    pub fn send_away(self) {
        self.responder.error(&RemoteException::new(
            exceptions::STANDBY,
            "Operation category READ is not supported in state standby",
        ));
    }

    fn fate(&self, role: Role, view: &LeaseView, now_ms: u64) -> Fate {
        let waited_ms = now_ms.saturating_sub(self.since_ms);
        fate(role, view, self.stays, self.refused_by.as_deref(), waited_ms)
    }
}

fn is_of_client(call: &RpcCall) -> bool {
    std::ptr::eq(call.protocol, &protocols::CLIENT_PROTOCOL)
}

/// A call and to whom it is passed on.
pub type Pass = (StandbyCall, Arc<str>);

/// The calls that wait, and what decides about them.
pub struct StandbyCalls {
    view: watch::Sender<LeaseView>,
    waiting: Mutex<VecDeque<StandbyCall>>,
    passes: mpsc::UnboundedSender<Pass>,
    under_way: AtomicUsize,
    /// How many have waited.
    pub kept: AtomicU64,
    /// How many were passed on.
    pub passed_on: AtomicU64,
}

impl StandbyCalls {
    /// None yet; those to be passed on go to the other end of `passes`, which is [`pass_on_calls`].
    #[must_use]
    pub fn new(passes: mpsc::UnboundedSender<Pass>) -> Self {
        StandbyCalls {
            view: watch::Sender::new(LeaseView::Unknown),
            waiting: Mutex::default(),
            passes,
            under_way: AtomicUsize::new(0),
            kept: AtomicU64::new(0),
            passed_on: AtomicU64::new(0),
        }
    }

    fn pass_on(&self, call: StandbyCall, holder: Arc<str>) {
        self.passed_on.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        if let Err(mpsc::error::SendError((call, _))) = self.passes.send((call, holder)) {
            call.send_away();
        }
    }
}

impl NameNode {
    /// Keeps a call, or passes it on; gives it back when it is neither.
    #[expect(
        clippy::result_large_err,
        reason = "the call is given back as it came; nothing is to be allocated for that"
    )]
    pub fn keep_call(&self, mut call: StandbyCall) -> Result<(), StandbyCall> {
        let calls = &self.standby_calls;
        let mut waiting = calls.waiting.lock();
        // Asked under the lock: whoever changes the role or the view looks through the calls after that.
        let fate = call.fate(self.role(), &calls.view.borrow(), self.clock.ms());
        if fate == Fate::SendAway || waiting.len() + calls.under_way.load(Ordering::Relaxed) >= CALLS_MAX {
            return Err(call);
        }
        call.stays = is_of_client(&call.call);
        match fate {
            Fate::PassOn(holder) => calls.pass_on(call, holder),
            Fate::Wait | Fate::SendAway => {
                calls.kept.fetch_add(1, Ordering::Relaxed);
                waiting.push_back(call);
            }
        }
        Ok(())
    }

    /// Takes the calls that wait, to be served now that this NameNode is active.
    pub fn take_kept_calls(&self) -> VecDeque<StandbyCall> {
        std::mem::take(&mut self.standby_calls.waiting.lock())
    }

    /// Looks at the calls that wait again: time has passed, or somebody is active now.
    pub fn review_kept_calls(&self) {
        let calls = &self.standby_calls;
        let (role, now_ms) = (self.role(), self.clock.ms());
        let mut waiting = calls.waiting.lock();
        for call in std::mem::take(&mut *waiting) {
            let fate = call.fate(role, &calls.view.borrow(), now_ms);
            match fate {
                Fate::Wait => waiting.push_back(call),
                Fate::PassOn(holder) => calls.pass_on(call, holder),
                Fate::SendAway => call.send_away(),
            }
        }
    }

    /// Set by the lease watcher.
    pub fn set_lease_view(&self, view: LeaseView) {
        let changed = self.standby_calls.view.send_if_modified(|known| {
            let changed = *known != view;
            *known = view;
            changed
        });
        if changed {
            self.review_kept_calls();
        }
    }

    /// One call's way to the active and back. Ends also when somebody else is active, or nobody.
    async fn pass_on(&self, mut call: StandbyCall, holder: Arc<str>) -> Result<(), StandbyCall> {
        let mut view = self.standby_calls.view.subscribe();
        let answer = tokio::select! {
            answer = self.ask_active(&call.call, &holder) => Some(answer),
            _ = view.wait_for(|view| !matches!(view, LeaseView::HeldByOther(now) if *now == holder)) => None,
        };
        match answer {
            Some(Ok(message)) => call.responder.ok_encoded(&message),
            Some(Err(RpcError::Remote(exception))) if !exception.is(exceptions::STANDBY) => {
                call.responder.error(&exception);
            }
            Some(Err(error)) => {
                tracing::debug!(%holder, method = call.call.method, %error, "a call could not be passed on");
                call.refused_by = Some(holder);
                return Err(call);
            }
            None => return Err(call),
        }
        Ok(())
    }

    /// As the client itself would ask, in the name of its user and with the ids of its call; its address is told as
    /// Hadoop's routers do (`RouterRpcClient.addClientInfoToCallerContext`).
    async fn ask_active(&self, call: &RpcCall, holder: &str) -> Result<bytes::Bytes, RpcError> {
        let id = holder.rsplit_once('@').map_or(holder, |(id, _)| id);
        let Some(active) = self.settings.peers.iter().find(|peer| peer.namenode_id == id) else {
            return Err(RpcError::Connect {
                address: holder.to_owned(),
                reason: "no NameNode of this configuration".to_owned(),
            });
        };
        let mut context = format!("clientIp:{},clientPort:{}", call.peer.ip(), call.peer.port());
        if let Some(own) = &call.caller_context {
            context = format!("{},{context}", String::from_utf8_lossy(&own.context));
        }
        let options = ClientOptions {
            user: UserInfo {
                user: call.user.user.clone(),
                real_user: Some(self.settings.user.clone()),
            },
            client_id: call.client_id,
            connect_timeout: CONNECT_TIMEOUT,
            caller_context: Some(context),
            ..ClientOptions::new(&self.settings.user)
        };
        let client = connect_to(&active.rpc.to_string(), call.protocol, &options).await?;
        let ids = CallIds {
            client_id: call.client_id,
            call_id: call.call_id,
            // Who is not active after all sends it back instead of passing it on once more.
            retry_count: 0,
        };
        client
            .call_encoded(call.method, &call.body, Some(ids), None)
            .encoded()
            .await
    }
}

/// Passes calls on for as long as the process lives.
pub async fn pass_on_calls(nn: Arc<NameNode>, handler: Arc<Handler>, mut passes: mpsc::UnboundedReceiver<Pass>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some((call, holder)) = passes.recv().await {
        // The semaphore is never closed.
        let connection = connections.clone().acquire_owned().await;
        let (nn, handler) = (nn.clone(), handler.clone());
        tokio::spawn(async move {
            let passed = nn.pass_on(call, holder).await;
            nn.standby_calls.under_way.fetch_sub(1, Ordering::Relaxed);
            drop(connection);
            let Err(call) = passed else {
                return;
            };
            match nn.keep_call(call) {
                Ok(()) => {}
                Err(call) if nn.role() == Role::Active => handler.serve(call.call, call.responder),
                Err(call) => call.send_away(),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(holder: &str) -> LeaseView {
        LeaseView::HeldByOther(holder.into())
    }

    #[test]
    fn a_first_attempt_is_sent_away_while_somebody_is_active() {
        assert_eq!(fate(Role::Standby, &held("nn1@a"), false, None, 0), Fate::SendAway);
        assert_eq!(fate(Role::Standby, &LeaseView::Free, false, None, 0), Fate::Wait);
    }

    #[test]
    fn who_would_sleep_is_passed_on() {
        let to = |holder: &str| Fate::PassOn(holder.into());
        assert_eq!(fate(Role::Standby, &held("nn1@a"), true, None, 0), to("nn1@a"));
        assert_eq!(fate(Role::Standby, &held("nn2@b"), true, Some("nn1@a"), 0), to("nn2@b"));
        // It is dead, and will soon be known to be.
        assert_eq!(fate(Role::Standby, &held("nn1@a"), true, Some("nn1@a"), 0), Fate::Wait);
        assert_eq!(
            fate(Role::Standby, &LeaseView::Free, true, Some("nn1@a"), 0),
            Fate::Wait
        );
    }

    #[test]
    fn nothing_is_kept_for_ever_or_in_vain() {
        for view in [LeaseView::Free, held("nn1@a")] {
            assert_eq!(fate(Role::Standby, &view, true, Some("nn1@a"), KEEP_MS), Fate::SendAway);
        }
        assert_eq!(fate(Role::Standby, &LeaseView::Unknown, true, None, 0), Fate::SendAway);
        assert_eq!(
            fate(Role::Initializing, &LeaseView::Free, true, None, 0),
            Fate::SendAway
        );
        assert_eq!(fate(Role::Active, &LeaseView::Free, true, None, 0), Fate::SendAway);
        assert_eq!(fate(Role::BecomingActive, &held("nn1@a"), false, None, 0), Fate::Wait);
    }
}
