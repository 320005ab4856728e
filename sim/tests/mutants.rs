//! Who proves the prover: every planted bug is found.

use hathi_sim::{ALL_MUTANTS, Mutant, run};

/// Seeds tried for a mutant before it counts as not found.
const SEEDS: u64 = 8_000;

/// A seed known to find a mutant that few seeds find, to be tried first. It may stop doing so when the simulator's
/// draws change: then the search takes longer, and a new one is to be noted here.
fn hint(mutant: Mutant) -> u64 {
    match mutant {
        Mutant::TrustEqualLength => 4756,
        Mutant::FinalizeAnyContent => 617,
        Mutant::AcceptOldEpoch => 48,
        Mutant::ChooseLongerFirst => 2094,
        Mutant::ServeStale => 1917,
        Mutant::TrustMemory => 874,
        Mutant::LeaseFromAnswer => 2967,
        Mutant::AcceptEqualEpoch
        | Mutant::SkipJournalSync
        | Mutant::SkipPromiseSync
        | Mutant::SkipAcceptRecord
        | Mutant::IgnoreLease
        | Mutant::ForgetLeaseAtRestart
        | Mutant::AmnesiacVotes
        | Mutant::ServeUncommitted
        | Mutant::AckAtMinority
        | Mutant::LeaseFromOne
        | Mutant::SkipRecovery
        | Mutant::EpochFromMinority => 0,
    }
}

#[test]
fn every_mutant_is_found() {
    let mut missed = Vec::new();
    for mutant in ALL_MUTANTS {
        let seeds = std::iter::once(hint(mutant)).chain(0..SEEDS);
        let found = seeds
            .into_iter()
            .find(|seed| run(*seed, Some(mutant), false).violation.is_some());
        match found {
            Some(seed) => eprintln!("{mutant:?}: seed {seed}"),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not found in {SEEDS} seeds: {missed:?}");
}
