//! Thousands of seeds hold; the same seed is the same run; the seeds of old bugs hold; every fault does happen.

use hathi_sim::campaign::run_all;
use hathi_sim::nemesis::CLOCK_FAULTS;
use hathi_sim::{JournalPlan, run};

const SEEDS: std::ops::Range<u64> = 0..6_000;

fn plan(seed: u64) -> JournalPlan {
    JournalPlan {
        seed,
        ..JournalPlan::default()
    }
}

#[test]
fn seeds_hold_and_every_fault_happens() {
    let summary = run_all(&JournalPlan::default(), SEEDS);
    eprintln!("{}", summary.coverage());
    assert!(
        summary.failures.is_empty(),
        "{}",
        summary.failures(&JournalPlan::default())
    );
    assert_eq!(summary.seeds, SEEDS.end - SEEDS.start);
    assert!(
        summary.acknowledged > 1_000_000,
        "only {} transactions were acknowledged",
        summary.acknowledged
    );
    assert!(summary.missing().is_empty(), "in no seed: {:?}", summary.missing());
    for reached in [
        "elected anew in office",
        "fenced",
        "fetched a segment",
        "joining",
        "lease held",
        "lost its quorum",
        "resumed a segment",
        "rolled",
        "tailed",
        "tailed in Java's way",
        "took a missing segment over",
    ] {
        assert!(summary.marks.contains_key(reached), "no seed reached: {reached}");
    }
}

#[test]
fn a_fault_that_is_left_out_does_not_happen() {
    for fault in ["bit flip: segment in progress", "duplicate", "power lost", "slow disk"] {
        let without = JournalPlan {
            without: vec![fault],
            ..JournalPlan::default()
        };
        let summary = run_all(&without, 0..100);
        assert!(summary.missing().contains(&fault), "{fault}");
        assert!(summary.failures.is_empty(), "{}", summary.failures(&without));
    }
}

#[test]
fn leases_hold_to_the_edge_of_their_drift() {
    let sharp = JournalPlan {
        sharp_leases: true,
        ..JournalPlan::default()
    };
    let summary = run_all(&sharp, 0..500);
    assert!(summary.failures.is_empty(), "{}", summary.failures(&sharp));
}

#[test]
fn safety_09_leases_hold_while_clocks_stop_jump_and_change_their_rates() {
    let wild = JournalPlan {
        wild_clocks: true,
        ..JournalPlan::default()
    };
    let summary = run_all(&wild, 0..500);
    assert!(summary.failures.is_empty(), "{}", summary.failures(&wild));
    for fault in CLOCK_FAULTS {
        assert!(summary.marks.contains_key(fault), "no seed reached: {fault}");
    }
}

#[test]
fn one_liar_and_any_number_of_strangers_stop_no_election() {
    let liar = JournalPlan {
        liar: true,
        ..JournalPlan::default()
    };
    let summary = run_all(&liar, 0..300);
    eprintln!("{}", summary.coverage());
    assert!(summary.failures.is_empty(), "{}", summary.failures(&liar));
    for reached in [
        "distrusted",
        "lied",
        "stranger: heartbeat",
        "stranger: newEpoch",
        "stranger: releaseLease",
        "stranger: waits for the end of a lease",
    ] {
        assert!(summary.marks.contains_key(reached), "no seed reached: {reached}");
    }
}

#[test]
fn no_journalnode_is_left_behind_by_elections_however_often_candidates_lose() {
    let duels = JournalPlan {
        duels: true,
        ..JournalPlan::default()
    };
    let summary = run_all(&duels, 0..200);
    eprintln!("{}", summary.coverage());
    assert!(summary.failures.is_empty(), "{}", summary.failures(&duels));
    for reached in ["duel", "elected anew in office"] {
        let often = summary.marks.get(reached).is_some_and(|count| *count > 50);
        assert!(often, "too seldom: {reached}");
    }
}

#[test]
fn what_comes_again_much_later_does_no_harm() {
    let late = JournalPlan {
        late_copies: true,
        ..JournalPlan::default()
    };
    let summary = run_all(&late, 0..500);
    assert!(summary.failures.is_empty(), "{}", summary.failures(&late));
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..50 {
        let once = run(&plan(seed));
        assert_eq!(once, run(&plan(seed)), "seed {seed}");
        assert_ne!(once.trace_hash, run(&plan(seed + 1)).trace_hash);
    }
}

#[test]
fn seeds_of_old_bugs_hold() {
    let list = include_str!("../seeds.txt");
    let seeds = list.lines().filter(|line| !line.starts_with('#'));
    for seed in seeds.filter_map(|line| line.split_whitespace().next()) {
        let seed = seed.parse().expect("a seed is a number");
        let summary = run_all(&JournalPlan::default(), seed..seed + 1);
        assert!(
            summary.failures.is_empty(),
            "{}",
            summary.failures(&JournalPlan::default())
        );
    }
}
