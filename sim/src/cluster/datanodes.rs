//! DataNodes and the clients that write files: the actors of [`crate::writing`], which reach the NameNodes of this world.
//!
//! A client's call travels as all calls of clients do ([`super::clients`]). What a DataNode tells a NameNode is served at
//! once if the two can reach each other; the answer to a heartbeat carries orders, so it waits until all that it shows will
//! stay, and comes later. The rules about bytes look at the namespace of the edits that stay.

use super::serve;
use super::settings::{WALL_MS, block_manager, namespace_config};
use super::shell::Shell;
use super::{Event, Heard, World};
use crate::knobs::Micros;
use crate::network::Node;
use crate::writing::{Answer, ClientCall, DATANODES, FILES, NameNodes, World as Writing};
use bytes::Bytes;
use hathi_blockmanager::Now;
use hathi_formats::editlog::{Frames, decode_frame};
use hathi_formats::ids::LayoutVersion;
use hathi_nameserver::standby_calls::not_active;
use hathi_namespace::Namespace;
use hathi_namesystem::{Namesystem, Role};
use std::collections::BTreeMap;

/// Between two exchanges of DataNodes and NameNodes after the faults.
const EXCHANGE_EVERY: Micros = 50_000;
/// The blocks are read this often after the faults.
const SCAN_ONE_IN: u64 = 10;
/// A NameNode's clock and the one of the rules differ by less than this part.
const SILENCE_PERCENT: u64 = 90;

/// A NameNode as DataNodes know it.
#[derive(Debug, Default)]
struct KnownNameNode {
    /// Its process, while it lives and does not stand still.
    shell: Option<Shell>,
    /// Its process and its load.
    life: (u64, u64),
    /// DataNodes that it can talk to.
    reaches: [bool; DATANODES],
    /// When it last heard of each DataNode, and since when it listens, in ms.
    heard_ms: [u64; DATANODES],
    listens_since_ms: u64,
    /// The heartbeats whose answers wait: their numbers, and the answers.
    heartbeats: BTreeMap<usize, (u64, Option<Answer>)>,
}

/// A client's call under way.
#[derive(Debug)]
struct ImageSlot {
    client: u64,
    call_id: u64,
    answer: Option<Answer>,
}

/// The NameNodes of the cluster.
pub(super) struct Shells {
    known: Vec<KnownNameNode>,
    /// The namespace that all edits make which stay.
    settled: Namespace,
    expire_ms: u64,
    /// By file.
    calls: Vec<Option<ImageSlot>>,
    /// Whether the last call of each file's client that was answered had been sent more than once.
    repeated: [bool; FILES],
    /// Calls that are to be sent, and clients that are gone.
    to_send: Vec<ClientCall>,
    gone: Vec<usize>,
    /// NameNodes that were called, and those that answered a read.
    called: Vec<usize>,
    answered: Vec<usize>,
    numbers: u64,
}

/// All of DataNodes and their clients.
pub(super) type DataNodes = Writing<Shells>;

impl std::fmt::Debug for DataNodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataNodes")
    }
}

impl Shells {
    fn new(namenodes: usize, expire_ms: u64) -> Shells {
        Shells {
            known: (0..namenodes).map(|_| KnownNameNode::default()).collect(),
            settled: Namespace::new(namespace_config(true)),
            expire_ms,
            calls: (0..FILES).map(|_| None).collect(),
            repeated: [false; FILES],
            to_send: Vec::new(),
            gone: Vec::new(),
            called: Vec::new(),
            answered: Vec::new(),
            numbers: 0,
        }
    }

    /// The answer to a heartbeat.
    pub(super) fn answer_heartbeat(&mut self, (node, at): (usize, usize), number: u64, answer: Answer) {
        if let Some((asked, late)) = self.known[at].heartbeats.get_mut(&node)
            && *asked == number
        {
            *late = Some(answer);
        }
    }

    /// The answer to a client's call.
    fn answer_call(&mut self, file: usize, call_id: u64, repeated: bool, answer: Answer) {
        self.repeated[file] = repeated;
        if let Some(call) = &mut self.calls[file]
            && call.call_id == call_id
        {
            call.answer = Some(answer);
        }
    }

    /// A NameNode's process is gone.
    fn died(&mut self, at: usize) {
        self.known[at].shell = None;
        for (_, answer) in self.known[at].heartbeats.values_mut() {
            answer.get_or_insert(Err(not_active()));
        }
    }

    /// The next edit stays.
    fn learn(&mut self, frame: &[u8]) {
        for framed in Frames::new(frame, 0) {
            let framed = framed.expect("a whole frame");
            let op = decode_frame(&framed, LayoutVersion::NAMENODE_CURRENT).expect("what is logged can be read");
            self.settled.apply(framed.txid.0, &op).expect("what is logged applies");
            self.settled.set_last_applied_txid(framed.txid.0);
        }
    }
}

impl NameNodes for Shells {
    fn count(&self) -> usize {
        self.known.len()
    }

    fn reaches(&self, node: usize, at: usize) -> bool {
        let known = &self.known[at];
        known.shell.is_some() && known.reaches[node]
    }

    fn call(&mut self, call: ClientCall, _: Now) -> Option<Answer> {
        let slot = &mut self.calls[call.file];
        if let Some(known) = slot
            && (known.client, known.call_id) == (call.client, call.call_id)
        {
            let answer = known.answer.take()?;
            *slot = None;
            return Some(answer);
        }
        *slot = Some(ImageSlot {
            client: call.client,
            call_id: call.call_id,
            answer: None,
        });
        self.to_send.push(call);
        None
    }

    fn was_repeated(&self, file: usize) -> bool {
        self.repeated[file]
    }

    fn give_up(&mut self, file: usize) {
        self.calls[file] = None;
        self.to_send.retain(|call| call.file != file);
        self.gone.push(file);
    }

    fn read(&mut self, method: &'static str, body: Bytes, _: Now) -> Option<Answer> {
        let is_active = |known: &KnownNameNode| {
            let shell = known.shell.as_ref();
            shell.is_some_and(|shell| shell.look(|process| process.ns.role() == Role::Active))
        };
        let at = self.known.iter().position(is_active)?;
        let shell = self.known[at].shell.as_ref()?;
        let (answer, made) = serve::read_now(shell, method, body);
        self.called.push(at);
        let standing = || shell.look(|process| process.ns.standing());
        if !made.leaves_at_once(standing, || shell.is_lease_held()) {
            return None;
        }
        self.answered.push(at);
        Some(answer)
    }

    fn tell(&mut self, node: usize, at: usize, method: &'static str, body: Bytes, now: Now) -> Answer {
        let Some(shell) = &self.known[at].shell else {
            return Err(not_active());
        };
        let (answer, _) = serve::serve_datanode(shell, method, body);
        self.called.push(at);
        if method == "registerDatanode" && answer.is_ok() {
            self.known[at].heard_ms[node] = now.monotonic_ms;
        }
        answer
    }

    fn heartbeat(&mut self, node: usize, at: usize, body: Bytes, now: Now) -> Option<Answer> {
        let Some(shell) = &self.known[at].shell else {
            return Some(Err(not_active()));
        };
        self.numbers += 1;
        let number = self.numbers;
        let (answer, made) = serve::serve_datanode(shell, "sendHeartbeat", body);
        let answer = serve::answer_datanode(shell, (node, number), answer, made);
        let known = &mut self.known[at];
        known.heard_ms[node] = now.monotonic_ms;
        self.called.push(at);
        if answer.is_none() {
            known.heartbeats.insert(node, (number, None));
        }
        answer
    }

    fn late_answer(&mut self, node: usize, at: usize) -> Option<Answer> {
        let heartbeats = &mut self.known[at].heartbeats;
        let Some((_, answer)) = heartbeats.get_mut(&node) else {
            return Some(Err(not_active()));
        };
        let answer = answer.take()?;
        heartbeats.remove(&node);
        Some(answer)
    }

    fn active(&self) -> Option<usize> {
        let settled = self.settled.last_applied_txid();
        self.known.iter().position(|known| {
            let shell = known.shell.as_ref();
            shell.is_some_and(|shell| {
                shell.look(|process| process.ns.role() == Role::Active && process.ns.edit_log().applied().0 == settled)
            })
        })
    }

    fn look<T>(&self, at: usize, look: impl FnOnce(&Namesystem) -> T) -> T {
        let shell = self.known[at].shell.as_ref().expect("it is the active one");
        shell.look(|process| look(&process.ns))
    }

    fn settled<T>(&self, look: impl FnOnce(&Namespace) -> T) -> Option<T> {
        Some(look(&self.settled))
    }

    fn takes_for_dead(&self, at: usize, node: usize, now: Now) -> bool {
        let known = &self.known[at];
        let since_ms = known.heard_ms[node].max(known.listens_since_ms);
        now.monotonic_ms.saturating_sub(since_ms) >= self.expire_ms * SILENCE_PERCENT / 100
    }
}

impl World {
    /// DataNodes of this run, if it is to have any.
    pub(super) fn add_datanodes(&mut self) {
        if !self.knobs.datanodes {
            return;
        }
        let expire_ms = block_manager(true, 0).heartbeat_expire_ms();
        let shells = Shells::new(self.nns.len(), expire_ms);
        let rng = fastrand::Rng::with_seed(self.rng.u64(..));
        let mutant = self.planted.of_writing();
        self.datanodes = Some(Box::new(Writing::among_others(shells, rng, mutant, self.plan.verbose)));
        self.at(100_000, Event::DataNodes);
    }

    /// Something happens at the DataNodes, or at the clients that write.
    pub(super) fn datanodes_step(&mut self) {
        let Some(mut datanodes) = self.datanodes.take() else {
            return;
        };
        self.introduce(&mut datanodes);
        match self.healed {
            true => datanodes.exchange_after_faults(self.rng.u64(0..SCAN_ONE_IN) == 0),
            false => datanodes.step_among_others(&mut |fault| self.fault(fault)),
        }
        datanodes.check();
        let step_every = match self.healed {
            true => EXCHANGE_EVERY,
            false => self.around(self.knobs.datanodes_every),
        };
        self.after(step_every, Event::DataNodes);
        self.datanodes = Some(datanodes);
        self.follow_datanodes();
    }

    /// Tells the DataNodes who lives, who can be reached, and what time it is.
    pub(super) fn introduce(&mut self, datanodes: &mut DataNodes) {
        let now = Now {
            monotonic_ms: 100_000 + self.now / 1_000,
            wall_ms: WALL_MS + self.now / 1_000,
        };
        datanodes.now = now;
        for (nn, here) in self.nns.iter().enumerate() {
            let known = &mut datanodes.namenodes.known[nn];
            known.shell = here.shell.clone().filter(|_| here.paused_until <= self.now);
            for (node, reaches) in known.reaches.iter_mut().enumerate() {
                let (node, nn) = (Node::DataNode(node), Node::NameNode(nn));
                *reaches = self.partitions.passes(node, nn) && self.partitions.passes(nn, node);
            }
            let Some(shell) = &known.shell else { continue };
            shell.set_time(here.clock.at(self.now), self.now);
            let life = (here.life, shell.look(|process| process.loads));
            if std::mem::replace(&mut known.life, life) != life {
                known.heard_ms = [0; DATANODES];
                known.listens_since_ms = now.monotonic_ms;
            }
        }
    }

    /// Does what they ask for.
    pub(super) fn follow_datanodes(&mut self) {
        let Some(datanodes) = &mut self.datanodes else { return };
        let shells = &mut datanodes.namenodes;
        let (gone, to_send) = (std::mem::take(&mut shells.gone), std::mem::take(&mut shells.to_send));
        let (mut called, answered) = (std::mem::take(&mut shells.called), std::mem::take(&mut shells.answered));
        let violation = datanodes.outcome.violation.take();
        for line in datanodes.outcome.trace.drain(..) {
            eprintln!("{:>9}   {line}", self.now);
        }
        self.check(violation.map_or(Ok(()), Err));
        called.dedup();
        for nn in called {
            let life = self.nns[nn].life;
            self.in_process(nn, life, |_| {});
        }
        for nn in answered {
            let verdict = self.truth.service.answers(nn, self.nns[nn].epoch);
            self.check(verdict);
        }
        for file in gone {
            self.client_gives_up(self.knobs.clients + file);
        }
        for call in to_send {
            self.begin_call_of_file(self.knobs.clients + call.file, &call);
        }
    }

    /// A client of a file is answered.
    pub(super) fn file_call_answered(&mut self, client: usize, call_id: i32, repeated: bool, answer: Answer) {
        let file = client - self.knobs.clients;
        if let Some(datanodes) = &mut self.datanodes {
            datanodes.namenodes.answer_call(file, call_id as u64, repeated, answer);
        }
    }

    /// A NameNode answers a heartbeat that had to wait.
    pub(super) fn heartbeat_answered(&mut self, nn: usize, (node, number): (usize, u64), heard: Heard) {
        let passes = self.passes(Node::NameNode(nn), Node::DataNode(node));
        let answer = match heard {
            Heard::Answer(answer, _) if passes => answer,
            _ => Err(not_active()),
        };
        if let Some(datanodes) = &mut self.datanodes {
            datanodes.namenodes.answer_heartbeat((node, nn), number, answer);
        }
    }

    pub(super) fn namenode_left_datanodes(&mut self, nn: usize) {
        if let Some(datanodes) = &mut self.datanodes {
            datanodes.namenodes.died(nn);
            datanodes.namenode_died(nn);
        }
    }

    pub(super) fn datanodes_learn(&mut self, frame: &[u8]) {
        if let Some(datanodes) = &mut self.datanodes {
            datanodes.namenodes.learn(frame);
            datanodes.see_edits();
        }
    }

    pub(super) fn heal_datanodes(&mut self) {
        if let Some(mut datanodes) = self.datanodes.take() {
            self.introduce(&mut datanodes);
            datanodes.end_faults();
            self.datanodes = Some(datanodes);
            self.follow_datanodes();
        }
    }

    /// What is not as it has to be in the end, if anything.
    pub(super) fn unfinished_files(&mut self) -> Option<String> {
        let mut datanodes = self.datanodes.take()?;
        self.introduce(&mut datanodes);
        let file = (0..FILES).find(|file| !datanodes.has_healed(*file));
        let what = file.map(|file| {
            let state = datanodes.describe(file);
            format!("file {file} is not closed and replicated again: {state}")
        });
        self.datanodes = Some(datanodes);
        what
    }
}
