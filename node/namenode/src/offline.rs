//! Commands on a namespace that no NameNode serves: `-recover`, `-importCheckpoint`, `-metadataVersion`. Also the work
//! of a SecondaryNameNode on images and edits.

use crate::format::{FormatOptions, confirm_prompt, tell};
use crate::load::{Loader, save_checkpoint};
use crate::settings::Settings;
use crate::shared_edits::{LocalSegments, storage_directory};
use crate::storage::{self, Birth, NameDirs, NewNameDirs};
use crate::unpublished::Unpublished;
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use hathi_formats::editlog::{Frames, SEGMENT_HEADER_LEN};
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_journal::segments::{SegmentName, Segments};
use hathi_namesystem::history::EditsSource;
use hathi_namesystem::tailer::Edits;
use hathi_namesystem::{Life, Namesystem};
use hathi_storage::{Disk as _, OsDisk};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
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

const WARNING: &str = "You have selected Metadata Recovery mode.  This mode is intended to recover lost metadata on a \
                       corrupt filesystem.  Metadata recovery mode often permanently deletes data from your HDFS \
                       filesystem.  Please back up your edit log and fsimage before trying this!\n\n\
                       Are you ready to proceed? (Y/N)\n";

/// A segment of edits, as it was found.
struct Found {
    segments: Segments<OsDisk>,
    name: SegmentName,
    /// The last whole transaction.
    last: Option<TxId>,
    is_damaged: bool,
}

impl Found {
    fn path(&self) -> PathBuf {
        self.segments.path(&self.name)
    }

    /// The last transaction, by the file's name or by the whole transactions in it.
    fn end(&self) -> TxId {
        let end = self.name.end.or(self.last).unwrap_or(self.name.start);
        if self.is_damaged && self.name.end.is_none() {
            // At least one transaction was in it.
            return self.last.map_or(self.name.start, TxId::next);
        }
        end
    }
}

fn segments(dirs: &NameDirs) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    for dir in dirs.edits_dirs() {
        let segments = Segments::new(OsDisk, dir.clone());
        for name in segments.list().with_context(|| dir.display().to_string())? {
            let scan = segments.scan_file(&segments.path(&name), name.start)?;
            found.push(Found {
                is_damaged: scan.torn.is_some() || name.end.is_some_and(|end| scan.last != Some(end)),
                last: scan.last,
                segments: segments.clone(),
                name,
            });
        }
    }
    Ok(found)
}

/// `-recover` of a NameNode without HA: the part of the namespace that is whole becomes the namespace.
///
/// Hadoop offers to skip a damaged transaction and to apply those behind it. That is not possible here, because later
/// edits assume a namespace that would never have existed.
pub fn recover(settings: &Settings, options: &FormatOptions) -> anyhow::Result<u8> {
    if !settings.is_single() {
        bail!(
            "-recover is for edits in the directories of a NameNode without HA. Copy the namespace of another NameNode with \
             hdfs namenode -bootstrapStandby; a JournalNode repairs itself from the others"
        );
    }
    if !confirm_prompt(WARNING) {
        tell!("Recovery aborted at user request.\n\n");
        return Ok(0);
    }
    tracing::info!("starting recovery...");
    let dirs = Arc::new(NameDirs::open(settings)?);
    let found = segments(&dirs)?;
    let loader = Loader::new(settings.clone(), dirs.clone());
    // Transactions above this one can't be applied.
    let mut limit = TxId(u64::MAX);
    let mut ns = loop {
        let mut ns = loader.load(Life::first())?;
        match replay_whole(&mut ns, &found, limit) {
            Ok(()) => break ns,
            Err(error) => {
                let applied = ns.edit_log().applied();
                if !stop_reading(&format!("{error:#}"), options) {
                    return Ok(0);
                }
                ensure!(applied < limit, "the image itself can't be continued");
                limit = applied;
            }
        }
    };
    let next = ns.edit_log().applied().next();
    if limit.0 == u64::MAX
        && let Some(lost) = found.iter().find(|segment| segment.end() >= next)
    {
        let what = format!(
            "There appears to be a gap in the edit log.  We expected txid {next}, but {} has none that is whole.",
            lost.path().display()
        );
        if !stop_reading(&what, options) {
            return Ok(0);
        }
    }
    let txid = save(&mut ns, &dirs)?;
    put_aside(&dirs, &found, txid)?;
    tracing::info!(%txid, "RECOVERY COMPLETE");
    Ok(0)
}

fn replay_whole(ns: &mut Namesystem, found: &[Found], limit: TxId) -> anyhow::Result<()> {
    loop {
        let next = ns.edit_log().applied().next();
        let holding = found.iter().filter_map(|segment| {
            let last = segment.last?.min(limit);
            (segment.name.start <= next && next <= last).then(|| (last, segment.path()))
        });
        let Some((last, path)) = holding.max() else {
            return Ok(());
        };
        replay(ns, &path, last)?;
    }
}

/// Renames files with edits behind the image, so that no start finds them. The part of a file that the image holds
/// stays as a segment: peers and older images still need it.
fn put_aside(dirs: &NameDirs, found: &[Found], image: TxId) -> anyhow::Result<()> {
    for segment in found.iter().filter(|segment| segment.end() > image) {
        let path = segment.path();
        let covered = match segment.name.start <= image {
            true => Some(up_to(std::fs::read(&path)?, image).with_context(|| path.display().to_string())?),
            false => None,
        };
        segment.segments.put_aside(&segment.name, "corrupt")?;
        tracing::warn!(file = %path.display(), "put aside, with .corrupt at the end of its name");
        if let Some(covered) = covered {
            let name = SegmentName::finalized(segment.name.start, image);
            OsDisk.write_small(&segment.segments.path(&name), &covered)?;
        }
    }
    for current in dirs.images_dirs().iter().chain(dirs.edits_dirs()) {
        OsDisk.write_small(&current.join("seen_txid"), format!("{image}\n").as_bytes())?;
    }
    Ok(())
}

/// A file of edits without those behind a transaction.
fn up_to(mut bytes: Vec<u8>, last: TxId) -> anyhow::Result<Vec<u8>> {
    let rest = bytes.get(SEGMENT_HEADER_LEN..).unwrap_or_default();
    let mut frames = Frames::new(rest, SEGMENT_HEADER_LEN as u64);
    while let Some(frame) = frames.next_frame()? {
        if frame.txid == last {
            let end = usize::try_from(frames.good_until())?;
            bytes.truncate(end);
            return Ok(bytes);
        }
    }
    bail!("it does not hold transaction {last}")
}

/// `MetaRecoveryContext.editLogLoaderPrompt`: whether to continue with the edits read so far.
fn stop_reading(what: &str, options: &FormatOptions) -> bool {
    tracing::error!("{what}");
    if options.force {
        tracing::info!("automatically choosing s");
        return true;
    }
    loop {
        tell!(
            "\nEnter 's' to stop reading the edit log here, abandoning any later edits\n\
             Enter 'q' to quit without saving\n(s/q)\n"
        );
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        match line.trim() {
            "s" => return true,
            "q" => {}
            _ if read.is_ok_and(|read| read > 0) => continue,
            _ => {}
        }
        tell!("Exiting on user request.\n");
        return false;
    }
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
