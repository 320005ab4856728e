//! A real browser without a window.

use crate::packages;
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const PROGRAM: &str = "chromium";
/// Time that passes for a page before it is looked at, in ms. It is the browser's own: it does not wait for timers, and
/// stands while an answer is awaited.
const BUDGET_MS: u32 = 7000;

/// Chromium, which is started anew for each look at a page.
#[derive(Debug)]
pub struct Chromium {
    profile: TempDir,
}

impl Chromium {
    /// Finds it. Returns `None`, with a message, if it is not installed and can't be. With `CI=true` that is an error.
    ///
    /// # Errors
    /// See above.
    pub fn find() -> Result<Option<Chromium>> {
        if !packages::has(PROGRAM)
            && let Err(error) = packages::install(&[PROGRAM, "fonts-dejavu-core"])
        {
            ensure!(!packages::is_ci(), "{error:#}");
            eprintln!("SKIPPED: this test needs a browser (the package {PROGRAM}): {error:#}");
            return Ok(None);
        }
        let profile = TempDir::with_prefix("hathi-chromium-")?;
        Ok(Some(Chromium { profile }))
    }

    fn run(&self, size: (u32, u32), words: &[&str]) -> Result<Vec<u8>> {
        let ended = Command::new(PROGRAM)
            .args(["--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-gpu"])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-dev-shm-usage",
            ])
            .arg(format!("--user-data-dir={}", self.profile.path().display()))
            .arg(format!("--virtual-time-budget={BUDGET_MS}"))
            .arg(format!("--window-size={},{}", size.0, size.1))
            .args(words)
            .stdin(Stdio::null())
            .output()?;
        let told = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "{PROGRAM}: {}: {told}", ended.status);
        Ok(ended.stdout)
    }

    /// The document of a page, as it is after its scripts have run for some seconds.
    ///
    /// # Errors
    /// When the browser fails.
    pub fn document(&self, url: &str, size: (u32, u32)) -> Result<String> {
        Ok(String::from_utf8(self.run(size, &["--dump-dom", url])?)?)
    }

    /// A picture of a page in a PNG file.
    ///
    /// # Errors
    /// When the browser fails.
    pub fn picture(&self, url: &str, size: (u32, u32), dark: bool, file: &Path) -> Result<()> {
        let file = format!("--screenshot={}", file.display());
        let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
        self.run(size, &[&file, &scheme, url])?;
        Ok(())
    }
}
