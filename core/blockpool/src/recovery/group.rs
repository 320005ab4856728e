//! What is different when a block group is recovered (`BlockRecoveryWorker.RecoveryTaskStriped`): each DataNode has an
//! internal block of its own, and what is agreed on is a length of which enough internal blocks have their part.

use hathi_formats::ids::BlockId;
use hathi_formats::proto::hdfs::{DatanodeIdProto, ExtendedBlockProto, RecoveringBlockProto};
use hathi_formats::striping::Striping;

use super::plan::{RecoveryAnswer, RecoveryPlan};
use crate::replica::ReplicaState;

/// An order that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadGroupOrder;

/// The order to recover a group.
#[derive(Clone, Debug)]
pub struct GroupOrder {
    id: BlockId,
    striping: Striping,
    /// The index of the internal block of each DataNode that the order names.
    indices: Vec<u8>,
}

/// A replica of an internal block that may take part.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// The place of its DataNode among the answers.
    at: usize,
    index: u8,
    num_bytes: u64,
    end_is_bad: bool,
}

impl GroupOrder {
    /// What an order says of a group. `None` when it is about a replicated block.
    ///
    /// # Errors
    /// When the order contradicts itself.
    pub fn of_order(order: &RecoveringBlockProto) -> Result<Option<GroupOrder>, BadGroupOrder> {
        let Some(policy) = &order.ec_policy else {
            return Ok(None);
        };
        let id = BlockId(order.block.b.block_id.cast_signed());
        let indices = order.block_indices.as_deref().unwrap_or_default().to_vec();
        let striping = Striping::of_policy(policy).ok_or(BadGroupOrder)?;
        let is_good = id.is_striped()
            && id.group() == id
            && order.truncate_block.is_none()
            && indices.len() == order.block.locs.len()
            && indices.iter().all(|index| *index < striping.units());
        match is_good {
            true => Ok(Some(GroupOrder { id, striping, indices })),
            false => Err(BadGroupOrder),
        }
    }

    /// The internal block of the n-th DataNode.
    #[must_use]
    pub fn internal(&self, at: usize) -> Option<BlockId> {
        self.indices.get(at).map(|index| self.id.internal(*index))
    }

    /// What the n-th DataNode is asked (`initReplicaRecovery`).
    #[must_use]
    pub fn question(&self, order: &RecoveringBlockProto, at: usize) -> Option<RecoveringBlockProto> {
        let mut question = order.clone();
        question.block.b = ExtendedBlockProto {
            block_id: self.internal(at)?.0.cast_unsigned(),
            ..question.block.b
        };
        question.ec_policy = None;
        question.block_indices = None;
        Some(question)
    }

    /// Length of the internal block of the n-th DataNode, when the group has so many bytes.
    #[must_use]
    pub fn length_at(&self, at: usize, group_bytes: u64) -> u64 {
        let index = self.indices.get(at).copied().unwrap_or(0);
        self.striping.internal_length(group_bytes, index)
    }

    /// Whether so many internal blocks hold all bytes.
    #[must_use]
    pub fn is_enough(&self, internal_blocks: usize) -> bool {
        internal_blocks >= usize::from(self.striping.data_units)
    }

    /// DataNodes and storages of a result in which nobody has anything yet: one for each internal block.
    #[must_use]
    pub fn nobody(&self) -> (Vec<DatanodeIdProto>, Vec<String>) {
        // `DatanodeID.EMPTY_DATANODE_ID`
        let nobody = DatanodeIdProto {
            ip_addr: "null".to_owned(),
            host_name: "null".to_owned(),
            ..DatanodeIdProto::default()
        };
        let units = usize::from(self.striping.units());
        (vec![nobody; units], vec![String::new(); units])
    }

    /// The place of the n-th DataNode in a result.
    #[must_use]
    pub fn place(&self, at: usize) -> Option<usize> {
        self.indices.get(at).copied().map(usize::from)
    }

    /// Decides. The stripes stay of which enough internal blocks have whole cells. Nothing beyond was acknowledged: a writer
    /// learns that a stripe is safe when it has ended the group.
    ///
    /// When there are too few internal blocks, and those that were not named could not change this, the group goes, as in
    /// Hadoop. Hadoop keeps a group of no bytes when only a part of a stripe is there. Here that one goes as well.
    #[must_use]
    pub fn plan(&self, answers: &[RecoveryAnswer]) -> RecoveryPlan {
        let data_units = usize::from(self.striping.data_units);
        let candidates = self.candidates(answers);
        let is_silent = answers.contains(&RecoveryAnswer::Failed);
        let units = 0..self.striping.units();
        let unnamed = units.filter(|index| !self.indices.contains(index)).count();
        let lengths: Vec<u64> = candidates.iter().map(|one| one.num_bytes).collect();
        let safe = self.striping.safe_length(&lengths).unwrap_or(0);
        if candidates.len() < data_units || safe == 0 {
            let possible = candidates.len().saturating_add(unnamed);
            let is_decided = !is_silent && (possible < data_units || candidates.len() >= data_units);
            return match is_decided {
                true => RecoveryPlan::Delete,
                false => RecoveryPlan::GiveUp(format!(
                    "blk_{} has no enough internal blocks: {} of {data_units}",
                    self.id,
                    candidates.len()
                )),
            };
        }
        let has_part = |one: &&Candidate| one.num_bytes >= self.striping.internal_length(safe, one.index);
        let participants: Vec<usize> = candidates.iter().filter(has_part).map(|one| one.at).collect();
        debug_assert!(
            participants.len() >= data_units,
            "enough have their part of what is safe"
        );
        RecoveryPlan::Synchronize {
            participants,
            new_len: safe,
        }
    }

    /// For each internal block the longest replica. One with a bad end takes part when there are too few others.
    fn candidates(&self, answers: &[RecoveryAnswer]) -> Vec<Candidate> {
        let mut best: Vec<Candidate> = Vec::new();
        for (at, (answer, index)) in answers.iter().zip(&self.indices).enumerate() {
            let RecoveryAnswer::Replica {
                num_bytes,
                original_state,
                end_is_bad,
                ..
            } = *answer
            else {
                continue;
            };
            if num_bytes == 0 || original_state > ReplicaState::Rwr {
                continue;
            }
            let one = Candidate {
                at,
                index: *index,
                num_bytes,
                end_is_bad,
            };
            let rank = |one: &Candidate| (!one.end_is_bad, one.num_bytes);
            match best.iter_mut().find(|other| other.index == *index) {
                Some(other) if rank(other) < rank(&one) => *other = one,
                Some(_) => {}
                None => best.push(one),
            }
        }
        let whole: Vec<Candidate> = best.iter().copied().filter(|one| !one.end_is_bad).collect();
        match self.is_enough(whole.len()) {
            true => whole,
            false => best,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::primary::{BlockRecovery, RecoveryAction, RecoveryError, RecoveryEvent};
    use ReplicaState::{Finalized, Rbw, Rwr, Temporary};
    use hathi_formats::ids::GenerationStamp;
    use hathi_formats::proto::hdfs::{
        BlockProto, DatanodeInfoProto, EcSchemaProto, ErasureCodingPolicyProto, InitReplicaRecoveryResponseProto,
        ReplicaStateProto,
    };

    const GROUP: i64 = i64::MIN + 64;

    /// Three and two units in cells of 10 bytes.
    fn order(indices: &[u8]) -> RecoveringBlockProto {
        let mut order = RecoveringBlockProto {
            new_gen_stamp: 9,
            ec_policy: Some(ErasureCodingPolicyProto {
                id: 64,
                cell_size: Some(10),
                schema: Some(EcSchemaProto {
                    codec_name: "rs".to_owned(),
                    data_units: 3,
                    parity_units: 2,
                    options: Vec::new(),
                }),
                ..ErasureCodingPolicyProto::default()
            }),
            block_indices: Some(indices.to_vec().into()),
            ..RecoveringBlockProto::default()
        };
        order.block.b.block_id = GROUP.cast_unsigned();
        order.block.b.generation_stamp = 5;
        order.block.locs = indices.iter().map(|_| DatanodeInfoProto::default()).collect();
        for (at, node) in order.block.locs.iter_mut().enumerate() {
            node.id.datanode_uuid = format!("node-{at}");
        }
        order
    }

    fn has(num_bytes: u64, original_state: ReplicaState) -> RecoveryAnswer {
        RecoveryAnswer::Replica {
            generation_stamp: GenerationStamp(5),
            num_bytes,
            original_state,
            end_is_bad: false,
        }
    }

    fn plan(indices: &[u8], answers: &[RecoveryAnswer]) -> RecoveryPlan {
        GroupOrder::of_order(&order(indices)).unwrap().unwrap().plan(answers)
    }

    fn synchronize(participants: &[usize], new_len: u64) -> RecoveryPlan {
        RecoveryPlan::Synchronize {
            participants: participants.to_vec(),
            new_len,
        }
    }

    #[test]
    fn a_group_ends_at_the_last_stripe_that_can_be_decoded() {
        let (failed, none) = (RecoveryAnswer::Failed, RecoveryAnswer::NoReplica);
        let all = [0, 1, 2, 3, 4];
        let lengths = [25, 20, 31, 9, 20].map(|length| has(length, Rbw));
        assert_eq!(plan(&all, &lengths), synchronize(&[0, 1, 2, 4], 60));
        let lengths = [failed, none, has(31, Rwr), has(19, Finalized), has(20, Rbw)];
        assert_eq!(plan(&all, &lengths), synchronize(&[2, 3, 4], 30));
        assert_eq!(plan(&[4, 2, 0], &[has(10, Rbw); 3]), synchronize(&[0, 1, 2], 30));
        // Two DataNodes have the same one, and one its end in pieces.
        let twice = [has(10, Rbw), has(20, Rbw), has(20, Rbw), has(20, Rbw)];
        assert_eq!(plan(&[0, 0, 1, 2], &twice), synchronize(&[1, 2, 3], 60));
        let bad = RecoveryAnswer::Replica {
            generation_stamp: GenerationStamp(5),
            num_bytes: 40,
            original_state: Finalized,
            end_is_bad: true,
        };
        assert_eq!(
            plan(&all[..4], &[bad, has(20, Rbw), has(20, Rbw), has(20, Rbw)]),
            synchronize(&[1, 2, 3], 60)
        );
        assert_eq!(
            plan(&all[..3], &[bad, has(20, Rbw), has(20, Rbw)]),
            synchronize(&[0, 1, 2], 60)
        );
    }

    #[test]
    fn a_group_goes_only_when_nobody_can_have_enough_of_it() {
        let (failed, none) = (RecoveryAnswer::Failed, RecoveryAnswer::NoReplica);
        let all = [0, 1, 2, 3, 4];
        let is_later = |plan: RecoveryPlan| matches!(plan, RecoveryPlan::GiveUp(_));
        assert_eq!(plan(&all, &[none; 5]), RecoveryPlan::Delete);
        assert_eq!(plan(&all, &[has(0, Rbw); 5]), RecoveryPlan::Delete);
        assert_eq!(plan(&all, &[has(10, Temporary); 5]), RecoveryPlan::Delete);
        assert_eq!(
            plan(&all, &[has(10, Rbw), has(10, Rbw), none, none, none]),
            RecoveryPlan::Delete
        );
        assert_eq!(plan(&all, &[has(9, Rbw); 5]), RecoveryPlan::Delete, "part of a stripe");
        assert!(is_later(plan(&all, &[has(10, Rbw), has(10, Rbw), none, none, failed])));
        assert!(is_later(plan(
            &all,
            &[has(9, Rbw), has(9, Rbw), has(9, Rbw), none, failed]
        )));
        assert!(is_later(plan(&[0, 1], &[none; 2])), "three others may have it");
        assert_eq!(plan(&all[..3], &[none; 3]), RecoveryPlan::Delete);
    }

    #[test]
    fn an_order_that_contradicts_itself_is_refused() {
        let refused = |change: fn(&mut RecoveringBlockProto)| {
            let mut order = order(&[0, 1, 2]);
            change(&mut order);
            let end = RecoveryAction::End(Err(RecoveryError::Striped));
            assert_eq!(BlockRecovery::new(order).action(), &end);
        };
        refused(|order| order.block_indices = None);
        refused(|order| order.block_indices = Some(vec![0, 1, 5].into()));
        refused(|order| order.block_indices = Some(vec![0, 1].into()));
        refused(|order| order.block.b.block_id = 7);
        refused(|order| order.block.b.block_id += 1);
        refused(|order| order.truncate_block = Some(BlockProto::default()));
        refused(|order| order.ec_policy = Some(ErasureCodingPolicyProto::default()));
    }

    /// Goes through a recovery in which the DataNodes of these places do not take the length.
    fn recovered(failing: &[usize]) -> BlockRecovery {
        let mut recovery = BlockRecovery::new(order(&[3, 0, 1, 2]));
        for at in 0..4 {
            assert_eq!(recovery.action(), &RecoveryAction::Init { datanode: at });
            let question = recovery.question(at).unwrap();
            let internal = BlockId(GROUP).internal([3, 0, 1, 2][at]);
            assert_eq!(question.block.b.block_id, internal.0.cast_unsigned());
            assert_eq!((question.new_gen_stamp, question.ec_policy), (9, None));
            recovery.on(RecoveryEvent::Initialized(InitReplicaRecoveryResponseProto {
                replica_found: true,
                state: Some(ReplicaStateProto::Rbw.into()),
                block: Some(BlockProto {
                    block_id: question.block.b.block_id,
                    gen_stamp: 5,
                    num_bytes: Some(21),
                }),
                end_is_bad: None,
            }));
        }
        for at in 0..4 {
            let RecoveryAction::Update { datanode, request } = recovery.action().clone() else {
                panic!("{:?}", recovery.action());
            };
            assert_eq!(datanode, at);
            let internal = BlockId(GROUP).internal([3, 0, 1, 2][at]).0.cast_unsigned();
            assert_eq!(
                (request.block.block_id, request.new_block_id),
                (internal, Some(internal))
            );
            assert_eq!((request.new_length, request.recovery_id), (20, 9));
            recovery.on(match failing.contains(&at) {
                true => RecoveryEvent::NoAnswer("gone".to_owned()),
                false => RecoveryEvent::Updated {
                    storage_id: format!("DS-{at}"),
                },
            });
        }
        recovery
    }

    #[test]
    fn the_namenode_is_told_who_has_which_internal_block() {
        let mut recovery = recovered(&[2]);
        let RecoveryAction::Commit(result) = recovery.action().clone() else {
            panic!("{:?}", recovery.action());
        };
        assert_eq!(
            (result.new_length, result.delete_block, result.close_file),
            (60, false, true)
        );
        let uuids: Vec<&str> = result.new_taragets.iter().map(|id| id.datanode_uuid.as_str()).collect();
        assert_eq!(uuids, ["node-1", "", "node-3", "node-0", ""]);
        assert_eq!(result.new_target_storages, ["DS-1", "", "DS-3", "DS-0", ""]);
        recovery.on(RecoveryEvent::Committed);
        let RecoveryAction::End(Ok(block)) = recovery.action() else {
            panic!("{:?}", recovery.action());
        };
        assert_eq!((block.block.id, block.block.num_bytes), (BlockId(GROUP), 60));
    }

    #[test]
    fn nothing_is_told_when_too_few_have_taken_the_length() {
        let end = RecoveryAction::End(Err(RecoveryError::AllFailed(BlockId(GROUP))));
        assert_eq!(recovered(&[0, 2]).action(), &end);
    }
}
