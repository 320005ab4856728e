//! Numbers for operators and clients (`FSNamesystem`'s statistics, `DatanodeStats`, `getDatanodeReport`).

use super::BlockManager;
use crate::datanodes::{AdminState, Datanode, Storage};
use crate::redundancy::Level;
use hathi_formats::ids::{BlockId, InodeId};
use hathi_formats::proto::hdfs::{DatanodeInfoProto, DatanodeReportTypeProto, DatanodeStorageReportProto};
use std::collections::BTreeSet;

/// The numbers of `getFsStats` and similar calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blocks the namespace knows.
    pub blocks: u64,
    /// Bytes.
    pub capacity: u64,
    /// Bytes.
    pub dfs_used: u64,
    /// Bytes.
    pub remaining: u64,
    /// Bytes.
    pub block_pool_used: u64,
    /// Bytes.
    pub non_dfs_used: u64,
    /// Blocks with fewer replicas than wanted.
    pub low_redundancy: u64,
    /// Blocks with a corrupt replica.
    pub corrupt: u64,
    /// Blocks without a good replica.
    pub missing: u64,
    /// Of them, those that should have one replica only.
    pub missing_replication_one: u64,
    /// Reported blocks with stamps from the future.
    pub in_future: u64,
    /// Deletions not ordered yet.
    pub pending_deletion: u64,
    /// Of the low redundancy, the most urgent.
    pub highest_priority: u64,
    /// Enough replicas, too few racks.
    pub badly_distributed: u64,
    /// Replications under way.
    pub pending_reconstruction: u64,
    /// Live DataNodes.
    pub live_datanodes: u64,
    /// Dead DataNodes.
    pub dead_datanodes: u64,
    /// DataNodes whose last heartbeat is old, though not dead yet.
    pub stale_datanodes: u64,
    /// Threads that read or write blocks, over all live nodes.
    pub total_load: u64,
    /// Messages a standby keeps for blocks it does not know yet.
    pub pending_datanode_messages: u64,
    /// Blocks whose surplus replicas wait for sure reports.
    pub postponed: u64,
    /// Complete blocks.
    pub complete_blocks: u64,
    /// Complete blocks with the minimum of replicas.
    pub safe_blocks: u64,
}

impl BlockManager {
    /// The statistics.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            blocks: self.blocks.len() as u64,
            low_redundancy: self.redundancy.low().low_count() as u64,
            corrupt: self.corrupt_count() as u64,
            missing: self.redundancy.low().len(Level::Corrupt) as u64,
            missing_replication_one: self.redundancy.low().missing_replication_one() as u64,
            in_future: self.safe_mode.in_future_blocks(),
            highest_priority: self.redundancy.low().len(Level::Highest) as u64,
            badly_distributed: self.redundancy.low().len(Level::BadlyDistributed) as u64,
            pending_reconstruction: self.redundancy.pending().len() as u64,
            live_datanodes: self.datanodes.live().len() as u64,
            pending_datanode_messages: self.reports.set_aside_count() as u64,
            postponed: self.redundancy.postponed().len() as u64,
            complete_blocks: self.blocks.complete(),
            safe_blocks: self.blocks.safe(),
            pending_deletion: self.redundancy.orders().deletions() as u64,
            ..Counts::default()
        };
        for (_, node) in self.datanodes.nodes() {
            if !node.alive {
                counts.dead_datanodes += 1;
                continue;
            }
            counts.total_load += u64::from(node.xceivers);
            counts.stale_datanodes += u64::from(node.is_stale(&self.config, self.now));
            for storage in node.storages.iter().filter_map(|&at| self.datanodes.storage(at)) {
                if storage.failed {
                    continue;
                }
                // The numbers come from DataNodes, which may send anything.
                let add = |sum: &mut u64, bytes: u64| *sum = sum.saturating_add(bytes);
                add(&mut counts.block_pool_used, storage.block_pool_used);
                // Of nodes that leave only the used bytes count, not the capacity (`DatanodeStats.add`).
                add(&mut counts.dfs_used, storage.dfs_used);
                if node.admin_state == AdminState::Normal {
                    add(&mut counts.capacity, storage.capacity);
                    add(&mut counts.remaining, storage.remaining);
                    add(&mut counts.non_dfs_used, storage.non_dfs_used);
                } else {
                    add(&mut counts.capacity, storage.dfs_used);
                }
            }
        }
        counts
    }

    /// Blocks that have a corrupt replica on some node.
    fn corrupt_count(&self) -> usize {
        let all = self.corrupt.from(BlockId(i64::MIN));
        let held = all.filter(|(id, marks)| marks.iter().any(|mark| self.holds(*id, mark.node)));
        let blocks: BTreeSet<BlockId> = held.map(|(id, _)| id.group()).collect();
        blocks.len()
    }

    /// At most `max` corrupt blocks with an id above `after`, and their files (`listCorruptFileBlocks`).
    #[must_use]
    pub fn corrupt_blocks(&self, after: Option<BlockId>, max: usize) -> Vec<(BlockId, InodeId)> {
        self.redundancy
            .low()
            .missing(after)
            .filter_map(|id| Some((id, self.inode_of(id)?)))
            .take(max)
            .collect()
    }

    /// `DatanodeInfoProto` of a node.
    pub(super) fn datanode_info(&self, node: &Datanode) -> DatanodeInfoProto {
        let blocks = node.storages.iter().map(|at| self.blocks.count_on(*at)).sum();
        self.datanodes.info(node, blocks)
    }

    /// Whether a replica of a block, or one that is being written, is on a node that is being decommissioned. Of a group
    /// that of any internal block.
    #[must_use]
    pub fn is_on_leaving_node(&self, id: BlockId) -> bool {
        let expected = self.expected_group(id).into_iter().chain(self.storages_of(id));
        let mut nodes = expected.filter_map(|(_, storage)| self.datanodes.node_of(storage));
        nodes.any(|node| {
            let node = self.datanodes.get(node);
            node.is_some_and(|node| node.admin_state == AdminState::DecommissionInProgress)
        })
    }

    fn reported_nodes(&self, which: DatanodeReportTypeProto) -> impl Iterator<Item = &Datanode> {
        self.datanodes
            .nodes()
            .map(|(_, node)| node)
            .filter(move |node| match which {
                DatanodeReportTypeProto::All => true,
                DatanodeReportTypeProto::Live => node.alive,
                DatanodeReportTypeProto::Dead => !node.alive,
                DatanodeReportTypeProto::Decommissioning => {
                    node.alive && node.admin_state == AdminState::DecommissionInProgress
                }
                DatanodeReportTypeProto::EnteringMaintenance => {
                    node.alive && node.admin_state == AdminState::EnteringMaintenance
                }
                DatanodeReportTypeProto::InMaintenance => node.admin_state == AdminState::InMaintenance,
            })
    }

    /// For `getDatanodeReport`.
    #[must_use]
    pub fn datanode_report(&self, which: DatanodeReportTypeProto) -> Vec<DatanodeInfoProto> {
        self.reported_nodes(which)
            .map(|node| self.datanode_info(node))
            .collect()
    }

    /// For `getDatanodeStorageReport`.
    #[must_use]
    pub fn datanode_storage_report(&self, which: DatanodeReportTypeProto) -> Vec<DatanodeStorageReportProto> {
        self.reported_nodes(which)
            .map(|node| DatanodeStorageReportProto {
                datanode_info: self.datanode_info(node),
                storage_reports: node
                    .storages
                    .iter()
                    .filter_map(|&at| self.datanodes.storage(at))
                    .map(Storage::to_wire)
                    .collect(),
            })
            .collect()
    }

    /// Approximate size of blocks and replicas on the heap in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.blocks.heap_bytes()
    }
}
