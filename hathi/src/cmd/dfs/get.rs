//! `-get`, `-copyToLocal`, `-getmerge`, `-cat`.

use super::copy::{CHUNK_LEN, COPYING, progress, read_all, threads};
use super::crc::CrcFile;
use super::preserve::Attributes;
use super::put::local_path;
use super::{Arguments, Item, Shell};
use crate::output::Stdout;
use anyhow::{Context, Result, bail};
use hathi_client::FileSystem;
use indicatif::ProgressBar;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Options of a copy out of the file system.
#[derive(Clone, Copy, Debug)]
struct Taking {
    /// `-f`
    overwrite: bool,
    /// False with `-ignoreCrc`.
    verified: bool,
    /// `-p`
    preserve: bool,
    /// `-crc`: write a file of checksums beside each file.
    crc: bool,
}

async fn copy_to(fs: &FileSystem, path: &str, target: &mut dyn Write, verified: bool, bar: &ProgressBar) -> Result<()> {
    let mut reader = fs.open(path).await?;
    if !verified {
        reader.ignore_checksums();
    }
    read_all(&mut reader, target, bar).await?;
    Ok(target.flush()?)
}

/// Copies a file to this machine. A half-written file never has the final name.
async fn get_file(fs: &FileSystem, item: &Item, target: &Path, how: Taking) -> Result<()> {
    if target.exists() && !how.overwrite {
        bail!("`{}': File exists", target.display());
    }
    let mut partial = target.as_os_str().to_owned();
    partial.push(COPYING);
    let partial = PathBuf::from(partial);
    let create = || File::create(&partial).map_err(|error| anyhow::anyhow!("{}: {error}", target.display()));
    let bar = progress(item.status.length, &item.name());
    let result = async {
        let mut file = create()?;
        if how.crc {
            let mut sums = CrcFile::around(&mut file);
            copy_to(fs, &item.path.path, &mut sums, how.verified, &bar).await?;
            sums.finish(target)
        } else {
            copy_to(fs, &item.path.path, &mut file, how.verified, &bar).await
        }
    }
    .await;
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

impl Shell {
    pub(super) async fn get(&mut self, Arguments { flags, mut words }: Arguments) -> Result<()> {
        self.threads = threads(&flags)?;
        let target = if words.len() == 1 {
            ".".to_owned()
        } else {
            words.pop().unwrap_or_default()
        };
        let items = self.expand(&words).await?;
        let how = Taking {
            overwrite: flags.has("f"),
            verified: !flags.has("ignoreCrc"),
            preserve: flags.has("p"),
            crc: flags.has("crc"),
        };
        if target == "-" {
            for item in items {
                let fs = self.fs(&item.path)?;
                let mut out = Stdout;
                copy_to(&fs, &item.path.path, &mut out, how.verified, &ProgressBar::hidden()).await?;
            }
            return Ok(());
        }
        let target = local_path(&target);
        let into = target.is_dir();
        if items.len() > 1 && !into {
            bail!("`{}': No such file or directory", target.display());
        }
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        if !target.exists() && parent.is_some_and(|parent| !parent.exists()) {
            // It is absolute where it is told twice.
            let whole = std::path::absolute(&target)?;
            bail!(
                "`{}': No such file or directory: `file://{}'",
                target.display(),
                whole.display()
            );
        }
        for item in items {
            let target = if into { target.join(item.name()) } else { target.clone() };
            let path = item.path.clone();
            if let Err(error) = self.get_item(item, &target, how).await {
                self.fail(&path, &error);
            }
        }
        self.all_copied().await;
        Ok(())
    }

    async fn get_item(&mut self, item: Item, target: &Path, how: Taking) -> Result<()> {
        if item.is_dir() {
            std::fs::create_dir_all(target).with_context(|| target.display().to_string())?;
            for child in self.children(&item.path).await? {
                let (path, target) = (child.path.clone(), target.join(child.name()));
                if let Err(error) = Box::pin(self.get_item(child, &target, how)).await {
                    self.fail(&path, &error);
                }
            }
            self.all_copied().await;
            if how.preserve {
                Attributes::of(&item).give_to_local(target)?;
            }
            return Ok(());
        }
        let (fs, shown, target) = (self.fs(&item.path)?, item.path.clone(), target.to_owned());
        self.copy_file(&shown, async move { get_file(&fs, &item, &target, how).await })
            .await
    }

    pub(super) async fn getmerge(&mut self, Arguments { flags, mut words }: Arguments) -> Result<()> {
        let target = local_path(&words.pop().unwrap_or_default());
        if target.is_dir() {
            bail!("`{}': Is a directory", target.display());
        }
        let mut sources = Vec::new();
        for item in self.expand(&words).await? {
            if item.is_dir() {
                let children = self.children(&item.path).await?;
                sources.extend(children.into_iter().filter(|child| !child.is_dir()));
            } else {
                sources.push(item);
            }
        }
        if self.exit_code != 0 {
            return Ok(());
        }
        if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        let mut out = File::create(&target).with_context(|| target.display().to_string())?;
        for item in sources {
            let fs = self.fs(&item.path)?;
            let empty = item.status.length == 0;
            if !empty {
                copy_to(&fs, &item.path.path, &mut out, true, &ProgressBar::hidden()).await?;
            }
            if flags.has("nl") && !(empty && flags.has("skip-empty-file")) {
                out.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    pub(super) async fn cat(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        let verified = !flags.has("ignoreCrc");
        // Each word's complaints come in its turn.
        for word in words.chunks(1) {
            for item in self.expand(word).await? {
                let result = if item.is_dir() {
                    Err(anyhow::anyhow!("`{}': Is a directory", item.path))
                } else {
                    let fs = self.fs(&item.path)?;
                    let mut out = std::io::BufWriter::with_capacity(CHUNK_LEN, Stdout);
                    copy_to(&fs, &item.path.path, &mut out, verified, &ProgressBar::hidden()).await
                };
                if let Err(error) = result {
                    self.fail(&item.path, &error);
                }
            }
        }
        Ok(())
    }
}
