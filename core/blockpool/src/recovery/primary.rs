//! The primary's part of a block recovery.

use std::collections::VecDeque;

use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::CommitBlockSynchronizationRequestProto;
use hathi_formats::proto::hdfs::{
    DatanodeIdProto, ExtendedBlockProto, InitReplicaRecoveryResponseProto, RecoveringBlockProto,
    UpdateReplicaUnderRecoveryRequestProto,
};

use super::group::GroupOrder;
use super::participant::block_of;
use super::plan::{RecoveryAnswer, RecoveryPlan, plan_recovery};

/// What the caller has to do next. DataNodes are named by their index among the order's locations.
#[derive(Clone, Debug, PartialEq)]
pub enum RecoveryAction {
    /// Ask this DataNode to set its replica aside (`initReplicaRecovery`, with the order).
    Init {
        /// Whom to ask.
        datanode: usize,
    },
    /// Let this DataNode change its replica (`updateReplicaUnderRecovery`).
    Update {
        /// Whose replica.
        datanode: usize,
        /// The request.
        request: UpdateReplicaUnderRecoveryRequestProto,
    },
    /// Tell the active NameNode the result (`commitBlockSynchronization`).
    Commit(CommitBlockSynchronizationRequestProto),
    /// Nothing: the recovery has ended.
    End(Result<RecoveredBlock, RecoveryError>),
}

/// What became of an action.
#[derive(Clone, Debug, PartialEq)]
pub enum RecoveryEvent {
    /// The answer to `initReplicaRecovery`.
    Initialized(InitReplicaRecoveryResponseProto),
    /// `updateReplicaUnderRecovery` was carried out.
    Updated {
        /// UUID of the storage that has the replica.
        storage_id: String,
    },
    /// The NameNode has taken the result.
    Committed,
    /// The DataNode or the NameNode answered with an exception.
    Refused(RemoteException),
    /// The DataNode or the NameNode could not be reached, or its answer did not come in time.
    NoAnswer(String),
}

/// A block whose recovery a NameNode has taken.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredBlock {
    /// The block with its new length and stamp; for a truncation by copy, the copy. Length 0 when it was deleted.
    pub block: Block,
    /// DataNodes whose replicas were cut although they do not match their checksums. They are to be reported as bad:
    /// now that the block is complete, the NameNode remembers it.
    pub bad_on: Vec<DatanodeIdProto>,
}

/// Why a recovery gives up. The NameNode orders another one when this one's time is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The order to recover a block group contradicts itself.
    #[error("the order to recover a block group contradicts itself")]
    Striped,
    /// A DataNode takes part in a newer recovery, which will do the work (`RecoveryInProgressException`).
    #[error("a newer recovery is under way: {0}")]
    Newer(RemoteException),
    /// The answers of the DataNodes allow no decision.
    #[error("{0}")]
    Undecided(String),
    /// No DataNode has taken the length; of a group, too few.
    #[error("Cannot recover blk_{0}, all datanodes failed")]
    AllFailed(BlockId),
    /// The NameNode has refused the result.
    #[error("the NameNode refuses the result: {0}")]
    ResultRefused(RemoteException),
    /// It is unknown whether the NameNode has the result.
    #[error("the NameNode did not answer to the result: {0}")]
    ResultUnanswered(String),
}

/// One recovery at its primary.
#[derive(Clone, Debug)]
pub struct BlockRecovery {
    order: RecoveringBlockProto,
    /// Of a block group.
    group: Option<GroupOrder>,
    /// By DataNode, in the order of the locations.
    answers: Vec<RecoveryAnswer>,
    plan: Option<RecoveryPlan>,
    /// Participants that are still to take the length.
    waiting: VecDeque<usize>,
    /// No replica can be cut without a chunk that does not match its checksum. Such chunks are cut now.
    over_rot: bool,
    /// DataNodes that have taken the length.
    updated: usize,
    /// The result as far as it is known.
    result: CommitBlockSynchronizationRequestProto,
    /// What the caller is doing.
    action: RecoveryAction,
}

impl BlockRecovery {
    /// Begins.
    #[must_use]
    pub fn new(order: RecoveringBlockProto) -> BlockRecovery {
        let group = GroupOrder::of_order(&order);
        let mut recovery = BlockRecovery {
            group: group.clone().ok().flatten(),
            updated: 0,
            answers: Vec::new(),
            plan: None,
            waiting: VecDeque::new(),
            over_rot: false,
            result: CommitBlockSynchronizationRequestProto {
                block: order.block.b.clone(),
                new_gen_stamp: order.new_gen_stamp,
                new_length: 0,
                close_file: true,
                delete_block: false,
                new_taragets: vec![],
                new_target_storages: vec![],
            },
            action: RecoveryAction::End(Err(RecoveryError::Striped)),
            order,
        };
        if group.is_ok() {
            recovery.action = recovery.ask_next();
        }
        recovery
    }

    /// What the NameNode has ordered.
    #[must_use]
    pub fn order(&self) -> &RecoveringBlockProto {
        &self.order
    }

    /// What a DataNode is asked in [`RecoveryAction::Init`]. `None` when the order does not name it.
    #[must_use]
    pub fn question(&self, datanode: usize) -> Option<RecoveringBlockProto> {
        match &self.group {
            Some(group) => group.question(&self.order, datanode),
            None => self.order.block.locs.get(datanode).map(|_| self.order.clone()),
        }
    }

    /// The block as the NameNode knows it.
    #[must_use]
    pub fn block(&self) -> Block {
        block_of(&self.order.block.b)
    }

    /// The recovery id, which becomes the block's stamp.
    #[must_use]
    pub fn id(&self) -> GenerationStamp {
        GenerationStamp(self.order.new_gen_stamp)
    }

    /// The decision, once all DataNodes have answered.
    #[must_use]
    pub fn plan(&self) -> Option<&RecoveryPlan> {
        self.plan.as_ref()
    }

    /// Whether replicas are cut although they do not match their checksums.
    #[must_use]
    pub fn is_over_rot(&self) -> bool {
        self.over_rot
    }

    /// What the caller has to do now.
    #[must_use]
    pub fn action(&self) -> &RecoveryAction {
        &self.action
    }

    /// Something has become of the action. An event that does not belong to the action changes nothing.
    pub fn on(&mut self, event: RecoveryEvent) -> &RecoveryAction {
        if let Some(next) = self.next(event) {
            self.action = next;
        }
        if cfg!(debug_assertions) {
            self.check();
        }
        &self.action
    }

    fn next(&mut self, event: RecoveryEvent) -> Option<RecoveryAction> {
        use RecoveryEvent::{Committed, Initialized, NoAnswer, Refused, Updated};
        match (&self.action, event) {
            (RecoveryAction::Init { .. }, Initialized(response)) => {
                Some(self.answered(RecoveryAnswer::of_response(&response)))
            }
            (RecoveryAction::Init { .. }, Refused(refusal)) => match RecoveryAnswer::of_refusal(&refusal) {
                Some(answer) => Some(self.answered(answer)),
                None => Some(RecoveryAction::End(Err(RecoveryError::Newer(refusal)))),
            },
            (RecoveryAction::Init { .. }, NoAnswer(_)) => Some(self.answered(RecoveryAnswer::Failed)),
            (&RecoveryAction::Update { datanode, .. }, Updated { storage_id }) => {
                self.note_updated(datanode, storage_id)?;
                Some(self.update_next())
            }
            (RecoveryAction::Update { .. }, Refused(_) | NoAnswer(_)) => Some(self.update_next()),
            (RecoveryAction::Commit(_), Committed) => Some(RecoveryAction::End(Ok(self.recovered()))),
            (RecoveryAction::Commit(_), Refused(refusal)) => {
                Some(RecoveryAction::End(Err(RecoveryError::ResultRefused(refusal))))
            }
            (RecoveryAction::Commit(_), NoAnswer(why)) => {
                Some(RecoveryAction::End(Err(RecoveryError::ResultUnanswered(why))))
            }
            (RecoveryAction::Init { .. }, Updated { .. } | Committed)
            | (RecoveryAction::Update { .. }, Initialized(_) | Committed)
            | (RecoveryAction::Commit(_), Initialized(_) | Updated { .. })
            | (RecoveryAction::End(_), _) => None,
        }
    }

    /// In the result of a group each internal block has its place.
    fn note_updated(&mut self, datanode: usize, storage_id: String) -> Option<()> {
        let id = self.order.block.locs.get(datanode)?.id.clone();
        match &self.group {
            Some(group) => {
                let at = group.place(datanode)?;
                *self.result.new_taragets.get_mut(at)? = id;
                *self.result.new_target_storages.get_mut(at)? = storage_id;
            }
            None => {
                self.result.new_taragets.push(id);
                self.result.new_target_storages.push(storage_id);
            }
        }
        self.updated = self.updated.saturating_add(1);
        Some(())
    }

    fn answered(&mut self, answer: RecoveryAnswer) -> RecoveryAction {
        self.answers.push(answer);
        self.ask_next()
    }

    fn ask_next(&mut self) -> RecoveryAction {
        let datanode = self.answers.len();
        if datanode < self.order.block.locs.len() {
            RecoveryAction::Init { datanode }
        } else {
            self.decide()
        }
    }

    fn decide(&mut self) -> RecoveryAction {
        let truncate_to = self.order.truncate_block.as_ref().and_then(|block| block.num_bytes);
        let plan = match &self.group {
            Some(group) => group.plan(&self.answers),
            None => plan_recovery(self.block(), &self.answers, truncate_to),
        };
        self.plan = Some(plan.clone());
        match plan {
            RecoveryPlan::GiveUp(why) => RecoveryAction::End(Err(RecoveryError::Undecided(why))),
            RecoveryPlan::Delete => {
                self.result.delete_block = true;
                RecoveryAction::Commit(self.result.clone())
            }
            RecoveryPlan::Synchronize { participants, new_len } => {
                self.result.new_length = new_len;
                if let Some(group) = &self.group {
                    (self.result.new_taragets, self.result.new_target_storages) = group.nobody();
                }
                self.waiting = participants.into();
                self.update_next()
            }
        }
    }

    fn update_next(&mut self) -> RecoveryAction {
        while let Some(datanode) = self.waiting.pop_front() {
            if let Some(request) = self.update_of(datanode) {
                return RecoveryAction::Update { datanode, request };
            }
        }
        let is_enough = match &self.group {
            Some(group) => group.is_enough(self.updated),
            None => self.updated > 0,
        };
        if is_enough {
            return RecoveryAction::Commit(self.result.clone());
        }
        // A DataNode refuses to cut within a chunk that does not match its checksum, so that another replica decides.
        // If the NameNode knows of no good replica, the truncation would never end.
        if self.order.block.corrupt
            && self.group.is_none()
            && !self.over_rot
            && let Some(RecoveryPlan::Synchronize { participants, .. }) = &self.plan
        {
            self.waiting = participants.iter().copied().collect();
            self.over_rot = true;
            return self.update_next();
        }
        RecoveryAction::End(Err(RecoveryError::AllFailed(self.block().id)))
    }

    /// The request names the replica as its DataNode reported it. It is refused if the replica has changed since.
    fn update_of(&self, datanode: usize) -> Option<UpdateReplicaUnderRecoveryRequestProto> {
        let Some(RecoveryAnswer::Replica {
            generation_stamp,
            num_bytes,
            ..
        }) = self.answers.get(datanode)
        else {
            return None;
        };
        let block = &self.order.block.b;
        let internal = self.group.as_ref().and_then(|group| group.internal(datanode));
        let internal = internal.map(|id| id.0.cast_unsigned());
        let length = self.result.new_length;
        Some(UpdateReplicaUnderRecoveryRequestProto {
            block: ExtendedBlockProto {
                pool_id: block.pool_id.clone(),
                block_id: internal.unwrap_or(block.block_id),
                generation_stamp: generation_stamp.0,
                num_bytes: Some(*num_bytes),
            },
            recovery_id: self.order.new_gen_stamp,
            new_length: self
                .group
                .as_ref()
                .map_or(length, |group| group.length_at(datanode, length)),
            new_block_id: Some(internal.unwrap_or(self.new_block_id())),
            mismatch_stays: self.over_rot.then_some(true),
        })
    }

    /// The block's id, or that of the copy that a truncation makes.
    fn new_block_id(&self) -> u64 {
        let truncated = self.order.truncate_block.as_ref();
        truncated.map_or(self.order.block.b.block_id, |block| block.block_id)
    }

    fn recovered(&self) -> RecoveredBlock {
        RecoveredBlock {
            block: Block {
                id: BlockId(self.new_block_id().cast_signed()),
                num_bytes: self.result.new_length,
                generation_stamp: self.id(),
            },
            bad_on: match self.over_rot {
                true => self.result.new_taragets.clone(),
                false => Vec::new(),
            },
        }
    }

    /// Asserts the invariants of the recovery.
    pub fn check(&self) {
        let named = self.order.block.locs.len();
        assert!(
            self.answers.len() <= named,
            "nobody is asked whom the order does not name"
        );
        assert_eq!(
            self.result.new_taragets.len(),
            self.result.new_target_storages.len(),
            "each DataNode that took part has one storage"
        );
        if self.plan.is_none() {
            assert!(
                self.result.new_taragets.is_empty(),
                "no replica is changed before the decision"
            );
        } else {
            assert_eq!(
                self.answers.len(),
                named,
                "nothing is decided before everybody has answered"
            );
        }
        if let RecoveryAction::Commit(result) = &self.action {
            assert_ne!(
                result.delete_block,
                !result.new_taragets.is_empty(),
                "the block goes, or somebody has it"
            );
        }
        assert!(
            !self.over_rot || self.order.block.corrupt,
            "nothing is cut over rot unasked"
        );
    }
}
