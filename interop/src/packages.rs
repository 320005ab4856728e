//! Debian packages that a test needs.

use anyhow::{Context, Result, ensure};
use std::process::{Command, Stdio};

/// Whether this is a run of CI, where nothing may be skipped.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Installs packages, with `CI=true`: nobody's machine is changed but that of CI.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    ensure!(
        is_ci() && rustix::process::getuid().is_root(),
        "nobody's machine is changed but that of CI"
    );
    let words = [&["install", "--no-install-recommends"], packages].concat();
    if apt(&words).is_err() {
        // The package lists may be missing or old.
        apt(&["update"])?;
        apt(&words)?;
    }
    Ok(())
}

fn apt(words: &[&str]) -> Result<()> {
    let ended = Command::new("apt-get")
        .args(["-q", "-y", "-o", "DPkg::Lock::Timeout=120"])
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("apt-get")?;
    let told = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "apt-get {}: {told}", words.join(" "));
    Ok(())
}

/// Whether a program is there.
pub(crate) fn has(program: &str) -> bool {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&directories).chain(["/sbin".into(), "/usr/sbin".into()]);
    directories
        .into_iter()
        .any(|directory| directory.join(program).exists())
}
