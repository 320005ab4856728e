//! The edit log task. It alone drives the quorum writer. It takes the open batch while fewer than [`BATCHES_UNDER_WAY`]
//! batches are at the JournalNodes, so batches grow with the load. It releases parked replies when a quorum has what
//! they show.
//!
//! It runs on the RPC reactor's thread, so at low load a change needs no switch between threads.

use crate::journalnodes::JournalNodes;
use crate::lease_proof::OwnProof;
use crate::local_edits::LocalEdits;
use crate::state::NameNode;
use hathi_formats::conf::HostPort;
use hathi_formats::ids::{Epoch, LayoutVersion, NamespaceInfo, TxId};
use hathi_journal::group_commit::GroupCommit;
use hathi_journal::mutant::Mutation;
use hathi_journal::writer::{CallError, CallId, Change, Learner, QuorumWriter, WriterAction, WriterConfig};
use hathi_journal::{Answer, Membership, Request};
use hathi_namesystem::Life;
use hathi_namesystem::edit_log::LogItem;
use hathi_net::ipc::RpcClient;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Number of batches at the JournalNodes at the same time: one is being synced, and the next is on its way.
const BATCHES_UNDER_WAY: usize = 2;

/// State of the journal after a recovery.
#[derive(Clone, Copy, Debug)]
pub struct Recovered {
    /// Epoch of this NameNode.
    pub epoch: u64,
    /// The last transaction, if there is one.
    pub last: Option<TxId>,
}

/// Why this NameNode is not the writer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// Another NameNode holds the read lease.
    #[error("another NameNode holds the read lease")]
    LeaseHeld,
    /// An edit failed to apply, so this NameNode's namespace is the state of no log.
    #[error("an edit failed to apply")]
    Broken,
    /// A higher epoch was promised, or no quorum answers.
    #[error("{0}")]
    Lost(String),
}

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
    Change(Change, oneshot::Sender<Result<Membership, String>>),
}

/// News for the task that changes roles.
#[derive(Debug)]
pub struct LostWriter {
    /// Why this NameNode is not the writer any more.
    pub reason: String,
}

/// A call and the writer that made it. A writer that resigned gets no answers, and the next one numbers its calls anew.
#[derive(Clone, Copy, PartialEq, Eq)]
struct WriterCall {
    writer: u64,
    /// The writer's index of the JournalNode.
    channel: usize,
    call: CallId,
    /// When it was sent, if it carries edits.
    batch_sent: Option<u64>,
}

enum Connection {
    Connecting(Vec<(WriterCall, Request, Duration)>),
    Open(RpcClient),
}

enum Event {
    Answer(WriterCall, Result<Answer, CallError>),
    Connected(usize, Result<RpcClient, CallError>),
    Nothing,
}

/// The edit log task; see the module.
pub struct LogTask {
    nn: Arc<NameNode>,
    nodes: JournalNodes,
    /// Connections, by the JournalNodes' indices in `nodes`.
    connections: BTreeMap<usize, Connection>,
    /// The JournalNode of each channel of the writer.
    places: Vec<usize>,
    changing: Option<oneshot::Sender<Result<Membership, String>>>,
    writer: Option<QuorumWriter>,
    writer_number: u64,
    /// The life whose edits are sent, and which is told what is synced.
    life: Option<Life>,
    recovering: Option<oneshot::Sender<Result<Recovered, LogError>>>,
    under_way: VecDeque<(TxId, u64)>,
    group_commit: GroupCommit,
    /// Items that were taken from the log, and that stand behind the end of a segment that is not finalized yet.
    held: VecDeque<LogItem>,
    finalizing: bool,
    /// The segment that was ended early, so that a JournalNode can take part again.
    ended_early: Option<TxId>,
    waiting_synced: Waiting,
    waiting_final: Waiting,
    commands: mpsc::UnboundedReceiver<LogCommand>,
    lost: mpsc::UnboundedSender<LostWriter>,
    events: JoinSet<Event>,
    local: LocalEdits,
    holder: Arc<str>,
    proof: OwnProof,
    /// The highest epoch that a writer of this process has asked for.
    asked_before: Epoch,
}

impl LogTask {
    /// A task that is not the writer yet.
    #[must_use]
    pub fn new(
        nn: Arc<NameNode>,
        nodes: JournalNodes,
        commands: mpsc::UnboundedReceiver<LogCommand>,
        lost: mpsc::UnboundedSender<LostWriter>,
        local: LocalEdits,
    ) -> Self {
        let holder = Arc::from(nn.holder.as_str());
        let proof = OwnProof::draw(&nn.holder);
        LogTask {
            nn,
            nodes,
            connections: BTreeMap::new(),
            places: Vec::new(),
            changing: None,
            writer: None,
            writer_number: 0,
            life: None,
            recovering: None,
            under_way: VecDeque::new(),
            group_commit: GroupCommit::default(),
            held: VecDeque::new(),
            finalizing: false,
            ended_early: None,
            waiting_synced: Waiting::default(),
            waiting_final: Waiting::default(),
            commands,
            lost,
            events: JoinSet::new(),
            local,
            holder,
            proof,
            asked_before: Epoch(0),
        }
    }

    /// Runs until the process ends.
    pub async fn run(mut self) {
        // A set that is never empty never ends.
        self.events.spawn(std::future::pending());
        let nn = self.nn.clone();
        // The timer is only moved nearer. A new timer for each batch would wake the reactor once more each time.
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        let mut armed = None;
        loop {
            let wake_at = self.writer.as_ref().and_then(QuorumWriter::wake_at);
            let wake_at = wake_at.into_iter().chain(self.group_commit.wake_at()).min();
            if let Some(at) = wake_at
                && armed.is_none_or(|armed| at < armed)
            {
                armed = Some(at);
                let left = Duration::from_micros(at.saturating_sub(nn.clock.us()));
                timer.as_mut().reset(tokio::time::Instant::now() + left);
            }
            tokio::select! {
                biased;
                event = self.events.join_next() => self.on_event(event.and_then(Result::ok).unwrap_or(Event::Nothing)),
                () = nn.log_wake.notified() => {}
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                () = timer.as_mut(), if armed.is_some() => {
                    armed = None;
                    if wake_at.is_some_and(|at| at <= nn.clock.us()) {
                        self.tick();
                    }
                }
            }
            self.prove_serving();
            while let Some(event) = self.events.try_join_next() {
                self.on_event(event.unwrap_or(Event::Nothing));
            }
            self.ship();
            nn.release_replies();
        }
    }

    /// Renews the lease only while calls are served.
    fn prove_serving(&mut self) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let proven = self.nn.serving.is_proven(self.nn.clock.ms());
        if writer.renews_lease() != proven {
            if proven {
                tracing::warn!("all reactors serve again: the read lease is renewed");
            } else {
                tracing::error!(
                    "a reactor serves no calls: the read lease is not renewed, so that another NameNode may take over"
                );
            }
            writer.renew_lease(proven);
        }
    }

    fn tick(&mut self) {
        self.prove_serving();
        let mut out = Vec::new();
        let now = self.nn.clock.us();
        if let Some(writer) = &mut self.writer {
            writer.tick(now, &mut out);
            *self.nn.metrics.journal_lags.lock() = writer.lags(now);
        }
        self.perform(out);
        self.end_segment_early(now);
    }

    /// Ends the segment for a JournalNode that can't be caught up in it. The JournalNode takes part in the next one.
    fn end_segment_early(&mut self, now: u64) {
        let wanted = self.writer.as_ref().and_then(|writer| writer.wants_new_segment(now));
        if wanted.is_none() || wanted == self.ended_early || self.life.is_none() || self.finalizing {
            return;
        }
        self.ended_early = wanted;
        let rolled = self.nn.ns.write().edit_log.roll(self.nn.clock.wall_ms());
        match rolled {
            Ok(next) => tracing::info!(%next, "a JournalNode is back: it joins with a new edit log segment"),
            // Another task is ending it.
            Err(error) => tracing::debug!(%error, "no new segment for a JournalNode that is back"),
        }
    }

    fn on_command(&mut self, command: LogCommand) {
        match command {
            LogCommand::Recover { info, done } => self.recover(info, done),
            LogCommand::Ship(life) => self.life = Some(life),
            LogCommand::Members(step) => self.members(step),
            // Dropped, because this NameNode is not the writer.
            LogCommand::NotifySynced(..) | LogCommand::NotifyFinalized(..) if self.life.is_none() => {}
            LogCommand::NotifySynced(txid, done) => self.waiting_synced.wait(txid, done),
            LogCommand::NotifyFinalized(last, done) => self.waiting_final.wait(last, done),
            LogCommand::Resign(done) => {
                let epoch = self.writer.as_ref().map(QuorumWriter::epoch);
                self.stop();
                if let Some(epoch) = epoch {
                    self.release_lease(epoch);
                }
                let _ = done.send(());
            }
            LogCommand::Purge(min_to_keep) => {
                let mut out = Vec::new();
                let now = self.nn.clock.us();
                if let Some(writer) = &mut self.writer {
                    writer.purge_logs_older_than(min_to_keep, now, &mut out);
                }
                self.perform(out);
                self.local.purge(min_to_keep);
            }
        }
    }

    fn recover(&mut self, info: NamespaceInfo, done: oneshot::Sender<Result<Recovered, LogError>>) {
        self.stop();
        self.nodes.trust_all();
        let settings = &self.nn.settings;
        let mut writer = QuorumWriter::new(WriterConfig {
            layout_version: LayoutVersion::NAMENODE_CURRENT,
            ns_info: info,
            holder: self.holder.clone(),
            proof: self.proof.proof(),
            asked_before: self.asked_before,
            lease_ms: settings.lease_ms,
            members: self.nodes.configured.iter().map(ToString::to_string).collect(),
            membership: self.nodes.membership(),
            journal_id: self.nodes.journal_id.clone(),
            timeouts: settings.timeouts.clone(),
            // One buffer for all of them, as large as Hadoop's queues together.
            recent_limit_bytes: settings.queued_edits_bytes * self.nodes.configured.len(),
            pipeline_depth: BATCHES_UNDER_WAY,
            mutation: Mutation::default(),
        });
        self.recovering = Some(done);
        let mut out = Vec::new();
        writer.recover(self.nn.clock.us(), &mut out);
        self.writer = Some(writer);
        self.perform(out);
    }

    fn stop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.asked_before = self.asked_before.max(writer.epoch());
        }
        self.writer_number += 1;
        self.life = None;
        self.under_way.clear();
        self.group_commit = GroupCommit::default();
        self.held.clear();
        self.finalizing = false;
        self.waiting_synced = Waiting::default();
        self.waiting_final = Waiting::default();
        self.recovering = None;
        self.changing = None;
        self.places.clear();
        self.nn.lease.set(0);
        self.nn.metrics.journal_lags.lock().clear();
        self.local.abandon();
    }

    fn release_lease(&mut self, epoch: Epoch) {
        let request = Request::ReleaseLease {
            holder: self.holder.clone(),
            proof: self.proof.proof(),
            up_to: Some(epoch),
        };
        for connection in self.connections.values() {
            if let Connection::Open(client) = connection {
                let answer = self.nodes.send(client, &request, Duration::from_secs(5));
                self.events.spawn(async move {
                    // A Java JournalNode does not know the call, but then there is no lease either.
                    let _ = answer.await;
                    Event::Nothing
                });
            }
        }
    }

    /// Hands the open batch to the writer, unless enough are under way. A new segment waits until the last one is
    /// finalized, because a recovery must find nothing behind an unfinished segment.
    fn ship(&mut self) {
        if self.life.is_none() || self.finalizing || self.under_way.len() >= BATCHES_UNDER_WAY {
            return;
        }
        if self.held.is_empty() {
            let mut ns = self.nn.ns.write();
            if ns.is_broken() {
                drop(ns);
                return self.on_lost(LogError::Broken);
            }
            let log = &mut ns.edit_log;
            let (txns, bytes) = (log.pending_txns(), log.pending_bytes());
            let now = self.nn.clock.us();
            if !self.group_commit.leaves(txns, bytes, !self.under_way.is_empty(), now) {
                return;
            }
            self.held = log.take();
        }
        let Some(writer) = &mut self.writer else { return };
        let now = self.nn.clock.us();
        let mut out = Vec::new();
        while !self.finalizing
            && let Some(item) = self.held.pop_front()
        {
            match &item {
                LogItem::StartSegment(txid) => writer.start_segment(*txid, now, &mut out),
                LogItem::Edits {
                    first, count, bytes, ..
                } => {
                    self.under_way.push_back((TxId(first.0 + u64::from(*count) - 1), now));
                    writer.journal(*first, *count, bytes.clone(), now, &mut out);
                }
                LogItem::FinalizeSegment { .. } => {
                    self.finalizing = true;
                    writer.finalize_segment(now, &mut out);
                }
            }
            self.local.push(item);
        }
        self.perform(out);
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
                            if call.writer != self.writer_number {
                                continue;
                            }
                            self.send_on(&client, call, &request, timeout);
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

    fn on_answer(&mut self, call: WriterCall, result: Result<Answer, CallError>) {
        if call.writer != self.writer_number {
            return;
        }
        let mut out = Vec::new();
        let now = self.nn.clock.us();
        if let (Some(sent), true) = (call.batch_sent, result.is_ok())
            && let Some(journalnode) = self.journalnode(call.channel)
        {
            let mut rpcs = self.nn.metrics.journal_rpcs.lock();
            rpcs.entry(journalnode)
                .or_default()
                .add_micros(now.saturating_sub(sent));
        }
        if let Some(writer) = &mut self.writer {
            writer.answer(call.channel, call.call, result, now, &mut out);
        }
        self.perform(out);
        self.end_segment_early(now);
    }

    fn perform(&mut self, actions: Vec<WriterAction>) {
        if let Some(writer) = &self.writer {
            self.nn.lease.set(writer.may_read_until());
        }
        for action in actions {
            match action {
                WriterAction::Send {
                    journalnode,
                    call,
                    request,
                    timeout,
                } => {
                    let call = WriterCall {
                        writer: self.writer_number,
                        channel: journalnode,
                        call,
                        batch_sent: matches!(request, Request::Journal { .. }).then(|| self.nn.clock.us()),
                    };
                    self.send(call, request, Duration::from_micros(timeout));
                }
                WriterAction::Recovered { epoch, last_segment } => {
                    if let Some(found) = self.writer.as_ref().and_then(QuorumWriter::membership) {
                        self.nodes.learn(found);
                    }
                    if self.writer.as_ref().is_some_and(|writer| !writer.lease_supported()) {
                        tracing::warn!(
                            "the JournalNodes know no read leases: reads may be stale for a moment after a failover, as with Hadoop"
                        );
                    }
                    if let Some(done) = self.recovering.take() {
                        let _ = done.send(Ok(Recovered {
                            epoch: epoch.0,
                            last: last_segment.map(|(_, last)| last),
                        }));
                    }
                }
                WriterAction::SegmentStarted { txid } => tracing::info!(%txid, "edit log segment started"),
                WriterAction::Synced { txid } => self.on_synced(txid),
                WriterAction::SegmentFinalized { start, end } => {
                    tracing::info!(%start, %end, "edit log segment finalized");
                    self.finalizing = false;
                    self.waiting_final.reached(end);
                }
                WriterAction::MembershipChanged { membership } => {
                    tracing::info!(members = membership.members.join(";"), "the JournalNodes were changed");
                    self.nodes.learn(&membership);
                    if let Some(done) = self.changing.take() {
                        let _ = done.send(Ok(membership));
                    }
                }
                WriterAction::Distrusted { journalnode, why } => {
                    let addresses = self.writer.as_ref().map_or(&[][..], QuorumWriter::addresses);
                    let address = addresses.get(journalnode).cloned().unwrap_or_default();
                    tracing::error!(
                        journalnode = address,
                        why,
                        "a JournalNode is left out of the recovery: look at it"
                    );
                    self.nodes.distrust(address, why);
                }
                WriterAction::Reelected { epoch } => {
                    tracing::info!(
                        %epoch,
                        "elected anew in office: a JournalNode that had promised more to somebody else takes part again"
                    );
                }
                WriterAction::Fenced { reason } | WriterAction::LostQuorum { reason } => {
                    self.on_lost(LogError::Lost(reason));
                    return;
                }
                WriterAction::LeaseHeld { .. } => {
                    self.on_lost(LogError::LeaseHeld);
                    return;
                }
            }
        }
    }

    fn on_synced(&mut self, txid: TxId) {
        let Some(life) = &self.life else { return };
        let before = life.synced();
        if let Err(error) = life.acknowledge(txid) {
            return self.on_lost(LogError::Lost(error.to_string()));
        }
        let now = self.nn.clock.us();
        let metrics = &self.nn.metrics;
        metrics
            .synced_txns
            .fetch_add(txid.0.saturating_sub(before.0), Ordering::Relaxed);
        let mut took = 0;
        while let Some(&(last, since)) = self.under_way.front()
            && last <= txid
        {
            self.under_way.pop_front();
            took = now.saturating_sub(since);
            metrics.syncs.fetch_add(1, Ordering::Relaxed);
            metrics.sync_us.fetch_add(took, Ordering::Relaxed);
            metrics.commits.add_micros(took);
        }
        let waiting = self.nn.ns.read().edit_log.pending_txns();
        self.group_commit.synced(txid.0.saturating_sub(before.0), waiting, took);
        self.waiting_synced.reached(txid);
        self.nn.release_replies();
    }

    fn on_lost(&mut self, error: LogError) {
        let recovering = self.recovering.take();
        self.stop();
        match recovering {
            Some(done) => {
                let _ = done.send(Err(error));
            }
            None => {
                let _ = self.lost.send(LostWriter {
                    reason: error.to_string(),
                });
            }
        }
    }

    /// The JournalNode of a channel of the writer.
    fn journalnode(&mut self, channel: usize) -> Option<usize> {
        while self.places.len() <= channel {
            let address = self.writer.as_ref()?.addresses().get(self.places.len())?;
            let address = HostPort::parse(address, None).ok()?;
            self.places.push(self.nodes.index_of(&address));
        }
        self.places.get(channel).copied()
    }

    fn send(&mut self, call: WriterCall, request: Request, timeout: Duration) {
        let Some(journalnode) = self.journalnode(call.channel) else {
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

    fn send_on(&mut self, client: &RpcClient, call: WriterCall, request: &Request, timeout: Duration) {
        let answer = self.nodes.send(client, request, timeout);
        self.events.spawn(async move { Event::Answer(call, answer.await) });
    }

    /// Does a step of a change of the membership.
    fn members(&mut self, step: MembersStep) {
        let now = self.nn.clock.us();
        let mut out = Vec::new();
        match (step, &mut self.writer) {
            (MembersStep::Learner(done), writer) => {
                let _ = done.send(writer.as_ref().map_or(Learner::None, QuorumWriter::learner));
            }
            (MembersStep::AddLearner(address, done), Some(writer)) => {
                let _ = done.send(writer.add_learner(&address, now, &mut out));
            }
            (MembersStep::DropLearner, Some(writer)) => writer.drop_learner(),
            (MembersStep::Change(change, done), Some(writer)) => {
                self.changing = Some(done);
                if let Err(why) = writer.change(&change, now, &mut out)
                    && let Some(done) = self.changing.take()
                {
                    let _ = done.send(Err(why));
                }
            }
            // Without a writer the sender is dropped, which tells the receiver.
            (_, None) => {}
        }
        self.perform(out);
    }
}

/// Senders that wait until the log of one writer has reached a transaction, or has reached it already.
#[derive(Default)]
pub(crate) struct Waiting {
    reached: Option<TxId>,
    for_later: Vec<(TxId, oneshot::Sender<()>)>,
}

impl Waiting {
    /// Signals `done` when this transaction is reached, or at once if it has been.
    pub(crate) fn wait(&mut self, txid: TxId, done: oneshot::Sender<()>) {
        if self.reached >= Some(txid) {
            let _ = done.send(());
        } else {
            self.for_later.push((txid, done));
        }
    }

    /// Signals everybody who waits for this transaction or an earlier one.
    pub(crate) fn reached(&mut self, txid: TxId) {
        self.reached = self.reached.max(Some(txid));
        for (_, done) in self.for_later.extract_if(.., |(at, _)| *at <= txid) {
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use hathi_formats::editlog::EditOp;
    use hathi_journal::directory::MustHave;

    /// The failed write wakes the task, and the task tells the one that changes roles.
    #[tokio::test]
    async fn safety_n3_an_edit_that_fails_to_apply_ends_the_active() {
        let alone = testing::active();
        let nn = alone.shared.nn.clone();
        let (commands, command_queue) = mpsc::unbounded_channel();
        let (lost, mut lost_queue) = mpsc::unbounded_channel();
        let local = LocalEdits::start(Vec::new(), MustHave::default(), |_| {}).unwrap();
        let nodes = JournalNodes::none(&nn.settings);
        let task = tokio::spawn(LogTask::new(nn.clone(), nodes, command_queue, lost, local).run());
        commands.send(LogCommand::Ship(nn.ns.read().life().clone())).unwrap();
        {
            let mut ns = nn.ns.write();
            let missing = EditOp::SetReplication {
                path: "/missing".to_owned(),
                replication: 2,
            };
            ns.commit(&[missing]).expect_err("it does not apply");
        }
        nn.log_wake.notify_one();
        let news = tokio::time::timeout(Duration::from_secs(20), lost_queue.recv());
        let news = news.await.expect("nobody notices").expect("the task lives");
        assert_eq!(news.reason, LogError::Broken.to_string());
        task.abort();
    }

    #[tokio::test]
    async fn who_asks_for_the_end_of_a_segment_that_is_final_already_is_told_at_once() {
        let alone = testing::active();
        let nn = alone.shared.nn.clone();
        let (_commands, command_queue) = mpsc::unbounded_channel();
        let (lost, _lost_queue) = mpsc::unbounded_channel();
        let local = LocalEdits::start(Vec::new(), MustHave::default(), |_| {}).unwrap();
        let nodes = JournalNodes::none(&nn.settings);
        let mut task = LogTask::new(nn.clone(), nodes, command_queue, lost, local);
        task.on_command(LogCommand::Ship(nn.ns.read().life().clone()));
        task.perform(vec![WriterAction::SegmentFinalized {
            start: TxId(1),
            end: TxId(7),
        }]);
        let (done, mut finalized) = oneshot::channel();
        task.on_command(LogCommand::NotifyFinalized(TxId(7), done));
        finalized.try_recv().expect("it is final");
        let (done, mut finalized) = oneshot::channel();
        task.on_command(LogCommand::NotifyFinalized(TxId(8), done));
        assert_eq!(finalized.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        task.perform(vec![WriterAction::SegmentFinalized {
            start: TxId(8),
            end: TxId(8),
        }]);
        finalized.try_recv().expect("it is final by now");
        // Nobody waits in vain for a NameNode that is not the writer any more.
        let (done, mut finalized) = oneshot::channel();
        task.stop();
        task.on_command(LogCommand::NotifyFinalized(TxId(8), done));
        assert_eq!(finalized.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
