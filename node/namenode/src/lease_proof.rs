//! The secret by which JournalNodes know this process, and the way in which its failover controller reads it.
//!
//! The controller gives the lease of an ended process back, so it must read the proof while the process lives. It reads
//! an anonymous file in memory that the process holds open, through `/proc/PID/fd`, which the kernel allows only to the
//! same user and to root. No RPC shows the proof, because everybody can call. A controller of another user can't read
//! it; then the lease has to run out.

use std::io;
use std::os::fd::OwnedFd;

use hathi_journal::lease::{LeaseProof, PROOF_FILE, proof_text};
use rustix::fs::{MemfdFlags, memfd_create};

/// The proof of one holder. Its controller can read it as long as this lives.
#[derive(Debug)]
pub struct OwnProof {
    proof: LeaseProof,
    _file: Option<OwnedFd>,
}

impl OwnProof {
    /// Draws a proof for `holder`.
    #[must_use]
    pub fn draw(holder: &str) -> OwnProof {
        let proof = LeaseProof(uuid::Uuid::new_v4().as_u128());
        let file = publish(&proof_text(holder, proof));
        let file = file.inspect_err(|error| {
            tracing::warn!(%error, "the supervisor can't be told the lease's proof: when this process ends, its lease has to run out");
        });
        OwnProof {
            proof,
            _file: file.ok(),
        }
    }

    /// The proof.
    #[must_use]
    pub fn proof(&self) -> LeaseProof {
        self.proof
    }
}

fn publish(text: &str) -> io::Result<OwnedFd> {
    let file = memfd_create(PROOF_FILE, MemfdFlags::CLOEXEC)?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(file)
}
