//! Which NameNodes a command calls, one by one.

use anyhow::{Context, Result, bail};
use hathi_conf::{Configuration, HostPort, TimeUnit};
use hathi_formats::proto::common::{GetServiceStatusRequestProto, GetServiceStatusResponseProto, HaServiceStateProto};
use hathi_net::ipc::protocols::HA_SERVICE_PROTOCOL;
use hathi_net::ipc::{ClientOptions, Protocol, RpcClient, connect_to};
use std::time::Duration;

/// `ipc.client.connect.timeout`
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a NameNode may take to say what it is.
const STATE_TIMEOUT: Duration = Duration::from_secs(5);

/// A NameNode of the default file system.
#[derive(Clone, Debug)]
pub struct NameNode {
    /// For calls.
    pub rpc: HostPort,
    /// For pages.
    pub http: HostPort,
}

/// The NameNodes of the default file system, and whether there may be several.
///
/// # Errors
/// When the configuration names none.
pub fn of_default_fs(conf: &Configuration) -> Result<(Vec<NameNode>, bool)> {
    let authority = conf.default_fs().authority;
    // This names what is missing in an empty configuration.
    hathi_client::namenodes(conf, "")?;
    let nameservice = conf.nameservices().contains(&authority).then_some(authority.as_str());
    let ids = nameservice
        .map(|nameservice| conf.namenode_ids(nameservice))
        .unwrap_or_default();
    let of = |id: Option<&str>| -> Result<NameNode> {
        Ok(NameNode {
            rpc: conf.rpc_address(nameservice, id)?,
            http: conf.http_address(nameservice, id)?,
        })
    };
    if ids.is_empty() {
        return Ok((vec![of(None)?], false));
    }
    Ok((ids.iter().map(|id| of(Some(id))).collect::<Result<_>>()?, true))
}

/// Connects to one address.
///
/// # Errors
/// When that fails.
pub async fn connect(conf: &Configuration, address: &str, protocol: &'static Protocol) -> Result<RpcClient> {
    let options = ClientOptions {
        connect_timeout: conf.get_duration("ipc.client.connect.timeout", CONNECT_TIMEOUT, TimeUnit::Millis)?,
        ..ClientOptions::new(&super::user_name())
    };
    Ok(connect_to(address, protocol, &options).await?)
}

async fn is_active(conf: &Configuration, namenode: &NameNode) -> Result<bool> {
    let client = connect(conf, &namenode.rpc.to_string(), &HA_SERVICE_PROTOCOL).await?;
    let call = client.call("getServiceStatus", &GetServiceStatusRequestProto {});
    let status: GetServiceStatusResponseProto = tokio::time::timeout(STATE_TIMEOUT, call)
        .await
        .with_context(|| format!("{} does not answer", namenode.rpc))??;
    Ok(status.state() == HaServiceStateProto::Active)
}

/// The pages' address of the active NameNode.
///
/// # Errors
/// When none is active. The error says what each one is.
pub async fn active_page(conf: &Configuration) -> Result<HostPort> {
    let (mut namenodes, several) = of_default_fs(conf)?;
    if !several {
        return Ok(namenodes.remove(0).http);
    }
    let mut reasons = Vec::new();
    for namenode in namenodes {
        match is_active(conf, &namenode).await {
            Ok(true) => return Ok(namenode.http),
            Ok(false) => reasons.push(format!("{} is not active", namenode.rpc)),
            Err(error) => reasons.push(format!("{error:#}")),
        }
    }
    bail!("no NameNode is active: {}", reasons.join("; "))
}
