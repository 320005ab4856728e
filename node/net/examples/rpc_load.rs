//! Measures how many calls a second one reactor serves: `rpc_load CONNECTIONS OUTSTANDING SECONDS`.
//!
//! The server answers calls like `getFileInfo` inline. The load comes from CONNECTIONS connections with OUTSTANDING
//! calls under way on each, all on one other thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hathi_formats::proto::common::GetProtocolVersionsRequestProto as Text;
use hathi_net::ipc::protocols::CLIENT_PROTOCOL;
use hathi_net::ipc::{ClientOptions, Protocol, Responder, RpcCall, RpcClient, RpcHandler, RpcServer, ServerOptions};

struct Echo;

impl RpcHandler for Echo {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![&CLIENT_PROTOCOL]
    }

    fn call(&self, call: RpcCall, reply: Responder) {
        reply.ok_encoded(call.body.get(..2).unwrap_or_default());
    }
}

fn cpu_seconds(of: &str) -> f64 {
    let mut ticks = 0_u64;
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if stat.contains(&format!("({of}")) {
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            ticks += [11, 12]
                .iter()
                .filter_map(|at| fields.get(*at)?.parse::<u64>().ok())
                .sum::<u64>();
        }
    }
    ticks as f64 / 100.0
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let [connections, outstanding, seconds] = arguments[..] else {
        return Err("rpc_load CONNECTIONS OUTSTANDING SECONDS".into());
    };
    let server = RpcServer::bind("127.0.0.1:0".parse()?, Arc::new(Echo), ServerOptions::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (calls, elapsed) = runtime.block_on(async {
        let until = Instant::now() + Duration::from_secs(seconds);
        let request = Text {
            protocol: "/user/mahout/warehouse/year=2026/part-00042".to_owned(),
        };
        let started = Instant::now();
        let mut loads = Vec::new();
        for _ in 0..connections {
            let options = ClientOptions::new("mahout");
            let client = RpcClient::connect(server.local_addr(), &CLIENT_PROTOCOL, options).await?;
            let request = request.clone();
            loads.push(tokio::spawn(async move {
                let mut calls = 0_u64;
                while Instant::now() < until {
                    let batch: Vec<_> = (0..outstanding)
                        .map(|_| client.call::<_, Text>("getFileInfo", &request))
                        .collect();
                    for call in batch {
                        let _ = call.encoded().await;
                        calls += 1;
                    }
                }
                calls
            }));
        }
        let mut calls = 0;
        for load in loads {
            calls += load.await?;
        }
        Ok::<_, Box<dyn std::error::Error>>((calls, started.elapsed()))
    })?;
    let per_call = |seconds: f64| seconds * 1e6 / calls as f64;
    println!(
        "{connections} x {outstanding}: {:.0} calls/s, server {:.3} us of CPU per call, load {:.3} us",
        calls as f64 / elapsed.as_secs_f64(),
        per_call(cpu_seconds("ipc-0")),
        per_call(cpu_seconds("rpc_load")),
    );
    Ok(())
}
