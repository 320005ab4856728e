//! `hathi datanode`: keeps replicas of blocks and serves them.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};
use hathi_conf::keys::Program;
use hathi_datanode::DataNodeConf;

/// How the command is used.
pub fn usage() -> String {
    "Usage: hdfs datanode [-regular | -rollback]\n\
     \t-regular   : Normal DataNode startup (default).\n\
     \t-rollback  : Rollback a standard or rolling upgrade.\n"
        .to_owned()
}

/// Runs until told to stop. Takes `--conf DIR`, and Hadoop's start options `-regular` and `-rollback`.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    super::without_huge_pages();
    let (conf, rest) = super::conf_argument(args)?;
    if let Some(unknown) = rest.iter().find(|arg| *arg != "-regular" && *arg != "-rollback") {
        bail!("unknown argument {}\n{}", unknown.display(), usage());
    }
    super::log_to_stderr();
    super::obey(&conf, Program::DataNode)?;
    let mut conf = DataNodeConf::from_configuration(&conf, &super::user_name())?;
    conf.rollback = rest.iter().any(|arg| arg == "-rollback");
    super::give_memory_back();
    hathi_datanode::run(conf)?;
    Ok(ExitCode::SUCCESS)
}
