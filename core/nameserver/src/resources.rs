//! Whether the disks of the NameNode have room (`NameNodeResourceChecker`, `NameNodeResourcePolicy`).
//!
//! It checks the volumes of the local edits directories, of which a number must have room, and those of
//! `dfs.namenode.resource.checked.volumes` and `dfs.namenode.edits.dir.required`, which must all have room. An active
//! that is short of room enters safe mode, so that it does not acknowledge changes that no image could hold.

use hathi_namesystem::{Namesystem, Role};
use std::path::{Path, PathBuf};

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
    pub check_interval_ms: u64,
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

/// The problem that `monitorHealth` tells. `None` if nothing is short.
#[must_use]
pub fn problem(low: &[Low]) -> Option<String> {
    let each: Vec<String> = low.iter().map(ToString::to_string).collect();
    (!each.is_empty()).then(|| format!("The NameNode has no resources available: {}", each.join("; ")))
}

/// The volume of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// What tells it from others.
    pub device: u64,
    /// Free bytes for this process's user.
    pub available_bytes: u64,
}

impl ResourceOptions {
    /// The volumes that are short of room, if the NameNode must not go on because of them. Otherwise empty. `volume_of` is
    /// `None` when the system does not tell.
    #[must_use]
    pub fn shortage(&self, volume_of: impl Fn(&Path) -> Option<Volume>) -> Vec<Low> {
        let mut low = Vec::new();
        let mut seen = Vec::new();
        let (mut required_low, mut redundant, mut redundant_low) = (false, 0_usize, 0_usize);
        // Required volumes first: a volume is required if any of its directories is.
        let all = self.required.iter().map(|dir| (dir, true));
        for (dir, required) in all.chain(self.redundant.iter().map(|dir| (dir, false))) {
            let volume = volume_of(dir);
            if let Some(Volume { device, .. }) = volume {
                if seen.contains(&device) {
                    continue;
                }
                seen.push(device);
            }
            let available_bytes = volume.map(|volume| volume.available_bytes);
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
        debug_assert!(redundant_low <= redundant, "what is low was counted");
        let enough = !required_low && (redundant == 0 || redundant - redundant_low >= self.minimum);
        if enough { Vec::new() } else { low }
    }
}

/// What the operator is told after a look at the volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing that is new.
    Nothing,
    /// They are short of room from now on.
    Low,
    /// They have room again.
    Room,
}

/// Repeated looks at the volumes (`FSNamesystem.NameNodeResourceMonitor`).
#[derive(Clone, Copy, Debug, Default)]
pub struct RoomWatch {
    was_low: bool,
}

impl RoomWatch {
    /// What is new.
    pub fn looked(&mut self, low: &[Low]) -> News {
        let is_low = !low.is_empty();
        match (std::mem::replace(&mut self.was_low, is_low), is_low) {
            (false, true) => News::Low,
            (true, false) => News::Room,
            (false, false) | (true, true) => News::Nothing,
        }
    }

    /// What follows from the last look: an active without room enters safe mode, also when it was left by hand. Returns
    /// whether it did so now.
    pub fn enforce(&self, ns: &mut Namesystem) -> bool {
        self.was_low && ns.role() == Role::Active && ns.enter_low_resources_safe_mode()
    }

    /// Whether there was too little room.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.was_low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::namesystem;
    use hathi_blockmanager::Now;
    use hathi_namesystem::Life;

    fn options(required: &[&str], redundant: &[&str], minimum: usize) -> ResourceOptions {
        let dirs = |dirs: &[&str]| dirs.iter().map(PathBuf::from).collect();
        ResourceOptions {
            reserved_bytes: 100,
            redundant: dirs(redundant),
            required: dirs(required),
            minimum,
            check_interval_ms: 0,
        }
    }

    /// The directory `d` has 99 bytes left, `e` is on its volume, `gone` is gone, and all others have 100.
    fn low(options: &ResourceOptions) -> Vec<Low> {
        options.shortage(|dir| {
            let name = dir.to_str()?;
            let volume = |device, available_bytes| Volume {
                device,
                available_bytes,
            };
            match name {
                "gone" => None,
                "d" | "e" => Some(volume(0, 99)),
                _ => Some(volume(u64::from(name.bytes().next()?), 100)),
            }
        })
    }

    fn shortage(options: &ResourceOptions) -> Vec<String> {
        low(options).iter().map(|low| low.dir.display().to_string()).collect()
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
    fn a_shortage_names_each_volume_its_bytes_and_the_key() {
        let low = |dir: &str, available_bytes| Low {
            dir: PathBuf::from(dir),
            available_bytes,
            reserved_bytes: 100,
        };
        assert_eq!(problem(&[]), None);
        let told = problem(&[low("/name", Some(7)), low("/gone", None)]).unwrap();
        for part in [
            "'/name'",
            " 7,",
            " 100 ",
            "dfs.namenode.resource.du.reserved",
            "'/gone'",
        ] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn an_active_without_room_is_in_safe_mode_and_the_operator_is_told_once() {
        let mut ns = namesystem(5, Life::first());
        ns.become_standby().unwrap();
        let (few, enough) = (low(&options(&[], &["d"], 1)), Vec::new());
        let mut watch = RoomWatch::default();
        assert_eq!(watch.looked(&enough), News::Nothing);
        assert_eq!(watch.looked(&few), News::Low);
        assert!(!watch.enforce(&mut ns), "a standby acknowledges nothing");
        ns.begin_activation().unwrap();
        ns.start_active(Now::default()).unwrap();
        assert!(watch.enforce(&mut ns) && ns.blockmanager().in_safe_mode());
        assert_eq!(watch.looked(&few), News::Nothing);
        assert!(!watch.enforce(&mut ns), "it is in safe mode");
        ns.leave_safe_mode(true, Now::default());
        assert!(
            watch.enforce(&mut ns),
            "it was left by hand, and there is still no room"
        );
        assert_eq!(watch.looked(&enough), News::Room);
        ns.leave_safe_mode(true, Now::default());
        assert!(!watch.enforce(&mut ns));
    }
}
