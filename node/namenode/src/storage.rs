//! The name directories: VERSION, images and their MD5 files, `seen_txid`, locks.

use crate::checkpoint::Unpublished;
use crate::identity;
use crate::settings::Settings;
use anyhow::Context;
use hathi_formats::fsimage::{format_md5_file, parse_md5_file};
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_journal::Membership;
use hathi_namesystem::checkpoint::{IMAGES_RETAINED_MIN, retention};
use hathi_storage::{Disk as _, NodeType, OsDisk, StorageDirectory, StorageState, VersionFile};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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
    _locked: Vec<StorageDirectory<OsDisk>>,
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

    /// Locks, repairs and reads all directories. They must agree, and at least one must be formatted.
    pub fn open(settings: &Settings) -> anyhow::Result<NameDirs> {
        let mut info: Option<NamespaceInfo> = None;
        let mut locked = Vec::new();
        let mut unformatted = Vec::new();
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
            match dir.read_version()? {
                None => unformatted.push(dir),
                Some(version) => {
                    let found = version.namespace_info(&path)?;
                    identity::check_layout(&path, found.layout_version)?;
                    if let Some(differs) = info.as_ref().and_then(|info| identity::difference(info, &found)) {
                        anyhow::bail!(
                            "Directory {} is in an inconsistent state: {differs}, as in the other name directories",
                            path.display()
                        );
                    }
                    info = Some(found);
                    locked.push(dir);
                }
            }
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
            _locked: locked,
        })
    }

    /// `current` of the directories for images.
    #[must_use]
    pub fn images_dirs(&self) -> &[PathBuf] {
        &self.images
    }

    /// `current` of the directories for edits.
    #[must_use]
    pub fn edits_dirs(&self) -> &[PathBuf] {
        &self.edits
    }

    /// All images of all directories, newest first.
    #[must_use]
    pub fn images(&self) -> Vec<ImageFile> {
        images_in(&self.images)
    }

    /// Makes a file that is whole and synced in every directory the image of that transaction: the MD5 file first, as an
    /// image without one is refused.
    pub fn publish_image(&self, image: &Unpublished, md5: &[u8; 16]) -> anyhow::Result<()> {
        let txid = image.txid();
        let name = image_name(txid);
        for (dir, file) in self.images.iter().zip(image.paths()) {
            OsDisk.write_small(&dir.join(format!("{name}.md5")), format_md5_file(md5, &name).as_bytes())?;
            std::fs::rename(file, dir.join(&name))
                .with_context(|| format!("cannot publish {name} in {}", dir.display()))?;
            std::fs::File::open(dir)?.sync_all()?;
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
        for dir in &self.images {
            if let Err(error) = OsDisk.write_small(&dir.join("seen_txid"), format!("{}\n", txid.0).as_bytes()) {
                tracing::warn!(dir = %dir.display(), %error, "cannot write seen_txid");
            }
        }
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

/// The name of an image that is not complete.
#[must_use]
pub fn checkpoint_name(txid: TxId) -> String {
    format!("fsimage.ckpt_{:019}", txid.0)
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
    if digits.len() != 32 || !digits.is_ascii() {
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
                .filter(|digits| digits.len() == 19)
                .and_then(|digits| digits.parse().ok());
            if let Some(txid) = txid {
                images.push(ImageFile {
                    txid: TxId(txid),
                    path: entry.path(),
                });
            }
        }
    }
    images.sort_by(|a, b| b.txid.cmp(&a.txid).then_with(|| a.path.cmp(&b.path)));
    images
}

/// Whether any name directory holds something that a format would destroy.
pub fn has_some_data(settings: &Settings) -> Vec<PathBuf> {
    all_dirs(settings)
        .into_iter()
        .filter(|dir| std::fs::read_dir(dir.join("current")).is_ok_and(|mut entries| entries.next().is_some()))
        .collect()
}

/// Empties all directories and gives them a VERSION.
pub fn format(settings: &Settings, info: &NamespaceInfo) -> anyhow::Result<()> {
    for path in all_dirs(settings) {
        let mut dir = StorageDirectory::new(OsDisk, &path);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        dir.lock(&holder())?;
        dir.format(&VersionFile::new(NodeType::NameNode, info), true)?;
        OsDisk.write_small(&path.join("current/seen_txid"), b"0\n")?;
        tracing::info!(dir = %path.display(), "storage directory has been successfully formatted");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn images_are_found_newest_first_and_checkpoints_are_not_images() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "fsimage_0000000000000000003",
            "fsimage_0000000000000000020",
            "fsimage_0000000000000000020.md5",
            "fsimage.ckpt_0000000000000000030",
        ] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        let found = images_in(&[dir.path().to_owned()]);
        assert_eq!(found.iter().map(|image| image.txid.0).collect::<Vec<_>>(), [20, 3]);
    }
}
