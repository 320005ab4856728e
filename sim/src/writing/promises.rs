//! What clients were told, what lies on the disks, and the rules that compare the two.

mod orders;

use super::namenode::Pair;
use super::namenodes::NameNodes;
use super::talk::{node_of, uuid};
use super::{DATANODES, POOL, World};
use hathi_blockmanager::AdminState;
use hathi_blockpool::{Replica, ReplicaState};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};
use hathi_namespace::Namespace;
use std::collections::BTreeSet;

pub(super) use orders::{Ordered, Recovered};

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
    /// A truncate is under way: nobody knows what is owed before its answer.
    in_doubt: bool,
}

impl Promise {
    /// Whether nobody can tell what is owed.
    pub(super) fn is_open(&self) -> bool {
        self.void || self.in_doubt
    }

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

impl<N: NameNodes> World<N> {
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
            && !promise.is_open()
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

    /// A truncate was refused. What a loss of power has taken while it was in doubt, nobody owes.
    pub(super) fn truncate_refused(&mut self, file: usize) {
        self.truncates(file, false);
        for id in self.files[file].blocks.clone() {
            self.owe(id);
        }
    }

    /// A truncate is under way, or is over.
    pub(super) fn truncates(&mut self, file: usize, under_way: bool) {
        for id in &self.files[file].blocks {
            if let Some(promise) = self.promises.get_mut(id) {
                promise.in_doubt = under_way;
            }
        }
    }

    /// A truncate was answered.
    pub(super) fn truncated(&mut self, file: usize, length: u64) {
        self.truncates(file, false);
        let mut left = length;
        let blocks = std::mem::take(&mut self.files[file].blocks);
        for id in blocks {
            let most = self.held(id).iter().map(|held| held.right).max().unwrap_or(0);
            let Some(promise) = self.promises.get_mut(&id) else {
                continue;
            };
            let has = promise.exact.unwrap_or(promise.flushed);
            if left == 0 {
                promise.void = true;
                continue;
            }
            if left < has {
                // A loss of power while the truncate was in doubt has taken bytes that were not synced.
                promise.void |= most < left && promise.synced < left;
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
        let Some(promise) = self.promises.get(&id).filter(|promise| !promise.is_open()).cloned() else {
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

    // --- rules of every step ---

    pub(super) fn inode_of(&self, file: usize) -> Option<InodeId> {
        let path = &self.files[file].path;
        self.namenodes
            .settled(|namespace| namespace.resolve(path).ok()?.last())?
    }

    pub(super) fn length_of(&self, file: usize) -> u64 {
        let Some(inode) = self.inode_of(file) else { return 0 };
        let length = self.namenodes.settled(|namespace| {
            let blocks = namespace.blocks_of(inode);
            blocks.map(|block| block.block.num_bytes).sum()
        });
        length.unwrap_or(0)
    }

    pub(crate) fn check(&mut self) {
        self.see_edits();
        self.check_marks();
        self.check_bad();
    }

    /// To be called after each edit that stays: the next one may open again what this one has closed.
    pub(crate) fn see_edits(&mut self) {
        for file in 0..self.files.len() {
            self.see_closed(file);
        }
    }

    /// Compares what the active has of a file with what is owed.
    pub(super) fn see_closed(&mut self, file: usize) {
        for id in self.files[file].blocks.clone() {
            self.see_results(id);
        }
        let Some(inode) = self.inode_of(file) else { return };
        let blocks = self
            .namenodes
            .settled(|namespace| namespace.blocks_of(inode).collect::<Vec<_>>());
        let blocks = blocks.unwrap_or_default();
        for id in self.files[file].blocks.clone() {
            let gone = blocks.iter().all(|block| block.block.id != id);
            let Some(promise) = self.promises.get(&id).filter(|_| gone) else {
                continue;
            };
            if promise.flushed > 0 && !promise.is_open() {
                let flushed = promise.flushed;
                return self.violate(format!("file {file} has lost {id} with {flushed} bytes"));
            }
            self.promises.entry(id).or_default().void = true;
            self.files[file].blocks.retain(|other| *other != id);
        }
        for in_file in blocks {
            let block = in_file.block;
            let Some(promise) = self.promises.get_mut(&block.id).filter(|promise| !promise.is_open()) else {
                continue;
            };
            promise.stamp = block.generation_stamp;
            promise.logged = block.num_bytes;
            if in_file.under_construction {
                if promise.exact.is_some() && !promise.truncated {
                    self.opened_again(block);
                    continue;
                }
                let acknowledged = promise.acknowledged;
                if block.num_bytes > acknowledged.max(self.files[file].named_late) && !promise.truncated {
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
        let Some(at) = self.namenodes.active() else { return };
        for (&id, promise) in &self.promises {
            let Some(exact) = promise.exact.filter(|_| !promise.is_open() && !promise.truncated) else {
                continue;
            };
            if !self.namenodes.look(at, |ns| ns.blockmanager().is_complete(id)) {
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

    /// What a DataNode has found to be bad, and has told, counts as corrupt under the stamp that it has now.
    fn check_bad(&mut self) {
        let Some(at) = self.namenodes.active() else { return };
        for node in 0..DATANODES {
            let datanode = &self.datanodes[node];
            if !datanode.up || !datanode.talks[at].has_told_bad() {
                continue;
            }
            let bad = datanode.bad.keys().filter_map(|id| datanode.map.get(*id));
            let served = bad.filter(|replica| {
                replica.state == ReplicaState::Finalized
                    && datanode.verified_bytes(replica).is_none()
                    && self.namenodes.look(at, |ns| {
                        let known = ns.blockmanager().block(replica.block_id);
                        known.is_some_and(|known| known.block.generation_stamp == replica.generation_stamp)
                            && ns.blockmanager().is_complete(replica.block_id)
                    })
                    && !self.is_marked(at, node, replica.block_id)
            });
            if let Some(replica) = served.map(Replica::block).next() {
                let state = self.describe_block(at, replica);
                return self.violate(format!("NameNode {at} takes a bad replica of {node} for good: {state}"));
            }
        }
    }

    // --- the end ---

    /// Whether a file is as it must be when faults have ended.
    pub(crate) fn has_healed(&self, file: usize) -> bool {
        let Some(at) = self.namenodes.active() else {
            return false;
        };
        let healed = self
            .namenodes
            .settled(|namespace| self.is_healed_in(file, at, namespace));
        healed.unwrap_or(false)
    }

    fn is_healed_in(&self, file: usize, at: usize, namespace: &Namespace) -> bool {
        let inode = namespace
            .resolve(&self.files[file].path)
            .ok()
            .and_then(|path| path.last());
        let Some(inode) = inode else { return true };
        let mut owed = namespace
            .blocks_of(inode)
            .filter_map(|block| self.promises.get(&block.block.id));
        if owed.any(Promise::is_open) {
            return true;
        }
        let closed = namespace.status(inode).is_some_and(|status| !status.under_construction);
        let wanted = usize::from(namespace.replication(inode).unwrap_or(1)).min(DATANODES);
        // A last block of which a length is known, and no replica has anything of it any more, is waited for.
        let awaited = namespace.blocks_of(inode).last().is_some_and(|last| {
            let Some(promise) = self.promises.get(&last.block.id) else {
                return false;
            };
            let target = promise.exact.filter(|_| promise.truncated).unwrap_or(1);
            let nobody = self.held(last.block.id).iter().all(|held| held.right < target);
            last.under_construction && promise.flushed == 0 && nobody
        });
        (closed || awaited)
            && namespace.blocks_of(inode).all(|block| {
                let held = self.held(block.block.id);
                let good = held.iter().filter(|held| Self::is_good(held, block.block.num_bytes));
                // A bad replica is deleted when enough others are good, and until then its node takes no other.
                let bad = (0..DATANODES)
                    .filter(|node| self.is_marked(at, *node, block.block.id))
                    .count();
                let enough = good.count() >= wanted.min(DATANODES - bad);
                let complete = self
                    .namenodes
                    .look(at, |ns| ns.blockmanager().is_complete(block.block.id));
                block.under_construction || (enough && complete)
            })
    }

    fn is_marked(&self, at: usize, node: usize, id: BlockId) -> bool {
        self.namenodes.look(at, |ns| {
            let index = ns.blockmanager().find_datanode(&uuid(node));
            index.is_some_and(|index| ns.blockmanager().is_corrupt_on(id, index))
        })
    }

    /// What there is to know of a file, for who reads a trace.
    pub(crate) fn describe(&self, file: usize) -> String {
        let (Some(at), Some(inode)) = (self.namenodes.active(), self.inode_of(file)) else {
            return String::new();
        };
        let described = self.namenodes.settled(|namespace| {
            let holder = namespace.lease_holder(inode);
            let replication = namespace.replication(inode);
            let mut text = format!("holder {holder:?}, replication {replication:?}");
            for block in namespace.blocks_of(inode) {
                text += &self.describe_block(at, block.block);
            }
            text
        });
        described.unwrap_or_default()
    }

    fn describe_block(&self, at: usize, block: Block) -> String {
        let mut text = self.namenodes.look(at, |ns| {
            let located = ns.blockmanager().located_block(POOL, block, 0, None);
            let located: Vec<usize> = located.locs.iter().map(|node| node_of(&node.id)).collect();
            let state = ns.blockmanager().block(block.id).map(|view| view.state);
            format!("\n{block:?} {state:?} on {located:?}")
        });
        for node in 0..DATANODES {
            let marked = self.is_marked(at, node, block.id);
            let known = self.namenodes.look(at, |ns| {
                let index = ns.blockmanager().find_datanode(&uuid(node))?;
                let known = ns.blockmanager().datanode(index)?;
                Some((known.alive, known.admin_state))
            });
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

// --- a DataNode that leaves ---

impl World<Pair> {
    pub(super) fn check_leaving(&mut self) {
        let (Some(at), Some(node)) = (self.namenodes.active(), self.leaving) else {
            return;
        };
        let state = self.namenodes.look(at, |ns| {
            let index = ns.blockmanager().find_datanode(&uuid(node))?;
            ns.blockmanager().datanode(index).map(|node| node.admin_state)
        });
        if state != Some(AdminState::Decommissioned) {
            return;
        }
        self.count("decommissions");
        let open: Vec<BlockId> = self
            .promises
            .iter()
            .filter(|(_, promise)| !promise.is_open() && promise.exact.is_none() && promise.flushed > 0)
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            let flushed = self.promises[&id].flushed;
            let held = self.held(id);
            // A NameNode may not know yet that a replica was cut short with its machine's power.
            let cut = self.promises[&id].cut.clone();
            let has = |held: &&Held| held.right >= flushed || cut.contains(&held.node);
            if held.iter().filter(has).all(|held| held.node == node) && !held.is_empty() {
                if self.namenodes.takes_for_dead(at, node, self.now) || self.counts_on_another(at, node, &cut) {
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
            !told && !self.namenodes.takes_for_dead(at, other, self.now)
        })
    }
}
