//! `hathi dfsadmin`: what administrators of HDFS use most, with Hadoop's output.

use anyhow::{Result, bail};
use hathi_client::FileSystem;
use hathi_formats::conf::Configuration;
use hathi_formats::proto::hdfs::{self, DatanodeInfoProto, DatanodeReportTypeProto, SafeModeActionProto};
use hathi_net::ipc::protocols::CLIENT_PROTOCOL;
use hathi_net::ipc::{ClientOptions, Idempotence};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "Usage: hathi dfsadmin [--conf DIR] COMMAND
    [-report [-live] [-dead]]
    [-safemode <enter | leave | get | wait | forceExit>]
    [-saveNamespace [-beforeShutdown]]
    [-rollEdits]
    [-refreshNodes]
    [-printTopology]
";

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let (conf, rest) = super::conf_argument(args)?;
    let words: Vec<String> = rest.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let Some((command, words)) = words.split_first() else {
        eprint!("{USAGE}");
        return Ok(ExitCode::from(255));
    };
    let fs = FileSystem::new(&conf, "", &super::user_name())?;
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(dispatch(&conf, &fs, command, words));
    match result {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => {
            eprint!("{USAGE}");
            Ok(ExitCode::from(255))
        }
        Err(error) => {
            let text = format!("{error:#}");
            let line = text.lines().next().unwrap_or_default();
            eprintln!("{}: {line}", command.trim_start_matches('-'));
            Ok(ExitCode::from(255))
        }
    }
}

async fn dispatch(conf: &Configuration, fs: &FileSystem, command: &str, words: &[String]) -> Result<bool> {
    match command {
        "-report" => report(fs, words).await?,
        "-safemode" => match words {
            [action] => safemode(conf, fs, action).await?,
            _ => return Ok(false),
        },
        "-saveNamespace" => {
            let before_shutdown = words.iter().any(|word| word == "-beforeShutdown");
            save_namespace(conf, before_shutdown).await?;
        }
        "-rollEdits" => {
            let answer: hdfs::RollEditsResponseProto = fs
                .call("rollEdits", &hdfs::RollEditsRequestProto {}, Idempotence::AtMostOnce)
                .await?;
            println!("Successfully rolled edit logs.");
            println!("New segment starts at txid {}", answer.new_segment_tx_id);
        }
        "-refreshNodes" => {
            let _: hdfs::RefreshNodesResponseProto = fs
                .call(
                    "refreshNodes",
                    &hdfs::RefreshNodesRequestProto {},
                    Idempotence::Idempotent,
                )
                .await?;
            println!("Refresh nodes successful");
        }
        "-printTopology" => topology(fs).await?,
        _ => {
            eprintln!("{}: Unknown command", command.trim_start_matches('-'));
            return Ok(false);
        }
    }
    Ok(true)
}

async fn datanodes(fs: &FileSystem, kind: DatanodeReportTypeProto) -> Result<Vec<DatanodeInfoProto>> {
    let request = hdfs::GetDatanodeReportRequestProto { r#type: kind.into() };
    let answer: hdfs::GetDatanodeReportResponseProto =
        fs.call("getDatanodeReport", &request, Idempotence::Idempotent).await?;
    Ok(answer.di)
}

async fn safe_mode(fs: &FileSystem, action: SafeModeActionProto) -> Result<bool> {
    let request = hdfs::SetSafeModeRequestProto {
        action: action.into(),
        checked: Some(false),
    };
    let answer: hdfs::SetSafeModeResponseProto = fs.call("setSafeMode", &request, Idempotence::Idempotent).await?;
    Ok(answer.result)
}

async fn report(fs: &FileSystem, words: &[String]) -> Result<()> {
    let stats: hdfs::GetFsStatsResponseProto = fs
        .call("getFsStats", &hdfs::GetFsStatusRequestProto {}, Idempotence::Idempotent)
        .await?;
    let blocks: hdfs::GetFsReplicatedBlockStatsResponseProto = fs
        .call(
            "getFsReplicatedBlockStats",
            &hdfs::GetFsReplicatedBlockStatsRequestProto {},
            Idempotence::Idempotent,
        )
        .await?;
    if safe_mode(fs, SafeModeActionProto::SafemodeGet).await? {
        println!("Safe mode is ON");
    }
    let present = stats.remaining + stats.used;
    println!("Configured Capacity: {}", with_unit(stats.capacity));
    println!("Present Capacity: {}", with_unit(present));
    println!("DFS Remaining: {}", with_unit(stats.remaining));
    println!("DFS Used: {}", with_unit(stats.used));
    println!("DFS Used%: {}", percent(stats.used, present));
    println!("Replicated Blocks:");
    println!("\tUnder replicated blocks: {}", blocks.low_redundancy);
    println!("\tBlocks with corrupt replicas: {}", blocks.corrupt_blocks);
    println!("\tMissing blocks: {}", blocks.missing_blocks);
    println!(
        "\tMissing blocks (with replication factor 1): {}",
        blocks.missing_repl_one_blocks
    );
    println!(
        "\tLow redundancy blocks with highest priority to recover: {}",
        blocks.highest_prio_low_redundancy_blocks.unwrap_or(0)
    );
    println!("\tPending deletion blocks: {}", blocks.pending_deletion_blocks);
    println!("\n-------------------------------------------------");
    let all = words.is_empty();
    for (flag, title, kind) in [
        ("-live", "Live", DatanodeReportTypeProto::Live),
        ("-dead", "Dead", DatanodeReportTypeProto::Dead),
    ] {
        if all || words.iter().any(|word| word == flag) {
            let nodes = datanodes(fs, kind).await?;
            if !nodes.is_empty() || !all {
                println!("{title} datanodes ({}):\n", nodes.len());
            }
            for node in &nodes {
                print_datanode(node);
            }
        }
    }
    Ok(())
}

fn print_datanode(node: &DatanodeInfoProto) {
    let (capacity, used) = (node.capacity(), node.dfs_used());
    let name = format!("{}:{}", node.id.ip_addr, node.id.xfer_port);
    println!("Name: {name} ({})", node.id.host_name);
    println!("Hostname: {}", node.id.host_name);
    let location = node.location();
    if !location.is_empty() && location != "/default-rack" {
        println!("Rack: {location}");
    }
    let state = match node.admin_state {
        Some(1) => "Decommission in progress",
        Some(2) => "Decommissioned",
        Some(3) => "Entering Maintenance",
        Some(4) => "In Maintenance",
        _ => "Normal",
    };
    println!("Decommission Status : {state}");
    println!("Configured Capacity: {}", with_unit(capacity));
    println!("DFS Used: {}", with_unit(used));
    println!("Non DFS Used: {}", with_unit(node.non_dfs_used()));
    println!("DFS Remaining: {}", with_unit(node.remaining()));
    println!("DFS Used%: {}", percent(used, capacity));
    println!("DFS Remaining%: {}", percent(node.remaining(), capacity));
    println!("Configured Cache Capacity: {}", with_unit(node.cache_capacity()));
    println!("Cache Used: {}", with_unit(node.cache_used()));
    println!("Xceivers: {}", node.xceiver_count());
    println!("Last contact: {}", date(node.last_update()));
    println!("Last Block Report: {}", date(node.last_block_report_time()));
    println!("Num of Blocks: {}\n\n", node.num_blocks());
}

fn date(millis: u64) -> String {
    if millis == 0 {
        return "Never".to_owned();
    }
    super::dfs::local_time(millis, "%a %b %d %H:%M:%S %Z %Y")
}

/// `12345 (12.06 KB)`
fn with_unit(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    if bytes < 1024 {
        return format!("{bytes} ({bytes} B)");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{bytes} ({text} {})", UNITS[unit])
}

fn percent(part: u64, whole: u64) -> String {
    let value = if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    };
    format!("{value:.2}%")
}

/// A connection to each NameNode, for commands that concern every one of them.
async fn each_namenode(conf: &Configuration) -> Result<Vec<(String, hathi_net::ipc::RpcClient)>> {
    let authority = conf.default_fs().authority;
    let ids = conf.namenode_ids(&authority);
    let mut addresses = Vec::new();
    if ids.is_empty() {
        let nameservice = conf.nameservices().contains(&authority).then_some(authority.as_str());
        addresses.push(conf.rpc_address(nameservice, None)?.to_string());
    }
    for id in &ids {
        addresses.push(conf.rpc_address(Some(&authority), Some(id))?.to_string());
    }
    let mut clients = Vec::new();
    for address in addresses {
        let options = ClientOptions::new(&super::user_name());
        let client = hathi_net::ipc::connect_to(&address, &CLIENT_PROTOCOL, &options).await?;
        clients.push((address, client));
    }
    Ok(clients)
}

async fn safemode(conf: &Configuration, fs: &FileSystem, action: &str) -> Result<()> {
    let proto = match action {
        "enter" => SafeModeActionProto::SafemodeEnter,
        "leave" => SafeModeActionProto::SafemodeLeave,
        "get" => SafeModeActionProto::SafemodeGet,
        "forceExit" => SafeModeActionProto::SafemodeForceExit,
        "wait" => {
            while safe_mode(fs, SafeModeActionProto::SafemodeGet).await? {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            println!("Safe mode is OFF");
            return Ok(());
        }
        other => bail!("unknown action {other}"),
    };
    if conf.namenode_ids(&conf.default_fs().authority).is_empty() {
        let on = safe_mode(fs, proto).await?;
        println!("Safe mode is {}", if on { "ON" } else { "OFF" });
        return Ok(());
    }
    for (address, client) in each_namenode(conf).await? {
        let request = hdfs::SetSafeModeRequestProto {
            action: proto.into(),
            checked: Some(false),
        };
        let answer: hdfs::SetSafeModeResponseProto = client.call("setSafeMode", &request).await?;
        println!("Safe mode is {} in {address}", if answer.result { "ON" } else { "OFF" });
    }
    Ok(())
}

async fn save_namespace(conf: &Configuration, before_shutdown: bool) -> Result<()> {
    let request = if before_shutdown {
        // Skipped where a checkpoint was made within half an hour of the last change.
        hdfs::SaveNamespaceRequestProto {
            time_window: Some(30 * 60),
            tx_gap: Some(0),
        }
    } else {
        hdfs::SaveNamespaceRequestProto {
            time_window: Some(0),
            tx_gap: Some(0),
        }
    };
    for (address, client) in each_namenode(conf).await? {
        let answer: hdfs::SaveNamespaceResponseProto = client.call("saveNamespace", &request).await?;
        if answer.saved.unwrap_or(true) {
            println!("Save namespace successful for {address}");
        } else {
            println!("No extra checkpoint has been made for {address}");
        }
    }
    Ok(())
}

async fn topology(fs: &FileSystem) -> Result<()> {
    let mut nodes = datanodes(fs, DatanodeReportTypeProto::All).await?;
    nodes.sort_by(|a, b| {
        (a.location(), &a.id.ip_addr, a.id.xfer_port).cmp(&(b.location(), &b.id.ip_addr, b.id.xfer_port))
    });
    let mut rack = None;
    for node in &nodes {
        if rack != Some(node.location()) {
            println!("Rack: {}", node.location());
            rack = Some(node.location());
        }
        println!("   {}:{} ({})", node.id.ip_addr, node.id.xfer_port, node.id.host_name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_hadoop_prints_them() {
        assert_eq!(with_unit(0), "0 (0 B)");
        assert_eq!(with_unit(12_345), "12345 (12.06 KB)");
        assert_eq!(with_unit(1 << 30), "1073741824 (1 GB)");
        assert_eq!(percent(1, 3), "33.33%");
        assert_eq!(percent(0, 0), "0.00%");
    }
}
