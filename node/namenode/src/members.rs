//! Adding and removing a JournalNode while the cluster runs (`hathi journal add|remove`), at the active NameNode: the
//! shell around [`hathi_nameserver::membership`].

use crate::background::Shared;
use crate::log::{LogCommand, MembersStep};
use crate::tail::millis;
use anyhow::Context;
use hathi_conf::HostPort;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::ext::{ChangeJournalNodesRequestProto, ChangeJournalNodesResponseProto};
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Membership, Request};
use hathi_journalclient::Readers;
use hathi_nameserver::membership::{Got, MembershipChange, Order};
use hathi_namesystem::Role;
use hathi_net::ipc::{Responder, RpcCall};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// How long the quorum writer may take for an answer. It gives up earlier by itself.
const WRITER_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves `changeJournalNodes`. The answer is sent when the change is done.
pub fn serve(shared: &Arc<Shared>, call: &RpcCall, responder: Responder) {
    let asked = call.decode::<ChangeJournalNodesRequestProto>().and_then(|request| {
        shared.nn.check_superuser(call)?;
        if shared.nn.role() != Role::Active {
            return Err(crate::replies::not_active());
        }
        Ok(request)
    });
    let request = match asked {
        Ok(request) => request,
        Err(error) => return responder.error(&error),
    };
    let shared = shared.clone();
    tokio::spawn(async move {
        match change(&shared, &request).await {
            Ok(membership) => responder.ok(&ChangeJournalNodesResponseProto {
                members: membership.members,
                journal_id: shared.readers.nodes.journal_id().to_owned(),
            }),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the JournalNodes were not changed");
                responder.error(&RemoteException::new(exceptions::IO, format!("{error:#}")));
            }
        }
    });
}

async fn change(shared: &Shared, request: &ChangeJournalNodesRequestProto) -> anyhow::Result<Membership> {
    let _alone = shared
        .changing_members
        .try_lock()
        .ok()
        .context("another change of the JournalNodes is under way")?;
    let (add, remove) = (request.add.as_deref(), request.remove.as_deref());
    let members = shared.readers.nodes.addresses();
    let now_ms = || shared.nn.clock.ms();
    let mut change = MembershipChange::new(add, remove, members, now_ms())?;
    let mut got = Got::Nothing;
    loop {
        got = match change.on(got, now_ms()) {
            Order::StartLearner(address) => {
                tracing::info!(%address, "a JournalNode is being added: it is caught up first");
                let begun = ask_writer(shared, |done| MembersStep::AddLearner(address, done)).await;
                begun.map_or(Got::WriterLost, Got::Begun)
            }
            Order::AskLearner => {
                let learner = ask_writer(shared, MembersStep::Learner).await;
                learner.map_or(Got::WriterLost, Got::Learner)
            }
            Order::RollEditLog => {
                let rolled = shared.nn.ns.write().edit_log.roll(shared.nn.clock.wall_ms());
                if let Err(error) = rolled {
                    tracing::debug!(%error, "no roll for the new JournalNode");
                }
                shared.nn.replies.wake_log();
                Got::Done
            }
            Order::AskSegments {
                journalnodes,
                request,
                timeout_ms,
            } => Got::Answers(ask_all(&shared.readers, journalnodes, &request, millis(timeout_ms)).await),
            Order::Change(change) => {
                let changed = ask_writer(shared, |done| MembersStep::Change(change, done)).await;
                changed.map_or(Got::WriterLost, Got::Changed)
            }
            Order::Pause(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Got::Done
            }
            Order::End { result, drops_learner } => {
                if drops_learner {
                    shared.log.send(LogCommand::Members(MembersStep::DropLearner))?;
                }
                return Ok(result?);
            }
        };
    }
}

/// Does a step at the edit log task. `None` if this NameNode is not the writer, or ceases to be.
async fn ask_writer<T>(shared: &Shared, step: impl FnOnce(oneshot::Sender<T>) -> MembersStep) -> Option<T> {
    let (done, answer) = oneshot::channel();
    shared.log.send(LogCommand::Members(step(done))).ok()?;
    tokio::time::timeout(WRITER_TIMEOUT, answer).await.ok()?.ok()
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
