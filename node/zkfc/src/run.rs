//! The controller's loop: events in from all sides, decisions out to the local NameNode and the JournalNodes.

use crate::journalnodes::JournalNodes;
use crate::namenode::LocalNameNode;
use crate::server::{Asked, Handler, REQUESTS_MAX, Request};
use anyhow::Context as _;
use hathi_failover::{Action, Controller, ControllerConfig, Event, Health, QuorumLease, ServiceState};
use hathi_formats::exceptions::{RemoteException, SERVICE_FAILED};
use hathi_formats::proto::common;
use hathi_net::auth::Administrators;
use hathi_net::ipc::protocols::ZKFC_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcServer, ServerOptions, connect_to};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Times of the elector. A turn's delay is longer than a whole promotion, so that the second in line sees the first
/// one's lease before its own turn comes.
const RANK_DELAY_MS: u64 = 40;
const BACKOFF_MS: u64 = 50;
const KILL_AFTER_MS: u64 = 300;
const TICK: Duration = Duration::from_millis(5);
/// How long the others stay out of the election while one is moved in (Hadoop: twice the graceful fence timeout).
const CEDE_MS: u32 = 10_000;
/// How long a graceful failover waits for the local NameNode to be a standby at least.
const SETTLE_WAIT: Duration = Duration::from_secs(2);
/// How long a graceful failover waits for the local NameNode to be active.
const GRACEFUL_WAIT: Duration = Duration::from_secs(60);

/// What a controller needs to know.
#[derive(Clone, Debug)]
pub struct ZkfcConfig {
    /// The nameservice.
    pub nameservice: String,
    /// The NameNode's id.
    pub namenode_id: String,
    /// Its RPC address (`host:port`).
    pub namenode_address: String,
    /// All NameNodes of the nameservice, in the order of the configuration.
    pub namenode_ids: Vec<String>,
    /// Its place among them.
    pub rank: u32,
    /// Address that this controller serves on.
    pub listen: SocketAddr,
    /// The other NameNodes' ids and their controllers' addresses.
    pub peers: Vec<(String, String)>,
    /// The JournalNodes, as `host:port`.
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
    let namenode = Arc::new(LocalNameNode::new(config.namenode_address.clone(), config.user.clone()));
    tokio::spawn(namenode.clone().monitor(events.clone()));
    let mut controller_loop = Loop {
        controller: Controller::new(ControllerConfig {
            journalnodes: config.journalnodes.len(),
            rank: config.rank,
            namenode_ids: config.namenode_ids.clone(),
            rank_delay_ms: RANK_DELAY_MS,
            backoff_ms: BACKOFF_MS,
            kill_after_ms: KILL_AFTER_MS,
        }),
        started: Instant::now(),
        health: watch::Sender::new(Health::Down),
        last_lease: QuorumLease::Unknown,
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
    }
}

struct Loop {
    config: Arc<ZkfcConfig>,
    controller: Controller,
    started: Instant,
    /// The last health event, for a graceful failover that waits for a state.
    health: watch::Sender<Health>,
    last_lease: QuorumLease,
    journalnodes: Arc<JournalNodes>,
    namenode: Arc<LocalNameNode>,
    events: mpsc::UnboundedSender<Event>,
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
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let actions = self.controller.on(event, now_ms);
        let lease = self.controller.lease();
        if lease != self.last_lease {
            if let QuorumLease::Written { epoch } = lease {
                tracing::warn!(
                    epoch,
                    "a writer that asks for no read leases, as Hadoop's, writes to the JournalNodes or has left its segment open: nobody is promoted beside it. If it is gone for good: haadmin -transitionToActive --forcemanual"
                );
            }
            tracing::info!(lease = ?lease, "the quorum's lease");
            self.last_lease = lease;
        }
        for action in actions {
            self.perform(action);
        }
    }

    fn perform(&self, action: Action) {
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
        }
    }

    fn transition(&self, to: ServiceState, event: fn(Result<(), ()>) -> Event) {
        let (namenode, events) = (self.namenode.clone(), self.events.clone());
        tokio::spawn(async move {
            let started = Instant::now();
            tracing::info!(?to, "asking the NameNode for a transition");
            let result = namenode.transition(to).await;
            match &result {
                Ok(()) => tracing::info!(?to, elapsed = ?started.elapsed(), "transition done"),
                Err(error) => tracing::warn!(?to, %error, "transition failed"),
            }
            // A closed channel means that this controller ends.
            let _ = events.send(event(result.map_err(|_| ())));
        });
    }

    fn asked(&mut self, (request, answer): Asked) {
        match request {
            Request::CedeActive(millis) => {
                tracing::info!(millis, "asked to cede");
                self.on(Event::Cede { millis });
                let active = matches!(
                    &*self.health.borrow(),
                    Health::Healthy {
                        state: ServiceState::Active,
                        ..
                    } | Health::Unhealthy {
                        state: ServiceState::Active,
                        ..
                    }
                );
                if millis <= 0 || !active {
                    // The one who asked may be gone; nothing is lost.
                    let _ = answer.send(Ok(()));
                    return;
                }
                let namenode = self.namenode.clone();
                tokio::spawn(async move {
                    let result = namenode.transition(ServiceState::Standby).await;
                    let _ = answer.send(result.map_err(|error| failed(error.to_string())));
                });
            }
            Request::GracefulFailover => {
                let lease = self.controller.lease();
                let (config, health) = (self.config.clone(), self.health.subscribe());
                tokio::spawn(async move {
                    let _ = answer.send(graceful_failover(&config, lease, health).await);
                });
            }
        }
    }
}

fn failed(message: impl Into<String>) -> RemoteException {
    RemoteException::new(SERVICE_FAILED, message)
}

/// Moves the active role to the local NameNode: all others cede, the active one last
/// (`ZKFailoverController.gracefulFailoverToYou`).
async fn graceful_failover(
    config: &ZkfcConfig,
    lease: QuorumLease,
    mut health: watch::Receiver<Health>,
) -> Result<(), RemoteException> {
    // What the last probe said may be old: the NameNode may have finished its start meanwhile.
    let settled = tokio::time::timeout(
        SETTLE_WAIT,
        health.wait_for(|health| {
            matches!(
                health,
                Health::Healthy {
                    state: ServiceState::Active | ServiceState::Standby,
                    ..
                }
            )
        }),
    )
    .await
    .is_ok_and(|settled| settled.is_ok());
    if !settled {
        let id = &config.namenode_id;
        return Err(failed(format!("{id} is not a healthy standby")));
    }
    if let Health::Healthy {
        state: ServiceState::Active,
        ..
    } = &*health.borrow()
    {
        return Ok(());
    }
    let active = match &lease {
        QuorumLease::Held { holder, .. } => holder.split('@').next().unwrap_or_default().to_owned(),
        QuorumLease::Free | QuorumLease::Unknown | QuorumLease::Written { .. } => String::new(),
    };
    let mut peers: Vec<&(String, String)> = config.peers.iter().collect();
    peers.sort_by_key(|(id, _)| *id == active);
    let mut result = Ok(());
    for (id, address) in &peers {
        if let Err(error) = cede(config, address, CEDE_MS).await {
            tracing::warn!(namenode = id, error, "can't make it cede");
            if *id == active {
                result = Err(failed(format!("the active NameNode {id} did not cede: {error}")));
            }
        }
    }
    if result.is_ok() {
        let became_active = health.wait_for(|health| {
            matches!(
                health,
                Health::Healthy {
                    state: ServiceState::Active,
                    ..
                }
            )
        });
        result = match tokio::time::timeout(GRACEFUL_WAIT, became_active).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(failed(format!("{} did not become active in time", config.namenode_id))),
        };
    }
    for (_, address) in &peers {
        // One that can't be reached ends its ban by itself.
        let _ = cede(config, address, u32::MAX).await;
    }
    result
}

/// `cedeActive` at another controller; `u32::MAX` is Java's -1, which ends a ban.
async fn cede(config: &ZkfcConfig, address: &str, millis: u32) -> Result<(), String> {
    let mut options = ClientOptions::new(&config.user);
    options.connect_timeout = Duration::from_secs(1);
    options.call_timeout = Duration::from_secs(10);
    let request = common::CedeActiveRequestProto { millis_to_cede: millis };
    let result = async {
        let client = connect_to(address, &ZKFC_PROTOCOL, &options).await?;
        let _: common::CedeActiveResponseProto = client.call("cedeActive", &request).await?;
        Ok::<(), hathi_net::ipc::RpcError>(())
    };
    result.await.map_err(|error| error.to_string())
}
