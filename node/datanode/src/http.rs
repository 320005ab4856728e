//! WebHDFS, `/jmx`, `/metrics`, `/health` and `/conf`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hathi_conf::keys::Program;
use hathi_formats::ha::HaState;
use hathi_formats::webhdfs::PATH_PREFIX;
use hathi_net::http::jmx::{self, Bean};
use hathi_net::http::{HttpRequest, HttpResponse, error, health, log_level, pages};
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::config::SOFTWARE_VERSION;
use crate::node::DataNode;
use crate::{metrics, webhdfs};

/// What its page links to.
const ABOUT: [&str; 4] = ["/health", "/jmx", "/metrics", "/conf"];

/// Answers a request.
pub async fn respond(node: &Arc<DataNode>, request: HttpRequest) -> HttpResponse {
    let head = &request.head;
    if let Some(response) = health::respond(head, || metrics::health(node)) {
        return response;
    }
    match head.path.as_str() {
        path if path.starts_with(PATH_PREFIX) => webhdfs::respond(node, request).await,
        "/jmx" => jmx::respond(&request.head.query, beans(node)),
        "/metrics" | "/prom" => metrics::exposition(node).respond(head),
        "/logLevel" if head.method == Method::GET => log_level::respond(head).await,
        _ => pages::daemon(&node.conf.configuration, Program::DataNode, &ABOUT, head)
            .unwrap_or_else(|| error(StatusCode::NOT_FOUND, "not found")),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The beans of the DataNode.
#[must_use]
pub fn beans(node: &DataNode) -> Vec<Bean> {
    let reports = node.dataset.volume_reports("");
    let volumes: Map<String, Value> = reports
        .iter()
        .map(|report| {
            let value = json!({
                "usedSpace": report.used,
                "freeSpace": report.remaining,
                "reservedSpace": node.conf.reserved_bytes,
                "reservedSpaceForReplicas": report.volume.reserved_for_replicas(),
                "storageType": report.volume.storage_type.as_str_name(),
            });
            (report.volume.root.display().to_string(), value)
        })
        .collect();
    let mut addresses = Map::new();
    let mut actors = Vec::new();
    let uptime = node.started.elapsed().as_secs() as i64;
    for service in node.services() {
        let pool = service.pool_id();
        for actor in &service.actors {
            addresses.insert(actor.address.host.clone(), json!(pool));
            let ago = |at: i64| if at < 0 { -1 } else { uptime - at };
            actors.push(json!({
                "NamenodeAddress": actor.address.to_string(),
                "NamenodeHaState": actor.state.lock().map_or("Unknown", HaState::name),
                "BlockPoolID": pool,
                "ActorState": if actor.client.lock().is_some() { "RUNNING" } else { "CONNECTING" },
                "LastHeartbeat": ago(actor.last_heartbeat_s.load(Ordering::Relaxed)).to_string(),
                "LastHeartbeatResponseTime": ago(actor.last_heartbeat_s.load(Ordering::Relaxed)).to_string(),
                "LastBlockReport": ago(actor.last_report_s.load(Ordering::Relaxed)).to_string(),
            }));
        }
    }
    let cluster_id = node.dataset.volumes().iter().find_map(|volume| volume.cluster_id());
    let info = json!({
        "Version": SOFTWARE_VERSION,
        "SoftwareVersion": SOFTWARE_VERSION,
        "RpcPort": node.ports.ipc.to_string(),
        "HttpPort": node.ports.http.to_string(),
        "DataPort": node.ports.xfer.to_string(),
        "NamenodeAddresses": Value::Object(addresses).to_string(),
        "DatanodeHostname": node.conf.host_name,
        "BPServiceActorInfo": Value::Array(actors).to_string(),
        "VolumeInfo": Value::Object(volumes).to_string(),
        "ClusterId": cluster_id,
        "XceiverCount": node.xceivers.load(Ordering::Relaxed),
        "XmitsInProgress": node.xmits.load(Ordering::Relaxed),
    });
    let state = json!({
        "Capacity": reports.iter().map(|report| report.capacity).sum::<u64>(),
        "DfsUsed": reports.iter().map(|report| report.used).sum::<u64>(),
        "Remaining": reports.iter().map(|report| report.remaining).sum::<u64>(),
        "NumBlocks": node.dataset.pools().iter().map(|pool| pool.len()).sum::<usize>(),
        "NumFailedVolumes": node.dataset.failed_volumes().len(),
        "StorageInfo": "FSDataset",
        "CacheCapacity": node.cache.capacity(),
        "CacheUsed": node.cache.used(),
        "NumBlocksCached": node.cache.len(),
        "NumBlocksFailedToCache": node.cache.failed.load(Ordering::Relaxed),
    });
    let (metrics, coding) = (&node.metrics, &node.reconstructions.metrics);
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let activity = json!({
        "BytesWritten": count(&metrics.bytes_written),
        "BytesRead": count(&metrics.bytes_read),
        "BlocksWritten": count(&metrics.blocks_written),
        "BlocksRemoved": count(&metrics.blocks_removed),
        "BlocksReplicated": count(&metrics.blocks_replicated),
        "BlocksRecovered": count(&metrics.blocks_recovered),
        "ReadBlockOpNumOps": count(&metrics.reads),
        "WriteBlockOpNumOps": count(&metrics.writes),
        "HeartbeatsNumOps": count(&metrics.heartbeats),
        "BlockReportsNumOps": count(&metrics.block_reports),
        "IncrementalBlockReportsNumOps": count(&metrics.incremental_reports),
        "VolumeFailures": count(&metrics.volume_failures),
        "EcReconstructionTasks": count(&coding.tasks),
        "EcFailedReconstructionTasks": count(&coding.failed_tasks),
        "EcReconstructionBytesRead": count(&coding.bytes_read),
        "EcReconstructionRemoteBytesRead": count(&coding.remote_bytes_read),
        "EcReconstructionBytesWritten": count(&coding.bytes_written),
        "EcDecodingTimeNanos": count(&coding.decoding_nanos),
        "BlocksCached": count(&node.cache.cached),
        "BlocksUncached": count(&node.cache.dropped),
        "Replicas": node.dataset.pools().iter().map(|pool| pool.len()).sum::<usize>(),
    });
    let bean = |name: String, kind: &str, attributes: Value| Bean {
        name: format!("Hadoop:service=DataNode,name={name}"),
        modeler_type: kind.to_owned(),
        attributes: object(attributes),
    };
    let dataset = "org.apache.hadoop.hdfs.server.datanode.fsdataset.impl.FsDatasetImpl";
    let activity_name = format!("DataNodeActivity-{}-{}", node.conf.host_name, node.ports.xfer);
    let mut beans = vec![
        bean(
            "DataNodeInfo".to_owned(),
            "org.apache.hadoop.hdfs.server.datanode.DataNode",
            info,
        ),
        bean("FSDatasetState".to_owned(), dataset, state),
        bean(activity_name.clone(), &activity_name, activity),
        jmx::process_bean("DataNode"),
    ];
    if let Some(meter) = node.rpc.get() {
        beans.extend(jmx::rpc_beans("DataNode", meter));
    }
    beans
}
