//! The elector: the JournalNodes' read lease, or ZooKeeper.
//!
//! The controller knows the local NameNode, and the elector knows the election. The controller tells the elector
//! whether its NameNode may be elected ([`ElectionCandidate`]); the elector tells what to do ([`Duty`]).

mod journal;
mod survey;
mod zookeeper;

use std::fmt::Debug;

use hathi_journal::survey::QuorumLease;

pub use journal::JournalElector;
pub use survey::LeaseSurvey;
pub use zookeeper::{
    ActiveStandbyElector, BREADCRUMB, LOCK, LockOwner, SessionNumber, ZooKeeperMessage, ZooKeeperRefusal,
    ZooKeeperRequest,
};

/// Whether the local NameNode may be elected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionStanding {
    /// It may be elected.
    Stands,
    /// It may not be elected.
    Out {
        /// Whether it may be active and go on. Then the next elected NameNode has to fence it.
        needs_fencing: bool,
    },
}

/// The local NameNode, as an elector sees it.
#[derive(Clone, Debug)]
pub struct ElectionCandidate {
    /// Whether it may be elected.
    pub standing: ElectionStanding,
    /// Whether it is well and says that it is a standby.
    pub is_standby: bool,
    /// Number of consecutive probes that said that it is a standby.
    pub standby_probes: u32,
    /// Whether it was asked to change its state and has not answered.
    pub in_transition: bool,
    /// Whether clients would meet safe mode. A candidate without safe mode is elected first.
    pub safe_mode: bool,
    /// The read lease by the answers of a quorum of JournalNodes.
    pub lease: QuorumLease,
    /// Id of another NameNode that holds the lease.
    pub rival: Option<String>,
}

impl ElectionCandidate {
    /// Whether it is known to be a standby: one probe may have been answered before its last transition, so there must
    /// be more (`ZKFailoverController.verifyChangedServiceState`).
    fn is_settled_standby(&self) -> bool {
        self.standby_probes >= 2 && !self.in_transition
    }
}

/// A NameNode that must be fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Former {
    /// The NameNode that these bytes of the breadcrumb name.
    OfBreadcrumb(Vec<u8>),
    /// The NameNode with this id, which holds the read lease.
    OfLease(String),
}

/// A wish of the elector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Make the local NameNode active. [`Elector::promoted`] takes the result.
    Promote,
    /// Make the local NameNode a standby, because another one is elected.
    Demote,
    /// Make sure that this NameNode is not active. [`Elector::fenced`] takes the result.
    Fence(Former),
    /// Send this request to ZooKeeper in this session.
    ZooKeeper(SessionNumber, ZooKeeperRequest),
    /// Nothing is possible until a person has acted. The process ends with this message.
    GiveUp(String),
}

/// A participant in an election. Times are monotonic, in milliseconds.
pub trait Elector: Debug + Send {
    /// Looks at the candidate. To be called when it has changed or time has passed.
    fn look_at(&mut self, candidate: &ElectionCandidate, now_ms: u64, duties: &mut Vec<Duty>);

    /// The answer to [`Duty::Promote`].
    fn promoted(&mut self, done: bool, now_ms: u64, duties: &mut Vec<Duty>);

    /// The answer to [`Duty::Fence`].
    fn fenced(&mut self, _done: bool, _now_ms: u64, _duties: &mut Vec<Duty>) {}

    /// Takes an answer or a message of ZooKeeper in a session.
    fn told(&mut self, _session: SessionNumber, _told: ZooKeeperMessage, _now_ms: u64, _duties: &mut Vec<Duty>) {}

    /// The process of the local NameNode is gone, so its failures do not matter any more.
    fn begin_anew(&mut self);

    /// The controller ends. The local NameNode keeps its role, so the next elected NameNode has to fence it
    /// (`ActiveStandbyElector.quitElection(true)`).
    fn quit(&mut self, _duties: &mut Vec<Duty>) {}

    /// Whether the passing of time may soon change something.
    fn needs_ticks(&self) -> bool;
}
