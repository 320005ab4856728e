//! The state that all parts of a NameNode process share.

use crate::audit::AuditLog;
use crate::debug_hooks::DebugHooks;
use crate::hosts::HostLists;
use crate::image_place::ImagePlace;
use crate::origin::Origin;
use crate::passes::Passes;
use crate::serving::Serving;
use crate::settings::Settings;
use crate::split::SplitReport;
use crate::standby_calls::StandbyCalls;
use crate::topology::Topology;
use crate::unreported::Unreported;
use hathi_formats::conf::ConfError;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_journal::Lag;
use hathi_nameserver::replies::Made;
use hathi_namesystem::checkpoint::EditsRetention;
use hathi_namesystem::reply_gate::ReplyGate;
use hathi_namesystem::standby_health::StandbyHealth;
use hathi_namesystem::{CallContext, Life, Namesystem, Role, Standing};
use hathi_net::auth::{Authorizer, Groups, GroupsOptions, Identity};
use hathi_net::clock::HolderClock;
use hathi_net::histogram::Histogram;
use hathi_net::ipc::{Responder, RpcCall};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc};

/// A waiting reply counts as memory of its connection if it is larger than this. The reply to a changing call never is.
const HELD_BYTES_MIN: usize = 1024;

/// A reply that waits for its transaction, or for the read lease.
pub struct ParkedReply {
    /// The way to answer.
    pub responder: Responder,
    /// The answer.
    pub result: Result<bytes::Bytes, RemoteException>,
    /// Whether the call may have changed the namespace. Then nobody may say that it did not.
    pub changed: bool,
}

impl ParkedReply {
    /// Sends the answer.
    pub fn send(self) {
        send(self.responder, &self.result);
    }

    /// This NameNode will not answer. The connection of a changing call is reset, because nobody here knows what
    /// becomes of the change. A read is sent to another NameNode.
    pub fn give_up(self) {
        if self.changed {
            self.responder.reset();
        } else {
            self.responder.error(&not_active());
        }
    }
}

/// Sends an encoded result.
pub fn send(responder: Responder, result: &Result<bytes::Bytes, RemoteException>) {
    match result {
        Ok(message) => responder.ok_encoded(message),
        Err(error) => responder.error(error),
    }
}

/// The exception that sends a client to the other NameNode.
#[must_use]
pub fn not_active() -> RemoteException {
    RemoteException::new(exceptions::STANDBY, "This NameNode is not active any more")
}

/// The exception for a slow directory service. A refusal for a missing group would be wrong and final.
#[must_use]
pub fn not_known_yet(user: &str) -> RemoteException {
    RemoteException::new(
        exceptions::RETRIABLE,
        format!("The groups of user {user} are not known yet"),
    )
}

/// The read lease as its holder counts it, in microseconds of [`Clock`].
#[derive(Debug)]
pub struct ReadLease {
    until_us: AtomicU64,
}

impl ReadLease {
    fn new() -> Self {
        ReadLease {
            until_us: AtomicU64::new(0),
        }
    }

    /// Sets the end of the lease; `u64::MAX` when the JournalNodes know no leases (Hadoop's behaviour).
    pub fn set(&self, until_us: u64) {
        self.until_us.store(until_us, Ordering::Release);
    }

    /// Whether the lease is held.
    #[must_use]
    pub fn held(&self, now_us: u64) -> bool {
        now_us < self.until_us.load(Ordering::Acquire)
    }

    /// Microseconds until the lease ends; `None` without leases.
    #[must_use]
    pub fn remaining_us(&self, now_us: u64) -> Option<u64> {
        match self.until_us.load(Ordering::Acquire) {
            u64::MAX => None,
            until => Some(until.saturating_sub(now_us)),
        }
    }
}

/// The process's clocks.
#[derive(Clone, Debug)]
pub struct Clock {
    lease: HolderClock,
    base: Instant,
}

impl Clock {
    /// Starts at 1 s, so that 0 can mean "never".
    #[must_use]
    pub fn start() -> Self {
        Clock {
            lease: HolderClock::start(),
            base: Instant::now(),
        }
    }

    /// Microseconds for the read lease and its renewal. They go on while the machine is suspended or stopped. Reading
    /// them also looks for a jump of the clock, so they may be compared with the end of a lease.
    #[must_use]
    pub fn us(&self) -> u64 {
        1_000_000 + self.lease.us()
    }

    /// Milliseconds for everything else, for example to judge the silence of DataNodes and clients
    /// (`Time.monotonicNow`). They stand still while the machine is suspended, because nobody was silent to it then.
    #[must_use]
    pub fn ms(&self) -> u64 {
        1_000 + self.base.elapsed().as_millis() as u64
    }

    /// Wall clock milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64)
    }

    /// Both times, for the block manager.
    #[must_use]
    pub fn now(&self) -> hathi_blockmanager::Now {
        hathi_blockmanager::Now {
            monotonic_ms: self.ms(),
            wall_ms: self.wall_ms(),
        }
    }
}

/// A requested change of role.
pub struct Transition {
    /// Whether to become active, or else standby.
    pub to_active: bool,
    /// Whether to wait until another NameNode's read lease has ended. An administrator wants that; an elector asks
    /// again by itself.
    pub patient: bool,
    /// Called with the result.
    pub done: Box<dyn FnOnce(Result<(), RemoteException>) + Send>,
}

/// A NameNode process; see the module.
pub struct NameNode {
    /// Configuration.
    pub settings: Settings,
    /// The namesystem.
    pub ns: RwLock<Namesystem>,
    /// Replies that wait.
    pub gate: Mutex<ReplyGate<ParkedReply>>,
    /// The read lease.
    pub lease: ReadLease,
    /// Wakes the edit log task.
    pub log_wake: Notify,
    /// Clocks.
    pub clock: Clock,
    /// Whether calls are served. If not, the read lease is not renewed.
    pub serving: Serving,
    /// Faults on demand, if they are allowed.
    pub debug_hooks: OnceLock<DebugHooks>,
    /// The audit log, if it is on.
    pub audit: Option<AuditLog>,
    /// Groups of users.
    pub groups: Groups,
    /// Decides who may use which protocol, from where, and in whose name.
    pub authorizer: Arc<Authorizer>,
    /// Racks of DataNodes.
    pub topology: Topology,
    /// The lists of hosts, as they were last read.
    pub hosts: Mutex<HostLists>,
    /// `<namenode id>@<uuid>`: name of this process at the JournalNodes.
    pub holder: String,
    /// Requested changes of role. One task carries them out, one after the other.
    pub transitions: mpsc::UnboundedSender<Transition>,
    /// Calls that wait for the report of a block.
    pub unreported: Unreported,
    /// Passes by which NameNodes know each other.
    pub passes: Passes,
    /// Calls that arrived while this NameNode was not active.
    pub standby_calls: StandbyCalls,
    /// The NameNode that goes on although it was fenced, as the failover controller beside this NameNode says.
    pub split: SplitReport,
    /// [`Standing::to_bits`]
    standing: AtomicU64,
    /// Copy of [`Namesystem::life`], for tasks that must not wait for the namesystem's lock.
    life: RwLock<Life>,
    /// Counters of the edit log task.
    pub metrics: Metrics,
    /// Number of completed loads of a namespace.
    pub loads: AtomicU64,
    /// Problems of this NameNode while it does not serve.
    pub health: Mutex<StandbyHealth>,
    /// The last transaction at several times, which decides what edits are kept.
    pub edits_retention: Mutex<EditsRetention>,
    /// The image that is being saved or received.
    pub images: Arc<ImagePlace>,
}

/// Counters for `/jmx` and `/metrics`.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Number of batches that a quorum has acknowledged.
    pub syncs: AtomicU64,
    /// Sum of their times in µs.
    pub sync_us: AtomicU64,
    /// Number of transactions in them.
    pub synced_txns: AtomicU64,
    /// Duration of the last change to active in µs.
    pub last_failover_us: AtomicU64,
    /// Duration of the last load in ms.
    pub load_ms: AtomicU64,
    /// Times of batches from being handed to the JournalNodes until a majority has them.
    pub commits: Histogram,
    /// Lag of each JournalNode, while this NameNode writes.
    pub journal_lags: Mutex<Vec<Lag>>,
    /// By index of the JournalNode: times of its answers to batches.
    pub journal_rpcs: Mutex<BTreeMap<usize, Arc<Histogram>>>,
}

impl NameNode {
    /// A NameNode with an empty namesystem and no tasks.
    pub fn new(
        settings: Settings,
        ns: Namesystem,
        holder: String,
        transitions: mpsc::UnboundedSender<Transition>,
        standby_calls: StandbyCalls,
    ) -> Result<Self, ConfError> {
        let clock = Clock::start();
        let options = GroupsOptions::of(&settings.conf, &settings.user)?;
        let groups_clock = clock.clone();
        let groups = Groups::new(options, move || groups_clock.ms());
        let authorizer = Arc::new(Authorizer::of(&settings.conf, groups.clone())?);
        let standing = ns.standing().to_bits();
        let serving = Serving::new(settings.reactors, settings.serving_limit);
        let life = RwLock::new(ns.life().clone());
        let topology = Topology::new(settings.topology.clone());
        Ok(NameNode {
            settings,
            authorizer,
            ns: RwLock::new(ns),
            gate: Mutex::default(),
            lease: ReadLease::new(),
            log_wake: Notify::new(),
            clock,
            serving,
            debug_hooks: OnceLock::new(),
            audit: None,
            groups,
            topology,
            hosts: Mutex::default(),
            holder,
            transitions,
            unreported: Unreported::default(),
            passes: Passes::default(),
            split: SplitReport::default(),
            standby_calls,
            standing: AtomicU64::new(standing),
            life,
            metrics: Metrics::default(),
            loads: AtomicU64::new(0),
            health: Mutex::default(),
            edits_retention: Mutex::default(),
            images: Arc::default(),
        })
    }

    /// Name of this process, until it ends.
    #[must_use]
    pub fn instance(&self) -> &str {
        self.holder
            .split_once('@')
            .map_or(self.holder.as_str(), |(_, instance)| instance)
    }

    /// The caller of an RPC for the handlers. `None` while its groups are being asked for.
    #[must_use]
    pub fn context(&self, call: &RpcCall) -> Option<CallContext> {
        let now_ms = self.clock.ms();
        let Identity {
            user,
            groups,
            superuser,
        } = self.groups.get(&call.user.user, now_ms)?;
        let origin = Origin::of(call, &self.settings.ip_proxy_users, self.instance());
        Some(CallContext {
            user,
            groups,
            superuser,
            client_ip: Some(origin.ip),
            client_id: origin.client_id.as_slice().into(),
            call_id: origin.call_id,
            retry_count: call.retry_count,
            passed_on: origin.passed_on,
            now_ms: self.clock.wall_ms(),
            mono_ms: now_ms,
        })
    }

    /// Refuses a caller that is not a superuser.
    pub fn check_superuser(&self, call: &RpcCall) -> Result<(), RemoteException> {
        match self.context(call) {
            Some(context) => context.check_superuser(),
            None => Err(not_known_yet(&call.user.user)),
        }
    }

    /// Role and life, read without any lock. [`NameNode::publish`] keeps them equal to [`Namesystem::standing`].
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::from_bits(self.standing.load(Ordering::Acquire))
    }

    /// The role, without any lock.
    #[must_use]
    pub fn role(&self) -> Role {
        self.standing().role
    }

    /// To be called after every change of the role or the life, under the write lock.
    pub fn publish(&self, ns: &Namesystem) {
        *self.life.write() = ns.life().clone();
        self.standing.store(ns.standing().to_bits(), Ordering::Release);
        self.images.look_again();
    }

    /// The last transaction that an answer may show which leaves now.
    #[must_use]
    pub fn state_id(&self) -> i64 {
        self.life.read().synced().0.cast_signed()
    }

    /// Sends a result now, or parks it until what it shows is durable and the read lease is held. If the life in which
    /// it was made is over, the reply is given up, because nobody here knows any more what becomes of what it shows.
    pub fn answer(&self, mut responder: Responder, result: Result<bytes::Bytes, RemoteException>, made: Made) {
        if made.leaves_at_once(|| self.standing(), || self.lease.held(self.clock.us())) {
            return send(responder, &result);
        }
        // Smaller replies are bounded by the number of calls that a connection may have outstanding.
        if let Ok(message) = &result
            && message.len() > HELD_BYTES_MIN
        {
            responder.hold(message.len());
        }
        let reply = ParkedReply {
            responder,
            result,
            changed: made.changed,
        };
        let parked = self.gate.lock().park(made.standing.generation, made.after, reply);
        match parked {
            // Its transaction may have become durable meanwhile, so the edit log task looks again.
            Ok(()) => self.log_wake.notify_one(),
            Err(reply) => reply.give_up(),
        }
    }

    /// Releases the replies that may leave. The edit log task calls this whenever `synced` or the lease has changed.
    pub fn release_replies(&self) {
        if !self.lease.held(self.clock.us()) || !matches!(self.role(), Role::Active | Role::SteppingDown) {
            return;
        }
        let released = self.gate.lock().release();
        for reply in released {
            reply.send();
        }
    }
}
