//! Calls of `QJournalProtocol`, `InterQJournalProtocol` and Hathi's extension, to the journals that they name.

use std::sync::Arc;

use hathi_formats::exceptions::{ACCESS_CONTROL, RPC_NO_SUCH_METHOD, RPC_SERVER, RemoteException};
use hathi_formats::qjournal::{Envelope, WireError};
use hathi_journal::Request;
use hathi_net::auth::Administrators;
use hathi_net::ipc::protocols::{INTER_QJOURNAL_PROTOCOL, JOURNAL_EXTENSION_PROTOCOL, QJOURNAL_PROTOCOL};
use hathi_net::ipc::{Protocol, Responder, RpcCall, RpcHandler};

use crate::journal::ReplyTo;
use crate::journals::Journals;

/// The RPC side of a JournalNode.
pub struct JournalNodeRpcServer {
    /// Its journals.
    pub journals: Arc<Journals>,
    /// Users who may change them.
    pub writers: Administrators,
}

/// Whether a request changes neither the journal nor its leases and promises. Every other request can stop a writer,
/// lose edits or mislead somebody, so only some users may send it. Hadoop leaves that to `hadoop-policy.xml`.
fn only_reads(request: &Request) -> bool {
    matches!(
        request,
        Request::IsFormatted
            | Request::GetJournalState
            | Request::GetEditLogManifest { .. }
            | Request::GetJournaledEdits { .. }
            | Request::GetJournalCTime
            | Request::CanRollBack { .. }
            | Request::GetStorageInfo
            | Request::WatchLease { .. }
    )
}

fn refusal(user: &str, method: &str) -> RemoteException {
    let message = format!(
        "Access denied for user {user}: {method} is for the JournalNode's own user, dfs.cluster.administrators, \
         dfs.permissions.superusergroup and hathi.journalnode.users"
    );
    RemoteException::new(ACCESS_CONTROL, message)
}

impl RpcHandler for JournalNodeRpcServer {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![
            &QJOURNAL_PROTOCOL,
            &INTER_QJOURNAL_PROTOCOL,
            &JOURNAL_EXTENSION_PROTOCOL,
        ]
    }

    fn call(&self, call: RpcCall, reply: Responder) {
        let method = call.method.name();
        let (envelope, request) = match Envelope::decode(call.method.protocol().name, method, call.body) {
            Ok(decoded) => decoded,
            Err(error) => {
                let class = match error {
                    WireError::NoSuchMethod { .. } => RPC_NO_SUCH_METHOD,
                    WireError::Decode { .. } | WireError::BeyondLimit { .. } => RPC_SERVER,
                };
                return reply.error(&RemoteException::new(class, error.to_string()));
            }
        };
        if only_reads(&request)
            && self
                .journals
                .is_known(&envelope.journal_id, envelope.name_service_id.as_deref())
        {
            return serve(&self.journals, &envelope, request, reply, method);
        }
        match self.writers.include(&call.user.user) {
            Some(true) => serve(&self.journals, &envelope, request, reply, method),
            Some(false) => reply.error(&refusal(&call.user.user, method)),
            None => {
                // The first call of a user who is listed by a group. A writer waits for its answer before it goes on.
                let (journals, writers) = (self.journals.clone(), self.writers.clone());
                tokio::spawn(async move {
                    if writers.ask(&call.user.user).await {
                        serve(&journals, &envelope, request, reply, method);
                        crate::journal::end_turn();
                    } else {
                        reply.error(&refusal(&call.user.user, method));
                    }
                });
            }
        }
    }

    fn batch_done(&self) {
        crate::journal::end_turn();
    }
}

fn serve(journals: &Journals, envelope: &Envelope, request: Request, reply: Responder, method: &'static str) {
    match journals.get(&envelope.journal_id, envelope.name_service_id.as_deref()) {
        Ok(journal) => journal.call(request, ReplyTo::Rpc(reply, method)),
        Err(exception) => reply.error(&exception),
    }
}
