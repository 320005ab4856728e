//! `/metrics` and `/health` of the DataNode.

use std::sync::atomic::{AtomicU64, Ordering};

use hathi_formats::ha::HaState;
use hathi_net::http::health::Health;
use hathi_net::metrics::{Exposition, process, rpc};

use crate::node::DataNode;

hathi_net::families! {
    /// Families of a DataNode, beside those of its process and its RPC server.
    FAMILIES {
        READY: Gauge "hathi_datanode_ready" [] "1 if /health/ready answers 200: a volume is in use, and a NameNode is connected.";
        CAPACITY: Gauge "hathi_datanode_volume_capacity_bytes" ["volume"] "Capacity of a volume for blocks.";
        USED: Gauge "hathi_datanode_volume_used_bytes" ["volume"] "Used by blocks.";
        REMAINING: Gauge "hathi_datanode_volume_remaining_bytes" ["volume"] "Free for blocks.";
        FAILED_VOLUMES: Gauge "hathi_datanode_failed_volumes" [] "Volumes that are used no more because they failed.";
        VOLUME_FAILURES: Counter "hathi_datanode_volume_failures_total" [] "Volumes that failed since the start.";
        REPLICAS: Gauge "hathi_datanode_replicas" ["pool"] "Replicas of a block pool.";
        READS: Counter "hathi_datanode_block_reads_total" [] "Requests to read a block.";
        WRITES: Counter "hathi_datanode_block_writes_total" [] "Requests to write a block.";
        READ_BYTES: Counter "hathi_datanode_read_bytes_total" [] "Bytes of blocks sent to readers.";
        WRITTEN_BYTES: Counter "hathi_datanode_written_bytes_total" [] "Bytes of blocks received.";
        WRITTEN: Counter "hathi_datanode_blocks_written_total" [] "Blocks received completely.";
        REMOVED: Counter "hathi_datanode_blocks_removed_total" [] "Replicas removed.";
        REPLICATED: Counter "hathi_datanode_blocks_replicated_total" [] "Blocks copied to other DataNodes.";
        RECOVERED: Counter "hathi_datanode_blocks_recovered_total" [] "Blocks whose recovery this DataNode has led.";
        CODED: Counter "hathi_datanode_ec_reconstruction_tasks_total" [] "Orders to make internal blocks of striped files that have ended, well or not.";
        NOT_CODED: Counter "hathi_datanode_ec_failed_reconstruction_tasks_total" [] "Of these, those that failed.";
        CODED_FROM: Counter "hathi_datanode_ec_reconstruction_read_bytes_total" [] "Bytes of internal blocks that were read to make others.";
        CODED_BYTES: Counter "hathi_datanode_ec_reconstruction_written_bytes_total" [] "Bytes of internal blocks that were made.";
        CACHE_CAPACITY: Gauge "hathi_datanode_cache_capacity_bytes" [] "Memory for cached blocks: dfs.datanode.max.locked.memory.";
        CACHE_USED: Gauge "hathi_datanode_cache_used_bytes" [] "Memory that cached blocks take.";
        CACHED: Gauge "hathi_datanode_cached_blocks" [] "Replicas that are kept in memory.";
        CACHE_LOADS: Counter "hathi_datanode_blocks_cached_total" [] "Replicas that were read into the cache.";
        CACHE_DROPS: Counter "hathi_datanode_blocks_uncached_total" [] "Replicas that left the cache.";
        CACHE_FAILURES: Counter "hathi_datanode_cache_failures_total" [] "Replicas that could not be cached.";
        HEARTBEATS: Counter "hathi_datanode_heartbeats_total" [] "Heartbeats that a NameNode has answered.";
        REPORTS: Counter "hathi_datanode_block_reports_total" [] "Full block reports.";
        INCREMENTAL: Counter "hathi_datanode_incremental_block_reports_total" [] "Incremental block reports.";
        TRANSFERS: Gauge "hathi_datanode_transfers" [] "Connections that read or write blocks now.";
        COPIES: Gauge "hathi_datanode_copies" [] "Copies to other DataNodes under way.";
        CONNECTED: Gauge "hathi_datanode_namenode_connected" ["namenode"] "1 if this DataNode has a connection to the NameNode.";
        ACTIVE: Gauge "hathi_datanode_namenode_active" ["namenode"] "1 if the NameNode said last that it is active.";
        HEARTBEAT_AGE: Gauge "hathi_datanode_namenode_heartbeat_age_seconds" ["namenode"] "Time since the last heartbeat that the NameNode answered.";
    }
}

/// The metrics now.
#[must_use]
pub fn exposition(node: &DataNode) -> Exposition {
    let mut all = Exposition::default();
    process::put("datanode", &mut all);
    if let Some(meter) = node.rpc.get() {
        rpc::put(meter, &mut all);
    }
    all.put(&READY, &[], health(node).reasons.is_empty());
    for report in node.dataset.volume_reports("") {
        let volume = [&*report.volume.root.display().to_string()];
        all.put(&CAPACITY, &volume, report.capacity);
        all.put(&USED, &volume, report.used);
        all.put(&REMAINING, &volume, report.remaining);
    }
    all.put(&FAILED_VOLUMES, &[], node.dataset.failed_volumes().len());
    for pool in node.dataset.pools() {
        all.put(&REPLICAS, &[pool.id()], pool.len());
    }
    let (metrics, coding) = (&node.metrics, &node.reconstructions.metrics);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    for (family, counter) in [
        (&VOLUME_FAILURES, &metrics.volume_failures),
        (&READS, &metrics.reads),
        (&WRITES, &metrics.writes),
        (&READ_BYTES, &metrics.bytes_read),
        (&WRITTEN_BYTES, &metrics.bytes_written),
        (&WRITTEN, &metrics.blocks_written),
        (&REMOVED, &metrics.blocks_removed),
        (&REPLICATED, &metrics.blocks_replicated),
        (&RECOVERED, &metrics.blocks_recovered),
        (&CODED, &coding.tasks),
        (&NOT_CODED, &coding.failed_tasks),
        (&CODED_FROM, &coding.bytes_read),
        (&CODED_BYTES, &coding.bytes_written),
        (&CACHE_LOADS, &node.cache.cached),
        (&CACHE_DROPS, &node.cache.dropped),
        (&CACHE_FAILURES, &node.cache.failed),
        (&HEARTBEATS, &metrics.heartbeats),
        (&REPORTS, &metrics.block_reports),
        (&INCREMENTAL, &metrics.incremental_reports),
    ] {
        all.put(family, &[], count(counter));
    }
    all.put(&CACHE_CAPACITY, &[], node.cache.capacity());
    all.put(&CACHE_USED, &[], node.cache.used());
    all.put(&CACHED, &[], node.cache.len());
    all.put(&TRANSFERS, &[], node.xceivers.load(Ordering::Relaxed));
    all.put(&COPIES, &[], node.xmits.load(Ordering::Relaxed));
    put_namenodes(node, &mut all);
    all
}

fn put_namenodes(node: &DataNode, all: &mut Exposition) {
    let uptime = node.started.elapsed().as_secs_f64();
    for service in node.services() {
        for actor in &service.actors {
            let namenode = [&*actor.address.to_string()];
            all.put(&CONNECTED, &namenode, actor.client.lock().is_some());
            all.put(&ACTIVE, &namenode, *actor.state.lock() == Some(HaState::Active));
            let heartbeat_s = actor.last_heartbeat_s.load(Ordering::Relaxed);
            let age_seconds = (heartbeat_s >= 0).then_some((uptime - heartbeat_s as f64).max(0.0));
            all.put_known(&HEARTBEAT_AGE, &namenode, age_seconds);
        }
    }
}

/// Ready is a DataNode that has a volume and a NameNode.
#[must_use]
pub fn health(node: &DataNode) -> Health {
    let mut reasons = Vec::new();
    if node.is_stopping() {
        reasons.push("this DataNode is stopping".to_owned());
    }
    if node.dataset.volumes().is_empty() {
        reasons.push("no volume is in use".to_owned());
    }
    let services = node.services();
    let mut actors = services.iter().flat_map(|service| &service.actors);
    if !actors.any(|actor| actor.client.lock().is_some()) {
        reasons.push("no NameNode is connected".to_owned());
    }
    Health {
        state: "serving".to_owned(),
        reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_follow_the_conventions() {
        let faults: Vec<String> = FAMILIES.iter().flat_map(|family| family.faults()).collect();
        assert_eq!(faults, Vec::<String>::new());
    }
}
