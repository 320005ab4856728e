//! Block report leases: only this many DataNodes send full reports at the same time (`BlockReportLeaseManager`).

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::rng::Rng;
use crate::types::{BlockManagerConfig, DatanodeIndex};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct ReportLease {
    id: u64,
    until_ms: u64,
}

/// The DataNodes that may send a full report now.
#[derive(Debug)]
pub(crate) struct ReportLeases {
    leases: BTreeMap<DatanodeIndex, ReportLease>,
    max: usize,
    length_ms: u64,
    rng: Rng,
}

impl ReportLeases {
    pub(crate) fn new(config: &BlockManagerConfig, seed: u64) -> ReportLeases {
        ReportLeases {
            leases: BTreeMap::new(),
            max: config.max_report_leases,
            length_ms: config.report_lease_ms,
            rng: Rng::new(seed),
        }
    }

    /// Grants a lease. Returns its id, or 0 when all leases are taken.
    pub(crate) fn request(&mut self, datanode: DatanodeIndex, now_ms: u64) -> u64 {
        self.leases.retain(|_, lease| lease.until_ms > now_ms);
        // A node that asks again did not get the answer.
        self.leases.remove(&datanode);
        if self.leases.len() >= self.max {
            return 0;
        }
        let id = self.rng.next_u64().max(1);
        self.leases.insert(
            datanode,
            ReportLease {
                id,
                until_ms: now_ms.saturating_add(self.length_ms),
            },
        );
        id
    }

    /// Whether the lease is valid. Id 0 means "without a lease", which is allowed.
    pub(crate) fn is_valid(&self, datanode: DatanodeIndex, id: u64, now_ms: u64) -> bool {
        id == 0
            || self
                .leases
                .get(&datanode)
                .is_some_and(|lease| lease.id == id && lease.until_ms > now_ms)
    }

    /// Panics when more nodes may report than allowed, or a lease has the id that means "without a lease".
    pub(crate) fn check(&self) {
        assert!(self.leases.len() <= self.max, "{} report at a time", self.leases.len());
        assert!(self.leases.values().all(|lease| lease.id != 0), "0 is no lease");
    }

    pub(crate) fn clear(&mut self) {
        self.leases.clear();
    }

    pub(crate) fn remove(&mut self, datanode: DatanodeIndex) {
        self.leases.remove(&datanode);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_a_time() {
        let config = BlockManagerConfig {
            max_report_leases: 1,
            ..BlockManagerConfig::default()
        };
        let mut leases = ReportLeases::new(&config, 1);
        let (one, other) = (DatanodeIndex(0), DatanodeIndex(1));
        let first = leases.request(one, 0);
        assert_ne!(first, 0);
        assert_eq!(leases.request(other, 0), 0);
        assert!(leases.is_valid(one, first, 1) && !leases.is_valid(other, first, 1) && leases.is_valid(other, 0, 1));
        assert!(!leases.is_valid(one, first, 300_000));
        assert_ne!(leases.request(other, 300_000), 0);
        leases.remove(other);
        assert_ne!(leases.request(one, 300_000), 0);
    }
}
