//! The disks of the NameNodes: two name directories each, what goes wrong with them, and what is true of their images.
//!
//! Faults of which one NameNode alone survives with certainty happen at all of them: losses of power, failed syncs, a full
//! disk. What takes images away that were durable happens at one NameNode of a run, and leaves one directory whole: a lost
//! directory, and bits that flip. Only once all copies of its newest image are damaged, when there is an older one. That
//! NameNode's disk neither fails nor is full, because together both would be the loss of all images.

use super::images::ImageNews;
use super::nemesis::Repair;
use super::settings::namespace_config;
use super::{Event, World};
use hathi_formats::ids::LayoutVersion;
use hathi_formats::ids::TxId;
use hathi_nameserver::image_files::{ImageFile, ImageWriter, Unpublished, digest_of, images_in};
use hathi_nameserver::name_dirs::{NameDirs, Roots};
use hathi_namespace::Namespace;
use hathi_storage::{Disk, NodeType, SimDisk, StorageDirectory, VersionFile};
use std::path::{Path, PathBuf};

const TOP: &str = "/name";
/// The directory that may be lost.
const WEAK: &str = "/name/b";
/// A machine that is about to stop does so within so many changes of its disk.
const LAST_CHANGES: u64 = 15;

fn roots() -> Roots {
    let roots: Vec<PathBuf> = vec!["/name/a".into(), WEAK.into()];
    Roots {
        images: roots.clone(),
        edits: roots,
    }
}

fn currents() -> Vec<PathBuf> {
    roots().images.iter().map(|root| root.join("current")).collect()
}

/// A disk with formatted directories and an image of an empty namespace, and the digest of that.
pub(super) fn format(datanodes: bool) -> (SimDisk, [u8; 16]) {
    let disk = SimDisk::new();
    disk.lose_directories_whole();
    let version = VersionFile::new(NodeType::NameNode, &crate::namenode::namespace_info());
    for root in roots().images {
        hathi_storage::make_dirs(&disk, &root).expect("an empty disk takes directories");
        let formatted = StorageDirectory::new(disk.clone(), &root).format(&version, true);
        formatted.expect("an empty disk can be formatted");
    }
    let dirs = open(&disk, "format", false).expect("directories that were just formatted");
    let unpublished = Unpublished::of(disk.clone(), &dirs.images_dirs(), TxId(0));
    let frozen = Namespace::new(namespace_config(datanodes)).freeze();
    let writer = ImageWriter::create(&disk, unpublished.paths());
    let saved = frozen.save(writer, LayoutVersion::NAMENODE_CURRENT, &|| false);
    let (mut writer, summary) = saved.expect("an empty namespace can be saved");
    writer.finish().expect("a disk without faults");
    let published = dirs.publish_image(&unpublished, &summary.md5);
    assert!(
        published.is_ok_and(|failures| failures.is_empty()),
        "a disk without faults"
    );
    (disk, summary.md5)
}

fn open(disk: &SimDisk, holder: &str, restore: bool) -> Result<NameDirs<SimDisk>, String> {
    NameDirs::open(disk.clone(), &roots(), holder, restore).map_err(|error| error.to_string())
}

impl World {
    /// Opens the name directories of a NameNode that starts. Its administrator has replaced disks that are gone.
    pub(super) fn open_name_dirs(&mut self, nn: usize) -> Option<NameDirs<SimDisk>> {
        let disk = self.nns[nn].disk.clone();
        if has_unfinished(&disk) {
            self.mark("found an unfinished image at a start");
        }
        self.replace_lost(nn);
        let restore = self.rng.bool();
        match open(&disk, &self.nns[nn].holder(), restore) {
            Ok(dirs) => Some(dirs),
            Err(why) => {
                self.check(Err(format!("NameNode {nn} can't use its name directories: {why}")));
                None
            }
        }
    }

    fn replace_lost(&mut self, nn: usize) {
        let disk = self.nns[nn].disk.clone();
        if !disk.exists(Path::new(WEAK)).unwrap_or(true) {
            self.mark("a name directory was replaced");
            let made = hathi_storage::make_dirs(&disk, Path::new(WEAK));
            self.check(made.map_err(|error| error.to_string()));
        }
    }

    /// Its machine loses its power: what was not synced is gone or torn.
    pub(super) fn namenode_loses_power(&mut self, nn: usize) {
        self.kill_namenode(nn);
        let rng = &mut self.rng;
        self.nns[nn].disk.lose_power(&mut |n| rng.u64(0..n.max(1)));
    }

    /// Whether its machine has stopped in the middle of something that its process did.
    pub(super) fn has_stopped(&mut self, nn: usize) -> bool {
        let stopped = self.nns[nn].disk.has_stopped();
        if stopped {
            self.mark("NameNode lost its power in the middle");
            self.namenode_loses_power(nn);
        }
        stopped
    }

    // ---- faults

    /// Does one bad thing to the disk of a NameNode, or with its power.
    pub(super) fn harm_name_dirs(&mut self) {
        let nn = self.any_namenode();
        match self.rng.u8(0..8) {
            0 | 1 => {
                if self.nns[nn].shell.is_some() && self.fault("NameNode lost its power") {
                    self.namenode_loses_power(nn);
                }
            }
            2 => {
                let is_left_out = self.plan.without.contains(&"NameNode lost its power in the middle");
                if self.nns[nn].shell.is_some() && !is_left_out {
                    let changes = self.rng.u64(1..LAST_CHANGES);
                    self.nns[nn].disk.stop_after(Some(changes));
                }
            }
            3 => {
                let nn = self.another_than_weak();
                let syncs = self.rng.u32(1..4);
                if self.fault("sync at a NameNode failed") {
                    self.nns[nn].disk.fail_syncs(syncs);
                }
            }
            4 => {
                let nn = self.another_than_weak();
                let end = self.rng.u64(20_000..600_000);
                if self.fault("NameNode's disk full") {
                    self.nns[nn].disk.set_full(true);
                    self.after(end, Event::Repair(Repair::Room(nn)));
                }
            }
            5 => self.lose_name_dir(),
            6 => self.damage_copy(),
            _ => self.damage_newest(),
        }
    }

    fn another_than_weak(&mut self) -> usize {
        (self.weak_namenode + self.rng.usize(1..self.nns.len())) % self.nns.len()
    }

    fn lose_name_dir(&mut self) {
        let nn = self.weak_namenode;
        let disk = self.nns[nn].disk.clone();
        let is_there = disk.exists(Path::new(WEAK)).unwrap_or(false);
        if is_there && self.fault("name directory lost") {
            let gone = disk
                .remove_dir_all(Path::new(WEAK))
                .and_then(|()| disk.sync_dir(Path::new(TOP)));
            // A machine that has stopped loses nothing more.
            drop(gone);
            let replaced = self.rng.u64(50_000..2_000_000);
            self.after(replaced, Event::Repair(Repair::NameDir(nn)));
        }
    }

    /// A bit flips in the weak directory's copy of the newest image.
    fn damage_copy(&mut self) {
        let disk = self.nns[self.weak_namenode].disk.clone();
        let copies = images_in(&disk, &[Path::new(WEAK).join("current")]);
        if let Some(copy) = copies.first()
            && self.fault("copy of an image damaged")
        {
            self.flip_bit(&disk, copy);
        }
    }

    /// A bit flips in each copy of the newest image.
    fn damage_newest(&mut self) {
        let disk = self.nns[self.weak_namenode].disk.clone();
        let images = images_in(&disk, &currents());
        let Some(newest) = images.first().map(|image| image.txid) else {
            return;
        };
        let has_older = |image: &ImageFile| image.txid < newest && !image.path.starts_with(WEAK);
        let may = !self.newest_was_damaged && images.iter().any(has_older);
        if may && self.fault("newest image damaged") {
            self.newest_was_damaged = true;
            for copy in images.iter().filter(|image| image.txid == newest) {
                self.flip_bit(&disk, copy);
            }
        }
    }

    fn flip_bit(&mut self, disk: &SimDisk, image: &ImageFile) {
        let len = disk.file_len(&image.path).unwrap_or(0);
        let (byte, bit) = (self.rng.u64(0..len.max(1)), self.rng.u8(0..8));
        let flipped = disk.flip_bit(&image.path, byte, bit);
        debug_assert!(flipped.is_ok(), "the file was listed");
    }

    /// There is room again.
    pub(super) fn room_again(&mut self, nn: usize) {
        self.nns[nn].disk.set_full(false);
    }

    /// There is another disk in place of the lost one.
    pub(super) fn name_dir_replaced(&mut self, nn: usize) {
        self.replace_lost(nn);
    }

    pub(super) fn heal_name_dirs(&mut self) {
        for nn in 0..self.nns.len() {
            let disk = &self.nns[nn].disk;
            disk.set_full(false);
            disk.fail_syncs(0);
            disk.stop_after(None);
        }
    }

    // ---- what is true

    /// A NameNode has done something with an image.
    pub(super) fn image_news(&mut self, nn: usize, news: ImageNews) {
        let verdict = match news {
            ImageNews::Made(txid, md5) => {
                self.truth.images.made(txid, md5);
                Ok(())
            }
            ImageNews::Loaded(txid, md5) => self.truth.images.loaded(nn, txid, md5),
            ImageNews::NoneWhole(why) => Err(format!("NameNode {nn} has no image left: {why}")),
            ImageNews::Published(txid) => {
                let here = digests(&self.nns[nn].disk);
                let published = here.into_iter().filter(|(found, _)| *found == txid);
                let mut verdicts = published.map(|(txid, md5)| self.truth.images.published(nn, txid, md5));
                verdicts.find(Result::is_err).unwrap_or(Ok(()))
            }
            ImageNews::Purged(keep_from) => {
                let after = self.nns[nn].disk.fork();
                // Everything is lost that can be: of three ends of a write, and of two of a change of a name.
                after.lose_power(&mut |ends| u64::from(ends == 2));
                self.truth.images.purged(nn, keep_from, &digests(&after))
            }
        };
        self.check(verdict);
    }
}

fn has_unfinished(disk: &SimDisk) -> bool {
    let names = |dir: &PathBuf| disk.list(dir).unwrap_or_default();
    let mut all = currents().iter().flat_map(names).collect::<Vec<_>>().into_iter();
    all.any(|entry| entry.name.contains("ckpt"))
}

/// The images on a disk.
fn digests(disk: &SimDisk) -> Vec<(u64, [u8; 16])> {
    let images = images_in(disk, &currents());
    let digest = |image: &ImageFile| Some((image.txid.0, digest_of(disk, &image.path).ok()?));
    images.iter().filter_map(digest).collect()
}
