//! Processes of this machine.

use hathi_journal::lease::{LeaseProof, PROOF_FILE, proof_of};
use hathi_net::process::ProcessIdentity;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

/// Longest name of a holder with its proof, in bytes.
const PROOF_MAX_BYTES: u64 = 4096;

/// A process that can be waited for and killed without ever reaching another one: one that got its id later, or that
/// has the same id in another process table of this machine.
#[derive(Debug)]
pub(crate) struct Process {
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
        Ok(Process { pidfd })
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

    /// Blocks until all its threads are gone; by then the kernel has closed its sockets. After an error nothing is
    /// known of the process: it may live.
    pub(crate) fn wait(&self) -> io::Result<()> {
        wait_for(&self.pidfd, |fds| poll(fds, None))
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, Signal::KILL)?)
    }
}

fn wait_for<F: AsFd>(pidfd: &F, mut poll: impl FnMut(&mut [PollFd<'_>]) -> Result<usize, Errno>) -> io::Result<()> {
    loop {
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut fds) {
            Ok(_) if fds.iter().any(|fd| fd.revents().contains(PollFlags::IN)) => return Ok(()),
            // The file can't be waited for.
            Ok(_) if fds.iter().any(|fd| !fd.revents().is_empty()) => return Err(io::ErrorKind::InvalidInput.into()),
            Ok(_) | Err(Errno::INTR) => {}
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
            assert!(wait_for(&process.pidfd, |_| Err(error)).is_err(), "{error:?}");
        }
        // Interrupted, nothing happened, and then the end.
        let mut answers = [Err(Errno::INTR), Ok(0), Err(Errno::NOMEM)].into_iter();
        assert!(wait_for(&process.pidfd, |_| answers.next().unwrap()).is_err());
        assert_eq!(answers.next(), None);
        drop(child.stdin.take());
        process.wait().unwrap();
        child.wait().unwrap();
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
