//! `hathi bench`: load generators and measurements. Each prints its figures on one line of `key value` pairs.

mod delete;
mod image;
mod journal;
mod memory;
mod namenode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// Ticks of `/proc/PID/stat` in a second (`USER_HZ`, the same on every Linux).
const TICKS_PER_SECOND: f64 = 100.0;

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
    /// Delete a large directory while another client asks for a file.
    Delete(delete::DeleteArgs),
    /// Load the JournalNodes alone, Hathi's or Java's, with our quorum writer.
    Journal(journal::JournalArgs),
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
        What::Delete(args) => delete::run(args),
        What::Journal(args) => journal::run(args),
        What::Memory(args) => memory::run(args),
        What::Image(args) => image::run(args),
    }
}

/// The time in ms within which this share of the sorted times in µs lies. 0 without times.
fn percentile(sorted_us: &[u32], share: f64) -> f64 {
    let at = ((sorted_us.len() as f64 * share) as usize).min(sorted_us.len().saturating_sub(1));
    f64::from(sorted_us.get(at).copied().unwrap_or(0)) / 1000.0
}

/// CPU time of a process, user and system.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("--pid {pid}"))?;
    // The name in parentheses may hold any character, even parentheses.
    let (_, rest) = stat.rsplit_once(')').with_context(|| format!("--pid {pid}"))?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = 0.0;
    for _ in 0..2 {
        let field = fields.next().with_context(|| format!("--pid {pid}"))?;
        ticks += field.parse::<f64>()?;
    }
    Ok(ticks / TICKS_PER_SECOND)
}

fn process_name(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .take(2)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    words
        .iter()
        .map(|word| word.rsplit('/').next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Resident memory of a process (`VmRSS`), MiB.
fn resident_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("--pid {pid}"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("--pid {pid}"))? / 1024.0)
}
