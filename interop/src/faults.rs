//! Faults that a preloaded library (`faults/preload.rs`) plays to a running daemon.

#[cfg(clippy)]
mod preload;

use anyhow::{Context, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// For `LD_PRELOAD`.
pub(crate) const LIBRARY: &str = env!("FAULTS_LIBRARY");
/// Names the directory of the files below to the library.
pub(crate) const VARIABLE: &str = "HATHI_FAULTS";
/// Numbers in a file.
const LEN: u64 = 16;
const MONOTONIC: u64 = 3;
const BOOTTIME: u64 = 4;
const DIE_AT: u64 = 5;
const CHANGES: u64 = 6;
const BEGUN: u64 = 8;
const ENDED: u64 = 11;
/// Longer than any test waits; the test ends it.
const HELD: Duration = Duration::from_secs(3600);

/// Calls that can be made slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// `unlink` and `unlinkat`
    Remove,
    /// `fsync` and `fdatasync`, of everything but images
    Sync,
    /// `fsync` and `fdatasync` of a file with `fsimage` in its name
    ImageSync,
}

/// What one daemon is made to suffer, from one of its starts to the next as well.
#[derive(Debug)]
pub struct Faults {
    file: File,
}

impl Faults {
    pub(crate) fn create(dir: &Path, daemon: &str) -> Result<Faults> {
        let path: PathBuf = dir.join(daemon);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        file.set_len(LEN * 8)?;
        Ok(Faults { file })
    }

    /// Of a command that is given a configuration directory with `--conf`.
    ///
    /// # Errors
    /// When a file can't be made.
    pub fn of(command: &mut Command, conf: &Path) -> Result<Faults> {
        let dir = conf.with_extension("faults");
        std::fs::create_dir_all(&dir)?;
        command.env("LD_PRELOAD", LIBRARY).env(VARIABLE, &dir);
        let name = conf.file_name().context("a configuration has a name")?;
        Faults::create(&dir, &name.to_string_lossy())
    }

    /// The process is killed when it is about to make so many changes of files since now: 1 is the first.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn die_at(&self, change: u64) -> Result<()> {
        self.set(CHANGES, 0)?;
        self.set(DIE_AT, change)
    }

    fn set(&self, index: u64, value: u64) -> Result<()> {
        Ok(self.file.write_all_at(&value.to_ne_bytes(), index * 8)?)
    }

    fn get(&self, index: u64) -> Result<u64> {
        let mut value = [0; 8];
        self.file.read_exact_at(&mut value, index * 8)?;
        Ok(u64::from_ne_bytes(value))
    }

    /// Each such call takes so much longer from now on, those under way included.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn slow(&self, calls: Slow, by: Duration) -> Result<()> {
        self.set(calls as u64, u64::try_from(by.as_micros())?)
    }

    /// No such call returns until [`Faults::release`].
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn hold(&self, calls: Slow) -> Result<()> {
        self.slow(calls, HELD)
    }

    /// Such calls are as fast as the disk again.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn release(&self, calls: Slow) -> Result<()> {
        self.slow(calls, Duration::ZERO)
    }

    /// How many such calls have begun.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn begun(&self, calls: Slow) -> Result<u64> {
        self.get(BEGUN + calls as u64)
    }

    /// How many of them have ended.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn ended(&self, calls: Slow) -> Result<u64> {
        self.get(ENDED + calls as u64)
    }

    /// The daemon's clocks, but not the time of day, fall behind by so much, as if they had stood.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn fall_behind(&self, by: Duration) -> Result<()> {
        for clock in [MONOTONIC, BOOTTIME] {
            let behind = self.get(clock)? + u64::try_from(by.as_nanos())?;
            self.set(clock, behind)?;
        }
        Ok(())
    }
}
