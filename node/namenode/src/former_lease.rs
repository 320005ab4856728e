//! The lease of the process that served from the same directories before. It is given back as soon as that process is
//! known to be gone, so that nobody waits for the end of the lease.
//!
//! As a rule the failover controller has done that already. It can't when it was killed together with its NameNode. So
//! a NameNode leaves the proof of its leases in its directory, with the identity of its process, for the process that
//! comes next. That one gives the lease back only if the kernel says that the earlier process ran in the present boot
//! of this machine, in the same process table, and does not run any more. Otherwise the lease has to run out.
//!
//! The file need not be synced: after a loss of power it is of another boot, and of no use.

use hathi_journal::Request;
use hathi_journal::lease::LeaseProof;
use hathi_journal::writer::CallError;
use hathi_journalclient::JournalNodes;
use hathi_net::process::ProcessIdentity;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Beside `in_use.lock`.
const FILE: &str = "lease-holder";
const NEW_FILE: &str = "lease-holder.new";
const FILE_BYTES_MAX: u64 = 4096;

/// How long JournalNodes are asked that do not answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// First pause before such a JournalNode is asked again, and the longest; each is a quarter longer than the last. One that
/// was started together with this process listens a little later.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// A lease that nobody holds any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FormerLease {
    holder: Arc<str>,
    proof: LeaseProof,
}

/// The lease of the process that wrote the file in this directory, if the kernel says that it is gone.
pub(crate) fn find(dir: &Path) -> Option<FormerLease> {
    let mut text = String::new();
    let file = std::fs::File::open(dir.join(FILE)).ok()?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let (process, lease) = parse(&text)?;
    is_gone(&process).then_some(lease)
}

/// Leaves the proof of this process's leases to the next one.
///
/// # Errors
/// When the file can't be written, or the kernel does not tell which process this is.
pub(crate) fn leave(dir: &Path, holder: &str, proof: LeaseProof) -> io::Result<()> {
    let process = ProcessIdentity::own().ok_or(io::ErrorKind::Unsupported)?;
    let text = to_text(&process, holder, proof);
    let path = dir.join(NEW_FILE);
    // The mode is that of a new file.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&path, dir.join(FILE))
}

/// Tells every JournalNode that the holder is gone.
pub(crate) async fn give_back(nodes: JournalNodes, lease: FormerLease) {
    tracing::info!(
        holder = &*lease.holder,
        "giving the lease back for the process that served here before"
    );
    let until = Instant::now() + PATIENCE;
    let mut calls = JoinSet::new();
    for index in nodes.all() {
        calls.spawn(release_at(nodes.clone(), index, lease.clone(), until));
    }
    calls.join_all().await;
}

async fn release_at(nodes: JournalNodes, index: usize, lease: FormerLease, until: Instant) {
    let mut pause = RETRY_FIRST;
    while let Err(error) = release(&nodes, index, &lease).await {
        if Instant::now() >= until {
            tracing::debug!(journalnode = index, %error, "the lease of the process before has to run out");
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause + pause / 4).min(RETRY_MAX);
    }
}

async fn release(nodes: &JournalNodes, index: usize, lease: &FormerLease) -> Result<(), CallError> {
    let request = Request::ReleaseLease {
        holder: lease.holder.clone(),
        proof: lease.proof,
        up_to: None,
    };
    let client = nodes.connect(index).await?;
    client.send(&request, CALL_TIMEOUT).await.map(drop)
}

/// Whether this very process can't run any more. Of another boot or another process table nothing is known: it may be
/// another machine's.
fn is_gone(process: &ProcessIdentity) -> bool {
    ProcessIdentity::own().is_some_and(|own| {
        own.boot_id == process.boot_id && own.pid_namespace == process.pid_namespace && !process.runs_here()
    })
}

fn to_text(process: &ProcessIdentity, holder: &str, proof: LeaseProof) -> String {
    let ProcessIdentity {
        pid,
        start_ticks,
        boot_id,
        pid_namespace,
    } = process;
    let proof = proof.to_hex();
    format!("{pid}\n{start_ticks}\n{boot_id}\n{pid_namespace}\n{holder}\n{proof}\nend\n")
}

fn parse(text: &str) -> Option<(ProcessIdentity, FormerLease)> {
    let lines: Vec<&str> = text.lines().collect();
    let [pid, start_ticks, boot_id, pid_namespace, holder, proof, "end"] = lines.as_slice() else {
        return None;
    };
    let process = ProcessIdentity {
        pid: pid.parse().ok()?,
        start_ticks: start_ticks.parse().ok()?,
        boot_id: (*boot_id).to_owned(),
        pid_namespace: pid_namespace.parse().ok()?,
    };
    let lease = FormerLease {
        holder: Arc::from(*holder),
        proof: LeaseProof::from_hex(proof)?,
    };
    Some((process, lease))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROOF: LeaseProof = LeaseProof(7 << 90);

    fn found(change: impl FnOnce(&mut ProcessIdentity)) -> Option<FormerLease> {
        let dir = tempfile::tempdir().unwrap();
        let mut process = ProcessIdentity::own().unwrap();
        change(&mut process);
        std::fs::write(dir.path().join(FILE), to_text(&process, "nn1@a", PROOF)).unwrap();
        find(dir.path())
    }

    #[test]
    fn safety_07c_only_the_lease_of_a_process_that_is_gone_is_given_back() {
        let lease = FormerLease {
            holder: Arc::from("nn1@a"),
            proof: PROOF,
        };
        assert_eq!(found(|_| {}), None, "it runs");
        // One that had the id of this process before it, which started later.
        assert_eq!(found(|process| process.start_ticks -= 1), Some(lease.clone()));
        // No process has such an id.
        assert_eq!(found(|process| process.pid = u32::MAX), Some(lease));
        assert_eq!(
            found(|process| {
                process.pid = u32::MAX;
                process.boot_id.push('x');
            }),
            None,
            "it may be of another machine"
        );
        assert_eq!(
            found(|process| {
                process.pid = u32::MAX;
                process.pid_namespace += 1;
            }),
            None,
            "it may run in another container"
        );
    }

    #[test]
    fn what_a_process_leaves_is_of_this_process_and_nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path()), None);
        leave(dir.path(), "nn1@a", PROOF).unwrap();
        leave(dir.path(), "nn1@b", PROOF).unwrap();
        let path = dir.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        let (process, lease) = parse(&text).unwrap();
        assert_eq!(Some(process), ProcessIdentity::own());
        assert_eq!(&*lease.holder, "nn1@b");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for end in 0..text.len() - 1 {
            assert_eq!(parse(&text[..end]), None, "{end} bytes of it");
        }
    }
}
