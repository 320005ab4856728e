//! The controller's loop: events in from all sides, decisions out to the local NameNode and the JournalNodes.

use crate::fence::{Unheard, fence};
use crate::graceful::{Attempt, Watched, failed, graceful_failover};
use crate::journalnodes::WatchedJournalNodes;
use crate::namenode::LocalNameNode;
use crate::server::{Asked, REQUESTS_MAX, ZkfcRequest, ZkfcRpcServer};
use crate::status::{self, Status};
use crate::zookeeper::{Ended, Sessions, ZooKeeperConfig};
use anyhow::Context as _;
use hathi_conf::{Configuration, HostPort};
use hathi_failover::{
    ActiveStandbyElector, AutomaticFailover, ControllerAction, ControllerConfig, ControllerEvent, Elector,
    ElectorRequest, Fenced, Health, HealthState, JournalElector, QuorumLease, ServiceState,
};
use hathi_formats::exceptions::{RETRIABLE, RemoteException};
use hathi_formats::proto::hdfs::ActiveNodeInfo;
use hathi_net::auth::Administrators;
use hathi_net::http::HttpServer;
use hathi_net::ipc::{RpcServer, ServerOptions};
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
/// How often the log says that a NameNode goes on which was to be fenced.
const COMPLAINT: Duration = Duration::from_secs(60);

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
    /// `ha.failover-controller.graceful-fence.connection.retries`
    pub graceful_fence_retries: u32,
    /// `ha.health-monitor.check-interval.ms`
    pub health_check: Duration,
    /// `ha.health-monitor.connect-retry-interval.ms`
    pub connect_retry: Duration,
    /// `ha.health-monitor.sleep-after-disconnect.ms`
    pub after_disconnect: Duration,
    /// `ha.health-monitor.rpc.connect.max.retries`
    pub connect_retries: u32,
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
    /// Address of its web server, if it has one (`hathi.zkfc.http-address`).
    pub http: Option<SocketAddr>,
    /// The other NameNodes' ids and their controllers' addresses.
    pub peers: Vec<(String, String)>,
    /// Who elects.
    pub election: Election,
    /// Time limits.
    pub times: Times,
    /// For the fencing methods, which get all of it.
    pub conf: Arc<Configuration>,
    /// The JournalNodes; none when the edits are in a shared directory.
    pub journalnodes: Vec<HostPort>,
    /// Journal id of the shared edits.
    pub journal_id: String,
    /// The user that this process calls as.
    pub user: String,
    /// Who may move the active role.
    pub administrators: Administrators,
    /// Limits of the RPC server, and who may use it.
    pub server: ServerOptions,
}

/// Runs the controller until it is told to stop. Then it leaves the election, so that another one can be elected at once, and
/// fences the local NameNode, which goes on as what it is until then.
///
/// # Errors
/// When it can't listen, or can't go on.
pub async fn run(config: ZkfcConfig, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    // bound: one event per probe of the NameNode, answer of a JournalNode's watcher or end of a transition, and each of
    // those waits before the next one. Nobody outside sends any.
    let (events, mut event_queue) = mpsc::unbounded_channel();
    // bound: one of them is under way at a time.
    let (done, mut done_queue) = mpsc::unbounded_channel();
    let (requests, mut request_queue) = mpsc::channel(REQUESTS_MAX);
    let handler = ZkfcRpcServer {
        requests,
        runtime: tokio::runtime::Handle::current(),
        administrators: config.administrators.clone(),
    };
    let options = ServerOptions {
        name: "zkfc".to_owned(),
        ..config.server.clone()
    };
    let server = RpcServer::bind(config.listen, Arc::new(handler), options).context("dfs.ha.zkfc.port")?;
    let elector_word = match &config.election {
        Election::Journal => "journal",
        Election::ZooKeeper(_) => "zookeeper",
    };
    let status = Arc::new(Status::new(
        config.conf.clone(),
        &config.nameservice,
        &config.namenode_id,
        elector_word,
    ));
    status.serves(server.meter());
    let _http = match config.http {
        None => None,
        Some(address) => {
            let http = HttpServer::bind(address, Arc::new(status::handler(status.clone())))
                .context("hathi.zkfc.http-address")?;
            Some(http)
        }
    };
    tokio::spawn(hathi_net::systemd::watchdog());
    hathi_net::systemd::ready("watching");

    let journalnodes = Arc::new(WatchedJournalNodes::new(
        config.journalnodes.clone(),
        config.journal_id.clone(),
        &config.user,
    ));
    journalnodes.watch_members(&events);
    let namenode = Arc::new(LocalNameNode::new(&config));
    let monitor = tokio::spawn(namenode.clone().monitor(events.clone()));
    let failed = events.clone();
    tokio::spawn(async move {
        // It watches for ever, so whatever has ended it is a bug. A closed channel means that this controller ends.
        let _ = monitor.await;
        let _ = failed.send(ControllerEvent::HealthMonitorFailed);
    });
    let mut controller_loop = Loop {
        controller: AutomaticFailover::new(
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
        attempt: watch::Sender::new(Attempt::default()),
        unheard: None,
        complained: None,
        health_state: HealthState::Initializing,
        give_up: None,
        started: Instant::now(),
        health: watch::Sender::new(Health::Down),
        status,
        last_lease: watch::Sender::new(QuorumLease::Unknown),
        journalnodes,
        namenode,
        events,
        done,
        config: Arc::new(config),
    };
    tracing::info!(
        namenode = controller_loop.config.namenode_id,
        "failover controller is up"
    );
    tokio::pin!(stop);
    loop {
        let tick = controller_loop.controller.needs_ticks();
        tokio::select! {
            () = &mut stop => {
                hathi_net::systemd::stopping();
                tracing::info!("told to stop: leaving the election");
                controller_loop.status.cause("the controller was told to stop");
                controller_loop.quit().await;
                return Ok(());
            }
            Some(done) = done_queue.recv() => controller_loop.done(done),
            Some(event) = event_queue.recv() => controller_loop.on(event),
            Some(asked) = request_queue.recv() => controller_loop.asked(asked),
            () = tokio::time::sleep(TICK), if tick => controller_loop.on(ControllerEvent::Tick),
        }
        if let Some(why) = controller_loop.give_up.take() {
            controller_loop.quit().await;
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
        Election::ZooKeeper(zookeeper) => Box::new(ActiveStandbyElector::new(own_info(config), zookeeper.retries)),
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

fn lease_in_words(lease: &QuorumLease) -> String {
    match lease {
        QuorumLease::Unknown => "not known".to_owned(),
        QuorumLease::Free => "free".to_owned(),
        QuorumLease::Held { holder, epoch } => format!("held by {holder} in epoch {epoch}"),
        QuorumLease::Written { epoch } => format!("written in epoch {epoch} by a writer without a lease"),
    }
}

/// What was done for the controller, with what a person may want to know of it.
enum Done {
    BecameActive(Result<(), String>),
    BecameStandby(Result<(), String>),
    Fenced(Result<Option<Unheard>, String>),
}

struct Loop {
    config: Arc<ZkfcConfig>,
    controller: AutomaticFailover,
    started: Instant,
    /// The local NameNode's health and role, for a graceful failover that waits for a state.
    health: watch::Sender<Health>,
    /// What the web server shows.
    status: Arc<Status>,
    /// What a graceful failover looks at.
    last_lease: watch::Sender<QuorumLease>,
    journalnodes: Arc<WatchedJournalNodes>,
    namenode: Arc<LocalNameNode>,
    events: mpsc::UnboundedSender<ControllerEvent>,
    done: mpsc::UnboundedSender<Done>,
    /// ZooKeeper's, when it elects.
    sessions: Option<Sessions>,
    /// Who waits for the local NameNode to be active no longer.
    ceding: Vec<oneshot::Sender<Result<(), RemoteException>>>,
    /// The last try to make the local NameNode active.
    attempt: watch::Sender<Attempt>,
    /// Who was fenced last, if it did not say so itself.
    unheard: Option<Unheard>,
    /// When the log said last that it goes on.
    complained: Option<Instant>,
    /// As it counted when it was looked at last.
    health_state: HealthState,
    /// Why this process ends.
    give_up: Option<String>,
}

impl Loop {
    fn on(&mut self, event: ControllerEvent) {
        if let ControllerEvent::ProcessEnded(instance) = &event {
            let pid = instance.pid;
            self.status.cause(format!("the NameNode's process {pid} is gone"));
        }
        if let ControllerEvent::JournalNodes(_) = &event {
            self.journalnodes.watch_members(&self.events);
        }
        let now_ms = millis(self.started.elapsed());
        let actions = self.controller.on(event, now_ms);
        self.publish_health();
        let health_state = self.controller.health_state();
        if health_state != self.health_state {
            let (before, now) = (self.health_state.name(), health_state.name());
            tracing::info!(before, now, "the NameNode's health, as it counts");
            self.health_state = health_state;
            self.status.health_state(health_state);
        }
        self.answer_ceding(None);
        let lease = self.controller.lease();
        if lease != *self.last_lease.borrow() {
            if let QuorumLease::Written { epoch } = lease {
                tracing::warn!(
                    epoch,
                    "a writer that asks for no read leases, as Hadoop's, writes to the JournalNodes or has left its segment open: nobody is promoted beside it. If it is gone for good: haadmin -transitionToActive --forcemanual"
                );
            }
            self.status.lease(&lease);
            let now = lease_in_words(&lease);
            let before = lease_in_words(&self.last_lease.send_replace(lease));
            tracing::info!(before, now, "the quorum's lease");
        }
        self.complain();
        for action in actions {
            self.perform(action);
        }
    }

    /// Shows the state of the local NameNode to those that wait for it.
    fn publish_health(&self) {
        let health = self.controller.health();
        if *self.health.borrow() == *health {
            return;
        }
        let state = |health: &Health| match health {
            Health::Healthy { state, .. } => state.name().to_owned(),
            Health::Unhealthy { state, .. } => format!("{}, not well", state.name()),
            Health::Down => "down".to_owned(),
            Health::NotResponding => "silent".to_owned(),
        };
        self.status.health(health);
        let before = state(&self.health.send_replace(health.clone()));
        let now = state(health);
        if before != now {
            tracing::info!(before, now, "the NameNode's health");
        }
    }

    /// Leaves the election.
    async fn quit(&mut self) {
        self.on(ControllerEvent::Quit);
        let Some(sessions) = &mut self.sessions else { return };
        match sessions.closed().await {
            Ended::NoSession => {}
            Ended::Closed => tracing::info!("the ZooKeeper session is closed"),
            Ended::Untold => tracing::warn!("ZooKeeper can't be told that the session ends: it has to expire"),
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::BecameActive(result) => {
                let id = &self.config.namenode_id;
                let failure = result.as_ref().err();
                self.attempted(failure.map(|error| format!("Couldn't make {id} active\n{error}")));
                self.status.promoted(failure.map(String::as_str));
                self.on(ControllerEvent::BecameActive(result.map_err(drop)));
            }
            Done::BecameStandby(result) => {
                if let Err(error) = &result {
                    // Who waits for it is answered by this failure, not by what follows from it.
                    self.answer_ceding(Some(error));
                }
                self.on(ControllerEvent::BecameStandby(result.map_err(drop)));
            }
            Done::Fenced(result) => {
                if let Err(error) = &result {
                    tracing::error!(error, "the former active is not fenced");
                    self.status.not_fenced(error);
                    self.attempted(Some(format!("Unable to fence old active: {error}")));
                }
                let fenced = match &result {
                    Ok(None) => Fenced::Heard,
                    Ok(Some(unheard)) => Fenced::Unheard(unheard.namenode_id.clone()),
                    Err(_) => Fenced::Failed,
                };
                self.unheard = result.unwrap_or_default();
                self.on(ControllerEvent::Fenced(fenced));
            }
        }
    }

    fn attempted(&self, failure: Option<String>) {
        self.attempt.send_modify(|attempt| {
            attempt.number += 1;
            attempt.failure = failure;
        });
    }

    /// Says loudly when a NameNode goes on that a method has said to have fenced: nobody can be promoted beside it. The local
    /// NameNode shows it with its own metrics too, because not every controller has a web server.
    fn complain(&mut self) {
        let split = self.controller.split().zip(self.unheard.as_ref());
        let told = split.map(|(id, unheard)| format!("{id} by {}", unheard.method));
        self.status.split(told.as_deref());
        self.namenode.tell_split(told.unwrap_or_default());
        let Some((_, unheard)) = split else { return };
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAINT) {
            self.complained = Some(Instant::now());
            tracing::error!(
                namenode = unheard.namenode_id,
                method = unheard.method,
                "SPLIT: this NameNode was said to be fenced, and renews its lease at the JournalNodes all the same. It serves \
                 its clients, and nobody else is promoted until it stops. Stop it, or let this controller reach it \
                 (haadmin -transitionToStandby --forcemanual does what is needed), and configure a method that fences"
            );
        }
    }

    fn perform(&mut self, action: ControllerAction) {
        match action {
            ControllerAction::BecomeActive => {
                self.status.promoting();
                self.transition(ServiceState::Active, Done::BecameActive);
            }
            ControllerAction::BecomeStandby => {
                self.status.event("the NameNode is asked to be a standby");
                self.transition(ServiceState::Standby, Done::BecameStandby);
            }
            ControllerAction::ReleaseLease(holder) => {
                let Some(proof) = self.namenode.take_proof(&holder) else {
                    tracing::warn!(
                        holder,
                        "a process is gone whose proof is not known: its lease has to run out"
                    );
                    return self.on(ControllerEvent::LeaseReleased(holder));
                };
                tracing::info!(holder, "giving the lease back for a process that is gone");
                let (journalnodes, events) = (self.journalnodes.clone(), self.events.clone());
                tokio::spawn(async move {
                    journalnodes.release(&holder, proof).await;
                    // A closed channel means that this controller ends.
                    let _ = events.send(ControllerEvent::LeaseReleased(holder));
                });
            }
            ControllerAction::Kill(instance) => {
                tracing::warn!(
                    holder = instance.holder,
                    "another one serves and this one is silent: killing it"
                );
                self.status
                    .cause("the NameNode is silent while another one serves: it is killed");
                self.namenode.kill(&instance);
            }
            ControllerAction::Fence(former) => {
                self.status.event("the former active is being fenced");
                let (config, done) = (self.config.clone(), self.done.clone());
                tokio::spawn(async move {
                    // A closed channel means that this controller ends.
                    let _ = done.send(Done::Fenced(fence(&config, &former).await));
                });
            }
            ControllerAction::Elector(ElectorRequest::ZooKeeper(session, ask)) => {
                tracing::debug!(session, ?ask, "asking ZooKeeper");
                if let Some(sessions) = &mut self.sessions {
                    sessions.ask(session, ask);
                }
            }
            ControllerAction::GiveUp(why) => self.give_up = Some(why),
        }
    }

    fn transition(&self, to: ServiceState, done: fn(Result<(), String>) -> Done) {
        let (namenode, queue) = (self.namenode.clone(), self.done.clone());
        tokio::spawn(async move {
            let started = Instant::now();
            let to_state = to.name();
            tracing::info!(to = to_state, "asking the NameNode for a transition");
            let result = namenode.transition(to).await;
            match &result {
                Ok(()) => tracing::info!(to = to_state, took_ms = millis(started.elapsed()), "transition done"),
                Err(error) => tracing::warn!(to = to_state, %error, "transition failed"),
            }
            // A closed channel means that this controller ends.
            let _ = queue.send(done(result.map_err(|error| error.to_string())));
        });
    }

    /// Answers those who wait for the local NameNode to be active no longer, or to be asked in vain.
    fn answer_ceding(&mut self, failure: Option<&str>) {
        if failure.is_none() && self.controller.may_be_active() {
            return;
        }
        for answer in self.ceding.drain(..) {
            let result = failure.map_or(Ok(()), |failure| Err(failed(failure)));
            // The one who asked may be gone; nothing is lost.
            let _ = answer.send(result);
        }
    }

    fn asked(&mut self, (request, answer): Asked) {
        match request {
            ZkfcRequest::CedeActive(millis) => {
                tracing::info!(millis, "asked to cede");
                if millis > 0 {
                    self.status
                        .cause("a person asked for another active: the NameNode cedes the role");
                }
                self.on(ControllerEvent::Cede { millis });
                if millis <= 0 || !self.controller.may_be_active() {
                    // The one who asked may be gone; nothing is lost.
                    let _ = answer.send(Ok(()));
                } else if self.ceding.len() < REQUESTS_MAX {
                    self.ceding.push(answer);
                } else {
                    let _ = answer.send(Err(RemoteException::new(RETRIABLE, "too many wait for the step down")));
                }
            }
            ZkfcRequest::GracefulFailover => {
                let watched = Watched {
                    lease: self.last_lease.subscribe(),
                    health: self.health.subscribe(),
                    attempt: self.attempt.subscribe(),
                };
                let (config, status) = (self.config.clone(), self.status.clone());
                status.asked_for();
                tokio::spawn(async move {
                    let result = graceful_failover(&config, watched).await;
                    status.asking_ended();
                    let _ = answer.send(result);
                });
            }
        }
    }
}
