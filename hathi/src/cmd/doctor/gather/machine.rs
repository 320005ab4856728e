//! This machine, from `/proc` and the control group.

use crate::cmd::doctor::facts::Machine;
use rustix::process::{Resource, geteuid, getrlimit};
use std::path::Path;

pub(super) fn look() -> Machine {
    let meminfo = read("/proc/meminfo");
    let bytes = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .map(|kilobytes| kilobytes * 1024)
    };
    let of_machine = bytes("MemTotal:");
    Machine {
        uid: geteuid().as_raw(),
        open_files_max: getrlimit(Resource::Nofile).current,
        swap_bytes: bytes("SwapTotal:").unwrap_or(0),
        swappiness: read("/proc/sys/vm/swappiness").trim().parse().ok(),
        memory_bytes: of_machine.into_iter().chain(of_control_group()).min(),
    }
}

/// `memory.max` of this process's control group and of those above it, the smallest.
fn of_control_group() -> Option<u64> {
    let groups = read("/proc/self/cgroup");
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let path = root.join(own);
    let within = path.ancestors().take_while(|group| group.starts_with(root));
    let limits = within.filter_map(|group| std::fs::read_to_string(group.join("memory.max")).ok());
    limits.filter_map(|limit| limit.trim().parse().ok()).min()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
