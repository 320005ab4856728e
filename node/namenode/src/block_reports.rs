//! Large block reports, processed one after the other on a thread of their own (`BlockReportProcessingThread`).

use crate::clock::Clock;
use crate::replies::Replies;
use hathi_formats::exceptions::{RETRIABLE, RemoteException};
use hathi_nameserver::replies::Made;
use hathi_namesystem::calls::BlockReportWork;
use hathi_namesystem::{Namesystem, Reply, Standing};
use hathi_net::ipc::Responder;
use parking_lot::{RwLock, RwLockWriteGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Number of replicas that are processed under one hold of the lock. It takes well below a millisecond.
const BLOCKS_PER_SLICE: usize = 5000;
/// Number of reports that may wait (`dfs.namenode.blockreport.queue.size`). A DataNode that sends one more must send it
/// again later.
const REPORTS_MAX: usize = 1024;

/// Bytes that the lists of waiting reports may take. A million replicas take some ten MiB, and DataNodes with a lease
/// send six reports at a time (`dfs.namenode.max.full.block.report.leases`). The limit keeps senders without a lease
/// from filling the memory.
const REPORT_BYTES_MAX: usize = 512 << 20;

/// What a report changes, and what its answer leaves through.
#[derive(Clone)]
pub struct ReportParts {
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) replies: Arc<Replies>,
}

/// The queue of reports. All work on them needs the same lock, so more threads would gain nothing.
#[derive(Debug)]
pub struct BlockReports {
    reports: SyncSender<Report>,
    /// Bytes of the reports that wait and of the one that is processed.
    bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Report {
    work: Box<BlockReportWork>,
    bytes: usize,
    responder: Responder,
}

impl BlockReports {
    /// Starts the thread, which ends when this is dropped.
    #[must_use]
    pub fn start(parts: ReportParts) -> BlockReports {
        let (reports, waiting) = sync_channel(REPORTS_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        let held = bytes.clone();
        let spawned = std::thread::Builder::new()
            .name("block-report".to_owned())
            .spawn(move || work_off(&parts, &waiting, &held));
        if let Err(error) = spawned {
            // Then each report is refused, and DataNodes send it again.
            tracing::error!(%error, "cannot start the thread for block reports");
        }
        BlockReports { reports, bytes }
    }

    /// Puts a report into the queue.
    pub fn add(&self, work: Box<BlockReportWork>, responder: Responder) {
        let bytes = work.bytes();
        // A single report is accepted whatever its size: it came in one frame, so it fits into memory.
        let room = |held: usize| (held == 0 || held.saturating_add(bytes) <= REPORT_BYTES_MAX).then_some(held + bytes);
        if self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room)
            .is_err()
        {
            return responder.error(&too_many());
        }
        let report = Report { work, bytes, responder };
        if let Err(TrySendError::Full(report) | TrySendError::Disconnected(report)) = self.reports.try_send(report) {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
            report.responder.error(&too_many());
        }
    }
}

fn too_many() -> RemoteException {
    RemoteException::new(RETRIABLE, "too many block reports wait")
}

fn work_off(parts: &ReportParts, waiting: &Receiver<Report>, bytes_held: &AtomicUsize) {
    while let Ok(report) = waiting.recv() {
        let Report {
            mut work,
            bytes,
            responder,
        } = report;
        let (reply, standing) = loop {
            if let Some(done) = slice(parts, &mut work) {
                break done;
            }
        };
        drop(work);
        bytes_held.fetch_sub(bytes, Ordering::AcqRel);
        if reply.after.is_some() {
            parts.replies.wake_log();
        }
        let made = Made {
            standing,
            after: reply.after,
            changed: false,
        };
        parts.replies.answer(responder, reply.result, made);
    }
}

/// Processes a part of a report under one hold of the lock. Others that wait for the lock get it before the next part.
/// At the end of the report this returns its answer, and the role and life in which the answer was made.
fn slice(parts: &ReportParts, work: &mut BlockReportWork) -> Option<(Reply, Standing)> {
    let mut ns = parts.ns.write();
    let done = work.step(&mut ns, BLOCKS_PER_SLICE, parts.clock.now());
    let standing = ns.standing();
    RwLockWriteGuard::unlock_fair(ns);
    Some((done?, standing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::NameNode;
    use crate::testing::{self, Alone};
    use hathi_formats::exceptions::RETRIABLE;
    use hathi_formats::proto::datanode::{
        BlockReportRequestProto, BlockReportResponseProto, DatanodeRegistrationProto, RegisterDatanodeRequestProto,
        StorageBlockReportProto,
    };
    use hathi_formats::proto::hdfs::{DatanodeIdProto, DatanodeStorageProto, StorageInfoProto};
    use hathi_namesystem::calls;
    use hathi_namesystem::{Deferred, MethodHandler};
    use hathi_net::ipc::protocols::DATANODE_PROTOCOL;
    use hathi_net::ipc::{ClientOptions, Protocol, RpcCall, RpcClient, RpcError, RpcHandler, RpcServer, ServerOptions};
    use prost::Message;
    use prost::bytes::Bytes;
    use tokio::sync::mpsc;
    use tokio::task::JoinSet;

    fn serve(handler: Arc<dyn RpcHandler>) -> RpcServer {
        RpcServer::bind("127.0.0.1:0".parse().unwrap(), handler, ServerOptions::default()).unwrap()
    }

    async fn connect(server: &RpcServer, protocol: &'static Protocol) -> RpcClient {
        let options = ClientOptions::new("dn");
        RpcClient::connect(server.local_addr(), protocol, options)
            .await
            .unwrap()
    }

    fn registration(nn: &NameNode, number: u32) -> DatanodeRegistrationProto {
        let info = nn.ns.read().info().clone();
        DatanodeRegistrationProto {
            storage_info: StorageInfoProto {
                namespce_id: info.namespace_id,
                cluster_id: info.cluster_id,
                ..StorageInfoProto::default()
            },
            datanode_id: DatanodeIdProto {
                ip_addr: "127.0.0.1".to_owned(),
                host_name: "dn".to_owned(),
                datanode_uuid: format!("uuid-{number}"),
                xfer_port: 1000 + number,
                ..DatanodeIdProto::default()
            },
            software_version: "3.5.0".to_owned(),
            ..DatanodeRegistrationProto::default()
        }
    }

    fn report(nn: &NameNode, number: u32, replicas: u64, list: Bytes) -> BlockReportRequestProto {
        BlockReportRequestProto {
            registration: registration(nn, number),
            block_pool_id: nn.ns.read().info().block_pool_id.clone(),
            reports: vec![StorageBlockReportProto {
                storage: DatanodeStorageProto {
                    storage_uuid: format!("DS-{number}"),
                    ..DatanodeStorageProto::default()
                },
                blocks: vec![],
                number_of_blocks: Some(replicas),
                blocks_buffers: vec![list],
            }],
            context: None,
        }
    }

    #[tokio::test]
    async fn others_get_the_lock_between_the_slices_of_a_large_report() {
        const REPLICAS: u64 = 200_000;
        let alone = testing::active();
        let nn = &alone.shared.nn;
        let mut asking = Asking::begin(nn).await;
        asking.register(&alone).await;
        let mut list = Vec::new();
        for id in 0..REPLICAS {
            for field in [(1 << 31 | id) << 1, 100, 1000, 0] {
                hathi_formats::wire::put_varint(&mut list, field);
            }
        }
        let (mut work, _responder) = asking.report(&alone, &report(nn, 0, REPLICAS, list.into())).await;
        let mut slices = 1;
        let reply = loop {
            if let Some((reply, _)) = slice(&nn.report_parts(), &mut work) {
                break reply;
            }
            assert!(nn.ns.try_write().is_some(), "nobody holds the lock between two slices");
            slices += 1;
        };
        reply.result.unwrap();
        assert!(slices >= 40, "{slices} slices");
    }

    /// Passes every call on to the test.
    struct Asked(mpsc::UnboundedSender<(RpcCall, Responder)>);

    impl RpcHandler for Asked {
        fn protocols(&self) -> Vec<&'static Protocol> {
            vec![&DATANODE_PROTOCOL]
        }

        fn call(&self, call: RpcCall, reply: Responder) {
            self.0.send((call, reply)).unwrap();
        }
    }

    fn run(alone: &Alone, call: &RpcCall, request: &impl Message) -> Reply {
        let nn = &alone.shared.nn;
        let context = nn.callers.context(call).unwrap();
        let Some(MethodHandler::Write(write)) = calls::handler(call.method) else {
            panic!("{} changes nothing", call.method);
        };
        write(&mut nn.ns.write(), &context, request.encode_to_vec().into())
    }

    /// A DataNode whose calls the test answers.
    struct Asking {
        _server: RpcServer,
        datanode: RpcClient,
        asked: mpsc::UnboundedReceiver<(RpcCall, Responder)>,
        answers: JoinSet<Result<BlockReportResponseProto, RpcError>>,
    }

    impl Asking {
        async fn begin(nn: &NameNode) -> Asking {
            nn.replies.set_lease(u64::MAX);
            nn.callers.groups().resolve("dn").await;
            let (sender, asked) = mpsc::unbounded_channel();
            let server = serve(Arc::new(Asked(sender)));
            let datanode = connect(&server, &DATANODE_PROTOCOL).await;
            Asking {
                _server: server,
                datanode,
                asked,
                answers: JoinSet::new(),
            }
        }

        /// The request itself does not matter: it is answered like a report.
        async fn ask(&mut self, method: &'static str) -> (RpcCall, Responder) {
            let datanode = self.datanode.clone();
            self.answers
                .spawn(async move { datanode.call(method, &BlockReportResponseProto::default()).await });
            self.asked.recv().await.unwrap()
        }

        async fn register(&mut self, alone: &Alone) {
            let (call, responder) = self.ask("registerDatanode").await;
            let registration = registration(&alone.shared.nn, 0);
            let registered = run(alone, &call, &RegisterDatanodeRequestProto { registration });
            registered.result.unwrap();
            responder.ok(&BlockReportResponseProto::default());
            self.answer().await.unwrap();
        }

        async fn report(
            &mut self,
            alone: &Alone,
            report: &BlockReportRequestProto,
        ) -> (Box<BlockReportWork>, Responder) {
            let (call, responder) = self.ask("blockReport").await;
            let Some(Deferred::BlockReport(work)) = run(alone, &call, report).deferred else {
                panic!("it is worked on at once");
            };
            (work, responder)
        }

        async fn answer(&mut self) -> Result<BlockReportResponseProto, RpcError> {
            self.answers.join_next().await.unwrap().unwrap()
        }
    }

    #[expect(
        clippy::await_holding_lock,
        reason = "whoever works on reports is to wait; nobody who waits here needs it"
    )]
    #[tokio::test]
    async fn reports_that_wait_have_a_limit_in_bytes() {
        let alone = testing::active();
        let nn = alone.shared.nn.clone();
        let mut asking = Asking::begin(&nn).await;
        asking.register(&alone).await;
        // The first replica has no end, so the processing is short.
        let list = Bytes::from(vec![0xFF; 60 << 20]);
        let (work, responder) = asking.report(&alone, &report(&nn, 0, 20_000, list)).await;
        let fit = REPORT_BYTES_MAX / work.bytes();
        assert!(fit < 10, "and not more than memory");
        let reports = BlockReports::start(nn.report_parts());
        {
            // The first report is being processed and waits for the lock. The others wait for the first one.
            let _others = nn.ns.write();
            reports.add(work.clone(), responder);
            for _ in 1..fit {
                let (_, responder) = asking.ask("blockReport").await;
                reports.add(work.clone(), responder);
            }
            let (_, responder) = asking.ask("blockReport").await;
            reports.add(work.clone(), responder);
            let refused = asking.answer().await.unwrap_err();
            assert!(refused.is_remote(RETRIABLE), "{refused}");
        }
        for _ in 0..fit {
            let malformed = asking.answer().await.unwrap_err();
            assert!(malformed.to_string().contains("ends early"), "{malformed}");
        }
        assert_eq!(reports.bytes.load(Ordering::Acquire), 0);
    }
}
