//! What a DataNode does with its replica when the primary of a block recovery asks (`InterDatanodeProtocol`).

use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::hdfs::{
    BlockProto, ExtendedBlockProto, InitReplicaRecoveryResponseProto, RecoveringBlockProto, ReplicaStateProto,
    UpdateReplicaUnderRecoveryRequestProto,
};
use hathi_storage::Disk;

use crate::chunks::{Mismatch, end_is_whole};
use crate::files::ReplicaFiles;
use crate::replica::{Replica, ReplicaError, ReplicaState};
use crate::replicas::{ReplicaMap, Transition};

/// The block that a message names.
#[must_use]
pub fn block_of(block: &ExtendedBlockProto) -> Block {
    Block {
        id: BlockId(block.block_id.cast_signed()),
        num_bytes: block.num_bytes(),
        generation_stamp: GenerationStamp(block.generation_stamp),
    }
}

impl ReplicaMap {
    /// `initReplicaRecovery` as a primary asks for it. `data_len` as for [`ReplicaMap::init_recovery`].
    pub fn init_replica_recovery(
        &self,
        order: &RecoveringBlockProto,
        data_len: Option<u64>,
    ) -> Result<Option<Transition>, ReplicaError> {
        let id = GenerationStamp(order.new_gen_stamp);
        self.init_recovery(block_of(&order.block.b), id, data_len)
    }

    /// `updateReplicaUnderRecovery` as a primary asks for it.
    pub fn update_replica_under_recovery(
        &self,
        request: &UpdateReplicaUnderRecoveryRequestProto,
    ) -> Result<Transition, ReplicaError> {
        let (old, id) = (block_of(&request.block), GenerationStamp(request.recovery_id));
        let copy = Some(recovered_id(request)).filter(|id| *id != old.id);
        let mismatch = match request.mismatch_stays() {
            true => Mismatch::Kept,
            false => Mismatch::Refused,
        };
        let planned = self.update_under_recovery(old, id, copy, request.new_length)?;
        Ok(planned.over(mismatch))
    }
}

/// The block whose replica an update leaves with the agreed length: a copy has an id of its own.
#[must_use]
pub fn recovered_id(request: &UpdateReplicaUnderRecoveryRequestProto) -> BlockId {
    let id = request.new_block_id.map(|id| BlockId(id.cast_signed()));
    // Hadoop sends 0, or nothing, for the same block.
    id.filter(|id| id.0 > 0).unwrap_or(block_of(&request.block).id)
}

/// The answer to `initReplicaRecovery`: the replica that was set aside, if there is one.
#[must_use]
pub fn init_response(replica: Option<&Replica>) -> InitReplicaRecoveryResponseProto {
    InitReplicaRecoveryResponseProto {
        replica_found: replica.is_some(),
        state: replica.map(|replica| state_proto(replica.original_state()).into()),
        block: replica.map(|replica| BlockProto {
            block_id: replica.block_id.0.cast_unsigned(),
            gen_stamp: replica.generation_stamp.0,
            num_bytes: Some(replica.bytes_on_disk()),
        }),
        end_is_bad: None,
    }
}

/// Whether the replica is complete, and its end does not match its checksums. One that can't be read counts as bad.
pub fn end_is_bad<D: Disk>(disk: &D, files: &ReplicaFiles, replica: &Replica) -> bool {
    replica.original_state() == ReplicaState::Finalized
        && !end_is_whole(disk, files, replica.num_bytes).unwrap_or(false)
}

fn state_proto(state: ReplicaState) -> ReplicaStateProto {
    match state {
        ReplicaState::Finalized => ReplicaStateProto::Finalized,
        ReplicaState::Rbw => ReplicaStateProto::Rbw,
        ReplicaState::Rwr => ReplicaStateProto::Rwr,
        ReplicaState::Rur => ReplicaStateProto::Rur,
        ReplicaState::Temporary => ReplicaStateProto::Temporary,
    }
}

/// The state that a message names.
#[must_use]
pub(super) fn state_from(state: ReplicaStateProto) -> ReplicaState {
    match state {
        ReplicaStateProto::Finalized => ReplicaState::Finalized,
        ReplicaStateProto::Rbw => ReplicaState::Rbw,
        ReplicaStateProto::Rwr => ReplicaState::Rwr,
        ReplicaStateProto::Rur => ReplicaState::Rur,
        ReplicaStateProto::Temporary => ReplicaState::Temporary,
    }
}
