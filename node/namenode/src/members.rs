//! Adding and removing a JournalNode while the cluster runs (`hathi journal add|remove`), at the active NameNode: the
//! shell around [`hathi_nameserver::membership`].

use crate::callers::Callers;
use crate::clock::Clock;
use crate::log::{LogCommand, MembersStep};
use crate::replies::Replies;
use crate::tail::millis;
use anyhow::Context;
use hathi_conf::HostPort;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::ext::{ChangeJournalNodesRequestProto, ChangeJournalNodesResponseProto};
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Membership, Request};
use hathi_journalclient::Readers;
use hathi_nameserver::membership::{Got, MembershipChange, Order};
use hathi_nameserver::standby_calls::not_active;
use hathi_namesystem::{Namesystem, Role};
use hathi_net::ipc::{Responder, RpcCall};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

/// How long the quorum writer may take for an answer. It gives up earlier by itself.
const WRITER_TIMEOUT: Duration = Duration::from_secs(60);

/// Changes of the JournalNodes, one after the other.
pub struct MembershipChanges {
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) replies: Arc<Replies>,
    pub(crate) callers: Arc<Callers>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) log: mpsc::UnboundedSender<LogCommand>,
    /// Held during a change.
    pub(crate) under_way: Mutex<()>,
}

impl MembershipChanges {
    /// Serves `changeJournalNodes`. The answer is sent when the change is done.
    pub fn serve(self: &Arc<Self>, call: &RpcCall, responder: Responder) {
        let asked = call.decode::<ChangeJournalNodesRequestProto>().and_then(|request| {
            self.callers.check_superuser(call)?;
            if self.replies.role() != Role::Active {
                return Err(not_active());
            }
            Ok(request)
        });
        let request = match asked {
            Ok(request) => request,
            Err(error) => return responder.error(&error),
        };
        let changes = self.clone();
        tokio::spawn(async move {
            match changes.change(&request).await {
                Ok(membership) => responder.ok(&ChangeJournalNodesResponseProto {
                    members: membership.members,
                    journal_id: changes.readers.nodes.journal_id().to_owned(),
                }),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the JournalNodes were not changed");
                    responder.error(&RemoteException::new(exceptions::IO, format!("{error:#}")));
                }
            }
        });
    }

    async fn change(&self, request: &ChangeJournalNodesRequestProto) -> anyhow::Result<Membership> {
        let _alone = self
            .under_way
            .try_lock()
            .ok()
            .context("another change of the JournalNodes is under way")?;
        let (add, remove) = (request.add.as_deref(), request.remove.as_deref());
        let members = self.readers.nodes.addresses();
        let now_ms = || self.clock.ms();
        let mut change = MembershipChange::new(add, remove, members, now_ms())?;
        let mut got = Got::Nothing;
        loop {
            got = match change.on(got, now_ms()) {
                Order::StartLearner(address) => {
                    tracing::info!(%address, "a JournalNode is being added: it is caught up first");
                    let begun = self.ask_writer(|done| MembersStep::AddLearner(address, done)).await;
                    begun.map_or(Got::WriterLost, Got::Begun)
                }
                Order::AskLearner => {
                    let learner = self.ask_writer(MembersStep::Learner).await;
                    learner.map_or(Got::WriterLost, Got::Learner)
                }
                Order::RollEditLog => {
                    let rolled = self.ns.write().roll_edit_log(self.clock.wall_ms());
                    if let Err(error) = rolled {
                        tracing::debug!(%error, "no roll for the new JournalNode");
                    }
                    self.replies.wake_log();
                    Got::Done
                }
                Order::AskSegments {
                    journalnodes,
                    request,
                    timeout_ms,
                } => Got::Answers(ask_all(&self.readers, journalnodes, &request, millis(timeout_ms)).await),
                Order::Change(change) => {
                    let changed = self.ask_writer(|done| MembersStep::Change(change, done)).await;
                    changed.map_or(Got::WriterLost, Got::Changed)
                }
                Order::Pause(ms) => {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    Got::Done
                }
                Order::End { result, drops_learner } => {
                    if drops_learner {
                        self.log.send(LogCommand::Members(MembersStep::DropLearner))?;
                    }
                    return Ok(result?);
                }
            };
        }
    }

    /// Does a step at the edit log task. `None` if this NameNode is not the writer, or ceases to be.
    async fn ask_writer<T>(&self, step: impl FnOnce(oneshot::Sender<T>) -> MembersStep) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.log.send(LogCommand::Members(step(done))).ok()?;
        tokio::time::timeout(WRITER_TIMEOUT, answer).await.ok()?.ok()
    }
}

/// The same call to all of these at once.
async fn ask_all(
    readers: &Arc<Readers>,
    journalnodes: Vec<HostPort>,
    request: &Request,
    timeout: Duration,
) -> Vec<(HostPort, Result<Answer, CallError>)> {
    let mut calls = JoinSet::new();
    for address in journalnodes {
        let (readers, request) = (readers.clone(), request.clone());
        calls.spawn(async move {
            let index = readers.nodes.index_of(&address);
            (address, readers.call(index, &request, timeout).await)
        });
    }
    calls.join_all().await
}
