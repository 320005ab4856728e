//! What is known of blocks being written or recovered (`BlockUnderConstructionFeature`).

use crate::types::{ReplicaState, StorageIndex};
use hathi_formats::ids::{Block, GenerationStamp};
use smallvec::SmallVec;

/// A replica of a block under construction, expected or reported (`ReplicaUnderConstruction`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpectedReplica {
    pub(crate) storage: StorageIndex,
    pub(crate) state: ReplicaState,
    pub(crate) generation_stamp: u64,
    /// It had its turn to lead a recovery.
    pub(crate) was_primary: bool,
}

/// What DataNodes are to make of a block instead of agreeing on a length. The namespace owns it; this is its word for one
/// attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncateRecovery {
    /// Length afterwards, bytes.
    pub length: u64,
    /// Copy on truncate: the block to copy from.
    pub source: Option<Block>,
}

/// One attempt to have DataNodes agree on a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    pub(crate) id: GenerationStamp,
    pub(crate) truncate: Option<TruncateRecovery>,
}

/// A block that is not complete.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderConstruction {
    pub(crate) replicas: SmallVec<[ExpectedReplica; 3]>,
    pub(crate) recovery: Option<Recovery>,
}

impl UnderConstruction {
    /// A report of a replica. `same_node` tells whether a storage is on the reporting node: a DataNode may have chosen
    /// another volume than the one it was asked for.
    pub(crate) fn add_if_absent(
        &mut self,
        storage: StorageIndex,
        generation_stamp: u64,
        state: ReplicaState,
        same_node: impl Fn(StorageIndex) -> bool,
    ) {
        let new = ExpectedReplica {
            storage,
            state,
            generation_stamp,
            was_primary: false,
        };
        match self
            .replicas
            .iter_mut()
            .find(|replica| replica.storage == storage || same_node(replica.storage))
        {
            Some(known) if known.storage == storage => {
                known.generation_stamp = generation_stamp;
                known.state = state;
            }
            Some(known) => *known = new,
            None => self.replicas.push(new),
        }
    }
}
