//! `hathi conf --check DIR`: what the files of a configuration directory say that no daemon obeys.

use anyhow::{Context, Result, bail};
use hathi_formats::conf::Configuration;
use hathi_formats::conf::keys::Verdict;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Exit status 1: a daemon would refuse to start.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let [option, dir] = args.as_slice() else {
        bail!("usage: hathi conf --check DIR");
    };
    if option != "--check" {
        bail!("usage: hathi conf --check DIR");
    }
    let conf = Configuration::load(Path::new(dir)).with_context(|| dir.display().to_string())?;
    let mut refused = false;
    for finding in conf.check(None) {
        refused |= matches!(finding.verdict, Verdict::Refused(_));
        println!("{finding}");
    }
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
