//! Waits until the daemons of a quickstart cluster serve. It asks over Hadoop RPC, as any client does.

use super::layout::{Daemon, Layout, namenode_id};
use anyhow::{Result, bail};
use hathi_formats::proto::{common, hdfs};
use hathi_net::ipc::protocols::{CLIENT_PROTOCOL, HA_SERVICE_PROTOCOL};
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

async fn connect(address: SocketAddr) -> Result<RpcClient, RpcError> {
    let mut options = ClientOptions::new(&crate::cmd::user_name());
    options.connect_timeout = Duration::from_secs(1);
    options.call_timeout = Duration::from_secs(5);
    RpcClient::connect(address, &HA_SERVICE_PROTOCOL, options).await
}

/// The HA state of a NameNode.
async fn state(address: SocketAddr) -> Result<common::HaServiceStateProto, RpcError> {
    let client = connect(address).await?.with_protocol(&CLIENT_PROTOCOL);
    // A NameNode without HA answers this call, too.
    let request = hdfs::HaServiceStateRequestProto {};
    let answer: hdfs::HaServiceStateResponseProto = client.call("getHAServiceState", &request).await?;
    Ok(answer.state())
}

/// The index of the active NameNode.
pub async fn active(layout: &Layout) -> Result<u16> {
    for index in 0..layout.namenodes {
        if state(layout.namenode_address(index))
            .await
            .is_ok_and(|state| state == common::HaServiceStateProto::Active)
        {
            return Ok(index);
        }
    }
    bail!("no NameNode is active")
}

/// Waits until every JournalNode accepts connections.
pub async fn journalnodes(layout: &Layout, timeout: Duration) -> Result<()> {
    let started = Instant::now();
    for index in 0..layout.journalnodes {
        let address = (layout.host, layout.journalnode_rpc(index));
        while let Err(error) = tokio::net::TcpStream::connect(address).await {
            if started.elapsed() > timeout {
                let log = layout.log_file(Daemon::JournalNode, index);
                bail!("journalnode-{index} does not serve ({error}); see {}", log.display());
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

/// Waits until some NameNode answers.
pub async fn any_namenode(layout: &Layout, timeout: Duration) -> Result<()> {
    let started = Instant::now();
    loop {
        for index in 0..layout.namenodes {
            if let Ok(state) = state(layout.namenode_address(index)).await
                && state != common::HaServiceStateProto::Initializing
            {
                return Ok(());
            }
        }
        if started.elapsed() > timeout {
            bail!("no NameNode serves; see {}", layout.dir.join("logs").display());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until a NameNode is active and out of safe mode, the others are standbys, and all DataNodes are live.
pub async fn cluster(layout: &Layout, timeout: Duration) -> Result<()> {
    let started = Instant::now();
    loop {
        let missing = match missing(layout).await {
            Ok(None) => return Ok(()),
            Ok(Some(missing)) => missing,
            Err(error) => error.to_string(),
        };
        if started.elapsed() > timeout {
            bail!("not ready: {missing}; see {}", layout.dir.join("logs").display());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The first thing that is missing, if any.
async fn missing(layout: &Layout) -> Result<Option<String>, RpcError> {
    let mut active = None;
    for index in 0..layout.namenodes {
        let address = layout.namenode_address(index);
        match state(address).await? {
            common::HaServiceStateProto::Active => active = Some(address),
            common::HaServiceStateProto::Initializing => {
                return Ok(Some(format!("{} is starting", namenode_id(index))));
            }
            common::HaServiceStateProto::Standby | common::HaServiceStateProto::Observer => {}
        }
    }
    let Some(address) = active else {
        return Ok(Some("no active NameNode".to_owned()));
    };
    let client = connect(address).await?.with_protocol(&CLIENT_PROTOCOL);
    let request = hdfs::SetSafeModeRequestProto {
        action: hdfs::SafeModeActionProto::SafemodeGet.into(),
        checked: Some(false),
    };
    let safe_mode: hdfs::SetSafeModeResponseProto = client.call("setSafeMode", &request).await?;
    if safe_mode.result {
        return Ok(Some("the NameNode is in safe mode".to_owned()));
    }
    let request = hdfs::GetDatanodeReportRequestProto {
        r#type: hdfs::DatanodeReportTypeProto::Live.into(),
    };
    let report: hdfs::GetDatanodeReportResponseProto = client.call("getDatanodeReport", &request).await?;
    let (live, all) = (report.di.len(), usize::from(layout.datanodes));
    Ok((live < all).then(|| format!("{live} of {all} DataNodes are live")))
}
