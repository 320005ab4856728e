//! The processes of a cluster as the kernel sees them.

use crate::{Cluster, Role};
use anyhow::{Context, Result};
use std::fmt;

/// A daemon in its state when the attack began.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) role: Role,
    pub(super) index: u16,
    pid: i32,
    /// Start time in clock ticks after the machine's start. Together with the pid it identifies a process.
    started: u64,
}

/// Resources that a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holds {
    /// VmRSS, KiB.
    pub(super) memory_kib: u64,
    /// Open file descriptors.
    pub(super) files: usize,
    pub(super) threads: usize,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.role.name(), self.index)
    }
}

impl Process {
    pub(super) fn of(cluster: &Cluster, role: Role, index: u16) -> Result<Process> {
        let pid = cluster.pid(role, index)?.as_raw_nonzero().get();
        let started = started(pid).with_context(|| format!("process {pid} is gone"))?;
        Ok(Process {
            role,
            index,
            pid,
            started,
        })
    }

    /// Whether exactly this process still runs.
    pub(super) fn lives(&self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Resources of the process. Zero when it has ended.
    pub(super) fn holds(&self) -> Holds {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Holds {
            memory_kib: number("VmRSS:").unwrap_or(0),
            threads: number("Threads:").map_or(0, |threads| threads as usize),
            files: std::fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count),
        }
    }
}

/// Start time of a process. `None` if it is gone or a zombie.
fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold any character.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_one_that_has_ended_does_not() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(started(own).is_some());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        assert_eq!(started(pid), None);
    }
}
