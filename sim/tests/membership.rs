//! The set of JournalNodes changes while everything goes wrong, and nothing acknowledged is lost.

use hathi_sim::JournalPlan;
use hathi_sim::campaign::run_all;

const SEEDS: std::ops::Range<u64> = 0..2_000;

fn plan() -> JournalPlan {
    JournalPlan {
        spares: 3,
        ..JournalPlan::default()
    }
}

#[test]
fn seeds_hold_while_journalnodes_come_and_go() {
    let summary = run_all(&plan(), SEEDS);
    eprintln!("{}", summary.coverage());
    assert!(summary.failures.is_empty(), "{}", summary.failures(&plan()));
    for reached in ["JournalNodes changed", "found a changed set"] {
        assert!(
            summary.marks.get(reached).is_some_and(|count| *count > 500),
            "too seldom: {reached}"
        );
    }
}
