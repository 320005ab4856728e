//! Python with the clients and parsers that its users have, installed by pip once per build directory.

use crate::packages::is_ci;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// The packages, with their versions.
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/requirements.txt");

/// An interpreter that finds the packages of `interop/python/requirements.txt`.
#[derive(Clone, Debug)]
pub struct Python {
    interpreter: PathBuf,
}

impl Python {
    /// Finds or installs it. Where that is not possible it prints a message and returns `None`. With `CI=true` that is
    /// an error.
    ///
    /// # Errors
    /// Under `CI=true`, when there is no Python with `venv`, or pip fails.
    pub fn get() -> Result<Option<Python>> {
        // Tests of one program run at the same time, and pip must run once.
        static INSTALL: Mutex<()> = Mutex::new(());
        let _guard = INSTALL.lock();
        match install() {
            Ok(interpreter) => Ok(Some(Python { interpreter })),
            Err(error) if is_ci() => Err(error),
            Err(error) => {
                eprintln!("SKIPPED: this test needs Python 3 with venv and pip: {error:#}");
                Ok(None)
            }
        }
    }

    /// A command that runs a program of `interop/python`.
    #[must_use]
    pub fn command(&self, program: &str, args: &[String]) -> Command {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
        let mut command = Command::new(&self.interpreter);
        command
            .arg("-B")
            .arg(directory.join(program))
            .args(args)
            .stdin(Stdio::null());
        command
    }
}

fn install() -> Result<PathBuf> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    };
    let home = target.join("python");
    let interpreter = home.join("bin/python");
    let list = std::fs::read_to_string(REQUIREMENTS).context(REQUIREMENTS)?;
    // Another list is another environment.
    let done = home.join("done");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == list) {
        return Ok(interpreter);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
    let pip = [
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "-r",
        REQUIREMENTS,
    ];
    run(Command::new(&interpreter).args(pip))?;
    std::fs::write(done, list)?;
    Ok(interpreter)
}

fn run(command: &mut Command) -> Result<()> {
    let ended = command.stdin(Stdio::null()).output();
    let ended = ended.with_context(|| format!("{command:?}"))?;
    let told = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{command:?}: {told}");
    Ok(())
}
