//! Blocks that are being written or recovered (`BlockUnderConstructionFeature`, `PendingRecoveryBlocks`).
//!
//! All of it is soft state: a restart, a reload or a change of role may take it at any moment. Promises to clients are
//! in the namespace (the length of a truncate, logged lengths and stamps). Each field says what happens when it is
//! lost. The rule is that a NameNode which knows nothing waits for reports, or lets the DataNodes agree once more.
//!
//! Invariants ([`Construction::check`]): a block has an attempt to recover it if and only if the attempt has a beginning,
//! or it would never expire; no DataNode is listed without a block to recover.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::datanodes::Datanodes;
use crate::types::{BlockManagerConfig, DatanodeIndex, Now, OpeningCall, ReplicaState, StorageIndex};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// A replica of a block under construction, expected or reported (`ReplicaUnderConstruction`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpectedReplica {
    /// When it is lost, it is unknown who has the block, and [`crate::HolderKnowledge::Awaited`] makes everybody wait for the
    /// reports.
    pub(crate) storage: StorageIndex,
    /// State as it was reported, or as the pipeline was set up. When it is lost, it comes again with the replica.
    pub(crate) state: ReplicaState,
    /// Stamp. When it is lost, it comes again with the replica.
    pub(crate) generation_stamp: GenerationStamp,
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
    pub(crate) fn is_whole(
        &self,
        stamp: GenerationStamp,
        datanodes: &Datanodes,
        config: &BlockManagerConfig,
        now: Now,
    ) -> bool {
        self.generation_stamp >= stamp
            && !self.is_gone(datanodes)
            && matches!(self.state, ReplicaState::Finalized | ReplicaState::Rbw)
            && datanodes
                .storage(self.storage)
                .is_some_and(|one| one.report_count() > 0)
            && datanodes
                .of(self.storage)
                .is_some_and(|node| node.alive && !node.is_stale(config, now))
    }

    /// Whether the replica is gone: the node has registered again, and its report does not name the replica, for
    /// example after a loss of power. It stays in the list and is asked like the others, because the node may be about
    /// to create it.
    pub(crate) fn is_gone(&self, datanodes: &Datanodes) -> bool {
        datanodes
            .storage(self.storage)
            .is_some_and(|one| one.report_count() > 0)
            && datanodes
                .of(self.storage)
                .is_some_and(|node| node.registered_ms() > self.since_ms)
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

/// A block that is not complete. Only this module changes one.
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
    short_since_ms: Option<u64>,
    /// Since when all DataNodes that may be asked have a replica known to be bad, monotonic ms. When it is lost, a
    /// truncate waits longer for a good one.
    bad_since_ms: Option<u64>,
    /// The call with which its client got the block. When it is lost, the length in an `fsync` that comes late is believed,
    /// as by Hadoop.
    opened_by: Option<OpeningCall>,
}

impl UnderConstruction {
    /// The storages on which replicas are expected.
    pub(crate) fn storages(&self) -> impl Iterator<Item = StorageIndex> {
        self.replicas.iter().map(|replica| replica.storage)
    }

    /// Notes a replica. `same_node` tells whether a storage is on the reporting node, because a DataNode may have chosen
    /// another volume than the one it was asked for.
    fn note(&mut self, new: ExpectedReplica, same_node: impl Fn(StorageIndex) -> bool) {
        let mut known = self.replicas.iter_mut();
        match known.find(|known| known.storage == new.storage || same_node(known.storage)) {
            Some(known) if known.storage == new.storage => {
                *known = ExpectedReplica {
                    was_primary: known.was_primary,
                    ..new
                };
            }
            Some(known) => *known = new,
            None => self.replicas.push(new),
        }
    }

    fn forget_attempt(&mut self) {
        self.recovery = None;
    }
}

/// What a DataNode has of a block, or is to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) state: ReplicaState,
    pub(crate) generation_stamp: GenerationStamp,
    /// Length in bytes.
    pub(crate) num_bytes: u64,
}

impl Held {
    fn on(self, storage: StorageIndex, now: Now) -> ExpectedReplica {
        ExpectedReplica {
            storage,
            state: self.state,
            generation_stamp: self.generation_stamp,
            num_bytes: self.num_bytes,
            since_ms: now.monotonic_ms,
            was_primary: false,
        }
    }
}

/// The blocks that are not complete.
#[derive(Debug, Default)]
pub(crate) struct Construction {
    open: HashMap<BlockId, UnderConstruction, FixedState>,
    /// When the last attempt to recover each block began. Lost together with the attempt.
    attempts: BTreeMap<BlockId, u64>,
    /// The blocks that each DataNode is to recover with its next heartbeat.
    orders: BTreeMap<DatanodeIndex, BTreeSet<BlockId>>,
}

impl Construction {
    pub(crate) fn get(&self, id: BlockId) -> Option<&UnderConstruction> {
        self.open.get(&id)
    }

    /// All blocks, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (BlockId, &UnderConstruction)> {
        // order: who asks looks at each block by itself.
        self.open.iter().map(|(&id, block)| (id, block))
    }

    // --- writing ---

    /// The block is complete, or in no file any more. Returns what was expected of it.
    pub(crate) fn remove(&mut self, id: BlockId) -> Option<UnderConstruction> {
        self.attempts.remove(&id);
        self.open.remove(&id)
    }

    /// The block is written again.
    pub(crate) fn begin(&mut self, id: BlockId) {
        self.open.entry(id).or_default();
    }

    /// A client got the block with this call.
    pub(crate) fn set_opened_by(&mut self, id: BlockId, call: OpeningCall) {
        if let Some(block) = self.open.get_mut(&id) {
            block.opened_by = Some(call);
        }
    }

    /// Whether the client sent this call before it got the block.
    pub(crate) fn is_older_than_block(&self, id: BlockId, call: OpeningCall) -> bool {
        let opened_by = self.open.get(&id).and_then(|block| block.opened_by);
        opened_by.is_some_and(|opened_by| call.is_before(opened_by))
    }

    /// The pipeline that writes the block from now on.
    pub(crate) fn set_pipeline(&mut self, id: BlockId, on: &[StorageIndex], stamp: GenerationStamp, now: Now) {
        let held = Held {
            state: ReplicaState::Rbw,
            generation_stamp: stamp,
            num_bytes: 0,
        };
        let replicas = on.iter().map(|&storage| held.on(storage, now)).collect();
        self.open.entry(id).or_default().replicas = replicas;
    }

    /// A replica is known. `same_node` tells whether a storage is on its node.
    pub(crate) fn note(
        &mut self,
        id: BlockId,
        storage: StorageIndex,
        held: Held,
        now: Now,
        same_node: impl Fn(StorageIndex) -> bool,
    ) {
        let block = self.open.entry(id).or_default();
        block.note(held.on(storage, now), same_node);
    }

    /// The block has finalized replicas on these storages, as far as nothing else is known of them.
    pub(crate) fn adopt(&mut self, id: BlockId, on: &[StorageIndex], stamp: GenerationStamp, num_bytes: u64, now: Now) {
        let held = Held {
            state: ReplicaState::Finalized,
            generation_stamp: stamp,
            num_bytes,
        };
        let block = self.open.entry(id).or_default();
        for &storage in on {
            if block.storages().all(|known| known != storage) {
                block.replicas.push(held.on(storage, now));
            }
        }
    }

    /// The replica of this stamp is deleted.
    pub(crate) fn forget_replica(&mut self, storage: StorageIndex, block: Block) {
        if let Some(known) = self.open.get_mut(&block.id) {
            known
                .replicas
                .retain(|replica| replica.storage != storage || replica.generation_stamp != block.generation_stamp);
        }
    }

    /// Forgets replicas whose stamp differs from that of the block. Returns their storages
    /// (`setGenerationStampAndVerifyReplicas`).
    pub(crate) fn forget_other_stamps(&mut self, block: Block) -> SmallVec<[StorageIndex; 3]> {
        let mut stale = SmallVec::new();
        if let Some(known) = self.open.get_mut(&block.id) {
            known.replicas.retain(|replica| {
                let fits = replica.generation_stamp == block.generation_stamp;
                if !fits {
                    stale.push(replica.storage);
                }
                fits
            });
        }
        stale
    }

    // --- recovery ---

    /// Begins an attempt to recover a block. Its primary DataNode is the one heard of last among those that live and had
    /// no turn yet; when all had one, they begin anew. Returns false when no DataNode can be asked. This is no attempt, so
    /// the next one need not wait for its end.
    pub(crate) fn begin_recovery(&mut self, id: BlockId, recovery: Recovery, datanodes: &Datanodes, now: Now) -> bool {
        let block = self.open.entry(id).or_default();
        let alive = |storage: StorageIndex| datanodes.of(storage).is_some_and(|node| node.alive);
        let mut asked = block.replicas.iter().filter(|replica| alive(replica.storage));
        if asked.all(|replica| replica.was_primary) {
            for replica in &mut block.replicas {
                replica.was_primary = false;
            }
        }
        let primary = block
            .replicas
            .iter_mut()
            .filter(|replica| alive(replica.storage) && !replica.was_primary)
            .max_by_key(|replica| datanodes.of(replica.storage).map(|node| node.last_update.monotonic_ms));
        let Some(primary) = primary else { return false };
        primary.was_primary = true;
        let Some(node) = datanodes.node_of(primary.storage) else {
            return false;
        };
        self.orders.entry(node).or_default().insert(id);
        block.recovery = Some(recovery);
        self.attempts.insert(id, now.monotonic_ms);
        true
    }

    /// Begins an attempt to recover a block group. Its primary DataNode is one that has an internal block of it and can
    /// recover groups, else as in [`Construction::begin_recovery`].
    pub(crate) fn begin_group_recovery(
        &mut self,
        group: BlockId,
        members: &[BlockId],
        recovery: Recovery,
        datanodes: &Datanodes,
        now: Now,
    ) -> bool {
        let may_lead = |replica: &ExpectedReplica| {
            let node = datanodes.of(replica.storage);
            node.is_some_and(|node| node.alive && node.codes)
        };
        let replicas = |open: &HashMap<BlockId, UnderConstruction, FixedState>| -> Vec<ExpectedReplica> {
            let blocks = members.iter().filter_map(|id| open.get(id));
            blocks.flat_map(|block| block.replicas.iter().copied()).collect()
        };
        let mut able = replicas(&self.open);
        able.retain(may_lead);
        if able.iter().all(|replica| replica.was_primary) {
            for id in members {
                let replicas = self.open.get_mut(id).into_iter().flat_map(|block| &mut block.replicas);
                replicas.for_each(|replica| replica.was_primary = false);
            }
            able.iter_mut().for_each(|replica| replica.was_primary = false);
        }
        let turn = able.iter().filter(|replica| !replica.was_primary);
        let primary =
            turn.max_by_key(|replica| datanodes.of(replica.storage).map(|node| node.last_update.monotonic_ms));
        let Some(storage) = primary.map(|replica| replica.storage) else {
            return false;
        };
        let Some(node) = datanodes.node_of(storage) else {
            return false;
        };
        for id in members {
            let replicas = self.open.get_mut(id).into_iter().flat_map(|block| &mut block.replicas);
            let led = replicas.filter(|replica| replica.storage == storage);
            led.for_each(|replica| replica.was_primary = true);
        }
        self.orders.entry(node).or_default().insert(group);
        self.open.entry(group).or_default().recovery = Some(recovery);
        self.attempts.insert(group, now.monotonic_ms);
        true
    }

    /// Takes out the blocks that a DataNode is to recover.
    pub(crate) fn take_orders(&mut self, node: DatanodeIndex) -> BTreeSet<BlockId> {
        self.orders.remove(&node).unwrap_or_default()
    }

    /// The node is dead or another process now: it does not recover anything.
    pub(crate) fn forget_orders(&mut self, node: DatanodeIndex) {
        self.orders.remove(&node);
    }

    /// The command of the attempt leaves: whether it leaves out nodes that may answer later, and whether all that it
    /// asks are known to be bad. Returns for how many ms this has been so, if it is.
    pub(crate) fn note_command(&mut self, id: BlockId, left_out: bool, is_bad: bool, now: Now) -> Option<u64> {
        let block = self.open.get_mut(&id)?;
        if let Some(recovery) = &mut block.recovery {
            recovery.left_out = left_out;
        }
        block.ask_silent |= is_bad;
        let since_ms = block.bad_since_ms.unwrap_or(now.monotonic_ms);
        block.bad_since_ms = is_bad.then_some(since_ms);
        is_bad.then(|| now.monotonic_ms.saturating_sub(since_ms))
    }

    /// The result of the attempt is of no use, as it left out nodes. The next attempt asks every node.
    pub(crate) fn give_attempt_up(&mut self, id: BlockId) {
        self.attempts.remove(&id);
        if let Some(block) = self.open.get_mut(&id) {
            block.ask_silent = true;
            block.forget_attempt();
        }
    }

    /// A result is shorter than what is known to be there. Returns for how many ms such results have come.
    pub(crate) fn note_short_result(&mut self, id: BlockId, now: Now) -> u64 {
        let Some(block) = self.open.get_mut(&id) else {
            return 0;
        };
        block.ask_silent = true;
        let since_ms = *block.short_since_ms.get_or_insert(now.monotonic_ms);
        now.monotonic_ms.saturating_sub(since_ms)
    }

    /// Forgets attempts that began before this time, monotonic ms, because their results come no more.
    pub(crate) fn expire_attempts(&mut self, before_ms: u64) {
        let open = &mut self.open;
        self.attempts.retain(|id, since_ms| {
            let stays = *since_ms >= before_ms;
            if !stays && let Some(block) = open.get_mut(id) {
                block.forget_attempt();
            }
            stays
        });
    }

    /// DataNodes agreed on the block, and these storages have it so.
    pub(crate) fn set_recovered(&mut self, block: Block, on: &[StorageIndex], now: Now) {
        self.open.entry(block.id).or_default().replicas.clear();
        self.adopt(block.id, on, block.generation_stamp, block.num_bytes, now);
    }

    /// After a change of role nothing is being recovered.
    pub(crate) fn forget_attempts(&mut self) {
        // order: each block forgets the same.
        for block in self.open.values_mut() {
            block.forget_attempt();
            block.ask_silent = false;
            block.short_since_ms = None;
            block.bad_since_ms = None;
        }
        self.attempts.clear();
        self.orders.clear();
    }

    /// Whether nothing is being recovered.
    pub(crate) fn has_no_attempts(&self) -> bool {
        self.attempts.is_empty() && self.orders.is_empty()
    }

    /// Panics when an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        // order: each block is looked at by itself.
        for (id, block) in &self.open {
            assert_eq!(
                block.recovery.is_some(),
                self.attempts.contains_key(id),
                "block {id}: an attempt to recover it has a beginning, or it never expires"
            );
        }
        for id in self.attempts.keys() {
            assert!(self.open.contains_key(id), "block {id} is recovered, and not written");
        }
        for (node, ids) in &self.orders {
            assert!(!ids.is_empty(), "{node:?} is listed without a block to recover");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: BlockId = BlockId(1 << 31);
    const OTHER: BlockId = BlockId(1 << 32);

    fn at(ms: u64) -> Now {
        Now {
            monotonic_ms: ms,
            wall_ms: ms,
        }
    }

    fn stamp(stamp: u64) -> GenerationStamp {
        GenerationStamp(stamp)
    }

    fn storages(construction: &Construction) -> Vec<StorageIndex> {
        construction.check();
        construction
            .get(ID)
            .map_or(Vec::new(), |block| block.storages().collect())
    }

    #[test]
    fn a_datanode_that_chose_another_volume_has_one_replica() {
        let mut construction = Construction::default();
        let volumes = [StorageIndex(0), StorageIndex(1), StorageIndex(2)];
        construction.set_pipeline(ID, &volumes[..1], stamp(1001), at(0));
        let held = Held {
            state: ReplicaState::Rbw,
            generation_stamp: stamp(1001),
            num_bytes: 5,
        };
        // Both volumes are the node's.
        construction.note(ID, volumes[1], held, at(1), |storage| storage == volumes[0]);
        assert_eq!(storages(&construction), [volumes[1]]);
        construction.note(ID, volumes[2], held, at(2), |_| false);
        assert_eq!(storages(&construction), volumes[1..]);
        construction.adopt(ID, &volumes, stamp(1002), 7, at(3));
        let lengths: Vec<_> = construction
            .get(ID)
            .unwrap()
            .replicas
            .iter()
            .map(|one| one.num_bytes)
            .collect();
        assert_eq!(lengths, [5, 5, 7], "what is known already stays");
    }

    #[test]
    fn replicas_of_other_stamps_are_forgotten() {
        let mut construction = Construction::default();
        let [old, new] = [StorageIndex(0), StorageIndex(1)];
        construction.adopt(ID, &[old], stamp(1001), 7, at(0));
        construction.adopt(ID, &[new], stamp(1002), 7, at(0));
        let block = Block {
            id: ID,
            num_bytes: 7,
            generation_stamp: stamp(1002),
        };
        construction.forget_replica(old, block);
        assert_eq!(
            storages(&construction),
            [old, new],
            "it has another stamp than what was deleted"
        );
        assert_eq!(construction.forget_other_stamps(block).as_slice(), [old]);
        assert_eq!(storages(&construction), [new]);
        construction.forget_replica(new, block);
        assert!(storages(&construction).is_empty());
    }

    #[test]
    fn attempts_end_by_time_by_result_and_with_the_role() {
        let begun = |construction: &mut Construction, id: BlockId, ms: u64| {
            let recovery = Recovery {
                id: stamp(1002),
                truncate: None,
                left_out: false,
            };
            construction.open.entry(id).or_default().recovery = Some(recovery);
            construction.attempts.insert(id, ms);
            construction.check();
        };
        let recovers = |construction: &Construction, id| {
            construction.check();
            construction.get(id).is_some_and(|block| block.recovery.is_some())
        };
        let mut construction = Construction::default();
        begun(&mut construction, ID, 10);
        begun(&mut construction, OTHER, 20);
        construction.expire_attempts(11);
        assert!(!recovers(&construction, ID) && recovers(&construction, OTHER));
        construction.give_attempt_up(OTHER);
        assert!(!recovers(&construction, OTHER) && construction.get(OTHER).unwrap().ask_silent);
        begun(&mut construction, ID, 30);
        assert_eq!(construction.note_short_result(ID, at(40)), 0);
        assert_eq!(construction.note_short_result(ID, at(45)), 5);
        construction.forget_attempts();
        assert!(!recovers(&construction, ID) && construction.has_no_attempts());
        assert_eq!(construction.note_short_result(ID, at(50)), 0, "the time counts anew");
    }

    #[test]
    fn it_is_told_how_long_all_replicas_have_been_bad() {
        let mut construction = Construction::default();
        construction.set_pipeline(ID, &[StorageIndex(0)], stamp(1001), at(0));
        assert_eq!(construction.note_command(ID, true, true, at(10)), Some(0));
        assert_eq!(construction.note_command(ID, true, true, at(15)), Some(5));
        assert_eq!(construction.note_command(ID, true, false, at(20)), None);
        assert_eq!(construction.note_command(ID, true, true, at(25)), Some(0));
        assert!(construction.get(ID).unwrap().ask_silent);
    }
}
