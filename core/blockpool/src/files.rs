//! The files of replicas: their names and directories (`DatanodeUtil`, `LocalReplica`, `BlockPoolSlice`).

use std::io;
use std::path::{Path, PathBuf};

use hathi_formats::ids::{BlockId, GenerationStamp};
use hathi_storage::Disk;

use crate::replica::{Folder, Location};

/// Suffix of files that a step has not finished. A start removes them.
const UNFINISHED: &str = ".tmp";

/// `blk_<id>`.
#[must_use]
pub fn block_file_name(id: BlockId) -> String {
    format!("blk_{id}")
}

/// `blk_<id>_<genstamp>.meta`.
#[must_use]
pub fn meta_file_name(id: BlockId, gs: GenerationStamp) -> String {
    format!("blk_{id}_{gs}.meta")
}

/// The block id in `blk_<id>`.
#[must_use]
pub fn parse_block_file_name(name: &str) -> Option<BlockId> {
    name.strip_prefix("blk_")?.parse().ok().map(BlockId)
}

/// Block id and stamp in `blk_<id>_<genstamp>.meta`.
#[must_use]
pub fn parse_meta_file_name(name: &str) -> Option<(BlockId, GenerationStamp)> {
    let (id, gs) = name.strip_prefix("blk_")?.strip_suffix(".meta")?.rsplit_once('_')?;
    Some((BlockId(id.parse().ok()?), GenerationStamp(gs.parse().ok()?)))
}

/// The directories of one block pool on one volume: `<volume>/current/<block pool id>`.
#[derive(Clone, Debug)]
pub struct PoolDirs {
    root: PathBuf,
}

impl PoolDirs {
    /// The directories of a pool on a volume.
    #[must_use]
    pub fn new(volume_root: &Path, pool_id: &str) -> PoolDirs {
        PoolDirs {
            root: volume_root.join("current").join(pool_id),
        }
    }

    /// The pool's root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `current` below the root.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    /// The directory of a folder.
    #[must_use]
    pub fn folder(&self, folder: Folder) -> PathBuf {
        match folder {
            Folder::Finalized => self.current().join("finalized"),
            Folder::Rbw => self.current().join("rbw"),
            Folder::Tmp => self.root.join("tmp"),
        }
    }

    /// The directory that holds a block's files in a folder: finalized ones are spread over 32 x 32 directories by
    /// bits 16 to 20 and 8 to 12 of the id.
    #[must_use]
    pub fn dir_of(&self, folder: Folder, id: BlockId) -> PathBuf {
        let base = self.folder(folder);
        match folder {
            Folder::Finalized => base
                .join(format!("subdir{}", (id.0 >> 16) & 0x1F))
                .join(format!("subdir{}", (id.0 >> 8) & 0x1F)),
            Folder::Rbw | Folder::Tmp => base,
        }
    }

    /// Where deleted replicas are kept during a rolling upgrade.
    #[must_use]
    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// The files of a replica that is kept in the trash: the same path below `trash` as below `current`.
    #[must_use]
    pub fn in_trash(&self, at: Location) -> ReplicaFiles {
        let files = self.files(at);
        let below = files.dir.strip_prefix(self.current()).unwrap_or(Path::new("tmp"));
        ReplicaFiles::named(&self.trash().join(below), at)
    }

    /// Names for files that are about to be deleted. No scan takes them for a replica.
    #[must_use]
    pub fn being_deleted(&self, at: Location) -> ReplicaFiles {
        let dir = self.folder(Folder::Tmp);
        let name = format!("deleted_{}_{}", at.block_id, at.generation_stamp);
        ReplicaFiles {
            meta: dir.join(format!("{name}.meta")),
            data: dir.join(name),
            dir,
        }
    }

    /// Brings everything in the trash back to where it was (`restoreBlockFilesFromTrash`).
    pub fn restore_trash<D: Disk>(&self, disk: &D) -> io::Result<usize> {
        fn restore<D: Disk>(disk: &D, from: &Path, to: &Path) -> io::Result<usize> {
            let mut restored: usize = 0;
            for entry in disk.list(from)? {
                let (source, target) = (from.join(&entry.name), to.join(&entry.name));
                if entry.is_dir {
                    restored = restored.saturating_add(restore(disk, &source, &target)?);
                } else {
                    disk.create_dir_all(to)?;
                    disk.rename(&source, &target)?;
                    restored = restored.saturating_add(1);
                }
            }
            Ok(restored)
        }
        let trash = self.trash();
        if !disk.exists(&trash)? {
            return Ok(0);
        }
        let restored = restore(disk, &trash, &self.current())?;
        disk.remove_dir_all(&trash)?;
        Ok(restored)
    }

    /// Block file and meta file.
    #[must_use]
    pub fn files(&self, at: Location) -> ReplicaFiles {
        ReplicaFiles::named(&self.dir_of(at.folder, at.block_id), at)
    }
}

/// The two files of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaFiles {
    /// Their directory.
    pub dir: PathBuf,
    /// The block file.
    pub data: PathBuf,
    /// The meta file.
    pub meta: PathBuf,
}

/// A name beside `path` for a file in the making.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// Whether a file of a replica was never finished.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.starts_with("blk_") && name.ends_with(UNFINISHED)
}

/// Treats a missing file as success.
pub(crate) fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl ReplicaFiles {
    pub(crate) fn named(dir: &Path, at: Location) -> ReplicaFiles {
        debug_assert_eq!(
            parse_meta_file_name(&meta_file_name(at.block_id, at.generation_stamp)),
            Some((at.block_id, at.generation_stamp)),
            "a scan reads the names as they are given"
        );
        ReplicaFiles {
            data: dir.join(block_file_name(at.block_id)),
            meta: dir.join(meta_file_name(at.block_id, at.generation_stamp)),
            dir: dir.to_owned(),
        }
    }

    /// Deletes both files. A file that is gone already is no error.
    pub fn delete<D: Disk>(&self, disk: &D) -> io::Result<()> {
        missing_is_fine(disk.remove_file(&self.data))?;
        missing_is_fine(disk.remove_file(&self.meta))
    }

    /// Moves both files to the names in `to`. A file that is gone already is no error.
    pub fn set_aside<D: Disk>(&self, disk: &D, to: &ReplicaFiles) -> io::Result<()> {
        missing_is_fine(disk.rename(&self.data, &to.data))?;
        missing_is_fine(disk.rename(&self.meta, &to.meta))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        let (id, gs) = (BlockId(-7), GenerationStamp(1234));
        assert_eq!(parse_block_file_name(&block_file_name(id)), Some(id));
        assert_eq!(parse_meta_file_name(&meta_file_name(id, gs)), Some((id, gs)));
        for name in [
            "blk_1.meta",
            "blk_",
            "x",
            "blk_1_2.met",
            "blk_a_2.meta",
            "blk_1_2.meta.tmp",
        ] {
            assert_eq!(parse_meta_file_name(name), None, "{name}");
        }
        assert_eq!(parse_block_file_name("blk_1_2.meta"), None);
        assert_eq!(parse_block_file_name("blk_1.tmp"), None);
    }

    #[test]
    fn the_directory_comes_from_two_groups_of_five_bits() {
        let dirs = PoolDirs::new(Path::new("/v"), "BP-1");
        assert_eq!(
            dirs.dir_of(Folder::Finalized, BlockId(1 << 30 | 0x3F_1F_00)),
            Path::new("/v/current/BP-1/current/finalized/subdir31/subdir31")
        );
        // Internal blocks of block groups have negative ids; Java shifts them with their sign.
        assert_eq!(
            dirs.dir_of(Folder::Finalized, BlockId(i64::MIN + 0x2_0310)),
            Path::new("/v/current/BP-1/current/finalized/subdir2/subdir3")
        );
    }
}
