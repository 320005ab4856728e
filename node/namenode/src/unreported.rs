//! Writers that close a file before a DataNode has reported its last block.
//!
//! A DataNode tells the writer and the NameNodes of a finished block at the same moment, and the writer is sometimes
//! faster. Told "not yet", Hadoop's client sleeps before it asks again
//! (`dfs.client.block.write.locateFollowingBlock.initial.delay.ms`, 400 ms), although the report is a moment away. So its
//! call waits for the next reports instead, for a while.

use hathi_formats::proto::hdfs::CompleteResponseProto;
use hathi_net::ipc::{Responder, RpcCall};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// For how long a call waits.
const PATIENCE_MS: u64 = 300;
/// Calls that wait; each is served again with each report.
const CALLS_MAX: usize = 128;

/// A `complete` that waits.
pub struct Closing {
    /// The call.
    pub call: RpcCall,
    /// The way back.
    pub responder: Responder,
    /// Answered with "not yet" then, in ms of the NameNode's clock.
    pub until_ms: u64,
}

/// The calls that wait.
#[derive(Default)]
pub struct Unreported {
    calls: Mutex<Vec<Closing>>,
    len: AtomicUsize,
}

impl Unreported {
    /// Keeps a call that has just come, or one that was taken; says "not yet" when it has waited long enough.
    pub fn keep(&self, call: RpcCall, responder: Responder, until_ms: Option<u64>, now_ms: u64) {
        let closing = Closing {
            call,
            responder,
            until_ms: until_ms.unwrap_or(now_ms + PATIENCE_MS),
        };
        let mut calls = self.calls.lock();
        if now_ms >= closing.until_ms || calls.len() >= CALLS_MAX {
            return closing.not_yet();
        }
        calls.push(closing);
        self.len.store(calls.len(), Ordering::Release);
    }

    /// Takes all calls, to be served once more: something was reported.
    pub fn take(&self) -> Vec<Closing> {
        if self.len.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut calls = self.calls.lock();
        self.len.store(0, Ordering::Release);
        std::mem::take(&mut calls)
    }

    /// Says "not yet" to those that have waited long enough.
    pub fn expire(&self, now_ms: u64) {
        for closing in self.take() {
            self.keep(closing.call, closing.responder, Some(closing.until_ms), now_ms);
        }
    }
}

impl Closing {
    fn not_yet(self) {
        self.responder.ok(&CompleteResponseProto { result: false });
    }
}
