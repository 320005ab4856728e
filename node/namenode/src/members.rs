//! Adding and removing a JournalNode while the cluster runs (`hathi journal add|remove`), at the active NameNode.
//!
//! The quorum writer decides whether a change is safe (`hathi_journal::membership`). This module only keeps the order
//! of the steps, and adds one condition: every finalized segment must be on a majority of the remaining JournalNodes.
//! Otherwise a segment could be removed together with a JournalNode before there is a checkpoint of it.

use crate::background::Shared;
use crate::log::{LogCommand, MembersStep};
use anyhow::{Context, bail};
use hathi_formats::conf::HostPort;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::TxId;
use hathi_formats::proto::ext::{ChangeJournalNodesRequestProto, ChangeJournalNodesResponseProto};
use hathi_journal::messages::Manifest;
use hathi_journal::writer::{Change, Learner};
use hathi_journal::{Answer, Membership, Request};
use hathi_namesystem::Role;
use hathi_net::ipc::{Responder, RpcCall};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long a new JournalNode may take to fetch the segments that it lacks, or others to fetch those that only the
/// removed one has.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long a change may take once it has begun. The writer itself gives up earlier.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause between two comparisons of segments.
const COMPARE_PAUSE: Duration = Duration::from_millis(500);
/// Time limit of a call to a JournalNode.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves `changeJournalNodes`. The answer is sent when the change is done.
pub fn serve(shared: &Arc<Shared>, call: &RpcCall, responder: Responder) {
    let asked = call.decode::<ChangeJournalNodesRequestProto>().and_then(|request| {
        shared.nn.check_superuser(call)?;
        if shared.nn.role() != Role::Active {
            return Err(crate::state::not_active());
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

async fn change(shared: &Arc<Shared>, request: &ChangeJournalNodesRequestProto) -> anyhow::Result<Membership> {
    let _alone = shared
        .changing_members
        .try_lock()
        .ok()
        .context("another change of the JournalNodes is under way")?;
    match (&request.add, &request.remove) {
        (Some(address), None) => {
            let added = add(shared, &parse(address)?).await;
            if added.is_err() {
                shared.log.send(LogCommand::Members(MembersStep::DropLearner))?;
            }
            added
        }
        (None, Some(address)) => remove(shared, &parse(address)?).await,
        _ => bail!("either a JournalNode to add or one to remove"),
    }
}

fn parse(address: &str) -> anyhow::Result<HostPort> {
    HostPort::parse(address, None).map_err(anyhow::Error::msg)
}

async fn step<T>(shared: &Shared, step: impl FnOnce(oneshot::Sender<T>) -> MembersStep) -> anyhow::Result<T> {
    let (done, answer) = oneshot::channel();
    shared.log.send(LogCommand::Members(step(done)))?;
    let answered = tokio::time::timeout(CHANGE_TIMEOUT, answer).await;
    answered
        .ok()
        .and_then(Result::ok)
        .context("this NameNode stopped being the writer meanwhile; whether the change was made the next one will know")
}

fn refused(why: String) -> anyhow::Error {
    anyhow::anyhow!("refused: {why}")
}

async fn add(shared: &Arc<Shared>, at: &HostPort) -> anyhow::Result<Membership> {
    let address = &at.to_string();
    let begun = step(shared, |done| MembersStep::AddLearner(address.clone(), done)).await?;
    begun.map_err(refused)?;
    tracing::info!(%address, "a JournalNode is being added: it is caught up first");
    let started = Instant::now();
    let mut rolled = false;
    loop {
        match step(shared, MembersStep::Learner).await? {
            Learner::InSync => {
                let all = shared.readers.nodes.members();
                let new = shared.readers.nodes.index_of(at);
                match lacking(shared, &all, &[new]).await? {
                    None => {
                        let change = Change::Add(address.clone());
                        match step(shared, |done| MembersStep::Change(change, done)).await? {
                            Ok(membership) => return Ok(membership),
                            // The learner has just fallen behind.
                            Err(why) if why.contains("not caught up") => {}
                            Err(why) => return Err(refused(why)),
                        }
                    }
                    Some(what) => give_up_after(started, &what)?,
                }
                tokio::time::sleep(COMPARE_PAUSE).await;
            }
            Learner::Behind { .. } if !rolled => {
                // It fetches older segments from its peers, and gets everything from now on from the writer.
                rolled = true;
                let done = shared.nn.ns.write().edit_log.roll(shared.nn.clock.wall_ms());
                if let Err(error) = done {
                    tracing::debug!(%error, "no roll for the new JournalNode");
                }
                shared.nn.log_wake.notify_one();
            }
            Learner::Refused(why) => bail!("{address} cannot be added: {why}"),
            Learner::None => bail!("this NameNode stopped being the writer meanwhile"),
            Learner::Joining | Learner::Behind { .. } => give_up_after(started, &format!("{address} does not follow"))?,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn remove(shared: &Arc<Shared>, address: &HostPort) -> anyhow::Result<Membership> {
    let old = shared.readers.nodes.index_of(address);
    let all = shared.readers.nodes.members();
    let rest: Vec<usize> = all.iter().copied().filter(|index| *index != old).collect();
    let started = Instant::now();
    if rest.len() < all.len() && rest.len() >= hathi_journal::membership::MEMBERS_MIN {
        while let Some(what) = lacking_of_majority(shared, &all, &rest).await? {
            give_up_after(started, &what)?;
            tokio::time::sleep(COMPARE_PAUSE).await;
        }
    }
    let change = Change::Remove(address.to_string());
    step(shared, |done| MembersStep::Change(change, done))
        .await?
        .map_err(refused)
}

fn give_up_after(started: Instant, what: &str) -> anyhow::Result<()> {
    if started.elapsed() > PATIENCE {
        bail!("{what}, {} s after the change was asked for", PATIENCE.as_secs());
    }
    Ok(())
}

type Segment = (TxId, TxId);

async fn finalized(shared: &Arc<Shared>, index: usize) -> Option<BTreeSet<Segment>> {
    let request = Request::GetEditLogManifest {
        since: TxId(0),
        in_progress_ok: false,
        from_journal: false,
    };
    let Ok(Answer::Manifest(Manifest { segments, .. })) = shared.readers.call(index, &request, CALL_TIMEOUT).await
    else {
        return None;
    };
    let known = segments
        .iter()
        .filter_map(|segment| Some((segment.start, segment.end?)));
    Some(known.collect())
}

/// A finalized segment that one of `all` has and one of `new` lacks.
async fn lacking(shared: &Arc<Shared>, all: &[usize], new: &[usize]) -> anyhow::Result<Option<String>> {
    let wanted = union(shared, all).await?;
    for index in new {
        let Some(there) = finalized(shared, *index).await else {
            return Ok(Some(format!("{} does not tell its segments", name(shared, *index))));
        };
        if let Some((start, end)) = wanted.difference(&there).next() {
            return Ok(Some(format!("{} lacks segment {start}-{end}", name(shared, *index))));
        }
    }
    Ok(None)
}

/// A finalized segment that one of `all` has and that is on less than a majority of `rest`.
async fn lacking_of_majority(shared: &Arc<Shared>, all: &[usize], rest: &[usize]) -> anyhow::Result<Option<String>> {
    let wanted = union(shared, all).await?;
    let mut there = Vec::new();
    for index in rest {
        there.extend(finalized(shared, *index).await);
    }
    let few = wanted
        .iter()
        .find(|segment| there.iter().filter(|here| here.contains(segment)).count() < rest.len() / 2 + 1);
    Ok(few.map(|(start, end)| format!("segment {start}-{end} is not on a majority of those that would remain")))
}

async fn union(shared: &Arc<Shared>, all: &[usize]) -> anyhow::Result<BTreeSet<Segment>> {
    let (mut wanted, mut answers) = (BTreeSet::new(), 0);
    for index in all {
        if let Some(there) = finalized(shared, *index).await {
            answers += 1;
            wanted.extend(there);
        }
    }
    if answers < all.len() / 2 + 1 {
        bail!("no majority of the JournalNodes tells its segments");
    }
    Ok(wanted)
}

fn name(shared: &Shared, index: usize) -> String {
    let address = shared.readers.nodes.address(index);
    address.map(|address| address.to_string()).unwrap_or_default()
}
