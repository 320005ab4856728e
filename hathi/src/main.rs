//! The one binary: every daemon, tool and benchmark of Hathi as a subcommand.

#[macro_use]
mod output;
mod cmd;
mod log;

use std::ffi::OsString;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A subcommand: its name, its purpose, and its entry point, which gets the arguments after the name.
type Command = (
    &'static str,
    &'static str,
    fn(Vec<OsString>) -> anyhow::Result<ExitCode>,
);

const COMMANDS: &[Command] = &[
    ("namenode", "run a NameNode, or format one", cmd::namenode::run),
    ("journalnode", "run a JournalNode", cmd::journalnode::run),
    ("datanode", "run a DataNode", cmd::datanode::run),
    ("conf", "check a configuration", cmd::conf::run),
    ("bench", "measure a NameNode, memory and images", cmd::bench::run),
    ("dfs", "list, copy and change files", cmd::dfs::run),
    ("dfsadmin", "report on and administer a cluster", cmd::dfsadmin::run),
    ("haadmin", "show and change who is active", cmd::haadmin::run),
    ("journal", "look at a journal: status, verify, dump", cmd::journal::run),
    ("oev", "print an edit log", cmd::oev::run),
    ("oiv", "print an fsimage", cmd::oiv::run),
    ("zkfc", "run a failover controller", cmd::zkfc::run),
    (
        "secondarynamenode",
        "make the checkpoints of a NameNode without HA",
        cmd::secondarynamenode::run,
    ),
    (
        "quickstart",
        "run a whole highly available cluster on this machine",
        cmd::quickstart::run,
    ),
];

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let name = args.next().unwrap_or_default();
    let Some((_, _, run)) = COMMANDS.iter().find(|(known, _, _)| name == *known) else {
        return usage(&name);
    };
    cmd::die_with_parent();
    let result = run(args.collect());
    log::flush();
    match result {
        Ok(code) => {
            output::flush();
            code
        }
        Err(error) => {
            eprintln!("hathi {}: {error:#}", name.display());
            ExitCode::FAILURE
        }
    }
}

fn usage(name: &OsString) -> ExitCode {
    let asked = ["--help", "-h", "help"].iter().any(|help| name == *help);
    let mut text = String::from("usage: hathi COMMAND [ARGS...]\n\n");
    for (command, purpose, _) in COMMANDS {
        text.push_str(&format!("  {command:<14} {purpose}\n"));
    }
    if asked {
        print!("{text}");
        output::flush();
        return ExitCode::SUCCESS;
    }
    eprint!("{text}");
    ExitCode::from(2)
}
