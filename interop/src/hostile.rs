//! Hostile runs on real processes. Each one does to a small cluster something that once lost acknowledged data, or
//! might, and checks the data afterwards. `cargo run -p hathi-interop --bin hostile` runs them by name and as often as
//! wanted. Each is also a test of `hathi`.

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

/// Time limit for every step, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Programs that a run needs.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// The `hathi` binary.
    pub hathi: &'a Path,
    /// Hadoop's client, if it is available. Some runs use it.
    pub hadoop: Option<&'a Hadoop>,
}

/// A run. An error says what was lost.
pub type Run = fn(&Setup<'_>) -> Result<()>;

/// Every run by name.
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
