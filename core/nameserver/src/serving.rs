//! Whether calls are served. A NameNode proves this to itself before it renews its read lease.
//!
//! A process may live and talk to the JournalNodes without serving calls: a reactor may hang, or the namespace's lock
//! may be held for ever. So each reactor regularly does the steps of a read: its own scheduler runs a task, and the
//! task takes the lock. The edit log task, which renews the lease and takes the lock for writing, checks that every
//! reactor did so lately. If one did not, the lease runs out and another NameNode takes over.

use std::sync::atomic::{AtomicU64, Ordering};

/// Period in which each reactor proves that it serves, ms.
pub const PROOF_PERIOD_MS: u64 = 100;

/// When each reactor has last proven that it serves.
#[derive(Debug)]
pub struct Serving {
    /// By reactor, in milliseconds of the NameNode's clock that stands still in suspend; 0 before the first proof.
    proven_ms: Vec<AtomicU64>,
    limit_ms: u64,
}

impl Serving {
    /// No reactor has served yet. Each may be silent for `limit_ms`.
    #[must_use]
    pub fn new(reactors: usize, limit_ms: u64) -> Self {
        Serving {
            proven_ms: (0..reactors).map(|_| AtomicU64::new(0)).collect(),
            limit_ms,
        }
    }

    /// A reactor has done the steps of a read; they ended at this time.
    pub fn proven(&self, reactor: usize, now_ms: u64) {
        if let Some(proven) = self.proven_ms.get(reactor) {
            proven.store(now_ms, Ordering::Release);
        }
    }

    /// Whether all reactors have served within the limit.
    #[must_use]
    pub fn is_proven(&self, now_ms: u64) -> bool {
        let lately = |proven: &AtomicU64| proven.load(Ordering::Acquire).saturating_add(self.limit_ms) > now_ms;
        self.proven_ms.iter().all(lately)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safety_08_one_reactor_that_stands_still_is_enough() {
        let serving = Serving::new(2, 1000);
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
