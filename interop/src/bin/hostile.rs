//! Runs the hostile runs by name, as often as wanted, and counts failures.

use anyhow::{Result, ensure};
use clap::Parser;
use hathi_interop::Hadoop;
use hathi_interop::hostile::{self, RUNS, Setup};
use std::path::PathBuf;
use std::time::Instant;

/// Does to clusters of real processes what once lost acknowledged data, and looks for it afterwards
#[derive(Parser)]
struct Args {
    /// The hathi binary
    #[arg(long, default_value = "target/debug/hathi")]
    hathi: PathBuf,
    /// How many times each
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Which; all of them if none is named
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(RUNS.iter().map(|(name, _)| *name)))]
    names: Vec<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let hadoop = Hadoop::get()?;
    let setup = Setup {
        hathi: &args.hathi,
        hadoop: hadoop.as_ref(),
    };
    let all = || RUNS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names: Vec<String> = if args.names.is_empty() { all() } else { args.names };
    let mut failed = 0;
    for name in &names {
        let mut held = 0;
        for round in 1..=args.rounds {
            let started = Instant::now();
            // A run may also fail by an assertion.
            let result = std::panic::catch_unwind(|| hostile::run(name, &setup));
            let result = result.unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
            let seconds = started.elapsed().as_secs_f64();
            match result {
                Ok(()) => held += 1,
                Err(error) => println!("{name}: round {round} FAILED after {seconds:.0} s: {error:#}"),
            }
        }
        println!("{name}: held {held} of {} times", args.rounds);
        failed += args.rounds - held;
    }
    ensure!(failed == 0, "{failed} rounds failed");
    Ok(())
}
