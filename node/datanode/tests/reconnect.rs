//! A DataNode and its NameNodes: one that goes down and comes back, and those of another cluster.
#![allow(clippy::unwrap_used, reason = "a test")]

use hathi_conf::{Configuration, Environment};
use hathi_datanode::dataset::Dataset;
use hathi_datanode::{DataNodeConf, Running};
use hathi_formats::exceptions::{RETRIABLE, RemoteException};
use hathi_formats::ids::{LayoutVersion, NamespaceInfo};
use hathi_formats::proto::datanode::{
    BlockReportResponseProto, HeartbeatResponseProto, RegisterDatanodeRequestProto, RegisterDatanodeResponseProto,
};
use hathi_formats::proto::hdfs::nnha_status_heartbeat_proto::State;
use hathi_formats::proto::hdfs::{
    NamespaceInfoProto, NnhaStatusHeartbeatProto, StorageInfoProto, VersionResponseProto,
};
use hathi_net::ipc::protocols::DATANODE_PROTOCOL;
use hathi_net::ipc::{Protocol, Responder, RpcCall, RpcHandler, RpcServer, ServerOptions};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

const OWN_CLUSTER: &str = "CID-test";

/// A NameNode, as far as a DataNode uses it.
struct NameNode {
    heartbeats: mpsc::UnboundedSender<()>,
    cluster_id: &'static str,
    /// The NameNode is still loading, and refuses the next heartbeat.
    loading: AtomicBool,
}

impl RpcHandler for NameNode {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![&DATANODE_PROTOCOL]
    }

    fn call(&self, call: RpcCall, reply: Responder) {
        match call.method.name() {
            "versionRequest" => reply.ok(&VersionResponseProto {
                info: NamespaceInfoProto {
                    block_pool_id: format!("BP-{}", self.cluster_id),
                    storage_info: StorageInfoProto {
                        layout_version: LayoutVersion::NAMENODE_CURRENT.0 as u32,
                        namespce_id: 7,
                        cluster_id: self.cluster_id.to_owned(),
                        c_time: 0,
                    },
                    software_version: "3.5.0".to_owned(),
                    ..NamespaceInfoProto::default()
                },
            }),
            "registerDatanode" => {
                let request: RegisterDatanodeRequestProto = call.decode().unwrap();
                reply.ok(&RegisterDatanodeResponseProto {
                    registration: request.registration,
                });
            }
            "sendHeartbeat" => {
                // The test may be over.
                let _ = self.heartbeats.send(());
                if self.loading.swap(false, Ordering::Relaxed) {
                    return reply.error(&RemoteException::new(RETRIABLE, "NameNode still not started"));
                }
                reply.ok(&HeartbeatResponseProto {
                    ha_status: NnhaStatusHeartbeatProto {
                        state: State::Standby as i32,
                        txid: 1,
                    },
                    ..HeartbeatResponseProto::default()
                });
            }
            _ => reply.ok(&BlockReportResponseProto::default()),
        }
    }
}

fn serve(address: SocketAddr, cluster_id: &'static str, loading: bool) -> (RpcServer, mpsc::UnboundedReceiver<()>) {
    let (heartbeats, told) = mpsc::unbounded_channel();
    let namenode = NameNode {
        heartbeats,
        cluster_id,
        loading: AtomicBool::new(loading),
    };
    let server = RpcServer::bind(address, Arc::new(namenode), ServerOptions::default()).unwrap();
    (server, told)
}

#[tokio::test]
async fn a_restarted_namenode_is_found_long_before_the_next_heartbeat() {
    // No other process uses this address, so the port stays free while the NameNode is down.
    let [_, _, a, b, c, ..] = RandomState::new().hash_one("address").to_be_bytes();
    let (server, mut heartbeats) = serve((Ipv4Addr::new(127, a | 1, b, c), 0).into(), OWN_CLUSTER, false);
    let address = server.local_addr();

    let dir = tempfile::tempdir().unwrap();
    let _running = start(dir.path(), &[("dfs.namenode.rpc-address", address.to_string())]);
    heartbeat(&mut heartbeats, "at the start").await;

    server.stop();
    let (_server, mut heartbeats) = serve(address, OWN_CLUSTER, true);
    heartbeat(&mut heartbeats, "after the restart").await;
    heartbeat(&mut heartbeats, "when it has loaded").await;
}

#[tokio::test]
async fn a_nameservice_of_another_cluster_is_refused_beside_one_of_the_own_and_nothing_is_served_for_it_alone() {
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let (own, mut own_heartbeats) = serve(any, OWN_CLUSTER, false);
    let (other, mut other_heartbeats) = serve(any, "CID-other", false);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // The DataNode has been registered with both before.
    for dir in &dirs {
        let dataset = Dataset::open(&conf(dir.path(), &[])).unwrap();
        let namespace = NamespaceInfo {
            layout_version: LayoutVersion::NAMENODE_CURRENT,
            namespace_id: 7,
            cluster_id: OWN_CLUSTER.to_owned(),
            ctime: 0,
            block_pool_id: format!("BP-{OWN_CLUSTER}"),
        };
        dataset.open_pool(&namespace).unwrap();
    }
    let both = [
        ("dfs.nameservices", "own,other".to_owned()),
        ("dfs.namenode.rpc-address.own", own.local_addr().to_string()),
        ("dfs.namenode.rpc-address.other", other.local_addr().to_string()),
    ];
    let beside = start(dirs[0].path(), &both);
    let alone = start(
        dirs[1].path(),
        &[("dfs.namenode.rpc-address", other.local_addr().to_string())],
    );
    heartbeat(&mut own_heartbeats, "at the NameNode of the own cluster").await;
    let stopped = tokio::time::timeout(Duration::from_secs(30), alone.node.stopped()).await;
    stopped.expect("a DataNode goes on that no NameNode of its cluster knows");
    assert!(!beside.node.is_stopping());
    assert!(other_heartbeats.try_recv().is_err(), "it has registered");
}

fn conf(dir: &Path, more: &[(&str, String)]) -> DataNodeConf {
    let mut conf = Configuration::new(Environment::default());
    conf.set("dfs.datanode.data.dir", dir.display().to_string());
    conf.set("dfs.namenode.rpc-address", "127.0.0.1:1");
    conf.set("dfs.heartbeat.interval", "3600");
    conf.set("dfs.datanode.hostname", "localhost");
    for kind in ["", "http.", "ipc."] {
        conf.set(&format!("dfs.datanode.{kind}address"), "127.0.0.1:0");
    }
    for (key, value) in more {
        conf.set(key, value.clone());
    }
    DataNodeConf::from_configuration(&conf, "tester").unwrap()
}

fn start(dir: &Path, more: &[(&str, String)]) -> Running {
    hathi_datanode::start(conf(dir, more)).unwrap()
}

async fn heartbeat(told: &mut mpsc::UnboundedReceiver<()>, when: &str) {
    let heartbeat = tokio::time::timeout(Duration::from_secs(30), told.recv()).await;
    assert!(matches!(heartbeat, Ok(Some(()))), "no heartbeat {when}");
}
