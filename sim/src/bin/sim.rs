//! Runs seeds: `sim --seeds A..B [--mutant NAME] [--verbose]`, or `sim --seed N --verbose` to see one.

use std::process::ExitCode;

use hathi_sim::{ALL_MUTANTS, Mutant, run};

struct Arguments {
    first: u64,
    end: u64,
    mutant: Option<Mutant>,
    verbose: bool,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut parsed = Arguments {
        first: 0,
        end: 1000,
        mutant: None,
        verbose: false,
    };
    let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--seeds" => {
                let range = value()?;
                let (first, end) = range.split_once("..").ok_or("seeds are A..B")?;
                (parsed.first, parsed.end) = (number(first)?, number(end)?);
            }
            "--seed" => {
                parsed.first = number(&value()?)?;
                parsed.end = parsed.first + 1;
            }
            "--mutant" => {
                let name = value()?;
                let found = ALL_MUTANTS.into_iter().find(|mutant| format!("{mutant:?}") == name);
                parsed.mutant = Some(found.ok_or(format!("there is no mutant {name}"))?);
            }
            "--verbose" => parsed.verbose = true,
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
    let mut failed = 0;
    let (mut acknowledged, mut epochs) = (0, 0);
    for seed in arguments.first..arguments.end {
        let outcome = run(seed, arguments.mutant, arguments.verbose);
        acknowledged += outcome.acknowledged;
        epochs += outcome.epochs;
        if let Some(violation) = outcome.violation {
            failed += 1;
            let mutant = arguments
                .mutant
                .map_or(String::new(), |mutant| format!(" --mutant {mutant:?}"));
            println!("seed {seed}: {violation}");
            println!("  replay: cargo run -p hathi-sim --bin sim -- --seed {seed}{mutant} --verbose");
        }
    }
    let seeds = arguments.end - arguments.first;
    println!("{seeds} seeds, {failed} failed, {acknowledged} transactions acknowledged in {epochs} epochs");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
