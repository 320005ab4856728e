//! `dfs.hosts` and `dfs.hosts.exclude`: the DataNodes that may register, and those that must leave.
//!
//! A configured list that can't be read changes nothing: a NameNode does not start with it, and a refresh fails and
//! keeps the old lists (`DatanodeManager`, `HostFileManager.refresh`).

use crate::settings::Settings;
use crate::topology::Topology;
use anyhow::Context;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::RefreshNodesResponseProto;
use hathi_namesystem::Namesystem;
use hathi_net::ipc::Responder;
use parking_lot::{Mutex, RwLock};
use std::path::Path;
use std::sync::Arc;

/// The included and the excluded hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostLists {
    included: Vec<String>,
    excluded: Vec<String>,
}

impl HostLists {
    /// Reads the configured files.
    pub fn read(settings: &Settings) -> anyhow::Result<HostLists> {
        let (include, exclude) = &settings.hosts_files;
        let list = |key: &str, file: &Option<std::path::PathBuf>| match file {
            Some(file) => read(file).with_context(|| format!("{key}: cannot read {}", file.display())),
            None => Ok(Vec::new()),
        };
        Ok(HostLists {
            included: list("dfs.hosts", include)?,
            excluded: list("dfs.hosts.exclude", exclude)?,
        })
    }
}

/// The hosts of DataNodes: the lists, as they were last read, and the racks.
pub struct Hosts {
    settings: Settings,
    lists: Mutex<HostLists>,
    topology: Topology,
    ns: Arc<RwLock<Namesystem>>,
}

impl Hosts {
    /// Hosts for this namesystem.
    #[must_use]
    pub fn new(settings: &Settings, lists: HostLists, ns: Arc<RwLock<Namesystem>>) -> Hosts {
        Hosts {
            settings: settings.clone(),
            lists: Mutex::new(lists),
            topology: Topology::new(settings.topology.clone()),
            ns,
        }
    }

    /// The racks.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Tells a new namesystem the last lists, and the racks.
    pub fn tell(&self, ns: &mut Namesystem) {
        let lists = self.lists.lock().clone();
        ns.set_hosts(lists.included, lists.excluded);
        self.topology.tell(ns);
    }

    /// Reads both files again, and asks for the racks (`refreshNodes`). Then answers.
    pub fn refresh_and_answer(self: &Arc<Self>, responder: Responder) {
        let hosts = self.clone();
        tokio::spawn(async move {
            match hosts.refresh().await {
                Ok(()) => responder.ok(&RefreshNodesResponseProto {}),
                Err(error) => {
                    let message = format!("{error:#}");
                    tracing::error!("the DataNodes were not refreshed: {message}");
                    responder.error(&RemoteException::new(exceptions::IO, message));
                }
            }
        });
    }

    async fn refresh(&self) -> anyhow::Result<()> {
        let lists = HostLists::read(&self.settings)?;
        tracing::info!(
            included = lists.included.len(),
            excluded = lists.excluded.len(),
            "read the lists of hosts"
        );
        *self.lists.lock() = lists.clone();
        self.ns.write().set_hosts(lists.included, lists.excluded);
        self.topology.refresh(&self.ns).await
    }
}

fn read(file: &Path) -> std::io::Result<Vec<String>> {
    Ok(parse_hosts(&std::fs::read_to_string(file)?))
}

/// Hosts separated by white space, with comments from `#` to the end of the line (`HostsFileReader`).
#[must_use]
pub fn parse_hosts(text: &str) -> Vec<String> {
    text.lines()
        .flat_map(|line| line.split('#').next().unwrap_or("").split_whitespace())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use hathi_formats::proto::hdfs::DatanodeIdProto;

    #[tokio::test]
    async fn a_list_that_can_not_be_read_fails_the_refresh_and_leaves_the_old_ones() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("include");
        std::fs::write(&file, "10.0.0.1 # the only one\n").unwrap();
        let alone = testing::active_with(&[("dfs.hosts", file.display().to_string())]);
        let nn = &alone.shared.nn;
        nn.hosts.refresh().await.unwrap();
        let allowed = |ip: &str| {
            let id = DatanodeIdProto {
                ip_addr: ip.to_owned(),
                host_name: "dn".to_owned(),
                ..DatanodeIdProto::default()
            };
            nn.ns.read().blockmanager().check_allowed(&id).is_ok()
        };
        assert!(allowed("10.0.0.1") && !allowed("10.0.0.2"));
        std::fs::remove_file(&file).unwrap();
        let error = format!("{:#}", nn.hosts.refresh().await.unwrap_err());
        assert!(
            error.contains("dfs.hosts") && error.contains(&file.display().to_string()),
            "{error}"
        );
        nn.hosts.tell(&mut nn.ns.write());
        assert!(allowed("10.0.0.1") && !allowed("10.0.0.2"));
        assert!(
            HostLists::read(&nn.settings).is_err(),
            "nor does a NameNode start with it"
        );
    }
}
