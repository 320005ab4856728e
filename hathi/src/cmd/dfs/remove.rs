//! `-rm`, `-rmdir`, `-truncate`.

use super::trash::CURRENT;
use super::{Arguments, Item, Misuse, Shell};
use anyhow::{Result, bail};
use hathi_conf::TimeUnit;
use hathi_formats::proto::hdfs;
use hathi_net::ipc::Idempotence;
use std::io::BufRead;
use std::time::Duration;

/// `hadoop.shell.safely.delete.limit.num.files`
const DELETE_LIMIT_FILES: i64 = 100;
/// Pause between two checks of a file that is being truncated.
const TRUNCATE_PAUSE: Duration = Duration::from_secs(1);

impl Shell {
    pub(super) async fn rm(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        let force = flags.has("f");
        let recursive = flags.has("r") || flags.has("R");
        let trash = self
            .conf
            .get_duration("fs.trash.interval", Duration::ZERO, TimeUnit::Minutes)?;
        for word in &words {
            let path = self.path(word)?;
            let items = match self.matches(&path).await {
                Ok(found) if found.is_empty() && !force => {
                    self.complain(&format!("`{word}': No such file or directory"));
                    continue;
                }
                Ok(found) => found,
                Err(error) => {
                    self.fail(&path, &error);
                    continue;
                }
            };
            for item in items {
                if item.is_dir() && !recursive {
                    self.complain(&format!("`{}': Is a directory", item.path));
                    continue;
                }
                let result = async {
                    // A move to the trash can be undone, so it is not confirmed.
                    if !trash.is_zero() && !flags.has("skipTrash") && !self.is_in_trash(&item).await? {
                        return self.move_to_trash(&item).await;
                    }
                    if flags.has("safely") && !self.may_delete(&item).await? {
                        eprintln!("Delete aborted at user request.\n");
                        return Ok(());
                    }
                    self.delete(&item).await
                };
                if let Err(error) = result.await {
                    self.fail(&item.path, &error);
                }
            }
        }
        Ok(())
    }

    /// Asks for confirmation above `hadoop.shell.safely.delete.limit.num.files` files. A limit of 0 or less means no
    /// limit (`Delete.Rm.canBeSafelyDeleted`).
    async fn may_delete(&mut self, item: &Item) -> Result<bool> {
        let limit = self
            .conf
            .get_i64("hadoop.shell.safely.delete.limit.num.files", DELETE_LIMIT_FILES)?;
        let Some(limit) = u64::try_from(limit).ok().filter(|limit| *limit > 0) else {
            return Ok(true);
        };
        let files = self.content_summary(&item.path).await?.file_count;
        if files <= limit {
            return Ok(true);
        }
        confirmed(&format!("Proceed deleting {files} files?"))
    }

    async fn delete(&mut self, item: &Item) -> Result<()> {
        let fs = self.fs(&item.path)?;
        if !fs.delete(&item.path.path, true).await? {
            bail!("`{}': Input/output error", item.path);
        }
        println!("Deleted {}", item.path);
        Ok(())
    }

    pub(super) fn trash(&self) -> String {
        format!("/user/{}/.Trash", self.user)
    }

    /// The trash for an item: that of its encryption zone, out of which nothing can be moved, or of its snapshottable
    /// directory, whichever is the longer path; else the user's (`DistributedFileSystem.getTrashRoot`).
    async fn trash_of(&mut self, item: &Item) -> Result<String> {
        let fs = self.fs(&item.path)?;
        let of_snapshots = fs.snapshot_trash_for(&item.path.path, &self.user).await?;
        let zone = match fs.may_have_zones().await? {
            true => fs.zone_of(&item.path.parent().path).await?,
            false => None,
        };
        let of_zone = zone.map(|zone| self.trash_of_zone(&zone.path));
        let longest = of_snapshots.into_iter().chain(of_zone).max_by_key(String::len);
        Ok(longest.unwrap_or_else(|| self.trash()))
    }

    pub(super) fn trash_of_zone(&self, zone: &str) -> String {
        format!("{}/.Trash/{}", zone.trim_end_matches('/'), self.user)
    }

    /// Whether an item is in the trash already. Such an item is deleted.
    async fn is_in_trash(&mut self, item: &Item) -> Result<bool> {
        let trash = self.trash_of(item).await?;
        let inside = item.path.path.strip_prefix(&trash);
        Ok(inside.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// Moves an item to `Current` in its trash, under its whole path (`TrashPolicyDefault`).
    async fn move_to_trash(&mut self, item: &Item) -> Result<()> {
        let home = self.trash_of(item).await?;
        let inside = home.strip_prefix(item.path.path.trim_end_matches('/'));
        if inside.is_some_and(|rest| rest.starts_with('/')) {
            bail!(
                "Cannot move \"{}\" to the trash, as it contains the trash. Consider using -skipTrash option",
                item.path
            );
        }
        let fs = self.fs(&item.path)?;
        let mut target = format!("{home}/{CURRENT}{}", item.path.path);
        let parent = target.rsplit_once('/').map_or("/", |(parent, _)| parent).to_owned();
        fs.mkdirs(&parent, 0o700, true).await?;
        if fs.status(&target).await?.is_some() {
            target.push_str(&jiff::Timestamp::now().as_millisecond().to_string());
        }
        fs.rename(&item.path.path, &target, false).await?;
        println!("Moved: '{}' to trash at: {target}", item.path);
        Ok(())
    }

    pub(super) async fn rmdir(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        for item in self.expand(&words).await? {
            let result = async {
                if !item.is_dir() {
                    bail!("`{}': Is not a directory", item.path);
                }
                if !self.children(&item.path).await?.is_empty() {
                    if flags.has("-ignore-fail-on-non-empty") {
                        return Ok(());
                    }
                    bail!("`{}': Directory is not empty", item.path);
                }
                let fs = self.fs(&item.path)?;
                fs.delete(&item.path.path, false).await?;
                Ok(())
            }
            .await;
            if let Err(error) = result {
                self.fail(&item.path, &error);
            }
        }
        Ok(())
    }

    /// Waits until a file has the length to which it was cut and is closed, so that it can be written to. Hadoop's
    /// shell checks only the length, which the NameNode shows before the last block is recovered.
    async fn wait_for_length(&mut self, item: &Item, length: u64) -> Result<()> {
        println!("Waiting for {} ...", item.path);
        let fs = self.fs(&item.path)?;
        let request = hdfs::IsFileClosedRequestProto {
            src: item.path.path.clone(),
        };
        loop {
            let closed: hdfs::IsFileClosedResponseProto =
                fs.call("isFileClosed", &request, Idempotence::Idempotent).await?;
            let now = self.status(&item.path).await?;
            if closed.result && now.is_some_and(|now| now.status.length == length) {
                println!("Truncated {} to length: {length}", item.path);
                return Ok(());
            }
            tokio::time::sleep(TRUNCATE_PAUSE).await;
        }
    }

    pub(super) async fn truncate(&mut self, Arguments { flags, mut words }: Arguments) -> Result<()> {
        let length = words.remove(0);
        let Ok(new_length) = length.parse::<u64>() else {
            self.complain("Illegal length, a non-negative integer expected");
            bail!(Misuse(format!("For input string: \"{length}\"")));
        };
        let mut waiting = Vec::new();
        for item in self.expand(&words).await? {
            if item.is_dir() {
                self.complain(&format!("`{}': Is a directory", item.path));
                continue;
            }
            let len = item.status.length;
            if len < new_length {
                bail!(Misuse(format!(
                    "Cannot truncate to a larger file size. Current size: {len}, truncate size: {new_length}."
                )));
            }
            let result = async {
                let fs = self.fs(&item.path)?;
                let request = hdfs::TruncateRequestProto {
                    src: item.path.path.clone(),
                    new_length,
                    client_name: fs.options().client_name.clone(),
                };
                let answer: hdfs::TruncateResponseProto =
                    fs.call("truncate", &request, Idempotence::AtMostOnce).await?;
                anyhow::Ok(answer.result)
            }
            .await;
            match result {
                Ok(true) => println!("Truncated {} to length: {new_length}", item.path),
                Ok(false) if flags.has("w") => waiting.push(item),
                Ok(false) => println!(
                    "Truncating {} to length: {new_length}. Wait for block recovery to complete before further updating this file.",
                    item.path
                ),
                Err(error) => self.fail(&item.path, &error),
            }
        }
        for item in waiting {
            self.wait_for_length(&item, new_length).await?;
        }
        Ok(())
    }
}

/// Asks a person until there is an answer (`ToolRunner.confirmPrompt`). The end of the input means no.
fn confirmed(question: &str) -> Result<bool> {
    let mut answers = std::io::stdin().lock();
    loop {
        eprint!("{question} (Y or N) ");
        let mut answer = String::new();
        if answers.read_line(&mut answer)? == 0 {
            return Ok(false);
        }
        match answer.trim_end_matches(['\r', '\n']).to_ascii_lowercase().as_str() {
            "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => eprintln!("Invalid input: {}", answer.trim_end_matches(['\r', '\n'])),
        }
    }
}
