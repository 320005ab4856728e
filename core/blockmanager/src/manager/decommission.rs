//! When a node that is to leave may go (`DatanodeAdminDefaultMonitor`).

use super::BlockManager;
use crate::block_map::Record;
use crate::construction::ExpectedReplica;
use crate::datanodes::AdminState;
use crate::mutant::Mutant;
use crate::types::{DatanodeIndex, ReplicaState, StorageIndex};

impl BlockManager {
    /// Lets nodes go whose blocks all have enough replicas elsewhere (`DatanodeAdminDefaultMonitor`).
    pub(super) fn finish_decommissions(&mut self) {
        if self.redundancy.is_scanning() {
            return;
        }
        let leaving: Vec<DatanodeIndex> = self
            .datanodes
            .nodes()
            .filter(|(_, node)| {
                matches!(
                    node.admin_state,
                    AdminState::DecommissionInProgress | AdminState::EnteringMaintenance
                )
            })
            .map(|(index, _)| index)
            .collect();
        for index in leaving {
            let Some(node) = self.datanodes.get(index) else {
                continue;
            };
            let (storages, state) = (node.storages.clone(), node.admin_state);
            let waits = storages.iter().any(|&storage| {
                // Blocks without enough replicas are queued or under way. Both lists are usually smaller than the node.
                let (low, pending) = (self.redundancy.low(), self.redundancy.pending());
                let mut short = low.ids().chain(pending.ids());
                // A queue names a block group by its first block.
                short.any(|id| self.blocks.members(id).any(|id| self.blocks.is_on(id, storage)))
            });
            // A node that has not told this active everything may have such a block, or more of it than is known.
            let told_all = !storages.is_empty() && !self.has_stale_storages(index);
            let unsure = !told_all && self.datanodes.get(index).is_some_and(|node| node.alive);
            let needed = (unsure || self.open_blocks_need(index)) && !self.mutation.is(Mutant::OpenBlocksMayGo);
            if !waits && !needed {
                let done = if state == AdminState::DecommissionInProgress {
                    AdminState::Decommissioned
                } else {
                    AdminState::InMaintenance
                };
                self.datanodes.set_admin_state(index, done);
            }
        }
    }

    /// Whether an open file is being written to this node, and to fewer nodes that stay than the minimum. Blocks that
    /// are not complete are in no queue (HDFS-17658). A replica does not count as another one if it waits for recovery,
    /// was left behind by the pipeline, or was lost by its node, because it may lack bytes.
    fn open_blocks_need(&self, leaving: DatanodeIndex) -> bool {
        let stays = |storage: StorageIndex| {
            self.datanodes.is_writable(storage)
                && self
                    .datanodes
                    .of(storage)
                    .is_some_and(|node| node.admin_state == AdminState::Normal)
        };
        // An internal block has no other replica.
        let min_storages = |record: &Record| match record.is_striped() {
            true => 1,
            false => self.blocks.min_storages(record, self.config.min_replication),
        };
        // Whether there is one does not depend on which is found first.
        self.construction.all().any(|(id, construction)| {
            let Some(record) = self.blocks.get(id) else {
                return false;
            };
            let left_behind = |storage: StorageIndex| {
                let node = self.datanodes.node_of(storage);
                node.is_some_and(|node| self.corrupt.is_marked(id, node))
            };
            let has_all = |replica: &ExpectedReplica| {
                replica.state != ReplicaState::Rwr
                    && replica.generation_stamp >= record.generation_stamp()
                    && !replica.is_gone(&self.datanodes)
                    && !left_behind(replica.storage)
            };
            let replicas = &construction.replicas;
            let stay = replicas
                .iter()
                .filter(|replica| has_all(replica) && stays(replica.storage));
            replicas
                .iter()
                .any(|replica| self.datanodes.is_on(replica.storage, leaving))
                && stay.count() < min_storages(record) as usize
        })
    }
}
