//! ZooKeeper's sessions for the elector. Its requests are sent in order, and it is told what it has to know.
//!
//! Only ZooKeeper ends a session: when this controller closes it, or when ZooKeeper itself says that it has expired.
//! The client library gives a session up that it could not reach for long. But no server may have ended it, because
//! nobody counts time while there is no quorum. Then the session is resumed.

pub(crate) mod format;
mod security;

use hathi_failover::elector::{
    BREADCRUMB, LOCK, LockOwner, SessionNumber, ZooKeeperMessage, ZooKeeperRefusal, ZooKeeperRequest,
};
use hathi_failover::{ControllerEvent, ElectorMessage};
use hathi_formats::proto::hdfs::ActiveNodeInfo;
use prost::Message;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use zookeeper_client::{
    Acl, Acls, Client, Connector, CreateMode, Error, EventType, SessionInfo, SessionState, WatchedEvent,
};

pub use security::{Auth, parse_acls, parse_auths};

/// Pause before another attempt at a server that answers with an error, or at a quorum that can't be reached.
const RETRY: Duration = Duration::from_millis(200);
/// How long an ending controller waits for the end of its session. When ZooKeeper can't be reached the session expires.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Address of ZooKeeper, and credentials.
#[derive(Clone, Debug)]
pub struct ZooKeeperConfig {
    /// `ha.zookeeper.quorum`: `host:port`, separated by commas.
    pub quorum: String,
    /// `ha.zookeeper.session-timeout.ms`
    pub session_timeout: Duration,
    /// `ha.failover-controller.active-standby-elector.zk.op.retries`
    pub retries: u32,
    /// `<ha.zookeeper.parent-znode>/<nameservice>`
    pub znode: String,
    /// `ha.zookeeper.auth`
    pub auths: Vec<Auth>,
    /// `ha.zookeeper.acl`
    pub acls: Vec<Acl>,
}

impl ZooKeeperConfig {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.znode)
    }

    fn connector(&self) -> Connector {
        let mut connector = Client::connector().with_session_timeout(self.session_timeout);
        for auth in &self.auths {
            connector = connector.with_auth(&auth.scheme, &auth.credentials);
        }
        connector
    }

    /// A session for a few requests.
    ///
    /// # Errors
    /// When no server answers within the session time-out.
    pub(crate) async fn connect(&self) -> Result<Client, Error> {
        self.connector().connect(&self.quorum).await
    }

    /// The present owner of the lock (`ActiveStandbyElector.getActiveData`).
    ///
    /// # Errors
    /// When ZooKeeper does not answer, or the znode holds something else.
    pub(crate) async fn active(&self) -> Result<Option<ActiveNodeInfo>, String> {
        let answer = async { self.connect().await?.get_data(&self.path(LOCK)).await };
        match answer.await {
            Ok((bytes, _)) => ActiveNodeInfo::decode(bytes.as_slice())
                .map(Some)
                .map_err(|error| format!("{}: {error}", self.path(LOCK))),
            Err(Error::NoNode) => Ok(None),
            Err(error) => Err(format!("ZooKeeper at {}: {error}", self.quorum)),
        }
    }
}

/// The sessions of the elector, one after the other.
#[derive(Debug)]
pub(crate) struct Sessions {
    config: Arc<ZooKeeperConfig>,
    /// Information about the local NameNode, for the lock and the breadcrumb.
    own: Arc<[u8]>,
    events: mpsc::UnboundedSender<ControllerEvent>,
    current: Option<Running>,
    /// The last session that was closed, or is being closed.
    closing: Option<JoinHandle<Ended>>,
}

/// What ZooKeeper knows of the end of an abandoned session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// There was none, or ZooKeeper itself has said that it is over.
    NoSession,
    /// ZooKeeper has answered that it is closed.
    Closed,
    /// ZooKeeper could not be told, or has not answered.
    Untold,
}

#[derive(Debug)]
struct Running {
    number: SessionNumber,
    asks: mpsc::UnboundedSender<ZooKeeperRequest>,
    task: JoinHandle<Ended>,
    /// Dropped together with this: then nobody waits for a connection any more.
    _wanted: oneshot::Sender<()>,
}

impl Sessions {
    pub(crate) fn new(config: ZooKeeperConfig, own: Vec<u8>, events: mpsc::UnboundedSender<ControllerEvent>) -> Self {
        Sessions {
            config: Arc::new(config),
            own: own.into(),
            events,
            current: None,
            closing: None,
        }
    }

    /// Waits until ZooKeeper knows that the last session has ended, as long as that is useful.
    pub(crate) async fn closed(&mut self) -> Ended {
        let Some(task) = self.closing.take() else {
            return Ended::NoSession;
        };
        match tokio::time::timeout(CLOSE_LIMIT, task).await {
            Ok(Ok(ended)) => ended,
            // It takes longer, or has ended by a bug.
            Ok(Err(_)) | Err(_) => Ended::Untold,
        }
    }

    /// Takes a request of the elector in a session.
    pub(crate) fn ask(&mut self, number: SessionNumber, ask: ZooKeeperRequest) {
        match ask {
            ZooKeeperRequest::Open => {
                // bound: the elector asks the next thing when it has the answer to the last one.
                let (asks, queue) = mpsc::unbounded_channel();
                let (wanted, unwanted) = oneshot::channel();
                let session = Session {
                    number,
                    config: self.config.clone(),
                    own: self.own.clone(),
                    events: self.events.clone(),
                    asks: queue,
                    not_served: None,
                };
                self.current = Some(Running {
                    number,
                    asks,
                    task: tokio::spawn(session.run(unwanted)),
                    _wanted: wanted,
                });
            }
            ZooKeeperRequest::Close if self.current.as_ref().is_some_and(|running| running.number == number) => {
                self.closing = self.current.take().map(|running| running.task);
            }
            ask => {
                if let Some(running) = self.current.as_ref().filter(|running| running.number == number) {
                    // The session has just ended, and will say so.
                    let _ = running.asks.send(ask);
                }
            }
        }
    }
}

/// The watch of the lock.
type Watch = Pin<Box<dyn Future<Output = WatchedEvent> + Send>>;

/// Why a connection is not served any more.
enum End {
    /// The session was abandoned.
    Unwanted,
    /// The client has given the connection up. The session may live.
    Lost,
    /// The credentials are refused.
    NotAuthenticated,
}

struct Session {
    number: SessionNumber,
    config: Arc<ZooKeeperConfig>,
    own: Arc<[u8]>,
    events: mpsc::UnboundedSender<ControllerEvent>,
    asks: mpsc::UnboundedReceiver<ZooKeeperRequest>,
    /// A request that waits for the next connection.
    not_served: Option<ZooKeeperRequest>,
}

impl Session {
    fn tell(&self, told: ZooKeeperMessage) {
        // A closed channel means that this controller ends.
        let _ = self
            .events
            .send(ControllerEvent::Elector(ElectorMessage::ZooKeeper(self.number, told)));
    }

    async fn run(mut self, mut unwanted: oneshot::Receiver<()>) -> Ended {
        let mut resumed: Option<SessionInfo> = None;
        loop {
            let client = tokio::select! {
                _ = &mut unwanted => return match resumed {
                    Some(_) => Ended::Untold,
                    None => Ended::NoSession,
                },
                client = self.connect(resumed.as_ref()) => client,
            };
            let client = match client {
                Ok(client) => client,
                // Without a session nothing can have expired.
                Err(Error::SessionExpired) => {
                    tracing::warn!(session = self.number, "the ZooKeeper session has expired");
                    self.tell(ZooKeeperMessage::Expired);
                    return Ended::NoSession;
                }
                Err(error) => {
                    self.refuse(&error.to_string()).await;
                    return Ended::NoSession;
                }
            };
            let (id, timeout) = (client.session_id(), client.session_timeout());
            if resumed.is_some() {
                tracing::info!(session = self.number, %id, "the ZooKeeper session is resumed");
                self.tell(ZooKeeperMessage::Reconnected);
            } else {
                tracing::info!(session = self.number, %id, timeout_ms = timeout.as_millis(), "connected to ZooKeeper");
            }
            let info = client.session().clone();
            match self.serve(&client).await {
                End::Unwanted => return close(client).await,
                End::Lost => resumed = Some(info),
                End::NotAuthenticated => {
                    self.refuse("the credentials of ha.zookeeper.auth are refused").await;
                    return Ended::NoSession;
                }
            }
            tracing::warn!(
                session = self.number,
                "ZooKeeper can't be reached; the session will be resumed"
            );
        }
    }

    /// Connects, however long it takes.
    ///
    /// # Errors
    /// When the session is over, or can never begin.
    async fn connect(&self, resumed: Option<&SessionInfo>) -> Result<Client, Error> {
        let mut complained = false;
        loop {
            let mut connector = self.config.connector();
            if let Some(info) = resumed {
                connector = connector.with_session(info.clone());
            }
            match connector.connect(&self.config.quorum).await {
                Ok(client) => return Ok(client),
                Err(error @ Error::SessionExpired) if resumed.is_some() => return Err(error),
                Err(error @ (Error::AuthFailed | Error::BadArguments(_))) => return Err(error),
                Err(error) if !complained => {
                    complained = true;
                    tracing::warn!(quorum = self.config.quorum, %error, "can't reach ZooKeeper; trying on");
                }
                Err(_) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Answers the next request with this refusal.
    async fn refuse(&mut self, why: &str) {
        let refused = || ZooKeeperRefusal::Other(why.to_owned());
        let ask = match self.not_served.take() {
            Some(ask) => Some(ask),
            None => self.asks.recv().await,
        };
        match ask {
            Some(ZooKeeperRequest::CreateLock) => self.tell(ZooKeeperMessage::LockCreated(Err(refused()))),
            Some(ZooKeeperRequest::LookAtLock) => self.tell(ZooKeeperMessage::LockSeen(Err(refused()))),
            Some(ZooKeeperRequest::ReadBreadcrumb) => self.tell(ZooKeeperMessage::Breadcrumb(Err(refused()))),
            Some(ZooKeeperRequest::WriteBreadcrumb { .. }) => {
                self.tell(ZooKeeperMessage::BreadcrumbWritten(Err(refused())))
            }
            Some(ZooKeeperRequest::Open | ZooKeeperRequest::Close | ZooKeeperRequest::DeleteBreadcrumb { .. })
            | None => {}
        }
    }

    async fn serve(&mut self, client: &Client) -> End {
        let mut states = client.state_watcher();
        let mut watch: Option<Watch> = None;
        loop {
            if let Some(ask) = self.not_served.take() {
                match self.answer(client, &ask, &mut watch).await {
                    Ok(told) => told.into_iter().for_each(|told| self.tell(told)),
                    Err(end) => {
                        self.not_served = Some(ask);
                        return end;
                    }
                }
            }
            // Messages of the watch are passed on after the end of the session is known.
            tokio::select! {
                biased;
                state = states.changed() => match state {
                    SessionState::Disconnected => tracing::warn!(session = self.number, "the connection to ZooKeeper is lost"),
                    SessionState::SyncConnected | SessionState::ConnectedReadOnly => {
                        tracing::info!(session = self.number, "the ZooKeeper session goes on over a new connection");
                        self.tell(ZooKeeperMessage::Reconnected);
                    }
                    SessionState::AuthFailed => return End::NotAuthenticated,
                    SessionState::Expired | SessionState::Closed => return End::Lost,
                },
                event = fired(&mut watch) => if event.event_type != EventType::Session {
                    self.tell(ZooKeeperMessage::LockChanged);
                },
                ask = self.asks.recv() => match ask {
                    None => return End::Unwanted,
                    ask => self.not_served = ask,
                },
            }
        }
    }

    /// Carries out a request.
    ///
    /// # Errors
    /// When the client has given the connection up before the request was sent.
    async fn answer(
        &self,
        client: &Client,
        ask: &ZooKeeperRequest,
        watch: &mut Option<Watch>,
    ) -> Result<Option<ZooKeeperMessage>, End> {
        let acls = Acls::new(&self.config.acls);
        let (lock, breadcrumb) = (self.config.path(LOCK), self.config.path(BREADCRUMB));
        Ok(match ask {
            ZooKeeperRequest::Open | ZooKeeperRequest::Close => None,
            ZooKeeperRequest::CreateLock => {
                let options = CreateMode::Ephemeral.with_acls(acls);
                let created = client.create(&lock, &self.own, &options).await;
                Some(ZooKeeperMessage::LockCreated(answered(created.map(drop)).await?))
            }
            ZooKeeperRequest::LookAtLock => {
                let seen = match client.get_and_watch_data(&lock).await {
                    Ok((named, stat, watcher)) => {
                        *watch = Some(Box::pin(watcher.changed()));
                        Ok(match stat.ephemeral_owner == client.session_id().0 {
                            true => LockOwner::ThisSession,
                            false => LockOwner::Other(named),
                        })
                    }
                    Err(error) => Err(error),
                };
                Some(ZooKeeperMessage::LockSeen(answered(seen).await?))
            }
            ZooKeeperRequest::ReadBreadcrumb => {
                let read = match client.get_data(&breadcrumb).await {
                    Ok((bytes, stat)) => Ok(Some((bytes, stat.version))),
                    Err(Error::NoNode) => Ok(None),
                    Err(error) => Err(error),
                };
                Some(ZooKeeperMessage::Breadcrumb(answered(read).await?))
            }
            ZooKeeperRequest::WriteBreadcrumb { replaces } => {
                let written = match replaces {
                    Some(version) => client.set_data(&breadcrumb, &self.own, Some(*version)).await,
                    None => {
                        let options = CreateMode::Persistent.with_acls(acls);
                        client
                            .create(&breadcrumb, &self.own, &options)
                            .await
                            .map(|(stat, _)| stat)
                    }
                };
                let written = answered(written.map(|stat| stat.version)).await?;
                Some(ZooKeeperMessage::BreadcrumbWritten(written))
            }
            ZooKeeperRequest::DeleteBreadcrumb { version } => {
                if let Err(error) = client.delete(&breadcrumb, Some(*version)).await {
                    tracing::warn!(%error, "can't delete the breadcrumb: whoever is elected next fences this NameNode");
                }
                None
            }
        })
    }
}

/// Ends the session, and with it the lock. Returns when ZooKeeper has answered, or the client has given up.
async fn close(client: Client) -> Ended {
    let mut states = client.state_watcher();
    let mut state = states.state();
    drop(client);
    while !matches!(
        state,
        SessionState::Closed | SessionState::Expired | SessionState::AuthFailed
    ) {
        state = states.changed().await;
    }
    match state {
        SessionState::Closed => Ended::Closed,
        _ => Ended::Untold,
    }
}

async fn fired(watch: &mut Option<Watch>) -> WatchedEvent {
    let event = match watch {
        Some(watch) => watch.await,
        None => pending().await,
    };
    *watch = None;
    event
}

async fn answered<T>(answer: Result<T, Error>) -> Result<Result<T, ZooKeeperRefusal>, End> {
    Ok(Err(match answer {
        Ok(value) => return Ok(Ok(value)),
        Err(Error::NodeExists) => ZooKeeperRefusal::Exists,
        Err(Error::NoNode) => ZooKeeperRefusal::Missing,
        Err(Error::BadVersion) => ZooKeeperRefusal::OtherVersion,
        // The client refuses requests that it can't send any more.
        Err(Error::SessionExpired | Error::ClientClosed) => return Err(End::Lost),
        Err(Error::AuthFailed) => return Err(End::NotAuthenticated),
        Err(Error::ConnectionLoss | Error::SessionMoved | Error::Timeout) => ZooKeeperRefusal::ConnectionLost,
        Err(Error::Throttled) => {
            tokio::time::sleep(RETRY).await;
            ZooKeeperRefusal::ConnectionLost
        }
        Err(error) => ZooKeeperRefusal::Other(error.to_string()),
    }))
}
