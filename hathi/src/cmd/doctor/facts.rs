//! What was found out about a cluster. Rules see nothing else.

use hathi_conf::{Configuration, Environment, HostPort, JournalUri};
use hathi_storage::{StorageState, VersionFile};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Everything that was gathered.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The configuration directory.
    pub dir: PathBuf,
    /// Why it can't be read.
    pub dir_problem: Option<String>,
    /// Files of the configuration that are not there.
    pub missing_files: Vec<PathBuf>,
    /// A file that is no configuration: where, and why.
    pub broken_file: Option<(String, String)>,
    /// The settings; Hadoop's defaults when they can't be read.
    pub conf: Configuration,
    /// Why daemons would refuse their settings.
    pub refusals: Vec<String>,
    /// The NameNodes of all nameservices.
    pub namenodes: Vec<NameNode>,
    /// Addresses of each host that the configuration names; none for a name that does not resolve.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// This machine.
    pub machine: Machine,
    /// Storage directories of daemons that the configuration places on this machine.
    pub directories: Vec<Directory>,
    /// Files that keys name: key, path, and what of it was found.
    pub named_files: Vec<(String, PathBuf, NamedFile)>,
    /// What daemons answered. `None` if they were not asked.
    pub running: Option<Running>,
}

/// A NameNode of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NameNode {
    /// Its nameservice, if nameservices are used.
    pub nameservice: Option<String>,
    /// Its id, if its nameservice has several NameNodes.
    pub id: Option<String>,
    /// Address for clients.
    pub rpc: Option<HostPort>,
    /// Address of its pages.
    pub http: Option<HostPort>,
    /// Addresses that it listens at besides: key and address.
    pub others: Vec<(&'static str, HostPort)>,
    /// Address of its failover controller, if failover is automatic.
    pub controller: Option<HostPort>,
    /// Where its shared edits are.
    pub journal: Option<JournalUri>,
}

impl NameNode {
    /// How it is called in findings.
    pub fn name(&self) -> String {
        let address = self.rpc.as_ref().map_or_else(String::new, |rpc| format!(" ({rpc})"));
        match &self.id {
            Some(id) => format!("NameNode {id}{address}"),
            None => format!("NameNode{address}"),
        }
    }
}

/// What a file is that a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedFile {
    Missing,
    NotExecutable,
    There,
}

/// This machine, and the limits of this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    /// Owner of this process.
    pub uid: u32,
    /// Soft limit of open files. `None`: without limit.
    pub open_files_max: Option<u64>,
    /// Bytes of swap in all.
    pub swap_bytes: u64,
    /// `vm.swappiness`
    pub swappiness: Option<u32>,
    /// Memory that this process may use: the machine's, or less in a container.
    pub memory_bytes: Option<u64>,
}

/// For what a directory is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Image,
    Edits,
    Journal,
    Blocks,
}

/// A storage directory of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub role: Role,
    /// The key that names it.
    pub key: &'static str,
    /// As it is configured.
    pub path: PathBuf,
    /// Where VERSION is: the same, or the directory of one journal below it.
    pub storage: PathBuf,
    /// What is there.
    pub state: Found,
}

impl Directory {
    pub fn contents(&self) -> Option<&Contents> {
        match &self.state {
            Found::There(contents) => Some(contents),
            Found::Missing | Found::NoDirectory | Found::Unreadable(_) => None,
        }
    }

    /// Key and path, as findings name it.
    pub fn place(&self) -> String {
        format!("{} = {}", self.key, self.path.display())
    }
}

/// What is at the place of a directory.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Missing,
    NoDirectory,
    Unreadable(String),
    There(Box<Contents>),
}

/// What is in a storage directory.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    /// Owner of the directory.
    pub uid: u32,
    /// Owner of `VERSION`.
    pub version_uid: Option<u32>,
    /// Whether this process may make files in it.
    pub writable: bool,
    /// The file system.
    pub device: u64,
    pub free_bytes: u64,
    pub size_bytes: u64,
    /// As `Storage.StorageDirectory` sees it.
    pub state: Result<StorageState, String>,
    /// Whether an upgrade can be rolled back.
    pub has_previous: bool,
    pub version: Option<VersionFile>,
    /// The process that holds `in_use.lock`.
    pub holder: Option<u32>,
    /// Images: transaction, bytes, and whether the md5 file is there.
    pub images: Vec<(u64, u64, bool)>,
    /// Segments of edits: first and last transaction; no last one while it is written.
    pub segments: Vec<(u64, Option<u64>)>,
    /// `seen_txid`
    pub seen_txid: Option<u64>,
}

/// What the daemons answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    pub namenodes: Vec<NameNodeAnswer>,
    pub journalnodes: Vec<JournalNodeAnswer>,
    pub datanodes: Vec<DataNodeAnswer>,
    /// Controllers: address, and why it does not answer.
    pub controllers: Vec<(String, Option<String>)>,
    /// Servers of ZooKeeper: address, and why it can't be reached.
    pub zookeepers: Vec<(String, Option<String>)>,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// The beans of `/jmx`.
#[derive(Clone, Debug, Default)]
pub(super) struct Beans(pub Vec<Value>);

impl Beans {
    /// An attribute of the bean `Hadoop:service=...,name=NAME`.
    pub fn get(&self, name: &str, attribute: &str) -> Option<&Value> {
        self.find(name)?.get(attribute).filter(|value| !value.is_null())
    }

    /// The bean of this name.
    pub fn find(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|bean| name_of(bean) == Some(name))
    }

    /// The beans whose name begins with this, and the rest of their names.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let each = move |bean: &'a Value| Some((name_of(bean)?.strip_prefix(prefix)?, bean));
        self.0.iter().filter_map(each)
    }

    pub fn number(&self, name: &str, attribute: &str) -> Option<u64> {
        self.get(name, attribute)?.as_u64()
    }

    pub fn text(&self, name: &str, attribute: &str) -> Option<&str> {
        self.get(name, attribute)?.as_str()
    }

    /// An attribute whose text is JSON once more, as Hadoop has it.
    pub fn json(&self, name: &str, attribute: &str) -> Option<Value> {
        serde_json::from_str(self.text(name, attribute)?).ok()
    }
}

fn name_of(bean: &Value) -> Option<&str> {
    Some(bean.get("name")?.as_str()?.split_once(",name=")?.1)
}

/// What a daemon's web server told.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// `host:port`
    pub address: String,
    /// `/jmx`, or why there is none.
    pub beans: Result<Beans, String>,
    /// How far its clock is ahead of this machine's, at least and at most, in milliseconds.
    pub clock_ahead_ms: Option<(i64, i64)>,
}

impl Default for Page {
    fn default() -> Page {
        Page {
            address: String::new(),
            beans: Ok(Beans::default()),
            clock_ahead_ms: None,
        }
    }
}

impl Page {
    /// The beans, none if there is no answer.
    pub fn known(&self) -> Beans {
        self.beans.clone().unwrap_or_default()
    }
}

/// Answers of a NameNode.
#[derive(Clone, Debug, Default)]
pub(super) struct NameNodeAnswer {
    pub namenode: NameNode,
    /// `HAServiceProtocol.getServiceStatus`: its state, or why there is no answer. `None` where it has no HA state.
    pub state: Option<Result<String, String>>,
    pub page: Page,
    /// `/conf`
    pub settings: Option<Configuration>,
}

impl NameNodeAnswer {
    pub fn is_active(&self) -> bool {
        match &self.state {
            Some(state) => state.as_deref() == Ok("active"),
            None => self.page.beans.is_ok(),
        }
    }
}

/// Answers of a JournalNode.
#[derive(Clone, Debug, Default)]
pub(super) struct JournalNodeAnswer {
    /// `host:port` of its calls.
    pub address: String,
    pub journal_id: String,
    /// `getJournalState`: that it answered, or the exception, or why there is no answer.
    pub state: JournalState,
    /// `None` if it was not asked, as it does not answer calls.
    pub page: Option<Page>,
    /// The journal's members by its own record, once they were changed.
    pub members: Option<Vec<String>>,
}

/// What `getJournalState` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum JournalState {
    #[default]
    Answered,
    NotFormatted,
    Refused(String),
    Silent(String),
}

/// Answers of a DataNode.
#[derive(Clone, Debug, Default)]
pub(super) struct DataNodeAnswer {
    /// As the NameNode calls it.
    pub name: String,
    pub page: Page,
}

impl Facts {
    /// Of a configuration alone.
    pub fn of(dir: &Path, conf: Configuration) -> Facts {
        Facts {
            namenodes: namenodes(&conf),
            dir: dir.to_owned(),
            dir_problem: None,
            missing_files: Vec::new(),
            broken_file: None,
            conf,
            refusals: Vec::new(),
            hosts: BTreeMap::new(),
            machine: Machine::default(),
            directories: Vec::new(),
            named_files: Vec::new(),
            running: None,
        }
    }

    /// Where there are no settings to look at.
    pub fn without_configuration(dir: &Path) -> Facts {
        Facts::of(dir, Configuration::new(Environment::default()))
    }

    /// Whether the settings could be read.
    pub fn is_configured(&self) -> bool {
        self.dir_problem.is_none() && self.broken_file.is_none()
    }

    /// Key and file, as findings name a setting.
    pub fn setting(&self, key: &str) -> String {
        format!("{key} ({})", self.conf.origin(key))
    }

    /// The journals of JournalNodes, each once.
    pub fn journals(&self) -> Vec<(Vec<HostPort>, String)> {
        let mut journals = Vec::new();
        for namenode in &self.namenodes {
            if let Some(JournalUri::Quorum {
                journal_nodes,
                journal_id,
            }) = &namenode.journal
            {
                let journal = (journal_nodes.clone(), journal_id.clone());
                if !journals.contains(&journal) {
                    journals.push(journal);
                }
            }
        }
        journals
    }

    /// The NameNodes that share a nameservice, by its name. Only nameservices with high availability are there.
    pub fn ha_nameservices(&self) -> BTreeMap<&str, Vec<&NameNode>> {
        let mut services: BTreeMap<&str, Vec<&NameNode>> = BTreeMap::new();
        for namenode in self.namenodes.iter().filter(|namenode| namenode.id.is_some()) {
            if let Some(nameservice) = &namenode.nameservice {
                services.entry(nameservice).or_default().push(namenode);
            }
        }
        services
    }

    /// What daemons answered; nothing if they were not asked.
    pub fn answers(&self) -> Running {
        self.running.clone().unwrap_or_default()
    }
}

/// The NameNodes of a configuration.
fn namenodes(conf: &Configuration) -> Vec<NameNode> {
    let mut all = Vec::new();
    for nameservice in conf.nameservices() {
        let ids = conf.namenode_ids(&nameservice);
        match ids.is_empty() {
            true => all.push(namenode(conf, Some(&nameservice), None)),
            false => all.extend(ids.iter().map(|id| namenode(conf, Some(&nameservice), Some(id)))),
        }
    }
    let default = conf.default_fs();
    if all.is_empty() && default.scheme == "hdfs" && !default.authority.is_empty() {
        all.push(namenode(conf, None, None));
    }
    all
}

/// Default port of a controller (`DFS_HA_ZKFC_PORT_DEFAULT`).
const CONTROLLER_PORT: u32 = 8019;

fn namenode(conf: &Configuration, nameservice: Option<&str>, id: Option<&str>) -> NameNode {
    let rpc = conf.rpc_address(nameservice, id).ok();
    let automatic = conf.scoped_key("dfs.ha.automatic-failover.enabled", nameservice, None);
    let port = conf.scoped_key("dfs.ha.zkfc.port", nameservice, id);
    let port = conf
        .get_u32(&port, CONTROLLER_PORT)
        .ok()
        .and_then(|port| u16::try_from(port).ok());
    let controller = match (&rpc, port) {
        (Some(rpc), Some(port)) if id.is_some() && conf.get_bool(&automatic, false) => {
            let host = rpc.host.clone();
            Some(HostPort { host, port })
        }
        _ => None,
    };
    let service = conf.service_rpc_address(nameservice, id).ok().flatten();
    let lifeline = conf.lifeline_rpc_address(nameservice, id).ok().flatten();
    let others = [
        ("dfs.namenode.servicerpc-address", service),
        ("dfs.namenode.lifeline.rpc-address", lifeline),
    ];
    NameNode {
        http: conf.http_address(nameservice, id).ok(),
        others: others
            .into_iter()
            .filter_map(|(key, address)| Some((key, address?)))
            .collect(),
        journal: conf.shared_edits(nameservice, id).ok().flatten(),
        nameservice: nameservice.map(str::to_owned),
        id: id.map(str::to_owned),
        controller,
        rpc,
    }
}
