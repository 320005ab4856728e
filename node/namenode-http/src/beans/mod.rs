//! The beans of `/jmx`, with Hadoop's names.

mod activity;
pub mod datanodes;
mod erasure_coding;

pub use activity::startup_json;
pub use datanodes::Fleet;

use crate::pages::Pages;
use crate::readiness;
use hathi_blockmanager::{Counts, Now};
use hathi_conf::JournalUri;
use hathi_formats::proto::hdfs::DatanodeReportTypeProto;
use hathi_namesystem::{Namesystem, Role};
use hathi_net::histogram::HistogramCounts;
use hathi_net::http::jmx::{self, Bean};
use hathi_net::metrics::process::ProcessFigures;
use serde_json::{Map, Value, json};

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

/// What the beans are made of.
struct View<'a> {
    pages: &'a Pages,
    ns: &'a Namesystem,
    counts: Counts,
    fleet: Fleet<'a>,
    process: ProcessFigures,
    syncs: HistogramCounts,
    now: Now,
    name_dir_sizes: String,
}

impl View<'_> {
    /// The last two are asked of the system, which must not be done under the lock.
    fn of<'a>(pages: &'a Pages, ns: &'a Namesystem, process: ProcessFigures, name_dir_sizes: String) -> View<'a> {
        View {
            process,
            name_dir_sizes,
            pages,
            ns,
            counts: ns.blockmanager().counts(),
            fleet: Fleet::of(ns),
            syncs: pages.nn.observed.commits(),
            now: pages.nn.clock.now(),
        }
    }

    fn state(&self) -> &'static str {
        self.ns.role().ha_state().name()
    }

    fn percent(&self, part: u64) -> f64 {
        datanodes::percent(part, self.counts.capacity)
    }

    fn safe_mode(&self) -> String {
        if self.ns.blockmanager().in_safe_mode() {
            self.ns.blockmanager().safe_mode_tip()
        } else {
            String::new()
        }
    }
}

/// All beans.
#[must_use]
pub fn beans(pages: &Pages) -> Vec<Bean> {
    let (process, name_dir_sizes) = (ProcessFigures::now(), name_dir_sizes(pages));
    let mut beans = {
        let ns = pages.nn.ns.read();
        let view = View::of(pages, &ns, process, name_dir_sizes);
        vec![
            status_bean(&view),
            info_bean(&view),
            state_bean(&view),
            namesystem_bean(&view),
            erasure_coding::bean(view.ns),
            activity::bean(pages, &ns),
            activity::startup(pages, &ns),
            retry_cache_bean(&view),
            own_bean(&view),
        ]
    };
    beans.push(jmx::process_bean("NameNode"));
    if let Some(meter) = pages.nn.observed.rpc.get() {
        beans.extend(jmx::rpc_beans("NameNode", meter));
    }
    beans.extend(lease_beans(pages));
    beans.extend(channel_beans(pages));
    beans
}

/// `NameNodeStatusMXBean`
fn status_bean(view: &View<'_>) -> Bean {
    bean(
        "NameNodeStatus",
        "org.apache.hadoop.hdfs.server.namenode.NameNode",
        json!({
            "NNRole": "NameNode",
            "State": view.state(),
            "HostAndPort": view.pages.nn.settings.rpc.to_string(),
            "SecurityEnabled": false,
            "LastHATransitionTime": view.ns.last_transition_ms(),
        }),
    )
}

/// `NameNodeMXBean`
fn info_bean(view: &View<'_>) -> Bean {
    bean(
        "NameNodeInfo",
        "org.apache.hadoop.hdfs.server.namenode.FSNamesystem",
        json!({
            "Version": format!("{}, rhathi", hathi_namesystem::namenode_protocol::SOFTWARE_VERSION),
            "SoftwareVersion": hathi_namesystem::namenode_protocol::SOFTWARE_VERSION,
            "ClusterId": view.ns.info().cluster_id,
            "BlockPoolId": view.ns.info().block_pool_id,
            "Total": view.counts.capacity,
            "Used": view.counts.dfs_used,
            "Free": view.counts.remaining,
            "NonDfsUsedSpace": view.counts.non_dfs_used,
            "BlockPoolUsedSpace": view.counts.block_pool_used,
            "CacheCapacity": view.ns.blockmanager().cache_bytes().0,
            "CacheUsed": view.ns.blockmanager().cache_bytes().1,
            "PercentUsed": view.percent(view.counts.dfs_used),
            "PercentRemaining": view.percent(view.counts.remaining),
            "PercentBlockPoolUsed": view.percent(view.counts.block_pool_used),
            "TotalBlocks": view.counts.blocks,
            "NumberOfMissingBlocks": view.counts.missing,
            "NumberOfMissingBlocksWithReplicationFactorOne": view.counts.missing_replication_one,
            "TotalFiles": view.ns.namespace().inode_count(),
            "Threads": view.process.threads,
            "Safemode": view.safe_mode(),
            "UpgradeFinalized": true,
            "LiveNodes": datanodes::listed(view.ns, DatanodeReportTypeProto::Live, view.now),
            "DeadNodes": datanodes::listed(view.ns, DatanodeReportTypeProto::Dead, view.now),
            "DecomNodes": datanodes::listed(view.ns, DatanodeReportTypeProto::Decommissioning, view.now),
            "EnteringMaintenanceNodes": datanodes::listed(view.ns, DatanodeReportTypeProto::EnteringMaintenance, view.now),
            "NameDirStatuses": name_dirs(view.pages),
            "NameJournalStatus": journal_status(view.pages),
            "JournalTransactionInfo": json!({
                "LastAppliedOrWrittenTxId": view.ns.edit_log().applied().0.to_string(),
                "MostRecentCheckpointTxId": view.ns.most_recent_checkpoint().0.to_string(),
            }).to_string(),
            "NodeUsage": view.fleet.usage_json(),
            "NNStartedTimeInMillis": view.process.started_seconds.map(|seconds| (seconds * 1000.0) as u64),
            "NumberOfBadlyDistributedBlocks": view.counts.badly_distributed,
            "HighestPriorityLowRedundancyReplicatedBlocks": view.counts.highest_priority,
            "NameDirSize": view.name_dir_sizes,
            "CorruptFiles": corrupt_files(view.ns),
            "CorruptFilesCount": view.counts.missing,
            "DistinctVersionCount": view.fleet.versions.len(),
            "DistinctVersions": view.fleet.versions_as_hadoop_lists_them(),
            "VerifyECWithTopologyResult": erasure_coding::topology(view.ns),
        }),
    )
}

/// `FSNamesystemMBean`
fn state_bean(view: &View<'_>) -> Bean {
    bean(
        "FSNamesystemState",
        "org.apache.hadoop.hdfs.server.namenode.FSNamesystem",
        json!({
            "CapacityTotal": view.counts.capacity,
            "CapacityUsed": view.counts.dfs_used,
            "CapacityRemaining": view.counts.remaining,
            "TotalLoad": view.counts.total_load,
            "BlocksTotal": view.counts.blocks,
            "FilesTotal": view.ns.namespace().inode_count(),
            "PendingReplicationBlocks": view.counts.pending_reconstruction,
            "PendingReconstructionBlocks": view.counts.pending_reconstruction,
            "UnderReplicatedBlocks": view.counts.low_redundancy,
            "LowRedundancyBlocks": view.counts.low_redundancy,
            "PendingDeletionBlocks": view.counts.pending_deletion,
            "FSState": if view.ns.blockmanager().in_safe_mode() { "safeMode" } else { "Operational" },
            "NumLiveDataNodes": view.counts.live_datanodes,
            "NumDeadDataNodes": view.counts.dead_datanodes,
            "NumStaleDataNodes": view.counts.stale_datanodes,
            "NumDecomLiveDataNodes": view.fleet.decommissioned_live,
            "NumDecomDeadDataNodes": view.fleet.decommissioned_dead,
            "NumDecommissioningDataNodes": view.fleet.decommissioning,
            "NumEnteringMaintenanceDataNodes": view.fleet.entering_maintenance,
            "NumInMaintenanceLiveDataNodes": view.fleet.in_maintenance_live,
            "NumInMaintenanceDeadDataNodes": view.fleet.in_maintenance_dead,
            "VolumeFailuresTotal": view.fleet.failed_volumes,
            "NumInServiceLiveDataNodes": view.fleet.in_service_live,
            "TopUserOpCounts": activity::top_users(view.pages),
            "TotalSyncCount": view.syncs.count(),
            "TotalSyncTimes": format!("{} ", (view.syncs.sum_seconds() * 1e3) as u64),
            "PendingSPSPaths": view.ns.pending_satisfier_paths(),
        }),
    )
}

/// The metrics record `FSNamesystem`.
fn namesystem_bean(view: &View<'_>) -> Bean {
    let mut attributes = json!({
        "tag.Context": "dfs",
        "tag.HAState": view.state(),
        "MissingBlocks": view.counts.missing,
        "TransactionsSinceLastCheckpoint": view.ns.edit_log().applied().0.saturating_sub(view.ns.most_recent_checkpoint().0),
        "TransactionsSinceLastLogRoll": view.ns.edit_log().segment_txns(),
        "LastWrittenTransactionId": if view.ns.edit_log().is_open_for_write() { view.ns.edit_log().applied().0 } else { 0 },
        "LastCheckpointTime": view.ns.most_recent_checkpoint_ms(),
        "CapacityTotal": view.counts.capacity,
        "CapacityUsed": view.counts.dfs_used,
        "CapacityRemaining": view.counts.remaining,
        "TotalLoad": view.counts.total_load,
        "BlocksTotal": view.counts.blocks,
        "FilesTotal": view.ns.namespace().inode_count(),
        "NumFilesUnderConstruction": view.ns.namespace().open_file_count(),
        "PendingReplicationBlocks": view.counts.pending_reconstruction,
        "PendingReconstructionBlocks": view.counts.pending_reconstruction,
        "LowRedundancyBlocks": view.counts.low_redundancy,
        "UnderReplicatedBlocks": view.counts.low_redundancy,
        "CorruptBlocks": view.counts.corrupt,
        "PendingDeletionBlocks": view.counts.pending_deletion,
        "PendingDataNodeMessageCount": view.counts.pending_datanode_messages,
        "PendingSPSPaths": view.ns.pending_satisfier_paths(),
    });
    let more = json!({
        "MissingReplOneBlocks": view.counts.missing_replication_one,
        "MissingReplicationOneBlocks": view.counts.missing_replication_one,
        "MissingReplicatedBlocks": view.counts.missing,
        "CorruptReplicatedBlocks": view.counts.corrupt,
        "LowRedundancyReplicatedBlocks": view.counts.low_redundancy,
        "HighestPriorityLowRedundancyReplicatedBlocks": view.counts.highest_priority,
        "BadlyDistBlocks": view.counts.badly_distributed,
        "BadlyDistributedBlocks": view.counts.badly_distributed,
        "PostponedMisreplicatedBlocks": view.counts.postponed,
        "TotalReplicatedBlocks": view.counts.blocks,
        "PendingDeletionReplicatedBlocks": view.counts.pending_deletion,
        "CapacityTotalGB": gigabytes(view.counts.capacity),
        "CapacityUsedGB": gigabytes(view.counts.dfs_used),
        "CapacityRemainingGB": gigabytes(view.counts.remaining),
        "CapacityUsedNonDFS": view.counts.non_dfs_used,
        "TotalSyncCount": view.syncs.count(),
        "NumDecomLiveDataNodes": view.fleet.decommissioned_live,
        "NumDecomDeadDataNodes": view.fleet.decommissioned_dead,
        "NumDecommissioningDataNodes": view.fleet.decommissioning,
        "NumEnteringMaintenanceDataNodes": view.fleet.entering_maintenance,
        "NumInMaintenanceLiveDataNodes": view.fleet.in_maintenance_live,
        "NumInMaintenanceDeadDataNodes": view.fleet.in_maintenance_dead,
        "NumInServiceLiveDataNodes": view.fleet.in_service_live,
        "VolumeFailuresTotal": view.fleet.failed_volumes,
        "StaleDataNodes": view.counts.stale_datanodes,
        "NumLiveDataNodes": view.counts.live_datanodes,
        "NumDeadDataNodes": view.counts.dead_datanodes,
        "EnabledEcPolicies": erasure_coding::enabled(view.ns),
    });
    if let (Some(attributes), Value::Object(more)) = (attributes.as_object_mut(), more) {
        attributes.extend(more);
    }
    bean("FSNamesystem", "FSNamesystem", attributes)
}

/// The metrics record `RetryCache.NameNodeRetryCache`.
fn retry_cache_bean(view: &View<'_>) -> Bean {
    bean(
        "RetryCache.NameNodeRetryCache",
        "RetryCache.NameNodeRetryCache",
        json!({"tag.Context": "rpc", "CacheHit": view.ns.retry_cache().hits()}),
    )
}

/// What Hadoop does not have.
fn own_bean(view: &View<'_>) -> Bean {
    let split = view.pages.nn.split.current(view.now.monotonic_ms);
    let (difference, equal) = {
        let health = view.pages.nn.health.lock();
        (health.divergence.difference().cloned(), health.divergence.equal_txid())
    };
    bean(
        "Hathi",
        "Hathi",
        json!({
            "State": format!("{:?}", view.ns.role()),
            "AppliedTxId": view.ns.edit_log().applied().0,
            "SyncedTxId": view.ns.edit_log().synced().0,
            "ProvenTxId": view.ns.life().proven().0,
            "HealthProblem": readiness::problem(view.pages),
            "NamespaceDiffers": u8::from(difference.is_some()),
            "NamespaceDiffersAtTxId": difference.as_ref().map(|known| known.txid),
            "NamespaceDiffersSince": difference.as_ref().map(|known| known.since_ms),
            "NamespaceEqualAtTxId": equal,
            "Split": split,
            "SplitNameNodes": u8::from(split.is_some()),
            "ParkedReplies": view.pages.nn.replies.parked(),
            "CallsKeptAsStandby": view.pages.nn.standby_calls.kept(),
            "CallsPassedOnAsStandby": view.pages.nn.standby_calls.passed_on(),
            "ReadLeaseRemainingMicros": view.pages.nn.replies.lease_remaining_us(),
            "LastFailoverMicros": view.pages.nn.observed.last_failover_us(),
            "RetryCacheHits": view.ns.retry_cache().hits(),
        }),
    )
}

fn lease_beans(pages: &Pages) -> Vec<Bean> {
    let mut beans = Vec::new();
    for (index, lease) in &pages.nn.lease_states() {
        let Some(address) = pages.nn.readers.nodes.address(*index) else {
            continue;
        };
        beans.push(bean(
            &format!("JournalNode-{}-{}", address.host, address.port),
            "JournalNode",
            json!({
                "PromisedEpoch": lease.promised_epoch.0,
                "WriterEpoch": lease.writer_epoch.0,
                "LeaseHolder": lease.holder.as_deref(),
                "Distrusted": pages.nn.readers.nodes.distrusted(&address),
                "HighestTxId": lease.highest.0,
                "CommittedTxId": lease.committed.map(|txid| txid.0),
            }),
        ));
    }
    beans
}

fn channel_beans(pages: &Pages) -> Vec<Bean> {
    let metrics = &pages.nn.observed;
    let mut beans = Vec::new();
    let lags = metrics.journal_lags();
    for (index, lag) in pages.nn.readers.nodes.members().into_iter().zip(lags) {
        let Some(address) = pages.nn.readers.nodes.address(index) else {
            continue;
        };
        let rpcs = metrics.journal_rpcs(index);
        // Not by its name, and without the colons of IPv6 (`IPCLoggerChannelMetrics.getName`).
        let ip = pages.nn.readers.nodes.ip(index);
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

fn name_dirs(pages: &Pages) -> String {
    let settings = &pages.nn.settings;
    let gone = pages.nn.dirs.failed();
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

fn journal_status(pages: &Pages) -> String {
    if pages.nn.settings.is_single() {
        return own_journals(pages);
    }
    let manager = match &pages.nn.settings.shared {
        Some(JournalUri::File(path)) => format!("FileJournalManager(root={})", path.display()),
        _ => {
            let addresses: Vec<String> = pages
                .nn
                .readers
                .nodes
                .addresses()
                .iter()
                .map(ToString::to_string)
                .collect();
            format!("QJM to [{}]", addresses.join(", "))
        }
    };
    let stream = if pages.nn.replies.role() == Role::Active {
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

fn gigabytes(bytes: u64) -> f64 {
    (bytes as f64 / f64::from(1 << 30)).round()
}

/// Bytes of each name directory's files, as of now (`NNStorage.getNNDirectorySize`).
fn name_dir_sizes(pages: &Pages) -> String {
    let mut sizes = Map::new();
    for dir in &pages.nn.settings.name_dirs {
        let files = std::fs::read_dir(dir.join("current")).into_iter().flatten().flatten();
        let bytes: u64 = files.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
        sizes.insert(dir.display().to_string(), bytes.into());
    }
    Value::Object(sizes).to_string()
}

/// Paths of files with missing blocks, some of them (`FSNamesystem.getCorruptFiles`).
fn corrupt_files(ns: &Namesystem) -> String {
    const MOST: usize = 100;
    let mut paths = std::collections::BTreeSet::new();
    for (_, inode) in ns.blockmanager().corrupt_blocks(None, MOST) {
        paths.extend(ns.namespace().path_of(inode));
    }
    json!(paths).to_string()
}

/// Of the only NameNode: its directories.
fn own_journals(pages: &Pages) -> String {
    let settings = &pages.nn.settings;
    let failed = pages.nn.dirs.failed();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use hathi_blockmanager::AdminState;
    use hathi_formats::proto::hdfs::DatanodeIdProto;

    /// `NamenodeHeartbeatService.getFsNamesystemMetrics`: without one of them the router knows nothing of a NameNode's load.
    #[test]
    fn what_hadoops_router_must_find_is_there() {
        let alone = testing::active();
        let beans = beans(&Pages::new(alone.shared.web_parts()));
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
        let pages = Pages::new(alone.shared.web_parts());
        let nn = &pages.nn;
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
        let beans = beans(&pages);
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
        assert_eq!(
            of("ECBlockGroupsState", "EnabledEcPolicies"),
            Some(json!("RS-6-3-1024k"))
        );
        let topology = of("NameNodeInfo", "VerifyECWithTopologyResult").unwrap();
        let topology: Value = serde_json::from_str(topology.as_str().unwrap()).unwrap();
        assert_eq!(
            topology,
            json!({
                "isSupported": "false",
                "resultMessage": "9 DataNodes are required for the erasure coding policies: RS-6-3-1024k. \
                                  The number of DataNodes is only 3.",
            })
        );
        for (bean, never_counted) in [
            ("NameNodeStatus", "SlowPeersReport"),
            ("FSNamesystemState", "ScheduledReplicationBlocks"),
        ] {
            assert_eq!(of(bean, never_counted), None);
        }
    }
}
