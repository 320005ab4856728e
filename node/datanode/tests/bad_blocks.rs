//! Reports of bad replicas reach every NameNode in the end.
#![allow(clippy::unwrap_used, reason = "a test")]

use hathi_conf::{Configuration, Environment};
use hathi_datanode::DataNodeConf;
use hathi_formats::exceptions::{RemoteException, STANDBY};
use hathi_formats::ids::LayoutVersion;
use hathi_formats::proto::datanode::datanode_command_proto::Type as CommandType;
use hathi_formats::proto::datanode::{
    BlockReportResponseProto, DatanodeCommandProto, HeartbeatResponseProto, RegisterCommandProto,
    RegisterDatanodeRequestProto, RegisterDatanodeResponseProto, ReportBadBlocksRequestProto,
    ReportBadBlocksResponseProto,
};
use hathi_formats::proto::hdfs::nnha_status_heartbeat_proto::State;
use hathi_formats::proto::hdfs::{
    ExtendedBlockProto, LocatedBlockProto, NamespaceInfoProto, NnhaStatusHeartbeatProto, StorageInfoProto,
    VersionResponseProto,
};
use hathi_net::ipc::protocols::DATANODE_PROTOCOL;
use hathi_net::ipc::{Protocol, Responder, RpcCall, RpcHandler, RpcServer, ServerOptions};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Registered,
    /// A bad block was reported: its id, and whether the NameNode accepted the report.
    Bad(u64, bool),
}

/// A NameNode that refuses the first report of bad blocks, as Hadoop's standbys do. After the first report that it
/// accepts it asks for a registration.
struct NameNode {
    events: mpsc::UnboundedSender<Event>,
    takes: AtomicBool,
    ask: AtomicBool,
    asked: AtomicBool,
}

impl NameNode {
    fn tell(&self, event: Event) {
        // The test may be over.
        let _ = self.events.send(event);
    }

    fn commands(&self) -> Vec<DatanodeCommandProto> {
        if !self.ask.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        vec![DatanodeCommandProto {
            cmd_type: CommandType::RegisterCommand as i32,
            register_cmd: Some(RegisterCommandProto {}),
            ..DatanodeCommandProto::default()
        }]
    }
}

impl RpcHandler for NameNode {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![&DATANODE_PROTOCOL]
    }

    fn call(&self, call: RpcCall, reply: Responder) {
        match call.method.name() {
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
                self.tell(Event::Registered);
                reply.ok(&RegisterDatanodeResponseProto {
                    registration: request.registration,
                });
            }
            "sendHeartbeat" => reply.ok(&HeartbeatResponseProto {
                cmds: self.commands(),
                ha_status: NnhaStatusHeartbeatProto {
                    state: State::Standby as i32,
                    txid: 1,
                },
                ..HeartbeatResponseProto::default()
            }),
            "reportBadBlocks" => {
                let request: ReportBadBlocksRequestProto = call.decode().unwrap();
                let takes = self.takes.swap(true, Ordering::Relaxed);
                for block in request.blocks {
                    self.tell(Event::Bad(block.b.block_id, takes));
                }
                if !takes {
                    return reply.error(&RemoteException::new(STANDBY, "not here"));
                }
                if !self.asked.swap(true, Ordering::Relaxed) {
                    self.ask.store(true, Ordering::Relaxed);
                }
                reply.ok(&ReportBadBlocksResponseProto {});
            }
            _ => reply.ok(&BlockReportResponseProto::default()),
        }
    }
}

#[tokio::test]
async fn safety_d11_a_bad_replica_is_reported_until_it_is_taken_and_again_after_a_registration() {
    let (events, mut told) = mpsc::unbounded_channel();
    let namenode = NameNode {
        events,
        takes: AtomicBool::new(false),
        ask: AtomicBool::new(false),
        asked: AtomicBool::new(false),
    };
    let address = (Ipv4Addr::LOCALHOST, 0).into();
    let server = RpcServer::bind(address, Arc::new(namenode), ServerOptions::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut conf = Configuration::new(Environment::default());
    conf.set("dfs.datanode.data.dir", dir.path().display().to_string());
    conf.set("dfs.namenode.rpc-address", server.local_addr().to_string());
    conf.set("dfs.heartbeat.interval", "1");
    conf.set("dfs.datanode.hostname", "localhost");
    for kind in ["", "http.", "ipc."] {
        conf.set(&format!("dfs.datanode.{kind}address"), "127.0.0.1:0");
    }
    let running = hathi_datanode::start(DataNodeConf::from_configuration(&conf, "tester").unwrap()).unwrap();
    assert_eq!(next(&mut told).await, Event::Registered);
    running.node.services()[0].report_bad(LocatedBlockProto {
        b: ExtendedBlockProto {
            pool_id: "BP-1".to_owned(),
            block_id: 5,
            generation_stamp: 1001,
            num_bytes: Some(1),
        },
        ..LocatedBlockProto::default()
    });
    assert_eq!(next(&mut told).await, Event::Bad(5, false));
    assert_eq!(next(&mut told).await, Event::Bad(5, true));
    // The NameNode may be a new process by now, which knows nothing.
    assert_eq!(next(&mut told).await, Event::Registered);
    assert_eq!(next(&mut told).await, Event::Bad(5, true));
}

async fn next(told: &mut mpsc::UnboundedReceiver<Event>) -> Event {
    let event = tokio::time::timeout(Duration::from_secs(30), told.recv()).await;
    event.expect("nothing was told").unwrap()
}
