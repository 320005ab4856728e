//! Who is active, by the NameNodes' own word.

use anyhow::{Result, ensure};
use hathi_formats::proto::common;
use hathi_net::ipc::protocols::HA_SERVICE_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcError, connect_to};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Asks all NameNodes all the time for their states: no two of them may be active.
pub(crate) struct StatesWatch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<u64>>,
}

impl StatesWatch {
    pub(crate) fn start(addresses: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let mut rounds = 0;
            while !stopped.load(Ordering::Relaxed) {
                for (index, address) in addresses.iter().enumerate() {
                    let others = addresses.iter().enumerate().filter(|(other, _)| *other != index);
                    let others: Vec<&String> = others.map(|(_, address)| address).collect();
                    runtime.block_on(alone(address, &others))?;
                }
                rounds += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(rounds)
        });
        StatesWatch { stop, thread }
    }

    pub(crate) fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("it panicked"))?
    }
}

/// No other one is active between two moments at which this one is. It does not lose the role and win it again so fast.
async fn alone(address: &str, others: &[&String]) -> Result<()> {
    let started = Instant::now();
    if !is_active(address).await {
        return Ok(());
    }
    for other in others {
        let beside = is_active(other).await;
        let still = beside && is_active(address).await && started.elapsed() < Duration::from_millis(500);
        ensure!(!still, "{other} is active beside {address}");
    }
    Ok(())
}

pub(crate) async fn is_active(address: &str) -> bool {
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let mut options = ClientOptions::new(&user);
    options.connect_timeout = Duration::from_secs(1);
    options.call_timeout = Duration::from_secs(1);
    let state = async {
        let client = connect_to(address, &HA_SERVICE_PROTOCOL, &options).await?;
        let request = common::GetServiceStatusRequestProto {};
        let status: common::GetServiceStatusResponseProto = client.call("getServiceStatus", &request).await?;
        Ok::<i32, RpcError>(status.state)
    };
    state
        .await
        .is_ok_and(|state| state == common::HaServiceStateProto::Active as i32)
}
