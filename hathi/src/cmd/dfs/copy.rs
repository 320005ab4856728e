//! Commands that copy bytes: `-put`, `-get`, `-cat`, `-tail`, `-cp`, `-appendToFile`; and `-mv`, `-mkdir`, `-touchz`.

use super::preserve::{Attributes, Preserve};
use super::{Item, RemotePath, Shell, Usage};
use anyhow::{Context, Result, bail};
use hathi_client::{CreateOptions, FileReader, FileWriter};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes read from a local file at once.
const CHUNK_LEN: usize = 1 << 20;
/// Time after which a copy shows a progress bar.
const PROGRESS_AFTER: Duration = Duration::from_millis(500);
/// Bytes that `-tail` shows.
const TAIL_LEN: u64 = 1024;

/// Suffix of a file's name while it is being copied.
const COPYING: &str = "._COPYING_";

/// Options of a copy into the file system.
#[derive(Clone, Copy, Debug)]
struct How {
    /// `-f`
    overwrite: bool,
    /// `-d`: write under the final name at once.
    direct: bool,
}

/// Options of a copy out of the file system.
#[derive(Clone, Copy, Debug)]
struct Taking {
    /// `-f`
    overwrite: bool,
    /// False with `-ignoreCrc`.
    verified: bool,
    /// `-p`
    preserve: bool,
}

/// A progress bar, if the output is a terminal. It appears once the copy has taken a while.
fn progress(len: u64, name: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(len);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    bar
}

fn show_when_slow(bar: &ProgressBar) {
    if bar.is_hidden() && bar.elapsed() > PROGRESS_AFTER && std::io::stderr().is_terminal() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
    }
}

async fn write_all(writer: &mut FileWriter, source: &mut dyn Read, bar: &ProgressBar) -> Result<()> {
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

async fn read_all(reader: &mut FileReader, target: &mut dyn Write, bar: &ProgressBar) -> Result<()> {
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

fn local_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn local_path(word: &str) -> PathBuf {
    PathBuf::from(word.strip_prefix("file://").unwrap_or(word))
}

impl Shell {
    /// Target of a copy: a name in a directory, or the path itself.
    async fn target(&mut self, word: &str, sources: usize) -> Result<(RemotePath, bool)> {
        let path = self.path(word)?;
        let item = self.status(&path).await?;
        let is_dir = item.as_ref().is_some_and(Item::is_dir);
        if sources > 1 && !is_dir {
            match item {
                Some(_) => bail!("`{path}': Is not a directory"),
                None => bail!("`{path}': No such file or directory"),
            }
        }
        if item.is_none() {
            let parent = path.parent();
            match self.status(&parent).await? {
                None => bail!(
                    "`{path}': No such file or directory: `{}'",
                    self.shown_qualified(&parent)
                ),
                Some(parent) if !parent.is_dir() => bail!("`{}': Is not a directory", parent.path),
                Some(_) => {}
            }
        }
        Ok((path, is_dir))
    }

    fn shown_qualified(&self, path: &RemotePath) -> String {
        let authority = if path.authority.is_empty() {
            self.conf.default_fs().authority
        } else {
            path.authority.clone()
        };
        format!("hdfs://{authority}{}", path.path)
    }

    pub(super) async fn put(&mut self, mut words: Vec<String>) -> Result<()> {
        let flags = self.flags(&mut words, &["-f", "-p", "-d"])?;
        self.at_least(&words, 1)?;
        let target = if words.len() == 1 {
            ".".to_owned()
        } else {
            words.pop().unwrap_or_default()
        };
        let (target, into) = self.target(&target, words.len()).await?;
        let how = How {
            overwrite: flags.has("-f"),
            direct: flags.has("-d"),
        };
        for word in &words {
            let source = local_path(word);
            let result = if word == "-" {
                let mut source = std::io::stdin().lock();
                self.make(&target, how, async |writer| {
                    write_all(writer, &mut source, &ProgressBar::hidden()).await
                })
                .await
            } else if source.exists() {
                let target = if into {
                    target.join(&local_name(&source))
                } else {
                    target.clone()
                };
                self.put_path(&source, &target, how, flags.has("-p")).await
            } else {
                self.complain(&format!("`{word}': No such file or directory"));
                continue;
            };
            if let Err(error) = result {
                self.fail(&target, &error);
            }
        }
        Ok(())
    }

    async fn put_path(&mut self, source: &Path, target: &RemotePath, how: How, preserve: bool) -> Result<()> {
        if source.is_dir() {
            let fs = self.fs(target)?;
            fs.mkdirs(&target.path, 0o777, true).await?;
            let mut entries: Vec<PathBuf> = std::fs::read_dir(source)
                .with_context(|| source.display().to_string())?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()?;
            entries.sort();
            for entry in entries {
                let target = target.join(&local_name(&entry));
                if let Err(error) = Box::pin(self.put_path(&entry, &target, how, preserve)).await {
                    self.fail(&target, &error);
                }
            }
            if preserve {
                self.preserve(target, &Attributes::of_local(source)?, Preserve::DEFAULT)
                    .await?;
            }
            return Ok(());
        }
        let mut file = std::fs::File::open(source).with_context(|| source.display().to_string())?;
        let metadata = file.metadata()?;
        let bar = progress(metadata.len(), &local_name(source));
        self.make(target, how, async |writer| write_all(writer, &mut file, &bar).await)
            .await?;
        bar.finish_and_clear();
        if preserve {
            self.preserve(target, &Attributes::of_local(source)?, Preserve::DEFAULT)
                .await?;
        }
        Ok(())
    }

    /// Creates a file from the output of `write`. It refuses existing files with the shell's messages. A half-written
    /// file never has the final name, and a replaced file stays until the end, unless `-d` asks for that
    /// (`copyStreamToTarget`).
    async fn make(
        &mut self,
        target: &RemotePath,
        how: How,
        write: impl AsyncFnOnce(&mut FileWriter) -> Result<()>,
    ) -> Result<()> {
        if let Some(item) = self.status(target).await?
            && (item.is_dir() || !how.overwrite)
        {
            bail!("`{target}': File exists");
        }
        let fs = self.fs(target)?;
        let path = if how.direct {
            target.path.clone()
        } else {
            format!("{}{COPYING}", target.path)
        };
        let options = CreateOptions {
            overwrite: true,
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

    pub(super) async fn append_to_file(&mut self, mut words: Vec<String>) -> Result<()> {
        let new_block = self.flags(&mut words, &["-n"])?.has("-n");
        self.at_least(&words, 2)?;
        let target = words.pop().unwrap_or_default();
        let target = self.path(&target)?;
        for word in words.iter().filter(|word| *word != "-") {
            if !local_path(word).is_file() {
                self.complain(&format!("`{word}': No such file or directory"));
                return Ok(());
            }
        }
        let result = async {
            let mut writer = match self.status(&target).await? {
                Some(item) if item.is_dir() => bail!("`{target}': Is a directory"),
                Some(_) if new_block => self.fs(&target)?.append_new_block(&target.path).await?,
                Some(_) => self.fs(&target)?.append(&target.path).await?,
                None => {
                    self.fs(&target)?
                        .create(&target.path, &CreateOptions::default())
                        .await?
                }
            };
            for word in &words {
                if word == "-" {
                    write_all(&mut writer, &mut std::io::stdin().lock(), &ProgressBar::hidden()).await?;
                } else {
                    let mut file = std::fs::File::open(local_path(word))?;
                    write_all(&mut writer, &mut file, &ProgressBar::hidden()).await?;
                }
            }
            Ok(writer.close().await?)
        }
        .await;
        if let Err(error) = result {
            self.fail(&target, &error);
        }
        Ok(())
    }

    pub(super) async fn get(&mut self, mut words: Vec<String>) -> Result<()> {
        let flags = self.flags(&mut words, &["-f", "-p", "-ignoreCrc"])?;
        self.at_least(&words, 1)?;
        let target = if words.len() == 1 {
            ".".to_owned()
        } else {
            words.pop().unwrap_or_default()
        };
        let items = self.expand(&words).await?;
        let verified = !flags.has("-ignoreCrc");
        let how = Taking {
            overwrite: flags.has("-f"),
            verified,
            preserve: flags.has("-p"),
        };
        if target == "-" {
            for item in items {
                let mut out = std::io::stdout().lock();
                self.copy_to(&item, &mut out, verified, &ProgressBar::hidden()).await?;
            }
            return Ok(());
        }
        let target = local_path(&target);
        let into = target.is_dir();
        if items.len() > 1 && !into {
            bail!("`{}': No such file or directory", target.display());
        }
        for item in items {
            let target = if into { target.join(item.name()) } else { target.clone() };
            if let Err(error) = self.get_item(&item, &target, how).await {
                self.fail(&item.path, &error);
            }
        }
        Ok(())
    }

    async fn get_item(&mut self, item: &Item, target: &Path, how: Taking) -> Result<()> {
        if item.is_dir() {
            std::fs::create_dir_all(target).with_context(|| target.display().to_string())?;
            for child in self.children(&item.path).await? {
                let target = target.join(child.name());
                if let Err(error) = Box::pin(self.get_item(&child, &target, how)).await {
                    self.fail(&child.path, &error);
                }
            }
            if how.preserve {
                Attributes::of(item).give_to_local(target)?;
            }
            return Ok(());
        }
        if target.exists() && !how.overwrite {
            bail!("`{}': File exists", target.display());
        }
        // As in the shell, a half-written file never has the final name.
        let mut partial = target.as_os_str().to_owned();
        partial.push(COPYING);
        let partial = PathBuf::from(partial);
        let mut file = std::fs::File::create(&partial).with_context(|| partial.display().to_string())?;
        let bar = progress(item.status.length, &item.name());
        let result = self.copy_to(item, &mut file, how.verified, &bar).await;
        bar.finish_and_clear();
        match result {
            Ok(()) => {
                std::fs::rename(&partial, target)?;
                if how.preserve {
                    Attributes::of(item).give_to_local(target)?;
                }
                Ok(())
            }
            Err(error) => {
                // The earlier error is the one to report.
                let _ = std::fs::remove_file(&partial);
                Err(error)
            }
        }
    }

    async fn copy_to(&mut self, item: &Item, target: &mut dyn Write, verified: bool, bar: &ProgressBar) -> Result<()> {
        let fs = self.fs(&item.path)?;
        let mut reader = fs.open(&item.path.path).await?;
        if !verified {
            reader.ignore_checksums();
        }
        read_all(&mut reader, target, bar).await?;
        Ok(target.flush()?)
    }

    pub(super) async fn cat(&mut self, mut words: Vec<String>) -> Result<()> {
        let verified = !self.flags(&mut words, &["-ignoreCrc"])?.has("-ignoreCrc");
        self.at_least(&words, 1)?;
        for item in self.expand(&words).await? {
            let result = if item.is_dir() {
                Err(anyhow::anyhow!("`{}': Is a directory", item.path))
            } else {
                let mut out = std::io::BufWriter::with_capacity(CHUNK_LEN, std::io::stdout().lock());
                self.copy_to(&item, &mut out, verified, &ProgressBar::hidden()).await
            };
            if let Err(error) = result {
                self.fail(&item.path, &error);
            }
        }
        Ok(())
    }

    pub(super) async fn tail(&mut self, words: Vec<String>) -> Result<()> {
        let [word] = words.as_slice() else {
            bail!(Usage("exactly one file".to_owned()));
        };
        for item in self.expand(std::slice::from_ref(word)).await? {
            if item.is_dir() {
                self.complain(&format!("`{}': Is a directory", item.path));
                continue;
            }
            let fs = self.fs(&item.path)?;
            let mut reader = fs.open(&item.path.path).await?;
            reader.seek(reader.len().saturating_sub(TAIL_LEN));
            read_all(&mut reader, &mut std::io::stdout().lock(), &ProgressBar::hidden()).await?;
        }
        Ok(())
    }

    pub(super) async fn cp(&mut self, mut words: Vec<String>) -> Result<()> {
        let preserve = Preserve::taken_from(&mut words)?;
        let flags = self.flags(&mut words, &["-f", "-d"])?;
        self.at_least(&words, 2)?;
        let target = words.pop().unwrap_or_default();
        let items = self.expand(&words).await?;
        let (target, into) = self.target(&target, items.len()).await?;
        let how = How {
            overwrite: flags.has("-f"),
            direct: flags.has("-d"),
        };
        for item in items {
            let target = if into {
                target.join(&item.name())
            } else {
                target.clone()
            };
            if let Err(error) = self.cp_item(&item, &target, how, preserve).await {
                self.fail(&target, &error);
            }
        }
        Ok(())
    }

    async fn cp_item(&mut self, item: &Item, target: &RemotePath, how: How, preserve: Preserve) -> Result<()> {
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
        if item.is_dir() {
            let fs = self.fs(target)?;
            fs.mkdirs(&target.path, 0o777, true).await?;
            for child in self.children(&item.path).await? {
                let target = target.join(&child.name());
                if let Err(error) = Box::pin(self.cp_item(&child, &target, how, preserve)).await {
                    self.fail(&target, &error);
                }
            }
            return self.preserve(target, &Attributes::of(item), preserve).await;
        }
        let mut reader = self.fs(&item.path)?.open(&item.path.path).await?;
        let bar = progress(item.status.length, &item.name());
        self.make(target, how, async |writer| {
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
        self.preserve(target, &Attributes::of(item), preserve).await
    }

    pub(super) async fn mv(&mut self, words: Vec<String>) -> Result<()> {
        let mut words = words;
        self.at_least(&words, 2)?;
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
        let (target, into) = self.target(&target, items.len()).await?;
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

    pub(super) async fn mkdir(&mut self, mut words: Vec<String>) -> Result<()> {
        let flags = self.flags(&mut words, &["-p"])?;
        self.at_least(&words, 1)?;
        for word in &words {
            let path = self.path(word)?;
            let result = async {
                match self.status(&path).await? {
                    Some(item) if item.is_dir() && flags.has("-p") => return Ok(()),
                    Some(item) if item.is_dir() => bail!("`{path}': File exists"),
                    Some(_) => bail!("`{path}': Is not a directory"),
                    None => {}
                }
                let parent = path.parent();
                if !flags.has("-p") && self.status(&parent).await?.is_none() {
                    bail!("`{}': No such file or directory", self.shown_qualified(&parent));
                }
                let fs = self.fs(&path)?;
                if !fs.mkdirs(&path.path, 0o777, true).await? {
                    bail!("`{path}': Input/output error");
                }
                Ok(())
            }
            .await;
            if let Err(error) = result {
                self.fail(&path, &error);
            }
        }
        Ok(())
    }

    pub(super) async fn touchz(&mut self, words: Vec<String>) -> Result<()> {
        self.at_least(&words, 1)?;
        for word in &words {
            let path = self.path(word)?;
            let result = async {
                match self.status(&path).await? {
                    Some(item) if item.is_dir() => bail!("`{path}': Is a directory"),
                    Some(item) if item.status.length > 0 => bail!("`{path}': Not a zero-length file"),
                    _ => {}
                }
                if self.status(&path.parent()).await?.is_none() {
                    bail!("`{path}': No such file or directory: `{}'", self.shown_qualified(&path));
                }
                let options = CreateOptions {
                    overwrite: true,
                    ..CreateOptions::default()
                };
                let mut writer = self.fs(&path)?.create(&path.path, &options).await?;
                Ok(writer.close().await?)
            }
            .await;
            if let Err(error) = result {
                self.fail(&path, &error);
            }
        }
        Ok(())
    }
}
