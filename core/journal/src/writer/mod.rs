//! The NameNode's quorum writer.
use std::sync::Arc;
use bytes::Bytes;
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::{Epoch, LayoutVersion, NamespaceInfo, TxId};
use crate::messages::{Answer, Micros, Request};

/// How a writer works.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// The namespace.
    pub ns_info: NamespaceInfo,
    /// `<namenode id>@<instance id>`; with `lease_ms`.
    pub holder: Arc<str>,
    /// Length of the read lease in ms; 0 = none asked for.
    pub lease_ms: u32,
    /// Of the edit log written.
    pub layout_version: LayoutVersion,
    /// Base of the URL of each JournalNode: its configured host (`dfs.namenode.shared.edits.dir`).
    pub hosts: Vec<String>,
    /// The journal id.
    pub journal_id: String,
    /// `layoutVersion:namespaceID:cTime:clusterID` for /getJournal URLs is built from `ns_info`.
    pub timeouts: WriterTimeouts,
    /// Most bytes waiting for one JournalNode (`dfs.qjournal.queued-edits.limit.mb`).
    pub queue_limit_bytes: usize,
    /// Recent edits kept to catch a JournalNode up.
    pub recent_limit_bytes: usize,
    /// Journal calls under way to one of our JournalNodes.
    pub pipeline_depth: usize,
}

/// Time limits of calls, in microseconds.
#[derive(Clone, Debug)]
pub struct WriterTimeouts {
    /// `dfs.qjournal.start-segment.timeout.ms`
    pub start_segment: Micros,
    /// `dfs.qjournal.prepare-recovery.timeout.ms`
    pub prepare_recovery: Micros,
    /// `dfs.qjournal.accept-recovery.timeout.ms`
    pub accept_recovery: Micros,
    /// `dfs.qjournal.finalize-segment.timeout.ms`
    pub finalize_segment: Micros,
    /// `dfs.qjournal.get-journal-state.timeout.ms`
    pub get_journal_state: Micros,
    /// `dfs.qjournal.new-epoch.timeout.ms`
    pub new_epoch: Micros,
    /// `dfs.qjournal.write-txns.timeout.ms`
    pub write_txns: Micros,
}

/// Names a call, for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The JournalNode refused.
    Remote(RemoteException),
    /// Connection refused, broken, timed out: whether it was done is unknown.
    Broken(String),
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriterAction {
    /// Send a request; calls to one JournalNode leave in this order on one connection.
    Send {
        /// Index of the JournalNode.
        journalnode: usize,
        /// For the answer.
        call: CallId,
        /// What to send.
        request: Request,
        /// Fail it with [`CallError::Broken`] after so long.
        timeout: Micros,
    },
    /// The log is recovered: all segments are final, the next transaction follows `last`.
    Recovered {
        /// Our epoch.
        epoch: Epoch,
        /// First and last transaction of the last segment; absent when the journal is empty.
        last_segment: Option<(TxId, TxId)>,
    },
    /// A majority opened the segment.
    SegmentStarted {
        /// Its first transaction.
        txid: TxId,
    },
    /// All edits up to here are on a majority.
    Synced {
        /// The last one.
        txid: TxId,
    },
    /// A majority finalized the segment.
    SegmentFinalized {
        /// First transaction.
        start: TxId,
        /// Last transaction.
        end: TxId,
    },
    /// The read lease is held until this moment (grows; is never taken back).
    LeaseUntil {
        /// On the clock of the `now` arguments.
        until: Micros,
    },
    /// A majority (or enough to make one impossible) promised a higher epoch: step down. Final.
    Fenced {
        /// What a JournalNode said.
        reason: String,
    },
    /// No majority in time: step down. Final.
    LostQuorum {
        /// What the JournalNodes said.
        reason: String,
    },
    /// newEpoch was refused because somebody's lease runs. Final; try again with a new writer later.
    LeaseHeld {
        /// When it may be tried again.
        retry_at: Micros,
    },
}

/// The writer.
#[derive(Debug)]
pub struct QuorumWriter {}

impl QuorumWriter {
    /// A writer for the JournalNodes named by `config.hosts`; does nothing yet.
    #[must_use]
    pub fn new(_config: WriterConfig) -> Self { unimplemented!() }
    /// Becomes the writer: epoch, recovery of the last segment. Ends with `Recovered`, or a final action.
    pub fn recover(&mut self, _now: Micros, _out: &mut Vec<WriterAction>) { unimplemented!() }
    /// Opens a segment. Ends with `SegmentStarted`.
    pub fn start_segment(&mut self, _txid: TxId, _now: Micros, _out: &mut Vec<WriterAction>) { unimplemented!() }
    /// Ships a batch of framed ops. May be called before `SegmentStarted`. Ends with `Synced` (merged).
    pub fn journal(&mut self, _first: TxId, _count: u32, _records: Bytes, _now: Micros, _out: &mut Vec<WriterAction>) { unimplemented!() }
    /// Finalizes the open segment at the last transaction journaled. Ends with `SegmentFinalized`.
    pub fn finalize_segment(&mut self, _now: Micros, _out: &mut Vec<WriterAction>) { unimplemented!() }
    /// Fire and forget.
    pub fn purge_logs_older_than(&mut self, _min_to_keep: TxId, _now: Micros, _out: &mut Vec<WriterAction>) { unimplemented!() }
    /// An answer arrived, or will not.
    pub fn answer(&mut self, _journalnode: usize, _call: CallId, _result: Result<Answer, CallError>, _now: Micros, _out: &mut Vec<WriterAction>) { unimplemented!() }
    /// When `tick` wants to be called next.
    #[must_use]
    pub fn wake_at(&self) -> Option<Micros> { unimplemented!() }
    /// Time passes.
    pub fn tick(&mut self, _now: Micros, _out: &mut Vec<WriterAction>) { unimplemented!() }
    /// Bytes handed in that no majority has yet: the shell stops taking calls above a bound.
    #[must_use]
    pub fn unsynced_bytes(&self) -> usize { unimplemented!() }
    /// Until when the lease is held.
    #[must_use]
    pub fn lease_until(&self) -> Micros { unimplemented!() }
    /// All JournalNodes that answered know no lease (Java): Hadoop's behaviour remains.
    #[must_use]
    pub fn lease_supported(&self) -> bool { unimplemented!() }
    /// Highest transaction on a majority.
    #[must_use]
    pub fn committed(&self) -> Option<TxId> { unimplemented!() }
}
