//! The controller's loop: events in from all sides, decisions out to the local NameNode and the JournalNodes.

use crate::fence::fence;
use crate::graceful::{failed, graceful_failover};
use crate::journalnodes::JournalNodes;
use crate::namenode::LocalNameNode;
use crate::server::{Asked, Handler, REQUESTS_MAX, Request};
use crate::zookeeper::{Sessions, ZooKeeperConfig};
use anyhow::Context as _;
use hathi_failover::{
    Action, ActiveStandbyElector, Controller, ControllerConfig, Elector, Event, Health, JournalElector, QuorumLease,
    ServiceState,
};
use hathi_formats::conf::Configuration;
use hathi_formats::exceptions::{RETRIABLE, RemoteException};
use hathi_formats::proto::hdfs::ActiveNodeInfo;
use hathi_net::auth::Administrators;
use hathi_net::ipc::{RpcServer, ServerOptions};
use parking_lot::Mutex;
use prost::Message;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Times of the elector. A turn's delay is longer than a whole promotion, so that the second in line sees the first
/// one's lease before its own turn comes.
const RANK_DELAY_MS: u64 = 40;
const BACKOFF_MS: u64 = 50;
const KILL_AFTER_MS: u64 = 300;
const TICK: Duration = Duration::from_millis(5);

/// Who elects.
#[derive(Clone, Debug)]
pub enum Election {
    /// The JournalNodes' leases.
    Journal,
    /// ZooKeeper.
    ZooKeeper(ZooKeeperConfig),
}

/// How long things may take.
#[derive(Clone, Debug)]
pub struct Times {
    /// `ha.failover-controller.new-active.rpc-timeout.ms`
    pub new_active: Duration,
    /// `ha.failover-controller.graceful-fence.rpc-timeout.ms`
    pub graceful_fence: Duration,
    /// `ha.health-monitor.check-interval.ms`
    pub health_check: Duration,
    /// `ha.health-monitor.rpc-timeout.ms`
    pub silence: Duration,
}

/// What a controller needs to know.
#[derive(Clone, Debug)]
pub struct ZkfcConfig {
    /// The nameservice.
    pub nameservice: String,
    /// The NameNode's id.
    pub namenode_id: String,
    /// Its RPC address (`host:port`).
    pub namenode_address: String,
    /// Its host and port, as every controller of the nameservice spells them.
    pub namenode_host_and_port: (String, u16),
    /// All NameNodes of the nameservice and their addresses, in the order of the configuration.
    pub namenodes: Vec<(String, String)>,
    /// Its place among them.
    pub rank: u32,
    /// Address that this controller serves on.
    pub listen: SocketAddr,
    /// The other NameNodes' ids and their controllers' addresses.
    pub peers: Vec<(String, String)>,
    /// Who elects.
    pub election: Election,
    /// Time limits.
    pub times: Times,
    /// For the fencing methods, which get all of it.
    pub conf: Arc<Configuration>,
    /// The JournalNodes, as `host:port`; none when the edits are in a shared directory.
    pub journalnodes: Vec<String>,
    /// Journal id of the shared edits.
    pub journal_id: String,
    /// The user that this process calls as.
    pub user: String,
    /// Who may move the active role.
    pub administrators: Administrators,
    /// Limits of the RPC server, and who may use it.
    pub server: ServerOptions,
}

/// Runs the controller until the process ends.
pub async fn run(config: ZkfcConfig) -> anyhow::Result<()> {
    // bound: one event per probe of the NameNode, answer of a JournalNode's watcher or end of a transition, and each of
    // those waits before the next one. Nobody outside sends any.
    let (events, mut event_queue) = mpsc::unbounded_channel();
    let (requests, mut request_queue) = mpsc::channel(REQUESTS_MAX);
    let handler = Handler {
        requests,
        runtime: tokio::runtime::Handle::current(),
        administrators: config.administrators.clone(),
    };
    let options = ServerOptions {
        name: "zkfc".to_owned(),
        ..config.server.clone()
    };
    let _server = RpcServer::bind(config.listen, Arc::new(handler), options)
        .with_context(|| format!("dfs.ha.zkfc.port: can't listen on {}", config.listen))?;

    let journalnodes = Arc::new(JournalNodes::new(
        config.journalnodes.clone(),
        config.journal_id.clone(),
        config.user.clone(),
    ));
    journalnodes.watch_members(&events);
    let namenode = Arc::new(LocalNameNode::new(&config));
    tokio::spawn(namenode.clone().monitor(events.clone()));
    let mut controller_loop = Loop {
        controller: Controller::new(
            ControllerConfig {
                journalnodes: config.journalnodes.len(),
                backoff_ms: BACKOFF_MS,
                silence_ms: millis(config.times.silence),
                kill_after_ms: KILL_AFTER_MS,
            },
            elector(&config),
        ),
        sessions: match &config.election {
            Election::Journal => None,
            Election::ZooKeeper(zookeeper) => Some(Sessions::new(zookeeper.clone(), own_info(&config), events.clone())),
        },
        ceding: Vec::new(),
        failure: Arc::default(),
        give_up: None,
        started: Instant::now(),
        health: watch::Sender::new(Health::Down),
        last_lease: watch::Sender::new(QuorumLease::Unknown),
        journalnodes,
        namenode,
        events,
        config: Arc::new(config),
    };
    tracing::info!(
        namenode = controller_loop.config.namenode_id,
        "failover controller is up"
    );
    loop {
        let tick = controller_loop.controller.needs_ticks();
        tokio::select! {
            Some(event) = event_queue.recv() => controller_loop.on(event),
            Some(asked) = request_queue.recv() => controller_loop.asked(asked),
            () = tokio::time::sleep(TICK), if tick => controller_loop.on(Event::Tick),
        }
        if let Some(why) = controller_loop.give_up {
            anyhow::bail!(why);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn elector(config: &ZkfcConfig) -> Box<dyn Elector> {
    match &config.election {
        Election::Journal => {
            let ids = config.namenodes.iter().map(|(id, _)| id.clone()).collect();
            Box::new(JournalElector::new(config.rank, ids, RANK_DELAY_MS, BACKOFF_MS))
        }
        Election::ZooKeeper(_) => Box::new(ActiveStandbyElector::new(own_info(config))),
    }
}

/// What the lock and the breadcrumb say of the local NameNode (`DFSZKFailoverController.targetToData`).
fn own_info(config: &ZkfcConfig) -> Vec<u8> {
    let (hostname, port) = config.namenode_host_and_port.clone();
    let info = ActiveNodeInfo {
        nameservice_id: config.nameservice.clone(),
        namenode_id: config.namenode_id.clone(),
        hostname,
        port: i32::from(port),
        zkfc_port: i32::from(config.listen.port()),
    };
    info.encode_to_vec()
}

struct Loop {
    config: Arc<ZkfcConfig>,
    controller: Controller,
    started: Instant,
    /// The last health event, for a graceful failover that waits for a state.
    health: watch::Sender<Health>,
    /// What a graceful failover looks at.
    last_lease: watch::Sender<QuorumLease>,
    journalnodes: Arc<JournalNodes>,
    namenode: Arc<LocalNameNode>,
    events: mpsc::UnboundedSender<Event>,
    /// ZooKeeper's, when it elects.
    sessions: Option<Sessions>,
    /// Who waits for the local NameNode to be active no longer.
    ceding: Vec<oneshot::Sender<Result<(), RemoteException>>>,
    /// Why the last transition failed.
    failure: Arc<Mutex<String>>,
    /// Why this process ends.
    give_up: Option<String>,
}

impl Loop {
    fn on(&mut self, event: Event) {
        if let Event::Health(health) = &event
            && *self.health.borrow() != *health
        {
            let state = |health: &Health| match health {
                Health::Healthy { state, .. } => format!("{state:?}"),
                Health::Unhealthy { state, .. } => format!("{state:?}, not well"),
                Health::Down | Health::NotResponding => format!("{health:?}"),
            };
            let before = state(&self.health.send_replace(health.clone()));
            let now = state(health);
            if before != now {
                tracing::info!(before, now, "the NameNode's health");
            }
        }
        if let Event::JournalNodes(_) = &event {
            self.journalnodes.watch_members(&self.events);
        }
        let now_ms = millis(self.started.elapsed());
        let stayed = matches!(event, Event::BecameStandby(Err(())));
        let actions = self.controller.on(event, now_ms);
        self.answer_ceding(stayed);
        let lease = self.controller.lease();
        if lease != *self.last_lease.borrow() {
            if let QuorumLease::Written { epoch } = lease {
                tracing::warn!(
                    epoch,
                    "a writer that asks for no read leases, as Hadoop's, writes to the JournalNodes or has left its segment open: nobody is promoted beside it. If it is gone for good: haadmin -transitionToActive --forcemanual"
                );
            }
            tracing::info!(lease = ?lease, "the quorum's lease");
            self.last_lease.send_replace(lease);
        }
        for action in actions {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::BecomeActive => self.transition(ServiceState::Active, Event::BecameActive),
            Action::BecomeStandby => self.transition(ServiceState::Standby, Event::BecameStandby),
            Action::ReleaseLease(holder) => {
                let Some(proof) = self.namenode.take_proof(&holder) else {
                    tracing::warn!(
                        holder,
                        "a process is gone whose proof is not known: its lease has to run out"
                    );
                    return;
                };
                tracing::info!(holder, "giving the lease back for a process that is gone");
                self.journalnodes.release(&holder, proof);
            }
            Action::Kill(instance) => {
                tracing::warn!(
                    holder = instance.holder,
                    "another one serves and this one is silent: killing it"
                );
                self.namenode.kill(&instance);
            }
            Action::Fence(named) => {
                let (config, events) = (self.config.clone(), self.events.clone());
                tokio::spawn(async move {
                    let result = fence(&config, &named).await;
                    if let Err(error) = &result {
                        tracing::error!(error, "the former active is not fenced");
                    }
                    // A closed channel means that this controller ends.
                    let _ = events.send(Event::Fenced(result.is_ok()));
                });
            }
            Action::ZooKeeper(session, ask) => {
                tracing::debug!(session, ?ask, "asking ZooKeeper");
                if let Some(sessions) = &mut self.sessions {
                    sessions.ask(session, ask);
                }
            }
            Action::GiveUp(why) => self.give_up = Some(why),
        }
    }

    fn transition(&self, to: ServiceState, event: fn(Result<(), ()>) -> Event) {
        let (namenode, events) = (self.namenode.clone(), self.events.clone());
        let failure = self.failure.clone();
        tokio::spawn(async move {
            let started = Instant::now();
            tracing::info!(?to, "asking the NameNode for a transition");
            let result = namenode.transition(to).await;
            match &result {
                Ok(()) => tracing::info!(?to, elapsed = ?started.elapsed(), "transition done"),
                Err(error) => {
                    tracing::warn!(?to, %error, "transition failed");
                    *failure.lock() = error.to_string();
                }
            }
            // A closed channel means that this controller ends.
            let _ = events.send(event(result.map_err(|_| ())));
        });
    }

    /// Answers those who wait for the local NameNode to be active no longer.
    fn answer_ceding(&mut self, stayed: bool) {
        if !stayed && self.controller.may_be_active() {
            return;
        }
        for answer in self.ceding.drain(..) {
            let result = match stayed {
                true => Err(failed(self.failure.lock().clone())),
                false => Ok(()),
            };
            // The one who asked may be gone; nothing is lost.
            let _ = answer.send(result);
        }
    }

    fn asked(&mut self, (request, answer): Asked) {
        match request {
            Request::CedeActive(millis) => {
                tracing::info!(millis, "asked to cede");
                self.on(Event::Cede { millis });
                if millis <= 0 || !self.controller.may_be_active() {
                    // The one who asked may be gone; nothing is lost.
                    let _ = answer.send(Ok(()));
                } else if self.ceding.len() < REQUESTS_MAX {
                    self.ceding.push(answer);
                } else {
                    let _ = answer.send(Err(RemoteException::new(RETRIABLE, "too many wait for the step down")));
                }
            }
            Request::GracefulFailover => {
                let (lease, health) = (self.last_lease.subscribe(), self.health.subscribe());
                let config = self.config.clone();
                tokio::spawn(async move {
                    let _ = answer.send(graceful_failover(&config, lease, health).await);
                });
            }
        }
    }
}
