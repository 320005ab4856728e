//! Frames of Hadoop RPC version 9 (`org.apache.hadoop.ipc`). Bytes become values that borrow from them, and values
//! become bytes.
//!
//! The two headers of a request are decoded by hand, because every call has them. Nothing is allocated, and the request
//! message stays where it was read. Every length from outside is checked before it is used.

use bytes::{BufMut, BytesMut};
use prost::Message;

use crate::exceptions::{
    IPC, RPC_NO_SUCH_METHOD, RPC_NO_SUCH_PROTOCOL, RPC_SERVER, RPC_VERSION_MISMATCH, RemoteException,
};
use crate::ids::ClientId;
use crate::wire::{
    Field, Fields, MalformedMessage, delimited_len, put_bytes, put_head, put_number, put_varint, take_delimited,
    unzigzag, varint_len, zigzag,
};

/// First bytes of a connection (`RpcConstants.HEADER`).
pub const MAGIC: [u8; 4] = *b"hrpc";
/// `RpcConstants.CURRENT_VERSION`.
pub const VERSION: u8 = 9;
/// Length of the preamble.
pub const PREAMBLE_BYTES: usize = 7;
/// Auth protocol byte: none (SIMPLE).
pub const AUTH_NONE: u8 = 0;
/// Auth protocol byte: SASL.
pub const AUTH_SASL: u8 = 0xDF;

/// Call id of refusals before any call (`RpcConstants.AUTHORIZATION_FAILED_CALL_ID`).
pub const CALL_ID_AUTHORIZATION_FAILED: i32 = -1;
/// Call id of the connection context.
pub const CALL_ID_CONNECTION_CONTEXT: i32 = -3;
/// Call id of a ping.
pub const CALL_ID_PING: i32 = -4;
/// Call id of SASL messages.
pub const CALL_ID_SASL: i32 = -33;
/// `RpcConstants.INVALID_CALL_ID`: the call has no number.
pub const CALL_ID_INVALID: i32 = -2;
/// `RpcConstants.INVALID_RETRY_COUNT`.
pub const RETRY_COUNT_NONE: i32 = -1;
/// `RpcKindProto.RPC_PROTOCOL_BUFFER`.
pub const RPC_KIND_PROTOBUF: u64 = 2;

/// Reply to a client that speaks HTTP to an IPC port. Status line and type are Hadoop's.
pub const HTTP_PROBE_REPLY: &str = "HTTP/1.1 404 Not Found\r\nContent-type: text/plain\r\n\r\n\
    This port speaks Hadoop RPC, not HTTP. The web interface of this daemon has another port.\r\n";

/// Bytes that do not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MalformedFrame(pub &'static str);

impl From<MalformedMessage> for MalformedFrame {
    fn from(_: MalformedMessage) -> Self {
        MalformedFrame("malformed message")
    }
}

/// The first bytes of a connection, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preamble {
    /// Some of its bytes are missing.
    Incomplete,
    /// SIMPLE without SASL.
    Simple,
    /// SASL comes next.
    Sasl,
    /// An auth protocol that does not exist.
    UnknownAuth(i8),
    /// `GET `: a browser.
    Http,
    /// A different version of Hadoop RPC, or something else. The value is the version byte.
    BadVersion(i8),
}

/// Reads the preamble. Like Hadoop's server it waits for all seven bytes before it decides.
#[must_use]
pub fn preamble(bytes: &[u8]) -> Preamble {
    let Some(([m0, m1, m2, m3, version, _service_class, auth], _)) = bytes.split_first_chunk::<PREAMBLE_BYTES>() else {
        return Preamble::Incomplete;
    };
    let magic = [*m0, *m1, *m2, *m3];
    if magic == *b"GET " {
        return Preamble::Http;
    }
    if magic != MAGIC || *version != VERSION {
        return Preamble::BadVersion(version.cast_signed());
    }
    match *auth {
        AUTH_NONE => Preamble::Simple,
        AUTH_SASL => Preamble::Sasl,
        other => Preamble::UnknownAuth(other.cast_signed()),
    }
}

/// Length of the frame that begins here, with its four length bytes. `None` while those are missing.
pub fn frame_bytes(bytes: &[u8], max_frame_bytes: usize) -> Result<Option<usize>, MalformedFrame> {
    let Some((prefix, _)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let len = usize::try_from(u32::from_be_bytes(*prefix)).map_err(|_| MalformedFrame("frame too long"))?;
    if len > max_frame_bytes {
        return Err(MalformedFrame("frame too long"));
    }
    Ok(Some(len.saturating_add(4)))
}

/// Splits the longest run of whole frames off the front.
pub fn take_frames(buffer: &mut BytesMut, max_frame_bytes: usize) -> Result<Option<BytesMut>, MalformedFrame> {
    let mut end = 0_usize;
    while let Some(len) = frame_bytes(buffer.get(end..).unwrap_or_default(), max_frame_bytes)? {
        let next = end.saturating_add(len);
        if next > buffer.len() {
            break;
        }
        end = next;
    }
    Ok((end > 0).then(|| buffer.split_to(end)))
}

/// A `sint32`, of which protobuf keeps the low 32 bits.
fn sint32(value: u64) -> i32 {
    zigzag(value & u64::from(u32::MAX)) as i32
}

fn put_sint32(out: &mut impl BufMut, number: u64, value: i32) {
    put_number(out, number, unzigzag(i64::from(value)));
}

/// `RpcRequestHeaderProto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// 2 is protobuf.
    pub rpc_kind: Option<u64>,
    /// 0 is the only one in use.
    pub rpc_op: Option<u64>,
    /// See the constants of this module for negative ones.
    pub call_id: i32,
    /// 16 bytes, or none on control frames.
    pub client_id: &'a [u8],
    /// -1 when absent.
    pub retry_count: i32,
    /// `RPCCallerContextProto.context` and `.signature`.
    pub caller_context: Option<(&'a [u8], Option<&'a [u8]>)>,
    /// Highest state id that the client has seen.
    pub state_id: Option<i64>,
}

/// Reads a length-delimited `RpcRequestHeaderProto`. Returns it with the rest of the frame.
pub fn request_header(frame: &[u8]) -> Result<(RequestHeader<'_>, &[u8]), MalformedFrame> {
    let mut rest = frame;
    let (mut call_id, mut client_id) = (None, None);
    let mut header = RequestHeader {
        rpc_kind: None,
        rpc_op: None,
        call_id: 0,
        client_id: &[],
        retry_count: RETRY_COUNT_NONE,
        caller_context: None,
        state_id: None,
    };
    for field in Fields::new(take_delimited(&mut rest)?) {
        match field? {
            (1, Field::Number(kind)) => header.rpc_kind = Some(kind),
            (2, Field::Number(op)) => header.rpc_op = Some(op),
            (3, Field::Number(id)) => call_id = Some(sint32(id)),
            (4, Field::Bytes(id)) => client_id = Some(id),
            (5, Field::Number(count)) => header.retry_count = sint32(count),
            (7, Field::Bytes(context)) => header.caller_context = caller_context(context)?,
            (8, Field::Number(id)) => header.state_id = Some(id.cast_signed()),
            _ => {}
        }
    }
    let (Some(call_id), Some(client_id)) = (call_id, client_id) else {
        return Err(MalformedFrame("Message missing required fields: callId or clientId"));
    };
    let header = RequestHeader {
        call_id,
        client_id,
        ..header
    };
    Ok((header, rest))
}

fn caller_context(message: &[u8]) -> Result<Option<(&[u8], Option<&[u8]>)>, MalformedMessage> {
    let (mut context, mut signature) = (None, None);
    for field in Fields::new(message) {
        match field? {
            (1, Field::Bytes(text)) => context = Some(text),
            (2, Field::Bytes(bytes)) => signature = Some(bytes),
            _ => {}
        }
    }
    Ok(context.map(|context| (context, signature)))
}

/// `RequestHeaderProto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallHeader<'a> {
    /// Name of the method, UTF-8 as received.
    pub method: &'a [u8],
    /// Name of the protocol, UTF-8 as received.
    pub protocol: &'a [u8],
    /// 1 for all of Hadoop's protocols.
    pub version: u64,
}

/// Reads a length-delimited `RequestHeaderProto`. Returns it with the rest of the frame.
pub fn call_header(frame: &[u8]) -> Result<(CallHeader<'_>, &[u8]), MalformedFrame> {
    let mut rest = frame;
    let (mut method, mut protocol, mut version) = (None, None, None);
    for field in Fields::new(take_delimited(&mut rest)?) {
        match field? {
            (1, Field::Bytes(name)) => method = Some(name),
            (2, Field::Bytes(name)) => protocol = Some(name),
            (3, Field::Number(number)) => version = Some(number),
            _ => {}
        }
    }
    let (Some(method), Some(protocol), Some(version)) = (method, protocol, version) else {
        return Err(MalformedFrame("Message missing required fields in RequestHeaderProto"));
    };
    let header = CallHeader {
        method,
        protocol,
        version,
    };
    Ok((header, rest))
}

/// The length-delimited message at the front of `bytes`.
pub fn delimited(mut bytes: &[u8]) -> Result<&[u8], MalformedFrame> {
    Ok(take_delimited(&mut bytes)?)
}

/// `RpcResponseHeaderProto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader<'a> {
    /// Id of the answered call.
    pub call_id: i32,
    /// 0 success, 1 error, 2 fatal.
    pub status: u64,
    /// Java class of the exception.
    pub exception_class: Option<&'a [u8]>,
    /// Its message.
    pub error_message: Option<&'a [u8]>,
    /// `RpcErrorCodeProto`.
    pub error_detail: Option<u64>,
    /// State of the server's namespace.
    pub state_id: Option<i64>,
}

/// Reads a length-delimited `RpcResponseHeaderProto`. Returns it with the rest of the frame.
pub fn response_header(frame: &[u8]) -> Result<(ResponseHeader<'_>, &[u8]), MalformedFrame> {
    let mut rest = frame;
    let (mut call_id, mut status) = (None, None);
    let mut header = ResponseHeader {
        call_id: 0,
        status: 0,
        exception_class: None,
        error_message: None,
        error_detail: None,
        state_id: None,
    };
    for field in Fields::new(take_delimited(&mut rest)?) {
        match field? {
            (1, Field::Number(id)) => call_id = Some((id as u32).cast_signed()),
            (2, Field::Number(number)) => status = Some(number),
            (4, Field::Bytes(class)) => header.exception_class = Some(class),
            (5, Field::Bytes(message)) => header.error_message = Some(message),
            (6, Field::Number(code)) => header.error_detail = Some(code),
            (9, Field::Number(id)) => header.state_id = Some(id.cast_signed()),
            _ => {}
        }
    }
    let (Some(call_id), Some(status)) = (call_id, status) else {
        return Err(MalformedFrame("Message missing required fields: callId or status"));
    };
    let header = ResponseHeader {
        call_id,
        status,
        ..header
    };
    Ok((header, rest))
}

/// Kind of the failure in a response (`RpcErrorCodeProto`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// `ERROR_APPLICATION`
    Application = 1,
    /// `ERROR_NO_SUCH_METHOD`
    NoSuchMethod = 2,
    /// `ERROR_NO_SUCH_PROTOCOL`
    NoSuchProtocol = 3,
    /// `ERROR_RPC_SERVER`
    RpcServer = 4,
    /// `ERROR_RPC_VERSION_MISMATCH`
    RpcVersionMismatch = 6,
    /// `FATAL_INVALID_RPC_HEADER`
    FatalInvalidRpcHeader = 12,
    /// `FATAL_DESERIALIZING_REQUEST`
    FatalDeserializingRequest = 13,
    /// `FATAL_VERSION_MISMATCH`
    FatalVersionMismatch = 14,
    /// `FATAL_UNAUTHORIZED`
    FatalUnauthorized = 15,
}

impl ErrorCode {
    /// The code that Hadoop's server sends with an exception of a handler.
    #[must_use]
    pub fn of(exception: &RemoteException) -> ErrorCode {
        match exception.class() {
            Some(RPC_NO_SUCH_METHOD) => ErrorCode::NoSuchMethod,
            Some(RPC_NO_SUCH_PROTOCOL) => ErrorCode::NoSuchProtocol,
            Some(RPC_SERVER) => ErrorCode::RpcServer,
            Some(RPC_VERSION_MISMATCH) => ErrorCode::RpcVersionMismatch,
            _ => ErrorCode::Application,
        }
    }

    /// Whether the connection ends with this error.
    #[must_use]
    pub fn is_fatal(self) -> bool {
        self as u32 >= 10
    }
}

/// Fields that a response copies from its request, and the state id.
#[derive(Clone, Copy, Debug)]
pub struct ResponseIds {
    /// Call id of the request.
    pub call_id: i32,
    /// Retry count of the request.
    pub retry_count: i32,
    /// Client id of the request.
    pub client_id: ClientId,
    /// `RpcResponseHeaderProto.stateId`, where the server has one.
    pub state_id: Option<i64>,
}

/// Longest header of a successful response, in bytes.
const MAX_SUCCESS_HEADER_BYTES: usize = 64;

/// The header of a successful response, in a buffer on the stack. Its length varint always takes one byte.
fn success_header(ids: &ResponseIds) -> ([u8; MAX_SUCCESS_HEADER_BYTES], usize) {
    let mut header = [0_u8; MAX_SUCCESS_HEADER_BYTES];
    let mut out = header.as_mut_slice();
    header_front(ids, 0, &mut out);
    header_tail(ids, &mut out);
    let rest = out.len();
    (header, MAX_SUCCESS_HEADER_BYTES.saturating_sub(rest))
}

/// Call id, status and server version.
fn header_front(ids: &ResponseIds, status: u64, out: &mut impl BufMut) {
    put_number(out, 1, u64::from(ids.call_id.cast_unsigned()));
    put_number(out, 2, status);
    put_number(out, 3, u64::from(VERSION));
}

fn header_tail(ids: &ResponseIds, out: &mut impl BufMut) {
    put_bytes(out, 7, ids.client_id.as_slice());
    put_sint32(out, 8, ids.retry_count);
    if let Some(state_id) = ids.state_id {
        put_number(out, 9, state_id.cast_unsigned());
    }
}

/// Sum of the lengths of parts. The parts are in memory, so no sum comes near an overflow.
fn sum<const N: usize>(parts: [usize; N]) -> usize {
    parts.into_iter().fold(0, usize::saturating_add)
}

fn put_success_head(out: &mut BytesMut, ids: &ResponseIds, message_bytes: usize) {
    let (header, header_bytes) = success_header(ids);
    let total = sum([1, header_bytes, delimited_len(message_bytes)]);
    out.reserve(total.saturating_add(4));
    out.put_u32(total as u32);
    out.put_u8(header_bytes as u8);
    out.put_slice(header.get(..header_bytes).unwrap_or_default());
    put_varint(out, message_bytes as u64);
}

/// Appends a successful response.
pub fn put_success<M: Message>(out: &mut BytesMut, ids: &ResponseIds, message: &M) {
    put_success_head(out, ids, message.encoded_len());
    message.encode_raw(out);
}

/// Appends a successful response whose message is encoded already.
pub fn put_success_encoded(out: &mut BytesMut, ids: &ResponseIds, message: &[u8]) {
    put_success_head(out, ids, message.len());
    out.put_slice(message);
}

/// Appends an error response.
pub fn put_error(out: &mut BytesMut, ids: &ResponseIds, code: ErrorCode, exception: &RemoteException) {
    let class = exception.class_name();
    let mut header = Vec::with_capacity(sum([128, class.len(), exception.message.len()]));
    header_front(ids, if code.is_fatal() { 2 } else { 1 }, &mut header);
    put_bytes(&mut header, 4, class.as_bytes());
    put_bytes(&mut header, 5, exception.message.as_bytes());
    put_number(&mut header, 6, code as u64);
    header_tail(ids, &mut header);
    out.put_u32(delimited_len(header.len()) as u32);
    put_varint(out, header.len() as u64);
    out.put_slice(&header);
}

/// Appends the answer to a client of a different version of Hadoop RPC, in the form that it understands
/// (`Server.setupBadVersionResponse`).
pub fn put_bad_version(out: &mut BytesMut, client_version: i8) {
    let message = format!("Server IPC version {VERSION} cannot communicate with client version {client_version}");
    match client_version {
        9.. => put_error(
            out,
            &ResponseIds {
                call_id: CALL_ID_AUTHORIZATION_FAILED,
                retry_count: RETRY_COUNT_NONE,
                client_id: ClientId::EMPTY,
                state_id: None,
            },
            ErrorCode::FatalVersionMismatch,
            &RemoteException::new(RPC_VERSION_MISMATCH, message),
        ),
        3..9 => {
            out.put_i32(CALL_ID_AUTHORIZATION_FAILED);
            out.put_i32(-1);
            put_writable_string(out, RPC_VERSION_MISMATCH.java());
            put_writable_string(out, &message);
        }
        2 => {
            out.put_i32(0);
            out.put_u8(1);
            put_writable_string(out, RPC_VERSION_MISMATCH.java());
            put_writable_string(out, &message);
        }
        _ => {}
    }
}

fn put_writable_string(out: &mut BytesMut, text: &str) {
    out.put_u32(text.len() as u32);
    out.put_slice(text.as_bytes());
}

/// The exception for an unknown auth protocol byte.
#[must_use]
pub fn unknown_auth(auth: i8) -> RemoteException {
    RemoteException::new(IPC, format!("Unknown auth protocol:{auth}"))
}

/// Appends the preamble of a SIMPLE connection.
pub fn put_preamble(out: &mut BytesMut) {
    out.put_slice(&MAGIC);
    out.put_slice(&[VERSION, 0, AUTH_NONE]);
}

/// Identity of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestIds<'a> {
    /// See the constants of this module for negative ones.
    pub call_id: i32,
    /// -1 on control frames.
    pub retry_count: i32,
    /// 16 bytes, or none.
    pub client_id: ClientId,
    /// Highest state id that this client has seen.
    pub state_id: Option<i64>,
    /// `CallerContext` of a call; control frames have none.
    pub caller_context: Option<&'a str>,
}

/// The header of a request without its caller context, in a buffer on the stack. Its length varint always takes one
/// byte.
fn put_request_header(ids: &RequestIds<'_>) -> ([u8; MAX_SUCCESS_HEADER_BYTES], usize) {
    let mut header = [0_u8; MAX_SUCCESS_HEADER_BYTES];
    let mut out = header.as_mut_slice();
    put_number(&mut out, 1, RPC_KIND_PROTOBUF);
    put_number(&mut out, 2, 0);
    put_sint32(&mut out, 3, ids.call_id);
    put_bytes(&mut out, 4, ids.client_id.as_slice());
    put_sint32(&mut out, 5, ids.retry_count);
    if let Some(state_id) = ids.state_id {
        put_number(&mut out, 8, state_id.cast_unsigned());
    }
    let rest = out.len();
    (header, MAX_SUCCESS_HEADER_BYTES.saturating_sub(rest))
}

/// Appends a control frame: a header, and a message if there is one.
pub fn put_control<M: Message>(out: &mut BytesMut, ids: &RequestIds<'_>, message: Option<&M>) {
    let (header, header_bytes) = put_request_header(ids);
    let message_bytes = message.map_or(0, |message| delimited_len(message.encoded_len()));
    out.put_u32(sum([1, header_bytes, message_bytes]) as u32);
    out.put_u8(header_bytes as u8);
    out.put_slice(header.get(..header_bytes).unwrap_or_default());
    if let Some(message) = message {
        put_varint(out, message.encoded_len() as u64);
        message.encode_raw(out);
    }
}

/// Appends a call.
pub fn put_call<M: Message>(
    out: &mut BytesMut,
    ids: &RequestIds<'_>,
    method: &str,
    protocol: &str,
    version: u64,
    message: &M,
) {
    put_call_head(out, ids, method, protocol, version, message.encoded_len());
    message.encode_raw(out);
}

/// Appends a call whose message is encoded already, without a length prefix.
pub fn put_call_encoded(
    out: &mut BytesMut,
    ids: &RequestIds<'_>,
    method: &str,
    protocol: &str,
    version: u64,
    message: &[u8],
) {
    put_call_head(out, ids, method, protocol, version, message.len());
    out.put_slice(message);
}

fn put_call_head(
    out: &mut BytesMut,
    ids: &RequestIds<'_>,
    method: &str,
    protocol: &str,
    version: u64,
    message_bytes: usize,
) {
    let (header, fixed_bytes) = put_request_header(ids);
    // `RPCCallerContextProto` with its field 1.
    let context = ids
        .caller_context
        .map(|context| (context, delimited_len(context.len()).saturating_add(1)));
    let context_bytes = context.map_or(0, |(_, len)| delimited_len(len).saturating_add(1));
    let header_bytes = fixed_bytes.saturating_add(context_bytes);
    let call_header_bytes = sum([
        3,
        delimited_len(method.len()),
        delimited_len(protocol.len()),
        varint_len(version),
    ]);
    let total = sum([header_bytes, call_header_bytes, message_bytes].map(delimited_len));
    out.reserve(total.saturating_add(4));
    out.put_u32(total as u32);
    put_varint(out, header_bytes as u64);
    out.put_slice(header.get(..fixed_bytes).unwrap_or_default());
    if let Some((context, len)) = context {
        put_head(out, 7, len);
        put_bytes(out, 1, context.as_bytes());
    }
    put_varint(out, call_header_bytes as u64);
    put_bytes(out, 1, method.as_bytes());
    put_bytes(out, 2, protocol.as_bytes());
    put_number(out, 3, version);
    put_varint(out, message_bytes as u64);
}

#[cfg(test)]
mod tests;
