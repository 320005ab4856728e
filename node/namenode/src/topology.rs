//! Asks the operator's script or table for the racks of DataNodes (`DNSToSwitchMapping`); [`hathi_nameserver::racks`] knows
//! what was told, and when to ask.

use anyhow::{Context, bail, ensure};
use hathi_blockmanager::DEFAULT_RACK;
use hathi_conf::Configuration;
use hathi_formats::exceptions::{RemoteException, UNRESOLVED_TOPOLOGY};
use hathi_nameserver::racks::{self, Racks, Table};
use hathi_namesystem::Namesystem;
use hathi_net::ipc::protocols::DatanodeMethod;
use hathi_net::ipc::{Method, RpcCall};
use parking_lot::{Mutex, RwLock};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// A script that takes longer than this is killed, and its hosts count as unresolved. Hadoop waits for ever.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(60);

/// The source of racks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Mapping {
    /// None: all hosts are in one rack.
    #[default]
    None,
    /// `net.topology.script.file.name`: a program that gets addresses as arguments and prints a rack for each.
    Script { file: PathBuf, hosts_max: usize },
    /// `net.topology.table.file.name`: a file with lines of an address or name, and its rack.
    Table(PathBuf),
}

/// Configuration of racks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopologyOptions {
    mapping: Mapping,
    /// `dfs.namenode.reject-unresolved-dn-topology-mapping`
    reject_unresolved: bool,
}

impl TopologyOptions {
    /// Reads the keys `net.topology.*`.
    pub fn from_conf(conf: &Configuration) -> anyhow::Result<TopologyOptions> {
        let class = conf.get_or("net.topology.node.switch.mapping.impl", "ScriptBasedMapping");
        let file = |key: &str| conf.get(key).map(PathBuf::from);
        let mapping = match class.rsplit('.').next().unwrap_or_default() {
            "ScriptBasedMapping" => match file("net.topology.script.file.name") {
                Some(file) => Mapping::Script {
                    file,
                    hosts_max: conf.get_usize("net.topology.script.number.args", 100)?.max(1),
                },
                None => Mapping::None,
            },
            "TableMapping" => match file("net.topology.table.file.name") {
                Some(file) => Mapping::Table(file),
                None => Mapping::None,
            },
            _ => bail!(
                "net.topology.node.switch.mapping.impl = '{class}': only ScriptBasedMapping and TableMapping are built"
            ),
        };
        Ok(TopologyOptions {
            mapping,
            reject_unresolved: conf.get_bool("dfs.namenode.reject-unresolved-dn-topology-mapping", false),
        })
    }
}

/// The racks; see the module.
#[derive(Debug, Default)]
pub struct Topology {
    options: TopologyOptions,
    racks: Mutex<Racks>,
}

impl Topology {
    /// No rack is known yet.
    #[must_use]
    pub fn new(options: TopologyOptions) -> Topology {
        Topology {
            options,
            racks: Mutex::default(),
        }
    }

    /// Whether a call is a registration from an address whose rack must be asked for first ([`Racks::must_ask`]).
    #[must_use]
    pub fn must_ask(&self, call: &RpcCall) -> bool {
        self.is_registration(call) && self.racks.lock().must_ask(&address(call))
    }

    fn is_registration(&self, call: &RpcCall) -> bool {
        self.options.mapping != Mapping::None && call.method == Method::Datanode(DatanodeMethod::RegisterDatanode)
    }

    /// Asks for the rack of a held call's address, if the call is such a registration.
    pub async fn ask_if_needed(&self, ns: &RwLock<Namesystem>, call: &RpcCall) -> Result<(), RemoteException> {
        let host = address(call);
        if !self.is_registration(call) || self.racks.lock().is_known(&host) {
            return Ok(());
        }
        match self.resolve(std::slice::from_ref(&host)).await {
            Ok(found) => {
                let rack = found
                    .into_iter()
                    .next()
                    .map_or_else(|| DEFAULT_RACK.to_owned(), |(_, rack)| rack);
                let placed = racks::place(&mut ns.write(), &host, &rack);
                if let Err(refused) = placed {
                    tracing::error!("{}", refused.message);
                    return Err(refused);
                }
                tracing::info!(host, rack, "DataNode's rack");
                self.racks.lock().found([(host, rack)]);
            }
            Err(error) if self.options.reject_unresolved => {
                tracing::error!(host, error = format!("{error:#}"), "unresolved topology mapping");
                let message = format!("Unresolved topology mapping for host {host}");
                return Err(RemoteException::new(UNRESOLVED_TOPOLOGY, message));
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(host, error, "unresolved topology mapping: the default rack is used");
                self.racks.lock().not_found(host, error);
            }
        }
        Ok(())
    }

    /// Asks for the racks of all addresses again (`refreshNodes`). An address without an answer keeps its rack.
    pub async fn refresh(&self, ns: &RwLock<Namesystem>) -> anyhow::Result<()> {
        if self.options.mapping == Mapping::None {
            return Ok(());
        }
        let hosts = {
            // In the order in which `tell` takes these locks.
            let ns = ns.read();
            self.racks.lock().to_refresh(&ns)
        };
        let found = self.resolve(&hosts).await?;
        let mut ns = ns.write();
        for (host, rack) in &found {
            ns.set_rack(host, rack);
        }
        drop(ns);
        self.racks.lock().found(found);
        Ok(())
    }

    /// See [`Racks::defaulted`].
    #[must_use]
    pub fn defaulted(&self) -> (u64, Option<String>) {
        let racks = self.racks.lock();
        let (hosts, why) = racks.defaulted();
        (hosts, why.map(str::to_owned))
    }

    /// Tells a new namesystem the known racks.
    pub fn tell(&self, ns: &mut Namesystem) {
        self.racks.lock().tell(ns);
    }

    async fn resolve(&self, hosts: &[String]) -> anyhow::Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        match &self.options.mapping {
            Mapping::None => {}
            Mapping::Script { file, hosts_max } => {
                for some in hosts.chunks(*hosts_max) {
                    let printed = run_script(file, some).await?;
                    let racks = racks::of_script(some, &printed).with_context(|| file.display().to_string())?;
                    found.extend(racks);
                }
            }
            Mapping::Table(file) => {
                let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
                let table = Table::parse(&text)?;
                for line in &table.left_out {
                    tracing::warn!(
                        line,
                        "a line of net.topology.table.file.name without two columns is left out"
                    );
                }
                found = table.of(hosts);
            }
        }
        Ok(found)
    }
}

/// The address by which the block manager will know the DataNode.
fn address(call: &RpcCall) -> String {
    call.peer.ip().to_canonical().to_string()
}

async fn run_script(file: &Path, hosts: &[String]) -> anyhow::Result<String> {
    let script = Command::new(file)
        .args(hosts)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SCRIPT_TIMEOUT, script)
        .await
        .with_context(|| format!("{} takes too long", file.display()))?
        .with_context(|| file.display().to_string())?;
    ensure!(
        output.status.success(),
        "{}: {}: {}",
        file.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_conf::Environment;
    use std::os::unix::fs::PermissionsExt;

    fn topology(keys: &[(&str, String)]) -> Topology {
        let mut conf = Configuration::new(Environment::default());
        for (key, value) in keys {
            conf.set(key, value.clone());
        }
        Topology::new(TopologyOptions::from_conf(&conf).unwrap())
    }

    fn script(dir: &tempfile::TempDir, text: &str) -> String {
        let path = dir.path().join("racks.sh");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    fn hosts(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("10.0.0.{n}")).collect()
    }

    #[tokio::test]
    async fn a_script_is_asked_about_as_many_hosts_at_a_time_as_it_takes() {
        let dir = tempfile::tempdir().unwrap();
        let file = script(
            &dir,
            "[ $# -le 2 ] || exit 1; for host in \"$@\"; do echo /rack${host##*.}/; done",
        );
        let key = ("net.topology.script.file.name", file);
        let refused = topology(std::slice::from_ref(&key)).resolve(&hosts(3)).await;
        assert!(refused.is_err(), "a hundred at once by default");
        let topology = topology(&[key, ("net.topology.script.number.args", "2".to_owned())]);
        let racks: Vec<String> = topology
            .resolve(&hosts(3))
            .await
            .unwrap()
            .into_iter()
            .map(|(_, rack)| rack)
            .collect();
        assert_eq!(racks, ["/rack0", "/rack1", "/rack2"]);
    }

    #[tokio::test]
    async fn a_script_that_fails_or_prints_too_little_resolves_nobody() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["exit 3", "echo /one"] {
            let key = ("net.topology.script.file.name", script(&dir, text));
            assert!(topology(&[key]).resolve(&hosts(2)).await.is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_table_is_read_anew_for_each_question() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table");
        std::fs::write(&path, "# hosts\n10.0.0.0 /a\n10.0.0.1\t/b/\nmalformed\n").unwrap();
        let class = "org.apache.hadoop.net.TableMapping".to_owned();
        let topology = topology(&[
            ("net.topology.node.switch.mapping.impl", class),
            ("net.topology.table.file.name", path.display().to_string()),
        ]);
        let racks: Vec<String> = topology
            .resolve(&hosts(3))
            .await
            .unwrap()
            .into_iter()
            .map(|(_, rack)| rack)
            .collect();
        assert_eq!(racks, ["/a", "/b", DEFAULT_RACK]);
    }
}
