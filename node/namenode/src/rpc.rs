//! The RPC handler: finds the handler of a call, runs it under the lock that it needs, and sends or parks the answer.

use crate::admin;
use crate::background::Shared;
use crate::block_reports::BlockReports;
use crate::callers::not_known_yet;
use crate::origin::connection_number;
use crate::replies::not_active;
use crate::standby_calls::{self, Refused, StandbyCall};
use crate::state::NameNode;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_nameserver::checkpoints::SaveNamespaceRequest;
use hathi_nameserver::replies::Made;
use hathi_namesystem::calls::{AuditRecord, DeleteWork, WalkWork};
use hathi_namesystem::passed_on::PassedOn;
use hathi_namesystem::{Deferred, Namesystem, Reply, Reported, Role, Standing, Verb, calls};
use hathi_net::ipc::protocols::SupervisorMethod;
use hathi_net::ipc::{Method, Protocol, Responder, RpcCall, RpcHandler, protocols};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Number of calls that may wait until the groups of their users are known.
const HELD_MAX: usize = 4096;
/// Number of long reads that are served in turns. Each takes a slice in every turn of its thread.
const WALKS_AT_ONCE: usize = 4;
/// Number of long reads that are served or may wait.
const WALKS_MAX: usize = 1024;

/// The served protocols. Their methods have handlers in the namesystem, or are answered by [`admin`].
static PROTOCOLS: [&Protocol; 12] = [
    &protocols::CLIENT_PROTOCOL,
    &protocols::DATANODE_PROTOCOL,
    &protocols::DATANODE_LIFELINE_PROTOCOL,
    &protocols::NAMENODE_PROTOCOL,
    &protocols::HA_SERVICE_PROTOCOL,
    &protocols::SUPERVISOR_PROTOCOL,
    &protocols::REFRESH_USER_MAPPINGS_PROTOCOL,
    &protocols::REFRESH_AUTHORIZATION_POLICY_PROTOCOL,
    &protocols::REFRESH_CALL_QUEUE_PROTOCOL,
    &protocols::GENERIC_REFRESH_PROTOCOL,
    &protocols::GET_USER_MAPPINGS_PROTOCOL,
    &protocols::RECONFIGURATION_PROTOCOL,
];

/// Serves the calls of one NameNode.
pub struct Handler {
    namenode: Arc<NameNode>,
    shared: Arc<Shared>,
    held: mpsc::UnboundedSender<Held>,
    held_places: Arc<Semaphore>,
    walks: Arc<Semaphore>,
    walk_places: Arc<Semaphore>,
    /// Of the deletes of many inodes one is under way.
    deletes: Arc<Semaphore>,
    block_reports: BlockReports,
}

impl Handler {
    /// [`serve_held`] receives the `held` calls.
    #[must_use]
    pub fn new(shared: Arc<Shared>, held: mpsc::UnboundedSender<Held>) -> Self {
        Handler {
            namenode: shared.nn.clone(),
            held,
            held_places: Arc::new(Semaphore::new(HELD_MAX)),
            walks: Arc::new(Semaphore::new(WALKS_AT_ONCE)),
            walk_places: Arc::new(Semaphore::new(WALKS_MAX)),
            deletes: Arc::new(Semaphore::new(1)),
            block_reports: BlockReports::start(shared.nn.clone()),
            shared,
        }
    }

    /// Serves a call that was kept while this NameNode became active, if its client still waits.
    pub fn serve(&self, kept: StandbyCall) {
        let now_ms = self.namenode.clock.ms();
        let age_ms = kept.age_ms(now_ms);
        if !kept.call.responder.is_waiting() {
            return kept.call.send_away();
        }
        let Refused { call, responder, .. } = kept.call;
        if self.namenode.settings.is_single() {
            // No other NameNode can have served it meanwhile.
            return self.call(call, responder);
        }
        let passed_on = PassedOn {
            waiting_at_ms: now_ms,
            age_ms,
            connection: connection_number(call.peer),
        };
        self.serve_until(call, responder, Manner::Kept(passed_on));
    }

    /// Runs the handler of a call. `None` while the groups of its user are being asked for.
    fn run(&self, verb: Verb, call: &RpcCall, manner: Manner) -> Option<Served> {
        let nn = &self.namenode;
        let mut context = nn.context(call)?;
        let is_client = is_from_client(call);
        let mut kept_here = false;
        if let (Manner::Kept(passed_on), None) = (manner, context.passed_on) {
            context.passed_on = Some(passed_on);
            kept_here = true;
        }
        let served = |ns: &Namesystem, reply: Reply, write: bool| Served {
            record: match reply.deferred {
                // It is not decided yet whether the delete is allowed.
                Some(Deferred::Delete(_)) => None,
                _ => crate::audit::record(nn.audit(), ns, &context, call, &reply),
            },
            standing: ns.standing(),
            reply,
            write,
        };
        Some(match verb {
            Verb::Read(read) => {
                let ns = nn.ns.read();
                served(&ns, read(&ns, &context, call.body.clone()), false)
            }
            Verb::Write(write) => {
                let mut ns = nn.ns.write();
                // The journal is slower than the clients, or hangs. They wait before edits fill the memory.
                if is_client && ns.edit_log.unsynced_bytes() > nn.settings.unsynced_limit_bytes {
                    let busy = "too many edits wait for the journal (hathi.namenode.unsynced.limit.mb)";
                    let refusal = Reply::refuse(RemoteException::new(exceptions::RETRIABLE, busy));
                    return Some(served(&ns, refusal, false));
                }
                // A call that is served again was admitted before.
                if is_client
                    && !matches!(manner, Manner::Again(_))
                    && let Err(refused) = ns.admit(&context)
                {
                    // A client is sent away, and calls again if it still waits. A NameNode is told the reason.
                    let refused = if kept_here { not_active() } else { refused };
                    return Some(served(&ns, Reply::refuse(refused), false));
                }
                let reply = write(&mut ns, &context, call.body.clone());
                served(&ns, reply, true)
            }
            Verb::ReadThenWrite(read, write) => {
                let first = {
                    let ns = nn.ns.read();
                    read(&ns, &context, &call.body).map(|reply| served(&ns, reply, false))
                };
                first.unwrap_or_else(|| {
                    let mut ns = nn.ns.write();
                    let reply = write(&mut ns, &context, call.body.clone());
                    served(&ns, reply, true)
                })
            }
        })
    }
}

impl RpcHandler for Handler {
    fn protocols(&self) -> Vec<&'static Protocol> {
        PROTOCOLS.to_vec()
    }

    fn call(&self, call: RpcCall, responder: Responder) {
        self.serve_until(call, responder, Manner::Direct);
    }
}

/// Result of a handler.
struct Served {
    reply: Reply,
    /// Where the reply was made.
    standing: Standing,
    /// Whether the handler may have changed something.
    write: bool,
    /// Its line of the audit log.
    record: Option<AuditRecord>,
}

fn not_started() -> RemoteException {
    RemoteException::new(exceptions::RETRIABLE, "NameNode still not started")
}

/// Why a call is served now.
#[derive(Clone, Copy)]
enum Manner {
    /// Its client, or a NameNode on its behalf, has just sent it.
    Direct,
    /// It was kept here while no NameNode was active.
    Kept(PassedOn),
    /// A `complete` that was served before. It may wait for a report until this time in ms.
    Again(u64),
}

impl Handler {
    fn serve_until(&self, call: RpcCall, responder: Responder, manner: Manner) {
        let nn = &self.namenode;
        let Some(verb) = calls::verb(call.method) else {
            if call.method == Method::Supervisor(SupervisorMethod::ChangeJournalNodes) {
                return crate::members::serve(&self.shared, &call, responder);
            }
            if nn.callers.groups().get(&call.user.user, nn.clock.ms()).is_none() {
                return self.hold(call, responder, manner);
            }
            if !admin::call(nn, &call, responder) {
                tracing::debug!(
                    protocol = call.method.protocol().name,
                    method = call.method.name(),
                    "method is not served"
                );
            }
            return;
        };
        if nn.hosts.topology().must_ask(&call) {
            return self.hold(call, responder, manner);
        }
        let role = nn.role();
        if role == Role::Initializing && !admin::served_while_initializing(&call) {
            // Meanwhile clients go to another NameNode, if there is one.
            let single = nn.settings.is_single();
            if (single || !nn.settings.peers.is_empty()) && is_from_client(&call) {
                let refusal = if single { not_started() } else { not_active() };
                let kept = standby_calls::refused(call, responder, refusal, nn.standby_calls.came_after_ms());
                return match nn.standby_calls.keep(kept) {
                    Ok(()) => {}
                    Err(kept) if nn.role() == Role::Active => self.call(kept.call.call, kept.call.responder),
                    Err(kept) => kept.call.send_away(),
                };
            }
            let error = match nn.observed.loads() {
                _ if nn.settings.is_single() => not_started(),
                0 => not_started(),
                _ => not_active(),
            };
            return responder.error(&error);
        }
        let Some(served) = self.run(verb, &call, manner) else {
            return self.hold(call, responder, manner);
        };
        if let Some(record) = &served.record {
            crate::audit::log(nn.audit(), &call, record);
        }
        let Served {
            reply, standing, write, ..
        } = served;
        if let Some(deferred) = reply.deferred {
            return self.defer(deferred, call, responder);
        }
        if let Err(refusal) = &reply.result
            && refusal.is(exceptions::STANDBY)
        {
            let kept = standby_calls::refused(call, responder, refusal.clone(), nn.standby_calls.came_after_ms());
            return match nn.standby_calls.keep(kept) {
                Ok(()) => {}
                // This NameNode became active after the handler had refused.
                Err(kept) if role != Role::Active && nn.role() == Role::Active => {
                    self.call(kept.call.call, kept.call.responder);
                }
                Err(kept) => kept.call.send_away(),
            };
        }
        if let Reported::Awaits(block) = reply.reported {
            let until_ms = match manner {
                Manner::Again(until_ms) => Some(until_ms),
                Manner::Direct | Manner::Kept(_) => None,
            };
            let now_ms = nn.clock.ms();
            return nn.unreported.keep((call, responder), block, until_ms, now_ms);
        }
        let made = Made {
            standing,
            after: reply.after,
            changed: write && reply.after.is_some(),
        };
        nn.answer(responder, reply.result, made);
        // A call may change something that its answer does not show, such as an access time.
        if write {
            nn.replies.wake_log();
        }
        if let Reported::Blocks(blocks) = reply.reported {
            for waiting in nn.unreported.reported(&blocks) {
                let (call, responder) = waiting.call;
                self.serve_until(call, responder, Manner::Again(waiting.until_ms));
            }
        }
    }

    /// Holds a call, and serves it once its user's groups are known.
    fn hold(&self, call: RpcCall, responder: Responder, manner: Manner) {
        let refused = not_known_yet(&call.user.user);
        let Ok(place) = self.held_places.clone().try_acquire_owned() else {
            return responder.error(&refused);
        };
        let held = Held {
            call,
            responder,
            manner,
            place,
        };
        if let Err(mpsc::error::SendError(held)) = self.held.send(held) {
            held.responder.error(&refused);
        }
    }

    fn defer(&self, deferred: Deferred, call: RpcCall, responder: Responder) {
        match deferred {
            Deferred::SaveNamespace { time_window_s, tx_gap } => {
                let request = SaveNamespaceRequest { time_window_s, tx_gap };
                crate::checkpoint::save_namespace(&self.shared, request, responder);
            }
            Deferred::RefreshNodes => self.namenode.hosts.refresh_and_answer(responder),
            Deferred::FinalizeUpgrade => {
                responder.ok(&hathi_formats::proto::hdfs::FinalizeUpgradeResponseProto {});
            }
            Deferred::TellCorrupt(blocks) => crate::corrupt::tell_and_answer(&self.namenode, blocks, responder),
            Deferred::BlockReport(work) => self.block_reports.add(work, responder),
            Deferred::Walk(work) => self.walk(work, responder),
            Deferred::Delete(work) => self.delete(work, call, responder),
            Deferred::MetaSave(filename) => crate::metasave::save_and_answer(&self.namenode, filename, responder),
            Deferred::RestoreFailedStorage(argument) => {
                let result = self.shared.dirs.restore_failed_storage(&argument);
                responder.ok(&hathi_formats::proto::hdfs::RestoreFailedStorageResponseProto { result });
            }
            Deferred::EditLogManifest(since) => crate::manifest::answer(&self.shared, since, responder),
        }
    }

    /// Serves a long read in slices. Between two slices others get the lock and this thread.
    fn walk(&self, mut work: Box<WalkWork>, responder: Responder) {
        let Ok(place) = self.walk_places.clone().try_acquire_owned() else {
            return responder.error(&RemoteException::new(
                exceptions::RETRIABLE,
                "too many content summaries and lists of files are asked for",
            ));
        };
        let (nn, turns) = (self.namenode.clone(), self.walks.clone());
        tokio::spawn(async move {
            // Held until this task ends in any way.
            let _place = place;
            // The semaphore is never closed.
            let turn = turns.acquire_owned().await;
            while !responder.is_closed() {
                let (done, standing) = {
                    let ns = nn.ns.read();
                    (work.step(&ns, calls::WALK_SLICE_INODES), ns.standing())
                };
                if let Some(reply) = done {
                    let made = Made {
                        standing,
                        after: reply.after,
                        changed: false,
                    };
                    nn.answer(responder, reply.result, made);
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(turn);
        });
    }
}

/// Result of a delete of many inodes: its answer, and its line of the audit log.
type Finished = (Reply, Made, Option<AuditRecord>);

impl Handler {
    /// Serves a delete of many inodes: it checks them in slices. Between two slices others get the lock and this
    /// thread.
    fn delete(&self, mut work: Box<DeleteWork>, call: RpcCall, responder: Responder) {
        let Ok(place) = self.walk_places.clone().try_acquire_owned() else {
            return responder.error(&RemoteException::new(
                exceptions::RETRIABLE,
                "too many large directories are deleted",
            ));
        };
        let (nn, turns) = (self.namenode.clone(), self.deletes.clone());
        tokio::spawn(async move {
            // Held until this task ends in any way.
            let _place = place;
            // The semaphore is never closed.
            let turn = turns.acquire_owned().await;
            let finished = loop {
                if responder.is_closed() {
                    work.give_up(&mut nn.ns.write());
                    break None;
                }
                if let Some(finished) = finish(&nn, &mut work, &call) {
                    break Some(finished);
                }
                while !responder.is_closed() && !work.step(&nn.ns.read(), calls::WALK_SLICE_INODES) {
                    tokio::task::yield_now().await;
                }
            };
            drop(turn);
            let Some((reply, made, record)) = finished else { return };
            if let Some(record) = record {
                crate::audit::log(nn.audit(), &call, &record);
            }
            nn.answer(responder, reply.result, made);
            nn.replies.wake_log();
        });
    }
}

fn finish(nn: &NameNode, work: &mut DeleteWork, call: &RpcCall) -> Option<Finished> {
    let mut ns = nn.ns.write();
    let reply = work.finish(&mut ns, nn.clock.now())?;
    let record = crate::audit::record(nn.audit(), &ns, work.context(), call, &reply);
    let made = Made {
        standing: ns.standing(),
        after: reply.after,
        changed: reply.after.is_some(),
    };
    Some((reply, made, record))
}

/// A call that is held.
pub struct Held {
    call: RpcCall,
    responder: Responder,
    manner: Manner,
    /// The place among held calls, which bounds the queue.
    place: OwnedSemaphorePermit,
}

/// Serves the held calls, for as long as the process lives.
pub async fn serve_held(handler: Arc<Handler>, mut held: mpsc::UnboundedReceiver<Held>) {
    while let Some(Held {
        call,
        responder,
        manner,
        place,
    }) = held.recv().await
    {
        let handler = handler.clone();
        tokio::spawn(async move {
            let known = handler.namenode.callers.groups().resolve(&call.user.user).await;
            let placed = handler
                .namenode
                .hosts
                .topology()
                .ask_if_needed(&handler.namenode.ns, &call)
                .await;
            // Given back first, because the call may have to be held again.
            drop(place);
            if let Err(refused) = placed {
                return responder.error(&refused);
            }
            match known {
                Some(_) => handler.serve_until(call, responder, manner),
                None => responder.error(&not_known_yet(&call.user.user)),
            }
        });
    }
}

fn is_from_client(call: &RpcCall) -> bool {
    matches!(call.method, Method::Client(_))
}

#[cfg(test)]
mod tests;
