//! Tasks of the project. `cargo xtask ci` runs everything that must hold. `cargo xtask tidy` runs the checks of
//! structure. `cargo xtask doc` writes the pages of all crates. `cargo xtask fuzz [TARGET] [--minutes N] [--seed S]`
//! runs the decoders over ever new mutations. `cargo xtask dist` makes the Debian package and the tarball.

mod circles;
mod dist;
mod docs;
mod hash_order;
mod tests;
mod tidy;

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let result = match task.as_str() {
        "ci" => ci(),
        "tidy" => tidy::check(&root()),
        "doc" => doc(),
        "fuzz" => fuzz(),
        "dist" => dist::dist(&root()),
        other => {
            eprintln!("usage: cargo xtask ci|tidy|doc|fuzz|dist (not {other:?})");
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

/// Runs the formatter, the checks of structure and of dependencies, and then every test. The tests are built with the
/// lints.
fn ci() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    timed("tidy", || tidy::check(&root()))?;
    deny()?;
    timed("tests", || tests::run(&root()))
}

/// Compares the dependencies with `deny.toml`. On a machine without cargo-deny only a notice is printed: building the
/// tool takes minutes, and its result changes only with `Cargo.lock`.
fn deny() -> Result<()> {
    let installed = cargo_command(&["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !installed {
        eprintln!(
            "== NOT RUN: cargo deny (`cargo install cargo-deny`): licences and sources of the dependencies are unchecked"
        );
        return Ok(());
    }
    cargo(&["deny", "--locked", "check", "licenses", "bans", "sources"])
}

/// Cargo with Clippy in place of the compiler, as in `cargo clippy`, for the build of `cargo test`. Otherwise the whole
/// workspace would be compiled a second time only for its lints. A warning ends the build.
fn cargo_with_lints(args: &[&str]) -> Command {
    let mut command = cargo_command(args);
    let driver = Path::new(env!("CARGO")).with_file_name("clippy-driver");
    command
        .env("RUSTC_WORKSPACE_WRAPPER", driver)
        .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    command
}

/// Writes the pages of all crates, with private items, for developers. A broken link is an error.
///
/// It is no part of `ci`. rustdoc needs the metadata of every dependency, which the build of the tests does not leave
/// behind, and that costs more than a minute on two cores.
fn doc() -> Result<()> {
    timed("cargo doc", || {
        let status = cargo_command(&[
            "doc",
            "--workspace",
            "--no-deps",
            "--locked",
            "--document-private-items",
        ])
        // Private items have pages as well, so links to them lead somewhere.
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links")
        .status()
        .context("can't run cargo")?;
        ensure!(status.success(), "the pages can't be made, or have warnings");
        Ok(())
    })
}

/// Runs the fuzz targets with the arguments behind `fuzz`. Inputs that break a target are kept in `fuzz/corpus`.
fn fuzz() -> Result<()> {
    let given: Vec<String> = std::env::args().skip(2).collect();
    let mut args = vec!["run", "--profile", "fuzz", "--locked", "--package", "hathi-fuzz", "--"];
    args.extend(given.iter().map(String::as_str));
    cargo(&args)
}

fn cargo_command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(args).current_dir(root());
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        // CI builds only once and needs no debugger, so incremental data and debug information would only cost time. A
        // panic names its line without them.
        command.env("CARGO_INCREMENTAL", "0");
        command.env("CARGO_PROFILE_DEV_DEBUG", "none");
    }
    command
}

fn cargo(args: &[&str]) -> Result<()> {
    timed(&format!("cargo {}", args.join(" ")), || {
        let status = cargo_command(args).status().context("can't run cargo")?;
        if !status.success() {
            bail!("cargo {} ended with {status}", args.join(" "));
        }
        Ok(())
    })
}

fn timed<T>(what: &str, task: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("== {what}");
    let started = Instant::now();
    let done = task()?;
    eprintln!("== {what}: {:.0} s", started.elapsed().as_secs_f64());
    Ok(done)
}
