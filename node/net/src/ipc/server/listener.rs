//! Reactor threads, accepting, and the registry of connections.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};

use super::connection::{self, ConnectionTask};
use super::outbox::{Closing, Connection, Outbox};
use super::shares::{Shares, SharesOptions};
use super::table::ProtocolTable;
use super::times::{CallTimes, MethodTimes, SlowCall, UserCalls};
use super::{RpcHandler, ServerMetrics, ServerOptions, StateIds};
use crate::tcp::listen;

/// A client that takes none of its replies for this long is cut off.
const MAX_WRITE_STALL_MS: u64 = 300_000;
/// Most accepted sockets that wait for a reactor.
const INTAKE_MAX: usize = 1024;
/// Pause after a failed accept (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) calls: AtomicU64,
    pub(super) exceptions: AtomicU64,
    pub(super) outstanding: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) outbox_bytes: AtomicU64,
    pub(super) too_busy: AtomicU64,
    /// Bytes of replies that are made and held back.
    pub(super) held_bytes: AtomicU64,
    /// Bytes of unfinished frames.
    pub(super) unfinished_bytes: AtomicU64,
}

/// State that all connections of a server share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: ServerOptions,
    pub(super) counters: Counters,
    started: Instant,
    /// Locked when a connection begins or ends, and by sweeps over all connections.
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    next_key: AtomicU64,
    /// Port and times of each listener.
    listeners: Mutex<Vec<(u16, Arc<CallTimes>)>>,
    pub(super) users: UserCalls,
    /// Of the first listener.
    shares: RwLock<Option<Arc<Shares>>>,
    /// Grows with each change of them.
    pub(super) shares_version: AtomicU64,
    shares_changed: Notify,
}

impl Shared {
    pub(super) fn now_ms(&self) -> u64 {
        self.ms_at(Instant::now())
    }

    pub(super) fn ms_at(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn shares(&self) -> Option<Arc<Shares>> {
        self.shares.read().clone()
    }

    pub(super) fn forget(&self, key: u64) {
        self.connections.lock().remove(&key);
    }

    fn close_all(&self, how: Closing) {
        let all: Vec<_> = self.connections.lock().values().cloned().collect();
        for connection in all {
            connection.close(how);
        }
    }

    fn reap(&self) {
        let now = self.now_ms();
        let all: Vec<_> = {
            let connections = self.connections.lock();
            connections.values().cloned().collect()
        };
        let mut surplus = all.len().saturating_sub(self.options.idle_threshold);
        for connection in all {
            let idle_ms = now.saturating_sub(connection.last_active_ms.load(Ordering::Relaxed));
            let outstanding = connection.outstanding.load(Ordering::Relaxed);
            if !connection.outbox.lock().bytes.is_empty() && idle_ms > MAX_WRITE_STALL_MS {
                connection.close(Closing::Reset);
            } else if self.is_too_slow(&connection, now) {
                tracing::info!(peer = %connection.peer, "connection closed: it has not ended what it began in time");
                connection.close(Closing::Close);
            } else if surplus > 0 && outstanding == 0 && idle_ms > self.options.max_idle_ms {
                connection.close(Closing::Close);
                surplus -= 1;
            }
        }
    }

    /// Whether a connection takes too long to name its user, or to end a frame.
    fn is_too_slow(&self, connection: &Connection, now_ms: u64) -> bool {
        let patience_ms = u64::try_from(self.options.frame_patience.as_millis()).unwrap_or(u64::MAX);
        if !connection.is_admitted.load(Ordering::Relaxed) {
            return now_ms.saturating_sub(connection.since_ms) > patience_ms;
        }
        let bytes = connection.unfinished_bytes.load(Ordering::Relaxed);
        if bytes == 0 {
            return false;
        }
        let waited_ms = now_ms.saturating_sub(connection.unfinished_since_ms.load(Ordering::Relaxed));
        waited_ms > patience_ms.saturating_add(bytes * 1000 / ServerOptions::FRAME_BYTES_PER_SECOND)
    }

    /// Makes room by closing the connection with the oldest unfinished frame, which has had the longest time.
    pub(super) fn close_oldest_unfinished(&self) {
        let oldest = {
            let connections = self.connections.lock();
            let unfinished = connections
                .values()
                .filter(|connection| connection.unfinished_bytes.load(Ordering::Relaxed) > 0);
            unfinished
                .min_by_key(|connection| connection.unfinished_since_ms.load(Ordering::Relaxed))
                .cloned()
        };
        if let Some(connection) = oldest {
            tracing::warn!(peer = %connection.peer, "connection closed: too many bytes of unfinished frames");
            connection.close(Closing::Reset);
        }
    }
}

/// A handler and the index of its protocols.
pub(super) struct Service {
    pub(super) handler: Arc<dyn RpcHandler>,
    pub(super) table: ProtocolTable,
    pub(super) state_ids: Option<StateIds>,
    pub(super) times: Arc<CallTimes>,
    /// Whether the shares of users count here.
    pub(super) is_shared: bool,
}

/// Channel for the new connections of a reactor.
type Intake = mpsc::Sender<(StdStream, SocketAddr, Arc<Service>)>;

/// A running server on threads of its own. Dropping it stops it.
pub struct RpcServer {
    shared: Arc<Shared>,
    intakes: Vec<Intake>,
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    acceptor: tokio::runtime::Handle,
    reactors: Vec<tokio::runtime::Handle>,
}

impl fmt::Debug for RpcServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcServer")
            .field("local_addr", &self.local_addr)
            .finish_non_exhaustive()
    }
}

impl RpcServer {
    /// Listens and serves on threads of its own.
    pub fn bind(addr: SocketAddr, handler: Arc<dyn RpcHandler>, options: ServerOptions) -> io::Result<RpcServer> {
        let listener = listen(addr, options.listen_backlog)?;
        let local_addr = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let first = runtime()?;
        let mut server = RpcServer {
            shared: Arc::new(Shared {
                counters: Counters::default(),
                started: Instant::now(),
                connections: Mutex::default(),
                next_key: AtomicU64::new(0),
                listeners: Mutex::default(),
                users: UserCalls::default(),
                shares: RwLock::new(options.shares.clone().map(|shares| Arc::new(Shares::new(shares)))),
                shares_version: AtomicU64::new(0),
                shares_changed: Notify::new(),
                options,
            }),
            intakes: Vec::new(),
            local_addr,
            stop,
            threads: Vec::new(),
            acceptor: first.handle().clone(),
            reactors: Vec::new(),
        };
        let mut runtimes = vec![first];
        for _ in 1..server.shared.options.reactors {
            runtimes.push(runtime()?);
        }
        for (index, runtime) in runtimes.into_iter().enumerate() {
            let (intake, incoming) = mpsc::channel(INTAKE_MAX);
            server.intakes.push(intake);
            server.reactors.push(runtime.handle().clone());
            let (shared, stopped) = (server.shared.clone(), stopped.clone());
            let name = format!("{}-{index}", shared.options.name);
            let thread = std::thread::Builder::new().name(name).spawn(move || {
                runtime.block_on(react(shared, incoming, stopped, index == 0));
            })?;
            server.threads.push(thread);
        }
        server.serve(listener, handler, server.shared.options.state_ids.clone(), true)?;
        Ok(server)
    }

    /// Serves another address (service port, lifeline port) on the same threads.
    pub fn add_listener(&self, addr: SocketAddr, handler: Arc<dyn RpcHandler>) -> io::Result<SocketAddr> {
        let listener = listen(addr, self.shared.options.listen_backlog)?;
        let local_addr = listener.local_addr()?;
        self.serve(listener, handler, None, false)?;
        Ok(local_addr)
    }

    fn serve(
        &self,
        listener: StdListener,
        handler: Arc<dyn RpcHandler>,
        state_ids: Option<StateIds>,
        is_shared: bool,
    ) -> io::Result<()> {
        let table = ProtocolTable::new(handler.protocols());
        let times = Arc::new(CallTimes::new(&table, self.shared.options.slow_call));
        let port = listener.local_addr()?.port();
        self.shared.listeners.lock().push((port, times.clone()));
        let service = Arc::new(Service {
            table,
            handler,
            state_ids,
            times,
            is_shared,
        });
        let _context = self.acceptor.enter();
        let listener = TcpListener::from_std(listener)?;
        self.acceptor
            .spawn(accept(listener, service, self.shared.clone(), self.intakes.clone()));
        Ok(())
    }

    /// Address of the first listener.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The runtime of the first reactor, for tasks that share its thread with the calls.
    #[must_use]
    pub fn reactor(&self) -> &tokio::runtime::Handle {
        &self.acceptor
    }

    /// The runtimes of all reactors.
    #[must_use]
    pub fn reactors(&self) -> &[tokio::runtime::Handle] {
        &self.reactors
    }

    /// Resets (RST) every connection: what a NameNode does when it stops being active, so that no client waits.
    pub fn reset_all_connections(&self) {
        self.shared.close_all(Closing::Reset);
    }

    /// The counters now.
    #[must_use]
    pub fn metrics(&self) -> ServerMetrics {
        self.shared.metrics()
    }

    /// Reads the counters, for callers that do not own the server.
    #[must_use]
    pub fn meter(&self) -> RpcMeter {
        RpcMeter(self.shared.clone())
    }

    /// Stops accepting and closes all connections.
    pub fn stop(self) {}
}

/// Reads what an [`RpcServer`] counts.
#[derive(Clone, Debug)]
pub struct RpcMeter(Arc<Shared>);

impl RpcMeter {
    /// Counters of all listeners together.
    #[must_use]
    pub fn metrics(&self) -> ServerMetrics {
        self.0.metrics()
    }

    /// For each listener its port, and the times of the methods that were called there.
    #[must_use]
    pub fn methods(&self) -> Vec<(u16, Vec<MethodTimes>)> {
        let listeners = self.0.listeners.lock().clone();
        listeners.iter().map(|(port, times)| (*port, times.methods())).collect()
    }

    /// The number of slow calls since the start, and the last of them.
    #[must_use]
    pub fn slow_calls(&self) -> (u64, Vec<SlowCall>) {
        let listeners = self.0.listeners.lock().clone();
        let (mut count, mut last) = (0, Vec::new());
        for (_, times) in listeners {
            let (more, calls) = times.slow();
            count += more;
            last.extend(calls);
        }
        last.sort_by_key(|call| call.at);
        (count, last)
    }

    /// The `users` users with the most calls in about the last `window`, and their numbers of calls. It must not be
    /// longer than 25 minutes.
    #[must_use]
    pub fn top_users(&self, window: Duration, users: usize) -> Vec<(String, u64)> {
        let ticks = window.as_secs() / RpcMeter::TICK.as_secs();
        self.0.users.top(usize::try_from(ticks).unwrap_or(usize::MAX), users)
    }

    /// From now on, users share the first listener so (`refreshCallQueue`). What they have cost is forgotten.
    pub fn share(&self, options: Option<SharesOptions>) {
        *self.0.shares.write() = options.map(|options| Arc::new(Shares::new(options)));
        self.0.shares_version.fetch_add(1, Ordering::Release);
        self.0.shares_changed.notify_one();
    }

    /// Interval at which [`RpcMeter::tick`] must be called.
    pub const TICK: Duration = Duration::from_secs(10);

    /// Ends an interval of the windows of [`RpcMeter::top_users`].
    pub fn tick(&self) {
        self.0.users.tick();
    }
}

impl Shared {
    fn metrics(&self) -> ServerMetrics {
        let counters = &self.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServerMetrics {
            calls: get(&counters.calls),
            exceptions: get(&counters.exceptions),
            outstanding: get(&counters.outstanding),
            connections: self.connections.lock().len() as u64,
            received_bytes: get(&counters.received_bytes),
            sent_bytes: get(&counters.sent_bytes),
            too_busy: get(&counters.too_busy),
            outbox_bytes: get(&counters.outbox_bytes),
        }
    }
}

impl Drop for RpcServer {
    fn drop(&mut self) {
        // Connections that moved to other runtimes are ended there.
        self.shared.close_all(Closing::Close);
        let _ = self.stop.send(true);
        let own = std::thread::current().id();
        for thread in self.threads.drain(..) {
            // A handler may own the server, so its thread may be the one that drops the server.
            if thread.thread().id() != own && thread.join().is_err() {
                tracing::error!("a reactor thread panicked");
            }
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Runs one reactor: it serves the connections that it is given until the server stops.
async fn react(
    shared: Arc<Shared>,
    mut incoming: mpsc::Receiver<(StdStream, SocketAddr, Arc<Service>)>,
    mut stopped: watch::Receiver<bool>,
    first: bool,
) {
    if first {
        let (shared, server) = (shared.clone(), shared.clone());
        tokio::spawn(async move {
            let mut scans = tokio::time::interval(shared.options.idle_scan_interval.max(Duration::from_millis(1)));
            loop {
                scans.tick().await;
                shared.reap();
            }
        });
        tokio::spawn(decay_shares(server));
    }
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            accepted = incoming.recv() => {
                let Some((stream, peer, service)) = accepted else { return };
                if let Err(error) = begin(&shared, stream, peer, service) {
                    tracing::debug!(%peer, %error, "connection broke at once");
                }
            }
        }
    }
}

/// Costs of users decay, at the interval of the present shares.
async fn decay_shares(server: Arc<Shared>) {
    loop {
        let shares = server.shares();
        let changed = server.shares_changed.notified();
        match &shares {
            Some(shares) => {
                let ended = tokio::time::timeout(shares.period(), changed).await.is_err();
                if ended {
                    shares.decay();
                }
            }
            None => changed.await,
        }
    }
}

fn begin(shared: &Arc<Shared>, stream: StdStream, peer: SocketAddr, service: Arc<Service>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = TcpStream::from_std(stream)?;
    let key = shared.next_key.fetch_add(1, Ordering::Relaxed);
    let connection = Arc::new(Connection {
        peer,
        server: shared.clone(),
        state_ids: service.state_ids.clone(),
        times: service.times.clone(),
        user: OnceLock::new(),
        handling: AtomicU64::new(0),
        answered: AtomicU64::new(0),
        outbox: Mutex::new(Outbox::default()),
        since_ms: shared.now_ms(),
        last_active_ms: AtomicU64::new(shared.now_ms()),
        unsent: AtomicUsize::new(0),
        held: AtomicU64::new(0),
        unfinished_bytes: AtomicU64::new(0),
        unfinished_since_ms: AtomicU64::new(0),
        is_admitted: AtomicBool::new(false),
        outstanding: AtomicU64::new(0),
    });
    shared.connections.lock().insert(key, connection.clone());
    tokio::spawn(connection::run(ConnectionTask::new(stream, connection, service, key)));
    Ok(())
}

async fn accept(listener: TcpListener, service: Arc<Service>, shared: Arc<Shared>, intakes: Vec<Intake>) {
    let mut turn = 0;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let limit = shared.options.max_connections;
        if limit > 0 && shared.connections.lock().len() >= limit {
            tracing::warn!(%peer, limit, "connection refused: too many");
            continue;
        }
        // With one reactor the connection stays where it was accepted.
        let handed = match intakes.as_slice() {
            [_] => stream
                .into_std()
                .and_then(|stream| begin(&shared, stream, peer, service.clone())),
            many => match stream.into_std() {
                Ok(stream) => {
                    turn = (turn + 1) % many.len();
                    if let Some(intake) = many.get(turn) {
                        // The channel is closed when the server stops.
                        let _ = intake.send((stream, peer, service.clone())).await;
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        if let Err(error) = handed {
            tracing::debug!(%peer, %error, "connection broke at once");
        }
    }
}
