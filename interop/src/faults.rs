//! Faults that a preloaded library (`faults/preload.rs`) causes in a running daemon.

#[cfg(clippy)]
mod preload;

use anyhow::{Context, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Path of the library, for `LD_PRELOAD`.
pub(crate) const LIBRARY: &str = env!("FAULTS_LIBRARY");
/// Environment variable that names the directory of the files below.
pub(crate) const VARIABLE: &str = "HATHI_FAULTS";
/// Number of 64-bit numbers in a file.
const LEN: u64 = 16;
const MONOTONIC: u64 = 3;
const BOOTTIME: u64 = 4;
const DIE_AT: u64 = 5;
const CHANGES: u64 = 6;
const REALTIME: u64 = 7;
const BEGUN: u64 = 8;
const ENDED: u64 = 11;
const NO_SYNCS: u64 = 14;
/// Longer than any test waits. The test ends the delay.
const HELD: Duration = Duration::from_secs(3600);

/// Kinds of calls that can be slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// `unlink` and `unlinkat`
    Remove,
    /// `fsync` and `fdatasync`, of everything but images
    Sync,
    /// `fsync` and `fdatasync` of a file with `fsimage` in its name
    ImageSync,
}

/// Faults of one daemon. They also apply after it is restarted.
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

    /// Makes a command, whose configuration directory is `conf`, a process with faults.
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

    /// Kills the process when it is about to make change number `change` of files from now on. The first is 1.
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

    /// Delays each such call by this time from now on, also those under way.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn slow(&self, calls: Slow, by: Duration) -> Result<()> {
        self.set(calls as u64, u64::try_from(by.as_micros())?)
    }

    /// Blocks all such calls until [`Faults::release`].
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn hold(&self, calls: Slow) -> Result<()> {
        self.slow(calls, HELD)
    }

    /// Removes the delay of such calls.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn release(&self, calls: Slow) -> Result<()> {
        self.slow(calls, Duration::ZERO)
    }

    /// Number of such calls that have begun.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn begun(&self, calls: Slow) -> Result<u64> {
        self.get(BEGUN + calls as u64)
    }

    /// Number of them that have ended.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn ended(&self, calls: Slow) -> Result<u64> {
        self.get(ENDED + calls as u64)
    }

    /// Leaves syncs out from now on: the disk is as fast as memory, however busy the machine's is. A delay still counts.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn leave_syncs_out(&self) -> Result<()> {
        self.set(NO_SYNCS, 1)
    }

    /// Sets the daemon's time of day ahead of the machine's by this time, or to the machine's by none.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn set_time_of_day_ahead(&self, by: Duration) -> Result<()> {
        self.set(REALTIME, u64::try_from(by.as_nanos())?)
    }

    /// Sets the daemon's clocks back by this time, as if they had stood still. The time of day is not changed.
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
