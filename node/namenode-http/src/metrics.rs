//! `/metrics` of the NameNode.

use crate::COMMON_SETTINGS;
use crate::beans::Fleet;
use crate::pages::Pages;
use hathi_namesystem::Namesystem;
use hathi_net::metrics::{Exposition, process, rpc};

hathi_net::families! {
    /// Families of the NameNode, beside those of its process and its RPC server.
    FAMILIES {
        STATE: Gauge "hathi_namenode_state" ["state"] "1 for the HA state of this NameNode (initializing, standby, active), 0 for the others.";
        TRANSITION: Gauge "hathi_namenode_last_transition_timestamp_seconds" [] "When the HA state changed last, since 1970.";
        TIMES_ACTIVE: Counter "hathi_namenode_became_active_total" [] "How often this NameNode became active.";
        LAST_FAILOVER: Gauge "hathi_namenode_last_change_to_active_seconds" [] "How long the last change to active took here: recovery of the journal, remaining edits and first own edit.";
        FAILOVERS: Counter "hathi_namenode_failovers_seen_total" [] "Changes of the active process that this NameNode has seen at the JournalNodes.";
        READY: Gauge "hathi_namenode_ready" [] "1 if /health/ready answers 200: active with its lease, or a standby that follows.";
        HEALTHY: Gauge "hathi_namenode_healthy" [] "1 if this NameNode has no problem that keeps it from being elected, 0 if monitorHealth would tell one.";
        SAFE_MODE: Gauge "hathi_namenode_safe_mode" [] "1 while safe mode is on.";
        DIFFERS: Gauge "hathi_namenode_namespace_differs" [] "1 if this standby's namespace was found to differ from the active's.";
        SPLIT: Gauge "hathi_namenode_split" [] "1 while the controller here says that a NameNode goes on which was said to be fenced.";

        LEASE_LENGTH: Gauge "hathi_namenode_lease_seconds" [] "Configured length of the read lease.";
        LEASE_LEFT: Gauge "hathi_namenode_lease_remaining_seconds" [] "What is left of the read lease now; 0 at a NameNode without it.";
        LEASE_MARGIN: Histogram "hathi_namenode_lease_margin_seconds" [] "What was left of the read lease whenever it was renewed. Small margins come before a lost lease.";

        APPLIED: Gauge "hathi_namenode_applied_transaction" [] "Last transaction applied here.";
        DURABLE: Gauge "hathi_namenode_durable_transaction" [] "Last transaction that this NameNode knows to be durable.";
        TRANSACTIONS: Counter "hathi_namenode_transactions_total" [] "Transactions that this NameNode has written or replayed.";
        EDITS_SYNC: Histogram "hathi_namenode_edits_sync_seconds" [] "Time from the hand-over of a batch of edits until a majority of the JournalNodes (or the edits directories) has it on disk.";
        UNDURABLE: Gauge "hathi_namenode_edits_pending_transactions" [] "Transactions that are applied and not durable yet.";
        PARKED: Gauge "hathi_namenode_replies_parked" [] "Replies that wait until what they show is durable.";
        LAG_TRANSACTIONS: Gauge "hathi_namenode_standby_lag_transactions" [] "Committed transactions that this standby has not applied. Only at a standby whose JournalNodes answer.";
        LAG_SECONDS: Gauge "hathi_namenode_standby_lag_seconds" [] "Time since the oldest of them was committed, as this standby saw it; within two seconds.";
        CHECKPOINT: Gauge "hathi_namenode_last_checkpoint_timestamp_seconds" [] "When the newest image was saved or received, since 1970.";
        SINCE_CHECKPOINT: Gauge "hathi_namenode_transactions_since_checkpoint" [] "Transactions that the newest image lacks.";

        JOURNALNODE_UP: Gauge "hathi_namenode_journalnode_up" ["journalnode"] "1 if the JournalNode answers this NameNode's watch of the lease, 0 if not. Hadoop's JournalNodes know no leases and have none.";
        JOURNALNODE_SYNC: Gauge "hathi_namenode_journalnode_in_sync" ["journalnode"] "1 if the JournalNode takes batches as they come, 0 while it catches up. Only at the writer.";
        JOURNALNODE_LAG: Gauge "hathi_namenode_journalnode_lag_transactions" ["journalnode"] "Committed transactions that the JournalNode has not acknowledged. Only at the writer.";
        JOURNALNODE_LAG_SECONDS: Gauge "hathi_namenode_journalnode_lag_seconds" ["journalnode"] "Time since it first lacked something that a majority has. Only at the writer.";
        JOURNALNODE_QUEUED: Gauge "hathi_namenode_journalnode_queued_bytes" ["journalnode"] "Edits that the JournalNode has not acknowledged and that the writer still keeps. Only at the writer.";
        JOURNALNODE_WRITE: Histogram "hathi_namenode_journalnode_write_seconds" ["journalnode"] "Time of the JournalNode's answers to batches.";

        LOADS: Counter "hathi_namenode_namespace_loads_total" [] "Completed loads of the namespace from image and edits.";
        LOAD_TIME: Gauge "hathi_namenode_last_namespace_load_seconds" [] "How long the last of them took.";
        INODES: Gauge "hathi_namenode_inodes" [] "Files and directories.";
        OPEN_FILES: Gauge "hathi_namenode_files_under_construction" [] "Files that are being written.";
        BLOCKS: Gauge "hathi_namenode_blocks" [] "Blocks.";
        MISSING: Gauge "hathi_namenode_missing_blocks" [] "Blocks without a good replica.";
        MISSING_ONE: Gauge "hathi_namenode_missing_blocks_replication_one" [] "Of them, those whose files want one replica only.";
        CORRUPT: Gauge "hathi_namenode_corrupt_blocks" [] "Blocks with a corrupt replica.";
        UNDER: Gauge "hathi_namenode_under_replicated_blocks" [] "Blocks with fewer replicas than wanted.";
        UNDER_URGENT: Gauge "hathi_namenode_under_replicated_blocks_urgent" [] "Of them, those with one replica left.";
        BADLY_DISTRIBUTED: Gauge "hathi_namenode_badly_distributed_blocks" [] "Blocks with enough replicas in too few racks.";
        RECONSTRUCTION: Gauge "hathi_namenode_pending_reconstruction_blocks" [] "Copies that were ordered and are not reported yet.";
        DELETION: Gauge "hathi_namenode_pending_deletion_blocks" [] "Deletions of replicas that are not ordered yet.";
        POSTPONED: Gauge "hathi_namenode_postponed_blocks" [] "Blocks whose surplus replicas wait for sure reports.";
        MESSAGES: Gauge "hathi_namenode_pending_datanode_messages" [] "Messages that a standby keeps for blocks that it does not know yet.";

        DATANODES: Gauge "hathi_namenode_datanodes" ["state"] "DataNodes by state: live, dead and stale (live, but not heard of for a while).";
        RACKS_UNKNOWN: Gauge "hathi_namenode_datanode_hosts_without_rack" [] "Hosts of DataNodes that are in the default rack because the script or table of racks gave no answer for them.";
        DATANODES_ADMIN: Gauge "hathi_namenode_datanodes_admin" ["state"] "DataNodes by what their administrator wants: decommissioning, decommissioned, entering_maintenance and in_maintenance.";
        FAILED_VOLUMES: Gauge "hathi_namenode_datanode_failed_volumes" [] "Failed volumes of live DataNodes.";
        CAPACITY: Gauge "hathi_namenode_capacity_bytes" [] "Capacity of all DataNodes in service.";
        USED: Gauge "hathi_namenode_capacity_used_bytes" [] "Used by blocks.";
        OTHER_USED: Gauge "hathi_namenode_capacity_other_used_bytes" [] "Used by others on the DataNodes' disks.";
        REMAINING: Gauge "hathi_namenode_capacity_remaining_bytes" [] "Free for blocks.";
        CACHE_CAPACITY: Gauge "hathi_namenode_cache_capacity_bytes" [] "Memory for cached blocks of all DataNodes in service.";
        CACHE_USED: Gauge "hathi_namenode_cache_used_bytes" [] "Memory that cached blocks take.";
        LOAD: Gauge "hathi_namenode_datanode_transfers" [] "Threads that read or write blocks on live DataNodes.";

        ROOM: Gauge "hathi_namenode_directory_free_bytes" ["directory"] "Free room in a directory of images or edits.";
        ROOM_TOTAL: Gauge "hathi_namenode_directory_size_bytes" ["directory"] "Size of its file system.";
        ROOM_RESERVED: Gauge "hathi_namenode_directory_reserved_bytes" [] "Room below which the NameNode enters safe mode (dfs.namenode.resource.du.reserved).";
        DIRECTORY_FAILED: Gauge "hathi_namenode_directory_failed" ["directory"] "1 if the directory is used no more because it failed.";

        SETTING: Gauge "hathi_namenode_setting_info" ["key", "value"] "1 for the value of each key that all NameNodes of a nameservice must have in common; an empty value if it is not set.";

        RETRY_CACHE_HITS: Counter "hathi_namenode_retry_cache_hits_total" [] "Repeated calls that were answered from the retry cache.";
        RETRY_CACHE: Gauge "hathi_namenode_retry_cache_entries" [] "Answers in the retry cache.";
        KEPT: Counter "hathi_namenode_standby_calls_kept_total" [] "Calls that this NameNode kept as a standby while no NameNode was active.";
        PASSED_ON: Counter "hathi_namenode_standby_calls_passed_on_total" [] "Calls that this NameNode passed on to the active as a standby.";
    }
}

/// States of [`STATE`].
const STATES: [&str; 4] = ["initializing", "standby", "active", "observer"];

/// The metrics now.
#[must_use]
pub fn exposition(pages: &Pages) -> Exposition {
    let mut all = Exposition::default();
    process::put("namenode", &mut all);
    if let Some(meter) = pages.nn.observed.rpc.get() {
        rpc::put(meter, &mut all);
        rpc::put_slow_and_users(meter, &mut all);
    }
    put_roles(pages, &mut all);
    put_edits(pages, &mut all);
    put_journalnodes(pages, &mut all);
    put_directories(pages, &mut all);
    for key in COMMON_SETTINGS {
        let value = pages.nn.settings.conf.get_or(key, "");
        all.put(&SETTING, &[*key, &*value], true);
    }
    all.put(&RACKS_UNKNOWN, &[], pages.nn.hosts.topology().defaulted().0);
    put_namespace(&pages.nn.ns.read(), &mut all);
    all
}

fn put_roles(pages: &Pages, all: &mut Exposition) {
    let nn = &pages.nn;
    let (state, transition_ms) = {
        let ns = nn.ns.read();
        (ns.role().ha_state().name(), ns.last_transition_ms())
    };
    all.put_state(&STATE, &[], &STATES, state);
    all.put_known(&TRANSITION, &[], seconds_of_ms(transition_ms));
    let observed = &nn.observed;
    all.put(&TIMES_ACTIVE, &[], observed.times_active());
    let last_us = observed.last_failover_us();
    all.put_known(&LAST_FAILOVER, &[], (last_us > 0).then_some(last_us as f64 / 1e6));
    all.put(&FAILOVERS, &[], observed.handovers.lock().count());
    all.put(&READY, &[], crate::readiness::of(pages).reasons.is_empty());
    let differs = nn.health.lock().divergence.difference().is_some();
    all.put(&HEALTHY, &[], crate::readiness::problem(pages).is_none());
    all.put(&DIFFERS, &[], differs);
    all.put(&SPLIT, &[], nn.split.current(nn.clock.ms()).is_some());
    if !nn.settings.is_single() {
        all.put(&LEASE_LENGTH, &[], f64::from(nn.settings.lease_ms) / 1e3);
        let left_us = nn.replies.lease_remaining_us();
        all.put_known(&LEASE_LEFT, &[], left_us.map(|us| us as f64 / 1e6));
        all.put_histogram(&LEASE_MARGIN, &[], observed.lease_margins());
    }
    all.put(&LOADS, &[], observed.loads());
    all.put_known(
        &LOAD_TIME,
        &[],
        (observed.loads() > 0).then_some(observed.load_ms() as f64 / 1e3),
    );
    all.put(&KEPT, &[], nn.standby_calls.kept());
    all.put(&PASSED_ON, &[], nn.standby_calls.passed_on());
}

/// `None` for a time that is not known.
fn seconds_of_ms(ms: u64) -> Option<f64> {
    (ms > 0).then_some(ms as f64 / 1e3)
}

fn put_edits(pages: &Pages, all: &mut Exposition) {
    let nn = &pages.nn;
    let ns = nn.ns.read();
    let (applied, synced) = (ns.edit_log().applied().0, ns.edit_log().synced().0);
    let is_standby = ns.role() == hathi_namesystem::Role::Standby;
    all.put(&APPLIED, &[], applied);
    all.put(&DURABLE, &[], synced);
    all.put(&TRANSACTIONS, &[], ns.edit_log().ops_total());
    all.put(&UNDURABLE, &[], applied.saturating_sub(synced));
    all.put_known(&CHECKPOINT, &[], seconds_of_ms(ns.most_recent_checkpoint_ms()));
    all.put(
        &SINCE_CHECKPOINT,
        &[],
        applied.saturating_sub(ns.most_recent_checkpoint().0),
    );
    all.put(&RETRY_CACHE_HITS, &[], ns.retry_cache().hits());
    all.put(&RETRY_CACHE, &[], ns.retry_cache().len());
    drop(ns);
    all.put_histogram(&EDITS_SYNC, &[], nn.observed.commits());
    all.put(&PARKED, &[], nn.replies.parked());
    if is_standby && !pages.nn.lease_states().is_empty() {
        let following = pages.following.lock();
        all.put(&LAG_TRANSACTIONS, &[], following.lag_transactions());
        all.put(&LAG_SECONDS, &[], following.lag_ms(nn.clock.ms()) as f64 / 1e3);
    }
}

fn put_journalnodes(pages: &Pages, all: &mut Exposition) {
    let leases = pages.nn.lease_states();
    let observed = &pages.nn.observed;
    let lags = observed.journal_lags();
    for (place, index) in pages.nn.readers.nodes.members().into_iter().enumerate() {
        let Some(address) = pages.nn.readers.nodes.address(index) else {
            continue;
        };
        let name = [&*address.to_string()];
        all.put(&JOURNALNODE_UP, &name, leases.contains_key(&index));
        if let Some(lag) = lags.get(place) {
            all.put(&JOURNALNODE_SYNC, &name, lag.in_sync);
            all.put(&JOURNALNODE_LAG, &name, lag.txns);
            all.put(&JOURNALNODE_LAG_SECONDS, &name, lag.time as f64 / 1e6);
            all.put(&JOURNALNODE_QUEUED, &name, lag.queued_bytes);
        }
        all.put_histogram(&JOURNALNODE_WRITE, &name, observed.journal_rpcs(index).counts());
    }
}

fn put_directories(pages: &Pages, all: &mut Exposition) {
    let failed = pages.nn.dirs.failed();
    all.put(&ROOM_RESERVED, &[], pages.nn.settings.resources.reserved_bytes);
    for room in pages.rooms.lock().clone() {
        let name = [&*room.dir.display().to_string()];
        all.put_known(&ROOM, &name, room.free_bytes);
        all.put_known(&ROOM_TOTAL, &name, room.total_bytes);
        all.put(&DIRECTORY_FAILED, &name, failed.contains_key(&room.dir.join("current")));
    }
}

fn put_namespace(ns: &Namesystem, all: &mut Exposition) {
    let counts = ns.blockmanager().counts();
    let fleet = Fleet::of(ns);
    for (family, value) in [
        (&INODES, ns.namespace().inode_count()),
        (&OPEN_FILES, ns.namespace().open_file_count() as u64),
        (&SAFE_MODE, u64::from(ns.blockmanager().in_safe_mode())),
        (&BLOCKS, counts.blocks),
        (&MISSING, counts.missing),
        (&MISSING_ONE, counts.missing_replication_one),
        (&CORRUPT, counts.corrupt),
        (&UNDER, counts.low_redundancy),
        (&UNDER_URGENT, counts.highest_priority),
        (&BADLY_DISTRIBUTED, counts.badly_distributed),
        (&RECONSTRUCTION, counts.pending_reconstruction),
        (&DELETION, counts.pending_deletion),
        (&POSTPONED, counts.postponed),
        (&MESSAGES, counts.pending_datanode_messages),
        (&CAPACITY, counts.capacity),
        (&USED, counts.dfs_used),
        (&OTHER_USED, counts.non_dfs_used),
        (&REMAINING, counts.remaining),
        (&CACHE_CAPACITY, ns.blockmanager().cache_bytes().0),
        (&CACHE_USED, ns.blockmanager().cache_bytes().1),
        (&LOAD, counts.total_load),
        (&FAILED_VOLUMES, fleet.failed_volumes),
    ] {
        all.put(family, &[], value);
    }
    for (state, count) in [
        ("live", counts.live_datanodes),
        ("dead", counts.dead_datanodes),
        ("stale", counts.stale_datanodes),
    ] {
        all.put(&DATANODES, &[state], count);
    }
    for (state, count) in [
        ("decommissioning", fleet.decommissioning),
        ("decommissioned", fleet.decommissioned_live + fleet.decommissioned_dead),
        ("entering_maintenance", fleet.entering_maintenance),
        ("in_maintenance", fleet.in_maintenance_live + fleet.in_maintenance_dead),
    ] {
        all.put(&DATANODES_ADMIN, &[state], count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_families_follow_the_conventions() {
        let faults: Vec<String> = FAMILIES.iter().flat_map(|family| family.faults()).collect();
        assert_eq!(faults, Vec::<String>::new());
    }

    #[test]
    fn values_are_those_of_the_namenode() {
        let alone = testing::active();
        let pages = Pages::new(alone.shared.web_parts());
        let all = exposition(&pages);
        assert_eq!(all.get(&STATE, &["active"]), Some(1.0));
        assert_eq!(all.get(&STATE, &["standby"]), Some(0.0));
        let applied = pages.nn.ns.read().edit_log().applied().0 as f64;
        assert_eq!(all.get(&APPLIED, &[]), Some(applied));
        assert_eq!(all.get(&DATANODES, &["dead"]), Some(0.0));
    }
}
