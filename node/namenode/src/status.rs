//! What the NameNode tells about itself: beans with Hadoop's names, and a page for people.

use crate::state::Shared;
use hathi_blockmanager::AdminState;
use hathi_conf::{JournalUri, host_and_port};
use hathi_formats::proto::hdfs::DatanodeReportTypeProto;
use hathi_namesystem::{HaState, Namesystem, Role};
use hathi_net::http::jmx::Bean;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// `Hadoop:service=NameNode,name=...`
fn bean(name: &str, modeler_type: &str, attributes: Value) -> Bean {
    let attributes = match attributes {
        Value::Object(attributes) => attributes,
        _ => Map::new(),
    };
    Bean {
        name: format!("Hadoop:service=NameNode,name={name}"),
        modeler_type: modeler_type.to_owned(),
        attributes,
    }
}

/// All beans.
#[must_use]
pub fn beans(shared: &Shared) -> Vec<Bean> {
    let nn = &shared.nn;
    let ns = nn.ns.read();
    let counts = ns.blockmanager().counts();
    let state = ns.role().ha_state().name();
    let safe_mode = if ns.blockmanager().in_safe_mode() {
        ns.blockmanager().safe_mode_tip()
    } else {
        String::new()
    };
    let inodes = ns.namespace().inode_count();
    let percent = |part: u64| {
        if counts.capacity == 0 {
            0.0
        } else {
            part as f64 * 100.0 / counts.capacity as f64
        }
    };
    let metrics = &nn.observed;
    let syncs = metrics.syncs();
    let sync_ms = if syncs == 0 {
        0.0
    } else {
        metrics.sync_us() as f64 / syncs as f64 / 1000.0
    };
    let fleet = Fleet::of(&ns);
    let split = nn.split.current(nn.clock.ms());
    let (difference, equal) = {
        let health = nn.health.lock();
        (health.divergence.difference().cloned(), health.divergence.equal_txid())
    };
    let mut beans = vec![
        bean(
            "NameNodeStatus",
            "org.apache.hadoop.hdfs.server.namenode.NameNode",
            json!({
                "NNRole": "NameNode",
                "State": state,
                "HostAndPort": nn.settings.rpc.to_string(),
                "SecurityEnabled": false,
                "LastHATransitionTime": ns.last_transition_ms(),
            }),
        ),
        bean(
            "NameNodeInfo",
            "org.apache.hadoop.hdfs.server.namenode.FSNamesystem",
            json!({
                "Version": format!("{}, rhathi", hathi_namesystem::namenode_protocol::SOFTWARE_VERSION),
                "SoftwareVersion": hathi_namesystem::namenode_protocol::SOFTWARE_VERSION,
                "ClusterId": ns.info().cluster_id,
                "BlockPoolId": ns.info().block_pool_id,
                "Total": counts.capacity,
                "Used": counts.dfs_used,
                "Free": counts.remaining,
                "NonDfsUsedSpace": counts.non_dfs_used,
                "BlockPoolUsedSpace": counts.block_pool_used,
                "PercentUsed": percent(counts.dfs_used),
                "PercentRemaining": percent(counts.remaining),
                "PercentBlockPoolUsed": percent(counts.block_pool_used),
                "TotalBlocks": counts.blocks,
                "NumberOfMissingBlocks": counts.missing,
                "NumberOfMissingBlocksWithReplicationFactorOne": counts.missing_replication_one,
                "TotalFiles": inodes,
                "Threads": threads(),
                "Safemode": safe_mode,
                "UpgradeFinalized": true,
                "LiveNodes": live_nodes(&ns),
                "DeadNodes": nodes(&ns, DatanodeReportTypeProto::Dead),
                "DecomNodes": nodes(&ns, DatanodeReportTypeProto::Decommissioning),
                "EnteringMaintenanceNodes": nodes(&ns, DatanodeReportTypeProto::EnteringMaintenance),
                "NameDirStatuses": name_dirs(shared),
                "NameJournalStatus": journal_status(shared),
                "JournalTransactionInfo": json!({
                    "LastAppliedOrWrittenTxId": ns.edit_log().applied().0.to_string(),
                    "MostRecentCheckpointTxId": ns.most_recent_checkpoint().0.to_string(),
                }).to_string(),
                "DistinctVersionCount": fleet.versions.len(),
                "DistinctVersions": fleet.versions_as_hadoop_lists_them(),
            }),
        ),
        bean(
            "FSNamesystemState",
            "org.apache.hadoop.hdfs.server.namenode.FSNamesystem",
            json!({
                "CapacityTotal": counts.capacity,
                "CapacityUsed": counts.dfs_used,
                "CapacityRemaining": counts.remaining,
                "TotalLoad": counts.total_load,
                "BlocksTotal": counts.blocks,
                "FilesTotal": inodes,
                "PendingReplicationBlocks": counts.pending_reconstruction,
                "PendingReconstructionBlocks": counts.pending_reconstruction,
                "UnderReplicatedBlocks": counts.low_redundancy,
                "LowRedundancyBlocks": counts.low_redundancy,
                "PendingDeletionBlocks": counts.pending_deletion,
                "FSState": if ns.blockmanager().in_safe_mode() { "safeMode" } else { "Operational" },
                "NumLiveDataNodes": counts.live_datanodes,
                "NumDeadDataNodes": counts.dead_datanodes,
                "NumStaleDataNodes": counts.stale_datanodes,
                "NumDecomLiveDataNodes": fleet.decommissioned_live,
                "NumDecomDeadDataNodes": fleet.decommissioned_dead,
                "NumDecommissioningDataNodes": fleet.decommissioning,
                "NumEnteringMaintenanceDataNodes": fleet.entering_maintenance,
                "NumInMaintenanceLiveDataNodes": fleet.in_maintenance_live,
                "NumInMaintenanceDeadDataNodes": fleet.in_maintenance_dead,
                "VolumeFailuresTotal": fleet.failed_volumes,
                "PendingSPSPaths": PENDING_SPS_PATHS,
            }),
        ),
        bean(
            "FSNamesystem",
            "FSNamesystem",
            json!({
                "tag.Context": "dfs",
                "tag.HAState": state,
                "MissingBlocks": counts.missing,
                "TransactionsSinceLastCheckpoint": ns.edit_log().applied().0.saturating_sub(ns.most_recent_checkpoint().0),
                "TransactionsSinceLastLogRoll": ns.edit_log().segment_txns(),
                "LastWrittenTransactionId": if ns.edit_log().is_open_for_write() { ns.edit_log().applied().0 } else { 0 },
                "LastCheckpointTime": ns.most_recent_checkpoint_ms(),
                "CapacityTotal": counts.capacity,
                "CapacityUsed": counts.dfs_used,
                "CapacityRemaining": counts.remaining,
                "TotalLoad": counts.total_load,
                "BlocksTotal": counts.blocks,
                "FilesTotal": inodes,
                "NumFilesUnderConstruction": ns.namespace().open_file_count(),
                "PendingReplicationBlocks": counts.pending_reconstruction,
                "PendingReconstructionBlocks": counts.pending_reconstruction,
                "LowRedundancyBlocks": counts.low_redundancy,
                "UnderReplicatedBlocks": counts.low_redundancy,
                "CorruptBlocks": counts.corrupt,
                "PendingDeletionBlocks": counts.pending_deletion,
                "PendingDataNodeMessageCount": counts.pending_datanode_messages,
                "StaleDataNodes": counts.stale_datanodes,
                "NumLiveDataNodes": counts.live_datanodes,
                "NumDeadDataNodes": counts.dead_datanodes,
                "PendingSPSPaths": PENDING_SPS_PATHS,
            }),
        ),
        bean(
            "NameNodeActivity",
            "NameNodeActivity",
            json!({
                "tag.Context": "dfs",
                "SyncsNumOps": syncs,
                "SyncsAvgTime": sync_ms,
                "SyncsLatencyMicros": metrics.commits().to_json(),
                "TransactionsNumOps": ns.edit_log().ops_total(),
                "FsImageLoadTime": metrics.load_ms(),
            }),
        ),
        bean(
            "Hathi",
            "Hathi",
            json!({
                "State": format!("{:?}", ns.role()),
                "AppliedTxId": ns.edit_log().applied().0,
                "SyncedTxId": ns.edit_log().synced().0,
                "ProvenTxId": ns.life().proven().0,
                "HealthProblem": nn.health.lock().problem(),
                "NamespaceDiffers": u8::from(difference.is_some()),
                "NamespaceDiffersAtTxId": difference.as_ref().map(|known| known.txid),
                "NamespaceDiffersSince": difference.as_ref().map(|known| known.since_ms),
                "NamespaceEqualAtTxId": equal,
                "Split": split,
                "SplitNameNodes": u8::from(split.is_some()),
                "ParkedReplies": nn.replies.parked(),
                "CallsKeptAsStandby": nn.standby_calls.kept(),
                "CallsPassedOnAsStandby": nn.standby_calls.passed_on(),
                "ReadLeaseRemainingMicros": nn.replies.lease_remaining_us(),
                "LastFailoverMicros": metrics.last_failover_us(),
                "RetryCacheHits": ns.retry_cache().hits(),
            }),
        ),
    ];
    drop(ns);
    for (index, lease) in shared.leases.lock().states() {
        let Some(address) = shared.readers.nodes.address(*index) else {
            continue;
        };
        beans.push(bean(
            &format!("JournalNode-{}-{}", address.host, address.port),
            "JournalNode",
            json!({
                "PromisedEpoch": lease.promised_epoch.0,
                "WriterEpoch": lease.writer_epoch.0,
                "LeaseHolder": lease.holder.as_deref(),
                "Distrusted": shared.readers.nodes.distrusted(&address),
                "HighestTxId": lease.highest.0,
                "CommittedTxId": lease.committed.map(|txid| txid.0),
            }),
        ));
    }
    let lags = metrics.journal_lags();
    for (index, lag) in shared.readers.nodes.members().into_iter().zip(lags) {
        let Some(address) = shared.readers.nodes.address(index) else {
            continue;
        };
        let rpcs = metrics.journal_rpcs(index);
        // Not by its name, and without the colons of IPv6 (`IPCLoggerChannelMetrics.getName`).
        let ip = shared.readers.nodes.ip(index);
        let host = ip.map_or(address.host, |ip| ip.to_string().replace(':', "."));
        beans.push(bean(
            &format!("IPCLoggerChannel-{host}-{}", address.port),
            "IPCLoggerChannel",
            json!({
                "tag.Context": "dfs",
                "tag.IsOutOfSync": (!lag.in_sync).to_string(),
                "CurrentLagTxns": lag.txns,
                "LagTimeMillis": lag.time / 1000,
                "QueuedEditsSize": lag.queued_bytes,
                "WritesRpcLatencyMicros": rpcs.to_json(),
            }),
        ));
    }
    beans
}

/// What is counted of DataNodes by the state that their administrator has put them in.
#[derive(Debug, Default)]
struct Fleet<'a> {
    decommissioning: usize,
    decommissioned_live: usize,
    decommissioned_dead: usize,
    entering_maintenance: usize,
    in_maintenance_live: usize,
    in_maintenance_dead: usize,
    /// Of live nodes.
    failed_volumes: u64,
    /// Live nodes by their version.
    versions: BTreeMap<&'a str, usize>,
}

impl Fleet<'_> {
    fn of(ns: &Namesystem) -> Fleet<'_> {
        let mut fleet = Fleet::default();
        for (_, node) in ns.blockmanager().datanodes() {
            match (node.admin_state, node.alive) {
                (AdminState::Normal, _) => {}
                (AdminState::DecommissionInProgress, _) => fleet.decommissioning += 1,
                (AdminState::Decommissioned, true) => fleet.decommissioned_live += 1,
                (AdminState::Decommissioned, false) => fleet.decommissioned_dead += 1,
                (AdminState::EnteringMaintenance, _) => fleet.entering_maintenance += 1,
                (AdminState::InMaintenance, true) => fleet.in_maintenance_live += 1,
                (AdminState::InMaintenance, false) => fleet.in_maintenance_dead += 1,
            }
            if node.alive {
                fleet.failed_volumes += u64::from(node.failed_volumes);
                *fleet.versions.entry(node.software_version.as_str()).or_default() += 1;
            }
        }
        fleet
    }

    fn versions_as_hadoop_lists_them(&self) -> Value {
        let pairs = self.versions.iter();
        pairs
            .map(|(version, count)| json!({"key": version, "value": count}))
            .collect()
    }
}

/// Threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn live_nodes(ns: &Namesystem) -> String {
    nodes(ns, DatanodeReportTypeProto::Live)
}

fn nodes(ns: &Namesystem, which: DatanodeReportTypeProto) -> String {
    let mut map = Map::new();
    for node in ns.blockmanager().datanode_report(which) {
        let id = &node.id;
        map.insert(
            host_and_port(&id.host_name, id.xfer_port),
            json!({
                "infoAddr": host_and_port(&id.ip_addr, id.info_port),
                "infoSecureAddr": host_and_port(&id.ip_addr, id.info_secure_port.unwrap_or(0)),
                "xferaddr": id.xfer_address(),
                "location": node.location.clone().unwrap_or_default(),
                "uuid": id.datanode_uuid,
                "usedSpace": node.dfs_used.unwrap_or(0),
                "capacity": node.capacity.unwrap_or(0),
                "remaining": node.remaining.unwrap_or(0),
                "used": node.dfs_used.unwrap_or(0),
                "nonDfsUsedSpace": node.non_dfs_used.unwrap_or(0),
                "blockPoolUsed": node.block_pool_used.unwrap_or(0),
            }),
        );
    }
    Value::Object(map).to_string()
}

fn name_dirs(shared: &Shared) -> String {
    let settings = &shared.nn.settings;
    let gone = shared.dirs.failed();
    let (mut active, mut failed) = (Map::new(), Map::new());
    for dir in settings.name_dirs.iter().chain(&settings.edits_dirs) {
        let holds = match (settings.name_dirs.contains(dir), settings.edits_dirs.contains(dir)) {
            (true, false) => "IMAGE",
            (false, true) => "EDITS",
            _ => "IMAGE_AND_EDITS",
        };
        let of = if gone.contains_key(&dir.join("current")) {
            &mut failed
        } else {
            &mut active
        };
        of.insert(dir.display().to_string(), json!(holds));
    }
    json!({"active": active, "failed": failed}).to_string()
}

fn journal_status(shared: &Shared) -> String {
    if shared.nn.settings.is_single() {
        return own_journals(shared);
    }
    let manager = match &shared.nn.settings.shared {
        Some(JournalUri::File(path)) => format!("FileJournalManager(root={})", path.display()),
        _ => {
            let addresses: Vec<String> = shared
                .readers
                .nodes
                .addresses()
                .iter()
                .map(ToString::to_string)
                .collect();
            format!("QJM to [{}]", addresses.join(", "))
        }
    };
    let stream = if shared.nn.role() == Role::Active {
        "writing"
    } else {
        "open for read"
    };
    json!([{
        "required": "true",
        "disabled": "false",
        "manager": manager,
        "stream": stream,
    }])
    .to_string()
}

/// Text inside HTML or XML.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// Paths that wait for the storage policy satisfier: `satisfyStoragePolicy` is refused, so that none ever does. Without the
/// number the Router knows nothing of a NameNode's load.
const PENDING_SPS_PATHS: u32 = 0;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:62em;padding:0 1em;color:#222;background:#fafafa}\
h1{font-size:1.5em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse;width:100%;background:#fff}\
td,th{padding:.35em .7em;border-bottom:1px solid #e4e4e4;text-align:left;font-variant-numeric:tabular-nums}\
th{font-weight:600;color:#555}.active{color:#0a7a34;font-weight:600}.standby{color:#8a6d00}.bad{color:#b00020;font-weight:600}";

/// Of the only NameNode: its directories.
fn own_journals(shared: &Shared) -> String {
    let settings = &shared.nn.settings;
    let failed = shared.dirs.failed();
    let journals = settings.edits_dirs.iter().map(|dir| {
        let current = dir.join("current");
        let disabled = failed.contains_key(&current);
        json!({
            "required": settings.edits_must_have.required.contains(&current).to_string(),
            "disabled": disabled.to_string(),
            "manager": format!("FileJournalManager(root={})", dir.display()),
            "stream": if disabled { "Failed" } else { "writing" },
        })
    });
    Value::Array(journals.collect()).to_string()
}

/// The status page.
#[must_use]
pub fn page(shared: &Shared) -> String {
    let nn = &shared.nn;
    let ns = nn.ns.read();
    let counts = ns.blockmanager().counts();
    let state = ns.role().ha_state();
    let class = if state == HaState::Active { "active" } else { "standby" };
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5><title>NameNode {id}</title>\
         <style>{STYLE}</style><h1>NameNode {id} <span class={class}>{state}</span></h1>",
        id = escape(&nn.settings.rpc.to_string()),
        state = state.name(),
    );
    if ns.blockmanager().in_safe_mode() {
        let _ = write!(
            page,
            "<p class=bad>Safe mode is on. {}</p>",
            escape(&ns.blockmanager().safe_mode_tip())
        );
    }
    let mut table = Table::new(&mut page, "Overview", &[]);
    table.row(&["Nameservice", &nn.settings.nameservice_id]);
    table.row(&["Cluster", &ns.info().cluster_id]);
    table.row(&["Block pool", &ns.info().block_pool_id]);
    table.row(&["Files, directories", &ns.namespace().inode_count().to_string()]);
    table.row(&["Blocks", &counts.blocks.to_string()]);
    table.row(&[
        "Missing, corrupt, under-replicated blocks",
        &format!("{}, {}, {}", counts.missing, counts.corrupt, counts.low_redundancy),
    ]);
    table.row(&[
        "Capacity",
        &format!(
            "{} used of {}, {} free",
            size(counts.dfs_used),
            size(counts.capacity),
            size(counts.remaining)
        ),
    ]);
    table.row(&[
        "Last transaction applied, durable",
        &format!("{}, {}", ns.edit_log().applied(), ns.edit_log().synced()),
    ]);
    table.row(&[
        "Last checkpoint",
        &format!("transaction {}", ns.most_recent_checkpoint()),
    ]);
    let failover_us = nn.observed.last_failover_us();
    let failover = match failover_us {
        0 => "none here".to_owned(),
        us => format!("took {:.1} ms", us as f64 / 1000.0),
    };
    table.row(&["Last change to active", &failover]);
    table.end();

    let mut table = Table::new(&mut page, "NameNodes", &["Id", "State", "Web"]);
    let own = if nn.settings.namenode_id.is_empty() {
        "this one"
    } else {
        &nn.settings.namenode_id
    };
    table.row(&[own, state.name(), &nn.settings.http.to_string()]);
    let holder = shared
        .leases
        .lock()
        .states()
        .values()
        .find_map(|lease| lease.holder.clone().filter(|_| lease.remaining_ms > 0));
    for peer in &nn.settings.peers {
        let active = holder
            .as_deref()
            .is_some_and(|holder| holder.split('@').next() == Some(peer.namenode_id.as_str()));
        let known = match (active, nn.role()) {
            (true, _) => "active",
            (false, Role::Active) => "not active",
            _ if holder.is_some() => "not active",
            _ => "unknown",
        };
        table.row(&[&peer.namenode_id, known, &peer.http.to_string()]);
    }
    table.end();

    let mut table = Table::new(&mut page, "Storage directories", &["Directory", "State"]);
    let failed = shared.dirs.failed();
    let settings = &nn.settings;
    let more = settings
        .edits_dirs
        .iter()
        .filter(|dir| !settings.name_dirs.contains(dir));
    for dir in settings.name_dirs.iter().chain(more) {
        let reason = failed.get(&dir.join("current"));
        let state = reason.map_or("in use".to_owned(), |reason| format!("failed: {reason}"));
        table.row(&[&dir.display().to_string(), &state]);
    }
    table.end();

    let mut table = Table::new(&mut page, "JournalNodes", &["Address", "Epoch", "Behind", "Read lease"]);
    let leases = shared.leases.lock().states().clone();
    let lags = nn.observed.journal_lags();
    for (place, index) in shared.readers.nodes.members().into_iter().enumerate() {
        let Some(address) = shared.readers.nodes.address(index) else {
            continue;
        };
        let lease = leases.get(&index);
        // Only the writer knows; what a standby was told may be old.
        let behind = match lags.get(place) {
            Some(lag) if lag.in_sync && lag.txns == 0 => "in sync".to_owned(),
            Some(lag) if lag.in_sync => format!("{} transactions on their way", lag.txns),
            Some(lag) => format!("{} transactions, catching up", lag.txns),
            None => "-".to_owned(),
        };
        match lease {
            None => table.row(&[&address.to_string(), "does not answer, or is Hadoop's", &behind, "-"]),
            Some(lease) => table.row(&[
                &address.to_string(),
                &lease.promised_epoch.to_string(),
                &behind,
                lease.holder.as_deref().unwrap_or("nobody"),
            ]),
        }
    }
    table.end();

    let mut table = Table::new(
        &mut page,
        "DataNodes",
        &["Address", "State", "Used", "Capacity", "Free"],
    );
    for (which, name) in [
        (DatanodeReportTypeProto::Live, "live"),
        (DatanodeReportTypeProto::Dead, "dead"),
    ] {
        for node in ns.blockmanager().datanode_report(which) {
            table.row(&[
                &host_and_port(&node.id.host_name, node.id.xfer_port),
                name,
                &size(node.dfs_used.unwrap_or(0)),
                &size(node.capacity.unwrap_or(0)),
                &size(node.remaining.unwrap_or(0)),
            ]);
        }
    }
    table.end();
    page.push_str(
        "<p><a href=/jmx>jmx</a> · <a href=/metrics>metrics</a> · <a href=/conf>configuration</a></p></html>\n",
    );
    page
}

struct Table<'a>(&'a mut String);

impl<'a> Table<'a> {
    fn new(page: &'a mut String, title: &str, headings: &[&str]) -> Table<'a> {
        let _ = write!(page, "<h2>{title}</h2><table>");
        if !headings.is_empty() {
            page.push_str("<tr>");
            for heading in headings {
                let _ = write!(page, "<th>{heading}</th>");
            }
            page.push_str("</tr>");
        }
        Table(page)
    }

    fn row(&mut self, cells: &[&str]) {
        self.0.push_str("<tr>");
        for cell in cells {
            let _ = write!(self.0, "<td>{}</td>", escape(cell));
        }
        self.0.push_str("</tr>");
    }

    fn end(self) {
        self.0.push_str("</table>");
    }
}

fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use hathi_formats::proto::hdfs::DatanodeIdProto;

    #[test]
    fn sizes_and_text_are_fit_for_a_page() {
        assert_eq!(size(512), "512 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(escape("<a&\"b\">"), "&lt;a&amp;&quot;b&quot;&gt;");
    }

    /// `NamenodeHeartbeatService.getFsNamesystemMetrics`: without one of them the router knows nothing of a NameNode's load.
    #[test]
    fn what_hadoops_router_must_find_is_there() {
        let alone = testing::active();
        let beans = beans(&alone.shared);
        for (name, attributes) in [
            (
                "FSNamesystemState",
                &[
                    "NumLiveDataNodes",
                    "NumDeadDataNodes",
                    "NumStaleDataNodes",
                    "NumDecommissioningDataNodes",
                    "NumDecomLiveDataNodes",
                    "NumDecomDeadDataNodes",
                ][..],
            ),
            (
                "FSNamesystem",
                &[
                    "CapacityRemaining",
                    "CapacityTotal",
                    "FilesTotal",
                    "BlocksTotal",
                    "MissingBlocks",
                    "PendingReplicationBlocks",
                    "UnderReplicatedBlocks",
                    "PendingDeletionBlocks",
                    "PendingSPSPaths",
                ],
            ),
        ] {
            let name = format!("Hadoop:service=NameNode,name={name}");
            let bean = beans.iter().find(|bean| bean.name == name).unwrap();
            for attribute in attributes {
                let number = bean.attributes.get(*attribute).and_then(Value::as_u64);
                assert!(number.is_some(), "{attribute} of {name}");
            }
        }
    }

    #[test]
    fn what_is_shown_of_datanodes_is_counted() {
        let alone = testing::active();
        let nn = &alone.shared.nn;
        {
            let mut ns = nn.ns.write();
            for (uuid, version) in [("a", "3.5.0"), ("b", "3.5.0"), ("c", "3.4.1")] {
                let id = DatanodeIdProto {
                    ip_addr: format!("10.0.0.{}", uuid.len()),
                    host_name: uuid.to_owned(),
                    datanode_uuid: uuid.to_owned(),
                    xfer_port: u32::from(uuid.as_bytes()[0]),
                    ..DatanodeIdProto::default()
                };
                let index = ns.register_datanode(id, version, nn.clock.now()).unwrap();
                if uuid == "a" {
                    ns.set_admin_state(index, AdminState::DecommissionInProgress);
                }
            }
        }
        let beans = beans(&alone.shared);
        let of = |name: &str, key: &str| {
            let bean = beans
                .iter()
                .find(|bean| bean.name.ends_with(&format!("name={name}")))
                .unwrap();
            bean.attributes.get(key).cloned()
        };
        assert_eq!(of("FSNamesystemState", "NumDecommissioningDataNodes"), Some(json!(1)));
        assert_eq!(of("NameNodeInfo", "DistinctVersionCount"), Some(json!(2)));
        assert!(of("NameNodeInfo", "Threads").unwrap().as_u64() > Some(0));
        for (bean, never_counted) in [
            ("NameNodeInfo", "CorruptFiles"),
            ("NameNodeStatus", "SlowPeersReport"),
            ("FSNamesystemState", "ScheduledReplicationBlocks"),
        ] {
            assert_eq!(of(bean, never_counted), None);
        }
    }
}
