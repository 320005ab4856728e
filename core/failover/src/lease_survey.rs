//! The answers of all JournalNodes about the read lease. The controller needs the lease with every elector: it names the
//! NameNode that serves.
//!
//! Invariants:
//! - The verdict is made in one place, for NameNodes too: [`quorum_lease`].
//! - A JournalNode that has stopped answering does not count.

use hathi_journal::survey::{LeaseAnswer, QuorumLease, quorum_lease};

/// Collects the answers of all JournalNodes.
#[derive(Clone, Debug)]
pub struct LeaseSurvey {
    views: Vec<Option<LeaseAnswer>>,
    members: Vec<usize>,
}

impl LeaseSurvey {
    /// A survey of this many JournalNodes, of which none has answered.
    #[must_use]
    pub fn new(journalnodes: usize) -> Self {
        LeaseSurvey {
            views: vec![None; journalnodes],
            members: (0..journalnodes).collect(),
        }
    }

    /// The membership was changed: only these indices count from now on, and some may be new. Known answers of members
    /// stay.
    pub fn set_members(&mut self, members: &[usize]) {
        self.members.clear();
        for member in members {
            if !self.members.contains(member) {
                self.members.push(*member);
            }
        }
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

    /// Takes an answer, or `None` when the JournalNode can't be reached. An answer of a JournalNode that is no member
    /// is ignored.
    pub fn update(&mut self, journalnode: usize, view: Option<LeaseAnswer>) {
        if self.members.contains(&journalnode)
            && let Some(slot) = self.views.get_mut(journalnode)
        {
            *slot = view;
        }
    }

    /// Asserts the invariants that hold between calls.
    pub(crate) fn check(&self) {
        for (place, member) in self.members.iter().enumerate() {
            assert!(
                *member < self.views.len(),
                "JournalNode {member} counts and has no place"
            );
            assert!(
                !self.members.iter().skip(place + 1).any(|other| other == member),
                "{member} counts twice"
            );
        }
        for (index, view) in self.views.iter().enumerate() {
            assert!(
                view.is_none() || self.members.contains(&index),
                "{index} does not count and is heard"
            );
        }
    }

    /// The verdict of all answers.
    #[must_use]
    pub fn lease(&self) -> QuorumLease {
        quorum_lease(self.members.len(), self.views.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use hathi_formats::ids::Epoch;

    use super::*;

    fn view(epoch: u64, holder: &str, running: bool) -> Option<LeaseAnswer> {
        Some(match running {
            true => LeaseAnswer::Held {
                epoch: Epoch(epoch),
                holder: Some(holder.to_owned()),
            },
            false => LeaseAnswer::Free,
        })
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
        survey.update(3, view(9, "x@1", true));
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
