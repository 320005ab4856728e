//! Runs seeds: `sim --seeds A..B [--mutant NAME] [--without FAULT]... [--spares N]`; `sim --seed N --verbose` shows one,
//! `sim --seed N --minimize` looks for the faults it needs. `--world cluster` runs the whole cluster instead of its journal;
//! with `--mutants` each planted bug in turn, which has to be found.

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use hathi_sim::campaign::Summary;
use hathi_sim::cluster::mutants::ALL_CLUSTER_MUTANTS;
use hathi_sim::cluster::{CLUSTER_FAULTS, ClusterPlan};
use hathi_sim::nemesis::{CLOCK_FAULTS, FAULTS};
use hathi_sim::{ALL_MUTANTS, JournalPlan, campaign};

/// Seeds of the whole cluster between two lines about the progress.
const PROGRESS_EVERY: u64 = 1_000;

struct Arguments {
    seeds: Range<u64>,
    plan: JournalPlan,
    minimize: bool,
    /// Of the whole cluster, if that is to be run.
    cluster: Option<ClusterPlan>,
    mutants: bool,
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|e| format!("{text}: {e}"))
}

fn parse(arguments: &[String]) -> Result<Arguments, String> {
    let is_cluster = arguments.windows(2).any(|pair| pair == ["--world", "cluster"]);
    let mut parsed = Arguments {
        seeds: 0..1000,
        plan: JournalPlan::default(),
        minimize: false,
        cluster: is_cluster.then(ClusterPlan::default),
        mutants: false,
    };
    let mut arguments = arguments.iter().cloned();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match (argument.as_str(), &mut parsed.cluster) {
            ("--seeds", _) => {
                let range = value()?;
                let (first, end) = range.split_once("..").ok_or("seeds are A..B")?;
                parsed.seeds = number(first)?..number(end)?;
            }
            ("--seed", _) => {
                let seed = number(&value()?)?;
                parsed.seeds = seed..seed + 1;
            }
            ("--verbose", Some(cluster)) => cluster.verbose = true,
            ("--verbose", None) => parsed.plan.verbose = true,
            ("--minimize", _) => parsed.minimize = true,
            ("--world", _) => match value()?.as_str() {
                "cluster" | "journal" => {}
                other => return Err(format!("there is no world {other}: cluster, journal")),
            },
            ("--mutant", Some(cluster)) => cluster.mutant = Some(named(&value()?, ALL_CLUSTER_MUTANTS)?),
            ("--mutant", None) => parsed.plan.mutant = Some(named(&value()?, ALL_MUTANTS)?),
            ("--without", Some(cluster)) => cluster.without.push(named_fault(&value()?, &CLUSTER_FAULTS)?),
            ("--without", None) => {
                let faults = [&FAULTS[..], &CLOCK_FAULTS].concat();
                parsed.plan.without.push(named_fault(&value()?, &faults)?);
            }
            ("--faults-until", Some(cluster)) => cluster.faults_until = Some(number(&value()?)?),
            ("--mutants", Some(_)) => parsed.mutants = true,
            (_, None) => parse_journal(&argument, &mut parsed.plan, value)?,
            (_, Some(_)) => return Err(format!("unknown argument {argument} of the cluster")),
        }
    }
    Ok(parsed)
}

/// Arguments of the journal's world alone.
fn parse_journal(
    argument: &str,
    plan: &mut JournalPlan,
    mut value: impl FnMut() -> Result<String, String>,
) -> Result<(), String> {
    match argument {
        "--spares" => plan.spares = usize::try_from(number(&value()?)?).map_err(|e| e.to_string())?,
        "--sharp-leases" => plan.sharp_leases = true,
        "--late-copies" => plan.late_copies = true,
        "--wild-clocks" => plan.wild_clocks = true,
        "--liar" => plan.liar = true,
        "--duels" => plan.duels = true,
        _ => return Err(format!("unknown argument {argument}")),
    }
    Ok(())
}

fn named<M: std::fmt::Debug>(name: &str, mutants: impl IntoIterator<Item = M>) -> Result<M, String> {
    let mut mutants = mutants.into_iter();
    let found = mutants.find(|mutant| format!("{mutant:?}") == name);
    found.ok_or(format!("there is no mutant {name}"))
}

fn named_fault(name: &str, faults: &[&'static str]) -> Result<&'static str, String> {
    let found = faults.iter().find(|fault| **fault == name);
    found.copied().ok_or(format!("there is no fault {name:?}: {faults:?}"))
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments = match parse(&arguments) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::from(2);
        }
    };
    let summary = match (&arguments.cluster, arguments.mutants) {
        (Some(plan), true) => return run_mutants(plan, arguments.seeds),
        (Some(plan), false) => run_cluster(plan, arguments.seeds, arguments.minimize),
        (None, _) => run_journal(arguments.plan, arguments.seeds, arguments.minimize),
    };
    println!(
        "{} seeds, {} failed, {} acknowledged in {} epochs",
        summary.seeds,
        summary.failures.len(),
        summary.acknowledged,
        summary.epochs
    );
    if summary.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[allow(clippy::print_stdout, reason = "a command line tool")]
fn run_journal(plan: JournalPlan, seeds: Range<u64>, minimize: bool) -> Summary {
    let summary = campaign::run_all(&plan, seeds);
    print!("{}{}", summary.coverage(), summary.failures(&plan));
    if let Some(seed) = summary.failures.keys().next().filter(|_| minimize) {
        let smallest = campaign::minimize(&JournalPlan { seed: *seed, ..plan });
        println!("with the fewest faults: {}", campaign::command(&smallest));
    }
    summary
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
fn run_cluster(plan: &ClusterPlan, seeds: Range<u64>, minimize: bool) -> Summary {
    let (count, began) = (seeds.end.saturating_sub(seeds.start), Instant::now());
    let summary = campaign::run_clusters_telling(plan, seeds, |failed, so_far| {
        if let Some((seed, violation)) = failed {
            eprintln!("seed {seed}: {violation}");
        }
        if so_far.seeds.is_multiple_of(PROGRESS_EVERY) {
            let (done, failures, seconds) = (so_far.seeds, so_far.failures.len(), began.elapsed().as_secs());
            eprintln!("{done} of {count} seeds in {seconds} s, {failures} failed");
        }
    });
    print!("{}{}", summary.coverage(), summary.failures_of_clusters(plan));
    if let Some(seed) = summary.failures.keys().next().filter(|_| minimize) {
        let smallest = campaign::minimize_cluster(&ClusterPlan {
            seed: *seed,
            ..plan.clone()
        });
        println!("with the fewest faults: {}", campaign::cluster_command(&smallest));
    }
    summary
}

/// Runs each planted bug with these seeds, and says which seeds find it.
#[allow(clippy::print_stdout, reason = "a command line tool")]
fn run_mutants(plan: &ClusterPlan, seeds: Range<u64>) -> ExitCode {
    let mut missed = 0;
    for mutant in ALL_CLUSTER_MUTANTS {
        let mutated = ClusterPlan {
            mutant: Some(mutant),
            ..plan.clone()
        };
        let found = campaign::run_clusters(&mutated, seeds.clone()).failures;
        let first: Vec<_> = found.iter().take(3).collect();
        println!("{mutant:?}: {} seeds find it, {first:?}", found.len());
        missed += usize::from(found.is_empty());
    }
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
