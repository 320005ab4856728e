//! Ownership of a cluster's directory: by a running quickstart, by one that has ended, or by something else.

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

/// File in every quickstart's directory. It is locked while that quickstart runs, and then says where to find it.
const MARKER: &str = "hathi-quickstart";

/// A directory that belongs to this quickstart until the process ends, in whatever way.
pub struct DirectoryClaim(File);

impl DirectoryClaim {
    /// Claims a directory. It refuses a directory that another quickstart uses, or that holds anything but a
    /// quickstart's cluster. Nothing in the directory is touched before that.
    pub fn of(dir: &Path) -> Result<DirectoryClaim> {
        let marker = dir.join(MARKER);
        let mut entries = std::fs::read_dir(dir).with_context(|| format!("can't read {}", dir.display()))?;
        // Older clusters have no marker, but every formatted one has this file.
        if entries.next().is_some() && !marker.exists() && !dir.join("data/formatted").exists() {
            bail!(
                "{} is not empty and holds no cluster of a quickstart: name another directory with --dir",
                dir.display()
            );
        }
        let opened = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&marker);
        let mut file = opened.with_context(|| format!("can't open {}", marker.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DirectoryClaim(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut whose = String::new();
                // The other quickstart may have only just begun.
                let _ = file.read_to_string(&mut whose);
                bail!("{} is already running, {}", dir.display(), whose.trim())
            }
            Err(error) => Err(error).with_context(|| format!("can't lock {}", marker.display())),
        }
    }

    /// Writes the address of the cluster's page into the marker.
    pub fn tell(&mut self, page: &str) -> Result<()> {
        let text = format!("pid {}, page {page}\n", std::process::id());
        self.0.set_len(0)?;
        self.0.rewind()?;
        Ok(self.0.write_all(text.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn one_quickstart_at_a_time_and_none_in_a_directory_of_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = DirectoryClaim::of(dir.path()).unwrap();
        first.tell("http://127.0.0.1:1/").unwrap();
        let refused = DirectoryClaim::of(dir.path()).err().unwrap().to_string();
        let whose = format!(
            "is already running, pid {}, page http://127.0.0.1:1/",
            std::process::id()
        );
        assert!(refused.ends_with(&whose), "{refused}");
        drop(first);
        std::fs::write(dir.path().join("more"), "").unwrap();
        // A process that another test starts also holds the lock until it runs its program.
        let started = Instant::now();
        while let Err(error) = DirectoryClaim::of(dir.path()) {
            assert!(started.elapsed() < Duration::from_secs(20), "{error}");
            std::thread::yield_now();
        }

        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("mine"), "").unwrap();
        assert!(DirectoryClaim::of(other.path()).is_err());
        assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 1);
    }
}
