//! Which DataNodes may register and which must leave: the include and exclude lists (`HostFileManager`).

use hathi_formats::host_port::{host_and_port, split_host_and_port};
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
    pub(crate) fn new(include: impl IntoIterator<Item = String>, exclude: impl IntoIterator<Item = String>) -> Hosts {
        Hosts {
            include: include.into_iter().collect(),
            exclude: exclude.into_iter().collect(),
        }
    }

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
