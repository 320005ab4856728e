//! A log file that is rotated by size and by age. As log4j's `RollingFileAppender`, it keeps `LOG.1` (the last one) to
//! `LOG.N`.

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// When a file is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes that a file does not exceed, unless one line does.
    pub(super) max_bytes: u64,
    /// Age from which a file is rotated. Zero: at no age.
    pub(super) max_age: Duration,
    /// Number of rotated files that are kept.
    pub(super) kept: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    limits: Limits,
    file: File,
    bytes: u64,
    begun: SystemTime,
}

impl RotatingFile {
    /// Opens a file and goes on behind what it holds.
    ///
    /// # Errors
    /// Another process logs into it, or it can't be opened.
    pub(super) fn open(path: &Path, limits: Limits) -> Result<RotatingFile> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("can't create {}", dir.display()))?;
        }
        let file = append(path).with_context(|| format!("can't open {}", path.display()))?;
        // Two processes would rotate away each other's lines.
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("another process logs into {}", path.display());
        }
        let metadata = file.metadata().with_context(|| path.display().to_string())?;
        Ok(RotatingFile {
            path: path.to_owned(),
            limits,
            bytes: metadata.len(),
            // A file system that does not know when a file was created begins its age anew.
            begun: metadata.created().unwrap_or_else(|_| SystemTime::now()),
            file,
        })
    }

    /// Begins a new file, if the present one has no room for so many bytes more, or is too old.
    pub(super) fn rotate_if_due(&mut self, bytes: usize, now: SystemTime) -> io::Result<()> {
        let age = now.duration_since(self.begun).unwrap_or_default();
        let is_old = !self.limits.max_age.is_zero() && age >= self.limits.max_age;
        let is_full = self.bytes.saturating_add(bytes as u64) > self.limits.max_bytes;
        if self.bytes == 0 || !(is_old || is_full) {
            return Ok(());
        }
        self.rotate(now)
    }

    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        for number in (1..self.limits.kept).rev() {
            let older = self.numbered(number);
            if older.exists() {
                std::fs::rename(&older, self.numbered(number + 1))?;
            }
        }
        if self.limits.kept == 0 {
            std::fs::remove_file(&self.path)?;
        } else {
            std::fs::rename(&self.path, self.numbered(1))?;
        }
        let file = append(&self.path)?;
        // The name was free, so that only a start at this moment can hold it, and that one is refused by the old lock.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        (self.file, self.bytes, self.begun) = (file, 0, now);
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes = self.bytes.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(file: &mut RotatingFile, line: &str, now: SystemTime) {
        file.rotate_if_due(line.len(), now).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }

    fn files(dir: &Path) -> Vec<(String, String)> {
        let mut found: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, std::fs::read_to_string(path).unwrap())
            })
            .collect();
        found.sort();
        found
    }

    fn expect(dir: &Path, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        assert_eq!(files(dir), expected);
    }

    #[test]
    fn a_full_file_is_rotated_and_so_many_old_ones_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits {
            max_bytes: 12,
            max_age: Duration::ZERO,
            kept: 2,
        };
        let path = dir.path().join("a.log");
        let now = SystemTime::now();
        let mut file = RotatingFile::open(&path, limits).unwrap();
        log(&mut file, "first\n", now);
        log(&mut file, "second\n", now);
        log(&mut file, "longer than any\n", now);
        expect(
            dir.path(),
            &[
                ("a.log", "longer than any\n"),
                ("a.log.1", "second\n"),
                ("a.log.2", "first\n"),
            ],
        );
        drop(file);
        // The next process goes on with it.
        let mut file = RotatingFile::open(&path, limits).unwrap();
        log(&mut file, "fourth\n", now);
        expect(
            dir.path(),
            &[
                ("a.log", "fourth\n"),
                ("a.log.1", "longer than any\n"),
                ("a.log.2", "second\n"),
            ],
        );
    }

    #[test]
    fn an_old_file_is_rotated_when_the_next_line_comes() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits {
            max_bytes: 1 << 20,
            max_age: Duration::from_secs(60),
            kept: 1,
        };
        let mut file = RotatingFile::open(&dir.path().join("a.log"), limits).unwrap();
        let begun = file.begun;
        log(&mut file, "first\n", begun + Duration::from_secs(59));
        log(&mut file, "second\n", begun + Duration::from_secs(59));
        log(&mut file, "third\n", begun + Duration::from_secs(60));
        log(&mut file, "fourth\n", begun + Duration::from_secs(119));
        expect(
            dir.path(),
            &[("a.log", "third\nfourth\n"), ("a.log.1", "first\nsecond\n")],
        );
    }

    #[test]
    fn no_two_processes_log_into_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits {
            max_bytes: 8,
            max_age: Duration::ZERO,
            kept: 1,
        };
        let path = dir.path().join("a.log");
        let mut file = RotatingFile::open(&path, limits).unwrap();
        for _ in 0..2 {
            let refused = RotatingFile::open(&path, limits).unwrap_err().to_string();
            assert!(refused.contains("another process"), "{refused}");
            log(&mut file, "12345\n", SystemTime::now());
        }
    }
}
