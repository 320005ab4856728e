//! `hathi dfsadmin`: the most used commands of `hdfs dfsadmin`, with Hadoop's output.

use anyhow::{Result, bail};
use hathi_client::FileSystem;
use hathi_conf::{Configuration, TimeUnit};
use hathi_formats::exceptions;
use hathi_formats::proto::hdfs::{
    self, DatanodeInfoProto, DatanodeReportTypeProto, SafeModeActionProto, StorageTypeProto,
};
use hathi_net::ipc::protocols::CLIENT_PROTOCOL;
use hathi_net::ipc::{ClientOptions, Idempotence, RpcError};
use prost::Message;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// `HdfsConstants.QUOTA_DONT_SET`
const QUOTA_DONT_SET: u64 = i64::MAX as u64;
/// `HdfsConstants.QUOTA_RESET`
const QUOTA_RESET: u64 = u64::MAX;
/// `ipc.client.connect.timeout`
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

const USAGE: &str = "Usage: hathi dfsadmin [--conf DIR] COMMAND
    [-report [-live] [-dead] [-decommissioning] [-enteringmaintenance] [-inmaintenance]]
    [-safemode <enter | leave | get | wait | forceExit>]
    [-saveNamespace [-beforeShutdown]]
    [-rollEdits]
    [-restoreFailedStorage true|false|check]
    [-refreshNodes]
    [-printTopology]
    [-metasave filename]
    [-setBalancerBandwidth <bandwidth in bytes per second>]
    [-setQuota <quota> <dirname>...<dirname>]
    [-clrQuota <dirname>...<dirname>]
    [-setSpaceQuota <quota> [-storageType <storagetype>] <dirname>...<dirname>]
    [-clrSpaceQuota [-storageType <storagetype>] <dirname>...<dirname>]
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
    if ["-rollEdits", "-refreshNodes", "-printTopology"].contains(&command) && !words.is_empty() {
        return Ok(false);
    }
    match command {
        "-report" => return report(fs, words).await,
        "-safemode" => match words {
            [action] => safemode(conf, fs, action).await?,
            _ => return Ok(false),
        },
        "-saveNamespace" => {
            let before_shutdown = match words {
                [] => false,
                [word] if word == "-beforeShutdown" => true,
                _ => return Ok(false),
            };
            save_namespace(conf, before_shutdown).await?;
        }
        "-rollEdits" => {
            let answer: hdfs::RollEditsResponseProto = fs
                .call("rollEdits", &hdfs::RollEditsRequestProto {}, Idempotence::AtMostOnce)
                .await?;
            println!("Successfully rolled edit logs.");
            println!("New segment starts at txid {}", answer.new_segment_tx_id);
        }
        "-restoreFailedStorage" => {
            let [wanted] = words else { return Ok(false) };
            if !["true", "false", "check"].contains(&wanted.as_str()) {
                eprintln!("restoreFailedStorage valid args are true|false|check");
                return Ok(false);
            }
            let request = hdfs::RestoreFailedStorageRequestProto { arg: wanted.clone() };
            let said = |answer: &hdfs::RestoreFailedStorageResponseProto, place: &str| {
                format!("restoreFailedStorage is set to {}{place}", answer.result)
            };
            on_each(conf, "restoreFailedStorage", &request, "restoreFailedStorage", said).await?;
        }
        "-refreshNodes" => {
            let request = hdfs::RefreshNodesRequestProto {};
            let said = |_: &hdfs::RefreshNodesResponseProto, place: &str| format!("Refresh nodes successful{place}");
            on_each(conf, "refreshNodes", &request, "Refresh nodes", said).await?;
        }
        "-metasave" => {
            let [filename] = words else { return Ok(false) };
            let request = hdfs::MetaSaveRequestProto {
                filename: filename.clone(),
            };
            let said = |_: &hdfs::MetaSaveResponseProto, place: &str| {
                let place = place.replace(" for ", " of namenode ");
                format!("Created metasave file {filename} in the log directory{place}")
            };
            on_each(conf, "metaSave", &request, "Metasave", said).await?;
        }
        "-setBalancerBandwidth" => {
            let [bandwidth] = words else { return Ok(false) };
            let bandwidth = bandwidth.parse::<i64>().ok().filter(|bandwidth| *bandwidth >= 0);
            let Some(bandwidth) = bandwidth else {
                bail!("Bandwidth should be a non-negative integer");
            };
            // Only the active commands DataNodes. Standbys refuse the call, as Hadoop's do.
            let request = hdfs::SetBalancerBandwidthRequestProto { bandwidth };
            let _: hdfs::SetBalancerBandwidthResponseProto = fs
                .call("setBalancerBandwidth", &request, Idempotence::Idempotent)
                .await?;
            println!("Balancer bandwidth is set to {bandwidth}");
        }
        "-setQuota" | "-clrQuota" | "-setSpaceQuota" | "-clrSpaceQuota" => return quota(fs, command, words).await,
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

/// The lists of `-report`: option, title, and the type in the request.
const REPORTS: [(&str, &str, DatanodeReportTypeProto); 5] = [
    ("-live", "Live", DatanodeReportTypeProto::Live),
    ("-dead", "Dead", DatanodeReportTypeProto::Dead),
    (
        "-decommissioning",
        "Decommissioning",
        DatanodeReportTypeProto::Decommissioning,
    ),
    (
        "-enteringmaintenance",
        "Entering maintenance",
        DatanodeReportTypeProto::EnteringMaintenance,
    ),
    (
        "-inmaintenance",
        "In maintenance",
        DatanodeReportTypeProto::InMaintenance,
    ),
];

/// Prints the report. Returns `false` when the arguments are wrong.
async fn report(fs: &FileSystem, words: &[String]) -> Result<bool> {
    if words.iter().any(|word| REPORTS.iter().all(|(flag, ..)| word != flag)) {
        return Ok(false);
    }
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
    for (flag, title, kind) in REPORTS {
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
    Ok(true)
}

fn print_datanode(node: &DatanodeInfoProto) {
    let (capacity, used) = (node.capacity(), node.dfs_used());
    let name = node.id.xfer_address();
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

/// The addresses of all NameNodes, and whether there may be several.
fn namenodes(conf: &Configuration) -> Result<(Vec<String>, bool)> {
    let authority = conf.default_fs().authority;
    let ids = conf.namenode_ids(&authority);
    if ids.is_empty() {
        let nameservice = conf.nameservices().contains(&authority).then_some(authority.as_str());
        return Ok((vec![conf.rpc_address(nameservice, None)?.to_string()], false));
    }
    let addresses = ids.iter().map(|id| conf.rpc_address(Some(&authority), Some(id)));
    let addresses = addresses
        .map(|address| Ok(address?.to_string()))
        .collect::<Result<_>>()?;
    Ok((addresses, true))
}

/// Calls every NameNode, and goes on with the next one when a call fails. Then the command has failed in the end.
/// `said` is given the address, which is empty if there is only one NameNode.
async fn on_each<Q: Message, R: Message + Default>(
    conf: &Configuration,
    method: &str,
    request: &Q,
    what: &str,
    said: impl Fn(&R, &str) -> String,
) -> Result<()> {
    let (addresses, several) = namenodes(conf)?;
    let mut failures = Vec::new();
    for address in addresses {
        let place = if several {
            format!(" for {address}")
        } else {
            String::new()
        };
        let answer = async {
            let options = ClientOptions {
                connect_timeout: conf.get_duration("ipc.client.connect.timeout", CONNECT_TIMEOUT, TimeUnit::Millis)?,
                ..ClientOptions::new(&super::user_name())
            };
            let client = hathi_net::ipc::connect_to(&address, &CLIENT_PROTOCOL, &options).await?;
            Ok::<R, anyhow::Error>(client.call(method, request).await?)
        };
        match answer.await {
            Ok(answer) => println!("{}", said(&answer, &place)),
            // A standby refuses this call, which is no failure (`DFSAdmin.metaSave`).
            Err(error) if method == "metaSave" && is_from_a_standby(&error) => {
                println!("Skip Standby NameNode, since it cannot perform metasave operation");
            }
            Err(error) => {
                println!("{what} failed{place}");
                failures.push(format!("{error:#}"));
            }
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let first_lines = failures
        .iter()
        .map(|failure| failure.lines().next().unwrap_or_default());
    bail!("{}", first_lines.collect::<Vec<_>>().join("; "))
}

fn is_from_a_standby(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(RpcError::Remote(exception)) if exception.is(exceptions::STANDBY))
}

/// `-setQuota`, `-clrQuota`, `-setSpaceQuota` and `-clrSpaceQuota`, for each directory. Returns `false` when the
/// arguments are wrong.
async fn quota(fs: &FileSystem, command: &str, words: &[String]) -> Result<bool> {
    let sets = command.starts_with("-set");
    let of_space = command.ends_with("SpaceQuota");
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut storage_type = None;
    if let Some(at) = words.iter().position(|word| *word == "-storageType") {
        let named = words.get(at + 1).map(|name| name.to_ascii_uppercase());
        let found = named.as_deref().and_then(StorageTypeProto::from_str_name);
        let Some(found) = found.filter(|_| of_space) else {
            bail!("Storage type {} is not available", named.unwrap_or_default());
        };
        storage_type = Some(found);
        words.drain(at..at + 2);
    }
    let quota = if sets && !words.is_empty() {
        let word = words.remove(0);
        match parse_quota(word, of_space) {
            Some(quota) => quota,
            None => bail!("\"{word}\" is not a valid value for a quota."),
        }
    } else {
        QUOTA_RESET
    };
    if words.is_empty() {
        return Ok(false);
    }
    let mut failed = Vec::new();
    for word in words {
        let path = if word.starts_with('/') {
            word.to_owned()
        } else if let Some((_, rest)) = word.split_once("://") {
            format!("/{}", rest.split_once('/').map_or("", |(_, path)| path))
        } else {
            format!("/user/{}/{word}", super::user_name())
        };
        let (namespace_quota, storagespace_quota) = if of_space {
            (QUOTA_DONT_SET, quota)
        } else {
            (quota, QUOTA_DONT_SET)
        };
        let request = hdfs::SetQuotaRequestProto {
            path,
            namespace_quota,
            storagespace_quota,
            storage_type: storage_type.map(|kind| kind as i32),
        };
        let done: Result<hdfs::SetQuotaResponseProto, _> = fs.call("setQuota", &request, Idempotence::Idempotent).await;
        if let Err(error) = done {
            let text = error
                .remote()
                .map_or_else(|| error.to_string(), |refusal| refusal.message.clone());
            failed.push(text.lines().next().unwrap_or_default().to_owned());
        }
    }
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(true)
}

/// Parses a number above 0. A number of bytes may have Hadoop's binary prefixes (`TraditionalBinaryPrefix`).
fn parse_quota(word: &str, of_space: bool) -> Option<u64> {
    let units = ["k", "m", "g", "t", "p", "e"];
    let lower = word.to_ascii_lowercase();
    let unit = units.iter().position(|unit| of_space && lower.ends_with(unit));
    let (digits, shift) = match unit {
        Some(unit) => (lower.get(..lower.len() - 1)?, 10 * (unit as u32 + 1)),
        None => (lower.as_str(), 0),
    };
    let number = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    (number > 0 && number < QUOTA_DONT_SET).then_some(number)
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
    let request = hdfs::SetSafeModeRequestProto {
        action: proto.into(),
        checked: Some(false),
    };
    let said = |answer: &hdfs::SetSafeModeResponseProto, place: &str| {
        let place = place.replace(" for ", " in ");
        format!("Safe mode is {}{place}", if answer.result { "ON" } else { "OFF" })
    };
    on_each(conf, "setSafeMode", &request, "Safe mode", said).await
}

async fn save_namespace(conf: &Configuration, before_shutdown: bool) -> Result<()> {
    let request = if before_shutdown {
        // It is skipped if the last checkpoint was made within half an hour of the last change.
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
    let said = |answer: &hdfs::SaveNamespaceResponseProto, place: &str| {
        if answer.saved.unwrap_or(true) {
            format!("Save namespace successful{place}")
        } else {
            format!("No extra checkpoint has been made{place}")
        }
    };
    on_each(conf, "saveNamespace", &request, "Save namespace", said).await
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
        println!("   {} ({})", node.id.xfer_address(), node.id.host_name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read_as_hadoop_reads_them() {
        assert_eq!(parse_quota("10", false), Some(10));
        assert_eq!(parse_quota("10k", false), None);
        assert_eq!(parse_quota("10K", true), Some(10 << 10));
        assert_eq!(parse_quota("2t", true), Some(2 << 40));
        for wrong in ["0", "-1", "", "x", "9223372036854775807", "8e"] {
            assert_eq!(parse_quota(wrong, true), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_as_hadoop_prints_them() {
        assert_eq!(with_unit(0), "0 (0 B)");
        assert_eq!(with_unit(12_345), "12345 (12.06 KB)");
        assert_eq!(with_unit(1 << 30), "1073741824 (1 GB)");
        assert_eq!(percent(1, 3), "33.33%");
        assert_eq!(percent(0, 0), "0.00%");
    }
}
