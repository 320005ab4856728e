//! The name directories: VERSION, images and their MD5 files, `seen_txid`, locks.

use crate::identity;
use crate::settings::{ImageBandwidth, Settings};
use crate::unpublished::Unpublished;
use anyhow::Context;
use hathi_formats::fsimage::{format_md5_file, parse_md5_file};
use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_journal::Membership;
use hathi_journal::directory::SharedDirectory;
use hathi_namesystem::checkpoint::{IMAGES_RETAINED_MIN, retention};
use hathi_storage::durable_long::read_text_long;
use hathi_storage::{Disk as _, NodeType, OsDisk, StorageDirectory, StorageState, VersionFile, birth, make_dirs};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The name and edits directories of this NameNode, locked.
#[derive(Debug)]
pub struct NameDirs {
    /// Which namespace they hold.
    pub info: NamespaceInfo,
    images: Vec<PathBuf>,
    edits: Vec<PathBuf>,
    /// Images that this process has loaded, saved or read to their end. Losing it at a restart is safe: what is not known
    /// to be whole makes no other image superfluous.
    verified: Mutex<BTreeSet<TxId>>,
    /// `current` of directories that are used no more, and why (`NNStorage.removedStorageDirs`). Losing it at a restart is
    /// safe: all are tried again then, and what they lack is copied or left out by the age of their files.
    failed: Mutex<BTreeMap<PathBuf, String>>,
    /// `dfs.namenode.name.dir.restore`, until somebody says otherwise.
    restore: AtomicBool,
    /// The next segment of edits is begun in directories, too, that were used no more.
    restoring_edits: AtomicBool,
    locked: Mutex<Vec<StorageDirectory<OsDisk>>>,
    bandwidth: ImageBandwidth,
}

/// An image on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// What it covers.
    pub txid: TxId,
    /// Where it is.
    pub path: PathBuf,
}

fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}@{}", std::process::id(), host.trim())
}

fn all_dirs(settings: &Settings) -> Vec<PathBuf> {
    let mut dirs = settings.name_dirs.clone();
    for dir in &settings.edits_dirs {
        if !dirs.contains(dir) {
            dirs.push(dir.clone());
        }
    }
    dirs
}

/// The newest membership of the JournalNodes that this NameNode has heard of, beside VERSION.
const JOURNALNODES: &str = "hathi-journalnodes";
/// Beside it, while shared edits are filled from the local ones.
const FILLING: &str = "hathi-initialize-shared-edits";

impl NameDirs {
    /// Who the JournalNodes are, as far as was known at the last run; `None` when they were never changed.
    #[must_use]
    pub fn membership(&self) -> Option<Membership> {
        let files = self.images.iter().map(|dir| dir.join(JOURNALNODES));
        let read = files.filter_map(|file| Membership::parse(&std::fs::read_to_string(file).ok()?));
        read.reduce(|best, next| if next.is_newer_than(Some(&best)) { next } else { best })
    }

    /// Keeps who the JournalNodes are for the next start.
    pub fn keep_membership(&self, membership: &Membership) -> anyhow::Result<()> {
        for dir in &self.images {
            let file = dir.join(JOURNALNODES);
            OsDisk
                .write_small(&file, membership.to_text().as_bytes())
                .with_context(|| file.display().to_string())?;
        }
        Ok(())
    }

    /// The JournalNodes were formatted: those of the configuration count.
    pub fn forget_membership(&self) -> anyhow::Result<()> {
        for dir in &self.images {
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
        for dir in &self.images {
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
        let text = self.images.iter().find_map(read)?;
        Some(String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// Locks, repairs and reads all directories. They must agree, and at least one must be formatted.
    pub fn open(settings: &Settings) -> anyhow::Result<NameDirs> {
        let mut dirs = Vec::new();
        for path in all_dirs(settings) {
            let mut dir = StorageDirectory::new(OsDisk, &path);
            match dir.analyze()? {
                StorageState::NonExistent => anyhow::bail!(
                    "Directory {} is in an inconsistent state: storage directory does not exist or is not accessible",
                    path.display()
                ),
                state => {
                    dir.lock(&holder())?;
                    // Before anything is renamed: what began the upgrade must find it as it left it.
                    identity::check_no_upgrade(&path, state)?;
                    dir.recover(state)?;
                }
            }
            dirs.push(dir);
        }
        birth::settle(&dirs)?;
        let mut info: Option<NamespaceInfo> = None;
        let mut locked = Vec::new();
        let mut unformatted = Vec::new();
        for dir in dirs {
            let path = dir.root();
            let Some(version) = dir.read_version()? else {
                unformatted.push(dir);
                continue;
            };
            let found = version.namespace_info(path)?;
            identity::check_layout(path, found.layout_version)?;
            if let Some(differs) = info.as_ref().and_then(|info| identity::difference(info, &found)) {
                anyhow::bail!(
                    "Directory {} is in an inconsistent state: {differs}, as in the other name directories",
                    path.display()
                );
            }
            info = Some(found);
            // What is served now is not replaced by a format that has ended before it began to.
            dir.discard_new()?;
            locked.push(dir);
        }
        let info = info.context("NameNode is not formatted.")?;
        // A directory added later gets its VERSION now and its image at the next checkpoint.
        for dir in unformatted {
            dir.format(&VersionFile::new(NodeType::NameNode, &info), true)?;
            locked.push(dir);
        }
        Ok(NameDirs {
            info,
            images: settings.name_dirs.iter().map(|dir| dir.join("current")).collect(),
            edits: settings.edits_dirs.iter().map(|dir| dir.join("current")).collect(),
            verified: Mutex::default(),
            failed: Mutex::default(),
            restore: AtomicBool::new(settings.restore_failed_storage),
            restoring_edits: AtomicBool::new(false),
            locked: Mutex::new(locked),
            bandwidth: settings.image_bandwidth,
        })
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

    /// `current` of the directories for images that are in use.
    #[must_use]
    pub fn images_dirs(&self) -> Vec<PathBuf> {
        let failed = self.failed.lock();
        let in_use = self.images.iter().filter(|dir| !failed.contains_key(*dir));
        in_use.cloned().collect()
    }

    /// The directories for edits, to read.
    #[must_use]
    pub fn edits(&self) -> Vec<SharedDirectory<OsDisk>> {
        let roots = self.edits.iter().filter_map(|current| current.parent());
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

    /// A directory (its `current`) is used no more (`NNStorage.reportErrorsOnDirectory`).
    pub fn fail(&self, current: &Path, reason: &str) {
        let (dir, left) = {
            let mut failed = self.failed.lock();
            failed.insert(current.to_owned(), reason.to_owned());
            let all: BTreeSet<&PathBuf> = self.images.iter().chain(&self.edits).collect();
            (current.parent().unwrap_or(current).to_owned(), all.len() - failed.len())
        };
        tracing::error!(dir = %dir.display(), reason, left, "a storage directory has failed and is used no more");
    }

    /// Directories that are used no more, by their `current`, and why.
    #[must_use]
    pub fn failed(&self) -> BTreeMap<PathBuf, String> {
        self.failed.lock().clone()
    }

    /// `restoreFailedStorage` with `true`, `false` or `check` (`NNStorage.restoreFailedStorage`): whether failed directories
    /// are tried again at the next checkpoint.
    pub fn restore_failed_storage(&self, argument: &str) -> bool {
        match argument {
            "check" => {}
            wanted => self.restore.store(wanted == "true", Ordering::Release),
        }
        self.restore.load(Ordering::Acquire)
    }

    /// Uses failed directories again that can be written and are of this namespace, or empty, if that is wanted. Their
    /// edits follow with the next segment (`NNStorage.attemptRestoreRemovedStorage`).
    pub fn attempt_restore(&self) {
        if !self.restore.load(Ordering::Acquire) {
            return;
        }
        for current in self.failed().into_keys() {
            match self.restore(&current) {
                Ok(()) => {
                    self.failed.lock().remove(&current);
                    self.restoring_edits.store(true, Ordering::Release);
                    tracing::info!(dir = %current.display(), "a storage directory is used again");
                }
                Err(error) => {
                    tracing::warn!(dir = %current.display(), error = format!("{error:#}"), "a storage directory stays unused");
                }
            }
        }
    }

    fn restore(&self, current: &Path) -> anyhow::Result<()> {
        let root = current.parent().context("it has no parent")?;
        let mut dir = StorageDirectory::new(OsDisk, root);
        match dir.read_version()? {
            Some(version) => {
                let found = version.namespace_info(root)?;
                if let Some(differs) = identity::difference(&self.info, &found) {
                    anyhow::bail!("{differs}");
                }
            }
            // Another disk in its place.
            None => {
                anyhow::ensure!(OsDisk.exists(root)?, "it is not there");
                dir.lock(&holder())?;
                dir.format(&VersionFile::new(NodeType::NameNode, &self.info), true)?;
                self.locked.lock().push(dir);
            }
        }
        let seen = current.join("seen_txid");
        let text = OsDisk.read_small(&seen)?.unwrap_or_else(|| b"0\n".to_vec());
        Ok(OsDisk.write_small(&seen, &text)?)
    }

    /// Whether the segment that is about to begin shall be begun in directories, too, that were used no more.
    pub fn begin_restoring_edits(&self) -> bool {
        self.restoring_edits.swap(false, Ordering::AcqRel)
    }

    /// `current` of the directories for edits.
    #[must_use]
    pub fn edits_dirs(&self) -> &[PathBuf] {
        &self.edits
    }

    /// All images of all directories, newest first.
    #[must_use]
    pub fn images(&self) -> Vec<ImageFile> {
        images_in(&self.images_dirs())
    }

    /// Makes a file that is whole and synced in every directory the image of that transaction: the MD5 file first, as an
    /// image without one is refused.
    pub fn publish_image(&self, image: &Unpublished, md5: &[u8; 16]) -> anyhow::Result<()> {
        let txid = image.txid();
        let name = image_name(txid);
        let publish = |file: &Path, dir: &Path| -> std::io::Result<()> {
            // Who could not write it has removed it.
            std::fs::metadata(file)?;
            OsDisk.write_small(&dir.join(format!("{name}.md5")), format_md5_file(md5, &name).as_bytes())?;
            std::fs::rename(file, dir.join(&name))?;
            std::fs::File::open(dir)?.sync_all()
        };
        let mut failed = Vec::new();
        for file in image.paths() {
            let Some(dir) = file.parent() else { continue };
            if let Err(error) = publish(file, dir) {
                failed.push((dir, error));
            }
        }
        // Of nothing but failures none is dropped: there may be room the next time.
        if failed.len() == image.paths().len() {
            let (dir, error) = failed.pop().context("no name directory is in use")?;
            return Err(error).with_context(|| format!("cannot publish {name} in {}", dir.display()));
        }
        for (dir, error) in failed {
            self.fail(dir, &format!("cannot publish {name}: {error}"));
        }
        self.note_verified(txid);
        self.write_seen_txid(txid);
        Ok(())
    }

    /// An image is known to be whole.
    pub fn note_verified(&self, txid: TxId) {
        self.verified.lock().insert(txid);
    }

    /// Notes the highest transaction seen, as far as it goes.
    pub fn write_seen_txid(&self, txid: TxId) {
        for dir in &self.images_dirs() {
            let file = dir.join("seen_txid");
            let known = read_text_long(&OsDisk, &file).ok().flatten();
            // The writer of the edits may be ahead of an image.
            if known.is_some_and(|known| known >= txid.0) {
                continue;
            }
            if let Err(error) = OsDisk.write_small(&file, format!("{}\n", txid.0).as_bytes()) {
                tracing::warn!(dir = %dir.display(), %error, "cannot write seen_txid");
            }
        }
    }

    /// The highest transaction that `seen_txid` of any directory names (`FSImageTransactionalStorageInspector`).
    #[must_use]
    pub fn max_seen_txid(&self) -> TxId {
        let files = self.images.iter().chain(&self.edits).map(|dir| dir.join("seen_txid"));
        let seen = files.filter_map(|file| read_text_long(&OsDisk, &file).ok().flatten());
        TxId(seen.max().unwrap_or(0))
    }

    /// Deletes images beyond those to be retained, and answers the first transaction whose edits must stay. Only images
    /// that are known to be whole count as retained, and while there are too few of them nothing is deleted.
    pub fn purge_images(&self, settings: &Settings) -> Option<TxId> {
        let images = self.images();
        let mut here: Vec<TxId> = images.iter().map(|image| image.txid).collect();
        here.dedup();
        let retained = settings.checkpoints_retained.max(IMAGES_RETAINED_MIN);
        let (oldest, edits_from) = {
            let mut verified = self.verified.lock();
            verified.retain(|txid| here.contains(txid));
            let whole: Vec<TxId> = verified.iter().copied().collect();
            // All that are here are kept, and their edits with them.
            let (counted, retained) = if whole.len() < retained {
                (&here, usize::MAX)
            } else {
                (&whole, retained)
            };
            retention(counted, retained, settings.extra_edits_retained)?
        };
        for image in images.iter().filter(|image| image.txid < oldest) {
            let mut md5 = image.path.clone().into_os_string();
            md5.push(".md5");
            for path in [image.path.clone(), PathBuf::from(md5)] {
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot purge an old image");
                }
            }
        }
        Some(edits_from)
    }
}

/// `fsimage_<txid>`.
#[must_use]
pub fn image_name(txid: TxId) -> String {
    format!("fsimage_{:019}", txid.0)
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest in an image's MD5 file, which must name this very image.
pub fn read_md5(image: &Path) -> anyhow::Result<[u8; 16]> {
    let mut path = image.as_os_str().to_owned();
    path.push(".md5");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("No MD5 file found corresponding to image file {}", image.display()))?;
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    parse_md5_file(&text, &name).map_err(|problem| anyhow::anyhow!("MD5 file of {}: {problem}", image.display()))
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

fn images_in(dirs: &[PathBuf]) -> Vec<ImageFile> {
    let mut images = Vec::new();
    for dir in dirs {
        let Ok(entries) = std::fs::read_dir(dir) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let txid = name
                .to_str()
                .and_then(|name| name.strip_prefix("fsimage_"))
                .filter(|digits| digits.len() == 19 && digits.bytes().all(|digit| digit.is_ascii_digit()))
                // Java's longs: no image is of a transaction above them.
                .and_then(|digits| digits.parse::<i64>().ok());
            if let Some(txid) = txid {
                images.push(ImageFile {
                    txid: TxId(txid.unsigned_abs()),
                    path: entry.path(),
                });
            }
        }
    }
    images.sort_by(|a, b| b.txid.cmp(&a.txid).then_with(|| a.path.cmp(&b.path)));
    images
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
    anyhow::bail!("NameNode is not formatted.")
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
        let made = NameDirs {
            info,
            images: settings.name_dirs.iter().map(new).collect(),
            edits: settings.edits_dirs.iter().map(new).collect(),
            verified: Mutex::default(),
            failed: Mutex::default(),
            restore: AtomicBool::new(false),
            restoring_edits: AtomicBool::new(false),
            locked: Mutex::default(),
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
    use crate::checkpoint::save;
    use crate::testing;
    use hathi_namesystem::save_namespace::Purpose;

    #[test]
    fn an_md5_file_must_name_its_image() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join(image_name(TxId(7)));
        let md5 = [0xab; 16];
        std::fs::write(
            dir.path().join("fsimage_0000000000000000007.md5"),
            format_md5_file(&md5, "fsimage_0000000000000000007"),
        )
        .unwrap();
        assert_eq!(read_md5(&image).unwrap(), md5);
        std::fs::write(
            dir.path().join("fsimage_0000000000000000007.md5"),
            format_md5_file(&md5, "fsimage_0000000000000000008"),
        )
        .unwrap();
        assert!(read_md5(&image).is_err());
        assert!(read_md5(&dir.path().join(image_name(TxId(9)))).is_err());
    }

    #[test]
    fn a_directory_that_takes_no_image_is_left_out_until_it_is_to_be_restored() {
        let root = tempfile::tempdir().unwrap();
        let [a, b, aside] = ["a", "b", "aside"].map(|name| root.path().join(name));
        let both = format!("{},{}", a.display(), b.display());
        let alone = testing::active_with(&[("dfs.namenode.name.dir", both)]);
        let (nn, dirs) = (&alone.shared.nn, &alone.shared.dirs);
        std::fs::rename(&b, &aside).unwrap();
        let saved = std::thread::scope(|scope| {
            let saved = scope.spawn(|| save(nn, dirs, Purpose::SaveNamespace));
            // The journals take the end of the segment.
            while !saved.is_finished() {
                let mut ns = nn.ns.write();
                drop(ns.edit_log.take());
                let applied = ns.edit_log.applied();
                ns.edit_log.life().acknowledge(applied).unwrap();
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

    #[test]
    fn images_are_found_newest_first_and_checkpoints_are_not_images() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "fsimage_0000000000000000003",
            "fsimage_0000000000000000020",
            "fsimage_0000000000000000020.md5",
            "fsimage.ckpt_0000000000000000030",
            // One more than Java's longest.
            "fsimage_9223372036854775808",
            "fsimage_+000000000000000040",
        ] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        let found = images_in(&[dir.path().to_owned()]);
        assert_eq!(found.iter().map(|image| image.txid.0).collect::<Vec<_>>(), [20, 3]);
    }
}
