//! The addresses of the NameNodes of this nameservice, whose images are accepted.

use crate::settings::{ANY_HOST, Peer, Settings};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long looked-up addresses of NameNodes are used. So requests do not cause a look-up each, and a NameNode that has
/// moved to another machine is accepted with its next image.
const ADDRESSES_FRESH: Duration = Duration::from_secs(10);

/// Addresses of the NameNodes of this nameservice.
#[derive(Debug, Default)]
pub struct PeerAddresses(Mutex<Option<(Instant, Vec<IpAddr>)>>);

impl PeerAddresses {
    /// Whether a configured NameNode has this address. One request looks the names up, and the others wait for its
    /// result.
    pub async fn include(&self, settings: &Settings, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        // Any address of this machine: the system chooses one when a process connects to its own machine.
        let is_same = |found: &IpAddr| *found == ip || (found.is_loopback() && ip.is_loopback());
        let mut known = self.0.lock().await;
        let fresh = known.as_ref().filter(|(since, _)| since.elapsed() < ADDRESSES_FRESH);
        if let Some((_, addresses)) = fresh {
            return addresses.iter().any(is_same);
        }
        let addresses = look_up(settings).await;
        let includes = addresses.iter().any(is_same);
        *known = Some((Instant::now(), addresses));
        includes
    }
}

async fn look_up(settings: &Settings) -> Vec<IpAddr> {
    let peers = settings.peers.iter();
    let mut hosts: BTreeSet<&str> = peers
        .flat_map(|Peer { rpc, http, .. }| [rpc.host.as_str(), http.host.as_str()])
        .collect();
    if settings.is_single() {
        // The SecondaryNameNode, which is on this machine unless another one is configured.
        let secondary = settings.secondary_http.host.as_str();
        hosts.insert(if secondary == ANY_HOST {
            settings.rpc.host.as_str()
        } else {
            secondary
        });
    }
    let mut addresses = Vec::new();
    for host in hosts {
        match tokio::net::lookup_host((host, 0)).await {
            Ok(found) => addresses.extend(found.map(|found| found.ip().to_canonical())),
            Err(error) => tracing::warn!(host, %error, "cannot resolve a NameNode's address"),
        }
    }
    addresses
}
