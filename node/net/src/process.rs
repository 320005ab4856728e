//! Identity of processes on this machine.
//!
//! A process id alone is not enough. It is used again after its process has ended, and in another process table (a
//! container's) it names a different process. The id, the start time of the process, the boot of the machine and the
//! table of the id together name exactly one process.

/// One process of one machine, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since the boot (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
    /// The boot of the machine (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The process table of the id (inode of `/proc/PID/ns/pid`).
    pub pid_namespace: u64,
}

impl ProcessIdentity {
    /// The identity of this process. `None` where `/proc` does not tell, or belongs to another process table.
    #[must_use]
    pub fn own() -> Option<ProcessIdentity> {
        let (pid, start_ticks) = id_and_start("self")?;
        if pid != std::process::id() {
            return None;
        }
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
        let namespace = namespace.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?;
        Some(ProcessIdentity {
            pid,
            start_ticks,
            boot_id: boot_id.trim().to_owned(),
            pid_namespace: namespace.parse().ok()?,
        })
    }

    /// Whether exactly this process runs here now, under this id. The kernel's data is compared with the process's own.
    /// One that has ended does not run any more, also while nobody has asked how (a zombie): all its threads are gone and
    /// all its files are closed.
    #[must_use]
    pub fn runs_here(&self) -> bool {
        let Some(own) = ProcessIdentity::own() else {
            return false;
        };
        let same_table = own.boot_id == self.boot_id && own.pid_namespace == self.pid_namespace;
        same_table && id_and_start(&self.pid.to_string()) == Some((self.pid, self.start_ticks))
    }
}

fn id_and_start(process: &str) -> Option<(u32, u64)> {
    parse(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// Fields 1 and 22, of a process that has not ended (fields 3 and 20: the state of its first thread, and the number of
/// threads). Field 2, the name of the program, may contain any character.
fn parse(stat: &str) -> Option<(u32, u64)> {
    let (before, after) = stat.rsplit_once(')')?;
    let pid = before.split_once(' ')?.0.parse().ok()?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let threads: u32 = fields.get(17)?.parse().ok()?;
    if matches!(*fields.first()?, "Z" | "X") && threads <= 1 {
        return None;
    }
    Some((pid, fields.get(19)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safety_07b_a_process_is_told_from_every_other_one() {
        let own = ProcessIdentity::own().unwrap();
        assert!(own.runs_here());
        let other = |change: fn(&mut ProcessIdentity)| {
            let mut other = own.clone();
            change(&mut other);
            other
        };
        for other in [
            // No process has this id. The next one may be a child of another test, begun in the same tick.
            other(|other| other.pid = u32::MAX),
            other(|other| other.start_ticks += 1),
            other(|other| other.boot_id.push('x')),
            other(|other| other.pid_namespace += 1),
        ] {
            assert!(!other.runs_here(), "{other:?}");
        }
    }

    #[test]
    fn safety_07c_a_process_that_was_killed_and_is_not_reaped_does_not_run() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let (pid, start_ticks) = id_and_start(&child.id().to_string()).unwrap();
        let process = ProcessIdentity {
            pid,
            start_ticks,
            ..ProcessIdentity::own().unwrap()
        };
        assert!(process.runs_here());
        child.kill().unwrap();
        // It returns when the process has ended, and leaves it unreaped.
        let unreaped = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        let ended = rustix::process::waitid(
            rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child)),
            unreaped,
        );
        assert!(ended.unwrap().is_some());
        assert!(!process.runs_here());
        child.wait().unwrap();
    }

    #[test]
    fn a_first_thread_may_end_before_the_others() {
        let stat = |threads: u32| format!("77 (a) Z {} {threads} 0 22 23", "0 ".repeat(16).trim_end());
        assert_eq!(parse(&stat(1)), None);
        assert_eq!(parse(&stat(2)), Some((77, 22)));
    }

    #[test]
    fn a_programs_name_may_look_like_fields() {
        let numbers: Vec<String> = (4..=30).map(|n: u32| n.to_string()).collect();
        let stat = format!("77 (a) b (c) 1) S {}", numbers.join(" "));
        assert_eq!(parse(&stat), Some((77, 22)));
        assert_eq!(parse("77 (a) S 1"), None);
    }
}
