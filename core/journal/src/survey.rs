//! What the JournalNodes' answers to `watchLease` say together. NameNodes and failover controllers use the same rule.
//!
//! Invariants:
//! * the verdict does not depend on the order of the answers;
//! * every verdict but [`QuorumLease::Unknown`] is what a majority of all JournalNodes says. So a JournalNode that
//!   lies, or is out of date, can only turn a verdict into `Unknown`;
//! * on `Unknown` nothing is done.

use hathi_formats::ids::Epoch;

use crate::messages::LeaseState;

/// What one JournalNode says of the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// The JournalNode would promise an epoch to any NameNode now.
    Free,
    /// A lease runs.
    Held {
        /// The promised epoch, in which it was granted.
        epoch: Epoch,
        /// `<namenode id>@<instance id>`. `None` when the JournalNode knows only that a lease may run.
        holder: Option<String>,
    },
    /// A writer that asks for no leases (Hadoop's) has a segment open.
    Written {
        /// Epoch of the writer.
        epoch: Epoch,
    },
}

impl LeaseAnswer {
    /// The answer that a lease state stands for.
    #[must_use]
    pub fn of(state: &LeaseState) -> Self {
        let epoch = state.promised_epoch;
        if state.remaining_ms > 0 {
            let holder = state.holder.as_deref().map(str::to_owned);
            LeaseAnswer::Held { epoch, holder }
        } else if state.written_without_lease {
            LeaseAnswer::Written { epoch }
        } else {
            LeaseAnswer::Free
        }
    }
}

/// What a majority says of the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumLease {
    /// No majority agrees. Nothing is known, so nothing is done.
    Unknown,
    /// A majority would promise an epoch to a new writer now.
    Free,
    /// Held by this holder (`<namenode id>@<instance id>`) in this epoch.
    Held {
        /// `<namenode id>@<instance id>`.
        holder: String,
        /// The epoch of the lease.
        epoch: u64,
    },
    /// A writer that holds no lease has this epoch. Whether it lives can't be known: Hadoop's keeps its segment open
    /// while it is idle. Its own controllers fence it, or a person decides.
    Written {
        /// Epoch of the writer.
        epoch: u64,
    },
}

/// The verdict of a journal with so many `members`, of which only some may have answered.
#[must_use]
pub fn quorum_lease<'a>(members: usize, answers: impl Iterator<Item = &'a LeaseAnswer>) -> QuorumLease {
    let answers: Vec<&LeaseAnswer> = answers.collect();
    let majority = members / 2 + 1;
    let agreed = answers.iter().find(|answer| {
        let same = answers.iter().filter(|other| other == answer);
        same.count() >= majority
    });
    match agreed {
        Some(LeaseAnswer::Free) => QuorumLease::Free,
        Some(LeaseAnswer::Written { epoch }) => QuorumLease::Written { epoch: epoch.0 },
        Some(LeaseAnswer::Held {
            epoch,
            holder: Some(holder),
        }) => QuorumLease::Held {
            holder: holder.clone(),
            epoch: epoch.0,
        },
        Some(LeaseAnswer::Held { holder: None, .. }) | None => QuorumLease::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(epoch: u64, holder: &str) -> LeaseAnswer {
        LeaseAnswer::Held {
            epoch: Epoch(epoch),
            holder: Some(holder.to_owned()),
        }
    }

    fn all() -> Vec<LeaseAnswer> {
        vec![
            LeaseAnswer::Free,
            held(1, "a"),
            held(1, "b"),
            held(u64::MAX, "x"),
            LeaseAnswer::Held {
                epoch: Epoch(1),
                holder: None,
            },
            LeaseAnswer::Written { epoch: Epoch(1) },
            LeaseAnswer::Written { epoch: Epoch(9) },
        ]
    }

    fn verdict(answers: &[Option<LeaseAnswer>]) -> QuorumLease {
        quorum_lease(answers.len(), answers.iter().flatten())
    }

    #[test]
    fn only_a_majority_decides() {
        let holds = QuorumLease::Held {
            holder: "a".to_owned(),
            epoch: 1,
        };
        let (free, a) = (Some(LeaseAnswer::Free), Some(held(1, "a")));
        assert_eq!(verdict(&[None, None, None]), QuorumLease::Unknown);
        assert_eq!(verdict(&[free.clone(), None, None]), QuorumLease::Unknown);
        assert_eq!(verdict(&[free.clone(), free.clone(), a.clone()]), QuorumLease::Free);
        assert_eq!(verdict(&[a.clone(), free.clone(), None]), QuorumLease::Unknown);
        assert_eq!(verdict(&[a.clone(), free, a.clone()]), holds);
        assert_eq!(verdict(&[Some(held(u64::MAX, "x")), a.clone(), a]), holds);
    }

    #[test]
    fn one_liar_can_only_make_it_unknown_and_the_order_does_not_matter() {
        for truth in all() {
            let true_verdict = verdict(&[Some(truth.clone()), Some(truth.clone()), Some(truth.clone())]);
            for lie in all().into_iter().map(Some).chain([None]) {
                for other in [Some(truth.clone()), None] {
                    let answers = [Some(truth.clone()), lie.clone(), other];
                    let one = verdict(&answers);
                    assert!(
                        one == true_verdict || one == QuorumLease::Unknown,
                        "{answers:?}: {one:?}"
                    );
                    let [a, b, c] = answers;
                    for turned in [[b.clone(), c.clone(), a.clone()], [c, b, a]] {
                        assert_eq!(verdict(&turned), one, "{turned:?}");
                    }
                }
            }
        }
    }
}
