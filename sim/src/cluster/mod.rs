//! The whole cluster in virtual time: JournalNodes on simulated disks, NameNodes with the production's namesystem, changes
//! of role, reply gate, quorum writer and tailing, a failover controller beside each, and clients; one seed gives every
//! event. One run in four has DataNodes as well, and clients that write files with pipelines, append, truncate, and read.
//!
//! Faults: anything is killed and started again, at any moment and between any two steps of a change of role; processes
//! stand still for longer than leases, also between the look at the lease and the reply; messages are lost, late by seconds,
//! doubled, or blocked in one direction; clocks differ as far as leases allow; disks are slow and lose what was not synced;
//! one JournalNode loses all; NameNodes lose their power, also in the middle of a change of their disk, syncs of theirs fail,
//! their disks are full, and one of them loses a name directory, or bits of its images flip; administrators move the active role, politely and rudely; uploads of images are slow, torn or
//! interrupted; DataNodes are killed, or lose their power in the middle of a change, and come back with what is on disk.
//!
//! Rules, watched as it goes:
//! - **answers** ([`crate::checkers::answers`]): no read is stale or shows what may be taken back, nothing acknowledged is
//!   lost, what is to be served once is served once;
//! - **service** ([`crate::checkers::service`]): nobody answers beside a newer active;
//! - **kept calls**: no active begins a change that a standby has kept or passed on for a client that is gone;
//! - **replicas** ([`crate::checkers::replicas`]): all namespaces are what the journal makes of them;
//! - the rules about bytes and replicas of [`crate::writing`], which look at the namespace of the edits that stay;
//! - **images** ([`crate::checkers::images`]): what is published and loaded is an image that was made whole, every start finds
//!   one, and edits are deleted only when an image that is durable holds them;
//! - the journal's rules ([`crate::checkers::acknowledged`], [`crate::checkers::epochs`]);
//! - the cores' own `check()`, and nothing grows without bound;
//! - when faults end every call is answered, one NameNode is active, and the others have caught up; files whose clients are
//!   gone are closed, and complete blocks have their replicas.
//!
//! * [`shell`], [`settings`], [`roles`], [`tail`], [`serve`], [`standby_calls`], [`checkpoints`]: a NameNode's process, which
//!   does what `node/namenode` does; its tasks are futures ([`tasks`]).
//! * [`calls`]: who calls, and what a NameNode knows of it. [`images`]: images on their way. [`monitors`]: what a NameNode
//!   does by itself. `datanodes`: how the actors of [`crate::writing`] live in this world.
//! * `namenodes`, `name_dirs`, `journalnodes`, `controllers`, `clients`: the machines. `delivery`: messages on their way.
//!   `nemesis`: the faults. `watch`: the rules.
//! * [`mutants`]: planted bugs.

pub mod calls;
pub mod checkpoints;
pub mod images;
pub mod knobs;
pub mod monitors;
pub mod mutants;
pub mod roles;
pub mod serve;
pub mod settings;
pub mod shell;
pub mod standby_calls;
pub mod tail;
pub mod tasks;

mod clients;
mod controllers;
mod datanodes;
mod delivery;
mod journalnodes;
mod name_dirs;
mod namenodes;
mod nemesis;
mod watch;

use crate::checkers::Verdict;
use crate::journalnode::{Clock, JournalNode};
use crate::knobs::Micros;
use crate::network::{Message, Node, Partitions};
use crate::ops;
use crate::world::Outcome;
use calls::{Call, Waiting};
use clients::{Client, Heard};
use controllers::{Controlled, ControllerStep};
use datanodes::DataNodes;
use fastrand::Rng;
use hathi_journal::acceptor::Download;
use hathi_journal::messages::Answer;
use hathi_journal::writer::{CallError, CallId};
use hathi_namesystem::save_namespace::Canceler;
use images::SentImage;
use knobs::Knobs;
use mutants::{ClusterMutant, Planted};
use namenodes::NameNode;
pub use nemesis::CLUSTER_FAULTS;
use shell::{Asker, Parked};
use standby_calls::Ends;
use std::collections::BTreeMap;
use watch::Truth;

/// A run to be made.
#[derive(Clone, Debug, Default)]
pub struct ClusterPlan {
    /// The seed, which determines everything else.
    pub seed: u64,
    /// A planted bug.
    pub mutant: Option<ClusterMutant>,
    /// Faults ([`CLUSTER_FAULTS`]) that are left out.
    pub without: Vec<&'static str>,
    /// When the faults end, in microseconds, if the seed is not to say so.
    pub faults_until: Option<Micros>,
    /// Whether every event is written to the standard error output.
    pub verbose: bool,
}

/// Something that happens at some time.
#[derive(Debug)]
enum Event {
    /// A request arrives at a JournalNode.
    Request(Box<Message>),
    /// A sync of a JournalNode is done.
    SyncDone { jn: usize, life: u64 },
    /// A JournalNode has fetched a segment.
    Fetched {
        jn: usize,
        life: u64,
        message: Box<Message>,
        download: Download,
        from: usize,
    },
    /// Calls that wait at a JournalNode are looked at.
    JournalNodeWakes(usize),
    /// A JournalNode's process starts.
    StartJournalNode(usize),
    /// An answer to a writer arrives.
    Answer(Box<Message>, Result<Answer, CallError>),
    /// A NameNode notices that a connection to a JournalNode is broken.
    Broken {
        nn: usize,
        nn_life: u64,
        jn: usize,
        connection: u64,
    },
    /// A writer's call has waited for too long.
    Timeout {
        nn: usize,
        nn_life: u64,
        jn: usize,
        connection: u64,
        call: CallId,
    },
    /// The end of a call that goes over no writer's connection.
    Single(u64, Box<delivery::Ended>),
    /// Somebody wants the file of a segment.
    Download {
        call: u64,
        jn: usize,
        start: u64,
        in_progress: bool,
    },
    /// Somebody wants the newest image of a NameNode.
    WantImage { call: u64, nn: usize },
    /// A NameNode wants to know the process and the clock of another one.
    WantClock { call: u64, nn: usize },
    /// Somebody wants to know whether a NameNode makes images.
    WantState { call: u64, nn: usize },
    /// An image is offered, which takes so long to arrive.
    Offer {
        nn: usize,
        txid: u64,
        takes: Micros,
        came: Option<SentImage>,
    },
    /// An image arrives, or its sender is gone.
    Image {
        nn: usize,
        nn_life: u64,
        place: Canceler,
        came: Option<SentImage>,
    },
    /// A NameNode's timer.
    Wake { nn: usize, nn_life: u64 },
    /// A NameNode's edit log task looks at the log.
    Log { nn: usize, nn_life: u64 },
    /// A client's call arrives.
    Call { nn: usize, call: Box<Call> },
    /// A thread of a NameNode hands its reply over.
    HandOver {
        nn: usize,
        nn_life: u64,
        reply: Box<(Parked, hathi_nameserver::replies::Made)>,
    },
    /// Somebody asks a NameNode for a role.
    Ask { nn: usize, to_active: bool, by: Asker },
    /// A NameNode's process starts.
    StartNameNode(usize),
    /// Something happens at a failover controller.
    Controller {
        nn: usize,
        life: u64,
        event: ControllerStep,
    },
    /// Something happens at the DataNodes.
    DataNodes,
    /// A client hears something.
    Client { client: usize, attempt: u64, heard: Heard },
    /// The rules about replicas are looked at.
    Look,
    /// The nemesis does something.
    Nemesis,
    /// The effect of a fault ends.
    Repair(nemesis::Repair),
    /// An administrator's polite failover ends.
    EndCede,
    /// The faults end.
    Heal,
    /// The run ends.
    End,
}

/// Largest number of events in a run: more than the longest patience after the faults takes. More of them are a livelock.
const MAX_EVENTS: u64 = 3_000_000;

#[derive(Debug)]
struct World {
    rng: Rng,
    now: Micros,
    knobs: Knobs,
    plan: ClusterPlan,
    planted: Planted,
    jns: Vec<JournalNode>,
    /// When each JournalNode is looked at for the calls that wait there.
    jn_wakes: Vec<Option<Micros>>,
    nns: Vec<NameNode>,
    controllers: Vec<Controlled>,
    clients: Vec<Client>,
    /// The NameNode whose images may be lost or damaged, and whether that has happened to all copies of its newest one.
    weak_namenode: usize,
    newest_was_damaged: bool,
    /// What the NameNodes' kernels know of the clients' connections, and when these ended.
    waiting: Waiting,
    ends: Ends,
    /// DataNodes, and the clients that write to them.
    datanodes: Option<Box<DataNodes>>,
    partitions: Partitions,
    /// Calls that go over no writer's connection, and the JournalNode of each.
    singles: BTreeMap<u64, (usize, delivery::Single)>,
    /// Counts calls.
    numbers: u64,
    healed: bool,
    done: bool,
    marks: BTreeMap<&'static str, u64>,
    queue: BTreeMap<(Micros, u64), Event>,
    sequence: u64,
    trace: Trace,
    truth: Truth,
    violation: Option<String>,
}

/// Hash of what happened, which is printed when asked for.
#[derive(Debug)]
struct Trace(u64);

impl std::fmt::Write for Trace {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0 = self.0.rotate_left(7) ^ ops::hash(text.as_bytes());
        Ok(())
    }
}

/// Runs a seed. A panic of a core is a broken rule, too.
#[must_use]
pub fn run(plan: &ClusterPlan) -> Outcome {
    let ran = std::panic::catch_unwind(|| {
        let mut world = World::new(plan);
        world.run();
        world.outcome()
    });
    ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Outcome {
            seed: plan.seed,
            trace_hash: 0,
            violation: Some(format!("panicked: {}", text.unwrap_or("?"))),
            acknowledged: 0,
            epochs: 0,
            marks: BTreeMap::new(),
        }
    })
}

impl World {
    fn new(plan: &ClusterPlan) -> Self {
        let mut rng = Rng::with_seed(plan.seed);
        let mut knobs = Knobs::draw(&mut rng);
        if plan.without.contains(&"clock drift") {
            knobs.drift_ppm.fill(0);
        }
        knobs.faults_until = plan.faults_until.unwrap_or(knobs.faults_until);
        let drifts = knobs.drift_ppm.clone();
        let clock = |i: usize, rng: &mut Rng| {
            let drift_ppm = drifts.get(i).copied().unwrap_or(0);
            Clock::new(drift_ppm, rng.u64(0..1_000_000_000))
        };
        let jns: Vec<_> = (0..knobs.journalnodes)
            .map(|i| JournalNode::new(i, clock(i, &mut rng), false, None))
            .collect();
        let (disk, empty) = name_dirs::format(knobs.datanodes);
        let nns = (0..knobs.namenodes)
            .map(|i| NameNode::new(i, clock(knobs.journalnodes + i, &mut rng), &knobs, disk.fork()))
            .collect();
        let mut truth = Truth::new(knobs.datanodes);
        truth.images.made(0, empty);
        let weak_namenode = rng.usize(0..knobs.namenodes);
        let files = if knobs.datanodes { crate::writing::FILES } else { 0 };
        World {
            controllers: (0..knobs.namenodes).map(|i| Controlled::new(i, &knobs)).collect(),
            clients: (0..knobs.clients + files).map(Client::new).collect(),
            waiting: Waiting::default(),
            ends: Ends::default(),
            rng,
            now: 0,
            jn_wakes: vec![None; jns.len()],
            jns,
            nns,
            planted: Planted(plan.mutant),
            plan: plan.clone(),
            datanodes: None,
            partitions: Partitions::default(),
            singles: BTreeMap::new(),
            numbers: 0,
            healed: false,
            done: false,
            marks: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            trace: Trace(plan.seed),
            truth,
            weak_namenode,
            newest_was_damaged: false,
            violation: None,
            knobs,
        }
    }

    fn outcome(mut self) -> Outcome {
        if let Some(datanodes) = self.datanodes.take() {
            for (what, times) in datanodes.outcome.seen {
                self.say(format_args!("{times} {what}"));
                *self.marks.entry(what).or_default() += times;
            }
        }
        Outcome {
            seed: self.plan.seed,
            trace_hash: self.trace.0,
            violation: self.violation,
            acknowledged: self.truth.acknowledged_calls,
            epochs: self.truth.epochs.count(),
            marks: self.marks,
        }
    }

    fn is(&self, mutant: ClusterMutant) -> bool {
        self.planted.is(mutant)
    }

    fn at(&mut self, time: Micros, event: Event) {
        self.sequence += 1;
        self.queue.insert((time.max(self.now), self.sequence), event);
    }

    fn after(&mut self, time: Micros, event: Event) {
        self.at(self.now + time, event);
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A time between half and one and a half of the mean.
    fn around(&mut self, mean: Micros) -> Micros {
        mean / 2 + self.rng.u64(0..=mean)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.rng.u64(0..n.max(1)) == 0
    }

    fn mark(&mut self, what: &'static str) {
        *self.marks.entry(what).or_default() += 1;
        self.say(format_args!("{what}"));
    }

    /// Whether this fault may happen now. Counts it.
    fn fault(&mut self, what: &'static str) -> bool {
        let happens = !self.healed && !self.plan.without.contains(&what);
        if happens {
            self.mark(what);
        }
        happens
    }

    /// Adds something to the hash of the trace, and prints it when asked to.
    fn say(&mut self, what: std::fmt::Arguments<'_>) {
        let written = std::fmt::Write::write_fmt(&mut self.trace, what);
        debug_assert!(written.is_ok(), "a hash takes everything");
        if self.plan.verbose {
            eprintln!("{:>9} {what}", self.now);
        }
    }

    fn check(&mut self, verdict: Verdict) {
        if let Err(what) = verdict
            && self.violation.is_none()
        {
            self.violation = Some(format!("at {} us: {what}", self.now));
            self.say(format_args!("VIOLATION"));
        }
    }

    fn run(&mut self) {
        self.begin();
        let mut events = 0;
        while self.violation.is_none() && !self.done {
            let Some(((time, _), event)) = self.queue.pop_first() else {
                break;
            };
            self.now = time;
            self.step(event);
            events += 1;
            if events > MAX_EVENTS {
                let unfinished = self.unfinished();
                self.violation = Some(format!("too many events: a livelock, and {unfinished:?}"));
            }
        }
        self.count_losses();
    }

    fn begin(&mut self) {
        self.format();
        self.add_datanodes();
        for nn in 0..self.nns.len() {
            let first = self.rng.u64(0..50_000);
            self.at(first, Event::StartNameNode(nn));
            self.start_controller(nn);
        }
        for client in 0..self.knobs.clients {
            let first = self.rng.u64(0..200_000);
            let attempt = 0;
            let heard = Heard::Time;
            self.at(first, Event::Client { client, attempt, heard });
        }
        if self.knobs.drift_ppm.iter().any(|ppm| *ppm != 0) {
            self.mark("clock drift");
        }
        let first = self.around(self.knobs.fault_every);
        self.at(first, Event::Nemesis);
        self.at(100_000, Event::Look);
        self.at(self.knobs.faults_until, Event::Heal);
        self.at(self.knobs.faults_until + self.knobs.patience, Event::End);
    }

    fn step(&mut self, event: Event) {
        if let Some(until) = self.paused(&event) {
            return self.at(until, event);
        }
        match event {
            Event::Request(message) => self.request_arrives(*message),
            Event::SyncDone { jn, life } => self.sync_done(jn, life),
            Event::Fetched {
                jn,
                life,
                message,
                download,
                from,
            } => self.fetched(jn, life, *message, download, from),
            Event::JournalNodeWakes(jn) => self.journalnode_wakes(jn),
            Event::StartJournalNode(jn) => self.start_journalnode(jn),
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
            Event::Single(call, ended) => self.single_ended(call, *ended),
            Event::Download {
                call,
                jn,
                start,
                in_progress,
            } => self.download(call, jn, start, in_progress),
            Event::WantImage { call, nn } => self.want_image(call, nn),
            Event::WantState { call, nn } => self.want_state(call, nn),
            Event::WantClock { call, nn } => self.want_clock(call, nn),
            Event::Offer { nn, txid, takes, came } => self.image_offered(nn, txid, takes, came),
            Event::Image {
                nn,
                nn_life,
                place,
                came,
            } => self.image_arrives((nn, nn_life), &place, came),
            Event::Wake { nn, nn_life } => self.wake(nn, nn_life),
            Event::Log { nn, nn_life } => self.look_at_log(nn, nn_life),
            Event::Call { nn, call } => self.call_arrives(nn, &call),
            Event::HandOver { nn, nn_life, reply } => self.hand_over(nn, nn_life, *reply),
            Event::Ask { nn, to_active, by } => self.asked_for_role(nn, to_active, by),
            Event::StartNameNode(nn) => self.start_namenode(nn),
            Event::Controller { nn, life, event } => self.controller_event(nn, life, event),
            Event::Client { client, attempt, heard } => self.client_hears(client, attempt, heard),
            Event::DataNodes => self.datanodes_step(),
            Event::Look => self.look(),
            Event::Nemesis => {
                if !self.healed {
                    self.nemesis();
                    let next = self.around(self.knobs.fault_every);
                    self.after(next, Event::Nemesis);
                }
            }
            Event::Repair(repair) => self.repair(repair),
            Event::EndCede => self.end_cede(),
            Event::Heal => self.heal(),
            Event::End => self.no_progress(),
        }
    }

    /// The end of the pause of the process that an event would reach.
    fn paused(&self, event: &Event) -> Option<Micros> {
        let nn = match event {
            Event::Answer(message, _) => message.nn,
            Event::Broken { nn, .. }
            | Event::Timeout { nn, .. }
            | Event::Wake { nn, .. }
            | Event::Log { nn, .. }
            | Event::Call { nn, .. }
            | Event::HandOver { nn, .. }
            | Event::Ask { nn, .. }
            | Event::WantImage { nn, .. }
            | Event::WantState { nn, .. }
            | Event::WantClock { nn, .. }
            | Event::Offer { nn, .. }
            | Event::Image { nn, .. } => *nn,
            Event::Single(call, _) => self.singles.get(call)?.1.process()?,
            _ => return None,
        };
        let until = self.nns.get(nn)?.paused_until;
        (until > self.now).then_some(until)
    }

    /// Whether messages pass.
    fn passes(&self, from: Node, to: Node) -> bool {
        self.partitions.passes(from, to)
    }
}
