//! Every test of the workspace.
//!
//! The tests of real processes mostly wait, for failovers and for the real Hadoop. Those of the cores and simulators
//! only compute. So the computing tests run beside the waiting ones, and only while a core would be idle.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A program whose tests wait for time-outs nearly all the time, each with a cluster of its own, and the number of its
/// tests that run at the same time.
const WAITS_MOST: (&str, &str) = ("hathi hostile", "4");

/// Most computing programs that run at the same time. Most of them have only one busy thread at their end.
const COMPUTING: usize = 2;

/// A test program that cargo has built.
struct Program {
    /// Folder of its package and name of its target.
    name: String,
    executable: PathBuf,
    /// Folder in which cargo runs it, which is that of its package.
    folder: PathBuf,
    /// Whether it only computes: it belongs to a core, to the formats or to a simulator.
    computes: bool,
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder);
        if self.name == WAITS_MOST.0 {
            command.env("RUST_TEST_THREADS", WAITS_MOST.1);
        }
        command
    }
}

/// Builds and runs every test, and fails with the names of all that failed.
pub(crate) fn run(root: &Path) -> Result<()> {
    // Nothing runs beside the build: a compiler writes so much to the disk that processes under test would wait for
    // their own syncs.
    let programs = crate::timed("building the tests, with lints", || build(root))?;
    crate::timed("examples in the documentation", || {
        let status = crate::cargo_with_lints(&["test", "--workspace", "--locked", "--doc", "--quiet"]).status()?;
        ensure!(status.success(), "an example fails");
        Ok(())
    })?;
    let (mut computing, waiting): (Vec<_>, Vec<_>) = programs.iter().partition(|program| program.computes);
    // The simulators take the longest, so they begin.
    computing.sort_by_key(|program| !program.name.starts_with("sim "));
    let mut failed = Vec::new();
    let next = AtomicUsize::new(0);
    let compute = || {
        std::iter::from_fn(|| computing.get(next.fetch_add(1, Ordering::Relaxed)))
            .filter(|program| !passes_beside(program))
            .map(|program| program.name.clone())
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let beside: Vec<_> = (0..COMPUTING).map(|_| scope.spawn(compute)).collect();
        for program in waiting {
            match crate::timed(&program.name, || Ok(program.command().status()?)) {
                Ok(status) if status.success() => continue,
                Ok(_) => {}
                Err(error) => eprintln!("== {}: can't be run: {error:#}", program.name),
            }
            failed.push(program.name.clone());
        }
        for thread in beside {
            let found = thread.join();
            failed.extend(found.unwrap_or_else(|_| vec!["the thread of the computing tests".to_owned()]));
        }
    });
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Builds the test programs. Returns them sorted by name.
fn build(root: &Path) -> Result<Vec<Program>> {
    let output = crate::cargo_with_lints(&[
        "test",
        "--workspace",
        "--locked",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ])
    .stderr(Stdio::inherit())
    .output()
    .context("can't run cargo")?;
    if !output.status.success() {
        bail!("the tests can't be built");
    }
    let mut programs = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line).with_context(|| format!("cargo says {line:?}"))?;
        if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
            continue;
        }
        let Some(executable) = message["executable"].as_str() else {
            continue;
        };
        let manifest = PathBuf::from(message["manifest_path"].as_str().unwrap_or_default());
        let folder = manifest.parent().context("a manifest without a folder")?.to_owned();
        let below = folder.strip_prefix(root).unwrap_or(&folder);
        programs.push(Program {
            name: format!(
                "{} {}",
                below.display(),
                message["target"]["name"].as_str().unwrap_or_default()
            ),
            executable: executable.into(),
            computes: ["core", "formats", "fuzz", "sim", "xtask"]
                .iter()
                .any(|part| below.starts_with(part)),
            folder,
        });
    }
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(programs)
}

/// Runs a program only while a core would be idle (`SCHED_IDLE`). Returns whether it passed. Its output is printed in
/// one piece at the end, so that outputs do not mix.
fn passes_beside(program: &Program) -> bool {
    let (name, started) = (&program.name, Instant::now());
    let mut idle = Command::new("chrt");
    idle.args(["--idle", "0"])
        .arg(&program.executable)
        .current_dir(&program.folder)
        .env("CARGO_MANIFEST_DIR", &program.folder)
        .stdin(Stdio::null());
    match idle.output() {
        Ok(output) => {
            eprintln!("== {name}: {:.0} s beside the others", started.elapsed().as_secs_f64());
            eprint!(
                "{}{}",
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&output.stdout)
            );
            output.status.success()
        }
        Err(error) => {
            eprintln!("== {name}: can't be run: {error}");
            false
        }
    }
}
