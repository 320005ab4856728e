//! `hathi journal`: looks at the journal of a nameservice, and at its files.

mod dump;
mod members;
mod segments;
mod status;
mod verify;

pub(super) use status::sync_micros;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "hathi journal",
    about = "Looks at a journal; --conf DIR before the subcommand names the configuration"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tells how each JournalNode of a nameservice is doing
    Status(status::Status),
    /// Adds a JournalNode to a running cluster
    Add(members::Members),
    /// Removes a JournalNode from a running cluster; one that is gone for good too
    Remove(members::Members),
    /// Checks every record of every segment in a directory of a JournalNode or NameNode that may be in use
    Verify(verify::Verify),
    /// Prints the edits of a segment, or of all segments of a directory, one line each
    Dump(dump::Dump),
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let given = args
        .first()
        .is_some_and(|first| first == "--conf" || first == "--config");
    let rest = if given {
        args.get(2..).unwrap_or_default()
    } else {
        &args
    };
    let cli = match Cli::try_parse_from(std::iter::once(OsString::from("hathi journal")).chain(rest.iter().cloned())) {
        Ok(cli) => cli,
        Err(error) => {
            error.print()?;
            return Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
        }
    };
    match cli.command {
        // Commands on files need no configuration.
        Command::Verify(verify) => verify.run(),
        Command::Dump(dump) => dump.run(),
        Command::Add(members) => members.run(&super::conf_argument(args)?.0, true),
        Command::Remove(members) => members.run(&super::conf_argument(args)?.0, false),
        Command::Status(status) => status.run(&super::conf_argument(args)?.0),
    }
}
