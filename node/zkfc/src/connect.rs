//! Connections with several attempts.

use hathi_net::ipc::{ClientOptions, Protocol, RpcClient, RpcError, connect_to};
use std::time::Duration;

/// Pause before a server that refused is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// Connects, with this number of repeated attempts (Hadoop: `ipc.client.connect.max.retries` of these connections).
pub(crate) async fn connect_patiently(
    address: &str,
    protocol: &'static Protocol,
    options: &ClientOptions,
    retries: u32,
) -> Result<RpcClient, RpcError> {
    let mut tried_again = 0;
    loop {
        match connect_to(address, protocol, options).await {
            Err(_) if tried_again < retries => tried_again += 1,
            result => return result,
        }
        tokio::time::sleep(PAUSE).await;
    }
}
