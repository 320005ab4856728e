//! Hostile runs on real processes: each does to a small cluster what once lost acknowledged data, or might, and looks for
//! it afterwards. `cargo run -p hathi-interop --bin hostile` runs them by name and as often as wanted; each is a test
//! of `hathi`, too.

mod client;
mod clocks;
mod corrupt;
mod deletions;
mod hflush;
mod image;
mod journal;
mod late_calls;
mod namespaces;
mod paths;
mod relay;
mod starts;
mod stuck;
mod truncate;
mod uncommitted;

use crate::Hadoop;
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;

/// How long anything that must happen may take, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a run needs.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// The `hathi` binary.
    pub hathi: &'a Path,
    /// Hadoop's client, for the runs that use it where it is there.
    pub hadoop: Option<&'a Hadoop>,
}

/// A run: an error says what was lost.
pub type Run = fn(&Setup<'_>) -> Result<()>;

/// All of them by name.
pub const RUNS: &[(&str, Run)] = &[
    ("truncate-failover", truncate::failover),
    ("truncate-checkpoint", truncate::checkpoint),
    ("truncate-expired", truncate::expired),
    ("image-of-lost-edits", image::of_lost_edits),
    ("hflush-restart", hflush::untold_length),
    ("hflush-restart-hadoop", hflush::hadoop),
    ("uncommitted-recover-lease", uncommitted::recover_lease),
    ("uncommitted-hard-limit", uncommitted::hard_limit),
    ("deletions", deletions::once),
    ("deletions-struck", deletions::again_and_again),
    ("deletions-2000", deletions::many),
    ("shared-network", namespaces::shared_network),
    ("stuck-inside", stuck::inside),
    ("directory-full", stuck::directory_full),
    ("clock-stands", clocks::namenode_stands),
    ("lease-limit-lowered", clocks::limit_lowered),
    ("corrupt-failover", corrupt::failover),
    ("corrupt-lowered", corrupt::lowered),
    ("late-call-kept", late_calls::kept),
    ("late-call-forwarded", late_calls::forwarded),
    ("edits-before-disks", journal::before_disks),
    ("deep-paths", paths::deep),
    ("log-full", starts::log_full),
    ("foreign-directories", starts::foreign_directories),
];

/// Runs one.
///
/// # Errors
/// When there is none of this name, or it fails.
pub fn run(name: &str, setup: &Setup<'_>) -> Result<()> {
    let (_, run) = RUNS
        .iter()
        .find(|(other, _)| *other == name)
        .with_context(|| format!("no run is called {name}"))?;
    run(setup)
}
