//! Calls at NameNodes: who makes them, and what a NameNode that is not active knows of those that it keeps.

use bytes::Bytes;
use hathi_formats::exceptions::RemoteException;
use hathi_nameserver::lease_watch::LeaseWatch;
use hathi_nameserver::standby_calls::{Question, StandbyCalls};
use hathi_namesystem::passed_on::{PassedOn, Turns};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Where a call came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A client.
    Client {
        /// Which one.
        client: usize,
        /// Its attempt.
        attempt: u64,
    },
    /// A DataNode's heartbeat.
    DataNode {
        /// Which one.
        node: usize,
        /// Number of the heartbeat.
        number: u64,
    },
    /// A NameNode that passes a client's call on.
    NameNode {
        /// Number of the call.
        call: u64,
    },
}

/// A client's call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who waits.
    pub from: Caller,
    /// The method.
    pub method: &'static str,
    /// The encoded request.
    pub body: Bytes,
    /// The client's id.
    pub client_id: [u8; 16],
    /// Number of the call.
    pub call_id: i32,
    /// Number of times that it was sent before.
    pub retry_count: i32,
    /// What a NameNode says about its client that has kept it or passed it on.
    pub waited: Option<Waited>,
}

/// What a NameNode says about the client of a call that it has kept or passed on.
#[derive(Clone, Debug)]
pub struct Waited {
    /// The process whose clock it names.
    pub instance: String,
    /// The client waited at some moment after this time.
    pub clock_ms: u64,
    /// For how long the call can have been at a NameNode by then.
    pub age_ms: u64,
    /// Number of the client's connection.
    pub connection: u32,
    /// The client, for the rules.
    pub client: Caller,
    /// Whether it was kept by the NameNode that serves it.
    pub kept_here: bool,
}

impl Waited {
    /// As the active understands it: the clock of another process tells nothing.
    pub fn passed_on(&self, instance: &str) -> PassedOn {
        let (waiting_at_ms, age_ms) = match self.instance == instance {
            true => (self.clock_ms, self.age_ms),
            false => (0, u64::MAX),
        };
        PassedOn {
            waiting_at_ms,
            age_ms,
            connection: self.connection,
        }
    }
}

/// A call that was refused because this NameNode is not active, and with what its client is sent away.
#[derive(Debug)]
pub struct Refused {
    /// The call.
    pub call: Call,
    /// The exception.
    pub refusal: RemoteException,
}

/// The part of a process's state that is about these calls.
#[derive(Debug)]
pub struct Standby {
    /// The waiting calls.
    pub calls: StandbyCalls<Refused>,
    /// Questions that no task has taken yet.
    pub questions: Vec<Question<Refused>>,
    /// When calls that are read now can have arrived.
    pub turns: Turns,
    /// What each JournalNode says about the lease.
    pub leases: LeaseWatch,
}

impl Standby {
    /// Nothing has come yet to the NameNode of this name at the JournalNodes.
    pub fn new(holder: &str) -> Self {
        Standby {
            calls: StandbyCalls::default(),
            questions: Vec::new(),
            turns: Turns::new(0),
            leases: LeaseWatch::new(holder),
        }
    }
}

/// The attempts of clients that wait for their answers, as the kernels of all NameNodes know them by their connections.
#[derive(Clone, Debug, Default)]
pub struct Waiting(Rc<RefCell<BTreeMap<usize, u64>>>);

impl Waiting {
    /// The client waits for the answer to this attempt, and to no other one. Returns for which one it has waited.
    pub fn set(&self, client: usize, attempt: Option<u64>) -> Option<u64> {
        let mut waiting = self.0.borrow_mut();
        match attempt {
            Some(attempt) => waiting.insert(client, attempt),
            None => waiting.remove(&client),
        }
    }

    /// Whether somebody waits at the other end of the connection. A NameNode that passes a call on does.
    pub fn has(&self, caller: Caller) -> bool {
        match caller {
            Caller::Client { client, attempt } => self.0.borrow().get(&client) == Some(&attempt),
            Caller::DataNode { .. } | Caller::NameNode { .. } => true,
        }
    }
}

/// The answer to a call that was passed on, and from which transaction on the answerer remembers answers.
pub type PassedAnswer = (Result<Bytes, RemoteException>, u64);
