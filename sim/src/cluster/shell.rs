//! A NameNode's process: the production's namesystem, changes of role and reply gate, and what its tasks share.
//!
//! [`Shell`] does for the cores what `node/namenode` does. What is to be done outside of the process, it asks of the world
//! ([`Out`]).

use super::calls::{Call, Caller, PassedAnswer, Standby};
use super::images::{ImageNews, SentImage};
use super::mutants::ClusterMutant;
use super::settings::{Settings, WALL_MS, namespace_config, parts};
use super::tasks::{Receiver, Sender, oneshot};
use bytes::Bytes;
use fastrand::Rng;
use hathi_blockmanager::Now;
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::{Epoch, TxId};
use hathi_journal::writer::{CallError, CallId};
use hathi_journal::{Answer, Micros, Request};
use hathi_nameserver::edit_log_driver::{LogAction, LogError, LogNews, QuorumLog, Recovered};
use hathi_nameserver::name_dirs::NameDirs;
use hathi_nameserver::reading::Sources;
use hathi_nameserver::role_changes::RoleChanges;
use hathi_namesystem::checkpoint::Earlier;
use hathi_namesystem::edit_log::LogItem;
use hathi_namesystem::loader::assemble;
use hathi_namesystem::reply_gate::ReplyGate;
use hathi_namesystem::save_namespace::ImageSlot;
use hathi_namesystem::standby_health::StandbyHealth;
use hathi_namesystem::{Generation, Life, Namesystem, Role};
use hathi_storage::SimDisk;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// Whoever asked for a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The failover controller beside it, in one of its lives.
    Controller(u64),
    /// An administrator.
    Administrator,
}

/// A reply that waits.
#[derive(Clone, Debug)]
pub struct Parked {
    /// Who waits for it.
    pub to: Caller,
    /// The reply.
    pub result: Result<Bytes, RemoteException>,
    /// Whether the call may have changed the namespace.
    pub changed: bool,
    /// The life in which it was made.
    pub made_in: Generation,
}

/// What is asked of the world.
#[derive(Debug)]
pub enum Out {
    /// Ask a JournalNode, apart from the writer's connection.
    Ask {
        /// The JournalNode.
        jn: usize,
        /// The request.
        request: Request,
        /// Time limit.
        timeout: Micros,
        /// Gets the answer.
        done: Sender<Result<Answer, CallError>>,
    },
    /// Fetch the file of a segment.
    Download {
        /// The JournalNode.
        jn: usize,
        /// First transaction of the segment.
        start: TxId,
        /// Whether it may be in progress.
        in_progress: bool,
        /// Gets the file.
        done: Sender<Option<Bytes>>,
    },
    /// Fetch the newest image of a peer.
    FetchImage {
        /// The peer.
        from: usize,
        /// Gets the image.
        done: Sender<SentImage>,
    },
    /// Ask a peer whether it makes images.
    AskState {
        /// The peer.
        to: usize,
        /// Gets the answer.
        done: Sender<Option<Earlier>>,
    },
    /// Send an image to a peer.
    SendImage {
        /// The peer.
        to: usize,
        /// The image.
        image: SentImage,
    },
    /// Send a request of a writer over its connection.
    Send {
        /// Number of the attempt to be the writer.
        attempt: u64,
        /// The JournalNode.
        jn: usize,
        /// Number of the call.
        call: CallId,
        /// The request.
        request: Request,
        /// Time limit.
        timeout: Micros,
    },
    /// A reply of the active leaves.
    Reply(Parked),
    /// The active's reply to a call that was passed on leaves, and from which transaction on the active remembers answers.
    PassBack(Caller, Result<Bytes, RemoteException>, u64),
    /// Ask another NameNode for its process and clock.
    AskClock {
        /// The NameNode.
        to: usize,
        /// Gets the process and its monotonic time in ms.
        done: Sender<(String, u64)>,
    },
    /// Pass a client's call on.
    PassOn {
        /// The NameNode.
        to: usize,
        /// The call.
        call: Box<Call>,
        /// Gets the answer.
        done: Sender<PassedAnswer>,
    },
    /// A changing call of this client begins that was kept, here or by the NameNode that has passed it on.
    BeganForOther(Caller),
    /// A reply that says nothing of the namespace leaves.
    Refuse(Caller, RemoteException),
    /// The connection of this caller is reset.
    Reset(Caller),
    /// A reply was made and goes to its connection a little later.
    Later(Micros, Box<(Parked, hathi_nameserver::replies::Made)>),
    /// The edit log task looks at the log, a little later.
    WakeLog,
    /// The answer to who asked for a role.
    Answered(Asker, bool),
    /// Edits were sent to the journal.
    Shipped(Bytes),
    /// A quorum has everything up to here.
    Synced(Epoch, TxId),
    /// The journal is recovered.
    Recovered(Epoch, Option<TxId>),
    /// The writer in office has another epoch.
    Reelected(Epoch),
    /// This NameNode is about to serve. Before the op that begins its segment, its last transaction was this one, and its
    /// namespace had this digest.
    Active(u64, u64),
    /// Something happened to an image.
    Image(ImageNews),
    /// The process ends.
    End(String),
    /// Something rare happened.
    Mark(&'static str),
}

/// The state that all tasks of a process share.
#[derive(Debug)]
pub struct Process {
    /// The namesystem.
    pub ns: Namesystem,
    /// Replies that wait.
    pub gate: ReplyGate<Parked>,
    /// Problems.
    pub health: StandbyHealth,
    /// Changes of role.
    pub roles: RoleChanges<Asker>,
    /// What drives the writer.
    pub log: QuorumLog<Sender<()>>,
    /// Who waits for the end of a recovery.
    pub recovering: Option<Sender<Result<Recovered, LogError>>>,
    /// Epoch in which it last became the writer.
    pub epoch: Epoch,
    /// End of the read lease on the process's clock.
    pub lease_until: Micros,
    /// What is known of the JournalNodes that it reads.
    pub sources: Sources,
    /// Requests for a role.
    pub asked: VecDeque<(bool, bool, Asker)>,
    /// News of the edit log task.
    pub lost: VecDeque<String>,
    /// The follower found that the namespace has to be loaded anew.
    pub unusable: bool,
    /// Calls that came while it was not active.
    pub standby: Standby,
    /// The image that is being made.
    pub image: ImageSlot,
    /// Completed loads.
    pub loads: u64,
    /// Answers to calls before this transaction may be forgotten, because an image held their edits.
    pub remembers_from: u64,
    /// Highest transaction that this process has asked to purge.
    pub purged_to: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Shell(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    process: RefCell<Process>,
    dirs: NameDirs<SimDisk>,
    now: Cell<Micros>,
    true_now: Cell<Micros>,
    rng: RefCell<Rng>,
    out: RefCell<Vec<Out>>,
    timers: RefCell<BTreeSet<Micros>>,
    changed: Cell<bool>,
    following: Cell<bool>,
    tailing: Cell<bool>,
}

impl Shell {
    /// A process that has just begun.
    pub fn new(settings: Settings, dirs: NameDirs<SimDisk>, log: QuorumLog<Sender<()>>, rng: Rng) -> Self {
        let namespace = hathi_namespace::Namespace::new(namespace_config(settings.knobs.datanodes));
        let ns = assemble(parts(&settings, 0), namespace, TxId(0), Life::first());
        let roles = RoleChanges::new(hathi_nameserver::role_changes::RoleChangesConfig {
            is_single: false,
            not_active_in_safe_mode: false,
            lease_ms: settings.knobs.lease_ms,
        });
        let standby = Standby::new(&settings.holder);
        Shell(Rc::new(Inner {
            settings,
            process: RefCell::new(Process {
                ns,
                gate: ReplyGate::default(),
                health: StandbyHealth::default(),
                roles,
                log,
                recovering: None,
                epoch: Epoch(0),
                lease_until: 0,
                sources: Sources::default(),
                asked: VecDeque::new(),
                lost: VecDeque::new(),
                unusable: false,
                standby,
                image: ImageSlot::default(),
                loads: 0,
                remembers_from: 0,
                purged_to: 0,
            }),
            dirs,
            now: Cell::new(0),
            true_now: Cell::new(0),
            rng: RefCell::new(rng),
            out: RefCell::default(),
            timers: RefCell::default(),
            changed: Cell::new(false),
            following: Cell::new(false),
            tailing: Cell::new(false),
        }))
    }

    /// What it was told at its start.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The planted bug.
    pub fn is(&self, mutant: ClusterMutant) -> bool {
        self.0.settings.planted.is(mutant)
    }

    /// Does something with the state. Not to be nested.
    pub fn with<T>(&self, act: impl FnOnce(&mut Process) -> T) -> T {
        self.0.changed.set(true);
        act(&mut self.0.process.borrow_mut())
    }

    /// The same, of which no other task has to hear.
    pub fn with_quietly<T>(&self, act: impl FnOnce(&mut Process) -> T) -> T {
        act(&mut self.0.process.borrow_mut())
    }

    /// Looks at the state.
    pub fn look<T>(&self, look: impl FnOnce(&Process) -> T) -> T {
        look(&self.0.process.borrow())
    }

    /// Its name directories.
    pub fn dirs(&self) -> &NameDirs<SimDisk> {
        &self.0.dirs
    }

    /// The digest of its namespace, if that holds everything up to this transaction, and behind it only ops of segments.
    pub fn digest_at(&self, txid: u64) -> u64 {
        self.with_quietly(|process| process.ns.digest_at(TxId(txid)))
    }

    // ---- time

    /// Sets the process's clock, and the true time.
    pub fn set_time(&self, local: Micros, true_now: Micros) {
        self.0.now.set(local);
        self.0.true_now.set(true_now);
    }

    /// Microseconds of the clock of the lease.
    pub fn us(&self) -> Micros {
        self.0.now.get()
    }

    /// Monotonic milliseconds.
    pub fn ms(&self) -> u64 {
        1_000 + self.us() / 1_000
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        Now {
            monotonic_ms: self.ms(),
            wall_ms: WALL_MS + self.0.true_now.get() / 1_000,
        }
    }

    /// The next time of a timer that is not due yet.
    pub fn next_timer(&self) -> Option<Micros> {
        let mut timers = self.0.timers.borrow_mut();
        let later = timers.split_off(&(self.us() + 1));
        *timers = later;
        timers.first().copied()
    }

    /// Waits.
    pub async fn sleep(&self, us: Micros) {
        let at = self.us() + us;
        poll_fn(|_| {
            if self.us() >= at {
                return Poll::Ready(());
            }
            self.0.timers.borrow_mut().insert(at);
            Poll::Pending
        })
        .await;
    }

    /// Waits for up to so long.
    pub async fn sleep_up_to(&self, us: Micros) {
        let us = self.random(us);
        self.sleep(us).await;
    }

    /// What comes of it, if it comes in time.
    pub async fn within<T>(&self, us: Micros, what: impl Future<Output = T>) -> Option<T> {
        let mut what = pin!(what);
        let mut time = pin!(self.sleep(us));
        poll_fn(|context| match what.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => time.as_mut().poll(context).map(|()| None),
        })
        .await
    }

    // ---- chance

    /// A number up to `max`.
    pub fn random(&self, max: u64) -> u64 {
        self.0.rng.borrow_mut().u64(0..=max)
    }

    /// True once in so many times.
    pub fn one_in(&self, n: u64) -> bool {
        self.random(n.max(1) - 1) == 0
    }

    // ---- what tasks await

    /// Whether something has changed since this was asked last.
    pub fn take_changed(&self) -> bool {
        self.0.changed.replace(false)
    }

    /// Whether the journal is to be followed.
    pub fn is_following(&self) -> bool {
        self.0.following.get()
    }

    /// Lets the follower go on, or stop.
    pub fn set_following(&self, following: bool) {
        self.0.following.set(following);
        self.0.changed.set(true);
    }

    /// Whether the follower is in the middle of a step.
    pub fn is_tailing(&self) -> bool {
        self.0.tailing.get()
    }

    /// The follower begins or ends a step.
    pub fn set_tailing(&self, tailing: bool) {
        self.0.tailing.set(tailing);
        self.0.changed.set(true);
    }

    /// Waits until this holds.
    pub async fn until(&self, holds: impl Fn(&Shell) -> bool) {
        poll_fn(|_| if holds(self) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// What comes of it, unless this holds before.
    pub async fn unless<T>(&self, holds: impl Fn(&Shell) -> bool, what: impl Future<Output = T>) -> Option<T> {
        let mut what = pin!(what);
        poll_fn(|context| {
            if holds(self) {
                return Poll::Ready(None);
            }
            what.as_mut().poll(context).map(Some)
        })
        .await
    }

    // ---- the world

    /// Asks something of the world.
    pub fn ask_world(&self, out: Out) {
        self.0.out.borrow_mut().push(out);
    }

    /// Counts something rare.
    pub fn mark(&self, what: &'static str) {
        self.ask_world(Out::Mark(what));
    }

    /// What was asked of the world.
    pub fn take_out(&self) -> Vec<Out> {
        std::mem::take(&mut self.0.out.borrow_mut())
    }

    /// Asks one JournalNode.
    pub async fn call(&self, jn: usize, request: &Request, timeout: Micros) -> Result<Answer, CallError> {
        let receiver = self.begin_call(jn, request, timeout);
        let answer = receiver.await;
        answer.unwrap_or_else(|| Err(CallError::Broken("nobody answers".to_owned())))
    }

    fn begin_call(&self, jn: usize, request: &Request, timeout: Micros) -> Receiver<Result<Answer, CallError>> {
        let (done, receiver) = oneshot();
        self.ask_world(Out::Ask {
            jn,
            request: request.clone(),
            timeout,
            done,
        });
        receiver
    }

    /// Asks all JournalNodes; with the answers of a majority there, the others get a moment and no more.
    pub async fn call_all(&self, request: &Request, timeout: Micros) -> Vec<(usize, Result<Answer, CallError>)> {
        const LAST_ANSWERS: Micros = 50_000;
        let count = self.0.settings.journalnodes;
        let calls = (0..count).map(|jn| (jn, self.begin_call(jn, request, timeout)));
        let mut calls: Vec<_> = calls.collect();
        let mut answers = BTreeMap::new();
        let mut patience = None;
        poll_fn(|context| {
            calls.retain_mut(|(jn, call)| match pin!(call).poll(context) {
                Poll::Ready(answer) => {
                    answers.extend(answer.map(|answer| (*jn, answer)));
                    false
                }
                Poll::Pending => true,
            });
            if calls.is_empty() {
                return Poll::Ready(());
            }
            if answers.values().flatten().count() > count / 2 {
                let until = *patience.get_or_insert(self.us() + LAST_ANSWERS);
                if self.us() >= until {
                    return Poll::Ready(());
                }
                self.0.timers.borrow_mut().insert(until);
            }
            Poll::Pending
        })
        .await;
        let silent = || Err(CallError::Broken("no answer in time".to_owned()));
        (0..count)
            .map(|jn| (jn, answers.remove(&jn).unwrap_or_else(silent)))
            .collect()
    }

    // ---- the driver of the edit log

    /// Does something with the driver of the edit log, and what comes of it.
    pub fn with_log(&self, act: impl FnOnce(&mut QuorumLog<Sender<()>>, Micros, &mut Vec<LogAction<Sender<()>>>)) {
        let now = self.us();
        let mut actions = Vec::new();
        self.with(|process| act(&mut process.log, now, &mut actions));
        self.follow_log(actions);
        let mut actions = Vec::new();
        self.with(|process| {
            if process.log.may_take() {
                process.log.take(&mut process.ns, now, &mut actions);
            }
            process.log.hand_over(now, &mut actions);
        });
        self.follow_log(actions);
        self.release_replies();
    }

    fn follow_log(&self, actions: Vec<LogAction<Sender<()>>>) {
        self.with(|process| process.lease_until = process.log.may_read_until());
        for action in actions {
            self.perform(action);
        }
    }

    fn perform(&self, action: LogAction<Sender<()>>) {
        match action {
            LogAction::Send { call, request, timeout } => self.ask_world(Out::Send {
                attempt: call.attempt,
                // The JournalNodes of the configuration, in their order: nobody changes them here.
                jn: call.journalnode,
                call: call.call,
                request,
                timeout,
            }),
            LogAction::Copy(LogItem::Edits { bytes, .. }) => self.ask_world(Out::Shipped(bytes)),
            LogAction::Copy(_)
            | LogAction::AbandonCopies
            | LogAction::PurgeCopies(_)
            | LogAction::Learn(_)
            | LogAction::MembershipChanged(_) => {}
            LogAction::ReleaseLease(request) => self.release_lease(&request),
            LogAction::Recovered(recovered) => {
                self.ask_world(Out::Recovered(recovered.epoch, recovered.last));
                self.with(|process| process.epoch = recovered.epoch);
                self.tell_recovery(Ok(recovered));
            }
            LogAction::NotRecovered(error) => {
                self.mark(match &error {
                    LogError::LeaseHeld => "lease held",
                    LogError::Broken | LogError::Lost(_) => "a recovery failed",
                });
                self.tell_recovery(Err(error));
            }
            LogAction::Lost(error) => {
                self.mark("lost the journal");
                self.with(|process| process.lost.push_back(error.to_string()));
            }
            LogAction::Reached(done) => done.send(()),
            LogAction::Synced(_) => {
                let (epoch, synced) = self.look(|process| (process.epoch, process.ns.edit_log().synced()));
                self.ask_world(Out::Synced(epoch, synced));
                self.release_replies();
            }
            LogAction::RollEditLog => {
                let wall_ms = self.now().wall_ms;
                // Another task may be ending it.
                let _ = self.with(|process| process.ns.roll_edit_log(wall_ms));
            }
            LogAction::Distrust { .. } => self.mark("a JournalNode was distrusted"),
            LogAction::Tell(LogNews::Reelected(epoch)) => {
                self.with(|process| process.epoch = epoch);
                self.ask_world(Out::Reelected(epoch));
            }
            LogAction::Tell(_) => {}
        }
    }

    fn tell_recovery(&self, result: Result<Recovered, LogError>) {
        if let Some(done) = self.with(|process| process.recovering.take()) {
            done.send(result);
        }
    }

    /// Gives a lease back. Nobody waits for the answers.
    pub fn release_lease(&self, request: &Request) {
        for jn in 0..self.0.settings.journalnodes {
            drop(self.begin_call(jn, request, 1_500_000));
        }
    }

    /// Releases the replies that may leave.
    pub fn release_replies(&self) {
        let now = self.us();
        let unchecked = self.is(ClusterMutant::LeaseNotChecked) || self.is(ClusterMutant::LeaseNotCheckedAtRelease);
        let released = self.with(|process| {
            let held = unchecked || now < process.lease_until;
            if !held || !matches!(process.ns.role(), Role::Active | Role::SteppingDown) {
                return Vec::new();
            }
            process.gate.release()
        });
        for reply in released {
            self.ask_world(Out::Reply(reply));
        }
    }

    /// Whether the read lease is held.
    pub fn is_lease_held(&self) -> bool {
        self.is(ClusterMutant::LeaseNotChecked) || self.look(|process| self.us() < process.lease_until)
    }
}
