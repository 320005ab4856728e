//! Pages whose commands are for the cluster of a quickstart: bash runs all `sh` blocks of such a page, one after the other
//! in one directory, with these rules:
//! - `hathi quickstart` ends the one before, is started in the background, and waited for until it is ready;
//! - the ports from 18020 on are the test's;
//! - what waits for something looks more often.
//!
//! The lines of the `text` blocks behind a block have to be in its output, in their order. `…` stands for anything.

use super::pages::Pages;
use anyhow::{Context, Result, ensure};
use hathi_interop::{PortRange, wait_for};
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Time for all commands of a page.
const PATIENCE: Duration = Duration::from_secs(120);
/// The ports that a quickstart has when nobody else uses them, as the pages show them.
const PORTS: std::ops::Range<u16> = 18020..18101;
/// Begins the output of a block.
const MARK: &str = "@@ block ";
const PRELUDE: &str = r#"
set -euo pipefail
quickstart=
end() { if [ -n "$quickstart" ]; then kill "$quickstart"; wait "$quickstart" || true; quickstart=; fi; }
trap end EXIT
sleep() { command sleep 0.05; }
hathi() {
  if [ "$1" != quickstart ]; then command hathi "$@"; return; fi
  end
  command hathi "$@" --base-port "$BASE_PORT" > quickstart.out 2>&1 &
  quickstart=$!
  until grep -q '^ready' quickstart.out; do
    if ! kill -0 "$quickstart"; then cat quickstart.out; exit 1; fi
    sleep
  done
  cat quickstart.out
}
"#;

/// Runs the commands of a page.
pub fn run(page: &str) -> Result<()> {
    let pages = Pages::read()?;
    let ports = PortRange::claim()?;
    let (mut script, mut expected) = (PRELUDE.to_owned(), Vec::new());
    for block in pages.of(page) {
        match block.info.as_str() {
            "sh" => {
                script += &format!("echo '{MARK}{}'\n{}", expected.len(), here(&block.body, ports.base()));
                expected.push(String::new());
            }
            "text" => {
                let after = expected.last_mut().context("output before the first command")?;
                *after += &here(&block.body, ports.base());
            }
            _ => {}
        }
    }
    ensure!(!expected.is_empty(), "{page} has no commands");

    let dir = tempfile::TempDir::with_prefix("hathi-page-")?;
    let (bin, work) = (dir.path().join("bin"), dir.path().join("work"));
    std::fs::create_dir(&bin)?;
    std::fs::create_dir(&work)?;
    std::os::unix::fs::symlink(super::HATHI, bin.join("hathi"))?;
    let path = std::env::var("PATH")?;
    let output = dir.path().join("output");
    let file = File::create(&output)?;
    let mut shell = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&work)
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("BASE_PORT", ports.base().to_string())
        .env("HATHI_DIE_WITH_PARENT", "1")
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()?;
    let status = wait_for(&format!("the commands of {page}"), PATIENCE, || {
        shell.try_wait().ok().flatten()
    });
    let output = std::fs::read_to_string(&output)?;
    ensure!(status.success(), "{page}: {status}\n{output}");
    for (number, expected) in expected.iter().enumerate() {
        let begin = format!("{MARK}{number}\n");
        let (_, told) = output.split_once(&begin).context("no mark")?;
        let told = told.split(MARK).next().unwrap_or_default();
        let mut lines = told.lines();
        for wanted in expected.lines() {
            let found = lines.any(|line| is_like(line.trim(), wanted));
            ensure!(found, "{page}: '{wanted}' is missing, or not in its place, in:\n{told}");
        }
    }
    Ok(())
}

/// A text of a page with the ports of this test.
fn here(text: &str, base: u16) -> String {
    let mut text = text.to_owned();
    for port in PORTS {
        text = text.replace(&format!(":{port}"), &format!(":{}", base + (port - PORTS.start)));
    }
    text
}

/// Whether a line is this one, in which `…` stands for anything.
fn is_like(line: &str, wanted: &str) -> bool {
    let Some((first, others)) = wanted.split_once('…') else {
        return line == wanted;
    };
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = others.rsplit_once('…').unwrap_or(("", others));
    for part in middle.split('…') {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
