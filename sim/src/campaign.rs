//! Runs many seeds on all cores, tells what they reached, and finds the faults that a failing seed needs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::nemesis::{CLOCK_FAULTS, FAULTS};
use crate::{Outcome, Plan, run};

/// Result of many runs.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Number of runs.
    pub seeds: u64,
    /// Number of acknowledged transactions.
    pub acknowledged: u64,
    /// Number of writers.
    pub epochs: u64,
    /// How often each fault, and each other rare event, happened.
    pub marks: BTreeMap<&'static str, u64>,
    /// The runs that failed, by seed.
    pub failures: BTreeMap<u64, String>,
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.acknowledged += outcome.acknowledged;
        self.epochs += outcome.epochs;
        for (what, count) in outcome.marks {
            *self.marks.entry(what).or_default() += count;
        }
        if let Some(violation) = outcome.violation {
            self.failures.insert(outcome.seed, violation);
        }
    }

    /// Faults that happened in no run.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let happened = |fault: &&str| self.marks.get(*fault).is_some_and(|count| *count > 0);
        FAULTS.into_iter().filter(|fault| !happened(fault)).collect()
    }

    /// Every failure, with the command that shows it.
    #[must_use]
    pub fn failures(&self, plan: &Plan) -> String {
        let lines = self.failures.iter().map(|(seed, violation)| {
            let plan = Plan {
                seed: *seed,
                ..plan.clone()
            };
            format!("seed {seed}: {violation}\n  replay: {}\n", command(&plan))
        });
        lines.collect()
    }

    /// Number of each rare event, for people.
    #[must_use]
    pub fn coverage(&self) -> String {
        let lines = self.marks.iter().map(|(what, count)| {
            let kind = if FAULTS.contains(what) || CLOCK_FAULTS.contains(what) {
                "fault"
            } else {
                "reached"
            };
            format!("{count:>10} {kind:>8}  {what}\n")
        });
        lines.collect()
    }
}

/// The command that shows a run.
#[must_use]
pub fn command(plan: &Plan) -> String {
    let mut command = format!("cargo run -p hathi-sim --bin sim -- --seed {} --verbose", plan.seed);
    if let Some(mutant) = plan.mutant {
        command += &format!(" --mutant {mutant:?}");
    }
    if plan.sharp_leases {
        command += " --sharp-leases";
    }
    if plan.late_copies {
        command += " --late-copies";
    }
    if plan.wild_clocks {
        command += " --wild-clocks";
    }
    if plan.liar {
        command += " --liar";
    }
    if plan.duels {
        command += " --duels";
    }
    if plan.spares > 0 {
        command += &format!(" --spares {}", plan.spares);
    }
    for fault in &plan.without {
        command += &format!(" --without '{fault}'");
    }
    command
}

/// Runs a plan with each of these seeds, on all cores.
#[must_use]
pub fn run_all(plan: &Plan, seeds: Range<u64>) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(&Plan { seed, ..plan.clone() });
                    summary.lock().unwrap_or_else(PoisonError::into_inner).add(outcome);
                }
            });
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Leaves out one kind of fault after the other, as long as the run still fails. Without a fault the course of events
/// is another one, so this finds a smaller failure, but not always the same one.
#[must_use]
pub fn minimize(plan: &Plan) -> Plan {
    let mut smallest = Plan {
        verbose: false,
        ..plan.clone()
    };
    for fault in FAULTS.into_iter().chain(CLOCK_FAULTS) {
        let mut smaller = smallest.clone();
        smaller.without.push(fault);
        if !smallest.without.contains(&fault) && run(&smaller).violation.is_some() {
            smallest = smaller;
        }
    }
    smallest
}
