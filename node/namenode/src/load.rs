//! Images on disk into namesystems, and namesystems into images on disk.

use crate::low_priority;
use crate::settings::Settings;
use crate::storage::{ImageFile, NameDirs, read_md5};
use crate::synced_file::SyncedFile;
use anyhow::{Context, bail};
use hathi_formats::fsimage::{Image, ImageError, SectionName};
use hathi_formats::ids::LayoutVersion;
use hathi_formats::ids::NamespaceInfo;
use hathi_namespace::Namespace;
use hathi_namespace::image::{Frozen, ImageLoader};
use hathi_namesystem::loader::{Parts, assemble};
use hathi_namesystem::tailer::TailError;
use hathi_namesystem::{Life, Namesystem};
use md5::{Digest, Md5};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Read at a time while an image's digest is computed.
const DIGEST_CHUNK_BYTES: usize = 1 << 20;

/// Loads what the name directories hold.
pub struct Loader {
    settings: Settings,
    dirs: Arc<NameDirs>,
}

/// The parts of a namesystem that come from the configuration.
pub fn parts(settings: &Settings, info: NamespaceInfo) -> anyhow::Result<Parts> {
    Ok(Parts {
        config: settings.namesystem()?,
        blockmanager: settings.blockmanager()?,
        retry_cache: settings.retry_cache()?,
        info,
    })
}

impl Loader {
    /// From these directories.
    #[must_use]
    pub fn new(settings: Settings, dirs: Arc<NameDirs>) -> Self {
        Loader { settings, dirs }
    }

    /// Where it loads from.
    #[must_use]
    pub fn dirs(&self) -> &Arc<NameDirs> {
        &self.dirs
    }

    /// The newest image that is whole, in a life of its own; an older one only when the newest is damaged in every
    /// directory. One with a feature that is not here is whole: an older one, and edits over it, would only hide that.
    pub fn load(&self, life: Life) -> anyhow::Result<Namesystem> {
        let images = self.dirs.images();
        if images.is_empty() {
            return Err(NoWholeImage("there is none".to_owned()).into());
        }
        let mut last_error: Option<anyhow::Error> = None;
        for image in images {
            match self.load_image(&image) {
                Ok((namespace, saved_ms)) => {
                    self.dirs.note_verified(image.txid);
                    let mut ns = assemble(
                        parts(&self.settings, self.dirs.info.clone())?,
                        namespace,
                        image.txid,
                        life,
                    );
                    ns.note_image(image.txid, saved_ms);
                    return Ok(ns);
                }
                Err(error) if can_not_be_served(&error) => {
                    return Err(error.context(format!("cannot serve {}", image.path.display())));
                }
                Err(error) => {
                    tracing::error!(image = %image.path.display(), error = format!("{error:#}"), "cannot load an image");
                    last_error = Some(error);
                }
            }
        }
        let error = last_error.context("no image")?;
        // A disk that does not answer now may do so later.
        if is_io(&error) {
            return Err(error);
        }
        Err(NoWholeImage(format!("{error:#}")).into())
    }

    /// Whether another try can't come to another end, whatever the journal and the peers hold: what is here needs a
    /// feature that is not, or no image is whole.
    #[must_use]
    pub fn is_hopeless(&self, error: &anyhow::Error) -> bool {
        can_not_be_served(error) || error.is::<NoWholeImage>()
    }

    fn load_image(&self, image: &ImageFile) -> anyhow::Result<(Namespace, u64)> {
        let expected = read_md5(&image.path)?;
        // The digest is serial and slower than the load: it has a thread of its own.
        let path = image.path.clone();
        let digest = std::thread::Builder::new()
            .name("image-md5".to_owned())
            .spawn(move || digest_of(&path))?;
        let file = File::open(&image.path).with_context(|| format!("cannot open {}", image.path.display()))?;
        let saved_ms = file
            .metadata()?
            .modified()
            .ok()
            .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_millis() as u64);
        let namespace = load_namespace(self.settings.namespace()?, &file)?;
        let found = digest.join().ok().context("the digest's thread died")??;
        if found != expected {
            bail!(
                "image file {} is corrupt with MD5 checksum of {} but expecting {}",
                image.path.display(),
                crate::storage::hex(&found),
                crate::storage::hex(&expected)
            );
        }
        if namespace.last_applied_txid() != image.txid.0 {
            bail!(
                "image file {} holds everything up to {}",
                image.path.display(),
                namespace.last_applied_txid()
            );
        }
        Ok((namespace, saved_ms))
    }
}

/// Every image is damaged.
#[derive(Debug, thiserror::Error)]
#[error(
    "no image in the name directories is whole ({0}). Restore one, or copy the other NameNode's with \
     hdfs namenode -bootstrapStandby"
)]
struct NoWholeImage(String);

/// Whether an image or an edit holds what this NameNode does not have.
fn can_not_be_served(error: &anyhow::Error) -> bool {
    let image = error.downcast_ref::<ImageError>();
    let edit = error.downcast_ref::<TailError>();
    matches!(image, Some(ImageError::Unsupported(_))) || edit.is_some_and(TailError::is_unsupported)
}

fn is_io(error: &anyhow::Error) -> bool {
    let of_image = error.downcast_ref::<ImageError>();
    matches!(of_image, Some(ImageError::Io { .. })) || error.is::<io::Error>()
}

/// Decoded batches that may wait to be added.
const BATCHES_WAITING: usize = 8;

/// Decodes an image: threads decode inodes, this one puts them together.
pub fn load_namespace(config: hathi_namespace::NamespaceConfig, file: &File) -> anyhow::Result<Namespace> {
    let image = Image::open(file)?;
    let mut loader = ImageLoader::new(config, &image)?;
    let parts = image.parts(SectionName::Inode);
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(BATCHES_WAITING);
        for part in parts {
            let (mut decoder, sender) = (loader.decoder(&image, part), sender.clone());
            scope.spawn(move || {
                loop {
                    let batch = decoder.next_batch().transpose();
                    let (last, Some(batch)) = (batch.as_ref().is_none_or(Result::is_err), batch) else {
                        return;
                    };
                    if sender.send(batch).is_err() || last {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for batch in receiver {
            loader.add_inodes(batch?)?;
        }
        Ok(())
    })?;
    loader.add_directories(&image)?;
    Ok(loader.finish(&image)?)
}

/// Computes a file's MD5.
pub fn digest_of(path: &Path) -> io::Result<[u8; 16]> {
    let mut file = File::open(path)?;
    let mut digest = Md5::new();
    let mut chunk = vec![0; DIGEST_CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(digest.finalize().into()),
            read => digest.update(&chunk[..read]),
        }
    }
}

/// Writes to several files, for as long as one of them can be written.
struct Tee(Vec<(PathBuf, BufWriter<SyncedFile>)>);

impl Tee {
    /// Does something to each file; those that fail are removed. Fails when none is left.
    fn each(&mut self, mut what: impl FnMut(&mut BufWriter<SyncedFile>) -> io::Result<()>) -> io::Result<()> {
        let mut last_error = None;
        self.0.retain_mut(|(path, file)| match what(file) {
            Ok(()) => true,
            Err(error) => {
                give_up(path, &error);
                last_error = Some(error);
                false
            }
        });
        match last_error {
            Some(error) if self.0.is_empty() => Err(error),
            _ => Ok(()),
        }
    }
}

/// An image can't be written here. Without the file it is not published here either.
fn give_up(path: &Path, error: &io::Error) {
    tracing::error!(path = %path.display(), %error, "an image can't be written");
    // What can't be removed is seen by its digest.
    let _ = std::fs::remove_file(path);
}

impl Write for Tee {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.each(|file| file.write_all(data))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.each(Write::flush)
    }
}

/// Saves an image of a frozen namespace into these files, synced; answers its MD5. Files that can't be written are not there
/// then; without any it fails.
pub fn save_checkpoint(
    frozen: &Frozen,
    paths: &[PathBuf],
    cancelled: &(dyn Fn() -> bool + Sync),
) -> anyhow::Result<[u8; 16]> {
    let mut files = Vec::new();
    let mut last_error = None;
    for path in paths {
        match SyncedFile::create(path) {
            Ok(file) => files.push((path.clone(), BufWriter::with_capacity(1 << 20, file))),
            Err(error) => {
                give_up(path, &error);
                last_error = Some(anyhow::Error::from(error).context(format!("cannot create {}", path.display())));
            }
        }
    }
    if files.is_empty() {
        return Err(last_error.context("no name directory is in use")?);
    }
    let (mut tee, summary) = low_priority::run("save-image", || {
        frozen.save(Tee(files), LayoutVersion::NAMENODE_CURRENT, cancelled)
    })??;
    tee.each(|file| {
        file.flush()?;
        file.get_ref().sync_all()
    })?;
    Ok(summary.md5)
}
