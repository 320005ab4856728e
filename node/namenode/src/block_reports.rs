//! Large block reports, worked off one after the other on a thread of their own (`BlockReportProcessingThread`).

use crate::state::{Made, NameNode};
use hathi_formats::exceptions::{RETRIABLE, RemoteException};
use hathi_namesystem::calls::BlockReportWork;
use hathi_net::ipc::Responder;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Replicas of a block report worked on under one hold of the lock: well below a millisecond.
const BLOCKS_PER_SLICE: usize = 5000;
/// Reports that wait (`dfs.namenode.blockreport.queue.size`): whoever sends more is to come again.
const REPORTS_MAX: usize = 1024;

/// The reports that wait. All work on them needs the same lock, so a second thread would gain nothing, and a thread for
/// each would be as many as there are calls.
#[derive(Debug)]
pub struct BlockReports(SyncSender<(Box<BlockReportWork>, Responder)>);

impl BlockReports {
    /// Starts the thread, which ends when this is dropped.
    #[must_use]
    pub fn start(nn: Arc<NameNode>) -> BlockReports {
        let (reports, waiting) = sync_channel(REPORTS_MAX);
        let spawned = std::thread::Builder::new()
            .name("block-report".to_owned())
            .spawn(move || work_off(&nn, &waiting));
        if let Err(error) = spawned {
            // Each report is refused then, and DataNodes go on sending them.
            tracing::error!(%error, "cannot start the thread for block reports");
        }
        BlockReports(reports)
    }

    /// Lets one wait for its turn.
    pub fn add(&self, work: Box<BlockReportWork>, responder: Responder) {
        if let Err(TrySendError::Full((_, responder)) | TrySendError::Disconnected((_, responder))) =
            self.0.try_send((work, responder))
        {
            responder.error(&RemoteException::new(RETRIABLE, "too many block reports wait"));
        }
    }
}

fn work_off(nn: &NameNode, waiting: &Receiver<(Box<BlockReportWork>, Responder)>) {
    while let Ok((mut work, responder)) = waiting.recv() {
        // In slices, between which others get the lock.
        loop {
            let mut ns = nn.ns.write();
            let done = work.step(&mut ns, BLOCKS_PER_SLICE, nn.clock.now());
            let standing = ns.standing();
            parking_lot::RwLockWriteGuard::unlock_fair(ns);
            let Some(reply) = done else { continue };
            if reply.after.is_some() {
                nn.log_wake.notify_one();
            }
            let made = Made {
                standing,
                after: reply.after,
                changed: false,
            };
            nn.answer(responder, reply.result, made);
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use hathi_formats::proto::datanode::{BlockReportRequestProto, DatanodeRegistrationProto, StorageBlockReportProto};
    use hathi_formats::proto::datanode::{BlockReportResponseProto, RegisterDatanodeRequestProto};
    use hathi_formats::proto::hdfs::{DatanodeIdProto, DatanodeStorageProto, StorageInfoProto};
    use hathi_namesystem::{CallContext, Deferred, Reply, Verb, calls};
    use hathi_net::ipc::protocols::DATANODE_PROTOCOL;
    use hathi_net::ipc::{ClientOptions, Protocol, RpcCall, RpcClient, RpcHandler, RpcServer, ServerOptions};
    use prost::Message;

    fn serve(nn: &NameNode, method: &str, request: &impl Message) -> Reply {
        let Some(Verb::Write(write)) = calls::lookup(DATANODE_PROTOCOL.name, method) else {
            panic!("no {method}")
        };
        let context = CallContext {
            user: "mallory".into(),
            groups: Vec::new().into(),
            superuser: false,
            client_ip: None,
            client_id: Default::default(),
            call_id: -2,
            retry_count: -1,
            passed_on: None,
            now_ms: 0,
            mono_ms: 0,
        };
        write(&mut nn.ns.write(), &context, request.encode_to_vec().into())
    }

    /// A report that says of itself that it is large.
    fn large(nn: &NameNode) -> Box<BlockReportWork> {
        let info = nn.ns.read().info.clone();
        let registration = DatanodeRegistrationProto {
            datanode_id: DatanodeIdProto {
                datanode_uuid: "uuid-0".to_owned(),
                ..DatanodeIdProto::default()
            },
            storage_info: StorageInfoProto {
                namespce_id: info.namespace_id,
                cluster_id: info.cluster_id.clone(),
                ..StorageInfoProto::default()
            },
            software_version: "3.5.0".to_owned(),
            ..DatanodeRegistrationProto::default()
        };
        let register = RegisterDatanodeRequestProto {
            registration: registration.clone(),
        };
        serve(nn, "registerDatanode", &register).result.unwrap();
        let report = BlockReportRequestProto {
            registration,
            block_pool_id: info.block_pool_id.clone(),
            reports: vec![StorageBlockReportProto {
                storage: DatanodeStorageProto {
                    storage_uuid: "DS-0".to_owned(),
                    ..DatanodeStorageProto::default()
                },
                number_of_blocks: Some(1 << 40),
                ..StorageBlockReportProto::default()
            }],
            context: None,
        };
        match serve(nn, "blockReport", &report).deferred {
            Some(Deferred::BlockReport(work)) => work,
            _ => panic!("answered at once"),
        }
    }

    struct Flood {
        reports: BlockReports,
        work: Box<BlockReportWork>,
    }

    impl RpcHandler for Flood {
        fn protocols(&self) -> Vec<&'static Protocol> {
            vec![&DATANODE_PROTOCOL]
        }

        fn call(&self, _: RpcCall, reply: Responder) {
            self.reports.add(self.work.clone(), reply);
        }
    }

    #[tokio::test]
    async fn a_flood_of_large_reports_waits_in_a_queue_that_has_an_end() {
        let alone = testing::active();
        let nn = alone.shared.nn.clone();
        let flood = Flood {
            work: large(&nn),
            reports: BlockReports::start(nn.clone()),
        };
        let address = "127.0.0.1:0".parse().unwrap();
        let server = RpcServer::bind(address, Arc::new(flood), ServerOptions::default()).unwrap();
        let client = RpcClient::connect(server.local_addr(), &DATANODE_PROTOCOL, ClientOptions::new("mallory"));
        let client = client.await.unwrap();
        // Nothing can be worked on meanwhile. One is in the thread's hands.
        let (release, released) = std::sync::mpsc::channel::<()>();
        let locked = nn.clone();
        let (held, is_held) = tokio::sync::oneshot::channel();
        let holder = std::thread::spawn(move || {
            let _ns = locked.ns.write();
            held.send(()).unwrap();
            released.recv()
        });
        is_held.await.unwrap();
        let request = BlockReportRequestProto::default();
        let more = 100;
        let mut answers = tokio::task::JoinSet::new();
        for _ in 0..REPORTS_MAX + 1 + more {
            answers.spawn(client.call::<_, BlockReportResponseProto>("blockReport", &request));
        }
        let mut refused = 0;
        // Those that came too late are answered while the others wait.
        while refused < more {
            let answer = answers.join_next().await.unwrap().unwrap();
            assert!(answer.unwrap_err().is_remote(RETRIABLE));
            refused += 1;
        }
        release.send(()).unwrap();
        holder.join().unwrap().unwrap();
        while let Some(answer) = answers.join_next().await {
            refused += usize::from(answer.unwrap().unwrap_err().is_remote(RETRIABLE));
        }
        // The thread may not have taken the first one yet when the queue was full.
        assert!((more..=more + 1).contains(&refused), "{refused} refused");
    }
}
