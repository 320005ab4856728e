//! One connection: a future that reads frames, hands calls to the handler and writes replies.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use hathi_formats::exceptions::{
    AUTHORIZATION, RETRIABLE, RPC_NO_SUCH_METHOD, RPC_NO_SUCH_PROTOCOL, RPC_SERVER, RPC_VERSION_MISMATCH,
    RemoteException,
};
use hathi_formats::proto::common::{IpcConnectionContextProto, RpcSaslProto, rpc_sasl_proto};
use prost::Message;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_util::io::poll_read_buf;

use super::listener::Service;
use super::outbox::{Closing, Connection, Responder};
use super::shares::{Share, Shares};
use super::table::ProtocolTable;
use super::times::{CallMark, Sheet};
use super::{CallerContext, RpcCall, UserInfo, meta};
use crate::auth::Protocols;
use crate::auth::{Asked, Decision, PendingDecision, VOUCHED_PREFIX, check_length, without_rules};
use crate::ipc::codec::{self, ErrorCode, Preamble, RequestHeader, ResponseIds};
use crate::ipc::{ClientId, Method};

/// Size of the read buffer that all connections of a reactor share, so that idle connections own none.
const SCRATCH_BYTES: usize = 256 << 10;
/// Least room for a read, in bytes.
const MIN_READ_BYTES: usize = 64 << 10;
/// A connection yields to the others after a read of this many bytes.
const YIELD_AFTER_BYTES: usize = 16 << 10;
/// It yields after this many calls: a third of a millisecond of the cheapest ones, and enough for one write of their
/// replies.
const SLICE_CALLS: u64 = 256;
/// It yields after replies of this many bytes.
const SLICE_REPLY_BYTES: usize = 256 << 10;
/// It yields after this time.
const SLICE_TIME: Duration = Duration::from_millis(1);
/// Longest caller context and signature that are kept, in bytes. (Hadoop shows 128 and 40 bytes of them in its audit
/// log, and routers add addresses.) Longer ones are left out, because they are only informative.
const CALLER_CONTEXT_MAX_BYTES: usize = 4 << 10;
/// Room that is made at once for an announced frame, in bytes. More is made only as the bytes come, so that an
/// announcement costs nothing.
const MAX_AHEAD_BYTES: usize = 1 << 20;
/// Write buffers larger than this are freed when they are empty.
const KEEP_BUFFER_BYTES: usize = 64 << 10;
/// Longest SASL message, in bytes. Its repeated field of methods takes much more memory decoded than it has bytes.
const HANDSHAKE_BYTES_MAX: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(SCRATCH_BYTES));
}

/// Phase of a connection.
#[derive(Debug)]
enum Phase {
    Preamble,
    /// SASL was requested and has not ended.
    Sasl,
    /// Calls are served, once the connection context is there.
    Calls(Option<Arc<UserInfo>>),
}

/// A frame that ends the connection, with the error that is sent about it.
struct Fatal {
    code: ErrorCode,
    exception: RemoteException,
}

impl Fatal {
    fn header(message: impl Into<String>) -> Fatal {
        Fatal {
            code: ErrorCode::FatalInvalidRpcHeader,
            exception: RemoteException::new(RPC_SERVER, message),
        }
    }

    fn unauthorized(exception: RemoteException) -> Fatal {
        Fatal {
            code: ErrorCode::FatalUnauthorized,
            exception,
        }
    }

    fn decoding(what: &str, error: impl std::fmt::Display) -> Fatal {
        Fatal {
            code: ErrorCode::FatalDeserializingRequest,
            exception: RemoteException::new(RPC_SERVER, format!("Error decoding {what}: {error}")),
        }
    }
}

/// The task of one connection.
pub(super) struct ConnectionTask {
    stream: TcpStream,
    connection: Arc<Connection>,
    service: Arc<Service>,
    registry_key: u64,
    phase: Phase,
    /// The beginning of an unfinished frame.
    input: BytesMut,
    /// Bytes of it that the server's counters include.
    published_input: u64,
    /// Whole frames that are not served yet. Nothing is read while there are any.
    pending: Bytes,
    /// Set while the decision on the user's rights waits for groups. Nothing is served meanwhile.
    admission: Option<(PendingDecision, Arc<UserInfo>)>,
    /// Protocols that the user may use.
    allowed: Protocols,
    /// Replies that are being written.
    output: BytesMut,
    /// Calls handed to the handler since the connection began.
    dispatched: u64,
    /// The last values that the server's counters include.
    published_outstanding: u64,
    published_bytes: u64,
    protocol_hint: usize,
    /// When the pending frames were read.
    read_at: Instant,
    /// When the present call began.
    began: Instant,
    /// Row of the method of the present call, once it is found.
    row: Option<u16>,
    /// Counts the calls of the user.
    user_calls: Option<Arc<AtomicU64>>,
    /// The share of the user, once it is known.
    share: Option<(Arc<Shares>, Arc<Share>)>,
    /// Version of the server's shares that `share` is of.
    shares_version: u64,
    /// Turns of its own that the connection lets pass.
    passing: u32,
    /// A fatal reply is being sent. Nothing more is read.
    ending: bool,
}

impl ConnectionTask {
    pub(super) fn new(
        stream: TcpStream,
        connection: Arc<Connection>,
        service: Arc<Service>,
        registry_key: u64,
    ) -> ConnectionTask {
        connection.outbox.lock().awake = true;
        ConnectionTask {
            stream,
            connection,
            service,
            registry_key,
            phase: Phase::Preamble,
            input: BytesMut::new(),
            published_input: 0,
            pending: Bytes::new(),
            admission: None,
            allowed: Protocols::ALL,
            output: BytesMut::new(),
            dispatched: 0,
            published_outstanding: 0,
            published_bytes: 0,
            protocol_hint: 0,
            read_at: Instant::now(),
            began: Instant::now(),
            row: None,
            user_calls: None,
            share: None,
            shares_version: 0,
            passing: 0,
            ending: false,
        }
    }

    /// Takes the replies from the outbox. Returns how many calls still wait, or how to end the connection.
    fn collect(&mut self) -> Result<u64, Closing> {
        let (outstanding, unsent_bytes) = {
            let mut outbox = self.connection.outbox.lock();
            if let Some(how) = outbox.closing {
                return Err(how);
            }
            outbox.awake = true;
            if self.output.is_empty() {
                std::mem::swap(&mut outbox.bytes, &mut self.output);
            } else if !outbox.bytes.is_empty() && self.output.len() + outbox.bytes.len() <= KEEP_BUFFER_BYTES {
                self.output.extend_from_slice(&outbox.bytes);
                outbox.bytes.clear();
            }
            self.connection.unsent.store(outbox.bytes.len(), Ordering::Relaxed);
            let unsent_bytes = (self.output.len() + outbox.bytes.len()) as u64;
            (self.dispatched.saturating_sub(outbox.replied), unsent_bytes)
        };
        self.publish_bytes(unsent_bytes);
        self.publish_outstanding(outstanding);
        Ok(outstanding)
    }

    fn publish_outstanding(&mut self, now: u64) {
        let before = std::mem::replace(&mut self.published_outstanding, now);
        if before != now {
            self.connection.outstanding.store(now, Ordering::Relaxed);
            let total = &self.connection.server.counters.outstanding;
            total.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    fn publish_bytes(&mut self, now: u64) {
        let before = self.published_bytes;
        if before != now {
            self.published_bytes = now;
            let total = &self.connection.server.counters.outbox_bytes;
            total.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Writes. `Ready` when nothing is left.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
            self.connection
                .server
                .counters
                .sent_bytes
                .fetch_add(written as u64, Ordering::Relaxed);
            self.touch(Instant::now());
        }
        if self.output.capacity() > KEEP_BUFFER_BYTES {
            self.output = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn touch(&self, now: Instant) {
        let now = self.connection.server.ms_at(now);
        self.connection.last_active_ms.store(now, Ordering::Relaxed);
    }

    /// Publishes the size of the unfinished frame, and the time since when it is unfinished. `ended` says that an
    /// earlier frame has ended since the last call. Frames may follow each other so closely that there is always an
    /// unfinished one.
    fn publish_input(&mut self, ended: bool) {
        let now = self.input.len() as u64;
        let before = std::mem::replace(&mut self.published_input, now);
        if before == now && !ended {
            return;
        }
        let connection = &self.connection;
        if before == 0 || (ended && now > 0) {
            connection
                .unfinished_since_ms
                .store(connection.server.now_ms(), Ordering::Relaxed);
        }
        connection.unfinished_bytes.store(now, Ordering::Relaxed);
        let total = &connection.server.counters.unfinished_bytes;
        let all = total
            .fetch_add(now.wrapping_sub(before), Ordering::Relaxed)
            .wrapping_add(now.wrapping_sub(before));
        if now > before && all > connection.server.options.max_unfinished_bytes {
            connection.server.close_oldest_unfinished();
        }
    }

    /// Reads once and keeps whole frames. Returns the number of bytes read, 0 at the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = if self.input.is_empty() {
            let mut chunk = BytesMut::new();
            let read = SCRATCH.with_borrow_mut(|scratch| {
                if scratch.capacity() < MIN_READ_BYTES {
                    scratch.reserve(SCRATCH_BYTES);
                }
                let read = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, scratch))?;
                chunk = scratch.split();
                Poll::Ready(io::Result::Ok(read))
            });
            let read = ready!(read)?;
            let frames = self.split(&mut chunk)?;
            self.input.extend_from_slice(&chunk);
            self.pending = frames.unwrap_or_default();
            read
        } else {
            let missing = codec::frame_bytes(&self.input, usize::MAX)
                .ok()
                .flatten()
                .map_or(0, |len| len.saturating_sub(self.input.len()));
            self.input.reserve(missing.clamp(MIN_READ_BYTES, MAX_AHEAD_BYTES));
            let read = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input))?;
            let mut input = std::mem::take(&mut self.input);
            let frames = self.split(&mut input)?;
            if !input.is_empty() {
                self.input = input;
            }
            self.pending = frames.unwrap_or_default();
            read
        };
        self.publish_input(!self.pending.is_empty());
        self.connection
            .server
            .counters
            .received_bytes
            .fetch_add(read as u64, Ordering::Relaxed);
        self.read_at = Instant::now();
        self.touch(self.read_at);
        Poll::Ready(Ok(read))
    }

    /// Splits whole frames off the front of the input, after the preamble was read.
    fn split(&mut self, input: &mut BytesMut) -> io::Result<Option<Bytes>> {
        if matches!(self.phase, Phase::Preamble) && !self.on_preamble(input) {
            return Ok(None);
        }
        let max = self.connection.server.options.max_frame_bytes;
        codec::take_frames(input, max)
            .map(|frames| frames.map(BytesMut::freeze))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Reads the preamble. Returns whether it is complete and valid.
    fn on_preamble(&mut self, input: &mut BytesMut) -> bool {
        let refusal = ResponseIds {
            call_id: codec::CALL_ID_AUTHORIZATION_FAILED,
            retry_count: codec::RETRY_COUNT_NONE,
            client_id: ClientId::EMPTY,
            state_id: None,
        };
        match codec::preamble(input) {
            Preamble::Incomplete => return false,
            Preamble::Simple => self.phase = Phase::Calls(None),
            Preamble::Sasl => self.phase = Phase::Sasl,
            Preamble::UnknownAuth(auth) => {
                let exception = codec::unknown_auth(auth);
                self.end_with(|out| codec::put_error(out, &refusal, ErrorCode::FatalUnauthorized, &exception));
            }
            Preamble::Http => self.end_with(|out| out.extend_from_slice(codec::HTTP_PROBE_REPLY.as_bytes())),
            Preamble::BadVersion(version) => self.end_with(|out| codec::put_bad_version(out, version)),
        }
        if self.ending {
            input.clear();
            return false;
        }
        input.advance(codec::PREAMBLE_BYTES);
        true
    }

    /// Appends a last message, and ends the connection once it is written.
    fn end_with(&mut self, put: impl FnOnce(&mut BytesMut)) {
        put(&mut self.connection.outbox.lock().bytes);
        self.ending = true;
    }

    /// Serves frames until none is left, or other connections are due.
    fn serve_slice(&mut self) {
        let frames = std::mem::take(&mut self.pending);
        let before = self.dispatched;
        let began = Instant::now();
        self.began = began;
        let sheet = self.connection.times.sheet();
        let mut at = 0;
        while at < frames.len() && !self.ending && self.admission.is_none() && !self.is_over(before, began) {
            let rest = frames.get(at..).unwrap_or_default();
            // `split` returned whole frames only.
            let Ok(Some(len)) = codec::frame_bytes(rest, usize::MAX) else {
                break;
            };
            let frame = rest.get(4..len).unwrap_or_default();
            at += len;
            let (mut call_id, mut retry_count) = (codec::CALL_ID_AUTHORIZATION_FAILED, codec::RETRY_COUNT_NONE);
            let served = match codec::request_header(frame) {
                Ok((header, rest)) => {
                    (call_id, retry_count) = (header.call_id, header.retry_count);
                    self.on_frame(&frames, &header, rest)
                }
                Err(error) => Err(Fatal::decoding("RpcRequestHeaderProto", error)),
            };
            if let Err(fatal) = served {
                self.refuse(&fatal, call_id, retry_count);
            }
            self.count(&sheet);
        }
        if at < frames.len() && !self.ending {
            self.pending = frames.slice(at..);
        }
        let calls = self.dispatched - before;
        if calls > 0 {
            self.connection
                .server
                .counters
                .calls
                .fetch_add(calls, Ordering::Relaxed);
            if let Some(of_user) = &self.user_calls {
                of_user.fetch_add(calls, Ordering::Relaxed);
            }
            if let Some((shares, share)) = &self.share {
                self.passing = shares.charge(share, calls, self.began.saturating_duration_since(began));
            }
            if self.shares_version != self.connection.server.shares_version.load(Ordering::Acquire) {
                self.find_share_again();
            }
            self.service.handler.batch_done();
        }
    }

    /// Finds the share of the user that the connection is of.
    fn find_share(&mut self, user: &str) {
        let server = &self.connection.server;
        self.shares_version = server.shares_version.load(Ordering::Acquire);
        let shares = server.shares().filter(|_| self.service.is_shared);
        self.share = shares.map(|shares| {
            let share = shares.of(user);
            (shares, share)
        });
    }

    #[cold]
    fn find_share_again(&mut self) {
        if let Phase::Calls(Some(user)) = &self.phase {
            let user = user.clone();
            self.find_share(&user.user);
        }
    }

    /// Counts the times of the call that was just served. The next one begins now, so the clock is read once for each.
    #[inline]
    fn count(&mut self, sheet: &Sheet) {
        let Some(row) = self.row.take() else { return };
        let (began, now) = (self.began, Instant::now());
        self.began = now;
        self.connection.handling.store(0, Ordering::Relaxed);
        sheet.waited(row, began.saturating_duration_since(self.read_at));
        if self.connection.answered.load(Ordering::Relaxed) != self.dispatched {
            return;
        }
        sheet.answered(row, now.saturating_duration_since(began));
        let took = now.saturating_duration_since(self.read_at);
        if let Some((shares, share)) = &self.share {
            shares.note(share, took);
        }
        if self.connection.times.is_slow(took) {
            self.connection.note_slow(row, took);
        }
    }

    fn refuse(&mut self, fatal: &Fatal, call_id: i32, retry_count: i32) {
        tracing::info!(peer = %self.connection.peer, call_id, reason = %fatal.exception, "connection refused");
        let ids = ResponseIds {
            call_id,
            retry_count,
            client_id: ClientId::EMPTY,
            state_id: None,
        };
        self.end_with(|out| codec::put_error(out, &ids, fatal.code, &fatal.exception));
    }

    /// Whether a slice that began with call number `before` at the time `began` has had its share.
    #[inline]
    fn is_over(&self, before: u64, began: Instant) -> bool {
        let calls = self.dispatched - before;
        calls >= SLICE_CALLS
            || self.connection.unsent.load(Ordering::Relaxed) >= SLICE_REPLY_BYTES
            || self.connection.held.load(Ordering::Relaxed)
                > self.connection.server.options.max_outbox_bytes_per_connection as u64
            || (calls > 0 && self.began.saturating_duration_since(began) >= SLICE_TIME)
    }

    fn on_frame(&mut self, frames: &Bytes, header: &RequestHeader<'_>, rest: &[u8]) -> Result<(), Fatal> {
        match header.rpc_op {
            Some(0) => {}
            Some(other) => {
                return Err(Fatal::header(format!(
                    "IPC Server does not implement rpc header operation {other}"
                )));
            }
            None => return Err(Fatal::header("IPC Server: No rpc op in rpcRequestHeader")),
        }
        if header.rpc_kind.is_none() {
            return Err(Fatal::header("IPC Server: No rpc kind in rpcRequestHeader"));
        }
        match (header.call_id, &self.phase) {
            (0.., Phase::Calls(Some(user))) => {
                let user = user.clone();
                self.on_call(frames, header, rest, user)
            }
            (0.., _) => Err(Fatal::header("Connection context not established")),
            (codec::CALL_ID_PING, _) => Ok(()),
            (codec::CALL_ID_CONNECTION_CONTEXT, Phase::Calls(None)) => self.on_context(rest),
            (codec::CALL_ID_CONNECTION_CONTEXT, Phase::Calls(Some(_))) => {
                Err(Fatal::header("Connection context already processed"))
            }
            (codec::CALL_ID_CONNECTION_CONTEXT, _) => {
                Err(Fatal::header("Connection header sent during SASL negotiation"))
            }
            (codec::CALL_ID_SASL, Phase::Sasl) => self.on_sasl(header, rest),
            (codec::CALL_ID_SASL, _) => Err(Fatal::header("SASL protocol not requested by client")),
            (other, _) => Err(Fatal::header(format!("Unknown out of band call #{other}"))),
        }
    }

    fn on_context(&mut self, rest: &[u8]) -> Result<(), Fatal> {
        let context = codec::delimited(rest)
            .map_err(|error| Fatal::decoding("IpcConnectionContextProto", error))
            .and_then(|message| {
                IpcConnectionContextProto::decode(message)
                    .map_err(|error| Fatal::decoding("IpcConnectionContextProto", error))
            })?;
        let info = context.user_info.unwrap_or_default();
        let mut user = UserInfo {
            user: info.effective_user.unwrap_or_default(),
            real_user: info.real_user,
            vouched: false,
        };
        check_length(&user.user).map_err(Fatal::unauthorized)?;
        check_length(user.real_user.as_deref().unwrap_or_default()).map_err(Fatal::unauthorized)?;
        let authorizer = self.connection.server.options.authorizer.clone();
        if let Some(proof) = user
            .real_user
            .as_deref()
            .and_then(|said| said.strip_prefix(VOUCHED_PREFIX))
        {
            let proven = authorizer
                .as_ref()
                .is_some_and(|authorizer| authorizer.is_proven(proof));
            // A valid proof is a secret, so it is not shown to anybody.
            user.real_user = Some("a NameNode".to_owned());
            user.vouched = proven;
        }
        let user = Arc::new(user);
        let decision = match &authorizer {
            None => Decision::Made(without_rules(&user)),
            Some(authorizer) => authorizer.decide(Asked {
                user: user.clone(),
                peer: self.connection.peer.ip(),
                opened_for: context.protocol,
                protocols: self.service.table.protocols().collect(),
            }),
        };
        match decision {
            Decision::Made(made) => self.on_admission(made, user),
            Decision::Waits(waiting) => {
                self.admission = Some((waiting, user));
                Ok(())
            }
        }
    }

    fn on_admission(&mut self, made: Result<Protocols, RemoteException>, user: Arc<UserInfo>) -> Result<(), Fatal> {
        self.allowed = made.map_err(Fatal::unauthorized)?;
        self.user_calls = Some(self.connection.server.users.of(&user.user));
        self.find_share(&user.user);
        // A connection names its user once.
        let _ = self.connection.user.set(user.clone());
        self.phase = Phase::Calls(Some(user));
        self.connection.is_admitted.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Checks whether the user's rights are known by now.
    fn poll_admission(&mut self, cx: &mut Context<'_>) {
        let Some((waiting, user)) = &mut self.admission else {
            return;
        };
        let Poll::Ready(made) = waiting.as_mut().poll(cx) else {
            return;
        };
        let user = user.clone();
        self.admission = None;
        if let Err(fatal) = self.on_admission(made, user) {
            self.refuse(&fatal, codec::CALL_ID_CONNECTION_CONTEXT, codec::RETRY_COUNT_NONE);
        }
    }

    /// Offers only SIMPLE. A client that asks for the methods gets this answer. A client that names SIMPLE itself gets
    /// none, because it does not wait for one.
    fn on_sasl(&mut self, header: &RequestHeader<'_>, rest: &[u8]) -> Result<(), Fatal> {
        use rpc_sasl_proto::SaslState;
        if rest.len() > HANDSHAKE_BYTES_MAX {
            return Err(Fatal::decoding("RpcSaslProto", format!("{} bytes", rest.len())));
        }
        let message = codec::delimited(rest)
            .map_err(|error| Fatal::decoding("RpcSaslProto", error))
            .and_then(|message| {
                RpcSaslProto::decode(message).map_err(|error| Fatal::decoding("RpcSaslProto", error))
            })?;
        match message.state() {
            SaslState::Negotiate => {
                let ids = ResponseIds {
                    call_id: codec::CALL_ID_SASL,
                    retry_count: header.retry_count,
                    client_id: ClientId::EMPTY,
                    state_id: None,
                };
                let success = RpcSaslProto {
                    state: SaslState::Success.into(),
                    ..RpcSaslProto::default()
                };
                codec::put_success(&mut self.connection.outbox.lock().bytes, &ids, &success);
            }
            SaslState::Initiate if message.auths.iter().all(|auth| auth.method == "SIMPLE") => {}
            _ => {
                return Err(Fatal {
                    code: ErrorCode::FatalUnauthorized,
                    exception: RemoteException::new(
                        hathi_formats::exceptions::ACCESS_CONTROL,
                        "only SIMPLE authentication is enabled",
                    ),
                });
            }
        }
        self.phase = Phase::Calls(None);
        Ok(())
    }

    #[inline]
    fn on_call(
        &mut self,
        frames: &Bytes,
        header: &RequestHeader<'_>,
        rest: &[u8],
        user: Arc<UserInfo>,
    ) -> Result<(), Fatal> {
        if header.rpc_kind != Some(codec::RPC_KIND_PROTOBUF) {
            return Err(Fatal::header("Unknown rpc kind in rpc header"));
        }
        let Some(client_id) = ClientId::from_slice(header.client_id) else {
            return Err(Fatal::header("client id of neither 0 nor 16 bytes"));
        };
        let unreadable = |error| Fatal {
            code: ErrorCode::FatalDeserializingRequest,
            exception: RemoteException::new(
                RPC_SERVER,
                format!("IPC server unable to read call parameters: {error}"),
            ),
        };
        let (call, rest) = codec::call_header(rest).map_err(unreadable)?;
        let body = codec::delimited(rest).map_err(unreadable)?;
        let mut reply = Responder::new(self.connection.clone(), client_id, header.call_id, header.retry_count);
        self.dispatched += 1;
        let limit = self.connection.server.options.max_outstanding_total as u64;
        let outstanding = self.connection.server.counters.outstanding.load(Ordering::Relaxed);
        let refuses = |(shares, share): &(Arc<Shares>, Arc<Share>)| shares.refuses(share, outstanding, limit);
        if outstanding >= limit || self.share.as_ref().is_some_and(refuses) {
            self.connection.server.counters.too_busy.fetch_add(1, Ordering::Relaxed);
            reply.error(&RemoteException::new(RETRIABLE, "Server too busy"));
            return Ok(());
        }
        let table = &self.service.table;
        let found = self.find(table, &call);
        let (protocol_index, method, row) = match found {
            Ok(found) => found,
            Err(exception) => {
                reply.error(&exception);
                return Ok(());
            }
        };
        self.row = Some(row);
        self.connection.handling.store(self.dispatched, Ordering::Relaxed);
        reply.mark(CallMark {
            number: self.dispatched,
            row,
            began: self.began,
        });
        if !self.allowed.contain(protocol_index) && !matches!(method, Method::ProtocolMetaInfo(_)) {
            reply.error(&RemoteException::new(
                AUTHORIZATION,
                format!(
                    "User {} (auth:SIMPLE) is not authorized for protocol interface {}: denied by configured ACL",
                    user.user,
                    method.protocol().name
                ),
            ));
            return Ok(());
        }
        let kept = |text: &&[u8]| text.len() <= CALLER_CONTEXT_MAX_BYTES;
        let call = RpcCall {
            method,
            body: frames.slice_ref(body),
            client_id,
            call_id: header.call_id,
            retry_count: header.retry_count,
            user,
            peer: self.connection.peer,
            caller_context: header
                .caller_context
                .filter(|(context, _)| kept(context))
                .map(|(context, signature)| CallerContext {
                    context: Bytes::copy_from_slice(context),
                    signature: signature.filter(kept).map(Bytes::copy_from_slice),
                }),
            state_id: header.state_id,
            transport: RpcCall::RPC,
        };
        if let Method::ProtocolMetaInfo(method) = method {
            meta::call(table, method, &call, reply);
        } else {
            self.service.handler.call(call, reply);
            self.protocol_hint = protocol_index;
        }
        Ok(())
    }

    fn find(
        &self,
        table: &ProtocolTable,
        call: &codec::CallHeader<'_>,
    ) -> Result<(usize, Method, u16), RemoteException> {
        let found = table
            .protocol(call.protocol, self.protocol_hint)
            .and_then(|index| Some((index, table.get(index)?)));
        let Some((index, protocol)) = found else {
            let name = String::from_utf8_lossy(call.protocol);
            return Err(RemoteException::new(
                RPC_NO_SUCH_PROTOCOL,
                format!("Unknown protocol: {name}"),
            ));
        };
        if call.version != protocol.version {
            return Err(RemoteException::new(
                RPC_VERSION_MISMATCH,
                format!(
                    "Protocol {} version mismatch. (client = {}, server = {})",
                    protocol.name, call.version, protocol.version
                ),
            ));
        }
        let Some((method, row)) = table.method(index, call.method) else {
            let name = String::from_utf8_lossy(call.method);
            return Err(RemoteException::new(
                RPC_NO_SUCH_METHOD,
                format!("Unknown method {name} called on {} protocol.", protocol.name),
            ));
        };
        Ok((index, method, row))
    }

    fn may_serve(&self, outstanding: u64) -> bool {
        let server = &self.connection.server;
        let options = &server.options;
        let own = self.published_bytes + self.connection.held.load(Ordering::Relaxed);
        let total =
            server.counters.outbox_bytes.load(Ordering::Relaxed) + server.counters.held_bytes.load(Ordering::Relaxed);
        !self.ending
            && self.admission.is_none()
            && outstanding < options.max_outstanding_per_connection as u64
            && own <= options.max_outbox_bytes_per_connection as u64
            && (own == 0 || total <= options.max_outbox_bytes_total as u64)
    }

    /// Registers the socket with the present runtime.
    fn register(&mut self) -> io::Result<()> {
        let socket = StdStream::from(self.stream.as_fd().try_clone_to_owned()?);
        self.stream = TcpStream::from_std(socket)?;
        Ok(())
    }

    /// `Ready` at the end of the connection, or with the runtime on which it goes on.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Handle>>> {
        loop {
            let outstanding = match self.collect() {
                Ok(outstanding) => outstanding,
                Err(how) => {
                    if how == Closing::Reset {
                        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
                    }
                    return Poll::Ready(Ok(None));
                }
            };
            let write_blocked = self.poll_write(cx)?.is_pending();
            if self.ending && !write_blocked && self.connection.outbox.lock().bytes.is_empty() {
                return Poll::Ready(Ok(None));
            }
            self.poll_admission(cx);
            if self.passing > 0 && self.may_serve(outstanding) {
                self.passing -= 1;
                yield_to_others(cx);
                return Poll::Pending;
            }
            if self.may_serve(outstanding) {
                let mut read = 0;
                if self.pending.is_empty() {
                    read = match self.poll_read(cx)? {
                        Poll::Ready(0) => return Poll::Ready(Ok(None)),
                        Poll::Ready(read) => read,
                        Poll::Pending => 0,
                    };
                }
                if !self.pending.is_empty() {
                    self.serve_slice();
                }
                if read >= YIELD_AFTER_BYTES || (!self.pending.is_empty() && self.admission.is_none()) {
                    // Replies leave now, and further calls wait for the next turn.
                    if self.collect().is_ok() {
                        let _ = self.poll_write(cx)?;
                    }
                    yield_to_others(cx);
                    return Poll::Pending;
                }
                if read > 0 {
                    continue;
                }
            }
            let mut outbox = self.connection.outbox.lock();
            if !write_blocked && let Some(runtime) = outbox.move_to.take() {
                // The task is marked as awake until it runs on the other runtime, so replies meanwhile wake nobody.
                outbox.awake = true;
                return Poll::Ready(Ok(Some(runtime)));
            }
            if outbox.closing.is_some() || (!write_blocked && !outbox.bytes.is_empty()) {
                continue;
            }
            if std::mem::take(&mut outbox.wants_socket) {
                outbox.socket = Some(self.stream.as_fd().try_clone_to_owned()?);
            }
            // A blocked write wakes the task by itself. Until then more replies change nothing.
            outbox.awake = write_blocked;
            if !outbox.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                outbox.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
    }
}

/// Wakes the task again after all other ready tasks have run and the sockets were polled. A task that wakes itself
/// directly runs before the runtime polls any socket.
fn yield_to_others(cx: &mut Context<'_>) {
    let _ = std::pin::pin!(tokio::task::yield_now()).poll(cx);
}

/// Runs a connection to its end, on the runtimes that it moves to.
pub(super) async fn run(mut task: ConnectionTask) {
    match poll_fn(|cx| task.poll_turn(cx)).await {
        Ok(None) => {}
        Ok(Some(runtime)) => go_on(task, &runtime),
        Err(error) => tracing::debug!(peer = %task.connection.peer, %error, "connection broke"),
    }
}

fn go_on(mut task: ConnectionTask, runtime: &Handle) {
    // If that runtime has ended, the connection ends too.
    runtime.spawn(async move {
        match task.register() {
            Ok(()) => run(task).await,
            Err(error) => tracing::debug!(peer = %task.connection.peer, %error, "connection not moved"),
        }
    });
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        {
            let mut outbox = self.connection.outbox.lock();
            outbox.closed = true;
            outbox.socket = None;
            outbox.bytes = BytesMut::new();
            outbox.waker = None;
        }
        self.publish_outstanding(0);
        self.publish_bytes(0);
        self.input = BytesMut::new();
        self.publish_input(false);
        self.connection.server.forget(self.registry_key);
    }
}
