//! Knowledge about blocks that are being written or recovered (`BlockUnderConstructionFeature`).
//!
//! All of it is soft state: a restart, a reload or a change of role may take it at any moment. Promises to clients are
//! in the namespace (the length of a truncate, logged lengths and stamps). Each field says what happens when it is
//! lost. The rule is that a NameNode which knows nothing waits for reports, or lets the DataNodes agree once more.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::datanodes::Datanodes;
use crate::types::{BlockManagerConfig, Now, ReplicaState, StorageIndex};
use hathi_formats::ids::{Block, GenerationStamp};
use smallvec::SmallVec;

/// A replica of a block under construction, expected or reported (`ReplicaUnderConstruction`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpectedReplica {
    /// When it is lost, it is unknown who has the block, and [`crate::Holders::Awaited`] makes everybody wait for the
    /// reports.
    pub(crate) storage: StorageIndex,
    /// State as it was reported, or as the pipeline was set up. When it is lost, it comes again with the replica.
    pub(crate) state: ReplicaState,
    /// Stamp. When it is lost, it comes again with the replica.
    pub(crate) generation_stamp: u64,
    /// Length in bytes as reported with this state; 0 for a replica that is only expected. When it is lost, it comes
    /// again with the replica.
    pub(crate) num_bytes: u64,
    /// When the node was given the block, or last spoke of the replica, monotonic ms. When it is lost, it comes again
    /// with the replica.
    pub(crate) since_ms: u64,
    /// Whether the node had its turn to lead a recovery. When it is lost, the node may get another turn before the
    /// others.
    pub(crate) was_primary: bool,
}

impl ExpectedReplica {
    /// Whether the node lives and has a replica with every acknowledged byte. That is so when the replica was
    /// finalized, or the process that writes it never ended. After a loss of power, a replica that waits for recovery
    /// may be shorter than what was acknowledged. So may any replica of a node that has not reported since it
    /// registered.
    pub(crate) fn is_whole(&self, stamp: u64, datanodes: &Datanodes, config: &BlockManagerConfig, now: Now) -> bool {
        self.generation_stamp >= stamp
            && !self.is_gone(datanodes)
            && matches!(self.state, ReplicaState::Finalized | ReplicaState::Rbw)
            && datanodes.storage(self.storage).is_some_and(|one| one.report_count > 0)
            && datanodes
                .of(self.storage)
                .is_some_and(|node| node.alive && !node.is_stale(config, now))
    }

    /// Whether the replica is gone: the node has registered again, and its report does not name the replica, for
    /// example after a loss of power. It stays in the list and is asked like the others, because the node may be about
    /// to create it.
    pub(crate) fn is_gone(&self, datanodes: &Datanodes) -> bool {
        datanodes.storage(self.storage).is_some_and(|one| one.report_count > 0)
            && datanodes
                .of(self.storage)
                .is_some_and(|node| node.registered_ms > self.since_ms)
    }
}

/// What DataNodes must make of a block, instead of agreeing on a length. The namespace decides this; here it is noted
/// for one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncateRecovery {
    /// Final length in bytes.
    pub length: u64,
    /// The block to copy from, for a truncate that copies.
    pub source: Option<Block>,
}

/// One attempt to let DataNodes agree on a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    pub(crate) id: GenerationStamp,
    pub(crate) truncate: Option<TruncateRecovery>,
    /// Whether the command left out expected nodes that are silent but not dead.
    pub(crate) left_out: bool,
}

/// A block that is not complete.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderConstruction {
    pub(crate) replicas: SmallVec<[ExpectedReplica; 3]>,
    /// The attempt under way. When it is lost, its result is refused, because only the id of the present attempt is
    /// accepted. Another attempt with a higher id follows.
    pub(crate) recovery: Option<Recovery>,
    /// Whether the next attempt must name silent nodes as well, because an attempt without them found less than there
    /// may be. When it is lost, this is found out once more.
    pub(crate) ask_silent: bool,
    /// Since when results were refused because they are shorter than what is logged or committed, monotonic ms. When it
    /// is lost, results are refused for longer.
    pub(crate) short_since_ms: Option<u64>,
    /// Since when all DataNodes that may be asked have a replica known to be bad, monotonic ms. When it is lost, a
    /// truncate waits longer for a good one.
    pub(crate) bad_since_ms: Option<u64>,
}

impl UnderConstruction {
    /// Notes a reported replica. `same_node` tells whether a storage is on the reporting node, because a DataNode may
    /// have chosen another volume than the one it was asked for.
    pub(crate) fn add_if_absent(
        &mut self,
        storage: StorageIndex,
        (generation_stamp, num_bytes): (u64, u64),
        state: ReplicaState,
        now: Now,
        same_node: impl Fn(StorageIndex) -> bool,
    ) {
        let new = ExpectedReplica {
            storage,
            state,
            generation_stamp,
            num_bytes,
            since_ms: now.monotonic_ms,
            was_primary: false,
        };
        match self
            .replicas
            .iter_mut()
            .find(|replica| replica.storage == storage || same_node(replica.storage))
        {
            Some(known) if known.storage == storage => {
                known.generation_stamp = generation_stamp;
                known.num_bytes = num_bytes;
                known.since_ms = now.monotonic_ms;
                known.state = state;
            }
            Some(known) => *known = new,
            None => self.replicas.push(new),
        }
    }
}
