//! Changes of the active NameNode, as the leases at the JournalNodes show them to every NameNode: to those too that did
//! not take part.
//!
//! Invariant: a change is from one holder to another. What nobody knows is no change, and the first holder took over from
//! nobody.

use hathi_journal::survey::QuorumLease;
use std::collections::VecDeque;

/// Handovers that are kept.
const KEPT: usize = 50;

/// The active role went from one process to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// When the new active had its lease, in ms since 1970.
    pub at_ms: u64,
    /// The NameNode that was active before. `None` if nobody was since this process started.
    pub from: Option<String>,
    /// The NameNode that is active now.
    pub to: String,
    /// From the end of the old lease until the new one, in ms. `None` if the end was not seen.
    pub took_ms: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Handovers {
    holder: Option<String>,
    /// When the last holder was seen to hold it no more, in ms since 1970.
    ended_ms: Option<u64>,
    last: VecDeque<Handover>,
    count: u64,
}

impl Handovers {
    /// Takes what a majority of the JournalNodes says now.
    pub fn note(&mut self, lease: &QuorumLease, wall_ms: u64) {
        match lease {
            // Nothing is known, so nothing has changed.
            QuorumLease::Unknown => {}
            QuorumLease::Free | QuorumLease::Written { .. } => {
                if self.holder.is_some() && self.ended_ms.is_none() {
                    self.ended_ms = Some(wall_ms);
                }
            }
            QuorumLease::Held { holder, .. } => {
                if self.holder.as_deref() != Some(holder) {
                    self.changed(holder, wall_ms);
                }
                self.ended_ms = None;
            }
        }
    }

    fn changed(&mut self, holder: &str, wall_ms: u64) {
        let before = self.holder.replace(holder.to_owned());
        let id = |holder: &str| holder.split('@').next().unwrap_or(holder).to_owned();
        if let Some(before) = &before {
            debug_assert_ne!(before, holder, "a change is from one process to another");
            self.count = self.count.saturating_add(1);
            if self.last.len() >= KEPT {
                self.last.pop_front();
            }
            self.last.push_back(Handover {
                at_ms: wall_ms,
                from: Some(id(before)),
                to: id(holder),
                took_ms: self.ended_ms.map(|ended| wall_ms.saturating_sub(ended)),
            });
        }
    }

    /// Number of failovers that this process has seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last failovers, the newest last.
    pub fn last(&self) -> impl Iterator<Item = &Handover> {
        self.last.iter()
    }

    /// The NameNode that holds the lease, or held it last.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.holder.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failover_is_from_holder_to_holder_and_lasts_from_the_end_of_a_lease_to_the_next() {
        let mut failovers = Handovers::default();
        let held = |holder: &str| QuorumLease::Held {
            holder: holder.to_owned(),
            epoch: 1,
        };
        failovers.note(&QuorumLease::Free, 1);
        failovers.note(&held("nn0@a"), 2);
        assert_eq!(failovers.count(), 0, "the first active took over from nobody");
        failovers.note(&QuorumLease::Unknown, 3);
        failovers.note(&held("nn0@a"), 4);
        failovers.note(&QuorumLease::Free, 10);
        failovers.note(&QuorumLease::Free, 11);
        failovers.note(&held("nn1@b"), 17);
        failovers.note(&held("nn1@c"), 20);
        let last: Vec<_> = failovers
            .last()
            .map(|one| (one.from.as_deref(), one.to.as_str(), one.took_ms))
            .collect();
        assert_eq!(last, [(Some("nn0"), "nn1", Some(7)), (Some("nn1"), "nn1", None)]);
    }
}
