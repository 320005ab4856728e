//! The decision of the primary DataNode of a block recovery, from the replicas that the others reported
//! (`BlockRecoveryWorker.RecoveryTaskContiguous`).

use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Block, GenerationStamp};
use hathi_formats::proto::hdfs::{InitReplicaRecoveryResponseProto, ReplicaStateProto};

use super::participant::state_from;
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
        /// It is complete, and its end does not match its checksums.
        end_is_bad: bool,
    },
}

impl RecoveryAnswer {
    /// Meaning of an answer to `initReplicaRecovery`. A DataNode that says that it has a replica, and not which, has
    /// not answered.
    #[must_use]
    pub fn of_response(response: &InitReplicaRecoveryResponseProto) -> RecoveryAnswer {
        if !response.replica_found {
            return RecoveryAnswer::NoReplica;
        }
        let state = response.state.and_then(|state| ReplicaStateProto::try_from(state).ok());
        let (Some(block), Some(state)) = (&response.block, state) else {
            return RecoveryAnswer::Failed;
        };
        RecoveryAnswer::Replica {
            generation_stamp: GenerationStamp(block.gen_stamp),
            num_bytes: block.num_bytes(),
            original_state: state_from(state),
            end_is_bad: response.end_is_bad(),
        }
    }

    /// Meaning of a refusal of `initReplicaRecovery`, by our DataNodes or Hadoop's. `None` when a newer recovery is
    /// under way, which ends this one.
    #[must_use]
    pub fn of_refusal(refusal: &RemoteException) -> Option<RecoveryAnswer> {
        if refusal.is(exceptions::RECOVERY_IN_PROGRESS) {
            return None;
        }
        // The DataNode has answered. The pipeline left its replica behind, so the replica is no part of the block.
        let is_older = "replica.getGenerationStamp() < block.getGenerationStamp()";
        if refusal.message.contains(is_older) {
            return Some(RecoveryAnswer::NoReplica);
        }
        Some(RecoveryAnswer::Failed)
    }
}

/// Decision of a recovery.
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

/// A replica that may take part.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// Its index among the answers.
    index: usize,
    num_bytes: u64,
    state: ReplicaState,
    end_is_bad: bool,
}

/// Decides. `block` is as the NameNode knows it; `truncate_to` is set for a truncation.
///
/// Order of preference: finalized replicas, with replicas being written of the same length; else replicas being written,
/// cut to the shortest; else replicas waiting for recovery, cut to the shortest.
///
/// Of finalized replicas the longest ones decide. Each has held every byte of the block, and a shorter one has lost
/// some when its machine lost power, because it was completed without a sync. Hadoop gives up when they do not agree,
/// for as long as they live. If the longer one died first, its bytes would be lost. For a truncation they need not
/// agree: an earlier attempt may have cut some of them.
///
/// Unreachable is not absent. A replica that is finalized or being written has every acknowledged byte, because its
/// DataNode has run all the time. A replica that waits for recovery may have lost bytes with its DataNode's power, and
/// one that is missing says nothing of the others. While a DataNode that the NameNode names has not answered, neither
/// of these decides. The NameNode bounds the wait: it orders recovery again, and no longer names a DataNode that it
/// takes for dead.
///
/// A replica with fewer bytes than the NameNode has logged has lost some, whatever its state. It decides nothing, and
/// takes part only if no DataNode has that many.
///
/// A complete replica whose end does not match its checksums was completed without a sync, and its machine has lost its
/// power since: it is not what it was completed as, and says nothing of the length. It takes part only where every other
/// replica is like it, or too short for a truncation. (In Hadoop it decides. So the block ends with its length, and
/// bytes that others have are cut off, or it gets the new stamp as if it were good.) A DataNode of Hadoop as primary
/// does not read this part of the answer.
#[must_use]
pub fn plan_recovery(block: Block, answers: &[RecoveryAnswer], truncate_to: Option<u64>) -> RecoveryPlan {
    // A truncation has decided on a length other than the logged one.
    let logged = if truncate_to.is_none() { block.num_bytes } else { 0 };
    let mut candidates = 0;
    let mut decisive = false;
    let mut sync = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        if let RecoveryAnswer::Replica {
            generation_stamp,
            num_bytes,
            original_state,
            end_is_bad,
        } = *answer
            && generation_stamp >= block.generation_stamp
        {
            let never_stopped = matches!(original_state, ReplicaState::Finalized | ReplicaState::Rbw) && !end_is_bad;
            decisive |= never_stopped && num_bytes >= logged;
            if num_bytes > 0 {
                candidates = usize::saturating_add(candidates, 1);
                if original_state <= ReplicaState::Rwr {
                    sync.push(Candidate {
                        index,
                        num_bytes,
                        state: original_state,
                        end_is_bad,
                    });
                }
            }
        }
    }
    let silent = answers
        .iter()
        .filter(|answer| **answer == RecoveryAnswer::Failed)
        .count();
    if silent == answers.len() {
        return RecoveryPlan::GiveUp("All datanodes failed".to_owned());
    }
    if silent > 0 && !decisive {
        return RecoveryPlan::GiveUp(format!(
            "{silent} datanode(s) did not answer, and may hold bytes that the others lack"
        ));
    }
    if sync.iter().any(|one| one.num_bytes >= logged) {
        sync.retain(|one| one.num_bytes >= logged);
    }
    let is_whole = |one: &Candidate| !one.end_is_bad && one.num_bytes >= truncate_to.unwrap_or(0);
    if sync.iter().any(is_whole) {
        sync.retain(|one| !one.end_is_bad);
    }
    let Some(best) = sync.iter().map(|one| one.state).min() else {
        if candidates > 0 {
            return RecoveryPlan::GiveUp(format!(
                "Found {candidates} replica(s) but none is in RWR or better state"
            ));
        }
        return RecoveryPlan::Delete;
    };
    let lengths = sync.iter().filter(|one| one.state == best).map(|one| one.num_bytes);
    let agreed = match best {
        ReplicaState::Finalized => lengths.max(),
        _ => lengths.min(),
    };
    let new_len = truncate_to.or(agreed).unwrap_or(0);
    let participants: Vec<usize> = sync
        .iter()
        .filter(|one| {
            let is_as_long = one.state == ReplicaState::Rbw && Some(one.num_bytes) == agreed;
            // No replica can be made longer.
            one.num_bytes >= new_len && (one.state == best || best == ReplicaState::Finalized && is_as_long)
        })
        .map(|one| one.index)
        .collect();
    if participants.is_empty() {
        return RecoveryPlan::GiveUp(format!("no replica has the {new_len} bytes of the truncation"));
    }
    debug_assert!(best <= ReplicaState::Rwr, "a {best:?} replica decides");
    debug_assert!(
        truncate_to.is_some() || new_len >= logged || sync.iter().all(|one| one.num_bytes < logged),
        "{new_len} bytes are kept of {logged} that were logged and that somebody has"
    );
    debug_assert!(
        participants
            .iter()
            .all(|index| matches!(answers.get(*index), Some(RecoveryAnswer::Replica { num_bytes, .. }) if *num_bytes >= new_len)),
        "whoever takes part has {new_len} bytes"
    );
    RecoveryPlan::Synchronize { participants, new_len }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReplicaState::{Finalized, Rbw, Rwr, Temporary};
    use hathi_formats::ids::BlockId;

    fn block() -> Block {
        Block {
            id: BlockId(7),
            num_bytes: 0,
            generation_stamp: GenerationStamp(5),
        }
    }

    fn replica(original_state: ReplicaState, num_bytes: u64, gs: u64) -> RecoveryAnswer {
        RecoveryAnswer::Replica {
            generation_stamp: GenerationStamp(gs),
            num_bytes,
            original_state,
            end_is_bad: false,
        }
    }

    /// A complete replica that has lost bytes with its machine's power.
    fn cut(num_bytes: u64) -> RecoveryAnswer {
        RecoveryAnswer::Replica {
            generation_stamp: GenerationStamp(5),
            num_bytes,
            original_state: Finalized,
            end_is_bad: true,
        }
    }

    fn check(answers: &[RecoveryAnswer], expected: RecoveryPlan) {
        assert_eq!(plan_recovery(block(), answers, None), expected, "{answers:?}");
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
        check(&[replica(Rwr, 10, 5), replica(Rwr, 4, 6)], synchronize(&[0, 1], 4));
        check(
            &[replica(Rbw, 10, 4), replica(Rbw, 0, 5), RecoveryAnswer::NoReplica],
            RecoveryPlan::Delete,
        );
        check(&[RecoveryAnswer::NoReplica], RecoveryPlan::Delete);
        assert!(matches!(
            plan_recovery(block(), &[failed, failed], None),
            RecoveryPlan::GiveUp(_)
        ));
        assert!(matches!(
            plan_recovery(block(), &[replica(Temporary, 7, 5)], None),
            RecoveryPlan::GiveUp(_)
        ));
        assert_eq!(
            plan_recovery(block(), &[replica(Finalized, 7, 5)], Some(3)),
            synchronize(&[0], 3)
        );
    }

    #[test]
    fn safety_d2_a_block_is_neither_deleted_nor_shortened_while_a_holder_is_silent() {
        let failed = RecoveryAnswer::Failed;
        let plan = |answers: &[RecoveryAnswer]| plan_recovery(block(), answers, None);
        let later = |answers: &[RecoveryAnswer]| {
            assert!(matches!(plan(answers), RecoveryPlan::GiveUp(_)), "{answers:?}");
        };
        // A DataNode that did not answer may hold acknowledged bytes.
        later(&[RecoveryAnswer::NoReplica, failed]);
        later(&[failed, RecoveryAnswer::NoReplica, RecoveryAnswer::NoReplica]);
        later(&[replica(Rwr, 0, 5), failed]);
        later(&[replica(Rwr, 4, 5), failed]);
        later(&[replica(Rwr, 10, 5), replica(Rwr, 4, 6), failed]);
        later(&[replica(Rbw, 10, 4), failed]);
        // All DataNodes have answered.
        check(&[RecoveryAnswer::NoReplica, replica(Rwr, 0, 5)], RecoveryPlan::Delete);
        check(&[RecoveryAnswer::NoReplica, replica(Rwr, 4, 5)], synchronize(&[1], 4));
        // A replica whose DataNode has run all the time has every acknowledged byte.
        check(&[failed, replica(Rbw, 9, 5), replica(Rwr, 3, 5)], synchronize(&[1], 9));
        check(&[failed, replica(Finalized, 9, 5)], synchronize(&[1], 9));
        check(&[failed, replica(Rbw, 0, 5)], RecoveryPlan::Delete);
    }

    #[test]
    fn safety_d19_a_replica_that_lacks_logged_bytes_takes_part_only_where_nobody_has_them() {
        let failed = RecoveryAnswer::Failed;
        let logged = Block {
            num_bytes: 80,
            ..block()
        };
        let plan = |answers: &[RecoveryAnswer]| plan_recovery(logged, answers, None);
        // The first DataNode's machine has lost its power. The second one's process was killed.
        assert_eq!(
            plan(&[replica(Rwr, 40, 5), replica(Rwr, 100, 5), replica(Rwr, 90, 5)]),
            synchronize(&[1, 2], 90)
        );
        // The replica was completed without a sync, and then cut short.
        assert_eq!(
            plan(&[replica(Finalized, 40, 5), replica(Rbw, 100, 5)]),
            synchronize(&[1], 100)
        );
        assert_eq!(
            plan(&[replica(Finalized, 40, 5), replica(Finalized, 100, 5)]),
            synchronize(&[1], 100)
        );
        assert!(matches!(
            plan(&[replica(Finalized, 40, 5), failed]),
            RecoveryPlan::GiveUp(_)
        ));
        // No DataNode has these bytes any more.
        assert_eq!(
            plan(&[replica(Rwr, 40, 5), replica(Rwr, 60, 5)]),
            synchronize(&[0, 1], 40)
        );
        assert_eq!(
            plan_recovery(
                logged,
                &[replica(Finalized, 40, 5), replica(Finalized, 80, 5)],
                Some(30)
            ),
            synchronize(&[0, 1], 30)
        );
    }

    #[test]
    fn safety_d23_of_complete_replicas_the_longest_decide() {
        // The replicas were completed without a sync, and one machine has lost its power since.
        check(
            &[replica(Finalized, 7, 5), replica(Finalized, 8, 5)],
            synchronize(&[1], 8),
        );
        // The other replica was recovered already, and its primary's result did not arrive.
        check(
            &[replica(Finalized, 22, 5), replica(Finalized, 55, 6)],
            synchronize(&[1], 55),
        );
        check(
            &[replica(Finalized, 7, 5), replica(Rbw, 7, 5), replica(Finalized, 8, 5)],
            synchronize(&[2], 8),
        );
    }

    #[test]
    fn safety_d24_a_complete_replica_with_a_bad_end_takes_part_only_among_its_like() {
        // Its length is right, or too short; others are complete, or wait for recovery.
        check(&[cut(8), replica(Finalized, 8, 5)], synchronize(&[1], 8));
        check(&[cut(6), replica(Rwr, 38, 5)], synchronize(&[1], 38));
        check(
            &[cut(40), replica(Rwr, 38, 5), replica(Rbw, 40, 5)],
            synchronize(&[2], 40),
        );
        // It says nothing of those that are silent.
        assert!(matches!(
            plan_recovery(block(), &[cut(8), RecoveryAnswer::Failed], None),
            RecoveryPlan::GiveUp(_)
        ));
        check(&[cut(8), cut(6), RecoveryAnswer::NoReplica], synchronize(&[0], 8));
        check(&[cut(8), replica(Rwr, 0, 5)], synchronize(&[0], 8));
        // Logged bytes count for more than the end.
        let logged = Block {
            num_bytes: 40,
            ..block()
        };
        let answers = [cut(60), replica(Rwr, 38, 5)];
        assert_eq!(plan_recovery(logged, &answers, None), synchronize(&[0], 60));
        // A truncation may be short of others.
        let answers = [cut(60), replica(Finalized, 38, 5)];
        assert_eq!(plan_recovery(block(), &answers, Some(50)), synchronize(&[0], 50));
        assert_eq!(plan_recovery(block(), &answers, Some(30)), synchronize(&[1], 30));
    }

    #[test]
    fn safety_d4_a_truncation_that_was_done_in_part_is_finished() {
        let done_in_part = [replica(Finalized, 100, 5), replica(Finalized, 40, 6)];
        assert_eq!(
            plan_recovery(block(), &done_in_part, Some(40)),
            synchronize(&[0, 1], 40)
        );
        // The target of a later, shorter truncation.
        assert_eq!(
            plan_recovery(block(), &done_in_part, Some(30)),
            synchronize(&[0, 1], 30)
        );
        // No replica can be made longer.
        assert_eq!(plan_recovery(block(), &done_in_part, Some(41)), synchronize(&[0], 41));
        assert!(matches!(
            plan_recovery(block(), &[replica(Finalized, 40, 5)], Some(41)),
            RecoveryPlan::GiveUp(_)
        ));
    }
}
