//! The block side over failovers: two NameNodes' block managers, three DataNodes with claims, orders and replicas, and
//! clients that read; one seed gives every event. The cores are the production's, the world does what the shells do.
//!
//! Faults at any step: a NameNode takes over (also from itself, between two heartbeats), is killed or restarted with all
//! its soft state gone; a DataNode is killed and comes back; answers are delayed or lost, notices come twice; a replica
//! rots; lifelines come without heartbeats; deletions take time.
//!
//! Rules, watched at every step:
//! - **no copy too few**: a deletion that a NameNode ordered leaves as many good replicas as the file wants, or as there
//!   were. A replica that has rotted counts as good for an order if its NameNode had not been told by then;
//! - **corrupt stays corrupt**: a NameNode that was told that a replica is bad does not name it to readers as long as it is
//!   the same copy, unless it says that all are corrupt;
//! - and when faults end, every block has its replicas again.

mod datanode;
mod namenode;

use datanode::{DataNode, Talk};
use hathi_blockmanager::DatanodeIndex;
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use namenode::{NameNode, Now};
use std::collections::{BTreeMap, BTreeSet};

/// NameNodes.
pub const NAMENODES: usize = 2;
/// DataNodes.
pub const DATANODES: usize = 3;
const BLOCKS: i64 = 4;
const FIRST_ID: i64 = (1 << 30) + 1;
const STEPS: usize = 1000;
const HEALING_ROUNDS: usize = 60;
pub(crate) const POOL: &str = "BP-sim";

/// A rule of the shells or the cores that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockMutant {
    /// A DataNode asks once for a command, not for each block, whether its claim holds.
    AskOncePerCommand,
    /// An order counts as long as its NameNode is the active one, whichever claim it was.
    AnyClaimOfTheNameNode,
    /// A NameNode that is active again does not ask for registrations.
    NoNewRegistration,
    /// A standby does not take reports of bad replicas.
    StandbyRefusesMarks,
    /// The order to delete a corrupt replica ends its mark.
    OrderEndsMark,
    /// A mark ends when its node is forgotten.
    DeathEndsMark,
    /// Orders leave as they were given, however long ago.
    OrdersLeaveUnjudged,
    /// A lifeline counts as a heartbeat.
    LifelineVouches,
    /// Nothing is postponed until storages are sure again.
    TrustStaleStorages,
}

/// Every one of them.
pub const ALL_BLOCK_MUTANTS: [BlockMutant; 9] = [
    BlockMutant::AskOncePerCommand,
    BlockMutant::AnyClaimOfTheNameNode,
    BlockMutant::NoNewRegistration,
    BlockMutant::StandbyRefusesMarks,
    BlockMutant::OrderEndsMark,
    BlockMutant::DeathEndsMark,
    BlockMutant::OrdersLeaveUnjudged,
    BlockMutant::LifelineVouches,
    BlockMutant::TrustStaleStorages,
];

/// One copy of a block on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    /// No two copies have the same number, so that a new one in an old one's place is told from it.
    number: u64,
    good: bool,
}

/// A copy that a NameNode was told is bad: block, DataNode, number.
pub(crate) type Told = BTreeSet<(i64, usize, u64)>;

pub(crate) fn block(id: i64) -> Block {
    Block {
        id: BlockId(id),
        num_bytes: 100,
        generation_stamp: GenerationStamp(1001),
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockOutcome {
    /// The rule that was broken.
    pub violation: Option<String>,
    /// What happened, for [`run_blocks`] with `trace`.
    pub trace: Vec<String>,
    /// How often rare things happened, so that a test can ask for them.
    pub seen: BTreeMap<&'static str, u64>,
}

struct World {
    rng: fastrand::Rng,
    mutant: Option<BlockMutant>,
    now: Now,
    /// `setReplication` as logged, the latest of each block last. Every edit of this world.
    log: Vec<(i64, u16)>,
    namenodes: Vec<NameNode>,
    datanodes: Vec<DataNode>,
    copies: u64,
    term: i64,
    tracing: bool,
    /// DataNodes of this run send lifelines, as Hadoop's do when they are busy, and are late with heartbeats. One run in
    /// eight does, and all that are to find what depends on it.
    lifelines: bool,
    /// The active of this run gives the role up and has it again, and DataNodes are slow to delete: what was ordered in one
    /// term is carried out in the next. One run in eight is such, and all that are to find what depends on it.
    flapping: bool,
    outcome: BlockOutcome,
}

/// Runs one seed.
#[must_use]
pub fn run_blocks(seed: u64, mutant: Option<BlockMutant>, trace: bool) -> BlockOutcome {
    let mut world = World::new(seed, mutant, trace);
    for _ in 0..STEPS {
        world.step();
        if world.outcome.violation.is_some() {
            return world.outcome;
        }
    }
    world.heal();
    world.outcome
}

impl World {
    fn new(seed: u64, mutant: Option<BlockMutant>, tracing: bool) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let log: Vec<(i64, u16)> = (0..BLOCKS).map(|n| (FIRST_ID + n, rng.u16(1..=2))).collect();
        let namenodes = (0..NAMENODES)
            .map(|_| NameNode::new(&log, rng.u64(..), mutant, Now::default()))
            .collect();
        let mut world = World {
            namenodes,
            datanodes: (0..DATANODES).map(|_| DataNode::new()).collect(),
            now: Now::default(),
            copies: 0,
            term: 0,
            tracing,
            lifelines: rng.u32(..8) == 0 || mutant == Some(BlockMutant::LifelineVouches),
            flapping: rng.u32(..8) == 0 || mutant == Some(BlockMutant::NoNewRegistration),
            outcome: BlockOutcome::default(),
            rng,
            mutant,
            log,
        };
        for n in 0..BLOCKS {
            let wanted = usize::from(world.replication(FIRST_ID + n));
            let holders = world.rng.usize(wanted..=DATANODES);
            let first = world.rng.usize(..DATANODES);
            for at in 0..holders {
                let copy = world.new_copy();
                world.datanodes[(first + at) % DATANODES]
                    .copies
                    .insert(FIRST_ID + n, copy);
            }
        }
        world.take_over(0, false);
        world
    }

    fn new_copy(&mut self) -> Copy {
        self.copies += 1;
        Copy {
            number: self.copies,
            good: true,
        }
    }

    fn replication(&self, id: i64) -> u16 {
        self.log
            .iter()
            .rev()
            .find(|(of, _)| *of == id)
            .map_or(1, |(_, replication)| *replication)
    }

    fn is(&self, mutant: BlockMutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.tracing {
            let line = format!("{:>7} {}", self.now.monotonic_ms, what());
            self.outcome.trace.push(line);
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.outcome.seen.entry(what).or_default() += 1;
    }

    fn violate(&mut self, what: String) {
        self.say(|| format!("VIOLATION {what}"));
        self.outcome.violation.get_or_insert(what);
    }

    fn active(&self) -> Option<usize> {
        self.namenodes
            .iter()
            .position(|namenode| namenode.up && namenode.manager.is_active())
    }

    fn step(&mut self) {
        self.now.monotonic_ms += self.rng.u64(0..400);
        let (node, to) = (self.rng.usize(..DATANODES), self.rng.usize(..NAMENODES));
        let id = FIRST_ID + self.rng.i64(0..BLOCKS);
        match self.rng.u32(..1000) {
            0..140 if self.lifelines => self.lifeline(node, to),
            0..190 => self.heartbeat(node, to),
            190..430 => self.hear(node, to),
            430..440 => self.lose(node, to),
            440..520 => {
                self.send_notices(node, to);
            }
            520..610 => self.send_report(node, to),
            610..640 => self.lifeline(node, to),
            640..680 if self.flapping => {}
            640..690 => self.work(node),
            690..770 => self.monitor(to),
            770..810 => self.read(id),
            810..840 => self.tell_bad(node, to),
            840..860 => self.tail(to),
            860..875 => self.tell_again(),
            875..890 => self.lower(id),
            890..925 => self.bring_copy(node, id),
            925..938 => self.rot(node, id),
            938..948 => self.scan(node, id),
            948..955 => self.kill_or_start_datanode(node),
            955..978 if self.flapping => self.take_over(self.active().unwrap_or(to), false),
            955..978 => self.take_over(to, false),
            978..982 => self.take_over(to, true),
            982..985 => self.restart_namenode(to),
            // Some things only happen when nothing else does for a while.
            _ => self.settle(),
        }
    }

    /// A round in which everything arrives, without deletions being worked off.
    fn settle(&mut self) {
        for node in 0..DATANODES {
            for to in 0..NAMENODES {
                self.converse(node, to);
            }
        }
        for at in 0..NAMENODES {
            self.monitor(at);
        }
    }

    fn converse(&mut self, node: usize, to: usize) {
        self.heartbeat(node, to);
        self.hear(node, to);
        self.send_notices(node, to);
        self.tell_bad(node, to);
        self.send_report(node, to);
        while matches!(self.datanodes[node].talks[to].talk, Talk::Report { .. }) {
            self.hear(node, to);
        }
    }

    // --- NameNodes ---

    /// `to` becomes active; the other one steps down, or is killed.
    fn take_over(&mut self, to: usize, killed: bool) {
        if !self.namenodes[to].up {
            return;
        }
        self.say(|| format!("NameNode {to} takes over, the other one killed: {killed}"));
        self.count("failovers");
        self.term += 1;
        for other in 0..NAMENODES {
            if self.namenodes[other].manager.is_active() {
                self.namenodes[other].manager.stop_active();
            }
            if killed && other != to {
                self.stop_namenode(other);
            }
        }
        self.tail(to);
        let now = self.now;
        let namenode = &mut self.namenodes[to];
        namenode.manager.start_active(now);
        namenode.manager.take_over();
    }

    fn stop_namenode(&mut self, at: usize) {
        self.namenodes[at].up = false;
        for datanode in &mut self.datanodes {
            datanode.talks[at].broken();
        }
    }

    /// All its soft state is lost.
    fn restart_namenode(&mut self, at: usize) {
        self.say(|| format!("NameNode {at} is restarted"));
        self.stop_namenode(at);
        let seed = self.rng.u64(..);
        self.namenodes[at] = NameNode::new(&self.log, seed, self.mutant, self.now);
        if self.active().is_none() {
            self.take_over(at, false);
        }
    }

    fn tail(&mut self, at: usize) {
        if self.namenodes[at].up {
            self.namenodes[at].apply(&self.log);
        }
    }

    fn monitor(&mut self, at: usize) {
        if self.namenodes[at].up {
            self.namenodes[at].monitor(self.now);
        }
    }

    /// `setReplication` to one.
    fn lower(&mut self, id: i64) {
        let Some(active) = self.active() else { return };
        if self.namenodes[active].manager.in_safe_mode() || self.replication(id) == 1 {
            return;
        }
        self.say(|| format!("{id} is wanted once"));
        self.log.push((id, 1));
        self.tail(active);
    }

    /// The active repeats which replicas are corrupt.
    fn tell_again(&mut self) {
        let Some(active) = self.active() else { return };
        for (block, on) in self.namenodes[active].manager.reported_corrupt(None, 1000) {
            for storage in on {
                let node = self.namenodes[active].node_of(storage);
                if let Some(node) = node {
                    self.told(1 - active, block.id.0, node);
                }
            }
        }
    }

    /// A NameNode is told that the replica on a node is bad.
    fn told(&mut self, at: usize, id: i64, node: usize) -> bool {
        let refuses = self.is(BlockMutant::StandbyRefusesMarks) && !self.namenodes[at].manager.is_active();
        if !self.namenodes[at].up {
            return false;
        }
        let copy = self.datanodes[node].copies.get(&id).copied();
        let namenode = &mut self.namenodes[at];
        let Some(index) = namenode.index_of(node) else {
            return false;
        };
        let taken = refuses || namenode.manager.mark_corrupt(block(id), index).is_ok();
        if let (true, Some(copy)) = (taken, copy.filter(|copy| !copy.good)) {
            namenode.told.insert((id, node, copy.number));
        }
        self.say(|| format!("NameNode {at} is told that {id} on {node} is bad"));
        taken
    }

    // --- clients and disks ---

    fn read(&mut self, id: i64) {
        let Some(active) = self.active() else { return };
        let namenode = &self.namenodes[active];
        if namenode.manager.in_safe_mode() {
            return;
        }
        let located = namenode.manager.located_block(POOL, block(id), 0, None);
        let nodes: Vec<usize> = located
            .locs
            .iter()
            .filter_map(|node| node.id.datanode_uuid.strip_prefix("uuid-")?.parse().ok())
            .collect();
        for &node in &nodes {
            let copy = self.datanodes[node].copies.get(&id).copied();
            let known = copy.is_some_and(|copy| self.namenodes[active].told.contains(&(id, node, copy.number)));
            if known && !located.corrupt {
                self.violate(format!(
                    "NameNode {active} names {id} on {node}, of which it was told that it is bad"
                ));
            }
        }
        let Some(&node) = nodes.first() else { return };
        let bad = self.datanodes[node].copies.get(&id).is_some_and(|copy| !copy.good);
        if self.datanodes[node].up && bad {
            self.count("bad replicas found by readers");
            self.told(active, id, node);
            if self.rng.u32(..4) > 0 {
                self.told(1 - active, id, node);
            }
        }
    }

    /// Never the last good one: what nobody can bring back proves nothing.
    fn rot(&mut self, node: usize, id: i64) {
        let good = self.good(id);
        if let Some(copy) = self.datanodes[node].copies.get_mut(&id)
            && copy.good
            && good > 1
        {
            copy.good = false;
            self.say(|| format!("{id} on {node} rots"));
            self.count("rotten replicas");
        }
    }

    fn good(&self, id: i64) -> usize {
        self.datanodes
            .iter()
            .filter(|datanode| datanode.copies.get(&id).is_some_and(|copy| copy.good))
            .count()
    }

    /// After the faults: every block gets its replicas back.
    fn heal(&mut self) {
        for at in 0..NAMENODES {
            if !self.namenodes[at].up {
                self.restart_namenode(at);
            }
        }
        for node in 0..DATANODES {
            if !self.datanodes[node].up {
                self.kill_or_start_datanode(node);
            }
        }
        for _ in 0..HEALING_ROUNDS {
            self.now.monotonic_ms += 3000;
            for at in 0..NAMENODES {
                self.tail(at);
                self.monitor(at);
            }
            for node in 0..DATANODES {
                for id in FIRST_ID..FIRST_ID + BLOCKS {
                    self.scan(node, id);
                }
                for to in 0..NAMENODES {
                    self.converse(node, to);
                }
                for _ in 0..20 {
                    self.work(node);
                }
            }
        }
        for id in FIRST_ID..FIRST_ID + BLOCKS {
            let (good, wanted) = (self.good(id), usize::from(self.replication(id)));
            // None at all: the NameNode gave the last one up while it knew nothing of the rot on the others.
            if good > 0 && good < wanted {
                self.violate(format!(
                    "{id} has {good} good replicas of {wanted} when all is well again"
                ));
            }
        }
        self.count("runs that healed");
    }
}

/// Who a node is to a NameNode.
pub(crate) fn uuid(node: usize) -> String {
    format!("uuid-{node}")
}

pub(crate) type Index = DatanodeIndex;
