//! Common parts of the programs that measure what a client notices of many failovers in a row (bench/failover).

use crate::{Cluster, ClusterOptions, Hadoop, ZooKeeper, wait_for};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::time::Duration;

/// Time limit for every step.
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
    /// What the cluster has set otherwise than usual, such as ha.zookeeper.session-timeout.ms=5000
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How many directories the namespace has before anything happens
    #[arg(long, default_value_t = 0)]
    pub directories: u64,
    /// Have a real ZooKeeper elect the active NameNode, instead of the JournalNodes
    #[arg(long)]
    pub zookeeper: bool,
}

/// The running processes. Dropping it ends them.
#[derive(Debug)]
pub struct Started {
    /// The cluster.
    pub cluster: Cluster,
    /// The directory of the client's configuration.
    pub conf: PathBuf,
    /// ZooKeeper, if it elects.
    pub zookeeper: Option<ZooKeeper>,
}

impl FailoverArguments {
    /// Starts the cluster, and ZooKeeper if it is wanted.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start(&self) -> Result<Started> {
        let zookeeper = match self.zookeeper {
            true => Some(ZooKeeper::start(Hadoop::get()?.context("needs Hadoop")?, 1)?),
            false => None,
        };
        let quorum = zookeeper
            .iter()
            .map(|zookeeper| format!("ha.zookeeper.quorum={}", zookeeper.quorum()));
        let settings: Vec<String> = self.set.iter().cloned().chain(quorum).collect();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let cluster = Cluster::start_with(&self.hathi, ClusterOptions::default(), &settings)?;
        if self.directories > 0 {
            let _ = wait_for_active(&cluster);
            let ops = self.directories.to_string();
            let load = [
                "namenode",
                "--fs",
                "hdfs://hathi",
                "--op",
                "mkdirs",
                "--connections",
                "16",
                "--outstanding",
                "64",
                "--ops",
                &ops,
            ];
            print!("{}", cluster.hathi_ok("bench", &load)?);
        }
        let conf = cluster.client_conf(&self.client)?;
        Ok(Started {
            cluster,
            conf,
            zookeeper,
        })
    }
}

/// Waits until a NameNode is active. Returns its index.
#[must_use]
pub fn wait_for_active(cluster: &Cluster) -> u16 {
    wait_for("one active", PATIENCE, || cluster.active())
}

/// Waits until a NameNode is a standby again after a fault. A stopped one is killed by its controller and started
/// again.
pub fn wait_for_standby(cluster: &Cluster, namenode: u16) {
    wait_for_state(cluster, namenode, &["standby"]);
}

/// Waits until a NameNode is ready again after all were killed. It may be elected once more.
pub fn wait_for_any_role(cluster: &Cluster, namenode: u16) {
    wait_for_state(cluster, namenode, &["standby", "active"]);
}

fn wait_for_state(cluster: &Cluster, namenode: u16, states: &[&str]) {
    let state = ["-getServiceState", &format!("nn{namenode}")];
    wait_for("the old active in its role", PATIENCE, || {
        let state = cluster.hathi_ok("haadmin", &state).ok()?;
        states.contains(&state.trim()).then_some(())
    });
}
