//! Files that are written while machines fail: two NameNodes with the production's namesystem, three DataNodes whose
//! replicas lie on simulated disks, clients that create, write, flush, sync, append, truncate, close and die; one seed
//! gives every event. The world does what the shells do: it carries calls, packets, answers and commands.
//!
//! Faults at any step: a DataNode's process is killed, or its machine loses power, also in the middle of what it does; it
//! comes back soon or late; connections between DataNodes fail; answers of NameNodes are lost; notices and reports come
//! late and twice; a bit flips in a packet; the client dies; the active changes, is killed, is restarted without its soft
//! state; a DataNode is decommissioned.
//!
//! Rules, watched at every step:
//! - **acknowledged and flushed**: bytes of which an hflush was answered stay in the block as long as a DataNode that
//!   takes part in its recovery, or may still do so within the time after which it counts as dead, has them. After a loss
//!   of power on a machine nobody is owed more than what was synced and what every other replica has;
//! - **synced**: bytes of which an hsync was answered, and those that an append or a recovery found, are on the disk of
//!   each DataNode of the pipeline after its machine has lost power;
//! - **a stamp that was answered is on disk**, since a NameNode may log it;
//! - **a good replica is not marked**: when all is quiet, no complete replica with right bytes counts as corrupt;
//! - **what is known to be bad is marked**: once a DataNode has told the active everything, a replica that it found bad, and
//!   that has the block's stamp, counts as corrupt;
//! - a complete block has the length that was acknowledged, and no NameNode logs a length that DataNodes do not have;
//! - a reader gets at least what was flushed, and no other bytes than were written;
//! - no order deletes the last good replica of a block, and of a complete one no order deletes a good replica without
//!   leaving as many as the file wants, as far as no loss of power has taken them;
//! - a DataNode is not decommissioned while it alone has the bytes of an open file, as far as anybody can know: that another
//!   replica went with its machine's power is known when its DataNode has reported, or counts as dead;
//! - and when faults end, every file is closed, as long as it was acknowledged, and readable.
//!
//! The same actors and rules are a part of the whole cluster ([`crate::cluster`]): [`namenodes`] says what they need of
//! NameNodes.
//!
//! * [`client`]: the writing client. [`pipeline`]: packets and acknowledgements between DataNodes.
//! * [`datanode`]: replicas, disks, power. [`talk`]: what a DataNode and its NameNodes tell each other.
//! * [`recovery`]: block recovery by a primary DataNode. [`namenode`]: calls, the log, changes of role.
//! * [`promises`]: what was acknowledged, and the rules. [`reader`]: readers.

mod client;
mod datanode;
mod namenode;
mod namenodes;
mod pipeline;
mod promises;
mod reader;
mod recovery;
mod talk;

use crate::blocks::BlockOutcome;
use client::File;
use datanode::DataNode;
use hathi_blockmanager::Now;
use hathi_formats::ids::{BlockId, GenerationStamp};
use namenode::Pair;
pub(crate) use namenodes::{Answer, ClientCall, NameNodes};
use promises::{Ordered, Promise, Recovered};
use std::collections::BTreeMap;

/// NameNodes.
const NAMENODES: usize = 2;
/// DataNodes.
pub(crate) const DATANODES: usize = 3;
/// Files that are written at a time.
pub(crate) const FILES: usize = 2;
const STEPS: usize = 900;
const HEALING_ROUNDS: usize = 90;
/// Rounds after which an administrator lets a NameNode leave its safe mode. One that was restarted stays in it by itself when
/// a complete block that was never synced is gone with the power of its machines, and closes no file.
const SAFE_MODE_ROUNDS: usize = 20;
/// Between two rounds of healing. All of them take longer than any limit of the NameNodes.
const HEALING_ROUND_MS: u64 = 3_000;
const POOL: &str = "BP-sim";
/// Small, so that few bytes make many chunks and blocks.
const CHUNK: usize = 16;
const BLOCK_BYTES: usize = 5 * CHUNK;

/// A rule of the shells or the cores that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WritingMutant {
    /// A DataNode answers a new stamp before its names are on disk.
    NamesNotSynced,
    /// An hsync is answered without a sync.
    SyncAnsweredUnsynced,
    /// A replica that was synced is completed without another sync.
    CloseUnsynced,
    /// The checksum of a promised chunk is overwritten although the chunk's data was never synced.
    ChecksumBeforeData,
    /// A DataNode that can't be reached counts as one without a replica.
    UnreachableIsAbsent,
    /// A NameNode takes every result of a recovery.
    ResultsUnjudged,
    /// A NameNode that has just started drops a last block of which it has not heard.
    ReportsNotAwaited,
    /// A recovery does not know what a truncate has decided.
    TruncateForgotten,
    /// `updatePipeline` names what was sent, not what was acknowledged.
    SentLengthLogged,
    /// A reader takes a DataNode that does not know what is visible for one that shows nothing.
    FirstAnswerCounts,
    /// A DataNode with the only pipeline of an open file may be decommissioned.
    OpenBlocksMayGo,
    /// A DataNode reports a replica as bad that changed while it was read.
    UnverifiedReports,
    /// A complete replica whose end does not match its checksums takes part in a recovery like a good one.
    BadEndUnseen,
}

/// Every one of them.
pub const ALL_WRITING_MUTANTS: [WritingMutant; 13] = [
    WritingMutant::NamesNotSynced,
    WritingMutant::SyncAnsweredUnsynced,
    WritingMutant::CloseUnsynced,
    WritingMutant::ChecksumBeforeData,
    WritingMutant::UnreachableIsAbsent,
    WritingMutant::ResultsUnjudged,
    WritingMutant::ReportsNotAwaited,
    WritingMutant::TruncateForgotten,
    WritingMutant::SentLengthLogged,
    WritingMutant::FirstAnswerCounts,
    WritingMutant::OpenBlocksMayGo,
    WritingMutant::UnverifiedReports,
    WritingMutant::BadEndUnseen,
];

pub(crate) struct World<N> {
    rng: fastrand::Rng,
    mutant: Option<WritingMutant>,
    pub(crate) now: Now,
    pub(crate) namenodes: N,
    datanodes: Vec<DataNode>,
    files: Vec<File>,
    promises: BTreeMap<BlockId, Promise>,
    /// Results of recoveries that a NameNode has taken, by the block and its new stamp, until they stay.
    results: BTreeMap<(BlockId, GenerationStamp), Recovered>,
    /// Recoveries that were ordered, by the block and its new stamp.
    ordered: BTreeMap<(BlockId, GenerationStamp), Ordered>,
    /// The DataNode that an administrator wants to be rid of.
    leaving: Option<usize>,
    /// Counts clients, connections and calls.
    numbers: u64,
    /// Faults have ended.
    quiet: bool,
    tracing: bool,
    pub(crate) outcome: BlockOutcome,
}

/// Runs one seed.
#[must_use]
pub fn run_writing(seed: u64, mutant: Option<WritingMutant>, trace: bool) -> BlockOutcome {
    let mut world = World::alone(seed, mutant, trace);
    for _ in 0..STEPS {
        world.step();
        world.check();
        world.check_leaving();
        if world.outcome.violation.is_some() {
            return world.outcome;
        }
    }
    world.heal();
    world.outcome
}

impl<N: NameNodes> World<N> {
    fn new(namenodes: N, rng: fastrand::Rng, mutant: Option<WritingMutant>, now: Now, tracing: bool) -> Self {
        World {
            datanodes: (0..DATANODES)
                .map(|_| DataNode::new(namenodes.count(), mutant))
                .collect(),
            files: (0..FILES).map(File::new).collect(),
            namenodes,
            now,
            promises: BTreeMap::new(),
            results: BTreeMap::new(),
            ordered: BTreeMap::new(),
            leaving: None,
            numbers: 0,
            quiet: false,
            tracing,
            outcome: BlockOutcome::default(),
            rng,
            mutant,
        }
    }

    fn is(&self, mutant: WritingMutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.tracing {
            let line = format!("{:>7} {}", self.now.monotonic_ms - 100_000, what());
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

    /// A fault that happens once in `times`.
    fn unlucky(&mut self, times: u32) -> bool {
        !self.quiet && self.rng.u32(..times) == 0
    }

    /// A part of the whole cluster.
    pub(crate) fn among_others(namenodes: N, rng: fastrand::Rng, mutant: Option<WritingMutant>, tracing: bool) -> Self {
        World::new(namenodes, rng, mutant, Now::default(), tracing)
    }

    /// Something happens, in the whole cluster. It is asked whether a fault may happen.
    pub(crate) fn step_among_others(&mut self, may: &mut dyn FnMut(&'static str) -> bool) {
        let (node, to) = (self.rng.usize(..DATANODES), self.rng.usize(..self.namenodes.count()));
        let file = self.rng.usize(..FILES);
        match self.rng.u32(..1000) {
            0..400 => self.client_step(file),
            400..610 => self.move_packets(),
            610..690 => self.recovery_step(node),
            690..745 => self.heartbeat(node, to),
            745..810 => self.hear(node, to),
            810..816 => self.lose(node, to),
            816..850 => self.send_notices(node, to),
            850..865 => self.send_report(node, to),
            865..885 => self.work(node),
            885..905 => self.read(file),
            905..909 if may("DataNode killed") => self.stop_datanode(node, false),
            909..914 if may("DataNode lost its power") => self.stop_datanode(node, true),
            914..917 if may("DataNode lost its power in the middle") => self.stop_in_the_middle(node),
            917..930 => self.start_datanode(node),
            930..970 => self.exchange(),
            _ => {}
        }
    }

    /// What goes on when the faults have ended.
    pub(crate) fn exchange_after_faults(&mut self, scans: bool) {
        self.exchange();
        for node in (0..DATANODES).filter(|_| scans) {
            self.scan_blocks(node);
        }
    }

    /// A NameNode's process is gone.
    pub(crate) fn namenode_died(&mut self, at: usize) {
        for datanode in &mut self.datanodes {
            datanode.talks[at].broken();
        }
    }

    /// DataNodes and NameNodes tell each other everything, and DataNodes do something of what they are to do.
    fn exchange(&mut self) {
        for node in 0..DATANODES {
            for to in 0..self.namenodes.count() {
                self.converse(node, to);
            }
            self.work(node);
            self.recovery_step(node);
        }
    }

    /// What is to happen to DataNodes and clients when the faults end.
    pub(crate) fn end_faults(&mut self) {
        self.quiet = true;
        for node in 0..DATANODES {
            self.finish_power_cut(node);
            self.start_datanode(node);
        }
        for file in 0..FILES {
            self.client_dies(file);
        }
    }
}

impl World<Pair> {
    fn alone(seed: u64, mutant: Option<WritingMutant>, tracing: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let now = Now {
            monotonic_ms: 100_000,
            wall_ms: 1_700_000_000_000,
        };
        let namenodes = Pair::new(NAMENODES, || rng.u64(..), mutant, now);
        let mut world = World::new(namenodes, rng, mutant, now, tracing);
        world.take_over(0, false);
        for _ in 0..3 {
            world.pass(1_000);
            world.settle();
        }
        world
    }

    fn pass(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.wall_ms += ms;
    }

    fn step(&mut self) {
        let ms = self.rng.u64(0..300);
        self.pass(ms);
        let (node, to) = (self.rng.usize(..DATANODES), self.rng.usize(..NAMENODES));
        let file = self.rng.usize(..FILES);
        match self.rng.u32(..1000) {
            0..330 => self.client_step(file),
            330..560 => self.move_packets(),
            560..660 => self.recovery_step(node),
            660..730 => self.heartbeat(node, to),
            730..800 => self.hear(node, to),
            800..806 => self.lose(node, to),
            806..846 => self.send_notices(node, to),
            846..866 => self.send_report(node, to),
            866..881 => self.work(node),
            881..901 => self.tend(to),
            901..921 => self.read(file),
            921..926 => self.stop_datanode(node, false),
            926..932 => self.stop_datanode(node, true),
            932..936 => self.stop_in_the_middle(node),
            936..950 => self.start_datanode(node),
            950..955 => self.take_over(to, false),
            955..957 => self.take_over(to, true),
            957..959 => self.restart_namenode(to),
            959..962 => self.decommission(node),
            // A long silence, in which leases and nodes expire.
            962..964 => {
                let ms = self.rng.u64(0..20_000);
                self.pass(ms);
            }
            _ => self.settle(),
        }
    }

    /// A round in which everything arrives that does not depend on clients.
    fn settle(&mut self) {
        self.exchange();
        for at in 0..NAMENODES {
            self.tend(at);
        }
    }

    /// After the faults: every file is closed, whole and readable.
    fn heal(&mut self) {
        self.quiet = true;
        for at in 0..NAMENODES {
            if !self.namenodes.all[at].up {
                self.restart_namenode(at);
            }
        }
        self.recommission();
        self.end_faults();
        for round in 0..HEALING_ROUNDS {
            self.pass(HEALING_ROUND_MS);
            if round == SAFE_MODE_ROUNDS {
                self.leave_safe_mode();
            }
            for _ in 0..6 {
                self.settle();
            }
            self.check();
            self.check_leaving();
            for node in 0..DATANODES {
                self.scan_blocks(node);
            }
            if self.outcome.violation.is_some() {
                return;
            }
            if (0..FILES).all(|file| self.has_healed(file)) {
                self.check_marks();
                for file in 0..FILES {
                    self.read(file);
                }
                return self.count("runs that healed");
            }
        }
        for file in 0..FILES {
            if !self.has_healed(file) {
                let state = self.describe(file);
                self.violate(format!("file {file} was not closed and replicated again: {state}"));
            }
        }
    }
}
