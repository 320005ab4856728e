//! `hathi journalnode`: keeps edits for NameNodes.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    without_huge_pages();
    let (conf, rest) = super::conf_argument(args)?;
    if let Some(argument) = rest.first() {
        bail!("unknown argument {}", argument.display());
    }
    super::log_to_stderr();
    hathi_journalnode::run(conf)?;
    Ok(ExitCode::SUCCESS)
}

/// The allocator touches three pages of 2 MB before `main`, which is most of what an idle JournalNode holds. The kernel
/// keeps the wish to do without them across an exec, so this process begins once more, under the same pid.
fn without_huge_pages() {
    use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};
    if !matches!(transparent_huge_pages_are_disabled(), Ok(false)) || disable_transparent_huge_pages(true).is_err() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let error = Command::new(program).args(std::env::args_os().skip(1)).exec();
        eprintln!("hathi journalnode: cannot begin again without huge pages: {error}");
    }
}
