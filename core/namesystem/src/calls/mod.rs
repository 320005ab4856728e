//! One handler per protocol method.

use crate::Namesystem;
use crate::context::Verb;
use hathi_formats::editlog::EditOp;
use hathi_formats::ids::TxId;

/// The handler of a method of a protocol (`declaringClassProtocolName`, method name).
#[must_use]
pub fn lookup(protocol: &str, method: &str) -> Option<Verb> {
    let _ = (protocol, method);
    None
}

/// After a replay: keeps the answer that the former active gave, if the op carries the ids of its caller.
pub(crate) fn remember_replayed(ns: &mut Namesystem, txid: TxId, op: &EditOp, mono_ms: u64) {
    let _ = (ns, txid, op, mono_ms);
}
