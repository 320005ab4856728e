//! What all copies share, and `-cp`, `-mv`.

use super::preserve::{Attributes, Preserve};
use super::{Arguments, Flags, Item, Misuse, RemotePath, Shell};
use anyhow::{Result, bail};
use hathi_client::{CreateOptions, FileReader, FileSystem, FileWriter};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

/// Bytes read from a local file at once.
pub(super) const CHUNK_LEN: usize = 1 << 20;
/// Time after which a copy shows a progress bar.
const PROGRESS_AFTER: Duration = Duration::from_millis(500);
/// Suffix of a file's name while it is being copied.
pub(super) const COPYING: &str = "._COPYING_";
/// Most files that are copied at a time. Each has connections to DataNodes.
const THREADS_MAX: usize = 1024;

/// Options of a copy into the file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// `-f`
    pub(super) overwrite: bool,
    /// `-d`: write under the final name at once.
    pub(super) direct: bool,
    /// `-l`: the DataNode may write it to disk later, and there is one replica.
    pub(super) lazy: bool,
}

impl How {
    pub(super) fn of(flags: &Flags) -> How {
        How {
            overwrite: flags.has("f"),
            direct: flags.has("d"),
            lazy: flags.has("l"),
        }
    }
}

/// The number of `-t`, files that are copied at a time. `-q`, a queue's length, has no effect, because there is none.
pub(super) fn threads(flags: &Flags) -> Result<usize, Misuse> {
    let number = |flag: &str| match flags.value(flag) {
        None => Ok(1),
        // Java's message.
        Some(text) => text
            .parse::<i32>()
            .map_err(|_| Misuse(format!("For input string: \"{text}\""))),
    };
    number("q")?;
    Ok(usize::try_from(number("t")?).unwrap_or(1).clamp(1, THREADS_MAX))
}

/// A progress bar, if the output is a terminal. It appears once the copy has taken a while.
pub(super) fn progress(len: u64, name: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len), indicatif::ProgressDrawTarget::hidden());
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    bar
}

pub(super) fn show_when_slow(bar: &ProgressBar) {
    if bar.is_hidden() && bar.elapsed() > PROGRESS_AFTER && std::io::stderr().is_terminal() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
    }
}

pub(super) async fn write_all(writer: &mut FileWriter, source: &mut dyn Read, bar: &ProgressBar) -> Result<()> {
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        let len = source.read(&mut chunk)?;
        if len == 0 {
            return Ok(());
        }
        writer.write(&chunk[..len]).await?;
        bar.inc(len as u64);
        show_when_slow(bar);
    }
}

pub(super) async fn read_all(reader: &mut FileReader, target: &mut dyn Write, bar: &ProgressBar) -> Result<()> {
    loop {
        let bytes = reader.next().await?;
        if bytes.is_empty() {
            return Ok(());
        }
        target.write_all(bytes)?;
        bar.inc(bytes.len() as u64);
        show_when_slow(bar);
    }
}

/// Creates a file from the output of `write`. It refuses existing files with the shell's messages. A half-written file
/// never has the final name, and a replaced file stays until the end, unless `-d` asks for that (`copyStreamToTarget`).
pub(super) async fn make(
    fs: &FileSystem,
    target: &RemotePath,
    how: How,
    write: impl AsyncFnOnce(&mut FileWriter) -> Result<()>,
) -> Result<()> {
    if let Some(status) = fs.status(&target.path).await?
        && (status.file_type == 1 || !how.overwrite)
    {
        bail!("`{target}': File exists");
    }
    let path = if how.direct {
        target.path.clone()
    } else {
        format!("{}{COPYING}", target.path)
    };
    let options = CreateOptions {
        overwrite: true,
        lazy_persist: how.lazy,
        replication: how.lazy.then_some(1),
        ..CreateOptions::default()
    };
    let mut writer = fs.create(&path, &options).await?;
    let made = async {
        write(&mut writer).await?;
        writer.close().await?;
        if !how.direct {
            fs.rename(&path, &target.path, how.overwrite).await?;
        }
        anyhow::Ok(())
    }
    .await;
    if made.is_err() && !how.direct {
        // The earlier error is the one to report.
        let _ = fs.delete(&path, false).await;
    }
    made
}

impl Shell {
    /// Target of a copy: a name in a directory, or the path itself.
    /// A file that would be replaced is refused before any source is looked at, unless that is asked for.
    pub(super) async fn target(&mut self, word: &str, sources: usize, overwrite: bool) -> Result<(RemotePath, bool)> {
        let path = self.path(word)?;
        let mut found = self.matches(&path).await?;
        if found.len() > 1 {
            bail!("`{word}': Too many matches");
        }
        let item = found.pop();
        if item.is_none() && path.is_glob() {
            bail!("`{word}': No such file or directory");
        }
        let path = item.as_ref().map_or(path, |item| item.path.clone());
        let is_dir = item.as_ref().is_some_and(Item::is_dir);
        if sources > 1 && !is_dir {
            match item {
                Some(_) => bail!("`{path}': Is not a directory"),
                None => bail!("`{path}': No such file or directory"),
            }
        }
        if item.is_some() && !is_dir && !overwrite {
            bail!("`{path}': File exists");
        }
        if item.is_none() {
            match self.status(&path.needed()).await? {
                Some(parent) if !parent.is_dir() => bail!("`{}': Is not a directory", parent.path.path),
                _ => self.check_parent(&path).await?,
            }
        }
        Ok((path, is_dir))
    }

    pub(super) fn shown_qualified(&self, path: &RemotePath) -> String {
        let authority = if path.authority.is_empty() {
            self.conf.default_fs().authority
        } else {
            path.authority.clone()
        };
        format!("hdfs://{authority}{}", path.path)
    }

    /// Copies a file: at once, or beside others if there are to be several at a time.
    pub(super) async fn copy_file(
        &mut self,
        shown: &RemotePath,
        copy: impl Future<Output = Result<()>> + 'static,
    ) -> Result<()> {
        if self.threads <= 1 {
            return copy.await;
        }
        if self.copies.len() >= self.threads {
            self.one_copied().await;
        }
        let shown = shown.clone();
        self.copies.spawn_local(async move { (shown, copy.await) });
        Ok(())
    }

    /// Waits for the copies that are under way. A directory gets its times when nothing is written to it any more.
    pub(super) async fn all_copied(&mut self) {
        while !self.copies.is_empty() {
            self.one_copied().await;
        }
    }

    async fn one_copied(&mut self) {
        match self.copies.join_next().await {
            Some(Ok((_, Ok(())))) | None => {}
            Some(Ok((path, Err(error)))) => self.fail(&path, &error),
            Some(Err(error)) => self.complain(&error.to_string()),
        }
    }

    pub(super) async fn cp(&mut self, Arguments { flags, mut words }: Arguments) -> Result<()> {
        let preserve = Preserve::of(&flags)?;
        self.threads = threads(&flags)?;
        let target = words.pop().unwrap_or_default();
        let items = self.expand(&words).await?;
        let (target, into) = self.target(&target, items.len(), flags.has("f")).await?;
        for item in items {
            let target = if into {
                target.join(&item.name())
            } else {
                target.clone()
            };
            if let Err(error) = self.cp_item(item, &target, How::of(&flags), preserve).await {
                self.fail(&target, &error);
            }
        }
        self.all_copied().await;
        Ok(())
    }

    async fn cp_item(&mut self, item: Item, target: &RemotePath, how: How, preserve: Preserve) -> Result<()> {
        let inside = format!("{}/", item.path.path.trim_end_matches('/'));
        if item.path.authority == target.authority
            && (target.path == item.path.path || target.path.starts_with(&inside))
        {
            let kind = if target.path == item.path.path {
                "are identical"
            } else {
                "is a subdirectory of itself"
            };
            bail!("`{}' to `{target}': {kind}", item.path);
        }
        let fs = self.fs(target)?;
        if item.is_dir() {
            fs.mkdirs(&target.path, 0o777, true).await?;
            for child in self.children(&item.path).await? {
                let target = target.join(&child.name());
                if let Err(error) = Box::pin(self.cp_item(child, &target, how, preserve)).await {
                    self.fail(&target, &error);
                }
            }
            self.all_copied().await;
            return Attributes::of(&item).give_to(&fs, target, preserve).await;
        }
        let from = self.fs(&item.path)?;
        let shown = target.clone();
        let target = target.clone();
        self.copy_file(&shown, async move {
            let mut reader = from.open(&item.path.path).await?;
            let bar = progress(item.status.length, &item.name());
            make(&fs, &target, how, async |writer| {
                loop {
                    let bytes = reader.next().await?;
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    writer.write(bytes).await?;
                    bar.inc(bytes.len() as u64);
                    show_when_slow(&bar);
                }
            })
            .await?;
            bar.finish_and_clear();
            Attributes::of(&item).give_to(&fs, &target, preserve).await
        })
        .await
    }

    pub(super) async fn mv(&mut self, Arguments { mut words, .. }: Arguments) -> Result<()> {
        let target = words.pop().unwrap_or_default();
        // For a single source the target is checked first (`CommandWithDestination.processArguments`).
        let target_path = self.path(&target)?;
        if let [word] = &words[..]
            && !self.path(word)?.is_glob()
            && self.status(&target_path).await?.is_some_and(|item| !item.is_dir())
        {
            self.complain(&format!("`{target_path}': File exists"));
            return Ok(());
        }
        let items = self.expand(&words).await?;
        if items.is_empty() {
            return Ok(());
        }
        let (target, into) = self.target(&target, items.len(), false).await?;
        for item in items {
            let target = if into {
                target.join(&item.name())
            } else {
                target.clone()
            };
            if item.path.authority != target.authority {
                self.complain(&format!("`{}': Does not match target filesystem", item.path));
                continue;
            }
            let result = async {
                let inside = format!("{}/", item.path.path.trim_end_matches('/'));
                if target.path.starts_with(&inside) {
                    bail!("`{}' to `{target}': is a subdirectory of itself", item.path);
                }
                if self.status(&target).await?.is_some() {
                    bail!("`{target}': File exists");
                }
                let fs = self.fs(&target)?;
                Ok(fs.rename(&item.path.path, &target.path, false).await?)
            }
            .await;
            if let Err(error) = result {
                self.fail(&target, &error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_threads_is_read_as_hadoop_reads_it() {
        let of = |flag: &str, value: &str| threads(&Flags(vec![(flag.to_owned(), Some(value.to_owned()))]));
        assert_eq!(threads(&Flags::default()), Ok(1));
        assert_eq!(of("t", "8"), Ok(8));
        assert_eq!(of("t", "0"), Ok(1));
        assert_eq!(of("t", "2000000000"), Ok(THREADS_MAX));
        for flag in ["t", "q"] {
            assert_eq!(of(flag, "x"), Err(Misuse("For input string: \"x\"".to_owned())));
        }
    }
}
