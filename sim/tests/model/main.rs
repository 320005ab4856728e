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
use stateright::{Checker, HasDiscoveries, Model, Property};

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

/// Visits every state within the bounds, or stops at the first violation if there is to be one.
fn explore(name: &str, bounds: &Bounds) -> Option<(&'static str, Option<Violation>, usize)> {
    let started = std::time::Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = Journal(bounds.clone())
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::Any)
        .spawn_dfs()
        .join();
    eprintln!(
        "{name}: {} states, {} steps, depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f64()
    );
    let (property, path) = checker.discoveries().into_iter().next()?;
    let violation = path.last_state().violation.clone();
    let actions = path.into_actions();
    eprintln!("{name}: {property}: {violation:?} after {actions:?}");
    Some((property, violation, actions.len()))
}

/// Two NameNodes, each tries once, at any time, writes one transaction; nothing fails, but anything may take forever.
const TWO_AT_ONCE: Bounds = Bounds {
    attempts: [1, 1],
    one_by_one: false,
    txns: 1,
    slow_answers: 0,
    breaks: 0,
    crashes: 0,
    lease_ms: 0,
    waits: 0,
    mutant: None,
};

/// One NameNode writes two transactions; one connection breaks, one JournalNode crashes, two answers are slow.
const ONE_WITH_FAULTS: Bounds = Bounds {
    attempts: [1, 0],
    txns: 2,
    slow_answers: 2,
    breaks: 1,
    crashes: 1,
    ..TWO_AT_ONCE
};

/// One after the other, with read leases, and a whole lease's time in two halves.
const LEASES: Bounds = Bounds {
    one_by_one: true,
    txns: 0,
    lease_ms: 100,
    waits: 2,
    ..TWO_AT_ONCE
};

/// One after the other, and a JournalNode crashes.
const TAKEOVER_WITH_CRASH: Bounds = Bounds {
    one_by_one: true,
    crashes: 1,
    ..TWO_AT_ONCE
};

fn holds(name: &str, bounds: &Bounds) {
    assert_eq!(explore(name, bounds), None, "{name}: {bounds:?}");
}

fn catches(bounds: &Bounds, mutant: Mutant) {
    let planted = Bounds {
        mutant: Some(mutant),
        ..bounds.clone()
    };
    let found = explore(&format!("{mutant:?}"), &planted);
    assert!(found.is_some(), "{mutant:?} breaks nothing within {bounds:?}");
}

#[test]
fn two_writers_at_once() {
    holds("two writers at once", &TWO_AT_ONCE);
}

#[test]
fn one_writer_with_faults() {
    holds("one writer with faults", &ONE_WITH_FAULTS);
}

#[test]
fn broken_rules_are_found() {
    for mutant in [
        Mutant::AcceptEqualEpoch,
        Mutant::AcceptOldEpoch,
        Mutant::AckAtMinority,
        Mutant::SkipRecovery,
        Mutant::EpochFromMinority,
    ] {
        catches(&TWO_AT_ONCE, mutant);
    }
    catches(&ONE_WITH_FAULTS, Mutant::SkipJournalSync);
    catches(&LEASES, Mutant::IgnoreLease);
}

/// For a night: `cargo test -p hathi-sim --test model -- --ignored --nocapture`.
#[test]
#[ignore = "takes an hour"]
fn larger_bounds_hold() {
    holds("leases", &LEASES);
    holds("takeover with a crash", &TAKEOVER_WITH_CRASH);
    let slow = Bounds {
        slow_answers: 1,
        ..TWO_AT_ONCE
    };
    holds("two writers at once, a slow answer", &slow);
    let again = Bounds {
        attempts: [2, 1],
        one_by_one: true,
        ..TWO_AT_ONCE
    };
    holds("three epochs", &again);
}
