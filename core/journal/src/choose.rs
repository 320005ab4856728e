//! Which copy of a segment wins a recovery (`qjournal.client.SegmentRecoveryComparator`).
//!
//! 1. A copy beats no copy.
//! 2. A finalized copy beats one in progress; two finalized ones must have the same end, or a rule was broken before.
//! 3. Of two copies in progress the one from the higher epoch wins, however short it is. Its epoch is the one that
//!    accepted it in a recovery, or else the last one that wrote here. Within one epoch the longer copy wins.

use std::cmp::Ordering;

use hathi_formats::ids::{Epoch, TxId};

use crate::messages::PrepareRecoveryAnswer;
use crate::mutant::{Mutant, Mutation};

/// Why no copy can win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// Two finalized copies of one segment have different ends.
    #[error("finalized copies of one segment end at {one} and at {other}")]
    FinalizedDiffer {
        /// End of one copy.
        one: TxId,
        /// End of the other copy.
        other: TxId,
    },
    /// A JournalNode knows that a transaction behind the end of the winning copy is committed.
    #[error("the chosen copy ends at {end}, but {committed} is known to be committed")]
    ShorterThanCommitted {
        /// End of the winning copy.
        end: TxId,
        /// The highest committed transaction.
        committed: TxId,
    },
}

/// The epoch that an unfinalized copy comes from: it accepted the copy in a recovery, or wrote it.
#[must_use]
pub fn vouching_epoch(answer: &PrepareRecoveryAnswer) -> Epoch {
    answer
        .accepted_in_epoch
        .unwrap_or_default()
        .max(answer.last_writer_epoch)
}

fn compare(a: &PrepareRecoveryAnswer, b: &PrepareRecoveryAnswer, mutation: Mutation) -> Result<Ordering, ChooseError> {
    let (segment_a, segment_b) = match (&a.segment, &b.segment) {
        (None, None) => return Ok(Ordering::Equal),
        (None, Some(_)) => return Ok(Ordering::Less),
        (Some(_), None) => return Ok(Ordering::Greater),
        (Some(a), Some(b)) => (a, b),
    };
    match (segment_a.in_progress, segment_b.in_progress) {
        (true, false) => Ok(Ordering::Less),
        (false, true) => Ok(Ordering::Greater),
        (false, false) if segment_a.end != segment_b.end => Err(ChooseError::FinalizedDiffer {
            one: segment_a.end,
            other: segment_b.end,
        }),
        (false, false) => Ok(Ordering::Equal),
        (true, true) => {
            let epochs = vouching_epoch(a).cmp(&vouching_epoch(b));
            let ends = segment_a.end.cmp(&segment_b.end);
            Ok(if mutation.is(Mutant::ChooseLongerFirst) {
                ends.then(epochs)
            } else {
                epochs.then(ends)
            })
        }
    }
}

/// The index of the winning answer, or `None` when no answer has the segment. Which segment it names does not depend on
/// the order of the answers.
pub fn choose(answers: &[PrepareRecoveryAnswer], mutation: Mutation) -> Result<Option<usize>, ChooseError> {
    let mut best: Option<(usize, &PrepareRecoveryAnswer)> = None;
    for (index, answer) in answers.iter().enumerate() {
        let better = match best {
            None => true,
            Some((_, best)) => compare(answer, best, mutation)? == Ordering::Greater,
        };
        if better {
            best = Some((index, answer));
        }
    }
    let Some((index, segment)) = best.and_then(|(index, answer)| Some((index, answer.segment?))) else {
        return Ok(None);
    };
    let committed = answers.iter().filter_map(|answer| answer.last_committed).max();
    match committed {
        Some(committed) if committed > segment.end => Err(ChooseError::ShorterThanCommitted {
            end: segment.end,
            committed,
        }),
        _ => Ok(Some(index)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::SegmentState;

    fn answer(segment: Option<(u64, bool)>, accepted: Option<u64>, writer: u64) -> PrepareRecoveryAnswer {
        PrepareRecoveryAnswer {
            segment: segment.map(|(end, in_progress)| SegmentState {
                start: TxId(1),
                end: TxId(end),
                in_progress,
            }),
            accepted_in_epoch: accepted.map(Epoch),
            last_writer_epoch: Epoch(writer),
            last_committed: None,
        }
    }

    /// Every answer at small numbers.
    fn all() -> Vec<PrepareRecoveryAnswer> {
        let mut all = Vec::new();
        for segment in [
            None,
            Some((1, true)),
            Some((2, true)),
            Some((3, true)),
            Some((2, false)),
        ] {
            for accepted in [None, Some(1), Some(2), Some(3)] {
                for writer in 0..4 {
                    all.push(answer(segment, accepted, writer));
                }
            }
        }
        all
    }

    #[test]
    fn the_order_is_total_and_antisymmetric() {
        let none = Mutation::default();
        for a in all() {
            assert_eq!(compare(&a, &a, none), Ok(Ordering::Equal));
            for b in all() {
                let ab = compare(&a, &b, none).unwrap();
                assert_eq!(compare(&b, &a, none).unwrap(), ab.reverse());
                for c in all() {
                    let bc = compare(&b, &c, none).unwrap();
                    let ac = compare(&a, &c, none).unwrap();
                    if ab != Ordering::Less && bc != Ordering::Less {
                        assert_ne!(ac, Ordering::Less, "{a:?} {b:?} {c:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_order_of_three_answers_chooses_the_same_segment() {
        let all = all();
        for a in &all {
            for b in &all {
                for c in &all {
                    let orders = [[a, b, c], [b, c, a], [c, a, b], [c, b, a], [b, a, c], [a, c, b]];
                    let mut chosen = orders.iter().map(|order| {
                        let answers = order.map(|answer| *answer);
                        let index = choose(&answers, Mutation::default()).unwrap();
                        index.and_then(|index| answers[index].segment)
                    });
                    let first = chosen.next().unwrap();
                    assert!(chosen.all(|other| other == first), "{a:?} {b:?} {c:?}");
                }
            }
        }
    }

    #[test]
    fn the_rules_one_by_one() {
        let check = |answers: &[PrepareRecoveryAnswer], expected| {
            assert_eq!(choose(answers, Mutation::default()), expected);
        };
        let absent = answer(None, None, 9);
        let short_of_epoch_5 = answer(Some((3, true)), None, 5);
        let long_of_epoch_2 = answer(Some((90, true)), None, 2);
        let accepted_in_7 = answer(Some((4, true)), Some(7), 1);
        let finalized = answer(Some((2, false)), None, 1);
        check(&[], Ok(None));
        check(&[absent, absent], Ok(None));
        check(&[absent, short_of_epoch_5], Ok(Some(1)));
        check(&[long_of_epoch_2, short_of_epoch_5], Ok(Some(1)));
        check(&[short_of_epoch_5, accepted_in_7], Ok(Some(1)));
        check(&[long_of_epoch_2, finalized, accepted_in_7], Ok(Some(1)));
        check(&[answer(Some((3, true)), None, 2), long_of_epoch_2], Ok(Some(1)));
        check(
            &[finalized, answer(Some((3, false)), None, 1)],
            Err(ChooseError::FinalizedDiffer {
                one: TxId(3),
                other: TxId(2),
            }),
        );
    }

    #[test]
    fn nothing_committed_may_be_lost() {
        let mut knows = answer(None, None, 1);
        knows.last_committed = Some(TxId(4));
        let lost = choose(&[answer(Some((3, true)), None, 5), knows], Mutation::default());
        assert_eq!(
            lost,
            Err(ChooseError::ShorterThanCommitted {
                end: TxId(3),
                committed: TxId(4),
            })
        );
        let kept = choose(&[answer(Some((4, true)), None, 5), knows], Mutation::default());
        assert_eq!(kept, Ok(Some(0)));
    }
}
