//! What follows when a DataNode comes, speaks, goes, or is wanted no more (`DatanodeManager`, `HeartbeatManager`).

use super::BlockManager;
use crate::datanodes::{AdminState, HeartbeatStats, Hosts};
use crate::mutant::Mutant;
use crate::types::{BlockManagerError, DatanodeIndex, Now};
use hathi_formats::ids::BlockId;
use hathi_formats::proto::hdfs::DatanodeIdProto;

impl BlockManager {
    /// `registerDatanode`. The caller has put the address of the peer into `id`.
    pub fn register(
        &mut self,
        id: DatanodeIdProto,
        software_version: &str,
        now: Now,
    ) -> Result<DatanodeIndex, BlockManagerError> {
        self.now = now;
        self.check_allowed(&id)?;
        // Another node has this address, for example with a new volume and uuid: the old node is gone for good.
        let replaced = self.datanodes.on_host(&id.ip_addr).iter().copied().find(|&at| {
            self.datanodes
                .get(at)
                .is_some_and(|node| node.id.xfer_port == id.xfer_port && node.id.datanode_uuid != id.datanode_uuid)
        });
        if let Some(replaced) = replaced {
            self.node_died(replaced);
        }
        let racks = self.datanodes.rack_count();
        let index = self.datanodes.register(id, software_version, now);
        self.look_at_racks(racks, false);
        self.reports.end_lease(index);
        self.redundancy.orders_mut().forget_copies(index);
        self.construction.forget_orders(index);
        self.caching.forget_node(index);
        self.forget_copies(index);
        self.apply_exclusion(index);
        if self.safe_mode.is_startup() {
            self.check_safe_mode();
        }
        Ok(index)
    }

    /// `sendHeartbeat` without its commands.
    pub fn heartbeat(&mut self, datanode: DatanodeIndex, stats: HeartbeatStats, now: Now) {
        self.now = now;
        self.datanodes.heartbeat(datanode, stats, now);
        self.datanodes.heard_of(datanode);
    }

    /// A lifeline: the node lives, and these are its numbers (`DatanodeManager.handleLifeline`). It does not vouch for
    /// blocks. Its answer tells the node no role, so the node may still obey another NameNode.
    pub fn lifeline(&mut self, datanode: DatanodeIndex, stats: HeartbeatStats, now: Now) {
        self.now = now;
        self.datanodes.heartbeat(datanode, stats, now);
        if self.mutation.is(Mutant::LifelineVouches) {
            self.datanodes.heard_of(datanode);
        }
    }

    /// The answer to the node's heartbeat claims the active role.
    pub fn told_active(&mut self, datanode: DatanodeIndex) {
        self.datanodes.note_told_active(datanode);
    }

    /// Whether the node must register again, and report everything, before anything else is accepted from it:
    /// - it was told of an earlier term in which this NameNode was active. It can't know that this is another term, in
    ///   which the orders of the earlier one do not count. A registration ends the claim
    ///   (`hathi_blockpool::OfferService`);
    /// - some of its notices found no room here.
    #[must_use]
    pub fn wants_registration(&self, datanode: DatanodeIndex) -> bool {
        let room = self.active || self.reports.has_room_again();
        self.datanodes
            .get(datanode)
            .is_some_and(|node| node.counts_anew() || (node.is_unheard() && room))
    }

    /// Grants a lease for a full block report. Returns 0 when none is free.
    pub fn request_report_lease(&mut self, datanode: DatanodeIndex, now: Now) -> u64 {
        self.reports.request_lease(datanode, now.monotonic_ms)
    }

    /// Makes a node dead at once (`errorReport` with a fatal disk error, `heartbeatCheck`).
    pub fn node_died(&mut self, datanode: DatanodeIndex) {
        self.datanodes.bury(datanode);
        self.reports.end_lease(datanode);
        self.redundancy.orders_mut().forget_node(datanode);
        self.construction.forget_orders(datanode);
        let datanodes = &self.datanodes;
        self.caching.forget_node(datanode);
        self.reports.forget_node(|storage| datanodes.is_on(storage, datanode));
        self.forget_copies(datanode);
    }

    /// The node died, or is now another process than the one that copies were ordered from. Copies from it and to it
    /// may never arrive. So their blocks are looked at again at once, and not minutes later when the orders time out,
    /// as in Hadoop. A copy that still arrives is one too many and is deleted.
    fn forget_copies(&mut self, node: DatanodeIndex) {
        let datanodes = &self.datanodes;
        let pending = self.redundancy.pending_mut();
        let lacking = pending.forget(|replica| replica.source == Some(node) || datanodes.is_on(replica.target, node));
        for id in lacking {
            self.check_redundancy(id, None, None);
        }
    }

    /// Sets the rack of a host (address or name), for its nodes of now and later.
    pub fn set_rack(&mut self, host: &str, rack: &str) {
        let racks = self.datanodes.rack_count();
        let moved = self.datanodes.set_rack(host, rack);
        self.look_at_racks(racks, moved);
    }

    /// Looks at all blocks again when nodes were moved, or a second rack came: blocks that were well placed on the only
    /// rack are not any more (`checkIfClusterIsNowMultiRack`, `processMisReplicatedBlocks`). The scan may be lost with
    /// the role, because the next active begins one anyway.
    fn look_at_racks(&mut self, racks_before: usize, moved: bool) {
        let now = self.datanodes.rack_count();
        if now > 1 && (moved || racks_before < 2) {
            self.redundancy.scan_again();
        }
    }

    /// Sets the wish of the administrator for a node. The scan of [`BlockManager::redundancy_tick`] looks at its blocks
    /// again.
    pub fn set_admin_state(&mut self, datanode: DatanodeIndex, state: AdminState) {
        if !self.datanodes.set_admin_state(datanode, state) {
            return;
        }
        let storages = self.datanodes.get(datanode).map(|node| node.storages.clone());
        for storage in storages.unwrap_or_default() {
            let mut next = self.blocks.next_on(storage, BlockId(i64::MIN));
            while let Some(id) = next {
                self.update_safe(id);
                let from = id.0.checked_add(1).map(BlockId);
                next = from.and_then(|from| self.blocks.next_on(storage, from));
            }
        }
        if !self.redundancy.is_scanning() {
            self.redundancy.scan_again();
        }
    }

    /// Sets the bandwidth of the balancer in bytes per second. Every node is told with its next heartbeat.
    pub fn set_balancer_bandwidth(&mut self, bytes_per_second: u64) {
        self.datanodes.set_bandwidth(bytes_per_second);
    }

    // --- who may be here ---

    /// The lists were read. Nodes that are not included any more are cut off, excluded ones are decommissioned, and
    /// nodes that are no longer excluded come back (`DatanodeManager.refreshDatanodes`).
    pub fn set_hosts(&mut self, include: impl IntoIterator<Item = String>, exclude: impl IntoIterator<Item = String>) {
        self.datanodes.set_hosts(Hosts::new(include, exclude));
        let nodes: Vec<DatanodeIndex> = self.datanodes.nodes().map(|(index, _)| index).collect();
        for index in nodes {
            let Some(node) = self.datanodes.get(index) else {
                continue;
            };
            if self.datanodes.is_included(&node.id) {
                self.apply_exclusion(index);
            } else if node.alive {
                self.node_died(index);
            }
        }
    }

    /// Whether the node may talk to this NameNode. A node that is dead for another reason may, and is told to register.
    pub fn check_allowed(&self, id: &DatanodeIdProto) -> Result<(), BlockManagerError> {
        if self.datanodes.is_included(id) {
            return Ok(());
        }
        Err(BlockManagerError::Disallowed(id.xfer_address()))
    }

    fn apply_exclusion(&mut self, index: DatanodeIndex) {
        let Some(node) = self.datanodes.get(index) else {
            return;
        };
        let excluded = self.datanodes.is_excluded(&node.id);
        if excluded && !node.is_decommissioned() {
            // A dead node has nothing to copy from, so it is decommissioned at once.
            let state = if node.alive {
                AdminState::DecommissionInProgress
            } else {
                AdminState::Decommissioned
            };
            self.set_admin_state(index, state);
        } else if !excluded && node.is_decommissioned() {
            self.set_admin_state(index, AdminState::Normal);
        }
    }

    // --- time ---

    /// Nodes without heartbeats die. Their replicas are forgotten in slices of at most `max_blocks`
    /// (`HeartbeatManager.heartbeatCheck`). Returns whether there is more to do at once.
    pub fn heartbeat_check(&mut self, now: Now, max_blocks: usize) -> bool {
        self.now = now;
        // During its start a NameNode that was away can't tell which others were away.
        if !self.safe_mode.is_startup() {
            for index in self.datanodes.silent(self.config.heartbeat_expire_ms(), now) {
                self.node_died(index);
            }
        }
        self.check_safe_mode();
        self.expire_recoveries(now);
        self.forget_replicas(max_blocks)
    }

    /// Forgets replicas on storages of dead nodes and on broken volumes.
    fn forget_replicas(&mut self, max_blocks: usize) -> bool {
        let mut left = max_blocks;
        while let Some(storage) = self.datanodes.leaving() {
            let Some(id) = self.blocks.next_on(storage, BlockId(i64::MIN)) else {
                self.datanodes.has_left();
                continue;
            };
            if left == 0 {
                return true;
            }
            left -= 1;
            self.remove_replica(id, storage);
        }
        false
    }
}
