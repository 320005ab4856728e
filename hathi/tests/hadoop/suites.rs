//! Hadoop's own test suites, from its published test jars, on our daemons (`cargo run -p hathi-interop --bin suites` runs them
//! on Hadoop's too).

use anyhow::{Result, ensure};
use hathi_interop::suites::{self, DIFFERENT, HADOOPS, SUITES, TestOutcome};
use hathi_interop::{Hadoop, Kind};
use std::path::Path;

/// Every test holds but those that are known not to, and of these none does.
fn run(names: &[&str]) -> Result<()> {
    let Some(hadoop) = Hadoop::get()? else {
        return Ok(());
    };
    let all = suites::run(Path::new(env!("CARGO_BIN_EXE_hathi")), &hadoop, Kind::Ours, names)?;
    let mut wrong = Vec::new();
    for name in names {
        let outcomes = all.get(*name).cloned().unwrap_or_default();
        ensure!(!outcomes.is_empty(), "nothing ran of {name}");
        for (test, outcome) in &outcomes {
            match (outcome, suites::different(name, test)) {
                (TestOutcome::Failed(why), None) => wrong.push(format!("{name}: {test}: {why}")),
                (TestOutcome::Passed, Some(_)) => wrong.push(format!("{name}: {test} holds, and is said not to")),
                (TestOutcome::Failed(_), Some(_)) | (TestOutcome::Passed, None) | (TestOutcome::Skipped, _) => {}
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn named(prefix: &str) -> Vec<&'static str> {
    SUITES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| name.starts_with(prefix))
        .collect()
}

#[test]
fn hadoops_shell_suites_hold() -> Result<()> {
    run(&named("shell"))
}

#[test]
fn hadoops_contract_and_file_context_suites_hold() -> Result<()> {
    let others = [
        named("shell"),
        named("webhdfs"),
        named("encryption"),
        named("namespace"),
    ]
    .concat();
    run(&named("")
        .into_iter()
        .filter(|name| !others.contains(name))
        .collect::<Vec<_>>())
}

#[test]
fn hadoops_suites_of_rights_links_and_writes_hold() -> Result<()> {
    run(&named("namespace"))
}

#[test]
fn hadoops_suites_of_encryption_zones_hold() -> Result<()> {
    run(&named("encryption"))
}

#[test]
fn hadoops_webhdfs_suites_hold() -> Result<()> {
    run(&named("webhdfs"))
}

#[test]
fn each_known_difference_names_a_suite() {
    for (suite, _, _) in DIFFERENT.iter().chain(HADOOPS) {
        assert!(SUITES.iter().any(|(name, _)| name == suite), "{suite}");
    }
}
