//! What the JournalNodes' answers to `watchLease` amount to: for NameNodes and their controllers alike.
//!
//! Invariants:
//! * the verdict does not depend on the order of the answers;
//! * everything but [`QuorumLease::Unknown`] is what a majority of all JournalNodes says, so one that lies, or is old, can
//!   only turn a verdict into `Unknown`;
//! * `Unknown` is a reason to do nothing.

use hathi_formats::ids::Epoch;

use crate::messages::LeaseState;

/// What one JournalNode says of the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// Somebody else would be admitted now.
    Free,
    /// A lease runs.
    Held {
        /// The promised epoch, in which it was granted.
        epoch: Epoch,
        /// `<namenode id>@<instance id>`; `None` when it knows only that one may run.
        holder: Option<String>,
    },
    /// A writer that asks for no leases (Hadoop's) has a segment open.
    Written {
        /// Its epoch.
        epoch: Epoch,
    },
}

impl LeaseAnswer {
    /// What a state says.
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
    /// No majority says the same: nothing can be said, so nothing is done.
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
    /// A writer without a lease is at work in this epoch. Whether it lives can't be told: Hadoop's keeps its segment open
    /// while it is idle. Its own controllers fence it, or a person decides.
    Written {
        /// The epoch.
        epoch: u64,
    },
}

/// What the answers of `members` JournalNodes, of which some may be missing, amount to.
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
