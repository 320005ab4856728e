//! Makes sure that a NameNode is not active any more (`ZKFailoverController.fenceOldActive`).

use crate::connect::connect_patiently;
use crate::fencing::{self, FencingTarget};
use crate::namenode::transition;
use crate::run::ZkfcConfig;
use hathi_conf::host_and_port;
use hathi_failover::{Former, ServiceState};
use hathi_formats::proto::hdfs::ActiveNodeInfo;
use hathi_net::ipc::ClientOptions;
use hathi_net::ipc::protocols::HA_SERVICE_PROTOCOL;
use prost::Message;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// A NameNode that counts as fenced although it did not say so itself.
#[derive(Clone, Debug)]
pub(crate) struct Unheard {
    /// Its id.
    pub(crate) namenode_id: String,
    /// The fencing method that says so.
    pub(crate) method: String,
}

/// Asks the NameNode to become a standby. If it does not answer, tries the methods of `dfs.ha.fencing.methods`.
///
/// Returns `None` when it has become a standby itself.
///
/// # Errors
/// When it may still be active, with what a person has to know.
pub(crate) async fn fence(config: &ZkfcConfig, former: &Former) -> Result<Option<Unheard>, String> {
    let (id, address) = match former {
        Former::OfBreadcrumb(named) => target(config, named).await?,
        Former::OfLease(id) => holder(config, id)?,
    };
    tracing::info!(namenode = id, address, "fencing the former active");
    let mut options = ClientOptions::new(&config.user);
    options.connect_timeout = config.times.graceful_fence;
    options.call_timeout = config.times.graceful_fence;
    let graceful = async {
        let retries = config.times.graceful_fence_retries;
        let client = connect_patiently(&address, &HA_SERVICE_PROTOCOL, &options, retries).await?;
        transition(&client, ServiceState::Standby).await
    };
    match graceful.await {
        Ok(()) => {
            tracing::info!(namenode = id, "the former active is a standby");
            return Ok(None);
        }
        Err(error) => tracing::warn!(namenode = id, %error, "it does not become a standby; trying the fencing methods"),
    }
    let (conf, nameservice) = (config.conf.clone(), config.nameservice.clone());
    let methods = tokio::task::spawn_blocking(move || {
        let target = FencingTarget {
            address: &address,
            nameservice: &nameservice,
            namenode_id: &id,
        };
        let tell = |told: String| tracing::info!("{told}");
        match fencing::fenced_by(&conf, &target, tell) {
            Some(method) => Ok(Some(Unheard {
                namenode_id: id,
                method,
            })),
            None => Err(format!(
                "Unable to fence NameNode at {address}: no method of dfs.ha.fencing.methods fenced {id}"
            )),
        }
    });
    methods.await.map_err(|error| error.to_string())?
}

/// The NameNode that holds the read lease.
fn holder(config: &ZkfcConfig, id: &str) -> Result<(String, String), String> {
    let known = config.namenodes.iter().find(|(known, _)| known == id);
    known.cloned().ok_or_else(|| {
        let nameservice = &config.nameservice;
        format!("{id} of {nameservice} renews its lease at the JournalNodes, and no such NameNode is configured here")
    })
}

/// The NameNode in the breadcrumb, at the address of this configuration.
async fn target(config: &ZkfcConfig, named: &[u8]) -> Result<(String, String), String> {
    let info = ActiveNodeInfo::decode(named).map_err(|error| format!("the breadcrumb is not Hadoop's: {error}"))?;
    let (nameservice, id) = (&info.nameservice_id, &info.namenode_id);
    let stored = host_and_port(&info.hostname, info.port);
    let known = config.namenodes.iter().find(|(known, _)| known == id);
    let Some((_, address)) = known.filter(|_| *nameservice == config.nameservice) else {
        return Err(format!(
            "ZooKeeper names {id} of {nameservice} at {stored} as the former active, and no such NameNode is configured here"
        ));
    };
    // Hadoop writes the name that an address resolves to.
    if stored != *address && resolve(&stored).await.is_disjoint(&resolve(address).await) {
        return Err(format!(
            "ZooKeeper has {stored} as the address of {id}, the configuration here {address}: they must be the same everywhere"
        ));
    }
    Ok((id.clone(), address.clone()))
}

async fn resolve(address: &str) -> BTreeSet<SocketAddr> {
    tokio::net::lookup_host(address)
        .await
        .map_or_else(|_| BTreeSet::new(), Iterator::collect)
}
