//! `hathi zkfc`: the failover controller beside a NameNode.

use anyhow::{Context, Result, bail};
use hathi_formats::conf::keys::Program;
use hathi_formats::conf::{Configuration, JournalUri};
use hathi_net::auth::{Administrators, Authorizer, Groups, GroupsOptions};
use hathi_net::ipc::ServerOptions;
use hathi_zkfc::ZkfcConfig;
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;

/// `DFS_HA_ZKFC_PORT_DEFAULT`
const PORT: u16 = 8019;

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    super::without_huge_pages();
    let (conf, rest) = super::conf_argument(args)?;
    if let Some(argument) = rest.first() {
        if argument == "-formatZK" {
            // A script that takes success for a parent znode would go on to start controllers of ZooKeeper.
            bail!(
                "-formatZK: the JournalNodes elect (hathi.ha.elector = journal), so nothing in ZooKeeper is used; leave this step out"
            );
        }
        bail!("unknown argument {}", argument.display());
    }
    super::log_to_stderr();
    super::obey(&conf, Program::Zkfc)?;
    let config = config(&conf)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                result = hathi_zkfc::run(config) => result.map(|()| ExitCode::SUCCESS),
                _ = terminate.recv() => Ok(ExitCode::SUCCESS),
            }
        })
}

fn config(conf: &Configuration) -> Result<ZkfcConfig> {
    let elector = conf.get_or("hathi.ha.elector", "journal");
    if elector != "journal" {
        bail!("hathi.ha.elector = '{elector}': only 'journal' is known");
    }
    let identity = conf.who_am_i(|address| TcpListener::bind((address.host.as_str(), 0)).is_ok())?;
    let (Some(nameservice), Some(namenode_id)) = (&identity.nameservice, &identity.namenode) else {
        bail!("dfs.nameservices, dfs.ha.namenodes.*: high availability is not configured");
    };
    let own = conf.for_namenode(&identity);
    let enabled = own.get_bool("dfs.ha.automatic-failover.enabled", false);
    if !enabled {
        bail!("dfs.ha.automatic-failover.enabled is not true for {nameservice}");
    }
    let shared = own.shared_edits(Some(nameservice), Some(namenode_id))?;
    let Some(JournalUri::Quorum {
        journal_nodes,
        journal_id,
    }) = shared
    else {
        bail!("dfs.namenode.shared.edits.dir: the journal elector needs qjournal://");
    };
    let address = |id: &str| conf.service_or_rpc_address(Some(nameservice), Some(id));
    let port = |id: &str| -> Result<u16> {
        let key = conf.scoped_key("dfs.ha.zkfc.port", Some(nameservice), Some(id));
        let port = conf.get_u32(&key, u32::from(PORT))?;
        u16::try_from(port).with_context(|| format!("{key} = {port}"))
    };
    let ids = conf.namenode_ids(nameservice);
    let rank = ids.iter().position(|id| id == namenode_id).unwrap_or(0);
    let mut peers = Vec::new();
    for id in ids.iter().filter(|id| *id != namenode_id) {
        peers.push((id.clone(), format!("{}:{}", address(id)?.host, port(id)?)));
    }
    let own_address = address(namenode_id)?;
    let listen: SocketAddr = (own_address.host.as_str(), port(namenode_id)?)
        .to_socket_addrs()
        .with_context(|| format!("can't resolve {}", own_address.host))?
        .next()
        .with_context(|| format!("no address of {}", own_address.host))?;
    let user = super::user_name();
    let groups = Groups::start(GroupsOptions::of(&own, &user)?);
    Ok(ZkfcConfig {
        administrators: Administrators::of(&own, &user, groups.clone()),
        server: ServerOptions {
            authorizer: Some(Arc::new(Authorizer::of(&own, groups)?)),
            ..ServerOptions::of(&own)?
        },
        user,
        nameservice: nameservice.clone(),
        namenode_id: namenode_id.clone(),
        namenode_address: own_address.to_string(),
        rank: u32::try_from(rank)?,
        namenode_ids: ids.clone(),
        listen,
        peers,
        journalnodes: journal_nodes.iter().map(ToString::to_string).collect(),
        journal_id,
    })
}
