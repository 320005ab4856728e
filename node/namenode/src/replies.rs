//! Replies to calls: they leave now, or wait until what they show is durable and the read lease is held. The shell around
//! [`hathi_nameserver::replies`] and the gate of the replies that wait.

use crate::clock::Clock;
use hathi_formats::exceptions::RemoteException;
use hathi_nameserver::replies::Made;
use hathi_nameserver::standby_calls::not_active;
use hathi_namesystem::reply_gate::ReplyGate;
use hathi_namesystem::{Life, Namesystem, Role, Standing};
use hathi_net::ipc::Responder;
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

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

/// The read lease as its holder counts it, in microseconds of the clock.
#[derive(Debug)]
struct ReadLease {
    until_us: AtomicU64,
}

impl ReadLease {
    fn new() -> Self {
        ReadLease {
            until_us: AtomicU64::new(0),
        }
    }

    /// Sets the end of the lease; `u64::MAX` when the JournalNodes know no leases (Hadoop's behaviour). Returns the end
    /// before.
    fn set(&self, until_us: u64) -> u64 {
        self.until_us.swap(until_us, Ordering::AcqRel)
    }

    /// Whether the lease is held.
    fn held(&self, now_us: u64) -> bool {
        now_us < self.until_us.load(Ordering::Acquire)
    }

    /// Microseconds until the lease ends; `None` without leases.
    fn remaining_us(&self, now_us: u64) -> Option<u64> {
        match self.until_us.load(Ordering::Acquire) {
            u64::MAX => None,
            until => Some(until.saturating_sub(now_us)),
        }
    }
}

/// What decides when a reply leaves: role and life, the lease, and the gate.
pub struct Replies {
    clock: Clock,
    gate: Mutex<ReplyGate<ParkedReply>>,
    lease: ReadLease,
    /// [`Standing::to_bits`]
    standing: AtomicU64,
    /// Copy of [`Namesystem::life`], for tasks that must not wait for the namesystem's lock.
    life: RwLock<Life>,
    log_wake: Notify,
}

impl Replies {
    /// No reply waits, and no lease is held.
    #[must_use]
    pub fn new(ns: &Namesystem, clock: Clock) -> Replies {
        Replies {
            clock,
            gate: Mutex::default(),
            lease: ReadLease::new(),
            standing: AtomicU64::new(ns.standing().to_bits()),
            life: RwLock::new(ns.life().clone()),
            log_wake: Notify::new(),
        }
    }

    /// Role and life, read without any lock. [`Replies::publish`] keeps them equal to [`Namesystem::standing`].
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::from_bits(self.standing.load(Ordering::Acquire))
    }

    /// The role, read without any lock.
    #[must_use]
    pub fn role(&self) -> Role {
        self.standing().role
    }

    /// To be called after every change of the role or the life, under the write lock.
    pub fn publish(&self, ns: &Namesystem) {
        *self.life.write() = ns.life().clone();
        self.standing.store(ns.standing().to_bits(), Ordering::Release);
    }

    /// The last transaction that an answer may show which leaves now.
    #[must_use]
    pub fn state_id(&self) -> i64 {
        self.life.read().synced().0.cast_signed()
    }

    /// The lease ends at this time in microseconds; `u64::MAX` when the JournalNodes know no leases (Hadoop's behaviour).
    pub fn set_lease(&self, until_us: u64) {
        self.lease.set(until_us);
    }

    /// As [`Replies::set_lease`]. Returns, if the lease is held and ends later than before, how many microseconds of it
    /// were left.
    pub fn renew_lease(&self, until_us: u64) -> Option<u64> {
        let before_us = self.lease.set(until_us);
        if until_us <= before_us || until_us == u64::MAX {
            return None;
        }
        Some(before_us.saturating_sub(self.clock.us())).filter(|left_us| *left_us > 0)
    }

    /// Whether the lease is held now.
    #[must_use]
    pub fn is_lease_held(&self) -> bool {
        self.lease.held(self.clock.us())
    }

    /// Microseconds until the lease ends; `None` without leases.
    #[must_use]
    pub fn lease_remaining_us(&self) -> Option<u64> {
        self.lease.remaining_us(self.clock.us())
    }

    /// The replies that wait, for a change of the role. Whoever needs the namesystem's lock has it already.
    pub fn gate(&self) -> MutexGuard<'_, ReplyGate<ParkedReply>> {
        self.gate.lock()
    }

    /// Number of replies that wait.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.gate.lock().len()
    }

    /// Wakes the edit log task: there may be edits to send, or replies to release.
    pub fn wake_log(&self) {
        self.log_wake.notify_one();
    }

    /// Waits for [`Replies::wake_log`]. Only the edit log task does.
    pub async fn log_woken(&self) {
        self.log_wake.notified().await;
    }

    /// Sends a result now, or parks it until what it shows is durable and the read lease is held. If the life in which
    /// it was made is over, the reply is given up, because nobody here knows any more what becomes of what it shows.
    pub fn answer(&self, mut responder: Responder, result: Result<bytes::Bytes, RemoteException>, made: Made) {
        if made.leaves_at_once(|| self.standing(), || self.is_lease_held()) {
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
            Ok(()) => self.wake_log(),
            Err(reply) => reply.give_up(),
        }
    }

    /// Releases the replies that may leave. The edit log task calls this whenever `synced` or the lease has changed.
    pub fn release(&self) {
        if !self.is_lease_held() || !matches!(self.standing().role, Role::Active | Role::SteppingDown) {
            return;
        }
        let released = self.gate.lock().release();
        for reply in released {
            reply.send();
        }
    }
}
