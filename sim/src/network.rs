//! Connections between NameNodes and JournalNodes.
//!
//! One connection keeps the order of its messages. A message is delayed, or its connection breaks: then the caller
//! learns sooner or later that all calls under way have no answer, while requests already sent may still arrive, also
//! after those of the next connection. A blocked direction swallows messages, and the connection breaks by timeout.

use std::collections::{BTreeMap, BTreeSet};

use hathi_journal::messages::Request;
use hathi_journal::writer::CallId;

/// Somebody on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A NameNode.
    NameNode(usize),
    /// A JournalNode.
    JournalNode(usize),
}

/// A NameNode's end of its connection to one JournalNode.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Grows with every new connection.
    pub id: u64,
    /// Calls without an answer.
    pub outstanding: BTreeMap<CallId, ()>,
    /// When the last message arrives there.
    pub last_there: u64,
    /// When the last message arrives back.
    pub last_back: u64,
    /// The life of the JournalNode it reaches.
    pub jn_life: u64,
    /// Whether its end is already decided.
    pub doomed: bool,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who sent it.
    pub nn: usize,
    /// In which life.
    pub nn_life: u64,
    /// To whom.
    pub jn: usize,
    /// In which life.
    pub jn_life: u64,
    /// Over which connection.
    pub connection: u64,
    /// For the answer.
    pub call: CallId,
    /// What.
    pub request: Request,
    /// Came a second time: nobody waits for its answer.
    pub duplicate: bool,
}

/// Which directions are blocked.
#[derive(Clone, Debug, Default)]
pub struct Partitions {
    blocked: BTreeSet<(Node, Node)>,
}

impl Partitions {
    /// Blocks one direction.
    pub fn block(&mut self, from: Node, to: Node) {
        self.blocked.insert((from, to));
    }

    /// Opens one direction.
    pub fn open(&mut self, from: Node, to: Node) {
        self.blocked.remove(&(from, to));
    }

    /// Opens all.
    pub fn heal(&mut self) {
        self.blocked.clear();
    }

    /// Whether messages pass.
    pub fn passes(&self, from: Node, to: Node) -> bool {
        !self.blocked.contains(&(from, to))
    }
    /// Whether two JournalNodes can ask each other.
    pub fn exchange(&self, one: usize, other: usize) -> bool {
        let (one, other) = (Node::JournalNode(one), Node::JournalNode(other));
        self.passes(one, other) && self.passes(other, one)
    }
}
