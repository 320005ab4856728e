//! The secret by which JournalNodes know this process, and how its supervisor gets to know it.
//!
//! The supervisor gives the lease of a process back that has ended, so it needs the proof while the process lives. It
//! reads it from the process itself: from an anonymous file in memory that the process holds open, through
//! `/proc/PID/fd`, which the kernel lets only the same user and root do. No RPC shows it, as everybody can call.
//! A supervisor of another user learns nothing; then the lease has to run out.

use std::io;
use std::os::fd::OwnedFd;

use hathi_journal::lease::{LeaseProof, PROOF_FILE, proof_text};
use rustix::fs::{MemfdFlags, memfd_create};

/// The proof of one holder, to be read by its supervisor as long as this lives.
#[derive(Debug)]
pub struct OwnProof {
    proof: LeaseProof,
    _file: Option<OwnedFd>,
}

impl OwnProof {
    /// Draws one for `holder`.
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

    /// What proves that a call is the holder's.
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
