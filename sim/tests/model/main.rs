//! Every course of events within stated bounds, on the production state machines: `Acceptor` and `QuorumWriter` are
//! stepped as they are, and a search visits each state once.
//!
//! Three JournalNodes, two NameNodes. Every request and every answer may take as long as it likes, so any order that
//! connections allow is tried, and also that something never arrives. Beyond that, as far as the bounds say: broken
//! connections (what was sent may arrive late, after the next connection's), crashes between any two steps with and
//! without what was not synced, read leases and time that passes.
//!
//! A state is known by a 64-bit hash of all that decides what follows.

mod disk;
mod state;

use hathi_sim::Mutant;
use stateright::{Checker, Model, Property};

use state::{Action, Bounds, State, Violation};

#[derive(Clone, Debug)]
struct Journal(Bounds);

impl Model for Journal {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(&self.0)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.actions(&self.0, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        next.step(&self.0, &action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "at most one value is chosen for a transaction id",
                |_, state: &State| !matches!(state.violation, Some(Violation::Agreement(_))),
            ),
            Property::always(
                "what is acknowledged is in every later recovered log",
                |_, state: &State| !matches!(state.violation, Some(Violation::Lost(_))),
            ),
            Property::always("an epoch has one writer", |_, state: &State| {
                !matches!(state.violation, Some(Violation::Writers(_)))
            }),
            Property::always("a lease holder is alone", |_, state: &State| {
                !matches!(state.violation, Some(Violation::Lease(_)))
            }),
        ]
    }
}

/// Explores everything; the number of states.
fn explore(name: &str, bounds: &Bounds) -> usize {
    let started = std::time::Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = Journal(bounds.clone()).checker().threads(threads).spawn_dfs().join();
    let states = checker.unique_state_count();
    eprintln!(
        "{name}: {states} states, {} steps, depth {}, {:.1} s: {bounds:?}",
        checker.state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f64()
    );
    for (property, path) in checker.discoveries() {
        let violation = path.last_state().violation.clone();
        panic!("{name}: {property}: {violation:?} after {:#?}", path.into_actions());
    }
    assert!(checker.is_done(), "{name}: not everything was explored");
    states
}

const SMALL: Bounds = Bounds {
    attempts: Vec::new(),
    txns: 1,
    finalize: false,
    breaks: 0,
    crashes: 0,
    lease_ms: 0,
    waits: 0,
    mutant: None,
};

#[test]
fn one_writer() {
    let bounds = Bounds {
        attempts: vec![1],
        txns: 2,
        ..SMALL
    };
    explore("one writer", &bounds);
    explore("one writer, one crash", &Bounds { crashes: 1, ..bounds });
}

#[test]
fn two_writers() {
    let bounds = Bounds {
        attempts: vec![1, 1],
        ..SMALL
    };
    explore("two writers", &bounds);
}
