//! Over loopback, on ports that the system chooses.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use hathi_formats::exceptions;
use hathi_formats::proto::common::{
    GetProtocolSignatureRequestProto, GetProtocolSignatureResponseProto, GetProtocolVersionsRequestProto,
    GetProtocolVersionsResponseProto, RpcResponseHeaderProto, RpcSaslProto,
};
use parking_lot::Mutex;
use prost::Message;

use super::*;
use crate::ipc::codec::{self, RequestIds};
use crate::ipc::protocols::{HA_SERVICE_PROTOCOL, PROTOCOL_META_INFO_PB, ZKFC_PROTOCOL};
use crate::ipc::{ClientOptions, HaOptions, HaProxy, Idempotence, RpcClient, RpcError};

mod border;
mod times;

/// Any message type with a string serves.
type Text = GetProtocolVersionsRequestProto;

fn text(text: &str) -> Text {
    Text {
        protocol: text.to_owned(),
    }
}

/// Serves the methods of HAServiceProtocol with other meanings. `monitorHealth` answers with its request.
/// `getServiceStatus` keeps the reply until a later `transitionToActive`. `getProtocolVersion` answers with the
/// thread's name and moves the connection.
#[derive(Default)]
struct Echo {
    parked: Mutex<Vec<(Responder, Text)>>,
    seen: Mutex<Vec<(String, Vec<u8>, i32, i32)>>,
    fail_with: Mutex<Option<RemoteException>>,
    batches: std::sync::atomic::AtomicUsize,
    move_to: Mutex<Option<tokio::runtime::Handle>>,
}

impl RpcHandler for Echo {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![&HA_SERVICE_PROTOCOL]
    }

    fn call(&self, call: RpcCall, mut reply: Responder) {
        self.seen.lock().push((
            call.user.user.clone(),
            call.client_id.as_slice().to_vec(),
            call.call_id,
            call.retry_count,
        ));
        if let Some(exception) = self.fail_with.lock().clone() {
            return reply.error(&exception);
        }
        let request: Text = match call.decode() {
            Ok(request) => request,
            Err(exception) => return reply.error(&exception),
        };
        match call.method.name() {
            "monitorHealth" => {
                reply.set_state_id(42);
                reply.ok(&request);
            }
            "getServiceStatus" => {
                if request.protocol == "waits" {
                    reply.let_look();
                }
                self.parked.lock().push((reply, request));
            }
            "transitionToActive" => {
                // The replies come from another thread, the last one first.
                let parked = std::mem::take(&mut *self.parked.lock());
                std::thread::spawn(move || {
                    for (parked, request) in parked.into_iter().rev() {
                        parked.ok_encoded(&request.encode_to_vec());
                    }
                });
                reply.ok(&request);
            }
            "getProtocolVersion" => {
                if let Some(runtime) = self.move_to.lock().take() {
                    reply.move_to(&runtime);
                }
                reply.ok(&text(std::thread::current().name().unwrap_or_default()));
            }
            "transitionToStandby" => drop(reply),
            "transitionToObserver" => reply.reset(),
            _ => reply.error(&RemoteException::new(
                exceptions::UNSUPPORTED_OPERATION,
                call.method.name(),
            )),
        }
    }

    fn batch_done(&self) {
        self.batches.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

fn serve(options: ServerOptions) -> (Arc<Echo>, RpcServer) {
    let echo = Arc::new(Echo::default());
    let addr = "127.0.0.1:0".parse().unwrap();
    let server = RpcServer::bind(addr, echo.clone(), options).unwrap();
    (echo, server)
}

fn ids(call_id: i32) -> RequestIds<'static> {
    RequestIds {
        call_id,
        retry_count: if call_id < 0 { -1 } else { 0 },
        client_id: ClientId::from([9; 16]),
        state_id: None,
        caller_context: None,
    }
}

fn put_opening(out: &mut BytesMut) {
    use hathi_formats::proto::common::{IpcConnectionContextProto, UserInformationProto};
    codec::put_preamble(out);
    let context = IpcConnectionContextProto {
        user_info: Some(UserInformationProto {
            effective_user: Some("elephant".into()),
            real_user: None,
        }),
        protocol: Some(HA_SERVICE_PROTOCOL.name.into()),
    };
    codec::put_control(out, &ids(-3), Some(&context));
}

fn put_call(out: &mut BytesMut, call_id: i32, method: &str, message: &Text) {
    codec::put_call(out, &ids(call_id), method, HA_SERVICE_PROTOCOL.name, 1, message);
}

/// Reads everything until the server closes.
fn read_to_end(mut stream: &TcpStream) -> BytesMut {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    BytesMut::from(&bytes[..])
}

/// Reads one frame, without its length.
fn read_frame(mut stream: &TcpStream) -> Vec<u8> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut frame).unwrap();
    frame
}

fn parse(frame: &[u8]) -> (RpcResponseHeaderProto, Option<Text>) {
    let mut rest = frame;
    let header = RpcResponseHeaderProto::decode_length_delimited(&mut rest).unwrap();
    let message = rest
        .has_remaining()
        .then(|| Text::decode_length_delimited(rest).unwrap());
    (header, message)
}

#[test]
fn the_same_answers_however_the_bytes_arrive() {
    let (echo, server) = serve(ServerOptions::default());
    let mut bytes = BytesMut::new();
    put_opening(&mut bytes);
    for call_id in 0..20 {
        put_call(
            &mut bytes,
            call_id,
            "monitorHealth",
            &text(&"x".repeat(call_id as usize * 10)),
        );
        codec::put_control::<Text>(&mut bytes, &ids(codec::CALL_ID_PING), None);
    }
    for piece in [1, 3, 100, usize::MAX] {
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in bytes.chunks(piece.min(bytes.len())) {
            stream.write_all(piece).unwrap();
        }
        for call_id in 0..20_u32 {
            let (header, message) = parse(&read_frame(&stream));
            assert_eq!((header.call_id, header.status), (call_id, 0));
            assert_eq!(header.client_id.as_deref(), Some(&[9; 16][..]));
            assert_eq!((header.retry_count, header.state_id), (Some(0), Some(42)));
            assert_eq!(message.unwrap().protocol.len(), call_id as usize * 10);
        }
    }
    assert_eq!(echo.seen.lock()[0], ("elephant".to_owned(), vec![9; 16], 0, 0));
    assert_eq!(server.metrics().calls, 80);
    assert!(echo.batches.load(std::sync::atomic::Ordering::Relaxed) >= 4);
}

#[test]
fn a_frame_larger_than_any_buffer() {
    let (_echo, server) = serve(ServerOptions::default());
    let mut bytes = BytesMut::new();
    put_opening(&mut bytes);
    put_call(&mut bytes, 1, "monitorHealth", &text(&"y".repeat(5 << 20)));
    put_call(&mut bytes, 2, "monitorHealth", &text("z"));
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    assert_eq!(parse(&read_frame(&stream)).1.unwrap().protocol.len(), 5 << 20);
    assert_eq!(parse(&read_frame(&stream)).1.unwrap().protocol, "z");
    writing.join().unwrap();
    stream.flush().unwrap();
}

/// Sends bytes, and expects one error frame and then the end.
fn expect_fatal(opening: impl FnOnce(&mut BytesMut), call_id: i32, detail: i32, class: exceptions::ExceptionClass) {
    let (_echo, server) = serve(ServerOptions::default());
    let mut bytes = BytesMut::new();
    opening(&mut bytes);
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    stream.write_all(&bytes).unwrap();
    let answer = read_to_end(&stream);
    let (header, message) = parse(&answer[4..]);
    assert_eq!(header.call_id.cast_signed(), call_id);
    assert_eq!((header.status, header.error_detail), (2, Some(detail)));
    assert_eq!(header.exception_class_name.as_deref(), Some(class.java()));
    assert!(message.is_none());
}

#[test]
fn refusals_are_hadoops() {
    use exceptions::{IPC, RPC_SERVER, RPC_VERSION_MISMATCH};
    expect_fatal(
        |out| out.extend_from_slice(b"hrpc\x0A\0\0"),
        -1,
        14,
        RPC_VERSION_MISMATCH,
    );
    expect_fatal(|out| out.extend_from_slice(b"hrpc\x09\0\x05"), -1, 15, IPC);
    expect_fatal(
        |out| {
            codec::put_preamble(out);
            put_call(out, 7, "monitorHealth", &text(""));
        },
        7,
        12,
        RPC_SERVER,
    );
    expect_fatal(
        |out| {
            put_opening(out);
            codec::put_control::<Text>(out, &ids(-5), None);
        },
        -5,
        12,
        RPC_SERVER,
    );
    expect_fatal(
        |out| {
            put_opening(out);
            codec::put_control(out, &ids(-33), Some(&RpcSaslProto::default()));
        },
        -33,
        12,
        RPC_SERVER,
    );
    expect_fatal(
        |out| {
            put_opening(out);
            // A header without rpcOp.
            out.extend_from_slice(&[0, 0, 0, 7, 6, 8, 2, 24, 8, 34, 0]);
        },
        4,
        12,
        RPC_SERVER,
    );
    expect_fatal(
        |out| {
            put_opening(out);
            out.extend_from_slice(&[0, 0, 0, 3, 2, 24, 8]);
        },
        -1,
        13,
        RPC_SERVER,
    );
}

#[test]
fn a_browser_is_told() {
    let (_echo, server) = serve(ServerOptions::default());
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(read_to_end(&stream).starts_with(b"HTTP/1.1 404 Not Found\r\n"));
}

#[test]
fn too_long_a_frame_ends_the_connection_without_a_word() {
    let (_echo, server) = serve(ServerOptions {
        max_frame_bytes: 1000,
        ..ServerOptions::default()
    });
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    let mut bytes = BytesMut::new();
    put_opening(&mut bytes);
    bytes.extend_from_slice(&1001_u32.to_be_bytes());
    stream.write_all(&bytes).unwrap();
    assert!(read_to_end(&stream).is_empty());
}

#[test]
fn sasl_is_switched_to_simple() {
    let (_echo, server) = serve(ServerOptions::default());
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    let mut bytes = BytesMut::from(&b"hrpc\x09\0\xDF"[..]);
    let negotiate = RpcSaslProto {
        state: 1,
        ..RpcSaslProto::default()
    };
    codec::put_control(
        &mut bytes,
        &RequestIds {
            client_id: ClientId::EMPTY,
            ..ids(-33)
        },
        Some(&negotiate),
    );
    stream.write_all(&bytes).unwrap();
    let frame = read_frame(&stream);
    let mut rest = &frame[..];
    let header = RpcResponseHeaderProto::decode_length_delimited(&mut rest).unwrap();
    assert_eq!((header.call_id.cast_signed(), header.status), (-33, 0));
    assert_eq!(RpcSaslProto::decode_length_delimited(rest).unwrap().state, 0);
    bytes.clear();
    put_opening(&mut bytes);
    put_call(&mut bytes, 0, "monitorHealth", &text("hello"));
    stream.write_all(&bytes[codec::PREAMBLE_BYTES..]).unwrap();
    assert_eq!(parse(&read_frame(&stream)).1.unwrap().protocol, "hello");
}

async fn connect(server: &RpcServer) -> RpcClient {
    RpcClient::connect(server.local_addr(), &HA_SERVICE_PROTOCOL, ClientOptions::new("mahout"))
        .await
        .unwrap()
}

#[tokio::test]
async fn parked_replies_come_later_and_in_any_order() {
    let (_echo, server) = serve(ServerOptions::default());
    let client = connect(&server).await;
    let parked: Vec<_> = (0..10)
        .map(|n| client.call::<_, Text>("getServiceStatus", &text(&n.to_string())))
        .collect();
    assert_eq!(
        client.call::<_, Text>("monitorHealth", &text("now")).await.unwrap(),
        text("now")
    );
    assert_eq!(server.metrics().outstanding, 10);
    client.call::<_, Text>("transitionToActive", &text("go")).await.unwrap();
    for (n, parked) in parked.into_iter().enumerate() {
        assert_eq!(parked.await.unwrap(), text(&n.to_string()));
    }
    assert_eq!(client.state_id(), Some(42));
}

#[test]
fn safety_11_a_client_that_hung_up_is_seen_to_wait_no_more_before_its_connection_is_read_again() {
    let options = ServerOptions {
        // This keeps the connection's task from reading more, as if it were stopped.
        max_outstanding_per_connection: 1,
        ..ServerOptions::default()
    };
    let (echo, server) = serve(options);
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    let mut out = BytesMut::new();
    put_opening(&mut out);
    put_call(&mut out, 1, "getServiceStatus", &text("waits"));
    put_call(&mut out, 2, "monitorHealth", &text("is not read"));
    stream.write_all(&out).unwrap();
    let (reply, _) = loop {
        match echo.parked.lock().pop() {
            Some(parked) => break parked,
            None => std::thread::yield_now(),
        }
    };
    while !reply.is_waiting() {
        std::thread::yield_now();
    }
    stream.write_all(&out).unwrap();
    assert!(reply.is_waiting());
    drop(stream);
    while reply.is_waiting() {
        std::thread::yield_now();
    }
}

#[test]
fn safety_11_a_call_that_is_kept_after_its_turn_is_looked_at_as_well() {
    let (echo, server) = serve(ServerOptions::default());
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    let mut out = BytesMut::new();
    put_opening(&mut out);
    put_call(&mut out, 1, "getServiceStatus", &text("is kept later"));
    put_call(
        &mut out,
        2,
        "monitorHealth",
        &text("the turn is over when this is answered"),
    );
    stream.write_all(&out).unwrap();
    read_frame(&stream);
    let (reply, _) = echo.parked.lock().pop().unwrap();
    reply.let_look();
    while !reply.is_waiting() {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_client_that_asks_nothing_hears_of_the_end() {
    let (_echo, server) = serve(ServerOptions::default());
    let client = connect(&server).await;
    client.call::<_, Text>("monitorHealth", &text("x")).await.unwrap();
    {
        let closed = client.closed();
        tokio::pin!(closed);
        assert!(is_pending(closed.as_mut()).await);
        server.stop();
        closed.await;
    }
    assert!(client.is_lost());
    client.closed().await;
}

async fn is_pending(mut future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

#[tokio::test]
async fn errors_name_their_class() {
    let (_echo, server) = serve(ServerOptions::default());
    let client = connect(&server).await;
    let unsupported = client
        .call::<_, Text>("getProtocolSignature", &text(""))
        .await
        .unwrap_err();
    assert!(unsupported.is_remote(exceptions::UNSUPPORTED_OPERATION));
    let method = client.call::<_, Text>("nope", &text("")).await.unwrap_err();
    assert!(method.is_remote(exceptions::RPC_NO_SUCH_METHOD));
    let protocol = client.with_protocol(&ZKFC_PROTOCOL);
    let protocol = protocol.call::<_, Text>("cedeActive", &text("")).await.unwrap_err();
    assert!(protocol.is_remote(exceptions::RPC_NO_SUCH_PROTOCOL));
    assert!(!client.is_lost());
    assert_eq!(server.metrics().exceptions, 3);
}

#[tokio::test]
async fn tells_which_methods_it_knows() {
    let (_echo, server) = serve(ServerOptions::default());
    let client = connect(&server).await.with_protocol(&PROTOCOL_META_INFO_PB);
    let request = |protocol: &str| GetProtocolSignatureRequestProto {
        protocol: protocol.into(),
        rpc_kind: "RPC_PROTOCOL_BUFFER".into(),
    };
    let known: GetProtocolSignatureResponseProto = client
        .call("getProtocolSignature", &request(HA_SERVICE_PROTOCOL.pb_interface))
        .await
        .unwrap();
    assert_eq!(
        known.protocol_signature[0].methods.len(),
        HA_SERVICE_PROTOCOL.methods.len()
    );
    let not_here: GetProtocolSignatureResponseProto = client
        .call("getProtocolSignature", &request(ZKFC_PROTOCOL.pb_interface))
        .await
        .unwrap();
    assert!(not_here.protocol_signature.is_empty());
    let unknown = client
        .call::<_, GetProtocolSignatureResponseProto>("getProtocolSignature", &request("no.such.Class"))
        .await
        .unwrap_err();
    assert!(unknown.is_remote(exceptions::CLASS_NOT_FOUND));
    let versions: GetProtocolVersionsResponseProto = client
        .call("getProtocolVersions", &text(HA_SERVICE_PROTOCOL.pb_interface))
        .await
        .unwrap();
    assert_eq!(versions.protocol_versions.len(), 3);
    assert_eq!(versions.protocol_versions[2].versions, [1]);
}

#[tokio::test]
async fn a_lost_reply_breaks_the_connection() {
    let (_echo, server) = serve(ServerOptions::default());
    for method in ["transitionToStandby", "transitionToObserver"] {
        let client = connect(&server).await;
        let waiting = client.call::<_, Text>("getServiceStatus", &text(""));
        let lost = client.call::<_, Text>(method, &text(""));
        assert!(matches!(lost.await, Err(RpcError::Broken { .. })));
        assert!(matches!(waiting.await, Err(RpcError::Broken { .. })));
        let after = client.call::<_, Text>("monitorHealth", &text(""));
        assert!(matches!(after.await, Err(RpcError::Broken { .. })));
    }
}

#[tokio::test]
async fn all_connections_can_be_reset() {
    let (_echo, server) = serve(ServerOptions {
        reactors: 2,
        ..ServerOptions::default()
    });
    let clients = [connect(&server).await, connect(&server).await, connect(&server).await];
    let mut waiting = Vec::new();
    for client in &clients {
        client.call::<_, Text>("monitorHealth", &text("")).await.unwrap();
        waiting.push(client.call::<_, Text>("getServiceStatus", &text("")));
    }
    assert_eq!(server.metrics().connections, 3);
    server.reset_all_connections();
    for waiting in waiting {
        assert!(matches!(waiting.await, Err(RpcError::Broken { .. })));
    }
}

#[tokio::test]
async fn calls_end_in_time() {
    let (_echo, server) = serve(ServerOptions::default());
    let client = connect(&server).await;
    let short = Duration::from_millis(20);
    let parked = client.call_with::<_, Text>("getServiceStatus", &text(""), None, Some(short));
    assert!(matches!(parked.await, Err(RpcError::Timeout { .. })));
    assert_eq!(
        client.call::<_, Text>("monitorHealth", &text("on")).await.unwrap(),
        text("on")
    );
}

#[tokio::test]
async fn a_connection_on_which_nothing_came_while_a_call_ran_out_of_time_is_lost_until_something_comes() {
    let (_echo, server) = serve(ServerOptions::default());
    let client = connect(&server).await;
    let echo = || client.call::<_, Text>("monitorHealth", &text("on"));
    let time_out = |ms| {
        let short = Some(Duration::from_millis(ms));
        let parked = client.call_with::<_, Text>("getServiceStatus", &text(""), None, short);
        async move { assert!(matches!(parked.await, Err(RpcError::Timeout { .. }))) }
    };
    echo().await.unwrap();
    time_out(1).await;
    assert!(client.is_lost());
    echo().await.unwrap();
    assert!(!client.is_lost());
    // Another call is answered meanwhile.
    let slow = time_out(2000);
    echo().await.unwrap();
    slow.await;
    assert!(!client.is_lost());
}

#[tokio::test]
async fn a_connection_moves_to_another_thread_and_loses_nothing() {
    let (echo, server) = serve(ServerOptions::default());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    *echo.move_to.lock() = Some(runtime.handle().clone());
    let other = std::thread::Builder::new()
        .name("elsewhere".into())
        .spawn(move || runtime.block_on(stopped))
        .unwrap();
    let client = connect(&server).await;
    let parked = client.call::<_, Text>("getServiceStatus", &text("parked before"));
    let first = client.call::<_, Text>("getProtocolVersion", &text(""));
    let same_read = client.call::<_, Text>("monitorHealth", &text("sent before"));
    assert_eq!(first.await.unwrap().protocol, "ipc-0");
    assert_eq!(same_read.await.unwrap().protocol, "sent before");
    let second: Text = client.call("getProtocolVersion", &text("")).await.unwrap();
    assert_eq!(second.protocol, "elsewhere");
    client.call::<_, Text>("transitionToActive", &text("")).await.unwrap();
    assert_eq!(parked.await.unwrap().protocol, "parked before");
    assert_eq!(server.metrics().outstanding, 0);
    assert_eq!(server.metrics().connections, 1);
    // When its runtime ends, the connection ends.
    stop.send(()).unwrap();
    other.join().unwrap().unwrap();
    assert!(client.call::<_, Text>("monitorHealth", &text("")).await.is_err());
    assert_eq!(server.metrics().connections, 0);
}

#[tokio::test]
async fn a_connection_with_too_many_parked_calls_is_not_read() {
    let (echo, server) = serve(ServerOptions {
        max_outstanding_per_connection: 5,
        ..ServerOptions::default()
    });
    let client = connect(&server).await;
    let mut parked: Vec<_> = (0..5)
        .map(|_| client.call::<_, Text>("getServiceStatus", &text("")))
        .collect();
    while server.metrics().outstanding < 5 {
        tokio::task::yield_now().await;
    }
    let next = client.call::<_, Text>("monitorHealth", &text("next"));
    // Another connection is served meanwhile, and frees the first.
    let other = connect(&server).await;
    other.call::<_, Text>("monitorHealth", &text("")).await.unwrap();
    assert_eq!(echo.seen.lock().len(), 6, "the sixth is the other connection's");
    other.call::<_, Text>("transitionToActive", &text("")).await.unwrap();
    for parked in parked.drain(..) {
        parked.await.unwrap();
    }
    assert_eq!(next.await.unwrap(), text("next"));
}

#[tokio::test]
async fn a_busy_server_says_so() {
    let (_echo, server) = serve(ServerOptions {
        max_outstanding_total: 1,
        ..ServerOptions::default()
    });
    let client = connect(&server).await;
    let _parked = client.call::<_, Text>("getServiceStatus", &text(""));
    while server.metrics().outstanding < 1 {
        tokio::task::yield_now().await;
    }
    let refused = client.call::<_, Text>("monitorHealth", &text("")).await.unwrap_err();
    assert!(refused.is_remote(exceptions::RETRIABLE));
    assert_eq!(server.metrics().too_busy, 1);
}

#[tokio::test]
async fn the_proxy_finds_the_active_and_keeps_the_calls_identity() {
    let (standby, first) = serve(ServerOptions::default());
    let (active, second) = serve(ServerOptions::default());
    *standby.fail_with.lock() = Some(RemoteException::new(exceptions::STANDBY, "not me"));
    let proxy = HaProxy::new(
        vec![first.local_addr().to_string(), second.local_addr().to_string()],
        &HA_SERVICE_PROTOCOL,
        HaOptions::new("mahout"),
    );
    for _ in 0..2 {
        let answer: Text = proxy.call("monitorHealth", &text("a"), Idempotence::No).await.unwrap();
        assert_eq!(answer, text("a"));
    }
    let (refused, served) = (standby.seen.lock().clone(), active.seen.lock().clone());
    assert_eq!(refused.len(), 1, "the second call goes to the active at once");
    assert_eq!((&refused[0].1, refused[0].2, refused[0].3), (&served[0].1, 0, 0));
    assert_eq!((served[0].2, served[0].3), (0, 1));
    assert_eq!((served[1].2, served[1].3), (1, 0));
    assert_eq!(proxy.current(), second.local_addr().to_string());
    // A call is not repeated after a broken connection, unless a repetition does no harm.
    let broken = proxy
        .call::<_, Text>("transitionToObserver", &text(""), Idempotence::No)
        .await;
    assert!(matches!(broken, Err(RpcError::Broken { .. })));
    // A dead server is skipped, whatever the call.
    *standby.fail_with.lock() = None;
    second.stop();
    let answer = proxy
        .call::<_, Text>("monitorHealth", &text("b"), Idempotence::No)
        .await;
    assert_eq!(answer.unwrap(), text("b"));
}
