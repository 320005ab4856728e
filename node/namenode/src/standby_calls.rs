//! Clients' calls at a NameNode that is not active, which wait here or are asked about at the active: the shell around
//! [`hathi_nameserver::standby_calls`].

use crate::clock::Clock;
use crate::replies::Replies;
use hathi_formats::exceptions::RemoteException;
use hathi_nameserver::standby_calls::{self as queue, Answered, Kept, LeaseView, Settled};
use hathi_namesystem::passed_on::Turns;
use hathi_net::ipc::{Method, Responder, RpcCall};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

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

/// A call, and the active that is asked about it.
pub type Question = queue::Question<Refused>;
/// Receives the questions.
pub type Questions = mpsc::UnboundedSender<Question>;

/// The waiting calls.
pub struct StandbyCalls {
    replies: Arc<Replies>,
    clock: Clock,
    queue: Mutex<queue::StandbyCalls<Refused>>,
    questions: Questions,
    /// Told when the view of the lease has changed.
    view_changed: Notify,
    /// The process that is known to have been active last.
    former_active: Mutex<Option<Arc<str>>>,
    turns: Mutex<Turns>,
    passed_on: AtomicU64,
}

impl StandbyCalls {
    /// No call waits yet.
    #[must_use]
    pub fn new(replies: Arc<Replies>, clock: Clock, questions: Questions) -> Self {
        StandbyCalls {
            replies,
            clock,
            queue: Mutex::default(),
            questions,
            view_changed: Notify::new(),
            former_active: Mutex::default(),
            turns: Mutex::new(Turns::new(0)),
            passed_on: AtomicU64::new(0),
        }
    }

    /// Whether another NameNode was active since this process began.
    #[must_use]
    pub fn another_was_active(&self) -> bool {
        self.queue.lock().another_was_active()
    }

    /// The process that is known to have been active last, since this one began.
    #[must_use]
    pub fn former_active(&self) -> Option<Arc<str>> {
        self.former_active.lock().clone()
    }

    /// This process, the `holder` of the lease, has become active.
    pub fn this_one_is_active(&self, holder: &str) {
        *self.former_active.lock() = Some(holder.into());
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

    /// A call is passed on to the active.
    pub fn count_passed_on(&self) {
        self.passed_on.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps a call, or asks the active about it. Returns it when neither is possible.
    #[expect(
        clippy::result_large_err,
        reason = "the call is given back as it came; nothing is to be allocated for that"
    )]
    pub fn keep(&self, kept: StandbyCall) -> Result<(), StandbyCall> {
        let question = {
            let mut queue = self.queue.lock();
            // The role is asked under the lock: a task that changes the role or the view looks through the waiting calls
            // after that.
            let role = self.replies.standing().role;
            queue.keep(kept, role, self.clock.ms(), |refused| refused.responder.let_look())?
        };
        if let Some(question) = question {
            self.ask(question);
        }
        Ok(())
    }

    /// Takes the waiting calls, to be served because this NameNode is active.
    pub fn take(&self) -> impl Iterator<Item = StandbyCall> {
        let taken = self.queue.lock().take();
        taken.into_iter()
    }

    /// Looks at the waiting calls again, because time has passed or a NameNode has become active.
    pub fn review(&self) {
        let reviewed = {
            let mut queue = self.queue.lock();
            let role = self.replies.standing().role;
            queue.review(role, self.clock.ms(), |refused| refused.responder.is_closed())
        };
        for question in reviewed.questions {
            self.ask(question);
        }
        for refused in reviewed.sent_away {
            refused.send_away();
        }
    }

    /// Sets the view of the lease. The lease watchers call it.
    pub fn set_view(&self, view: LeaseView) {
        if let LeaseView::HeldByOther(holder) = &view {
            let mut former = self.former_active.lock();
            if former.as_ref() != Some(holder) {
                let before = former.replace(holder.clone());
                drop(former);
                tracing::info!(active = %holder, before = before.as_deref().unwrap_or("nobody"), "another NameNode is active now");
            }
        }
        if self.queue.lock().set_view(view) {
            self.view_changed.notify_waiters();
            self.review();
        }
    }

    fn ask(&self, question: Question) {
        // The receiver is gone only when the process ends.
        if let Err(mpsc::error::SendError(question)) = self.questions.send(question) {
            question.kept.call.send_away();
        }
    }

    /// Waits until this one is not known to be active any more.
    pub async fn until_not_active(&self, holder: &str) {
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

    /// Waits until another NameNode is known to be active.
    pub async fn until_another_is_active(&self) {
        loop {
            let changed = self.view_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.queue.lock().another_is_active() {
                return;
            }
            changed.await;
        }
    }

    /// What follows from the answer to a question.
    pub fn settle(&self, question: Question, answered: Answered<bytes::Bytes>) -> Settled<Refused, bytes::Bytes> {
        self.queue.lock().settle(question, answered)
    }

    /// Earliest time at which a call that is read now can have arrived.
    #[must_use]
    pub fn came_after_ms(&self) -> u64 {
        self.turns.lock().came_after_ms()
    }

    /// Notes again and again that the thread of this task reads calls. To be run on a reactor of the server.
    pub async fn count_turns(self: Arc<Self>) {
        loop {
            let now_ms = self.clock.ms();
            self.turns.lock().turn(now_ms);
            tokio::time::sleep(Duration::from_millis(Turns::EVERY_MS)).await;
        }
    }
}
