//! Images to which a rolling upgrade can be rolled back (`NameNodeFile.IMAGE_ROLLBACK`, `FSImage.rollingRollback`,
//! `FSImage.renameCheckpoint`).
//!
//! ```text
//! <current>/fsimage_rollback_<txid>       the namespace as the rolling upgrade found it
//! <current>/fsimage_rollback_<txid>.md5   its digest
//! ```
//!
//! Invariants:
//! - No load takes one of them for the newest image, and no retention deletes one.
//! - A rollback puts back `seen_txid`, and removes the later images, before there is an image of the old namespace under
//!   its usual name. So a NameNode that is started in the middle of one has the later images or refuses, and a repetition
//!   ends it.

use super::{Failure, NameDirs};
use crate::image_files::{ImageFile, image_name, images_named, md5_path, read_md5};
use hathi_formats::fsimage::format_md5_file;
use hathi_formats::ids::TxId;
use hathi_storage::Disk;
use std::io;
use std::path::{Path, PathBuf};

/// What the names of these images begin with.
pub const ROLLBACK: &str = "fsimage_rollback_";

/// `NameNodeFile`: which of the images is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// `IMAGE`
    Usual,
    /// `IMAGE_ROLLBACK`
    Rollback,
}

impl ImageKind {
    /// Hadoop's name, as requests have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ImageKind::Usual => "IMAGE",
            ImageKind::Rollback => "IMAGE_ROLLBACK",
        }
    }

    /// The kind that a request names. Without a name it is the usual one.
    #[must_use]
    pub fn of(name: Option<&str>) -> ImageKind {
        match name {
            Some("IMAGE_ROLLBACK") => ImageKind::Rollback,
            _ => ImageKind::Usual,
        }
    }
}

/// `fsimage_rollback_<txid>`.
#[must_use]
pub fn rollback_name(txid: TxId) -> String {
    format!("{ROLLBACK}{:019}", txid.0)
}

impl<D: Disk> NameDirs<D> {
    /// The rollback images of all directories in use, newest first.
    #[must_use]
    pub fn rollback_images(&self) -> Vec<ImageFile> {
        images_named(&self.disk, &self.images_dirs(), ROLLBACK)
    }

    /// The images of a kind, newest first.
    #[must_use]
    pub fn images_of(&self, kind: ImageKind) -> Vec<ImageFile> {
        match kind {
            ImageKind::Usual => self.images(),
            ImageKind::Rollback => self.rollback_images(),
        }
    }

    /// The rolling upgrade is finalized: the rollback images up to `last` become usual ones. Answers what failed.
    pub fn finalize_rollback_images(&self, last: TxId) -> Vec<Failure> {
        let images = self.rollback_images().into_iter();
        let failed = images.filter(|image| image.txid <= last).filter_map(|image| {
            let done = self.rename_rollback(&image);
            done.err().map(|error| Failure {
                path: image.path,
                error,
            })
        });
        failed.collect()
    }

    /// Everything behind the rollback image of this transaction goes: later images, all rollback images, and what
    /// `seen_txid` says. The edits are the caller's, and go before.
    ///
    /// # Errors
    /// The disk says so. It may be repeated.
    pub fn roll_back_to(&self, to: TxId) -> Result<(), Failure> {
        let at = |path: &Path| {
            let path = path.to_owned();
            |error| Failure { path, error }
        };
        let mut dirs = self.images_dirs();
        dirs.extend(
            self.edits_dirs()
                .iter()
                .filter(|dir| !self.images.contains(dir))
                .cloned(),
        );
        for dir in &dirs {
            let seen = dir.join("seen_txid");
            let text = format!("{}\n", to.0);
            self.disk.write_small(&seen, text.as_bytes()).map_err(at(&seen))?;
        }
        for image in self.images().into_iter().filter(|image| image.txid > to) {
            self.remove_image(&image.path).map_err(at(&image.path))?;
        }
        for image in self.rollback_images() {
            let done = match image.txid == to {
                true => self.rename_rollback(&image),
                false => self.remove_image(&image.path),
            };
            done.map_err(at(&image.path))?;
        }
        Ok(())
    }

    /// The MD5 file of the new name comes first, as an image without one is refused.
    fn rename_rollback(&self, image: &ImageFile) -> io::Result<()> {
        let digest = read_md5(&self.disk, &image.path).map_err(io::Error::other)?;
        let dir = image.path.parent().map(Path::to_path_buf).unwrap_or_default();
        let name = image_name(image.txid);
        let usual: PathBuf = dir.join(&name);
        self.disk
            .write_small(&md5_path(&usual), format_md5_file(&digest, &name).as_bytes())?;
        self.disk.rename(&image.path, &usual)?;
        self.disk.sync_dir(&dir)?;
        self.disk.remove_file(&md5_path(&image.path))
    }

    fn remove_image(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)?;
        self.disk.remove_file(&md5_path(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_files::{Unpublished, md5_of};
    use hathi_formats::ids::NamespaceInfo;
    use hathi_storage::{DiskFile, SimDisk};

    fn dirs() -> (SimDisk, NameDirs<SimDisk>) {
        let disk = SimDisk::new();
        let current = ["/a/current", "/b/current"].map(PathBuf::from).to_vec();
        for dir in &current {
            disk.create_dir_all(dir).unwrap();
            disk.write_small(&dir.join("seen_txid"), b"90\n").unwrap();
        }
        let dirs = NameDirs::of(disk.clone(), NamespaceInfo::default(), current.clone(), current);
        (disk, dirs)
    }

    fn publish(disk: &SimDisk, dirs: &NameDirs<SimDisk>, txid: u64, rollback: bool) {
        let bytes = txid.to_be_bytes();
        let unpublished = Unpublished::of(disk.clone(), &dirs.images_dirs(), TxId(txid));
        for path in unpublished.paths() {
            let file = disk.create(path).unwrap();
            file.write_at(0, &bytes).unwrap();
            file.sync_data().unwrap();
        }
        let md5 = md5_of(&bytes);
        let published = match rollback {
            true => dirs.publish_rollback_image(&unpublished, &md5),
            false => dirs.publish_image(&unpublished, &md5),
        };
        assert!(published.unwrap().is_empty());
    }

    fn names(images: &[ImageFile]) -> Vec<(u64, &str)> {
        let of = |image: &ImageFile| image.txid.0;
        images
            .iter()
            .map(|image| (of(image), image.path.to_str().unwrap()))
            .collect()
    }

    fn seen(disk: &SimDisk) -> Vec<u8> {
        disk.read_small(Path::new("/b/current/seen_txid")).unwrap().unwrap()
    }

    #[test]
    fn a_rollback_image_is_no_usual_one_until_the_upgrade_is_finalized() {
        let (disk, dirs) = dirs();
        publish(&disk, &dirs, 10, false);
        publish(&disk, &dirs, 20, true);
        assert_eq!(names(&dirs.images()).len(), 2, "a load does not see it");
        assert_eq!(names(&dirs.rollback_images()).len(), 2);
        assert!(dirs.finalize_rollback_images(TxId(19)).is_empty());
        assert_eq!(names(&dirs.rollback_images()).len(), 2, "it is of a later upgrade");
        assert!(dirs.finalize_rollback_images(TxId(25)).is_empty());
        assert!(dirs.rollback_images().is_empty());
        let images = dirs.images();
        assert_eq!(images[0].txid, TxId(20));
        assert_eq!(read_md5(&disk, &images[0].path).unwrap(), md5_of(&20_u64.to_be_bytes()));
        assert_eq!(seen(&disk), b"90\n");
    }

    #[test]
    fn a_rollback_leaves_nothing_behind_its_image_and_a_repetition_ends_it() {
        let (disk, dirs) = dirs();
        for txid in [10, 30, 40] {
            publish(&disk, &dirs, txid, false);
        }
        publish(&disk, &dirs, 15, true);
        publish(&disk, &dirs, 20, true);
        // It ended when it had come to the first directory.
        let first = dirs
            .rollback_images()
            .into_iter()
            .find(|image| image.txid == TxId(20))
            .unwrap();
        dirs.rename_rollback(&first).unwrap();
        dirs.roll_back_to(TxId(20)).unwrap();
        let images = dirs.images();
        let found: Vec<u64> = names(&images).into_iter().map(|(txid, _)| txid).collect();
        assert_eq!(found, [20, 20, 10, 10]);
        assert!(images.iter().all(|image| read_md5(&disk, &image.path).is_ok()));
        assert!(dirs.rollback_images().is_empty());
        assert_eq!(seen(&disk), b"20\n");
    }
}
