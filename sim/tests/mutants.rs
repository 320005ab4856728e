//! Who proves the prover: every planted bug is found.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hathi_sim::{ALL_MUTANTS, JournalPlan, LIAR_MUTANTS, MEMBERSHIP_MUTANTS, Mutant, run};

/// Seeds tried for a mutant before it counts as not found.
const SEEDS: u64 = 20_000;

/// A seed known to find a mutant that few seeds find, to be tried first. It may stop doing so when the simulator's
/// draws change: then the search takes longer, and a new one is to be noted here.
fn hint(mutant: Mutant) -> u64 {
    match mutant {
        Mutant::FinalizeAnyContent => 18306,
        Mutant::TrustEqualLength => 2438,
        Mutant::IgnoreRival => 1594,
        Mutant::ChooseLongerFirst => 1021,
        Mutant::HastyMembership => 757,
        Mutant::AskTwice => 593,
        Mutant::ForeignMembership => 574,
        Mutant::ServeStale => 398,
        Mutant::LeaseFromAnswer => 326,
        Mutant::ReleaseAnyEpoch => 278,
        Mutant::TrustMemory => 128,
        Mutant::AdoptUnchecked => 75,
        Mutant::ServeUnsynced => 59,
        _ => 0,
    }
}

fn is_found_by(mutant: Mutant, seed: u64) -> bool {
    let plan = JournalPlan {
        seed,
        mutant: Some(mutant),
        // Those that break a change of the JournalNodes need some to change.
        spares: if MEMBERSHIP_MUTANTS.contains(&mutant) { 3 } else { 0 },
        sharp_leases: mutant == Mutant::IgnoreDrift,
        wild_clocks: matches!(mutant, Mutant::WaitConfiguredLease | Mutant::ClockStandsInSuspend),
        liar: LIAR_MUTANTS.contains(&mutant),
        duels: mutant == Mutant::IgnoreRival,
        late_copies: matches!(mutant, Mutant::ReleaseAnyEpoch | Mutant::AskTwice),
        ..JournalPlan::default()
    };
    // What fails without the mutant tells nothing.
    let sound = JournalPlan {
        mutant: None,
        ..plan.clone()
    };
    run(&plan).violation.is_some() && run(&sound).violation.is_none()
}

#[test]
fn every_mutant_is_found() {
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(mutant) = ALL_MUTANTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut seeds = std::iter::once(hint(*mutant)).chain(0..SEEDS);
                    match seeds.find(|seed| is_found_by(*mutant, *seed)) {
                        Some(seed) => eprintln!("{mutant:?}: seed {seed}"),
                        None => missed.lock().expect("no test panicked").push(*mutant),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().expect("no test panicked");
    assert!(missed.is_empty(), "not found in {SEEDS} seeds: {missed:?}");
}
