//! What clients were told, what lies on the disks, and the rules that compare the two.

use super::namenode::NameNode;
use super::talk::node_of;
use super::{DATANODES, POOL, World};
use hathi_blockmanager::AdminState;
use hathi_blockpool::{Replica, ReplicaState};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};
use std::collections::BTreeSet;

/// What is owed of one block.
#[derive(Clone, Debug, Default)]
pub(super) struct Promise {
    /// Every byte that was sent, in its place. Replicas hold a first part of it.
    pub(super) content: Vec<u8>,
    /// Bytes that every DataNode of the pipeline has acknowledged.
    acknowledged: u64,
    /// Bytes of which an hflush was answered, as far as no loss of power has taken them.
    pub(super) flushed: u64,
    /// Bytes of which an hsync was answered, or a recovery or an append that syncs.
    pub(super) synced: u64,
    /// The length that the block has for good, or that a truncate has decided.
    pub(super) exact: Option<u64>,
    /// A truncate waits for DataNodes.
    truncated: bool,
    /// As last logged.
    stamp: GenerationStamp,
    logged: u64,
    /// DataNodes whose replica has seen a loss of power since it was synced as a whole.
    cut: BTreeSet<usize>,
    /// Nothing is owed any more: the file was deleted, or its last unsynced replica went with its machine's power.
    pub(super) void: bool,
}

impl Promise {
    /// Whether the replica of a DataNode may lack bytes that were not synced.
    pub(super) fn is_cut(&self, node: usize) -> bool {
        self.cut.contains(&node)
    }
}

/// A replica that may take part in a recovery, and how many bytes of it are right.
#[derive(Clone, Debug)]
pub(super) struct Held {
    node: usize,
    state: ReplicaState,
    replica: Replica,
    right: u64,
}

impl World {
    // --- what clients do ---

    pub(super) fn added(&mut self, file: usize, id: BlockId) {
        self.promises.entry(id).or_default();
        if !self.files[file].blocks.contains(&id) {
            self.files[file].blocks.push(id);
        }
    }

    pub(super) fn abandoned(&mut self, file: usize, id: BlockId) {
        self.files[file].blocks.retain(|other| *other != id);
        self.promises.remove(&id);
    }

    /// Notes fresh bytes; answers those from `from` on.
    pub(super) fn written(&mut self, id: BlockId, sent: u64, fresh: &[u8], from: usize) -> Vec<u8> {
        let promise = self.promises.entry(id).or_default();
        promise.content.truncate(sent as usize);
        promise.content.extend_from_slice(fresh);
        promise.content.get(from..).unwrap_or_default().to_vec()
    }

    pub(super) fn acknowledged(&mut self, id: BlockId, length: u64) {
        let promise = self.promises.entry(id).or_default();
        promise.acknowledged = promise.acknowledged.max(length);
    }

    /// An hflush was answered: it covers the blocks before, too.
    pub(super) fn flushed(&mut self, file: usize, id: BlockId, length: u64) {
        for other in self.files[file].blocks.clone() {
            let Some(promise) = self.promises.get_mut(&other) else {
                continue;
            };
            if promise.exact.is_none() {
                let length = if other == id { length } else { promise.acknowledged };
                promise.flushed = promise.flushed.max(length);
                self.owe(other);
            }
            if other == id {
                break;
            }
        }
    }

    pub(super) fn synced(&mut self, id: BlockId, length: u64) {
        if let Some(promise) = self.promises.get_mut(&id) {
            promise.synced = promise.synced.max(length);
            promise.flushed = promise.flushed.max(length);
            self.owe(id);
        }
    }

    /// `complete` was answered with true.
    pub(super) fn closed(&mut self, file: usize, last: Option<Block>) {
        self.see_closed(file);
        if let Some(last) = last
            && let Some(promise) = self.promises.get(&last.id)
            && promise.exact != Some(last.num_bytes)
            && !promise.void
        {
            let exact = promise.exact;
            self.violate(format!("file {file} was closed with {last:?}, and has {exact:?} bytes"));
        }
    }

    /// An append goes on with a block.
    fn opened_again(&mut self, block: Block) {
        let Some(promise) = self.promises.get_mut(&block.id) else {
            return;
        };
        if promise.exact != Some(block.num_bytes) {
            let exact = promise.exact;
            return self.violate(format!("an append finds {block:?} instead of {exact:?} bytes"));
        }
        promise.exact = None;
        promise.acknowledged = block.num_bytes;
    }

    /// A truncate was answered.
    pub(super) fn truncated(&mut self, file: usize, length: u64) {
        let mut left = length;
        let blocks = std::mem::take(&mut self.files[file].blocks);
        for id in blocks {
            let Some(promise) = self.promises.get_mut(&id) else {
                continue;
            };
            let has = promise.exact.unwrap_or(promise.flushed);
            if left == 0 {
                promise.void = true;
                continue;
            }
            if left < has {
                promise.exact = Some(left);
                promise.truncated = true;
                promise.content.truncate(left as usize);
                promise.flushed = left;
                promise.synced = promise.synced.min(left);
            }
            left -= left.min(has);
            self.files[file].blocks.push(id);
        }
    }

    pub(super) fn give_up_promises(&mut self, file: usize) {
        for id in self.files[file].blocks.clone() {
            self.promises.entry(id).or_default().void = true;
        }
    }

    // --- what is on the disks ---

    fn held_by(&self, node: usize, id: BlockId, content: &[u8]) -> Option<Held> {
        let datanode = &self.datanodes[node];
        let replica = datanode.map.get(id)?.clone();
        let state = replica.original_state();
        if state == ReplicaState::Temporary {
            return None;
        }
        let right = datanode.right_bytes(&replica, content);
        Some(Held {
            node,
            state,
            replica,
            right,
        })
    }

    /// The replicas that belong to the block as it is logged.
    fn held(&self, id: BlockId) -> Vec<Held> {
        let Some(promise) = self.promises.get(&id) else {
            return Vec::new();
        };
        (0..DATANODES)
            .filter_map(|node| self.held_by(node, id, &promise.content))
            .filter(|held| held.replica.generation_stamp >= promise.stamp)
            .collect()
    }

    fn is_good(held: &Held, exact: u64) -> bool {
        held.state == ReplicaState::Finalized && held.replica.num_bytes == exact && held.right == exact
    }

    pub(super) fn replicas_of(&self, node: usize) -> Vec<BlockId> {
        self.datanodes[node]
            .map
            .iter()
            .map(|replica| replica.block_id)
            .collect()
    }

    /// A DataNode has ended, and this is what its next start will find.
    pub(super) fn after_end(&mut self, node: usize, power: bool, before: &[BlockId]) {
        for (id, stamp) in self.datanodes[node].answered.clone() {
            let found = self.datanodes[node].map.get(id).map(|replica| replica.generation_stamp);
            if found < Some(stamp) {
                self.violate(format!(
                    "{node} had answered stamp {stamp} of {id}, and has {found:?} on disk"
                ));
            }
        }
        for &id in before {
            let Some(promise) = self.promises.get_mut(&id) else {
                continue;
            };
            if power {
                promise.cut.insert(node);
            }
            self.owe(id);
        }
    }

    /// The replica was made durable as a whole.
    pub(super) fn is_whole_again(&mut self, node: usize, id: BlockId) {
        if let Some(promise) = self.promises.get_mut(&id) {
            promise.cut.remove(&node);
        }
    }

    /// What is still owed of a block. What a loss of power takes of bytes that were not synced, nobody owes: then it is as
    /// much as the worst replica has of those that a recovery may take, which are those with the length that was logged,
    /// if there are any.
    fn owe(&mut self, id: BlockId) {
        let held = self.held(id);
        let Some(promise) = self.promises.get(&id).filter(|promise| !promise.void).cloned() else {
            return;
        };
        let is_cut = |one: &Held| promise.cut.contains(&one.node);
        let never_stopped = |one: &Held| match one.state {
            ReplicaState::Rbw => true,
            ReplicaState::Finalized => !is_cut(one),
            ReplicaState::Rwr | ReplicaState::Rur | ReplicaState::Temporary => false,
        };
        for one in held.iter().filter(|one| !never_stopped(one)) {
            if one.right < promise.synced {
                let (synced, replica) = (promise.synced, one.replica.describe());
                self.violate(format!(
                    "{synced} bytes of {id} were synced, and {} has {} of {replica}",
                    one.node, one.right
                ));
            }
        }
        let mut owed = promise.flushed;
        if !held.iter().any(never_stopped) && (held.is_empty() || held.iter().any(is_cut)) {
            let enough = promise.logged.min(promise.flushed);
            let with_enough = held.iter().map(|one| one.right).filter(|right| *right >= enough).min();
            let least = with_enough.or(held.iter().map(|one| one.right).min()).unwrap_or(0);
            owed = owed.min(least).max(promise.synced);
        }
        let lost = promise
            .exact
            .is_some_and(|exact| !promise.truncated && !held.iter().any(|one| Self::is_good(one, exact)));
        if held.is_empty() && promise.synced > 0 {
            self.violate(format!(
                "{} bytes of {id} were synced, and no replica is left",
                promise.synced
            ));
        }
        if lost && promise.exact.is_some_and(|exact| exact > 0 && promise.synced >= exact) {
            self.violate(format!(
                "{id} was synced and complete, and no good replica is left: {held:?}"
            ));
        }
        if let Some(promise) = self.promises.get_mut(&id) {
            promise.flushed = owed;
            promise.void |= lost;
        }
    }

    // --- recoveries and deletions ---

    pub(super) fn before_result(&self, id: BlockId) -> Vec<Held> {
        self.held(id)
    }

    /// A truncate was carried out on replicas that do not match their checksums: nobody had a good one. Nothing is owed
    /// of the block any more, but it ends.
    pub(super) fn cut_over_rot(&mut self, id: BlockId, to: usize, before: &[Held]) {
        self.count("truncates that ended over rot");
        let Some(promise) = self.promises.get_mut(&id).filter(|promise| !promise.void) else {
            return;
        };
        let target = promise.exact.unwrap_or(0);
        promise.void = true;
        let (now, namenode) = (self.now, &self.namenodes[to]);
        let good = |held: &&Held| held.right >= target && !namenode.takes_for_dead(held.node, now);
        if let Some(good) = before.iter().find(good) {
            let node = good.node;
            self.violate(format!("{id} was cut over rot, and {node} had {target} good bytes"));
        }
    }

    /// A NameNode has taken the result of a recovery.
    pub(super) fn after_result(
        &mut self,
        id: BlockId,
        stamp: GenerationStamp,
        length: Option<u64>,
        to: usize,
        before: &[Held],
        targets: &[usize],
    ) {
        let namespace = &self.namenodes[to].ns.namespace;
        let stored = namespace.block(id).map(|(block, _)| block);
        let counts = match length {
            Some(_) => {
                stored.is_some_and(|block| block.generation_stamp == stamp)
                    && !namespace.is_block_under_construction(id)
            }
            None => stored.is_none(),
        };
        let Some(promise) = self
            .promises
            .get(&id)
            .filter(|promise| counts && !promise.void)
            .cloned()
        else {
            return;
        };
        let new = length.unwrap_or(0);
        if promise.truncated && promise.exact != Some(new) {
            let target = promise.exact;
            return self.violate(format!(
                "{id} was truncated to {target:?} and recovered with {new} bytes"
            ));
        }
        if new < promise.flushed {
            let (now, namenode) = (self.now, &self.namenodes[to]);
            let reachable = |held: &&Held| held.right >= promise.flushed && !namenode.takes_for_dead(held.node, now);
            if let Some(holder) = before.iter().find(reachable) {
                let (flushed, node) = (promise.flushed, holder.node);
                return self.violate(format!(
                    "{id} was recovered with {length:?} of {flushed} bytes, which {node} has"
                ));
            }
            self.count("bytes that were with dead DataNodes only");
        }
        let worst = self.worst_of(id, targets);
        let owed = promise.flushed.min(new);
        if worst < owed {
            let (now, namenode) = (self.now, &self.namenodes[to]);
            let has = |held: &&Held| held.right >= owed;
            let (dead, asked): (Vec<&Held>, Vec<&Held>) =
                before.iter().partition(|held| namenode.takes_for_dead(held.node, now));
            // A replica that was completed without a sync may have its whole length after a loss of power, and not its
            // bytes; its checksums tell. Who has them is dead.
            let with_dead = dead.iter().any(&has) && !asked.iter().any(has);
            if !with_dead {
                let (flushed, held) = (promise.flushed, self.held(id));
                return self.violate(format!(
                    "{worst} bytes of {id} are right after a recovery, {flushed} were flushed: {held:?}"
                ));
            }
            self.count("bytes that were with dead DataNodes only");
        }
        if let Some(promise) = self.promises.get_mut(&id) {
            promise.content.truncate(new as usize);
            promise.flushed = new;
            promise.synced = new;
            promise.exact = length;
            promise.truncated = false;
            promise.stamp = stamp;
            promise.void |= length.is_none();
        }
        // Of bytes that were not synced, a loss of power may take some in the middle, and their checksums tell.
        let holes = self.held(id).iter().any(|held| held.right < new);
        if holes {
            self.count("blocks recovered with a hole in bytes that nobody is owed");
            self.promises.entry(id).or_default().void = true;
        }
        for file in &mut self.files {
            if length.is_none() {
                file.blocks.retain(|other| *other != id);
            }
        }
        self.owe(id);
    }

    /// Right bytes of the worst replica that a recovery has changed: of those DataNodes that have answered, which syncs all.
    /// One that lost its power in the middle of the change may have the new stamp, and promised nothing.
    fn worst_of(&self, id: BlockId, targets: &[usize]) -> u64 {
        let held = self.held(id);
        let changed = held.iter().filter(|held| targets.contains(&held.node));
        changed.map(|held| held.right).min().unwrap_or(0)
    }

    /// A replica is about to be deleted by order.
    pub(super) fn before_deletion(&mut self, node: usize, block: Block) {
        self.datanodes[node].answered.remove(&block.id);
        let id = block.id;
        let Some(promise) = self.promises.get(&id).filter(|promise| !promise.void).cloned() else {
            return;
        };
        let held = self.held(id);
        let Some(goes) = held.iter().find(|held| held.node == node) else {
            return;
        };
        let matters = promise.flushed > 0 && goes.right >= promise.flushed;
        if goes.replica.generation_stamp > block.generation_stamp || !matters {
            return;
        }
        // A NameNode may not know yet that a replica was cut short with its machine's power.
        let stays = |held: &&Held| held.right >= promise.flushed || promise.cut.contains(&held.node);
        if !held.iter().filter(|held| held.node != node).any(|held| stays(&held)) {
            self.violate(format!("{node} deletes the last good replica of {id} by order"));
        }
    }

    // --- rules of every step ---

    pub(super) fn inode_of(&self, file: usize) -> Option<InodeId> {
        let ns = &self.namenodes[self.active()?].ns;
        ns.namespace.resolve(&self.files[file].path).ok()?.last()
    }

    pub(super) fn length_of(&self, file: usize) -> u64 {
        let (Some(at), Some(inode)) = (self.active(), self.inode_of(file)) else {
            return 0;
        };
        let blocks = self.namenodes[at].ns.namespace.blocks_of(inode);
        blocks.map(|block| block.block.num_bytes).sum()
    }

    pub(super) fn check(&mut self) {
        for file in 0..self.files.len() {
            self.see_closed(file);
        }
        self.check_marks();
        self.check_leaving();
    }

    /// Compares what the active has of a file with what is owed.
    pub(super) fn see_closed(&mut self, file: usize) {
        let (Some(at), Some(inode)) = (self.active(), self.inode_of(file)) else {
            return;
        };
        let blocks: Vec<_> = self.namenodes[at].ns.namespace.blocks_of(inode).collect();
        for id in self.files[file].blocks.clone() {
            let gone = blocks.iter().all(|block| block.block.id != id);
            let Some(promise) = self.promises.get(&id).filter(|_| gone) else {
                continue;
            };
            if promise.flushed > 0 && !promise.void {
                let flushed = promise.flushed;
                return self.violate(format!("file {file} has lost {id} with {flushed} bytes"));
            }
            self.promises.entry(id).or_default().void = true;
            self.files[file].blocks.retain(|other| *other != id);
        }
        for in_file in blocks {
            let block = in_file.block;
            let Some(promise) = self.promises.get_mut(&block.id).filter(|promise| !promise.void) else {
                continue;
            };
            promise.stamp = block.generation_stamp;
            promise.logged = block.num_bytes;
            if in_file.under_construction {
                if promise.exact.is_some() && !promise.truncated {
                    self.opened_again(block);
                    continue;
                }
                if block.num_bytes > promise.acknowledged && !promise.truncated {
                    let acknowledged = promise.acknowledged;
                    self.violate(format!(
                        "{block:?} is logged, and {acknowledged} bytes were acknowledged"
                    ));
                }
                continue;
            }
            let wrong = match promise.exact {
                Some(exact) => exact != block.num_bytes,
                None => block.num_bytes < promise.flushed || block.num_bytes > promise.content.len() as u64,
            };
            if wrong {
                let (exact, flushed) = (promise.exact, promise.flushed);
                return self.violate(format!("{block:?} is complete; owed: {flushed}, for good: {exact:?}"));
            }
            if promise.exact.is_none() {
                promise.exact = Some(block.num_bytes);
                promise.content.truncate(block.num_bytes as usize);
                promise.flushed = block.num_bytes;
                self.owe(block.id);
            }
        }
    }

    /// No complete replica with the right bytes counts as corrupt, once its DataNode has told all it knows.
    pub(super) fn check_marks(&mut self) {
        let Some(at) = self.active() else { return };
        for (&id, promise) in &self.promises {
            let Some(exact) = promise.exact.filter(|_| !promise.void && !promise.truncated) else {
                continue;
            };
            if !self.namenodes[at].ns.blockmanager.is_complete(id) {
                continue;
            }
            for node in 0..DATANODES {
                if !self.is_marked(at, node, id) || !self.datanodes[node].talks[at].has_told_all() {
                    continue;
                }
                let held = self.held_by(node, id, &promise.content);
                let good =
                    held.filter(|held| held.replica.generation_stamp == promise.stamp && Self::is_good(held, exact));
                if let Some(good) = good {
                    let state = self.describe_block(at, good.replica.block());
                    return self.violate(format!(
                        "NameNode {at} takes a good replica of {node} for corrupt: {state}"
                    ));
                }
            }
        }
    }

    fn check_leaving(&mut self) {
        let (Some(at), Some(node)) = (self.active(), self.leaving) else {
            return;
        };
        let manager = &self.namenodes[at].ns.blockmanager;
        let state = |namenode: &NameNode| {
            let index = namenode.index_of(node)?;
            manager.datanode(index).map(|node| node.admin_state)
        };
        if state(&self.namenodes[at]) != Some(AdminState::Decommissioned) {
            return;
        }
        self.count("decommissions");
        let open: Vec<BlockId> = self
            .promises
            .iter()
            .filter(|(_, promise)| !promise.void && promise.exact.is_none() && promise.flushed > 0)
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            let flushed = self.promises[&id].flushed;
            let held = self.held(id);
            // A NameNode may not know yet that a replica was cut short with its machine's power.
            let cut = self.promises[&id].cut.clone();
            let has = |held: &&Held| held.right >= flushed || cut.contains(&held.node);
            if held.iter().filter(has).all(|held| held.node == node) && !held.is_empty() {
                if self.namenodes[at].takes_for_dead(node, self.now) || self.counts_on_another(at, node, &cut) {
                    continue;
                }
                let block = held[0].replica.block();
                let state = self.describe_block(at, block);
                self.violate(format!(
                    "{node} is decommissioned, and alone has {flushed} bytes: {state}"
                ));
            }
        }
        self.recommission();
    }

    /// Whether the active counts on a replica that another DataNode has lost with its machine's power, as a whole. It can't
    /// know before that DataNode has told all it has left, or counts as dead.
    fn counts_on_another(&self, at: usize, node: usize, cut: &BTreeSet<usize>) -> bool {
        cut.iter().filter(|&&other| other != node).any(|&other| {
            let told = self.datanodes[other].talks[at].has_told_all();
            !told && !self.namenodes[at].takes_for_dead(other, self.now)
        })
    }

    // --- the end ---

    /// Whether a file is as it must be when faults have ended.
    pub(super) fn has_healed(&self, file: usize) -> bool {
        let (Some(at), Some(inode)) = (self.active(), self.inode_of(file)) else {
            return true;
        };
        let ns = &self.namenodes[at].ns;
        let mut owed = ns
            .namespace
            .blocks_of(inode)
            .filter_map(|block| self.promises.get(&block.block.id));
        if owed.any(|promise| promise.void) {
            return true;
        }
        let closed = ns
            .namespace
            .status(inode)
            .is_some_and(|status| !status.under_construction);
        let wanted = usize::from(ns.namespace.replication(inode).unwrap_or(1)).min(DATANODES);
        // A last block of which a length is known, and no replica has anything of it any more, is waited for.
        let awaited = ns.namespace.blocks_of(inode).last().is_some_and(|last| {
            let Some(promise) = self.promises.get(&last.block.id) else {
                return false;
            };
            let target = promise.exact.filter(|_| promise.truncated).unwrap_or(1);
            let nobody = self.held(last.block.id).iter().all(|held| held.right < target);
            last.under_construction && promise.flushed == 0 && nobody
        });
        (closed || awaited)
            && ns.namespace.blocks_of(inode).all(|block| {
                let held = self.held(block.block.id);
                let good = held.iter().filter(|held| Self::is_good(held, block.block.num_bytes));
                // A bad replica is deleted when enough others are good, and until then its node takes no other.
                let bad = (0..DATANODES)
                    .filter(|node| self.is_marked(at, *node, block.block.id))
                    .count();
                let enough = good.count() >= wanted.min(DATANODES - bad);
                block.under_construction || (enough && ns.blockmanager.is_complete(block.block.id))
            })
    }

    fn is_marked(&self, at: usize, node: usize, id: BlockId) -> bool {
        let namenode = &self.namenodes[at];
        let index = namenode.index_of(node);
        index.is_some_and(|index| namenode.ns.blockmanager.is_corrupt_on(id, index))
    }

    /// What there is to know of a file, for who reads a trace.
    pub(super) fn describe(&self, file: usize) -> String {
        let (Some(at), Some(inode)) = (self.active(), self.inode_of(file)) else {
            return String::new();
        };
        let ns = &self.namenodes[at].ns;
        let holder = ns.namespace.lease_holder(inode);
        let replication = ns.namespace.replication(inode);
        let mut text = format!("holder {holder:?}, replication {replication:?}");
        for block in ns.namespace.blocks_of(inode) {
            text += &self.describe_block(at, block.block);
        }
        text
    }

    fn describe_block(&self, at: usize, block: Block) -> String {
        let manager = &self.namenodes[at].ns.blockmanager;
        let located = manager.located_block(POOL, block, 0, None);
        let located: Vec<usize> = located.locs.iter().map(|node| node_of(&node.id)).collect();
        let state = manager.block(block.id).map(|view| view.state);
        let mut text = format!("\n{block:?} {state:?} on {located:?}");
        for node in 0..DATANODES {
            let index = self.namenodes[at].index_of(node);
            let marked = self.is_marked(at, node, block.id);
            let known = index.and_then(|index| manager.datanode(index));
            let known = known.map(|node| (node.alive, node.admin_state));
            let replica = self.datanodes[node].map.get(block.id).map(Replica::describe);
            let promise = self.promises.get(&block.id);
            let right = promise.and_then(|promise| self.held_by(node, block.id, &promise.content));
            let right = right.map(|held| held.right);
            text += &format!("\n  {node}: {known:?}, marked: {marked}, {replica:?}, right: {right:?}");
        }
        if let Some(promise) = self.promises.get(&block.id) {
            let promise = Promise {
                content: Vec::new(),
                ..promise.clone()
            };
            text += &format!("\n  {promise:?}");
        }
        text
    }
}
