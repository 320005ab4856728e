//! The block side over failovers: many seeds hold its rules, and every planted bug is found.

mod search;

use hathi_sim::blocks::{ALL_BLOCK_MUTANTS, BlockMutant, run_blocks};

/// Seeds in CI; `HATHI_BLOCK_SEEDS` asks for more.
const SEEDS: u64 = 800;
/// Seeds tried for a mutant before it counts as not found.
const MUTANT_SEEDS: u64 = 2000;

fn hint(mutant: BlockMutant) -> u64 {
    match mutant {
        BlockMutant::AskOncePerCommand => 233,
        BlockMutant::NoNewRegistration => 181,
        BlockMutant::LifelineVouches => 88,
        _ => 0,
    }
}

#[test]
fn safety_05_10_12_no_seed_loses_a_replica_or_believes_in_a_bad_one() {
    let rare = [
        "failovers",
        "deletions",
        "copies",
        "rotten replicas",
        "bad replicas found by readers",
        "commands that ended with their claim",
        "runs that healed",
    ];
    search::hold_rules(search::seeds("HATHI_BLOCK_SEEDS", SEEDS), &rare, |seed, trace| {
        run_blocks(seed, None, trace)
    });
}

#[test]
fn safety_05_10_12_every_planted_bug_is_found() {
    search::find_all(&ALL_BLOCK_MUTANTS, MUTANT_SEEDS, hint, |seed, mutant| {
        run_blocks(seed, mutant, false)
    });
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run_blocks(7, None, true), run_blocks(7, None, true));
}
