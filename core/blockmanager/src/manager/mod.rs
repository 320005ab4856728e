//! The block manager: the blocks that the edits make, and what is known of their replicas (`BlockManager`).
//!
//! Each part owns its state, and checks it by itself:
//!
//! | part | owns |
//! |---|---|
//! | [`BlockMap`] | blocks, and which storages have which of them |
//! | [`Datanodes`] | nodes and storages: who is here, lives, and is wanted |
//! | [`Construction`] | blocks that are being written or recovered |
//! | [`CorruptReplicas`] | replicas known to be bad |
//! | [`Redundancy`] | what lacks replicas, is on its way, or is too many; what nodes are to copy and delete |
//! | [`Reports`] | who may report, how far reports are, what the edits have told, what is set aside |
//! | [`Caching`] | what is cached where, and what is to be |
//! | [`SafeMode`] | whether enough is known to serve |
//!
//! Here is what concerns more than one of them. Invariants ([`BlockManager::check`] watches them):
//! - what a part says of a block, a storage or a node is there: no part speaks of what another one has forgotten;
//! - a complete block counts as safe if and only if it has the minimum of good replicas;
//! - only blocks that are not complete are written or recovered, only complete ones are copied or cut back;
//! - a passive manager (standby) orders nothing, and an active has nothing set aside.

mod balancer;
mod caching;
mod check;
mod commands;
mod corrupt;
mod decommission;
mod deletions;
mod edits;
mod holders;
mod located;
mod metasave;
mod nodes;
mod recovery;
mod redundancy;
mod replicas;
mod reports;
mod role;
mod statistics;
mod striped;
mod striped_recovery;
#[cfg(test)]
mod tests;

pub use commands::{finalize_command, register_command};
pub use holders::HolderKnowledge;
pub use statistics::Counts;
pub use striped::GroupCounts;

use crate::block_map::{BlockMap, Flag, Record, Replicas};
use crate::caching::Caching;
use crate::construction::Construction;
use crate::corrupt::CorruptReplicas;
use crate::datanodes::{AdminState, Datanode, Datanodes, Storage};
#[cfg(any(test, feature = "mutants"))]
use crate::mutant::Mutant;
use crate::mutant::Mutation;
use crate::placement::{self, PlacementRequest};
use crate::redundancy::Redundancy;
use crate::reports::Reports;
use crate::rng::Rng;
use crate::safemode::SafeMode;
use crate::types::{
    BlockInfo, BlockManagerConfig, BlockManagerError, DatanodeIndex, Now, NumberReplicas, StorageIndex,
};
use hathi_formats::ids::{BlockId, InodeId};
use std::sync::atomic::AtomicU64;

/// Soft state: blocks, DataNodes, reports, replication.
#[derive(Debug)]
pub struct BlockManager {
    config: BlockManagerConfig,
    mutation: Mutation,
    blocks: BlockMap,
    datanodes: Datanodes,
    construction: Construction,
    corrupt: CorruptReplicas,
    redundancy: Redundancy,
    reports: Reports,
    caching: Caching,
    safe_mode: SafeMode,
    active: bool,
    /// When the active role began. It is lost with the role.
    active_since_ms: u64,
    /// Since when DataNodes can reach this NameNode, monotonic ms: since the namespace was loaded.
    listening_since_ms: Option<u64>,
    rng: Rng,
    /// Spreads readers over equally near replicas. Atomic, because reads run in parallel.
    read_turn: AtomicU64,
    /// The latest time that a caller has told.
    now: Now,
}

/// Condition of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Live,
    Corrupt,
    Excess,
    Decommissioning,
    Decommissioned,
    EnteringMaintenance,
    InMaintenance,
    /// The replica is on a dead node or a broken volume.
    Gone,
}

impl BlockManager {
    /// An empty block manager, in start-up safe mode and passive (standby).
    #[must_use]
    pub fn new(config: BlockManagerConfig) -> BlockManager {
        let mut rng = Rng::new(config.seed);
        BlockManager {
            mutation: Mutation::default(),
            blocks: BlockMap::default(),
            datanodes: Datanodes::default(),
            construction: Construction::default(),
            corrupt: CorruptReplicas::default(),
            redundancy: Redundancy::default(),
            reports: Reports::new(&config, rng.next_u64()),
            caching: Caching::default(),
            safe_mode: SafeMode::new(&config),
            active: false,
            active_since_ms: 0,
            listening_since_ms: None,
            read_turn: AtomicU64::new(rng.next_u64()),
            rng,
            config,
            now: Now::default(),
        }
    }

    /// Changes settings that each decision reads anew. Those of safe mode and of leases for reports were read once.
    pub fn reconfigure(&mut self) -> &mut BlockManagerConfig {
        &mut self.config
    }

    /// Breaks a rule, for the simulator.
    #[cfg(any(test, feature = "mutants"))]
    pub fn plant(&mut self, mutant: Option<Mutant>) {
        self.mutation = Mutation::planted(mutant);
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &BlockManagerConfig {
        &self.config
    }

    /// Whether this manager is active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Tells the time where no other call does. It decides how long a report has been waited for.
    pub fn note_time(&mut self, now: Now) {
        self.now = now;
    }

    // --- blocks ---

    /// What is known of a block, or a block group.
    #[must_use]
    pub fn block(&self, id: BlockId) -> Option<BlockInfo> {
        self.blocks.info(id)
    }

    /// The file that a block belongs to.
    #[must_use]
    pub fn inode_of(&self, id: BlockId) -> Option<InodeId> {
        self.blocks.get(id).map(Record::inode)
    }

    /// The storages with a finalized replica, good or bad; of the first internal block, if it is a block group.
    #[must_use]
    pub fn replicas_of(&self, id: BlockId) -> Vec<StorageIndex> {
        self.blocks.replicas_of(id).to_vec()
    }

    fn condition(&self, id: BlockId, record: &Record, storage: StorageIndex) -> Condition {
        let Some(storage) = self.datanodes.storage(storage) else {
            return Condition::Gone;
        };
        let Some(node) = self.datanodes.get(storage.datanode) else {
            return Condition::Gone;
        };
        if storage.failed {
            return Condition::Gone;
        }
        if record.flag(Flag::Corrupt) && self.corrupt.is_marked(id, storage.datanode) {
            return Condition::Corrupt;
        }
        match node.admin_state {
            AdminState::InMaintenance => return Condition::InMaintenance,
            _ if !node.alive => return Condition::Gone,
            AdminState::DecommissionInProgress => return Condition::Decommissioning,
            AdminState::Decommissioned => return Condition::Decommissioned,
            AdminState::EnteringMaintenance => return Condition::EnteringMaintenance,
            AdminState::Normal => {}
        }
        if record.flag(Flag::Excess) && self.redundancy.excess().is_excess(id, storage.datanode) {
            return Condition::Excess;
        }
        Condition::Live
    }

    /// Number of replicas in each condition. Of a block group it is the number of its internal blocks.
    #[must_use]
    pub fn count_replicas(&self, id: BlockId) -> NumberReplicas {
        let record = self.blocks.get(id);
        record.map_or_else(NumberReplicas::default, |record| self.count_block(id, record))
    }

    /// [`BlockManager::count_replicas`] of a block in the map.
    fn count_block(&self, id: BlockId, record: &Record) -> NumberReplicas {
        match record.is_striped() {
            true => self.count_group(id),
            false => self.count(id, record),
        }
    }

    /// Replicas of a block, or of this internal block alone.
    fn count(&self, id: BlockId, record: &Record) -> NumberReplicas {
        let mut counts = NumberReplicas::default();
        for storage in self.blocks.replicas(record) {
            match self.condition(id, record, storage) {
                Condition::Gone => continue,
                Condition::Live => counts.live += 1,
                Condition::Corrupt => counts.corrupt += 1,
                Condition::Excess => counts.excess += 1,
                Condition::Decommissioning => counts.decommissioning += 1,
                Condition::Decommissioned => counts.decommissioned += 1,
                Condition::EnteringMaintenance | Condition::InMaintenance => counts.maintenance += 1,
            }
            if self
                .datanodes
                .storage(storage)
                .is_some_and(|storage| storage.content_stale)
            {
                counts.stale += 1;
            }
        }
        counts
    }

    /// Whether the block has at least `dfs.namenode.replication.min` good replicas, or the group as many good internal
    /// blocks as hold all its bytes (`hasMinStorage`).
    #[must_use]
    pub fn has_min_replicas(&self, id: BlockId) -> bool {
        self.blocks.get(id).is_some_and(|record| self.has_min(id, record))
    }

    fn has_min(&self, id: BlockId, record: &Record) -> bool {
        let counts = self.count_block(id, record);
        let good = counts.live + counts.decommissioning + counts.maintenance;
        good >= self.blocks.min_storages(record, self.config.min_replication)
    }

    /// Whether the block has as many good replicas as append needs (`isSufficientlyReplicated`): the minimum, or one
    /// per live node if there are fewer.
    #[must_use]
    pub fn is_sufficiently_replicated(&self, id: BlockId) -> bool {
        let Some(record) = self.blocks.get(id) else {
            return false;
        };
        let min = self.blocks.min_storages(record, self.config.min_replication) as usize;
        self.count_block(id, record).live as usize >= min.min(self.datanodes.live().len())
    }

    /// Whether the block is complete.
    #[must_use]
    pub fn is_complete(&self, id: BlockId) -> bool {
        self.blocks.get(id).is_some_and(Record::is_complete)
    }

    /// Whether the node is known to have a replica.
    fn holds(&self, id: BlockId, node: DatanodeIndex) -> bool {
        let replicas: Replicas = self.blocks.replicas_of(id);
        replicas.iter().any(|storage| self.datanodes.is_on(*storage, node))
    }

    /// Whether the node's replica of a block counts as corrupt.
    #[must_use]
    pub fn is_corrupt_on(&self, id: BlockId, node: DatanodeIndex) -> bool {
        self.corrupt.is_marked(id, node)
    }

    // --- nodes ---

    /// A node.
    #[must_use]
    pub fn datanode(&self, index: DatanodeIndex) -> Option<&Datanode> {
        self.datanodes.get(index)
    }

    /// Every DataNode that has registered since this block manager was made, dead ones included.
    pub fn datanodes(&self) -> impl Iterator<Item = (DatanodeIndex, &Datanode)> {
        self.datanodes.nodes()
    }

    /// A storage.
    #[must_use]
    pub fn storage(&self, index: StorageIndex) -> Option<&Storage> {
        self.datanodes.storage(index)
    }

    /// The storage with this uuid on that node.
    #[must_use]
    pub fn find_storage(&self, datanode_uuid: &str, storage_uuid: &str) -> Option<StorageIndex> {
        self.datanodes
            .find_storage(self.datanodes.by_uuid(datanode_uuid)?, storage_uuid)
    }

    /// The registered, live node with this uuid.
    pub fn datanode_by_uuid(&self, uuid: &str) -> Result<DatanodeIndex, BlockManagerError> {
        self.datanodes
            .by_uuid(uuid)
            .filter(|&index| self.datanodes.get(index).is_some_and(|node| node.alive))
            .ok_or_else(|| BlockManagerError::Unregistered(uuid.to_owned()))
    }

    /// A node by its uuid, dead or alive.
    #[must_use]
    pub fn find_datanode(&self, uuid: &str) -> Option<DatanodeIndex> {
        self.datanodes.by_uuid(uuid)
    }

    /// Whether a storage of the node may hold other blocks than the known ones.
    #[must_use]
    pub fn has_stale_storages(&self, datanode: DatanodeIndex) -> bool {
        let mut storages = self.datanodes.storages_of(datanode);
        storages.any(|storage| storage.content_stale)
    }

    /// Storages for new replicas (`chooseTarget4NewBlock`, `getAdditionalDatanode`), in the order of a pipeline. They
    /// are fewer than asked for when there are no more. It is an error when there is none although some were asked for.
    pub fn choose_targets(
        &mut self,
        request: &PlacementRequest<'_>,
        now: Now,
    ) -> Result<Vec<StorageIndex>, BlockManagerError> {
        self.now = now;
        placement::choose_targets(&self.datanodes, &self.config, &mut self.rng, request, now)
    }
}
