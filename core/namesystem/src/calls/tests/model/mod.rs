//! Random calls of clients to an active, against a naive namespace; and a standby that equals the active after each of them.
//!
//! `HATHI_MODEL_CALLS=1000000 cargo test -p hathi-namesystem --lib model` makes so many calls. `HATHI_MODEL_FIRST` is the first
//! history, `HATHI_TRACE=1` prints each call, and `HATHI_CHECK=1` checks the whole state after each. `HATHI_MODEL_SAVE=DIR` writes
//! the image of each namespace at its end, and its edits, for the tests of other crates (`formats/tests/data`), and
//! `HATHI_MODEL_LENGTH` makes histories shorter for that.

mod attributes;
mod caching;
mod coding;
mod comparison;
mod files;
mod names;
mod snapshots;
mod tree;
mod world;
mod zones;

use super::*;
use std::fmt::Write as _;
use world::World;

/// Calls of one history. A longer one finds less, because the tree does not grow.
const HISTORY: u64 = 2000;
const CALLS: u64 = 20_000;

/// Names the history and the call when a run panics.
struct Place {
    seed: u64,
    call: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut place = String::new();
            let _ = write!(place, "history {}, call {}", self.seed, self.call);
            eprintln!("{place}");
        }
    }
}

fn run(seed: u64, calls: u64) {
    let mut place = Place { seed, call: 0 };
    let mut world = World::new(seed);
    for call in 0..calls {
        place.call = call;
        world.step();
        if call % 50 == 49 {
            world.compare();
        }
    }
    world.compare();
    world.finish();
    if let Ok(dir) = std::env::var("HATHI_MODEL_SAVE") {
        world.keep(std::path::Path::new(&dir), seed).unwrap();
    }
}

/// A number that the environment may give.
fn asked(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|number| number.parse().ok())
}

#[test]
fn random_calls_do_what_a_naive_namespace_does_and_a_standby_follows() {
    let first = asked("HATHI_MODEL_FIRST").unwrap_or(0);
    let length = asked("HATHI_MODEL_LENGTH").unwrap_or(HISTORY);
    let calls = asked("HATHI_MODEL_CALLS").unwrap_or(CALLS);
    for seed in first..first + calls.div_ceil(length) {
        run(seed, length);
    }
}
