//! Clients' calls at a NameNode that is not active.
//!
//! A StandbyException sends a client to the next NameNode. The first one in a call costs the client nothing. Each
//! further one makes it sleep for half a second or more (`RetryPolicies.FailoverOnNetworkExceptionRetry`), which is
//! much longer than a failover takes. So a client that was sent away before is not sent away again: its call waits here
//! while no NameNode is active, and is then passed on to the active under the client's own identity. To the active it
//! is a call that was repeated over another connection, so it is served once however often it arrives. The client's
//! next call is a first attempt again. It is sent away and finds the active by itself, but only after a connection to
//! the active was made: clients are often the first to hear of a dead active, and a client that is sent to a dead one
//! would sleep, too.
//!
//! A call whose client has given up must not be applied. The active decides that, by `hathi_namesystem::passed_on`.
//! This side tells it what it needs: the active's own clock, fetched before the client's connection is looked at, and
//! how long the call had been here by then.

use crate::origin::WAITING;
use crate::rpc::Handler;
use crate::settings::Peer;
use crate::state::NameNode;
use hathi_formats::conf::HostPort;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::ext::{GetInstanceRequestProto, GetInstanceResponseProto};
use hathi_nameserver::standby_calls::{CALLS_MAX, Fate, LeaseView, fate};
use hathi_namesystem::Role;
use hathi_namesystem::passed_on::Turns;
use hathi_net::auth::VOUCHED_PREFIX;
use hathi_net::ipc::{CallIds, ClientOptions, Method, Responder, RpcCall, RpcError, UserInfo, connect_to, protocols};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};

/// Number of connections to the active.
const CONNECTIONS_MAX: usize = 128;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// An active that does not tell its clock in this time would not serve the call in time either.
const CLOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// A call that is not served at once.
pub struct StandbyCall {
    /// The call.
    pub call: RpcCall,
    /// The way to answer it.
    pub responder: Responder,
    /// The exception with which its client is sent to another NameNode.
    refusal: RemoteException,
    since_ms: u64,
    /// Whether the call stays here: its client would sleep if it were sent away, or it has waited here already.
    stays: bool,
    refused_by: Option<Arc<str>>,
}

impl StandbyCall {
    /// A call that was refused. It arrived after `since_ms`.
    #[must_use]
    pub fn new(call: RpcCall, responder: Responder, refusal: RemoteException, since_ms: u64) -> Self {
        StandbyCall {
            stays: call.retry_count > 0,
            call,
            responder,
            refusal,
            since_ms,
            refused_by: None,
        }
    }

    /// Longest time in ms for which it can have been here.
    #[must_use]
    pub fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.since_ms)
    }

    /// Tells the client to go to another NameNode.
    pub fn send_away(self) {
        self.responder.error(&self.refusal);
    }

    fn fate(&self, role: Role, view: &LeaseView, leases: bool, now_ms: u64) -> Fate {
        match fate(role, view, leases, self.refused_by.as_deref(), self.age_ms(now_ms)) {
            // Other daemons find their way by themselves.
            Fate::Ask(_) if !matches!(self.call.method, Method::Client(_)) => Fate::SendAway,
            fate => fate,
        }
    }
}

/// A call, and the active that is asked about it.
pub type Question = (StandbyCall, Arc<str>);

/// The waiting calls, and the state that decides about them.
pub struct StandbyCalls {
    view: watch::Sender<LeaseView>,
    waiting: Mutex<VecDeque<StandbyCall>>,
    questions: mpsc::UnboundedSender<Question>,
    under_way: AtomicUsize,
    another_was_active: AtomicBool,
    /// Whether the JournalNodes have ever told of a lease, or that there is none.
    leases: AtomicBool,
    turns: Mutex<Turns>,
    /// Number of calls that have waited.
    pub kept: AtomicU64,
    /// Number of calls that were passed on.
    pub passed_on: AtomicU64,
}

impl StandbyCalls {
    /// No call waits yet. [`settle_all`] receives the `questions`.
    #[must_use]
    pub fn new(questions: mpsc::UnboundedSender<Question>) -> Self {
        StandbyCalls {
            view: watch::Sender::new(LeaseView::Unknown),
            waiting: Mutex::default(),
            questions,
            under_way: AtomicUsize::new(0),
            another_was_active: AtomicBool::new(false),
            leases: AtomicBool::new(false),
            turns: Mutex::new(Turns::new(0)),
            kept: AtomicU64::new(0),
            passed_on: AtomicU64::new(0),
        }
    }

    /// Whether another NameNode was active since this process began.
    #[must_use]
    pub fn another_was_active(&self) -> bool {
        self.another_was_active.load(Ordering::Acquire)
    }

    fn ask(&self, call: StandbyCall, holder: Arc<str>) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        if let Err(mpsc::error::SendError((call, _))) = self.questions.send((call, holder)) {
            call.send_away();
        }
    }
}

impl NameNode {
    /// Keeps a call, or asks the active about it. Returns it when neither is possible.
    #[expect(
        clippy::result_large_err,
        reason = "the call is given back as it came; nothing is to be allocated for that"
    )]
    pub fn keep_call(&self, mut call: StandbyCall) -> Result<(), StandbyCall> {
        let calls = &self.standby_calls;
        let mut waiting = calls.waiting.lock();
        // Asked under the lock: a task that changes the role or the view looks through the waiting calls after that.
        let leases = calls.leases.load(Ordering::Acquire);
        let fate = call.fate(self.role(), &calls.view.borrow(), leases, self.clock.ms());
        if fate == Fate::SendAway || waiting.len() + calls.under_way.load(Ordering::Relaxed) >= CALLS_MAX {
            return Err(call);
        }
        call.responder.let_look();
        match fate {
            Fate::Ask(holder) => calls.ask(call, holder),
            Fate::Wait | Fate::SendAway => {
                call.stays = true;
                calls.kept.fetch_add(1, Ordering::Relaxed);
                waiting.push_back(call);
            }
        }
        Ok(())
    }

    /// Earliest time at which a call that is read now can have arrived.
    #[must_use]
    pub fn came_after_ms(&self) -> u64 {
        self.standby_calls.turns.lock().came_after_ms()
    }

    /// Notes again and again that the thread of this task reads calls. To be run on a reactor of the server.
    pub async fn count_turns(self: Arc<Self>) {
        loop {
            let now_ms = self.clock.ms();
            self.standby_calls.turns.lock().turn(now_ms);
            tokio::time::sleep(Duration::from_millis(Turns::EVERY_MS)).await;
        }
    }

    /// Takes the waiting calls, to be served because this NameNode is active.
    pub fn take_kept_calls(&self) -> VecDeque<StandbyCall> {
        std::mem::take(&mut self.standby_calls.waiting.lock())
    }

    /// Looks at the waiting calls again, because time has passed or a NameNode has become active.
    pub fn review_kept_calls(&self) {
        let calls = &self.standby_calls;
        let (role, now_ms) = (self.role(), self.clock.ms());
        if role == Role::Active {
            // They are about to be taken and served.
            return;
        }
        let mut waiting = calls.waiting.lock();
        for call in std::mem::take(&mut *waiting) {
            if call.responder.is_closed() {
                continue;
            }
            let leases = calls.leases.load(Ordering::Acquire);
            let fate = call.fate(role, &calls.view.borrow(), leases, now_ms);
            match fate {
                Fate::Wait => waiting.push_back(call),
                Fate::Ask(holder) => calls.ask(call, holder),
                Fate::SendAway => call.send_away(),
            }
        }
    }

    /// Sets the view of the lease. The lease watchers call it.
    pub fn set_lease_view(&self, view: LeaseView) {
        if matches!(view, LeaseView::HeldByOther(_)) {
            self.standby_calls.another_was_active.store(true, Ordering::Release);
        }
        if view != LeaseView::Unknown {
            self.standby_calls.leases.store(true, Ordering::Release);
        }
        let changed = self.standby_calls.view.send_if_modified(|known| {
            let changed = *known != view;
            *known = view;
            changed
        });
        if changed {
            self.review_kept_calls();
        }
    }

    /// Passes a call on to the active, or sends its client there. Returns the call when that is impossible, also when
    /// another NameNode, or none, has become active meanwhile.
    async fn settle(&self, mut call: StandbyCall, holder: Arc<str>) -> Result<(), StandbyCall> {
        let mut view = self.standby_calls.view.subscribe();
        let answer = tokio::select! {
            answer = self.ask_active(&call, &holder) => Some(answer),
            _ = view.wait_for(|view| !matches!(view, LeaseView::HeldByOther(now) if *now == holder)) => None,
        };
        match answer {
            Some(Ok(None)) => call.send_away(),
            // The client repeats the call if it still waits.
            Some(Err(RpcError::Remote(exception))) if exception.is(exceptions::CALL_IN_DOUBT) => {
                tracing::debug!(%holder, method = call.call.method.name(), reason = exception.message, "the active has doubts");
                call.send_away();
            }
            // The call was delayed there. Whether the client still waits is checked again.
            Some(Err(RpcError::Remote(exception))) if exception.is(exceptions::CALL_LATE) => return Err(call),
            Some(Ok(Some(message))) => call.responder.ok_encoded(&message),
            Some(Err(RpcError::Remote(exception))) if !exception.is(exceptions::STANDBY) => {
                call.responder.error(&exception);
            }
            failed => {
                tracing::debug!(%holder, method = call.call.method.name(), ?failed, "the active does not answer");
                // The call would fare no better at another NameNode now.
                call.stays = true;
                call.refused_by = failed.map(|_| holder);
                return Err(call);
            }
        }
        Ok(())
    }

    /// The active's answer to a call that stays. For any other call only a connection to the active is tried. The
    /// active is asked in the same way as by the client itself: in the name of its user and with the ids of its call.
    /// The client's address is told in the way of Hadoop's routers (`RouterRpcClient.addClientInfoToCallerContext`).
    async fn ask_active(&self, kept: &StandbyCall, holder: &str) -> Result<Option<bytes::Bytes>, RpcError> {
        let call = &kept.call;
        let id = holder.rsplit_once('@').map_or(holder, |(id, _)| id);
        let Some(active) = self.settings.peers.iter().find(|peer| peer.namenode_id == id) else {
            return Err(RpcError::Connect {
                address: holder.to_owned(),
                reason: "no NameNode of this configuration".to_owned(),
            });
        };
        let address = active.rpc.to_string();
        if !kept.stays {
            let options = ClientOptions {
                connect_timeout: CONNECT_TIMEOUT,
                ..ClientOptions::new(&self.settings.user)
            };
            connect_to(&address, call.method.protocol(), &options).await?;
            return Ok(None);
        }
        let (asked, pass) = match self.clock_and_pass(active).await {
            Ok(asked) => asked,
            // The active is none of ours, or does not know this NameNode.
            Err(RpcError::Remote(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let age_ms = kept.age_ms(self.clock.ms());
        let waiting = match asked.clock_ms {
            Some(clock_ms) if kept.responder.is_waiting() => {
                format!("{WAITING}:{}.{clock_ms}.{age_ms}", asked.instance_id)
            }
            // The client is gone, or the active can't recognize a late call. So nothing is passed on.
            _ => return Ok(None),
        };
        let client = connect_to(
            &address,
            call.method.protocol(),
            &self.options_for(call, waiting, &pass),
        )
        .await?;
        self.standby_calls.passed_on.fetch_add(1, Ordering::Relaxed);
        let ids = CallIds {
            client_id: call.client_id,
            call_id: call.call_id,
            // A NameNode that is not active after all returns the call, and does not pass it on once more.
            retry_count: 0,
        };
        let answer = client.call_encoded(call.method.name(), &call.body, Some(ids), None);
        match answer.encoded().await {
            Err(error) if error.is_remote(exceptions::AUTHORIZATION) => {
                self.passes.forget(&pass);
                Ok(None)
            }
            answered => answered.map(Some),
        }
    }

    /// The active's clock, fetched once its pass is known.
    async fn clock_and_pass(&self, active: &Peer) -> Result<(GetInstanceResponseProto, String), RpcError> {
        let asked = self.clock_of(&active.rpc).await?;
        if let Some(pass) = self.known_pass(&asked.instance_id) {
            return Ok((asked, pass));
        }
        let pass = self.fetch_pass(active, &asked.instance_id).await?;
        Ok((self.clock_of(&active.rpc).await?, pass))
    }

    /// The process that answers at this address, and its clock.
    async fn clock_of(&self, active: &HostPort) -> Result<GetInstanceResponseProto, RpcError> {
        let options = ClientOptions {
            connect_timeout: CONNECT_TIMEOUT,
            call_timeout: CLOCK_TIMEOUT,
            ..ClientOptions::new(&self.settings.user)
        };
        let client = connect_to(&active.to_string(), &protocols::SUPERVISOR_PROTOCOL, &options).await?;
        client.call("getInstance", &GetInstanceRequestProto::default()).await
    }

    /// Options as the client itself would have them, and what is told about the client.
    fn options_for(&self, call: &RpcCall, waiting: String, pass: &str) -> ClientOptions {
        let peer = call.peer;
        let mut context = format!("{waiting},clientIp:{},clientPort:{}", peer.ip(), peer.port());
        if let Some(own) = &call.caller_context {
            context = format!("{},{context}", String::from_utf8_lossy(&own.context));
        }
        ClientOptions {
            user: UserInfo {
                user: call.user.user.clone(),
                real_user: Some(format!("{VOUCHED_PREFIX}{pass}")),
                vouched: false,
            },
            client_id: call.client_id,
            connect_timeout: CONNECT_TIMEOUT,
            caller_context: Some(context),
            ..ClientOptions::new(&self.settings.user)
        }
    }
}

/// Decides about calls, for as long as the process lives.
pub async fn settle_all(nn: Arc<NameNode>, handler: Arc<Handler>, mut questions: mpsc::UnboundedReceiver<Question>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some((call, holder)) = questions.recv().await {
        // The semaphore is never closed.
        let connection = connections.clone().acquire_owned().await;
        let (nn, handler) = (nn.clone(), handler.clone());
        tokio::spawn(async move {
            let settled = nn.settle(call, holder).await;
            nn.standby_calls.under_way.fetch_sub(1, Ordering::Relaxed);
            drop(connection);
            let Err(call) = settled else {
                return;
            };
            match nn.keep_call(call) {
                Ok(()) => {}
                Err(call) if nn.role() == Role::Active => handler.serve(call),
                Err(call) => call.send_away(),
            }
        });
    }
}
