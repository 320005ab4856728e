//! DataNodes for a pair of NameNodes.

use super::{Kind, Pair, kill, write_conf};
use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Child;

/// First port of the DataNodes in the range, behind those of NameNodes and JournalNodes.
const FIRST_PORT: u16 = 20;
/// Ports of a DataNode: data transfer, RPC, HTTP.
const PORTS: u16 = 3;

/// The running DataNodes, by number.
#[derive(Debug, Default)]
pub(super) struct DataNodes(BTreeMap<u16, Child>);

impl Pair {
    fn datanode_port(&self, index: u16, which: u16) -> SocketAddr {
        let port = self.range.base() + FIRST_PORT + PORTS * index + which;
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// Address for data transfer of a DataNode. NameNodes report the port.
    #[must_use]
    pub fn datanode_address(&self, index: u16) -> SocketAddr {
        self.datanode_port(index, 0)
    }

    /// The directory of a DataNode's replicas (`dfs.datanode.data.dir`).
    #[must_use]
    pub fn datanode_dir(&self, index: u16) -> PathBuf {
        self.dir.path().join(format!("dn{index}"))
    }

    fn datanode_conf(&self, index: u16) -> PathBuf {
        self.dir.path().join(format!("conf-dn{index}"))
    }

    /// Starts a DataNode on what its directory holds. It listens when this returns; the NameNodes may not have heard of
    /// it yet.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_datanode(&mut self, index: u16, kind: Kind) -> Result<()> {
        ensure!(!self.datanodes.0.contains_key(&index), "DataNode {index} runs");
        let name = format!("dn{index}");
        let dir = self.datanode_dir(index);
        let address = |which| self.datanode_port(index, which).to_string();
        let own = [
            ("dfs.datanode.data.dir", format!("file://{}", dir.display())),
            ("dfs.datanode.hostname", "127.0.0.1".to_owned()),
            ("dfs.datanode.address", address(0)),
            ("dfs.datanode.ipc.address", address(1)),
            ("dfs.datanode.http.address", address(2)),
        ];
        let conf = self.datanode_conf(index);
        write_conf(&conf, "hdfs://ns", &self.site, &own)?;
        let command = self.command(kind, "datanode", &conf, &[])?;
        let child = self.spawn(command, &name, self.datanode_address(index))?;
        self.datanodes.0.insert(index, child);
        Ok(())
    }

    /// Kills a DataNode (SIGKILL).
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_datanode(&mut self, index: u16) -> Result<()> {
        kill(&mut self.datanodes.0.remove(&index))
    }

    /// Sends a signal to all running DataNodes.
    ///
    /// # Errors
    /// When one does not run.
    pub fn signal_datanodes(&self, signal: Signal) -> Result<()> {
        self.datanodes.0.values().try_for_each(|child| {
            let pid = Pid::from_raw(i32::try_from(child.id())?);
            pid.map_or(Ok(()), |pid| crate::send_signal(pid, signal))
        })
    }

    /// Kills all running DataNodes. Returns their names.
    pub(super) fn end_datanodes(&mut self) -> Vec<String> {
        let all = std::mem::take(&mut self.datanodes.0);
        all.into_iter()
            .map(|(index, child)| {
                // It may have ended by itself.
                let _ = kill(&mut Some(child));
                format!("dn{index}")
            })
            .collect()
    }
}
