//! Copies of small files whose formats have no checksum (VERSION, epochs), in one file that has one.
//!
//! Each copy has the identity of its file ([`Disk::file_id`]). So these cases can be told apart:
//! * the same file has another content. No program writes it in place, so the disk is at fault;
//! * another program has replaced the file, as Hadoop's daemons do when they write it. Its content is valid;
//! * another file has the same content. The whole directory was copied, as from a backup.
//!
//! After a crash the copies may be older than the files, but they are never newer.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::disk::Disk;

/// Copies of small files of one directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    files: BTreeMap<String, (Option<u128>, Vec<u8>)>,
}

/// What has happened to a file since its copy was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// The file is unchanged, or there is no copy to compare it with.
    Same,
    /// The same file has another content.
    Damaged,
    /// The file does not exist any more.
    Missing,
    /// Another file has its name and content.
    Copied,
    /// Another file with another content has its name.
    Replaced,
}

const FIRST_LINE: &str = "hathi-copies 1";

impl Copies {
    /// Takes copies of the files that exist.
    pub fn take<D: Disk>(disk: &D, dir: &Path, names: &[&str]) -> io::Result<Self> {
        debug_assert!(
            names.iter().all(|name| !name.contains([' ', '\n'])),
            "a name is one word of its line"
        );
        let mut files = BTreeMap::new();
        for name in names {
            let path = dir.join(name);
            if let Some(data) = disk.read_small(&path)? {
                files.insert((*name).to_owned(), (disk.file_id(&path)?, data));
            }
        }
        Ok(Copies { files })
    }

    /// Reads copies. `None` when there are none, or they are damaged.
    pub fn read<D: Disk>(disk: &D, path: &Path) -> io::Result<Option<Self>> {
        Ok(disk.read_small(path)?.and_then(|data| Self::decode(&data)))
    }

    /// Writes the copies, durably.
    pub fn write<D: Disk>(&self, disk: &D, path: &Path) -> io::Result<()> {
        let bytes = self.encode();
        debug_assert_eq!(
            Self::decode(&bytes).as_ref(),
            Some(self),
            "copies are read back as they were taken"
        );
        disk.write_small(path, &bytes)
    }

    /// Whether there is a copy of a file.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// Finds out what has happened to a file.
    pub fn compare<D: Disk>(&self, disk: &D, dir: &Path, name: &str) -> io::Result<CopyState> {
        let Some((id, copy)) = self.files.get(name) else {
            return Ok(CopyState::Same);
        };
        let path = dir.join(name);
        let now = match disk.read_small(&path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Some(Vec::new()),
            read => read?,
        };
        let Some(now) = now else {
            return Ok(CopyState::Missing);
        };
        let same_file = id.is_none() || disk.file_id(&path)? == *id;
        Ok(match (same_file, now == *copy) {
            (true, true) => CopyState::Same,
            (true, false) => CopyState::Damaged,
            (false, true) => CopyState::Copied,
            (false, false) => CopyState::Replaced,
        })
    }

    /// Puts the copy in the place of the file, durably.
    pub fn restore<D: Disk>(&self, disk: &D, dir: &Path, name: &str) -> io::Result<()> {
        match self.files.get(name) {
            Some((_, data)) => disk.write_small(&dir.join(name), data),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    /// A line for each file (name, identity or `-`, length), its content, a line feed; last the checksum.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = format!("{FIRST_LINE}\n").into_bytes();
        for (name, (id, data)) in &self.files {
            let id = id.map_or("-".to_owned(), |id| format!("{id:x}"));
            bytes.extend(format!("{name} {id} {}\n", data.len()).bytes());
            bytes.extend(data);
            bytes.push(b'\n');
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend(format!("{checksum:08x}\n").bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(9)?)?;
        if format!("{:08x}\n", crc32fast::hash(body)).as_bytes() != checksum {
            return None;
        }
        let mut rest = body.strip_prefix(FIRST_LINE.as_bytes())?.strip_prefix(b"\n")?;
        let mut files = BTreeMap::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let (line, after) = rest.split_at_checked(end)?;
            let mut words = std::str::from_utf8(line).ok()?.split(' ');
            let (name, id, len) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
            let id = match id {
                "-" => None,
                id => Some(u128::from_str_radix(id, 16).ok()?),
            };
            let (data, after) = after.get(1..)?.split_at_checked(len)?;
            files.insert(name.to_owned(), (id, data.to_vec()));
            rest = after.strip_prefix(b"\n")?;
        }
        Some(Copies { files })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DiskFile, OsDisk, SimDisk};

    #[test]
    fn tells_damage_from_replacement_and_from_a_copy() {
        let (disk, dir) = (SimDisk::new(), Path::new("/current"));
        disk.create_dir_all(dir).unwrap();
        disk.write_small(&dir.join("a"), b"12\n").unwrap();
        disk.write_small(&dir.join("b"), b"").unwrap();
        let copies = Copies::take(&disk, dir, &["a", "b", "c"]).unwrap();
        let path = dir.join("copies");
        copies.write(&disk, &path).unwrap();
        let copies = Copies::read(&disk, &path).unwrap().unwrap();
        assert!(copies.has("b") && !copies.has("c"));
        let compare = || copies.compare(&disk, dir, "a").unwrap();
        assert_eq!(compare(), CopyState::Same);
        disk.flip_bit(&dir.join("a"), 0, 1).unwrap();
        assert_eq!(compare(), CopyState::Damaged);
        disk.write_small(&dir.join("a"), b"13\n").unwrap();
        assert_eq!(compare(), CopyState::Replaced);
        disk.write_small(&dir.join("a"), b"12\n").unwrap();
        assert_eq!(compare(), CopyState::Copied);
        disk.remove_file(&dir.join("a")).unwrap();
        assert_eq!(compare(), CopyState::Missing);
        copies.restore(&disk, dir, "a").unwrap();
        assert_eq!(disk.read_small(&dir.join("a")).unwrap().unwrap(), b"12\n");
        let len = disk.open(&path).unwrap().len().unwrap();
        for byte in 0..len {
            disk.flip_bit(&path, byte, 3).unwrap();
            assert_eq!(Copies::read(&disk, &path).unwrap(), None, "byte {byte}");
            disk.flip_bit(&path, byte, 3).unwrap();
        }
    }

    #[test]
    fn a_real_copy_is_another_file() {
        let root = tempfile::tempdir().unwrap();
        let (old, new) = (root.path().join("old"), root.path().join("new"));
        std::fs::create_dir_all(&old).unwrap();
        std::fs::create_dir_all(&new).unwrap();
        std::fs::write(old.join("a"), b"12\n").unwrap();
        let copies = Copies::take(&OsDisk, &old, &["a"]).unwrap();
        assert_eq!(copies.compare(&OsDisk, &old, "a").unwrap(), CopyState::Same);
        std::fs::write(old.join("a"), b"13\n").unwrap();
        assert_eq!(copies.compare(&OsDisk, &old, "a").unwrap(), CopyState::Damaged);
        std::fs::write(new.join("a"), b"12\n").unwrap();
        assert_eq!(copies.compare(&OsDisk, &new, "a").unwrap(), CopyState::Copied);
        std::fs::rename(old.join("a"), new.join("a")).unwrap();
        assert_eq!(copies.compare(&OsDisk, &new, "a").unwrap(), CopyState::Damaged);
    }
}
