//! One nameservice and its NameNodes (`BPOfferService`): what they are to be told, and which one is obeyed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use hathi_blockpool::{ActorId, ClaimId, IncrementalReports, NoticeKind, OfferService, ReceivedDeleted};
use hathi_formats::conf::HostPort;
use hathi_formats::ids::BlockId;
use hathi_formats::proto::datanode::DatanodeCommandProto;
use hathi_formats::proto::hdfs::LocatedBlockProto;
use hathi_net::ipc::RpcClient;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc};

use crate::config::NameServiceConf;
use crate::pool::Pool;

/// Reports of bad blocks and errors that wait for one NameNode, and replicas known to be bad; more are dropped, as scans
/// will find them again.
const MAX_BAD_BLOCKS: usize = 10_000;

/// Commands that wait to be carried out: those of minutes, as a heartbeat brings three at most. The largest ones, of a
/// thousand deletions, take 50 kB each. Beyond it they are dropped. The NameNode orders again whatever it does not see
/// done: deletions and copies after their time-outs or by the next full report, recoveries when the attempt has expired.
const MAX_COMMANDS: usize = 256;

/// A command, and the claim under which it came.
pub type Command = (ClaimId, DatanodeCommandProto);

/// A replica that was found bad: its block, and the DataNode that has it.
pub type BadReplica = (u64, String);

/// One NameNode as the rest of the DataNode sees it.
#[derive(Debug)]
pub struct Actor {
    /// Its place in the nameservice.
    pub id: ActorId,
    /// `dfs.ha.namenodes` id.
    pub namenode_id: String,
    /// Where it is called.
    pub address: HostPort,
    /// Notices that it has not got yet.
    pub reports: Mutex<IncrementalReports>,
    /// Bad replicas that it has not taken note of yet (`reportBadBlocks`).
    pub bad: Mutex<BTreeMap<BadReplica, LocatedBlockProto>>,
    /// Errors that it has not been told yet (`errorReport`): code and text.
    pub errors: Mutex<VecDeque<(u32, String)>>,
    /// Wakes the task that talks to it.
    pub wake: Notify,
    /// The connection, while there is one.
    pub client: Mutex<Option<RpcClient>>,
    /// Asks for a full report.
    pub force_report: AtomicBool,
    /// Asks for a heartbeat.
    pub force_heartbeat: AtomicBool,
    /// It answered last that it is of another cluster.
    pub is_of_other_cluster: AtomicBool,
    /// `HAServiceState` as last heard, for `/jmx`.
    pub state: Mutex<String>,
    /// Seconds since the start of the last heartbeat's answer, for `/jmx`.
    pub last_heartbeat_s: AtomicI64,
    /// The same of the last full report.
    pub last_report_s: AtomicI64,
}

impl Actor {
    fn tell_bad(&self, block: &LocatedBlockProto) {
        let node = block.locs.first().map(|node| node.id.datanode_uuid.clone());
        let mut bad = self.bad.lock();
        if bad.len() < MAX_BAD_BLOCKS {
            bad.insert((block.b.block_id, node.unwrap_or_default()), block.clone());
        }
    }
}

/// One nameservice.
#[derive(Debug)]
pub struct Service {
    /// Its id, or empty.
    pub id: String,
    /// Its NameNodes.
    pub actors: Vec<Arc<Actor>>,
    offer: Mutex<OfferService>,
    /// Replicas here that are known to be bad, until they are deleted. A NameNode that registers this DataNode anew may
    /// know nothing of them, and their length and stamp look good in its full report.
    bad: Mutex<BTreeMap<BlockId, LocatedBlockProto>>,
    pool: RwLock<Option<Arc<Pool>>>,
    /// In order.
    commands: mpsc::Sender<Command>,
}

impl Service {
    /// A nameservice, and the end of its queue of commands.
    #[must_use]
    pub fn new(conf: &NameServiceConf) -> (Arc<Service>, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let actors = conf
            .namenodes
            .iter()
            .enumerate()
            .map(|(index, namenode)| {
                Arc::new(Actor {
                    id: ActorId(index),
                    namenode_id: namenode.id.clone(),
                    address: namenode.address.clone(),
                    reports: Mutex::default(),
                    bad: Mutex::default(),
                    errors: Mutex::default(),
                    wake: Notify::new(),
                    client: Mutex::new(None),
                    force_report: AtomicBool::new(false),
                    force_heartbeat: AtomicBool::new(false),
                    is_of_other_cluster: AtomicBool::new(false),
                    state: Mutex::new("Unknown".to_owned()),
                    last_heartbeat_s: AtomicI64::new(-1),
                    last_report_s: AtomicI64::new(-1),
                })
            })
            .collect();
        let service = Arc::new(Service {
            id: conf.id.clone(),
            actors,
            offer: Mutex::default(),
            bad: Mutex::default(),
            pool: RwLock::default(),
            commands,
        });
        (service, receiver)
    }

    /// The rule that says whom to obey.
    pub fn offer(&self) -> parking_lot::MutexGuard<'_, OfferService> {
        self.offer.lock()
    }

    /// A command waits for its turn, if it comes from the NameNode that is obeyed.
    pub fn order(&self, from: ActorId, command: DatanodeCommandProto) {
        let Some(claim) = self.offer.lock().claim_of(from) else {
            return;
        };
        // The other end lives as long as the DataNode.
        if let Err(mpsc::error::TrySendError::Full((_, command))) = self.commands.try_send((claim, command)) {
            tracing::warn!(command = ?command.cmd_type(), waiting = MAX_COMMANDS, "command is dropped: too many wait");
        }
    }

    /// The pool, once a NameNode said which.
    #[must_use]
    pub fn pool(&self) -> Option<Arc<Pool>> {
        self.pool.read().clone()
    }

    /// Whether all of its NameNodes answered last that they are of another cluster. While one has not been asked it may
    /// be of this DataNode's, and then the others are to be put right (`BPOfferService.shouldRetryInit`).
    #[must_use]
    pub fn is_of_other_cluster(&self) -> bool {
        self.actors
            .iter()
            .all(|actor| actor.is_of_other_cluster.load(Ordering::Acquire))
    }

    /// The pool's id.
    #[must_use]
    pub fn pool_id(&self) -> Option<String> {
        self.pool.read().as_ref().map(|pool| pool.id().to_owned())
    }

    /// Sets the pool.
    pub fn set_pool(&self, pool: Arc<Pool>) {
        *self.pool.write() = Some(pool);
    }

    /// The NameNode that is obeyed.
    #[must_use]
    pub fn active(&self) -> Option<Arc<Actor>> {
        let active = self.offer.lock().active()?;
        self.actors.get(active.0).cloned()
    }

    /// Something happened to a replica.
    pub fn notify(&self, storage_id: &str, notice: &ReceivedDeleted) {
        if notice.kind == NoticeKind::Deleted {
            self.bad.lock().remove(&notice.block.id);
        }
        for actor in &self.actors {
            if actor.reports.lock().notify(storage_id, notice.clone()) {
                actor.wake.notify_one();
            }
        }
    }

    /// A replica of this DataNode is bad.
    pub fn report_bad(&self, block: LocatedBlockProto) {
        let id = BlockId(block.b.block_id.cast_signed());
        {
            let mut bad = self.bad.lock();
            if bad.len() < MAX_BAD_BLOCKS {
                bad.insert(id, block.clone());
            }
        }
        self.report_bad_elsewhere(block);
    }

    /// A replica of another DataNode is bad.
    pub fn report_bad_elsewhere(&self, block: LocatedBlockProto) {
        for actor in &self.actors {
            actor.tell_bad(&block);
            actor.wake.notify_one();
        }
    }

    /// A NameNode registered this DataNode: it is told of every replica that is known to be bad.
    pub fn tell_bad_again(&self, actor: &Actor) {
        for block in self.bad.lock().values() {
            actor.tell_bad(block);
        }
    }

    /// An error that NameNodes should know of (`errorReport`).
    pub fn report_error(&self, code: u32, text: &str) {
        for actor in &self.actors {
            let mut errors = actor.errors.lock();
            if errors.len() < MAX_BAD_BLOCKS {
                errors.push_back((code, text.to_owned()));
            }
            drop(errors);
            actor.wake.notify_one();
        }
    }

    /// A volume was dropped: full reports will say what is left.
    pub fn on_volume_failure(&self, enough_left: bool, text: &str) {
        use hathi_formats::proto::datanode::error_report_request_proto::ErrorCode;
        let code = if enough_left {
            ErrorCode::DiskError
        } else {
            ErrorCode::FatalDiskError
        };
        self.report_error(code as u32, text);
        for actor in &self.actors {
            actor.force_report.store(true, Ordering::Release);
            actor.force_heartbeat.store(true, Ordering::Release);
            actor.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_blockpool::HaState;
    use hathi_formats::proto::datanode::BalancerBandwidthCommandProto;

    #[test]
    fn safety_bounds_commands_beyond_the_limit_are_dropped_and_the_others_keep_their_order() {
        let conf = NameServiceConf {
            id: String::new(),
            namenodes: vec![],
        };
        let (service, mut commands) = Service::new(&conf);
        let order = |from, bandwidth| {
            let command = DatanodeCommandProto {
                balancer_cmd: Some(BalancerBandwidthCommandProto { bandwidth }),
                ..DatanodeCommandProto::default()
            };
            service.order(ActorId(from), command);
        };
        order(0, 1000);
        assert!(commands.try_recv().is_err(), "nobody is obeyed yet");
        service.offer().on_heartbeat(ActorId(0), HaState::Active, 1);
        for bandwidth in 0..MAX_COMMANDS as u64 + 10 {
            order(0, bandwidth);
            order(1, 1000);
        }
        let mut carried_out = || {
            let (_, command) = commands.try_recv().ok()?;
            Some(command.balancer_cmd?.bandwidth)
        };
        assert_eq!(carried_out(), Some(0));
        order(0, 2000);
        let rest: Vec<u64> = std::iter::from_fn(carried_out).collect();
        let expected: Vec<u64> = (1..MAX_COMMANDS as u64).chain([2000]).collect();
        assert_eq!(rest, expected);
    }
}
