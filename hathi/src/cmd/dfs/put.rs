//! `-put`, `-copyFromLocal`, `-moveFromLocal`, `-appendToFile`.

use super::copy::{How, make, progress, threads, write_all};
use super::preserve::{Attributes, Preserve};
use super::{Arguments, RemotePath, Shell};
use anyhow::{Context, Result, bail};
use hathi_client::CreateOptions;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};

pub(super) fn local_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

pub(super) fn local_path(word: &str) -> PathBuf {
    PathBuf::from(word.strip_prefix("file://").unwrap_or(word))
}

/// How local files are taken.
#[derive(Clone, Copy, Debug)]
struct Giving {
    how: How,
    /// `-p`
    preserve: bool,
    /// `-moveFromLocal`
    delete: bool,
}

impl Shell {
    pub(super) async fn put(&mut self, Arguments { flags, mut words }: Arguments, delete: bool) -> Result<()> {
        self.threads = threads(&flags)?;
        let target = if words.len() == 1 {
            ".".to_owned()
        } else {
            words.pop().unwrap_or_default()
        };
        let (target, into) = self.target(&target, words.len(), flags.has("f")).await?;
        let giving = Giving {
            how: How::of(&flags),
            preserve: flags.has("p"),
            delete,
        };
        for word in &words {
            let source = local_path(word);
            let result = if word == "-" {
                let mut source = std::io::stdin().lock();
                let fs = self.fs(&target)?;
                make(&fs, &target, giving.how, async |writer| {
                    write_all(writer, &mut source, &ProgressBar::hidden()).await
                })
                .await
            } else if source.exists() {
                let target = if into {
                    target.join(&local_name(&source))
                } else {
                    target.clone()
                };
                self.put_path(&source, &target, giving).await
            } else {
                self.complain(&format!("`{word}': No such file or directory"));
                continue;
            };
            if let Err(error) = result {
                self.fail(&target, &error);
            }
        }
        self.all_copied().await;
        Ok(())
    }

    async fn put_path(&mut self, source: &Path, target: &RemotePath, giving: Giving) -> Result<()> {
        let fs = self.fs(target)?;
        if source.is_dir() {
            fs.mkdirs(&target.path, 0o777, true).await?;
            let mut entries: Vec<PathBuf> = std::fs::read_dir(source)
                .with_context(|| source.display().to_string())?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()?;
            entries.sort();
            for entry in entries {
                let target = target.join(&local_name(&entry));
                if let Err(error) = Box::pin(self.put_path(&entry, &target, giving)).await {
                    self.fail(&target, &error);
                }
            }
            self.all_copied().await;
            if giving.preserve {
                Attributes::of_local(source)?
                    .give_to(&fs, target, Preserve::DEFAULT)
                    .await?;
            }
            if giving.delete {
                std::fs::remove_dir(source).with_context(|| source.display().to_string())?;
            }
            return Ok(());
        }
        let (source, shown, target) = (source.to_owned(), target.clone(), target.clone());
        self.copy_file(&shown, async move {
            let mut file = std::fs::File::open(&source).with_context(|| source.display().to_string())?;
            let metadata = file.metadata()?;
            let bar = progress(metadata.len(), &local_name(&source));
            make(&fs, &target, giving.how, async |writer| {
                write_all(writer, &mut file, &bar).await
            })
            .await?;
            bar.finish_and_clear();
            if giving.preserve {
                Attributes::of_local(&source)?
                    .give_to(&fs, &target, Preserve::DEFAULT)
                    .await?;
            }
            if giving.delete {
                std::fs::remove_file(&source).with_context(|| source.display().to_string())?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn append_to_file(&mut self, Arguments { flags, mut words }: Arguments) -> Result<()> {
        let new_block = flags.has("n");
        let target = words.pop().unwrap_or_default();
        if words.is_empty() {
            bail!("missing destination argument");
        }
        let target = self.path(&target)?;
        if words.len() > 1 && words.iter().any(|word| word == "-") {
            bail!("stdin (-) must be the sole input argument when present");
        }
        for word in words.iter().filter(|word| *word != "-") {
            if !local_path(word).is_file() {
                self.complain(word);
                return Ok(());
            }
        }
        let result = async {
            let mut writer = match self.status(&target).await? {
                Some(item) if item.is_dir() => bail!(
                    "Cannot append to directory {}; already exists as a directory.",
                    target.path
                ),
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
}
