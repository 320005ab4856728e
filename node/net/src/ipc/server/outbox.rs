//! Replies on their way to a connection's socket.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use bytes::BytesMut;
use hathi_formats::exceptions::RemoteException;
use parking_lot::Mutex;
use prost::Message;

use super::StateIds;
use super::listener::Shared;
use crate::ipc::ClientId;
use crate::ipc::codec::{self, ErrorCode, ResponseIds};

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// Without writing what is left (FIN).
    Close,
    /// RST, so that the client notices at once that nothing more will come.
    Reset,
}

/// Replies that the connection's task has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) bytes: BytesMut,
    /// Replies since the connection began.
    pub(super) replied: u64,
    /// The task runs, or something that will come by itself (a writable socket) wakes it: nobody needs to.
    pub(super) awake: bool,
    pub(super) closing: Option<Closing>,
    /// The task is gone.
    pub(super) closed: bool,
    pub(super) waker: Option<Waker>,
    /// The task goes on there after this turn.
    pub(super) move_to: Option<tokio::runtime::Handle>,
    /// Somebody wants to look at the socket while a call waits.
    pub(super) wants_socket: bool,
    /// The socket once more, to look at; it goes with the task.
    pub(super) socket: Option<OwnedFd>,
}

/// What a connection's task shares with those who reply.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) server: Arc<Shared>,
    pub(super) state_ids: Option<StateIds>,
    /// Never held across an await, and only for as long as appending one reply takes.
    pub(super) outbox: Mutex<Outbox>,
    /// Milliseconds since the server's start when it was accepted.
    pub(super) since_ms: u64,
    /// Milliseconds since the server's start when something was last read or written.
    pub(super) last_active_ms: AtomicU64,
    /// Bytes in the outbox, for who must not take its lock to know.
    pub(super) unsent: AtomicUsize,
    /// Bytes of replies that are made and wait for something ([`Responder::hold`]).
    pub(super) held: AtomicU64,
    /// Bytes of a frame that has not ended, and since when, in milliseconds since the server's start.
    pub(super) unfinished_bytes: AtomicU64,
    pub(super) unfinished_since_ms: AtomicU64,
    /// It is known who calls.
    pub(super) is_admitted: AtomicBool,
    /// Calls without a reply, as of the task's last turn.
    pub(super) outstanding: AtomicU64,
}

impl Connection {
    fn reply(&self, exception: bool, put: impl FnOnce(&mut BytesMut)) {
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
        if let Some(waker) = waker {
            waker.wake();
        }
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

/// The way back for one reply, inline or later and from any thread. Dropping it without sending resets the connection:
/// the client must not wait for what never comes.
#[derive(Debug)]
pub struct Responder {
    connection: Option<Arc<Connection>>,
    ids: ResponseIds,
    held: u64,
}

impl Responder {
    pub(super) fn new(connection: Arc<Connection>, client_id: ClientId, call_id: i32, retry_count: i32) -> Responder {
        Responder {
            connection: Some(connection),
            ids: ResponseIds {
                call_id,
                retry_count,
                client_id,
                state_id: None,
            },
            held: 0,
        }
    }

    /// The reply is made, has so many bytes, and will be sent later: until then they count as bytes that the connection
    /// has not sent, so that the memory for replies that wait is bounded as that for replies that nobody takes.
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
        if let Some(connection) = self.take() {
            let ids = self.ids_at(&connection);
            connection.reply(false, |out| codec::put_success(out, &ids, message));
        }
    }

    /// Sends a message that is already encoded (without a length before it).
    pub fn ok_encoded(mut self, message: &[u8]) {
        if let Some(connection) = self.take() {
            let ids = self.ids_at(&connection);
            connection.reply(false, |out| codec::put_success_encoded(out, &ids, message));
        }
    }

    /// Sends an exception.
    pub fn error(mut self, exception: &RemoteException) {
        if let Some(connection) = self.take() {
            let code = ErrorCode::of(exception);
            let ids = self.ids_at(&connection);
            connection.reply(true, |out| codec::put_error(out, &ids, code, exception));
        }
    }

    /// Resets the connection (RST), so that the client knows at once that it cannot know whether the call was served.
    pub fn reset(mut self) {
        if let Some(connection) = self.take() {
            connection.close(Closing::Reset);
        }
    }

    /// With the state as it is when the reply leaves: whatever the reply shows is not newer.
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

    /// Serves the connection on another runtime from its next read on: who always calls the same thing is served by the
    /// thread that owns it, without a hand-over for each call. Only to be asked for while a call is being handled.
    pub fn move_to(&self, runtime: &tokio::runtime::Handle) {
        if let Some(connection) = &self.connection {
            connection.outbox.lock().move_to = Some(runtime.clone());
        }
    }

    /// Whether the connection is gone, so that nobody waits for the reply.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| {
            let outbox = connection.outbox.lock();
            outbox.closed || outbox.closing.is_some()
        })
    }

    /// Lets [`Responder::is_waiting`] look at the connection's socket from the next turn of its task on, which comes at
    /// once. It costs the connection a second file descriptor.
    pub fn let_look(&self) {
        let Some(connection) = &self.connection else { return };
        let waker = {
            let mut outbox = connection.outbox.lock();
            if outbox.socket.is_some() || outbox.wants_socket {
                return;
            }
            outbox.wants_socket = true;
            // While the call is being handled the task is awake.
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

    /// Whether the other end of the connection is open, as the kernel knows it now: the connection's own task may not
    /// have read that it is not. False also when that can't be told.
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

/// Whether the peer has ended the connection, also when bytes from before that were not read.
fn hung_up(socket: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // RDHUP, HUP and ERR are all that can be told here, and each is an end.
    !matches!(poll(&mut fds, Some(&now)), Ok(0))
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(connection) = self.take() {
            connection.close(Closing::Reset);
        }
    }
}
