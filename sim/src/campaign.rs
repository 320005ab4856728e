//! Runs many seeds on all cores, tells what they reached, and finds the faults that a failing seed needs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::cluster::{self, CLUSTER_FAULTS, ClusterPlan};
use crate::nemesis::{CLOCK_FAULTS, FAULTS};
use crate::{JournalPlan, Outcome, run};

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
        self.missing_of(&FAULTS)
    }

    /// Those of these that happened in no run.
    #[must_use]
    pub fn missing_of(&self, wanted: &[&'static str]) -> Vec<&'static str> {
        let happened = |what: &&str| self.marks.get(*what).is_some_and(|count| *count > 0);
        wanted.iter().copied().filter(|what| !happened(what)).collect()
    }

    /// Every failure, with the command that shows it.
    #[must_use]
    pub fn failures(&self, plan: &JournalPlan) -> String {
        self.failures_by(|seed| command(&JournalPlan { seed, ..plan.clone() }))
    }

    /// The same of the whole cluster.
    #[must_use]
    pub fn failures_of_clusters(&self, plan: &ClusterPlan) -> String {
        self.failures_by(|seed| cluster_command(&ClusterPlan { seed, ..plan.clone() }))
    }

    fn failures_by(&self, command: impl Fn(u64) -> String) -> String {
        let lines = self.failures.iter();
        let lines = lines.map(|(seed, violation)| {
            let replay = command(*seed);
            let minimize = replay.replace(" --verbose", " --minimize");
            format!("seed {seed}: {violation}\n  replay: {replay}\n  minimize: {minimize}\n")
        });
        lines.collect()
    }

    /// Number of each rare event, for people.
    #[must_use]
    pub fn coverage(&self) -> String {
        let lines = self.marks.iter().map(|(what, count)| {
            let faults = [&FAULTS[..], &CLOCK_FAULTS, &CLUSTER_FAULTS];
            let kind = if faults.iter().any(|faults| faults.contains(what)) {
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
pub fn command(plan: &JournalPlan) -> String {
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
pub fn run_all(plan: &JournalPlan, seeds: Range<u64>) -> Summary {
    run_each(seeds, |seed| run(&JournalPlan { seed, ..plan.clone() }), |_, _| {})
}

/// Runs a plan of the whole cluster with each of these seeds, on all cores.
#[must_use]
pub fn run_clusters(plan: &ClusterPlan, seeds: Range<u64>) -> Summary {
    run_clusters_telling(plan, seeds, |_, _| {})
}

/// The same. After each run it tells of the run that has failed, if it has, and of all runs so far.
#[must_use]
pub fn run_clusters_telling(
    plan: &ClusterPlan,
    seeds: Range<u64>,
    tell: impl Fn(Option<(u64, &str)>, &Summary) + Sync,
) -> Summary {
    let run = |seed| cluster::run(&ClusterPlan { seed, ..plan.clone() });
    run_each(seeds, run, tell)
}

fn run_each(
    seeds: Range<u64>,
    run: impl Fn(u64) -> Outcome + Sync,
    tell: impl Fn(Option<(u64, &str)>, &Summary) + Sync,
) -> Summary {
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
                    let outcome = run(seed);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    summary.add(outcome);
                    let failed = summary.failures.get(&seed).map(|violation| (seed, violation.as_str()));
                    tell(failed, &summary);
                }
            });
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The command that shows a run of the whole cluster.
#[must_use]
pub fn cluster_command(plan: &ClusterPlan) -> String {
    let seed = plan.seed;
    let mut command = format!("cargo run -p hathi-sim --bin sim -- --world cluster --seed {seed} --verbose");
    if let Some(mutant) = plan.mutant {
        command += &format!(" --mutant {mutant:?}");
    }
    for fault in &plan.without {
        command += &format!(" --without '{fault}'");
    }
    if let Some(end) = plan.faults_until {
        command += &format!(" --faults-until {end}");
    }
    command
}

/// Leaves out one kind of fault after the other, as long as the run still fails. Without a fault the course of events
/// is another one, so this finds a smaller failure, but not always the same one.
#[must_use]
pub fn minimize(plan: &JournalPlan) -> JournalPlan {
    let mut smallest = JournalPlan {
        verbose: false,
        ..plan.clone()
    };
    let faults = FAULTS.into_iter().chain(CLOCK_FAULTS);
    let fails = |without: &[&'static str]| {
        let without = without.to_vec();
        run(&JournalPlan {
            without,
            ..plan.clone()
        })
        .violation
        .is_some()
    };
    smallest.without = leave_out(plan.without.clone(), faults, fails);
    smallest
}

/// The same for a run of the whole cluster, whose faults also end as early as possible.
#[must_use]
pub fn minimize_cluster(plan: &ClusterPlan) -> ClusterPlan {
    let mut smallest = ClusterPlan {
        verbose: false,
        ..plan.clone()
    };
    let fails = |plan: ClusterPlan| cluster::run(&plan).violation.is_some();
    let without = |without: &[&'static str]| {
        let without = without.to_vec();
        fails(ClusterPlan {
            without,
            ..smallest.clone()
        })
    };
    smallest.without = leave_out(plan.without.clone(), CLUSTER_FAULTS.into_iter(), without);
    let (mut least, mut enough) = (0, LONGEST_FAULTS_US);
    while least + FAULTS_STEP_US < enough {
        let middle = least.midpoint(enough);
        let shorter = ClusterPlan {
            faults_until: Some(middle),
            ..smallest.clone()
        };
        match fails(shorter.clone()) {
            true => (smallest, enough) = (shorter, middle),
            false => least = middle,
        }
    }
    smallest
}

/// No run has faults for longer.
const LONGEST_FAULTS_US: u64 = 8_000_000;
/// How exactly the end of the faults is looked for.
const FAULTS_STEP_US: u64 = 10_000;

fn leave_out(
    mut without: Vec<&'static str>,
    faults: impl Iterator<Item = &'static str>,
    fails: impl Fn(&[&'static str]) -> bool,
) -> Vec<&'static str> {
    for fault in faults {
        if without.contains(&fault) {
            continue;
        }
        without.push(fault);
        if !fails(&without) {
            without.pop();
        }
    }
    without
}
