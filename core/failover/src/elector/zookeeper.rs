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
//! A lock that names the local NameNode, but is of another session, is one that its controller had before it was started
//! anew. It keeps everybody else out, so the NameNode may go on as what it is until that session ends; Hadoop's controller
//! makes an active NameNode a standby then.
//!
//! Two znodes below the nameservice's: the *lock* is ephemeral, and whoever made it is elected; the *breadcrumb* stays, and
//! names the last one that was promoted. Whoever is elected fences the one that the breadcrumb names, unless it is itself.
//!
//! The breadcrumb is written before the promotion. When the JournalNodes refuse the promotion, because a NameNode that was said
//! to be fenced goes on, nothing in ZooKeeper names that one any more. So whoever was refused remembers who held the read lease
//! then. If that one still holds it when the lock is won again, it is fenced too, until a fencing is true. Forgetting it is safe
//! at any time: the next promotion is refused once more.
//!
//! Invariants:
//! - [`Duty::Promote`] is asked only in a session whose lock was seen to be one's own, after the breadcrumb was read in that
//!   session, what it named was fenced, and one's own was written.
//! - The breadcrumb is deleted only by whoever wrote it and does not need to be fenced: because its NameNode stepped down, or
//!   its process was seen to be gone.
//! - Losing the connection decides nothing: without ZooKeeper nobody can be elected, so the active goes on. Only an expired
//!   session, or a lock that is another one's, deposes.
//! - What an earlier session answers is ignored.

use super::{Candidate, Duty, Elector, Former, Standing};

/// Names of the znodes below `<parent>/<nameservice>`.
pub const LOCK: &str = "ActiveStandbyElectorLock";
/// The persistent one.
pub const BREADCRUMB: &str = "ActiveBreadCrumb";

/// How long a controller stays away after its NameNode could not be promoted
/// (`ActiveStandbyElector.SLEEP_TIME_AFTER_FAILURE_TO_BECOME_ACTIVE`).
pub const PAUSE_AFTER_FAILURE_MS: u64 = 1000;

/// Which of the sessions that were opened one after the other.
pub type SessionNumber = u64;

/// Why ZooKeeper did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A znode of this name is there.
    Exists,
    /// There is none of this name, or its parent is missing.
    Missing,
    /// It is of another version than the one named.
    OtherVersion,
    /// The connection was lost; whether it was done is not known. What is asked next waits for a connection.
    ConnectionLost,
    /// Anything else, such as a missing right. It is not asked again.
    Other(String),
}

/// What ZooKeeper is asked, in this order within a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A new session.
    Open,
    /// The session is to end, and with it the lock.
    Close,
    /// Create the lock with one's own information.
    CreateLock,
    /// Whose the lock is, and a watch on it.
    LookAtLock,
    /// What the breadcrumb says.
    ReadBreadcrumb,
    /// Write one's own information into the breadcrumb: `None` creates it.
    WriteBreadcrumb {
        /// Version of the one that was read.
        replaces: Option<i32>,
    },
    /// Delete the breadcrumb of this version.
    DeleteBreadcrumb {
        /// The one that was written.
        version: i32,
    },
}

/// Whose the lock is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockOwner {
    /// This session's.
    ThisSession,
    /// Another session's, which put this information into it.
    Other(Vec<u8>),
}

/// What ZooKeeper answers, or says by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The session lives on over a new connection; a watch may be gone, or have fired unheard.
    Reconnected,
    /// The session is over, by ZooKeeper's own word, and its lock with it.
    Expired,
    /// Answer to [`Ask::CreateLock`].
    LockCreated(Result<(), Refusal>),
    /// Answer to [`Ask::LookAtLock`].
    LockSeen(Result<LockOwner, Refusal>),
    /// The watch of [`Ask::LookAtLock`] fired.
    LockChanged,
    /// Answer to [`Ask::ReadBreadcrumb`]: its bytes and version; `None` when there is none.
    Breadcrumb(Result<Option<(Vec<u8>, i32)>, Refusal>),
    /// Answer to [`Ask::WriteBreadcrumb`]: its version now.
    BreadcrumbWritten(Result<i32, Refusal>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// No session.
    Out,
    /// No session until then.
    Abandoned {
        until_ms: u64,
    },
    /// The lock was asked for, or about.
    Asking,
    /// Another one has the lock, and it is watched.
    Waiting,
    /// An earlier session of the local NameNode's controller has the lock, and it is watched.
    Outliving,
    /// The lock is one's own.
    Reading,
    Fencing {
        /// Version of the breadcrumb that was read.
        replaces: Option<i32>,
        /// The one that the breadcrumb names, or the one that holds the lease.
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

/// One controller's part in the election.
#[derive(Debug)]
pub struct ActiveStandbyElector {
    own: Vec<u8>,
    /// How often a question is asked again whose answer was lost.
    retries: u32,
    /// How many answers in a row were lost.
    losses: u32,
    session: SessionNumber,
    stage: Stage,
    /// The lock was asked for, and there is no answer yet: whatever was seen of it before is out of date.
    creating: bool,
    /// Another NameNode that holds the read lease, when it was last looked at.
    rival: Option<String>,
    /// The one that held it when the local NameNode could not be promoted.
    refused_by: Option<String>,
}

impl ActiveStandbyElector {
    /// Out of the election. `own` is the information that names the local NameNode (`ActiveNodeInfo`), and `retries` is
    /// `ha.failover-controller.active-standby-elector.zk.op.retries`.
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

    /// Whether the local NameNode is elected and was promoted.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.stage, Stage::Active { .. })
    }

    /// Whether the lock was this session's when it was last looked at.
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
        self.ask(Ask::Open, duties);
        self.create(duties);
    }

    fn create(&mut self, duties: &mut Vec<Duty>) {
        self.creating = true;
        self.ask(Ask::CreateLock, duties);
    }

    fn leave(&mut self, to: Stage, duties: &mut Vec<Duty>) {
        self.stage = to;
        self.ask(Ask::Close, duties);
    }

    /// The lock goes to somebody else for a while; the breadcrumb stays, as the local NameNode may have become active after
    /// all.
    fn abandon(&mut self, now_ms: u64, duties: &mut Vec<Duty>) {
        let until_ms = now_ms.saturating_add(PAUSE_AFTER_FAILURE_MS);
        self.leave(Stage::Abandoned { until_ms }, duties);
    }

    fn ask(&self, ask: Ask, duties: &mut Vec<Duty>) {
        duties.push(Duty::ZooKeeper(self.session, ask));
    }

    /// The answer to a question was lost: this one finds out what became of it. Who has asked too often begins anew in
    /// another session, where Hadoop's controller ends its process; but no active is given up because of lost answers.
    fn lost(&mut self, ask: Ask, now_ms: u64, duties: &mut Vec<Duty>) {
        self.losses += 1;
        match self.losses > self.retries && !self.is_active() {
            true => self.abandon(now_ms, duties),
            false => self.ask(ask, duties),
        }
    }

    fn elected(&mut self, duties: &mut Vec<Duty>) {
        self.stage = Stage::Reading;
        self.ask(Ask::ReadBreadcrumb, duties);
    }

    /// Whoever the breadcrumb names is fenced, or needs not to be.
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
        self.ask(Ask::WriteBreadcrumb { replaces }, duties);
    }

    fn seen(&mut self, answer: Result<LockOwner, Refusal>, now_ms: u64, duties: &mut Vec<Duty>) {
        match answer {
            Ok(LockOwner::ThisSession) if self.has_lock() => {}
            // It was created after an earlier look had found another one's.
            Ok(LockOwner::ThisSession) => self.elected(duties),
            Ok(LockOwner::Other(named)) if named == self.own => self.stage = Stage::Outliving,
            // The lock of a living session is another one's only when a person has deleted it.
            Ok(LockOwner::Other(_)) if self.stage == Stage::Waiting => {}
            Ok(LockOwner::Other(_)) => {
                self.stage = Stage::Waiting;
                duties.push(Duty::Demote);
            }
            Err(Refusal::Missing) => {
                self.stage = Stage::Asking;
                self.create(duties);
            }
            Err(Refusal::ConnectionLost) => self.lost(Ask::LookAtLock, now_ms, duties),
            Err(refusal) => give_up(&Ask::LookAtLock, &refusal, duties),
        }
    }
}

impl Elector for ActiveStandbyElector {
    fn look_at(&mut self, candidate: &Candidate, now_ms: u64, duties: &mut Vec<Duty>) {
        self.rival.clone_from(&candidate.rival);
        match (candidate.standing, &self.stage) {
            (Standing::Stands, Stage::Out) => self.join(duties),
            (Standing::Stands, Stage::Abandoned { until_ms }) if now_ms >= *until_ms => self.join(duties),
            // It has become a standby, or was started again, unheard.
            (Standing::Stands, Stage::Active { .. }) if candidate.is_settled_standby() => self.abandon(now_ms, duties),
            (Standing::Out { needs_fencing }, Stage::Active { breadcrumb } | Stage::Promoting { breadcrumb }) => {
                let version = *breadcrumb;
                if !needs_fencing {
                    self.ask(Ask::DeleteBreadcrumb { version }, duties);
                }
                self.leave(Stage::Out, duties);
            }
            (Standing::Out { .. }, Stage::Abandoned { .. }) => self.stage = Stage::Out,
            (Standing::Out { .. }, stage) if *stage != Stage::Out => self.leave(Stage::Out, duties),
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

    fn told(&mut self, session: SessionNumber, told: Told, now_ms: u64, duties: &mut Vec<Duty>) {
        if session != self.session || matches!(self.stage, Stage::Out | Stage::Abandoned { .. }) {
            return;
        }
        if told.answers() {
            self.losses = 0;
        }
        self.creating &= !matches!(told, Told::LockCreated(_));
        match told {
            Told::Reconnected => {
                if matches!(self.stage, Stage::Waiting | Stage::Outliving | Stage::Active { .. }) {
                    self.ask(Ask::LookAtLock, duties);
                }
            }
            // Who has the lock next is told by the answers of the new session. What the local NameNode still serves until
            // it is fenced, the lease at the JournalNodes guards.
            Told::Expired => self.join(duties),
            Told::LockChanged => self.ask(Ask::LookAtLock, duties),
            Told::LockCreated(answer) if !self.has_lock() => match answer {
                Ok(()) => self.elected(duties),
                Err(Refusal::Exists) => self.ask(Ask::LookAtLock, duties),
                // If it was created unheard, it is found to be one's own.
                Err(Refusal::ConnectionLost) => self.lost(Ask::LookAtLock, now_ms, duties),
                Err(refusal) => give_up(&Ask::CreateLock, &refusal, duties),
            },
            Told::LockSeen(_) if self.creating => {}
            Told::LockSeen(answer) => self.seen(answer, now_ms, duties),
            Told::Breadcrumb(answer) if self.stage == Stage::Reading => match answer {
                Ok(Some((named, version))) if named != self.own => {
                    self.stage = Stage::Fencing {
                        replaces: Some(version),
                        of_breadcrumb: true,
                    };
                    duties.push(Duty::Fence(Former::OfBreadcrumb(named)));
                }
                Ok(found) => self.fence_rival_or_write(found.map(|(_, version)| version), duties),
                Err(Refusal::ConnectionLost) => self.lost(Ask::ReadBreadcrumb, now_ms, duties),
                Err(_) => self.abandon(now_ms, duties),
            },
            Told::BreadcrumbWritten(answer) if self.stage == Stage::Writing => match answer {
                Ok(version) => {
                    self.stage = Stage::Promoting { breadcrumb: version };
                    duties.push(Duty::Promote);
                }
                // Whether it was written is not known: it is read anew.
                Err(Refusal::ConnectionLost) => {
                    self.stage = Stage::Reading;
                    self.lost(Ask::ReadBreadcrumb, now_ms, duties);
                }
                // Somebody else has written it, so the lock is not one's own any more.
                Err(_) => self.abandon(now_ms, duties),
            },
            // Answers to what was asked in an earlier stage.
            Told::LockCreated(_) | Told::Breadcrumb(_) | Told::BreadcrumbWritten(_) => {}
        }
    }

    fn begin_anew(&mut self) {
        if matches!(self.stage, Stage::Abandoned { .. }) {
            self.stage = Stage::Out;
        }
    }

    fn quit(&mut self, duties: &mut Vec<Duty>) {
        if !matches!(self.stage, Stage::Out | Stage::Abandoned { .. }) {
            self.leave(Stage::Out, duties);
        }
    }

    fn needs_ticks(&self) -> bool {
        matches!(self.stage, Stage::Abandoned { .. })
    }
}

impl Told {
    /// Whether it is an answer that was not lost.
    fn answers(&self) -> bool {
        let lost = Some(&Refusal::ConnectionLost);
        match self {
            Told::Reconnected | Told::Expired | Told::LockChanged => false,
            Told::LockCreated(answer) => answer.as_ref().err() != lost,
            Told::LockSeen(answer) => answer.as_ref().err() != lost,
            Told::Breadcrumb(answer) => answer.as_ref().err() != lost,
            Told::BreadcrumbWritten(answer) => answer.as_ref().err() != lost,
        }
    }
}

fn give_up(asked: &Ask, refusal: &Refusal, duties: &mut Vec<Duty>) {
    duties.push(Duty::GiveUp(format!("ZooKeeper refuses {asked:?}: {refusal:?}")));
}

#[cfg(test)]
mod world;
