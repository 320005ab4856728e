//! One nameservice and its NameNodes (`BPOfferService`): messages that wait for each NameNode, and the NameNode that is
//! obeyed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use hathi_blockpool::{ActorId, ClaimId, IncrementalReports, NoticeKind, OfferService, ReceivedDeleted};
use hathi_conf::HostPort;
use hathi_formats::ha::HaState;
use hathi_formats::ids::BlockId;
use hathi_formats::proto::datanode::DatanodeCommandProto;
use hathi_formats::proto::hdfs::LocatedBlockProto;
use hathi_net::ipc::RpcClient;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc};

use crate::config::NameServiceConf;
use crate::pool::Pool;

/// Most reports of bad blocks and errors that wait for one NameNode, and most replicas that are remembered as bad.
/// Further ones are dropped: a scan will find the replicas again.
const MAX_BAD_BLOCKS: usize = 10_000;

/// Most commands that wait to be carried out. This lasts for minutes, because a heartbeat brings three at most. The
/// largest commands, with a thousand deletions, take 50 kB each. Further ones are dropped. The NameNode repeats every
/// order that is not carried out: deletions and copies after their time-outs or at the next full report, recoveries
/// when the attempt has expired.
const MAX_COMMANDS: usize = 256;

/// A command, and the claim under which it came.
pub type ClaimedCommand = (ClaimId, DatanodeCommandProto);

/// A bad replica: block id, and UUID of the DataNode that has it.
pub type BadReplica = (u64, String);

/// One NameNode, for the other parts of the DataNode.
#[derive(Debug)]
pub struct Actor {
    /// Its index in the nameservice.
    pub id: ActorId,
    /// Its id in `dfs.ha.namenodes`.
    pub namenode_id: String,
    /// Its address.
    pub address: HostPort,
    /// Notices that it has not been sent yet.
    pub reports: Mutex<IncrementalReports>,
    /// Bad replicas that it has not accepted yet (`reportBadBlocks`).
    pub bad: Mutex<BTreeMap<BadReplica, LocatedBlockProto>>,
    /// Errors that it has not been sent yet (`errorReport`): code and text.
    pub errors: Mutex<VecDeque<(u32, String)>>,
    /// Wakes the task that talks to it.
    pub wake: Notify,
    /// The connection, if there is one.
    pub client: Mutex<Option<RpcClient>>,
    /// Asks for a full report.
    pub force_report: AtomicBool,
    /// Asks for a heartbeat.
    pub force_heartbeat: AtomicBool,
    /// Whether its last answer was that it belongs to another cluster.
    pub is_of_other_cluster: AtomicBool,
    /// `HAServiceState` as last reported, for `/jmx`.
    pub state: Mutex<Option<HaState>>,
    /// Time of the last answer to a heartbeat, in seconds since the start, for `/jmx`.
    pub last_heartbeat_s: AtomicI64,
    /// Time of the last full report, in seconds since the start.
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
pub struct Nameservice {
    /// Its id. Empty when it has none.
    pub id: String,
    /// Its NameNodes.
    pub actors: Vec<Arc<Actor>>,
    offer: Mutex<OfferService>,
    /// Bad replicas of this DataNode, until they are deleted. A NameNode that registers this DataNode again may know
    /// nothing of them, and their length and stamp look good in a full report.
    bad: Mutex<BTreeMap<BlockId, LocatedBlockProto>>,
    pool: RwLock<Option<Arc<Pool>>>,
    /// Commands in their order.
    commands: mpsc::Sender<ClaimedCommand>,
}

impl Nameservice {
    /// A nameservice, with the receiving end of its queue of commands.
    #[must_use]
    pub fn new(conf: &NameServiceConf) -> (Arc<Nameservice>, mpsc::Receiver<ClaimedCommand>) {
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
                    state: Mutex::default(),
                    last_heartbeat_s: AtomicI64::new(-1),
                    last_report_s: AtomicI64::new(-1),
                })
            })
            .collect();
        let service = Arc::new(Nameservice {
            id: conf.id.clone(),
            actors,
            offer: Mutex::default(),
            bad: Mutex::default(),
            pool: RwLock::default(),
            commands,
        });
        (service, receiver)
    }

    /// The rule for the NameNode that is obeyed.
    pub fn offer(&self) -> parking_lot::MutexGuard<'_, OfferService> {
        self.offer.lock()
    }

    /// Queues a command, if it comes from the NameNode that is obeyed.
    pub fn order(&self, from: ActorId, command: DatanodeCommandProto) {
        let Some(claim) = self.offer.lock().claim_of(from) else {
            return;
        };
        // The receiver lives as long as the DataNode.
        if let Err(mpsc::error::TrySendError::Full((_, command))) = self.commands.try_send((claim, command)) {
            tracing::warn!(
                command = command.cmd_type().as_str_name(),
                waiting = MAX_COMMANDS,
                "command is dropped: too many wait"
            );
        }
    }

    /// The pool, once a NameNode has named it.
    #[must_use]
    pub fn pool(&self) -> Option<Arc<Pool>> {
        self.pool.read().clone()
    }

    /// Whether the last answer of every NameNode was that it belongs to another cluster. A NameNode that has not
    /// answered yet may belong to this DataNode's cluster. Then the configuration of the others is wrong
    /// (`BPOfferService.shouldRetryInit`).
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

    /// Adds a notice about a replica for every NameNode.
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

    /// Reports a bad replica of this DataNode.
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

    /// Whether a replica of this DataNode was found to be bad.
    #[must_use]
    pub fn is_known_bad(&self, id: BlockId) -> bool {
        self.bad.lock().contains_key(&id)
    }

    /// A replica of this DataNode is good again: its bad bytes were cut away.
    pub fn is_bad_no_more(&self, id: BlockId) {
        self.bad.lock().remove(&id);
    }

    /// Reports a bad replica of another DataNode.
    pub fn report_bad_elsewhere(&self, block: LocatedBlockProto) {
        for actor in &self.actors {
            actor.tell_bad(&block);
            actor.wake.notify_one();
        }
    }

    /// Queues all known bad replicas for a NameNode that has registered this DataNode again.
    pub fn tell_bad_again(&self, actor: &Actor) {
        for block in self.bad.lock().values() {
            actor.tell_bad(block);
        }
    }

    /// Queues an error for the NameNodes (`errorReport`).
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

    /// Reports the loss of a volume. Full reports will show the replicas that are left.
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
        let (service, mut commands) = Nameservice::new(&conf);
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
