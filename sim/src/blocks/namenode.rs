//! A NameNode's block manager, and what its shell and namespace do around it.

use super::{BlockMutant, Index, Told, block, uuid};
use hathi_blockmanager::{
    BlockLayout, BlockManager, BlockManagerConfig, BlockState, HeartbeatStats, NewBlock, StorageIndex, StorageReport,
};
use hathi_formats::ids::{BlockId, GenerationStamp, InodeId};
use hathi_formats::proto::hdfs::StorageTypeProto;

pub(crate) use hathi_blockmanager::Now;

pub(crate) struct NameNode {
    pub(crate) up: bool,
    pub(crate) manager: BlockManager,
    /// Edits applied.
    applied: usize,
    /// What it was told since it started.
    pub(crate) told: Told,
}

impl NameNode {
    /// A standby that has loaded the log.
    pub(crate) fn new(log: &[(i64, u16)], seed: u64, mutant: Option<BlockMutant>, now: Now) -> NameNode {
        let config = BlockManagerConfig {
            heartbeat_recheck_ms: 5_000,
            pending_timeout_ms: 20_000,
            excess_timeout_ms: 60_000,
            safemode_extension_ms: 0,
            consider_load: false,
            seed,
            ..BlockManagerConfig::default()
        };
        let mut manager = BlockManager::new(config);
        manager.plant(match mutant {
            Some(BlockMutant::OrderEndsMark) => Some(hathi_blockmanager::Mutant::OrderEndsMark),
            Some(BlockMutant::DeathEndsMark) => Some(hathi_blockmanager::Mutant::DeathEndsMark),
            Some(BlockMutant::OrdersLeaveUnjudged) => Some(hathi_blockmanager::Mutant::OrdersLeaveUnjudged),
            Some(BlockMutant::LifelineVouches) => Some(hathi_blockmanager::Mutant::LifelineVouches),
            Some(BlockMutant::TrustStaleStorages) => Some(hathi_blockmanager::Mutant::TrustStaleStorages),
            _ => None,
        });
        manager.set_generation_stamp(GenerationStamp(1001));
        let mut namenode = NameNode {
            up: true,
            manager,
            applied: 0,
            told: Told::new(),
        };
        namenode.apply(log);
        namenode.manager.activate_safe_mode(now);
        namenode
    }

    pub(crate) fn apply(&mut self, log: &[(i64, u16)]) {
        for &(id, replication) in log.get(self.applied..).unwrap_or_default() {
            if self.manager.block(BlockId(id)).is_some() {
                self.manager.set_replication(BlockId(id), replication);
            } else {
                self.manager.add_block(NewBlock {
                    block: block(id),
                    inode: InodeId(id as u64),
                    layout: BlockLayout::Replicas(replication),
                    state: BlockState::Complete,
                });
            }
        }
        self.applied = log.len();
    }

    pub(crate) fn monitor(&mut self, now: Now) {
        while self.manager.heartbeat_check(now, 100) {}
        while self.manager.redundancy_tick(now, 100) {}
        self.manager.check();
    }

    pub(crate) fn index_of(&self, node: usize) -> Option<Index> {
        self.manager.find_datanode(&uuid(node))
    }

    pub(crate) fn node_of(&self, storage: StorageIndex) -> Option<usize> {
        let index = self.manager.storage(storage)?.datanode;
        (0..super::DATANODES).find(|&node| self.index_of(node) == Some(index))
    }
}

pub(crate) fn stats(node: usize) -> HeartbeatStats {
    HeartbeatStats {
        reports: vec![StorageReport {
            uuid: format!("DS-{node}"),
            storage_type: StorageTypeProto::Disk,
            read_only: false,
            failed: false,
            capacity: 1 << 40,
            dfs_used: 0,
            remaining: 1 << 39,
            block_pool_used: 0,
            non_dfs_used: 0,
        }],
        ..HeartbeatStats::default()
    }
}
