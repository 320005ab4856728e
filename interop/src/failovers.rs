//! What the programs have in common that measure what a client sees of many failovers in a row (bench/failover).

use crate::{Cluster, ClusterOptions, wait_for};
use anyhow::Result;
use std::path::PathBuf;
use std::time::Duration;

/// How long anything may take that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What all of them are asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct FailoverArguments {
    /// The hathi binary, built for release
    #[arg(long)]
    pub hathi: PathBuf,
    /// How many times
    #[arg(long, default_value_t = 20)]
    pub times: usize,
    /// What the client has set otherwise than the cluster, such as dfs.client.failover.sleep.base.millis=500
    #[arg(long, value_name = "KEY=VALUE")]
    pub client: Vec<String>,
}

impl FailoverArguments {
    /// The cluster, and the directory of the client's configuration.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self) -> Result<(Cluster, PathBuf)> {
        let cluster = Cluster::start(&self.hathi, ClusterOptions::default())?;
        let conf = cluster.client_conf(&self.client)?;
        Ok((cluster, conf))
    }
}

/// Waits until somebody is active, and answers who.
#[must_use]
pub fn wait_for_active(cluster: &Cluster) -> u16 {
    wait_for("one active", PATIENCE, || cluster.active())
}

/// Waits until a NameNode that was struck is a standby again: a stopped one is killed by its controller, and started again.
pub fn wait_for_standby(cluster: &Cluster, namenode: u16) {
    let state = ["-getServiceState", &format!("nn{namenode}")];
    wait_for("the old active as standby", PATIENCE, || {
        let state = cluster.hathi_ok("haadmin", &state).ok()?;
        (state.trim() == "standby").then_some(())
    });
}
