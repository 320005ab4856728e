//! What edits did, while they are made, replayed, or come with an image.

use super::BlockManager;
use crate::block_map::{Flag, Record};
use crate::construction::Held;
use crate::types::{BlockLayout, BlockState, NewBlock, OpeningCall, ReplicaState, StorageIndex};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};
use smallvec::SmallVec;

impl BlockManager {
    /// The namespace has a new block.
    pub fn add_block(&mut self, new: NewBlock) {
        let id = new.block.id;
        if !self.blocks.insert(new) {
            // An op was replayed over an image that has its block already. The op is newer.
            self.blocks.set_inode(id, new.inode);
            if let BlockLayout::Replicas(replication) = new.layout {
                self.blocks.set_replication(id, replication);
            }
            self.update_block(new.block);
            return;
        }
        self.reports.learn_block(id);
        for id in self.blocks.members(id) {
            if !self.corrupt.is_empty() {
                self.corrupt.adopt(&mut self.blocks, Block { id, ..new.block });
            }
            self.process_messages(id);
        }
    }

    /// Length or stamp of a block under construction changed (`UPDATE_BLOCKS`, `fsync`).
    pub fn update_block(&mut self, block: Block) {
        let Some(record) = self.blocks.get(block.id) else {
            return;
        };
        let new_stamp = record.generation_stamp() != block.generation_stamp;
        self.blocks.set_block(block);
        if new_stamp {
            self.drop_stale_replicas(block);
        }
        self.process_messages_of(block.id);
    }

    /// The client told the final length. The block is complete at once when enough replicas are known, or when a
    /// recovery ended. Returns whether it is complete (`commitOrCompleteLastBlock`).
    pub fn commit_block(&mut self, block: Block) -> bool {
        let Some(before) = self.blocks.get(block.id).map(Record::state) else {
            return false;
        };
        self.blocks.set_block(block);
        if before == BlockState::Complete {
            return true;
        }
        let recovered = before == BlockState::UnderRecovery;
        self.blocks.set_state(block.id, BlockState::Committed);
        self.drop_stale_replicas(block);
        if recovered || self.has_min_replicas(block.id) {
            self.set_complete(block.id);
        }
        self.process_messages_of(block.id);
        self.is_complete(block.id)
    }

    /// Makes a block complete, whatever is known of its replicas (`CLOSE`, a penultimate block on replay).
    pub fn complete_block(&mut self, block: Block) {
        if self.blocks.get(block.id).is_none() {
            return;
        }
        self.blocks.set_block(block);
        self.drop_stale_replicas(block);
        self.set_complete(block.id);
        self.process_messages_of(block.id);
    }

    /// A complete block is written again (append, truncate). Its replicas become the expected ones. A block group never
    /// is.
    pub fn reopen_block(&mut self, block: Block) {
        debug_assert!(!block.id.is_striped(), "nobody goes on with a block group");
        let Some(old_stamp) = self.blocks.get(block.id).map(Record::generation_stamp) else {
            return;
        };
        self.blocks.set_block(block);
        self.blocks.set_state(block.id, BlockState::UnderConstruction);
        let replicas = self.blocks.replicas_of(block.id);
        let held = Held {
            state: ReplicaState::Finalized,
            generation_stamp: old_stamp,
            num_bytes: block.num_bytes,
        };
        self.construction.begin(block.id);
        for &storage in &replicas {
            self.construction.note(block.id, storage, held, self.now, |_| false);
        }
        self.redundancy.pending_mut().remove(block.id);
        self.redundancy.set_level(&mut self.blocks, block.id, None, 0);
        for storage in replicas {
            if let Some(node) = self.datanodes.node_of(storage) {
                self.redundancy.orders_mut().cancel_deletion(node, block.id);
            }
        }
        self.process_messages(block.id);
    }

    /// The block, or the block group, belongs to no file any more, so its replicas must be deleted.
    pub fn remove_block(&mut self, id: BlockId) {
        for id in self.blocks.members(id) {
            self.remove_member(id);
        }
        self.check_safe_mode();
    }

    fn remove_member(&mut self, id: BlockId) {
        let Some((record, replicas)) = self.blocks.remove(id) else {
            return;
        };
        self.caching.forget_block(id);
        let block = record.block(id);
        for storage in replicas {
            if let Some(node) = self.datanodes.node_of(storage) {
                self.order_deletion(node, block);
            }
        }
        self.unschedule(id);
        self.construction.remove(id);
        self.redundancy.remove(id, &record);
        if record.flag(Flag::Corrupt) {
            self.corrupt.remove(id);
        }
        self.reports.take(id);
    }

    /// Works off what was set aside for a block, or for the blocks of a group.
    fn process_messages_of(&mut self, id: BlockId) {
        for id in self.blocks.members(id) {
            self.process_messages(id);
        }
    }

    /// `setReplication`.
    pub fn set_replication(&mut self, id: BlockId, replication: u16) {
        self.blocks.set_replication(id, replication);
        self.check_redundancy(id, None, None);
    }

    /// `concat` has moved the block to another file.
    pub fn set_inode(&mut self, id: BlockId, inode: InodeId) {
        self.blocks.set_inode(id, inode);
    }

    /// Sets the highest generation stamp that the namespace has handed out. Reports with a higher one are from the
    /// future.
    pub fn set_generation_stamp(&mut self, stamp: GenerationStamp) {
        self.reports.learn_stamp(stamp);
    }

    fn set_complete(&mut self, id: BlockId) {
        if self.blocks.get(id).is_none_or(Record::is_complete) {
            return;
        }
        self.blocks.set_state(id, BlockState::Complete);
        debug_assert!(
            self.blocks.get(id).is_none_or(|record| !record.flag(Flag::Needed)),
            "only complete blocks are queued"
        );
        self.update_safe(id);
        for id in self.blocks.members(id) {
            self.end_construction(id);
        }
        if self.redundancy.is_kept() {
            self.check_redundancy(id, None, None);
        }
    }

    /// The block is complete. The rest of its pipeline is about to report, so no copies are needed in its place.
    fn end_construction(&mut self, id: BlockId) {
        let Some(construction) = self.construction.remove(id).filter(|_| self.redundancy.is_kept()) else {
            return;
        };
        let known = self.blocks.replicas_of(id);
        let coming: SmallVec<[StorageIndex; 3]> = construction
            .storages()
            .filter(|storage| !known.contains(storage) && self.datanodes.is_writable(*storage))
            .collect();
        let wanted = self
            .blocks
            .get(id)
            .map_or(0, |record| self.blocks.wanted_storages(id, record));
        if !coming.is_empty() && wanted > 0 {
            self.redundancy.expect(id, &coming, None, self.now.monotonic_ms);
        }
    }

    /// Forgets replicas whose reported stamp differs from that of their block, which is not complete
    /// (`setGenerationStampAndVerifyReplicas`).
    fn drop_stale_replicas(&mut self, block: Block) {
        for id in self.blocks.members(block.id) {
            for storage in self.construction.forget_other_stamps(Block { id, ..block }) {
                self.remove_replica(id, storage);
            }
        }
    }

    // --- writing ---

    /// Sets the pipeline that writes a block under construction (`addBlock`, `updatePipeline`). Of a block group the n-th
    /// storage is that of the n-th internal block; see [`BlockManager::set_expected_group`].
    pub fn set_expected_locations(&mut self, id: BlockId, on: &[StorageIndex]) {
        if id.is_striped() {
            let on: Vec<Option<StorageIndex>> = on.iter().copied().map(Some).collect();
            self.set_expected_group(id, &on);
            return;
        }
        let Some(record) = self.blocks.get(id) else {
            return;
        };
        if record.is_complete() {
            return;
        }
        let generation_stamp = record.generation_stamp();
        self.unschedule(id);
        self.construction.set_pipeline(id, on, generation_stamp, self.now);
        for &storage in on {
            self.datanodes.schedule_block(storage);
        }
    }

    /// A client got the block under construction with this call.
    pub fn set_opened_by(&mut self, id: BlockId, call: OpeningCall) {
        self.construction.set_opened_by(id, call);
    }

    /// Whether the client sent this call before it got the block under construction, as far as is known. Then the call says
    /// nothing about the block.
    #[must_use]
    pub fn is_older_than_block(&self, id: BlockId, call: OpeningCall) -> bool {
        self.construction.is_older_than_block(id, call)
    }

    /// Stops waiting for the replicas of a block under construction that were not received. Their room is free for
    /// other blocks (`DatanodeStorageInfo.decrementBlocksScheduled`).
    pub(super) fn unschedule(&mut self, id: BlockId) {
        let Some(construction) = self.construction.get(id) else {
            return;
        };
        let written = construction.replicas.iter();
        for replica in written.filter(|replica| replica.state != ReplicaState::Finalized) {
            self.datanodes.unschedule_block(replica.storage);
        }
    }

    /// The storages on which replicas of a block under construction are expected; of the first internal block, if it is a
    /// block group.
    #[must_use]
    pub fn expected_locations(&self, id: BlockId) -> Vec<StorageIndex> {
        self.construction
            .get(id)
            .map_or_else(Vec::new, |construction| construction.storages().collect())
    }
}
