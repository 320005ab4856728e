//! Commands on a namespace that no NameNode serves: `-importCheckpoint`, `-metadataVersion`. Also the work of a
//! SecondaryNameNode on images and edits.

use crate::load::{Loader, save_checkpoint};
use crate::settings::Settings;
use crate::shared_edits::{LocalSegments, storage_directory};
use crate::storage::{self, Birth, NameDirs, NewNameDirs};
use crate::unpublished::Unpublished;
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_namesystem::history::EditsSource;
use hathi_namesystem::tailer::Edits;
use hathi_namesystem::{Life, Namesystem};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Number of transactions that are applied at once.
const SLICE: usize = 10_000;

/// Applies the edits of a file up to a transaction.
pub(crate) fn replay(ns: &mut Namesystem, path: &Path, end: TxId) -> anyhow::Result<()> {
    let read = || -> anyhow::Result<Edits> {
        Ok(Edits::new(
            Bytes::from(std::fs::read(path)?),
            end,
            EditsSource::Finalized,
        )?)
    };
    let mut edits = read().with_context(|| path.display().to_string())?;
    // The times are for the retry cache, which is not used here.
    while edits.apply(ns, SLICE, 0).with_context(|| path.display().to_string())? {}
    let applied = ns.edit_log().applied();
    ensure!(
        applied >= end,
        "{} ends with transaction {applied} instead of {end}",
        path.display()
    );
    Ok(())
}

/// Saves the applied state as an image in these directories.
pub(crate) fn save(ns: &mut Namesystem, dirs: &NameDirs) -> anyhow::Result<TxId> {
    let txid = ns.note_applied();
    let unpublished = Unpublished::of(dirs.images_dirs(), txid);
    let md5 = save_checkpoint(&ns.namespace().freeze(), unpublished.paths(), &|| false)?;
    dirs.publish_image(&unpublished, &md5)?;
    Ok(txid)
}

/// `-metadataVersion`.
pub fn metadata_version(settings: &Settings) -> anyhow::Result<u8> {
    let found = storage::layout_version(settings)?;
    writeln!(
        std::io::stdout(),
        "HDFS Image Version: {found}\nSoftware format version: {}",
        LayoutVersion::NAMENODE_CURRENT
    )?;
    Ok(0)
}

/// `-importCheckpoint`: copies the namespace of a SecondaryNameNode's directories into empty directories
/// (`FSImage.doImportCheckpoint`).
pub fn import_checkpoint(settings: &Settings) -> anyhow::Result<()> {
    if let Some(dir) = storage::has_some_data(settings)?.first() {
        bail!(
            "Cannot import image from a checkpoint.  NameNode already contains an image in {}",
            dir.display()
        );
    }
    let checkpoint = settings.of_checkpoints();
    if checkpoint.name_dirs.is_empty() || checkpoint.edits_dirs.is_empty() {
        bail!("Cannot import image from a checkpoint. \"dfs.namenode.checkpoint.dir\" is not set.");
    }
    let from = Arc::new(NameDirs::open(&checkpoint)?);
    let mut ns = Loader::new(checkpoint, from.clone()).load(Life::first())?;
    let image = ns.edit_log().applied();
    for (path, last) in LocalSegments::after(from.edits_dirs(), image)?.files() {
        replay(&mut ns, path, last)?;
    }
    let new = NewNameDirs::begin(settings, &from.info)?;
    let txid = save(&mut ns, new.made())?;
    new.finish(Birth::Copy)?;
    new.place()?;
    tracing::info!(%image, %txid, "imported a checkpoint");
    Ok(())
}

/// Empties directories that a SecondaryNameNode formats without a question (`-format`).
pub(crate) fn clear(settings: &Settings) -> anyhow::Result<()> {
    for dir in settings.name_dirs.iter().chain(&settings.edits_dirs) {
        tracing::info!("Formatting storage directory {}", storage_directory(dir));
        match std::fs::remove_dir_all(dir.join("current")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| dir.display().to_string());
            }
            _ => {}
        }
    }
    Ok(())
}
