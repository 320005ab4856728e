//! `hathi secondarynamenode [--conf DIR] [-checkpoint [force] | -geteditsize] [-format]`, with Hadoop's options, words and
//! exit codes.

use super::log_to_stderr;
use anyhow::{Context, Result};
use hathi_conf::Configuration;
use hathi_conf::keys::Program;
use hathi_namenode::Settings;
use hathi_namenode::secondary::{self, Command};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: secondarynamenode [-checkpoint <force>] [-format] [-geteditsize] [-h]
The Secondary NameNode is a helper to the primary NameNode. The Secondary is
responsible for supporting periodic checkpoints of the HDFS metadata. The
current design allows only one Secondary NameNode per HDFS cluster.
 -checkpoint <force>   checkpoint on startup
 -format               format the local storage during startup
 -geteditsize          return the number of uncheckpointed transactions on
                       the NameNode
 -h,--help             get help information
";

/// How the command is used.
pub fn usage() -> String {
    USAGE.to_owned()
}

const FAILED: &str = "Failed to start secondary namenode";

/// Why the command line is wrong.
type Misuse = String;

fn parse(args: Vec<OsString>) -> Result<(Option<PathBuf>, Option<Command>, bool), Misuse> {
    let (mut dir, mut command, mut format) = (None, Some(Command::Serve), false);
    let mut args = args.into_iter().peekable();
    let both = || "May not pass both geteditsize and checkpoint".to_owned();
    while let Some(arg) = args.next() {
        match arg.to_string_lossy().as_ref() {
            "--conf" | "--config" => dir = Some(args.next().ok_or("--conf needs a directory")?.into()),
            "-h" | "-help" | "--help" => command = None,
            "-format" => format = true,
            "-geteditsize" if matches!(command, Some(Command::Checkpoint { .. })) => return Err(both()),
            "-geteditsize" => command = Some(Command::GetEditSize),
            "-checkpoint" if command == Some(Command::GetEditSize) => return Err(both()),
            "-checkpoint" => {
                let value = args.next_if(|value| !value.to_string_lossy().starts_with('-'));
                let force = value.as_ref().is_some_and(|value| value == "force");
                if value.is_some() && !force {
                    return Err("-checkpoint may only take 'force' as an argument".to_owned());
                }
                command = Some(Command::Checkpoint { force });
            }
            other => return Err(format!("Unrecognized option: {other}")),
        }
    }
    Ok((dir, command, format))
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    log_to_stderr();
    let (dir, command, format) = match parse(args) {
        Ok(parsed) => parsed,
        Err(misuse) => {
            eprintln!("{misuse}\n{USAGE}Failed to parse options");
            return Ok(ExitCode::FAILURE);
        }
    };
    let Some(command) = command else {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    let dir = dir
        .or_else(|| std::env::var_os("HADOOP_CONF_DIR").map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from("/etc/hadoop/conf"));
    // This check comes first: on a machine without a NameNode of the nameservice there would be no settings to load.
    secondary::check_not_ha(&Configuration::load(&dir)?).context(FAILED)?;
    let settings = Settings::load(&dir)?;
    super::obey(&settings.conf, Program::NameNode)?;
    let code = secondary::run(&settings, command, format).context(FAILED)?;
    Ok(ExitCode::from(code))
}
