//! The RPC handler: finds the handler of a call, runs it under the lock that it needs, and sends or parks the answer.

use crate::admin::{self, Admin};
use crate::audit::AuditLog;
use crate::callers::{Callers, not_known_yet};
use crate::clock::Clock;
use crate::deferred::DeferredCalls;
use crate::hosts::Hosts;
use crate::members::MembershipChanges;
use crate::observed::Observed;
use crate::origin::connection_number;
use crate::replies::Replies;
use crate::settings::Settings;
use crate::standby_calls::{self, Refused, StandbyCall, StandbyCalls};
use crate::unreported::Unreported;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_nameserver::admission::{self, Way};
use hathi_nameserver::replies::Made;
use hathi_nameserver::standby_calls::{WhileLoading, while_loading};
use hathi_namesystem::calls::AuditRecord;
use hathi_namesystem::passed_on::PassedOn;
use hathi_namesystem::{Deferred, MethodHandler, Namesystem, Reply, Reported, Role, Standing, calls};
use hathi_net::ipc::protocols::SupervisorMethod;
use hathi_net::ipc::{Method, Protocol, Responder, RpcCall, RpcHandler, protocols};
use parking_lot::RwLock;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Number of calls that may wait until the groups of their users are known.
const HELD_MAX: usize = 4096;

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

/// What every call needs of the NameNode.
pub struct CallParts {
    pub(crate) settings: Arc<Settings>,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) replies: Arc<Replies>,
    pub(crate) callers: Arc<Callers>,
    pub(crate) audit: Option<Arc<AuditLog>>,
    pub(crate) standby_calls: Arc<StandbyCalls>,
    /// Calls that wait for the report of a block.
    pub(crate) unreported: Arc<Unreported>,
    /// Hosts and racks of DataNodes.
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) observed: Arc<Observed>,
}

/// Serves the calls of one NameNode.
pub struct Handler {
    parts: CallParts,
    admin: Admin,
    members: Arc<MembershipChanges>,
    deferred: DeferredCalls,
    held: mpsc::UnboundedSender<Held>,
    held_places: Arc<Semaphore>,
}

impl Handler {
    /// [`serve_held`] receives the `held` calls.
    #[must_use]
    pub fn new(
        parts: CallParts,
        admin: Admin,
        members: Arc<MembershipChanges>,
        deferred: DeferredCalls,
        held: mpsc::UnboundedSender<Held>,
    ) -> Self {
        Handler {
            parts,
            admin,
            members,
            deferred,
            held,
            held_places: Arc::new(Semaphore::new(HELD_MAX)),
        }
    }

    /// Serves a call that was kept while this NameNode became active, if its client still waits.
    pub fn serve(&self, kept: StandbyCall) {
        let now_ms = self.parts.clock.ms();
        let age_ms = kept.age_ms(now_ms);
        if !kept.call.responder.is_waiting() {
            return kept.call.send_away();
        }
        let Refused { call, responder, .. } = kept.call;
        if self.parts.settings.is_single() {
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
    fn run(&self, verb: MethodHandler, call: &RpcCall, manner: Manner) -> Option<Served> {
        let parts = &self.parts;
        let mut context = parts.callers.context(call)?;
        let way = match (manner, context.passed_on) {
            (Manner::Kept(passed_on), None) => {
                context.passed_on = Some(passed_on);
                Way::KeptHere
            }
            (Manner::Again(_), _) => Way::Again,
            (Manner::Kept(_) | Manner::Direct, _) => Way::Sent,
        };
        let served = |ns: &Namesystem, reply: Reply, write: bool| Served {
            record: match reply.deferred {
                // It is not decided yet whether the call is allowed.
                Some(Deferred::Delete(_) | Deferred::AskKeys(_)) => None,
                _ => crate::audit::record(parts.audit.as_deref(), ns, &context, call, &reply),
            },
            standing: ns.standing(),
            reply,
            write,
        };
        Some(match verb {
            MethodHandler::Read(read) => {
                let ns = parts.ns.read();
                served(&ns, read(&ns, &context, call.body.clone()), false)
            }
            MethodHandler::Write(write) => {
                let mut ns = parts.ns.write();
                if is_from_client(call) {
                    let limit_bytes = parts.settings.unsynced_limit_bytes;
                    if let Err(refused) = admission::admit(&mut ns, &context, way, limit_bytes) {
                        return Some(served(&ns, Reply::refuse(refused), false));
                    }
                }
                let reply = write(&mut ns, &context, call.body.clone());
                served(&ns, reply, true)
            }
            MethodHandler::ReadThenWrite(read, write) => {
                let first = {
                    let ns = parts.ns.read();
                    read(&ns, &context, &call.body).map(|reply| served(&ns, reply, false))
                };
                first.unwrap_or_else(|| {
                    let mut ns = parts.ns.write();
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
        let parts = &self.parts;
        let Some(verb) = calls::handler(call.method) else {
            if call.method == Method::Supervisor(SupervisorMethod::ChangeJournalNodes) {
                return self.members.serve(&call, responder);
            }
            if parts.callers.groups().get(&call.user.user, parts.clock.ms()).is_none() {
                return self.hold(call, responder, manner);
            }
            if !self.admin.call(&call, responder) {
                tracing::debug!(
                    protocol = call.method.protocol().name,
                    method = call.method.name(),
                    "method is not served"
                );
            }
            return;
        };
        if parts.hosts.topology().must_ask(&call) {
            return self.hold(call, responder, manner);
        }
        let role = parts.replies.role();
        if role == Role::Initializing && !admin::served_while_initializing(&call) {
            let settings = &parts.settings;
            let has_served = parts.observed.loads() > 0;
            let single = settings.is_single();
            return match while_loading(is_from_client(&call), single, !settings.peers.is_empty(), has_served) {
                WhileLoading::Keep(refusal) => self.keep(call, responder, refusal, true),
                WhileLoading::Refuse(refusal) => responder.error(&refusal),
            };
        }
        let Some(served) = self.run(verb, &call, manner) else {
            return self.hold(call, responder, manner);
        };
        if let Some(record) = &served.record {
            crate::audit::log(parts.audit.as_deref(), &call, record);
        }
        let Served {
            reply, standing, write, ..
        } = served;
        if let Some(deferred) = reply.deferred {
            return self.deferred.serve(deferred, call, responder);
        }
        if let Err(refusal) = &reply.result
            && refusal.is(exceptions::STANDBY)
        {
            return self.keep(call, responder, refusal.clone(), role != Role::Active);
        }
        if let Reported::Awaits(block) = reply.reported {
            let until_ms = match manner {
                Manner::Again(until_ms) => Some(until_ms),
                Manner::Direct | Manner::Kept(_) => None,
            };
            let now_ms = parts.clock.ms();
            return parts.unreported.keep((call, responder), block, until_ms, now_ms);
        }
        let made = Made {
            standing,
            after: reply.after,
            changed: write && reply.after.is_some(),
        };
        parts.replies.answer(responder, reply.result, made);
        // A call may change something that its answer does not show, such as an access time.
        if write {
            parts.replies.wake_log();
        }
        if let Reported::Blocks(blocks) = reply.reported {
            for waiting in parts.unreported.reported(&blocks) {
                let (call, responder) = waiting.call;
                self.serve_until(call, responder, Manner::Again(waiting.until_ms));
            }
        }
    }

    /// Keeps a call that was refused because this NameNode is not active, or sends its client away. `may_serve`: it is
    /// served here if this NameNode became active after that.
    fn keep(&self, call: RpcCall, responder: Responder, refusal: RemoteException, may_serve: bool) {
        let parts = &self.parts;
        let kept = standby_calls::refused(call, responder, refusal, parts.standby_calls.came_after_ms());
        match parts.standby_calls.keep(kept) {
            Ok(()) => {}
            Err(kept) if may_serve && parts.replies.role() == Role::Active => {
                self.call(kept.call.call, kept.call.responder);
            }
            Err(kept) => kept.call.send_away(),
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
            let known = handler.parts.callers.groups().resolve(&call.user.user).await;
            let placed = handler
                .parts
                .hosts
                .topology()
                .ask_if_needed(&handler.parts.ns, &call)
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
