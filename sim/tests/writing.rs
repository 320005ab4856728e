//! Files that are written while machines fail: many seeds keep what was acknowledged, and every planted bug is found.

mod search;

use hathi_sim::writing::{ALL_WRITING_MUTANTS, WritingMutant, run_writing};

/// Seeds in CI; `HATHI_WRITING_SEEDS` asks for more.
const SEEDS: u64 = 300;
/// Seeds tried for a mutant before it counts as not found.
const MUTANT_SEEDS: u64 = 2000;

fn hint(mutant: WritingMutant) -> u64 {
    match mutant {
        WritingMutant::CloseUnsynced => 5,
        WritingMutant::UnreachableIsAbsent => 220,
        WritingMutant::ResultsUnjudged => 236,
        WritingMutant::ReportsNotAwaited => 70,
        WritingMutant::TruncateForgotten => 9,
        WritingMutant::OpenBlocksMayGo => 7,
        WritingMutant::UnverifiedReports => 24,
        WritingMutant::NamesNotSynced
        | WritingMutant::SyncAnsweredUnsynced
        | WritingMutant::ChecksumBeforeData
        | WritingMutant::SentLengthLogged
        | WritingMutant::FirstAnswerCounts => 0,
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
        run_writing(seed, Some(mutant), false)
    });
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run_writing(7, None, true), run_writing(7, None, true));
}
