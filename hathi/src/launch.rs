//! What stands before the command: the options of Hadoop's `hdfs` script, usage, and unknown names.

use crate::cmd::table::nearest;
use crate::cmd::tree::{Help, Kind, TOOLS, Tool, find};
use crate::daemon;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Exit code for wrong arguments of `hathi`.
const MISUSED: u8 = 2;
/// Exit code of Hadoop's script for the same.
const SCRIPT_MISUSED: u8 = 1;

/// Options before the command.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// `--config`
    conf_dir: Option<OsString>,
    /// `--loglevel`
    level: Option<String>,
    /// `--daemon`
    daemon: Option<daemon::Action>,
}

/// Runs the command that the arguments name. Also returns the words that errors begin with.
pub fn run(args: Vec<OsString>) -> (String, Result<ExitCode>) {
    let program = args
        .first()
        .map(Path::new)
        .and_then(Path::file_name)
        .unwrap_or_default();
    let script = program == "hdfs";
    let program = if script { "hdfs" } else { "hathi" };
    let rest = args.iter().skip(1).cloned().collect();
    let (options, mut rest) = match options(rest) {
        Ok(parsed) => parsed,
        Err(error) => return (program.to_owned(), Err(error)),
    };
    let misused = ExitCode::from(if script { SCRIPT_MISUSED } else { MISUSED });
    if rest.is_empty() {
        eprint!("{}", usage(program));
        return (program.to_owned(), Ok(misused));
    }
    let name = rest.remove(0).to_string_lossy().into_owned();
    if ["--help", "-help", "-h", "help"].contains(&name.as_str()) {
        print!("{}", usage(program));
        return (program.to_owned(), Ok(ExitCode::SUCCESS));
    }
    let name = if name == "--version" { "version" } else { &name };
    let Some(tool) = find(name) else {
        unknown(program, name, script);
        return (program.to_owned(), Ok(misused));
    };
    let result = match tool.help {
        Help::Text(text) if asks_for_help(&rest) => {
            print!("{}", text());
            Ok(ExitCode::SUCCESS)
        }
        _ => start(tool, &options, &args, rest),
    };
    (format!("{program} {name}"), result)
}

/// Whether `--help` stands anywhere before `--`.
fn asks_for_help(rest: &[OsString]) -> bool {
    rest.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--help")
}

fn start(tool: &Tool, options: &Options, args: &[OsString], rest: Vec<OsString>) -> Result<ExitCode> {
    if let Some(action) = options.daemon {
        if tool.kind != Kind::Daemon {
            bail!("--daemon is for daemons: {}", names_of(Kind::Daemon).join(", "));
        }
        let mut command = again(options, tool, &rest)?;
        return daemon::run(action, tool.name, &mut command);
    }
    if options.conf_dir.is_some() || options.level.is_some() {
        let mut command = again(options, tool, &rest)?;
        command.arg0(args.first().map_or("hathi".into(), OsString::clone));
        // What the options mean stands in the environment, and a process can't change its own.
        return Err(command.exec()).context("cannot begin again with another environment");
    }
    (tool.run)(rest)
}

/// This program once more, with the environment that the options stand for.
fn again(options: &Options, tool: &Tool, rest: &[OsString]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(tool.name).args(rest);
    if let Some(dir) = &options.conf_dir {
        command.env("HADOOP_CONF_DIR", dir);
    }
    if let Some(level) = &options.level {
        command.env("HATHI_LOG", level.to_ascii_lowercase());
    }
    Ok(command)
}

fn options(args: Vec<OsString>) -> Result<(Options, Vec<OsString>)> {
    let mut options = Options::default();
    let mut args = args.into_iter().peekable();
    while let Some(option) = args.next_if(|arg| arg.to_string_lossy().starts_with("--")) {
        let mut value = || {
            args.next()
                .with_context(|| format!("{} needs a value", option.display()))
        };
        match option.to_string_lossy().as_ref() {
            "--config" | "--conf" => options.conf_dir = Some(value()?),
            "--loglevel" => options.level = Some(value()?.to_string_lossy().into_owned()),
            "--daemon" => {
                let action = value()?;
                let action = action.to_string_lossy();
                let known = daemon::Action::of(&action);
                options.daemon = Some(known.with_context(|| format!("--daemon {action}: not start, stop or status"))?);
            }
            // They concern a script and its class path.
            "--buildpaths" | "--debug" => {}
            "--hosts" | "--hostnames" | "--workers" => bail!(
                "{}: this program starts no daemons on other machines; call it there, for example with ssh",
                option.display()
            ),
            "--help" | "--version" => return Ok((options, std::iter::once(option).chain(args).collect())),
            other => bail!("unknown option {other}"),
        }
    }
    Ok((options, args.collect()))
}

fn names_of(kind: Kind) -> Vec<&'static str> {
    let of_kind = TOOLS.iter().filter(|tool| tool.kind == kind);
    of_kind.map(|tool| tool.name).collect()
}

/// The options and commands, in the form of Hadoop's script.
pub fn usage(program: &str) -> String {
    let mut text = format!(
        "Usage: {program} [OPTIONS] SUBCOMMAND [SUBCOMMAND OPTIONS]

  OPTIONS is none or any of:

--config dir                       Hadoop config directory
--daemon (start|status|stop)       operate on a daemon
--help                             usage information
--loglevel level                   set the log level for this command
--version                          the version

  SUBCOMMAND is one of:
"
    );
    for kind in Kind::ALL {
        text.push_str(&format!("\n    {}:\n\n", kind.title()));
        for tool in TOOLS.iter().filter(|tool| tool.kind == kind) {
            text.push_str(&format!("{:<20} {}\n", tool.name, tool.purpose));
        }
    }
    text + "\nSUBCOMMAND --help prints help, without a configuration.\n"
}

fn unknown(program: &str, name: &str, script: bool) {
    if script {
        eprintln!("ERROR: {name} is not COMMAND nor fully qualified CLASSNAME.");
    } else {
        eprintln!("hathi: there is no command {name}");
    }
    if let Some(name) = nearest(name, TOOLS.iter().map(|tool| tool.name)) {
        eprintln!("Did you mean {name}?");
    }
    eprintln!("{program} --help lists the commands.");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<(Options, Vec<OsString>)> {
        options(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn options_of_the_script_stand_before_the_command() {
        let (options, rest) = parsed("--config /c --loglevel DEBUG --daemon stop --debug namenode --config x").unwrap();
        assert_eq!(options.conf_dir, Some("/c".into()));
        assert_eq!(options.level.as_deref(), Some("DEBUG"));
        assert_eq!(options.daemon, Some(daemon::Action::Stop));
        assert_eq!(rest, ["namenode", "--config", "x"]);
        for wrong in ["--config", "--daemon", "--daemon restart", "--hosts x", "--nonsense"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_command_stands_once_in_the_usage_and_has_help() {
        let usage = usage("hdfs");
        for tool in TOOLS {
            let line = format!("\n{:<20} {}\n", tool.name, tool.purpose);
            assert_eq!(usage.matches(&line).count(), 1, "{}", tool.name);
            if let Help::Text(text) = tool.help {
                let text = text();
                // Hadoop's `fetchdt` begins with what it does.
                let begins = text.to_lowercase().starts_with("usage:") || text.starts_with(tool.name);
                assert!(begins, "{}: {text}", tool.name);
            }
        }
    }

    #[test]
    fn help_is_asked_for_anywhere_but_behind_two_dashes() {
        let asks = |line: &str| asks_for_help(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(asks("-ls / --help"));
        assert!(!asks("-put -- --help /"));
    }
}
