//! Runs many seeds of a world on all cores.

use hathi_sim::blocks::BlockOutcome;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of fewer seeds it is not asked that they reach everything.
const SEEDS_FOR_RARE: u64 = 100;

/// How often rare things happened.
pub type Seen = BTreeMap<&'static str, u64>;

/// The first seed of a range that breaks a rule, and what happened in all runs.
pub fn first_violation(seeds: Range<u64>, run: impl Fn(u64) -> BlockOutcome + Sync) -> (Option<u64>, Seen) {
    let seen: Mutex<Seen> = Mutex::default();
    let next = AtomicU64::new(seeds.start);
    let found = AtomicU64::new(u64::MAX);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || seed > found.load(Ordering::Relaxed) {
                        break;
                    }
                    let outcome = run(seed);
                    if outcome.violation.is_some() {
                        found.fetch_min(seed, Ordering::Relaxed);
                    }
                    let mut seen = seen.lock().expect("no test panicked");
                    for (what, times) in outcome.seen {
                        *seen.entry(what).or_default() += times;
                    }
                }
            });
        }
    });
    let found = Some(found.into_inner()).filter(|seed| *seed != u64::MAX);
    (found, seen.into_inner().expect("no test panicked"))
}

/// No seed breaks a rule, and each rare thing happened.
pub fn hold_rules(seeds: Range<u64>, rare: &[&str], run: impl Fn(u64, bool) -> BlockOutcome + Sync) {
    let few = seeds.end - seeds.start < SEEDS_FOR_RARE;
    let (found, seen) = first_violation(seeds, |seed| run(seed, false));
    if let Some(seed) = found {
        panic!("seed {seed}\n{}", run(seed, true).trace.join("\n"));
    }
    eprintln!("{seen:?}");
    for rare in rare.iter().filter(|_| !few) {
        assert!(seen.contains_key(rare), "no seed reached: {rare}");
    }
}

/// Each planted bug is found within so many seeds, by one that keeps the rules without it. `hint` is a seed known to find it, to be tried first. It may stop doing
/// so when the simulator's draws change: then the search takes longer, and a new one is to be noted.
pub fn find_all<M: Copy + std::fmt::Debug + Sync>(
    mutants: &[M],
    seeds: u64,
    hint: impl Fn(M) -> u64,
    run: impl Fn(u64, Option<M>) -> BlockOutcome + Sync,
) {
    // Most seeds keep the rules with the bug, so that few are run twice.
    let finds = |seed: u64, mutant: M| match run(seed, Some(mutant)) {
        found if found.violation.is_some() && run(seed, None).violation.is_some() => BlockOutcome::default(),
        other => other,
    };
    let missed: Vec<M> = mutants
        .iter()
        .copied()
        .filter(|&mutant| {
            let found = match finds(hint(mutant), mutant).violation {
                Some(_) => Some(hint(mutant)),
                None => first_violation(0..seeds, |seed| finds(seed, mutant)).0,
            };
            eprintln!("{mutant:?}: {found:?}");
            found.is_none()
        })
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Seeds to run: as the environment asks (`1000`, or `1294..1295`), or as many as CI does.
pub fn seeds(key: &str, in_ci: u64) -> Range<u64> {
    let Ok(asked) = std::env::var(key) else {
        return 0..in_ci;
    };
    let (first, end) = asked.split_once("..").unwrap_or(("0", &asked));
    let number = |text: &str| text.parse().expect("a number, or a range of two");
    number(first)..number(end)
}
