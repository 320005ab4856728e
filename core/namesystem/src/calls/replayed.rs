//! Answers of the active's calls that a standby remembers (`FSEditLogLoader.applyEditLogOpInternal`).

use super::border::Response;
use super::wire;
use super::write::appended;
use crate::Namesystem;
use crate::retry_cache::CallKey;
use bytes::Bytes;
use hathi_formats::editlog::EditOp;
use hathi_formats::ids::TxId;
use hathi_formats::proto::hdfs::{AddCacheDirectiveResponseProto, CreateSnapshotResponseProto};
use hathi_namespace::snapshot_path;

/// The response message `result: true`.
const YES: Bytes = Bytes::from_static(&[8, 1]);

/// After a replay: remembers the answer that the former active gave, if the op carries the ids of its caller.
pub(crate) fn remember_replayed(ns: &mut Namesystem, txid: TxId, op: &EditOp, mono_ms: u64) {
    debug_assert_eq!(
        txid,
        ns.edit_log().applied(),
        "an answer is that of the moment right after its op"
    );
    let Some(key) = op
        .rpc_ids()
        .and_then(|ids| ids.get())
        .and_then(|(client_id, call_id)| CallKey::new(&client_id, call_id))
    else {
        return;
    };
    if let Some(payload) = answer_to(ns, op) {
        ns.remember_answer(key, txid, &payload, mono_ms);
    }
}

/// The answer to the call that logged this op, as it was right after the op.
fn answer_to(ns: &Namesystem, op: &EditOp) -> Option<Bytes> {
    match op {
        EditOp::Add(add) => {
            let status = ns.namespace().status(add.inode_id)?;
            Some(wire::status_response(&status, None))
        }
        EditOp::Append { path, new_block, .. } => {
            let file = ns.namespace().resolve(path).ok()?.last()?;
            appended(ns, file, *new_block).ok()?.reply(ns).result.ok()
        }
        EditOp::RenameOld { .. } | EditOp::Delete { .. } => Some(YES),
        EditOp::Rename { .. }
        | EditOp::ConcatDelete { .. }
        | EditOp::Symlink { .. }
        | EditOp::UpdateBlocks { .. }
        | EditOp::SetXAttr { .. }
        | EditOp::RemoveXAttr { .. }
        | EditOp::EnableErasureCodingPolicy { .. }
        | EditOp::DisableErasureCodingPolicy { .. }
        | EditOp::RemoveErasureCodingPolicy { .. }
        | EditOp::RenameSnapshot { .. }
        | EditOp::DeleteSnapshot { .. }
        | EditOp::ModifyCacheDirective { .. }
        | EditOp::RemoveCacheDirective { .. }
        | EditOp::AddCachePool { .. }
        | EditOp::ModifyCachePool { .. }
        | EditOp::RemoveCachePool { .. } => Some(Bytes::new()),
        EditOp::AddCacheDirective { directive, .. } => {
            let id = directive.id;
            AddCacheDirectiveResponseProto { id }.reply(ns).result.ok()
        }
        EditOp::CreateSnapshot {
            snapshot_root,
            snapshot_name,
            ..
        } => {
            let snapshot_path = snapshot_path(snapshot_root, snapshot_name);
            CreateSnapshotResponseProto { snapshot_path }.reply(ns).result.ok()
        }
        // Ops of features that are refused here can't be replayed. A repeated call to add policies finds those that it
        // has added, and answers the same. The other ops answer no at-most-once call.
        _ => None,
    }
}
