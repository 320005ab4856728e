//! What `/jmx` says of DataNodes.

use hathi_blockmanager::{AdminState, Datanode, Now};
use hathi_conf::host_and_port;
use hathi_formats::proto::hdfs::{DatanodeInfoProto, DatanodeReportTypeProto};
use hathi_namesystem::Namesystem;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is counted of DataNodes by the state that their administrator has put them in.
#[derive(Debug, Default)]
pub struct Fleet<'a> {
    /// Their replicas are being copied elsewhere.
    pub decommissioning: usize,
    /// May be switched off, and live.
    pub decommissioned_live: usize,
    /// Were decommissioned, and are dead.
    pub decommissioned_dead: usize,
    /// Going into maintenance.
    pub entering_maintenance: usize,
    /// In maintenance, and live.
    pub in_maintenance_live: usize,
    /// In maintenance, and dead.
    pub in_maintenance_dead: usize,
    /// Of live nodes.
    pub failed_volumes: u64,
    /// Live nodes by their version.
    pub versions: BTreeMap<&'a str, usize>,
    /// Live nodes that take blocks.
    pub in_service_live: usize,
    /// Percent of its capacity that each live node has used, in ascending order.
    usage: Vec<f64>,
}

impl Fleet<'_> {
    /// Counts all nodes.
    #[must_use]
    pub fn of(ns: &Namesystem) -> Fleet<'_> {
        let mut fleet = Fleet::default();
        for (_, node) in ns.blockmanager().datanodes() {
            match (node.admin_state, node.alive) {
                (AdminState::Normal, alive) => fleet.in_service_live += usize::from(alive),
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
        for info in ns.blockmanager().datanode_report(DatanodeReportTypeProto::Live) {
            fleet
                .usage
                .push(percent(info.dfs_used.unwrap_or(0), info.capacity.unwrap_or(0)));
        }
        fleet.usage.sort_by(f64::total_cmp);
        fleet
    }

    /// `NodeUsage` of `NameNodeInfo`: how evenly the live nodes are used.
    #[must_use]
    pub fn usage_json(&self) -> String {
        let percent = |value: f64| format!("{value:.2}%");
        let count = self.usage.len() as f64;
        let (mut median, mut deviation) = (0.0, 0.0);
        if let Some(middle) = self.usage.get(self.usage.len() / 2) {
            median = *middle;
            let mean = self.usage.iter().sum::<f64>() / count;
            deviation = (self.usage.iter().map(|usage| (usage - mean).powi(2)).sum::<f64>() / count).sqrt();
        }
        let usage = json!({
            "min": percent(self.usage.first().copied().unwrap_or_default()),
            "median": percent(median),
            "max": percent(self.usage.last().copied().unwrap_or_default()),
            "stdDev": percent(deviation),
        });
        json!({"nodeUsage": usage}).to_string()
    }

    /// `DistinctVersions` of `NameNodeInfo`.
    #[must_use]
    pub fn versions_as_hadoop_lists_them(&self) -> Value {
        let pairs = self.versions.iter();
        pairs
            .map(|(version, count)| json!({"key": version, "value": count}))
            .collect()
    }
}

/// A part in percent of a whole; 0 of nothing.
#[must_use]
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

fn admin_state(state: AdminState) -> &'static str {
    match state {
        AdminState::Normal => "In Service",
        AdminState::DecommissionInProgress => "Decommission In Progress",
        AdminState::Decommissioned => "Decommissioned",
        AdminState::EnteringMaintenance => "Entering Maintenance",
        AdminState::InMaintenance => "In Maintenance",
    }
}

/// The DataNodes of a kind, as `LiveNodes` and its like list them: an object by host and port, as text.
#[must_use]
pub fn listed(ns: &Namesystem, which: DatanodeReportTypeProto, now: Now) -> String {
    Value::Object(list(ns, which, now)).to_string()
}

fn list(ns: &Namesystem, which: DatanodeReportTypeProto, now: Now) -> Map<String, Value> {
    let mut map = Map::new();
    for info in ns.blockmanager().datanode_report(which) {
        let found = ns.blockmanager().find_datanode(&info.id.datanode_uuid);
        if let Some(node) = found.and_then(|index| ns.blockmanager().datanode(index)) {
            map.insert(
                host_and_port(&info.id.host_name, info.id.xfer_port),
                one(node, &info, now),
            );
        }
    }
    map
}

fn one(node: &Datanode, info: &DatanodeInfoProto, now: Now) -> Value {
    let seconds_ago = |monotonic_ms: u64| now.monotonic_ms.saturating_sub(monotonic_ms) / 1000;
    let id = &info.id;
    let (capacity, used) = (info.capacity.unwrap_or(0), info.dfs_used.unwrap_or(0));
    let pool_used = info.block_pool_used.unwrap_or(0);
    let mut about = json!({
        "infoAddr": host_and_port(&id.ip_addr, id.info_port),
        "infoSecureAddr": host_and_port(&id.ip_addr, id.info_secure_port.unwrap_or(0)),
        "xferaddr": id.xfer_address(),
        "location": info.location.clone().unwrap_or_default(),
        "uuid": id.datanode_uuid,
        "lastContact": seconds_ago(node.last_update.monotonic_ms),
        "adminState": admin_state(node.admin_state),
        "version": node.software_version,
        "usedSpace": used,
        "used": used,
        "nonDfsUsedSpace": info.non_dfs_used.unwrap_or(0),
        "capacity": capacity,
        "remaining": info.remaining.unwrap_or(0),
        "numBlocks": info.num_blocks.unwrap_or(0),
        "blockPoolUsed": pool_used,
        "blockPoolUsedPercent": percent(pool_used, capacity),
        "xceivers": node.xceivers,
        "volfails": node.failed_volumes,
    });
    let reported = node.last_block_report.monotonic_ms;
    if let Some(about) = about.as_object_mut() {
        if reported > 0 {
            // Hadoop's page shows it in minutes.
            about.insert("lastBlockReport".to_owned(), (seconds_ago(reported) / 60).into());
        }
        if !node.alive {
            about.insert(
                "decommissioned".to_owned(),
                (node.admin_state == AdminState::Decommissioned).into(),
            );
        }
    }
    about
}

/// All DataNodes with their volumes, for `/api/cluster`.
#[must_use]
pub fn all(ns: &Namesystem, now: Now) -> Vec<Value> {
    let mut nodes = Vec::new();
    for report in ns.blockmanager().datanode_storage_report(DatanodeReportTypeProto::All) {
        let info = &report.datanode_info;
        let found = ns.blockmanager().find_datanode(&info.id.datanode_uuid);
        let Some(node) = found.and_then(|index| ns.blockmanager().datanode(index)) else {
            continue;
        };
        let volumes = report.storage_reports.iter().map(|volume| {
            json!({
                "id": volume.storage_uuid,
                "type": volume.storage.as_ref().map_or("DISK", |storage| storage.storage_type().as_str_name()),
                "failed": volume.failed(),
                "capacity": volume.capacity(),
                "used": volume.dfs_used(),
                "remaining": volume.remaining(),
            })
        });
        let mut about = one(node, info, now);
        if let Some(about) = about.as_object_mut() {
            about.insert(
                "host".to_owned(),
                host_and_port(&info.id.host_name, info.id.xfer_port).into(),
            );
            about.insert("state".to_owned(), if node.alive { "live" } else { "dead" }.into());
            about.insert(
                "stale".to_owned(),
                (node.alive && node.is_stale(ns.blockmanager().config(), now)).into(),
            );
            about.insert("volumes".to_owned(), volumes.collect());
        }
        nodes.push(about);
    }
    nodes
}
