//! Small numbers that survive a crash.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile};

/// A number in a text file of its own, replaced atomically and durably (`PersistentLongFile`): decimal and a newline.
#[derive(Clone, Debug)]
pub struct DurableLong<D> {
    disk: D,
    path: PathBuf,
    value: u64,
}

impl<D: Disk> DurableLong<D> {
    /// Reads the file. The number is `default` when the file does not exist.
    pub fn open(disk: D, path: PathBuf, default: u64) -> io::Result<Self> {
        let value = read_text_long(&disk, &path)?.unwrap_or(default);
        Ok(DurableLong { disk, path, value })
    }

    /// The last value that was set or read.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.value
    }

    /// Sets the value. It is durable when this returns success. Nothing is written when the value is unchanged.
    pub fn set(&mut self, value: u64) -> io::Result<()> {
        if value != self.value {
            self.force_set(value)?;
        }
        Ok(())
    }

    /// Like [`DurableLong::set`], but also writes a default value that is in no file yet.
    pub fn force_set(&mut self, value: u64) -> io::Result<()> {
        self.disk.write_small(&self.path, format!("{value}\n").as_bytes())?;
        debug_assert!(
            read_text_long(&self.disk, &self.path).map_or(true, |found| found == Some(value)),
            "the next start reads what was promised"
        );
        self.value = value;
        Ok(())
    }

    /// Sets the value without writing it. This is what a broken implementation would do, for tests of tests.
    pub fn set_in_memory(&mut self, value: u64) {
        self.value = value;
    }
}

/// The number in a text file; `None` when there is no file. Transaction ids and epochs are Java `long`s, so a number
/// outside of their range is an error.
pub fn read_text_long<D: Disk>(disk: &D, path: &Path) -> io::Result<Option<u64>> {
    let Some(data) = disk.read_small(path)? else {
        return Ok(None);
    };
    std::str::from_utf8(&data)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|value| i64::try_from(*value).is_ok())
        .map(Some)
        .ok_or_else(|| invalid(path, "not a number"))
}

/// A number in a file of eight bytes, written in place and never synced (`BestEffortLongFile`). After a crash the file
/// may hold any value that was ever set.
#[derive(Clone, Debug)]
pub struct BestEffortLong<D: Disk> {
    disk: D,
    path: PathBuf,
    value: i64,
    /// The value that this process last wrote. The file may hold it although it was not synced.
    written: Option<i64>,
    file: Option<D::File>,
}

impl<D: Disk> BestEffortLong<D> {
    /// Reads the file. The number is `default` when the file is missing or empty. Any length but 0 and 8 is an error.
    pub fn open(disk: D, path: PathBuf, default: i64) -> io::Result<Self> {
        let value = match disk.read_small(&path)? {
            None => default,
            Some(data) if data.is_empty() => default,
            Some(data) => match <[u8; 8]>::try_from(data.as_slice()) {
                Ok(bytes) => i64::from_be_bytes(bytes),
                Err(_) => return Err(invalid(&path, "must be 8 bytes long")),
            },
        };
        Ok(BestEffortLong {
            disk,
            path,
            value,
            written: None,
            file: None,
        })
    }

    /// The last value that was set or read.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.value
    }

    /// Writes the value in place without a sync. The first call makes the file.
    pub fn set(&mut self, value: i64) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(if self.disk.exists(&self.path)? {
                self.disk.open(&self.path)?
            } else {
                self.disk.create(&self.path)?
            }),
        };
        file.write_at(0, &value.to_be_bytes())?;
        debug_assert!(
            file.len().map_or(true, |len| len == 8),
            "the next start takes a file of any other length for damaged"
        );
        self.value = value;
        self.written = Some(value);
        Ok(())
    }

    /// Writes a value that was only set in memory.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.value < 0 || self.written == Some(self.value) {
            return Ok(());
        }
        self.set(self.value)
    }

    /// Sets the value without writing it.
    pub fn set_in_memory(&mut self, value: i64) {
        self.value = value;
    }

    /// Closes the file, so that its directory can be renamed.
    pub fn close(&mut self) {
        self.file = None;
    }
}

/// Three numbers with a checksum, written in place, and synced only on request. After a crash of the machine the file
/// may hold any three numbers that were ever set together, or none. Damage is detected by the checksum.
#[derive(Clone, Debug)]
pub struct CheckedRecord<D: Disk> {
    disk: D,
    path: PathBuf,
    values: Option<[u64; 3]>,
    file: Option<D::File>,
}

const RECORD_LEN: usize = 28;

fn encode_record(values: [u64; 3]) -> [u8; RECORD_LEN] {
    let mut bytes = [0; RECORD_LEN];
    let (numbers, checksum) = bytes.split_at_mut(RECORD_LEN - 4);
    for (place, value) in numbers.chunks_exact_mut(8).zip(values) {
        place.copy_from_slice(&value.to_be_bytes());
    }
    checksum.copy_from_slice(&crc32fast::hash(numbers).to_be_bytes());
    bytes
}

fn decode_record(bytes: &[u8]) -> Option<[u64; 3]> {
    let numbers = bytes.get(..RECORD_LEN - 4)?;
    let mut values = [0; 3];
    for (value, place) in values.iter_mut().zip(numbers.chunks_exact(8)) {
        *value = u64::from_be_bytes(place.try_into().ok()?);
    }
    (encode_record(values) == bytes).then_some(values)
}

impl<D: Disk> CheckedRecord<D> {
    /// Reads the file.
    pub fn open(disk: D, path: PathBuf) -> io::Result<Self> {
        let values = disk.read_small(&path)?.and_then(|data| decode_record(&data));
        Ok(CheckedRecord {
            disk,
            path,
            values,
            file: None,
        })
    }

    /// The last values that were set or read. `None` when there were none, or they were damaged.
    #[must_use]
    pub fn get(&self) -> Option<[u64; 3]> {
        self.values
    }

    /// Writes the values in place without a sync, if they have changed. The first call makes the file.
    pub fn set(&mut self, values: [u64; 3]) -> io::Result<()> {
        if self.values == Some(values) {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(if self.disk.exists(&self.path)? {
                self.disk.open(&self.path)?
            } else {
                self.disk.create(&self.path)?
            }),
        };
        let record = encode_record(values);
        debug_assert_eq!(
            decode_record(&record),
            Some(values),
            "a record is read back as it was set"
        );
        file.write_at(0, &record)?;
        self.values = Some(values);
        Ok(())
    }

    /// Makes the last values durable.
    pub fn sync(&mut self) -> io::Result<()> {
        match &self.file {
            Some(file) => file.sync_data(),
            None => Ok(()),
        }?;
        match self.path.parent() {
            Some(dir) => self.disk.sync_dir(dir),
            None => Ok(()),
        }
    }

    /// Closes the file, so that its directory can be renamed. Its content is unknown from then on.
    pub fn close(&mut self) {
        self.file = None;
        self.values = None;
    }
}

fn invalid(path: &Path, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::OsDisk;

    #[test]
    fn a_durable_long_is_decimal_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("last-promised-epoch");
        let mut epoch = DurableLong::open(OsDisk, path.clone(), 0).unwrap();
        assert_eq!(epoch.get(), 0);
        epoch.set(0).unwrap();
        assert!(!OsDisk.exists(&path).unwrap());
        epoch.set(12).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"12\n");
        assert_eq!(DurableLong::open(OsDisk, path.clone(), 0).unwrap().get(), 12);
        std::fs::write(&path, b"twelve").unwrap();
        assert!(DurableLong::open(OsDisk, path.clone(), 0).is_err());
        std::fs::write(&path, b"9223372036854775808\n").unwrap();
        let beyond = DurableLong::open(OsDisk, path, 0);
        assert_eq!(
            beyond.unwrap_err().kind(),
            io::ErrorKind::InvalidData,
            "Java could not read it"
        );
    }

    #[test]
    fn a_record_knows_when_it_is_damaged() {
        let disk = crate::SimDisk::new();
        disk.create_dir_all(Path::new("/")).unwrap();
        let path = PathBuf::from("/hathi-written");
        let mut record = CheckedRecord::open(disk.clone(), path.clone()).unwrap();
        assert_eq!(record.get(), None);
        record.set([1, u64::MAX, 3]).unwrap();
        let reread = || CheckedRecord::open(disk.clone(), path.clone()).unwrap().get();
        assert_eq!(reread(), Some([1, u64::MAX, 3]));
        for byte in 0..RECORD_LEN as u64 {
            disk.flip_bit(&path, byte, 5).unwrap();
            assert_eq!(reread(), None, "byte {byte}");
            disk.flip_bit(&path, byte, 5).unwrap();
        }
    }

    #[test]
    fn a_best_effort_long_is_eight_raw_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("committed-txid");
        let mut committed = BestEffortLong::open(OsDisk, path.clone(), -12345).unwrap();
        assert_eq!(committed.get(), -12345);
        committed.set(258).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [0, 0, 0, 0, 0, 0, 1, 2]);
        committed.set(259).unwrap();
        let reread = BestEffortLong::open(OsDisk, path.clone(), -12345).unwrap();
        assert_eq!(reread.get(), 259);
        std::fs::write(&path, [1, 2, 3]).unwrap();
        assert!(BestEffortLong::open(OsDisk, path, 0).is_err());
    }
}
