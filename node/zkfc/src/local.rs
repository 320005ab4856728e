//! Processes of this machine.

use hathi_journal::lease::{LeaseProof, PROOF_FILE, proof_of};
use hathi_net::process::ProcessIdentity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

/// Longest name of a holder with its proof, in bytes.
const PROOF_MAX_BYTES: u64 = 4096;

/// `PIDFD_THREAD` of Linux 6.9: a descriptor of one thread, which tells the end of that thread.
const PIDFD_THREAD: u32 = 0o200;
/// `PF_EXITING` of Linux, in field 9 of `/proc/PID/task/ID/stat`. The kernel sets it when a thread has left its program
/// for good: from then on the thread is in no system call and executes no instruction of the program.
const PF_EXITING: u32 = 4;
/// Number of threads that are watched. The last thread that ends frees the memory of the process before its descriptor
/// tells anything, so there must be more than one.
const THREADS_WATCHED: usize = 3;
/// After a thread has ended, the others are looked at this often, at this distance: an end of all takes less.
const LOOKS: u32 = 20;
const LOOK_AGAIN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// A process that can be waited for and killed without ever reaching another one: one that got its id later, or that
/// has the same id in another process table of this machine.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    pidfd: OwnedFd,
}

impl Process {
    /// Opens exactly this process. [`io::ErrorKind::NotFound`] when the kernel does not confirm that it runs here.
    pub(crate) fn open(identity: &ProcessIdentity) -> io::Result<Process> {
        let pid = i32::try_from(identity.pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        // Compared after it was opened: if the id had gone to another process before, that would show now.
        if !identity.runs_here() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the process with its id here is not proven to be the NameNode",
            ));
        }
        Ok(Process {
            pid: identity.pid,
            pidfd,
        })
    }

    /// The proof of this holder's leases, which the process keeps for its failover controller.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] when it runs as another user; [`io::ErrorKind::NotFound`] when it has no
    /// proof (yet).
    pub(crate) fn lease_proof(pid: u32, holder: &str) -> io::Result<LeaseProof> {
        let wanted = format!("/memfd:{PROOF_FILE} ");
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
            let path = entry?.path();
            // The file may have been closed meanwhile.
            let Ok(target) = std::fs::read_link(&path) else {
                continue;
            };
            if target.to_str().is_none_or(|target| !target.starts_with(&wanted)) {
                continue;
            }
            let mut text = String::new();
            File::open(&path)?.take(PROOF_MAX_BYTES).read_to_string(&mut text)?;
            // A process may contain several holders.
            if let Some(proof) = proof_of(holder, &text) {
                return Ok(proof);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "it holds no proof of its leases",
        ))
    }

    /// Blocks until no thread of the process will ever do anything again. The kernel may still be freeing its memory,
    /// which takes up to 70 ms for each gigabyte, and closes its sockets only after that. After an error nothing is
    /// known of the process: it may live.
    pub(crate) fn wait(&self) -> io::Result<()> {
        let mut looks = 0;
        loop {
            let threads = match Threads::of(self.pid) {
                Some(threads) if threads.have_ended => return Ok(()),
                Some(threads) => open_threads(&threads.living),
                // Not known, so only the end of the whole process tells.
                None => Vec::new(),
            };
            let timeout = (looks > 0).then_some(LOOK_AGAIN);
            match wait_for(&self.pidfd, &threads, |fds| poll(fds, timeout.as_ref()))? {
                Ended::Process => return Ok(()),
                Ended::Thread => looks = LOOKS,
                Ended::Nothing => looks = looks.saturating_sub(1),
            }
        }
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, Signal::KILL)?)
    }
}

/// The threads of a process.
struct Threads {
    living: Vec<Pid>,
    /// Whether all of them have left the program for good.
    have_ended: bool,
}

impl Threads {
    /// `None` when the kernel does not tell.
    ///
    /// The list of a process that loses threads meanwhile may lack some. So all have ended when those of the list are
    /// exiting, the process has no more than them, and they are all still there after these were counted. A thread that
    /// is exiting starts no other one.
    fn of(pid: u32) -> Option<Threads> {
        let (mut living, mut exiting) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let id: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            match Stat::read(&format!("{pid}/task/{id}")) {
                Some(stat) if stat.is_exiting => exiting.push(id),
                Some(_) => living.push(Pid::from_raw(id)?),
                // It is gone, or not readable. That shows in the number of them.
                None => {}
            }
        }
        let number = Stat::read(&pid.to_string())?.threads;
        let are_there = exiting
            .iter()
            .all(|id| Stat::read(&format!("{pid}/task/{id}")).is_some());
        Some(Threads {
            have_ended: living.is_empty() && number > 0 && exiting.len() == number && are_there,
            living,
        })
    }
}

/// `/proc/PID/stat` of a thread or a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    is_exiting: bool,
    /// Number of threads of the process.
    threads: usize,
}

impl Stat {
    fn read(process: &str) -> Option<Stat> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    /// Fields 9 and 20. Field 2, the name of the program, may contain any character.
    fn parse(stat: &str) -> Option<Stat> {
        let (_, after) = stat.rsplit_once(')')?;
        let mut fields = after.split_whitespace();
        let flags: u32 = fields.nth(6)?.parse().ok()?;
        Some(Stat {
            is_exiting: flags & PF_EXITING != 0,
            threads: fields.nth(10)?.parse().ok()?,
        })
    }
}

/// Descriptors of some of these threads; none before Linux 6.9.
fn open_threads(threads: &[Pid]) -> Vec<OwnedFd> {
    let open = |thread: &Pid| pidfd_open(*thread, PidfdFlags::from_bits_retain(PIDFD_THREAD)).ok();
    threads.iter().filter_map(open).take(THREADS_WATCHED).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Process,
    /// One of its threads, perhaps of many.
    Thread,
    /// Nothing, in the given time.
    Nothing,
}

fn wait_for<F: AsFd>(
    process: &F,
    threads: &[F],
    mut poll: impl FnMut(&mut [PollFd<'_>]) -> Result<usize, Errno>,
) -> io::Result<Ended> {
    loop {
        let watched = std::iter::once(process).chain(threads);
        let mut fds: Vec<PollFd<'_>> = watched.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let polled = poll(&mut fds);
        let is_process = fds.first().is_some_and(|fd| fd.revents().contains(PollFlags::IN));
        match polled {
            Ok(_) if is_process => return Ok(Ended::Process),
            // The file can't be waited for.
            Ok(_) if fds.first().is_some_and(|fd| !fd.revents().is_empty()) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            Ok(0) => return Ok(Ended::Nothing),
            Ok(_) => return Ok(Ended::Thread),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A process that lives until its standard input is closed, and its identity.
    fn child() -> (Child, ProcessIdentity) {
        let child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let start = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
        let identity = ProcessIdentity {
            pid: child.id(),
            start_ticks: start.parse().unwrap(),
            ..ProcessIdentity::own().unwrap()
        };
        (child, identity)
    }

    #[test]
    fn safety_07a_an_error_of_waiting_is_not_the_end_of_the_process() {
        let (mut child, identity) = child();
        let process = Process::open(&identity).unwrap();
        for error in [Errno::NOMEM, Errno::INVAL, Errno::FAULT] {
            assert!(wait_for(&process.pidfd, &[], |_| Err(error)).is_err(), "{error:?}");
        }
        // Interrupted, then nothing happened, then an error.
        let mut answers = [Err(Errno::INTR), Ok(0), Err(Errno::NOMEM)].into_iter();
        let mut wait = || wait_for(&process.pidfd, &[], |_| answers.next().unwrap());
        assert_eq!(wait().unwrap(), Ended::Nothing);
        assert!(wait().is_err());
        assert_eq!(answers.next(), None);
        drop(child.stdin.take());
        process.wait().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn safety_07a_a_process_has_ended_when_each_of_its_threads_is_exiting() {
        let own = Threads::of(std::process::id()).unwrap();
        assert!(!own.have_ended);
        assert!(own.living.len() >= 2, "this thread and the first one");
        let (mut child, identity) = child();
        let process = Process::open(&identity).unwrap();
        let threads = Threads::of(identity.pid).unwrap();
        assert!(!threads.have_ended);
        assert_eq!(threads.living.len(), 1);
        process.kill().unwrap();
        process.wait().unwrap();
        // Until it is waited for it is listed, with a thread that does nothing more.
        let threads = Threads::of(identity.pid).unwrap();
        assert!(threads.have_ended);
        assert!(threads.living.is_empty());
        child.wait().unwrap();
        assert!(
            Threads::of(identity.pid).is_none(),
            "nothing is known of what is not there"
        );
    }

    #[test]
    fn a_threads_name_may_look_like_fields() {
        let stat = |flags: u32| format!("77 (a) b (c) 1) S 1 2 3 4 5 {flags} 10 11 12 13 14 15 16 17 18 19 7 21 22");
        let [living, exiting] = [0x0040_0040, 0x0040_004c].map(|flags| Stat::parse(&stat(flags)).unwrap());
        assert_eq!((living.is_exiting, living.threads), (false, 7));
        assert_eq!((exiting.is_exiting, exiting.threads), (true, 7));
        assert_eq!(Stat::parse("77 (a) S 1"), None);
    }

    #[test]
    fn the_proof_of_a_lease_is_read_from_the_process_that_holds_it() {
        let proof = LeaseProof(7 << 90);
        let own = std::process::id();
        let name = format!("nn1@{own}");
        assert!(Process::lease_proof(own, &name).is_err());
        let file = rustix::fs::memfd_create(PROOF_FILE, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let text = hathi_journal::lease::proof_text(&name, proof);
        rustix::io::write(&file, text.as_bytes()).unwrap();
        assert_eq!(Process::lease_proof(own, &name).unwrap(), proof);
        assert!(Process::lease_proof(own, "nn2@other").is_err());
        let (mut child, _) = child();
        assert!(Process::lease_proof(child.id(), &name).is_err(), "another process");
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn safety_07b_a_process_that_is_not_proven_is_neither_watched_nor_killed() {
        let (mut child, identity) = child();
        let strangers = [
            ProcessIdentity {
                start_ticks: identity.start_ticks + 1,
                ..identity.clone()
            },
            ProcessIdentity {
                pid_namespace: identity.pid_namespace + 1,
                ..identity.clone()
            },
            ProcessIdentity {
                boot_id: "another machine".to_owned(),
                ..identity.clone()
            },
        ];
        for stranger in strangers {
            assert!(Process::open(&stranger).is_err(), "{stranger:?}");
        }
        Process::open(&identity).unwrap().kill().unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(Process::open(&identity).is_err(), "it is gone");
    }
}
