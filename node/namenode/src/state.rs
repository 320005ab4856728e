//! What all parts of a NameNode process share.

use crate::audit::AuditLog;
use crate::debug_hooks::DebugHooks;
use crate::hosts::HostLists;
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
use hathi_formats::ids::TxId;
use hathi_journal::Lag;
use hathi_namesystem::checkpoint::EditsRetention;
use hathi_namesystem::reply_gate::ReplyGate;
use hathi_namesystem::save_namespace::UnderWay;
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

/// Replies that wait count as memory of their connection when they are larger than this, as a changing call's never is.
const HELD_BYTES_MIN: usize = 1024;

/// A reply that waits for its transaction, or for the read lease.
pub struct ParkedReply {
    /// The way back.
    pub responder: Responder,
    /// What will be answered.
    pub result: Result<bytes::Bytes, RemoteException>,
    /// Whether the call may have changed the namespace: then nobody may say that it did not.
    pub changed: bool,
}

impl ParkedReply {
    /// Answers.
    pub fn send(self) {
        send(self.responder, &self.result);
    }

    /// This NameNode will not answer: a changing call's connection is reset, as nobody here knows what became of it;
    /// a read goes elsewhere.
    pub fn give_up(self) {
        if self.changed {
            self.responder.reset();
        } else {
            self.responder.error(&not_active());
        }
    }
}

/// Where a reply was made, and what it shows.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Role and life, as they were under the lock under which it was made.
    pub standing: Standing,
    /// It shows transactions up to this one.
    pub after: Option<TxId>,
    /// Whether the call may have changed the namespace.
    pub changed: bool,
}

/// Sends an encoded result.
pub fn send(responder: Responder, result: &Result<bytes::Bytes, RemoteException>) {
    match result {
        Ok(message) => responder.ok_encoded(message),
        Err(error) => responder.error(error),
    }
}

/// What sends a client to the other NameNode.
#[must_use]
pub fn not_active() -> RemoteException {
    RemoteException::new(exceptions::STANDBY, "This NameNode is not active any more")
}

/// The directory service takes too long: a refusal for want of a group would be wrong, and final.
#[must_use]
pub fn not_known_yet(user: &str) -> RemoteException {
    RemoteException::new(
        exceptions::RETRIABLE,
        format!("The groups of user {user} are not known yet"),
    )
}

/// The read lease as the writer's side counts it, in microseconds of [`Clock`].
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

    /// Held until then; `u64::MAX` when the JournalNodes know no leases (Hadoop's behaviour).
    pub fn set(&self, until_us: u64) {
        self.until_us.store(until_us, Ordering::Release);
    }

    /// Whether it is held.
    #[must_use]
    pub fn held(&self, now_us: u64) -> bool {
        now_us < self.until_us.load(Ordering::Acquire)
    }

    /// Microseconds left; `None` without leases.
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
    /// Starts at 1 s, so that "never" can be 0.
    #[must_use]
    pub fn start() -> Self {
        Clock {
            lease: HolderClock::start(),
            base: Instant::now(),
        }
    }

    /// Microseconds for the read lease and whoever renews it. They go on while the machine is suspended or stopped, so
    /// whoever compares them with the end of a lease has looked for a jump.
    #[must_use]
    pub fn us(&self) -> u64 {
        1_000_000 + self.lease.us()
    }

    /// Milliseconds for everything else, of which DataNodes and clients are judged (`Time.monotonicNow`): while the
    /// machine is suspended they stand still, as nobody was silent to it.
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

    /// Both, for the block manager.
    #[must_use]
    pub fn now(&self) -> hathi_blockmanager::Now {
        hathi_blockmanager::Now {
            monotonic_ms: self.ms(),
            wall_ms: self.wall_ms(),
        }
    }
}

/// A change of role asked for.
pub struct Transition {
    /// To active or to standby.
    pub to_active: bool,
    /// Wait for a read lease to run out: an administrator means it, an elector asks again by itself.
    pub patient: bool,
    /// Told how it ended.
    pub done: Box<dyn FnOnce(Result<(), RemoteException>) + Send>,
}

/// See the module.
pub struct NameNode {
    /// Configuration.
    pub settings: Settings,
    /// The heart.
    pub ns: RwLock<Namesystem>,
    /// Replies that wait.
    pub gate: Mutex<ReplyGate<ParkedReply>>,
    /// The read lease.
    pub lease: ReadLease,
    /// Wakes the edit log task.
    pub log_wake: Notify,
    /// Clocks.
    pub clock: Clock,
    /// Whether calls are served, without which the read lease is not renewed.
    pub serving: Serving,
    /// Faults on demand; set when they are allowed.
    pub debug_hooks: OnceLock<DebugHooks>,
    /// The audit log, if it is on.
    pub audit: Option<AuditLog>,
    /// Groups of users.
    pub groups: Groups,
    /// Who may use which protocol, from where, and in whose name.
    pub authorizer: Arc<Authorizer>,
    /// Racks of DataNodes.
    pub topology: Topology,
    /// The lists of hosts as they were read last.
    pub hosts: Mutex<HostLists>,
    /// `<namenode id>@<uuid>`: who we are to the JournalNodes.
    pub holder: String,
    /// Changes of role, done one after the other by one task.
    pub transitions: mpsc::UnboundedSender<Transition>,
    /// Calls that wait for a report of a block.
    pub unreported: Unreported,
    /// By which other NameNodes and this one know each other.
    pub passes: Passes,
    /// Calls that came while this NameNode was not the active.
    pub standby_calls: StandbyCalls,
    /// Who goes on although it was fenced, as the controller beside this NameNode says.
    pub split: SplitReport,
    /// [`Standing::to_bits`]
    standing: AtomicU64,
    /// Follows [`Namesystem::life`], for who must not wait for the namesystem's lock.
    life: RwLock<Life>,
    /// Counters of the edit log task.
    pub metrics: Metrics,
    /// How often a namespace was loaded to the end.
    pub loads: AtomicU64,
    /// What is wrong, while this NameNode does not serve.
    pub health: Mutex<StandbyHealth>,
    /// When which transactions were logged, for the edits to be kept.
    pub edits_retention: Mutex<EditsRetention>,
    /// The image that is being saved or received.
    pub image_under_way: Mutex<UnderWay>,
}

/// Counters for `/jmx` and `/metrics`.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Batches that a quorum acknowledged.
    pub syncs: AtomicU64,
    /// Sum of their times, µs.
    pub sync_us: AtomicU64,
    /// Transactions in them.
    pub synced_txns: AtomicU64,
    /// How long the last change to active took, µs.
    pub last_failover_us: AtomicU64,
    /// How long loading took, ms.
    pub load_ms: AtomicU64,
    /// How long batches take from when they are handed to the JournalNodes until a majority has them.
    pub commits: Histogram,
    /// Of each JournalNode, while this NameNode writes.
    pub journal_lags: Mutex<Vec<Lag>>,
    /// By a JournalNode's index: how long it takes to answer a batch.
    pub journal_rpcs: Mutex<BTreeMap<usize, Arc<Histogram>>>,
}

impl NameNode {
    /// Everything in place, nothing loaded.
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
            image_under_way: Mutex::default(),
        })
    }

    /// This process's own name, until it ends.
    #[must_use]
    pub fn instance(&self) -> &str {
        self.holder
            .split_once('@')
            .map_or(self.holder.as_str(), |(_, instance)| instance)
    }

    /// The caller of an RPC as the handlers see it; `None` while it is asked for who that is.
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

    /// Refuses everybody but a superuser.
    pub fn check_superuser(&self, call: &RpcCall) -> Result<(), RemoteException> {
        match self.context(call) {
            Some(context) => context.check_superuser(),
            None => Err(not_known_yet(&call.user.user)),
        }
    }

    /// Role and life, without any lock; follows [`Namesystem::standing`] by [`NameNode::publish`].
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
    }

    /// The last transaction that an answer which leaves now may show.
    #[must_use]
    pub fn state_id(&self) -> i64 {
        self.life.read().synced().0.cast_signed()
    }

    /// Sends the result now, or parks it until what it shows is durable and the read lease is held. When the life in
    /// which it was made is over, it is given up: nobody here knows any more what became of what it shows.
    pub fn answer(&self, mut responder: Responder, result: Result<bytes::Bytes, RemoteException>, made: Made) {
        if made.standing.role != Role::Active && made.after.is_none() {
            return send(responder, &result);
        }
        if made.after.is_none() && made.standing == self.standing() && self.lease.held(self.clock.us()) {
            return send(responder, &result);
        }
        // Smaller ones are bounded by the number of calls that a connection may have outstanding.
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
            // It may have become durable while we looked; the edit log task looks again.
            Ok(()) => self.log_wake.notify_one(),
            Err(reply) => reply.give_up(),
        }
    }

    /// Releases what may leave. Called by the edit log task whenever `synced` or the lease moves.
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
