//! `-rm`, `-rmdir`, `-truncate`.

use super::{Item, Shell, Usage};
use anyhow::{Result, bail};
use hathi_formats::conf::TimeUnit;
use hathi_formats::proto::hdfs;
use hathi_net::ipc::Idempotence;
use std::io::{BufRead, Write};
use std::time::Duration;

/// `hadoop.shell.safely.delete.limit.num.files`
const DELETE_LIMIT_FILES: u64 = 100;
/// Between two looks at a file that is being truncated.
const TRUNCATE_PAUSE: Duration = Duration::from_secs(1);

impl Shell {
    pub(super) async fn rm(&mut self, mut words: Vec<String>) -> Result<()> {
        let flags = self.flags(&mut words, &["-f", "-r", "-R", "-skipTrash", "-safely"])?;
        let force = flags.has("-f");
        if !force {
            self.at_least(&words, 1)?;
        }
        let recursive = flags.has("-r") || flags.has("-R");
        let mut items = Vec::new();
        for word in &words {
            let path = self.path(word)?;
            match self.matches(&path).await {
                Ok(found) if found.is_empty() && !force => {
                    self.complain(&format!("`{word}': No such file or directory"));
                }
                Ok(found) => items.extend(found),
                Err(error) => self.fail(&path, &error),
            }
        }
        let trash = self
            .conf
            .get_duration("fs.trash.interval", Duration::ZERO, TimeUnit::Minutes)?;
        for item in items {
            if item.is_dir() && !recursive {
                self.complain(&format!("`{}': Is a directory", item.path));
                continue;
            }
            if flags.has("-safely") && item.is_dir() && !self.may_delete(&item).await? {
                println!("Delete aborted at user request.");
                self.exit_code = 1;
                continue;
            }
            let result = if trash.is_zero() || flags.has("-skipTrash") {
                self.delete(&item).await
            } else {
                self.move_to_trash(&item).await
            };
            if let Err(error) = result {
                self.fail(&item.path, &error);
            }
        }
        Ok(())
    }

    /// Asks about a large directory (`-safely`, `hadoop.shell.safely.delete.limit.num.files`).
    async fn may_delete(&mut self, item: &Item) -> Result<bool> {
        let limit = self
            .conf
            .get_u64("hadoop.shell.safely.delete.limit.num.files", DELETE_LIMIT_FILES)?;
        let summary = self.content_summary(&item.path).await?;
        if summary.file_count + summary.directory_count <= limit {
            return Ok(true);
        }
        print!(
            "Proceed deleting {} files and {} directories under {}? (Y or N) ",
            summary.file_count, summary.directory_count, item.path
        );
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok(answer.trim().eq_ignore_ascii_case("y"))
    }

    async fn delete(&mut self, item: &Item) -> Result<()> {
        let fs = self.fs(&item.path)?;
        if !fs.delete(&item.path.path, true).await? {
            bail!("`{}': Input/output error", item.path);
        }
        println!("Deleted {}", item.path);
        Ok(())
    }

    /// Into `/user/USER/.Trash/Current` under its whole path (`TrashPolicyDefault`).
    async fn move_to_trash(&mut self, item: &Item) -> Result<()> {
        let home = format!("/user/{}/.Trash", self.user);
        if item.path.path.starts_with(&format!("{home}/")) {
            return self.delete(item).await;
        }
        let fs = self.fs(&item.path)?;
        let mut target = format!("{home}/Current{}", item.path.path);
        let parent = target.rsplit_once('/').map_or("/", |(parent, _)| parent).to_owned();
        fs.mkdirs(&parent, 0o700, true).await?;
        if fs.status(&target).await?.is_some() {
            target.push_str(&jiff::Timestamp::now().as_millisecond().to_string());
        }
        fs.rename(&item.path.path, &target, false).await?;
        println!("Moved: '{}' to trash at: {target}", item.path);
        Ok(())
    }

    pub(super) async fn rmdir(&mut self, mut words: Vec<String>) -> Result<()> {
        let flags = self.flags(&mut words, &["--ignore-fail-on-non-empty"])?;
        self.at_least(&words, 1)?;
        for item in self.expand(&words).await? {
            let result = async {
                if !item.is_dir() {
                    bail!("`{}': Is not a directory", item.path);
                }
                if !self.children(&item.path).await?.is_empty() {
                    if flags.has("--ignore-fail-on-non-empty") {
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

    /// Waits until a file's last block is recovered and the file closed.
    async fn wait_for_length(&mut self, item: &Item, length: u64) -> Result<()> {
        print!("Waiting for {} ...", item.path);
        std::io::stdout().flush()?;
        let fs = self.fs(&item.path)?;
        let request = hdfs::IsFileClosedRequestProto {
            src: item.path.path.clone(),
        };
        loop {
            let closed: hdfs::IsFileClosedResponseProto =
                fs.call("isFileClosed", &request, Idempotence::Idempotent).await?;
            let now = self.status(&item.path).await?;
            if closed.result && now.is_some_and(|now| now.status.length == length) {
                println!(" done");
                return Ok(());
            }
            tokio::time::sleep(TRUNCATE_PAUSE).await;
            print!(".");
            std::io::stdout().flush()?;
        }
    }

    pub(super) async fn truncate(&mut self, mut words: Vec<String>) -> Result<()> {
        let flags = self.flags(&mut words, &["-w"])?;
        self.at_least(&words, 2)?;
        let length = words.remove(0);
        let Ok(new_length) = length.parse::<u64>() else {
            bail!(Usage(format!(
                "Illegal length, a non-negative integer expected: {length}"
            )));
        };
        for item in self.expand(&words).await? {
            let result = async {
                let len = item.status.length;
                if item.is_dir() {
                    bail!("`{}': Is a directory", item.path);
                }
                if len < new_length {
                    bail!("`{}': Cannot truncate to a larger file size. Current size: {len}, truncate size: {new_length}.", item.path);
                }
                let fs = self.fs(&item.path)?;
                let request = hdfs::TruncateRequestProto {
                    src: item.path.path.clone(),
                    new_length,
                    client_name: fs.options().client_name.clone(),
                };
                let answer: hdfs::TruncateResponseProto =
                    fs.call("truncate", &request, Idempotence::AtMostOnce).await?;
                if answer.result {
                    println!("Truncated {} to length: {new_length}", item.path);
                } else {
                    println!("Truncating {} to length: {new_length}. Wait for block recovery to complete before further updating this file.", item.path);
                    if flags.has("-w") {
                        self.wait_for_length(&item, new_length).await?;
                    }
                }
                Ok(())
            }
            .await;
            if let Err(error) = result {
                self.fail(&item.path, &error);
            }
        }
        Ok(())
    }
}
