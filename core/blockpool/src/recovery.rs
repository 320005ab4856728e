//! What the primary DataNode of a block recovery makes of the replicas that the others reported
//! (`BlockRecoveryWorker.RecoveryTaskContiguous`).

use hathi_formats::ids::GenerationStamp;

use crate::replica::ReplicaState;

/// What one DataNode answered to `initReplicaRecovery`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryAnswer {
    /// It could not be asked, or refused.
    Failed,
    /// It has no replica.
    NoReplica,
    /// It set its replica aside.
    Replica {
        /// The stamp.
        generation_stamp: GenerationStamp,
        /// The length in bytes.
        num_bytes: u64,
        /// The state before recovery.
        original_state: ReplicaState,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryPlan {
    /// No replica holds anything: the block goes.
    Delete,
    /// These DataNodes, by their index among the answers, take this length.
    Synchronize {
        /// Indices into the answers.
        participants: Vec<usize>,
        /// The length in bytes.
        new_len: u64,
    },
    /// Nothing can be done now.
    GiveUp(String),
}

/// Decides. `block_gs` is the block's stamp as the NameNode knows it; `truncate_to` is set for a truncation.
///
/// Order of preference: finalized replicas, which must agree, with replicas being written of the same length; else
/// replicas being written, cut to the shortest; else replicas waiting for recovery, cut to the shortest.
#[must_use]
pub fn plan_recovery(block_gs: GenerationStamp, answers: &[RecoveryAnswer], truncate_to: Option<u64>) -> RecoveryPlan {
    let mut candidates = 0;
    let mut sync = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        if let RecoveryAnswer::Replica {
            generation_stamp,
            num_bytes,
            original_state,
        } = *answer
            && generation_stamp >= block_gs
            && num_bytes > 0
        {
            candidates += 1;
            if original_state <= ReplicaState::Rwr {
                sync.push((index, num_bytes, original_state));
            }
        }
    }
    if answers.iter().all(|answer| *answer == RecoveryAnswer::Failed) {
        return RecoveryPlan::GiveUp("All datanodes failed".to_owned());
    }
    let Some(best) = sync.iter().map(|(_, _, state)| *state).min() else {
        if candidates > 0 {
            return RecoveryPlan::GiveUp(format!(
                "Found {candidates} replica(s) but none is in RWR or better state"
            ));
        }
        return RecoveryPlan::Delete;
    };
    let lengths = sync
        .iter()
        .filter(|(_, _, state)| *state == best)
        .map(|(_, length, _)| *length);
    let new_len = lengths.clone().min().unwrap_or(0);
    if best == ReplicaState::Finalized && lengths.clone().max() != Some(new_len) {
        return RecoveryPlan::GiveUp("Inconsistent size of finalized replicas.".to_owned());
    }
    let participants = sync
        .iter()
        .filter(|(_, length, state)| {
            *state == best || best == ReplicaState::Finalized && *state == ReplicaState::Rbw && *length == new_len
        })
        .map(|(index, _, _)| *index)
        .collect();
    RecoveryPlan::Synchronize {
        participants,
        new_len: truncate_to.unwrap_or(new_len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReplicaState::{Finalized, Rbw, Rwr, Temporary};

    fn replica(original_state: ReplicaState, num_bytes: u64, gs: u64) -> RecoveryAnswer {
        RecoveryAnswer::Replica {
            generation_stamp: GenerationStamp(gs),
            num_bytes,
            original_state,
        }
    }

    fn check(answers: &[RecoveryAnswer], expected: RecoveryPlan) {
        assert_eq!(
            plan_recovery(GenerationStamp(5), answers, None),
            expected,
            "{answers:?}"
        );
    }

    fn synchronize(participants: &[usize], new_len: u64) -> RecoveryPlan {
        RecoveryPlan::Synchronize {
            participants: participants.to_vec(),
            new_len,
        }
    }

    #[test]
    fn the_best_state_decides() {
        let failed = RecoveryAnswer::Failed;
        check(
            &[
                replica(Finalized, 10, 5),
                replica(Rbw, 10, 5),
                replica(Rbw, 9, 5),
                replica(Rwr, 10, 5),
            ],
            synchronize(&[0, 1], 10),
        );
        check(
            &[replica(Rbw, 10, 5), replica(Rbw, 8, 5), replica(Rwr, 3, 5)],
            synchronize(&[0, 1], 8),
        );
        check(
            &[replica(Rwr, 10, 5), replica(Rwr, 4, 6), failed],
            synchronize(&[0, 1], 4),
        );
        check(
            &[replica(Rbw, 10, 4), replica(Rbw, 0, 5), RecoveryAnswer::NoReplica],
            RecoveryPlan::Delete,
        );
        check(&[RecoveryAnswer::NoReplica, failed], RecoveryPlan::Delete);
        assert!(matches!(
            plan_recovery(GenerationStamp(5), &[failed, failed], None),
            RecoveryPlan::GiveUp(_)
        ));
        assert!(matches!(
            plan_recovery(GenerationStamp(5), &[replica(Temporary, 7, 5)], None),
            RecoveryPlan::GiveUp(_)
        ));
        assert!(matches!(
            plan_recovery(
                GenerationStamp(5),
                &[replica(Finalized, 7, 5), replica(Finalized, 8, 5)],
                None
            ),
            RecoveryPlan::GiveUp(_)
        ));
        assert_eq!(
            plan_recovery(GenerationStamp(5), &[replica(Finalized, 7, 5)], Some(3)),
            synchronize(&[0], 3)
        );
    }
}
