//! `hathi bench`: load generators and measurements. Each prints what it measured on one line of `key value` pairs.

mod image;
mod memory;
mod namenode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// Measure a NameNode, Hathi's or Java's, and the parts of ours.
#[derive(Parser, Debug)]
#[command(name = "hathi bench")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Load any NameNode over Hadoop RPC.
    Namenode(namenode::NamenodeArgs),
    /// Build files of one block with three replicas in memory and show what one takes.
    Memory(memory::MemoryArgs),
    /// Save an image of so many files, and load it.
    Image(image::ImageArgs),
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let args = Args::parse_from(std::iter::once(OsString::from("hathi bench")).chain(args));
    match args.what {
        What::Namenode(args) => namenode::run(args),
        What::Memory(args) => memory::run(args),
        What::Image(args) => image::run(args),
    }
}
