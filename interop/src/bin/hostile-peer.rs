//! Sends mutated inputs to every port of a quickstart, and reports damage.

use anyhow::{Result, ensure};
use clap::Parser;
use hathi_interop::ClusterOptions;
use hathi_interop::peer::{self, PeerOptions, PortKind};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Sends mutated inputs of every protocol to every port of a quickstart, while a client that does no harm goes on; says
/// whether a process ended, memory grew, a role was lost, the client was kept waiting, or anything acknowledged is gone
#[derive(Parser)]
struct Args {
    /// The hathi binary
    #[arg(long, default_value = "target/release/hathi")]
    hathi: PathBuf,
    /// How many
    #[arg(long, default_value_t = 200_000)]
    inputs: u64,
    /// From what the inputs follow
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these of them: N or N-M
    #[arg(long, value_parser = peer::parse_inputs)]
    only: Option<RangeInclusive<u64>>,
    /// Only to ports of these kinds
    #[arg(long)]
    port_kind: Vec<PortKind>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.inputs > 0, "--inputs 0: none to send");
    let options = PeerOptions {
        seed: args.seed,
        inputs: args.only.unwrap_or(0..=args.inputs - 1),
        port_kinds: args.port_kind,
        measured: true,
    };
    let report = peer::run(&args.hathi, ClusterOptions::default(), &options)?;
    println!("{}", report.text);
    for broken in &report.broken {
        println!("BROKEN: {broken}");
    }
    ensure!(report.broken.is_empty(), "{} rules were broken", report.broken.len());
    println!("nothing was broken");
    Ok(())
}
