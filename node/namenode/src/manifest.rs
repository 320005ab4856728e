//! `NamenodeProtocol.getEditLogManifest`: which edits a SecondaryNameNode may fetch from this NameNode's own directories.

use crate::storage::NameDirs;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::TxId;
use hathi_formats::proto::hdfs::{RemoteEditLogManifestProto, RemoteEditLogProto};
use hathi_formats::proto::namenode::GetEditLogManifestResponseProto;
use hathi_namesystem::checkpoint::manifest;
use hathi_net::ipc::Responder;
use std::sync::Arc;

/// Answers when the directories were read, on a thread that may wait for them.
pub fn answer(dirs: &Arc<NameDirs>, since: TxId, responder: Responder) {
    let dirs = dirs.clone();
    tokio::spawn(async move {
        let segments = tokio::task::spawn_blocking(move || dirs.segments()).await;
        let found = segments.map(|segments| manifest(&segments, since));
        let logs = found.map(|found| found.into_iter().map(log).collect());
        responder.send(
            logs.map(|logs| GetEditLogManifestResponseProto {
                manifest: RemoteEditLogManifestProto {
                    logs,
                    committed_txn_id: None,
                },
            })
            .map_err(|error| RemoteException::new(exceptions::IO, error.to_string())),
        );
    });
}

fn log((first, last): (TxId, TxId)) -> RemoteEditLogProto {
    RemoteEditLogProto {
        start_tx_id: first.0,
        end_tx_id: last.0,
        is_in_progress: Some(false),
    }
}
