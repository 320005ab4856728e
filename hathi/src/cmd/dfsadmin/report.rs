//! `-report`, `-printTopology`.

use super::safe_mode;
use crate::cmd::haadmin::words::host;
use crate::cmd::table::Flags;
use anyhow::Result;
use hathi_client::FileSystem;
use hathi_conf::HostPort;
use hathi_formats::proto::hdfs::{self, DatanodeInfoProto, DatanodeReportTypeProto, SafeModeActionProto};
use hathi_net::ipc::Idempotence;
use serde_json::{Value, json};

pub(super) async fn datanodes(fs: &FileSystem, kind: DatanodeReportTypeProto) -> Result<Vec<DatanodeInfoProto>> {
    let request = hdfs::GetDatanodeReportRequestProto { r#type: kind.into() };
    let answer: hdfs::GetDatanodeReportResponseProto =
        fs.call("getDatanodeReport", &request, Idempotence::Idempotent).await?;
    Ok(answer.di)
}

/// The lists of `-report`: option, title, and the type in the request.
const REPORTS: [(&str, &str, DatanodeReportTypeProto); 5] = [
    ("live", "Live", DatanodeReportTypeProto::Live),
    ("dead", "Dead", DatanodeReportTypeProto::Dead),
    (
        "decommissioning",
        "Decommissioning",
        DatanodeReportTypeProto::Decommissioning,
    ),
    (
        "enteringmaintenance",
        "Entering maintenance",
        DatanodeReportTypeProto::EnteringMaintenance,
    ),
    (
        "inmaintenance",
        "In maintenance",
        DatanodeReportTypeProto::InMaintenance,
    ),
];

/// The figures at the head of the report.
struct Figures {
    stats: hdfs::GetFsStatsResponseProto,
    blocks: hdfs::GetFsReplicatedBlockStatsResponseProto,
    groups: hdfs::GetFsEcBlockGroupStatsResponseProto,
    safe_mode: bool,
}

impl Figures {
    async fn of(fs: &FileSystem) -> Result<Figures> {
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
        let safe_mode = safe_mode(fs, SafeModeActionProto::SafemodeGet).await?;
        let groups: hdfs::GetFsEcBlockGroupStatsResponseProto = fs
            .call(
                "getFsECBlockGroupStats",
                &hdfs::GetFsEcBlockGroupStatsRequestProto {},
                Idempotence::Idempotent,
            )
            .await?;
        Ok(Figures {
            stats,
            blocks,
            groups,
            safe_mode,
        })
    }
}

/// The report for programs. Sizes are in bytes, times in ms since 1970.
fn as_json(
    stats: &hdfs::GetFsStatsResponseProto,
    blocks: &hdfs::GetFsReplicatedBlockStatsResponseProto,
    safe_mode: bool,
    lists: &[(&str, Vec<DatanodeInfoProto>)],
) -> Value {
    let datanode = |node: &DatanodeInfoProto| {
        json!({
            "name": node.id.xfer_address(),
            "hostname": node.id.host_name,
            "uuid": node.id.datanode_uuid,
            "rack": node.location(),
            "decommissionStatus": admin_state(node),
            "configuredCapacity": node.capacity(),
            "dfsUsed": node.dfs_used(),
            "nonDfsUsed": node.non_dfs_used(),
            "dfsRemaining": node.remaining(),
            "xceivers": node.xceiver_count(),
            "lastContact": node.last_update(),
            "lastBlockReport": node.last_block_report_time(),
            "blocks": node.num_blocks(),
        })
    };
    let lists: serde_json::Map<String, Value> = lists
        .iter()
        .map(|(title, nodes)| (title.to_string(), nodes.iter().map(datanode).collect()))
        .collect();
    json!({
        "safeMode": safe_mode,
        "configuredCapacity": stats.capacity,
        "presentCapacity": stats.remaining + stats.used,
        "dfsRemaining": stats.remaining,
        "dfsUsed": stats.used,
        "underReplicatedBlocks": blocks.low_redundancy,
        "corruptBlocks": blocks.corrupt_blocks,
        "missingBlocks": blocks.missing_blocks,
        "missingBlocksWithReplicationFactor1": blocks.missing_repl_one_blocks,
        "pendingDeletionBlocks": blocks.pending_deletion_blocks,
        "datanodes": lists,
    })
}

/// Prints the report.
pub(super) async fn report(fs: &FileSystem, flags: &Flags) -> Result<()> {
    let Figures {
        stats,
        blocks,
        groups,
        safe_mode,
    } = Figures::of(fs).await?;
    if flags.has("-json") {
        let lists = lists(fs, flags).await?;
        println!("{}", as_json(&stats, &blocks, safe_mode, &lists));
        return Ok(());
    }
    if safe_mode {
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
    println!("\tBadly Distributed Blocks: {}", blocks.badly_distributed_blocks());
    println!(
        "\tLow redundancy blocks with highest priority to recover: {}",
        blocks.highest_prio_low_redundancy_blocks.unwrap_or(0)
    );
    println!("\tPending deletion blocks: {}", blocks.pending_deletion_blocks);
    println!("Erasure Coded Block Groups: ");
    println!("\tLow redundancy block groups: {}", groups.low_redundancy);
    println!("\tBlock groups with corrupt internal blocks: {}", groups.corrupt_blocks);
    println!("\tMissing block groups: {}", groups.missing_blocks);
    println!("\tBadly Distributed Blocks: {}", groups.badly_distributed_blocks());
    println!(
        "\tLow redundancy blocks with highest priority to recover: {}",
        groups.highest_prio_low_redundancy_blocks()
    );
    println!("\tPending deletion blocks: {}", groups.pending_deletion_blocks);
    println!("\n-------------------------------------------------");
    for (title, nodes) in lists(fs, flags).await? {
        println!("{title} datanodes ({}):\n", nodes.len());
        for node in &nodes {
            print_datanode(node);
        }
    }
    Ok(())
}

/// The lists that are asked for. Without a choice empty ones are left out.
async fn lists(fs: &FileSystem, flags: &Flags) -> Result<Vec<(&'static str, Vec<DatanodeInfoProto>)>> {
    let all = REPORTS.iter().all(|(flag, ..)| !flags.has(flag)) && !flags.has("slownodes");
    let mut lists = Vec::new();
    for (flag, title, kind) in REPORTS {
        if all || flags.has(flag) {
            let nodes = datanodes(fs, kind).await?;
            if !nodes.is_empty() || !all {
                lists.push((title, nodes));
            }
        }
    }
    if flags.has("slownodes") {
        let request = hdfs::GetSlowDatanodeReportRequestProto {};
        let answer: hdfs::GetSlowDatanodeReportResponseProto = fs
            .call("getSlowDatanodeReport", &request, Idempotence::Idempotent)
            .await?;
        lists.push(("Slow", answer.datanode_info_proto));
    }
    Ok(lists)
}

/// The name of a DataNode's address, as the machine resolves it.
fn host_of(node: &DatanodeInfoProto) -> String {
    host(&HostPort {
        host: node.id.ip_addr.clone(),
        port: 0,
    })
}

fn admin_state(node: &DatanodeInfoProto) -> &'static str {
    match node.admin_state {
        Some(1) => "Decommission in progress",
        Some(2) => "Decommissioned",
        Some(3) => "Entering Maintenance",
        Some(4) => "In Maintenance",
        _ => "Normal",
    }
}

fn print_datanode(node: &DatanodeInfoProto) {
    let (capacity, used) = (node.capacity(), node.dfs_used());
    let name = node.id.xfer_address();
    println!("Name: {name} ({})", host_of(node));
    println!("Hostname: {}", node.id.host_name);
    let location = node.location();
    if !location.is_empty() && location != "/default-rack" {
        println!("Rack: {location}");
    }
    println!("Decommission Status : {}", admin_state(node));
    println!("Configured Capacity: {}", with_unit(capacity));
    println!("DFS Used: {}", with_unit(used));
    println!("Non DFS Used: {}", with_unit(node.non_dfs_used()));
    println!("DFS Remaining: {}", with_unit(node.remaining()));
    println!("DFS Used%: {}", percent_used(used, capacity));
    println!("DFS Remaining%: {}", percent(node.remaining(), capacity));
    println!("Configured Cache Capacity: {}", with_unit(node.cache_capacity()));
    let cache_left = node.cache_capacity().saturating_sub(node.cache_used());
    println!("Cache Used: {}", with_unit(node.cache_used()));
    println!("Cache Remaining: {}", with_unit(cache_left));
    println!(
        "Cache Used%: {}",
        percent_used(node.cache_used(), node.cache_capacity())
    );
    println!("Cache Remaining%: {}", percent(cache_left, node.cache_capacity()));
    println!("Xceivers: {}", node.xceiver_count());
    println!("Last contact: {}", date(node.last_update()));
    println!("Last Block Report: {}", date(node.last_block_report_time()));
    println!("Num of Blocks: {}\n\n", node.num_blocks());
}

pub(super) fn date(millis: u64) -> String {
    if millis == 0 {
        return "Never".to_owned();
    }
    crate::cmd::dfs::local_time(millis, "%a %b %d %H:%M:%S %Z %Y")
}

/// `12345 (12.06 KB)`
pub(super) fn with_unit(bytes: u64) -> String {
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
    let decimals = if value.fract() == 0.0 { 0 } else { 2 };
    let text = format!("{value:.decimals$}");
    format!("{bytes} ({text} {})", UNITS[unit])
}

/// Of no room at all everything is used (`DFSUtilClient.getPercentUsed`).
fn percent_used(part: u64, whole: u64) -> String {
    match whole {
        0 => "100.00%".to_owned(),
        whole => percent(part, whole),
    }
}

fn percent(part: u64, whole: u64) -> String {
    let value = if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    };
    format!("{value:.2}%")
}

pub(super) async fn topology(fs: &FileSystem) -> Result<()> {
    let mut nodes = datanodes(fs, DatanodeReportTypeProto::All).await?;
    nodes.sort_by(|a, b| {
        (a.location(), &a.id.ip_addr, a.id.xfer_port).cmp(&(b.location(), &b.id.ip_addr, b.id.xfer_port))
    });
    for rack in nodes.chunk_by(|a, b| a.location() == b.location()) {
        println!("Rack: {}", rack.first().map_or("", |node| node.location()));
        for node in rack {
            let state = match node.admin_state {
                Some(1) => "Decommission In Progress",
                Some(2) => "Decommissioned",
                Some(3) => "Entering Maintenance",
                Some(4) => "In Maintenance",
                _ => "In Service",
            };
            println!("   {} ({}) {state}", node.id.xfer_address(), host_of(node));
        }
        println!();
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
        assert_eq!(with_unit(1536), "1536 (1.50 KB)");
        assert_eq!(
            (percent_used(0, 0), percent(0, 0)),
            ("100.00%".to_owned(), "0.00%".to_owned())
        );
        assert_eq!(percent(1, 3), "33.33%");
        assert_eq!(percent(0, 0), "0.00%");
    }
}
