//! The `zookeeper` elector: Hadoop's `ActiveStandbyElector`, as a function of what ZooKeeper answers.
//!
//! ```text
//!            stand                 created, or found to be one's own
//!   out ───────────────► asking ───────────────────────────────────► reading the breadcrumb
//!    ▲                     │ ▲ gone, or a new session                   │ another one's       │ none, or one's own
//!    │ quit                │ └───────────────────┐                      ▼                     │
//!    │              exists ▼                     │                   fencing ── fenced ──────►│
//!    └───────────────── waiting ── its watch ────┘                      │                     ▼
//!                          ▲                                  could not │          writing the breadcrumb
//!                          │                                            ▼                     │ written
//!                       (a new session, after a pause) ◄── abandoned ◄──┴──── refused ── promoting ──► active
//! ```
//!
//! A lock that names the local NameNode may belong to an earlier session, of its controller before it was restarted.
//! Such a lock keeps all others out, so the NameNode may keep its role until that session ends. Hadoop's controller
//! makes an active NameNode a standby then.
//!
//! There are two znodes below that of the nameservice. The *lock* is ephemeral, and the NameNode of the session that
//! created it is elected. The *breadcrumb* is persistent and names the NameNode that was promoted last. An elected
//! NameNode's controller fences the one that the breadcrumb names, unless that is its own.
//!
//! The breadcrumb is written before the promotion. If the JournalNodes refuse the promotion, because a NameNode that
//! was said to be fenced goes on, nothing in ZooKeeper names that NameNode any more. So the refused controller
//! remembers the holder of the read lease. If it wins the lock again and that NameNode still holds the lease, it fences
//! that one as well, until a fencing succeeds in truth. This memory may be lost at any time: then the next promotion is
//! refused once more.
//!
//! Invariants:
//! - [`Duty::Promote`] is asked only in a session that was seen to have the lock, after the breadcrumb was read in this
//!   session, the NameNode in it was fenced, and the own information was written.
//! - A controller deletes the breadcrumb only if it wrote it and its NameNode need not be fenced: because the NameNode
//!   stepped down, or its process was seen to be gone.
//! - A lost connection decides nothing: without ZooKeeper no NameNode can be elected, so the active goes on. Only an
//!   expired session, or a lock that belongs to another session, ends the active role.
//! - Answers of an earlier session are ignored.

use super::{
    Duty, ElectionCandidate, ElectionEvent, ElectionStanding, Elector, ElectorMessage, ElectorRequest, Former,
};

/// Name of the lock below `<parent>/<nameservice>`.
pub const LOCK: &str = "ActiveStandbyElectorLock";
/// Name of the persistent znode that names the last promoted NameNode.
pub const BREADCRUMB: &str = "ActiveBreadCrumb";

/// How long a controller stays out after its NameNode could not be promoted
/// (`ActiveStandbyElector.SLEEP_TIME_AFTER_FAILURE_TO_BECOME_ACTIVE`).
pub const PAUSE_AFTER_FAILURE_MS: u64 = 1000;

/// Number of a session, in the order of their opening.
pub type SessionNumber = u64;

/// Why ZooKeeper did not carry out a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZooKeeperRefusal {
    /// A znode with this name exists.
    Exists,
    /// No znode has this name, or its parent is missing.
    Missing,
    /// The znode has another version than the named one.
    OtherVersion,
    /// The connection was lost, so it is unknown whether the request was carried out. The next request waits for a
    /// connection.
    ConnectionLost,
    /// Any other reason, such as a missing right. The request is not repeated.
    Other(String),
}

/// Requests to ZooKeeper. Those of a session are sent in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZooKeeperRequest {
    /// A new session.
    Open,
    /// End the session, and with it the lock.
    Close,
    /// Create the lock with the information of the local NameNode.
    CreateLock,
    /// Read the owner of the lock, and set a watch on it.
    LookAtLock,
    /// Read the breadcrumb.
    ReadBreadcrumb,
    /// Write the information of the local NameNode into the breadcrumb. `None` creates it.
    WriteBreadcrumb {
        /// Version of the breadcrumb that was read.
        replaces: Option<i32>,
    },
    /// Delete the breadcrumb of this version.
    DeleteBreadcrumb {
        /// Version that was written.
        version: i32,
    },
}

/// Owner of the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockOwner {
    /// This session.
    ThisSession,
    /// Another session, which wrote this information into it.
    Other(Vec<u8>),
}

/// Answers of ZooKeeper, and messages that it sends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZooKeeperMessage {
    /// The session goes on over a new connection. A watch may be lost, or may have fired unheard.
    Reconnected,
    /// ZooKeeper says that the session is over. Its lock is gone, too.
    Expired,
    /// Answer to [`ZooKeeperRequest::CreateLock`].
    LockCreated(Result<(), ZooKeeperRefusal>),
    /// Answer to [`ZooKeeperRequest::LookAtLock`].
    LockSeen(Result<LockOwner, ZooKeeperRefusal>),
    /// The watch of [`ZooKeeperRequest::LookAtLock`] fired.
    LockChanged,
    /// Answer to [`ZooKeeperRequest::ReadBreadcrumb`]: bytes and version, or `None` when there is none.
    Breadcrumb(Result<Option<(Vec<u8>, i32)>, ZooKeeperRefusal>),
    /// Answer to [`ZooKeeperRequest::WriteBreadcrumb`]: the new version.
    BreadcrumbWritten(Result<i32, ZooKeeperRefusal>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Out of the election, without a session.
    Out,
    /// Out of the election until this time, without a session.
    Abandoned {
        until_ms: u64,
    },
    /// The lock was requested or looked at, and the answer is missing.
    Asking,
    /// Another NameNode has the lock, and it is watched.
    Waiting,
    /// An earlier session of this controller has the lock, and it is watched.
    Outliving,
    /// This session has the lock.
    Reading,
    Fencing {
        /// Version of the breadcrumb that was read.
        replaces: Option<i32>,
        /// Whether the NameNode to be fenced is the one in the breadcrumb, and not the holder of the lease.
        of_breadcrumb: bool,
    },
    Writing,
    Promoting {
        breadcrumb: i32,
    },
    Active {
        breadcrumb: i32,
    },
}

/// The participation of one controller in the election.
#[derive(Debug)]
pub struct ActiveStandbyElector {
    own: Vec<u8>,
    /// How many times a request is repeated whose answer was lost.
    retries: u32,
    /// Number of consecutive lost answers.
    losses: u32,
    session: SessionNumber,
    stage: Stage,
    /// The lock was requested and there is no answer yet, so earlier views of it are out of date.
    creating: bool,
    /// Another NameNode that held the read lease at the last look.
    rival: Option<String>,
    /// The NameNode that held the read lease when the local one could not be promoted.
    refused_by: Option<String>,
}

impl ActiveStandbyElector {
    /// Begins outside of the election. `own` is the information that names the local NameNode (`ActiveNodeInfo`), and
    /// `retries` is `ha.failover-controller.active-standby-elector.zk.op.retries`.
    #[must_use]
    pub fn new(own: Vec<u8>, retries: u32) -> Self {
        ActiveStandbyElector {
            own,
            retries,
            losses: 0,
            session: 0,
            stage: Stage::Out,
            creating: false,
            rival: None,
            refused_by: None,
        }
    }

    /// Whether the local NameNode was elected and promoted.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.stage, Stage::Active { .. })
    }

    /// Whether this session had the lock at the last look.
    #[must_use]
    pub fn has_lock(&self) -> bool {
        matches!(
            self.stage,
            Stage::Reading | Stage::Fencing { .. } | Stage::Writing | Stage::Promoting { .. } | Stage::Active { .. }
        )
    }

    fn join(&mut self, duties: &mut Vec<Duty>) {
        self.session += 1;
        self.stage = Stage::Asking;
        self.ask(ZooKeeperRequest::Open, duties);
        self.create(duties);
    }

    fn create(&mut self, duties: &mut Vec<Duty>) {
        self.creating = true;
        self.ask(ZooKeeperRequest::CreateLock, duties);
    }

    fn leave(&mut self, to: Stage, duties: &mut Vec<Duty>) {
        self.stage = to;
        self.ask(ZooKeeperRequest::Close, duties);
    }

    /// Gives the lock up for a while. The breadcrumb stays, because the local NameNode may have become active after
    /// all.
    fn abandon(&mut self, now_ms: u64, duties: &mut Vec<Duty>) {
        let until_ms = now_ms.saturating_add(PAUSE_AFTER_FAILURE_MS);
        self.leave(Stage::Abandoned { until_ms }, duties);
    }

    fn ask(&self, ask: ZooKeeperRequest, duties: &mut Vec<Duty>) {
        duties.push(Duty::Ask(ElectorRequest::ZooKeeper(self.session, ask)));
    }

    /// The answer to a request was lost. `ask` is the request that finds out whether it was carried out. After too many
    /// losses the controller begins again in another session, where Hadoop's ends its process. An active role is never
    /// given up because of lost answers.
    fn lost(&mut self, ask: ZooKeeperRequest, now_ms: u64, duties: &mut Vec<Duty>) {
        self.losses += 1;
        match self.losses > self.retries && !self.is_active() {
            true => self.abandon(now_ms, duties),
            false => self.ask(ask, duties),
        }
    }

    fn elected(&mut self, duties: &mut Vec<Duty>) {
        self.stage = Stage::Reading;
        self.ask(ZooKeeperRequest::ReadBreadcrumb, duties);
    }

    /// The NameNode in the breadcrumb is fenced, or need not be.
    fn fence_rival_or_write(&mut self, replaces: Option<i32>, duties: &mut Vec<Duty>) {
        match &self.refused_by {
            Some(rival) if self.refused_by == self.rival => {
                duties.push(Duty::Fence(Former::OfLease(rival.clone())));
                self.stage = Stage::Fencing {
                    replaces,
                    of_breadcrumb: false,
                };
            }
            _ => self.write(replaces, duties),
        }
    }

    fn write(&mut self, replaces: Option<i32>, duties: &mut Vec<Duty>) {
        self.stage = Stage::Writing;
        self.ask(ZooKeeperRequest::WriteBreadcrumb { replaces }, duties);
    }

    fn seen(&mut self, answer: Result<LockOwner, ZooKeeperRefusal>, now_ms: u64, duties: &mut Vec<Duty>) {
        match answer {
            Ok(LockOwner::ThisSession) if self.has_lock() => {}
            // The lock was created after an earlier look had found that of another session.
            Ok(LockOwner::ThisSession) => self.elected(duties),
            Ok(LockOwner::Other(named)) if named == self.own => self.stage = Stage::Outliving,
            // The lock of a living session changes its owner only when a person deletes it.
            Ok(LockOwner::Other(_)) if self.stage == Stage::Waiting => {}
            Ok(LockOwner::Other(_)) => {
                self.stage = Stage::Waiting;
                duties.push(Duty::Demote);
            }
            Err(ZooKeeperRefusal::Missing) => {
                self.stage = Stage::Asking;
                self.create(duties);
            }
            Err(ZooKeeperRefusal::ConnectionLost) => self.lost(ZooKeeperRequest::LookAtLock, now_ms, duties),
            Err(refusal) => give_up(&ZooKeeperRequest::LookAtLock, &refusal, duties),
        }
    }

    fn look_at(&mut self, candidate: &ElectionCandidate, now_ms: u64, duties: &mut Vec<Duty>) {
        self.rival.clone_from(&candidate.rival);
        match (candidate.standing, &self.stage) {
            (ElectionStanding::Stands, Stage::Out) => self.join(duties),
            (ElectionStanding::Stands, Stage::Abandoned { until_ms }) if now_ms >= *until_ms => self.join(duties),
            // The local NameNode has become a standby, or was restarted, and nothing was heard of it.
            (ElectionStanding::Stands, Stage::Active { .. }) if candidate.is_settled_standby() => {
                self.abandon(now_ms, duties)
            }
            (
                ElectionStanding::Out { needs_fencing },
                Stage::Active { breadcrumb } | Stage::Promoting { breadcrumb },
            ) => {
                let version = *breadcrumb;
                if !needs_fencing {
                    self.ask(ZooKeeperRequest::DeleteBreadcrumb { version }, duties);
                }
                self.leave(Stage::Out, duties);
            }
            (ElectionStanding::Out { .. }, Stage::Abandoned { .. }) => self.stage = Stage::Out,
            (ElectionStanding::Out { .. }, stage) if *stage != Stage::Out => self.leave(Stage::Out, duties),
            _ => {}
        }
    }

    fn promoted(&mut self, done: bool, now_ms: u64, duties: &mut Vec<Duty>) {
        if let Stage::Promoting { breadcrumb } = self.stage {
            match done {
                true => {
                    self.stage = Stage::Active { breadcrumb };
                    self.refused_by = None;
                }
                false => {
                    self.refused_by.clone_from(&self.rival);
                    self.abandon(now_ms, duties);
                }
            }
        }
    }

    fn fenced(&mut self, done: bool, now_ms: u64, duties: &mut Vec<Duty>) {
        if let Stage::Fencing {
            replaces,
            of_breadcrumb,
        } = self.stage
        {
            match (done, of_breadcrumb) {
                (true, true) => self.fence_rival_or_write(replaces, duties),
                (true, false) => self.write(replaces, duties),
                (false, _) => self.abandon(now_ms, duties),
            }
        }
    }

    fn told(&mut self, session: SessionNumber, told: ZooKeeperMessage, now_ms: u64, duties: &mut Vec<Duty>) {
        if session != self.session || matches!(self.stage, Stage::Out | Stage::Abandoned { .. }) {
            return;
        }
        if told.answers() {
            self.losses = 0;
        }
        self.creating &= !matches!(told, ZooKeeperMessage::LockCreated(_));
        match told {
            ZooKeeperMessage::Reconnected => {
                if matches!(self.stage, Stage::Waiting | Stage::Outliving | Stage::Active { .. }) {
                    self.ask(ZooKeeperRequest::LookAtLock, duties);
                }
            }
            // The answers of the new session tell who has the lock. Until the local NameNode is fenced, the lease at
            // the JournalNodes guards its reads.
            ZooKeeperMessage::Expired => self.join(duties),
            ZooKeeperMessage::LockChanged => self.ask(ZooKeeperRequest::LookAtLock, duties),
            ZooKeeperMessage::LockCreated(answer) if !self.has_lock() => match answer {
                Ok(()) => self.elected(duties),
                Err(ZooKeeperRefusal::Exists) => self.ask(ZooKeeperRequest::LookAtLock, duties),
                // If the lock was created unheard, the next look finds that this session owns it.
                Err(ZooKeeperRefusal::ConnectionLost) => self.lost(ZooKeeperRequest::LookAtLock, now_ms, duties),
                Err(refusal) => give_up(&ZooKeeperRequest::CreateLock, &refusal, duties),
            },
            ZooKeeperMessage::LockSeen(_) if self.creating => {}
            ZooKeeperMessage::LockSeen(answer) => self.seen(answer, now_ms, duties),
            ZooKeeperMessage::Breadcrumb(answer) if self.stage == Stage::Reading => match answer {
                Ok(Some((named, version))) if named != self.own => {
                    self.stage = Stage::Fencing {
                        replaces: Some(version),
                        of_breadcrumb: true,
                    };
                    duties.push(Duty::Fence(Former::OfBreadcrumb(named)));
                }
                Ok(found) => self.fence_rival_or_write(found.map(|(_, version)| version), duties),
                Err(ZooKeeperRefusal::ConnectionLost) => self.lost(ZooKeeperRequest::ReadBreadcrumb, now_ms, duties),
                Err(_) => self.abandon(now_ms, duties),
            },
            ZooKeeperMessage::BreadcrumbWritten(answer) if self.stage == Stage::Writing => match answer {
                Ok(version) => {
                    self.stage = Stage::Promoting { breadcrumb: version };
                    duties.push(Duty::Promote);
                }
                // It is unknown whether the breadcrumb was written, so it is read again.
                Err(ZooKeeperRefusal::ConnectionLost) => {
                    self.stage = Stage::Reading;
                    self.lost(ZooKeeperRequest::ReadBreadcrumb, now_ms, duties);
                }
                // Another controller has written it, so this session does not have the lock any more.
                Err(_) => self.abandon(now_ms, duties),
            },
            // Answers to requests of an earlier stage.
            ZooKeeperMessage::LockCreated(_)
            | ZooKeeperMessage::Breadcrumb(_)
            | ZooKeeperMessage::BreadcrumbWritten(_) => {}
        }
    }
}

impl Elector for ActiveStandbyElector {
    fn on(&mut self, event: ElectionEvent<'_>, now_ms: u64) -> Vec<Duty> {
        let mut duties = Vec::new();
        match event {
            ElectionEvent::Candidate(candidate) => self.look_at(candidate, now_ms, &mut duties),
            ElectionEvent::Promoted(done) => self.promoted(done, now_ms, &mut duties),
            ElectionEvent::Fenced(done) => self.fenced(done, now_ms, &mut duties),
            ElectionEvent::Told(ElectorMessage::ZooKeeper(session, told)) => {
                self.told(session, told, now_ms, &mut duties);
            }
            ElectionEvent::ProcessEnded => {
                if matches!(self.stage, Stage::Abandoned { .. }) {
                    self.stage = Stage::Out;
                }
            }
            ElectionEvent::Quit => {
                if !matches!(self.stage, Stage::Out | Stage::Abandoned { .. }) {
                    self.leave(Stage::Out, &mut duties);
                }
            }
        }
        duties
    }

    fn needs_ticks(&self) -> bool {
        matches!(self.stage, Stage::Abandoned { .. })
    }
}

impl ZooKeeperMessage {
    /// Whether this is an answer, and not the news that it was lost.
    fn answers(&self) -> bool {
        let lost = Some(&ZooKeeperRefusal::ConnectionLost);
        match self {
            ZooKeeperMessage::Reconnected | ZooKeeperMessage::Expired | ZooKeeperMessage::LockChanged => false,
            ZooKeeperMessage::LockCreated(answer) => answer.as_ref().err() != lost,
            ZooKeeperMessage::LockSeen(answer) => answer.as_ref().err() != lost,
            ZooKeeperMessage::Breadcrumb(answer) => answer.as_ref().err() != lost,
            ZooKeeperMessage::BreadcrumbWritten(answer) => answer.as_ref().err() != lost,
        }
    }
}

fn give_up(asked: &ZooKeeperRequest, refusal: &ZooKeeperRefusal, duties: &mut Vec<Duty>) {
    duties.push(Duty::GiveUp(format!("ZooKeeper refuses {asked:?}: {refusal:?}")));
}

#[cfg(test)]
mod world;
