//! Connections between NameNodes and JournalNodes.
//!
//! A connection keeps the order of its messages. A message is delayed, or its connection breaks. Then the caller learns
//! sooner or later that all calls under way have no answer. Requests that were sent may still arrive, even after those
//! of the next connection. A blocked direction swallows messages, and the connection breaks by timeout.

use std::collections::{BTreeMap, BTreeSet};

use hathi_journal::messages::Request;
use hathi_journal::writer::CallId;

/// A process on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A NameNode.
    NameNode(usize),
    /// A JournalNode.
    JournalNode(usize),
    /// A client.
    Client(usize),
    /// A DataNode.
    DataNode(usize),
}

/// A NameNode's end of its connection to one JournalNode.
#[derive(Clone, Debug, Default)]
pub struct JournalConnection {
    /// Grows with every new connection.
    pub id: u64,
    /// Calls without an answer.
    pub outstanding: BTreeMap<CallId, ()>,
    /// When the last request arrives at the JournalNode.
    pub last_there: u64,
    /// When the last answer arrives at the NameNode.
    pub last_back: u64,
    /// Life of the JournalNode that it reaches.
    pub jn_life: u64,
    /// Whether it is already decided that it will break.
    pub doomed: bool,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Message {
    /// NameNode that sent it.
    pub nn: usize,
    /// Life of that NameNode.
    pub nn_life: u64,
    /// JournalNode that receives it.
    pub jn: usize,
    /// Life of that JournalNode.
    pub jn_life: u64,
    /// Number of the connection.
    pub connection: u64,
    /// Number of the call, for the answer.
    pub call: CallId,
    /// The request.
    pub request: Request,
    /// Whether it is a copy, whose answer nobody waits for.
    pub duplicate: bool,
}

/// The blocked directions.
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

    /// Whether messages pass in this direction.
    pub fn passes(&self, from: Node, to: Node) -> bool {
        !self.blocked.contains(&(from, to))
    }
    /// Whether two JournalNodes can ask each other.
    pub fn exchange(&self, one: usize, other: usize) -> bool {
        let (one, other) = (Node::JournalNode(one), Node::JournalNode(other));
        self.passes(one, other) && self.passes(other, one)
    }
}
