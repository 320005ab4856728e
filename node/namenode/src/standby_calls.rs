//! Clients' calls at a NameNode that is not active: the shell around [`hathi_nameserver::standby_calls`]. It passes calls
//! on to the active, each under its client's own identity.
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
use hathi_nameserver::standby_calls::{self as queue, Answered, Kept, LeaseView, Question, Settled};
use hathi_namesystem::Role;
use hathi_namesystem::passed_on::Turns;
use hathi_net::auth::VOUCHED_PREFIX;
use hathi_net::ipc::{CallIds, ClientOptions, Method, Responder, RpcCall, RpcError, UserInfo, connect_to, protocols};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc};

/// Number of connections to the active.
const CONNECTIONS_MAX: usize = 128;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// An active that does not tell its clock in this time would not serve the call in time either.
const CLOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// A call, the way to answer it, and what sends its client away.
pub struct Refused {
    /// The call.
    pub call: RpcCall,
    /// The way to answer it.
    pub responder: Responder,
    /// The exception with which its client is sent to another NameNode.
    refusal: RemoteException,
}

impl Refused {
    /// Tells the client to go to another NameNode.
    pub fn send_away(self) {
        self.responder.error(&self.refusal);
    }
}

/// A call that is not served at once.
pub type StandbyCall = Kept<Refused>;

/// A call that was refused. It arrived after `since_ms`.
#[must_use]
pub fn refused(call: RpcCall, responder: Responder, refusal: RemoteException, since_ms: u64) -> StandbyCall {
    let is_clients = matches!(call.method, Method::Client(_));
    let was_sent_away = call.retry_count > 0;
    let refused = Refused {
        call,
        responder,
        refusal,
    };
    Kept::new(refused, is_clients, was_sent_away, since_ms)
}

/// The waiting calls, and the tasks that settle them.
pub struct StandbyCalls {
    queue: Mutex<queue::StandbyCalls<Refused>>,
    questions: mpsc::UnboundedSender<Question<Refused>>,
    /// Told when the view of the lease has changed.
    view_changed: Notify,
    turns: Mutex<Turns>,
    /// Number of calls that were passed on.
    passed_on: AtomicU64,
}

impl StandbyCalls {
    /// No call waits yet. [`settle_all`] receives the `questions`.
    #[must_use]
    pub fn new(questions: mpsc::UnboundedSender<Question<Refused>>) -> Self {
        StandbyCalls {
            queue: Mutex::default(),
            questions,
            view_changed: Notify::new(),
            turns: Mutex::new(Turns::new(0)),
            passed_on: AtomicU64::new(0),
        }
    }

    /// Whether another NameNode was active since this process began.
    #[must_use]
    pub fn another_was_active(&self) -> bool {
        self.queue.lock().another_was_active()
    }

    /// Number of calls that have waited.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.queue.lock().kept()
    }

    /// Number of calls that were passed on.
    #[must_use]
    pub fn passed_on(&self) -> u64 {
        self.passed_on.load(Ordering::Relaxed)
    }

    fn ask(&self, question: Question<Refused>) {
        // The receiver is gone only when the process ends.
        if let Err(mpsc::error::SendError(question)) = self.questions.send(question) {
            question.kept.call.send_away();
        }
    }

    /// Waits until this one is not known to be active any more.
    async fn until_not_active(&self, holder: &str) {
        loop {
            let changed = self.view_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.queue.lock().is_active(holder) {
                return;
            }
            changed.await;
        }
    }
}

impl NameNode {
    /// Keeps a call, or asks the active about it. Returns it when neither is possible.
    #[expect(
        clippy::result_large_err,
        reason = "the call is given back as it came; nothing is to be allocated for that"
    )]
    pub fn keep_call(&self, kept: StandbyCall) -> Result<(), StandbyCall> {
        let question = {
            let mut queue = self.standby_calls.queue.lock();
            // The role is asked under the lock: a task that changes the role or the view looks through the waiting calls
            // after that.
            queue.keep(kept, self.role(), self.clock.ms(), |refused| {
                refused.responder.let_look()
            })?
        };
        if let Some(question) = question {
            self.standby_calls.ask(question);
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
    pub fn take_kept_calls(&self) -> impl Iterator<Item = StandbyCall> {
        let taken = self.standby_calls.queue.lock().take();
        taken.into_iter()
    }

    /// Looks at the waiting calls again, because time has passed or a NameNode has become active.
    pub fn review_kept_calls(&self) {
        let is_gone = |refused: &Refused| refused.responder.is_closed();
        let reviewed = {
            let mut queue = self.standby_calls.queue.lock();
            queue.review(self.role(), self.clock.ms(), is_gone)
        };
        for question in reviewed.questions {
            self.standby_calls.ask(question);
        }
        for refused in reviewed.sent_away {
            refused.send_away();
        }
    }

    /// Sets the view of the lease. The lease watchers call it.
    pub fn set_lease_view(&self, view: LeaseView) {
        if self.standby_calls.queue.lock().set_view(view) {
            self.standby_calls.view_changed.notify_waiters();
            self.review_kept_calls();
        }
    }

    /// Asks the active about a call, for as long as it is the active.
    async fn settle(&self, question: Question<Refused>) -> Settled<Refused, bytes::Bytes> {
        let holder = &question.holder;
        let answered = tokio::select! {
            answer = self.ask_active(&question.kept, holder) => answered(answer, &question),
            () = self.standby_calls.until_not_active(holder) => Answered::NotActive,
        };
        self.standby_calls.queue.lock().settle(question, answered)
    }

    /// The active's answer to a call that stays. For any other call only a connection to the active is tried. The
    /// active is asked in the same way as by the client itself: in the name of its user and with the ids of its call.
    /// The client's address is told in the way of Hadoop's routers (`RouterRpcClient.addClientInfoToCallerContext`).
    async fn ask_active(&self, kept: &StandbyCall, holder: &str) -> Result<Option<bytes::Bytes>, RpcError> {
        let Refused { call, responder, .. } = &kept.call;
        let id = holder.rsplit_once('@').map_or(holder, |(id, _)| id);
        let Some(active) = self.settings.peers.iter().find(|peer| peer.namenode_id == id) else {
            return Err(RpcError::Connect {
                address: holder.to_owned(),
                reason: "no NameNode of this configuration".to_owned(),
            });
        };
        let address = active.rpc.to_string();
        if !kept.is_passed_on() {
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
            Some(clock_ms) if responder.is_waiting() => {
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

fn answered(answer: Result<Option<bytes::Bytes>, RpcError>, question: &Question<Refused>) -> Answered<bytes::Bytes> {
    let (holder, method) = (&question.holder, question.kept.call.call.method.name());
    match answer {
        Ok(None) => Answered::Reached,
        Ok(Some(message)) => Answered::Answer(Ok(message)),
        Err(RpcError::Remote(exception)) => {
            tracing::debug!(%holder, method, %exception, "the active refuses a call that was passed on");
            Answered::Answer(Err(exception))
        }
        Err(error) => {
            tracing::debug!(%holder, method, %error, "the active does not answer");
            Answered::Failed
        }
    }
}

/// Settles calls, for as long as the process lives.
pub async fn settle_all(
    nn: Arc<NameNode>,
    handler: Arc<Handler>,
    mut questions: mpsc::UnboundedReceiver<Question<Refused>>,
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some(question) = questions.recv().await {
        // The semaphore is never closed.
        let connection = connections.clone().acquire_owned().await;
        let (nn, handler) = (nn.clone(), handler.clone());
        tokio::spawn(async move {
            let settled = nn.settle(question).await;
            drop(connection);
            match settled {
                Settled::SendAway(refused) => refused.send_away(),
                Settled::Answer(refused, Ok(message)) => refused.responder.ok_encoded(&message),
                Settled::Answer(refused, Err(error)) => refused.responder.error(&error),
                Settled::Again(kept) => match nn.keep_call(kept) {
                    Ok(()) => {}
                    Err(kept) if nn.role() == Role::Active => handler.serve(kept),
                    Err(kept) => kept.call.send_away(),
                },
            }
        });
    }
}
