//! The elector: the JournalNodes' read lease, or ZooKeeper.
//!
//! The controller knows the local NameNode, and the elector knows the election. The controller tells the elector
//! whether its NameNode may be elected ([`ElectionCandidate`]); the elector tells what to do ([`Duty`]). The controller
//! does not know which elector it has.

mod journal;
mod zookeeper;

use std::fmt::Debug;

use hathi_journal::survey::QuorumLease;

pub use journal::JournalElector;
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

/// Something that an elector learns.
#[derive(Clone, Debug)]
pub enum ElectionEvent<'a> {
    /// The candidate as it is now. Comes when it has changed and when time has passed.
    Candidate(&'a ElectionCandidate),
    /// The answer to [`Duty::Promote`]: whether the local NameNode is active.
    Promoted(bool),
    /// The answer to [`Duty::Fence`]: whether that NameNode is not active any more.
    Fenced(bool),
    /// The process of the local NameNode is gone, so its failures do not matter any more.
    ProcessEnded,
    /// The service that this elector relies on says this.
    Told(ElectorMessage),
    /// The controller ends. The local NameNode keeps its role, so the next elected NameNode has to fence it
    /// (`ActiveStandbyElector.quitElection(true)`).
    Quit,
}

/// A wish of the elector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Make the local NameNode active. [`ElectionEvent::Promoted`] brings the result.
    Promote,
    /// Make the local NameNode a standby, because another one is elected.
    Demote,
    /// Make sure that this NameNode is not active. [`ElectionEvent::Fenced`] brings the result.
    Fence(Former),
    /// Ask the service that this elector relies on. [`ElectionEvent::Told`] brings its answers.
    Ask(ElectorRequest),
    /// Nothing is possible until a person has acted. The process ends with this message.
    GiveUp(String),
}

/// A request to the service that an elector relies on. The controller passes it on without a look. The `journal` elector
/// has none: everybody watches the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectorRequest {
    /// To ZooKeeper, in this session.
    ZooKeeper(SessionNumber, ZooKeeperRequest),
}

/// What the service says that an elector relies on. The controller passes it on without a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectorMessage {
    /// From ZooKeeper, in this session.
    ZooKeeper(SessionNumber, ZooKeeperMessage),
}

/// A participant in an election, as a function of events.
pub trait Elector: Debug + Send {
    /// Takes an event at this monotonic time in ms, and returns what to do, in this order.
    fn on(&mut self, event: ElectionEvent<'_>, now_ms: u64) -> Vec<Duty>;

    /// Whether the passing of time may soon change something.
    fn needs_ticks(&self) -> bool;
}
