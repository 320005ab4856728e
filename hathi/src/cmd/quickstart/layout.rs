//! Files, ports and configuration of a quickstart cluster.

use anyhow::{Context, Result, bail};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// Most daemons of each role. Their ports are consecutive.
pub const INSTANCES_MAX: u16 = 10;
/// Number of ports of daemons, from the base port on.
const DAEMON_PORTS: u16 = 9 * INSTANCES_MAX;
/// Number of ports of a cluster, from its base port on. The last one is the claim's.
const PORTS: u16 = DAEMON_PORTS + 1;

/// The daemons of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// A NameNode.
    NameNode,
    /// A JournalNode.
    JournalNode,
    /// A DataNode.
    DataNode,
    /// A failover controller.
    Zkfc,
}

impl Daemon {
    /// The subcommand, which is also the name in `run/` and `logs/`.
    pub fn name(self) -> &'static str {
        match self {
            Daemon::NameNode => "namenode",
            Daemon::JournalNode => "journalnode",
            Daemon::DataNode => "datanode",
            Daemon::Zkfc => "zkfc",
        }
    }
}

/// The cluster that the user asked for.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Directory of the cluster.
    pub dir: PathBuf,
    /// The address of this machine that all daemons use.
    pub host: IpAddr,
    /// First port.
    pub base_port: u16,
    /// Name of the nameservice.
    pub nameservice: String,
    /// Number of NameNodes.
    pub namenodes: u16,
    /// Number of JournalNodes.
    pub journalnodes: u16,
    /// Number of DataNodes.
    pub datanodes: u16,
    /// One NameNode, and no JournalNodes and failover controllers.
    pub single: bool,
    /// Settings for every hdfs-site.xml. They override others.
    pub more: Vec<(String, String)>,
}

impl Layout {
    fn at(&self, port: u16) -> String {
        SocketAddr::from((self.host, port)).to_string()
    }
    /// Port of a NameNode's RPC.
    pub fn namenode_rpc(&self, index: u16) -> u16 {
        self.base_port + index
    }
    /// RPC address of a NameNode.
    pub fn namenode_address(&self, index: u16) -> SocketAddr {
        (self.host, self.namenode_rpc(index)).into()
    }
    /// Port of a NameNode's HTTP server.
    pub fn namenode_http(&self, index: u16) -> u16 {
        self.base_port + INSTANCES_MAX + index
    }
    /// URL of the page that shows the whole cluster.
    pub fn page(&self) -> String {
        format!("http://{}/", self.at(self.namenode_http(0)))
    }
    /// Authority of the file system's URI.
    pub fn authority(&self) -> String {
        match self.single {
            true => self.at(self.namenode_rpc(0)),
            false => self.nameservice.clone(),
        }
    }
    fn zkfc_port(&self, index: u16) -> u16 {
        self.base_port + 2 * INSTANCES_MAX + index
    }
    /// Port of a JournalNode's RPC.
    pub fn journalnode_rpc(&self, index: u16) -> u16 {
        self.base_port + 3 * INSTANCES_MAX + index
    }
    fn journalnode_http(&self, index: u16) -> u16 {
        self.base_port + 4 * INSTANCES_MAX + index
    }
    fn datanode_transfer(&self, index: u16) -> u16 {
        self.base_port + 5 * INSTANCES_MAX + index
    }
    fn datanode_ipc(&self, index: u16) -> u16 {
        self.base_port + 6 * INSTANCES_MAX + index
    }
    fn datanode_http(&self, index: u16) -> u16 {
        self.base_port + 7 * INSTANCES_MAX + index
    }
    fn zkfc_http(&self, index: u16) -> u16 {
        self.base_port + 8 * INSTANCES_MAX + index
    }

    /// `DIR/conf`, which any Hadoop client can use.
    pub fn client_conf(&self) -> PathBuf {
        self.dir.join("conf")
    }
    /// The configuration of one daemon.
    pub fn daemon_conf(&self, role: Daemon, index: u16) -> PathBuf {
        self.client_conf().join(format!("{}-{index}", role.name()))
    }
    /// `DIR/run/ROLE-N.pid`.
    pub fn pid_file(&self, role: Daemon, index: u16) -> PathBuf {
        self.dir.join("run").join(format!("{}-{index}.pid", role.name()))
    }
    /// `DIR/logs/ROLE-N.log`.
    pub fn log_file(&self, role: Daemon, index: u16) -> PathBuf {
        self.dir.join("logs").join(format!("{}-{index}.log", role.name()))
    }
    /// `DIR/data/ROLE-N`.
    pub fn data_dir(&self, role: Daemon, index: u16) -> PathBuf {
        self.dir.join("data").join(format!("{}-{index}", role.name()))
    }
    /// Whether a NameNode's directory is formatted.
    pub fn is_formatted(&self, index: u16) -> bool {
        self.data_dir(Daemon::NameNode, index).join("current/VERSION").exists()
    }
    /// File that exists once the first format has been completed. From then on nothing is ever formatted with force.
    pub fn formatted_marker(&self) -> PathBuf {
        self.dir.join("data/formatted")
    }

    /// Whether ZooKeeper elects the active NameNode.
    pub fn has_zookeeper(&self) -> bool {
        self.more.iter().any(|(key, _)| key == "ha.zookeeper.quorum")
    }

    /// What a newcomer does not expect of one or two JournalNodes.
    pub fn tolerates_nothing(&self) -> Option<String> {
        match self.journalnodes {
            1 => Some("note: without its only JournalNode the cluster takes no changes; --journalnodes 3 tolerates the loss of one".to_owned()),
            2 => Some("note: two JournalNodes tolerate the loss of neither, because a majority of two is two; --journalnodes 3 tolerates the loss of one".to_owned()),
            _ => None,
        }
    }

    /// Refuses counts and ports that can't work, naming the option.
    pub fn check(&self) -> Result<()> {
        for (option, count) in [
            ("--namenodes", self.namenodes),
            ("--journalnodes", self.journalnodes),
            ("--datanodes", self.datanodes),
        ] {
            let none_needed = self.single && option == "--journalnodes";
            if (count == 0 && !none_needed) || count > INSTANCES_MAX {
                bail!("{option} {count}: must be from 1 to {INSTANCES_MAX}");
            }
        }
        if self.base_port < 1024 || self.base_port > u16::MAX - PORTS {
            bail!(
                "--base-port {}: must be from 1024 to {}",
                self.base_port,
                u16::MAX - PORTS
            );
        }
        if self.host.is_unspecified() {
            bail!("--host {}: must be an address that others can call", self.host);
        }
        let name = &self.nameservice;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            bail!("--nameservice {name:?}: must be letters, digits and dashes");
        }
        Ok(())
    }

    /// Refuses a directory whose cluster has the other form. A single NameNode does not know the JournalNodes' edits,
    /// and they do not know its edits.
    pub fn check_form(&self) -> Result<()> {
        let mut journals = (0..INSTANCES_MAX).map(|index| self.data_dir(Daemon::JournalNode, index));
        let found = match journals.any(|dir| dir.exists()) {
            true if self.single => "a highly available cluster",
            false if !self.single && self.formatted_marker().exists() => "one NameNode without high availability",
            _ => return Ok(()),
        };
        bail!(
            "{} holds {found}: name another directory with --dir. How one becomes the other stands in docs/upgrade.md",
            self.dir.display()
        );
    }

    /// The ports that the daemons will listen on.
    fn ports(&self) -> Vec<u16> {
        let mut ports = Vec::new();
        for index in 0..self.namenodes {
            ports.extend([
                self.namenode_rpc(index),
                self.namenode_http(index),
                self.zkfc_port(index),
                self.zkfc_http(index),
            ]);
        }
        for index in 0..self.journalnodes {
            ports.extend([self.journalnode_rpc(index), self.journalnode_http(index)]);
        }
        for index in 0..self.datanodes {
            ports.extend([
                self.datanode_transfer(index),
                self.datanode_ipc(index),
                self.datanode_http(index),
            ]);
        }
        ports
    }

    /// Claims the range of ports for this cluster, as long as the listener lives. An error is the first port that
    /// another process holds.
    ///
    /// The listener's port is not one of the daemons' ports. While daemons start or restart, their ports look free to
    /// another cluster that is started at the same time.
    pub fn claim_ports(&self) -> Result<TcpListener, u16> {
        // Connections of an earlier run may still be in TIME_WAIT. The standard library's listener sets SO_REUSEADDR,
        // so these do not matter.
        let listen = |port: u16| TcpListener::bind((self.host, port)).map_err(|_| port);
        let claim = listen(self.base_port + DAEMON_PORTS)?;
        for port in self.ports() {
            listen(port)?;
        }
        Ok(claim)
    }

    /// Moves to the first free range of ports, beginning with the present one, and claims it.
    pub fn claim_free_ports(&mut self) -> Result<TcpListener> {
        let first = self.base_port;
        loop {
            match self.claim_ports() {
                Ok(claim) => return Ok(claim),
                Err(_) if self.base_port <= 29_000 => self.base_port += 100,
                Err(port) => bail!("no free range of ports from {first} on; the last one taken is {port}"),
            }
        }
    }

    /// Creates the directories and writes every configuration.
    pub fn write(&self) -> Result<()> {
        for sub in ["run", "logs", "data"] {
            create_dir(&self.dir.join(sub))?;
        }
        self.write_conf(&self.client_conf(), &[])?;
        for index in 0..self.namenodes {
            let mut own = vec![
                (
                    "dfs.namenode.name.dir",
                    file_uri(&self.data_dir(Daemon::NameNode, index)),
                ),
                // `dfsadmin -metasave` and the audit log write there. No two NameNodes may write the same files.
                (
                    "hadoop.log.dir",
                    self.dir.join("logs").join(namenode_id(index)).display().to_string(),
                ),
            ];
            if !self.single {
                own.push(("dfs.nameservice.id", self.nameservice.clone()));
                own.push(("dfs.ha.namenode.id", namenode_id(index)));
                self.write_conf(&self.daemon_conf(Daemon::Zkfc, index), &own)?;
            }
            self.write_conf(&self.daemon_conf(Daemon::NameNode, index), &own)?;
        }
        for index in 0..self.journalnodes {
            let dir = self.data_dir(Daemon::JournalNode, index);
            self.write_conf(
                &self.daemon_conf(Daemon::JournalNode, index),
                &[
                    ("dfs.journalnode.edits.dir", dir.display().to_string()),
                    ("dfs.journalnode.rpc-address", self.at(self.journalnode_rpc(index))),
                    ("dfs.journalnode.http-address", self.at(self.journalnode_http(index))),
                ],
            )?;
        }
        for index in 0..self.datanodes {
            self.write_conf(
                &self.daemon_conf(Daemon::DataNode, index),
                &[
                    (
                        "dfs.datanode.data.dir",
                        file_uri(&self.data_dir(Daemon::DataNode, index)),
                    ),
                    ("dfs.datanode.address", self.at(self.datanode_transfer(index))),
                    ("dfs.datanode.ipc.address", self.at(self.datanode_ipc(index))),
                    ("dfs.datanode.http.address", self.at(self.datanode_http(index))),
                    ("dfs.datanode.hostname", self.host.to_string()),
                ],
            )?;
        }
        Ok(())
    }

    fn write_conf(&self, dir: &Path, own: &[(&str, String)]) -> Result<()> {
        create_dir(dir)?;
        write_xml(&dir.join("core-site.xml"), &self.core_site())?;
        let mut site = self.hdfs_site();
        site.extend(self.more.iter().cloned());
        site.extend(own.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        write_xml(&dir.join("hdfs-site.xml"), &site)
    }

    fn core_site(&self) -> Vec<(String, String)> {
        let fixed = [
            ("fs.defaultFS", format!("hdfs://{}", self.authority())),
            // Only this time-out frees a client that waits on the silent connection of a stopped NameNode.
            ("ipc.client.rpc-timeout.ms", "3000".to_owned()),
            ("ipc.ping.interval", "3000".to_owned()),
            ("ipc.client.connect.timeout", "2000".to_owned()),
            ("ipc.client.connect.max.retries.on.timeouts", "1".to_owned()),
            ("ipc.client.connect.retry.interval", "200".to_owned()),
        ];
        fixed.map(|(key, value)| (key.to_owned(), value)).to_vec()
    }

    fn hdfs_site(&self) -> Vec<(String, String)> {
        let mut site = match self.single {
            true => vec![("dfs.namenode.http-address".to_owned(), self.at(self.namenode_http(0)))],
            false => self.ha_site(),
        };
        let every = [
            ("dfs.replication", self.datanodes.min(3).to_string()),
            // With as many DataNodes as replicas, no DataNode can replace one that dies under a writer.
            (
                "dfs.client.block.write.replace-datanode-on-failure.best-effort",
                "true".to_owned(),
            ),
            ("dfs.heartbeat.interval", "1".to_owned()),
            ("dfs.namenode.heartbeat.recheck-interval", "3000".to_owned()),
            ("dfs.namenode.safemode.extension", "0".to_owned()),
            (
                "dfs.namenode.datanode.registration.ip-hostname-check",
                "false".to_owned(),
            ),
        ];
        site.extend(every.map(|(key, value)| (key.to_owned(), value)));
        site
    }

    /// Settings that a single NameNode does not have.
    fn ha_site(&self) -> Vec<(String, String)> {
        let ns = &self.nameservice;
        let ids: Vec<String> = (0..self.namenodes).map(namenode_id).collect();
        let journal: Vec<String> = (0..self.journalnodes)
            .map(|index| self.at(self.journalnode_rpc(index)))
            .collect();
        let mut site: Vec<(String, String)> = [
            ("dfs.nameservices", ns.clone()),
            (&format!("dfs.ha.namenodes.{ns}"), ids.join(",")),
            (
                &format!("dfs.client.failover.proxy.provider.{ns}"),
                "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider".to_owned(),
            ),
            (
                "dfs.namenode.shared.edits.dir",
                format!("qjournal://{}/{ns}", journal.join(";")),
            ),
            ("dfs.ha.automatic-failover.enabled", "true".to_owned()),
            ("dfs.ha.fencing.methods", "shell(/bin/true)".to_owned()),
            ("hathi.lease.ms", "1000".to_owned()),
            ("dfs.ha.tail-edits.in-progress", "true".to_owned()),
            // A failover here takes milliseconds, so clients need not wait half a second before they ask again.
            ("dfs.client.failover.sleep.base.millis", "50".to_owned()),
            ("dfs.client.failover.sleep.max.millis", "1000".to_owned()),
            ("dfs.client.failover.max.attempts", "60".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec();
        for (index, id) in (0..).zip(&ids) {
            site.extend([
                (
                    format!("dfs.namenode.rpc-address.{ns}.{id}"),
                    self.at(self.namenode_rpc(index)),
                ),
                (
                    format!("dfs.namenode.http-address.{ns}.{id}"),
                    self.at(self.namenode_http(index)),
                ),
                (format!("dfs.ha.zkfc.port.{ns}.{id}"), self.zkfc_port(index).to_string()),
                (
                    format!("hathi.zkfc.http-address.{ns}.{id}"),
                    self.at(self.zkfc_http(index)),
                ),
            ]);
        }
        site
    }
}

/// The NameNode id of the daemon whose pid file is `namenode-N.pid`.
pub fn namenode_id(index: u16) -> String {
    format!("nn{index}")
}

fn file_uri(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn create_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("can't create {}", path.display()))
}

fn write_xml(path: &Path, properties: &[(String, String)]) -> Result<()> {
    let mut text = String::from("<?xml version=\"1.0\"?>\n<configuration>\n");
    for (key, value) in properties {
        let value = quick_xml::escape::escape(value.as_str());
        text.push_str(&format!(
            "  <property><name>{key}</name><value>{value}</value></property>\n"
        ));
    }
    text.push_str("</configuration>\n");
    std::fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(journalnodes: u16) -> Layout {
        Layout {
            dir: PathBuf::from("/there"),
            host: IpAddr::from([127, 0, 0, 1]),
            base_port: 18020,
            nameservice: "hathi".to_owned(),
            namenodes: 3,
            journalnodes,
            datanodes: 3,
            single: journalnodes == 0,
            more: Vec::new(),
        }
    }

    #[test]
    fn that_one_or_two_journalnodes_tolerate_nothing_is_said() {
        for (journalnodes, is_said) in [(0, false), (1, true), (2, true), (3, false), (4, false)] {
            assert_eq!(
                layout(journalnodes).tolerates_nothing().is_some(),
                is_said,
                "{journalnodes}"
            );
        }
    }
}
