//! Whether calls are served. A NameNode proves this to itself before it renews its read lease.
//!
//! A process may live and talk to the JournalNodes without serving calls: a reactor may hang, or the namespace's lock
//! may be held for ever. So each reactor regularly does the steps of a read: its own scheduler runs a task, and the
//! task takes the lock. The edit log task, which renews the lease and takes the lock for writing, checks that every
//! reactor did so lately. If one did not, the lease runs out and another NameNode takes over.

use crate::clock::Clock;
use hathi_namesystem::Namesystem;
use hathi_net::ipc::RpcServer;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Period in which each reactor proves that it serves.
const PROOF_PERIOD: Duration = Duration::from_millis(100);

/// When each reactor has last proven that it serves.
#[derive(Debug)]
pub struct Serving {
    /// By reactor, in milliseconds of the NameNode's clock that stands still in suspend; 0 before the first proof.
    proven_ms: Vec<AtomicU64>,
    limit_ms: u64,
}

impl Serving {
    /// No reactor has served yet. Each may be silent for `limit`.
    #[must_use]
    pub fn new(reactors: usize, limit: Duration) -> Self {
        Serving {
            proven_ms: (0..reactors).map(|_| AtomicU64::new(0)).collect(),
            limit_ms: limit.as_millis() as u64,
        }
    }

    /// A reactor has done the steps of a read; they ended at this time.
    fn proven(&self, reactor: usize, now_ms: u64) {
        if let Some(proven) = self.proven_ms.get(reactor) {
            proven.store(now_ms, Ordering::Release);
        }
    }

    /// Whether all reactors have served within the limit.
    #[must_use]
    pub fn is_proven(&self, now_ms: u64) -> bool {
        self.proven_ms
            .iter()
            .all(|proven| proven.load(Ordering::Acquire) + self.limit_ms > now_ms)
    }
}

/// Makes the reactors of a server prove that they serve, until the process ends.
pub fn prove(serving: &Arc<Serving>, ns: &Arc<RwLock<Namesystem>>, clock: &Clock, server: &RpcServer) {
    for (index, reactor) in server.reactors().iter().enumerate() {
        let (serving, ns, clock) = (serving.clone(), ns.clone(), clock.clone());
        reactor.spawn(async move {
            loop {
                // The lock as a call would take it: if it is never released, this reactor hangs.
                drop(ns.read());
                serving.proven(index, clock.ms());
                tokio::time::sleep(PROOF_PERIOD).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safety_08_one_reactor_that_stands_still_is_enough() {
        let serving = Serving::new(2, Duration::from_secs(1));
        assert!(!serving.is_proven(5_000), "nobody has served yet");
        serving.proven(0, 5_000);
        assert!(!serving.is_proven(5_001));
        serving.proven(1, 5_400);
        assert!(serving.is_proven(5_500));
        serving.proven(0, 6_300);
        assert!(serving.is_proven(6_399));
        assert!(!serving.is_proven(6_400));
        serving.proven(1, 6_500);
        assert!(serving.is_proven(6_600));
    }
}
