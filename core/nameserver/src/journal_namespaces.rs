//! Whose namespace the JournalNodes have. A NameNode ends when a majority has another one than its name directories
//! (Hadoop's `InconsistentFSStateException`). [`crate::name_dirs`] compares the directories with each other.
//!
//! Invariant: a JournalNode is counted once, by its first answer that says anything.

use std::collections::BTreeMap;

/// Whose namespace a JournalNode, or a majority of them, has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not known yet.
    Unknown,
    /// That of the name directories here.
    Ours,
    /// Another one.
    Foreign,
}

/// The answers of JournalNodes.
#[derive(Clone, Debug, Default)]
pub struct JournalNamespaces {
    told: BTreeMap<usize, Verdict>,
}

impl JournalNamespaces {
    /// Whether a JournalNode must be asked.
    #[must_use]
    pub fn must_ask(&self, journalnode: usize) -> bool {
        !self.told.contains_key(&journalnode)
    }

    /// A JournalNode has answered, or has not.
    pub fn told(&mut self, journalnode: usize, verdict: Verdict) {
        if verdict != Verdict::Unknown {
            debug_assert!(self.must_ask(journalnode), "it is asked until it has told");
            self.told.entry(journalnode).or_insert(verdict);
        }
    }

    /// What a majority says. A single JournalNode of another cluster does not matter here, because the writer leaves it
    /// out.
    #[must_use]
    pub fn verdict(&self, majority: usize) -> Verdict {
        let count = |of| self.told.values().filter(|told| **told == of).count();
        if count(Verdict::Foreign) >= majority {
            Verdict::Foreign
        } else if count(Verdict::Ours) >= majority {
            Verdict::Ours
        } else {
            Verdict::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_strangers_is_refused_and_a_single_one_is_not() {
        use Verdict::{Foreign, Ours, Unknown};
        let of = |told: &[Verdict]| {
            let mut all = JournalNamespaces::default();
            for (journalnode, verdict) in told.iter().enumerate() {
                all.told(journalnode, *verdict);
            }
            (
                all.verdict(2),
                (0..3).filter(|index| all.must_ask(*index)).collect::<Vec<_>>(),
            )
        };
        assert_eq!(of(&[Foreign, Foreign]), (Foreign, vec![2]));
        assert_eq!(of(&[Foreign, Ours, Foreign]), (Foreign, vec![]));
        assert_eq!(of(&[Ours, Foreign, Ours]), (Ours, vec![]));
        assert_eq!(of(&[Ours, Unknown, Foreign]), (Unknown, vec![1]), "one is asked again");
        assert_eq!(of(&[]), (Unknown, vec![0, 1, 2]));
    }
}
