//! Files that are written while machines fail: many seeds keep what was acknowledged, and every planted bug is found.

mod search;

use hathi_sim::writing::{ALL_WRITING_MUTANTS, WritingMutant, run_writing};

/// Seeds in CI; `HATHI_WRITING_SEEDS` asks for more.
const SEEDS: u64 = 300;
/// Seeds tried for a mutant before it counts as not found.
const MUTANT_SEEDS: u64 = 2000;

fn hint(mutant: WritingMutant) -> u64 {
    match mutant {
        WritingMutant::CloseUnsynced => 43,
        WritingMutant::UnreachableIsAbsent => 236,
        WritingMutant::ResultsUnjudged => 105,
        WritingMutant::ReportsNotAwaited => 714,
        WritingMutant::TruncateForgotten => 5,
        WritingMutant::OpenBlocksMayGo => 6,
        WritingMutant::NamesNotSynced => 5,
        WritingMutant::ChecksumBeforeData => 1,
        WritingMutant::UnverifiedReports => 26,
        WritingMutant::FirstAnswerCounts => 14,
        WritingMutant::SyncAnsweredUnsynced => 3,
        WritingMutant::SentLengthLogged => 0,
        WritingMutant::BadEndUnseen => 583,
    }
}

#[test]
fn safety_d_no_seed_loses_what_was_acknowledged() {
    let rare = [
        "hflushes",
        "hsyncs",
        "appends",
        "truncates",
        "files closed by their writers",
        "pipelines repaired",
        "replaced DataNodes",
        "recoveries",
        "kills",
        "losses of power",
        "losses of power in the middle of a change",
        "failovers",
        "deletions",
        "copies",
        "decommissions",
        "bits that flipped",
        "open files that were read",
        "runs that healed",
    ];
    search::hold_rules(search::seeds("HATHI_WRITING_SEEDS", SEEDS), &rare, |seed, trace| {
        run_writing(seed, None, trace)
    });
}

#[test]
fn safety_d_every_planted_bug_is_found() {
    search::find_all(&ALL_WRITING_MUTANTS, MUTANT_SEEDS, hint, |seed, mutant| {
        run_writing(seed, mutant, false)
    });
}

/// Seeds that broke a rule, with the reason:
/// - 583, 2170, 2748: a complete replica that had lost its end with its machine's power decided a recovery, or took part in
///   it like a good one;
/// - 3478: a NameNode that had just loaded knew only of a replica that had seen a loss of power;
/// - 3817: nobody let a NameNode leave its safe mode, although a block was gone for good;
/// - 4305, 4543, 4975, 5897: a DataNode was decommissioned a second after the other one with an open file's bytes had lost
///   its power and what it had; no NameNode can know yet that nobody else has them;
/// - 4529: a DataNode lost its power while it changed a replica for a recovery, and counted as one that had answered;
/// - 5098: the simulated disk lost a directory and kept what was in it.
const BROKE_A_RULE: [u64; 11] = [583, 2170, 2748, 3478, 3817, 4305, 4529, 4543, 4975, 5098, 5897];

#[test]
fn no_seed_that_broke_a_rule_does_so_again() {
    for seed in BROKE_A_RULE {
        assert_eq!(run_writing(seed, None, false).violation, None, "seed {seed}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run_writing(7, None, true), run_writing(7, None, true));
}
