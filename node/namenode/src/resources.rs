//! Whether the disks of the NameNode have room (`NameNodeResourceChecker`, `NameNodeResourcePolicy`).
//!
//! It checks the volumes of the local edits directories, of which a number must have room, and those of
//! `dfs.namenode.resource.checked.volumes` and `dfs.namenode.edits.dir.required`, which must all have room. An active
//! that is short of room enters safe mode, so that it does not acknowledge changes that no image could hold.

use crate::observed::Observed;
use hathi_namesystem::{Namesystem, Role};
use parking_lot::RwLock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Volumes that must have room, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceOptions {
    /// `dfs.namenode.resource.du.reserved`, bytes for each volume.
    pub reserved_bytes: u64,
    /// The local edits directories.
    pub redundant: Vec<PathBuf>,
    /// Directories whose volumes must all have room.
    pub required: Vec<PathBuf>,
    /// `dfs.namenode.resource.checked.volumes.minimum`: number of redundant volumes that must have room.
    pub minimum: usize,
    /// `dfs.namenode.resource.check.interval`
    pub check_interval: Duration,
}

/// A volume with too little room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Low {
    dir: PathBuf,
    /// `None` when the system does not tell.
    available_bytes: Option<u64>,
    reserved_bytes: u64,
}

impl std::fmt::Display for Low {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (dir, reserved) = (self.dir.display(), self.reserved_bytes);
        match self.available_bytes {
            Some(available) => write!(
                f,
                "Space available on volume '{dir}' is {available}, which is below the configured reserved amount {reserved} \
                 (dfs.namenode.resource.du.reserved)"
            ),
            None => write!(f, "volume '{dir}' can't be asked for its space"),
        }
    }
}

/// Id of a directory's volume, and the free bytes on it.
type Volume = (u64, u64);

impl ResourceOptions {
    /// The volumes that are short of room, if the NameNode must not go on because of them. Otherwise empty.
    #[must_use]
    pub fn shortage(&self) -> Vec<Low> {
        self.shortage_by(|dir| {
            let stat = rustix::fs::statvfs(dir).ok()?;
            let device = rustix::fs::stat(dir).ok()?.st_dev;
            Some((device, stat.f_bavail.saturating_mul(stat.f_frsize)))
        })
    }

    fn shortage_by(&self, volume_of: impl Fn(&PathBuf) -> Option<Volume>) -> Vec<Low> {
        let mut low = Vec::new();
        let mut seen = Vec::new();
        let (mut required_low, mut redundant, mut redundant_low) = (false, 0, 0);
        // Required volumes first: a volume is required if any of its directories is.
        let all = self.required.iter().map(|dir| (dir, true));
        for (dir, required) in all.chain(self.redundant.iter().map(|dir| (dir, false))) {
            let volume = volume_of(dir);
            if let Some((device, _)) = volume {
                if seen.contains(&device) {
                    continue;
                }
                seen.push(device);
            }
            let available_bytes = volume.map(|(_, available)| available);
            let is_low = available_bytes.is_none_or(|available| available < self.reserved_bytes);
            if is_low {
                low.push(Low {
                    dir: dir.clone(),
                    available_bytes,
                    reserved_bytes: self.reserved_bytes,
                });
            }
            required_low |= required && is_low;
            redundant += usize::from(!required);
            redundant_low += usize::from(!required && is_low);
        }
        let enough = !required_low && (redundant == 0 || redundant - redundant_low >= self.minimum);
        if enough { Vec::new() } else { low }
    }
}

/// The problem that `monitorHealth` tells. `None` if nothing is short.
#[must_use]
pub fn problem(low: &[Low]) -> Option<String> {
    let each: Vec<String> = low.iter().map(ToString::to_string).collect();
    (!each.is_empty()).then(|| format!("The NameNode has no resources available: {}", each.join("; ")))
}

/// Checks again and again (`FSNamesystem.NameNodeResourceMonitor`).
pub async fn monitor(ns: Arc<RwLock<Namesystem>>, observed: Arc<Observed>, options: ResourceOptions) {
    let mut was_low = false;
    loop {
        let asked = options.clone();
        // A disk that hangs must not delay other tasks.
        let low = tokio::task::spawn_blocking(move || asked.shortage()).await;
        let low = low.unwrap_or_default();
        let is_low = !low.is_empty();
        observed.set_shortage(problem(&low));
        if is_low && !was_low {
            for volume in &low {
                tracing::warn!("{volume}");
            }
        } else if was_low && !is_low {
            tracing::info!("the NameNode's disks have room again");
        }
        was_low = is_low;
        if is_low {
            let mut ns = ns.write();
            if ns.role() == Role::Active && ns.enter_low_resources_safe_mode() {
                drop(ns);
                tracing::warn!(
                    "NameNode low on available disk space. Entering safe mode. To be left with hdfs dfsadmin -safemode leave"
                );
            }
        }
        tokio::time::sleep(options.check_interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(required: &[&str], redundant: &[&str], minimum: usize) -> ResourceOptions {
        let dirs = |dirs: &[&str]| dirs.iter().map(PathBuf::from).collect();
        ResourceOptions {
            reserved_bytes: 100,
            redundant: dirs(redundant),
            required: dirs(required),
            minimum,
            check_interval: Duration::ZERO,
        }
    }

    /// The directory `d` has 99 bytes left, `e` is on its volume, `gone` is gone, and all others have 100.
    fn shortage(options: &ResourceOptions) -> Vec<String> {
        let low = options.shortage_by(|dir| {
            let name = dir.to_str()?;
            match name {
                "gone" => None,
                "d" | "e" => Some((0, 99)),
                _ => Some((u64::from(name.bytes().next()?), 100)),
            }
        });
        low.iter().map(|low| low.dir.display().to_string()).collect()
    }

    #[test]
    fn volumes_of_edits_stand_in_for_each_other_and_required_ones_do_not() {
        let none: Vec<String> = Vec::new();
        assert_eq!(shortage(&options(&[], &["a"], 1)), none);
        assert_eq!(shortage(&options(&[], &["a", "d"], 1)), none);
        assert_eq!(shortage(&options(&[], &["a", "d"], 2)), ["d"]);
        assert_eq!(shortage(&options(&[], &["d"], 1)), ["d"]);
        assert_eq!(shortage(&options(&[], &["d", "e"], 1)), ["d"]);
        assert_eq!(shortage(&options(&["d"], &["a"], 1)), ["d"]);
        assert_eq!(shortage(&options(&["e"], &["a", "d"], 1)), ["e"]);
        assert_eq!(shortage(&options(&["a"], &[], 1)), none);
        assert_eq!(shortage(&options(&[], &["gone"], 1)), ["gone"]);
    }

    #[test]
    fn a_shortage_names_volume_bytes_and_key() {
        let low = Low {
            dir: PathBuf::from("/name"),
            available_bytes: Some(7),
            reserved_bytes: 100,
        };
        let told = low.to_string();
        for part in ["'/name'", " 7,", " 100 ", "dfs.namenode.resource.du.reserved"] {
            assert!(told.contains(part), "{told}");
        }
    }
}
