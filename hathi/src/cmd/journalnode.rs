//! `hathi journalnode`: keeps edits for NameNodes.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};
use hathi_conf::keys::Program;

/// How the command is used.
pub fn usage() -> String {
    "Usage: hdfs journalnode\nRuns a JournalNode until it is told to stop.\n".to_owned()
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    super::without_huge_pages();
    let (conf, rest) = super::conf_argument(args)?;
    if let Some(argument) = rest.first() {
        bail!("unknown argument {}\n{}", argument.display(), usage());
    }
    super::log_to_stderr();
    super::obey(&conf, Program::JournalNode)?;
    hathi_journalnode::run(conf)?;
    Ok(ExitCode::SUCCESS)
}
