//! Finds the commit that is built, for `hathi version` and the first line of each log. Only this crate is built again when
//! it changes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Who builds from something else than a clone may say it.
const VARIABLE: &str = "HATHI_COMMIT";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    let named = std::env::var(VARIABLE).ok().filter(|commit| !commit.is_empty());
    let commit = named.or_else(of_clone).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env={VARIABLE}={commit}");
}

/// The commit that is checked out. An archive that lies in the clone of something else has none.
fn of_clone() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.canonicalize().ok()?;
    let top = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root {
        return None;
    }
    // Every commit and checkout is written into the first one, which may be switched off.
    for name in ["logs/HEAD", "HEAD"] {
        let path = PathBuf::from(git(&["rev-parse", "--git-path", name])?);
        // A file that is not there would count as changed at each build.
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
            break;
        }
    }
    git(&["rev-parse", "HEAD"])
}

/// What git says, if there is one, and it knows.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
