//! The `journal` elector: what a majority of JournalNodes say of the read lease.
//!
//! Invariants:
//! - A survey is [`QuorumLease::Free`] only while a majority of JournalNodes last said that no lease runs.
//! - It is [`QuorumLease::Held`] only while some JournalNode last named that holder as alive in the highest epoch
//!   seen, and no majority says free.
//! - A JournalNode that stopped answering counts for nothing.

use std::collections::BTreeMap;

/// The last answer of one JournalNode (`LeaseStateProto`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// Highest epoch promised.
    pub promised_epoch: u64,
    /// Who was granted a lease in that epoch, as `<namenode id>@<instance id>`.
    pub holder: Option<String>,
    /// Whether that lease still ran when the JournalNode answered.
    pub running: bool,
    /// Highest transaction written there.
    pub highest_txid: u64,
}

/// What the quorum says of the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumLease {
    /// No majority answers, or they disagree: nothing can be said, so nothing is done.
    Unknown,
    /// A majority would admit a new writer now.
    Free,
    /// Held by this holder (`<namenode id>@<instance id>`) in this epoch.
    Held {
        /// The holder.
        holder: String,
        /// The epoch of the lease.
        epoch: u64,
    },
}

/// Collects the answers of all JournalNodes.
#[derive(Clone, Debug)]
pub struct LeaseSurvey {
    views: Vec<Option<LeaseView>>,
    members: Vec<usize>,
}

impl LeaseSurvey {
    /// A survey of so many JournalNodes, none of which has answered.
    #[must_use]
    pub fn new(journalnodes: usize) -> Self {
        LeaseSurvey {
            views: vec![None; journalnodes],
            members: (0..journalnodes).collect(),
        }
    }

    /// The JournalNodes were changed: only these count, by indices that may be new; what is known of them stays.
    pub fn set_members(&mut self, members: &[usize]) {
        self.members = members.to_vec();
        for (index, view) in self.views.iter_mut().enumerate() {
            if !members.contains(&index) {
                *view = None;
            }
        }
        let count = members.iter().max().map_or(0, |highest| highest + 1);
        if self.views.len() < count {
            self.views.resize(count, None);
        }
    }

    /// Takes an answer, or `None` when the JournalNode can't be reached. Ignores one that does not count.
    pub fn update(&mut self, journalnode: usize, view: Option<LeaseView>) {
        if self.members.contains(&journalnode)
            && let Some(slot) = self.views.get_mut(journalnode)
        {
            *slot = view;
        }
    }

    /// JournalNodes that make a majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// What the answers amount to.
    #[must_use]
    pub fn lease(&self) -> QuorumLease {
        let answers: Vec<&LeaseView> = self.views.iter().flatten().collect();
        if answers.len() < self.majority() {
            return QuorumLease::Unknown;
        }
        let free = answers.iter().filter(|view| !view.running).count();
        if free >= self.majority() {
            return QuorumLease::Free;
        }
        let mut votes: BTreeMap<(u64, &str), usize> = BTreeMap::new();
        for view in answers.iter().filter(|view| view.running) {
            if let Some(holder) = &view.holder {
                *votes.entry((view.promised_epoch, holder)).or_default() += 1;
            }
        }
        match votes.into_iter().next_back() {
            Some(((epoch, holder), _)) => QuorumLease::Held {
                holder: holder.to_owned(),
                epoch,
            },
            None => QuorumLease::Unknown,
        }
    }

    /// The highest transaction any JournalNode is known to have.
    #[must_use]
    pub fn highest_txid(&self) -> u64 {
        self.views
            .iter()
            .flatten()
            .map(|view| view.highest_txid)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(epoch: u64, holder: &str, running: bool) -> Option<LeaseView> {
        Some(LeaseView {
            promised_epoch: epoch,
            holder: (!holder.is_empty()).then(|| holder.to_owned()),
            running,
            highest_txid: 0,
        })
    }

    fn survey(views: &[Option<LeaseView>]) -> QuorumLease {
        let mut survey = LeaseSurvey::new(views.len());
        for (index, view) in views.iter().enumerate() {
            survey.update(index, view.clone());
        }
        survey.lease()
    }

    #[test]
    fn a_majority_decides() {
        let held = |holder: &str, epoch| QuorumLease::Held {
            holder: holder.to_owned(),
            epoch,
        };
        assert_eq!(survey(&[None, None, None]), QuorumLease::Unknown);
        assert_eq!(survey(&[view(1, "a@1", false), None, None]), QuorumLease::Unknown);
        assert_eq!(
            survey(&[view(1, "a@1", false), view(1, "a@1", false), None]),
            QuorumLease::Free
        );
        assert_eq!(
            survey(&[view(1, "a@1", true), view(1, "a@1", false), None]),
            held("a@1", 1)
        );
        assert_eq!(
            survey(&[view(1, "a@1", true), view(2, "b@1", true), view(2, "b@1", true)]),
            held("b@1", 2),
            "the highest epoch names the holder"
        );
        assert_eq!(
            survey(&[view(0, "", false), view(0, "", false), view(0, "", false)]),
            QuorumLease::Free
        );
    }

    #[test]
    fn after_a_change_only_the_new_ones_count() {
        let mut survey = LeaseSurvey::new(3);
        for index in 0..3 {
            survey.update(index, view(1, "a@1", true));
        }
        survey.set_members(&[2, 3, 4]);
        assert_eq!(survey.lease(), QuorumLease::Unknown);
        survey.update(0, view(9, "x@1", true));
        survey.update(4, view(1, "a@1", true));
        let held = QuorumLease::Held {
            holder: "a@1".to_owned(),
            epoch: 1,
        };
        assert_eq!(survey.lease(), held);
        survey.update(3, view(1, "a@1", false));
        survey.update(4, view(1, "a@1", false));
        assert_eq!(survey.lease(), QuorumLease::Free);
    }
}
