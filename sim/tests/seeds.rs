//! Thousands of seeds hold; the same seed is the same run; the seeds of old bugs hold; rare things do happen.

use std::collections::BTreeSet;

use hathi_sim::run;

const SEEDS: std::ops::Range<u64> = 0..2_500;

fn fails(seed: u64) -> Option<String> {
    let violation = run(seed, None, false).violation?;
    Some(format!(
        "seed {seed}: {violation}\n  replay: cargo run -p hathi-sim --bin sim -- --seed {seed} --verbose"
    ))
}

#[test]
fn seeds_hold_and_rare_things_happen() {
    let mut failures = Vec::new();
    let mut marks = BTreeSet::new();
    let mut acknowledged = 0;
    for seed in SEEDS {
        let outcome = run(seed, None, false);
        marks.extend(outcome.marks);
        acknowledged += outcome.acknowledged;
        if outcome.violation.is_some() {
            failures.extend(fails(seed));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(
        acknowledged > 100_000,
        "only {acknowledged} transactions were acknowledged"
    );
    for mark in [
        "disk full",
        "disk lost",
        "failed sync",
        "fenced",
        "fetched a segment",
        "handed over",
        "joining",
        "lease given back",
        "lease held",
        "lost its quorum",
        "partition",
        "paused",
        "power lost",
        "process crashed",
        "resumed a segment",
        "rolled",
        "tailed",
    ] {
        assert!(marks.contains(mark), "no seed reached: {mark}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..50 {
        let once = run(seed, None, false);
        assert_eq!(once, run(seed, None, false), "seed {seed}");
        assert_ne!(once.trace_hash, run(seed + 1, None, false).trace_hash);
    }
}

#[test]
fn seeds_of_old_bugs_hold() {
    let list = include_str!("../seeds.txt");
    let seeds = list.lines().filter(|line| !line.starts_with('#'));
    let failures: Vec<String> = seeds
        .filter_map(|line| line.split_whitespace().next())
        .map(|seed| seed.parse().expect("a seed is a number"))
        .filter_map(fails)
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
