//! `-rollingUpgrade rollback`: the namespace becomes what it was when the rolling upgrade began, and edits behind that are
//! put aside everywhere (`FSImage.rollingRollback`).
//!
//! The order is that of [`hathi_nameserver::name_dirs::rollback`]: first the edits, then the images. What was interrupted
//! is ended by a repetition.

use crate::journalnodes;
use crate::load::newest_of;
use crate::settings::Settings;
use crate::startup::LoadProgress;
use crate::storage::NameDirs;
use anyhow::{Context, bail, ensure};
use hathi_conf::JournalUri;
use hathi_formats::ids::{Epoch, NamespaceInfo, TxId};
use hathi_journal::directory::SharedDirectory;
use hathi_journal::errors::is_lease_held;
use hathi_journal::lease::LeaseProof;
use hathi_journal::messages::LeaseRequest;
use hathi_journal::segments::Segments;
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Request};
use hathi_journalclient::JournalNodes;
use hathi_storage::OsDisk;
use std::path::PathBuf;
use std::time::Duration;

/// `dfs.qjm.operations.timeout`.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the lease of a NameNode that does not live any more may run.
const LEASE_WAIT: Duration = Duration::from_secs(5);
const LEASE_PAUSE: Duration = Duration::from_millis(100);
/// Who claims the edits meanwhile.
const HOLDER: &str = "rollingUpgradeRollback";

/// Rolls back. No NameNode may serve meanwhile.
///
/// # Errors
/// There is nothing to roll back to, a JournalNode does not answer, or another NameNode is active.
pub async fn roll_back(settings: &Settings) -> anyhow::Result<()> {
    let dirs = NameDirs::open(settings)?;
    let images = dirs.rollback_images();
    ensure!(
        !images.is_empty(),
        "there is no rollback image in the name directories, so no rolling upgrade can be rolled back here"
    );
    // Read to its end, because there is no way back from here.
    let (image, _) = newest_of(images, &settings.namespace()?, &LoadProgress::default())?;
    let (to, first) = (image.txid, image.txid.next());
    tracing::info!(image = %image.path.display(), "rolling back: what was changed after transaction {to} is given up");
    match &settings.shared {
        Some(JournalUri::Quorum { .. }) => {
            let nodes = journalnodes::configured(settings).context("no JournalNode is configured")?;
            if let Some(membership) = dirs.membership() {
                nodes.learn(&membership);
            }
            discard_at_journalnodes(&nodes, &dirs.info, first).await?;
        }
        Some(JournalUri::File(path)) => discard_in_shared(path.clone(), &dirs.info, first).await?,
        None => {}
    }
    for dir in dirs.edits_dirs() {
        let segments = Segments::new(OsDisk, dir.clone());
        // Beside shared edits these are a copy, of which a part that is missing does not matter.
        discard(&segments, first, settings.is_single()).with_context(|| dir.display().to_string())?;
    }
    dirs.roll_back_to(to)
        .map_err(|failure| anyhow::Error::from(failure.error).context(failure.path.display().to_string()))?;
    tracing::info!(%to, "rolled back");
    Ok(())
}

/// All of them, as in Hadoop: one that keeps the edits could bring them back. First each promises a new epoch, which a
/// NameNode that still holds the lease does not let it.
async fn discard_at_journalnodes(nodes: &JournalNodes, info: &NamespaceInfo, first: TxId) -> anyhow::Result<()> {
    let mut promised = Epoch(0);
    for index in nodes.members() {
        match ask(nodes, index, &Request::GetJournalState).await? {
            Answer::JournalState { promised_epoch, .. } => promised = promised.max(promised_epoch),
            answer => bail!("unexpected answer to getJournalState: {answer:?}"),
        }
    }
    let new_epoch = Request::NewEpoch {
        ns_info: info.clone(),
        epoch: Epoch(promised.0.saturating_add(1)),
        // Of no length: it tells that no writer of Hadoop is at work here.
        lease: Some(LeaseRequest {
            ms: 0,
            holder: HOLDER.into(),
            proof: LeaseProof(uuid::Uuid::new_v4().as_u128()),
        }),
        established: false,
    };
    for index in nodes.members() {
        promise(nodes, index, &new_epoch).await?;
    }
    for index in nodes.members() {
        ask(nodes, index, &Request::DiscardSegments { start: first }).await?;
    }
    Ok(())
}

/// Waits for the end of the lease of a NameNode that was just killed.
async fn promise(nodes: &JournalNodes, index: usize, new_epoch: &Request) -> anyhow::Result<()> {
    let give_up = tokio::time::Instant::now() + LEASE_WAIT;
    loop {
        match send(nodes, index, new_epoch).await {
            Err(CallError::Remote(refusal)) if is_lease_held(&refusal) && tokio::time::Instant::now() < give_up => {
                tokio::time::sleep(LEASE_PAUSE).await;
            }
            answer => return named(nodes, index, answer).map(drop),
        }
    }
}

async fn ask(nodes: &JournalNodes, index: usize, request: &Request) -> anyhow::Result<Answer> {
    named(nodes, index, send(nodes, index, request).await)
}

async fn send(nodes: &JournalNodes, index: usize, request: &Request) -> Result<Answer, CallError> {
    nodes.connect(index).await?.send(request, JOURNAL_TIMEOUT).await
}

fn named(nodes: &JournalNodes, index: usize, answer: Result<Answer, CallError>) -> anyhow::Result<Answer> {
    let address = nodes.address(index).map(|address| address.to_string());
    answer.map_err(|error| anyhow::anyhow!("JournalNode {}: {error}", address.unwrap_or_default()))
}

async fn discard_in_shared(path: PathBuf, info: &NamespaceInfo, first: TxId) -> anyhow::Result<()> {
    let directory = SharedDirectory::new(OsDisk, &path);
    let (journal, wait_ms) = directory.claim(info, HOLDER, 0)?;
    // An active that lives may answer reads for so long.
    tokio::time::sleep(Duration::from_millis(u64::from(wait_ms))).await;
    let segments = Segments::new(OsDisk, path.join("current"));
    discard(&segments, first, true).with_context(|| path.display().to_string())?;
    Ok(journal.release()?)
}

/// Puts aside the segments from `first` on.
fn discard(segments: &Segments<OsDisk>, first: TxId, is_needed: bool) -> anyhow::Result<()> {
    for name in segments.list()? {
        let goes_on = name.start < first && name.end.is_none_or(|end| end >= first);
        let spans = match name.end {
            Some(_) => goes_on,
            None => {
                goes_on
                    && segments
                        .scan_file(&segments.path(&name), name.start)?
                        .last
                        .is_some_and(|last| last >= first)
            }
        };
        ensure!(!(spans && is_needed), "{} spans txid {first}", name.file_name());
        if spans || name.start >= first {
            segments.put_aside(&name, "trash")?;
        }
    }
    Ok(())
}
