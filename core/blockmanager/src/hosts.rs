//! Which DataNodes may register and which must leave: the include and exclude lists (`HostFileManager`).

use crate::datanodes::{AdminState, Datanode};
use crate::manager::BlockManager;
use crate::types::{BlockManagerError, DatanodeIndex};
use hathi_formats::conf::{host_and_port, split_host_and_port};
use hathi_formats::proto::hdfs::DatanodeIdProto;
use std::collections::BTreeSet;

/// `dfs.hosts` and `dfs.hosts.exclude`: host names or addresses, with or without a port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    include: BTreeSet<String>,
    exclude: BTreeSet<String>,
}

fn names(list: &BTreeSet<String>, id: &DatanodeIdProto) -> bool {
    [&id.ip_addr, &id.host_name]
        .into_iter()
        .any(|host| list.contains(host) || list.contains(&host_and_port(host, id.xfer_port)))
}

impl Hosts {
    /// An empty list allows every node.
    pub(crate) fn is_included(&self, id: &DatanodeIdProto) -> bool {
        self.include.is_empty() || names(&self.include, id)
    }

    /// The hosts that should have a DataNode, without ports. None when every node is allowed.
    pub(crate) fn included_hosts(&self) -> impl Iterator<Item = &str> {
        self.include.iter().map(|entry| split_host_and_port(entry).0)
    }

    pub(crate) fn is_excluded(&self, id: &DatanodeIdProto) -> bool {
        names(&self.exclude, id)
    }
}

impl BlockManager {
    /// The lists were read. Nodes that are not included any more are cut off, excluded ones are decommissioned, and
    /// nodes that are no longer excluded come back (`DatanodeManager.refreshDatanodes`).
    pub fn set_hosts(&mut self, include: impl IntoIterator<Item = String>, exclude: impl IntoIterator<Item = String>) {
        self.hosts = Hosts {
            include: include.into_iter().collect(),
            exclude: exclude.into_iter().collect(),
        };
        let nodes: Vec<DatanodeIndex> = self.datanodes.nodes().map(|(index, _)| index).collect();
        for index in nodes {
            let Some(node) = self.datanodes.get(index) else {
                continue;
            };
            if self.hosts.is_included(&node.id) {
                self.apply_exclusion(index);
            } else if node.alive {
                self.node_died(index);
            }
        }
    }

    /// Whether the node may talk to this NameNode. A node that is dead for another reason may, and is told to register.
    pub fn check_allowed(&self, id: &DatanodeIdProto) -> Result<(), BlockManagerError> {
        if self.hosts.is_included(id) {
            return Ok(());
        }
        Err(BlockManagerError::Disallowed(id.xfer_address()))
    }

    pub(crate) fn apply_exclusion(&mut self, index: DatanodeIndex) {
        let Some(node) = self.datanodes.get(index) else {
            return;
        };
        let excluded = self.hosts.is_excluded(&node.id);
        let leaving = |node: &Datanode| {
            matches!(
                node.admin_state,
                AdminState::DecommissionInProgress | AdminState::Decommissioned
            )
        };
        if excluded && !leaving(node) {
            // A dead node has nothing to copy from, so it is decommissioned at once.
            let state = if node.alive {
                AdminState::DecommissionInProgress
            } else {
                AdminState::Decommissioned
            };
            self.set_admin_state(index, state);
        } else if !excluded && leaving(node) {
            self.set_admin_state(index, AdminState::Normal);
        }
    }
}
