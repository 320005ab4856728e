//! The journals of one JournalNode, and their configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use hathi_conf::{ConfError, Configuration, HostPort, JournalUri};
use hathi_formats::exceptions::{ILLEGAL_ARGUMENT, IO, RemoteException};
use hathi_journal::AcceptorOptions;
use hathi_net::clock::BootClock;
use hathi_net::http::jmx::{Bean, process_bean, rpc_beans};
use hathi_net::ipc::RpcMeter;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;

use crate::journal::{Fetch, Journal};
use crate::room::{self, Room};

/// Largest number of open journals. Each has a thread.
const MAX_JOURNALS: usize = 256;
/// Longest journal id, which is the name of a directory.
const MAX_ID_BYTES: usize = 255;
/// Memory for recent edits of a journal. Hadoop takes half of its heap.
const DEFAULT_CACHE_BYTES: i64 = 64 << 20;
/// The version for Hadoop's tools.
const VERSION: &str = concat!("3.5.0, hathi ", env!("CARGO_PKG_VERSION"));

/// Why a JournalNode does not start.
#[derive(Debug, thiserror::Error)]
pub enum JournalNodeError {
    /// The configuration is not valid.
    #[error(transparent)]
    Conf(#[from] ConfError),
    /// A value of the configuration is not valid.
    #[error("{key}: {problem}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A socket, directory or thread could not be opened.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The error of the system.
        source: io::Error,
    },
}

/// The addresses of the servers, once they listen.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Address of `dfs.journalnode.rpc-address`.
    pub rpc: SocketAddr,
    /// Address of `dfs.journalnode.http-address`.
    pub http: SocketAddr,
}

/// A journal that NameNodes of this configuration share.
#[derive(Clone, Debug)]
pub struct SharedJournal {
    /// All its JournalNodes.
    pub members: Vec<HostPort>,
    /// The nameservice whose key named it, if one did.
    pub name_service: Option<String>,
}

/// The journals of this JournalNode. Each is opened when it is first named.
#[derive(Debug)]
pub struct Journals {
    conf: Configuration,
    cache_bytes: usize,
    directory_mode: u32,
    max_lease_ms: u32,
    lock_holder: String,
    clock: BootClock,
    started_ms: u64,
    addresses: OnceLock<Addresses>,
    rpc_meter: OnceLock<RpcMeter>,
    fetches: mpsc::UnboundedSender<Fetch>,
    /// What the configuration says of shared journals, by id.
    pub shared: BTreeMap<String, SharedJournal>,
    /// Held only to look a journal up, or to start its thread.
    open: Mutex<BTreeMap<String, Arc<Journal>>>,
}

impl Journals {
    /// The journals of a configuration. Segments that recoveries need are requested over `fetches`.
    pub fn new(conf: Configuration, fetches: mpsc::UnboundedSender<Fetch>) -> Result<Journals, JournalNodeError> {
        let value = |key: &str, problem: String| JournalNodeError::Value {
            key: key.to_owned(),
            problem,
        };
        let cache_key = "dfs.journalnode.edit-cache-size.bytes";
        let cache_bytes = conf.get_bytes(cache_key, DEFAULT_CACHE_BYTES)?;
        let mode_key = "dfs.journalnode.edits.dir.perm";
        let mode = conf.get_or(mode_key, "700");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Journals {
            cache_bytes: usize::try_from(cache_bytes).map_err(|error| value(cache_key, error.to_string()))?,
            directory_mode: u32::from_str_radix(&mode, 8)
                .map_err(|error| value(mode_key, format!("{mode}: {error}")))?,
            max_lease_ms: conf.get_u32("hathi.lease.max.ms", 2000)?,
            lock_holder: format!("{}@{}", std::process::id(), host_name()),
            clock: BootClock::start(),
            started_ms: u64::try_from(now.as_millis()).unwrap_or(0),
            addresses: OnceLock::new(),
            rpc_meter: OnceLock::new(),
            fetches,
            shared: shared_journals(&conf)?,
            open: Mutex::default(),
            conf,
        })
    }

    /// Calls are served at these addresses from now on.
    pub fn serve(&self, addresses: Addresses, rpc_meter: RpcMeter) {
        let _ = self.addresses.set(addresses);
        let _ = self.rpc_meter.set(rpc_meter);
    }

    /// Reads the counters of the RPC server, once it listens.
    pub fn rpc_meter(&self) -> Option<&RpcMeter> {
        self.rpc_meter.get()
    }

    /// The configuration.
    pub fn conf(&self) -> &Configuration {
        &self.conf
    }

    /// The address of the RPC server, once it listens.
    pub fn rpc_address(&self) -> Option<SocketAddr> {
        self.addresses.get().map(|addresses| addresses.rpc)
    }

    fn dir(&self, journal_id: &str, name_service: Option<&str>) -> Result<PathBuf, ConfError> {
        let known = || self.shared.get(journal_id)?.name_service.as_deref();
        self.conf.journalnode_edits_dir(name_service.or_else(known))
    }

    /// Whether a journal is open, named in the configuration, or has a directory. Other journals are opened only for
    /// callers that may write them, because each takes a thread and one of few places.
    pub fn is_known(&self, journal_id: &str, name_service: Option<&str>) -> bool {
        self.shared.contains_key(journal_id)
            || self.open.lock().contains_key(journal_id)
            || (is_name(journal_id)
                && self
                    .dir(journal_id, name_service)
                    .is_ok_and(|dir| dir.join(journal_id).is_dir()))
    }

    /// A journal, opened if it is not yet. Does not wait for the disk.
    pub fn get(&self, journal_id: &str, name_service: Option<&str>) -> Result<Arc<Journal>, RemoteException> {
        let mut open = self.open.lock();
        if let Some(journal) = open.get(journal_id) {
            return Ok(journal.clone());
        }
        if !is_name(journal_id) {
            let shown: String = journal_id.chars().take(MAX_ID_BYTES).collect();
            return Err(RemoteException::new(
                ILLEGAL_ARGUMENT,
                format!("bad journal identifier: {shown}"),
            ));
        }
        if open.len() >= MAX_JOURNALS {
            return Err(RemoteException::new(
                IO,
                format!("this JournalNode has {MAX_JOURNALS} journals already"),
            ));
        }
        let Some(addresses) = self.addresses.get() else {
            return Err(RemoteException::new(IO, "the JournalNode is starting"));
        };
        let dir = self
            .dir(journal_id, name_service)
            .map_err(|error| RemoteException::new(IO, error.to_string()))?;
        let options = AcceptorOptions {
            http_port: addresses.http.port(),
            from_url: Some(format!("http://{}", addresses.http)),
            lock_holder: self.lock_holder.clone(),
            cache_bytes: self.cache_bytes,
            max_lease_ms: self.max_lease_ms,
            directory_mode: self.directory_mode,
            ..AcceptorOptions::new(journal_id)
        };
        let journal = Journal::start(dir.join(journal_id), options, self.clock, self.fetches.clone())
            .map_err(|error| RemoteException::new(IO, format!("no thread for the journal: {error}")))?;
        open.insert(journal_id.to_owned(), journal.clone());
        Ok(journal)
    }

    /// The journals that were named since the start.
    pub fn all(&self) -> Vec<Arc<Journal>> {
        self.open.lock().values().cloned().collect()
    }

    /// The directories that hold journals.
    pub fn dirs(&self) -> BTreeSet<PathBuf> {
        let services = self.shared.values().map(|shared| shared.name_service.as_deref());
        [None]
            .into_iter()
            .chain(services)
            .filter_map(|service| self.conf.journalnode_edits_dir(service).ok())
            .collect()
    }

    /// The beans of `/jmx`.
    pub fn beans(&self) -> Vec<Bean> {
        let journals = self.all();
        let mut status = serde_json::Map::new();
        let (mut clusters, mut storages) = (BTreeSet::new(), Vec::new());
        for journal in &journals {
            let info = journal
                .with_acceptor(|acceptor| acceptor.namespace_info().cloned())
                .ok()
                .flatten();
            status.insert(journal.id().into(), json!({"Formatted": info.is_some().to_string()}));
            if let Some(info) = info {
                storages.push(format!(
                    "layoutVersion: {}, namespaceID: {}, clusterID: {}, cTime: {}",
                    info.layout_version, info.namespace_id, info.cluster_id, info.ctime
                ));
                clusters.insert(info.cluster_id);
            }
        }
        // A journal with a directory that nobody has asked for counts as formatted, as in Hadoop.
        for dir in self.dirs() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.path().is_dir() {
                    status.entry(name).or_insert_with(|| json!({"Formatted": "true"}));
                }
            }
        }
        let address = self
            .rpc_address()
            .map_or_else(String::new, |address| address.to_string());
        let rooms: Vec<serde_json::Value> = room::of(self.dirs()).iter().map(Room::to_json).collect();
        let mut beans = vec![Bean::new(
            "JournalNode",
            "JournalNodeInfo",
            "org.apache.hadoop.hdfs.qjournal.server.JournalNode",
            json!({
                "JournalsStatus": serde_json::Value::Object(status).to_string(),
                "HostAndPort": address,
                "ClusterIds": clusters,
                "Version": VERSION,
                "JNStartedTimeInMillis": self.started_ms,
                "StorageInfos": storages,
                "Directories": rooms,
            }),
        )];
        if let Some(meter) = self.rpc_meter() {
            beans.extend(rpc_beans("JournalNode", meter));
        }
        beans.push(process_bean("JournalNode"));
        for journal in &journals {
            if let Ok(attributes) = journal.attributes() {
                let name = format!("Journal-{}", journal.id());
                beans.push(Bean::new("JournalNode", &name, &name, attributes));
            }
        }
        beans
    }
}

/// Whether a journal's id can be the name of its directory.
pub(crate) fn is_name(journal_id: &str) -> bool {
    !journal_id.is_empty()
        && !journal_id.starts_with('.')
        && !journal_id.contains(['/', '\0'])
        && journal_id.len() <= MAX_ID_BYTES
}

/// All `qjournal://` URIs of `dfs.namenode.shared.edits.dir`, whatever its suffix.
fn shared_journals(conf: &Configuration) -> Result<BTreeMap<String, SharedJournal>, JournalNodeError> {
    const KEY: &str = "dfs.namenode.shared.edits.dir";
    let services = conf.nameservices();
    let mut shared = BTreeMap::new();
    for (key, value, _) in conf.iter() {
        let Some(suffix) = key.strip_prefix(KEY) else {
            continue;
        };
        let value = value.trim();
        if !value.starts_with("qjournal:") {
            continue;
        }
        let uri = JournalUri::parse(value).map_err(|problem| JournalNodeError::Value {
            key: key.to_owned(),
            problem,
        })?;
        if let JournalUri::Quorum {
            journal_nodes,
            journal_id,
        } = uri
        {
            let named = suffix.trim_start_matches('.');
            let of = services.iter().find(|service| {
                named == *service
                    || named
                        .strip_prefix(service.as_str())
                        .is_some_and(|rest| rest.starts_with('.'))
            });
            shared.entry(journal_id).or_insert(SharedJournal {
                members: journal_nodes,
                name_service: of.cloned(),
            });
        }
    }
    Ok(shared)
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}
