//! `-concat`, `-moveToLocal`, and the commands of snapshots, which the servers refuse.

use super::{Arguments, Item, Misuse, Shell};
use anyhow::{Result, bail};
use hathi_formats::proto::hdfs;
use hathi_net::ipc::Idempotence;

/// Hadoop's words about a wrong number of files.
const CONCAT_USAGE: &str = "<target path> <src path> <src path> ...";

/// A change of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Snapshot {
    Create,
    Delete,
    Rename,
}

impl Shell {
    pub(super) async fn concat(&mut self, Arguments { words, .. }: Arguments) -> Result<()> {
        if (1..3).contains(&words.len()) {
            bail!("The number of source paths is less than 2. {CONCAT_USAGE}");
        }
        let mut files = Vec::new();
        for word in &words {
            let path = self.path(word)?;
            match self.matches(&path).await? {
                found if !found.is_empty() && found.iter().all(|item| !item.is_dir()) => files.extend(found),
                _ if files.is_empty() => bail!(
                    "Target path {} does not exist or is not file.",
                    self.shown_qualified(&path)
                ),
                _ => bail!("{} does not exist or is not file.", self.shown_qualified(&path)),
            }
        }
        let mut files = files.into_iter();
        let Some(target) = files.next() else {
            bail!("Target path not specified. {CONCAT_USAGE}");
        };
        let sources: Vec<Item> = files.collect();
        if sources.len() < 2 {
            bail!("The number of source paths is less than 2. {CONCAT_USAGE}");
        }
        let request = hdfs::ConcatRequestProto {
            trg: target.path.path.clone(),
            srcs: sources.iter().map(|item| item.path.path.clone()).collect(),
        };
        let fs = self.fs(&target.path)?;
        let done: Result<hdfs::ConcatResponseProto, _> = fs.call("concat", &request, Idempotence::AtMostOnce).await;
        if let Err(error) = done {
            self.fail(&target.path, &error.into());
        }
        Ok(())
    }

    pub(super) fn move_to_local(&mut self) -> Result<()> {
        bail!("Option '-moveToLocal' is not implemented yet.")
    }

    pub(super) async fn snapshot(&mut self, Arguments { words, .. }: Arguments, change: Snapshot) -> Result<()> {
        let wrong = match (change, words.len()) {
            (Snapshot::Create, 0) => Some("<snapshotDir> is missing."),
            (Snapshot::Create, 3..) => Some("Too many arguments."),
            (Snapshot::Create, _) | (Snapshot::Delete, 2) | (Snapshot::Rename, 3) => None,
            (Snapshot::Delete | Snapshot::Rename, _) => Some("Incorrect number of arguments."),
        };
        if let Some(text) = wrong {
            bail!(Misuse(text.to_owned()));
        }
        let (path, names) = words.split_at(1);
        for item in self.expand(path).await? {
            if !item.is_dir() {
                self.complain(&format!("`{}': Is not a directory", item.path));
                continue;
            }
            if let Err(error) = self.change_snapshot(&item, change, names).await {
                self.fail(&item.path, &error);
            }
        }
        Ok(())
    }

    async fn change_snapshot(&mut self, item: &Item, change: Snapshot, names: &[String]) -> Result<()> {
        let fs = self.fs(&item.path)?;
        let snapshot_root = item.path.path.clone();
        let name = |at: usize| names.get(at).cloned().unwrap_or_default();
        match change {
            Snapshot::Create => {
                let request = hdfs::CreateSnapshotRequestProto {
                    snapshot_root,
                    snapshot_name: names.first().cloned(),
                };
                let created: hdfs::CreateSnapshotResponseProto =
                    fs.call("createSnapshot", &request, Idempotence::AtMostOnce).await?;
                println!("Created snapshot {}", created.snapshot_path);
            }
            Snapshot::Delete => {
                let request = hdfs::DeleteSnapshotRequestProto {
                    snapshot_root,
                    snapshot_name: name(0),
                };
                let _: hdfs::DeleteSnapshotResponseProto =
                    fs.call("deleteSnapshot", &request, Idempotence::AtMostOnce).await?;
            }
            Snapshot::Rename => {
                let request = hdfs::RenameSnapshotRequestProto {
                    snapshot_root,
                    snapshot_old_name: name(0),
                    snapshot_new_name: name(1),
                };
                let _: hdfs::RenameSnapshotResponseProto =
                    fs.call("renameSnapshot", &request, Idempotence::AtMostOnce).await?;
            }
        }
        Ok(())
    }
}
