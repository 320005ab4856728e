//! Whether a call that another NameNode kept or passed on may still be applied here.
//!
//! A standby passes a client's call on to the active (`node/namenode/src/pass_on.rs`). Such a call can be late: its
//! client may have given up, may have sent it again elsewhere, and may have been answered a later call. Most changes of
//! `ClientProtocol` are idempotent and stand in no retry cache, so a late one would overwrite a newer value.
//!
//! The rule, decided by the active alone and with its own clock:
//! - The standby asks the active for its clock, *then* checks that the client's connection is still open, then sends
//!   the call together with that time. So the client was waiting at some moment after that time. A call that arrives
//!   more than [`FRESH_MS`] later is refused, whatever delayed it.
//! - The standby says for how long it had the call when it got that time. So the active knows the earliest time at
//!   which the call arrived. A call is refused if the active has begun another call of the same client, with the same
//!   or a higher number, that arrived later by another way: then the client has sent the call again or gone on.
//!   (Hadoop's `Client.nextCallId` counts up.)
//!
//! Several threads of a client share one sequence of numbers, and all their calls arrive at the NameNodes at once when
//! the active dies. So calls that arrive within [`CONCURRENT_MS`] of each other prove nothing about each other. Even
//! beyond that time a refusal does not mean that the client gave up, only that the opposite can't be proven. A refusal
//! is always safe: the client goes elsewhere, and sends the call again by itself if it still waits.
//!
//! Invariants:
//! - A client is forgotten only to make room, and the time of the newest forgotten call is kept. So calls of a
//!   forgotten client are refused and not believed.
//! - Memory is bounded by [`BUCKETS`] × [`WAYS`] clients.

use crate::retry_cache::CallKey;
use foldhash::fast::FixedState;
use std::cmp::Ordering;
use std::hash::BuildHasher;

/// A call is applied at most this long after its client was seen waiting. It is longer than a busy active's queue, and
/// much shorter than the time in which a person gives up, starts another program and gets its answer.
pub const FRESH_MS: u64 = 250;
/// A client that gives a call up sooner than this closes its connection. Otherwise Hadoop's NameNode, whose handlers
/// overtake each other, could serve its calls in any order as well.
pub const CONCURRENT_MS: u64 = 100;
/// Number of groups of clients that share room. A power of two.
const BUCKETS: usize = 4096;
/// Number of clients in a group.
const WAYS: usize = 4;

/// What a NameNode that passes a call on says about the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassedOn {
    /// Time of the active's monotonic clock in ms. The client was waiting at some later moment.
    pub waiting_at_ms: u64,
    /// Longest time in ms for which the standby can have had the call when it learned that time (see [`Turns`]).
    pub age_ms: u64,
    /// Number of the client's connection, not 0. Calls of one connection are given up together, so they say nothing
    /// about each other.
    pub connection: u32,
}

impl PassedOn {
    /// Earliest time at which the call can have arrived at a NameNode.
    fn came_ms(&self) -> u64 {
        self.waiting_at_ms.saturating_sub(self.age_ms)
    }
}

/// Why a call is not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallDoubt {
    /// It is not known whether the client still waits.
    Late,
    /// The client has sent the call again, or has sent a later one.
    Overtaken,
    /// The client's calls were forgotten.
    Forgotten,
}

#[derive(Clone, Copy, Debug, Default)]
struct ClientCalls {
    id: [u8; 16],
    /// The newest calls that came directly, or over one connection to another NameNode.
    direct: Newest,
    passed_on: Newest,
    connection: u32,
}

/// The highest call number, and when the last call arrived; 0 when there was none.
#[derive(Clone, Copy, Debug, Default)]
struct Newest {
    at_ms: u64,
    call_id: i32,
}

impl Newest {
    fn add(&mut self, call_id: i32, came_ms: u64) {
        // A lower number counts as the highest one. That only refuses more.
        self.call_id = if self.at_ms == 0 {
            call_id
        } else {
            self.call_id.max(call_id)
        };
        self.at_ms = self.at_ms.max(came_ms).max(1);
    }

    /// Whether a call that arrived at `came_ms` may have been given up since.
    fn overtakes(&self, call_id: i32, came_ms: u64) -> bool {
        match self.call_id.cmp(&call_id) {
            _ if self.at_ms == 0 => false,
            Ordering::Less => false,
            Ordering::Equal => self.at_ms >= came_ms,
            Ordering::Greater => self.at_ms >= came_ms.saturating_add(CONCURRENT_MS),
        }
    }
}

impl ClientCalls {
    fn at_ms(&self) -> u64 {
        self.direct.at_ms.max(self.passed_on.at_ms)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    clients: [ClientCalls; WAYS],
    /// Arrival of the newest forgotten call.
    forgotten_ms: u64,
}

/// The newest changing calls that this NameNode has begun, by client; see the module.
#[derive(Debug, Default)]
pub struct LatestCalls {
    /// Empty until the first call, because a standby needs none.
    buckets: Vec<Bucket>,
}

impl LatestCalls {
    /// Notes that a changing call begins. `now_ms` is monotonic.
    #[inline]
    pub fn note(&mut self, key: &CallKey, passed_on: Option<&PassedOn>, now_ms: u64) {
        if self.buckets.is_empty() {
            self.buckets = vec![Bucket::default(); BUCKETS];
        }
        let Some(bucket) = self.buckets.get_mut(index_of(key)) else {
            return;
        };
        let client = bucket.place(key);
        debug_assert_eq!(client.id, key.client_id, "a place is one client's");
        match passed_on {
            None => client.direct.add(key.call_id, now_ms),
            Some(passed_on) => {
                if client.connection != passed_on.connection {
                    // Calls of another connection see these as direct calls.
                    let before = std::mem::take(&mut client.passed_on);
                    if before.at_ms != 0 {
                        client.direct.add(before.call_id, before.at_ms);
                    }
                    client.connection = passed_on.connection;
                }
                client.passed_on.add(key.call_id, passed_on.came_ms());
            }
        }
    }

    /// Panics when a client is remembered twice, because then one of its older calls would be believed.
    pub fn check_order(&self) {
        assert!(
            self.buckets.is_empty() || self.buckets.len() == BUCKETS,
            "memory is bounded"
        );
        for (number, bucket) in self.buckets.iter().enumerate() {
            let held = bucket.clients.iter().filter(|client| client.at_ms() != 0);
            for (at, client) in held.clone().enumerate() {
                let again = held.clone().skip(at + 1).any(|other| other.id == client.id);
                assert!(!again, "a client has two places");
                let key = CallKey {
                    client_id: client.id,
                    call_id: 0,
                };
                assert_eq!(index_of(&key), number, "a client is looked for where it is");
            }
        }
    }

    /// Whether a call that was passed on may be applied now.
    pub fn check(&self, key: &CallKey, passed_on: &PassedOn, now_ms: u64) -> Result<(), CallDoubt> {
        if passed_on.waiting_at_ms > now_ms || now_ms - passed_on.waiting_at_ms > FRESH_MS {
            return Err(CallDoubt::Late);
        }
        let came_ms = passed_on.came_ms();
        let Some(bucket) = self.buckets.get(index_of(key)) else {
            return Ok(());
        };
        match bucket.clients.iter().find(|client| client.holds(key)) {
            Some(client) => {
                let elsewhere = client.connection != passed_on.connection;
                if client.direct.overtakes(key.call_id, came_ms)
                    || elsewhere && client.passed_on.overtakes(key.call_id, came_ms)
                {
                    return Err(CallDoubt::Overtaken);
                }
                Ok(())
            }
            None if bucket.forgotten_ms != 0 && bucket.forgotten_ms >= came_ms => Err(CallDoubt::Forgotten),
            None => Ok(()),
        }
    }
}

impl ClientCalls {
    fn holds(&self, key: &CallKey) -> bool {
        self.id == key.client_id && self.at_ms() != 0
    }
}

impl Bucket {
    /// The place of a client. Another client may have to leave it.
    fn place(&mut self, key: &CallKey) -> &mut ClientCalls {
        let held = self.clients.iter().position(|client| client.holds(key));
        let at = held.unwrap_or_else(|| {
            let oldest = (0..WAYS).min_by_key(|&at| self.clients.get(at).map(ClientCalls::at_ms));
            let at = oldest.unwrap_or_default();
            if let Some(client) = self.clients.get_mut(at) {
                self.forgotten_ms = self.forgotten_ms.max(client.at_ms());
                *client = ClientCalls {
                    id: key.client_id,
                    ..ClientCalls::default()
                };
            }
            at
        });
        &mut self.clients[at % WAYS]
    }
}

fn index_of(key: &CallKey) -> usize {
    FixedState::with_seed(0x6861_7468).hash_one(key.client_id) as usize % BUCKETS
}

/// Estimates when a call that is read now can have arrived. A process that was stopped, suspended or starved may read
/// calls that have waited in the socket for that long.
///
/// The thread that reads calls says again and again that it runs. A call that it reads now was not there at the turn
/// before the last: otherwise it would have been read between the two.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    before_last_ms: u64,
    last_ms: u64,
}

impl Turns {
    /// Milliseconds between two turns.
    pub const EVERY_MS: u64 = 25;

    /// Begins now.
    #[must_use]
    pub fn new(now_ms: u64) -> Turns {
        Turns {
            before_last_ms: now_ms,
            last_ms: now_ms,
        }
    }

    /// The thread runs.
    pub fn turn(&mut self, now_ms: u64) {
        debug_assert!(now_ms >= self.last_ms, "the monotonic clock does not go back");
        self.before_last_ms = self.last_ms;
        self.last_ms = now_ms;
    }

    /// Calls that are read now arrived after this time.
    #[must_use]
    pub fn came_after_ms(&self) -> u64 {
        self.before_last_ms
    }
}

#[cfg(test)]
mod tests;
