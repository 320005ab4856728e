//! The files of replicas: names, and what transitions do to them (`DatanodeUtil`, `LocalReplica`).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hathi_blockpool::{Folder, Location};
use hathi_formats::datatransfer::{BlockMetadataHeader, META_HEADER_BYTES};
use hathi_formats::ids::{BlockId, GenerationStamp};

/// Buffer for copying and checking.
const COPY_BYTES: usize = 1 << 20;

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
    /// Of a volume and a pool.
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
        let dir = self.trash().join(below);
        ReplicaFiles {
            data: dir.join(block_file_name(at.block_id)),
            meta: dir.join(meta_file_name(at.block_id, at.generation_stamp)),
            dir,
        }
    }

    /// Names that no scan takes for a replica, for files that are about to be deleted.
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
    pub fn restore_trash(&self) -> io::Result<usize> {
        fn restore(from: &Path, to: &Path) -> io::Result<usize> {
            let mut restored = 0;
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                let target = to.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    restored += restore(&entry.path(), &target)?;
                } else {
                    fs::create_dir_all(to)?;
                    fs::rename(entry.path(), target)?;
                    restored += 1;
                }
            }
            Ok(restored)
        }
        let trash = self.trash();
        if !trash.is_dir() {
            return Ok(0);
        }
        let restored = restore(&trash, &self.current())?;
        fs::remove_dir_all(trash)?;
        Ok(restored)
    }

    /// Block file and meta file.
    #[must_use]
    pub fn files(&self, at: Location) -> ReplicaFiles {
        let dir = self.dir_of(at.folder, at.block_id);
        ReplicaFiles {
            data: dir.join(block_file_name(at.block_id)),
            meta: dir.join(meta_file_name(at.block_id, at.generation_stamp)),
            dir,
        }
    }
}

/// The two files of a replica.
#[derive(Clone, Debug)]
pub struct ReplicaFiles {
    /// Their directory.
    pub dir: PathBuf,
    /// The block file.
    pub data: PathBuf,
    /// The meta file.
    pub meta: PathBuf,
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl ReplicaFiles {
    /// Creates both, empty; leftovers are cut.
    pub fn create(&self) -> io::Result<()> {
        for path in [&self.data, &self.meta] {
            match File::create(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(&self.dir)?;
                    File::create(path)?;
                }
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// Renames both. The block file goes first: after a crash in between, the scan at start looks for the meta file of
    /// a block file without one in the other folder.
    pub fn move_to(&self, to: &ReplicaFiles) -> io::Result<()> {
        if self.data != to.data {
            match fs::rename(&self.data, &to.data) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(&to.dir)?;
                    fs::rename(&self.data, &to.data)?;
                }
                other => other?,
            }
        }
        fs::rename(&self.meta, &to.meta)
    }

    /// Deletes both; what is gone already is fine.
    pub fn delete(&self) -> io::Result<()> {
        missing_is_fine(fs::remove_file(&self.data))?;
        missing_is_fine(fs::remove_file(&self.meta))
    }

    /// The block file, to read and write.
    pub fn open_data(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.data)
    }

    /// The meta file, to read and write.
    pub fn open_meta(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.meta)
    }

    /// Cuts the block file to `length` and makes the checksum of its last chunk right (`ReplicaInfo.truncateBlock`).
    pub fn truncate(&self, length: u64) -> io::Result<()> {
        let data = self.open_data()?;
        let meta = self.open_meta()?;
        if data.metadata()?.len() < length {
            return Err(io::Error::other(format!(
                "cannot truncate {} to {length}: it is shorter",
                self.data.display()
            )));
        }
        if length == 0 {
            data.set_len(0)?;
            return meta.set_len(META_HEADER_BYTES as u64);
        }
        let header = read_meta_header(&meta)?;
        rewrite_last_checksum(&data, &meta, &header, length)?;
        data.set_len(length)?;
        meta.set_len(header.meta_len(length))
    }

    /// Copies the first `length` bytes and their checksums.
    pub fn copy_to(&self, to: &ReplicaFiles, length: u64) -> io::Result<()> {
        fs::create_dir_all(&to.dir)?;
        let source = File::open(&self.data)?;
        let source_meta = File::open(&self.meta)?;
        let data = File::create(&to.data)?;
        copy_range(&source, &data, length)?;
        let header = read_meta_header(&source_meta)?;
        fs::copy(&self.meta, &to.meta)?;
        let meta = to.open_meta()?;
        meta.set_len(header.meta_len(length))?;
        rewrite_last_checksum(&to.open_data()?, &meta, &header, length)
    }
}

fn copy_range(from: &File, to: &File, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut done = 0;
    while done < length {
        let part = buffer
            .get_mut(..usize::try_from(length - done).unwrap_or(COPY_BYTES).min(COPY_BYTES))
            .unwrap_or_default();
        from.read_exact_at(part, done)?;
        to.write_all_at(part, done)?;
        done += part.len() as u64;
    }
    Ok(())
}

/// Writes the checksum of the last, short chunk of the first `length` bytes.
fn rewrite_last_checksum(data: &File, meta: &File, header: &BlockMetadataHeader, length: u64) -> io::Result<()> {
    let chunk = u64::from(header.checksum.bytes_per_checksum());
    let partial = length % chunk;
    if partial == 0 || header.checksum.checksum_size() == 0 {
        return Ok(());
    }
    let mut last = vec![0; partial as usize];
    data.read_exact_at(&mut last, length - partial)?;
    let sum = header.checksum.kind().checksum(&last);
    meta.write_all_at(&sum.to_be_bytes(), header.checksum_offset(length - partial))
}

/// Reads the header of a meta file.
pub fn read_meta_header(meta: &File) -> io::Result<BlockMetadataHeader> {
    let mut bytes = [0; META_HEADER_BYTES];
    meta.read_exact_at(&mut bytes, 0)?;
    Ok(BlockMetadataHeader::decode(&bytes)?)
}

/// How much of a block file is covered by right checksums, going by its last chunk, which is the one that a crash
/// spoils; what is beyond is cut off (`BlockPoolSlice.validateIntegrityAndSetLength`). Anything unreadable counts as
/// nothing.
pub fn validated_length(files: &ReplicaFiles) -> u64 {
    fn validate(files: &ReplicaFiles) -> io::Result<u64> {
        let data = files.open_data()?;
        let meta = File::open(&files.meta)?;
        let data_len = data.metadata()?.len();
        let meta_len = meta.metadata()?.len();
        if data_len == 0 || meta_len < META_HEADER_BYTES as u64 {
            return Ok(0);
        }
        let header = read_meta_header(&meta)?;
        let size = header.checksum.checksum_size() as u64;
        if size == 0 {
            return Ok(data_len);
        }
        let chunk = u64::from(header.checksum.bytes_per_checksum());
        let chunks = data_len
            .div_ceil(chunk)
            .min((meta_len - META_HEADER_BYTES as u64) / size);
        let Some(last) = chunks.checked_sub(1) else {
            return Ok(0);
        };
        let start = last * chunk;
        let mut bytes = vec![0; (data_len - start).min(chunk) as usize];
        data.read_exact_at(&mut bytes, start)?;
        let mut stored = [0; 4];
        meta.read_exact_at(&mut stored, header.checksum_offset(start))?;
        let valid = if u32::from_be_bytes(stored) == header.checksum.kind().checksum(&bytes) {
            start + bytes.len() as u64
        } else {
            start
        };
        if data_len > valid {
            data.set_len(valid)?;
        }
        Ok(valid)
    }
    match validate(files) {
        Ok(length) => length,
        Err(error) => {
            tracing::warn!(path = %files.data.display(), %error, "replica cannot be validated, taken as empty");
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_blockpool::VolumeId;
    use hathi_formats::datatransfer::DataChecksum;

    fn replica(dir: &Path, data: &[u8]) -> (PoolDirs, Location, ReplicaFiles) {
        let dirs = PoolDirs::new(dir, "BP-1");
        let at = Location {
            volume: VolumeId(0),
            folder: Folder::Rbw,
            block_id: BlockId(1 << 30 | 0x12345),
            generation_stamp: GenerationStamp(1001),
        };
        let files = dirs.files(at);
        files.create().unwrap();
        fs::write(&files.data, data).unwrap();
        let mut meta = BlockMetadataHeader::new(DataChecksum::DEFAULT).encode().to_vec();
        DataChecksum::DEFAULT.compute_into(data, &mut meta);
        fs::write(&files.meta, meta).unwrap();
        (dirs, at, files)
    }

    fn verify(files: &ReplicaFiles, expected: &[u8]) {
        assert_eq!(fs::read(&files.data).unwrap(), expected);
        let meta = fs::read(&files.meta).unwrap();
        DataChecksum::DEFAULT
            .verify(expected, &meta[META_HEADER_BYTES..])
            .unwrap();
        assert_eq!(
            meta.len() as u64,
            BlockMetadataHeader::new(DataChecksum::DEFAULT).meta_len(expected.len() as u64)
        );
    }

    #[test]
    fn names_parse_back() {
        let (id, gs) = (BlockId(-7), GenerationStamp(1234));
        assert_eq!(parse_block_file_name(&block_file_name(id)), Some(id));
        assert_eq!(parse_meta_file_name(&meta_file_name(id, gs)), Some((id, gs)));
        for name in ["blk_1.meta", "blk_", "x", "blk_1_2.met", "blk_a_2.meta"] {
            assert_eq!(parse_meta_file_name(name), None, "{name}");
        }
        assert_eq!(parse_block_file_name("blk_1_2.meta"), None);
    }

    #[test]
    fn the_directory_comes_from_two_groups_of_five_bits() {
        let dirs = PoolDirs::new(Path::new("/v"), "BP-1");
        assert_eq!(
            dirs.dir_of(Folder::Finalized, BlockId(1 << 30 | 0x3F_1F_00)),
            Path::new("/v/current/BP-1/current/finalized/subdir31/subdir31")
        );
    }

    #[test]
    fn truncation_keeps_checksums_right() {
        let dir = tempfile::tempdir().unwrap();
        let data: Vec<u8> = (0..2000_u32).map(|i| i as u8).collect();
        let (_, _, files) = replica(dir.path(), &data);
        for length in [2000, 1537, 1536, 700, 0] {
            files.truncate(length as u64).unwrap();
            verify(&files, &data[..length]);
        }
        assert!(files.truncate(1).is_err());
    }

    #[test]
    fn a_copy_is_cut_and_a_move_finds_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let data = vec![9_u8; 1500];
        let (dirs, at, files) = replica(dir.path(), &data);
        let copy = dirs.files(Location {
            folder: Folder::Finalized,
            block_id: BlockId(77),
            ..at
        });
        files.copy_to(&copy, 600).unwrap();
        verify(&copy, &data[..600]);
        verify(&files, &data);
        let moved = dirs.files(Location {
            folder: Folder::Finalized,
            generation_stamp: GenerationStamp(1002),
            ..at
        });
        files.move_to(&moved).unwrap();
        verify(&moved, &data);
        assert!(!files.data.exists() && !files.meta.exists());
        moved.delete().unwrap();
        moved.delete().unwrap();
    }

    #[test]
    fn only_checksummed_bytes_count_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let data = vec![5_u8; 1300];
        let (_, _, files) = replica(dir.path(), &data);
        assert_eq!(validated_length(&files), 1300);
        // Data that reached the disk without its checksum.
        files.open_data().unwrap().write_all_at(&[6; 300], 1300).unwrap();
        assert_eq!(
            validated_length(&files),
            1024,
            "the last chunk's checksum is of less data"
        );
        assert_eq!(fs::metadata(&files.data).unwrap().len(), 1024);
        fs::write(&files.meta, [0; 3]).unwrap();
        assert_eq!(validated_length(&files), 0);
    }
}
