//! What a peer finds out about a cluster before the attack: ports, ids, and files of its own.

use super::{Port, PortKind};
use crate::{Cluster, ClusterOptions, Role};
use anyhow::{Context, Result};
use hathi_client::{CreateOptions, FileSystem};
use hathi_conf::Configuration;
use hathi_formats::proto::hdfs::{ExtendedBlockProto, GetBlockLocationsRequestProto, GetBlockLocationsResponseProto};
use hathi_net::ipc::Idempotence;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Number of files that inputs may read.
const OWN_FILES: usize = 4;
const OWN_FILE_BYTES: usize = 100_000;
/// How long an image may take to be made.
const IMAGE_PATIENCE: Duration = Duration::from_secs(60);
/// The nameservice of a quickstart.
const NAMESERVICE: &str = "hathi";

/// Facts about a cluster. The module says more.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) nameservice: String,
    pub(super) block_pool: String,
    pub(super) cluster_id: String,
    pub(super) namespace_id: u64,
    pub(super) ctime: u64,
    /// Storage info in the form of the addresses of images and edits.
    pub(super) storage_info: String,
    /// The user that the daemons run as.
    pub(super) superuser: String,
    pub(super) own_files: Vec<String>,
    pub(super) own_blocks: Vec<ExtendedBlockProto>,
    pub(super) transfer_ports: Vec<u16>,
    pub(super) image: Vec<u8>,
    pub(super) image_txid: u64,
}

impl Facts {
    /// Collects the facts of a fresh cluster.
    pub(super) async fn gather(cluster: &Cluster, ports: &[Port]) -> Result<Facts> {
        let name = cluster.data_dir(Role::NameNode, 0);
        let path = name.join("current/VERSION");
        let version = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let of = |key: &str| {
            let mut lines = version.lines().filter_map(|line| line.split_once('='));
            let value = lines.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned());
            value.with_context(|| format!("{}: no {key}", path.display()))
        };
        let (cluster_id, namespace_id, ctime) = (of("clusterID")?, of("namespaceID")?, of("cTime")?);
        let conf = Configuration::load(&cluster.conf())?;
        let (own_files, own_blocks) = make_files(&conf).await?;
        let mut facts = Facts {
            nameservice: NAMESERVICE.to_owned(),
            block_pool: of("blockpoolID")?,
            storage_info: format!("{}:{namespace_id}:{ctime}:{cluster_id}", of("layoutVersion")?),
            namespace_id: namespace_id.parse()?,
            ctime: ctime.parse()?,
            cluster_id,
            superuser: super::superuser(),
            own_files,
            own_blocks,
            transfer_ports: ports
                .iter()
                .filter(|port| port.kind == PortKind::DataTransfer)
                .map(|port| port.address.port())
                .collect(),
            image: Vec::new(),
            image_txid: 0,
        };
        facts.find_image(&name.join("current"))?;
        Ok(facts)
    }

    fn find_image(&mut self, dir: &Path) -> Result<()> {
        let newest = || {
            let names = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
            names
                .filter_map(|path| {
                    let txid = path
                        .file_name()?
                        .to_str()?
                        .strip_prefix("fsimage_")?
                        .parse::<u64>()
                        .ok()?;
                    Some((txid, path))
                })
                .max()
        };
        let (txid, path) = crate::wait_for("an image", IMAGE_PATIENCE, newest);
        self.image = std::fs::read(path)?;
        self.image_txid = txid;
        Ok(())
    }
}

async fn make_files(conf: &Configuration) -> Result<(Vec<String>, Vec<ExtendedBlockProto>)> {
    let fs = FileSystem::new(conf, "", "mallory")?;
    let (mut files, mut blocks) = (Vec::new(), Vec::new());
    for number in 0..OWN_FILES {
        let path = format!("/mallory/file-{number}");
        let mut file = fs.create(&path, &CreateOptions::default()).await?;
        file.write(&vec![number as u8; OWN_FILE_BYTES]).await?;
        file.close().await?;
        let request = GetBlockLocationsRequestProto {
            src: path.clone(),
            offset: 0,
            length: u64::MAX >> 1,
        };
        let call = fs.call("getBlockLocations", &request, Idempotence::Idempotent);
        let answer: GetBlockLocationsResponseProto = call.await?;
        let located = answer.locations.context("no locations")?;
        blocks.extend(located.blocks.into_iter().map(|block| block.b));
        files.push(path);
    }
    Ok((files, blocks))
}

/// Every port of a quickstart.
pub(super) fn ports(cluster: &Cluster, options: ClusterOptions) -> Result<Vec<Port>> {
    let mut ports = Vec::new();
    let mut add = |role, index, kinds: &[(PortKind, String)]| -> Result<()> {
        let conf = Configuration::load(&cluster.daemon_conf(role, index))?;
        for (kind, key) in kinds {
            let value = conf.get(key).with_context(|| key.clone())?;
            let address = if value.contains(':') {
                value
            } else {
                format!("127.0.0.1:{value}")
            };
            let address: SocketAddr = address.parse().with_context(|| address.clone())?;
            ports.push(Port { kind: *kind, address });
        }
        Ok(())
    };
    for index in 0..options.namenodes {
        let of = |key: &str| format!("{key}.{NAMESERVICE}.nn{index}");
        let rpc = (PortKind::NameNodeRpc, of("dfs.namenode.rpc-address"));
        let http = (PortKind::NameNodeHttp, of("dfs.namenode.http-address"));
        add(Role::NameNode, index, &[rpc, http])?;
        add(Role::Zkfc, index, &[(PortKind::ZkfcRpc, of("dfs.ha.zkfc.port"))])?;
    }
    for index in 0..options.journalnodes {
        let rpc = (PortKind::JournalNodeRpc, "dfs.journalnode.rpc-address".to_owned());
        let http = (PortKind::JournalNodeHttp, "dfs.journalnode.http-address".to_owned());
        add(Role::JournalNode, index, &[rpc, http])?;
    }
    for index in 0..options.datanodes {
        let transfer = (PortKind::DataTransfer, "dfs.datanode.address".to_owned());
        let ipc = (PortKind::DataNodeRpc, "dfs.datanode.ipc.address".to_owned());
        let http = (PortKind::DataNodeHttp, "dfs.datanode.http.address".to_owned());
        add(Role::DataNode, index, &[transfer, ipc, http])?;
    }
    Ok(ports)
}
