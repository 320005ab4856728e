//! `hathi version`, `hathi classpath`, `hathi envvars`: what scripts ask Hadoop's `hdfs` for.

use super::invocation::Invocation;
use crate::{COMMIT, HADOOP_VERSION};
use anyhow::Result;
use std::ffi::OsString;
use std::process::ExitCode;

pub fn version_usage() -> String {
    "Usage: hathi version\nPrints the version of this program, and that of Hadoop which it is compatible with.\n"
        .to_owned()
}

/// Entry point of `version`. Under the name `hdfs` the first line is Hadoop's, because scripts read it.
pub fn version(_: Vec<OsString>) -> Result<ExitCode> {
    let program = std::env::args_os().next().unwrap_or_default();
    let own = format!("Hathi {}", env!("CARGO_PKG_VERSION"));
    let hadoop = format!("Hadoop {HADOOP_VERSION}");
    // The second line has the form that Hadoop's has there.
    let source = format!("Source code repository Hathi -r {COMMIT}");
    if std::path::Path::new(&program)
        .file_name()
        .is_some_and(|name| name == "hdfs")
    {
        println!("{hadoop}\n{source}\nThis is {own}, which speaks Hadoop's protocols and writes its files.");
    } else {
        println!("{own}\n{source}\nCompatible with {hadoop}");
    }
    Ok(ExitCode::SUCCESS)
}

pub fn classpath_usage() -> String {
    "Usage: hathi classpath [--glob | --jar FILE]\n\
     Prints the configuration directory. This program needs no classes, and writes no jar.\n"
        .to_owned()
}

/// Entry point of `classpath`.
pub fn classpath(args: Vec<OsString>) -> Result<ExitCode> {
    let invocation = Invocation::of(args)?;
    if invocation.rest.first().is_some_and(|arg| arg == "--jar") {
        anyhow::bail!("there are no classes to write into a jar");
    }
    println!("{}", invocation.conf_dir().0.display());
    Ok(ExitCode::SUCCESS)
}

pub fn envvars_usage() -> String {
    "Usage: hathi envvars\nPrints the environment variables that this program obeys, and their values.\n".to_owned()
}

/// The variables that count, and what they are for.
pub const VARIABLES: &[(&str, &str)] = &[
    ("HADOOP_CONF_DIR", "the configuration directory"),
    (
        "HADOOP_IDENT_STRING",
        "the name of an instance in the files of `--daemon`; by default the user",
    ),
    ("HADOOP_PID_DIR", "where `--daemon` writes process ids; by default /tmp"),
    (
        "HADOOP_LOG_DIR",
        "where `--daemon` writes logs, and the NameNode its audit log and `-metasave`",
    ),
    ("HADOOP_HOME", "without HADOOP_LOG_DIR logs are in its directory logs"),
    (
        "HADOOP_STOP_TIMEOUT",
        "seconds after which `--daemon stop` kills; by default 5",
    ),
    ("HADOOP_USER_NAME", "the user that commands call as"),
    ("HATHI_LOG", "levels of the log, as in info,hathi_journal=debug"),
];

/// Entry point of `envvars`, in the form that a shell can read.
pub fn envvars(_: Vec<OsString>) -> Result<ExitCode> {
    for (name, _) in VARIABLES {
        let value = std::env::var(name).unwrap_or_default();
        println!("{name}='{}'", value.replace('\'', "'\\''"));
    }
    Ok(ExitCode::SUCCESS)
}
