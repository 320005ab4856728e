//! What an administrator does to the shared edits while no NameNode writes them: format, fill from the local edits, and
//! look whether they hold enough for a new standby.

use crate::identity;
use crate::journalnodes;
use crate::settings::Settings;
use anyhow::{Context, bail};
use bytes::Bytes;
use hathi_conf::JournalUri;
use hathi_formats::editlog::{Frames, SEGMENT_HEADER_LEN, SegmentHeader};
use hathi_formats::ids::{Epoch, LayoutVersion, NamespaceInfo, TxId};
use hathi_journal::directory::SharedDirectory;
use hathi_journal::lease::LeaseProof;
use hathi_journal::messages::{LeaseRequest, RequestInfo};
use hathi_journal::segments::Segments;
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Request};
use hathi_journalclient::{JournalNodes, Readers};
use hathi_nameserver::journal_namespaces::Verdict;
use hathi_namesystem::edit_log::BATCH_BYTES_MAX;
use hathi_storage::OsDisk;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `dfs.qjm.operations.timeout`.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the last transactions of an active may be on their way to the shared edits.
const ON_THEIR_WAY: Duration = Duration::from_secs(5);
const ON_THEIR_WAY_PAUSE: Duration = Duration::from_millis(100);

/// The shared edits of the configuration.
pub enum SharedEdits {
    /// JournalNodes.
    Quorum(JournalNodes),
    /// A directory.
    Directory(PathBuf, SharedDirectory<OsDisk>),
}

/// What shared edits hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing.
    None,
    /// The beginnings of the namespace that was asked about.
    Expected,
    /// Something else.
    Other,
}

/// Hadoop's name of a directory in its questions.
pub(crate) fn storage_directory(dir: &Path) -> String {
    format!("Storage Directory root= {}; location= null", dir.display())
}

impl fmt::Display for SharedEdits {
    /// As Hadoop names them when it asks whether to format.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SharedEdits::Quorum(nodes) => {
                let addresses: Vec<String> = nodes.addresses().iter().map(ToString::to_string).collect();
                write!(f, "QJM to [{}]", addresses.join(", "))
            }
            SharedEdits::Directory(path, _) => f.write_str(&storage_directory(path)),
        }
    }
}

impl SharedEdits {
    /// Those of the configuration, if there are any.
    #[must_use]
    pub fn of(settings: &Settings) -> Option<SharedEdits> {
        match settings.shared.as_ref()? {
            JournalUri::Quorum { .. } => journalnodes::configured(settings).map(SharedEdits::Quorum),
            JournalUri::File(path) => Some(SharedEdits::Directory(path.clone(), SharedDirectory::new(OsDisk, path))),
        }
    }

    /// Whether a format would destroy something. All JournalNodes must answer.
    pub async fn has_some_data(&self) -> anyhow::Result<bool> {
        match self {
            SharedEdits::Quorum(nodes) => {
                let mut any = false;
                for index in nodes.members() {
                    any |= is_formatted(nodes, index).await?;
                }
                Ok(any)
            }
            SharedEdits::Directory(_, directory) => Ok(directory.has_some_data()?),
        }
    }

    /// Whether a format would destroy something else than the beginnings of `expected`, a namespace that nobody has served
    /// yet. All JournalNodes must answer.
    pub async fn contents(&self, expected: Option<&NamespaceInfo>) -> anyhow::Result<Contents> {
        if !self.has_some_data().await? {
            return Ok(Contents::None);
        }
        let Some(expected) = expected else {
            return Ok(Contents::Other);
        };
        let as_expected = match self {
            SharedEdits::Quorum(nodes) => {
                let mut as_expected = true;
                for index in nodes.members() {
                    as_expected &= !is_formatted(nodes, index).await? || holds(nodes, index, expected).await;
                }
                as_expected
            }
            SharedEdits::Directory(_, directory) => {
                directory.check_namespace(expected).is_ok() && directory.ranges()?.is_empty()
            }
        };
        Ok(if as_expected {
            Contents::Expected
        } else {
            Contents::Other
        })
    }

    /// Empties them and makes them this namespace's. Unless data may go, only what holds none: where another NameNode was
    /// faster, this one is refused. All go to the JournalNodes in the same order, so that one of them gets all.
    pub async fn format(&self, info: &NamespaceInfo, data_may_go: bool) -> anyhow::Result<()> {
        match self {
            SharedEdits::Quorum(nodes) => {
                let mut members = nodes.members();
                members.sort_by_key(|index| nodes.address(*index).map(|address| address.to_string()));
                for index in members {
                    if !data_may_go && is_formatted(nodes, index).await? && holds(nodes, index, info).await {
                        continue;
                    }
                    let request = Request::Format {
                        ns_info: info.clone(),
                        force: data_may_go,
                    };
                    let formatted = ask(nodes, index, &request).await;
                    formatted.context(
                        "a JournalNode was not formatted. If another NameNode was formatted meanwhile, run hdfs namenode \
                         -bootstrapStandby here; otherwise run this again, and it goes on",
                    )?;
                    let journalnode = nodes.address(index).map(|address| address.to_string());
                    tracing::info!(journalnode, "formatted a JournalNode");
                }
            }
            SharedEdits::Directory(_, directory) => {
                if data_may_go || directory.check_namespace(info).is_err() {
                    directory.format(info, data_may_go)?;
                }
            }
        }
        Ok(())
    }

    /// Copies segments into freshly formatted shared edits (`NameNode.copyEditLogSegmentsToSharedDir`); every JournalNode
    /// gets all of it. Answers the last transaction.
    pub async fn copy(&self, info: &NamespaceInfo, local: &LocalSegments) -> anyhow::Result<Option<TxId>> {
        match self {
            SharedEdits::Quorum(nodes) => {
                for index in nodes.members() {
                    copy_to_journalnode(nodes, index, info, local).await?;
                }
            }
            SharedEdits::Directory(_, directory) => {
                let (mut journal, _) = directory.clone().claim(info, "initializeSharedEdits", 0)?;
                for segment in &local.segments {
                    let edits = segment.read()?;
                    journal.start_segment(segment.first, edits.layout)?;
                    for batch in &edits.batches {
                        journal.append(segment.first, batch.first, batch.count, &batch.bytes)?;
                    }
                    journal.finalize_segment(segment.first, segment.last)?;
                }
                journal.release()?;
            }
        }
        Ok(local.segments.last().map(|segment| segment.last))
    }

    /// Whether a NameNode that has an image up to the transaction before `first` finds everything up to `last` here.
    pub async fn check_available(&self, info: &NamespaceInfo, first: TxId, last: TxId) -> anyhow::Result<()> {
        let started = Instant::now();
        if let SharedEdits::Quorum(nodes) = self {
            nodes.discover().await;
        }
        loop {
            let found = match self {
                _ if first > last => return Ok(()),
                SharedEdits::Quorum(nodes) => last_at_journalnodes(nodes, first).await?,
                SharedEdits::Directory(_, directory) => {
                    directory.check_namespace(info)?;
                    directory.last_from(first)?
                }
            };
            match found {
                Some(found) if found >= last => return Ok(()),
                _ if started.elapsed() < ON_THEIR_WAY => tokio::time::sleep(ON_THEIR_WAY_PAUSE).await,
                Some(found) => bail!("there is a gap in the edit log: it has {first} to {found}, and {last} is needed"),
                None => bail!("there is a gap in the edit log: {first} is missing"),
            }
        }
    }
}

async fn ask(nodes: &JournalNodes, index: usize, request: &Request) -> anyhow::Result<Answer> {
    let address = nodes
        .address(index)
        .map(|address| address.to_string())
        .unwrap_or_default();
    let fail = |error: CallError| anyhow::anyhow!("{address}: {error}");
    let client = nodes.connect(index).await.map_err(fail)?;
    client.send(request, JOURNAL_TIMEOUT).await.map_err(fail)
}

async fn is_formatted(nodes: &JournalNodes, index: usize) -> anyhow::Result<bool> {
    match ask(nodes, index, &Request::IsFormatted).await? {
        Answer::IsFormatted(formatted) => Ok(formatted),
        answer => bail!("unexpected answer to isFormatted: {answer:?}"),
    }
}

/// Whether a JournalNode says that its journal is this namespace's.
async fn holds(nodes: &JournalNodes, index: usize, info: &NamespaceInfo) -> bool {
    let readers = Arc::new(Readers::new(nodes.clone()));
    identity::ask(&readers, index, info).await == Verdict::Ours
}

/// The last transaction of an unbroken row from `first` on at the JournalNode that has most.
async fn last_at_journalnodes(nodes: &JournalNodes, first: TxId) -> anyhow::Result<Option<TxId>> {
    let (mut best, mut problem) = (None, None);
    let mut answers = 0;
    let request = Request::GetEditLogManifest {
        since: first,
        in_progress_ok: true,
        from_journal: false,
    };
    for index in nodes.members() {
        match ask(nodes, index, &request).await {
            Ok(Answer::Manifest(mut manifest)) => {
                answers += 1;
                manifest.segments.sort_by_key(|segment| segment.start);
                let mut last = None;
                for segment in &manifest.segments {
                    let next = last.map_or(first, TxId::next);
                    if segment.start <= next && segment.end.is_some_and(|end| end >= next) {
                        last = segment.end;
                    }
                }
                best = best.max(last);
            }
            Ok(answer) => bail!("unexpected answer to getEditLogManifest: {answer:?}"),
            Err(error) => problem = Some(error),
        }
    }
    match problem {
        Some(problem) if answers == 0 => Err(problem),
        _ => Ok(best),
    }
}

async fn copy_to_journalnode(
    nodes: &JournalNodes,
    index: usize,
    info: &NamespaceInfo,
    local: &LocalSegments,
) -> anyhow::Result<()> {
    if local.segments.is_empty() {
        return Ok(());
    }
    // It has just been formatted, so nobody else has an epoch.
    let epoch = Epoch(1);
    let mut serial = 0;
    let mut next = || {
        serial += 1;
        RequestInfo {
            epoch,
            serial,
            committed: None,
            lease: None,
        }
    };
    let new_epoch = Request::NewEpoch {
        ns_info: info.clone(),
        epoch,
        // Of no length: it tells that no writer of Hadoop is at work here.
        lease: Some(LeaseRequest {
            ms: 0,
            holder: "initializeSharedEdits".into(),
            proof: LeaseProof(uuid::Uuid::new_v4().as_u128()),
        }),
        established: false,
    };
    ask(nodes, index, &new_epoch).await?;
    for segment in &local.segments {
        let edits = segment.read()?;
        let start = Request::StartLogSegment {
            info: next(),
            txid: segment.first,
            layout_version: Some(edits.layout),
        };
        ask(nodes, index, &start).await?;
        for batch in edits.batches {
            let journal = Request::Journal {
                info: next(),
                segment: segment.first,
                first: batch.first,
                count: batch.count,
                records: batch.bytes,
            };
            ask(nodes, index, &journal).await?;
        }
        let finalize = Request::FinalizeLogSegment {
            info: next(),
            start: segment.first,
            end: segment.last,
        };
        ask(nodes, index, &finalize).await?;
    }
    Ok(())
}

/// The segments of the local edits directories after an image, without a gap.
#[derive(Debug)]
pub struct LocalSegments {
    segments: Vec<LocalSegment>,
}

/// Transactions `first ..= last` of a file.
#[derive(Debug)]
struct LocalSegment {
    path: PathBuf,
    first: TxId,
    last: TxId,
}

struct Batch {
    first: TxId,
    count: u32,
    bytes: Bytes,
}

struct LocalEditsRead {
    layout: LayoutVersion,
    batches: Vec<Batch>,
}

impl LocalSegments {
    /// Looks through `current` directories; open segments count as far as they are whole.
    pub fn after(dirs: &[PathBuf], image: TxId) -> anyhow::Result<LocalSegments> {
        let mut found = Vec::new();
        for dir in dirs {
            let segments = Segments::new(OsDisk, dir.clone());
            for name in segments.list().with_context(|| dir.display().to_string())? {
                let path = segments.path(&name);
                // A finalized one is scanned as well: of several copies a whole one is wanted.
                let scan = segments.scan_file(&path, name.start);
                let last = scan.with_context(|| path.display().to_string())?.last;
                let promised = name.end.or(last);
                if let Some(promised) = promised.filter(|promised| *promised > image) {
                    found.push((name.start, last.unwrap_or(TxId(0)), promised, path));
                }
            }
        }
        let mut segments: Vec<LocalSegment> = Vec::new();
        let mut next = image.next();
        loop {
            let holding = found.iter().filter(|(start, last, ..)| *start <= next && *last >= next);
            let Some((_, last, _, path)) = holding.max_by_key(|(_, last, ..)| *last) else {
                break;
            };
            segments.push(LocalSegment {
                path: path.clone(),
                first: next,
                last: *last,
            });
            next = last.next();
        }
        if let Some((.., promised, path)) = found.iter().find(|(.., promised, _)| *promised >= next) {
            bail!(
                "the local edits have a gap or are damaged: {next} is missing, but {} should go up to {promised}. \
                 Save the namespace first (hdfs dfsadmin -saveNamespace)",
                path.display()
            );
        }
        Ok(LocalSegments { segments })
    }
}

impl LocalSegments {
    /// The files, and the last transaction of each.
    pub fn files(&self) -> impl Iterator<Item = (&Path, TxId)> {
        let segments = self.segments.iter();
        segments.map(|segment| (segment.path.as_path(), segment.last))
    }
}

impl LocalSegment {
    fn read(&self) -> anyhow::Result<LocalEditsRead> {
        read_batches(&self.path, self.first, self.last).with_context(|| self.path.display().to_string())
    }
}

fn read_batches(path: &Path, first: TxId, last: TxId) -> anyhow::Result<LocalEditsRead> {
    let data = Bytes::from(std::fs::read(path)?);
    let layout = SegmentHeader::decode(&data)?.layout_version;
    let mut frames = Frames::new(
        data.get(SEGMENT_HEADER_LEN..).unwrap_or_default(),
        SEGMENT_HEADER_LEN as u64,
    );
    let mut batches: Vec<Batch> = Vec::new();
    let (mut begin, mut batch_first, mut count) = (0, first, 0);
    while let Some(frame) = frames.next_frame()? {
        if frame.txid < first {
            continue;
        }
        let range = frame.range();
        if count == 0 {
            (begin, batch_first) = (range.start as usize, frame.txid);
        }
        count += 1;
        let len = range.end as usize - begin;
        if len >= BATCH_BYTES_MAX || frame.txid == last {
            batches.push(Batch {
                first: batch_first,
                count,
                bytes: data.slice(begin..begin + len),
            });
            count = 0;
        }
        if frame.txid == last {
            return Ok(LocalEditsRead { layout, batches });
        }
    }
    bail!("the file ends before transaction {last}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::editlog::{EditOp, encode};
    use hathi_journal::segments::SegmentName;

    fn segment(dir: &Path, name: &SegmentName, txids: std::ops::RangeInclusive<u64>) {
        let mut data = SegmentHeader::CURRENT.encode().to_vec();
        for txid in txids {
            encode(&mut data, TxId(txid), &EditOp::StartLogSegment).unwrap();
        }
        std::fs::write(dir.join(name.file_name()), data).unwrap();
    }

    fn copied(dirs: &[PathBuf], image: u64) -> anyhow::Result<Vec<(u64, u64)>> {
        let local = LocalSegments::after(dirs, TxId(image))?;
        for segment in &local.segments {
            let batches = segment.read()?.batches;
            assert_eq!(batches[0].first, segment.first);
            let count: u32 = batches.iter().map(|batch| batch.count).sum();
            assert_eq!(u64::from(count), segment.last.0 + 1 - segment.first.0);
        }
        Ok(local.segments.iter().map(|s| (s.first.0, s.last.0)).collect())
    }

    #[test]
    fn segments_after_the_image_are_found_the_open_one_too_and_a_gap_is_refused() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dirs = [a.path().to_owned(), b.path().to_owned()];
        segment(a.path(), &SegmentName::finalized(TxId(1), TxId(4)), 1..=4);
        // Damaged in one directory, whole in the other.
        segment(a.path(), &SegmentName::finalized(TxId(5), TxId(9)), 5..=7);
        segment(b.path(), &SegmentName::finalized(TxId(5), TxId(9)), 5..=9);
        segment(a.path(), &SegmentName::in_progress(TxId(10)), 10..=12);
        assert_eq!(copied(&dirs, 2).unwrap(), [(3, 4), (5, 9), (10, 12)]);
        assert_eq!(copied(&dirs, 9).unwrap(), [(10, 12)]);
        assert_eq!(copied(&dirs, 12).unwrap(), []);
        let error = copied(&dirs[..1], 2).unwrap_err().to_string();
        assert!(error.contains("8 is missing"), "{error}");
    }
}
