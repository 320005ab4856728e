//! The other JournalNodes of a journal.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hathi_conf::HostPort;
use hathi_formats::qjournal::Envelope;
use hathi_journal::{Answer, Request};
use hathi_journalclient::{JournalNodeClient, RemoteJournalNode};
use hathi_net::users::process_user;

/// Time limit of a call to a peer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Calls a peer over its connection.
pub async fn ask(client: &JournalNodeClient, request: &Request) -> Result<Answer, String> {
    let answer = client.send(request, CALL_TIMEOUT).await;
    answer.map_err(|error| format!("{} of {}: {error}", request.method(), client.peer()))
}

/// Connects to a peer.
pub async fn connect(peer: &RemoteJournalNode) -> Result<JournalNodeClient, String> {
    peer.connect().await.map_err(|error| error.to_string())
}

/// Whether an address of the configuration is this process.
async fn is_own(address: &HostPort, own: SocketAddr) -> bool {
    if address.port != own.port() {
        return false;
    }
    let Ok(mut found) = tokio::net::lookup_host((address.host.as_str(), address.port)).await else {
        return false;
    };
    found.any(|found| found.ip() == own.ip() || (own.ip().is_unspecified() && is_local(found.ip())))
}

/// Whether this machine has an address.
fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// The other JournalNodes of a journal, as far as they are known, and whether this process is one of its JournalNodes.
pub struct Others {
    /// All members except this process.
    pub peers: Vec<RemoteJournalNode>,
    /// Number of members, with this process if it is one.
    pub members: usize,
    /// Whether this process is a member.
    pub is_member: bool,
}

/// Finds the other JournalNodes by their addresses.
pub async fn others(addresses: &[HostPort], own: SocketAddr, envelope: &Arc<Envelope>) -> Others {
    let mut others = Others {
        peers: Vec::new(),
        members: addresses.len(),
        is_member: false,
    };
    for address in addresses {
        if !others.is_member && is_own(address, own).await {
            others.is_member = true;
        } else {
            others.peers.push(RemoteJournalNode {
                address: address.clone(),
                envelope: envelope.clone(),
                user: process_user().into(),
                connect_timeout: CONNECT_TIMEOUT,
            });
        }
    }
    others
}

/// Whether the host of a URL is one of these JournalNodes, by name or by address. A JournalNode itself decides only
/// scheme and port. Hadoop's writers name hosts as they are in the NameNode's configuration, which may differ from this
/// one.
pub async fn is_at(url: &str, members: &[HostPort]) -> bool {
    let Some(host) = host_of(url) else {
        return false;
    };
    if members.iter().any(|member| member.host.eq_ignore_ascii_case(host)) {
        return true;
    }
    let mut known = Vec::new();
    for member in members {
        if let Ok(found) = tokio::net::lookup_host((member.host.as_str(), member.port)).await {
            known.extend(found.map(|found| found.ip()));
        }
    }
    match tokio::net::lookup_host((host, 0)).await {
        Ok(mut found) => found.any(|found| known.contains(&found.ip())),
        Err(_) => false,
    }
}

/// The host of an `http` or `https` URL.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    if authority.contains('@') {
        return None;
    }
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_segment_is_fetched_from_a_journalnode_of_the_journal_only() {
        let at = |host: &str| HostPort {
            host: host.into(),
            port: 8485,
        };
        let members = [at("127.0.0.1"), at("jn2.invalid")];
        for known in [
            "http://127.0.0.1:8480/getJournal?jid=ns",
            "https://JN2.invalid/getJournal",
            "http://localhost:1/getJournal",
        ] {
            assert!(is_at(known, &members).await, "{known}");
        }
        for foreign in [
            "http://127.0.0.2:8480/getJournal",
            "http://127.0.0.1@127.0.0.2/getJournal",
            "http://[::2]:8480/",
            "file:///etc/passwd",
            "127.0.0.1:8480",
            "http://",
        ] {
            assert!(!is_at(foreign, &members).await, "{foreign}");
        }
    }

    #[tokio::test]
    async fn knows_itself() {
        let own = "127.0.0.1:4242".parse().unwrap();
        let at = |host: &str, port| HostPort {
            host: host.into(),
            port,
        };
        assert!(is_own(&at("127.0.0.1", 4242), own).await);
        assert!(!is_own(&at("127.0.0.1", 4243), own).await);
        assert!(!is_own(&at("127.0.0.2", 4242), own).await);
        assert!(is_own(&at("127.0.0.1", 4242), "0.0.0.0:4242".parse().unwrap()).await);
    }
}
