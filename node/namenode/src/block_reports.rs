//! Large block reports, worked off one after the other on a thread of their own (`BlockReportProcessingThread`).

use crate::state::{Made, NameNode};
use hathi_formats::exceptions::{RETRIABLE, RemoteException};
use hathi_namesystem::calls::BlockReportWork;
use hathi_net::ipc::Responder;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Replicas of a block report worked on under one hold of the lock: well below a millisecond.
const BLOCKS_PER_SLICE: usize = 5000;
/// Reports that wait (`dfs.namenode.blockreport.queue.size`): whoever sends more is to come again.
const REPORTS_MAX: usize = 1024;

/// The reports that wait. All work on them needs the same lock, so a second thread would gain nothing, and a thread for
/// each would be as many as there are calls.
#[derive(Debug)]
pub struct BlockReports(SyncSender<(Box<BlockReportWork>, Responder)>);

impl BlockReports {
    /// Starts the thread, which ends when this is dropped.
    #[must_use]
    pub fn start(nn: Arc<NameNode>) -> BlockReports {
        let (reports, waiting) = sync_channel(REPORTS_MAX);
        let spawned = std::thread::Builder::new()
            .name("block-report".to_owned())
            .spawn(move || work_off(&nn, &waiting));
        if let Err(error) = spawned {
            // Each report is refused then, and DataNodes go on sending them.
            tracing::error!(%error, "cannot start the thread for block reports");
        }
        BlockReports(reports)
    }

    /// Lets one wait for its turn.
    pub fn add(&self, work: Box<BlockReportWork>, responder: Responder) {
        if let Err(TrySendError::Full((_, responder)) | TrySendError::Disconnected((_, responder))) =
            self.0.try_send((work, responder))
        {
            responder.error(&RemoteException::new(RETRIABLE, "too many block reports wait"));
        }
    }
}

fn work_off(nn: &NameNode, waiting: &Receiver<(Box<BlockReportWork>, Responder)>) {
    while let Ok((mut work, responder)) = waiting.recv() {
        // In slices, between which others get the lock.
        loop {
            let mut ns = nn.ns.write();
            let done = work.step(&mut ns, BLOCKS_PER_SLICE, nn.clock.now());
            let standing = ns.standing();
            parking_lot::RwLockWriteGuard::unlock_fair(ns);
            let Some(reply) = done else { continue };
            if reply.after.is_some() {
                nn.log_wake.notify_one();
            }
            let made = Made {
                standing,
                after: reply.after,
                changed: false,
            };
            nn.answer(responder, reply.result, made);
            break;
        }
    }
}
