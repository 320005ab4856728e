//! Calls of `QJournalProtocol`, `InterQJournalProtocol` and Hathi's extension, to the journals that they name.

use std::sync::Arc;

use hathi_formats::exceptions::{RPC_NO_SUCH_METHOD, RPC_SERVER, RemoteException};
use hathi_journal::wire::{Envelope, WireError};
use hathi_net::ipc::protocols::{INTER_QJOURNAL_PROTOCOL, JOURNAL_EXTENSION_PROTOCOL, QJOURNAL_PROTOCOL};
use hathi_net::ipc::{Protocol, Responder, RpcCall, RpcHandler};

use crate::journal::ReplyTo;
use crate::journals::Journals;

/// The RPC side of a JournalNode.
pub struct Handler(pub Arc<Journals>);

impl RpcHandler for Handler {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![
            &QJOURNAL_PROTOCOL,
            &INTER_QJOURNAL_PROTOCOL,
            &JOURNAL_EXTENSION_PROTOCOL,
        ]
    }

    fn call(&self, call: RpcCall, reply: Responder) {
        let (envelope, request) = match Envelope::decode(call.protocol.name, call.method, call.body) {
            Ok(decoded) => decoded,
            Err(error) => {
                let class = match error {
                    WireError::NoSuchMethod { .. } => RPC_NO_SUCH_METHOD,
                    WireError::Decode { .. } | WireError::BeyondLimit { .. } => RPC_SERVER,
                };
                return reply.error(&RemoteException::new(class, error.to_string()));
            }
        };
        match self.0.get(&envelope.journal_id, envelope.name_service_id.as_deref()) {
            Ok(journal) => journal.call(request, ReplyTo::Rpc(reply, call.method)),
            Err(exception) => reply.error(&exception),
        }
    }

    fn batch_done(&self) {
        crate::journal::end_turn();
    }
}
