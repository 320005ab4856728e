//! What becomes of a client's call at a NameNode that is not the active.
//!
//! Hadoop's has one answer, a StandbyException, which sends the client on to the next NameNode. The first one within a call
//! costs the client nothing, but each further one makes it sleep for half a second and more
//! (`RetryPolicies.FailoverOnNetworkExceptionRetry`), much longer than a failover takes. So here a call waits while nobody
//! is active, and is passed on once somebody is.
//!
//! A call passed on is, to the active, a call that was repeated over another connection, so it is served once however
//! often it arrives. The client's next call is a first attempt again. It is sent away and finds the active by itself, but
//! only after a connection to the active was made: clients are often the first to hear of a dead active, and a client that
//! is sent to a dead one would sleep, too.
//!
//! Invariants:
//! - At most [`CALLS_MAX`] calls wait or are asked about.
//! - Nothing waits longer than [`KEEP_MS`], except at the only NameNode of its nameservice while it loads.
//! - A call is passed on only if its client would sleep if it were sent away, or has waited here already.
//! - No active is asked twice in a row about the same call.

use hathi_formats::exceptions::{self, RemoteException};
use hathi_namesystem::Role;
use std::collections::VecDeque;
use std::sync::Arc;

/// Number of calls that may wait here or may be under way to the active. Above it clients get StandbyException.
pub const CALLS_MAX: usize = 4096;
/// How long a call is kept, in ms: longer than a failover takes, and shorter than a client's patience.
pub const KEEP_MS: u64 = 3000;

/// What a standby knows of the active's read lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseView {
    /// The JournalNodes know no leases, or too few of them agree, as for the moments of an election.
    Unknown,
    /// This NameNode, another one, holds it.
    HeldByOther(Arc<str>),
    /// Nobody holds it, so some NameNode is about to.
    Free,
    /// There is no other NameNode, so a client that calls while this one loads can't go elsewhere. Hadoop's NameNode
    /// does not listen before it has loaded, and its clients connect again and again. But they would not repeat a call
    /// that was answered.
    NoOther,
}

/// A call that is not served at once. `C` stands for the call and the way to answer it.
#[derive(Debug)]
pub struct Kept<C> {
    /// The call.
    pub call: C,
    /// It arrived after this time of the monotonic clock in ms.
    since_ms: u64,
    /// Whether a client sent it. Other daemons find their way by themselves.
    is_clients: bool,
    /// Whether the call stays here: its client would sleep if it were sent away, or it has waited here already.
    stays: bool,
    /// The active that was last asked in vain. There will soon be another one, or else the client is no better off
    /// elsewhere.
    refused_by: Option<Arc<str>>,
}

impl<C> Kept<C> {
    /// A call that was refused because this NameNode is not active. `was_sent_away`: whether its client was sent away
    /// before (a retry count above 0).
    #[must_use]
    pub fn new(call: C, is_clients: bool, was_sent_away: bool, since_ms: u64) -> Kept<C> {
        Kept {
            call,
            since_ms,
            is_clients,
            stays: was_sent_away,
            refused_by: None,
        }
    }

    /// Longest time in ms for which it can have been here.
    #[must_use]
    pub fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.since_ms)
    }

    /// Whether the active is asked to serve the call. For any other call only a connection to the active is tried, and
    /// then its client is sent there.
    #[must_use]
    pub fn is_passed_on(&self) -> bool {
        self.stays
    }
}

/// A call, and the active that is asked about it. The active is named as the holder of the lease.
#[derive(Debug)]
pub struct Question<C> {
    /// The call.
    pub kept: Kept<C>,
    /// The active.
    pub holder: Arc<str>,
}

/// What a NameNode says while it has no namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhileLoading {
    /// The call is kept, and its client sent away with this exception when it can't be.
    Keep(RemoteException),
    /// It is refused.
    Refuse(RemoteException),
}

/// What becomes of a call that comes while the namespace is loaded. Clients go to another NameNode meanwhile, if there is
/// one. `has_served`: a namespace was loaded before.
#[must_use]
pub fn while_loading(is_clients: bool, is_single: bool, has_peers: bool, has_served: bool) -> WhileLoading {
    let not_started = || RemoteException::new(exceptions::RETRIABLE, "NameNode still not started");
    match (is_clients, is_single) {
        (true, true) => WhileLoading::Keep(not_started()),
        (true, false) if has_peers => WhileLoading::Keep(not_active()),
        (_, false) if has_served => WhileLoading::Refuse(not_active()),
        _ => WhileLoading::Refuse(not_started()),
    }
}

/// The exception that sends a client to the other NameNode.
#[must_use]
pub fn not_active() -> RemoteException {
    RemoteException::new(exceptions::STANDBY, "This NameNode is not active any more")
}

/// What is done with a call.
#[derive(Debug)]
enum Fate {
    /// It waits here until it is looked at again.
    Wait,
    /// The active is asked about it.
    Ask(Arc<str>),
    /// The client is sent to another NameNode.
    SendAway,
}

/// What came of a question.
#[derive(Debug)]
pub enum Answered<M> {
    /// The active could be reached, or is none of ours: the client finds it by itself.
    Reached,
    /// The active's answer to the call.
    Answer(Result<M, RemoteException>),
    /// The active can't be reached, or died before it answered.
    Failed,
    /// Another NameNode, or none, has become active meanwhile.
    NotActive,
}

/// What follows from the answer to a question.
#[derive(Debug)]
pub enum Settled<C, M> {
    /// The client is sent to another NameNode.
    SendAway(C),
    /// The client gets this answer.
    Answer(C, Result<M, RemoteException>),
    /// It is looked at again, as when it came.
    Again(Kept<C>),
}

/// What follows from a look at the waiting calls.
#[derive(Debug)]
pub struct Reviewed<C> {
    /// The active is asked about these.
    pub questions: Vec<Question<C>>,
    /// The clients of these are sent to another NameNode.
    pub sent_away: Vec<C>,
}

/// The waiting calls, and what decides about them.
#[derive(Debug)]
pub struct StandbyCalls<C> {
    view: LeaseView,
    waiting: VecDeque<Kept<C>>,
    /// Number of questions without an answer.
    under_way: usize,
    another_was_active: bool,
    /// Whether the JournalNodes have ever told of a lease, or that there is none.
    leases: bool,
    /// Number of calls that have waited.
    kept: u64,
}

impl<C> Default for StandbyCalls<C> {
    fn default() -> Self {
        StandbyCalls {
            view: LeaseView::Unknown,
            waiting: VecDeque::new(),
            under_way: 0,
            another_was_active: false,
            leases: false,
            kept: 0,
        }
    }
}

impl<C> StandbyCalls<C> {
    /// Whether another NameNode was active since this process began.
    #[must_use]
    pub fn another_was_active(&self) -> bool {
        self.another_was_active
    }

    /// Number of calls that have waited.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Whether the NameNode of this name is the active, as far as is known.
    #[must_use]
    pub fn is_active(&self, holder: &str) -> bool {
        matches!(&self.view, LeaseView::HeldByOther(now) if **now == *holder)
    }

    /// Whether another NameNode is the active, as far as is known.
    #[must_use]
    pub fn another_is_active(&self) -> bool {
        matches!(self.view, LeaseView::HeldByOther(_))
    }

    /// Keeps a call in this role. The result is a question to the active if one follows. `prepare` is told of a call that
    /// is kept or asked about.
    ///
    /// # Errors
    /// The call is neither kept nor asked about, and is given back.
    pub fn keep(
        &mut self,
        mut kept: Kept<C>,
        role: Role,
        now_ms: u64,
        prepare: impl FnOnce(&C),
    ) -> Result<Option<Question<C>>, Kept<C>> {
        if self.waiting.len() + self.under_way >= CALLS_MAX {
            return Err(kept);
        }
        debug_assert!(
            self.waiting.back().is_none_or(Kept::is_passed_on),
            "what has waited stays"
        );
        match self.fate(&kept, role, now_ms) {
            Fate::SendAway => Err(kept),
            Fate::Ask(holder) => {
                debug_assert!(kept.is_clients, "other daemons find the active by themselves");
                prepare(&kept.call);
                self.under_way += 1;
                Ok(Some(Question { kept, holder }))
            }
            Fate::Wait => {
                prepare(&kept.call);
                kept.stays = true;
                self.kept += 1;
                self.waiting.push_back(kept);
                Ok(None)
            }
        }
    }

    /// Takes the waiting calls, to be served because this NameNode is active.
    pub fn take(&mut self) -> VecDeque<Kept<C>> {
        std::mem::take(&mut self.waiting)
    }

    /// Looks at the waiting calls again, because time has passed or a NameNode has become active. Those whose clients are
    /// gone are forgotten.
    pub fn review(&mut self, role: Role, now_ms: u64, is_gone: impl Fn(&C) -> bool) -> Reviewed<C> {
        let mut reviewed = Reviewed {
            questions: Vec::new(),
            sent_away: Vec::new(),
        };
        if role == Role::Active {
            // They are about to be taken and served.
            return reviewed;
        }
        for kept in self.take() {
            if is_gone(&kept.call) {
                continue;
            }
            match self.fate(&kept, role, now_ms) {
                Fate::Wait => self.waiting.push_back(kept),
                Fate::Ask(holder) => {
                    self.under_way += 1;
                    reviewed.questions.push(Question { kept, holder });
                }
                Fate::SendAway => reviewed.sent_away.push(kept.call),
            }
        }
        debug_assert!(
            self.waiting.len() + self.under_way <= CALLS_MAX,
            "the number of calls is limited"
        );
        reviewed
    }

    /// The view of the lease is this one now. Returns whether that is news, so that the waiting calls have to be looked at.
    pub fn set_view(&mut self, view: LeaseView) -> bool {
        self.another_was_active |= matches!(view, LeaseView::HeldByOther(_));
        self.leases |= view != LeaseView::Unknown;
        let is_news = self.view != view;
        self.view = view;
        is_news
    }

    /// What follows from the answer to a question.
    pub fn settle<M>(&mut self, question: Question<C>, answered: Answered<M>) -> Settled<C, M> {
        debug_assert!(self.under_way > 0, "a question is answered once");
        self.under_way = self.under_way.saturating_sub(1);
        let Question { mut kept, holder } = question;
        match answered {
            Answered::Reached => Settled::SendAway(kept.call),
            // The client repeats the call if it still waits.
            Answered::Answer(Err(error)) if error.is(exceptions::CALL_IN_DOUBT) => Settled::SendAway(kept.call),
            // The call was delayed there. Whether the client still waits is checked again.
            Answered::Answer(Err(error)) if error.is(exceptions::CALL_LATE) => Settled::Again(kept),
            // The call would fare no better at another NameNode now.
            Answered::Answer(Err(error)) if error.is(exceptions::STANDBY) => {
                kept.stays = true;
                kept.refused_by = Some(holder);
                Settled::Again(kept)
            }
            Answered::Failed => {
                kept.stays = true;
                kept.refused_by = Some(holder);
                Settled::Again(kept)
            }
            Answered::NotActive => {
                kept.stays = true;
                kept.refused_by = None;
                Settled::Again(kept)
            }
            Answered::Answer(answer) => Settled::Answer(kept.call, answer),
        }
    }

    fn fate(&self, kept: &Kept<C>, role: Role, now_ms: u64) -> Fate {
        match (role, &self.view) {
            // As long as the client has patience.
            (Role::Initializing, LeaseView::NoOther) => Fate::Wait,
            _ if kept.age_ms(now_ms) >= KEEP_MS => Fate::SendAway,
            (Role::BecomingActive | Role::SteppingDown, _) => Fate::Wait,
            (Role::Standby | Role::Initializing, LeaseView::Unknown) if self.leases => Fate::Wait,
            (Role::Active, _) | (_, LeaseView::Unknown | LeaseView::NoOther) => Fate::SendAway,
            (Role::Standby | Role::Initializing, LeaseView::Free) => Fate::Wait,
            (Role::Standby | Role::Initializing, LeaseView::HeldByOther(holder))
                if kept.refused_by.as_ref() == Some(holder) =>
            {
                Fate::Wait
            }
            (Role::Standby | Role::Initializing, LeaseView::HeldByOther(_)) if !kept.is_clients => Fate::SendAway,
            (Role::Standby | Role::Initializing, LeaseView::HeldByOther(holder)) => Fate::Ask(holder.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
