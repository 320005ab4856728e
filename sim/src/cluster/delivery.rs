//! Messages on their way: what is sent arrives late, twice, much later, or never.
//!
//! A writer has a connection to each JournalNode, which keeps the order. All other calls stand for themselves.

use super::calls::PassedAnswer;
use super::checkpoints;
use super::images::SentImage;
use super::{Event, World};
use crate::knobs::Micros;
use crate::network::{Message, Node};
use bytes::Bytes;
use hathi_formats::ids::TxId;
use hathi_journal::Request;
use hathi_journal::messages::Answer;
use hathi_journal::writer::{CallError, CallId};
use hathi_nameserver::edit_log_driver::JournalCall;
use hathi_namesystem::checkpoint::Earlier;
use hathi_storage::Disk;

use super::tasks::Sender;

/// The connection of calls that go over none.
const NONE: u64 = u64::MAX;
/// Nobody waits for a file, an image or a state for longer.
pub(super) const LONGEST_FETCH: Micros = 3_000_000;
/// The JournalNode of calls to none.
const NOBODY: usize = usize::MAX;
/// Bits of a call's number that are the writer's.
const CALL_BITS: u32 = 40;

/// Who waits for the end of a call.
#[derive(Debug)]
pub(super) enum Single {
    /// A task of a NameNode, in one of its lives.
    Task(usize, u64, Waiter),
    /// A failover controller, in one of its lives, which watches the lease.
    Watch(usize, u64, usize),
    /// The same, which gives back the lease of this holder.
    Release(usize, u64, String),
}

/// What a task does with the end of its call.
pub(super) struct Waiter {
    tell: Box<dyn FnOnce(Ended)>,
    /// The NameNode that is asked over a connection.
    peer: Option<usize>,
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiter")
    }
}

impl Single {
    /// A task that waits for what `take` finds in the end of its call. It hears nothing when it finds nothing.
    pub(super) fn task<T: 'static>(
        (nn, life): (usize, u64),
        done: Sender<T>,
        take: impl FnOnce(Ended) -> Option<T> + 'static,
    ) -> Self {
        let tell = move |ended| {
            if let Some(found) = take(ended) {
                done.send(found);
            }
        };
        let tell = Box::new(tell);
        Single::Task(nn, life, Waiter { tell, peer: None })
    }

    /// It asks this NameNode over a connection, whose end is the end of the call.
    pub(super) fn over_connection(mut self, to: usize) -> Self {
        if let Single::Task(.., waiter) = &mut self {
            waiter.peer = Some(to);
        }
        self
    }

    /// The NameNode whose process waits.
    pub(super) fn process(&self) -> Option<usize> {
        match self {
            Single::Task(nn, ..) => Some(*nn),
            Single::Watch(..) | Single::Release(..) => None,
        }
    }

    /// The NameNode whose process is asked over a connection.
    pub(super) fn peer(&self) -> Option<usize> {
        match self {
            Single::Task(.., waiter) => waiter.peer,
            Single::Watch(..) | Single::Release(..) => None,
        }
    }

    fn machine(&self) -> usize {
        match self {
            Single::Task(nn, ..) | Single::Watch(nn, ..) | Single::Release(nn, ..) => *nn,
        }
    }
}

/// The end of such a call.
#[derive(Debug)]
pub(super) enum Ended {
    /// A JournalNode's answer, or none.
    Answer(Result<Answer, CallError>),
    /// A file, or none.
    File(Option<Bytes>),
    /// Whether a NameNode makes images, or that it is not there.
    State(Option<Earlier>),
    /// An image, or none.
    Image(Option<SentImage>),
    /// A NameNode's process, and its clock in ms.
    Clock(String, u64),
    /// The answer to a call that was passed on.
    Passed(PassedAnswer),
}

impl Ended {
    pub(super) fn answer(self) -> Option<Result<Answer, CallError>> {
        match self {
            Ended::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    pub(super) fn file(self) -> Option<Option<Bytes>> {
        match self {
            Ended::File(file) => Some(file),
            _ => None,
        }
    }

    pub(super) fn state(self) -> Option<Option<Earlier>> {
        match self {
            Ended::State(state) => Some(state),
            _ => None,
        }
    }

    pub(super) fn image(self) -> Option<SentImage> {
        match self {
            Ended::Image(image) => image,
            _ => None,
        }
    }

    pub(super) fn clock(self) -> Option<(String, u64)> {
        match self {
            Ended::Clock(process, ms) => Some((process, ms)),
            _ => None,
        }
    }

    pub(super) fn passed(self) -> Option<PassedAnswer> {
        match self {
            Ended::Passed(answer) => Some(answer),
            _ => None,
        }
    }
}

fn broken(why: &str) -> CallError {
    CallError::Broken(why.to_owned())
}

impl World {
    // ---- calls that stand for themselves

    /// Sends a request to a JournalNode.
    pub(super) fn ask(&mut self, who: Single, jn: usize, request: Request, timeout: Micros) {
        let nn = who.machine();
        let jn_life = self.jns[jn].life;
        self.ask_machine(who, Node::JournalNode(jn), timeout, |call| {
            Event::Request(Box::new(Message {
                nn,
                nn_life: 0,
                jn,
                jn_life,
                connection: NONE,
                call: CallId(call),
                request,
                duplicate: false,
            }))
        });
    }

    /// Sends something to a machine, where it is this event.
    pub(super) fn ask_machine(&mut self, who: Single, to: Node, timeout: Micros, event: impl FnOnce(u64) -> Event) {
        let from = Node::NameNode(who.machine());
        let jn = match to {
            Node::JournalNode(jn) => jn,
            _ => NOBODY,
        };
        let call = self.number();
        self.singles.insert(call, (jn, who));
        self.give_up_at(call, timeout);
        if !self.passes(from, to) {
            return;
        }
        if let Some(arrival) = self.way() {
            self.after(arrival, event(call));
        }
    }

    /// Sends the answer from a machine to who waits for it.
    pub(super) fn answer_single(&mut self, call: u64, from: Node, ended: Ended) {
        let Some(to) = self.singles.get(&call).map(|(_, single)| single.machine()) else {
            return;
        };
        let passes = self.passes(from, Node::NameNode(to));
        if let Some(arrival) = self.way().filter(|_| passes) {
            self.after(arrival, Event::Single(call, Box::new(ended)));
        }
    }

    fn give_up_at(&mut self, call: u64, after: Micros) {
        let late = Ended::Answer(Err(broken("no answer in time")));
        self.after(after, Event::Single(call, Box::new(late)));
    }

    /// How long a message takes; `None` when it is lost.
    fn way(&mut self) -> Option<Micros> {
        let delay = self.around(self.knobs.delay);
        if !self.healed && self.one_in(self.knobs.loss_one_in) {
            if self.rng.bool() {
                return if self.fault("lost message") { None } else { Some(delay) };
            }
            let much_later = self.rng.u64(0..2_000_000);
            if self.fault("late message") {
                return Some(delay + much_later);
            }
        }
        Some(delay)
    }

    pub(super) fn single_ended(&mut self, call: u64, ended: Ended) {
        let Some((_, single)) = self.singles.remove(&call) else {
            return;
        };
        match (single, ended) {
            (Single::Task(nn, life, waiter), ended) => self.in_process(nn, life, |_| (waiter.tell)(ended)),
            (Single::Watch(nn, life, jn), Ended::Answer(result)) => self.lease_watched(nn, life, jn, result),
            (Single::Release(nn, life, holder), Ended::Answer(result)) => {
                self.lease_released(nn, life, holder, result.is_ok());
            }
            // Controllers ask for nothing else.
            (Single::Watch(..) | Single::Release(..), _) => {}
        }
    }

    pub(super) fn download(&mut self, call: u64, jn: usize, start: u64, in_progress: bool) {
        let acceptor = self.jns[jn].acceptor.as_mut();
        let file = acceptor.and_then(|acceptor| acceptor.segment_file(TxId(start), in_progress).ok()?);
        let bytes = file.and_then(|file| {
            let mut bytes = self.jns[jn].disk.read_small(&file.path).ok()??;
            if let Some(len) = file.len {
                bytes.truncate(len as usize);
            }
            Some(Bytes::from(bytes))
        });
        self.answer_single(call, Node::JournalNode(jn), Ended::File(bytes));
    }

    pub(super) fn want_state(&mut self, call: u64, nn: usize) {
        let state = self.nns[nn].shell.as_ref().map(checkpoints::state);
        self.answer_single(call, Node::NameNode(nn), Ended::State(state));
    }

    pub(super) fn want_image(&mut self, call: u64, nn: usize) {
        let newest = self.nns[nn].shell.as_ref().and_then(checkpoints::newest_to_send);
        self.answer_single(call, Node::NameNode(nn), Ended::Image(newest));
    }

    // ---- the writer's connections

    pub(super) fn send(&mut self, nn: usize, jn: usize, call: CallId, request: Request, timeout: Micros) {
        let nn_life = self.nns[nn].life;
        let jn_life = self.jns[jn].life;
        let delay = self.around(self.knobs.delay);
        let connection = &mut self.nns[nn].connections[jn];
        if connection.outstanding.is_empty() {
            // A connection lives as long as something is under way; a fresh one meets the present process.
            connection.jn_life = jn_life;
        }
        connection.outstanding.insert(call, ());
        let (id, jn_life) = (connection.id, connection.jn_life);
        let arrival = (self.now + delay).max(connection.last_there);
        connection.last_there = arrival;
        let late = Event::Timeout {
            nn,
            nn_life,
            jn,
            connection: id,
            call,
        };
        self.after(timeout, late);
        if !self.passes(Node::NameNode(nn), Node::JournalNode(jn)) {
            return self.doom(nn, nn_life, jn, id);
        }
        let message = Message {
            nn,
            nn_life,
            jn,
            jn_life,
            connection: id,
            call,
            request,
            duplicate: false,
        };
        if !self.healed && self.one_in(self.knobs.duplicate_one_in) && self.fault("duplicate") {
            let copy = Message {
                duplicate: true,
                ..message.clone()
            };
            let latest = if self.one_in(3) {
                3_000_000
            } else {
                100 * self.knobs.delay
            };
            let later = arrival + self.rng.u64(0..latest);
            self.at(later, Event::Request(Box::new(copy)));
        }
        if !self.healed && self.one_in(self.knobs.loss_one_in) {
            let lost = self.rng.bool();
            if self.fault(if lost { "lost message" } else { "late message" }) {
                self.doom(nn, nn_life, jn, id);
                if lost {
                    return;
                }
                // It arrives all the same, perhaps after the requests of the next connection.
                let much_later = arrival + self.rng.u64(0..2_000_000);
                return self.at(much_later, Event::Request(Box::new(message)));
            }
        }
        self.at(arrival, Event::Request(Box::new(message)));
    }

    pub(super) fn request_arrives(&mut self, message: Message) {
        let jn = message.jn;
        if self.jns[jn].acceptor.is_none() || self.jns[jn].life != message.jn_life {
            if message.duplicate {
                return;
            }
            let later = self.now + self.around(self.knobs.delay);
            if message.connection == NONE {
                let refused = Ended::Answer(Err(broken("connection refused")));
                return self.at(later, Event::Single(message.call.0, Box::new(refused)));
            }
            return self.breaks(later, message.nn, message.nn_life, jn, message.connection);
        }
        if self.plan.verbose
            && !matches!(
                message.request,
                Request::WatchLease { .. } | Request::GetJournaledEdits { .. } | Request::GetEditLogManifest { .. }
            )
        {
            eprintln!("{:>9}   nn{} -> jn{jn}: {:?}", self.now, message.nn, message.request);
        }
        let effects = self.jns[jn].request(message, self.now);
        if self.plan.mutant.is_none()
            && let Some(acceptor) = &self.jns[jn].acceptor
        {
            acceptor.check();
        }
        self.journalnode_effects(jn, effects);
    }

    pub(super) fn send_answer(&mut self, message: Message, result: Result<Answer, CallError>) {
        let (nn, jn) = (message.nn, message.jn);
        if self.plan.verbose
            && !matches!(
                message.request,
                Request::GetJournaledEdits { .. } | Request::GetEditLogManifest { .. }
            )
        {
            eprintln!("{:>9}   jn{jn} -> nn{nn}: {result:?}", self.now);
        }
        if message.duplicate {
            return;
        }
        if message.connection == NONE {
            return self.answer_single(message.call.0, Node::JournalNode(jn), Ended::Answer(result));
        }
        let passes = self.passes(Node::JournalNode(jn), Node::NameNode(nn));
        if !passes {
            return self.doom(nn, message.nn_life, jn, message.connection);
        }
        let delay = self.around(self.knobs.delay);
        let connection = &mut self.nns[nn].connections[jn];
        let arrival = (self.now + delay).max(connection.last_back);
        if connection.id == message.connection {
            connection.last_back = arrival;
        }
        self.at(arrival, Event::Answer(Box::new(message), result));
    }

    pub(super) fn answer_arrives(&mut self, message: Message, result: Result<Answer, CallError>) {
        let (nn, jn) = (message.nn, message.jn);
        let here = &mut self.nns[nn];
        if here.life != message.nn_life || here.connections[jn].id != message.connection {
            return;
        }
        if here.connections[jn].outstanding.remove(&message.call).is_some() {
            self.answer_writer(nn, message.nn_life, jn, message.call, result);
        }
    }

    fn answer_writer(&mut self, nn: usize, life: u64, jn: usize, call: CallId, result: Result<Answer, CallError>) {
        if let Ok(Answer::Resumed { .. }) = &result {
            self.mark("a segment was resumed");
        }
        let call = JournalCall {
            attempt: call.0 >> CALL_BITS,
            journalnode: jn,
            call: CallId(call.0 & ((1 << CALL_BITS) - 1)),
            batch_sent: None,
        };
        self.in_process(nn, life, |shell| {
            shell.with_log(|log, now, actions| log.answer(call, result, now, actions));
        });
    }

    /// The number under which a connection knows a writer's call.
    pub(super) fn numbered(attempt: u64, call: CallId) -> CallId {
        CallId(attempt << CALL_BITS | call.0)
    }

    /// A connection will be found broken.
    fn doom(&mut self, nn: usize, nn_life: u64, jn: usize, connection: u64) {
        let noticed = self.now + self.rng.u64(100..300_000);
        let here = &mut self.nns[nn].connections[jn];
        if here.id == connection && !here.doomed {
            here.doomed = true;
            self.breaks(noticed, nn, nn_life, jn, connection);
        }
    }

    fn breaks(&mut self, at: Micros, nn: usize, nn_life: u64, jn: usize, connection: u64) {
        let broken = Event::Broken {
            nn,
            nn_life,
            jn,
            connection,
        };
        self.at(at, broken);
    }

    /// Every connection with a process that died is reset.
    pub(super) fn reset_connections(&mut self, jn: usize, silent: bool) {
        let waiting = self.singles.iter().filter(|(_, (at, _))| *at == jn);
        let waiting: Vec<u64> = waiting.map(|(call, _)| *call).collect();
        for call in waiting {
            let noticed = match silent {
                true => self.rng.u64(10_000..400_000),
                false => self.around(self.knobs.delay),
            };
            let reset = Ended::Answer(Err(broken("connection reset")));
            self.after(noticed, Event::Single(call, Box::new(reset)));
        }
        for nn in 0..self.nns.len() {
            let here = &self.nns[nn];
            let (nn_life, connection) = (here.life, here.connections[jn].id);
            if here.connections[jn].outstanding.is_empty() {
                continue;
            }
            let noticed = if silent {
                self.rng.u64(10_000..400_000)
            } else {
                self.around(self.knobs.delay)
            };
            self.breaks(self.now + noticed, nn, nn_life, jn, connection);
        }
    }

    pub(super) fn connection_broken(&mut self, nn: usize, nn_life: u64, jn: usize, connection: u64) {
        let here = &mut self.nns[nn];
        if here.life != nn_life || here.connections[jn].id != connection {
            return;
        }
        let end = &mut here.connections[jn];
        end.id += 1;
        end.doomed = false;
        end.last_there = 0;
        end.last_back = 0;
        let lost: Vec<CallId> = std::mem::take(&mut end.outstanding).into_keys().collect();
        for call in lost {
            self.answer_writer(nn, nn_life, jn, call, Err(broken("connection reset")));
        }
    }

    /// A call without an answer takes its connection with it.
    pub(super) fn timed_out(&mut self, nn: usize, nn_life: u64, jn: usize, connection: u64, call: CallId) {
        let here = &self.nns[nn];
        let waits = here.life == nn_life
            && here.connections[jn].id == connection
            && here.connections[jn].outstanding.contains_key(&call);
        if waits {
            self.connection_broken(nn, nn_life, jn, connection);
        }
    }
}
