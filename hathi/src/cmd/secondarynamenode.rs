//! `hathi secondarynamenode`: Hadoop's daemon of this name merges edits into images for a NameNode that does not do so by
//! itself. Ours does, so this only says so, with the exit status with which Hadoop's refuses to start.

use anyhow::{Result, bail};
use std::ffi::OsString;
use std::process::ExitCode;

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let (conf, _) = super::conf_argument(args)?;
    if conf.nameservices().iter().any(|ns| conf.namenode_ids(ns).len() > 1) {
        bail!("Cannot use SecondaryNameNode in an HA cluster. The Standby Namenode will perform checkpointing.");
    }
    bail!(
        "a NameNode of Hathi makes its checkpoints by itself (dfs.namenode.checkpoint.period); for one of Hadoop, start \
         Hadoop's SecondaryNameNode"
    )
}
