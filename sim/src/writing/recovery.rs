//! Block recovery by a primary DataNode, one question at a time (`BlockRecoveryWorker`).

use super::datanode::Failure;
use super::namenodes::NameNodes;
use super::talk::{identity, node_of, storage_id};
use super::{World, WritingMutant};
use hathi_blockpool::{Mismatch, NoticeKind, RecoveryAnswer, RecoveryPlan, plan_recovery};
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::{CommitBlockSynchronizationRequestProto, CommitBlockSynchronizationResponseProto};
use hathi_formats::proto::hdfs::RecoveringBlockProto;
use hathi_storage::Disk;
use std::collections::VecDeque;

/// A recovery under way.
pub(super) struct Recovering {
    order: RecoveringBlockProto,
    answers: Vec<RecoveryAnswer>,
    /// Who is still to take the length, by the index of its answer.
    chosen: Option<VecDeque<usize>>,
    /// All who are to take it.
    participants: Vec<usize>,
    /// No replica matches its checksum, and the NameNode has said that they are to be cut nevertheless.
    over_rot: bool,
    result: CommitBlockSynchronizationRequestProto,
}

impl Recovering {
    pub(super) fn new(order: RecoveringBlockProto) -> Recovering {
        Recovering {
            result: CommitBlockSynchronizationRequestProto {
                block: order.block.b.clone(),
                new_gen_stamp: order.new_gen_stamp,
                close_file: true,
                ..CommitBlockSynchronizationRequestProto::default()
            },
            order,
            answers: Vec::new(),
            chosen: None,
            participants: Vec::new(),
            over_rot: false,
        }
    }

    fn block(&self) -> Block {
        let block = &self.order.block.b;
        Block {
            id: BlockId(block.block_id as i64),
            num_bytes: block.num_bytes(),
            generation_stamp: GenerationStamp(block.generation_stamp),
        }
    }

    /// Everybody has refused to cut a chunk that does not match its checksum: they are told to do it nevertheless, if the
    /// NameNode knows of no good replica.
    fn cuts_over_rot(&mut self) -> bool {
        let begins = !self.over_rot && self.order.block.corrupt && self.result.new_taragets.is_empty();
        if begins && !self.result.delete_block {
            self.over_rot = true;
            self.chosen = Some(self.participants.iter().copied().collect());
        }
        begins && self.over_rot
    }

    fn id(&self) -> GenerationStamp {
        GenerationStamp(self.order.new_gen_stamp)
    }
}

impl<N: NameNodes> World<N> {
    /// One step of one recovery of this primary.
    pub(super) fn recovery_step(&mut self, node: usize) {
        let count = self.datanodes[node].recoveries.len();
        if !self.datanodes[node].up || count == 0 {
            return;
        }
        let at = self.rng.usize(..count);
        let mut task = self.datanodes[node].recoveries.swap_remove(at);
        let goes_on = if let Some(location) = task.order.block.locs.get(task.answers.len()) {
            let other = node_of(&location.id);
            self.ask(node, other, &mut task)
        } else if let Some(chosen) = &mut task.chosen {
            match chosen.pop_front() {
                Some(index) => {
                    self.update(node, index, &mut task);
                    true
                }
                None if task.cuts_over_rot() => true,
                None => {
                    self.report_result(node, &task);
                    false
                }
            }
        } else {
            self.decide(node, &mut task)
        };
        if goes_on && self.datanodes[node].up {
            self.datanodes[node].recoveries.push(task);
        }
    }

    fn can_reach(&mut self, from: usize, to: usize) -> bool {
        // The planted bug shows only where the one who can't be reached alone has the bytes, so it is given more of them.
        let odds = if self.is(WritingMutant::UnreachableIsAbsent) {
            2
        } else {
            8
        };
        from == to || (self.datanodes[to].up && !self.unlucky(odds))
    }

    /// `initReplicaRecovery`. False when the recovery ends here.
    fn ask(&mut self, node: usize, other: usize, task: &mut Recovering) -> bool {
        let (block, id) = (task.block(), task.id());
        let answer = if self.can_reach(node, other) {
            self.set_aside(other, block, id)
        } else {
            Some(RecoveryAnswer::Failed)
        };
        self.say(|| format!("{other} answers to the recovery {id} of {block:?}: {answer:?}"));
        let Some(mut answer) = answer else { return false };
        if answer == RecoveryAnswer::Failed && self.is(WritingMutant::UnreachableIsAbsent) {
            answer = RecoveryAnswer::NoReplica;
        }
        task.answers.push(answer);
        true
    }

    fn set_aside(&mut self, other: usize, block: Block, id: GenerationStamp) -> Option<RecoveryAnswer> {
        let disk = self.datanodes[other].disk.clone();
        let replica = self.datanodes[other].map.get(block.id).cloned();
        let data = replica.map(|replica| self.datanodes[other].files(&replica).data);
        let data_len = data.and_then(|data| disk.file_len(&data).ok());
        match self.change(other, block.id, |map| map.init_recovery(block, id, data_len)) {
            Ok(None) => Some(RecoveryAnswer::NoReplica),
            Ok(Some(replica)) => Some(RecoveryAnswer::Replica {
                generation_stamp: replica.generation_stamp,
                num_bytes: replica.bytes_on_disk(),
                original_state: replica.original_state(),
            }),
            Err(failure) => RecoveryAnswer::of_refusal(&failure.to_exception()),
        }
    }

    fn decide(&mut self, node: usize, task: &mut Recovering) -> bool {
        let block = task.block();
        let truncate = task.order.truncate_block.as_ref().and_then(|block| block.num_bytes);
        let truncate = truncate.filter(|_| !self.is(WritingMutant::TruncateForgotten));
        let plan = plan_recovery(block, &task.answers, truncate);
        self.say(|| format!("{node} decides on {block:?}: {plan:?}"));
        match plan {
            RecoveryPlan::GiveUp(_) => return false,
            RecoveryPlan::Delete => {
                task.result.delete_block = true;
                task.chosen = Some(VecDeque::new());
            }
            RecoveryPlan::Synchronize { participants, new_len } => {
                task.result.new_length = new_len;
                task.chosen = Some(participants.iter().copied().collect());
                task.participants = participants;
            }
        }
        true
    }

    /// `updateReplicaUnderRecovery`.
    fn update(&mut self, node: usize, index: usize, task: &mut Recovering) {
        let other = node_of(&task.order.block.locs[index].id);
        let RecoveryAnswer::Replica {
            generation_stamp,
            num_bytes,
            ..
        } = task.answers[index]
        else {
            return;
        };
        let old = Block {
            num_bytes,
            generation_stamp,
            ..task.block()
        };
        let (id, length) = (task.id(), task.result.new_length);
        if !self.can_reach(node, other) {
            return;
        }
        let mismatch = if task.over_rot {
            Mismatch::Kept
        } else {
            Mismatch::Refused
        };
        let changed = self.change(other, old.id, |map| {
            let planned = map.update_under_recovery(old, id, None, length);
            planned.map(|transition| Some(transition.over(mismatch)))
        });
        match changed {
            Ok(Some(replica)) => {
                self.say(|| format!("{other} has recovered {}", replica.describe()));
                self.answer_stamp(other, &replica);
                self.datanodes[other].notify(other, replica.block(), NoticeKind::Received);
                // The answer may be lost.
                if !self.unlucky(12) {
                    task.result.new_taragets.push(identity(other));
                    task.result.new_target_storages.push(storage_id(other));
                }
            }
            Err(Failure::Corrupt(_)) => self.datanodes[other].report_bad(old),
            Ok(None) | Err(_) => {}
        }
    }

    fn report_result(&mut self, node: usize, task: &Recovering) {
        if !task.result.delete_block && task.result.new_taragets.is_empty() {
            return;
        }
        let Some(to) = self.datanodes[node].offer.active().map(|actor| actor.0) else {
            return;
        };
        if !self.namenodes.reaches(node, to) || self.unlucky(12) {
            return;
        }
        let length = (!task.result.delete_block).then_some(task.result.new_length);
        let targets: Vec<usize> = task.result.new_taragets.iter().map(node_of).collect();
        let recovered = self.before_result(task.block().id, length, to, &targets, task.over_rot);
        let taken: Result<CommitBlockSynchronizationResponseProto, RemoteException> =
            self.call_from_datanode((node, to), "commitBlockSynchronization", &task.result);
        self.say(|| {
            format!(
                "{node} reports the result {length:?} of recovery {}: {taken:?}",
                task.id()
            )
        });
        if taken.is_ok() {
            self.count("recoveries");
            self.results.insert((task.block().id, task.id()), recovered);
            self.see_results(task.block().id);
        }
    }
}
