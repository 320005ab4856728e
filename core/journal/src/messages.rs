//! The requests and answers of `QJournalProtocol`, `InterQJournalProtocol` and Hathi's own additions, as typed values.
//!
//! A [`Request`] is addressed to one journal on one JournalNode; which journal is part of the envelope
//! ([`crate::wire::Envelope`]), not of the value. [`crate::wire`] turns both into protobuf and back.

use std::sync::Arc;

use bytes::Bytes;
use hathi_formats::ids::{Epoch, LayoutVersion, NamespaceInfo, TxId};

use crate::lease::LeaseProof;
use crate::membership::Membership;

/// A moment or duration on a process's monotonic clock, in microseconds.
pub type Micros = u64;

/// A read lease asked for with a request of a writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// For how long, in milliseconds, counted by the asker from when it sent the request.
    pub ms: u32,
    /// `<namenode id>@<instance id>`. Everybody may know it.
    pub holder: Arc<str>,
    /// What only the holder knows.
    pub proof: LeaseProof,
}

/// What every call of a writer carries (`org.apache.hadoop.hdfs.qjournal.protocol.RequestInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// The writer's epoch.
    pub epoch: Epoch,
    /// Grows with every call of this epoch to this JournalNode.
    pub serial: u64,
    /// The highest transaction known to be on a majority.
    pub committed: Option<TxId>,
    /// Hathi: the read lease asked for.
    pub lease: Option<LeaseRequest>,
}

/// Which transactions a segment holds, and whether it can still grow (`SegmentStateProto`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentState {
    /// First transaction; names the segment.
    pub start: TxId,
    /// Last transaction, inclusive.
    pub end: TxId,
    /// Not finalized.
    pub in_progress: bool,
}

/// What a JournalNode tells a recovering writer of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrepareRecoveryAnswer {
    /// The segment as it is on disk, or as accepted by an earlier recovery; absent without transactions.
    pub segment: Option<SegmentState>,
    /// The epoch of the earlier recovery that was accepted; absent for finalized segments.
    pub accepted_in_epoch: Option<Epoch>,
    /// The epoch of the last `startLogSegment` here.
    pub last_writer_epoch: Epoch,
    /// The highest transaction this JournalNode knows to be committed.
    pub last_committed: Option<TxId>,
}

/// A segment in a manifest (`RemoteEditLog`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestSegment {
    /// First transaction.
    pub start: TxId,
    /// Last transaction, inclusive; of an in-progress segment the highest written one, absent when nothing was.
    pub end: Option<TxId>,
    /// Not finalized.
    pub in_progress: bool,
}

/// The segments of one JournalNode (`RemoteEditLogManifest`), and where to read them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Sorted by start.
    pub segments: Vec<ManifestSegment>,
    /// The highest transaction this JournalNode knows to be committed.
    pub committed: Option<TxId>,
    /// Port of the HTTP server, when `from_url` is absent.
    pub http_port: u16,
    /// `http(s)://host:port` of the HTTP server; only scheme and port count, the host is the configured one.
    pub from_url: Option<String>,
}

/// What a JournalNode knows of the read lease of a journal (`LeaseStateProto`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseState {
    /// The promised epoch.
    pub promised_epoch: Epoch,
    /// The epoch of the last `startLogSegment`.
    pub writer_epoch: Epoch,
    /// Who was granted a lease in the promised epoch.
    pub holder: Option<Arc<str>>,
    /// Milliseconds until `newEpoch` by another would be admitted; 0 when it would be now.
    pub remaining_ms: u64,
    /// Grows with every change a watcher could wait for.
    pub change_counter: u64,
    /// The highest transaction written here.
    pub highest: TxId,
    /// The highest transaction known to be committed.
    pub committed: Option<TxId>,
    /// The newest membership given to this JournalNode; absent when the set was never changed.
    pub membership: Option<Membership>,
    /// The writer of the promised epoch asks for no leases (Hadoop's does not) and has a segment open here.
    pub written_without_lease: bool,
}

/// A call to a JournalNode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Whether the journal's storage is formatted.
    IsFormatted,
    /// Empties and formats the journal.
    Format {
        /// What to write into VERSION.
        ns_info: NamespaceInfo,
        /// Also when there is something in the directory.
        force: bool,
    },
    /// The promised epoch and where to read segments.
    GetJournalState,
    /// Promise not to serve lower epochs any more.
    NewEpoch {
        /// Must be of the same namespace as the journal.
        ns_info: NamespaceInfo,
        /// Must be higher than any promised.
        epoch: Epoch,
        /// Hathi: the read lease asked for.
        lease: Option<LeaseRequest>,
        /// Hathi: a majority has promised this epoch to the asker already, so this is no vote: it tells a JournalNode
        /// that missed the election. Then the epoch may be the promised one.
        established: bool,
    },
    /// Open a segment for writing.
    StartLogSegment {
        /// Epoch, serial, commit.
        info: RequestInfo,
        /// Its first transaction.
        txid: TxId,
        /// Of the edit log; absent = the JournalNode's own.
        layout_version: Option<LayoutVersion>,
    },
    /// Append edits to the open segment.
    Journal {
        /// Epoch, serial, commit.
        info: RequestInfo,
        /// The open segment.
        segment: TxId,
        /// First transaction of the batch.
        first: TxId,
        /// How many; 0 only carries the commit.
        count: u32,
        /// The framed ops as they stand in the file.
        records: Bytes,
    },
    /// Carries epoch, commit and lease.
    Heartbeat {
        /// Epoch, serial, commit.
        info: RequestInfo,
    },
    /// Close a segment for good.
    FinalizeLogSegment {
        /// Epoch, serial, commit.
        info: RequestInfo,
        /// First transaction.
        start: TxId,
        /// Last transaction, inclusive.
        end: TxId,
    },
    /// Delete segments that end before a transaction.
    PurgeLogsOlderThan {
        /// Epoch, serial, commit.
        info: RequestInfo,
        /// The lowest transaction still needed.
        min_to_keep: TxId,
    },
    /// First phase of the recovery of a segment.
    PrepareRecovery {
        /// Epoch, serial, commit.
        info: RequestInfo,
        /// The segment.
        segment: TxId,
    },
    /// Second phase of the recovery of a segment.
    AcceptRecovery {
        /// Epoch, serial, commit.
        info: RequestInfo,
        /// What was chosen.
        state: SegmentState,
        /// Where a copy can be read.
        from_url: String,
        /// Hathi: the epoch that vouches for the chosen copy; absent when it is finalized, or asked by Java.
        chosen_epoch: Option<Epoch>,
    },
    /// Which segments there are. `from_journal`: asked by another JournalNode (`InterQJournalProtocol`).
    GetEditLogManifest {
        /// From which transaction on.
        since: TxId,
        /// Also the open one.
        in_progress_ok: bool,
        /// Asked as `getEditLogManifestFromJournal`.
        from_journal: bool,
    },
    /// Recent edits out of memory.
    GetJournaledEdits {
        /// The first transaction wanted.
        since: TxId,
        /// How many at most.
        max_txns: u32,
        /// Hathi: wait so long for the first one.
        wait_ms: u32,
        /// Hathi: only edits known to be committed.
        committed_only: bool,
    },
    /// `cTime` of the storage.
    GetJournalCTime,
    /// `current` becomes `previous.tmp`.
    DoPreUpgrade,
    /// `previous.tmp` becomes `previous`.
    DoUpgrade {
        /// New layout version and ctime.
        storage: NamespaceInfo,
    },
    /// `previous` goes away.
    DoFinalize,
    /// Whether `previous` can come back.
    CanRollBack {
        /// The NameNode's current storage.
        storage: NamespaceInfo,
        /// The NameNode's previous storage.
        previous: NamespaceInfo,
        /// What `previous` must be of.
        target_layout_version: LayoutVersion,
    },
    /// `previous` comes back.
    DoRollback,
    /// Put segments from a transaction on aside (roll back of a rolling upgrade).
    DiscardSegments {
        /// First transaction to discard.
        start: TxId,
    },
    /// Which storage the journal has (`InterQJournalProtocol`, Hadoop 3.5).
    GetStorageInfo,
    /// Hathi: the lease, now or when it changes.
    WatchLease {
        /// The counter of the state already known; absent answers at once.
        known_counter: Option<u64>,
        /// How long to wait for a change.
        wait_ms: u32,
    },
    /// Hathi: give back the lease of exactly this holder.
    ReleaseLease {
        /// Whose.
        holder: Arc<str>,
        /// What came with the requests for the lease: the name alone gives nothing back.
        proof: LeaseProof,
        /// Not those of a later epoch, which the same holder may have been granted before this call arrives; `None` when
        /// the holder is gone for good.
        up_to: Option<Epoch>,
    },
    /// Hathi: reopen the in-progress segment this writer had open here.
    ResumeSegment {
        /// Epoch, serial, commit.
        info: RequestInfo,
        /// The segment.
        segment: TxId,
    },
    /// Hathi: which JournalNodes there are from now on.
    SetMembership {
        /// Epoch, serial, commit.
        info: RequestInfo,
        /// Of the writer's epoch.
        membership: Membership,
    },
    /// Hathi: make an empty JournalNode one that can be caught up, before it is added.
    JoinJournal {
        /// Epoch, serial, commit.
        info: RequestInfo,
        /// What to write into VERSION.
        ns_info: NamespaceInfo,
    },
}

/// A JournalNode's answer, when it is not an exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, nothing to say.
    Done,
    /// To `isFormatted`.
    IsFormatted(bool),
    /// To `getJournalState`.
    JournalState {
        /// The promised epoch.
        promised_epoch: Epoch,
        /// Port of the HTTP server.
        http_port: u16,
        /// `http(s)://host:port`.
        from_url: Option<String>,
        /// Hathi: the newest membership given to this JournalNode.
        membership: Option<Membership>,
    },
    /// To `newEpoch`.
    NewEpoch {
        /// First transaction of the newest segment that has one.
        last_segment: Option<TxId>,
        /// Hathi: the read lease granted; present (0 = none) tells that this JournalNode knows leases.
        lease_granted_ms: Option<u32>,
        /// Hathi: the newest membership given to this JournalNode.
        membership: Option<Membership>,
    },
    /// To `journal`, `heartbeat`, `startLogSegment`, `setMembership`.
    Lease {
        /// Hathi: the read lease granted, in milliseconds from when the request was sent.
        lease_granted_ms: Option<u32>,
    },
    /// To `prepareRecovery`.
    PrepareRecovery(PrepareRecoveryAnswer),
    /// To `getEditLogManifest`.
    Manifest(Manifest),
    /// To `getJournaledEdits`.
    JournaledEdits {
        /// How many.
        count: u32,
        /// The edit log header and the ops; absent when there are none.
        edit_log: Option<Bytes>,
        /// Hathi: the highest transaction known to be committed.
        committed: Option<TxId>,
    },
    /// To `getJournalCTime`.
    CTime(i64),
    /// To `canRollBack`.
    CanRollBack(bool),
    /// To `getStorageInfo`.
    StorageInfo(NamespaceInfo),
    /// Hathi: to `watchLease`.
    LeaseState(LeaseState),
    /// Hathi: to `releaseLease`: whether it was that holder's.
    Released(bool),
    /// Hathi: to `resumeSegment`.
    Resumed {
        /// The next transaction needed.
        next: TxId,
        /// The read lease granted.
        lease_granted_ms: Option<u32>,
    },
}

impl Request {
    /// The Java interface that declares the method.
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        match self {
            Request::WatchLease { .. }
            | Request::ReleaseLease { .. }
            | Request::ResumeSegment { .. }
            | Request::SetMembership { .. }
            | Request::JoinJournal { .. } => JOURNAL_EXTENSION_PROTOCOL,
            Request::GetStorageInfo | Request::GetEditLogManifest { from_journal: true, .. } => INTER_QJOURNAL_PROTOCOL,
            _ => QJOURNAL_PROTOCOL,
        }
    }

    /// The method's name on the wire.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Request::IsFormatted => "isFormatted",
            Request::Format { .. } => "format",
            Request::GetJournalState => "getJournalState",
            Request::NewEpoch { .. } => "newEpoch",
            Request::StartLogSegment { .. } => "startLogSegment",
            Request::Journal { .. } => "journal",
            Request::Heartbeat { .. } => "heartbeat",
            Request::FinalizeLogSegment { .. } => "finalizeLogSegment",
            Request::PurgeLogsOlderThan { .. } => "purgeLogs",
            Request::PrepareRecovery { .. } => "prepareRecovery",
            Request::AcceptRecovery { .. } => "acceptRecovery",
            Request::GetEditLogManifest {
                from_journal: false, ..
            } => "getEditLogManifest",
            Request::GetEditLogManifest { from_journal: true, .. } => "getEditLogManifestFromJournal",
            Request::GetJournaledEdits { .. } => "getJournaledEdits",
            Request::GetJournalCTime => "getJournalCTime",
            Request::DoPreUpgrade => "doPreUpgrade",
            Request::DoUpgrade { .. } => "doUpgrade",
            Request::DoFinalize => "doFinalize",
            Request::CanRollBack { .. } => "canRollBack",
            Request::DoRollback => "doRollback",
            Request::DiscardSegments { .. } => "discardSegments",
            Request::GetStorageInfo => "getStorageInfo",
            Request::WatchLease { .. } => "watchLease",
            Request::ReleaseLease { .. } => "releaseLease",
            Request::ResumeSegment { .. } => "resumeSegment",
            Request::SetMembership { .. } => "setMembership",
            Request::JoinJournal { .. } => "joinJournal",
        }
    }

    /// Epoch, serial and commit of a writer's call.
    #[must_use]
    pub fn info(&self) -> Option<&RequestInfo> {
        match self {
            Request::StartLogSegment { info, .. }
            | Request::Journal { info, .. }
            | Request::Heartbeat { info }
            | Request::FinalizeLogSegment { info, .. }
            | Request::PurgeLogsOlderThan { info, .. }
            | Request::PrepareRecovery { info, .. }
            | Request::AcceptRecovery { info, .. }
            | Request::ResumeSegment { info, .. }
            | Request::SetMembership { info, .. }
            | Request::JoinJournal { info, .. } => Some(info),
            _ => None,
        }
    }
}

/// `org.apache.hadoop.hdfs.qjournal.protocol.QJournalProtocol`.
pub const QJOURNAL_PROTOCOL: &str = "org.apache.hadoop.hdfs.qjournal.protocol.QJournalProtocol";
/// `org.apache.hadoop.hdfs.qjournal.protocol.InterQJournalProtocol`.
pub const INTER_QJOURNAL_PROTOCOL: &str = "org.apache.hadoop.hdfs.qjournal.protocol.InterQJournalProtocol";
/// Hathi's additions; a Java JournalNode answers `RpcNoSuchProtocolException`.
pub const JOURNAL_EXTENSION_PROTOCOL: &str = "hathi.JournalExtensionProtocol";
