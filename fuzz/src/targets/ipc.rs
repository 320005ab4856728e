//! Frames of Hadoop RPC: preamble, connection context, SASL, headers of calls and of responses.

use bytes::{Bytes, BytesMut};
use hathi_formats::proto::common::{
    IpcConnectionContextProto, RpcCallerContextProto, RpcRequestHeaderProto, RpcResponseHeaderProto, RpcSaslProto,
    UserInformationProto,
};
use hathi_formats::proto::hdfs::GetFileInfoRequestProto;
use hathi_net::ipc::codec::{
    self, CALL_ID_CONNECTION_CONTEXT, CALL_ID_SASL, ErrorCode, MAGIC, PREAMBLE_BYTES, Preamble, RequestIds, ResponseIds,
};
use hathi_net::ipc::{ClientId, RemoteException};
use prost::Message;

use super::{MESSAGES, PLAIN};
use crate::Target;

/// Largest frame. It is smaller than in daemons, so that inputs exceed it.
const MAX_FRAME_BYTES: usize = 2000;

pub fn targets() -> Vec<Target> {
    let target = |name, samples, run, memory| Target {
        name,
        samples,
        run,
        memory,
    };
    vec![
        target("ipc_connection", connection_samples, connection, MESSAGES),
        target("ipc_request_header", header_samples, request_header, MESSAGES),
        target("ipc_response", response_samples, response, MESSAGES),
        target("ipc_preamble", preamble_samples, preamble, PLAIN),
    ]
}

fn ids(call_id: i32) -> RequestIds<'static> {
    RequestIds {
        call_id,
        retry_count: 0,
        client_id: ClientId::from([7; 16]),
        state_id: Some(8),
        caller_context: Some("task_1"),
    }
}

/// The bytes of a client from the beginning of a connection.
fn connection_samples() -> Vec<Vec<u8>> {
    let mut simple = BytesMut::new();
    codec::put_preamble(&mut simple);
    let context = IpcConnectionContextProto {
        user_info: Some(UserInformationProto {
            effective_user: Some("alice".to_owned()),
            real_user: Some("oozie".to_owned()),
        }),
        protocol: Some("org.apache.hadoop.hdfs.protocol.ClientProtocol".to_owned()),
    };
    let control = |call_id| RequestIds {
        client_id: ClientId::EMPTY,
        retry_count: codec::RETRY_COUNT_NONE,
        caller_context: None,
        state_id: None,
        ..ids(call_id)
    };
    codec::put_control(&mut simple, &control(CALL_ID_CONNECTION_CONTEXT), Some(&context));
    let request = GetFileInfoRequestProto { src: "/a".to_owned() };
    for call_id in [0, i32::MAX] {
        codec::put_call(
            &mut simple,
            &ids(call_id),
            "getFileInfo",
            "org.apache.hadoop.hdfs.protocol.ClientProtocol",
            1,
            &request,
        );
    }
    let mut sasl = BytesMut::from(&[MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], 9, 0, codec::AUTH_SASL][..]);
    let negotiate = RpcSaslProto {
        state: 1,
        ..RpcSaslProto::default()
    };
    codec::put_control(&mut sasl, &control(CALL_ID_SASL), Some(&negotiate));
    codec::put_control(&mut sasl, &control(codec::CALL_ID_PING), None::<&RpcSaslProto>);
    vec![simple.to_vec(), sasl.to_vec()]
}

/// Cuts the bytes into frames as the server does, and decodes each frame. A decoded call encodes to the same call.
fn connection(input: &[u8]) {
    let mut buffer = BytesMut::from(input);
    match codec::preamble(&buffer) {
        Preamble::Simple | Preamble::Sasl => {}
        _ => return,
    }
    let _ = buffer.split_to(PREAMBLE_BYTES);
    let whole = buffer.len();
    let Ok(Some(frames)) = codec::take_frames(&mut buffer, MAX_FRAME_BYTES) else {
        return;
    };
    assert_eq!(frames.len() + buffer.len(), whole);
    let (mut rest, mut steps) = (&frames[..], 0);
    while let Ok(Some(len)) = codec::frame_bytes(rest, MAX_FRAME_BYTES) {
        steps += 1;
        assert!(steps * 4 <= whole, "more frames than fit");
        frame(&rest[4..len]);
        rest = &rest[len..];
    }
    assert!(rest.is_empty(), "whole frames only");
}

fn frame(bytes: &[u8]) {
    let Ok((header, rest)) = codec::request_header(bytes) else {
        return;
    };
    match header.call_id {
        CALL_ID_CONNECTION_CONTEXT => {
            let _ = codec::delimited(rest).map(IpcConnectionContextProto::decode);
        }
        CALL_ID_SASL => {
            let _ = codec::delimited(rest).map(RpcSaslProto::decode);
        }
        _ => {
            let Ok((call, rest)) = codec::call_header(rest) else {
                return;
            };
            let (Ok(body), Some(client_id)) = (codec::delimited(rest), ClientId::from_slice(header.client_id)) else {
                return;
            };
            let (Ok(method), Ok(protocol)) = (std::str::from_utf8(call.method), std::str::from_utf8(call.protocol))
            else {
                return;
            };
            let context = header.caller_context.map(|(context, _)| std::str::from_utf8(context));
            let ids = RequestIds {
                call_id: header.call_id,
                retry_count: header.retry_count,
                client_id,
                state_id: header.state_id,
                caller_context: context.and_then(Result::ok),
            };
            let mut out = BytesMut::new();
            codec::put_call_encoded(&mut out, &ids, method, protocol, call.version, body);
            let again = &out[4..];
            let (header_again, rest) = codec::request_header(again).expect("what was encoded decodes");
            let (call_again, rest) = codec::call_header(rest).expect("what was encoded decodes");
            assert_eq!(codec::delimited(rest), Ok(body));
            assert_eq!(call_again, call);
            assert_eq!(
                (
                    header_again.call_id,
                    header_again.retry_count,
                    header_again.client_id,
                    header_again.state_id
                ),
                (header.call_id, header.retry_count, header.client_id, header.state_id)
            );
        }
    }
}

fn header_samples() -> Vec<Vec<u8>> {
    let header = RpcRequestHeaderProto {
        rpc_kind: Some(2),
        rpc_op: Some(0),
        call_id: -3,
        client_id: Bytes::from_static(&[7; 16]),
        retry_count: Some(-1),
        caller_context: Some(RpcCallerContextProto {
            context: "task_1".to_owned(),
            signature: Some(Bytes::from_static(b"s")),
        }),
        state_id: Some(i64::MAX),
        ..RpcRequestHeaderProto::default()
    };
    vec![header.encode_length_delimited_to_vec()]
}

/// A header that prost decodes is decoded to the same by our own decoder.
fn request_header(input: &[u8]) {
    let by_hand = codec::request_header(input);
    let Ok(by_prost) = RpcRequestHeaderProto::decode_length_delimited(input) else {
        return;
    };
    // Prost does not check that required fields are there.
    let Ok((header, _)) = by_hand else {
        return;
    };
    assert_eq!(header.call_id, by_prost.call_id);
    assert_eq!(header.client_id, &by_prost.client_id[..]);
    assert_eq!(header.retry_count, by_prost.retry_count());
    assert_eq!(header.state_id, by_prost.state_id);
}

fn response_samples() -> Vec<Vec<u8>> {
    let ids = ResponseIds {
        call_id: 7,
        retry_count: 0,
        client_id: ClientId::from([7; 16]),
        state_id: Some(1),
    };
    let mut good = BytesMut::new();
    codec::put_success(&mut good, &ids, &GetFileInfoRequestProto { src: "/a".to_owned() });
    let mut bad = BytesMut::new();
    let exception = RemoteException::new(hathi_formats::exceptions::IO, "why");
    codec::put_error(&mut bad, &ids, ErrorCode::Application, &exception);
    vec![good.to_vec(), bad.to_vec()]
}

fn response(input: &[u8]) {
    let Ok(Some(len)) = codec::frame_bytes(input, MAX_FRAME_BYTES) else {
        return;
    };
    let Some(frame) = input.get(4..len) else {
        return;
    };
    let by_hand = codec::response_header(frame);
    if let Ok((_, rest)) = &by_hand {
        let _ = codec::delimited(rest);
    }
    if let (Ok(by_prost), Ok((header, _))) = (RpcResponseHeaderProto::decode_length_delimited(frame), by_hand) {
        assert_eq!(header.call_id.cast_unsigned(), by_prost.call_id);
        assert_eq!(header.state_id, by_prost.state_id);
        let class = by_prost.exception_class_name.as_deref();
        assert_eq!(header.exception_class, class.map(str::as_bytes));
    }
}

fn preamble_samples() -> Vec<Vec<u8>> {
    vec![
        b"hrpc\x09\x00\x00".to_vec(),
        b"hrpc\x04\x00\x00".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ]
}

fn preamble(input: &[u8]) {
    match codec::preamble(input) {
        Preamble::Incomplete => assert!(input.len() < PREAMBLE_BYTES),
        Preamble::BadVersion(version) => codec::put_bad_version(&mut BytesMut::new(), version),
        Preamble::UnknownAuth(auth) => drop(codec::unknown_auth(auth)),
        Preamble::Simple | Preamble::Sasl | Preamble::Http => {}
    }
}
