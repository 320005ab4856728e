//! The RPC handler: finds the verb of a call, runs it under the lock it needs, and lets the answer out when it may go.

use crate::admin;
use crate::background::Shared;
use crate::standby_calls::StandbyCall;
use crate::state::{Made, NameNode, not_active};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::CompleteResponseProto;
use hathi_namesystem::calls::BlockReportWork;
use hathi_namesystem::{Deferred, Reply, Role, Standing, Verb, calls};
use hathi_net::ipc::{Protocol, Responder, RpcCall, RpcHandler, protocols};
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Replicas of a block report worked on under one hold of the lock: well below a millisecond.
const BLOCKS_PER_SLICE: usize = 5000;

/// The protocols served: their methods are verbs of the namesystem, or answered by [`admin`].
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
    verbs: Vec<(&'static Protocol, Vec<Option<Verb>>)>,
}

impl Handler {
    /// Looks all verbs up once.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        let verbs = PROTOCOLS
            .iter()
            .map(|protocol| {
                let methods = protocol
                    .methods
                    .iter()
                    .map(|(name, _)| calls::lookup(protocol.name, name))
                    .collect();
                (*protocol, methods)
            })
            .collect();
        Handler {
            namenode: shared.nn.clone(),
            shared,
            verbs,
        }
    }

    fn verb(&self, call: &RpcCall) -> Option<Verb> {
        let (_, methods) = self
            .verbs
            .iter()
            .find(|(protocol, _)| std::ptr::eq(*protocol, call.protocol))?;
        methods.get(call.method_index).copied().flatten()
    }

    /// Serves a call that was kept while this NameNode became active.
    pub fn serve(&self, call: RpcCall, responder: Responder) {
        self.serve_until(call, responder, None);
    }

    /// The reply, where it was made, and whether it may have changed something.
    fn run(&self, verb: Verb, call: &RpcCall) -> (Reply, Standing, bool) {
        let nn = &self.namenode;
        let context = nn.context(call);
        match verb {
            Verb::Read(read) => {
                let ns = nn.ns.read();
                (read(&ns, &context, call.body.clone()), ns.standing(), false)
            }
            Verb::Write(write) => {
                let mut ns = nn.ns.write();
                // A journal that is slower than the clients, or hangs: they wait before memory is full of edits.
                if std::ptr::eq(call.protocol, &protocols::CLIENT_PROTOCOL)
                    && ns.edit_log.unsynced_bytes() > nn.settings.unsynced_limit_bytes
                {
                    let busy = "too many edits wait for the journal (hathi.namenode.unsynced.limit.mb)";
                    let refusal = Reply::refuse(RemoteException::new(exceptions::RETRIABLE, busy));
                    return (refusal, ns.standing(), false);
                }
                let reply = write(&mut ns, &context, call.body.clone());
                (reply, ns.standing(), true)
            }
            Verb::ReadThenWrite(read, write) => {
                let first = {
                    let ns = nn.ns.read();
                    read(&ns, &context, &call.body).map(|reply| (reply, ns.standing(), false))
                };
                first.unwrap_or_else(|| {
                    let mut ns = nn.ns.write();
                    let reply = write(&mut ns, &context, call.body.clone());
                    (reply, ns.standing(), true)
                })
            }
        }
    }
}

impl RpcHandler for Handler {
    fn protocols(&self) -> Vec<&'static Protocol> {
        PROTOCOLS.to_vec()
    }

    fn call(&self, call: RpcCall, responder: Responder) {
        self.serve_until(call, responder, None);
    }
}

impl Handler {
    /// `until_ms`: for how long a `complete` that was served before may still wait for a report.
    fn serve_until(&self, call: RpcCall, responder: Responder, until_ms: Option<u64>) {
        let nn = &self.namenode;
        let Some(verb) = self.verb(&call) else {
            if call.method == "changeJournalNodes" {
                return crate::members::serve(&self.shared, &call, responder);
            }
            if !admin::call(nn, &call, responder) {
                tracing::debug!(
                    protocol = call.protocol.name,
                    method = call.method,
                    "method is not served"
                );
            }
            return;
        };
        let role = nn.role();
        if role == Role::Initializing && !admin::served_while_initializing(&call) {
            // Clients go to another NameNode meanwhile, if there is one.
            if !nn.settings.peers.is_empty() && std::ptr::eq(call.protocol, &protocols::CLIENT_PROTOCOL) {
                let call = StandbyCall::new(call, responder, not_active(), nn.clock.ms());
                return nn.keep_call(call).unwrap_or_else(StandbyCall::send_away);
            }
            let error = match nn.loads.load(Ordering::Acquire) {
                0 => RemoteException::new(exceptions::RETRIABLE, "NameNode still not started"),
                _ => not_active(),
            };
            return responder.error(&error);
        }
        let (reply, standing, write) = self.run(verb, &call);
        if let Some(deferred) = reply.deferred {
            return self.defer(deferred, responder);
        }
        if let Err(refusal) = &reply.result
            && refusal.is(exceptions::STANDBY)
        {
            return match nn.keep_call(StandbyCall::new(call, responder, refusal.clone(), nn.clock.ms())) {
                Ok(()) => {}
                // It became active after it had answered.
                Err(call) if role != Role::Active && nn.role() == Role::Active => self.call(call.call, call.responder),
                Err(call) => call.send_away(),
            };
        }
        if is_not_yet(&call, &reply) {
            return nn.unreported.keep(call, responder, until_ms, nn.clock.ms());
        }
        let made = Made {
            standing,
            after: reply.after,
            changed: write && reply.after.is_some(),
        };
        nn.answer(responder, reply.result, made);
        // A call may change something that its answer does not show, such as an access time.
        if write {
            nn.log_wake.notify_one();
        }
        if call.method == "blockReceivedAndDeleted" {
            for closing in nn.unreported.take_reported(&call.body) {
                self.serve_until(closing.call, closing.responder, Some(closing.until_ms));
            }
        }
    }

    fn defer(&self, deferred: Deferred, responder: Responder) {
        match deferred {
            Deferred::SaveNamespace { time_window_s, tx_gap } => {
                crate::checkpoint::save_namespace(&self.shared, time_window_s, tx_gap, responder);
            }
            Deferred::RefreshNodes => {
                crate::hosts::refresh(&self.namenode);
                responder.ok(&hathi_formats::proto::hdfs::RefreshNodesResponseProto {});
            }
            Deferred::FinalizeUpgrade => {
                responder.ok(&hathi_formats::proto::hdfs::FinalizeUpgradeResponseProto {});
            }
            Deferred::TellCorrupt(blocks) => crate::corrupt::tell_and_answer(&self.namenode, blocks, responder),
            Deferred::BlockReport(work) => self.block_report(work, responder),
            Deferred::MetaSave(_) => responder.error(&RemoteException::new(
                exceptions::UNSUPPORTED_OPERATION,
                "metaSave is not supported by this NameNode",
            )),
            Deferred::RestoreFailedStorage(_) => {
                responder.ok(&hathi_formats::proto::hdfs::RestoreFailedStorageResponseProto { result: false });
            }
        }
    }

    /// Works a large report off in slices, between which others get the lock.
    fn block_report(&self, mut work: Box<BlockReportWork>, responder: Responder) {
        let nn = self.namenode.clone();
        let spawned = std::thread::Builder::new()
            .name("block-report".to_owned())
            .spawn(move || {
                loop {
                    let mut ns = nn.ns.write();
                    let done = work.step(&mut ns, BLOCKS_PER_SLICE, nn.clock.now());
                    let standing = ns.standing();
                    parking_lot::RwLockWriteGuard::unlock_fair(ns);
                    if let Some(reply) = done {
                        if reply.after.is_some() {
                            nn.log_wake.notify_one();
                        }
                        let made = Made {
                            standing,
                            after: reply.after,
                            changed: false,
                        };
                        return nn.answer(responder, reply.result, made);
                    }
                }
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "cannot start a thread for a block report");
        }
    }
}

/// Whether this is a `complete` of a file whose last block has not been reported.
fn is_not_yet(call: &RpcCall, reply: &Reply) -> bool {
    let done = |message| CompleteResponseProto::decode(message).is_ok_and(|response| response.result);
    call.method == "complete" && reply.result.as_ref().is_ok_and(|message| !done(message.clone()))
}
