//! A DataNode and a NameNode that goes down and comes back.
#![allow(clippy::unwrap_used, reason = "a test")]

use hathi_datanode::DataNodeConf;
use hathi_formats::conf::{Configuration, Environment};
use hathi_formats::exceptions::{RETRIABLE, RemoteException};
use hathi_formats::ids::LayoutVersion;
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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// A NameNode as far as a DataNode sees it.
struct NameNode {
    heartbeats: mpsc::UnboundedSender<()>,
    /// It is still loading: the next heartbeat is refused.
    loading: AtomicBool,
}

impl RpcHandler for NameNode {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![&DATANODE_PROTOCOL]
    }

    fn call(&self, call: RpcCall, reply: Responder) {
        match call.method {
            "versionRequest" => reply.ok(&VersionResponseProto {
                info: NamespaceInfoProto {
                    block_pool_id: "BP-1".to_owned(),
                    storage_info: StorageInfoProto {
                        layout_version: LayoutVersion::NAMENODE_CURRENT.0 as u32,
                        namespce_id: 7,
                        cluster_id: "CID-test".to_owned(),
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

fn serve(address: SocketAddr, loading: bool) -> (RpcServer, mpsc::UnboundedReceiver<()>) {
    let (heartbeats, told) = mpsc::unbounded_channel();
    let namenode = NameNode {
        heartbeats,
        loading: AtomicBool::new(loading),
    };
    let server = RpcServer::bind(address, Arc::new(namenode), ServerOptions::default()).unwrap();
    (server, told)
}

#[tokio::test]
async fn a_restarted_namenode_is_found_long_before_the_next_heartbeat() {
    // An address where nobody else is, so that the port stays free while the NameNode is down.
    let [_, _, a, b, c, ..] = RandomState::new().hash_one("address").to_be_bytes();
    let (server, mut heartbeats) = serve((Ipv4Addr::new(127, a | 1, b, c), 0).into(), false);
    let address = server.local_addr();

    let dir = tempfile::tempdir().unwrap();
    let mut conf = Configuration::new(Environment::default());
    conf.set("dfs.datanode.data.dir", dir.path().display().to_string());
    conf.set("dfs.namenode.rpc-address", address.to_string());
    conf.set("dfs.heartbeat.interval", "3600");
    conf.set("dfs.datanode.hostname", "localhost");
    for kind in ["", "http.", "ipc."] {
        conf.set(&format!("dfs.datanode.{kind}address"), "127.0.0.1:0");
    }
    let _running = hathi_datanode::start(DataNodeConf::from_configuration(&conf, "tester").unwrap()).unwrap();
    heartbeat(&mut heartbeats, "at the start").await;

    server.stop();
    let (_server, mut heartbeats) = serve(address, true);
    heartbeat(&mut heartbeats, "after the restart").await;
    heartbeat(&mut heartbeats, "when it has loaded").await;
}

async fn heartbeat(told: &mut mpsc::UnboundedReceiver<()>, when: &str) {
    let heartbeat = tokio::time::timeout(Duration::from_secs(30), told.recv()).await;
    assert!(matches!(heartbeat, Ok(Some(()))), "no heartbeat {when}");
}
