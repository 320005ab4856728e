//! Virtual time, the queue of events, the only random generator, and all parts of the simulated cluster.

use std::collections::BTreeMap;
use std::path::Path;

use fastrand::Rng;
use hathi_formats::ids::{Epoch, TxId};
use hathi_journal::acceptor::Download;
use hathi_journal::messages::Answer;
use hathi_journal::mutant::Mutant;
use hathi_journal::segments::SegmentName;
use hathi_journal::writer::{CallError, CallId};
use hathi_journal::{Handled, JournalError, Request, WriterAction};
use hathi_storage::{Disk, DiskFile};

use crate::checkers::Verdict;
use crate::checkers::acknowledged::Acknowledged;
use crate::checkers::epochs::Epochs;
use crate::checkers::leases::{self, Holder};
use crate::checkers::segments::Finalized;
use crate::journalnode::{Clock, Effect, JournalNode};
use crate::knobs::{Knobs, Micros};
use crate::namenode::{NameNode, WriterRole, namespace_info};
use crate::network::{Message, Node, Partitions};
use crate::ops;

mod delivery;
mod duels;
mod liars;
mod membership;
mod readers;
mod upkeep;
mod writers;

/// Something that happens at some time.
#[derive(Debug)]
pub enum Event {
    /// A request arrives.
    Request(Box<Message>),
    /// An answer arrives.
    Answer(Box<Message>, Result<Answer, CallError>),
    /// A NameNode notices that a connection is broken.
    Broken {
        /// NameNode that notices it.
        nn: usize,
        /// Life of that NameNode.
        nn_life: u64,
        /// JournalNode at the other end.
        jn: usize,
        /// Number of the connection.
        connection: u64,
    },
    /// A call has waited too long for its answer.
    Timeout {
        /// NameNode that called.
        nn: usize,
        /// Life of that NameNode.
        nn_life: u64,
        /// JournalNode that was called.
        jn: usize,
        /// Number of the connection.
        connection: u64,
        /// Number of the call.
        call: CallId,
    },
    /// A sync of a JournalNode is done.
    SyncDone {
        /// The JournalNode.
        jn: usize,
        /// Life of that JournalNode.
        life: u64,
    },
    /// A JournalNode has fetched a segment, or failed to.
    Fetched {
        /// The JournalNode.
        jn: usize,
        /// Life of that JournalNode.
        life: u64,
        /// The call that needs the segment.
        message: Box<Message>,
        /// The segment.
        download: Download,
        /// JournalNode from which it was fetched.
        from: usize,
    },
    /// A writer's timer fires.
    Tick {
        /// The NameNode.
        nn: usize,
        /// Life of that NameNode.
        nn_life: u64,
        /// Attempt of the writer.
        attempt: u64,
    },
    /// A NameNode has something to write.
    Work {
        /// The NameNode.
        nn: usize,
        /// Life of that NameNode.
        nn_life: u64,
        /// Attempt of the writer.
        attempt: u64,
    },
    /// An elector checks whether its NameNode should become the writer.
    Elect {
        /// The NameNode.
        nn: usize,
        /// Whether it checks again later.
        again: bool,
    },
    /// A standby reads committed edits.
    Tail,
    /// A standby reads in Java's way.
    TailAsJava,
    /// A JournalNode asks a peer for segments that it lacks.
    Compare {
        /// The JournalNode.
        jn: usize,
        /// Number of times that it has done so before.
        turn: usize,
    },
    /// A JournalNode has fetched a finalized segment from a peer.
    Missed {
        /// The JournalNode.
        jn: usize,
        /// Life of that JournalNode.
        life: u64,
        /// The segment.
        name: SegmentName,
    },
    /// The operator changes the JournalNodes.
    Operate,
    /// Check whether all JournalNodes have caught up after the faults.
    CaughtUp,
    /// A JournalNode's process starts.
    StartJournalNode(usize),
    /// A NameNode's process starts.
    StartNameNode(usize),
    /// The nemesis does something.
    Nemesis,
    /// A process that is no NameNode sends something.
    Stranger,
    /// A candidate that will lose gets a promise.
    Duel,
    /// The nemesis does something to a clock.
    ClockNemesis,
    /// The effect of a fault ends.
    Repair(Repair),
    /// The faults end.
    Heal,
    /// The run ends.
    End,
}

/// The end of a fault.
#[derive(Clone, Copy, Debug)]
pub enum Repair {
    /// A direction of the network opens.
    Open(Node, Node),
    /// A disk is fast again.
    Fast(usize),
    /// A disk has space again.
    Space(usize),
    /// Planned failures of syncs that have not happened are cancelled.
    Syncs(usize),
}

/// Result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Hash of every event in order.
    pub trace_hash: u64,
    /// The rule that was broken, if any.
    pub violation: Option<String>,
    /// Number of acknowledged transactions.
    pub acknowledged: u64,
    /// Number of writers.
    pub epochs: u64,
    /// How often each fault ([`crate::nemesis::FAULTS`]) and each other rare event happened.
    pub marks: BTreeMap<&'static str, u64>,
}

/// A run to be made.
#[derive(Clone, Debug, Default)]
pub struct JournalPlan {
    /// The seed, which determines everything else.
    pub seed: u64,
    /// A planted bug.
    pub mutant: Option<Mutant>,
    /// Faults ([`crate::nemesis::FAULTS`]) that are left out.
    pub without: Vec<&'static str>,
    /// Whether every event is written to the standard error output.
    pub verbose: bool,
    /// Number of empty JournalNodes beside the first ones. With any, an operator adds and removes JournalNodes.
    pub spares: usize,
    /// NameNodes' clocks run as slow and JournalNodes' as fast as leases allow, and a NameNode that waits for a lease
    /// tries at the moment when it ends. So the allowance for drift decides.
    pub sharp_leases: bool,
    /// Calls that are not part of daily writing often arrive twice, the second time seconds later.
    pub late_copies: bool,
    /// Machines are suspended, clocks stop, jump and change their rates, and the longest lease of a JournalNode is
    /// configured anew, as far as leases allow it ([`crate::nemesis::CLOCK_FAULTS`]).
    pub wild_clocks: bool,
    /// One JournalNode exaggerates everything that it says in an election. Strangers who know only public facts send
    /// messages to all JournalNodes.
    pub liar: bool,
    /// Candidates that lose get the promise of one JournalNode, again and again.
    pub duels: bool,
}

/// The simulated cluster.
#[derive(Debug)]
pub struct World {
    /// The only random generator.
    pub rng: Rng,
    /// The time.
    pub now: Micros,
    /// The settings.
    pub knobs: Knobs,
    /// The JournalNodes.
    pub jns: Vec<JournalNode>,
    /// The NameNodes.
    pub nns: Vec<NameNode>,
    /// Blocked directions.
    pub partitions: Partitions,
    /// Whether the faults are over.
    pub healed: bool,
    /// How often rare things happened.
    pub marks: BTreeMap<&'static str, u64>,
    queue: BTreeMap<(Micros, u64), Event>,
    sequence: u64,
    trace_hash: u64,
    pub(crate) plan: JournalPlan,
    /// The members of the newest membership that a writer has heard of.
    pub(crate) members: Vec<usize>,
    newest: Option<hathi_journal::Membership>,
    acknowledged: Acknowledged,
    epochs: Epochs,
    violation: Option<String>,
    acknowledged_at_heal: u64,
    /// After the faults enough was written up to here. All JournalNodes must have it.
    target: Option<u64>,
    done: bool,
    /// Older transactions may have been purged.
    pub(crate) min_to_keep: u64,
    /// The next transaction that the reading standby needs.
    tail_from: u64,
    /// The next transaction that the standby needs which reads in Java's way.
    java_tail_from: u64,
    /// The random generator of that standby. A reader changes nothing, so it must not change other draws.
    reader_rng: Rng,
    /// The JournalNode that lies.
    liar: Option<usize>,
    /// The random generator for lies and strangers.
    liar_rng: Rng,
}

/// Runs a seed.
pub fn run(plan: &JournalPlan) -> Outcome {
    let mut world = World::new(plan);
    world.run();
    world.count_losses();
    Outcome {
        seed: plan.seed,
        trace_hash: world.trace_hash,
        violation: world.violation,
        acknowledged: world.acknowledged.count(),
        epochs: world.epochs.count(),
        marks: world.marks,
    }
}

/// Number of transactions that the healed world must acknowledge.
const PROGRESS: u64 = 20;
/// Largest number of events in a run. More of them are a livelock.
const MAX_EVENTS: u64 = 2_000_000;

impl World {
    fn new(plan: &JournalPlan) -> Self {
        let mut rng = Rng::with_seed(plan.seed);
        let mut knobs = Knobs::draw(&mut rng);
        if plan.sharp_leases {
            knobs.sharpen_leases();
        }
        if plan.without.contains(&"clock drift") {
            knobs.drift_ppm.fill(0);
        }
        let mut plan = plan.clone();
        if plan.spares > 0 {
            knobs.java.fill(false);
            plan.without.extend(membership::LOSSES);
        }
        if plan.liar {
            // Hadoop's JournalNodes believe every caller. So do ours when no lease tells the writer from others.
            knobs.java.fill(false);
            knobs.lease_ms = knobs.lease_ms.max(100);
            plan.without.extend(liars::LOSSES);
        }
        let mut clock = |i: usize| {
            let drift_ppm = knobs.drift_ppm.get(i).copied().unwrap_or(0);
            Clock::new(drift_ppm, rng.u64(0..1_000_000_000))
        };
        let mut jns: Vec<_> = (0..knobs.journalnodes)
            .map(|i| JournalNode::new(i, clock(i), knobs.java[i], plan.mutant))
            .collect();
        let nns = (0..knobs.namenodes)
            .map(|i| NameNode::new(i, clock(knobs.journalnodes + i), knobs.journalnodes + plan.spares))
            .collect();
        let spares = (0..plan.spares).map(|i| knobs.journalnodes + i);
        jns.extend(spares.map(|i| JournalNode::new(i, clock(usize::MAX), false, plan.mutant)));
        let seed = plan.seed;
        let liar = plan.liar.then(|| seed as usize % knobs.journalnodes);
        World {
            rng,
            now: 0,
            jns,
            nns,
            members: (0..knobs.journalnodes).collect(),
            newest: None,
            knobs,
            partitions: Partitions::default(),
            healed: false,
            marks: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            trace_hash: plan.seed,
            plan,
            acknowledged: Acknowledged::default(),
            epochs: Epochs::default(),
            violation: None,
            acknowledged_at_heal: 0,
            target: None,
            min_to_keep: 0,
            done: false,
            tail_from: 1,
            java_tail_from: 1,
            reader_rng: Rng::with_seed(!seed),
            liar,
            liar_rng: Rng::with_seed(seed.rotate_left(32)),
        }
    }

    /// Schedules an event.
    pub fn at(&mut self, time: Micros, event: Event) {
        self.sequence += 1;
        self.queue.insert((time.max(self.now), self.sequence), event);
    }

    /// A time between half and one and a half of the mean.
    pub fn around(&mut self, mean: Micros) -> Micros {
        mean / 2 + self.rng.u64(0..=mean)
    }

    /// True once in this many calls.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.rng.u64(0..n.max(1)) == 0
    }

    /// Counts a rare event.
    pub fn mark(&mut self, what: &'static str) {
        *self.marks.entry(what).or_default() += 1;
        self.trace(&what);
    }

    /// Whether this fault may happen now. Counts it.
    pub(crate) fn fault(&mut self, what: &'static str) -> bool {
        let happens = !self.healed && !self.plan.without.contains(&what);
        if happens {
            self.mark(what);
        }
        happens
    }

    /// Adds something to the hash of the trace, and prints it when asked to.
    pub fn trace(&mut self, what: &dyn std::fmt::Debug) {
        let text = format!("{what:?}");
        self.trace_hash = self.trace_hash.rotate_left(7) ^ ops::hash(text.as_bytes());
        if self.plan.verbose {
            let mut text = text;
            if text.len() > 360 {
                let cut = (0..=360).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
                text.truncate(cut);
            }
            eprintln!("{:>9} {text}", self.now);
        }
    }

    fn check(&mut self, verdict: Verdict) {
        if let Err(what) = verdict
            && self.violation.is_none()
        {
            self.violation = Some(format!("at {} us: {what}", self.now));
        }
    }

    fn run(&mut self) {
        for jn in 0..self.jns.len() {
            self.start_journalnode(jn);
            let format = Request::Format {
                ns_info: namespace_info(),
                force: false,
            };
            if jn < self.knobs.journalnodes
                && let Some(acceptor) = &mut self.jns[jn].acceptor
                && let Handled::Now(Err(error)) = acceptor.handle(&format, 0)
            {
                self.violation = Some(format!("format: {error}"));
            }
        }
        for nn in 0..self.nns.len() {
            let first = self.rng.u64(0..50_000);
            self.at(first, Event::Elect { nn, again: true });
        }
        self.at(10_000, Event::Tail);
        self.at(10_000, Event::TailAsJava);
        for jn in 0..self.jns.len() {
            let first = self.around(self.knobs.compare_every);
            self.at(first, Event::Compare { jn, turn: 0 });
        }
        if self.plan.spares > 0 {
            self.at(100_000, Event::Operate);
        }
        if self.knobs.drift_ppm.iter().any(|ppm| *ppm != 0) {
            self.mark("clock drift");
        }
        let first_fault = self.around(self.knobs.fault_every);
        self.at(first_fault, Event::Nemesis);
        if self.plan.liar {
            self.at(first_fault / 3, Event::Stranger);
        }
        if self.plan.duels {
            self.at(first_fault / 2, Event::Duel);
        }
        if self.plan.wild_clocks {
            self.at(first_fault / 2, Event::ClockNemesis);
        }
        self.at(self.knobs.faults_until, Event::Heal);
        self.at(self.knobs.faults_until + self.knobs.patience, Event::End);
        let mut events = 0;
        while self.violation.is_none() && !self.done {
            let Some(((time, _), event)) = self.queue.pop_first() else {
                break;
            };
            self.now = time;
            self.step(event);
            events += 1;
            if events > MAX_EVENTS {
                self.violation = Some("too many events: a livelock".to_owned());
            }
        }
        if self.violation.is_none() {
            self.check_disks();
        }
    }

    fn step(&mut self, event: Event) {
        if let Some((nn, until)) = self.paused(&event) {
            self.trace(&("paused", nn));
            self.at(until, event);
            return;
        }
        if !matches!(event, Event::Tick { .. }) {
            self.trace(&event);
        }
        match event {
            Event::Request(message) => self.request_arrives(*message),
            Event::Answer(message, result) => self.answer_arrives(*message, result),
            Event::Broken {
                nn,
                nn_life,
                jn,
                connection,
            } => self.connection_broken(nn, nn_life, jn, connection),
            Event::Timeout {
                nn,
                nn_life,
                jn,
                connection,
                call,
            } => self.timed_out(nn, nn_life, jn, connection, call),
            Event::SyncDone { jn, life } => {
                if self.jns[jn].life == life {
                    let effects = self.jns[jn].sync_done();
                    self.journalnode_effects(jn, effects);
                }
            }
            Event::Fetched {
                jn,
                life,
                message,
                download,
                from,
            } => self.fetched(jn, life, *message, download, from),
            Event::Tick { nn, nn_life, attempt } => {
                if self.is_attempt(nn, nn_life, attempt) {
                    self.nns[nn].tick_at = None;
                    self.with_writer(nn, |writer, now, out| writer.tick(now, out));
                }
            }
            Event::Work { nn, nn_life, attempt } => {
                if self.is_attempt(nn, nn_life, attempt) {
                    self.work(nn);
                }
            }
            Event::Elect { nn, again } => self.elect(nn, again),
            Event::Tail => self.tail(),
            Event::TailAsJava => self.tail_as_java(),
            Event::Compare { jn, turn } => self.compare(jn, turn),
            Event::Missed { jn, life, name } => self.missed(jn, life, &name),
            Event::Operate => self.operate(),
            Event::CaughtUp => self.look_whether_caught_up(),
            Event::StartJournalNode(jn) => self.start_journalnode(jn),
            Event::StartNameNode(nn) => {
                if !self.nns[nn].alive {
                    self.nns[nn].alive = true;
                    self.nns[nn].life += 1;
                    self.nns[nn].asked_before = Epoch(0);
                }
            }
            Event::Nemesis => {
                if !self.healed {
                    self.nemesis();
                    let next = self.now + self.around(self.knobs.fault_every);
                    self.at(next, Event::Nemesis);
                }
            }
            Event::Stranger => {
                if !self.healed {
                    self.stranger();
                    let next = self.now + self.around(self.knobs.fault_every / 3);
                    self.at(next, Event::Stranger);
                }
            }
            Event::Duel => {
                if !self.healed {
                    self.duel();
                    let next = self.now + self.around(self.knobs.fault_every / 4);
                    self.at(next, Event::Duel);
                }
            }
            Event::ClockNemesis => {
                if !self.healed {
                    self.clock_nemesis();
                    let next = self.now + self.around(self.knobs.fault_every / 2);
                    self.at(next, Event::ClockNemesis);
                }
            }
            Event::Repair(repair) => self.repair(repair),
            Event::Heal => self.heal(),
            Event::End => {
                let gained = self.acknowledged.count() - self.acknowledged_at_heal;
                let behind = match self.target {
                    Some(target) => self.lagging(target),
                    None => Some(format!("only {gained} transactions")),
                };
                if let Some(what) = behind.filter(|_| self.violation.is_none()) {
                    self.violation = Some(format!(
                        "no progress: {what} in {} us after everything was healed; {}",
                        self.knobs.patience,
                        self.describe()
                    ));
                }
            }
        }
        if self.plan.mutant.is_none() {
            for jn in &self.jns {
                if let Some(acceptor) = &jn.acceptor {
                    acceptor.check();
                }
            }
            for nn in &self.nns {
                if let Some(writer) = &nn.writer {
                    writer.check();
                }
            }
        }
    }

    fn describe(&self) -> String {
        let nns: Vec<_> = self.nns.iter().map(|nn| (nn.alive, nn.role, nn.epoch)).collect();
        let jns: Vec<_> = self
            .jns
            .iter()
            .map(|jn| {
                jn.acceptor
                    .as_ref()
                    .map(|a| (jn.java, a.gauges(), a.is_joining(), a.failure().map(str::to_owned)))
            })
            .collect();
        format!("{nns:?} {jns:?}")
    }

    /// The NameNode that is paused when an event would reach it, and the end of the pause.
    fn paused(&self, event: &Event) -> Option<(usize, Micros)> {
        let nn = match event {
            Event::Answer(message, _) => message.nn,
            Event::Broken { nn, .. }
            | Event::Timeout { nn, .. }
            | Event::Tick { nn, .. }
            | Event::Work { nn, .. }
            | Event::Elect { nn, .. } => *nn,
            _ => return None,
        };
        let until = self.nns[nn].paused_until;
        (until > self.now).then_some((nn, until))
    }

    fn is_attempt(&self, nn: usize, nn_life: u64, attempt: u64) -> bool {
        let nn = &self.nns[nn];
        nn.alive && nn.life == nn_life && nn.attempt == attempt && nn.writer.is_some()
    }

    // ---- JournalNodes

    fn start_journalnode(&mut self, jn: usize) {
        if self.jns[jn].acceptor.is_some() {
            return;
        }
        let started = self.jns[jn].start(self.now);
        if started
            .as_ref()
            .is_err_and(|e| self.jns[jn].disk.is_full() || e.contains("injected"))
        {
            // A failed sync at the start stops the machine, as any other failed sync does.
            self.crash_journalnode(jn, true);
            return self.at(self.now + 100_000, Event::StartJournalNode(jn));
        }
        if self.jns[jn].damaged && started.is_err() {
            return self.replace_damaged(jn);
        }
        self.check(started);
        let unformatted = self.jns[jn].acceptor.as_ref().is_some_and(|a| !a.is_formatted());
        if self.jns[jn].wiped && unformatted && !self.join(jn) {
            // Its peers did not answer, or its disk failed. It tries again, as the shell does.
            self.jns[jn].stop();
            self.jns[jn].disk.wipe();
            let later = self.now + 100_000;
            self.at(later, Event::StartJournalNode(jn));
        }
    }

    /// A JournalNode with an empty disk asks its peers what they promised.
    fn join(&mut self, jn: usize) -> bool {
        let mut promises = Vec::new();
        for other in 0..self.jns.len() {
            let reachable = other != jn && self.partitions.exchange(jn, other);
            let acceptor = self.jns[other]
                .acceptor
                .as_ref()
                .filter(|a| reachable && !a.is_joining());
            promises.extend(acceptor.and_then(|a| a.promised_epoch()));
        }
        if promises.len() < self.jns.len() / 2 + 1 || self.jns[jn].disk.is_full() {
            return false;
        }
        let promise = promises.into_iter().max().unwrap_or(Epoch(0));
        let local = self.jns[jn].clock.at(self.now);
        self.mark("joining");
        let joined = match &mut self.jns[jn].acceptor {
            Some(acceptor) => acceptor.format_joining(&namespace_info(), promise, None, local),
            None => Ok(()),
        };
        joined.is_ok()
    }

    // ---- the end of the faults, and what must hold of the disks

    fn heal(&mut self) {
        self.healed = true;
        self.partitions.heal();
        self.acknowledged_at_heal = self.acknowledged.count();
        self.at(self.now + 100_000, Event::CaughtUp);
        for jn in 0..self.jns.len() {
            self.jns[jn].slowness = 1;
            self.jns[jn].disk.set_full(false);
            self.jns[jn].disk.fail_syncs(0);
            if self.jns[jn]
                .acceptor
                .as_ref()
                .is_some_and(|acceptor| acceptor.failure().is_some())
            {
                let power = self.rng.bool();
                self.crash_journalnode(jn, power);
            }
            self.start_journalnode(jn);
        }
        for nn in &mut self.nns {
            nn.paused_until = 0;
            if !nn.alive {
                nn.alive = true;
                nn.life += 1;
                nn.asked_before = Epoch(0);
            }
        }
    }

    /// Finalized segments agree with each other and with the acknowledged transactions.
    fn check_finalized(&mut self) -> Finalized {
        let mut finalized = Finalized::default();
        let mut verdicts = Vec::new();
        for jn in &self.jns {
            for (name, data) in segment_files(jn) {
                let Some(end) = name.end else {
                    continue;
                };
                if jn.flipped.contains(&name.start.0) {
                    continue;
                }
                let contents = ops::read_segment(&data, name.start);
                verdicts.push(finalized.found(jn.index, name.start.0, end.0, &contents));
                verdicts.push(finalized.bytes(jn.index, name.start.0, &data));
                verdicts.push(self.acknowledged.finalized(&contents));
            }
        }
        for verdict in verdicts {
            self.check(verdict);
        }
        finalized
    }

    /// Every acknowledged transaction is on some disk.
    fn check_disks(&mut self) {
        let finalized = self.check_finalized();
        let mut log = finalized.log().clone();
        // The open segment of the present writer is not finalized. The recovery checker decides what a majority would
        // recover of it. Here any copy with the acknowledged content counts.
        let mut unfinished: Vec<(u64, u64)> = Vec::new();
        for jn in &self.jns {
            for (name, data) in segment_files(jn) {
                if name.end.is_none() {
                    unfinished.extend(ops::read_segment(&data, name.start));
                }
            }
        }
        for (txid, content) in unfinished {
            if self.acknowledged.finalized(&[(txid, content)]).is_ok() {
                log.entry(txid).or_insert(content);
            }
        }
        let verdict = self.acknowledged.log(&log, self.min_to_keep);
        self.check(verdict);
    }
}

/// The segments on a JournalNode's disk, as its process would read them now.
fn segment_files(jn: &JournalNode) -> Vec<(SegmentName, Vec<u8>)> {
    let current = JournalNode::root().join("current");
    let entries = jn.disk.list(&current).unwrap_or_default();
    let names = entries.iter().filter_map(|entry| SegmentName::parse(&entry.name));
    names
        .filter_map(|name| {
            let data = jn.disk.read_small(&current.join(name.file_name())).ok()??;
            Some((name, data))
        })
        .collect()
}

fn copy<D: Disk>(from: &D, path: &Path, to: &D, target: &Path) -> Result<(), String> {
    let data = from.read_small(path).map_err(|e| e.to_string())?.ok_or("gone")?;
    let file = to.create(target).map_err(|e| e.to_string())?;
    file.write_at(0, &data).map_err(|e| e.to_string())?;
    file.sync_data().map_err(|e| e.to_string())
}
