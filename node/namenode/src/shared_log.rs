//! The shared edits of a pair, whichever kind they are: JournalNodes, or a directory. What the rest of the NameNode needs
//! to read them.

use crate::state::NameNode;
use crate::tail::{Progress, Tail, apply};
use anyhow::{Context, bail};
use bytes::Bytes;
use hathi_formats::ids::{Epoch, TxId};
use hathi_journal::directory::SharedDirectory;
use hathi_namesystem::history::Source;
use hathi_namesystem::tailer::{Edits, TailError, check_not_purged};
use hathi_storage::OsDisk;
use std::path::Path;
use std::sync::Arc;

/// See the module.
pub enum SharedLog {
    /// JournalNodes.
    Quorum(Arc<Tail>),
    /// A directory.
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
                let ns = tail.nn.ns.read();
                let checked = ns.history.before_active(Epoch(epoch), last, ns.edit_log.applied());
                Ok(checked.map(drop).map_err(TailError::from)?)
            }
        }
    }
}

/// Reads finalized segments of a shared directory. What is in an open one may be given up by whoever recovers it, so that
/// is left alone; the active is asked to roll instead (`dfs.ha.log-roll.period`).
pub struct DirectoryTail {
    nn: Arc<NameNode>,
    directory: SharedDirectory<OsDisk>,
}

impl DirectoryTail {
    /// Of this directory.
    #[must_use]
    pub fn new(nn: Arc<NameNode>, path: &Path) -> DirectoryTail {
        DirectoryTail {
            nn,
            directory: SharedDirectory::new(OsDisk, path),
        }
    }

    async fn step(&self) -> anyhow::Result<Progress> {
        let (info, since) = {
            let ns = self.nn.ns.read();
            (ns.info.clone(), ns.edit_log.applied().next())
        };
        let directory = self.directory.clone();
        let read = move || -> anyhow::Result<Option<Edits>> {
            // Each time: a file system that is not mounted looks like a directory without news.
            directory.check_namespace(&info)?;
            let Some((path, end)) = directory.finalized(since)? else {
                check_not_purged(since, directory.ranges()?)?;
                return Ok(None);
            };
            let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let edits = Edits::new(Bytes::from(bytes), end, Source::Finalized);
            let edits = edits.with_context(|| path.display().to_string())?;
            Ok(Some(edits))
        };
        match tokio::task::spawn_blocking(read).await.context("the reader died")?? {
            Some(edits) => apply(&self.nn, edits).await,
            None => Ok(Progress::Nothing),
        }
    }

    async fn catch_up_to(&self, last: TxId) -> anyhow::Result<()> {
        loop {
            let applied = self.nn.ns.read().edit_log.applied();
            if applied == last {
                return Ok(());
            }
            if applied > last {
                bail!("applied {applied} although the journal ends with {last}");
            }
            if self.step().await? == Progress::Nothing {
                bail!(
                    "transaction {} of {last} is in no segment of the shared edits directory",
                    applied.next()
                );
            }
        }
    }
}
