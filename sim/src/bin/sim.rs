//! Runs seeds: `sim --seeds A..B [--mutant NAME] [--without FAULT]... [--spares N]`; `sim --seed N --verbose` shows one,
//! `sim --seed N --minimize` looks for the faults it needs.

use std::process::ExitCode;

use hathi_sim::nemesis::{CLOCK_FAULTS, FAULTS};
use hathi_sim::{ALL_MUTANTS, Plan, campaign};

struct Arguments {
    seeds: std::ops::Range<u64>,
    plan: Plan,
    minimize: bool,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut parsed = Arguments {
        seeds: 0..1000,
        plan: Plan::default(),
        minimize: false,
    };
    let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--seeds" => {
                let range = value()?;
                let (first, end) = range.split_once("..").ok_or("seeds are A..B")?;
                parsed.seeds = number(first)?..number(end)?;
            }
            "--seed" => {
                let seed = number(&value()?)?;
                parsed.seeds = seed..seed + 1;
            }
            "--mutant" => {
                let name = value()?;
                let found = ALL_MUTANTS.into_iter().find(|mutant| format!("{mutant:?}") == name);
                parsed.plan.mutant = Some(found.ok_or(format!("there is no mutant {name}"))?);
            }
            "--without" => {
                let name = value()?;
                let found = FAULTS.into_iter().chain(CLOCK_FAULTS).find(|fault| *fault == name);
                parsed
                    .plan
                    .without
                    .push(found.ok_or(format!("there is no fault {name:?}: {FAULTS:?}"))?);
            }
            "--spares" => parsed.plan.spares = usize::try_from(number(&value()?)?).map_err(|e| e.to_string())?,
            "--sharp-leases" => parsed.plan.sharp_leases = true,
            "--late-copies" => parsed.plan.late_copies = true,
            "--wild-clocks" => parsed.plan.wild_clocks = true,
            "--liar" => parsed.plan.liar = true,
            "--duels" => parsed.plan.duels = true,
            "--verbose" => parsed.plan.verbose = true,
            "--minimize" => parsed.minimize = true,
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    Ok(parsed)
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::from(2);
        }
    };
    let plan = arguments.plan;
    let summary = campaign::run_all(&plan, arguments.seeds);
    print!("{}{}", summary.coverage(), summary.failures(&plan));
    if arguments.minimize
        && let Some(seed) = summary.failures.keys().next()
    {
        let smallest = campaign::minimize(&Plan { seed: *seed, ..plan });
        println!("with the fewest faults: {}", campaign::command(&smallest));
    }
    println!(
        "{} seeds, {} failed, {} transactions acknowledged in {} epochs",
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
