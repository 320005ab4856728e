//! Block recovery by a primary DataNode, one question at a time (`BlockRecoveryWorker`).

use super::datanode::Failure;
use super::namenodes::NameNodes;
use super::talk::{node_of, storage_id};
use super::{World, WritingMutant};
use hathi_blockpool::recovery::participant::{block_of, end_is_bad, init_response};
use hathi_blockpool::{BlockRecovery, NoticeKind, RecoveryAction, RecoveryEvent, Replica};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::datanode::{CommitBlockSynchronizationRequestProto, CommitBlockSynchronizationResponseProto};
use hathi_formats::proto::hdfs::{
    InitReplicaRecoveryResponseProto, RecoveringBlockProto, UpdateReplicaUnderRecoveryRequestProto,
};
use hathi_storage::Disk;

impl<N: NameNodes> World<N> {
    /// The order of a NameNode arrives at the primary.
    pub(super) fn begin_recovery(&mut self, node: usize, from: usize, mut order: RecoveringBlockProto) {
        if self.is(WritingMutant::TruncateForgotten) {
            order.truncate_block = None;
        }
        let recovery = BlockRecovery::new(order);
        let ordered = self.ordered_of(from, &recovery);
        self.ordered.insert((recovery.block().id, recovery.id()), ordered);
        self.datanodes[node].recoveries.push(recovery);
    }

    /// One step of one recovery of this primary.
    pub(super) fn recovery_step(&mut self, node: usize) {
        let count = self.datanodes[node].recoveries.len();
        if !self.datanodes[node].up || count == 0 {
            return;
        }
        let at = self.rng.usize(..count);
        let mut recovery = self.datanodes[node].recoveries.swap_remove(at);
        let event = match recovery.action().clone() {
            RecoveryAction::Init { datanode } => self.ask(node, datanode, &recovery),
            RecoveryAction::Update { datanode, request } => self.update(node, datanode, &recovery, &request),
            RecoveryAction::Commit(result) => self.report_result(node, &recovery, &result),
            RecoveryAction::End(_) => return,
        };
        let before = recovery.plan().is_some();
        recovery.on(event);
        if !before && let Some(plan) = recovery.plan() {
            self.say(|| format!("{node} decides on {:?}: {plan:?}", recovery.block()));
        }
        match recovery.action() {
            RecoveryAction::End(Ok(recovered)) => {
                for id in &recovered.bad_on {
                    self.datanodes[node_of(id)].report_bad(recovered.block);
                }
            }
            RecoveryAction::End(Err(_)) => {}
            // Its primary may have lost its power with the last step.
            _ if !self.datanodes[node].up => {}
            _ => self.datanodes[node].recoveries.push(recovery),
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

    /// `initReplicaRecovery`
    fn ask(&mut self, node: usize, datanode: usize, recovery: &BlockRecovery) -> RecoveryEvent {
        let other = node_of(&recovery.order().block.locs[datanode].id);
        let event = if self.can_reach(node, other) {
            self.set_aside(other, recovery)
        } else if self.is(WritingMutant::UnreachableIsAbsent) {
            RecoveryEvent::Initialized(init_response(None))
        } else {
            no_answer()
        };
        let (id, block) = (recovery.id(), recovery.block());
        self.say(|| format!("{other} answers to the recovery {id} of {block:?}: {event:?}"));
        event
    }

    fn set_aside(&mut self, other: usize, recovery: &BlockRecovery) -> RecoveryEvent {
        let (order, block) = (recovery.order(), recovery.block());
        let disk = self.datanodes[other].disk.clone();
        let replica = self.datanodes[other].map.get(block.id).cloned();
        let data = replica.map(|replica| self.datanodes[other].files(&replica).data);
        let data_len = data.and_then(|data| disk.file_len(&data).ok());
        match self.change(other, block.id, |map| map.init_replica_recovery(order, data_len)) {
            Ok(replica) => {
                let datanode = &self.datanodes[other];
                let is_bad = |replica: &Replica| end_is_bad(&datanode.disk, &datanode.files(replica), replica);
                let unseen = self.is(WritingMutant::BadEndUnseen);
                RecoveryEvent::Initialized(InitReplicaRecoveryResponseProto {
                    end_is_bad: replica.as_ref().map(|replica| !unseen && is_bad(replica)),
                    ..init_response(replica.as_ref())
                })
            }
            Err(Failure::Stopped) if self.is(WritingMutant::UnreachableIsAbsent) => {
                RecoveryEvent::Initialized(init_response(None))
            }
            Err(failure) => unchanged(failure),
        }
    }

    /// `updateReplicaUnderRecovery`
    fn update(
        &mut self,
        node: usize,
        datanode: usize,
        recovery: &BlockRecovery,
        request: &UpdateReplicaUnderRecoveryRequestProto,
    ) -> RecoveryEvent {
        let other = node_of(&recovery.order().block.locs[datanode].id);
        if !self.can_reach(node, other) {
            return no_answer();
        }
        let old = block_of(&request.block);
        match self.change(other, old.id, |map| {
            map.update_replica_under_recovery(request).map(Some)
        }) {
            Ok(Some(replica)) => {
                self.say(|| format!("{other} has recovered {}", replica.describe()));
                self.answer_stamp(other, &replica);
                self.datanodes[other].notify(other, replica.block(), NoticeKind::Received);
                self.read_recovered(other, &replica);
                if self.unlucky(12) {
                    return no_answer();
                }
                RecoveryEvent::Updated {
                    storage_id: storage_id(other),
                }
            }
            Ok(None) => no_answer(),
            Err(failure) => {
                if let Failure::Corrupt(_) = failure {
                    self.datanodes[other].report_bad(old);
                }
                unchanged(failure)
            }
        }
    }

    /// The NameNodes know of a bad replica under its old stamp at most (`DataNode::on_recovered` of the DataNode's shell).
    fn read_recovered(&mut self, node: usize, replica: &Replica) {
        let datanode = &mut self.datanodes[node];
        let was_bad = datanode.bad.contains_key(&replica.block_id);
        if !was_bad && !end_is_bad(&datanode.disk, &datanode.files(replica), replica) {
            return;
        }
        match datanode.verified_bytes(replica) {
            None => datanode.report_bad(replica.block()),
            Some(_) => drop(datanode.bad.remove(&replica.block_id)),
        }
    }

    fn report_result(
        &mut self,
        node: usize,
        recovery: &BlockRecovery,
        result: &CommitBlockSynchronizationRequestProto,
    ) -> RecoveryEvent {
        let Some(to) = self.datanodes[node].offer.active().map(|actor| actor.0) else {
            return no_answer();
        };
        if !self.namenodes.reaches(node, to) || self.unlucky(12) {
            return no_answer();
        }
        let (block, id) = (recovery.block().id, recovery.id());
        let length = (!result.delete_block).then_some(result.new_length);
        let targets: Vec<usize> = result.new_taragets.iter().map(node_of).collect();
        let recovered = self.before_result((block, id), length, to, &targets, recovery.is_over_rot());
        let taken: Result<CommitBlockSynchronizationResponseProto, RemoteException> =
            self.call_from_datanode((node, to), "commitBlockSynchronization", result);
        self.say(|| format!("{node} reports the result {length:?} of recovery {id}: {taken:?}"));
        match taken {
            Ok(_) => {
                self.count("recoveries");
                self.results.insert((block, id), recovered);
                self.see_results(block);
                RecoveryEvent::Committed
            }
            Err(refusal) => RecoveryEvent::Refused(refusal),
        }
    }
}

fn no_answer() -> RecoveryEvent {
    RecoveryEvent::NoAnswer("no answer".to_owned())
}

fn unchanged(failure: Failure) -> RecoveryEvent {
    match failure {
        Failure::Refused(exception) => RecoveryEvent::Refused(exception),
        Failure::Corrupt(text) => RecoveryEvent::Refused(RemoteException::new(exceptions::IO, text)),
        Failure::Stopped => no_answer(),
    }
}
