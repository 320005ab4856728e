//! Chores of the project: `cargo xtask ci` runs everything that must hold, `cargo xtask tidy` the checks of structure.

mod tests;
mod tidy;

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let result = match task.as_str() {
        "ci" => ci(),
        "tidy" => tidy::check(&root()),
        other => {
            eprintln!("usage: cargo xtask ci|tidy (not {other:?})");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {task}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
        .to_owned()
}

/// Formatting, structure, lints and every test.
fn ci() -> Result<()> {
    timed("cargo fmt", || {
        let status = Command::new(env!("CARGO"))
            .args(["fmt", "--all", "--check"])
            .current_dir(root())
            .status()?;
        if !status.success() {
            bail!("cargo fmt ended with {status}");
        }
        Ok(())
    })?;
    timed("tidy", || tidy::check(&root()))?;
    timed("tests and lints", || tests::run(&root()))
}

fn timed<T>(what: &str, task: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("== {what}");
    let started = Instant::now();
    let done = task()?;
    eprintln!("== {what}: {:.0} s", started.elapsed().as_secs_f64());
    Ok(done)
}
