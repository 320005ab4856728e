//! Limits and rights of one connection.

use super::*;
use hathi_formats::exceptions::AUTHORIZATION;
use std::sync::mpsc;

fn as_user(user: &str, real_user: Option<&str>) -> ClientOptions {
    let mut options = ClientOptions::new(user);
    options.user.real_user = real_user.map(str::to_owned);
    options
}

async fn ask(server: &RpcServer, options: ClientOptions) -> Result<Text, RpcError> {
    let client = RpcClient::connect(server.local_addr(), &HA_SERVICE_PROTOCOL, options).await?;
    client.call("monitorHealth", &text("hello")).await
}

#[tokio::test]
async fn nobody_calls_in_another_ones_name_without_a_rule() {
    let (echo, server) = serve(ServerOptions::default());
    let refused = ask(&server, as_user("hdfs", Some("mallory"))).await.unwrap_err();
    let refused = refused.remote().unwrap();
    assert!(refused.is(AUTHORIZATION), "{refused}");
    assert_eq!(refused.message, "User: mallory is not allowed to impersonate hdfs");
    assert!(echo.seen.lock().is_empty());
    ask(&server, as_user("hdfs", None)).await.unwrap();
}

#[tokio::test]
async fn a_name_that_nobody_has_is_not_kept() {
    let (echo, server) = serve(ServerOptions::default());
    let longest = "u".repeat(crate::auth::USER_MAX_BYTES);
    ask(&server, as_user(&longest, None)).await.unwrap();
    let longer = format!("{longest}u");
    for options in [as_user(&longer, None), as_user("alice", Some(&longer))] {
        let refused = ask(&server, options).await.unwrap_err();
        assert!(refused.is_remote(AUTHORIZATION), "{refused}");
        assert!(refused.to_string().len() < 200, "and not repeated: {refused}");
    }
    assert_eq!(echo.seen.lock().len(), 1);
}

/// Stops the reactor at the first call with the text "stop" until the test opens the gate. It answers with as many
/// bytes as it is told to.
struct Gate {
    stopped: mpsc::Sender<()>,
    go: Mutex<mpsc::Receiver<()>>,
    answer: String,
    seen: Mutex<Vec<String>>,
}

impl RpcHandler for Gate {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![&HA_SERVICE_PROTOCOL]
    }

    fn call(&self, call: RpcCall, reply: Responder) {
        let request: Text = call.decode().unwrap();
        self.seen.lock().push(call.user.user.clone());
        if request.protocol == "stop" {
            self.stopped.send(()).unwrap();
            self.go.lock().recv().unwrap();
        }
        reply.ok(&text(if call.user.user == "elephant" { &self.answer } else { "" }));
    }
}

/// A client with one call at a time. Its bytes are at the server when it has sent them.
struct Mouse(TcpStream);

impl Mouse {
    fn connect(server: &RpcServer) -> Mouse {
        use hathi_formats::proto::common::{IpcConnectionContextProto, UserInformationProto};
        let mut bytes = BytesMut::new();
        codec::put_preamble(&mut bytes);
        let context = IpcConnectionContextProto {
            user_info: Some(UserInformationProto {
                effective_user: Some("mouse".into()),
                real_user: None,
            }),
            protocol: Some(HA_SERVICE_PROTOCOL.name.into()),
        };
        codec::put_control(&mut bytes, &ids(-3), Some(&context));
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.write_all(&bytes).unwrap();
        Mouse(stream)
    }

    fn send(&mut self) {
        let mut bytes = BytesMut::new();
        put_call(&mut bytes, 0, "monitorHealth", &text(""));
        self.0.write_all(&bytes).unwrap();
    }

    fn receive(&mut self) {
        read_frame(&self.0);
    }

    fn call(&mut self) {
        self.send();
        self.receive();
    }
}

/// Starts a server and sends it `calls` calls at once from "elephant", and a single call from another client.
fn many_calls_at_once(calls: i32, answer: &str, options: ServerOptions) -> (Arc<Gate>, RpcServer, TcpStream) {
    let (stopped, has_stopped) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let gate = Arc::new(Gate {
        stopped,
        go: Mutex::new(may_go),
        answer: answer.to_owned(),
        seen: Mutex::default(),
    });
    let server = RpcServer::bind("127.0.0.1:0".parse().unwrap(), gate.clone(), options).unwrap();
    let mut mouse = Mouse::connect(&server);
    mouse.call();
    let mut bytes = BytesMut::new();
    put_opening(&mut bytes);
    put_call(&mut bytes, 0, "monitorHealth", &text("stop"));
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    stream.write_all(&bytes).unwrap();
    has_stopped.recv().unwrap();
    bytes.clear();
    for call_id in 1..calls {
        put_call(&mut bytes, call_id, "monitorHealth", &text(""));
    }
    stream.write_all(&bytes).unwrap();
    mouse.send();
    go.send(()).unwrap();
    mouse.receive();
    (gate, server, stream)
}

#[test]
fn who_sends_many_calls_at_once_waits_between_them_for_others() {
    // All of the calls fit into one read.
    const CALLS: i32 = 1000;
    let (gate, server, stream) = many_calls_at_once(CALLS, "", ServerOptions::default());
    for _ in 0..CALLS {
        read_frame(&stream);
    }
    let seen = gate.seen.lock();
    let of_others = seen.iter().rposition(|user| user == "mouse").unwrap();
    assert_eq!(seen.len(), CALLS as usize + 2);
    assert!(of_others < CALLS as usize, "served after {of_others} of {CALLS}");
    drop(server);
}

#[test]
fn replies_that_are_not_taken_end_the_serving_within_one_read() {
    const LIMIT: usize = 1 << 20;
    let answer = "x".repeat(100 << 10);
    let options = ServerOptions {
        max_outbox_bytes_per_connection: LIMIT,
        ..ServerOptions::default()
    };
    let (_gate, server, stream) = many_calls_at_once(2000, &answer, options);
    let mut mouse = Mouse::connect(&server);
    // The reactor takes many turns. In each the first connection may be served further.
    for _ in 0..100 {
        mouse.call();
    }
    let unsent = server.metrics().outbox_bytes;
    assert!(unsent < 2 * LIMIT as u64, "{unsent} bytes of replies that nobody takes");
    for _ in 0..2000 {
        read_frame(&stream);
    }
}

/// Clients of a server that is known to have received this many bytes.
struct Senders(RpcServer, u64);

impl Senders {
    /// When this returns, the bytes are at the server. The next bytes come in a later millisecond.
    fn send(&mut self, stream: &mut TcpStream, bytes: &[u8]) {
        stream.write_all(bytes).unwrap();
        self.1 += bytes.len() as u64;
        while self.0.metrics().received_bytes < self.1 {
            std::thread::yield_now();
        }
        // The server's clock counts milliseconds.
        std::thread::sleep(Duration::from_millis(2));
    }

    fn begin(&mut self, begun: &[u8]) -> TcpStream {
        let mut opening = BytesMut::new();
        put_opening(&mut opening);
        let mut stream = TcpStream::connect(self.0.local_addr()).unwrap();
        self.send(&mut stream, &[&opening[..], begun].concat());
        stream
    }
}

/// A connection that looked as if its first frame had never ended was cut off after a minute of calls.
#[test]
fn a_frame_that_follows_another_one_closely_is_waited_for_from_its_own_beginning() {
    let mut call = BytesMut::new();
    put_call(&mut call, 0, "monitorHealth", &text(""));
    let (half, rest) = call.split_at(call.len() / 2);
    let all_but_one = &call[..call.len() - 1];
    let options = ServerOptions {
        max_unfinished_bytes: (half.len() + 2 * all_but_one.len() - 1) as u64,
        ..ServerOptions::default()
    };
    let mut senders = Senders(serve(options).1, 0);
    let mut busy = senders.begin(half);
    let slow = senders.begin(half);
    senders.send(&mut busy, &[rest, half].concat());
    read_frame(&busy);
    let _other = senders.begin(all_but_one);
    // Now there are too many bytes, and the connection that has waited longest makes room.
    senders.send(&mut busy, &all_but_one[half.len()..]);
    busy.write_all(&call[all_but_one.len()..]).unwrap();
    read_frame(&busy);
    assert!(read_to_end(&slow).is_empty());
}

#[test]
fn half_a_frame_is_not_waited_for_for_ever() {
    let options = ServerOptions {
        idle_scan_interval: Duration::from_millis(5),
        frame_patience: Duration::from_millis(20),
        ..ServerOptions::default()
    };
    let (_echo, server) = serve(options);
    // One client says nothing, one never names its user, and one never ends its call.
    let mut bytes = BytesMut::new();
    put_opening(&mut bytes);
    let mut half = bytes.clone();
    put_call(&mut half, 0, "monitorHealth", &text("never ends"));
    half.truncate(half.len() - 1);
    for begun in [&bytes[..0], &bytes[..9], &half[..]] {
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.write_all(begun).unwrap();
        assert!(read_to_end(&stream).is_empty());
    }
}

#[test]
fn beyond_the_limit_nobody_more_is_let_in() {
    let options = ServerOptions {
        max_connections: 2,
        ..ServerOptions::default()
    };
    let (_echo, server) = serve(options);
    let (mut one, mut other) = (Mouse::connect(&server), Mouse::connect(&server));
    one.call();
    other.call();
    let third = TcpStream::connect(server.local_addr()).unwrap();
    assert!(read_to_end(&third).is_empty(), "it is closed without a word");
    one.call();
    other.call();
}

#[test]
fn idle_connections_beyond_the_threshold_are_closed_and_whoever_waits_for_an_answer_stays() {
    let options = ServerOptions {
        idle_threshold: 1,
        max_idle_ms: 1,
        idle_scan_interval: Duration::from_millis(1),
        ..ServerOptions::default()
    };
    let (echo, server) = serve(options);
    let mut waits = Mouse::connect(&server);
    let mut bytes = BytesMut::new();
    put_call(&mut bytes, 0, "getServiceStatus", &text(""));
    waits.0.write_all(&bytes).unwrap();
    let (parked, request) = loop {
        if let Some(parked) = echo.parked.lock().pop() {
            break parked;
        }
        std::thread::yield_now();
    };
    let idle = Mouse::connect(&server);
    assert!(read_to_end(&idle.0).is_empty(), "it asked for nothing");
    parked.ok_encoded(&request.encode_to_vec());
    waits.receive();
}

/// Lengths of the caller contexts of the received calls.
#[derive(Default)]
struct Contexts(Mutex<Vec<Option<usize>>>);

impl RpcHandler for Contexts {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![&HA_SERVICE_PROTOCOL]
    }

    fn call(&self, call: RpcCall, reply: Responder) {
        let length = call.caller_context.as_ref().map(|caller| caller.context.len());
        self.0.lock().push(length);
        reply.ok(&text(""));
    }
}

#[test]
fn a_caller_context_longer_than_the_limit_is_left_out() {
    let contexts = Arc::new(Contexts::default());
    let addr = "127.0.0.1:0".parse().unwrap();
    let server = RpcServer::bind(addr, contexts.clone(), ServerOptions::default()).unwrap();
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    let mut bytes = BytesMut::new();
    put_opening(&mut bytes);
    for (call_id, length) in [(0, 4096), (1, 4097)] {
        let caller_context = "c".repeat(length);
        let ids = RequestIds {
            caller_context: Some(&caller_context),
            ..ids(call_id)
        };
        codec::put_call(
            &mut bytes,
            &ids,
            "monitorHealth",
            HA_SERVICE_PROTOCOL.name,
            1,
            &text(""),
        );
    }
    stream.write_all(&bytes).unwrap();
    for _ in 0..2 {
        read_frame(&stream);
    }
    assert_eq!(*contexts.0.lock(), [Some(4096), None]);
}
