//! The connection's task, and the state that it shares with the callers.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use hathi_formats::exceptions::RemoteException;
use hathi_formats::proto::common::{IpcConnectionContextProto, UserInformationProto};
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;

use super::{CallIds, ClientOptions, RpcError};
use crate::ipc::codec::{self, RequestIds};
use crate::ipc::{ClientId, Protocol};

const MIN_READ_BYTES: usize = 16 << 10;
const MAX_AHEAD_BYTES: usize = 1 << 20;
const KEEP_BUFFER_BYTES: usize = 64 << 10;
/// Other tasks get a turn after a read of this many bytes.
const YIELD_AFTER_BYTES: usize = 16 << 10;

/// Hash of call ids. They are handed out in sequence, so each is its own hash, spread a little for the table's sake.
#[derive(Default)]
struct CallIdHasher(u64);

impl Hasher for CallIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_i32(&mut self, id: i32) {
        self.0 = u64::from(id.cast_unsigned()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Result<Bytes, RpcError>>,
    deadline: Option<Instant>,
    timeout: Duration,
}

#[derive(Debug)]
struct State {
    out: BytesMut,
    waiting: HashMap<i32, Waiting, BuildHasherDefault<CallIdHasher>>,
    next_call_id: i32,
    /// The earliest deadline since deadlines were last checked. Its call may have been answered since.
    next_deadline: Option<Instant>,
    /// Whether the task runs or will wake by itself.
    awake: bool,
    /// Whether the last client is gone.
    abandoned: bool,
    /// Why the connection has ended.
    closed: Option<String>,
    closing: bool,
    /// A call ran out of time, and nothing has come since it was made.
    silent: bool,
    waker: Option<Waker>,
    state_id: Option<i64>,
}

impl State {
    fn is_closed(&self) -> bool {
        self.closing || self.closed.is_some()
    }
}

/// The part of a connection that its clients hold.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: SocketAddr,
    client_id: ClientId,
    caller_context: Option<String>,
    over: Notify,
    /// Held while one call is encoded or the answers of one read are matched. It is never held across an await.
    state: Mutex<State>,
}

impl Link {
    pub(super) fn new(peer: SocketAddr, protocol: &Protocol, options: &ClientOptions) -> Link {
        let mut out = BytesMut::new();
        codec::put_preamble(&mut out);
        let context = IpcConnectionContextProto {
            user_info: Some(UserInformationProto {
                effective_user: Some(options.user.user.clone()),
                real_user: options.user.real_user.clone(),
            }),
            protocol: Some(protocol.name.to_owned()),
        };
        codec::put_control(
            &mut out,
            &control_ids(codec::CALL_ID_CONNECTION_CONTEXT, options.client_id),
            Some(&context),
        );
        Link {
            peer,
            client_id: options.client_id,
            caller_context: options.caller_context.clone(),
            over: Notify::new(),
            state: Mutex::new(State {
                out,
                waiting: HashMap::default(),
                next_call_id: 0,
                next_deadline: None,
                awake: true,
                abandoned: false,
                closed: None,
                closing: false,
                silent: false,
                waker: None,
                state_id: None,
            }),
        }
    }

    pub(super) fn broken(&self, reason: &str) -> RpcError {
        RpcError::Broken {
            address: self.peer.to_string(),
            reason: reason.to_owned(),
        }
    }

    pub(super) fn send(
        &self,
        answer: oneshot::Sender<Result<Bytes, RpcError>>,
        deadline: Option<Instant>,
        timeout: Duration,
        ids: Option<CallIds>,
        put: impl FnOnce(&mut BytesMut, &RequestIds<'_>),
    ) {
        let waker = {
            let mut state = self.state.lock();
            if state.is_closed() {
                let reason = state.closed.clone().unwrap_or_else(|| "closed".to_owned());
                drop(state);
                let _ = answer.send(Err(self.broken(&reason)));
                return;
            }
            let ids = ids.unwrap_or_else(|| {
                // A caller may have chosen its id, and that call may still wait. Such an id is not used again.
                let mut call_id = state.next_call_id;
                while state.waiting.contains_key(&call_id) {
                    call_id = call_id.wrapping_add(1) & i32::MAX;
                }
                state.next_call_id = call_id.wrapping_add(1) & i32::MAX;
                CallIds {
                    client_id: self.client_id,
                    call_id,
                    retry_count: 0,
                }
            });
            let ids = RequestIds {
                call_id: ids.call_id,
                retry_count: ids.retry_count,
                client_id: ids.client_id,
                state_id: state.state_id,
                caller_context: self.caller_context.as_deref(),
            };
            put(&mut state.out, &ids);
            let waiting = Waiting {
                answer,
                deadline,
                timeout,
            };
            if let Some(earlier) = state.waiting.insert(ids.call_id, waiting) {
                let _ = earlier
                    .answer
                    .send(Err(self.broken("another call with the same id was made")));
            }
            if let Some(deadline) = deadline
                && state.next_deadline.is_none_or(|next| deadline < next)
            {
                state.next_deadline = Some(deadline);
            }
            wake(&mut state)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        let state = self.state.lock();
        state.is_closed() || state.silent
    }

    pub(super) async fn closed(&self) {
        // This comes before the check, so that an end in between is not missed.
        let over = self.over.notified();
        if !self.state.lock().is_closed() {
            over.await;
        }
    }

    pub(super) fn state_id(&self) -> Option<i64> {
        self.state.lock().state_id
    }

    pub(super) fn close(&self) {
        self.end(|state| state.closing = true);
    }

    pub(super) fn abandon(&self) {
        self.end(|state| state.abandoned = true);
    }

    fn end(&self, change: impl FnOnce(&mut State)) {
        let waker = {
            let mut state = self.state.lock();
            change(&mut state);
            state.awake = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn wake(state: &mut State) -> Option<Waker> {
    if state.awake {
        return None;
    }
    state.awake = true;
    state.waker.take()
}

fn control_ids(call_id: i32, client_id: ClientId) -> RequestIds<'static> {
    RequestIds {
        call_id,
        retry_count: codec::RETRY_COUNT_NONE,
        client_id,
        state_id: None,
        caller_context: None,
    }
}

/// The task of one connection.
pub(super) struct LinkTask {
    stream: TcpStream,
    link: Arc<Link>,
    input: BytesMut,
    output: BytesMut,
    max_response_bytes: usize,
    ping_interval: Duration,
    last_read: Instant,
    last_activity: Instant,
    timer: Pin<Box<Sleep>>,
    /// Time to which the timer is set.
    timer_at: Option<Instant>,
}

impl LinkTask {
    pub(super) fn new(stream: TcpStream, link: Arc<Link>, options: &ClientOptions) -> LinkTask {
        let now = Instant::now();
        LinkTask {
            stream,
            link,
            input: BytesMut::new(),
            output: BytesMut::new(),
            max_response_bytes: options.max_response_bytes,
            ping_interval: options.ping_interval,
            last_read: now,
            last_activity: now,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            timer_at: None,
        }
    }

    /// Writes pending calls. `Ready` when nothing is left.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.output.is_empty() {
                let mut state = self.link.state.lock();
                if state.out.is_empty() {
                    break;
                }
                std::mem::swap(&mut state.out, &mut self.output);
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
            if self.output.is_empty() && self.output.capacity() > KEEP_BUFFER_BYTES {
                self.output = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and delivers the answers. Returns the number of bytes read.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let missing = codec::frame_bytes(&self.input, usize::MAX)
            .ok()
            .flatten()
            .map_or(0, |len| len.saturating_sub(self.input.len()));
        if self.input.capacity() - self.input.len() < missing.clamp(MIN_READ_BYTES / 2, MAX_AHEAD_BYTES) {
            self.input.reserve(missing.clamp(KEEP_BUFFER_BYTES, MAX_AHEAD_BYTES));
        }
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input))?;
        if read == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let frames = codec::take_frames(&mut self.input, self.max_response_bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let Some(frames) = frames {
            self.on_frames(&frames.freeze())?;
        }
        Poll::Ready(Ok(read))
    }

    fn on_frames(&mut self, frames: &Bytes) -> io::Result<()> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut at = 0;
        let mut state = self.link.state.lock();
        state.silent = false;
        while at < frames.len() {
            let rest = frames.get(at..).unwrap_or_default();
            let Some(len) = codec::frame_bytes(rest, usize::MAX).map_err(invalid)? else {
                break;
            };
            let frame = rest.get(4..len).unwrap_or_default();
            at += len;
            let (header, rest) = codec::response_header(frame).map_err(invalid)?;
            if let Some(state_id) = header.state_id {
                state.state_id = Some(state.state_id.map_or(state_id, |before| before.max(state_id)));
            }
            let waiting = state.waiting.remove(&header.call_id);
            if header.status == 0 {
                let message = codec::delimited(rest).map_err(invalid)?;
                if let Some(waiting) = waiting {
                    let _ = waiting.answer.send(Ok(frames.slice_ref(message)));
                }
                continue;
            }
            let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
            let exception = RemoteException::received(&text(header.exception_class), text(header.error_message));
            let fatal = header.status != 1;
            let reason = exception.to_string();
            if let Some(waiting) = waiting {
                let _ = waiting.answer.send(Err(RpcError::Remote(exception)));
            } else if fatal {
                // A refusal of the connection answers every call on it.
                for (_, waiting) in state.waiting.drain() {
                    let _ = waiting.answer.send(Err(RpcError::Remote(exception.clone())));
                }
            }
            if fatal {
                return Err(io::Error::other(reason));
            }
        }
        Ok(())
    }

    /// Fails calls whose time is over, sends a ping if the connection was idle for long, and sets the timer.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            let wanted = {
                let mut state = self.link.state.lock();
                if state.next_deadline.is_some_and(|deadline| deadline <= now) {
                    let peer = self.link.peer;
                    let over: Vec<i32> = state
                        .waiting
                        .iter()
                        .filter(|(_, waiting)| waiting.deadline.is_some_and(|deadline| deadline <= now))
                        .map(|(call_id, _)| *call_id)
                        .collect();
                    for call_id in over {
                        if let Some(waiting) = state.waiting.remove(&call_id) {
                            let made = waiting
                                .deadline
                                .and_then(|deadline| deadline.checked_sub(waiting.timeout));
                            state.silent |= made.is_some_and(|made| made >= self.last_read);
                            let _ = waiting.answer.send(Err(RpcError::Timeout {
                                address: peer.to_string(),
                                timeout: waiting.timeout,
                            }));
                        }
                    }
                    state.next_deadline = state.waiting.values().filter_map(|waiting| waiting.deadline).min();
                }
                let mut wanted = state.next_deadline;
                if !self.ping_interval.is_zero() && !state.waiting.is_empty() {
                    if now >= self.last_activity + self.ping_interval {
                        self.last_activity = now;
                        let ids = control_ids(codec::CALL_ID_PING, self.link.client_id);
                        codec::put_control::<IpcConnectionContextProto>(&mut state.out, &ids, None);
                    }
                    let ping_at = self.last_activity + self.ping_interval;
                    wanted = Some(wanted.map_or(ping_at, |wanted| wanted.min(ping_at)));
                }
                wanted
            };
            let Some(wanted) = wanted else {
                return Poll::Pending;
            };
            // A timer that goes off early does no harm. Moving it for each call would cost time.
            if self.timer_at.is_none_or(|at| wanted < at || at <= now) {
                self.timer.as_mut().reset(wanted.into());
                self.timer_at = Some(wanted);
            }
            ready!(self.timer.as_mut().poll(cx));
            self.timer_at = None;
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let write_blocked = self.poll_write(cx)?.is_pending();
            if let Poll::Ready(read) = self.poll_read(cx)? {
                self.last_read = Instant::now();
                self.last_activity = self.last_read;
                if read >= YIELD_AFTER_BYTES {
                    let _ = self.poll_write(cx)?;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                continue;
            }
            let _ = self.poll_timer(cx);
            let mut state = self.link.state.lock();
            if state.closing || (state.abandoned && state.waiting.is_empty()) {
                return Poll::Ready(Ok(()));
            }
            if !write_blocked && !state.out.is_empty() {
                continue;
            }
            state.awake = false;
            if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                state.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
    }
}

impl Future for LinkTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let result = ready!(self.poll_turn(cx));
        let reason = result
            .err()
            .map_or_else(|| "closed".to_owned(), |error| error.to_string());
        self.finish(&reason);
        Poll::Ready(())
    }
}

impl LinkTask {
    fn finish(&mut self, reason: &str) {
        let waiting = {
            let mut state = self.link.state.lock();
            if state.closed.is_none() {
                state.closed = Some(reason.to_owned());
            }
            state.out = BytesMut::new();
            std::mem::take(&mut state.waiting)
        };
        self.link.over.notify_waiters();
        for waiting in waiting.into_values() {
            let _ = waiting.answer.send(Err(self.link.broken(reason)));
        }
    }
}

impl Drop for LinkTask {
    fn drop(&mut self) {
        self.finish("the connection's task is gone");
    }
}
