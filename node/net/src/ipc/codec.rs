//! Frames of Hadoop RPC version 9, without I/O. It decodes bytes into values that borrow from them, and encodes values.
//!
//! The two headers of a request are decoded by hand, because every call has them. Nothing is allocated, and the request
//! message stays where it was read. Every length from outside is checked before it is used.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use bytes::{BufMut, BytesMut};
use hathi_formats::exceptions::{
    IPC, RPC_NO_SUCH_METHOD, RPC_NO_SUCH_PROTOCOL, RPC_SERVER, RPC_VERSION_MISMATCH, RemoteException,
};
use hathi_formats::proto::common;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::ClientId;

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

/// Reads protobuf's wire format from a slice.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    fn varint(&mut self) -> Result<u64, MalformedFrame> {
        let (mut value, mut rest) = (0_u64, self.rest);
        for shift in (0..64).step_by(7) {
            let Some((byte, after)) = rest.split_first() else {
                break;
            };
            rest = after;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(MalformedFrame("varint does not end"))
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], MalformedFrame> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(MalformedFrame("length runs past the end"))?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn delimited(&mut self) -> Result<&'a [u8], MalformedFrame> {
        let len = usize::try_from(self.varint()?).map_err(|_| MalformedFrame("length runs past the end"))?;
        self.take(len)
    }

    /// The next field's number and wire type.
    #[inline]
    fn key(&mut self) -> Result<Option<(u64, u64)>, MalformedFrame> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        Ok(Some((key >> 3, key & 7)))
    }

    fn skip(&mut self, wire_type: u64) -> Result<(), MalformedFrame> {
        match wire_type {
            0 => self.varint().map(drop),
            1 => self.take(8).map(drop),
            2 => self.delimited().map(drop),
            5 => self.take(4).map(drop),
            _ => Err(MalformedFrame("unknown wire type")),
        }
    }
}

/// Decodes a `sint32`, of which protobuf keeps the low 32 bits.
fn zigzag(value: u64) -> i32 {
    let low = value as u32;
    ((low >> 1) as i32) ^ ((low & 1) as i32).wrapping_neg()
}

fn unzigzag(value: i32) -> u64 {
    u64::from(((value << 1) ^ (value >> 31)) as u32)
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
    let mut frame = Reader { rest: frame };
    let mut fields = Reader {
        rest: frame.delimited()?,
    };
    let mut header = RequestHeader {
        rpc_kind: None,
        rpc_op: None,
        call_id: 0,
        client_id: &[],
        retry_count: RETRY_COUNT_NONE,
        caller_context: None,
        state_id: None,
    };
    let (mut has_call_id, mut has_client_id) = (false, false);
    while let Some(key) = fields.key()? {
        match key {
            (1, 0) => header.rpc_kind = Some(fields.varint()?),
            (2, 0) => header.rpc_op = Some(fields.varint()?),
            (3, 0) => {
                header.call_id = zigzag(fields.varint()?);
                has_call_id = true;
            }
            (4, 2) => {
                header.client_id = fields.delimited()?;
                has_client_id = true;
            }
            (5, 0) => header.retry_count = zigzag(fields.varint()?),
            (7, 2) => header.caller_context = caller_context(fields.delimited()?)?,
            (8, 0) => header.state_id = Some(fields.varint()?.cast_signed()),
            (_, wire_type) => fields.skip(wire_type)?,
        }
    }
    if !has_call_id || !has_client_id {
        return Err(MalformedFrame("Message missing required fields: callId or clientId"));
    }
    Ok((header, frame.rest))
}

fn caller_context(message: &[u8]) -> Result<Option<(&[u8], Option<&[u8]>)>, MalformedFrame> {
    let mut fields = Reader { rest: message };
    let (mut context, mut signature) = (None, None);
    while let Some(key) = fields.key()? {
        match key {
            (1, 2) => context = Some(fields.delimited()?),
            (2, 2) => signature = Some(fields.delimited()?),
            (_, wire_type) => fields.skip(wire_type)?,
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
    let mut frame = Reader { rest: frame };
    let mut fields = Reader {
        rest: frame.delimited()?,
    };
    let (mut method, mut protocol, mut version) = (None, None, None);
    while let Some(key) = fields.key()? {
        match key {
            (1, 2) => method = Some(fields.delimited()?),
            (2, 2) => protocol = Some(fields.delimited()?),
            (3, 0) => version = Some(fields.varint()?),
            (_, wire_type) => fields.skip(wire_type)?,
        }
    }
    match (method, protocol, version) {
        (Some(method), Some(protocol), Some(version)) => Ok((
            CallHeader {
                method,
                protocol,
                version,
            },
            frame.rest,
        )),
        _ => Err(MalformedFrame("Message missing required fields in RequestHeaderProto")),
    }
}

/// The length-delimited message at the front of `bytes`.
pub fn delimited(bytes: &[u8]) -> Result<&[u8], MalformedFrame> {
    Reader { rest: bytes }.delimited()
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
    let mut frame = Reader { rest: frame };
    let mut fields = Reader {
        rest: frame.delimited()?,
    };
    let (mut call_id, mut status) = (None, None);
    let mut header = ResponseHeader {
        call_id: 0,
        status: 0,
        exception_class: None,
        error_message: None,
        error_detail: None,
        state_id: None,
    };
    while let Some(key) = fields.key()? {
        match key {
            (1, 0) => call_id = Some((fields.varint()? as u32).cast_signed()),
            (2, 0) => status = Some(fields.varint()?),
            (4, 2) => header.exception_class = Some(fields.delimited()?),
            (5, 2) => header.error_message = Some(fields.delimited()?),
            (6, 0) => header.error_detail = Some(fields.varint()?),
            (9, 0) => header.state_id = Some(fields.varint()?.cast_signed()),
            (_, wire_type) => fields.skip(wire_type)?,
        }
    }
    match (call_id, status) {
        (Some(call_id), Some(status)) => Ok((
            ResponseHeader {
                call_id,
                status,
                ..header
            },
            frame.rest,
        )),
        _ => Err(MalformedFrame("Message missing required fields: callId or status")),
    }
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
    out.put_u8(0x08);
    encode_varint(u64::from(ids.call_id.cast_unsigned()), &mut out);
    out.put_slice(&[0x10, 0, 0x18, VERSION]);
    header_tail(ids, &mut out);
    let rest = out.len();
    (header, MAX_SUCCESS_HEADER_BYTES.saturating_sub(rest))
}

fn header_tail(ids: &ResponseIds, out: &mut impl BufMut) {
    if let Some(id) = ids.client_id.bytes() {
        out.put_slice(&[0x3A, 16]);
        out.put_slice(&id);
    } else {
        out.put_slice(&[0x3A, 0]);
    }
    out.put_u8(0x40);
    encode_varint(unzigzag(ids.retry_count), out);
    if let Some(state_id) = ids.state_id {
        out.put_u8(0x48);
        encode_varint(state_id.cast_unsigned(), out);
    }
}

/// Sum of the lengths of parts. The parts are in memory, so no sum comes near an overflow.
fn sum<const N: usize>(parts: [usize; N]) -> usize {
    parts.into_iter().fold(0, usize::saturating_add)
}

/// Length of a message with its length prefix.
fn delimited_len(len: usize) -> usize {
    encoded_len_varint(len as u64).saturating_add(len)
}

fn put_success_head(out: &mut BytesMut, ids: &ResponseIds, message_bytes: usize) {
    let (header, header_bytes) = success_header(ids);
    let prefix = encoded_len_varint(message_bytes as u64);
    let total = sum([1, header_bytes, prefix, message_bytes]);
    out.reserve(total.saturating_add(4));
    out.put_u32(total as u32);
    out.put_u8(header_bytes as u8);
    out.put_slice(header.get(..header_bytes).unwrap_or_default());
    encode_varint(message_bytes as u64, out);
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
    header.put_u8(0x08);
    encode_varint(u64::from(ids.call_id.cast_unsigned()), &mut header);
    header.put_slice(&[0x10, if code.is_fatal() { 2 } else { 1 }, 0x18, VERSION]);
    header.put_u8(0x22);
    encode_varint(class.len() as u64, &mut header);
    header.put_slice(class.as_bytes());
    header.put_u8(0x2A);
    encode_varint(exception.message.len() as u64, &mut header);
    header.put_slice(exception.message.as_bytes());
    header.put_slice(&[0x30, code as u8]);
    header_tail(ids, &mut header);
    out.put_u32(delimited_len(header.len()) as u32);
    encode_varint(header.len() as u64, out);
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
    out.put_slice(&[0x08, RPC_KIND_PROTOBUF as u8, 0x10, 0, 0x18]);
    encode_varint(unzigzag(ids.call_id), &mut out);
    let id = ids.client_id.as_slice();
    out.put_slice(&[0x22, id.len() as u8]);
    out.put_slice(id);
    out.put_u8(0x28);
    encode_varint(unzigzag(ids.retry_count), &mut out);
    if let Some(state_id) = ids.state_id {
        out.put_u8(0x40);
        encode_varint(state_id.cast_unsigned(), &mut out);
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
        encode_varint(message.encoded_len() as u64, out);
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
    let context = ids.caller_context.map(|context| common::RpcCallerContextProto {
        context: context.to_owned(),
        signature: None,
    });
    let context_bytes = context
        .as_ref()
        .map_or(0, |context| delimited_len(context.encoded_len()).saturating_add(1));
    let header_bytes = fixed_bytes.saturating_add(context_bytes);
    let call_header_bytes = sum([
        3,
        delimited_len(method.len()),
        delimited_len(protocol.len()),
        encoded_len_varint(version),
    ]);
    let total = sum([header_bytes, call_header_bytes, message_bytes].map(delimited_len));
    out.reserve(total.saturating_add(4));
    out.put_u32(total as u32);
    encode_varint(header_bytes as u64, out);
    out.put_slice(header.get(..fixed_bytes).unwrap_or_default());
    if let Some(context) = context {
        out.put_u8(0x3A);
        encode_varint(context.encoded_len() as u64, out);
        context.encode_raw(out);
    }
    encode_varint(call_header_bytes as u64, out);
    out.put_u8(0x0A);
    encode_varint(method.len() as u64, out);
    out.put_slice(method.as_bytes());
    out.put_u8(0x12);
    encode_varint(protocol.len() as u64, out);
    out.put_slice(protocol.as_bytes());
    out.put_u8(0x18);
    encode_varint(version, out);
    encode_varint(message_bytes as u64, out);
}

#[cfg(test)]
mod tests;
