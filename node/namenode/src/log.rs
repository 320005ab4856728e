//! The edit log task: the shell around [`QuorumLog`]. It carries requests to the JournalNodes and their answers back, and
//! locks the namesystem where a batch is taken.
//!
//! It runs on the RPC reactor's thread, so at low load a change needs no switch between threads.

use crate::clock::Clock;
use crate::former_lease;
use crate::image_place::ImagePlace;
use crate::lease_proof::OwnProof;
use crate::local_edits::LocalEdits;
use crate::observed::Observed;
use crate::replies::Replies;
use crate::settings::Settings;
use hathi_conf::HostPort;
use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_journal::mutant::Mutation;
use hathi_journal::writer::{CallError, Learner, MemberChange};
use hathi_journal::{Answer, Membership, Request};
use hathi_journalclient::{JournalNodeClient, JournalNodes};
use hathi_nameserver::edit_log_driver::{
    JournalCall, JournalToRecover, LogAction, LogError, LogNews, QuorumLog, QuorumLogConfig, Recovered,
};
use hathi_nameserver::membership::Unchanged;
use hathi_nameserver::serving::Serving;
use hathi_namesystem::{Life, Namesystem};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Time limit of the call that gives the read lease back.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Commands for the task.
pub enum LogCommand {
    /// Become the writer: get an epoch and recover.
    Recover {
        /// Identity of the namespace.
        info: NamespaceInfo,
        /// Receives the result.
        done: oneshot::Sender<Result<Recovered, LogError>>,
    },
    /// The log was opened in this life. Send its edits from now on.
    Ship(Life),
    /// Tell when this transaction is synced. The sender is dropped when it never will be.
    NotifySynced(TxId, oneshot::Sender<()>),
    /// Tell when the segment that ends with this transaction is finalized. The sender is dropped when it never will be.
    NotifyFinalized(TxId, oneshot::Sender<()>),
    /// Stop being the writer, and give the lease back.
    Resign(oneshot::Sender<()>),
    /// Delete old segments at the JournalNodes.
    Purge(TxId),
    /// Do a step of a change of the membership.
    Members(MembersStep),
}

/// A step of a change of the membership ([`crate::members`]). When this NameNode is not the writer, or ceases to be,
/// the sender is dropped without an answer.
pub enum MembersStep {
    /// Begin to catch up a new JournalNode.
    AddLearner(String, oneshot::Sender<Result<(), String>>),
    /// Tell the state of the new JournalNode.
    Learner(oneshot::Sender<Learner>),
    /// Give the new JournalNode up.
    DropLearner,
    /// Make the new JournalNode a member, or remove a member.
    Change(MemberChange, oneshot::Sender<Result<Membership, Unchanged>>),
}

/// News for the task that changes roles.
#[derive(Debug)]
pub struct LostWriter {
    /// Why this NameNode is not the writer any more.
    pub reason: String,
}

enum Connection {
    Connecting(Vec<(JournalCall, Request, Duration)>),
    Open(JournalNodeClient),
}

enum Event {
    Answer(JournalCall, Result<Answer, CallError>),
    Connected(usize, Result<JournalNodeClient, CallError>),
    Nothing,
}

/// What an edit log task needs of the NameNode.
pub struct LogParts {
    pub(crate) settings: Arc<Settings>,
    /// `<namenode id>@<uuid>`: name of this process at the JournalNodes.
    pub(crate) holder: Arc<str>,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) replies: Arc<Replies>,
    pub(crate) images: Arc<ImagePlace>,
    pub(crate) observed: Arc<Observed>,
}

/// The edit log task; see the module.
pub struct LogTask {
    parts: LogParts,
    serving: Arc<Serving>,
    nodes: JournalNodes,
    log: QuorumLog<oneshot::Sender<()>>,
    /// Actions of the driver, kept for their room in memory.
    actions: Vec<LogAction<oneshot::Sender<()>>>,
    /// Connections, by the JournalNodes' indices in `nodes`.
    connections: BTreeMap<usize, Connection>,
    /// By the driver's index of a JournalNode, its index in `nodes`. They belong to one attempt to be the writer.
    places: (u64, Vec<usize>),
    recovering: Option<oneshot::Sender<Result<Recovered, LogError>>>,
    changing: Option<oneshot::Sender<Result<Membership, Unchanged>>>,
    commands: mpsc::UnboundedReceiver<LogCommand>,
    lost: mpsc::UnboundedSender<LostWriter>,
    events: JoinSet<Event>,
    local: LocalEdits,
    /// Open as long as the task lives, because the failover controller reads it.
    _proof: OwnProof,
}

impl LogTask {
    /// A task that is not the writer yet.
    #[must_use]
    pub fn new(
        parts: LogParts,
        serving: Arc<Serving>,
        nodes: JournalNodes,
        commands: mpsc::UnboundedReceiver<LogCommand>,
        lost: mpsc::UnboundedSender<LostWriter>,
        local: LocalEdits,
    ) -> Self {
        let proof = OwnProof::draw(&parts.holder);
        let settings = &parts.settings;
        if let Some(dir) = settings.name_dirs.first()
            && let Err(error) = former_lease::leave(dir, &parts.holder, proof.proof())
        {
            tracing::warn!(%error, "the next process can't give this one's lease back");
        }
        let log = QuorumLog::new(QuorumLogConfig {
            holder: parts.holder.clone(),
            proof: proof.proof(),
            lease_ms: settings.lease_ms,
            journal_id: nodes.journal_id().to_owned(),
            timeouts: settings.timeouts.clone(),
            // One buffer for all of them, as large as Hadoop's queues together.
            recent_limit_bytes: settings.queued_edits_bytes * nodes.configured.len(),
            mutation: Mutation::default(),
        });
        LogTask {
            parts,
            serving,
            nodes,
            log,
            actions: Vec::new(),
            connections: BTreeMap::new(),
            places: (0, Vec::new()),
            recovering: None,
            changing: None,
            commands,
            lost,
            events: JoinSet::new(),
            local,
            _proof: proof,
        }
    }

    /// Runs until the process ends.
    pub async fn run(mut self) {
        // A set that is never empty never ends.
        self.events.spawn(std::future::pending());
        let (clock, replies) = (self.parts.clock.clone(), self.parts.replies.clone());
        // The timer is only moved nearer. A new timer for each batch would wake the reactor once more each time.
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        let mut armed = None;
        loop {
            let wake_at = self.log.wake_at();
            if let Some(at) = wake_at
                && armed.is_none_or(|armed| at < armed)
            {
                armed = Some(at);
                let left = Duration::from_micros(at.saturating_sub(clock.us()));
                timer.as_mut().reset(tokio::time::Instant::now() + left);
            }
            tokio::select! {
                biased;
                event = self.events.join_next() => self.on_event(event.and_then(Result::ok).unwrap_or(Event::Nothing)),
                () = replies.log_woken() => {}
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                () = timer.as_mut(), if armed.is_some() => {
                    armed = None;
                    if wake_at.is_some_and(|at| at <= clock.us()) {
                        self.tick();
                    }
                }
            }
            self.prove_serving();
            while let Some(event) = self.events.try_join_next() {
                self.on_event(event.unwrap_or(Event::Nothing));
            }
            self.ship();
            replies.release();
        }
    }

    /// Renews the lease only while calls are served.
    fn prove_serving(&mut self) {
        let Some(renews) = self.log.renews_lease() else {
            return;
        };
        let proven = self.serving.is_proven(self.parts.clock.ms());
        if renews != proven {
            if proven {
                tracing::warn!("all reactors serve again: the read lease is renewed");
            } else {
                tracing::error!(
                    "a reactor serves no calls: the read lease is not renewed, so that another NameNode may take over"
                );
            }
            self.log.renew_lease(proven);
        }
    }

    fn tick(&mut self) {
        self.prove_serving();
        let now = self.parts.clock.us();
        self.log.tick(now, &mut self.actions);
        self.parts.observed.set_journal_lags(self.log.lags(now));
        self.perform();
    }

    fn on_command(&mut self, command: LogCommand) {
        let now = self.parts.clock.us();
        match command {
            LogCommand::Recover { info, done } => {
                self.nodes.trust_all();
                let journal = JournalToRecover {
                    info,
                    members: self.nodes.configured.iter().map(ToString::to_string).collect(),
                    membership: self.nodes.membership(),
                };
                self.recovering = Some(done);
                self.log.recover(journal, now, &mut self.actions);
            }
            LogCommand::Ship(life) => self.log.ship(life),
            LogCommand::Members(step) => self.members(step, now),
            LogCommand::NotifySynced(txid, done) => self.log.await_synced(txid, done, &mut self.actions),
            LogCommand::NotifyFinalized(last, done) => self.log.await_finalized(last, done, &mut self.actions),
            LogCommand::Resign(done) => {
                self.recovering = None;
                self.log.resign(&mut self.actions);
                self.perform();
                let _ = done.send(());
            }
            LogCommand::Purge(min_to_keep) => self.log.purge(min_to_keep, now, &mut self.actions),
        }
        self.perform();
    }

    fn ship(&mut self) {
        if self.log.may_take() {
            let mut ns = self.parts.ns.write();
            self.log.take(&mut *ns, self.parts.clock.us(), &mut self.actions);
        }
        self.log.hand_over(self.parts.clock.us(), &mut self.actions);
        self.perform();
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Nothing => {}
            Event::Answer(call, result) => self.on_answer(call, result),
            Event::Connected(journalnode, result) => {
                let Some(Connection::Connecting(queued)) = self.connections.remove(&journalnode) else {
                    return;
                };
                match result {
                    Ok(client) => {
                        for (call, request, timeout) in queued {
                            // The next writer's first call on this connection has to come first.
                            if call.attempt == self.log.attempt() {
                                self.send_on(&client, call, &request, timeout);
                            }
                        }
                        self.connections.insert(journalnode, Connection::Open(client));
                    }
                    Err(error) => {
                        for (call, _, _) in queued {
                            self.on_answer(call, Err(error.clone()));
                        }
                    }
                }
            }
        }
    }

    fn on_answer(&mut self, call: JournalCall, result: Result<Answer, CallError>) {
        let now = self.parts.clock.us();
        if let (Some(sent), true) = (call.batch_sent, result.is_ok())
            && let Some(journalnode) = self.journalnode(call)
        {
            let took_us = now.saturating_sub(sent);
            self.parts.observed.journal_answered(journalnode, took_us);
        }
        self.log.answer(call, result, now, &mut self.actions);
        self.perform();
    }

    fn perform(&mut self) {
        self.renew_lease(self.log.may_read_until());
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            self.perform_one(action);
        }
        if self.actions.is_empty() {
            self.actions = actions;
        }
    }

    fn renew_lease(&self, until_us: u64) {
        if let Some(left_us) = self.parts.replies.renew_lease(until_us) {
            self.parts.observed.lease_renewed(left_us);
        }
    }

    fn perform_one(&mut self, action: LogAction<oneshot::Sender<()>>) {
        match action {
            LogAction::Send { call, request, timeout } => self.send(call, request, Duration::from_micros(timeout)),
            LogAction::Copy(item) => self.local.push(item),
            LogAction::AbandonCopies => {
                self.local.abandon();
                self.changing = None;
                self.parts.observed.set_journal_lags(Vec::new());
            }
            LogAction::PurgeCopies(min_to_keep) => self.local.purge(min_to_keep),
            LogAction::ReleaseLease(request) => self.release_lease(&request),
            LogAction::Recovered(recovered) => self.tell_recovery(Ok(recovered)),
            LogAction::NotRecovered(error) => self.tell_recovery(Err(error)),
            LogAction::Lost(error) => {
                let reason = error.to_string();
                let _ = self.lost.send(LostWriter { reason });
            }
            LogAction::Reached(done) => {
                let _ = done.send(());
            }
            LogAction::Synced(synced) => {
                self.parts.observed.synced(&synced);
                self.parts.images.look_again();
                self.parts.replies.release();
            }
            LogAction::RollEditLog => {
                let rolled = self.parts.ns.write().roll_edit_log(self.parts.clock.wall_ms());
                match rolled {
                    Ok(next) => tracing::info!(%next, "a JournalNode is back: it joins with a new edit log segment"),
                    // Another task is ending it.
                    Err(error) => tracing::debug!(%error, "no new segment for a JournalNode that is back"),
                }
            }
            LogAction::Learn(membership) => {
                self.nodes.learn(&membership);
            }
            LogAction::MembershipChanged(membership) => {
                tracing::info!(members = membership.members.join(";"), "the JournalNodes were changed");
                if let Some(done) = self.changing.take() {
                    let _ = done.send(Ok(membership));
                }
            }
            LogAction::Distrust { address, why } => {
                tracing::error!(
                    journalnode = address,
                    why,
                    "a JournalNode is left out of the recovery: look at it"
                );
                self.nodes.distrust(address, why);
            }
            LogAction::Tell(news) => tell(news),
        }
    }

    fn tell_recovery(&mut self, result: Result<Recovered, LogError>) {
        if let Some(done) = self.recovering.take() {
            let _ = done.send(result);
        }
    }

    fn release_lease(&mut self, request: &Request) {
        for connection in self.connections.values() {
            if let Connection::Open(client) = connection {
                let answer = client.send(request, RELEASE_TIMEOUT);
                self.events.spawn(async move {
                    // A Java JournalNode does not know the call, but then there is no lease either.
                    let _ = answer.await;
                    Event::Nothing
                });
            }
        }
    }

    /// The JournalNode of a call. A call of an earlier writer has none.
    fn journalnode(&mut self, call: JournalCall) -> Option<usize> {
        let (attempt, places) = &mut self.places;
        if *attempt != call.attempt {
            *attempt = call.attempt;
            places.clear();
        }
        while places.len() <= call.journalnode {
            let address = self.log.addresses().get(places.len())?;
            let address = HostPort::parse(address, None).ok()?;
            places.push(self.nodes.index_of(&address));
        }
        places.get(call.journalnode).copied()
    }

    fn send(&mut self, call: JournalCall, request: Request, timeout: Duration) {
        let Some(journalnode) = self.journalnode(call) else {
            let broken = CallError::Broken("no such address".to_owned());
            self.events.spawn(async move { Event::Answer(call, Err(broken)) });
            return;
        };
        match self.connections.get_mut(&journalnode) {
            Some(Connection::Open(client)) if !client.is_lost() => {
                let client = client.clone();
                self.send_on(&client, call, &request, timeout);
            }
            Some(Connection::Connecting(queued)) => queued.push((call, request, timeout)),
            _ => {
                let queued = vec![(call, request, timeout)];
                self.connections.insert(journalnode, Connection::Connecting(queued));
                let nodes = self.nodes.clone();
                self.events
                    .spawn(async move { Event::Connected(journalnode, nodes.connect(journalnode).await) });
            }
        }
    }

    fn send_on(&mut self, client: &JournalNodeClient, call: JournalCall, request: &Request, timeout: Duration) {
        let answer = client.send(request, timeout);
        self.events.spawn(async move { Event::Answer(call, answer.await) });
    }

    /// Does a step of a change of the membership. Without a writer the sender is dropped, which tells the receiver.
    fn members(&mut self, step: MembersStep, now: u64) {
        match step {
            MembersStep::Learner(done) => {
                let _ = done.send(self.log.learner());
            }
            MembersStep::AddLearner(address, done) => {
                if let Some(begun) = self.log.add_learner(&address, now, &mut self.actions) {
                    let _ = done.send(begun);
                }
            }
            MembersStep::DropLearner => self.log.drop_learner(),
            MembersStep::Change(change, done) => match self.log.change(&change, now, &mut self.actions) {
                Some(Ok(())) => self.changing = Some(done),
                Some(Err(why)) => {
                    let learner = self.log.learner();
                    let _ = done.send(Err(Unchanged { why, learner }));
                }
                None => {}
            },
        }
    }
}

fn tell(news: LogNews) {
    match news {
        LogNews::NoLeases => tracing::warn!(
            "the JournalNodes know no read leases: reads may be stale for a moment after a failover, as with Hadoop"
        ),
        LogNews::SegmentStarted(txid) => tracing::info!(%txid, "edit log segment started"),
        LogNews::SegmentFinalized(start, end) => tracing::info!(%start, %end, "edit log segment finalized"),
        LogNews::Reelected(epoch) => tracing::info!(
            %epoch,
            "elected anew in office: a JournalNode that had promised more to somebody else takes part again"
        ),
    }
}
