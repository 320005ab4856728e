//! The calls that the namesystem leaves to the shell, because they wait for disks or other daemons, or go on in slices.

use crate::audit::AuditLog;
use crate::block_reports::BlockReports;
use crate::checkpoint::Checkpoints;
use crate::clock::Clock;
use crate::corrupt::CorruptMarks;
use crate::hosts::Hosts;
use crate::inotify::Inotify;
use crate::keys::Keys;
use crate::replies::Replies;
use crate::settings::Settings;
use crate::storage::NameDirs;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_nameserver::checkpoints::SaveNamespaceRequest;
use hathi_nameserver::replies::Made;
use hathi_namesystem::calls::{AuditRecord, DeleteWork, WalkWork};
use hathi_namesystem::{Deferred, Namesystem, Reply, calls};
use hathi_net::ipc::{Responder, RpcCall};
use parking_lot::RwLock;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Number of long reads that are served in turns. Each takes a slice in every turn of its thread.
const WALKS_AT_ONCE: usize = 4;
/// Number of long reads that are served or may wait.
const WALKS_MAX: usize = 1024;

/// Who does the work.
pub struct DeferredParts {
    pub(crate) settings: Arc<Settings>,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) replies: Arc<Replies>,
    pub(crate) audit: Option<Arc<AuditLog>>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) dirs: Arc<NameDirs>,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) corrupt: Arc<CorruptMarks>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) inotify: Arc<Inotify>,
}

/// See the module.
pub struct DeferredCalls {
    parts: Arc<DeferredParts>,
    walks: Arc<Semaphore>,
    walk_places: Arc<Semaphore>,
    /// Of the deletes of many inodes one is under way.
    deletes: Arc<Semaphore>,
    block_reports: BlockReports,
}

impl DeferredCalls {
    /// No call is under way.
    #[must_use]
    pub fn new(parts: DeferredParts, block_reports: BlockReports) -> DeferredCalls {
        DeferredCalls {
            parts: Arc::new(parts),
            walks: Arc::new(Semaphore::new(WALKS_AT_ONCE)),
            walk_places: Arc::new(Semaphore::new(WALKS_MAX)),
            deletes: Arc::new(Semaphore::new(1)),
            block_reports,
        }
    }

    /// Does the work of a call, and answers it.
    pub fn serve(&self, deferred: Deferred, call: RpcCall, responder: Responder) {
        match deferred {
            Deferred::SaveNamespace { time_window_s, tx_gap } => {
                let request = SaveNamespaceRequest { time_window_s, tx_gap };
                self.parts.checkpoints.save_namespace(request, responder);
            }
            Deferred::RefreshNodes => self.parts.hosts.refresh_and_answer(responder),
            Deferred::FinalizeUpgrade => {
                let parts = self.parts.clone();
                // The directories of the version before have images, whose removal takes its time.
                tokio::task::spawn_blocking(move || match parts.dirs.finalize_upgrade() {
                    Ok(()) => {
                        parts.ns.write().keep_previous(false);
                        responder.ok(&hathi_formats::proto::hdfs::FinalizeUpgradeResponseProto {});
                    }
                    Err(error) => responder.error(&RemoteException::new(exceptions::IO, error.to_string())),
                });
            }
            Deferred::TellCorrupt(blocks) => self.parts.corrupt.tell_and_answer(blocks, responder),
            Deferred::BlockReport(work) => self.block_reports.add(work, responder),
            Deferred::Walk(work) => self.walk(work, responder),
            Deferred::Delete(work) => self.delete(work, call, responder),
            Deferred::AskKeys(work) => self.parts.keys.serve(work, call, responder),
            Deferred::MetaSave(filename) => {
                crate::metasave::save_and_answer(&self.parts.settings, &self.parts.ns, filename, responder);
            }
            Deferred::RestoreFailedStorage(argument) => {
                let result = self.parts.dirs.restore_failed_storage(&argument);
                responder.ok(&hathi_formats::proto::hdfs::RestoreFailedStorageResponseProto { result });
            }
            Deferred::Edits(since) => self.parts.inotify.serve(since, responder),
            Deferred::StartRollingUpgrade => self.parts.checkpoints.start_rolling_upgrade(responder),
            Deferred::EditLogManifest(since) => crate::manifest::answer(&self.parts.dirs, since, responder),
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
        let (ns, replies, turns) = (self.parts.ns.clone(), self.parts.replies.clone(), self.walks.clone());
        tokio::spawn(async move {
            // Held until this task ends in any way.
            let _place = place;
            // The semaphore is never closed.
            let turn = turns.acquire_owned().await;
            while !responder.is_closed() {
                let (done, standing) = {
                    let ns = ns.read();
                    (work.step(&ns, calls::WALK_SLICE_INODES), ns.standing())
                };
                if let Some(reply) = done {
                    let made = Made {
                        standing,
                        after: reply.after,
                        changed: false,
                    };
                    replies.answer(responder, reply.result, made);
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

impl DeferredCalls {
    /// Serves a delete of many inodes: it checks them in slices. Between two slices others get the lock and this
    /// thread.
    fn delete(&self, mut work: Box<DeleteWork>, call: RpcCall, responder: Responder) {
        let Ok(place) = self.walk_places.clone().try_acquire_owned() else {
            return responder.error(&RemoteException::new(
                exceptions::RETRIABLE,
                "too many large directories are deleted",
            ));
        };
        let (parts, turns) = (self.parts.clone(), self.deletes.clone());
        tokio::spawn(async move {
            // Held until this task ends in any way.
            let _place = place;
            // The semaphore is never closed.
            let turn = turns.acquire_owned().await;
            let finished = loop {
                if responder.is_closed() {
                    work.give_up(&mut parts.ns.write());
                    break None;
                }
                if let Some(finished) = finish(&parts, &mut work, &call) {
                    break Some(finished);
                }
                while !responder.is_closed() && !work.step(&parts.ns.read(), calls::WALK_SLICE_INODES) {
                    tokio::task::yield_now().await;
                }
            };
            drop(turn);
            let Some((reply, made, record)) = finished else { return };
            if let Some(record) = record {
                crate::audit::log(parts.audit.as_deref(), &call, &record);
            }
            parts.replies.answer(responder, reply.result, made);
            parts.replies.wake_log();
        });
    }
}

fn finish(parts: &DeferredParts, work: &mut DeleteWork, call: &RpcCall) -> Option<Finished> {
    let mut ns = parts.ns.write();
    let reply = work.finish(&mut ns, parts.clock.now())?;
    let record = crate::audit::record(parts.audit.as_deref(), &ns, work.context(), call, &reply);
    let made = Made {
        standing: ns.standing(),
        after: reply.after,
        changed: reply.after.is_some(),
    };
    Some((reply, made, record))
}
