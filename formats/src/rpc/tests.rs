use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::proto::common;

const ID: [u8; 16] = [7; 16];

fn ids(call_id: i32, retry_count: i32) -> RequestIds<'static> {
    RequestIds {
        call_id,
        retry_count,
        client_id: ClientId::from(ID),
        state_id: None,
        caller_context: None,
    }
}

fn response_ids(call_id: i32, client_id: ClientId) -> ResponseIds {
    ResponseIds {
        call_id,
        retry_count: 2,
        client_id,
        state_id: Some(-7),
    }
}

#[test]
fn preambles_are_told_apart() {
    let check = |bytes: &[u8], expected: Preamble| assert_eq!(preamble(bytes), expected, "{bytes:?}");
    check(b"hrpc\x09\x00\x00", Preamble::Simple);
    check(b"hrpc\x09\x05\x00", Preamble::Simple);
    check(b"hrpc\x09\x00\xDF", Preamble::Sasl);
    check(b"hrpc\x09\x00\x01", Preamble::UnknownAuth(1));
    check(b"hrpc\x08\x00\x00", Preamble::BadVersion(8));
    check(b"xrpc\x09\x00\x00", Preamble::BadVersion(9));
    check(b"GET / HTTP/1.1", Preamble::Http);
    check(b"hrpc\x09\x00", Preamble::Incomplete);
}

#[test]
fn a_call_is_as_java_writes_it() {
    let mut out = BytesMut::new();
    let message = common::GetProtocolVersionsRequestProto { protocol: "x".into() };
    put_call(&mut out, &ids(3, 0), "echo", "p.Q", 1, &message);
    let expected: &[u8] = &[
        0, 0, 0, 45, // everything after this
        26, 8, 2, 16, 0, 24, 6, 34, 16, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 40,
        0, // RpcRequestHeaderProto
        13, 10, 4, b'e', b'c', b'h', b'o', 18, 3, b'p', b'.', b'Q', 24, 1, // RequestHeaderProto
        3, 10, 1, b'x', // message
    ];
    assert_eq!(&out[..], expected);
}

#[test]
fn java_reads_our_error_header() {
    let mut out = BytesMut::new();
    let exception = RemoteException::new(IPC, "no");
    put_error(
        &mut out,
        &response_ids(-33, ClientId::EMPTY),
        ErrorCode::FatalUnauthorized,
        &exception,
    );
    assert_eq!(out[4] as usize + 5, out.len(), "nothing follows the header of an error");
    let header = common::RpcResponseHeaderProto::decode_length_delimited(&out[4..]).unwrap();
    assert_eq!(header.call_id.cast_signed(), -33);
    assert_eq!(header.status, 2);
    assert_eq!(header.error_detail, Some(15));
    assert_eq!(header.exception_class_name.as_deref(), Some(IPC.java()));
    assert_eq!(header.error_msg.as_deref(), Some("no"));
    assert_eq!(header.retry_count, Some(2));
    assert_eq!(header.state_id, Some(-7));
    // A negative id is a five byte varint, as Java writes uint32.
    assert_eq!(&out[5..11], &[0x08, 0xDF, 0xFF, 0xFF, 0xFF, 0x0F]);
}

#[test]
fn missing_required_fields_are_errors() {
    assert!(request_header(&[2, 24, 6]).is_err(), "client id");
    assert!(request_header(&[2, 34, 0]).is_err(), "call id");
    assert!(request_header(&[4, 24, 6, 34, 0]).is_ok());
    assert!(request_header(&[5, 24, 6, 34, 0]).is_err(), "length past the end");
    assert!(call_header(&[2, 24, 1]).is_err());
    assert!(frame_bytes(&[0x80, 0, 0, 0], 128 << 20).is_err(), "negative in Java");
}

#[test]
fn old_clients_get_their_old_forms() {
    let mut out = BytesMut::new();
    put_bad_version(&mut out, 8);
    assert_eq!(&out[..8], &[255; 8]);
    out.clear();
    put_bad_version(&mut out, 2);
    assert_eq!(&out[..5], &[0, 0, 0, 0, 1]);
    out.clear();
    put_bad_version(&mut out, 10);
    let header = common::RpcResponseHeaderProto::decode_length_delimited(&out[4..]).unwrap();
    assert_eq!((header.call_id.cast_signed(), header.error_detail), (-1, Some(14)));
}

proptest! {
    #[test]
    fn headers_agree_with_prost(call_id: i32, retry: i32, state: Option<i64>, context: Option<(String, Option<Vec<u8>>)>,
                                id in proptest::collection::vec(any::<u8>(), 0..40), trace: bool) {
        let message = common::RpcRequestHeaderProto {
            rpc_kind: Some(2),
            rpc_op: Some(0),
            call_id,
            client_id: id.clone().into(),
            retry_count: Some(retry),
            trace_info: trace.then(common::RpcTraceInfoProto::default),
            caller_context: context.clone().map(|(context, signature)| common::RpcCallerContextProto {
                context, signature: signature.map(Into::into),
            }),
            state_id: state,
            router_federated_state: None,
            authorization_header: Some(vec![1].into()),
        };
        let mut bytes = message.encode_length_delimited_to_vec();
        bytes.extend([1, 2, 3]);
        let (header, rest) = request_header(&bytes).unwrap();
        prop_assert_eq!(rest, &[1, 2, 3]);
        prop_assert_eq!(header.call_id, call_id);
        prop_assert_eq!(header.client_id, &id[..]);
        prop_assert_eq!(header.retry_count, retry);
        prop_assert_eq!(header.state_id, state);
        prop_assert_eq!(header.caller_context.map(|(context, signature)| (context.to_vec(), signature.map(<[u8]>::to_vec))),
            context.map(|(context, signature)| (context.into_bytes(), signature)));
    }

    #[test]
    fn our_requests_decode(call_id: i32, retry: i32, state: Option<i64>, with_id: bool, context: Option<String>) {
        let mut out = BytesMut::new();
        let client_id = if with_id { ClientId::from(ID) } else { ClientId::EMPTY };
        let caller_context = context.as_deref();
        let ids = RequestIds { call_id, retry_count: retry, client_id, state_id: state, caller_context };
        let message = common::GetProtocolVersionsRequestProto { protocol: "x".repeat(300) };
        put_call(&mut out, &ids, "m", "p", 1, &message);
        let mut encoded = BytesMut::new();
        put_call_encoded(&mut encoded, &ids, "m", "p", 1, &message.encode_to_vec());
        prop_assert_eq!(&out, &encoded);
        prop_assert_eq!(frame_bytes(&out, 1 << 20).unwrap(), Some(out.len()));
        let (header, rest) = request_header(&out[4..]).unwrap();
        prop_assert_eq!((header.call_id, header.retry_count, header.state_id), (call_id, retry, state));
        prop_assert_eq!(header.caller_context, caller_context.map(|context| (context.as_bytes(), None)));
        let (call, rest) = call_header(rest).unwrap();
        prop_assert_eq!(call, CallHeader { method: b"m", protocol: b"p", version: 1 });
        prop_assert_eq!(common::GetProtocolVersionsRequestProto::decode(delimited(rest).unwrap()).unwrap(), message);
    }

    #[test]
    fn our_responses_decode(call_id: i32, with_id: bool, len in 0_usize..400) {
        let mut out = BytesMut::new();
        let client_id = if with_id { ClientId::from(ID) } else { ClientId::EMPTY };
        let message = common::GetProtocolVersionsRequestProto { protocol: "x".repeat(len) };
        put_success(&mut out, &response_ids(call_id, client_id), &message);
        let header = common::RpcResponseHeaderProto::decode_length_delimited(&out[4..]).unwrap();
        prop_assert_eq!(header.call_id.cast_signed(), call_id);
        prop_assert_eq!(header.client_id.as_deref(), Some(client_id.as_slice()));
        let mut encoded = BytesMut::new();
        put_success_encoded(&mut encoded, &response_ids(call_id, client_id), &message.encode_to_vec());
        prop_assert_eq!(&out, &encoded);
        let (header, rest) = response_header(&out[4..]).unwrap();
        prop_assert_eq!((header.call_id, header.status, header.state_id), (call_id, 0, Some(-7)));
        prop_assert_eq!(common::GetProtocolVersionsRequestProto::decode(delimited(rest).unwrap()).unwrap(), message);
    }

    #[test]
    fn rubbish_is_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = request_header(&bytes);
        let _ = call_header(&bytes);
        let _ = response_header(&bytes);
        let mut buffer = BytesMut::from(&bytes[..]);
        let _ = take_frames(&mut buffer, 1 << 20);
    }
}
