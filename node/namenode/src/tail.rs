//! Reads the JournalNodes: the shell around [`hathi_nameserver::reading`]. A standby follows them, a starting NameNode catches
//! up with them, and a NameNode that becomes active reads the rest.

use crate::clock::Clock;
use crate::image_place::ImagePlace;
use anyhow::Context;
use hathi_formats::ids::TxId;
use hathi_journalclient::{JournalNodes, Readers};
use hathi_nameserver::reading::{Candidate, Got, Order, Progress, Purpose, ReadError, Reading, Sources};
use hathi_namesystem::Namesystem;
use hathi_namesystem::tailer::{Edits, TailError};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;

/// Number of transactions that are applied under one hold of the namesystem's lock, in about a millisecond.
const TXNS_PER_LOCK: usize = 1000;
/// Largest segment that is fetched over HTTP.
const SEGMENT_BYTES_MAX: usize = 2 << 30;

/// Reader of the JournalNodes; see the module.
pub struct Tail {
    pub(crate) replay: Replay,
    pub(crate) readers: Arc<Readers>,
    image_timeout: Duration,
    sources: parking_lot::Mutex<Sources>,
}

impl Tail {
    /// A reader that uses these connections. Whole segments may take `image_timeout` for each piece.
    #[must_use]
    pub fn new(replay: Replay, readers: Arc<Readers>, image_timeout: Duration) -> Self {
        Tail {
            replay,
            readers,
            image_timeout,
            sources: parking_lot::Mutex::default(),
        }
    }

    /// Notes whether a JournalNode knows our additions.
    pub fn learn(&self, index: usize, knows_extensions: bool) {
        self.sources.lock().learn(index, knows_extensions);
    }

    /// Whether a step waits at a JournalNode until there is something new.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.sources.lock().waits(&self.readers.nodes.members())
    }

    /// Whether a majority of the JournalNodes is ours, and so tells epochs and what is committed.
    #[must_use]
    pub fn knows_epochs(&self) -> bool {
        self.sources.lock().knows_epochs(&self.readers.nodes.members())
    }

    /// One step of a standby: waits up to a second for durable edits and applies them.
    pub async fn follow(&self) -> anyhow::Result<Progress> {
        self.read(Purpose::Follow).await
    }

    /// Applies all edits that are durable now.
    pub async fn catch_up(&self) -> anyhow::Result<()> {
        self.read(Purpose::CatchUp).await.map(drop)
    }

    /// Applies everything up to `last`, which a recovery has finalized.
    pub async fn catch_up_to(&self, last: TxId) -> anyhow::Result<()> {
        self.read(Purpose::CatchUpTo(last)).await.map(drop)
    }

    async fn read(&self, purpose: Purpose) -> anyhow::Result<Progress> {
        let mut reading = Reading::new(purpose, self.readers.nodes.members());
        let mut got = Got::Nothing;
        loop {
            let applied = self.replay.ns.read().edit_log().applied();
            let order = reading.on(got, applied, &mut self.sources.lock());
            got = match order {
                Order::Ask {
                    journalnode,
                    request,
                    timeout_ms,
                } => Got::Answer(self.readers.call(journalnode, &request, millis(timeout_ms)).await),
                Order::AskAll { request, timeout_ms } => {
                    Got::Answers(self.readers.call_all(&request, millis(timeout_ms)).await)
                }
                Order::Fetch(candidate) => {
                    let fetched = self.download(&candidate).await;
                    Got::Fetched(fetched.map_err(|error| format!("{error:#}")))
                }
                Order::Apply(edits) => Got::Applied(self.replay.apply(edits).await),
                Order::Done(progress) => return Ok(progress),
                Order::Failed(ReadError::Edits(error)) => {
                    return Err(error).context("edits cannot be applied");
                }
                Order::Failed(error @ ReadError::Unavailable(_)) => return Err(error.into()),
            };
        }
    }

    /// Fetches the file of a segment.
    pub(crate) async fn download(&self, candidate: &Candidate) -> anyhow::Result<bytes::Bytes> {
        let storage_info = self.replay.ns.read().info().to_colon_separated();
        download(&self.readers.nodes, &storage_info, candidate, self.image_timeout).await
    }
}

/// Fetches the file of a segment of the namespace with this storage info from a JournalNode.
pub(crate) async fn download(
    nodes: &JournalNodes,
    storage_info: &str,
    candidate: &Candidate,
    timeout: Duration,
) -> anyhow::Result<bytes::Bytes> {
    let segment = &candidate.segment;
    let host = nodes.address(candidate.journalnode).map(|address| address.host);
    let url = format!(
        "{}/getJournal?jid={}&segmentTxId={}&storageInfo={storage_info}&inProgressOk={}",
        with_host(&candidate.base, &host.unwrap_or_default()),
        nodes.journal_id(),
        segment.start,
        segment.in_progress
    );
    let (_, bytes) = hathi_net::http::get_bytes(&url, timeout, SEGMENT_BYTES_MAX).await?;
    Ok(bytes)
}

pub(crate) fn millis(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// Where edits are applied, and those who wait for what they bring.
#[derive(Clone)]
pub struct Replay {
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) images: Arc<ImagePlace>,
}

impl Replay {
    /// Applies edits in slices. Between two slices others get the lock.
    pub async fn apply(&self, mut edits: Edits) -> Result<Progress, TailError> {
        let applied = || self.ns.read().edit_log().applied();
        let adjusted = || self.ns.read().namespace().adjusted_replications();
        let before = applied();
        let all_alike = adjusted() == 0;
        loop {
            let more = edits.apply(&mut self.ns.write(), TXNS_PER_LOCK, self.clock.ms());
            match more {
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => break,
                Err(error) => {
                    if !matches!(error, TailError::Frame(_)) || applied() == before {
                        return Err(error);
                    }
                    break;
                }
            }
        }
        self.images.look_again();
        if all_alike && adjusted() > 0 {
            tracing::warn!(
                "edits name a replication outside of dfs.namenode.replication.min and dfs.replication.max: is another NameNode configured differently?"
            );
        }
        Ok(if applied() > before {
            Progress::Some
        } else {
            Progress::Nothing
        })
    }
}

/// The URL with the configured host, because the name that a JournalNode gives itself may not resolve here.
fn with_host(base: &str, host: &str) -> String {
    let (scheme, rest) = base.split_once("://").unwrap_or(("http", base));
    let authority = rest.split('/').next().unwrap_or(rest);
    let port = authority.rsplit_once(':').map_or("8480", |(_, port)| port);
    if host.contains(':') {
        format!("{scheme}://[{host}]:{port}")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_scheme_and_port_and_takes_the_configured_host() {
        assert_eq!(with_host("http://somewhere:8480", "jn1"), "http://jn1:8480");
        assert_eq!(with_host("https://x:1/", "::1"), "https://[::1]:1");
    }
}
