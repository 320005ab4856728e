//! Runs Hadoop's own suites on our daemons, on Hadoop's, or on both, and prints a table.

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use hathi_interop::suites::{self, SUITES, TestOutcome};
use hathi_interop::{Hadoop, Kind};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum On {
    Ours,
    Hadoops,
    Both,
}

/// Runs Hadoop's own test suites (contract, FileContext, shell) and tells which tests hold. Needs a JDK 17 and, the first time,
/// Maven.
#[derive(Parser, Debug)]
struct Args {
    /// The hathi binary.
    #[arg(long, default_value = "target/debug/hathi")]
    hathi: PathBuf,
    /// Whose daemons the suites run on.
    #[arg(long, value_enum, default_value = "both")]
    on: On,
    /// Which; all of them if none is named.
    names: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let hathi = args
        .hathi
        .canonicalize()
        .with_context(|| args.hathi.display().to_string())?;
    let hadoop = Hadoop::get()?.context("no Hadoop")?;
    let names: Vec<&str> = match args.names.as_slice() {
        [] => SUITES.iter().map(|(name, _)| *name).collect(),
        names => names.iter().map(String::as_str).collect(),
    };
    let kinds: &[Kind] = match args.on {
        On::Ours => &[Kind::Ours],
        On::Hadoops => &[Kind::Hadoops],
        On::Both => &[Kind::Hadoops, Kind::Ours],
    };
    let mut results = BTreeMap::new();
    for kind in kinds {
        let what = if *kind == Kind::Ours { "Hathi" } else { "Hadoop" };
        results.insert(what, suites::run(&hathi, &hadoop, *kind, &names)?);
    }
    println!(
        "| suite | class | {} |",
        results.keys().copied().collect::<Vec<_>>().join(" | ")
    );
    println!("|---|---|{}", "---|".repeat(results.len()));
    let mut good = true;
    let mut wrong = Vec::new();
    for (name, class) in SUITES.iter().filter(|(name, _)| names.contains(name)) {
        let mut line = format!("| {name} | {} |", class.rsplit('.').next().unwrap_or(class));
        for (what, all) in &results {
            let outcomes = all.get(*name).cloned().unwrap_or_default();
            let ran = outcomes
                .values()
                .filter(|outcome| **outcome != TestOutcome::Skipped)
                .count();
            let failed: Vec<_> = outcomes
                .iter()
                .filter_map(|(test, outcome)| match outcome {
                    TestOutcome::Failed(why) => Some((test, why)),
                    TestOutcome::Passed | TestOutcome::Skipped => None,
                })
                .collect();
            line += &format!(" {} of {ran} |", ran - failed.len());
            good &= ran > 0;
            for (test, why) in failed {
                let known = match *what {
                    "Hathi" => suites::different(name, test),
                    _ => suites::different_on_both(name, test),
                };
                good &= known.is_some();
                wrong.push(format!("{what}: {name}: {test}: {}", known.unwrap_or(why)));
            }
        }
        println!("{line}");
    }
    println!();
    for line in wrong {
        println!("- {line}");
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
