//! Images on disk into namesystems, and namesystems into images on disk.

use crate::settings::Settings;
use crate::startup::LoadProgress;
use crate::storage::{NameDirs, read_md5};
use crate::{image_pipeline, low_priority};
use hathi_formats::fsimage::{Image, ImageError, SectionName};
use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_nameserver::image_files::{self, ImageFile, ImageWriter, LoadError, NotLoaded};
use hathi_namespace::image::{Frozen, ImageLoader};
use hathi_namespace::{Namespace, NamespaceConfig};
use hathi_namesystem::loader::{NamesystemParts, assemble};
use hathi_namesystem::tailer::TailError;
use hathi_namesystem::{Life, Namesystem};
use hathi_storage::OsDisk;
use std::error::Error;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Loads what the name directories hold.
pub struct Loader {
    settings: Settings,
    dirs: Arc<NameDirs>,
    progress: Arc<LoadProgress>,
}

/// The parts of a namesystem that come from the configuration.
pub fn parts(settings: &Settings, info: NamespaceInfo) -> anyhow::Result<NamesystemParts> {
    Ok(NamesystemParts {
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
        Loader {
            settings,
            dirs,
            progress: Arc::default(),
        }
    }

    /// Shows there how far a load is.
    #[must_use]
    pub fn showing(mut self, progress: Arc<LoadProgress>) -> Self {
        self.progress = progress;
        self
    }

    /// Where it loads from.
    #[must_use]
    pub fn dirs(&self) -> &Arc<NameDirs> {
        &self.dirs
    }

    /// The newest image that is whole, in a life of its own ([`hathi_nameserver::name_dirs::NameDirs::load_newest`]).
    pub fn load(&self, life: Life) -> anyhow::Result<Namesystem> {
        let config = self.settings.namespace()?;
        let (image, (mut namespace, saved_ms)) = self
            .dirs
            .load_newest(|image| load_image(config.clone(), image, &self.progress), log_damaged)?;
        let rollback = self.settle_rolling_upgrade(&image, &mut namespace);
        let parts = parts(&self.settings, self.dirs.info.clone())?;
        let mut ns = assemble(parts, namespace, image.txid, life);
        ns.note_image(image.txid, saved_ms);
        ns.keep_previous(self.dirs.has_previous()?);
        ns.note_rollback_image(rollback);
        Ok(ns)
    }

    /// A rolling upgrade in an image counts only if there is something to roll back to: otherwise it was rolled back. Where
    /// the image has none any more, it was finalized, and this NameNode did not come to the end of that. Answers the last
    /// transaction of the newest rollback image that stays.
    fn settle_rolling_upgrade(&self, image: &ImageFile, namespace: &mut Namespace) -> Option<TxId> {
        let Some(newest) = self.dirs.rollback_images().first().map(|image| image.txid) else {
            namespace.forget_rolling_upgrade();
            return None;
        };
        if namespace.rolling_upgrade_start_ms().is_none() && newest < image.txid {
            for failure in self.dirs.finalize_rollback_images(image.txid) {
                tracing::warn!(path = %failure.path.display(), error = %failure.error, "a rollback image stays");
            }
            return None;
        }
        Some(newest)
    }

    /// Whether another try can't come to another end, whatever the journal and the peers hold: what is here needs a
    /// feature that is not, or no image is whole.
    #[must_use]
    pub fn is_hopeless(&self, error: &anyhow::Error) -> bool {
        let image = error.downcast_ref::<NotLoaded>();
        let edit = error.downcast_ref::<TailError>();
        image.is_some_and(NotLoaded::is_hopeless) || edit.is_some_and(TailError::is_unsupported)
    }
}

fn log_damaged(image: &ImageFile, error: &LoadError) {
    let cause = error.source().map(ToString::to_string);
    tracing::error!(image = %image.path.display(), %error, cause, "cannot load an image");
}

/// The first of these images that is whole.
pub(crate) fn newest_of(
    images: Vec<ImageFile>,
    config: &NamespaceConfig,
    progress: &LoadProgress,
) -> Result<(ImageFile, Namespace), NotLoaded> {
    let load = |image: &ImageFile| load_image(config.clone(), image, progress);
    let (image, (namespace, _)) = image_files::load_newest(images, load, log_damaged)?;
    Ok((image, namespace))
}

/// An image, and when it was saved, in ms since 1970.
fn load_image(
    config: NamespaceConfig,
    image: &ImageFile,
    progress: &LoadProgress,
) -> Result<(Namespace, u64), LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        image: image.path.clone(),
        source,
    };
    let expected = read_md5(&image.path)?;
    // The digest is serial and slower than the load: it has a thread of its own.
    let path = image.path.clone();
    let digest = std::thread::Builder::new()
        .name("image-md5".to_owned())
        .spawn(move || digest_of(&path))
        .map_err(unreadable)?;
    let file = File::open(&image.path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    progress.begin(&image.path, metadata.len());
    let started = Instant::now();
    let saved_ms = metadata
        .modified()
        .ok()
        .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_millis() as u64);
    let loaded = load_namespace(config, &file, progress);
    let found = digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let namespace = image.check(expected, found.map_err(unreadable)?, loaded)?;
    progress.end(started.elapsed());
    Ok((namespace, saved_ms))
}

/// Decoded batches that may wait to be added.
const BATCHES_WAITING: usize = 8;

/// Decodes an image: threads decode inodes, this one puts them together.
pub fn load_namespace(config: NamespaceConfig, file: &File, progress: &LoadProgress) -> Result<Namespace, ImageError> {
    let image = Image::open(file)?;
    let mut loader = ImageLoader::new(config, &image)?;
    progress.expect(loader.expected_inodes());
    let parts = image.parts(SectionName::Inode);
    std::thread::scope(|scope| -> Result<(), ImageError> {
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
            let batch = batch?;
            let inodes = batch.len() as u64;
            loader.add_inodes(batch)?;
            progress.add(inodes);
        }
        Ok(())
    })?;
    loader.add_directories(&image)?;
    loader.finish(&image)
}

/// Computes a file's MD5.
pub fn digest_of(path: &Path) -> io::Result<[u8; 16]> {
    image_files::digest_of(&OsDisk, path)
}

/// Logs where an image could not be written. It is not published there.
pub(crate) fn log_given_up(writer: &ImageWriter<OsDisk>) {
    for (path, error) in writer.given_up() {
        tracing::error!(path = %path.display(), %error, "an image can't be written");
    }
}

/// Saves an image of a frozen namespace into these files, synced; answers its MD5. Files that can't be written are not there
/// then; without any it fails.
pub fn save_checkpoint(
    frozen: &Frozen,
    paths: &[PathBuf],
    cancelled: &(dyn Fn() -> bool + Sync),
) -> anyhow::Result<[u8; 16]> {
    let writer = ImageWriter::create(&OsDisk, paths);
    let (mut writer, md5) = low_priority::run("save-image", || {
        image_pipeline::write(writer, |pipe| {
            frozen.write(pipe, LayoutVersion::NAMENODE_CURRENT, cancelled).map(drop)
        })
    })??;
    let finished = writer.finish();
    log_given_up(&writer);
    finished?;
    Ok(md5)
}
