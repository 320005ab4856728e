//! What is known of blocks being written or recovered (`BlockUnderConstructionFeature`).
//!
//! All of it is soft state: a restart, a reload or a change of role may take it at any moment. What a client was promised
//! stands in the namespace (the length of a truncate, logged lengths and stamps). Each field says what follows when it is
//! forgotten; the rule is that a NameNode that knows nothing waits for reports or has DataNodes agree once more.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::datanodes::Datanodes;
use crate::types::{BlockManagerConfig, Now, ReplicaState, StorageIndex};
use hathi_formats::ids::{Block, GenerationStamp};
use smallvec::SmallVec;

/// A replica of a block under construction, expected or reported (`ReplicaUnderConstruction`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpectedReplica {
    /// Forgotten: it is not known who has the block, and [`crate::Holders::Awaited`] makes everybody wait for the reports.
    pub(crate) storage: StorageIndex,
    /// As reported, or as the pipeline was set up. Forgotten: comes again with the replica itself.
    pub(crate) state: ReplicaState,
    /// Likewise.
    pub(crate) generation_stamp: u64,
    /// Bytes, as reported with this state; 0 for one that is only expected. Likewise.
    pub(crate) num_bytes: u64,
    /// When the node was given the block, or spoke of the replica last, monotonic ms. Likewise.
    pub(crate) since_ms: u64,
    /// It had its turn to lead a recovery. Forgotten: it may get another turn before the others.
    pub(crate) was_primary: bool,
}

impl ExpectedReplica {
    /// The node has a replica with every acknowledged byte, and lives: it was written to its end, or the process that
    /// wrote it never ended. One that waits for recovery may be shorter than what was acknowledged, after a loss of
    /// power; so may any of a node that has not reported since it registered.
    pub(crate) fn is_whole(&self, stamp: u64, datanodes: &Datanodes, config: &BlockManagerConfig, now: Now) -> bool {
        self.generation_stamp >= stamp
            && !self.is_gone(datanodes)
            && matches!(self.state, ReplicaState::Finalized | ReplicaState::Rbw)
            && datanodes.storage(self.storage).is_some_and(|one| one.report_count > 0)
            && datanodes
                .of(self.storage)
                .is_some_and(|node| node.alive && !node.is_stale(config, now))
    }

    /// The node has registered since, and what it has reported does not show the replica: a loss of power took it. It stays
    /// in the list, as the node may still be about to create it, and is asked like the others.
    pub(crate) fn is_gone(&self, datanodes: &Datanodes) -> bool {
        datanodes.storage(self.storage).is_some_and(|one| one.report_count > 0)
            && datanodes
                .of(self.storage)
                .is_some_and(|node| node.registered_ms > self.since_ms)
    }
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
    /// The command left expected nodes out that are silent, though not dead.
    pub(crate) left_out: bool,
}

/// A block that is not complete.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderConstruction {
    pub(crate) replicas: SmallVec<[ExpectedReplica; 3]>,
    /// The attempt under way. Forgotten: its result is refused, since only the present attempt's id is taken, and another
    /// one with a higher id follows.
    pub(crate) recovery: Option<Recovery>,
    /// An attempt that asked only the nodes heard of lately found less than there may be: the next one names the silent
    /// ones too. Forgotten: found once more.
    pub(crate) ask_silent: bool,
    /// Since when results have been refused that are shorter than what is logged or committed, monotonic ms. Forgotten: they
    /// are refused for longer.
    pub(crate) short_since_ms: Option<u64>,
    /// Since when every DataNode that may be asked has said that its replica is bad, monotonic ms. Forgotten: a truncate
    /// waits for a good one for longer.
    pub(crate) bad_since_ms: Option<u64>,
}

impl UnderConstruction {
    /// A report of a replica. `same_node` tells whether a storage is on the reporting node: a DataNode may have chosen
    /// another volume than the one it was asked for.
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
