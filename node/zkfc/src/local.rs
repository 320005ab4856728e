//! Addresses and processes of this machine.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

/// Whether an address belongs to this machine, so that a process id behind it means something here.
pub(crate) fn is_local(address: SocketAddr) -> bool {
    TcpListener::bind((address.ip(), 0)).is_ok()
}

/// A process that can be waited for and killed without ever meeting a stranger who got its id later.
#[derive(Debug)]
pub(crate) struct Process {
    pidfd: OwnedFd,
}

impl Process {
    /// Opens a running process.
    pub(crate) fn open(pid: u32) -> io::Result<Process> {
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Process { pidfd })
    }

    /// Blocks until all its threads are gone; the kernel has closed its sockets by then.
    pub(crate) fn wait(&self) {
        loop {
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::error!(%error, "can't wait for a process");
                    return;
                }
            }
        }
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, Signal::KILL)?)
    }
}
