//! The edits, wherever they are: at JournalNodes, in a shared directory, or in those of the only NameNode. What the rest of
//! the NameNode needs to read them.

use crate::tail::{Replay, Tail};
use anyhow::{Context, bail};
use bytes::Bytes;
use hathi_formats::ids::{Epoch, TxId};
use hathi_journal::directory::SharedDirectory;
use hathi_nameserver::reading::Progress;
use hathi_namesystem::history::EditsSource;
use hathi_namesystem::tailer::{Edits, TailError, check_not_purged};
use hathi_storage::OsDisk;
use std::path::PathBuf;
use std::sync::Arc;

/// See the module.
pub enum SharedLog {
    /// JournalNodes.
    Quorum(Arc<Tail>),
    /// Directories.
    Directory(DirectoryTail),
}

impl SharedLog {
    /// Whether a step waits until there is something new.
    #[must_use]
    pub fn waits(&self) -> bool {
        match self {
            SharedLog::Quorum(tail) => tail.waits(),
            SharedLog::Directory(_) => false,
        }
    }

    /// Whether a majority tells what proves a history while a segment is open.
    #[must_use]
    pub fn knows_epochs(&self) -> bool {
        match self {
            SharedLog::Quorum(tail) => tail.knows_epochs(),
            SharedLog::Directory(_) => false,
        }
    }

    /// One step of a standby.
    pub async fn follow(&self) -> anyhow::Result<Progress> {
        match self {
            SharedLog::Quorum(tail) => tail.follow().await,
            SharedLog::Directory(tail) => tail.step().await,
        }
    }

    /// Applies everything that is durable now.
    pub async fn catch_up(&self) -> anyhow::Result<()> {
        match self {
            SharedLog::Quorum(tail) => tail.catch_up().await,
            SharedLog::Directory(tail) => {
                while tail.step().await? == Progress::Some {}
                Ok(())
            }
        }
    }

    /// Applies everything up to `last`, after a recovery that made it final.
    pub async fn catch_up_to(&self, last: TxId) -> anyhow::Result<()> {
        match self {
            SharedLog::Quorum(tail) => tail.catch_up_to(last).await,
            SharedLog::Directory(tail) => tail.catch_up_to(last).await,
        }
    }

    /// Proves what can be proven of what was applied. Nothing may be applied meanwhile.
    pub async fn prove(&self) -> anyhow::Result<()> {
        match self {
            SharedLog::Quorum(tail) => tail.prove().await,
            // What is read out of a directory is final.
            SharedLog::Directory(_) => Ok(()),
        }
    }

    /// This NameNode is the writer of `epoch`, and the recovery left a journal that ends with `last`: whether it may serve.
    pub async fn prove_before_active(&self, epoch: u64, last: Option<TxId>) -> anyhow::Result<()> {
        match self {
            SharedLog::Quorum(tail) => tail.prove_before_active(epoch, last).await,
            SharedLog::Directory(tail) => {
                let ns = tail.replay.ns.read();
                let checked = ns.history().before_active(Epoch(epoch), last, ns.edit_log().applied());
                Ok(checked.map(drop).map_err(TailError::from)?)
            }
        }
    }
}

/// Reads finalized segments of a shared directory, or of several that one NameNode writes. What is in an open one may be given up by whoever recovers it, so that
/// is left alone; the active is asked to roll instead (`dfs.ha.log-roll.period`).
pub struct DirectoryTail {
    replay: Replay,
    directories: Vec<SharedDirectory<OsDisk>>,
}

impl DirectoryTail {
    /// Of these directories, each of which may lack something.
    #[must_use]
    pub fn new(replay: Replay, directories: Vec<SharedDirectory<OsDisk>>) -> DirectoryTail {
        DirectoryTail { replay, directories }
    }

    async fn step(&self) -> anyhow::Result<Progress> {
        let (info, since) = {
            let ns = self.replay.ns.read();
            (ns.info().clone(), ns.edit_log().applied().next())
        };
        let directories = self.directories.clone();
        let find = move || -> anyhow::Result<Vec<(PathBuf, TxId)>> {
            let (mut found, mut ranges) = (Vec::new(), Vec::new());
            for directory in &directories {
                // Each time: a file system that is not mounted looks like a directory without news.
                directory.check_namespace(&info)?;
                match directory.finalized(since)? {
                    Some(segment) => found.push(segment),
                    None => ranges.extend(directory.ranges()?),
                }
            }
            if found.is_empty() {
                check_not_purged(since, ranges)?;
            }
            found.sort_by_key(|(_, end)| std::cmp::Reverse(*end));
            Ok(found)
        };
        let copies = tokio::task::spawn_blocking(find).await.context("the reader died")??;
        let mut problem = None;
        for (path, end) in copies {
            let read = self.read(path.clone(), end).await;
            match read.with_context(|| path.display().to_string()) {
                Ok(Progress::Nothing) => {}
                Ok(Progress::Some) => return Ok(Progress::Some),
                // Another copy may be whole.
                Err(error) => problem = Some(problem.unwrap_or(error)),
            }
        }
        problem.map_or(Ok(Progress::Nothing), Err)
    }

    async fn read(&self, path: PathBuf, end: TxId) -> anyhow::Result<Progress> {
        let bytes = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        let bytes = bytes.context("the reader died")??;
        let edits = Edits::new(Bytes::from(bytes), end, EditsSource::Finalized)?;
        self.replay.apply(edits).await.context("edits cannot be applied")
    }

    async fn catch_up_to(&self, last: TxId) -> anyhow::Result<()> {
        loop {
            let applied = self.replay.ns.read().edit_log().applied();
            if applied == last {
                return Ok(());
            }
            if applied > last {
                bail!("applied {applied} although the journal ends with {last}");
            }
            if self.step().await? == Progress::Nothing {
                bail!(
                    "there is a gap in the edit log: transaction {} of {last} is in no segment of the edits directories",
                    applied.next()
                );
            }
        }
    }
}
