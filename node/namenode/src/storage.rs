//! The name directories of this process: [`hathi_nameserver::name_dirs`] on the disk of this machine, with what is logged
//! of it, and the small files beside VERSION.

use crate::settings::{ImageBandwidth, Settings};
use crate::unpublished::Unpublished;
use anyhow::Context;
use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_journal::Membership;
use hathi_journal::directory::SharedDirectory;
use hathi_nameserver::image_files::{self, LoadError};
pub use hathi_nameserver::image_files::{ImageFile, hex, image_name};
use hathi_nameserver::name_dirs::rollback::{ImageKind, rollback_name};
use hathi_nameserver::name_dirs::{self, NameDirsError, Opening, Roots};
use hathi_storage::{Disk as _, NodeType, OsDisk, StorageDirectory, VersionFile, birth, make_dirs};
use std::collections::BTreeMap;
use std::ops::{Deref, RangeInclusive};
use std::path::{Path, PathBuf};

/// The name and edits directories of this NameNode, locked.
#[derive(Debug)]
pub struct NameDirs {
    dirs: name_dirs::NameDirs<OsDisk>,
    bandwidth: ImageBandwidth,
}

impl Deref for NameDirs {
    type Target = name_dirs::NameDirs<OsDisk>;

    fn deref(&self) -> &Self::Target {
        &self.dirs
    }
}

fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}@{}", std::process::id(), host.trim())
}

fn roots(settings: &Settings) -> Roots {
    Roots {
        images: settings.name_dirs.clone(),
        edits: settings.edits_dirs.clone(),
    }
}

fn all_dirs(settings: &Settings) -> Vec<PathBuf> {
    roots(settings).all()
}

/// The newest membership of the JournalNodes that this NameNode has heard of, beside VERSION.
const JOURNALNODES: &str = "hathi-journalnodes";
/// Beside it, while shared edits are filled from the local ones.
const FILLING: &str = "hathi-initialize-shared-edits";

impl NameDirs {
    /// Who the JournalNodes are, as far as was known at the last run; `None` when they were never changed.
    #[must_use]
    pub fn membership(&self) -> Option<Membership> {
        let files = self.dirs.all_images_dirs().iter().map(|dir| dir.join(JOURNALNODES));
        let read = files.filter_map(|file| Membership::parse(&std::fs::read_to_string(file).ok()?));
        read.reduce(|best, next| if next.is_newer_than(Some(&best)) { next } else { best })
    }

    /// Keeps who the JournalNodes are for the next start.
    pub fn keep_membership(&self, membership: &Membership) -> anyhow::Result<()> {
        for dir in self.dirs.all_images_dirs() {
            let file = dir.join(JOURNALNODES);
            OsDisk
                .write_small(&file, membership.to_text().as_bytes())
                .with_context(|| file.display().to_string())?;
        }
        Ok(())
    }

    /// The JournalNodes were formatted: those of the configuration count.
    pub fn forget_membership(&self) -> anyhow::Result<()> {
        for dir in self.dirs.all_images_dirs() {
            match std::fs::remove_file(dir.join(JOURNALNODES)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Notes, or forgets, that these shared edits are being filled from this NameNode's own: they lack something, and nobody
    /// may write to them.
    pub fn set_filling(&self, shared: Option<&str>) -> anyhow::Result<()> {
        for dir in self.dirs.all_images_dirs() {
            let file = dir.join(FILLING);
            let done = match shared {
                Some(shared) => OsDisk.write_small(&file, format!("{shared}\n").as_bytes()),
                None if OsDisk.exists(&file)? => OsDisk.remove_file(&file).and_then(|()| OsDisk.sync_dir(dir)),
                None => Ok(()),
            };
            done.with_context(|| file.display().to_string())?;
        }
        Ok(())
    }

    /// The shared edits that were being filled when that ended.
    #[must_use]
    pub fn filling(&self) -> Option<String> {
        let read = |dir: &PathBuf| OsDisk.read_small(&dir.join(FILLING)).ok().flatten();
        let text = self.dirs.all_images_dirs().iter().find_map(read)?;
        Some(String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// Locks, repairs and reads all directories. They must agree, and at least one must be formatted.
    pub fn open(settings: &Settings) -> anyhow::Result<NameDirs> {
        let ours = LayoutVersion::NAMENODE_CURRENT;
        Self::open_of(settings, ours..=ours)
    }

    /// As [`NameDirs::open`], also of an older layout, to upgrade it.
    pub fn open_older(settings: &Settings) -> anyhow::Result<NameDirs> {
        Self::open_of(settings, LayoutVersion::NAMENODE_READ)
    }

    fn open_of(settings: &Settings, layouts: RangeInclusive<LayoutVersion>) -> anyhow::Result<NameDirs> {
        let opening = Opening {
            restore: settings.restore_failed_storage,
            layouts,
            // In HA the shared edits have a `previous` of their own, which only Hadoop's NameNode finalizes.
            with_previous: settings.is_single(),
        };
        Ok(NameDirs {
            dirs: name_dirs::NameDirs::open_for(OsDisk, &roots(settings), &holder(), &opening)?,
            bandwidth: settings.image_bandwidth,
        })
    }

    /// Takes an upgrade back in all directories. Answers how many there were.
    pub fn roll_back(settings: &Settings) -> anyhow::Result<usize> {
        Ok(name_dirs::NameDirs::roll_back(&OsDisk, &roots(settings), &holder())?)
    }

    /// Bytes in a second in which images and edits of these directories are sent; 0: no limit.
    #[must_use]
    pub fn bandwidth(&self) -> u64 {
        self.bandwidth.transfer
    }

    /// The same, to a NameNode that is being bootstrapped.
    #[must_use]
    pub fn bootstrap_bandwidth(&self) -> u64 {
        self.bandwidth.bootstrap
    }

    /// The directories for edits, to read.
    #[must_use]
    pub fn edits(&self) -> Vec<SharedDirectory<OsDisk>> {
        let roots = self.dirs.edits_dirs().iter().filter_map(|current| current.parent());
        roots.map(|root| SharedDirectory::new(OsDisk, root)).collect()
    }

    /// First and last transaction of each final segment in any of the directories for edits, and of several that begin
    /// alike the longest; in their order.
    #[must_use]
    pub fn segments(&self) -> Vec<(TxId, TxId)> {
        let mut found: BTreeMap<TxId, TxId> = BTreeMap::new();
        for directory in self.edits() {
            // Another one may be readable.
            for (first, last) in directory.ranges().unwrap_or_default() {
                if last != TxId(u64::MAX) {
                    let longest = found.entry(first).or_default();
                    *longest = last.max(*longest);
                }
            }
        }
        found.into_iter().collect()
    }

    /// A directory (its `current`) is used no more.
    pub fn fail(&self, current: &Path, reason: &str) {
        let left = self.dirs.fail(current, reason);
        let dir = current.parent().unwrap_or(current);
        tracing::error!(dir = %dir.display(), reason, left, "a storage directory has failed and is used no more");
    }

    /// Uses failed directories again, if that is wanted ([`name_dirs::NameDirs::attempt_restore`]).
    pub fn attempt_restore(&self) {
        for (dir, restored) in self.dirs.attempt_restore(&holder()) {
            let dir = dir.display();
            match restored {
                Ok(()) => tracing::info!(%dir, "a storage directory is used again"),
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    tracing::warn!(%dir, error = format!("{error:#}"), "a storage directory stays unused");
                }
            }
        }
    }

    /// Makes a file that is whole and synced in every directory the image of that transaction.
    pub fn publish_image(&self, image: &Unpublished, md5: &[u8; 16]) -> anyhow::Result<()> {
        self.publish_image_of(ImageKind::Usual, image, md5)?;
        self.write_seen_txid(image.txid());
        Ok(())
    }

    /// The same for an image of any kind. `seen_txid` is left as it is.
    pub fn publish_image_of(&self, kind: ImageKind, image: &Unpublished, md5: &[u8; 16]) -> anyhow::Result<()> {
        let (name, published) = match kind {
            ImageKind::Usual => (image_name(image.txid()), self.dirs.publish_image(image, md5)),
            ImageKind::Rollback => (
                rollback_name(image.txid()),
                self.dirs.publish_rollback_image(image, md5),
            ),
        };
        let published = published.map_err(|failure| {
            let dir = failure.path.display().to_string();
            anyhow::Error::from(failure.error).context(format!("cannot publish {name} in {dir}"))
        });
        for failure in published? {
            let dir = failure.path.parent().unwrap_or(&failure.path);
            let reason = format!("cannot publish {name}: {}", failure.error);
            tracing::error!(dir = %dir.display(), reason, "a storage directory has failed and is used no more");
        }
        Ok(())
    }

    /// Notes the highest transaction seen, as far as it goes.
    pub fn write_seen_txid(&self, txid: TxId) {
        for failure in self.dirs.write_seen_txid(txid) {
            tracing::warn!(path = %failure.path.display(), error = %failure.error, "cannot write seen_txid");
        }
    }

    /// Deletes images beyond those to be retained, and answers the first transaction whose edits must stay
    /// ([`name_dirs::NameDirs::purge_images`]).
    pub fn purge_images(&self, settings: &Settings) -> Option<TxId> {
        let purged = self
            .dirs
            .purge_images(settings.checkpoints_retained, settings.extra_edits_retained)?;
        for failure in purged.failures {
            tracing::warn!(path = %failure.path.display(), error = %failure.error, "cannot purge an old image");
        }
        Some(purged.edits_from)
    }
}

/// The digest in an image's MD5 file, which must name this very image.
pub fn read_md5(image: &Path) -> Result<[u8; 16], LoadError> {
    image_files::read_md5(&OsDisk, image)
}

/// 32 hexadecimal digits.
#[must_use]
pub fn parse_md5(digits: &str) -> Option<[u8; 16]> {
    let mut md5 = [0; 16];
    if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in md5.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(md5)
}

/// The name directories that hold something which a format would destroy.
pub fn has_some_data(settings: &Settings) -> anyhow::Result<Vec<PathBuf>> {
    let mut holding = Vec::new();
    for path in all_dirs(settings) {
        if StorageDirectory::new(OsDisk, &path).has_some_data()? {
            holding.push(path);
        }
    }
    Ok(holding)
}

/// The layout version of the first directory that is formatted; nothing is locked or changed.
pub fn layout_version(settings: &Settings) -> anyhow::Result<LayoutVersion> {
    for path in all_dirs(settings) {
        let dir = StorageDirectory::new(OsDisk, &path);
        if let Some(version) = dir.read_version()? {
            return Ok(version.namespace_info(&path)?.layout_version);
        }
    }
    Err(NameDirsError::NotFormatted(all_dirs(settings)).into())
}

/// Why name directories are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Birth {
    /// A new namespace.
    Format,
    /// A namespace that is elsewhere.
    Copy,
}

impl Birth {
    fn name(self) -> &'static str {
        match self {
            Birth::Format => "format-",
            Birth::Copy => "copy-",
        }
    }
}

/// New name directories, made beside those that are there. When all are whole they take their places together: after a crash
/// at any moment there are the old ones, or the new ones.
pub struct NewNameDirs {
    dirs: Vec<StorageDirectory<OsDisk>>,
    made: NameDirs,
}

impl NewNameDirs {
    fn lock(settings: &Settings) -> anyhow::Result<Vec<StorageDirectory<OsDisk>>> {
        let mut dirs = Vec::new();
        for path in all_dirs(settings) {
            make_dirs(&OsDisk, &path).with_context(|| format!("cannot make {}", path.display()))?;
            let mut dir = StorageDirectory::new(OsDisk, &path);
            dir.lock(&holder())?;
            dirs.push(dir);
        }
        Ok(dirs)
    }

    fn of(settings: &Settings, dirs: Vec<StorageDirectory<OsDisk>>, info: NamespaceInfo) -> NewNameDirs {
        let new = |path: &PathBuf| StorageDirectory::new(OsDisk, path).new_current();
        let images = settings.name_dirs.iter().map(new).collect();
        let edits = settings.edits_dirs.iter().map(new).collect();
        let made = NameDirs {
            dirs: name_dirs::NameDirs::of(OsDisk, info, images, edits),
            bandwidth: settings.image_bandwidth,
        };
        NewNameDirs { dirs, made }
    }

    /// Begins to make them for this namespace.
    pub fn begin(settings: &Settings, info: &NamespaceInfo) -> anyhow::Result<NewNameDirs> {
        let dirs = Self::lock(settings)?;
        for dir in &dirs {
            let new = dir.begin_new()?;
            OsDisk.write_small(&new.join("seen_txid"), b"0\n")?;
        }
        Ok(Self::of(settings, dirs, info.clone()))
    }

    /// What [`NewNameDirs::finish`] has left of a format when no directory has taken its place yet.
    pub fn finished(settings: &Settings) -> anyhow::Result<Option<NewNameDirs>> {
        let all = all_dirs(settings);
        let mut first: Option<VersionFile> = None;
        for path in &all {
            let Some(version) = StorageDirectory::new(OsDisk, path).finished_new()? else {
                return Ok(None);
            };
            let is_format = birth::mark_of(&version).is_some_and(|mark| mark.starts_with(Birth::Format.name()));
            if !is_format || first.as_ref().is_some_and(|first| *first != version) {
                return Ok(None);
            }
            first = Some(version);
        }
        let (Some(version), Some(path)) = (first, all.first()) else {
            return Ok(None);
        };
        let info = version.namespace_info(path)?;
        Ok(Some(Self::of(settings, Self::lock(settings)?, info)))
    }

    /// Their files are made in these.
    #[must_use]
    pub fn made(&self) -> &NameDirs {
        &self.made
    }

    /// They are whole: nothing more is written to them.
    pub fn finish(&self, birth: Birth) -> anyhow::Result<()> {
        if let Some((dir, reason)) = self.made.failed().pop_first() {
            anyhow::bail!("{} is not formatted: {reason}", dir.display());
        }
        let mut version = VersionFile::new(NodeType::NameNode, &self.made.info);
        birth::mark(&mut version, &format!("{}{}", birth.name(), uuid::Uuid::new_v4()));
        Ok(self.dirs.iter().try_for_each(|dir| dir.finish_new(&version))?)
    }

    /// They take their places.
    pub fn place(self) -> anyhow::Result<()> {
        birth::place_all(&self.dirs)?;
        for dir in &self.dirs {
            tracing::info!(dir = %dir.root().display(), "storage directory has been successfully formatted");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use hathi_namesystem::save_namespace::ImagePurpose;

    #[test]
    fn a_directory_that_takes_no_image_is_left_out_until_it_is_to_be_restored() {
        let root = tempfile::tempdir().unwrap();
        let [a, b, aside] = ["a", "b", "aside"].map(|name| root.path().join(name));
        let both = format!("{},{}", a.display(), b.display());
        let alone = testing::active_with(&[("dfs.namenode.name.dir", both)]);
        let (nn, dirs) = (&alone.shared.nn, &alone.shared.dirs);
        std::fs::rename(&b, &aside).unwrap();
        let saved = std::thread::scope(|scope| {
            let saved = scope.spawn(|| alone.shared.checkpoints.save(ImagePurpose::SaveNamespace));
            // The journals take the end of the segment.
            while !saved.is_finished() {
                let mut ns = nn.ns.write();
                drop(ns.take_logged());
                let applied = ns.edit_log().applied();
                ns.life().acknowledge(applied).unwrap();
                drop(ns);
                std::thread::yield_now();
            }
            saved.join().unwrap()
        });
        assert_eq!(saved.unwrap(), TxId(7));
        assert_eq!(dirs.failed().into_keys().collect::<Vec<_>>(), [b.join("current")]);
        assert_eq!(dirs.images().len(), 1);

        std::fs::rename(&aside, &b).unwrap();
        dirs.attempt_restore();
        assert_eq!(dirs.failed().len(), 1, "nobody wants it");
        assert!(dirs.restore_failed_storage("true") && dirs.restore_failed_storage("check"));
        dirs.attempt_restore();
        assert!(dirs.failed().is_empty() && dirs.begin_restoring_edits() && !dirs.begin_restoring_edits());
        assert!(!dirs.restore_failed_storage("false"));
    }

    #[test]
    fn a_disk_that_was_replaced_is_formatted_and_another_namespaces_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| root.path().join(name));
        let both = format!("{},{}", a.display(), b.display());
        let alone = testing::active_with(&[
            ("dfs.namenode.name.dir", both),
            ("dfs.namenode.name.dir.restore", "true".to_owned()),
        ]);
        let dirs = &alone.shared.dirs;
        std::fs::remove_dir_all(&b).unwrap();
        dirs.fail(&b.join("current"), "it is gone");
        dirs.attempt_restore();
        assert_eq!(dirs.failed().len(), 1, "it is not there");
        std::fs::create_dir(&b).unwrap();
        dirs.attempt_restore();
        assert!(dirs.failed().is_empty() && b.join("current/VERSION").exists());

        let version = b.join("current/VERSION");
        let text = std::fs::read_to_string(&version).unwrap();
        std::fs::write(&version, text.replace("CID-test", "CID-other")).unwrap();
        dirs.fail(&b.join("current"), "it was taken away");
        dirs.attempt_restore();
        assert_eq!(dirs.failed().len(), 1);
    }
}
