//! One state of the whole: three JournalNodes, two would-be writers, what is under way between them, and what was
//! promised to clients. Every part but the clients is the production code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::{Epoch, LayoutVersion, TxId};
use hathi_journal::acceptor::Download;
use hathi_journal::lease::LeaseProof;
use hathi_journal::messages::Answer;
use hathi_journal::mutant::{Mutant, Mutation};
use hathi_journal::segments::SegmentName;
use hathi_journal::writer::{CallError, CallId, WriterTimeouts};
use hathi_journal::{Acceptor, AcceptorOptions, Handled, QuorumWriter, Request, WriterAction, WriterConfig};
use hathi_sim::namenode::namespace_info;
use hathi_sim::ops;
use hathi_storage::{Disk, SimDisk};

use super::disk::{ModelDisk, on};

/// What is explored, and how far.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How often each NameNode may try to become the writer.
    pub attempts: [u8; 2],
    /// Whether a NameNode only tries when nobody else is recovering the log. Otherwise any number may.
    pub one_by_one: bool,
    /// Transactions a writer writes, each in a batch of its own.
    pub txns: u64,
    /// Answers that may take as long as they like (or never come); all others are heard at once. Requests always
    /// may.
    pub slow_answers: u8,
    /// Connections that may break: nothing under way is answered, what was sent may arrive late or never.
    pub breaks: u8,
    /// Crashes of a JournalNode; each with or without what was not synced.
    pub crashes: u8,
    /// Length of the read lease in milliseconds; 0 = none.
    pub lease_ms: u32,
    /// How often the time may pass of half a lease.
    pub waits: u8,
    /// A planted bug.
    pub mutant: Option<Mutant>,
}

pub const JOURNALNODES: usize = 3;
const MAJORITY: usize = JOURNALNODES / 2 + 1;

/// Text without the numbers of calls: they only tell in which order unrelated calls were made. The order on each
/// connection is that of its queue.
#[derive(Default)]
struct Text {
    text: String,
    number_follows: bool,
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.number_follows && text.as_bytes().first().is_some_and(u8::is_ascii_digit) {
            self.number_follows = false;
            return Ok(());
        }
        self.number_follows |= text == "CallId" || text == "next_call";
        self.text.push_str(text);
        Ok(())
    }
}

fn hash_text(what: &dyn std::fmt::Debug) -> DefaultHasher {
    let mut text = Text::default();
    text.text.reserve(4096);
    let _ = write!(text, "{what:?}");
    let mut hasher = DefaultHasher::new();
    hasher.write(text.text.as_bytes());
    hasher
}

/// A JournalNode with its disk.
#[derive(Clone, Debug)]
pub struct Node {
    acceptor: Acceptor<ModelDisk>,
    disk: SimDisk,
    /// Segments being fetched, for which calls.
    fetching: Vec<(usize, CallId, Download)>,
    /// The finalized transactions on the disk and the hash of each; and those in progress.
    finalized: BTreeMap<u64, u64>,
    in_progress: BTreeMap<u64, u64>,
    segments: Vec<SegmentName>,
    hash: u64,
}

/// A NameNode.
#[derive(Clone, Debug)]
pub struct Writer {
    writer: Option<QuorumWriter>,
    /// How many attempts it made.
    attempt: u8,
    epoch: u64,
    next: u64,
    /// The last transaction it will write.
    last: u64,
    unsynced: BTreeMap<u64, u64>,
    hash: u64,
}

/// A connection of a NameNode with a JournalNode; each direction keeps its order.
#[derive(Clone, Debug, Default)]
pub struct Link {
    requests: Vec<(CallId, Arc<Sent>)>,
    answers: Vec<(CallId, Arc<Reply>)>,
    /// Calls that were served and have no answer yet.
    served: Vec<CallId>,
}

/// A request; compared by its text.
#[derive(Debug)]
pub struct Sent {
    request: Request,
    hash: u64,
}

/// An answer; compared by its text.
#[derive(Debug)]
pub struct Reply {
    result: Result<Answer, CallError>,
    hash: u64,
}

impl Hash for Link {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.requests.len(), self.answers.len(), self.served.len()).hash(state);
        for (_, sent) in &self.requests {
            sent.hash.hash(state);
        }
        for (_, reply) in &self.answers {
            reply.hash.hash(state);
        }
    }
}

/// What was said to the outside.
#[derive(Clone, Debug, Default, Hash)]
pub struct Facts {
    acknowledged: BTreeMap<u64, u64>,
    /// The highest transaction acknowledged in each epoch.
    highest: BTreeMap<u64, u64>,
    /// Who became the writer of each epoch.
    writers: BTreeMap<u64, (usize, u8)>,
}

/// Which property does not hold, and why.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Violation {
    /// Two values were chosen for one transaction id, or one where another is final.
    Agreement(String),
    /// What was acknowledged is not in a recovered log, or on no majority.
    Lost(String),
    /// Two writers of one epoch.
    Writers(String),
    /// A lease holder is not alone.
    Lease(String),
}

/// Everything.
#[derive(Clone, Debug)]
pub struct State {
    pub nodes: Vec<Arc<Node>>,
    pub writers: Vec<Arc<Writer>>,
    pub links: Vec<Vec<Link>>,
    /// Requests of broken connections, which may still arrive.
    pub ghosts: Vec<(usize, Arc<Sent>)>,
    pub facts: Arc<Facts>,
    pub slow_answers: u8,
    pub breaks: u8,
    pub crashes: u8,
    pub waits: u8,
    pub now: u64,
    pub violation: Option<Violation>,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for node in &self.nodes {
            node.hash.hash(state);
        }
        for writer in &self.writers {
            writer.hash.hash(state);
        }
        self.links.hash(state);
        for (node, sent) in &self.ghosts {
            (node, sent.hash).hash(state);
        }
        self.facts.hash(state);
        (self.slow_answers, self.breaks, self.crashes, self.waits, self.now).hash(state);
        self.violation.hash(state);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let hash = |state: &State| {
            let mut hasher = DefaultHasher::new();
            state.hash(&mut hasher);
            hasher.finish()
        };
        hash(self) == hash(other)
    }
}

/// What may happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A NameNode tries to become the writer; an attempt under way is given up. It learns the promises of all
    /// JournalNodes but this one first.
    Attempt(usize, usize),
    /// A JournalNode takes the oldest request of a connection; its answer is heard at once, or is slow.
    Serve(usize, usize, bool),
    /// A NameNode takes the oldest answer of a connection.
    Hear(usize, usize),
    /// A request of a broken connection arrives.
    Late(usize),
    /// A segment being fetched is there.
    Fetch(usize),
    /// A connection breaks.
    Break(usize, usize),
    /// A JournalNode crashes and starts again; with power off what was not synced is gone.
    Crash(usize, bool),
    /// Time passes: half a lease.
    Wait,
}

fn root() -> PathBuf {
    PathBuf::from("/j")
}

impl Node {
    fn options(bounds: &Bounds, index: usize) -> AcceptorOptions {
        let mut options = AcceptorOptions::new("ns");
        options.preallocate_bytes = 16;
        options.max_lease_ms = bounds.lease_ms.max(1);
        options.cache_bytes = 0;
        options.mutation = Mutation::planted(bounds.mutant);
        options.from_url = Some(format!("http://jn{index}:1"));
        options
    }

    pub fn new(bounds: &Bounds, index: usize) -> Self {
        let disk = SimDisk::new();
        let acceptor = on(&disk, || {
            let mut acceptor =
                Acceptor::open(ModelDisk, root(), Node::options(bounds, index), 0).expect("an empty disk opens");
            let format = Request::Format {
                ns_info: namespace_info(),
                force: false,
            };
            assert!(matches!(acceptor.handle(&format, 0), Handled::Now(Ok(_))));
            acceptor
        });
        let mut node = Node {
            acceptor,
            disk,
            fetching: Vec::new(),
            finalized: BTreeMap::new(),
            in_progress: BTreeMap::new(),
            segments: Vec::new(),
            hash: 0,
        };
        node.settle();
        node
    }

    /// A copy that shares nothing.
    fn fork(&self) -> Self {
        let mut node = self.clone();
        node.disk = self.disk.fork();
        node
    }

    /// Reads the disk and hashes everything, after a step.
    fn settle(&mut self) {
        self.acceptor.forget_history();
        self.finalized.clear();
        self.in_progress.clear();
        self.segments.clear();
        let current = root().join("current");
        for entry in self.disk.list(&current).unwrap_or_default() {
            let Some(name) = SegmentName::parse(&entry.name) else {
                continue;
            };
            let data = self.disk.read_small(&current.join(&entry.name)).ok().flatten();
            let contents = ops::read_segment(&data.unwrap_or_default(), name.start);
            match name.end {
                Some(_) => self.finalized.extend(contents),
                None => self.in_progress.extend(contents),
            }
            self.segments.push(name);
        }
        let mut hasher = hash_text(&(&self.acceptor, &self.fetching));
        self.disk.settle_and_hash(&mut hasher);
        self.hash = hasher.finish();
    }

    fn has(&self, txid: u64, content: u64) -> bool {
        match self.finalized.get(&txid) {
            Some(found) => *found == content,
            None => self.in_progress.get(&txid) == Some(&content),
        }
    }
}

impl Writer {
    fn settle(&mut self) {
        let mut hasher = hash_text(&self.writer);
        (self.attempt, self.epoch, self.next, self.last).hash(&mut hasher);
        self.unsynced.hash(&mut hasher);
        self.hash = hasher.finish();
    }

    fn lease_until(&self) -> u64 {
        let writer = self.writer.as_ref().filter(|writer| !writer.is_dead());
        writer.map_or(0, QuorumWriter::lease_until)
    }

    fn holder(index: usize) -> String {
        format!("nn{index}")
    }
}

impl State {
    pub fn new(bounds: &Bounds) -> Self {
        let idle = Writer {
            writer: None,
            attempt: 0,
            epoch: 0,
            next: 0,
            last: 0,
            unsynced: BTreeMap::new(),
            hash: 0,
        };
        let mut state = State {
            nodes: (0..JOURNALNODES).map(|i| Arc::new(Node::new(bounds, i))).collect(),
            writers: bounds.attempts.iter().map(|_| Arc::new(idle.clone())).collect(),
            links: vec![vec![Link::default(); JOURNALNODES]; bounds.attempts.len()],
            ghosts: Vec::new(),
            facts: Arc::new(Facts::default()),
            slow_answers: bounds.slow_answers,
            breaks: bounds.breaks,
            crashes: bounds.crashes,
            waits: bounds.waits,
            now: 1,
            violation: None,
        };
        // Somebody is the first.
        state.attempt(bounds, 0, JOURNALNODES - 1);
        state
    }

    pub fn actions(&self, bounds: &Bounds, actions: &mut Vec<Action>) {
        if self.violation.is_some() {
            return;
        }
        for (w, writer) in self.writers.iter().enumerate() {
            let recovering = |(other, writer): (usize, &Arc<Writer>)| {
                let tries = writer.writer.as_ref().is_some_and(|writer| !writer.is_dead());
                other != w && tries && writer.epoch == 0
            };
            let free = !bounds.one_by_one || !self.writers.iter().enumerate().any(recovering);
            if free && writer.attempt < bounds.attempts[w] {
                actions.extend((0..JOURNALNODES).map(|last| Action::Attempt(w, last)));
            }
            for (j, link) in self.links[w].iter().enumerate() {
                if !link.requests.is_empty() {
                    actions.push(Action::Serve(w, j, false));
                    if self.slow_answers > 0 {
                        actions.push(Action::Serve(w, j, true));
                    }
                }
                if !link.answers.is_empty() {
                    actions.push(Action::Hear(w, j));
                }
                let under_way = !link.requests.is_empty() || !link.served.is_empty() || !link.answers.is_empty();
                if self.breaks > 0 && under_way {
                    actions.push(Action::Break(w, j));
                }
            }
        }
        for (i, ghost) in self.ghosts.iter().enumerate() {
            if !self.ghosts[..i]
                .iter()
                .any(|other| other.0 == ghost.0 && other.1.hash == ghost.1.hash)
            {
                actions.push(Action::Late(i));
            }
        }
        for (j, node) in self.nodes.iter().enumerate() {
            if !node.fetching.is_empty() {
                actions.push(Action::Fetch(j));
            }
            if self.crashes > 0 {
                actions.push(Action::Crash(j, false));
                actions.push(Action::Crash(j, true));
            }
        }
        if self.waits > 0 {
            actions.push(Action::Wait);
        }
    }

    pub fn step(&mut self, bounds: &Bounds, action: &Action) {
        match *action {
            Action::Attempt(w, last) => self.attempt(bounds, w, last),
            Action::Serve(w, j, slow) => {
                self.slow_answers -= u8::from(slow);
                self.take_request(w, j);
                if !slow && self.links[w][j].answers.len() == 1 {
                    self.hear(w, j);
                }
            }
            Action::Hear(w, j) => self.hear(w, j),
            Action::Late(i) => {
                let (j, sent) = self.ghosts.remove(i);
                self.serve(None, j, &sent.request);
            }
            Action::Fetch(j) => {
                let caller = self.nodes[j].fetching[0].0;
                self.fetch(j);
                if caller != usize::MAX && self.links[caller][j].answers.len() == 1 {
                    self.hear(caller, j);
                }
            }
            Action::Break(w, j) => {
                self.breaks -= 1;
                self.break_link(w, j, true);
            }
            Action::Crash(j, power) => {
                self.crashes -= 1;
                self.crash(bounds, j, power);
            }
            Action::Wait => {
                self.waits -= 1;
                self.now += u64::from(bounds.lease_ms) * 500 + 1;
            }
        }
        self.ghosts.sort_by_key(|(j, sent)| (*j, sent.hash));
    }

    fn hear(&mut self, w: usize, j: usize) {
        let (call, reply) = self.links[w][j].answers.remove(0);
        let result = reply.result.clone();
        self.act(w, |writer, now, out| writer.answer(j, call, result, now, out));
    }

    /// Nothing under way is answered.
    fn break_link(&mut self, w: usize, j: usize, may_arrive: bool) {
        let link = std::mem::take(&mut self.links[w][j]);
        let mut lost = link.served;
        lost.extend(link.answers.iter().map(|(call, _)| *call));
        for (call, sent) in link.requests {
            lost.push(call);
            if may_arrive {
                self.ghosts.push((j, sent));
            }
        }
        lost.sort();
        for call in lost {
            let broken = CallError::Broken("reset".to_owned());
            self.act(w, |writer, now, out| writer.answer(j, call, Err(broken), now, out));
        }
    }

    fn attempt(&mut self, bounds: &Bounds, w: usize, last: usize) {
        for j in 0..JOURNALNODES {
            let link = std::mem::take(&mut self.links[w][j]);
            self.ghosts.extend(link.requests.into_iter().map(|(_, sent)| (j, sent)));
        }
        let timeout = u64::MAX / 4;
        let config = WriterConfig {
            ns_info: namespace_info(),
            holder: Arc::from(Writer::holder(w)),
            proof: LeaseProof(w as u128 + 1),
            asked_before: self.writers[w].writer.as_ref().map_or(Epoch(0), QuorumWriter::epoch),
            lease_ms: bounds.lease_ms,
            layout_version: LayoutVersion::NAMENODE_CURRENT,
            members: (0..JOURNALNODES).map(|i| format!("jn{i}:1")).collect(),
            membership: None,
            journal_id: "ns".to_owned(),
            timeouts: WriterTimeouts {
                start_segment: timeout,
                prepare_recovery: timeout,
                accept_recovery: timeout,
                finalize_segment: timeout,
                get_journal_state: timeout,
                new_epoch: timeout,
                write_txns: timeout,
                reelect_after: timeout,
            },
            recent_limit_bytes: 1 << 20,
            pipeline_depth: 2,
            mutation: Mutation::planted(bounds.mutant),
        };
        let attempt = self.writers[w].attempt + 1;
        self.writers[w] = Arc::new(Writer {
            writer: Some(QuorumWriter::new(config)),
            attempt,
            epoch: 0,
            next: 0,
            // Until it has recovered the log.
            last: bounds.txns,
            unsynced: BTreeMap::new(),
            hash: 0,
        });
        self.act(w, |writer, now, out| writer.recover(now, out));
        // Reading the promises changes nothing: it is enough to choose whose answers count.
        for j in (0..JOURNALNODES).filter(|j| *j != last).chain([last]) {
            self.take_request(w, j);
            self.hear(w, j);
        }
    }

    fn take_request(&mut self, w: usize, j: usize) {
        let (call, sent) = self.links[w][j].requests.remove(0);
        self.links[w][j].served.push(call);
        self.serve(Some((w, call)), j, &sent.request);
    }

    fn act(&mut self, w: usize, act: impl FnOnce(&mut QuorumWriter, u64, &mut Vec<WriterAction>)) {
        let mut here = (*self.writers[w]).clone();
        let mut actions = Vec::new();
        if let Some(writer) = &mut here.writer {
            act(writer, self.now, &mut actions);
        }
        let mut i = 0;
        while i < actions.len() {
            let action = actions[i].clone();
            i += 1;
            self.writer_action(w, &mut here, action, &mut actions);
        }
        here.settle();
        self.writers[w] = Arc::new(here);
    }

    fn writer_action(&mut self, w: usize, here: &mut Writer, action: WriterAction, more: &mut Vec<WriterAction>) {
        let now = self.now;
        match action {
            WriterAction::Send {
                journalnode,
                call,
                request,
                ..
            } => {
                let hash = hash_text(&request).finish();
                let sent = Arc::new(Sent { request, hash });
                self.links[w][journalnode].requests.push((call, sent));
            }
            WriterAction::Recovered { epoch, last_segment } => {
                let end = match last_segment {
                    Some((_, end)) => end.0,
                    None => self.log_end(),
                };
                self.recovered(w, here, epoch, end);
                here.epoch = epoch.0;
                here.next = end + 1;
                here.last += end;
                if let Some(writer) = &mut here.writer {
                    writer.start_segment(TxId(here.next), now, more);
                }
                while here.next <= here.last {
                    let frame = ops::frame(here.next, format!("{w}/{epoch}").as_bytes());
                    here.unsynced.insert(here.next, ops::hash(&frame));
                    if let Some(writer) = &mut here.writer {
                        writer.journal(TxId(here.next), 1, frame.into(), now, more);
                    }
                    here.next += 1;
                }
            }
            WriterAction::Synced { txid } => {
                let later = here.unsynced.split_off(&(txid.0 + 1));
                let synced = std::mem::replace(&mut here.unsynced, later);
                self.acknowledged(here.epoch, synced);
            }
            WriterAction::SegmentStarted { .. }
            | WriterAction::SegmentFinalized { .. }
            | WriterAction::MembershipChanged { .. }
            | WriterAction::Distrusted { .. }
            | WriterAction::Reelected { .. }
            | WriterAction::Fenced { .. }
            | WriterAction::LostQuorum { .. }
            | WriterAction::LeaseHeld { .. } => {}
        }
    }

    fn serve(&mut self, caller: Option<(usize, CallId)>, j: usize, request: &Request) {
        let mut node = self.nodes[j].fork();
        let now = self.now;
        let answer = on(&node.disk.clone(), || match node.acceptor.handle(request, now) {
            Handled::Now(result) => Some(result),
            Handled::AfterSync(answer) => Some(node.acceptor.sync().map(|()| answer)),
            Handled::Download(download) => {
                let (w, call) = caller.unwrap_or((usize::MAX, CallId(0)));
                node.fetching.push((w, call, download));
                None
            }
            Handled::Park { .. } => None,
        });
        node.settle();
        self.nodes[j] = Arc::new(node);
        if let (Some(result), Some((w, call))) = (answer, caller) {
            self.reply(w, j, call, result);
        }
        self.check_node(j);
    }

    fn reply(&mut self, w: usize, j: usize, call: CallId, result: Result<Answer, hathi_journal::JournalError>) {
        let link = &mut self.links[w][j];
        let Some(at) = link.served.iter().position(|served| *served == call) else {
            return;
        };
        link.served.remove(at);
        let result = result.map_err(|error| CallError::Remote(RemoteException::from(error)));
        let hash = hash_text(&result).finish();
        link.answers.push((call, Arc::new(Reply { result, hash })));
    }

    fn fetch(&mut self, j: usize) {
        let mut node = self.nodes[j].fork();
        let (w, call, download) = node.fetching.remove(0);
        let digits: String = download.url.chars().skip("http://jn".len()).take(1).collect();
        let from: usize = digits.parse().expect("the URL names a JournalNode");
        let start = match &download.request {
            Request::AcceptRecovery { state, .. } => state.start,
            other => panic!("{other:?} fetches nothing"),
        };
        let mut source = self.nodes[from].fork();
        let data = on(&source.disk.clone(), || {
            let file = source.acceptor.segment_file(start, true).ok().flatten()?;
            source.disk.read_small(&file.path).ok().flatten()
        });
        let now = self.now;
        let answer = on(&node.disk.clone(), || {
            let fetched = match data {
                None => Err("not there".to_owned()),
                Some(data) => write(&download.to, &data).map_err(|error| error.to_string()),
            };
            node.acceptor.downloaded(download, fetched, now)
        });
        node.settle();
        self.nodes[j] = Arc::new(node);
        if w != usize::MAX {
            self.reply(w, j, call, answer);
        }
        self.check_node(j);
    }

    fn crash(&mut self, bounds: &Bounds, j: usize, power: bool) {
        let mut node = self.nodes[j].fork();
        if power {
            // Nothing that was not synced survives, neither data nor names.
            node.disk.lose_power(&mut |n| if n == 3 { 0 } else { n - 1 });
        } else {
            node.disk.crash_process();
        }
        node.fetching.clear();
        let now = self.now;
        let opened = on(&node.disk.clone(), || {
            Acceptor::open(ModelDisk, root(), Node::options(bounds, j), now)
        });
        match opened {
            Ok(acceptor) => node.acceptor = acceptor,
            Err(error) => self.violate(Violation::Lost(format!("JournalNode {j} does not start: {error}"))),
        }
        node.settle();
        self.nodes[j] = Arc::new(node);
        self.ghosts.retain(|(at, _)| *at != j);
        for w in 0..self.writers.len() {
            self.break_link(w, j, false);
        }
        self.check_node(j);
    }

    fn violate(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    fn log_end(&self) -> u64 {
        let ends = self
            .nodes
            .iter()
            .flat_map(|node| &node.segments)
            .filter_map(|name| name.end);
        ends.max().unwrap_or_default().0
    }

    /// A writer says that the log is recovered up to `end`.
    fn recovered(&mut self, w: usize, here: &Writer, epoch: Epoch, end: u64) {
        let facts = Arc::make_mut(&mut self.facts);
        let known = facts.writers.insert(epoch.0, (w, here.attempt));
        let before = facts.highest.range(..epoch.0).map(|(_, highest)| *highest).max();
        if known.is_some() {
            self.violate(Violation::Writers(format!("epoch {epoch} has two writers")));
        }
        if before.is_some_and(|highest| highest > end) {
            self.violate(Violation::Lost(format!(
                "recovered up to {end} in epoch {epoch}, but {before:?} was acknowledged before"
            )));
        }
        let held = self.writers.iter().enumerate().any(|(other, writer)| {
            other != w && writer.epoch > 0 && writer.epoch < epoch.0 && writer.lease_until() > self.now
        });
        if held {
            self.violate(Violation::Lease(format!(
                "NameNode {w} writes while another holds the lease"
            )));
        }
    }

    fn acknowledged(&mut self, epoch: u64, synced: BTreeMap<u64, u64>) {
        for (txid, content) in synced {
            let facts = Arc::make_mut(&mut self.facts);
            let highest = facts.highest.entry(epoch).or_default();
            *highest = txid.max(*highest);
            let known = facts.acknowledged.insert(txid, content);
            if known.is_some_and(|known| known != content) {
                self.violate(Violation::Agreement(format!("txid {txid} was acknowledged twice")));
            }
            // A writer of a later epoch may have recovered without it meanwhile.
            let newer: Vec<u64> = self.facts.writers.range(epoch + 1..).map(|(epoch, _)| *epoch).collect();
            let copies = self.nodes.iter().filter(|node| node.has(txid, content)).count();
            if copies < MAJORITY {
                self.violate(Violation::Lost(format!(
                    "txid {txid} of epoch {epoch} is acknowledged with {copies} copies; later writers: {newer:?}"
                )));
            }
        }
    }

    /// What must hold of a JournalNode that did something, beside the others.
    fn check_node(&mut self, j: usize) {
        let node = Arc::clone(&self.nodes[j]);
        for (txid, content) in &node.finalized {
            let differs = |other: &Arc<Node>| other.finalized.get(txid).is_some_and(|found| found != content);
            let acknowledged = self.facts.acknowledged.get(txid);
            if self.nodes.iter().any(differs) || acknowledged.is_some_and(|known| known != content) {
                self.violate(Violation::Agreement(format!("txid {txid} is final with two contents")));
            }
        }
        for name in &node.segments {
            let other_end = |other: &SegmentName| other.start == name.start && other.end != name.end;
            let ends = |other: &&SegmentName| name.end.is_some() && other.end.is_some() && other_end(other);
            if self
                .nodes
                .iter()
                .any(|other| other.segments.iter().find(ends).is_some())
            {
                self.violate(Violation::Agreement(format!("segment {} has two ends", name.start)));
            }
        }
        for (txid, content) in self.facts.acknowledged.clone() {
            let copies = self.nodes.iter().filter(|node| node.has(txid, content)).count();
            if copies < MAJORITY {
                self.violate(Violation::Lost(format!(
                    "acknowledged txid {txid} has {copies} copies left"
                )));
            }
        }
    }
}

fn write(path: &std::path::Path, data: &[u8]) -> std::io::Result<()> {
    use hathi_storage::DiskFile;
    let file = ModelDisk.create(path)?;
    file.write_at(0, data)?;
    file.sync_data()
}
