//! Commands to one daemon, which the operator names by its address.

use super::report::{datanodes, date};
use crate::cmd::namenodes::connect;
use crate::cmd::table::Misuse;
use anyhow::{Result, bail};
use hathi_client::FileSystem;
use hathi_conf::{Configuration, host_and_port};
use hathi_formats::proto::common::{GenericRefreshRequestProto, GenericRefreshResponseCollectionProto};
use hathi_formats::proto::hdfs::{self, DatanodeReportTypeProto};
use hathi_net::ipc::Protocol;
use hathi_net::ipc::protocols::{CLIENT_DATANODE_PROTOCOL, GENERIC_REFRESH_PROTOCOL, RECONFIGURATION_PROTOCOL};
use prost::Message;

/// Exit code when a daemon failed, or there is no such kind.
const FAILED: u8 = 1;
/// Exit code for an operation that there is not: -1 of Hadoop's tool.
const UNKNOWN_OPERATION: u8 = 255;

async fn datanode<Q: Message, R: Message + Default>(
    conf: &Configuration,
    address: &str,
    method: &str,
    request: &Q,
) -> Result<R> {
    let client = connect(conf, address, &CLIENT_DATANODE_PROTOCOL).await?;
    Ok(client.call(method, request).await?)
}

pub(super) async fn refresh_namenodes(conf: &Configuration, address: &str) -> Result<()> {
    let request = hdfs::RefreshNamenodesRequestProto {};
    let _: hdfs::RefreshNamenodesResponseProto = datanode(conf, address, "refreshNamenodes", &request).await?;
    Ok(())
}

pub(super) async fn volume_report(conf: &Configuration, address: &str) -> Result<()> {
    let request = hdfs::GetVolumeReportRequestProto {};
    let answer: hdfs::GetVolumeReportResponseProto = datanode(conf, address, "getVolumeReport", &request).await?;
    println!("Active Volumes : {}", answer.volume_info.len());
    let size = |bytes: u64| format!("{bytes}({})", byte_desc(bytes));
    for volume in answer.volume_info {
        println!("\nDirectory: {}", volume.path);
        println!("StorageType: {}", volume.storage_type().as_str_name());
        println!("Capacity Used: {}", size(volume.used_space));
        println!("Capacity Left: {}", size(volume.free_space));
        println!("Capacity Reserved: {}", size(volume.reserved_space));
        println!(
            "Reserved Space for Replicas: {}",
            size(volume.reserved_space_for_replicas)
        );
        println!("Blocks: {}", volume.num_blocks);
    }
    Ok(())
}

/// `12.06 KB` (`StringUtils.byteDesc`)
pub(in crate::cmd) fn byte_desc(bytes: u64) -> String {
    super::report::with_unit(bytes)
        .split_once('(')
        .map_or(String::new(), |(_, text)| text.trim_end_matches(')').to_owned())
}

pub(super) async fn delete_block_pool(conf: &Configuration, words: &[String]) -> Result<()> {
    let [address, block_pool, rest @ ..] = words else {
        return Ok(());
    };
    let force = match rest {
        [] => false,
        [word] if word == "force" => true,
        _ => bail!(Misuse("the only word after a block pool is force".to_owned())),
    };
    let request = hdfs::DeleteBlockPoolRequestProto {
        block_pool: block_pool.clone(),
        force,
    };
    let _: hdfs::DeleteBlockPoolResponseProto = datanode(conf, address, "deleteBlockPool", &request).await?;
    Ok(())
}

pub(super) async fn balancer_bandwidth(conf: &Configuration, address: &str) -> Result<()> {
    let request = hdfs::GetBalancerBandwidthRequestProto {};
    let answer: Result<hdfs::GetBalancerBandwidthResponseProto> =
        datanode(conf, address, "getBalancerBandwidth", &request).await;
    match answer {
        Ok(answer) => println!("Balancer bandwidth is {} bytes per second.", answer.bandwidth),
        Err(error) => bail!("Datanode unreachable. {error:#}"),
    }
    Ok(())
}

pub(super) async fn datanode_info(conf: &Configuration, address: &str) -> Result<()> {
    let request = hdfs::GetDatanodeInfoRequestProto {};
    let answer: Result<hdfs::GetDatanodeInfoResponseProto> = datanode(conf, address, "getDatanodeInfo", &request).await;
    match answer {
        Ok(answer) => {
            let info = answer.local_info;
            println!(
                "Uptime: {}, Software version: {}, Config version: {}",
                info.uptime, info.software_version, info.config_version
            );
        }
        Err(error) => bail!("Datanode unreachable. {error:#}"),
    }
    Ok(())
}

pub(super) async fn shutdown(conf: &Configuration, words: &[String]) -> Result<()> {
    let [address, rest @ ..] = words else { return Ok(()) };
    let for_upgrade = match rest {
        [] => false,
        [word] if word == "upgrade" => true,
        _ => bail!(Misuse("the only word after an address is upgrade".to_owned())),
    };
    let request = hdfs::ShutdownDatanodeRequestProto { for_upgrade };
    let _: hdfs::ShutdownDatanodeResponseProto = datanode(conf, address, "shutdownDatanode", &request).await?;
    println!("Submitted a shutdown request to datanode {address}");
    Ok(())
}

pub(super) async fn evict_writers(conf: &Configuration, address: &str) -> Result<()> {
    let request = hdfs::EvictWritersRequestProto {};
    let _: hdfs::EvictWritersResponseProto = datanode(conf, address, "evictWriters", &request).await?;
    println!("Requested writer eviction to datanode {address}");
    Ok(())
}

pub(super) async fn trigger_block_report(conf: &Configuration, words: &[String]) -> Result<()> {
    let (mut address, mut nn_address, mut incremental) = (None, None, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-incremental" => incremental = true,
            "-namenode" => nn_address = words.next().cloned(),
            other if address.is_none() => address = Some(other),
            other => bail!(Misuse(format!("Can't understand arguments: {other}"))),
        }
    }
    let Some(address) = address else {
        bail!(Misuse("Not enough arguments: expected 1 but got 0".to_owned()));
    };
    let kind = if incremental { "an incremental" } else { "a full" };
    let to = nn_address
        .as_ref()
        .map_or(String::new(), |to| format!(" to namenode {to}"));
    let request = hdfs::TriggerBlockReportRequestProto {
        incremental,
        nn_address,
    };
    let _: hdfs::TriggerBlockReportResponseProto = datanode(conf, address, "triggerBlockReport", &request).await?;
    println!("Triggering {kind} block report on {address}{to}.");
    Ok(())
}

pub(super) async fn refresh(conf: &Configuration, words: &[String]) -> Result<u8> {
    let [address, key, args @ ..] = words else { return Ok(0) };
    let request = GenericRefreshRequestProto {
        identifier: Some(key.clone()),
        args: args.to_vec(),
    };
    let answer = async {
        let client = connect(conf, address, &GENERIC_REFRESH_PROTOCOL).await?;
        anyhow::Ok(
            client
                .call::<_, GenericRefreshResponseCollectionProto>("refresh", &request)
                .await?,
        )
    };
    let responses = match answer.await {
        Ok(answer) => answer.responses,
        Err(error) => {
            println!("Failed to get response.\n");
            return Err(error);
        }
    };
    println!("Refresh Responses:\n");
    let failed: Vec<i32> = responses
        .iter()
        .map(|response| response.exit_status())
        .filter(|status| *status != 0)
        .collect();
    for response in &responses {
        let status = match response.exit_status() {
            0 => String::new(),
            status => format!(" (exit {status})"),
        };
        println!("{}: {}{status}", response.sender_name(), response.user_message());
    }
    // As in Hadoop, several failures are one of no name.
    Ok(match failed.as_slice() {
        [] => 0,
        [status] => u8::try_from(*status).unwrap_or(u8::MAX),
        _ => u8::MAX,
    })
}

/// Settings that a daemon can read again while it runs.
pub(super) async fn reconfig(conf: &Configuration, fs: &FileSystem, words: &[String]) -> Result<u8> {
    let [kind, address, operation] = words else {
        return Ok(0);
    };
    let failure = match operation.as_str() {
        "start" => "reconfiguring",
        "status" => "reloading configuration",
        "properties" => "reconfiguration",
        other => {
            eprintln!("Unknown operation: {other}");
            return Ok(UNKNOWN_OPERATION);
        }
    };
    let named = match address.as_str() {
        "livenodes" => Some(DatanodeReportTypeProto::Live),
        "decomnodes" => Some(DatanodeReportTypeProto::Decommissioning),
        _ => None,
    };
    let protocol: &'static Protocol = match kind.as_str() {
        "datanode" => &CLIENT_DATANODE_PROTOCOL,
        _ if named.is_some() => {
            eprintln!("Only datanode type supports reconfiguration in bulk.");
            return Ok(FAILED);
        }
        "namenode" => &RECONFIGURATION_PROTOCOL,
        other => {
            eprintln!("Node type {other} does not support reconfiguration.");
            return Ok(FAILED);
        }
    };
    let addresses = match named {
        Some(named) => {
            let nodes = datanodes(fs, named).await?.into_iter();
            nodes
                .map(|node| host_and_port(&node.id.ip_addr, node.id.ipc_port))
                .collect()
        }
        None => vec![address.clone()],
    };
    let mut failed = 0;
    for address in &addresses {
        if let Err(error) = reconfigure(conf, protocol, address, operation).await {
            eprintln!("Node [{address}] {failure}: {error:#}.");
            failed += 1;
        }
    }
    if named.is_some() && operation != "properties" {
        let what = match operation.as_str() {
            "start" => "Starting of reconfiguration task",
            _ => "Retrieval of reconfiguration status",
        };
        let succeeded = addresses.len() - failed;
        println!("{what} successful on {succeeded} nodes, failed on {failed} nodes.");
    }
    Ok(if failed > 0 { FAILED } else { 0 })
}

async fn reconfigure(conf: &Configuration, protocol: &'static Protocol, address: &str, operation: &str) -> Result<()> {
    let client = connect(conf, address, protocol).await?;
    match operation {
        "start" => {
            let request = hdfs::StartReconfigurationRequestProto {};
            let _: hdfs::StartReconfigurationResponseProto = client.call("startReconfiguration", &request).await?;
            println!("Started reconfiguration task on node [{address}].");
        }
        "status" => {
            let request = hdfs::GetReconfigurationStatusRequestProto {};
            let answer = client.call("getReconfigurationStatus", &request).await?;
            println!("Reconfiguring status for node [{address}]: {}", status_text(&answer));
        }
        _ => {
            let request = hdfs::ListReconfigurablePropertiesRequestProto {};
            let answer: hdfs::ListReconfigurablePropertiesResponseProto =
                client.call("listReconfigurableProperties", &request).await?;
            println!("Node [{address}] Reconfigurable properties:");
            for name in answer.name {
                println!("{name}");
            }
        }
    }
    Ok(())
}

fn status_text(status: &hdfs::GetReconfigurationStatusResponseProto) -> String {
    let Some(started) = u64::try_from(status.start_time).ok().filter(|started| *started > 0) else {
        return "no task was found.".to_owned();
    };
    let mut text = format!("started at {}", date(started));
    let Some(ended) = status.end_time.and_then(|ended| u64::try_from(ended).ok()) else {
        return text + " and is still running.";
    };
    text.push_str(&format!(" and finished at {}.", date(ended)));
    for change in &status.changes {
        let (result, error) = match &change.error_message {
            None => ("SUCCESS: Changed", String::new()),
            Some(error) => ("FAILED: Change", format!("\n\tError: {error}.")),
        };
        text.push_str(&format!(
            "\n{result} property {}\n\tFrom: \"{}\"\n\tTo: \"{}\"{error}",
            change.name,
            change.old_value,
            change.new_value()
        ));
    }
    text
}
