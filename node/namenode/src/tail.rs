//! Reads the shared journal. A standby follows it, a starting NameNode catches up with it, and a NameNode that becomes
//! active reads the rest.

use crate::journalnodes::Readers;
use crate::state::NameNode;
use anyhow::{Context, bail};
use hathi_formats::exceptions;
use hathi_formats::ids::TxId;
use hathi_journal::messages::{Manifest, ManifestSegment};
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Request};
use hathi_namesystem::history::Source;
use hathi_namesystem::tailer::{Edits, TailError, check_not_purged, durable_on_disk};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Number of transactions that are applied under one hold of the namesystem's lock, in about a millisecond.
const TXNS_PER_LOCK: usize = 1000;
/// `dfs.ha.tail-edits.qjm.rpc.max-txns`.
const MAX_TXNS_PER_CALL: u32 = 5000;
/// How long a JournalNode of ours may wait for the next edit, in ms.
const WAIT_MS: u32 = 1000;
/// After a recovery a JournalNode is told within this time in ms that its last edits are committed.
const COMMIT_WAIT_MS: u32 = 20;
/// Time limit of a call that waits for nothing.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of a call that is answered from memory, in addition to the wait that it asks for.
pub(crate) const MEMORY_TIMEOUT: Duration = Duration::from_secs(1);
/// Largest segment that is fetched over HTTP.
const SEGMENT_BYTES_MAX: usize = 2 << 30;

const KIND_UNKNOWN: u8 = 0;
const KIND_HATHI: u8 = 1;
const KIND_JAVA: u8 = 2;

/// Whether there may be more to read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Transactions were applied.
    Some,
    /// There is nothing new that is durable.
    Nothing,
}

/// Reader of the JournalNodes; see the module.
pub struct Tail {
    pub(crate) nn: Arc<NameNode>,
    pub(crate) readers: Arc<Readers>,
    /// Kind of each JournalNode, by its index.
    kinds: parking_lot::RwLock<BTreeMap<usize, u8>>,
    /// Position of the preferred JournalNode among the members.
    preferred: AtomicUsize,
}

impl Tail {
    /// A reader that uses these connections.
    #[must_use]
    pub fn new(nn: Arc<NameNode>, readers: Arc<Readers>) -> Self {
        Tail {
            nn,
            readers,
            kinds: parking_lot::RwLock::default(),
            preferred: AtomicUsize::new(0),
        }
    }

    /// Notes whether a JournalNode knows our additions.
    pub fn learn(&self, index: usize, knows_extensions: bool) {
        let kind = if knows_extensions { KIND_HATHI } else { KIND_JAVA };
        if self.kind(index) != kind {
            self.kinds.write().insert(index, kind);
        }
    }

    /// Whether a step waits at a JournalNode until there is something new.
    #[must_use]
    pub fn waits(&self) -> bool {
        let members = self.readers.nodes.members().into_iter();
        members.map(|index| self.kind(index)).any(|kind| kind == KIND_HATHI)
    }

    /// Whether a majority of the JournalNodes is ours, and so tells epochs and what is committed.
    #[must_use]
    pub fn knows_epochs(&self) -> bool {
        let members = self.readers.nodes.members().into_iter();
        let ours = members.filter(|index| self.kind(*index) == KIND_HATHI).count();
        ours >= self.readers.nodes.majority()
    }

    fn kind(&self, index: usize) -> u8 {
        self.kinds.read().get(&index).copied().unwrap_or(KIND_UNKNOWN)
    }

    fn applied(&self) -> TxId {
        self.nn.ns.read().edit_log.applied()
    }

    /// One step of a standby: waits up to a second for durable edits and applies them.
    pub async fn follow(&self) -> anyhow::Result<Progress> {
        self.step(WAIT_MS).await
    }

    /// Applies all edits that are durable now.
    pub async fn catch_up(&self) -> anyhow::Result<()> {
        while self.step(0).await? == Progress::Some {}
        Ok(())
    }

    /// Applies everything up to `last`, which a recovery has finalized.
    pub async fn catch_up_to(&self, last: TxId) -> anyhow::Result<()> {
        while self.applied() < last {
            let since = self.applied().next();
            // Our JournalNodes have the edits that they know to be committed in memory. In the usual case nothing else
            // is needed.
            if self.read_caches(since).await? == Progress::Some {
                continue;
            }
            if self.read_segments(false).await? == Progress::Nothing {
                bail!("transaction {since} of {last} is on no JournalNode that answers");
            }
        }
        if self.applied() != last {
            bail!("applied {} although the journal ends with {last}", self.applied());
        }
        Ok(())
    }

    async fn step(&self, wait_ms: u32) -> anyhow::Result<Progress> {
        let since = self.applied().next();
        let mut problem = None;
        for index in self.order() {
            if self.kind(index) == KIND_JAVA {
                continue;
            }
            match self.read_cache(index, since, wait_ms).await {
                Ok(Progress::Some) => {
                    self.prefer(index, 0);
                    return Ok(Progress::Some);
                }
                // The wait was in vain: nothing is new. Without a wait, another JournalNode may know more.
                Ok(Progress::Nothing) if wait_ms > 0 && self.kind(index) == KIND_HATHI => {
                    // This JournalNode may be one that hears nothing, so the next wait is at another one.
                    self.prefer(index, 1);
                    return Ok(Progress::Nothing);
                }
                Ok(Progress::Nothing) => {}
                Err(error) => {
                    self.prefer(index, 1);
                    problem = Some(error);
                }
            }
        }
        if self.by_majority(since).await? == Progress::Some {
            return Ok(Progress::Some);
        }
        let progress = self.read_segments(true).await;
        match (progress, problem) {
            (Ok(Progress::Nothing), Some(problem)) if wait_ms > 0 => {
                tracing::debug!(%problem, "nothing to tail");
                Ok(Progress::Nothing)
            }
            (progress, _) => progress,
        }
    }

    /// The members, the preferred one first.
    fn order(&self) -> Vec<usize> {
        let mut members = self.readers.nodes.members();
        let first = self.preferred.load(Ordering::Relaxed) % members.len().max(1);
        members.rotate_left(first);
        members
    }

    /// Lets the next step begin at this member, or at one `behind` positions after it.
    fn prefer(&self, index: usize, behind: usize) {
        let place = self.readers.nodes.members().iter().position(|member| *member == index);
        self.preferred.store(place.unwrap_or(0) + behind, Ordering::Relaxed);
    }

    /// Reads from the memory of a JournalNode that tells what is committed.
    async fn read_cache(&self, index: usize, since: TxId, wait_ms: u32) -> anyhow::Result<Progress> {
        let request = committed_edits(since, wait_ms);
        let timeout = MEMORY_TIMEOUT + Duration::from_millis(u64::from(wait_ms));
        match self.readers.call(index, &request, timeout).await {
            Ok(Answer::JournaledEdits {
                count,
                edit_log,
                committed: Some(committed),
            }) => {
                self.learn(index, true);
                match edit_log {
                    Some(bytes) if count > 0 => apply(&self.nn, Edits::new(bytes, committed, Source::Open)?).await,
                    _ => Ok(Progress::Nothing),
                }
            }
            // A JournalNode that does not tell what is committed must be read together with others.
            Ok(Answer::JournaledEdits { .. }) => Ok(Progress::Nothing),
            Ok(answer) => bail!("unexpected answer to getJournaledEdits: {answer:?}"),
            Err(CallError::Remote(exception)) if exception.is(exceptions::CACHE_MISS) => {
                Ok(self.read_segments(true).await?)
            }
            Err(CallError::Remote(exception)) => bail!("{exception}"),
            Err(CallError::Broken(reason)) => bail!("{reason}"),
        }
    }

    /// Reads from the memory of the JournalNode of ours that has most. A hanging one delays nobody.
    async fn read_caches(&self, since: TxId) -> anyhow::Result<Progress> {
        let request = committed_edits(since, COMMIT_WAIT_MS);
        let answers = self.readers.call_all(&request, MEMORY_TIMEOUT).await;
        let most = answers
            .into_iter()
            .filter_map(|(_, answer)| match answer {
                Ok(Answer::JournaledEdits {
                    count,
                    edit_log: Some(bytes),
                    committed: Some(committed),
                }) => Some((count, bytes, committed)),
                _ => None,
            })
            .max_by_key(|(count, ..)| *count);
        match most {
            Some((_, bytes, committed)) => apply(&self.nn, Edits::new(bytes, committed, Source::Open)?).await,
            None => Ok(Progress::Nothing),
        }
    }

    /// Reads from the memory of Java JournalNodes, as far as a majority has the edits on disk. Edits in their memory
    /// may be on no disk, because they give them to readers before they sync them (HDFS-17710). So their manifests are
    /// read first.
    async fn by_majority(&self, since: TxId) -> anyhow::Result<Progress> {
        let request = Request::GetJournaledEdits {
            since,
            max_txns: MAX_TXNS_PER_CALL,
            wait_ms: 0,
            committed_only: false,
        };
        let members = self.readers.nodes.members().into_iter();
        if members.map(|index| self.kind(index)).all(|kind| kind == KIND_HATHI) {
            return Ok(Progress::Nothing);
        }
        let Ok(manifests) = self.manifests(since, true).await else {
            return Ok(Progress::Nothing);
        };
        let told: Vec<_> = manifests.iter().map(|(_, manifest)| on_disk(manifest)).collect();
        let members = self.readers.nodes.members().len();
        let Some(durable) = durable_on_disk(&told, members).filter(|durable| *durable >= since) else {
            return Ok(Progress::Nothing);
        };
        let mut best: Option<(u32, bytes::Bytes)> = None;
        for (_, answer) in self.readers.call_all(&request, CALL_TIMEOUT).await {
            if let Ok(Answer::JournaledEdits {
                count,
                edit_log: Some(bytes),
                ..
            }) = answer
                && best.as_ref().is_none_or(|(most, _)| *most < count)
            {
                best = Some((count, bytes));
            }
        }
        match best {
            Some((_, bytes)) => apply(&self.nn, Edits::new(bytes, durable, Source::Open)?).await,
            None => Ok(Progress::Nothing),
        }
    }

    /// The segments that a majority of the JournalNodes names.
    pub(crate) async fn manifests(&self, since: TxId, in_progress: bool) -> anyhow::Result<Vec<(usize, Manifest)>> {
        let request = Request::GetEditLogManifest {
            since,
            in_progress_ok: in_progress,
            from_journal: false,
        };
        let answers = self.readers.call_all(&request, CALL_TIMEOUT).await;
        let mut manifests = Vec::new();
        let mut problem = String::new();
        for (index, answer) in answers {
            match answer {
                Ok(Answer::Manifest(manifest)) => manifests.push((index, manifest)),
                Ok(_) => {}
                Err(CallError::Remote(exception)) => problem = exception.to_string(),
                Err(CallError::Broken(reason)) => problem = reason,
            }
        }
        if manifests.len() < self.readers.nodes.majority() {
            bail!("no majority of JournalNodes tells its segments: {problem}");
        }
        Ok(manifests)
    }

    /// Reads segment files over HTTP: finalized ones and, with `in_progress`, the committed part of the open one.
    async fn read_segments(&self, in_progress: bool) -> anyhow::Result<Progress> {
        let since = self.applied().next();
        let manifests = self.manifests(since, in_progress).await?;
        let segments = manifests.iter().flat_map(|(_, manifest)| &manifest.segments);
        let ranges = segments.map(|segment| (segment.start, segment.end.unwrap_or(TxId(u64::MAX))));
        check_not_purged(since, ranges)?;
        let mut last_error = None;
        for candidate in candidates(&manifests, since) {
            match self.fetch(&candidate).await {
                Ok(Progress::Some) => return Ok(Progress::Some),
                Ok(Progress::Nothing) => {}
                Err(error) => last_error = Some(error),
            }
        }
        match last_error {
            Some(error) => Err(error),
            None => Ok(Progress::Nothing),
        }
    }

    async fn fetch(&self, candidate: &Candidate) -> anyhow::Result<Progress> {
        let bytes = self.download(candidate).await?;
        apply(&self.nn, Edits::new(bytes, candidate.limit, candidate.source())?).await
    }

    /// Fetches the file of a segment.
    pub(crate) async fn download(&self, candidate: &Candidate) -> anyhow::Result<bytes::Bytes> {
        let nodes = &self.readers.nodes;
        let segment = &candidate.segment;
        let host = nodes.address(candidate.index).map(|address| address.host);
        let storage_info = self.nn.ns.read().info.to_colon_separated();
        let url = format!(
            "{}/getJournal?jid={}&segmentTxId={}&storageInfo={storage_info}&inProgressOk={}",
            with_host(&candidate.base, &host.unwrap_or_default()),
            nodes.journal_id,
            segment.start,
            segment.in_progress
        );
        let timeout = self.nn.settings.image_timeout;
        let (_, bytes) = hathi_net::http::get_bytes(&url, timeout, SEGMENT_BYTES_MAX).await?;
        Ok(bytes)
    }
}

/// The last transaction that a JournalNode has on disk, and the last one that it knows to be on a majority. Of the open
/// segment Hadoop's names the last written one, and counts as written only what is synced or committed.
fn on_disk(manifest: &Manifest) -> (Option<TxId>, Option<TxId>) {
    let last = manifest.segments.iter().filter_map(|segment| segment.end).max();
    (last, manifest.committed)
}

/// Asks a JournalNode of ours for edits in memory that it knows to be committed.
pub(crate) fn committed_edits(since: TxId, wait_ms: u32) -> Request {
    Request::GetJournaledEdits {
        since,
        max_txns: MAX_TXNS_PER_CALL,
        wait_ms,
        committed_only: true,
    }
}

/// Applies edits in slices. Between two slices others get the lock.
pub async fn apply(nn: &NameNode, mut edits: Edits) -> anyhow::Result<Progress> {
    let applied = || nn.ns.read().edit_log.applied();
    let adjusted = || nn.ns.read().namespace.adjusted_replications();
    let before = applied();
    let all_alike = adjusted() == 0;
    loop {
        let more = edits.apply(&mut nn.ns.write(), TXNS_PER_LOCK, nn.clock.ms());
        match more {
            Ok(true) => tokio::task::yield_now().await,
            Ok(false) => break,
            Err(error) => {
                if !matches!(error, TailError::Frame(_)) || applied() == before {
                    return Err(error).context("edits cannot be applied");
                }
                break;
            }
        }
    }
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

/// A segment at one JournalNode.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    index: usize,
    segment: ManifestSegment,
    /// The last transaction that may be read from it.
    pub(crate) limit: TxId,
    /// Base of its URL.
    base: String,
}

impl Candidate {
    /// Whether its content stays for good.
    pub(crate) fn source(&self) -> Source {
        if self.segment.in_progress {
            Source::Open
        } else {
            Source::Finalized
        }
    }
}

/// The segments that hold `since`, finalized ones first.
pub(crate) fn candidates(manifests: &[(usize, Manifest)], since: TxId) -> Vec<Candidate> {
    let mut found = Vec::new();
    for (index, manifest) in manifests {
        let base = manifest
            .from_url
            .clone()
            .unwrap_or_else(|| format!("http://-:{}", manifest.http_port));
        for segment in &manifest.segments {
            let Some(end) = segment.end else { continue };
            let limit = match (segment.in_progress, manifest.committed) {
                (false, _) => end,
                (true, Some(committed)) => committed.min(end),
                (true, None) => continue,
            };
            if segment.start <= since && since <= limit {
                found.push(Candidate {
                    index: *index,
                    segment: *segment,
                    limit,
                    base: base.clone(),
                });
            }
        }
    }
    found.sort_by_key(|found| (found.segment.in_progress, std::cmp::Reverse(found.limit)));
    found
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

    #[test]
    fn finalized_segments_come_first_and_open_ones_end_at_the_commit() {
        let segment = |start, end, in_progress| ManifestSegment {
            start: TxId(start),
            end: Some(TxId(end)),
            in_progress,
        };
        let manifest = |segments, committed| Manifest {
            segments,
            committed,
            http_port: 1,
            from_url: None,
        };
        let manifests = [
            (0, manifest(vec![segment(1, 9, true)], Some(TxId(6)))),
            (1, manifest(vec![segment(1, 5, false), segment(6, 9, true)], None)),
            (2, manifest(vec![segment(1, 9, true)], Some(TxId(4)))),
        ];
        let found: Vec<_> = candidates(&manifests, TxId(5))
            .iter()
            .map(|found| (found.index, found.segment.in_progress, found.limit.0))
            .collect();
        assert_eq!(found, [(1, false, 5), (0, true, 6)]);
    }
}
