//! The commands of `dfsadmin`, in Hadoop's order.

use crate::cmd::table::Grammar::{Leading, Raw};
use crate::cmd::table::{ANY, Grammar, Row};
use std::ops::RangeInclusive;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    AllowSnapshot,
    ClrQuota,
    ClrSpaceQuota,
    DeleteBlockPool,
    DisallowSnapshot,
    EvictWriters,
    FetchImage,
    FinalizeUpgrade,
    GetBalancerBandwidth,
    GetDatanodeInfo,
    GetVolumeReport,
    Help,
    ListOpenFiles,
    MetaSave,
    PrintTopology,
    ProvisionSnapshotTrash,
    Reconfig,
    Refresh,
    RefreshCallQueue,
    RefreshNamenodes,
    RefreshNodes,
    RefreshServiceAcl,
    RefreshSuperUserGroupsConfiguration,
    RefreshUserToGroupsMappings,
    Report,
    RestoreFailedStorage,
    RollEdits,
    RollingUpgrade,
    SafeMode,
    SaveNamespace,
    SetBalancerBandwidth,
    SetQuota,
    SetSpaceQuota,
    ShutdownDatanode,
    TriggerBlockReport,
    Upgrade,
}

const fn row(
    name: &'static str,
    verb: Verb,
    arguments: &'static str,
    (grammar, flags): (Grammar, &'static [&'static str]),
    words: RangeInclusive<usize>,
    help: &'static str,
) -> Row<Verb> {
    Row {
        name,
        verb,
        arguments,
        flags,
        grammar,
        words,
        help,
    }
}

const NONE: (Grammar, &[&str]) = (Raw, &[]);
const DATANODE: &str = "<datanode_host:ipc_port>";

#[rustfmt::skip]
pub(super) const ROWS: &[Row<Verb>] = &[
    row("report", Verb::Report, "[-live] [-dead] [-decommissioning] [-enteringmaintenance] [-inmaintenance] [-slownodes]",
        (Leading, &["live", "dead", "decommissioning", "enteringmaintenance", "inmaintenance", "slownodes", "-json"]), 0..=0,
        "Show capacity, blocks and DataNodes, or only the DataNodes of these kinds.\n\
         --json shows the same as JSON."),
    row("safemode", Verb::SafeMode, "<enter | leave | get | wait | forceExit>", NONE, 1..=1,
        "Enter or leave safe mode, show whether it is on, or wait until it is off. In safe mode\n\
         a NameNode changes nothing and copies and deletes no blocks."),
    row("saveNamespace", Verb::SaveNamespace, "[-beforeShutdown]", (Leading, &["beforeShutdown"]), 0..=0,
        "Save an image of the namespace, in safe mode. With -beforeShutdown only if the last\n\
         checkpoint is older than a time window."),
    row("rollEdits", Verb::RollEdits, "", NONE, 0..=0, "Begin a new segment of the edit log."),
    row("restoreFailedStorage", Verb::RestoreFailedStorage, "true|false|check", NONE, 1..=1,
        "Say whether directories that failed are used again once they can be written, or show it."),
    row("refreshNodes", Verb::RefreshNodes, "", NONE, 0..=0,
        "Read dfs.hosts and dfs.hosts.exclude again: which DataNodes may register, and which are\n\
         decommissioned."),
    row("setQuota", Verb::SetQuota, "<quota> <dirname>...<dirname>", (Leading, &[]), 2..=ANY,
        "Limit the number of names in directories. A quota of 1 keeps a directory empty."),
    row("clrQuota", Verb::ClrQuota, "<dirname>...<dirname>", (Leading, &[]), 1..=ANY,
        "Remove the limit of names from directories."),
    row("setSpaceQuota", Verb::SetSpaceQuota, "<quota> [-storageType <storagetype>] <dirname>...<dirname>", (Raw, &[]), 2..=ANY,
        "Limit the bytes of all replicas in directories, or those on a type of storage (DISK, SSD,\n\
         ARCHIVE, PROVIDED, NVDIMM). The quota may have a unit, as in 50t."),
    row("clrSpaceQuota", Verb::ClrSpaceQuota, "[-storageType <storagetype>] <dirname>...<dirname>", (Raw, &[]), 1..=ANY,
        "Remove the limit of bytes from directories, or that of a type of storage."),
    row("finalizeUpgrade", Verb::FinalizeUpgrade, "", NONE, 0..=0,
        "End an upgrade: the directories of the version before are deleted."),
    row("rollingUpgrade", Verb::RollingUpgrade, "[<query|prepare|finalize>]", NONE, 0..=1,
        "Show a rolling upgrade, prepare one or end it."),
    row("upgrade", Verb::Upgrade, "<query | finalize>", NONE, 1..=1,
        "Show whether an upgrade is finalized, or finalize it as -finalizeUpgrade does."),
    row("refreshServiceAcl", Verb::RefreshServiceAcl, "", NONE, 0..=0, "Read hadoop-policy.xml again."),
    row("refreshUserToGroupsMappings", Verb::RefreshUserToGroupsMappings, "", NONE, 0..=0,
        "Forget the groups of users, and look them up again."),
    row("refreshSuperUserGroupsConfiguration", Verb::RefreshSuperUserGroupsConfiguration, "", NONE, 0..=0,
        "Read hadoop.proxyuser.* again."),
    row("refreshCallQueue", Verb::RefreshCallQueue, "", NONE, 0..=ANY, "Read the settings of call queues again."),
    row("refresh", Verb::Refresh, "<host:ipc_port> <key> [arg1..argn]", NONE, 2..=ANY,
        "Refresh a resource of a daemon by its key."),
    row("reconfig", Verb::Reconfig, "<namenode|datanode> <host:ipc_port|livenodes|decomnodes> <start|status|properties>", NONE, 3..=3,
        "Read a daemon's settings again, show how that goes, or which settings it concerns."),
    row("printTopology", Verb::PrintTopology, "", NONE, 0..=0, "Show racks and their DataNodes."),
    row("refreshNamenodes", Verb::RefreshNamenodes, "datanode_host:ipc_port", NONE, 1..=1,
        "Make a DataNode read its configuration and serve the block pools that it names."),
    row("getVolumeReport", Verb::GetVolumeReport, "datanode_host:ipc_port", NONE, 1..=1, "Show the volumes of a DataNode."),
    row("deleteBlockPool", Verb::DeleteBlockPool, "datanode_host:ipc_port blockpoolId [force]", NONE, 2..=3,
        "Delete a block pool that a DataNode does not serve any more, with force even if it has\n\
         blocks."),
    row("setBalancerBandwidth", Verb::SetBalancerBandwidth, "<bandwidth in bytes per second>", NONE, 1..=1,
        "Limit the bytes per second that each DataNode uses for balancing, until it is restarted."),
    row("getBalancerBandwidth", Verb::GetBalancerBandwidth, DATANODE, NONE, 1..=1, "Show that limit of a DataNode."),
    row("fetchImage", Verb::FetchImage, "<local directory>", NONE, 1..=1,
        "Download the newest image of the active NameNode."),
    row("allowSnapshot", Verb::AllowSnapshot, "<snapshotDir>", NONE, 1..=1, "Allow snapshots of a directory."),
    row("disallowSnapshot", Verb::DisallowSnapshot, "<snapshotDir>", NONE, 1..=1, "Forbid snapshots of a directory."),
    row("provisionSnapshotTrash", Verb::ProvisionSnapshotTrash, "<snapshotDir> [-all]", NONE, 1..=2,
        "Make the trash of directories that may have snapshots."),
    row("shutdownDatanode", Verb::ShutdownDatanode, "<datanode_host:ipc_port> [upgrade]", NONE, 1..=2,
        "Stop a DataNode. With upgrade its clients are told to wait for its restart."),
    row("evictWriters", Verb::EvictWriters, DATANODE, NONE, 1..=1, "Make a DataNode end the connections of its writers."),
    row("getDatanodeInfo", Verb::GetDatanodeInfo, DATANODE, NONE, 1..=1, "Show the version and the age of a DataNode."),
    row("metasave", Verb::MetaSave, "filename", NONE, 1..=1,
        "Make the NameNode write its DataNodes and waiting blocks to a file in hadoop.log.dir."),
    row("triggerBlockReport", Verb::TriggerBlockReport, "[-incremental] <datanode_host:ipc_port> [-namenode <namenode_host:ipc_port>]", NONE, 1..=ANY,
        "Make a DataNode send a block report, to every NameNode or to one."),
    row("listOpenFiles", Verb::ListOpenFiles, "[-blockingDecommission] [-path <path>]", (Leading, &["blockingDecommission", "path="]), 0..=ANY,
        "List the files that are being written, with their clients, or only those that keep\n\
         DataNodes from being decommissioned."),
    row("help", Verb::Help, "[cmd]", NONE, 0..=1, "Show what a command does, or all of them."),
];
