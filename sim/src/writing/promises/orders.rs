//! Recoveries and deletions, which NameNodes order: what there was before, what came of it, and the rules about both.

use super::Held;
use crate::writing::namenodes::NameNodes;
use crate::writing::talk::node_of;
use crate::writing::{DATANODES, World};
use hathi_blockpool::BlockRecovery;
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use std::collections::BTreeSet;

/// A recovery as it was ordered.
#[derive(Clone, Debug, Default)]
pub(in crate::writing) struct Ordered {
    /// DataNodes that counted as dead.
    dead: BTreeSet<usize>,
    /// DataNodes that are to be asked.
    named: BTreeSet<usize>,
    /// The replicas of all of these have seen a loss of power since they were synced.
    only_cut: bool,
}

/// The result of a recovery that a NameNode has taken, and what there was when it did.
#[derive(Clone, Debug)]
pub(in crate::writing) struct Recovered {
    /// Length of the block; none when it was deleted.
    length: Option<u64>,
    before: Vec<Held>,
    /// DataNodes that had been silent at the NameNode for as long as it takes to count as dead, when the recovery was
    /// ordered or when its result came. The first were not asked, also if they are back by now.
    dead: BTreeSet<usize>,
    /// Right bytes of the worst replica that the recovery has changed.
    worst: u64,
    /// DataNodes that took part in it.
    targets: Vec<usize>,
    ordered: Ordered,
    over_rot: bool,
}

impl<N: NameNodes> World<N> {
    /// A NameNode has ordered a recovery.
    pub(in crate::writing) fn ordered_of(&self, from: usize, recovery: &BlockRecovery) -> Ordered {
        let is_dead = |node: &usize| self.namenodes.takes_for_dead(from, *node, self.now);
        let locations = recovery.order().block.locs.iter();
        let named: BTreeSet<usize> = locations.map(|node| node_of(&node.id)).collect();
        let promise = self.promises.get(&recovery.block().id);
        Ordered {
            dead: (0..DATANODES).filter(is_dead).collect(),
            only_cut: promise.is_some_and(|promise| named.is_subset(&promise.cut)),
            named,
        }
    }

    pub(in crate::writing) fn before_result(
        &self,
        (id, recovery): (BlockId, GenerationStamp),
        length: Option<u64>,
        to: usize,
        targets: &[usize],
        over_rot: bool,
    ) -> Recovered {
        let ordered = self.ordered.get(&(id, recovery)).cloned().unwrap_or_default();
        let is_dead = |node: &usize| self.namenodes.takes_for_dead(to, *node, self.now) || ordered.dead.contains(node);
        let dead = (0..DATANODES).filter(is_dead);
        Recovered {
            length,
            before: self.held(id),
            dead: dead.collect(),
            worst: self.worst_of(id, targets),
            targets: targets.to_vec(),
            ordered,
            over_rot,
        }
    }

    /// Looks at the results of recoveries of a block that a NameNode has taken, and that stay.
    pub(in crate::writing) fn see_results(&mut self, id: BlockId) {
        let of_block = (id, GenerationStamp(0))..=(id, GenerationStamp(u64::MAX));
        let stamps: Vec<GenerationStamp> = self.results.range(of_block).map(|((_, stamp), _)| *stamp).collect();
        for stamp in stamps {
            let Some(recovered) = self.results.get(&(id, stamp)) else {
                continue;
            };
            let counts = self.namenodes.settled(|namespace| {
                let stored = namespace.block(id).map(|(block, _)| block);
                match recovered.length {
                    Some(_) => {
                        stored.is_some_and(|block| block.generation_stamp == stamp)
                            && !namespace.is_block_under_construction(id)
                    }
                    None => stored.is_none(),
                }
            });
            let in_doubt = self.promises.get(&id).is_some_and(|promise| promise.in_doubt);
            if counts == Some(true)
                && !in_doubt
                && let Some(recovered) = self.results.remove(&(id, stamp))
            {
                if recovered.over_rot {
                    self.cut_over_rot(id, &recovered);
                }
                self.after_result(id, stamp, &recovered);
            }
        }
    }

    /// A truncate was carried out on replicas that do not match their checksums: nobody had a good one. Nothing is owed
    /// of the block any more, but it ends.
    fn cut_over_rot(&mut self, id: BlockId, recovered: &Recovered) {
        self.count("truncates that ended over rot");
        let Some(promise) = self.promises.get_mut(&id).filter(|promise| !promise.is_open()) else {
            return;
        };
        let target = promise.exact.unwrap_or(0);
        promise.void = true;
        let good = |held: &&Held| held.right >= target && !recovered.dead.contains(&held.node);
        if let Some(good) = recovered.before.iter().find(good) {
            let node = good.node;
            self.violate(format!("{id} was cut over rot, and {node} had {target} good bytes"));
        }
    }

    /// The result of a recovery stays.
    fn after_result(&mut self, id: BlockId, stamp: GenerationStamp, recovered: &Recovered) {
        let Recovered {
            length, before, dead, ..
        } = recovered;
        let length = *length;
        let Some(promise) = self.promises.get(&id).filter(|promise| !promise.is_open()).cloned() else {
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
            // A NameNode that has just loaded may have heard only of replicas whose unsynced bytes went with their machines'
            // power, and not of the others. It recovers the block from those, as Hadoop's does.
            let Ordered { named, only_cut, .. } = &recovered.ordered;
            let unsynced = promise.flushed > promise.synced;
            let unheard_of = |held: &Held| unsynced && *only_cut && !named.contains(&held.node);
            let reachable =
                |held: &&Held| held.right >= promise.flushed && !dead.contains(&held.node) && !unheard_of(held);
            if let Some(holder) = before.iter().find(reachable) {
                let (flushed, node) = (promise.flushed, holder.node);
                return self.violate(format!(
                    "{id} was recovered with {length:?} of {flushed} bytes, which {node} has"
                ));
            }
            if before.iter().any(unheard_of) {
                self.count("flushed bytes that nobody has who was known");
            } else {
                self.count("bytes that were with dead DataNodes only");
            }
        }
        let worst = recovered.worst;
        let owed = promise.flushed.min(new);
        if worst < owed {
            let has = |held: &&Held| held.right >= owed;
            let (dead, asked): (Vec<&Held>, Vec<&Held>) = before.iter().partition(|held| dead.contains(&held.node));
            // A replica that was completed without a sync may have its whole length after a loss of power, and not its
            // bytes; its checksums tell. Who has them is dead.
            let with_dead = dead.iter().any(&has) && !asked.iter().any(&has);
            // A NameNode that has just loaded may have heard only of replicas whose unsynced bytes went with their
            // machines' power. It can't see that, and recovers the block from them, as Hadoop's does.
            let mut took_part = before.iter().filter(|held| recovered.targets.contains(&held.node));
            let only_cut = owed > promise.synced && !took_part.any(|held| has(&held));
            if only_cut && !with_dead {
                self.count("flushed bytes that nobody has who was known");
            } else if !with_dead {
                let (flushed, held) = (promise.flushed, self.held(id));
                return self.violate(format!(
                    "{worst} bytes of {id} are right after a recovery, {flushed} were flushed: {held:?}"
                ));
            } else {
                self.count("bytes that were with dead DataNodes only");
            }
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
    pub(in crate::writing) fn before_deletion(&mut self, node: usize, block: Block) {
        self.datanodes[node].answered.remove(&block.id);
        let id = block.id;
        let Some(promise) = self.promises.get(&id).filter(|promise| !promise.is_open()).cloned() else {
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
            return self.violate(format!("{node} deletes the last good replica of {id} by order"));
        }
        let Some(exact) = promise
            .exact
            .filter(|exact| !promise.truncated && Self::is_good(goes, *exact))
        else {
            return;
        };
        let wanted = self.namenodes.settled(|namespace| {
            let (_, file) = namespace.block(id)?;
            namespace.replication(file)
        });
        let wanted = usize::from(wanted.flatten().unwrap_or(0)).min(DATANODES);
        let stays = |held: &&Held| Self::is_good(held, exact) || promise.cut.contains(&held.node);
        let others = held.iter().filter(|held| held.node != node).filter(stays).count();
        if goes.replica.generation_stamp == promise.stamp && others < wanted {
            self.violate(format!(
                "{node} deletes a good replica of {id} by order, and leaves {others} of {wanted}: {held:?}"
            ));
        }
    }
}
