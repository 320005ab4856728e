//! What is counted of calls is real.

use super::*;
use crate::ipc::protocols::CLIENT_PROTOCOL;
use std::time::Duration;

/// Answers at once, but `mkdirs` from another thread when `rename` comes.
#[derive(Default)]
struct Slowly(Mutex<Vec<Responder>>);

impl RpcHandler for Slowly {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![&CLIENT_PROTOCOL]
    }

    fn call(&self, call: RpcCall, reply: Responder) {
        match call.method.name() {
            "mkdirs" => return self.0.lock().push(reply),
            "rename" => {
                let parked = std::mem::take(&mut *self.0.lock());
                let answers = std::thread::spawn(move || {
                    for parked in parked {
                        parked.ok_encoded(&[]);
                    }
                });
                answers.join().unwrap();
            }
            _ => {}
        }
        reply.ok_encoded(&[]);
    }
}

fn counts(server: &RpcServer, name: &str) -> (u64, u64) {
    let meter = server.meter();
    let methods = meter.methods().into_iter().flat_map(|(_, methods)| methods);
    let mut of = methods.filter(|times| times.method.name() == name);
    of.next()
        .map_or((0, 0), |times| (times.queue.count(), times.processing.count()))
}

#[tokio::test]
async fn each_call_is_counted_once_whoever_answers_it() {
    let options = ServerOptions {
        slow_call: Some(Duration::ZERO),
        ..ServerOptions::default()
    };
    let server = RpcServer::bind("127.0.0.1:0".parse().unwrap(), Arc::new(Slowly::default()), options).unwrap();
    let client = RpcClient::connect(server.local_addr(), &CLIENT_PROTOCOL, ClientOptions::new("alice"))
        .await
        .unwrap();
    for _ in 0..5 {
        let _: Text = client.call("getFileInfo", &text("")).await.unwrap();
    }
    let parked = client.call::<_, Text>("mkdirs", &text(""));
    while counts(&server, "mkdirs").0 == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(counts(&server, "mkdirs"), (1, 0), "it was read, and is not answered");
    let _: Text = client.call("rename", &text("")).await.unwrap();
    parked.await.unwrap();
    // The count follows the answer.
    while counts(&server, "rename").1 == 0 || counts(&server, "mkdirs").1 == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(counts(&server, "getFileInfo"), (5, 5));
    assert_eq!((counts(&server, "mkdirs"), counts(&server, "rename")), ((1, 1), (1, 1)));

    let meter = server.meter();
    let (number, slow) = meter.slow_calls();
    assert_eq!((number, slow.len()), (7, 7), "each one takes longer than nothing");
    assert!(slow.iter().all(|call| call.user == "alice"));
    assert_eq!(meter.top_users(Duration::from_secs(60), 10), [("alice".to_owned(), 7)]);
}
