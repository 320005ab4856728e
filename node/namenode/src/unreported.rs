//! `complete` calls of writers whose last block no DataNode has reported yet.
//!
//! A DataNode tells the writer and the NameNodes of a finished block at the same moment, and sometimes the writer is
//! faster. After "not yet" Hadoop's client sleeps before it asks again
//! (`dfs.client.block.write.locateFollowingBlock.initial.delay.ms`, 400 ms), although the report arrives a moment
//! later. So the call waits for the report of its block for a while.

use bytes::Bytes;
use hathi_formats::amplification::is_bounded;
use hathi_formats::proto::datanode::BlockReceivedAndDeletedRequestProto;
use hathi_formats::proto::hdfs::{CompleteRequestProto, CompleteResponseProto};
use hathi_net::ipc::{Responder, RpcCall};
use parking_lot::Mutex;
use prost::Message;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How long a call waits, in ms.
const PATIENCE_MS: u64 = 300;
/// Number of calls that may wait.
const CALLS_MAX: usize = 1024;

/// A `complete` call that waits.
pub struct Closing {
    /// The call.
    pub call: RpcCall,
    /// The way to answer it.
    pub responder: Responder,
    /// When it is answered with "not yet", in ms of the NameNode's clock.
    pub until_ms: u64,
    last_block: u64,
}

/// The waiting calls.
#[derive(Default)]
pub struct Unreported {
    calls: Mutex<Vec<Closing>>,
    len: AtomicUsize,
}

impl Unreported {
    /// Keeps a call that has just arrived, or was taken and has to wait again. Answers "not yet" when it has waited
    /// long enough.
    pub fn keep(&self, call: RpcCall, responder: Responder, until_ms: Option<u64>, now_ms: u64) {
        let request = CompleteRequestProto::decode(call.body.clone());
        let last_block = request.ok().and_then(|request| request.last);
        let mut calls = self.calls.lock();
        let until_ms = until_ms.unwrap_or(now_ms + PATIENCE_MS);
        match last_block {
            Some(last) if now_ms < until_ms && calls.len() < CALLS_MAX => calls.push(Closing {
                call,
                responder,
                until_ms,
                last_block: last.block_id,
            }),
            _ => return not_yet(responder),
        }
        self.len.store(calls.len(), Ordering::Release);
    }

    /// Takes the calls that wait for a block of this report (`blockReceivedAndDeleted`), to be served again.
    pub fn take_reported(&self, report: &Bytes) -> Vec<Closing> {
        if self.len.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        if !is_bounded(report, None) {
            return Vec::new();
        }
        let report = BlockReceivedAndDeletedRequestProto::decode(report.clone()).unwrap_or_default();
        let storages = report.blocks.iter();
        let reported: Vec<u64> = storages
            .flat_map(|storage| &storage.blocks)
            .map(|notice| notice.block.block_id)
            .collect();
        self.take(|closing| reported.contains(&closing.last_block))
    }

    /// Answers "not yet" to calls that have waited long enough.
    pub fn expire(&self, now_ms: u64) {
        for closing in self.take(|closing| now_ms >= closing.until_ms) {
            not_yet(closing.responder);
        }
    }

    fn take(&self, wanted: impl Fn(&mut Closing) -> bool) -> Vec<Closing> {
        let mut calls = self.calls.lock();
        let taken = calls.extract_if(.., wanted).collect();
        self.len.store(calls.len(), Ordering::Release);
        taken
    }
}

fn not_yet(responder: Responder) {
    responder.ok(&CompleteResponseProto { result: false });
}
