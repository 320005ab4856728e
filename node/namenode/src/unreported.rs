//! `complete` calls that wait for the report of their last block
//! ([`hathi_nameserver::unreported_blocks`] decides which, and how long).

use hathi_formats::ids::BlockId;
use hathi_formats::proto::hdfs::CompleteResponseProto;
use hathi_nameserver::unreported_blocks::{UnreportedBlocks, Waiting};
use hathi_net::ipc::{Responder, RpcCall};
use parking_lot::Mutex;

/// The waiting calls.
#[derive(Default)]
pub struct Unreported(Mutex<UnreportedBlocks<(RpcCall, Responder)>>);

impl Unreported {
    /// Keeps a call, or answers "not yet" when it may not wait. `until_ms` is the end of its time if it has waited before.
    pub fn keep(&self, call: (RpcCall, Responder), block: BlockId, until_ms: Option<u64>, now_ms: u64) {
        let kept = self.0.lock().keep(call, block, until_ms, now_ms);
        if let Err((_, responder)) = kept {
            not_yet(responder);
        }
    }

    /// Takes the calls that wait for one of these blocks, to be served again.
    pub fn reported(&self, blocks: &[BlockId]) -> Vec<Waiting<(RpcCall, Responder)>> {
        self.0.lock().reported(blocks)
    }

    /// Answers "not yet" to calls that have waited long enough.
    pub fn expire(&self, now_ms: u64) {
        let expired = self.0.lock().expired(now_ms);
        for Waiting {
            call: (_, responder), ..
        } in expired
        {
            not_yet(responder);
        }
    }
}

fn not_yet(responder: Responder) {
    responder.ok(&CompleteResponseProto { result: false });
}
