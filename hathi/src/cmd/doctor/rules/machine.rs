//! The limits of this machine.

use super::{Rule, Trouble, error, size, trouble, warning};
use crate::cmd::doctor::facts::{Contents, Facts, Role};

/// Open files that a DataNode with some thousand connections needs. The systemd unit gives more.
const OPEN_FILES_MIN: u64 = 4096;
/// `vm.swappiness` above which Linux swaps out a NameNode to keep pages of files.
const SWAPPINESS_MAX: u32 = 10;
/// Memory of a NameNode for each byte of its image, rounded up. An image has about 80 bytes for a file of one block, and
/// memory takes 176 (docs/benchmarks.md).
const MEMORY_PER_IMAGE_BYTE: u64 = 2;

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    warning("open-files-few", "fewer than 4096 open files are allowed", "Raise the limit for the daemons' user: LimitNOFILE in a systemd unit, nofile in /etc/security/limits.conf.", open_files_few),
    warning("swapping", "this machine may swap daemons out (`vm.swappiness` above 10)", "Switch swap off, or set vm.swappiness to 1.", swapping),
    error("memory-small", "a NameNode's image needs more memory than this machine or container has", "Give the NameNode more memory, or raise the limit of its container.", memory_small),
];

fn has(facts: &Facts, roles: &[Role]) -> bool {
    facts
        .directories
        .iter()
        .any(|directory| roles.contains(&directory.role))
}

fn open_files_few(facts: &Facts) -> Vec<Trouble> {
    match facts.machine.open_files_max {
        Some(limit) if limit < OPEN_FILES_MIN && !facts.directories.is_empty() => {
            vec![trouble(
                "ulimit -n",
                format!("a process of this user may have {limit} files and connections open"),
            )]
        }
        _ => Vec::new(),
    }
}

fn swapping(facts: &Facts) -> Vec<Trouble> {
    let machine = &facts.machine;
    let swappiness = machine.swappiness.unwrap_or(0);
    // A JournalNode or NameNode that is swapped out answers late, and leases run out.
    if machine.swap_bytes == 0 || swappiness <= SWAPPINESS_MAX || !has(facts, &[Role::Image, Role::Journal]) {
        return Vec::new();
    }
    let what = format!(
        "there are {} of swap with vm.swappiness = {swappiness}, and a daemon that is swapped out answers late",
        size(machine.swap_bytes)
    );
    vec![trouble("/proc/sys/vm/swappiness", what)]
}

fn memory_small(facts: &Facts) -> Vec<Trouble> {
    let newest = |contents: &Contents| contents.images.last().map(|(_, bytes, _)| *bytes);
    let images = facts
        .directories
        .iter()
        .filter_map(|directory| Some((directory, newest(directory.contents()?)?)));
    let Some((directory, image)) = images.max_by_key(|(_, bytes)| *bytes) else {
        return Vec::new();
    };
    let needed = image.saturating_mul(MEMORY_PER_IMAGE_BYTE);
    match facts.machine.memory_bytes {
        Some(memory) if memory < needed => {
            let what = format!(
                "the image of {} needs about {} and there are {}",
                size(image),
                size(needed),
                size(memory)
            );
            vec![trouble(directory.place(), what)]
        }
        _ => Vec::new(),
    }
}
