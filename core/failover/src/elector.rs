//! Who elects: by the JournalNodes' read lease, or by ZooKeeper.
//!
//! The controller knows the local NameNode, an elector knows the election. The one tells the other whether its NameNode may be
//! elected ([`Candidate`]), and is told what to do ([`Duty`]).

mod journal;
mod survey;
mod zookeeper;

use std::fmt::Debug;

use hathi_journal::survey::QuorumLease;

pub use journal::JournalElector;
pub use survey::LeaseSurvey;
pub use zookeeper::{ActiveStandbyElector, Ask, BREADCRUMB, LOCK, LockOwner, Refusal, SessionNumber, Told};

/// Whether the local NameNode may be elected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Stands,
    /// It may not.
    Out {
        /// It may be active and go on: whoever is elected next has to fence it.
        needs_fencing: bool,
    },
}

/// The local NameNode, as an elector sees it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Whether it may be elected.
    pub standing: Standing,
    /// It is well, and says that it is a standby.
    pub is_standby: bool,
    /// How many probes in a row have said that it is a standby.
    pub standby_probes: u32,
    /// It was asked to change its state, and has not answered.
    pub in_transition: bool,
    /// Clients would meet safe mode: whoever would spare them that goes first.
    pub safe_mode: bool,
    /// What the JournalNodes say of the read lease.
    pub lease: QuorumLease,
    /// The id of another NameNode that holds it.
    pub rival: Option<String>,
}

impl Candidate {
    /// It is a standby by more than a probe that may have been answered before its last transition
    /// (`ZKFailoverController.verifyChangedServiceState`).
    fn is_settled_standby(&self) -> bool {
        self.standby_probes >= 2 && !self.in_transition
    }
}

/// A NameNode that has to be fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Former {
    /// The one that these bytes of the breadcrumb name.
    OfBreadcrumb(Vec<u8>),
    /// The one of this id: it holds the read lease.
    OfLease(String),
}

/// What an elector wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Make the local NameNode active; [`Elector::promoted`] takes the answer.
    Promote,
    /// Another one is elected: the local NameNode is to be a standby.
    Demote,
    /// See to it that this NameNode is not active; [`Elector::fenced`] takes the answer.
    Fence(Former),
    /// Ask ZooKeeper, in this session.
    ZooKeeper(SessionNumber, Ask),
    /// Nothing can be done until a person has: the process ends with these words.
    GiveUp(String),
}

/// A part in an election. Times are monotonic, in milliseconds.
pub trait Elector: Debug + Send {
    /// Looks at the candidate, whether it has changed or time has passed.
    fn look_at(&mut self, candidate: &Candidate, now_ms: u64, duties: &mut Vec<Duty>);

    /// The answer to [`Duty::Promote`].
    fn promoted(&mut self, done: bool, now_ms: u64, duties: &mut Vec<Duty>);

    /// The answer to [`Duty::Fence`].
    fn fenced(&mut self, _done: bool, _now_ms: u64, _duties: &mut Vec<Duty>) {}

    /// What ZooKeeper says in a session.
    fn told(&mut self, _session: SessionNumber, _told: Told, _now_ms: u64, _duties: &mut Vec<Duty>) {}

    /// The local NameNode's process is gone, and with it what went wrong.
    fn begin_anew(&mut self);

    /// The controller ends. The local NameNode goes on as what it is, so whoever is elected next has to fence it
    /// (`ActiveStandbyElector.quitElection(true)`).
    fn quit(&mut self, _duties: &mut Vec<Duty>) {}

    /// Whether time alone may change something soon.
    fn needs_ticks(&self) -> bool;
}
