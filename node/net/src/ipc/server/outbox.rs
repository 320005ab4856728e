//! Replies on their way to a connection's socket.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hathi_formats::exceptions::RemoteException;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::oneshot;

use super::StateIds;
use super::UserInfo;
use super::listener::Shared;
use super::times::{CallMark, CallTimes};
use crate::ipc::ClientId;
use crate::ipc::codec::{self, ErrorCode, ResponseIds};

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// Close it without writing the rest (FIN).
    Close,
    /// Reset it (RST), so that the client notices at once that nothing more will come.
    Reset,
}

/// Replies that the connection's task has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) bytes: BytesMut,
    /// Replies since the connection began.
    pub(super) replied: u64,
    /// The task runs, or will be woken by an event that comes anyway (a writable socket). So a reply need not wake it.
    pub(super) awake: bool,
    pub(super) closing: Option<Closing>,
    /// The task has ended.
    pub(super) closed: bool,
    pub(super) waker: Option<Waker>,
    /// The runtime on which the task goes on after this turn.
    pub(super) move_to: Option<tokio::runtime::Handle>,
    /// Whether a waiting call wants to look at the socket ([`Responder::let_look`]).
    pub(super) wants_socket: bool,
    /// A second descriptor of the socket, to look at. It is closed when the task ends.
    pub(super) socket: Option<OwnedFd>,
}

/// State that a connection's task shares with the senders of replies.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) server: Arc<Shared>,
    pub(super) state_ids: Option<StateIds>,
    /// Times of the calls of its listener.
    pub(super) times: Arc<CallTimes>,
    /// The caller, once it has named itself and was admitted.
    pub(super) user: OnceLock<Arc<UserInfo>>,
    /// Number of the call whose handler runs now; 0 between two handlers.
    pub(super) handling: AtomicU64,
    /// Number of the last call that was answered while its handler ran.
    pub(super) answered: AtomicU64,
    /// Never held across an await, and only as long as it takes to append one reply.
    pub(super) outbox: Mutex<Outbox>,
    /// Time at which it was accepted, in milliseconds since the server's start.
    pub(super) since_ms: u64,
    /// Time of the last read or write, in milliseconds since the server's start.
    pub(super) last_active_ms: AtomicU64,
    /// Bytes in the outbox, for readers that must not take its lock.
    pub(super) unsent: AtomicUsize,
    /// Bytes of replies that are made and held back ([`Responder::hold`]).
    pub(super) held: AtomicU64,
    /// Bytes of the unfinished frame. The next field is the time since when it is unfinished, in milliseconds since the
    /// server's start.
    pub(super) unfinished_bytes: AtomicU64,
    pub(super) unfinished_since_ms: AtomicU64,
    /// Whether the connection has named its user and was admitted.
    pub(super) is_admitted: AtomicBool,
    /// Calls without a reply, as of the task's last turn.
    pub(super) outstanding: AtomicU64,
}

impl Connection {
    fn reply(&self, call: Option<CallMark>, exception: bool, put: impl FnOnce(&mut BytesMut)) {
        let waker = {
            let mut outbox = self.outbox.lock();
            if outbox.closed || outbox.closing.is_some() {
                return;
            }
            put(&mut outbox.bytes);
            self.unsent.store(outbox.bytes.len(), Ordering::Relaxed);
            outbox.replied += 1;
            if outbox.awake {
                None
            } else {
                outbox.awake = true;
                outbox.waker.take()
            }
        };
        if exception {
            self.server.counters.exceptions.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(call) = call {
            self.count(call);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Counts the time of a call that is answered now. While its handler runs, the connection's task does it, because it
    /// reads the clock anyway. If a handler returns in the very moment in which another thread answers its call, that
    /// call may be missing in the times.
    #[inline]
    fn count(&self, call: CallMark) {
        if self.handling.load(Ordering::Relaxed) == call.number {
            self.answered.store(call.number, Ordering::Relaxed);
            return;
        }
        let took = call.began.elapsed();
        self.times.answered_late(call.row, took);
        if self.times.is_slow(took) {
            self.note_slow(call.row, took);
        }
    }

    #[cold]
    pub(super) fn note_slow(&self, row: u16, took: Duration) {
        let user = self.user.get().map_or("", |user| user.user.as_str());
        self.times.note_slow(row, user, self.peer, took);
    }

    pub(super) fn close(&self, how: Closing) {
        let waker = {
            let mut outbox = self.outbox.lock();
            if outbox.closed {
                return;
            }
            outbox.closing = Some(how);
            outbox.awake = true;
            outbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Sends one reply, inline or later, from any thread. Dropping it without sending resets the connection: the client
/// must not wait for a reply that never comes.
#[derive(Debug)]
pub struct Responder {
    connection: Option<Arc<Connection>>,
    /// Set instead of a connection if the caller is in this process.
    local: Option<oneshot::Sender<Result<Bytes, RemoteException>>>,
    ids: ResponseIds,
    held: u64,
    /// Of a call whose time is counted.
    call: Option<CallMark>,
}

/// The reply to a call that was made within this process ([`Responder::local`]): the encoded message, or the exception.
/// An error of the channel stands for a connection that was reset: nobody knows whether the call was served.
pub type LocalReply = oneshot::Receiver<Result<Bytes, RemoteException>>;

impl Responder {
    pub(super) fn new(connection: Arc<Connection>, client_id: ClientId, call_id: i32, retry_count: i32) -> Responder {
        Responder {
            connection: Some(connection),
            local: None,
            ids: ResponseIds {
                call_id,
                retry_count,
                client_id,
                state_id: None,
            },
            held: 0,
            call: None,
        }
    }

    /// From now on the time of the call is counted.
    pub(super) fn mark(&mut self, call: CallMark) {
        self.call = Some(call);
    }

    /// The way to answer a call that a part of this process makes, such as WebHDFS, and the answer to come. Such a
    /// caller has no socket to look at, so [`Responder::is_waiting`] is false: its call is never passed on to another
    /// NameNode, and never served late.
    #[must_use]
    pub fn local() -> (Responder, LocalReply) {
        let (local, reply) = oneshot::channel();
        let responder = Responder {
            connection: None,
            local: Some(local),
            ids: ResponseIds {
                call_id: codec::CALL_ID_INVALID,
                retry_count: codec::RETRY_COUNT_NONE,
                client_id: ClientId::EMPTY,
                state_id: None,
            },
            held: 0,
            call: None,
        };
        (responder, reply)
    }

    /// Says that the reply is made, has `bytes` bytes and will be sent later. Until then they count as unsent bytes of
    /// the connection. So memory for replies that are held back is limited like memory for replies that clients do not
    /// take.
    pub fn hold(&mut self, bytes: usize) {
        if let Some(connection) = &self.connection {
            let bytes = bytes as u64;
            self.held += bytes;
            connection.held.fetch_add(bytes, Ordering::Relaxed);
            connection
                .server
                .counters
                .held_bytes
                .fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn take(&mut self) -> Option<Arc<Connection>> {
        let connection = self.connection.take()?;
        if self.held > 0 {
            connection.held.fetch_sub(self.held, Ordering::Relaxed);
            connection
                .server
                .counters
                .held_bytes
                .fetch_sub(self.held, Ordering::Relaxed);
        }
        Some(connection)
    }

    /// Sends a message, or an exception.
    pub fn send<M: Message>(self, result: Result<M, RemoteException>) {
        match result {
            Ok(message) => self.ok(&message),
            Err(exception) => self.error(&exception),
        }
    }

    /// Sends a message.
    pub fn ok<M: Message>(mut self, message: &M) {
        if let Some(local) = self.local.take() {
            // Nobody waits any more.
            let _ = local.send(Ok(message.encode_to_vec().into()));
        } else if let Some(connection) = self.take() {
            let ids = self.ids_at(&connection);
            connection.reply(self.call, false, |out| codec::put_success(out, &ids, message));
        }
    }

    /// Sends a message that is already encoded (without a length before it).
    pub fn ok_encoded(mut self, message: &[u8]) {
        if let Some(local) = self.local.take() {
            // Nobody waits any more.
            let _ = local.send(Ok(Bytes::copy_from_slice(message)));
        } else if let Some(connection) = self.take() {
            let ids = self.ids_at(&connection);
            connection.reply(self.call, false, |out| codec::put_success_encoded(out, &ids, message));
        }
    }

    /// Sends an exception.
    pub fn error(mut self, exception: &RemoteException) {
        if let Some(local) = self.local.take() {
            // Nobody waits any more.
            let _ = local.send(Err(exception.clone()));
        } else if let Some(connection) = self.take() {
            let code = ErrorCode::of(exception);
            let ids = self.ids_at(&connection);
            connection.reply(self.call, true, |out| codec::put_error(out, &ids, code, exception));
        }
    }

    /// Resets the connection (RST), so that the client knows at once that the call may or may not have been served.
    pub fn reset(mut self) {
        self.local = None;
        if let Some(connection) = self.take() {
            connection.close(Closing::Reset);
        }
    }

    /// Ids of the response, with the state id at the time when the reply leaves. The reply shows no newer state.
    fn ids_at(&self, connection: &Connection) -> ResponseIds {
        let mut ids = self.ids;
        if let Some(state_ids) = &connection.state_ids {
            ids.state_id = Some((state_ids.0)());
        }
        ids
    }

    /// Sets `stateId` of the reply.
    pub fn set_state_id(&mut self, state_id: i64) {
        self.ids.state_id = Some(state_id);
    }

    /// Serves the connection on another runtime from its next read on. A client that always makes the same calls is
    /// then served by the thread that owns their data, without a hand-over for each call. Only to be called while a
    /// call is being handled.
    pub fn move_to(&self, runtime: &tokio::runtime::Handle) {
        if let Some(connection) = &self.connection {
            connection.outbox.lock().move_to = Some(runtime.clone());
        }
    }

    /// Whether the connection is gone, so that no client waits for the reply.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        if let Some(local) = &self.local {
            return local.is_closed();
        }
        self.connection.as_ref().is_none_or(|connection| {
            let outbox = connection.outbox.lock();
            outbox.closed || outbox.closing.is_some()
        })
    }

    /// Lets [`Responder::is_waiting`] look at the connection's socket from the next turn of its task on, which comes at
    /// once. It costs a second file descriptor.
    pub fn let_look(&self) {
        let Some(connection) = &self.connection else { return };
        let waker = {
            let mut outbox = connection.outbox.lock();
            if outbox.socket.is_some() || outbox.wants_socket {
                return;
            }
            outbox.wants_socket = true;
            // The task is awake while the call is being handled.
            if outbox.awake {
                None
            } else {
                outbox.awake = true;
                outbox.waker.take()
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the client's end of the connection is open, as the kernel knows it now. The connection's own task may
    /// not have read the end yet. False also when that can't be found out.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| {
            let outbox = connection.outbox.lock();
            let is_open = !outbox.closed && outbox.closing.is_none();
            is_open && outbox.socket.as_ref().is_some_and(|socket| !hung_up(socket))
        })
    }

    /// The caller's address.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.connection.as_ref().map(|connection| connection.peer)
    }
}

/// Whether the client has ended the connection, even if earlier bytes were not read yet.
fn hung_up(socket: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // Only RDHUP, HUP and ERR can be reported here, and each means an end.
    !matches!(poll(&mut fds, Some(&now)), Ok(0))
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(connection) = self.take() {
            connection.close(Closing::Reset);
        }
    }
}
