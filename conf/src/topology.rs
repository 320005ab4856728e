//! Nameservices, their NameNodes and journals, and who this process is among them (`DFSUtil`, `HAUtil`, `NameNode`).

use std::path::PathBuf;

use super::address::parse_path;
use super::{ConfError, Configuration, DefaultFs, HostPort, JournalUri, StorageLocation, split_list};

/// The client port of a NameNode that names none (`DFS_NAMENODE_RPC_PORT_DEFAULT`).
const NAMENODE_RPC_PORT: u16 = 8020;

/// Keys whose values with a suffix are copied over the plain key at start (`NameNode.NAMENODE_SPECIFIC_KEYS`,
/// `NAMESERVICE_SPECIFIC_KEYS`, and those of the failover controller).
pub(super) const SPECIFIC_KEYS: &[&str] = &[
    "dfs.namenode.rpc-address",
    "dfs.namenode.rpc-bind-host",
    "dfs.namenode.name.dir",
    "dfs.namenode.edits.dir",
    "dfs.namenode.shared.edits.dir",
    "dfs.namenode.checkpoint.dir",
    "dfs.namenode.checkpoint.edits.dir",
    "dfs.namenode.lifeline.rpc-address",
    "dfs.namenode.lifeline.rpc-bind-host",
    "dfs.namenode.servicerpc-address",
    "dfs.namenode.servicerpc-bind-host",
    "dfs.namenode.http-address",
    "dfs.namenode.https-address",
    "dfs.namenode.http-bind-host",
    "dfs.namenode.https-bind-host",
    "dfs.namenode.keytab.file",
    "dfs.namenode.secondary.http-address",
    "dfs.namenode.secondary.https-address",
    "dfs.secondary.namenode.keytab.file",
    "dfs.namenode.kerberos.principal",
    "dfs.namenode.kerberos.internal.spnego.principal",
    "dfs.ha.fencing.methods",
    "dfs.ha.zkfc.port",
    "hathi.zkfc.http-address",
    "dfs.ha.automatic-failover.enabled",
    "ha.zookeeper.quorum",
    "ha.zookeeper.session-timeout.ms",
    "ha.zookeeper.parent-znode",
    "ha.zookeeper.acl",
    "ha.zookeeper.auth",
    "dfs.journalnode.edits.dir",
];

/// Which NameNode of which nameservice a process is. Both are `None` without nameservices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameNodeIdentity {
    /// `dfs.nameservice.id`.
    pub nameservice: Option<String>,
    /// `dfs.ha.namenode.id`.
    pub namenode: Option<String>,
}

impl Configuration {
    /// The key that applies to a NameNode: `key.ns.nn`, else `key.ns`, else `key`.
    #[must_use]
    pub fn scoped_key(&self, key: &str, nameservice: Option<&str>, namenode: Option<&str>) -> String {
        if let Some(nameservice) = nameservice {
            let per_nameservice = format!("{key}.{nameservice}");
            if let Some(namenode) = namenode {
                let per_namenode = format!("{per_nameservice}.{namenode}");
                if self.get(&per_namenode).is_some() {
                    return per_namenode;
                }
            }
            if self.get(&per_nameservice).is_some() {
                return per_nameservice;
            }
        }
        key.to_owned()
    }

    /// The value that applies to a NameNode: of `key.ns.nn`, else `key.ns`, else `key`.
    #[must_use]
    pub fn get_scoped(&self, key: &str, nameservice: Option<&str>, namenode: Option<&str>) -> Option<String> {
        self.get(&self.scoped_key(key, nameservice, namenode))
    }

    /// This configuration as one NameNode (and its failover controller) reads it: suffixed values copied over the
    /// plain keys, both ids set, and `fs.defaultFS` its own address (`NameNode.initializeGenericKeys`).
    #[must_use]
    pub fn for_namenode(&self, identity: &NameNodeIdentity) -> Configuration {
        let mut conf = self.clone();
        let nameservice = identity.nameservice.as_deref();
        let namenode = identity.namenode.as_deref();
        for key in SPECIFIC_KEYS {
            let scoped = self.scoped_key(key, nameservice, namenode);
            if scoped != *key
                && let Some(entry) = self.entries.get(&scoped)
            {
                conf.entries.insert((*key).to_owned(), entry.clone());
            }
        }
        if let Some(nameservice) = nameservice {
            conf.set("dfs.nameservice.id", nameservice);
        }
        if let Some(namenode) = namenode {
            conf.set("dfs.ha.namenode.id", namenode);
        }
        if let Some(address) = conf.get("dfs.namenode.rpc-address") {
            conf.set("fs.defaultFS", format!("hdfs://{address}"));
        }
        conf
    }

    /// `dfs.nameservices`.
    #[must_use]
    pub fn nameservices(&self) -> Vec<String> {
        self.get_list("dfs.nameservices")
    }

    /// The nameservices a DataNode registers with: `dfs.internal.nameservices`, else all.
    #[must_use]
    pub fn internal_nameservices(&self) -> Vec<String> {
        let internal = self.get_list("dfs.internal.nameservices");
        if internal.is_empty() {
            self.nameservices()
        } else {
            internal
        }
    }

    /// `dfs.ha.namenodes.<nameservice>`; empty without high availability.
    #[must_use]
    pub fn namenode_ids(&self, nameservice: &str) -> Vec<String> {
        self.get_list(&format!("dfs.ha.namenodes.{nameservice}"))
    }

    /// Whether a nameservice has several NameNodes with addresses (`HAUtil.isHAEnabled`).
    #[must_use]
    pub fn is_ha(&self, nameservice: &str) -> bool {
        let with_address = self
            .namenode_ids(nameservice)
            .iter()
            .filter(|id| {
                self.get(&format!("dfs.namenode.rpc-address.{nameservice}.{id}"))
                    .is_some()
            })
            .count();
        with_address > 1
    }

    /// The address under a key as set for a NameNode; `None` if unset.
    pub fn scoped_address(
        &self,
        key: &str,
        nameservice: Option<&str>,
        namenode: Option<&str>,
        default_port: Option<u16>,
    ) -> Result<Option<HostPort>, ConfError> {
        let key = self.scoped_key(key, nameservice, namenode);
        let Some(value) = self.get(&key) else {
            return Ok(None);
        };
        match HostPort::parse(&value, default_port) {
            Ok(address) => Ok(Some(address)),
            Err(problem) => Err(self.value_error(&key, value, problem)),
        }
    }

    /// The address under a plain key, for example `dfs.journalnode.rpc-address`.
    pub fn address(&self, key: &str, default_port: Option<u16>) -> Result<Option<HostPort>, ConfError> {
        self.scoped_address(key, None, None, default_port)
    }

    /// The client address of a NameNode: `dfs.namenode.rpc-address`, else `fs.defaultFS` where that names a host.
    pub fn rpc_address(&self, nameservice: Option<&str>, namenode: Option<&str>) -> Result<HostPort, ConfError> {
        let key = "dfs.namenode.rpc-address";
        if let Some(address) = self.scoped_address(key, nameservice, namenode, Some(NAMENODE_RPC_PORT))? {
            return Ok(address);
        }
        let default_fs = self.default_fs();
        if namenode.is_none() && default_fs.scheme == "hdfs" && !self.nameservices().contains(&default_fs.authority) {
            return HostPort::parse(&default_fs.authority, Some(NAMENODE_RPC_PORT))
                .map_err(|problem| self.value_error("fs.defaultFS", self.get_or("fs.defaultFS", ""), problem));
        }
        let suffix: String = [nameservice, namenode]
            .iter()
            .flatten()
            .flat_map(|part| [".", part])
            .collect();
        Err(ConfError::Missing {
            key: format!("{key}{suffix}"),
            needed_for: "the NameNode's address".to_owned(),
        })
    }

    /// `dfs.namenode.servicerpc-address` of a NameNode, for DataNodes, failover controllers and administration.
    pub fn service_rpc_address(
        &self,
        nameservice: Option<&str>,
        namenode: Option<&str>,
    ) -> Result<Option<HostPort>, ConfError> {
        self.scoped_address(
            "dfs.namenode.servicerpc-address",
            nameservice,
            namenode,
            Some(NAMENODE_RPC_PORT),
        )
    }

    /// The address for DataNodes and controllers: the service address, else the client address.
    pub fn service_or_rpc_address(
        &self,
        nameservice: Option<&str>,
        namenode: Option<&str>,
    ) -> Result<HostPort, ConfError> {
        match self.service_rpc_address(nameservice, namenode)? {
            Some(address) => Ok(address),
            None => self.rpc_address(nameservice, namenode),
        }
    }

    /// `dfs.namenode.lifeline.rpc-address` of a NameNode.
    pub fn lifeline_rpc_address(
        &self,
        nameservice: Option<&str>,
        namenode: Option<&str>,
    ) -> Result<Option<HostPort>, ConfError> {
        self.scoped_address("dfs.namenode.lifeline.rpc-address", nameservice, namenode, None)
    }

    /// The web address of a NameNode. A host of 0.0.0.0 is replaced by that of its RPC address, so that peers can
    /// call it (`DFSUtil.substituteForWildcardAddress`).
    pub fn http_address(&self, nameservice: Option<&str>, namenode: Option<&str>) -> Result<HostPort, ConfError> {
        let key = "dfs.namenode.http-address";
        let mut address = self
            .scoped_address(key, nameservice, namenode, Some(9870))?
            .unwrap_or_else(|| HostPort {
                host: "0.0.0.0".to_owned(),
                port: 9870,
            });
        if address.host == "0.0.0.0" || address.host == "::" {
            address.host = self.rpc_address(nameservice, namenode)?.host;
        }
        Ok(address)
    }

    /// The web address of the failover controller of a NameNode, if it has one (`hathi.zkfc.http-address`). A host that
    /// means all addresses is replaced by that of the NameNode's RPC address, so that others can call it.
    pub fn controller_http_address(&self, nameservice: &str, namenode: &str) -> Result<Option<HostPort>, ConfError> {
        let (nameservice, namenode) = (Some(nameservice), Some(namenode));
        let address = self.scoped_address("hathi.zkfc.http-address", nameservice, namenode, None)?;
        let Some(mut address) = address else { return Ok(None) };
        if address.host == "0.0.0.0" || address.host == "::" {
            address.host = self.rpc_address(nameservice, namenode)?.host;
        }
        Ok(Some(address))
    }

    /// The identity of this process: by `dfs.nameservice.id` and `dfs.ha.namenode.id`, else by the only nameservice.
    /// Else it is the NameNode whose RPC address is local, which the caller finds out (`DFSUtil.getSuffixIDs`).
    pub fn who_am_i(&self, mut is_local: impl FnMut(&HostPort) -> bool) -> Result<NameNodeIdentity, ConfError> {
        let all = self.nameservices();
        if all.is_empty() {
            return Ok(NameNodeIdentity::default());
        }
        let given_nameservice = self.get("dfs.nameservice.id");
        let given_namenode = self.get("dfs.ha.namenode.id");
        let candidates = match &given_nameservice {
            Some(nameservice) => vec![nameservice.clone()],
            None => all,
        };
        let single = candidates.len() == 1;
        let mut found: Vec<NameNodeIdentity> = Vec::new();
        for nameservice in candidates {
            let ids = self.namenode_ids(&nameservice);
            if ids.is_empty() {
                if single || is_local(&self.rpc_address(Some(&nameservice), None)?) {
                    found.push(NameNodeIdentity {
                        nameservice: Some(nameservice),
                        namenode: None,
                    });
                }
                continue;
            }
            for id in ids {
                let this_one = match &given_namenode {
                    Some(given) => {
                        *given == id && (single || is_local(&self.rpc_address(Some(&nameservice), Some(&id))?))
                    }
                    None => is_local(&self.rpc_address(Some(&nameservice), Some(&id))?),
                };
                if this_one {
                    found.push(NameNodeIdentity {
                        nameservice: Some(nameservice.clone()),
                        namenode: Some(id),
                    });
                }
            }
        }
        if found.len() > 1 {
            return Err(ConfError::Missing {
                key: "dfs.nameservice.id and dfs.ha.namenode.id".to_owned(),
                needed_for: format!("{} NameNodes of the configuration have a local address", found.len()),
            });
        }
        found.pop().ok_or_else(|| ConfError::Missing {
            key: "dfs.nameservice.id and dfs.ha.namenode.id".to_owned(),
            needed_for: "no NameNode of the configuration has a local address or this id".to_owned(),
        })
    }

    /// `fs.defaultFS` taken apart.
    #[must_use]
    pub fn default_fs(&self) -> DefaultFs {
        DefaultFs::parse(&self.get_or("fs.defaultFS", "file:///"))
    }

    fn parsed_list<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, ConfError> {
        let value = self.get_or(key, "");
        split_list(&value)
            .iter()
            .map(|element| parse(element).map_err(|problem| self.value_error(key, element.clone(), problem)))
            .collect()
    }

    /// `dfs.namenode.shared.edits.dir` for a NameNode; `None` without high availability.
    pub fn shared_edits(
        &self,
        nameservice: Option<&str>,
        namenode: Option<&str>,
    ) -> Result<Option<JournalUri>, ConfError> {
        let key = self.scoped_key("dfs.namenode.shared.edits.dir", nameservice, namenode);
        let mut journals = self.parsed_list(&key, JournalUri::parse)?;
        if journals.len() > 1 {
            let problem = "more than one shared edits directory".to_owned();
            return Err(self.value_error(&key, self.get_or(&key, ""), problem));
        }
        Ok(journals.pop())
    }

    /// `dfs.namenode.name.dir`: where images are kept. Call it on [`Configuration::for_namenode`].
    pub fn name_dirs(&self) -> Result<Vec<PathBuf>, ConfError> {
        self.parsed_list("dfs.namenode.name.dir", parse_path)
    }

    /// `dfs.namenode.edits.dir`, by default the name directories; the shared one is not among them.
    pub fn edits_dirs(&self) -> Result<Vec<PathBuf>, ConfError> {
        let journals = self.parsed_list("dfs.namenode.edits.dir", JournalUri::parse)?;
        let dirs = journals.into_iter().filter_map(|journal| match journal {
            JournalUri::File(path) => Some(path),
            JournalUri::Quorum { .. } => None,
        });
        Ok(dirs.collect())
    }

    /// `dfs.namenode.checkpoint.dir`, a SecondaryNameNode's images.
    pub fn checkpoint_dirs(&self) -> Result<Vec<PathBuf>, ConfError> {
        self.parsed_list("dfs.namenode.checkpoint.dir", parse_path)
    }

    /// `dfs.namenode.checkpoint.edits.dir`, its edits; by default with the images.
    pub fn checkpoint_edits_dirs(&self) -> Result<Vec<PathBuf>, ConfError> {
        self.parsed_list("dfs.namenode.checkpoint.edits.dir", parse_path)
    }

    /// `dfs.datanode.data.dir`.
    pub fn data_dirs(&self) -> Result<Vec<StorageLocation>, ConfError> {
        self.parsed_list("dfs.datanode.data.dir", StorageLocation::parse)
    }

    /// `dfs.journalnode.edits.dir`, one directory. `journal` is the nameservice, whose own setting comes first.
    pub fn journalnode_edits_dir(&self, journal: Option<&str>) -> Result<PathBuf, ConfError> {
        let key = self.scoped_key("dfs.journalnode.edits.dir", journal, None);
        let value = self.get_or(&key, "/tmp/hadoop/dfs/journalnode/");
        parse_path(&value).map_err(|problem| self.value_error(&key, value, problem))
    }
}
